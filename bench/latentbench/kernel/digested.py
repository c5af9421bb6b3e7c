"""A JSON file that holds a digest of everything else in it, so that an edit by hand is noticed when it is read.

It finds mistakes and not forgers: whoever edits can write a new digest. What must not be believed is compared with something
else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from latentbench.kernel.config import validate
from latentbench.kernel.errors import DataError, DigestMismatch
from latentbench.kernel.files import write_json
from latentbench.kernel.identity import digest
from latentbench.kernel.inputs import read_json

M = TypeVar("M", bound=BaseModel)
FIELD = "digest"


def read_digested(model: type[M], path: Path, advice: str) -> M:
    """What a file holds.

    Args:
        model: of the file; has the field `digest`.
        advice: what to do about a file that is not as it was written, a sentence.

    Raises:
        DataError: not JSON. SpecError: it does not fit the model. DigestMismatch: it was edited.
    """
    try:
        data: Any = read_json(path)
    except (OSError, ValueError) as e:
        raise DataError(f"{path} is not JSON: {e}. {advice}") from e
    held = validate(model, data, str(path))
    # Of the text, because what is read has the fields of today.
    found = digest({name: value for name, value in data.items() if name != FIELD})
    if found != data.get(FIELD):
        raise DigestMismatch(f"{path} was edited: it hashes to {found}, not to {data.get(FIELD)}. {advice}")
    return held


def write_digested(value: M, path: Path) -> M:
    """Write a value with the digest of its other fields; returns it with that."""
    content = value.model_dump(mode="json", exclude={FIELD})
    write_json(path, {FIELD: digest(content), **content})
    return value.model_copy(update={FIELD: digest(content)})
