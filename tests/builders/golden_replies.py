"""Golden contents of what stands between a judge and a reader: the door for replies, thoughts, turns, room, and allowed answers.

A scorer's golden file begins with a reply that has passed. These hold what passes, so that an answer that is none is none before
any scorer sees it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from latentbench.judges import reasoning, received, turns, worded
from latentbench.judges.remote import structure
from latentbench.kernel.forms import AnyOf, Form, Levels, Ordering, Which, Write, YesNo
from latentbench.kernel.latent import LatentRef
from latentbench.kernel.requests import (
    Activate,
    Chat,
    Choice,
    Continuation,
    Embed,
    Message,
    Outcome,
    Reply,
    Request,
    Simulate,
    Usage,
)
from latentbench.kernel.trial import Seen, Trial

from tests import golden_form as form
from tests.builders.golden_file import Json

INF, NAN = float("inf"), float("nan")
ASKED = (Message("system", "Answer shortly."), Message("user", "Is a plum a fruit?"))
SEEN = (Seen((" a", " plum")), Seen((" the", " old", " saw")))
SPENT = Usage(12, 3, 4, 0.5)


def trial(answers: Form, windows: tuple[Seen, ...] = SEEN) -> Trial:
    """A question about windows."""
    return Trial("0", "detection", answers, "Fruit.", windows)


REQUESTS: dict[str, Request] = {
    "chat": Chat(ASKED),
    "chat for a list": Chat(ASKED, trial=trial(YesNo()), listed=True),
    "chat for levels": Chat(ASKED, trial=trial(Levels(("none", "partly")))),
    "chat for a text": Chat(ASKED, trial=trial(Write("a line"))),
    "choice": Choice(ASKED, ("No", "Yes")),
    "choice at two places": Choice(ASKED, ("0", "5", "10"), ("A\t", "5\nplum\t"), "\n"),
    "continuation": Continuation("A context:", " one two"),
    "embed": Embed("a plum", True),
    "simulate": Simulate(trial(YesNo())),
    "activate": Activate("a plum", LatentRef("sae/7", "here")),
}
PAIR = "a \ud83d half"


def said(text: str | None, finish: str | None = "stop", thought: str | None = None) -> Reply:
    """A written reply."""
    return Reply(text=text, finish=finish, reasoning=thought, usage=SPENT)


def measured(tokens: Any, windows: Any = None) -> Reply:
    """A simulator's or a subject's reply."""
    return Reply(tokens=tokens, windows=windows, usage=SPENT)


GIVEN: dict[str, dict[str, Any]] = {
    "chat": {
        "as it is": said("  Yes, \r\n it is. "),
        "cut off": said("As long as", "length"),
        "no text": said(None),
        "empty": said(""),
        "blank, no reason": said(" \n", None),
        "empty and cut off": said("", "length"),
        "all thought": said("", "length", "Let me see."),
        "thought apart": said("Yes", thought="I see."),
        "thought in it": said("<think>A plum?</think>\n Yes "),
        "thought in it and apart": said("<think>A plum?</think> Yes", thought="I see."),
        "thought without an end": said("<think>A plum is [1, 0]", "length"),
        "thought without an end, stopped": said("Yes <think>or"),
        "thought and no more": said("<think>A plum?</think> "),
        "half a pair": said(PAIR),
        "half a pair in the thought": said("Yes", thought=PAIR),
        "half a pair in the reason": said("Yes", PAIR),
        "half a pair in an error": Reply(Outcome.API, error=PAIR, usage=SPENT),
        "failed": Reply(Outcome.TIMEOUT, error="no answer", usage=SPENT),
        "refused with a text": Reply(Outcome.REFUSAL, text="I will not.", error="a filter", usage=SPENT),
        "an answer of numbers": Reply(logprobs=((-1.0, -2.0),), usage=SPENT),
        "no reply": "Yes",
        "nothing": None,
        "bytes": said(b"Yes"),  # type: ignore[arg-type]
        "outcome in a word": Reply("ok", text="Yes"),  # type: ignore[arg-type]
        "from the cache": Reply(text="Yes", cached=True, usage=SPENT),
        "no usage": Reply(text="Yes", usage=None),  # type: ignore[arg-type]
    },
    "chat for a list": {
        "whole": said("[1, 0]"),
        "cut off": said("[1, 0", "length"),
        "one cut off": said("1", "length"),
        "closed, then cut off": said("[1, 0], since the", "length"),
        "another reason": said("[1, 0", "content_filter"),
        "thought closes a list": said("<think>[1, 0]</think>[1", "length"),
    },
    "chat for levels": {"cut off": said("partly", "length"), "whole": said("partly", None)},
    "chat for a text": {"cut off": said("A plum fell from the", "length"), "empty": said("", "length")},
    "choice": {
        "usual": Reply(logprobs=((-0.5, -1.25),), usage=SPENT),
        "ints": Reply(logprobs=((-1, 0),), usage=SPENT),
        "lists": Reply(logprobs=[[-0.5, -1.25]], usage=SPENT),  # type: ignore[arg-type]
        "one without mass": Reply(logprobs=((-INF, -0.5),)),
        "none with mass": Reply(logprobs=((-INF, -INF),), usage=SPENT),
        "no number": Reply(logprobs=((NAN, -0.5),)),
        "infinite": Reply(logprobs=((INF, -0.5),)),
        "rounded above one": Reply(logprobs=((0.0009, -9.0),)),
        "above one": Reply(logprobs=((0.0011, -9.0),)),
        "far above one": Reply(logprobs=((0.5, -9.0),)),
        "a row too many": Reply(logprobs=((-0.5, -1.0), (-0.5, -1.0))),
        "an answer too few": Reply(logprobs=((-0.5,),)),
        "no rows": Reply(logprobs=()),
        "a word": Reply(logprobs=(("-0.5", -1.0),)),  # type: ignore[arg-type]
        "a text": said("Yes"),
    },
    "choice at two places": {
        "usual": Reply(logprobs=((-0.5, -1.0, -INF), (-3.0, -0.25, -2.0))),
        "the last without mass": Reply(logprobs=((-0.5, -1.0, -2.0), (-INF, -INF, -INF))),
        "a place too few": Reply(logprobs=((-0.5, -1.0, -2.0),)),
        "a ragged row": Reply(logprobs=((-0.5, -1.0, -2.0), (-0.5, -1.0))),
    },
    "continuation": {
        "usual": Reply(loglik=-7.5, n_tokens=3, usage=SPENT),
        "certain": Reply(loglik=0.0, n_tokens=1),
        "an int": Reply(loglik=-7, n_tokens=3),
        "no number": Reply(loglik=NAN, n_tokens=3, usage=SPENT),
        "without mass": Reply(loglik=-INF, n_tokens=3),
        "no sum": Reply(n_tokens=3),
        "no count": Reply(loglik=-7.5),
        "of no token": Reply(loglik=-7.5, n_tokens=0),
        "of half a token": Reply(loglik=-7.5, n_tokens=2.5),  # type: ignore[arg-type]
    },
    "embed": {
        "usual": Reply(vector=np.array([0.5, 0.0, -0.25], np.float32), usage=SPENT),
        "no vector": Reply(),
        "a table": Reply(vector=np.zeros((1, 2), np.float32)),
        "a list": Reply(vector=[0.5]),  # type: ignore[arg-type]
        "no number": Reply(vector=np.array([0.5, NAN], np.float32), usage=SPENT),
        "infinite": Reply(vector=np.array([INF], np.float32)),
    },
    "simulate": {
        "usual": measured(((0.25, 0.5), (0.0, 1.0, 0.75)), (0.5, 1.0)),
        "a token too few": measured(((0.25, 0.5), (0.0, 1.0)), (0.5, 1.0)),
        "a window too few": measured(((0.25, 0.5), (0.0, 1.0, 0.75)), (0.5,)),
        "a row too few": measured(((0.25, 0.5),), (0.5, 1.0)),
        "no tokens": measured(None, (0.5, 1.0)),
        "no windows": measured(((0.25, 0.5), (0.0, 1.0, 0.75))),
        "a token no number": measured(((0.25, NAN), (0.0, 1.0, 0.75)), (0.5, 1.0)),
        "a window infinite": measured(((0.25, 0.5), (0.0, 1.0, 0.75)), (0.5, INF)),
    },
    "activate": {
        "usual": measured(((0.0, 2.5),), (2.5,)),
        "two rows": measured(((0.0,), (2.5,))),
        "no row": measured(()),
        "none": measured(None),
        "infinite": measured(((0.0, INF),), (INF,)),
    },
}
"""What is asked -> what a judge gives, by name."""


def received_file() -> dict[str, Json]:
    """What passes of every reply to every kind of request."""
    return {
        asked: {
            name: form.whole_reply(received.received(object(), REQUESTS[asked], raw)) for name, raw in given.items()
        }
        for asked, given in GIVEN.items()
    }


THOUGHTS = (
    *("Yes", " Yes \n", "a < b > c", "<answer>Yes</answer>", "<|return|>Yes", "<other>a</other> Yes", ""),
    *(f"{opening}[1, 0]{closing}\n [0, 1] " for opening, closing in reasoning.TAGS),
    *("<THINK>a</Think>Yes", "a</think>Yes", "a</think>b</think> Yes", "[/THINK]Yes", "</think>", "<think></think>Yes"),
    *(
        "<think>a</think>b<think>c</think>d",
        "Yes<think>a",
        "<think>",
        "<think>a</thinking>b",
        "<think>a<think>b</think>c",
    ),
    *("a<think>b</think>c</think>d", "<think>a</think>b<think>c", "Yes <think>a</think>, it is"),
    *(
        'fires on "<think>"',
        "fires on `</think>` tags",
        "“<think>” and '</think>'",
        '"<think>a</think>',
        "`<think> a</think>b",
    ),
    *("«[THINK]»", '<think>of "</think>" I</think>Yes', '<think>"', '"</think>'),
    *("<think>a</think><answer>Yes</answer>", "a</think><ANSWER> Yes</answer> ", "<think>a</think><answer>Yes"),
    "<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>Yes<|end_of_solution|>",
    "<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>Yes<|END_RESPONSE|>",
    "<|channel|>analysis<|message|>a<|channel|>final<|message|>Yes<|return|>",
    "<|channel|>final<|message|>Yes<|return|>",
    "<|channel|>analysis<|message|>a",
    *("<think> a \n\n b </think>\n\nYes\n\nNo\n", "<think>a</think><reasoning> \n</reasoning><thought>b</thought>Yes"),
)
"""Texts of replies with thoughts, wrappers, quoted tags, and what only looks like them."""


def reasoning_file() -> dict[str, Json]:
    """Answer, thoughts, and whether they do not end, by text."""
    return {text: form.plain(reasoning.parted(text)) for text in THOUGHTS}


S, U, A = (Message(role, f"{role} 1\n") for role in ("system", "user", "assistant"))
U2, S2, A2 = Message("user", "user 2"), Message("system", "system 2"), Message("assistant", " Answer: ")
DIALOGUES = (
    *((), (S,), (U,), (A,), (S, U), (S, U, A), (U, S), (S, S2, U, U2), (U, A, U2), (S, U, A, U2, A2), (S, A), (A, A2)),
    *((S, A2, U), (U, S, A2)),
)
SPOKEN = (
    "Answer: Yes",
    " \nAnswer: Yes ",
    "Answer:",
    "answer: Yes",
    "Yes, Answer: No",
    "AnswerYes",
    "",
    "Answer: Answer: No",
)


def turns_file() -> dict[str, Json]:
    """Dialogues for models that lack a kind of turn, and what is taken off their replies."""
    found: list[Json] = []
    for messages in DIALOGUES:
        row: dict[str, Json] = {"messages": form.plain(form.messages_form(messages))}
        for system, prefill in (("keep", "keep"), ("merge", "keep"), ("keep", "merge"), ("merge", "merge")):
            put = turns.merged(messages, system, prefill)
            if put != messages:
                row[f"system {system}, prefill {prefill}"] = form.plain(form.messages_form(put))
        found.append(row)
    begun = {"begun": (U, A2), "begun with nothing": (U, Message("assistant", " ")), "not begun": (U,), "no turn": ()}
    taken = {
        f"{name}, prefill {prefill}": {text: turns.unrepeated(messages, text, prefill) for text in SPOKEN}
        for name, messages in begun.items()
        for prefill in ("keep", "merge")
    }
    # One that changes no text is said in a word.
    same: dict[str, Json] = {
        name: "as they are" if all(a == b for a, b in texts.items()) else form.plain(texts)
        for name, texts in taken.items()
    }
    return {"messages": found, "replies": same}


def worded_file() -> dict[str, Json]:
    """Requests as the options of a judge put them, and replies with much or little on the answers."""
    options: dict[str, dict[str, Any]] = {
        "as it is": {},
        "merge": {"system": "merge"},
        "less room": {"max_tokens": 2, "system": "merge"},
        "all": {
            "system": "merge",
            "max_tokens": 500,
            "least_mass": 0.25,
            "chat_template_kwargs": {"b": [1], "a": False},
        },
    }
    put: dict[str, Json] = {}
    for name, given in options.items():
        params = worded.WordedParams(**given)
        put[name] = {
            "chosen": form.plain(params.chosen),
            "asked": {
                kind: form.request_form(worded.worded(request, params))
                for kind, request in REQUESTS.items()
                if kind in ("chat", "choice at two places", "continuation")
            },
        }
    rows: dict[str, Reply] = {
        "half": Reply(logprobs=((np.log(0.25), np.log(0.25)),), usage=SPENT),
        "little at the last place": Reply(logprobs=((-0.1, -9.0), (-9.0, -9.0)), usage=SPENT),
        "nothing": Reply(logprobs=((-INF, -INF),)),
        "a text": Reply(text="Yes"),
        "failed": Reply(Outcome.API, error="HTTP 503"),
    }
    enough = {
        f"{name}, least {least:g}": form.whole_reply(worded.enough(reply, least))
        for name, reply in rows.items()
        for least in (0.0, 0.25, 0.5, 0.6)
        if least in (0.0, 0.25) or name == "half"
    }
    return {"requests": put, "replies": enough}


FORMS: dict[str, Trial | None] = {
    "no trial": None,
    "yes or no": trial(YesNo("No.", "Yes (1)")),
    "yes or no, one window": trial(YesNo(), SEEN[:1]),
    "levels": trial(Levels(("none", "partly", "clearly"))),
    "levels of tokens": trial(Levels(("0", "1"), "token")),
    "which": trial(Which(2)),
    "any of": trial(AnyOf()),
    "ordering": trial(Ordering()),
    "write": trial(Write()),
}
JSONS = (
    *(
        '{"answer": "Yes"}',
        ' {"answer": [1, 0]}\n',
        '{"answer": [1,\n0]}',
        '{"answer": 1}',
        '{"answer": null}',
        '{"answer": []}',
    ),
    *(
        '{"answer": "Yes", "why": "so"}',
        '{"Answer": "Yes"}',
        '{"answer": "Yes"',
        '["answer"]',
        "Yes",
        '"Yes"',
        "",
        "[1, 0]",
    ),
    *('```json\n{"answer": "Yes"}\n```', '{"answer": {"answer": "Yes"}}', "[" * 100_000),
)


def structure_file() -> dict[str, Json]:
    """Fields that hold an endpoint to a form, and answers taken out of JSON."""
    held: dict[str, Json] = {}
    for name, about in FORMS.items():
        for listed in (False, True):
            request = replace(REQUESTS["chat"], trial=about, listed=listed)
            fields = {
                how: form.plain(found)
                for how in ("off", "json_schema", "choice", "regex")
                if (found := structure.structured(request, how))
            }
            if fields:
                held[f"{name}, listed" if listed else name] = fields
    return {"fields": held, "answers": {text[:60]: structure.unwrapped(text)[:60] for text in JSONS}}
