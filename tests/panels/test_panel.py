"""A panel: its rules by hand, what it is, whom it pays, who fails in it, and whole runs with and without a fit."""

from __future__ import annotations

import asyncio
import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from latentbench.judges.judge import Judge
from latentbench.judges.price import cost
from latentbench.judges.reference import load_judge
from latentbench.kernel.errors import CapabilityError, JudgeError, SpecError, UnknownName
from latentbench.kernel.forms import YesNo
from latentbench.kernel.requests import Choice, Embed, Outcome, Passed, Reply, Request, Usage
from latentbench.kernel.trial import Seen, Trial
from latentbench.leaderboards.run_page import write_report
from latentbench.panels.combination import combined, logit, probability
from latentbench.panels.panel_judge import PanelJudge, load_panel
from latentbench.panels.panel_scorer import PanelScorer, seated
from latentbench.panels.panel_spec import PanelParams, read_panel
from latentbench.panels.panel_table import agreement, read_opinions
from latentbench.runs.record import RunRecord, read_record
from latentbench.runs.run import resume, start
from latentbench.scorers.scorer import Judgement, load_scorer
from rich.console import Console

from tests.builders.loopback import completed, serving

QUIET = Console(quiet=True)
DETECTION = {"use": "detection", "params": {"positives": 3, "negatives": 3}}
TRIAL = Trial(
    "0", "detection", YesNo("No", "Yes"), "Names of rivers.", (Seen((" the", " Rhine")),), (1,), ((0.0, 1.0),)
)


class Told:
    """A judge whose probabilities, cosines and failures are told."""

    def __init__(self, name: str, reply: Reply, model: str = "choice_logprobs") -> None:
        self.inner = load_judge(f"mock:label?can={model}&seed={sum(map(ord, name))}")
        self.identity, self.can, self.reads_truth = self.inner.identity, self.inner.can, False
        self.in_flight, self.chunk, self.reply, self.heard = 1, 64, reply, list[Request]()

    async def answer(self, requests: list[Request]) -> list[Reply]:
        self.heard += requests
        return [self.reply] * len(requests)

    async def probe(self, request: Request) -> str | None:
        return None

    async def close(self) -> None:
        pass


def yes(p: float) -> Reply:
    return Reply(logprobs=((math.log(1 - p), math.log(p)),), usage=Usage(10, 1, 0, 0.5))


def panel(judges: dict[str, Told], **params: Any) -> PanelScorer:
    made = PanelJudge("members", PanelParams(members=tuple(judges), **params), judges.__getitem__)  # type: ignore[arg-type]
    return PanelScorer(load_scorer("detection"), made)


def judge_once(scorer: PanelScorer) -> Judgement:
    assert scorer.fits(scorer.panel.can), scorer.lack
    requests = scorer.requests(TRIAL, scorer.panel.can)
    (found,) = scorer.parse(TRIAL, asyncio.run(scorer.panel.answer(requests)))
    return found


def test_the_rules_by_hand() -> None:
    given = [logit(0.9), logit(0.6), logit(0.2)]
    assert combined("vote", given, [1, 1, 1], 3) == pytest.approx(2 / 3)
    assert combined("vote", given, [1, 1, 4], 6) == pytest.approx(1 / 3)
    assert combined("mean", given, [1, 1, 2], 4) == pytest.approx((0.9 + 0.6 + 0.4) / 4)
    # 9 : 1, 3 : 2 and 1 : 4 multiply to 27 : 8.
    assert combined("logodds", given, [1, 1, 1], 3) == pytest.approx(27 / 35)
    assert combined("logodds", given, [1, 1, 1], 3, bias=math.log(8 / 27)) == pytest.approx(0.5)
    # One of three is missing: what the others say counts for three halves.
    assert combined("logodds", given[:2], [1, 1], 3) == pytest.approx(probability(1.5 * math.log(9 * 1.5)))
    assert combined("mean", [math.inf, -math.inf], [1, 1], 2) == 0.5
    assert probability(-800) == 0
    assert probability(800) == 1


@pytest.mark.parametrize(
    ("rule", "p", "answer"),
    [("vote", 2 / 3, 1), ("mean", 1.7 / 3, 1), ("logodds", probability(math.log(3.375) / 3), 1)],
)
def test_members_are_combined_and_kept(rule: str, p: float, answer: int) -> None:
    judges = {"a": Told("a", yes(0.9)), "b": Told("b", yes(0.6)), "c": Told("c", yes(0.2))}
    found = judge_once(panel(judges, rule=rule))
    assert (found.score, found.answer, found.outcome) == (pytest.approx(p), answer, Outcome.OK)
    assert [(m, p and round(p, 6), a) for m, _, p, a, _ in found.said] == [("a", 0.9, 1), ("b", 0.6, 1), ("c", 0.2, 0)]


def test_words_are_votes_and_no_log_odds() -> None:
    judges = {"a": Told("a", Reply(text="Yes"), "chat"), "b": Told("b", yes(0.4))}
    assert judge_once(panel(judges, rule="mean")).score == pytest.approx(0.7)
    # A tie is no yes, as a probability of one half is none.
    assert (judge_once(panel(judges, rule="vote")).score, judge_once(panel(judges, rule="vote")).answer) == (0.5, 0)
    assert panel(judges, rule="logodds").lack == (
        "its member a answers in words, which have no log-odds; take the rule vote or mean"
    )


def test_a_member_that_fails_leaves_no_answer_unless_there_is_a_quorum() -> None:
    lost = Reply(Outcome.PARSE, error="nonsense")
    judges = {"a": Told("a", yes(0.9)), "b": Told("b", yes(0.6)), "c": Told("c", lost)}
    found = judge_once(panel(judges))
    assert (found.outcome, found.error, found.score, found.answer) == (Outcome.PARSE, "c: nonsense", None, None)
    assert [(m, o) for m, o, *_ in found.said] == [("a", Outcome.OK), ("b", Outcome.OK), ("c", Outcome.PARSE)]
    assert judge_once(panel(judges, quorum=2)).score == pytest.approx(0.75)
    judges["b"] = Told("b", Reply(Outcome.API, error="HTTP 500"))
    found = judge_once(panel(judges, quorum=2))
    # What may succeed later is asked again.
    assert (found.outcome, found.error) == (Outcome.API, "b: HTTP 500; c: nonsense (2 of 3 members must answer)")


def identity(members: list[Any], **params: Any) -> str:
    return load_panel("panel:", {"members": members, **params}, load_judge, Path()).identity.key


def test_identity_is_the_members_whatever_their_order_or_labels() -> None:
    a, b, c = "mock:label", "mock:label?error=0.1", "mock:lexical"
    own = identity([a, b])
    assert identity([b, a]) == own == identity([{"use": a, "label": "x"}, b]) == identity([a, b], rule="mean")
    others = [
        identity([a, c]),
        identity([a, b, c]),
        identity([a, b], rule="vote"),
        identity([a, b], quorum=1),
        identity([a, b], weights={a: 2}),
        identity([a, b], weights={b: 2}),
        identity([a, {"use": b, "by": "embedding"}]),
        identity([a, {"use": b, "by": "surprisal"}]),
    ]
    assert len({own, *others}) == 1 + len(others)


def test_what_was_fitted_is_part_of_the_identity(tmp_path: Path) -> None:
    def key(scale: float, scorer: str = "detection") -> str:
        return fitted(tmp_path, scale, scorer).identity.key

    assert key(2.0) == key(2.0)
    assert len({key(2.0), key(3.0), key(2.0, "fuzzing")}) == 3


def fitted(folder: Path, scale: float = 2.0, scorer: str = "detection") -> PanelJudge:
    member = {"bias": 0.0, "weight": 1.0}
    fit = {"bias": 0.0, "members": {"words": {"scale": 1.0, **member}, "cosine": {"scale": scale, **member}}}
    write(folder / "p.fit.yaml", {"command": "none", "windows": 4, "scorers": {scorer: fit}})
    members = [
        {"use": "mock:lexical?can=choice_logprobs", "label": "words"},
        {"use": "mock:lexical?can=embed", "label": "cosine"},
    ]
    write(folder / "p.yaml", {"members": members, "rule": "logodds", "fit": "p.fit.yaml"})
    found = load_judge(f"panel:{folder / 'p.yaml'}")
    assert isinstance(found, PanelJudge)
    return found


def write(path: Path, content: Any) -> Path:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_evidence_of_another_kind_is_asked_in_its_own_way_and_scaled(tmp_path: Path) -> None:
    made = fitted(tmp_path)
    scorer = PanelScorer(load_scorer("detection"), made)
    requests = scorer.requests(TRIAL, made.can)
    assert [type(r.request) for r in requests if isinstance(r, Passed)] == [Choice, Embed, Embed]
    assert [r.request.text for r in requests[1:]] == ["Names of rivers.", " the Rhine"]  # type: ignore[union-attr]
    vector = Reply(vector=pd.Series([0.6, 0.8], dtype="float32").to_numpy())
    axis = Reply(vector=pd.Series([1.0, 0.0], dtype="float32").to_numpy())
    (found,) = scorer.parse(TRIAL, [yes(0.5), axis, vector])
    assert found.score == pytest.approx(probability(2 * 0.6))
    assert [p for _, _, p, *_ in found.said] == [pytest.approx(0.5), pytest.approx(probability(1.2))]
    # Without a fit a cosine means nothing.
    assert "nothing was fitted for fuzzing" in PanelScorer(load_scorer("fuzzing"), made).lack


def test_marks_are_no_part_of_what_ranks_windows(tmp_path: Path) -> None:
    scorer = PanelScorer(load_scorer("fuzzing"), fitted(tmp_path, scorer="fuzzing"))
    shown = replace(TRIAL, windows=(replace(TRIAL.windows[0], marks=(False, True)),))
    assert scorer.fits(scorer.panel.can)
    assert scorer.requests(shown, scorer.panel.can)[-1] == Passed("cosine", Embed(" the Rhine"))


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"members": ["mock:label"]}, "two or more"),
        ({"members": ["mock:label", "mock:label"]}, "a `label` of its own"),
        ({"members": ["mock:label", "mock:lexical"], "quorum": 3}, "its quorum is 3"),
        ({"members": ["mock:label", "mock:lexical"], "weights": {"mock:label": 0}}, "not a number above 0"),
        ({"members": ["mock:label", {"use": "mock:lexical", "by": "detection"}]}, "`by` is embedding or surprisal"),
        ({"members": ["mock:label", "mock:lexical"], "rule": "median"}, "'vote', 'mean' or 'logodds'"),
    ],
)
def test_what_is_no_panel_is_refused(params: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        load_panel("panel:", params, load_judge, Path())


def test_names_that_nobody_has_are_refused() -> None:
    with pytest.raises(UnknownName, match="member of the panel"):
        load_panel(
            "panel:", {"members": ["mock:label", "mock:lexical"], "weights": {"mock:labl": 1}}, load_judge, Path()
        )
    with pytest.raises(UnknownName):
        load_judge("panel:embeded")


def test_a_panel_is_asked_through_its_members() -> None:
    made = load_panel("panel:", {"members": ["mock:label", "mock:lexical"]}, load_judge, Path())
    with pytest.raises(CapabilityError, match="through its members"):
        asyncio.run(made.answer([Embed("x")]))
    assert seated(load_scorer("detection"), load_judge("mock:label")).__class__.__name__ == "Detection"
    assert not PanelScorer(load_scorer("intruder"), made).fits(made.can)


def test_cost_is_that_of_the_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"model": "priced", "input": 1.0, "cached": 1.0, "output": 1.0, "date": "2026-01-01"}
    monkeypatch.setenv("LATENTBENCH_PRICES", str(write(tmp_path / "prices.yaml", [row])))
    with serving(lambda body: completed("Yes", tokens=10)) as server:
        for name, paid in (("priced", 2 * 10 / 1e6), ("nobodys", None)):
            members = [
                f"openai:{m}?base_url={server.url}&temperature={t}" for m, t in (("priced", True), (name, False))
            ]
            record, table = run(tmp_path, judges=[jury([*members, "mock:label"])], name=name)
            first = table[table["tokens_in"] > 0]
            own = first["tokens_in"] - 20
            assert (own > 0).all(), "the mock's tokens are in the sum"
            costs = set(first["cost"].round(9)) if paid else {None if c.isna().all() else 0 for c in [first["cost"]]}
            assert costs == {paid}
            assert record.judges["jury"].identity.dtype == "remote"


def jury(members: list[str], **params: Any) -> dict[str, Any]:
    return {"use": "panel:", "label": "jury", "params": {"members": members, **params}}


def run(folder: Path, name: str = "run", console: Console = QUIET, **changes: Any) -> tuple[RunRecord, pd.DataFrame]:
    spec = {
        "name": "t",
        "suite": "planted-1",
        "limit": 2,
        "explainers": [{"use": "planted", "label": "truth"}, "empty"],
        "scorers": [DETECTION],
        "judges": [],
        "max_failures": 1.0,
        **changes,
    }
    path = write(folder / f"{name}.yaml", spec)
    place, record = start(path, folder / name, folder / "c.sqlite", console)
    return record, pd.read_parquet(place / "judgements.parquet")


ALONE = [
    {"use": "mock:oracle", "label": "o"},
    {"use": "mock:lexical", "label": "l"},
    {"use": "mock:label?error=0.3&can=chat", "label": "c"},
]


def test_a_whole_run_keeps_who_said_what(tmp_path: Path) -> None:
    said = io.StringIO()
    changes = {"judges": [*ALONE, jury(["o", "l", "c"], rule="vote")]}
    record, judgements = run(tmp_path, console=Console(file=said, width=300), **changes)
    assert {c.judge.label for c in record.cells} == {"o", "l", "c", "jury"}
    mine = judgements[judgements["judge"] == "jury"].reset_index(drop=True)
    table = read_opinions(tmp_path / "run")
    assert table is not None
    assert len(table) == 3 * len(mine)
    # What a member said in the panel is what it said alone, about the same windows.
    key = ["explainer", "latent", "trial", "item"]
    table["explainer"] = table["cell"].str.partition("/")[0]
    for label in "olc":
        alone = judgements[judgements["judge"] == label].set_index(key)["answer"]
        assert (table[table["member"] == label].set_index(key)["answer"] == alone).all()
    votes = table.groupby(key, sort=False)["answer"].mean()
    assert (votes.round(6) == mine.set_index(key)["score"].round(6)).all()
    assert (table["unanimous"] == table.groupby(key)["answer"].transform("nunique").eq(1)).all()
    spread = table.groupby(key)["score"].transform(lambda p: p.max() - p.min())
    assert (table["spread"] - spread).abs().max() < 1e-9
    (line,) = agreement(table)
    share = table.drop_duplicates(key)["unanimous"].mean()
    assert line.startswith(f"panel jury, detection: {share:.0%} of {len(mine)} windows unanimous, mean spread")
    assert line in write_report(tmp_path / "run").read_text(encoding="utf-8").replace("&#x27;", "'")
    # Everything was asked by the members alone already.
    assert record.totals is not None
    calls = sum(record.totals.paid.model_dump()[n] for n in ["calls"])
    _, again = run(tmp_path, "solo", judges=ALONE)
    assert read_record(tmp_path / "solo").totals.paid.calls == 0  # type: ignore[union-attr]
    assert calls == len(again)
    assert read_opinions(tmp_path / "solo") is None


def test_a_member_that_is_added_is_all_that_is_paid_for(tmp_path: Path) -> None:
    run(tmp_path, "two", judges=[jury(["mock:oracle", "mock:lexical"])])
    record, table = run(tmp_path, "three", judges=[jury(["mock:oracle", "mock:lexical", "mock:constant"])])
    asked = len(table) - table["outcome"].ne("ok").sum()
    # The constant judge reads no truth: windows that both explanations share are asked once for each of them.
    assert record.totals is not None
    assert 0 < record.totals.paid.calls <= asked


def test_a_panel_alone_is_found_in_the_cache_and_can_be_asked_again(tmp_path: Path) -> None:
    changes = {"judges": [jury(["mock:oracle", "mock:label?can=chat&nonsense=0.5"])]}
    record, table = run(tmp_path, **changes)
    assert set(table["outcome"]) == {"ok", "parse"}
    assert table[table["outcome"] == "parse"]["error"].str.startswith("mock:label").all()
    record, _ = run(tmp_path, "again", **changes)
    assert record.totals is not None
    assert record.totals.paid.calls == 0
    said = io.StringIO()
    resume(tmp_path / "again", tmp_path / "c.sqlite", Console(file=said, width=200), [Outcome.PARSE])
    assert "stored replies are forgotten" in said.getvalue()
    assert not said.getvalue().startswith("0 ")


def test_every_member_is_tried_before_a_run(tmp_path: Path) -> None:
    with serving(lambda body: completed("Yes")) as server:
        members = [f"openai:m?base_url={server.url}", "openai:n?base_url=http://127.0.0.1:9/v1&timeout=20&backoff=0.02"]
        with pytest.raises(JudgeError, match=r"judge jury .*its member openai:n.*Connection error"):
            run(tmp_path, judges=[jury(members)])
        assert len(server.sent) == 1
    assert not (tmp_path / "run").exists()


def test_pairs_that_cannot_meet_are_named(tmp_path: Path) -> None:
    said = io.StringIO()
    console = Console(file=said, width=300)
    members = ["mock:oracle?can=choice_logprobs", "mock:lexical"]
    scorers = [DETECTION, {"use": "fuzzing", "preset": "paper"}, "intruder"]
    run(tmp_path, console=console, scorers=scorers, judges=[jury(members), {"use": "mock:label", "label": "all"}])
    assert said.getvalue().splitlines()[:2] == [
        "scorer fuzzing is not asked of judge jury: it needs chat or simulate, and its member mock:oracle?can=choice_logprobs "
        "can choice_logprobs.",
        "scorer intruder is not asked of judge jury: a panel says of windows whether they are active, and this scorer asks "
        "something else.",
    ]
    with pytest.raises(CapabilityError, match="jury: a panel says of windows"):
        run(tmp_path, "none", scorers=["intruder"], judges=[jury(members)])
    with pytest.raises(SpecError, match="only a panel has `params`"):
        run(tmp_path, "odd", judges=[{"use": "mock:label", "params": {"rule": "vote"}}])
    writer = [{"use": "llm", "model": "jury"}]
    with pytest.raises(CapabilityError, match="needs chat"):
        run(tmp_path, "writes", explainers=writer, judges=[jury(members)])


def test_a_panel_of_a_file_is_found_beside_the_spec(tmp_path: Path) -> None:
    fitted(tmp_path)
    record, table = run(tmp_path, judges=[{"use": "panel:p.yaml", "label": "p"}])
    assert set(table["outcome"]) == {"ok"}
    assert table["score"].between(0, 1).all()
    assert record.judges["p"].identity.provider == "panel"


def test_a_panel_closes_its_members_and_costs_nothing_here() -> None:
    closed: list[str] = []

    def load(reference: str) -> Judge:
        judge = load_judge(reference)

        async def close() -> None:
            closed.append(reference)

        judge.close = close  # type: ignore[method-assign]
        return judge

    made = load_panel("panel:", {"members": ["mock:label", "mock:lexical"]}, load, Path())
    asyncio.run(made.close())
    assert closed == ["mock:label", "mock:lexical"]
    assert cost(Usage(10, 1), made.identity) == 0


def test_the_panel_of_the_package_has_a_fit_of_its_members() -> None:
    params, fit = read_panel("embedded", {}, Path())
    assert fit is not None
    assert set(fit.scorers) == {"detection", "fuzzing"}
    assert all(set(s.members) == {m.label for m in params.members} for s in fit.scorers.values())
