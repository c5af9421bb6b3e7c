"""Forgetting what stands in the reply cache behind rows of a run, without going on with it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from latentbench.judges.cache.reply_database import open_replies
from latentbench.kernel.requests import Outcome
from latentbench.runs.record import read_record
from latentbench.runs.retrying import forget
from latentbench.runs.run import prepare
from latentbench.runs.run_journals import explanation_journal, judgement_journal
from latentbench.runs.run_spec import load_run_spec


def forget_behind(
    folder: Path, cache_path: Path, outcomes: Collection[Outcome], judge: str | None, dry_run: bool
) -> int:
    """Forget the stored replies behind a run's rows with these outcomes; how many. Arguments as those of `forget`.

    Raises:
        RunError: no run there.
    """
    record = read_record(folder)
    plan = prepare(load_run_spec(folder / "spec.yaml"), Path(record.base), open_replies(cache_path))
    return forget(plan, explanation_journal(folder), judgement_journal(folder), outcomes, judge, dry_run)
