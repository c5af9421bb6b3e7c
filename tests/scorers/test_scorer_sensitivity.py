"""Sensitivity: texts from an explanation, ratings of natural windows, completions; then the harness on planted latents."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from latentbench.judges.judge import BaseJudge
from latentbench.judges.mock.mock_judge import MockJudge
from latentbench.judges.reference import load_judge
from latentbench.kernel.errors import CapabilityError, SpecError
from latentbench.kernel.latent import LatentRef, LatentView, Steered
from latentbench.kernel.requests import Activate, Capability, Chat, Choice, Outcome, Reply, Simulate, request_key
from latentbench.kernel.tasks import tasks_dirs
from latentbench.kernel.trial import Trial
from latentbench.prompts.selection import natural
from latentbench.runs.judging import trial_exchange
from latentbench.runs.record import read_record
from latentbench.runs.rounds import converse
from latentbench.runs.run import resume, start
from latentbench.scorers.scorer import Judgement, Scorer, load_scorer
from latentbench.scorers.sensitivity import STEERED
from latentbench.suites.store import load_suite, save_suite
from rich.console import Console
from sklearn.metrics import average_precision_score, roc_auc_score

from tests.builders.planted_steered import add_interventions
from tests.builders.reopened import reopened
from tests.builders.toy_latents import latent

QUIET = Console(quiet=True)
ALL = frozenset(Capability)
WRITES = frozenset({Capability.CHAT, Capability.ACTIVATE})


def sensitivity(**params: Any) -> Scorer:
    return load_scorer({"use": "sensitivity", "params": params})


def part(name: str, **params: Any) -> Scorer:
    return sensitivity(parts=[name], **params)


def steered(window: int, target: float | None, clean: str = "calm", text: str = "red", reached: bool = True) -> Steered:
    mode = "ablate" if target is None else "add"
    return Steered(
        window, "test", "quantile:3", mode, target, 1.0, reached, 2.0, f"prompt {window}", clean, text, (), ()
    )


def says(level: int) -> Reply:
    return Reply(logprobs=(tuple(math.log(0.8 if i == level else 0.1) for i in range(3)),))


def answered(
    scorer: Scorer, judge: MockJudge | BaseJudge, view: LatentView, text: str, seed: int = 7
) -> list[Judgement]:
    trials = scorer.trials(view, text, seed)
    exchanges = [trial_exchange(scorer, t, judge.can) for t in trials]
    asyncio.run(converse(exchanges, judge.answer))
    return [j for t, own in zip(trials, exchanges, strict=True) for j in scorer.parse(t, own.replies)]


# --- texts


def test_a_text_is_asked_for_then_run_and_both_replies_are_read() -> None:
    scorer = part("write", texts=3, registers=["a novel", "a letter"])
    trials = scorer.trials(replace(latent(), origin="here"), "Colours.", 5)
    assert [t.id for t in trials] == [
        *(f"written/{i}" for i in range(3)),
        *(f"neutral/{i}" for i in range(3)),
        "natural",
    ]
    asked = [scorer.requests(t, ALL) for t in trials]
    chats = [r for (r,) in asked[:-1] if isinstance(r, Chat)]
    assert len(chats) == 6
    assert asked[-1] == []
    last = [c.messages[-1].content for c in chats]
    assert last[0] == "The text must show this: Colours.\nKind of text: a novel"
    assert last[1].endswith("a letter")
    assert last[2:4] == ["The text must show this: Colours.\nKind of text: a novel", "Kind of text: a novel"]
    assert len({c.seed for c in chats[:3]}) == 3
    assert [c.seed for c in chats[:3]] == [c.seed for c in chats[3:]]
    assert all(c.temperature > 0 for c in chats)
    wrote = Reply(text='"A red door."\n')
    assert scorer.follow_up(trials[0], ALL, [wrote]) == [Activate("A red door.", LatentRef("sae/7", "here"))]
    measured = Reply(tokens=((0.0, 2.5, 0.0),), windows=(2.5,))
    assert scorer.follow_up(trials[0], ALL, [wrote, measured]) == []
    (judged,) = scorer.parse(trials[0], [wrote, measured])
    assert (judged.kind, judged.truth, judged.outcome, judged.token_truth) == (
        "written",
        1,
        Outcome.OK,
        (0.0, 2.5, 0.0),
    )
    (known,) = scorer.parse(trials[-1], [])
    assert (known.kind, known.outcome) == ("natural", Outcome.OK)


@pytest.mark.parametrize(
    ("replies", "outcome"),
    [
        ([Reply(Outcome.API, error="x")], Outcome.API),
        ([Reply(text="  \n")], Outcome.PARSE),
        ([Reply(text="I'm sorry, I can't help with that.")], Outcome.REFUSAL),
        ([Reply(text="A door."), Reply(Outcome.SKIPPED, error="too long")], Outcome.SKIPPED),
        ([Reply(text="A door."), Reply(Outcome.TIMEOUT)], Outcome.TIMEOUT),
    ],
)
def test_a_text_that_failed_is_no_silent_text(replies: Sequence[Reply], outcome: Outcome) -> None:
    scorer = part("write", texts=1)
    trial = scorer.trials(latent(), "Colours.", 0)[0]
    if len(replies) == 1:
        assert scorer.follow_up(trial, ALL, replies) == []
    (judged,) = scorer.parse(trial, replies)
    assert (judged.outcome, judged.token_truth) == (outcome, None)
    assert scorer.metrics([judged]) == {"n": 0.0}


def test_an_empty_explanation_has_the_neutral_texts() -> None:
    scorer = part("write", texts=4)
    trials = scorer.trials(latent(), " ", 3)
    for reads_truth in (False, True):
        judge = load_judge("mock:label").identity
        calls = [[request_key(judge, r, reads_truth) for r in scorer.requests(t, ALL)] for t in trials[:8]]
        assert calls[:4] == calls[4:]


def test_texts_differ_between_latents_and_not_between_explanations() -> None:
    scorer = part("write", texts=2)
    seeds = {s: [t.seed for t in scorer.trials(latent(), "z", s)] for s in (1, 2)}
    assert seeds[1] != seeds[2]
    neutral = [[scorer.requests(t, ALL) for t in scorer.trials(latent(), z, 1)][2:4] for z in ("a", "b")]
    assert neutral[0] == neutral[1]


def test_natural_windows_are_in_natural_shares_by_hand() -> None:
    view = latent(positives=30, negatives=42, length=8)
    # Three tokens for every third window, two, one: m = 2 of 8. A rate of 1/28 is a share of 1/28 * 8 / 2 = 1/7: 7 with 42.
    mixed = natural(replace(view, row={"rate_token": 1 / 28}), 0)
    assert (sum(w.active for w in mixed), len(mixed)) == (7, 49)
    assert len({w.id for w in mixed}) == 49
    # Nine tenths of windows activate: 30 of them, and 3 silent ones.
    mostly = natural(replace(view, row={"rate_token": 0.9 / 4}), 0)
    assert (sum(w.active for w in mostly), len(mostly)) == (30, 33)
    assert [w.active for w in natural(view, 0)] == [False] * 42
    always = natural(replace(view, row={"rate_token": 1.0}), 0)
    assert (sum(w.active for w in always), len(always)) == (30, 30)
    assert natural(replace(view, row={"rate_token": 1 / 28}), 1) != mixed


def test_clarity_and_input_success_against_scikit_learn() -> None:
    scorer = part("write")
    rng = np.random.default_rng(0)
    texts = {n: [tuple(rng.integers(0, 4, 5).astype(float)) for _ in range(6)] for n in ("written", "neutral")}
    known = tuple(rng.integers(0, 3, 20).astype(float))
    judged = [
        Judgement(f"{n}/{i}", n, None, n, int(n == "written"), Outcome.OK, token_truth=a)
        for n, rows in texts.items()
        for i, a in enumerate(rows)
    ] + [Judgement("natural", "natural", None, "natural", 0, Outcome.OK, token_truth=known)]
    found = scorer.metrics(judged)
    high = [max(a) for a in texts["written"]]
    expected = 2 * roc_auc_score([1] * 6 + [0] * 20, [*high, *known]) - 1
    assert found["clarity_signed"] == pytest.approx(expected)
    assert found["clarity"] == pytest.approx(abs(expected))
    assert found["input_success"] == float(np.mean(high) > np.mean([max(a) for a in texts["neutral"]]))
    assert set(found) == {"clarity_signed", "clarity", "input_success", "n"}


# --- ratings


def test_windows_are_rated_one_by_one_and_doubtful_ones_are_left_out() -> None:
    scorer = part("rate", positives=2, negatives=2)
    trials = scorer.trials(latent(), "Colours.", 0)
    assert [t.truth for t in trials] == [(1,), (1,), (0,), (0,)]
    (asked,) = scorer.requests(trials[0], ALL)
    assert isinstance(asked, Choice)
    assert asked.answers == ("No", "Partly", "Yes")
    assert asked.messages[-1].content.startswith("Description: Colours.\nText: ")
    levels = [says(2), says(1), says(0), says(2)]
    judged = [j for t, r in zip(trials, levels, strict=True) for j in scorer.parse(t, [r])]
    assert [j.answer for j in judged] == [1, None, 0, 1]
    assert [j.score for j in judged] == pytest.approx([0.85, 0.5, 0.15, 0.85])
    assert [j.token_truth for j in judged] == [(max(t.token_truth[0]),) for t in trials]
    # Rated 2: activations 4 and 0; rated 0: 0. Of two pairs one is won and one tied.
    found = scorer.metrics(judged)
    assert found["responsiveness"] == pytest.approx(0.5)
    assert found["purity"] == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    assert found["purity_normalised"] == pytest.approx((5 / 6 - 2 / 3) / (1 / 3))
    assert found["n"] == 4


def test_responsiveness_and_purity_against_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    rated, values = rng.integers(0, 3, 60), rng.integers(0, 6, 60).astype(float)
    said = {0: 0, 1: None, 2: 1}
    judged = [
        Judgement(f"rate/{i}", "rate", i, "random", 0, Outcome.OK, r / 2, said[int(r)], token_truth=(float(a),))
        for i, (r, a) in enumerate(zip(rated, values, strict=True))
    ]
    found = part("rate").metrics(judged)
    kept = rated != 1
    labels = (rated[kept] == 2).astype(int)
    assert found["responsiveness"] == pytest.approx(abs(2 * roc_auc_score(labels, values[kept]) - 1))
    assert found["purity"] == pytest.approx(average_precision_score(labels, values[kept]))


def test_every_kind_of_judge_rates() -> None:
    scorer = part("rate", positives=1, negatives=1)
    trial = scorer.trials(latent(), "Colours.", 0)[0]
    (written,) = scorer.requests(trial, frozenset({Capability.CHAT}))
    assert isinstance(written, Chat)
    assert [scorer.parse(trial, [Reply(text=t)])[0].answer for t in ("Yes.", "partly", "NO")] == [1, None, 0]
    assert scorer.parse(trial, [Reply(text="Yes and no")])[0].outcome is Outcome.PARSE
    assert scorer.parse(trial, [Reply(text="Sorry, no")])[0].outcome is Outcome.REFUSAL
    (simulated,) = scorer.requests(trial, frozenset({Capability.SIMULATE}))
    assert isinstance(simulated, Simulate)
    for p, said in ((0.9, 1), (0.5, None), (0.1, 0), (1.0, 1)):
        (judged,) = scorer.parse(trial, [Reply(tokens=((p,),), windows=(p,))])
        assert (judged.answer, judged.score) == (said, p)
    for bad in (Reply(logprobs=((-math.inf,) * 3,)), Reply(Outcome.API, error="x")):
        (judged,) = scorer.parse(trial, [bad])
        assert judged.outcome is not Outcome.OK
        assert judged.answer is None
    with pytest.raises(CapabilityError, match="sensitivity"):
        scorer.requests(trial, frozenset({Capability.EMBED}))


# --- completions


def test_completions_are_rated_without_their_prompts_and_clean_ones_once() -> None:
    rows = tuple(steered(w, t, f"calm {w}", f"red {w} at {t}") for t in (0.1, 1.0) for w in range(4))
    scorer = part("steer")
    trials = scorer.trials(replace(latent(), interventions=(*rows, steered(0, None))), "Colours.", 0)
    assert len(trials) == 12
    assert len({t.id for t in trials}) == 12
    kinds = [t.judged[0].kind for t in trials]
    assert {k: kinds.count(k) for k in kinds} == {"clean": 4, "kl:0.1": 4, "kl:1": 4}
    halves = {w: {t.id.split("/")[1] for t in trials if t.judged[0].item == w} for w in range(4)}
    assert all(len(h) == 1 for h in halves.values())
    assert sorted("".join(h) for h in halves.values()) == ["a", "a", "b", "b"]
    texts = {t.id: t.windows[0].text for t in trials}
    assert set(texts.values()) == {f"calm {w}" for w in range(4)} | {
        f"red {w} at {k}" for w in range(4) for k in (0.1, 1.0)
    }
    for t in trials:
        (asked,) = scorer.requests(t, ALL)
        assert isinstance(asked, Choice)
        assert "prompt" not in asked.messages[-1].content
    judged = [j for t in trials for j in scorer.parse(t, [says(2 if t.judged[0].kind == "kl:1" else 1)])]
    # In part is not contained, and it counts in the share.
    assert scorer.metrics(judged) == {"faithfulness": 1.0, "n": 12.0}


def test_faithfulness_by_hand_through_judgements() -> None:
    said = {
        ("a", "clean"): [0, 0],
        ("a", "kl:0.1"): [1, 0],
        ("a", "kl:1"): [1, 1],
        ("b", "clean"): [1, 0],
        ("b", "kl:0.1"): [0, 1],
        ("b", "kl:1"): [1, 0],
    }
    judged = [
        Judgement(f"steer/{half}/{k}/{i}", STEERED[half], i, k, int(k != "clean"), Outcome.OK, 0.5, y)
        for (half, k), row in said.items()
        for i, y in enumerate(row)
    ]
    assert part("steer").metrics(judged)["faithfulness"] == pytest.approx(1 / 4)
    lost = [replace(j, outcome=Outcome.API, answer=None) if j.kind == "kl:1" else j for j in judged]
    # Weak alone: a chosen, (1/2 - 1/2) / (1/2) on b; b chosen, (1/2 - 0) / 1 on a.
    assert part("steer").metrics(lost)["faithfulness"] == pytest.approx(1 / 4)


def test_missing_strengths_are_skipped_and_an_empty_completion_contains_nothing() -> None:
    scorer = part("steer", kls=[0.1, 1.0, 3.0])
    rows = (*(steered(w, 0.1, text=" ") for w in range(2)), *(steered(w, 1.0, reached=False) for w in range(2)))
    trials = scorer.trials(replace(latent(), interventions=rows), "Colours.", 0)
    skipped = [t for t in trials if not t.windows]
    assert [t.judged[0].kind for t in skipped] == ["kl:1", "kl:3"]
    for t in skipped:
        assert scorer.requests(t, ALL) == []
        assert scorer.parse(t, [])[0].outcome is Outcome.SKIPPED
    empty = [t for t in trials if t.judged[0].kind == "kl:0.1"]
    assert len(empty) == 2
    for t in empty:
        assert scorer.requests(t, ALL) == []
        assert (scorer.parse(t, [])[0].outcome, scorer.parse(t, [])[0].answer) == (Outcome.OK, 0)
    (none,) = part("steer").trials(latent(), "Colours.", 0)
    assert part("steer").parse(none, [])[0].outcome is Outcome.SKIPPED


def test_prompts_are_drawn_by_content() -> None:
    rows = tuple(steered(w, 1.0, f"calm {w}") for w in range(9))
    moved = tuple(replace(s, window=s.window + 100) for s in rows[::-1])
    scorer = part("steer", prompts=4)
    texts = [
        [(t.id, t.windows) for t in scorer.trials(replace(latent(), interventions=r), "z", 2)] for r in (rows, moved)
    ]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 8
    assert texts[0] != [(t.id, t.windows) for t in scorer.trials(replace(latent(), interventions=rows), "z", 3)]


# --- whole


def test_parts_decide_what_is_asked_and_what_a_judge_must_be_able_to_do() -> None:
    assert part("write").needs == (WRITES,)
    assert part("rate").needs == tuple(
        frozenset({c}) for c in (Capability.CHOICE, Capability.CHAT, Capability.SIMULATE)
    )
    assert sensitivity().needs[0] == WRITES | {Capability.CHOICE}
    assert sensitivity().needs[1] == WRITES
    assert not sensitivity().fits(frozenset({Capability.CHAT, Capability.CHOICE}))
    assert sensitivity().uses_interventions
    assert not part("write").uses_interventions
    assert {t.id.partition("/")[0] for t in sensitivity().trials(latent(), "z", 0)} == {
        "written",
        "neutral",
        "natural",
        "rate",
        "steer",
    }
    with pytest.raises(SpecError, match="parts"):
        sensitivity(parts=["wirte"])


@pytest.mark.parametrize(("preset", "headline"), [("ratings", "purity_normalised"), ("output", "faithfulness")])
def test_a_preset_without_texts_has_a_headline_that_it_measures(preset: str, headline: str) -> None:
    assert load_scorer({"use": "sensitivity", "preset": preset}).headline == headline
    assert load_scorer({"use": "sensitivity", "preset": "natural"}).headline == "clarity_signed"


def test_a_headline_for_no_preset_is_refused(tmp_path: Path) -> None:
    task = yaml.safe_load((tasks_dirs()[0] / "scorers/sensitivity.yaml").read_text(encoding="utf-8"))
    task["headlines"] = {"rating": "purity"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    with pytest.raises(SpecError, match="rating is no preset"):
        load_scorer(str(tmp_path / "mine.yaml"))


def test_the_truth_outranks_unrelated_explanations_with_the_oracle() -> None:
    """By its headline, on every planted latent."""
    scorer = load_scorer({"use": "sensitivity", "preset": "natural", "params": {"positives": 3, "negatives": 3}})
    own = load_judge("mock:oracle")
    views = load_suite("planted-1").latents()
    assert len(views) == 61
    for view in views:
        truth = json.loads(str(view.row["truth"]))
        found = [scorer.metrics(answered(scorer, own, view, z)) for z in (truth["truth"], *truth["unrelated"])]
        assert found[0]["input_success"] == 1
        assert found[0]["clarity_signed"] > max(f["clarity_signed"] for f in found[1:]), view.id


def test_unsigned_clarity_rewards_texts_that_avoid_a_dense_latent() -> None:
    """Why the headline is signed: articles stand in most windows, so texts without any are easily told from natural ones."""
    view = load_suite("planted-1").latent("planted/articles")
    truth = json.loads(str(view.row["truth"]))
    scorer = part("write")
    own = load_judge("mock:oracle")
    true, other = (scorer.metrics(answered(scorer, own, view, z)) for z in (truth["truth"], truth["unrelated"][0]))
    assert true["clarity_signed"] > other["clarity_signed"]
    assert true["clarity"] < other["clarity"]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    planted = load_suite("planted-1")
    save_suite(
        folder,
        {"name": "steered", "version": "1-0", "rules": planted.manifest["rules"]},
        planted.latent_table,
        planted.window_table,
    )
    add_interventions(folder)
    return folder


def spec(folder: Path, suite: Path, **changes: Any) -> Path:
    path = folder / "spec.yaml"
    content = {
        "name": "s",
        "suite": str(suite),
        "limit": 3,
        "explainers": ["planted", {"use": "planted", "label": "other", "params": {"which": "unrelated:0"}}, "empty"],
        "scorers": [{"use": "sensitivity", "params": {"positives": 3, "negatives": 3, "texts": 4}}],
        "judges": [{"use": "mock:oracle", "label": "knows"}],
    }
    path.write_text(yaml.safe_dump(content | changes), encoding="utf-8")
    return path


def test_all_numbers_come_out_of_a_run_and_the_floors_of_an_empty_explanation(suite: Path, tmp_path: Path) -> None:
    run, record = start(spec(tmp_path, suite), tmp_path / "run", tmp_path / "c.sqlite", QUIET)
    assert record.failure_rate == 0
    assert record.identities.interventions == load_suite(suite).interventions.digest  # type: ignore[union-attr]
    scores = pq.read_table(run / "scores.parquet").to_pandas()
    mean = scores.groupby(["explainer", "metric"]).value.mean()
    assert mean["planted", "faithfulness"] == 1
    assert mean["planted", "input_success"] == 1
    assert mean["planted", "responsiveness"] == mean["planted", "purity_normalised"] == 1
    assert mean["planted", "clarity_signed"] > 0.8
    for metric in ("clarity_signed", "faithfulness"):
        assert mean["planted", metric] > mean["other", metric] + 0.5
        assert mean["empty", metric] == pytest.approx(0, abs=0.2)
    assert mean["empty", "input_success"] == 0
    judged = pq.read_table(run / "judgements.parquet").to_pandas()
    texts = judged[(judged.explainer == "empty") & judged.kind.isin(["written", "neutral"])]
    by_kind = (
        texts.sort_values("trial").groupby(["kind", "latent"]).token_truth.apply(lambda rows: [list(r) for r in rows])
    )
    assert by_kind["written"].tolist() == by_kind["neutral"].tolist()


def test_a_run_that_was_cut_between_the_rounds_ends_in_the_same_tables(suite: Path, tmp_path: Path) -> None:
    path, cache = spec(tmp_path, suite), tmp_path / "c.sqlite"
    run, first = start(path, tmp_path / "a", cache, QUIET)
    assert first.totals.paid.calls > 0
    _, again = start(path, tmp_path / "b", cache, QUIET)
    assert again.totals.paid.calls == 0
    whole = (run / "scores.parquet").read_bytes()
    assert (tmp_path / "b" / "scores.parquet").read_bytes() == whole
    journal = reopened(run) / "judgements.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:3]) + lines[3][:50])
    # The second round was never stored, the first one was.
    import sqlite3

    with sqlite3.connect(cache) as db:
        gone = db.execute("DELETE FROM replies WHERE settings LIKE '%\"Activate\"%'").rowcount
    db.close()
    assert gone > 0
    assert resume(run, cache, QUIET).status == "complete"
    assert (run / "scores.parquet").read_bytes() == whole
    # What was paid before stays paid, whatever became of the lines.
    assert 0 < read_record(run).totals.paid.calls - first.totals.paid.calls <= gone


def test_failures_in_either_round_lower_coverage(suite: Path, tmp_path: Path) -> None:
    path = spec(
        tmp_path,
        suite,
        judges=[{"use": "mock:oracle?fail=0.3", "label": "flaky"}],
        max_failures=1.0,
        explainers=["planted"],
    )
    run, _ = start(path, tmp_path / "run", tmp_path / "c.sqlite", QUIET)
    judged = pq.read_table(run / "judgements.parquet").to_pandas()
    texts = judged[judged.kind == "written"]
    assert set(texts.outcome) == {"ok", "api"}
    assert texts[texts.outcome == "api"].token_truth.isna().all()
    scores = pq.read_table(run / "scores.parquet").to_pandas()
    assert (scores.n_judged < scores.n_attempted).any()


def test_qualification_ranks_what_was_rated_and_not_what_was_written() -> None:
    import pandas as pd
    from latentbench.analysis.qualify.qualify_measures import aurocs, scored

    rows = [("written", 1, None), ("quantile:1", 1, 0.8), ("random", 0, 0.3), ("random", 0, 0.9)]
    table = pd.DataFrame(
        [
            {"asked": 0, "explainer": "truth", "latent": "a", "kind": kind, "truth": label, "outcome": "ok"}
            | {"score": p, "answer": None, "token_scores": None}
            for kind, label, p in rows
        ]
    )
    found = aurocs(scored(table))
    assert found.value.tolist() == [0.5]


def test_a_mock_measures_planted_latents_of_its_own_rules_only() -> None:
    judge = load_judge("mock:lexical")
    view = load_suite("planted-1").latents(limit=1)[0]
    ref = LatentRef(view.id, view.origin)
    rule = json.loads(str(view.row["truth"]))["truth"]
    quoted = load_judge("mock:oracle").variant  # type: ignore[attr-defined]
    text = quoted.write(scored_question(rule), 1)
    asked = [
        Activate(text, ref),
        Activate("Nothing here fires.", ref),
        Activate(text, LatentRef(view.id, "another")),
        Activate(text, LatentRef("sae/7")),
        Activate("", ref),
    ]
    on, off, foreign, unknown, empty = asyncio.run(judge.answer(asked))
    assert on.windows[0] == max(on.tokens[0]) >= 4  # type: ignore[index]
    assert off.windows == (0.0,)
    assert [r.outcome for r in (foreign, unknown, empty)] == [Outcome.SKIPPED] * 3


def scored_question(text: str) -> Trial:
    return part("write").trials(latent(), text, 0)[0]
