"""Did it get slower? Timings of pytest-benchmark, base and head in turns, compared by ratio.

Seconds compare on one machine in one hour at best: the clock speed, the neighbours and the temperature move them more than most
changes do. So base and head are measured alternately (base 1, head 1, base 2, head 2, ...), the i-th of each is a pair, and the
unit is the logarithm of a pair's ratio: what slows the machine down slows both. The rounds inside one file are not units. They
share a process, its memory layout and its minute, and thousands of them would make any difference certain.

The rule is that of scores, with the limit on the ratio as delta. A handful of pairs has bounds by Student's t, not a bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latentbench.analysis.gate.decide import Decision, decide
from latentbench.analysis.gate.evidence import FAIL_LEVEL, PASS_LEVEL, Evidence
from latentbench.analysis.gate.gate_report import Check, GateReport
from latentbench.analysis.gate.policy import Verdict
from latentbench.analysis.gate.verdicts import wanted
from latentbench.kernel.errors import DataError
from latentbench.kernel.inputs import read_json

RATIO = 1.10
"""Largest ratio of head to base time that is still no slowdown."""
FEWEST_PAIRS = 5
"""Pairs below which no bound is believed: logarithms of ratios are near enough to normal that few do."""


def read_timings(path: Path) -> tuple[dict[str, float], str]:
    """Median seconds by benchmark, and the machine, of a `--benchmark-json` file.

    The median, because a benchmark's slowest rounds are those in which something else ran.

    Raises:
        DataError: not such a file.
    """
    try:
        data: Any = read_json(path)
        cpu = data.get("machine_info", {}).get("cpu", {})
        machine = str(cpu.get("brand_raw") or data.get("machine_info", {}).get("machine", "unknown"))
        return {str(b["fullname"]): float(b["stats"]["median"]) for b in data["benchmarks"]}, machine
    except FileNotFoundError as e:
        raise DataError(f"{path} does not exist.") from e
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as e:
        raise DataError(f"{path} is not a file of pytest --benchmark-json: {e!r}.") from e


def compare_speed(base: Sequence[Path], head: Sequence[Path], ratio: float = RATIO) -> GateReport:
    """Compare timings.

    Args:
        base, head: files in the order in which they were measured; the i-th of both are a pair.
        ratio: head / base that is too much, > 1.

    Raises:
        DataError: no pairs, files that are not timings, or a ratio that is not above 1.
    """
    if not base or len(base) != len(head):
        raise DataError(
            f"need as many files of the base as of the head, at least one, not {len(base)} and {len(head)}."
        )
    if not 1 < ratio < math.inf:
        raise DataError(f"the ratio must be a number above 1, not {ratio}.")
    read = [[read_timings(path) for path in side] for side in (base, head)]
    machines = sorted({machine for side in read for _, machine in side})
    one = len(machines) == 1
    checks = [
        Check(
            "comparability",
            "machine",
            Verdict.PASS if one else Verdict.NOT_COMPARABLE,
            machines[0] if one else f"measured on {' and '.join(machines)}: seconds of two machines do not compare",
            infrastructure=True,
        )
    ]
    names = list(read[0][0][0])
    everywhere = [n for n in names if all(n in timings for side in read for timings, _ in side)]
    if one and everywhere:
        seconds = np.array([[[timings[n] for n in everywhere] for timings, _ in side] for side in read])
        family = [_evidence(seconds[0, :, k], seconds[1, :, k]) for k in range(len(everywhere))]
        decisions = decide(family, [math.log(ratio)] * len(family), FEWEST_PAIRS)
        checks += [_check(n, e, d, ratio) for n, e, d in zip(everywhere, family, decisions, strict=True)]
    missing = [n for n in names if n not in everywhere]
    checks += [Check("speed", n, Verdict.NOT_COMPARABLE, "not in every file", infrastructure=True) for n in missing]
    new = set(read[1][0][0]) - set(names)
    notes = [f"{len(new)} benchmarks are new, such as {min(new)}"] if new else []
    return GateReport(f"{len(head)} timings of head against {len(base)} of base, in pairs", checks, notes)


def _evidence(base: np.ndarray[Any, np.dtype[np.float64]], head: np.ndarray[Any, np.dtype[np.float64]]) -> Evidence:
    """Student's t on log(base / head): below 0 is slower."""
    from scipy.special import stdtr, stdtrit

    logs = np.log(base / head)
    n, estimate, nan = len(logs), float(logs.mean()), math.nan
    medians = float(np.median(base)), float(np.median(head))
    if n < 2:
        return Evidence(n, *medians, estimate, nan, nan, nan, nan)
    error = float(logs.std(ddof=1)) / math.sqrt(n)
    low = estimate - float(stdtrit(n - 1, PASS_LEVEL)) * error
    high = estimate + float(stdtrit(n - 1, FAIL_LEVEL)) * error
    p = float(stdtr(n - 1, estimate / error)) if error else float(estimate >= 0)
    return Evidence(n, *medians, estimate, error, low, high, p)


def _check(name: str, e: Evidence, d: Decision, ratio: float) -> Check:
    message = f"{math.exp(-e.estimate):.2f} times the time of the base"
    message += "" if math.isnan(e.low) else f", at most {math.exp(-e.low):.2f} (95 % bound)"
    message += f"; allowed is {ratio:g}"
    if d.verdict is Verdict.INCONCLUSIVE:
        message += f"; {wanted(e.n, d.needed, 'pairs', FEWEST_PAIRS)}"
    return Check.tested("speed", name, message, e, d, math.log(ratio))
