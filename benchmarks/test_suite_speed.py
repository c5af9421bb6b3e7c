"""Suite building per latent at a million tokens; target under 2 ms (`pytest benchmarks/test_suite_speed.py`)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from latentbench.kernel.tables import LATENTS, WINDOWS
from latentbench.suites.build.copies import Copies
from latentbench.suites.build.sampling import WindowPlan, sample, tile
from latentbench.suites.store import load_suite, save_suite

TOKENS, CONTEXT, WINDOW = 1 << 20, 256, 32
PAPER = {"explain": 40, "per_decile": 10, "negatives": 100}


# 32 of 2,304 latents a token is a mean rate of 1.4 %.
@pytest.mark.parametrize("rate", [0.001, 0.014, 0.05])
@pytest.mark.parametrize(("sampling", "centred"), [("quantile", False), ("mix", False), ("quantile", True)])
def test_sampling_one_latent(benchmark, rate, sampling, centred):
    rng = np.random.default_rng(0)
    tiles = tile(np.arange(0, TOKENS + 1, CONTEXT), WINDOW)
    positions = np.flatnonzero(rng.random(TOKENS) < rate).astype(np.uint32)
    values = rng.exponential(size=len(positions)).astype(np.float16)
    plan = WindowPlan(sampling=sampling, centred=centred, **PAPER)
    got = benchmark(sample, positions, values, tiles, plan, 1, 2)
    assert len(got.start) == 240


# `kept` beside `apart` in one run; `apart` over a corpus of which 5 % lies in passages that stand some nine times.
@pytest.mark.parametrize("rule", ["kept", "apart", "apart, 5 % repeated"])
@pytest.mark.parametrize("centred", [False, True])
def test_keeping_copies_apart(benchmark, rule, centred):
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 50_000, TOKENS).astype(np.int32)
    if "repeated" in rule:
        passages = rng.integers(0, 50_000, (500, 12)).astype(np.int32)
        for start in rng.choice(TOKENS // 12 - 1, TOKENS // 240, replace=False) * 12:
            tokens[start : start + 12] = passages[rng.integers(500)]
    copies = None if rule == "kept" else Copies(tokens, WINDOW)
    tiles = tile(np.arange(0, TOKENS + 1, CONTEXT), WINDOW)
    tiles = copies.without_copies(tiles) if copies else tiles
    positions = np.flatnonzero(rng.random(TOKENS) < 0.014).astype(np.uint32)
    values = rng.exponential(size=len(positions)).astype(np.float16)
    plan = WindowPlan(sampling="quantile", centred=centred, **PAPER)
    got = benchmark(sample, positions, values, tiles, plan, 1, 2, copies)
    assert len(got.start) == 240


# A run with a limit looks at some latents of a suite: the first one, which makes the columns ready, and then fifty more.
@pytest.mark.parametrize("what", ["first", "fifty"])
def test_looking_at_latents_of_a_large_suite(benchmark, what, tmp_path):
    n, windows, length = 2_000, 40, 32
    rng = np.random.default_rng(0)
    names = [f"sae/{i}" for i in range(n)]
    latents = pa.Table.from_pylist(
        [{"latent": name, "coder": "sae", "index": i, "split": "test"} for i, name in enumerate(names)], schema=LATENTS
    )
    ids = rng.integers(0, 30_000, n * windows * length).astype(np.int32)
    cuts = pa.array(np.arange(0, len(ids) + 1, length, dtype=np.int32))
    tokens = pa.DictionaryArray.from_arrays(ids, [f" {i}" for i in range(30_000)]).cast(pa.string())
    columns = {
        "latent": np.repeat(np.array(names, object), windows),
        "role": (["explain", "test"] * (windows // 2)) * n,
        "kind": ["quantile:3"] * (n * windows),
        "ids": pa.ListArray.from_arrays(cuts, pa.array(ids)),
        "tokens": pa.ListArray.from_arrays(cuts, tokens),
        "activations": pa.ListArray.from_arrays(cuts, pa.array(rng.random(len(ids)).astype(np.float16))),
        "position": np.arange(n * windows),
        "context": np.arange(n * windows),
    }
    save_suite(tmp_path, {"name": "large", "version": "1-0"}, latents, pa.table(columns, schema=WINDOWS))
    suite = load_suite(tmp_path)
    if what == "first":
        got = benchmark.pedantic(lambda s: s.latent(names[5]), setup=lambda: ((load_suite(tmp_path),), {}), rounds=3)
        assert len(got.test) == windows // 2
    else:
        assert len(benchmark(suite.latents, limit=50)) == 50
