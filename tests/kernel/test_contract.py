"""The rooms of the package import downwards only, and a new upward import is noticed, in whatever way it is written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.imports import against

ROOT = Path(__file__).parents[2]


def contract(root: Path) -> subprocess.CompletedProcess[str]:
    """`lint-imports` over the package that lies in `root`."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    env = {**os.environ, "PYTHONPATH": str(root / "bench"), "COLUMNS": "200"}
    return subprocess.run(
        [*command, "--no-cache"], cwd=root, env=env, capture_output=True, text=True, check=False, encoding="utf-8"
    )


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


def test_no_room_imports_upwards_by_a_name_or_from_a_folder_that_is_not_walked() -> None:
    assert against(ROOT) == []


LAB = "latentbench.lab.studies.cells"


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("scorers/detection.py", "import importlib as i; i.import_module('latentbench.lab.studies.cells')", f"names {LAB}"),
        ("scorers/detection.py", "from importlib import import_module as i; i('latentbench.lab')", "names latentbench.lab"),
        ("scorers/detection.py", "__import__('latentbench.lab.studies.cells')", f"names {LAB}"),
        ("judges/price.py", "import runpy; runpy.run_module('latentbench.lab.studies.cells')", f"names {LAB}"),
        ("judges/price.py", "import importlib.util as u; u.find_spec('latentbench.lab.studies.cells')", f"names {LAB}"),
        ("judges/price.py", "import sys; sys.modules['latentbench.lab.studies.cells']", f"names {LAB}"),
        ("runs/plan.py", "TABLE = {'a': 'latentbench.lab.studies.cells:Group'}", f"names {LAB}"),
        ("kernel/registry.py", "importlib.import_module('latentbench.lab.studies.cells')", f"names {LAB}"),
        ("kernel/registry.py", "OTHER = {'a': 'latentbench.scorers.detection:Detection'}", "names latentbench.scorers"),
        ("runs/plan.py", "import importlib as i; i.import_module('.'.join(['latentbench', 'lab']))", "import_module imports"),
        ("runs/plan.py", "ROOM = 'lab'; __import__(f'latentbench.{ROOM}')", "__import__ imports"),
        ("runs/plan.py", "import runpy; runpy.run_path('lab/studies/cells.py')", "run_path imports"),
        ("runs/plan.py", "exec('import latentbench.lab')", "exec imports"),
        ("runs/plan.py", "import importlib as i; getattr(i, 'import_module')('latentbench' + '.lab')", "import_module imports"),
        ("runs/plan.py", "from ..lab.studies.cells import Group", "runs imports latentbench.lab.studies.cells.Group"),
        ("runs/plan.py", "def late() -> None: from latentbench import lab", "runs imports latentbench.lab"),
        ("scorers/detection.py", "import latentbench.explainers.llm", "scorers imports latentbench.explainers.llm"),
        ("__init__.py", "from latentbench.lab.studies.cells import Group", "__init__.py imports latentbench.lab"),
        ("__init__.py", "from latentbench.kernel.errors import BenchError", "__init__.py imports latentbench.kernel"),
        ("__init__.py", "from . import lab", "__init__.py imports latentbench.lab"),
        ("__main__.py", "import latentbench.lab.studies.cells", "__main__.py imports latentbench.lab"),
        ("scorers/__init__.py", "import latentbench.lab.studies.cells", "scorers imports latentbench.lab"),
        ("scorers/more/cells.py", "import latentbench.lab.studies.cells", "scorers imports latentbench.lab"),
        ("scorers/more/cells.py", "VALUE = 1", "scorers/more: a folder without __init__.py"),
        ("scorers/more/deep/cells.py", "VALUE = 1", "scorers/more: a folder without __init__.py"),
        ("attic/cells.py", "import latentbench.lab.studies.cells", "attic imports latentbench.lab"),
        ("attic/cells.py", "VALUE = 1", "attic: a room without a place in the contract"),
        ("attic.py", "VALUE = 1", "attic.py: a module outside of the rooms"),
    ],
)  # fmt: skip
def test_an_upward_import_is_noticed_that_lint_imports_does_not_see(
    copy: Path, file: str, line: str, said: str
) -> None:
    path = copy / "bench" / "latentbench" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as written:
        written.write(f"\n{line}\n")
    found = against(copy)
    assert any(said in line for line in found), found
    assert all(file.split("/")[0] in line for line in found)


@pytest.mark.parametrize(
    ("known", "other", "said"),
    [
        ("scorers.detection:Detection", "lab.studies.cells:Group", "the scorer 'detection' is latentbench.lab"),
        ("judges.embed:EmbedJudge", "analysis.compare:Judge", "the judge 'embed' is latentbench.analysis"),
        ("explainers.llm:LlmExplainer", "scorers.scorer:Scorer", "the explainer 'llm' is latentbench.scorers"),
    ],
)
def test_an_entry_of_the_registry_in_another_room_is_noticed(copy: Path, known: str, other: str, said: str) -> None:
    path = copy / "bench" / "latentbench" / "kernel" / "registry.py"
    text = path.read_text(encoding="utf-8")
    assert known in text
    path.write_text(text.replace(known, other), encoding="utf-8")
    (found,) = against(copy)
    assert said in found
