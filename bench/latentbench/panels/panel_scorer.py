"""A scorer as it asks a panel: each member in its own way about the same windows, and one judgement of what they said.

A member that can answer the scorer is asked exactly what it would be asked alone, and read by the scorer. One whose evidence is
of another kind is asked by the scorer of that kind (a cosine by `embedding`, a difference of likelihoods by `surprisal`) about
each window, and its number becomes log-odds by what was fitted on lessons (`latentbench.lab.panel_fit`). Letting every member
answer a question in words would be one way of asking for all, and the weakest one for most small models.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from latentbench.judges.judge import Judge
from latentbench.kernel.boundary import Fault, attempt
from latentbench.kernel.forms import Ordering
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Capability, Direct, Outcome, Passed, Reply, Request
from latentbench.kernel.trial import Trial
from latentbench.panels.combination import combined, logit, probability
from latentbench.panels.panel_judge import Member, PanelJudge
from latentbench.scorers.binary_task import BinaryTask
from latentbench.scorers.scorer import Judgement, Metric, Scorer, answered, failed, judged

WORST = (Outcome.API, Outcome.TIMEOUT, Outcome.REFUSAL, Outcome.PARSE, Outcome.SKIPPED)
"""Which outcome a panel has whose members fail in different ways: the first of these, so that what may succeed is asked again."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one member says of one window.

    Attributes:
        number: its evidence: log-odds of a probability, a cosine, nats; infinite for a word; None where it did not answer.
        log_odds: what the number comes to.
    """

    member: Member
    outcome: Outcome
    number: float | None = None
    log_odds: float | None = None
    error: str | None = None

    @property
    def answer(self) -> int | None:
        """1 where it holds the window for active, 0 where not."""
        return None if self.log_odds is None else int(self.log_odds > 0)

    @property
    def said(self) -> tuple[str, Outcome, float | None, int | None, str | None]:
        """The opinion as a judgement keeps it."""
        p = None if self.log_odds is None else probability(self.log_odds)
        return self.member.label, self.outcome, p, self.answer, self.error


class PanelScorer(Scorer):
    """A scorer that asks the members of a panel. What it measures, and of which windows, is the scorer's own.

    Args:
        scorer: the run's.
        panel: whom it asks.
    """

    def __init__(self, scorer: Scorer, panel: PanelJudge) -> None:
        self.scorer, self.panel = scorer, panel
        super().__init__(scorer.name, scorer.version, scorer.headline, scorer.params, scorer.prompts)
        self.lack = self._lack()

    # --- the scorer's own

    def metric_table(self) -> tuple[Metric, ...]:
        """The scorer's."""
        return self.scorer.metric_table()

    @property
    def uses_interventions(self) -> bool:
        """Whether the scorer does."""
        return self.scorer.uses_interventions

    @property
    def negative_kinds(self) -> tuple[str, ...]:
        """The scorer's."""
        return self.scorer.negative_kinds

    @property
    def key(self) -> str:
        """The scorer's: the panel is in the judge's identity."""
        return self.scorer.key

    def trials(self, latent: LatentView, explanation: str, seed: int) -> list[Trial]:
        """The scorer's, so a panel and its members alone are asked about the same windows."""
        return self.scorer.trials(latent, explanation, seed)

    def metrics(self, judgements: Sequence[Judgement]) -> dict[str, float]:
        """The scorer's."""
        return self.scorer.metrics(judgements)

    # --- what is asked of whom

    @property
    def needs(self) -> tuple[frozenset[Capability], ...]:
        """A panel."""
        return (frozenset({Capability.PANEL}),)

    def fits(self, can: frozenset[Capability]) -> bool:
        """Whether there is a way to ask every member."""
        return not self.lack and Capability.PANEL in can

    def requests(self, trial: Trial, can: frozenset[Capability]) -> list[Request]:
        """What each member is asked, the members one after another."""
        return [
            Passed(member.label, request)
            for member in self.panel.members
            for scorer, own in self._turns(member, trial)
            for request in _plain(scorer, own, member)
        ]

    def parse(self, trial: Trial, replies: Sequence[Reply]) -> list[Judgement]:
        """One judgement per window: what the members' answers come to."""
        heard = self.opinions(trial, replies)
        return [self._verdict(trial, i, [own[i] for own in heard]) for i in range(len(trial.truth))]

    def opinions(self, trial: Trial, replies: Sequence[Reply]) -> list[list[Opinion]]:
        """What each member says of each window; [member][window]."""
        rest = iter(replies)
        return [self._heard(member, trial, rest) for member in self.panel.members]

    def _turns(self, member: Member, trial: Trial) -> list[tuple[Scorer, Trial]]:
        """Who asks a member what about a trial."""
        if member.by is None:
            return [(self.scorer, trial)]
        return [(member.by, _about(trial, i, member.by.name)) for i in range(len(trial.windows))]

    def _heard(self, member: Member, trial: Trial, rest: Iterator[Reply]) -> list[Opinion]:
        """A member's opinion of each window, from its share of the replies."""
        found: list[Judgement] = []
        for scorer, own in self._turns(member, trial):
            replies = list(islice(rest, len(_plain(scorer, own, member))))
            found += _read(scorer, own, replies)
        return [self._opinion(member, judgement) for judgement in found]

    def _opinion(self, member: Member, judgement: Judgement) -> Opinion:
        if judgement.outcome is not Outcome.OK:
            return Opinion(member, judgement.outcome, error=judgement.error)
        if judgement.score is None:
            word = math.inf if judgement.answer else -math.inf
            return Opinion(member, Outcome.OK, word, word)
        number = logit(judgement.score) if member.by is None else judgement.score
        fitted = self.panel.fitted(self.name, member.label)
        return Opinion(member, Outcome.OK, number, fitted.scale * number + fitted.bias if fitted else number)

    # --- what it comes to

    def _verdict(self, trial: Trial, place: int, opinions: Sequence[Opinion]) -> Judgement:
        said = tuple(opinion.said for opinion in opinions)
        given = [o for o in opinions if o.log_odds is not None]
        if len(given) < self.panel.quorum:
            return replace(failed(trial, self._failure(opinions))[place], said=said)
        rule, fit = self.panel.params.rule, self.panel.fit
        weights = self._weights()
        own = fit.scorers.get(self.name) if fit and rule == "logodds" else None
        p = combined(
            rule,
            [o.log_odds for o in given if o.log_odds is not None],
            [weights[o.member.label] for o in given],
            math.fsum(weights.values()),
            own.bias if own else 0.0,
        )
        return replace(judged(trial, place, score=p, answer=int(p > 0.5)), said=said)

    def _weights(self) -> Mapping[str, float]:
        """Weight of each member: the panel's, else what was fitted for the sum of log-odds, else equal ones, of sum 1."""
        equal = 1 / len(self.panel.members)
        found = {}
        for member in self.panel.members:
            fitted = self.panel.fitted(self.name, member.label)
            usual = fitted.weight if fitted and self.panel.params.rule == "logodds" else equal
            found[member.label] = usual if member.weight is None else member.weight
        return found

    def _failure(self, opinions: Sequence[Opinion]) -> Reply:
        silent = [o for o in opinions if o.log_odds is None]
        outcome = min((o.outcome for o in silent), key=WORST.index)
        causes = "; ".join(f"{o.member.label}: {o.error or o.outcome.value}" for o in silent)
        least = f"{self.panel.quorum} of {len(opinions)} members must answer" if self.panel.params.quorum else ""
        return Reply(outcome, error=f"{causes} ({least})" if least else causes)

    def _lack(self) -> str:
        """Why the scorer cannot ask this panel; "" where it can."""
        if not isinstance(self.scorer, BinaryTask):
            return "a panel says of windows whether they are active, and this scorer asks something else"
        for member in self.panel.members:
            if member.by is not None:
                if self.panel.fitted(self.name, member.label) is None:
                    return (
                        f"its member {member.label} answers by {member.by.name}, whose numbers are no probabilities; nothing "
                        f"was fitted for {self.name} (`bench judge fit-panel`)"
                    )
                continue
            way = next((need for need in self.scorer.needs if need <= member.judge.can), None)
            if way is None:
                able = ", ".join(sorted(c.value for c in member.judge.can))
                wanted = " or ".join("+".join(sorted(c.value for c in need)) for need in self.scorer.needs)
                return f"it needs {wanted}, and its member {member.label} can {able}"
            if Capability.CHAT in way and self.panel.params.rule == "logodds":
                return f"its member {member.label} answers in words, which have no log-odds; take the rule vote or mean"
        return ""


def seated(scorer: Scorer, judge: Judge) -> Scorer:
    """The scorer as it asks a judge: itself, but for a panel."""
    return PanelScorer(scorer, judge) if isinstance(judge, PanelJudge) else scorer


def lack(scorer: Scorer) -> str:
    """Why a scorer cannot ask its panel; "" where it can, or asks none."""
    return scorer.lack if isinstance(scorer, PanelScorer) else ""


def _plain(scorer: Scorer, trial: Trial, member: Member) -> list[Direct]:
    return [r for r in scorer.requests(trial, member.judge.can) if not isinstance(r, Passed)]


def _about(trial: Trial, place: int, task: str) -> Trial:
    """One window of a trial as a scorer shows it that ranks windows: alone and without marks."""
    return replace(
        trial,
        task=task,
        form=Ordering(),
        windows=(replace(trial.windows[place], marks=None),),
        truth=(trial.truth[place],),
        token_truth=trial.token_truth[place : place + 1],
    )


def _read(scorer: Scorer, trial: Trial, replies: list[Reply]) -> list[Judgement]:
    """What a scorer reads; windows are failed where its code fails, so that the other members still count."""
    found = attempt(scorer, "parse", lambda: scorer.parse(trial, replies), list[Judgement], answered(trial))
    return failed(trial, Reply(Outcome.PARSE, error=found.line)) if isinstance(found, Fault) else found
