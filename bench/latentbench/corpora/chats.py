"""Documents that are chats: messages in the words of the subject's own chat template.

    {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}

A chat model has hardly seen text without its template, so a corpus of messages is laid out by it. Joining the messages with line
breaks needs no template, and gives text that the subject never reads; a tokenizer without one is refused instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from latentbench.corpora.corpus_files import files, read_objects
from latentbench.corpora.corpus_spec import ChatCorpus
from latentbench.corpora.rows import Dialogue, Placed
from latentbench.kernel.errors import DataError
from latentbench.kernel.inputs import SURROGATE
from latentbench.kernel.requests import Message


def chats(spec: ChatCorpus) -> Iterator[Placed]:
    """The chats of a corpus in order, each with its place.

    Raises:
        DataError: a file is missing or broken, or a line holds no messages; the message names file and line.
    """
    for path in files(spec.path):
        for number, row in read_objects(path):
            where = f"{path}, line {number}"
            yield f"{path.name}, line {number}", chat(row.get(spec.messages_field), where, spec.messages_field)


def chat(value: Any, where: str, field: str) -> Dialogue:
    """A list of messages as a file has it.

    Raises:
        DataError: it is something else.
    """
    rows = value if isinstance(value, list) else []
    messages = [
        Message(row["role"], row["content"])
        for row in rows
        if isinstance(row, dict) and all(_text(row.get(key)) for key in ("role", "content"))
    ]
    if not rows or len(messages) != len(rows):
        raise DataError(
            f"{where}: field {field!r} is no list of messages, each with a text under `role` and `content`. Set "
            "`messages_field` to the right name, or repair the line."
        )
    return Dialogue(tuple(messages))


def _text(value: Any) -> bool:
    return isinstance(value, str) and not SURROGATE.search(value)
