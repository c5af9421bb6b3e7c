"""Pages that are let go come again, and are not resident meanwhile."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from latentbench.kernel.mapped_pages import let_go

SIZE = 1 << 24


def resident_of_files() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("RssFile:")[2].split()[0]) << 10


@pytest.mark.skipif(sys.platform != "linux", reason="counts resident pages as Linux tells them")
def test_pages_are_let_go_and_come_again(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(SIZE, dtype=np.uint8))
    mapped = np.asarray(np.load(tmp_path / "a.npy", mmap_mode="r"))
    total = int(mapped.sum())
    read = resident_of_files()
    let_go(mapped[SIZE // 4 :])
    assert read - resident_of_files() > SIZE // 2
    assert int(mapped.sum()) == total


@pytest.mark.parametrize("array", [np.arange(9), np.arange(9)[::2], np.zeros(0), np.frombuffer(b"abc", np.uint8)])
def test_arrays_of_memory_stay_as_they_are(array):
    before = array.copy()
    let_go(array)
    assert np.array_equal(array, before)
