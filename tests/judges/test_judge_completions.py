"""An endpoint that is read by token ids, against `transformers:` on the same weights behind a loopback server."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from latentbench.judges.reference import load_judge
from latentbench.judges.remote.openai import OpenAIJudge, OpenAIParams
from latentbench.judges.transformers import TransformersJudge, TransformersParams
from latentbench.kernel.errors import ModelError, SpecError
from latentbench.kernel.requests import Capability, Choice, Continuation, Message, Outcome, Request

from tests.judges.test_judge_openai import Answer, Endpoint, failure

LEVELS = tuple(str(v) for v in range(11))
PROMPTS = [(Message("system", "You judge."), Message("user", f"Text: {text}")) for text in ("The river", "In 1897")]
ASKED: list[Request] = [
    *(Choice(p, ("0", "1")) for p in PROMPTS),
    Choice((*PROMPTS[0], Message("assistant", "Activations:")), LEVELS, ("\nThe\t", "?\nriver\t"), "\n"),
    Continuation("A text:", " The river rises"),
    Continuation("", "In 1897"),
]


class Served:
    """A model behind completions, as vLLM serves it: echo with log-probabilities, and named tokens if `names`."""

    def __init__(self, tiny: Any, names: bool) -> None:
        self.tiny, self.names = tiny, names

    def __call__(self, body: dict[str, Any]) -> Answer:
        if body.get("logprob_token_ids") and self.names is None:
            return failure(400, "unknown field logprob_token_ids")
        prompts = body["prompt"]
        choices = [{"index": i, "finish_reason": "length", **self._read(body, ids)} for i, ids in enumerate(prompts)]
        usage = {"prompt_tokens": sum(map(len, prompts)), "completion_tokens": 0, "total_tokens": 0}
        found = {"id": "1", "object": "text_completion", "created": 1, "model": "m", "choices": choices[::-1]}
        return Answer({**found, "usage": usage})

    def _read(self, body: dict[str, Any], ids: list[int]) -> dict[str, Any]:
        with torch.no_grad():
            logp = self.tiny.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        spelled = [f"token_id:{i}" for i in ids]
        if body.get("echo"):
            given = [None, *(float(logp[k - 1, i]) for k, i in enumerate(ids) if k)]
            echoed = {"tokens": spelled, "token_logprobs": given, "text_offset": [0] * len(ids), "top_logprobs": None}
            return {"text": self.tiny.tokenizer.decode(ids), "logprobs": echoed}
        named = body["logprob_token_ids"] if self.names else [int(logp[-1].argmax())]
        top = {f"token_id:{i}": float(logp[-1, i]) for i in named}
        return {
            "text": "x",
            "logprobs": {"tokens": ["x"], "token_logprobs": [-1.0], "text_offset": [0], "top_logprobs": [top]},
        }


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    found = Endpoint()
    yield found
    found.server.shutdown()
    found.server.server_close()


def make(endpoint: Endpoint, folder: Path, **params: Any) -> OpenAIJudge:
    given = {"base_url": endpoint.url, "backoff": 0.01, "attempts": 2, "completions": True, "tokenizer": str(folder)}
    return OpenAIJudge("m", OpenAIParams(**{**given, **params}))


@pytest.mark.parametrize("names", [True, False, None], ids=["named", "ignored", "refused"])
async def test_both_ways_to_read_give_the_numbers_of_transformers(
    endpoint: Endpoint, tiny: Any, tiny_folder: Path, names: bool
) -> None:
    endpoint.script = Served(tiny, names)
    judge = make(endpoint, tiny_folder)
    assert judge.can == {Capability.CHAT, Capability.CHOICE, Capability.SLOTS, Capability.TEXT}
    found = await judge.answer(ASKED)
    await judge.close()
    here = TransformersJudge("tiny", TransformersParams(dtype="float32", device="cpu"), loaded=tiny)
    for ours, theirs in zip(await here.answer(ASKED), found, strict=True):
        assert theirs.ok, theirs.error
        assert theirs.n_tokens == ours.n_tokens
        if ours.logprobs is None:
            assert theirs.loglik == pytest.approx(ours.loglik, abs=1e-4)
        else:
            assert np.allclose(theirs.logprobs, ours.logprobs, atol=1e-4)  # type: ignore[arg-type]
    slots = [len(sent["prompt"]) for sent in endpoint.sent if len(sent["prompt"]) > 2]
    # Of eleven levels at two places each is a text; their first tokens are two places, and what ends them is behind each.
    assert slots == [24 if names else 22]


async def test_usage_is_what_the_server_counted(endpoint: Endpoint, tiny: Any, tiny_folder: Path) -> None:
    endpoint.script = Served(tiny, True)
    judge = make(endpoint, tiny_folder)
    (reply,) = await judge.answer(ASKED[:1])
    await judge.close()
    assert reply.usage.tokens_in == sum(len(ids) for ids in endpoint.sent[-1]["prompt"]) > 0
    assert reply.usage.seconds > 0


async def test_a_tokenizer_that_is_not_the_servers_is_no_answer(
    endpoint: Endpoint, tiny: Any, tiny_folder: Path
) -> None:
    served = Served(tiny, True)

    def other(body: dict[str, Any]) -> Answer:
        body["prompt"] = [[i + 1 for i in ids] for ids in body["prompt"]]
        return served(body)

    endpoint.script = other
    judge = make(endpoint, tiny_folder)
    replies = await judge.answer(ASKED)
    await judge.close()
    assert {r.outcome for r in replies} == {Outcome.API}
    assert "is not the tokenizer of the served model" in (replies[0].error or "")


async def test_a_server_that_leaves_out_what_was_asked_for_is_no_answer(
    endpoint: Endpoint, tiny: Any, tiny_folder: Path
) -> None:
    served = Served(tiny, True)

    def short(body: dict[str, Any]) -> Answer:
        found = served(body)
        if len(body["prompt"]) > 2:
            found.body["choices"].pop()
        return found

    endpoint.script = short
    judge = make(endpoint, tiny_folder)
    (whole, cut) = await judge.answer([ASKED[0], ASKED[2]])
    await judge.close()
    assert whole.ok
    assert cut.outcome is Outcome.API
    assert "23 completions of 24 prompts" in (cut.error or "")


async def test_a_fault_of_the_server_at_the_first_call_is_tried_again(
    endpoint: Endpoint, tiny: Any, tiny_folder: Path
) -> None:
    served = Served(tiny, True)

    def late(body: dict[str, Any]) -> Answer:
        return failure(500) if len(endpoint.sent) == 1 else served(body)

    endpoint.script = late
    judge = make(endpoint, tiny_folder)
    (reply,) = await judge.answer(ASKED[:1])
    await judge.close()
    assert reply.ok


async def test_the_judges_turns_and_template_options_shape_the_prompt_on_this_side(
    endpoint: Endpoint, tiny: Any, tiny_folder: Path, tmp_path: Path
) -> None:
    tokenizer = copy.deepcopy(tiny.tokenizer)
    tokenizer.chat_template = "{% if tone is defined %}{{ tone }}\n{% endif %}" + tokenizer.chat_template
    tokenizer.save_pretrained(tmp_path)
    endpoint.script = Served(tiny, True)
    judge = make(endpoint, tmp_path, system="merge", chat_template_kwargs='{"tone": "dry"}', extra_body='{"rank": 3}')
    (reply,) = await judge.answer([Choice(PROMPTS[0], ("0",))])
    await judge.close()
    assert reply.ok
    sent = endpoint.sent[-1]
    assert tiny.tokenizer.decode(sent["prompt"][0]) == (
        "dry\n<|im_start|>user\nYou judge.\n\nText: The river<|im_end|>\n<|im_start|>assistant\n"
    )
    assert sent["rank"] == 3


async def test_a_least_mass_holds_where_it_is_asked_for_and_is_then_part_of_the_identity(
    endpoint: Endpoint, tiny: Any, tiny_folder: Path
) -> None:
    endpoint.script = Served(tiny, True)
    free, held = make(endpoint, tiny_folder), make(endpoint, tiny_folder, least_mass=0.1)
    for judge, outcome in ((free, Outcome.OK), (held, Outcome.PARSE)):
        (reply,) = await judge.answer([Choice(PROMPTS[0], ("active there",))])
        await judge.close()
        assert reply.outcome is outcome
    assert free.identity != held.identity


def test_template_and_vocabulary_are_part_of_the_identity(endpoint: Endpoint, tiny_folder: Path) -> None:
    plain = make(endpoint, tiny_folder, tokenizer="").identity
    read = make(endpoint, tiny_folder).identity
    assert read.params[: len(plain.params)] == plain.params
    assert [name for name, _ in read.params[len(plain.params) :]] == ["wording", "tokenizer"]


def test_a_tokenizer_needs_completions_and_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="completions=true"):
        load_judge("openai:m?base_url=http://127.0.0.1:1/v1&tokenizer=x")
    with pytest.raises(ModelError, match="no tokenizer at"):
        load_judge(f"openai:m?base_url=http://127.0.0.1:1/v1&completions=true&tokenizer={tmp_path}")
