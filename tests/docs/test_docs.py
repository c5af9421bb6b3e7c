"""The documentation's own tests: links resolve, commands exist, generated pages are up to date."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from latentbench.cli import app
from typer.testing import CliRunner

ROOT = Path(__file__).parents[2]
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "tasks").rglob("*.md"),
    *(ROOT / "leaderboards").rglob("*.md"),
]
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
COMMAND = re.compile(r"^\s*(?:\$ )?(?:\.venv/bin/)?(bench [^\n#`]*)", re.MULTILINE)
FENCE = re.compile(r"```(?:bash|sh|console|text)?\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_local_links_resolve(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def _commands() -> set[tuple[str, ...]]:
    """The command words (without arguments) of every `bench ...` line in a code block."""
    found = set()
    for page in PAGES:
        for block in FENCE.findall(page.read_text(encoding="utf-8")):
            for line in COMMAND.findall(block):
                words = [w for w in shlex.split(line, comments=True) if re.fullmatch(r"[a-z]+", w)]
                found.add(tuple(words[1:2] if words[1:2] and words[1] not in _GROUPS else words[1:3]))
    return found


_GROUPS = {"suite", "models", "coder", "cache", "judge", "scorer", "baseline", "simulator"}


def test_commands_in_the_docs_exist():
    for words in sorted(_commands()):
        done = CliRunner().invoke(app, [*words, "--help"])
        assert done.exit_code == 0, f"bench {' '.join(words)}: {done.output}"


def test_no_page_is_empty():
    for page in PAGES:
        assert len(page.read_text(encoding="utf-8")) > 100, page


def test_published_results_render_to_their_pages():
    from latentbench.leaderboards.results import read_results, render

    assert read_results(ROOT / "leaderboards")
    render(ROOT / "leaderboards", check=True)


def test_the_judge_leaderboard_is_up_to_date(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(app, ["judge", "leaderboard", "--check"])
    assert done.exit_code == 0, done.exception or done.output
