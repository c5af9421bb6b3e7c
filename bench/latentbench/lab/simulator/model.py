"""What training and evaluation run: a base cut to its first layers, and heads on its residual stream.

The adapter may stand beside the base's weights, as in training, or be merged into them, as in a judge. An evaluation that is to
say how good a judge is takes the merged one: in bfloat16 merging rounds.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from latentbench.judges.simulator.heads import Heads
from latentbench.judges.simulator.lora import attach, truncate
from latentbench.lab.simulator.batch import Batch
from latentbench.models.language_model import Loaded


class Simulator:
    """Batches of examples in, logits out.

    Args:
        loaded: a base whose output is the residual stream (`latentbench.judges.simulator.lora.truncate`).
        heads: for its width; moved to its device.
    """

    def __init__(self, loaded: Loaded, heads: Heads) -> None:
        self.loaded, self.model, self.device = loaded, loaded.model, loaded.device
        self.heads = heads.to(self.device)

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Token logits [W, P] and window logits [W]."""
        inner: Any = self.model.model
        dtype = next(inner.parameters()).dtype
        blocked = torch.zeros(batch.mask.shape, dtype=dtype).masked_fill_(~batch.mask, torch.finfo(dtype).min)
        hidden = inner(
            input_ids=batch.ids.to(self.device),
            attention_mask=blocked.to(self.device),
            position_ids=batch.positions.to(self.device),
            use_cache=False,
        ).last_hidden_state
        picked = hidden[batch.row.to(self.device), batch.column.to(self.device)]
        found: tuple[Tensor, Tensor] = self.heads(picked, batch.valid.to(self.device), batch.last.to(self.device))
        return found


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
