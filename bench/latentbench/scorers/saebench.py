"""SAEBench's automated interpretability score, with its floor taken out (SAEBench, arXiv 2503.09532).

14 windows in one prompt: 2 of the strongest, 2 drawn with p ~ a^2, 10 random ones, each cut to 10 tokens on both sides of its
peak (a random place in the silent ones) as far as the suite's window goes. The judge lists the numbers of the activating ones.
The score is the share of right answers. A judge that always says "none" gets 10/14 = 0.714, so published values say little by
themselves; the headline is (s - floor) / (1 - floor).

The original prompt shows an example answer with as many numbers as there are activating windows, and so tells their number.
Here neither a number nor a prompt's wording depends on it, and the examples have none, one, some or all.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from latentbench.kernel.forms import AnyOf, Form
from latentbench.kernel.latent import LatentView, Window
from latentbench.kernel.requests import Reply
from latentbench.kernel.trial import Trial
from latentbench.prompts import selection
from latentbench.prompts.answers import NONE, read_numbers, unread
from latentbench.scorers.binary_task import BinaryParams, BinaryTask
from latentbench.scorers.scorer import Judgement, Metric, Params, failed, judged
from latentbench.stats.bounds import scaled
from latentbench.stats.ranking import normalise


class SaeBenchParams(BinaryParams):
    """Parameters; `positives` is not used, `top` and `weighted` are."""

    windows_per_prompt: int = Field(default=14, ge=1)
    negatives: int | None = Field(default=10, ge=1)
    top: int = Field(default=2, ge=0)
    """Strongest test windows."""
    weighted: int = Field(default=2, ge=0)
    """Others, drawn without replacement with probability proportional to the square of their maximum."""
    reach: int = Field(default=10, ge=0)
    """Tokens kept before and after the peak, as far as the suite's window goes."""


class SaeBench(BinaryTask):
    """Which of the shown windows activate? `answer: single` asks about each window alone, as detection does."""

    params_model: ClassVar[type[Params]] = SaeBenchParams

    def metric_table(self) -> tuple[Metric, ...]:
        """Metrics of yes/no tasks, and accuracy against its floor: that of "never" in the share of silent windows."""
        p = self.params
        if p.negatives is None:
            return (Metric("accuracy_normalised", 0.0, high=1.0), *super().metric_table())
        # For a latent that has all windows asked for; `accuracy_normalised` knows how many it had.
        share = p.negatives / (p.top + p.weighted + p.negatives)
        rest = (replace(m, floor=share) if m.name == "accuracy" else m for m in super().metric_table())
        low = normalise(0.0, share) if share < 1 else None
        return (Metric("accuracy_normalised", 0.0, low=low, high=1.0), *rest)

    def form(self) -> Form:
        """The answer to a list is the numbers of its windows, or a word for none."""
        return super().form() if self.params.answer == "single" else AnyOf(NONE)

    def parse(self, trial: Trial, replies: Sequence[Reply]) -> list[Judgement]:
        """A window that is not listed is answered with no; a reply that is no list of different numbers has no reading."""
        text = replies[0].text if replies[0].ok else None
        if text is None or self.params.answer == "single":
            return super().parse(trial, replies)
        listed = read_numbers(text, len(trial.windows))
        if listed is None:
            return failed(trial, unread(text))
        return [judged(trial, i, answer=int(i + 1 in listed)) for i in range(len(trial.windows))]

    def positives_of(self, latent: LatentView, seed: int) -> list[tuple[Window, int]]:
        """`top` strongest and `weighted` others, cut around their peaks."""
        p = self.params
        ranked = sorted(selection.positives(latent, None, seed), key=lambda w: -w.max)
        chosen = ranked[: p.top] + selection.weighted(ranked[p.top :], p.weighted, self.own(seed, "weighted"))
        return [(cut(w, w.activations.index(w.max), p.reach), 1) for w in chosen]

    def negatives_of(self, latent: LatentView, seed: int) -> list[tuple[Window, int]]:
        """Silent windows, cut around a random token."""
        found = []
        for w, label in super().negatives_of(latent, seed):
            rng = random.Random(self.own(seed, "cut", w.kind, w.position, *w.ids))
            found.append((cut(w, rng.randrange(len(w.tokens)), self.params.reach), label))
        return found

    def extremes(self, judgements: Sequence[Judgement]) -> dict[str, tuple[float, float]]:
        """Those of detection, and of normalised accuracy, whose floor no answer moves once all are there."""
        found = super().extremes(judgements)
        truths = [j.truth for j in judgements if j.truth or j.kind == "random"]
        if "accuracy" in found:
            found["accuracy_normalised"] = scaled(found["accuracy"], 1 - sum(truths) / len(truths))
        return found

    def metrics(self, judgements: Sequence[Judgement]) -> dict[str, float]:
        """Metrics of detection, and normalised accuracy; its floor is the share of silent windows among the judged."""
        found = super().metrics(judgements)
        used = [j for j in judgements if j.answer is not None and (j.truth or j.kind == "random")]
        if "accuracy" in found and used:
            floor = sum(not j.truth for j in used) / len(used)
            if 0 < floor < 1:
                found["accuracy_normalised"] = normalise(found["accuracy"], floor)
        return found


def cut(window: Window, centre: int, reach: int) -> Window:
    """The tokens within `reach` of `centre`."""
    part = slice(max(0, centre - reach), centre + reach + 1)
    return replace(
        window,
        ids=window.ids[part],
        tokens=window.tokens[part],
        activations=window.activations[part],
        position=window.position + (part.start or 0),
    )
