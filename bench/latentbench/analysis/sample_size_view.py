"""A number of latents as a page: what to expect of each number, which one suffices, and what that rests on."""

from __future__ import annotations

from collections.abc import Sequence

from latentbench.analysis.sample_size import KnownSpread, SampleSize
from latentbench.stats.bootstrap import FEWEST
from latentbench.stats.power import MOST, WIDER
from latentbench.views.number import count, number, percent
from latentbench.views.page import Block, Bullets, Page, Prose
from latentbench.views.table import Cell, Column, Table


def sample_size_page(plans: Sequence[SampleSize]) -> Page:
    """The tables of each scorer and judge, and the assumptions of all.

    Args:
        plans: at least one, of one pilot or one statement.
    """
    blocks: list[Block] = []
    for plan in plans:
        blocks += [*_pilot(plan), *_tables(plan), Bullets([*_needed(plan), *_wider(plan)]), Prose("")]
    return Page("How many latents", [*blocks, Bullets(assumptions(plans[0]), soft=True)])


def _pilot(plan: SampleSize) -> list[Table]:
    """The spreads that a pilot measured, the ones that count first."""
    known = [s for s in (plan.one, plan.pairs, *plan.others) if s is not None and s.n]
    columns = [
        Column("pilot", "text"),
        Column("mean", "number"),
        Column("sd", "number"),
        Column("95 % CI of the sd", "number"),
        Column("latents", "count"),
    ]
    rows = [[s.of, s.mean, s.sd, (s.low, s.high), s.n] for s in known]
    return [Table(f"Pilot: {plan.about}", columns, rows)] if rows else []


def _tables(plan: SampleSize) -> list[Table]:
    """What to expect of each number of latents, of one score and of a difference."""
    effect = "" if plan.effect is None else f"; the effect is {plan.effect:g}"
    found = []
    for spread, title in ((plan.one, "One score"), (plan.pairs, "Difference of two explainers on the same latents")):
        if spread is None:
            continue
        columns = [Column("latents", "count"), Column("interval +-", "number")]
        columns += [Column("effect found", "percent")] if plan.effect is not None else []
        columns.append(Column("least found", "number"))
        rows: list[list[Cell]] = []
        for n in plan.sizes:
            chance = [spread.chance(plan.effect, n, plan.alpha)] if plan.effect is not None else []
            rows.append([n, spread.half_width(n), *chance, spread.detectable(n, plan.alpha, plan.wanted)])
        told = f"{title}: {plan.about}, sd {number(spread.sd)}{effect}"
        found.append(Table(told, columns, rows))
    return found


def _needed(plan: SampleSize) -> list[str]:
    """Sentences with the number of latents that suffices."""
    if plan.effect is None:
        return []
    lines = []
    for spread, what in (
        (plan.one, "one score {effect} away from a fixed value, such as chance"),
        (plan.pairs, "two explainers that differ by {effect} on the same latents"),
    ):
        if spread is None:
            continue
        told = what.format(effect=f"{plan.effect:g}")
        found = spread.needed(plan.effect, plan.alpha, plan.wanted)
        lines.append(
            f"{_count(found)} latents: {told} ({percent(plan.wanted)} of experiments show it){_range(plan, spread)}."
        )
    return lines


def _range(plan: SampleSize, spread: KnownSpread) -> str:
    if spread.low is None or spread.high is None or plan.effect is None:
        return ""
    low, high = (spread.needed(plan.effect, plan.alpha, plan.wanted, sd) for sd in (spread.low, spread.high))
    return f"; {_count(low)} to {_count(high)} over the interval of the pilot's sd"


def _wider(plan: SampleSize) -> list[str]:
    """Where a pilot's own intervals are wider than those of normal scores."""
    wide = [f"{number(s.wider, 2)} times ({s.of})" for s in (plan.one, plan.pairs) if s and s.wider > WIDER + 0.005]
    if not wide:
        return []
    told = ", ".join(wide)
    return [
        f"The pilot's own intervals are wider than Student's: {told}. It is counted in; with more latents it shrinks."
    ]


def _count(n: int | None) -> str:
    return f"more than {count(MOST)}" if n is None else count(n)


def assumptions(plan: SampleSize) -> list[str]:
    """What the numbers rest on, one sentence each."""
    pairs = plan.pairs
    lines = [
        "Interval +- is half of the 95 % interval"
        + (", effect found the probability that p falls below the level" if plan.effect is not None else "")
        + f", least found the smallest true effect that {percent(plan.wanted)} of experiments show. Below {FEWEST} latents "
        "nothing is claimed."
    ]
    level = "The level is 5 %."
    if plan.comparisons > 1:
        level = (
            f"The level is 5 % over {plan.comparisons} comparisons, which is what Holm's correction leaves to the smallest p. "
            "Intervals stay at 95 %."
        )
    lines.append(level)
    if pairs.n:
        lines.append(
            "Assumed: the run to come has other latents of the same coders, with the same windows per latent"
            + (f" and {plan.repeats} repeats" if plan.repeats > 1 else "")
            + ", and every score comes back. The largest spread of the pilot counts; its interval says how well it is known."
        )
    elif plan.correlation is not None:
        lines.append(
            f"Assumed: the sd is that of one explainer's scores over latents, and two explainers' scores correlate by "
            f"{number(plan.correlation, 2)} over latents: sd of differences {number(pairs.sd)} = sd x sqrt(2 (1 - correlation)). "
            "A pilot says how much it is: bench power RUN."
        )
    else:
        lines.append("Assumed: the sd is that of the differences of two explainers on the same latent.")
    lines.append(
        f"Intervals and tests of this project are counted as {number(WIDER, 2)} times as wide as Student's, which they are for "
        "normal scores. Skewed or mostly equal scores have wider ones (docs/statistics.md)."
    )
    if plan.effect is None:
        lines.append(
            "No effect was named, so no number of latents is said to suffice. Name the smallest difference that would matter to "
            "you: --effect 0.05. The difference that a pilot saw is not it: differences that look large are large by luck, too."
        )
    return lines
