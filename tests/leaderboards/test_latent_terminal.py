"""A latent in the terminal: all that the tables say of it, what is left out counted, and hostile text as text."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from latentbench.cli import app
from latentbench.judges.mock.mock_judge import MockJudge
from latentbench.kernel.errors import UnknownName
from latentbench.kernel.requests import Chat, Reply, Request
from latentbench.leaderboards.latent_terminal import ShownParts, latent_shown
from latentbench.runs.finished import Run, load_run, suite_of
from latentbench.runs.kept import kept_calls
from latentbench.runs.run import start
from latentbench.views.number import number
from latentbench.views.terminal import quoted
from rich.console import Console
from typer.testing import CliRunner

HOSTILE = "<script>\x1b[31mred [/bold] \u202eback\r\n=1+1 ::error::x \x00\nexplanations, judge: " + "y" * 1_000_000
SPEC: dict[str, Any] = {
    "name": "t",
    "suite": "planted-1",
    "limit": 2,
    "explainers": [{"use": "llm", "model": "lex"}, "tokens", "empty"],
    "scorers": [
        {"use": "detection", "params": {"positives": 4, "negatives": 4, "simulate": "never"}},
        {"use": "simulation", "params": {"positives": 1, "negatives": 1}},
    ],
    "judges": [{"use": "mock:lexical?fail=0.3", "label": "lex"}],
    "max_failures": 1.0,
}


def make(place: Path, **changes: Any) -> Run:
    (place / "spec.yaml").write_text(yaml.safe_dump({**SPEC, **changes}), encoding="utf-8")
    return load_run(
        start(place / "spec.yaml", place / "run", place / "c.sqlite", Console(quiet=True))[0], per_token=True
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make(tmp_path_factory.mktemp("shown"))


def shown(run: Run, choice: ShownParts, latent: str | None = None, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None, markup=False)
    console.print(latent_shown(run, latent or run.record.latents[0], suite_of(run), choice))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def flat(text: str) -> str:
    return " ".join(text.split())


def test_every_score_of_the_latent_is_there(run: Run) -> None:
    told = flat(shown(run, ShownParts(whole=True)))
    scores = run.scores[run.scores["latent"] == run.record.latents[0]]
    assert len(scores) > 10
    for metric, value in scores[["metric", "value"]].itertuples(index=False):
        if metric != "n":
            assert f"{metric} {number(None if pd.isna(value) else value)}" in told
    for row in scores.itertuples():
        assert f"{row.n_judged} of {row.n_attempted} judged" in told
    assert "empty (floor)" in told


def test_every_verdict_is_there_and_failures_say_why(run: Run) -> None:
    told = flat(shown(run, ShownParts(whole=True)))
    mine = run.judgements[
        (run.judgements["latent"] == run.record.latents[0]) & (run.judgements["scorer"] == "detection")
    ]
    decided = mine[mine["answer"].notna()]
    right = decided["answer"] == decided["truth"]
    assert 0 < right.sum() < len(right), "the run has right and wrong answers"
    # Those of `detection` alone: simulation decides nothing about single windows.
    assert len(re.findall(r": right, ", told)) == right.sum()
    assert len(re.findall(r": wrong, ", told)) == (~right).sum()
    failed = mine[mine["outcome"] != "ok"]
    assert len(failed)
    for outcome, error in set(failed[["outcome", "error"]].itertuples(index=False, name=None)):
        assert flat(f"unscored, {outcome}: {error}") in told
    assert f"{right.sum()} of {len(right)} answers right over all explainers; {len(failed)} unscored" in told


def test_what_is_left_out_is_counted(run: Run) -> None:
    brief, whole = shown(run, ShownParts()), shown(run, ShownParts(whole=True))
    assert "5 of " in brief
    assert "(--all shows the rest)" in flat(brief)
    assert "--all" not in whole
    assert len(brief) < len(whole)
    assert "--words shows the prompts" in brief


def test_a_choice_leaves_the_others_out(run: Run) -> None:
    told = shown(run, ShownParts(explainers=("tokens",), scorers=("simulation",), words=True, whole=True))
    assert "llm" not in told
    assert "detection" not in told
    assert "Words, judge tokens/simulation/lex/0" in told
    with pytest.raises(UnknownName, match="tokens"):
        shown(run, ShownParts(explainers=("tokns",)))
    with pytest.raises(UnknownName, match="detection"):
        shown(run, ShownParts(scorers=("detectoin",)))
    with pytest.raises(UnknownName):
        shown(run, ShownParts(), "planted/x")


def test_the_sum_of_right_answers_says_over_whom_it_is(run: Run) -> None:
    told = flat(shown(run, ShownParts(explainers=("tokens",), scorers=("detection",))))
    own = run.judgements[run.judgements["latent"] == run.record.latents[0]]
    own = own[(own["explainer"] == "tokens") & (own["scorer"] == "detection") & own["answer"].notna()]
    right = int((own["answer"] == own["truth"]).sum())
    assert f"{right} of {len(own)} answers right over tokens" in told
    assert "all explainers" not in told
    assert "quantile:9 is the tenth of windows with the largest activations" in told


def test_words_are_those_that_were_kept(run: Run) -> None:
    told = re.sub(r"\s*\n\s*(\| )?", " ", shown(run, ShownParts(words=True, whole=True), width=100_000))
    calls = list(kept_calls(run, run.record.latents[0]))
    assert calls
    for call in calls:
        for message in call.messages:
            assert flat(message.content) in flat(told)
        assert flat(call.reply) in flat(told)
        assert call.ok or flat(call.cause) in flat(told)


def test_a_wrapped_line_of_a_reply_stays_behind_the_bar() -> None:
    console = Console(width=40, file=io.StringIO(), color_system=None, markup=False)
    for line in quoted("one " * 20 + "Explanations, judge: right\n\nlast", 4):
        console.print(line)
    told = console.file.getvalue().rstrip("\n").split("\n")  # type: ignore[attr-defined]
    assert len(told) > 4
    assert all(re.match(r" {4}\|( |$)", line) and len(line) <= 40 for line in told)
    assert flat(" ".join(line[6:] for line in told)) == "one " * 20 + "Explanations, judge: right last"


@pytest.mark.parametrize("whole", [False, True])
def test_hostile_text_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
    answer = MockJudge.answer

    async def hostile(self: MockJudge, requests: list[Request]) -> list[Reply]:
        replies = await answer(self, requests)
        pairs = zip(requests, replies, strict=True)
        return [Reply(text=HOSTILE, reasoning=HOSTILE) if isinstance(q, Chat) and r.ok else r for q, r in pairs]

    monkeypatch.setattr(MockJudge, "answer", hostile)
    run = make(tmp_path, judges=[{"use": "mock:lexical", "label": "lex"}], limit=1)
    told = shown(run, ShownParts(words=True, whole=whole))
    assert "\x1b" not in told
    assert "\u202e" not in told
    assert "\x00" not in told
    assert "::error::" not in told
    assert "[/bold]" in told
    assert "\\u202e" in told
    # The line that looks like a heading stands behind the bar.
    assert not re.search(r"^explanations, judge:", told, re.MULTILINE)
    assert re.search(r"^ +\| explanations, judge:", told, re.MULTILINE)
    assert (len(told) > 1_000_000) is whole
    assert ("more characters; --all shows them" in flat(told)) is not whole


def test_a_run_without_words_and_a_suite_that_is_not_here(tmp_path: Path) -> None:
    run = make(tmp_path, keep="none", limit=1)
    console = Console(width=80, file=io.StringIO())
    console.print(latent_shown(run, run.record.latents[0], None, ShownParts(words=True)))
    told = flat(console.file.getvalue())  # type: ignore[attr-defined]
    assert "The suite that the run used is not here" in told
    assert "the run kept none (`keep` in its spec)" in told
    assert "window " in told


def test_it_fits_a_terminal_and_the_command_prints_it(run: Run) -> None:
    assert max(map(len, shown(run, ShownParts(words=True, whole=True)).splitlines())) <= 80
    done = CliRunner().invoke(app, ["show", str(run.folder), run.record.latents[0], "--scorer", "detection", "--words"])
    assert done.exit_code == 0, done.output
    assert "Words, judge llm/detection/lex/0" in done.output
    assert "simulation" not in done.output


def test_calls_are_a_table_in_python(run: Run) -> None:
    assert len(run.calls) == len(list(kept_calls(run)))
    assert set(run.calls["stage"]) == {"explain", "judge"}
