"""Which of a latent's explain windows an explainer reads, and how much of each. Pure and seeded.

The windows themselves are frozen in the suite. Sampling, number and length are choices among them, so they can be varied without
another suite: two suites have different test windows, and explainers that were judged on different windows cannot be paired.
Longer windows than the suite's do need another suite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np

from latentbench.kernel.latent import Window
from latentbench.prompts.selection import weighted

Sampling = Literal["quantile", "top", "random", "importance"]


def chosen(windows: Sequence[Window], n: int, sampling: Sampling, n_top: int, seed: int) -> list[Window]:
    """`n` windows, or all if there are fewer, strongest first.

    Args:
        windows: strongest first.
        sampling: `quantile` draws one from each of `n` equal parts of the ranking; `top` takes the strongest; `random` any;
            `importance` the `n_top` strongest and others with a probability that grows with the square of their maximum.
    """
    n = min(n, len(windows))
    if sampling == "top":
        return list(windows[:n])
    if sampling == "random":
        picked = np.random.default_rng(seed).choice(len(windows), n, replace=False)
        return [windows[i] for i in sorted(picked)]
    if sampling == "importance":
        top = min(n_top, n)
        drawn = {w.id for w in (*windows[:top], *weighted(windows[top:], n - top, seed))}
        return [w for w in windows if w.id in drawn]
    edges = [i * len(windows) // n for i in range(n + 1)]
    rng = np.random.default_rng(seed)
    return [windows[int(rng.integers(a, b))] for a, b in pairwise(edges)]


def cropped(window: Window, length: int | None) -> Window:
    """At most `length` tokens of a window, around its strongest one; all of it for None.

    At an end of the window the piece is moved, not shortened.
    """
    size = len(window.tokens)
    if length is None or length >= size:
        return window
    peak = max(range(size), key=window.activations.__getitem__)
    start = min(max(0, peak - length // 2), size - length)
    piece = slice(start, start + length)
    return replace(
        window,
        ids=window.ids[piece],
        tokens=window.tokens[piece],
        activations=window.activations[piece],
        position=window.position + start,
    )
