"""Activations as other tools publish them, written from the lists of their fields and by none of the readers' code.

Every writer makes windows of a little language in which each latent fires on one word, so that a suite of them can be scored.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WORDS = (
    "river", "copper", "violin", "tax", "glacier", "pepper", "orbit", "saddle", "lantern", "harbour", "thread", "mosaic",
)  # fmt: skip
SYLLABLES = ("ba", "ke", "lo", "mi", "nu", "ra", "se", "to", "vi", "zu")
FILL = tuple(a + b + c for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES)
"""Words that no latent fires on; so many that two windows seldom share one."""


@dataclass(frozen=True)
class Row:
    """A window: its tokens and a value on each of them."""

    tokens: list[str]
    values: list[float]


def firing(latent: int, n: int, seed: int = 0, length: int = 24) -> list[Row]:
    """Windows in which a latent fires on its word, once or twice, from strong to weak."""
    rng = np.random.default_rng((seed, latent))
    rows = []
    for i in range(n):
        tokens = [f" {w}" for w in rng.choice(FILL, length)]
        values = [0.0] * length
        for place in rng.choice(length, rng.integers(1, 3), replace=False):
            tokens[place] = f" {WORDS[latent % len(WORDS)]}"
            values[place] = round(float(10 * (n - i) / n + rng.random()), 3)
        rows.append(Row(tokens, values))
    return sorted(rows, key=lambda r: -max(r.values))


def silent(n: int, seed: int = 0, length: int = 24) -> list[Row]:
    """Windows without any latent's word."""
    rng = np.random.default_rng((seed, 9999))
    return [Row([f" {w}" for w in rng.choice(FILL, length)], [0.0] * length) for _ in range(n)]


def packed(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """A file of JSON lines, gzipped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()))


def bins(rows: Sequence[Row]) -> list[tuple[float, float, float]]:
    """Bin of each window as SAEDashboard writes them: -1 for the strongest group, else the interval and its share."""
    top = max(max(r.values) for r in rows)
    found = []
    for i, row in enumerate(rows):
        low = np.floor(5 * max(row.values) / top) * top / 5
        found.append((-1.0, -1.0, -1.0) if i < len(rows) // 4 else (float(low), float(low + top / 5), 0.2))
    return found


def neuronpedia(
    folder: Path, latents: int = 4, n: int = 40, batches: int = 2, full: bool = True, own_silent: int = 0
) -> Path:
    """An export of one source; returns its folder.

    Args:
        batches: files over which the latents are dealt; a latent's rows may be in two of them.
        full: with every optional field, fields that nobody knows, and everything that stands beside the activations.
    """
    root = folder / "gemma-2-2b" / "20-gemmascope-res-16k"
    files: list[list[dict[str, Any]]] = [[] for _ in range(batches)]
    features: list[dict[str, Any]] = []
    for latent in range(latents):
        index = 11 * latent
        rows = [*firing(latent, n), *silent(own_silent, seed=latent)]
        for i, (row, (low, high, share)) in enumerate(zip(rows, bins(rows), strict=True)):
            made: dict[str, Any] = {"index": str(index) if i % 2 else index, "tokens": row.tokens, "values": row.values}
            if full:
                made |= {
                    "id": f"act-{index}-{i}",
                    "modelId": "gemma-2-2b",
                    "layer": "20-gemmascope-res-16k",
                    "creatorId": "somebody",
                    "dataSource": None,
                    "maxValue": max(row.values),
                    "minValue": min(row.values),
                    "maxValueTokenIndex": int(np.argmax(row.values)),
                    "dfaValues": [],
                    "dfaMaxValue": None,
                    "dfaTargetIndex": None,
                    "binMin": low,
                    "binMax": high,
                    "binContains": share,
                    "qualifyingTokenIndex": None,
                    "zIndices": [0, 1],
                    "someNewField": {"of": ["next", "year"]},
                }
            files[(latent + (i > n // 2)) % batches].append(made)
        features.append(
            {
                "modelId": "gemma-2-2b",
                "layer": "20-gemmascope-res-16k",
                "index": str(index),
                "maxActApprox": 12.5,
                "frac_nonzero": 0.001 * (latent + 1),
                "pos_str": [f" {WORDS[latent]}", " so"],
                "neg_str": [" not"],
                "pos_values": [1.0, 0.5],
                "hookName": "blocks.20.hook_resid_post",
                "vector": [0.0, 1.0],
                "anotherNewField": 3,
            }
        )
    for number, rows in enumerate(files):
        packed(root / "activations" / f"batch-{number}.jsonl.gz", rows)
    if full:
        packed(root / "features" / "batch-0.jsonl.gz", features)
        source = {
            "id": "20-gemmascope-res-16k",
            "modelId": "gemma-2-2b",
            "dataset": "monology/pile-uncopyrighted",
            "saelensConfig": json.dumps({"d_sae": 16384, "metadata": {"hook_name": "blocks.20.hook_resid_post"}}),
            "num_prompts": 24576,
            "notes": None,
        }
        (root / "source.jsonl").write_text(json.dumps(source) + "\n", encoding="utf-8")
        (root / "model.jsonl").write_text(json.dumps({"id": "gemma-2-2b", "layers": 26}) + "\n", encoding="utf-8")
    return root


def neuron_records(folder: Path, neurons: int = 3, n: int = 40, silent_rows: int = 12, full: bool = True) -> Path:
    """`collated-activations/5/<neuron>.json`; returns the folder above the layer."""
    base = folder / "collated-activations"
    (base / "5").mkdir(parents=True)
    for neuron in range(neurons):
        strongest = firing(neuron, n)
        sample = [*firing(neuron, 6, seed=1), *silent(silent_rows, seed=neuron)]

        def record(row: Row) -> dict[str, Any]:
            said = {"tokens": row.tokens, "activations": row.values}
            return {"dataclass_name": "ActivationRecord", **said, "future": 1} if full else said

        made: dict[str, Any] = {"most_positive_activation_records": [record(r) for r in strongest]}
        if full or silent_rows:
            made["random_sample"] = [record(r) for r in sample]
        if full:
            made |= {
                "dataclass_name": "NeuronRecord",
                "neuron_id": {"dataclass_name": "NeuronId", "layer_index": 5, "neuron_index": neuron},
                "random_sample_by_quantile": [[record(r)] for r in firing(neuron, 4, seed=2)],
                "quantile_boundaries": [0.1, 0.5],
                "mean": 0.1,
                "variance": float("nan"),
                "skewness": float("nan"),
                "kurtosis": float("inf"),
            }
        (base / "5" / f"{neuron}.json").write_text(json.dumps(made), encoding="utf-8")
    return base


def columns(path: Path, latents: int = 4, n: int = 40, **more: Any) -> Path:
    """A Parquet file of windows.

    Args:
        more: optional columns: name -> function of (latent, number of the window, whether it fires).
    """
    rows: dict[str, list[Any]] = {name: [] for name in ("latent", "tokens", "activations", *more)}
    for latent in range(latents):
        for i, row in enumerate([*firing(latent, n), *silent(8, seed=latent)]):
            fires = max(row.values) > 0
            rows["latent"].append(f"mine/{latent}")
            rows["tokens"].append(row.tokens)
            rows["activations"].append(row.values)
            for name, of in more.items():
                rows[name].append(of(latent, i, fires))
    pq.write_table(pa.table(rows), path)
    return path


def word_tokenizer(folder: Path, n: int = 400) -> str:
    """A tokenizer of whole words, `w0` to `w399`, in a folder; returns the folder's name."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(n)}, "w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder)
    return str(folder)


def delphi_cache(
    folder: Path,
    tokenizer: str | None,
    rows: int = 60,
    context: int = 64,
    latents: int = 6,
    splits: int = 2,
    vocabulary: int = 500,
    seed: int = 0,
    copies: int = 0,
) -> Path:
    """A results folder with a cache of one hookpoint, from the field list alone; returns the folder.

    Latent i fires on tokens that are i modulo 50, with a strength that depends on the token before; latent 0 is dead.

    Args:
        copies: rows at the end that repeat the first ones.
    """
    from safetensors.numpy import save_file

    rng = np.random.default_rng(seed)
    tokens = rng.integers(60, vocabulary, (rows, context))
    if copies:
        tokens[-copies:] = tokens[:copies]
    where, values = [], []
    for latent in range(1, latents):
        row, place = np.nonzero(tokens % 50 == latent)
        where.append(np.stack([row, place, np.full(len(row), latent)], axis=1))
        values.append(1 + tokens[row, np.maximum(place - 1, 0)] % 97 / 10)
    locations, activations = np.concatenate(where), np.concatenate(values)
    home = folder / "latents" / "layers.2"
    home.mkdir(parents=True)
    bounds = np.linspace(0, latents, splits + 1).astype(int)
    for start, end in zip(bounds[:-1], bounds[1:] - 1, strict=True):
        mine = (locations[:, 2] >= start) & (locations[:, 2] <= end)
        part = locations[mine] - np.array([0, 0, start])
        data = {
            "locations": part.astype(np.uint16),
            "activations": activations[mine].astype(np.float16),
            "tokens": tokens.astype(np.int64),
        }
        save_file(data, home / f"{start}_{end}.safetensors")
    if tokenizer is not None:
        config = {
            "dataset_repo": "somebody/texts",
            "dataset_split": "train[:1%]",
            "dataset_name": "",
            "dataset_column": "text",
            "batch_size": 8,
            "cache_ctx_len": context,
            "n_tokens": rows * context,
            "n_splits": splits,
            "model_name": tokenizer,
        }
        (home / "config.json").write_text(json.dumps(config, indent=4), encoding="utf-8")
    return folder
