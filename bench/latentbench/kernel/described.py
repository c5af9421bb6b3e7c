"""A pydantic model -> what each of its keys is: name, type, default, meaning. Read from the model and its docstrings alone.

What a key means stands under its field in the source, where whoever changes the field sees it. A table of keys kept in the docs
is the tempting way, and is out of date with the next field.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


@dataclass(frozen=True)
class Key:
    """A key of a YAML file or of a reference.

    Attributes:
        name: dotted where it lies in another one; `[]` behind a list of mappings.
        type: as a reader of YAML says it.
        default: as YAML writes it; None where the key must be given.
        meaning: sentences.
    """

    name: str
    type: str
    default: str | None
    meaning: str


def keys_of(model: type[BaseModel], inside: str = "") -> list[Key]:
    """Every key of a model, each followed by those of the mapping that it holds.

    Args:
        inside: name of the key that holds the mapping, with its dot.
    """
    return list(_keys(model, inside, ()))


def _keys(model: type[BaseModel], inside: str, above: tuple[type[BaseModel], ...]) -> Iterator[Key]:
    meanings = _meanings(model)
    for name, field in model.model_fields.items():
        held = [m for m in _models(field.annotation) if m not in (*above, model)]
        many = "[]" if get_origin(_bare(field.annotation)) in (list, tuple) else ""
        yield Key(inside + name, _type(field), _default(field), field.description or meanings.get(name, ""))
        for other in held:
            which = f"({_tag(other)})" if len(held) > 1 else ""
            yield from _keys(other, f"{inside}{name}{many}{which}.", (*above, model))


def _tag(model: type[BaseModel]) -> str:
    """Which of several mappings is meant: the one value that its `kind` may have, or the model's name."""
    kind = model.model_fields.get("kind")
    values = get_args(kind.annotation) if kind is not None else ()
    return str(values[0]) if len(values) == 1 else model.__name__


def _type(field: FieldInfo) -> str:
    bounds = [
        f"{said} {getattr(held, attribute):g}"
        for held in field.metadata
        for attribute, said in BOUNDS.items()
        if isinstance(getattr(held, attribute, None), int | float)
    ]
    return ", ".join([_named(field.annotation), *bounds])


def _named(kind: Any) -> str:
    kind = _bare(kind)
    inner = get_args(kind)
    origin = get_origin(kind)
    if origin is Literal:
        return " | ".join(str(value) for value in inner)
    if origin in (Union, UnionType):
        return " | ".join(dict.fromkeys(_named(one) for one in inner if one is not NoneType))
    if origin in (list, tuple, set, frozenset):
        return f"list of {_named(inner[0])}" if inner else "list"
    if origin is dict or kind is dict:
        return "mapping"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "mapping"
    words = {
        "str": "text",
        "int": "whole number",
        "float": "number",
        "bool": "true | false",
        "Path": "path",
        "Any": "any",
    }
    name = getattr(kind, "__name__", str(kind))
    return words.get(name, name)


def _bare(kind: Any) -> Any:
    """A type without its annotations; that of the value, where none is allowed, too."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, UnionType):
        some = [one for one in get_args(kind) if one is not NoneType]
        if len(some) == 1:
            return _bare(some[0])
    return kind


def _models(kind: Any) -> list[type[BaseModel]]:
    kind = _bare(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    if get_origin(kind) is None:
        return []
    return [model for inner in get_args(kind) for model in _models(inner)]


def _default(field: FieldInfo) -> str | None:
    if field.is_required():
        return None
    value = field.get_default(call_default_factory=True)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, BaseModel):
        return "as below"
    if value is None or value in ("", [], {}, ()):
        return "none"
    if isinstance(value, tuple | list | frozenset):
        return f"[{', '.join(_written(one) for one in value)}]"
    return _written(value)


def _written(value: object) -> str:
    if isinstance(value, BaseModel):
        given = value.model_dump(mode="json", exclude_defaults=True)
        return "{" + ", ".join(f"{name}: {held}" for name, held in given.items()) + "}"
    return str(value)


@cache
def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """Field -> the string under it, in the class or in the one that it comes from."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if issubclass(cls, BaseModel) and cls is not BaseModel:
            found |= _documented(cls)
    return found


def _documented(cls: type) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    return {
        held.target.id: " ".join(said.value.value.split())
        for held, said in pairwise(body)
        if isinstance(held, ast.AnnAssign)
        and isinstance(held.target, ast.Name)
        and isinstance(said, ast.Expr)
        and isinstance(said.value, ast.Constant)
        and isinstance(said.value.value, str)
    }
