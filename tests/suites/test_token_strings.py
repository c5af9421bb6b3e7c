"""Token strings of windows that are cut inside characters, and of tokenizers that write characters as bytes."""

from __future__ import annotations

import json
import unicodedata

import pytest
import yaml
from latentbench.suites.build.build import build_suite
from latentbench.suites.build.byte_tokens import ByteTokens
from latentbench.suites.build.suite_recipe import anchored_recipe, load_recipe
from latentbench.suites.build.token_strings import CUT, TokenStrings

from tests.builders.tokenizers_of_bytes import TEXTS, mixed, subject_folder, tokenizer

FAMILIES = ("gemma", "llama", "gpt2")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def tok(family):
    return tokenizer(family)


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_a_whole_text_is_shown_as_it_is(tok, text):
    ids = tok(text, add_special_tokens=False)["input_ids"]
    assert len(ids) > len(text.split()) * 2, "the characters have no pieces of their own"
    strings = TokenStrings(tok).of([ids])[0]
    assert len(strings) == len(ids)
    assert "".join(strings) == text


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_a_window_at_any_place_loses_the_cut_characters_only(tok, family, text):
    ids = tok(text, add_special_tokens=False)["input_ids"]
    windows = [ids[a : a + 7] for a in range(len(ids))]
    for a, (window, strings) in enumerate(zip(windows, TokenStrings(tok).of(windows), strict=True)):
        assert len(strings) == len(window)
        shown = "".join(strings)
        inside = shown.strip(CUT)
        assert CUT not in inside, "what is lost lies at the edges"
        assert inside in text or inside.strip(" ") in text
        # A character has four bytes at most, so a cut one leaves three at most on each side.
        most = 1 if family != "gpt2" else 3
        assert len(shown) - len(shown.lstrip(CUT)) <= most if inside else len(shown) <= 2 * most
        assert len(shown) - len(shown.rstrip(CUT)) <= most if inside else True
        if a == 0:
            assert not shown.startswith(CUT)


def test_whole_windows_are_what_the_library_decodes(tok):
    """Byte for byte: suites without cut characters keep their digests."""
    ids = tok("A town by the river, 1897. def count(words):\n", add_special_tokens=False)["input_ids"]
    windows = [ids[a : a + 5] for a in range(len(ids))]
    assert not any(ByteTokens(tok).torn(w) for w in windows)
    for window, strings in zip(windows, TokenStrings(tok).of(windows), strict=True):
        assert "".join(strings) == tok.decode(window, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("char", ["é", "国", "ﷺ", "🎉", "\U0010fffd", "\ufffd"])
def test_every_cut_through_one_character_between_others(char):
    tok = tokenizer("gemma")
    before, middle, after = (tok(t, add_special_tokens=False)["input_ids"] for t in ("中", char, "文"))
    assert len(middle) == len(char.encode())
    for k in range(1, len(middle)):
        head = TokenStrings(tok).of([before + middle[:k]])[0]
        tail = TokenStrings(tok).of([middle[k:] + after])[0]
        assert "".join(head) == "中" + CUT
        assert "".join(tail) == CUT + "文"
        assert [i for i, s in enumerate(head) if s] == [2, 2 + k], "the last token of a character carries it"
    assert "".join(TokenStrings(tok).of([before + middle + after])[0]) == "中" + char + "文"


def test_bytes_that_are_no_utf8_are_one_sign_each_and_nothing_else_is_lost():
    tok = tokenizer("gemma")
    token = tok.convert_tokens_to_ids
    ids = [token(f"<0x{b:02X}>") for b in (0xFF, 0x41, 0xC0, 0xED, 0xA0, 0x80, 0x01, 0xE4, 0xB8, 0xAD)]
    assert "".join(TokenStrings(tok).of([ids])[0]) == "\ufffdA\ufffd\ufffd\x01中"


def test_names_of_bytes_that_are_ordinary_words_are_left_alone():
    class Words:
        def get_vocab(self):
            return {f"<0x{b:02X}>": b for b in range(256)}

        def decode(self, ids, **kwargs):
            return "".join(f"<0x{i:02X}>" for i in ids)

    assert ByteTokens(Words()).torn([0xE4, 0xB8]) == []


@pytest.mark.parametrize("start", ["gemma", "llama"])
def test_a_suite_over_many_scripts_shows_its_text(start, tmp_path):
    """With a start token and without one; the windows are those of the corpus, and only characters at their edges are cut."""
    subject_folder(tmp_path / "subject", start)
    texts = [mixed(seed, 60) for seed in range(40)]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (tmp_path / "corpus.jsonl").write_text(lines, encoding="utf-8")
    recipe = {
        "name": "scripts",
        "version": "1-0",
        "subject": {"model": "subject", "dtype": "float32"},
        "corpus": {"kind": "jsonl", "path": "corpus.jsonl"},
        "context": 64,
        "window": 16,
        "min_windows": 5,
        "strata": 1,
        "promoted": 3,
        "explain": {"n": 5},
        "test": {"positives_per_decile": 1, "negatives": 5},
        "coders": [
            {"coder": {"name": "r", "format": "random", "hookpoint": "layers.1", "k": 2, "n_latents": 16}, "latents": 8}
        ],
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    suite = build_suite(
        anchored_recipe(load_recipe(tmp_path / "recipe.yaml"), tmp_path), tmp_path / "out", tmp_path / "w"
    )
    windows = [w for view in suite.latents() for w in (*view.explain, *view.test)]
    cut = 0
    for window in windows:
        inside = window.text.strip(CUT)
        assert CUT not in inside
        assert len(window.text) - len(inside) <= 2
        assert any(inside.strip() in text for text in texts)
        cut += window.text.count(CUT)
    assert 0 < cut <= len(windows)
    assert any(unicodedata.name(c, "").startswith("CJK") for w in windows for c in w.text)
    assert suite.manifest["tokens_cut"] == cut
    one = suite.latents()[0]
    assert one.explain[0].ids, "ids are kept whatever can be shown of them"
