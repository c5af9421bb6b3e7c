"""Prompt templates and highlights."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from latentbench.kernel.errors import SpecError
from latentbench.prompts.template import Prompts, Template, fill, marked, one_line


def test_braces_of_a_window_are_not_fields() -> None:
    template = Template([{"user": "{{explanation}} | {{window}}"}], ("explanation", "window"), "here")
    (message,) = template.render(explanation="{{window}} {0}", window="f'{x}' {{explanation}}")
    assert message.content == "{{window}} {0} | f'{x}' {{explanation}}"


def test_unknown_field_names_place_and_field() -> None:
    with pytest.raises(SpecError, match=r"my\.yaml: unknown field 'windw'; the task provides window"):
        Template([{"user": "{{windw}}"}], ("window",), "my.yaml")
    with pytest.raises(SpecError, match="unknown field"):
        Template([{"user": "{{win dow}}"}], ("window",), "my.yaml")


@pytest.mark.parametrize("bad", ["text", [], [{"user": "a", "system": "b"}], [{"robot": "a"}], [{"user": 1}]])
def test_what_is_no_list_of_messages_is_refused(bad: object) -> None:
    with pytest.raises(SpecError, match="here"):
        Template(bad, (), "here")


def test_prompt_sections_are_strict() -> None:
    with pytest.raises(SpecError, match=r"unknown prompt 'lisst'.*'list'"):
        Prompts({"lisst": []}, ("list",), "scorer 'x'")
    with pytest.raises(SpecError, match=r"prompts\.list is missing"):
        Prompts({}, ("list",), "scorer 'x'").messages("list", ())
    # Unquoted `Yes` in YAML is a boolean.
    with pytest.raises(SpecError, match="quote yes, no"):
        Prompts({"answers": {"active": True, "inactive": "No"}}, ("answers",), "s").named(
            "answers", ("inactive", "active")
        )


def test_adjacent_marks_are_one_span() -> None:
    assert marked([" the", " old", " town"], [False, True, True]) == " the <<old town>>"
    assert marked(["a", "b", "c"], [True, False, True]) == "<<a>>b<<c>>"


def test_highlights_vanish() -> None:
    """No mark is lost, also on white space, and none comes from the text itself."""
    assert marked(["a", "\n", "b"], [False, True, False]) == "a<<\n>>b"
    assert marked([" "], [True]) == "<< >>"
    assert marked(["cin", " >>", " x"], [False, False, True]) == "cin > > <<x>>"
    assert marked(["<", "<", "a"], [False, False, False]) == "< <a"
    assert marked(["<", "a", ">"], [False, True, False]) == "< <<a>> >"


@given(st.lists(st.tuples(st.text("<> \nab", min_size=1, max_size=3), st.booleans()), min_size=1, max_size=12))
def test_every_run_of_marks_is_one_span(pairs: list[tuple[str, bool]]) -> None:
    tokens, marks = [t for t, _ in pairs], [m for _, m in pairs]
    runs = sum(m and (i == 0 or not marks[i - 1]) for i, m in enumerate(marks))
    text = marked(tokens, marks)
    assert text.count("<<") == text.count(">>") == runs
    whole = "".join(tokens)
    assert text.count("<") == whole.count("<") + 2 * runs
    assert text.count(">") == whole.count(">") + 2 * runs
    assert [c for c in text if c in "ab\n"] == [c for c in whole if c in "ab\n"]


def test_a_window_stays_on_one_line() -> None:
    assert one_line("a\nb\r\nc ") == "a⏎b⏎c"


def test_fill_replaces_once() -> None:
    assert fill("{{ a }}{{b}}", a="{{b}}", b="x") == "{{b}}x"
