"""What is written of an explanation or a judgement is what is read back, through the file."""

from __future__ import annotations

import errno
import json
import math
import os
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from latentbench.explainers.explainer import Explanation
from latentbench.kernel.errors import CorruptTable, DataError
from latentbench.kernel.requests import Outcome, Usage
from latentbench.runs.journal import Asked, Call, JudgedUnit, Written
from latentbench.runs.record import Paid
from latentbench.runs.run_journals import explanation_journal, judgement_journal
from latentbench.scorers.scorer import Judgement

SAID = (("a", Outcome.OK, 0.25, 0, None), ("b", Outcome.API, None, None, "HTTP 500"))
FULL = Judgement("t/1", "written", 7, "random", 1, Outcome.OK, 0.25, 0, (0.5, 1.5), (0.0, 2.0), "odd", SAID)
BARE = Judgement("t/1", "", None, "random", 0, Outcome.API, error="HTTP 500")
PAID = Paid(calls=2, tokens_in=30, tokens_out=4, tokens_cached=1)


def judged(*rows: Judgement) -> JudgedUnit:
    calls = tuple(Call(Usage(10, 2, 1, 0.5), 0.01) for _ in rows)
    return Asked("a/b/c/0", "sae/1", "hash" if rows else "", calls, PAID), rows


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    "explanation",
    [
        Explanation("c/1", "Words for colours.", Outcome.OK, Usage(100, 10, 40, 1.5), None, {"gain": [1.0, 2.0]}),
        Explanation("c/1", "", note={}),
        Explanation("c/1", None, Outcome.REFUSAL, Usage(1, 2), "I cannot."),
    ],
)
def test_an_explanation_comes_back(explanation: Explanation, tmp_path: Path) -> None:
    journal = explanation_journal(tmp_path)
    unit = (Written("llm", "llm@1-0", "abc", 1, None, PAID), explanation)
    journal.append(unit)
    journal.close()
    assert list(explanation_journal(tmp_path).units()) == [unit]


def test_judgements_come_back(tmp_path: Path) -> None:
    journal = judgement_journal(tmp_path)
    journal.append(judged(FULL, BARE))
    journal.append(judged())
    journal.close()
    assert list(judgement_journal(tmp_path).units()) == [judged(FULL, BARE), judged()]


def test_every_field_of_a_judgement_has_its_place_in_the_line(tmp_path: Path) -> None:
    journal = judgement_journal(tmp_path)
    journal.append(judged(FULL))
    journal.close()
    (line,) = lines(journal.path)
    (row,) = line["rows"]  # type: ignore[misc]
    assert {field.name for field in fields(Judgement)} <= set(row)
    assert None not in row.values()


def test_a_score_without_a_number_is_null(tmp_path: Path) -> None:
    journal = judgement_journal(tmp_path)
    journal.append(judged(replace(FULL, score=math.nan)))
    journal.close()
    ((_, (judgement,)),) = journal.units()
    assert judgement.score is None


DAMAGE = pytest.mark.parametrize(
    "damage",
    ['{"cell": "a"}', "[1]", '{"cell": "a", "latent": "b", "rows": [1], "paid": {}}', "[" * 100_000],
    ids=["fields", "list", "row", "deep"],
)


def unsealed(path: Path) -> str:
    """The lines of a journal as an earlier version wrote them."""
    return re.sub(r',"sum":"[0-9a-f]{16}"\}$', "}", path.read_text(encoding="utf-8"), flags=re.MULTILINE)


@DAMAGE
def test_a_line_that_is_no_unit_is_named_in_a_journal_without_checksums(tmp_path: Path, damage: str) -> None:
    journal = judgement_journal(tmp_path)
    journal.append(judged(FULL))
    journal.close()
    journal.path.write_text(unsealed(journal.path) + damage + "\n", encoding="utf-8")
    with pytest.raises(CorruptTable, match="line 2 is no(t JSON| unit of a run).*delete that line"):
        list(journal.units())


@DAMAGE
def test_a_line_that_is_no_unit_is_owed_again_in_a_journal_with_checksums(tmp_path: Path, damage: str) -> None:
    journal = judgement_journal(tmp_path)
    for line in ("", damage + "\n"):
        journal.append(judged(FULL))
        journal.path.write_text(journal.path.read_text(encoding="utf-8") + line, encoding="utf-8")
    journal.close()
    assert list(journal.units()) == [judged(FULL), judged(FULL)]
    assert journal.damaged == {3}


def test_lines_of_an_earlier_version_are_read_and_gone_on_with(tmp_path: Path) -> None:
    journal = judgement_journal(tmp_path)
    journal.append(judged(FULL))
    journal.close()
    journal.path.write_text(unsealed(journal.path), encoding="utf-8")
    journal.append(judged(BARE))
    journal.close()
    assert list(judgement_journal(tmp_path).units()) == [judged(FULL), judged(BARE)]


def test_every_bit_that_flips_costs_units_and_changes_none(tmp_path: Path) -> None:
    written = [judged(FULL), judged(FULL, BARE), judged(BARE)]
    journal = judgement_journal(tmp_path)
    for unit in written:
        journal.append(unit)
    journal.close()
    whole = journal.path.read_bytes()
    # All eight bits of the ends of lines, where a line may lose its checksum or its end; one bit of every other byte.
    ends = {i for i, byte in enumerate(whole) if b"\n" in whole[max(0, i - 30) : i + 2] or byte == 10}
    for place in range(len(whole)):
        for bit in range(8) if place in ends else (place % 8,):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            journal.path.write_bytes(damaged)
            found = list(judgement_journal(tmp_path).units())
            assert all(unit in written for unit in found), (place, bit)
            assert 1 <= len(found) <= 3, (place, bit)


def test_a_full_disk_is_a_message_and_the_journal_ends_with_a_whole_line(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    journal = judgement_journal(tmp_path)
    journal.append(judged(FULL))
    write, room = os.write, [40]

    def full(file: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(file, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DataError, match=r"judgements\.jsonl cannot be written: No space left on device\. Free space"):
        journal.append(judged(BARE))
    monkeypatch.setattr(os, "write", write)
    assert journal.path.read_bytes().endswith(b"\n")
    journal.append(judged(BARE))
    journal.close()
    assert list(journal.units()) == [judged(FULL), judged(BARE)]
    assert not journal.damaged
