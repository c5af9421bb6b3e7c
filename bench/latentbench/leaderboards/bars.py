"""Intervals as inline SVG: a bar from low to high, a tick at the mean, the floor as a dashed line, the same axis in all rows.

Bars from zero would draw the floor, not the score: on a task whose floor is 0.5 every explainer would look half right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from latentbench.leaderboards.row import Estimate, Row
from latentbench.views.escape import Html
from latentbench.views.number import number

WIDTH, HEIGHT = 190, 22
PAD = 6


@dataclass(frozen=True, slots=True)
class Axis:
    """Linear scale shared by the rows of a table, between round numbers."""

    low: float
    high: float
    step: float

    def x(self, value: float) -> float:
        """Pixel of a value."""
        return PAD + (value - self.low) / (self.high - self.low) * (WIDTH - 2 * PAD)

    @property
    def ticks(self) -> list[float]:
        """Round values, ends included."""
        return [self.low + i * self.step for i in range(round((self.high - self.low) / self.step) + 1)]


def axis(rows: Sequence[Row]) -> Axis:
    """Smallest round range that holds every interval, bound and declared floor."""
    values = [
        v
        for row in rows
        for v in (row.score.estimate, row.score.low, row.score.high, row.score.floor, row.worst, row.best)
        if v is not None
    ] or [0.0, 1.0]
    low, high = min(values), max(values)
    span = max(high - low, 0.02)
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, math.inf) if span / s <= 5)
    step = span if math.isinf(step) else step
    bottom = math.floor(low / step + 1e-9) * step
    top = math.ceil(high / step - 1e-9) * step
    return Axis(bottom, top if top > bottom else bottom + step, step)


def bar(row: Row, scale: Axis) -> Html:
    """SVG of one row: bounds as a thin line, the interval as a bar, the mean as a dot."""
    s, middle = row.score, HEIGHT / 2
    colour = "#8a939c" if row.is_floor else "#1f5f99"
    parts = [_floor(s, scale)]
    if row.worst is not None and row.best is not None:
        parts.append(_line(scale.x(row.worst), scale.x(row.best), middle, colour, 1, 0.55))
    if s.low is not None and s.high is not None:
        parts.append(_line(scale.x(s.low), scale.x(s.high), middle, colour, 6, 0.35))
    if s.estimate is not None:
        parts.append(f'<circle cx="{scale.x(s.estimate):.1f}" cy="{middle}" r="3.5" fill="{colour}"/>')
    label = "no score" if s.estimate is None else number(s.estimate)
    return _svg("".join(parts), HEIGHT, label)


def ruler(scale: Axis) -> Html:
    """SVG of the axis, for the head of the column."""
    digits = 2 if scale.step < 0.1 else 1
    parts = []
    for i, tick in enumerate(scale.ticks):
        x = scale.x(tick)
        anchor = "start" if i == 0 else "end" if i == len(scale.ticks) - 1 else "middle"
        at = x - PAD if i == 0 else x + PAD if anchor == "end" else x
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="14" y2="18" stroke="#5b6570"/>')
        parts.append(
            f'<text x="{at:.1f}" y="11" font-size="10" fill="#5b6570" text-anchor="{anchor}">{tick + 0.0:.{digits}f}</text>'
        )
    return _svg("".join(parts), 18, "axis")


def _floor(s: Estimate, scale: Axis) -> str:
    if s.floor is None:
        return ""
    x = scale.x(s.floor)
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}" stroke="#8a4b00" stroke-dasharray="2 2"/>'


def _line(x1: float, x2: float, y: float, colour: str, width: float, opacity: float) -> str:
    # An interval of width 0 still shows as a hair line.
    x2 = max(x2, x1 + 1)
    return (
        f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="{width}" '
        f'stroke-opacity="{opacity}"/>'
    )


def _svg(body: str, height: int, label: str) -> Html:
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    return Html(f'<svg {size} role="img" aria-label="{label}">{body}</svg>')
