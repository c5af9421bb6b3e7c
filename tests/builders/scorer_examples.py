"""The generated parts of the pages on scorers: one question with its reply, and what a latent costs.

Both come from the scorers themselves. Examples that are written by hand are shorter, and a prompt that is changed later leaves
them behind; a reader then learns to read a question that nobody asks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import yaml
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import (
    Activate,
    Capability,
    Chat,
    Choice,
    Continuation,
    Embed,
    Message,
    Projected,
    Reply,
    Request,
)
from latentbench.kernel.tasks import available
from latentbench.scorers.scorer import Judgement, Scorer, load_scorer
from latentbench.suites.store import load_suite

from tests.builders.golden_judges import mock
from tests.builders.golden_latents import FRUIT, SEED, golden_latents

ROOT = Path(__file__).parents[2]
TRUTH = "Names of fruit."
LISTED = "An apple, a pear, a plum, a cherry or a lemon."
WORDS = frozenset({"direction", "embedding", "example_embedding", "intervention", "sensitivity"})
"""Scorers whose example has an explanation in the words of the windows, because the mock judge that it asks compares words."""
JUDGE = dict.fromkeys(WORDS, "lexical") | {"intruder": "label"}
"""Scorer -> mock judge of its example, where it is not the one that knows the rules."""
NAMES = {"label": "label?error=0.3"}
SHOWN = 3
"""Requests and judgements of a question that an example shows."""


@cache
def toy() -> LatentView:
    """A latent that fires on names of fruit, with windows that are plain sentences."""
    return golden_latents()[FRUIT]


@cache
def real() -> LatentView:
    """A latent of a trained coder with 50 activating and 50 silent test windows of 32 tokens, and an intervention table."""
    suite = load_suite("smollm2-135m-mini")
    return next(view for view in suite.latents(split="test", coders=["res9"]) if view.interventions)


def presets(name: str) -> list[str | None]:
    """None for the task file as it stands, and the presets that change something."""
    told = yaml.safe_load(available("scorers")[name].read_text(encoding="utf-8")).get("presets") or {}
    plain = load_scorer(name).key
    return [None, *(p for p in told if load_scorer({"use": name, "preset": p}).key != plain)]


def scorer(name: str, preset: str | None = None, **params: object) -> Scorer:
    """A shipped scorer."""
    return load_scorer({"use": name, **({"preset": preset} if preset else {}), "params": params})


def needed(scorer: Scorer) -> frozenset[Capability]:
    """The abilities by which a model that reads text is asked, and not a simulator."""
    ways = [need for need in scorer.needs if Capability.SIMULATE not in need]
    return ways[0] if ways else scorer.needs[0]


def asked(scorer: Scorer, latent: LatentView, text: str) -> list[tuple[list[Request], list[Reply], list[Judgement]]]:
    """Everything that is asked about a latent, in all rounds, what a mock judge replies, and what is read from it."""
    can = needed(scorer)
    judge = mock(JUDGE.get(scorer.name, "oracle"))
    found = []
    for trial in scorer.trials(latent, text, SEED):
        requests = list(scorer.requests(trial, can))
        replies = judge(requests) if requests else []
        while more := scorer.follow_up(trial, can, replies):
            requests += more
            replies = [*replies, *judge(more)]
        found.append((requests, replies, scorer.parse(trial, replies)))
    return found


# --- the example


def _number(x: float | None) -> str:
    return "none" if x is None else f"{0.0 if abs(x) < 5e-4 else x:.3f}"


def _messages(messages: Sequence[Message]) -> list[str]:
    lines = []
    if messages[0].role == "system":
        lines += ["[system]", messages[0].content.strip()]
    last = max(i for i, m in enumerate(messages) if m.role == "user")
    before = last - (messages[0].role == "system")
    if before:
        lines.append(f"[{before} messages with worked examples]")
    for message in messages[last:]:
        lines += [f"[{message.role}]", message.content.strip()]
    return lines


def question(request: Request) -> list[str]:
    """What a judge is shown, as lines; of the messages before the last question only how many there are."""
    if isinstance(request, Chat):
        return _messages(request.messages)
    if isinstance(request, Choice):
        said = _messages(request.messages)
        if len(request.slots) > 1:
            said += ["[assistant, with a value asked at each place]", "".join(request.slots).replace("unknown", "?")]
        return [*said, f"[asked for the log-probability of each of: {', '.join(request.answers)}]"]
    if isinstance(request, Continuation):
        return ["[context]", request.context.rstrip(), "[asked for the log-probability of]", request.text.strip()]
    if isinstance(request, Embed):
        return [f"[{'query' if request.query else 'document'}]", request.text.strip()]
    assert isinstance(request, Activate | Projected)
    return ["[the subject runs on]", request.text.strip()]


def answer(request: Request, reply: Reply) -> list[str]:
    """What the judge replied, as lines."""
    if reply.text is not None:
        return [reply.text.strip()]
    if reply.logprobs is not None and isinstance(request, Choice):
        best = [request.answers[int(np.argmax(slot))] for slot in reply.logprobs]
        if len(best) > 1:
            return [f"most probable at each place: {' '.join(best)}"]
        shares = [f"{a} {math.exp(p):.3f}" for a, p in zip(request.answers, reply.logprobs[0], strict=True)]
        return [f"probabilities: {', '.join(shares)}"]
    if reply.loglik is not None:
        return [f"log-probability {reply.loglik:.3f} over {reply.n_tokens} tokens"]
    if reply.vector is not None:
        return [f"a vector of {len(reply.vector)} numbers"]
    if isinstance(request, Projected):
        return [f"along the latent's direction, then the others': {' '.join(f'{x:.3f}' for x in reply.windows or ())}"]
    return [f"activation of each token: {' '.join(f'{x:.1f}' for x in (reply.tokens or ((),))[0])}"]


def read(judgements: Sequence[Judgement]) -> list[str]:
    """What was read from the replies, one line a judgement."""
    lines = []
    for j in judgements:
        said = [f"truth {j.truth}"]
        said += [f"score {_number(j.score)}"] if j.score is not None else []
        said += [f"answer {j.answer}"] if j.answer is not None else []
        if j.token_scores is not None and j.token_truth is not None:
            said = [f"predicted {' '.join(f'{x:.0f}' for x in j.token_scores)}"]
            said += [f"true {' '.join(f'{x:.0f}' for x in j.token_truth)}"]
        lines.append(f"{j.kind or 'window'}: {', '.join(said)}")
    return lines


SMALL: Mapping[str, Mapping[str, object]] = {"sensitivity": {"texts": 2, "max_tokens": 12}}
"""Parameters of an example."""


def example(name: str) -> str:
    """The block of one question and its reply: the first activating window, or the first trial."""
    one, text = scorer(name, **SMALL.get(name, {})), LISTED if name in WORDS else TRUTH
    whole = [t for t in asked(one, toy(), text) if all(j.outcome == "ok" for j in t[2])]
    trials = [t for t in whole if t[0]]
    requests, replies, judgements = next((t for t in trials if any(j.truth for j in t[2])), trials[0])
    lines = []
    for request, reply in list(zip(requests, replies, strict=True))[:SHOWN]:
        lines += [*question(request), "[reply]", *answer(request, reply), ""]
    lines += [f"[{len(requests) - SHOWN} more calls]", ""] if len(requests) > SHOWN else []
    more = [f"[{len(judgements) - SHOWN} more]"] if len(judgements) > SHOWN else []
    body = "\n".join([*lines, "[read as]", *read(judgements[:SHOWN]), *more])
    metrics = one.metrics([j for t in whole for j in t[2]])
    headline = f"{one.headline} of this latent: {_number(metrics[one.headline])}" if one.headline in metrics else ""
    judge = "mock:" + NAMES.get(JUDGE.get(name, "oracle"), JUDGE.get(name, "oracle"))
    assert "```" not in body
    return (
        f'A toy latent that fires on names of fruit, explained as "{text}", asked as the task file stands; `{judge}` replies.\n\n'
        f"```text\n{body}\n[all {sum(len(t[2]) for t in whole)} judgements] {headline}".rstrip()
        + "\n```\n"
    )


# --- the cost


def length(request: Request) -> int:
    """Characters of a request that a judge reads."""
    if isinstance(request, Chat | Choice):
        slots = sum(map(len, request.slots)) if isinstance(request, Choice) and len(request.slots) > 1 else 0
        return sum(len(m.content) for m in request.messages) + slots
    if isinstance(request, Continuation):
        return len(request.context) + len(request.text)
    return len(request.text) if isinstance(request, Embed | Projected) else 0


COST = (
    "For one latent and one explanation, on a latent of `smollm2-135m-mini` with 50 activating and 50 silent windows of 32 "
    "tokens, and a judge that reads text. Tokens are characters / 4. A reply that is in the cache costs nothing.\n\n"
)


def cost(name: str) -> str:
    """The table of calls and tokens a latent and explanation, one row a preset."""
    rows = []
    for preset in presets(name):
        one = scorer(name, preset)
        found = asked(one, real(), TRUTH)
        requests = [r for t in found for r in t[0]]
        read = sum(map(length, requests)) / 4 / 1000
        shown = sum(isinstance(r, Chat | Choice | Continuation | Embed | Projected) for r in requests)
        label = f"`{preset}`" if preset else "the task file"
        if not shown:
            continue
        rows.append(f"| {label} | {len(found)} | {shown} | {read:.1f}k |")
    head = "| asked as | questions | calls to the judge | tokens read, about |\n| --- | ---: | ---: | ---: |\n"
    return COST + head + "\n".join(rows) + "\n"
