"""Whoever opens a text file says its encoding: the default of another machine reads the same bytes as other characters.

Python has a mode that warns (`-X warn_default_encoding`), for the lines that a test happens to reach. This reads all of them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = ("bench", "tests", "benchmarks", "tasks")
AT = {"read_text": 0, "write_text": 1, "open": 2, "fdopen": 2, "NamedTemporaryFile": 2, "TemporaryFile": 2}
"""Function -> where its encoding stands among the arguments. `Path.open` has it one place earlier, which is never used here."""
PACKED = ("gzip", "bz2", "lzma")
"""Modules whose `open` is binary unless the mode says text."""
OTHER = {"subprocess": ("run", "check_output", "check_call", "Popen")}


def silent(text: str) -> Iterator[tuple[int, str]]:
    """Lines that open or read a text without saying its encoding."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
        owner = called.value.id if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) else ""
        given = {keyword.arg for keyword in node.keywords}
        if None in given or "encoding" in given:
            continue
        if owner == "subprocess" and name in OTHER["subprocess"]:
            if any(k.arg in ("text", "universal_newlines") and getattr(k.value, "value", True) for k in node.keywords):
                yield node.lineno, f"subprocess.{name}"
        elif name in ("read_text", "write_text"):
            # Functions of this package of these names take a path first, and are UTF-8; those of a Path are methods.
            if isinstance(called, ast.Attribute) and owner not in ("files", "inputs") and len(node.args) <= AT[name]:
                yield node.lineno, name
        elif name == "open" and owner not in ("os", "tarfile", "zipfile", "webbrowser", "Image", "ActivationStore"):
            mode = next((k.value for k in node.keywords if k.arg == "mode"), None)
            first = 1 if isinstance(called, ast.Name) else 0
            # `gzip.open(path, mode)`: the module's function takes the path first, as the built-in one does.
            first = 1 if owner in PACKED else first
            mode = mode or (node.args[first] if len(node.args) > first else None)
            if owner in PACKED and not (isinstance(mode, ast.Constant) and "t" in str(mode.value)):
                continue
            binary = isinstance(mode, ast.Constant) and "b" in str(mode.value)
            if not binary and not (mode is not None and not isinstance(mode, ast.Constant)):
                yield node.lineno, name


@pytest.mark.parametrize("place", PLACES)
def test_every_text_file_is_opened_with_its_encoding(place: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in sorted((ROOT / place).rglob("*.py"))
        for line, name in silent(path.read_text(encoding="utf-8"))
    ]
    assert not found, "say encoding='utf-8':\n" + "\n".join(found)


def test_the_check_finds_what_it_looks_for() -> None:
    bad = "p.read_text()\np.write_text(x)\nopen(p)\np.open('w')\nopen(p, 'a')\nsubprocess.run(c, text=True)\nopen(p, mode='r')\n"
    bad += "gzip.open(p, 'rt')\nlzma.open(p, mode='wt')\n"
    assert len(list(silent(bad))) == 9
    good = "p.read_text('utf-8')\np.read_text(encoding='x')\np.open('rb')\nopen(p, 'wb')\nsubprocess.run(c)\nwrite_text(p, x)\n"
    good += "gzip.open(p)\ngzip.open(p, 'rb')\nbz2.open(p, 'rt', encoding='utf-8')\n"
    assert not list(silent(good))
