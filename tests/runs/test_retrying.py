"""What was answered and is asked again: `resume --retry`, `cache forget`, and the line that says how old replies are."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from latentbench.cli import app
from latentbench.judges.cache.cache_counts import FromCache
from latentbench.judges.cache.cached_judge import ReplyCache
from latentbench.kernel.requests import Outcome
from latentbench.runs.record import RunRecord, read_record
from latentbench.runs.run import resume, start
from rich.console import Console
from typer.testing import CliRunner

from tests.builders.loopback import Loopback, Said, completed, refused, serving

QUIET = Console(quiet=True)
PER_LATENT = 6


def write(folder: Path, server: Loopback, **changes: Any) -> Path:
    spec = {
        "name": "t",
        "suite": "planted-1",
        "limit": 3,
        "explainers": ["planted"],
        "scorers": [{"use": "detection", "preset": "single", "params": {"positives": 3, "negatives": 3}}],
        "judges": [{"use": f"openai:m?base_url={server.url}&timeout=20&backoff=0.02", "label": "served"}],
        "max_failures": 1.0,
    }
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump({**spec, **changes}), encoding="utf-8")
    return path


class Mended:
    """A server that answers every third prompt in a way that cannot be read, until it is mended."""

    def __init__(self) -> None:
        self.broken = True
        self.prompts: list[str] = []

    def __call__(self, body: dict[str, Any]) -> Said:
        prompt = json.dumps(body["messages"])
        if "Hello." in prompt:
            return completed()
        self.prompts.append(prompt)
        return completed("It depends.") if self.broken and len(self.prompts) % 3 == 0 else completed("Yes")


def totals(record: RunRecord) -> dict[str, int]:
    assert record.totals is not None
    return {outcome: n for outcome, n in record.totals.judgements.items() if n}


def cli(*words: object) -> str:
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_a_retried_outcome_is_asked_of_the_server_again_and_nothing_else_is(tmp_path: Path) -> None:
    script = Mended()
    cache = tmp_path / "c.sqlite"
    with serving(script) as server:
        folder, record = start(write(tmp_path, server), tmp_path / "run", cache, QUIET)
        assert totals(record) == {"ok": 12, "parse": 6}
        unread = {p for i, p in enumerate(script.prompts, 1) if i % 3 == 0}
        script.broken = False
        assert totals(resume(folder, cache, QUIET)) == {"ok": 12, "parse": 6}
        assert len(script.prompts) == 18
        out = io.StringIO()
        again = resume(folder, cache, Console(file=out, width=200), [Outcome.PARSE])
    assert totals(again) == {"ok": 18}
    assert Counter(script.prompts[18:]) == Counter(unread)
    assert "6 stored replies are forgotten and asked for again" in out.getvalue()
    assert "judge served: 12 of 18 replies came from the cache, stored " in out.getvalue()


def test_a_failed_explanation_is_asked_again_and_so_is_what_hangs_on_it(tmp_path: Path) -> None:
    broken = [True]

    def script(body: dict[str, Any]) -> Said:
        if "Description" in body["messages"][-1]["content"]:
            return completed("Yes")
        return refused(400, "no", code="content_filter") if broken else completed("[EXPLANATION]: Words of boats.")

    with serving(script) as server:
        model = f"openai:m?base_url={server.url}&timeout=20"
        spec = write(tmp_path, server, explainers=[{"use": "llm", "model": model}])
        folder, record = start(spec, tmp_path / "run", tmp_path / "c.sqlite", QUIET)
        assert record.totals is not None
        assert record.totals.explanations["refusal"] == 3
        assert totals(record) == {"skipped": 18}
        broken.clear()
        again = resume(folder, tmp_path / "c.sqlite", QUIET, [Outcome.REFUSAL])
    assert again.totals is not None
    assert again.totals.explanations["ok"] == 3
    assert totals(again) == {"ok": 18}


def test_the_command_line_retries_outcomes(tmp_path: Path) -> None:
    script = Mended()
    with serving(script) as server:
        folder, _ = start(write(tmp_path, server), tmp_path / "run", tmp_path / "c.sqlite", QUIET)
        script.broken = False
        words = ("resume", folder, "--cache", tmp_path / "c.sqlite", "--no-track", "--retry", "parse")
        assert "6 stored replies are forgotten" in cli(*words, "--retry", "refusal")
    assert totals(read_record(folder)) == {"ok": 18}
    assert CliRunner().invoke(app, [str(w) for w in (*words[:-1], "bad")]).exit_code == 2


def test_a_resumption_says_what_may_be_retried_and_when_there_is_nothing(tmp_path: Path) -> None:
    with serving(Mended()) as server:
        folder, _ = start(write(tmp_path, server), tmp_path / "run", tmp_path / "c.sqlite", QUIET)
        words = ("resume", folder, "--cache", tmp_path / "c.sqlite", "--no-track")
        assert f"to ask again: bench resume {folder} --retry parse --cache {words[3]}" in cli(*words)
        before = len(server.sent)
        said = " ".join(cli(*words, "--retry", "refusal").split())
        assert "nothing to retry: no explanation or judgement of" in said
        assert said.count("--retry parse") == 1
        assert len(server.sent) <= before + 1


def test_replies_are_forgotten_by_judge_outcome_and_run(tmp_path: Path) -> None:
    script, cache = Mended(), tmp_path / "c.sqlite"
    forget = ("cache", "forget", "--cache", cache)
    with serving(script) as server:
        folder, _ = start(write(tmp_path, server), tmp_path / "run", cache, QUIET)
        start(write(tmp_path, server, limit=4), tmp_path / "more", cache, QUIET)
    held = len(script.prompts)
    assert held == (3 + 4) * PER_LATENT

    def left() -> int:
        return ReplyCache(cache).stats().replies

    assert cli(*forget, "--run", folder, "--outcome", "parse", "--dry-run").startswith("would drop 6 replies")
    for where in ((), ("--run", folder)):
        refused = CliRunner().invoke(app, [str(w) for w in (*forget, "--judge", "openai:other", *where)])
        assert re.search(r"no judge 'openai:other' in .*; it has .*openai:m", str(refused.exception))
    assert cli(*forget, "--outcome", "refusal").startswith("dropped 0 replies")
    assert left() == held
    assert cli(*forget, "--run", folder, "--outcome", "parse", "--judge", "served").startswith("dropped 6 replies")
    assert left() == held - 6
    assert cli(*forget, "--run", folder).startswith("dropped 12 replies")
    assert left() == 4 * PER_LATENT
    assert cli(*forget, "--judge", "openai:m", "--outcome", "ok").startswith(f"dropped {4 * PER_LATENT} replies")
    assert left() == 0
    assert CliRunner().invoke(app, [str(w) for w in forget]).exit_code != 0


def test_the_end_of_a_run_says_how_old_its_replies_are() -> None:
    seen = FromCache()
    assert str(seen) == ""
    seen.asked, seen.found = 1500, 1200
    for day in (3, 1, 2):
        seen.add(datetime(2026, 5, day, 12).timestamp())
    assert str(seen) == "1,200 of 1,500 replies came from the cache, stored 2026-05-01 12:00 to 2026-05-03 12:00"
