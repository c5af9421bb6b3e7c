"""Terminals and pipes of other encodings: a sign that they lack is written as the nearest one, and ends no command."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from latentbench.cli import main
from latentbench.views.terminal import PLAIN

from tests.builders.nameable import nameable
from tests.builders.run_builder import Grid, build_run, build_suite, set_suite_digest

GRID = Grid(
    explainers={"größer → 0.5 ❌ 漢字": 0.85, "tokens": 0.7, "shuffled": 0.5},
    scorers=("détection", "fuzzing"),
    judges=("modèle ‚x‘",),
    repeats=2,
)
COMMANDS = {
    "leaderboard": ["leaderboard", "RUN", "--out", "OUT"],
    "compare": ["compare", "RUN", "OTHER", "--out", "OUT"],
    "agreement": ["agreement", "RUN", "--out", "OUT"],
    "gate": ["gate", "OTHER", "--baseline", "BASE", "--offline", "--github"],
    "show": ["suite", "show", "SUITE"],
    "report": ["report", "RUN"],
    "models": ["models", "list"],
    "help": ["--help"],
    "unknown": ["suite", "show", "größer"],
    "lost": ["report", "lost-\udcff"],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoding") / nameable("größe 漢")
    _, found = build_suite(folder / "suite", GRID)
    for name, seed in (("run", 0), ("other", 1)):
        build_run(folder / name, Grid(**{**vars(GRID), "seed": seed}))
        set_suite_digest(folder / name, found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys, "argv", ["bench", "baseline", "freeze", str(folder / "run"), "-o", str(folder / "b.json"), "--offline"]
        )
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code
    return folder


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_prints_in_any_encoding(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, encoding: str
) -> None:
    names = {"RUN": "run", "OTHER": "other", "BASE": "b.json", "SUITE": "suite"}
    words = [
        str(tmp_path / "out") if w == "OUT" else str(place / names[w]) if w in names else w for w in COMMANDS[command]
    ]
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None, 1, 2, 3)
    said = []
    for stream in streams:
        stream.flush()
        said.append(stream.buffer.getvalue().decode(encoding))  # type: ignore[attr-defined]
    assert "".join(said).strip()
    assert "Traceback" not in said[1]
    assert (ended.value.code == 2) == (command in ("unknown", "lost"))
    if encoding == "ascii" and command == "leaderboard":
        assert "gr??er -> 0.5" in said[0]


@pytest.mark.parametrize(
    "settings", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}]
)
def test_a_process_of_its_own(place: Path, settings: dict[str, str]) -> None:
    source = str(Path(main.__code__.co_filename).parents[2])
    env = (
        {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHON"))}
        | settings
        | {"PYTHONPATH": source}
    )
    words = [sys.executable, "-m", "latentbench", "suite", "show", "suite"]
    done = subprocess.run(words, env=env, cwd=place, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"synthetic@1-0" in done.stdout
    done.stdout.decode("ascii")


def test_signs_of_our_own_have_an_ascii_form() -> None:
    assert all(text.isascii() for text in PLAIN.values())
