"""Rows of any source -> documents: which column is read, and what becomes of a row that holds nothing there.

The column is the one that the corpus names, `text` if it names none. Guessing the longest column of text is the tempting way; the
guess may fall on another column in the next shard. A source in which the column holds no text is an error that lists the columns.
A single row without text is left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentbench.corpora.left_out import LeftOut, Reason
from latentbench.kernel.errors import DataError
from latentbench.kernel.inputs import SURROGATE
from latentbench.kernel.requests import Message

Tokens = NDArray[np.int32]


@dataclass(frozen=True)
class Dialogue:
    """A document of messages, first to last."""

    messages: tuple[Message, ...]


Document = str | Tokens | Dialogue
"""A text, the ids of its tokens, or a chat."""
Placed = tuple[str, Document]
"""Where a document stands, and the document."""

PATIENCE = 100
"""Rows without the column, or with something else in it, before the first document of a source, after which it is given up."""
COLUMNS = 20
"""Columns that a message lists."""
LARGEST = int(np.iinfo(np.int32).max)


def placed(
    rows: Iterable[tuple[str, Mapping[str, Any]]],
    text_field: str,
    ids_field: str | None,
    source: str,
    left_out: LeftOut,
) -> Iterator[Placed]:
    """The documents of rows, in their order.

    Args:
        rows: where each stands, and its columns.
        text_field: column of the text.
        ids_field: column of token ids, which is read instead.
        source: what the rows come from, for messages.
        left_out: counts the rows that are none.

    Raises:
        DataError: no row has the column, or none holds text in it.
    """
    name = text_field if ids_field is None else ids_field
    found, wrong, columns = False, 0, dict[str, None]()
    for place, row in rows:
        value = row.get(name)
        document = _text(value) if ids_field is None else _ids(value)
        if isinstance(document, str | np.ndarray) and len(document):
            found = True
            yield place, document
            continue
        reason: Reason = "empty" if document is not None else "missing" if value is None else "no text"
        if isinstance(value, str) and ids_field is None and SURROGATE.search(value):
            reason = "half a character"
        left_out.add(reason, place)
        if not found and (name not in row or reason == "no text"):
            wrong += 1
            columns |= dict.fromkeys(row)
            if wrong == PATIENCE:
                break
    if wrong and not found:
        raise no_column(source, name, list(columns), ids_field is not None)


def no_column(source: str, name: str, columns: list[str], ids: bool) -> DataError:
    """The error for a source whose column is not there or holds something else; it lists what is there."""
    more = f" and {len(columns) - COLUMNS} more" if len(columns) > COLUMNS else ""
    there = ", ".join(str(c)[:60] for c in columns[:COLUMNS]) or "none"
    what, setting = ("token ids", "ids_field") if ids else ("text", "text_field")
    return DataError(
        f"{source}: column {name!r} holds no {what}; columns: {there}{more}. Set `{setting}` to the right name."
    )


def _text(value: Any) -> str | None:
    """A text; "" for white space, None for what is none or cannot be written."""
    if not isinstance(value, str) or (not value.isascii() and SURROGATE.search(value)):
        return None
    return value if value.strip() else ""


def _ids(value: Any) -> Tokens | None:
    """Token ids; None for what is no list of whole numbers from 0 on."""
    if isinstance(value, np.ndarray):
        whole = value.ndim == 1 and value.dtype.kind in "iu"
        fits = whole and (not len(value) or (value.min() >= 0 and value.max() <= LARGEST))
    else:
        fits = isinstance(value, list) and all(type(x) is int and 0 <= x <= LARGEST for x in value)
    return np.asarray(value, dtype=np.int32) if fits else None
