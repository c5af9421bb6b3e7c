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
from latentbench.kernel.errors import SpecError, UnknownName
from latentbench.kernel.registry import names
from latentbench.kernel.tasks import available, find


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
        spec: a name or path, or `{use, preset, params, at}`.

    Raises:
        UnknownName: no such task or preset; SpecError: the file does not fit, or the name is that of code without a file.
    """
    entry: dict[str, Any] = {"use": spec} if isinstance(spec, str) else dict(spec)
    try:
        path = find(kind, entry["use"])
    except UnknownName as e:
        if e.name not in names(e.kind):
            raise UnknownName(e.kind, e.name, {*e.known, *names(e.kind)}) from None
        raise SpecError(
            f"{e.name!r} is the name of a registered {e.kind} that has no task file. Write one, with `version`, "
            f"`implementation: {e.name}` and `summary`, and name its path (`use: my-{e.name}.yaml`)."
        ) from e
    task = validate(TaskFile, read_yaml(path), str(path))
    params = dict(task.params)
    preset = entry.get("preset")
    if preset is not None:
        if preset not in task.presets:
            raise UnknownName(f"preset of {path.stem}", preset, task.presets)
        params |= task.presets[preset]
        task = task.model_copy(update={"headline": task.headlines.get(preset, task.headline)})
    return path.stem, path, task, params | dict(entry.get("params") or {})


def without_task(kind: str) -> dict[str, str]:
    """Registered names that no file of `tasks/` uses, with what they stand for: a run spec names a file of one's own for them.

    Args:
        kind: `scorers` or `explainers`.

    Raises:
        SpecError: a file is not YAML.
    """
    files = [read_yaml(path) for path in available(kind).values() if path.suffix == ".yaml"]
    used = {file.get("implementation") for file in files if isinstance(file, dict)}
    return {name: target for name, target in names(kind.removesuffix("s")).items() if name not in used}
