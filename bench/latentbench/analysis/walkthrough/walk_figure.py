"""A walkthrough as a picture, like the first figure of the paper: the sentence with coloured tokens, and boxes under it.

A token that a box is about has the colour of the box's layer and its number, so that no line has to be followed across the
picture and nothing hangs on the colour alone. Numbers stand in each box with what they are worth: the count of judgements and
the best floor. Letters that the font does not have are boxes in the PNG; the SVG holds text, and whoever opens it has other
fonts.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from latentbench.analysis.walkthrough.sentence_walk import SentenceWalk, WalkedLatent, WalkText
from latentbench.views.escape import drawn
from latentbench.views.figure import INK, SERIES, SOFT, styled
from latentbench.views.number import number, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 10.0
"""Inches."""
MARGIN, GAP = 0.15, 0.12
SENTENCE, SMALL = 11.0, 7.2
"""Sizes of letters in points."""
MONO = 0.602 / 72
"""Inches that a letter of DejaVu Sans Mono takes for each point of its size."""
ACROSS = 3
"""Boxes in a row."""
LINES = 4
"""Lines of an explanation that a box shows."""


def walk_figure(walk: SentenceWalk, explainer: str = "") -> Figure:
    """Draw a walkthrough.

    Args:
        explainer: label of the one whose texts stand in the boxes; the first that is no floor by default.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with styled():
        rows = _sentence(walk.tokens)
        boxes = [[latent for latent in walk.latents if latent.coder == c.name] for c in walk.coders]
        tall = _box_height(walk)
        down = sum(-(-len(group) // ACROSS) for group in boxes)
        labels = sum(1 for group in boxes if group)
        sentence = sum(_row_height(walk, row) for row in rows)
        height = 2 * MARGIN + sentence + 0.15 + down * (tall + GAP) + labels * 0.28
        figure = Figure(figsize=(WIDTH, height))
        FigureCanvasAgg(figure)
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set_xlim(0, WIDTH)
        axis.set_ylim(0, height)
        axis.axis("off")
        numbers = {latent.id: i + 1 for i, latent in enumerate(walk.latents)}
        colours = {c.name: SERIES[i % len(SERIES)] for i, c in enumerate(walk.coders)}
        y = _draw_sentence(axis, walk, rows, height - MARGIN, numbers, colours) - 0.1
        for coder, group in zip(walk.coders, boxes, strict=True):
            if not group:
                continue
            axis.text(MARGIN, y - 0.12, drawn(f"{coder.hookpoint}  ({coder.name})", 80), color=colours[coder.name],
                      fontsize=8.5, fontweight="bold", va="center")  # fmt: skip
            y -= 0.28
            for first in range(0, len(group), ACROSS):
                for k, latent in enumerate(group[first : first + ACROSS]):
                    _draw_box(axis, walk, latent, explainer, k, y, tall, numbers[latent.id], colours[coder.name])
                y -= tall + GAP
    return figure


def text_shown(latent: WalkedLatent, explainer: str = "") -> WalkText | None:
    """The explanation that stands for a latent: that of the explainer, else the first that is no floor, else the first."""
    named = [t for t in latent.texts if t.explainer == explainer]
    return next(iter([*named, *(t for t in latent.texts if not t.is_floor), *latent.texts]), None)


def floor_of(latent: WalkedLatent, scorer: str, judge: str) -> float | None:
    """The best score of what knows nothing of a latent, by one scorer and judge."""
    told = [s.value for t in latent.texts if t.is_floor for s in t.scores if (s.scorer, s.judge) == (scorer, judge)]
    return max((v for v in told if v is not None), default=None)


def _columns(text: str) -> int:
    """Columns that a text takes in letters of equal width."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _shown(token: str) -> str:
    return drawn(token.replace("\n", "⏎"), 60)


def _sentence(tokens: Sequence[str]) -> list[list[tuple[int, float]]]:
    """Rows of the sentence: number of each token and where it begins, in inches."""
    rows: list[list[tuple[int, float]]] = [[]]
    x = MARGIN
    for i, token in enumerate(tokens):
        wide = _columns(_shown(token)) * MONO * SENTENCE
        if rows[-1] and x + wide > WIDTH - MARGIN:
            rows.append([])
            x = MARGIN
        rows[-1].append((i, x))
        x += wide + 0.02
    return rows


def _row_height(walk: SentenceWalk, row: Sequence[tuple[int, float]]) -> float:
    """Inches of a row of the sentence, whose numbers stand below each other."""
    here = {i for i, _ in row}
    stacked = [sum(latent.place == i for latent in walk.latents) for i in here]
    return 0.28 + 0.1 * max(stacked, default=0)


def _draw_sentence(
    axis: Axes,
    walk: SentenceWalk,
    rows: Sequence[Sequence[tuple[int, float]]],
    top: float,
    numbers: dict[str, int],
    colours: dict[str, str],
) -> float:
    """Draw the tokens; returns where they end."""
    from matplotlib.patches import Rectangle

    y = top
    for row in rows:
        for i, x in row:
            token = _shown(walk.tokens[i])
            wide = max(_columns(token), 1) * MONO * SENTENCE
            mine = [latent for latent in walk.latents if latent.place == i]
            for k, latent in enumerate(mine):
                deep = 0.25 + 0.45 * min(1.0, latent.share or 0.0)
                band = 0.2 / len(mine)
                corner = (x, y - 0.22 + k * band)
                axis.add_patch(
                    Rectangle(corner, wide, band, facecolor=colours[latent.coder], alpha=deep, edgecolor="none")
                )
            axis.text(x, y - 0.12, token, fontsize=SENTENCE, family="DejaVu Sans Mono", va="center", color=INK)
            for k, latent in enumerate(mine):
                told = str(numbers[latent.id])
                axis.text(x + wide / 2, y - 0.29 - k * 0.1, told, fontsize=6, ha="center", va="center", color=INK)
        y -= _row_height(walk, row)
    return y


def _lines(text: str) -> list[str]:
    wide = int(_box_width() / (MONO * SMALL) * 1.1) - 3
    found = textwrap.wrap(drawn(text or "(no explanation)", 2000), wide) or ["(no explanation)"]
    return [*found[: LINES - 1], found[LINES - 1] + "…"] if len(found) > LINES else found


def _box_width() -> float:
    return (WIDTH - 2 * MARGIN - (ACROSS - 1) * GAP) / ACROSS


def _box_height(walk: SentenceWalk) -> float:
    scores = max((len(t.scores) for latent in walk.latents for t in latent.texts), default=0)
    return 0.34 + 0.135 * (LINES + scores)


def _draw_box(
    axis: Axes,
    walk: SentenceWalk,
    latent: WalkedLatent,
    explainer: str,
    column: int,
    top: float,
    tall: float,
    n: int,
    colour: str,
) -> None:
    from matplotlib.patches import FancyBboxPatch

    wide = _box_width()
    x = MARGIN + column * (wide + GAP)
    style = "round,pad=0,rounding_size=0.06"
    for fill, alpha in ((True, 0.1), (False, 1.0)):
        axis.add_patch(
            FancyBboxPatch(
                (x, top - tall), wide, tall, boxstyle=style, fill=fill, facecolor=colour, edgecolor=colour,
                alpha=alpha, linewidth=0 if fill else 0.9,
            )
        )  # fmt: skip
    share = "" if latent.share is None else f", {percent(latent.share)} of its maximum"
    token = walk.tokens[latent.place]
    head = f"{n}  {drawn(repr(token.strip() or token), 18)}  {drawn(latent.id, 24)}{share}"
    axis.text(x + 0.08, top - 0.13, head, fontsize=SMALL, fontweight="bold", va="center", color=INK)
    y = top - 0.29
    shown = text_shown(latent, explainer)
    for said in _lines(shown.text if shown else ""):
        axis.text(x + 0.08, y, said, fontsize=SMALL, va="center", color=INK)
        y -= 0.135
    y = top - 0.29 - 0.135 * LINES
    for s in shown.scores if shown else ():
        floor = floor_of(latent, s.scorer, s.judge)
        told = f"{drawn(s.scorer, 20)} {number(s.value, 2)} {drawn(s.metric, 18)}; floor {number(floor, 2)}; "
        told += f"{s.judged}/{s.attempted}"
        axis.text(x + 0.08, y, told, fontsize=SMALL - 0.4, va="center", color=SOFT if s.value is None else "#3b444d")
        y -= 0.135
