from __future__ import annotations

import json

import numpy as np
import pytest
from latentbench.kernel.errors import CorruptTable
from latentbench.kernel.files import write_json
from latentbench.kernel.requests import Outcome, Usage
from latentbench.runs.journal import Asked, Call
from latentbench.runs.record import Paid
from latentbench.runs.run_journals import judgement_journal
from latentbench.scorers.scorer import Judgement
from latentbench.views.number import finite


def judged(latent):
    return Asked("c", latent, "", (), Paid()), ()


def test_a_torn_last_line_is_owed_again(tmp_path):
    journal = judgement_journal(tmp_path)
    journal.append(judged("1"))
    journal.append(judged("2"))
    journal.close()
    with journal.path.open("ab") as f:
        f.write(b'{"cell": "c", "rows": [')
    assert [place.latent for place, _ in judgement_journal(tmp_path).units()] == ["1", "2"]
    again = judgement_journal(tmp_path)
    again.append(judged("3"))
    again.close()
    assert [place.latent for place, _ in again.units()] == ["1", "2", "3"]


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    journal = judgement_journal(tmp_path)
    for latent in ("1", "2", "3"):
        journal.append(judged(latent))
    journal.close()
    lines = journal.path.read_text(encoding="utf-8").splitlines()
    journal.path.write_text("\n".join([lines[0], "not json", lines[2]]) + "\n", encoding="utf-8")
    # Beside lines with checksums it is a damaged one, and owed again.
    assert [asked.latent for asked, _ in journal.units()] == ["1", "3"]
    assert journal.damaged == {2}
    plain = [json.dumps({k: v for k, v in json.loads(line).items() if k != "sum"}) for line in (lines[0], lines[2])]
    journal.path.write_text("\n".join([plain[0], "not json", plain[1]]) + "\n", encoding="utf-8")
    with pytest.raises(CorruptTable, match="line 2"):
        list(judgement_journal(tmp_path).units())


def test_numpy_scalars_are_written_as_numbers(tmp_path):
    journal = judgement_journal(tmp_path)
    found = Judgement("t", "", np.int64(3), "k", 1, Outcome.OK, score=np.float32(0.5))
    journal.append((Asked("c", "1", "h", (Call(Usage(), None),), Paid()), (found,)))
    journal.close()
    ((_, (judgement,)),) = journal.units()
    assert (judgement.score, judgement.item) == (0.5, 3)


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
