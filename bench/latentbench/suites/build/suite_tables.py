"""Drawn latents and sampled windows -> the two tables of a suite.

Columns are put together from flat arrays; a token string is stored once per distinct string until the last step. The windows of
a suite of a hundred thousand latents are hundreds of millions of tokens, so their table is made some latents at a time, and each
distinct window of the corpus is decoded once for all latents that share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from latentbench.kernel.kinds import SILENT
from latentbench.kernel.tables import LATENTS, WINDOWS
from latentbench.subject.coders.sparse import SparseCoder
from latentbench.suites.build.draw import LatentDraw
from latentbench.suites.build.promoted import Effects
from latentbench.suites.build.sampling import EXPLAIN, TEST, Ints, Tiles, WindowPlan, WindowSample
from latentbench.suites.build.token_strings import CUT, TokenStrings

GROUP = 4096
"""Windows decoded at a time, and in a table at most, unless a single latent has more."""


@dataclass(frozen=True)
class CoderPart:
    """One coder's part of a suite.

    Attributes:
        coder: the coder.
        drawn: its latents.
        samples: windows of each of them.
        directions: decoder rows, float32 [n, d].
        effects: tokens promoted and suppressed by each.
        left_out: latents that the recipe names and that do not qualify, with the windows in which they fire.
    """

    coder: SparseCoder
    drawn: LatentDraw
    samples: Sequence[WindowSample]
    directions: torch.Tensor
    effects: Effects
    left_out: Mapping[int, int] = field(default_factory=dict)

    def ids(self) -> list[str]:
        """Latent ids, `coder/index`."""
        return [f"{self.coder.name}/{i}" for i in self.drawn.index.tolist()]


def latent_table(parts: Sequence[CoderPart], plan: WindowPlan, strings: TokenStrings) -> pa.Table:
    """One row per latent: coders in the order given, latents by index.

    Args:
        parts: of every coder.
        plan: what was asked for.
        strings: of the subject's tokenizer.
    """
    columns: dict[str, list[Any]] = {name: [] for name in LATENTS.names}
    for part in parts:
        for i, (latent, s) in enumerate(zip(part.ids(), part.samples, strict=True)):
            row = {
                "latent": latent,
                "coder": part.coder.name,
                "index": int(part.drawn.index[i]),
                "coder_kind": part.coder.kind,
                "hookpoint": part.coder.hookpoint,
                "split": "tune" if part.drawn.tune[i] else "test",
                "stratum": int(part.drawn.stratum[i]),
                "rate_token": s.rate_token,
                "rate_context": s.rate_context,
                "max_activation": s.max,
                "edges": s.edges.astype(np.float32),
                "asked_explain": plan.explain,
                "got_explain": s.count(EXPLAIN, True),
                "asked_positive": plan.positives,
                "got_positive": s.count(TEST, True),
                "asked_negative": plan.negatives,
                "got_negative": s.count(TEST, False),
                "direction": part.directions[i].numpy().astype(np.float16),
                "promoted": [strings.one(t) for t in part.effects.promoted[i]],
                "suppressed": [strings.one(t) for t in part.effects.suppressed[i]],
                "truth": None,
            }
            for name, value in row.items():
                columns[name].append(value)
    return pa.table({f.name: pa.array(columns[f.name], f.type) for f in LATENTS}, schema=LATENTS)


class WindowTables:
    """The windows, one row each, in tables of whole latents, latent after latent: explain windows strongest first, then test
    windows by position. To be gone through once.

    Args:
        parts: of every coder.
        tokens: of the corpus [tokens].
        tiles: the tiling of the corpus.
        strings: of the subject's tokenizer.
    """

    def __init__(
        self, parts: Sequence[CoderPart], tokens: NDArray[np.int32], tiles: Tiles, strings: TokenStrings
    ) -> None:
        self._parts, self._tokens, self._tiles = parts, tokens, tiles
        self._decoded = _DecodedWindows(tokens, tiles.window, strings)
        self.tokens_cut = 0
        """Tokens so far that show U+FFFD, mostly of characters that the windows cut."""

    def __iter__(self) -> Iterator[pa.Table]:
        group: list[tuple[str, WindowSample]] = []
        rows = 0
        for part in self._parts:
            for latent, found in zip(part.ids(), part.samples, strict=True):
                if group and rows + len(found.start) > GROUP:
                    yield self._table(group)
                    group, rows = [], 0
                group.append((latent, found))
                rows += len(found.start)
        if group:
            yield self._table(group)

    def _table(self, group: Sequence[tuple[str, WindowSample]]) -> pa.Table:
        samples, window = [s for _, s in group], self._tiles.window
        start = np.concatenate([s.start for s in samples])
        role = np.concatenate([s.role for s in samples])
        decile = np.concatenate([s.decile for s in samples])
        cuts = pa.array(np.arange(len(start) + 1) * window, pa.int32())
        codes = self._decoded.of(start).ravel()
        self.tokens_cut += int(self._decoded.cut[codes].sum())

        def lists(flat: pa.Array) -> pa.Array:
            return pa.ListArray.from_arrays(cuts, flat)

        columns = {
            "latent": _named(
                np.repeat(np.arange(len(group)), [len(s.start) for s in samples]), [latent for latent, _ in group]
            ),
            "role": _named(role, ["explain", "test"]),
            "kind": _named(decile + len(SILENT), [*reversed(SILENT), *(f"quantile:{d}" for d in range(10))]),
            "ids": lists(pa.array(self._tokens[start[:, None] + np.arange(window)].ravel(), pa.int32())),
            "tokens": lists(pa.DictionaryArray.from_arrays(codes, self._decoded.strings).dictionary_decode()),
            "activations": lists(pa.array(np.concatenate([s.activations for s in samples]).ravel(), pa.float16())),
            "position": pa.array(start, pa.int64()),
            "context": pa.array(np.searchsorted(self._tiles.offsets, start, side="right") - 1, pa.int64()),
        }
        return pa.table({f.name: columns[f.name] for f in WINDOWS}, schema=WINDOWS)


def _named(codes: NDArray[np.integer[Any]], names: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32)), pa.array(names, pa.string())
    ).dictionary_decode()


class _DecodedWindows:
    """Windows of a corpus as codes of token strings; those that several latents share are decoded once."""

    def __init__(self, tokens: NDArray[np.int32], window: int, strings: TokenStrings) -> None:
        self._tokens, self._window, self._decoder = tokens, window, strings
        self._known: dict[str, int] = {}
        self._place = np.full(len(tokens), -1, np.int32)
        self._codes = np.zeros((0, window), np.int32)
        self._filled = 0
        self.strings: pa.Array = pa.array([], pa.string())
        """Strings by their code."""
        self.cut: NDArray[np.bool_] = np.zeros(0, np.bool_)
        """Which of them hold U+FFFD."""

    def of(self, start: Ints) -> NDArray[np.int32]:
        """Codes of the strings of windows [m, window]; `strings` and `cut` then say what they mean."""
        new = np.unique(start[self._place[start] < 0])
        for at in range(0, len(new), GROUP):
            self._decode(new[at : at + GROUP])
        if len(self.strings) < len(self._known):
            self.strings = pa.array(list(self._known), pa.string())
            self.cut = np.array([CUT in s for s in self._known], np.bool_)
        found: NDArray[np.int32] = self._codes[self._place[start]]
        return found

    def _decode(self, start: Ints) -> None:
        rows = np.arange(self._filled, self._filled + len(start))
        if rows[-1] >= len(self._codes):
            more = np.zeros((max(len(self._codes), GROUP), self._window), np.int32)
            self._codes = np.concatenate([self._codes, more])
        ids = self._tokens[start[:, None] + np.arange(self._window)].tolist()
        for row, decoded in zip(rows.tolist(), self._decoder.of(ids), strict=True):
            self._codes[row] = [self._known.setdefault(s, len(self._known)) for s in decoded]
        self._place[start] = rows
        self._filled += len(start)
