"""Embedding: cosine between the explanation as a query and a window as a document (arXiv 2410.13928, 3.3.4).

One vector per explanation and one per window. Windows do not depend on the explanation, so the cache computes each once
for all explainers; that is why a window's text carries no wording of its own unless the task file gives it one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from latentbench.kernel.forms import Ordering
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Capability, Embed, Reply, Request
from latentbench.kernel.trial import Trial, seen
from latentbench.prompts.template import Prompts, fill
from latentbench.scorers.metrics.yes_no import binary_metrics
from latentbench.scorers.ranked import RankedScorer
from latentbench.scorers.scorer import Judgement, Metric, Params, failed, judged


class Embedding(RankedScorer):
    """Ranks windows by cosine with the explanation. One trial per latent; `score` of a judgement is the cosine."""

    ranked = (Metric("auroc", 0.5, low=0.0, high=1.0), Metric("ap_normalised", 0.0, low=-1.0, high=1.0))

    def __init__(self, name: str, version: str, headline: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, headline, params, prompts)
        section = Prompts(prompts, ("query", "document"), f"scorer {name!r}")
        self._query = section.text("query", ("explanation",))
        self._document = section.text("document", ("window",))

    @property
    def needs(self) -> tuple[frozenset[Capability], ...]:
        """A judge that embeds."""
        return (frozenset({Capability.EMBED}),)

    def trials(self, latent: LatentView, explanation: str, seed: int) -> list[Trial]:
        """One trial with every chosen window."""
        chosen = self.positives_of(latent, seed) + self.negatives_of(latent, seed)
        if not chosen:
            return []
        windows = tuple(seen(w) for w, _ in chosen)
        activations = tuple(w.activations for w, _ in chosen)
        return [Trial("0", self.name, Ordering(), explanation, windows, tuple(y for _, y in chosen), activations)]

    def requests(self, trial: Trial, can: frozenset[Capability]) -> list[Request]:
        """The explanation, then the windows in their order."""
        documents = [Embed(fill(self._document, window=w.text)) for w in trial.windows]
        return [Embed(fill(self._query, explanation=trial.explanation), query=True), *documents]

    def parse(self, trial: Trial, replies: Sequence[Reply]) -> list[Judgement]:
        """Cosines. A window whose vector failed is missing alone; without the query all are."""
        query, *documents = replies
        if not query.ok or query.vector is None:
            return failed(trial, query)
        found = []
        for i, reply in enumerate(documents):
            if not reply.ok or reply.vector is None:
                found.append(failed(trial, reply)[i])
            else:
                found.append(judged(trial, i, score=cosine(query.vector, reply.vector)))
        return found

    def against(self, judgements: Sequence[Judgement], kind: str) -> dict[str, float]:
        """AUROC and AP of the cosine."""
        used = [j for j in judgements if j.score is not None and (j.truth == 1 or j.kind == kind)]
        if not used:
            return {}
        return binary_metrics([j.truth for j in used], None, [float(j.score or 0.0) for j in used])


def cosine(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """Cosine of two vectors in float64; 0 where one of them is zero."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    norm = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / norm if norm else 0.0
