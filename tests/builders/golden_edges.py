"""Golden contents of what no task's file shows: stored requests, what helpers do at their edges, what a run makes of a fault."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from latentbench.explainers.copied_words import firing_words
from latentbench.explainers.explainer import Explanation, load_explainer
from latentbench.explainers.llm import LlmExplainer
from latentbench.kernel import requests as asking
from latentbench.kernel import trial as questions
from latentbench.kernel.forms import AnyOf, Levels, Ordering, Which, Write, YesNo
from latentbench.kernel.latent import LatentRef, LatentView, Window
from latentbench.kernel.requests import (
    Activate,
    Capability,
    Chat,
    Choice,
    Continuation,
    Embed,
    JudgeIdentity,
    Message,
    Reply,
    Request,
    Simulate,
)
from latentbench.kernel.trial import Seen, Trial
from latentbench.prompts import selection, template
from latentbench.prompts.answers import read_word
from latentbench.prompts.examples import cropped
from latentbench.runs.judging import reordered
from latentbench.scorers import binary_task
from latentbench.scorers.detection import Detection
from latentbench.scorers.fuzzing import Fuzzing
from latentbench.scorers.scorer import Judgement, load_scorer

from tests import golden_form as form
from tests.builders.golden_file import Json
from tests.builders.golden_judges import FAILED
from tests.builders.golden_latents import BARE, FRUIT, TOOLS, golden_latents

IDENTITY = JudgeIdentity("transformers", "m", "r", "float32", (("wording", "w1"),))
MESSAGES = (Message("system", "Answer."), Message("user", "Is it?"))
TOLD = Trial(
    id="3",
    task="fuzzing",
    form=YesNo("No", "Yes"),
    explanation="Rivers.",
    windows=(
        Seen((" a", " river"), (3, 4), (False, True), 12, "quantile:3"),
        Seen((" the", " saw"), (5, 6), (True, False), 13, "random"),
    ),
    truth=(1, 0),
    token_truth=((0.0, 2.5), (0.0, 0.0)),
    part="marks",
    kind="a kind",
    item=12,
    latent=LatentRef("sae/7", "here"),
    seed=5,
)
REQUESTS: dict[str, Request] = {
    "chat": Chat(MESSAGES, 9, 0.5, 7, TOLD, True),
    "choice": Choice(MESSAGES, ("No", "Yes"), ("a\t", "b\t"), "\n", TOLD),
    "continuation": Continuation("Rivers: ", " a river", TOLD),
    "embed": Embed("a river", True),
    "simulate": Simulate(TOLD),
    "activate": Activate("a river", LatentRef("sae/7", "here")),
}
OTHER: dict[str, Request] = {
    "chat of other words": Chat(MESSAGES[1:], 9, 0.5, 7, TOLD, True),
    "chat of another length": Chat(MESSAGES, 10, 0.5, 7, TOLD, True),
    "chat of another temperature": Chat(MESSAGES, 9, 0.6, 7, TOLD, True),
    "chat of another seed": Chat(MESSAGES, 9, 0.5, 8, TOLD, True),
    "chat without a trial": Chat(MESSAGES, 9, 0.5, 7, None, True),
    "chat for no list": Chat(MESSAGES, 9, 0.5, 7, TOLD),
    "choice of other answers": Choice(MESSAGES, ("Yes", "No"), ("a\t", "b\t"), "\n", TOLD),
    "choice at one place": Choice(MESSAGES, ("No", "Yes"), ("",), "\n", TOLD),
    "choice without an end": Choice(MESSAGES, ("No", "Yes"), ("a\t", "b\t"), "", TOLD),
    "continuation of another context": Continuation("Saws: ", " a river", TOLD),
    "continuation of another text": Continuation("Rivers: ", " a saw", TOLD),
    "embed of a document": Embed("a river", False),
    "embed of another text": Embed("a saw", True),
    "simulate without marks": Simulate(replace(TOLD, windows=tuple(replace(w, marks=None) for w in TOLD.windows))),
    "simulate of another explanation": Simulate(replace(TOLD, explanation="Saws.")),
    "simulate of another window": Simulate(replace(TOLD, windows=TOLD.windows[:1])),
    "activate of another text": Activate("a saw", LatentRef("sae/7", "here")),
    "activate of another latent": Activate("a river", LatentRef("sae/8", "here")),
}
"""The same requests with one field changed."""
FORMS = (YesNo("no", "yes"), Levels(("none", "all")), Which(2), AnyOf("nil"), Ordering(), Write("a line"))


def requests_file() -> dict[str, Json]:
    """Under what the replies to each kind of request are stored, and what of a trial is left where the truth is taken out."""
    keys = {
        name: [asking.request_key(IDENTITY, request, truth) for truth in (False, True)]
        for name, request in (REQUESTS | OTHER).items()
    }
    return {
        "stored": {
            name: {f"reads truth: {truth}": form.stored_form(request, truth) for truth in (False, True)}
            for name, request in REQUESTS.items()
        },
        "keys, without and with the truth": form.plain(keys),
        "simulate, by form": {
            answers.name: asking.request_key(IDENTITY, Simulate(replace(TOLD, form=answers)), True) for answers in FORMS
        },
        "trial": form.trial_form(TOLD),
        "untold": form.trial_form(questions.untold(TOLD)),
        "bare": form.trial_form(questions.bare(TOLD)),
    }


# --- what helpers do at their edges

ONE = ("Yes", "no.", "1", "0", "[1]", " [0] ", "[1, 0]", "[Yes]", "partly", "", "1.")
EQUAL = ((0.047, 3), (0.7, 6), (0.086, 3), (0.2, 9), (0.011, 3), (1e-3, 10), (0.0, 4), (1.0, 5))
SIGNS = ("*Yes*", "**No.**", "`Yes`", "'No'", '"Yes!"', "_Yes_", "(No)", "Yes, no", "YES")
CODERS = ("toy", "other", "third", "toy/9")
OTHERS = ("toy/9", "toy/10", "other/1", "other/2", "toy-2/9", "toy/9/9", "toy/11")
TOUCHED = (
    "the| cat|!-|dog",
    "the|!cat|dog",
    "!the| |cat",
    "a|! b|c",
    "don|!'|t| stop",
    "!x|.|y",
    "a| !|b",
    "one|!\n|two",
)
KINDS = {"none": ("", ""), "all": ("a kind", "a kind"), "the first": ("a kind", ""), "the last": ("", "a kind")}
BLANKS = (" Answer: ", "\nAnswer:\t\n", "  ", "Answer:\n\n", "\r\nAnswer:\r\n", "Answer")

CHATS: dict[str, tuple[str, dict[str, Any]]] = {
    "a list": ("detection", {"answer": "list"}),
    "a word": ("detection", {"answer": "single"}),
    "marked, a list": ("fuzzing", {"answer": "list"}),
    "numbers of texts": ("saebench", {}),
    "activations": ("simulation", {"mode": "json"}),
    "an intruder": ("intruder", {}),
    "a rating": ("sensitivity", {"parts": ["rate"]}),
}
"""Scorer and parameters of questions that are asked in words."""


def edges_file() -> dict[str, Json]:
    """A list of one window, a word in signs, means of equal numbers, natural shares at their limits, whose text `shuffled` takes,
    blanks around a template's texts, pieces of windows, words at the edge of a firing token, marks without positives, and what
    another order moves.
    """
    latents = golden_latents()
    asked: dict[str, Json] = {}
    for answer in ("list", "single"):
        params = {"answer": answer, "windows_per_prompt": 1, "positives": 1, "negatives": 1}
        scorer = load_scorer({"use": "detection", "params": params})
        told = scorer.trials(latents[FRUIT], "Fruit.", 7)[0]
        asked[answer] = {text: outcome(scorer.parse(told, [Reply(text=text)])) for text in ONE}
    return {
        "one window in a prompt": asked,
        "may be held to a list": {name: listed(latents[FRUIT], *spec) for name, spec in CHATS.items()},
        "a word in signs": {text: read_word(text, ("No", "Yes")) for text in SIGNS},
        "shuffled": {coder: [shuffled_from(latents[FRUIT], coder, seed) for seed in range(6)] for coder in CODERS},
        "pooled": {
            how: [
                [p, n, form.number(binary_task.pooled([p] * n, how), 17), binary_task.pooled([p] * n, how) == p]
                for p, n in EQUAL
            ]
            for how in ("mean", "max", "noisy_or")
        },
        "natural": {
            f"{latent}, rate {rate}": [
                w.id for w in selection.natural(replace(latents[latent], row=rated(latents[latent].row, rate)), 3)
            ]
            for latent in (FRUIT, TOOLS, BARE)
            for rate in (None, 0.0, 1e-4, 0.1, 0.4, 1.0, 2.0)
        },
        "template": {text: templates(text) for text in BLANKS},
        "cropped": {str(length): pieces(latents[FRUIT], length) for length in (1, 2, 3, 4, 99, None)},
        "words that fire": {spelled: sorted(firing_words([touched(latents[FRUIT], spelled)])) for spelled in TOUCHED},
        "marks without positives": marks_of_silent(latents[FRUIT]),
        "moves in order 1": {name: moved(kinds) for name, kinds in KINDS.items()},
    }


def pieces(latent: LatentView, length: int | None) -> Json:
    """Place, tokens and activations of what is left of some windows."""
    found = [cropped(w, length) for w in latent.explain[:3]]
    return form.plain([[w.position, w.ids, w.tokens, w.activations] for w in found])


def touched(latent: LatentView, spelled: str) -> Window:
    """A window of the tokens between bars, of which those with an exclamation mark in front fire."""
    tokens = spelled.split("|")
    values = tuple(float(t.startswith("!")) for t in tokens)
    return replace(latent.explain[0], tokens=tuple(t.removeprefix("!") for t in tokens), activations=values)


def marks_of_silent(latent: LatentView) -> Json:
    """How many tokens `fuzzing` marks in windows that are shown without any activating one."""
    scorer = load_scorer({"use": "fuzzing", "params": {"positives": 1, "negatives": 1}})
    assert isinstance(scorer, Fuzzing)
    shown_ = scorer.shown(latent, [(w, 0) for w in latent.test[:4]], 7)
    return [sum(s.marks or ()) for s in shown_]


def moved(kinds: Sequence[str]) -> Json:
    """The windows of questions of some kinds, by their places, after they were dealt anew."""
    asked = [
        replace(
            TOLD,
            id=str(i),
            kind=kind,
            truth=(1, 0),
            windows=tuple(replace(w, item=8 * i + k) for k, w in enumerate(4 * TOLD.windows)),
        )
        for i, kind in enumerate(kinds)
    ]
    asked = [replace(t, truth=4 * t.truth, token_truth=4 * t.token_truth) for t in asked]
    return [[w.item for w in t.windows] for t in reordered(asked, 1, 3)]


def shuffled_from(latent: LatentView, coder: str, seed: int) -> Json:
    """Whose text `shuffled` takes where other latents of several coders have one, or why it takes none."""
    explainer = load_explainer({"use": "shuffled", "params": {"of": "told"}})
    own = replace(latent, id=f"{coder}/1", coder=coder)
    told = {i: Explanation(i, f"About {i}.") for i in (own.id, *OTHERS)}
    found = explainer.parse(own, [], seed, {"told": told})
    return (found.note or {}).get("from", found.error)


def listed(latent: LatentView, name: str, params: dict[str, Any]) -> Json:
    """Whether the first question that is asked in words may be held to a list with an entry for each window."""
    scorer = load_scorer({"use": name, "params": params})
    asked = [r for t in scorer.trials(latent, "Fruit.", 7) for r in scorer.requests(t, frozenset({Capability.CHAT}))]
    first = next(r for r in asked if isinstance(r, Chat))
    return [first.listed, len(first.trial.windows) if first.trial else None]


def rated(row: object, rate: float | None) -> dict[str, object]:
    """The columns of a latent with another rate, or none."""
    assert isinstance(row, dict)
    return {k: v for k, v in row.items() if k != "rate_token"} | ({} if rate is None else {"rate_token": rate})


def outcome(read: list[Judgement]) -> Json:
    """Answer of the only judgement, or what became of it."""
    (only,) = read
    return only.outcome.value if only.answer is None else only.answer


def templates(text: str) -> Json:
    """A text as a lead, as a message, and as a prompt of its own."""
    made = template.Template([{"user": text + "{{x}}"}, {"assistant": text}], ("x",), "here")
    alone = template.Prompts({"a": text, "b": {"no": text, "yes": "y"}}, ("a", "b"), "here")
    messages = form.messages_form(made.render(x=" a "))
    return form.plain([made.lead, messages, alone.text("a"), alone.named("b", ("no", "yes"))])


# --- what a run makes of a fault

FAULTS = ("none", "trials", "requests", "a wrong request", "follow_up", "parse", "a wrong answer", "not ok")
PLACE = re.compile(r":\d+")
"""A line number, which a comment moves."""


class FaultyExplainer(LlmExplainer):
    """Raises or returns a wrong thing at one place."""

    fault = "none"

    def requests(self, latent: LatentView, seed: int) -> list[Request]:
        """What the class above asks."""
        if self.fault == "requests":
            raise ValueError("no question")
        return ["why?"] if self.fault == "a wrong request" else super().requests(latent, seed)  # type: ignore[list-item]

    def follow_up(self, latent: LatentView, replies: Sequence[Reply], seed: int) -> list[Request]:
        """Nothing."""
        return [] if self.fault != "follow_up" else [replies[1]]  # type: ignore[list-item]

    def parse(self, latent: LatentView, replies: Sequence[Reply], seed: int, others: Any) -> Explanation:
        """What the class above reads."""
        if self.fault == "parse":
            raise KeyError("a field")
        if self.fault == "a wrong answer":
            return Explanation("another", "Fruit.")
        return super().parse(latent, replies, seed, others)


class FaultyScorer(Detection):
    """Raises or returns a wrong thing at one place."""

    fault = "none"

    def trials(self, latent: LatentView, explanation: str, seed: int) -> list[Trial]:
        """What the class above asks about."""
        return super().trials(latent, explanation, seed) if self.fault != "trials" else []

    def requests(self, trial: Trial, can: Any) -> list[Request]:
        """What the class above asks."""
        if self.fault == "requests":
            raise ValueError("no question")
        return ["why?"] if self.fault == "a wrong request" else super().requests(trial, can)  # type: ignore[list-item]

    def follow_up(self, trial: Trial, can: Any, replies: Sequence[Reply]) -> list[Request]:
        """Nothing."""
        return [] if self.fault != "follow_up" else [replies[1]]  # type: ignore[list-item]

    def parse(self, trial: Trial, replies: Sequence[Reply]) -> list[Judgement]:
        """What the class above reads."""
        if self.fault == "parse":
            raise KeyError("a field")
        return super().parse(trial, replies)[: 1 if self.fault == "a wrong answer" else None]


def faults_file() -> dict[str, Json]:
    """Explanations and judgements where an explainer, a scorer or a call fails, and of a latent without an explanation."""
    latent = golden_latents()[TOOLS]
    explained: dict[str, Json] = {}
    judged: dict[str, Json] = {}
    told = Explanation(TOOLS, "Tools.")
    for fault in FAULTS:
        reply = form.reply_of(FAILED[0] if fault == "not ok" else {"text": "[1, 0]"})
        explainer = load_explainer({"use": "llm", "params": {"n_examples": 1}})
        explainer.__class__ = type("Faulty", (FaultyExplainer,), {"fault": fault, "__module__": __name__})
        explained[fault] = placeless(form.explanation_form(form.run_explanation(explainer, latent, answers(reply))))
        scorer = load_scorer(
            {"use": "detection", "params": {"answer": "list", "windows_per_prompt": 2, "positives": 2, "negatives": 1}}
        )
        scorer.__class__ = type("Faulty", (FaultyScorer,), {"fault": fault, "__module__": __name__})
        found = form.run_judgements(scorer, latent, told, answers(reply))
        judged[fault] = shown(found)
    plain = load_scorer({"use": "detection", "params": {"positives": 1, "negatives": 1}})
    for said in (*FAILED, {"outcome": "skipped", "error": "no direction"}):
        none = form.explanation_of(TOOLS, None, said["outcome"], said["error"])
        found = form.run_judgements(plain, latent, none, answers(Reply(text="[1, 0]")))
        judged[f"no explanation, {said['outcome']}"] = shown(found)
    return {"explanations": explained, "judgements": judged}


def answers(reply: Reply) -> form.Answers:
    """The same reply to everything."""
    return lambda requests: [reply] * len(requests)


def placeless(fields: dict[str, Json]) -> dict[str, Json]:
    """Without the numbers of lines in an error."""
    return fields | ({"error": PLACE.sub("", str(fields["error"]))} if "error" in fields else {})


def shown(found: Sequence[Judgement]) -> Json:
    """Answer or outcome by window, and what was said of it, each once."""
    errors = dict.fromkeys(PLACE.sub("", j.error) for j in found if j.error)
    windows = [[j.item, j.kind, j.truth, j.outcome.value if j.answer is None else j.answer] for j in found]
    return form.plain({"errors": list(errors), "windows": windows})
