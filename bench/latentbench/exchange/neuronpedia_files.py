"""A run in Neuronpedia's layout: a batch of explanations for each source, and beside it rows of ExplanationScore.

    <modelId>/<sourceId>/explanations/batch-0.jsonl.gz
    <modelId>/<sourceId>/scores/batch-0.jsonl.gz        a sidecar: scores are in its database and not in its exports

All explainers stand in one batch, told apart by `typeName`, which is the explainer's label. A field that only Neuronpedia can
fill (`authorId`, the embedding's map) is left out or named in the notes; its importer takes the keys of the first line for all.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentbench.exchange.exported_run import ExportedRun, JudgedWindow
from latentbench.kernel.file_name import file_name
from latentbench.kernel.files import replacing
from latentbench.kernel.identity import digest

SCORES: Mapping[str, str] = {
    "detection": "eleuther_recall",
    "fuzzing": "eleuther_fuzz",
    "embedding": "eleuther_embedding",
}
"""Scorers that Neuronpedia has a type of score for."""
AUTHOR = "latentbench"
NOTES = (
    f"Neuronpedia: authorId is {AUTHOR!r}; put your user's id there. embedding and umap fields are its own to compute.",
    "Neuronpedia: value is the scorer's headline here (docs/exchange.md), which may be below 0, and not its own statistic.",
)


def write_neuronpedia(exported: ExportedRun, folder: Path) -> None:
    """Write the batches of all sources."""
    for note in NOTES:
        exported.note(note)
    record = exported.run.record
    model = file_name(exported.subject or record.suite.name)
    texts: dict[str, list[dict[str, Any]]] = {coder: [] for coder in exported.coders}
    scores: dict[str, list[dict[str, Any]]] = {coder: [] for coder in exported.coders}
    for label in exported.chosen:
        ids: dict[str, str] = {}
        for latent, text in exported.texts(label).items():
            if latent not in exported.places:
                continue
            coder, index = exported.places[latent]
            ids[latent] = digest([record.id, label, exported.repeat, latent])
            texts[coder].append(
                {
                    "id": ids[latent],
                    "modelId": model,
                    "layer": coder,
                    "index": str(index),
                    "authorId": AUTHOR,
                    "triggeredById": None,
                    "description": text,
                    "typeName": label,
                    "explanationModelName": record.explainers[label].model,
                    "notes": f"{record.suite.id}, run {record.id}",
                    "createdAt": record.started,
                }
            )
        told: dict[tuple[str, str], str] = {}
        for cell in exported.cells(label):
            kind = cell.scorer.id.partition("@")[0]
            if kind not in SCORES:
                exported.note(f"Neuronpedia has no type of score for {cell.scorer.label}; its scores are left out.")
                continue
            first = told.setdefault((SCORES[kind], cell.judge.identity.label), cell.scorer.label)
            if first != cell.scorer.label:
                exported.note(f"Neuronpedia: {first} and {cell.scorer.label} are both {SCORES[kind]}, by one model.")
            values, details = exported.values(cell), dict(exported.judged(cell))
            for latent, value in values.items():
                if latent not in ids:
                    continue
                score = {
                    "id": digest([ids[latent], cell.cell]),
                    "value": value,
                    "explanationId": ids[latent],
                    "explanationScoreTypeName": SCORES[kind],
                    "explanationScoreModelName": cell.judge.identity.label,
                    "jsonDetails": json.dumps(_details(kind, details.get(latent, ())), ensure_ascii=False),
                }
                scores[exported.places[latent][0]].append(score)
    for coder in exported.coders:
        place = folder / model / file_name(coder)
        _batch(place / "explanations" / "batch-0.jsonl.gz", texts[coder])
        _batch(place / "scores" / "batch-0.jsonl.gz", scores[coder])


def _details(kind: str, windows: Sequence[JudgedWindow]) -> list[dict[str, Any]]:
    if kind == "embedding":
        return [
            {"text": "".join(w.tokens or ()), "distance": _distance(w), "similarity": w.score}
            for w in windows
            if w.score is not None
        ]
    return [
        {
            "str_tokens": None if w.tokens is None else list(w.tokens),
            "activations": None if w.activations is None else list(w.activations),
            "distance": _distance(w),
            "ground_truth": w.truth,
            "prediction": w.answer,
            "highlighted": None,
            "probability": w.score,
            "correct": w.correct,
        }
        for w in windows
    ]


def _distance(window: JudgedWindow) -> int:
    return -1 if window.decile is None else window.decile + 1


def _batch(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with replacing(path) as part:
        # Without the time of writing, so that equal runs give equal bytes.
        part.write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))
