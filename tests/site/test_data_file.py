"""A data file: whatever stands in it, it is one call with one value, and a text that cannot be seen is its code."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from latentbench.kernel.requests import Outcome
from latentbench.site.data_file import data_file, plain_data
from latentbench.views.escape import UNSEEN

from tests.builders.site_runs import HOSTILE


def read(text: str) -> Any:
    assert text.startswith("latentbench(...")
    assert text.endswith(")\n")
    return json.loads(text[len("latentbench(...") : -2])


def test_nothing_in_a_file_can_end_the_script_or_open_a_tag() -> None:
    text = data_file(HOSTILE, {HOSTILE: [HOSTILE]})
    assert not set("<>&\u2028\u2029\u202e\x1b\x00") & set(text)
    name, value = read(text)
    assert name == HOSTILE.replace("\x1b", "\\u001b").replace("\u202e", "\\u202e").replace("\u202c", "\\u202c").replace(
        "\u2028", "\\u2028"
    ).replace("\x00", "\\u0000")
    assert value == {name: [name]}


@given(st.text())
def test_any_text_is_read_back_as_it_is_seen(text: str) -> None:
    (_, value) = read(data_file("x", text))
    assert UNSEEN.search(value) is None
    if not UNSEEN.search(text) and "\r" not in text and "//" not in text:
        assert value == text


def test_values_have_one_form() -> None:
    @dataclass(frozen=True)
    class Pair:
        a: float
        b: Outcome

    held = Pair(1 / 3, Outcome.OK)
    assert plain_data([held, math.nan, math.inf, True, 3]) == [{"a": 0.333333, "b": "ok"}, None, None, True, 3]
    with pytest.raises(TypeError, match="object has no form"):
        plain_data(object())
