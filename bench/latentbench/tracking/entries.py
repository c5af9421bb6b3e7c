"""Run and row -> what MLflow is told about them. Pure: names and values only, no client.

A metric of MLflow is a chart, and runs that have a metric of one name share that chart. So a name says of which scorer and metric
it is (`score/detection/auroc`): under plain `score` one chart held correlations beside average precisions. Every score has its
interval, n, floor and coverage as metrics beside it (`details/auroc_low`, `details/auroc_n`), because bare means are what people
would otherwise compare. The parent has the score of every explainer once more, with judge and explainer in the name, so that
nobody opens children to see which is best. What was spent begins with `spent/`, and MLflow, which sorts by name, shows it last.
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

PARAM_CHARS, TAG_CHARS, NAME_CHARS, KEY_CHARS = 6000, 7900, 240, 200
"""MLflow's limits for a parameter's value, a tag's, the name of a run, and, with what is put behind it, a key."""
PART_CHARS = 45
"""Characters of each of the up to four names between the slashes of a metric's key, so that MLflow takes the whole."""
SCORE, OTHER, SPENT = "score", "secondary", "spent"
"""First words of the metrics that rank, of a scorer's other ones, and of what it took; MLflow sorts by them."""
DETAILS = "details"
"""Folder of what stands beside a score, one below it: MLflow draws a section of charts per folder, so scores stand together."""
ENDS = ("", "_low", "_high", "_n", "_floor", "_coverage", "_worst", "_best")
"""What follows a metric's name in the names of its estimate, interval, n and floor, and of a headline its coverage and bounds."""
LAYOUT_TAG, LAYOUT = "latentbench.layout", "2"
"""How runs are named and laid out in MLflow; the first layout had no such tag."""


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


def apart(
    names: Iterable[str], ends: Sequence[str] = ("",), taken: Iterable[str] = (), most: int = KEY_CHARS
) -> dict[str, str]:
    """Name -> the name in MLflow: cleaned, with a digest where that would be another's.

    Args:
        ends: what is put behind each; none of the results may be equal.
        taken: names that are there already.
        most: characters of a name before it is cut.
    """
    used, found = set(taken), {}
    for name in sorted(set(names), key=lambda n: (clean(n) != n, n)):
        own = clean(name)
        # MLflow takes a key for a path, and refuses one that is not its own shortest form.
        odd = len(own) > most or own.strip(".") != own or not own
        if odd or any(own + end in used for end in ends):
            own = f"{own[:most].strip('.')}.{text_digest(ascii(name))[:8]}".lstrip(".")
        used |= {own + end for end in ends}
        found[name] = own
    return found


def part(label: str) -> str:
    """A label as a part of a metric's key: the same in every run, and no other label's, nor what stands behind another's."""
    own = clean(label)
    odd = own != label or len(own) > PART_CHARS or own.strip(".") != own or not own or own.endswith(ENDS[1:])
    return f"{own[:PART_CHARS].strip('.')}.{text_digest(ascii(label))[:8]}".lstrip(".") if odd else own


def parent(run: Run, rows: Sequence[Row]) -> TrackedRun:
    """The grid as a whole: the headline of every explainer under every scorer and judge, identities, environment, totals.

    Args:
        rows: of the run, one per explainer, scorer and judge.
    """
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
        LAYOUT_TAG: LAYOUT,
        "latentbench.command": record.command,
        "mlflow.source.type": "JOB",
        "mlflow.source.name": record.command,
    }
    if record.git is not None:
        tags |= {"mlflow.source.git.commit": record.git.revision, "latentbench.dirty": str(record.git.dirty).lower()}
    # Folders are often called `run`; what was run is said by the spec.
    name = run.id if record.name in run.id else f"{record.name} ({run.id})"
    return TrackedRun(name, tags, texts(params), _headlines(rows) | _totals(run))


def _headlines(rows: Sequence[Row]) -> dict[str, float]:
    found: dict[str, float | None] = {}
    for row in rows:
        found |= _headline((SCORE, row.scorer.label, row.headline, row.judge.label), row.explainer.label, row)
    return known(found)


def row_name(row: Row) -> str:
    """Name of the MLflow run of a row, by which it is found again: explainer, scorer, judge, and the coder of a row of one."""
    of = [row.coders] if row.coders != POOLED else []
    return fitting(joined((row.explainer.label, row.scorer.label, row.judge.label, *of), " / "))


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
    names = apart(row.metrics, ENDS, most=PART_CHARS)
    metrics = _headline((SCORE, row.scorer.label), row.headline, row)
    for metric, estimate in row.metrics.items():
        metrics |= _estimate(f"{OTHER}/{part(row.scorer.label)}", names[metric], estimate)
    metrics |= {
        **_price("explain", row.explaining),
        **_price("judge", row.judging),
        f"{SPENT}/latents": row.n_latents,
        f"{SPENT}/judgements_attempted": row.n_attempted,
        f"{SPENT}/judgements_answered": row.n_judged,
    }
    name = row_name(row)
    tags = {
        "latentbench.kind": "row",
        LAYOUT_TAG: LAYOUT,
        "latentbench.row": name,
        "latentbench.floor": str(row.is_floor).lower(),
    }
    return TrackedRun(name, tags, texts(params), known(metrics))


def _headline(folder: Sequence[str], name: str, row: Row) -> dict[str, float | None]:
    place, own = "/".join(map(part, folder)), part(name)
    last = {"_coverage": row.coverage, "_worst": row.worst, "_best": row.best}
    more = {f"{place}/{DETAILS}/{own}{end}": value for end, value in last.items()}
    return {**_estimate(place, own, row.score), **more}


def _estimate(place: str, name: str, e: Estimate) -> dict[str, float | None]:
    more = {"_low": e.low, "_high": e.high, "_n": e.n, "_floor": e.floor}
    return {f"{place}/{name}": e.estimate, **{f"{place}/{DETAILS}/{name}{end}": value for end, value in more.items()}}


def _price(what: str, price: Price) -> dict[str, float | None]:
    return {f"{SPENT}/{what}_{name}_per_latent": value for name, value in price.model_dump().items()}


def _totals(run: Run) -> dict[str, float]:
    found: dict[str, float | None] = {"seconds": run.record.seconds, "failure_rate": run.record.failure_rate}
    for what, table in (("explain", run.table("explanations")), ("judge", run.table("judgements"))):
        for column in ("tokens_in", "tokens_out", "tokens_cached", "cost", "seconds"):
            # A cost is unknown as a whole when one call has no known price.
            found[f"{what}_{column}"] = float(table.column(column).sum(skipna=False))
        for outcome, n in table.counts("outcome").items():
            found[f"{what}_{outcome}"] = float(n)
    if run.record.totals is not None:
        found |= {f"paid_{name}": float(n) for name, n in run.record.totals.paid.model_dump().items()}
    return {f"{SPENT}/{name}": value for name, value in numbers(found).items()}


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics that have a value, under names that MLflow takes."""
    names = apart(metrics)
    return known({names[name]: value for name, value in metrics.items()})


def known(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics that have a value: MLflow stores NaN, and its charts then hide the whole run."""
    return {name: float(value) for name, value in metrics.items() if value is not None and value == value}


def texts(params: Mapping[str, object]) -> dict[str, str]:
    """Values as MLflow stores them, without those that are not known."""
    names = apart(params)
    return {names[k]: seen(str(v))[:PARAM_CHARS] for k, v in params.items() if v is not None}
