"""Every help text of the command line is a sentence that stands alone, and `--help` answers without loading anything heavy."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from latentbench.cli import app
from latentbench.cli.help_examples import EXAMPLES
from typer.core import TyperGroup
from typer.testing import CliRunner

RIDDLE = re.compile(r"(Of|As|That|The same|Whose|In which|See)\b")


def _commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group under its words, the program itself under none. (Typer has a Click of its own.)"""
    yield words, command
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from _commands(inner, (*words, name))


COMMANDS = dict(_commands(typer.main.get_command(app)))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_texts_stand_alone(words: tuple[str, ...]) -> None:
    command = COMMANDS[words]
    texts = {"the command": command.help}
    texts |= {str(p.name): getattr(p, "help", None) for p in command.params if p.name != "help"}
    for name, text in texts.items():
        assert text, f"{name} has no help"
        assert not RIDDLE.match(text), f"{name}: {text}"
        assert len(text.split()) >= 3, f"{name}: {text}"
        assert text[0].isupper() or text[0] == "`", f"{name}: {text}"
        assert text.rstrip().endswith("."), f"{name}: {text}"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_has_a_summary_of_one_line(words: tuple[str, ...]) -> None:
    summary = (COMMANDS[words].help or "").splitlines()[0]
    assert summary.endswith(".")
    assert len(summary) <= 80, summary
    listed = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80"}).output.partition("Commands:")[2]
    assert "..." not in listed, "a summary in the list of commands is cut"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_fits_a_terminal_of_80_columns(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80"})
    assert done.exit_code == 0
    assert max(map(len, done.output.splitlines())) <= 80


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_help_has_examples_that_the_command_takes(words: tuple[str, ...]) -> None:
    """Each is given to the parser of the command that it names; nothing is carried out."""
    done = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80"})
    _, found, below = done.output.partition("Examples:")
    examples = [line.strip() for line in below.splitlines() if line.strip().startswith("bench ")]
    assert found
    assert examples, below
    for example in examples:
        _, *given = shlex.split(example, comments=True)
        if given[0] == "rate" and given[1] != "import":
            # The word for the page is hidden: `bench rate RUN`.
            given.insert(1, "page")
        assert tuple(given[: len(words)]) == words, f"{example} is of another command"
        named = next(
            w for n in (2, 1) if (w := tuple(given[:n])) in COMMANDS and not isinstance(COMMANDS[w], TyperGroup)
        )
        COMMANDS[named].make_context("bench", given[len(named) :])


def test_every_example_is_of_a_command() -> None:
    assert {tuple(words.split()) for words in EXAMPLES} <= set(COMMANDS)


def test_an_example_with_an_option_that_is_not_there_is_noticed() -> None:
    with pytest.raises(Exception, match="no such option|No such option"):
        COMMANDS["run",].make_context("bench", ["demo", "--nonsense"])


def test_help_loads_nothing_heavy() -> None:
    heavy = ("torch", "pandas", "mlflow", "transformers", "numpy")
    code = (
        "import sys\n"
        "from latentbench.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print('loaded:', [m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8")
    assert "Usage:" in done.stdout
    assert done.stdout.rstrip().endswith("loaded: []")


def test_studies_are_listed_without_torch() -> None:
    code = (
        "import sys\n"
        "from latentbench.cli import app\n"
        "try:\n    app(['study'])\nexcept SystemExit:\n    pass\n"
        "print('loaded:', [m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8")
    assert "walkthrough" in done.stdout
    assert done.stdout.rstrip().endswith("loaded: []")


def test_judges_are_listed_with_the_parameters_of_their_references() -> None:
    said = CliRunner().invoke(app, ["list", "judges"]).output.split()
    for option in ("base_url=", "rpm=", "system=keep", "dtype=bfloat16", "logprobs=false", "writer", "error=0.0"):
        assert option in said
