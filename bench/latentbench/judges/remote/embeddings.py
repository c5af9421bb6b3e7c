"""Vectors from an endpoint's `/v1/embeddings`.

Texts go in batches, because a call of one text is mostly the way there and back. A batch that the endpoint refuses as too long is
halved until the text that does not fit is alone, so that it costs no other text its vector. An endpoint that cuts long texts
without a word cannot be found out from here; switch that off where it is served.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from latentbench.judges.remote.endpoint import Endpoint, EndpointParams
from latentbench.judges.remote.reading import Malformed, body_of, usage_of
from latentbench.kernel.requests import Embed, Outcome, Reply, Usage

Vectors = np.ndarray[Any, np.dtype[np.float32]]


class Embeddings:
    """A model behind an endpoint that gives vectors.

    Args:
        model: the name that it is served under.
        params: how the endpoint is reached.
        query_prompt: put before queries.
        batch: texts per call.
    """

    def __init__(self, model: str, params: EndpointParams, query_prompt: str, batch: int) -> None:
        self.model, self.query_prompt, self.batch = model, query_prompt, batch
        self.params = params
        self.endpoint = Endpoint(params, model)
        self.settings = (("query_prompt", query_prompt),)

    async def vectors(self, requests: Sequence[Embed]) -> list[Reply]:
        """Unit vectors. Equal texts are asked for once; a text that the endpoint finds too long is skipped."""
        texts = [self.query_prompt + r.text if r.query else r.text for r in requests]
        unique = list(dict.fromkeys(texts))
        parts = [unique[k : k + self.batch] for k in range(0, len(unique), self.batch)]
        found = await asyncio.gather(*(self._embed(part) for part in parts))
        known = dict(zip(unique, [reply for part in found for reply in part], strict=True))
        return [known[text] for text in texts]

    async def probe(self) -> str | None:
        """Why the endpoint gives no vectors, if it does not."""
        trial = Embeddings(self.model, self.params.briefly(), self.query_prompt, 1)
        try:
            (reply,) = await trial.vectors([Embed("Hello.")])
        finally:
            await trial.close()
        return self.endpoint.problem(reply)

    async def close(self) -> None:
        """Close the connections of this event loop."""
        await self.endpoint.close()

    async def _embed(self, texts: Sequence[str]) -> list[Reply]:
        """One call, or two halves of it."""
        replies: list[Reply] = []

        async def ask() -> Reply:
            started = time.perf_counter()
            asked = {"model": self.model, "input": list(texts), "encoding_format": "float"}
            body = body_of(await self.endpoint.post("/embeddings", asked))
            usage = usage_of(body, time.perf_counter() - started)
            replies[:] = [
                Reply(vector=vector, usage=part)
                for vector, part in zip(unit_vectors(body, len(texts)), _parts(usage, texts), strict=True)
            ]
            return Reply(usage=usage)

        reply = await self.endpoint.call(ask, sum(map(len, texts)) // 4)
        if reply.ok:
            return replies
        if reply.outcome is not Outcome.SKIPPED or len(texts) == 1:
            return [reply] * len(texts)
        half = len(texts) // 2
        return [*await self._embed(texts[:half]), *await self._embed(texts[half:])]


def unit_vectors(body: Mapping[str, Any], n: int) -> Vectors:
    """The vectors of a response, in the order of its texts, at length 1.

    Returns:
        float32 [n, d].

    Raises:
        Malformed: another number of them, of different sizes, with an entry that is no number, or of length 0.
    """
    given = body.get("data")
    own = [d for d in given if isinstance(d, dict)] if isinstance(given, list) else []
    if sorted(str(d.get("index")) for d in own) != sorted(map(str, range(n))):
        raise Malformed(f"{len(own)} vectors of {n} texts, or not one for each")
    try:
        found = np.array([d.get("embedding") for d in sorted(own, key=lambda d: int(d["index"]))], np.float32)
    except (ValueError, TypeError) as e:
        raise Malformed(f"what should be vectors of numbers is none: {e}") from e
    norms = np.linalg.norm(found, axis=-1, keepdims=True)
    if found.ndim != 2 or not np.isfinite(norms).all() or not (norms > 0).all():
        raise Malformed("a vector has no direction")
    unit: Vectors = found / norms
    return unit


def _parts(usage: Usage, texts: Sequence[str]) -> list[Usage]:
    """A call's usage, shared by the texts' lengths; the sum of tokens stays what the endpoint counted."""
    total = sum(map(len, texts)) or 1
    edges = [round(usage.tokens_in * sum(map(len, texts[:k])) / total) for k in range(len(texts) + 1)]
    return [
        Usage(b - a, 0, 0, usage.seconds * len(text) / total)
        for a, b, text in zip(edges, edges[1:], texts, strict=False)
    ]
