"""The names of the kinds of test windows besides activating ones; this is the one place that knows them all.

A name that is spelt in five files is misspelt in a sixth, and a kind that nobody knows selects no window and raises no error.
So recipes, samplers, scorers and leaderboards take the names from here.

    random       silent, drawn at random: what the headline is measured against
    neighbour    silent; latents fire in it that fire in the same windows as this one
    similar      silent; latents with a similar decoder direction fire in it
    nearest      silent; nearest in embedding to the latent's explain windows
    near-miss    silent, of planted suites; a near miss of the true explanation fires in it
    wrong_marks  an activating window whose silent tokens are marked; fuzzing makes it, no suite holds it
"""

from __future__ import annotations

from collections.abc import Iterable

from latentbench.kernel.errors import SpecError, UnknownName

RANDOM = "random"
DRAWN = ("neighbour", "similar", "nearest")
"""Kinds that the recipe key `test: {hard: ...}` can ask for."""
NEAR_MISS = "near-miss"
WRONG_MARKS = "wrong_marks"

SILENT = (RANDOM, *DRAWN)
"""Kinds of windows that `bench suite build` draws besides activating ones."""
HARD_KINDS = (*DRAWN, NEAR_MISS, WRONG_MARKS)
"""Kinds that are scored apart, never in the headline."""
IN_SUITES = (RANDOM, *DRAWN, NEAR_MISS)
"""Kinds that a suite may hold."""


def known_kinds(kinds: tuple[str, ...], known: Iterable[str] = IN_SUITES) -> tuple[str, ...]:
    """The kinds, if all are known and none is named twice; a validator of parameters.

    Raises:
        ValueError: with the near names, for pydantic, which adds the place.
    """
    names = tuple(known)
    for kind in kinds:
        if kind not in names:
            reason = " It is a kind of fuzzing only." if kind == WRONG_MARKS else ""
            raise ValueError(str(UnknownName("kind of negative window", kind, names)) + reason)
    if len(set(kinds)) < len(kinds):
        raise ValueError(f"{list(kinds)} names a kind twice; its windows would count twice.")
    return kinds


def require_kinds(asked: Iterable[str], held: Iterable[str], scorer: str, suite: str) -> None:
    """Refuse kinds that a suite does not hold, of which a scorer would judge nothing.

    Args:
        asked: `negative_kinds` of the scorer.
        held: kinds of the suite's test windows.
        scorer, suite: names, for the message.

    Raises:
        SpecError: a kind is not there.
    """
    present = set(held)
    missing = [kind for kind in asked if kind in IN_SUITES and kind not in present]
    if missing:
        there = ", ".join(kind for kind in IN_SUITES if kind in present) or "none"
        raise SpecError(
            f"scorer {scorer!r} asks for {missing[0]!r} windows and suite {suite} has none (its negative test windows: "
            f"{there}). Take the kind out of negative_kinds, or use a suite that has it."
        )
