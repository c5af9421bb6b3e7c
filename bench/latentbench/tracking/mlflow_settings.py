"""MLflow's process-wide settings, lent for the length of one call and given back.

MLflow reads its time-outs and telemetry switch from the environment and logs through the root logger's children. A library that
leaves either changed would alter whatever its caller does with MLflow next. Settings that the user made win.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

QUIET = ("mlflow", "alembic", "urllib3")

BASE = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
PROBE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
"""Seconds for the first request: a server that is down is found out in seconds (MLflow's own default is about ten minutes)."""
WORK = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "30", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
"""Seconds for every later request: a server that answered may be slow."""
STORE = "mlruns/mlflow.db"
"""Where runs are logged without an address, below the working directory."""


def address(uri: str | None) -> str:
    """The tracking URI: the given one, else MLFLOW_TRACKING_URI, else the local store."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{STORE}"


@contextmanager
def lent(settings: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables that are not set yet, and silence MLflow's chatter; both are undone at the end."""
    with forced({k: v for k, v in settings.items() if k not in os.environ}):
        # Importing MLflow sets the levels of its loggers, so it must come before they are read and changed.
        import mlflow  # noqa: F401

        levels = {name: logging.getLogger(name).level for name in QUIET}
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


@contextmanager
def forced(settings: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables (None unsets one) whatever they were; undone at the end."""
    before = {name: os.environ.get(name) for name in settings}
    _apply(settings)
    try:
        yield
    finally:
        _apply(before)


def _apply(settings: Mapping[str, str | None]) -> None:
    for name, value in settings.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
