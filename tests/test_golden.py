"""What every shipped scorer, explainer and judge reader asks and scores on frozen toy latents is what it was.

A key of a scorer or explainer says its version, parameters and prompts, and not its source. So this is what holds the version to
the behaviour: code may be cleaned freely, and a number that moves fails here by name.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import golden_file
from tests.builders.golden_contents import contents, shipped, text_of
from tests.builders.golden_file import FOLDER, difference, dumped, write
from tests.golden.__main__ import main

NAMES = sorted(contents())


@pytest.mark.parametrize("name", NAMES)
def test_it_asks_and_scores_what_it_did(name: str) -> None:
    problem = difference(name, text_of(name))
    assert problem is None, problem


def test_every_shipped_task_has_a_golden_file_and_none_is_stale() -> None:
    """A file of an older version may stay; one of a task that is not shipped, or of a version to come, says nothing."""
    missing = [name for name in NAMES if not (FOLDER / name).exists()]
    assert not missing, f"{missing} are missing: `{golden_file.COMMAND}`"
    for kind in ("scorers", "explainers"):
        for path in (*(FOLDER / kind).glob("*"), *(FOLDER / "runs" / kind).glob("*")):
            name, _, version = path.stem.partition("@")
            now = shipped(kind).get(name)
            assert now is not None, f"{path.name} belongs to no shipped task"
            assert parts(version) <= parts(now), f"{path.name} is of a later version than the task, {now}"
    assert {f"judges/{p.name}" for p in (FOLDER / "judges").glob("*")} <= set(NAMES)


def parts(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split("-")))


def test_golden_files_are_small_enough_to_be_read() -> None:
    sizes = {path: path.stat().st_size for path in FOLDER.rglob("*.json")}
    assert max(sizes.values()) < 60_000, sizes
    assert sum(sizes.values()) < 1_300_000


def test_a_file_of_a_published_version_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden_file, "FOLDER", tmp_path)
    name, first, other = "scorers/x@1-0.json", dumped({"a": 1}), dumped({"a": 2})
    assert "does not exist" in (difference(name, first) or "")
    assert write(name, first, force=False).startswith("written")
    assert write(name, first, force=False).startswith("same")
    assert difference(name, first) is None
    assert write(name, other, force=False).startswith("REFUSED")
    assert (tmp_path / name).read_text(encoding="utf-8") == first
    said = difference(name, other) or ""
    assert "x@1-0.json is not what it was" in said
    assert "another version (N-X" in said
    assert '-{"a": 1}\n+{"a": 2}' in said
    assert write(name, other, force=True).startswith("written")
    assert difference(name, other) is None


def test_the_command_writes_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "explainers/empty@1-0.json"
    monkeypatch.setattr(golden_file, "FOLDER", tmp_path)
    monkeypatch.setattr("sys.argv", ["golden", "--write", name])
    main()
    assert capsys.readouterr().out.split() == ["written", name]
    assert (tmp_path / name).read_text(encoding="utf-8") == (FOLDER / name).read_text(encoding="utf-8")
