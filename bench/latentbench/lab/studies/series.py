"""Carry out studies by name: load, run, write, and leave alone what is done.

A study that is done under the same key (its spec, its profile, the suites they start from) by the judges that its references
still name is skipped; the harness makes going on cheap, but seventeen studies still take minutes to look through. `again` is for
when code has changed, which the key cannot see; runs then decide by their own identities what must be asked anew. A page whose
judge is another one by now is not rendered again: it would print today's name beside numbers that another judge made.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from rich.console import Console

from latentbench.judges.cache.reply_database import open_replies
from latentbench.judges.judge import Judge, closed
from latentbench.judges.reference import load_judge
from latentbench.kernel.config import read_document
from latentbench.kernel.errors import BenchError, DataError
from latentbench.kernel.files import write_text
from latentbench.kernel.identity import digest
from latentbench.kernel.tasks import find
from latentbench.lab.studies.session import Session
from latentbench.lab.studies.study_page import INDEX, index, judge_keys, read_study, write_pages, write_study
from latentbench.lab.studies.study_spec import Profile, StudySpec, check_names, load_profile, load_study, studies
from latentbench.runs.run import Pool, default_cache
from latentbench.views.terminal import tell

PEOPLE = "human"
"""The kind of study that needs ratings by people. Its key does not know them, so it is never taken for done."""
KINDS = {
    "factor": "latentbench.lab.studies.factor",
    "agreement": "latentbench.lab.studies.scorer_agreement",
    "explanation-free": "latentbench.lab.studies.explanation_free",
    PEOPLE: "latentbench.lab.studies.human",
    "length": "latentbench.lab.studies.length",
    "intervention": "latentbench.lab.studies.intervention_study",
    "overlap": "latentbench.lab.studies.overlap",
    "cost": "latentbench.lab.studies.cost",
    "coverage": "latentbench.lab.studies.coverage",
    "walkthrough": "latentbench.lab.studies.walkthrough",
}


def run_studies(
    names: Sequence[str],
    size: str,
    out: Path,
    work: Path,
    console: Console,
    *,
    cache: Path | None = None,
    activations: Path | None = None,
    again: bool = False,
    ratings: Path | None = None,
) -> dict[str, str]:
    """Carry out studies one after another.

    Args:
        names: of studies; a path of a YAML file is its own name's study.
        size: a profile.
        out: folder of study folders.
        work: folder for suites and runs, kept between calls.
        cache: reply cache; the user cache by default.
        activations: as `work_dir` of `build_suite`.
        again: also what is done.
        ratings: file of ratings by people, for the studies that need them.

    Returns:
        Name -> message of each study that failed; the others are written. A single failing study raises its error instead.

    Raises:
        BenchError: unknown names, or no such file of ratings, before anything runs.
    """
    profile = load_profile(size)
    loaded = [load_study(name) for name in names]
    for name, study in loaded:
        check_names(study, profile, name)
    if ratings is not None and not ratings.is_file():
        raise DataError(
            f"{ratings} is no file, so there are no ratings in it. Name one with --ratings, or leave it out."
        )
    work.mkdir(parents=True, exist_ok=True)
    replies = open_replies(cache or default_cache())
    failed: dict[str, str] = {}
    pool = Pool()
    label = Path(size).stem
    with asyncio.Runner() as runner:
        try:
            for name, study in loaded:
                command = f"bench study {name}" + ("" if label == "embedded" else f" --size {size}")
                if ratings is not None and study.kind == PEOPLE:
                    command += f" --ratings {ratings.name}"
                session = Session(
                    name, study, profile, label, work, command, console, replies, pool, runner, activations, ratings
                )
                try:
                    _one(session, out, again)
                except BenchError as e:
                    if len(loaded) == 1:
                        raise
                    failed[name] = str(e)
                    tell(console, f"{name}: {e}", "red")
                pool.suites.clear()
        finally:
            for judge in pool.judges.values():
                runner.run(closed(judge))
    write_index(out, pool.judges)
    return failed


def _one(session: Session, out: Path, again: bool) -> dict[str, Any]:
    folder = out / session.name
    key = study_key(session.study, session.profile)
    old = read_study(folder)
    done = old is not None and old["key"] == key and not again and session.study.kind != PEOPLE
    if old is not None and done and not changed(old, session.pool.judges):
        tell(session.console, f"{session.name}: done on {old['date'][:10]} (--again does it anew)")
        return old
    tell(session.console, f"{session.name}: {session.study.title}")
    began = time.monotonic()
    module = importlib.import_module(KINDS[session.study.kind])
    result = module.run(session)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return write_study(folder, session, result, key, date, time.monotonic() - began)


def study_key(study: StudySpec, profile: Profile) -> str:
    """Digest of what a study is made of, as far as it stands in files of `tasks`."""
    recipes = {}
    for name, entry in profile.suites.items():
        folder = find("suites", entry.use)
        path = folder if folder.is_file() else folder / "recipe.yaml"
        recipes[name] = read_document(path) if path.exists() else ""
    return digest([study, profile, recipes])


def changed(record: Mapping[str, Any], held: Mapping[str, Judge] | None = None) -> str:
    """Which judges of a study are others by now, on one line; empty where none is known to be.

    A reference that cannot be loaded here, such as weights of another machine, is not known to have changed.

    Args:
        held: reference -> judge, of those that this process has loaded anyway.
    """
    keys = judge_keys(record)
    found = []
    for name, reference in record["judges"].items():
        today = held[reference].identity.key if held and reference in held else _key(reference)
        if today is not None and keys.get(name, today) != today:
            found.append(f"{name} ({reference}) had the key {keys[name]} and has {today} today")
    return ", ".join(found)


@lru_cache
def _key(reference: str) -> str | None:
    """The key of the judge that a reference names today."""
    try:
        judge = load_judge(reference)
    except BenchError:
        return None
    key = judge.identity.key
    asyncio.run(closed(judge))
    return key


def outdated(out: Path, held: Mapping[str, Judge] | None = None) -> dict[str, str]:
    """Studies in a folder whose judges are others by now: name -> which; `held` as in `changed`."""
    found = {name: changed(record, held) for name, record in _records(out).items()}
    return {name: what for name, what in found.items() if what}


def _records(out: Path) -> dict[str, dict[str, Any]]:
    records = {name: read_study(out / name) for name in studies()}
    return {name: record for name, record in records.items() if record is not None}


def write_index(out: Path, held: Mapping[str, Judge] | None = None) -> tuple[Path, dict[str, str]]:
    """Render the index of a folder of studies, and from their `study.json` the pages of those that are not `outdated`.

    Args:
        held: as in `changed`.

    Returns:
        Path of the index, and what was not rendered, as `outdated` gives it.
    """
    path, refused = out / INDEX, outdated(out, held)
    for name, record in _records(out).items():
        if name not in refused:
            write_pages(out / name, record)
    write_text(path, index(out, list(studies()), refused))
    return path, refused
