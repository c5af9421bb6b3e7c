"""Surprisal: does the explanation make activating text more likely (arXiv 2410.13928, 3.3.3)?

v(x) = log p(x | z) - log p(x | a generic explanation), in nats, summed over all tokens of the window with the first one. The
second term takes out how likely the window is anyway. Both contexts end in the same words, so the tokens of x are the same in
both; a reply where they are not has no difference and is outcome `parse`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from latentbench.kernel.forms import Ordering
from latentbench.kernel.kinds import HARD_KINDS, RANDOM, known_kinds
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Capability, Continuation, Outcome, Reply, Request
from latentbench.kernel.trial import Trial, seen
from latentbench.prompts import selection
from latentbench.prompts.template import Prompts, fill
from latentbench.scorers.metrics.yes_no import binary_metrics
from latentbench.scorers.scorer import Judgement, Metric, Params, Scorer, failed, judged

_RANKED = (
    Metric("ap_normalised", 0.0, low=-1.0, high=1.0),
    Metric("auroc", 0.5, low=0.0, high=1.0),
    Metric("mean_gap", 0.0),
)


class SurprisalParams(Params):
    """Parameters of surprisal."""

    positives: int | None = Field(default=None, ge=1)
    """Activating windows, evenly over the deciles; all by default."""
    negatives: int | None = Field(default=None, ge=1)
    """Windows of each kind in `negative_kinds`; all by default."""
    negative_kinds: Annotated[tuple[str, ...], AfterValidator(known_kinds)] = (RANDOM,)
    """Kinds of non-activating windows. Only `random` ones enter the headline; each other kind is scored apart."""


class Surprisal(Scorer):
    """One trial per window, two continuations each. `score` of a judgement is v in nats."""

    params_model: ClassVar[type[Params]] = SurprisalParams

    def __init__(self, name: str, version: str, headline: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, headline, params, prompts)
        section = Prompts(prompts, ("context", "generic"), f"scorer {name!r}")
        self._context = section.text("context", ("explanation",))
        self._generic = section.text("generic")

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
        """A judge that gives the log-probability of a text."""
        return (frozenset({Capability.TEXT}),)

    def trials(self, latent: LatentView, explanation: str, seed: int) -> list[Trial]:
        """One per window."""
        p = self.params
        chosen = [(w, 1) for w in selection.positives(latent, p.positives, seed)]
        chosen += [(w, 0) for kind in p.negative_kinds for w in selection.negatives(latent, kind, p.negatives, seed)]
        return [
            Trial(str(number), self.name, Ordering(), explanation, (seen(w),), (label,), (w.activations,))
            for number, (w, label) in enumerate(chosen)
        ]

    def requests(self, trial: Trial, can: frozenset[Capability]) -> list[Request]:
        """The window after the explanation, then after the generic one (the same call for all explainers)."""
        text = trial.windows[0].text
        return [
            Continuation(fill(self._context, {"explanation": told}), text, trial)
            for told in (trial.explanation, self._generic)
        ]

    def parse(self, trial: Trial, replies: Sequence[Reply]) -> list[Judgement]:
        """v of the window; both calls must have succeeded."""
        told, generic = replies
        for reply in replies:
            if not reply.ok:
                return failed(trial, reply)
        if told.loglik is None or generic.loglik is None or told.n_tokens != generic.n_tokens:
            return failed(
                trial, Reply(Outcome.PARSE, error=f"{told.n_tokens} and {generic.n_tokens} tokens in one text")
            )
        v = told.loglik - generic.loglik
        if not math.isfinite(v):
            return failed(trial, Reply(Outcome.PARSE, error=f"log-likelihoods {told.loglik} and {generic.loglik}"))
        return [judged(trial, score=v)]

    def metrics(self, judgements: Sequence[Judgement]) -> dict[str, float]:
        """AP and AUROC of v, and `mean_gap` = mean v of the positives - mean v of the negatives, in nats."""
        found = _gap(judgements, RANDOM)
        for kind in HARD_KINDS:
            if any(j.kind == kind and not j.truth for j in judgements):
                own = _gap(judgements, kind)
                found |= {f"{m.name}@{kind}": own[m.name] for m in _RANKED if m.name in own}
        return found


def _gap(judgements: Sequence[Judgement], kind: str) -> dict[str, float]:
    pairs = [(j.truth, j.score) for j in judgements if j.score is not None and (j.truth or j.kind == kind)]
    if not pairs:
        return {}
    found = binary_metrics([y for y, _ in pairs], None, [v for _, v in pairs])
    on, off = [v for y, v in pairs if y], [v for y, v in pairs if not y]
    if on and off:
        found["mean_gap"] = math.fsum(on) / len(on) - math.fsum(off) / len(off)
    return found
