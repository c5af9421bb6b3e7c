"""What training and evaluation run: a base cut to its first layers, and heads on its residual stream.

The adapter may stand beside the base's weights, as in training, or be merged into them, as in a judge. An evaluation that is to
say how good a judge is takes the merged one: in bfloat16 merging rounds.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from latentbench.judges.simulator.heads import Heads
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
