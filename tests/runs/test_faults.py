"""Faults of earlier tools, and the test that fails if one comes back.

The table is checked, so a test that is renamed or deleted is missed here. Faults without a natural home are tested below.
"""

from __future__ import annotations

import ast
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from latentbench.explainers.explainer import Explanation, load_explainer
from latentbench.kernel.identity import seed_for
from latentbench.kernel.requests import Outcome
from latentbench.leaderboards.row import read_rows
from latentbench.scorers.scorer import Judgement, load_scorer
from latentbench.stats.bootstrap import bootstrap_mean
from latentbench.suites.build.sampling import EXPLAIN, TEST, WindowPlan, sample, tile

from tests.builders.run_builder import Grid, build_run
from tests.builders.toy_latents import latent

TESTS = Path(__file__).parents[1]

FAULTS = {
    "test windows also shown to the explainer": [
        "test_explainers.py::test_windows_shown_to_explainer",
        "test_explainers_more.py::test_contrastive_shows_both_sorts_of_windows_and_no_test_window",
        "test_explainers_more.py::test_candidates_are_compared_on_explain_windows_only",
        "test_faults.py::test_test_windows_also_shown_to_the_explainer",
    ],
    "centred windows carrying other windows' activations; flag inverted": [
        "test_suite_sampling.py::test_a_centred_window_holds_the_activations_of_its_own_tokens",
        "test_faults.py::test_centred_flag_inverted",
    ],
    "fuzz negatives always marked at the same token positions": [
        "test_scorer_fuzzing.py::test_fuzz_negatives_marked_at_same_positions"
    ],
    "a KV cache mutated across batches": [
        "test_judge_transformers.py::test_the_computed_prefix_is_never_mutated",
        "test_interventions.py::test_prompts_are_never_written",
    ],
    "intervention applied only at the last prompt token": [
        "test_interventions.py::test_intervention_applied_only_at_the_last_prompt_token"
    ],
    "figures joining one layer's scores to every layer's latents": [
        "test_interventions.py::test_figures_joining_one_layers_scores_to_every_layers_latents",
        "test_leaderboard.py::test_rows_by_coder_use_only_the_latents_of_the_coder",
    ],
    "a short last batch lost": [
        "test_scorer_detection.py::test_short_last_batch_lost",
        "test_faults.py::test_short_last_batch_lost_on_the_way",
    ],
    "a parse failure scored as an answer or as wrong": [
        "test_scorer_detection.py::test_parse_failure_scored",
        "test_scorer_simulation.py::test_a_failed_answer_is_not_scored_as_zeros",
        "test_scorer_sensitivity.py::test_a_text_that_failed_is_no_silent_text",
        "test_run.py::test_an_answer_that_is_nonsense_is_a_parse_failure_without_a_score",
        "test_explainers.py::test_failed_replies_give_no_explanation",
    ],
    "failed latents dropped silently": [
        "test_scorer_detection.py::test_failed_latents_dropped",
        "test_run.py::test_a_failed_explanation_skips_its_windows_and_keeps_the_latent",
    ],
    "failure count always 0": [
        "test_run.py::test_failed_calls_lower_coverage_and_not_the_score",
        "test_leaderboard.py::test_coverage_counts_failed_judgements_and_bounds_hold_the_score",
    ],
    "negatives sampled with replacement": ["test_faults.py::test_negatives_sampled_with_replacement"],
    "one seed for all latents": ["test_faults.py::test_one_seed_for_all_latents"],
    "windows that fire forced to inactive": ["test_faults.py::test_windows_that_fire_forced_to_inactive"],
    "highlights vanish when the tokenizer API changes": ["test_template.py::test_highlights_vanish"],
    "the answer's size leaked by the prompt's example answer": [
        "test_scorer_detection.py::test_answer_size_leaked_by_example"
    ],
    "pooled micro averages with no interval": ["test_faults.py::test_pooled_micro_averages"],
    "standard deviation printed as if it were an error": ["test_faults.py::test_standard_deviation_printed_as_error"],
    "output tokens priced with the input count": [
        "test_usage.py::test_output_is_priced_by_the_number_of_output_tokens"
    ],
    "BOS removed before the forward pass": ["test_activations.py::test_bos_stays_in_the_forward_pass"],
    "one prefix match layers.1 also taking layers.10": [
        "test_hooks.py::test_a_name_is_looked_up_exactly_and_not_by_prefix"
    ],
    "a shared process-wide random seed reset inside library calls": [
        "test_bootstrap.py::test_process_wide_random_state_is_left_alone",
        "test_models.py::test_sampling_leaves_the_process_wide_generator_alone",
        "test_faults.py::test_process_wide_seed_reset",
    ],
}


@pytest.mark.parametrize(("fault", "test"), [(fault, test) for fault, tests in FAULTS.items() for test in tests])
def test_every_fault_has_its_test(fault: str, test: str) -> None:
    file, _, function = test.partition("::")
    tree = ast.parse(next(TESTS.rglob(file)).read_text(encoding="utf-8"))
    found = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name == function]
    assert len(found) == 1, f"{fault}: {test} is gone"
    assert "assert" in ast.unparse(found[0]) or "raises" in ast.unparse(found[0]), f"{fault}: {test} checks nothing"
    skipped = [d for d in found[0].decorator_list if "skip" in ast.unparse(d) or "xfail" in ast.unparse(d)]
    assert not skipped, f"{fault}: {test} is not run"


TOKENS = 4000
TILES = tile(np.arange(0, TOKENS + 1, 100), 10)


def firing(seed: int, rate: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    where = np.flatnonzero(rng.random(TOKENS) < rate)
    return where, rng.exponential(size=len(where)).astype(np.float16) + np.float16(0.1)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("strategy", ["top", "random", "quantile", "mix"])
def test_test_windows_also_shown_to_the_explainer(centred: bool, strategy: str) -> None:
    """No token of a test window stands in an explain window, whatever the strategy."""
    for seed in range(5):
        drawn = sample(*firing(seed), TILES, WindowPlan(20, strategy, 3, 30, centred), seed, seed + 1)  # type: ignore[arg-type]
        tokens = {role: set() for role in (EXPLAIN, TEST)}
        for start, role in zip(drawn.start.tolist(), drawn.role.tolist(), strict=True):
            tokens[role] |= set(range(start, start + TILES.window))
        assert len(tokens[EXPLAIN]) == 10 * (drawn.role == EXPLAIN).sum() > 0
        assert not tokens[EXPLAIN] & tokens[TEST]


def test_centred_flag_inverted() -> None:
    """`centred` moves windows to their peak, its absence leaves them on the grid; both carry the activations of their tokens."""
    where, values = firing(0, 0.01)
    dense = np.zeros(TOKENS, np.float16)
    dense[where] = values
    for centred in (False, True):
        drawn = sample(where, values, TILES, WindowPlan(10, "top", 1, 10, centred), 0, 1)
        for start, decile, own in zip(drawn.start, drawn.decile, drawn.activations, strict=True):
            assert np.array_equal(own, dense[start : start + 10])
            if decile >= 0 and centred:
                context = start // 100 * 100
                peak = start + int(own.argmax())
                assert start == np.clip(peak - 5, context, context + 90)
            else:
                assert start % 10 == 0
    assert (drawn.start % 10 != 0).any()


def test_short_last_batch_lost_on_the_way() -> None:
    """Every count of windows is asked whole, in lists of any size."""
    for positives, size in [(1, 5), (4, 5), (5, 5), (7, 3), (13, 4)]:
        view = latent(positives=positives, negatives=positives)
        scorer = load_scorer({"use": "detection", "params": {"windows_per_prompt": size}})
        asked = sorted(w.item for t in scorer.trials(view, "z", 0) for w in t.windows)
        assert asked == sorted(w.id for w in view.test)


def test_negatives_sampled_with_replacement() -> None:
    """Drawn once when the suite is built and once by the scorer: no window twice; too few stay too few."""
    for seed in range(10):
        drawn = sample(*firing(seed), TILES, WindowPlan(10, "quantile", 2, 100), seed, seed + 1)
        starts = drawn.start[(drawn.role == TEST) & (drawn.decile < 0)].tolist()
        assert len(starts) == len(set(starts)) == 100
        drawn = sample(*firing(seed, 0.5), TILES, WindowPlan(10, "quantile", 2, 100), seed, seed + 1)
        starts = drawn.start[(drawn.role == TEST) & (drawn.decile < 0)].tolist()
        assert len(starts) == len(set(starts)) < 100
        scorer = load_scorer({"use": "detection", "params": {"negatives": 15}})
        asked = [
            w.item for t in scorer.trials(latent(negatives=20), "z", seed) for w in t.windows if w.kind == "random"
        ]
        assert len(asked) == len(set(asked)) == 15


def test_one_seed_for_all_latents() -> None:
    """Latents with the same firing draw other windows, and are shown in another order with other marks."""
    where, values = firing(0)
    draws = {
        tuple(sample(where, values, TILES, WindowPlan(5, "random", 1, 10), *seeds).start.tolist())
        for seeds in ((seed_for("test", 0, f"c/{i}"), seed_for("explain", 0, f"c/{i}")) for i in range(20))
    }
    assert len(draws) == 20
    fuzzing = load_scorer("fuzzing")
    orders, marks = set(), set()
    for i in range(20):
        trials = fuzzing.trials(latent(), "z", seed_for("judge", 0, 0, "fuzzing", f"sae/{i}"))
        orders.add(tuple(w.item for t in trials for w in t.windows))
        negatives = [(w.item, w.marks) for t in trials for w, y in zip(t.windows, t.truth, strict=True) if not y]
        marks.add(tuple(sorted(negatives)))
    assert len(orders) == len(marks) == 20


def test_windows_that_fire_forced_to_inactive() -> None:
    """A negative is silent on every token, and its label is what its activations say, for every scorer with labels."""
    for seed in range(10):
        where, values = firing(seed)
        drawn = sample(where, values, TILES, WindowPlan(10, "quantile", 2, 100), seed, seed + 1)
        for start in drawn.start[drawn.decile < 0].tolist():
            assert not np.isin(np.arange(start, start + 10), where).any()
    for name in ("detection", "fuzzing", "surprisal", "embedding", "saebench"):
        for trial in load_scorer(name).trials(latent(), "z", 0):
            assert list(trial.truth) == [int(max(a) > 0) for a in trial.token_truth]


def test_pooled_micro_averages(tmp_path: Path) -> None:
    """A row is the mean of latents with an interval over latents; one latent with many judgements weighs as much as another."""
    folder = build_run(tmp_path / "run", Grid(explainers={"llm": 0.8}, coders={"a": 24}))
    (row,) = read_rows([folder])
    assert row.score.low is not None
    assert row.score.high is not None
    assert row.score.low < row.score.estimate < row.score.high
    few, many = np.ones(1), np.zeros(99)
    assert bootstrap_mean([few, many], seed=0).estimate == 0.5 != np.concatenate([few, many]).mean()


def test_standard_deviation_printed_as_error() -> None:
    """The interval of a mean shrinks with the square root of the number of latents; the spread of the latents does not."""
    rng = np.random.default_rng(0)
    widths = {}
    for n in (50, 800):
        found = bootstrap_mean(rng.normal(size=n), seed=0)
        widths[n] = found.high - found.low
        assert widths[n] == pytest.approx(2 * 1.96 / math.sqrt(n), rel=0.25)
    assert widths[50] / widths[800] == pytest.approx(4, rel=0.3)


def test_process_wide_seed_reset() -> None:
    """Sampling, scoring and explaining leave the generators of the process where they were."""
    import random

    import torch

    def state() -> tuple[object, ...]:
        name, keys, *rest = np.random.get_state(legacy=True)
        return random.getstate(), name, keys.tobytes(), tuple(rest), torch.get_rng_state().numpy().tobytes()

    before = state()
    sample(*firing(0), TILES, WindowPlan(10, "quantile", 2, 20, True), 0, 1)
    for name in (
        "detection",
        "fuzzing",
        "surprisal",
        "embedding",
        "saebench",
        "simulation",
        "intruder",
        "sensitivity",
        "example_embedding",
        "direction",
    ):
        load_scorer(name).trials(latent(), "z", 0)
    for name in ("llm", "best-of-k", "tokens"):
        load_explainer(name).requests(latent(), 0)
    shuffled = {"tokens": {f"sae/{i}": Explanation(f"sae/{i}", "z") for i in (7, 8)}}
    load_explainer("shuffled").parse(latent(), [], 0, shuffled)
    bootstrap_mean(np.arange(9.0), seed=0)
    assert state() == before


def test_a_failed_judgement_has_no_number() -> None:
    """Metrics over judgements of which some failed are those of the others alone, for every kind of failure."""
    scorer = load_scorer("detection")
    ok = [
        Judgement("0", i, "quantile:1" if i % 2 else "random", i % 2, Outcome.OK, 0.1 * i, int(i > 4)) for i in range(9)
    ]
    for outcome in Outcome:
        if outcome is not Outcome.OK:
            bad = [replace(j, outcome=outcome, score=None, answer=None) for j in ok[:4]]
            assert scorer.metrics([*ok[4:], *bad]) == scorer.metrics(ok[4:])
