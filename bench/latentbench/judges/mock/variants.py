"""What the mock judges know: how likely windows and tokens are active, and how texts are read.

Each is a pure function of the trial. Nothing here depends on time, order or a generator; see `judges.mock.mock_judge`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import pydantic

from latentbench.judges.mock import lexical
from latentbench.judges.mock.lexical import Lexical, Worded
from latentbench.kernel.config import Frozen
from latentbench.kernel.identity import canonical, share
from latentbench.kernel.requests import Chat, Continuation, Embed
from latentbench.kernel.trial import Seen, Trial, look


class MockParams(Frozen):
    """Parameters of `mock:VARIANT?...`."""

    error: float = pydantic.Field(default=0.0, ge=0, le=1)
    """`label`: share of labels that are flipped."""
    fail: float = pydantic.Field(default=0.0, ge=0, le=1)
    """Share of calls that fail with outcome `api`."""
    nonsense: float = pydantic.Field(default=0.0, ge=0, le=1)
    """Share of generated texts without a legal answer."""
    seed: int = 0
    """Behind its errors and failures."""
    seconds: float = pydantic.Field(default=0.0, ge=0)
    """How long a call takes; calls queue, as on a busy machine."""
    answer: int = pydantic.Field(default=1, ge=0, le=1)
    """`constant`: what it always says."""
    rules: str = ""
    """File of rules: those that `oracle` understands, and the latents whose activations every mock measures. Those of
    `planted-1` by default."""
    can: str = ""
    """Capabilities joined by `+`, such as `chat+embed`; all by default. A mock of a judge that only talks has `chat`."""


def asked(trial: Trial, window: Seen) -> str:
    """What is asked about one window, as the text that a mock's errors are drawn by; it does not depend on its neighbours."""
    return canonical([trial.task, trial.explanation, look(window)])


class Variant(Protocol):
    """How likely the windows and tokens of a trial are active, each in (0, 1)."""

    reads_truth: bool

    @property
    def revision(self) -> str:
        """What its answers depend on beside the parameters."""

    def windows(self, trial: Trial) -> tuple[float, ...]:
        """p(active) per window."""

    def tokens(self, trial: Trial) -> tuple[tuple[float, ...], ...]:
        """p(active) per window and token."""

    def loglik(self, request: Continuation) -> tuple[float, int]:
        """log p of the text in nats, and its number of words."""

    def vector(self, request: Embed) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Unit vector of a text."""

    def write(self, trial: Trial, seed: int) -> str:
        """A text that shows what the trial's explanation describes."""

    def explain(self, request: Chat) -> str | None:
        """The explanation that an explainer's prompt asks for; None for a sentence about the marked tokens."""


class Label(Worded):
    """Knows the truth, and says the opposite in a share `error` of the cases."""

    reads_truth = True

    def __init__(self, params: MockParams) -> None:
        self.params = params

    def windows(self, trial: Trial) -> tuple[float, ...]:
        """About 0.95 or 0.05; the hash of the window decides the flip, so shuffled windows keep theirs."""
        truth = trial.window_truth or tuple(int(max(a, default=0.0) > 0) for a in trial.token_truth)
        found = []
        for window, label in zip(trial.windows, truth, strict=False):
            content = asked(trial, window)
            flip = share(self.params.seed, "flip", content) < self.params.error
            near = 0.1 * share(self.params.seed, "near", content)
            found.append(0.995 - near if bool(label) != flip else 0.005 + near)
        return tuple(found)

    def tokens(self, trial: Trial) -> tuple[tuple[float, ...], ...]:
        """The true activation over the largest one of the trial; window probabilities where there is none."""
        if not trial.token_truth:
            per_window = self.windows(trial)
            return tuple((p,) * len(w.tokens) for p, w in zip(per_window, trial.windows, strict=False))
        top = max((a for row in trial.token_truth for a in row), default=0.0) or 1.0
        found = []
        for window, row in zip(trial.windows, trial.token_truth, strict=True):
            content = asked(trial, window)
            flips = [share(self.params.seed, "flip", content, t) < self.params.error for t in range(len(row))]
            level = [0.005 + 0.99 * a / top for a in row]
            found.append(tuple(1 - p if f else p for p, f in zip(level, flips, strict=True)))
        return tuple(found)

    def loglik(self, request: Continuation) -> tuple[float, int]:
        """One nat a word more where it says "active" and the context holds the explanation."""
        total, words = super().loglik(request)
        trial = request.trial
        if trial and trial.explanation and trial.explanation in request.context:
            total += words * sum(p > 0.5 for p in self.windows(trial)[:1])
        return total, words


class Constant(Worded):
    """Says the same whatever is asked: a measured floor. All texts have the same vector and as many nats a word."""

    reads_truth = False
    revision = "2"

    def __init__(self, params: MockParams) -> None:
        self.p = 0.99 if params.answer else 0.01

    def windows(self, trial: Trial) -> tuple[float, ...]:
        """0.99 for `answer=1`, 0.01 for `answer=0`."""
        return (self.p,) * len(trial.windows)

    def tokens(self, trial: Trial) -> tuple[tuple[float, ...], ...]:
        """One probability for every token."""
        return tuple((self.p,) * len(w.tokens) for w in trial.windows)

    def loglik(self, request: Continuation) -> tuple[float, int]:
        """-2 nats a word, whatever the context."""
        _, words = lexical.log_likelihood("", request.text)
        return -2.0 * words, words

    def vector(self, request: Embed) -> np.ndarray[Any, np.dtype[np.float32]]:
        """One vector for every text."""
        return lexical.vector("")

    def write(self, trial: Trial, seed: int) -> str:
        """One text, whatever it is to show."""
        return lexical.sentence("", 0)


def _oracle(params: MockParams) -> Variant:
    from latentbench.judges.mock.oracle import Oracle

    return Oracle(params.rules)


def _writer(params: MockParams) -> Variant:
    from latentbench.judges.mock.concept_writer import ConceptWriter

    return ConceptWriter(params.rules)


def _guesser(params: MockParams) -> Variant:
    from latentbench.judges.mock.guesser import Guesser

    return Guesser(params.rules)


def _blind(params: MockParams) -> Variant:
    from latentbench.judges.mock.guesser import Blind

    return Blind(params.rules)


VARIANTS: dict[str, Callable[[MockParams], Variant]] = {
    "label": Label,
    "lexical": lambda _: Lexical(),
    "constant": Constant,
    "oracle": _oracle,
    "writer": _writer,
    "guesser": _guesser,
    "blind": _blind,
}
