"""YAML file -> validated model, with errors that a person can act on.

Shared by run specs, suite recipes and task files, so that a misspelt key is answered in the same way everywhere: file, place,
and the name that was probably meant. pydantic's own report lists internals and one line per union branch.
"""

from __future__ import annotations

import copy
import difflib
import math
import re
import reprlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from latentbench.kernel.errors import SpecError
from latentbench.kernel.inputs import SURROGATE, YAML_BYTES, parse_json, read_text
from latentbench.kernel.yaml_tree import parse_yaml

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

M = TypeVar("M", bound=BaseModel)

MOST = 5
"""Faults that one message names."""
WHOLE = (1 << 63) - 1
"""Largest whole number that a table and a generator of random numbers take."""


class Frozen(BaseModel):
    """Base of everything that a file or a caller writes down: an unknown key is an error, and values do not change.

    A number is finite: no limit is ever passed by NaN, so one that is NaN would hold nothing and say nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    counts_to: ClassVar[int] = 10_000_000
    """Largest value of a count (a whole number with a least value) that names no largest one of its own. A typing error of a few
    zeros is then a message, and not a plan that is never finished."""

    @model_validator(mode="after")
    def _counted(self) -> Self:
        for name, end in _ends(type(self)):
            value = getattr(self, name)
            if value is not None and not -end <= value <= end:
                raise ValueError(f"{name} must be at most {end:,}, and is {value:,}")
        return self


@cache
def _ends(model: type[Frozen]) -> tuple[tuple[str, int], ...]:
    """Fields of whole numbers without a largest value, and the one that they have therefore."""
    found = []
    for name, field in model.model_fields.items():
        either = get_origin(field.annotation) in (Union, UnionType)
        kinds = set(get_args(field.annotation) if either else (field.annotation,)) - {NoneType}
        bounds = {bound for bound in ("ge", "gt", "le", "lt") if any(hasattr(m, bound) for m in field.metadata)}
        if kinds == {int} and not bounds & {"le", "lt"}:
            found.append((name, model.counts_to if bounds else WHOLE))
    return tuple(found)


def _json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value)
    except ValueError as e:
        raise ValueError(f"not JSON ({e}); write an object, percent-encoded where it holds & or %") from e


JsonObject = Annotated[dict[str, Any], BeforeValidator(_json)]
"""An object, in a judge's reference written as JSON."""


def validate(model: type[M], data: Any, where: str, under: Callable[[str], str] = lambda key: "") -> M:
    """Validate `data`, turning pydantic's report into one message that names the place and the likely intention.

    Args:
        where: file name or other place for the message.
        under: for parts of a document: what stands before the place of a key of `data` where it was written, such as
            `scorers[1].params`.

    Raises:
        SpecError: the data does not fit, or holds what no number and no text may be.
    """
    fault = _unfit(data)
    if fault:
        raise SpecError(f"{where}: {fault}")
    try:
        return model.model_validate(data)
    except ValidationError as e:
        faults = [_sentence(model, error, under) for error in e.errors()[:MOST]]
        more = f"; and {e.error_count() - MOST} more" if e.error_count() > MOST else ""
        raise SpecError(f"{where}: {'; '.join(faults)}{more}") from e


def _unfit(data: Any) -> str:
    """What is in the data at any depth that fits nowhere, also where a schema takes everything; "" if nothing is."""
    waiting: list[tuple[str, Any]] = [("", data)]
    done: set[int] = set()
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict | list | tuple):
            # An alias of YAML may stand in itself, or a thousand times.
            if id(value) in done:
                continue
            done.add(id(value))
        if isinstance(value, dict):
            waiting += [(f"{place}.{k}".lstrip("."), part) for k, v in value.items() for part in (k, v)]
        elif isinstance(value, list | tuple):
            waiting += [(f"{place}[{i}]", v) for i, v in enumerate(value)]
        elif isinstance(value, float) and not math.isfinite(value):
            return f"{place or 'document'} must be a finite number, and is {value}"
        elif isinstance(value, str) and SURROGATE.search(value):
            told = SURROGATE.sub(_code, value)[:60]
            return f"{place or 'document'} holds half of a character ({told!r}), which no file can hold"
    return ""


def _code(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _sentence(model: type[BaseModel], error: ErrorDetails, under: Callable[[str], str]) -> str:
    """One error of pydantic's in the words of somebody who writes a file: where, what it must be, and what it is."""
    loc, kind, limits = error["loc"], error["type"], error.get("ctx", {})
    place = _place(under, loc)
    if kind == "extra_forbidden":
        known = _keys(model, loc[:-1])
        near = difflib.get_close_matches(str(loc[-1]), known, n=1)
        # The whole path, so that it can be put in the place of what was written.
        hint = f" Did you mean {_place(under, (*loc[:-1], near[0]), str(loc[0]))!r}?" if near else ""
        return f"unknown key {place!r}.{hint} Known: {', '.join(known) or 'none'}."
    if kind == "missing":
        return f"{place} is missing"
    if kind == "too_short" and limits["actual_length"] == 0:
        return f"{place} is empty; list at least {limits['min_length']}"
    must = _MUST.get(kind)
    if must is None:
        return f"{place or 'document'}: {error['msg'].removeprefix('Value error, ')}"
    found = "empty" if error["input"] is None else reprlib.repr(error["input"])
    return f"{place or 'document'} must be {must.format(**limits)}, and is {found}"


def _place(under: Callable[[str], str], loc: tuple[int | str, ...], key: str = "") -> str:
    """A place of a document as people write it: `scorers[1].params.sampling`."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc]
    return (under(key or str(loc[0] if loc else "")) + "".join(parts)).removeprefix(".")


_MUST = {
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "model_attributes_type": "keys with values",
    "string_type": "a text (in quotes, if it looks like a number)",
    "string_pattern_mismatch": "a text that matches {pattern}",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "enum": "{expected}",
}
"""What pydantic's types of errors say that a value must be."""


def _keys(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Keys that are known at a place of a document, sorted."""
    here = [model]
    for part in place:
        inner = [m for h in here if part in h.model_fields for m in _models(h.model_fields[str(part)].annotation)]
        # Otherwise the number of an entry, a key of a mapping, or pydantic's name for one of several models.
        here = inner or [m for m in here if m.__name__ == part] or here
    return sorted({name for h in here for name in h.model_fields})


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models that a type names, at any depth of its arguments."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in get_args(annotation) for m in _models(part)]


def read_document(path: Path) -> str:
    """The text of a file that somebody wrote.

    Raises:
        SpecError: missing, not readable, too long, or not UTF-8.
    """
    try:
        return read_text(path, YAML_BYTES)
    except FileNotFoundError as e:
        raise SpecError(f"{path} does not exist.") from e
    except OSError as e:
        raise SpecError(f"{path} cannot be read: {e.strerror or e}.") from e
    except ValueError as e:
        raise SpecError(f"{path} cannot be read: {e}.") from e


def read_yaml(path: Path, *, may_be_empty: bool = False) -> Any:
    """Parse one YAML file: texts, finite numbers, truths, lists and keys that are texts and stand once.

    Args:
        may_be_empty: a file without a value is None; an error by default.

    Raises:
        SpecError: missing, not readable, not YAML, of something else, or empty; the message has file, line and column.
    """
    try:
        data = copy.deepcopy(parse_yaml(read_document(path)))
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        at = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SpecError(f"{path}{at}: not valid YAML: {getattr(e, 'problem', None) or e}") from e
    except ValueError as e:
        raise SpecError(f"{path}: not valid YAML: {e}.") from e
    if data is None and not may_be_empty:
        raise SpecError(f"{path} is empty.")
    return data
