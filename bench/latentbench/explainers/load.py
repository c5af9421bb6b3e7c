"""Task YAML -> explainer; the same file format as scorers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentbench.explainers.explainer import Explainer
from latentbench.kernel.config import validate
from latentbench.kernel.errors import SpecError
from latentbench.kernel.registry import lookup
from latentbench.prompts.task import read_task


def load_explainer(spec: str | Mapping[str, Any], base: Path | None = None) -> Explainer:
    """Load an explainer.

    Args:
        spec: a name in `tasks/explainers/`, a path of a YAML file, or `{use, preset, params}`.
        base: folder that relative paths among the parameters start at; the working directory by default.

    Raises:
        SpecError: unknown task, preset, parameter or field, each with the near names.
    """
    name, path, task, params = read_task("explainers", spec)
    implementation = lookup("explainer", task.implementation)
    for file in implementation.params_model.files:
        if isinstance(params.get(file), str):
            params[file] = str(((base or Path()) / params[file]).resolve())
    checked = validate(implementation.params_model, params, f"{path}, params")
    try:
        explainer: Explainer = implementation(name, task.version, checked, task.prompts)
    except SpecError as e:
        raise SpecError(f"{path}: {e}") from e
    return explainer
