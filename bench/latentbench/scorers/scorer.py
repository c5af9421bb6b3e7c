"""What a scoring method is: pure functions and a YAML file.

    trials(latent, explanation, seed)  what to ask
    requests(trial, can)               how to put it to a judge with these capabilities
    follow_up(trial, can, replies)     what to ask next, for the few methods that must see replies first
    parse(trial, replies)              what was answered, one judgement per judged window
    metrics(judgements)                per-latent numbers

A scorer never calls a judge. Because it only says *what* to ask, the harness can batch across latents, cache, resume and
distribute without any scorer knowing, and a third-party scorer is these few functions.

Rules that hold for every scorer stand here too, beyond the types of what it returns (`made`, `answered`, `measured`). Leaving
them to each scorer's tests is the tempting way: a window that is judged twice counts twice in n and in every interval, and a
trial that is not answered at all leaves a run that says complete.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from latentbench.kernel.boundary import Fault, attempt, built
from latentbench.kernel.config import Frozen
from latentbench.kernel.conform import Mismatch
from latentbench.kernel.entry_params import checked
from latentbench.kernel.errors import SpecError
from latentbench.kernel.identity import digest, seed_for
from latentbench.kernel.implementation import implementation
from latentbench.kernel.latent import LatentView
from latentbench.kernel.registry import lookup
from latentbench.kernel.requests import Capability, Outcome, Reply, Request
from latentbench.kernel.trial import Trial, misshapen
from latentbench.prompts.task import read_task


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one judge said of one window, or of a trial as a whole.

    Attributes:
        trial: id of the trial.
        part: of the scorer's work, as in the trial; "" for scorers that do one thing.
        item: window of the suite, by its row; None where a trial judges something else.
        kind: scores are reported per kind, never mixed silently: that of the window, or what the trial says.
        truth: the right answer: 1 for a window that activates, 0 for another; the number of the right group in intruder and
            output choice; 1 for texts written from the explanation and steered ones in sensitivity, 0 for neutral and clean.
        outcome: only `ok` rows hold an answer.
        score: what ranks windows. Detection, fuzzing and saebench: p(active), where the judge gives one. Embedding: a cosine.
            Surprisal and intervention: a difference in nats. Intruder and output choice: the right group's share of the mass.
            Example embedding: a share of comparisons. Sensitivity: the expected level over 2. None in simulation.
        answer: what was answered, in the terms of `truth`: 0 or 1, or the number of a group. In sensitivity 1 clearly, 0 not at
            all, None in part. None for methods that only rank.
        token_scores: simulation: the activation simulated for every token, in 0..10.
        token_truth: what the judge's work is compared with. Simulation: the true activation of every token, in the unit of
            `token_scores`. Sensitivity: the activation on every token of a written text, the largest activation of a rated
            window, or that of every natural window.
        error: one line for failed outcomes.
        said: of a panel, what each member said: label, outcome, p(active), answer and error.
    """

    trial: str
    part: str
    item: int | None
    kind: str
    truth: int
    outcome: Outcome
    score: float | None = None
    answer: int | None = None
    token_scores: tuple[float, ...] | None = None
    token_truth: tuple[float, ...] | None = None
    error: str | None = None
    said: tuple[tuple[str, Outcome, float | None, int | None, str | None], ...] = ()


class Params(Frozen):
    """Base of every scorer's parameters: unknown keys are errors, values are frozen."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What a per-latent metric means.

    Attributes:
        name: key in `metrics()`.
        floor: its value for an answer that knows nothing; None where only a measured floor exists.
        higher_is_better: direction.
        low, high: least and greatest value that it can have; None where it has none or it is not known.
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
    """

    params_model: ClassVar[type[Params]] = Params

    def __init__(self, name: str, version: str, headline: str, params: Params, prompts: Mapping[str, Any]) -> None:
        self.name, self.version = name, version
        self.params: Any = params
        self.prompts = prompts
        known = [m.name for m in self.metric_table()]
        self.headline = headline or known[0]
        if self.headline not in known:
            raise SpecError(f"scorer {name!r}: headline {headline!r} is not one of its metrics {known}.")

    @abstractmethod
    def metric_table(self) -> tuple[Metric, ...]:
        """Every metric that `metrics` may return, with these parameters; the first ranks where nothing else is said."""

    @property
    def uses_interventions(self) -> bool:
        """Whether it reads `LatentView.interventions`; the table is then part of a run's identity."""
        return False

    @property
    @abstractmethod
    def needs(self) -> tuple[frozenset[Capability], ...]:
        """Alternatives: a judge fits if it has all capabilities of one of them. The first that fits is used."""

    @property
    def negative_kinds(self) -> tuple[str, ...]:
        """Kinds of silent windows that the trials are made of; a suite that lacks one is refused before anything is paid."""
        return ()

    @property
    def fewest(self) -> int:
        """Activating test windows without which nothing can be asked about a latent, which is then skipped and said to be."""
        return 0

    @abstractmethod
    def trials(self, latent: LatentView, explanation: str, seed: int) -> list[Trial]:
        """What to ask about one latent; `seed` is that of the latent, the same for all scorers (see `own`)."""

    @abstractmethod
    def requests(self, trial: Trial, can: frozenset[Capability]) -> list[Request]:
        """The trial put to a judge that has the capabilities `can`."""

    def follow_up(self, trial: Trial, can: frozenset[Capability], replies: Sequence[Reply]) -> list[Request]:
        """What to ask next about a trial, given the replies to everything asked so far, in order; nothing ends the asking.

        It must be a function of its arguments alone: a resumed run asks again from the start and finds its replies in the
        cache. `parse` gets the replies of all rounds.
        """
        return []

    @abstractmethod
    def parse(self, trial: Trial, replies: Sequence[Reply]) -> list[Judgement]:
        """One judgement per judged window, whatever the outcome."""

    @abstractmethod
    def metrics(self, judgements: Sequence[Judgement]) -> dict[str, float]:
        """Per-latent metrics over the `ok` judgements of one latent; a metric that is undefined is left out."""

    def extremes(self, judgements: Sequence[Judgement]) -> dict[str, tuple[float, float]]:
        """Metric -> least and greatest value that it could have had, had all these judgements of one latent been answered.

        Only exact ones (`latentbench.stats.bounds`), and only of metrics that have a value whatever is answered; a leaderboard
        shows no bounds of the others. Whoever overrides `metrics` of a scorer that has extremes overrides these too.
        """
        return {}

    def own(self, seed: int, *parts: str | int) -> int:
        """Seed of what this scorer alone draws; test windows are drawn by `seed` itself, so that all scorers judge the same."""
        return seed_for(seed, self.name, *parts)

    def fits(self, can: frozenset[Capability]) -> bool:
        """Whether a judge with these capabilities can serve this scorer."""
        return any(alternative <= can for alternative in self.needs)

    def floor(self, metric: str) -> float | None:
        """Floor of a metric by name."""
        return next(m.floor for m in self.metric_table() if m.name == metric)

    def range(self, metric: str) -> tuple[float | None, float | None]:
        """Least and greatest value of a metric by name; one of a kind (`auroc@neighbour`) has the range of what stands before
        the `@`, unless it declares its own."""
        return range_of(metric, {m.name: (m.low, m.high) for m in self.metric_table()})

    @property
    def id(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    @property
    def key(self) -> str:
        """Digest of id, parameters, prompts and implementation: what changes results has another key, and nothing else has."""
        return digest([self.id, implementation(type(self)), self.params, dict(self.prompts)])


Range = tuple[float | None, float | None]
"""Least and greatest value; None where there is none."""


def range_of(metric: str, declared: Mapping[str, Range]) -> Range:
    """The range of a metric by name; one of a kind (`auroc@neighbour`) has that of what stands before the `@`, unless it declares
    its own."""
    own = declared.get(metric, (None, None))
    return declared.get(metric.partition("@")[0], own) if own == (None, None) else own


def is_outside(value: float, low: float | None, high: float | None) -> bool:
    """Whether a value is none of a metric with this range, beyond what rounding gives; NaN is outside of nothing."""
    return (low is not None and value < low - SLACK) or (high is not None and value > high + SLACK)


def with_own(table: Sequence[Metric], own: Sequence[Metric]) -> tuple[Metric, ...]:
    """A metric table with the metrics that only one setting of a scorer has; what is there already stays as it is."""
    known = {m.name for m in table}
    return (*table, *(m for m in {m.name: m for m in own}.values() if m.name not in known))


def judged(
    trial: Trial,
    place: int = 0,
    *,
    score: float | None = None,
    answer: int | None = None,
    token_scores: tuple[float, ...] | None = None,
    token_truth: tuple[float, ...] | None = None,
) -> Judgement:
    """The judgement of what stands at a place of `Trial.judged`, answered."""
    j = trial.judged_at(place)
    return Judgement(
        trial.id, trial.part, j.item, j.kind, j.truth, Outcome.OK, score, answer, token_scores, token_truth
    )


def failed(trial: Trial, reply: Reply) -> list[Judgement]:
    """One judgement for everything that is judged by a trial whose call did not succeed."""
    return [
        Judgement(trial.id, trial.part, j.item, j.kind, j.truth, reply.outcome, error=reply.error) for j in trial.judged
    ]


SMALL = 1 << 31
"""Truths and answers below this, and not below its negative, fit their columns."""
SLACK = 1e-6
"""By how much a metric may pass its declared range: rounding."""

SAMPLING = frozenset({"positives", "negatives", "negative_kinds", "trials", "top", "weighted"})
"""Parameters that say which windows are judged and how many."""


def question_key(scorer: Scorer) -> str:
    """Digest of name, N of the version, prompts and every parameter that is not sampling: versions that differ in X compare."""
    params = {name: value for name, value in scorer.params.model_dump(mode="json").items() if name not in SAMPLING}
    return digest([f"{scorer.id.rpartition('-')[0]}-0", params, dict(scorer.prompts)])


def declared(scorer: Scorer) -> Fault | None:
    """What is wrong with that which a scorer says of itself, if anything; to be asked before anything is paid."""
    for found in (
        attempt(scorer, "metric_table", lambda: scorer.metric_table(), tuple[Metric, ...], _named_once),
        attempt(scorer, "needs", lambda: scorer.needs, tuple[frozenset[Capability], ...]),
        attempt(scorer, "negative_kinds", lambda: scorer.negative_kinds, tuple[str, ...]),
        attempt(scorer, "uses_interventions", lambda: scorer.uses_interventions, bool),
        attempt(scorer, "fits", lambda: scorer.fits(frozenset()), bool),
        attempt(scorer, "fits", lambda: scorer.fits(frozenset(Capability)), bool),
        attempt(scorer, "key", lambda: scorer.key, str),
    ):
        if isinstance(found, Fault):
            return found
    return None


def _named_once(table: tuple[Metric, ...]) -> None:
    names = [m.name for m in table]
    if not names:
        raise Mismatch("is empty; the first metric of the table is the headline where a task names none")
    for m in table:
        if m.low is not None and m.high is not None and not m.low <= m.high:
            raise Mismatch(f"says that {m.name!r} lies between {m.low:g} and {m.high:g}")
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise Mismatch(f"has {twice[0]!r} twice")


def made(scorer: Scorer, latent: LatentView, explanation: str, seed: int) -> list[Trial] | Fault:
    """The trials that a scorer makes of a latent, or why they are none."""
    return attempt(
        scorer, "trials", lambda: scorer.trials(latent, explanation, seed), list[Trial], _judgeable(scorer, latent)
    )


def _judgeable(scorer: Scorer, latent: LatentView) -> Callable[[list[Trial]], None]:
    """Rule for the trials of a latent: each has an id of its own and something that is judged.

    A latent that has test windows has trials too, but for scorers of steered texts, which a latent may lack.
    """

    def rule(trials: list[Trial]) -> None:
        if not trials and latent.test and not scorer.uses_interventions:
            if (active := sum(w.active for w in latent.test)) < scorer.fewest:
                raise Mismatch(
                    f"{latent.id} has {active} activating test windows, and {scorer.fewest} or more are asked about"
                )
            raise Mismatch(f"made no trials of {latent.id}, which has {len(latent.test)} test windows")
        seen: set[str] = set()
        for i, trial in enumerate(trials):
            if trial.id in seen:
                raise Mismatch(f"[{i}].id is {trial.id!r}, which another trial of {latent.id} has")
            seen.add(trial.id)
            if not trial.truth:
                raise Mismatch(f"[{i}].truth is empty, so nothing of the trial is judged")
            if not trial.kind and len(trial.truth) > len(trial.windows):
                raise Mismatch(
                    f"[{i}].truth has {len(trial.truth)} values for {len(trial.windows)} windows; "
                    "an answer about the trial as a whole needs a `kind`"
                )
            if wrong := misshapen(trial):
                raise Mismatch(f"[{i}]{wrong}")
            if any(not -SMALL <= t < SMALL for t in trial.truth):
                raise Mismatch(f"[{i}].truth holds an integer of more than 32 bits: {trial.truth}")

    return rule


def answered(trial: Trial) -> Callable[[list[Judgement]], None]:
    """Rule for what is read from the replies about a trial: one judgement for each thing judged, in order, and an answer in each
    that is ok."""

    def rule(found: Sequence[Judgement]) -> None:
        owed = trial.judged
        if len(found) != len(owed):
            raise Mismatch(f"gave {len(found)} judgements of trial {trial.id!r}, in which {len(owed)} are owed")
        for i, (given, asked) in enumerate(zip(found, owed, strict=True)):
            said = (given.trial, given.part, given.item, given.kind, given.truth)
            if said != (trial.id, trial.part, asked.item, asked.kind, asked.truth):
                raise Mismatch(
                    f"[{i}] is about (trial, part, item, kind, truth) = {said}, and "
                    f"{(trial.id, trial.part, asked.item, asked.kind, asked.truth)} is owed there"
                )
            held = (given.score, given.answer, given.token_scores, given.token_truth)
            if given.outcome is Outcome.OK and all(h is None for h in held):
                raise Mismatch(f"[{i}] is ok and holds no answer")
            if given.score is not None and not math.isfinite(given.score):
                raise Mismatch(f"[{i}].score is {given.score}")
            if given.answer is not None and not -SMALL <= given.answer < SMALL:
                raise Mismatch(f"[{i}].answer is an integer of more than 32 bits: {given.answer}")

    return rule


def measured(scorer: Scorer) -> Callable[[Mapping[str, float]], None]:
    """Rule for the metrics of a latent: those of the table, alone or `@` a kind, each in its range. One that is undefined may be
    left out or NaN."""

    def rule(found: Mapping[str, float]) -> None:
        declared = {m.name: (m.low, m.high) for m in scorer.metric_table()}
        for name, value in found.items():
            if name not in declared and name.partition("@")[0] not in declared:
                raise Mismatch(f"[{name!r}] is no metric of its table {sorted(declared)}")
            low, high = range_of(name, declared)
            if math.isinf(value) or is_outside(value, low, high):
                raise Mismatch(f"[{name!r}] is {value:g}, outside {_shown(low)} to {_shown(high)}")

    return rule


def _shown(bound: float | None) -> str:
    return "..." if bound is None else f"{bound:g}"


def load_scorer(spec: str | Mapping[str, Any]) -> Scorer:
    """Load a scorer.

    Args:
        spec: a name in `tasks/scorers/`, a path of a YAML file, or `{use, preset, params, at}`.

    Raises:
        SpecError: unknown task, preset, parameter or field, each with the near names.
    """
    name, path, task, params = read_task("scorers", spec)
    cls = lookup("scorer", task.implementation, f"{path}: ")
    given = checked(cls.params_model, "scorers", spec, path, params)
    try:
        scorer: Scorer = built(cls, lambda: cls(name, task.version, task.headline or "", given, task.prompts))
    except SpecError as e:
        raise SpecError(f"{path}: {e}") from e
    return scorer
