"""The check of a release finds what must not be in one."""

from __future__ import annotations

import zipfile
from pathlib import Path

from tests.packaging.release_check import MOST, WHEEL, faults


def wheel(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, b"x")


def test_missing_files_tests_weights_and_size_are_each_told(tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "latentbench-0.1.0-py3-none-any.whl"
    wheel(file, *WHEEL)
    assert not [said for said in faults(tmp_path) if said.startswith("latentbench-0")]
    wheel(file, *WHEEL[1:], "tests/test_x.py", "latentbench/__pycache__/x.pyc", "latentbench/w.safetensors")
    monkeypatch.setitem(MOST, "latentbench-*.whl", 10)
    said = "\n".join(faults(tmp_path))
    for part in (
        f"lacks {WHEEL[0]}",
        "holds tests/test_x.py",
        "__pycache__",
        "holds weights",
        "10 are allowed",
        "has 0",
    ):
        assert part in said, part
