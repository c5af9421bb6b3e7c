"""Activating windows against silent ones: the model sees both and says what only the first have.

Without the second list a description that fits all text is as good as a precise one. The silent windows have role `explain` in
the suite and none of them is a test window; a suite gets them by the recipe key `explain: {negatives: 10}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from latentbench.explainers.explainer import Explainer, Explanation, Others, Params, chat
from latentbench.explainers.llm import LlmExplainer, LlmParams
from latentbench.kernel.identity import seed_for
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Outcome, Reply, Request
from latentbench.prompts.examples import cropped
from latentbench.prompts.template import Prompts, one_line


class ContrastiveParams(LlmParams):
    """Parameters of the contrastive explainer: those of `llm`, and how many silent windows are shown."""

    n_contrast: int = Field(default=10, ge=1)
    """Silent windows in the prompt, any of the suite's; fewer where the suite has fewer."""
    show_activations: bool = False
    """List (token, activation 0-10) below each activating window."""


class ContrastiveExplainer(LlmExplainer):
    """Asks one chat request per latent; replies are read as those of `llm`."""

    params_model = ContrastiveParams

    def __init__(self, name: str, version: str, params: Params, prompts: Mapping[str, Any]) -> None:
        Explainer.__init__(self, name, version, params, prompts)
        section = Prompts(prompts, ("marker", "direct", "cot"), f"explainer {name!r}")
        templates = {key: section.messages(key, ("examples", "silent", "marker")) for key in ("direct", "cot")}
        self._template = templates["cot" if self.params.cot else "direct"]
        self._marker = section.text("marker")
        self._lead = self._template.lead

    def requests(self, latent: LatentView, seed: int) -> list[Request]:
        """One request; none for a latent that lacks windows of one sort."""
        if not latent.explain or not latent.contrast:
            return []
        examples = "\n".join(
            self._example(i, w, latent.max) for i, w in enumerate(self.chosen(latent.explain, seed), 1)
        )
        n = min(self.params.n_contrast, len(latent.contrast))
        drawn = np.random.default_rng(seed_for(seed, "contrast")).choice(len(latent.contrast), n, replace=False)
        silent = "\n".join(
            f"Silent {i}: {one_line(cropped(latent.contrast[w], self.params.window).text)}"
            for i, w in enumerate(sorted(drawn.tolist()), 1)
        )
        messages = self._template.render(examples=examples, silent=silent, marker=self._marker)
        return [chat(messages, self.params.max_tokens, self.params.temperature, seed)]

    def parse(self, latent: LatentView, replies: Sequence[Reply], seed: int, others: Others) -> Explanation:
        """The text in the reply; a suite without silent explain windows skips every latent and says how to get them."""
        if not latent.contrast:
            error = "the suite has no silent explain windows; build one with the recipe key explain: {negatives: 10}"
            return Explanation(latent.id, None, Outcome.SKIPPED, error=error)
        return super().parse(latent, replies, seed, others)
