"""The judge-drift canary, repeats of the gate with a noisy judge, and MLflow tags."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from latentbench.analysis.gate.baseline import snapshot, write_baseline
from latentbench.analysis.gate.decide import Verdict
from latentbench.analysis.gate.drift import answer_of, ask_probes, distance, distances, request_of
from latentbench.analysis.gate.gate import freeze
from latentbench.analysis.gate.gate_formats import tag_run, tags
from latentbench.analysis.gate.gate_report import GateReport, GateSettings
from latentbench.analysis.gate.verdicts import compare
from latentbench.judges.reference import load_judge
from latentbench.kernel.forms import YesNo
from latentbench.kernel.requests import Chat, Choice, Continuation, Embed, Message, Outcome, Reply, Simulate
from latentbench.kernel.trial import Seen, Trial
from latentbench.runs.finished import Run, load_run
from scipy import stats

from tests.builders.gate_runs import carry_out, gated
from tests.builders.run_builder import Grid, build_run

WINDOW = Seen((" a", " river"), (1, 2))
QUESTION = Trial("0", "detection", YesNo(), "rivers", (WINDOW,), (1,), ((0.0, 1.0),))
REQUESTS = [
    Chat((Message("user", "Is it?"),), trial=QUESTION),
    Choice((Message("user", "Is it?"),), ("No", "Yes"), trial=QUESTION),
    Continuation("rivers: ", "a river", trial=QUESTION),
    Embed("a river", query=True),
    Simulate(QUESTION),
]


def test_requests_survive_the_file_and_an_unchanged_judge_is_at_distance_zero() -> None:
    judge = load_judge("mock:lexical")
    frozen, noise = ask_probes([("j", r) for r in REQUESTS], {"j": judge})
    assert [request_of(p) for p in frozen] == REQUESTS
    assert noise == {"j": 0.0}
    assert distances(frozen, {"j": judge}) == {"j": 0.0}
    changed = distances(frozen, {"j": load_judge("mock:constant?answer=0")})["j"]
    # Another text 1, another choice and simulation about .75 to .9, another likelihood, another vector.
    assert 0.5 < changed <= 1


def test_a_request_put_to_two_judges_is_stored_once() -> None:
    judges = {"a": load_judge("mock:lexical"), "b": load_judge("mock:constant")}
    frozen, _ = ask_probes([("a", REQUESTS[1]), ("b", REQUESTS[1])], judges)
    (probe,) = frozen
    assert set(probe.answers) == {"a", "b"}
    assert probe.answers["a"] != probe.answers["b"]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (Reply(logprobs=((np.log(0.2), np.log(0.6)),)), Reply(logprobs=((np.log(0.1), np.log(0.1)),)), 0.25),
        (Reply(logprobs=((0.0, -np.inf),)), Reply(logprobs=((-np.inf, 0.0),)), 1.0),
        (Reply(text="yes"), Reply(text="yes"), 0.0),
        (Reply(text="yes"), Reply(text="no"), 1.0),
        (Reply(loglik=-10.0, n_tokens=4), Reply(loglik=-11.0, n_tokens=4), 0.25),
        (Reply(vector=np.array([1.0, 0.0], np.float32)), Reply(vector=np.array([0.0, 1.0], np.float32)), 1.0),
        (Reply(windows=(0.5,), tokens=((0.5, 0.5),)), Reply(windows=(0.8,), tokens=((0.5, 0.5),)), 0.1),
        (Reply(text="yes"), Reply(Outcome.API, error="down"), 1.0),
        (Reply(Outcome.REFUSAL), Reply(Outcome.REFUSAL), 0.0),
    ],
)
def test_distances_by_hand(a: Reply, b: Reply, expected: float) -> None:
    assert distance(answer_of(a), answer_of(b)) == pytest.approx(expected, abs=1e-5)
    assert distance(answer_of(b), answer_of(a)) == pytest.approx(expected, abs=1e-5)


def test_a_judge_that_samples_is_compared_with_its_own_noise() -> None:
    rng = np.random.default_rng(0)

    class Moody:
        """Answers `yes` seven times in ten."""

        identity = load_judge("mock:lexical").identity

        async def answer(self, requests: Any) -> list[Reply]:
            return [Reply(text="yes" if rng.random() < 0.7 else "no") for _ in requests]

    asked = [("j", Chat((Message("user", f"{i}?"),))) for i in range(60)]
    _, noise = ask_probes(asked, {"j": Moody()})  # type: ignore[dict-item]
    # Two draws differ with probability 2 * .7 * .3.
    assert noise["j"] == pytest.approx(0.42, abs=0.15)


# --- 50 repeats on an unchanged tree, with a judge that errs on a fifth of the windows

NOISY: dict[str, Any] = {
    "explainers": [{"use": "planted", "label": "truth"}],
    "scorers": [
        {"use": "detection", "preset": "single", "params": {"positives": 4, "negatives": 4, "simulate": "never"}}
    ],
    "judges": [{"use": "mock:label?error=0.2", "label": "noisy"}],
}
GATES = 50


def only(run: Run, repeat: int) -> Run:
    """One repeat of a run as a run."""
    cells = tuple(c for c in run.record.cells if c.repeat == repeat)
    parts = {name: getattr(run, name) for name in ("explanations", "judgements", "scores")}
    return replace(
        run,
        record=run.record.model_copy(update={"id": f"r{repeat}", "cells": cells}),
        **{name: table[table["repeat"] == repeat] for name, table in parts.items()},
    )


def test_fifty_gates_on_an_unchanged_tree_do_not_fail(tmp_path: Path) -> None:
    """Every repeat draws other windows, so no two agree; all are compared with the first."""
    run = load_run(carry_out(tmp_path, **NOISY, repeats=GATES + 1))
    base, *heads = (snapshot(only(run, i), ["auroc", "balanced_accuracy"]) for i in range(GATES + 1))
    reports = [compare(base, head, GateSettings()) for head in heads]
    tested = [c for r in reports for c in r.checks if c.statistical]
    assert {c.kind for c in tested} == {"metric"}
    assert len(tested) == 3 * GATES
    assert np.std([c.estimate for c in tested]) > 0.02
    # At most 1 % of gates in truth; 99.9 % of fifty such gates have no more failures than this (2).
    failed = sum(r.verdict is Verdict.FAIL for r in reports)
    assert failed <= stats.binom.ppf(0.999, GATES, 0.01)


@pytest.mark.slow
def test_fifty_runs_of_the_gate_with_other_noise_do_not_fail(tmp_path: Path) -> None:
    """As above through `bench gate` from the spec on, with all planted latents and agreement of two scorers."""
    few = {"positives": 5, "negatives": 5, "simulate": "never"}
    grid = {
        **NOISY,
        "limit": None,
        "scorers": [{"use": name, "preset": "single", "params": few} for name in ("detection", "fuzzing")],
    }
    base = freeze(carry_out(tmp_path / "base", **grid, repeats=4), offline=True)
    write_baseline(base, tmp_path / "b.json")
    verdicts = []
    for i in range(GATES):
        judges = [{"use": f"mock:label?error=0.2&seed={i + 1}", "label": "noisy"}]
        report = gated(tmp_path / str(i), tmp_path / "b.json", **{**grid, "seed": i + 1, "judges": judges})
        verdicts.append(report.verdict)
    assert Verdict.NOT_COMPARABLE not in verdicts
    assert verdicts.count(Verdict.FAIL) <= stats.binom.ppf(0.999, GATES, 0.01)


# --- MLflow


def test_the_run_is_tagged_and_a_dead_server_changes_nothing(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    run = build_run(tmp_path / "r", Grid(explainers={"llm": 0.8}, coders={"a": 6}))
    report: GateReport = compare(snapshot(load_run(run)), snapshot(load_run(run)), GateSettings(resamples=100))
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    result = tag_run(run, report, uri)
    assert result.ok, result.message
    assert result.parent is not None
    found = MlflowClient(tracking_uri=uri).get_run(result.parent).data.tags
    assert {k: v for k, v in found.items() if k.startswith("latentbench.gate.")} == tags(report)
    dead = tag_run(run, report, "http://127.0.0.1:9")
    assert not dead.ok
    assert report.verdict is Verdict.PASS
