"""A vector in place of a word: against a plain pass over the whole text for every token, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from latentbench.explainers.explainer import load_explainer
from latentbench.judges.patching import PatchedPrompt, Patching, typical
from latentbench.judges.transformers import TransformersJudge, TransformersParams
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Capability, Chat, Message, Outcome, Patched
from latentbench.models.language_model import Loaded
from latentbench.subject.hooks import capture

WORDS = ("river", "doctor", "music", "winter")
NAMED = (*WORDS, "money", "teacher", "horse", "window")
OTHERS = ("bread", "law", "ship", "garden", "king", "blood", "phone", "tree", "gold", "school", "house", "green")


def judge(loaded: Loaded, **params: Any) -> TransformersJudge:
    return TransformersJudge("m", TransformersParams(**params), loaded=loaded)


def prompt_of(judge: TransformersJudge, request: Patched) -> PatchedPrompt:
    found = Patching(judge.engine, judge.wording, judge._ends, 64, 1 << 20).prompt(request)
    assert isinstance(found, PatchedPrompt)
    return found


def asked(tiny: Any, seed: int, layer: int, **more: Any) -> Patched:
    direction = torch.randn(tiny.d_model, generator=torch.Generator().manual_seed(seed)).tolist()
    chat = Chat((Message("user", "Say what X" + " is" * seed + "."),), 7)
    return Patched(chat, "X", tuple(direction), layer, **more)


@contextmanager
def exchanged(loaded: Loaded, layer: int, at: int, put: torch.Tensor) -> Iterator[None]:
    """A hook of torch and nothing else."""

    def hook(module: Any, args: Any, output: Any) -> Any:
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        hidden[0, at] = put
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = loaded.model.model.layers[layer].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def plainly(loaded: Loaded, judge: TransformersJudge, request: Patched) -> str:
    """The text by one whole pass per token."""
    prompt = prompt_of(judge, request)
    assert prompt.stop == prompt.start + 1
    ids = list(prompt.tokens)
    hidden = capture(loaded, torch.tensor([ids]), None, [f"layers.{request.layer}"])[f"layers.{request.layer}"][0]
    lengths = [float(hidden[i].norm()) for i in range(1, len(ids)) if i != prompt.start]
    direction = torch.tensor(request.direction)
    put = request.scale * sorted(lengths)[(len(lengths) - 1) // 2] * direction / direction.norm()
    if request.add:
        put = put + hidden[prompt.start]
    with exchanged(loaded, request.layer, prompt.start, put):
        for _ in range(request.chat.max_tokens):
            new = int(loaded.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            if new in judge._ends:
                break
            ids.append(new)
    return judge.wording.decode(ids[len(prompt.tokens) :])


async def test_texts_are_those_of_whole_passes_with_the_vector_in_place(tiny: Any) -> None:
    one = judge(tiny)
    assert Capability.PATCH in one.can
    requests = [
        asked(tiny, seed, layer, scale=scale, add=add)
        for seed, layer, scale, add in [
            *((seed, seed % 3, 8.0, seed % 2 == 0) for seed in range(12)),
            (12, 0, 1.0, False),
            (13, 3, 5.0, False),
        ]
    ]
    replies = await one.answer(requests)
    expected = [plainly(tiny, one, request) for request in requests]
    assert [reply.text for reply in replies] == expected
    # They differ from what is written without any vector, but after the last block, where nothing above reads it.
    plain = [reply.text for reply in await one.answer([request.chat for request in requests])]
    assert sum(a != b for a, b in zip(expected, plain, strict=True)) >= 3
    assert expected[-1] == plain[-1]
    alone = [(await judge(tiny, batch=1).answer([request]))[0] for request in requests]
    assert [reply.text for reply in alone] == expected
    assert [reply.usage.tokens_in for reply in alone] == [len(prompt_of(one, request).tokens) for request in requests]


async def test_what_cannot_be_patched_is_skipped_and_says_why(tiny: Any) -> None:
    good = asked(tiny, 0, 1)
    twice = replace(good, chat=Chat((Message("user", "X or X?"),), 5))
    wrong = [
        (twice, "stands 2 times in the prompt"),
        (replace(good, placeholder="Y"), "stands 0 times"),
        (
            replace(good, direction=good.direction[:5]),
            "a direction of 5 numbers, and the model's residual stream has 32",
        ),
        (replace(good, direction=(0.0,) * tiny.d_model), "the direction is zero"),
        (replace(good, layer=4), "4 blocks, 0 to 3, and no block 4"),
        (replace(good, chat=replace(good.chat, max_tokens=5000)), "do not fit the context"),
    ]
    replies = await judge(tiny).answer([*(request for request, _ in wrong), good])
    for (_, said), reply in zip(wrong, replies, strict=False):
        assert reply.outcome is Outcome.SKIPPED
        assert said in (reply.error or "")
    assert replies[-1].ok


def test_the_unit_of_length_is_the_median_without_the_first_token_and_the_placeholder() -> None:
    hidden = torch.zeros(7, 4)
    hidden[:, 0] = torch.tensor([900.0, 1.0, 3.0, 500.0, 2.0, 7.0, 800.0])
    assert (
        typical(hidden, PatchedPrompt((1, 2, 3, 4, 5, 6), 3, 4)) == 2.0
    )  # of 1, 2, 3 and 7 the lower middle; the last is padding
    assert typical(hidden, PatchedPrompt((1,), 0, 1)) == 900.0


def as_latent(direction: list[float]) -> LatentView:
    """A latent that has a direction and nothing else."""
    return LatentView("c/0", "c", 0, "test", {"direction": direction, "hookpoint": ""}, (), ())


def states_of(loaded: Loaded, one: TransformersJudge, usual: Patched, words: Sequence[str]) -> torch.Tensor:
    """The hidden state of each word where the prompt has its placeholder."""
    where = f"layers.{usual.layer}"
    found = []
    for word in words:
        messages = tuple(Message(m.role, m.content.replace("X", word)) for m in usual.chat.messages)
        prompt = prompt_of(one, replace(usual, chat=replace(usual.chat, messages=messages), placeholder=word))
        found.append(capture(loaded, torch.tensor([prompt.tokens]), None, [where])[where][0, prompt.start])
    return torch.stack(found)


@pytest.mark.parametrize("layer", [1, 9])
async def test_a_word_is_said_when_its_own_state_stands_in_place_of_the_placeholder(smollm2: Any, layer: int) -> None:
    """Planted directions: the state of each word where the placeholder stands. The model says that word and no other."""
    one = judge(smollm2)
    explainer = load_explainer({"use": "patched", "preset": "list", "params": {"layer": layer, "max_tokens": 3}})
    (usual,) = explainer.requests(as_latent([1.0] * smollm2.d_model), 0)
    assert isinstance(usual, Patched)
    states = states_of(smollm2, one, usual, WORDS)
    replies = await one.answer([explainer.requests(as_latent(state.tolist()), 0)[0] for state in states])
    texts = [explainer.parse(as_latent([]), [reply], 0, {}).text for reply in replies]
    assert texts == list(WORDS)


async def test_a_difference_of_states_names_its_word_more_often_than_another_one_does(smollm2: Any) -> None:
    """What a coder's direction is like: the state of a word less the mean over words. It names its own word, and no other."""
    one = judge(smollm2)
    how = {"layer": 1, "add": True, "scale": 2.0, "max_tokens": 3}
    explainer = load_explainer({"use": "patched", "preset": "list", "params": how})
    (usual,) = explainer.requests(as_latent([1.0] * smollm2.d_model), 0)
    assert isinstance(usual, Patched)
    states = states_of(smollm2, one, usual, [*NAMED, *OTHERS])
    differences = (states - states.mean(0))[: len(NAMED)]
    replies = await one.answer([explainer.requests(as_latent(d.tolist()), 0)[0] for d in differences])
    says = [[word in (reply.text or "") for word in NAMED] for reply in replies]
    own = sum(says[i][i] for i in range(len(NAMED)))
    assert own >= 2
    assert sum(map(sum, says)) - own < own / 2
