"""Example embedding: are a latent's activating windows nearer to each other than to silent ones (arXiv 2507.08473)?

Every activating window is a query in turn; the other activating ones should be nearer to it than the silent ones are, by the
cosine of an embedding. No explanation is asked about, so it says how coherent the latent is, for nothing but one vector a window.
The explanation is left out of the trial: every explainer of a grid gets the same numbers, and pays once.

One mean direction of all activating windows is the tempting query. A window that is ranked is then part of its own query, and one
that is left out of it is ranked by another query than the windows beside it; a latent whose windows have nothing in common
is no longer at one half. With one window as the query, an activating and a silent one that say nothing are exchangeable, and the
mean over all ways to call the windows activating is one half exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, ClassVar

from pydantic import Field

from latentbench.kernel.forms import Ordering
from latentbench.kernel.kinds import RANDOM
from latentbench.kernel.latent import LatentView, Window
from latentbench.kernel.requests import Capability, Embed, Outcome, Reply, Request
from latentbench.kernel.trial import Seen, Trial, seen
from latentbench.prompts import selection
from latentbench.prompts.template import Prompts, active_marks, fill, marked, random_marks
from latentbench.scorers.ranked import RankedParams, RankedScorer
from latentbench.scorers.scorer import Judgement, Metric, Params, failed, judged
from latentbench.stats.bounds import Extremes
from latentbench.stats.nearness import nearer_windows

FEWEST = 2
"""Activating windows without which there is none to compare a query with."""


class ExampleEmbeddingParams(RankedParams):
    """Parameters of example embedding."""

    around: int | None = Field(default=None, ge=0)
    """Tokens on each side of the strongest one that are embedded, and no others; the whole window by default. A silent window
    is cut at the place of an activating one's strongest token, so that length and place tell nothing."""
    marks: bool = False
    """Mark the activating tokens, and as many random ones of a silent window."""
    threshold: float = Field(default=0.3, gt=0, le=1)
    """Share of the window's maximum from which a token is marked."""


class ExampleEmbedding(RankedScorer):
    """One trial per latent. `score` of a window is the share of comparisons that it wins: with an activating window as the query,
    how often it is nearer than one of the other class, ties one half. The mean over activating windows is `auroc`."""

    params_model: ClassVar[type[Params]] = ExampleEmbeddingParams
    ranked = (Metric("auroc", 0.5, low=0.0, high=1.0),)
    further = (*(Metric(f"auroc@quantile:{d}", 0.5) for d in range(10)), Metric("n", None))

    def __init__(self, name: str, version: str, headline: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, headline, params, prompts)
        self._document = Prompts(prompts, ("document",), f"scorer {name!r}").text("document", ("window",))

    @property
    def needs(self) -> tuple[frozenset[Capability], ...]:
        """A judge that embeds."""
        return (frozenset({Capability.EMBED}),)

    @property
    def fewest(self) -> int:
        """A query, and one window that it is compared with."""
        return FEWEST

    def trials(self, latent: LatentView, explanation: str, seed: int) -> list[Trial]:
        """One trial with every chosen window; none where fewer than two are activating or none is silent."""
        active = [w for w, _ in self.positives_of(latent, seed)]
        silent = [w for w, _ in self.negatives_of(latent, seed)]
        if len(active) < FEWEST or not silent:
            return []
        windows = self._cut(active, silent, seed)
        counts = sorted(sum(active_marks(w.activations, self.params.threshold)) for w in windows[: len(active)])
        return [
            Trial(
                "0",
                self.name,
                Ordering(),
                "",
                tuple(self._shown(w, counts, seed) for w in windows),
                (*[1] * len(active), *[0] * len(silent)),
                tuple(w.activations for w in windows),
            )
        ]

    def _cut(self, active: Sequence[Window], silent: Sequence[Window], seed: int) -> list[Window]:
        """The part of each window that is embedded."""
        reach = self.params.around
        if reach is None:
            return [*active, *silent]
        peaks = [w.activations.index(w.max) for w in active]
        lent = selection.shuffled(peaks, self.own(seed, "places"))
        places = [*peaks, *(lent[i % len(lent)] for i in range(len(silent)))]
        return [_part(w, max(0, p - reach), p + reach + 1) for w, p in zip([*active, *silent], places, strict=True)]

    def _shown(self, window: Window, counts: Sequence[int], seed: int) -> Seen:
        if not self.params.marks:
            return seen(window)
        if window.active:
            return seen(window, active_marks(window.activations, self.params.threshold))
        return seen(
            window, random_marks(window, counts, self.own(seed, "marks", window.kind, window.position, *window.ids))
        )

    def requests(self, trial: Trial, can: frozenset[Capability]) -> list[Request]:
        """The windows in their order, each as a document."""
        return [
            Embed(fill(self._document, window=marked(w.tokens, w.marks) if w.marks else w.text)) for w in trial.windows
        ]

    def parse(self, trial: Trial, replies: Sequence[Reply]) -> list[Judgement]:
        """Shares of comparisons won. A window whose vector failed is missing, and is compared with none; one that nothing is left
        to compare with is missing for the same reason.

        Activating windows are compared with the random ones, or where a trial has none with those of its first silent kind.
        """
        replies = of_one_length(replies)
        vectors = {i: r.vector for i, r in enumerate(replies) if r.ok and r.vector is not None}
        lost = next((r for i, r in enumerate(replies) if i not in vectors), None)
        active = [i for i in vectors if trial.truth[i]]
        shares: dict[int, float] = {}
        kinds = list(dict.fromkeys(w.kind for w, y in zip(trial.windows, trial.truth, strict=True) if not y))
        first = RANDOM if RANDOM in kinds else kinds[0]
        for kind in kinds:
            silent = [i for i in vectors if not trial.truth[i] and trial.windows[i].kind == kind]
            if len(active) >= FEWEST and silent:
                ours, theirs = nearer_windows([vectors[i] for i in active], [vectors[i] for i in silent])
                shares |= dict(zip(silent, theirs, strict=True))
                shares |= dict(zip(active, ours, strict=True)) if kind == first else {}
        return [
            judged(trial, i, score=shares[i])
            if i in shares
            else failed(trial, _uncompared(replies[i], lost) if i in vectors else replies[i])[i]
            for i in range(len(trial.windows))
        ]

    def against(self, judgements: Sequence[Judgement], kind: str) -> dict[str, float]:
        """`auroc` from the silent windows of one kind: what they do not win, the activating ones do. Against random ones also the
        share that the windows of each tenth of activation win."""
        silent = [j.score for j in judgements if j.score is not None and not j.truth and j.kind == kind]
        active = [j for j in judgements if j.score is not None and j.truth]
        if not silent or not active:
            return {}
        found = {"n": float(len(silent) + len(active)), "auroc": 1 - fmean(silent)}
        if kind == RANDOM:
            for own in sorted({j.kind for j in active}):
                found[f"auroc@{own}"] = fmean(j.score for j in active if j.kind == own and j.score is not None)
        return found

    def extremes(self, judgements: Sequence[Judgement]) -> dict[str, Extremes]:
        """Those of `auroc`: every comparison that a missing window has a part in lost, and won.

        A mean over queries, other activating windows and silent ones, of which each has a part in as many comparisons as any
        other of its class. Nothing is assumed of a missing window's cosines, not even that they are those of any vector.
        """
        used = [j for j in judgements if j.truth or j.kind == RANDOM]
        ok = [j for j in used if j.outcome is Outcome.OK]
        asked, known = (_comparisons(part) for part in (used, ok))
        if not asked:
            return {}
        won = known * self.against(ok, RANDOM)["auroc"] if known else 0.0
        return {"auroc": (won / asked, (won + asked - known) / asked)}


def of_one_length(replies: Sequence[Reply]) -> list[Reply]:
    """Replies in which a vector of another length than most have is no answer: it has no cosine with them."""
    lengths = Counter(len(r.vector) for r in replies if r.ok and r.vector is not None)
    usual = max(lengths, key=lambda n: (lengths[n], n), default=0)
    return [
        Reply(Outcome.PARSE, error=f"a vector of {len(r.vector)} numbers where others have {usual}")
        if r.ok and r.vector is not None and len(r.vector) != usual
        else r
        for r in replies
    ]


def _comparisons(judgements: Sequence[Judgement]) -> int:
    active = sum(j.truth for j in judgements)
    return active * (active - 1) * (len(judgements) - active)


def _part(window: Window, start: int, stop: int) -> Window:
    cut = slice(min(start, len(window.tokens) - 1), stop)
    return replace(window, ids=window.ids[cut], tokens=window.tokens[cut], activations=window.activations[cut])


def _uncompared(reply: Reply, lost: Reply | None) -> Reply:
    """The reply of a window whose vector came and that nothing is left to compare with."""
    if lost is None:
        return reply
    return replace(lost, vector=None, error=f"no window is left to compare this one with: {lost.error or lost.outcome}")
