"""What is said of a run when it has ended, beside its tables: what its calls came to, what was asked before, what was damaged."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from latentbench.judges.cache.cached_judge import CachedJudge
from latentbench.panels.panel_judge import asked
from latentbench.runs.journal import ExplainedUnit, Journal, JudgedUnit
from latentbench.runs.plan import Plan
from latentbench.views.run_line import Standing, end_line
from latentbench.views.terminal import tell


def say_calls(standing: Standing, console: Console) -> None:
    """The calls of this session; nothing where nobody was asked."""
    if said := end_line(standing):
        tell(console, said)


def say_cached(plan: Plan, console: Console) -> None:
    """How much of a run was asked before and when: what answers now may be another model behind the same name."""
    for label, judge in plan.judges.items():
        if isinstance(judge, CachedJudge) and judge.seen.found:
            tell(console, f"{plan.called(label)}: {judge.seen}")


def say_damage(plan: Plan, journals: Iterable[Journal[ExplainedUnit] | Journal[JudgedUnit]], console: Console) -> None:
    """What was found damaged and asked again."""
    for journal in journals:
        if journal.damaged:
            n, s = len(journal.damaged), "s" if len(journal.damaged) > 1 else ""
            tell(console, f"{n:,} damaged line{s} of {journal.path} left out; what stood there is asked again")
    for cache in {judge.cache for judge in asked(plan.judges.values()) if isinstance(judge, CachedJudge)}:
        if cache.damaged:
            n, s = len(cache.damaged), "ies" if len(cache.damaged) > 1 else "y"
            tell(console, f"{n:,} damaged repl{s} of {cache.name} left out and asked again")
