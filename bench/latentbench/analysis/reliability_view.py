"""Reliability as a page, and as rows for programs."""

from __future__ import annotations

import math

from latentbench.analysis.reliability import Reliability, ReliabilityReport, Winner
from latentbench.stats.bootstrap import Interval
from latentbench.stats.resample import Coefficient
from latentbench.views.number import estimate, number, percent
from latentbench.views.page import Block, Bullets, Page, Prose
from latentbench.views.table import Cell, Column, Table

NOTE = (
    "Variance components sum to the total: the variance of one score of a random latent. An estimate below 0 is one of a "
    "component that is small against its error. 95 % CI: generalised, the levels seen are a sample of levels (few levels, "
    "wide interval). Bootstrap: over latents, for effects of latents. The last interaction contains the error of a score."
)


def reliability_page(report: ReliabilityReport) -> Page:
    """One table of components per scorer and explainer, then the best explainers."""
    blocks: list[Block] = [Prose(f"`{report.command}`: {len(report.runs)} runs.", soft=True)]
    for result in report.results:
        blocks += [_components(result), Bullets(_lines(result))]
    blocks.append(Bullets([*map(_winner, report.winners), *(f"left out: {why}" for why in report.left_out)]))
    return Page(f"Reliability: {report.name}", [*blocks, Prose(NOTE, soft=True)])


def reliability_csv(report: ReliabilityReport) -> str:
    """Render every variance component as CSV."""
    return Table.of_records(
        [
            {
                "scorer": r.scorer,
                "explainer": r.explainer,
                "metric": r.headline,
                "effect": c.name,
                "variance": c.estimate,
                "share": c.share,
                "low": c.low,
                "high": c.high,
                "boot_low": c.boot_low,
                "boot_high": c.boot_high,
                "degrees": c.degrees,
                "latents": r.components.latents,
            }
            for r in report.results
            for c in r.components.components
        ]
    ).csv()


def _components(r: Reliability) -> Table:
    """The table of components, the total last; what is exactly 0 everywhere is counted in one line."""
    found = r.components
    varying = [c for c in found.components if max(abs(c.estimate), c.high) > 1e-12 * abs(found.total)]
    rows: list[list[Cell]] = [
        [c.name, c.estimate, c.share, (c.low, c.high), (c.boot_low, c.boot_high), c.degrees] for c in varying
    ]
    still = len(found.components) - len(varying)
    if still:
        rows.append([f"({still} others, exactly 0)", 0.0, 0.0, "", "", ""])
    rows.append(["total", found.total, 1.0, "", "", ""])
    columns = [
        Column("effect", "text"),
        Column("variance", "number", 4),
        Column("share", "percent", 1),
        Column("95 % CI", "number", 4),
        Column("bootstrap", "number", 4),
        Column("df", "count"),
    ]
    return Table(_title(r), columns, rows, conditions=_design(r))


def _title(r: Reliability) -> str:
    return f"{r.scorer}, explained by {r.explainer}{' (floor)' if r.is_floor else ''}: {r.headline}"


def _design(r: Reliability) -> str:
    found = r.components
    levels = ", ".join(f"{n} levels of {f}" for f, n in found.levels.items())
    dropped = f"; {found.dropped} latents without a score in every cell left out" if found.dropped else ""
    fixed = f"; not varied: {', '.join(found.constant)}" if found.constant else ""
    return f"{found.latents} latents x {levels}{dropped}{fixed}"


def _lines(r: Reliability) -> list[str]:
    lines = [
        f"dependability of one score: {_bounded(r.single.relative)} for ranks, {_bounded(r.single.absolute)} for values",
        f"of the mean of all repeats: {_bounded(r.whole.relative)} for ranks, {_bounded(r.whole.absolute)} for values",
    ]
    if r.pearson is not None and r.spearman is not None:
        lines.append(f"test-retest: Pearson {_bounded(r.pearson)}, Spearman {_bounded(r.spearman)}")
    if r.top is not None and not math.isnan(r.top.mean):
        t = r.top
        lines.append(
            f"top {t.k} of {t.items} latents shared by two repeats: {percent(t.mean)} ({percent(t.low)} to {percent(t.high)}; "
            f"chance {percent(t.chance)})"
        )
    return lines


def _bounded(i: Interval | Coefficient) -> str:
    return estimate(i.estimate, i.low, i.high, 2)


def _winner(w: Winner) -> str:
    ranked = sorted(w.means, key=lambda label: -w.wins[label])
    shown = ", ".join(f"{label} {percent(w.wins[label])} (mean {number(w.means[label])})" for label in ranked)
    return f"{w.scorer}: best explainer, share of repeats: {shown}"
