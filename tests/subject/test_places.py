"""Names of other libraries against what a block computes: the tensors are put together from the model's own parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from latentbench.kernel.errors import CoderError
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.places import before_gain, found_place, gain_of, named_place
from latentbench.subject.coders.sae import Activation, Gate, Glu, Sae
from latentbench.subject.hooks import capture, site
from torch import Tensor

from tests.builders.tiny_models import EXTRA, tiny_model

IDS = torch.arange(5, 45)[None]


@pytest.fixture(scope="module")
def models(tiny: Loaded, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Loaded]:
    folder = tmp_path_factory.mktemp("architectures")
    return {"llama": tiny} | {kind: tiny_model(folder / kind, kind, tiny_folder) for kind in EXTRA}


def place(loaded: Loaded, name: str) -> str:
    found = found_place(name, loaded)
    assert found is not None, name
    return found.hookpoint


def at(loaded: Loaded, *names: str) -> tuple[Tensor, ...]:
    """Activations at foreign names."""
    places = [place(loaded, name) for name in names]
    found = capture(loaded, IDS, None, places)
    return tuple(found[p] for p in places)


@pytest.mark.parametrize("kind", ["llama", "gemma2", "olmo2", "gpt2"])
def test_the_stream_is_the_sum_of_what_is_added_to_it(models: dict[str, Loaded], kind: str) -> None:
    """pre + attn_out = mid and mid + mlp_out = post, as the names mean it, whatever norms stand in between."""
    names = (f"blocks.1.hook_{name}" for name in ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post"))
    pre, attention, mid, mlp, post = at(models[kind], *names)
    torch.testing.assert_close(pre + attention, mid, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mid + mlp, post, atol=1e-5, rtol=1e-5)


def test_where_attention_and_mlp_run_side_by_side_there_is_no_middle(models: dict[str, Loaded]) -> None:
    pre, attention, mlp, post = at(
        models["gpt_neox"], *(f"blocks.1.hook_{name}" for name in ("resid_pre", "attn_out", "mlp_out", "resid_post"))
    )
    torch.testing.assert_close(pre + attention + mlp, post, atol=1e-5, rtol=1e-5)
    assert found_place("blocks.1.hook_resid_mid", models["gpt_neox"]) is None


@pytest.mark.parametrize("kind", ["llama", "gemma2", "olmo2", "gpt2", "gpt_neox"])
def test_modules_inputs_and_outputs_belong_together(models: dict[str, Loaded], kind: str) -> None:
    loaded = models[kind]
    z, neurons, mlp_in, mlp_out = at(
        loaded, *(f"blocks.2.{name}" for name in ("attn.hook_z", "mlp.hook_post", "mlp.hook_in", "mlp.hook_out"))
    )
    projection, down = (
        site(loaded, place(loaded, f"blocks.2.{name}")).module for name in ("attn.hook_z", "mlp.hook_post")
    )
    torch.testing.assert_close(projection(z), at(loaded, "blocks.2.attn.hook_out")[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(down(neurons), mlp_out, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(site(loaded, "layers.2.mlp").module(mlp_in), mlp_out, atol=1e-5, rtol=1e-5)
    assert place(loaded, "blocks.2.hook_mlp_in") == "layers.2.mlp:in"
    assert place(loaded, "blocks.2.hook_out") == "layers.2"


@pytest.mark.parametrize(
    ("kind", "name", "inside"),
    [
        ("llama", "ln2.hook_normalized", "post_attention_layernorm"),
        ("gemma2", "ln2.hook_normalized", "pre_feedforward_layernorm"),
        ("gemma2", "ln1.hook_normalized", "input_layernorm"),
        ("gpt2", "ln2.hook_normalized", "ln_2"),
        ("gpt2", "ln1.hook_normalized", "ln_1"),
        ("gpt_neox", "ln2.hook_normalized", "post_attention_layernorm"),
    ],
)
def test_inside_a_norm_is_what_it_gives_without_its_gain(
    models: dict[str, Loaded], kind: str, name: str, inside: str
) -> None:
    loaded = models[kind]
    found = found_place(f"blocks.1.{name}", loaded)
    assert found is not None
    assert found.norm is site(loaded, f"layers.1.{inside}").module
    behind, before = (capture(loaded, IDS, None, [p])[p] for p in (found.hookpoint, f"layers.1.{inside}:in"))
    given = gain_of(found.norm)
    centred = before - before.mean(-1, keepdim=True) if isinstance(found.norm, torch.nn.LayerNorm) else before
    eps = getattr(found.norm, "eps", getattr(found.norm, "variance_epsilon", None))
    normalised = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    gain, bias = given if given is not None else (torch.ones(()), torch.zeros(()))
    torch.testing.assert_close(gain * normalised + bias, behind, atol=1e-4, rtol=1e-4)
    assert (given is None) == (kind == "llama"), "only this model's norms have no gain of their own"


def coder(kind: Any, activation: Activation, **more: Any) -> Sae:
    g = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g)

    return Sae(
        "c", kind, "layers.1.mlp:in", "key", activation, draw(48, 32), draw(48), draw(48, 32), draw(32),
        w_skip=draw(32, 32) if kind == "transcoder" else None, **more,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["sae", "transcoder"])
@pytest.mark.parametrize("activation", ["relu", "gated", "topk", "glu"])
@pytest.mark.parametrize("model", ["gemma2", "gpt2"])
def test_a_coder_from_before_a_gain_gives_the_same_behind_it(
    models: dict[str, Loaded], model: str, activation: str, kind: str
) -> None:
    found = found_place("blocks.1.ln2.hook_normalized", models[model])
    assert found is not None
    assert found.norm is not None
    given = gain_of(found.norm)
    assert given is not None
    n = torch.randn(20, 32, generator=torch.Generator().manual_seed(4))
    x = n * given[0] + given[1]
    more: dict[str, Any] = {"b_pre": torch.linspace(-1, 1, 32)} if kind == "sae" else {}
    if activation == "gated":
        more["gate"] = Gate(torch.linspace(-4, 4, 48), torch.linspace(0.5, 2, 48))
    if activation == "topk":
        more["k"] = 4
    if activation == "glu":
        more["glu"] = Glu(torch.randn(48, 32, generator=torch.Generator().manual_seed(5)), torch.zeros(48))
    plain = coder(kind, "relu" if activation == "glu" else activation, **more)
    folded = before_gain(plain, found)
    a, b = plain.encode(n), folded.encode(x)
    assert torch.equal(a.rows, b.rows)
    assert torch.equal(a.latents, b.latents)
    torch.testing.assert_close(a.values, b.values, atol=1e-3, rtol=1e-4)
    rebuilt, expected = folded.decode(b, x), plain.decode(a, n)
    if kind == "sae":
        expected = expected * given[0] + given[1]
    torch.testing.assert_close(rebuilt, expected, atol=1e-2, rtol=1e-4)


def test_a_norm_without_a_gain_changes_nothing(tiny: Loaded) -> None:
    found = found_place("blocks.1.ln2.hook_normalized", tiny)
    assert found is not None
    plain = coder("transcoder", "relu")
    assert before_gain(plain, found) is plain


def test_embeddings_and_the_last_norm(models: dict[str, Loaded]) -> None:
    assert place(models["gemma2"], "hook_embed") == "layers.0:in"
    assert place(models["gpt2"], "hook_embed") == "wte"
    assert place(models["llama"], "ln_final.hook_normalized") == "norm"
    assert place(models["gpt2"], "ln_final.hook_normalized") == "ln_f"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.layers.2.output", "layers.2"),
        ("model.layers.2.self_attn.o_proj.input", "layers.2.self_attn.o_proj:in"),
        ("model.layers.2.post_feedforward_layernorm.output", "layers.2.post_feedforward_layernorm"),
        ("model.layers.2.pre_feedforward_layernorm.output", "layers.2.pre_feedforward_layernorm"),
        ("model.layers.2", "layers.2"),
        ("layers.2.mlp", "layers.2.mlp"),
    ],
)
def test_names_of_hugging_face_are_places(models: dict[str, Loaded], name: str, expected: str) -> None:
    assert place(models["gemma2"], name) == expected


def test_what_has_no_counterpart_is_said(tiny: Loaded) -> None:
    assert found_place("blocks.1.attn.hook_pattern", tiny) is None
    with pytest.raises(CoderError, match=r"cfg\.json reads 'blocks\.1\.attn\.hook_q'.*`hookpoint`"):
        named_place("blocks.1.attn.hook_q", tiny, "cfg.json", None)
    with pytest.raises(CoderError, match="4 blocks"):
        named_place("blocks.9.hook_resid_post", tiny, "cfg.json", None)
    with pytest.raises(CoderError, match="does not say where"):
        named_place(None, tiny, "cfg.json", None)


def test_a_hookpoint_of_the_spec_decides_except_for_heads(tiny: Loaded) -> None:
    assert named_place("blocks.1.hook_resid_post", tiny, "f", "layers.3.mlp").hookpoint == "layers.3.mlp"
    found = named_place("blocks.1.ln2.hook_normalized", tiny, "f", "layers.1.mlp:in")
    assert found.norm is None, "a hookpoint means the tensor as it stands"
    heads = "blocks.1.attn.hook_z"
    assert named_place(heads, tiny, "f", "layers.2.self_attn.o_proj:in").hookpoint == "layers.2.self_attn.o_proj:in"
    for wrong in ("layers.1", "layers.1.self_attn", "layers.1.self_attn.o_proj", "layers.1.mlp.down_proj:in"):
        with pytest.raises(CoderError, match="attention heads"):
            named_place(heads, tiny, "f", wrong)
