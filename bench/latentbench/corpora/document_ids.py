"""Documents -> token ids: what becomes of control tokens that a text spells out, and of chats.

A forum post about language models holds `<|endoftext|>`. The tokenizer reads it as the control token, which the subject knows as
the end of a text and not as nine characters, and some latents then fire on nothing as strongly. `keep` is what tokenizers do and
what suites were built with so far; `text` reads the characters, as judges here do; `drop` leaves the tokens out. Control tokens
that a chat template writes are the subject's own, and stay under `keep` and `text`; those inside of messages are text always.

A document may also be token ids. They must be ids of the subject's tokenizer, which is looked at and not believed: an id that it
does not have ends the pass, since ids of another vocabulary are text that nobody wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, Literal

import numpy as np

from latentbench.corpora.rows import Dialogue, Document, Tokens
from latentbench.kernel.errors import DataError, ModelError
from latentbench.models.engine.wording import Wording

Control = Literal["keep", "text", "drop"]

GROUP = 64
"""Documents tokenised at a time; the tokenizer works on a group in parallel."""


class Reading:
    """The reading of documents for one tokenizer.

    Args:
        tokenizer: a transformers tokenizer.
        control: what becomes of control tokens that a text spells out.

    Attributes:
        spelled: control tokens that texts held so far; they are in the ids under `keep` and left out under `drop`.
        vocabulary: size of the tokenizer, once it was asked about token ids.
        largest_id: largest of those ids.
        start_tokens: documents of ids whose start token was taken off.
    """

    def __init__(self, tokenizer: Any, control: Control = "keep") -> None:
        self._tokenizer, self._control = tokenizer, control
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self._special = np.array(sorted(i for i, t in added.items() if t.special), dtype=np.int64)
        self._wording: Wording | None = None
        self.spelled = 0
        self.vocabulary: int | None = None
        self.largest_id: int | None = None
        self.start_tokens: int | None = None
        self._read = 0

    def ids(self, documents: Iterator[Document]) -> Iterator[Tokens]:
        """Token ids of each document, int32, without the start token.

        Raises:
            DataError: a token id that the tokenizer does not have.
            ModelError: a chat, and a tokenizer without a chat template or with one that refuses it.
        """
        while group := list(islice(documents, GROUP)):
            texts = iter(self._texts([d for d in group if isinstance(d, str)]))
            for document in group:
                self._read += 1
                ids = self._of(document, texts)
                special = np.isin(ids, self._special)
                if isinstance(document, str):
                    self.spelled += int(special.sum())
                yield ids[~special] if self._control == "drop" else ids

    def _of(self, document: Document, texts: Iterator[Sequence[int]]) -> Tokens:
        match document:
            case str():
                return np.asarray(next(texts), dtype=np.int32)
            case Dialogue():
                return np.asarray(self._chat(document), dtype=np.int32)
        return self._checked(document)

    def _checked(self, ids: Tokens) -> Tokens:
        """Ids of a pre-tokenised document, without a start token."""
        size, largest = len(self._tokenizer), int(ids.max(initial=0))
        if largest >= size:
            raise DataError(
                f"document {self._read} of the corpus has token id {largest}; the subject's tokenizer has {size} tokens, "
                f"0 to {size - 1}. The ids are of another tokenizer: give the text, or ids of this one."
            )
        self.vocabulary, self.largest_id = size, max(self.largest_id or 0, largest)
        start = self._tokenizer.bos_token_id
        starts = len(ids) > 0 and start is not None and int(ids[0]) == start
        self.start_tokens = (self.start_tokens or 0) + starts
        return ids[1:] if starts else ids

    def _texts(self, texts: list[str]) -> Sequence[Sequence[int]]:
        if not texts:
            return []
        if self._control == "text":
            return self._worded().raw(texts, start=False)
        # verbose=False: a document longer than the subject's context is the normal case here, not worth a warning.
        found: list[list[int]] = self._tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        return found

    def _chat(self, document: Dialogue) -> Sequence[int]:
        from jinja2 import TemplateError

        wording = self._worded()
        if not wording.template:
            raise ModelError(
                "the corpus is a corpus of chats, and the subject's tokenizer has no chat template to lay them out with. Use a "
                "chat model, or a corpus of text."
            )
        said = [{"role": m.role, "content": wording.quoted(m.content)} for m in document.messages]
        try:
            text = self._tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=False)
        except TemplateError as e:
            roles = ", ".join(dict.fromkeys(m.role for m in document.messages))
            raise ModelError(f"the subject's chat template refuses a chat of the roles {roles}: {e}.") from e
        ids = wording.prompts([text])[0]
        # The pass puts the start token in front of every context itself.
        return ids[1:] if self._starts and ids[:1] == (self._tokenizer.bos_token_id,) else ids

    @cached_property
    def _starts(self) -> bool:
        """Whether the template writes the start token once, and not at every turn (ChatML, where it opens them)."""
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        text: str = self._tokenizer.apply_chat_template(turns, tokenize=False)
        start = self._tokenizer.bos_token
        return bool(start) and text.startswith(start) and text.count(start) == 1

    def _worded(self) -> Wording:
        if self._wording is None:
            self._wording = Wording(self._tokenizer)
        return self._wording
