"""What an inquiry knows: hypotheses about a latent, the texts that they were tested on, and how well each told what fired.

A hypothesis is not judged by its own texts alone. Those of a description that is too narrow all fire, so counting them prefers
the narrowest; and explain windows alone, which all fire, prefer the broadest. All written texts and some explain windows are one
set on which all hypotheses are compared: texts that somebody expected to fire and that did not find out a broad one, and the
windows are what a narrow one misses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentbench.kernel.trial import Seen


@dataclass(frozen=True)
class MeasuredText:
    """A text and what the latent did on it.

    Attributes:
        shown: as it is put before the model.
        fires: whether the latent fired.
        share: its largest activation, over that of the explain windows.
        author: number of the hypothesis that the text was written from; None for an explain window.
    """

    shown: Seen
    fires: bool
    share: float
    author: int | None = None


@dataclass
class Hypothesis:
    """A description under test.

    Attributes:
        text: what it says.
        after: the hypothesis that it revises; None for one of the first.
        told: place of the evidence -> 1 right, 0 wrong, 1/2 where the answer had no reading.
    """

    text: str
    after: str | None = None
    told: dict[int, float] = field(default_factory=dict)


def correct(hypothesis: Hypothesis, evidence: Sequence[MeasuredText]) -> NDArray[np.float64]:
    """How right it was about each text, weighted so that the mean is balanced accuracy: texts that fired and texts that did not
    count for as much; a text that it was not asked about counts as one without an answer. [evidence]"""
    fires = np.array([e.fires for e in evidence], np.bool_)
    told = np.array([hypothesis.told.get(i, 0.5) for i in range(len(evidence))], np.float64)
    sizes = np.where(fires, fires.sum(), (~fires).sum())
    kinds = len(set(fires.tolist()))
    weighted: NDArray[np.float64] = told * len(evidence) / (kinds * sizes)
    return weighted


def agreement(hypothesis: Hypothesis, evidence: Sequence[MeasuredText]) -> float:
    """Balanced accuracy on the evidence; one half where there is none."""
    return float(correct(hypothesis, evidence).mean()) if evidence else 0.5


def own_share(number: int, evidence: Sequence[MeasuredText]) -> float:
    """Share of the texts written from a hypothesis that fired; 0 where there are none."""
    own = [e.fires for e in evidence if e.author == number]
    return sum(own) / len(own) if own else 0.0


@dataclass(frozen=True)
class HypothesisScore:
    """How good a hypothesis is.

    Attributes:
        agrees: balanced accuracy on the evidence.
        own: share of the texts written from it that fired.
    """

    number: int
    agrees: float
    own: float

    @property
    def score(self) -> float:
        """The mean of both, without the last bits of sums. A description whose own texts never fire is refuted, however well it
        tells those of others apart."""
        return round((self.agrees + self.own) / 2, 9)


def ranked(
    numbers: Sequence[int], hypotheses: Sequence[Hypothesis], evidence: Sequence[MeasuredText]
) -> list[HypothesisScore]:
    """Some hypotheses, the best first; of equals the earliest."""
    found = [HypothesisScore(n, agreement(hypotheses[n], evidence), own_share(n, evidence)) for n in numbers]
    return sorted(found, key=lambda f: (-f.score, f.number))


def rounded(value: float) -> float | None:
    """Four decimals, None where there is no number: the last bits of a sum are no part of what was found."""
    return None if math.isnan(value) else round(value, 4)


def evidence_note(evidence: MeasuredText) -> dict[str, Any]:
    """A written text in the note of an explanation."""
    return {
        "by": evidence.author,
        "text": evidence.shown.text,
        "activation": round(evidence.share, 4),
        "fires": evidence.fires,
    }
