"""The output side of a latent without a language model: the tokens that its direction promotes and suppresses, in one sentence.

The lists are columns of the latents table, made when the suite was built (`suites.build.promoted`), so no subject is loaded to
explain. It says nothing of where the latent fires; beside `tokens` it shows which scorer rewards which side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from latentbench.explainers.explainer import Explainer, Explanation, Others, Params
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Outcome, Reply
from latentbench.prompts.template import Prompts, fill, one_line


class VocabParams(Params):
    """Parameters of the vocabulary explanation."""

    n_promoted: int = Field(default=8, ge=1)
    """Distinct promoted tokens named, strongest first; fewer where the suite lists fewer."""
    n_suppressed: int = Field(default=4, ge=0)
    """Distinct suppressed tokens named; 0 leaves them out."""


class VocabExplainer(Explainer):
    """Reads the latents table; asks nobody."""

    params_model = VocabParams

    def __init__(self, name: str, version: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, params, prompts)
        section = Prompts(prompts, ("promoted", "suppressed"), f"explainer {name!r}")
        self._promoted = section.text("promoted", ("tokens",))
        self._suppressed = section.text("suppressed", ("tokens",))

    def parse(self, latent: LatentView, replies: Sequence[Reply], seed: int, others: Others) -> Explanation:
        """The sentence; a latent whose direction does not write to the logits is skipped."""
        up = distinct(latent.row.get("promoted") or (), self.params.n_promoted)
        down = distinct(latent.row.get("suppressed") or (), self.params.n_suppressed)
        if not up:
            error = "the suite lists no promoted tokens: the latent has no direction in the residual stream"
            return Explanation(latent.id, None, Outcome.SKIPPED, error=error)
        text = fill(self._promoted, tokens=_quoted(up))
        if down:
            text += " " + fill(self._suppressed, tokens=_quoted(down))
        return Explanation(latent.id, text)


def distinct(tokens: Sequence[str], n: int) -> list[str]:
    """The first `n` tokens that differ by more than white space or case, in the spelling of the first."""
    found: dict[str, str] = {}
    for token in tokens:
        shown = one_line(token) or repr(token)
        found.setdefault(shown.lower(), shown)
    return list(found.values())[:n]


def _quoted(tokens: Sequence[str]) -> str:
    return ", ".join(f'"{t}"' for t in tokens)
