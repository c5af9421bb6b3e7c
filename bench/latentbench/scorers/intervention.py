"""Intervention scoring: does the explanation say what the latent *does* (arXiv 2410.13928, 3.3.5 and appendix G)?

    S(z) = E_x [ log p_judge(z | x, G_I(x)) - log p_judge(z | x, G(x)) ]        in nats

x is a prompt, G(x) what the subject writes after it and G_I(x) what it writes when it is steered along the latent. The texts come
from the suite's intervention table; the judge is asked only for the log-probability of the explanation behind a passage.

Scores are compared at one strength, a fixed KL of the next-token distribution: at a fixed multiplier of the direction, a coder
with longer directions would steer harder and score higher. A latent whose strength was not reached is `skipped`, which
lowers coverage, and so is one that has no interventions; neither is a zero. The empty explanation is: it has log p 0 behind
every passage, so its score is exactly the floor and no call is made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from latentbench.kernel.forms import Ordering
from latentbench.kernel.latent import LatentView, Steered
from latentbench.kernel.requests import Capability, Continuation, Outcome, Reply, Request
from latentbench.kernel.trial import Seen, Trial
from latentbench.prompts.template import Prompts, fill, one_line
from latentbench.scorers.scorer import Judgement, Metric, Params, Scorer, failed, judged, with_own
from latentbench.scorers.surprisal import difference

KLS = (0.1, 0.33, 1.0, 3.0)
ABLATE = "ablate"


def kind(target: float | None) -> str:
    """Kind of a judgement: `kl:1`, or `ablate`, which has no strength."""
    return ABLATE if target is None else f"kl:{target:g}"


class InterventionParams(Params):
    """Parameters of intervention scoring."""

    mode: Literal["add", "ablate"] = "add"
    """Which interventions the headline is about."""
    kl: float = Field(default=1.0, gt=0)
    """Strength of the headline in nats; for `add`."""
    also: tuple[float, ...] = ()
    """Further strengths, each reported as `nats@kl:X`; any that the suite was steered to."""
    prompts: int | None = Field(default=None, ge=1)
    """Scoring prompts per strength, evenly over their activation; all by default."""


class Intervention(Scorer):
    """One trial per prompt and strength, two continuations each. `score` of a judgement is the difference in nats."""

    params_model: ClassVar[type[Params]] = InterventionParams

    def __init__(self, name: str, version: str, headline: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, headline, params, prompts)
        self._context = Prompts(prompts, ("context",), f"scorer {name!r}").text("context", ("passage",))
        self._main = kind(None if self.params.mode == "ablate" else self.params.kl)

    def metric_table(self) -> tuple[Metric, ...]:
        """The headline's strength and each usual one, and further ones that are asked for."""
        usual = (Metric("nats", 0.0), *(Metric(f"nats@{kind(x)}", 0.0) for x in (*KLS, None)), Metric("n", None))
        return with_own(usual, [Metric(f"nats@{kind(x)}", 0.0) for x in (self.params.kl, *self.params.also)])

    @property
    def uses_interventions(self) -> bool:
        """It scores steered texts."""
        return True

    @property
    def needs(self) -> tuple[frozenset[Capability], ...]:
        """A judge that gives the log-probability of a text."""
        return (frozenset({Capability.TEXT}),)

    def trials(self, latent: LatentView, explanation: str, seed: int) -> list[Trial]:
        """One per scoring prompt and strength; one that will be skipped for a strength that the latent has no texts of."""
        p = self.params
        wanted = list(dict.fromkeys([self._main, *(kind(x) for x in p.also)]))
        found: list[Trial] = []
        for name in wanted:
            rows = _even([s for s in latent.interventions if s.role == "test" and kind(s.target) == name], p.prompts)
            if not rows:
                found.append(self._trial(name, explanation, None, ()))
            found += [self._trial(name, explanation, s.window, self._shown(s) if s.reached else ()) for s in rows]
        return found

    @staticmethod
    def _shown(s: Steered) -> tuple[Seen, ...]:
        return Seen((s.prompt, s.steered)), Seen((s.prompt, s.clean))

    def _trial(self, name: str, explanation: str, window: int | None, passages: tuple[Seen, ...]) -> Trial:
        number = -1 if window is None else window
        return Trial(f"{name}/{number}", self.name, Ordering(), explanation, passages, (1,), kind=name, item=window)

    def requests(self, trial: Trial, can: frozenset[Capability]) -> list[Request]:
        """The explanation after the steered and after the clean passage; nothing where there is nothing to ask."""
        if not trial.windows or not trial.explanation.strip():
            return []
        text = " " + one_line(trial.explanation)
        return [Continuation(fill(self._context, passage=one_line(w.text)), text, trial) for w in trial.windows]

    def parse(self, trial: Trial, replies: Sequence[Reply]) -> list[Judgement]:
        """The difference; both calls must have succeeded."""
        if not trial.windows:
            absent = trial.item is None
            missing = "no such strength in the suite's intervention table" if absent else "the strength was not reached"
            return failed(trial, Reply(Outcome.SKIPPED, error=missing))
        if not replies:
            return [judged(trial, score=0.0)]
        return difference(trial, replies)

    def metrics(self, judgements: Sequence[Judgement]) -> dict[str, float]:
        """Mean over prompts: `nats` at the headline's strength, `nats@KIND` at each."""
        by_kind: dict[str, list[float]] = {}
        for j in judgements:
            if j.score is not None:
                by_kind.setdefault(j.kind, []).append(j.score)
        means = {name: math.fsum(values) / len(values) for name, values in by_kind.items()}
        known = {m.name for m in self.metric_table()}
        found = {f"nats@{name}": mean for name, mean in means.items() if f"nats@{name}" in known}
        if self._main in means:
            found |= {"nats": means[self._main], "n": float(len(by_kind[self._main]))}
        return found


def _even(rows: Sequence[Steered], n: int | None) -> list[Steered]:
    """`n` of the rows at equal distances in their order of activation decile."""
    n = min(n or len(rows), len(rows))
    rows = sorted(rows, key=lambda s: (s.kind, s.window))
    return [rows[int((i + 0.5) * len(rows) / n)] for i in range(n)]
