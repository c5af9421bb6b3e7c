"""Coders that the libraries' own classes write, read here, against the libraries' own encode and decode.

The weights are random and the files are made at test time by the libraries' own functions. Where SAELens reads somebody else's
format, it reads the same local file (`local_hub`).
"""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sae_lens
import torch
from dictionary_learning import dictionary
from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
from dictionary_learning.trainers.top_k import AutoEncoderTopK
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.coder_spec import CoderSpec, load_coder
from latentbench.subject.coders.sae import Sae
from sae_lens.loading import pretrained_sae_loaders as loaders
from sae_lens.registry import get_sae_class, get_sae_training_class
from sparsify import SparseCoder, SparseCoderConfig
from torch import Tensor

from tests.builders.published import Published, gemma_scope, gemma_scope_2, llama_scope, single_files
from tests.builders.tiny_models import tiny_model
from tests.foreign.conftest import Agreement
from tests.subject.test_coders import dense

D, N, OUT, K = 32, 64, 32, 6
ROWS = 200


@pytest.fixture(scope="module")
def gemma(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return tiny_model(tmp_path_factory.mktemp("foreign-subject") / "gemma2", "gemma2", tiny_folder, gains=False)


def inputs(d: int = D) -> Tensor:
    return 2 * torch.randn(ROWS, d, generator=torch.Generator().manual_seed(3)) + 0.3


def randomise(module: torch.nn.Module, seed: int = 0) -> None:
    """Weights for which every part of the formula matters; counts and thresholds are left to the caller."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(torch.randn(value.shape, generator=g) * (0.3 if value.ndim == 1 else value.shape[-1] ** -0.5))


def ours(path: Path, loaded: Loaded, kind: str, x: Tensor, **more: Any) -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        coder = load_coder(CoderSpec(name="c", format=kind, path=str(path), **more), loaded, verify=False)
        again = load_coder(CoderSpec(name="c", format="auto", path=str(path), **more), loaded, verify=False)
    assert isinstance(coder, Sae)
    assert coder.key == again.key
    found = coder.encode(x)
    return dense(found, coder.n_latents), coder.decode(found, x).numpy()


@torch.no_grad()
def theirs(module: Any, x: Tensor, **more: Any) -> tuple[Any, Any]:
    found = module.encode(x, **more)
    return found.numpy(), module(x).numpy()


# SAELens

PLAIN: dict[str, dict[str, Any]] = {
    "standard": {},
    "standard, apply_b_dec_to_input false": {"apply_b_dec_to_input": False},
    "standard, layer_norm": {"normalize_activations": "layer_norm"},
    "standard, constant_norm_rescale": {"normalize_activations": "constant_norm_rescale"},
    "gated": {},
    "gated, apply_b_dec_to_input false": {"apply_b_dec_to_input": False},
    "jumprelu": {},
    "topk": {"k": K},
    "topk, rescale_acts_by_decoder_norm": {"k": K, "rescale_acts_by_decoder_norm": True},
    "transcoder": {"d_out": OUT, "apply_b_dec_to_input": False},
    "skip_transcoder": {"d_out": OUT, "apply_b_dec_to_input": False},
    "jumprelu_transcoder": {"d_out": OUT, "apply_b_dec_to_input": False},
    "jumprelu_skip_transcoder": {"d_out": OUT, "apply_b_dec_to_input": False},
}


def prepared(module: Any) -> Any:
    randomise(module)
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if name == "threshold":
                value.copy_(torch.linspace(0.1, 0.8, len(value)))
            if name == "log_threshold":
                value.copy_(torch.linspace(0.1, 0.8, len(value)).log())
            if name == "topk_threshold":
                value.fill_(0.4)
    module.cfg.metadata.hook_name = "blocks.1.hook_resid_post"
    module.cfg.metadata.hook_name_out = "blocks.1.hook_mlp_out"
    return module.eval()


@pytest.mark.parametrize("name", PLAIN)
def test_sae_lens_for_inference(tiny: Loaded, tmp_path: Path, agreement: Agreement, name: str) -> None:
    module_class, config_class = get_sae_class(name.partition(",")[0])
    module = prepared(module_class(config_class(d_in=D, d_sae=N, **PLAIN[name])))
    module.save_model(tmp_path / "c")
    x = inputs()
    agreement.compare("sae-lens", name, ours(tmp_path / "c", tiny, "saelens", x), theirs(module, x))


TRAINING: dict[str, dict[str, Any]] = {
    "standard": {},
    "gated": {},
    "jumprelu": {},
    "topk": {"k": K},
    "batchtopk": {"k": K},
    "matryoshka_batchtopk": {"k": K, "matryoshka_widths": [16, N]},
}


@pytest.mark.parametrize("how", ["training save", "inference save"])
@pytest.mark.parametrize("name", TRAINING)
def test_sae_lens_of_training(tiny: Loaded, tmp_path: Path, agreement: Agreement, name: str, how: str) -> None:
    """A training class selects within a batch, so what is compared is SAELens' own inference class of the same weights."""
    module_class, config_class = get_sae_training_class(name)
    module = prepared(module_class(config_class(d_in=D, d_sae=N, **TRAINING[name])))
    module.save_inference_model(tmp_path / "inference")
    folder = tmp_path / "inference"
    if how == "training save":
        module.save_model(tmp_path / "training")
        folder = tmp_path / "training"
    inference = sae_lens.SAE.load_from_disk(tmp_path / "inference")
    x = inputs()
    agreement.compare("sae-lens", f"{name}, {how}", ours(folder, tiny, "saelens", x), theirs(inference, x))


@pytest.mark.parametrize("name", ["abstopk", "matching_pursuit"])
def test_sae_lens_that_is_refused(tiny: Loaded, tmp_path: Path, name: str) -> None:
    from latentbench.kernel.errors import CoderError

    module_class, config_class = get_sae_class(name)
    takes = inspect.signature(config_class).parameters
    module = module_class(config_class(d_in=D, d_sae=N, **({"k": K} if "k" in takes else {})))
    module.save_model(tmp_path / "c")
    with pytest.raises(CoderError, match=f"'{name}' is not read: "):
        ours(tmp_path / "c", tiny, "saelens", inputs())


def test_sae_lens_heads(tiny: Loaded, tmp_path: Path, agreement: Agreement) -> None:
    module_class, config_class = get_sae_class("standard")
    module = prepared(module_class(config_class(d_in=D, d_sae=N, reshape_activations="hook_z")))
    module.cfg.metadata.hook_name = "blocks.1.attn.hook_z"
    module.save_model(tmp_path / "c")
    x = inputs()
    with torch.no_grad():
        heads = x.reshape(ROWS, 1, 4, D // 4)
        expected = module.encode(heads).reshape(ROWS, N).numpy(), module(heads).reshape(ROWS, D).numpy()
    agreement.compare("sae-lens", "standard, hook_z", ours(tmp_path / "c", tiny, "saelens", x), expected)


# sparsify


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("topk", {}),
        ("groupmax", {"activation": "groupmax"}),
        ("multi_topk", {"multi_topk": True}),
        ("transcode", {"transcode": True}),
        ("transcode, skip_connection", {"transcode": True, "skip_connection": True}),
    ],
)
def test_sparsify(tiny: Loaded, tmp_path: Path, agreement: Agreement, name: str, more: dict[str, Any]) -> None:
    k = 8 if name == "groupmax" else K
    module = SparseCoder(D, SparseCoderConfig(num_latents=N, k=k, **more), decoder=True)
    randomise(module)
    folder = tmp_path / "layers.1.mlp"
    module.save_to_disk(folder)
    x = inputs()
    with torch.no_grad():
        found = module.encode(x)
        latents = torch.zeros(ROWS, N).scatter_(1, found.top_indices, found.top_acts.relu()).numpy()
        # With multi_topk the forward pass decodes four times as many latents for its loss.
        out = module.decode(found.top_acts, found.top_indices) if name == "multi_topk" else module(x).sae_out
        rebuilt = out.numpy()
    agreement.compare("sparsify", name, ours(folder, tiny, "sparsify", x), (latents, rebuilt))


# dictionary_learning


def _classes() -> dict[str, Callable[[], Any]]:
    return {
        "AutoEncoder": lambda: dictionary.AutoEncoder(D, N),
        "AutoEncoderNew": lambda: dictionary.AutoEncoderNew(D, N),
        "GatedAutoEncoder": lambda: dictionary.GatedAutoEncoder(D, N),
        "JumpReluAutoEncoder": lambda: dictionary.JumpReluAutoEncoder(D, N),
        "AutoEncoderTopK": lambda: AutoEncoderTopK(D, N, K),
        "BatchTopKSAE": lambda: BatchTopKSAE(D, N, K),
        "MatryoshkaBatchTopKSAE": lambda: MatryoshkaBatchTopKSAE(D, N, K, [16, 48]),
    }


@pytest.mark.parametrize("name", list(_classes()))
def test_dictionary_learning(tiny: Loaded, tmp_path: Path, agreement: Agreement, name: str) -> None:
    module = _classes()[name]()
    randomise(module)
    with torch.no_grad():
        if name == "JumpReluAutoEncoder":
            module.threshold.copy_(torch.linspace(0.1, 0.8, N))
        elif hasattr(module, "threshold"):
            module.threshold.fill_(0.4)
    trainer = {
        "dict_class": name,
        "activation_dim": D,
        "dict_size": N,
        "layer": 2,
        "lm_name": "x",
        "submodule_name": "resid_post_layer_2",
    }
    if hasattr(module, "k"):
        trainer["k"] = K
    torch.save(module.state_dict(), tmp_path / "ae.pt")
    (tmp_path / "config.json").write_text(json.dumps({"trainer": trainer}), encoding="utf-8")
    read: Any = type(module).from_pretrained
    again = read(str(tmp_path / "ae.pt"), **({"k": K} if hasattr(module, "k") else {}))
    x = inputs()
    agreement.compare("dictionary_learning", name, ours(tmp_path, tiny, "dictionary_learning", x), theirs(again, x))


# What SAELens reads of others


def read_by_sae_lens(read: Callable[..., Any], repository: str, folder: str, **more: Any) -> Any:
    """A coder as SAELens makes it of a repository's folder."""
    config, state, _ = read(repository, folder, device="cpu", **more)
    config = loaders.handle_config_defaulting(config)
    module_class, config_class = get_sae_class(config["architecture"])
    module = module_class(config_class.from_dict(config))
    module.process_state_dict_for_loading(state)
    module.load_state_dict(state)
    return module.float()


def repository(case: Published) -> tuple[str, str]:
    owner, name, rest = case.path.split("/", 2)
    return f"{owner}/{name}", rest


GEMMA = {case.name: case for case in [*gemma_scope(), *gemma_scope_2()]}


@pytest.mark.parametrize("name", list(GEMMA))
def test_gemma_scope_as_sae_lens_reads_it(gemma: Loaded, local_hub: Path, agreement: Agreement, name: str) -> None:
    case = GEMMA[name]
    path = case.write(local_hub)
    read = loaders.gemma_3_sae_huggingface_loader
    more: dict[str, Any] = {}
    if case.format == "gemma_scope":
        read = (
            loaders.gemma_2_transcoder_huggingface_loader
            if case.kind == "transcoder"
            else loaders.gemma_2_sae_huggingface_loader
        )
        more = {
            "cfg_overrides": {"d_in": case.d_in, "d_sae": 48}
            | ({"d_out": case.d_in} if case.kind == "transcoder" else {})
        }
    module = read_by_sae_lens(read, *repository(case), **more)
    x = inputs(case.d_in)
    if case.d_in != D:
        module.turn_off_forward_pass_hook_z_reshaping()
    agreement.compare("as sae-lens reads", name, ours(path, gemma, case.format, x), theirs(module, x))


def test_llama_scope_as_sae_lens_reads_it(tiny: Loaded, local_hub: Path, agreement: Agreement) -> None:
    """In float32 and with the factor folded in, as `SAE.from_pretrained` does with the factor of its own list."""
    case = next(case for case in llama_scope() if case.kind == "sae")
    path = case.write(local_hub)
    module = read_by_sae_lens(
        loaders.llama_scope_sae_huggingface_loader, *repository(case), cfg_overrides={"dtype": "float32"}
    )
    config = next(iter(case.configs.values()))
    module.fold_activation_norm_scaling_factor(D**0.5 / config["dataset_average_activation_norm"]["in"])
    x = inputs()
    agreement.compare("as sae-lens reads", case.name, ours(path, tiny, "llama_scope", x), theirs(module, x))


def test_qwen_scope_as_sae_lens_reads_it(
    tiny: Loaded, local_hub: Path, agreement: Agreement, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(case for case in single_files() if case.name == "qwen_scope")
    path = case.write(local_hub)
    monkeypatch.setattr(loaders, "QWEN_SCOPE_MODEL_INFO", {"Qwen3-1.7B-Base": ("x", D)})
    module = read_by_sae_lens(loaders.qwen_scope_sae_huggingface_loader, *repository(case), cfg_overrides={"d_sae": 48})
    x = inputs()
    agreement.compare("as sae-lens reads", case.name, ours(path, tiny, "qwen_scope", x), theirs(module, x))


def test_goodfire_as_sae_lens_reads_it(tiny: Loaded, local_hub: Path, agreement: Agreement) -> None:
    case = next(case for case in single_files() if case.name == "goodfire")
    file = "Llama-3.1-8B-Instruct-SAE-l19.pth"
    path = local_hub / "Goodfire/Llama-3.1-8B-Instruct-SAE-l19" / file
    path.parent.mkdir(parents=True)
    torch.save(case.tensors, path)
    module = read_by_sae_lens(
        loaders.get_goodfire_huggingface_loader,
        "Goodfire/Llama-3.1-8B-Instruct-SAE-l19",
        file,
        cfg_overrides={"d_in": D, "d_sae": 48},
    )
    x = inputs()
    got = ours(path, tiny, "goodfire", x, hookpoint="layers.1")
    agreement.compare("as sae-lens reads", case.name, got, theirs(module, x))


def test_mwhanna_as_sae_lens_reads_it(tiny: Loaded, local_hub: Path, agreement: Agreement) -> None:
    case = next(case for case in single_files() if case.name == "mwhanna")
    root = local_hub / "mwhanna/qwen3-1.7b-transcoders"
    path = root / "layer_1.safetensors"
    path.parent.mkdir(parents=True)
    from tests.builders.published import write_tensors

    write_tensors(path, case.tensors)
    (root / "wandb-config.yaml").write_text(
        "d_model: {value: 32}\nd_feature: {value: 48}\nbatch_size: {value: 8}\n", encoding="utf-8"
    )
    (root / "config.yaml").write_text("model_name: x\n", encoding="utf-8")
    module = read_by_sae_lens(
        loaders.mwhanna_transcoder_huggingface_loader, "mwhanna/qwen3-1.7b-transcoders", "layer_1.safetensors"
    )
    x = inputs()
    agreement.compare("as sae-lens reads", case.name, ours(path, tiny, "mwhanna", x), theirs(module, x))


def test_dictionary_learning_as_sae_lens_reads_it(tiny: Loaded, local_hub: Path, agreement: Agreement) -> None:
    from tests.builders.published import dictionary_learning

    for case in dictionary_learning():
        if case.name.endswith((" AutoEncoder", " AutoEncoderNew")):
            continue  # SAELens does not rescale the one to rows of norm 1, as the library does, and loses the other's bias
        root = local_hub / "canrager"
        path = case.write(root)
        module = read_by_sae_lens(
            loaders.dictionary_learning_sae_huggingface_loader_1, "canrager/dl", case.path.partition("/")[2]
        )
        x = inputs()
        expected = theirs(module, x)
        assert np.isfinite(expected[0]).all()
        agreement.compare("as sae-lens reads", case.name, ours(path, tiny, "dictionary_learning", x), expected)
