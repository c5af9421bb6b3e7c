"""What is computed of a shard, in this process or by workers of a Ray cluster.

A worker gets the contexts of a whole shard, so its batches, and with them every bit, are those of a pass without workers. It
writes the shard itself where it sees the folder, and sends the tables back where it does not; either way this process finds
complete files, and merges them as if it had made them. Fewer contexts at a time would use more workers on a small corpus, and
would give other batches.

The subject and the coders are loaded by each worker from what they were loaded from here (`Source`): weights do not travel, and
what is loaded there must have the identity of what is loaded here.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from latentbench.corpora.contexts import Context
from latentbench.kernel.crew import Crew
from latentbench.kernel.errors import RunError
from latentbench.kernel.identity import digest
from latentbench.models.language_model import Loaded
from latentbench.subject.activations.encode import encoded, hookpoints
from latentbench.subject.activations.shards import Packed, Table, Wide, pack, unpack, write_shard
from latentbench.subject.coders.sparse import SparseCoder
from latentbench.subject.hooks import Capture

Tables = dict[str, Table]
"""Name of a coder -> its table of a shard."""


@dataclass(frozen=True)
class Source:
    """How another process loads the subject and the coders.

    Attributes:
        load: function of a module, or `functools.partial` of one, that returns them; equal sources are loaded once.
        words: what tells this source from another.
    """

    load: Callable[[], tuple[Loaded, Sequence[SparseCoder]]] = field(compare=False)
    words: str


def subject_key(loaded: Loaded, coders: Sequence[SparseCoder]) -> str:
    """Digest of all that decides a shard's tables but its contexts and its batches."""
    return digest(
        [loaded.files.identity, loaded.dtype, loaded.bos, [[c.name, c.key, c.hookpoint, c.n_latents] for c in coders]]
    )


def shard_tables(session: Capture, coders: Sequence[SparseCoder], contexts: Sequence[Context], batch: int) -> Tables:
    """The tables of a shard.

    Args:
        session: open, on the hookpoints of the coders.
        contexts: all contexts of the shard, in order.
        batch: contexts per forward pass.
    """
    packed: dict[str, list[tuple[Packed, Wide]]] = {c.name: [] for c in coders}
    for name, found in encoded(session, coders, [c.ids for c in contexts], batch):
        packed[name].append(pack(found, name))
    return {c.name: joined_table(packed.pop(c.name), c.n_latents) for c in coders}


def joined_table(parts: Sequence[tuple[Packed, Wide]], n_latents: int) -> Table:
    """The table of one coder from the entries of its batches."""
    places, values = (np.concatenate([wide[i] for _, wide in parts]) for i in (0, 1))
    return unpack(np.concatenate([entries for entries, _ in parts]), n_latents, (places, values))


class ShardCrew:
    """Shards that workers compute: at most two for each are under way, one of them waiting.

    Args:
        crew: who computes.
        source, key: what they load, and its `subject_key`.
        batch: contexts per forward pass.
    """

    def __init__(self, crew: Crew, source: Source, key: str, batch: int) -> None:
        self.crew, self.source, self.key, self.batch = crew, source, key, batch
        self._waiting: dict[Future[Tables | None], tuple[Path, Sequence[Context]]] = {}
        self._mark: Path | None = None
        self.tokens, self._since = 0, time.monotonic()

    @property
    def rate(self) -> float:
        """Tokens a second, of all workers together."""
        return self.tokens / max(1e-9, time.monotonic() - self._since)

    @contextmanager
    def working(self, folder: Path) -> Iterator[ShardCrew]:
        """A pass into a folder; at its end every shard that was added is on disk."""
        self._mark = folder.resolve() / f"seen-{secrets.token_hex(8)}"
        self._mark.touch()
        try:
            yield self
            while self._waiting:
                self._settle()
        finally:
            for future in self._waiting:
                future.cancel()
            self._mark.unlink(missing_ok=True)

    def add(self, path: Path, contexts: Sequence[Context]) -> None:
        """Have a shard computed; waits while there are many already."""
        if self._mark is None:
            raise RunError("shards are added inside of `working`.")
        while len(self._waiting) >= 2 * self.crew.size:
            self._settle()
        what = (self.source, self.key, list(contexts), self.batch, path.resolve(), self._mark)
        self._waiting[self.crew.submit(work_shard, *what)] = (path, contexts)

    def _settle(self) -> None:
        for future in wait(self._waiting, return_when=FIRST_COMPLETED).done:
            path, contexts = self._waiting.pop(future)
            tables = future.result()
            if tables is not None:
                write_shard(path, contexts, tables)
            self.tokens += sum(len(c.ids) for c in contexts)


@lru_cache(maxsize=1)
def _loaded(source: Source) -> tuple[Loaded, Sequence[SparseCoder]]:
    """The subject and the coders of this worker; those before are let go."""
    return source.load()


def work_shard(
    source: Source, key: str, contexts: Sequence[Context], batch: int, path: Path, mark: Path
) -> Tables | None:
    """Compute a shard in this worker.

    Args:
        key: of what must be loaded.
        path: the shard's file, written if `mark` is there.

    Returns:
        The tables, if nothing was written.

    Raises:
        RunError: the source gives something else here.
    """
    loaded, coders = _loaded(source)
    if subject_key(loaded, coders) != key:
        raise RunError(
            f"a worker loads another subject or other coders than this process: {loaded.files.reference} in {loaded.dtype}, "
            f"weights {loaded.files.identity}. Name the number type in the recipe, and give every machine the same files"
        )
    with Capture(loaded, hookpoints(coders)) as session:
        tables = shard_tables(session, coders, contexts, batch)
    if not mark.exists():
        return tables
    write_shard(path, contexts, tables)
    return None
