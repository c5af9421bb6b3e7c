"""Simulation: predict the activation of every token from the explanation (Bills et al. 2023; arXiv 2410.13928, 3.3.4).

    logprob   one prompt per window: its tokens are listed with `unknown` behind each, and at every one of these places the
              log-probabilities of 0..10 are read. E[a_t] = sum v p(v) / sum p(v).
    json      the judge writes [[token, value], ...] or just the values; a reply that does not fit is outcome `parse`, never
              zeros.

Each value is scored together with the sign that ends it. Otherwise 1 would be credited with the mass of 10, which a tokenizer
may or may not write as one token. Activations are in tenths of the latent's maximum over its explain windows, the same scale
that explainers are shown; larger ones are not clipped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from latentbench.kernel.errors import CapabilityError
from latentbench.kernel.forms import Levels
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Capability, Chat, Choice, Outcome, Reply, Request, Simulate
from latentbench.kernel.trial import Trial, seen
from latentbench.prompts import selection
from latentbench.prompts.answers import unread
from latentbench.prompts.template import Prompts, one_line
from latentbench.scorers.scorer import Judgement, Metric, Params, Scorer, failed, judged
from latentbench.stats.token_metrics import activation_metrics

LEVELS = tuple(str(v) for v in range(11))
UNKNOWN = "unknown"
_MAIN = (
    Metric("pearson", 0.0, low=-1.0, high=1.0),
    # Both are at most 1 and have no least value.
    Metric("r2", None, high=1.0),
    Metric("absolute_deviation_explained", 0.0, high=1.0),
)


class SimulationParams(Params):
    """Parameters of simulation."""

    mode: Literal["logprob", "json"] = "logprob"
    """Log-probabilities of 0..10 at every token, or a written list."""
    positives: int | None = Field(default=None, ge=1)
    """Activating windows, evenly over the deciles; all by default."""
    negatives: int | None = Field(default=None, ge=1)
    """Random silent windows; all by default."""
    simulate: Literal["first", "last", "never"] = "first"
    """Whether a judge that can both simulate and read text is asked to simulate."""


class Simulation(Scorer):
    """One trial and one judgement per window, with a prediction for every token."""

    params_model: ClassVar[type[Params]] = SimulationParams

    def __init__(self, name: str, version: str, headline: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, headline, params, prompts)
        section = Prompts(prompts, ("logprob", "json"), f"scorer {name!r}")
        self._templates = {
            "logprob": section.messages("logprob", ("explanation", "window")),
            "json": section.messages("json", ("explanation", "window", "tokens")),
        }

    def metric_table(self) -> tuple[Metric, ...]:
        """Agreement over all tokens, and within each decile."""
        return (*_MAIN, *(Metric(f"pearson@quantile:{d}", 0.0) for d in range(10)), Metric("n", None))

    @property
    def needs(self) -> tuple[frozenset[Capability], ...]:
        """Simulation first, last or never, beside what the mode reads."""
        wanted = {Capability.CHOICE, Capability.SLOTS} if self.params.mode == "logprob" else {Capability.CHAT}
        text, sim = frozenset(wanted), frozenset({Capability.SIMULATE})
        return {"first": (sim, text), "last": (text, sim), "never": (text,)}[self.params.simulate]

    def trials(self, latent: LatentView, explanation: str, seed: int) -> list[Trial]:
        """One per window; a latent without a scale (no explain windows) is scaled by its strongest test window."""
        p = self.params
        chosen = [(w, 1) for w in selection.positives(latent, p.positives, seed)]
        chosen += [(w, 0) for w in selection.negatives(latent, "random", p.negatives, seed)]
        scale = latent.max or max((w.max for w, _ in chosen), default=0.0) or 1.0
        trials = []
        for number, (w, label) in enumerate(selection.shuffled(chosen, self.own(seed, "order"))):
            actual = tuple(10 * a / scale for a in w.activations)
            form = Levels(LEVELS, "token")
            trials.append(Trial(str(number), self.name, form, explanation, (seen(w),), (label,), (actual,)))
        return trials

    def requests(self, trial: Trial, can: frozenset[Capability]) -> list[Request]:
        """One request per window.

        Raises:
            CapabilityError: the judge fits none of `needs`.
        """
        (window,) = trial.windows
        tokens = [cell(t) for t in window.tokens]
        for need in self.needs:
            if not need <= can:
                continue
            if Capability.SIMULATE in need:
                return [Simulate(trial)]
            template = self._templates[self.params.mode]
            values = {"explanation": trial.explanation, "window": one_line(window.text)}
            if self.params.mode == "logprob":
                slots = tuple(("\n" if i == 0 else f"{UNKNOWN}\n") + f"{t}\t" for i, t in enumerate(tokens))
                return [Choice(template.render(**values), LEVELS, slots, "\n", trial)]
            listed = json.dumps(tokens, ensure_ascii=False)
            messages = template.render(**values, tokens=listed)
            return [Chat(messages, max_tokens=64 + len(listed.encode()) + 8 * len(tokens), trial=trial)]
        raise CapabilityError(f"scorer {self.name!r} cannot use a judge that can only {sorted(can)}.")

    def parse(self, trial: Trial, replies: Sequence[Reply]) -> list[Judgement]:
        """Predictions in 0..10 beside the truth in the same unit."""
        reply, window = replies[0], trial.windows[0]
        if not reply.ok:
            return failed(trial, reply)
        if reply.tokens is not None:
            read = [10 * p for p in reply.tokens[0]]
        elif reply.logprobs is not None:
            values = [expected(levels) for levels in reply.logprobs]
            read = [v for v in values if v is not None]
            if len(read) < len(values):
                return failed(trial, Reply(Outcome.PARSE, error="a token has no mass on any level"))
        else:
            written = read_json(reply.text or "", [cell(t) for t in window.tokens])
            if written is None:
                return failed(trial, unread(reply.text or ""))
            read = list(written)
        if len(read) != len(window.tokens):
            error = f"{len(read)} predictions for {len(window.tokens)} tokens"
            return failed(trial, Reply(Outcome.PARSE, error=error))
        return [judged(trial, token_scores=tuple(read), token_truth=trial.token_truth[0])]

    def metrics(self, judgements: Sequence[Judgement]) -> dict[str, float]:
        """Over all tokens of all windows concatenated; Pearson also within each decile. `n` counts windows."""
        used = [j for j in judgements if j.token_scores is not None and j.token_truth is not None]
        if not used:
            return {}
        found = {"n": float(len(used))} | _over(used)
        for kind in sorted({j.kind for j in used if j.truth == 1}):
            own = _over([j for j in used if j.kind == kind])
            if "pearson" in own:
                found[f"pearson@{kind}"] = own["pearson"]
        return found


def cell(token: str) -> str:
    """A token in a table with one line per token and tabs between columns."""
    return token.replace("\r", "").replace("\n", "⏎").replace("\t", "⇥")


def expected(logprobs: Sequence[float]) -> float | None:
    """sum v p(v) / sum p(v) from the log-probabilities of 0..n; None where no level has mass."""
    top = max(logprobs)
    if not math.isfinite(top) or any(math.isnan(x) for x in logprobs):
        return None
    p = [math.exp(x - top) for x in logprobs]
    return math.fsum(v * x for v, x in enumerate(p)) / math.fsum(p)


def read_json(text: str, tokens: Sequence[str]) -> tuple[float, ...] | None:
    """Values of `[[token, value], ...]` or `[value, ...]`, or None unless it is JSON with one value in 0..10 for every token.

    Tokens, where they are written, are those of the window in order, compared without outer white space, which judges do not
    keep. A code fence around the list is allowed.
    """
    body = text.strip()
    if body.startswith("```") and body.endswith("```"):
        body = body[3:-3].removeprefix("json")
    try:
        rows = json.loads(body)
    except (ValueError, RecursionError):  # a judge that loops writes thousands of opening brackets
        return None
    if not isinstance(rows, list) or len(rows) != len(tokens):
        return None
    values = []
    if len({isinstance(row, list) for row in rows}) > 1:
        return None
    for row, token in zip(rows, tokens, strict=True):
        value = row
        if isinstance(row, list):
            if len(row) != 2 or not isinstance(row[0], str) or row[0].strip() != token.strip():
                return None
            value = row[1]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 10:
            return None
        values.append(float(value))
    return tuple(values)


def _over(judgements: Sequence[Judgement]) -> dict[str, float]:
    actual = [a for j in judgements for a in j.token_truth or ()]
    return activation_metrics(actual, [p for j in judgements for p in j.token_scores or ()])
