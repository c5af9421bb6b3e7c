"""What a scoring method is: pure functions and a YAML file.

    trials(latent, explanation, seed)  what to ask
    requests(trial, can)               how to put it to a judge with these capabilities
    more(trial, can, replies)          what to ask next, for the few methods that must see replies first
    read(trial, replies)               what was answered, one judgement per judged window
    metrics(judgements)                per-latent numbers

A scorer never calls a judge. Because it only says *what* to ask, the harness can batch across latents, cache, resume and
distribute without any scorer knowing, and a third-party scorer is these few functions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from latentbench.kernel.config import Frozen
from latentbench.kernel.errors import SpecError
from latentbench.kernel.identity import digest
from latentbench.kernel.implementation import implementation
from latentbench.kernel.latent import LatentView, Window
from latentbench.kernel.requests import Capability, LatentRef, Outcome, Question, Reply, Request


@dataclass(frozen=True, slots=True)
class Trial:
    """One structured question of a latent.

    Attributes:
        id: unique within latent and scorer, stable under reordering of latents.
        question: what is asked.
        windows: the judged windows, in the question's order.
        labels: the right answer for each.
        latent: whose activations are measured on texts that a judge writes, where the method does that.
        seed: of requests that sample.
    """

    id: str
    question: Question
    windows: tuple[Window, ...]
    labels: tuple[int, ...]
    latent: LatentRef | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one judge said of one window.

    Attributes:
        trial: id of the trial.
        window: id of the window in the suite, or -1 where a trial judges something else.
        kind: of the window; scores are reported per kind, never mixed silently.
        label: the right answer.
        outcome: only `ok` rows have a probability or prediction.
        probability: of the positive answer, or any score that ranks windows (cosine, log-likelihood difference).
        prediction: hard answer, where the method has one: 0/1, or the number of a choice as in `label`.
        predicted: per-token prediction, for methods that have one.
        actual: the truth beside `predicted`.
        error: one line for failed outcomes.
    """

    trial: str
    window: int
    kind: str
    label: int
    outcome: Outcome
    probability: float | None = None
    prediction: int | None = None
    predicted: tuple[float, ...] | None = None
    actual: tuple[float, ...] | None = None
    error: str | None = None


class Params(Frozen):
    """Base of every scorer's parameters: unknown keys are errors, values are frozen."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What a per-latent metric means.

    Attributes:
        name: key in `metrics()`.
        floor: its value for an answer that knows nothing; None where only a measured floor exists.
        higher_is_better: direction.
        low, high: least and greatest value that it can have; None where it has none or it is not known. A leaderboard gives
            bounds under missing judgements only for a metric with both.
    """

    name: str
    floor: float | None
    higher_is_better: bool = True
    low: float | None = None
    high: float | None = None


class Scorer(ABC):
    """Base class of scoring methods.

    Class attributes:
        params_model: pydantic model of the parameters.
        metric_table: every metric that `metrics` may return.
        uses_interventions: True for scorers that read `LatentView.interventions`; the table is then part of a run's identity.
    """

    params_model: ClassVar[type[Params]] = Params
    metric_table: ClassVar[tuple[Metric, ...]] = ()
    uses_interventions: ClassVar[bool] = False

    def __init__(self, name: str, version: str, headline: str, params: Params, prompts: Mapping[str, Any]) -> None:
        self.name, self.version, self.headline = name, version, headline
        self.params: Any = params
        self.prompts = prompts
        known = [m.name for m in self.metric_table]
        if headline not in known:
            raise SpecError(f"scorer {name!r}: headline {headline!r} is not one of its metrics {known}.")

    @property
    @abstractmethod
    def needs(self) -> tuple[frozenset[Capability], ...]:
        """Alternatives: a judge fits if it has all capabilities of one of them. The first that fits is used."""

    @property
    def negative_kinds(self) -> tuple[str, ...]:
        """Kinds of silent windows that the trials are made of; a suite that lacks one is refused before anything is paid."""
        return ()

    @abstractmethod
    def trials(self, latent: LatentView, explanation: str, seed: int) -> list[Trial]:
        """What to ask about one latent; `seed` is already specific to the latent."""

    @abstractmethod
    def requests(self, trial: Trial, can: frozenset[Capability]) -> list[Request]:
        """The trial put to a judge that has the capabilities `can`."""

    def more(self, trial: Trial, can: frozenset[Capability], replies: Sequence[Reply]) -> list[Request]:
        """What to ask next about a trial, given the replies to everything asked so far, in order; nothing ends the asking.

        It must be a function of its arguments alone: a resumed run asks again from the start and finds its replies in the
        cache. `read` gets the replies of all rounds.
        """
        return []

    @abstractmethod
    def read(self, trial: Trial, replies: Sequence[Reply]) -> list[Judgement]:
        """One judgement per judged window, whatever the outcome."""

    @abstractmethod
    def metrics(self, judgements: Sequence[Judgement]) -> dict[str, float]:
        """Per-latent metrics over the `ok` judgements of one latent; a metric that is undefined is left out."""

    def fits(self, can: frozenset[Capability]) -> bool:
        """Whether a judge with these capabilities can serve this scorer."""
        return any(alternative <= can for alternative in self.needs)

    def floor(self, metric: str) -> float | None:
        """Floor of a metric by name."""
        return next(m.floor for m in self.metric_table if m.name == metric)

    def range(self, metric: str) -> tuple[float | None, float | None]:
        """Least and greatest value of a metric by name; one of a kind (`auroc@neighbour`) has the range of what stands before
        the `@`, unless it declares its own."""
        declared = {m.name: (m.low, m.high) for m in self.metric_table}
        own = declared.get(metric, (None, None))
        return declared.get(metric.partition("@")[0], own) if own == (None, None) else own

    @property
    def id(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    @property
    def key(self) -> str:
        """Digest of id, parameters, prompts and implementation: what changes results has another key, and nothing else has."""
        return digest([self.id, implementation(type(self)), self.params, dict(self.prompts)])


def with_own(table: Sequence[Metric], own: Sequence[Metric]) -> tuple[Metric, ...]:
    """A metric table with the metrics that only one setting of a scorer has; what is there already stays as it is."""
    known = {m.name for m in table}
    return (*table, *(m for m in {m.name: m for m in own}.values() if m.name not in known))


def failed(trial: Trial, reply: Reply) -> list[Judgement]:
    """One judgement per window of a trial whose call did not succeed."""
    return [
        Judgement(trial.id, w.id, w.kind, label, reply.outcome, error=reply.error)
        for w, label in zip(trial.windows, trial.labels, strict=True)
    ]
