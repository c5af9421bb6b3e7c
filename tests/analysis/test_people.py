"""Ratings of people: drawn blind, kept through kills, imported whole, and set against scorers. All raters here are generated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from latentbench.analysis.people.given_rating import RATINGS, SCALE, GivenRating, pair_rating
from latentbench.analysis.people.people_agreement import people_agreement
from latentbench.analysis.people.rated_item import is_turned, order_for, rated_items
from latentbench.analysis.people.rating_import import imported_ratings
from latentbench.analysis.people.rating_store import FOLDER, LINES, TABLE, rating_session, read_ratings
from latentbench.cli import app
from latentbench.kernel.errors import DataError, RunError, SpecError, UnknownName
from latentbench.kernel.tables import read_table
from latentbench.runs.finished import load_run, suite_of
from latentbench.stats.alpha import krippendorff_alpha
from latentbench.stats.raters import ceiling, mean_reliability, rater_correlation
from scipy.stats import spearmanr
from typer.testing import CliRunner

from tests.builders.generated_raters import generated_choices, generated_ratings
from tests.builders.run_builder import Grid
from tests.builders.site_runs import shown_run

GRID = Grid(scorers=("detection", "fuzzing"), coders={"res9": 30}, windows=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shown_run(tmp_path_factory.mktemp("people"), GRID)


def a_rating(value: int = 3, rater: str = "ann", latent: str = "res9/0", first: str = "h") -> GivenRating:
    return GivenRating(rater, SCALE, latent, first, "", value, 2.5, "page")


def test_items_are_blind_shared_and_in_an_order_of_each_rater(folder: Path) -> None:
    run = load_run(folder)
    suite = suite_of(run)
    assert suite is not None
    items = rated_items(run, suite, limit=30, seed=3)
    assert items == rated_items(run, suite, limit=30, seed=3)
    assert len({item.id for item in items}) == 30
    assert len({item.latent for item in items}) == 30, "a limit costs explanations and not latents"
    one, two = (order_for(items, rater, 3) for rater in ("ann", "bob"))
    assert one == order_for(items, "ann", 3)
    assert one != two
    assert sorted(i.id for i in one) == sorted(i.id for i in two)
    assert all(w.role == "test" for item in items for w in item.windows)
    # Windows that nobody judged are left out: here those with an odd number.
    numbers = sorted(w.id for latent in run.record.latents for w in suite.latent(latent).test if w.id % 2 == 0)
    frame = run.judgements.iloc[[0] * len(numbers)].assign(item=numbers)
    frame["latent"] = [
        next(z for z in run.record.latents if any(w.id == n for w in suite.latent(z).test)) for n in numbers
    ]
    judged = rated_items(replace(run, judgements=frame), suite)
    assert {w.id % 2 for item in judged for w in item.windows} == {0}
    assert {w.id % 2 for item in items for w in item.windows} == {0, 1}
    floors = set(run.explanations.loc[run.explanations["explainer"] == "shuffled", "hash"])
    real = set(run.explanations.loc[run.explanations["explainer"] != "shuffled", "hash"])
    assert not {h for item in rated_items(run, suite) for h in item.hashes} & (floors - real)
    with pytest.raises(UnknownName, match="lllm"):
        rated_items(run, suite, explainers=["lllm"])
    with pytest.raises(SpecError, match="two different explanations"):
        rated_items(run, suite, "pair", explainers=["llm"])
    pairs = rated_items(run, suite, "pair")
    assert 0 < sum(is_turned(p, "ann", 0) for p in pairs) < len(pairs)


def test_a_rating_is_what_it_can_be() -> None:
    for fault in ({"value": 6}, {"value": 0}, {"rater": ""}, {"rater": "\x1b[31m"}, {"first": ""}):
        with pytest.raises(ValueError):
            a_rating(**fault)  # type: ignore[arg-type]
    assert pair_rating("a", "z", ("p", "q"), 1, None, "x").value == 1
    assert pair_rating("a", "z", ("q", "p"), 1, None, "x").value == -1


def test_a_killed_session_loses_nothing_and_the_last_word_counts(tmp_path: Path) -> None:
    with rating_session(tmp_path) as session:
        session.add(a_rating(2))
        session.add(a_rating(5))
        session.add(a_rating(1, "bob"))
        lines = (tmp_path / FOLDER / LINES).read_bytes()
        assert lines.count(b"\n") == 3
        with pytest.raises(RunError, match="another thread|process"):
            _elsewhere(tmp_path)
    assert not (tmp_path / FOLDER / LINES).exists()
    assert read_table(tmp_path / FOLDER / TABLE, RATINGS).num_rows == 2
    assert [r.value for r in read_ratings(tmp_path)] == [5, 1]
    # A kill leaves the lines; the last one torn.
    later = lines.replace(b'"value": 1', b'"value": 4')
    (tmp_path / FOLDER / LINES).write_bytes(lines + later[: len(later) - 30].splitlines(keepends=True)[-1][:-9])
    assert [r.value for r in read_ratings(tmp_path)] == [5, 1]
    with rating_session(tmp_path) as session:
        assert len(session.of("ann")) == 1
        session.add(a_rating(4, "cy"))
    assert [(r.rater, r.value) for r in read_ratings(tmp_path)] == [("ann", 5), ("bob", 1), ("cy", 4)]


def _elsewhere(run: Path) -> None:
    import threading

    faults: list[BaseException] = []

    def enter() -> None:
        try:
            with rating_session(run):
                pass
        except BaseException as e:
            faults.append(e)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if faults:
        raise faults[0]


def test_a_file_is_imported_whole_or_not_at_all(folder: Path, tmp_path: Path) -> None:
    run = load_run(folder)
    text = run.explanations.set_index(["explainer", "latent"])["text"]
    rows = "rater,latent,explainer,value,other_explainer\nann,res9/0,llm,4,\nann,res9/1,llm,-1,tokens\n"
    (tmp_path / "r.csv").write_text(rows, encoding="utf-8")
    scale, pair = imported_ratings(tmp_path / "r.csv", run)
    assert (scale.task, scale.value, scale.source) == ("scale", 4, "r.csv")
    ours = run.explanations.set_index(["explainer", "latent"])["hash"]
    assert pair.value == (-1 if pair.first == ours["llm", "res9/1"] else 1)
    line = {"rater": "bob", "latent": "res9/0", "text": text["llm", "res9/0"], "value": 2}
    (tmp_path / "r.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    assert imported_ratings(tmp_path / "r.jsonl", run)[0].first == scale.first
    for bad, said in (
        ("ann,res9/0,nobody,4,", "by 'nobody'"),
        ("ann,res9/0,llm,9,", "expected one of 1, 2"),
        ("ann,res9/0,llm,x,", "whole number"),
        (",res9/0,llm,4,", "rater is missing"),
    ):
        (tmp_path / "bad.csv").write_text(rows + bad + "\n", encoding="utf-8")
        with pytest.raises(DataError, match=said) as found:
            imported_ratings(tmp_path / "bad.csv", run)
        assert "row 4" in str(found.value)


def test_the_correlation_of_raters_is_the_mean_over_pairs_and_the_ceiling_is_spearman_and_browns() -> None:
    rng = np.random.default_rng(0)
    table = rng.standard_normal((60, 1)) + rng.standard_normal((60, 3))
    table[:10, 0] = np.nan
    pairs = [(0, 1), (0, 2), (1, 2)]
    by_hand = np.mean([spearmanr(table[10 if 0 in p else 0 :, list(p)]).statistic for p in pairs])
    found = rater_correlation(table)
    assert found.estimate == pytest.approx(by_hand)
    assert found.low < found.estimate < found.high
    assert mean_reliability(0.5, 3) == pytest.approx(0.75)
    assert ceiling(0.5, 1) == pytest.approx(0.5**0.5)
    assert ceiling(-0.1, 4) == 0
    assert np.isnan(rater_correlation(table[:, :1]).estimate)


def test_raters_without_noise_agree_with_the_score_that_made_them_and_noise_lowers_both(folder: Path) -> None:
    run = load_run(folder)
    clear, noisy = (people_agreement(run, generated_ratings(run, 3, noise)) for noise in (0.0, 1.5))
    assert clear.ordinal.estimate == 1
    assert clear.ceiling[0] == pytest.approx(1)
    assert noisy.ordinal.estimate < 0.7
    assert noisy.ceiling[0] < 0.9
    for name in clear.scorers:
        assert clear.scorers[name].estimate > noisy.scorers[name].estimate
        assert clear.scorers[name].clusters == 30
    # Alpha is that of the table of these ratings, made here by hand.
    ratings = generated_ratings(run, 3, 1.5)
    own = set(run.explanations.loc[run.explanations["explainer"] != "shuffled", "hash"])
    units = sorted({(r.latent, r.first) for r in ratings if r.first in own})
    values = {(r.latent, r.first, r.rater): r.value for r in ratings}
    table = [[values[(*unit, f"generated-{i}")] for i in range(3)] for unit in units]
    assert noisy.explanations == len(units)
    assert noisy.interval.estimate == pytest.approx(krippendorff_alpha(table, "interval").estimate)


def test_choices_are_counted_against_a_floor_of_one_half(tmp_path: Path) -> None:
    run = load_run(shown_run(tmp_path, Grid(coders={"res9": 80}, windows=20)))
    right, guessed = (people_agreement(run, generated_choices(run, share)) for share in (1.0, 0.5))
    assert right.choices["detection"].estimate == 1
    assert 0.3 < guessed.choices["detection"].estimate < 0.7
    assert np.isnan(right.ordinal.estimate)


def test_the_command_prints_scorers_against_people(tmp_path: Path) -> None:
    place = shown_run(tmp_path, GRID)
    run = load_run(place)
    told = run.explanations.set_index(["explainer", "latent"])["hash"]
    assert told.notna().all()
    rows = [
        f"{r.rater},{r.latent},{e},{r.value}"
        for r in generated_ratings(run, 2, 0.5)
        for e in ("llm", "tokens")
        if told[e, r.latent] == r.first
    ]
    (tmp_path / "r.csv").write_text("rater,latent,explainer,value\n" + "\n".join(rows) + "\n", encoding="utf-8")
    done = CliRunner().invoke(app, ["rate", "import", str(tmp_path / "r.csv"), "--run", str(place)])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["agreement", str(place)])
    assert done.exit_code == 0, done.output
    assert "Scorers against people" in done.output
    table = (place / "people.csv").read_text(encoding="utf-8")
    expected = people_agreement(run, read_ratings(place)).ordinal.estimate
    line = next(x for x in table.splitlines() if x.startswith("alpha_ordinal"))
    assert float(line.split(",")[2]) == pytest.approx(expected, abs=1e-6)
