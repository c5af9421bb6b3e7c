"""`bench export`: a run in the layout of another tool, as a folder that is there whole or not at all.

The folder is written beside its place and renamed into it. One that this command wrote before may be replaced when that is said;
any other is refused, because `--force` on the wrong folder must not cost somebody's work.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from latentbench.exchange.delphi_files import write_delphi
from latentbench.exchange.exported_run import ExportedRun, chosen
from latentbench.exchange.flat_files import write_flat
from latentbench.exchange.hub_files import write_hub
from latentbench.exchange.inspect_files import write_inspect
from latentbench.exchange.neuronpedia_files import write_neuronpedia
from latentbench.exchange.saebench_files import write_saebench
from latentbench.kernel.errors import DataError, SpecError, UnknownName
from latentbench.kernel.files import PART, write_json, writing
from latentbench.runs.finished import load_run

To = Literal["neuronpedia", "delphi", "saebench", "hf", "csv", "inspect"]
WRITERS: Mapping[str, Callable[[ExportedRun, Path], None]] = {
    "neuronpedia": write_neuronpedia,
    "delphi": write_delphi,
    "saebench": write_saebench,
    "hf": write_hub,
    "csv": write_flat,
    "inspect": write_inspect,
}
WHOLE = ("hf", "csv", "inspect")
"""Layouts that hold all explainers, floors too, and all repeats."""
MARK = "export.json"
"""File by which a folder is known to be one of this command's."""


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        folder: where.
        files: how many.
        notes: what was left out, or is not known.
    """

    folder: Path
    files: int
    notes: tuple[str, ...]


def export(
    folder: Path, to: str, out: Path, explainers: tuple[str, ...] = (), repeat: int = 0, force: bool = False
) -> Export:
    """Write a finished run in another tool's layout.

    Args:
        folder: of the run.
        to: the layout (`To`).
        out: the new folder.
        explainers: labels; by default all that are no floors, and all in layouts that can tell them apart by a column.
        repeat: number of the repeat whose texts and scores layouts with one text per latent get.
        force: replace a folder that an export has written.

    Raises:
        UnknownName: no such layout, or a label that the run does not have.
        SpecError: the run has fewer repeats.
        DataError: `out` exists, or cannot be written.
        RunError, CorruptTable, DigestMismatch: as `load_run`.
    """
    if to not in WRITERS:
        raise UnknownName("layout to export to", to, list(WRITERS))
    run = load_run(folder)
    if not 0 <= repeat < run.record.spec.repeats:
        raise SpecError(
            f"{folder} has {run.record.spec.repeats} repeats, numbered from 0; there is no repeat {repeat}."
        )
    if out.is_symlink() or (out.exists() and not (force and (out / MARK).is_file())):
        how = (
            "--force replaces it"
            if (out / MARK).is_file() and not out.is_symlink()
            else "no export has made it, so it stays"
        )
        raise DataError(f"{out} exists already ({how}). Give another --out.")
    exported = ExportedRun(run, repeat, chosen(run, explainers, floors=to in WHOLE))
    if run.record.spec.repeats > 1 and to not in WHOLE:
        exported.note(f"Texts and scores are those of repeat {repeat} of {run.record.spec.repeats}.")
    part = out.with_name(f"{out.name}.{os.getpid()}{PART}")
    try:
        with writing(out):
            part.mkdir(parents=True)
        WRITERS[to](exported, part)
        files = sum(1 for path in part.rglob("*") if path.is_file())
        record = run.record
        told = {"layout": to, "run": record.id, "suite": record.suite.model_dump(), "digest": record.digest}
        write_json(part / MARK, {**told, "explainers": list(exported.chosen), "notes": exported.notes})
        with writing(out):
            _put(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Export(out, files, tuple(exported.notes))


def _put(part: Path, out: Path) -> None:
    """Rename a folder into its place; what was there is put back if that fails."""
    old = out.with_name(f"{out.name}.{os.getpid()}.old{PART}")
    if out.exists():
        out.replace(old)
    try:
        part.replace(out)
    except OSError:
        with suppress(OSError):
            old.replace(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
