"""How often the rule is right: its verdicts on simulated differences, through the same code that judges real ones.

    python tests/builders/gate_characteristics.py 4000

prints the table of docs/gate.md. A power formula would be shorter, and it would describe the normal approximation and not this
bootstrap, this correction and this pair of thresholds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from latentbench.analysis.gate.decide import Verdict, decide
from latentbench.analysis.gate.evidence import RESAMPLES, Array, Evidence, mean_evidence

Shape = Literal["normal", "sparse"]
BLOCK = 500
"""Simulated metrics whose resamples are held together."""
SPARSE = 0.8
"""Share of latents that do not change at all in the `sparse` shape."""


@dataclass(frozen=True)
class Setting:
    """One line of the table.

    Attributes:
        latents: number of latents.
        drop: true fall of the metrics that fall.
        sd: standard deviation of the paired differences.
        delta: what is allowed.
        family: metrics in one gate.
        worse: how many of them fall.
        shape: of the differences: normal, or zero on 80 % of the latents.
    """

    latents: int = 300
    drop: float = 0.0
    sd: float = 0.20
    delta: float = 0.02
    family: int = 1
    worse: int = 1
    shape: Shape = "normal"


@dataclass(frozen=True)
class Rates:
    """Shares of simulated gates.

    Attributes:
        passed, failed, inconclusive: verdicts on the metrics that fall (on all, where the drop is 0).
        gate: gates in which any metric failed.
        false: gates in which a metric failed that had not fallen.
        simulations: gates.
    """

    passed: float
    failed: float
    inconclusive: float
    gate: float
    false: float
    simulations: int


def differences(setting: Setting, metrics: int, rng: np.random.Generator) -> Array:
    """[latents, metrics] differences with mean 0 and the setting's sd."""
    shape = (setting.latents, metrics)
    if setting.shape == "normal":
        return rng.normal(0.0, setting.sd, shape)
    moved = rng.random(shape) >= SPARSE
    found: Array = np.where(moved, rng.normal(0.0, setting.sd / np.sqrt(1 - SPARSE), shape), 0.0)
    return found


def simulate(setting: Setting, simulations: int, seed: int = 0, resamples: int = RESAMPLES) -> Rates:
    """Carry out that many gates.

    Args:
        seed: of the data; the bootstrap has seed 0, as in a real gate.
    """
    rng = np.random.default_rng(seed)
    data = differences(setting, simulations * setting.family, rng)
    falls = np.arange(simulations * setting.family) % setting.family < setting.worse
    data[:, falls] -= setting.drop
    found = list(_evidence(data, resamples))
    verdicts = np.empty(len(found), dtype=object)
    for start in range(0, len(found), setting.family):
        one = slice(start, start + setting.family)
        decisions = decide(found[one], [setting.delta] * setting.family)
        verdicts[one] = [d.verdict for d in decisions]
    changed = falls if setting.drop > 0 else np.ones_like(falls)
    own = verdicts[changed]
    failed = (verdicts == Verdict.FAIL).reshape(simulations, setting.family)
    unchanged = ~falls.reshape(simulations, setting.family) | (setting.drop == 0)
    return Rates(
        float((own == Verdict.PASS).mean()),
        float((own == Verdict.FAIL).mean()),
        float((own == Verdict.INCONCLUSIVE).mean()),
        float(failed.any(axis=1).mean()),
        float((failed & unchanged).any(axis=1).mean()),
        simulations,
    )


def _evidence(data: Array, draws: int) -> Iterator[Evidence]:
    for start in range(0, data.shape[1], BLOCK):
        part = data[:, start : start + BLOCK]
        yield from mean_evidence(np.zeros_like(part), part, [1.0] * part.shape[1], 0, draws)


TABLE = (
    *(Setting(latents=n, drop=d) for n in (300, 100, 30) for d in (0.0, 0.02, 0.04)),
    *(Setting(drop=0.04, family=m, worse=w) for m, w in ((5, 1), (20, 1), (20, 20))),
    Setting(family=20, worse=20),
)


def table(simulations: int = 2000) -> Iterator[str]:
    """Lines of the table, in Markdown."""
    yield "| latents | differences | true drop | tests | of which fall | PASS | INCONCLUSIVE | FAIL | any FAIL | any false FAIL |"
    yield "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for s in TABLE:
        r = simulate(s, max(200, simulations // s.family))
        fall = s.worse if s.drop else 0
        shares = " | ".join(f"{x:.1%}" for x in (r.passed, r.inconclusive, r.failed, r.gate, r.false))
        yield f"| {s.latents} | {s.shape} | {s.drop:g} | {s.family} | {fall} | {shares} |"


if __name__ == "__main__":
    for line in table(int(sys.argv[1]) if len(sys.argv) > 1 else 2000):
        print(line, flush=True)
