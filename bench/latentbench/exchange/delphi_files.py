"""A run in delphi's layout: for each explainer and judge a result folder as delphi leaves one.

    <explainer>/<judge>/explanations/<hookpoint>_latent<i>.txt     one JSON string
    <explainer>/<judge>/scores/detection|fuzz|embedding/<hookpoint>_latent<i>.txt
    <explainer>/<judge>/run_config.json

The hookpoint is the module that the coder reads, or the coder's name where another coder of the suite reads the same one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentbench.exchange.exported_run import ExportedRun, JudgedWindow
from latentbench.kernel.file_name import file_name
from latentbench.kernel.files import write_json, write_text

FOLDERS: Mapping[str, str] = {"detection": "detection", "fuzzing": "fuzz", "embedding": "embedding"}
"""Scorers that delphi has -> its name for their folder."""
UNKNOWN = ("cache_cfg", "constructor_cfg", "sampler_cfg", "explainer_provider", "max_latents", "fuzz_type")
SILENT = -1
"""`distance` of a window in which the latent is silent."""


def write_delphi(exported: ExportedRun, folder: Path) -> None:
    """Write a result folder for each explainer and judge."""
    exported.note(f"delphi: run_config.json has null for {', '.join(UNKNOWN)}, which this project does not have.")
    hookpoints = _hookpoints(exported)
    for label in exported.chosen:
        texts = {latent: text for latent, text in exported.texts(label).items() if latent in exported.places}
        for judge in dict.fromkeys(cell.judge.label for cell in exported.cells(label)):
            place = folder / file_name(label) / file_name(judge)
            for latent, text in texts.items():
                write_text(
                    place / "explanations" / _name(exported, hookpoints, latent), json.dumps(text, ensure_ascii=False)
                )
            _write_scores(exported, place, label, judge, hookpoints, set(texts))
            write_json(place / "run_config.json", _config(exported, label, judge, hookpoints))


def _hookpoints(exported: ExportedRun) -> dict[str, str]:
    known = exported.hookpoints
    often = Counter(known.values())
    own = {coder: known.get(coder, coder) for coder in exported.coders}
    return {coder: place if often[place] < 2 and "/" not in place else coder for coder, place in own.items()}


def _name(exported: ExportedRun, hookpoints: Mapping[str, str], latent: str) -> str:
    coder, index = exported.places[latent]
    return f"{hookpoints[coder].replace('/', '--')}_latent{index}.txt"


def _write_scores(
    exported: ExportedRun, place: Path, label: str, judge: str, hookpoints: Mapping[str, str], explained: set[str]
) -> None:
    taken: set[str] = set()
    for cell in exported.cells(label):
        if cell.judge.label != judge:
            continue
        kind = cell.scorer.id.partition("@")[0]
        if kind not in FOLDERS or FOLDERS[kind] in taken:
            why = "writes its scores in a form that is not made here" if kind not in FOLDERS else "has its folder taken"
            exported.note(f"delphi: scorer {cell.scorer.label} {why}; its scores are left out.")
            continue
        taken.add(FOLDERS[kind])
        for latent, windows in exported.judged(cell):
            if latent in explained:
                rows = (
                    [_embedded(w) for w in windows if w.score is not None]  # delphi has no failed embedding
                    if kind == "embedding"
                    else [_classified(w) for w in windows]
                )
                path = place / "scores" / FOLDERS[kind] / _name(exported, hookpoints, latent)
                write_text(path, json.dumps(rows, ensure_ascii=False))


def _distance(window: JudgedWindow) -> int:
    return SILENT if window.decile is None else window.decile + 1


def _classified(window: JudgedWindow) -> dict[str, Any]:
    return {
        "str_tokens": list(window.tokens or ()),
        "activations": list(window.activations or ()),
        "distance": _distance(window),
        "activating": window.truth,
        "prediction": window.answer,
        "probability": window.score,
        "correct": window.correct,
    }


def _embedded(window: JudgedWindow) -> dict[str, Any]:
    return {"text": "".join(window.tokens or ()), "distance": _distance(window), "similarity": window.score}


def _config(exported: ExportedRun, label: str, judge: str, hookpoints: Mapping[str, str]) -> dict[str, Any]:
    record = exported.run.record
    cells = [cell for cell in exported.cells(label) if cell.judge.label == judge]
    return {
        "name": record.id,
        "model": exported.subject,
        "sparse_model": record.suite.id,
        "hookpoints": list(hookpoints.values()),
        "explainer": record.explainers[label].id,
        "explainer_model": record.explainers[label].model,
        "scorer_model": cells[0].judge.identity.label,
        "scorers": list(
            dict.fromkeys(FOLDERS.get(cell.scorer.id.partition("@")[0], cell.scorer.label) for cell in cells)
        ),
        "seed": record.spec.seed,
        **dict.fromkeys(UNKNOWN),
    }
