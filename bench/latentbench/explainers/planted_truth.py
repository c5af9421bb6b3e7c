"""The texts that a planted suite has about its own latents: the truth, the same in other words, near misses, and others' truths.

They are what judges are qualified on. As an explainer they go through the same grid, cache and tables as every other explanation,
instead of a path of their own that could differ from the one that is being qualified.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from latentbench.explainers.explainer import Explainer, Explanation, Others, Params
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Outcome, Reply

Near = Literal["narrow", "broad", "wrong", "sibling"]
Which = Literal["truth", "paraphrase", Near, "unrelated:0", "unrelated:1", "unrelated:2"]
EVERY: tuple[Which, ...] = get_args(Which)


class PlantedParams(Params):
    """Parameters of planted explanations."""

    which: Which = "truth"
    """Which of a planted latent's texts."""


class PlantedExplainer(Explainer):
    """Reads `truth` of the suite's latents table."""

    params_model = PlantedParams

    def parse(self, latent: LatentView, replies: Sequence[Reply], seed: int, others: Others) -> Explanation:
        """The text; a latent whose truth nobody planted is skipped."""
        planted = latent.row.get("truth")
        if planted is None:
            return Explanation(latent.id, None, Outcome.SKIPPED, error="not a planted latent: it has no known truth")
        truth = json.loads(planted)
        if self.params.which in get_args(Near) and self.params.which not in truth["near"]:
            return Explanation(latent.id, None, Outcome.SKIPPED, error=f"it has no near miss {self.params.which!r}")
        return Explanation(latent.id, text_of(truth, self.params.which))


def text_of(truth: Mapping[str, object], which: Which) -> str:
    """One of the texts in the `truth` column of a planted suite (`latentbench.suites.planted.planted_suite`)."""
    kind, _, number = which.partition(":")
    found = truth[kind] if kind in ("truth", "paraphrase") else truth["unrelated" if number else "near"]
    if isinstance(found, Mapping):
        found = found[kind]
    elif isinstance(found, Sequence) and not isinstance(found, str):
        found = found[int(number)]
    return str(found)
