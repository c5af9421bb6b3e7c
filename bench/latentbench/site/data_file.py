"""Typed data -> a script file that hands it to the page.

A page that is opened from disk may not fetch a file, and a script is the one thing that it may load. So each data file is a
script that calls one function with one value. JSON in a script is not yet safe (`</script>` ends it, wherever it stands), so no
file has a `<`, `>` or `&` in it. Texts from outside are made visible here, once and for all of them: leaving it to each page is
the tempting way, and the text that turns a line around then stands on the page that forgot.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from latentbench.views.escape import seen

CALL = "latentbench"
"""The function of the page that takes what a file holds."""
_CODES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
_SHORT = 40
"""Characters of a text whose visible form is remembered: tokens and labels come again and again."""


def data_file(name: str, value: object) -> str:
    """The text of a data file.

    Args:
        name: what the page asks for.
        value: dataclasses, mappings, sequences, texts and numbers in one another.
    """
    text = json.dumps(plain_data([name, value]), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return f"{CALL}(...{text.translate(_CODES)})\n"


def plain_data(value: object) -> Any:
    """What JSON can hold: texts without what cannot be seen, floats of six digits, null where there is no number.

    Raises:
        TypeError: a value that has no form here.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return plain_data(value.value)
    if isinstance(value, str):
        return _seen(value) if len(value) <= _SHORT else seen(value)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if is_dataclass(value):
        return {field.name: plain_data(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {seen(str(key)): plain_data(held) for key, held in value.items()}
    if isinstance(value, Sequence):
        return [plain_data(held) for held in value]
    if hasattr(value, "item"):
        return plain_data(value.item())
    raise TypeError(f"{type(value).__name__} has no form in a data file: {value!r}")


_seen = lru_cache(65_536)(seen)
