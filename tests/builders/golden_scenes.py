"""What the golden files ask tasks about, and how: plain latents by one seed, and crooked ones as a run does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latentbench.explainers.explainer import Explainer, Explanation
from latentbench.kernel.latent import LatentView
from latentbench.kernel.trial import Trial
from latentbench.scorers.scorer import Scorer

from tests import golden_form as form
from tests.builders.golden_file import Json
from tests.builders.golden_latents import BARE, CLOCK, FRUIT, SEED, TOOLS, golden_latents

REPEAT, ORDER, EXPLAIN_SEED = 2, 1, 5
"""Of a run; none of them 0, which is what a forgotten one is."""


@dataclass(frozen=True)
class Scene:
    """Latents, and how tasks are asked about them.

    Attributes:
        latents: makes them, by id.
        trials: a scorer's questions about a latent and an explanation.
        seed: of an explanation.
        drawn: what the seeds are made of, as the files say it.
        replies: hand-written replies to scorers by kind of request, beside those of failed calls.
        full: whether digests of the questions are kept, and what is asked after hand-written replies.
        others: what other explainers of the run have said, by label and latent.
    """

    latents: Callable[[], dict[str, LatentView]]
    trials: Callable[[Scorer, LatentView, str], list[Trial]]
    seed: Callable[[Explainer, LatentView], int]
    drawn: Mapping[str, Json]
    replies: Mapping[str, Sequence[dict[str, Any]]]
    full: bool
    others: Callable[[], Mapping[str, Mapping[str, Explanation]]]


TEXTS = (
    *(
        "[1, 0, 1]",
        "Sure: [0, 1, 1].",
        "[1, 0]",
        "[1, 2, 0]",
        "[1, 0, 1] or [0, 0, 0]",
        "[1]",
        "1",
        "none",
        "2, 3",
        "1, 1",
    ),
    *(
        "Yes.",
        "no",
        "Partly",
        "The answer is 2",
        "2 or 3",
        "",
        "I'm sorry, I can't help with that.",
        "As an AI I see no text.",
    ),
    *(
        "A plum and a pear lay there.",
        '"An apple fell."',
        "[0, 0, 0, 0, 0, 0, 0, 9, 0, 2.5]",
        "```json\n[3, 0, true]\n```",
    ),
)
ODD: dict[str, list[dict[str, Any]]] = {
    "chat": [{"text": text} for text in TEXTS],
    "choice": [{"answers": how} for how in ("equal", "last", "none", "not a number", "falling")],
    "continuation": [{"loglik": -7.5, "n": 3}, {"loglik": None, "n": 9}, {"loglik": "-inf", "n": 9}],
    "embed": [{"vector": [0.0] * 8}, {}],
    "simulate": [{"token_scores": "flat", "scores": "flat"}],
    "activate": [{"token_scores": [[0, 2.5, 0]], "scores": [2.5]}, {}],
    "projected": [{"scores": [2.5, 0.5, 2.5]}, {"scores": [-1.0, 0.0, 0.0]}, {}],
}
"""Replies to questions about plain latents."""

CROOKED_TEXTS = (
    *(
        "[1,\r\n 0, 1]",
        " [0, 0, 1]\n\n[a]",
        "[1, 0, 1]]",
        "[0,1,0",
        "(1, 0, 1)",
        "[1, 0, 1, 0]",
        "[１, 0, 1]",
        "[1.0, 0, 1]",
    ),
    *("3", "3.", "<2>", "2 2", "03", "１", "-1", "1, 3", "NONE!", "[]", "[1]", "[0]", " 2\r\n", "3, 2, 1", "1;2", "4"),
    *(
        "YES",
        "Yes,",
        "No:",
        "(yes)",
        "Yes .",
        " `No.` ",
        "yes yes",
        "Clearly\r\n",
        "“Yes”",
        "none of it",
        "I apologise, no.",
        '"I can’t help"',
        "\r\n",
    ),
    *(
        '"A plum\r\n and << apple >>."',
        '"one" or "two"',
        '"',
        '"2, 3" .',
        "no plum, " * 30,
        "[0.5, 10, 0, 0, 3]",
        "[0.5, 10, 0, 0]",
        "[NaN, 0, 0, 0]",
    ),
)
CROOKED_ODD: dict[str, list[dict[str, Any]]] = {
    "chat": [{"text": text} for text in CROOKED_TEXTS],
    "choice": [{"answers": how} for how in ("equal", "last nan", "nearly none", "far below", "one", "rising", "twice")],
    "continuation": [{"loglik": -0.0, "n": 0}, *({"loglik": how, "n": "same"} for how in ("nan", "inf", "-1e300"))],
    "embed": [{"vector": "equal"}, {"vector": "tiny"}, {"vector": "one"}],
    "simulate": [
        {"token_scores": how, "scores": how} for how in ("none", "a third", "half", "two thirds", "all", "rising")
    ],
    "activate": [{"token_scores": [[]], "scores": [0.0]}, {"token_scores": [[0.5, 0.5]], "scores": [0.5]}],
    "projected": [{"scores": [0.5, 0.5, 0.5]}, {"scores": [1e-9, 0.0, -1e-9]}],
}
"""Replies to questions about crooked ones: numbers at halves and thirds, without mass or none at all, and texts nearly legal."""


def others() -> dict[str, dict[str, Explanation]]:
    """What other explainers of the run have said."""
    names = (FRUIT, TOOLS, CLOCK, BARE, "planted/sixth", "planted/seventh")
    said = {latent: form.explanation_of(latent, f"Text about {latent}.") for latent in names}
    vocab = {latent: form.explanation_of(latent, f"Makes {latent} likely.") for latent in names}
    said[CLOCK] = form.explanation_of(CLOCK, None, "refusal", "would not say")
    vocab[TOOLS] = form.explanation_of(TOOLS, None, "skipped", "no direction")
    words = {
        latent: form.explanation_of(latent, "Apple: the APPLE, an (unripe) pear; saws by a lamp.") for latent in names
    }
    words[CLOCK] = said[CLOCK]
    return {"tokens": said, "vocab": vocab, "words": words}


def crooked_others() -> dict[str, dict[str, Explanation]]:
    """The same with fields of templates and line breaks, and one that is empty."""
    names = (FRUIT, TOOLS, CLOCK)
    said = {latent: form.explanation_of(latent, f"{{{{output}}}} of\r\n{latent} \\1 ") for latent in names}
    vocab = {latent: form.explanation_of(latent, f"{{{{input}}}} << {latent} >>") for latent in names}
    said[CLOCK] = form.explanation_of(CLOCK, "")
    words = {
        latent: form.explanation_of(latent, "apple\r\n apple-pear {{output}} \\1  pine_apple ") for latent in names
    }
    return {"tokens": said, "vocab": vocab, "words": words}


PLAIN = Scene(
    golden_latents,
    lambda scorer, latent, text: scorer.trials(latent, text, SEED),
    lambda _, latent: SEED,
    {"seed": SEED},
    ODD,
    False,
    others,
)
RUN = Scene(
    lambda: golden_latents("crooked.json"),
    lambda scorer, latent, text: form.run_trials(scorer, latent, text, SEED, REPEAT, ORDER),
    lambda explainer, latent: form.run_explain_seed(explainer, latent, SEED, EXPLAIN_SEED, REPEAT),
    {"seed": SEED, "explain seed": EXPLAIN_SEED, "repeat": REPEAT, "order": ORDER},
    CROOKED_ODD,
    True,
    crooked_others,
)
"""Scenes of `scorers/` and `explainers/`, and of the same folders below `runs/`."""
