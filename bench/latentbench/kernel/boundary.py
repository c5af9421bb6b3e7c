"""The line between this package and code of others: an exception or a wrong value there becomes a value that names its place.

Scorers, explainers and judges raise plain errors and need to know no type of ours. The harness calls them through `attempt` and
keeps what they raised as the outcome of the one thing that was asked; letting it through would lose the ten thousand answers
around it. Errors of this package (`BenchError`) say what the user has to change and pass, and so does whatever ends a process
or a task that is being cancelled (`KeyboardInterrupt`, `SystemExit`, `CancelledError`). Raised by somebody's code of its own
accord, the last would be taken for an end that was asked for, and its batch lost without a word.
"""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import PurePath
from types import FrameType
from typing import Any, TypeVar

from latentbench.kernel.conform import Mismatch, conform
from latentbench.kernel.errors import BenchError, SpecError

CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

T = TypeVar("T")

UNUSUAL = (asyncio.CancelledError, GeneratorExit, BaseExceptionGroup)
"""What is no `Exception` and ends neither process nor task when somebody's code raises it."""

OWN = __name__.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Fault:
    """What code of others raised, or returned in place of what it should.

    Attributes:
        line: `ValueError in mypkg/scorer.py:31: what it said`, or `mypkg.scorer.Mine.parse: [0].score is str 'x', not a number`;
            one line of encodable text.
    """

    line: str


def attempt(
    owner: object, what: str, call: Callable[[], Any], annotation: type[T], rule: Callable[[T], None] = lambda _: None
) -> T | Fault:
    """The result of a call into somebody's code, or its fault: an exception, or a result that is not what was annotated.

    Args:
        owner: the scorer, explainer or judge whose code is called; it says in which package the fault is looked for.
        what: name of what is called. A wrong result has no traceback, so the owner's class and this are its place.
        annotation: type of the result, as `latentbench.kernel.conform.conform` reads it.
        rule: what the type cannot say of the result; raises `Mismatch`.
    """
    try:
        found = call()
    except BenchError:
        raise
    except (Exception, *UNUSUAL) as e:
        return Fault(blame(e, type(owner)))
    return _taken(owner, what, found, annotation, rule)


async def attempt_async(owner: object, what: str, call: Callable[[], Awaitable[Any]], annotation: type[T]) -> T | Fault:
    """Like `attempt`, for a call that is awaited."""
    try:
        found = await call()
    except BenchError:
        raise
    except (Exception, *UNUSUAL) as e:
        task = asyncio.current_task()
        if isinstance(e, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        return Fault(blame(e, type(owner)))
    return _taken(owner, what, found, annotation)


def built(cls: type, make: Callable[[], T]) -> T:
    """An object of somebody's class.

    Raises:
        SpecError: its constructor raised something that is no error of this package; says where.
    """
    try:
        return make()
    except BenchError:
        raise
    except Exception as e:
        raise SpecError(f"{cls.__name__} cannot be built: {blame(e, cls)}") from e


def _taken(
    owner: object, what: str, value: object, annotation: type[T], rule: Callable[[T], None] = lambda _: None
) -> T | Fault:
    # A generator is its owner's code still running, and may raise anything while it is read.
    try:
        found = conform(value, annotation)
        rule(found)
    except Mismatch as e:
        return Fault(f"{type(owner).__module__}.{type(owner).__qualname__}.{what}: {e}")
    except BenchError:
        raise
    except (Exception, *UNUSUAL) as e:
        return Fault(blame(e, type(owner)))
    return found


def blame(error: BaseException, owner: type) -> str:
    """Class, place and message of an error, on one line.

    The place is the innermost one in the package of `owner`: what numpy raised is the fault of the line that called it. Where
    the class inherits what failed, it is the innermost one in this package, else the innermost of all.
    """
    if isinstance(error, BaseExceptionGroup):
        return blame(error.exceptions[0], owner)
    frames = [
        (_module(frame), frame.f_code.co_filename, number) for frame, number in traceback.walk_tb(error.__traceback__)
    ]
    for package in (owner.__module__.partition(".")[0], OWN, None):
        # The frame of this module is where the walk begins, and nobody's fault.
        inside = [f for f in frames if f[0] != __name__ and package in (None, f[0].partition(".")[0])]
        if inside:
            break
    said = one_line(_message(error))
    where = f" in {_path(*inside[-1][:2])}:{inside[-1][2]}" if inside else ""
    return f"{type(error).__name__}{where}{': ' if said else ''}{said}"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as e:
        return f"(its message cannot be read: {type(e).__name__})"


def coded(text: str) -> str:
    """A text that is kept and sent on: its control characters, but tab and what ends a line, as their codes."""
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """A text on one line of at most 300 characters that a file and a terminal can hold."""
    words = encodable(text[:10_000]).split()
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in " ".join(words))[:300]


def encodable(text: str) -> str:
    """The text with each half of a surrogate pair written out as its escape, so that a file can hold it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _path(module: str, file: str) -> str:
    """The file's path from its top package on, which says the same on every machine."""
    path = PurePath(file)
    depth = module.count(".") + (2 if path.name == "__init__.py" else 1)
    return "/".join(path.parts[-depth:])
