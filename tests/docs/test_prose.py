"""Docstrings, class names and file names of the whole package: sentences that stand alone, one name for one thing."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "bench" / "latentbench"
MODULES = {p.relative_to(PACKAGE).as_posix(): ast.parse(p.read_text(encoding="utf-8")) for p in PACKAGE.rglob("*.py")}
BEGINNING = re.compile(r"(Of|As|That|The same|Whose|In which|See)\b")

TWICE = {"Params"}
"""Class names that still stand for two things: both are what a task file has below `params`, and third parties import each."""


def _docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The strings that stand alone: docstrings, and those under a field or a constant."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                text = statement.value.value
                if isinstance(text, str):
                    yield statement.lineno, text.strip()


def test_no_docstring_begins_in_the_middle_of_a_sentence() -> None:
    found = {
        f"{name}:{line}: {text.splitlines()[0]}"
        for name, tree in MODULES.items()
        for line, text in _docstrings(tree)
        if BEGINNING.match(text)
    }
    assert not found, "\n".join(sorted(found))


def test_a_class_name_stands_for_one_class() -> None:
    names = Counter(node.name for tree in MODULES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert {name for name, n in names.items() if n > 1} <= TWICE


def test_a_file_name_stands_for_one_file() -> None:
    names = Counter(Path(name).name for name in MODULES)
    del names["__init__.py"]
    assert {name for name, n in names.items() if n > 1} <= {"load.py"}
