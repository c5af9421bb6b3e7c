"""The package's types as neutral JSON, and questions put to judges: the one place that changes when those types change.

The golden files use words of their own (`kind`, `item`, `score`, `token_scores`), so a class may be renamed, split or merged and
the files stay as they are, byte by byte. Writing `asdict(judgement)` would be shorter and would make every renaming look like a
change of numbers.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import numpy as np
from latentbench.explainers.explainer import Explainer, Explanation
from latentbench.judges.judge import Judge
from latentbench.judges.reference import load_judge
from latentbench.kernel import requests
from latentbench.kernel.boundary import Fault
from latentbench.kernel.forms import YesNo
from latentbench.kernel.identity import canonical, digest
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import (
    Activate,
    Capability,
    Chat,
    Choice,
    Continuation,
    Embed,
    Message,
    Outcome,
    Patched,
    Projected,
    Reply,
    Request,
    Simulate,
)
from latentbench.kernel.trial import Seen, Trial
from latentbench.runs import explaining, judging, plan
from latentbench.runs.rounds import converse
from latentbench.runs.run_spec import RunSpec
from latentbench.scorers.scorer import Judgement, Metric, Scorer

from tests.builders.golden_file import Json

Answers = Callable[[Sequence[Request]], list[Reply]]
"""Replies to requests, one for each."""

KINDS: dict[type, str] = {
    Chat: "chat",
    Choice: "choice",
    Continuation: "continuation",
    Embed: "embed",
    Simulate: "simulate",
    Activate: "activate",
    Patched: "patched",
    Projected: "projected",
}


def number(value: Any, digits: int = 10) -> Json:
    """A number to significant digits; what JSON has no number for is a word."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if not math.isfinite(value):
        return str(float(value))
    return float(f"{float(value):.{digits}g}") + 0.0


def plain(value: Any, digits: int = 10) -> Json:
    """Nested lists, tuples and mappings with their numbers rounded."""
    if isinstance(value, Mapping):
        return {str(k): plain(v, digits) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v, digits) for v in value]
    return number(value, digits)


def present(**fields: Any) -> dict[str, Json]:
    """The fields that say something; None is left out."""
    return {name: plain(value) for name, value in fields.items() if value is not None}


# --- requests


def request_form(request: Request) -> dict[str, Json]:
    """What a judge reads of a request."""
    kind = KINDS[type(request)]
    match request:
        case Chat():
            messages, seed = messages_form(request.messages), request.seed or None
            size, heat = request.max_tokens, request.temperature
            return present(kind=kind, messages=messages, max_tokens=size, temperature=heat, seed=seed)
        case Choice():
            slots = None if request.slots == ("",) else request.slots
            messages = messages_form(request.messages)
            return present(kind=kind, messages=messages, answers=request.answers, slots=slots, end=request.end or None)
        case Continuation():
            return present(kind=kind, context=request.context, text=request.text)
        case Embed():
            return present(kind=kind, text=request.text, query=request.query)
        case Simulate():
            windows = ["|".join(w.tokens) for w in request.trial.windows]
            return present(kind=kind, explanation=request.trial.explanation, windows=windows)
        case Activate():
            return present(kind=kind, text=request.text, latent=request.latent.id)
        case Patched():
            return request_form(request.chat) | present(
                kind=kind,
                placeholder=request.placeholder,
                direction=[number(x) for x in request.direction],
                layer=request.layer,
                scale=request.scale,
                add=request.add or None,
            )
        case Projected():
            return present(kind=kind, text=request.text, latents=[ref.id for ref in request.latents])


def stored_form(request: Request, reads_truth: bool) -> Json:
    """What a stored reply is addressed by. Its words are the package's own: a field of another name is another address."""
    found: Json = json.loads(canonical(requests.stored(request, reads_truth)))
    return found


def trial_form(t: Trial) -> dict[str, Json]:
    """All that is in a trial, and of each window."""
    windows: list[Json] = [
        present(tokens="|".join(w.tokens), ids=w.ids or None, marks=w.marks, item=w.item, kind=w.kind or None)
        for w in t.windows
    ]
    return {"windows": windows} | present(
        id=t.id,
        task=t.task,
        form=t.form.name,
        explanation=t.explanation,
        truth=t.truth or None,
        token_truth=t.token_truth or None,
        part=t.part or None,
        kind=t.kind or None,
        item=t.item,
        latent=None if t.latent is None else t.latent.id,
        seed=t.seed or None,
    )


def messages_form(messages: Sequence[Message]) -> list[list[str]]:
    """Role and text of each message."""
    return [[m.role, m.content] for m in messages]


def shortened(requests: list[dict[str, Json]], shared: list[Json]) -> list[Json]:
    """Requests whose messages or contexts begin alike, with the beginning said once.

    Args:
        shared: beginnings said so far in the file, which a request names by number; grows.
    """
    out: list[Json] = []
    for request in requests:
        whole = request.get("messages", request.get("context"))
        head: Json = None
        rest: dict[str, Json] = {}
        if isinstance(whole, list) and len(whole) > 1:
            users = [i for i, message in enumerate(whole) if isinstance(message, list) and message[0] == "user"]
            head, rest = whole[: users[-1]], {"messages": whole[users[-1] :]}
        elif isinstance(whole, str) and whole.count("\n") > 3:
            cut = whole[: whole.rindex("\n", 0, len(whole) - 12)].rfind("\n") + 1
            head, rest = whole[:cut], {"context": whole[cut:]}
        if head:
            if head not in shared:
                shared.append(head)
            request = request | rest | {"after": shared.index(head)}
        out.append(request)
    return out


# --- replies


def reply_form(reply: Reply, digits: int = 10) -> dict[str, Json]:
    """What a judge said; a vector by its places that are not zero."""
    vector = None
    if reply.vector is not None:
        vector = {str(i): float(reply.vector[i]) for i in np.flatnonzero(reply.vector)}
    fields = {
        "outcome": None if reply.ok else reply.outcome.value,
        "text": reply.text,
        "answers": reply.logprobs,
        "loglik": reply.loglik,
        "n": reply.n_tokens,
        "vector": vector,
        "token_scores": reply.tokens,
        "scores": reply.windows,
        "error": reply.error,
        "finish": reply.finish if reply.finish != "stop" else None,
        "reasoning": reply.reasoning,
    }
    return {name: plain(value, digits) for name, value in fields.items() if value is not None}


def whole_reply(reply: Reply) -> dict[str, Json]:
    """All that is in a reply: also why its text ends, what it used, and whether it was paid for."""
    u = reply.usage
    spent = [u.tokens_in, u.tokens_out, u.tokens_cached, u.seconds]
    more = present(finish=reply.finish, used=spent if any(spent) else None, cached=reply.cached or None)
    return reply_form(reply) | more


def reply_of(said: Mapping[str, Any]) -> Reply:
    """A hand-written reply from its form."""
    logprobs, tokens, scores = said.get("answers"), said.get("token_scores"), said.get("scores")
    return Reply(
        outcome=Outcome(said.get("outcome", "ok")),
        text=said.get("text"),
        logprobs=None if logprobs is None else tuple(tuple(map(float, row)) for row in logprobs),
        loglik=None if said.get("loglik") is None else float(said["loglik"]),
        n_tokens=said.get("n"),
        vector=None if said.get("vector") is None else np.array(said["vector"], np.float32),
        tokens=None if tokens is None else tuple(tuple(map(float, row)) for row in tokens),
        windows=None if scores is None else tuple(map(float, scores)),
        error=said.get("error"),
        reasoning=said.get("reasoning"),
        finish=said.get("finish"),
    )


def answers_of(reference: str) -> Answers:
    """The judge of a reference as a plain function."""
    return answers_by(load_judge(reference))


def answers_by(judge: Judge) -> Answers:
    """A judge as a plain function."""
    return lambda requests: asyncio.run(judge.answer(list(requests)))


def sample_request(kind: str) -> Request:
    """A small request of a kind, for readers of replies."""
    messages = (Message("system", "Answer shortly."), Message("user", "Is a plum a fruit?"))
    match kind:
        case "chat":
            return Chat(messages, max_tokens=6)
        case "choice of 1 and 10":
            return Choice(messages, ("1", "10", "2"), end="\n")
        case "choice at two places":
            return Choice(messages, ("0", "5", "10"), ("A\t", "5\nplum\t"), "\n")
        case "continuation":
            return Continuation("A context:", " one two")
    return Choice(messages, ("No", "Yes"))


def lettered_request(kind: str, letters: int) -> Request:
    """A request whose prompt, or context and text, have a number of letters."""
    if kind == "a continuation":
        return Continuation("x" * (letters - 3), "xxx")
    messages = (Message("user", "x" * letters),)
    return Chat(messages, max_tokens=6) if kind == "a chat" else Choice(messages, ("No", "Yes"))


def simulate_request(explanation: str, windows: Sequence[tuple[str, ...]]) -> Request:
    """A request for probabilities per token."""
    return Simulate(Trial("0", "detection", YesNo(), explanation, tuple(Seen(w) for w in windows)))


# --- scorers


def judgement_form(j: Judgement) -> dict[str, Json]:
    """One judgement; `item` is the window in the suite, and none where something else is judged."""
    return {"item": j.item, "kind": j.kind, "truth": j.truth} | present(
        outcome=None if j.outcome is Outcome.OK else j.outcome.value,
        score=j.score,
        answer=j.answer,
        token_scores=j.token_scores,
        token_truth=j.token_truth,
        error=j.error,
    )


def declared(scorer: Scorer) -> list[Json]:
    """The table of metrics: name, floor, direction, least and greatest value."""

    def row(m: Metric) -> Json:
        low, high = scorer.range(m.name)
        return [m.name, number(m.floor), "up" if m.higher_is_better else "down", number(low), number(high)]

    return [row(m) for m in scorer.metric_table()]


def wanted(scorer: Scorer) -> list[Json]:
    """Alternatives of what a judge must be able to do."""
    return [list[Json](sorted(c.value for c in need)) for need in scorer.needs]


class Questions:
    """A scorer's questions about one latent, for judges with some capabilities."""

    def __init__(self, scorer: Scorer, trials: list[Trial], can: Sequence[str]) -> None:
        self.scorer = scorer
        self.can = frozenset(map(Capability, can)) or frozenset(Capability)
        self.trials = trials
        self.first: list[list[Request]] = [scorer.requests(t, self.can) for t in self.trials]

    def asked(self) -> list[list[dict[str, Json]]]:
        """Forms of the first round's requests by question."""
        return [[request_form(r) for r in own] for own in self.first]

    def replies(self, answer: Answers) -> tuple[list[list[Reply]], list[dict[str, Json]]]:
        """The replies of all rounds by question, and the forms of what was asked after the first."""
        replies: list[list[Reply]] = [[] for _ in self.trials]
        later: list[dict[str, Json]] = []
        requests, number_of = self.first, 0
        while any(requests):
            later += [request_form(r) for own in requests for r in own] if number_of else []
            new = iter(answer([r for own in requests for r in own]))
            for own, put in zip(replies, requests, strict=True):
                own += [next(new) for _ in put]
            pairs = zip(self.trials, replies, requests, strict=True)
            requests = [self.scorer.follow_up(t, self.can, own) if put else [] for t, own, put in pairs]
            number_of += 1
        return replies, later

    def next(self, number: int, replies: Sequence[Reply]) -> list[dict[str, Json]]:
        """Forms of what is asked after some replies to one question."""
        return [request_form(r) for r in self.scorer.follow_up(self.trials[number], self.can, replies)]

    def judged(self, replies: Sequence[Sequence[Reply]]) -> list[list[Judgement]]:
        """Judgements by question."""
        return [self.scorer.parse(t, own) for t, own in zip(self.trials, replies, strict=True)]

    def metrics(self, judgements: Sequence[Sequence[Judgement]]) -> dict[str, Json]:
        """The latent's metrics."""
        return {k: number(v) for k, v in self.scorer.metrics([j for own in judgements for j in own]).items()}


def question_digest(trials: Sequence[Trial]) -> str:
    """Digest of all that is in questions, for what no prompt shows: ids of tokens, marks, what is true of each token."""
    return digest(
        [
            [t.id, t.part, t.kind, t.item, t.seed, t.truth, [w.item for w in t.windows], requests.content(t)]
            for t in trials
        ]
    )


# --- explainers


def explanation_form(e: Explanation) -> dict[str, Json]:
    """What an explainer says of a latent."""
    outcome = None if e.outcome is Outcome.OK else e.outcome.value
    return {"latent": e.latent, "text": e.text} | present(outcome=outcome, error=e.error, note=e.note)


def explanation_of(latent: str, text: str | None, outcome: str = "ok", error: str | None = None) -> Explanation:
    """A hand-written explanation, for explainers that read others'."""
    return Explanation(latent, text, Outcome(outcome), error=error)


def explained(
    explainer: Explainer,
    latent: LatentView,
    answer: Answers,
    seed: int,
    others: Mapping[str, Mapping[str, Explanation]],
) -> tuple[list[dict[str, Json]], dict[str, Json]]:
    """Forms of the requests of all rounds, and of the explanation."""
    replies: list[Reply] = []
    asked: list[dict[str, Json]] = []
    requests = explainer.requests(latent, seed)
    while requests:
        asked += [request_form(r) for r in requests]
        replies += answer(requests)
        requests = explainer.follow_up(latent, replies, seed)
    return asked, explanation_form(explainer.parse(latent, replies, seed, others))


# --- runs


def run_spec(seed: int, explain_seed: int | None = None, order: int = 0) -> RunSpec:
    """A run as far as it decides what is asked; the names in it decide nothing."""
    return RunSpec.model_validate(
        {
            "name": "golden",
            "suite": "none",
            "explainers": ["empty"],
            "scorers": ["detection"],
            "judges": ["mock:label"],
            "seed": seed,
            "explain_seed": explain_seed,
            "order": order,
        }
    )


def run_trials(
    scorer: Scorer, latent: LatentView, explanation: str, seed: int, repeat: int = 0, order: int = 0
) -> list[Trial]:
    """A scorer's questions about one latent in a repeat of a run, in one of its orders."""
    found = judging.trials_of(run_spec(seed, order=order), repeat, scorer, latent, explanation)
    assert not isinstance(found, Fault), found.line
    return found


def run_explain_seed(explainer: Explainer, latent: LatentView, seed: int, own: int | None, repeat: int) -> int:
    """Seed of an explanation in a repeat of a run that may have an explaining seed of its own."""
    return plan.explain_seed(run_spec(seed, own), repeat, explainer, latent)


def run_explanation(explainer: Explainer, latent: LatentView, answer: Answers) -> Explanation:
    """An explanation as a run gets it, whatever the explainer's code does."""
    exchange = explaining.explainer_exchange(explainer, latent, 0)
    asyncio.run(converse([exchange], later(answer)))
    return explaining.explanation_of(explainer, latent, exchange, 0, {})


def run_judgements(scorer: Scorer, latent: LatentView, explanation: Explanation, answer: Answers) -> list[Judgement]:
    """Judgements as a run gets them, whatever the scorer's code does."""
    trials = judging.trials_of(run_spec(0), 0, scorer, latent, explanation.text or "")
    asked = [] if explanation.text is None or isinstance(trials, Fault) else trials
    exchanges = [judging.trial_exchange(scorer, trial, frozenset({Capability.CHAT})) for trial in asked]
    asyncio.run(converse(exchanges, later(answer)))
    cell = plan.Cell("e/s/j/0", "e", "s", "j", 0)
    unit = judging.Unit(cell, latent, explanation, trials, exchanges)
    return judging._judged(unit, scorer, load_judge("mock:label"))[0]


def later(answer: Answers) -> Callable[[Sequence[Request]], Awaitable[list[Reply]]]:
    """A plain function as a source of replies."""

    async def found(requests: Sequence[Request]) -> list[Reply]:
        return answer(requests)

    return found
