"""Building the intervention table of a suite: prompts, strengths, texts; one file per latent on the way.

A latent's rows are a function of suite, subject, coder, settings and, in the last digits, of the latents that shared its forward
passes. So finished latents are kept under a digest of exactly those, its group among them: a killed build goes on with the
groups that are not whole, and ends in the same bytes as one that was not killed. Naming the file by the latent alone would be
simpler, and then a resumed build and a fresh one differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from latentbench.corpora.corpus import corpus_identity
from latentbench.kernel.errors import DataError, DigestMismatch, SpecError, UnknownName
from latentbench.kernel.identity import digest, seed_for
from latentbench.kernel.latent import LatentView
from latentbench.kernel.tables import INTERVENTIONS, read_table, table_of, write_table
from latentbench.models.engine.sampler import gumbel
from latentbench.models.language_model import DType, Loaded, load
from latentbench.models.source import cache_dir
from latentbench.subject.coders.coder_spec import load_coder
from latentbench.subject.coders.sparse import SparseCoder
from latentbench.subject.strength import STEPS, TOLERANCE, Strength, search
from latentbench.suites.build.suite_recipe import SuiteRecipe, anchored_recipe, load_recipe
from latentbench.suites.intervention_table import save_interventions
from latentbench.suites.rerun import as_built, changed, cut_again
from latentbench.suites.steer.steer import SteerGroup, StrengthEffect
from latentbench.suites.steer.steer_prompts import CorpusContext, SteerPrompt, prompts
from latentbench.suites.store import Suite
from latentbench.suites.window_groups import whole
from latentbench.views import terminal

FORMAT = 2
MODES = ("add", "ablate")
Say = Callable[[str], None]


@dataclass(frozen=True)
class SteerSettings:
    """What decides a latent's rows, besides suite, subject and coder.

    Attributes:
        modes: `add`, `ablate`.
        kls: targets of `add`, in nats.
        prompts: scoring prompts per latent.
        explain: prompts for output-side explainers.
        length: tokens of text per prompt at most, BOS not counted.
        new_tokens: tokens generated, at temperature 1.
        tokens: promoted and suppressed tokens listed.
        seed: of prompts and noise.
        dtype: of the subject; None: as in the build.
        steps, tolerance: of the strength search.
        group: latents computed together.
    """

    modes: tuple[str, ...] = ("add",)
    kls: tuple[float, ...] = (0.1, 0.33, 1.0, 3.0)
    prompts: int = 30
    explain: int = 10
    length: int = 64
    new_tokens: int = 8
    tokens: int = 5
    seed: int = 0
    dtype: DType | None = None
    steps: int = STEPS
    tolerance: float = TOLERANCE
    group: int = 4

    def __post_init__(self) -> None:
        for mode in self.modes:
            if mode not in MODES:
                raise UnknownName("intervention mode", mode, MODES)
        if not self.modes or any(not 0 < k < math.inf for k in self.kls) or ("add" in self.modes and not self.kls):
            raise SpecError(
                f"interventions need a mode, and KL targets above 0 for `add`; got {self.modes}, {self.kls}."
            )
        if min(self.prompts, self.length, self.new_tokens, self.group) < 1 or min(self.explain, self.tokens) < 0:
            raise SpecError("prompts, length, new_tokens and group must be at least 1, explain and tokens at least 0.")


def intervene(
    suite: Suite,
    settings: SteerSettings,
    coders: Sequence[str] | None = None,
    latents: int | None = None,
    split: str | None = "test",
    work: Path | None = None,
    device: str = "auto",
    say: Say = terminal.say,
) -> str:
    """Build the sidecar of a suite and put it into its folder.

    Args:
        suite: built from a recipe, with its corpus at hand.
        settings: see there.
        coders: names; all by default.
        latents: at most this many, chosen as a run with this `limit` chooses them.
        split: `test`, `tune` or None for both.
        work: where finished latents are kept; the user cache by default.
        device: for the subject.
        say: told one line per group of latents.

    Returns:
        Digest of the table.

    Raises:
        DataError: a suite without a subject, or a corpus that is not that of the build.
        DigestMismatch: subject or coder are others than in the build.
        SpecError, ModelError, CoderError: recipe, subject or coder cannot be had.
    """
    if "subject" not in suite.manifest:
        raise DataError(f"{suite.id} was not built from a subject's activations; there is nothing to steer.")
    recipe = anchored_recipe(load_recipe(suite.path / "recipe.yaml"), suite.path.resolve())
    wanted = suite.latents(split, coders, latents)
    if not wanted:
        raise SpecError(f"suite {suite.name} has no latents with split {split!r} and coders {coders}.")
    entry = recipe.subject
    loaded = as_built(load(entry.model, settings.dtype or entry.dtype, device, entry.loading), suite)
    by_coder = {
        entry.coder.name: load_coder(entry.coder, loaded, verify=False)
        for entry in recipe.coders
        if any(v.coder == entry.coder.name for v in wanted)
    }
    if differing := changed(suite.manifest, loaded, by_coder, corpus_identity(recipe.corpus)):
        raise DigestMismatch(f"{suite.id} cannot be steered: {'; '.join(differing)}.")
    # The suite's digest covers the directions of its coders, and `changed` has compared their identity.
    home = (work or cache_dir() / "interventions") / digest([FORMAT, suite.digest, loaded.identity, asdict(settings)])
    groups = [
        mine[at : at + settings.group]
        for name in by_coder
        for mine in [[v for v in wanted if v.coder == name]]
        for at in range(0, len(mine), settings.group)
    ]
    files = {v.id: home / digest([w.id for w in group]) / f"{v.index}.parquet" for group in groups for v in group}
    owed = [group for group in groups if not all(files[v.id].exists() for v in group)]
    say(f"{len(wanted)} latents, {sum(f.exists() for f in files.values())} of them done before")
    if owed:
        places = _places(suite, recipe, loaded, [v for group in owed for v in group])
        for group in owed:
            rows = _group(loaded, by_coder[group[0].coder], group, places, settings, say)
            for view, own in zip(group, rows, strict=True):
                write_table(table_of(own, INTERVENTIONS), files[view.id])
    table = pa.concat_tables([read_table(files[v.id], INTERVENTIONS) for v in wanted])
    return save_interventions(
        suite.path,
        table,
        {
            "suite": suite.digest,
            "suite_id": suite.id,
            "subject": loaded.identity,
            "coders": {name: coder.key for name, coder in by_coder.items()},
            "settings": asdict(settings),
            "latents": _summary(wanted, table),
        },
    )


def _places(
    suite: Suite, recipe: SuiteRecipe, loaded: Loaded, latents: Sequence[LatentView]
) -> dict[int, CorpusContext]:
    """The context of every activating window of the latents, by window id."""
    ids = np.array([w.id for v in latents for w in (*v.test, *v.explain) if w.active], dtype=np.int64)
    numbers = whole(suite.stored, ("context",)).column(0).to_numpy()[ids]
    cuts = {c.number: CorpusContext(c.start, c.ids) for c in cut_again(recipe, loaded, np.unique(numbers))}
    return {int(i): cuts[int(n)] for i, n in zip(ids, numbers, strict=True)}


def _group(
    loaded: Loaded,
    coder: SparseCoder,
    latents: Sequence[LatentView],
    places: dict[int, CorpusContext],
    settings: SteerSettings,
    say: Say,
) -> list[list[dict[str, Any]]]:
    """Rows of each latent; a latent without a scoring prompt has none."""
    s = settings
    cut = {v.id: prompts(v, places, s.prompts, s.explain, s.length, loaded.bos, s.seed) for v in latents}
    chosen = [(v, cut[v.id]) for v in latents if any(p.role == "test" for p in cut[v.id])]
    rows: dict[str, list[dict[str, Any]]] = {v.id: [] for v in latents}
    if chosen:
        group = SteerGroup(loaded, coder, chosen)
        noise = _noise(loaded, chosen, settings)
        nothing = [(i, 0.0) for i in range(len(chosen))]
        clean = group.texts(nothing, noise)
        for mode in s.modes:
            ends: list[list[Strength | None]] = [[None] for _ in chosen]
            if mode == "add":
                ends = [[*row] for row in _strengths(group, settings)]
            asked = [(i, end.delta if end else None) for i, row in enumerate(ends) for end in row]
            flat = [end for row in ends for end in row]
            test = group.measure(asked, "test", s.tokens)
            shown = group.measure(asked, "explain", s.tokens)
            steered = group.texts(asked, noise)
            for n, ((i, _), end) in enumerate(zip(asked, flat, strict=True)):
                view = chosen[i][0]
                rows[view.id] += _rows(loaded, group, view, i, mode, end, test[n], shown[n], clean[i], steered[n])
    for v in latents:
        reached = {(r["mode"], r["target"]): r["reached"] for r in rows[v.id]}
        say(f"{v.id}: {len(cut[v.id])} prompts, {sum(reached.values())} of {len(reached)} strengths reached")
    return [rows[v.id] for v in latents]


def _noise(loaded: Loaded, chosen: Sequence[tuple[LatentView, list[SteerPrompt]]], settings: SteerSettings) -> Tensor:
    """Draw noise for each scoring prompt of the group; its seed belongs to latent and window, so clean and steered share it."""
    seeds = [
        seed_for("steer-noise", settings.seed, v.id, p.window.id) for v, own in chosen for p in own if p.role == "test"
    ]
    vocabulary = int(loaded.model.config.get_text_config().vocab_size)
    return gumbel(seeds, settings.new_tokens, vocabulary)


def _strengths(group: SteerGroup, settings: SteerSettings) -> list[list[Strength]]:
    def evaluate(asked: Sequence[tuple[int, float]]) -> list[float]:
        return [float(np.mean(m.kl)) for m in group.measure(asked, "test")]

    return search(evaluate, settings.kls, group.scales, settings.steps, settings.tolerance)


def _rows(
    loaded: Loaded,
    group: SteerGroup,
    view: LatentView,
    place: int,
    mode: str,
    end: Strength | None,
    test: StrengthEffect,
    shown: StrengthEffect,
    clean: list[list[int]],
    steered: list[list[int]],
) -> Iterator[dict[str, Any]]:
    decode = loaded.tokenizer.decode
    for role, measured in (("test", test), ("explain", shown)):
        for n, at in enumerate(group.of[place][role]):
            prompt = group.prompts[at]
            text = decode(prompt.ids, skip_special_tokens=True)
            texts = ["", ""]
            if role == "test":
                texts = [_after(loaded, prompt, text, new[n]) for new in (clean, steered)]
            yield {
                "latent": view.id,
                "hookpoint": group.coder.hookpoint,
                "mode": mode,
                "target": end.target if end else None,
                "role": role,
                "window": prompt.window.id,
                "kind": prompt.window.kind,
                "prompt": text,
                "clean": texts[0],
                "steered": texts[1],
                "delta": end.delta if end else None,
                "kl": end.kl if end else float(np.mean(test.kl)),
                "prompt_kl": measured.kl[n],
                "steps": end.steps if end else 0,
                "reached": end.reached if end else True,
                "promoted": [decode([t]) for t in measured.promoted[n]] if measured.promoted else [],
                "suppressed": [decode([t]) for t in measured.suppressed[n]] if measured.suppressed else [],
            }


def _after(loaded: Loaded, prompt: SteerPrompt, text: str, new: list[int]) -> str:
    """Text of the new tokens; decoded behind the prompt, so that a character split over both is not lost."""
    whole: str = loaded.tokenizer.decode([*prompt.ids, *new], skip_special_tokens=True)
    return whole[len(text) :] if whole.startswith(text) else loaded.tokenizer.decode(new, skip_special_tokens=True)


def _summary(latents: Sequence[LatentView], table: pa.Table) -> dict[str, Any]:
    """latent -> prompts by role, and what became of each strength."""
    found: dict[str, dict[str, Any]] = {v.id: {"test": 0, "explain": 0, "strengths": []} for v in latents}
    seen: set[tuple[Any, ...]] = set()
    counted: set[tuple[Any, ...]] = set()
    for row in table.to_pylist():
        entry = found[row["latent"]]
        if (row["latent"], row["window"]) not in counted:
            counted.add((row["latent"], row["window"]))
            entry[row["role"]] += 1
        if (row["latent"], row["mode"], row["target"]) not in seen:
            seen.add((row["latent"], row["mode"], row["target"]))
            entry["strengths"].append({k: row[k] for k in ("mode", "target", "delta", "kl", "steps", "reached")})
    return found
