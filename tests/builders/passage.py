"""Follows one explanation through the package: which files are handed it, as which types.

A file counts when one of its functions is called with, or returns, a value that holds the explanation: its text, or something
made from it once it was judged (a judgement, a run's tables, a row). Counting every file that runs meanwhile says more about
imports than about the way, so `Passage.ran` keeps that figure apart.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import latentbench
import pydantic

PACKAGE = Path(latentbench.__file__).parent
DEPTH = 4
MANY = 80
"""How deep and how far into a value it is looked for."""


class Passage:
    """What was seen on the way.

    Args:
        text: a piece of the explanation that stands nowhere else.
        made: types that hold it by what they are, such as a judgement.

    Attributes:
        files: file -> functions that were handed the explanation.
        types: names of the package's own types that held it.
        dictionaries: functions of the package that were handed it in a mapping -> in which ways (`ways`).
        handed: the same where one file handed it to another: `giver -> taker`, a call's arguments to the function called, and
            what it returns to the function that called it, whatever code of others stands between the two.
        ran: every file of the package in which a function was called.
    """

    def __init__(self, text: str, made: tuple[type, ...]) -> None:
        self.text, self.made = text, made
        self.files: dict[str, set[str]] = {}
        self.types: set[str] = set()
        self.dictionaries: dict[str, set[str]] = {}
        self.handed: dict[str, set[str]] = {}
        self.ran: set[str] = set()

    @contextmanager
    def followed(self) -> Iterator[Passage]:
        """Watch every call of the package inside the block, those of other threads included."""
        sys.setprofile(self._see)
        threading.setprofile(self._see)
        try:
            yield self
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def holds(self, value: Any, depth: int = DEPTH) -> bool:
        """Whether the explanation is inside a value."""
        if isinstance(value, str):
            return self.text in value
        if isinstance(value, self.made):
            return True
        if depth == 0 or value is None:
            return False
        return any(self.holds(part, depth - 1) for part in parts(value))

    def _see(self, frame: FrameType, event: str, arg: Any) -> None:
        code = frame.f_code
        if event not in ("call", "return") or code.co_name == "<module>":
            return
        if not code.co_filename.startswith(str(PACKAGE)) or "__qualname__" in frame.f_locals:
            return
        file = str(Path(code.co_filename).relative_to(PACKAGE))
        self.ran.add(file)
        starred = bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + starred]
        values = [arg] if event == "return" else [frame.f_locals.get(name) for name in names]
        for value in values:
            if self.holds(value):
                place = f"{file}: {code.co_qualname}"
                self.files.setdefault(file, set()).add(code.co_qualname)
                self._type(value)
                if ways := self.ways(value):
                    self.dictionaries.setdefault(place, set()).update(ways)
                    self._hand(frame, place, event, ways)

    def _hand(self, frame: FrameType, place: str, event: str, ways: set[str]) -> None:
        """Note that a mapping goes from one file of the package to another."""
        other = frame.f_back
        while other is not None and not other.f_code.co_filename.startswith(str(PACKAGE)):
            other = other.f_back
        if other is None or other.f_code.co_filename == frame.f_code.co_filename:
            return
        near = f"{Path(other.f_code.co_filename).relative_to(PACKAGE)}: {other.f_code.co_qualname}"
        giver, taker = (near, place) if event == "call" else (place, near)
        self.handed.setdefault(f"{giver} -> {taker}", set()).update(ways)

    def _type(self, value: Any) -> None:
        if type(value).__module__.startswith("latentbench"):
            self.types.add(type(value).__name__)
        elif isinstance(value, list | tuple):
            for part in value[:5]:
                if self.holds(part):
                    self._type(part)

    def ways(self, value: Any, depth: int = DEPTH) -> set[str]:
        """How mappings inside a value hold the explanation, at whatever depth below lists, tuples and mappings.

        `key`: the text is a key. `text`: it is a value, or in a list that is one, so that a field is asked for by a string.
        `Explanation` and other names of types: the mapping finds one of these by a name, and what is in it has types.
        """
        if depth == 0:
            return set()
        if isinstance(value, Mapping):
            found = {"key"} if any(isinstance(key, str) and self.text in key for key in value) else set()
            for part in value.values():
                found |= self._held(part, depth - 1)
            return found
        if isinstance(value, list | tuple | set | frozenset):
            return {way for part in value for way in self.ways(part, depth - 1)}
        return set()

    def _held(self, value: Any, depth: int) -> set[str]:
        """What of a mapping's value holds the explanation."""
        if isinstance(value, str):
            return {"text"} if self.text in value else set()
        if depth == 0 or not self.holds(value, depth):
            return set()
        if isinstance(value, list | tuple | set | frozenset):
            return {way for part in value for way in self._held(part, depth - 1)}
        return self.ways(value, depth) if isinstance(value, Mapping) else {type(value).__name__}


def parts(value: Any) -> list[Any]:
    """The values inside a container, a dataclass or a model; nothing for anything else."""
    if isinstance(value, Mapping):
        return [*value, *value.values()][:MANY]
    if isinstance(value, list | tuple | set | frozenset):
        return [*value][:MANY]
    if isinstance(value, pydantic.BaseModel):
        return list(value.__dict__.values())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, f.name, None) for f in dataclasses.fields(value)]
    return []
