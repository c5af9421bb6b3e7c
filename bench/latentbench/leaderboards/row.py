"""One line of a leaderboard, as data: what was measured, on what, with which uncertainty, for which price.

A row carries every identity that decides with which others it may be compared, so that a table of committed rows can be built
again, and refused, without the runs. It carries no rank: a rank belongs to a table, and changes when somebody else submits.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from latentbench.kernel.config import Frozen
from latentbench.runs.record import UNQUALIFIED, Named, SuiteRecord
from latentbench.views.number import finite

POOLED = "all"
"""Coder group of a row over all coders of the run."""


Number = Annotated[float | None, BeforeValidator(finite)]


class Estimate(Frozen):
    """A mean over latents with its interval; null where there is none (see `latentbench.stats.bootstrap.Interval`)."""

    estimate: Number
    low: Number
    high: Number
    n: int = Field(ge=0)
    """Latents with a value."""
    floor: Number = None
    """Declared score of an answer that knows nothing."""
    higher_is_better: bool = True


class Price(Frozen):
    """What one latent costs on average, once; calls that came from a cache are counted as if they had been paid."""

    tokens_in: float = Field(ge=0)
    tokens_out: float = Field(ge=0)
    dollars: Annotated[Annotated[float, Field(ge=0)] | None, BeforeValidator(finite)]
    """Estimated from tokens and a price table; null where a model has no price there."""
    seconds: float = Field(ge=0)

    def __add__(self, other: Price) -> Price:
        dollars = None if self.dollars is None or other.dollars is None else self.dollars + other.dollars
        tokens_in, tokens_out = self.tokens_in + other.tokens_in, self.tokens_out + other.tokens_out
        return Price(tokens_in=tokens_in, tokens_out=tokens_out, dollars=dollars, seconds=self.seconds + other.seconds)


class Row(Frozen):
    """One explainer under one scorer and judge, on one group of latents."""

    run: str
    """Id of the run."""
    date: str
    """Start of the run, ISO 8601."""
    command: str
    """Reproduces the run."""
    suite: SuiteRecord
    split: str
    coders: str
    """Name of the coder, or `all`."""
    latents: str
    """Digest of the ids of the latents: tables never mix different ones."""
    explainer: Named
    model: str | None = None
    """Label of the judge that generated for the explainer."""
    is_floor: bool
    """The explainer knows nothing of the latent."""
    scorer: Named
    headline: str
    """Name of the metric in `score`."""
    judge: Named
    qualification: str = UNQUALIFIED
    """What is known of the judge's ability for the task."""
    score: Estimate
    worst: Number = None
    """Lower bound of the mean under missing judgements; null when coverage is complete."""
    best: Number = None
    n_latents: int = Field(ge=0)
    repeats: int = Field(ge=1)
    n_judged: int = Field(ge=0)
    n_attempted: int = Field(ge=0)
    metrics: dict[str, Estimate]
    """The scorer's other metrics."""
    explaining: Price
    judging: Price
    values: dict[str, float] = Field(default_factory=dict, exclude=True, repr=False)
    """Headline per latent, averaged over repeats; in memory only."""

    @property
    def price(self) -> Price:
        """Explaining and judging one latent."""
        return self.explaining + self.judging

    @property
    def coverage(self) -> float | None:
        """Judged / attempted; None if nothing was attempted."""
        return self.n_judged / self.n_attempted if self.n_attempted else None

    @property
    def table(self) -> tuple[str, ...]:
        """What must be equal for two rows to stand in one ranked table."""
        return (
            self.suite.digest,
            self.split,
            self.coders,
            self.latents,
            self.scorer.key,
            self.headline,
            self.judge.key,
        )

    @property
    def name(self) -> tuple[str, ...]:
        """What identifies the row for good: the same run never has two scores for it."""
        return (self.run, self.explainer.label, self.scorer.label, self.judge.label, self.coders)
