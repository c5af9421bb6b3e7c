"""What a training recipe may say: one YAML file, one pass of the subject, several coders.

The corpus is not in the recipe: the same recipe must run on another machine, so the text is a command-line argument and the
card records which files it was. Unknown keys are refused, because a misspelt `learning_rte` that trains with the default is
found only after an hour.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from latentbench.kernel.config import Frozen, read_yaml, validate
from latentbench.kernel.file_name import MOST


class CoderRecipe(Frozen):
    """One coder of a recipe."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=MOST)
    """Folder name of the finished coder."""
    hookpoint: str
    """Module of the subject whose output the coder reads, such as `layers.9` or `layers.9.mlp`."""
    n_latents: int = Field(gt=0)
    """Number of latents of the coder."""


class TextSource(Frozen):
    """A part of the training text."""

    name: str
    """Name of the part."""
    licence: str
    """Licence of the text."""


class TrainRecipe(Frozen):
    """A training run."""

    subject: str
    """Model reference, as in `bench models fetch`."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Number type of the subject while its activations are read."""
    context: int = Field(256, gt=1)
    """Corpus tokens per context; BOS is put in front, and its activations are dropped."""
    contexts_per_batch: int = Field(32, gt=0)
    """Contexts in one forward pass."""
    held_out: float = Field(0.02, gt=0, lt=1)
    """Share of the corpus' documents, the last ones, that training never sees."""
    tokens: int = Field(gt=0, le=10**12)
    """Training tokens, unless the command gives minutes instead."""
    buffer: int = Field(131072, gt=0)
    """Tokens in the shuffle buffer; half of it is refilled at a time."""
    batch: int = Field(4096, gt=0)
    """Tokens per optimiser step."""
    k: int = Field(32, gt=0)
    """Active latents per token (TopK)."""
    learning_rate: float = Field(1e-3, gt=0)
    """Learning rate of Adam at its plateau; inputs are centred and scaled to unit mean square."""
    warm_up: int = Field(50, ge=0)
    """Steps of linear warm-up."""
    decay: float = Field(0.2, ge=0, le=1)
    """Share of the run, at its end, over which the learning rate falls linearly to zero."""
    dead_after: int = Field(100, gt=0)
    """Steps without firing after which a latent is revived by the auxiliary loss."""
    auxiliary: float = Field(1 / 32, ge=0)
    """Weight of the auxiliary loss (Gao et al. 2024, 2406.04093, appendix A.2)."""
    checkpoint_every: int = Field(500_000, gt=0, le=10**12)
    """Tokens between saves; each save is a finished coder folder."""
    stored: Literal["float32", "float16", "bfloat16"] = "float16"
    """Number type of the saved matrices; biases stay in float32."""
    seed: int = 0
    """Seed of the initial weights and of shuffling."""
    coders: tuple[CoderRecipe, ...] = Field(min_length=1)
    """Coders to train, all in one pass of the subject."""
    sources: tuple[TextSource, ...] = ()
    """What the text was, for the model cards; changes no number."""

    @model_validator(mode="after")
    def _names_differ(self) -> TrainRecipe:
        names = [c.name.lower() for c in self.coders]
        if len(set(names)) != len(names):
            raise ValueError("two coders have the same name, or names that some file systems take for the same")
        if self.buffer < 2 * self.batch:
            raise ValueError("buffer must hold at least two batches")
        return self

    @property
    def hookpoints(self) -> tuple[str, ...]:
        """Each hookpoint once, in the order of the coders."""
        return tuple(dict.fromkeys(c.hookpoint for c in self.coders))

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that can change a weight; the recipe's digest is made of them."""
        return self.model_dump(mode="json", exclude={"sources"})


def read_recipe(path: Path) -> TrainRecipe:
    """Read a recipe.

    Raises:
        SpecError: no such file, not YAML, an unknown key or a value of the wrong kind.
    """
    return validate(TrainRecipe, read_yaml(path), str(path))
