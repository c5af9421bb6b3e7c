"""A run as logs of Inspect: one for each explainer, scorer and judge, with a sample for each latent and repeat.

The explanation is the sample's input and the scorer's headline its score; a latent without a score has none, which Inspect counts
as unscored. Inspect's log has no place for the windows and answers of one latent but free metadata, so those are counts alone.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from latentbench.exchange.exported_run import ExportedRun
from latentbench.kernel.file_name import file_name
from latentbench.kernel.files import write_json
from latentbench.kernel.identity import digest
from latentbench.runs.record import CellRecord, Labels

VERSION = 2
"""Layout of Inspect's log."""


def write_inspect(exported: ExportedRun, folder: Path) -> None:
    """Write the logs."""
    exported.note("inspect: messages, model output and tokens are not in the log; they are in the run's tables.")
    # Inspect lists no log whose name does not begin with a time.
    stamp = exported.run.record.started.replace(":", "-")
    for labels, cells in exported.run.record.grid.items():
        if labels[0] in exported.chosen:
            name = "_".join(file_name(label) for label in labels)
            write_json(folder / f"{stamp}_{name}.json", _log(exported, labels, cells))


def _log(exported: ExportedRun, labels: Labels, cells: tuple[CellRecord, ...]) -> dict[str, Any]:
    record, cell = exported.run.record, cells[0]
    samples = _samples(exported, cells)
    values = [s["scores"][cell.scorer.label]["value"] for s in samples if s["scores"]]
    mean = math.fsum(values) / len(values) if values else None
    score = {
        "name": cell.scorer.label,
        "scorer": cell.scorer.label,
        "scored_samples": len(values),
        "unscored_samples": len(samples) - len(values),
        "params": {},
        "metrics": {} if mean is None else {"mean": {"name": "mean", "value": mean, "params": {}}},
        "metadata": {"headline": cell.scorer.headline, "scorer": cell.scorer.id, "floor": cell.scorer.ranking.floor},
    }
    latents = list(record.latents)
    return {
        "version": VERSION,
        "status": "success",
        "eval": {
            "eval_id": digest([record.id, *labels]),
            "run_id": record.id,
            "created": record.started,
            "task": f"{cell.scorer.label}: {cell.explainer.label}",
            "task_id": digest([record.suite.digest, cell.scorer.key]),
            "task_version": cell.scorer.id.partition("@")[2],
            "task_args": {
                "explainer": cell.explainer.id,
                "explainer_key": cell.explainer.key,
                "scorer_key": cell.scorer.key,
            },
            "dataset": {"name": record.suite.id, "samples": len(latents), "sample_ids": latents, "shuffled": False},
            "model": cell.judge.identity.label,
            "config": {"epochs": record.spec.repeats},
            "packages": {"latentbench": record.versions.get("latentbench", "")},
            "metadata": {"suite_digest": record.suite.digest, "split": record.split, "command": record.command},
        },
        "plan": {"name": "plan", "steps": []},
        "results": {"total_samples": len(samples), "completed_samples": len(samples), "scores": [score]},
        "stats": {"started_at": record.started, "completed_at": record.started, "model_usage": {}},
        "samples": samples,
    }


def _samples(exported: ExportedRun, cells: tuple[CellRecord, ...]) -> list[dict[str, Any]]:
    explanations, scores = exported.run.explanations, exported.run.scores
    found = []
    for cell in cells:
        told = explanations[
            (explanations["explainer"] == cell.explainer.label) & (explanations["repeat"] == cell.repeat)
        ]
        own = scores[(scores["cell"] == cell.cell) & (scores["metric"] == cell.scorer.headline)]
        counts = {row["latent"]: row for row in own.to_dict("records")}
        for row in told.to_dict("records"):
            score = counts.get(row["latent"])
            value = score["value"] if score is not None else None
            text = row["text"] if isinstance(row["text"], str) else None
            meta = {"outcome": row["outcome"], "explained": text is not None}
            if score is not None:
                meta |= {"judged": int(score["n_judged"]), "attempted": int(score["n_attempted"])}
            found.append(
                {
                    "id": row["latent"],
                    "epoch": cell.repeat + 1,
                    "input": text or "",
                    "target": "",
                    "scores": None
                    if value is None or not math.isfinite(value)
                    else {cell.scorer.label: {"value": float(value), "metadata": meta}},
                    "metadata": meta,
                }
            )
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]
