"""`bench reliability`: the factorial of runs, known components recovered from score tables, and the whole on planted latents."""

from __future__ import annotations

import io
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from latentbench.analysis.reliability import (
    DRAW,
    JUDGE,
    ORDER,
    SEED,
    ReliabilitySpec,
    analyse,
    as_json,
    load_reliability_spec,
    places,
    reliability,
    run_spec,
)
from latentbench.analysis.reliability_view import reliability_csv, reliability_page
from latentbench.kernel.errors import RunError, SpecError
from latentbench.runs.finished import Run
from latentbench.runs.run_spec import RunSpec
from latentbench.suites.store import load_suite
from rich.console import Console

from tests.builders.records import cell as toy_cell
from tests.builders.records import record
from tests.builders.records import scorer as toy_scorer
from tests.builders.reopened import reopened
from tests.builders.signed_runs import unsigned

QUIET = Console(quiet=True)
ROOT = Path(__file__).parents[2]
SPEC = {
    "name": "r",
    "suite": "planted-1",
    "limit": 6,
    "explainers": ["tokens", {"use": "llm", "model": "wrong", "params": {"n_examples": 3}}],
    "scorers": [
        {"use": "detection", "params": {"answer": "list", "simulate": "never", "positives": 4, "negatives": 4}},
        {"use": "embedding", "params": {"positives": 4, "negatives": 4}, "judges": ["lexical"]},
    ],
    "judges": [{"use": "mock:lexical", "label": "lexical"}, {"use": "mock:label?error=0.2", "label": "wrong"}],
    "explainer_seeds": 2,
    "draws": 2,
    "orders": 2,
    "top_k": 3,
}


def _spec(**changes) -> ReliabilitySpec:
    return ReliabilitySpec.model_validate({**SPEC, **changes})


def _write(folder: Path, **changes) -> Path:
    path = folder / "r.yaml"
    path.write_text(yaml.safe_dump({**SPEC, **changes}), encoding="utf-8")
    return path


# --- the factorial


def test_every_combination_is_one_run_spec_and_the_first_is_the_plain_one():
    spec = _spec(seed=5)
    specs = {place: run_spec(spec, place) for place in places(spec)}
    assert list(specs) == list(itertools.product(range(2), repeat=3))
    plain = RunSpec.model_validate(
        {k: v for k, v in SPEC.items() if k in RunSpec.model_fields} | {"seed": 5, "explain_seed": 5}
    )
    assert specs[(0, 0, 0)] == plain.model_copy(update={"name": "r-e0-d0-o0"})
    assert (specs[(1, 0, 0)].seed, specs[(1, 0, 0)].explain_seed, specs[(1, 0, 0)].order) == (5, 6, 0)
    assert (specs[(0, 1, 1)].seed, specs[(0, 1, 1)].explain_seed, specs[(0, 1, 1)].order) == (6, 5, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"repeats": 2}, "use explainer_seeds, draws and orders"),
        ({"drawz": 2}, "Did you mean 'draws'"),
        ({"draws": 0}, "draws"),
    ],
)
def test_a_wrong_spec_is_refused(tmp_path, changes, message):
    with pytest.raises(SpecError, match=message):
        load_reliability_spec(_write(tmp_path, **changes))


def test_nothing_repeated_is_refused(tmp_path):
    path = _write(tmp_path, explainer_seeds=1, draws=1, orders=1, explainers=["tokens"], judges=[SPEC["judges"][0]])
    with pytest.raises(SpecError, match="nothing is repeated"):
        reliability(path, tmp_path / "out", None, QUIET)


def test_the_shipped_spec_loads():
    spec = load_reliability_spec(ROOT / "tasks" / "reliability" / "planted.yaml")
    assert len(places(spec)) == 8


# --- known components from score tables

TRUTH = {
    ("latent",): 1.0,
    (DRAW,): 0.05,
    (JUDGE,): 0.5,
    ("latent", SEED): 0.3,
    ("latent", DRAW): 0.2,
    ("latent", JUDGE): 0.4,
}
SIZES = {SEED: 3, DRAW: 3, ORDER: 2, JUDGE: 3}


def _runs(values: np.ndarray, spec: ReliabilitySpec) -> dict[tuple[int, int, int], Run]:
    """Runs whose score tables hold values [latents, seeds, draws, orders, judges]."""
    latents = [f"c/{i}" for i in range(len(values))]
    cells = [toy_cell("llm", toy_scorer("s", 0.0), str(judge)) for judge in range(values.shape[-1])]
    runs = {}
    for place in places(spec):
        rows = [
            {
                "cell": f"llm/s/{judge}/0",
                "latent": latent,
                "coder": "c",
                "explainer": "llm",
                "scorer": "s",
                "judge": str(judge),
                "repeat": 0,
                "metric": "m",
                "value": values[(i, *place, judge)],
                "n_judged": 1,
                "n_attempted": 1,
            }
            for i, latent in enumerate(latents)
            for judge in range(values.shape[-1])
        ]
        runs[place] = Run(
            Path(str(place)), record(cells, latents, id=str(place)), pd.DataFrame(), pd.DataFrame(), pd.DataFrame(rows)
        )
    return runs


def _values(seed: int, latents: int = 150) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y = np.zeros((latents, *SIZES.values()))
    for effect, variance in TRUTH.items():
        shape = [latents if "latent" in effect else 1, *(n if f in effect else 1 for f, n in SIZES.items())]
        y = y + rng.normal(scale=variance**0.5, size=shape)
    return y + rng.normal(scale=0.1**0.5, size=y.shape)


@pytest.fixture(scope="module")
def known():
    spec = _spec(explainer_seeds=3, draws=3, orders=2, top_k=10)
    y = _values(0)
    return y, analyse(spec, _runs(y, spec), "bench reliability x.yaml")


def test_known_components_are_recovered_and_add_up(known):
    _, report = known
    (result,) = report.results
    found = result.components
    # Six intervals of 95 %: two misses would be a chance of 3 in 100.
    assert sum(found[e].low <= truth <= found[e].high for e, truth in TRUTH.items()) >= 5
    for effect in (e for e in TRUTH if "latent" in e):
        assert found[effect].estimate == pytest.approx(TRUTH[effect], rel=0.35), effect
    for c in found.components:
        if ORDER in c.effect and len(c.effect) < 5:
            assert abs(c.share) < 0.02, c.name
    assert found[("latent", SEED, DRAW, ORDER, JUDGE)].estimate == pytest.approx(0.1, rel=0.2)
    assert sum(c.estimate for c in found.components) == pytest.approx(found.total)
    assert sum(c.share for c in found.components) == pytest.approx(1)


def test_retest_pairs_share_the_judge_and_nothing_that_was_drawn(known):
    y, report = known
    (result,) = report.results
    # Within a judge, latents and their answers to the judge stay; seed, draw and error are new.
    assert result.pearson.estimate == pytest.approx(1.4 / 2.0, abs=0.08)
    direct = []
    cells = list(itertools.product(range(3), range(3), range(2)))
    for a, b in itertools.combinations(cells, 2):
        if all(i != j for i, j in zip(a, b, strict=True)):
            direct += [np.corrcoef(y[(slice(None), *a, j)], y[(slice(None), *b, j)])[0, 1] for j in range(3)]
    assert result.pearson.estimate == pytest.approx(np.mean(direct))
    assert result.top.repeats == 54
    assert result.top.chance < result.top.mean < 1


def test_a_mean_over_repeats_is_more_dependable_than_one_score(known):
    _, report = known
    (result,) = report.results
    assert result.single.relative.estimate < result.whole.relative.estimate
    assert result.single.absolute.estimate < result.single.relative.estimate
    assert result.single.relative.low <= 1 / 2.0 <= result.single.relative.high


def test_runs_of_different_latents_are_no_repeats():
    spec = _spec(explainer_seeds=2, draws=1, orders=1)
    runs = _runs(_values(0, 10)[:, :2, :1, :1], spec)
    first = runs[(1, 0, 0)]
    other = first.record.model_copy(update={"latents": ("c/99", *first.record.latents[1:])})
    runs[(1, 0, 0)] = replace(first, record=other)
    with pytest.raises(RunError, match="different latents"):
        analyse(spec, runs, "x")


def test_latents_with_a_missing_score_are_counted_and_too_few_are_said_so():
    spec = _spec(explainer_seeds=2, draws=1, orders=1)
    y = _values(0, 10)[:, :2, :1, :1]
    y[3, 1, 0, 0, 0] = np.nan
    (result,) = analyse(spec, _runs(y, spec), "x").results
    assert (result.components.latents, result.components.dropped) == (9, 1)
    y[1:] = np.nan
    report = analyse(spec, _runs(y, spec), "x")
    assert report.results == ()
    assert "at least two more" in report.left_out[0]


# --- on planted latents


@pytest.fixture(scope="module")
def carried_out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reliability")
    path = _write(folder)
    report = reliability(path, folder / "out", folder / "cache.sqlite", QUIET)
    return path, folder, report


def test_two_scorers_have_components_that_add_up(carried_out):
    _, folder, report = carried_out
    assert len(report.runs) == 8
    assert [(r.scorer, r.explainer) for r in report.results] == [
        ("detection", "tokens"),
        ("detection", "llm"),
        ("embedding", "tokens"),
        ("embedding", "llm"),
    ]
    for result in report.results:
        assert sum(c.estimate for c in result.components.components) == pytest.approx(result.components.total)
    tokens, llm = report.results[:2]
    # A token list is the same whatever the seed; a model is shown other examples.
    seeded = [c.estimate for c in tokens.components.components if SEED in c.effect]
    assert np.allclose(seeded, 0)
    assert any(abs(c.estimate) > 1e-4 for c in llm.components.components if SEED in c.effect)
    # These judges answer a window in the same way wherever it stands.
    assert np.allclose([c.estimate for c in llm.components.components if ORDER in c.effect], 0)
    windows = {
        order: pd.read_parquet(folder / "out" / f"r-e0-d0-o{order}" / "judgements.parquet", columns=["item", "scorer"])
        for order in (0, 1)
    }
    for scorer in ("detection", "embedding"):
        first, second = (w.loc[w.scorer == scorer, "item"].tolist() for w in windows.values())
        assert sorted(first) == sorted(second)
        assert first != second


def test_shares_of_wins_add_up(carried_out):
    for winner in carried_out[2].winners:
        assert sum(winner.wins.values()) == pytest.approx(1)
        assert set(winner.means) == {"tokens", "llm"}


def test_a_second_call_reads_what_is_there(carried_out):
    path, folder, report = carried_out
    stamps = {p: p.stat().st_mtime_ns for p in (folder / "out").rglob("*.jsonl")}
    again = reliability(path, folder / "out", folder / "other-cache.sqlite", QUIET)
    assert again == report
    # Nothing was asked: the journals are as they were.
    assert {p: p.stat().st_mtime_ns for p in (folder / "out").rglob("*.jsonl")} == stamps
    assert len(stamps) == 8


def test_finished_runs_of_an_explainer_that_was_edited_are_not_read_again(tmp_path):
    views = load_suite("planted-1").latents("test", limit=4)

    def write_texts(which):
        rows = [json.dumps({"latent": view.id, "text": view.explain[which].text}) for view in views]
        (tmp_path / "mine.jsonl").write_text("\n".join(rows), encoding="utf-8")

    path = _write(
        tmp_path,
        limit=4,
        explainers=[{"use": "file", "params": {"path": "mine.jsonl"}}],
        scorers=SPEC["scorers"][1:],
        judges=SPEC["judges"][:1],
        explainer_seeds=1,
        orders=1,
    )
    write_texts(0)
    for _ in range(2):
        report = reliability(path, tmp_path / "out", tmp_path / "cache.sqlite", QUIET)
        assert len(report.runs) == 2
    write_texts(1)
    with pytest.raises(RunError, match="explainers: file changed since it was started"):
        reliability(path, tmp_path / "out", tmp_path / "cache.sqlite", QUIET)


def test_a_stopped_run_is_gone_on_with(carried_out):
    path, folder, report = carried_out
    run = reopened(folder / "out" / "r-e1-d0-o0")
    lines = (run / "judgements.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (run / "judgements.jsonl").write_text("".join(lines[:3]) + lines[3][:20], encoding="utf-8")
    unsigned(run, status="running")
    assert reliability(path, folder / "out", folder / "cache.sqlite", QUIET) == report


def test_a_folder_of_another_spec_is_refused(carried_out):
    path, folder, _ = carried_out
    changed = folder / "changed.yaml"
    changed.write_text(path.read_text(encoding="utf-8").replace("limit: 6", "limit: 7"), encoding="utf-8")
    with pytest.raises(RunError, match="another spec"):
        reliability(changed, folder / "out", None, QUIET)


def test_it_reads_at_80_columns_and_the_files_say_the_same(carried_out):
    report = carried_out[2]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(reliability_page(report).terminal(80))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("100.0%") == 4
    assert "test-retest: Pearson" in text
    assert reliability_page(report).markdown().count("| total |") == 4
    assert len(reliability_csv(report).splitlines()) == 1 + 2 * 31 + 2 * 15
    plain = json.dumps(as_json(report), allow_nan=False)
    assert '"draws": [' not in plain


# --- the three commands on these runs


def _bench(*words: object) -> str:
    from latentbench.cli import app
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, [str(w) for w in words], env={"COLUMNS": "80"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    return done.stdout


def test_the_reliability_command_prints_and_writes_the_analysis(carried_out):
    path, folder, report = carried_out
    text = _bench("reliability", path, "--out", folder / "out")
    assert "detection, explained by llm: ap_normalised" in text
    found = json.loads((folder / "out" / "reliability.json").read_text(encoding="utf-8"))
    assert found["results"][0]["components"]["total"] == report.results[0].components.total
    assert (folder / "out" / "reliability.csv").read_text(encoding="utf-8") == reliability_csv(report)
    assert (folder / "out" / "reliability.md").read_text(encoding="utf-8") == reliability_page(report).markdown()


def test_the_compare_command_pairs_two_runs_of_planted_latents(carried_out):
    folder = carried_out[1]
    text = _bench("compare", folder / "out" / "r-e0-d0-o0", folder / "out" / "r-e1-d0-o0", "--out", folder / "compared")
    assert "~  tokens" in text  # a token list knows no seed
    rows = pd.read_csv(folder / "compared" / "compare.csv")
    assert len(rows) == 6
    assert (rows.loc[rows.explainer_a == "tokens", "difference"] == 0).all()
    assert (rows.loc[rows.explainer_a == "llm", "difference"] != 0).any()
    assert (rows.n == 6).all()


def test_the_agreement_command_correlates_the_scorers_of_planted_latents(carried_out):
    folder = carried_out[1]
    text = _bench("agreement", folder / "out" / "r-e0-d0-o0", "--out", folder / "agreed")
    assert "detection · lexical – embedding" in text
    assert "6 latents, explained by tokens, llm" in text
    scores = pd.read_parquet(folder / "out" / "r-e0-d0-o0" / "scores.parquet")
    own = scores[(scores.judge == "lexical") & scores.metric.isin(["ap_normalised", "auroc"])]
    wide = own.pivot_table(index=["explainer", "latent"], columns=["scorer", "metric"], values="value")
    direct = wide["detection", "ap_normalised"].corr(wide["embedding", "auroc"], method="spearman")
    rows = pd.read_csv(folder / "agreed" / "agreement.csv")
    (row,) = rows[(rows.kind == "spearman") & (rows.a == "detection · lexical") & (rows.b == "embedding")].itertuples()
    assert row.estimate == pytest.approx(direct)
    assert row.n == 12
    assert {p.name for p in (folder / "agreed").iterdir()} == {f"agreement.{s}" for s in ("csv", "md", "png", "svg")}
