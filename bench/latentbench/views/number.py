"""Numbers as people read them: one way to write an estimate, a count, a share, and a value for JSON."""

from __future__ import annotations

from typing import Any


def number(value: float | None, digits: int = 3) -> str:
    """Fixed digits; an en dash where there is no value."""
    return "–" if value is None else f"{value:.{digits}f}"


def short(value: float) -> str:
    """A quantity in at most five characters: 0, 0.5, 12, 1.5k, 2.3M."""
    if value >= 999.5:
        return f"{value / 1e6:.1f}M" if value >= 999_950 else f"{value / 1e3:.1f}k"
    return f"{value:.0f}" if value >= 9.95 or value == round(value) else f"{value:.1f}"


def percent(share: float | None) -> str:
    """Whole percent, but never 100 % for less than everything."""
    if share is None:
        return "–"
    return f"{share:.1%}" if 0.995 <= share < 1 else f"{share:.0%}"


def rounded(value: Any) -> Any:
    """Floats to six significant digits, inside lists and dictionaries too: beyond that is noise of the summation order."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    return value
