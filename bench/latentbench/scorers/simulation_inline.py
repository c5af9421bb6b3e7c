"""Simulation by a model that was trained to write levels behind the tokens of a running text.

The window follows the description as plain text, token by token, and behind every token the log-probabilities of eleven signs
are read, which stand for the levels 0 to 10. A line for each token with `unknown` behind it, as the scorer `simulation` asks, is
what a model without training for it can follow; one that was trained on the running text reads a window in a seventh of the
tokens, and would take the list for a window of tabs and digits.

    expected level = sum over v of v p(v) / sum over v of p(v)          p(v) probability of the sign of v

What is in a window is shown as it is, line breaks too: the trained model has seen it so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field

from latentbench.kernel.errors import CapabilityError, SpecError
from latentbench.kernel.forms import Levels
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Capability, Choice, Request
from latentbench.kernel.trial import Trial
from latentbench.prompts.template import Prompts
from latentbench.scorers.scorer import Params, Scorer
from latentbench.scorers.simulation import LEVELS, Simulation

READS = frozenset({Capability.CHOICE, Capability.SLOTS})


class InlineSimulationParams(Params):
    """Parameters of the simulation in a running text."""

    positives: int | None = Field(default=None, ge=1)
    """Activating windows, evenly over the deciles; all by default."""
    negatives: int | None = Field(default=None, ge=1)
    """Random silent windows; all by default."""


class InlineSimulation(Simulation):
    """One trial and one judgement per window; trials, readings and metrics are those of simulation."""

    params_model: ClassVar[type[Params]] = InlineSimulationParams

    def __init__(self, name: str, version: str, headline: str, params: Params, prompts: Mapping[str, Any]) -> None:
        # Simulation's own beginning reads prompts that this one has not.
        Scorer.__init__(self, name, version, headline, params, prompts)
        section = Prompts(prompts, ("ask", "levels"), f"scorer {name!r}")
        self._ask = section.messages("ask", ("explanation",))
        self._signs = tuple(section.text("levels"))
        if len(set(self._signs)) != len(LEVELS) or len(self._signs) != len(LEVELS):
            raise SpecError(
                f"scorer {name!r}, prompts.levels: {len(LEVELS)} different signs are needed, the first for 0, not "
                f"{''.join(self._signs)!r}."
            )

    @property
    def needs(self) -> tuple[frozenset[Capability], ...]:
        """A judge that reads log-probabilities at several places of one text."""
        return (READS,)

    def trials(self, latent: LatentView, explanation: str, seed: int) -> list[Trial]:
        """Those of simulation, answered with the signs."""
        form = Levels(self._signs, "token")
        return [replace(trial, form=form) for trial in super().trials(latent, explanation, seed)]

    def requests(self, trial: Trial, can: frozenset[Capability]) -> list[Request]:
        """One request per window: every token is followed by a place.

        Raises:
            CapabilityError: the judge reads no log-probabilities inside a text.
        """
        if not can >= READS:
            raise CapabilityError(f"scorer {self.name!r} cannot use a judge that can only {sorted(can)}.")
        messages = self._ask.render(explanation=trial.explanation)
        return [Choice(messages, self._signs, trial.windows[0].tokens, "", trial)]
