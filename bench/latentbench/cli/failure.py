"""What ends a command -> one message, an exit code, and for what nobody foresaw a file to send in.

What this package foresees is a `BenchError` and says itself what to do. What the machine says no to (a full disk, a folder that
may not be read, a name that is too long) is said in its words. Anything else is a fault of this package: a traceback on the
screen is the tempting way to show it, and is read by nobody whom it could help, so it goes into a file, beside the versions.

The file holds no environment, and what looks like a secret in it is struck out: user and password of an address, and values of
parameters and variables whose names say key, token or the like.
"""

from __future__ import annotations

import errno
import os
import re
import select
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from latentbench.kernel.boundary import one_line
from latentbench.kernel.errors import BenchError
from latentbench.kernel.extras import missing
from latentbench.kernel.veil import veiled

DEBUG = "LATENTBENCH_DEBUG"
FLAG = "--debug"
UNFORESEEN = 70
"""Exit code of a fault of this package, that of sysexits.h for such."""
NOBODY_READS = 141
"""Exit code where the reader of the output went away, that of a process that the signal ends."""
LONGEST = 1 << 20
"""Characters of a report."""
PACKAGES = ("numpy", "torch", "transformers", "pyarrow", "pydantic", "pyyaml", "typer", "openai", "mlflow", "optuna")

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NAMED = (
    errno.ENOENT,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOTEMPTY,
    errno.EFBIG,
    errno.EIO,
)
_SECRET = r"[\w-]*(?:key|token|secret|passw|credential|auth|signature)[\w-]*"
_USER = re.compile(r"(?<=://)[^\s'\"?#]*@")
"""User and password before a host, also where the password holds what should have been encoded."""
_BEARER = re.compile(r"(\bBearer\s+)\S+", re.IGNORECASE)
_OPTION = re.compile(rf"(--{_SECRET}[= ])\S+", re.IGNORECASE)


@dataclass(frozen=True)
class Failure:
    """What is told of an error.

    Attributes:
        message: one or more sentences.
        code: exit code.
        reported: whether a file with the traceback is worth writing.
    """

    message: str
    code: int
    reported: bool = False


def wants_debug(words: list[str]) -> bool:
    """Whether tracebacks are asked for; the flag is taken out of the words, wherever it stands before `--`."""
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if word != FLAG] + words[end:]
    found = len(kept) < len(words)
    words[:] = kept
    return found or os.environ.get(DEBUG, "") not in ("", "0")


def failure_of(error: BaseException) -> Failure:
    """What to tell of an error that ended a command."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, BenchError):
        return Failure(str(error), error.exit_code)
    if (extra := missing(error)) is not None:
        return Failure(str(extra), extra.exit_code)
    if isinstance(error, MemoryError):
        said = "The memory did not suffice. Ask for less at once: a smaller batch, limit or model."
        return Failure(said, UNFORESEEN, reported=True)
    if isinstance(error, OSError) and error.errno in (*_FULL, *_DENIED, *_NAMED):
        path = f": {error.filename}" if error.filename is not None else ""
        said = redacted(one_line(f"{error.strerror}{path}"))
        if error.errno in _FULL:
            return Failure(f"{said}. Make room and give the same command again.", BenchError.exit_code)
        if error.errno in _DENIED:
            return Failure(f"{said}. Choose another place, or ask for the right to it.", BenchError.exit_code)
        return Failure(f"{said}.", BenchError.exit_code)
    said = redacted(one_line(str(error)))
    return Failure(f"{type(error).__name__}{': ' if said else ''}{said}", UNFORESEEN, reported=True)


def nobody_reads(error: BaseException) -> bool:
    """Whether the error is that the program that our output goes to has ended."""
    if isinstance(error, SystemExit):  # rich turns it into one
        return isinstance(error.__context__, BrokenPipeError)
    return isinstance(error, BrokenPipeError) and any(_hung_up(stream) for stream in (sys.stdout, sys.stderr))


def _hung_up(stream: object) -> bool:
    # A pipe to anything else that broke is a failure, and must not end in silence.
    if not hasattr(select, "poll"):
        return True
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLERR)  # type: ignore[attr-defined]
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (AttributeError, OSError, ValueError):
        return False


def silence() -> None:
    """Send what is still to be written nowhere, so that the interpreter does not complain while it ends."""
    with suppress(Exception):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())


def redacted(text: str) -> str:
    """A text without what looks like a secret."""
    for name, value in os.environ.items():
        if len(value) >= 6 and re.fullmatch(_SECRET, name, re.IGNORECASE):
            text = text.replace(value, "***")
    text = _BEARER.sub(r"\1***", _USER.sub("***@", text))
    return _OPTION.sub(r"\1***", veiled(text))


def write_report(error: BaseException, words: Sequence[str]) -> Path | None:
    """Write the traceback, the command and the versions to a new file that only the user may read; None where nothing can."""
    try:
        text = redacted(_report(error, words))[:LONGEST]
    except Exception:
        return None
    for folder in (_state, lambda: Path(tempfile.gettempdir())):
        with suppress(Exception):
            place = folder()
            place.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix="report-", suffix=".txt", dir=place, text=True)
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as f:
                f.write(text)
            return Path(name)
    return None


def _state() -> Path:
    import platformdirs

    return Path(platformdirs.user_state_dir("latentbench")) / "reports"


def _report(error: BaseException, words: Sequence[str]) -> str:
    import platform
    import shlex
    from datetime import UTC, datetime
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("latentbench", *PACKAGES):
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    lines = [
        f"command: {shlex.join(words)}",
        f"time: {datetime.now(UTC).isoformat(timespec='seconds')}",
        f"Python {platform.python_version()} on {platform.platform()}",
        f"packages: {', '.join(found)}",
        "",
        "".join(traceback.format_exception(error)),
    ]
    return "\n".join(lines)
