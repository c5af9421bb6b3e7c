"""The composite action, and the baselines that this repository gates itself with."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from latentbench.analysis.gate.baseline import read_baseline
from latentbench.cli import app
from typer.testing import CliRunner

ROOT = Path(__file__).parents[2]


def test_the_action_keeps_githubs_rules() -> None:
    """Keys and types of GitHub's metadata syntax for a composite action."""
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    assert (
        {"name", "description", "runs"}
        <= set(action)
        <= {"name", "author", "description", "inputs", "outputs", "runs", "branding"}
    )
    for name, value in action["inputs"].items():
        assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name)
        assert set(value) <= {"description", "required", "default", "deprecationMessage"}
        assert isinstance(value["description"], str)
        assert isinstance(value["required"], bool)
        assert isinstance(value.get("default", ""), str)
        assert value["required"] != ("default" in value)
    steps = action["runs"]["steps"]
    assert set(action["runs"]) == {"using", "steps"}
    assert action["runs"]["using"] == "composite"
    ids = {step["id"] for step in steps if "id" in step}
    for step in steps:
        assert set(step) <= {
            "name",
            "id",
            "if",
            "shell",
            "run",
            "uses",
            "with",
            "env",
            "working-directory",
            "continue-on-error",
        }
        assert ("run" in step) != ("uses" in step)
        assert ("shell" in step) == ("run" in step)
        # An input that is pasted into a script is code.
        assert "${{" not in step.get("run", "")
        assert all(isinstance(v, str) for v in step.get("env", {}).values())
    for output in action["outputs"].values():
        assert set(output) == {"description", "value"}
        assert re.fullmatch(r"\$\{\{ steps\.(\w+)\.outputs\.\w+ \}\}", output["value"])[1] in ids  # type: ignore[index]
    used = set(re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text(encoding="utf-8")))
    assert used == set(action["inputs"])
    assert action["branding"]["color"] in {
        "white",
        "black",
        "yellow",
        "blue",
        "green",
        "orange",
        "red",
        "purple",
        "gray-dark",
    }


def test_the_action_calls_the_command_with_options_that_it_has() -> None:
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    helped = CliRunner().invoke(app, ["gate", "--help"], env={"COLUMNS": "200"}).output
    for option in set(re.findall(r"--[a-z]+(?:-[a-z]+)*", text)) - {"--quiet", "--paginate", "--jq", "--method"}:
        assert option in helped, option


def test_the_committed_baselines_are_of_the_specs_that_make_gate_runs() -> None:
    lines = re.findall(r"gate (tasks/\S+) --baseline (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert len(lines) == 2
    for spec, file in lines:
        baseline = read_baseline(ROOT / file)
        given = yaml.safe_load((ROOT / spec).read_text(encoding="utf-8"))
        assert baseline.spec["name"] == given["name"]
        assert baseline.suite.name == given["suite"]
        assert baseline.probes
