"""The page of speeds is what its committed numbers say, and so is that of sizes; the gate of speeds tells slower from noisy."""

from __future__ import annotations

import copy
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from latentbench.analysis.gate.policy import Verdict

ROOT = Path(__file__).parents[2]


def benchmark(name: str) -> ModuleType:
    """A file of `benchmarks/`, which is no package."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        # The page's other table is imported late, by a function of `report`.
        importlib.import_module("beside_delphi")
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


report = benchmark("report")
model = benchmark("cost_model")


def record(cost: float, noise: float, seed: int) -> dict[str, Any]:
    """Six rounds of one figure, on a machine whose clock wanders by a factor of two and slows both sides."""
    rng = np.random.default_rng(seed)
    clock = 2 ** rng.uniform(-0.5, 0.5, 6)
    bare, own = clock, clock * cost * np.exp(rng.normal(0, noise, 6))
    figure = {"what": "x", "target": "", "shown": "speed", "clock": "wall", "command": "c", "amount": 0.0, "unit": ""}
    figures = {"a": figure | {"own": own.tolist(), "bare": bare.tolist()}}
    return {"date": "d", "machine": "m", "threads": 2, "versions": {}, "figures": figures}


def test_the_page_is_what_the_numbers_say() -> None:
    old = report.PAGE.read_text(encoding="utf-8")
    assert report.BESIDE.exists()
    assert "| collection at 2,304 latents, tokens/s |" in old
    assert report.page(old) == old


def test_a_number_that_moved_moves_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = report.PAGE.read_text(encoding="utf-8")
    (tmp_path / "speed.json").write_text(json.dumps(record(2.0, 0.0, 0)), encoding="utf-8")
    monkeypatch.setattr(report, "SPEED", tmp_path / "speed.json")
    assert "| x | – | 0.5 (0.5 to 0.5) | bare time / own time | – | `c` |" in report.page(old)
    with pytest.raises(ValueError, match="needs one line"):
        report.page("a page without the lines")


@pytest.mark.parametrize(
    ("cost", "noise", "verdict"),
    [(1.0, 0.02, Verdict.PASS), (1.5, 0.02, Verdict.FAIL), (1.3, 0.4, Verdict.INCONCLUSIVE)],
)
def test_the_gate_has_three_verdicts(cost: float, noise: float, verdict: Verdict) -> None:
    found = report.gate(record(1.0, noise, 0), record(cost, noise, 1))
    assert {c.name: c.verdict for c in found.checks if c.kind == "speed"} == {"a": verdict}


def test_another_number_of_threads_does_not_compare_and_a_figure_that_is_gone_is_said() -> None:
    base, head = record(1.0, 0.02, 0), record(1.0, 0.02, 1)
    assert report.gate(base, head | {"threads": 1}).verdict is Verdict.NOT_COMPARABLE
    more = copy.deepcopy(base)
    more["figures"]["b"] = more["figures"]["a"]
    assert report.gate(more, head).verdict is Verdict.NOT_COMPARABLE


def test_a_speed_is_the_inverse_of_a_cost_with_its_bounds_by_students_t() -> None:
    figure = record(2.0, 0.0, 0)["figures"]["a"]
    assert "| 0.5 (0.5 to 0.5) |" in report.row(figure)
    assert "| 2 (2 to 2) |" in report.row(figure | {"shown": "cost"})
    middle, low, high = report.bounds([1.0, 2.0, 4.0])
    # Logarithms 0, 1 and 2 of base 2: their error is 1 / sqrt(3), and t with 2 degrees of freedom is 4.3027.
    assert (middle, high / 2, 2 / low) == pytest.approx((2.0, 2 ** (4.3027 / 3**0.5), 2 ** (4.3027 / 3**0.5)), rel=1e-4)


def test_json_of_pytest_benchmark_becomes_figures() -> None:
    figure = record(1.0, 0.1, 0)["figures"]["a"]
    measured = {
        "datetime": "2026-01-02T03:04",
        "machine_info": {"cpu": {"brand_raw": "CPU"}, "python_version": "3.11"},
        "benchmarks": [
            {"fullname": "benchmarks/test_x.py::test_y", "extra_info": {"figure": figure}},
            {"fullname": "benchmarks/test_x.py::test_z", "extra_info": {}},
        ],
    }
    found = json.loads(json.dumps(report.figures(measured)))
    assert found["date"] == "2026-01-02"
    assert found["figures"] == {"test_x.py::test_y": figure}


def test_the_page_of_sizes_is_what_the_cost_model_prints() -> None:
    old = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert report.replaced(old, "cost model", model.table()) == old


def test_costs_by_hand() -> None:
    c = model.Constants(
        layer=1e-3, latent=1e-6, draw=1.0, draw_entry=0.5, draw_token=0.01, window=0.25, window_bytes=10.0
    )
    size = model.Size(tokens=100, latents=50, layers=2, k=5, judged=3, windows=4, scored=10)
    seconds, stored = (x.amount for x in model.collection(size, c))
    assert seconds == pytest.approx(100 * (1e-3 * 2 + 1e-6 * 50 * 2))
    assert stored == 100 * (4 + 5 * 2 * 6) + 50 * 2 * 8
    # 100 tokens with 5 of 50 latents each: a latent fires 10 times.
    assert [x.amount for x in model.suite(size, c)] == pytest.approx([3 * (1 + 5 + 1), 3 * 4 * 0.25, 3 * 4 * 10])
    ran = model.run(size, c)
    assert [ran[0].amount, ran[1].amount] == [30, 6]
    assert ran[3].amount == pytest.approx(6 * (511 * 0.1 + 16 * 0.4) / 1e6)


def test_the_model_is_near_what_was_measured() -> None:
    found = model.checks()
    assert len(found) >= 3
    assert all(abs(c.predicted / c.measured - 1) < 0.2 for c in found), found
