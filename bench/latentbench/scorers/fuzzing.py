"""Fuzzing: are all marked tokens of a window ones that the latent fires on (arXiv 2410.13928, 3.3.2).

Positives mark tokens with an activation of at least `threshold` times the window's maximum. Negatives are non-activating
windows with random tokens marked. Two tells are avoided that let a judge score without understanding anything: the positions
are drawn per window, never once for all, and the number of marks is drawn from the numbers that the positives have, not their
mean, which no positive need have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from latentbench.kernel.kinds import IN_SUITES, RANDOM, WRONG_MARKS, known_kinds
from latentbench.kernel.latent import LatentView, Window
from latentbench.kernel.trial import Seen, seen
from latentbench.prompts import selection
from latentbench.prompts.template import active_marks, marked, one_line, random_marks
from latentbench.scorers.binary_task import BinaryParams, BinaryTask, pooled
from latentbench.scorers.scorer import Params


def fuzzing_kinds(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Kinds that a suite holds, and the one that fuzzing makes itself."""
    return known_kinds(kinds, (*IN_SUITES, WRONG_MARKS))


class FuzzingParams(BinaryParams):
    """Parameters of fuzzing. `reduction: window` reads a simulator's mean over the marked tokens, as `mean` does."""

    negative_kinds: Annotated[tuple[str, ...], AfterValidator(fuzzing_kinds)] = (RANDOM,)
    """Kinds of silent windows: those of detection, and `wrong_marks`."""
    threshold: float = Field(default=0.3, gt=0, le=1)
    """Share of the window's maximum from which a token is marked."""


class Fuzzing(BinaryTask):
    """Yes or no per window with marks; see `BinaryTask`.

    The kind `wrong_marks` in `negative_kinds` asks activating windows again with silent tokens marked.
    """

    params_model: ClassVar[type[Params]] = FuzzingParams

    def negatives_of(self, latent: LatentView, seed: int) -> list[tuple[Window, int]]:
        """Silent windows; `wrong_marks` are copies of activating windows that have enough silent tokens."""
        p = self.params
        found = []
        for kind in p.negative_kinds:
            if kind == WRONG_MARKS:
                # Drawn like the positives, then without those in which nearly every token fires: nothing could be marked.
                able = [w for w in latent.test if w.decile is not None and 0.0 in w.activations]
                drawn = selection.positives(replace(latent, test=tuple(able)), p.negatives, self.own(seed, kind))
                found += [(replace(w, kind=WRONG_MARKS), 0) for w in drawn]
            else:
                found += [(w, 0) for w in selection.negatives(latent, kind, p.negatives, seed)]
        return found

    def shown(self, latent: LatentView, chosen: Sequence[tuple[Window, int]], seed: int) -> list[Seen]:
        """Windows with marks: true ones for positives, random ones for negatives."""
        true = {id(w): active_marks(w.activations, self.params.threshold) for w, y in chosen if y}
        # Without positives nothing can be scored; one mark keeps the windows well-formed.
        counts = sorted(sum(m) for m in true.values()) or [1]
        found = []
        for w, y in chosen:
            own = self.own(seed, "marks", w.kind, w.position, *w.ids)
            marks = true[id(w)] if y else random_marks(w, counts, own)
            found.append(seen(w, marks))
        return found

    def text(self, window: Seen) -> str:
        """The window with `<<marks>>`."""
        return one_line(marked(window.tokens, window.marks or ()))

    def reduce(self, window: Seen, whole: float, tokens: Sequence[float]) -> float:
        """A simulator's p(active) over the marked tokens."""
        own = [p for p, m in zip(tokens, window.marks or (), strict=True) if m]
        return pooled(own, self.params.reduction)
