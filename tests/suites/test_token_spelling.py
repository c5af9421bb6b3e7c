"""Tokens that a file has as the vocabulary spells them are shown to judges as the text that they mean."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from latentbench.suites.imported.foreign_formats import read_source
from latentbench.suites.imported.import_options import ImportOptions
from latentbench.suites.imported.import_suite import ImportSettings, import_suite
from latentbench.suites.imported.token_spelling import Spelling, as_text, spelling_of
from latentbench.suites.store import Suite

from tests.builders.foreign_activations import neuronpedia
from tests.builders.tokenizers_of_bytes import TEXTS, Family, tokenizer

SPELLED = {Spelling.SENTENCEPIECE: "\u2581", Spelling.BYTE_LEVEL: "\u0120"}


def imported(folder: Path, out: Path) -> Suite:
    source = read_source(folder, "neuronpedia", ImportOptions())
    return import_suite(source, ImportSettings(name="imported"), out)


@pytest.mark.parametrize("spelling", SPELLED)
def test_an_export_with_a_vocabulary_s_spelling_gives_the_suite_of_its_text(spelling: Spelling, tmp_path: Path) -> None:
    def spelled(value: Any) -> Any:
        if isinstance(value, list):
            return [spelled(v) for v in value]
        return value.replace(" ", SPELLED[spelling]) if isinstance(value, str) else value

    plain = neuronpedia(tmp_path / "plain")
    other = neuronpedia(tmp_path / "spelled")
    for path in other.rglob("batch-*.jsonl.gz"):
        rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()]
        rows = [{k: spelled(v) if k in ("tokens", "pos_str", "neg_str") else v for k, v in r.items()} for r in rows]
        path.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode("utf-8")))
    one, two = imported(plain, tmp_path / "a"), imported(other, tmp_path / "b")
    assert two.latent_table.equals(one.latent_table)
    assert [w.text for v in two.latents() for w in v.test] == [w.text for v in one.latents() for w in v.test]
    assert f"a {spelling} vocabulary" in two.manifest["source"]["tokens"]
    assert "tokens" not in one.manifest["source"]


def test_what_a_text_may_hold_is_not_taken_for_a_spelling() -> None:
    assert spelling_of([" the", "\u2581", "\u0120a"]) is Spelling.PLAIN, "a source with blanks"
    assert spelling_of(["the", "cat"]) is Spelling.PLAIN
    assert spelling_of(["\u0120the", "\u4e2d"]) is Spelling.PLAIN, "a character that no byte is spelled as"
    assert spelling_of(["\u2581the", "\u0120"]) is Spelling.SENTENCEPIECE
    assert spelling_of(["the", "\u0120cat"]) is Spelling.BYTE_LEVEL


def test_characters_of_several_tokens_stand_on_their_last_one() -> None:
    pieces = ["<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "\u2581a", "<0x0A>", "<0xE4>", "b", "<0xB8>"]
    got = as_text(pieces, Spelling.SENTENCEPIECE)
    assert got == ("", "", "", "\U0001f600", " a", "\n", "\ufffd", "b", "\ufffd"), "cut characters are one U+FFFD each"
    # Bytes of the same emoji and of an e with an acute accent, as GPT-2 spells them.
    levelled = ["\u0120\u00f0\u0141", "\u013a\u0122", "\u00c3\u00a9"]
    assert as_text(levelled, Spelling.BYTE_LEVEL) == (" ", "\U0001f600", "\u00e9")
    assert as_text(["\u00c3"], Spelling.BYTE_LEVEL) == ("\ufffd",)
    assert as_text([], Spelling.BYTE_LEVEL) == ()


@pytest.mark.parametrize("family", ["gpt2", "gemma"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_what_a_tokenizer_spells_is_read_as_its_text(family: Family, text: str) -> None:
    made = tokenizer(family)
    names = made.convert_ids_to_tokens(made(f"a {text}", add_special_tokens=False).input_ids)
    assert "".join(as_text(names, spelling_of(names))) == f"a {text}"
