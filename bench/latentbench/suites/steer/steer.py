"""A few latents steered together: rows of one forward pass mix latents, strengths and prompts.

The clean distribution of every prompt is computed once and kept for all strengths. A row is a (latent, strength, prompt); which
rows share a pass is decided here and nowhere else, and changes no number beyond floating-point rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentbench.kernel.latent import LatentView
from latentbench.models.language_model import Loaded
from latentbench.subject import interventions as iv
from latentbench.subject.coders.sparse import SparseCoder
from latentbench.subject.hooks import edit
from latentbench.suites.steer.steer_prompts import SteerPrompt

ROWS = 128
"""Rows per forward pass."""

ROLES = ("test", "explain")


@dataclass(frozen=True, slots=True)
class StrengthEffect:
    """One strength of one latent, per prompt.

    Attributes:
        kl: in nats.
        promoted, suppressed: token ids by change of next-token probability; empty where none were asked for.
    """

    kl: list[float]
    promoted: list[list[int]]
    suppressed: list[list[int]]


class SteerGroup:
    """Latents of one coder with their prompts, computed clean.

    Args:
        loaded: the subject.
        coder: of the latents.
        chosen: latents with their prompts; at least one scoring prompt each.

    Attributes:
        prompts: all prompts, scoring prompts first.
        of: per latent, role -> places in `prompts`.
        scales: per latent, norm of the clean activation over that of the direction (median over scoring prompts).
    """

    def __init__(
        self, loaded: Loaded, coder: SparseCoder, chosen: Sequence[tuple[LatentView, list[SteerPrompt]]]
    ) -> None:
        self.loaded, self.coder = loaded, coder
        # Scoring prompts come first, so that noise, which only they need, can be indexed by prompt.
        self.prompts = [p for role in ROLES for _, own in chosen for p in own if p.role == role]
        self.ready = iv.prefill(loaded, [p.ids for p in self.prompts])
        self.index = torch.tensor([v.index for v, _ in chosen])
        self.directions = coder.direction(self.index).float().to(loaded.device)
        places = iter(range(len(self.prompts)))
        by_role = [[[next(places) for p in own if p.role == role] for _, own in chosen] for role in ROLES]
        self.of = [dict(zip(ROLES, own, strict=True)) for own in zip(*by_role, strict=True)]
        seen: list[Tensor] = []

        def look(h: Tensor) -> Tensor:
            seen.append(h[:, 0].float().norm(dim=-1))
            return h

        every = torch.arange(len(self.prompts), device=loaded.device)
        with edit(loaded, iv.writes_at(coder), look):
            self.clean = torch.cat([iv.log_probs(self.ready, part, None) for part in torch.split(every, ROWS)])
        norms = torch.cat(seen)
        self.scales = [
            middle(norms[own["test"]]) / float(self.directions[i].norm().clamp_min(1e-12))
            for i, own in enumerate(self.of)
        ]

    def change(self, latent: Tensor, delta: Tensor | None) -> iv.Change:
        """Rows of latents (by place in the group) with their strengths; None ablates."""
        if delta is None:
            return iv.Ablation(self.coder, self.index[latent.cpu()].to(self.loaded.device))
        return iv.Addition(iv.writes_at(self.coder), self.directions[latent], delta)

    def measure(self, asked: Sequence[tuple[int, float | None]], role: str, top: int = 0) -> list[StrengthEffect]:
        """KL of each prompt, and the `top` tokens by change of probability, for (latent, delta) pairs; None ablates.

        Pairs of one call either all have a delta or none has.
        """
        rows = [(a, p) for a, (i, _) in enumerate(asked) for p in self.of[i][role]]
        kls, ups, downs = [], [], []
        for at in range(0, len(rows), ROWS):
            part = rows[at : at + ROWS]
            prompt, change = self._rows(asked, part)
            found = iv.log_probs(self.ready, prompt, change)
            clean = self.clean[prompt]
            kls += iv.kl(clean, found).tolist()
            if top:
                moved = found.exp() - clean.exp()
                ups += moved.topk(top).indices.tolist()
                downs += (-moved).topk(top).indices.tolist()
        out = [StrengthEffect([], [], []) for _ in asked]
        for n, (a, _) in enumerate(rows):
            out[a].kl.append(kls[n])
            if top:
                out[a].promoted.append(ups[n])
                out[a].suppressed.append(downs[n])
        return out

    def texts(self, asked: Sequence[tuple[int, float | None]], noise: Tensor) -> list[list[list[int]]]:
        """New tokens after each scoring prompt, for (latent, delta) pairs; None ablates."""
        rows = [(a, p) for a, (i, _) in enumerate(asked) for p in self.of[i]["test"]]
        new: list[list[int]] = []
        for at in range(0, len(rows), ROWS):
            prompt, change = self._rows(asked, rows[at : at + ROWS])
            new += iv.continue_texts(self.ready, prompt, change, noise).tolist()
        out: list[list[list[int]]] = [[] for _ in asked]
        for n, (a, _) in enumerate(rows):
            out[a].append(new[n])
        return out

    def _rows(
        self, asked: Sequence[tuple[int, float | None]], part: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, iv.Change]:
        device = self.loaded.device
        latent = torch.tensor([asked[a][0] for a, _ in part], device=device)
        deltas = [asked[a][1] for a, _ in part]
        strength = None if deltas[0] is None else torch.tensor(deltas, dtype=torch.float32, device=device)
        return torch.tensor([p for _, p in part], device=device), self.change(latent, strength)


def middle(values: Tensor) -> float:
    """The median, which of an even number is the mean of the two middle ones; torch's own is the lower of them."""
    return float(values.quantile(0.5))
