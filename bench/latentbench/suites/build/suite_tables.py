"""Drawn latents and sampled windows -> the two tables of a suite.

Columns are put together from flat arrays; a token string is stored once per distinct string until the last step. A suite of ten
thousand latents has 77 million tokens, and as many Python strings would not fit where the tables easily do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from latentbench.suites.build.token_strings import TokenStrings

GROUP = 4096
"""Windows decoded at a time."""


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


def window_table(
    parts: Sequence[CoderPart], tokens: NDArray[np.int32], tiles: Tiles, strings: TokenStrings
) -> pa.Table:
    """One row per window, latent after latent: explain windows strongest first, then test windows by position.

    Args:
        parts: of every coder.
        tokens: of the corpus [tokens].
        tiles: the tiling of the corpus.
        strings: of the subject's tokenizer.
    """
    samples = [s for part in parts for s in part.samples]
    start = np.concatenate([s.start for s in samples])
    role = np.concatenate([s.role for s in samples])
    decile = np.concatenate([s.decile for s in samples])
    latents = [latent for part in parts for latent in part.ids()]
    cuts = pa.array(np.arange(len(start) + 1) * tiles.window, pa.int32())

    def lists(flat: pa.Array) -> pa.Array:
        return pa.ListArray.from_arrays(cuts, flat)

    columns = {
        "latent": _named(np.repeat(np.arange(len(samples)), [len(s.start) for s in samples]), latents),
        "role": _named(role, ["explain", "test"]),
        "kind": _named(decile + len(SILENT), [*reversed(SILENT), *(f"quantile:{d}" for d in range(10))]),
        "ids": lists(pa.array(tokens[start[:, None] + np.arange(tiles.window)].ravel(), pa.int32())),
        "tokens": lists(_strings(start, tokens, tiles.window, strings)),
        "activations": lists(pa.array(np.concatenate([s.activations for s in samples]).ravel(), pa.float16())),
        "position": pa.array(start, pa.int64()),
        "context": pa.array(np.searchsorted(tiles.offsets, start, side="right") - 1, pa.int64()),
    }
    return pa.table({f.name: columns[f.name] for f in WINDOWS}, schema=WINDOWS)


def _named(codes: NDArray[np.integer[Any]], names: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32)), pa.array(names, pa.string())
    ).dictionary_decode()


def _strings(start: Ints, tokens: NDArray[np.int32], window: int, strings: TokenStrings) -> pa.Array:
    """Token strings of all windows one after another; windows that several latents share are decoded once."""
    distinct, inverse = np.unique(start, return_inverse=True)
    codes = np.zeros((len(distinct), window), dtype=np.int32)
    known: dict[str, int] = {}
    for at in range(0, len(distinct), GROUP):
        ids = tokens[distinct[at : at + GROUP, None] + np.arange(window)].tolist()
        for row, decoded in enumerate(strings.of(ids), at):
            codes[row] = [known.setdefault(s, len(known)) for s in decoded]
    return _named(codes[inverse].ravel(), list(known))
