"""Whether something was tuned on latents that rank.

Latents are the same wherever they lie: two suites can hold one coder's latent under two names, one for tuning and one for
testing. So they are compared by what computes them (the origin that a suite says) and their number, and by their ids where a
suite is not here. Comparing the names of the splits alone is the tempting way, and finds only who confesses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from latentbench.kernel.errors import BenchError
from latentbench.leaderboards.submission.public_suites import named_suite
from latentbench.leaderboards.submission.statement import TunedOn
from latentbench.suites.store import Suite

TEST = "test"
SHOWN = 3
Place = tuple[str, int]
"""What computes a latent, and its number there."""


def tuned_on_test(entries: Iterable[TunedOn], suite: Suite, latents: Iterable[str]) -> Iterator[str]:
    """Searches that looked at latents which rank, one sentence each; and those of which nobody can tell.

    Args:
        entries: complete ones.
        suite: that of the rows.
        latents: ids of the latents of the rows.
    """
    here = _places(suite)
    ranking = {*latents, *(latent for latent, (_, split) in here.items() if split == TEST)}
    places = {place: latent for latent, (place, _) in here.items() if latent in ranking}
    for entry in entries:
        what = f"{entry.what!r} was tuned on"
        looked, fault = _looked_at(entry, suite)
        if fault:
            yield fault
            continue
        shared = sorted({*(places[place] for place in looked.values() if place in places), *(ranking & looked.keys())})
        if shared:
            more = f" and {len(shared) - SHOWN} more" if len(shared) > SHOWN else ""
            yield (
                f"{what} latents that rank ({', '.join(shared[:SHOWN])}{more} of {suite.id}): scores of what was chosen by its "
                "score are too good on what it was chosen on. Tune on tune latents (`bench tune` does), and hand in a "
                "run of that."
            )


def _looked_at(entry: TunedOn, own: Suite) -> tuple[dict[str, Place], str]:
    """Ids of the latents that a search looked at with their places, or why they are not known.

    An id of another suite is no id of this one, so it is written with that suite's name before it.
    """
    name, _, version = (entry.suite or "").partition("@")
    try:
        suite = named_suite(name)
    except BenchError as e:
        return {}, f"suite {entry.suite}, which {entry.what!r} was tuned on, cannot be read here: {e}"
    if suite is None or (version and version != suite.version):
        if entry.split == "listed":
            return dict.fromkeys(entry.latents, ("", -1)), ""
        return {}, (
            f"{entry.what!r} was tuned on suite {entry.suite}, which is not here, so nobody can say whether its "
            "latents rank. List their ids: split: listed, latents: [...]."
        )
    there = _places(suite)
    if entry.split == "listed":
        strange = [latent for latent in entry.latents if latent not in there]
        if strange:
            return {}, f"{entry.what!r} was tuned on {strange[0]!r}, which is no latent of suite {suite.id}"
        chosen = list(entry.latents)
    else:
        chosen = [latent for latent, (_, split) in there.items() if entry.split in ("all", split)]
    alike = suite.digest == own.digest
    return {latent if alike else f"{suite.id}:{latent}": there[latent][0] for latent in chosen}, ""


def _places(suite: Suite) -> dict[str, tuple[Place, str]]:
    """Latent -> what computes it and its number there, and its split; without its windows, which are nearly all of a suite."""
    columns = (suite.latent_table.column(name).to_pylist() for name in ("latent", "coder", "index", "split"))
    return {
        latent: ((suite.origins.get(coder, ""), index), split)
        for latent, coder, index, split in zip(*columns, strict=True)
    }
