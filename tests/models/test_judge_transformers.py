"""The in-process judge against plain forward passes of each text alone."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from latentbench.judges.transformers import TransformersJudge, TransformersParams
from latentbench.kernel.requests import Chat, Choice, Continuation, Message, Outcome
from latentbench.models.engine.prefix import common, prefix_tree
from latentbench.models.engine.sampler import OwnUniforms
from latentbench.models.engine.shared import Stopped, batches
from latentbench.models.language_model import pick_dtype

SYSTEM = (
    "You read short pieces of text and say whether a feature is active. The price of wheat rose by 12 percent. " * 2
)


def make(tiny, **params) -> TransformersJudge:
    return TransformersJudge("tiny", TransformersParams(dtype="float32", device="cpu", **params), loaded=tiny)


@pytest.fixture(scope="module")
def judge(tiny):
    return make(tiny)


def prompt(explanation: str, window: str) -> tuple[Message, ...]:
    return (Message("system", SYSTEM), Message("user", f"Explanation: {explanation}\nText: {window}\nAnswer 0 or 1."))


PROMPTS = [
    prompt(e, w)
    for e, w in itertools.product(
        ["words about rivers and mountains in old towns", "numbers of years, as in 1897", "the captain"],
        ["The river rises", "In 1897, a young engineer built a bridge of iron", "oven"],
    )
]


def plain_logp(tiny, ids: list[int]) -> torch.Tensor:
    """[token, vocabulary] log-probabilities from the untouched library path, one text, no cache."""
    with torch.no_grad():
        return tiny.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float().log_softmax(-1)


def ids_of(tiny, text: str) -> list[int]:
    return tiny.tokenizer(text, add_special_tokens=False)["input_ids"]


def rendered(tiny, messages) -> str:
    return tiny.tokenizer.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in messages], tokenize=False, add_generation_prompt=True
    )


def path_logp(tiny, before: str, answer: str) -> float:
    """log p(answer | before) with the tokens that the answer adds to the whole text."""
    head, whole = ids_of(tiny, before), ids_of(tiny, before + answer)
    assert whole[: len(head)] == head
    logp = plain_logp(tiny, whole)
    return sum(float(logp[i - 1, whole[i]]) for i in range(len(head), len(whole)))


async def test_choice_equals_the_plain_forward_of_each_prompt_alone(judge, tiny):
    replies = await judge.answer([Choice(p, ("0", "1")) for p in PROMPTS])
    for messages, reply in zip(PROMPTS, replies, strict=True):
        expected = [path_logp(tiny, rendered(tiny, messages), a) for a in ("0", "1")]
        assert reply.logprobs is not None
        assert np.allclose(reply.logprobs[0], expected, atol=1e-4)
    assert sum(r.usage.tokens_cached for r in replies) > 0.5 * sum(r.usage.tokens_in for r in replies)


async def test_one_and_ten_are_told_apart_by_what_follows_their_first_token(judge, tiny):
    answers = tuple(str(v) for v in range(11))
    replies = await judge.answer([Choice(p, answers, end="<|im_end|>") for p in PROMPTS[:3]])
    for messages, reply in zip(PROMPTS, replies, strict=False):
        expected = [path_logp(tiny, rendered(tiny, messages), a + "<|im_end|>") for a in answers]
        assert np.allclose(reply.logprobs[0], expected, atol=1e-4)
        assert reply.logprobs[0][1] != reply.logprobs[0][10]
    open_ended = (await judge.answer([Choice(PROMPTS[0], ("1", "10"))]))[0]
    first, both = open_ended.logprobs[0]
    assert both < first  # without an end, "1" holds the mass of everything that starts with it


async def test_answers_of_several_tokens_are_summed_along_their_own_branch(judge, tiny):
    answers = ("active here", "active there", "nothing", "a")
    reply = (await judge.answer([Choice(PROMPTS[1], answers)]))[0]
    expected = [path_logp(tiny, rendered(tiny, PROMPTS[1]), a) for a in answers]
    assert np.allclose(reply.logprobs[0], expected, atol=1e-4)


async def test_every_slot_is_read_behind_its_text_without_the_answers_of_the_slots_before(judge, tiny):
    slots = ("The\t", "\nriver\t", "\nrises\t")
    replies = await judge.answer([Choice(p, ("0", "5", "10"), slots=slots, end="\n") for p in PROMPTS[:4]])
    for messages, reply in zip(PROMPTS, replies, strict=False):
        text = rendered(tiny, messages)
        ids = ids_of(tiny, text)
        for k, slot in enumerate(slots):
            ids = ids + ids_of(tiny, slot)
            for a, answer in enumerate(("0", "5", "10")):
                tail = ids_of(tiny, answer + "\n")
                logp = plain_logp(tiny, ids + tail)
                expected = sum(float(logp[len(ids) + i - 1, t]) for i, t in enumerate(tail))
                assert abs(reply.logprobs[k][a] - expected) < 1e-4


async def test_loglik_scores_every_token_of_the_text_and_the_first_one_too(judge, tiny):
    requests = [
        Continuation("A text about rivers:\n", "The river rises in the mountains."),
        Continuation("A text about rivers:\n", "oven"),
        Continuation("", "In 1897, a young engineer"),
    ]
    replies = await judge.answer(requests)
    for request, reply in zip(requests, replies, strict=True):
        head = [tiny.tokenizer.bos_token_id, *ids_of(tiny, request.context)]
        tail = ids_of(tiny, request.text)
        logp = plain_logp(tiny, head + tail)
        expected = sum(float(logp[len(head) + i - 1, t]) for i, t in enumerate(tail))
        assert reply.n_tokens == len(tail)
        assert abs(reply.loglik - expected) < 1e-4


async def test_loglik_of_nothing_is_skipped_not_zero(judge):
    reply = (await judge.answer([Continuation("context", "")]))[0]
    assert reply.outcome is Outcome.SKIPPED
    assert reply.loglik is None


async def test_order_batch_size_and_company_do_not_change_a_reply(tiny):
    requests = [Choice(p, ("0", "1", "10"), end="<|im_end|>") for p in PROMPTS]
    reference = [r.logprobs for r in await make(tiny).answer(requests)]
    for params in ({"batch_tokens": 1}, {"batch_tokens": 100}, {"share": False}, {"memory": 1e-5}):
        got = await make(tiny, **params).answer(requests)
        assert np.allclose([r.logprobs for r in got], reference, atol=1e-5), params
    copying = make(tiny)
    assert copying.engine._can_share_root
    copying.engine._can_share_root = False  # as on a GPU: the root is copied into every row
    assert np.allclose([r.logprobs for r in await copying.answer(requests)], reference, atol=1e-5)
    backwards = await make(tiny).answer(requests[::-1])
    assert np.allclose([r.logprobs for r in backwards[::-1]], reference, atol=1e-5)
    judge = make(tiny)
    alone = [(await judge.answer([r]))[0] for r in requests]
    assert np.allclose([r.logprobs for r in alone], reference, atol=1e-5)
    assert alone[-1].usage.tokens_cached > 0  # the prefix of the calls before was found again


async def test_likelihoods_do_not_depend_on_the_size_of_a_call_or_on_company(tiny):
    requests = [Continuation(f"Latent {n % 3}: ", f"the price of wheat rose by {n} percent") for n in range(16)]
    alone = [(await make(tiny).answer([r]))[0].loglik for r in requests]
    for order in (list(range(16)), random.Random(1).sample(range(16), 16)):
        for size in (4, 16):
            judge = make(tiny)
            for start in range(0, 16, size):
                part = order[start : start + size]
                got = await judge.answer([requests[i] for i in part])
                assert np.allclose([r.loglik for r in got], [alone[i] for i in part], atol=1e-4), (size, start)


def test_a_cpu_computes_in_float32_where_nothing_is_said():
    assert TransformersParams().dtype == "auto"
    assert pick_dtype("auto", "cpu") == "float32"
    assert pick_dtype("bfloat16", "cpu") == "bfloat16"


async def test_the_computed_prefix_is_never_mutated(tiny):
    judge = make(tiny)
    requests = [Choice(p, ("0", "1")) for p in PROMPTS]
    first = await judge.answer(requests)

    held = [t for kv in judge.shared._kept.values() for pair in kv for t in pair]
    before = [t.clone() for t in held]
    assert len(held) == 8  # one prefix, keys and values of four layers
    await judge.answer([Chat(p, max_tokens=5) for p in PROMPTS])
    await judge.answer([Choice(p, ("0", "1"), slots=("a", "b")) for p in PROMPTS[:5]])
    assert all(torch.equal(t, b) for t, b in zip(held, before, strict=True))
    again = await judge.answer(requests)
    assert np.allclose([r.logprobs for r in again], [r.logprobs for r in first], atol=1e-6)


async def test_greedy_text_equals_a_plain_loop_without_cache(judge, tiny):
    replies = await judge.answer([Chat(p, max_tokens=12) for p in PROMPTS[:4]])
    end = tiny.tokenizer.eos_token_id
    for messages, reply in zip(PROMPTS, replies, strict=False):
        ids = ids_of(tiny, rendered(tiny, messages))
        start = len(ids)
        while len(ids) < start + 12:
            token = int(plain_logp(tiny, ids)[-1].argmax())
            if token == end:
                break
            ids.append(token)
        assert reply.text == tiny.tokenizer.decode(ids[start:], skip_special_tokens=True)
        assert reply.usage.tokens_out == len(ids) - start


async def test_sampled_text_depends_on_its_own_seed_only(tiny):
    requests = [Chat(p, max_tokens=10 + i, temperature=1.0, seed=i) for i, p in enumerate(PROMPTS)]
    torch.manual_seed(1)
    together = [r.text for r in await make(tiny).answer(requests)]
    torch.manual_seed(2)
    judge = make(tiny, batch=2)
    assert [r.text for r in await judge.answer(requests[::-1])] == together[::-1]
    assert (await judge.answer([requests[3]]))[0].text == together[3]
    other = await judge.answer([replace(requests[3], seed=99)])
    assert other[0].text != together[3]


def test_pick_follows_the_distribution():
    logits = torch.log(torch.tensor([[0.2, 0.5, 0.3]])).repeat(3, 1)
    uniform = torch.tensor([[0.1], [0.65], [0.71]], dtype=torch.float64)
    rows = torch.arange(3)
    assert OwnUniforms(torch.ones(3), uniform).pick(logits, rows, 0).tolist() == [0, 1, 2]
    assert OwnUniforms(torch.tensor([0.0, 1.0, 0.0]), uniform).pick(logits, rows, 0).tolist() == [1, 1, 1]
    assert OwnUniforms(torch.ones(3), uniform).pick(logits[:2], rows[1:], 0).tolist() == [
        1,
        2,
    ]  # the first row has left


async def test_generation_stops_at_the_end_of_the_turn(tiny):
    """A head that always gives the end token yields an empty text; one that never does runs to the allowance."""
    judge = make(tiny)
    free = (await judge.answer([Chat(PROMPTS[0], max_tokens=6)]))[0]
    first = judge.wording.raw([free.text], start=False)[0][0] if free.text else None
    if first is not None:
        judge._ends = frozenset({*judge._ends, first})
        cut = (await judge.answer([Chat(PROMPTS[0], max_tokens=6)]))[0]
        assert cut.usage.tokens_out < free.usage.tokens_out
        assert (free.finish, cut.finish) == ("length", "stop")


async def test_a_prompt_that_does_not_fit_is_skipped_and_never_cut(judge):
    long = (Message("user", "river " * 3000),)
    fine = PROMPTS[0]
    for replies in (
        await judge.answer([Choice(long, ("0", "1")), Choice(fine, ("0", "1"))]),
        await judge.answer([Chat(long), Chat(fine, max_tokens=2)]),
        await judge.answer([Continuation("", "river " * 3000), Continuation("", "river")]),
    ):
        assert replies[0].outcome is Outcome.SKIPPED
        assert "2048" in (replies[0].error or "")
        assert replies[1].ok


async def test_an_open_assistant_message_is_continued(judge, tiny):
    messages = (*PROMPTS[0], Message("assistant", "The answer is"))
    reply = (await judge.answer([Choice(messages, (" 0", " 1"))]))[0]
    text = rendered(tiny, PROMPTS[0]) + "The answer is"
    assert np.allclose(reply.logprobs[0], [path_logp(tiny, text, a) for a in (" 0", " 1")], atol=1e-4)


async def test_a_model_without_template_gets_the_fixed_wording(tiny):
    judge = make(tiny)
    with_template = judge.identity.key
    judge.wording.template = None
    assert judge.wording.render((Message("user", "Hi"),)) == "user:\nHi\n\nassistant:\n"
    assert judge.wording.prompts(["x"])[0][0] == tiny.tokenizer.bos_token_id
    assert dict(judge.identity.params)["wording"].startswith("template:")
    assert judge.wording.identity.startswith("plain:")
    assert with_template == make(tiny).identity.key


async def test_the_event_loop_lives_while_the_judge_computes(judge):
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    ticking = asyncio.create_task(tick())
    await judge.answer([Chat(p, max_tokens=40) for p in PROMPTS])
    ticking.cancel()
    assert ticks > 5


async def test_a_cancelled_call_leaves_the_thread(judge):
    call = asyncio.create_task(judge.answer([Chat(p, max_tokens=1500) for p in PROMPTS]))
    await asyncio.sleep(0.1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    reply = await asyncio.wait_for(judge.answer([Choice(PROMPTS[0], ("0", "1"))]), 5)
    assert reply[0].ok


def test_work_stops_between_batches(judge):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        judge._choose([Choice(p, ("0", "1")) for p in PROMPTS], stop)


def sliding(tiny_folder, kinds: list[str] | None):
    """The tiny weights in a model whose layers see 24 tokens back."""
    from latentbench.models.language_model import load
    from transformers import MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

    base = load(str(tiny_folder), dtype="float32", device="cpu")
    shape = {
        "vocab_size": base.model.config.vocab_size,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "sliding_window": 24,
        "initializer_range": 0.2,
    }
    with torch.random.fork_rng():
        torch.manual_seed(3)
        if kinds is None:
            model = MistralForCausalLM(MistralConfig(**shape))
        else:
            model = Qwen2ForCausalLM(Qwen2Config(**shape, use_sliding_window=True, layer_types=kinds))
    return replace(base, model=model.eval().requires_grad_(False))


@pytest.mark.parametrize("kinds", [None, ["full_attention", "sliding_attention"] * 2])
async def test_sliding_windows_are_kept_across_the_shared_prefix(tiny_folder, kinds):
    loaded = sliding(tiny_folder, kinds)
    reference = sliding(tiny_folder, kinds)
    replies = await make(loaded).answer([Choice(p, ("0", "10")) for p in PROMPTS[:4]])
    for messages, reply in zip(PROMPTS, replies, strict=False):
        expected = [path_logp(reference, rendered(reference, messages), a) for a in ("0", "10")]
        assert np.allclose(reply.logprobs[0], expected, atol=1e-4)
    texts = await make(loaded).answer([Chat(p, max_tokens=8) for p in PROMPTS[:3]])
    for messages, reply in zip(PROMPTS, texts, strict=False):
        ids = ids_of(reference, rendered(reference, messages))
        start = len(ids)
        for _ in range(reply.usage.tokens_out):
            ids.append(int(plain_logp(reference, ids)[-1].argmax()))
        assert reply.text == reference.tokenizer.decode(ids[start:], skip_special_tokens=True)


tokens = st.lists(st.integers(0, 2), min_size=1, max_size=12).map(tuple)


@given(st.lists(tokens, min_size=1, max_size=8), st.integers(1, 3), st.data())
@settings(max_examples=150, deadline=None)
def test_the_tree_covers_exactly_what_sequences_share(sequences, least, data):
    limits = [data.draw(st.integers(0, len(s) - 1)) for s in sequences]
    tree = prefix_tree(sequences, limits, least)
    for i, sequence in enumerate(sequences):
        path = tree.path(tree.owner[i])
        text: tuple[int, ...] = ()
        for n in path:
            assert tree.segments[n].start == len(text)
            assert len(tree.segments[n].tokens) >= least
            text += tree.segments[n].tokens
        assert text == sequence[: len(text)]
        assert len(text) == tree.shared(i) <= limits[i]
        with_others = [common(sequence[: limits[i]], s[: limits[k]]) for k, s in enumerate(sequences) if k != i]
        assert len(text) in {0, *with_others}  # a segment ends where somebody leaves
        if max(with_others, default=0) >= least and not path:
            raise AssertionError("a shared run was not found")
    for n in range(len(tree.segments)):
        assert sum(n in tree.path(o) for o in tree.owner) >= 2


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 100), st.integers(1, 6))
def test_batches_hold_everything_once_within_their_size(lengths, size, rows):
    found = batches(lengths, size, rows)
    assert sorted(i for b in found for i in b) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) <= rows
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= size


@pytest.mark.slow
async def test_smollm2_equals_the_plain_forward(smollm2):
    from latentbench.models.language_model import load

    untouched = load(smollm2.files.reference, dtype="float32", device="cpu")
    judge = TransformersJudge("smollm2", TransformersParams(dtype="float32", device="cpu"), loaded=smollm2)
    replies = await judge.answer([Choice(p, ("0", "1", "10"), end="<|im_end|>") for p in PROMPTS[:4]])
    for messages, reply in zip(PROMPTS, replies, strict=False):
        text = rendered(untouched, messages)
        expected = [path_logp(untouched, text, a + "<|im_end|>") for a in ("0", "1", "10")]
        assert np.allclose(reply.logprobs[0], expected, atol=1e-4)
