"""Faults that no key of a scorer or explainer would show; each must fail a golden file.

A fault is put where the name is looked up. A move of the code is a change of the paths in `FAULTS` and of nothing else. A name
of Python's own, such as `round`, is put beside those of the module that looks it up.
"""

from __future__ import annotations

import builtins
import math
import re
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from latentbench.kernel.identity import seed_for
from latentbench.prompts.template import FIELD

from tests.builders.golden_contents import text_of
from tests.builders.golden_file import difference

P = "latentbench."


def upside_down(binary_metrics: Any) -> Any:
    """Accuracy is the share of wrong answers."""

    def found(*given: Any) -> dict[str, float]:
        out: dict[str, float] = binary_metrics(*given)
        return out | ({"accuracy": 1 - out["accuracy"]} if "accuracy" in out else {})

    return found


def unshuffled(shuffled: Any) -> Any:
    """Windows are asked in the order they were drawn in: all positives first."""
    return lambda items, seed: list(items)


def other_scale(scaled: Any) -> Any:
    """Activations are shown on 0 to 5."""
    return lambda value, scale: math.ceil(scaled(value, scale) / 2)


def from_nothing(active_marks: Any) -> Any:
    """Every token that fires is marked, however weakly."""
    return lambda activations, threshold: active_marks(activations, 1e-9)


def by_strength(weighted: Any) -> Any:
    """Windows are not drawn by p ~ a^2 but are the strongest ones."""
    return lambda windows, count, seed: sorted(windows, key=lambda w: -w.max)[:count]


def any_length(read_list: Any) -> Any:
    """A list that is too short is filled up with zeros."""

    def found(text: str, n: int) -> tuple[int, ...] | None:
        lists = [read_list(text, size) for size in range(1, n + 1)]
        known = next((values for values in lists if values is not None), None)
        return None if known is None else (*known, *[0] * (n - len(known)))

    return found


def squared(activation_metrics: Any) -> Any:
    """Pearson is squared."""

    def found(*given: Any) -> dict[str, float]:
        out: dict[str, float] = activation_metrics(*given)
        return out | ({"pearson": out["pearson"] ** 2} if "pearson" in out else {})

    return found


def read_again(fill: Any) -> Any:
    """Fields in an inserted text are filled, too."""

    def found(text: str, /, **values: str) -> str:
        return FIELD.sub(lambda m: values.get(m[1], m[0]), fill(text, **values))

    return found


def above(active_marks: Any) -> Any:
    """A token at the threshold is not marked."""
    return lambda activations, threshold: tuple(a > threshold * max(activations) for a in activations)


def any_mass(masses: Any) -> Any:
    """Log-probabilities that are no numbers count as none at all."""
    return lambda logprobs: masses([-math.inf if math.isnan(x) else x for x in logprobs])


def half_up(scaled: Any) -> Any:
    """Halves of a level are rounded up."""
    return lambda value, scale: max(1, min(10, math.floor(10 * value / scale + 0.5))) if value > 0 else 0


def last_peak(cropped: Any) -> Any:
    """Of equal peaks a window is cut around the last one."""

    def found(window: Any, length: int | None) -> Any:
        seen = list(window.activations)
        seen[len(seen) - 1 - seen[::-1].index(window.max)] += 1.0
        piece = cropped(replace(window, activations=tuple(seen)), length)
        start = piece.position - window.position
        return replace(piece, activations=window.activations[start : start + len(piece.tokens)])

    return found


def first_ids(cut: Any) -> Any:
    """A window that is cut keeps its first ids, as many as it has tokens."""

    def found(window: Any, *where: Any) -> Any:
        piece = cut(window, *where)
        return replace(piece, ids=window.ids[: len(piece.tokens)])

    return found


FAULTS: dict[str, tuple[list[str], Callable[[Any], Any], str]] = {
    "accuracy upside down": ([P + "scorers.binary_task.binary_metrics"], upside_down, "scorers/detection@2-0.json"),
    "nothing is shuffled": ([P + "prompts.selection.shuffled"], unshuffled, "scorers/detection@2-0.json"),
    "other marks, opening": ([P + "prompts.template.OPEN"], lambda _: "[[", "scorers/fuzzing@2-0.json"),
    "other marks, closing": ([P + "prompts.template.CLOSE"], lambda _: "]]", "explainers/llm@3-0.json"),
    "activations on another scale": ([P + "explainers.llm.scaled"], other_scale, "explainers/llm@3-0.json"),
    "no threshold of marks": ([P + "scorers.fuzzing.active_marks"], from_nothing, "scorers/fuzzing@2-0.json"),
    "the strongest instead of weighted ones": (
        [P + "prompts.selection.weighted"],
        by_strength,
        "scorers/saebench@2-0.json",
    ),
    "lists of any length": ([P + "scorers.binary_task.read_list"], any_length, "scorers/detection@2-0.json"),
    "pearson squared": ([P + "scorers.simulation.activation_metrics"], squared, "scorers/simulation@2-0.json"),
    "a simulator's tokens by their maximum": (
        [P + "scorers.binary_task.pooled", P + "scorers.fuzzing.pooled"],
        lambda _: lambda values, how: max(values, default=0.0),
        "scorers/fuzzing@2-0.json",
    ),
    "pieces of a token by their minimum": (
        [P + "judges.simulator.reader.per_token"],
        lambda _: lambda values, ranges: np.array([min(values[a:b], default=0.0) for a, b in ranges]),
        "judges/simulator.json",
    ),
}
"""What goes wrong -> where the name is looked up, what stands there instead, and a file that must show it."""

NOTHING = re.compile(r"(?!)")
EDGES: dict[str, tuple[list[str], Callable[[Any], Any], str]] = {
    "one seed for what each scorer draws alone": (
        [P + "scorers.scorer.seed_for"],
        lambda known: lambda seed, name, *parts: known(seed, *parts),
        "runs/plan.json",
    ),
    "a seed of each scorer's own for windows": (
        [P + "runs.judging.made"],
        lambda known: lambda scorer, latent, text, seed: known(scorer, latent, text, seed_for(seed, scorer.name)),
        "runs/plan.json",
    ),
    "one seed for all repeats": (
        [P + "runs.judging.judge_seed"],
        lambda known: lambda seed, repeat, latent: known(seed, 0, latent),
        "runs/scorers/embedding@2-0.json",
    ),
    "explanations by the seed of the judges": (
        [P + "runs.plan.explain_seed"],
        lambda known: lambda spec, *rest: known(spec.model_copy(update={"explain_seed": None}), *rest),
        "runs/explainers/llm@3-0.json",
    ),
    "windows dealt alike for all latents": (
        [P + "runs.judging.reordered"],
        lambda known: lambda trials, order, seed: known(trials, order),
        "runs/plan.json",
    ),
    "windows dealt without an order": (
        [P + "runs.judging.reordered"],
        lambda known: lambda trials, order, seed: known(trials, 1, seed),
        "runs/plan.json",
    ),
    "an inserted text read again": ([P + "prompts.template.fill"], read_again, "runs/scorers/detection@2-0.json"),
    "an explanation read again": ([P + "explainers.ensemble.fill"], read_again, "runs/explainers/ensemble@1-0.json"),
    "natural shares cut off": ([P + "prompts.selection.round"], lambda _: int, "runs/scorers/sensitivity@2-0.json"),
    "brackets of the text like marks": (
        [P + "prompts.template.OPENING"],
        lambda _: NOTHING,
        "runs/scorers/fuzzing@2-0.json",
    ),
    "closing brackets like marks": (
        [P + "prompts.template.CLOSING"],
        lambda _: NOTHING,
        "runs/explainers/llm@3-0.json",
    ),
    "masses that are no numbers": ([P + "scorers.intruder.masses"], any_mass, "runs/scorers/intruder@2-0.json"),
    "levels that are no numbers": (
        [P + "scorers.simulation.expected"],
        lambda known: lambda row: known([x for x in row if not math.isnan(x)]),
        "runs/scorers/simulation@2-0.json",
    ),
    "carriage returns": (
        [P + "scorers.binary_task.one_line"],
        lambda _: lambda text: text.replace("\n", "⏎").strip(),
        "runs/scorers/detection@2-0.json",
    ),
    "tabs in a table": (
        [P + "scorers.simulation.cell"],
        lambda known: lambda token: known(token).replace("⇥", "\t"),
        "runs/scorers/simulation@2-0.json",
    ),
    "halves of a level": ([P + "explainers.llm.scaled"], half_up, "runs/explainers/llm@3-0.json"),
    "a token at the threshold": ([P + "scorers.fuzzing.active_marks"], above, "runs/scorers/fuzzing@2-0.json"),
    "windows of one place by their row": (
        [P + "prompts.selection.by_content"],
        lambda _: lambda windows: sorted(windows, key=lambda w: (w.kind, w.position)),
        "runs/plan.json",
    ),
    "the last of equal peaks": ([P + "explainers.llm.cropped"], last_peak, "runs/explainers/llm@3-0.json"),
    "ids that are not cut with the tokens": ([P + "scorers.saebench.cut"], first_ids, "runs/scorers/saebench@2-0.json"),
    "a probability of a third": (
        [P + "scorers.rating.int"],
        lambda _: lambda x: math.ceil(x) - 1,
        "runs/scorers/sensitivity@2-0.json",
    ),
    "a word and a comma": (
        [P + "scorers.binary_task.read_word"],
        lambda known: lambda text, answers: known(text.strip().strip(","), answers),
        "runs/scorers/detection@2-0.json",
    ),
    "a first token without its end": (
        ["tests.builders.golden_endpoint.answer_logprobs"],
        lambda known: lambda answers, top: known(answers, [(t, p) for t, p in top if t == t.rstrip()]),
        "judges/openai.json",
    ),
}
"""The same at the edges of what a text and a number may be, and of what a run adds to a question."""


class Unclosed(str):
    """A text of which nobody sees that a list in it is closed."""

    def __contains__(self, part: object) -> bool:
        return part != "]" and super().__contains__(str(part))


def never_closed(parted: Any) -> Any:
    """A list that is closed before the limit cuts the rest off is no answer either."""

    def found(text: str) -> tuple[str, str | None, bool]:
        answer, thoughts, unended = parted(text)
        return Unclosed(answer), thoughts, unended

    return found


def without(name: str) -> Callable[[Any], Any]:
    """A stored request without one of its fields."""
    return lambda known: lambda *given: {field: value for field, value in known(*given).items() if field != name}


def blankless(known: Any) -> Any:
    """A template strips its texts of all blanks."""

    def found(messages: Any, allowed: Any, where: str) -> Any:
        bare = [{role: text.strip() for role, text in message.items()} for message in messages]
        return known(bare, allowed, where)

    return found


def one_outcome(parse: Any, skipped: Any) -> Callable[[Any], Any]:
    """What a fault is recorded as where nothing was answered, and where something was."""
    return lambda known: SimpleNamespace(PARSE=known[parse], SKIPPED=known[skipped])


DOORS: dict[str, tuple[list[str], Callable[[Any], Any], str]] = {
    "any text cut off at the limit": ([P + "judges.received.Write"], lambda _: object, "judges/received.json"),
    "a closed list cut off at the limit": ([P + "judges.received.parted"], never_closed, "judges/received.json"),
    "log-probabilities above none": ([P + "judges.received._LOG_ONE"], lambda _: 1.0, "judges/received.json"),
    "a place without any mass": (
        [P + "judges.received.all"],
        lambda known: lambda values: isinstance(values, map) and known(values),
        "judges/received.json",
    ),
    "an infinite simulation": ([P + "judges.received._flat"], lambda _: lambda reply: (), "judges/received.json"),
    "halves of pairs": ([P + "judges.received.half_pair"], lambda _: lambda text: "", "judges/received.json"),
    "a reply of another size": ([P + "judges.received._sizes"], lambda _: lambda *given: None, "judges/received.json"),
    "thoughts that stay in the text": (
        [P + "judges.received.parted"],
        lambda _: lambda text: (text, None, False),
        "judges/received.json",
    ),
    "thoughts that do not end": (
        [P + "judges.received.parted"],
        lambda known: lambda text: (*known(text)[:2], False),
        "judges/received.json",
    ),
    "quoted tags": ([P + "judges.reasoning.QUOTES"], lambda _: "", "judges/reasoning.json"),
    "wrappers of the answer": ([P + "judges.reasoning.WRAPPERS"], lambda _: (), "judges/reasoning.json"),
    "closing tags alone": ([P + "judges.reasoning._CLOSING"], lambda _: set(), "judges/reasoning.json"),
    "a closing tag of another kind": (
        [P + "judges.reasoning._OPENING"],
        lambda known: dict.fromkeys(known, "</think>"),
        "judges/reasoning.json",
    ),
    "a system text before its user": (
        [P + "judges.turns.merged"],
        lambda known: lambda messages, system, prefill: known(messages[::-1], system, prefill)[::-1],
        "judges/turns.json",
    ),
    "a beginning that is said again": (
        [P + "judges.turns.unrepeated"],
        lambda _: lambda messages, text, prefill: text,
        "judges/turns.json",
    ),
    "a system text that is left where it is": (
        [P + "judges.worded.merged"],
        lambda _: lambda messages, *how: tuple(messages),
        "judges/worded.json",
    ),
    "less room than a scorer's": (
        [P + "judges.worded.max"],
        lambda _: lambda scorers, own: own or scorers,
        "judges/worded.json",
    ),
    "least mass of the first place alone": (
        [P + "judges.worded.enough"],
        lambda known: (
            lambda reply, least: (
                reply
                if known(replace(reply, logprobs=reply.logprobs and reply.logprobs[:1]), least).ok
                else known(reply, least)
            )
        ),
        "judges/worded.json",
    ),
    "answers that are patterns": (
        [P + "judges.remote.structure.re"],
        lambda _: SimpleNamespace(escape=str),
        "judges/structure.json",
    ),
    "answers in another order": (
        [P + "judges.remote.structure.words"],
        lambda known: lambda *given: known(*given)[::-1],
        "judges/structure.json",
    ),
    "an answer in an object of more": (
        [P + "judges.remote.structure.set"],
        lambda _: lambda found: {"answer"},
        "judges/structure.json",
    ),
    **{
        f"stored without {name}": ([P + "kernel.requests.stored"], without(name), "requests.json")
        for name in (
            *("messages", "max_tokens", "temperature", "seed", "answers", "slots", "end", "context", "text", "query"),
            *("latent", "question"),
        )
    },
    "a simulation told the truth": ([P + "kernel.requests.bare"], lambda _: lambda trial: trial, "requests.json"),
    "an untold truth": (
        [P + "kernel.trial.untold"],
        lambda known: lambda trial: replace(known(trial), token_truth=trial.token_truth),
        "requests.json",
    ),
    "an untold trial without its seed": (
        [P + "kernel.trial.untold"],
        lambda known: lambda trial: replace(known(trial), seed=0),
        "requests.json",
    ),
    "an explainer's fault skipped": (
        [P + "runs.explaining.Outcome"],
        one_outcome("SKIPPED", "SKIPPED"),
        "runs/faults.json",
    ),
    "a scorer's fault skipped": ([P + "runs.judging.Outcome"], one_outcome("SKIPPED", "SKIPPED"), "runs/faults.json"),
    "a latent without trials misread": (
        [P + "runs.judging.Outcome"],
        one_outcome("PARSE", "PARSE"),
        "runs/faults.json",
    ),
    "a fault after a reply skipped": (
        [P + "runs.rounds.Outcome"],
        one_outcome("SKIPPED", "SKIPPED"),
        "runs/faults.json",
    ),
    "a fault before a reply misread": ([P + "runs.rounds.Outcome"], one_outcome("PARSE", "PARSE"), "runs/faults.json"),
    "a wrong explanation taken": (
        [P + "runs.explaining.explains"],
        lambda _: lambda latent: lambda found: None,
        "runs/faults.json",
    ),
    "a judgement too few taken": (
        [P + "runs.judging.answered"],
        lambda _: lambda trial: lambda found: None,
        "runs/faults.json",
    ),
    "a list of one window": (
        [P + "scorers.binary_task.read_list"],
        lambda known: lambda text, n: known(text, n) or (known(f"[{text}]", n) if n == 1 else None),
        "edges.json",
    ),
    "a mean beside its values": (
        [P + "scorers.binary_task.pooled"],
        lambda known: lambda values, how: math.fsum(values) / len(values) if how == "mean" else known(values, how),
        "edges.json",
    ),
    "natural shares without a rate": (
        [P + "prompts.selection.natural"],
        lambda known: lambda latent, seed: known(replace(latent, row={"rate_token": 1.0} | latent.row), seed),
        "edges.json",
    ),
    "a word in emphasis": (
        ["tests.builders.golden_edges.read_word"],
        lambda known: lambda text, answers: None if "*" in text else known(text, answers),
        "edges.json",
    ),
    "a text of another coder": ([P + "explainers.null.coder_of"], lambda _: lambda latent: "any", "edges.json"),
    "a coder whose name begins like another's": (
        [P + "explainers.null.coder_of"],
        lambda _: lambda latent: latent.partition("/")[0],
        "edges.json",
    ),
    "blanks of a lead": ([P + "prompts.template.Template"], blankless, "edges.json"),
}
"""The same between a judge and its readers, in what replies are stored under, and in what a run makes of a fault."""
KNOWN = FAULTS | EDGES | DOORS


@pytest.mark.parametrize("fault", KNOWN)
def test_a_change_of_behaviour_fails_a_golden_file(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    places, wrong, name = KNOWN[fault]
    for place in places:
        module, _, attribute = place.rpartition(".")
        room = import_module(module)
        known = getattr(room, attribute) if hasattr(room, attribute) else getattr(builtins, attribute)
        monkeypatch.setattr(room, attribute, wrong(known), raising=False)
    said = difference(name, text_of(name)) or ""
    assert "is not what it was" in said
