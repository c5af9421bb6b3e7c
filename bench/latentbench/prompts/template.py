"""Prompt templates: YAML data -> messages, filled in once.

A field is written `{{name}}`. Values are inserted in a single pass and never looked at again, because windows are code and
templates themselves often enough: `str.format` on a text that already contains a window would read its braces. Every field of
a template must be one that the task provides, which is checked when the task is loaded and not when the first prompt is built.

Order matters: what is equal for all latents comes first, then the explanation, then the windows. Judges that share the
computation of common prefixes are ten times as fast for it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from latentbench.kernel.errors import SpecError, UnknownName
from latentbench.kernel.latent import Window
from latentbench.kernel.requests import Message

FIELD = re.compile(r"\{\{\s*(\w+)\s*\}\}")
ROLES = ("system", "user", "assistant")
OPEN, CLOSE = "<<", ">>"
OPENING, CLOSING = re.compile(r"<(?=<)"), re.compile(r">(?=>)")


class Template:
    """A list of chat messages with fields.

    Args:
        messages: one-key mappings `{role: text}`, as in YAML.
        allowed: fields that the task provides.
        where: for errors.

    Raises:
        SpecError: an unknown role or field, or something that is no list of messages.
    """

    def __init__(self, messages: Any, allowed: Sequence[str], where: str) -> None:
        if not isinstance(messages, list) or not messages:
            raise SpecError(f"{where}: a prompt is a list of messages such as `- user: text`.")
        self._messages: list[tuple[str, str]] = []
        for message in messages:
            if not isinstance(message, Mapping) or len(message) != 1:
                raise SpecError(f"{where}: each message has one role and one text, not {message!r}.")
            role, text = next(iter(message.items()))
            if role not in ROLES or not isinstance(text, str):
                raise SpecError(f"{where}: message role {role!r} is not one of {', '.join(ROLES)} with a text.")
            check_fields(text, allowed, where)
            self._messages.append((role, text.strip("\n")))

    @property
    def lead(self) -> str:
        """Text of a trailing assistant message, which a reply continues; "" if there is none."""
        role, text = self._messages[-1]
        return text if role == "assistant" else ""

    def render(self, **values: str) -> tuple[Message, ...]:
        """The messages with every field replaced.

        Raises:
            KeyError: a field without a value: a fault of the task's code, not of the user.
        """
        return tuple(Message(role, fill(text, **values)) for role, text in self._messages)


def fill(text: str, /, **values: str) -> str:
    """Replace every field once by the value of its name; what is inserted is not read again.

    Raises:
        KeyError: a field without a value: a fault of the task's code, not of the user.
    """
    return FIELD.sub(lambda m: values[m[1]], text)


def check_fields(text: str, allowed: Sequence[str], where: str) -> None:
    """Refuse fields that the task does not provide, and braces that look like a field but are none.

    Raises:
        SpecError: naming the place and the field.
    """
    unknown = [name for name in FIELD.findall(text) if name not in allowed]
    unknown += re.findall(r"\{\{[^{}]*\}\}", FIELD.sub("", text))
    if unknown:
        raise SpecError(f"{where}: unknown field {unknown[0]!r}; the task provides {', '.join(allowed) or 'none'}.")


class Prompts:
    """The `prompts` section of a task file, read strictly: a key that the task does not use is an error.

    Args:
        where: for errors, such as "scorer 'detection'".
    """

    def __init__(self, data: Mapping[str, Any], allowed: Sequence[str], where: str) -> None:
        self._data, self._where = data, where
        for key in data:
            if key not in allowed:
                raise SpecError(f"{where}: " + str(UnknownName("prompt", str(key), allowed)))

    def messages(self, key: str, fields: Sequence[str]) -> Template:
        """A list of messages."""
        return Template(self._get(key), fields, f"{self._where}, prompts.{key}")

    def text(self, key: str, fields: Sequence[str] = ()) -> str:
        """One text with fields for `fill`."""
        value = self._get(key)
        if not isinstance(value, str):
            raise SpecError(f"{self._where}, prompts.{key}: expected a text, got {value!r}.")
        check_fields(value, fields, f"{self._where}, prompts.{key}")
        return value.strip("\n")

    def named(self, key: str, names: Sequence[str]) -> tuple[str, ...]:
        """Texts under exactly these names, in this order, such as the wording of the two answers."""
        value = self._get(key)
        if not isinstance(value, Mapping) or sorted(value) != sorted(names):
            raise SpecError(f"{self._where}, prompts.{key}: expected the keys {', '.join(names)}, got {value!r}.")
        texts = tuple(value[name] for name in names)
        if not all(isinstance(text, str) and text for text in texts) or len(set(texts)) < len(texts):
            raise SpecError(
                f"{self._where}, prompts.{key}: expected different texts (quote yes, no and numbers), got {value!r}."
            )
        return texts

    def _get(self, key: str) -> Any:
        if key not in self._data:
            raise SpecError(f"{self._where}: prompts.{key} is missing.")
        return self._data[key]


def marked(tokens: Sequence[str], marks: Sequence[bool]) -> str:
    """Text with `<<...>>` around each run of marked tokens; spaces before a run stay outside, line breaks inside.

    Two angle brackets in a row that belong to the text itself get a space between them (`cin >> x` becomes `cin > > x`), so
    that no reader takes them for a mark. The marks come from the suite's own token strings: nothing here asks a tokenizer,
    whose conventions change between releases.
    """
    out: list[str] = []
    for mark, run in groupby(zip(tokens, marks, strict=True), key=lambda pair: bool(pair[1])):
        text = CLOSING.sub("> ", OPENING.sub("< ", "".join(token for token, _ in run)))
        if not mark:
            # A bracket of the text that would touch a mark.
            text = (" " if out and text.startswith(">") else "") + text + (" " if text.endswith("<") else "")
            out.append(text)
            continue
        bare = text.lstrip(" ") or text
        before = text[: len(text) - len(bare)]
        bare = (" " if bare.startswith("<") else "") + bare + (" " if bare.endswith(">") else "")
        out.append(f"{before}{OPEN}{bare}{CLOSE}")
    return "".join(out)


def one_line(text: str) -> str:
    """A window on one line: line breaks become `⏎`, so that a list of windows keeps one line for each."""
    return text.replace("\r", "").replace("\n", "⏎").strip()


def active_marks(activations: Sequence[float], threshold: float) -> tuple[bool, ...]:
    """Which tokens fire with at least `threshold` times the window's maximum."""
    least = threshold * max(activations, default=0.0)
    return tuple(a > 0 and a >= least for a in activations)


def random_marks(window: Window, counts: Sequence[int], seed: int) -> tuple[bool, ...]:
    """Marks at random silent tokens of one window.

    Args:
        counts: numbers of marks to draw from; more than there are silent tokens marks all of them.
        seed: of this window alone.
    """
    rng = random.Random(seed)
    silent = [t for t, a in enumerate(window.activations) if a <= 0]
    places = set(rng.sample(silent, min(rng.choice(list(counts)), len(silent))))
    return tuple(t in places for t in range(len(window.tokens)))
