"""The pytest plugin: names from the baseline alone, verdicts as outcomes."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from xml.etree import ElementTree

import numpy.fft  # noqa: F401 - as with pandas, and NumPy refuses to be loaded twice.
import pandas  # noqa: F401 - pytester unloads what is imported after it, and to pyarrow a second pandas is a stranger.
import pytest
from latentbench.analysis.gate.baseline import write_baseline
from latentbench.analysis.gate.gate import freeze
from latentbench.cli import app
from typer.testing import CliRunner

from tests.builders.run_builder import Grid, build_run

pytest_plugins = ["pytester"]
GRID = Grid(explainers={"llm": 0.85, "tokens": 0.75}, repeats=2)
INSTALLED = any(p.name == "latentbench" for p in entry_points(group="pytest11"))


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    write_baseline(freeze(build_run(tmp_path / "base", GRID), offline=True), tmp_path / "b.json")
    return tmp_path / "b.json"


def pytest_with(pytester: pytest.Pytester, *words: object) -> pytest.RunResult:
    plugin = () if INSTALLED else ("-p", "latentbench.analysis.gate.plugin")
    scope = ("-o", "asyncio_default_fixture_loop_scope=function")  # Unset, pytest-asyncio warns of each run.
    return pytester.runpytest_inprocess(*plugin, *scope, *map(str, words))


def test_one_test_per_metric_and_pair_known_without_a_run(pytester: pytest.Pytester, baseline: Path) -> None:
    done = pytest_with(pytester, "--collect-only", "-q", "--latentbench-baseline", baseline)
    lines = [line for line in done.outlines if "::" in line]
    assert any(line.endswith("::metric[llm/detection/mock: accuracy]") for line in lines)
    assert any(line.endswith("::invariant[suite digest]") for line in lines)
    done = pytest_with(pytester, "--collect-only", "-q", "-k", "accuracy", "--latentbench-baseline", baseline)
    assert len([line for line in done.outlines if "::" in line]) == 2


def test_verdicts_are_outcomes(pytester: pytest.Pytester, baseline: Path, tmp_path: Path) -> None:
    fewer = {**GRID.coders, "mlp9": GRID.coders["mlp9"] - 1}
    worse = build_run(
        tmp_path / "worse", Grid(explainers={"llm": 0.5, "tokens": 0.75}, coders=fewer, repeats=2, seed=9)
    )
    options = ("--latentbench-baseline", baseline, "--latentbench-run")
    assert pytest_with(pytester, *options, tmp_path / "base").ret == 0
    done = pytest_with(pytester, *options, worse, "-rs", "--latentbench-inconclusive", "skip")
    outcomes = done.parseoutcomes()
    # The drop of llm fails; tokens has other noise and is not decided; a latent is missing, which is an error.
    assert (outcomes["failed"], outcomes["skipped"], outcomes["errors"]) == (1, 1, 1)
    done.stdout.no_fnmatch_line("*Traceback*")
    done.stdout.no_fnmatch_line("*def setup*")
    done.stdout.fnmatch_lines(["llm/detection/mock: accuracy: * to *, difference -0.*"])
    done.stdout.fnmatch_lines(["SKIPPED*29 latents do not decide it, about * would"])


@pytest.mark.parametrize("policy", ["", "fail", "skip", "pass"])
def test_exit_code_junit_and_pytest_have_one_policy_for_what_is_not_decided(
    pytester: pytest.Pytester, baseline: Path, tmp_path: Path, policy: str
) -> None:
    other = build_run(tmp_path / "other", Grid(explainers=GRID.explainers, repeats=2, seed=9))
    said = ("--inconclusive", policy) if policy else ()
    command = ["gate", str(other), "--baseline", str(baseline), "--offline", "--junit", str(tmp_path / "g.xml"), *said]
    command_line = CliRunner().invoke(app, command)
    suite = ElementTree.parse(tmp_path / "g.xml").getroot()[0]
    options = ("--latentbench-baseline", baseline, "--latentbench-run", other, "--latentbench-offline")
    done = pytest_with(pytester, *options, *(("--latentbench-inconclusive", policy) if policy else ()))
    outcomes = done.parseoutcomes()
    counted = tuple(int(suite.attrib[name]) for name in ("failures", "errors", "skipped"))
    assert counted == tuple(outcomes.get(name, 0) for name in ("failed", "errors", "skipped"))
    stopped = policy in ("", "fail")
    assert command_line.exit_code == (3 if stopped else 0), command_line.output
    assert done.ret == (pytest.ExitCode.TESTS_FAILED if stopped else pytest.ExitCode.OK)
    assert (counted[2] > 0) == (policy == "skip")


@pytest.mark.parametrize("delta", ["nan", "inf", "0", "-1"])
def test_a_delta_that_nothing_can_pass_or_fail_is_a_usage_error(
    pytester: pytest.Pytester, baseline: Path, delta: str
) -> None:
    done = pytest_with(pytester, "--latentbench-baseline", baseline, f"--latentbench-delta={delta}")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*delta must be*"])


def test_a_run_that_cannot_be_made_is_an_error_of_every_test(pytester: pytest.Pytester, baseline: Path) -> None:
    done = pytest_with(pytester, "--latentbench-baseline", baseline, "--latentbench-run", "nowhere.yaml")
    outcomes = done.parseoutcomes()
    assert set(outcomes) == {"errors"}
    done.stdout.fnmatch_lines(["*nowhere.yaml does not exist*"])


def test_a_file_that_is_no_baseline_is_a_usage_error(pytester: pytest.Pytester, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}", encoding="utf-8")
    done = pytest_with(pytester, "--latentbench-baseline", tmp_path / "x.json")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*--latentbench-baseline:*layout None*"])


def test_labels_move_no_cursor_and_command_no_log(pytester: pytest.Pytester, tmp_path: Path) -> None:
    nasty = "x\x1b[31m\u202e\u200b\n::error::pwned ##[add-mask]a [red]b"
    grid = Grid(explainers={nasty: 0.85, "tokens": 0.75}, repeats=2)
    write_baseline(freeze(build_run(tmp_path / "base", grid), offline=True), tmp_path / "b.json")
    worse = build_run(tmp_path / "worse", Grid(explainers={nasty: 0.5, "tokens": 0.75}, repeats=2))
    options = ("--latentbench-baseline", tmp_path / "b.json", "--latentbench-run", worse, "--latentbench-offline")
    done = pytest_with(pytester, *options, "-v", "-rA", "--junitxml", tmp_path / "x.xml")
    outcomes = done.parseoutcomes()
    assert outcomes["failed"] >= 1
    text = done.stdout.str() + done.stderr.str()
    for wrong in ("\x1b", "\u202e", "\u200b", "##[", "\n::"):
        assert wrong not in text
    assert "[red]b" in text
    ElementTree.parse(tmp_path / "x.xml")
