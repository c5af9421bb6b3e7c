"""What of somebody's explanations met a suite: which latents they are of, and how much was left over on both sides.

A file from elsewhere rarely has exactly the latents of a suite, and one whose ids are read wrongly looks like one that explains
little. So both are counted, with examples, before anything is paid, and stand in the run's record.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pydantic import Field

from latentbench.kernel.config import Frozen
from latentbench.kernel.errors import DataError
from latentbench.kernel.foreign_ids import REST, ForeignId, KnownCoder, coder_at, parse_id

EXAMPLES = 3


class PlaceMatch(Frozen):
    """A place of a file, and the coder that it was taken for."""

    place: str
    """What the file writes before the index; "" for an index alone."""
    coder: str
    rule: str
    """`mapping`, `name`, `module`, `layer` or `only coder` (see `latentbench.kernel.foreign_ids`)."""
    texts: int = Field(ge=0)


class Matched(Frozen):
    """What of a file met a suite."""

    layout: str
    """Tool that the file is of."""
    method: dict[str, str] = Field(default_factory=dict)
    """What made the texts that were taken, by the file's own fields."""
    aside: int = Field(default=0, ge=0)
    """Rows of other methods, or older texts of the same latent."""
    texts: int = Field(ge=0)
    """Latents of the file."""
    places: tuple[PlaceMatch, ...] = ()
    """Places that were translated; ids that are the suite's own are not among them."""
    strange: int = Field(ge=0)
    """Latents of the file that the suite does not have."""
    strange_like: tuple[str, ...] = ()
    """The first of them, as the file writes them."""
    asked: int = Field(ge=0)
    """Latents of the run."""
    without: int = Field(ge=0)
    """Those for which the file has no text."""
    without_like: tuple[str, ...] = ()

    def sentences(self, label: str) -> list[str]:
        """What met what, in sentences for people."""
        met = self.asked - self.without
        said = [f"{label} ({self.layout}): {met:,} of the {self.asked:,} latents of this run have a text"]
        said[0] += f", {self.without:,} have none ({', '.join(self.without_like)})" if self.without else ""
        said[0] += f"; of {self.texts:,} latents of the file, {self.strange:,} are not in the suite"
        said[0] += f" ({', '.join(self.strange_like)})" if self.strange else ""
        said += [
            f"{label}: {place.place or 'an index alone'} is taken for coder {place.coder} (by {place.rule}; {place.texts:,})"
            for place in self.places
        ]
        if self.method or self.aside:
            made = ", ".join(f"{name} {value}" for name, value in self.method.items()) or "no method that is named"
            said.append(f"{label}: texts by {made}; {self.aside:,} others set aside (`where` chooses)")
        return said


def matched(
    layout: str,
    texts: Mapping[str, str | None],
    coders: Sequence[KnownCoder],
    latents: Collection[str],
    asked: Collection[str],
    mapping: Mapping[str, str],
) -> tuple[dict[str, str | None], Matched]:
    """Texts by the ids of a suite.

    Args:
        texts: by the ids of the file.
        coders, latents: of the suite.
        asked: latents of the run, which are among those.
        mapping: place -> coder, as the user says it.

    Returns:
        Latent of the suite -> text, and what met what; `method` and `aside` are the caller's to add.

    Raises:
        DataError: a place may be of two coders, two ids are of one latent and differ, or the mapping names a place that the file
            does not have.
        UnknownName: the mapping names a coder that the suite does not have.
    """
    known = set(latents)
    found: dict[str, str | None] = {}
    sources: dict[str, str] = {}
    strange: list[str] = []
    parsed = {name: parse_id(name) for name in texts if name not in known or mapping}
    _heard(mapping, {one.place for one in parsed.values() if one is not None})
    rules = _Places(coders, mapping)
    for name, text in texts.items():
        own = rules.latent(parsed.get(name), known) or (name if name in known else None)
        if own is None:
            strange.append(name)
        elif found.setdefault(own, text) != text:
            raise DataError(
                f"{sources[own]!r} and {name!r} are both latent {own} and have different texts. Leave one out."
            )
        else:
            sources.setdefault(own, name)
    without = [latent for latent in asked if found.get(latent) is None]
    return found, Matched(
        layout=layout,
        texts=len(texts),
        places=rules.met(),
        strange=len(strange),
        strange_like=tuple(sorted(strange)[:EXAMPLES]),
        asked=len(asked),
        without=len(without),
        without_like=tuple(without[:EXAMPLES]),
    )


class _Places:
    """Places of a file, each looked up once, and how many of its texts each brought."""

    def __init__(self, coders: Sequence[KnownCoder], mapping: Mapping[str, str]) -> None:
        self.coders, self.mapping = coders, mapping
        self.known: dict[str, tuple[str, str] | None] = {}
        self.texts: dict[str, int] = {}

    def latent(self, foreign: ForeignId | None, latents: Collection[str]) -> str | None:
        if foreign is None:
            return None
        if foreign.place not in self.known:
            self.known[foreign.place] = coder_at(foreign.place, self.coders, self.mapping)
        coder = self.known[foreign.place]
        own = f"{coder[0]}/{foreign.index}" if coder is not None else ""
        if own not in latents:
            return None
        self.texts[foreign.place] = self.texts.get(foreign.place, 0) + 1
        return own

    def met(self) -> tuple[PlaceMatch, ...]:
        places = [(place, self.known[place], n) for place, n in self.texts.items()]
        return tuple(
            PlaceMatch(place=place, coder=coder[0], rule=coder[1], texts=n)
            for place, coder, n in places
            if coder is not None and place != coder[0]
        )


def _heard(mapping: Mapping[str, str], places: Collection[str]) -> None:
    unheard = [place for place in mapping if place != REST and place not in places]
    if unheard:
        few = ", ".join(repr(place) for place in sorted(places)[:EXAMPLES]) or "none"
        raise DataError(
            f"coders: {unheard[0]!r} is no place of the file, whose places are {few}. {REST!r} stands for all others."
        )
