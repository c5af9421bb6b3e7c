"""Runs whose endpoint is down, wrong, or goes down on the way: said at once, stopped soon, resumed without paying twice."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from latentbench.cli import app
from latentbench.cli.run_command import _hanging
from latentbench.judges.remote import endpoint as transport
from latentbench.judges.remote.openai import OpenAIJudge, OpenAIParams
from latentbench.kernel.errors import JudgeError, SpecError
from latentbench.kernel.requests import Chat, Choice, Message, Outcome
from latentbench.runs.record import RunRecord, read_record
from latentbench.runs.run import resume, start
from latentbench.views.causes import Causes
from latentbench.views.progress import Stage
from rich.console import Console
from typer.testing import CliRunner

from tests.builders.loopback import Said, completed, refused, serving

QUIET = Console(quiet=True)
SOON = "timeout=20&backoff=0.02"


def write(folder: Path, url: str, params: str = "", **changes: Any) -> Path:
    spec = {
        "name": "t",
        "suite": "planted-1",
        "limit": 4,
        "explainers": ["planted"],
        "scorers": [{"use": "detection", "preset": "single", "params": {"positives": 3, "negatives": 3}}],
        "judges": [{"use": f"openai:m?base_url={url}&{SOON}{params}", "label": "served"}],
        "max_failures": 1.0,
    }
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump({**spec, **changes}), encoding="utf-8")
    return path


def go(spec: Path, name: str = "run") -> RunRecord:
    return start(spec, spec.parent / name, spec.parent / "c.sqlite", QUIET)[1]


def test_an_endpoint_that_is_down_is_said_before_there_is_a_run(tmp_path: Path) -> None:
    with pytest.raises(
        JudgeError, match=r"judge served \(openai:m\).*127\.0\.0\.1:9/v1.*Connection error.*no run folder"
    ):
        go(write(tmp_path, "http://127.0.0.1:9/v1"))
    assert not (tmp_path / "run").exists()


def test_an_endpoint_for_vectors_is_tried_too(tmp_path: Path) -> None:
    with serving(lambda body: refused(404, "no embeddings here")) as server:
        judges = [{"use": f"embed:m?base_url={server.url}&{SOON}", "label": "vectors"}]
        spec = write(tmp_path, server.url, scorers=["embedding"], judges=judges)
        with pytest.raises(JudgeError, match="judge vectors.*404 Not Found: no embeddings here"):
            go(spec)
        assert [body["input"] for body in server.sent] == [["Hello."]]


@pytest.mark.parametrize(
    ("answer", "said", "requests"),
    [
        (refused(401, "invalid key"), "401 Unauthorized: invalid key", 1),
        (refused(404, "no such model"), "404 Not Found: no such model", 1),
        (refused(400, "System role not supported"), "400 Bad Request: System role not supported", 1),
        (refused(429, "pay", code="insufficient_quota"), "429 Too Many Requests: pay", 1),
        (refused(503, "loading"), "503 Service Unavailable: loading", 2),
        (Said({}, wait=3), "no answer within 1 s", 2),
    ],
)
def test_an_endpoint_that_answers_nobody_is_asked_once(tmp_path: Path, answer: Said, said: str, requests: int) -> None:
    with serving(lambda body: answer) as server:
        model = f"openai:m?base_url={server.url}&timeout=1&backoff=0.02"
        spec = write(tmp_path, server.url, judges=[{"use": model, "label": "served"}])
        with pytest.raises(JudgeError, match=said):
            go(spec)
        assert len(server.sent) == requests
    assert not (tmp_path / "run").exists()


def test_an_endpoint_that_only_says_429_ends_the_run_after_a_short_patience(tmp_path: Path) -> None:
    with serving(lambda body: refused(429, "Rate limit reached")) as server:
        explainer = {"use": "llm", "model": f"openai:m?base_url={server.url}&patience=0.3&backoff=0.02"}
        spec = write(tmp_path, server.url, explainers=[explainer], judges=["mock:lexical"])
        words = ["run", str(spec), "--out", str(tmp_path / "r"), "--cache", str(tmp_path / "c.sqlite"), "--no-track"]
        done = CliRunner().invoke(app, words)
        assert 2 <= len(server.sent) <= 20
    assert isinstance(done.exception, JudgeError)
    assert done.exception.exit_code == 2
    assert re.match(r"model of explainer llm \(openai:m\) cannot.*429 Too Many Requests: Rate", str(done.exception))
    assert OpenAIParams().briefly().patience == 8
    assert not (tmp_path / "r").exists()


def test_the_trial_call_has_the_shape_of_the_calls_to_come_and_none_of_their_content(tmp_path: Path) -> None:
    with serving(lambda body: completed()) as server:
        go(write(tmp_path, server.url))
    trial, *others = server.sent
    assert [m["role"] for m in trial["messages"]] == [m["role"] for m in others[0]["messages"]]
    assert {m["content"] for m in trial["messages"]} == {"Hello."}
    assert {k: v for k, v in trial.items() if k != "messages"} == {
        k: v for k, v in others[0].items() if k != "messages"
    }
    assert len(others) == 4 * 6


def test_nothing_is_paid_where_another_judge_of_the_run_is_dead(tmp_path: Path) -> None:
    with serving(lambda body: completed("Words of boats.")) as server:
        good = f"openai:m?base_url={server.url}&{SOON}"
        spec = write(tmp_path, "http://127.0.0.1:9/v1", explainers=[{"use": "llm", "model": good}])
        with pytest.raises(JudgeError, match="judge served"):
            go(spec)
        assert [m["content"] for m in server.sent[0]["messages"]] == ["Hello."] * len(server.sent[0]["messages"])
        assert len(server.sent) == 1


def test_a_run_of_which_all_replies_are_stored_needs_no_endpoint(tmp_path: Path) -> None:
    with serving(lambda body: completed()) as server:
        model = f"openai:m?base_url={server.url}&{SOON}"
        spec = write(tmp_path, server.url, explainers=[{"use": "llm", "model": model}, "planted"])
        first = go(spec)
    again = go(spec, "again")
    assert first.totals is not None
    assert again.totals is not None
    assert again.totals.judgements == first.totals.judgements
    assert again.totals.paid.calls == 0
    resume(tmp_path / "again", tmp_path / "c.sqlite", QUIET)


def dying(after: int, answer: Said) -> Callable[[dict[str, Any]], Said]:
    """Answers so many prompts, then says one thing; heals when `after` is taken away."""
    answered: list[str] = []

    def script(body: dict[str, Any]) -> Said:
        if len(answered) >= script.after:  # type: ignore[attr-defined]
            return answer
        answered.append(json.dumps(body["messages"]))
        return completed()

    script.after, script.answered = after, answered  # type: ignore[attr-defined]
    return script


@pytest.mark.parametrize("answer", [refused(401, "key revoked"), refused(503, "overloaded")])
def test_a_run_whose_endpoint_goes_down_is_stopped_and_resumed_without_paying_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Said
) -> None:
    monkeypatch.setattr(transport, "LASTING", 0.3)
    script = dying(10, answer)
    with serving(script) as server:
        spec = write(tmp_path, server.url, "&give_up=8", limit=10)
        with pytest.raises(
            JudgeError, match=r"requests failed one after the other.*(revoked|overloaded).*bench resume"
        ):
            go(spec)
        assert read_record(tmp_path / "run").status == "running"
        assert server.statuses[10:] == [answer.status] * len(server.statuses[10:])
        assert 8 <= len(server.statuses) - 10 < 60
        with pytest.raises(JudgeError, match=r"cannot be asked.*bench resume"):
            resume(tmp_path / "run", tmp_path / "c.sqlite", QUIET)
        script.after = 10**6  # type: ignore[attr-defined]
        record = resume(tmp_path / "run", tmp_path / "c.sqlite", QUIET)
    asked = Counter(p for p in script.answered if "Hello." not in p)  # type: ignore[attr-defined]
    assert record.failure_rate == 0
    assert len(asked) == 10 * 6
    assert set(asked.values()) == {1}


def chats(n: int) -> list[Chat]:
    return [Chat((Message("user", str(i)),)) for i in range(n)]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [(refused(400, "maximum context length"), "skipped"), (refused(400, "no", code="content_filter"), "refusal")],
)
async def test_answers_without_a_reading_do_not_stop_a_run(answer: Said, outcome: str) -> None:
    with serving(lambda body: answer) as server:
        judge = OpenAIJudge("m", OpenAIParams(base_url=server.url, give_up=3))
        assert {r.outcome.value for r in await judge.answer(chats(12))} == {outcome}
        await judge.close()


async def test_parse_failures_do_not_stop_a_run() -> None:
    top = [{"token": "Maybe", "logprob": -0.1, "bytes": None}]
    body = completed().body
    body["choices"][0]["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
    with serving(lambda _: Said(body)) as server:
        judge = OpenAIJudge("m", OpenAIParams(base_url=server.url, give_up=3, logprobs=True))
        asked = [Choice((Message("user", str(i)),), ("Yes", "No")) for i in range(12)]
        assert {r.outcome for r in await judge.answer(asked)} == {Outcome.PARSE}
        await judge.close()


async def test_faults_that_may_heal_are_given_time_and_a_success_begins_the_count_anew() -> None:
    with serving(lambda body: refused(503) if len(server.sent) % 8 else completed()) as server:
        params = OpenAIParams(base_url=server.url, give_up=4, attempts=1, backoff=0, concurrency=1)
        judge = OpenAIJudge("m", params)
        replies = await judge.answer(chats(16))
        await judge.close()
    assert [r.outcome for r in replies].count(Outcome.API) == 14
    with serving(lambda body: refused(401) if len(server.sent) % 4 else completed()) as server:
        judge = OpenAIJudge("m", params.model_copy(update={"base_url": server.url}))
        assert len(await judge.answer(chats(12))) == 12
        await judge.close()


async def test_a_count_of_zero_never_stops() -> None:
    with serving(lambda body: refused(401)) as server:
        judge = OpenAIJudge("m", OpenAIParams(base_url=server.url, give_up=0))
        assert {r.outcome for r in await judge.answer(chats(30))} == {Outcome.API}
        await judge.close()


def test_messages_that_differ_in_ids_are_one_cause() -> None:
    causes = Causes()
    for i in range(5):
        causes.add(Outcome.API, f"429 Too Many Requests: request req_{i}a7 of 'model {i}' took {i}.5 s")
    causes.add(Outcome.API, "401 Unauthorized: invalid key")
    causes.add(Outcome.API, "404 Not Found: invalid key")
    causes.add(Outcome.PARSE, None)
    causes.add(Outcome.OK, None)
    first = "api: 429 Too Many Requests: request req_0a7 of 'model 0' took 0.5 s"
    assert causes.counts == {
        first: 5,
        "api: 401 Unauthorized: invalid key": 1,
        "api: 404 Not Found: invalid key": 1,
        "parse: no reason given": 1,
    }
    assert str(causes) == f"8 without answer ({first})"
    assert str(Causes()) == ""


def test_the_progress_line_says_how_much_failed_and_why() -> None:
    out = io.StringIO()
    with Stage("judge x", 10, "latents", Console(file=out, width=40)) as stage:
        for _ in range(3):
            stage.causes.add(Outcome.API, "401 Unauthorized: [bold]invalid key")
        stage.advance(4)
    assert out.getvalue().splitlines()[-1].endswith("3 without answer (api: 401 Unauthorized: [bold]invalid key)")


def test_a_narrow_terminal_keeps_its_bar_and_gets_a_line_for_failures() -> None:
    out = io.StringIO()
    with Stage("judge x", 10, "latents", Console(file=out, width=80, force_terminal=True)) as stage:
        stage.causes.add(Outcome.API, "401 Unauthorized: invalid key")
        stage.advance(4)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert re.search(r"4/10 [\d,.]+ latents/s", shown)
    assert "1 without answer (api: 401 Unauthorized: invalid key)" in shown


def test_a_cause_is_shown_whole_and_wrapped_between_words() -> None:
    long = (
        f"400 Bad Request: {'System role not supported by this model. ' * 4}Add system=merge to the judge's reference"
    )
    causes = Causes()
    causes.add(Outcome.API, long)
    assert list(causes.counts) == [f"api: {long}"]
    assert str(causes).endswith("Add system=merge to the judge's reference)")
    lines = _hanging(f"{12:>7,} ", f"api: {long}", 80).splitlines()
    assert max(map(len, lines)) < 80
    assert all(line.startswith(" " * 8) for line in lines[1:])
    assert " ".join(" ".join(lines).split()) == f"12 api: {long}"
    out = io.StringIO()
    with Stage("judge x", 10, "latents", Console(file=out, width=80, force_terminal=True)) as stage:
        stage.causes.add(Outcome.API, long)
        stage.advance(4)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "the judge's reference)" in " ".join(shown.split())


def test_the_last_lines_of_a_run_name_the_causes(tmp_path: Path) -> None:
    def script(body: dict[str, Any]) -> Said:
        return refused(400, "no such option") if len(server.sent) % 5 == 2 else completed("Perhaps.")

    with serving(script) as server:
        spec = write(tmp_path, server.url, max_failures=0.5)
        words = ["run", str(spec), "--out", str(tmp_path / "r"), "--cache", str(tmp_path / "c.sqlite"), "--no-track"]
        done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    causes = read_record(tmp_path / "r").totals.causes  # type: ignore[union-attr]
    assert causes["api: 400 Bad Request: no such option"] == 5
    assert sum(causes.values()) == 24
    for cause, n in causes.items():
        assert f"{n:>7} {cause}" in done.output
    assert "85.7% of the explanations and judgements failed" in done.output


def test_latents_without_an_explanation_are_no_failed_calls(tmp_path: Path) -> None:
    with serving(lambda body: completed()) as server:
        whole = go(write(tmp_path, server.url), "whole")
        texts = [{"latent": latent, "text": "Words."} for latent in whole.latents[:3]]
        (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, texts)), encoding="utf-8")
        explainer = {"use": "file", "params": {"path": str(tmp_path / "texts.jsonl")}}
        record = go(write(tmp_path, server.url, explainers=[explainer], max_failures=0.0), "part")
    assert record.totals is not None
    assert record.totals.judgements["skipped"] == 6
    assert record.totals.uncalled == 7
    assert record.failure_rate == 0


def test_a_prompt_that_does_not_fit_is_a_failed_call(tmp_path: Path) -> None:
    with serving(lambda body: refused(400, "prompt is too long")) as server:
        record = go(write(tmp_path, server.url))
    assert record.totals is not None
    assert record.totals.judgements["skipped"] == 24
    assert record.failure_rate == pytest.approx(24 / 28)


@pytest.mark.parametrize("scorer", ["intervention", "output_choice"])
def test_a_scorer_of_steered_texts_is_refused_where_the_suite_has_none(tmp_path: Path, scorer: str) -> None:
    with serving(lambda body: completed()) as server:
        spec = write(tmp_path, server.url, scorers=[scorer])
        with pytest.raises(SpecError, match="planted-1 has none and names no subject"):
            go(spec)
        assert server.sent == []
