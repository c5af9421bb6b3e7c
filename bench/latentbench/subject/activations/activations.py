"""Corpus -> activation store: the one pass of the subject that everything else reads.

The corpus is streamed in shards of a fixed number of contexts. Which contexts are in a shard depends on the corpus alone, not
on batch size, speed or restarts, so after a kill the finished shards are skipped and the rest gives the same bytes. Memory
holds one shard; a dense [tokens, latents] tensor exists for one slice of a batch at most. At the end shards are merged into
one latent-major table per coder, `meta.json` is written, and only then are the shards deleted. Workers of a cluster, where there
are any, compute whole shards (`shard_work`).
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from latentbench.corpora.contexts import Context, ContextSettings, Tally, contexts
from latentbench.corpora.corpus import corpus_identity, documents
from latentbench.corpora.corpus_spec import CorpusSpec
from latentbench.corpora.left_out import LeftOut
from latentbench.kernel.crew import hired
from latentbench.kernel.errors import RunError, SpecError
from latentbench.kernel.files import PART, write_json
from latentbench.kernel.inputs import read_json
from latentbench.models.language_model import Loaded
from latentbench.subject.activations.activation_store import EXPONENTS, FORMAT, ActivationStore
from latentbench.subject.activations.encode import BATCH, hookpoints
from latentbench.subject.activations.merge import merge
from latentbench.subject.activations.shard_work import ShardCrew, Source, shard_tables, subject_key
from latentbench.subject.activations.shards import MAX_LATENTS, MAX_SHARD_TOKENS, holds, write_shard
from latentbench.subject.coders.sparse import SparseCoder
from latentbench.subject.coders.start_token import check_positions
from latentbench.subject.hooks import Capture

SHARD = 128
"""Contexts per shard: some four seconds of work on a small CPU, and what a kill can lose."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Progress:
    """State of a pass, given to the callback after every shard.

    Attributes:
        documents: read so far.
        contexts: done so far, those found on disk included.
        tokens: done so far, in the contexts that count as done.
        reused: tokens that were found on disk.
        tokens_per_s: speed of this process; 0 before it has done any work.
    """

    documents: int
    contexts: int
    tokens: int
    reused: int
    tokens_per_s: float


OnProgress = Callable[[Progress], None]


def collect(
    loaded: Loaded,
    coders: Sequence[SparseCoder],
    corpus: CorpusSpec,
    out: Path,
    settings: ContextSettings | None = None,
    batch: int = BATCH,
    progress: OnProgress | None = None,
    shard: int = SHARD,
    source: Source | None = None,
) -> ActivationStore:
    """Run a corpus through the subject and the coders into a folder, or go on with a pass that was stopped.

    A finished folder of the same identity (weights, coders, corpus, lengths) is opened at once. `batch` is not part of the
    identity: it belongs to the machine, and moves floats in the last digits only.

    Args:
        loaded: the subject.
        coders: names must differ; each gets its own table.
        corpus: with paths that exist from here (`latentbench.corpora.corpus.anchored`).
        out: the store's folder.
        settings: context lengths; the default ones if None.
        batch: contexts per forward pass.
        progress: called after every shard.
        shard: contexts per shard.
        source: how workers load the subject and the coders; without it this process computes everything.

    Raises:
        EmptyCorpus, DataError: from the corpus.
        CoderError: an unknown hookpoint, or latents that are NaN or infinite.
        ModelError: the subject's own activations are.
        SpecError: coder names or lengths that cannot be used.
        RunError: the folder holds something else; the message says what differs.
    """
    settings = settings or ContextSettings()
    _check(loaded, coders, settings, shard)
    identity = _identity(loaded, coders, corpus_identity(corpus), settings, shard)
    if _claim(out, identity):
        return ActivationStore.open(out)
    tally, left_out = Tally(), LeftOut()
    stream = contexts(documents(corpus, left_out=left_out), loaded.tokenizer, settings, corpus.max_tokens, tally)
    (out / "shards").mkdir(exist_ok=True)
    groups = _numbered(stream, out / "shards", shard)
    crew = hired() if source is not None else None
    if crew is None or source is None:
        shards = _encode_shards(loaded, coders, groups, batch, tally, progress)
    else:
        workers = ShardCrew(crew, source, subject_key(loaded, coders), batch)
        shards = _given_out(workers, out / "shards", groups, tally, progress)
    entries = merge(out, shards, coders)
    meta = {
        "identity": identity,
        "subject": loaded.identity | {"device": loaded.device.type},
        "batch": batch,
        "counts": tally.as_dict(),
        "left_out": left_out.as_dict(),
        "entries": entries,
        "dtypes": {"tokens": "int32", "contexts": "int64", "indptr": "int64", "position": "uint32", "value": "float16"},
        "versions": {name: version(name) for name in ("latentbench", "torch", "transformers", "numpy")},
    }
    scaled = {c.name: n for c in coders if (n := _scaled_latents(out, c.name))}
    write_json(out / "meta.json", meta | ({"scaled": scaled} if scaled else {}))
    shutil.rmtree(out / "shards")
    return ActivationStore.open(out)


def _scaled_latents(out: Path, coder: str) -> int:
    """How many latents of a coder are stored under a power of two."""
    file = out / "coders" / coder / EXPONENTS
    return int(np.count_nonzero(np.load(file))) if file.exists() else 0


def _check(loaded: Loaded, coders: Sequence[SparseCoder], settings: ContextSettings, shard: int) -> None:
    names = [c.name for c in coders]
    if not names or len(set(names)) != len(names):
        raise SpecError(f"coders need names that differ, at least one; got: {', '.join(names) or 'none'}.")
    for coder in coders:
        if not _NAME.fullmatch(coder.name):
            raise SpecError(f"coder name {coder.name!r}: use letters, digits, dots, dashes and underscores only.")
        if coder.n_latents > MAX_LATENTS:
            raise SpecError(f"coder {coder.name!r} has {coder.n_latents} latents; the runner's limit is {MAX_LATENTS}.")
    if shard < 1 or shard * settings.context > MAX_SHARD_TOKENS:
        raise SpecError(
            f"{shard} contexts of {settings.context} tokens per shard; the limit is {MAX_SHARD_TOKENS} tokens."
        )
    check_positions(loaded, settings.context)


def _identity(
    loaded: Loaded, coders: Sequence[SparseCoder], corpus: str, settings: ContextSettings, shard: int
) -> dict[str, Any]:
    """What decides the store's content. The subject counts by its weights, not by the name it was loaded under."""
    return {
        "format": FORMAT,
        "weights": loaded.files.identity,
        "dtype": loaded.dtype,
        "bos": loaded.bos,
        "corpus": corpus,
        "context": settings.context,
        "min_context": settings.min_context,
        "shard": shard,
        "coders": {c.name: {"key": c.key, "hookpoint": c.hookpoint, "n_latents": c.n_latents} for c in coders},
    } | ({} if settings.control == "keep" else {"control_tokens": settings.control})


def _claim(out: Path, identity: dict[str, Any]) -> bool:
    """Make the folder ours. True: it is finished already.

    Raises:
        RunError: it holds a store of another identity, or something that is no store.
    """
    mark = out / "identity.json"
    # A pass that failed before its first shard (an empty corpus, a wrong hookpoint) must not bar the corrected one.
    started = (out / "meta.json").exists() or any((out / "shards").glob("*.safetensors"))
    if not mark.exists() or not started:
        if out.exists() and not mark.exists() and (not out.is_dir() or any(p.suffix != PART for p in out.iterdir())):
            raise RunError(f"{out} exists and is no activation store. Name another folder, or remove it.")
        out.mkdir(parents=True, exist_ok=True)
        write_json(mark, identity)
    try:
        found = read_json(mark)
    except (ValueError, OSError) as e:
        raise RunError(f"{mark} cannot be read: {e}. Remove the folder and run again.") from e
    if not isinstance(found, dict):
        raise RunError(f"{mark} holds no identity. Remove the folder and run again.")
    if found != identity:
        keys = [k for k in sorted({*found, *identity}) if found.get(k) != identity.get(k)]
        differences = "; ".join(f"{k}: {found.get(k)!r} there, {identity.get(k)!r} asked" for k in keys)
        raise RunError(f"{out} holds activations of something else ({differences}). Name another folder, or remove it.")
    if not (out / "meta.json").exists():
        return False
    shutil.rmtree(out / "shards", ignore_errors=True)
    return True


def _numbered(stream: Iterator[Context], folder: Path, size: int) -> Iterator[tuple[Path, list[Context]]]:
    """The shards of a corpus: file and contexts of each."""
    for number in count():
        if not (group := list(islice(stream, size))):
            return
        yield folder / f"{number:06d}.safetensors", group


def _encode_shards(
    loaded: Loaded,
    coders: Sequence[SparseCoder],
    groups: Iterator[tuple[Path, list[Context]]],
    batch: int,
    tally: Tally,
    progress: OnProgress | None,
) -> list[Path]:
    """Write the shards that are missing; all shards in corpus order."""
    paths: list[Path] = []
    reused, done, spent = 0, 0, 0.0
    with Capture(loaded, hookpoints(coders)) as session:
        for path, group in groups:
            tokens = sum(len(c.ids) for c in group)
            if holds(path, group):
                reused += tokens
            else:
                start = time.monotonic()
                write_shard(path, group, shard_tables(session, coders, group, batch))
                spent, done = spent + time.monotonic() - start, done + tokens
            paths.append(path)
            if progress is not None:
                rate = done / spent if spent else 0.0
                progress(Progress(tally.documents, tally.contexts, tally.tokens, reused, rate))
    return paths


def _given_out(
    workers: ShardCrew,
    folder: Path,
    groups: Iterator[tuple[Path, list[Context]]],
    tally: Tally,
    progress: OnProgress | None,
) -> list[Path]:
    """Have workers write the shards that are missing; all shards in corpus order. What is given out counts as done."""
    paths: list[Path] = []
    reused = 0
    with workers.working(folder):
        for path, group in groups:
            if holds(path, group):
                reused += sum(len(c.ids) for c in group)
            else:
                workers.add(path, group)
            paths.append(path)
            if progress is not None:
                progress(Progress(tally.documents, tally.contexts, tally.tokens, reused, workers.rate))
    return paths
