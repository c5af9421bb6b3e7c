"""Numbers on the command line are finite.

`min=0` of an option lets NaN through, because NaN is not below 0, and no comparison with it ever holds: a gate whose limit is NaN
has none. So every option that is a number has this as its callback, and a test asks each of them.
"""

from __future__ import annotations

import math
from typing import Any

import typer


def finite(value: Any) -> Any:
    """The value of an option, or values of one that may be repeated.

    Raises:
        BadParameter: NaN or an infinity.
    """
    for number in value if isinstance(value, list | tuple) else [value]:
        if number is not None and not math.isfinite(number):
            raise typer.BadParameter(f"{number} is not a finite number")
    return value
