"""Agreement of scorers as a page, and as rows for programs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from latentbench.analysis.agreement import SHOWN, ScorerAgreement
from latentbench.stats.bootstrap import FEWEST
from latentbench.views.page import Block, Bullets, Page, Picture, Prose
from latentbench.views.table import Cell, Column, Face, Table

if TYPE_CHECKING:
    from latentbench.stats.correlation import CorrelationMatrix

MOST = 7
"""Columns up to which the terminal lists every pair; beyond, the pairs are in the files."""

MATRIX = "Below the diagonal Spearman, above it Pearson."
NOTE = (
    "Intervals 95 %, over latents (jackknife on Fisher's scale); p Holm-corrected within each matrix. There is none (–) with "
    "fewer than four latents, or where one latent alone decides whether there is a correlation."
)
JUDGES = "Judges of one scorer: Krippendorff's alpha (1 = the same values)"


def agreement_page(found: ScorerAgreement, figure: str = "") -> Page:
    """The matrix on the terminal, then every pair with its intervals.

    Args:
        figure: file name of the heatmap beside the page.
    """
    latents, names = len(set(found.scores.latents)), found.scores.names
    blocks: list[Block] = [Picture("heatmap", figure)] if figure else []
    blocks += [Bullets([f"{i}  {name}" for i, name in enumerate(names, 1)], soft=True, face="terminal"), _matrix(found)]
    blocks += [_pairs(found.matrices[kind], "all" if len(names) <= MOST else "page") for kind in SHOWN]
    columns = [
        Column("scorer", "text"),
        Column("alpha", "number", 2),
        Column("95 % CI", "number", 2),
        Column("n", "count"),
    ]
    blocks.append(Table(JUDGES, columns, [[s, a.estimate, (a.low, a.high), a.n] for s, a in found.judges.items()]))
    title = f"Agreement of scorers in {found.run}: {latents} latents, explained by {', '.join(found.scores.explainers)}"
    return Page(title, [*blocks, Prose(NOTE, soft=True)])


def agreement_csv(found: ScorerAgreement) -> str:
    """Render every pair and kind of correlation as CSV."""
    return Table.of_records(row for kind in SHOWN for row in pairs(found.matrices[kind])).csv()


def pairs(matrix: CorrelationMatrix) -> Iterator[dict[str, Cell]]:
    """One row per pair of variables."""
    for i, j in combinations(range(len(matrix.names)), 2):
        yield {
            "kind": matrix.kind,
            "a": matrix.names[i],
            "b": matrix.names[j],
            "estimate": float(matrix.estimate[i, j]),
            "low": float(matrix.low[i, j]),
            "high": float(matrix.high[i, j]),
            "p": float(matrix.p[i, j]),
            "p_holm": float(matrix.p_holm[i, j]),
            "n": int(matrix.n[i, j]),
        }


def _matrix(found: ScorerAgreement) -> Table:
    lower, upper = (found.matrices[kind].estimate for kind in SHOWN)
    k = len(found.scores.names)
    rows: list[list[Cell]] = [
        [str(i + 1), *("" if i == j else float((lower if j < i else upper)[i, j]) for j in range(k))] for i in range(k)
    ]
    columns = [Column("", "text"), *(Column(str(j + 1), "number", 2) for j in range(k))]
    return Table("", columns, rows, note=MATRIX, face="terminal")


def _pairs(m: CorrelationMatrix, face: Face) -> Table:
    columns = [Column("pair", "text"), Column("r", "number", 2), Column("95 % CI", "number", 2)]
    rows: list[list[Cell]] = [
        [
            f"{m.names[i]} – {m.names[j]}",
            float(m.estimate[i, j]),
            (float(m.low[i, j]), float(m.high[i, j])),
            # With latents enough, no p means that leaving one out leaves nothing to compute.
            None if np.isnan(m.p_holm[i, j]) and m.n[i, j] >= FEWEST else float(m.p_holm[i, j]),
            int(m.n[i, j]),
        ]
        for i, j in combinations(range(len(m.names)), 2)
    ]
    return Table(m.kind.capitalize(), [*columns, Column("p", "p"), Column("n", "count")], rows, face=face)
