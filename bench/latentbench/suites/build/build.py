"""Recipe -> frozen suite.

    corpus ──collect──► activation store ──draw──► latents ──sample──► windows ──► two tables and a manifest

Only collecting is slow, and the store resumes it; everything after is a pure function of store and recipe and takes seconds, so
a build that is killed anywhere is simply run again. Every latent has seeds of its own, derived from its name: adding a coder or
drawing more latents leaves the windows of the others as they were.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import yaml

from latentbench.corpora import left_out
from latentbench.corpora.corpus import corpus_identity
from latentbench.kernel.errors import DataError, ModelError
from latentbench.kernel.files import write_text
from latentbench.kernel.identity import digest, seed_for
from latentbench.kernel.mapped_pages import let_go
from latentbench.models.language_model import Loaded, load
from latentbench.models.source import cache_dir
from latentbench.subject.activations.activation_store import FORMAT, ActivationStore
from latentbench.subject.activations.activations import SHARD, Progress, collect
from latentbench.subject.activations.shard_work import Source
from latentbench.subject.coders.coder_check import CoderWarning
from latentbench.subject.coders.coder_spec import load_coder
from latentbench.subject.coders.provenance import Provenance, provenance
from latentbench.subject.coders.sparse import SparseCoder
from latentbench.subject.coders.start_token import context_remarks, started
from latentbench.subject.unembedding import SubjectWarning, Unembedding, unembedding
from latentbench.suites.build.copies import Copies
from latentbench.suites.build.draw import chosen, count, draw
from latentbench.suites.build.hard import embedded, with_hard
from latentbench.suites.build.negatives import Embed, EmbeddedWindows, Firing
from latentbench.suites.build.promoted import Effects, promoted
from latentbench.suites.build.sampling import Tiles, sample, tile
from latentbench.suites.build.suite_manifest import Built, suite_manifest
from latentbench.suites.build.suite_recipe import CoderEntry, SuiteRecipe, anchored_recipe, load_recipe
from latentbench.suites.build.suite_tables import CoderPart, WindowTables, latent_table
from latentbench.suites.build.token_strings import TokenStrings
from latentbench.suites.shortfall import refuse_short, remarks, shortfall
from latentbench.suites.store import Suite, load_suite, save_suite
from latentbench.suites.streamed_windows import streamed_windows
from latentbench.views.escape import line
from latentbench.views.terminal import shown, status, tell

if TYPE_CHECKING:
    from rich.console import Console

Say = Callable[[str], None]
"""Called with one line that says how far the build is."""


def build_suite(
    recipe: SuiteRecipe,
    out_dir: Path,
    work_dir: Path | None = None,
    progress: Say | None = None,
    device: str = "auto",
    embed: Embed | None = None,
    strict: bool = False,
) -> Suite:
    """Build a suite and load it.

    Args:
        recipe: with paths that exist from here (`anchored_recipe`).
        out_dir: the suite's folder; the manifest is written last.
        work_dir: where activations are kept between builds; the user cache by default.
        progress: told one line per step.
        device: for the subject.
        embed: texts -> unit vectors; needed for hard negatives of the kind `nearest` only.
        strict: refuse a suite that is short of what its recipe asks for, and write nothing.

    Raises:
        SpecError: `nearest` windows are asked for without `embed`.
        DataError: no latent of a coder qualifies; with `strict`, a suite that is short; or from the corpus.
        DigestMismatch: the folder holds the same name and version with other content.
        ModelError, CoderError: subject or coder cannot be loaded.
    """
    say = progress or _silent
    say(f"loading {recipe.subject.model}")
    loaded, coders, said = subject_and_coders(recipe, device)
    for remark in context_remarks(loaded, recipe.context, said):
        warnings.warn(line(remark), CoderWarning, stacklevel=2)
    # Before the pass: a subject whose directions have no known effect on the logits is no reason to lose a night.
    lens, unpromoted = _lens(recipe, loaded)
    store = activations(recipe, loaded, coders, work_dir or cache_dir() / "activations", say)
    if store.meta.get("left_out"):
        say(left_out.said(store.meta["left_out"]))
    everywhere = tile(store.contexts, recipe.window)
    copies = Copies(store.tokens, recipe.window) if recipe.copies == "apart" else None
    tiles = copies.without_copies(everywhere) if copies else everywhere
    if len(tiles.start) < len(everywhere.start):
        say(
            f"{len(everywhere.start) - len(tiles.start):,} of {len(everywhere.start):,} windows repeat earlier text; not drawn"
        )
    pool = embedded(recipe, store, tiles, loaded.tokenizer, embed)
    parts = []
    for entry, coder in zip(recipe.coders, coders, strict=True):
        say(f"drawing {entry.latents} latents of {coder.name}")
        parts.append(_coder_part(recipe, store, tiles, loaded, coder, entry, pool, lens, copies))
    say("writing tables")
    strings = TokenStrings(loaded.tokenizer)
    latents = latent_table(parts, recipe.plan, strings)
    manifest = suite_manifest(Built(recipe, loaded, store, everywhere, tiles, parts, said, unpromoted))
    if strict:
        refuse_short(recipe.name, manifest, latents)
    tables = WindowTables(parts, store.tokens, tiles, strings)
    with streamed_windows(out_dir, tables) as windows:
        cut = {"tokens_cut": tables.tokens_cut} if tables.tokens_cut else {}
        save_suite(out_dir, manifest | cut, latents, windows)
    _keep_recipe(recipe, out_dir)
    return load_suite(out_dir)


def build_told(
    recipe: SuiteRecipe,
    folder: Path,
    work: Path | None,
    console: Console,
    embedder: Callable[[str], Embed] | None = None,
    strict: bool = False,
    device: str = "auto",
) -> Suite:
    """`build_suite`, telling the console how far it is and in what the suite is short.

    Args:
        recipe, folder: what is built, and where.
        work: as `work_dir` of `build_suite`.
        console: for progress.
        embedder: judge reference -> its embeddings. It comes from the caller because suites must not depend on judges.
        strict, device: see `build_suite`.

    Raises:
        BenchError: as `build_suite`.
    """
    with status(console, f"building {recipe.name}") as bar:

        def say(said: str) -> None:
            if console.is_terminal:
                bar.update(shown(said))
            else:
                tell(console, said)

        reference = recipe.test.hard.embed
        embed = embedder(reference) if embedder and reference and recipe.test.hard.nearest else None
        built = build_suite(recipe, folder, work, say, device, embed, strict)
    found = shortfall(built.manifest, built.latent_table)
    for said in (*found.lines, *found.problems, *remarks(built.manifest)):
        tell(console, said)
    return built


def _silent(said: str) -> None:
    """Progress that nobody reads."""


def subject_and_coders(
    recipe: SuiteRecipe, device: str = "auto"
) -> tuple[Loaded, list[SparseCoder], dict[str, Provenance]]:
    """The subject of a recipe, with or without a start token in front, its coders, and what is known of their training by name.

    Raises:
        ModelError, CoderError: they cannot be loaded, or the coders want different start tokens.
    """
    loaded = load(recipe.subject.model, recipe.subject.dtype, device, recipe.subject.loading)
    coders = [load_coder(entry.coder, loaded) for entry in recipe.coders]
    said = {c.name: provenance(entry.coder, c) for entry, c in zip(recipe.coders, coders, strict=True)}
    return started(loaded, recipe.bos, said), coders, said


def activations(
    recipe: SuiteRecipe, loaded: Loaded, coders: Sequence[SparseCoder], work: Path, say: Say
) -> ActivationStore:
    """The activations of every coder of a recipe, from the folder `work` as far as they are there."""
    settings = recipe.contexts

    def on_tokens(n: int) -> None:
        say(f"drawing text: {n:,} tokens")

    def on_progress(p: Progress) -> None:
        rate = f", {p.tokens_per_s:,.0f} tokens/s" if p.tokens_per_s else ""
        reused = f" ({p.reused:,} from disk)" if p.reused else ""
        say(f"activations: {p.tokens:,} tokens{reused}{rate}")

    # The corpus' identity comes first: it draws the text of a `sampled` corpus that is not there yet.
    corpus = corpus_identity(recipe.corpus, on_tokens)
    what = [[c.name, c.key, c.hookpoint, c.n_latents] for c in coders]
    lengths = {"context": settings.context, "min_context": settings.min_context}
    unusual = [*([] if loaded.starts else ["bos: false"]), *([] if settings.control == "keep" else [settings.control])]
    name = digest([FORMAT, SHARD, loaded.files.identity, loaded.dtype, what, corpus, lengths, *unusual])
    source = Source(partial(_loaded_again, recipe), digest(recipe.model_dump(mode="json")))
    return collect(loaded, coders, recipe.corpus, work / name, settings, progress=on_progress, source=source)


def _loaded_again(recipe: SuiteRecipe) -> tuple[Loaded, Sequence[SparseCoder]]:
    """The subject and the coders of a recipe in a worker, on whatever device that has."""
    return subject_and_coders(recipe)[:2]


def _lens(recipe: SuiteRecipe, loaded: Loaded) -> tuple[Unembedding | None, str]:
    """What makes directions into promoted tokens, where the recipe wants any; or why nothing does."""
    if not recipe.promoted:
        return None, ""
    try:
        return unembedding(loaded), ""
    except ModelError as e:
        why = f"no tokens are listed as promoted or suppressed: {e}"
        warnings.warn(line(why), SubjectWarning, stacklevel=3)
        return None, why


def _coder_part(
    recipe: SuiteRecipe,
    store: ActivationStore,
    tiles: Tiles,
    loaded: Loaded,
    coder: SparseCoder,
    entry: CoderEntry,
    pool: EmbeddedWindows | None,
    lens: Unembedding | None,
    copies: Copies | None,
) -> CoderPart:
    table = store.coder(coder.name)
    counts = count(table.indptr, table.position, table.value, tiles)
    min_windows, most = entry.min_windows or recipe.min_windows, entry.max_windows
    left_out: dict[int, int] = {}
    if entry.indices is None:
        drawn = draw(
            counts, entry.latents, min_windows, recipe.strata, recipe.tune_share, recipe.seed, coder.name, most
        )
    else:
        drawn = chosen(counts, entry.indices, min_windows, recipe.strata, recipe.tune_share, most)
        left_out = {i: int(counts.windows[i]) for i in sorted({*entry.indices} - {*drawn.index.tolist()})}
    if not len(drawn.index):
        top = int(counts.windows.max(initial=0))
        cure = (
            "Lower min_windows, or give a longer corpus."
            if top < min_windows
            else "Lower min_windows or raise max_windows."
        )
        raise DataError(
            f"no latent of {coder.name} fires in {min_windows}{f' to {most}' if most else ''} windows; the most active one does "
            f"in {top} of {len(tiles.start)}. {cure}"
        )
    samples = []
    for index in drawn.index.tolist():
        positions, values = store.latent(coder.name, index)
        seeds = {f"{name}_seed": seed_for(name, recipe.seed, coder.name, index) for name in ("test", "explain")}
        samples.append(sample(positions, values, tiles, recipe.plan, **seeds, copies=copies))
        let_go(positions)
        let_go(values)
    samples = with_hard(
        recipe, Firing(table.indptr, table.position, table.value, tiles), coder, drawn, samples, pool, copies
    )
    directions = coder.direction(torch.from_numpy(drawn.index)).float().cpu()
    effects = promoted(loaded, directions, recipe.promoted, lens) if lens else Effects.none(len(directions))
    return CoderPart(coder, drawn, samples, directions, effects, left_out)


def _keep_recipe(recipe: SuiteRecipe, out_dir: Path) -> None:
    """Put the recipe beside the tables, unless it stands there already in a person's words."""
    file = out_dir / "recipe.yaml"
    if file.exists() and anchored_recipe(load_recipe(file), out_dir.resolve()) == recipe:
        return
    kept = recipe.model_dump(mode="json", exclude_unset=True)
    # Whoever names a corpus by its class in Python sets no kind, and without one the file could not be read.
    kept["corpus"]["kind"] = recipe.corpus.kind
    write_text(file, yaml.safe_dump(kept, sort_keys=False, allow_unicode=True))
