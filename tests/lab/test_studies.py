"""Studies end to end on the planted suite with deterministic judges, and on a tiny subject where suites must be built."""

from __future__ import annotations

import copy
import json

import pandas as pd
import pytest
from latentbench.kernel.errors import SpecError, UnknownName
from latentbench.lab.studies.contrast import LevelContrast, supported
from latentbench.lab.studies.control import controls, doubt
from latentbench.lab.studies.series import changed
from latentbench.lab.studies.study_page import index
from latentbench.stats.bootstrap import FEWEST

from tests.builders.study_builder import PROFILE, carry_out


@pytest.fixture(scope="module")
def demo(tmp_path_factory):  # type: ignore[no-untyped-def]
    return carry_out(tmp_path_factory.mktemp("demo"))


def record(folder):  # type: ignore[no-untyped-def]
    return json.loads((folder / "study.json").read_text(encoding="utf-8"))


def test_a_study_leaves_table_figure_page_and_record(demo):
    names = {p.name for p in demo.iterdir()}
    assert {"table.csv", "table.md", "figure.png", "figure.svg", "study.json", "README.md", "order.csv"} <= names
    assert (demo / "figure.png").read_bytes()[:4] == b"\x89PNG"
    page = (demo / "README.md").read_text(encoding="utf-8")
    assert "figure.png" in page
    assert "nowhere" in page
    assert "bench study demo" in page


@pytest.mark.parametrize(
    ("sign", "p", "said"),
    [("same", 0.04, "same"), ("opposite", 0.15, "unclear"), ("same", float("nan"), "unclear"), ("", 0.01, "")],
)
def test_an_interval_beside_zero_is_no_finding_without_the_corrected_p(sign, p, said):
    assert supported(sign, p) == said


def test_the_difference_is_that_of_the_runs_scores(demo):
    rows = pd.read_csv(demo / "table.csv").set_index("level")
    run = record(demo)["runs"][0]["id"]
    scores = pd.read_parquet(demo.parent.parent / "work" / "runs" / run / "scores.parquet")
    wide = scores[scores.metric == "auroc"].pivot(index="latent", columns="explainer", values="value")
    assert rows.score["truth"] == pytest.approx(wide["main"].mean(), abs=1e-5)
    assert rows.difference["unrelated"] == pytest.approx((wide["main#2"] - wide["main"]).mean(), abs=1e-5)
    assert rows.difference["unrelated"] < -0.3
    assert rows.design["unrelated"] == "paired"
    assert rows.p_holm["unrelated"] < 0.01
    expected = (wide["main"] - wide["shuffled main"]).mean()
    assert rows.real_minus_shuffled["truth"] == pytest.approx(expected, abs=1e-5)


def test_a_judge_that_reads_is_said_to_and_signs_are_compared_with_the_paper(demo):
    rows = pd.read_csv(demo / "table.csv").set_index("level")
    assert rows.reads["truth"] == "yes"
    assert rows.paper_difference["unrelated"] == pytest.approx(-0.3)
    assert rows.sign["unrelated"] == "same"
    order = pd.read_csv(demo / "order.csv").iloc[0]
    assert (order.ours, order.order) == ("truth > unrelated", "the paper's")
    claim = pd.read_csv(demo / "claims.csv").iloc[0]
    assert (claim.claim, claim.sign) == ("truth above unrelated", "same")
    assert claim.difference == pytest.approx(-rows.difference["unrelated"], abs=1e-6)
    assert record(demo)["findings"][0].startswith("truth above unrelated (main, detection): yes: +0.")
    assert any("the judge reads the explanations: real minus shuffled +" in line for line in record(demo)["findings"])
    paper = pd.read_csv(demo / "paper.csv")
    assert list(paper.columns) == ["scorer", "level", "paper"]
    assert "paper" not in rows.columns


def test_of_a_judge_that_does_not_read_it_is_not_shown_that_it_does(tmp_path):
    profile = copy.deepcopy(PROFILE)
    profile["scorers"]["detection"]["judge"] = "deaf"
    folder = carry_out(tmp_path, profile=profile)
    rows = pd.read_csv(folder / "table.csv").set_index("level")
    assert set(rows.reads) == {"not shown"}
    assert rows.sign["unrelated"] == "unclear"
    said = " ".join(record(folder)["findings"])
    assert "not shown that this judge reads explanations" in said
    assert "the judge reads the explanations" not in said
    assert record(folder)["findings"][0].startswith("truth above unrelated (main, detection): not shown")
    assert record(folder)["findings"][0].endswith("It is not shown that the judge reads explanations.")


def test_of_fewer_latents_no_verdict_is_given(tmp_path):
    folder = carry_out(tmp_path, latents={"small": FEWEST - 1})
    rows = pd.read_csv(folder / "table.csv").set_index("level")
    assert set(rows.reads) == {"too few latents"}
    assert rows.difference["unrelated"] < -0.3
    assert rows.p_holm["unrelated"] == "too few"
    assert rows.sign["unrelated"] == "unclear"
    said = " ".join(record(folder)["findings"])
    assert f"too few latents to say whether this judge reads explanations (at least {FEWEST})" in said
    assert "the judge reads the explanations" not in said
    assert ": yes: " not in said


def test_a_page_is_not_rendered_under_the_name_of_another_judge(tmp_path):
    folder = carry_out(tmp_path)
    kept = record(folder)
    assert f"key {kept['runs'][0]['identities']['judges']['good']}" in (folder / "README.md").read_text(
        encoding="utf-8"
    )
    for run in kept["runs"]:
        run["identities"]["judges"]["good"] = "0123456789abcdef"
    (folder / "study.json").write_text(json.dumps(kept), encoding="utf-8")
    assert "good (mock:" in changed(kept)
    assert "had the key 0123456789abcdef" in changed(kept)
    page = "\n".join(index(folder.parent, [folder.name], {folder.name: changed(kept)}).splitlines())
    assert "## Out of date" in page
    assert kept["findings"][0] not in page
    carry_out(tmp_path)
    assert changed(record(folder)) == ""


def test_a_judge_is_shown_to_read_only_after_correction_and_each_judge_counts():
    clear = LevelContrast(0.2, 0.1, 0.3, 0.001, 30, "paired")
    beside = LevelContrast(0.05, 0.001, 0.1, 0.04, 30, "paired")
    found = controls({"a": clear, "b": beside, "c": beside, "d": None})
    assert [c.reads for c in found.values()] == ["yes", "not shown", "not shown", "no control"]
    assert found["b"].p_holm == pytest.approx(0.08)
    assert doubt([found["a"]]) == ""
    assert "2 of its 3 judges" in doubt([found["a"], found["b"], found["c"]])
    assert controls({"a": LevelContrast(-0.2, -0.3, -0.1, 0.001, 30, "paired")})["a"].reads == "opposite"


def test_a_study_that_is_done_is_left_alone_and_gives_the_same_bytes_again(demo, tmp_path):
    before = {
        p.name: p.read_bytes()
        for p in demo.iterdir()
        if p.suffix in (".csv", ".md", ".png", ".svg") and p.name != "README.md"
    }
    stamp = (demo / "study.json").stat().st_mtime_ns
    carry_out(demo.parent.parent)
    assert (demo / "study.json").stat().st_mtime_ns == stamp
    again = carry_out(tmp_path)
    assert {name: (again / name).read_bytes() for name in before} == before


def test_deciles_of_the_truth_are_perfect(tmp_path):
    folder = carry_out(tmp_path, by_decile=True)
    table = pd.read_csv(folder / "deciles.csv")
    truth = table[table.level == "truth"]
    assert len(truth) >= 3
    assert (truth.auroc > 0.95).all()
    assert table[table.level == "unrelated"].auroc.mean() < 0.7
    assert (folder / "deciles.svg").exists()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"scorers": ["detektion"]}, UnknownName, "Did you mean 'detection'"),
        ({"suite": "mian"}, UnknownName, "Did you mean 'main'"),
        ({"reference": "no"}, SpecError, "not one of the levels"),
        ({"claims": [["truth", "lie"]]}, SpecError, "'lie'"),
        ({"levels": []}, SpecError, "at least two levels"),
        ({"kind": "factr"}, SpecError, "kind"),
    ],
)
def test_a_wrong_study_is_refused_before_anything_runs(tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        carry_out(tmp_path, **changes)
    assert not (tmp_path / "work").exists()


def test_calls_that_failed_are_asked_again_when_a_study_is_made_again(tmp_path, monkeypatch):
    from latentbench.lab.studies.series import run_studies

    from tests.builders.study_builder import QUIET

    profile = copy.deepcopy(PROFILE)
    profile["judges"]["good"] = "mock:oracle?fail=0.3"
    folder = carry_out(tmp_path, profile=profile, latents={"small": 3})
    assert pd.read_csv(folder / "table.csv").coverage.max() < 1
    assert any("lost more than 5 %" in line for line in record(folder)["limits"])
    # The endpoint recovers: the same judge answers everything now.
    monkeypatch.setattr("latentbench.judges.mock.mock_judge.share", lambda *parts: 1.0)
    study, size = str(tmp_path / "specs" / "demo.yaml"), str(tmp_path / "small.yaml")
    run_studies([study], size, tmp_path / "out", tmp_path / "work", QUIET, cache=tmp_path / "c.sqlite", again=True)
    assert (pd.read_csv(folder / "table.csv").coverage == 1).all()
