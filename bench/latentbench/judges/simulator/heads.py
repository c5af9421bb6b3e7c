"""What reads a simulator's answers off the base's hidden states: one block that looks both ways, and two linear heads.

A causal base decides about a token before it has read what follows, so "numbers before a unit" could not be seen at the number.
One bidirectional block over the window repairs that at the cost of a fraction of one base layer. Reading the window twice would
too, and costs as much as the whole base. The block sees the window's pieces and the suffix, not the description: its states
already know that, and the description's length would otherwise enter the cost of every window.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6


class Heads(nn.Module):
    """Hidden states of a window's pieces and suffix -> a logit per piece and one per window.

    Everything is computed in float32 whatever the input's type: the block is small and its logits are calibrated. Attention and
    MLP start with a zero output, so the block starts as the identity.

    Args:
        d_model: width of the base.
        n_heads: attention heads; must divide `d_model`.
        ff: width of the MLP.
        reach: distances beyond this share one relative-position bias on each side.
        generator: source of the initial weights; a fresh one with seed 0 if None. The process-wide state is not touched.

    Raises:
        ValueError: `n_heads` does not divide `d_model`.
    """

    def __init__(
        self, d_model: int, n_heads: int = 9, ff: int = 1152, reach: int = 16, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"{n_heads} heads do not divide a width of {d_model}")
        self.d_model, self.n_heads, self.ff, self.reach = d_model, n_heads, ff, reach
        source = generator or torch.Generator().manual_seed(0)
        self.input_norm = nn.RMSNorm(d_model, EPS)
        self.attention_norm = nn.RMSNorm(d_model, EPS)
        self.mlp_norm = nn.RMSNorm(d_model, EPS)
        self.final_norm = nn.RMSNorm(d_model, EPS)
        self.qkv = _linear(d_model, 3 * d_model, source, bias=False)
        self.attention_out = _linear(d_model, d_model, None)
        self.bias = nn.Parameter(torch.zeros(n_heads, 2 * reach + 1))
        self.up = _linear(d_model, ff, source)
        self.down = _linear(ff, d_model, None)
        self.token = _linear(d_model, 1, source)
        self.window = _linear(d_model, 1, source)

    def forward(self, hidden: Tensor, valid: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of pieces and windows.

        Args:
            hidden: [B, L, d_model], the base's residual stream after its last kept layer, without a final norm.
            valid: bool [B, L], false where padded.
            last: int64 [B], where the window's logit is read: the last suffix piece.

        Returns:
            Token logits float32 [B, L] (meaningless where not valid) and window logits float32 [B].
        """
        with torch.autocast(hidden.device.type, enabled=False):
            # A few coordinates and tokens of a residual stream are hundreds of times larger than the rest; the block adds to
            # the normalised stream, or its own contribution would vanish beside them.
            x = self.input_norm(hidden.float())
            x = x + self._attend(self.attention_norm(x), valid)
            x = x + self.down(F.gelu(self.up(self.mlp_norm(x))))
            x = self.final_norm(x)
            rows = torch.arange(len(x), device=x.device)
            return self.token(x)[..., 0], self.window(x[rows, last])[..., 0]

    def _attend(self, x: Tensor, valid: Tensor) -> Tensor:
        rows, length, width = x.shape
        query, key, value = (
            part.reshape(rows, length, self.n_heads, width // self.n_heads).transpose(1, 2)
            for part in self.qkv(x).chunk(3, -1)
        )
        at = torch.arange(length, device=x.device)
        distance = (at[None, :] - at[:, None]).clamp(-self.reach, self.reach) + self.reach
        # A pad may look at itself, so that no row of the mask is empty; nobody else looks at it.
        seen = valid[:, None, None, :] | (at[:, None] == at[None, :])
        mask = torch.where(seen, self.bias[:, distance], float("-inf"))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out: Tensor = self.attention_out(mixed.transpose(1, 2).reshape(rows, length, width))
        return out


def _linear(inputs: int, outputs: int, source: torch.Generator | None, bias: bool = True) -> nn.Linear:
    """A linear layer with normal weights of variance 1 / inputs, or zeros without a source; its bias is zero."""
    # Built without storage: the constructor would otherwise draw from the process-wide random state.
    layer = nn.Linear(inputs, outputs, bias=bias, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        if source is None:
            layer.weight.zero_()
        else:
            layer.weight.normal_(0.0, inputs**-0.5, generator=source)
        if bias:
            layer.bias.zero_()
    return layer
