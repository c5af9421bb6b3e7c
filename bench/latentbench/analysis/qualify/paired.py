"""Two ways of judging compared on the same planted latents: how much oftener one puts the truth above its decoys.

The rows of the judge leaderboard have intervals of their own, and two intervals that overlap say little about a difference: most
of their width is that some latents are hard for everybody, which pairing by latent takes out. Runs may have other scorers and
other numbers of windows; what is compared is the share of decoys that the truth outranks, which has no unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from latentbench.analysis.qualify.qualify_measures import group, outranks
from latentbench.explainers.planted_truth import EVERY
from latentbench.kernel.errors import DataError
from latentbench.runs.finished import load_run
from latentbench.runs.record import read_record
from latentbench.stats.bootstrap import Difference, paired_difference
from latentbench.suites.planted.planted_suite import NEAR
from latentbench.views.table import Cell, Column, Table

DECOYS: dict[str, tuple[str, ...]] = {"near": NEAR, "unrelated": ("unrelated",)}


@dataclass(frozen=True, slots=True)
class DecoyDifference:
    """Difference of one kind of decoy.

    Attributes:
        decoy: `near` or `unrelated`.
        first, second: mean share outranked, over the latents that both judged.
        difference: first - second, with its 95 % interval and two-sided p.
        latents: how many.
    """

    decoy: str
    first: float
    second: float
    difference: Difference
    latents: int


def paired(first: Path, second: Path, seed: int = 0) -> list[DecoyDifference]:
    """Compare two finished qualification runs on their common latents.

    Args:
        first, second: run folders that `bench judge qualify` left.

    Raises:
        DataError: not a qualification run, another suite digest, or no common latent.
    """
    (one, suite_one), (two, suite_two) = headline(first), headline(second)
    if suite_one != suite_two:
        raise DataError(f"{first} and {second} are not about the same suite: {suite_one} and {suite_two}.")
    found = []
    for decoy, groups in DECOYS.items():
        over = [name for name in EVERY if group(name) in groups]
        a, b = outranks(one, over).align(outranks(two, over), join="inner")
        if not len(a):
            raise DataError(f"{first} and {second} have no latent in common.")
        result = paired_difference(a.to_numpy(), b.to_numpy(), list(a.index), seed=seed)
        found.append(DecoyDifference(decoy, float(a.mean()), float(b.mean()), result, len(a)))
    return found


def headline(folder: Path) -> tuple[pd.DataFrame, str]:
    """Headline scores of a qualification run, one row per latent and one column per explanation, and the suite's digest."""
    run = load_run(folder)
    if "truth" not in run.record.explainers:
        raise DataError(f"{folder} is not a run of `bench judge qualify`: nothing in it is explained by the truth.")
    table = run.per_latent().pivot_table(index="latent", columns="explainer", values="value")
    return table, run.record.suite.digest


def table(first: Path, second: Path, found: list[DecoyDifference]) -> Table:
    """A line per decoy: shares of latents, and their difference."""
    columns = [Column("truth above", "text"), Column("first", "percent"), Column("second", "percent")]
    columns += [Column("difference", "signed"), Column("95 % CI", "number"), Column("p", "p"), Column("n", "count")]
    rows: list[list[Cell]] = []
    for x in found:
        d = x.difference.interval
        rows.append([x.decoy, x.first, x.second, d.estimate, (d.low, d.high), x.difference.p, x.latents])
    return Table(f"{_title(first)} against {_title(second)}", columns, rows)


def _title(folder: Path) -> str:
    cell = read_record(folder).cells[0]
    return f"{cell.scorer.label} by {cell.judge.label}"
