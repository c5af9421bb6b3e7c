"""Row -> what MLflow is told about it. Pure: names and values only, no client.

Every metric carries its n and its bounds as metrics of their own (`auroc`, `auroc_low`, `auroc_high`, `auroc_n`), because a
chart of bare means is what people would otherwise compare.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from latentbench.kernel.identity import joined, text_digest
from latentbench.kernel.requests import JudgeIdentity
from latentbench.leaderboards.row import POOLED, Estimate, Price, Row
from latentbench.runs.finished import Run
from latentbench.views.escape import line, seen

PARAM_CHARS, TAG_CHARS, NAME_CHARS, KEY_CHARS = 6000, 5000, 240, 200
"""MLflow's limits for a parameter's value, a tag's, the name of a run, and, with what is put behind it, a key."""
ENDS = ("", "_low", "_high", "_n", "_floor")
"""What follows a metric's name in the names of its estimate, its bounds, its n and its floor."""


@dataclass(frozen=True)
class TrackedRun:
    """One MLflow run: its name, tags, params and metrics; name and tags are cut to what MLflow holds."""

    name: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", fitting(self.name))
        object.__setattr__(self, "tags", {key: tag(text) for key, text in self.tags.items()})


def tag(text: str) -> str:
    """A tag's value as MLflow stores it."""
    return seen(text)[:TAG_CHARS]


def fitting(name: str, most: int = NAME_CHARS) -> str:
    """A name as MLflow stores it; where it must be cut or cleaned, with a digest that keeps it apart from others."""
    shown = line(name)
    return name if shown == name and len(name) <= most else f"{shown[: most - 9]}.{text_digest(ascii(name))[:8]}"


def searchable(text: str) -> str:
    """A text that can stand between quotes in a search of MLflow, as one can be a folder's name; others with a digest."""
    return text if re.fullmatch(r"[\w .,+=@~-]{1,240}", text) else f"{clean(text)[:200]}.{text_digest(ascii(text))[:8]}"


def clean(name: str) -> str:
    """A name with everything but letters, digits, `_`, `.` and `-` replaced by `_`."""
    return re.sub(r"[^A-Za-z0-9_.\-]", "_", name)


def apart(names: Iterable[str], ends: Sequence[str] = ("",), taken: Iterable[str] = ()) -> dict[str, str]:
    """Name -> the name in MLflow: cleaned, with a digest where that would be another's.

    Args:
        ends: what is put behind each; none of the results may be equal.
        taken: names that are there already.
    """
    used, found = set(taken), {}
    for name in sorted(set(names), key=lambda n: (clean(n) != n, n)):
        own = clean(name)
        # MLflow takes a key for a path, and refuses one that is not its own shortest form.
        odd = len(own) > KEY_CHARS or own.strip(".") != own or not own
        if odd or any(own + end in used for end in ends):
            own = f"{own[:KEY_CHARS].strip('.')}.{text_digest(name)[:8]}".lstrip(".")
        used |= {own + end for end in ends}
        found[name] = own
    return found


def parent(run: Run) -> TrackedRun:
    """The grid as a whole: identities, environment, totals."""
    record = run.record
    hardware = record.hardware.model_dump() if record.hardware is not None else {}
    params: dict[str, object] = {
        "name": record.name,
        "suite": record.suite.id,
        "suite_digest": record.suite.digest,
        "split": record.split,
        "latents": len(record.latents),
        "cells": len(record.cells),
        "seed": record.spec.seed,
        "repeats": record.spec.repeats,
        **{f"version_{k}": v for k, v in record.versions.items()},
        **{f"hardware_{k}": list(v) if isinstance(v, tuple) else v for k, v in hardware.items()},
        **{f"explainer_{label}_key": part.key for label, part in record.explainers.items()},
        **{f"scorer_{label}_key": part.key for label, part in record.scorers.items()},
        **{f"judge_{label}_key": part.key for label, part in record.judges.items()},
    }
    tags = {
        "latentbench.kind": "grid",
        "latentbench.command": record.command,
        "mlflow.source.type": "JOB",
        "mlflow.source.name": record.command,
    }
    if record.git is not None:
        tags |= {"mlflow.source.git.commit": record.git.revision, "latentbench.dirty": str(record.git.dirty).lower()}
    return TrackedRun(run.id, tags, texts(params), _totals(run))


def child(row: Row, identity: JudgeIdentity) -> TrackedRun:
    """One row of the leaderboard.

    Args:
        identity: of the row's judge.
    """
    params = {
        "explainer": row.explainer.label,
        "explainer_id": row.explainer.id,
        "explainer_key": row.explainer.key,
        "explainer_model": row.model,
        "floor": row.is_floor,
        "scorer": row.scorer.label,
        "scorer_id": row.scorer.id,
        "scorer_key": row.scorer.key,
        "headline": row.headline,
        "judge": row.judge.label,
        "judge_key": row.judge.key,
        "qualification": row.qualification,
        "coders": row.coders,
        "coder_kind": row.kind,
        "suite": row.suite.id,
        "suite_digest": row.suite.digest,
        "split": row.split,
        "latents_digest": row.latents,
        "repeats": row.repeats,
        **{f"judge_{k}": [list(pair) for pair in v] if k == "params" else v for k, v in asdict(identity).items()},
    }
    metrics: dict[str, float | None] = {
        **_estimate("score", row.score),
        "worst": row.worst,
        "best": row.best,
        "coverage": row.coverage,
        "n_latents": row.n_latents,
        "n_judged": row.n_judged,
        "n_attempted": row.n_attempted,
        **_price("explain", row.explaining),
        **_price("judge", row.judging),
    }
    of_scorer = {row.headline: row.score, **row.metrics}
    names = apart(of_scorer, ENDS, metrics)
    for name, estimate in of_scorer.items():
        metrics |= _estimate(names[name], estimate)
    of = [row.coders, row.kind] if row.kind and row.coders == POOLED else [row.coders]
    # The tag that finds it again is the name as MLflow has it.
    name = fitting(joined((row.explainer.label, row.scorer.label, row.judge.label, *of), " / "))
    tags = {"latentbench.kind": "row", "latentbench.row": name, "latentbench.floor": str(row.is_floor).lower()}
    return TrackedRun(name, tags, texts(params), numbers(metrics))


def _estimate(name: str, e: Estimate) -> dict[str, float | None]:
    return dict(zip((name + end for end in ENDS), (e.estimate, e.low, e.high, e.n, e.floor), strict=True))


def _price(what: str, price: Price) -> dict[str, float | None]:
    return {f"{what}_{name}_per_latent": value for name, value in price.model_dump().items()}


def _totals(run: Run) -> dict[str, float]:
    found: dict[str, float | None] = {"seconds": run.record.seconds, "failure_rate": run.record.failure_rate}
    for what, table in (("explain", run.explanations), ("judge", run.judgements)):
        for column in ("tokens_in", "tokens_out", "tokens_cached", "cost", "seconds"):
            # A cost is unknown as a whole when one call has no known price.
            found[f"{what}_{column}"] = float(table[column].sum(skipna=False))
        for outcome, n in table["outcome"].value_counts().items():
            found[f"{what}_{outcome}"] = float(n)
    if run.record.totals is not None:
        found |= {f"paid_{name}": float(n) for name, n in run.record.totals.paid.model_dump().items()}
    return numbers(found)


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics that have a value: MLflow stores NaN, and its charts then hide the whole run."""
    names = apart(metrics)
    return {names[name]: float(value) for name, value in metrics.items() if value is not None and value == value}


def texts(params: Mapping[str, object]) -> dict[str, str]:
    """Values as MLflow stores them, without those that are not known."""
    names = apart(params)
    return {names[k]: seen(str(v))[:PARAM_CHARS] for k, v in params.items() if v is not None}
