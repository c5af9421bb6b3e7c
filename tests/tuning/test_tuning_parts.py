"""The parts of tuning against direct computations: space, pruning, importances, storage, budget, measure."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import os
import socket
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from latentbench.explainers.explainer import load_explainer
from latentbench.judges.cache.replies import ReplyCache
from latentbench.kernel.errors import RunError, SpecError, UnknownName
from latentbench.kernel.latent import LatentView
from latentbench.runs.finished import Run
from latentbench.suites.store import load_suite
from latentbench.tuning import storage
from latentbench.tuning.budget import Spending
from latentbench.tuning.holdout import BETTER, OPEN, WORSE, _correct, _means
from latentbench.tuning.importance import importances
from latentbench.tuning.objective import TrialRunner
from latentbench.tuning.prune import compare, order, steps
from latentbench.tuning.samplers import make_sampler, sampler_names
from latentbench.tuning.space import fill, load_tune_spec, run_spec, suggest
from latentbench.tuning.tune import TuneRequest, _study
from latentbench.tuning.tune_measures import measure
from latentbench.tuning.tune_result import best
from latentbench.tuning.tune_spec import Budget, Objective, Parameter, Prune, TuneSpec
from scipy import stats

from tests.builders.records import cell, record
from tests.builders.records import scorer as toy_scorer
from tests.builders.tuning_landscape import landscape, write

TASKS = Path(__file__).parents[2] / "tasks" / "tuning"
States = optuna.trial.TrialState


def spec_of(**changes: Any) -> TuneSpec:
    return TuneSpec.model_validate(landscape(**changes))


NESTED = {
    "explainer": {
        "values": {"llm": {"use": "llm", "params": {"n": "$n"}}, "tokens": {"use": "tokens", "params": {"k": "$k"}}}
    },
    "n": {"low": 5, "high": 40, "step": 5},
    "k": {"low": 1, "high": 3, "when": {"explainer": "tokens"}},
    "t": {"low": 0.1, "high": 1.0, "log": True, "when": {"explainer": "llm"}},
}


def nested() -> dict[str, Parameter]:
    return {name: Parameter.model_validate(p) for name, p in NESTED.items()}


# --- space


def test_holes_keep_types_nest_and_vanish_with_inactive_parameters() -> None:
    template = {"explainers": ["$explainer"], "judge": "x?t=${t}&n=$n", "price": "$$5", "list": ["$k", "$n"]}
    llm = fill(template, nested(), {"explainer": "llm", "n": 5, "t": 0.5})
    assert llm == {
        "explainers": [{"use": "llm", "params": {"n": 5}}],
        "judge": "x?t=0.5&n=5",
        "price": "$5",
        "list": [5],
    }
    tokens = fill(template, nested(), {"explainer": "tokens", "n": 10, "k": 2})
    assert tokens == {"explainers": [{"use": "tokens", "params": {"k": 2}}], "price": "$5", "list": [2, 10]}


def test_suggesting_follows_the_conditions() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = []
    study.optimize(lambda t: len(seen.append(suggest(t, nested())) or seen), n_trials=40)
    for settings in seen:
        assert set(settings) == {"explainer", "n"} | ({"k"} if settings["explainer"] == "tokens" else {"t"})
        assert settings["n"] % 5 == 0
    assert {s["explainer"] for s in seen} == {"llm", "tokens"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": {"shot": [1]}}, r"'shots'"),
        ({"default": {"shots": 9, "style": "plain", "temperature": 1.0}}, "9 is not a step between 1 and 8"),
        ({"default": {"shots": 1, "style": "plane", "temperature": 1.0}}, "Did you mean 'plain'"),
        ({"default": {"shots": 1, "style": "plain"}}, "'temperature' needs a value"),
        ({"default": {"shots": 1, "style": "plain", "temperature": 0.3}}, "0.3 is not a step"),
        ({"enqueue": {"paper": {"shot": 1}}}, "unknown parameter in enqueue 'paper' 'shot'. Did you mean 'shots'"),
        ({"objectives": ["scores"]}, "objectives"),
        ({"triols": 3}, "unknown key 'triols'. Did you mean 'trials'"),
        ({"run": {"suite": "planted-1", "split": "test"}}, "`split` is not part of a tuned run"),
    ],
)
def test_a_wrong_spec_is_one_clear_message(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load_tune_spec(write(tmp_path, landscape(**change)))


def test_parameters_in_a_circle_and_holes_without_parameters_are_refused(tmp_path: Path) -> None:
    content = landscape()
    content["space"]["style"] = {"values": ["plain"], "when": {"shots": 1}}
    content["space"]["shots"] = {"low": 1, "high": 8, "when": {"style": "plain"}}
    with pytest.raises(SpecError, match="in a circle"):
        load_tune_spec(write(tmp_path, content))
    content = landscape()
    content["run"]["limit"] = "$limt"
    with pytest.raises(SpecError, match="unknown hole in `run` 'limt'"):
        load_tune_spec(write(tmp_path, content))
    content = landscape()
    content["space"]["style"] = {"values": {"plain": "$style"}}
    with pytest.raises(SpecError, match="contain each other"):
        load_tune_spec(write(tmp_path, content))


def test_a_run_is_on_tuning_latents_and_its_held_out_one_is_not() -> None:
    spec = spec_of()
    tuned, held = run_spec(spec, spec.default), run_spec(spec, spec.default, held_out=True)
    assert (tuned["split"], tuned["limit"]) == ("tune", 12)
    assert (held["split"], held["repeats"]) == ("test", 3)
    assert "limit" not in held


@pytest.mark.parametrize("path", sorted(TASKS.glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_studies_load_and_their_named_settings_are_runs(path: Path) -> None:
    from latentbench.runs.run_spec import RunSpec

    spec = load_tune_spec(path)
    for settings in (spec.default, *spec.enqueue.values()):
        run = RunSpec.model_validate(run_spec(spec, settings))
        for e in run.explainers:
            load_explainer({"use": e.use, "preset": e.preset, "params": e.params})
    assert spec.trials >= 40


# --- samplers


def test_every_sampler_of_optuna_can_be_named() -> None:
    names = sampler_names()
    assert {"tpe", "random", "grid", "cmaes", "nsgaii", "nsgaiii", "gp", "qmc", "bruteforce", "partialfixed"} <= set(
        names
    )
    for name, cls in names.items():
        params = {"fixed_params": {"shots": 3}} if name == "partialfixed" else {}
        spec = spec_of(sampler={"name": cls.__name__, "params": params})
        assert type(make_sampler(spec)) is cls
    with pytest.raises(UnknownName, match="'nsgaii'"):
        make_sampler(spec_of(sampler="nsga2"))
    with pytest.raises(UnknownName, match="'n_startup_trials'"):
        make_sampler(spec_of(sampler={"name": "tpe", "params": {"n_startup": 3}}))


@pytest.mark.parametrize(("objectives", "name"), [(1, "TPESampler"), (2, "NSGAIISampler"), (4, "NSGAIIISampler")])
def test_the_default_sampler_follows_the_number_of_objectives(objectives: int, name: str) -> None:
    names = ["score", "length", "tokens", "seconds"][:objectives]
    assert type(make_sampler(spec_of(objectives=names))).__name__ == name


def test_two_that_join_at_once_try_different_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(sampler="random")
    url = storage.storage_url(None, tmp_path)

    def proposed(who: str) -> list[dict[str, Any]]:
        monkeypatch.setattr(storage, "me", lambda: who)
        sampler = _study(spec, TuneRequest(tmp_path / "tune.yaml", join=True), url, tmp_path).sampler
        alone = optuna.create_study(sampler=sampler)
        return [suggest(alone.ask(), spec.space) for _ in range(6)]

    with storage.quiet():
        storage.open_study(spec, storage.open_storage(url), join=False)
        assert proposed("here:1") == proposed("here:1")
        assert proposed("here:1") != proposed("here:2")


# --- pruning


def test_steps_double_and_the_last_one_is_everything() -> None:
    assert steps(48, Prune()) == [8, 16, 32, 48]
    assert steps(12, Prune(first=8)) == [8, 12]
    assert steps(10, Prune(first=8)) == [10]
    assert steps(100, None) == [100]


def _latent(coder: str, i: int) -> LatentView:
    return LatentView(f"{coder}/{i}", coder, i, "tune", {}, (), ())


def test_every_beginning_of_the_order_is_balanced_over_coders() -> None:
    latents = [_latent("a", i) for i in range(20)] + [_latent("b", i) for i in range(10)]
    found = order(latents, 3)
    assert sorted(v.id for v in found) == sorted(v.id for v in latents)
    for n in range(3, 31):
        assert abs(sum(v.coder == "b" for v in found[:n]) - n / 3) <= 1
    assert [v.id for v in order(latents[::-1], 3)] == [v.id for v in found]
    assert [v.id for v in order(latents, 4)] != [v.id for v in found]


def test_the_comparison_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    level = rng.normal(size=16)
    incumbent = level + rng.normal(size=16) * 0.1
    trial = level[:8] - 0.3 + rng.normal(size=8) * 0.1
    trial[2] = np.nan
    kept = [0, 1, 3, 4, 5, 6, 7]
    wanted = stats.ttest_rel(trial[kept], incumbent[kept], alternative="less").pvalue
    found = compare(trial, incumbent, True, 0.05)
    assert found.p == pytest.approx(wanted)
    assert found.n == 7
    assert found.worse
    # Unpaired, eight latents show nothing: latents differ more than settings.
    assert stats.ttest_ind(trial[kept], incumbent[kept], alternative="less").pvalue > 0.05
    assert not compare(trial, incumbent, False, 0.05).worse
    assert compare(trial, incumbent, False, 0.05).difference == pytest.approx(-found.difference)
    assert not compare(trial[:2], incumbent, True, 0.05).worse


def test_a_trial_as_good_as_the_incumbent_survives_all_looks() -> None:
    rng = np.random.default_rng(1)
    stopped = 0
    looks = steps(64, Prune())[:-1]
    for _ in range(400):
        a, b = rng.normal(size=(2, 64))
        stopped += any(compare(a[:n], b, True, 0.05 / len(looks)).worse for n in looks)
    # At most 5 %; P(more than 32 of 400) < 0.5 %.
    assert stopped <= 32


# --- importances


def test_importances_are_shares_of_the_anova_of_a_full_factorial() -> None:
    space = {
        "a": Parameter(values=["x", "y", "z"]),
        "b": Parameter(values=[False, True]),
        "c": Parameter(low=0, high=1),
    }
    effect = {"x": 0.0, "y": 0.1, "z": 0.5}
    settings = [dict(zip("abc", s, strict=True)) for s in itertools.product("xyz", (False, True), (0, 1))]
    latents = np.random.default_rng(0).normal(size=6)
    values = [latents + effect[s["a"]] + 0.2 * s["b"] for s in settings]
    found = {i.parameter: i for i in importances(settings, values, True, space, 0, resamples=50)}
    # Sums of squares of the design by hand: 4 trials at each level of a, 6 at each of b.
    mean_a = np.mean(list(effect.values()))
    ss_a, ss_b = sum(4 * (e - mean_a) ** 2 for e in effect.values()), 12 * 0.1**2
    assert found["a"].importance == pytest.approx(ss_a / (ss_a + ss_b))
    assert found["b"].importance == pytest.approx(ss_b / (ss_a + ss_b))
    assert found["c"].importance == pytest.approx(0, abs=1e-12)
    assert found["c"].importance <= found["c"].chance + 1e-12


def test_chance_separates_real_effects_from_none_and_early_stops_are_not_rewarded() -> None:
    rng = np.random.default_rng(2)
    space = {
        "good": Parameter(low=0.0, high=1.0),
        "idle": Parameter(values=["p", "q", "r"]),
        "sub": Parameter(low=1, high=9, when={"idle": ["p"]}),
    }
    hits = {"good": 0, "idle": 0, "sub": 0}
    for _ in range(12):
        # The first latents are the easiest: a stopped trial's plain mean would be the best.
        level = np.linspace(2, 0, 24)
        settings: list[dict[str, Any]] = []
        values = []
        for _ in range(40):
            s: dict[str, Any] = {"good": float(rng.random()), "idle": str(rng.choice(["p", "q", "r"]))}
            if s["idle"] == "p":
                s["sub"] = int(rng.integers(1, 10))
            n = 24 if s["good"] > 0.4 else 8
            settings.append(s)
            values.append(level[:n] + 0.3 * s["good"] + rng.normal(size=n) * 0.3)
        for i in importances(settings, values, True, space, 0, resamples=60):
            assert i.low <= i.high
            hits[i.parameter] += i.importance > i.chance
    assert hits["good"] >= 10
    assert hits["idle"] <= 3
    assert hits["sub"] <= 3


def test_too_few_trials_say_nothing() -> None:
    space = {"a": Parameter(values=["x", "y", "z"])}
    settings = [{"a": v} for v in ("x", "y", "z", "x", "y", "z", "x")]
    assert importances(settings, [np.zeros(3)] * 7, True, space, 0) == []


# --- storage


def test_urls_get_their_driver_and_lose_their_password(tmp_path: Path) -> None:
    assert storage.storage_url(None, tmp_path) == f"sqlite:///{tmp_path}/study.db"
    url = storage.storage_url("postgresql://me:secret@db/x", tmp_path)
    assert url == "postgresql+psycopg://me:secret@db/x"
    assert storage.storage_url("mysql://me@db/x", tmp_path) == "mysql+pymysql://me@db/x"
    assert "secret" not in storage.shown(url)
    with pytest.raises(SpecError, match="not a URL"):
        storage.storage_url("study.db", tmp_path)
    with pytest.raises(SpecError, match="cannot be used"):
        storage.open_storage("postgresql+psycopg://me:secret@127.0.0.1:port/x")
    with pytest.raises(SpecError, match="cannot be used") as e:
        storage.open_storage("mysql+nodriver://me:secret@127.0.0.1:1/x")
    assert "secret" not in str(e.value)


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_the_trial_of_a_dead_process_is_failed_and_queued_once_more(tmp_path: Path, kind: str) -> None:
    url = storage.storage_url(None if kind == "sqlite" else f"journal:{tmp_path}/j.log", tmp_path)
    spec = spec_of()
    with storage.quiet():
        study = storage.open_study(spec, storage.open_storage(url), join=False)
        dead = _dead_process()
        workers = [f"{socket.gethostname()}:{dead}", storage.me(), "elsewhere:1"]
        for worker in workers:
            # A trial outside of Study.optimize has no heartbeat, and Optuna warns of it: this one is to look dead.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                trial = study.ask()
            trial.set_user_attr(storage.WORKER, worker)
            suggest(trial, spec.space)
        # Not mine, and not one of another machine, whose processes nobody can see from here.
        assert storage.release_dead(study) == [0]
        trials = study.get_trials()
        assert [t.state for t in trials] == [States.FAIL, States.RUNNING, States.RUNNING, States.WAITING]
        assert "died" in storage.lost(study)[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            again = study.ask()
        assert (suggest(again, spec.space), again.number) == (trials[0].params, 3)
        # It kills its worker again: given up.
        again.set_user_attr(storage.WORKER, f"{socket.gethostname()}:{dead}")
        assert storage.release_dead(study) == [3]
        assert len(study.get_trials()) == 4
        assert storage.release_dead(study) == []


def _dead_process() -> int:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def test_a_worker_elsewhere_is_dead_when_its_heartbeat_stops(tmp_path: Path) -> None:
    import time

    spec = spec_of()
    with storage.quiet():
        opened = storage.open_storage(storage.storage_url(None, tmp_path), heartbeat=1, grace=1)
        study = storage.open_study(spec, opened, join=False)
        with pytest.warns(UserWarning, match="supposed to be used with Study.optimize"):
            trial = study.ask()
        trial.set_user_attr(storage.WORKER, "elsewhere:1")
        suggest(trial, spec.space)
        opened.record_heartbeat(trial._trial_id)
        optuna.storages.fail_stale_trials(study)
        assert study.trials[0].state == States.RUNNING
        time.sleep(2.5)
        optuna.storages.fail_stale_trials(study)
        assert [t.state for t in study.trials] == [States.FAIL, States.WAITING]
        assert "elsewhere:1" in storage.lost(study)[0]


def test_joining_needs_a_study_of_the_same_spec(tmp_path: Path) -> None:
    with storage.quiet():
        opened = storage.open_storage(storage.storage_url(None, tmp_path))
        with pytest.raises(SpecError, match="no search 'knobs' to join"):
            storage.open_study(spec_of(), opened, join=True)
        storage.open_study(spec_of(), opened, join=False)
        storage.open_study(spec_of(trials=99, budget={"minutes": 1}), opened, join=True)
        with pytest.raises(SpecError, match="begun with another spec"):
            storage.open_study(spec_of(seed=1), opened, join=True)


# --- the same code


def test_a_study_goes_on_only_with_the_parts_that_its_default_began_with(tmp_path: Path) -> None:
    content = landscape(latents=4, windows=2)
    content["run"]["judges"] = [{"use": "mock:label?error=0.1&seed=$shots", "label": "knobs"}]
    content["run"]["explainers"] = [{"use": "file", "params": {"path": "mine.jsonl"}}]
    content["space"], content["default"] = {"shots": {"low": 1, "high": 8}}, {"shots": 1}
    texts = tmp_path / "mine.jsonl"
    texts.write_text(
        "".join(json.dumps({"latent": v.id, "text": "A."}) + "\n" for v in load_suite("planted-1").latents()),
        encoding="utf-8",
    )
    spec = TuneSpec.model_validate(content)
    study = optuna.create_study()

    def started_again() -> None:
        with asyncio.Runner() as runner:
            TrialRunner(
                spec, tmp_path, tmp_path / "study", "bench tune", ReplyCache(tmp_path / "c.sqlite"), runner
            ).same_code(study)

    started_again()
    started_again()
    texts.write_text(texts.read_text(encoding="utf-8").replace("A.", "B."), encoding="utf-8")
    with pytest.raises(RunError, match="explainers: file of the default setting changed"):
        started_again()


# --- budget, measure, winners


def test_spending_adds_up_and_an_unknown_price_stays_unknown() -> None:
    total = Spending(1, 10, 0.5, 1.0) + Spending(2, 20, 0.25, 2.0)
    assert total == Spending(3, 30, 0.75, 3.0)
    assert total.over(Budget(dollars=1, tokens=31, minutes=4)) is None
    assert "30 tokens" in str(total.over(Budget(tokens=30)))
    assert "3 minutes" in str(total.over(Budget(minutes=3)))
    unknown = total + Spending(1, 1, None, 0.0)
    assert unknown.dollars is None
    assert unknown.over(Budget(tokens=100)) is None
    assert "no known price" in str(unknown.over(Budget(dollars=100)))


def _run() -> Run:
    """Two latents, two repeats, two scorers with floors 0.5 and 0; latent b has no score of the second scorer."""
    cells, scores, judged = [], [], []
    table = {("s", "a"): (0.75, 0.95), ("s", "b"): (0.5, 0.6), ("t", "a"): (0.2, 0.4), ("t", "b"): (None, None)}
    for scorer, floor in (("s", 0.5), ("t", 0.0)):
        for repeat in (0, 1):
            name = f"e/{scorer}/j/{repeat}"
            cells.append(cell("e", toy_scorer(scorer, floor), "j", repeat))
            labels = {"explainer": "e", "scorer": scorer, "judge": "j", "coder": "c", "repeat": repeat}
            for latent in "ab":
                value = table[scorer, latent][repeat]
                scores.append({**labels, "cell": name, "latent": latent, "metric": "m", "value": value})
                for i in range(2):
                    ok = not (scorer == "t" and latent == "b")
                    base = {**labels, "cell": name, "latent": latent, "outcome": "ok" if ok else "api"}
                    judged.append({**base, "tokens_in": 10, "tokens_out": i, "cost": 0.5, "seconds": 0.25})
    texts = {("a", 0): "one two", ("a", 1): "one two three four", ("b", 0): None, ("b", 1): "one"}
    explained = [
        {
            "explainer": "e",
            "latent": latent,
            "repeat": repeat,
            "text": text,
            "outcome": "ok" if text else "refusal",
            "tokens_in": 100,
            "tokens_out": 5,
            "cost": 1.0,
            "seconds": 2.0,
        }
        for (latent, repeat), text in texts.items()
    ]
    return Run(Path("r"), record(cells, "ab"), pd.DataFrame(explained), pd.DataFrame(judged), pd.DataFrame(scores))


def test_objectives_are_read_from_the_tables() -> None:
    names = ["score", "cost", "tokens", "length", "seconds"]
    objectives = [Objective(use=name) for name in names] + [Objective(use="score", scorer="s")]
    found = measure(_run(), objectives)
    # a: ((0.85 - 0.5) / 0.5 + 0.3) / 2; b has no score in one cell and so none at all.
    assert found.values["score"] == pytest.approx([(0.7 + 0.3) / 2, math.nan], nan_ok=True)
    assert found.values["score.s"] == pytest.approx([0.7, 0.1])
    # Per latent and repeat: the explanation, and 2 judgements of each of 2 scorers.
    assert found.values["cost"] == pytest.approx([1 + 4 * 0.5] * 2)
    assert found.values["tokens"] == pytest.approx([105 + 4 * 10 + 2 * 1] * 2)
    assert found.values["seconds"] == pytest.approx([2 + 4 * 0.25] * 2)
    assert found.values["length"] == pytest.approx([3, 1])
    # Costs are not below 0; the toy metrics say no range, so neither does their mean.
    assert found.ranges["cost"] == (0.0, None)
    assert found.ranges["score"] == (None, None)
    assert found.coverage == 12 / 16
    assert found.outcomes == {"ok": 12 + 3, "api": 4, "refusal": 1}
    with pytest.raises(UnknownName, match="scorer in `objectives`"):
        measure(_run(), [Objective(use="score", scorer="u")])


def test_the_range_of_a_mean_over_scorers_is_the_mean_of_their_ranges_above_the_floors() -> None:
    run = _run()
    ranges = {"s": {"low": 0.0, "high": 1.0}, "t": {"low": -1.0, "high": 1.0}}
    cells = []
    for c in run.record.cells:
        metrics = tuple(m.model_copy(update=ranges[c.scorer.label]) for m in c.scorer.metrics)
        cells.append(c.model_copy(update={"scorer": c.scorer.model_copy(update={"metrics": metrics})}))
    ranged = replace(run, record=run.record.model_copy(update={"cells": tuple(cells)}))
    found = measure(ranged, [Objective(use="score"), Objective(use="score", scorer="s")])
    # s has its floor at 0.5, so 0 is -1 of the way from there to 1.
    assert found.ranges["score.s"] == (-1.0, 1.0)
    assert found.ranges["score"] == (-1.0, 1.0)
    assert found.ranges["s / j"] == (0.0, 1.0)
    # Intervals of held-out means stay inside: eighty perfect latents do not show more than perfect.
    perfect = replace(found, values={}, cells={"s / j": np.ones(80)})
    interval = _means(perfect, seed=0)["s / j"]
    assert interval["high"] == 1.0
    assert interval["low"] < 1.0


def test_a_cost_without_a_price_is_refused() -> None:
    run = _run()
    run.judgements.loc[0, "cost"] = np.nan
    with pytest.raises(SpecError, match="price of a judge is not known"):
        measure(run, [Objective(use="cost")])


def test_the_pareto_set_is_what_nobody_beats() -> None:
    rng = np.random.default_rng(0)
    points = np.vstack([rng.integers(0, 6, size=(30, 2)), [[9, 0]], [[9, 0]]])
    trials = [optuna.trial.create_trial(values=[float(a), float(b)]) for a, b in points]
    for i, t in enumerate(trials):
        t.number = i
    found = best(trials, [Objective(use="score"), Objective(use="length")])
    wanted = {
        tuple(x) for x in points if not any((y[0] >= x[0]) and (y[1] <= x[1]) and tuple(y) != tuple(x) for y in points)
    }
    assert {tuple(points[i]) for i in found} == wanted
    assert found[0] == 30
    assert 31 not in found


def test_a_winner_that_is_worse_in_something_and_better_in_nothing_is_worse() -> None:
    def differences(score: float, length: float) -> dict[str, Any]:
        return {
            name: {"estimate": d, "p": 0.5 if d == 0.01 else 0.001}
            for name, d in (("score", score), ("length", length))
        }

    cases = {
        (-0.2, 3.0): WORSE,
        (-0.2, 0.01): WORSE,
        (-0.2, -3.0): OPEN,
        (0.2, 3.0): OPEN,
        (0.2, 0.01): BETTER,
        (0.2, -3.0): BETTER,
        (0.01, 0.01): OPEN,
    }
    winners = [{"same": False, "differences": differences(*case)} for case in cases]
    _correct(winners, {"score": True, "length": False})
    assert [w["verdict"] for w in winners] == list(cases.values())
