"""YAML file -> validated model, with errors that a person can act on.

Shared by run specs, suite recipes and task files, so that a misspelt key is answered in the same way everywhere: file, place,
and the name that was probably meant. pydantic's own report lists internals and one line per union branch.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from latentbench.kernel.errors import SpecError

M = TypeVar("M", bound=BaseModel)


class Frozen(BaseModel):
    """Base of everything that a file or a caller writes down: an unknown key is an error, and values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def validate(model: type[M], data: Any, where: str) -> M:
    """Validate `data`, turning pydantic's report into one message that names the place and the likely intention.

    Args:
        where: file name or other place for the message.

    Raises:
        SpecError: the data does not fit.
    """
    try:
        return model.model_validate(data)
    except ValidationError as e:
        lines = []
        for error in e.errors():
            place = ".".join(str(p) for p in error["loc"])
            if error["type"] == "extra_forbidden":
                near = difflib.get_close_matches(str(error["loc"][-1]), sorted(_fields(model)), n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                lines.append(f"unknown key {place!r}.{hint}")
            else:
                lines.append(f"{place or 'document'}: {error['msg'].removeprefix('Value error, ')}")
        raise SpecError(f"{where}: " + "; ".join(lines)) from e


def _fields(model: type[BaseModel]) -> set[str]:
    """Field names of a model and of the models inside it: a misspelt key may stand at any depth."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        found.add(name)
        for part in [field.annotation, *getattr(field.annotation, "__args__", ())]:
            if isinstance(part, type) and issubclass(part, BaseModel) and part is not model:
                found |= _fields(part)
    return found


def read_yaml(path: Path) -> Any:
    """Parse one YAML file.

    Raises:
        SpecError: missing, not YAML, or empty; the message has file, line and column.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise SpecError(f"{path} does not exist.") from e
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as e:
        mark = getattr(e, "problem_mark", None)
        at = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SpecError(f"{path}{at}: not valid YAML: {getattr(e, 'problem', None) or e}") from e
    if data is None:
        raise SpecError(f"{path} is empty.")
    return data
