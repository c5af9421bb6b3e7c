"""Explanations on disk that still stand: those read from other explanations are owed again with any of these.

A call that failed is asked again on resume, and an explainer that reads others had read what was there without it. Keeping what
it wrote is the tempting way, and then a run whose endpoint died and came back has other tables than one where it never did.
Reading again asks nothing new: questions do not depend on what is read, so their replies are stored.
"""

from __future__ import annotations

from collections.abc import Collection

from latentbench.kernel.requests import Outcome
from latentbench.runs.explaining import RETRIED, Explanations, stored
from latentbench.runs.journal import ExplainedUnit, Journal
from latentbench.runs.plan import Plan


def standing(plan: Plan, journal: Journal[ExplainedUnit], again: Collection[Outcome] = RETRIED) -> Explanations:
    """What `stored` finds, without all texts of an explainer and repeat that read from one of which a text is owed.

    Raises:
        RunError, CorruptTable: the journal cannot be read.
    """
    found = stored(journal, again)
    # Explainers stand behind those that they read from, so what is left out here leaves out what was read from it.
    for label, explainer in plan.explainers.items():
        for repeat in range(plan.spec.repeats):
            if any(set(plan.ids) - set(found.get((source, repeat), ())) for source in explainer.after):
                found.pop((label, repeat), None)
    return found
