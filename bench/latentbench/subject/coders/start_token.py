"""Whether a start token stands in front of what the subject reads, and what else a coder's training says of its contexts.

One pass of the subject serves all coders of a suite, so there is one answer for all of them. Putting the token in front
always, as was done before, gave a coder that was trained without it activations that it had never seen: on a coder of this
project four of five active latents are the same with and without.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from latentbench.kernel.errors import CoderError, SpecError
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.provenance import Provenance

Bos = Literal["auto"] | bool
"""`true`: a start token in front, where the subject has one; `false`: none; `auto`: what the coders say, true if they say
nothing."""


def started(loaded: Loaded, bos: Bos, coders: Mapping[str, Provenance]) -> Loaded:
    """The subject, with or without a start token in front of what it reads.

    Args:
        loaded: the subject.
        bos: what the user wants.
        coders: name -> what is known of its training.

    Raises:
        CoderError: `auto`, and the coders say different things.
    """
    if bos == "auto":
        said = {name: p.prepend_bos for name, p in coders.items() if p.prepend_bos is not None}
        with_, without = ([name for name, value in said.items() if value is v] for v in (True, False))
        if with_ and without:
            raise CoderError(
                f"the coders were trained on different contexts: {', '.join(with_)} with a start token in front "
                f"(prepend_bos: true), {', '.join(without)} without. One pass of the subject serves all coders of a recipe, "
                "so make two suites of them, or say `bos: true` or `bos: false` in the recipe."
            )
        bos = not without
    return loaded if bos == loaded.starts else replace(loaded, starts=bos)


def check_positions(loaded: Loaded, context: int) -> None:
    """Refuse a context for which the subject has no positions.

    A subject whose positions are a table, such as GPT-2 or OPT, fails inside its first layer otherwise, and one that rotates
    them reads on without a word, at places that it was never trained on.

    Args:
        loaded: the subject as `started` gave it.
        context: corpus tokens per context.

    Raises:
        SpecError: it has too few.
    """
    longest, needed = loaded.context, context + (loaded.bos is not None)
    if longest is not None and needed > longest:
        raise SpecError(f"a context of {context} tokens needs {needed} positions; the subject has {longest}.")


def context_remarks(loaded: Loaded, context: int | None, coders: Mapping[str, Provenance]) -> list[str]:
    """Where contexts differ from those of training, one sentence each.

    Args:
        loaded: the subject as `started` gave it.
        context: corpus tokens per context; None to leave the length aside.
        coders: name -> what is known of its training.
    """
    found = []
    for name, said in coders.items():
        if said.prepend_bos is not None and said.prepend_bos != loaded.starts:
            found.append(
                f"coder {name!r} was trained with prepend_bos: {str(said.prepend_bos).lower()} ({said.source}), and the recipe "
                f"says bos: {str(loaded.starts).lower()}."
            )
        elif said.prepend_bos and loaded.bos is None:
            found.append(
                f"coder {name!r} was trained with a start token in front ({said.source}), and {loaded.files.reference} has none."
            )
        if context is not None and said.context is not None and context > said.context:
            found.append(
                f"coder {name!r} was trained on contexts of {said.context} tokens ({said.source}), and the recipe has {context}: "
                "it has seen no activation of a later position."
            )
        if said.positions:
            found.append(
                f"coder {name!r} was trained on the positions {list(said.positions)} of each context only ({said.source}: "
                "seqpos_slice), and the suite draws from all: at the others it may fire as it never did in training."
            )
    return found
