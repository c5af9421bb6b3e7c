"""What detection and fuzzing share: windows with a yes/no label, asked in lists or one by one.

    list     several shuffled windows in one prompt, the answer is a list of 0 and 1 (a judge that chats)
    single   one window in a prompt, the log-probabilities of the two answers (a judge that gives them; else its word)

A simulator judge is asked directly. Which of a judge's abilities is used is decided by `simulate` and `answer` alone, so two
judges with the same abilities are always asked in the same way.

A subclass says how a window is shown and which of a simulator's numbers is its answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from latentbench.kernel.errors import CapabilityError
from latentbench.kernel.forms import Form, YesNo
from latentbench.kernel.latent import LatentView, Window
from latentbench.kernel.requests import Capability, Chat, Choice, Outcome, Reply, Request, Simulate
from latentbench.kernel.trial import Seen, Trial, alone, seen
from latentbench.prompts import selection
from latentbench.prompts.answers import NO_MASS, read_list, read_word, unread
from latentbench.prompts.template import Prompts, one_line
from latentbench.scorers.metrics.yes_no import binary_metrics
from latentbench.scorers.ranked import RankedParams, RankedScorer
from latentbench.scorers.scorer import Judgement, Metric, Params, failed, judged


class BinaryParams(RankedParams):
    """Parameters of detection and fuzzing."""

    answer: Literal["list", "single"] = "list"
    """`list`: several windows a prompt; `single`: one, with log-probabilities where the judge gives them."""
    windows_per_prompt: int = Field(default=5, ge=1)
    """Windows in a list prompt. What remains at the end is asked in a shorter list."""
    simulate: Literal["first", "last", "never"] = "first"
    """Whether a judge that can both simulate and read text is asked to simulate."""
    reduction: Literal["window", "mean", "max", "noisy_or"] = "window"
    """How a simulator's answer becomes one probability: its own for the window, or from its tokens'."""


class BinaryTask(RankedScorer):
    """Base of scorers that ask yes or no about windows. See the module docstring."""

    params_model: ClassVar[type[Params]] = BinaryParams
    ranked = (
        # The worst ranking has 1 - (1 + r) log(1 + 1/r) with r silent windows to one activating: above -1 from r = 0.27 on.
        Metric("ap_normalised", 0.0, low=-1.0, high=1.0),
        Metric("auroc", 0.5, low=0.0, high=1.0),
        Metric("balanced_accuracy", 0.5, low=0.0, high=1.0),
    )
    further = (
        *(Metric(name, None, low=0.0, high=1.0) for name in ("ap", "accuracy", "f1", "precision", "recall")),
        Metric("n", None),
    )

    def __init__(self, name: str, version: str, headline: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, headline, params, prompts)
        section = Prompts(prompts, ("list", "single", "answers"), f"scorer {name!r}")
        self._list = section.messages("list", ("explanation", "windows", "n"))
        self._single = section.messages("single", ("explanation", "window"))
        self._answers = section.named("answers", ("inactive", "active"))

    # --- what a subclass decides

    def shown(self, latent: LatentView, chosen: Sequence[tuple[Window, int]], seed: int) -> list[Seen]:
        """How each window is shown."""
        return [seen(w) for w, _ in chosen]

    def form(self) -> Form:
        """What is answered about the windows of a prompt."""
        no, yes = self._answers
        return YesNo(no, yes)

    def text(self, window: Seen) -> str:
        """A window as a prompt writes it."""
        return one_line(window.text)

    def reduce(self, window: Seen, whole: float, tokens: Sequence[float]) -> float:
        """A simulator's answer as one probability."""
        return whole if self.params.reduction == "window" else pooled(tokens, self.params.reduction)

    # --- Scorer

    @property
    def needs(self) -> tuple[frozenset[Capability], ...]:
        """Simulation first, last or never, around the ways of reading text that `answer` allows."""
        text = [Capability.CHAT] if self.params.answer == "list" else [Capability.CHOICE, Capability.CHAT]
        sim = [Capability.SIMULATE]
        ordered = {"first": sim + text, "last": text + sim, "never": text}[self.params.simulate]
        return tuple(frozenset({c}) for c in ordered)

    def trials(self, latent: LatentView, explanation: str, seed: int) -> list[Trial]:
        """All chosen windows in a seeded order, in groups of one prompt.

        The order and the marks do not depend on the explanation, so explainers are compared on the same prompts.
        """
        chosen = self.positives_of(latent, seed) + self.negatives_of(latent, seed)
        pairs = list(zip(chosen, self.shown(latent, chosen, seed), strict=True))
        size = self.params.windows_per_prompt if self.params.answer == "list" else 1
        groups = selection.batches(selection.shuffled(pairs, self.own(seed, "order")), size)
        return [
            Trial(
                str(number),
                self.name,
                self.form(),
                explanation,
                tuple(shown for _, shown in group),
                tuple(y for (_, y), _ in group),
                tuple(w.activations for (w, _), _ in group),
            )
            for number, group in enumerate(groups)
        ]

    def requests(self, trial: Trial, can: frozenset[Capability]) -> list[Request]:
        """One request per trial; a simulator is asked about each window alone, so that one reply serves all scorers.

        Raises:
            CapabilityError: the judge fits none of `needs`.
        """
        for need in self.needs:
            if not need <= can:
                continue
            if Capability.SIMULATE in need:
                return [Simulate(alone(trial, i)) for i in range(len(trial.windows))]
            texts = [self.text(w) for w in trial.windows]
            if self.params.answer == "list":
                lines = "\n".join(f"{i}. {text}" for i, text in enumerate(texts, 1))
                messages = self._list.render(explanation=trial.explanation, windows=lines, n=str(len(texts)))
                return [Chat(messages, max_tokens=16 + 4 * len(texts), trial=trial, listed=True)]
            messages = self._single.render(explanation=trial.explanation, window=texts[0])
            if Capability.CHOICE in need:
                return [Choice(messages, self._answers, trial=trial)]
            return [Chat(messages, max_tokens=8, trial=trial)]
        raise CapabilityError(f"scorer {self.name!r} cannot use a judge that can only {sorted(can)}.")

    def parse(self, trial: Trial, replies: Sequence[Reply]) -> list[Judgement]:
        """One judgement per window; an answer without a legal reading is outcome `parse` for the whole prompt.

        An answer is 1 where the probability is above 1/2.
        """
        if len(replies) > 1:
            return [j for i, own in enumerate(replies) for j in self.parse(alone(trial, i), [own])]
        reply = replies[0]
        if not reply.ok:
            return failed(trial, reply)
        if reply.windows is not None and reply.tokens is not None:
            answers = zip(trial.windows, reply.windows, reply.tokens, strict=True)
            return _judged(trial, [self.reduce(*x) for x in answers])
        if reply.logprobs is not None:
            p = yes(*reply.logprobs[0])
            return failed(trial, NO_MASS) if p is None else _judged(trial, [p])
        text = reply.text or ""
        listed = read_list(text, len(trial.windows))
        if listed is None and self.params.answer == "single":
            word = read_word(text, self._answers)
            listed = None if word is None else (word,)
        if listed is None:
            return failed(trial, unread(text))
        return [judged(trial, i, answer=a) for i, a in enumerate(listed)]

    def against(self, judgements: Sequence[Judgement], kind: str) -> dict[str, float]:
        """Metrics of yes/no answers. Ranks by score only if every judgement has one.

        Where the method has hard answers only, AUROC and AP rank by them, with ties as in `latentbench.scorers.metrics.yes_no`.
        """
        used = [j for j in judgements if j.outcome is Outcome.OK and (j.truth == 1 or j.kind == kind)]
        if not used:
            return {}
        scores = [j.score for j in used if j.score is not None]
        hard = [j.answer for j in used if j.answer is not None]
        return binary_metrics(
            [j.truth for j in used],
            hard if len(hard) == len(used) else None,
            scores if len(scores) == len(used) else None,
        )


def yes(log_no: float, log_yes: float) -> float | None:
    """P(yes) / (P(no) + P(yes)), stable for any log-probabilities; None where both have no mass or are not numbers."""
    top = max(log_no, log_yes)
    if not math.isfinite(top) or math.isnan(log_no) or math.isnan(log_yes):
        return None
    no, positive = math.exp(log_no - top), math.exp(log_yes - top)
    return positive / (no + positive)


def pooled(values: Sequence[float], how: str) -> float:
    """Probabilities of tokens as one: `mean`, `max`, or `noisy_or` = 1 - prod(1 - p); 0 for no token."""
    if not values:
        return 0.0
    if how == "max":
        return max(values)
    if how == "noisy_or":
        return 1 - math.prod(1 - p for p in values)
    # Kept within the values: rounding of the division would make equal answers of a constant judge rank by their number.
    return min(max(math.fsum(values) / len(values), min(values)), max(values))


def _judged(trial: Trial, probabilities: Sequence[float]) -> list[Judgement]:
    return [judged(trial, i, score=p, answer=int(p > 0.5)) for i, p in enumerate(probabilities)]
