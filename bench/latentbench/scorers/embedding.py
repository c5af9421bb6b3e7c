"""Embedding: cosine between the explanation as a query and a window as a document (arXiv 2410.13928, 3.3.4).

One vector per explanation and one per window. Windows do not depend on the explanation, so the cache computes each once
for all explainers; that is why a window's text carries no wording of its own unless the task file gives it one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator, Field

from latentbench.kernel.forms import Ordering
from latentbench.kernel.kinds import HARD_KINDS, RANDOM, known_kinds
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Capability, Embed, Reply, Request
from latentbench.kernel.trial import Trial, seen
from latentbench.prompts import selection
from latentbench.prompts.template import Prompts, fill
from latentbench.scorers.metrics.yes_no import binary_metrics
from latentbench.scorers.scorer import Judgement, Metric, Params, Scorer, failed, judged

_RANKED = (Metric("auroc", 0.5, low=0.0, high=1.0), Metric("ap_normalised", 0.0, low=-1.0, high=1.0))


class EmbeddingParams(Params):
    """Parameters of the embedding scorer."""

    positives: int | None = Field(default=None, ge=1)
    """Activating windows, evenly over the deciles; all by default."""
    negatives: int | None = Field(default=None, ge=1)
    """Windows of each kind in `negative_kinds`; all by default."""
    negative_kinds: Annotated[tuple[str, ...], AfterValidator(known_kinds)] = (RANDOM,)
    """Kinds of non-activating windows. Only `random` ones enter the headline; each other kind is scored apart."""


class Embedding(Scorer):
    """Ranks windows by cosine with the explanation. One trial per latent; `score` of a judgement is the cosine."""

    params_model: ClassVar[type[Params]] = EmbeddingParams

    def __init__(self, name: str, version: str, headline: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, headline, params, prompts)
        section = Prompts(prompts, ("query", "document"), f"scorer {name!r}")
        self._query = section.text("query", ("explanation",))
        self._document = section.text("document", ("window",))

    def metric_table(self) -> tuple[Metric, ...]:
        """What is ranked against random windows, and against each harder kind."""
        hard = (Metric(f"{m.name}@{kind}", m.floor) for kind in HARD_KINDS for m in _RANKED)
        return (*_RANKED, Metric("ap", None), Metric("n", None), *hard)

    @property
    def negative_kinds(self) -> tuple[str, ...]:
        """The kinds that the parameters name."""
        kinds: tuple[str, ...] = self.params.negative_kinds
        return kinds

    @property
    def needs(self) -> tuple[frozenset[Capability], ...]:
        """A judge that embeds."""
        return (frozenset({Capability.EMBED}),)

    def trials(self, latent: LatentView, explanation: str, seed: int) -> list[Trial]:
        """One trial with every chosen window."""
        p = self.params
        chosen = [(w, 1) for w in selection.positives(latent, p.positives, seed)]
        chosen += [(w, 0) for kind in p.negative_kinds for w in selection.negatives(latent, kind, p.negatives, seed)]
        if not chosen:
            return []
        windows = tuple(seen(w) for w, _ in chosen)
        activations = tuple(w.activations for w, _ in chosen)
        return [Trial("0", self.name, Ordering(), explanation, windows, tuple(y for _, y in chosen), activations)]

    def requests(self, trial: Trial, can: frozenset[Capability]) -> list[Request]:
        """The explanation, then the windows in their order."""
        documents = [Embed(fill(self._document, {"window": w.text})) for w in trial.windows]
        return [Embed(fill(self._query, {"explanation": trial.explanation}), query=True), *documents]

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

    def metrics(self, judgements: Sequence[Judgement]) -> dict[str, float]:
        """AUROC and AP of the cosine: `quantile:*` against `random`, harder kinds under `metric@kind`."""
        found = _ranked(judgements, RANDOM)
        for kind in HARD_KINDS:
            if any(j.kind == kind and not j.truth for j in judgements):
                own = _ranked(judgements, kind)
                found |= {f"{m.name}@{kind}": own[m.name] for m in _RANKED if m.name in own}
        return found


def cosine(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """Cosine of two vectors in float64; 0 where one of them is zero."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    norm = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / norm if norm else 0.0


def _ranked(judgements: Sequence[Judgement], kind: str) -> dict[str, float]:
    used = [j for j in judgements if j.score is not None and (j.truth == 1 or j.kind == kind)]
    if not used:
        return {}
    return binary_metrics([j.truth for j in used], None, [float(j.score or 0.0) for j in used])
