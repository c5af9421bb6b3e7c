"""What a search has spent, and why it must stop.

Spending is written to each trial as it happens and added up over the whole search, so a budget holds over workers, restarts and
trials that failed: a failed call may have been paid as well. Whatever came from the reply cache was not paid.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latentbench.judges.price import cost
from latentbench.kernel.requests import Usage
from latentbench.runs.journal import Asked
from latentbench.tuning.tune_spec import Budget

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from latentbench.runs.journal import ExplainedUnit, JudgedUnit
from latentbench.runs.plan import Plan

FACTS = "facts"
"""User attribute of a trial: what was measured on the latents so far, and `spent`."""


@dataclass(frozen=True)
class Spending:
    """Paid calls and tokens, dollars (0 for local models; None if a price is unknown), minutes in trials."""

    calls: int = 0
    tokens: int = 0
    dollars: float | None = 0.0
    minutes: float = 0.0

    def __add__(self, other: Spending) -> Spending:
        known = None if self.dollars is None or other.dollars is None else self.dollars + other.dollars
        return Spending(self.calls + other.calls, self.tokens + other.tokens, known, self.minutes + other.minutes)

    def over(self, budget: Budget) -> str | None:
        """Say in a sentence which part of the budget is used up; None if there is some left."""
        if budget.dollars is not None and self.dollars is None:
            return (
                "a judge has no known price, so a budget in dollars cannot be kept; add the price to the file that "
                "LATENTBENCH_PRICES names, or set the budget in tokens"
            )
        parts = (
            ("dollars", budget.dollars, self.dollars or 0.0),
            ("tokens", budget.tokens, self.tokens),
            ("minutes", budget.minutes, self.minutes),
        )
        for name, most, used in parts:
            if most is not None and used >= most:
                return f"the budget of {most:g} {name} is used up ({used:.4g} {name} spent)"
        return None


def spent_by(plan: Plan, units: Iterable[ExplainedUnit | JudgedUnit], seconds: float) -> Spending:
    """Add up what a run paid: the `paid` of its journals' units, each priced by the judge that it was paid to.

    Args:
        units: of both journals.
        seconds: how long the run took.
    """
    judge_of = {cell.id: cell.judge for cell in plan.cells}
    total = Spending(minutes=seconds / 60)
    for about, _ in units:
        label = judge_of[about.cell] if isinstance(about, Asked) else plan.models.get(about.explainer)
        paid = about.paid
        if label is None or not paid.calls:
            continue
        usage = Usage(paid.tokens_in, paid.tokens_out, paid.tokens_cached)
        dollars = cost(usage, plan.judges[label].identity)
        total += Spending(paid.calls, paid.tokens_in + paid.tokens_out, dollars)
    return total


def spent(trials: Iterable[FrozenTrial]) -> Spending:
    """Add up what all trials of a search spent."""
    total = Spending()
    for trial in trials:
        if FACTS in trial.user_attrs:
            total += Spending(**trial.user_attrs[FACTS]["spent"])
    return total
