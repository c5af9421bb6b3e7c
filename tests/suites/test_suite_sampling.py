"""The sampling core against direct loops over single tokens."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from latentbench.stats.quota import spread
from latentbench.suites.build.draw import Counts, count, draw
from latentbench.suites.build.sampling import EXPLAIN, TEST, WindowPlan, disjoint, read, sample, tile

STRATEGIES = ["top", "random", "quantile", "mix"]


@st.composite
def corpora(draw_):
    """Context lengths, and one latent's firing positions and values (few distinct values, so that ties happen)."""
    lengths = draw_(st.lists(st.integers(1, 60), min_size=1, max_size=30))
    rng = np.random.default_rng(draw_(st.integers(0, 2**32 - 1)))
    n = sum(lengths)
    fires = rng.random(n) < draw_(st.sampled_from([0.0, 0.01, 0.05, 0.3, 0.9, 1.0]))
    positions = np.flatnonzero(fires).astype(np.uint32)
    values = (rng.integers(1, draw_(st.sampled_from([3, 500])), len(positions)) / 8).astype(np.float16)
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), positions, values


@settings(max_examples=300, deadline=None)
@given(
    corpus=corpora(),
    window=st.integers(1, 12),
    explain=st.integers(0, 20),
    sampling=st.sampled_from(STRATEGIES),
    per_decile=st.integers(0, 3),
    negatives=st.integers(0, 12),
    centred=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_every_rule_that_a_suite_promises_holds(
    corpus, window, explain, sampling, per_decile, negatives, centred, seed
):
    offsets, positions, values = corpus
    dense = np.zeros(offsets[-1], dtype=np.float16)
    dense[positions] = values
    tiles = tile(offsets, window)
    plan = WindowPlan(explain, sampling, per_decile, negatives, centred)
    got = sample(positions, values, tiles, plan, seed, seed + 1)

    taken: set[int] = set()
    for start, activations in zip(got.start.tolist(), got.activations, strict=True):
        span = set(range(start, start + window))
        assert not span & taken, "two windows share a corpus position"
        taken |= span
        context = int(np.searchsorted(offsets, start, side="right")) - 1
        assert start + window <= offsets[context + 1], "a window leaves its context"
        assert activations.tolist() == [dense[p] for p in range(start, start + window)]

    fires = (got.activations > 0).any(axis=1)
    assert np.array_equal(fires, got.decile >= 0)
    assert fires[got.role == EXPLAIN].all()
    maxima = got.activations.max(axis=1, initial=0)
    by_decile = sorted(zip(got.decile[fires].tolist(), maxima[fires].tolist(), strict=True))
    for (low, weak), (high, strong) in pairwise(by_decile):
        assert low == high or weak <= strong, "a higher decile holds a weaker window"
    assert (np.diff(maxima[got.role == EXPLAIN].astype(float)) <= 0).all()
    assert (np.diff(got.start[got.role == TEST]) > 0).all()

    # Never more than asked for, and all of it when the candidates suffice.
    assert got.count(EXPLAIN, True) <= explain
    assert got.count(TEST, True) <= plan.positives
    assert got.count(TEST, False) <= negatives
    assert np.bincount(got.decile[(got.role == TEST) & fires], minlength=10).max(initial=0) <= per_decile
    if got.candidates >= plan.positives + explain:
        assert got.count(EXPLAIN, True) == explain
        assert got.count(TEST, True) == plan.positives
    if not centred:
        silent = sum(not dense[s : s + window].any() for s in tiles.start)
        assert got.count(TEST, False) == min(negatives, silent)
        assert got.candidates == len(tiles.start) - silent
    assert got.rate_token == pytest.approx(np.count_nonzero(dense) / offsets[-1])
    assert got.max == dense.max()
    contexts = [dense[a:b].any() for a, b in pairwise(offsets)]
    assert got.rate_context == pytest.approx(np.mean(contexts))

    again = sample(positions, values, tiles, plan, seed, seed + 1)
    assert np.array_equal(got.start, again.start)
    assert np.array_equal(got.role, again.role)


def _latent(n_contexts=80, length=64, rate=0.05, seed=0):
    rng = np.random.default_rng(seed)
    offsets = np.arange(n_contexts + 1) * length
    positions = np.flatnonzero(rng.random(offsets[-1]) < rate)
    return offsets, positions, (rng.permutation(len(positions)) / 16 + 1 / 16).astype(np.float16)


def test_tiling_worked_by_hand():
    tiles = tile(np.array([0, 7, 8, 14]), 3)
    assert tiles.start.tolist() == [0, 3, 8, 11]
    assert tiles.context.tolist() == [0, 0, 2, 2]
    assert tiles.of.tolist() == [0, 0, 0, 1, 1, 1, -1, -1, 2, 2, 2, 3, 3, 3]
    assert tiles.unused == 2


def test_decile_edges_and_decile_of_window_worked_by_hand():
    # Twenty contexts of one window each, maxima 1..20: two windows in each decile.
    offsets = np.arange(21) * 4
    positions = np.arange(20) * 4 + 1
    got = sample(positions, np.arange(1, 21).astype(np.float16), tile(offsets, 4), WindowPlan(0, "top", 2, 0), 0, 0)
    assert got.edges.tolist() == [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 20]
    assert got.decile.tolist() == [d for d in range(10) for _ in range(2)]


@pytest.mark.parametrize("centred", [False, True])
def test_the_test_windows_do_not_depend_on_the_explain_strategy(centred):
    offsets, positions, values = _latent()
    tiles = tile(offsets, 16)
    got = [sample(positions, values, tiles, WindowPlan(20, s, 3, 30, centred), 1, 2) for s in STRATEGIES]
    for other in got[1:]:
        assert np.array_equal(other.start[other.role == TEST], got[0].start[got[0].role == TEST])
    assert got[0].start[got[0].role == EXPLAIN].tolist() != got[2].start[got[2].role == EXPLAIN].tolist()


def test_explain_strategies_choose_as_documented():
    offsets, positions, values = _latent()
    tiles = tile(offsets, 16)
    got = {s: sample(positions, values, tiles, WindowPlan(20, s, 3, 30), 1, 2) for s in STRATEGIES}
    first = got["top"]
    tested = set(first.start[first.role == TEST].tolist())
    dense = np.zeros(offsets[-1])
    dense[positions] = values
    free = sorted((-dense[s : s + 16].max(), s) for s in tiles.start.tolist() if s not in tested)
    top = got["top"]
    assert top.start[top.role == EXPLAIN].tolist() == [s for _, s in free[:20]]
    quantile = got["quantile"]
    assert np.bincount(quantile.decile[quantile.role == EXPLAIN]).tolist() == [2] * 10
    mix = got["mix"]
    assert set(mix.start[mix.role == EXPLAIN].tolist()) >= {s for _, s in free[:10]}
    assert np.bincount(mix.decile[mix.role == EXPLAIN], minlength=10).min() >= 1


def test_every_candidate_is_drawn_with_the_same_frequency():
    offsets, positions, values = _latent(n_contexts=20, rate=0.1)
    tiles = tile(offsets, 16)
    seen: dict[int, int] = {}
    for seed in range(600):
        got = sample(positions, values, tiles, WindowPlan(0, "random", 1, 10), seed, 0)
        for start in got.start[got.decile == 5].tolist():
            seen[start] = seen.get(start, 0) + 1
    decile = got.candidates // 10
    assert decile <= len(seen) <= decile + 1
    assert min(seen.values()) > 0.6 * 600 / len(seen)


def test_scarce_windows_are_shared_in_the_proportion_asked_for():
    offsets = np.arange(31) * 4
    positions = np.arange(30) * 4
    values = np.arange(1, 31).astype(np.float16)
    got = sample(positions, values, tile(offsets, 4), WindowPlan(20, "quantile", 4, 10), 0, 0)
    assert got.count(TEST, True) == 20  # 30 windows x 40 of 60
    assert got.count(EXPLAIN, True) == 10
    assert got.count(TEST, False) == 0


def test_a_centred_window_holds_the_activations_of_its_own_tokens():
    # One peak at position 17 of a context of 40: the tile is 16..23, the centred window 13..20.
    positions = np.array([12, 14, 17, 21])
    values = np.array([1, 2, 9, 3], dtype=np.float16)
    got = sample(positions, values, tile(np.array([0, 40]), 8), WindowPlan(1, "top", 0, 0, centred=True), 0, 0)
    assert got.start.tolist() == [13]
    assert got.activations.tolist() == [[0, 2, 0, 0, 9, 0, 0, 0]]


def test_a_centred_window_is_clipped_to_its_context():
    offsets = np.array([0, 20, 40])
    positions, values = np.array([1, 19, 20, 39]), np.array([4, 3, 2, 1], dtype=np.float16)
    # 19 lies in an unused tail (tiles 0..7, 8..15), so its window is never drawn.
    got = sample(positions, values, tile(offsets, 8), WindowPlan(9, "top", 0, 0, centred=True), 0, 0)
    assert got.start.tolist() == [0, 20]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), max_size=40))
def test_overlaps_are_removed_strongest_first_as_in_a_greedy_loop(peaks):
    window = 10
    start = np.array([i * window + p - window // 2 for i, (p, _) in enumerate(peaks)], dtype=np.int64)
    strength = np.array([s for _, s in peaks], dtype=np.int64)
    kept: list[int] = []
    for i in sorted(range(len(peaks)), key=lambda i: (-strength[i], i)):
        if all(abs(start[i] - start[j]) >= window for j in kept):
            kept.append(i)
    assert np.flatnonzero(disjoint(start, strength, window)).tolist() == sorted(kept)


def test_zero_valued_entries_count_as_silence():
    values = np.array([0, 1, 0], dtype=np.float16)
    got = sample(np.array([0, 5, 9]), values, tile(np.array([0, 12]), 4), WindowPlan(5, "random", 0, 5), 0, 0)
    assert got.start[got.role == EXPLAIN].tolist() == [4]
    assert got.start[got.role == TEST].tolist() == [0, 8]
    assert got.rate_token == pytest.approx(1 / 12)


def test_reading_windows_in_any_order():
    positions, values = np.array([2, 3, 9]), np.array([1, 2, 3], dtype=np.float16)
    assert read(positions, values, np.array([8, 0, 4]), 4).tolist() == [[0, 3, 0, 0], [0, 0, 1, 2], [0, 0, 0, 0]]


@given(st.integers(0, 60), st.lists(st.integers(0, 12), min_size=1, max_size=10))
def test_spread_is_as_even_as_the_room_allows(asked, room):
    quota = spread(asked, room)
    assert sum(quota) == min(asked, sum(room))
    assert all(q <= r for q, r in zip(quota, room, strict=True))
    for q, r in zip(quota, room, strict=True):
        assert q == r or q >= max(quota) - 1


def test_counts_equal_a_direct_loop_across_chunks(monkeypatch):
    monkeypatch.setattr("latentbench.suites.build.draw.CHUNK", 50)
    rng = np.random.default_rng(0)
    tiles = tile(np.array([0, 30, 37, 100]), 8)
    rows = [np.flatnonzero(rng.random(100) < rate) for rate in (0, 0.05, 0.3, 0.9, 0, 0.02)]
    values = [(rng.random(len(r)) < 0.8).astype(np.float16) for r in rows]
    indptr = np.concatenate([[0], np.cumsum([len(r) for r in rows])])
    got = count(indptr, np.concatenate(rows).astype(np.uint32), np.concatenate(values), tiles)
    for i, (row, value) in enumerate(zip(rows, values, strict=True)):
        fires = row[value > 0]
        assert got.tokens[i] == len(fires)
        assert got.windows[i] == len({t for t in tiles.of[fires].tolist() if t >= 0})


def test_latents_are_drawn_equally_from_strata_of_rate_and_split_evenly():
    rng = np.random.default_rng(1)
    tokens = rng.permutation(np.arange(1000))
    counts = Counts(tokens, tokens)
    got = draw(counts, 48, 200, 8, 0.5, 0, "sae")
    assert got.qualifying == 800
    assert len(set(got.index.tolist())) == 48
    assert (np.diff(got.index) > 0).all()
    assert np.bincount(got.stratum).tolist() == [6] * 8
    assert np.bincount(got.stratum, weights=got.tune).tolist() == [3] * 8
    for i, stratum in zip(got.index, got.stratum, strict=True):
        assert 200 + 100 * stratum <= tokens[i] < 300 + 100 * stratum
    assert draw(counts, 48, 200, 8, 0.5, 0, "other").index.tolist() != got.index.tolist()
    assert draw(counts, 48, 200, 8, 0.5, 1, "sae").index.tolist() != got.index.tolist()


def test_too_few_qualifying_latents_are_all_drawn_once():
    counts = Counts(np.arange(20), np.arange(20))
    got = draw(counts, 48, 10, 8, 0.25, 0, "sae")
    assert got.index.tolist() == list(range(10, 20))
    assert got.tune.sum() == 2
