"""Rows taken apart for engines that read one place, or one text, at a time."""

from __future__ import annotations

import numpy as np
import pytest
from latentbench.judges.sequences import choice_rows, continuation_rows, paths, places, total
from latentbench.kernel.requests import Choice, Continuation, Message, Outcome, Reply
from latentbench.models.engine.choices import ChoiceRow
from latentbench.models.engine.wording import Wording

LEVELS = tuple(str(v) for v in range(11))
ASKED = Choice((Message("user", "The river"),), LEVELS, ("The\t", "?\nriver\t"), "\n")


@pytest.fixture
def wording(tiny) -> Wording:  # type: ignore[no-untyped-def]
    return Wording(tiny.tokenizer)


def row_of(found: list[ChoiceRow | Reply]) -> ChoiceRow:
    (row,) = found
    assert isinstance(row, ChoiceRow)
    return row


def test_the_paths_of_a_choice_are_its_prompts_with_its_answers(wording: Wording) -> None:
    found = paths(row_of(choice_rows(wording, [ASKED], 2048)))
    text = wording.render(ASKED.messages)
    expected = [
        text + before + answer + "\n" for before in ("The\t", "The\t?\nriver\t") for answer in LEVELS
    ]  # no answer of the first slot stands before the second
    assert [wording.tokenizer.decode(path.tokens) for path in found] == expected
    assert all(wording.decode(path.tokens[-path.count :]).strip() in LEVELS for path in found)


def test_a_place_stands_once_with_all_that_is_read_there(wording: Wording) -> None:
    row = row_of(choice_rows(wording, [ASKED], 2048))
    found = places(row.row)
    assert len({place.tokens for place in found}) == len(found)
    read = sorted(
        (k, place.tokens, token) for place in found for k, token in zip(place.readings, place.wanted, strict=True)
    )
    assert [k for k, _, _ in read] == list(range(len(row.row.at)))
    along = [
        (path.tokens[: len(path.tokens) - n], path.tokens[len(path.tokens) - n])
        for path in paths(row)
        for n in range(path.count, 0, -1)
    ]
    assert [(tokens, token) for _, tokens, token in read] == along


def test_a_continuation_is_one_path_of_separately_tokenised_parts(wording: Wording) -> None:
    row = row_of(continuation_rows(wording, [Continuation("The river", " rises in")], 2048))
    (path,) = paths(row)
    before, text = wording.raw(["The river"], start=True)[0], wording.raw([" rises in"], start=False)[0]
    assert (path.tokens, path.count) == (before + text, len(text))
    assert total(row, np.arange(len(text), dtype=np.float32)) == sum(range(len(text)))


def test_what_does_not_fit_or_is_empty_is_skipped_in_its_place(wording: Wording) -> None:
    size = len(wording.raw(["The river rises"], start=True)[0])
    asked = [
        Continuation("The river", " rises"),
        Continuation("The river", ""),
        Continuation("The river", " rises" * 9),
    ]
    found = continuation_rows(wording, asked, size + 1)
    assert isinstance(found[0], ChoiceRow)
    assert [isinstance(f, Reply) and f.outcome is Outcome.SKIPPED for f in found] == [False, True, True]
    assert "do not fit" in str(found[2].error if isinstance(found[2], Reply) else "")
    assert isinstance(choice_rows(wording, [Choice(ASKED.messages, ("", "a"))], 2048)[0], Reply)
