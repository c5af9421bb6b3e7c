"""Golden contents of the shipped explainers: what each asks about the toy latents, and what it makes of usual and odd replies."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from latentbench.explainers.explainer import load_explainer

from tests import golden_form as form
from tests.builders.golden_file import Json
from tests.builders.golden_judges import FAILED, mock
from tests.builders.golden_latents import BARE, CLOCK, FRUIT, TOOLS
from tests.builders.golden_scenes import PLAIN, Scene


@dataclass(frozen=True)
class Writing:
    """One way of explaining.

    Attributes:
        said: hand-written replies to the chats, in turn; the lexical judge's where there are none.
    """

    preset: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    latents: tuple[str, ...] = (FRUIT, TOOLS, BARE)
    said: tuple[Mapping[str, Any], ...] = ()


PROSE = (
    *(
        "[EXPLANATION]: Names of fruit.",
        "Names of\nfruit.\n\nExample 9: more",
        "  ",
        "I'm sorry, but I can't help.",
        "12, 13",
    ),
    *("First [EXPLANATION]: a try. [EXPLANATION]: Fruit.", "[EXPLANATION]:", "apple, pear, plum: names of fruit."),
)
ENDED: tuple[Mapping[str, Any], ...] = (
    {"text": "Names of fruit. And names of", "finish": "length"},
    {"text": "Names of things that", "finish": "length"},
    {"text": "Names of fruit\n\nExample 9: what", "finish": "length"},
    {"text": "Names of fruit.\r\n \r\nExample 9: more"},
    {"text": "```text\nNames of fruit.\n```"},
)
WRAPPED: tuple[Mapping[str, Any], ...] = (
    {"text": "**Explanation:** Names of **fruit**."},
    {"text": '**[EXPLANATION]:** "Names of fruit."'},
    {"text": '```json\n{"explanation": "Names of \\"fruit\\"."}\n```'},
    {"text": '{"explanation": "Names of fruit. And names', "finish": "length"},
    {"text": 'Names of \x00 and \x1b[31m "fruit" and "plum"'},
    {"text": '{"explanation": "Names of \\ud83d"}'},
)
SPOKEN: list[Mapping[str, Any]] = [*({"text": text} for text in PROSE), *ENDED, *WRAPPED, *FAILED]


def spoken(preset: str | None = None, **params: Any) -> list[Writing]:
    """A preset under each odd reply."""
    return [Writing(preset, params, (FRUIT,), (said,)) for said in SPOKEN]


TRIED = ({"text": "Names of fruit."}, {"text": "Words such as apple or plum."}, {"text": "Names of fruit."}, FAILED[0])
TESTED = ({"text": "1"}, {"text": "An apple and a pear."}, {"text": "none"})
EXPLAINERS: dict[str, list[Writing]] = {
    "llm": [
        Writing(),
        Writing("paper", {"n_examples": 5}, (FRUIT,)),
        Writing("bare", {"sampling": "random", "n_examples": 4}, (FRUIT,)),
        Writing("bare", {"sampling": "top", "n_examples": 3, "window": 5, "threshold": 0.6}, (FRUIT,)),
        Writing("saebench", {"n_examples": 5, "n_top": 2}, (FRUIT,)),
        Writing("cot", {"n_examples": 2, "temperature": 0.7}, (FRUIT,)),
        *spoken(),
        *spoken("cot", n_examples=1),
    ],
    "llm-small": [Writing(), *spoken(n_examples=1)],
    "llm-words": [Writing(), *spoken(n_examples=1)],
    "best-of-k": [
        Writing(None, {"k": 4, "n_choose": 3, "n_examples": 5}, (FRUIT,), TRIED),
        Writing(
            "paper",
            {"k": 2, "n_choose": 2, "n_examples": 2},
            (FRUIT, TOOLS, BARE),
            ({"text": "Tools."}, {"text": "Fruit."}),
        ),
        Writing(None, {"k": 2, "n_examples": 1}, (FRUIT,)),
        Writing(None, {"k": 3, "n_examples": 1}, (FRUIT,), tuple(FAILED)),
    ],
    "multi": [
        Writing(None, {"clusters": 2, "smallest": 1, "n_examples": 2, "use": use}, (FRUIT,), TRIED[:2])
        for use in ("union", "second")
    ],
    "excerpts": [
        Writing(None, {}, (FRUIT, BARE)),
        Writing("sampled", {"n_examples": 4, "sampling": "quantile", "threshold": 0.3}, (FRUIT,)),
        Writing(None, {"n_examples": 2}, (FRUIT,), ({"text": "[DESCRIPTION]: Fruit [DESCRIPTION]: names of fruit"},)),
    ],
    "patched": [
        Writing(None, {}, (FRUIT, TOOLS, CLOCK, BARE)),
        Writing(
            "list",
            {"layer": 0, "scale": 2.5, "placeholder": "?"},
            (FRUIT,),
            ({"text": " plum\nplum -> plum", "finish": "length"},),
        ),
        Writing("oracle", {"max_tokens": 9}, (TOOLS, CLOCK), ({"text": "Names of tools.\n\nX is"},)),
        *(Writing(None, {}, (FRUIT,), (said,)) for said in (SPOKEN[1], SPOKEN[3], ENDED[0], ENDED[1], FAILED[0])),
    ],
    "agent": [
        Writing("shuffled", {"k": 2, "texts": 2, "n_windows": 2, "n_examples": 1, "rounds": 2}, (FRUIT, BARE), TESTED),
        Writing("once", {"k": 2, "texts": 1, "n_windows": 1, "n_examples": 1}, (FRUIT,), tuple(FAILED)),
    ],
    "contrastive": [
        Writing(None, {}, (FRUIT, TOOLS, CLOCK, BARE)),
        Writing("cot", {"n_examples": 2, "n_contrast": 2, "show_activations": True}, (FRUIT,)),
        *spoken(n_examples=1, n_contrast=1),
    ],
    "output": [
        Writing(None, {}, (FRUIT, TOOLS, CLOCK, BARE)),
        Writing(None, {"kl": 0.1}, (FRUIT,)),
        Writing(None, {"n_prompts": 1, "n_tokens": 2, "characters": 10}, (FRUIT,)),
        *spoken(n_prompts=1),
    ],
    "tokens": [
        Writing(),
        Writing(None, {"n_tokens": 2, "n_contexts": 2, "reach": 1}, (FRUIT,)),
        Writing(None, {"n_examples": 3, "sampling": "quantile", "window": 4}, (FRUIT,)),
        Writing(None, {"n_examples": 3, "sampling": "importance", "n_top": 1, "n_contexts": 0}, (FRUIT,)),
    ],
    "vocab": [Writing(), Writing(None, {"n_promoted": 1, "n_suppressed": 0})],
    "planted": [
        *(
            Writing(None, {"which": which}, (FRUIT,))
            for which in ("truth", "paraphrase", "narrow", "broad", "wrong", "sibling")
        ),
        *(Writing(None, {"which": f"unrelated:{i}"}, (FRUIT,)) for i in range(3)),
        Writing(None, {}, (TOOLS,)),
    ],
    "constant": [Writing(), Writing(None, {"text": "Text."}, (FRUIT,))],
    "empty": [Writing()],
    "file": [Writing(None, {"path": "texts.jsonl"}), Writing(None, {"path": "texts.csv", "where": {"round": 1}})],
    "ensemble": [Writing()],
    "copied-words": [
        Writing(None, {"of": "words", "keep": keep}, (FRUIT, TOOLS, CLOCK, BARE)) for keep in ("copied", "rest")
    ],
    "shuffled": [Writing(None, {}, (FRUIT, TOOLS, CLOCK, BARE, "planted/sixth", "planted/seventh"))],
}
"""Task name -> ways of explaining; a task that is not here explains once, with its defaults."""

FILES = {
    "texts.jsonl": '{"latent": "planted/fruit", "text": "Fruit."}\n{"latent": "planted/tools", "text": ""}\n',
    "texts.csv": "latent,text,round\nplanted/fruit,Old.,0\nplanted/fruit,New.,1\nplanted/tools,,1\n",
}


def explainer_file(
    name: str, ways: Mapping[str, Sequence[Writing]] = EXPLAINERS, scene: Scene = PLAIN
) -> dict[str, Json]:
    """Content of an explainer's golden file."""
    shared: list[Json] = []
    with tempfile.TemporaryDirectory() as folder:
        for file, text in FILES.items():
            (Path(folder) / file).write_text(text, encoding="utf-8")
        asked: list[Json] = [
            explainer_way(name, way, scene, Path(folder), shared) for way in ways.get(name, [Writing()])
        ]
    first = load_explainer({"use": name})
    needs: list[Json] = [*sorted(c.value for c in first.needs)]
    return {
        "task": first.id,
        "needs": needs,
        "knows nothing": first.is_floor,
        **scene.drawn,
        "beginnings": shared,
        "ways": asked,
    }


def explainer_way(name: str, way: Writing, scene: Scene, folder: Path, shared: list[Json]) -> dict[str, Json]:
    """One way of explaining: requests of all rounds and the explanation, by latent."""
    explainer = load_explainer({"use": name, "preset": way.preset, "params": dict(way.params)}, folder)
    known = scene.latents()
    found: list[Json] = []
    for latent in way.latents:
        view = known.get(latent) or replace(known[BARE], id=latent)
        asked, text = form.explained(explainer, view, scripted(way.said), scene.seed(explainer, view), scene.others())
        # Under odd replies the question is that of the first way.
        kept = [] if len(way.said) == 1 else form.shortened(asked, shared)
        found.append({"asked": kept, "explained": text} if kept else {"explained": text})
    replies: list[Json] = [form.plain(said) for said in way.said]
    said = {"replies": replies} if replies else {}
    return {"preset": way.preset, "params": form.plain(dict(way.params)), "latents": found} | said


def scripted(said: Sequence[Mapping[str, Any]]) -> form.Answers:
    """Hand-written replies to the chats in turn, and the lexical judge's to everything else."""
    if not said:
        return mock("lexical")
    return lambda requests: [
        form.reply_of(said[i % len(said)])
        if form.request_form(r)["kind"] in ("chat", "patched")
        else mock("lexical")([r])[0]
        for i, r in enumerate(requests)
    ]
