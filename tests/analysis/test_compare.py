"""`bench compare`: verdicts of runs with known differences, and every reason for which runs do not compare."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from latentbench.analysis.compare import compare
from latentbench.analysis.compare_view import compare_csv, compare_page
from latentbench.kernel.errors import SpecError, UnknownName
from latentbench.lab.studies.contrast import PAIRED, LevelContrast
from latentbench.lab.studies.reach import reach
from latentbench.runs.finished import load_run
from latentbench.stats.bootstrap import paired_difference
from latentbench.stats.power import minimal_detectable_difference
from rich.console import Console

from tests.builders.run_builder import Grid, build_run, set_suite_digest

EXPLAINERS = {"llm": 0.85, "tokens": 0.75, "shuffled": 0.5}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The second run's llm is better, its tokens worse, its floor the same in truth."""
    folder = tmp_path_factory.mktemp("runs")
    a = build_run(folder / "a", Grid(explainers=EXPLAINERS))
    b = build_run(folder / "b", Grid(explainers={"llm": 0.97, "tokens": 0.6, "shuffled": 0.5}, seed=1))
    return load_run(a), load_run(b)


def _other(tmp_path, name="other", change=None, **grid):
    folder = build_run(tmp_path / name, Grid(explainers=EXPLAINERS, **grid))
    if change is not None:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        change(record)
        (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return load_run(folder)


def _marks(found):
    return {(c.a or c.b)[0]: c.mark for c in found}


def test_marks_say_better_worse_and_not_shown(pair):
    found = compare(*pair)
    assert _marks(found) == {"llm": "+", "tokens": "-", "shuffled": "~"}
    better, worse, same = found
    assert better.difference.low > 0 > worse.difference.high
    assert same.difference.low < 0 < same.difference.high
    assert same.detectable > abs(same.difference.estimate)
    assert all(c.p_holm >= c.p for c in found)


def test_what_a_comparison_sees_is_what_a_study_of_the_same_latents_says(pair):
    """One rule for both: the formula of the t test alone promises 8 % too much."""
    a, b = (run.per_latent()[lambda t: t["explainer"] == "shuffled"].set_index("latent")["value"] for run in pair)
    difference = (b - a).to_numpy()
    n, spread = len(difference), float(np.std(difference, ddof=1))
    contrast = LevelContrast(0.0, -1.0, 1.0, 0.5, n, PAIRED, (spread,), (n,))
    said = next(c for c in compare(*pair) if c.a[0] == "shuffled").detectable
    assert said == pytest.approx(reach(contrast, None, 1).detectable)
    assert said == pytest.approx(1.08 * minimal_detectable_difference(spread, n))


def test_differences_are_paired_by_latent(pair):
    a, b = pair
    c = compare(a, b)[0]

    def values(run):
        own = run.scores[(run.scores.explainer == "llm") & (run.scores.metric == "accuracy")]
        return own.set_index("latent")["value"]

    one, two = values(a), values(b)
    direct = paired_difference(two[one.index].to_numpy(), one.to_numpy(), list(one.index), seed=0)
    assert (c.difference, c.p) == (direct.interval, direct.p)
    assert c.difference.estimate == pytest.approx((two - one).mean())
    assert (c.mean_a, c.mean_b) == pytest.approx((one.mean(), two.mean()))


def test_the_other_way_round_has_the_opposite_marks(pair):
    assert _marks(compare(*reversed(pair))) == {"llm": "-", "tokens": "+", "shuffled": "~"}


def test_a_run_against_itself_shows_nothing(pair):
    for c in compare(pair[0], pair[0]):
        assert (c.mark, c.difference.estimate, c.p) == ("~", 0.0, 1.0)


def test_a_significant_difference_must_also_matter(pair):
    found = compare(*pair, smallest=0.13)
    assert 0.05 < abs(found[0].difference.estimate) < 0.13
    assert _marks(found) == {"llm": "~", "tokens": "-", "shuffled": "~"}
    with pytest.raises(SpecError, match="negative"):
        compare(*pair, smallest=-1)


def _lower(record):
    for cell in record["cells"]:
        cell["scorer"]["metrics"][0]["higher_is_better"] = False


def test_less_is_better_where_the_metric_says_so(pair, tmp_path):
    assert compare(pair[0], pair[1])[0].mark == "+"
    a, b = _other(tmp_path, "x", _lower), _other(tmp_path, "y", _lower, seed=1)
    b.scores.loc[b.scores.metric == "accuracy", "value"] += 0.3
    assert {c.mark for c in compare(a, b)} == {"-"}


@pytest.mark.parametrize(
    ("grid", "change", "why"),
    [
        ({"scorer_version": "2-0"}, None, "major versions of the scorer, detection@1-0 and detection@2-0"),
        (
            {},
            lambda r: r["suite"].update(version="2-0"),
            "major versions of the suite, synthetic@1-0 and synthetic@2-0",
        ),
        ({"suite": "elsewhere"}, None, "suites synthetic@1-0 and elsewhere@1-0"),
        ({"split": "tune"}, None, "splits test and tune"),
        ({"judges": ("other",)}, None, "judges mock:mock and mock:other"),
        ({}, lambda r: [c["judge"].update(key="k") for c in r["cells"]], "judge mock:mock in two settings"),
        ({}, lambda r: [c["scorer"].update(key="k") for c in r["cells"]], "detection@1-0 with two sets of parameters"),
        ({}, lambda r: [c["scorer"].update(headline="recall") for c in r["cells"]], "headlines accuracy and recall"),
        ({}, lambda r: [c["scorer"].update(steered="t") for c in r["cells"]], "intervention tables None and t"),
        ({"coders": {"mlp10": 30}}, None, "0 shared latents"),
    ],
)
def test_what_does_not_compare_is_marked_x_with_its_reason(pair, tmp_path, grid, change, why):
    found = compare(pair[0], _other(tmp_path, change=change, **grid))
    assert {c.mark for c in found} == {"x"}
    assert all(any(why in w for w in c.why) for c in found)
    assert all(np.isnan(c.difference.estimate) and np.isnan(c.p_holm) for c in found)


def test_another_content_under_the_same_version_does_not_compare(pair, tmp_path):
    folder = build_run(tmp_path / "d", Grid(explainers=EXPLAINERS))
    set_suite_digest(folder, "0" * 16)
    found = compare(pair[0], load_run(folder))
    assert {c.mark for c in found} == {"x"}
    assert "two contents" in found[0].why[0]


@pytest.mark.parametrize(
    ("grid", "change", "across"),
    [
        ({"judges": ("other",)}, None, "judge"),
        ({"scorer_version": "2-0"}, None, "scorer"),
        ({"suite": "elsewhere"}, None, "suite"),
        ({}, lambda r: [c["scorer"].update(steered="t") for c in r["cells"]], "suite"),
    ],
)
def test_the_part_that_is_compared_is_no_reason(pair, tmp_path, grid, change, across):
    found = compare(pair[0], _other(tmp_path, change=change, **grid), across=[across])
    assert "x" not in {c.mark for c in found}
    with pytest.raises(UnknownName, match="'judge'"):
        compare(*pair, across=["jugde"])


def test_another_minor_version_compares_and_is_noted(pair, tmp_path):
    other = _other(tmp_path, scorer_version="1-1")
    found = compare(pair[0], other)
    assert {c.mark for c in found} == {"~"}
    assert "scorers detection@1-0 and detection@1-1" in found[0].why


def test_entries_of_one_run_only_are_listed(tmp_path):
    a = load_run(build_run(tmp_path / "a", Grid(explainers={"llm": 0.8, "tokens": 0.7})))
    b = load_run(build_run(tmp_path / "b", Grid(explainers={"llm": 0.8, "shuffled": 0.5})))
    found = compare(a, b)
    assert [(c.mark, c.why) for c in found[1:]] == [
        ("x", ("only in the first run",)),
        ("x", ("only in the second run",)),
    ]


def test_a_single_explainer_is_compared_under_any_label(tmp_path):
    a = load_run(build_run(tmp_path / "a", Grid(explainers={"llm": 0.7})))
    b = load_run(build_run(tmp_path / "b", Grid(explainers={"tokens": 0.95})))
    (found,) = compare(a, b)
    assert (found.a[0], found.b[0], found.mark) == ("llm", "tokens", "+")


def test_missing_judgements_are_noted_and_latents_without_a_score_left_out(pair, tmp_path):
    found = compare(pair[0], _other(tmp_path, fail=0.2, dead=(0, 1)))
    assert found[0].difference.n == 28
    assert any("28 of 30 latents" in w for w in found[0].why)
    assert any("coverage 100.0%" in w for w in found[0].why)


def _printed(found, width=80):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(compare_page(found, "a", "b").terminal(width))
    return console.export_text()


def test_it_reads_at_80_columns_and_says_what_holds_for_many_once(pair, tmp_path):
    text = _printed(compare(*pair))
    assert max(map(len, text.splitlines())) <= 80
    assert "+  llm" in text
    assert "~  shuffled" in text
    assert "not comparable:" not in text
    apart = _printed(compare(pair[0], _other(tmp_path, suite="elsewhere")))
    assert apart.count("suites synthetic@1-0 and elsewhere@1-0") == 1
    assert "not comparable: 3 of 3" in apart


def test_markdown_and_csv_hold_every_comparison(pair):
    found = compare(*pair)
    assert compare_page(found, "a", "b").markdown().count("\n| +") == 1
    rows = list(csv.DictReader(io.StringIO(compare_csv(found))))
    assert [r["mark"] for r in rows] == ["+", "-", "~"]
    assert float(rows[0]["difference"]) == pytest.approx(found[0].difference.estimate, rel=1e-5)
