"""Explainers that know nothing of the latent. Their rows are floors, measured in every run.

`shuffled` is the sharpest: an explanation of the right kind, length and style, of another latent of the same coder. What a
scorer gives to it, it gives to style.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from latentbench.explainers.explainer import Explainer, Explanation, Others, Params
from latentbench.kernel.identity import seed_for
from latentbench.kernel.latent import LatentView, coder_of
from latentbench.kernel.requests import Outcome, Reply


class EmptyExplainer(Explainer):
    """Says nothing."""

    is_floor = True

    def parse(self, latent: LatentView, replies: Sequence[Reply], seed: int, others: Others) -> Explanation:
        """The empty text, which is a legal explanation and not a failure."""
        return Explanation(latent.id, "")


class ConstantParams(Params):
    """Parameters of the constant explanation."""

    text: str
    """What is said of every latent."""


class ConstantExplainer(Explainer):
    """Says the same of every latent."""

    params_model = ConstantParams
    is_floor = True

    def parse(self, latent: LatentView, replies: Sequence[Reply], seed: int, others: Others) -> Explanation:
        """The text of the parameters."""
        return Explanation(latent.id, self.params.text)


class ShuffledParams(Params):
    """Parameters of the shuffled explanation."""

    labels: ClassVar[tuple[str, ...]] = ("of",)

    of: str
    """Label of the explainer whose explanations are exchanged."""


class ShuffledExplainer(Explainer):
    """Gives every latent the explanation of another one of its coder."""

    params_model = ShuffledParams
    is_floor = True

    def parse(self, latent: LatentView, replies: Sequence[Reply], seed: int, others: Others) -> Explanation:
        """The other latent's text, or its outcome if it has none."""
        pool = others[self.params.of]
        ids = sorted(pool)
        mine = [i for i in ids if coder_of(i) == latent.coder]
        partner = derangement(mine if len(mine) > 1 else ids, self.name).get(latent.id)
        if partner is None:
            return Explanation(latent.id, None, Outcome.SKIPPED, error="there is no other latent to take from")
        other = pool[partner]
        return Explanation(latent.id, other.text, other.outcome, error=other.error, note={"from": partner})


def derangement(ids: Sequence[str], name: str) -> dict[str, str]:
    """Each id -> another one, each taken once: a drawn circle through all of them.

    A drawn permutation with its fixed points repaired is the tempting way; a circle has none. It depends on the set of ids
    alone, so the same latents are exchanged in every run and repeat.
    """
    if len(ids) < 2:
        return {}
    ordered = sorted(ids)
    circle = [ordered[i] for i in np.random.default_rng(seed_for(name, *ordered)).permutation(len(ordered))]
    return dict(zip(circle, [*circle[1:], circle[0]], strict=True))
