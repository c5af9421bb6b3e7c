"""Audits of metrics against numbers worked by hand."""

from __future__ import annotations

import random

import pytest
import scipy.stats
from latentbench.analysis.qualify.audit import AuditLine, admissible, answers, audit, diluted, doubled, halved, markdown
from latentbench.cli import app
from latentbench.judges.reference import load_judge
from latentbench.kernel.errors import SpecError
from latentbench.kernel.requests import Outcome
from latentbench.scorers.scorer import Judgement, load_scorer
from latentbench.suites.store import load_suite
from typer.testing import CliRunner


def windows(positives: int = 4, negatives: int = 8) -> list[Judgement]:
    """A perfect judge's answers."""
    return [
        Judgement(str(i), "", i, "quantile:3" if y else "random", y, Outcome.OK, 0.98 if y else 0.02, y)
        for i, y in enumerate([1] * positives + [0] * negatives)
    ]


def tokens() -> list[Judgement]:
    """Two firing windows and two silent ones, four tokens each, predicted exactly."""
    rows = [(0.0, 4.0, 0.0, 8.0), (2.0, 0.0, 6.0, 0.0), (0.0,) * 4, (0.0,) * 4]
    return [
        Judgement(
            str(i),
            "",
            i,
            "quantile:3" if max(r) else "random",
            int(max(r) > 0),
            Outcome.OK,
            token_scores=r,
            token_truth=r,
        )
        for i, r in enumerate(rows)
    ]


def test_halved_labels_by_hand():
    """4 positives of 12 become 2: the judge has 2 true and 2 false alarms, 8 right silences."""
    changed = halved(windows(), random.Random(0))
    assert [j.answer for j in changed] == [j.answer for j in windows()]
    assert [j.score for j in changed] == [j.score for j in windows()]
    assert sum(j.truth for j in changed) == 2
    found = load_scorer("detection").metrics(changed)
    assert found["accuracy"] == pytest.approx(10 / 12)
    assert found["balanced_accuracy"] == pytest.approx((1 + 8 / 10) / 2)
    assert found["precision"] == pytest.approx(1 / 2)
    assert found["recall"] == 1
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["ap"] == pytest.approx(1 / 2)
    assert found["auroc"] == pytest.approx((8 + 2 / 2) / 10)


def test_doubled_labels_by_hand():
    """4 positives of 12 become 8: the judge finds 4 of them, and 4 of its silences are right."""
    changed = doubled(windows(), random.Random(0))
    assert sum(j.truth for j in changed) == 8
    assert all(j.truth for j in changed[:4])
    found = load_scorer("detection").metrics(changed)
    assert found["accuracy"] == pytest.approx(8 / 12)
    assert found["balanced_accuracy"] == pytest.approx((4 / 8 + 1) / 2)
    assert (found["precision"], found["recall"]) == (1, pytest.approx(1 / 2))
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["auroc"] == pytest.approx(1 / 2 + 1 / 2 * 1 / 2)
    # Half of the recall at precision 1, the rest at precision 8/12.
    assert found["ap"] == pytest.approx(1 / 2 * 1 + 1 / 2 * 8 / 12)


def test_doubling_adds_no_more_labels_than_there_are_silent_windows():
    changed = doubled(windows(4, 3), random.Random(0))
    assert [j.truth for j in changed] == [1] * 7


def test_dilution_reaches_the_prevalence_and_keeps_every_positive():
    found = diluted(windows(), 0.01)
    assert (sum(j.truth for j in found), len(found)) == (4, 400)
    assert {j.item for j in found} == set(range(12))
    assert diluted(windows(), 0.9) == windows()
    by_token = diluted(tokens(), 0.01)
    actual = [a for j in by_token for a in j.token_truth]
    assert sum(a > 0 for a in actual) == 4
    assert len(actual) == 400


def test_token_labels_change_under_fixed_predictions():
    half, double = halved(tokens(), random.Random(0)), doubled(tokens(), random.Random(0))
    scorer = load_scorer("simulation")
    assert scorer.metrics(tokens())["pearson"] == pytest.approx(1)
    for changed, firing in ((half, 2), (double, 8)):
        assert [j.token_scores for j in changed] == [j.token_scores for j in tokens()]
        actual = [a for j in changed for a in j.token_truth]
        assert sum(a > 0 for a in actual) == firing
        assert set(actual) <= {0.0, 2.0, 4.0, 6.0, 8.0}
        r = scipy.stats.pearsonr(actual, [p for j in changed for p in j.token_scores]).statistic
        assert scorer.metrics(changed)["pearson"] == pytest.approx(r)
        assert r < 0.9
    # True labels stay where labels are added.
    kept = [a for j in tokens() for a in j.token_truth]
    assert all(b == a for a, b in zip(kept, (a for j in double for a in j.token_truth), strict=True) if a)


@pytest.fixture(scope="module")
def suite():  # type: ignore[no-untyped-def]
    return load_suite("planted-1")


@pytest.mark.parametrize(
    ("name", "passes", "fails"),
    [
        ("detection", {"ap", "ap_normalised", "f1"}, {"accuracy", "balanced_accuracy", "auroc", "precision", "recall"}),
        ("fuzzing", {"ap", "ap_normalised", "f1"}, {"accuracy", "balanced_accuracy", "auroc", "precision", "recall"}),
        ("embedding", {"ap", "ap_normalised"}, {"auroc"}),
        ("surprisal", {"ap", "ap_normalised"}, {"auroc"}),
        ("simulation", {"pearson"}, set()),
    ],
)
def test_what_passes_on_planted_latents(name, passes, fails, suite):
    lines = audit(load_scorer(name), suite, limit=3)
    assert {m for m in passes | fails if admissible(m, lines)} == passes
    assert all(line.value == pytest.approx(1) for line in lines if line.metric in passes | fails)


def test_the_rare_latent_by_hand(suite):
    """20 positives in 20,000: with 10 dropped, balanced accuracy is 1 - 10 / 19990 / 2 and accuracy 1 - 10 / 20000."""
    lines = {line.metric: line for line in audit(load_scorer("detection"), suite, limit=1) if line.prevalence}
    assert lines["balanced_accuracy"].halved == pytest.approx(1 - 10 / 19_990 / 2, abs=1e-9)
    assert lines["auroc"].halved == pytest.approx(1 - 10 / 19_990 / 2, abs=1e-9)
    assert lines["accuracy"].halved == pytest.approx(1 - 10 / 20_000)
    assert lines["f1"].halved == pytest.approx(2 / 3)
    assert lines["f1"].doubled == pytest.approx(2 / 3)
    assert lines["auroc"].doubled == pytest.approx(0.75)


def test_answers_are_right_in_every_field_and_near_misses_stay_out(suite):
    latent = suite.latents(limit=1)[0]
    scorer = load_scorer({"use": "detection", "params": {"negative_kinds": ["random", "near-miss"]}})
    found = answers(scorer, latent, load_judge("mock:oracle"))
    assert {j.kind.partition(":")[0] for j in found} == {"quantile", "random"}
    assert all((j.answer, j.score) == (j.truth, 0.98 if j.truth else 0.02) for j in found)


def test_a_metric_falls_only_if_it_gets_worse_both_times():
    assert AuditLine("m", 0.001, 1.0, 0.999, 0.5).falls
    assert not AuditLine("m", 0.001, 1.0, 0.9995, 0.5).falls
    assert not AuditLine("m", 0.001, 1.0, 0.5, float("nan")).falls
    assert not AuditLine("m", 0.001, 1.0, 1.5, 0.5).falls
    assert AuditLine("m", 0.001, 0.0, 0.5, 0.5, higher_is_better=False).falls
    assert not admissible("m", [AuditLine("m", None, 1.0, 0.5, 0.5)])


def test_a_scorer_without_silent_windows_has_nothing_to_audit(suite):
    with pytest.raises(SpecError, match="intruder"):
        audit(load_scorer("intruder"), suite, limit=1)


def test_a_scorer_that_asks_about_no_explanation_is_refused(suite):
    with pytest.raises(SpecError, match="'example_embedding' asks about no explanation"):
        audit(load_scorer("example_embedding"), suite, limit=1)


def test_the_command_prints_at_80_columns_and_writes_the_page(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "page.md"
    done = CliRunner().invoke(app, ["scorer", "audit", "detection", "--limit", "1", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    text = out.read_text(encoding="utf-8")
    assert "| ap_normalised | 0.001 | 1.0000 | 0.4997 | 0.5000 | yes |" in text
    assert "bench scorer audit detection --limit 1" in text
    assert "| auroc | as drawn |" in markdown(
        {"d": [AuditLine("auroc", None, 1.0, 0.8, float("nan"))]}, "c", "2026-01-01"
    )
