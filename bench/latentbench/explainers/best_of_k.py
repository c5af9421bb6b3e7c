"""k candidates from a language model, and the one that makes the latent's own explain windows most likely.

    round 1   the prompt of `llm`, k times, at a temperature above 0 with a seed each
    round 2   log p(window | candidate) and log p(window | generic explanation) for some explain windows

A candidate's choosing score is the mean difference in nats a window: surprisal (arXiv 2410.13928, 3.3.3) on explain windows.
Test windows have no part in it, so the score that is reported is not the one that was chosen on. Windows that the prompt did
not show come first: on those a candidate cannot win by quoting. The note of every explanation has all candidates with their
scores and the gain beside its null, because the best of k equal candidates looks better than each of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import Field

from latentbench.explainers.explainer import Explanation, Others, Params, total_usage
from latentbench.explainers.llm import LlmExplainer, LlmParams
from latentbench.kernel.identity import seed_for
from latentbench.kernel.latent import LatentView, Window
from latentbench.kernel.requests import Capability, Chat, Continuation, Outcome, Reply, Request
from latentbench.prompts.template import fill
from latentbench.stats.maximum import best_of_k


class BestOfKParams(LlmParams):
    """Parameters of best-of-k: those of `llm`, and how candidates are drawn and compared."""

    k: int = Field(default=4, ge=1)
    """Candidates. Equal ones are compared once; k = 1 is `llm` at a temperature."""
    temperature: float = Field(default=0.8, gt=0)
    """Above 0, or all candidates would be equal."""
    n_choose: int = Field(default=8, ge=1)
    """Explain windows that candidates are compared on; fewer where the suite has fewer."""


class BestOfKExplainer(LlmExplainer):
    """Two rounds: k chats, then a text log-probability per window and candidate."""

    more = ("context", "generic")
    params_model = BestOfKParams
    needs = frozenset({Capability.CHAT, Capability.TEXT})

    def __init__(self, name: str, version: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, params, prompts)
        self._context = self._section.text("context", ("explanation",))
        self._generic = self._section.text("generic")

    def requests(self, latent: LatentView, seed: int) -> list[Request]:
        """The prompt of `llm`, once for each candidate."""
        chats = [request for request in super().requests(latent, seed) if isinstance(request, Chat)]
        return [
            replace(chat, seed=seed_for(seed, "candidate", i) % 2**31) for i in range(self.params.k) for chat in chats
        ]

    def follow_up(self, latent: LatentView, replies: Sequence[Reply], seed: int) -> list[Request]:
        """After the first round every window after the generic text, then after each distinct candidate."""
        if len(replies) != self.params.k:
            return []
        texts = self._distinct(latent, replies, seed)
        if len(texts) < 2:
            return []
        windows = self.judged(latent, seed)
        return [
            Continuation(fill(self._context, explanation=text), window.text)
            for text in (self._generic, *texts)
            for window in windows
        ]

    def judged(self, latent: LatentView, seed: int) -> list[Window]:
        """The explain windows that candidates are compared on: those that the prompt left out first, strongest first."""
        shown = {w.id for w in self.chosen(latent.explain, seed)}
        ordered = sorted(latent.explain, key=lambda w: w.id in shown)
        return ordered[: self.params.n_choose]

    def parse(self, latent: LatentView, replies: Sequence[Reply], seed: int, others: Others) -> Explanation:
        """The candidate with the largest score; the first of equals.

        Candidates that failed are left out and recorded. Without any, the outcome is that of the first. A failed comparison
        fails the explanation: choosing by what is left would prefer candidates whose calls fail on hard windows.
        """
        usage = total_usage(replies)
        written, compared = replies[: self.params.k], replies[self.params.k :]
        if not written:
            return super().parse(latent, (), seed, others)
        candidates = [self._candidate(latent, reply, seed) for reply in written]
        texts = self._distinct(latent, written, seed)
        if not texts:
            first = candidates[0]
            return Explanation(latent.id, None, first.outcome, usage, first.error)
        note: dict[str, Any] = {
            "candidates": [{"text": c.text, "outcome": c.outcome.value, "error": c.error} for c in candidates]
        }
        if len(texts) == 1:
            return Explanation(latent.id, texts[0], Outcome.OK, usage, note=note)
        windows = self.judged(latent, seed)
        bad = next((r for r in compared if not r.ok or r.loglik is None or not math.isfinite(r.loglik)), None)
        if bad is not None or len(compared) != (1 + len(texts)) * len(windows):
            outcome = bad.outcome if bad is not None and not bad.ok else Outcome.PARSE
            error = (
                f"candidates could not be compared: {(bad.error if bad else None) or 'a text has no log-probability'}"
            )
            return Explanation(latent.id, None, outcome, usage, error, note)
        loglik = np.array([r.loglik for r in compared], np.float64).reshape(1 + len(texts), len(windows))
        gains = loglik[1:] - loglik[0]
        means = gains.mean(axis=1)
        found = dict(zip(texts, means.tolist(), strict=True))
        for entry in note["candidates"]:
            entry["score"] = found.get(entry["text"])
        null = best_of_k(gains, seed_for(seed, "null"))
        note |= {"windows": [w.id for w in windows], "gain": null.gain, "null_gain": null.null, "p": null.p}
        return Explanation(latent.id, texts[int(means.argmax())], Outcome.OK, usage, note=note)

    def _candidate(self, latent: LatentView, reply: Reply, seed: int) -> Explanation:
        return super().parse(latent, [reply], seed, {})

    def _distinct(self, latent: LatentView, replies: Sequence[Reply], seed: int) -> list[str]:
        found = [self._candidate(latent, reply, seed).text for reply in replies]
        return list(dict.fromkeys(text for text in found if text is not None))
