"""The rooms of the package import downwards only, and a new upward import is noticed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def contract(root: Path) -> subprocess.CompletedProcess[str]:
    """`lint-imports` over the package that lies in `root`."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    env = {**os.environ, "PYTHONPATH": str(root / "bench"), "COLUMNS": "200"}
    return subprocess.run([*command, "--no-cache"], cwd=root, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package and its contract, free to be broken."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(
        ROOT / "bench" / "latentbench",
        tmp_path / "bench" / "latentbench",
        ignore=lambda folder, names: [n for n in names if n == "__pycache__"],
    )
    return tmp_path


def test_rooms_import_downwards_only() -> None:
    found = contract(ROOT)
    assert found.returncode == 0, found.stdout
    assert "0 broken" in found.stdout


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("scorers/detection.py", "from latentbench.runs.plan import Plan", "scorers is not allowed to import latentbench.runs"),
        ("kernel/errors.py", "from latentbench.stats.ranks import Rank", "kernel is not allowed to import latentbench.stats"),
        ("tuning/budget.py", "from latentbench.lab.studies.cells import Group", "not allowed to import latentbench.lab"),
        ("explainers/vocab.py", "from latentbench.scorers.scorer import Scorer", "not allowed to import latentbench.scorers"),
    ],
)  # fmt: skip
def test_an_upward_import_is_noticed(copy: Path, file: str, line: str, said: str) -> None:
    path = copy / "bench" / "latentbench" / file
    text = path.read_text(encoding="utf-8")
    marker = "from __future__ import annotations\n"
    path.write_text(text.replace(marker, f"{marker}\n{line}\n", 1), encoding="utf-8")
    found = contract(copy)
    assert found.returncode == 1
    assert said in found.stdout


def test_a_room_without_a_place_in_the_contract_is_noticed(copy: Path) -> None:
    room = copy / "bench" / "latentbench" / "attic"
    room.mkdir()
    (room / "__init__.py").touch()
    assert "attic" in contract(copy).stdout
