"""Parameters of a scorer or an explainer, checked where a person can find what is wrong.

They come from two places, the task file and the entry of a run spec, and are merged before they mean anything. A fault that only
names the merged whole sends the reader to the wrong file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from latentbench.kernel.config import validate

M = TypeVar("M", bound=BaseModel)


def checked(model: type[M], kind: str, spec: str | Mapping[str, Any], path: Path, params: Mapping[str, Any]) -> M:
    """The parameters of a task; a fault is named by the place where it was written.

    Args:
        model: of the parameters.
        kind, spec: `scorers` or `explainers`, and a name or `{use, preset, params, at}`; `at` is the place of the entry in a run
            spec, such as `scorers[1]`.
        path: of the task file.
        params: of the file, the preset and the entry, merged.

    Raises:
        SpecError: they do not fit.
    """
    entry: Mapping[str, Any] = {} if isinstance(spec, str) else spec
    at, given = entry.get("at"), dict(entry.get("params") or {})
    if at is None:
        return validate(model, params, str(path), lambda key: "params")
    where, held = f"{kind.removesuffix('s')} {path.stem!r}", f"{path}: params"
    return validate(model, params, where, lambda key: held if key in params and key not in given else f"{at}.params")
