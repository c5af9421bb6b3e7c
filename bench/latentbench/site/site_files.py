"""A target -> the files of its site, one after another: the page, its script and style, and a data file for each part.

The files are a pure function of the tables. Nothing of the day, the machine or the folder is in them, so that the same tables
give the same bytes, and a page that was edited by hand is one that differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING

from latentbench.analysis.people.rated_run import RatedRun, rated_run
from latentbench.analysis.qualify.qualify_page import published
from latentbench.analysis.walkthrough.sentence_walk import read_walk
from latentbench.judges.qualification import folders
from latentbench.leaderboards.board import Ranking, tables
from latentbench.leaderboards.checks import CHECKS, SELF_REPORTED, status_notes, statuses
from latentbench.leaderboards.claims import confirmed
from latentbench.leaderboards.export import to_csv, to_json
from latentbench.leaderboards.forgery import unfounded_notes
from latentbench.leaderboards.ranked_runs import rank
from latentbench.leaderboards.reruns import once, sentences
from latentbench.leaderboards.results import JUDGES, read_results
from latentbench.leaderboards.row import Row
from latentbench.runs.finished import Run, load_run, suite_of
from latentbench.runs.kept import chunked, has_calls, kept_calls
from latentbench.site.board_data import BoardTable, CoderBoard, ExamRow, board_table, coder_boards, exam_row
from latentbench.site.call_data import call_list
from latentbench.site.data_file import data_file
from latentbench.site.difference_data import differences
from latentbench.site.failure_data import failures
from latentbench.site.latent_data import PAGE_SIZE, latent_list, shown_latents, text_list
from latentbench.site.people_data import people_data
from latentbench.site.site_target import SiteTarget

if TYPE_CHECKING:
    from pathlib import Path

INDEX = "index.html"
SCRIPT, STYLE = "app.js", "app.css"
CSV, JSON = "leaderboard.csv", "leaderboard.json"


@dataclass(frozen=True, slots=True)
class RunEntry:
    """A run as the site lists it."""

    key: str
    """Folder of its data files."""
    id: str
    name: str
    started: str
    suite: str
    split: str
    latents: int
    failed: float | None
    command: str


@dataclass(frozen=True, slots=True)
class RatedRunEntry(RunEntry):
    """A run that people have rated, so that it has a page for that."""

    raters: int


@dataclass(frozen=True, slots=True)
class SiteIndex:
    """What the site is about."""

    title: str
    runs: tuple[RunEntry, ...]
    tables: int
    exams: int
    walks: tuple[str, ...] = ()
    """Sentences that are walked through, in the order of their data files."""
    live: bool = False
    """Whether the server that sends it follows a run."""


@dataclass(frozen=True, slots=True)
class Boards:
    """The three leaderboards: explainers, judges, coders."""

    tables: tuple[BoardTable, ...]
    exams: tuple[ExamRow, ...]
    coders: tuple[CoderBoard, ...]
    remarks: tuple[str, ...]


File = tuple[str, str]
"""Place in the site, with slashes, and text."""


def site_files(target: SiteTarget, suite_folder: Path | None = None) -> Iterator[File]:
    """Every file of the site of a target, in a fixed order.

    Args:
        suite_folder: where the suite of its runs is; else it is looked for as their specs name it.

    Raises:
        RunError, CorruptTable, DigestMismatch: a run has not ended, or is not what was written.
    """
    runs = [load_run(folder) for folder in target.runs]
    boards, ranked = _published(target.published) if target.published is not None else _of_runs(runs)
    keys = {run.id: f"r{number}" for number, run in enumerate(runs)}
    rated = {run.id: rated_run(run) for run in runs}
    entries = tuple(_entry(run, keys[run.id], rated[run.id]) for run in runs)
    walks = [read_walk(folder) for folder in target.walks]
    index = SiteIndex(target.title, entries, len(boards.tables), len(boards.exams), tuple(w.sentence for w in walks))
    # First: it is what a site is known by, and one whose writing was stopped must not be refused as a folder of something else.
    yield _data("site", index)
    yield from front_files()
    yield _data("boards", boards)
    yield CSV, to_csv(ranked)
    yield JSON, to_json(ranked)
    for number, walk in enumerate(walks):
        yield _data(f"walk-{number}", walk.model_dump())
    for run in runs:
        yield from _run_files(run, keys[run.id], suite_folder, rated[run.id])


def front_files() -> Iterator[File]:
    """The page, its script and its style."""
    built = files("latentbench.site") / "built"
    for name in (INDEX, SCRIPT, STYLE):
        yield name, (built / name).read_text(encoding="utf-8")


def _data(name: str, value: object) -> File:
    return f"data/{name}.js", data_file(name, value)


def _of_runs(runs: Sequence[Run]) -> tuple[Boards, Sequence[Ranking]]:
    ranked = rank(runs, by_coder=True, any_split=True)
    judges = {judge.key for run in runs for judge in run.record.judges.values()}
    exams = [exam for place in folders() if place.is_dir() for exam in published(place) if exam.judge_key in judges]
    boards = Boards(
        tables=_boards(ranked.tables, {}),
        exams=tuple(map(exam_row, exams)),
        coders=tuple(coder_boards(ranked.rows)),
        remarks=tuple(ranked.remarks),
    )
    return boards, ranked.tables


def _published(folder: Path) -> tuple[Boards, Sequence[Ranking]]:
    rows = read_results(folder)
    known = statuses(rows, folder / CHECKS)
    held: list[Row] = confirmed(rows, [folder / JUDGES])
    shown, reruns = once(held)
    ranked = tables(shown)
    exams = published(folder / JUDGES) if (folder / JUDGES).is_dir() else []
    said = {row.run: known[row.run].status if row.run in known else SELF_REPORTED for row in rows}
    boards = Boards(
        tables=_boards(ranked, said),
        exams=tuple(map(exam_row, exams)),
        coders=tuple(coder_boards(shown)),
        remarks=(*unfounded_notes(rows), *sentences(reruns), *status_notes(rows, known)),
    )
    return boards, ranked


def _boards(ranked: Sequence[Ranking], status: Mapping[str, str]) -> tuple[BoardTable, ...]:
    return tuple(board_table(ranking, status) for ranking in ranked)


def _entry(run: Run, key: str, rated: RatedRun | None) -> RunEntry:
    record = run.record
    entry = RunEntry(
        key,
        run.id,
        record.name,
        record.started,
        record.suite.id,
        record.split,
        len(record.latents),
        record.failure_rate,
        record.command,
    )
    return entry if rated is None else RatedRunEntry(**asdict(entry), raters=len(rated.raters))


def _run_files(run: Run, key: str, suite_folder: Path | None, rated: RatedRun | None) -> Iterator[File]:
    suite, spoken = suite_of(run, suite_folder), has_calls(run)
    yield _data(f"{key}/latents", latent_list(run, suite, spoken))
    yield _data(f"{key}/texts", text_list(run))
    yield _data(f"{key}/differences", differences(run))
    yield _data(f"{key}/failures", failures(run, kept_calls(run), spoken))
    if rated is not None:
        yield _data(f"{key}/people", people_data(rated))
    for page, some in enumerate(chunked(shown_latents(run, suite), PAGE_SIZE)):
        yield _data(f"{key}/latent-{page}", some)
    if spoken:
        yield from _call_files(run, key)


def _call_files(run: Run, key: str) -> Iterator[File]:
    """A file for each latent; the calls come latent by latent."""
    places = {latent: i for i, latent in enumerate(run.record.latents)}
    missing = dict(places)
    for latent, calls in groupby(kept_calls(run), key=lambda call: call.latent):
        if latent in missing:
            yield _data(f"{key}/calls-{missing.pop(latent)}", call_list(latent, calls))
    for latent, place in missing.items():
        yield _data(f"{key}/calls-{place}", call_list(latent, ()))
