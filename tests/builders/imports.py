"""Imports of the package that go against its rooms, read from the source and from nothing else.

`lint-imports` follows import statements of regular packages. A module named in a string is imported all the same, and a folder
without an `__init__.py` is imported and never walked. Here every file is read, wherever it lies, and a string that in whole names
a module counts as an import of it, whoever is handed the string: a list of the functions that import would always lack one.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = "latentbench"
NAMED = re.compile(rf"{PACKAGE}(\.\w+)+(:\w+)?")
"""A module of the package, or something in it."""
IMPORTERS = {
    *(
        "import_module",
        "__import__",
        "find_spec",
        "find_loader",
        "spec_from_file_location",
        "exec_module",
        "load_module",
    ),
    *(
        "module_from_spec",
        "run_module",
        "run_path",
        "resolve_name",
        "SourceFileLoader",
        "exec",
        "eval",
        "import_string",
    ),
}
"""Functions that import what a string or a path says."""
KNOWN = {
    "kernel/registry.py": {"import_module"},
    "lab/studies/series.py": {"import_module"},
    "judges/embed.py": {"find_spec"},
    "kernel/extras.py": {"find_spec"},
    "kernel/shipped_weights.py": {"find_spec"},
    "judges/vllm.py": {"find_spec"},
    "models/loading.py": {"find_spec", "import_module"},
    "subject/coders/saelens_release.py": {"find_spec"},
}
"""File -> importers that it may use: the registry, the table of studies, and those that ask whether a library is installed."""
REGISTRY = "kernel/registry.py"
OWNERS = {"scorer": "scorers", "explainer": "explainers", "judge": "judges", "coder": "subject"}
"""Kind in the registry -> the room that its entries lie in."""
ELSEWHERE = {("judge", "panel"): "panels"}
"""The one entry that lies above its kind's room: a panel asks scorers how its members are asked. Like a judge of another package
it is reached by name alone, and nothing in `judges` knows it."""


def layers(root: Path) -> dict[str, int]:
    """Room -> how high it lies, from the contract in `pyproject.toml`; rooms side by side lie equally high."""
    tools = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    (rooms,) = (c for c in tools["importlinter"]["contracts"] if c["id"] == "rooms")
    rows = rooms["layers"][::-1]
    return {room.strip(): height for height, row in enumerate(rows) for room in row.split("|")}


def against(root: Path) -> list[str]:
    """What stands against the contract in the package that lies in `root`, one line each: `file:line: what`."""
    package = root / "bench" / PACKAGE
    heights = layers(root)
    files = sorted(p for p in package.rglob("*.py") if "__pycache__" not in p.parts)
    found: list[str] = []
    for folder in sorted({f for p in files for f in p.parents if f.is_relative_to(package)}):
        if not (folder / "__init__.py").exists():
            found.append(
                f"{folder.relative_to(package)}: a folder without __init__.py, which lint-imports does not walk"
            )
        room = folder.relative_to(package).parts[:1]
        if room and room[0] not in heights:
            found.append(f"{folder.relative_to(package)}: a room without a place in the contract")
    for path in files:
        name = path.relative_to(package).as_posix()
        if "/" not in name and name not in ("__init__.py", "__main__.py"):
            found.append(f"{name}: a module outside of the rooms")
        read = _read(path.read_text(encoding="utf-8"), name, tuple(heights.items()))
        found += [f"{name}:{line}: {what}" for line, what in read]
    return found


@cache
def _read(text: str, name: str, heights: tuple[tuple[str, int], ...]) -> tuple[tuple[int, str], ...]:
    """Kept, so that of many copies of the package only what differs is read."""
    return tuple(_faults(ast.parse(text), name, dict(heights)))


def _faults(tree: ast.Module, name: str, heights: dict[str, int]) -> Iterator[tuple[int, str]]:
    room = name.split("/")[0] if "/" in name else name
    for line, target in _imported(tree, name):
        other = target.split(".")[1]
        if not _allowed(room, other, heights):
            yield line, f"{room} imports {target}, which lies above or beside it"
    tables = _builtin(tree) if name == REGISTRY else {}
    held = {id(node) for _, node in tables.values() for node in ast.walk(node)}
    for (kind, entry), (target, node) in tables.items():
        if target.split(".")[1] != ELSEWHERE.get((kind, entry), OWNERS.get(kind)):
            yield node.lineno, f"the {kind} {entry!r} is {target}, which does not lie in {OWNERS.get(kind)}"
    for node in ast.walk(tree):
        used = _word(node)
        if used in IMPORTERS and used not in KNOWN.get(name, ()):
            yield _line(node), f"{used} imports what only its argument says"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in held:
            target = node.value.strip()
            other = re.split("[.:]", target)[1] if NAMED.fullmatch(target) else ""
            # Tags of MLflow begin with the package's name, too.
            if other in heights and not _allowed(room, other, heights):
                yield node.lineno, f"{room} names {target}, which lies above or beside it"


def _allowed(room: str, other: str, heights: dict[str, int]) -> bool:
    if room == "__init__.py":
        # What `import latentbench` offers, looked up late; that nothing is imported before is tests/api/test_python.py's.
        return other == "api"
    if room == "__main__.py":
        return other == "cli"
    if other not in heights:
        # A name of the package's own `__init__.py`, such as its version.
        return other == "__version__"
    return room == other or heights[other] < heights.get(room, -1)


def _imported(tree: ast.Module, name: str) -> Iterator[tuple[int, str]]:
    """Line and target, `latentbench.room...`, of every import statement of the package, wherever in a file it stands."""
    here = [PACKAGE, *name.split("/")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            targets = [f"{stem}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, t) for t in targets if t.startswith(f"{PACKAGE}."))


def _builtin(tree: ast.Module) -> dict[tuple[str, str], tuple[str, ast.Constant]]:
    """(kind, name) -> (module, where it stands) of the registry's own entries."""
    for node in tree.body:
        if isinstance(node, ast.AnnAssign | ast.Assign) and isinstance(node.value, ast.Dict):
            names = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
            if [n.id for n in names if isinstance(n, ast.Name)] == ["BUILTIN"]:
                rows = zip(map(ast.literal_eval, node.value.keys), node.value.values, strict=True)
                return {
                    (kind, ast.literal_eval(key)): (ast.literal_eval(value).partition(":")[0], value)
                    for kind, table in rows
                    for key, value in zip(table.keys, table.values, strict=True)
                }
    raise AssertionError(f"{REGISTRY} has no BUILTIN that can be read")


def _word(node: ast.AST) -> str:
    """The name that a node is of a function, also where it is imported under another or asked for by a string."""
    match node:
        case ast.Name(id=word) | ast.Attribute(attr=word) | ast.alias(name=word):
            # `model.eval()` is no import.
            plain = isinstance(node, ast.Name) or word not in ("eval", "exec")
            return word.rpartition(".")[2] if plain else ""
        case ast.Constant(value=str(word)):
            return word if word in IMPORTERS - {"eval", "exec"} else ""
    return ""


def _line(node: ast.AST) -> int:
    return int(getattr(node, "lineno", 0))
