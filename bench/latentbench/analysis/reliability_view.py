"""Reliability as people read it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from latentbench.analysis.reliability import Reliability, ReliabilityReport, Winner
from latentbench.stats.bootstrap import Interval
from latentbench.stats.correlation import Correlation
from latentbench.views.table import number, span, terminal_table, to_csv, to_markdown

if TYPE_CHECKING:
    from rich.console import RenderableType

NOTE = (
    "Variance components sum to the total: the variance of one score of a random latent. An estimate below 0 is one of a "
    "component that is small against its error. 95 % CI: generalised, the levels seen are a sample of levels (few levels, "
    "wide interval). Bootstrap: over latents, for effects of latents. The last interaction contains the error of a score."
)


def reliability_terminal(report: ReliabilityReport) -> RenderableType:
    """One table of components per scorer and explainer; reads at 80 columns."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for result in report.results:
        parts += [Text(_title(result), style="bold"), Text(_design(result), style="dim")]
        parts.append(terminal_table(components(result), names=("effect",)))
        parts += [Text(line) for line in _lines(result)] + [Text()]
    parts += [Text(_winner(w)) for w in report.winners]
    parts += [Text(f"left out: {why}") for why in report.left_out]
    return Group(*parts, Text(NOTE, style="dim"))


def reliability_markdown(report: ReliabilityReport) -> str:
    """The same as Markdown."""
    parts = [f"# Reliability: {report.name}\n", f"`{report.command}`: {len(report.runs)} runs.\n"]
    for result in report.results:
        parts += [f"## {_title(result)}\n", f"{_design(result)}.\n", to_markdown(components(result), names=("effect",))]
        parts.append("\n".join(f"- {line}" for line in _lines(result)) + "\n")
    if report.winners or report.left_out:
        parts.append("\n".join(f"- {line}" for line in (*map(_winner, report.winners), *report.left_out)) + "\n")
    return "\n".join([*parts, NOTE]) + "\n"


def reliability_csv(report: ReliabilityReport) -> str:
    """Every component at full precision."""
    return to_csv(
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
    )


def components(result: Reliability) -> list[dict[str, str]]:
    """Rows of the table of components, the total last."""
    found = result.components
    varying = [c for c in found.components if max(abs(c.estimate), c.high) > 1e-12 * abs(found.total)]
    rows: list[dict[str, Any]] = [
        {
            "effect": c.name,
            "variance": _small(c.estimate),
            "share": "–" if math.isnan(c.share) else f"{c.share:.1%}",
            "95 % CI": f"[{_small(c.low)}, {_small(c.high)}]",
            "bootstrap": "–" if math.isnan(c.boot_low) else f"[{_small(c.boot_low)}, {_small(c.boot_high)}]",
            "df": str(c.degrees),
        }
        for c in varying
    ]
    still = len(found.components) - len(varying)
    if still:
        zero = {"variance": _small(0.0), "share": "0.0%", "95 % CI": "", "bootstrap": "", "df": ""}
        rows.append({"effect": f"({still} others, exactly 0)", **zero})
    total = {"effect": "total", "variance": _small(found.total), "share": "100.0%"}
    return [*rows, {**total, "95 % CI": "", "bootstrap": "", "df": ""}]


def _small(value: float) -> str:
    """Four digits after the point where they say something, two significant ones where the value is large."""
    value = round(value, 4) + 0.0
    if not math.isfinite(value):
        return "–"
    return f"{value:.2g}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 10 else f"{value:.4f}"


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
        f"dependability of one score: {_interval(r.single.relative)} for ranks, {_interval(r.single.absolute)} for values",
        f"of the mean of all repeats: {_interval(r.whole.relative)} for ranks, {_interval(r.whole.absolute)} for values",
    ]
    if r.pearson is not None and r.spearman is not None:
        lines.append(f"test-retest: Pearson {_interval(r.pearson)}, Spearman {_interval(r.spearman)}")
    if r.top is not None and not math.isnan(r.top.mean):
        t = r.top
        lines.append(
            f"top {t.k} of {t.items} latents shared by two repeats: {t.mean:.0%} ({t.low:.0%} to {t.high:.0%}; "
            f"chance {t.chance:.0%})"
        )
    return lines


def _interval(i: Interval | Correlation) -> str:
    return f"{number(i.estimate, 2)} {span(i.low, i.high, 2)}"


def _winner(w: Winner) -> str:
    ranked = sorted(w.means, key=lambda label: -w.wins[label])
    shown = ", ".join(f"{label} {w.wins[label]:.0%} (mean {w.means[label]:.3f})" for label in ranked)
    return f"{w.scorer}: best explainer, share of repeats: {shown}"
