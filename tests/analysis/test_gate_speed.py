"""Timings in pairs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from latentbench.analysis.gate.decide import Verdict
from latentbench.analysis.gate.gate_report import GateReport
from latentbench.analysis.gate.speed import compare_speed
from latentbench.cli import app
from latentbench.kernel.errors import DataError
from scipy import stats
from typer.testing import CliRunner

CPU = "Some CPU"


def write(path: Path, seconds: dict[str, float], cpu: str = CPU) -> Path:
    benchmarks = [{"name": n, "fullname": n, "stats": {"median": s, "mean": 9.0}} for n, s in seconds.items()]
    path.write_text(
        json.dumps({"machine_info": {"cpu": {"brand_raw": cpu}}, "benchmarks": benchmarks}), encoding="utf-8"
    )
    return path


def measured(
    folder: Path, ratio: float, pairs: int = 6, noise: float = 0.02, seed: int = 0
) -> tuple[list[Path], list[Path]]:
    """Base and head in turns, on a machine whose clock wanders by a factor of two."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    sides: tuple[list[Path], list[Path]] = ([], [])
    for i in range(pairs):
        clock = 2 ** rng.uniform(-0.5, 0.5)
        for side, factor in enumerate((1.0, ratio)):
            a, b = np.exp(rng.normal(0, noise, 2))
            sides[side].append(
                write(folder / f"{side}-{i}.json", {"a": 1e-3 * clock * factor * a, "b": 0.5 * clock * b})
            )
    return sides


def verdicts(report: GateReport) -> dict[str, Verdict]:
    return {c.name: c.verdict for c in report.checks if c.kind == "speed"}


def test_a_slower_head_fails_although_the_clock_wanders_more(tmp_path: Path) -> None:
    report = compare_speed(*measured(tmp_path, 1.3))
    assert verdicts(report) == {"a": Verdict.FAIL, "b": Verdict.PASS}
    assert report.exit_code() == 1


def test_the_bound_is_students_on_log_ratios(tmp_path: Path) -> None:
    base, head = measured(tmp_path, 1.05)
    (a, _) = (c for c in compare_speed(base, head).checks if c.kind == "speed")
    read = [
        [json.loads(p.read_text(encoding="utf-8"))["benchmarks"][0]["stats"]["median"] for p in side]
        for side in (base, head)
    ]
    logs = np.log(np.array(read[1]) / np.array(read[0]))
    assert -a.estimate == pytest.approx(logs.mean())
    assert -a.low == pytest.approx(logs.mean() + stats.t.ppf(0.95, 5) * stats.sem(logs))
    assert a.p >= stats.t.sf(logs.mean() / stats.sem(logs), 5) * 0.999


def test_a_faster_head_passes_and_few_noisy_pairs_do_not_decide(tmp_path: Path) -> None:
    assert set(verdicts(compare_speed(*measured(tmp_path / "a", 0.7))).values()) == {Verdict.PASS}
    report = compare_speed(*measured(tmp_path / "b", 1.15, noise=0.3))
    assert verdicts(report)["a"] is Verdict.INCONCLUSIVE
    assert "6 pairs do not decide it" in next(c.message for c in report.checks if c.name == "a")
    one = compare_speed(*measured(tmp_path / "c", 1.5, pairs=1))
    assert set(verdicts(one).values()) == {Verdict.INCONCLUSIVE}


def test_false_failures_of_speed_are_rare(tmp_path: Path) -> None:
    failed = sum(
        compare_speed(*measured(tmp_path / str(i), 1.0, noise=0.2, seed=i)).verdict is Verdict.FAIL for i in range(60)
    )
    assert failed <= stats.binom.ppf(0.999, 60, 0.01)


def test_two_machines_are_not_comparable(tmp_path: Path) -> None:
    base, head = measured(tmp_path, 1.0)
    write(head[0], {"a": 1.0, "b": 1.0}, "Another CPU")
    assert compare_speed(base, head).exit_code() == 4


def test_a_benchmark_that_is_gone_is_not_passed_over(tmp_path: Path) -> None:
    base, head = measured(tmp_path, 1.0)
    write(head[2], {"a": 1e-3, "new": 1.0})
    report = compare_speed(base, head)
    assert verdicts(report)["b"] is Verdict.NOT_COMPARABLE


@pytest.mark.parametrize("text", ["{", "[]", '{"benchmarks": [{}]}'])
def test_what_holds_no_timings_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="benchmark-json"):
        compare_speed([tmp_path / "x.json"], [tmp_path / "x.json"])


def test_the_command_line(tmp_path: Path) -> None:
    base, head = measured(tmp_path, 1.3)
    words = [
        "speed",
        *(f"--base={p}" for p in base),
        *(f"--head={p}" for p in head),
        "--json",
        str(tmp_path / "o.json"),
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1, done.output
    first = next(c for c in json.loads((tmp_path / "o.json").read_text(encoding="utf-8"))["checks"] if c["name"] == "a")
    assert math.exp(-first["estimate"]) == pytest.approx(1.3, rel=0.05)
    assert CliRunner().invoke(app, words[:-3]).exit_code != 0
