"""Audits as tables: Markdown for the documentation, rich for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from latentbench.analysis.qualify.audit import LEAST, Line

TEXT = f"""# Which metrics may be a headline

A metric is admissible if it falls by at least {LEAST} both when half of the true labels are dropped and when the labels are
doubled with false ones (NeuronEval, arXiv 2506.05774). The answers are a perfect judge's on planted latents and stay fixed; the
labels are changed under them. Window level: the label of a judgement changes, its probability and prediction do not. Token level
(simulation): the true activation of a token changes (to 0, or to that of a drawn firing token), the prediction does not.

"As drawn" is the scorer's test set, in which about half of the windows activate. There nearly every metric falls, which says
little; with doubled labels it may have no silent window left, and some metrics are undefined (–). In the second block silent
windows are repeated until positives have the share named there, as for a rare latent: metrics that forgive what is rare do not
fall. That block decides.
"""


def markdown(audits: Mapping[str, Sequence[Line]], command: str, date: str) -> str:
    """The page.

    Args:
        audits: scorer id -> its lines.
    """
    parts = [TEXT, f"`{command}`, {date}. Means over latents.\n"]
    for name, lines in audits.items():
        parts.append(f"## {name}\n")
        head = ("metric", "positives", "value", "halved", "doubled", "admissible")
        body = [head, ("---", *["---:"] * 4, "---"), *map(_cells, lines)]
        parts.append("\n".join("| " + " | ".join(cells) + " |" for cells in body) + "\n")
    return "\n".join(parts)


def terminal(name: str, lines: Sequence[Line]) -> Table:
    """For a terminal of 80 columns."""
    table = Table(box=None, pad_edge=False, title=Text(name), title_justify="left", padding=(0, 2, 0, 0))
    for head in ("metric", "positives", "value", "halved", "doubled", "admissible"):
        table.add_column(Text(head), justify="right" if head in ("value", "halved", "doubled") else "left")
    for line in lines:
        table.add_row(*map(Text, _cells(line)))
    return table


def admissible(metric: str, lines: Sequence[Line]) -> bool:
    """Whether a metric falls on the rare latent; False for one that was not tested."""
    rare = [line for line in lines if line.metric == metric and line.prevalence is not None]
    return bool(rare) and all(line.falls for line in rare)


def _cells(line: Line) -> tuple[str, ...]:
    share = "as drawn" if line.prevalence is None else f"{line.prevalence:g}"
    values = ("–" if math.isnan(x) else f"{x:.4f}" for x in (line.value, line.halved, line.doubled))
    verdict = "" if line.prevalence is None else "yes" if line.falls else "no"
    return (line.metric, share, *values, verdict)
