"""What has no answer, by its cause, with the reply that could not be read where the run kept it.

Causes are counted as the run counts them (`latentbench.views.causes`): messages that differ in numbers and quoted texts are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from latentbench.kernel.requests import Outcome
from latentbench.runs.finished import Run
from latentbench.runs.kept import EXPLAIN, JUDGE, KeptCall
from latentbench.views.causes import Causes

MOST_OF_A_CAUSE = 50
"""Failures of one cause that are shown; they are spread evenly over all of them, not the first that came."""

CallKey = tuple[str, str, int, str]
"""Owner, latent, repeat and trial of a call."""


@dataclass(frozen=True, slots=True)
class LostAnswer:
    """An explanation or a judgement without an answer."""

    stage: str
    latent: str
    explainer: str
    scorer: str
    judge: str
    repeat: int
    part: str
    item: int | None
    error: str
    reply: str | None
    """None where none came or none was kept."""
    reasoning: str | None


@dataclass(frozen=True, slots=True)
class FailureCause:
    """Failures for one reason."""

    outcome: str
    cause: str
    n: int
    shown: tuple[LostAnswer, ...]


@dataclass(frozen=True, slots=True)
class FailureList:
    """Everything without an answer, the most frequent cause first."""

    n: int
    attempted: int
    has_calls: bool
    causes: tuple[FailureCause, ...]


@dataclass(frozen=True, slots=True)
class _Lost:
    outcome: Outcome
    failure: LostAnswer
    at: CallKey


def failures(run: Run, calls: Iterable[KeptCall], has_calls: bool) -> FailureList:
    """The failures of a run.

    Args:
        calls: those that it kept.
        has_calls: whether it kept any.
    """
    causes = Causes()
    groups: dict[str, list[_Lost]] = {}
    for lost in (*_explanations(run), *_judgements(run)):
        groups.setdefault(causes.add(lost.outcome, lost.failure.error), []).append(lost)
    chosen = {cause: _spread(group) for cause, group in groups.items()}
    wanted = {lost.at for group in chosen.values() for lost in group}
    said = _replies(calls, wanted) if wanted else {}
    ordered = sorted(groups.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    return FailureList(
        n=sum(map(len, groups.values())),
        attempted=len(run.explanations) + len(run.judgements),
        has_calls=has_calls,
        causes=tuple(
            FailureCause(
                outcome=group[0].outcome.value,
                cause=cause,
                n=len(group),
                shown=tuple(_with_reply(lost, said) for lost in chosen[cause]),
            )
            for cause, group in ordered
        ),
    )


def _spread(group: list[_Lost]) -> list[_Lost]:
    n = min(MOST_OF_A_CAUSE, len(group))
    return [group[int((i + 0.5) * len(group) / n)] for i in range(n)]


def _explanations(run: Run) -> Iterator[_Lost]:
    bad = run.explanations[run.explanations["outcome"] != Outcome.OK.value]
    columns = ["latent", "explainer", "repeat", "outcome", "error"]
    for latent, explainer, repeat, outcome, error in bad[columns].itertuples(index=False, name=None):
        found = LostAnswer(EXPLAIN, latent, explainer, "", "", int(repeat), "", None, error or "", None, None)
        yield _Lost(Outcome(outcome), found, (explainer, latent, int(repeat), ""))


def _judgements(run: Run) -> Iterator[_Lost]:
    bad = run.judgements[run.judgements["outcome"] != Outcome.OK.value]
    columns = ["cell", "latent", "explainer", "scorer", "judge", "repeat", "part", "item", "trial", "outcome", "error"]
    for cell, latent, explainer, scorer, judge, repeat, part, item, trial, outcome, error in bad[columns].itertuples(
        index=False, name=None
    ):
        window = None if item is None or item != item else int(item)
        found = LostAnswer(
            JUDGE, latent, explainer, scorer, judge, int(repeat), part or "", window, error or "", None, None
        )
        yield _Lost(Outcome(outcome), found, (cell, latent, int(repeat), trial or ""))


def _replies(calls: Iterable[KeptCall], wanted: set[CallKey]) -> dict[CallKey, tuple[str, str]]:
    """The last reply to each of these calls."""
    found: dict[CallKey, tuple[str, str]] = {}
    for call in calls:
        at = (call.owner, call.latent, call.repeat, call.trial)
        if at in wanted and (call.reply or call.reasoning):
            found[at] = (call.reply, call.reasoning)
    return found


def _with_reply(lost: _Lost, said: Mapping[CallKey, tuple[str, str]]) -> LostAnswer:
    reply, reasoning = said.get(lost.at, ("", ""))
    held = lost.failure
    return LostAnswer(
        held.stage,
        held.latent,
        held.explainer,
        held.scorer,
        held.judge,
        held.repeat,
        held.part,
        held.item,
        held.error,
        reply or None,
        reasoning or None,
    )
