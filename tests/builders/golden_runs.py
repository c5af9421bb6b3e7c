"""Golden contents of tasks as a run asks them: its seeds, repeats and orders, on latents that hold all that a text may hold.

The plain files are read by people and show what a task does. These hold what a helper of several tasks does at its edges, so a
way here is chosen for the code that it passes through and not for its sense.
"""

from __future__ import annotations

from collections.abc import Sequence

from latentbench.explainers.explainer import load_explainer
from latentbench.kernel.trial import Trial
from latentbench.scorers.scorer import load_scorer

from tests import golden_form as form
from tests.builders.golden_explainers import Writing, explainer_file
from tests.builders.golden_file import Json
from tests.builders.golden_latents import CLOCK, FRUIT, TOOLS
from tests.builders.golden_scenes import RUN
from tests.builders.golden_scorers import CHAT, HARD, NUMBERS, SIM, Way, scorer_file

TEXT = "{{windows}}{{window}} plum\r\nor << apple >> {{n}} {explanation} \\1 "
"""An explanation that holds the fields of the prompts that it is put into, and words that stand in some windows."""
LABEL, LEXICAL, BOTH = ("label",), ("lexical",), ("label", "lexical")


def binary(kinds: Sequence[str], few: int) -> list[Way]:
    """Ways of detection and fuzzing."""
    paper = {"windows_per_prompt": 3, "positives": few, "negatives": 2}
    one = {"positives": 3, "negatives": 1}
    return [
        Way("paper", paper | {"negative_kinds": list(kinds)}, CHAT, BOTH, odd=True, text=TEXT),
        Way("single", one, NUMBERS, (*LEXICAL, "constant"), odd=True, text=TEXT),
        Way("single", {"positives": 1, "negatives": 1}, CHAT, LABEL, odd="wrong_marks" not in kinds, text=TEXT),
        Way("single", one | {"reduction": "mean"}, SIM, LABEL, odd=True, text=TEXT),
        Way(
            "single",
            {"positives": 2, "negatives": 1, "reduction": "noisy_or"},
            SIM,
            ("constant",),
            latent=TOOLS,
            text=TEXT,
        ),
        Way("paper", {"windows_per_prompt": 2, "reduction": "max"}, SIM, LABEL, latent=CLOCK, text=TEXT),
    ]


SCORERS: dict[str, list[Way]] = {
    "detection": binary(HARD, 5),
    "fuzzing": [
        *binary([*HARD, "wrong_marks"], 11),
        Way("paper", {"negative_kinds": ["random", "wrong_marks"]}, CHAT, LABEL, latent=TOOLS, text=TEXT),
    ],
    "saebench": [
        Way("paper", {"negatives": 3, "reach": 1, "windows_per_prompt": 3}, CHAT, BOTH, odd=True, text=TEXT),
        Way("paper", {"negatives": 2, "answer": "single", "weighted": 1}, NUMBERS, ("constant",), odd=True, text=TEXT),
        Way("paper", {"reach": 2}, CHAT, LABEL, latent=TOOLS, text=TEXT),
    ],
    "embedding": [
        Way("paper", {"positives": 4, "negatives": 2, "negative_kinds": HARD}, (), LEXICAL, odd=True, text=TEXT),
        Way(None, {}, (), ("constant",), latent=TOOLS, text=TEXT),
    ],
    "surprisal": [
        Way(None, {"positives": 3, "negatives": 2}, (), BOTH, odd=True, text=TEXT),
        Way(None, {"negative_kinds": ["random"]}, (), LEXICAL, latent=TOOLS, text=" saw {{explanation}}"),
    ],
    "simulation": [
        Way(None, {"positives": 3, "negatives": 2}, ("choice_logprobs", "slots"), LABEL, odd=True, text=TEXT),
        Way(None, {"positives": 2, "negatives": 1, "mode": "json"}, CHAT, BOTH, odd=True, text=TEXT),
        Way(None, {}, SIM, LEXICAL, odd=True, latent=TOOLS, text=TEXT),
        Way(None, {"negatives": 1}, SIM, LEXICAL, latent=TOOLS, text="saw"),
        # No explain windows, so no scale.
        Way(None, {}, ("choice_logprobs", "slots"), LABEL, latent=CLOCK, text=TEXT),
    ],
    "simulation_inline": [Way(None, {"positives": 2, "negatives": 1}, ("choice_logprobs", "slots"), LABEL, text=TEXT)],
    "intruder": [
        Way(None, {"k": 3}, NUMBERS, BOTH, odd=True, text=TEXT),
        Way("marked", {"k": 3, "groups": 5, "trials": 1}, CHAT, LABEL, odd=True, text=TEXT),
        Way("marked", {"k": 4, "trials": 1, "threshold": 0.5}, NUMBERS, ("constant",), text=TEXT),
    ],
    "example_embedding": [
        Way(None, {"positives": 3, "negatives": 2}, (), LEXICAL, odd=True, text=TEXT),
        Way("marked", {"positives": 3, "negatives": 2, "threshold": 0.5}, (), ("constant",), text=TEXT),
        Way("centre", {"positives": 3, "negatives": 2}, (), LEXICAL, text=TEXT),
    ],
    "direction": [
        Way(None, {"neutral": 2}, (), LEXICAL, odd=True, text=TEXT),
        Way(None, {"neutral": 1, "others": 1}, (), ("constant",), latent=TOOLS, text=TEXT),
    ],
    "intervention": [
        Way(None, {"also": [3.0]}, (), BOTH, odd=True, text=TEXT),
        Way("ablate", {"prompts": 1}, (), LEXICAL, text=TEXT),
        Way(None, {}, (), LEXICAL, text=" \r\n "),
    ],
    "output_choice": [
        Way(None, {"texts": 1, "trials": 4}, NUMBERS, BOTH, odd=True, text=TEXT),
        Way(None, {"texts": 2}, CHAT, LEXICAL, odd=True, text=TEXT),
        Way(None, {"texts": 2}, SIM, ("lexical", "constant"), odd=True, text=TEXT),
    ],
    "sensitivity": [
        Way(None, {"positives": 2, "negatives": 1, "texts": 2, "prompts": 3}, (), LEXICAL, odd=True, text=TEXT),
        Way(
            "natural",
            {"texts": 1, "positives": 1, "negatives": 1},
            ("chat", "activate"),
            LABEL,
            latent=TOOLS,
            text=TEXT,
        ),
        Way("natural", {"texts": 1}, ("chat", "activate"), LABEL, latent=CLOCK, text=TEXT),
        Way("ratings", {"positives": 3, "negatives": 2}, NUMBERS, ("lexical", "constant"), odd=True, text=TEXT),
        # What it says stands in clean completions and in no steered one.
        Way("output", {}, CHAT, LEXICAL, text="grey tower, or windows and two"),
        Way("ratings", {"positives": 3, "negatives": 2}, CHAT, LABEL, odd=True, text=TEXT),
        Way("ratings", {"positives": 3, "negatives": 2}, SIM, LABEL, odd=True, text=TEXT),
    ],
}
"""Task name -> ways of asking; a task that is not here is asked once, with its defaults."""

PROSE = (
    *(
        "[EXPLANATION]: {{examples}} of\r\nfruit.",
        "Names of\r\nfruit.\r\n\r\nExample 9",
        "a \n \nb",
        "\n\n[EXPLANATION]:\n\nFruit.",
    ),
    *("“I'm sorry”, it says", "[explanation]: Fruit.", "\t<<plum>>  \\1 "),
)
SPOKEN = [({"text": text},) for text in PROSE]
CANDIDATES = (
    {"text": "{{explanation}} plum, pear, fig"},
    {"text": "apple\r\n>> \\1"},
    {"text": "{{explanation}}\r\nplum, pear, fig "},
    {"text": "nothing"},
)
ALL = (FRUIT, TOOLS, CLOCK)
EXPLAINERS: dict[str, list[Writing]] = {
    "llm": [
        Writing(None, {}, ALL),
        Writing(None, {"n_examples": 5, "window": 3}, (FRUIT,)),
        Writing("bare", {"sampling": "importance", "n_examples": 5, "n_top": 1, "threshold": 0.25}, (FRUIT,)),
        Writing("bare", {"sampling": "random", "n_examples": 5, "window": 2}, (FRUIT,)),
        Writing("cot", {"n_examples": 2, "temperature": 0.7}, (TOOLS,)),
        *(Writing(None, {}, (TOOLS,), said) for said in SPOKEN),
        *(Writing("cot", {}, (TOOLS,), said) for said in SPOKEN),
    ],
    "llm-small": [Writing(None, {}, ALL), *(Writing(None, {}, (TOOLS,), said) for said in SPOKEN)],
    "llm-words": [Writing(None, {}, ALL), Writing(None, {"n_words": 3}, (FRUIT,))],
    "copied-words": [Writing(None, {"of": "words", "keep": keep}, ALL) for keep in ("copied", "rest")],
    "best-of-k": [Writing(None, {"k": 4, "n_choose": 5, "n_examples": 4}, (FRUIT,), CANDIDATES)],
    "patched": [Writing(None, {}, ALL), Writing("list", {"layer": 2}, (FRUIT,))],
    "multi": [Writing(None, {"clusters": 2, "smallest": 1, "n_examples": 2}, (FRUIT,))],
    "excerpts": [
        Writing(None, {}, ALL),
        Writing(None, {"n_examples": 3, "window": 3, "shuffle": False, "threshold": 0.9, "least_marked": 1}, (FRUIT,)),
        Writing(
            None, {}, (TOOLS,), ({"text": "The words are\r\nfruit.\n[DESCRIPTION]: Names of\r\nfruit.\r\n\r\nMore"},)
        ),
    ],
    "agent": [Writing("once", {"k": 2, "texts": 1, "n_examples": 1, "n_windows": 1}, (FRUIT,))],
    "contrastive": [
        Writing(None, {"show_activations": True}, ALL),
        Writing("cot", {"n_examples": 2, "n_contrast": 2, "window": 2}, (FRUIT,)),
    ],
    "output": [
        Writing(None, {}, ALL),
        Writing(None, {"n_prompts": 2, "n_tokens": 6, "characters": 7}, (FRUIT,)),
        *(Writing(None, {}, (TOOLS,), said) for said in SPOKEN),
    ],
    "tokens": [
        Writing(None, {}, ALL),
        Writing(None, {"n_tokens": 9, "n_contexts": 6, "reach": 0}, (FRUIT,)),
        Writing(None, {"n_tokens": 30, "n_contexts": 7, "reach": 1}, (FRUIT,)),
        Writing(None, {"n_examples": 4, "sampling": "quantile", "window": 2, "reach": 2}, (FRUIT,)),
    ],
    "vocab": [Writing(None, {}, ALL), Writing(None, {"n_promoted": 3, "n_suppressed": 2}, (FRUIT,))],
    "file": [Writing(None, {"path": "texts.jsonl"}, ALL)],
    "planted": [Writing(None, {"which": which}, (FRUIT,)) for which in ("truth", "paraphrase", "wrong", "unrelated:1")],
}
"""Task name -> ways of explaining; a task that is not here explains these latents, with its defaults."""


def run_scorer_file(name: str) -> dict[str, Json]:
    """Content of a scorer's golden file as a run asks."""
    return scorer_file(name, {name: SCORERS.get(name, [Way(judges=BOTH, text=TEXT)])}, RUN)


def run_explainer_file(name: str) -> dict[str, Json]:
    """Content of an explainer's golden file as a run asks."""
    return explainer_file(name, {name: EXPLAINERS.get(name, [Writing(None, {}, ALL)])}, RUN)


PLACES = (
    (0, None, 0, 0),
    (0, None, 1, 0),
    (1, None, 0, 0),
    (1, None, 0, 1),
    (1, None, 0, 2),
    (1, 0, 0, 0),
    (1, 2, 1, 1),
)
"""Seed, explaining seed, repeat and order of runs."""


def plan_file() -> dict[str, Json]:
    """What a run's seeds, repeats and orders make of the same question, and the seeds of two explainers and latents."""
    latents = RUN.latents()
    few = {"windows_per_prompt": 4, "positives": 6, "negatives": 3}
    scorers = {
        "lists": load_scorer({"use": "detection", "preset": "paper", "params": few}),
        "lists with marks": load_scorer({"use": "fuzzing", "preset": "paper", "params": few}),
        "one by one": load_scorer({"use": "detection", "preset": "single", "params": {"positives": 2, "negatives": 1}}),
        "an intruder": load_scorer({"use": "intruder", "params": {"k": 3, "groups": 1}}),
    }
    explainers = [load_explainer({"use": name}) for name in ("llm", "llm-small")]
    found: list[Json] = []
    for seed, own, repeat, order in PLACES:
        asked = {
            f"{name} about {latent}": windows(form.run_trials(scorer, latents[latent], "", seed, repeat, order))
            for name, scorer in scorers.items()
            for latent in (FRUIT, TOOLS)
        }
        seeds = {
            f"{e.name} of {latent}": str(form.run_explain_seed(e, latents[latent], seed, own, repeat))
            for e in explainers
            for latent in (FRUIT, TOOLS)
        }
        at = {"seed": seed, "explain seed": own, "repeat": repeat, "order": order}
        found.append({"run": at, "windows by question": asked, "seeds of explanations": seeds})
    return {"runs": found}


def windows(trials: Sequence[Trial]) -> Json:
    """Id of each question, with number and truth of its windows."""
    return {t.id: [f"{w.item}: {y}" for w, y in zip(t.windows, t.truth, strict=False)] for t in trials}
