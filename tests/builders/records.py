"""Small run records for tests of what reads them; everything that a test does not say is filled in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from latentbench.kernel.requests import JudgeIdentity
from latentbench.runs.record import (
    CellRecord,
    ExplainerRecord,
    Identities,
    JudgeRecord,
    MetricRecord,
    RunRecord,
    ScorerRecord,
    SuiteRecord,
)
from latentbench.runs.run_spec import RunSpec


def cell(explainer: str, scorer: ScorerRecord, judge: str, repeat: int = 0, **explained: Any) -> CellRecord:
    """A cell of a mock judge; `explained` are more fields of the explainer."""
    return CellRecord(
        cell=f"{explainer}/{scorer.label}/{judge}/{repeat}",
        repeat=repeat,
        explainer=ExplainerRecord(
            **{"label": explainer, "id": f"{explainer}@1-0", "key": "k", "is_floor": False} | explained
        ),
        scorer=scorer,
        judge=JudgeRecord(label=judge, key=f"key of {judge}", identity=JudgeIdentity("mock", judge, "0", "exact")),
    )


def scorer(label: str, floor: float | None = 0.5, metric: str = "m", **fields: Any) -> ScorerRecord:
    """A scorer with one metric."""
    metrics = (MetricRecord(name=metric, floor=floor),)
    return ScorerRecord(
        **{"label": label, "id": f"{label}@1-0", "key": "k", "headline": metric, "metrics": metrics} | fields
    )


def record(cells: Iterable[CellRecord], latents: Sequence[str] = (), **fields: Any) -> RunRecord:
    """A finished run with these cells."""
    cells = tuple(cells)
    names = {
        kind: list(dict.fromkeys(getattr(c, kind).label for c in cells)) for kind in ("explainer", "scorer", "judge")
    }
    spec = RunSpec.model_validate(
        {
            "name": "toy",
            "suite": "toy",
            "explainers": names["explainer"],
            "scorers": names["scorer"],
            "judges": names["judge"],
        }
    )
    filled: dict[str, Any] = {
        "id": "r",
        "name": "toy",
        "status": "complete",
        "command": "bench run toy.yaml",
        "base": "/nowhere",
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 1.0,
        "spec": spec,
        "identities": Identities(suite="d", seed=0),
        "suite": SuiteRecord(name="x", version="1-0", digest="d"),
        "split": "test",
        "latents": tuple(latents),
        "cells": cells,
    }
    return RunRecord(**filled | fields)
