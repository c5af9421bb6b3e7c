"""What must not change a score: the order of windows, of latents and of questions, the batch size, how much is under way at once.

With deterministic judges every score is equal to the bit. An in-process model computes the same sums in another order when its
batches change; in float32 its log-probabilities stay within 1e-4.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from latentbench.judges.mock.mock_judge import MockJudge
from latentbench.kernel.identity import seed_for
from latentbench.kernel.registry import BUILTIN
from latentbench.kernel.requests import Choice, Continuation, Request
from latentbench.runs import explaining as explain
from latentbench.runs import judging as judge
from latentbench.runs.run import start
from latentbench.scorers.scorer import Scorer, load_scorer
from latentbench.suites.store import Suite, load_suite, save_suite
from rich.console import Console

from tests.builders.planted_steered import add_interventions

QUIET = Console(quiet=True)
TOLERANCE = 1e-4
"""Nats, in float32."""
SCORERS = [
    "detection",
    "fuzzing",
    "simulation",
    "simulation_inline",
    "surprisal",
    "embedding",
    "saebench",
    "intruder",
    "example_embedding",
    "direction",
    "sensitivity",
    "intervention",
    "output_choice",
]
GRID: dict[str, Any] = {
    "name": "same",
    "limit": 3,
    "explainers": ["tokens", {"use": "shuffled", "params": {"of": "tokens"}}],
    "scorers": [*SCORERS, {"use": "detection", "preset": "single", "label": "single"}],
    "judges": [{"use": "mock:lexical", "label": "lex"}],
}
Scores = dict[tuple[str, str, str], tuple[float | None, int, int]]


def scores(folder: Path, suite: str) -> Scores:
    """(cell, latent, metric) -> (value, judged, attempted), of a run without a cache from before."""
    folder.mkdir()
    spec = folder / "spec.yaml"
    spec.write_text(yaml.safe_dump({**GRID, "suite": suite}), encoding="utf-8")
    start(spec, folder / "run", folder / "cache.sqlite", QUIET)
    rows = pq.read_table(folder / "run" / "scores.parquet").to_pylist()
    return {(r["cell"], r["latent"], r["metric"]): (r["value"], r["n_judged"], r["n_attempted"]) for r in rows}


def rewritten(folder: Path, change: Callable[[pa.Table, pa.Table], tuple[pa.Table, pa.Table]]) -> str:
    """The planted suite with its rows in another order, and with an intervention table."""
    suite = load_suite("planted-1")
    latents, windows = change(suite.latent_table, suite.window_table)
    save_suite(folder, {"name": "other-order", "version": "1-0"}, latents, windows)
    add_interventions(folder)
    return str(folder)


def permuted(table: pa.Table, seed: int) -> pa.Table:
    return table.take(np.random.default_rng(seed).permutation(table.num_rows))


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> str:
    return rewritten(tmp_path_factory.mktemp("metamorphic") / "suite", lambda latents, windows: (latents, windows))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, suite: str) -> Scores:
    found = scores(tmp_path_factory.mktemp("metamorphic") / "plain", suite)
    assert {cell.split("/")[1] for cell, _, _ in found} == {*SCORERS, "single"}
    assert all(value is not None and attempted > 0 for value, _, attempted in found.values())
    return found


def test_no_scorer_is_left_out() -> None:
    assert set(BUILTIN["scorer"]) == set(SCORERS)


def test_permuting_windows_changes_no_score(plain: Scores, tmp_path: Path) -> None:
    other = rewritten(tmp_path / "suite", lambda latents, windows: (latents, permuted(windows, 1)))
    assert load_suite(other).digest != load_suite("planted-1").digest
    assert scores(tmp_path / "a", other) == plain


def test_permuting_latents_changes_no_score(plain: Scores, tmp_path: Path) -> None:
    other = rewritten(tmp_path / "suite", lambda latents, windows: (permuted(latents, 2), windows))
    found = scores(tmp_path / "a", other)
    assert list(found) != list(plain)
    assert found == plain


def test_batch_size_changes_no_score(
    plain: Scores, suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "BATCH", 1)
    monkeypatch.setattr(explain, "CHUNK", 1)
    assert scores(tmp_path / "a", suite) == plain


def test_concurrency_changes_no_score(
    plain: Scores, suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered: list[int] = []
    under_way = [0]
    most = [0]
    answer = MockJudge._all

    async def late(self: MockJudge, requests: Any, reply: Any) -> Any:
        # Batches end in an order that is not the one in which they began.
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        number = len(answered) + under_way[0]
        await asyncio.sleep(0.002 * (number * 7 % 5))
        under_way[0] -= 1
        answered.append(number)
        return await answer(self, requests, reply)

    monkeypatch.setattr(MockJudge, "_all", late)
    monkeypatch.setattr(MockJudge, "in_flight", 8)
    monkeypatch.setattr(judge, "BATCH", 16)
    assert scores(tmp_path / "a", suite) == plain
    assert most[0] >= 8
    assert answered != sorted(answered)


# --- an in-process model


def questions(scorer: Scorer, suite: Suite, kind: type) -> list[Request]:
    """A scorer's requests about two latents."""
    found: list[Request] = []
    for latent in suite.latents(split="test", limit=2):
        for trial in scorer.trials(latent, "Words of cooking.", seed_for("metamorphic", latent.id))[:10]:
            found += scorer.requests(trial, frozenset(c for need in scorer.needs for c in need if c != "simulate"))
    assert found
    assert {type(r) for r in found} == {kind}
    return found


def logs(replies: Any) -> np.ndarray:
    """Every log-probability of the replies."""
    assert all(r.ok for r in replies)
    return np.array([x for r in replies for x in ([r.loglik] if r.logprobs is None else np.ravel(r.logprobs))])


@pytest.mark.parametrize(
    ("task", "kind"),
    [("surprisal", Continuation), ({"use": "detection", "preset": "single"}, Choice)],
    ids=["text", "choice"],
)
async def test_an_in_process_model_stays_within_its_tolerance(tiny_folder: Path, task: Any, kind: type) -> None:
    from latentbench.judges.reference import load_judge

    base = f"transformers:{tiny_folder}?dtype=float32&device=cpu"
    requests = questions(load_scorer(task), load_suite("planted-1"), kind)
    reference = logs(await load_judge(base).answer(requests))
    assert np.ptp(reference) > 1e-2
    order = list(range(len(requests)))
    random.Random(0).shuffle(order)
    shuffled = await load_judge(base).answer([requests[i] for i in order])
    found = {"shuffled": logs([shuffled[order.index(i)] for i in range(len(requests))])}
    for change in ("batch_tokens=1", "batch_tokens=700", "share=false"):
        found[change] = logs(await load_judge(f"{base}&{change}").answer(requests))
    half = len(requests) // 2
    split = load_judge(base)
    found["in two calls"] = logs([*await split.answer(requests[:half]), *await split.answer(requests[half:])])
    for name, values in found.items():
        assert np.abs(values - reference).max() <= TOLERANCE, name
