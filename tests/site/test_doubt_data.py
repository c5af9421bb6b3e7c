"""Disagreements by hand, and failures by cause with their replies."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from latentbench.runs.finished import Run, load_run
from latentbench.runs.kept import kept_calls
from latentbench.site.difference_data import differences
from latentbench.site.failure_data import failures

from tests.builders.records import cell, record, scorer
from tests.builders.run_builder import Grid
from tests.builders.site_runs import HOSTILE, hostile_run, shown_run


def scores(*rows: tuple[str, str, str, str, float]) -> Run:
    """A run with these values: explainer, scorer, judge, latent, value."""
    asked = dict.fromkeys((e, s, j) for e, s, j, _, _ in rows)
    labels = list(dict.fromkeys(s for _, s, _ in asked))
    scorers = {label: scorer(label) for label in labels}
    cells = [cell(e, scorers[s], j, is_floor=e == "empty") for e, s, j in asked]
    table = pd.DataFrame(
        [(e, s, j, z, "a", 0, "m", v, 4, 4) for e, s, j, z, v in rows],
        columns=[
            "explainer",
            "scorer",
            "judge",
            "latent",
            "coder",
            "repeat",
            "metric",
            "value",
            "n_judged",
            "n_attempted",
        ],
    )
    latents = list(dict.fromkeys(z for *_, z, _ in rows))
    return Run(Path(), record(cells, latents), pd.DataFrame(), pd.DataFrame(), table)


def test_judges_and_explainers_differ_by_values_and_scorers_by_places() -> None:
    run = scores(
        ("llm", "s", "one", "a/0", 0.9),
        ("llm", "s", "two", "a/0", 0.4),
        ("llm", "s", "one", "a/1", 0.6),
        ("llm", "s", "two", "a/1", 0.5),
        ("tokens", "s", "one", "a/0", 0.1),
        ("llm", "t", "one", "a/0", 0.0),
        ("llm", "t", "one", "a/1", 5.0),
    )
    by_scorer, by_judge, by_explainer = differences(run)
    first = by_judge.shown[0]
    assert (first.latent, first.about, first.more.name, first.less.name) == ("a/0", "llm · s", "one", "two")
    assert first.size == pytest.approx(0.5)
    assert [d.size for d in by_judge.shown] == sorted((d.size for d in by_judge.shown), reverse=True)
    (only,) = by_explainer.shown
    assert (only.latent, only.more.name, only.less.name, only.size) == ("a/0", "llm", "tokens", pytest.approx(0.8))
    # s by one has 0.1, 0.6, 0.9 of three: 0.9 is above 5/6; t has 0.0 of two: above 1/4.
    place = next(d for d in by_scorer.shown if d.latent == "a/0")
    assert (place.more.name, place.less.name) == ("s · one", "t · one")
    assert place.more.place == pytest.approx(5 / 6)
    assert place.less.place == pytest.approx(1 / 4)
    assert place.size == pytest.approx(5 / 6 - 1 / 4)


def test_two_judges_of_one_scorer_are_no_difference_of_scorers() -> None:
    run = scores(("llm", "s", "one", "a/0", 0.9), ("llm", "s", "two", "a/0", 0.4), ("llm", "s", "one", "a/1", 0.1))
    assert differences(run)[0].n == 0


def test_scorers_that_differ_on_floors_are_marked_and_leave_room_for_explanations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("latentbench.site.difference_data.MOST", 2)
    values = {"empty": [(0.0, 9.0), (0.1, 8.0), (0.2, 7.0)], "llm": [(0.5, 5.0), (0.6, 6.5), (0.55, 5.5)]}
    run = scores(
        *(
            (explainer, name, "one", f"a/{i}", pair[k])
            for explainer, pairs in values.items()
            for i, pair in enumerate(pairs)
            for k, name in enumerate(("s", "t"))
        )
    )
    by_scorer = differences(run)[0]
    assert by_scorer.n == 6
    assert sorted(d.is_floor for d in by_scorer.shown) == [False, False, True, True]
    assert [d.size for d in by_scorer.shown] == sorted((d.size for d in by_scorer.shown), reverse=True)
    assert all(d.is_floor is (d.about == "empty") for d in by_scorer.shown)
    assert not any(d.is_floor for d in differences(run)[2].shown)


def test_floors_are_no_explainers_that_differ(tmp_path: Path) -> None:
    run = load_run(shown_run(tmp_path, Grid(explainers={"llm": 0.9, "shuffled": 0.1}, coders={"res9": 4})))
    assert differences(run)[2].n == 0


def test_failures_are_counted_by_cause_and_have_the_reply_that_was_kept(tmp_path: Path) -> None:
    run = load_run(hostile_run(tmp_path))
    found = failures(run, kept_calls(run), True)
    bad = int((run.judgements["outcome"] != "ok").sum())
    assert found.n == bad > 0
    assert sum(cause.n for cause in found.causes) == bad
    assert found.attempted == len(run.judgements) + len(run.explanations)
    assert found.causes[0].cause == "api: mock failure"
    assert all(one.reply == f"reply {HOSTILE}" and one.reasoning == HOSTILE for one in found.causes[0].shown)


def test_without_kept_calls_a_failure_has_no_reply(tmp_path: Path) -> None:
    run = load_run(shown_run(tmp_path, Grid(coders={"res9": 3}, fail=0.5)))
    found = failures(run, (), False)
    assert found.n > 0
    assert all(one.reply is None for cause in found.causes for one in cause.shown)
