"""Published formats: what they compute, where they read, what makes a file an error, and what is fetched."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from latentbench.kernel.errors import CoderError, CoderMismatch, FetchError
from latentbench.kernel.registry import lookup
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.coder_check import CoderWarning
from latentbench.subject.coders.coder_files import FORMATS, format_of, located
from latentbench.subject.coders.coder_spec import CoderSpec, load_coder
from latentbench.subject.coders.sae import Sae
from latentbench.subject.coders.weights import read_weights
from torch import Tensor

from tests.builders.published import D, N, Published, published, write_tensors
from tests.builders.tiny_models import tiny_model
from tests.subject.test_coders import dense

CASES = {case.name: case for case in published()}
named = pytest.mark.parametrize("name", list(CASES))


@pytest.fixture(scope="module")
def subjects(tiny: Loaded, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Loaded]:
    # Norms without gains of their own: what a gain does to a coder is in test_places.py.
    gemma = tiny_model(tmp_path_factory.mktemp("subject") / "gemma2", "gemma2", tiny_folder, gains=False)
    return {"llama": tiny, "gemma2": gemma}


def load(case: Published, path: Path, subjects: dict[str, Loaded], kind: str | None = None, **more: Any) -> Sae:
    spec = CoderSpec(name="c", format=kind or case.format, path=str(path), **(case.given | more))
    coder = load_coder(spec, subjects[case.subject])
    assert isinstance(coder, Sae)
    return coder


def inputs(case: Published, rows: int = 60) -> Tensor:
    return 1.5 * torch.randn(rows, case.d_in, generator=torch.Generator().manual_seed(11)) + 0.2


@named
def test_latents_and_reconstruction_are_those_of_the_formula(
    subjects: dict[str, Loaded], tmp_path: Path, name: str
) -> None:
    case, x = CASES[name], inputs(CASES[name])
    coder = load(case, case.write(tmp_path), subjects)
    assert (coder.hookpoint, coder.kind, coder.d_in, coder.n_latents) == (case.hookpoint, case.kind, case.d_in, N)
    found, wide = coder.encode(x), x.double().numpy()
    expected = case.encode(wide)
    assert 0.02 < (expected > 0).mean() < 0.98
    np.testing.assert_allclose(dense(found), expected, atol=2e-5)
    assert ((dense(found) > 0) == (expected > 0)).all()
    np.testing.assert_allclose(coder.decode(found, x).numpy(), case.decode(expected, wide), atol=2e-4)


@named
def test_auto_finds_the_format(subjects: dict[str, Loaded], tmp_path: Path, name: str) -> None:
    case = CASES[name]
    path = case.write(tmp_path)
    assert format_of(*located(str(path), "auto")) == case.format
    assert load(case, path, subjects, "auto").key == load(case, path, subjects).key


@named
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_types_are_read_as_numbers(
    subjects: dict[str, Loaded], tmp_path: Path, name: str, dtype: torch.dtype
) -> None:
    case = CASES[name]
    stored = {k: v.to(dtype) if v.is_floating_point() else v for k, v in case.tensors.items()}
    coder = load(case, case.write(tmp_path, stored), subjects)
    assert coder.w_enc.dtype == coder.b_enc.dtype == torch.float32
    exact = load(case, case.write(tmp_path / "exact"), subjects)
    torch.testing.assert_close(coder.w_enc, exact.w_enc, atol=2e-2, rtol=2e-3)


@named
def test_matrices_may_stand_the_other_way_round(subjects: dict[str, Loaded], tmp_path: Path, name: str) -> None:
    case = CASES[name]
    if "affine_skip_connection" in case.tensors:
        case = replace(case, tensors=case.tensors | {"affine_skip_connection": torch.eye(D)})  # square: no way to tell
    turned = {k: v.T.contiguous() if v.ndim == 2 else v for k, v in case.tensors.items()}
    plain = load(case, case.write(tmp_path / "plain"), subjects)
    other = load(case, case.write(tmp_path / "turned", turned), subjects)
    assert torch.equal(plain.w_enc, other.w_enc)
    assert torch.equal(plain.w_dec, other.w_dec)


@named
def test_every_tensor_that_is_missing_or_wrong_is_named_with_its_file(
    subjects: dict[str, Loaded], tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    for key, value in case.tensors.items():
        without = {k: v for k, v in case.tensors.items() if k != key}
        file = case.file.rpartition("/")[2]
        path = case.write(tmp_path, without)
        if key in case.optional:
            load(case, path, subjects)
        elif key.startswith("dataset_average"):
            with pytest.raises(CoderError, match=r"dataset_average_activation_norm\.blocks"):
                load(case, path, subjects)
        elif key == "affine_skip_connection":
            with pytest.raises(CoderMismatch, match=r"affine_connection") if "by name" not in name else _nothing():
                load(case, path, subjects)
        else:
            # A small letter may be the file's own.
            with pytest.raises(CoderError, match=rf"(?i){file}.*lacks.*{key}"):
                load(case, path, subjects)
        if value.ndim:
            longer = torch.cat([value, value[:1]])
            with pytest.raises(CoderMismatch) if key not in case.optional else _nothing() as seen:
                load(case, case.write(tmp_path, case.tensors | {key: longer}), subjects)
            assert seen is None or file in str(seen.value)
        if value.is_floating_point() and key not in case.optional:
            broken = value.clone(memory_format=torch.contiguous_format)
            broken.view(-1)[0] = torch.nan
            with pytest.raises(CoderError, match=rf"{file}.*{key} holds NaN"):
                load(case, case.write(tmp_path, case.tensors | {key: broken}), subjects)
    with pytest.raises(CoderError, match=rf"{file}.*W_new.*not read here"):
        load(case, case.write(tmp_path, case.tensors | {"W_new": torch.ones(3)}), subjects)


class _nothing:  # noqa: N801  # stands where pytest.raises would
    def __enter__(self) -> None: ...

    def __exit__(self, *args: object) -> None: ...


@named
def test_files_that_are_cut_or_gone_are_one_message(subjects: dict[str, Loaded], tmp_path: Path, name: str) -> None:
    case = CASES[name]
    path = case.write(tmp_path)
    file = tmp_path / case.file
    whole = file.read_bytes()
    for end in (0, 10, len(whole) // 2, len(whole) - 20):
        file.write_bytes(whole[:end])
        with pytest.raises(CoderError, match=file.name):
            load(case, path, subjects)
    file.write_bytes(whole)
    for config in case.configs:
        (tmp_path / config).write_text("{", encoding="utf-8")
        with pytest.raises(CoderError, match=Path(config).name):
            load(case, path, subjects)
    file.unlink()
    with pytest.raises(CoderError):
        load(case, path, subjects)


def test_settings_that_nobody_knows_change_nothing(subjects: dict[str, Loaded], tmp_path: Path) -> None:
    for case in CASES.values():
        more = {name: content | {"unknown": {"a": [1]}} for name, content in case.configs.items()}
        plain = load(case, case.write(tmp_path / "a"), subjects)
        assert load(case, replace(case, configs=more).write(tmp_path / "b"), subjects).key == plain.key


def test_only_what_is_needed_has_to_be_said(subjects: dict[str, Loaded], tmp_path: Path) -> None:
    need = {
        "llama_scope": {"d_model", "d_sae", "hook_point_in", "jump_relu_threshold", "dataset_average_activation_norm"},
        "openmoss": {"sae_type", "d_model", "expansion_factor", "hook_point_in"},
    }
    for name in ("llama_scope R", "openmoss relu"):
        case = CASES[name]
        least = {f: {k: v for k, v in c.items() if k in need[case.format]} for f, c in case.configs.items()}
        coder = load(case, replace(case, configs=least).write(tmp_path), subjects, "auto")
        np.testing.assert_allclose(
            dense(coder.encode(inputs(case))), case.encode(inputs(case).double().numpy()), atol=2e-5
        )
    case = CASES["dictionary_learning BatchTopKSAE"]
    least = {f: {"trainer": {"dict_class": "BatchTopKSAE", "layer": 2}} for f in case.configs}
    assert load(case, replace(case, configs=least).write(tmp_path), subjects, "auto").hookpoint == "layers.2"


NASTY: list[Any] = [
    None,
    True,
    -1,
    0,
    0.5,
    2**62,
    1e300,
    "",
    "x",
    "blocks.99.hook_resid_post",
    [],
    {},
    [1],
    {"in": None},
]


@pytest.mark.parametrize(
    "name",
    ["gemma_scope_2 transcoder", "llama_scope TC", "openmoss dataset-wise", "openmoss glu"]
    + [f"dictionary_learning {kind}" for kind in ("GatedAutoEncoder", "AutoEncoderTopK")],
)
def test_any_value_of_a_setting_is_a_coder_or_a_message(subjects: dict[str, Loaded], tmp_path: Path, name: str) -> None:
    case = CASES[name]
    ((file, config),) = case.configs.items()
    places = [(k,) for k in config] + [(k, inner) for k, v in config.items() if isinstance(v, dict) for inner in v]
    path = case.write(tmp_path)
    read = lookup("coder", case.format)
    messages = 0
    for where in places:
        for value in NASTY:
            content = json.loads(json.dumps(config))
            holder = content if len(where) == 1 else content[where[0]]
            holder[where[-1]] = value
            (tmp_path / file).write_text(json.dumps(content), encoding="utf-8")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    read(CoderSpec(name="c", format=case.format, path=str(path)), subjects[case.subject])
                except CoderError:
                    messages += 1
    assert messages > len(NASTY)


# Gemma Scope


def test_gemma_scope_under_another_name_needs_a_hookpoint(subjects: dict[str, Loaded], tmp_path: Path) -> None:
    case = replace(CASES["gemma_scope res"], file="mine/params.npz", path="mine")
    path = case.write(tmp_path)
    with pytest.raises(CoderError, match="which part of Gemma Scope"):
        load(case, path, subjects)
    assert load(case, path, subjects, hookpoint="layers.2").kind == "sae"
    assert load(case, path, subjects, hookpoint="layers.2.mlp:in").kind == "transcoder"


def test_gemma_scope_that_is_scaled_or_of_heads_elsewhere_is_refused(
    subjects: dict[str, Loaded], tmp_path: Path
) -> None:
    case = CASES["gemma_scope res"]
    with pytest.raises(CoderError, match="scaling_factor is not 1"):
        load(case, case.write(tmp_path, case.tensors | {"scaling_factor": torch.full((N,), 2.0)}), subjects)
    heads = CASES["gemma_scope att"]
    with pytest.raises(CoderError, match="attention heads"):
        load(heads, heads.write(tmp_path), subjects, hookpoint="layers.1.self_attn")


@pytest.mark.parametrize("letters", [str.upper, lambda name: name.replace("_", ""), lambda name: name[:3]])
def test_gemma_scope_has_many_spellings(subjects: dict[str, Loaded], tmp_path: Path, letters: Any) -> None:
    case = CASES["gemma_scope transcoders"]
    spelled = {letters(k) if k != "threshold" else k: v for k, v in case.tensors.items()}
    plain = load(case, case.write(tmp_path / "a"), subjects)
    assert torch.equal(load(case, case.write(tmp_path / "b", spelled), subjects).w_enc, plain.w_enc)


@pytest.mark.parametrize("biases", [1, 3])
def test_a_layer_of_a_cross_layer_transcoder_is_summed_and_said(
    subjects: dict[str, Loaded], tmp_path: Path, biases: int
) -> None:
    case = CASES["gemma_scope_2 transcoder by name"]
    file = "google/gemma-scope-2-1b-pt/clt/width_262k_l0_medium_affine/layer_1.safetensors"
    parts = torch.randn(N, 3, D, generator=torch.Generator().manual_seed(2))
    whole = replace(case, file=file, path=file, tensors=case.tensors | {"w_dec": parts})
    if biases > 1:  # one for each layer that it writes to
        whole.tensors["b_dec"] = torch.stack([whole.tensors["b_dec"], *torch.randn(biases - 1, D)])
    path = whole.write(tmp_path)
    with pytest.warns(CoderWarning, match="cross-layer transcoder.*3 layers is summed"):
        coder = load(whole, path, subjects, "auto")
    assert (coder.kind, coder.hookpoint) == ("transcoder", "layers.1.pre_feedforward_layernorm")
    torch.testing.assert_close(coder.w_dec, parts.sum(1))
    torch.testing.assert_close(coder.b_dec, whole.tensors["b_dec"].reshape(biases, D).sum(0))
    np.testing.assert_allclose(dense(coder.encode(inputs(case))), case.encode(inputs(case).double().numpy()), atol=2e-5)


def test_a_gemma_scope_2_autoencoder_that_names_its_output_is_no_transcoder(
    subjects: dict[str, Loaded], tmp_path: Path
) -> None:
    case = CASES["gemma_scope_2 resid_post"]
    (file, config), *_ = case.configs.items()
    named = replace(case, configs={file: config | {"hf_hook_point_out": config["hf_hook_point_in"]}})
    assert load(named, named.write(tmp_path), subjects).kind == "sae"


def test_llama_scope_scales_by_its_norms_or_is_refused(subjects: dict[str, Loaded], tmp_path: Path) -> None:
    case = next(case for case in CASES.values() if case.format == "llama_scope")
    other = replace(case, configs={f: c | {"norm_activation": "token-wise"} for f, c in case.configs.items()})
    with pytest.raises(CoderError, match="norm_activation 'token-wise' is not read"):
        load(other, other.write(tmp_path), subjects)


def test_auto_takes_the_format_whose_weights_are_there_and_says_it_where_there_are_two(
    subjects: dict[str, Loaded], tmp_path: Path
) -> None:
    case = CASES["dictionary_learning AutoEncoder"]
    path = case.write(tmp_path)
    (path / "cfg.json").write_text(json.dumps({"d_in": D, "d_sae": N}), encoding="utf-8")
    assert format_of(path, None) == "dictionary_learning"
    write_tensors(path / "sae_weights.safetensors", {"W_enc": torch.zeros(D, N)})
    with pytest.warns(CoderWarning, match="formats saelens, dictionary_learning; saelens is read"):
        assert format_of(path, None) == "saelens"


# OpenMOSS


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"sae_type": "crosscoder"}, "is a crosscoder.*all its places together"),
        ({"sae_type": "clt"}, "cross-layer transcoder.*a direction for each place"),
        ({"sae_type": "lorsa"}, "Lorsa.*whole contexts"),
        ({"act_fn": "layertopk"}, "act_fn 'layertopk'"),
        ({"act_fn": "batchlayertopk"}, "act_fn 'batchlayertopk'"),
        ({"act_fn": "batchtopk"}, "chooses within a batch.*`threshold`"),
        ({"norm_activation": "batch-wise"}, "depends on the batch"),
        ({"norm_activation": "token-wise", "hook_point_out": "blocks.2.hook_mlp_out"}, "its own norm"),
        ({"norm_activation": "dataset-wise"}, "dataset_average_activation_norm"),
        ({"expansion_factor": -1}, "expansion_factor is -1"),
        ({"expansion_factor": 1e308, "d_model": 1e300}, "no number of latents"),
    ],
)
def test_what_openmoss_has_beyond_one_token_is_refused(
    subjects: dict[str, Loaded], tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    case = CASES["openmoss relu"]
    other = replace(case, configs={f: c | more for f, c in case.configs.items()})
    with pytest.raises(CoderError, match=message):
        load(other, other.write(tmp_path), subjects)


def test_openmoss_batchtopk_is_read_with_a_threshold(subjects: dict[str, Loaded], tmp_path: Path) -> None:
    case = CASES["openmoss relu"]
    more = {"act_fn": "batchtopk", "sparsity_include_decoder_norm": False}
    other = replace(case, configs={f: c | more for f, c in case.configs.items()})
    found = dense(load(other, other.write(tmp_path), subjects, threshold=0.5).encode(inputs(case)))
    expected = case.encode(inputs(case).double().numpy())
    np.testing.assert_allclose(found, np.where(expected > 0.5, expected, 0), atol=2e-5)


def test_openmoss_names_of_before_are_read(subjects: dict[str, Loaded], tmp_path: Path) -> None:
    case = CASES["openmoss jumprelu"]
    tensors = {
        "encoder.weight": case.tensors["W_E"].T,
        "encoder.bias": case.tensors["b_E"],
        "decoder.weight": case.tensors["W_D"].T,
        "decoder.bias": case.tensors["b_D"],
        "log_jumprelu_threshold": case.tensors["activation_function.log_jumprelu_threshold"],
    }
    coder = load(case, case.write(tmp_path, tensors), subjects)
    np.testing.assert_allclose(dense(coder.encode(inputs(case))), case.encode(inputs(case).double().numpy()), atol=2e-5)


# dictionary_learning


@pytest.mark.parametrize(
    ("submodule", "io", "place", "kind"),
    [
        (None, "out", "layers.2", "sae"),
        ("resid_post_layer_2", "out", "layers.2", "sae"),
        ("resid_pre_layer_2", "out", "layers.2:in", "sae"),
        ("mlp_out_layer_2", "out", "layers.2.mlp", "sae"),
        ("attn_out_layer_2", "out", "layers.2.self_attn", "sae"),
        ("model.layers.2.mlp", "out", "layers.2.mlp", "sae"),
        ("model.layers.2.mlp", "in", "layers.2.mlp:in", "sae"),
        ("mlp_layer_2", "in_and_out", "layers.2.mlp:in", "transcoder"),
    ],
)
def test_places_of_dictionary_learning(
    subjects: dict[str, Loaded], tmp_path: Path, submodule: str | None, io: str, place: str, kind: str
) -> None:
    case = CASES["dictionary_learning AutoEncoder"]
    configs = {
        f: {"trainer": c["trainer"] | {"submodule_name": submodule}, "buffer": {"io": io}}
        for f, c in case.configs.items()
    }
    coder = load(case, replace(case, configs=configs).write(tmp_path), subjects)
    assert (coder.hookpoint, coder.kind) == (place, kind)


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ({"dict_class": "IdentityDict"}, "dict_class 'IdentityDict' is not read. Known: .*GatedAutoEncoder"),
        ({"layer": None}, "layer is None"),
        ({"submodule_name": "embedding"}, "'embedding', which has no counterpart"),
        ({"submodule_name": "resid_post_layer_1"}, "not of layer 2"),
        ({"dict_size": 7}, "has 48.*dict_size 7"),
        ({"activation_dim": 7}, "has 32.*activation_dim 7"),
        ({"k": 9}, "k 5.*trainer.k 9"),
    ],
)
def test_configurations_of_dictionary_learning_that_cannot_be_right(
    subjects: dict[str, Loaded], tmp_path: Path, trainer: dict[str, Any], message: str
) -> None:
    case = CASES["dictionary_learning AutoEncoderTopK"]
    configs = {f: c | {"trainer": c["trainer"] | trainer} for f, c in case.configs.items()}
    other = replace(case, configs=configs)
    with pytest.raises(CoderError, match=message):
        load(other, other.write(tmp_path), subjects)


def test_a_threshold_that_was_never_set_is_warned_about(subjects: dict[str, Loaded], tmp_path: Path) -> None:
    case = CASES["dictionary_learning BatchTopKSAE"]
    path = case.write(tmp_path, case.tensors | {"threshold": torch.tensor(-1.0)})
    with pytest.warns(CoderWarning, match="threshold was never set"):
        coder = load(case, path, subjects)
    expected = replace(CASES["dictionary_learning AutoEncoderTopK"]).encode  # of the same weights
    x = inputs(case)
    positive = dense(coder.encode(x))
    assert ((positive > 0).sum(1) > 5).all()
    assert (positive[expected(x.double().numpy()) > 0] > 0).all()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*threshold")
        load(case, path, subjects, threshold=0.4)


@pytest.mark.parametrize("name", [n for n in CASES if n.startswith("dictionary_learning")])
def test_backups_of_training_have_their_factor_in_the_biases(
    subjects: dict[str, Loaded], tmp_path: Path, name: str
) -> None:
    """The library scales biases and thresholds by the factor when it saves; a backup is from before that."""
    case, factor = CASES[name], 2.5
    path = case.write(tmp_path)
    scaled = {
        "bias",
        "decoder.bias",
        "encoder.bias",
        "b_enc",
        "b_dec",
        "decoder_bias",
        "gate_bias",
        "mag_bias",
        "threshold",
    }
    saved = {k: v * factor if k in scaled else v for k, v in case.tensors.items()}
    backup = {"step": 3, "ae": case.tensors, "optimizer": {"state": {}}, "config": {"k": 5}, "norm_factor": factor}
    if name.endswith("TopKSAE"):
        backup["norm_factor"] = torch.tensor(factor)
    torch.save(backup, tmp_path / case.file)
    found = load(case, path, subjects)
    expected = load(case, case.write(tmp_path / "saved", saved), subjects)
    x = inputs(case)
    np.testing.assert_allclose(dense(found.encode(x)), dense(expected.encode(x)), atol=1e-5)
    torch.testing.assert_close(found.b_dec, expected.b_dec)


def test_checkpoints_find_the_configuration_above_them(subjects: dict[str, Loaded], tmp_path: Path) -> None:
    case = CASES["dictionary_learning JumpReluAutoEncoder"]
    folder = case.write(tmp_path)
    write_tensors(folder / "checkpoints" / "ae_1000.pt", {k: 2 * v for k, v in case.tensors.items()})
    for kind in ("dictionary_learning", "auto"):
        coder = load(case, folder / "checkpoints" / "ae_1000.pt", subjects, kind)
        torch.testing.assert_close(coder.b_dec, 2 * case.tensors["b_dec"])


# Single files


def test_single_files_need_to_be_named(subjects: dict[str, Loaded], tmp_path: Path) -> None:
    for name in ("goodfire", "mwhanna", "qwen_scope"):
        case = CASES[name]
        path = case.write(tmp_path)
        with pytest.raises(CoderError, match="ends in the name"):
            load(case, path.parent, subjects)
        other = path.with_name("other" + path.suffix)
        path.rename(other)
        with pytest.raises(CoderError, match="where the coder reads"):
            load(case, other, subjects)
        assert load(case, other, subjects, hookpoint="layers.3").hookpoint == "layers.3"


def test_qwen_scope_has_its_k_in_its_name_or_in_the_spec(subjects: dict[str, Loaded], tmp_path: Path) -> None:
    case = replace(CASES["qwen_scope"], file="mine/layer1.sae.pt", path="mine/layer1.sae.pt")
    path = case.write(tmp_path)
    with pytest.raises(CoderError, match="give the coder a `k`"):
        load(case, path, subjects)
    assert load(case, path, subjects, k=6).k == 6


# Looking


def test_a_folder_of_no_format_says_what_it_has_and_what_each_needs(tiny: Loaded, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_text("x", encoding="utf-8")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}), encoding="utf-8")
    with pytest.raises(CoderError) as seen:
        load_coder(CoderSpec(name="c", format="auto", path=str(tmp_path)), tiny)
    said = str(seen.value)
    assert "it has config.json, model.bin" in said
    for name, one in FORMATS.items():
        assert f"{name}: {one.needs}" in said
    with pytest.raises(ValueError, match="needs path"):
        CoderSpec(name="c", format="auto")


# Files that are meant to do harm


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise AssertionError('code was run')",))


def test_no_file_runs_code(tmp_path: Path) -> None:
    torch.save({"W_enc": torch.ones(2), "extra": _Runs()}, tmp_path / "w.pt")
    with pytest.raises(CoderError, match="may run code"):
        read_weights(tmp_path / "w.pt", ("W_enc",))
    np.savez(tmp_path / "w.npz", W_enc=np.array([_Runs()], dtype=object))
    with pytest.raises(CoderError, match="expected numbers"):
        read_weights(tmp_path / "w.npz", ("W_enc",))


def test_checkpoints_of_before_torch_1_6_are_refused(tmp_path: Path) -> None:
    torch.save({"W_enc": torch.ones(2)}, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(CoderError, match=r"torch 1\.6"):
        read_weights(tmp_path / "w.pt", ("W_enc",))


def _npy(shape: str, data: bytes, dtype: str = "<f4") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (_npy("(1000000, 1000000)", b"\0" * 64), "is shorter"),
        (_npy("(99999999999999999999999,)", b""), "is shorter"),
        (_npy("(2,)", b"\0" * 8, "|O"), "expected numbers"),
        (_npy("(2,)", b"\0" * 64, "<U8"), "expected numbers"),
        (_npy("(" + "1," * 5000 + ")", b"\0" * 4), "cannot be read"),
        (b"\x93NUMPY\x03\x00", "version"),
        (b"words", "cannot be read"),
        (_npy("(-3,)", b"\0" * 64), "is shorter"),
    ],
)
def test_arrays_that_lie_about_themselves(tmp_path: Path, member: bytes, message: str) -> None:
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as f:
        f.writestr("W_enc.npy", member)
    with pytest.raises(CoderError, match=message):
        read_weights(tmp_path / "w.npz", ("W_enc",))


def test_archives_that_unpack_to_very_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentbench.subject.coders.weights.FREE_BYTES", 1 << 16)
    for name in ("w.npz", "w.pt"):
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as f:
            f.writestr("W_enc.npy", _npy("(1000000,)", b"\0" * 4_000_000))
        with pytest.raises(CoderError, match="LATENTBENCH_READ_LIMIT"):
            read_weights(tmp_path / name, ("W_enc",))


def test_tensors_without_their_values_are_refused(tmp_path: Path) -> None:
    torch.save({"W_enc": torch.ones(1).expand(1000, 1000)}, tmp_path / "w.pt")
    with pytest.raises(CoderError, match="has fewer values"):
        read_weights(tmp_path / "w.pt", ("W_enc",))
    torch.save({"W_enc": torch.eye(3).to_sparse()}, tmp_path / "s.pt")
    with pytest.raises(CoderError, match="dense"):
        read_weights(tmp_path / "s.pt", ("W_enc",))


def test_archives_in_columns_and_other_byte_orders_are_read(tmp_path: Path) -> None:
    value = np.arange(6, dtype=np.float64).reshape(2, 3)
    np.savez_compressed(tmp_path / "w.npz", a=np.asfortranarray(value), b=value.astype(">f4"), c=value.astype("<i8"))
    for found in read_weights(tmp_path / "w.npz", ("a", "b", "c"), strict=True).values():
        assert found.tolist() == value.tolist()


# The hub, played by a folder: nothing beyond this machine is asked


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None, list[str]]]:
    """`snapshot_download` from folders below `tmp_path / hub`; notes what was asked."""
    from huggingface_hub.utils import filter_repo_objects

    asked: list[tuple[str, str | None, list[str]]] = []

    def download(repository: str, revision: str | None, allow_patterns: Sequence[str]) -> str:
        source, target = tmp_path / "hub" / repository, tmp_path / "snapshot" / str(len(asked)) / repository
        files = [str(p.relative_to(source)) for p in sorted(source.rglob("*")) if p.is_file()]
        got = list(filter_repo_objects(files, allow_patterns=list(allow_patterns)))
        asked.append((repository, revision, got))
        target.mkdir(parents=True)
        for name in got:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((source / name).read_bytes())
        return str(target)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    return asked


@named
@pytest.mark.parametrize("kind", ["named", "auto"])
def test_the_hub_is_asked_for_the_files_of_one_coder(
    subjects: dict[str, Loaded], tmp_path: Path, hub: list[tuple[str, str | None, list[str]]], name: str, kind: str
) -> None:
    case = CASES[name]
    root = tmp_path / "hub" / "org"
    case.write(root)
    # As many formats keep many coders in one repository, beside what nobody needs.
    for other in ("other/params.npz", "other/cfg.json", "optimizer.pt", "other/sae_weights.safetensors", "big.bin"):
        place = root / case.path.partition("/")[0] / other
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x")
        (root / case.file).with_name(Path(other).name + ".unwanted").write_bytes(b"x")
    first, _, rest = case.path.partition("/")
    coder = load(case, Path(f"org/{first}@main:{rest}"), subjects, "auto" if kind == "auto" else None)
    local = load(case, root / case.path, subjects)
    assert coder.key == local.key
    (repository, revision, got), *_ = hub
    assert (repository, revision) == (f"org/{first}", "main")
    expected = {case.file.removeprefix(f"{first}/"), *(c.removeprefix(f"{first}/") for c in case.configs)}
    assert set(got) == expected


def test_what_the_hub_has_not_is_said(tmp_path: Path, hub: Any, tiny: Loaded) -> None:
    (tmp_path / "hub/org/name/a").mkdir(parents=True)
    (tmp_path / "hub/org/name/a/readme.md").write_text("x", encoding="utf-8")
    with pytest.raises(CoderError, match="no folder 'a' with params.npz"):
        load_coder(CoderSpec(name="c", format="gemma_scope", path="org/name:a"), tiny)
    with pytest.raises(CoderError, match="no folder 'a' with layer_1.safetensors"):
        load_coder(CoderSpec(name="c", format="mwhanna", path="org/name:a/layer_1.safetensors"), tiny)


def test_a_hub_that_fails_is_one_error(tiny: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **more: Any) -> str:
        raise ConnectionError("nobody there")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FetchError, match="nobody there"):
        load_coder(CoderSpec(name="c", format="auto", path="org/name"), tiny)


def test_a_subfolder_with_stars_is_a_name(
    subjects: dict[str, Loaded], tmp_path: Path, hub: list[tuple[str, str | None, list[str]]]
) -> None:
    CASES["gemma_scope res"].write(tmp_path / "hub/org")
    with pytest.raises(CoderError, match="no folder"):
        load_coder(
            CoderSpec(
                name="c", format="gemma_scope", path="org/google:gemma-scope-2b-pt-*/layer_1/width_16k/average_l0_7"
            ),
            subjects["gemma2"],
        )
    assert all(not got for _, _, got in hub)


@pytest.mark.parametrize("shape", [(0,), (2,)])
def test_k_of_a_dictionary_learning_checkpoint_is_one_number(
    subjects: dict[str, Loaded], tmp_path: Path, shape: tuple[int, ...]
) -> None:
    case = next(c for c in CASES.values() if c.format == "dictionary_learning" and "k" in c.tensors)
    path = case.write(tmp_path, case.tensors | {"k": torch.full(shape, 5)})
    with pytest.raises(CoderMismatch, match=r"ae\.pt: k has shape .*expected one number"):
        load(case, path, subjects)


@pytest.mark.parametrize("file", ["a.safetensors", "a.pt", "a.npz"])
def test_complex_weights_do_not_lose_their_imaginary_part_in_silence(tmp_path: Path, file: str) -> None:
    write_tensors(tmp_path / file, {"w": torch.ones(2, 2, dtype=torch.complex64)})
    with pytest.raises(CoderError, match=r"w.*expected .*numbers"):
        read_weights(tmp_path / file, ["w"])
