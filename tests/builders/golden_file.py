"""Golden files as text: how they are laid out, where they lie, and when one may be overwritten.

They are read by people in a review, so a value stands on one line where it fits and keys are sorted. `json.dumps(indent=2)` is
the tempting way and puts every number of a list on a line of its own, so that nobody reads the difference.
"""

from __future__ import annotations

import json
from difflib import unified_diff
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "golden"
COMMAND = "python -m tests.golden --write"
WIDTH = 140
SHOWN = 24
"""Lines of a difference that a message shows."""

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def dumped(value: Json) -> str:
    """The text of a golden file: sorted keys, two spaces a level, a value on one line where the line is short enough."""
    return _dumped(value, 0) + "\n"


def _dumped(value: Json, level: int) -> str:
    line = json.dumps(value, ensure_ascii=False, sort_keys=True)
    if not isinstance(value, list | dict) or not value or len(line) + 2 * level <= WIDTH:
        return line
    inner, outer = "  " * (level + 1), "  " * level
    if isinstance(value, list):
        rows = [_dumped(item, level + 1) for item in value]
        return "[\n" + ",\n".join(inner + row for row in rows) + f"\n{outer}]"
    rows = [f"{json.dumps(key, ensure_ascii=False)}: {_dumped(value[key], level + 1)}" for key in sorted(value)]
    return "{\n" + ",\n".join(inner + row for row in rows) + f"\n{outer}}}"


def difference(name: str, now: str) -> str | None:
    """What a failing test says of a file that is not what the code gives now; None where nothing differs.

    Args:
        name: path in the folder of golden files, such as `scorers/detection@1-0.json`.
        now: the text that the code gives.
    """
    path = FOLDER / name
    if not path.exists():
        return f"{name} does not exist. Write it with `{COMMAND}` and commit it."
    was = path.read_text(encoding="utf-8")
    if was == now:
        return None
    lines = list(unified_diff(was.splitlines(), now.splitlines(), "golden", "now", lineterm="", n=1))
    more = f"\n... and {len(lines) - SHOWN} lines more" if len(lines) > SHOWN else ""
    return (
        f"{name} is not what it was: scores of the old and the new code do not compare. Undo the change, or give the task "
        f"another version (N-X, N if results change) and write its golden file with `{COMMAND}`. Files of published "
        "versions stay.\n" + "\n".join(line[:200] for line in lines[:SHOWN]) + more
    )


def write(name: str, now: str, force: bool) -> str:
    """Write a file that is not there yet, and say what was done.

    A file that is there belongs to a published version: it is left alone unless `force` says that the version was never
    published or that the form of the files has changed, and the numbers have not.
    """
    path = FOLDER / name
    if path.exists():
        if path.read_text(encoding="utf-8") == now:
            return f"same     {name}"
        if not force:
            return f"REFUSED  {name}: it differs, and a published version's file stays (--force overwrites it)"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(now, encoding="utf-8")
    return f"written  {name}"
