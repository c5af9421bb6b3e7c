"""`bench cache explain` follows questions through all their rounds, and says what it cannot know."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
from latentbench.analysis.cache_report import explain_misses
from latentbench.cli import app
from latentbench.judges.cache.replies import ReplyCache
from latentbench.judges.mock import mock_judge as mock
from latentbench.runs.run import start
from rich.console import Console
from typer.testing import CliRunner

QUIET = Console(quiet=True)
LATENTS, K, CHOSEN = 3, 4, 2


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run of best-of-k with two rounds for every latent, two repeats, in `run`; its cache beside it."""
    plain = mock._explanation
    monkeypatch.setattr(mock, "_explanation", lambda r: "Nothing." if r.seed % 2 else plain(r))
    spec: dict[str, Any] = {
        "name": "t",
        "suite": "planted-1",
        "limit": LATENTS,
        "repeats": 2,
        "explainers": [
            {"use": "best-of-k", "params": {"k": K, "n_choose": CHOSEN}, "model": "lex"},
            {"use": "shuffled", "params": {"of": "best-of-k"}},
        ],
        "scorers": [{"use": "embedding", "params": {"positives": 3, "negatives": 3}}],
        "judges": [{"use": "mock:lexical", "label": "lex"}],
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    start(tmp_path / "spec.yaml", tmp_path / "run", tmp_path / "cache.sqlite", QUIET)
    return tmp_path


def counts(line: str) -> tuple[int, int]:
    found = re.search(r"(\d+) of (\d+) calls are stored", line)
    assert found, line
    return int(found[1]), int(found[2])


def forget(cache: Path, requests: str) -> int:
    """Delete the replies to the requests whose stored settings hold a text; how many."""
    with sqlite3.connect(cache) as db:
        return db.execute("DELETE FROM replies WHERE settings LIKE ?", (f"%{requests}%",)).rowcount


def kinds(cache: Path) -> list[str]:
    with sqlite3.connect(cache) as db:
        return [row[0] for row in db.execute("SELECT settings FROM replies")]


def test_all_rounds_of_an_explainer_are_counted(ran: Path) -> None:
    for run in (ran / "run", ran / "spec.yaml"):
        explained, judged = explain_misses(run, ran / "cache.sqlite")
        first = 2 * LATENTS * K
        stored, asked = counts(explained)
        # The second round asks about each window after the generic text and after each distinct candidate.
        assert stored == asked > first
        assert (asked - first) % CHOSEN == 0
        # Both explainers, both repeats, a text and six windows each: of a spec too, because every reply is stored.
        assert counts(judged) == (2 * 2 * LATENTS * 7, 2 * 2 * LATENTS * 7)
        assert "not known" not in explained + judged


def test_a_missing_second_round_is_found(ran: Path) -> None:
    cache = ran / "cache.sqlite"
    whole = counts(explain_misses(ran / "spec.yaml", cache)[0])[1]
    lost = forget(cache, "continuation")
    assert lost, kinds(cache)[:3]
    explained, judged = explain_misses(ran / "spec.yaml", cache)
    assert counts(explained) == (2 * LATENTS * K, whole)
    assert "first miss: no stored call has this prompt" in explained
    # Which candidate would be chosen is not known, so neither are the questions about it, nor about the exchanged texts.
    assert f"what {2 * LATENTS} latents ask after their missing replies is not known yet" in explained
    assert f"{2 * 2 * LATENTS} explanations are not known yet" in judged
    # The run folder has the explanations.
    assert counts(explain_misses(ran / "run", cache)[1])[1] == 2 * 2 * LATENTS * 7


def test_a_missing_first_round_hides_the_later_ones_and_says_so(ran: Path) -> None:
    result = CliRunner().invoke(app, ["cache", "explain", str(ran / "spec.yaml"), "--cache", str(ran / "new.sqlite")])
    assert result.exit_code == 0, result.output
    place, explained, judged = result.output.splitlines()
    assert place == f"looked in {ran / 'new.sqlite'}"
    assert counts(explained) == (0, 2 * LATENTS * K)
    assert f"what {2 * LATENTS} latents ask after their missing replies is not known yet and not counted" in explained
    assert counts(judged) == (0, 0)
    assert ReplyCache(ran / "new.sqlite").stats().replies == 0


def test_it_says_where_it_looked_and_that_the_run_may_have_had_another_cache(
    ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(ran / "user"))
    place, explained, _ = CliRunner().invoke(app, ["cache", "explain", str(ran / "run")]).output.splitlines()
    assert place.startswith(f"looked in {ran / 'user'}")
    assert "if the run had another, name it with --cache" in place
    assert counts(explained)[0] == 0
