"""Is a value what its annotation says? For what code of others returns, where no type checker has looked.

A type checker holds this package together, but a scorer of another package may return anything: None for a list, a NumPy integer
for an integer, half of a surrogate pair inside a text that is to be written to a file. Each would go wrong two rooms later, in a
line that is not at fault. So what is returned is read here once, with its annotation as the whole rule: what means the same
(a list for a tuple, a NumPy number for a number) is made ours, and anything else says at which place of the value it stands.
Writing a check per field is the tempting way, and the field that is added next year has none.
"""

from __future__ import annotations

import operator
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from numbers import Real
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

Check = Callable[[Any], Any]
"""A value -> the value in the annotated type. Raises `Mismatch`."""

MOST = 1 << 63
"""Integers below this, and not below its negative, fit the columns of a table."""
SHOWN = 60
"""Characters of a wrong value in a message."""


class Mismatch(TypeError):
    """A value that is not what was annotated; as text it says where, what it is and what it should be."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said
        self.path = ""

    def at(self, place: str) -> Mismatch:
        """This mismatch as seen one level further out, at a place of what held the value."""
        self.path = place + self.path
        return self

    def __str__(self) -> str:
        return f"{self.path.lstrip('.')} {self.said}".strip()


def conform(value: Any, annotation: type[T]) -> T:
    """The value in the annotated type, unchanged where it is that already.

    Args:
        annotation: dataclasses (their fields are read too), enums, `str`, `int`, `float`, `bool`, tuples of any length, lists,
            frozen sets, mappings, unions and literals of these. An array and what is annotated `Any` are taken as they are.

    Raises:
        Mismatch: it is not.
    """
    check: Check = _check(annotation)  # type: ignore[arg-type]  # every annotation is hashable, and typeshed cannot say so
    found: T = check(value)
    return found


@cache
def _check(annotation: Any) -> Check:
    origin = get_origin(annotation) or annotation
    if annotation is Any:
        return lambda value: value
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if origin in (Union, types.UnionType):
        return _union(get_args(annotation))
    if origin is Literal:
        return _literal(get_args(annotation))
    if isinstance(origin, type):
        if origin is tuple and get_args(annotation)[1:] == (...,):
            return _tuple(get_args(annotation)[0])
        if origin is list:
            inner = _items(get_args(annotation)[0])
            return lambda value: list(inner(value))
        if origin is tuple and get_args(annotation):
            return _row(get_args(annotation))
        if origin is frozenset:
            return _set(get_args(annotation)[0])
        if issubclass(origin, Mapping):
            return _mapping(origin, *get_args(annotation))
        if is_dataclass(origin):
            return _dataclass(origin)
    return _instance(origin)


def half_pair(text: str) -> str:
    """Says that a text holds half of a surrogate pair, which a JSON body may name and no encoder takes; "" if it does not."""
    if text.isascii():
        return ""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as e:
        return f"not Unicode text: half of a surrogate pair (\\u{ord(text[e.start]):04x}) at character {e.start}"
    return ""


def _wrong(value: Any, wanted: str) -> Mismatch:
    try:
        shown = " ".join(repr(value).encode("utf-8", "backslashreplace").decode("utf-8").split())
    except Exception:
        shown = "that cannot be shown"
    shown = shown if len(shown) <= SHOWN else shown[:SHOWN] + "..."
    return Mismatch(
        f"is {shown}, not {wanted}" if value is None else f"is {type(value).__name__} {shown}, not {wanted}"
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(value, "a text")
    if type(value) is not str:
        # A subclass may do anything in the methods that this package calls.
        value = str.__str__(value)
    text: str = value
    half = half_pair(text)
    if half:
        raise Mismatch(f"is {half}")
    return text


def _integer(value: Any) -> int:
    if type(value) is not int:
        try:
            value = int(operator.index(value))
        except TypeError:
            raise _wrong(value, "an integer") from None
    if not -MOST <= value < MOST:
        raise Mismatch("is an integer of more than 64 bits, which no table holds")
    found: int = value
    return found


def _number(value: Any) -> float:
    if type(value) is float:
        return value
    # NumPy's booleans are no numbers, and neither is True where a number is asked for.
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise Mismatch("is a number too large for a float") from None
    raise _wrong(value, "a number")


def _truth(value: Any) -> bool:
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return bool(value)
    raise _wrong(value, "True or False")


def _none(value: Any) -> None:
    if value is not None:
        raise _wrong(value, "None")


_PLAIN: Mapping[Any, Check] = {str: _text, int: _integer, float: _number, bool: _truth, None: _none, type(None): _none}


def _instance(cls: type) -> Check:
    def check(value: Any) -> Any:
        if not isinstance(value, cls):
            raise _wrong(value, _a(cls))
        return value

    return check


def _a(cls: type) -> str:
    return f"{'an' if cls.__name__[0] in 'AEIOU' else 'a'} {cls.__name__}"


def _literal(allowed: tuple[Any, ...]) -> Check:
    def check(value: Any) -> Any:
        if not isinstance(value, str) or value not in allowed:
            raise _wrong(value, " or ".join(map(repr, allowed)))
        return value

    return check


def _union(members: tuple[Any, ...]) -> Check:
    # A class among the members decides by what the value is, so that its message is about the field and not about the union.
    named = {m: _check(m) for m in members if isinstance(m, type) and is_dataclass(m)}
    rest = [_check(m) for m in members if m not in named]
    wanted = " or ".join("None" if m is type(None) else getattr(m, "__name__", str(m)) for m in members)

    def check(value: Any) -> Any:
        own = named.get(type(value)) or next((c for m, c in named.items() if isinstance(value, m)), None)
        if own is not None:
            return own(value)
        if value is None and type(None) in members:
            return None
        said: Mismatch | None = None
        for one in rest:
            if one is not _none:
                try:
                    return one(value)
                except Mismatch as e:
                    said = e
        if said is not None and len(rest) <= 2 and not named:
            raise said
        raise _wrong(value, wanted)

    return check


def _items(annotation: Any) -> Callable[[Any], Iterable[Any]]:
    check = _check(annotation)

    def read(value: Any) -> Iterable[Any]:
        if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
            raise _wrong(value, "a list")
        for i, item in enumerate(value):
            try:
                yield check(item)
            except Mismatch as e:
                raise e.at(f"[{i}]") from None

    return read


def _tuple(annotation: Any) -> Check:
    read = _items(annotation)
    # Token texts, ids and marks are nearly all of what is read; these answer for a whole tuple at once.
    quick: Callable[[tuple[Any, ...]], bool]
    if annotation is str:
        quick = _all_text
    elif annotation in (int, float, bool):
        quick = lambda value: set(map(type, value)) <= {annotation} and (annotation is not int or _fit(value))  # noqa: E731
    else:
        quick = lambda value: False  # noqa: E731

    def check(value: Any) -> tuple[Any, ...]:
        if type(value) is tuple and quick(value):
            return value
        found = tuple(read(value))
        same = type(value) is tuple and all(a is b for a, b in zip(found, value, strict=True))
        return value if same else found

    return check


def _fit(value: tuple[int, ...]) -> bool:
    return not value or (min(value) >= -MOST and max(value) < MOST)


def _row(annotations: tuple[Any, ...]) -> Check:
    checks = [_check(a) for a in annotations]

    def check(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, tuple | list) or len(value) != len(checks):
            raise _wrong(value, f"{len(checks)} values")
        return tuple(one(item) for one, item in zip(checks, value, strict=True))

    return check


def _set(annotation: Any) -> Check:
    read = _items(annotation)

    def check(value: Any) -> frozenset[Any]:
        if not isinstance(value, frozenset):
            raise _wrong(value, "a frozenset")
        return frozenset(read(value))

    return check


def _all_text(value: tuple[Any, ...]) -> bool:
    try:
        joined = "".join(value)
        if set(map(type, value)) > {str}:
            return False
        return joined.isascii() or bool(joined.encode("utf-8"))
    except (TypeError, UnicodeEncodeError):
        return False


def _mapping(origin: type, key: Any, item: Any) -> Check:
    keys, items = _check(key), _check(item)

    def check(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise _wrong(value, "a mapping")
        found = {}
        for name, held in value.items():
            try:
                found[keys(name)] = items(held)
            except Mismatch as e:
                raise e.at(f"[{name!r}]") from None
        return found

    return check


def _dataclass(cls: type) -> Check:
    hints = get_type_hints(cls)
    checks = [(f.name, _check(hints[f.name])) for f in fields(cls) if f.init]

    def check(value: Any) -> Any:
        if not isinstance(value, cls):
            raise _wrong(value, _a(cls))
        changed: dict[str, Any] = {}
        for name, one in checks:
            held = getattr(value, name)
            try:
                read = one(held)
            except Mismatch as e:
                raise e.at(f".{name}") from None
            if read is not held:
                changed[name] = read
        if type(value) is not cls:
            # A subclass may do anything in the methods that this package calls; what it holds is taken, and no more.
            return cls(**{name: changed.get(name, getattr(value, name)) for name, _ in checks})
        rebuilt: Callable[..., Any] = replace
        return rebuilt(value, **changed) if changed else value

    return check
