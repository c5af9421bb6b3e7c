"""Folders that belong to somebody else, tried as somebody else: root may write everywhere, so as root nothing would be shown.

Each command runs in a forked child. As root the child becomes another user first; anybody else just has no right to write.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from latentbench.cli import app, main
from typer.testing import CliRunner

SPEC = """
name: t
suite: planted-1
limit: 2
explainers: [tokens]
scorers: [detection]
judges: ["mock:lexical"]
"""
NOBODY = 65534
"""The user without rights, on every Unix."""

pytestmark = pytest.mark.skipif(not hasattr(os, "seteuid"), reason="permissions of this system are not those of a Unix")


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that everybody can walk through; pytest's own are closed to other users."""
    folder = Path(tempfile.mkdtemp(prefix="latentbench-"))
    folder.chmod(0o755)
    (folder / "open").mkdir()
    (folder / "open").chmod(0o777)
    spec = folder / "open" / "spec.yaml"
    spec.write_text(SPEC, encoding="utf-8")
    # Another user may not be able to read this Python, so whatever is imported only when it is needed is imported now.
    for words in (
        ("run", spec, "--out", folder / "run", "--cache", folder / "own.sqlite", "--no-track"),
        ("resume", folder / "run", "--cache", folder / "own.sqlite", "--no-track"),
        ("leaderboard", folder / "run", "--out", folder / "warm"),
        ("report", folder / "run", "--out", folder / "warm"),
    ):
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, done.output
    yield folder
    for shut in (folder / "run", folder / "shut"):
        if shut.exists():
            shut.chmod(0o755)
    shutil.rmtree(folder)


def as_somebody_else(folder: Path, *words: str | Path) -> tuple[int, str]:
    """Exit code and everything said of `bench ...`, by a user who owns nothing below a folder."""
    said = folder / "open" / "said.txt"
    said.unlink(missing_ok=True)
    out = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o666)
    child = os.fork()
    if not child:
        code = 70
        try:
            os.dup2(out, 1)
            os.dup2(out, 2)
            sys.stdout = sys.stderr = os.fdopen(out, "w", encoding="utf-8")
            sys.argv = ["bench", *map(str, words)]
            os.environ["XDG_CACHE_HOME"] = str(folder / "open")
            if os.geteuid() == 0:
                os.setegid(NOBODY)
                os.seteuid(NOBODY)
            try:
                main()
                code = 0
            except SystemExit as e:
                code = int(e.code or 0)
        except BaseException:
            sys.stdout.write(traceback.format_exc())
        finally:
            with suppress(BaseException):
                sys.stdout.flush()
            os._exit(code)
    os.close(out)
    _, status = os.waitpid(child, 0)
    text = said.read_text(encoding="utf-8")
    said.unlink()
    return os.waitstatus_to_exitcode(status), text


def _closed(folder: Path, mode: int) -> dict[str, bytes]:
    folder.chmod(mode)
    return {p.name: p.read_bytes() for p in folder.iterdir()} if os.geteuid() == 0 or mode & 0o400 else {}


@pytest.mark.parametrize(
    "words", [["leaderboard", "RUN"], ["report", "RUN"], ["resume", "RUN", "--no-track"]], ids=lambda words: words[0]
)
def test_a_folder_that_can_only_be_read_is_a_message(place: Path, words: list[str]) -> None:
    run = place / "run"
    before = _closed(run, 0o555)
    code, said = as_somebody_else(place, *(run if word == "RUN" else word for word in words))
    assert code == 2, said
    assert "Traceback" not in said
    assert str(run) in said
    assert "Permission denied" in said
    assert {p.name: p.read_bytes() for p in run.iterdir()} == before


@pytest.mark.parametrize("word", ["leaderboard", "report"])
def test_what_can_only_be_read_is_made_elsewhere(place: Path, word: str) -> None:
    run = place / "run"
    _closed(run, 0o555)
    code, said = as_somebody_else(place, word, run, "--out", place / "open" / word)
    assert code == 0, said
    assert any((place / "open" / word).iterdir())


def test_a_folder_that_cannot_be_read_is_a_message(place: Path) -> None:
    run = place / "run"
    _closed(run, 0o000)
    code, said = as_somebody_else(place, "leaderboard", run, "--out", place / "open" / "none")
    run.chmod(0o755)
    assert code == 2, said
    assert "Traceback" not in said
    assert str(run) in said
    assert "Permission denied" in said


def test_a_cache_of_somebody_else_is_a_message_and_nothing_is_asked(place: Path) -> None:
    (place / "shut").mkdir(exist_ok=True)
    (place / "shut").chmod(0o555)
    spec = place / "open" / "spec.yaml"
    cache = place / "shut" / "c.sqlite"
    code, said = as_somebody_else(place, "run", spec, "--out", place / "open" / "new", "--cache", cache, "--no-track")
    assert code == 2, said
    assert "Traceback" not in said
    assert "shut" in said
    code, said = as_somebody_else(place, "run", spec, "--out", place / "shut" / "new", "--no-track")
    assert code == 2, said
    assert "Permission denied" in said
