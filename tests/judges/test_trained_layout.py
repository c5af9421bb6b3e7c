"""What fine-tuned explainers and simulators of the Llama 3 family are sent, token by token, at a server and in this process.

The model is random and small, with that family's control tokens, template and beginning of the vocabulary: what is tested is
that the tokens and the places that are read are those of the training, and not what any trained model says.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from latentbench.explainers.explainer import load_explainer
from latentbench.judges.remote.openai import OpenAIJudge, OpenAIParams
from latentbench.judges.transformers import TransformersJudge, TransformersParams
from latentbench.kernel.errors import SpecError
from latentbench.kernel.forms import Levels
from latentbench.kernel.requests import Choice
from latentbench.kernel.trial import Seen, Trial
from latentbench.models.language_model import Loaded, load
from latentbench.scorers.scorer import load_scorer

from tests.builders.toy_latents import latent
from tests.conftest import SENTENCES
from tests.judges.test_judge_completions import Served
from tests.judges.test_judge_openai import Answer, Endpoint, completion

SIGNS = "!\"#$%&'()*+"
CONTROL = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
TEMPLATE = (
    "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
TOLD = "Numbers, years and ages"
WRITTEN = 6
"""Tokens that the server writes."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with a byte-level tokenizer whose vocabulary begins with the printable signs, control tokens at its end."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    made = tmp_path_factory.mktemp("llama3-like")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([*SENTENCES, "[DESCRIPTION]: {{this}} Excerpt 1: Neuron Description Input"], trainer)
    tokenizer.add_special_tokens(CONTROL)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=CONTROL[0], eos_token=CONTROL[-1])
    fast.chat_template = TEMPLATE
    fast.save_pretrained(made)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = LlamaConfig(
            vocab_size=len(fast),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            tie_word_embeddings=False,
            # Far from uniform, so that a place that is read one token too early shows.
            initializer_range=0.5,
            bos_token_id=fast.bos_token_id,
            eos_token_id=fast.eos_token_id,
        )
        LlamaForCausalLM(config).save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def small(folder: Path) -> Loaded:
    return load(str(folder), dtype="float32", device="cpu")


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    found = Endpoint()
    yield found
    found.server.shutdown()
    found.server.server_close()


def served(endpoint: Endpoint, **params: Any) -> OpenAIJudge:
    return OpenAIJudge("m", OpenAIParams(base_url=endpoint.url, backoff=0.01, attempts=2, **params))


def here(small: Loaded, **params: Any) -> TransformersJudge:
    return TransformersJudge("m", TransformersParams(dtype="float32", device="cpu", **params), loaded=small)


def encode(small: Loaded, text: str) -> list[int]:
    ids: list[int] = small.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def test_the_signs_of_the_levels_are_the_beginning_of_the_vocabulary(small: Loaded) -> None:
    assert [encode(small, sign) for sign in SIGNS] == [[i] for i in range(11)]


@pytest.mark.parametrize("names", [True, None], ids=["named", "echoed"])
async def test_a_simulator_is_read_behind_every_token_of_a_running_text(
    endpoint: Endpoint, small: Loaded, folder: Path, names: bool | None
) -> None:
    """Against the forward pass by hand: start token, description, window, and the first eleven logits behind each token."""
    inside = encode(small, SENTENCES[1]) + encode(small, "\n(!")
    tokens = tuple(small.tokenizer.decode([i]) for i in inside)
    before = [small.tokenizer.bos_token_id, *encode(small, f"## Neuron Description: {TOLD}\n\n ## Input: ")]
    with torch.no_grad():
        logits = small.model(input_ids=torch.tensor([before + inside])).logits[0, len(before) :, :11].double()
    by_hand = (logits.softmax(-1) * torch.arange(11)).sum(-1).tolist()

    scorer = load_scorer("simulation_inline")
    trial = Trial("0", scorer.name, Levels(tuple(SIGNS), "token"), TOLD, (Seen(tokens),), (1,), ((0.0,) * len(tokens),))
    endpoint.script = Served(small, names)  # type: ignore[arg-type]
    judge = served(endpoint, completions=True, tokenizer=str(folder), plain=True)
    (request,) = scorer.requests(trial, judge.can)
    found = [await j.answer([request]) for j in (judge, here(small, plain=True))]
    await judge.close()
    for (reply,) in found:
        (judgement,) = scorer.parse(trial, [reply])
        assert judgement.token_scores == pytest.approx(by_hand, abs=1e-3)
    assert np.ptp(by_hand) > 1, "a random model that says the same everywhere tests no place"

    sent = [ids for body in endpoint.sent if len(body["prompt"]) > 1 for ids in body["prompt"]]
    whole = before + inside
    if names:
        assert sent == [whole[: len(before) + k + 1] for k in range(len(inside))]
        assert set(endpoint.sent[-1]["logprob_token_ids"]) == set(range(11))
    else:
        assert sent == [[*whole[: len(before) + k + 1], v] for k in range(len(inside)) for v in range(11)]


async def test_with_roles_around_it_the_text_is_another_one(endpoint: Endpoint, small: Loaded, folder: Path) -> None:
    asked = Choice(load_scorer("simulation_inline").requests(_trial(), _slots())[0].messages, tuple(SIGNS))  # type: ignore[union-attr]
    endpoint.script = Served(small, True)
    texts = []
    for plain in (True, False):
        judge = served(endpoint, completions=True, tokenizer=str(folder), plain=plain)
        (reply,) = await judge.answer([asked])
        assert reply.ok
        await judge.close()
        texts.append(small.tokenizer.decode(endpoint.sent[-1]["prompt"][0]))
    assert texts[0] == f"<|begin_of_text|>## Neuron Description: {TOLD}\n\n ## Input: "
    assert texts[1].startswith("<|begin_of_text|><|start_header_id|>user<|end_header_id|>")


def test_plain_is_part_of_the_identity_and_needs_a_tokenizer(endpoint: Endpoint, small: Loaded, folder: Path) -> None:
    plain, usual = (served(endpoint, completions=True, tokenizer=str(folder), plain=p) for p in (True, False))
    assert plain.identity != usual.identity
    assert here(small, plain=True).identity != here(small).identity
    with pytest.raises(SpecError, match="`plain` is read with a `tokenizer` only"):
        served(endpoint, completions=True, plain=True)


async def test_an_explainer_gets_the_same_tokens_at_a_server_and_here(endpoint: Endpoint, small: Loaded) -> None:
    """The server's template words what it is sent; this process words it itself; both go on with the same greedy text."""
    (request,) = load_explainer({"use": "excerpts", "params": {"n_examples": 3, "max_tokens": WRITTEN}}).requests(
        latent(), 0
    )
    seen: list[list[int]] = []

    def answer(body: dict[str, Any]) -> Answer:
        text = small.tokenizer.apply_chat_template(body["messages"], tokenize=False, add_generation_prompt=True)
        seen.append(encode(small, text))
        with torch.no_grad():
            ids = small.model.generate(
                torch.tensor([seen[-1]]), max_new_tokens=body["max_completion_tokens"], do_sample=False
            )
        return completion(small.tokenizer.decode(ids[0, len(seen[-1]) :], skip_special_tokens=True))

    endpoint.script = answer
    judge, own = served(endpoint, token_field="max_completion_tokens"), here(small)
    (theirs,), (ours,) = await judge.answer([request]), await own.answer([request])
    await judge.close()
    assert theirs.text == ours.text
    (mine,) = own.wording.prompts([own.wording.render(request.messages)])  # type: ignore[union-attr]
    assert list(mine) == seen[0]
    header, end, turn = (small.tokenizer.convert_tokens_to_ids(c) for c in CONTROL[2:])
    assert mine[0] == small.tokenizer.bos_token_id
    assert [i for i in mine if i >= min(header, end, turn)] == [header, end, turn, header, end, turn, header, end]
    shown = small.tokenizer.decode(list(mine))
    assert "Excerpt 1:" in shown
    assert "{{" in shown.rpartition("Excerpt 1:")[2]


def _trial() -> Trial:
    return Trial("0", "simulation_inline", Levels(tuple(SIGNS), "token"), TOLD, (Seen(("a",)),), (1,), ((0.0,),))


def _slots() -> Any:
    from latentbench.scorers.simulation_inline import READS

    return READS
