"""Direction: is the latent found again from the text alone, among the decoder directions of others of its coder?

The way back of `patched`: the subject reads the explanation, and its mean hidden state where the coder writes, less the mean over
neutral texts, is compared with the latent's direction and with those of other latents. The cosines all have the length of that
state below them, so their order is that of the projections, and no length is needed.

The cosine itself is the tempting score and says little: hidden states lie in a narrow cone, whose direction a few latents share
with every text. Neutral texts take the cone away. Whatever is left of it, one text has one place for each of the directions,
and the mean over all places is one half: a text that is the same for every latent of a coder and split scores one half exactly
where each is compared with all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from latentbench.kernel.errors import SpecError
from latentbench.kernel.forms import Ordering
from latentbench.kernel.latent import LatentRef, LatentView
from latentbench.kernel.requests import Capability, Outcome, Projected, Reply, Request
from latentbench.kernel.trial import Trial
from latentbench.prompts import selection
from latentbench.prompts.template import Prompts, fill
from latentbench.scorers.scorer import Judgement, Metric, Params, Scorer, failed, judged

Floats = NDArray[np.float64]

DIGITS = 6
"""Decimals of a projection that count: what is left is rounding, which depends on the texts that were read beside it."""
OWN = "direction"
"""Kind of the one judgement."""


class DirectionParams(Params):
    """Parameters of the direction scorer."""

    others: int | None = Field(default=None, ge=1)
    """Other latents of the coder and split that are compared with, drawn by seed; all by default."""
    neutral: int | None = Field(default=None, ge=1)
    """Neutral texts of the task file whose mean is taken away, the first ones; all by default."""


class Direction(Scorer):
    """One trial per latent, and one judgement: `score` is the share of other directions along which the text lies less far than
    along the latent's own, ties one half."""

    params_model: ClassVar[type[Params]] = DirectionParams

    def __init__(self, name: str, version: str, headline: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, headline, params, prompts)
        section = Prompts(prompts, ("document", "neutral"), f"scorer {name!r}")
        self._document = section.text("document", ("explanation",))
        given = [line.strip() for line in section.text("neutral").splitlines() if line.strip()]
        if not given:
            raise SpecError(f"scorer {name!r}, prompts.neutral: expected a text a line, and there is none.")
        self._neutral = [fill(self._document, explanation=text) for text in given[: self.params.neutral]]

    def metric_table(self) -> tuple[Metric, ...]:
        """The share of other directions, whether it is that of all, and how many there are."""
        return (Metric("auroc", 0.5, low=0.0, high=1.0), Metric("first", None, low=0.0, high=1.0), Metric("n", None))

    @property
    def needs(self) -> tuple[frozenset[Capability], ...]:
        """A judge that has the subject behind it."""
        return (frozenset({Capability.PROJECT}),)

    def trials(self, latent: LatentView, explanation: str, seed: int) -> list[Trial]:
        """One. Which others are drawn depends on the latent and not on the explanation."""
        found = [name for name in latent.cohort if name != latent.id]
        if self.params.others is not None:
            found = selection.shuffled(found, self.own(seed, "others"))[: self.params.others]
        own, *others = (LatentRef(name, latent.origin) for name in (latent.id, *found))
        told = explanation.strip()
        return [Trial("0", self.name, Ordering(), told, (), (1,), kind=OWN, latent=own, others=tuple(others))]

    def requests(self, trial: Trial, can: frozenset[Capability]) -> list[Request]:
        """The explanation, then the neutral texts, each along the latent's own direction and those of the others; none without
        others."""
        if trial.latent is None or not trial.others:
            return []
        texts = [fill(self._document, explanation=trial.explanation), *self._neutral]
        return [Projected(text, (trial.latent, *trial.others)) for text in texts]

    def parse(self, trial: Trial, replies: Sequence[Reply]) -> list[Judgement]:
        """The share of other directions that the text lies less far along. Without one of the replies there is no answer: a mean
        over fewer neutral texts is another one."""
        if not replies:
            return failed(trial, Reply(Outcome.SKIPPED, error="no other latent of its coder and split to compare with"))
        lost = next((r for r in replies if not r.ok or r.windows is None), None)
        if lost is not None:
            return failed(trial, lost if not lost.ok else Reply(Outcome.PARSE, error="no projections came back"))
        said, *neutral = (np.array(r.windows) for r in replies)
        return [judged(trial, score=place(said - np.mean(neutral, axis=0)))]

    def extremes(self, judgements: Sequence[Judgement]) -> dict[str, tuple[float, float]]:
        """The value itself, and all there is where the one judgement is missing."""
        values = [j.score for j in judgements]
        if not values:
            return {}
        ends = [(0.0, 1.0) if value is None else (value, value) for value in values]
        return {"auroc": (fmean(low for low, _ in ends), fmean(high for _, high in ends))}

    def metrics(self, judgements: Sequence[Judgement]) -> dict[str, float]:
        """`auroc` is the judgement's score: with one right direction the area under the curve is its place. `first` is 1 where no
        other direction is as near."""
        scores = [j.score for j in judgements if j.outcome is Outcome.OK and j.score is not None]
        if not scores:
            return {}
        return {"auroc": fmean(scores), "first": fmean(score == 1.0 for score in scores), "n": float(len(scores))}


def place(along: Floats) -> float:
    """Share of the others, which stand behind the first value, that are below it, ties one half."""
    own, others = np.round(along[0], DIGITS), np.round(along[1:], DIGITS)
    return float((others < own).mean() + (others == own).mean() / 2)
