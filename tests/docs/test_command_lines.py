"""Every `bench` line in a fence of the docs is taken by the real command line: its options exist, its arguments count."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from latentbench.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINE = re.compile(r"^(?:\$ )?(bench .*)$", re.MULTILINE)


def lines() -> list[str]:
    """Commands that stand at the beginning of a line; those with a shell's substitution are for a shell."""
    found = [
        line
        for p in PAGES
        for how, block in FENCE.findall(p.read_text(encoding="utf-8"))
        if how in ("", "bash", "console")
        for line in LINE.findall(block)
    ]
    return sorted({line for line in found if "$" not in line})


@pytest.mark.parametrize("line", lines())
def test_the_command_line_takes_it(line: str) -> None:
    command, context, words = typer.main.get_command(app), None, shlex.split(line, comments=True)[1:]
    while hasattr(command, "commands"):
        context = command.make_context("bench", list(words), parent=context, resilient_parsing=True)
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, list(words), parent=context)
