"""Control tokens that a text spells out, and corpora of chats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from latentbench.corpora.contexts import ContextSettings, Tally, contexts
from latentbench.corpora.corpus import anchored, corpus_identity, documents
from latentbench.corpora.corpus_spec import ChatCorpus
from latentbench.corpora.rows import Dialogue
from latentbench.kernel.errors import DataError, ModelError
from latentbench.kernel.requests import Message
from latentbench.models.language_model import Loaded

from tests.builders.tokenizers_of_bytes import tokenizer

SPELLED = "The token <|endoftext|> ends a text, and <|im_end|> a turn of the old town."
CHAT = Dialogue((Message("user", "Where does <|im_end|> stand?"), Message("assistant", "At the end.")))


def read(tokenizer: object, given: list[object], control: str = "keep") -> tuple[list[list[int]], Tally]:
    tally = Tally()
    settings = ContextSettings(256, 1, control)  # type: ignore[arg-type]
    found = [c.ids.tolist() for c in contexts(given, tokenizer, settings, tally=tally)]  # type: ignore[arg-type]
    return found, tally


def test_a_spelled_control_token_is_kept_read_as_text_or_dropped(tiny: Loaded) -> None:
    tok = tiny.tokenizer
    ends = {tok.convert_tokens_to_ids(t) for t in ("<|endoftext|>", "<|im_end|>")}
    kept, tally = read(tok, [SPELLED])
    assert [i for i in kept[0] if i in ends] == [tok.pad_token_id, tok.eos_token_id]
    assert kept[0] == tok(SPELLED, add_special_tokens=False)["input_ids"], "as it was read so far"
    assert tally.as_dict()["spelled_control_tokens"] == 2

    text, tally = read(tok, [SPELLED], "text")
    assert not ends & set(text[0])
    assert tok.decode(text[0]) == SPELLED, "nothing is lost"
    assert "spelled_control_tokens" not in tally.as_dict()

    dropped, tally = read(tok, [SPELLED], "drop")
    assert dropped[0] == [i for i in kept[0] if i not in ends]
    assert tally.as_dict()["spelled_control_tokens"] == 2


@pytest.mark.parametrize("control", ["keep", "text", "drop"])
def test_a_text_without_control_tokens_is_read_alike(tiny: Loaded, control: str) -> None:
    plain = "def count(words):\n    return <b>len</b>(words) | 漢字 <|"
    found, tally = read(tiny.tokenizer, [plain], control)
    assert found == [tiny.tokenizer(plain, add_special_tokens=False)["input_ids"]]
    assert "spelled_control_tokens" not in tally.as_dict()


def test_a_chat_is_laid_out_by_the_template_and_its_words_stay_words(tiny: Loaded) -> None:
    tok = tiny.tokenizer
    end = tok.convert_tokens_to_ids("<|im_end|>")
    for control in ("keep", "text"):
        ids, tally = read(tok, [CHAT], control)
        assert tok.decode(ids[0]) == (
            "<|im_start|>user\nWhere does <|im_end|> stand?<|im_end|>\n<|im_start|>assistant\nAt the end.<|im_end|>\n"
        )
        assert ids[0].count(end) == 2, "the template's own, and not the one in the question"
        assert ids[0][0] == tok.bos_token_id, "ChatML opens every turn with it"
        assert "spelled_control_tokens" not in tally.as_dict()
    assert end not in read(tok, [CHAT], "drop")[0][0]


def test_a_start_token_of_the_template_does_not_stand_twice() -> None:
    tok = tokenizer("llama")
    tok.chat_template = "<s>{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
    ids, _ = read(tok, [Dialogue((Message("user", "a river"),))])
    assert tok.bos_token_id not in ids[0]
    assert "a river" in tok.decode(ids[0])


def test_a_tokenizer_without_a_template_is_refused() -> None:
    with pytest.raises(ModelError, match="has no chat template"):
        read(tokenizer("gemma"), [CHAT])


def test_a_template_that_refuses_a_role_is_a_message() -> None:
    tok = tokenizer("gemma")
    tok.chat_template = "{{ raise_exception('no system role') }}"
    with pytest.raises(ModelError, match="refuses a chat of the roles user, assistant: no system role"):
        read(tok, [CHAT])


def test_a_chat_corpus_is_read_from_lines(tmp_path: Path) -> None:
    rows = [{"talk": [{"role": m.role, "content": m.content, "weight": 1} for m in CHAT.messages]}]
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    spec = anchored(ChatCorpus(path=("chats.jsonl",), messages_field="talk"), tmp_path)
    assert list(documents(spec)) == [CHAT]
    assert corpus_identity(spec) != corpus_identity(spec.model_copy(update={"messages_field": "other"}))


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "a text",
        [{"role": "user"}],
        [{"role": "user", "content": 3}],
        [{"role": "user", "content": "\ud800"}],
        ["a"],
    ],
)
def test_a_line_without_messages_is_named(tmp_path: Path, value: object) -> None:
    path = tmp_path / "chats.jsonl"
    good = {"messages": [{"role": "user", "content": "a"}]}
    path.write_text(json.dumps(good) + "\n" + json.dumps({"messages": value}) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"chats\.jsonl, line 2"):
        list(documents(ChatCorpus(path=(str(path),))))
