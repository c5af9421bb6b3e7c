"""Whether judgements are about the windows that the run's scorers would have asked about, with the right answers that these have.

Whoever changes the right answer of a judgement instead of the judge's has tables that fit together, scores that follow from them,
and an explainer that is always right. The suite says otherwise: with the run's seed every question can be made again, without
asking anybody. Comparing the judgements with the windows that they name is the tempting way, and leaves out which were chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from latentbench.kernel.boundary import Fault
from latentbench.kernel.errors import UnknownName
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Outcome
from latentbench.kernel.trial import Trial
from latentbench.leaderboards.rescored import judged_latents
from latentbench.runs.finished import Run
from latentbench.runs.judging import trials_of
from latentbench.scorers.scorer import Judgement, Scorer
from latentbench.suites.store import Suite

CLOSE = 1e-4
"""By how much an activation may differ, relatively: tables have seven digits, windows have four."""


def misjudged_windows(run: Run, suite: Suite, scorers: Mapping[str, Scorer]) -> Iterator[str]:
    """Judgements that no run of this spec has, one sentence for the first of each cell.

    Args:
        suite: that of the run.
        scorers: by label, those of the run.
    """
    texts = texts_of(run)
    views: dict[str, LatentView] = {}
    cells = {cell.cell: cell for cell in run.record.cells if cell.scorer.label in scorers}
    told: set[str] = set()
    for (cell_id, latent), judgements in judged_latents(run, cells):
        cell = cells[cell_id]
        if cell_id in told:
            continue
        try:
            view = views[latent] = views.get(latent) or suite.latent(latent)
        except UnknownName:
            told.add(cell_id)
            yield f"latent {latent!r} of cell {cell_id!r} is none of suite {suite.id}"
            continue
        text = texts.get((cell.explainer.label, cell.repeat, latent))
        trials = trials_of(run.record.spec, cell.repeat, scorers[cell.scorer.label], view, text or "")
        if (text is None or isinstance(trials, Fault)) and any(j.outcome is not Outcome.SKIPPED for j in judgements):
            wrong = "there is no explanation" if text is None else "the scorer asks nothing about its explanation"
        else:
            wrong = "" if isinstance(trials, Fault) else _first_difference(trials, judgements)
        if wrong:
            told.add(cell_id)
            yield f"the judgements of latent {latent!r} in cell {cell_id!r} are not about what this run asks: {wrong}"


def texts_of(run: Run) -> dict[tuple[str, int, str], str | None]:
    """Explanations of a run by the label of their explainer, repeat and latent; None where there is none."""
    table = run.explanations
    columns = (table[name].tolist() for name in ("explainer", "repeat", "latent", "text"))
    return {
        (label, repeat, latent): text if isinstance(text, str) else None
        for label, repeat, latent, text in zip(*columns, strict=True)
    }


def _first_difference(trials: Sequence[Trial], judgements: Sequence[Judgement]) -> str:
    owed = [(trial, place) for trial in trials for place in range(len(trial.truth))]
    if len(owed) != len(judgements):
        return f"there are {len(judgements)}, and {len(owed)} are owed"
    for (trial, place), found in zip(owed, judgements, strict=True):
        asked = trial.judged_at(place)
        said = (found.trial, found.part, found.item, found.kind, found.truth)
        wanted = (trial.id, trial.part, asked.item, asked.kind, asked.truth)
        if said != wanted:
            return f"(trial, part, window, kind, truth) is {said}, and {wanted} is asked"
        if len(trial.token_truth) > place and found.token_truth is not None:
            held: Any = np.asarray(trial.token_truth[place], dtype=np.float64)
            given = np.asarray(found.token_truth, dtype=np.float64)
            # A rated window keeps its largest activation alone.
            fits = given.shape == held.shape and np.allclose(given, held, rtol=CLOSE, atol=CLOSE)
            largest = given.shape == (1,) and np.allclose(given, held.max(initial=0.0), rtol=CLOSE, atol=CLOSE)
            if not fits and not (largest and found.token_scores is None):
                return f"the true activations in window {asked.item} are not those of the suite"
    return ""
