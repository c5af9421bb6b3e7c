"""The pure parts of studies: comparisons, trends, signs, merging of recipes, tables, choices. No model, no run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from latentbench.kernel.errors import DataError, SpecError, UnknownName
from latentbench.kernel.files import write_json
from latentbench.lab.studies.contrast import LevelContrast, agrees, difference, trend
from latentbench.lab.studies.deciles import by_decile
from latentbench.lab.studies.length import penalised_rows, slope_row
from latentbench.lab.studies.series import outdated
from latentbench.lab.studies.study_page import index, read_study, write_pages
from latentbench.lab.studies.study_result import StudyTable, to_csv, view
from latentbench.lab.studies.study_spec import check_names, load_profile, load_study, studies
from latentbench.lab.studies.study_suites import identity, merged, recipe_of
from latentbench.subject.coders.coder_spec import coder_folder
from latentbench.suites.build.draw import Counts, chosen
from latentbench.suites.build.suite_recipe import CoderEntry
from scipy.stats import linregress, ttest_ind

RNG = np.random.default_rng(0)
ROOT = Path(__file__).parents[2]


def series(values, names=None):  # type: ignore[no-untyped-def]
    return pd.Series(np.asarray(values, float), index=names or [f"c/{i}" for i in range(len(values))])


def test_the_same_latents_are_compared_pair_by_pair():
    a = RNG.normal(size=40)
    found = difference(series(a + 0.1), series(a), seed=0)
    assert found.design == "paired"
    assert found.estimate == pytest.approx(0.1)
    # The difference is the same for every latent, so its interval has no width; two samples of this size could not tell.
    assert found.low == pytest.approx(found.high)
    assert found.sign == 1


def test_other_latents_are_compared_as_two_samples():
    a, b = RNG.normal(0.3, 1, 40), RNG.normal(0, 2, 50)
    found = difference(series(a), series(b, [f"d/{i}" for i in range(50)]), seed=0)
    expected = ttest_ind(a, b, equal_var=False)
    assert found.design == "two samples"
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_a_latent_without_a_score_is_left_out_of_both_sides():
    a, b = series([1.0, 2.0, math.nan, 4.0, 5.0, 6.0]), series([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    assert difference(a, b, seed=0).n == 5


def test_trends_are_within_latents_where_they_can_be():
    base = RNG.normal(0, 5, 30)
    x = {"10": 1.0, "20": 2.0, "40": 3.0}
    table = pd.DataFrame({k: base + 0.5 * v + RNG.normal(0, 0.1, 30) for k, v in x.items()})
    found = trend(table, x, seed=0)
    assert found.design == "paired"
    assert found.estimate == pytest.approx(0.5, abs=0.05)
    assert found.p < 0.01
    apart = pd.DataFrame({k: pd.Series(table[k].to_numpy(), index=[f"{k}/{i}" for i in range(30)]) for k in x})
    other = trend(apart, x, seed=0)
    flat = apart.stack().dropna()
    fit = linregress([x[str(k)] for k in flat.index.get_level_values(1)], flat.to_numpy())
    assert other.design == "two samples"
    assert (other.estimate, other.p) == pytest.approx((fit.slope, fit.pvalue))


def test_signs_against_the_paper():
    def ours(low, high):  # type: ignore[no-untyped-def]
        return LevelContrast((low + high) / 2, low, high, 0.5, 10, "paired")

    assert agrees(ours(0.1, 0.2), 0.03) == "same"
    assert agrees(ours(-0.2, -0.1), 0.03) == "opposite"
    assert agrees(ours(-0.1, 0.2), 0.03) == "unclear"
    assert agrees(ours(0.1, 0.2), 0.0) == "paper: none"
    assert agrees(ours(0.1, 0.2), None) == ""


def test_recipes_are_merged_and_another_kind_replaces():
    base = {"corpus": {"kind": "jsonl", "path": "a"}, "explain": {"n": 40, "sampling": "quantile"}, "coders": [1, 2]}
    found = merged(base, {"explain": {"n": 10}, "coders": [3], "corpus": {"max_tokens": 5}})
    assert found["explain"] == {"n": 10, "sampling": "quantile"}
    assert found["coders"] == [3]
    assert found["corpus"] == {"kind": "jsonl", "path": "a", "max_tokens": 5}
    assert merged(base, {"corpus": {"kind": "hf", "dataset": "d"}})["corpus"] == {"kind": "hf", "dataset": "d"}
    assert base["explain"] == {"n": 40, "sampling": "quantile"}


def test_deciles_rank_each_decile_against_the_silent_windows():
    rows = [("a", 0, "quantile:0", 0.4), ("a", 0, "quantile:9", 0.9), ("a", 0, "random", 0.5), ("a", 0, "random", 0.1)]
    table = pd.DataFrame(rows, columns=["latent", "repeat", "kind", "score"]).assign(outcome="ok", answer=1)
    found = by_decile(table).set_index("decile").value
    assert (found[0], found[9]) == (0.5, 1.0)


def test_an_effect_of_length_within_latents_is_found_and_taken_out():
    words = np.array([1, 2, 4, 8, 16])
    rows = []
    for i in range(40):
        # Latents with longer explanations are the harder ones: over all rows the effect of length looks reversed.
        longer = 2 ** (i % 4)
        for level, w in enumerate(words * longer):
            value = 0.05 * np.log2(w) - 0.2 * np.log2(longer) + RNG.normal(0, 0.01)
            rows.append((f"c/{i}", str(words[level]), float(w), value))
    table = pd.DataFrame(rows, columns=["latent", "level", "words", "value"])
    found, test = slope_row(table, seed=0)
    assert (test.p, test.n) == (found["p"], 40)
    assert found["slope"] == pytest.approx(0.05, abs=0.003)
    assert found["p"] < 0.01
    assert found["correlation"] < 0
    fair = [r["penalised"] for r in penalised_rows(table, found["slope"], [str(w) for w in words], seed=0)]
    raw = [r["score"] for r in penalised_rows(table, found["slope"], [str(w) for w in words], seed=0)]
    assert np.ptp(raw) > 0.15
    assert np.ptp(fair) < 0.02


def test_tables_fold_intervals_and_keep_them_apart_in_csv():
    row = {
        "level": "a|b",
        "score": 0.51234567,
        "score_low": 0.4,
        "score_high": 0.6,
        "p": 1e-5,
        "reads": True,
        "n": 12000,
    }
    table = StudyTable(
        "t", "T", tuple(row), [row, {"level": "c", "score": math.nan}], shown=("level", "score", "p", "reads", "n")
    )
    lines = view(table).markdown().splitlines()
    assert lines[2] == "| a\\|b | 0.512 [0.400, 0.600] | <0.001 | yes | 12,000 |"
    assert lines[3] == "| c | – | – | – | – |"
    assert to_csv(table).splitlines()[1] == "a|b,0.512346,0.4,0.6,1e-05,True,12000"


@pytest.mark.parametrize("size", ["embedded", "large"])
def test_every_shipped_study_fits_its_schema_and_the_profiles(size):
    profile = load_profile(size)
    assert len(studies()) == 19
    for name in studies():
        label, study = load_study(name)
        check_names(study, profile, label)
        assert study.paper.where
        assert study.limits or name == "walkthrough"


def test_a_misspelt_study_or_key_is_one_clear_message(tmp_path):
    with pytest.raises(UnknownName, match="'sampling'"):
        load_study("samplng")
    with pytest.raises(UnknownName, match="'embedded'"):
        load_profile("embeded")
    bad = tmp_path / "s.yaml"
    bad.write_text("title: t\nquestion: q\nlevles: []\npaper: {where: w}\n", encoding="utf-8")
    with pytest.raises(SpecError, match="'levles'.*'levels'"):
        load_study(str(bad))


@pytest.mark.parametrize("name", list(load_profile("embedded").suites))
def test_the_recipes_of_the_embedded_profile_can_be_built_from_what_the_repository_holds(name, tmp_path):
    entry = load_profile("embedded").suites[name]
    recipe = recipe_of(entry, {}, tmp_path)
    names = [c.coder.name for c in recipe.coders]
    assert len(set(names)) == len(names)
    asked = recipe.plan.positives + recipe.plan.explain
    # With fewer windows than that a latent would silently be tested on fewer.
    assert recipe.min_windows >= min(asked, 18) if name == "all" else recipe.min_windows >= asked
    assert len(identity(recipe)) == 16


def test_a_retrained_coder_or_other_text_is_another_suite(tmp_path):
    import shutil

    entry = load_profile("embedded").suites["one"]
    recipe = recipe_of(entry, {}, tmp_path)
    (coder,) = recipe.coders
    folder = tmp_path / "coder"
    shutil.copytree(coder_folder(coder.coder.path or ""), folder)
    moved = coder.coder.model_copy(update={"path": str(folder)})
    changed = recipe.model_copy(update={"coders": (coder.model_copy(update={"coder": moved}),)})
    before = identity(changed)
    (folder / "cfg.json").write_text((folder / "cfg.json").read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert identity(changed) != before
    kept = recipe_of(entry, {}, tmp_path, keep={"source": "^continuation"})
    assert identity(kept) != identity(recipe)
    with pytest.raises(DataError, match="no document"):
        recipe_of(entry, {}, tmp_path, keep={"source": "^nothing"})


def test_the_index_of_the_studies_in_the_documentation_is_up_to_date():
    folder = Path(__file__).parents[2] / "docs" / "studies"
    assert index(folder, list(studies()), outdated(folder)) == (folder / "README.md").read_text(encoding="utf-8")


def test_named_latents_are_taken_as_far_as_they_qualify():
    counts = Counts(tokens=np.array([50, 10, 40, 30, 20]), windows=np.array([9, 9, 3, 9, 9]))
    found = chosen(counts, [4, 0, 2, 3, 0], min_windows=5, strata=3, tune_share=0.0)
    assert found.index.tolist() == [0, 3, 4]
    # The rarest latent is in the lowest stratum.
    assert found.stratum.tolist() == [2, 1, 0]
    assert (found.tune.tolist(), found.qualifying) == ([False] * 3, 3)
    assert chosen(counts, [0, 1, 3, 4], 5, 1, 0.5).tune.sum() == 2
    with pytest.raises(SpecError, match="7 are asked for; the coder has 5"):
        chosen(counts, [1, 7], 5, 1, 0.0)


def test_a_recipe_that_names_latents_counts_them(tmp_path):
    entry = load_profile("embedded").suites["one"]
    found = recipe_of(entry, {}, tmp_path, indices={"res": [3, 1, 2]})
    assert found.coders[0].latents == 3
    with pytest.raises(ValueError, match="3 indices are given"):
        CoderEntry(coder=found.coders[0].coder, latents=2, indices=(1, 2, 3))
    with pytest.raises(SpecError, match="none of the coders"):
        recipe_of(entry, {}, tmp_path, indices={"mlp": [1]})


def test_the_published_pages_are_what_their_records_render_to(tmp_path: Path) -> None:
    published = Path(__file__).parents[2] / "docs" / "studies"
    for folder in sorted(path.parent for path in published.glob("*/study.json")):
        record = read_study(folder)
        assert record is not None
        (tmp_path / folder.name).mkdir()
        write_pages(tmp_path / folder.name, record)
        for path in (tmp_path / folder.name).iterdir():
            assert path.read_text(encoding="utf-8") == (folder / path.name).read_text(encoding="utf-8"), path.name


def test_a_record_whose_files_would_lie_elsewhere_is_none(tmp_path: Path) -> None:
    record = json.loads((ROOT / "docs" / "studies" / "sampling" / "study.json").read_text(encoding="utf-8"))
    write_json(tmp_path / "study.json", record)
    assert read_study(tmp_path) == record
    for changes in (
        {"figures": ["../figure"]},
        {"tables": [{**record["tables"][0], "name": "../../table"}]},
        {"tables": [{**record["tables"][0], "name": "/tmp/table"}]},
        {"tables": ["table"]},
        {"title": None},
    ):
        write_json(tmp_path / "study.json", record | changes)
        assert read_study(tmp_path) is None
