"""The pieces of a simulator - prompt, adapters, heads - against plain torch and ranges found by hand."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from latentbench.judges.simulator import lora
from latentbench.judges.simulator.heads import Heads
from latentbench.judges.simulator.simulator_prompt import per_token, prefix_ids, suffix_ids, window_ids
from latentbench.kernel.errors import ModelError
from latentbench.models.language_model import load
from torch import nn


@pytest.fixture
def fresh(tiny_folder):  # type: ignore[no-untyped-def]
    """The tiny model, to be changed."""
    return load(str(tiny_folder), dtype="float32", device="cpu").model


# --- prompt


def test_the_three_parts_are_the_text_that_they_are_said_to_be(tiny):
    ids = [
        *prefix_ids(tiny.tokenizer, "names of rivers"),
        *window_ids(tiny.tokenizer, ("The", " river"))[0],
        *suffix_ids(tiny.tokenizer),
    ]
    assert tiny.tokenizer.decode(ids) == "Description: names of rivers\nText: The river\nMatch:"


def test_a_window_that_starts_with_white_space_gets_no_second_space(tiny):
    for tokens in ((" The", " river"), ("The", " river")):
        assert tiny.tokenizer.decode(window_ids(tiny.tokenizer, tokens)[0]) == " The river"
    assert tiny.tokenizer.decode(window_ids(tiny.tokenizer, ("\n", "x"))[0]) == "\nx"


@pytest.mark.parametrize(
    "tokens",
    [
        ("The", " river", " rises"),
        ("Th", "e ri", "ver", "", " r", "ises."),
        (" caf", "é", " ☃", "", "日本", "\n\n", "x"),
        ("T", "h", "e", " ", " ", "o", "ld"),
    ],
)
def test_every_token_gets_exactly_the_pieces_that_share_a_character_with_it(tiny, tokens):
    ids, ranges = window_ids(tiny.tokenizer, tokens)
    text = "".join(tokens)
    shift = 0 if text[0].isspace() else 1
    encoded = tiny.tokenizer(" " * shift + text, add_special_tokens=False, return_offsets_mapping=True)
    assert encoded["input_ids"] == ids
    start = shift
    for token, (low, high) in zip(tokens, ranges, strict=True):
        own = set(range(start, start + len(token)))
        expected = [i for i, (a, b) in enumerate(encoded["offset_mapping"]) if own & set(range(a, b))]
        assert list(range(low, high)) == expected
        start += len(token)


def test_a_marker_of_the_tokenizer_in_a_text_is_text(tiny):
    ids, ranges = window_ids(tiny.tokenizer, ("a", "<|im_end|>", "b"))
    assert tiny.tokenizer.eos_token_id not in ids + prefix_ids(tiny.tokenizer, "ends with <|im_end|>")
    assert tiny.tokenizer.decode(ids) == " a<|im_end|>b"
    assert ranges[1][1] - ranges[1][0] > 1


def test_a_start_token_is_written_only_by_tokenizers_that_write_one(tiny, tiny_folder):
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    with_bos = AutoTokenizer.from_pretrained(tiny_folder)
    bos = with_bos.bos_token_id
    with_bos.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", bos)]
    )
    assert prefix_ids(with_bos, "z") == [bos, *prefix_ids(tiny.tokenizer, "z")]
    assert window_ids(with_bos, ("x",)) == window_ids(tiny.tokenizer, ("x",))
    assert suffix_ids(with_bos) == suffix_ids(tiny.tokenizer)


def test_a_window_without_text_has_no_pieces(tiny):
    assert window_ids(tiny.tokenizer, ("", "")) == ([], [(0, 0), (0, 0)])
    assert window_ids(tiny.tokenizer, ()) == ([], [])


def test_a_token_has_the_largest_value_of_its_pieces():
    values = per_token([0.1, 0.7, 0.3, 0.2], [(0, 1), (1, 3), (0, 0), (2, 4), (0, 4)])
    assert values.tolist() == [0.1, 0.7, 0.0, 0.3, 0.7]
    assert per_token(np.zeros(0), []).tolist() == []


# --- adapters


def test_adapters_start_as_nothing_and_the_base_stays_frozen(fresh):
    ids = torch.tensor([[5, 9, 200, 31]])
    before = fresh(input_ids=ids).logits
    parameters = lora.attach(fresh, 4, 8.0, torch.Generator().manual_seed(1), layers=2)
    assert torch.equal(fresh(input_ids=ids).logits, before)
    assert {id(p) for p in fresh.parameters() if p.requires_grad} == {id(p) for p in parameters}
    assert len(parameters) == 2 * 7 * 2
    assert not [name for name in lora.state(fresh) if name.startswith(("layers.2", "layers.3"))]


def test_an_adapter_adds_alpha_over_rank_b_a_x_and_its_gradient_is_torchs(fresh):
    generator = torch.Generator().manual_seed(2)
    lora.attach(fresh, 3, 5.0, generator, layers=1)
    adapted = fresh.model.layers[0].mlp.up_proj
    with torch.no_grad():
        adapted.B.normal_(generator=generator)
    x = torch.randn(2, 4, 32, generator=generator)
    by_hand = x @ (adapted.base.weight + 5.0 / 3 * adapted.B @ adapted.A).T
    assert torch.allclose(adapted(x), by_hand, atol=1e-5)
    gradients = torch.autograd.grad(adapted(x).square().sum(), [adapted.A, adapted.B])
    expected = torch.autograd.grad(by_hand.square().sum(), [adapted.A, adapted.B])
    for a, b in zip(gradients, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4)


def test_float32_adapters_on_a_bfloat16_base_compute_in_bfloat16(tiny_folder):
    model = load(str(tiny_folder), dtype="bfloat16", device="cpu").model
    parameters = lora.attach(model, 4, 8.0, torch.Generator().manual_seed(0), layers=1)
    assert {p.dtype for p in parameters} == {torch.float32}
    adapted = model.model.layers[0].self_attn.q_proj
    assert adapted(torch.ones(1, 32, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_the_same_generator_gives_the_same_adapters_and_the_global_state_is_not_touched(fresh):
    other = copy.deepcopy(fresh)
    before = torch.random.get_rng_state()
    lora.attach(fresh, 4, 8.0, torch.Generator().manual_seed(3), layers=2)
    lora.attach(other, 4, 8.0, torch.Generator().manual_seed(3), layers=2)
    Heads(32, n_heads=4, ff=16)
    assert torch.equal(torch.random.get_rng_state(), before)
    a, b = lora.state(fresh), lora.state(other)
    assert list(a) == list(b)
    assert all(torch.equal(a[k], b[k]) for k in a)
    bound = math.sqrt(1 / 32)
    drawn = a["layers.0.self_attn.q_proj.A"]
    assert drawn.abs().max() <= bound
    assert drawn.std() == pytest.approx(bound / math.sqrt(3), rel=0.15)


def test_merged_and_attached_adapters_give_the_same_numbers(fresh):
    plain = copy.deepcopy(fresh)
    generator = torch.Generator().manual_seed(4)
    lora.attach(fresh, 4, 8.0, generator, layers=3)
    filled = {k: torch.randn(v.shape, generator=generator) * 0.05 for k, v in lora.state(fresh).items()}
    lora.load_state(fresh, filled)
    assert all(torch.equal(v, filled[k]) for k, v in lora.state(fresh).items())
    ids = torch.tensor([[5, 9, 200, 31], [7, 7, 8, 100]])
    untouched = plain(input_ids=ids).logits
    lora.merge(plain, filled, 4, 8.0)
    merged = plain(input_ids=ids).logits
    assert torch.allclose(fresh(input_ids=ids).logits, merged, atol=1e-4)
    assert not torch.allclose(untouched, merged, atol=1e-2)


def test_a_truncated_model_gives_the_raw_residual_stream(fresh):
    ids = torch.tensor([[5, 9, 200, 31]])
    expected = fresh.model(input_ids=ids, output_hidden_states=True).hidden_states[2]
    lora.truncate(fresh, 2)
    assert torch.equal(fresh.model(input_ids=ids).last_hidden_state, expected)
    assert fresh.config.num_hidden_layers == 2


def test_adapters_that_do_not_fit_are_named(fresh):
    other = copy.deepcopy(fresh)
    lora.attach(other, 4, 8.0, torch.Generator().manual_seed(0), layers=1)
    good = lora.state(other)
    with pytest.raises(ModelError, match=r"layers\.9\.mlp\.up_proj.*another base"):
        lora.merge(
            fresh, {"layers.9.mlp.up_proj.A": torch.ones(4, 32), "layers.9.mlp.up_proj.B": torch.ones(64, 4)}, 4, 8
        )
    with pytest.raises(ModelError, match=r"1 tensors are missing \(layers\.0\.mlp\.down_proj\.B\)"):
        lora.merge(fresh, {k: v for k, v in good.items() if k != "layers.0.mlp.down_proj.B"}, 4, 8)
    with pytest.raises(ModelError, match="rank 5 on a layer"):
        lora.merge(fresh, good, 5, 8)
    with pytest.raises(ModelError, match="shape"):
        lora.load_state(other, {k: v[:1] for k, v in good.items()})
    with pytest.raises(ModelError, match="9 layers are asked for; the base has 4"):
        lora.truncate(fresh, 9)


# --- heads


def by_hand(heads: Heads, hidden: torch.Tensor, last: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One unpadded window, token by token; parameters taken by name."""

    def norm(x: torch.Tensor, layer: nn.RMSNorm) -> torch.Tensor:
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6) * layer.weight

    n, width = hidden.shape
    size = width // heads.n_heads
    x = norm(hidden, heads.input_norm)
    q, k, v = (norm(x, heads.attention_norm) @ heads.qkv.weight.T).split(width, -1)
    mixed = torch.zeros(n, width)
    for h in range(heads.n_heads):
        own = slice(h * size, (h + 1) * size)
        for i in range(n):
            scores = torch.stack(
                [
                    q[i, own] @ k[j, own] / math.sqrt(size)
                    + heads.bias[h, max(-heads.reach, min(heads.reach, j - i)) + heads.reach]
                    for j in range(n)
                ]
            )
            mixed[i, own] = scores.softmax(0) @ v[:, own]
    x = x + mixed @ heads.attention_out.weight.T + heads.attention_out.bias
    up = norm(x, heads.mlp_norm) @ heads.up.weight.T + heads.up.bias
    x = x + 0.5 * up * (1 + torch.erf(up / math.sqrt(2))) @ heads.down.weight.T + heads.down.bias
    x = norm(x, heads.final_norm)
    return (x @ heads.token.weight.T + heads.token.bias)[:, 0], (x[last] @ heads.window.weight.T + heads.window.bias)[0]


def random_heads(seed: int) -> Heads:
    generator = torch.Generator().manual_seed(seed)
    heads = Heads(12, n_heads=3, ff=8, reach=2)
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.normal_(0, 0.5, generator=generator)
    return heads


def test_the_block_is_what_its_formula_says_with_any_padding():
    heads = random_heads(0)
    hidden = torch.randn(2, 9, 12, generator=torch.Generator().manual_seed(1))
    valid = torch.tensor([[True] * 9, [True] * 6 + [False] * 3])
    token, window = heads(hidden, valid, torch.tensor([8, 5]))
    for row, length in ((0, 9), (1, 6)):
        expected_token, expected_window = by_hand(heads, hidden[row, :length], length - 1)
        assert torch.allclose(token[row, :length], expected_token, atol=1e-4)
        assert torch.allclose(window[row], expected_window, atol=1e-4)
    assert token.isfinite().all()


def test_a_token_sees_what_follows_it_but_no_padding():
    heads = random_heads(0)
    hidden = torch.randn(1, 6, 12, generator=torch.Generator().manual_seed(1))
    valid = torch.tensor([[True] * 5 + [False]])
    token, _ = heads(hidden, valid, torch.tensor([4]))
    later, padding = hidden.clone(), hidden.clone()
    later[0, 4] += 1
    padding[0, 5] = 1e4
    assert (heads(later, valid, torch.tensor([4]))[0][0, 0] - token[0, 0]).abs() > 1e-4
    assert torch.equal(heads(padding, valid, torch.tensor([4]))[0][0, :5], token[0, :5])


def test_the_block_starts_as_the_identity_and_computes_in_float32():
    heads = Heads(12, n_heads=3, ff=8)
    hidden = torch.randn(1, 4, 12, generator=torch.Generator().manual_seed(1))
    x = hidden / (hidden.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    x = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    token, window = heads(hidden, torch.ones(1, 4, dtype=torch.bool), torch.tensor([2]))
    assert torch.allclose(token[0], x[0] @ heads.token.weight[0], atol=1e-5)
    assert torch.allclose(window[0], x[0, 2] @ heads.window.weight[0], atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        low, _ = heads(hidden.bfloat16(), torch.ones(1, 4, dtype=torch.bool), torch.tensor([2]))
    assert low.dtype == torch.float32
    assert torch.allclose(
        low, heads(hidden.bfloat16().float(), torch.ones(1, 4, dtype=torch.bool), torch.tensor([2]))[0]
    )


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="5 heads do not divide a width of 12"):
        Heads(12, n_heads=5)
