"""All scorers of a run judge the same test windows of a latent, as far as they want the same kind."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from latentbench.judges.cache.cached_judge import CachedJudge, ReplyCache
from latentbench.judges.judge import BaseJudge
from latentbench.kernel.boundary import Fault
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Capability, JudgeIdentity, Outcome, Reply, Simulate
from latentbench.kernel.tasks import spec_file
from latentbench.kernel.trial import Trial
from latentbench.prompts import selection
from latentbench.runs.judging import trials_of
from latentbench.runs.run_spec import RunSpec, load_run_spec
from latentbench.scorers.scorer import load_scorer
from latentbench.stats.quota import spread

from tests.builders.toy_latents import latent

LISTS = {"use": "detection", "preset": "paper"}
MARKED_LISTS = {"use": "fuzzing", "preset": "paper"}
SCORERS = (
    *("detection", "fuzzing", "embedding", "simulation", "surprisal", LISTS, MARKED_LISTS),
    {"use": "sensitivity", "preset": "ratings"},
)
SIMULATED = (LISTS, "detection", "fuzzing", MARKED_LISTS, "simulation")
"""What a simulator is asked by, in lists and one by one."""
MANY = latent(positives=60, negatives=40, hard=20)


def spec(seed: int = 0, scorers: tuple[str, ...] = ("detection",)) -> RunSpec:
    entries = {"explainers": ["empty"], "judges": ["mock:oracle"], "scorers": list(scorers)}
    return RunSpec.model_validate({"name": "t", "suite": "none", "seed": seed, **entries})


def asked(
    use: object, n: int, repeat: int = 0, run: RunSpec | None = None, about: LatentView = MANY, **params: object
) -> list[Trial]:
    named = {"use": use} if isinstance(use, str) else use
    assert isinstance(named, dict)
    scorer = load_scorer({**named, "params": {"positives": n, "negatives": n, **params}})
    found = trials_of(run or spec(), repeat, scorer, about, "z")
    assert not isinstance(found, Fault), found.line
    return found


def windows(trials: list[Trial]) -> dict[str, set[int | None]]:
    """Windows judged, by kind."""
    found: dict[str, set[int | None]] = {}
    for t in trials:
        for w in t.windows:
            found.setdefault(w.kind, set()).add(w.item)
    return found


@pytest.mark.parametrize("repeat", [0, 1])
def test_every_scorer_judges_the_same_windows(repeat: int) -> None:
    known = windows(asked("detection", 12, repeat))
    assert sum(map(len, known.values())) == 24
    for use in SCORERS:
        assert windows(asked(use, 12, repeat)) == known, use
    shown = windows(trials_of_saebench(12, repeat))
    assert shown["random"] == known["random"]
    hard = [windows(asked(use, 12, repeat, negative_kinds=["random", "similar"])) for use in ("detection", "embedding")]
    assert hard[0] == hard[1] == {**known, "similar": hard[0]["similar"]}


def trials_of_saebench(negatives: int, repeat: int) -> list[Trial]:
    found = trials_of(spec(), repeat, load_scorer({"use": "saebench", "params": {"negatives": negatives}}), MANY, "z")
    assert not isinstance(found, Fault)
    return found


def test_the_scorers_of_the_demo_judge_the_same_windows() -> None:
    demo = load_run_spec(spec_file("runs", "demo"))
    found = []
    for entry in demo.scorers:
        made = trials_of(demo, 0, load_scorer({"use": entry.use, "params": entry.params}), MANY, "z")
        assert not isinstance(made, Fault)
        found.append(windows(made))
    assert len(found) == 4
    assert all(own == found[0] for own in found)
    assert sum(map(len, found[0].values())) == 12


def test_a_smaller_draw_lies_within_a_larger_one() -> None:
    sizes = (1, 3, 5, 10, 12, 25, 39, 70)
    drawn = [windows(asked(use, n)) for n, use in zip(sizes, SCORERS, strict=True)]
    for less, more in pairwise(drawn):
        assert all(own <= more[kind] for kind, own in less.items())
    assert drawn[-1].keys() == {*(f"quantile:{d}" for d in range(10)), "random"}


def test_shares_of_the_deciles_only_grow_with_what_is_asked_for() -> None:
    for room in ([3] * 10, [1, 5, 5], [5, 5, 1], [0, 4, 2, 0, 9], [7]):
        shares = [spread(n, room) for n in range(sum(room) + 2)]
        for less, more in pairwise(shares):
            assert all(a <= b for a, b in zip(less, more, strict=True)), room


def test_repeats_runs_and_latents_have_windows_of_their_own() -> None:
    other = latent(positives=60, negatives=40, hard=20, name="sae/8")
    drawn = [
        windows(asked("detection", 12)),
        windows(asked("detection", 12, repeat=1)),
        windows(asked("detection", 12, run=spec(seed=1))),
        windows(asked("detection", 12, about=other)),
    ]
    assert all(drawn.count(one) == 1 for one in drawn)


def test_a_window_that_joins_the_suite_displaces_none_but_one() -> None:
    fewer = latent(positives=60, negatives=39, hard=20)
    for seed in range(5):
        before, after = ({w.id for w in selection.negatives(view, "random", 10, seed)} for view in (fewer, MANY))
        assert len(before & after) >= 9


def test_other_scorers_of_the_run_change_nothing() -> None:
    alone, beside, turned = (
        asked(LISTS, 12, run=spec(scorers=names))
        for names in (("detection",), ("detection", "fuzzing"), ("fuzzing", "intruder", "detection"))
    )
    assert alone == beside == turned


def test_what_a_scorer_draws_alone_is_its_own() -> None:
    orders = [[w.item for t in asked(use, 12) for w in t.windows] for use in (LISTS, MARKED_LISTS, "simulation")]
    assert len({tuple(o) for o in orders}) == 3


class Counting(BaseJudge):
    """A simulator that remembers what it was asked."""

    can = frozenset({Capability.SIMULATE})
    identity = JudgeIdentity("counting", "c", "1", "exact")

    def __init__(self) -> None:
        self.seen: Counter[tuple[str, tuple[str, ...]]] = Counter()

    async def answer(self, requests: object) -> list[Reply]:
        found = []
        for r in requests:  # type: ignore[attr-defined]
            self.seen.update((r.trial.explanation, w.tokens) for w in r.trial.windows)
            rows = tuple((0.25,) * len(w.tokens) for w in r.trial.windows)
            found.append(Reply(tokens=rows, windows=(0.5,) * len(rows)))
        return found


def test_a_simulator_computes_each_window_once_for_all_scorers(tmp_path: Path) -> None:
    judge, cache = Counting(), ReplyCache(tmp_path / "replies.sqlite")
    cached = CachedJudge(judge, cache)
    scored = []
    for use in SIMULATED:
        named = {"use": use} if isinstance(use, str) else use
        scorer = load_scorer({**named, "params": {"positives": 12, "negatives": 12}})  # type: ignore[dict-item]
        for trial in asked(use, 12):
            put = scorer.requests(trial, judge.can)
            assert [len(r.trial.windows) for r in put if isinstance(r, Simulate)] == [1] * len(trial.windows)
            scored += scorer.parse(trial, asyncio.run(cached.answer(put)))
    cache.close()
    assert len(judge.seen) == 24
    assert set(judge.seen.values()) == {1}
    assert len(scored) == 24 * len(SIMULATED)
    assert {j.outcome for j in scored} == {Outcome.OK}


def test_a_window_that_a_simulator_cannot_read_is_missing_alone() -> None:
    scorer = load_scorer({**LISTS, "params": {"positives": 4, "negatives": 4}})
    trial = asked(LISTS, 4)[0]
    replies = [
        Reply(Outcome.SKIPPED, error="no text") if i == 1 else Reply(tokens=((0.1,) * 8,), windows=(0.9,))
        for i in range(len(trial.windows))
    ]
    found = scorer.parse(trial, replies)
    assert [j.item for j in found] == [w.item for w in trial.windows]
    assert [j.outcome.value for j in found] == ["ok", "skipped", "ok", "ok", "ok"]
    assert [j.answer for j in found] == [1, None, 1, 1, 1]
