"""Suites of studies: a profile's suite, with changes to its recipe, built once under a digest of everything in it.

A study never edits a frozen suite. A changed recipe is another suite with a folder named by its content (settings, text, weights
of the coders), so two studies that need the same change share one build, and a retrained coder is not mistaken for the old
one. Activations are kept by the ordinary suite builder: changes of sampling alone need no second pass of the subject.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from latentbench.corpora.corpus import corpus_identity
from latentbench.corpora.corpus_files import files, read_lines
from latentbench.corpora.corpus_spec import JsonlCorpus
from latentbench.kernel.config import validate
from latentbench.kernel.errors import DataError, SpecError
from latentbench.kernel.files import write_text
from latentbench.kernel.identity import digest, file_sha256, seed_for
from latentbench.kernel.tasks import find
from latentbench.lab.studies.study_spec import ProfileSuite
from latentbench.models.source import resolve
from latentbench.subject.coders.coder_spec import coder_folder
from latentbench.subject.coders.folder import CONFIG, weights_file
from latentbench.subject.coders.saelens import WEIGHTS
from latentbench.suites.build.suite_recipe import CoderEntry, SuiteRecipe, anchored_recipe, load_recipe
from latentbench.suites.store import MANIFEST
from latentbench.views.terminal import tell

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt")


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `change`: mappings are merged, everything else is replaced.

    A mapping of another `kind` (a corpus from another place) replaces the old one whole: its keys would not fit.
    """
    found = dict(base)
    for key, value in change.items():
        old = found.get(key)
        same = (
            isinstance(old, Mapping)
            and isinstance(value, Mapping)
            and value.get("kind", old.get("kind")) == old.get("kind")
        )
        found[key] = merged(old, value) if same and isinstance(old, Mapping) else value
    return found


def recipe_of(
    entry: ProfileSuite,
    change: Mapping[str, Any],
    work: Path,
    keep: Mapping[str, str] | None = None,
    random_subject: bool = False,
    random_coders: bool = False,
    indices: Mapping[str, Sequence[int]] | None = None,
) -> SuiteRecipe:
    """The recipe of a suite with changes, with paths that exist from here.

    Args:
        entry: of the profile.
        change: of the level, after those of the entry.
        work: for derived text and subjects.
        keep: see `Level.keep`.
        random_subject, random_coders: see `Level`.
        indices: coder -> the latents to take. A coder that is not named keeps one latent: without it the suite would need a pass
            of the subject of its own, because activations are kept per set of coders.

    Raises:
        SpecError: the changed recipe does not fit.
        DataError: `keep` leaves no document.
    """
    folder = find("suites", entry.use)
    folder = folder.parent if folder.is_file() else folder
    base = anchored_recipe(load_recipe(folder / "recipe.yaml"), folder.resolve())
    data = merged(merged(base.model_dump(mode="json", exclude_unset=True), entry.change), change)
    recipe = validate(SuiteRecipe, {**data, "name": base.name}, f"changed recipe of {entry.use}")
    if keep:
        recipe = recipe.model_copy(update={"corpus": _kept(recipe.corpus, keep, work / "corpora")})
    if random_subject:
        model = str(random_weights(recipe.subject.model, recipe.seed, work / "subjects"))
        recipe = recipe.model_copy(update={"subject": recipe.subject.model_copy(update={"model": model})})
    if random_coders:
        places = {c.coder.path: c.coder for c in recipe.coders if c.coder.path is not None}
        made = {path: str(permuted_coder(path, recipe.seed, work / "coders")) for path in places}
        recipe = recipe.model_copy(update={"coders": tuple(_moved(c, made) for c in recipe.coders)})
    if indices is not None:
        if not {c.coder.name for c in recipe.coders} & set(indices):
            raise SpecError(f"the suite {entry.use} has none of the coders {sorted(indices)}.")
        recipe = recipe.model_copy(update={"coders": tuple(_taken(c, indices) for c in recipe.coders)})
    return recipe


def _moved(entry: CoderEntry, made: Mapping[str, str]) -> CoderEntry:
    if entry.coder.path is None:
        return entry
    return entry.model_copy(update={"coder": entry.coder.model_copy(update={"path": made[entry.coder.path]})})


def _taken(entry: CoderEntry, indices: Mapping[str, Sequence[int]]) -> CoderEntry:
    own = tuple(indices.get(entry.coder.name, ()))
    return entry.model_copy(update={"latents": len(own), "indices": own} if own else {"latents": 1})


def build(recipe: SuiteRecipe, suites: Path, activations: Path | None, console: Console) -> Path:
    """The folder of a recipe's suite, built if it is not there.

    Args:
        suites: folder of built suites.
        activations: as `work_dir` of `build_suite`.
    """
    from latentbench.suites.build.build import build_suite

    key = identity(recipe)
    folder = suites / f"{recipe.name}-{key}"
    if (folder / MANIFEST).exists():
        return folder
    named = recipe.model_copy(update={"name": f"{recipe.name}-{key[:8]}", "version": "1-0"})
    tell(console, f"building suite {named.name}")
    build_suite(named, folder, activations)
    return folder


LATER: Mapping[str, object] = {"bos": "auto", "copies": "kept"}
"""Keys that recipes got after the first studies were published, and what suites of before are built with. A key that says so has
no part in the identity, so that suites keep their names. It need not be the default (`latentbench.kernel.later`): new suites keep
copies apart."""


def identity(recipe: SuiteRecipe) -> str:
    """Digest of everything that can change the suite: settings, text, and files of the coders."""
    weights = {}
    for entry in recipe.coders:
        for place in (entry.coder.path, entry.coder.centre):
            if place is not None:
                weights[place] = sorted((p.name, file_sha256(p)) for p in coder_folder(place).iterdir() if p.is_file())
    settings = recipe.model_dump(mode="json", exclude={"corpus"})
    for name, value in LATER.items():
        if settings[name] == value:
            del settings[name]
    return digest([settings, corpus_identity(recipe.corpus), weights])


def _kept(corpus: Any, keep: Mapping[str, str], folder: Path) -> JsonlCorpus:
    """The documents of a JSONL corpus whose fields match, as a file of their own."""
    if not isinstance(corpus, JsonlCorpus):
        raise SpecError("`keep` chooses documents by their fields, which only a corpus of kind jsonl has.")
    try:
        patterns = {name: re.compile(pattern) for name, pattern in keep.items()}
    except (re.error, RecursionError, OverflowError) as e:
        raise SpecError(f"`keep` has a pattern that is no regular expression: {e}.") from e
    path = folder / f"{digest([corpus_identity(corpus), dict(keep)])}.jsonl"
    if not path.exists():
        lines = []
        for file in files(corpus.path):
            # The lines as they are and not written anew: their bytes are the identity of the corpus that is kept.
            for _, row, line in read_lines(file):
                if row and all(p.search(str(row.get(name, ""))) for name, p in patterns.items()):
                    lines.append(line if line.endswith("\n") else line + "\n")
        if not lines:
            raise DataError(f"no document of {', '.join(corpus.path)} has {dict(keep)}.")
        write_text(path, "".join(lines))
    return corpus.model_copy(update={"path": (str(path.resolve()),)})


def permuted_coder(path: str, seed: int, folder: Path) -> Path:
    """Make, once, a folder of a SAELens coder with random weights: the entries of each matrix in another order, the biases kept.

    So the coder has the size, the sparsity and the distribution of weights of the trained one, and nothing that training found.
    Gaussian weights of some scale would be a choice of that scale. Its recorded quality is left out: it is another coder's.

    Args:
        path: as in `CoderSpec.path`.
        seed: of the order.
        folder: where such folders are kept.

    Raises:
        CoderError: the folder holds no SAELens coder.
    """
    import numpy as np
    from safetensors.numpy import load_file, save_file

    source = coder_folder(path)
    weights = weights_file(source, (WEIGHTS,))
    made = folder / f"random-{digest([file_sha256(weights), seed])}"
    if made.exists():
        return made.resolve()
    tensors = load_file(weights)
    rng = np.random.default_rng(seed_for("random coder", seed))
    drawn = {k: rng.permutation(v.ravel()).reshape(v.shape) if v.ndim > 1 else v for k, v in sorted(tensors.items())}
    part = made.with_name(made.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_file(drawn, part / WEIGHTS)
    shutil.copy(source / CONFIG, part / CONFIG)
    part.replace(made)
    return made.resolve()


def random_weights(model: str, seed: int, folder: Path) -> Path:
    """Make, once, a model folder with random weights: a real architecture and tokenizer, knowing nothing.

    What an explanation pipeline finds in it is structure of the text and of the architecture, not of anything learnt.

    Args:
        model: reference whose configuration and tokenizer are taken.
        seed: of the weights.
        folder: where such folders are kept.

    Raises:
        ModelError: the model cannot be had.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    files = resolve(model)
    made = folder / f"random-{digest([files.identity, seed])}"
    if made.exists():
        return made.resolve()
    config = AutoConfig.from_pretrained(files.folder, trust_remote_code=False)
    # The initialisation draws from the process-wide generator, which is given back as it was.
    with torch.random.fork_rng():
        # A seed of its own: a subject that was itself initialised from 0, 1, ... must not come out again.
        torch.manual_seed(seed_for("random subject", seed))
        drawn = AutoModelForCausalLM.from_config(config)
    part = made.with_name(made.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    drawn.save_pretrained(part)
    for name in TOKENIZER:
        if (files.folder / name).exists():
            shutil.copy(files.folder / name, part / name)
    part.replace(made)
    return made.resolve()
