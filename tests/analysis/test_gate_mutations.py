"""Faults that somebody could bring into this repository, each applied to its own code: the gate must see them.

The baseline is frozen from the code as it is. A mutation that leaves the gate green is a fault that CI would let through.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from latentbench.analysis.gate.decide import Verdict
from latentbench.analysis.gate.gate_report import GateReport
from latentbench.judges.mock import mock_judge as mock
from latentbench.kernel.latent import LatentView, Window
from latentbench.kernel.requests import Choice
from latentbench.kernel.trial import Trial
from latentbench.prompts import selection
from latentbench.scorers import binary_task, fuzzing
from latentbench.scorers.binary_task import BinaryTask

from tests.builders.gate_runs import FEW, SPEC, by_name, frozen, gated

TASKS = Path(__file__).parents[2] / "tasks"


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, content = frozen(tmp_path_factory.mktemp("baseline"))
    assert len(content.probes) > 10
    assert content.noise == {"oracle": 0.0, "lexical": 0.0}
    return path


def failures(report: GateReport, kind: str) -> list[str]:
    return [c.name for c in report.checks if c.kind == kind and c.verdict is Verdict.FAIL]


def test_an_unchanged_tree_passes(baseline: Path, tmp_path: Path) -> None:
    report = gated(tmp_path, baseline)
    assert report.verdict is Verdict.PASS, report.summary()
    assert report.exit_code() == 0
    assert {c.estimate for c in report.checks if c.statistical} == {0.0}


def test_marks_shifted_by_one_token(baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = fuzzing.active_marks

    def shifted(activations: Sequence[float], threshold: float) -> tuple[bool, ...]:
        marks = right(activations, threshold)
        return (marks[-1], *marks[:-1])

    monkeypatch.setattr(fuzzing, "active_marks", shifted)
    report = gated(tmp_path, baseline)
    assert report.exit_code() == 1
    assert failures(report, "metric") == ["truth/fuzzing/oracle: ap_normalised"]


def test_negatives_drawn_from_activating_windows(
    baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def activating(latent: LatentView, kind: str, count: int | None, seed: int) -> list[Window]:
        return [replace(w, kind=kind) for w in selection.positives(latent, count, seed + 1)]

    monkeypatch.setattr(selection, "negatives", activating)
    report = gated(tmp_path, baseline)
    assert report.exit_code() == 1
    assert "truth/detection/oracle: ap_normalised" in failures(report, "metric")
    assert "canaries detection/oracle" in failures(report, "invariant")


def test_label_order_reversed(baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = BinaryTask.trials

    def reversed_labels(self: BinaryTask, latent: LatentView, explanation: str, seed: int) -> list[Any]:
        trials = right(self, latent, explanation, seed)
        flat = [y for trial in trials for y in trial.truth][::-1]
        sizes = np.cumsum([0, *(len(t.truth) for t in trials)])
        return [replace(t, truth=tuple(flat[a:b])) for t, a, b in zip(trials, sizes[:-1], sizes[1:], strict=True)]

    monkeypatch.setattr(BinaryTask, "trials", reversed_labels)
    report = gated(tmp_path, baseline)
    assert report.exit_code() == 1
    assert {"truth/detection/oracle: ap_normalised", "truth/list/oracle: ap_normalised"} <= set(
        failures(report, "metric")
    )


def test_the_two_answers_of_a_prompt_swapped(baseline: Path, tmp_path: Path) -> None:
    task = yaml.safe_load((TASKS / "scorers" / "detection.yaml").read_text(encoding="utf-8"))
    task["prompts"]["answers"] = {"active": "No", "inactive": "Yes"}
    swapped = tmp_path / "detection.yaml"
    swapped.write_text(yaml.safe_dump(task), encoding="utf-8")
    scorers = [{"use": str(swapped), "label": "detection", "preset": "single", "params": FEW}, *SPEC["scorers"][1:]]
    report = gated(tmp_path / "head", baseline, scorers=scorers)
    assert report.exit_code() == 1
    assert "truth/detection/oracle: ap_normalised" in failures(report, "metric")
    assert any("scorer detection: detection@2-0 has other prompts" in note for note in report.notes)
    # The judge is the same: what changed is what it was asked.
    assert by_name(report)["judge oracle"].verdict is Verdict.PASS


def test_five_windows_scored_as_four(baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = BinaryTask.trials

    def four(self: BinaryTask, latent: LatentView, explanation: str, seed: int) -> list[Any]:
        return [
            replace(t, windows=t.windows[:4], truth=t.truth[:4]) if len(t.windows) == 5 else t
            for t in right(self, latent, explanation, seed)
        ]

    monkeypatch.setattr(BinaryTask, "trials", four)
    report = gated(tmp_path, baseline)
    assert report.exit_code() == 1
    assert "windows list/oracle" in failures(report, "invariant")
    assert by_name(report)["windows list/oracle"].message.startswith("8.0 judgements a latent, were 10.0")


def test_an_answer_of_five_read_as_four(baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = BinaryTask.parse

    def four(self: BinaryTask, trial: Any, replies: Any) -> Any:
        found = right(self, trial, replies)
        return found[:4] if len(found) == 5 else found

    monkeypatch.setattr(BinaryTask, "parse", four)
    report = gated(tmp_path, baseline)
    assert report.exit_code() == 1
    assert "coverage list/oracle" in failures(report, "invariant")


def test_a_judge_at_temperature_one(baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers with a draw from its distribution, in choices and in texts, and its identity does not say so."""
    rng = np.random.default_rng(5)
    logprobs, write = mock.choice_logprobs, mock.written

    def drawn(variant: Any, choice: Choice) -> tuple[tuple[float, ...], ...]:
        found = []
        for slot in logprobs(variant, choice):
            p = np.exp(slot)
            pick = rng.choice(len(p), p=p / p.sum())
            found.append(tuple(math.log(0.999 if i == pick else 0.001) for i in range(len(p))))
        return tuple(found)

    class Sampled:
        def __init__(self, variant: Any) -> None:
            self.variant = variant

        def windows(self, trial: Trial) -> tuple[float, ...]:
            return tuple(float(rng.random() < p) for p in self.variant.windows(trial))

    monkeypatch.setattr(mock, "choice_logprobs", drawn)
    monkeypatch.setattr(mock, "written", lambda variant, trial: write(Sampled(variant), trial))
    report = gated(tmp_path, baseline)
    assert report.exit_code() == 1
    assert "judge lexical" in failures(report, "invariant")


def test_a_scorer_that_ranks_the_wrong_way(baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary_task, "yes", lambda log_no, log_yes: 1 / (1 + math.exp(log_yes - log_no)))
    report = gated(tmp_path, baseline)
    assert report.exit_code() == 1
    assert {"truth/detection/oracle: ap_normalised", "truth/fuzzing/oracle: ap_normalised"} <= set(
        failures(report, "metric")
    )
