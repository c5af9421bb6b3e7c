"""Runs on planted latents with deterministic judges, for tests of the gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from latentbench.analysis.gate.baseline import Baseline, write_baseline
from latentbench.analysis.gate.gate import freeze, gate
from latentbench.analysis.gate.gate_report import Check, GateReport, GateSettings
from latentbench.runs.run import start
from rich.console import Console

QUIET = Console(quiet=True)
FEW = {"positives": 5, "negatives": 5, "simulate": "never"}
SPEC: dict[str, Any] = {
    "name": "g",
    "suite": "planted-1",
    "limit": 30,
    "explainers": [{"use": "planted", "label": "truth"}, {"use": "shuffled", "params": {"of": "truth"}}],
    "scorers": [
        {"use": "detection", "preset": "single", "params": FEW},
        {"use": "detection", "label": "list", "preset": "paper", "params": FEW, "judges": ["oracle"]},
        {"use": "fuzzing", "preset": "single", "params": FEW, "judges": ["oracle"]},
    ],
    "judges": [{"use": "mock:oracle", "label": "oracle"}, {"use": "mock:lexical", "label": "lexical"}],
}


def write_spec(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump({**SPEC, **changes}), encoding="utf-8")
    return path


def carry_out(folder: Path, **changes: Any) -> Path:
    """A run folder."""
    run, _ = start(write_spec(folder, **changes), folder / "run", folder / "cache.sqlite", QUIET)
    return run


def frozen(folder: Path, **changes: Any) -> tuple[Path, Baseline]:
    """A baseline file of a new run, and its content."""
    baseline = freeze(carry_out(folder, **changes))
    write_baseline(baseline, folder / "baseline.json")
    return folder / "baseline.json", baseline


def gated(folder: Path, baseline: Path, settings: GateSettings | None = None, **changes: Any) -> GateReport:
    """A gate that makes its run from the code as it is now."""
    spec = write_spec(folder, **changes)
    report, _ = gate(
        spec, baseline, settings or GateSettings(), QUIET, out=folder / "run", cache=folder / "cache.sqlite"
    )
    return report


def by_name(report: GateReport) -> dict[str, Check]:
    return {c.name: c for c in report.checks}
