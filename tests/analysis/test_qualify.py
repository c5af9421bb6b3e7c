"""Qualification of judges: the measures by hand, known judges through the harness, and the row in every run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from latentbench.analysis.qualify import qualify_measures as measure
from latentbench.analysis.qualify.qualify import QualifyRequest, qualify
from latentbench.analysis.qualify.qualify_page import markdown, render
from latentbench.cli import app
from latentbench.judges.qualification import UNQUALIFIED, qualification, read, write
from latentbench.judges.reference import load_judge
from latentbench.judges.simulator.artifact import lessons
from latentbench.kernel.errors import DataError, DigestMismatch, SpecError
from latentbench.kernel.identity import digest
from latentbench.leaderboards.row import read_rows
from latentbench.runs.record import read_record
from latentbench.runs.run import start
from latentbench.scorers.scorer import load_scorer, question_key
from latentbench.suites.planted.labelled import build_labelled
from latentbench.suites.planted.planted_suite import NEAR
from rich.console import Console
from typer.testing import CliRunner

QUIET = Console(quiet=True)
PUBLISHED = Path(__file__).parents[2] / "leaderboards" / "judges"


def table(rows: list[tuple[object, ...]]) -> pd.DataFrame:
    """Judgements: asked, explainer, latent, trial, item, kind, truth, score, answer."""
    names = ["asked", "explainer", "latent", "trial", "item", "kind", "truth", "score", "answer"]
    return measure.scored(pd.DataFrame(rows, columns=names).assign(outcome="ok", token_scores=None))


# --- the measures, by hand


def test_outranking_counts_a_tie_as_half_and_leaves_out_what_has_no_score():
    headline = pd.DataFrame(
        {
            "truth": [0.9, 0.5, np.nan],
            "narrow": [0.1, 0.5, 0.0],
            "broad": [0.95, np.nan, 0.0],
            "unrelated:0": [0, 0, 0],
        },
        index=["a", "b", "c"],
    )
    assert measure.outranks(headline, ["narrow", "broad"]).to_dict() == {"a": 0.5, "b": 0.5}
    assert measure.outranks(headline, ["unrelated:0"]).to_dict() == {"a": 1, "b": 1}


def test_aurocs_are_per_latent_and_per_kind_of_negative():
    rows = [
        (0, "truth", "a", "0", 0, "quantile:1", 1, 0.6, 1),
        (0, "truth", "a", "1", 1, "quantile:1", 1, 0.4, 0),
        (0, "truth", "a", "2", 2, "random", 0, 0.5, 0),
        (0, "truth", "a", "3", 3, "near-miss", 0, 0.7, 1),
        (0, "truth", "b", "0", 0, "quantile:1", 1, 0.6, 1),
        (0, "truth", "b", "1", 2, "random", 0, 0.5, 0),
        (0, "unrelated:0", "a", "0", 0, "quantile:1", 1, 0.5, 0),
        (0, "unrelated:1", "a", "0", 0, "quantile:1", 1, 0.9, 0),
        (0, "unrelated:0", "a", "1", 2, "random", 0, 0.5, 0),
        (0, "unrelated:1", "a", "1", 2, "random", 0, 0.5, 0),
    ]
    found = measure.auroc_table(measure.aurocs(table(rows)))
    assert found["truth"]["random"].estimate == pytest.approx((0.5 + 1) / 2)
    assert found["truth"]["random"].n == 2
    assert found["truth"]["near-miss"].estimate == 0
    assert found["unrelated"]["random"].estimate == pytest.approx((0.5 + 1) / 2)
    assert (found["unrelated"]["random"].n, found["unrelated"]["random"].low) == (1, None)


def test_a_latent_without_a_readable_activating_window_has_no_auroc():
    rows = [
        (0, "truth", "a", "0", 0, "quantile:1", 1, 0.6, 1),
        (0, "truth", "a", "1", 2, "random", 0, 0.5, 0),
        (0, "truth", "b", "0", 0, "quantile:1", 1, None, None),
        (0, "truth", "b", "1", 2, "random", 0, 0.5, 0),
        (0, "truth", "b", "2", 3, "near-miss", 0, 0.7, 1),
    ]
    found = measure.aurocs(table(rows))
    assert found.values.tolist() == [["truth", "a", "random", 1.0]]
    assert list(measure.auroc_table(found)["truth"]) == ["random"]


@pytest.mark.parametrize(("group", "names"), [("near", NEAR), ("unrelated", ["unrelated:0"])])
def test_a_judge_that_never_scores_both_sides_of_a_comparison_is_not_qualified(group, names):
    headline = pd.DataFrame(0.5, index=["a", "b"], columns=["truth", "paraphrase", *NEAR, "unrelated:0"])
    family = {"a": "words", "b": "numbers"}
    assert measure.comparisons(headline, family)["truth_over"][group].n == 2
    headline.loc["a", list(names)] = np.nan
    assert measure.comparisons(headline, family)["truth_over"][group].n == 1
    headline.loc["b", "truth"] = np.nan
    with pytest.raises(DataError, match=f"no latent has scores of the truth and of one {group} explanation"):
        measure.comparisons(headline, family)


def lists(right) -> pd.DataFrame:  # type: ignore[no-untyped-def]
    """60 prompts of 5 windows; `right(prompt, place)` says whether the answer is."""
    rng = np.random.default_rng(0)
    rows = []
    for prompt in range(60):
        for place in range(5):
            label = int(rng.integers(2))
            said = label if right(prompt, place) else 1 - label
            kind = "quantile:1" if label else "random"
            rows.append((0, "truth", f"l{prompt % 6}", str(prompt), 5 * prompt + place, kind, label, None, said))
    return table(rows)


def test_a_judge_that_fails_at_the_end_of_lists_is_found():
    found = measure.position(lists(lambda prompt, place: place < 4 or prompt % 2 == 0), seed=0)
    assert found.accuracy == pytest.approx((1, 1, 1, 1, 0.5))
    assert (found.spread, found.p) == (pytest.approx(0.5), pytest.approx(1 / (1 + measure.PERMUTATIONS)))


def test_hard_prompts_are_no_position_bias():
    """Whole prompts answered wrong: every place has the same accuracy."""
    found = measure.position(lists(lambda prompt, place: prompt % 3 > 0), seed=0)
    assert (found.spread, found.p) == (pytest.approx(0), 1)
    rng = np.random.default_rng(1)
    assert measure.position(lists(lambda prompt, place: rng.random() < 0.7), seed=0).p > 0.05


def test_single_windows_have_no_position_and_scores_without_answers_no_bias():
    rows = [(0, "truth", "a", str(i), i, "quantile:1" if i % 2 else "random", i % 2, 0.1 * i, 1) for i in range(8)]
    assert measure.position(table(rows), seed=0) is None
    assert measure.yes_bias(table(rows)).estimate == pytest.approx(0.5)
    unanswered = table([(*row[:-1], None) for row in rows])
    assert measure.yes_bias(unanswered) is None
    assert measure.position(unanswered, seed=0) is None


def test_retest_pairs_the_same_window_of_the_same_question():
    first = [(0, "truth", "a", str(i), i, "random", 0, p, int(p > 0.5)) for i, p in enumerate((0.1, 0.4, 0.9, 0.2))]
    again = [(1, "truth", "a", str(9 - i), i, "random", 0, p, int(p > 0.5)) for i, p in enumerate((0.2, 0.6, 0.8))]
    other = [(1, "narrow", "a", "0", 0, "random", 0, 0.3, 0)]
    found = measure.retest(table([*first, *again, *other]))
    assert found.n == 3
    assert found.same == pytest.approx(2 / 3)
    assert found.r == pytest.approx(np.corrcoef((0.1, 0.4, 0.9), (0.2, 0.6, 0.8))[0, 1])
    assert measure.retest(table(first)) is None


def test_retest_leaves_out_texts_without_a_window_and_windows_without_a_score():
    def asked(n, scores):
        windows = [(n, "truth", "a", str(i), i, "random", 0, p, int(p > 0.5)) for i, p in enumerate(scores)]
        own = [(n, "truth", "a", f"written/{i}", None, "written", 1, 0.3 + i / 10, 0) for i in range(2)]
        return windows, [*own, (n, "truth", "a", "3", 3, "random", 0, None, None)]

    (first, one), (again, other) = asked(0, (0.1, 0.4, 0.9)), asked(1, (0.2, 0.6, 0.8))
    found = measure.retest(table([*first, *one, *again, *other]))
    assert found == measure.retest(table([*first, *again]))
    assert (found.n, found.same) == (3, pytest.approx(2 / 3))
    assert measure.retest(table([*one, *other])) is None


# --- known judges through the harness


@pytest.fixture(scope="module")
def made(tmp_path_factory):  # type: ignore[no-untyped-def]
    """Qualifications of judges whose quality is known."""
    folder = tmp_path_factory.mktemp("qualify")

    def make(judge: str, scorer: str = "detection", preset: str | None = "paper", repeats: int = 2):  # type: ignore[no-untyped-def]
        asked = QualifyRequest(judge, scorer, preset, limit=3, repeats=repeats, positives=4, negatives=3)
        return qualify(asked, folder / "runs", folder / "replies.sqlite", QUIET)

    return make


@pytest.fixture(scope="module")
def oracle(made):  # type: ignore[no-untyped-def]
    return made("mock:oracle?can=chat")


def test_the_oracle_is_at_the_ceiling(oracle):
    assert oracle.truth_over["unrelated"].estimate == 1
    assert oracle.truth_over["near"].estimate > 0.7
    assert oracle.auroc["truth"]["random"].estimate == 1
    assert oracle.auroc["truth"]["near-miss"].estimate > 0.95
    assert 0.35 < oracle.auroc["unrelated"]["random"].estimate < 0.65
    assert oracle.paraphrase_gap.estimate == 0
    assert (oracle.retest.same, oracle.retest.n > 0) == (1, True)
    assert (oracle.coverage, oracle.latents) == (1, 3)
    assert abs(oracle.yes_bias.estimate) < 0.05
    assert (oracle.position.spread < 0.05, oracle.position.p > 0.05) == (True, True)
    assert oracle.verdict.startswith("truth>near ")
    assert oracle.verdict.endswith("truth>unrelated 100% (planted-1, n=3)")
    # 10 explanations, the token list among them, x 3 latents x (4 + 3 + 3) windows x 2 askings.
    assert oracle.judgements == 600
    # A token list is no text of the rules, so the oracle knows nothing of it.
    assert oracle.truth_over["tokens"].estimate == 1
    assert oracle.paraphrase_over == {name: oracle.truth_over[name] for name in ("near", "unrelated")}
    assert (oracle.distribution, oracle.in_distribution) == ("rules", False)


@pytest.mark.parametrize(
    ("judge", "scorer", "preset"),
    [
        ("mock:constant?can=chat", "detection", "paper"),
        ("mock:constant", "fuzzing", None),
        ("mock:constant", "embedding", None),
        ("mock:constant", "surprisal", None),
    ],
)
def test_a_constant_judge_is_at_the_floor(made, judge, scorer, preset):
    found = made(judge, scorer, preset, repeats=1)
    assert {m.estimate for m in found.truth_over.values()} == {0.5}
    assert {m.estimate for kinds in found.auroc.values() for m in kinds.values()} == {0.5}
    assert found.paraphrase_gap.estimate == 0
    assert found.retest is None
    if found.yes_bias is not None:
        assert found.yes_bias.estimate == pytest.approx(1 - 0.4)
    if found.position is not None:
        assert found.position.p > 0.05


def test_a_judge_can_be_asked_about_both_splits(tmp_path):
    asked = QualifyRequest("mock:oracle", "embedding", split="all", repeats=1, positives=2, negatives=2)
    row = qualify(asked, tmp_path / "runs", tmp_path / "replies.sqlite", QUIET)
    assert (row.latents, row.split) == (61, "all")
    assert row.truth_over["unrelated"].estimate > 0.95
    assert "--split all" in asked.command


def test_failed_calls_lower_the_coverage_only(made):
    found = made("mock:oracle?can=chat&fail=0.3", repeats=1)
    assert 0.5 < found.coverage < 0.9
    assert found.truth_over["unrelated"].estimate == 1


def test_a_finished_qualification_is_not_asked_again(made, oracle, tmp_path):
    assert made("mock:oracle?can=chat").model_copy(update={"date": oracle.date}) == oracle


def test_a_scorer_without_an_explanation_and_a_suite_without_truth_are_refused(tmp_path):
    with pytest.raises(SpecError, match="no explanation"):
        qualify(QualifyRequest("mock:oracle", "intruder"), tmp_path, None, QUIET)
    with pytest.raises(DataError, match="planted"):
        qualify(QualifyRequest("mock:oracle", "detection", suite="smollm2-135m-mini"), tmp_path, None, QUIET)


# --- the row


def test_a_row_survives_its_file_and_an_edited_one_is_refused(oracle, tmp_path):
    path = write(oracle, tmp_path)
    assert path.name == f"{oracle.judge_key}-detection-paper.json"
    (row,) = read(tmp_path)
    assert row.truth_over["unrelated"] == oracle.truth_over["unrelated"]
    assert row.coverage == pytest.approx(oracle.coverage)
    assert write(row, tmp_path).read_text(encoding="utf-8") == path.read_text(encoding="utf-8")
    data = json.loads(path.read_text(encoding="utf-8"))
    data["row"]["truth_over"]["near"]["estimate"] = 1.0
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(DigestMismatch, match=path.name):
        read(tmp_path)


def test_the_question_and_not_the_sample_size_is_what_a_judge_is_qualified_for():
    def key(preset: str | None = None, **params: object) -> str:
        return question_key(load_scorer({"use": "detection", "preset": preset, "params": params}))

    assert key() == key(positives=4, negatives=9) == key(negative_kinds=["random", "similar"]) == key("single")
    assert len({key(), key("paper"), key("paper", windows_per_prompt=4)}) == 3
    assert key() != question_key(load_scorer("fuzzing"))


def test_every_run_says_how_its_judge_is_qualified(oracle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(oracle, tmp_path / "leaderboards" / "judges")
    spec = {
        "name": "t",
        "suite": "planted-1",
        "limit": 2,
        "explainers": ["tokens"],
        "scorers": [{"use": "detection", "preset": "paper", "params": {"positives": 2}}],
        "judges": [
            {"use": "mock:oracle?can=chat", "label": "known"},
            {"use": "mock:lexical?can=chat", "label": "other"},
        ],
    }
    Path("spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    folder, _ = start(Path("spec.yaml"), tmp_path / "run", tmp_path / "c.sqlite", QUIET)
    said = {c.judge.label: c.judge.qualification for c in read_record(folder).cells}
    assert said == {"known": oracle.verdict, "other": UNQUALIFIED}
    assert {r.judge.label: r.qualification for r in read_rows([folder])} == said
    key = load_judge("mock:oracle?can=chat").identity.key
    assert qualification(key, "another way of asking", [tmp_path / "leaderboards" / "judges"]) == UNQUALIFIED


# --- the page


def test_the_page_is_a_function_of_the_rows(oracle, tmp_path):
    folder = tmp_path / "judges"
    write(oracle, folder)
    page = render(folder)
    assert page.read_text(encoding="utf-8") == markdown(read(folder))
    assert "| `mock:oracle?can=chat` |" in page.read_text(encoding="utf-8")
    assert oracle.command in page.read_text(encoding="utf-8")
    render(folder, check=True)
    page.write_text("by hand", encoding="utf-8")
    with pytest.raises(DataError, match="bench judge leaderboard"):
        render(folder, check=True)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda row: row["truth_over"]["near"].update(estimate=0.99, high=1.0), "truth_over.near.estimate"),
        (lambda row: row["truth_over"]["near"].update(estimate=7.5, high=8.0), "a share lies within 0 and 1"),
        (lambda row: row["truth_over"]["unrelated"].update(low=0.999), "truth_over.unrelated"),
        (lambda row: row["truth_over"]["near"].update(n=4000), "a mean over 4000 of"),
        (lambda row: row["paraphrase_gap"].update(estimate=-0.9, low=-1.0), "paraphrase_gap.estimate"),
        (
            lambda row: row["headlines"]["truth"].update(dict.fromkeys(row["headlines"]["truth"], -1.0)),
            "its headlines give",
        ),
        (lambda row: row["headlines"]["truth"].update(nobody=1.0), "nobody has a headline and no family"),
        (lambda row: row["families"].update(dict.fromkeys(row["families"], "words")), "by_family"),
        (lambda row: row.update(coverage=1.5), "its coverage is 1.5"),
    ],
)
def test_an_edited_row_is_refused_whatever_its_digest(made, tmp_path, edit, said):
    folder = tmp_path / "judges"
    path = write(made("mock:lexical"), folder)
    render(folder)
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content["row"])
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DigestMismatch, match="hashes to"):
        render(folder, check=True)
    path.write_text(json.dumps({**content, "digest": digest(content["row"])}), encoding="utf-8")
    with pytest.raises(DigestMismatch, match=re.escape(said)):
        render(folder, check=True)
    done = CliRunner().invoke(app, ["judge", "leaderboard", "--root", str(tmp_path)])
    assert isinstance(done.exception, DigestMismatch)


def test_a_row_of_before_holds_no_headlines_and_is_read(oracle, tmp_path):
    path = write(oracle, tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))
    for later in ("headlines", "families", "tables"):
        del content["row"][later]
    path.write_text(json.dumps({**content, "digest": digest(content["row"])}), encoding="utf-8")
    render(tmp_path)
    assert read(tmp_path)[0].verdict == oracle.verdict


def test_the_published_page_is_what_its_rows_render_to():
    render(PUBLISHED, check=True)


def test_the_command_prints_at_80_columns_and_publishes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    words = ["judge", "qualify", "mock:lexical", "--limit", "2", "--positives", "3", "--negatives", "2"]
    done = CliRunner().invoke(app, [*words, "--cache", "c.sqlite", "--submit"])
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    (row,) = read(Path("leaderboards/judges"))
    assert row.command == "bench judge qualify 'mock:lexical' --scorer detection --limit 2 --positives 3 --negatives 2"
    shown = CliRunner().invoke(app, ["judge", "leaderboard"])
    assert shown.exit_code == 0
    assert "mock:lexical" in shown.stdout
    assert CliRunner().invoke(app, ["judge", "leaderboard", "--check"]).exit_code == 0


# --- exams from other sources than the lessons


def test_a_simulator_is_in_distribution_on_rules_only_and_old_rows_say_so():
    rows = read(PUBLISHED)
    assert {
        r.in_distribution for r in rows if r.judge.startswith("simulator:") and r.suite.startswith("planted-1")
    } == {True}
    assert not any(r.in_distribution for r in rows if not r.judge.startswith("simulator:"))
    assert lessons("smollm2-135m") == ("rules",)


def test_the_verdict_is_that_of_the_exam_that_says_most(oracle, tmp_path):
    def row(suite: str, distribution: str, **more: object) -> None:
        write(
            oracle.model_copy(update={"suite": suite, "distribution": distribution, "trained_on": ("rules",)} | more),
            tmp_path,
        )

    def said() -> str:
        return qualification(oracle.judge_key, oracle.question_key, [tmp_path])

    row("planted-1@2-0", "rules")
    assert said().endswith("(planted-1, n=3, in distribution)")
    row("planted-2@1-0", "written", latents=38)
    assert said().endswith("(planted-2, n=38)")
    row("exam-gold@1-0", "people", latents=69)
    assert said().endswith("(exam-gold, n=69)")
    row("planted-2@1-0", "written", trained_on=("people",), latents=38)
    assert len(read(tmp_path)) == 3
    assert {p.stem.rpartition("paper")[2] for p in tmp_path.glob("*.json")} == {"", "-planted-2", "-exam-gold"}


def test_the_page_keeps_judges_on_their_own_lessons_apart(oracle):
    plain = oracle.model_copy(update={"judge": "plain", "judge_identity": {"provider": "openai"}})
    taught = plain.model_copy(update={"judge": "taught", "trained_on": ("rules",)})
    page = markdown([oracle, plain, taught])
    apart, own = page.split("split test, in distribution")
    assert "plain" in apart
    assert "taught" not in apart
    assert "taught" in own
    assert "plain" not in own
    # A bound stands in both.
    assert "mock:oracle" in apart.split("split test")[1]
    assert "mock:oracle" in own


def test_a_suite_of_labels_qualifies_a_judge_and_a_missing_near_miss_is_no_comparison(tmp_path):
    rows = []
    for n in "abcdef":
        row: dict[str, object] = {
            "name": f"l{n}",
            "family": f"f{n}",
            "truth": f"About word{n}.",
            "paraphrase": f"word{n}!",
        }
        row |= {"near": {"broad": f"Broad {n}.", **({"sibling": f"near{n} it is."} if n != "a" else {})}}
        row["positive"] = [f"Here is [word{n}] in text {i}." for i in range(8)]
        rows.append(row | {"tempting": {"broad": [f"Nothing but near{n} in text {i}." for i in range(3)]}})
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "labels.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    recipe = {"name": "small", "version": "1-0", "kind": "labelled", "distribution": "written", "explain": 3}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    build_labelled(folder / "recipe.yaml")
    asked = QualifyRequest("mock:lexical", "detection", suite=str(folder), split="all", repeats=1)
    found = qualify(asked, tmp_path / "runs", tmp_path / "replies.sqlite", QUIET)
    assert (found.distribution, found.in_distribution, found.coverage) == ("written", False, 1)
    assert {which: found.truth_over[which].n for which in NEAR if which in found.truth_over} == {
        "broad": 6,
        "sibling": 5,
    }
    assert found.truth_over["unrelated"].estimate == 1
    # The list of strongest tokens is the word itself.
    assert found.truth_over["tokens"].estimate == 0.5
    assert set(found.unrelated_by_family) == {f"f{n}" for n in "abcdef"}


@pytest.mark.parametrize(("name", "value"), [("latents", -1), ("repeats", 0), ("repeats", -8), ("judgements", -3)])
def test_counts_of_an_exam_are_no_less_than_nothing(tmp_path, name, value):
    shipped = next(iter(sorted((Path(__file__).parents[2] / "leaderboards/judges").glob("*.json"))))
    row = json.loads(shipped.read_text(encoding="utf-8"))
    (tmp_path / shipped.name).write_text(json.dumps({**row, name: value}), encoding="utf-8")
    with pytest.raises((SpecError, DataError), match=name):
        read(tmp_path)
