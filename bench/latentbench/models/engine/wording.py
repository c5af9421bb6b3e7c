"""Messages and answers -> token ids, for an in-process model.

An answer is tokenised behind the last characters of its prompt, and the tokens that come on top are the answer. Tokenising it
alone gives other tokens (a leading space, a start marker of the tokenizer), and then the log-probability is that of a text
which the model would never write there. Where the tokenizer would merge the answer with the prompt's last characters, there
is no boundary to read at; the prompt's tokens stay as they are and the answer is tokenised alone.

What a user or a suite wrote is text, also where it spells a control token: a window with `<|im_end|>` in it would otherwise end
its own message and put words into the judge's mouth. Only the chat template's own control tokens are control tokens.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from latentbench.kernel.errors import ModelError
from latentbench.kernel.identity import digest
from latentbench.kernel.requests import Message
from latentbench.models.engine.prefix import Tokens

TAIL = 48
"""Characters of the text before an answer that its tokenisation may depend on."""

OPEN, CLOSE = "\ufdd0", "\ufdd1"
"""Around what is text and nothing else inside a rendered prompt: characters that Unicode reserves for such uses."""

QUOTED = re.compile(f"{OPEN}(.+?){CLOSE}", re.DOTALL)

KNOWN_PAIRS = 200_000
"""Tokenised endings that are remembered."""

PLAIN = "role, colon, newline, content, blank line; the reply starts after `assistant:` and a newline"
"""How messages are written for a model without a chat template; part of the judge's identity."""

JOINED = "contents of the messages one after the other; the reply goes on with them"
"""How messages are written for a model that was trained on plain text; part of the judge's identity."""

STOPS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>")
"""Ends of an assistant's turn in common chat templates, besides the model's own end tokens."""


class Wording:
    """The text side of a model.

    Args:
        tokenizer: a transformers tokenizer.
        options: what its chat template is given beside the messages.
        kept: control tokens that `decode` leaves in a text.
        joined: write messages one after the other, whatever template there is.
    """

    def __init__(
        self,
        tokenizer: Any,
        options: Mapping[str, Any] | None = None,
        kept: Collection[str] = frozenset(),
        joined: bool = False,
    ) -> None:
        self.tokenizer, self._options, self._joined = tokenizer, dict(options or {}), joined
        self.template: str | None = None if joined else getattr(tokenizer, "chat_template", None)
        self.bos: int | None = tokenizer.bos_token_id
        control = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special}
        longest_first = sorted(control, key=lambda word: (-len(word), word))
        self._control = re.compile("|".join(map(re.escape, [*longest_first, OPEN, CLOSE])))
        hidden = [word for word in longest_first if word not in kept]
        self._hidden = re.compile("|".join(map(re.escape, hidden))) if len(hidden) < len(control) else None
        self._known: dict[tuple[str, str], Tokens] = {}

    @property
    def identity(self) -> str:
        """What decides the prompt's text beside the messages."""
        if self._joined:
            return f"joined:{digest(JOINED)}"
        return f"template:{digest(self.template)}" if self.template else f"plain:{digest(PLAIN)}"

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt's text, with what `quoted` marks; a trailing assistant message is left open for the reply to continue."""
        messages = [Message(m.role, self.quoted(m.content)) for m in messages]
        if self._joined:
            return "".join(m.content for m in messages)
        going_on = bool(messages) and messages[-1].role == "assistant"
        if self.template:
            from jinja2 import TemplateError

            try:
                text: str = self.tokenizer.apply_chat_template(
                    [{"role": m.role, "content": m.content} for m in messages],
                    tokenize=False,
                    add_generation_prompt=not going_on,
                    continue_final_message=going_on,
                    **self._options,
                )
            except TemplateError as e:
                raise ModelError(
                    f"the model's chat template refuses messages of the roles {[m.role for m in messages]}: {e}. Where it knows "
                    "no system role, add `system=merge` to the judge's reference."
                ) from e
            return text
        blocks = [f"{m.role}:\n{m.content}" for m in messages]
        return "\n\n".join(blocks if going_on else [*blocks, "assistant:\n"])

    def quoted(self, text: str) -> str:
        """The text with marks around whatever in it would be read as a control token."""
        return self._control.sub(lambda found: f"{OPEN}{found[0]}{CLOSE}", text)

    def prompts(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of rendered prompts. A template writes the start token itself; elsewhere it is added."""
        start = () if self.template or self.bos is None else (self.bos,)
        return [start + ids for ids in self._ids(texts)]

    def raw(self, texts: Sequence[str], start: bool) -> list[Tokens]:
        """Token ids of texts without control tokens, with the start token in front if `start` and the model has one."""
        first = (self.bos,) if start and self.bos is not None else ()
        return [first + ids for ids in self._ids([self.quoted(text) for text in texts])]

    def after(self, before: str, text: str) -> Tokens:
        """The tokens that `text` adds to a prompt that ends in `before`; both are as `render` and `quoted` leave them."""
        key = (before[-TAIL:], text)
        if key not in self._known:
            self.learn([key])
        return self._known[key]

    def learn(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Tokenise many (before, text) pairs at once, for `after` to find: one call of the tokenizer instead of thousands."""
        wanted = {(before[-TAIL:], text): None for before, text in pairs}
        todo = [key for key in wanted if key not in self._known]
        if len(self._known) > KNOWN_PAIRS:
            self._known.clear()
            todo = list(wanted)
        heads = {head: None for head, _ in todo}
        parts = dict(zip(heads, self._ids(list(heads)), strict=True))
        wholes = self._ids([head + text for head, text in todo])
        texts = {text: None for (_, text) in todo}
        alone = dict(zip(texts, self._ids(list(texts)), strict=True))
        for (head, text), whole in zip(todo, wholes, strict=True):
            before = parts[head]
            self._known[head, text] = whole[len(before) :] if whole[: len(before)] == before else alone[text]

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of generated tokens."""
        hide = self._hidden is None
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=hide, clean_up_tokenization_spaces=False)
        return text if self._hidden is None else self._hidden.sub("", text)

    def _ids(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of marked texts. Those without marks are one call of the tokenizer; others are put together from parts."""
        plain = [text for text in texts if OPEN not in text]
        found = iter(self._encode(plain, control=True))
        return [next(found) if OPEN not in text else self._parts(text) for text in texts]

    def _parts(self, text: str) -> Tokens:
        # `split` gives text and quoted text by turns.
        parts = QUOTED.split(text)
        outside, inside = self._encode(parts[::2], control=True), self._encode(parts[1::2], control=False)
        turns = [ids for pair in zip_longest(outside, inside, fillvalue=()) for ids in pair]
        return tuple(token for ids in turns for token in ids)

    def _encode(self, texts: Sequence[str], control: bool) -> list[Tokens]:
        if not texts:
            return []
        encoded = self.tokenizer(list(texts), add_special_tokens=False, split_special_tokens=not control)
        return [tuple(ids) for ids in encoded["input_ids"]]


def end_tokens(tokenizer: Any, generation: Any) -> frozenset[int]:
    """Tokens that end a reply.

    Args:
        generation: the model's transformers `GenerationConfig`, or None if it has none.
    """
    configured = generation.eos_token_id if generation is not None else None
    ids = set(configured) if isinstance(configured, list) else {configured}
    ids.add(tokenizer.eos_token_id)
    known = tokenizer.get_vocab()
    ids.update(known[s] for s in STOPS if s in known)
    return frozenset(int(i) for i in ids if i is not None)
