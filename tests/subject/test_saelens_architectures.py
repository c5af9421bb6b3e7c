"""Architectures of SAELens against their formulas, written out in NumPy; tests/foreign compares with the library itself."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from latentbench.kernel.errors import CoderError, CoderMismatch
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.coder_check import CoderWarning
from latentbench.subject.coders.coder_spec import load_coder
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.subject.test_coders import D, N, acts, dense, reference, saelens_folder, spec, weights

PLACE = {"metadata": {"hook_name": "blocks.1.hook_resid_post"}}


def gated() -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(7)
    found = {name: value for name, value in weights().items() if name != "b_enc"}
    return found | {name: 0.5 * torch.randn(N, generator=g) for name in ("b_gate", "b_mag", "r_mag")}


@pytest.mark.parametrize("subtract", [True, False])
def test_gated(tiny: Loaded, tmp_path: Path, subtract: bool) -> None:
    w = {name: value.double().numpy() for name, value in gated().items()}
    folder = saelens_folder(tmp_path / "c", gated(), architecture="gated", apply_b_dec_to_input=subtract)
    coder = load_coder(spec(folder), tiny)
    u = (acts().double().numpy() - (w["b_dec"] if subtract else 0)) @ w["W_enc"]
    expected = (u + w["b_gate"] > 0) * np.maximum(u * np.exp(w["r_mag"]) + w["b_mag"], 0)
    assert ((u + w["b_gate"] > 0) & (expected == 0)).any()
    assert ((u + w["b_gate"] <= 0) & (u * np.exp(w["r_mag"]) + w["b_mag"] > 0)).any()
    np.testing.assert_allclose(dense(coder.encode(acts())), expected, atol=1e-4)
    rebuilt = coder.decode(coder.encode(acts())).numpy()
    np.testing.assert_allclose(rebuilt, expected @ w["W_dec"] + w["b_dec"], atol=1e-3)


def test_a_matryoshka_of_training_is_a_batchtopk(tiny: Loaded, tmp_path: Path) -> None:
    w = weights() | {"topk_threshold": torch.tensor(0.6)}
    folder = saelens_folder(tmp_path / "c", w, architecture="matryoshka_batchtopk", k=5, matryoshka_widths=[10, N])
    expected = reference(acts(), weights(), "batchtopk", True, threshold=0.6)
    np.testing.assert_allclose(dense(load_coder(spec(folder), tiny).encode(acts())), expected, atol=1e-5)


@pytest.mark.parametrize("architecture", ["jumprelu_skip_transcoder", "skip_transcoder"])
def test_transcoders_with_a_skip_path(tiny: Loaded, tmp_path: Path, architecture: str) -> None:
    g = torch.Generator().manual_seed(8)
    jumps = architecture.startswith("jumprelu")
    w = weights() | {"W_dec": torch.randn(N, 20, generator=g), "b_dec": torch.randn(20, generator=g)}
    w |= {"W_skip": torch.randn(20, D, generator=g)} | ({"threshold": torch.full((N,), 0.4)} if jumps else {})
    folder = saelens_folder(
        tmp_path / "c", w, architecture=architecture, d_out=20, metadata={"hook_name": "blocks.1.ln2.hook_normalized"}
    )
    coder = load_coder(spec(folder), tiny)
    assert (coder.kind, coder.hookpoint, coder.d_model) == ("transcoder", "layers.1.mlp:in", 20)
    expected = reference(acts(), weights(), "jumprelu" if jumps else "relu", False, threshold=0.4)
    found = coder.encode(acts())
    np.testing.assert_allclose(dense(found), expected, atol=1e-5)
    rebuilt = expected @ w["W_dec"].numpy() + w["b_dec"].numpy() + acts().numpy() @ w["W_skip"].numpy().T
    np.testing.assert_allclose(coder.decode(found, acts()).numpy(), rebuilt, atol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "why"), [("abstopk", "negative"), ("temporal", "before it"), ("matching_pursuit", "search")]
)
def test_what_is_refused_says_why(tiny: Loaded, tmp_path: Path, architecture: str, why: str) -> None:
    folder = saelens_folder(tmp_path / "c", weights(), architecture=architecture, k=5)
    with pytest.raises(CoderError, match=rf"'{architecture}' is not read: .*{why}"):
        load_coder(spec(folder), tiny)


def test_a_threshold_of_zero_is_warned_about(tiny: Loaded, tmp_path: Path) -> None:
    w = weights() | {"topk_threshold": torch.tensor(0.0)}
    folder = saelens_folder(tmp_path / "c", w, architecture="batchtopk", k=5)
    with pytest.warns(CoderWarning, match="threshold of its BatchTopK is 0"):
        load_coder(spec(folder), tiny)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*threshold")
        load_coder(spec(folder, threshold=0.5), tiny)


@pytest.mark.parametrize("marked", ["hook_name", "reshape_activations"])
def test_heads_are_read_behind_the_heads_only(tiny: Loaded, tmp_path: Path, marked: str) -> None:
    more: dict[str, Any] = {"metadata": {"hook_name": "blocks.1.attn.hook_z"}}
    if marked == "reshape_activations":
        more = {"reshape_activations": "hook_z", "metadata": {}}
    folder = saelens_folder(tmp_path / "c", weights(), **more)
    place = "layers.1.self_attn.o_proj:in"
    assert load_coder(spec(folder, hookpoint=place), tiny).hookpoint == place
    if marked == "hook_name":
        assert load_coder(spec(folder), tiny).hookpoint == place
    with pytest.raises(CoderError, match="attention heads"):
        load_coder(spec(folder, hookpoint="layers.1"), tiny)


def changed(folder: Path, **tensors: Tensor | None) -> None:
    file = folder / "sae_weights.safetensors"
    found = {name: value for name, value in (load_file(file) | tensors).items() if value is not None}
    save_file(found, file)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"W_gate": torch.zeros(3)}, r"sae_weights.*W_gate.*not read here"),
        ({"W_skip": torch.zeros(D, D)}, "W_skip"),
        ({"b_enc": None}, "lacks the tensors b_enc"),
        ({"W_dec": torch.full((N, D), torch.nan)}, r"sae_weights.*W_dec holds NaN"),
        ({"b_enc": torch.full((N,), torch.inf)}, r"sae_weights.*b_enc holds infinity"),
        ({"scaling_factor": torch.full((N,), 2.0)}, "scaling_factor is not 1"),
    ],
)
def test_tensors_that_would_change_the_result_are_errors(
    tiny: Loaded, tmp_path: Path, tensors: dict[str, Tensor | None], message: str
) -> None:
    folder = saelens_folder(tmp_path / "c", weights(), **PLACE)
    load_coder(spec(folder), tiny)
    changed(folder, **tensors)
    with pytest.raises(CoderError, match=message):
        load_coder(spec(folder), tiny)


def test_scaling_by_one_is_read(tiny: Loaded, tmp_path: Path) -> None:
    folder = saelens_folder(tmp_path / "c", weights() | {"scaling_factor": torch.ones(N)}, **PLACE)
    load_coder(spec(folder), tiny)


def test_shapes_of_a_gated_coder_are_checked(tiny: Loaded, tmp_path: Path) -> None:
    folder = saelens_folder(tmp_path / "c", gated() | {"r_mag": torch.zeros(3)}, architecture="gated")
    with pytest.raises(CoderMismatch, match="r_mag has shape"):
        load_coder(spec(folder), tiny)
