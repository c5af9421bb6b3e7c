"""Synthetic run folders and suites with the schemas of real ones, for tests of whatever reads them.

Scores are computed from the judgements that are written, so that coverage, costs and metrics of a folder agree with each other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from latentbench.kernel.identity import digest, seed_for, table_digest, text_digest
from latentbench.kernel.tables import EXPLANATIONS, JUDGEMENTS, LATENTS, SCORES, SECONDS, WINDOWS, write_table
from latentbench.runs.plan import cells_of

METRICS = [
    {"name": "accuracy", "floor": 0.5, "higher_is_better": True, "low": 0.0, "high": 1.0},
    {"name": "recall", "floor": 0.5, "higher_is_better": True, "low": 0.0, "high": 1.0},
]
WORDS = ("the", " river", " rises", " in", " <b>", " 1897", " and", " falls")


@dataclass(frozen=True)
class Grid:
    """What a synthetic run contains.

    Attributes:
        explainers: label -> probability of a right answer; `empty`, `constant` and `shuffled` are nulls.
        scorers, judges: labels.
        coders: name -> number of latents.
        kinds: name -> kind, as far as it is on record.
        windows: judged windows per latent, half of them active.
        fail: share of judgements with outcome `api`.
        dead: latents (by number) on which every judgement fails.
    """

    explainers: Mapping[str, float] = field(default_factory=lambda: {"llm": 0.85, "tokens": 0.75, "shuffled": 0.5})
    scorers: Sequence[str] = ("detection",)
    judges: Sequence[str] = ("mock",)
    coders: Mapping[str, int] = field(default_factory=lambda: {"res9": 20, "mlp9": 10})
    kinds: Mapping[str, str] = field(default_factory=dict)
    repeats: int = 1
    windows: int = 10
    split: str = "test"
    fail: float = 0.0
    dead: Sequence[int] = ()
    seed: int = 0
    suite: str = "synthetic"
    scorer_version: str = "1-0"
    status: str = "complete"


def latents_of(grid: Grid) -> list[tuple[str, str]]:
    """(latent id, coder) in order."""
    return [(f"{coder}/{i}", coder) for coder, n in grid.coders.items() for i in range(n)]


def build_run(folder: Path, grid: Grid | None = None) -> Path:
    """Write run.json, explanations, judgements and scores; returns the folder."""
    grid = grid or Grid()
    folder.mkdir(parents=True, exist_ok=True)
    places = [
        (e, s, j, r) for s in grid.scorers for j in grid.judges for e in grid.explainers for r in range(grid.repeats)
    ]
    cells = [(c.id, c.explainer, c.scorer, c.judge, c.repeat) for c in cells_of(places)]
    judged: list[dict[str, Any]] = []
    scores: list[dict[str, Any]] = []
    for cell in cells:
        rows, values = _cell(grid, *cell)
        judged += rows
        scores += values
    explained = [
        _explanation(e, r, latent)
        for e in grid.explainers
        for r in range(grid.repeats)
        for latent, _ in latents_of(grid)
    ]
    _write(explained, EXPLANATIONS, folder / "explanations.parquet")
    _write(judged, JUDGEMENTS, folder / "judgements.parquet")
    _write(scores, SCORES, folder / "scores.parquet")
    times = [
        {"table": name, "row": i, "seconds": row["seconds"]}
        for name, rows in (("explanations", explained), ("judgements", judged))
        for i, row in enumerate(rows)
        if row["seconds"]
    ]
    _write(times, SECONDS, folder / "seconds.parquet")
    (folder / "run.json").write_text(json.dumps(_record(folder.name, grid, cells, judged), indent=2), encoding="utf-8")
    return folder


def build_suite(folder: Path, grid: Grid | None = None) -> tuple[Path, str]:
    """Write latents, windows and manifest; returns the folder and the digest."""
    grid = grid or Grid()
    latents, windows = [], []
    for number, (latent, coder) in enumerate(latents_of(grid)):
        latents.append(
            dict.fromkeys(LATENTS.names)
            | {
                "latent": latent,
                "coder": coder,
                "index": int(latent.split("/")[1]),
                "coder_kind": "sae",
                "hookpoint": "layers.1",
                "split": grid.split,
                "stratum": 0,
                "rate_token": 0.01,
                "rate_context": 0.1,
                "max_activation": 4.0,
                "edges": [float(k) for k in range(11)],
                "direction": [0.0] * 4,
                "promoted": ["a"],
                "suppressed": ["b"],
            }
        )
        for k in range(6):
            active = [4.0 if t == (number + k) % len(WORDS) else 0.0 for t in range(len(WORDS))]
            windows.append(
                {
                    "latent": latent,
                    "role": "explain" if k < 3 else "test",
                    "kind": f"quantile:{9 - k}" if k < 5 else "random",
                    "ids": list(range(len(WORDS))),
                    "tokens": list(WORDS),
                    "activations": active if k < 5 else [0.0] * len(WORDS),
                    "position": (number * 6 + k) * 100,
                    "context": number * 6 + k,
                }
            )
    tables = {"latents": _table(latents, LATENTS), "windows": _table(windows, WINDOWS)}
    for name, table in tables.items():
        write_table(table, folder / f"{name}.parquet")
    found = table_digest(tables)
    manifest = {"name": grid.suite, "version": "1-0", "digest": found}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder, found


def set_suite_digest(run: Path, value: str) -> None:
    """Make a run say that it used the suite with this digest."""
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    record["suite"]["digest"] = value
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")


def _cell(
    grid: Grid, cell: str, explainer: str, scorer: str, judge: str, repeat: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    judged: list[dict[str, Any]] = []
    scores: list[dict[str, Any]] = []
    for number, (latent, coder) in enumerate(latents_of(grid)):
        rng = np.random.default_rng(seed_for(grid.seed, explainer, scorer, judge, repeat, latent))
        right = rng.random(grid.windows) < grid.explainers[explainer]
        failed = (rng.random(grid.windows) < grid.fail) | (number in grid.dead)
        label = np.arange(grid.windows) % 2
        answer = np.where(right, label, 1 - label)
        where = {
            "cell": cell,
            "latent": latent,
            "explainer": explainer,
            "scorer": scorer,
            "judge": judge,
            "repeat": repeat,
        }
        judged += [
            where
            | {
                "explanation": text_digest(_text(explainer, latent)),
                "trial": f"{latent}:{w}",
                "part": "",
                "item": w,
                "kind": "quantile:5" if label[w] else "random",
                "truth": int(label[w]),
                "outcome": "api" if failed[w] else "ok",
                "score": None if failed[w] else float(answer[w]),
                "answer": None if failed[w] else int(answer[w]),
                "token_scores": None,
                "token_truth": None,
                "error": "mock failure" if failed[w] else None,
                "tokens_in": 100,
                "tokens_out": 2,
                "tokens_cached": 40,
                "cost": 0.001,
                "seconds": 0.5,
            }
            for w in range(grid.windows)
        ]
        ok = ~failed
        hits = int((right & ok).sum())
        ends = {"accuracy": (hits / grid.windows, (hits + int(failed.sum())) / grid.windows)} if failed.any() else {}
        values = {
            "accuracy": float(right[ok].mean()) if ok.any() else None,
            "recall": float(right[ok & (label == 1)].mean()) if (ok & (label == 1)).any() else None,
        }
        for name, value in values.items():
            if value is None and name != "accuracy":
                continue
            counts: dict[str, Any] = {"n_judged": int(ok.sum()), "n_attempted": grid.windows}
            low, high = ends.get(name, (None, None))
            counts |= {"lowest": low, "highest": high}
            scores.append(where | {"coder": coder, "metric": name, "value": value} | counts)
    return judged, scores


def _explanation(explainer: str, repeat: int, latent: str) -> dict[str, Any]:
    text = _text(explainer, latent)
    return {
        "latent": latent,
        "explainer": explainer,
        "explainer_id": f"{explainer}@1-0",
        "explainer_key": digest(["explainer", explainer]),
        "repeat": repeat,
        "text": text,
        "hash": text_digest(text),
        "outcome": "ok",
        "error": None,
        "note": None,
        "tokens_in": 1000 if explainer == "llm" else 0,
        "tokens_out": 50 if explainer == "llm" else 0,
        "tokens_cached": 0,
        "cost": 0.01 if explainer == "llm" else 0.0,
        "seconds": 2.0 if explainer == "llm" else 0.0,
    }


def _text(explainer: str, latent: str) -> str:
    return f"{explainer} explanation of {latent}: words <like> rivers & dates"


def _record(
    name: str, grid: Grid, cells: list[tuple[str, str, str, str, int]], judged: list[dict[str, Any]]
) -> dict[str, Any]:
    outcomes = {
        o: sum(j["outcome"] == o for j in judged) for o in ("ok", "refusal", "parse", "api", "timeout", "skipped")
    }
    failures = 1 - outcomes["ok"] / len(judged)
    return {
        "layout": 2,
        "id": name,
        "name": "synthetic",
        "status": grid.status,
        "command": "bench run examples/synthetic.yaml",
        "base": "/nowhere",
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 12.5,
        "spec": {
            "name": "synthetic",
            "suite": grid.suite,
            "split": grid.split,
            "explainers": list(grid.explainers),
            "scorers": list(grid.scorers),
            "judges": list(grid.judges),
            "seed": grid.seed,
            "repeats": grid.repeats,
            "max_failures": 0.05,
        },
        "identities": {"suite": digest(grid.suite), "seed": grid.seed},
        "suite": {"name": grid.suite, "version": "1-0", "digest": digest(grid.suite)},
        "kinds": dict(grid.kinds),
        "split": grid.split,
        "latents": [latent for latent, _ in latents_of(grid)],
        "cells": [
            {
                "cell": cell,
                "repeat": repeat,
                "explainer": {
                    "label": explainer,
                    "id": f"{explainer}@1-0",
                    "key": digest(["explainer", explainer]),
                    "is_floor": explainer in ("empty", "constant", "shuffled"),
                    "model": judge if explainer == "llm" else None,
                    "prompts": {"system": "Explain {{ windows }} <b>", "few_shot": []} if explainer == "llm" else {},
                },
                "scorer": {
                    "label": scorer,
                    "id": f"{scorer}@{grid.scorer_version}",
                    "key": digest(["scorer", scorer, grid.scorer_version]),
                    "headline": "accuracy",
                    "metrics": METRICS,
                    "prompts": {"system": f"Judge by {scorer}: {{{{ explanation }}}}"},
                },
                "judge": {
                    "label": judge,
                    "key": digest(["judge", judge]),
                    "identity": {"provider": "mock", "model": judge, "revision": "0", "dtype": "remote", "params": []},
                },
            }
            for cell, explainer, scorer, judge, repeat in cells
        ],
        "versions": {"python": "3.11.0", "latentbench": "0.1.0"},
        "git": {"revision": "0" * 40, "dirty": False},
        "hardware": {"machine": "x86_64", "cores": 2, "threads": 2, "gpus": []},
        "totals": {"explanations": {"ok": 1}, "judgements": outcomes, "paid": {"calls": len(judged)}},
        "failure_rate": failures,
    }


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    def column(f: pa.Field) -> pa.Array:
        values = [row[f.name] for row in rows]
        if f.type == pa.list_(pa.float16()):
            values = [None if v is None else [np.float16(x) for x in v] for v in values]
        return pa.array(values, type=f.type)

    return pa.table({f.name: column(f) for f in schema}, schema=schema)


def _write(rows: list[dict[str, Any]], schema: pa.Schema, path: Path) -> None:
    write_table(_table(rows, schema), path)
