"""A suite of planted latents whose truth is a label on text and no rule: sentences in which somebody marked where a concept is.

A rule language can say what words are there and not what they mean, so an exam of rules is passed by a judge that was trained
on rules. Labels come from a file (one JSON object a line) or from a treebank (`latentbench.suites.planted.gold`); tables,
explanations and kinds of windows are those of every planted suite, so nothing else knows the difference.

A window is a whole text. Cutting texts to one length, as suites of activations do, would cut off the words from which a meaning
is clear. A text is on one side only: what is an explain window of one latent is a test window of none.

    {"name": "bank-river", "family": "sense", "truth": "...", "paraphrase": "...", "near": {"sibling": "..."},
     "positive": ["The heron stood on the muddy [bank]."], "tempting": {"sibling": ["@bank-money"]}}

Square brackets mark where the truth fires. `tempting` holds texts in which a near miss fires and the truth does not; `@NAME`
stands for the test windows of another latent. Random silent windows are texts of other families.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from latentbench.corpora.corpus_files import content_sha256, read_objects
from latentbench.kernel.config import Frozen, read_yaml, validate
from latentbench.kernel.errors import DataError, SpecError
from latentbench.kernel.file_name import Name
from latentbench.kernel.identity import digest, seed_for
from latentbench.kernel.inputs import understood
from latentbench.kernel.kinds import NEAR_MISS, RANDOM
from latentbench.kernel.tables import LATENTS, WINDOWS, table_of
from latentbench.suites.build.sampling import DECILES
from latentbench.suites.planted.planted_suite import CODER, NEAR, Near, activation, planted_row, unrelated_of
from latentbench.suites.planted.rules import Document, Mask, tokenise
from latentbench.suites.shortfall import refuse_short
from latentbench.suites.store import Suite, load_suite, save_suite

MARK = re.compile(r"\[([^\[\]]*)\]")


class LabelledText(Frozen):
    """A text and where the truth fires in it. A plain string with brackets says the same; here brackets are text."""

    text: str = Field(min_length=1)
    spans: tuple[tuple[int, int], ...] = ()
    """Bounds in characters; every token that they touch fires."""
    also: tuple[str, ...] = ()
    """Other latents that fire somewhere in it, so it is no silent window of theirs."""


class LabelledLatent(Frozen):
    """One latent, what can be said of it, and the texts that show it."""

    name: Name
    family: str
    truth: str
    paraphrase: str
    near: dict[Near, str] = Field(min_length=1)
    """Near misses; those that do not exist are left out."""
    related: tuple[str, ...] = ()
    """Latents or families that may fire in the same texts: neither unrelated nor a source of silent windows."""
    avoid: str = ""
    """A regular expression; texts of other latents in which it is found are no silent windows of this one."""
    positive: tuple[str | LabelledText, ...] = Field(min_length=2)
    tempting: dict[Near, tuple[str | LabelledText, ...]] = Field(default={})
    silent: tuple[str | LabelledText, ...] = ()
    """Texts known to be silent; texts of other families by default."""


class LabelledSizes(Frozen):
    """How many windows of each kind a latent gets at most."""

    name: Name
    """Name of the suite."""
    version: str = Field(pattern=r"^\d+-\d+$")
    """`N-X`: N rises when numbers can move."""
    distribution: str
    """Where the truths come from, such as `written` or `people`; `rules` is what simulators are trained on."""
    explain: int = Field(default=5, ge=1)
    """Largest number of windows that explainers are shown."""
    positives: int = Field(default=8, ge=1)
    """Largest number of test windows in which the truth fires."""
    negatives: int = Field(default=12, ge=1)
    """Largest number of silent test windows."""
    near_misses: int = Field(default=12, ge=0)
    """Largest number of test windows in which only a near miss fires."""
    window: int = Field(default=64, ge=8)
    """Largest number of tokens of a text."""
    seed: int = 0
    """Behind everything that is drawn."""


class LabelledRecipe(LabelledSizes):
    """`recipe.yaml` of a suite of labelled texts."""

    kind: Literal["labelled"]
    """Says that this is a recipe of labelled texts."""
    labels: str = "labels.jsonl"
    """File of labels beside the recipe."""


@dataclass(frozen=True)
class Shown:
    """A text with the tokens on which the truth fires."""

    document: Document
    mask: Mask
    also: frozenset[str]
    text: str


@dataclass
class _Placed:
    """Every text of a suite once, with its place and its side."""

    place: dict[str, int] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    side: dict[str, str] = field(default_factory=dict)

    def take(self, texts: Sequence[Shown], role: str, n: int) -> list[Shown]:
        """The first `n` texts that are not on the other side; they are on this one from now on."""
        free = [t for t in texts if self.side.get(t.text, role) == role][:n]
        for t in free:
            self.side[t.text] = role
            if t.text not in self.place:
                self.place[t.text] = len(self.tokens)
                self.tokens += t.document.tokens
        return free


def load_labels(path: Path) -> list[LabelledLatent]:
    """Read a file of labels.

    Raises:
        DataError: no such file, or a line that is no JSON object. SpecError: one that does not fit, or two latents of one name.
    """
    found = [validate(LabelledLatent, row, f"{path}, line {n}") for n, row in read_objects(path)]
    names = [latent.name for latent in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SpecError(f"{path}: two latents are named {twice[0]!r}.")
    return found


def build_labelled(recipe_path: Path, out: Path | None = None, *, strict: bool = False) -> Suite:
    """Build a suite of a file of labels; no model is needed.

    Args:
        recipe_path: a `LabelledRecipe`.
        out: folder of the suite; the recipe's own by default.
        strict: see `build_planted`.

    Raises:
        SpecError, DataError: a bad recipe or file of labels; with `strict`, a suite that is short.
    """
    recipe = validate(LabelledRecipe, read_yaml(recipe_path), str(recipe_path))
    labels = recipe_path.parent / recipe.labels
    latents = load_labels(labels)
    said = {"kind": "labelled", "recipe": recipe.model_dump(mode="json"), "corpus": content_sha256(labels)}
    try:
        with understood(labels, DataError, "Repair its labels."):
            return assemble(latents, recipe, said, out or recipe_path.parent, strict=strict)
    except SpecError as e:
        raise SpecError(f"{labels}: {e}") from e


def shown(given: str | LabelledText, window: int, where: str) -> Shown:
    """Read a text and its marks.

    Raises:
        SpecError: more tokens than a window holds, or a span without a token.
    """
    text, spans, also = _plain(given)
    document = tokenise(text)
    if len(document.tokens) > window:
        raise SpecError(f"{where}: a text has {len(document.tokens)} tokens, more than {window}: {text[:60]!r} ...")
    ends = np.cumsum([len(t) for t in document.tokens])
    # White space stands before a token and is not part of what fires.
    starts = ends - [len(bare) for bare in document.bare]
    mask = np.zeros(len(ends), np.bool_)
    for low, high in spans:
        touched = (starts < high) & (ends > low)
        if not touched.any():
            raise SpecError(f"{where}: characters {low} to {high} mark no token of {text[:60]!r}.")
        mask |= touched
    return Shown(document, mask, frozenset(also), text)


def _plain(given: str | LabelledText) -> tuple[str, list[tuple[int, int]], Sequence[str]]:
    if isinstance(given, LabelledText):
        return given.text, list(given.spans), given.also
    spans, text, last = [], "", 0
    for mark in MARK.finditer(given):
        text += given[last : mark.start()]
        spans.append((len(text), len(text) + len(mark[1])))
        text, last = text + mark[1], mark.end()
    return text + given[last:], spans, ()


def assemble(
    latents: Sequence[LabelledLatent],
    sizes: LabelledSizes,
    said: Mapping[str, Any],
    folder: Path,
    *,
    strict: bool = False,
) -> Suite:
    """Draw the windows of all latents and freeze them.

    Args:
        latents: with all their texts.
        sizes: how many of them are drawn.
        said: what the manifest says beside name and version.
        folder: of the suite.
        strict: see `build_planted`.

    Raises:
        SpecError: a latent without marks, without silent windows or without three unrelated ones.
        DataError: with `strict`, a suite that is short.
    """
    texts = _Placed()
    by_name = {latent.name: latent for latent in latents}
    for latent in latents:
        known = {*by_name, *(other.family for other in latents)}
        if unknown := {n.removeprefix("@") for n in (*latent.related, *_named(latent))} - known:
            raise SpecError(f"latent {latent.name!r} names {', '.join(sorted(unknown))}; there is no such latent.")
    positive = {latent.name: _positives(latent, texts, sizes) for latent in latents}
    rows, windows = [], []
    for number, latent in enumerate(latents):
        explain, test = positive[latent.name]
        near = _tempting(latent, positive, texts, sizes)
        drawn = {(NEAR_MISS, t.text) for t in near}
        silent = [t for t in _silent(latent, latents, positive, sizes) if (NEAR_MISS, t.text) not in drawn]
        random = texts.take(_mixed(silent, "random", sizes.seed, latent.name), "test", sizes.negatives)
        if not random:
            raise SpecError(f"latent {latent.name!r} has no silent windows; give it texts under `silent`.")
        values = [activation(t.document, t.mask) for t in (*explain, *test)]
        order = np.argsort(np.argsort([float(v.max()) for v in values], kind="stable"), kind="stable")
        deciles = (order * DECILES // len(order)).tolist()
        edges = np.quantile([float(v.max()) for v in values], np.linspace(0, 1, DECILES + 1), method="lower")
        made = [
            ("explain" if i < len(explain) else "test", f"quantile:{decile}", t, v)
            for i, (t, v, decile) in enumerate(zip((*explain, *test), values, deciles, strict=True))
        ]
        made.sort(key=lambda w: (w[0] != "explain", -float(w[3].max()) if w[0] == "explain" else 0))
        made += [("test", RANDOM, t, np.zeros(len(t.mask), np.float16)) for t in random]
        made += [("test", NEAR_MISS, t, np.zeros(len(t.mask), np.float16)) for t in near]
        windows += [(f"{CODER}/{latent.name}", *window) for window in made]
        rows.append(_row(latent, number, latents, sizes, values, edges, len(explain), len(random)))
    vocabulary = {t: i for i, t in enumerate(sorted(set(texts.tokens)))}
    number_of = {text: i for i, text in enumerate(texts.place)}
    for row in rows:
        row["rate_token"] /= len(texts.tokens)
        row["rate_context"] /= len(texts.place)
    manifest = {
        "name": sizes.name,
        "version": sizes.version,
        **said,
        "distribution": sizes.distribution,
        "rules": digest([latent.model_dump(mode="json") for latent in latents]),
        "tokens": len(texts.tokens),
    }
    table = [
        {
            "latent": name,
            "role": role,
            "kind": kind,
            "ids": [vocabulary[t] for t in text.document.tokens],
            "tokens": list(text.document.tokens),
            "activations": values.tolist(),
            "position": texts.place[text.text],
            "context": number_of[text.text],
        }
        for name, role, kind, text, values in windows
    ]
    latent_table = table_of(rows, LATENTS)
    if strict:
        refuse_short(sizes.name, manifest, latent_table)
    save_suite(folder, manifest, latent_table, table_of(table, WINDOWS))
    return load_suite(folder)


def _named(latent: LabelledLatent) -> Iterator[str]:
    return (t for given in latent.tempting.values() for t in given if isinstance(t, str) and t.startswith("@"))


def _positives(latent: LabelledLatent, texts: _Placed, sizes: LabelledSizes) -> tuple[list[Shown], list[Shown]]:
    """Explain and test windows in which the truth fires; explain gets its share where there are too few."""
    where = f"latent {latent.name!r}"
    read = [shown(t, sizes.window, where) for t in latent.positive]
    if bare := [t.text for t in read if not t.mask.any()]:
        raise SpecError(f"{where}: nothing is marked in {bare[0][:60]!r}; put square brackets around what fires.")
    if len({t.text for t in read}) < len(read):
        raise SpecError(f"{where}: a positive text stands there twice.")
    mixed = _mixed(read, "positive", sizes.seed, latent.name)
    share = min(sizes.explain, max(1, len(mixed) * sizes.explain // (sizes.explain + sizes.positives)))
    explain = texts.take(mixed, "explain", share)
    taken = {t.text for t in explain}
    test = texts.take([t for t in mixed if t.text not in taken], "test", sizes.positives)
    if not explain or not test:
        raise SpecError(f"{where}: its texts are all on one side; it needs texts of its own.")
    return explain, test


def _tempting(
    latent: LabelledLatent,
    positive: Mapping[str, tuple[list[Shown], list[Shown]]],
    texts: _Placed,
    sizes: LabelledSizes,
) -> list[Shown]:
    """Silent windows in which a near miss fires, the kinds of near miss in turn."""
    where = f"latent {latent.name!r}"
    queues = []
    for which in NEAR:
        found: list[Shown] = []
        for t in latent.tempting.get(which, ()):
            if isinstance(t, str) and t.startswith("@"):
                found += positive[t[1:]][1]
            else:
                found.append(shown(t, sizes.window, where))
        queues.append(_mixed(found, NEAR_MISS, sizes.seed, latent.name, which))
    longest = max(map(len, queues))
    turns = [queue[i] for i in range(longest) for queue in queues if i < len(queue)]
    own = {t.text for side in positive[latent.name] for t in side}
    if clash := [t.text for t in turns if t.text in own]:
        raise SpecError(f"{where}: {clash[0][:60]!r} is both positive and tempting.")
    return texts.take(list({t.text: t for t in turns}.values()), "test", sizes.near_misses)


def _silent(
    latent: LabelledLatent,
    latents: Sequence[LabelledLatent],
    positive: Mapping[str, tuple[list[Shown], list[Shown]]],
    sizes: LabelledSizes,
) -> list[Shown]:
    """Texts in which the truth does not fire, by the label or by belonging to another family."""
    if latent.silent:
        return [shown(t, sizes.window, f"latent {latent.name!r}") for t in latent.silent]
    avoid = re.compile(latent.avoid) if latent.avoid else None
    return [
        t
        for other in latents
        if apart(latent, other)
        for t in positive[other.name][1]
        if latent.name not in t.also and not (avoid and avoid.search(t.text))
    ]


def apart(one: LabelledLatent, other: LabelledLatent) -> bool:
    """Whether two latents are of different families and neither says that it is related to the other."""
    related = {one.name, one.family} & {*other.related} or {other.name, other.family} & {*one.related}
    return one.family != other.family and not related


def _mixed(texts: Sequence[Shown], *parts: str | int) -> list[Shown]:
    order = np.random.default_rng(seed_for("labelled", *parts)).permutation(len(texts))
    return [texts[i] for i in order]


def _row(
    latent: LabelledLatent,
    number: int,
    latents: Sequence[LabelledLatent],
    sizes: LabelledSizes,
    values: Sequence[NDArray[np.float16]],
    edges: NDArray[np.float64],
    explain: int,
    random: int,
) -> dict[str, Any]:
    others = [other.truth for other in latents if apart(latent, other)]
    truth = {
        "family": latent.family,
        "truth": latent.truth,
        "paraphrase": latent.paraphrase,
        "near": {which: latent.near[which] for which in NEAR if which in latent.near},
        "unrelated": unrelated_of(latent.name, others, sizes.seed),
    }
    measured = {
        "rate_token": float(sum((v > 0).sum() for v in values)),
        "rate_context": float(len(values)),
        "max_activation": max(float(v.max()) for v in values),
        "edges": edges.astype(np.float32).tolist(),
        "asked_explain": sizes.explain,
        "got_explain": explain,
        "asked_positive": sizes.positives,
        "got_positive": len(values) - explain,
        "asked_negative": sizes.negatives,
        "got_negative": random,
    }
    return planted_row(latent.name, number, truth, measured)
