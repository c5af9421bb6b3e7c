"""`bench submit`: a finished run as a folder that somebody else can check without the machine that it ran on.

The folder holds the run itself and not a summary of it: its record, explanations, judgements and scores, from which whoever
checks computes the rows again. A file of rows alone is the tempting way, and would have to be believed. What is left out is
what nobody else needs: journals, pages, where the folder lay. Secrets become `***` in the record and in the messages of failed
calls; the digests are then those of what is handed in.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentbench.kernel.errors import DataError, SpecError
from latentbench.kernel.files import PART, writing
from latentbench.kernel.parquet import read_parquet
from latentbench.kernel.tables import write_table
from latentbench.kernel.veil import cleaned, veiled
from latentbench.leaderboards.ranked_runs import rank
from latentbench.leaderboards.results import add_results
from latentbench.leaderboards.row import LEADERBOARD_SPLIT
from latentbench.leaderboards.submission.judged_windows import texts_of
from latentbench.leaderboards.submission.planned_run import misplanned
from latentbench.leaderboards.submission.public_suites import is_private, public_suite
from latentbench.leaderboards.submission.statement import STATEMENT, TunedOn, read_statement, write_form
from latentbench.leaderboards.submission.submission_folder import RUN, TABLES, is_ordinary, write_manifest
from latentbench.leaderboards.submission.submission_rules import unfloored, untold
from latentbench.runs.finished import Run, load_run
from latentbench.runs.record import RECORD, RunRecord, write_record

if TYPE_CHECKING:
    import pyarrow as pa

FREE = ("error", "note")
"""Columns of free text, which may hold an address with a key in it."""


@dataclass(frozen=True)
class Submission:
    """What was written.

    Attributes:
        folder: to be handed in.
        rows: how many it has.
        digest: of its list of files.
    """

    folder: Path
    rows: int
    digest: str


def submit(folder: Path, out: Path, statement: Path | None = None, tuned: Sequence[TunedOn] = ()) -> Submission:
    """Write the folder to hand in.

    Args:
        folder: of the finished run.
        out: the new folder.
        statement: a filled-in form; by default `statement.yaml` in the run folder, which is written where it is missing.
        tuned: searches to name in a form that is written.

    Raises:
        SpecError: everything that stands in the way, at once: a private suite, latents that are not held out, no floors, a name
            that is no file's, answers that are missing.
        DataError: `out` exists, or cannot be written.
        RunError, CorruptTable, DigestMismatch: the run is not finished, or not as it was written.
    """
    run = load_run(folder)
    if out.is_symlink() or out.exists():
        raise DataError(f"{out} exists already. Give another --out; what was handed in is not written over.")
    form = statement or folder / STATEMENT
    wrong = obstacles(run)
    if not form.exists() and statement is None:
        write_form(form, tuned)
        wrong.append(f"{form} was written: fill it in, and give the command again")
    elif tuned:
        wrong.append(f"{form} is there already, so name the search in it; --tuned fills in a new one only")
    missing = read_statement(form).missing()
    if missing:
        wrong.append(f"{form} does not say: {'; '.join(missing)}")
    if wrong:
        raise SpecError(
            f"{run.folder} is not handed in. " + " ".join(f"({i}) {w.rstrip('.')}." for i, w in enumerate(wrong, 1))
        )
    part = out.with_name(f"{out.name}.{os.getpid()}{PART}")
    try:
        with writing(out):
            (part / RUN).mkdir(parents=True)
        shared(run, part / RUN)
        ranked = rank([load_run(part / RUN)])
        if unknown := [why for found in ranked.found.values() for why in found.without.values()]:
            raise SpecError(
                f"{run.folder} is not handed in: its scores cannot be computed again, because {'; '.join(unknown)}. Hand it in "
                "with the version that made it, and with scorers that others have."
            )
        add_results(ranked.rows, part)
        with writing(out):
            shutil.copyfile(form, part / STATEMENT)
        manifest = write_manifest(part, run.id)
        with writing(out):
            part.replace(out)
    finally:
        with suppress(OSError):
            shutil.rmtree(part, ignore_errors=True)
    return Submission(out, len(ranked.rows), manifest.digest)


def obstacles(run: Run) -> list[str]:
    """Why a run cannot be handed in whatever its submitter says, one sentence each."""
    record, wrong = run.record, []
    if not record.verified:
        wrong.append(
            f"{RECORD} has no digests of its tables, so nothing shows that they are the run's; carry it out again"
        )
    if private := is_private(record.suite):
        wrong.append(private)
    else:
        wrong += misplanned(run, public_suite(record.suite), texts_of(run))
    if record.split != LEADERBOARD_SPLIT:
        wrong.append(f"it ran on the {record.split!r} latents, and only {LEADERBOARD_SPLIT!r} latents rank")
    if not is_ordinary(record.id):
        wrong.append(f"its rows would be named after {record.id!r}, which is no name for a file on every system")
    return [*wrong, *untold(record), *unfloored(record)]


def shared(run: Run, out: Path) -> RunRecord:
    """Write the record and tables of a run as others get them; returns the record.

    Args:
        out: an empty folder.
    """
    digests = {}
    for name in TABLES:
        path = run.folder / f"{name}.parquet"
        if name in run.record.tables and path.exists():
            digests[name] = write_table(_veiled(read_parquet(path)), out / path.name)
    told: dict[str, Any] = json.loads(run.record.model_dump_json())
    told |= {"spec": cleaned(told["spec"]), "base": ".", "tables": digests, "digest": ""}
    places = [(run.record.base, "."), (str(Path.home()), "~")]
    return write_record(RunRecord.model_validate(_told(told, [(a, b) for a, b in places if len(a) > 1])), out)


def _told(value: Any, places: Sequence[tuple[str, str]]) -> Any:
    """A document without secrets in its texts, and without the paths of this machine.

    Args:
        places: folders, and what is written for them.
    """
    if isinstance(value, dict):
        return {key: _told(held, places) for key, held in value.items()}
    if isinstance(value, list):
        return [_told(held, places) for held in value]
    if not isinstance(value, str):
        return value
    text = veiled(value)
    for place, name in places:
        text = text.replace(place, name)
    return text


def _veiled(table: pa.Table) -> pa.Table:
    import pyarrow as pa

    for name in FREE:
        if name in table.schema.names:
            texts = table.column(name).to_pylist()
            clean = [None if text is None else veiled(text) for text in texts]
            if clean != texts:
                at = table.schema.get_field_index(name)
                table = table.set_column(at, table.schema.field(at), pa.array(clean, table.schema.field(at).type))
    return table
