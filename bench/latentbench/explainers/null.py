"""Explainers that know nothing of the latent. Their rows are floors, measured in every run.

`shuffled` is the sharpest: an explanation of the right kind, length and style, of another latent of the same coder. What a
scorer gives to it, it gives to style.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from latentbench.explainers.explainer import Explainer, Explanation, Others, Params
from latentbench.kernel.identity import least_seed
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
    """Gives every latent the explanation of another one of its coder, drawn anew for every repeat."""

    params_model = ShuffledParams
    is_floor = True

    def parse(self, latent: LatentView, replies: Sequence[Reply], seed: int, others: Others) -> Explanation:
        """The text of another latent of the same coder, among those that have one.

        Each latent ranks the others by a hash, so a text that is missing moves only those that had drawn it. Another coder's
        text is no substitute where there is none: of another style, it would be told from the latent's own by that alone.
        """
        known = others[self.params.of]
        pool = [i for i, e in known.items() if e.text is not None and i != latent.id and coder_of(i) == latent.coder]
        if not pool:
            error = f"{self.params.of} has no text of another latent of {latent.coder} to take"
            return Explanation(latent.id, None, Outcome.SKIPPED, error=error)
        partner = least_seed(seed, pool)
        return Explanation(latent.id, known[partner].text, note={"from": partner})
