"""What encloses an answer is taken off, and what stands inside it, or encloses a part of it, stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from latentbench.explainers.explainer import Explanation, first_paragraph, load_explainer
from latentbench.kernel.requests import Outcome, Usage
from latentbench.prompts.answers import read_number, read_word, unwrapped, word
from latentbench.runs.explaining import explainer_exchange, explanation_of
from latentbench.suites.store import load_suite

(LATENT, *_) = load_suite("planted-1").latents(split="test", limit=1)


def read(text: str, lead: str = "", cut: bool = False) -> Explanation:
    return first_paragraph(LATENT, text, Usage(), lead, cut)


@pytest.mark.parametrize(
    "text",
    [
        "Words for x.",
        "**Explanation:** Words for x.",
        "**Explanation**: Words for x.",
        "**Explanation: Words for x.**",
        "**Explanation: Words for x.**\n\nLet me know if that helps.",
        "Explanation:\n\nWords for x.",
        "## Explanation\nWords for x.",
        "The final explanation - Words for x.",
        "[EXPLANATION] Words for x.",
        "** Words for x.",
        'Explanation: "Words for x."',
        "“Words for x.”",
        "***Words for x.***",
        "`Words for x.`",
        "```\nWords for x.\n```",
        "```text\nWords for x.\n```\nThis is what I found.",
        "Explanation:\n```\nWords for x.\n```",
        '{"explanation": "Words for x."}',
        '{"reasoning": "They are x.", "explanation": "Words for x."}',
        '{"text": "Words for x.", "confidence": 0.9}\n\nHope this helps.',
        '```json\n{\n  "explanation": "**Explanation:** Words\\nfor x."\n}\n```',
        '"Words for x."',
    ],
)
def test_a_label_or_wrapper_is_no_part_of_an_explanation(text: str) -> None:
    assert read(text).text == "Words for x."


@pytest.mark.parametrize(
    "text",
    [
        '"the" and "a"',
        '"Explanation:" before a text',
        "*args and **kwargs",
        "The operator **",
        "Code in ```fences``` and `ticks`",
        "{ and } of code",
        '{"a": "x", "b": "y"} and other JSON',
        '{"first": "x", "second": "y"}',
        "Explanations of physics: formulas",
        "Descriptions, such as summary: text",
        "_private names_",
        "Words for <b>x</b> & [INST]",
    ],
)
def test_nothing_inside_an_explanation_is_touched(text: str) -> None:
    assert read(text).text == text


def test_a_sentence_that_the_prompt_began_keeps_its_quotation_marks_and_a_text_of_its_own_its_beginning() -> None:
    assert read('"plum"', lead="The words are").text == 'The words are "plum"'
    assert read("**Explanation:** Plums.", lead="The words are").text == "Plums."


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ('{"explanation": "Words for x. And wor', "Words for x."),
        ("```\nWords for x. And wor", "Words for x."),
        ('**Explanation:** "Words for x. And wor', "Words for x."),
        ("**Words for x. And wor", "Words for x."),
        ('{"explanation": "Wor', None),
    ],
)
def test_what_was_opened_and_cut_off_encloses_too(text: str, whole: str | None) -> None:
    found = read(text, cut=True)
    assert found.text == whole
    assert found.outcome is (Outcome.OK if whole else Outcome.PARSE)


def test_a_label_alone_and_half_of_a_pair_in_json_are_no_explanations() -> None:
    assert read("**Explanation:**").error == "empty answer"
    assert "half of a surrogate pair" in (read('{"explanation": "a \\ud83d b"}').error or "")


def test_control_characters_are_kept_as_their_codes_whoever_wrote_them(tmp_path: Path) -> None:
    assert read("NUL \x00, ESC \x1b[31m").text == "NUL \\u0000, ESC \\u001b[31m"
    table = tmp_path / "texts.csv"
    table.write_bytes(f'latent,text\n{LATENT.id},"a\x00b\tc\nd"\n'.encode())
    explainer = load_explainer({"use": "file", "params": {"path": str(table)}})
    found = explanation_of(explainer, LATENT, explainer_exchange(explainer, LATENT, 0), 0, {})
    assert found.text == "a\\u0000b\tc\nd"


@pytest.mark.parametrize(
    "text",
    ["Yes", "```\nYes\n```", "```Yes.```", '{"answer": "Yes"}', '```json\n{"answer": "yes"}\n```', "~~~\nYes\n~~~"],
)
def test_a_word_in_a_fence_or_in_the_only_field_of_an_object_is_read(text: str) -> None:
    assert read_word(text, ("No", "Yes")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "```\nYes",
        "```\nYes\n```\n```\nNo\n```",
        "```\nYes\n```\nNo",
        '{"answer": true}',
        '{"answer": "Yes", "confidence": 0.9}',
        '{"answer": "Yes", "answer": "No"}',
        '{"answer": {"answer": "Yes"}}',
        '{"answer": "Yes"} {"answer": "No"}',
        '{"Yes": "No", "No": "Yes"}',
        "Explanation: Yes",
    ],
)
def test_what_may_mean_something_else_is_not_read(text: str) -> None:
    assert read_word(text, ("No", "Yes")) is None


def test_a_number_in_an_object_is_read_whatever_its_name() -> None:
    assert read_number('{"text1": 2}', ("1", "2", "3")) == 2
    assert read_number("```\n3\n```", ("1", "2", "3")) == 3
    assert read_number('{"answer": 2.5}', ("1", "2", "3")) is None


def test_deep_json_is_a_text() -> None:
    deep = '{"a":' * 100_000
    assert word(deep) == deep == unwrapped(deep)
