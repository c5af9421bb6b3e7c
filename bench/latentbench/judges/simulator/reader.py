"""A trained simulator's probabilities: the base runs behind computed prefixes, its heads read the windows.

The prefix of an explanation is computed once a call and read by all its windows; the windows of all explanations are batched
together. Nothing is kept between calls: a prefix costs a few dozen tokens, and with memory of earlier calls the rounding of an
answer would depend on what was asked before.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from latentbench.judges.simulator.artifact import Calibration, Scaling
from latentbench.judges.simulator.heads import Heads
from latentbench.judges.simulator.simulator_prompt import Range, per_token, prefix_ids, suffix_ids, window_ids
from latentbench.kernel.requests import Outcome, Reply
from latentbench.models.engine.engine import Engine, Piece
from latentbench.models.engine.prefix import Tokens, prefix_tree
from latentbench.models.engine.shared import SharedPrefixes, Work, batches, check
from latentbench.models.language_model import Loaded

NEVER = 1 << 30
"""Length that no prefix reaches, so that none is shared."""


@dataclass(frozen=True, slots=True)
class _Row:
    prefix: Tokens
    window: Tokens
    ranges: list[Range]
    whole: Tokens


class HeadsReader:
    """The reader of simulator questions: it runs the base with its adapter and turns the heads' outputs into probabilities.

    Numbers do not depend on the batch beyond floating-point rounding.

    Args:
        loaded: a base with the adapter merged whose output is the residual stream (`artifact.load_base`).
        heads: on any device; moved to the base's.
        calibration: logits to probabilities.
        batch: windows per forward pass.
        share: compute shared prefixes once; off only to measure what it is worth.
        memory: bytes for the keys and values of the prefixes of one call; a call that needs more is split.
    """

    def __init__(
        self, loaded: Loaded, heads: Heads, calibration: Calibration, batch: int, share: bool, memory: int
    ) -> None:
        self.tokenizer = loaded.tokenizer
        self.engine = Engine(loaded)
        self.heads = heads.to(loaded.device)
        self.calibration = calibration
        self.shared = SharedPrefixes(self.engine, 4096, 8 if share else NEVER, keep_tokens=0)
        self.batch, self.memory = batch, memory
        self._suffix = tuple(suffix_ids(self.tokenizer))

    def read(self, asked: Sequence[SimulatorWindow], stop: threading.Event) -> list[SimulatedWindow | Reply]:
        """One answer per question, in order; a failed `Reply` where there is none.

        Raises:
            Stopped: `stop` was set between two batches.
        """
        rows = self._rows(asked)
        out: list[SimulatedWindow | Reply] = [self._too_long(row) for row in rows]
        fits = [i for i, row in enumerate(rows) if len(row.whole) <= self.engine.context]
        for i, answer in zip(fits, self._read([rows[i] for i in fits], stop), strict=True):
            out[i] = answer
        return out

    def _rows(self, asked: Sequence[SimulatorWindow]) -> list[_Row]:
        prefixes = {z: tuple(prefix_ids(self.tokenizer, z)) for z in dict.fromkeys(a.explanation for a in asked)}
        windows = {w: window_ids(self.tokenizer, w) for w in dict.fromkeys(a.tokens for a in asked)}
        rows = []
        for a in asked:
            prefix, (pieces, ranges) = prefixes[a.explanation], windows[a.tokens]
            rows.append(_Row(prefix, tuple(pieces), ranges, prefix + tuple(pieces) + self._suffix))
        return rows

    def _too_long(self, row: _Row) -> Reply:
        rest = len(row.whole) - len(row.prefix)
        return Reply(
            Outcome.SKIPPED,
            error=f"an explanation of {len(row.prefix)} tokens and a window of {rest} do not fit the context of "
            f"{self.engine.context}; nothing was cut",
        )

    def _read(self, rows: Sequence[_Row], stop: threading.Event) -> list[SimulatedWindow]:
        if not rows:
            return []
        sequences, limits = [r.whole for r in rows], [len(r.prefix) for r in rows]
        tree = prefix_tree(sequences, limits, self.shared.least)
        if len(rows) > 1 and self.shared.bytes_per_token * sum(len(s.tokens) for s in tree.segments) > self.memory:
            return self._halves(rows, stop)
        works = self.shared.compute(tree, sequences, limits, stop)
        found: dict[int, SimulatedWindow] = {}
        for batch in self._batches(rows, works):
            check(stop)
            found.update(zip(batch, self._batch([rows[i] for i in batch], [works[i] for i in batch]), strict=True))
        return [found[i] for i in range(len(rows))]

    def _halves(self, rows: Sequence[_Row], stop: threading.Event) -> list[SimulatedWindow]:
        """Two calls instead of one, cut in sorted order so that most prefixes stay on one side."""
        order = sorted(range(len(rows)), key=lambda i: rows[i].whole)
        middle = len(order) // 2
        found = [
            *self._read([rows[i] for i in order[:middle]], stop),
            *self._read([rows[i] for i in order[middle:]], stop),
        ]
        return [answer for _, answer in sorted(zip(order, found, strict=True), key=lambda pair: pair[0])]

    def _batches(self, rows: Sequence[_Row], works: Sequence[Work]) -> list[list[int]]:
        """Rows of like length together."""
        return batches([len(r.whole) - w.start for r, w in zip(rows, works, strict=True)], NEVER, self.batch)

    @torch.inference_mode()
    def _batch(self, rows: Sequence[_Row], works: Sequence[Work]) -> list[SimulatedWindow]:
        done = self.engine.forward([Piece(w.chain, r.whole[w.start :]) for r, w in zip(rows, works, strict=True)])
        device = done.hidden.device
        # What is left of a prefix that nobody shares stands before the window.
        first = np.array([len(r.prefix) - w.start for r, w in zip(rows, works, strict=True)])
        length = np.array([len(r.window) + len(self._suffix) for r in rows])
        place = np.arange(length.max())[None]
        valid = torch.from_numpy(place < length[:, None]).to(device)
        at = torch.from_numpy(np.minimum(first[:, None] + place, done.hidden.shape[1] - 1)).to(device)
        hidden = done.hidden.gather(1, at[..., None].expand(-1, -1, done.hidden.shape[-1]))
        token, window = self.heads(hidden, valid, torch.from_numpy(length - 1).to(device))
        token_p = _probability(token, self.calibration.token)
        window_p = _probability(window, self.calibration.window)
        return [
            SimulatedWindow(
                tuple(per_token(token_p[n, : len(r.window)], r.ranges).tolist()),
                float(window_p[n]),
                len(r.whole),
                w.saved,
            )
            for n, (r, w) in enumerate(zip(rows, works, strict=True))
        ]


def _probability(logit: torch.Tensor, scaling: Scaling) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    p: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    p = torch.sigmoid(scaling.scale * logit.double() + scaling.bias).cpu().numpy()
    return p


@dataclass(frozen=True, slots=True)
class SimulatorWindow:
    """One window under one explanation.

    Attributes:
        explanation: z.
        tokens: the window's token strings; joined they are its text, which is not empty.
    """

    explanation: str
    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SimulatedWindow:
    """What a simulator says about one window.

    Attributes:
        tokens: p(active) per token.
        window: p(active) of the window.
        n: tokens of the base that the question has.
        saved: how many of them were not computed for it.
    """

    tokens: tuple[float, ...]
    window: float
    n: int
    saved: int
