"""Intruder: which of k windows does not belong (Paulo and Belrose 2025, arXiv 2507.08473)? Needs no explanation.

k - 1 windows activate the latent about equally strongly, one is silent. It measures whether the latent is recognisable at all,
so an explanation that scores low on a latent with a high intruder score is to blame itself. The explanation is left out of the
trial, not only of the prompt: every explainer of a grid gets the same numbers, and pays once.

The intruder's place is balanced: each k prompts of a latent in a row have it once at every place. A judge that always names the
same place is then right in exactly 1/k of them, and does not score by luck.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from latentbench.kernel.errors import CapabilityError
from latentbench.kernel.forms import Which, words
from latentbench.kernel.latent import LatentView, Window
from latentbench.kernel.requests import Capability, Chat, Choice, Reply, Request
from latentbench.kernel.trial import Seen, Trial, seen
from latentbench.prompts import selection
from latentbench.prompts.answers import NO_MASS, masses, read_number, unread
from latentbench.prompts.template import Prompts, active_marks, marked, one_line, random_marks
from latentbench.scorers.scorer import Judgement, Metric, Params, Scorer, failed, judged
from latentbench.stats.bounds import scaled, share
from latentbench.stats.ranking import normalise


class IntruderParams(Params):
    """Parameters of intruder."""

    k: int = Field(default=5, ge=3, le=9)
    """Windows in a prompt, the intruder among them; with two-digit numbers the mass of "1" would hold that of "10"."""
    groups: Literal[1, 2, 5, 10] | None = None
    """Groups of neighbouring deciles from which a prompt's activating windows come; 10 is one group per decile. By default the
    most that leave every group k - 1 windows, so that a small suite has prompts at all."""
    trials: int = Field(default=2, ge=1)
    """Prompts per group. A group with fewer than k - 1 windows has none, which `n` shows."""
    marks: bool = False
    """Mark the activating tokens, and as many random ones of the intruder."""
    threshold: float = Field(default=0.3, gt=0, le=1)
    """Share of the window's maximum from which a token is marked."""


class Intruder(Scorer):
    """One judgement per prompt, on the intruder's window: `truth` is its place and `answer` the place named, both from 1;
    `score` is the right place's share of the mass on all places."""

    params_model: ClassVar[type[Params]] = IntruderParams

    def __init__(self, name: str, version: str, headline: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, headline, params, prompts)
        self._template = Prompts(prompts, ("ask",), f"scorer {name!r}").messages("ask", ("windows",))
        self._form = Which(self.params.k)
        self._answers = words(self._form, self.params.k)

    def metric_table(self) -> tuple[Metric, ...]:
        """Shares, whose floor depends on k."""
        share = 1 / self.params.k
        return (
            Metric("accuracy", share, low=0.0, high=1.0),
            Metric("accuracy_normalised", 0.0, low=normalise(0.0, share), high=1.0),
            *(Metric(f"accuracy@quantile:{d}", share) for d in range(10)),
            Metric("n", None),
        )

    @property
    def needs(self) -> tuple[frozenset[Capability], ...]:
        """A judge that reads text: log-probabilities of the numbers, else a written number."""
        return (frozenset({Capability.CHOICE}), frozenset({Capability.CHAT}))

    @property
    def fewest(self) -> int:
        """The activating windows of one prompt."""
        k: int = self.params.k
        return k - 1

    def trials(self, latent: LatentView, explanation: str, seed: int) -> list[Trial]:
        """`trials` prompts per group of deciles; intruders are drawn without replacement as far as they last."""
        p = self.params
        active = [w for w in selection.by_content(latent.test) if w.decile is not None]
        per_group = grouped(active, p.groups or 10)
        for coarser in () if p.groups else (5, 2, 1):
            if min(map(len, per_group.values()), default=0) < p.k - 1:
                per_group = grouped(active, coarser)
        silent = selection.shuffled(selection.negatives(latent, "random", None, seed), self.own(seed, "intruders"))
        found: list[Trial] = []
        places: list[int] = []
        for lowest, windows in sorted(per_group.items()):
            for number in range(p.trials if len(windows) >= p.k - 1 and silent else 0):
                own = self.own(seed, "trial", lowest, number)
                same = random.Random(own).sample(windows, p.k - 1)
                intruder = silent[len(found) % len(silent)]
                if not places:
                    places = selection.shuffled(range(p.k), self.own(seed, "places", len(found)))
                place = places.pop()
                # `sample` has put the others in random order.
                order = [*same[:place], intruder, *same[place:]]
                found.append(
                    Trial(
                        f"{lowest}.{number}",
                        self.name,
                        self._form,
                        "",
                        tuple(self._shown(w, same, own) for w in order),
                        (place + 1,),
                        tuple(w.activations for w in order),
                        # The strength that was recognised, not the intruder's kind.
                        kind=f"quantile:{lowest}",
                        item=intruder.id,
                    )
                )
        return found

    def _shown(self, window: Window, same: Sequence[Window], seed: int) -> Seen:
        if not self.params.marks:
            return seen(window)
        if window.active:
            return seen(window, active_marks(window.activations, self.params.threshold))
        counts = [sum(active_marks(w.activations, self.params.threshold)) for w in same]
        return seen(window, random_marks(window, counts, self.own(seed, "marks")))

    def requests(self, trial: Trial, can: frozenset[Capability]) -> list[Request]:
        """One request.

        Raises:
            CapabilityError: a judge that reads no text.
        """
        texts = [one_line(marked(w.tokens, w.marks) if w.marks else w.text) for w in trial.windows]
        messages = self._template.render(windows="\n".join(f"{i}. {t}" for i, t in enumerate(texts, 1)))
        if Capability.CHOICE in can:
            return [Choice(messages, self._answers, trial=trial)]
        if Capability.CHAT in can:
            return [Chat(messages, max_tokens=8, trial=trial)]
        raise CapabilityError(f"scorer {self.name!r} needs a judge that reads text; this one can only {sorted(can)}.")

    def parse(self, trial: Trial, replies: Sequence[Reply]) -> list[Judgement]:
        """The largest log-probability, or the one number of a written answer.

        Of equal log-probabilities, which low-precision judges give often, the first counts: places are balanced, so a judge
        without an opinion is right once in k.
        """
        (reply,) = replies
        if not reply.ok:
            return failed(trial, reply)
        (place,) = trial.truth
        if reply.logprobs is not None:
            logp = reply.logprobs[0]
            mass = masses(logp)
            if mass is None:
                return failed(trial, NO_MASS)
            share = mass[place - 1] / math.fsum(mass)
            return [judged(trial, score=share, answer=logp.index(max(logp)) + 1)]
        said = read_number(reply.text or "", self._answers)
        return failed(trial, unread(reply.text or "")) if said is None else [judged(trial, answer=said)]

    def extremes(self, judgements: Sequence[Judgement]) -> dict[str, tuple[float, float]]:
        """Those of the share found."""
        ends = share(
            sum(j.answer == j.truth for j in judgements), sum(j.answer is not None for j in judgements), len(judgements)
        )
        return {"accuracy": ends, "accuracy_normalised": scaled(ends, 1 / self.params.k)}

    def metrics(self, judgements: Sequence[Judgement]) -> dict[str, float]:
        """Share found, also per group of deciles (named by its lowest); `accuracy_normalised` = (s - 1/k) / (1 - 1/k)."""
        used = [j for j in judgements if j.answer is not None]
        if not used:
            return {}
        share = _found(used)
        out = {"n": float(len(used)), "accuracy": share, "accuracy_normalised": normalise(share, 1 / self.params.k)}
        for kind in sorted({j.kind for j in used}):
            out[f"accuracy@{kind}"] = _found([j for j in used if j.kind == kind])
        return out


def grouped(windows: Sequence[Window], groups: int) -> dict[int, list[Window]]:
    """Activating windows in groups of neighbouring deciles, by the lowest decile of the group."""
    size = 10 // groups
    found: dict[int, list[Window]] = {}
    for w in windows:
        if w.decile is not None:
            found.setdefault(w.decile // size * size, []).append(w)
    return found


def _found(judgements: Sequence[Judgement]) -> float:
    return sum(j.answer == j.truth for j in judgements) / len(judgements)
