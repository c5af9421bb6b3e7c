"""Agreement of scorers as people and programs read it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING, Any

from latentbench.analysis.agreement import SHOWN, ScorerAgreement
from latentbench.views.table import number, p_value, span, terminal_table, to_csv, to_markdown

if TYPE_CHECKING:
    from rich.console import RenderableType

    from latentbench.stats.correlation import CorrelationMatrix

MOST = 7
"""Columns up to which the terminal lists every pair; beyond, the pairs are in the files."""

NOTE = (
    "Below the diagonal Spearman, above it Pearson. Intervals 95 %, over latents (jackknife on Fisher's scale); "
    "p Holm-corrected within each matrix."
)


def agreement_terminal(found: ScorerAgreement) -> RenderableType:
    """The matrix, then every pair with its intervals; reads at 80 columns."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(_head(found), style="bold"), Text()]
    names = found.scores.names
    parts += [Text(f"{i}  {name}", style="dim") for i, name in enumerate(names, 1)]
    parts += [terminal_table(_matrix(found), names=("",)), Text()]
    for kind in SHOWN if len(names) <= MOST else ():
        parts += [
            Text(kind.capitalize(), style="bold"),
            terminal_table(list(_cells(found, kind)), names=("pair",)),
            Text(),
        ]
    if found.judges:
        parts += [Text("Judges of one scorer: Krippendorff's alpha (1 = the same values)", style="bold")]
        parts += [terminal_table(_judges(found), names=("scorer",)), Text()]
    return Group(*parts, Text(NOTE, style="dim"))


def agreement_markdown(found: ScorerAgreement, figure: str = "") -> str:
    """The same as Markdown.

    Args:
        figure: file name of the heatmap beside the page.
    """
    parts = [f"# {_head(found)}\n"]
    if figure:
        parts.append(f"![heatmap]({figure})\n")
    for kind in SHOWN:
        parts += [f"## {kind.capitalize()}\n", to_markdown(list(_cells(found, kind)), names=("pair",))]
    if found.judges:
        parts += ["## Judges of one scorer (Krippendorff's alpha)\n", to_markdown(_judges(found), names=("scorer",))]
    return "\n".join([*parts, NOTE.partition(". ")[2]]) + "\n"


def agreement_csv(found: ScorerAgreement) -> str:
    """Every pair and kind at full precision."""
    return to_csv([row for kind in SHOWN for row in pairs(found.matrices[kind])])


def pairs(matrix: CorrelationMatrix) -> Iterator[dict[str, Any]]:
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


def _head(found: ScorerAgreement) -> str:
    latents = len(set(found.scores.latents))
    return f"Agreement of scorers in {found.run}: {latents} latents, explained by {', '.join(found.scores.explainers)}"


def _matrix(found: ScorerAgreement) -> list[dict[str, str]]:
    lower, upper = (found.matrices[kind] for kind in SHOWN)
    names = found.scores.names
    return [
        {"": f"{i + 1}"}
        | {
            str(j + 1): "" if i == j else number(float((lower if j < i else upper).estimate[i, j]), 2)
            for j in range(len(names))
        }
        for i in range(len(names))
    ]


def _cells(found: ScorerAgreement, kind: Any) -> Iterator[dict[str, str]]:
    for row in pairs(found.matrices[kind]):
        yield {
            "pair": f"{row['a']} – {row['b']}",
            "r": number(row["estimate"], 2),
            "95 % CI": span(row["low"], row["high"], 2),
            "p": p_value(row["p_holm"]),
            "n": str(row["n"]),
        }


def _judges(found: ScorerAgreement) -> list[dict[str, str]]:
    return [
        {"scorer": scorer, "alpha": number(a.estimate, 2), "95 % CI": span(a.low, a.high, 2), "n": str(a.n)}
        for scorer, a in found.judges.items()
    ]
