"""Explanations on disk that still stand: those read from other explanations are owed again with any of these.

A call that failed is asked again on resume, and an explainer that reads others had read what was there without it. Keeping what
it wrote is the tempting way, and then a run whose endpoint died and came back has other tables than one where it never did.
Reading again asks nothing new: questions do not depend on what is read, so their replies are stored.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from pathlib import Path

from latentbench.kernel.requests import Outcome
from latentbench.runs import judging
from latentbench.runs.explaining import RETRIED, Explanations, stored
from latentbench.runs.journal import ExplainedUnit, Journal
from latentbench.runs.plan import Plan
from latentbench.runs.run_journals import explanation_journal, judgement_journal
from latentbench.runs.stock import UnitStock


class OnDisk:
    """The journals of a run and what of them still stands; each is read when that is first asked for, and not again.

    Args:
        again: outcomes on disk that are owed again.

    Attributes:
        explanations, judgements: the journals.
    """

    def __init__(self, plan: Plan, folder: Path, again: Collection[Outcome] = RETRIED) -> None:
        self.explanations, self.judgements = explanation_journal(folder), judgement_journal(folder)
        self._plan, self._again = plan, again

    @cached_property
    def done(self) -> Explanations:
        """Explanations that are there; whoever explains adds to them.

        Raises:
            RunError, CorruptTable: the journal cannot be read.
        """
        return standing(self._plan, self.explanations, self._again)

    @cached_property
    def judged(self) -> UnitStock:
        """Units that are there.

        Raises:
            RunError, CorruptTable: a journal cannot be read.
        """
        return judging.stored(self._plan, self.done, self.judgements, self._again)


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
