"""What studies say they could have found: against simulated studies, and in the words of the pages."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from latentbench.kernel.errors import SpecError
from latentbench.lab.studies import intervention_study, overlap
from latentbench.lab.studies.contrast import LevelContrast, difference, two_samples
from latentbench.lab.studies.control import controls
from latentbench.lab.studies.reach import PAPERS, reaches, sentence
from latentbench.lab.studies.scorer_agreement import findings
from latentbench.lab.studies.study_suites import permuted_coder
from latentbench.stats import power
from latentbench.stats.bootstrap import FEWEST, RESAMPLES, intervals_of
from latentbench.stats.correlation import correlation
from latentbench.stats.power import WIDER
from latentbench.subject.coders.coder_spec import coder_folder
from safetensors.numpy import load_file
from scipy.stats import ttest_ind

from tests.builders.signed_runs import signed
from tests.builders.study_builder import carry_out

RES = "coders/smollm2-135m-res9-2304"


def contrast(n, sd=0.1, gap=0.0, p=0.5):  # type: ignore[no-untyped-def]
    return LevelContrast(gap, gap - 0.05, gap + 0.05, p, n, "paired", (sd,), (n,))


def test_two_samples_find_it_as_often_as_promised():
    rng, sds, ns, alpha = np.random.default_rng(0), (0.1, 0.25), (40, 90), 0.05 / 6
    d = power.detectable(sds, ns, alpha)
    a, b = rng.normal(d, sds[0], (4000, ns[0])), rng.normal(0, sds[1], (4000, ns[1]))
    found = ttest_ind(a, b, axis=1, equal_var=False).pvalue < alpha
    assert found.mean() == pytest.approx(0.8, abs=0.025)


@pytest.mark.parametrize("difference", [0.02, -0.1])
def test_as_many_latents_as_are_needed_find_it_and_one_fewer_does_not(difference):
    sds, alpha = (0.15, 0.2), 0.05 / 3
    n = power.needed(difference, sds, alpha)
    assert power.detectable(sds, (n, n), alpha) <= abs(difference) < power.detectable(sds, (n - 1, n - 1), alpha)


@pytest.mark.parametrize(("n", "comparisons"), [(24, 1), (32, 6), (60, 12), (192, 6)])
def test_paired_latents_find_it_as_often_as_promised_by_the_test_of_the_pages(n, comparisons):
    tests = [contrast(n, sd=0.1)] * comparisons
    own = reaches(tests, [0.05] * comparisons)[0]
    gaps = np.random.default_rng([7, n]).normal(own.detectable, 0.1, (600, n))
    p = intervals_of(gaps, 0, RESAMPLES, differences=True)[1]
    assert np.mean(np.asarray(p) < 0.05 / comparisons) == pytest.approx(0.8, abs=0.055)


def test_as_many_latents_as_are_needed_find_the_papers_difference():
    own = reaches([contrast(30)] * 4, [0.05] * 4)[0]
    gaps = np.random.default_rng(8).normal(0.05, 0.1, (600, own.needed))
    p = intervals_of(gaps, 0, RESAMPLES, differences=True)[1]
    assert np.mean(np.asarray(p) < 0.05 / 4) == pytest.approx(0.8, abs=0.055)


@pytest.mark.parametrize(("n", "pairs"), [(60, 1), (96, 10)])
def test_rank_correlations_are_found_as_often_as_promised(n, pairs):
    rng, alpha = np.random.default_rng(1), 0.05 / pairs
    # The normal correlation whose rank correlation is the detectable one (Pearson 1907).
    rho = 2 * math.sin(math.pi * power.detectable_correlation(n, alpha) / 6)
    found = 0
    for _ in range(300):
        x = rng.normal(size=n)
        found += correlation(x, rho * x + math.sqrt(1 - rho**2) * rng.normal(size=n), "spearman").p < alpha
    assert found / 300 == pytest.approx(0.8, abs=0.08)  # 3.5 standard errors


@pytest.mark.parametrize(
    "call",
    [
        lambda: power.needed(0.0, (1.0,)),
        lambda: power.detectable((0.0, 0.0), (30, 30)),
        lambda: power.detectable((1.0, 1.0), (30, 1)),
        lambda: power.detectable_correlation(3),
    ],
)
def test_power_without_a_spread_a_difference_or_latents_is_refused(call):
    with pytest.raises(ValueError):
        call()


def test_a_difference_that_nobody_can_find_needs_no_number():
    assert power.needed(1e-6, (1.0,)) is None


def test_the_spread_of_a_comparison_is_that_of_its_latents():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=40), rng.normal(size=40)
    names = [f"c/{i}" for i in range(40)]
    same = difference(pd.Series(a, names), pd.Series(b, names), 0)
    assert same.sds == pytest.approx((np.std(a - b, ddof=1),))
    other = two_samples(a, b[:30])
    assert other.sds == pytest.approx((np.std(a, ddof=1), np.std(b[:30], ddof=1)))
    assert other.ns == (40, 30)


def test_what_is_detectable_rests_on_all_tests_of_the_table_and_on_nothing_else():
    few = LevelContrast(0.0, math.nan, math.nan, math.nan, FEWEST - 1, "paired", (0.1,), (FEWEST - 1,))
    flat = contrast(48, sd=0.0)
    one, none, equal, other = reaches([contrast(48), few, flat, contrast(48)], [0.05, 0.05, None, 0.0])
    assert one.comparisons == 3
    assert one.detectable == power.detectable((0.1 * WIDER,), (48,), 0.05 / 3)
    assert one.needed == power.needed(0.05, (0.1 * WIDER,), 0.05 / 3)
    assert (none.detectable, none.needed) == (None, None) == (equal.detectable, equal.needed)
    # A difference of the paper that is none is no difference to ask for.
    assert (one.wanted, other.wanted, other.papers) == (0.05, PAPERS, False)
    assert other.needed == power.needed(PAPERS, (0.1 * WIDER,), 0.05 / 3)


def test_no_fewer_latents_are_enough_than_a_test_needs():
    assert reaches([contrast(30)], [1.0])[0].needed == FEWEST


def test_a_study_that_could_not_have_shown_it_says_so():
    weak, strong, few, flat = (
        reaches([c], [0.02])[0]
        for c in (contrast(30), contrast(400), contrast(FEWEST - 1), contrast(48, sd=0.0, p=1.0))
    )
    assert weak.unshown == "not shown; this study could not have shown it (detectable 0.057, the paper's 0.020)"
    assert strong.unshown == "not shown (detectable 0.015, the paper's 0.020)"
    assert few.unshown == "not shown, too few latents (23 of at least 24)"
    assert flat.unshown == "not shown"
    assert reaches([contrast(30)], [None])[0].unshown.endswith("(detectable 0.057, asked for 0.020)")


def test_the_sentence_of_a_page_says_latents_detectable_difference_and_what_the_papers_would_need():
    a, b = reaches([contrast(30), contrast(48)], [0.03, 0.01])
    n = power.needed(0.01, (0.1 * WIDER,), 0.025)
    said = sentence("main, detection", [("x", a), ("y", b)])
    assert said.startswith(
        "main, detection: with 30 latents, differences of at least 0.064 are found in 4 of 5 studies "
    )
    assert said.endswith(f"the paper's 0.010 (y) would need {n}.")
    # Where the paper has a number for some levels, it is those that are asked for.
    assert "(x)" in sentence("main, detection", [("x", a), ("y", reaches([contrast(48)], [None])[0])])
    assert "a level" in sentence("main, detection", [("x", a)], two_sided=True)
    assert sentence("main, detection", [("x", reaches([contrast(3)], [None])[0])]) == ""


def test_a_gap_that_is_not_shown_is_said_with_the_gap_that_would_have_been():
    found = controls({"a": contrast(30, gap=0.01), "b": contrast(30, gap=0.3, p=0.0001)})
    assert found["a"].sentence("x").endswith("; a gap of 0.064 is found in 4 of 5 studies.")
    assert "4 of 5" not in found["b"].sentence("x")


def test_pairs_that_are_not_shown_to_correlate_are_named_with_what_would_have_been_found():
    row = {"a": "x", "b": "y", "spearman": 0.1, "spearman_low": -0.2, "spearman_high": 0.4, "paper": None}
    said = findings([{**row, "p_holm": 0.4, "detectable": 0.35}], [], {})
    assert said == [
        "1 of 1 pairs are not shown to correlate after Holm's correction (correlations of at least 0.35 are found in 4 of 5 "
        "studies): x and y 0.10 [-0.20, 0.40]."
    ]
    assert "(too few latents)" in findings([{**row, "p_holm": math.nan, "detectable": None}], [], {})[0]


def test_claims_of_overlap_are_corrected_and_say_what_they_could_have_found():
    rng = np.random.default_rng(3)
    options = overlap.OverlapOptions(
        pairs=[overlap.Pair(a="a", b="b", kind="residual"), overlap.Pair(a="c", b="d", kind="mlp")],
        carrier={"use": "detection", "judge": "none", "metric": "n"},
    )
    per_row = {(m, *pair): rng.normal(0, 1, 50) for m in overlap.MEASURES for pair in (("a", "b"), ("c", "d"))}
    rows, could = overlap.claim_rows(options, per_row)
    assert {row["sign"] for row in rows} == {"unclear"}
    assert all(own.comparisons == len(rows) for own in could)
    said = overlap.findings([], rows, could)
    assert all("not shown; this study could not have shown it (detectable 0." in line for line in said)


def test_intervention_asks_for_what_the_papers_latents_have_above_its_random_ones():
    place = intervention_study.LayerEntry(layer="9", suite="s", coder="a", random="b", paper={"1": 0.32})
    cell = pd.DataFrame([
        {"coder": c, "explainer": e, "latent": f"{c}/{i}", "value": i % 7 / 10}
        for c in "ab" for e in ("x", "shuffled x") for i in range(30)
    ])  # fmt: skip
    rows, tests = intervention_study.against_rows(cell, place, "x", 1.0, 0, 0.11)
    assert rows[0]["paper"] == pytest.approx(0.21)
    assert tests[0].ns == (30, 30)


def test_depth_is_compared_within_a_kind_and_said_with_what_it_could_have_found():
    def place(layer, coder, kind, nats):  # type: ignore[no-untyped-def]
        return intervention_study.LayerEntry(layer=layer, suite="s", coder=coder, kind=kind, paper={"1": nats})

    def cell(coder, gap, n=30):  # type: ignore[no-untyped-def]
        rng = np.random.default_rng(5)
        parts = [("x", gap), ("shuffled x", 0.0)]
        return pd.DataFrame([
            {"coder": coder, "explainer": e, "latent": f"{coder}/{i}", "value": g + rng.normal(0, 0.1)}
            for e, g in parts for i in range(n)
        ])  # fmt: skip

    cells = [
        (place("9", "a", "SAE", 0.5), "x", 1.0, cell("a", 5.0)),
        (place("5", "b", "neurons", 0.07), "x", 1.0, cell("b", 0.1)),
        (place("21", "c", "neurons", 0.32), "x", 1.0, cell("c", 1.1)),
        (place("27", "d", "neurons", 0.40), "x", 1.0, cell("d", 0.1)),
    ]
    rows, could = intervention_study.depth_rows(cells, 0)
    assert [(r["layer"], r["reference"]) for r in rows] == [("21", "5"), ("27", "5")]
    assert rows[0]["difference"] == pytest.approx(1.0, abs=1e-9)
    assert [r["paper"] for r in rows] == pytest.approx([0.25, 0.33])
    said = intervention_study.depth_findings(rows, could)
    assert ": yes (+1.00" in said[0]
    assert ": not shown (detectable 0.1" in said[1]
    short = [(*cells[1][:3], cell("b", 0.1, 20)), (*cells[2][:3], cell("c", 1.1, 20))]
    assert (
        "too few latents (20 of at least 24)"
        in intervention_study.depth_findings(*intervention_study.depth_rows(short, 0))[0]
    )


def test_the_tables_and_the_page_of_a_study_have_them(tmp_path):
    folder = carry_out(tmp_path)
    rows = pd.read_csv(folder / "table.csv").set_index("level")
    claim = pd.read_csv(folder / "claims.csv").iloc[0]
    run = json.loads((folder / "study.json").read_text(encoding="utf-8"))["runs"][0]["id"]
    scores = pd.read_parquet(folder.parent.parent / "work" / "runs" / run / "scores.parquet")
    wide = scores[scores.metric == "auroc"].pivot(index="latent", columns="explainer", values="value")
    sd = float((wide["main"] - wide["main#2"]).std())
    assert rows.detectable["unrelated"] == pytest.approx(power.detectable((sd * WIDER,), (len(wide),)), abs=1e-5)
    assert claim.needed == max(FEWEST, power.needed(0.3, (sd * WIDER,)))
    assert math.isnan(rows.detectable["truth"])
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert "are found in 4 of 5 studies" in page
    assert "| detectable | needed |" in page


def test_an_explainer_of_another_size_is_not_run(tmp_path):
    folder = carry_out(tmp_path, explainers=["main", "tokens"], sizes={"tokens": ["large"]})
    assert set(pd.read_csv(folder / "table.csv").explainer) == {"main"}
    with pytest.raises(SpecError, match="no explainer or scorer"):
        carry_out(tmp_path, name="other", sizes={"nobody": ["large"]})


def test_a_coder_of_random_weights_has_the_numbers_of_the_trained_one_in_another_order(tmp_path):
    made = permuted_coder(RES, 0, tmp_path)
    old, new = (load_file(next(f.glob("*.safetensors"))) for f in (coder_folder(RES), made))
    assert set(old) == set(new)
    for name, values in old.items():
        if values.ndim > 1:
            assert not np.array_equal(values, new[name])
            assert np.array_equal(np.sort(values, axis=None), np.sort(new[name], axis=None))
        else:
            assert np.array_equal(values, new[name])
    assert permuted_coder(RES, 0, tmp_path) == made != permuted_coder(RES, 1, tmp_path)
    assert not (made / "eval.json").exists()


def test_a_claim_is_doubted_for_the_judges_of_its_own_levels_alone(tmp_path):
    levels = [
        {"label": "truth"},
        {"label": "unrelated", "explainers": {"main": {"params": {"which": "unrelated:0"}}}},
        {"label": "deaf", "scorers": {"detection": {"judge": "deaf"}}},
    ]
    folder = carry_out(tmp_path, levels=levels, claims=[["truth", "unrelated"], ["truth", "deaf"]])
    said = json.loads((folder / "study.json").read_text(encoding="utf-8"))["findings"]
    assert "not shown that" not in said[0]
    assert said[1].endswith("It is not shown that 1 of its 2 judges read explanations.")


def test_the_time_of_a_study_is_that_of_its_runs_also_when_they_are_found_again(tmp_path):
    folder = carry_out(tmp_path)
    runs = folder.parent.parent / "work" / "runs"
    for path in runs.glob("*/run.json"):
        signed(path.parent, seconds=500.0)
    (folder / "study.json").unlink()
    again = carry_out(tmp_path)
    assert json.loads((again / "study.json").read_text(encoding="utf-8"))["seconds"] >= 500.0
