"""Audits of metrics as tables, and as the page of the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from latentbench.analysis.qualify.audit import LEAST, AuditLine
from latentbench.views.page import Block, Page, Prose
from latentbench.views.table import Cell, Column, Table

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


def markdown(audits: Mapping[str, Sequence[AuditLine]], command: str, date: str) -> str:
    """The page.

    Args:
        audits: scorer id -> its lines.
    """
    blocks: list[Block] = [Prose(f"`{command}`, {date}. Means over latents.")]
    return f"{TEXT}\n{Page('', [*blocks, *(audit_table(name, lines) for name, lines in audits.items())]).markdown()}"


def audit_table(name: str, lines: Sequence[AuditLine]) -> Table:
    """The lines of one scorer."""
    columns = [Column("metric", "text"), Column("positives", "number")]
    columns += [Column(head, "number", 4) for head in ("value", "halved", "doubled")]
    return Table(name, [*columns, Column("admissible", "text")], [_cells(line) for line in lines])


def admissible(metric: str, lines: Sequence[AuditLine]) -> bool:
    """Whether a metric falls on the rare latent; False for one that was not tested."""
    rare = [line for line in lines if line.metric == metric and line.prevalence is not None]
    return bool(rare) and all(line.falls for line in rare)


def _cells(line: AuditLine) -> list[Cell]:
    share = "as drawn" if line.prevalence is None else f"{line.prevalence:g}"
    verdict = "" if line.prevalence is None else "yes" if line.falls else "no"
    return [line.metric, share, line.value, line.halved, line.doubled, verdict]
