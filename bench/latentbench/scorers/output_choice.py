"""Output choice: which of three groups of steered texts was written under this latent (Gur-Arieh et al., arXiv 2501.08319)?

One group is the latent's own completions of the suite's intervention table, the two others are those of other latents of the same
coder at the same strength, drawn by seed and never twice in a trial. Chance is 1/3.

Only what the subject wrote is shown, not the prompts, because a latent's prompts end where it fires and name its topic. The topic
still runs on into the completions: a judge can be right without any steering. So each trial is asked a second time with the
*clean* completions after the same prompts; `gain` is what steering adds to that.

The true group's place is balanced as in `intruder`: a judge that always names one place is right in 1/3 of a latent's trials.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from latentbench.kernel.errors import CapabilityError
from latentbench.kernel.forms import Which, words
from latentbench.kernel.latent import LatentView, Steered
from latentbench.kernel.requests import Capability, Chat, Choice, Outcome, Reply, Request, Simulate
from latentbench.kernel.trial import Seen, Trial
from latentbench.prompts import selection
from latentbench.prompts.answers import NO_MASS, masses, read_number, unread
from latentbench.prompts.template import Prompts, one_line
from latentbench.scorers.intervention import KLS, kind
from latentbench.scorers.scorer import Judgement, Metric, Params, Scorer, failed, judged, with_own
from latentbench.stats.bounds import scaled, share
from latentbench.stats.fade import CLEAN
from latentbench.stats.ranking import normalise
from latentbench.suites.planted.rules import TOKEN

GROUPS = 3
FORM = Which(GROUPS)
ANSWERS = words(FORM, GROUPS)


class OutputChoiceParams(Params):
    """Parameters of output choice."""

    kl: float = Field(default=1.0, gt=0)
    """Strength of the headline in nats."""
    also: tuple[float, ...] = ()
    """Further strengths, each reported as `accuracy@kl:X`."""
    texts: int = Field(default=5, ge=1)
    """Completions per group."""
    trials: int = Field(default=3, ge=1)
    """Questions per latent and strength, at most; no completion of the latent stands in two of them."""
    control: bool = True
    """Ask with the clean completions, too."""


class OutputChoice(Scorer):
    """The windows of a trial are the completions, group by group.

    One judgement per trial: `truth` is the place of the latent's own group and `answer` the place named, both from 1; `score`
    is the right place's share of the mass on all three. `kind` is the strength, or `clean`.
    """

    params_model: ClassVar[type[Params]] = OutputChoiceParams

    def __init__(self, name: str, version: str, headline: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, headline, params, prompts)
        self._template = Prompts(prompts, ("ask",), f"scorer {name!r}").messages("ask", ("explanation", "windows"))
        self._main = kind(self.params.kl)

    def metric_table(self) -> tuple[Metric, ...]:
        """Shares at the headline's strength, at each usual one and at further ones that are asked for."""
        usual = (
            Metric("accuracy", 1 / GROUPS, low=0.0, high=1.0),
            Metric("accuracy_normalised", 0.0, low=-1 / (GROUPS - 1), high=1.0),
            Metric("gain", 0.0, low=-1.0, high=1.0),
            Metric(f"accuracy@{CLEAN}", 1 / GROUPS),
            *(Metric(f"accuracy@{kind(x)}", 1 / GROUPS) for x in KLS),
            *(Metric(f"named@{a}", None) for a in ANSWERS),
            *(Metric(f"accuracy@place:{a}", 1 / GROUPS) for a in ANSWERS),
            Metric("n", None),
        )
        others = [Metric(f"accuracy@{kind(x)}", 1 / GROUPS) for x in (self.params.kl, *self.params.also)]
        return with_own(usual, others)

    @property
    def uses_interventions(self) -> bool:
        """It shows steered texts."""
        return True

    @property
    def needs(self) -> tuple[frozenset[Capability], ...]:
        """Log-probabilities of the numbers, else a written number, else a simulator."""
        return tuple(frozenset({c}) for c in (Capability.CHOICE, Capability.CHAT, Capability.SIMULATE))

    def trials(self, latent: LatentView, explanation: str, seed: int) -> list[Trial]:
        """Up to `trials` trials per strength and as many controls; one that will be skipped where there is none."""
        p = self.params
        found: list[Trial] = []
        for name in dict.fromkeys([self._main, *(kind(x) for x in p.also)]):
            questions = self._questions(latent, name, seed)
            if not questions:
                found.append(Trial(f"{name}/-", self.name, FORM, explanation, (), (1,), kind=name))
            found += [self._trial(f"{name}/{i}", name, explanation, *q) for i, q in enumerate(questions)]
            if p.control and name == self._main:
                found += [self._trial(f"{CLEAN}/{i}", CLEAN, explanation, *q) for i, q in enumerate(questions)]
        return found

    def _questions(self, latent: LatentView, name: str, seed: int) -> list[tuple[list[tuple[Steered, ...]], int]]:
        """(groups in the order shown, place of the latent's own), of one strength."""
        p = self.params
        own = _completions(latent.interventions, name)
        others = {k: _completions(rows, name) for k, rows in latent.peers.items() if k != latent.id}
        usable = sorted(k for k, rows in others.items() if len(rows) >= p.texts)
        if len(own) < p.texts or len(usable) < GROUPS - 1:
            return []
        # One order for all strengths, so that they differ in the strength alone.
        mine = selection.shuffled(own, self.own(seed, "own"))
        found: list[tuple[list[tuple[Steered, ...]], int]] = []
        places: list[int] = []
        for number in range(min(p.trials, len(own) // p.texts)):
            # By a key of each candidate: a latent that joins the table displaces few of the others.
            drawn = sorted(usable, key=lambda k: self.own(seed, "other", number, k))[: GROUPS - 1]
            groups = [tuple(selection.shuffled(others[k], self.own(seed, number, k))[: p.texts]) for k in drawn]
            if not places:
                places = selection.shuffled(range(GROUPS), self.own(seed, "places", number))
            place = places.pop()
            groups.insert(place, tuple(mine[number * p.texts : (number + 1) * p.texts]))
            found.append((groups, place))
        return found

    def _trial(
        self, trial: str, name: str, explanation: str, groups: Sequence[tuple[Steered, ...]], place: int
    ) -> Trial:
        texts = [s.clean if name == CLEAN else s.steered for group in groups for s in group]
        windows = tuple(Seen(tuple(TOKEN.findall(text))) for text in texts)
        return Trial(trial, self.name, FORM, explanation, windows, (place + 1,), kind=name)

    def requests(self, trial: Trial, can: frozenset[Capability]) -> list[Request]:
        """One request, or none where there is nothing to show.

        Raises:
            CapabilityError: the judge fits none of `needs`.
        """
        if not trial.windows:
            return []
        if Capability.CHOICE in can or Capability.CHAT in can:
            texts = [f"- {one_line(w.text)}" for w in trial.windows]
            groups = [
                "\n".join([f"{i}.", *own]) for i, own in enumerate(selection.batches(texts, self.params.texts), 1)
            ]
            messages = self._template.render(explanation=trial.explanation, windows="\n".join(groups))
            if Capability.CHOICE in can:
                return [Choice(messages, ANSWERS, trial=trial)]
            return [Chat(messages, max_tokens=8, trial=trial)]
        if Capability.SIMULATE in can:
            return [Simulate(trial)]
        raise CapabilityError(f"scorer {self.name!r} cannot use a judge that can only {sorted(can)}.")

    def parse(self, trial: Trial, replies: Sequence[Reply]) -> list[Judgement]:
        """The likeliest number, the one number of a written answer, or the group with the largest mean probability.

        Of equal ones the first counts: places are balanced, so a judge without an opinion is right once in three.
        """
        (place,) = trial.truth
        if not replies:
            error = f"fewer than {self.params.texts} completions at this strength, of it or of two other latents"
            return failed(trial, Reply(Outcome.SKIPPED, error=error))
        (reply,) = replies
        if not reply.ok:
            return failed(trial, reply)
        mass: list[float] | None = None
        if reply.windows is not None:
            mass = [math.fsum(own) / len(own) for own in selection.batches(reply.windows, self.params.texts)]
        elif reply.logprobs is not None:
            mass = masses(reply.logprobs[0])
            if mass is None:
                return failed(trial, NO_MASS)
        if mass is not None:
            total = math.fsum(mass)
            share = mass[place - 1] / total if total else 1 / GROUPS
            return [judged(trial, score=share, answer=mass.index(max(mass)) + 1)]
        said = read_number(reply.text or "", ANSWERS)
        return failed(trial, unread(reply.text or "")) if said is None else [judged(trial, answer=said)]

    def extremes(self, judgements: Sequence[Judgement]) -> dict[str, tuple[float, float]]:
        """Those of the share found at the headline's strength."""
        main = [j for j in judgements if j.kind == self._main]
        if not main:
            return {}
        ends = share(sum(j.answer == j.truth for j in main), sum(j.answer is not None for j in main), len(main))
        return {"accuracy": ends, "accuracy_normalised": scaled(ends, 1 / GROUPS)}

    def metrics(self, judgements: Sequence[Judgement]) -> dict[str, float]:
        """Shares found at the headline's strength, at each strength and without steering; `gain` is the first minus the last.

        `named@K` is how often place K is named and `accuracy@place:K` how often rightly when it is there, at the headline's
        strength. By hand: right in 2 of 3, and in 1 of 3 of the controls: accuracy 2/3, normalised (2/3 - 1/3) / (2/3) = 1/2,
        gain 1/3.
        """
        used = [j for j in judgements if j.outcome is Outcome.OK and j.answer is not None]
        known = {m.name for m in self.metric_table()}
        by_kind = {k: _found([j for j in used if j.kind == k]) for k in sorted({j.kind for j in used})}
        found = {f"accuracy@{k}": share for k, share in by_kind.items() if f"accuracy@{k}" in known}
        main = [j for j in used if j.kind == self._main]
        if not main:
            return found
        share = _found(main)
        found |= {"accuracy": share, "accuracy_normalised": normalise(share, 1 / GROUPS), "n": float(len(main))}
        if CLEAN in by_kind:
            found["gain"] = share - by_kind[CLEAN]
        for answer in ANSWERS:
            found[f"named@{answer}"] = sum(j.answer == int(answer) for j in main) / len(main)
            there = [j for j in main if j.truth == int(answer)]
            if there:
                found[f"accuracy@place:{answer}"] = _found(there)
        return found


def _completions(rows: Sequence[Steered], name: str) -> list[Steered]:
    """Rows of one reached strength, in an order that no row number decides."""
    own = [s for s in rows if s.role == "test" and kind(s.target) == name and s.reached]
    return sorted(own, key=lambda s: (s.prompt, s.clean, s.steered))


def _found(judgements: Sequence[Judgement]) -> float:
    return sum(j.answer == j.truth for j in judgements) / len(judgements)
