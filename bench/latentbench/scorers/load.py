"""Task YAML -> scorer. A prompt variant is a new YAML file and no code.

version: 1-0                 N-X, see the design page
implementation: detection    name in the registry
summary: one line
headline: ap_normalised      metric that ranks
params: {...}                defaults
presets: {paper: {...}}      named changes of params
headlines: {paper: auroc}    of presets that do not give the headline above
prompts: {...}               templates, by name
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latentbench.kernel.config import validate
from latentbench.kernel.errors import SpecError
from latentbench.kernel.registry import lookup
from latentbench.prompts.task import read_task
from latentbench.scorers.scorer import Scorer


def load_scorer(spec: str | Mapping[str, Any]) -> Scorer:
    """Load a scorer.

    Args:
        spec: a name in `tasks/scorers/`, a path of a YAML file, or `{use, preset, params}`.

    Raises:
        SpecError: unknown task, preset, parameter or field, each with the near names.
    """
    name, path, task, params = read_task("scorers", spec)
    implementation = lookup("scorer", task.implementation)
    checked = validate(implementation.params_model, params, f"{path}, params")
    try:
        scorer: Scorer = implementation(name, task.version, task.headline or "", checked, task.prompts)
    except SpecError as e:
        raise SpecError(f"{path}: {e}") from e
    return scorer
