"""Task YAML -> explainer; the same file format as scorers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.errors import SpecError
from bench.explainers.base import Explainer
from bench.registry import lookup
from bench.scorers.load import read_task
from bench.spec import validate


def load_explainer(spec: str | Mapping[str, Any]) -> Explainer:
    """Load an explainer.

    Args:
        spec: a name in `tasks/explainers/`, a path of a YAML file, or `{use, preset, params}`.

    Raises:
        SpecError: unknown task, preset, parameter or field, each with the near names.
    """
    name, path, task, params = read_task("explainers", spec)
    implementation = lookup("explainer", task.implementation)
    checked = validate(implementation.params_model, params, f"{path}, params")
    try:
        explainer: Explainer = implementation(name, task.version, checked, task.prompts)
    except SpecError as e:
        raise SpecError(f"{path}: {e}") from e
    return explainer
