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
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from latentbench.kernel.config import Frozen, read_yaml, validate
from latentbench.kernel.errors import UnknownName
from latentbench.kernel.tasks import find


class TaskFile(Frozen):
    """A file of `tasks/scorers/` or `tasks/explainers/`."""

    version: str = Field(pattern=r"^\d+-\d+$")
    implementation: str
    summary: str
    headline: str | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    presets: dict[str, dict[str, Any]] = Field(default_factory=dict)
    headlines: dict[str, str] = Field(default_factory=dict)
    prompts: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _named(self) -> TaskFile:
        if unknown := set(self.headlines) - set(self.presets):
            raise ValueError(f"headlines: {', '.join(sorted(unknown))} is no preset of it")
        return self


def read_task(kind: str, spec: str | Mapping[str, Any]) -> tuple[str, Path, TaskFile, dict[str, Any]]:
    """Name, file, content (with the preset's headline, where it has one) and final parameters of a task.

    Args:
        kind: `scorers` or `explainers`.
        spec: a name or path, or `{use, preset, params}`.

    Raises:
        UnknownName: no such task or preset; SpecError: the file does not fit.
    """
    entry: dict[str, Any] = {"use": spec} if isinstance(spec, str) else dict(spec)
    path = find(kind, entry["use"])
    task = validate(TaskFile, read_yaml(path), str(path))
    params = dict(task.params)
    preset = entry.get("preset")
    if preset is not None:
        if preset not in task.presets:
            raise UnknownName(f"preset of {path.stem}", preset, task.presets)
        params |= task.presets[preset]
        task = task.model_copy(update={"headline": task.headlines.get(preset, task.headline)})
    return path.stem, path, task, params | dict(entry.get("params") or {})
