"""A source whose windows are all there is: token strings with activations, kept until latents are drawn.

A row is checked here, whatever file it comes from, so that every reader says the same of the same fault. What is wrong with
the form of a row (a text in the place of a number) ends the import with file and line; what is wrong with its content (a
number that is not finite) leaves the window out, counted and named once, because one such window in a million is no reason to
import nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from latentbench.kernel.errors import DataError
from latentbench.kernel.inputs import MIB, most, too_large
from latentbench.suites.build.sampling import Ints, WindowPlan
from latentbench.suites.imported.foreign_latent import (
    About,
    ForeignLatent,
    ForeignWindow,
    Ids,
    Omission,
    Role,
    Silence,
    Values,
)
from latentbench.suites.imported.token_spelling import Spelling, as_text, spelling_of

TOKENS = 256 * MIB
"""Tokens of all windows together; with their activations they take twelve bytes each."""
LONGEST = 1 << 16
"""Tokens of one window."""
INDEX = (1 << 31) - 1
"""Largest coordinate of a latent."""


@dataclass(frozen=True)
class Cutting:
    """How windows are cut to size before anything is drawn.

    Attributes:
        window: tokens that are kept around the peak; None keeps all.
        silent_below: activations up to this share of the latent's largest one count as silence.
    """

    window: int | None = None
    silent_below: float = 0.0


@dataclass(frozen=True)
class Known:
    """What a source says of a latent beside its windows; see `ForeignLatent`."""

    rate_token: float | None = None
    promoted: tuple[str, ...] = ()
    suppressed: tuple[str, ...] = ()
    max: float | None = None


@dataclass
class Collected:
    """Rows as they come in.

    Attributes:
        wanted: coordinates of the latents to keep; all if None.
        tally: what was left out.
    """

    wanted: frozenset[int] | None = None
    tally: Omission = field(default_factory=Omission)
    _numbers: dict[str, int] = field(default_factory=dict)
    _windows: dict[int, list[ForeignWindow]] = field(default_factory=dict)
    _tokens: int = 0

    @property
    def latents(self) -> frozenset[int]:
        """Coordinates of the latents that have windows."""
        return frozenset(self._windows)

    def wants(self, latent: int) -> bool:
        """Whether rows of a latent are kept."""
        return self.wanted is None or latent in self.wanted

    def add(
        self,
        latent: int,
        tokens: object,
        values: object,
        where: str,
        *,
        role: Role | None = None,
        bin: float | None = None,
        document: str | None = None,
        kind: str = "",
    ) -> None:
        """Keep a row, if its latent is wanted and its activations are numbers.

        Args:
            tokens, values: as they stand in the file.
            where: file and line, for messages.

        Raises:
            DataError: they are no texts and numbers, as many of one as of the other, or are too many.
        """
        if not self.wants(latent):
            return
        if not isinstance(tokens, list) or not all(isinstance(t, str) for t in tokens):
            raise DataError(f"{where}: the tokens are not a list of texts.")
        if not isinstance(values, list) or not all(_number(v) for v in values):
            raise DataError(f"{where}: the activations are not a list of numbers.")
        if len(tokens) != len(values):
            raise DataError(
                f"{where}: {len(tokens)} tokens have {len(values)} activations; there must be one for each."
            )
        if len(tokens) > most(LONGEST):
            raise DataError(f"{where}: {too_large('a window of tokens', len(tokens), most(LONGEST))}.")
        if not "".join(tokens).strip():
            self.tally.add("windows without text were left out", where)
            return
        numbers: Values = np.array(values, np.float64)
        if not np.isfinite(numbers).all():
            self.tally.add("windows with an activation that is not finite were left out", where)
            return
        negative = int((numbers < 0).sum())
        if negative:
            self.tally.add("negative activations count as silence", where, negative)
            numbers = np.maximum(numbers, 0.0)
        if kind and numbers.any():
            raise DataError(f"{where}: a window of kind {kind!r} fires; only a silent one has that kind.")
        self._tokens += len(tokens)
        if self._tokens > most(TOKENS):
            raise DataError(
                f"{where}: {too_large('what was read so far, in tokens,', self._tokens, most(TOKENS))}, or choose latents "
                "(--index)."
            )
        ids: Ids = np.array([self._numbers.setdefault(t, len(self._numbers)) for t in tokens], np.int32)
        window = ForeignWindow(ids, numbers, role, bin, None, document, kind)
        self._windows.setdefault(latent, []).append(window)

    def source(self, about: About, cutting: Cutting, known: Mapping[int, Known] | None = None) -> HeldWindows:
        """The source of everything that was kept; what was left out is added to what it says of itself."""
        return HeldWindows(about, self, cutting, known or {})


class HeldWindows:
    """A `ForeignSource` of windows in memory.

    Raises:
        DataError: no window was read.
    """

    def __init__(self, about: About, rows: Collected, cutting: Cutting, known: Mapping[int, Known]) -> None:
        if not rows._windows:
            only = " for the latents that were asked for (--index)" if rows.wanted is not None else ""
            raise DataError(f"{about.place}: no window with activations{only}.")
        self._names = list(rows._numbers)
        self._spelling = spelling_of(self._names)
        self._written = spelling_of(t for k in known.values() for t in (*k.promoted, *k.suppressed))
        self._known = known
        self._latents = {
            index: _sized(index, rows._windows.pop(index), cutting, rows.tally) for index in sorted(rows._windows)
        }
        self.index: Ints = np.array(list(self._latents), np.int64)
        self.activating: Ints = np.array([sum(w.max > 0 for w in ws) for ws in self._latents.values()], np.int64)
        rates = [known[i].rate_token if i in known else None for i in self._latents]
        # A rate becomes a count so that strata are drawn as for every other suite.
        self.firing: Ints | None = (
            None if any(r is None for r in rates) else np.array([round(1e12 * (r or 0.0)) for r in rates], np.int64)
        )
        silent = any(w.max <= 0 for windows in self._latents.values() for w in windows)
        silence: Silence = "none" if about.silence == "given" and not silent else about.silence
        said = dict(about.said)
        if self._spelling is not Spelling.PLAIN:
            said["tokens"] = f"written as a {self._spelling} vocabulary spells them; read as text"
        self.about = replace(about, said=said, silence=silence, omitted=(*about.omitted, *rows.tally.said()))

    def latent(self, place: int, plan: WindowPlan, seed: int) -> ForeignLatent:
        """The latent with all its windows; plan and seed choose nothing here."""
        index = int(self.index[place])
        known = self._known.get(index, Known())
        return ForeignLatent(
            index,
            tuple(self._latents[index]),
            rate_token=known.rate_token,
            promoted=self._single(known.promoted),
            suppressed=self._single(known.suppressed),
            max=known.max,
        )

    def strings(self, windows: Sequence[Sequence[int]]) -> list[tuple[str, ...]]:
        """Token strings; those of a vocabulary as the text that they mean."""
        return [as_text([self._names[i] for i in ids], self._spelling) for ids in windows]

    def _single(self, tokens: Sequence[str]) -> tuple[str, ...]:
        return tuple(as_text([token], self._written)[0] for token in tokens)


def _sized(index: int, windows: list[ForeignWindow], cutting: Cutting, tally: Omission) -> list[ForeignWindow]:
    """Windows cut to size, each text once; the copy that fires more strongly stays."""
    threshold = cutting.silent_below * max((w.max for w in windows), default=0.0)
    kept: dict[bytes, ForeignWindow] = {}
    for w in windows:
        values = np.where(w.values > threshold, w.values, 0.0)
        part = _part(values, cutting.window)
        cut = ForeignWindow(w.ids[part], values[part], w.role, w.bin, None, w.document, w.kind)
        other = kept.get(cut.text)
        if other is not None:
            tally.add("windows were left out that stand there twice for a latent", f"latent {index}")
        if other is None or other.max < cut.max:
            kept[cut.text] = cut
    return list(kept.values())


def _part(values: Values, window: int | None) -> slice:
    """The `window` tokens around the peak; around the middle of a silent window."""
    n = len(values)
    if window is None or n <= window:
        return slice(0, n)
    centre = int(values.argmax()) if values.any() else n // 2
    start = min(max(0, centre - window // 2), n - window)
    return slice(start, start + window)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def whole_index(value: object, where: str) -> int:
    """A coordinate of a latent, written as a number or as its digits.

    Raises:
        DataError: it is something else.
    """
    found = value
    if isinstance(value, str) and value.isascii() and value.strip().isdigit():
        found = int(value) if len(value) < 20 else -1
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= INDEX:
        raise DataError(f"{where}: {ascii(value)[:60]} is no index of a latent; expected a whole number from 0 on.")
    return found
