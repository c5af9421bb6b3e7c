"""What is repeated: a run spec with numbers of repeats, and the run spec of every combination.

    explainer seed     examples shown to the explainer, and its sampling
    draw               test windows, marks, intruders
    order              order of the same windows in prompts that show several
    judge              every judge of the spec that can serve the scorer

`repeats` of a run redraw everything at once: they give the total, and a total does not say what to repeat more of.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from pydantic import Field, field_validator

from latentbench.kernel.config import read_yaml, validate
from latentbench.runs.run_spec import RunSpec

Place = tuple[int, int, int]
"""(explainer seed, draw, order), from 0."""


class ReliabilitySpec(RunSpec):
    """A run spec, and how often each thing that it draws is drawn."""

    explainer_seeds: int = Field(default=2, ge=1)
    """Explanations per latent and explainer."""
    draws: int = Field(default=2, ge=1)
    """Draws of test windows."""
    orders: int = Field(default=1, ge=1)
    """Orders of the same windows; more than 1 tells something for prompts with several windows only."""
    top_k: int = Field(default=10, ge=1)
    """Size of the top of the ranking of latents that is compared between repeats."""

    @field_validator("repeats")
    @classmethod
    def _one(cls, value: int) -> int:
        if value != 1:
            raise ValueError("repeats redraw everything at once; use explainer_seeds, draws and orders")
        return value


def load_reliability_spec(path: Path) -> ReliabilitySpec:
    """Read and validate a reliability spec."""
    return validate(ReliabilitySpec, read_yaml(path), str(path))


def places(spec: ReliabilitySpec) -> list[Place]:
    """All combinations of what is drawn."""
    return list(itertools.product(range(spec.explainer_seeds), range(spec.draws), range(spec.orders)))


def run_spec(spec: ReliabilitySpec, place: Place) -> RunSpec:
    """Return the run at one combination. The combination (0, 0, 0) asks what the run spec by itself would ask."""
    shared = spec.model_dump(include=set(RunSpec.model_fields), exclude={"name", "seed", "explain_seed", "order"})
    seed, draw, order = place
    first = spec.seed if spec.explain_seed is None else spec.explain_seed
    own = {"seed": spec.seed + draw, "explain_seed": first + seed, "order": spec.order + order}
    return RunSpec.model_validate({"name": f"{spec.name}-e{seed}-d{draw}-o{order}", **shared, **own})
