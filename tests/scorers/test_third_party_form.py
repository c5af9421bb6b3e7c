"""A scorer that nobody here has heard of, with words of its own, is served by every mock because its questions say their form."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable
from statistics import fmean

import pytest
from latentbench.explainers.explainer import load_explainer
from latentbench.judges.reference import load_judge
from latentbench.kernel.errors import SpecError
from latentbench.kernel.forms import YesNo
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Capability, Chat, Choice, Message
from latentbench.kernel.trial import Trial, seen
from latentbench.runs.judging import judgements_of, trial_exchange
from latentbench.runs.rounds import converse
from latentbench.scorers.scorer import Judgement, Metric, Params, Scorer, failed, judged
from latentbench.suites.store import load_suite


class Matching(Scorer):
    needs = (frozenset({Capability.CHOICE}),)

    def metric_table(self):
        return (Metric("accuracy", 0.5),)

    def trials(self, latent, explanation, seed):
        form = YesNo(no="Mismatch", yes="Match")
        return [Trial(str(w.id), self.name, form, explanation, (seen(w),), (int(w.active),)) for w in latent.test]

    def requests(self, trial, can):
        asked = Message("user", f"{trial.explanation}\n{trial.windows[0].text}")
        return [Choice((asked,), ("Match", "Mismatch"), trial=trial)]

    def parse(self, trial, replies):
        if not replies[0].ok:
            return failed(trial, replies[0])
        match, mismatch = replies[0].logprobs[0]
        return [judged(trial, score=math.exp(match), answer=int(match > mismatch))]

    def metrics(self, judgements):
        return {"accuracy": fmean(j.answer == j.truth for j in judgements)}


@pytest.fixture(scope="module")
def planted() -> list[LatentView]:
    return load_suite("planted-1").latents(split="test", limit=12)


def accuracy(judge: str, latent: LatentView, explanation: str) -> float:
    """The metric of one latent."""
    scorer, asked = Matching("matching", "1-0", "", Params(), {}), load_judge(judge)
    trials = scorer.trials(latent, explanation, 0)
    exchanges = [trial_exchange(scorer, t, asked.can) for t in trials]
    asyncio.run(converse(exchanges, asked.answer))
    found: list[Judgement] = [j for t, e in zip(trials, exchanges, strict=True) for j in judgements_of(scorer, t, e)]
    return float(scorer.metrics(found)["accuracy"])


def said(latent: LatentView, which: str) -> str:
    """One of the texts that the suite holds about a latent."""
    text = load_explainer({"use": "planted", "params": {"which": which}}).parse(latent, [], 0, {}).text
    assert text
    return text


def test_it_is_small() -> None:
    assert len([line for line in inspect.getsource(Matching).splitlines() if line.strip()]) <= 20


def test_the_judge_that_knows_the_answers_gives_them(planted: list[LatentView]) -> None:
    assert [accuracy("mock:label", latent, "whatever") for latent in planted] == [1.0] * len(planted)


def test_the_judge_without_noise_ranks_explanations(planted: list[LatentView]) -> None:
    def mean(text: Callable[[LatentView], str]) -> float:
        return fmean(accuracy("mock:oracle", latent, text(latent)) for latent in planted)

    truth = mean(lambda x: said(x, "truth"))
    near = [mean(lambda x, w=which: said(x, w)) for which in ("narrow", "broad")]
    floors = [mean(lambda x: said(x, "unrelated:0")), mean(lambda x: "")]
    assert truth > 0.97
    assert truth > max(near)
    assert min(near) > max(floors)


def test_the_form_decides_what_a_written_answer_is(planted: list[LatentView]) -> None:
    trials = Matching("matching", "1-0", "", Params(), {}).trials(planted[0], "z", 0)[:1]
    (reply,) = asyncio.run(load_judge("mock:label").answer([Chat((), trial=trials[0])]))
    assert reply.text == f"[{trials[0].truth[0]}]"


def test_words_that_are_not_those_of_the_form_are_refused_by_name(planted: list[LatentView]) -> None:
    trial = Matching("matching", "1-0", "", Params(), {}).trials(planted[0], "z", 0)[0]
    with pytest.raises(SpecError, match="matching.*Mismatch"):
        asyncio.run(load_judge("mock:label").answer([Choice((), ("Yes", "No"), trial=trial)]))
