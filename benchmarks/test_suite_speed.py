"""Suite building per latent at a million tokens; target under 2 ms (`pytest benchmarks/test_suite_speed.py`)."""

from __future__ import annotations

import numpy as np
import pytest
from latentbench.suites.build.sampling import WindowPlan, sample, tile

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
