"""Explanations as Python code has them, a dictionary or a DataFrame -> id of a latent and its text.

What is neither a text nor missing is refused with its place. `str` of whatever stands there is the tempting way, and scores the
explanation "nan".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from latentbench.explainers.foreign.column_texts import Columns
from latentbench.kernel.errors import DataError, SpecError
from latentbench.kernel.inputs import SURROGATE

if TYPE_CHECKING:
    import pandas as pd


def given_texts(explanations: Mapping[str | int, str | None] | pd.DataFrame, columns: Columns) -> dict[str, str | None]:
    """Id of a latent, as `bench score` reads it in a file -> its text; None where there is none.

    Args:
        explanations: ids or indices with texts, or a DataFrame with a column of each.
        columns: of a DataFrame, which has what; found by name where None.

    Raises:
        SpecError: a DataFrame without such columns, an id that is none, or a text that is none; says which.
        DataError: there is no row, or a latent has two texts.
    """
    found: dict[str, str | None] = {}
    for place, latent, said in _rows(explanations, columns):
        text = _text(said, place)
        if found.setdefault(latent, text) != text:
            raise DataError(f"explanations {place}: a second text for {latent}. Keep one of them.")
    if not found:
        raise DataError("explanations: there are none.")
    return found


def _rows(
    explanations: Mapping[str | int, str | None] | pd.DataFrame, columns: Columns
) -> Iterable[tuple[str, str, Any]]:
    if isinstance(explanations, Mapping):
        for name, said in explanations.items():
            yield f"[{name!r}]", _id(name, f"[{name!r}]"), said
        return
    import pandas as pd

    if not isinstance(explanations, pd.DataFrame):
        raise SpecError(
            f"explanations are a {type(explanations).__name__}; give the path of a file, a dictionary of texts by latent, or a "
            "DataFrame with a column of each."
        )
    # An index with a name may be the column of ids.
    named = any(name is not None and name not in explanations.columns for name in explanations.index.names)
    frame = explanations.reset_index() if named else explanations
    chosen = columns.of(frame.columns)
    if chosen is None or chosen.id is None or chosen.text is None:
        raise SpecError(
            f"explanations have the columns {', '.join(map(str, frame.columns))}; which are the latents and which the texts? Say "
            "it: id_column=..., text_column=..."
        )
    taken = [chosen.id, chosen.text, *([chosen.place] if chosen.place is not None else [])]
    twice = next((name for name in taken if list(frame.columns).count(name) > 1), None)
    if twice is not None:
        raise SpecError(f"explanations have two columns {twice!r}. Rename or remove one.")
    for number, (name, said, *at) in enumerate(frame[taken].itertuples(index=False, name=None)):
        latent = _id(name, f"row {number}, column {chosen.id!r}")
        bare = latent.isdecimal() and at and not _missing(at[0]) and str(at[0]).strip()
        yield f"row {number}, column {chosen.text!r}", f"{at[0]}/{latent}" if bare else latent, said


def _missing(value: Any) -> bool:
    """None, NaN, or what pandas has for them."""
    import pandas as pd

    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def _id(name: Any, place: str) -> str:
    # NumPy's whole numbers are none of Python's.
    if hasattr(name, "item"):
        name = name.item()
    if isinstance(name, float) and name.is_integer():
        name = int(name)
    if isinstance(name, bool) or not isinstance(name, int | str) or not str(name).strip():
        raise SpecError(f"explanations {place}: {name!r} is neither an id such as 'coder/12' nor an index.")
    if isinstance(name, int) and name < 0:
        raise SpecError(f"explanations {place}: {name} is no index; indices start at 0.")
    return _whole(str(name).strip(), place)


def _text(said: Any, place: str) -> str | None:
    if not isinstance(said, str):
        if _missing(said):
            return None
        raise SpecError(f"explanations {place}: {repr(said)[:80]} is no text.")
    return _whole(str(said), place)


def _whole(text: str, place: str) -> str:
    if SURROGATE.search(text):
        raise SpecError(f"explanations {place}: it holds half of a character, which no file can hold.")
    return text
