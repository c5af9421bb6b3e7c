"""A search from spec to report, and a worker that joins one.

    runs/tune-NAME/
        spec.yaml            as given
        study.db             Optuna's storage, unless another one is named
        trials/NNNN/         one run folder per trial
        holdout/             runs of the default and of the winners on held-out latents
        best.yaml            the winner as a spec for `bench run`
        study.json           everything that the report says
        report.html, .md

The same command begins a search and goes on with it: what is finished stays, trials that died are tried again, and with a larger
`trials` or `budget` there are more of them. The worker that began the search also ends it: it waits for the trials of others,
compares on held-out latents and reports. Those that joined only try.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console

from latentbench.judges.cache.reply_database import open_replies
from latentbench.judges.judge import closed
from latentbench.kernel.config import read_document
from latentbench.kernel.errors import RunError
from latentbench.kernel.extras import need
from latentbench.kernel.files import write_json, write_text
from latentbench.runs.ownership import owned
from latentbench.runs.run import default_cache
from latentbench.tuning import storage
from latentbench.tuning.budget import FACTS, spent
from latentbench.tuning.holdout import hold_out
from latentbench.tuning.objective import DEFAULT, PRUNED, SAME_AS, TrialFailed, TrialRunner, incumbent
from latentbench.tuning.samplers import make_sampler
from latentbench.tuning.space import load_tune_spec
from latentbench.tuning.storage import GRACE, HEARTBEAT
from latentbench.tuning.tune_report import write_reports
from latentbench.tuning.tune_result import best_spec, collect
from latentbench.tuning.tune_spec import TuneSpec
from latentbench.views.terminal import tell

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

REPEATS = 30
"""Settings in a row that were all tried before: the sampler has nothing new."""
WAIT = 1.0
"""Seconds between looks at other workers' trials."""


@dataclass(frozen=True)
class TuneRequest:
    """What the command line asks for.

    Attributes:
        spec: tuning spec.
        out: folder of the search; `runs/tune-NAME` by default.
        storage: see `latentbench.tuning.storage`.
        join: help with a search that somebody else began.
        trials: instead of the spec's.
        cache: reply cache; the user's by default.
        holdout: compare on held-out latents at the end.
        heartbeat, grace: of the storage, in seconds.
    """

    spec: Path
    out: Path | None = None
    storage: str | None = None
    join: bool = False
    trials: int | None = None
    cache: Path | None = None
    holdout: bool = True
    heartbeat: int = HEARTBEAT
    grace: int = GRACE


def tune(asked: TuneRequest, console: Console) -> dict[str, Any] | None:
    """Begin a search, go on with it, or join it.

    Returns:
        The content of `study.json`, with `folder`; None for a worker that joined.

    Raises:
        BenchError: whatever is wrong with the spec, the storage or the default setting.
    """
    need("optuna", "sqlalchemy", "matplotlib", what="a search over settings (bench tune)")
    spec = load_tune_spec(asked.spec)
    if asked.trials is not None:
        spec = spec.model_copy(update={"trials": asked.trials})
    folder = asked.out or Path("runs") / f"tune-{spec.name}"
    url = storage.storage_url(asked.storage, folder)
    if asked.join and asked.storage is None and not (folder / "study.db").exists():
        raise RunError(f"there is no search in {folder} to join; name its --storage or --out.")
    # Who joins shares the storage and has a folder for each trial; two that report and hold out would do it twice.
    with nullcontext() if asked.join else owned(folder), storage.quiet(), asyncio.Runner() as runner:
        folder.mkdir(parents=True, exist_ok=True)
        study = _study(spec, asked, url, folder)
        write_text(folder / "spec.yaml", read_document(asked.spec))
        tried = TrialRunner(
            spec,
            asked.spec.parent,
            folder,
            f"bench tune {asked.spec}",
            open_replies(asked.cache or default_cache()),
            runner,
        )
        try:
            tried.same_code(study)
            reason = _work(study, spec, tried, console)
            if asked.join:
                tell(console, f"done: {reason}")
                return None
            while _others(study, console):
                reason = _work(study, spec, tried, console)
        finally:
            for judge in tried.pool.judges.values():
                runner.run(closed(judge))
        # A report travels without its folder; the path of a file beside it would only say where it was made.
        where = "study.db" if url == storage.storage_url(None, folder) else storage.shown(url)
        return _finish(study, spec, asked, folder, reason, where, console)


def _study(spec: TuneSpec, asked: TuneRequest, url: str, folder: Path) -> Study:
    from optuna.trial import TrialState

    opened = storage.open_storage(url, asked.heartbeat, asked.grace)
    study = storage.open_study(spec, opened, asked.join)
    trials = study.get_trials(deepcopy=False)
    if not trials and not asked.join and any((folder / "trials").glob("*")):
        raise RunError(f"{folder} holds trials of a search that is not in {storage.shown(url)}; give another --out.")
    # A sampler with the seed of the first session would propose its settings again, and two that join at once the same ones.
    study.sampler = make_sampler(spec, len(trials), storage.me() if asked.join else "")
    storage.release_dead(study)
    if asked.join:
        return study
    alive = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.FAIL]
    named = {t.user_attrs.get(storage.NAME) for t in alive}
    for name, settings in {DEFAULT: spec.default, **spec.enqueue}.items():
        if name not in named:
            study.enqueue_trial(dict(settings), user_attrs={storage.NAME: name})
    return study


def _work(study: Study, spec: TuneSpec, tried: TrialRunner, console: Console) -> str:
    """Try settings until there is a reason to stop, which is returned."""
    reason = _enough(study, spec)
    if reason is not None:
        return reason
    found: list[str] = []

    def after(study: Study, trial: FrozenTrial) -> None:
        tell(console, line(study, spec, trial))
        storage.release_dead(study)
        why = _enough(study, spec)
        if why is not None:
            found.append(why)
            study.stop()

    study.optimize(tried, callbacks=[after], catch=(TrialFailed,))
    return found[0] if found else "the sampler has tried every setting"


def _enough(study: Study, spec: TuneSpec) -> str | None:
    """Why the search should stop, or None."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    gone = storage.lost(study)
    ended = [t for t in trials if t.state.is_finished() and t.number not in gone]
    finished = [t for t in ended if SAME_AS not in t.user_attrs]
    over = spent(trials).over(spec.budget)
    if over is not None:
        return over
    last = finished[-spec.max_failed :]
    if len(last) == spec.max_failed and all(t.state == TrialState.FAIL for t in last):
        return f"the last {len(last)} trials failed: {last[-1].user_attrs.get(storage.ERROR, 'see the trials')}"
    if len(ended) > REPEATS and all(SAME_AS in t.user_attrs for t in ended[-REPEATS:]):
        return f"the sampler proposed {REPEATS} settings in a row that had been tried"
    # Those under way count too, or every worker would begin one more.
    going = [t for t in trials if t.state == TrialState.RUNNING]
    return f"{spec.trials} trials" if len(finished) + len(going) >= spec.trials else None


def _others(study: Study, console: Console) -> bool:
    """Wait for the running trials of other workers; True if one of them died and left its setting to be tried again."""
    import optuna
    from optuna.trial import TrialState

    said = False
    while True:
        released = storage.release_dead(study)
        optuna.storages.fail_stale_trials(study)
        trials = study.get_trials(deepcopy=False)
        going = [t.number for t in trials if t.state == TrialState.RUNNING]
        waiting = any(t.state == TrialState.WAITING for t in trials)
        if not going:
            return waiting and bool(released or said)
        if not said:
            tell(console, f"waiting for trials {going} of other workers")
            said = True
        time.sleep(WAIT)


def line(study: Study, spec: TuneSpec, trial: FrozenTrial) -> str:
    """A finished trial in one line."""
    from optuna.trial import TrialState

    attrs = trial.user_attrs
    name = f" ({attrs[storage.NAME]})" if storage.NAME in attrs else ""
    head = f"trial {trial.number}{name}: "
    if trial.state == TrialState.FAIL:
        why = storage.lost(study).get(trial.number) or f"{attrs.get(storage.OUTCOME)}: {attrs.get(storage.ERROR)}"
        return head + f"failed, {why}"
    if SAME_AS in attrs:
        return head + f"the setting of trial {attrs[SAME_AS]} again; nothing run"
    facts = attrs[FACTS]
    means = ", ".join(f"{o.name} {facts['means'][o.name]:.4g}" for o in spec.objectives)
    if trial.state == TrialState.PRUNED:
        by = attrs[PRUNED]
        return (
            head + f"{means}; stopped at {facts['latents']} latents, {by['difference']:+.3f} to trial {by['incumbent']}"
        )
    broken = f"; breaks {', '.join(attrs['infeasible'])}" if attrs.get("infeasible") else ""
    if len(spec.objectives) > 1:
        return head + means + broken
    best = incumbent(study, spec)
    return head + means + broken + (f"; best trial {best.number} with {best.values[0]:.4g}" if best else "")


def _finish(
    study: Study, spec: TuneSpec, asked: TuneRequest, folder: Path, reason: str, where: str, console: Console
) -> dict[str, Any]:
    result = collect(study, spec, f"bench tune {asked.spec}", reason, where)
    for winner in result["winners"]:
        settings = next(t["settings"] for t in result["trials"] if t["number"] == winner)
        name = "best.yaml" if len(result["winners"]) == 1 else f"best-{winner:04d}.yaml"
        text = yaml.safe_dump(best_spec(spec, settings, asked.spec.parent), sort_keys=False, allow_unicode=True)
        write_text(folder / name, text)
    write_json(folder / "study.json", result)
    if asked.holdout and result["winners"]:
        result["holdout"] = hold_out(spec, result, asked.spec.parent, folder, asked.cache, console)
        write_json(folder / "study.json", result)
    write_reports(result, folder)
    return {**result, "folder": str(folder)}
