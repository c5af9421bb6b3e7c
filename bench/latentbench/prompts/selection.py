"""Which test windows a scorer judges, and in which order. Pure and seeded.

A draw depends on the seed and on what the windows are, never on their order in the table: windows are put into the order of
their content first. So permuting a suite's rows changes no score. All scorers of a run draw by one seed, and a smaller draw lies
within a larger one, so they judge the same windows as far as they want the same kind. A seed of each scorer's own is the tempting
way: scorers then differ by their windows too, and a judge whose one reply would serve several is asked again for each.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

from latentbench.kernel.identity import seed_for
from latentbench.kernel.kinds import RANDOM
from latentbench.kernel.latent import LatentView, Window
from latentbench.stats.quota import spread

T = TypeVar("T")


def by_content(windows: Iterable[Window]) -> list[Window]:
    """Windows in an order that no row number decides."""
    return sorted(windows, key=lambda w: (w.kind, w.position, w.ids, w.tokens))


def positives(latent: LatentView, count: int | None, seed: int) -> list[Window]:
    """Activating test windows, evenly over the deciles.

    Args:
        count: how many at most; all by default. Fewer than asked for is not an error: `n` of the metrics says how many.
    """
    groups: dict[int, list[Window]] = {}
    for w in by_content(latent.test):
        if w.decile is not None:
            groups.setdefault(w.decile, []).append(w)
    ordered = [groups[d] for d in sorted(groups)]
    sizes = [len(g) for g in ordered]
    quota = sizes if count is None else spread(count, sizes)
    return [w for g, n in zip(ordered, quota, strict=True) for w in _draw(g, n, seed_for(seed, "positives", g[0].kind))]


def negatives(latent: LatentView, kind: str, count: int | None, seed: int) -> list[Window]:
    """Test windows of a non-activating kind, drawn without replacement."""
    windows = [w for w in by_content(latent.test) if w.kind == kind]
    return _draw(windows, len(windows) if count is None else count, seed_for(seed, "negatives", kind))


def _draw(windows: Sequence[Window], count: int, seed: int) -> list[Window]:
    """The first `count` windows of a seeded order, put back into the order of their content; each place in that order comes
    from the window itself."""
    if count >= len(windows):
        return list(windows)
    return by_content(sorted(windows, key=lambda w: seed_for(seed, w.position, *w.ids))[:count])


def weighted(windows: Sequence[Window], count: int, seed: int) -> list[Window]:
    """`count` windows without replacement, drawn with probability proportional to the square of their maximum.

    Exponential races (Efraimidis and Spirakis 2006): the keys -log(u) / w of the drawn windows are the smallest ones. Each key
    comes from the window itself, so other windows joining or leaving do not change it.
    """

    def key(w: Window) -> float:
        u = random.Random(seed_for(seed, "weighted", w.kind, w.position, *w.ids)).random()
        return -math.log(1 - u) / w.max**2 if w.max > 0 else math.inf

    return sorted(by_content(windows), key=key)[:count]


def shuffled(items: Sequence[T], seed: int) -> list[T]:
    """A seeded permutation."""
    out = list(items)
    random.Random(seed).shuffle(out)
    return out


def batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Consecutive groups; the last may be shorter and is kept."""
    return [items[i : i + size] for i in range(0, len(items), size)]


def natural(latent: LatentView, seed: int) -> list[Window]:
    """Test windows in natural shares: as many as there are so that a share r of them activates.

    r = rate * tokens / m for a latent that fires on a share `rate` of all tokens and on m tokens of an activating window on
    average: activating windows are drawn evenly over their deciles, so m is that of the corpus. By hand: a rate of 1 %, windows
    of 32 tokens, m = 2: r = 0.16, so 50 silent windows come with 50 * 0.16 / 0.84 = 9.5, rounded 10, of the activating ones.
    """
    silent = negatives(latent, RANDOM, None, seed)
    active = positives(latent, None, seed)
    rate = latent.row.get("rate_token") or 0.0
    firing = sum(a > 0 for w in active for a in w.activations)
    share = min(1.0, rate * sum(len(w.activations) for w in active) / firing) if firing else 0.0
    limits = [len(silent) / (1 - share) if share < 1 else float("inf"), len(active) / share if share else float("inf")]
    total = min(limits)
    count = min(len(active), round(total * share)) if share else 0
    drawn = random.Random(seed)
    return drawn.sample(active, count) + drawn.sample(silent, min(len(silent), round(total * (1 - share))))
