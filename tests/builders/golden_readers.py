"""Golden contents of what reads a judge's words and numbers: written answers, a model's read-outs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from latentbench.kernel.requests import Request
from latentbench.prompts.answers import read_list, read_number, read_numbers, read_word, refused
from latentbench.scorers.rating import LEVELS
from latentbench.scorers.scorer import load_scorer
from latentbench.scorers.simulation import expected, read_json

from tests import golden_form as form
from tests.builders.golden_endpoint import openai_file
from tests.builders.golden_file import Json
from tests.builders.golden_latents import RULES, golden_latents

LISTS = (
    *(
        "[1, 0, 1]",
        "[1,0,1]",
        " The list is [0, 0, 0].",
        "[1, 0]",
        "[1, 0, 1, 1]",
        "[1, 2, 0]",
        "[1, 0, 1] [1, 0, 1]",
        "1, 0, 1",
    ),
    *("[]", "[1 0 1]", "[1, 0, 1,]", "[[1, 0, 1]]", "[1.0, 0, 1]", "[-1, 0, 1]", "[\n1,\n0,\n1\n]", "", "[１, 0, 1]"),
)
WORDS = (
    *(
        "Yes",
        "yes.",
        " NO ",
        '"Yes"',
        "`No`",
        "*yes*",
        "Yes, it does",
        "Yes No",
        "",
        "Y",
        "partly",
        "clearly!",
        "none",
        "1",
        "0",
    ),
    *("```\nYes\n```", "```Yes```", "```\nYes", "```\nYes\n```\n```\nNo\n```", '```json\n{"answer": "partly"}\n```'),
    *('{"answer": "Yes"}', '{"answer": true}', '{"answer": "Yes", "sure": 1}', '{"answer": "Yes", "answer": "No"}'),
    *('{"answer": {"answer": "Yes"}}', '{"answer": "Yes"} No', '["Yes"]', '{"answer": ""}'),
)
NUMBERS = (
    *("2", "Text 2.", "2 or 3", "4", "", "```\n2\n```", '{"text1": 2}', '{"answer": "2"}', '{"answer": 2.5}'),
    *('{"answer": 2, "answer": 3}', '{"answer": true}', "two"),
)
REFUSALS = (
    *(
        "I'm sorry, but no.",
        "Sorry, that is not possible",
        "I apologise",
        "As an AI model I",
        "As an aim, I",
        "I can't help",
    ),
    *(
        "I cannot assist",
        "I can not say",
        "I am unable to answer",
        "The sorry state",
        '"I am sorry',
        "i'm not able to comply",
        "",
    ),
)
LISTED = (
    "1, 3",
    "none",
    "None.",
    "[]",
    "[2]",
    "[1,2]",
    "0",
    "5",
    "1, 1",
    "1 3",
    "text 2",
    "",
    "3,1",
    "1, 0, 1",
    '"2"',
    "```\n1, 3\n```",
    '{"texts": "1, 3"}',
)
JSONS = (
    *(
        "[1, 2.5, 10]",
        "[1, 2, 11]",
        "[1, 2]",
        '[["a", 1], ["b", 0], ["c", 9]]',
        '[["a", 1], ["x", 0], ["c", 9]]',
        "null",
        "{}",
    ),
    *(
        '[[" a", 1], ["b ", 0], ["c", 9]]',
        "```json\n[0, 0, 0]\n```",
        "[true, 0, 0]",
        '["1", 0, 0]',
        '[1, ["b", 2], 3]',
        "[-1, 0, 0]",
    ),
)


def answers_file() -> dict[str, Json]:
    """Readers of written answers."""
    inf = float("-inf")
    levels: list[tuple[float, ...]] = [(-1.0, -2.0, -3.0), (0.0, inf, inf), (inf, inf, inf), (inf, -700.0, -701.0)]
    three = ("a", "b", "c")
    return {
        "a list of three zeros and ones": {t: form.plain(read_list(t, 3)) for t in LISTS},
        "No or Yes": {t: read_word(t, ("No", "Yes")) for t in WORDS},
        "none, partly or clearly": {t: read_word(t, LEVELS) for t in WORDS},
        "one of three numbers": {t: read_number(t, ("1", "2", "3")) for t in NUMBERS},
        "a refusal": {t: refused(t) for t in REFUSALS},
        "numbers of four texts": {
            t: None if (s := read_numbers(t, 4)) is None else form.plain(sorted(s)) for t in LISTED
        },
        "three activations": {t: form.plain(read_json(t, three)) for t in JSONS},
        "expected level": [[form.plain(row), form.number(expected(row))] for row in levels],
    }


# --- models


def transformers_file() -> dict[str, Json]:
    """A tiny model's choices, text and log-likelihoods."""
    from tests.builders.golden_model import model_folder

    with tempfile.TemporaryDirectory() as folder:
        base = model_folder(Path(folder))
        answer = form.answers_of(f"transformers:{base}?dtype=float32&device=cpu")
        requests = [
            form.sample_request(k)
            for k in ("chat", "choice", "choice of 1 and 10", "choice at two places", "continuation")
        ]
        replies = answer(requests)
        limits = {
            f"{size} more of {kind}": answered(answer, full(kind, size)) for kind in BARE_SIZES for size in (0, 1)
        }
    return {
        "replies": [form.reply_form(r, 3) for r in replies],
        "asked": [form.request_form(r) for r in requests],
        "as long as the context, and longer": limits,
    }


BARE_SIZES = {"a chat": 25, "a choice": 21, "a continuation": 0}
"""Kind of a request -> tokens of the context that are not its own letters: the chat's frame, and the answer."""


def full(kind: str, more: int) -> Request:
    """A request that fills the tiny model's context of 512 tokens, one for each letter, or is longer by some."""
    return form.lettered_request(kind, 512 - BARE_SIZES[kind] + more)


def answered(answer: form.Answers, request: Request) -> dict[str, Json]:
    """Outcome of a request, and its error, without the numbers of a model that reads one letter many times."""
    (reply,) = answer([request])
    return {"outcome": reply.outcome.value} | ({"error": reply.error} if reply.error else {})


def simulator_file() -> dict[str, Json]:
    """A tiny simulator's probabilities: per token of the window as it is cut, and per window."""
    from tests.builders.golden_model import model_folder, simulator_folder

    with tempfile.TemporaryDirectory() as folder:
        base = model_folder(Path(folder) / "base")
        own = simulator_folder(Path(folder) / "simulator", base)
        answer = form.answers_of(f"simulator:{own}?dtype=float32&device=cpu")
        requests = [
            form.simulate_request("Names of fruit.", (("A", " plum", " fell"), ("", " caf", "é", "\n"))),
            form.simulate_request("", ((" pear",),)),
            form.simulate_request("Names of fruit.", ((" a", " plum"), ("",))),
            form.simulate_request("Names of fruit.", ()),
            form.simulate_request("long " * 120, ((" pear",),)),
        ]
        replies = answer(requests)
        # Frame, window and explanation are one token a letter.
        limits = {
            f"{more} more": answered(answer, form.simulate_request("x" * (481 + more), ((" pear",),)))
            for more in (0, 1)
        }
    return {"replies": [form.reply_form(r, 3) for r in replies], "as long as the context, and longer": limits}


ASKED: tuple[tuple[str, Mapping[str, Any], tuple[str, ...]], ...] = (
    ("detection", {"answer": "list", "positives": 2, "negatives": 1}, ("chat",)),
    ("fuzzing", {"answer": "single", "positives": 1, "negatives": 1}, ("choice_logprobs",)),
    ("fuzzing", {"answer": "single", "positives": 1, "negatives": 1}, ("simulate",)),
    ("saebench", {"negatives": 2}, ("chat",)),
    ("embedding", {"positives": 1, "negatives": 1}, ()),
    ("surprisal", {"positives": 1, "negatives": 1}, ()),
    ("simulation", {"positives": 1, "negatives": 1}, ("choice_logprobs", "slots")),
    ("simulation", {"positives": 1, "negatives": 1, "mode": "json"}, ("chat",)),
    ("intruder", {"trials": 1}, ("choice_logprobs",)),
    ("output_choice", {"texts": 2, "trials": 1}, ("chat",)),
    ("output_choice", {"texts": 2, "trials": 1}, ("choice_logprobs",)),
    ("sensitivity", {"texts": 1, "positives": 1, "negatives": 1, "kls": [1.0], "prompts": 2}, ()),
)
VARIANTS = (
    "label?",
    "label?error=0.4&",
    "label?fail=0.3&nonsense=0.5&seed=3&",
    "oracle?",
    "lexical?",
    "constant?",
    "constant?answer=0&",
)


def mock_file() -> dict[str, Json]:
    """What each mock says to questions of every form; the explanation is the truth, a paraphrase, or no text of the rules."""
    latent = golden_latents()["planted/fruit"]
    found: dict[str, Json] = {}
    for variant in VARIANTS:
        answer = form.answers_of(f"mock:{variant}rules={RULES}")
        said: list[Json] = []
        for name, params, can in ASKED:
            for text in ("The word plum.", "Words such as plum or apple.")[: 2 if variant == "lexical?" else 1]:
                scorer = load_scorer({"use": name, "params": dict(params)})
                questions = form.Questions(scorer, scorer.trials(latent, text, 7), can)
                replies, _ = questions.replies(answer)
                rows: list[Json] = [form.reply_form(r, 6) for own in replies[:2] for r in own]
                said.append({"scorer": name, "judge can": list(can), "explanation": text, "said": rows})
        found[variant.strip("&?")] = said
    return found


READERS: dict[str, Callable[[], dict[str, Json]]] = {
    "answers": answers_file,
    "openai": openai_file,
    "transformers": transformers_file,
    "simulator": simulator_file,
    "mock": mock_file,
}
"""Name of a reader -> what makes its golden content."""
