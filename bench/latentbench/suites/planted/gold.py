"""A planted suite from labels by people: a treebank, a corpus of entities, texts of concepts. The data stay where they are.

What a rule says of a word is true by definition; what an annotator says of a sentence is what people mean by it, and text of
people is not a model's. Neither was made for this project, so no simulator of it can have learned the exam.

The recipe says which tokens of the labels are a latent's and what can be said of it. It quotes none of the data: names of
concepts are texts of the data too and are read when the suite is built. A built suite quotes them, so build it outside of a
repository whose licence is another one.

    gold-ewt.jsonl.gz, gold-litbank.jsonl.gz    sentences: tokens and labels (`gold_records`)
    gold-concepts.jsonl.gz                      texts with `concept` and `category` (positive, negative, hard negative)

A long sentence shows more of everything, so a judge that says yes to long ones would look good. Silent sentences and those of a
near miss are drawn as long as the positive ones. A concept's label is of the text and not of its words: all words of four letters
and more fire in its first tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from latentbench.corpora.corpus_files import content_sha256
from latentbench.kernel.config import Frozen, read_yaml, validate
from latentbench.kernel.errors import DataError, SpecError
from latentbench.kernel.identity import seed_for
from latentbench.kernel.inputs import understood
from latentbench.suites.planted.gold_records import Sentence, check, picks, read_records, read_sentences
from latentbench.suites.planted.labelled import LabelledLatent, LabelledSizes, LabelledText, assemble
from latentbench.suites.planted.planted_suite import Near
from latentbench.suites.planted.rules import Mask, tokenise
from latentbench.suites.store import Suite

SPARE = 6
"""Texts kept for each window that is asked for: some will be on the other side already."""
CHARACTERS = 20
"""Texts whose lengths differ by less than about this are alike."""
SAME = 0.02
"""Two latents are related if one fires on more than this share of the other's tokens."""
WORD = re.compile(r"\s*[^\W\d_]{4,}")
LEAD = re.compile(r"^(terms|phrases|references|mentions|components)( or mentions)? (related )?to ", re.IGNORECASE)


class GoldNear(Frozen):
    """A near miss: what it says, and where it fires if that can be in windows in which the truth does not."""

    text: str
    """What the near miss says."""
    fires: dict[str, Any] = Field(default={})
    """A selector: where it fires while the truth does not."""


class GoldLatent(Frozen):
    """One latent of the labels."""

    name: str
    """Stands in the latent's id."""
    family: str
    """Latents of one family are never unrelated to each other."""
    truth: str
    """The true explanation."""
    paraphrase: str
    """The true explanation in other words."""
    fires: dict[str, Any]
    """A selector, see `latentbench.suites.planted.gold_records`."""
    near: dict[Near, GoldNear] = Field(min_length=1)
    """Near misses, by kind."""
    related: tuple[str, ...] = ()
    """Latents or families that may fire in the same texts."""


class GoldLayer(Frozen):
    """A file of labels and the latents that are looked for in it."""

    file: str
    """File of labels, in the folder of `--data`."""
    shortest: int = Field(default=8, ge=1)
    """Smallest number of tokens of a sentence that is used."""
    longest: int = Field(default=40, ge=1)
    """Tokens of the sentences that are used."""
    latents: tuple[GoldLatent, ...] = Field(min_length=1)
    """What is looked for in it."""


class GoldConcepts(Frozen):
    """A file of concepts; each of them is a latent."""

    file: str
    """File of concepts, in the folder of `--data`."""
    family: str = "concept"
    """Their family."""
    tokens: int = Field(default=48, ge=8)
    """Tokens of each text that are shown, from its beginning."""
    related: tuple[str, ...] = ()
    """Families that may fire in the same texts."""


class GoldRecipe(LabelledSizes):
    """`recipe.yaml` of a suite of gold labels."""

    kind: Literal["gold"]
    """Says that this is a recipe of labels by people."""
    layers: tuple[GoldLayer, ...] = ()
    """Files of labelled sentences."""
    concepts: GoldConcepts | None = None
    """A file in which each concept is a latent."""


def build_gold(recipe_path: Path, data: Path | None, out: Path | None, *, strict: bool = False) -> Suite:
    """Build a suite of labels by people.

    Args:
        recipe_path: a `GoldRecipe`.
        data: folder of the files of labels.
        out: folder of the suite.
        strict: see `build_planted`.

    Raises:
        SpecError: a bad recipe, no folder, or a latent that the data hardly show.
        DataError: a file of labels that cannot be read; with `strict`, a suite that is short.
    """
    recipe = validate(GoldRecipe, read_yaml(recipe_path), str(recipe_path))
    if data is None or out is None:
        raise SpecError(
            f"{recipe_path} is of labels that are not shipped. Name their folder with --data, and with --out one for the suite."
        )
    for layer in recipe.layers:
        for latent in layer.latents:
            for selector in (latent.fires, *(near.fires for near in latent.near.values() if near.fires)):
                check(selector, f"{recipe_path}, latent {latent.name!r}")
    latents = [found for layer in recipe.layers for found in _layer(layer, data / layer.file, recipe)]
    files = [layer.file for layer in recipe.layers]
    if recipe.concepts:
        path = data / recipe.concepts.file
        with understood(path, DataError, "Repair its records."):
            latents += _concepts(recipe.concepts, read_records(path), recipe)
        files.append(recipe.concepts.file)
    corpus = {name: content_sha256(data / name) for name in files}
    said = {"kind": "gold", "recipe": {"name": recipe.name}, "corpus": corpus}
    return assemble(latents, recipe, said, out, strict=strict)


def _layer(layer: GoldLayer, path: Path, recipe: GoldRecipe) -> list[LabelledLatent]:
    """Latents of one file: every sentence is labelled for all of them, so silence is known."""
    read = {s.text: s for s in read_sentences(path) if layer.shortest <= len(s.bounds) <= layer.longest}
    sentences = [s for s in read.values() if len(tokenise(s.text).tokens) <= recipe.window]
    fires = {latent.name: [picks(latent.fires, s) for s in sentences] for latent in layer.latents}
    flat = {name: np.concatenate(masks) if masks else np.zeros(0, np.bool_) for name, masks in fires.items()}
    return [
        _of_layer(
            latent,
            sentences,
            fires[latent.name],
            (*latent.related, *(n for n in flat if n != latent.name and _overlap(flat[latent.name], flat[n]))),
            recipe,
        )
        for latent in layer.latents
    ]


def _overlap(one: Mask, other: Mask) -> bool:
    return bool((one & other).sum() > SAME * max(1, min(one.sum(), other.sum())))


def _of_layer(
    latent: GoldLatent, sentences: Sequence[Sentence], masks: Sequence[Mask], related: Sequence[str], recipe: GoldRecipe
) -> LabelledLatent:
    positive = [LabelledText(text=s.text, spans=s.spans(m)) for s, m in zip(sentences, masks, strict=True) if m.any()]
    rest = [s for s, m in zip(sentences, masks, strict=True) if not m.any()]
    tempting: dict[Near, list[LabelledText]] = {}
    for which, near in latent.near.items():
        if near.fires:
            where = [(s, picks(near.fires, s)) for s in rest]
            tempting[which] = [LabelledText(text=s.text, spans=s.spans(m)) for s, m in where if m.any()]
    if len(positive) < 4:
        raise SpecError(f"latent {latent.name!r}: only {len(positive)} sentences of the data show it.")
    shown = _some(positive, recipe.explain + recipe.positives, recipe, latent.name, "positive")
    silent = [LabelledText(text=s.text) for s in rest]
    return LabelledLatent(
        name=latent.name,
        family=latent.family,
        truth=latent.truth,
        paraphrase=latent.paraphrase,
        near={which: near.text for which, near in latent.near.items()},
        related=tuple(dict.fromkeys(related)),
        positive=shown,
        tempting={
            w: _alike(_some(t, len(t), recipe, latent.name, w), shown, recipe.near_misses)
            for w, t in tempting.items()
            if t
        },
        silent=_alike(_some(silent, len(silent), recipe, latent.name, "silent"), shown, recipe.negatives),
    )


def _some(texts: Sequence[LabelledText], n: int, recipe: GoldRecipe, name: str, what: str) -> tuple[LabelledText, ...]:
    """More texts than are needed, drawn at random."""
    rng = np.random.default_rng(seed_for("gold", recipe.seed, name, what))
    return tuple(texts[i] for i in rng.permutation(len(texts))[: SPARE * n])


def _alike(texts: Sequence[LabelledText], models: Sequence[LabelledText], n: int) -> tuple[LabelledText, ...]:
    """Texts of about the lengths of others, one for each of these in turn, as far as they last."""
    bins: dict[int, list[LabelledText]] = {}
    for text in texts:
        bins.setdefault(_bin(text), []).append(text)
    found: list[LabelledText] = []
    for model in [*models] * SPARE:
        near = [b for b in (_bin(model), _bin(model) - 1, _bin(model) + 1) if bins.get(b)]
        if near and len(found) < SPARE * n:
            found.append(bins[near[0]].pop())
    return tuple(found or texts[: SPARE * n])


def _bin(text: LabelledText) -> int:
    return len(text.text) // CHARACTERS


def _concepts(given: GoldConcepts, records: Sequence[Mapping[str, Any]], recipe: GoldRecipe) -> list[LabelledLatent]:
    """A latent for each concept: hard negatives are texts in which one of its words has another sense."""
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for r in records:
        groups.setdefault((str(r["set"]), int(r["concept_id"])), []).append(r)
    found = []
    for number, (_, own) in enumerate(sorted(groups.items()), 1):
        texts = {c: [r for r in own if r["category"] == c] for c in ("positive", "negative", "hard negative")}
        if not all(texts.values()):
            continue  # the pool of negatives that belongs to no concept
        concept = str(texts["positive"][0]["concept"]).strip()
        word, _, sense = str(texts["hard negative"][0]["concept"]).partition("//")
        short = {
            c: list({t.text: t for r in rows if (t := _head(str(r["text"]), given.tokens))}.values())
            for c, rows in texts.items()
        }
        firing = {t.text for t in short["positive"]}
        found.append(
            LabelledLatent(
                name=f"concept-{number}",
                family=given.family,
                truth=_sentence(concept),
                paraphrase=_sentence(f"Passages about {LEAD.sub('', concept)}"),
                near={"sibling": _sentence(f'The word "{word}" in this sense: {sense}')},
                related=given.related,
                positive=_some(
                    [t for t in short["positive"] if t.spans],
                    recipe.explain + recipe.positives,
                    recipe,
                    f"{number}",
                    "+",
                ),
                tempting={"sibling": tuple(_bare(t) for t in short["hard negative"] if t.text not in firing)},
                silent=_some(
                    [_bare(t) for t in short["negative"] if t.text not in firing],
                    recipe.negatives,
                    recipe,
                    f"{number}",
                    "-",
                ),
            )
        )
    return found


def _head(text: str, n: int) -> LabelledText | None:
    """The first tokens of a text, its longer words marked; None for a text of almost nothing."""
    tokens = tokenise(text.strip()).tokens[:n]
    if len(tokens) < 8:
        return None
    ends = np.cumsum([len(t) for t in tokens]).tolist()
    spans = tuple((end - len(t.lstrip()), end) for t, end in zip(tokens, ends, strict=True) if WORD.fullmatch(t))
    return LabelledText(text="".join(tokens).rstrip(), spans=spans)


def _bare(text: LabelledText) -> LabelledText:
    return LabelledText(text=text.text)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(". ") + "."
