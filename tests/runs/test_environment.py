"""What a run records about where it happened."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from latentbench.runs import environment
from latentbench.runs.environment import GitRecord


def test_a_package_that_git_does_not_track_has_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, text=True, encoding="utf-8"
        ).stdout.strip()

    (tmp_path / "notes.md").write_text("Somebody's project.", encoding="utf-8")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "notes")
    package = tmp_path / "site-packages"
    package.mkdir()
    module = Path(shutil.copy(environment.__file__, package))
    monkeypatch.setattr(environment, "__file__", str(module))
    assert environment.git() is None
    git("add", "-A")
    git("commit", "-qm", "the package")
    assert environment.git() == GitRecord(revision=git("rev-parse", "HEAD"), dirty=False)
    module.write_text("changed = True\n", encoding="utf-8")
    assert environment.git() == GitRecord(revision=git("rev-parse", "HEAD"), dirty=True)


def test_looking_at_a_checkout_writes_nothing_into_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = Path(shutil.copy(environment.__file__, tmp_path))
    for words in (["init", "-q"], ["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "it"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(environment, "__file__", str(module))
    index = tmp_path / ".git" / "index"
    before = index.read_bytes()
    os.utime(module, (1, 1))  # the index knows another time, which a plain `git status` corrects
    found = environment.git()
    assert found is not None
    assert not found.dirty
    assert index.read_bytes() == before
