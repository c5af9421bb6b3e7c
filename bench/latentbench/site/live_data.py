"""A run that goes on, as data: how far each stage is, what has no answer and why, and what was explained last.

There are no scores in it. A mean over the latents that happened to be done first compares explainers on different latents, and
the number that somebody saw at a third of the way is the one that is quoted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from latentbench.kernel.errors import BenchError
from latentbench.kernel.requests import Outcome
from latentbench.runs.record import RunRecord, read_record
from latentbench.runs.run_journals import explanation_journal, judgement_journal
from latentbench.views.causes import Causes

LAST = 12
"""Explanations that are shown."""


@dataclass(frozen=True, slots=True)
class LiveStage:
    """One explainer or one cell: latents that are done, and outcomes of its explanations or judgements."""

    stage: str
    label: str
    done: int
    of: int
    outcomes: dict[str, int]


@dataclass(frozen=True, slots=True)
class LiveText:
    """An explanation."""

    explainer: str
    latent: str
    text: str


@dataclass(frozen=True, slots=True)
class LiveRun:
    """How far a run is."""

    id: str
    status: str
    started: str
    suite: str
    latents: int
    stages: tuple[LiveStage, ...]
    causes: tuple[tuple[str, int], ...]
    texts: tuple[LiveText, ...]
    error: str | None = None
    """Why its journals cannot be read."""


def live_run(folder: Path) -> LiveRun:
    """How far a run is, by its record and its journals; whoever writes them is not disturbed.

    Raises:
        RunError: its record cannot be read.
    """
    record = read_record(folder)
    try:
        stages, causes, texts = _read(folder, record)
        error = None
    except BenchError as e:
        stages, causes, texts, error = (), Causes(), (), str(e)
    return LiveRun(
        id=record.id,
        status=record.status,
        started=record.started,
        suite=record.suite.id,
        latents=len(record.latents),
        stages=stages,
        causes=tuple(causes.counts.items()),
        texts=texts,
        error=error,
    )


def _read(folder: Path, record: RunRecord) -> tuple[tuple[LiveStage, ...], Causes, tuple[LiveText, ...]]:
    told = {(w.explainer, w.repeat, e.latent): e for w, e in explanation_journal(folder).units()}
    judged = {(place.cell, place.latent): found for place, found in judgement_journal(folder).units()}
    causes = Causes()
    for explanation in told.values():
        causes.add(explanation.outcome, explanation.error)
    for found in judged.values():
        for judgement in found:
            causes.add(judgement.outcome, judgement.error)
    n = len(record.latents)
    wanted = dict.fromkeys((cell.explainer.label, cell.repeat) for cell in record.cells)
    by_explainer: dict[tuple[str, int], list[tuple[Outcome, ...]]] = {}
    for (label, repeat, _), explanation in told.items():
        by_explainer.setdefault((label, repeat), []).append((explanation.outcome,))
    stages = [
        _stage("explain", _again(label, repeat), n, by_explainer.get((label, repeat), ())) for label, repeat in wanted
    ]
    by_cell: dict[str, list[tuple[Outcome, ...]]] = {}
    for (cell, _), found in judged.items():
        by_cell.setdefault(cell, []).append(tuple(judgement.outcome for judgement in found))
    stages += [
        _stage("judge", _again(" · ".join(cell.labels), cell.repeat), n, by_cell.get(cell.cell, ()))
        for cell in record.cells
    ]
    last = [LiveText(who, latent, e.text) for (who, _, latent), e in told.items() if e.text][-LAST:]
    return tuple(stages), causes, tuple(reversed(last))


def _again(label: str, repeat: int) -> str:
    return f"{label}, repeat {repeat + 1}" if repeat else label


def _stage(stage: str, label: str, of: int, done: Iterable[tuple[Outcome, ...]]) -> LiveStage:
    units = list(done)
    counts = Counter(outcome.value for unit in units for outcome in unit)
    return LiveStage(stage, label, len(units), of, dict(counts))
