"""Numbers as people read them: one way to write an estimate, a difference, a share, a p-value, an interval, a quantity.

docs/numbers.md says the rules. Every table, page, figure and sentence uses these functions. A format string on the spot is
shorter, and is how one project came to write `<.001` and `<0.001` for the same p.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

NONE = "–"
"""Where there is no number."""
TOO_FEW = "too few"
"""Where a p-value would stand if there were latents enough for one."""
LEAST_P = 0.001


def number(value: float | None, digits: int = 3, sign: str = "") -> str:
    """Fixed digits; fewer from 100 on, where they say nothing; never -0."""
    if value is None or not math.isfinite(value):
        return NONE
    size = abs(value)
    digits = 0 if size >= 1000 else min(digits, 1) if size >= 100 else digits
    return f"{round(value, digits) + 0.0:{sign},.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """A difference, with its sign."""
    return number(value, digits, "+")


def percent(share: float | None, digits: int = 0) -> str:
    """Percent, but never 100 % for less than everything and never 0 % for more than nothing."""
    if share is None or not math.isfinite(share):
        return NONE
    text = f"{min(share, 0.9994):.1%}" if 0.995 <= share < 1 else f"{share:.{digits}%}"
    return f"<{10**-digits:g}%" if share > 0 and float(text[:-1]) == 0 else text


def p(value: float | None) -> str:
    """A p-value: three digits, and `<0.001` below them, because it is never 0; None where nothing was tested, NaN for too few."""
    if value is None:
        return NONE
    if math.isnan(value):
        return TOO_FEW
    return f"<{LEAST_P}" if value < LEAST_P else f"{value:.3f}"


def p_is(value: float | None) -> str:
    """A p-value inside a sentence: `p = 0.012` or `p < 0.001`."""
    if value is None or math.isnan(value):
        return "too few latents for a p-value"
    text = p(value)
    return f"p < {text[1:]}" if text.startswith("<") else f"p = {text}"


def interval(
    low: float | None, high: float | None, digits: int = 3, write: Callable[[float | None, int], str] = number
) -> str:
    """`[low, high]`, in the format of `write`."""
    bounds = [NONE if x is None or not math.isfinite(x) else write(x, digits) for x in (low, high)]
    return NONE if NONE in bounds else f"[{', '.join(bounds)}]"


def estimate(
    value: float | None,
    low: float | None,
    high: float | None,
    digits: int = 3,
    write: Callable[[float | None, int], str] = number,
) -> str:
    """An estimate with its interval, if it has one."""
    bounds = interval(low, high, digits, number if write is signed else write)
    return write(value, digits) if bounds == NONE else f"{write(value, digits)} {bounds}"


def count(value: float | None) -> str:
    """A whole number, with commas from 10,000 on."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.0f}"


def short(value: float | None) -> str:
    """A quantity in at most five characters: 0, 0.5, 12, 1.5k, 2.3M."""
    if value is None or not math.isfinite(value):
        return NONE
    if value >= 999.5:
        return f"{value / 1e6:.1f}M" if value >= 999_950 else f"{value / 1e3:.1f}k"
    return f"{value:.0f}" if value >= 9.95 or value == round(value) else f"{value:.1f}"


def dollars(value: float | None) -> str:
    """Money as an estimate: `~` and two significant digits, 0 for what costs nothing."""
    if value is None or not math.isfinite(value):
        return NONE
    return "0" if not value else f"~{value:.2g}" if value < 10 else f"~{value:.0f}"


def seconds(value: float | None) -> str:
    """A time with three significant digits and its unit: 1.23ms."""
    if value is None or not math.isfinite(value):
        return NONE
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value / 1e-9:.3g}ns"


def ratio(value: float | None) -> str:
    """A factor: x1.10."""
    return NONE if value is None or not math.isfinite(value) else f"x{value:.2f}"


def finite(value: Any) -> Any:
    """NaN and infinity as null, inside lists and dictionaries too: JSON has no name for them."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def rounded(value: Any) -> Any:
    """Floats to six significant digits, inside lists and dictionaries too: beyond that is noise of the summation order."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    return value
