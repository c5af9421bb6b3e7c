"""Surprisal: does the explanation make activating text more likely (arXiv 2410.13928, 3.3.3)?

v(x) = log p(x | z) - log p(x | a generic explanation), in nats, summed over all tokens of the window with the first one. The
second term takes out how likely the window is anyway. Both contexts end in the same words, so the tokens of x are the same in
both; a reply where they are not has no difference and is outcome `parse`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from latentbench.kernel.forms import Ordering
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Capability, Continuation, Outcome, Reply, Request
from latentbench.kernel.trial import Trial, seen
from latentbench.prompts.template import Prompts, fill
from latentbench.scorers.metrics.yes_no import binary_metrics
from latentbench.scorers.ranked import RankedScorer
from latentbench.scorers.scorer import Judgement, Metric, Params, failed, judged


class Surprisal(RankedScorer):
    """One trial per window, two continuations each. `score` of a judgement is v in nats."""

    ranked = (
        Metric("ap_normalised", 0.0, low=-1.0, high=1.0),
        Metric("auroc", 0.5, low=0.0, high=1.0),
        Metric("mean_gap", 0.0),
    )

    def __init__(self, name: str, version: str, headline: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, headline, params, prompts)
        section = Prompts(prompts, ("context", "generic"), f"scorer {name!r}")
        self._context = section.text("context", ("explanation",))
        self._generic = section.text("generic")

    @property
    def needs(self) -> tuple[frozenset[Capability], ...]:
        """A judge that gives the log-probability of a text."""
        return (frozenset({Capability.TEXT}),)

    def trials(self, latent: LatentView, explanation: str, seed: int) -> list[Trial]:
        """One per window."""
        chosen = self.positives_of(latent, seed) + self.negatives_of(latent, seed)
        return [
            Trial(str(number), self.name, Ordering(), explanation, (seen(w),), (label,), (w.activations,))
            for number, (w, label) in enumerate(chosen)
        ]

    def requests(self, trial: Trial, can: frozenset[Capability]) -> list[Request]:
        """The window after the explanation, then after the generic one (the same call for all explainers)."""
        text = trial.windows[0].text
        return [
            Continuation(fill(self._context, explanation=told), text, trial)
            for told in (trial.explanation, self._generic)
        ]

    def parse(self, trial: Trial, replies: Sequence[Reply]) -> list[Judgement]:
        """v of the window; both calls must have succeeded."""
        return difference(trial, replies)

    def against(self, judgements: Sequence[Judgement], kind: str) -> dict[str, float]:
        """AP and AUROC of v, and `mean_gap` = mean v of the positives - mean v of the negatives, in nats."""
        pairs = [(j.truth, j.score) for j in judgements if j.score is not None and (j.truth or j.kind == kind)]
        if not pairs:
            return {}
        found = binary_metrics([y for y, _ in pairs], None, [v for _, v in pairs])
        on, off = [v for y, v in pairs if y], [v for y, v in pairs if not y]
        if on and off:
            found["mean_gap"] = math.fsum(on) / len(on) - math.fsum(off) / len(off)
        return found


def difference(trial: Trial, replies: Sequence[Reply]) -> list[Judgement]:
    """How much likelier one text is in the first context than in the second, in nats; both calls must have succeeded."""
    for reply in replies:
        if not reply.ok:
            return failed(trial, reply)
    first, second = replies
    if first.loglik is None or second.loglik is None or first.n_tokens != second.n_tokens:
        error = f"{first.n_tokens} and {second.n_tokens} tokens in one text"
        return failed(trial, Reply(Outcome.PARSE, error=error))
    nats = first.loglik - second.loglik
    if not math.isfinite(nats):
        error = f"log-likelihoods {first.loglik} and {second.loglik}"
        return failed(trial, Reply(Outcome.PARSE, error=error))
    return [judged(trial, score=nats)]
