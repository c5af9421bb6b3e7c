from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from latentbench.kernel.errors import CoderError
from latentbench.models.language_model import Loaded
from latentbench.models.source import ModelFiles
from latentbench.subject.hooks import Capture, capture, d_in, edit, site


def _loaded(model: Any) -> Loaded:
    files = ModelFiles("random", Path(), "0")
    return Loaded(files, model.eval().requires_grad_(False), None, "float32", torch.device("cpu"))


@pytest.fixture(scope="module")
def deep() -> Loaded:
    """Twelve blocks, so that layers.1 is a prefix of layers.10 and layers.11."""
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=50,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=12,
            num_attention_heads=2,
            num_key_value_heads=1,
        )
        return _loaded(LlamaForCausalLM(config))


@pytest.fixture(scope="module")
def gpt2() -> Loaded:
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _loaded(GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=3, n_head=2, n_positions=32)))


IDS = torch.tensor([[1, 7, 9, 4, 30], [1, 2, 3, 4, 5]])


def test_block_outputs_are_the_hidden_states_of_a_full_pass(deep: Loaded) -> None:
    names = ["layers.1", "layers.10", "layers.0"]
    found = capture(deep, IDS, None, names)
    states = deep.model(IDS, output_hidden_states=True).hidden_states
    for name in names:
        assert torch.equal(found[name], states[int(name.split(".")[1]) + 1])
    assert not torch.equal(found["layers.1"], found["layers.10"])


def test_a_name_is_looked_up_exactly_and_not_by_prefix(deep: Loaded) -> None:
    layers = deep.model.model.layers
    assert site(deep, "layers.1").module is layers[1]
    assert site(deep, "layers.11").module is layers[11]
    assert site(deep, "layers.1.mlp").module is layers[1].mlp
    assert site(deep, "model.layers.1").name == "layers.1"


def test_module_inputs_and_outputs(deep: Loaded) -> None:
    found = capture(deep, IDS, None, ["layers.2.mlp", "layers.2.mlp.down_proj:in", "layers.3:in", "layers.2"])
    rebuilt = deep.model.model.layers[2].mlp.down_proj(found["layers.2.mlp.down_proj:in"])
    assert torch.allclose(rebuilt, found["layers.2.mlp"], atol=1e-6)
    assert torch.equal(found["layers.3:in"], found["layers.2"])
    assert d_in(deep, "layers.2.mlp.down_proj:in") == 24
    assert d_in(deep, "layers.2") == 16


def test_the_pass_stops_after_the_last_hookpoint(deep: Loaded) -> None:
    ran: list[int] = []
    handles = [
        block.register_forward_hook(lambda m, a, o, i=i: ran.append(i))
        for i, block in enumerate(deep.model.model.layers)
    ]
    try:
        capture(deep, IDS, None, ["layers.4", "layers.2"])
    finally:
        for h in handles:
            h.remove()
    assert ran == [0, 1, 2, 3, 4]


def test_unknown_hookpoints_name_near_ones(deep: Loaded) -> None:
    with pytest.raises(CoderError, match=r"12 blocks, layers\.0 to layers\.11"):
        site(deep, "layers.12")
    with pytest.raises(CoderError, match=r"did you mean .*layers\.9\.mlp"):
        site(deep, "layers.9.mpl")
    for name in ("", "layers", "layers.", ":in", "nonsense"):
        with pytest.raises(CoderError, match="unknown hookpoint"):
            site(deep, name)


def test_gpt2_blocks_answer_to_both_names(gpt2: Loaded) -> None:
    found = capture(gpt2, IDS, None, ["layers.1", "h.1", "transformer.h.1", "layers.1.mlp"])
    states = gpt2.model(IDS, output_hidden_states=True).hidden_states
    for name in ("layers.1", "h.1", "transformer.h.1"):
        assert torch.equal(found[name], states[2])
        assert site(gpt2, name).name == "layers.1"
    assert found["layers.1.mlp"].shape == (2, 5, 16)


def test_gpt_neox_is_found_too() -> None:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2
    )
    loaded = _loaded(GPTNeoXForCausalLM(config))
    states = loaded.model(IDS, output_hidden_states=True).hidden_states
    assert torch.equal(capture(loaded, IDS, None, ["layers.0"])["layers.0"], states[1])


def test_right_padding_does_not_change_real_tokens(deep: Loaded) -> None:
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    padded = capture(deep, IDS, mask, ["layers.5"])["layers.5"]
    alone = capture(deep, IDS[1:, :3], None, ["layers.5"])["layers.5"]
    assert torch.allclose(padded[1, :3], alone[0], atol=1e-5)
    with pytest.raises(ValueError, match="left"):
        capture(deep, IDS, 1 - mask, ["layers.5"])


def test_an_open_session_does_not_disturb_other_passes(deep: Loaded) -> None:
    deep.model(IDS, output_hidden_states=True)  # transformers leaves hooks of its own behind
    hooks = dict(deep.model.model.layers[1]._forward_hooks)
    with Capture(deep, ["layers.1"]) as outer:
        first = outer.run(IDS)["layers.1"]
        inner = capture(deep, IDS, None, ["layers.8"])["layers.8"]
        logits = deep.model(IDS).logits
        assert torch.equal(outer.run(IDS)["layers.1"], first)
    assert torch.equal(inner, capture(deep, IDS, None, ["layers.8"])["layers.8"])
    assert logits.shape == (2, 5, 50)
    assert dict(deep.model.model.layers[1]._forward_hooks) == hooks


def test_a_closed_session_says_so(deep: Loaded) -> None:
    with pytest.raises(RuntimeError, match="with"):
        Capture(deep, ["layers.1"]).run(IDS)


@pytest.mark.parametrize("hookpoint", ["layers.3", "layers.3.mlp", "layers.3.mlp.down_proj:in"])
def test_splicing_the_same_activations_changes_nothing(deep: Loaded, hookpoint: str) -> None:
    clean = deep.model(IDS).logits
    with edit(deep, hookpoint, lambda x: x.clone()):
        assert torch.equal(deep.model(IDS).logits, clean)
    with edit(deep, hookpoint, torch.zeros_like):
        assert not torch.allclose(deep.model(IDS).logits, clean, atol=1e-4)
    assert torch.equal(deep.model(IDS).logits, clean)


def test_an_edit_replaces_what_later_blocks_read(deep: Loaded) -> None:
    marker = torch.full((2, 5, 16), 0.25)
    with edit(deep, "layers.3", lambda x: marker):
        assert torch.equal(capture(deep, IDS, None, ["layers.4:in"])["layers.4:in"], marker)
