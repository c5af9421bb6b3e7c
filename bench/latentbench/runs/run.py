"""A run from spec to finished folder, and its continuation after anything that stopped it.

    runs/NAME-YYYYMMDD-HHMMSS/
        spec.yaml            as given
        run.json             identities and environment at the start; totals at the end (atomic)
        explanations.jsonl   units while the run is going, and their prompts and replies
        judgements.jsonl
        calls.jsonl, texts.jsonl
        paid.jsonl           what was paid, answer by answer
        *.parquet            tables, when it has ended
        run.lock, owner.json while a process works in it

The files are the truth. Whoever resumes must have the same suite, prompts, judges and seeds: the identities are compared before
anything is asked, because a table with two kinds of rows in it is worse than no table.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Container, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from latentbench.explainers.explainer import load_explainer
from latentbench.judges.cache.cached_judge import CachedJudge, ReplyCache
from latentbench.judges.cache.reply_database import open_replies
from latentbench.judges.judge import Judge, closed
from latentbench.judges.reference import load_judge
from latentbench.judges.remote.binding import called
from latentbench.kernel import stopping
from latentbench.kernel.errors import BenchError, DataError, JudgeError, RunError
from latentbench.kernel.files import write_text
from latentbench.kernel.requests import Outcome
from latentbench.models.source import cache_dir
from latentbench.panels.panel_judge import load_panel
from latentbench.panels.panel_spec import is_panel
from latentbench.runs import ledger
from latentbench.runs.closing_remarks import say_cached, say_calls, say_damage
from latentbench.runs.environment import git, hardware, versions
from latentbench.runs.explaining import RETRIED, Explanations
from latentbench.runs.flow import Flow
from latentbench.runs.forecast import forecast
from latentbench.runs.keeping import Keeper
from latentbench.runs.ownership import dated_folder, is_passing, owned
from latentbench.runs.plan import Plan, make_plan
from latentbench.runs.probing import probe
from latentbench.runs.record import RECORD, Paid, RunRecord, read_record, write_record
from latentbench.runs.rereading import OnDisk
from latentbench.runs.retrying import forget
from latentbench.runs.run_spec import ExplainerEntry, RunSpec, ScorerEntry, load_run_spec, local
from latentbench.runs.run_tables import describe, write_tables
from latentbench.runs.settling import restore, settle
from latentbench.runs.stock import Key
from latentbench.runs.tally import RunTally
from latentbench.scorers.scorer import load_scorer
from latentbench.suites.imported.suite_notes import notes
from latentbench.suites.store import Suite, load_suite
from latentbench.views.terminal import tell

REPLIES = "replies.sqlite"
"""File name of a reply cache, the user's or one that a folder has for itself."""
GIVEN = "given.jsonl"
"""Explanations that were given from memory (`runs.scoring`), in the folder of the run that scores them."""


@dataclass(frozen=True)
class Pool:
    """Suites and judges that a process keeps from one run to the next, each loaded once. Its owner closes the judges."""

    suites: dict[str, Suite] = field(default_factory=dict)
    judges: dict[str, Judge] = field(default_factory=dict)


def prepare(spec: RunSpec, base: Path, cache: ReplyCache | None, pool: Pool | None = None) -> Plan:
    """Look everything up.

    Args:
        base: folder that relative paths of the spec are relative to.
        cache: reply cache put in front of every judge; None to ask every time.
        pool: where loaded suites and judges are kept for the next run.

    Raises:
        BenchError: whatever is wrong with the spec, before anything is paid.
    """
    kept = pool or Pool()
    place = local(spec.suite, base)
    suite = kept.suites.get(place) or kept.suites.setdefault(place, load_suite(place))
    explainers = {
        e.label: load_explainer(_entry(e, f"explainers[{i}]", base), base) for i, e in enumerate(spec.explainers)
    }
    scorers = {s.label: load_scorer(_entry(s, f"scorers[{i}]", base)) for i, s in enumerate(spec.scorers)}

    def load(reference: str) -> Judge:
        if reference not in kept.judges:
            with called(next((label for label, use in uses.items() if use == reference), reference)):
                loaded = load_judge(reference)
            kept.judges[reference] = CachedJudge(loaded, cache) if cache is not None else loaded
        return kept.judges[reference]

    uses = {j.label: j.use for j in spec.judges}

    def judge(reference: str, params: Mapping[str, Any]) -> Judge:
        if not is_panel(reference):
            return load(reference)
        return load_panel(reference, params, lambda member: load(uses.get(member, member)), base)

    judges = {j.label: judge(j.use, j.params) for j in spec.judges}
    models: dict[str, str] = {}
    for e in spec.explainers:
        if e.model is not None:
            known = next((j.label for j in spec.judges if e.model in (j.label, j.use)), e.model)
            judges.setdefault(known, judges[known] if known in judges else judge(e.model, {}))
            models[e.label] = known
    return make_plan(spec, suite, explainers, scorers, judges, models)


def _entry(entry: ExplainerEntry | ScorerEntry, at: str, base: Path) -> dict[str, Any]:
    return {"use": local(entry.use, base), "preset": entry.preset, "params": entry.params, "at": at}


def start(
    spec_path: Path,
    out: Path | None,
    cache_path: Path | None,
    console: Console,
    created: Callable[[Path], None] = lambda _: None,
    command: str = "",
) -> tuple[Path, RunRecord]:
    """Create a run folder for a spec and carry the run out.

    Args:
        out: the run folder; by default `runs/NAME-time`, with a number behind it if another run was started in the same second.
        cache_path: reply cache; the user cache by default.
        created: told the folder as soon as the run can be resumed.
        command: how the run is reproduced; `bench run` with the spec by default.

    Returns:
        The folder and the final `run.json`.

    Raises:
        RunError: the folder exists already, or another process has it.
        JudgeError: a judge cannot be asked (there is no folder then), or stops answering.
        BenchError: as `prepare`.
    """
    spec = load_run_spec(spec_path)
    folder = out or dated_folder(spec.name)
    record = begin(spec, spec_path.parent, folder, command or f"bench run {spec_path}", cache_path, console, created)
    return folder, record


def begin(
    spec: RunSpec,
    base: Path,
    folder: Path,
    command: str,
    cache_path: Path | None,
    console: Console,
    created: Callable[[Path], None] = lambda _: None,
) -> RunRecord:
    """`start` for a spec that other code has made.

    Args:
        base: folder that relative paths of the spec are relative to.
        command: how the run is reproduced.
    """
    with owned(folder, _say(console)):
        if occupied(folder):
            go_on = f" To go on with it: bench resume {folder}." if (folder / RECORD).exists() else ""
            raise RunError(f"{folder} exists already and is not empty.{go_on} For a new run give another --out.")
        cache = _cache(cache_path, console)
        plan = prepare(spec, base, cache)
        matched = (line for e, met in plan.matched.items() for line in met.sentences(e))
        for line in (*map(str, plan.unasked), *notes(plan.suite), *matched):
            tell(console, line)
        # Before there is a run: what is wrong may stand in the spec, which a run that has begun no longer reads.
        _try_judges(plan, {}, set(), "Nothing was paid, and no run folder made.")
        record = open_run(plan, base, folder, command)
        created(folder)
        record = carry_out(plan, folder, record, console)
    say_cached(plan, console)
    return record


def occupied(folder: Path) -> bool:
    """Whether a folder holds more than a start that was killed leaves: a spec, given texts, a cache of its own if it has one."""
    names = (p.name for p in folder.iterdir() if not is_passing(p.name))
    return any(name not in ("spec.yaml", GIVEN) and not name.startswith(REPLIES) for name in names)


def open_run(plan: Plan, base: Path, folder: Path, command: str) -> RunRecord:
    """Create a run folder and its `run.json`, which is returned.

    Args:
        base, command: as in `begin`.
        folder: empty or missing.
    """
    spec = plan.spec
    write_text(folder / "spec.yaml", yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
    record = RunRecord(
        id=folder.name,
        name=spec.name,
        status="running",
        command=command,
        base=str(base.resolve()),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=0.0,
        spec=spec,
        identities=plan.identities(),
        suite=plan.suite_record,
        split=spec.split,
        latents=plan.ids,
        cells=describe(plan),
        unasked=plan.unasked,
        matched=dict(plan.matched),
        kinds=plan.suite.kinds,
        versions=versions(),
        git=git(),
        hardware=hardware(),
    )
    write_record(record, folder)
    return record


def resume(folder: Path, cache_path: Path | None, console: Console, retry: Collection[Outcome] = ()) -> RunRecord:
    """Go on with a run: what is on disk is kept, what failed by API or time-out is asked again.

    Args:
        retry: further outcomes that are asked again. The stored replies behind them are forgotten, so the judge is really asked.

    Raises:
        RunError: no run there, another process has it, or something that can change a number has changed since it was started.
        JudgeError: a judge cannot be asked, or stops answering.
    """
    if (folder / "spec.yaml").exists() and not (folder / RECORD).exists():
        raise RunError(
            f"{folder} has a spec and no {RECORD}: it was stopped before its run began, and nothing was paid. Start it with: "
            f"bench run SPEC --out {folder}"
        )
    # Before the folder is taken, which makes it where it is missing.
    read_record(folder)
    with owned(folder, _say(console)):
        return _go_on(folder, read_record(folder), cache_path, console, retry)


def _go_on(
    folder: Path, record: RunRecord, cache_path: Path | None, console: Console, retry: Collection[Outcome]
) -> RunRecord:
    spec = load_run_spec(folder / "spec.yaml")
    plan = prepare(spec, Path(record.base), _cache(cache_path, console))
    changed = record.identities.changes(plan.identities())
    if changed:
        raise RunError(
            f"{folder} cannot be resumed: {'; '.join(changed)} changed since it was started. "
            "Its rows stay as they are; start a new run for the new state."
        )
    again = frozenset({*RETRIED, *retry})
    there = OnDisk(plan, folder, again)
    command = " ".join([f"bench resume {folder}", *(f"--retry {outcome.value}" for outcome in retry)])
    # Before anything is forgotten: what a dead endpoint would be asked again is all that there is.
    _try_judges(
        plan, there.done, there.judged, f"Nothing was paid; when it is mended, go on with: {command}", fresh=bool(retry)
    )
    if retry and record.totals is not None and not record.totals.count(retry):
        kinds = " or ".join(outcome.value for outcome in retry)
        tell(console, f"nothing to retry: no explanation or judgement of {folder} is {kinds}")
    elif retry:
        gone = forget(plan, there.explanations, there.judgements, retry)
        tell(console, f"{gone:,} stored replies are forgotten and asked for again")
    record = _carried_out(plan, folder, record, console, None, there)
    say_cached(plan, console)
    return record


def _try_judges(plan: Plan, done: Explanations, judged: Container[Key], then: str, fresh: bool = False) -> None:
    try:
        stopping.run(probe(plan, done, judged, fresh))
    except JudgeError as e:
        raise JudgeError(f"{str(e).rstrip('.')}. {then}") from e


def _say(console: Console) -> Callable[[str], None]:
    return lambda line: tell(console, line)


def _cache(path: Path | None, console: Console) -> ReplyCache:
    cache = open_replies(path or default_cache())
    if cache.read_only:
        _say(console)(f"{cache.name} can only be read: its replies are used, new ones are kept in the run alone")
    return cache


def default_cache() -> Path:
    """The reply cache shared by all runs of a user."""
    return cache_dir() / REPLIES


def carry_out(
    plan: Plan,
    folder: Path,
    record: RunRecord,
    console: Console,
    runner: asyncio.Runner | None = None,
    again: Collection[Outcome] = RETRIED,
) -> RunRecord:
    """Do what a run folder owes and write its tables.

    The same folder can be carried out again with a plan of more latents: what is there stays, the rest is added.

    Args:
        record: `run.json` as it is.
        runner: the caller's event loop. The judges then stay open, for the caller to close.
        again: outcomes on disk that are owed again.

    Returns:
        The record as it was written in the end.
    """
    with owned(folder, _say(console)):
        return _carried_out(plan, folder, record, console, runner, OnDisk(plan, folder, again))


def _carried_out(
    plan: Plan, folder: Path, record: RunRecord, console: Console, runner: asyncio.Runner | None, there: OnDisk
) -> RunRecord:
    began = time.monotonic()
    explanations, judgements = there.explanations, there.judgements
    keeper = Keeper(folder, plan.spec.keep)
    if wrong := keeper.restore(record):
        tell(console, f"calls that were kept are left out: {wrong}")
    restore((explanations, judgements))

    def paid() -> Paid:
        return sum((unit[0].paid for unit in chain[Any](explanations.units(), judgements.units())), Paid())

    work = _stages if runner is not None else _closing
    through = False
    try:
        with ledger.counted(folder, list(plan.judges.values()), paid):
            stopping.run(work(plan, there, keeper, console), runner)
        through = True
    except (BaseExceptionGroup, BenchError) as e:
        # Batches run in task groups; the user is owed the one error, not the groups.
        one: BaseException = e
        while isinstance(one, BaseExceptionGroup):
            one = one.exceptions[0]
        if isinstance(one, JudgeError | DataError):
            kept = f"What was answered is kept; go on with: bench resume {folder}"
            one = type(one)(f"{str(one).rstrip('.')}. {kept}")
        raise one from e
    finally:
        record = record.model_copy(update={"seconds": round(record.seconds + time.monotonic() - began, 2)})
        try:
            for journal in (keeper, explanations, judgements):
                journal.close()
            # Tables are replaced one by one; until all are there the old ones are not those of this record.
            changed = through and (explanations.appended or judgements.appended)
            record = record.model_copy(update={"status": "running", "tables": {}}) if changed else record
            write_record(record, folder)
        except DataError:
            # On a full disk this fails like what has failed before.
            if through:
                raise
        say_damage(plan, (explanations, judgements), console)
    counts, digests = write_tables(plan, folder, explanations, judgements)
    digests |= keeper.write_tables(plan)
    counts = counts.model_copy(update={"paid": ledger.total(folder) or counts.paid})
    ended = {"status": "complete", "totals": counts, "failure_rate": counts.failure_rate, "tables": digests}
    record = write_record(record.model_copy(update=ended), folder)
    # A search adds latents to the run of a trial and looks at what each unit paid.
    if runner is None:
        settle((explanations, judgements))
        keeper.settle()
    return record


async def _stages(plan: Plan, there: OnDisk, keeper: Keeper, console: Console) -> None:
    done, judged = there.done, there.judged
    tally = RunTally(forecast(plan, done, judged))
    with tally.listening(plan.judges.values()):
        await Flow(plan, there.explanations, there.judgements, done, judged, keeper, tally).run(console)
    say_calls(tally.standing(), console)


async def _closing(plan: Plan, there: OnDisk, keeper: Keeper, console: Console) -> None:
    try:
        await _stages(plan, there, keeper, console)
    finally:
        for label, judge in plan.judges.items():
            fault = await closed(judge)
            if fault is not None:
                tell(console, f"{plan.called(label)} could not be closed: {fault.line}")
