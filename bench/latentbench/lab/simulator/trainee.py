"""The model in training: base with adapters, heads, loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from latentbench.judges.simulator.heads import Heads
from latentbench.judges.simulator.lora import attach, truncate
from latentbench.lab.simulator.batch import Batch
from latentbench.lab.simulator.model import Simulator
from latentbench.models.language_model import Loaded


class Trainee(Simulator):
    """A base that is cut to its first layers, with adapters on all their linear layers, and heads.

    Args:
        loaded: a base of its own; it is changed.
        layers, rank, alpha: see `latentbench.lab.simulator.simulator_recipe.SimulatorRecipe`.
        seed: of the initial adapters and heads.
    """

    def __init__(self, loaded: Loaded, layers: int, rank: int, alpha: float, seed: int) -> None:
        truncate(loaded.model, layers)
        generator = torch.Generator().manual_seed(seed)
        self.adapter = attach(loaded.model, rank, alpha, generator, layers)
        width = int(loaded.model.config.hidden_size)
        super().__init__(loaded, Heads(width, 9 if width % 9 == 0 else 4, ff=2 * width, generator=generator))

    def loss(self, batch: Batch, token_weight: float) -> tuple[Tensor, float, float]:
        """Total loss, and its parts per window and per token: mean binary cross-entropies in nats."""
        tokens, windows = self.logits(batch)
        own = batch.own.to(self.device)
        per_window = F.binary_cross_entropy_with_logits(windows, batch.active.to(self.device))
        per_token = F.binary_cross_entropy_with_logits(tokens[own], batch.labels.to(self.device)[own])
        return per_window + token_weight * per_token, float(per_window.detach()), float(per_token.detach())
