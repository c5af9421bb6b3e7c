"""No number that somebody writes down is NaN or infinite: each option of each command, and each field of each specification."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import latentbench
import pytest
import typer
from latentbench.cli import app
from latentbench.cli.finite import finite
from latentbench.kernel.config import validate
from latentbench.kernel.errors import SpecError
from typer.testing import CliRunner

PACKAGE = Path(latentbench.__file__).parent


def _options(group: typer.Typer, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Each option and argument that is a number: its name, and what was said of it."""
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from _options(inner.typer_instance, (*words, str(inner.name)))
    for command in group.registered_commands:
        function = command.callback
        assert function is not None
        for name, hint in get_type_hints(function, include_extras=True).items():
            if "float" in str(get_args(hint)[:1]):
                yield " ".join([*words, command.name or function.__name__, name]), get_args(hint)[1]


OPTIONS = dict(_options(app))


@pytest.mark.parametrize("name", OPTIONS)
def test_each_number_of_the_command_line_is_finite(name: str) -> None:
    assert OPTIONS[name].callback is finite


def test_the_numbers_were_found() -> None:
    assert {"gate delta", "gate max_latency", "speed ratio", "cache prune days", "suite intervene kl"} <= set(OPTIONS)


@pytest.mark.parametrize("value", ["nan", "NaN", "inf", "1e999"])
@pytest.mark.parametrize(
    "words",
    [
        ["gate", "x", "--baseline", "y", "--delta"],
        ["gate", "x", "--baseline", "y", "--max-coverage-drop"],
        ["speed", "--base", "x", "--head", "y", "--ratio"],
        ["cache", "prune"],
        ["suite", "intervene", "x", "--kl"],
    ],
)
def test_what_is_no_number_is_a_usage_error(words: list[str], value: str) -> None:
    done = CliRunner().invoke(app, [*words, value])
    assert done.exit_code == 2
    assert "Invalid value" in done.output


def test_each_model_of_a_file_forbids_what_is_not_finite() -> None:
    """Models stand on `Frozen`, and none of them lets NaN in again."""
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)):
            bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
            assert "BaseModel" not in bases or node.name == "Frozen", f"{path}: {node.name}"
        assert path.name == "config.py" or "allow_inf_nan" not in path.read_text(encoding="utf-8"), path


def _spec(**more: Any) -> dict[str, Any]:
    return {
        "name": "x",
        "suite": "planted-1",
        "explainers": ["empty"],
        "scorers": ["detection"],
        "judges": ["mock:label"],
        **more,
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "nan", "inf"])
def test_a_run_spec_has_no_such_limit(value: float | str) -> None:
    from latentbench.runs.run_spec import RunSpec

    with pytest.raises(SpecError, match="max_failures must be a finite number"):
        validate(RunSpec, _spec(max_failures=value), "spec.yaml")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nor_has_what_a_schema_leaves_open(value: float) -> None:
    from latentbench.runs.run_spec import RunSpec

    scorers = [{"use": "fuzzing", "params": {"deep": [{"threshold": value}]}}]
    with pytest.raises(SpecError, match=r"scorers\[0\]\.params\.deep\[0\]\.threshold must be a finite number"):
        validate(RunSpec, _spec(scorers=scorers), "spec.yaml")


@pytest.mark.parametrize("parameter", ["error", "fail", "nonsense", "seconds"])
def test_nor_has_a_judge(parameter: str) -> None:
    from latentbench.judges.reference import load_judge

    for value in ("nan", "inf"):
        with pytest.raises(SpecError, match=f"{parameter} must be a finite number"):
            load_judge(f"mock:label?{parameter}={value}")


def test_half_a_character_is_told_where_it_stands() -> None:
    from latentbench.runs.run_spec import RunSpec

    with pytest.raises(SpecError, match=r"explainers\[0\]\.label holds half of a character"):
        validate(RunSpec, _spec(explainers=[{"use": "empty", "label": "a\ud800"}]), "spec.yaml")


def test_a_document_that_holds_itself_ends() -> None:
    from latentbench.runs.run_spec import RunSpec

    knot: list[Any] = []
    knot += [knot, *([knot] * 20)]
    with pytest.raises(SpecError):
        validate(RunSpec, _spec(coders=knot), "spec.yaml")
