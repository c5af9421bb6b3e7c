"""Whatever code of others returns, the run ends, and each wrong value is the outcome of what it was about."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from latentbench.kernel.errors import BenchError, CorruptTable, SpecError
from latentbench.kernel.forms import AnyOf, Levels, Which, YesNo
from latentbench.kernel.registry import BUILTIN
from latentbench.kernel.requests import Chat, Choice, Embed, Message, Outcome, Usage
from latentbench.kernel.tasks import find
from latentbench.runs.record import read_record
from latentbench.runs.run import resume, start
from rich.console import Console

from tests.builders.reopened import reopened
from tests.runs import wrong_values

QUIET = Console(quiet=True)
HALF = "half \ud83d"


@pytest.fixture
def twist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Carry out a run with one function twisted: `twist("parse", f)` is the run folder."""
    for kind, cls in (("scorer", "TwistedScorer"), ("explainer", "TwistedExplainer"), ("judge", "TwistedJudge")):
        monkeypatch.setitem(BUILTIN[kind], "twisted", f"tests.runs.wrong_values:{cls}")
    for kind, task in (("scorers", "detection"), ("explainers", "tokens")):
        said = yaml.safe_load(Path(find(kind, task)).read_text(encoding="utf-8")) | {"implementation": "twisted"}
        (tmp_path / f"{task}.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")

    def carry_out(name: str, change: Callable[[Any], Any], judge: str = "twisted:lexical") -> Path:
        spec = {
            "name": "t",
            "suite": "planted-1",
            "limit": 2,
            "explainers": [{"use": "tokens.yaml", "label": "x"}],
            "scorers": [{"use": "detection.yaml", "label": "d"}],
            "judges": [{"use": judge, "label": "j"}],
            "max_failures": 1.0,
        }
        (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
        wrong_values.TWISTED[name] = change
        return start(tmp_path / "spec.yaml", tmp_path / "run", tmp_path / "c.sqlite", QUIET)[0]

    yield carry_out
    wrong_values.TWISTED.clear()


def errors(run: Path, table: str = "judgements") -> set[tuple[str, str]]:
    found = pq.read_table(run / f"{table}.parquet").to_pandas()
    return {(o, e or "") for o, e in zip(found.outcome, found.error.fillna(""), strict=True)}


def choice(trials: Any, form: Any) -> list[Any]:
    return [replace(t, form=form) for t in trials]


NONE = lambda _: None  # noqa: E731 - the plainest wrong value


@pytest.mark.parametrize(
    ("name", "change", "outcome", "said"),
    [
        ("trials", NONE, "skipped", "TwistedScorer.trials: is None, not a list"),
        ("trials", lambda x: [None, *x], "skipped", "TwistedScorer.trials: [0] is None, not a Trial"),
        ("trials", lambda _: [], "skipped", "TwistedScorer.trials: made no trials of"),
        ("trials", lambda x: [*x, x[0]], "skipped", "which another trial of"),
        ("trials", lambda x: [replace(x[0], truth=())], "skipped", "[0].truth is empty"),
        ("trials", lambda x: [replace(x[0], truth=(0,) * 99)], "skipped", "[0].truth has 99 values for"),
        ("trials", lambda x: [replace(x[0], explanation=HALF)], "skipped", "[0].explanation is not Unicode text"),
        ("trials", lambda x: [replace(x[0], form=Which(7))], "skipped", "no 7 groups of one size"),
        ("trials", lambda x: choice(x, YesNo("Yes", " Yes")), "skipped", "ValueError in tests/runs/wrong_values.py"),
        ("trials", lambda x: choice(x, YesNo("yes", "Yes")), "skipped", "two or more different words"),
        ("trials", lambda x: choice(x, AnyOf("2")), "skipped", "'2' could be taken for something else"),
        ("trials", lambda x: choice(x, Levels(("only",))), "skipped", "two or more different words"),
        ("trials", lambda x: choice(x, Which(1)), "skipped", "which of 1 groups is no question"),
        ("requests", NONE, "skipped", "TwistedScorer.requests: is None, not a list"),
        ("requests", lambda x: [*x, None], "skipped", "TwistedScorer.requests: [1] is None, not Chat or Choice"),
        ("requests", lambda _: [Chat((Message("user", HALF),))], "skipped", "[0].messages[0].content is not Unicode"),
        ("follow_up", lambda _: 7, "parse", "TwistedScorer.follow_up: is int 7, not a list"),
        ("parse", NONE, "parse", "TwistedScorer.parse: is None, not a list"),
        ("parse", lambda _: [], "parse", "TwistedScorer.parse: gave 0 judgements of trial"),
        ("parse", lambda x: [*x, *x], "parse", "judgements of trial"),
        ("parse", lambda x: [replace(x[0], score="high"), *x[1:]], "parse", "[0].score is str 'high', not a number"),
        ("parse", lambda x: [replace(x[0], score=math.nan), *x[1:]], "parse", "[0].score is nan"),
        ("parse", lambda x: [replace(x[0], kind=HALF), *x[1:]], "parse", "[0].kind is not Unicode text"),
        ("parse", lambda x: [replace(x[0], error=HALF), *x[1:]], "parse", "[0].error is not Unicode text"),
        ("parse", lambda x: [replace(j, truth=1 - j.truth) for j in x], "parse", "is owed there"),
        ("parse", lambda x: [replace(j, score=None, answer=None) for j in x], "parse", "is ok and holds no answer"),
        (
            "parse",
            lambda x: [replace(j, outcome="fine") for j in x],
            "parse",
            "[0].outcome is str 'fine', not an Outcome",
        ),
        ("metrics", NONE, "parse", "TwistedScorer.metrics: is None, not a mapping"),
        ("metrics", lambda x: x | {"accuracy": "high"}, "parse", "['accuracy'] is str 'high', not a number"),
        ("metrics", lambda x: x | {HALF: 1.0}, "parse", "is not Unicode text"),
        ("metrics", lambda x: x | {"accuracy": 1.5}, "parse", "['accuracy'] is 1.5, outside 0 to 1"),
        ("metrics", lambda x: x | {"own": 0.5}, "parse", "['own'] is no metric of its table"),
        ("answer", NONE, "api", "TwistedJudge.answer: is None, not a list"),
        ("answer", lambda x: ["yes"] * len(x), "api", "TwistedJudge.answer: is str 'yes', not a Reply"),
        ("reply", lambda x: replace(x, outcome="weird"), "api", ".answer: outcome is str 'weird', not an Outcome"),
        ("reply", lambda x: replace(x, tokens=None), "api", "is missing from a reply that is ok"),
        ("reply", lambda x: replace(x, usage=Usage(math.nan, -3)), "api", "ValueError in tests/runs/"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_value_is_an_outcome_that_names_its_owner(
    twist: Callable[..., Path], name: str, change: Callable[[Any], Any], outcome: str, said: str, tmp_path: Path
) -> None:
    run = twist(name, change)
    found = errors(run)
    assert any(o == outcome and said in e for o, e in found), found
    assert all(o != "ok" or e == "" for o, e in found)
    # It is not for ever: with the code mended, a call that failed is asked again and the run comes to its end.
    wrong_values.TWISTED.clear()
    assert resume(run, tmp_path / "c.sqlite", QUIET).status == "complete"
    if outcome == "api" or name == "metrics":
        assert errors(run) == {("ok", "")}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (NONE, "TwistedExplainer.parse: is None, not an Explanation"),
        (lambda x: replace(x, text=7), "text is int 7, not a text"),
        (lambda x: replace(x, text=HALF), "text is not Unicode text"),
        (lambda x: replace(x, text=None), "ok has a text and nothing else has"),
        (lambda x: replace(x, latent="other/3"), "was to be explained"),
        (lambda x: replace(x, note={"a": object()}), "note cannot be written as JSON"),
        (lambda x: replace(x, note={"a": HALF}), "note cannot be written as JSON"),
    ],
)
def test_a_wrong_explanation_is_one_that_could_not_be_read(
    twist: Callable[..., Path], change: Callable[[Any], Any], said: str
) -> None:
    run = twist("explain", change)
    found = errors(run, "explanations")
    assert {o for o, _ in found} == {"parse"}
    assert all(said in e for _, e in found), found
    assert {o for o, _ in errors(run)} == {"skipped"}


def raising(_: Any) -> Any:
    raise LookupError("odd")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("metric_table", NONE, "detection.yaml: TwistedScorer cannot be built"),
        ("needs", raising, "scorer 'd': LookupError in tests/runs/wrong_values.py"),
        ("needs", lambda _: ("chat",), "TwistedScorer.needs: \\[0\\] is str 'chat', not a frozenset"),
        ("negative_kinds", lambda _: [1], "TwistedScorer.negative_kinds: \\[0\\] is int 1, not a text"),
        ("fits", lambda _: "yes", "TwistedScorer.fits: is str 'yes', not True or False"),
        ("check", raising, "explainer 'x': LookupError in tests/runs/wrong_values.py"),
        ("init", raising, "TwistedJudge cannot be built: LookupError in tests/runs/wrong_values.py"),
        ("can", lambda _: {"chat"}, "judge 'twisted:lexical': .*TwistedJudge.can: is set {'chat'}, not a frozenset"),
    ],
)
def test_what_code_says_of_itself_is_read_before_anything_is_paid(
    twist: Callable[..., Path], name: str, change: Callable[[Any], Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=said):
        twist(name, change)
    assert not (tmp_path / "run").exists()


def test_a_judge_that_cannot_be_closed_costs_nothing(twist: Callable[..., Path]) -> None:
    assert errors(twist("close", raising)) == {("ok", "")}


def test_a_choice_must_be_between_the_words_of_its_form(twist: Callable[..., Path]) -> None:
    def any_of(requests: Any) -> Any:
        return [
            Choice(r.messages, r.answers, trial=replace(r.trial, form=AnyOf(none="No"))) if isinstance(r, Choice) else r
            for r in requests
        ]

    found = errors(twist("requests", any_of, "twisted:lexical?can=choice_logprobs"))
    assert {o for o, _ in found} == {Outcome.SKIPPED.value}
    assert all("cannot answer AnyOf" in e and "ask for a text (Chat)" in e for _, e in found), found


def test_an_entry_point_to_nowhere_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from latentbench.kernel import registry

    known = registry.names("scorer") | {"lost": "no_such_package.things:Scorer"}
    monkeypatch.setattr(registry, "names", lambda kind: known)
    with pytest.raises(BenchError, match="scorer 'lost' is 'no_such_package.things:Scorer' of another package"):
        registry.lookup("scorer", "lost")


class Loud(str):
    """A text whose methods are not those of a text."""

    def encode(self, *_: Any) -> bytes:
        raise LookupError("odd")


def cancelled(_: Any) -> Any:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("name", "change", "outcome", "said"),
    [
        ("parse", lambda x: [replace(j, answer=2**31) for j in x], "parse", "answer is an integer of more than 32 bits"),
        ("trials", lambda x: [replace(x[0], truth=(2**40,))], "skipped", "truth holds an integer of more than 32 bits"),
        ("parse", lambda x: [replace(j, item=2**70) for j in x], "parse", "item is an integer of more than 64 bits"),
        ("reply", lambda x: replace(x, usage=Usage(2**70)), "api", "usage is a number of tokens and seconds"),
        ("parse", cancelled, "parse", "CancelledError in tests/runs/wrong_values.py"),
        ("answer", cancelled, "api", "CancelledError in tests/runs/wrong_values.py"),
        ("trials", lambda x: [replace(t, windows=(replace(t.windows[0], marks=(True,)),)) for t in x], "skipped", "marks has 1"),
        ("requests", lambda x: [Embed("a")], "skipped", "is a Embed, which takes a judge that can embed"),
        ("parse", lambda x: [replace(j, outcome=Outcome.PARSE, error="a\nb\x1b[31m") for j in x], "parse", "a b\\x1b[31m"),
    ],
)  # fmt: skip
def test_what_no_table_holds_and_nobody_expects_is_an_outcome(
    twist: Callable[..., Path], name: str, change: Callable[[Any], Any], outcome: str, said: str
) -> None:
    judge = "twisted:lexical?can=simulate" if name == "requests" else "twisted:lexical"
    found = errors(twist(name, change, judge))
    assert any(o == outcome and said in e for o, e in found), found


def test_a_reply_that_cannot_be_read_fails_alone(twist: Callable[..., Path]) -> None:
    found = pq.read_table(
        twist("reply", lambda x: replace(x, finish=Loud("stop"), tokens=((10**400,),))) / "judgements.parquet"
    )
    outcomes = Counter(found.column("outcome").to_pylist())
    assert outcomes["api"] > 0
    assert outcomes["ok"] > outcomes["api"]


def test_what_an_owner_does_to_its_arguments_it_does_to_a_copy(twist: Callable[..., Path], tmp_path: Path) -> None:
    def emptied(right: Any) -> Any:
        wrong_values.SEEN[-1].clear()
        return right

    record = read_record(twist("parse", emptied))
    assert record.totals is not None
    assert record.totals.paid.calls > 0
    assert errors(tmp_path / "run") == {("ok", "")}


@pytest.mark.parametrize(
    "change",
    [{"text": 5}, {"latent": []}, {"explainer": {}}, {"error": 7}, {"cost": "x"}, {"tokens_in": -1}, {"paid": "x"}, {"hash": 3}],
    ids=str,
)  # fmt: skip
def test_a_line_of_another_type_is_named_on_resume(
    twist: Callable[..., Path], change: dict[str, Any], tmp_path: Path
) -> None:
    run = twist("parse", lambda x: x)
    path = reopened(run) / "explanations.jsonl"
    # Lines of an earlier version, without checksums: behind a checksum such a line is damaged, and asked again.
    first, *rest = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    lines = [{name: value for name, value in held.items() if name != "sum"} for held in (first | change, *rest)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    if change == {"hash": 3}:  # what is made of the text is not read back
        assert resume(run, tmp_path / "c.sqlite", QUIET).status == "complete"
        return
    with pytest.raises(CorruptTable, match=r"explanations.jsonl line 1 is no unit of a run") as told:
        resume(run, tmp_path / "c.sqlite", QUIET)
    assert "\n" not in str(told.value)


def test_the_line_of_another_latent_stands_for_none(twist: Callable[..., Path], tmp_path: Path) -> None:
    run = twist("parse", lambda x: x)
    path = reopened(run) / "explanations.jsonl"
    first, *rest = path.read_text(encoding="utf-8").splitlines()
    path.write_text(
        "\n".join([json.dumps(json.loads(first) | {"latent": "nowhere/99"}), *rest]) + "\n", encoding="utf-8"
    )
    assert resume(run, tmp_path / "c.sqlite", QUIET).status == "complete"
