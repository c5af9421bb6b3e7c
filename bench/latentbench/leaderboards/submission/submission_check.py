"""`bench submit check`: everything that keeps a handed-in folder from a leaderboard, all of it at once, and how far it was
checked.

The order is that of trust. First the folder is looked over, and nothing in it is read before that. Then each part is read with
the limits of its kind: what one of them is refused for does not hide what is wrong with the others, so a submitter writes once.
Then the parts are compared with each other, with what is installed here, with the suite, and with what is published. Only what is
accepted so far is worth the calls of a judge.

Nothing in the folder is believed of its own status, and the file that says the status is not in the folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from latentbench.kernel.digested import write_digested
from latentbench.kernel.errors import BenchError, DataError
from latentbench.kernel.identity import joined
from latentbench.kernel.inputs import understood
from latentbench.kernel.requests import MOCKS
from latentbench.kernel.tasks import available
from latentbench.leaderboards.checks import CHECKS, CheckRecord, now, read_check, rows_digest
from latentbench.leaderboards.claims import unknown_names
from latentbench.leaderboards.forgery import differing
from latentbench.leaderboards.reruns import contents
from latentbench.leaderboards.rescored import rescored, same_scorer
from latentbench.leaderboards.results import add_results, moved, read_file, read_results, render, stored
from latentbench.leaderboards.row import LEADERBOARD_SPLIT, Row, checked, rows
from latentbench.leaderboards.submission.asked_again import MARGIN, SAMPLE, AskedAgain, ask_again
from latentbench.leaderboards.submission.judged_windows import misjudged_windows, texts_of
from latentbench.leaderboards.submission.planned_run import misplanned
from latentbench.leaderboards.submission.public_suites import public_suite
from latentbench.leaderboards.submission.statement import STATEMENT, Statement, read_statement
from latentbench.leaderboards.submission.submission_folder import (
    ANEW,
    MANIFEST,
    RUN,
    SubmissionManifest,
    read_manifest,
    rows_file,
    shape,
    stale,
)
from latentbench.leaderboards.submission.submission_rules import unfloored, untold
from latentbench.leaderboards.submission.tuned_latents import tuned_on_test
from latentbench.runs.environment import versions
from latentbench.runs.finished import Run, load_run
from latentbench.scorers.scorer import Scorer
from latentbench.suites.store import Suite
from latentbench.views.number import rounded

SHOWN = 3


@dataclass
class _Parts:
    """What of a folder could be read, and what is wrong with it."""

    folder: Path
    reasons: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    manifest: SubmissionManifest | None = None
    statement: Statement | None = None
    said: list[Row] | None = None
    run: Run | None = None
    suite: Suite | None = None
    scorers: dict[str, Scorer] = field(default_factory=dict)
    own: list[Row] = field(default_factory=list)

    @contextmanager
    def part(self, place: str) -> Iterator[None]:
        """A block that takes one part; whatever is raised in it is a reason, and the next part is taken, too."""
        try:
            with understood(self.folder / place, DataError, ANEW):
                yield
        except BenchError as e:
            self.reasons.append(str(e))


def check(
    folder: Path,
    *,
    boards: Sequence[Path] = (),
    judge: str | None = None,
    sample: int = SAMPLE,
    seed: int = 0,
    margin: float = MARGIN,
    console: Console,
) -> tuple[CheckRecord, list[Row]]:
    """Check a folder that was handed in.

    Args:
        boards: folders of published results, in which the same rows are looked for.
        judge: reference of a judge to ask again about a sample of the latents.
        sample, seed, margin: see `ask_again`.
        console: for the progress of that.

    Returns:
        The check, and the rows to publish, computed from the run that was handed in; none where it is refused.

    Raises:
        DataError: there is no such folder. BenchError: the judge cannot be had or asked, or the board cannot be read.
    """
    faults = shape(folder)
    if faults:
        return _record(_Parts(folder, faults), None), []
    parts = _read(folder)
    if parts.run is not None:
        _compare_run(parts, parts.run)
    if parts.said is not None and parts.own:
        parts.reasons += _other_rows(parts.said, parts.own)
        for board in boards:
            _published(parts, read_results(board))
    asked = None
    if judge is not None and not parts.reasons and parts.run is not None and parts.suite is not None:
        asked = ask_again(
            parts.run, parts.suite, parts.scorers, judge, sample=sample, seed=seed, margin=margin, console=console
        )
        _heard(parts, asked)
    return _record(parts, asked), [] if parts.reasons else _to_publish(parts)


def publish(board: Path, record: CheckRecord, accepted: Sequence[Row]) -> list[Path]:
    """Add checked rows to a leaderboard with their status, and render it; returns what was written.

    Raises:
        SpecError, DataError, DigestMismatch: see `add_results` and `render`.
    """
    written = add_results(accepted, board)
    path = board / CHECKS / f"{record.run}.json"
    old = read_check(path) if path.exists() else None
    # Rows that were reproduced once were: a check that asks nobody, another judge, or too few latents takes nothing back.
    if old is None or old.rows != record.rows or old.status != "reproduced" or record.status == "reproduced":
        write_digested(record, path)
    return [*written, path, render(board)]


def _read(folder: Path) -> _Parts:
    parts = _Parts(folder)
    with parts.part(MANIFEST):
        parts.manifest = read_manifest(folder)
        parts.reasons += stale(folder, parts.manifest)
    with parts.part(STATEMENT):
        parts.statement = read_statement(folder / STATEMENT)
        missing = parts.statement.missing()
        if missing:
            parts.reasons.append(f"{folder / STATEMENT} does not say: {'; '.join(missing)}")
        held = parts.statement.contamination
        if held.explainer_saw_test_windows:
            parts.reasons.append(f"what wrote the explanations has seen the windows that rank: {held.notes!r}")
        if held.judge_trained_on_suite:
            parts.remarks.append(f"The judge was trained or tuned on this suite: {held.notes!r}.")
    place = rows_file(folder)
    with parts.part(place.relative_to(folder).as_posix()):
        parts.said = read_file(place)
    with parts.part(RUN):
        parts.run = load_run(folder / RUN)
    return parts


def _compare_run(parts: _Parts, run: Run) -> None:
    """Compare the run with what is installed here, with its suite, and with what its submitter says."""
    record = run.record
    named = {rows_file(parts.folder).stem, record.id} | ({parts.manifest.run} if parts.manifest is not None else set())
    if len(named) > 1:
        parts.reasons.append(f"the folder is of several runs: {', '.join(sorted(map(repr, named)))}")
    if not record.verified:
        parts.reasons.append("run.json has no digests of its tables, so nothing shows that they are the run's")
    if record.split != LEADERBOARD_SPLIT:
        parts.reasons.append(f"the run is on {record.split!r} latents, and only {LEADERBOARD_SPLIT!r} latents rank")
    with parts.part(RUN):
        parts.reasons += [*untold(record), *unfloored(record)]
    with parts.part(RUN):
        parts.suite = public_suite(record.suite)
    if any(entry.use not in available("scorers") for entry in record.spec.scorers):
        return  # `untold` has said so, and nothing is opened that the folder names
    with parts.part(RUN):
        again = rescored(run)
        parts.reasons += [f"scores of {label}: an unknown version, {why}" for label, why in again.without.items()]
        own = rows([run], by_kind=True, by_coder=True, any_split=True)
        parts.own = [stored(row) for row in checked(own, {run.id: again})]
        for entry in record.spec.scorers:
            scorer = same_scorer(entry, run)
            if isinstance(scorer, Scorer):
                parts.scorers[entry.label] = scorer
    if parts.suite is not None:
        with parts.part(RUN):
            parts.reasons += misplanned(run, parts.suite, texts_of(run))
        with parts.part(RUN):
            parts.reasons += misjudged_windows(run, parts.suite, parts.scorers)
        if parts.statement is not None and not parts.statement.missing():
            with parts.part(STATEMENT):
                parts.reasons += tuned_on_test(parts.statement.tuned or (), parts.suite, record.latents)
    parts.remarks += unknown_names(parts.own)
    if any(cell.judge.identity.provider == MOCKS for cell in record.cells):
        parts.remarks.append("A mock: judge is for trying things out; it may know the right answers.")


def _other_rows(said: Sequence[Row], own: Sequence[Row]) -> list[str]:
    """Where the rows are not those of the run; everything that the run has by kind of coder must be there."""
    known = {row.name: row for row in own}
    owed = {row.name for row in own if row.coders == "all"}
    wrong = [
        f"the row {_title(known[name])}{' (a floor)' if known[name].is_floor else ''} is missing: a run is handed in whole"
        for name in sorted(owed - {row.name for row in said})
    ]
    for row in said:
        if row.name not in known:
            wrong.append(f"the row {_title(row)} is not of the run that was handed in")
            continue
        ours, theirs = (_measured(r) for r in (known[row.name], row))
        different = list(differing(ours, theirs))
        if different:
            place, (a, b) = different[0]
            wrong.append(f"the row {_title(row)} is forged: its run gives {place} = {a}, and it says {b}")
    more = len(wrong) - 2 * SHOWN
    return [*wrong[: 2 * SHOWN], f"{more} more rows are not those of the run"] if more > 0 else wrong


def _measured(row: Row) -> Mapping[str, object]:
    dumped: dict[str, object] = rounded(row.model_dump(mode="json", exclude={"evidence": {"recomputed"}}))
    return dumped


def _published(parts: _Parts, there: Sequence[Row]) -> None:
    """Compare with what is published: content that is there already is no second row."""
    mine = [row for row in there if parts.run is not None and row.run == parts.run.id]
    if mine:
        # Only its status can be new.
        parts.reasons += [
            f"it is published already, and {fault}; published scores do not move" for fault in moved(mine, parts.own)
        ]
        return
    names = {name: row for row in there for name in contents(row)}
    texts = {(*row.table, row.evidence.texts): row for row in there if row.evidence is not None and row.evidence.texts}
    copies: dict[str, Row] = {}
    for row in parts.own:
        if row.is_floor:
            continue
        told = row.evidence.texts if row.evidence is not None else None
        first = next((names[name] for name in contents(row) if name in names), None)
        if first is None and told:
            first = texts.get((*row.table, told))
        if first is None:
            parts.remarks += [f"Published already: {_copied(label, other)}." for label, other in copies.items()]
            return
        copies.setdefault(row.explainer.label, first)
    if copies:
        told_of = "; ".join(_copied(label, other) for label, other in copies.items())
        parts.reasons.append(f"every row that is no floor is a duplicate of a published one: {told_of}")


def _copied(label: str, other: Row) -> str:
    return f"{label} has the explanations of {other.explainer.label} in {other.run}, with the same scorer and judge"


def _heard(parts: _Parts, asked: AskedAgain) -> None:
    for row in asked.rows:
        what = f"{row.explainer} / {row.scorer} / {row.judge}"
        if asked.same and row.verdict == "differs":
            parts.reasons.append(
                f"asked again, the same judge gives {what} {row.again:.3f} on {row.n} latents, and {row.stated:.3f} is handed in "
                f"(difference {row.difference:+.3f}, 95 % interval {row.low:+.3f} to {row.high:+.3f})"
            )


def _to_publish(parts: _Parts) -> list[Row]:
    handed_in = {row.name for row in parts.said or ()}
    return [row for row in parts.own if row.name in handed_in]


def _record(parts: _Parts, asked: AskedAgain | None) -> CheckRecord:
    accepted = _to_publish(parts)
    refused = bool(parts.reasons)
    return CheckRecord(
        status="refused" if refused else "reproduced" if asked is not None and asked.reproduced else "rescored",
        run=parts.run.id if parts.run is not None else "",
        submission=parts.manifest.digest if parts.manifest is not None else "",
        rows="" if refused else rows_digest(accepted),
        checked=now(),
        version=versions().get("latentbench", "unknown"),
        asked=asked,
        reasons=tuple(parts.reasons),
        remarks=() if refused else tuple(dict.fromkeys(parts.remarks)),
    )


def _title(row: Row) -> str:
    return joined([part for part in row.name[1:] if part], " / ")
