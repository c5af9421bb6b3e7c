"""A suite whose truth is known: latents that are rules over text, each with right, nearly right and unrelated explanations.

It qualifies judges: a judge that cannot rank the true explanation of a planted latent above its near misses has nothing to say
about latents whose truth nobody knows. Rules and texts are data (`rules.yaml`); sampling, tables and digest are those of every
other suite, so a planted latent goes through the harness by no special path.

A firing token's activation is between 0.4 and 1 of the maximum, by a hash of the token and the one before it. A constant would
do for detection, but deciles, quantile sampling and correlations then have nothing to work on; noise drawn at random would not
survive a rebuild. The span keeps every firing token above the usual highlighting threshold of 0.3 x the window's maximum.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
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
from latentbench.kernel.kinds import NEAR_MISS
from latentbench.kernel.tables import LATENTS, WINDOWS, table_of
from latentbench.suites.build.copies import Copies
from latentbench.suites.build.sampling import EXPLAIN, Tiles, WindowPlan, WindowSample, sample, tile
from latentbench.suites.planted.rules import Document, Mask, matches, tokenise
from latentbench.suites.shortfall import refuse_short
from latentbench.suites.store import Suite, load_suite, save_suite

Near = Literal["narrow", "broad", "wrong", "sibling"]
NEAR: tuple[Near, ...] = ("narrow", "broad", "wrong", "sibling")
UNRELATED = 3
CODER = "planted"


class RuleDescription(Frozen):
    """A rule and a text that describes it."""

    text: str
    rule: dict[str, Any]


class PlantedLatent(Frozen):
    """One planted latent and what can be said of it."""

    name: str
    family: str
    """Kind of concept; unrelated explanations come from other families."""
    truth: RuleDescription
    paraphrase: str
    """The truth in other words."""
    narrow: RuleDescription
    broad: RuleDescription
    wrong: RuleDescription
    """A neighbouring token: the one before or after, or the mark itself."""
    sibling: RuleDescription
    related: tuple[str, ...] = ()
    """Names of latents that fire on other tokens but cannot be shown without this one; they are not unrelated."""

    def near(self, which: Near) -> RuleDescription:
        """A near miss by name."""
        found: RuleDescription = getattr(self, which)
        return found


class PlantedRecipe(Frozen):
    """`recipe.yaml` of a planted suite."""

    name: Name
    """Name of the suite."""
    version: str = Field(pattern=r"^\d+-\d+$")
    """`N-X`: N rises when numbers can move."""
    kind: Literal["planted"]
    """Says that this is a recipe of planted latents."""
    rules: str = "rules.yaml"
    """File of rules beside the recipe."""
    corpus: str
    """JSONL file (`.gz` or not) with `text` and `source`, relative to the recipe."""
    context: int = Field(default=256, ge=32)
    """Word-level tokens per context."""
    window: int = Field(default=32, ge=1)
    """Tokens of a window."""
    explain: int = Field(default=20, ge=1)
    """Windows that explainers are shown."""
    positives_per_decile: int = Field(default=2, ge=1)
    """Activating test windows of each decile of strength."""
    negatives: int = Field(default=20, ge=1)
    """Silent test windows."""
    near_misses: int = Field(default=12, ge=0)
    """Test windows in which a near miss fires and the truth does not."""
    copies: Literal["apart", "kept"] = "apart"
    """Whether windows that repeat earlier text are drawn, as in `latentbench.suites.build.suite_recipe`."""
    seed: int = 0
    """Behind everything that is drawn."""


class Rules(Frozen):
    """`rules.yaml`: word lists and latents."""

    version: str
    lists: dict[str, list[str]]
    latents: list[PlantedLatent] = Field(min_length=1)


def load_rules(path: Path) -> Rules:
    """Read and validate a file of rules; every rule is tried once, so a bad one is found here.

    Raises:
        SpecError: a rule outside the language, or two latents or two texts that are the same.
    """
    rules = validate(Rules, read_yaml(path), str(path))
    probe = tokenise("A probe, of 12 words.")
    seen: set[str] = set()
    for latent in rules.latents:
        if latent.name in seen:
            raise SpecError(f"{path}: two latents are named {latent.name!r}.")
        seen.add(latent.name)
        for described in (latent.truth, *(latent.near(n) for n in NEAR)):
            try:
                matches(described.rule, probe, rules.lists)
            except (SpecError, AttributeError, KeyError, TypeError, ValueError) as e:
                raise SpecError(f"{path}: latent {latent.name!r}: {e}") from e
    return rules


def activation(document: Document, mask: Mask) -> NDArray[np.float16]:
    """Activations of a rule's mask over a document: 0 where it is silent, 4 to 10 where it fires."""
    out = np.zeros(len(mask), np.float16)
    for i in np.flatnonzero(mask):
        pair = f"{document.bare[i - 1] if i else ''}\x1f{document.bare[i]}"
        out[i] = 4 + 6 * hashlib.blake2b(pair.encode(), digest_size=1).digest()[0] / 255
    return out


def build_planted(recipe_path: Path, out: Path | None = None, *, strict: bool = False) -> Suite:
    """Build a planted suite; no model is needed.

    Args:
        recipe_path: a `PlantedRecipe`.
        out: folder of the suite; the recipe's own by default.
        strict: refuse a suite that is short of what its recipe asks for, and write nothing.

    Raises:
        SpecError: a bad recipe or rule, or a latent that the corpus never shows.
        DataError: the corpus cannot be read; with `strict`, a suite that is short.
    """
    recipe = validate(PlantedRecipe, read_yaml(recipe_path), str(recipe_path))
    base = recipe_path.parent
    rules = load_rules(base / recipe.rules)
    documents = _documents(base / recipe.corpus)
    offsets = _offsets([len(d.tokens) for d in documents], recipe.context)
    tiles = tile(offsets, recipe.window)
    tokens = [t for d in documents for t in d.tokens]
    vocabulary = {t: i for i, t in enumerate(sorted(set(tokens)))}
    ids = np.array([vocabulary[t] for t in tokens], np.int32)
    copies = Copies(ids, recipe.window) if recipe.copies == "apart" else None
    tiles = copies.without_copies(tiles) if copies else tiles
    plan = WindowPlan(recipe.explain, "quantile", recipe.positives_per_decile, recipe.negatives)

    truths = {latent.name: _flat(latent.truth.rule, documents, rules) for latent in rules.latents}
    latents, windows = [], []
    for number, latent in enumerate(rules.latents):
        name = f"{CODER}/{latent.name}"
        values = np.concatenate([activation(d, m) for d, m in zip(documents, truths[latent.name], strict=True)])
        where = np.flatnonzero(values)
        if not len(where):
            raise SpecError(f"{recipe_path}: the corpus never shows latent {latent.name!r}.")
        seeds = seed_for("test", recipe.seed, name), seed_for("explain", recipe.seed, name)
        drawn = sample(where, values[where], tiles, plan, *seeds, copies)
        hard = _near_misses(latent, documents, rules, values > 0, tiles, drawn, recipe, copies)
        unrelated = _unrelated(latent, rules, truths, recipe.seed)
        latents.append(_latent_row(latent, number, drawn, plan, unrelated))
        windows += _window_rows(name, drawn, hard, tiles, tokens, ids)
    manifest = {
        "name": recipe.name,
        "version": recipe.version,
        "kind": "planted",
        "recipe": recipe.model_dump(mode="json"),
        "rules": digest(rules),
        "corpus": content_sha256(base / recipe.corpus),
        "tokens": len(tokens),
    }
    folder, table = out or base, table_of(latents, LATENTS)
    if strict:
        refuse_short(recipe.name, manifest, table)
    save_suite(folder, manifest, table, table_of(windows, WINDOWS))
    return load_suite(folder)


def _documents(path: Path) -> list[Document]:
    try:
        rows = [{name: row[name] for name in ("text", "source")} for _, row in read_objects(path)]
        if not all(isinstance(value, str) for row in rows for value in row.values()):
            raise ValueError("one of them is no text")
        return [tokenise(row["text"], row["source"]) for row in rows]
    except (DataError, ValueError, KeyError) as e:
        raise DataError(f"{path} is not a corpus with `text` and `source` on every line: {e}") from e


def _offsets(lengths: Sequence[int], context: int) -> NDArray[np.int64]:
    """Context bounds over the documents laid end to end: documents are cut every `context` tokens and never joined."""
    bounds, start = [0], 0
    for n in lengths:
        bounds += [start + b for b in range(context, n, context)]
        start += n
        bounds.append(start)
    return np.unique(np.array(bounds, np.int64))


def _flat(rule: Mapping[str, Any], documents: Sequence[Document], rules: Rules) -> list[Mask]:
    return [matches(rule, d, rules.lists) for d in documents]


def _near_misses(
    latent: PlantedLatent,
    documents: Sequence[Document],
    rules: Rules,
    fires: Mask,
    tiles: Tiles,
    drawn: WindowSample,
    recipe: PlantedRecipe,
    copies: Copies | None,
) -> NDArray[np.int64]:
    """Starts of silent tiles in which a near miss fires, none of them drawn already; ascending."""
    near = np.zeros(len(fires), np.bool_)
    for which in NEAR:
        near |= np.concatenate(_flat(latent.near(which).rule, documents, rules))
    silent, tempting = np.ones(len(tiles.start), np.bool_), np.zeros(len(tiles.start), np.bool_)
    silent[_tiles(tiles, fires)] = False
    tempting[_tiles(tiles, near)] = True
    candidates = np.setdiff1d(tiles.start[silent & tempting], drawn.start)
    if copies is not None:
        candidates = candidates[~copies.shares(candidates, drawn.start[drawn.role == EXPLAIN])]
    rng = np.random.default_rng(seed_for(NEAR_MISS, recipe.seed, latent.name))
    n = min(recipe.near_misses, len(candidates))
    return np.sort(rng.choice(candidates, n, replace=False)) if n else candidates[:0]


def _tiles(tiles: Tiles, mask: Mask) -> NDArray[np.int32]:
    of = tiles.of[np.flatnonzero(mask)]
    return of[of >= 0]


def _unrelated(latent: PlantedLatent, rules: Rules, truths: Mapping[str, list[Mask]], seed: int) -> list[str]:
    """Truths of latents of other families that never fire on a token on which this one fires, and are not `related` to it."""
    own = np.concatenate(truths[latent.name])
    if unknown := set(latent.related) - {other.name for other in rules.latents}:
        raise SpecError(f"latent {latent.name!r} is related to {', '.join(sorted(unknown))}; there is no such latent.")
    apart = [
        other.truth.text
        for other in rules.latents
        if other.family != latent.family
        and other.name not in latent.related
        and not (own & np.concatenate(truths[other.name])).any()
    ]
    return unrelated_of(latent.name, apart, seed)


def unrelated_of(name: str, apart: Sequence[str], seed: int) -> list[str]:
    """The unrelated explanations of a latent, drawn from the truths of those that it may be given.

    Raises:
        SpecError: there are too few.
    """
    if len(apart) < UNRELATED:
        raise SpecError(f"latent {name!r} has only {len(apart)} unrelated latents; it needs {UNRELATED}.")
    rng = np.random.default_rng(seed_for("unrelated", seed, name))
    return [apart[i] for i in np.sort(rng.choice(len(apart), UNRELATED, replace=False))]


def planted_row(name: str, number: int, truth: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the latents table for a latent that no model has: every other one is for tuning, and there is no direction.

    Args:
        truth: what is said of it: family, truth, paraphrase, near misses, unrelated.
        measured: rates, largest activation, edges, and the windows that were asked for and got.
    """
    return {
        "latent": f"{CODER}/{name}",
        "coder": CODER,
        "index": number,
        "coder_kind": CODER,
        "hookpoint": "",
        "split": "tune" if number % 2 else "test",
        "stratum": 0,
        "direction": [],
        "promoted": [],
        "suppressed": [],
        "truth": json.dumps(truth, ensure_ascii=False, sort_keys=True),
        **measured,
    }


def _latent_row(
    latent: PlantedLatent, number: int, drawn: WindowSample, plan: WindowPlan, unrelated: Sequence[str]
) -> dict[str, Any]:
    truth = {
        "family": latent.family,
        "truth": latent.truth.text,
        "paraphrase": latent.paraphrase,
        "near": {which: latent.near(which).text for which in NEAR},
        "unrelated": list(unrelated),
    }
    measured = {
        "rate_token": drawn.rate_token,
        "rate_context": drawn.rate_context,
        "max_activation": drawn.max,
        "edges": drawn.edges.astype(np.float32).tolist(),
        "asked_explain": plan.explain,
        "got_explain": drawn.count(EXPLAIN, True),
        "asked_positive": plan.positives,
        "got_positive": drawn.count(1 - EXPLAIN, True),
        "asked_negative": plan.negatives,
        "got_negative": drawn.count(1 - EXPLAIN, False),
    }
    return planted_row(latent.name, number, truth, measured)


def _window_rows(
    name: str, drawn: WindowSample, hard: NDArray[np.int64], tiles: Tiles, tokens: Sequence[str], ids: NDArray[np.int32]
) -> list[dict[str, Any]]:
    rows = []
    for start, role, decile, values in zip(drawn.start, drawn.role, drawn.decile, drawn.activations, strict=True):
        kind = f"quantile:{decile}" if decile >= 0 else "random"
        rows.append((int(start), "explain" if role == EXPLAIN else "test", kind, values.tolist()))
    rows += [(int(start), "test", NEAR_MISS, [0.0] * tiles.window) for start in hard]
    return [
        {
            "latent": name,
            "role": role,
            "kind": kind,
            "ids": ids[start : start + tiles.window].tolist(),
            "tokens": list(tokens[start : start + tiles.window]),
            "activations": values,
            "position": start,
            "context": int(np.searchsorted(tiles.offsets, start, side="right")) - 1,
        }
        for start, role, kind, values in rows
    ]
