"""Every block of the docs is run, or read by what would read it, with the reason why it is not run.

A page of `RUN` is walked in a folder of its own: blocks with a title become files, commands and Python run in order. Any other
page has its reason in `READ_ONLY`, and its commands meet the real command line's parser, its specs the real models, its Python
the compiler. Nothing else depends on a block, so one that is removed fails nothing. `pytest -s` prints what became of all.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from click.exceptions import Exit
from latentbench.cli import app
from latentbench.kernel.config import validate
from latentbench.runs.run_spec import RunSpec
from latentbench.suites.build.suite_recipe import SuiteRecipe
from latentbench.tuning.tune_spec import TuneSpec

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r'title="([^"]+)"')
SHOWN = frozenset({"", "text", "csv", "toml"})
"""Kinds of blocks that show something: output, drawings, another package's files."""

RUN = ("quickstart.md", "how-many-latents.md", "scale.md", "tutorials/my-ci.md", "tutorials/my-explanations.md")
"""Pages under `docs/` that are walked."""
NOT_HERE = {
    "pip install": "installs packages",
    "pytest ": "tests within a test",
    "uses: actions/": "a workflow of GitHub",
}
"""What a block of a walked page holds that is only read -> why."""
READ_ONLY = {
    "README.md": "weights and minutes (`make demo` is run by hand), endpoints, and runs that a reader has",
    "calls.md": "runs that a reader has; tests/leaderboards/test_latent_terminal.py and tests/runs/test_kept_calls.py run these",
    "coders.md": "weights, and objects of a reader's own; `make test-foreign` and tests/subject run the coders",
    "coming-from.md": "a result folder of delphi that a reader has",
    "contributing/first-change.md": "run by tests/docs/test_first_change.py",
    "design.md": "shows interfaces",
    "exchange.md": "files that a reader has; tests/exchange and tests/explainers run them",
    "explainers.md": "weights and minutes",
    "extending.md": "run by tests/docs/test_third_party.py",
    "gate.md": "runs that a reader has; tests/analysis run the gate",
    "hard-negatives.md": "weights and minutes",
    "index.md": "weights and minutes",
    "installation.md": "installs packages",
    "intervention.md": "weights and minutes",
    "judges.md": "endpoints, weights and labels by people; the spec is run by tests/docs/test_mock_judges.py",
    "leaderboards.md": "weights and minutes",
    "long-and-rare.md": "weights, models that a reader has, and minutes",
    "look.md": "runs that a reader has; tests/site run the commands",
    "publish.md": "a repository and a run that a reader has; tests/leaderboards/test_submission.py runs the commands",
    "python.md": "run by tests/docs/test_python_page.py, with a model",
    "ranks.md": "runs that a reader has",
    "ray.md": "clusters; tests/runs/test_crew.py runs one of several nodes",
    "rate.md": "a run that a reader has, and people; tests/analysis/test_people.py and tests/site run the commands",
    "reference.md": "generated",
    "robustness.md": "tests within a test, and folders that a reader has",
    "security.md": "hosts that a reader has",
    "sensitivity.md": "weights and minutes",
    "serving.md": "a server",
    "statistics.md": "runs that a reader has, and simulations of minutes",
    "studies/README.md": "weights and hours",
    "subjects.md": "models that a reader has",
    "suites-from-elsewhere.md": "exports that a reader has; tests/suites/test_imported.py runs them",
    "tracking.md": "weights and minutes, and a server; tests/tracking log to SQLite",
    "tuning.md": "weights and an hour",
    "tuning/embedded/README.md": "generated",
    "tutorials/my-judge.md": "endpoints",
    "tutorials/my-sae.md": "weights and a coder that a reader has",
    "walkthrough.md": "weights and minutes; tests/analysis/test_walkthrough.py and tests/lab run both ways",
    "which-judge.md": "endpoints",
}
"""Page -> why its blocks are read and not run. `docs/scorers` is held by test_scorer_pages.py, studies are generated."""


@dataclass(frozen=True)
class Block:
    """One fence: its page, its kind, the file that it becomes, and its text."""

    page: str
    kind: str
    title: str | None
    text: str

    @property
    def id(self) -> str:
        """Page and first line."""
        return f"{self.page}: {self.text.splitlines()[0][:50] if self.text.strip() else ''}"


def blocks() -> list[Block]:
    """All blocks of README.md and of the pages under `docs/`."""
    found = []
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        page = (
            path.relative_to(ROOT / "docs").as_posix() if path.name != "README.md" or path.parent != ROOT else path.name
        )
        for head, text in FENCE.findall(path.read_text(encoding="utf-8")):
            title = TITLE.search(head)
            found.append(Block(page, head.split(" ")[0], title[1] if title else None, text))
    return found


def why_not(block: Block) -> str | None:
    """Why a block is not run; None if it is."""
    if block.page.startswith(("scorers/", "studies/")) and block.page != "studies/README.md":
        return "held by a test of its own, or generated"
    if block.page not in RUN:
        return READ_ONLY[block.page]
    return next((why for sign, why in NOT_HERE.items() if sign in block.text), None)


def commands(block: Block) -> Iterator[list[str]]:
    """Words of each line of a block of bash or of a terminal, without prompts and comments."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line.removeprefix("$ "), comments=True):
            yield words


def parsed(words: list[str]) -> None:
    """Meet the command line's own parser: options exist, arguments count."""
    command, context = typer.main.get_command(app), None
    while hasattr(command, "commands"):
        context = command.make_context("bench", list(words), parent=context, resilient_parsing=True)
        # What a group makes of its words: `submit RUN` is a command with a name of its own.
        words = [*context._protected_args, *context.args]
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, list(words), parent=context)


def read(block: Block) -> None:
    """Read a block by what would read it.

    Raises:
        AssertionError, ValueError and others: what the reader says.
    """
    if block.kind in ("bash", "console", ""):
        lines = block.text.splitlines() if block.kind == "" else []
        for words in (
            commands(block) if block.kind else (shlex.split(x, comments=True) for x in lines if x.startswith("bench "))
        ):
            if words[0].endswith("bench") and not any("$" in word for word in words):
                parsed(words[1:])
            elif words[0] == "make":
                assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE), words
            elif words[0] in ("pytest", "python"):
                assert all(
                    (ROOT / word).exists() for word in words[1:] if word.startswith(("tests/", "benchmarks/"))
                ), words
    elif block.kind == "yaml":
        for said in yaml.safe_load_all(block.text):
            model = _model(said)
            if model is not None:
                validate(model, said, block.id)
    elif block.kind == "python":
        import textwrap

        compile(_indented(textwrap.dedent(block.text)), block.id, "exec")
    elif block.kind == "json":
        json.loads(block.text)
    else:
        assert block.kind in SHOWN, f"{block.id} is a block of a kind that nothing here reads: {block.kind!r}"


def _indented(text: str) -> str:
    """An entry of a mapping or of a call, which a page shows alone, within what makes it a statement."""
    first = text.strip().splitlines()[0]
    if re.match(r'"[^"]+":', first):
        return f"x = {{{text}}}"
    return f"x = [{text}]" if re.match(r"\w+\(.*\),$", first) else text


def _model(said: Any) -> type[Any] | None:
    if not isinstance(said, dict):
        return None
    keys = set(said)
    if {"name", "suite", "explainers", "scorers", "judges"} <= keys:
        return RunSpec
    if {"name", "subject", "corpus", "coders"} <= keys:
        return SuiteRecipe
    return TuneSpec if {"name", "space", "suite"} <= keys else None


def test_every_page_with_blocks_is_run_or_has_its_reason() -> None:
    became = Counter("run" if why is None else f"read: {why}" for why in map(why_not, blocks()))
    for why, n in became.most_common():
        print(f"{n:4} {why}")
    assert became["run"] >= 10


@pytest.mark.parametrize("block", [b for b in blocks() if why_not(b) is not None], ids=lambda b: b.id)
def test_a_block_that_is_not_run_is_read(block: Block) -> None:
    read(block)


@pytest.mark.parametrize("page", RUN)
def test_a_page_is_walked(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    names: dict[str, Any] = {}
    for block in blocks():
        if block.page != page or why_not(block) is not None:
            continue
        if block.title is not None:
            path = tmp_path / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        if block.kind == "python":
            exec(compile(block.text, block.id, "exec"), names)
        elif block.kind in ("bash", "console"):
            for words in commands(block):
                assert words[0] == "bench", f"{block.id}: {words[0]} is not run here; say why in NOT_HERE"
                try:
                    ended = app(words[1:], standalone_mode=False)
                except Exit as e:
                    ended = e.exit_code
                assert not ended, f"{block.id}: {' '.join(words)} ended with {ended}"
        else:
            read(block)
