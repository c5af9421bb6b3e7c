from __future__ import annotations

import pytest
from latentbench.kernel.errors import SpecError
from latentbench.suites.planted.rules import matches, tokenise

LISTS = {"colours": ["red", "Blue"]}


def hits(rule, text, source=""):
    document = tokenise(text, source)
    return [t for t, m in zip(document.bare, matches(rule, document, LISTS), strict=True) if m]


@pytest.mark.parametrize(
    "text",
    ["It's 12,000.5 — don't!", "def word_count(x):\n    return x\n", "naïve café 東京", "  leading and trailing  ", ""],
)
def test_tokens_lose_nothing(text):
    assert "".join(tokenise(text).tokens) == text


def test_words_numbers_and_signs_are_whole_tokens():
    assert tokenise("It's 12,000 in word_count(x).").bare == ("It's", "12,000", "in", "word_count", "(", "x", ")", ".")


def test_each_rule_on_sentences_worked_by_hand():
    assert hits({"words": "$colours"}, "A red door, a Blue sky, redder.") == ["red", "Blue"]
    assert hits({"regex": "[A-Z]{2,}"}, "The NASA and A Nasa") == ["NASA"]
    assert hits({"number": {"min": 1000, "max": 2099, "digits": 4}}, "in 1897, 12,000 and 2500 or 1,999") == ["1897"]
    assert hits({"number": {"min": 100, "max": 1e6}}, "99 or 12,000") == ["12,000"]
    assert hits({"sentence_start": True}, 'One two. "Three four"\nfive six? seven') == ["One", "Three", "five", "seven"]
    assert hits({"after": {"words": ["the"]}}, "the cat and The dog") == ["cat", "dog"]
    assert hits({"before": {"words": ["of"]}}, "a cup of tea of mine") == ["cup", "tea"]
    assert hits({"near": {"rule": {"words": ["x"]}, "distance": 2}}, "a b c x d e f") == ["b", "c", "x", "d", "e"]
    assert hits({"all": [{"regex": "[a-z]+"}, {"not": {"words": "$colours"}}]}, "red door") == ["door"]
    assert hits({"any": [{"words": ["a"]}, {"words": ["b"]}]}, "a b c") == ["a", "b"]


def test_the_neighbour_of_a_pair_is_not_one_of_the_pair():
    assert hits({"after": {"words": "$colours"}}, "red blue house") == ["house"]


def test_source_and_code_hold_for_the_whole_document():
    rule = {"all": [{"words": ["salt"]}, {"source": "recipe"}]}
    assert hits(rule, "salt and salt", "chat: a recipe") == ["salt", "salt"]
    assert hits(rule, "salt and salt", "chat: a poem") == []
    code = "def f(x):\n    return x\n"
    assert hits({"all": [{"words": ["return"]}, {"source": "code"}]}, code) == ["return"]
    assert hits({"source": "code"}, "I return\nto the class again") == []


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"word": ["a"]}, "unknown rule 'word'"),
        ({}, "one key"),
        ({"regex": "(a|b"}, "'\\(a|b' is no regular expression"),
        ({"regex": "a{99999999999999999999}"}, "is no regular expression"),
        ({"regex": 3}, "'3' is no regular expression"),
        ({"near": {"rule": {"words": ["x"]}, "distance": 2**40}}, "the distance of `near` is 0 to 10,000 tokens"),
        ({"near": {"rule": {"words": ["x"]}, "distance": -1}}, "the distance of `near` is 0 to 10,000 tokens"),
        ({"words": "$colors"}, r"no word list named '\$colors'"),
    ],
)
def test_a_rule_outside_the_language_is_named(rule, message):
    with pytest.raises(SpecError, match=message):
        matches(rule, tokenise("a"), LISTS)
