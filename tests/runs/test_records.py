from __future__ import annotations

import json

import numpy as np
import pytest
from latentbench.kernel.errors import CorruptTable
from latentbench.kernel.files import write_json
from latentbench.runs.journal import Journal, finite


def test_a_torn_last_line_is_owed_again(tmp_path):
    journal = Journal(tmp_path / "j.jsonl")
    journal.append({"unit": 1})
    journal.append({"unit": 2})
    journal.close()
    with journal.path.open("ab") as f:
        f.write(b'{"unit": 3, "rows": [')
    assert [u["unit"] for u in Journal(journal.path).units()] == [1, 2]
    again = Journal(journal.path)
    again.append({"unit": 3})
    again.close()
    assert [u["unit"] for u in again.units()] == [1, 2, 3]


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_text('{"unit": 1}\nnot json\n{"unit": 3}\n', encoding="utf-8")
    with pytest.raises(CorruptTable, match="line 2"):
        list(Journal(path).units())


def test_numpy_scalars_are_written_as_numbers(tmp_path):
    journal = Journal(tmp_path / "j.jsonl")
    journal.append({"x": np.float32(0.5), "n": np.int64(3)})
    journal.close()
    assert list(journal.units()) == [{"x": 0.5, "n": 3}]


def test_json_is_replaced_whole(tmp_path):
    path = tmp_path / "run.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1}


def test_not_a_number_becomes_null():
    assert finite(float("nan")) is None
    assert finite(float("inf")) is None
    assert finite(0.25) == 0.25
    assert finite(None) is None
