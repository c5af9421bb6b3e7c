"""One forward pass over rows that have different computed prefixes, different lengths and alternative endings.

New tokens are padded on the right and prefix runs on the left of their block, with explicit positions and an explicit mask, so
even a pad attends to something real and no row of the mask is empty (which would be NaN, and NaN in a masked value still
spoils the sum). Padding prompts on the left, as generation usually does, gives exactly such empty rows.

Alternative endings ("1", "10") are branches of the same row: each sees its own ancestors only and stands at the position that it
would have in the text, so the log-probability of any set of answers at any number of places is one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache

from latentbench.kernel.errors import ModelError
from latentbench.models.engine.attention import ROOT, can_share_root, use_grouped_decode
from latentbench.models.engine.kv import KV, ChainedPast, Keep, Layer, Past, length
from latentbench.models.engine.prefix import Tokens
from latentbench.models.language_model import Loaded


@dataclass(frozen=True, slots=True)
class Piece:
    """One row of a forward pass.

    Attributes:
        chain: the computed runs before it.
        tokens: the new tokens; branches come last.
        parents: for each branch, the index in `tokens` of the token before it; other tokens follow each other.
    """

    chain: tuple[KV, ...]
    tokens: Tokens
    parents: tuple[int, ...] = ()

    @property
    def start(self) -> int:
        """Position of the first new token."""
        return sum(length(kv) for kv in self.chain)


@dataclass(frozen=True, slots=True)
class Pass:
    """What a forward pass gave.

    Attributes:
        hidden: [rows, new, d_model], after the final norm.
        cache: the transformers cache with what was kept.
        past: the blocks that were read.
        position: int64 [rows, new].
    """

    hidden: torch.Tensor
    cache: Any
    past: Past
    position: torch.Tensor

    def fresh(self, row: int, tokens: int) -> KV:
        """Keys and values of the first new tokens of a row, copied out of the batch."""
        return [
            (f[0][row, :, :tokens].clone(), f[1][row, :, :tokens].clone()) for f in (x.fresh for x in self.cache.layers)
        ]


class Engine:
    """A causal language model behind `forward` and `logits`; it is never changed but for its attention kernel.

    Args:
        loaded: the model.

    Raises:
        ModelError: layers other than attention, a family that does not go on from keys and values that were computed apart
            (its positions come from elsewhere, as with ALiBi), or an output head that this class cannot apply.
    """

    def __init__(self, loaded: Loaded) -> None:
        use_grouped_decode(loaded.model)
        self.loaded, self.model, self.device = loaded, loaded.model, loaded.device
        self.config = loaded.model.config.get_text_config()
        if getattr(self.config, "num_attention_heads", None) is None:
            raise ModelError(self._uncovered("it has no attention heads"))
        if "position_ids" not in signature(loaded.model.base_model.forward).parameters:
            raise ModelError(self._uncovered("it takes no positions"))
        self.n_layers = int(self.config.num_hidden_layers)
        self.context = loaded.context or 1 << 30
        heads = int(getattr(self.config, "num_key_value_heads", None) or self.config.num_attention_heads)
        width = int(
            getattr(self.config, "head_dim", None) or self.config.hidden_size // self.config.num_attention_heads
        )
        self.bytes_per_token = 2 * self.n_layers * heads * width * next(loaded.model.parameters()).element_size()
        self._eager = "eager" in str(getattr(self.config, "_attn_implementation", ""))
        kinds = set(getattr(self.config, "layer_types", None) or [])
        if kinds - {"full_attention", "sliding_attention"}:
            raise ModelError(self._uncovered(f"it has layers of kind {', '.join(map(str, sorted(kinds)))}"))
        window = getattr(self.config, "sliding_window", None)
        self._window = None if kinds == {"full_attention"} else window
        self._mixed = len(kinds) == 2
        self._can_share_root = self._window is None and can_share_root(self.model, self.device)
        self._check_head(loaded.files.reference)
        self._check_pasts()

    def _uncovered(self, why: str) -> str:
        return (
            f"{self.loaded.files.reference} ({type(self.model).__name__}) cannot be run in this process: {why}, and the engine "
            "here goes on from computed keys and values of attention layers. Serve it behind an OpenAI-compatible endpoint and "
            "use `openai:` instead."
        )

    @torch.inference_mode()
    def forward(self, pieces: Sequence[Piece], keep: Keep = "nothing") -> Pass:
        """Run the new tokens of all pieces in one pass."""
        root = self._root(pieces) if keep != "all" else None
        chains = [p.chain[1:] if root else p.chain for p in pieces]
        past = ChainedPast(chains, self.device, length(root) if root else 0)
        width = max(len(p.tokens) for p in pieces)
        ids = np.zeros((len(pieces), width), dtype=np.int64)
        position = np.zeros((len(pieces), width), dtype=np.int64)
        for i, piece in enumerate(pieces):
            ids[i, : len(piece.tokens)] = piece.tokens
            position[i] = piece.start + np.arange(width)
            trunk = len(piece.tokens) - len(piece.parents)
            for k, parent in enumerate(piece.parents):
                position[i, trunk + k] = position[i, parent] + 1
        at = torch.from_numpy(position).to(self.device)
        mask = None
        if root or past.width or any(p.parents for p in pieces):
            mask = self.mask(past.valid, past.position, at, self._sees(pieces, width))
        cache = self.cache(past, keep)
        token = ROOT.set(root)
        try:
            hidden = self.step(torch.from_numpy(ids).to(self.device), mask, at, cache)
        finally:
            ROOT.reset(token)
        return Pass(hidden, cache, past, at)

    def _root(self, pieces: Sequence[Piece]) -> KV | None:
        """The run that all rows start with, where the attention can read it without copies.

        A sliding window may end inside the root, so models with such windows copy it and mask it.
        """
        first = pieces[0].chain[:1]
        if not first or not self._can_share_root or len(pieces) == 1:
            return None
        return first[0] if all(p.chain and p.chain[0] is first[0] for p in pieces) else None

    def cache(self, past: Past, keep: Keep) -> Cache:
        """A cache of transformers for one batch; see `Layer`."""
        return Cache(layers=[Layer(n, past, keep) for n in range(self.n_layers)])

    @torch.inference_mode()
    def step(self, ids: torch.Tensor, mask: Any, position: torch.Tensor, cache: Any) -> torch.Tensor:
        """One pass of the bare decoder: hidden states after the final norm, [rows, new, d_model]."""
        out = self.model.base_model(
            input_ids=ids, attention_mask=mask, position_ids=position, past_key_values=cache, use_cache=True
        )
        hidden: torch.Tensor = out.last_hidden_state
        return hidden

    @torch.inference_mode()
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """float32 [n, vocabulary] from hidden states [n, d_model]."""
        found: torch.Tensor = self.model.get_output_embeddings()(hidden).float()
        scale = getattr(self.config, "logit_scale", None)
        if scale is not None:
            found = found * scale
        divisor = getattr(self.config, "logits_scaling", None)
        if divisor is not None:
            found = found / divisor
        cap = getattr(self.config, "final_logit_softcapping", None)
        return found if cap is None else torch.tanh(found / cap) * cap

    def mask(self, valid: torch.Tensor, position: torch.Tensor, at: torch.Tensor, sees: torch.Tensor) -> Any:
        """The attention mask in the form that the model wants.

        Args:
            valid, position: [rows, past] of the past keys.
            at: int64 [rows, new], positions of the new tokens.
            sees: bool [rows or 1, new, new], which new token sees which.
        """
        rows, new = at.shape
        seen = torch.cat([valid[:, None].expand(rows, new, -1), sees.expand(rows, new, new)], 2)
        if self._window is None:
            return self._form(seen)
        keys = torch.cat([position, at], 1)
        near = self._form(seen & (at[:, :, None] - keys[:, None] < self._window))
        return {"full_attention": self._form(seen), "sliding_attention": near} if self._mixed else near

    def _form(self, seen: torch.Tensor) -> torch.Tensor:
        seen = seen[:, None]
        if not self._eager:
            return seen
        dtype = next(self.model.parameters()).dtype
        return torch.zeros(seen.shape, dtype=dtype, device=self.device).masked_fill(~seen, torch.finfo(dtype).min)

    def _sees(self, pieces: Sequence[Piece], width: int) -> torch.Tensor:
        causal = np.tri(width, dtype=bool)
        if not any(p.parents for p in pieces):
            return torch.from_numpy(causal[None]).to(self.device)
        sees = np.repeat(causal[None], len(pieces), 0)
        for i, piece in enumerate(pieces):
            trunk = len(piece.tokens) - len(piece.parents)
            for k, parent in enumerate(piece.parents):
                sees[i, trunk + k] = sees[i, parent]
                sees[i, trunk + k, trunk + k] = True
        return torch.from_numpy(sees).to(self.device)

    @torch.inference_mode()
    def _check_head(self, reference: str) -> None:
        """Compare `logits` with the model's own on three tokens: a scaled or capped head of an unknown kind is an error."""
        ids = torch.arange(3, device=self.device)[None]
        own = self.model(input_ids=ids).logits[0].float()
        mine = self.logits(self.model.base_model(input_ids=ids).last_hidden_state[0])
        if not torch.allclose(own, mine, atol=0.05, rtol=0.02):
            raise ModelError(
                f"the output head of {reference} ({type(self.model).__name__}) does something that the in-process judge does "
                "not know; serve the model behind an OpenAI-compatible endpoint and use `openai:` instead."
            )

    @torch.inference_mode()
    def _check_pasts(self) -> None:
        """Compare rows that go on from computed runs of different lengths with the model's own pass over the whole.

        A family may take explicit positions and a cache and heed neither, so its signature does not say whether it is covered.
        """
        ids = tuple(i % int(self.config.vocab_size) for i in range(3, 9))
        try:
            done = self.forward([Piece((), ids[:2]), Piece((), ids[:3])], keep="fresh")
            short, long = done.fresh(0, 2), done.fresh(1, 3)
            # Two runs before each row, so that one of them has a gap in its middle.
            done = self.forward([Piece((short,), ids[2:4]), Piece((long,), ids[3:4])], keep="fresh")
            rows = [Piece((short, done.fresh(0, 2)), ids[4:]), Piece((long, done.fresh(1, 1)), ids[4:])]
            found = self.forward(rows).hidden.float()
        except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as e:
            raise ModelError(
                self._uncovered(f"a pass ends in {type(e).__name__} ({' '.join(str(e).split())[:200]})")
            ) from e
        whole = self.model.base_model(input_ids=torch.tensor([ids], device=self.device)).last_hidden_state[0].float()
        off = max(float((mine - whole[-len(mine) :]).norm() / whole.norm()) for mine in found)
        # Eight bits of mantissa are off by some percent after many layers; other positions than asked for are off by more.
        if not off <= (1e-3 if self.loaded.dtype == "float32" else 0.2):
            raise ModelError(
                self._uncovered(f"its hidden states are off by {off:.1%} where it goes on from a computed prefix")
            )
