"""Prompts of interventions: text of the corpus up to the token on which a latent first fires in a window.

A window is too short a prompt and begins anywhere, so its context is cut from the corpus again and up to 64 tokens to the left
come with it. Scoring prompts end in test windows and explainer prompts in explain windows; because the text to the left may
still run into a window of the other role, an explainer prompt that shares text with a scoring prompt is left out.

The suite stores activations of its windows only. A latent may have fired in the text to the left of the window, too; the
prompt ends at its first activating token *of the window*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latentbench.corpora.rows import Tokens
from latentbench.kernel.errors import DataError
from latentbench.kernel.identity import seed_for
from latentbench.kernel.latent import LatentView, Window
from latentbench.stats.quota import spread

QUINTILES = 5


@dataclass(frozen=True, slots=True)
class SteerPrompt:
    """One prompt.

    Attributes:
        window: where it ends.
        ids: token ids with BOS where the subject has one; the last is the first activating token of the window.
        start, end: corpus positions of the text, end exclusive.
    """

    window: Window
    ids: tuple[int, ...]
    start: int
    end: int

    @property
    def role(self) -> str:
        """`test` or `explain`."""
        return self.window.role


@dataclass(frozen=True, slots=True)
class CorpusContext:
    """A context of the corpus: position of its first token, and its token ids."""

    start: int
    ids: Tokens


def cut(window: Window, place: CorpusContext, length: int, bos: int | None) -> SteerPrompt | None:
    """The prompt that ends at the window's first activating token; None if nothing stands before that token.

    Args:
        window: an activating one.
        place: its context.
        length: tokens of text at most, BOS not counted.
        bos: token put in front, if the subject has one.

    Raises:
        DataError: the window is not in that context.
    """
    offset = window.position - place.start
    if tuple(place.ids[offset : offset + len(window.ids)].tolist()) != window.ids:
        raise DataError(
            f"window {window.id} is not where the suite says in the corpus; the text is not that of the build."
        )
    end = offset + next(t for t, a in enumerate(window.activations) if a > 0) + 1
    start = max(0, end - length)
    ids = tuple(place.ids[start:end].tolist())
    if bos is not None:
        ids = (bos, *ids)
    return SteerPrompt(window, ids, place.start + start, place.start + end) if len(ids) > 1 else None


def drawn(windows: Sequence[Window], n: int, seed: int) -> list[Window]:
    """Draw at most `n` activating windows, evenly over the quintiles of activation, without replacement, in the given order."""
    groups: list[list[Window]] = [[] for _ in range(QUINTILES)]
    for w in windows:
        if w.decile is not None and w.active:
            groups[w.decile * QUINTILES // 10].append(w)
    rng = np.random.default_rng(seed)
    picked = {
        group[i].id
        for group, take in zip(groups, spread(n, [len(g) for g in groups]), strict=True)
        for i in rng.choice(len(group), take, replace=False).tolist()
    }
    return [w for w in windows if w.id in picked]


def prompts(
    latent: LatentView,
    places: Mapping[int, CorpusContext],
    n_test: int,
    n_explain: int,
    length: int,
    bos: int | None,
    seed: int,
) -> list[SteerPrompt]:
    """Scoring prompts, then explainer prompts that share no text with them.

    Args:
        latent: with its windows.
        places: window id -> context.
        n_test, n_explain: how many at most; fewer where the suite has fewer windows.
        length: tokens of text at most.
        bos: of the subject.
        seed: the windows drawn depend on it and on the latent.
    """
    test = [
        p
        for w in drawn(latent.test, n_test, seed_for("steer-test", seed, latent.id))
        if (p := cut(w, places[w.id], length, bos))
    ]
    apart = []
    for w in latent.explain:
        p = cut(w, places[w.id], length, bos) if w.active else None
        if p and all(p.end <= t.start or t.end <= p.start for t in test):
            apart.append(p)
    chosen = {w.id for w in drawn([p.window for p in apart], n_explain, seed_for("steer-explain", seed, latent.id))}
    return test + [p for p in apart if p.window.id in chosen]
