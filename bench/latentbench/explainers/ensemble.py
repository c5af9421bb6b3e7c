"""One text from two explanations: where a latent fires (input side) and what it makes the model say (output side).

It reads what two other explainers of the grid have said, so nothing is paid twice and both parts have rows of their own to
compare it with. A latent that lacks one part gets no text: half an ensemble under the name of a whole one would be compared
with whole ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from latentbench.explainers.explainer import Explainer, Explanation, Others, Params
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Reply
from latentbench.prompts.template import Prompts, fill


class EnsembleParams(Params):
    """Parameters of the ensemble."""

    labels: ClassVar[tuple[str, ...]] = ("of",)

    of: tuple[str, str]
    """Labels of two explainers of the run: the input side, then the output side."""


class EnsembleExplainer(Explainer):
    """Joins by a template; asks nobody."""

    params_model = EnsembleParams

    def __init__(self, name: str, version: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, params, prompts)
        self._joined = Prompts(prompts, ("joined",), f"explainer {name!r}").text("joined", ("input", "output"))

    def parse(self, latent: LatentView, replies: Sequence[Reply], seed: int, others: Others) -> Explanation:
        """The joined text, or the outcome of the first part that has none."""
        parts = [others[label][latent.id] for label in self.params.of]
        for label, part in zip(self.params.of, parts, strict=True):
            if part.text is None:
                return Explanation(
                    latent.id, None, part.outcome, error=f"{label} has no text: {part.error or part.outcome.value}"
                )
        first, second = (part.text or "" for part in parts)
        text = fill(self._joined, input=first, output=second)
        return Explanation(latent.id, text, note={"of": [part.hash for part in parts]})
