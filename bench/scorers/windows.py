"""Which test windows a trial judges: seeded per latent, without replacement, evenly over the activation deciles."""

from __future__ import annotations

import numpy as np

from bench.suites.latent import LatentView, Window


def positives(latent: LatentView, n: int | None, rng: np.random.Generator) -> list[Window]:
    """`n` activating test windows, the deciles in turn so that none is favoured; all of them if `n` is None or larger."""
    bins: dict[int, list[Window]] = {}
    for window in latent.test:
        if window.decile is not None:
            bins.setdefault(window.decile, []).append(window)
    queues = [[bins[d][i] for i in rng.permutation(len(bins[d]))] for d in sorted(bins)]
    # Where `n` is no multiple of the bins, which bins give one more is drawn too.
    turn = [queues[i] for i in rng.permutation(len(queues))]
    picked: list[Window] = []
    while any(turn) and (n is None or len(picked) < n):
        for queue in turn:
            if queue and (n is None or len(picked) < n):
                picked.append(queue.pop())
    return picked


def of_kind(latent: LatentView, kind: str, n: int | None, rng: np.random.Generator) -> list[Window]:
    """`n` silent test windows of a kind (`random`, or a hard kind), without replacement."""
    found = [w for w in latent.test if w.kind == kind]
    order = rng.permutation(len(found))
    return [found[i] for i in (order if n is None else order[:n])]
