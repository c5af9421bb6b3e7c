"""What methods share that rank activating windows above silent ones: which windows, which metrics, and that kinds stay apart.

Positives are compared with the silent windows of one kind at a time. Pooling the kinds is the tempting way, and a suite with more
hard windows would then lower every score without any judge being worse.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from latentbench.kernel.kinds import HARD_KINDS, RANDOM, known_kinds
from latentbench.kernel.latent import LatentView, Window
from latentbench.kernel.requests import Outcome
from latentbench.prompts import selection
from latentbench.scorers.scorer import Judgement, Metric, Params, Scorer
from latentbench.stats.bounds import yes_no


class RankedParams(Params):
    """Which windows are ranked."""

    positives: int | None = Field(default=None, ge=1)
    """Activating windows, evenly over the deciles; all by default."""
    negatives: int | None = Field(default=None, ge=1)
    """Windows of each kind in `negative_kinds`; all by default."""
    negative_kinds: Annotated[tuple[str, ...], AfterValidator(known_kinds)] = (RANDOM,)
    """Kinds of non-activating windows. Only `random` ones enter the headline; each other kind is scored apart."""


class RankedScorer(Scorer):
    """Base of scorers whose judgements are windows with a yes/no label.

    Class attributes:
        ranked: metrics that are also reported against each harder kind, as `metric@kind`.
        further: metrics against random windows alone.
    """

    params_model: ClassVar[type[Params]] = RankedParams
    ranked: ClassVar[tuple[Metric, ...]]
    further: ClassVar[tuple[Metric, ...]] = (Metric("ap", None), Metric("n", None))

    @abstractmethod
    def against(self, judgements: Sequence[Judgement], kind: str) -> dict[str, float]:
        """Metrics of the positives against the negatives of one kind."""

    def metric_table(self) -> tuple[Metric, ...]:
        """What is ranked against random windows, and against each harder kind."""
        hard = (Metric(f"{m.name}@{kind}", m.floor) for kind in HARD_KINDS for m in self.ranked)
        return (*self.ranked, *self.further, *hard)

    @property
    def negative_kinds(self) -> tuple[str, ...]:
        """The kinds that the parameters name."""
        kinds: tuple[str, ...] = self.params.negative_kinds
        return kinds

    def positives_of(self, latent: LatentView, seed: int) -> list[tuple[Window, int]]:
        """Positive windows with their label 1."""
        return [(w, 1) for w in selection.positives(latent, self.params.positives, seed)]

    def negatives_of(self, latent: LatentView, seed: int) -> list[tuple[Window, int]]:
        """Negative windows with their label 0."""
        p = self.params
        return [(w, 0) for kind in p.negative_kinds for w in selection.negatives(latent, kind, p.negatives, seed)]

    def extremes(self, judgements: Sequence[Judgement]) -> dict[str, tuple[float, float]]:
        """Those of the metrics against random windows: by score if all that is judged has one, by answer if all has that."""
        used = [j for j in judgements if j.truth == 1 or j.kind == RANDOM]
        ok = [j for j in used if j.outcome is Outcome.OK]
        answers, scores = [j.answer for j in ok if j.answer is not None], [j.score for j in ok if j.score is not None]
        found = yes_no(
            [j.truth for j in ok],
            answers if len(answers) == len(ok) else None,
            scores if len(scores) == len(ok) else None,
            [j.truth for j in used if j.outcome is not Outcome.OK],
        )
        return {m.name: found[m.name] for m in self.metric_table() if m.name in found}

    def metrics(self, judgements: Sequence[Judgement]) -> dict[str, float]:
        """`quantile:*` against `random`; each harder kind, against the same positives, under `metric@kind`."""
        found = self.against(judgements, RANDOM)
        for kind in HARD_KINDS:
            if any(j.kind == kind and not j.truth for j in judgements):
                own = self.against(judgements, kind)
                found |= {f"{m.name}@{kind}": own[m.name] for m in self.ranked if m.name in own}
        return found
