"""Committed files get the keys of today from a checkout that explains the keys they have, and from no other."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import latentbench
from latentbench.analysis.gate.baseline import BaselineScores, read_baseline, write_baseline
from latentbench.explainers.explainer import load_explainer
from latentbench.leaderboards.results import read_file, write_file
from latentbench.leaderboards.row import Row
from latentbench.scorers.scorer import load_scorer

PACKAGE = Path(latentbench.__file__).parent
ROOT = PACKAGE.parents[1]
SCRIPT = ROOT / "bench" / "carry_over.py"
BASELINE = ROOT / "leaderboards" / "gate" / "planted-1.json"
RESULT = ROOT / "leaderboards" / "results" / "demo-20261127-081000.json"


def other_code(place: Path) -> Path:
    """A checkout whose code gives another key to the same things."""
    skipped = shutil.ignore_patterns("__pycache__", "*.safetensors", "_tasks")
    shutil.copytree(PACKAGE, place / "bench" / "latentbench", ignore=skipped)
    shutil.copy(SCRIPT, place / "bench")
    for kind in ("scorers", "explainers", "runs"):
        shutil.copytree(ROOT / "tasks" / kind, place / "tasks" / kind)
    for name in ("scorers/scorer.py", "explainers/explainer.py"):
        file = place / "bench" / "latentbench" / name
        text = file.read_text(encoding="utf-8")
        assert text.count("return digest([self.id, ") == 1
        changed = text.replace("return digest([self.id, ", 'return digest(["other", self.id, ')
        file.write_text(changed, encoding="utf-8")
    return place


def current(folder: Path) -> tuple[Path, Path]:
    """The committed files without rows of explainers and scorers that have another version by now: those are left as they are."""
    folder.mkdir()

    def kept(row: Row | BaselineScores) -> bool:
        loaded = (load_explainer(row.explainer.id.partition("@")[0]), load_scorer(row.scorer.id.partition("@")[0]))
        return [x.id for x in loaded] == [row.explainer.id, row.scorer.id]

    baseline, result = read_baseline(BASELINE), folder / RESULT.name
    scores = [s for s in baseline.scores if kept(s)]
    assert scores
    write_baseline(baseline.model_copy(update={"scores": scores}), folder / BASELINE.name)
    write_file(result, [row for row in read_file(RESULT) if kept(row)])
    return folder / BASELINE.name, result


def carry(code: Path, old: Path, *files: Path) -> tuple[int, str]:
    """Run the script with the code of one checkout on files of another."""
    done = subprocess.run(
        [sys.executable, str(code / "bench" / "carry_over.py"), "--old", str(old), *map(str, files)],
        cwd=ROOT,
        env={"PYTHONPATH": str(code / "bench")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def test_keys_are_carried_there_and_back_and_nothing_else_changes(tmp_path: Path) -> None:
    other, files = other_code(tmp_path / "other"), (tmp_path / BASELINE.name, tmp_path / RESULT.name)
    today = current(tmp_path / "today")
    for source, file in zip(today, files, strict=True):
        shutil.copy(source, file)
    code, said = carry(other, ROOT, *files)
    assert (code, said.count("carried over")) == (0, 2), said
    old, new = read_baseline(today[0]), read_baseline(files[0])
    for a, b in zip(old.scores, new.scores, strict=True):
        assert a.explainer.key != b.explainer.key
        assert a.scorer.key != b.scorer.key
        assert a.values == b.values
    for a, b in zip(read_file(today[1]), read_file(files[1]), strict=True):
        assert a.scorer.key != b.scorer.key
        assert (a.name, a.score, a.judge) == (b.name, b.score, b.judge)
    code, said = carry(ROOT, other, *files)
    assert (code, said.count("carried over")) == (0, 2), said
    assert [file.read_bytes() for file in files] == [file.read_bytes() for file in today]
    code, said = carry(ROOT, other, *files)
    assert (code, said.count("has the keys of today")) == (0, 2), said


def test_keys_that_the_old_code_does_not_give_are_left(tmp_path: Path) -> None:
    baseline, result = read_baseline(BASELINE), read_file(RESULT)
    files = (tmp_path / BASELINE.name, tmp_path / RESULT.name)
    first, row = baseline.scores[0], result[0]
    strange = first.model_copy(update={"scorer": first.scorer.model_copy(update={"key": "0" * 16})})
    write_baseline(baseline.model_copy(update={"scores": [strange, *baseline.scores[1:]]}), files[0])
    scorer = row.scorer.model_copy(update={"id": row.scorer.id.replace("@1-", "@0-"), "key": "0" * 16})
    write_file(files[1], [row.model_copy(update={"scorer": scorer}), *result[1:]])
    before = [file.read_bytes() for file in files]
    code, said = carry(ROOT, ROOT, *files)
    assert (code, said.count("left as it is")) == (1, 2), said
    assert "(0000000000000000) here" in said
    assert [file.read_bytes() for file in files] == before
