"""Messages for models that lack a kind of turn: no system role, or no reply that is begun for them.

Nothing is changed unless the judge's reference says so: silently moving the system text would ask another question under the same
identity. So each of these is an option of the judge and part of what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from latentbench.kernel.requests import Message

Turn = Literal["keep", "merge"]


def merged(messages: Sequence[Message], system: Turn, prefill: Turn) -> tuple[Message, ...]:
    """The messages with what the model does not know moved into its neighbour.

    Args:
        system: `merge` puts a system text in front of the first user message, with a blank line between.
        prefill: `merge` asks in the last user message for a reply that begins as the trailing assistant message does.
    """
    found = list(messages)
    if system == "merge":
        texts = [m.content for m in found if m.role == "system"]
        found = [m for m in found if m.role != "system"]
        first = next((i for i, m in enumerate(found) if m.role == "user"), None)
        if texts and first is None:
            found.insert(0, Message("user", "\n\n".join(texts)))
        elif texts and first is not None:
            found[first] = replace(found[first], content="\n\n".join([*texts, found[first].content]))
    if prefill == "merge" and len(found) > 1 and found[-1].role == "assistant" and found[-2].role == "user":
        begun = found.pop().content
        found[-1] = replace(found[-1], content=f"{found[-1].content}\n\nBegin your reply with: {begun}")
    return tuple(found)


def unrepeated(messages: Sequence[Message], text: str, prefill: Turn) -> str:
    """What a model wrote behind the beginning that was asked of it; a model that was asked to begin so says it again."""
    begun = messages[-1].content.strip() if messages and messages[-1].role == "assistant" else ""
    if prefill == "merge" and begun and text.lstrip().startswith(begun):
        return text.lstrip()[len(begun) :]
    return text
