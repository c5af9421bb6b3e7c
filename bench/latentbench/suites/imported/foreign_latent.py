"""What every reader of another tool's activations hands over: latents with windows, and what the source does not say.

One form between readers and suites keeps the readers small: none of them draws, splits or writes. A window holds numbers of
tokens, not their strings. Strings are the tempting way, and ten thousand latents with a hundred windows each would be a
hundred million Python objects; a source turns numbers into strings when a suite is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from latentbench.suites.build.sampling import Ints, WindowPlan

Role = Literal["explain", "test"]
Ids = NDArray[np.int32]
Values = NDArray[np.float64]
Silence = Literal["random", "given", "none"]
"""How the silent windows of a source were chosen: drawn at random from text, in a way that it does not say, or there are none."""


@dataclass(frozen=True, eq=False, slots=True)
class ForeignWindow:
    """A run of tokens with one latent's activation on each of them.

    Attributes:
        ids: numbers of its tokens, as the source counts them [n].
        values: activations, finite and >= 0 [n].
        role: the side on which the source puts it; None where that is for the importer to draw.
        bin: lower end, or number, of the source's own bin of strength; None where it is in none.
        decile: decile of its maximum among all windows of the latent, where the source knows them all.
        document: what it was cut from, where that is known; windows of one document stand on one side.
        kind: why it is silent (`latentbench.kernel.kinds`); "" for a window that fires, or where the source does not say.
        position, context: of its first token in the source's text, where that is known.
    """

    ids: Ids
    values: Values
    role: Role | None = None
    bin: float | None = None
    decile: int | None = None
    document: str | None = None
    kind: str = ""
    position: int | None = None
    context: int | None = None

    @property
    def max(self) -> float:
        """Largest activation."""
        return float(self.values.max(initial=0.0))

    @property
    def text(self) -> bytes:
        """What no other window has but one of the same tokens."""
        return self.ids.tobytes()


@dataclass(frozen=True, eq=False)
class ForeignLatent:
    """A latent as a source shows it.

    Attributes:
        index: coordinate in its coder.
        windows: activating and silent ones, no two of the same tokens.
        rate_token, rate_context: share of tokens and of contexts on which it fires; None where unknown.
        promoted, suppressed: tokens that its direction writes for and against; empty where unknown.
        max: largest activation that the source has seen; None where it does not say.
        edges: decile edges of the maxima of all windows [11]; None where the source does not know all windows.
    """

    index: int
    windows: tuple[ForeignWindow, ...]
    rate_token: float | None = None
    rate_context: float | None = None
    promoted: tuple[str, ...] = ()
    suppressed: tuple[str, ...] = ()
    max: float | None = None
    edges: Values | None = None


@dataclass(frozen=True)
class SourceFile:
    """A file that was read: its name below the source, and the sha256 of its content."""

    name: str
    sha256: str


@dataclass(frozen=True)
class About:
    """What a source says of itself and what it leaves open.

    Attributes:
        format: name of the format.
        place: file or folder that was read, for messages.
        coder: a name for the coder, for want of a better one.
        kind: `sae`, `transcoder` or `neurons`; None where it is not said.
        hookpoint: where the coder reads, in the source's words; "" where it is not said.
        model: name of the subject; None where it is not said.
        said: what else it says of where it comes from (dataset, source id, width ...).
        files: everything that was read.
        silence: how its silent windows were chosen.
        unknown: what cannot be known from it -> why, one sentence each.
        omitted: what was left out and how often, one sentence each.
        n_latents: width of the coder; None where unknown.
    """

    format: str
    place: str
    coder: str
    kind: str | None
    hookpoint: str
    model: str | None
    said: Mapping[str, str]
    files: tuple[SourceFile, ...]
    silence: Silence
    unknown: Mapping[str, str]
    omitted: tuple[str, ...] = ()
    n_latents: int | None = None


class ForeignSource(Protocol):
    """A source that was read.

    Attributes:
        about: what it says of itself.
        index: coordinates of its latents, ascending [n].
        activating: windows in which each fires [n].
        firing: how often each fires, in any unit, for strata; None where unknown [n].
    """

    about: About
    index: Ints
    activating: Ints
    firing: Ints | None

    def latent(self, place: int, plan: WindowPlan, seed: int) -> ForeignLatent:
        """The latent at a place of `index`, with all its windows or with those that the plan asks for."""
        ...

    def strings(self, windows: Sequence[Sequence[int]]) -> list[tuple[str, ...]]:
        """Token strings of windows, which joined are their text."""
        ...


@dataclass
class Omission:
    """What was left out and why: a count, and where it was seen first."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, what: str, where: str, n: int = 1) -> None:
        """Count `n` of them."""
        self.counts[what] = self.counts.get(what, 0) + n
        self.first.setdefault(what, where)

    def said(self) -> tuple[str, ...]:
        """One sentence for each."""
        return tuple(f"{n:,} {what} (the first: {self.first[what]})" for what, n in self.counts.items())
