"""The line of a whole run: it moves with every call, knows what is left, and tells what was paid from what was not."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from latentbench.judges.cache.cached_judge import CachedJudge, ReplyCache
from latentbench.judges.judge import guarded
from latentbench.judges.reference import load_judge
from latentbench.kernel.requests import Chat, JudgeIdentity, Message, Outcome, Reply
from latentbench.runs import run as running
from latentbench.runs.forecast import forecast
from latentbench.runs.rounds import Exchange, converse
from latentbench.runs.run import prepare, resume, start
from latentbench.runs.run_spec import load_run_spec
from latentbench.runs.tally import Part, RunTally
from latentbench.views import progress
from latentbench.views.run_line import Spent, Standing, clock, end_line, run_line, spent_line, time_left
from rich.console import Console

from tests.builders.loopback import Said, completed, refused, serving

SIX = {"use": "detection", "preset": "single", "params": {"positives": 3, "negatives": 3}}
QUIET = Console(quiet=True)


def write(folder: Path, judge: str, **changes: Any) -> Path:
    spec = {
        "name": "t",
        "suite": "planted-1",
        "limit": 4,
        "explainers": ["planted"],
        "scorers": [SIX],
        "judges": [{"use": judge, "label": "served"}],
        "max_failures": 1.0,
    }
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump({**spec, **changes}), encoding="utf-8")
    return path


def told(folder: Path, spec: Path, name: str = "run") -> str:
    out = io.StringIO()
    start(spec, folder / name, folder / "c.sqlite", Console(file=out, width=300))
    return out.getvalue()


def known(monkeypatch: pytest.MonkeyPatch) -> list[RunTally]:
    """The tallies of the runs that are started from now on."""
    found: list[RunTally] = []

    def made(parts: dict[tuple[str, ...], Part]) -> RunTally:
        found.append(RunTally(parts))
        return found[-1]

    monkeypatch.setattr(running, "RunTally", made)
    return found


def test_at_an_endpoint_the_line_moves_with_every_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.01)
    out = io.StringIO()
    console = Console(file=out, width=300)
    lines: list[str] = []
    held = threading.Event()

    def script(body: dict[str, Any]) -> Said:
        # The last call waits until the line has been seen with all the others.
        if len(server.sent) == 25:
            until = time.monotonic() + 20
            while "whole run 96% of ~24 calls" not in out.getvalue() and time.monotonic() < until:
                time.sleep(0.005)
            lines.extend(out.getvalue().splitlines())
            held.set()
        return completed()

    with serving(script) as server:
        spec = write(tmp_path, f"openai:gpt-4o-mini?base_url={server.url}&concurrency=1")
        start(spec, tmp_path / "run", tmp_path / "c.sqlite", console)
    assert held.is_set()
    shares = [int(m) for line in lines for m in re.findall(r"asked (\d+):", line)]
    assert not any("4/4 latents" in line for line in lines if line.startswith("judge"))
    assert shares[-1] == 23
    assert len(set(shares)) > 3
    assert shares == sorted(shares)
    assert re.search(
        r"whole run: 24 calls in this session; asked 24: 240 tokens in, 0 out, ~3\.6e-05 \$\n", out.getvalue()
    )


def test_a_terminal_shows_the_whole_run_under_the_stage_and_keeps_the_stage_alone() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    now = Standing(118, 288, 95.0, 1.25, Spent(78, 12345, 678, 0.0031), Spent(40, 610, 30, 0.0015), {"api: 429 no": 12})
    with progress.Stage("judge x", 10, "latents", console, run=lambda: now) as stage:
        stage.advance(4)
        stage._bar.refresh()  # type: ignore[union-attr]
        during = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
        out.truncate(0)
    after = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert re.search(r"whole run, estimated +\S+.* 118/288 1\.2 calls/s 1:35", during)
    assert "asked 78: 12,345 tokens in, 678 out, ~0.0031 $; from the cache 40" in " ".join(during.split())
    assert max(map(len, re.split(r"[\r\n]", during))) <= 80
    assert "judge x" in after
    assert "whole run" not in after


def test_the_cache_is_told_apart_and_costs_nothing_now(tmp_path: Path) -> None:
    with serving(lambda body: completed()) as server:
        spec = write(tmp_path, f"openai:gpt-4o-mini?base_url={server.url}")
        told(tmp_path, spec)
        again = told(tmp_path, spec, "again")
    assert "whole run: 24 calls in this session; asked 0: 0 tokens in, 0 out, 0 $; " in again
    assert "from the cache 24: 240 tokens in, 0 out, ~3.6e-05 $ not paid again" in again


def test_a_model_without_a_price_has_no_cost(tmp_path: Path) -> None:
    with serving(lambda body: completed()) as server:
        assert "240 tokens in, 0 out, unknown cost\n" in told(
            tmp_path, write(tmp_path, f"openai:m?base_url={server.url}")
        )


def test_failures_are_told_by_cause(tmp_path: Path) -> None:
    def script(body: dict[str, Any]) -> Said:
        return refused(400, "no such option") if len(server.sent) % 5 == 2 else completed()

    with serving(script) as server:
        text = told(tmp_path, write(tmp_path, f"openai:m?base_url={server.url}"))
    assert "5 calls without answer (5 api: 400 Bad Request: no such option)\n" in text


@pytest.mark.parametrize(
    ("changes", "calls"),
    [
        ({"explainers": ["planted", "empty"], "scorers": [SIX, "embedding"], "judges": ["mock:lexical"]}, None),
        ({"explainers": [{"use": "llm", "model": "mock:lexical"}], "repeats": 2, "judges": ["mock:oracle"]}, 2 * 4 * 7),
        ({"scorers": ["saebench", "intruder", "fuzzing"], "judges": ["mock:oracle"]}, None),
    ],
)
def test_the_estimate_before_the_first_call_is_the_number_of_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], calls: int | None
) -> None:
    tallies = known(monkeypatch)
    spec = write(tmp_path, "", **changes)
    before = RunTally(forecast(prepare(load_run_spec(spec), tmp_path, None), {}, set())).standing()
    start(spec, tmp_path / "run", tmp_path / "c.sqlite", QUIET)
    after = tallies[0].standing()
    assert before.done == 0
    assert after.done == after.total == after.asked.calls + after.cached.calls
    assert before.total == after.total
    assert calls in (None, after.total)


async def test_further_rounds_are_counted_when_a_unit_has_ended(tmp_path: Path) -> None:
    judge = CachedJudge(load_judge("mock:oracle"), ReplyCache(tmp_path / "c.sqlite"))
    tally = RunTally({("x", "served"): Part("served", units=10, stored=2, guess=4.0)})
    assert (tally.standing().done, tally.standing().total) == (8, 40)
    work = "x", "served"
    totals: list[int] = []
    judge.heard.append(lambda replies: totals.append(tally.standing().total))
    with tally.listening([judge]), tally.asking("served"):
        tally.begun(work, 2, 4)
        await converse([asked("a", "b"), asked("c", "d")], partial(guarded, judge))
        tally.ended(work, 2, 6)
    assert totals[0] == 2 * 10
    assert (tally.standing().done, tally.standing().total) == (2 * 3 + 2 * 3, 3 * 10)
    assert judge.heard[1:] == []


def asked(*texts: str) -> Exchange:
    """Chats about these texts, and another one when they are answered."""
    chats = [Chat((Message("user", text),)) for text in texts]
    more = Chat((Message("user", f"more of {texts}"),))
    return Exchange.begin(object(), lambda: list(chats), lambda replies: [more] if len(replies) == len(chats) else [])


def test_who_goes_on_begins_where_the_run_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tallies = known(monkeypatch)
    with serving(lambda body: refused(500) if len(server.sent) > 13 and broken else completed()) as server:
        broken = True
        params = "attempts=1&backoff=0&give_up=0&concurrency=1"
        spec = write(tmp_path, f"openai:m?base_url={server.url}&{params}")
        start(spec, tmp_path / "run", tmp_path / "c.sqlite", QUIET)
        broken = False
        shares: list[tuple[int, int]] = []
        hear = RunTally.hear

        def noted(self: RunTally, identity: JudgeIdentity, replies: list[Reply]) -> None:
            hear(self, identity, replies)
            now = self.standing()
            shares.append((now.done, now.total))

        monkeypatch.setattr(RunTally, "hear", noted)
        resume(tmp_path / "run", tmp_path / "c.sqlite", QUIET)
    assert tallies[0].standing().total == 24
    assert shares[0][0] > 12
    assert shares[-1] == (24, 24)
    assert {total for _, total in shares} == {24}


async def test_every_reply_is_heard_once(tmp_path: Path) -> None:
    judge = CachedJudge(load_judge("mock:oracle"), ReplyCache(tmp_path / "c.sqlite"))
    heard: list[Reply] = []
    judge.heard.append(heard.extend)
    asked = [Chat((Message("user", text),)) for text in ("a", "b", "a", "c", "a")]
    await judge.answer(asked)
    assert [r.cached for r in heard] == [False, False, False, True, True]
    await judge.answer(asked[:2])
    assert [r.cached for r in heard[5:]] == [True, True]


def test_the_time_left_counts_each_judge_at_its_own_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    parts = {
        ("llm",): Part("slow", units=20, stored=0, guess=1.0),
        ("detection", "fast"): Part("fast", units=10, stored=0, guess=10.0),
        ("fuzzing", "fast"): Part("fast", units=10, stored=0, guess=10.0),
        ("fuzzing", "slow"): Part("slow", units=1, stored=0, guess=10.0),
    }
    tally, who = RunTally(parts), JudgeIdentity("openai", "gpt-4o-mini", "r", "remote", ())
    with tally.asking("slow"):
        tally.hear(who, [Reply(Outcome.OK, text="x")] * 7)
        assert tally.standing().left is None
        now[0] = 40.0
        tally.hear(who, [Reply(Outcome.OK, text="x")] * 13)
        assert tally.standing().left == pytest.approx(200 * 2)
    now[0] = 50.0
    with tally.asking("fast"):
        now[0] = 55.0
        tally.hear(who, [Reply(Outcome.OK, text="x", cached=True)] * 25 + [Reply(Outcome.OK, text="x")] * 25)
        standing = tally.standing()
    assert (standing.done, standing.total, standing.rate) == (70, 230, 10.0)
    assert standing.left == pytest.approx(150 * 5 / 25)
    with tally.asking("slow"), tally.asking("fast"):
        now[0] = 60.0
        tally.hear(who, [Reply(Outcome.OK, text="x")] * 150)
        assert tally.standing().left == pytest.approx(10 * 45 / 20)


def test_lines() -> None:
    now = Standing(
        118, 288, 95.0, 1.0, Spent(78, 12345, 678, None), failed={"api: a": 3, "timeout: b": 2, "parse: c": 1}
    )
    assert run_line(now) == (
        "whole run 41% of ~288 calls, ~95 s left; asked 78: 12,345 tokens in, 678 out, unknown cost; "
        "6 calls without answer (3 api: a, 2 timeout: b, 1 for other reasons)"
    )
    assert run_line(Standing()) == end_line(Standing()) == ""
    assert len(spent_line(Standing(failed={"api: " + "x" * 500: 1}))) < 140
    assert [time_left(s) for s in (7, 600, 9000)] == ["7 s", "10 min", "2.5 h"]
    assert [clock(s) for s in (None, 65, 7380)] == ["-:--", "1:05", "2:03:00"]


def test_what_is_paid_is_written_down_as_before(tmp_path: Path) -> None:
    with serving(lambda body: completed()) as server:
        told(tmp_path, write(tmp_path, f"openai:m?base_url={server.url}"))
    paid = json.loads((tmp_path / "run" / "paid.jsonl").read_text(encoding="utf-8"))
    assert (paid["calls"], paid["tokens_in"]) == (24, 240)
