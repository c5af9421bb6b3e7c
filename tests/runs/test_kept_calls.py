"""What a run keeps of its calls, and what of its journals is left."""

from __future__ import annotations

import gzip
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from latentbench.analysis.cache_report import explain_misses
from latentbench.judges.mock.mock_judge import MockJudge
from latentbench.kernel.errors import CorruptTable, DigestMismatch
from latentbench.kernel.forms import YesNo
from latentbench.kernel.identity import table_digest, text_digest
from latentbench.kernel.latent import LatentRef
from latentbench.kernel.requests import (
    Activate,
    Chat,
    Choice,
    Continuation,
    Embed,
    Message,
    Outcome,
    Passed,
    Patched,
    Projected,
    Reply,
    Request,
    Simulate,
)
from latentbench.kernel.trial import Seen, Trial
from latentbench.runs import keeping
from latentbench.runs.finished import load_run
from latentbench.runs.keeping import Keeper, judged_calls
from latentbench.runs.kept import CALLS_FILE, JUDGE, TEXTS_FILE, KeptCall, calls_frame, has_calls, kept_calls
from latentbench.runs.record import RunRecord, read_record
from latentbench.runs.rounds import Exchange
from latentbench.runs.run import resume, start
from latentbench.runs.run_journals import explanation_journal, judgement_journal
from latentbench.scorers.scorer import Judgement, Scorer
from rich.console import Console

QUIET = Console(quiet=True)
SPEC: dict[str, Any] = {
    "name": "t",
    "suite": "planted-1",
    "limit": 3,
    "explainers": [{"use": "llm", "model": "lex"}, "tokens"],
    "scorers": [
        {"use": "detection", "params": {"positives": 2, "negatives": 2, "simulate": "never"}},
        {"use": "simulation", "params": {"positives": 1, "negatives": 1}},
        {"use": "embedding", "params": {"positives": 2, "negatives": 2}},
    ],
    "judges": [{"use": "mock:lexical", "label": "lex"}],
    "max_failures": 1.0,
}
TABLES = ("explanations", "judgements", "scores", "calls", "texts")
JOURNALS = ("explanations.jsonl", "judgements.jsonl", "calls.jsonl", "texts.jsonl")


def go(place: Path, name: str = "run", **changes: Any) -> tuple[Path, RunRecord]:
    place.mkdir(exist_ok=True)
    spec = place / f"{name}.yaml"
    spec.write_text(yaml.safe_dump({**SPEC, **changes}), encoding="utf-8")
    return start(spec, place / name, place / "replies.sqlite", QUIET)


def digests(run: Path) -> dict[str, str]:
    return {
        t: table_digest({t: pq.read_table(run / f"{t}.parquet")}) for t in TABLES if (run / f"{t}.parquet").exists()
    }


def left(run: Path) -> set[str]:
    return {p.name for p in run.iterdir() if "jsonl" in p.name} - {"paid.jsonl"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return go(tmp_path_factory.mktemp("kept"))[0]


def test_every_call_is_kept_as_it_was_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []
    answer = MockJudge.answer

    async def heard(self: MockJudge, requests: list[Request]) -> list[Reply]:
        asked.extend(requests)
        return await answer(self, requests)

    monkeypatch.setattr(MockJudge, "answer", heard)
    run = load_run(go(tmp_path)[0])
    kept = list(kept_calls(run))
    # A reply that the cache had is kept too, so there are more calls than were paid.
    chats = {r.messages for r in asked if isinstance(r, Chat)}
    assert {c.messages for c in kept if c.form == "chat"} == chats
    assert {c.form for c in kept} == {"chat", "choice", "simulate", "embed"} - ({"choice"} - {c.form for c in kept})
    assert {r.text for r in asked if isinstance(r, Embed)} == {c.messages[0].content for c in kept if c.form == "embed"}
    for call in kept:
        if call.form == "simulate":
            assert call.messages[0].role == "explanation"
            assert len(call.messages) - 1 == len(call.items) == len(call.probabilities)
    explained = [c for c in kept if c.stage == "explain"]
    told = run.explanations.set_index(["explainer", "repeat", "latent"])["text"]
    assert [c.owner for c in explained] == ["llm"] * 3
    assert all(told[c.owner, c.repeat, c.latent] in c.reply for c in explained)


def test_a_text_stands_once(whole: Path) -> None:
    texts = pq.read_table(whole / TEXTS_FILE).to_pylist()
    assert len({t["hash"] for t in texts}) == len(texts) == len({t["text"] for t in texts})
    assert all(text_digest(t["text"]) == t["hash"] for t in texts)
    named = Counter(m.content for c in kept_calls(load_run(whole)) for m in c.messages)
    assert named.most_common(1)[0][1] > 3, "no text was sent twice, so nothing was to be saved"
    assert set(named) <= {t["text"] for t in texts}


def test_calls_of_one_latent_are_those_of_all(whole: Path) -> None:
    run = load_run(whole)
    every = list(kept_calls(run))
    assert [c.latent for c in every] == sorted((c.latent for c in every), key=run.record.latents.index)
    for latent in run.record.latents:
        assert list(kept_calls(run, latent)) == [c for c in every if c.latent == latent]
    assert list(kept_calls(run, "nobody")) == []
    frame = calls_frame(run)
    assert len(frame) == len(every)
    assert frame["messages"][0] == [{"role": m.role, "content": m.content} for m in every[0].messages]


@pytest.mark.parametrize("keep", ["all", "failures", "none"])
def test_which_are_kept_changes_no_number_and_no_identity(tmp_path: Path, whole: Path, keep: str) -> None:
    judges = [{"use": "mock:lexical?fail=0.3", "label": "lex"}]
    run, record = go(tmp_path, judges=judges, keep=keep)
    other, theirs = go(tmp_path, "other", judges=judges, keep="all")
    assert record.identities == theirs.identities
    for name in ("explanations", "judgements", "scores"):
        assert digests(run)[name] == digests(other)[name]
    calls = list(kept_calls(load_run(run)))
    if keep == "none":
        assert not has_calls(load_run(run))
        assert calls == []
        assert not (run / CALLS_FILE).exists()
    elif keep == "failures":
        failed = {(c.owner, c.latent, c.trial) for c in kept_calls(load_run(other)) if not c.ok}
        assert {(c.owner, c.latent, c.trial) for c in calls} == failed != set()
        assert all(c.cause for c in calls if not c.ok)
    else:
        assert {c.ok for c in calls} == {True, False}


def test_journals_are_gone_and_everything_that_reads_them_goes_on(whole: Path, tmp_path: Path) -> None:
    assert left(whole) == set()
    units = list(explanation_journal(whole).units()), list(judgement_journal(whole).units())
    assert len(units[0]) == 6
    assert len(units[1]) == 18
    assert sum(w.paid.calls for w, _ in units[0]) == read_record(whole).totals.paid.calls  # type: ignore[union-attr]
    lines = explain_misses(whole, whole.parent / "replies.sqlite")
    assert all("are stored" in line and "miss" not in line for line in lines), lines
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    before = digests(run), read_record(run).totals
    resume(run, tmp_path / "empty.sqlite", QUIET)
    assert (digests(run), read_record(run).totals) == before
    assert left(run) == set()


def test_what_had_failed_is_asked_again_and_the_rest_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound, _ = go(tmp_path, "sound")
    judges = [{"use": "mock:lexical?fail=0.3", "label": "lex"}]
    run, record = go(tmp_path, judges=judges)
    failed = [c for c in kept_calls(load_run(run)) if not c.ok]
    assert failed
    assert left(run) == set()
    monkeypatch.setattr("latentbench.judges.mock.mock_judge.share", lambda *parts: 1.0)
    mended = resume(run, tmp_path / "replies.sqlite", QUIET)
    assert mended.failure_rate == 0
    assert left(run) == set()
    assert mended.totals is not None
    assert record.totals is not None
    assert mended.totals.paid.calls > record.totals.paid.calls
    calls = list(kept_calls(load_run(run)))
    assert all(c.ok for c in calls)
    # As if nothing had failed: one set of calls for each unit, the later in the place of the earlier.
    assert digests(run)["calls"] == digests(sound)["calls"]


def test_what_the_tables_do_not_say_again_stays_compressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Scorer, judgements: list[Judgement]) -> dict[str, float]:
        raise ValueError("no metrics today")

    scorer = type(__import__("latentbench.scorers.scorer", fromlist=["x"]).load_scorer({"use": "embedding"}))
    with monkeypatch.context() as patch:
        patch.setattr(scorer, "metrics", broken)
        run, record = go(tmp_path)
    assert record.totals is not None
    assert record.totals.judgements["parse"] > 0
    assert left(run) == {"judgements.jsonl.gz"}
    assert gzip.decompress((run / "judgements.jsonl.gz").read_bytes()).count(b"\n") == 18
    # The answers are there, so with metrics that work nothing is asked.
    mended = resume(run, tmp_path / "empty.sqlite", QUIET)
    assert mended.totals is not None
    assert mended.totals.judgements["parse"] == 0
    assert mended.totals.paid == record.totals.paid
    assert left(run) == set()


def test_a_run_of_before_keeps_nothing_and_goes_on(whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    for name in ("calls", "texts"):
        (run / f"{name}.parquet").unlink()
        del record["tables"][name]
    del record["spec"]["keep"], record["digest"]
    from latentbench.kernel.identity import digest

    (run / "run.json").write_text(json.dumps(record | {"digest": digest(record)}), encoding="utf-8")
    assert not has_calls(load_run(run))
    assert list(kept_calls(load_run(run))) == []
    assert resume(run, tmp_path / "empty.sqlite", QUIET).ended
    assert digests(run)["scores"] == digests(whole)["scores"]


@pytest.mark.parametrize("name", [CALLS_FILE, TEXTS_FILE])
def test_a_table_that_is_missing_or_another_is_said(whole: Path, tmp_path: Path, name: str) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    table = pq.read_table(run / name)
    column = "text" if name == TEXTS_FILE else "cause"
    other = table.set_column(table.schema.names.index(column), column, [["x"] * len(table)])
    pq.write_table(other, run / name)
    with pytest.raises(DigestMismatch):
        list(kept_calls(load_run(run)))
    (run / name).unlink()
    with pytest.raises(CorruptTable, match="is missing"):
        list(kept_calls(load_run(run)))
    # No number depends on it, so the run goes on without.
    said = Console(record=True, width=200)
    resume(run, tmp_path / "empty.sqlite", said)
    assert "calls that were kept are left out" in said.export_text()
    assert digests(run)["scores"] == digests(whole)["scores"]


@pytest.mark.parametrize("name", [CALLS_FILE, TEXTS_FILE])
def test_a_run_goes_on_without_calls_that_are_others_and_sets_the_tables_aside(
    whole: Path, tmp_path: Path, name: str
) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    table = pq.read_table(run / name)
    column = "text" if name == TEXTS_FILE else "cause"
    pq.write_table(table.set_column(table.schema.names.index(column), column, [["x"] * len(table)]), run / name)
    before = {n: (run / n).read_bytes() for n in (CALLS_FILE, TEXTS_FILE)}
    said = Console(record=True, width=400)
    resume(run, tmp_path / "empty.sqlite", said)
    assert "stays as calls.damaged.parquet and texts.damaged.parquet" in said.export_text()
    assert {n: (run / n.replace(".", ".damaged.")).read_bytes() for n in before} == before
    assert digests(run)["scores"] == digests(whole)["scores"]
    list(kept_calls(load_run(run)))


def test_secrets_are_veiled_and_hostile_text_is_kept_as_it_is(tmp_path: Path) -> None:
    hostile = "<script>\x1b[31m\u202e[/bold]\x00" + "x" * 1_000_000
    keeper = Keeper(tmp_path, "all")
    secret = "https://me:hunter22@host/x?api_key=abcdef123456"
    call = _call((Message("user", secret), Message("user", hostile), Message("user", "")), "half \ud800 of a pair")
    keeper.add((JUDGE, "cell", "a/0", 0), [call])
    keeper.close()
    assert "hunter22" not in (tmp_path / "texts.jsonl").read_text(encoding="utf-8")
    told = [line["text"] for _, line in keeper._texts.stored()]
    assert told[1] == hostile
    assert told[2] == ""
    assert told[3] == "half \\ud800 of a pair"
    assert "abcdef123456" not in told[0]


def test_a_text_that_is_longer_than_a_line_may_be_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "LONGEST", 10)
    keeper = Keeper(tmp_path, "all")
    keeper.add((JUDGE, "cell", "a/0", 0), [_call((Message("user", "0123456789"),), "0123456789ab")])
    keeper.close()
    told = [line["text"] for _, line in keeper._texts.stored()]
    assert told == ["0123456789", "0123456789 (cut: 2 more characters)"]


def test_a_damaged_line_costs_the_calls_that_have_it_and_no_others(tmp_path: Path) -> None:
    run, _ = go(tmp_path)
    every = list(kept_calls(load_run(run)))
    keeper = Keeper(run, "all")
    assert keeper.restore(read_record(run)) is None
    path = run / "texts.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lost = json.loads(lines[-1])["text"]
    path.write_bytes(b"".join(lines[:-1]) + lines[-1].replace(b'"text":"', b'"text":"?'))
    from latentbench.judges.cache.replies import ReplyCache
    from latentbench.runs.run import prepare
    from latentbench.runs.run_spec import load_run_spec

    plan = prepare(load_run_spec(run / "spec.yaml"), tmp_path, ReplyCache(tmp_path / "replies.sqlite"))
    keeper.write_tables(plan)
    from latentbench.runs.kept import read_calls

    found = list(read_calls(run))
    assert found == [c for c in every if lost not in {*(m.content for m in c.messages), c.reply, c.reasoning}]
    assert 0 < len(found) < len(every)


def test_what_is_no_chat_says_what_it_is() -> None:
    trial = Trial("t", "x", YesNo(no="No", yes="Yes"), "a thing", (Seen(("a", "b"), item=7),), (1,))
    ref = LatentRef("c/3", "key")
    user = (Message("user", "?"),)
    asked: list[tuple[Request, Reply]] = [
        (Choice(user, ("No", "Yes"), ("1: ", "\n2: "), trial=trial), Reply(logprobs=((0.0, -1.0), (-1.0, 0.0)))),
        (Continuation("before", " after"), Reply(loglik=-2.5, n_tokens=1)),
        (Embed("doc"), Reply()),
        (Simulate(trial), Reply(tokens=((0.1, 0.2),), windows=(0.25,))),
        (Activate("text", ref), Reply(tokens=((0.0, 3.0),), windows=(3.0,))),
        (Passed("m", Chat(user)), Reply(text="No", reasoning="hm", finish="stop")),
        (Patched(Chat(user), "?", (1.0,), 2), Reply(text="Rivers.", finish="stop")),
        (Projected("text", (ref, LatentRef("c/4", "key"))), Reply(windows=(-0.5, 2.0))),
    ]
    exchange = Exchange(None, lambda replies: [])
    exchange.heard = [(0, request) for request, _ in asked]
    exchange.replies = [reply for _, reply in asked]
    judgement = Judgement("t", "", 7, "random", 1, Outcome.PARSE, error="neither No nor Yes")
    found = judged_calls((JUDGE, "cell", "c/3", 0), [trial], [exchange], [judgement])
    assert [c.form for c in found] == [
        *("choice", "continuation", "embed", "simulate", "activate", "chat", "patched", "projected")
    ]
    assert found[0].messages[-1] == Message("slots", "1: ▢\n2: ▢")
    assert found[0].probabilities == pytest.approx((1, 0.3679, 0.3679, 1), abs=1e-4)
    assert found[1].value == -2.5
    assert [m.role for m in found[3].messages] == ["explanation", "window"]
    assert found[3].probabilities == (0.25,)
    assert found[4].value == 3.0
    assert (found[6].messages, found[6].reply) == (user, "Rivers.")
    assert (found[7].messages, found[7].value) == ((Message("text", "text"),), -0.5)
    assert (found[5].member, found[5].reply, found[5].reasoning, found[5].finish) == ("m", "No", "hm", "stop")
    assert all((c.outcome, c.cause, c.items) == (Outcome.PARSE, "neither No nor Yes", (7,)) for c in found)
    exchange.replies[0] = Reply(Outcome.API, error="503")
    found = judged_calls((JUDGE, "cell", "c/3", 0), [trial], [exchange], [judgement])
    assert [c.outcome.value for c in found] == ["api", *["ok"] * 7], "one failed, and that is why"


def test_texts_are_forgotten_after_their_last_call(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held at a time does not grow with the run: after each latent only what a later one needs is left."""
    from latentbench.runs import kept

    held: list[int] = []
    done = kept._TextStream.done

    def counted(self: kept._TextStream, hashes: list[str]) -> None:
        done(self, hashes)
        held.append(len(self._held))

    monkeypatch.setattr(kept._TextStream, "done", counted)
    assert list(kept_calls(load_run(whole)))
    assert held[-1] == 0
    assert max(held) < pq.read_metadata(whole / TEXTS_FILE).num_rows


def test_few_known_texts_write_more_lines_and_the_same_tables(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "KNOWN", 2)
    assert digests(go(tmp_path)[0]) == digests(whole)


def _call(messages: tuple[Message, ...], reply: str) -> KeptCall:
    return KeptCall(JUDGE, "cell", "a/0", 0, "t", "", (), 0, "chat", "", messages, reply, "", Outcome.OK, "")
