"""Golden contents of the shipped scorers: every way of asking that matters, on one frozen latent.

Parameters that say how many windows are judged are made small; those that say how are the shipped presets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from latentbench.judges.mock.lexical import DIMENSIONS
from latentbench.scorers.scorer import load_scorer

from tests import golden_form as form
from tests.builders.golden_file import Json
from tests.builders.golden_judges import FAILED, mock
from tests.builders.golden_latents import BARE, CLOCK, FRUIT, TOOLS
from tests.builders.golden_scenes import PLAIN, Scene

TEXT = "The word plum."
"""A near miss that the oracle knows and that shares a word with some windows, so that no metric stands at its best value."""


@dataclass(frozen=True)
class Way:
    """One way of asking.

    Attributes:
        preset, params: of the task.
        can: capabilities of the judge; all by default.
        judges: names of `MOCKS` whose judgements are kept.
        odd: whether the odd replies are read.
    """

    preset: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    can: tuple[str, ...] = ()
    judges: tuple[str, ...] = ("label", "oracle")
    odd: bool = False
    latent: str = FRUIT
    text: str = TEXT


FEW = {"positives": 3, "negatives": 2}
HARD = ["random", "neighbour", "similar", "nearest", "near-miss"]
SIM = ("simulate",)
NUMBERS = ("choice_logprobs",)
CHAT = ("chat",)


def binary(kinds: Sequence[str]) -> list[Way]:
    """Ways of detection and fuzzing."""
    paper = {"windows_per_prompt": 3, "positives": 3, "negatives": 1}
    return [
        Way("paper", paper | {"negative_kinds": list(kinds)}, CHAT, ("label", "oracle", "lexical"), odd=True),
        Way("paper", paper, SIM, ("oracle", "lexical")),
        Way("single", FEW, NUMBERS, ("label", "lexical"), odd=True),
        Way("single", {"positives": 2, "negatives": 1}, CHAT, ("label",), odd=True),
        *(
            Way(
                "single",
                {"positives": 2, "negatives": 1, "reduction": how},
                SIM,
                ("label", "lexical"),
                odd=how == "window",
            )
            for how in ("window", "mean", "max", "noisy_or")
        ),
        Way("single", {"positives": 4, "negatives": 1, "simulate": "never"}, (), ("label",), latent=TOOLS, text=""),
        Way("paper", paper, CHAT, ("label",), latent=BARE),
    ]


SCORERS: dict[str, list[Way]] = {
    "detection": binary(HARD),
    "fuzzing": [
        *binary([*HARD, "wrong_marks"]),
        Way("single", {"positives": 6, "negatives": 2, "threshold": 0.9}, NUMBERS),
    ],
    "saebench": [
        Way("paper", {"negatives": 3, "reach": 3}, CHAT, ("label", "oracle", "lexical"), odd=True),
        Way("paper", {"negatives": 3, "answer": "single"}, NUMBERS, ("lexical",), odd=True),
        Way("paper", {"negatives": 3, "top": 1, "weighted": 4, "reach": 0}, SIM),
        Way("paper", {}, CHAT, ("label",), latent=CLOCK),
    ],
    "embedding": [
        Way("paper", FEW | {"negative_kinds": HARD}, (), ("oracle", "lexical"), odd=True),
        Way(None, {}, (), ("lexical",), latent=TOOLS),
    ],
    "surprisal": [
        Way(
            None, {"positives": 3, "negatives": 1, "negative_kinds": HARD}, (), ("label", "oracle", "lexical"), odd=True
        )
    ],
    "simulation": [
        Way(None, FEW, ("choice_logprobs", "slots"), ("label", "oracle"), odd=True),
        Way(None, FEW | {"mode": "json"}, CHAT, ("label", "lexical"), odd=True),
        Way(None, FEW, SIM, ("label", "oracle", "lexical"), odd=True),
        Way(None, FEW | {"simulate": "last"}, ("choice_logprobs", "slots", "simulate"), ("lexical",)),
        Way(None, {}, SIM, ("label",), latent=CLOCK),
    ],
    "simulation_inline": [Way(None, {"positives": 2, "negatives": 1}, ("choice_logprobs", "slots"), ("oracle",))],
    "intruder": [
        Way(None, {"trials": 3}, NUMBERS, ("label", "lexical"), odd=True),
        Way(None, {"k": 4}, CHAT, ("label",), odd=True),
        Way("paper", {"k": 3, "trials": 1}, NUMBERS, ("label",)),
        Way("marked", {"trials": 3}, NUMBERS, ("label",)),
    ],
    "example_embedding": [
        Way(None, {"positives": 4, "negatives": 2, "negative_kinds": HARD}, (), ("oracle", "lexical"), odd=True),
        Way("marked", {"positives": 4, "negatives": 3}, (), ("lexical",)),
        Way("centre", {"positives": 4, "negatives": 3}, (), ("lexical",)),
    ],
    "direction": [
        Way(None, {"neutral": 3}, (), ("oracle", "lexical"), odd=True),
        Way(None, {"neutral": 1, "others": 1}, (), ("lexical",), latent=TOOLS),
        Way(None, {"neutral": 1}, (), ("lexical",), latent=BARE),
    ],
    "intervention": [
        Way(None, {"prompts": 3}, (), ("label", "oracle", "lexical"), odd=True),
        Way("paper", {"prompts": 2}, (), ("lexical",)),
        Way("ablate", {}, (), ("lexical",)),
        Way(None, {}, (), ("lexical",), text=""),
        Way(None, {}, (), ("lexical",), latent=BARE),
    ],
    "output_choice": [
        Way(None, {"texts": 2}, NUMBERS, ("label", "oracle", "lexical"), odd=True),
        Way(None, {"texts": 2, "trials": 1}, CHAT, ("label", "lexical"), odd=True),
        Way(None, {"texts": 2}, SIM, ("oracle", "lexical")),
        Way("strengths", {"texts": 2, "trials": 2}, NUMBERS, ("oracle", "lexical")),
        Way(None, {"texts": 7}, NUMBERS, ("label",)),
    ],
    "sensitivity": [
        Way(
            None,
            {"positives": 2, "negatives": 1, "texts": 2, "prompts": 2},
            (),
            ("label", "oracle", "lexical"),
            odd=True,
        ),
        Way("input", {"texts": 2}, ("chat", "activate"), ("lexical",)),
        Way("natural", {"texts": 2, "positives": 2, "negatives": 1}, ("chat", "activate"), ("label",), text=""),
        Way("ratings", FEW, CHAT, ("label", "oracle"), odd=True),
        Way("ratings", FEW, SIM, ("lexical",)),
        Way("output", {"prompts": 4}, NUMBERS, ("oracle",)),
        Way("output", {"kls": [1.0, 3.0]}, NUMBERS, ("oracle",), latent=TOOLS),
        Way(None, {"texts": 1}, (), ("label",), latent=BARE),
    ],
}
"""Task name -> ways of asking; a task that is not here is asked once, with its defaults."""

SHARES = {"flat": 0.25, "short": 0.25, "none": 0.0, "a third": 1 / 3, "half": 0.5, "two thirds": 2 / 3, "all": 1.0}
"""A word for a simulator's numbers -> its probability for every token; another word rises to 1."""


VECTORS = {"equal": [1.0] * DIMENSIONS, "tiny": [-1e-30] * DIMENSIONS, "one": [3.0] + [0.0] * (DIMENSIONS - 1)}
"""A word for a vector, so that a file stays short -> the vector, as long as those of the mocks."""


def odd_replies(scene: Scene, task: str, request: Mapping[str, Json]) -> list[dict[str, Any]]:
    """The odd replies to one request, in the sizes that it asks for."""
    # Only simulation reads a window with a token too few as an outcome.
    short = (
        [{"token_scores": "short", "scores": "flat"}] if (task, request["kind"]) == ("simulation", "simulate") else []
    )
    return [fitted(said, request) for said in (*scene.replies[str(request["kind"])], *short, *FAILED)]


def fitted(said: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """An odd reply with its words for numbers replaced."""
    out = dict(said)
    n = len(request.get("answers", ()))
    rows: dict[str, list[Any]] = {
        "equal": [-2.5] * n,
        "last": [-9.0] * (n - 1) + [-0.5],
        "none": ["-inf"] * n,
        "not a number": ["nan"] + [-1.0] * (n - 1),
        "falling": [-0.25 * (i + 1) for i in range(n)],
        "last nan": [-1.0] * (n - 1) + ["nan"],
        "nearly none": ["-inf"] * (n - 1) + [-700.0],
        "far below": [-1e5 - i for i in range(n)],
        "one": [-0.5] + ["-inf"] * (n - 1),
        "rising": [-0.25 * (n - i) for i in range(n)],
        "twice": [-5.0] + [-1.0] * (n - 1),
    }
    if "answers" in out:
        out["answers"] = [rows[out["answers"]]] * len(request.get("slots", ("",)))
    sizes = [len(w.split("|")) for w in request.get("windows", ())]
    if isinstance(how := out.get("token_scores"), str):
        out["token_scores"] = [
            [SHARES.get(how, (t + 1) / size) for t in range(size - (how == "short"))] for size in sizes
        ]
        flat = 0.75 if how in ("flat", "short") else SHARES.get(how)
        out["scores"] = [(i + 1) / len(sizes) if flat is None else flat for i in range(len(sizes))]
    return out


def scorer_file(name: str, ways: Mapping[str, Sequence[Way]] = SCORERS, scene: Scene = PLAIN) -> dict[str, Json]:
    """Content of a scorer's golden file."""
    shared: list[Json] = []
    asked: list[Json] = [scorer_way(name, way, scene, shared) for way in ways.get(name, [Way()])]
    first = load_scorer({"use": name})
    return {
        "task": first.id,
        "headline": first.headline,
        "metric table": form.declared(first),
        **scene.drawn,
        "beginnings": shared,
        "ways": asked,
    }


def scorer_way(name: str, way: Way, scene: Scene, shared: list[Json]) -> dict[str, Json]:
    """One way of asking: requests, judgements by judge, metrics, and what odd replies are read as."""
    spec = {"use": name, "preset": way.preset, "params": dict(way.params)}
    scorer, plain = load_scorer(spec), load_scorer({"use": name})
    questions = form.Questions(scorer, scene.trials(scorer, scene.latents()[way.latent], way.text), way.can)
    asked = questions.asked()
    out: dict[str, Json] = {
        "preset": way.preset,
        "params": form.plain(dict(way.params)),
        "judge can": list(way.can) or "everything",
        "latent": way.latent,
        "explanation": way.text,
        "headline": scorer.headline,
        "needs": form.wanted(scorer),
        "asked": [form.shortened(own, shared) for own in asked],
        "judged": {judge: judged(questions, mock(judge), shared) for judge in way.judges},
    }
    if scene.full:
        out["digest of questions"] = form.question_digest(questions.trials)
    if form.declared(scorer) != form.declared(plain):
        known = form.declared(plain)
        out["metric table"] = [row for row in form.declared(scorer) if row not in known]
    if way.odd:
        out["odd"] = odd(questions, asked, scene)
    return out


def judged(questions: form.Questions, answer: form.Answers, shared: list[Json]) -> dict[str, Json]:
    """Judgements and metrics under one judge; also the metrics where every third question has failed."""
    replies, later = questions.replies(answer)
    found = questions.judged(replies)
    lost = [
        [form.reply_of(FAILED[0])] * len(own) if i % 3 == 1 and len(own) < 3 else own for i, own in enumerate(replies)
    ]
    out: dict[str, Json] = {
        "judgements": [form.judgement_form(j) for own in found for j in own],
        "metrics": questions.metrics(found),
        "metrics where every third question failed": questions.metrics(questions.judged(lost)),
    }
    return out | ({"asked next": form.shortened(later, shared)} if later else {})


def odd(questions: form.Questions, asked: Sequence[Sequence[Mapping[str, Json]]], scene: Scene) -> list[Json]:
    """Judgements of the first question whose first or last request gets an odd reply, the others being the lexical judge's."""
    usual, _ = questions.replies(mock("lexical"))
    number = next(i for i, own in enumerate(asked) if own)
    out: list[Json] = []
    for place in sorted({0, len(usual[number]) - 1}):
        known = asked[number]
        request = known[place] if place < len(known) else {"kind": "activate"}
        for said in odd_replies(scene, questions.scorer.name, request):
            if said.get("n") == "same":
                said = said | {"n": usual[number][place].n_tokens}
            vector = said.get("vector")
            meant = said | {"vector": VECTORS[vector]} if isinstance(vector, str) else said
            replies = [*usual[number][:place], form.reply_of(meant), *usual[number][place + 1 :]]
            read = questions.scorer.parse(questions.trials[number], replies)
            row: dict[str, Json] = {"reply": said, "at": place, "read": [form.judgement_form(j) for j in read]}
            later = questions.next(number, replies[: place + 1]) if scene.full else []
            out.append(row | ({"asked next": [*later]} if later else {}))
    return out
