"""A model behind an endpoint that gives vectors, on the loopback address."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from latentbench.judges.embed import EmbedJudge, EmbedParams
from latentbench.judges.reference import load_judge
from latentbench.kernel.requests import Capability, Embed, Outcome

from tests.judges.test_judge_openai import Answer, Endpoint, failure


def vector(text: str) -> list[float]:
    """Counts of some letters: not of length 1, and another for another text."""
    return [float(text.count(letter)) for letter in "aeir "] + [1.0]


def vectors(body: dict[str, Any]) -> Answer:
    if any(len(text) > 99 for text in body["input"]):
        return failure(400, "This model's maximum context length is 24 tokens.")
    data = [{"object": "embedding", "index": i, "embedding": vector(t)} for i, t in enumerate(body["input"])]
    usage = {"prompt_tokens": sum(map(len, body["input"])), "total_tokens": 0}
    return Answer({"object": "list", "model": "m", "data": data[::-1], "usage": usage})


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    found = Endpoint()
    found.script = vectors
    yield found
    found.server.shutdown()
    found.server.server_close()


def make(endpoint: Endpoint, **params: Any) -> EmbedJudge:
    given = {"base_url": endpoint.url, "backoff": 0.01, "attempts": 2, **params}
    return EmbedJudge("served", EmbedParams(**given))


async def test_vectors_are_those_of_their_texts_at_length_one(endpoint: Endpoint) -> None:
    texts = ["the river", "a tree", "the river", "iris", "errata"]
    judge = make(endpoint, batch=2)
    assert judge.can == {Capability.EMBED}
    replies = await judge.answer([Embed(text) for text in texts])
    await judge.close()
    for text, reply in zip(texts, replies, strict=True):
        expected = np.array(vector(text)) / np.linalg.norm(vector(text))
        assert reply.vector is not None
        assert reply.vector.dtype == np.float32
        assert np.allclose(reply.vector, expected, atol=1e-6)
    assert sorted(len(sent["input"]) for sent in endpoint.sent) == [2, 2]  # four texts, two of them equal
    assert {sent["path"] for sent in endpoint.sent} == {"/v1/embeddings"}
    assert {sent["model"] for sent in endpoint.sent} == {"served"}


async def test_tokens_of_a_call_are_shared_by_its_texts(endpoint: Endpoint) -> None:
    texts = ["the river rises", "a", "tree"]
    judge = make(endpoint)
    replies = await judge.answer([Embed(text) for text in texts])
    await judge.close()
    assert [r.usage.tokens_in for r in replies] == [len(text) for text in texts]
    assert math.fsum(r.usage.seconds for r in replies) > 0


async def test_a_text_that_does_not_fit_costs_the_others_nothing(endpoint: Endpoint) -> None:
    texts = ["a tree", "river " * 40, "iris", "the end"]
    judge = make(endpoint)
    replies = await judge.answer([Embed(text) for text in texts])
    await judge.close()
    assert [r.outcome for r in replies] == [Outcome.OK, Outcome.SKIPPED, Outcome.OK, Outcome.OK]
    assert "maximum context length" in (replies[1].error or "")


async def test_a_query_gets_its_prompt_and_a_document_none(endpoint: Endpoint) -> None:
    judge = make(endpoint, query_prompt="find: ")
    await judge.answer([Embed("rivers", query=True), Embed("rivers")])
    await judge.close()
    assert endpoint.sent[0]["input"] == ["find: rivers", "rivers"]
    assert dict(judge.identity.params)["query_prompt"] == "find: "


async def test_too_few_vectors_or_one_without_direction_are_no_answers(endpoint: Endpoint) -> None:
    def short(body: dict[str, Any]) -> Answer:
        found = vectors(body)
        found.body["data"].pop()
        return found

    def flat(body: dict[str, Any]) -> Answer:
        found = vectors(body)
        found.body["data"][0]["embedding"] = [0.0] * 6
        return found

    for script, said in ((short, "1 vectors of 2 texts"), (flat, "no direction"), (lambda _: failure(500), "500")):
        endpoint.script = script
        judge = make(endpoint)
        replies = await judge.answer([Embed("one"), Embed("two")])
        await judge.close()
        assert [r.outcome for r in replies] == [Outcome.API] * 2
        assert said in (replies[0].error or "")


def test_the_address_is_no_part_of_the_identity() -> None:
    judge = load_judge("embed:served?base_url=http://127.0.0.1:1/v1")
    assert (judge.identity.provider, judge.identity.revision, judge.identity.dtype) == ("embed", "unknown", "remote")
    assert dict(judge.identity.params) == {"query_prompt": ""}
