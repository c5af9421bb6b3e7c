"""The composite action, and the baselines that this repository gates itself with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from latentbench.analysis.gate.baseline import read_baseline
from latentbench.cli import app
from typer.testing import CliRunner

from tests.builders.nameable import nameable

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
    (gated,) = re.findall(
        r"^GATED := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", ""), re.MULTILINE
    )
    pairs = [pair.split(":") for pair in gated.split()]
    assert {file for _, file in pairs} == {path.stem for path in (ROOT / "leaderboards/gate").glob("*.json")}
    assert {spec for spec, _ in pairs} == {path.stem for path in (ROOT / "tasks/runs").glob("gate*.yaml")}
    for spec, file in pairs:
        baseline = read_baseline(ROOT / "leaderboards/gate" / f"{file}.json")
        given = yaml.safe_load((ROOT / "tasks/runs" / f"{spec}.yaml").read_text(encoding="utf-8"))
        assert baseline.spec["name"] == given["name"]
        assert baseline.suite.name == given["suite"]
        # What lies along a direction is measured, and no judge is asked for a word that could be probed.
        assert bool(baseline.probes) == (spec != "gate-direction")


# --- its shell


STUB = """#!{python}
import json, os, sys
json.dump(sys.argv[1:], open(os.environ["SEEN"], "w"))
for word in sys.argv:
    if word.startswith("--json="):
        json.dump({{"verdict": "pass"}}, open(word.removeprefix("--json="), "w"))
sys.exit(int(os.environ.get("CODE", "0")))
"""


def _gate(tmp_path: Path, **inputs: str) -> tuple[subprocess.CompletedProcess[str], list[str] | None, str]:
    """Run the action's own script as GitHub runs it, with a `bench` that records its words."""
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    (step,) = (s for s in action["runs"]["steps"] if s.get("id") == "gate")
    assert step["shell"] == "bash"
    given = {"target": "run.yaml", "baseline": "b.json"} | inputs
    filled = {k: given.get(k, v.get("default", "")) for k, v in action["inputs"].items()}
    env = {k: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda m: filled[m[1]], v) for k, v in step["env"].items()}
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "bench").write_text(STUB.format(python=sys.executable), encoding="utf-8")
    (tmp_path / "bin" / "bench").chmod(0o755)
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / "step.sh").write_text(step["run"], encoding="utf-8")
    (tmp_path / "temp").mkdir()
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    known = {"PATH": path, "RUNNER_TEMP": str(tmp_path / "temp"), "GITHUB_OUTPUT": str(tmp_path / "output")}
    words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(tmp_path / "step.sh")]
    done = subprocess.run(
        words,
        env=env | known | {"SEEN": str(tmp_path / "seen.json")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    seen = tmp_path / "seen.json"
    output = (tmp_path / "output").read_text(encoding="utf-8")
    return done, json.loads(seen.read_text(encoding="utf-8")) if seen.exists() else None, output


WORDS = {
    "": [],
    "--delta 0.03 --offline": ["--delta", "0.03", "--offline"],
    "--delta 0.03\n--offline\n": ["--delta", "0.03", "--offline"],
    "--delta 0.03 \\\n  --offline": ["--delta", "0.03", "--offline"],
    "\r\n--delta\t0.03\r\n  --offline": ["--delta", "0.03", "--offline"],
    "--out \"my runs/head\" --cache 'a b'": ["--out", "my runs/head", "--cache", "a b"],
    "--metric-delta 'two\nlines=1'": ["--metric-delta", "two\nlines=1"],
    "--out ''": ["--out", ""],
    "--out $(touch stolen) `touch stolen` ; touch stolen": [
        "--out",
        "$(touch",
        "stolen)",
        "`touch",
        "stolen`",
        ";",
        "touch",
        "stolen",
    ],
    "--out * ~ $HOME": ["--out", "*", "~", "$HOME"],
    "--out é\u202eß": ["--out", "é\u202eß"],
    "--out # --offline": ["--out", "#", "--offline"],
    "-n -e -- x": ["-n", "-e", "--", "x"],
}


@pytest.mark.parametrize("arguments", WORDS, ids=repr)
def test_arguments_arrive_whole_and_are_not_carried_out(tmp_path: Path, arguments: str) -> None:
    done, seen, output = _gate(tmp_path, arguments=nameable(arguments))
    assert done.returncode == 0, done.stderr
    assert seen is not None
    assert seen[0] == "gate"
    assert seen[1 : seen.index("--github")] == [nameable(word) for word in WORDS[arguments]]
    assert seen[-2:] == ["--", "run.yaml"]
    assert not (tmp_path / "stolen").exists()
    report = tmp_path / "temp" / "latentbench-gate"
    assert output == f"report={report}\nverdict=pass\n"


@pytest.mark.parametrize(
    "text", ["--help", "-", "a b", "x\nverdict=pass", "$(touch stolen)", '"; touch stolen; "', "*"]
)
def test_a_target_and_a_baseline_are_one_word_each(tmp_path: Path, text: str) -> None:
    done, seen, _ = _gate(tmp_path, target=text, baseline=text)
    assert done.returncode == 0, done.stderr
    assert seen is not None
    assert seen[-2:] == ["--", text]
    assert f"--baseline={text}" in seen
    assert not (tmp_path / "stolen").exists()


def test_a_quote_without_its_end_stops_before_the_gate(tmp_path: Path) -> None:
    done, seen, output = _gate(tmp_path, arguments='--out "my runs')
    assert done.returncode == 2
    assert seen is None
    assert "::error title=arguments::" in done.stdout
    assert "verdict" not in output


@pytest.mark.parametrize(
    ("inputs", "word"),
    [
        ({}, None),
        ({"inconclusive": "pass"}, "--inconclusive=pass"),
        ({"inconclusive": "x --offline"}, "--inconclusive=x --offline"),
        ({"allow-inconclusive": "true"}, "--allow-inconclusive"),
    ],
)
def test_the_policy_for_what_is_not_decided_is_handed_on(
    tmp_path: Path, inputs: dict[str, str], word: str | None
) -> None:
    _, seen, _ = _gate(tmp_path, **inputs)
    assert seen is not None
    assert [w for w in seen if "inconclusive" in w] == ([word] if word else [])


def test_the_exit_code_of_the_gate_is_that_of_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    action = (ROOT / "action.yml").read_text(encoding="utf-8")
    assert 'exit "$code"' in action
    monkeypatch.setattr(sys.modules[__name__], "STUB", STUB.replace('"CODE", "0"', '"CODE", "3"'))
    done, _, output = _gate(tmp_path)
    assert done.returncode == 3
    assert output.endswith("verdict=pass\n")
