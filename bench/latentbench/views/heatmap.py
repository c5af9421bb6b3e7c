"""Correlation matrices as a figure, with the interval in every cell.

A colour alone invites reading .41 and .47 as different. So each cell says its estimate and interval, and a cell whose
Holm-corrected p is not below 5 % is hatched. The figure is drawn without pyplot, which keeps global state, and without dates,
so the same scores give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from latentbench.stats.correlation import CorrelationMatrix
from latentbench.views.escape import drawn
from latentbench.views.figure import INK, styled
from latentbench.views.number import interval, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALPHA = 0.05
CELL = 0.9
"""Inches per cell."""


TITLE = "95 % intervals over latents; hatched: Holm-corrected p not below 0.05"


def heatmap(matrices: Sequence[CorrelationMatrix], title: str = TITLE) -> Figure:
    """One panel per matrix on a common scale from -1 to 1.

    Args:
        matrices: of the same variables.
        title: above the panels.
    """
    with styled():
        return _drawn(matrices, title)


def _drawn(matrices: Sequence[CorrelationMatrix], title: str) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    k = len(matrices[0].names)
    side = max(2.6, CELL * k)
    figure = Figure(figsize=((side + 1.0) * len(matrices) + 1.4, side + 1.9), layout="constrained")
    axes = figure.subplots(1, len(matrices), squeeze=False, sharey=True)[0]
    for at, matrix in zip(axes, matrices, strict=True):
        shown = np.ma.masked_invalid(matrix.estimate)
        image = at.imshow(shown, vmin=-1, vmax=1, cmap="RdBu_r")
        at.set_xticks(range(k), [*map(drawn, matrix.names)], rotation=40, ha="right", rotation_mode="anchor")
        at.set_yticks(range(k), [*map(drawn, matrix.names)])
        at.set_title(f"{matrix.kind.capitalize()}", fontsize=11)
        at.tick_params(length=0)
        at.spines[:].set_visible(False)
        for i in range(k):
            for j in range(k):
                if i == j:
                    at.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor="#e6e8ea", edgecolor="none"))
                    continue
                value = matrix.estimate[i, j]
                colour = "white" if abs(value) > 0.65 else INK
                if not matrix.p_holm[i, j] < ALPHA:
                    square = Rectangle(
                        (j - 0.5, i - 0.5), 1, 1, fill=False, hatch="//", edgecolor="#b9c0c6", linewidth=0
                    )
                    at.add_patch(square)
                at.text(j, i - 0.12, number(value, 2), ha="center", va="center", color=colour, fontsize=11)
                bounds = interval(matrix.low[i, j], matrix.high[i, j], 2)
                at.text(j, i + 0.2, bounds, ha="center", va="center", color=colour, fontsize=7.5)
    figure.colorbar(image, ax=list(axes), shrink=0.7, pad=0.02)
    if title:
        figure.suptitle(drawn(title, 100), fontsize=11)
    return figure
