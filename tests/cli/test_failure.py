"""Whatever ends a command is one message with an exit code; what nobody foresaw leaves a report without a secret in it."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pydantic
import pytest
import yaml
from latentbench.cli import failure, main
from latentbench.kernel.errors import RunError, SpecError

from tests.builders.nameable import nameable


def _invalid() -> Exception:
    class Model(pydantic.BaseModel):
        x: int

    try:
        Model.model_validate({"x": "[bold]no[/bold]"})
    except pydantic.ValidationError as e:
        return e
    raise AssertionError


UNFORESEEN = [
    MemoryError(),
    RecursionError("maximum recursion depth exceeded"),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    _invalid(),
    yaml.YAMLError("while scanning"),
    pa.ArrowInvalid("Parquet magic bytes not found"),
    sqlite3.DatabaseError("database disk image is malformed"),
    ValueError("Exceeds the limit (4300 digits) for integer string conversion"),
    KeyError("cells"),
    TypeError("half \ud800 of a pair"),
    AssertionError(),
    ConnectionResetError(errno.ECONNRESET, "reset"),
    BrokenPipeError(errno.EPIPE, "a socket's"),
    ExceptionGroup("several", [KeyError("a"), ValueError("b")]),
]
REFUSED = [
    OSError(errno.ENOSPC, "No space left on device", "/some/run/judgements.jsonl"),
    OSError(errno.EDQUOT, "Disk quota exceeded", "/some/run"),
    PermissionError(errno.EACCES, "Permission denied", "/a/colleague/run.json"),
    OSError(errno.EROFS, "Read-only file system", "/a/colleague/report.html"),
    IsADirectoryError(errno.EISDIR, "Is a directory", "/some/folder"),
    NotADirectoryError(errno.ENOTDIR, "Not a directory", "/some/file/x"),
    OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300),
    OSError(errno.EMFILE, "Too many open files"),
]


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):  # type: ignore[no-untyped-def]
    """Run `main` with a command that raises: (exit code, stderr)."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv(failure.DEBUG, raising=False)

    def call(error: BaseException, *words: str) -> tuple[int, str]:
        def app(**_: object) -> None:
            assert failure.FLAG not in sys.argv
            raise error

        monkeypatch.setattr("latentbench.cli.app", app)
        monkeypatch.setattr("sys.argv", ["bench", *words])
        with pytest.raises(SystemExit) as e:
            main()
        return int(e.value.code or 0), capsys.readouterr().err

    return call


def reports(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "state").rglob("report-*.txt"))


@pytest.mark.parametrize("error", UNFORESEEN, ids=lambda e: type(e).__name__)
def test_the_unforeseen_is_a_message_and_a_report(ended, tmp_path: Path, error: BaseException) -> None:  # type: ignore[no-untyped-def]
    code, said = ended(error, "run", "spec.yaml")
    assert code == failure.UNFORESEEN
    assert said.startswith("error: ")
    assert "Traceback" not in said
    assert len(said) < 1000
    (report,) = reports(tmp_path)
    assert str(report) in said
    text = report.read_text(encoding="utf-8")
    assert "Traceback" in text
    assert "command: bench run spec.yaml" in text
    assert "latentbench 0" in text
    assert report.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("error", REFUSED, ids=lambda e: errno.errorcode[e.errno])
def test_what_the_machine_refuses_is_said_in_its_words(ended, tmp_path: Path, error: OSError) -> None:  # type: ignore[no-untyped-def]
    code, said = ended(error)
    assert code == 2
    assert error.strerror in said
    assert error.filename is None or error.filename[:200] in said
    assert said.count("\n") == 1
    assert reports(tmp_path) == []


def test_errors_of_ours_keep_their_words_and_code(ended, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert ended(SpecError("label [bold]x[/bold] :smile: \ud800")) == (
        2,
        "error: label [bold]x[/bold] :smile: \ufffd\n",
    )
    inner = ExceptionGroup("tasks", [ExceptionGroup("more", [RunError("there is no run.")])])
    assert ended(inner) == (2, "error: there is no run.\n")
    assert reports(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError()])
def test_an_interruption_is_no_error(ended, error: BaseException) -> None:  # type: ignore[no-untyped-def]
    assert ended(error) == (130, "interrupted\n")


@pytest.mark.parametrize("words", [["--debug", "run", "x"], ["run", "x", "--debug"]])
def test_debug_prints_the_traceback_before_and_behind_a_command(ended, words: list[str]) -> None:  # type: ignore[no-untyped-def]
    code, said = ended(SpecError("no."), *words)
    assert code == 2
    assert "Traceback" in said
    assert said.endswith("error: no.\n")


@pytest.mark.parametrize(("value", "wanted"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_debug_may_stand_in_the_environment(ended, monkeypatch, value: str, wanted: bool) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv(failure.DEBUG, value)
    assert ("Traceback" in ended(SpecError("no."))[1]) is wanted


def test_a_word_behind_two_dashes_is_no_option() -> None:
    words = ["bench", "x", "--", "--debug"]
    assert not failure.wants_debug(words)
    assert words == ["bench", "x", "--", "--debug"]


def test_a_report_holds_no_secret(ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    secrets = {
        "MY_SERVICE_API_KEY": "a-value-nobody-knows",
        "GITHUB_TOKEN": "another.value",
        "DB_PASSWORD": "p4ss/w0rd",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SOMETHING_ELSE", "the-whole-environment")
    told = [
        "postgresql://user:hunter2/3@db.example/x",
        "http://h/v1?api_key=abcdef&model=m",
        "Authorization: Bearer eyJhbGciOi",
        "sk-proj-1234567890",
        "hf_abcdefghijkl",
        *secrets.values(),
    ]
    words = ["tune", "x.yaml", "--storage", told[0], "openai:m?base_url=https://u:tok@h/v1&secret=zzz&temperature=0.5"]
    code, said = ended(RuntimeError("; ".join(told)), *words)
    assert code == failure.UNFORESEEN
    (report,) = reports(tmp_path)
    for text in (said, report.read_text(encoding="utf-8")):
        for word in (
            "hunter2",
            "abcdef",
            "eyJhb",
            "1234567890",
            "the-whole-environment",
            "u:tok",
            "zzz",
            *secrets.values(),
        ):
            assert word not in text
    assert "temperature=0.5" in report.read_text(encoding="utf-8")


def test_where_no_report_can_be_written_the_message_says_so(ended, monkeypatch, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "state").write_text("a file where a folder should be", encoding="utf-8")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "state"))
    code, said = ended(KeyError("x"))
    assert code == failure.UNFORESEEN
    assert "No report could be written" in said


def _bench(*words: str, **more: str) -> list[str]:
    return [sys.executable, "-m", "latentbench", *words]


def test_a_reader_that_goes_away_ends_in_silence(tmp_path: Path) -> None:
    held, given = os.pipe()
    os.close(held)
    done = subprocess.run(_bench("list", "scorers"), stdout=given, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(given)
    assert (done.returncode, done.stderr) == (failure.NOBODY_READS, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_behind_the_output_is_a_message() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(_bench("list", "scorers"), stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 2
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


def test_any_encoding_of_the_terminal_will_do(tmp_path: Path) -> None:
    spec = tmp_path / nameable("spécial.yaml")
    spec.write_text("nämé: ‘x’\nnämé: 2\n", encoding="utf-8")
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(_bench("run", str(spec)), capture_output=True, env=env, timeout=60, check=False)
    assert done.returncode == 2
    assert b"n?m?" in done.stderr
    assert b"Traceback" not in done.stderr
