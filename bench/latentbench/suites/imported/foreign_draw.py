"""The windows of one foreign latent -> its explain and test windows.

    source says the sides    they stay; an explain window that shares a run of tokens with a test window goes
    source says nothing      families of windows (copies of each other, or of one document) go to one side as a whole, in the
                             proportion asked for and evenly over strengths; then windows are drawn from each side

Test windows are drawn first and by a seed of their own, as in a suite that is built here. To draw windows one by one is the
tempting way: what is published as a latent's strongest windows often is one licence or one poem ten times over.

A decile says where a window stands among all windows of the latent that the source has, which are rarely a fair sample of all
that the latent does. Bins of the source, where it names them, decide how test windows are spread: the strongest windows of an
export are a fourth of it, and a draw by deciles would be a fourth strongest windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from latentbench.kernel.identity import seed_for
from latentbench.kernel.kinds import RANDOM
from latentbench.stats.quota import spread
from latentbench.suites.build.sampling import DECILES, Ints, Strategy, WindowPlan
from latentbench.suites.imported.foreign_latent import ForeignLatent, ForeignWindow, Values
from latentbench.suites.imported.shared_runs import all_runs, families, shares
from latentbench.suites.shingles import Hashes

TRIES = 20
"""Windows of other latents that are looked at for each one that is asked for."""


@dataclass(frozen=True, eq=False)
class DrawnLatent:
    """A latent with its windows on their sides.

    Attributes:
        latent: as the source has it.
        explain: activating windows, strongest first.
        contrast: silent windows on the explain side.
        test: activating windows, in the order of their tokens.
        silent: silent test windows, each with its kind.
        edges: decile edges of the maxima [11]; empty for a latent that never fires.
        held_back: windows that were on neither side because the other one has a copy of them.
    """

    latent: ForeignLatent
    explain: tuple[ForeignWindow, ...]
    contrast: tuple[ForeignWindow, ...]
    test: tuple[ForeignWindow, ...]
    silent: tuple[ForeignWindow, ...]
    edges: Values
    held_back: int

    @property
    def random(self) -> int:
        """Silent test windows of the kind `random`."""
        return sum(w.kind == RANDOM for w in self.silent)


class OtherWindows:
    """Windows of all latents, from which silent ones are borrowed for a latent that has none of its own.

    That a latent is silent on them is likely and not known: the source shows only where other latents fire.

    Args:
        latents: of the source; each text is taken once.
    """

    def __init__(self, latents: Sequence[ForeignLatent]) -> None:
        self._windows = list({w.text: w for latent in latents for w in latent.windows}.values())

    def borrowed(self, n: int, own: Hashes, taken: set[bytes], seed: int) -> list[ForeignWindow]:
        """Up to `n` windows at random that share no run with the latent's own.

        Args:
            own: runs of the windows in which the latent fires.
            taken: texts that it has already.
            seed: the latent's own.
        """
        rng = np.random.default_rng(seed_for("borrowed", seed))
        found: list[ForeignWindow] = []
        for i in rng.permutation(len(self._windows))[: TRIES * n].tolist():
            if len(found) == n:
                break
            w = self._windows[i]
            if w.text not in taken and not shares(w.ids, own):
                found.append(ForeignWindow(w.ids, np.zeros(len(w.ids)), kind=RANDOM))
        return found


def draw_windows(latent: ForeignLatent, plan: WindowPlan, seed: int, others: OtherWindows | None) -> DrawnLatent:
    """Draw the windows of one latent.

    Args:
        latent: with all its windows.
        plan: how many of each sort.
        seed: of the suite and the latent.
        others: where silent windows are borrowed when the latent has too few; None keeps it to its own.
    """
    active = _ranked([w for w in latent.windows if w.max > 0])
    silent = [w for w in latent.windows if w.max <= 0]
    given = any(w.role for w in active)
    sides = [w.role or "test" for w in active] if given else _sides(active, plan, seed_for("sides", seed))
    test = _test([w for w, side in zip(active, sides, strict=True) if side == "test"], plan, seed_for("test", seed))
    free = [w for w, side in zip(active, sides, strict=True) if side == "explain"]
    seen = all_runs([w.ids for w in test])
    kept = [w for w in free if not shares(w.ids, seen)]
    explain = _explain(kept, plan.explain, plan.sampling, seed_for("explain", seed))
    shown = all_runs([w.ids for w in explain])
    contrast = [w for w in silent if w.role == "explain"]
    quiet, named = _silent([w for w in silent if w.role != "explain"], plan.negatives, shown, seed_for("silent", seed))
    if others is not None and len(quiet) < plan.negatives:
        own = all_runs([w.ids for w in active])
        taken = {w.text for w in latent.windows}
        quiet += others.borrowed(plan.negatives - len(quiet), own, taken, seed)
    return DrawnLatent(
        latent,
        explain=tuple(sorted(explain, key=lambda w: (-w.max, w.text))),
        contrast=tuple(w for w in contrast if not shares(w.ids, seen))[: plan.contrast],
        test=tuple(sorted(test, key=lambda w: w.text)),
        silent=(*quiet, *named),
        edges=latent.edges if latent.edges is not None else _edges(active),
        held_back=len(free) - len(kept),
    )


def _ranked(active: Sequence[ForeignWindow]) -> list[ForeignWindow]:
    """Windows from weakest to strongest, each with its decile; the order of the file decides nothing."""
    ordered = sorted(active, key=lambda w: (w.max, w.text))
    if all(w.decile is not None for w in ordered):
        return ordered
    return [replace(w, decile=i * DECILES // len(ordered)) for i, w in enumerate(ordered)]


def _edges(active: Sequence[ForeignWindow]) -> Values:
    if not active:
        return np.zeros(0)
    edges: Values = np.quantile([w.max for w in active], np.linspace(0, 1, DECILES + 1), method="lower")
    return edges


def _sides(active: Sequence[ForeignWindow], plan: WindowPlan, seed: int) -> list[str]:
    """A side for each window: families whole, in the proportion asked for, evenly over strengths."""
    family = families([w.ids for w in active], [w.document for w in active])
    # Windows come weakest first, so a family stands where its strongest window does.
    last = {int(f): i for i, f in enumerate(family.tolist())}
    order = sorted(last, key=lambda f: last[f])
    rng = np.random.default_rng(seed)
    mixed = [f for block in np.array_split(np.array(order), DECILES) for f in rng.permutation(block).tolist()]
    share = plan.explain / max(1, plan.explain + plan.positives)
    size = {f: int((family == f).sum()) for f in mixed}
    explain, done, chosen = 0, 0, set()
    # Where a large family makes one side too full, the other one gets the next families until the proportion is right again.
    for f in mixed:
        done += size[f]
        if explain + size[f] / 2 <= done * share:
            chosen.add(f)
            explain += size[f]
    if mixed and len(mixed) > 1 and not chosen:
        chosen.add(min(mixed, key=lambda f: (size[f], f)))
    if len(mixed) > 1 and len(chosen) == len(mixed):
        chosen.discard(min(mixed, key=lambda f: (size[f], f)))
    return ["explain" if f in chosen else "test" for f in family.tolist()]


def _test(pool: Sequence[ForeignWindow], plan: WindowPlan, seed: int) -> list[ForeignWindow]:
    """Test windows, evenly over the source's bins, or over deciles where it has none."""
    binned = any(w.bin is not None for w in pool)
    groups: dict[float, list[ForeignWindow]] = {}
    for w in pool:
        # What is in no bin where others are in one is what the source shows as strongest.
        own = math.inf if w.bin is None else w.bin
        groups.setdefault(own if binned else float(w.decile or 0), []).append(w)
    rng = np.random.default_rng(seed)
    quota = spread(plan.positives, [len(groups[g]) for g in sorted(groups)])
    return [
        groups[g][i]
        for g, n in zip(sorted(groups), quota, strict=True)
        for i in rng.choice(len(groups[g]), n, replace=False).tolist()
    ]


def _explain(pool: Sequence[ForeignWindow], n: int, sampling: Strategy, seed: int) -> list[ForeignWindow]:
    """Explain windows out of a pool that is ordered from weakest to strongest."""
    rng = np.random.default_rng(seed)
    n = min(n, len(pool))
    if sampling == "random":
        return [pool[i] for i in rng.choice(len(pool), n, replace=False).tolist()]
    n_top = {"top": n, "mix": n - n // 2, "quantile": 0}[sampling]
    top, rest = pool[len(pool) - n_top :], pool[: len(pool) - n_top]
    groups: dict[int, list[ForeignWindow]] = {}
    for w in rest:
        groups.setdefault(w.decile or 0, []).append(w)
    quota = spread(n - n_top, [len(groups[g]) for g in sorted(groups)])
    return [
        *top,
        *(
            groups[g][i]
            for g, take in zip(sorted(groups), quota, strict=True)
            for i in rng.choice(len(groups[g]), take, replace=False).tolist()
        ),
    ]


def _silent(
    windows: Sequence[ForeignWindow], n: int, shown: Hashes, seed: int
) -> tuple[list[ForeignWindow], list[ForeignWindow]]:
    """Own silent windows: at most `n` at random of those without a special kind, and all that have one."""
    free = sorted((w for w in windows if not shares(w.ids, shown)), key=lambda w: w.text)
    plain = [w for w in free if w.kind in ("", RANDOM)]
    rng = np.random.default_rng(seed)
    picked: Ints = np.sort(rng.choice(len(plain), min(n, len(plain)), replace=False))
    return [replace(plain[i], kind=RANDOM) for i in picked.tolist()], [w for w in free if w.kind not in ("", RANDOM)]
