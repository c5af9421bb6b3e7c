"""The folder that is handed in: which files it has, and that they are the ones that were written together.

    submission.json          layout, run, and the size and hash of every other file
    statement.yaml           what the submitter says (`latentbench.leaderboards.submission.statement`)
    results/RUN.json         the rows, as `leaderboards/results/` has them
    run/run.json             spec, seeds, versions, suite, keys of explainers, models, scorers and judges
    run/*.parquet            explanations, judgements, scores, seconds, and what the members of a panel said

A stranger made it. So it is looked over before anything in it is opened: it has the files above and no others, none is a link, a
pipe or a device, and together they are not too large. The list of files in `submission.json` is compared with what is there, and
is never where a path is taken from, which is the tempting way and reads `../../` for whoever wrote it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from latentbench.kernel.config import Frozen
from latentbench.kernel.digested import read_digested, write_digested
from latentbench.kernel.errors import DataError
from latentbench.kernel.file_name import MOST, reserved
from latentbench.kernel.identity import file_sha256
from latentbench.kernel.inputs import MIB, most, too_large
from latentbench.leaderboards.submission.statement import STATEMENT
from latentbench.runs.record import RECORD

MANIFEST = "submission.json"
RUN, RESULTS = "run", "results"
TABLES = ("explanations", "judgements", "scores", "seconds", "panel")
NEEDED = (MANIFEST, STATEMENT, f"{RUN}/{RECORD}", *(f"{RUN}/{name}.parquet" for name in TABLES[:3]))
ALLOWED = frozenset({*NEEDED, *(f"{RUN}/{name}.parquet" for name in TABLES)})
RESULT = re.compile(rf"{RESULTS}/([^/]+)\.json")
ORDINARY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
BYTES = 512 * MIB
"""All files together."""
ENTRIES = 64
"""Files and folders, of which there are 11."""
SHOWN = 3


class HandedFile(Frozen):
    """A file of the folder."""

    bytes: int = Field(ge=0, le=1 << 40)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class SubmissionManifest(Frozen):
    """`submission.json`."""

    layout: Literal[1]
    run: str
    """Id of the run; its rows are named after it."""
    files: dict[str, HandedFile]
    """Every other file, by its path from the folder."""
    digest: str = ""
    """Digest of everything else in the file."""


def is_ordinary(run: str) -> bool:
    """Whether a run's id is a name that a file can have on every system, because its rows become one of somebody else's."""
    return bool(ORDINARY.fullmatch(run)) and not reserved(run) and len(run) <= MOST


def shape(folder: Path) -> list[str]:
    """What keeps a folder from being opened at all, one sentence each; nothing of it is read for this.

    Raises:
        DataError: it is no folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder. Give the one that `bench submit RUN --out FOLDER` wrote.")
    faults, found, size = [], [], 0
    for number, (name, entry) in enumerate(_walk(folder, "")):
        if number >= ENTRIES:
            return [f"{folder} has more than {ENTRIES} files and folders, and a submission has 11 at most"]
        kind = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(kind.st_mode):
            faults.append(f"{name!r} is a link; a submission holds its files itself")
        elif stat.S_ISDIR(kind.st_mode):
            if name not in (RUN, RESULTS):
                faults.append(f"the folder {name!r} does not belong into a submission")
        elif not stat.S_ISREG(kind.st_mode):
            faults.append(f"{name!r} is no file but a pipe, a socket or a device")
        elif name not in ALLOWED and not RESULT.fullmatch(name):
            faults.append(f"the file {name!r} does not belong into a submission")
        else:
            found.append(name)
            size += kind.st_size
    faults += [f"the file {name} is missing" for name in NEEDED if name not in found]
    results = [name for name in found if RESULT.fullmatch(name)]
    if len(results) != 1:
        faults.append(f"there are {len(results)} files of rows, and there is one, {RESULTS}/RUN.json")
    elif not is_ordinary(results[0][len(RESULTS) + 1 : -len(".json")]):
        faults.append(f"{results[0]!r} is named after a run whose id is no name for a file on every system")
    if size > most(BYTES):
        faults.append(str(too_large("all of it together", size, most(BYTES))))
    return faults


def _walk(folder: Path, before: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything in a folder by its path; links are named and not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{before}{entry.name}"
            yield name, entry
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), f"{name}/")


def rows_file(folder: Path) -> Path:
    """The file of rows in a folder that `shape` finds nothing wrong with."""
    return next((folder / RESULTS).glob("*.json"))


def read_manifest(folder: Path) -> SubmissionManifest:
    """`submission.json`, as it was written.

    Raises:
        DataError: not JSON. SpecError: it does not fit the schema. DigestMismatch: it was edited.
    """
    return read_digested(SubmissionManifest, folder / MANIFEST, ANEW)


ANEW = "Write the folder again with `bench submit`; what is in it is not edited by hand."


def stale(folder: Path, manifest: SubmissionManifest) -> list[str]:
    """Files that are not those of the manifest, one sentence each."""
    here = {name: path for name, path in _files(folder).items() if name != MANIFEST}
    faults = [
        f"{MANIFEST} names {name!r}, which is no file of the folder"
        for name in sorted(manifest.files.keys() - here.keys())
    ]
    faults += [f"{name} is not in {MANIFEST}" for name in sorted(here.keys() - manifest.files.keys())]
    for name in sorted(here.keys() & manifest.files.keys()):
        said, found = manifest.files[name].sha256, file_sha256(here[name])
        if found != said:
            faults.append(
                f"the digest of {name} is stale: it hashes to {found[:16]}..., and {MANIFEST} says {said[:16]}... {ANEW}"
            )
    more = len(faults) - SHOWN
    return [*faults[:SHOWN], f"{more} more files are not those of {MANIFEST}"] if more > 0 else faults


def write_manifest(folder: Path, run: str) -> SubmissionManifest:
    """Write `submission.json` over the files that are there; it comes last."""
    found = {
        name: HandedFile(bytes=path.stat().st_size, sha256=file_sha256(path)) for name, path in _files(folder).items()
    }
    manifest = SubmissionManifest(layout=1, run=run, files=dict(sorted(found.items())))
    return write_digested(manifest, folder / MANIFEST)


def _files(folder: Path) -> Mapping[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
