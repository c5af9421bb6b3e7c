"""The source of a class, also of one that was written in a notebook.

Python finds a class by its module's file, and a cell has none; of a function it knows the cell. So a class without a file is
said by its functions and its plain attributes. `cloudpickle`, the tempting way, writes bytes that differ between versions of
Python.
"""

from __future__ import annotations

import inspect
from types import FunctionType

UNSAID = frozenset((
    "__module__", "__qualname__", "__dict__", "__weakref__", "__doc__", "__annotations__", "__firstlineno__",
    "__static_attributes__",
))  # fmt: skip
"""Attributes of every class, which do not say what it does."""


def class_source(cls: type) -> str | None:
    """The source, or None where there is none, as of a class that was made by `exec`."""
    try:
        return inspect.getsource(cls)
    except (OSError, TypeError):
        return _by_parts(cls)


def _by_parts(cls: type) -> str | None:
    said, functions = [f"class {cls.__qualname__}"], 0
    for name, value in sorted(vars(cls).items()):
        if name in UNSAID:
            continue
        if isinstance(value, property):
            parts = [part for part in (value.fget, value.fset, value.fdel) if part is not None]
        elif isinstance(value, staticmethod | classmethod):
            parts = [value.__func__]
        else:
            parts = [value]
        for part in parts:
            if isinstance(part, FunctionType):
                source = function_source(part)
                if source is None:
                    return None
                said.append(f"{name}: {type(value).__name__} {source}")
                functions += 1
            elif part is None or isinstance(part, bool | int | float | str):
                said.append(f"{name} = {part!r}")
            else:
                return None
    return "\n".join(said) if functions else None


def function_source(function: FunctionType) -> str | None:
    """The source of a function, or None where there is none."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return None
