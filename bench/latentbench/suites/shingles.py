"""Runs of eight tokens: what two windows share when one was copied from the other.

Whether two windows are copies is asked of their tokens and not of their text or an estimate of it. MinHash is the tempting way
and right for documents by the million; the windows of one latent are so few that the sets themselves are compared, and nothing
is missed. A run is known by a hash of 64 bits: two runs that collide would cost a window, and a copy is never overlooked.

A run of one or two different tokens, such as an indent, a ruler or a row of zeros, says nothing of where a text comes from. Such
a plain run counts only between two windows that hold nothing else.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHINGLE = 8
"""Tokens of a run."""
PLAIN = 2
"""Different tokens of a plain run at most."""

Hashes = NDArray[np.uint64]
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def shingle_hashes(tokens: NDArray[np.integer], n: int) -> Hashes:
    """Hash of the run that starts at each token.

    Args:
        tokens: one after another [m].
        n: tokens of a run.

    Returns:
        [m - n + 1], empty where there are fewer tokens than a run has.
    """
    runs = max(0, len(tokens) - n + 1)
    out = np.zeros(runs, np.uint64)
    mixed = _mixed(np.asarray(tokens))
    for i in range(n):
        out *= _STEP
        out += mixed[i : i + runs]
    return out


def plain_runs(tokens: NDArray[np.integer], start: NDArray[np.integer], n: int) -> NDArray[np.bool_]:
    """Mark the runs that hold at most `PLAIN` different tokens.

    Args:
        tokens: one after another [m].
        start: where each run starts, at most m - n [k].
        n: tokens of a run.
    """
    first = np.asarray(tokens[start])
    second = first.copy()
    more = np.zeros(len(start), np.bool_)
    for i in range(1, n):
        token = tokens[start + i]
        other = token != first
        second = np.where(other & (second == first), token, second)
        more |= other & (token != second)
    return ~more


def _mixed(tokens: NDArray[np.integer]) -> Hashes:
    """Tokens spread over 64 bits (splitmix64), so that sums of neighbouring ids do not meet."""
    x = tokens.astype(np.uint64) + _STEP
    for shift, factor in zip((30, 27), _MIX, strict=True):
        x ^= x >> np.uint64(shift)
        x *= factor
    mixed: Hashes = x ^ (x >> np.uint64(31))
    return mixed
