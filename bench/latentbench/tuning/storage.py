"""Where a search is kept, who works on it, and what becomes of a trial whose worker died.

    (nothing)                       SQLite in the search's folder
    journal:PATH                    Optuna's journal file, for workers that share a file system
    postgresql://..., mysql://...   a database, for workers on many machines

A worker shows that it lives by Optuna's heartbeat, where the storage has one. A dead process on this machine is found at once by
its number, whatever the storage. Either way the trial becomes `FAIL`, with the reason, and its setting is queued once more: what
the dead worker had asked is in the reply cache, so only the trial is lost. A setting that kills its worker again is given up.
"""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentbench.kernel import processes
from latentbench.kernel.errors import SpecError
from latentbench.kernel.processes import Process
from latentbench.tuning.tune_spec import TuneSpec

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial

HEARTBEAT, GRACE = 20, 60
"""Seconds between signs of life, and without one until a worker counts as dead."""
RETRIES = 1
JOURNAL = "journal:"
DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "mysql": "mysql+pymysql"}
WORKER, RETRY, NAME, OUTCOME, ERROR = "worker", "retry", "name", "outcome", "error"
"""User attributes of a trial."""
LOST = "lost:"
"""Beginning of the search's user attributes about lost trials."""


def storage_url(given: str | None, folder: Path) -> str:
    """The URL that Optuna gets, with the driver that this project installs.

    Raises:
        SpecError: neither a journal nor a database URL.
    """
    if given is None:
        return f"sqlite:///{(folder / 'study.db').resolve().as_posix()}"
    if given.startswith(JOURNAL):
        return given
    scheme, slashes, rest = given.partition("://")
    if not slashes:
        raise SpecError(
            f"storage {given!r} is not a URL; write sqlite:///FILE, {JOURNAL}FILE, postgresql://USER@HOST/DATABASE or "
            "mysql://USER@HOST/DATABASE."
        )
    return f"{DRIVERS.get(scheme, scheme)}://{rest}"


def shown(url: str) -> str:
    """The URL without its password, for logs and reports."""
    if url.startswith(JOURNAL):
        return url
    from sqlalchemy.engine import make_url

    return make_url(url).render_as_string(hide_password=True)


def open_storage(url: str, heartbeat: int = HEARTBEAT, grace: int = GRACE) -> BaseStorage:
    """Connect.

    Args:
        heartbeat, grace: seconds; databases only.

    Raises:
        SpecError: the database does not answer, or its driver is not installed.
    """
    import optuna
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    if url.startswith(JOURNAL):
        path = Path(url.removeprefix(JOURNAL))
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path)))
    # Of a network connection that a firewall or restart has closed, the pool learns before it is used.
    engine: dict[str, Any] = (
        {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True, "pool_recycle": 1800}
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return RDBStorage(
                url,
                engine_kwargs=engine,
                heartbeat_interval=heartbeat,
                grace_period=grace,
                heartbeat_stale_trial_callback=queue_again,
            )
    except (ImportError, ValueError, ArgumentError, SQLAlchemyError) as e:
        reason = " ".join(str(e).split())[:200]
        raise SpecError(
            f"the storage {_safe(url)} cannot be used: {reason}. Databases other than SQLite need the extra "
            "`workers`: pip install latentbench[workers]."
        ) from e


def _safe(url: str) -> str:
    from sqlalchemy.exc import ArgumentError

    try:
        return shown(url)
    except (ArgumentError, ValueError):  # not a URL, or a port that is no number
        return url.partition("://")[0] + "://..."


def open_study(spec: TuneSpec, storage: BaseStorage, join: bool) -> Study:
    """The spec's search, new or as it is.

    Args:
        join: it must be there.

    Raises:
        SpecError: nothing to join, or the search was begun with another spec.
    """
    import optuna

    there = spec.name in optuna.get_all_study_names(storage)
    if join and not there:
        raise SpecError(f"there is no search {spec.name!r} to join; start it with `bench tune` without --join.")
    study = optuna.create_study(storage=storage, study_name=spec.name, directions=spec.directions, load_if_exists=True)
    names = [o.name for o in spec.objectives]
    # Joined by name, so that optuna-dashboard and its plots say what is on an axis; without, it is "Objective 0".
    if study.metric_names != names:
        with quiet():
            study.set_metric_names(names)
    known = study.user_attrs.get("spec_key")
    if known is None:
        study.set_user_attr("spec_key", spec.key)
    elif known != spec.key:
        raise SpecError(
            f"the search {spec.name!r} was begun with another spec (key {known}, now {spec.key}); its trials do not compare. "
            "Give the new spec another name. Only `trials`, `budget`, `max_failed` and `holdout` may change."
        )
    return study


def me() -> str:
    """This process: host and number."""
    return f"{socket.gethostname()}:{os.getpid()}"


def queue_again(study: Study, trial: FrozenTrial, why: str | None = None) -> None:
    """Record why a trial was lost and queue its setting once more.

    Args:
        why: it was stopped for this reason; by default its worker died.
    """
    # A finished trial takes no user attributes in Optuna, so it is written into the search; a key for each, or two workers would
    # overwrite each other's.
    study.set_user_attr(f"{LOST}{trial.number}", why or f"its worker {trial.user_attrs.get(WORKER, '?')} died")
    retry = int(trial.user_attrs.get(RETRY, 0)) + (why is None)
    # A named setting is queued whole, even if its worker died while asking for it.
    params = trial.system_attrs.get("fixed_params") or trial.params
    if params and retry <= RETRIES:
        kept = {NAME: trial.user_attrs[NAME]} if NAME in trial.user_attrs else {}
        study.enqueue_trial(params, user_attrs={**kept, RETRY: retry, "again": trial.number})


def lost(study: Study) -> dict[int, str]:
    """Number -> why, of trials that ended without a result through no fault of their setting."""
    return {int(k.removeprefix(LOST)): str(v) for k, v in study.user_attrs.items() if k.startswith(LOST)}


def release_dead(study: Study) -> list[int]:
    """Fail running trials of processes of this machine that are gone; their numbers."""
    import optuna
    from optuna.trial import TrialState

    found = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        host, _, number = str(trial.user_attrs.get(WORKER, "")).rpartition(":")
        if host != socket.gethostname() or not Process(processes.host(), int(number), None).gone:
            continue
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
            continue  # another worker was faster
        queue_again(study, trial)
        found.append(trial.number)
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's log lines and warnings about experimental parts; its own settings come back afterwards."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
