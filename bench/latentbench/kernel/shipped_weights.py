"""Weights of the shipped coders and simulator, which the distribution `latentbench-data` brings.

They are 54 MB, nine tenths of what is shipped, and most users never load them; so the package's own wheel goes without, and
the folders that hold them lie in a distribution of their own, built from the same `tasks/`. Fetching them at first use is the
tempting way: it needs a host that stays for years, and fails in the middle of a job on machines that reach a package index alone.

A checkout has them in its `tasks/` and needs no such distribution. `tasks/weights.sha256` lists the files and is in both wheels,
so that what is missing can be named before it is there, and what is there is known to be what this release was made with.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from latentbench.kernel.errors import DigestMismatch
from latentbench.kernel.extras import MissingExtra
from latentbench.kernel.identity import file_sha256
from latentbench.kernel.inputs import read_text, understood

LIST = "weights.sha256"
"""Lines of `sha256sum`: the hash, and the path below `tasks/`."""


@cache
def listed(tasks: Path) -> Mapping[str, str]:
    """Path below `tasks/` -> SHA-256 of every file that the distribution brings; empty where there is no list.

    Raises:
        DigestMismatch: the list cannot be read.
    """
    path = tasks / LIST
    if not path.is_file():
        return {}
    with understood(path, DigestMismatch, "install the package again."):
        pairs = [line.split(maxsplit=1) for line in read_text(path).splitlines()]
        return {name.removeprefix("*"): sha for sha, name in pairs}


def weights_folder(kind: str, name: str, tasks: Path) -> Path | None:
    """A folder with shipped weights in the distribution that is installed beside this package.

    Args:
        kind: `coders` or `judges`.
        name: name of the folder.
        tasks: the package's own folder of tasks, for the list.

    Returns:
        The folder, its weights compared with the list; None if no shipped weights have that name.

    Raises:
        MissingExtra: they have, and the distribution is not installed.
        DigestMismatch: a file is not the one that this release was made with.
    """
    wanted = {path: sha for path, sha in listed(tasks).items() if path.startswith(f"{kind}/{name}/")}
    if not wanted:
        return None
    found = _installed()
    if found is None:
        raise MissingExtra("latentbench_data", f"{kind.removesuffix('s')} {name!r}")
    for path, sha in wanted.items():
        _check(found / path, sha)
    return found / kind / name


def _installed() -> Path | None:
    # Data and no module, so it is a namespace, whose folders are all that there is of it.
    spec = find_spec("latentbench_data")
    places = (spec.submodule_search_locations or []) if spec else []
    return next((found for place in places if (found := Path(place) / "tasks").is_dir()), None)


@cache
def _check(path: Path, sha: str) -> None:
    if not path.is_file() or file_sha256(path) != sha:
        raise DigestMismatch(
            f"{path} is not there, or not the file that this release was made with: "
            "pip install --force-reinstall 'latentbench[data]'."
        )
