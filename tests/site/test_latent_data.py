"""The latents of a site say what the tables say: every judgement once, every score, every window; neighbours by hand."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from latentbench.kernel.tables import LATENTS
from latentbench.runs.finished import Run, load_run, suite_of
from latentbench.runs.kept import kept_calls
from latentbench.site.call_data import call_list
from latentbench.site.latent_data import OUTCOMES, ShownLatent, _neighbours, latent_list, shown_latents, text_list
from latentbench.suites.store import Suite

from tests.builders.run_builder import Grid
from tests.builders.site_runs import shown_run


@pytest.fixture(scope="module")
def kept(kept_run: Path) -> tuple[Run, Suite, list[ShownLatent]]:
    run = load_run(kept_run)
    suite = suite_of(run)
    assert suite is not None
    return run, suite, list(shown_latents(run, suite))


def test_every_judgement_stands_in_one_line(kept: tuple[Run, Suite, list[ShownLatent]]) -> None:
    run, _, shown = kept
    told = []
    for latent in shown:
        for table in latent.verdicts:
            for line in table.lines:
                for explainer, said in zip(table.explainers, line.said, strict=True):
                    if said is not None:
                        outcome, _, answer, *_ = (*said, None, None, None)
                        told.append(
                            (latent.id, table.scorer, explainer, line.trial, line.item, line.truth, outcome, answer)
                        )
    columns = ["latent", "scorer", "explainer", "trial", "item", "truth", "outcome", "answer"]
    held = [
        (z, s, e, t, int(i), int(truth), OUTCOMES.index(o), None if a != a else int(a))
        for z, s, e, t, i, truth, o, a in run.judgements[columns].itertuples(index=False, name=None)
    ]
    assert len(held) > 100
    assert sorted(told, key=str) == sorted(held, key=str)


def test_windows_are_those_of_the_suite(kept: tuple[Run, Suite, list[ShownLatent]]) -> None:
    _, suite, shown = kept
    for latent in shown:
        view = suite.latent(latent.id)
        windows = {w.id: w for w in (*view.explain, *view.contrast, *view.test)}
        assert {w.id for w in latent.windows} == set(windows)
        for window in latent.windows:
            own = windows[window.id]
            assert (window.role, window.tokens) == (own.role, own.tokens)
            assert dict(zip(window.at, window.values, strict=True)) == pytest.approx(
                {i: v for i, v in enumerate(own.activations) if v > 0}, rel=0.005
            )
        assert latent.scale == max(w.max for w in windows.values())


def test_scores_in_the_list_and_of_a_latent_are_those_of_the_run(kept: tuple[Run, Suite, list[ShownLatent]]) -> None:
    run, suite, shown = kept
    columns = latent_list(run, suite, True)
    assert columns.ids == run.record.latents
    assert set(columns.coverage) == {1.0}
    held = {(r.explainer, r.scorer, r.latent): r.value for r in run.per_latent().itertuples()}
    for e, explainer in enumerate(columns.explainers):
        for g, grading in enumerate(columns.gradings):
            for i, latent in enumerate(shown):
                value = held[explainer.label, grading.scorer, latent.id]
                assert columns.scores[e][g][i] == pytest.approx(value)
                own = next(t for t in latent.scores if t.scorer == grading.scorer)
                name, values = own.metrics[0]
                assert name == grading.headline
                assert values[e] == pytest.approx(value)
                assert own.judged[e] == own.attempted[e] > 0


def test_the_words_of_a_verdict_are_found_by_cell_trial_and_window(kept: tuple[Run, Suite, list[ShownLatent]]) -> None:
    run, _, shown = kept
    for latent in shown[:2]:
        calls = call_list(latent.id, kept_calls(run, latent.id))
        assert len(set(calls.texts)) == len(calls.texts)
        for table in latent.verdicts:
            for line in table.lines:
                for cell, said in zip(table.cells, line.said, strict=True):
                    mine = [c for c in calls.calls if c.owner == cell and c.trial == line.trial]
                    assert said is None or any(line.item in c.items for c in mine)
                    assert any(calls.texts[at] for c in mine for _, at in c.messages)


def test_without_its_suite_a_run_has_no_windows_and_says_so(kept_run: Path) -> None:
    run = load_run(kept_run)
    assert not latent_list(run, None, False).has_windows
    latent = next(shown_latents(run, None))
    assert latent.windows == ()
    assert latent.verdicts


def test_the_list_has_the_texts_of_those_that_are_no_floors(kept_run: Path) -> None:
    run = load_run(kept_run)
    found = text_list(run)
    assert found.explainers == ("truth", "llm")
    assert all(len(texts) == 12 for texts in found.texts)


def test_repeats_have_verdicts_of_their_own(tmp_path: Path) -> None:
    run = load_run(shown_run(tmp_path, Grid(coders={"res9": 2}, repeats=2, windows=4, fail=0.2)))
    latent = next(shown_latents(run, suite_of(run)))
    assert [(table.repeat, len(table.lines)) for table in latent.verdicts] == [(0, 4), (1, 4)]
    lost = [said for table in latent.verdicts for line in table.lines for said in line.said if said and said[0] != 0]
    assert lost
    assert all(said[-1] == "mock failure" for said in lost)


def test_neighbours_are_the_nearest_of_the_same_coder() -> None:
    directions = {"a/0": [1.0, 0.0], "a/1": [1.0, 1.0], "a/2": [0.0, 1.0], "b/0": [1.0, 0.0]}
    rows = [dict.fromkeys(LATENTS.names) | {"latent": z, "coder": z[0], "direction": d} for z, d in directions.items()]
    fields = ["latent", "coder", "direction"]
    table = pa.table({name: pa.array([row[name] for row in rows]) for name in fields})
    suite = Suite(Path(), "x", "1-0", "", {}, table, table)
    found = _neighbours(suite, ["a/0", "a/1"])
    assert [(n.id, n.cosine, n.in_run) for n in found["a/0"]] == [("a/1", 0.7071, True), ("a/2", 0.0, False)]
    assert [n.id for n in found["a/1"]] == ["a/0", "a/2"]
    assert "b/0" not in found
