"""Committed results: rows as data in `leaderboards/results/`, and the page that is rendered from them.

    leaderboards/results/RUN.json   rows of one run, with a digest over them
    leaderboards/checks/RUN.json    what a check made of them (`latentbench.leaderboards.checks`)
    leaderboards/README.md          rendered from all of them by a pure function; `render(check=True)` fails on drift

A published score never moves: what was quoted must stay where it was read. A better measurement is another run with another id,
beside the old one. The page is not written by hand and not from runs, so everybody who has the repository can check it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from latentbench.kernel import files
from latentbench.kernel.config import Frozen, validate
from latentbench.kernel.errors import DataError, DigestMismatch, SpecError
from latentbench.kernel.identity import digest, joined
from latentbench.kernel.inputs import read_json
from latentbench.leaderboards.board import tables
from latentbench.leaderboards.board_page import board_page
from latentbench.leaderboards.checks import CHECKS, SELF_REPORTED, CheckRecord, status_notes, statuses
from latentbench.leaderboards.claims import confirmed, misjudged
from latentbench.leaderboards.forgery import contradictions, faults, unfounded_notes
from latentbench.leaderboards.reruns import once, sentences
from latentbench.leaderboards.row import LEADERBOARD_SPLIT, Row, RowEvidence
from latentbench.views.number import rounded

RESULTS = "results"
JUDGES = "judges"
"""Rows of judges, beside the results."""
PAGE = "README.md"
SHOWN = 3
"""Faults that one message names."""
SCHEMA = 3
"""In the first layout bounds under missing judgements were those of a mean, whatever the metric; before the third rows had no
evidence."""
_LISTS = re.compile(r"\[\n\s*([^\[\]{}]*?)\n\s*\]")


class ResultFile(Frozen):
    """Content of one file under `results/`."""

    layout: Literal[1, 2, 3]
    digest: str
    """Over the rows: an edited number is found at once."""
    rows: list[Row] = Field(min_length=1)


def add_results(rows: Iterable[Row], root: Path) -> list[Path]:
    """Write rows as result files, one per run; rows that are there already stay as they are.

    Args:
        root: the `leaderboards` folder.

    Returns:
        Files that were written, sorted; none if all rows were there.

    Raises:
        SpecError: a row that was not measured on held-out latents, or a run whose name is none.
        DataError: a row that is there with another score, or a new one that nobody could compute again.
    """
    by_run: dict[str, list[Row]] = {}
    for row in rows:
        by_run.setdefault(row.run, []).append(stored(row))
    changed = []
    for run, new in sorted(by_run.items()):
        # Whoever wrote run.json chose it, and a file is named after it.
        if run in ("", ".", "..") or "/" in run or "\\" in run or "\0" in run:
            raise SpecError(f"the run calls itself {run!r}, which is no name of a folder, so its rows have no file.")
        _held_out(new)
        path = root / RESULTS / f"{run}.json"
        old = read_file(path) if path.exists() else []
        faults = moved(old, [*new, *(row for row in old if row.name not in {r.name for r in new})])
        if faults:
            raise DataError(
                f"{path}: {'; '.join(faults)}. Published scores do not move; submit the new run under its own id."
            )
        known = {row.name for row in old}
        added = [row for row in new if row.name not in known]
        if any(row.evidence is None for row in added):
            raise DataError(
                f"run {run} is of before run.json had digests of its tables, so its rows cannot be checked and are not "
                f"published. Carry it out again: {added[0].command}"
            )
        merged = sorted([*old, *added], key=lambda row: row.name)
        _founded(merged, f"run {run}")
        if merged != old:
            write_file(path, merged)
            changed.append(path)
    return changed


def read_file(path: Path) -> list[Row]:
    """Rows of one result file.

    Raises:
        DataError: not JSON.
        SpecError: does not fit the schema, belongs to another run, or holds rows that are not for the leaderboard.
        DigestMismatch: a row was edited, or its numbers do not follow from its evidence.
    """
    try:
        data = read_json(path)
    except (ValueError, OSError) as e:
        raise DataError(f"{path} is not JSON: {e}.") from e
    content = validate(ResultFile, data, str(path))
    # Of the text, because a row that is read has the fields of today.
    found = digest(data["rows"])
    if found != content.digest:
        raise DigestMismatch(f"{path}: the rows hash to {found}, not to {content.digest}; restore the file.")
    other = sorted({row.run for row in content.rows} - {path.stem})
    if other:
        raise SpecError(f"{path} holds rows of run {other[0]}; a file is named after its run.")
    _held_out(content.rows)
    if content.layout >= 3 and (bare := [row for row in content.rows if row.evidence is None]):
        raise SpecError(f"{path}: row {joined(bare[0].name[1:], ' / ')} has no evidence. Restore the file.")
    _founded(content.rows, str(path))
    inexact = {"worst": None, "best": None} if content.layout == 1 else {}
    return [row.model_copy(update=inexact) for row in content.rows]


def write_file(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows of one run as its result file."""
    dumped = [row.model_dump(mode="json") for row in rows]
    layout = SCHEMA if all(row.evidence is not None for row in rows) else SCHEMA - 1
    content = {"layout": layout, "digest": digest(dumped), "rows": dumped}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    # A list of numbers is one line: nobody reads a change of a published row latent by latent.
    folded = _LISTS.sub(lambda m: "[" + re.sub(r"\s*\n\s*", " ", m[1]) + "]", text)
    files.write_text(path, folded + "\n")


def read_results(root: Path) -> list[Row]:
    """All committed rows, in the order of their files.

    Raises:
        DataError, SpecError, DigestMismatch: as `read_file`; or two rows say different things of one scorer.
    """
    rows = [row for path in sorted((root / RESULTS).glob("*.json")) for row in read_file(path)]
    if wrong := [*contradictions(rows), *misjudged(rows, root / JUDGES)]:
        raise DigestMismatch(f"{root / RESULTS}: {'; '.join(wrong[:SHOWN])}. Restore the one that was changed.")
    return rows


def page(rows: Sequence[Row], checks: Mapping[str, CheckRecord] | None = None) -> str:
    """The Markdown page for these rows.

    Args:
        checks: run -> what a check made of its rows; where there is any, every row has a status.
    """
    head = (
        "# Leaderboards\n\n"
        "Rendered from `results/*.json`; do not edit. A rank is the range of places that the 95 % intervals allow. Tables are "
        "separate wherever suite, latents, scorer or judge differ, because such scores do not compare.\n\n"
    )
    if not rows:
        return f"{head}No results yet.\n"
    shown, reruns = once(rows)
    known = checks or {}
    said = [*unfounded_notes(rows), *sentences(reruns), *status_notes(rows, known)]
    status = {row.run: known[row.run].status if row.run in known else SELF_REPORTED for row in rows} if known else None
    return head + board_page(tables(shown), said, status).markdown()


def render(root: Path, check: bool = False) -> Path:
    """Write the page, or with `check` only compare it.

    Raises:
        DataError: with `check`, the page is not what the results render to.
        DataError, SpecError, DigestMismatch: as `read_results`, or a check was edited.
    """
    path = root / PAGE
    again = f"bench leaderboard --render {root}"
    fault = f"{path} is not what {root / RESULTS} renders to. Render it again (`{again}`) and commit both."
    rows = read_results(root)
    text = page(confirmed(rows, [root / JUDGES]), statuses(rows, root / CHECKS))
    return files.render(path, text, check, fault)


def moved(old: Iterable[Row], new: Iterable[Row]) -> list[str]:
    """What happened to published rows, one sentence each; empty if they are all there unchanged."""
    now = {row.name: row for row in new}
    faults = []
    for row in old:
        name = joined(row.name[1:], " / ")
        if row.name not in now:
            faults.append(f"the row {name} of run {row.run} is gone")
        elif not _same(row, now[row.name]):
            a, b = row.score.estimate, now[row.name].score.estimate
            what = f"its score was {a} and is {b}" if a != b else "fields beside its score differ"
            faults.append(f"the row {name} of run {row.run} changed: {what}")
    return faults


def _held_out(rows: Iterable[Row]) -> None:
    for row in rows:
        if row.split != LEADERBOARD_SPLIT:
            raise SpecError(
                f"run {row.run} is on {row.split!r} latents; results are of {LEADERBOARD_SPLIT!r} latents only."
            )


def _founded(rows: Sequence[Row], place: str) -> None:
    if wrong := faults(rows):
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise DigestMismatch(
            f"{place}: {'; '.join(wrong[:SHOWN])}{more}. These rows are not what was measured; restore them."
        )


def _same(old: Row, new: Row) -> bool:
    """Whether two rows say the same; what one of them has no evidence of is not compared."""
    rows = [stored(row) for row in (old, new)]
    if any(row.evidence is None for row in rows):
        rows = [row.model_copy(update={"evidence": None}) for row in rows]
    else:
        # A run that was gone on with says the same again, in another record and with other times.
        rows = [row.model_copy(update={"evidence": _measured(row.evidence)}) for row in rows]
    return rows[0] == rows[1]


def _measured(evidence: RowEvidence | None) -> RowEvidence | None:
    return evidence and evidence.model_copy(
        update={"recomputed": False, "record": "", "tables": evidence.answers, "texts": None}
    )


def stored(row: Row) -> Row:
    """The row as it is after a round trip through its file: six digits, but for the evidence, which has all."""
    held = rounded(row.model_dump(exclude={"evidence"}))
    return Row.model_validate({**held, "evidence": row.evidence})
