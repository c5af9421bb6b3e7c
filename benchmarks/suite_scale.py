"""Suites of many latents over many tokens: seconds, peak memory and bytes of each stage, each in a process of its own.

The subject's forward is left out, because it would take an hour for ten million tokens here: a feed of synthetic activations
(a fixed number of latents a token, rates skewed as those of real coders, values exponential) goes through the same code as the
subject's from where the coder has encoded a batch: packing, shards, merging, counting, drawing, and the writing and loading of
the suite. A token's string is a word of its own, because there is no tokenizer; directions are random.

    python benchmarks/suite_scale.py collect FOLDER --tokens 200000 --latents 32768
    python benchmarks/suite_scale.py draw FOLDER --drawn 2000       # of a folder that was collected
    python benchmarks/suite_scale.py write FOLDER --drawn 100000    # the suite of as many latents with 40 windows each
    python benchmarks/suite_scale.py load FOLDER                    # twice: the second time its bytes are known

Each prints one line of JSON. Peak memory is what the process had resident, pages of mapped files included.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from latentbench.corpora.contexts import Context, Tally
from latentbench.kernel.mapped_pages import let_go
from latentbench.subject.activations import activations, shard_work
from latentbench.subject.activations.activation_store import ActivationStore
from latentbench.subject.coders.sparse import SparseLatents
from latentbench.suites.build.draw import count, draw
from latentbench.suites.build.promoted import Effects
from latentbench.suites.build.sampling import WindowPlan, sample, tile
from latentbench.suites.build.suite_tables import CoderPart, WindowTables, latent_table
from latentbench.suites.build.token_strings import TokenStrings
from latentbench.suites.store import load_suite, save_suite
from latentbench.suites.streamed_windows import streamed_windows

CONTEXT, WINDOW, VOCABULARY, WINDOWS_EACH = 256, 32, 49_152, 40
ACTIVE = 32
KINDS = {"RssAnon:": "its own", "RssFile:": "files"}


def synthetic_contexts(tokens: int, tally: Tally) -> Iterator[Context]:
    """Contexts of random tokens."""
    rng = np.random.default_rng(0)
    for number in range(tokens // CONTEXT):
        tally.documents, tally.contexts, tally.tokens = number + 1, number + 1, (number + 1) * CONTEXT
        yield Context(number, (VOCABULARY * rng.random(CONTEXT) ** 3).astype(np.int32))


def synthetic_latents(contexts: list[np.ndarray], latents: int, seed: int) -> SparseLatents:
    """`ACTIVE` latents a token, fewer where one is drawn twice; the rarest fire a hundredth as often as the mean."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.arange(sum(map(len, contexts))), ACTIVE)
    drawn = (latents * rng.random(len(rows)) ** 1.5).astype(np.int64)
    pairs = np.unique(rows * latents + drawn)
    values = rng.exponential(size=len(pairs)).astype(np.float32) + 0.01
    rows, drawn = np.divmod(pairs, latents)
    return SparseLatents(*map(torch.from_numpy, (rows, drawn, values)), None)


def collect(folder: Path, tokens: int, latents: int) -> dict[str, float]:
    """Synthetic activations through `collect`, everything from the encoded batch on being the package's."""
    coder = SimpleNamespace(name="sae", key="k", hookpoint="layers.9", n_latents=latents)
    files = SimpleNamespace(identity="synthetic")
    loaded = SimpleNamespace(
        identity={}, files=files, dtype="bfloat16", bos=None, device=torch.device("cpu"), tokenizer=None
    )
    numbers = iter(range(1 << 30))

    def feed(_session: object, _coders: object, contexts: list[np.ndarray], _batch: int) -> Iterator[tuple[str, Any]]:
        yield "sae", synthetic_latents(contexts, latents, next(numbers))

    def texts(*args: Any) -> Iterator[Context]:
        return synthetic_contexts(tokens, args[-1])

    places = {"contexts": texts, "documents": lambda *a, **k: iter(()), "check_positions": lambda *a: None}
    capture = patch.object(activations, "Capture")
    encode = patch.object(shard_work, "encoded", feed)
    merged: list[float] = []

    def merge(*args: Any) -> dict[str, int]:
        start = time.monotonic()
        found = real_merge(*args)
        merged.append(time.monotonic() - start)
        return found

    real_merge = activations.merge
    with capture, encode, patch.multiple(activations, corpus_identity=lambda _: "synthetic", merge=merge, **places):
        activations.collect(loaded, [coder], SimpleNamespace(max_tokens=None), folder / "store")  # type: ignore[arg-type, list-item]
    size = sum(p.stat().st_size for p in (folder / "store").rglob("*") if p.is_file())
    return {"seconds of merging": merged[0], "GB on disk": size / 1e9}


def draw_windows(folder: Path, drawn: int) -> dict[str, float]:
    """Count, draw latents and draw their windows, as many as the paper asks for, as they lie and centred."""
    store = ActivationStore.open(folder / "store")
    table, tiles = store.coder("sae"), tile(store.contexts, WINDOW)
    start = time.monotonic()
    counts = count(table.indptr, table.position, table.value, tiles)
    took = {"seconds of counting": time.monotonic() - start, "MB before drawing": peak()} | resident()
    index = draw(counts, drawn, 240, 10, 0.5, 0, "sae").index.tolist()
    for centred in (False, True):
        plan = WindowPlan(40, "quantile", 10, 100, centred)
        start = time.process_time()
        for latent in index:
            positions, values = store.latent("sae", latent)
            sample(positions, values, tiles, plan, latent, latent + 1)
            let_go(positions)
            let_go(values)
        took[f"ms a latent{', centred' if centred else ''}"] = (time.process_time() - start) / len(index) * 1000
    return took | {"latents": len(index)}


class Words:
    """A tokenizer with one word per id."""

    def batch_decode(self, windows: list[list[int]], **_: object) -> list[str]:
        """The words one after another."""
        return ["".join(f" w{token}" for token in ids) for ids in windows]


def write_suite(folder: Path, drawn: int) -> dict[str, float]:
    """Draw latents with at most `WINDOWS_EACH` windows, and write their suite as a build does."""
    store = ActivationStore.open(folder / "store")
    table, tiles, strings = store.coder("sae"), tile(store.contexts, WINDOW), TokenStrings(Words())
    start = time.monotonic()
    counts = count(table.indptr, table.position, table.value, tiles)
    latents = draw(counts, drawn, WINDOWS_EACH, 10, 0.5, 0, "sae")
    plan, samples = WindowPlan(10, "quantile", 1, WINDOWS_EACH - 20), []
    for latent in latents.index.tolist():
        positions, values = store.latent("sae", latent)
        samples.append(sample(positions, values, tiles, plan, latent, latent + 1))
        let_go(positions)
        let_go(values)
    took = {"seconds of counting and drawing": time.monotonic() - start, "MB after drawing": peak()}
    start, n = time.monotonic(), len(samples)
    coder = SimpleNamespace(name="sae", kind="sae", hookpoint="layers.9")
    effects = Effects([[0] * 10] * n, [[1] * 10] * n)
    part = CoderPart(coder, latents, samples, torch.randn(n, 576), effects)  # type: ignore[arg-type]
    rows = latent_table([part], plan, strings)
    took |= {"seconds of the table of latents": time.monotonic() - start, "MB after it": peak()}
    start = time.monotonic()
    with streamed_windows(folder / "suite", WindowTables([part], store.tokens, tiles, strings)) as windows:
        took |= {
            "seconds of writing windows": time.monotonic() - start,
            "windows": windows.num_rows,
            "groups": len(windows),
        }
        start = time.monotonic()
        save_suite(folder / "suite", {"name": "large", "version": "1-0"}, rows, windows)
    size = (folder / "suite" / "windows.parquet").stat().st_size
    return took | {"seconds of hashing": time.monotonic() - start, "GB on disk": size / 1e9, "latents": n}


def load(folder: Path) -> dict[str, float]:
    """Load the suite, look at one latent, at 200 spread over the suite, and at 2,000 one after another."""
    start = time.monotonic()
    suite = load_suite(folder / "suite")
    took = {"seconds of loading": time.monotonic() - start}
    ids = suite.ids
    for what, chosen in {
        "first": ids[5:6],
        "200 spread": ids[:: max(1, len(ids) // 200)],
        "2,000 in order": ids[:2000],
    }.items():
        start = time.monotonic()
        for latent in chosen:
            suite.latent(latent)
        took[f"seconds of {what}"] = time.monotonic() - start
    return took


def peak() -> float:
    """Most memory that this process had resident, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def resident() -> dict[str, float]:
    """What this process has resident now, MB: memory of its own, and pages of files, those of libraries included."""
    lines = (line.split() for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return {f"MB of {KINDS[parts[0]]}": float(parts[1]) / 1e3 for parts in lines if parts[0] in KINDS}


def main() -> None:
    """One stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["collect", "draw", "write", "load"])
    parser.add_argument("folder", type=Path)
    for name, default in (("tokens", 200_000), ("latents", 32_768), ("drawn", 2_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    stages = {
        "collect": lambda: collect(given.folder, given.tokens, given.latents),
        "draw": lambda: draw_windows(given.folder, given.drawn),
        "write": lambda: write_suite(given.folder, given.drawn),
        "load": lambda: load(given.folder),
    }
    start = time.monotonic()
    found = stages[given.stage]()
    found |= {"seconds": time.monotonic() - start, "peak MB": peak()}
    print(json.dumps({"stage": given.stage} | {name: round(value, 2) for name, value in found.items()}))


if __name__ == "__main__":
    main()
