"""Coders in the formats that people publish, of random weights, each with its formula written out in NumPy.

The formulas are those of the formats' own pages and libraries, in float64 and without a line of this package; `tests/foreign`
compares with the libraries themselves where they install.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

D, N, HEADS = 32, 48, 24
"""Width of the stream, latents, width of what the attention heads of the Gemma-like subject give."""
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Published:
    """A coder as it lies on disk, and what it has to do.

    Attributes:
        name: of the case.
        format: which loader reads it.
        subject: `llama` or `gemma2`.
        file: of its weights, below the root.
        path: of its folder, or of the file where that names it, below the root.
        tensors: as they stand in the file.
        configs: file below the root -> content.
        hookpoint: where it reads, as its files say.
        kind: `sae` or `transcoder`.
        d_in: width of its input.
        encode: activations -> latents, dense.
        decode: latents and activations -> output.
        optional: tensors that may be missing.
        given: of the spec.
    """

    name: str
    format: str
    subject: str
    file: str
    path: str
    tensors: dict[str, Tensor]
    hookpoint: str
    kind: str
    encode: Callable[[Array], Array]
    decode: Callable[[Array, Array], Array]
    d_in: int = D
    configs: dict[str, Any] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    given: dict[str, Any] = field(default_factory=dict)

    def write(self, root: Path, tensors: dict[str, Tensor] | None = None) -> Path:
        """Write it below a root and return its path."""
        write_tensors(root / self.file, self.tensors if tensors is None else tensors)
        for name, content in self.configs.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(json.dumps(content), encoding="utf-8")
        return root / self.path


def write_tensors(file: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors in the form that the file's name says."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".npz":
        np.savez(file, **{name: value.numpy() for name, value in tensors.items()})
    elif file.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in tensors.items()}, file)
    else:
        torch.save(tensors, file)


def draw(seed: int, d_in: int = D, d_out: int = D) -> dict[str, Tensor]:
    """W_enc [d_in, N], b_enc, W_dec [N, d_out], b_dec, threshold."""
    g = torch.Generator().manual_seed(seed)
    return {
        "W_enc": torch.randn(d_in, N, generator=g) / d_in**0.5,
        "b_enc": 0.2 * torch.randn(N, generator=g),
        "W_dec": torch.randn(N, d_out, generator=g),
        "b_dec": 0.3 * torch.randn(d_out, generator=g),
        "threshold": 0.3 + 0.4 * torch.rand(N, generator=g),
    }


def wide(w: dict[str, Tensor]) -> dict[str, Array]:
    """The tensors in float64."""
    return {name: value.double().numpy() for name, value in w.items()}


def jump(pre: Array, threshold: Any) -> Array:
    """Relu of what is above a threshold."""
    return np.where(pre > threshold, np.maximum(pre, 0), 0)


def top(pre: Array, k: int) -> Array:
    """The k largest of each row, where positive."""
    kept = np.zeros_like(pre)
    for row, values in zip(kept, pre, strict=True):
        chosen = np.argsort(-values)[:k]
        row[chosen] = np.maximum(values[chosen], 0)
    return kept


def gemma_scope() -> list[Published]:
    found = []
    for part, place, d in (
        ("res", "layers.1", D),
        ("mlp", "layers.1.post_feedforward_layernorm", D),
        ("att", "layers.1.self_attn.o_proj:in", HEADS),
        ("transcoders", "layers.1.mlp:in", D),
    ):
        w = draw(1, d, d)
        a = wide(w)
        folder = f"google/gemma-scope-2b-pt-{part}/layer_1/width_16k/average_l0_7"
        spelled = {"W_enc": "w_enc", "W_dec": "w_dec"} if part == "transcoders" else {}
        found.append(
            Published(
                f"gemma_scope {part}",
                "gemma_scope",
                "gemma2",
                f"{folder}/params.npz",
                folder,
                {spelled.get(name, name): value for name, value in w.items()},
                place,
                "transcoder" if part == "transcoders" else "sae",
                lambda x, a=a: jump(x @ a["W_enc"] + a["b_enc"], a["threshold"]),
                lambda f, x, a=a: f @ a["W_dec"] + a["b_dec"],
                d_in=d,
            )
        )
    w = draw(2)
    a = wide(w)
    folder = "google/gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6"
    found.append(
        Published(
            "gemma_scope embedding",
            "gemma_scope",
            "gemma2",
            f"{folder}/params.npz",
            folder,
            w | {"scaling_factor": torch.ones(N)},
            "layers.0:in",
            "sae",
            lambda x: jump(x / D**0.5 @ a["W_enc"] + a["b_enc"], a["threshold"]),
            lambda f, x: f @ (a["W_dec"] * D**0.5) + a["b_dec"],
            optional=("scaling_factor",),
        )
    )
    return found


def gemma_scope_2() -> list[Published]:
    found = []
    for part, place, d, affine, configured in (
        ("resid_post", "layers.1", D, False, True),
        ("mlp_out", "layers.1.post_feedforward_layernorm", D, False, False),
        ("attn_out", "layers.1.self_attn.o_proj:in", HEADS, False, False),
        ("transcoder", "layers.1.pre_feedforward_layernorm", D, True, True),
        ("transcoder", "layers.1.pre_feedforward_layernorm", D, True, False),
    ):
        w = draw(3, d, d)
        g = torch.Generator().manual_seed(4)
        skip = torch.randn(d, d, generator=g)
        a, s = wide(w), skip.double().numpy()
        tensors = {name.lower(): value for name, value in w.items()}
        if affine:
            tensors["affine_skip_connection"] = skip
        folder = f"google/gemma-scope-2-1b-pt/{part}/layer_1_width_16k_l0_medium" + ("_affine" if affine else "")
        names = {"resid_post": "model.layers.1.output", "transcoder": "model.layers.1.pre_feedforward_layernorm.output"}
        config: dict[str, Any] = {"architecture": "jump_relu", "model_name": "gemma-v3-1b-pt"}
        if configured:
            config["hf_hook_point_in"] = names[part]
        if affine:
            config |= {"affine_connection": True}
            config |= {"hf_hook_point_out": "model.layers.1.post_feedforward_layernorm.output"} if configured else {}
        found.append(
            Published(
                f"gemma_scope_2 {part}{'' if configured else ' by name'}",
                "gemma_scope_2",
                "gemma2",
                f"{folder}/params.safetensors",
                folder,
                tensors,
                place,
                "transcoder" if affine else "sae",
                lambda x, a=a: jump(x @ a["W_enc"] + a["b_enc"], a["threshold"]),
                lambda f, x, a=a, s=s if affine else 0 * s: f @ a["W_dec"] + a["b_dec"] + x @ s,
                d_in=d,
                configs={f"{folder}/config.json": config} if configured else {},
            )
        )
    return found


def llama_scope() -> list[Published]:
    found = []
    for kind, norm_in, norm_out in (("R", 3.0, 3.0), ("TC", 4.0, 1.5)):
        w = draw(5)
        a = wide(w)
        scale_in, scale_out, threshold = D**0.5 / norm_in, D**0.5 / norm_out, 0.4
        folder = f"fnlp/Llama3_1-8B-Base-LX{kind}-8x/Llama3_1-8B-Base-L1{kind}-8x"
        places = ("blocks.1.hook_resid_post",) * 2 if kind == "R" else ("blocks.1.hook_mlp_in", "blocks.1.hook_mlp_out")
        config = {
            "d_model": D,
            "d_sae": N,
            "hook_point_in": places[0],
            "hook_point_out": places[1],
            "jump_relu_threshold": threshold,
            "dataset_average_activation_norm": {"in": norm_in, "out": norm_out},
            "top_k": 50,
        }
        found.append(
            Published(
                f"llama_scope {kind}",
                "llama_scope",
                "llama",
                f"{folder}/checkpoints/final.safetensors",
                folder,
                {
                    "encoder.weight": w["W_enc"].T,
                    "encoder.bias": w["b_enc"],
                    "decoder.weight": w["W_dec"].T,
                    "decoder.bias": w["b_dec"],
                },
                "layers.1" if kind == "R" else "layers.1.mlp:in",
                "sae" if kind == "R" else "transcoder",
                lambda x, s=scale_in, t=threshold * scale_out, a=a: jump(x * s @ a["W_enc"] + a["b_enc"], t),
                lambda f, x, s=scale_out, a=a: (f @ a["W_dec"] + a["b_dec"]) / s,
                configs={f"{folder}/hyperparams.json": config},
            )
        )
    return found


def openmoss() -> list[Published]:
    """Every activation function that looks at one token, and every way of scaling that does."""
    found = []
    for name, more in (
        ("relu", {"act_fn": "relu", "norm_activation": "inference"}),
        ("jumprelu", {"act_fn": "jumprelu", "norm_activation": "inference"}),
        ("topk", {"act_fn": "topk", "top_k": 6, "norm_activation": "inference"}),
        ("dataset-wise", {"act_fn": "jumprelu", "norm_activation": "dataset-wise"}),
        ("token-wise", {"act_fn": "relu", "norm_activation": "token-wise"}),
        ("without decoder norms", {"act_fn": "topk", "top_k": 6, "norm_activation": "inference"}),
        ("glu", {"act_fn": "relu", "norm_activation": "inference", "use_glu_encoder": True}),
    ):
        w = draw(6)
        g = torch.Generator().manual_seed(7)
        glu = {"W_E_glu": torch.randn(D, N, generator=g), "b_E_glu": torch.randn(N, generator=g)}
        a = wide(w | glu)
        with_norms = name != "without decoder norms"
        config = {
            "sae_type": "sae",
            "d_model": D,
            "expansion_factor": N / D,
            "hook_point_in": "blocks.2.hook_resid_post",
            "hook_point_out": "blocks.2.hook_resid_post",
            "sparsity_include_decoder_norm": with_norms,
            **more,
        }
        tensors = {"W_E": w["W_enc"], "b_E": w["b_enc"], "W_D": w["W_dec"], "b_D": w["b_dec"]}
        if config["act_fn"] == "jumprelu":
            tensors["activation_function.log_jumprelu_threshold"] = w["threshold"].log()
        if name == "dataset-wise":
            tensors["dataset_average_activation_norm.blocks.2.hook_resid_post"] = torch.tensor(2.0)
        if name == "glu":
            tensors |= glu
        scale = D**0.5 / 2.0 if name == "dataset-wise" else 1.0

        def encode(
            x: Array, a: dict[str, Array] = a, c: dict[str, Any] = config, scale: float = scale, name: str = name
        ) -> Array:
            each = D**0.5 / np.linalg.norm(x, axis=-1, keepdims=True) if name == "token-wise" else scale
            pre = x * each @ a["W_enc"] + a["b_enc"]
            if name == "glu":
                pre = pre / (1 + np.exp(-(x @ a["W_E_glu"] + a["b_E_glu"])))
            norms = np.linalg.norm(a["W_dec"], axis=-1) if c["sparsity_include_decoder_norm"] else 1.0
            if c["act_fn"] == "relu":
                return np.maximum(pre, 0)
            if c["act_fn"] == "jumprelu":
                return jump(pre * norms, a["threshold"]) / norms
            return top(pre * norms, 6) / norms

        def decode(f: Array, x: Array, a: dict[str, Array] = a, scale: float = scale, name: str = name) -> Array:
            each = D**0.5 / np.linalg.norm(x, axis=-1, keepdims=True) if name == "token-wise" else scale
            return (f @ a["W_dec"] + a["b_dec"]) / each

        folder = f"openmoss/{name.replace(' ', '-')}"
        found.append(
            Published(
                f"openmoss {name}",
                "openmoss",
                "llama",
                f"{folder}/sae_weights.safetensors",
                folder,
                tensors,
                "layers.2",
                "sae",
                encode,
                decode,
                configs={f"{folder}/config.json": config},
            )
        )
    return found


def dictionary_learning() -> list[Published]:
    w = draw(8)
    g = torch.Generator().manual_seed(9)
    gates = {name: 0.5 * torch.randn(N, generator=g) for name in ("r_mag", "gate_bias", "mag_bias")}
    a = wide(w | gates)
    linear = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "decoder.weight": w["W_dec"].T}
    matrices = {name: w[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    k, one = {"k": torch.tensor(5, dtype=torch.int)}, {"threshold": torch.tensor(0.4)}
    norms = np.linalg.norm(a["W_dec"], axis=-1)

    def pre(x: Array, subtract: bool = True) -> Array:
        return (x - a["b_dec"] if subtract else x) @ a["W_enc"] + a["b_enc"]

    def gated(x: Array) -> Array:
        u = (x - a["b_dec"]) @ a["W_enc"]
        return (u + a["gate_bias"] > 0) * np.maximum(np.exp(a["r_mag"]) * u + a["mag_bias"], 0)

    def plain(f: Array, x: Array) -> Array:
        return f @ a["W_dec"] + a["b_dec"]

    cases: dict[str, tuple[dict[str, Tensor], Callable[[Array], Array], Callable[[Array, Array], Array]]] = {
        "AutoEncoder": (
            linear | {"bias": w["b_dec"]},
            lambda x: np.maximum(pre(x), 0) * norms,
            lambda f, x: f @ (a["W_dec"] / norms[:, None]) + a["b_dec"],
        ),
        "AutoEncoderNew": (linear | {"decoder.bias": w["b_dec"]}, lambda x: np.maximum(pre(x, False), 0), plain),
        "GatedAutoEncoder": (
            {
                **{name: linear[name] for name in ("encoder.weight", "decoder.weight")},
                "decoder_bias": w["b_dec"],
                **gates,
            },
            gated,
            plain,
        ),
        "JumpReluAutoEncoder": (
            matrices | {"threshold": w["threshold"]},
            lambda x: jump(pre(x, False), a["threshold"]),
            plain,
        ),
        "AutoEncoderTopK": (linear | {"b_dec": w["b_dec"]} | k | one, lambda x: top(pre(x), 5), plain),
        "BatchTopKSAE": (
            linear | {"b_dec": w["b_dec"]} | k | one,
            lambda x: jump(pre(x), float(one["threshold"])),
            plain,
        ),
        "MatryoshkaBatchTopKSAE": (
            matrices | k | one | {"group_sizes": torch.tensor([8, 40])},
            lambda x: jump(pre(x), float(one["threshold"])),
            plain,
        ),
    }
    found = []
    for name, (tensors, encode, decode) in cases.items():
        trainer: dict[str, Any] = {"dict_class": name, "activation_dim": D, "dict_size": N, "layer": 2, "lm_name": "x"}
        trainer |= {"submodule_name": "resid_post_layer_2"} | ({"k": 5} if "k" in tensors else {})
        found.append(
            Published(
                f"dictionary_learning {name}",
                "dictionary_learning",
                "llama",
                f"dl/{name}/ae.pt",
                f"dl/{name}",
                tensors,
                "layers.2",
                "sae",
                encode,
                decode,
                configs={f"dl/{name}/config.json": {"trainer": trainer, "buffer": {"io": "out", "ctx_len": 128}}},
                optional=("k", "group_sizes", *(("threshold",) if name == "AutoEncoderTopK" else ())),
            )
        )
    return found


def single_files() -> list[Published]:
    w = draw(10)
    a = wide(w)
    linear = {"encoder_linear.weight": w["W_enc"].T, "encoder_linear.bias": w["b_enc"]}
    linear |= {"decoder_linear.weight": w["W_dec"].T, "decoder_linear.bias": w["b_dec"]}
    bare = {"W_enc": w["W_enc"].T, "W_dec": w["W_dec"], "b_enc": w["b_enc"], "b_dec": w["b_dec"]}

    def relu(x: Array) -> Array:
        return np.maximum(x @ a["W_enc"] + a["b_enc"], 0)

    def out(f: Array, x: Array) -> Array:
        return f @ a["W_dec"] + a["b_dec"]

    goodfire, mwhanna = "Goodfire/Tiny-SAE-l1.pt", "mwhanna/layer_1.safetensors"
    qwen = "Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_6/layer1.sae.pt"
    return [
        Published("goodfire", "goodfire", "llama", goodfire, goodfire, linear, "layers.1", "sae", relu, out),
        Published("mwhanna", "mwhanna", "llama", mwhanna, mwhanna, bare, "layers.1.mlp:in", "transcoder", relu, out),
        Published(
            "qwen_scope", "qwen_scope", "llama", qwen, qwen, bare | {"W_dec": w["W_dec"].T}, "layers.1", "sae",
            lambda x: top(x @ a["W_enc"] + a["b_enc"], 6), out,
        ),
    ]  # fmt: skip


def published() -> list[Published]:
    """All of them."""
    return [*gemma_scope(), *gemma_scope_2(), *llama_scope(), *openmoss(), *dictionary_learning(), *single_files()]
