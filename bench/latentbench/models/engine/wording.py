"""Messages and answers -> token ids, for an in-process model.

An answer is tokenised behind the last characters of its prompt, and the tokens that come on top are the answer. Tokenising it
alone gives other tokens (a leading space, a start marker of the tokenizer), and then the log-probability is that of a text
which the model would never write there. Where the tokenizer would merge the answer with the prompt's last characters, there
is no boundary to read at; the prompt's tokens stay as they are and the answer is tokenised alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from latentbench.kernel.identity import digest
from latentbench.kernel.requests import Message
from latentbench.models.engine.prefix import Tokens

TAIL = 48
"""Characters of the text before an answer that its tokenisation may depend on."""

KNOWN_PAIRS = 200_000
"""Tokenised endings that are remembered."""

PLAIN = "role, colon, newline, content, blank line; the reply starts after `assistant:` and a newline"
"""How messages are written for a model without a chat template; part of the judge's identity."""

STOPS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>")
"""Ends of an assistant's turn in common chat templates, besides the model's own end tokens."""


class Wording:
    """The text side of a model.

    Args:
        tokenizer: a transformers tokenizer.
        options: what its chat template is given beside the messages.
    """

    def __init__(self, tokenizer: Any, options: Mapping[str, Any] | None = None) -> None:
        self.tokenizer, self._options = tokenizer, dict(options or {})
        self.template: str | None = getattr(tokenizer, "chat_template", None)
        self.bos: int | None = tokenizer.bos_token_id
        self._known: dict[tuple[str, str], Tokens] = {}

    @property
    def identity(self) -> str:
        """What decides the prompt's text beside the messages."""
        return f"template:{digest(self.template)}" if self.template else f"plain:{digest(PLAIN)}"

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt's text; a trailing assistant message is left open for the reply to continue."""
        going_on = bool(messages) and messages[-1].role == "assistant"
        if self.template:
            text: str = self.tokenizer.apply_chat_template(
                [{"role": m.role, "content": m.content} for m in messages],
                tokenize=False,
                add_generation_prompt=not going_on,
                continue_final_message=going_on,
                **self._options,
            )
            return text
        blocks = [f"{m.role}:\n{m.content}" for m in messages]
        return "\n\n".join(blocks if going_on else [*blocks, "assistant:\n"])

    def prompts(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of rendered prompts. A template writes the start token itself; elsewhere it is added."""
        start = () if self.template or self.bos is None else (self.bos,)
        return [start + ids for ids in self._ids(texts)]

    def raw(self, texts: Sequence[str], start: bool) -> list[Tokens]:
        """Token ids of raw texts, with the start token in front if `start` and the model has one."""
        first = (self.bos,) if start and self.bos is not None else ()
        return [first + ids for ids in self._ids(texts)]

    def after(self, before: str, text: str) -> Tokens:
        """The tokens that `text` adds to a prompt that ends in `before`."""
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
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _ids(self, texts: Sequence[str]) -> list[Tokens]:
        if not texts:
            return []
        return [tuple(ids) for ids in self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]]


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
