"""The newcomer's page is done to a copy of the repository, and the result is run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "contributing" / "first-change.md"
STEP = re.compile(
    r"^\*\*`([^`]+)`\*\*(?:, (below|instead of) `([^`\n]+)`)?\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL
)
WRITTEN = re.compile(r"^\*\*`([^`]+)`\*\* is written by `python ([^`]+)`", re.MULTILINE)
CODE = (
    "tasks/scorers",
    "tasks/explainers",
    "tests/golden",
    "tests/builders",
    "tests/docs",
    "leaderboards",
    "bench/latentbench",
)


def steps() -> list[tuple[str, str, str, str]]:
    """File, how (`below`, `instead of` or nothing for a new file), the line it refers to, and the text."""
    return STEP.findall(PAGE.read_text(encoding="utf-8"))


def commands() -> dict[str, list[str]]:
    """File -> arguments of the Python command that writes it."""
    return {file: command.split() for file, command in WRITTEN.findall(PAGE.read_text(encoding="utf-8"))}


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with everything on the page done to it."""
    copy = tmp_path_factory.mktemp("repository")
    for folder in CODE:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("tests/golden_form.py", "pyproject.toml"):
        shutil.copy(ROOT / file, copy / file)
    for folder in ("suites", "coders", "judges", "corpora", "runs"):
        (copy / "tasks" / folder).symlink_to(ROOT / "tasks" / folder)
    for file, how, line, text in steps():
        path = copy / file
        if not how:
            assert not path.exists(), f"{file} is there already"
            path.write_text(text, encoding="utf-8")
            continue
        old = path.read_text(encoding="utf-8")
        assert old.count(f"{line}\n") == 1, f"{file} does not hold the line {line!r} once"
        new = text if how == "instead of" else f"{line}\n{text}"
        path.write_text(old.replace(f"{line}\n", new), encoding="utf-8")
    return copy


def python(copy: Path, *arguments: str) -> str:
    """What a Python process in the copy prints."""
    env = {**os.environ, "PYTHONPATH": str(copy / "bench"), "COLUMNS": "80"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # Else each process compiles the copied package anew.
    done = subprocess.run(
        [sys.executable, *arguments], cwd=copy, env=env, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_names_every_step() -> None:
    assert len(steps()) == 10
    assert len(commands()) == 3
    assert PAGE.read_text(encoding="utf-8").count("**`") == len(steps()) + len(commands())


def test_scorer_judge_and_column_come_out_of_a_run(changed: Path) -> None:
    spec = """
name: first
suite: planted-1
limit: 4
explainers:
  - {use: planted, label: truth}
  - {use: llm-small, label: loud, model: "shout:x"}
  - empty
scorers: [match]
judges: [{use: "mock:label", label: knows}]
"""
    (changed / "first.yaml").write_text(spec, encoding="utf-8")
    where = ("--out", "run", "--cache", "cache.sqlite", "--no-track")
    python(changed, "-m", "latentbench", "run", "first.yaml", *where)
    table = python(changed, "-m", "latentbench", "leaderboard", "run")
    assert re.search(r"truth +1\.000", table), table
    assert re.search(r"loud +1\.000", table), table
    assert "repeats" in (changed / "run" / "leaderboard.md").read_text(encoding="utf-8")
    texts = (
        "import pandas as pd; t = pd.read_parquet('run/explanations.parquet'); print(*t[t.explainer == 'loud'].text)"
    )
    assert "MARKED WORDS" in python(changed, "-c", texts)


def test_the_coder_is_loaded_for_a_subject(changed: Path, tiny_folder: Path) -> None:
    code = f"""
import torch
from latentbench.models.language_model import load
from latentbench.subject.coders.coder_spec import CoderSpec, load_coder
coder = load_coder(CoderSpec(name="s", format="signs", hookpoint="layers.1", k=3), load({str(tiny_folder)!r}, "float32", "cpu"))
found = coder.encode(torch.tensor([[0.5, -2.0] + [0.0] * (coder.d_in - 2)]))
print(coder.n_latents, sorted(zip(found.latents.tolist(), found.values.tolist())))
"""
    assert python(changed, "-c", code).split() == ["64", "[(0,", "0.5),", "(33,", "2.0)]"]


def test_the_digest_on_the_page_is_that_of_the_task_file(changed: Path) -> None:
    python(changed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/docs/test_task_yaml.py")


def test_the_golden_file_is_written_as_the_page_says(changed: Path) -> None:
    for file in ("tests/golden/scorers/match@1-0.json", "tests/golden/runs/scorers/match@1-0.json"):
        python(changed, *commands()[file])
        assert "Mismatch" in (changed / file).read_text(encoding="utf-8")


def test_the_committed_page_is_written_as_the_page_says(changed: Path) -> None:
    file = "leaderboards/README.md"
    before = (changed / file).read_text(encoding="utf-8")
    assert "repeats" not in before
    python(changed, *commands()[file])
    assert "| latents | repeats |" in (changed / file).read_text(encoding="utf-8")
    python(changed, "-m", "latentbench", "leaderboard", "--check", "leaderboards")


def test_what_the_page_adds_keeps_the_direction_of_imports(changed: Path) -> None:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    assert "1 kept" in python(changed, "-c", code, "--no-cache")
