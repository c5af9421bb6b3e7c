"""A run in the layout of SAEBench's autointerp evaluation: one result for each explainer, scorer, judge and coder.

    <explainer>/<scorer>-<judge>/<coder>_eval_results.json

What does not correspond is null: SAEBench samples its own sequences with its own settings, so a number here is comparable with
one of its numbers in name only. Only its own scoring method (`saebench`) is asked in the same way, on this suite's windows.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from latentbench.exchange.exported_run import ExportedRun
from latentbench.kernel.file_name import file_name
from latentbench.kernel.files import write_json
from latentbench.runs.record import CellRecord

SETTINGS = (
    "override_latents", "dead_latent_threshold", "dataset_name", "llm_context_size", "llm_batch_size", "llm_dtype", "buffer",
    "no_overlap", "act_threshold_frac", "total_tokens", "scoring", "max_tokens_in_explanation", "use_demos_in_explanation",
    "n_top_ex_for_generation", "n_iw_sampled_ex_for_generation", "n_top_ex_for_scoring", "n_random_ex_for_scoring",
    "n_iw_sampled_ex_for_scoring",
)  # fmt: skip
"""Settings of its evaluation that have no counterpart here."""


def write_saebench(exported: ExportedRun, folder: Path) -> None:
    """Write a result for each explainer, scorer, judge and coder."""
    exported.note(
        "SAEBench: predictions, correct seqs, sae_cfg_dict, its commit and most of eval_config have no counterpart and are null; "
        "sae_lens_id is the name of the coder in the suite."
    )
    for label in exported.chosen:
        texts = exported.texts(label)
        for cell in exported.cells(label):
            values = exported.values(cell)
            place = folder / file_name(label) / file_name(f"{cell.scorer.label}-{cell.judge.label}")
            for coder in exported.coders:
                rows = {
                    str(index): _row(index, texts[latent], values.get(latent))
                    for latent, (of, index) in exported.places.items()
                    if of == coder and latent in texts
                }
                write_json(place / f"{file_name(coder)}_eval_results.json", _result(exported, cell, coder, rows))


def _row(index: int, text: str, value: float | None) -> dict[str, Any]:
    return {"latent": index, "explanation": text, "predictions": None, "correct seqs": None, "score": value, "logs": ""}


def _result(exported: ExportedRun, cell: CellRecord, coder: str, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    record = exported.run.record
    scores = [row["score"] for row in rows.values() if row["score"] is not None]
    started = datetime.fromisoformat(record.started)
    return {
        "eval_type_id": "autointerp",
        "eval_config": {
            "model_name": exported.subject,
            "n_latents": len(rows),
            "random_seed": record.spec.seed,
            **dict.fromkeys(SETTINGS),
        },
        "eval_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{record.id}/{cell.cell}/{coder}")),
        "datetime_epoch_millis": int(started.timestamp() * 1000),
        "eval_result_metrics": {
            "autointerp": {
                "autointerp_score": float(np.mean(scores)) if scores else None,
                "autointerp_std_dev": float(np.std(scores)) if scores else None,
            }
        },
        "eval_result_details": [],
        "sae_bench_commit_hash": None,
        "sae_lens_id": coder,
        "sae_lens_release_id": None,
        "sae_lens_version": None,
        "sae_cfg_dict": None,
        "eval_result_unstructured": rows,
    }
