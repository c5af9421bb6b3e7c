"""SAELens folders: `cfg.json` and `sae_weights.safetensors`.

Read: architectures `standard`, `topk`, `batchtopk`, `jumprelu`, `transcoder`, `skip_transcoder` and `jumprelu_transcoder`, in
the layout of version 6 and in the flat one before it. Not read: `gated` and attention-head (`hook_z`) coders, and inputs
that are whitened; the message says so. A transcoder with a skip path keeps it for decoding; its latents do not see it.

SAELens names places as TransformerLens does (`blocks.9.hook_resid_post`). They are translated to this project's names where
the same tensor exists; where none does, or where the translation is not the one meant, the spec's `hookpoint` decides.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor

from latentbench.kernel.errors import CoderError
from latentbench.kernel.files import replacing, write_json
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.folder import (
    CONFIG,
    check_shapes,
    content_key,
    metadata_of,
    read_config,
    read_evals,
    read_weights,
    weights_file,
    whole,
)
from latentbench.subject.coders.sae import Activation, Normalise, Sae
from latentbench.subject.coders.sparse import Kind
from latentbench.subject.hooks import site

if TYPE_CHECKING:
    from latentbench.subject.coders.coder_spec import CoderSpec

WEIGHTS = "sae_weights.safetensors"

_ACTIVATIONS: dict[str, Activation] = {
    "standard": "relu",
    "topk": "topk",
    "batchtopk": "batchtopk",
    "jumprelu": "jumprelu",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
}

_PLACES = {
    "hook_resid_post": ("",),
    "hook_resid_pre": (":in",),
    # Gemma 2 and 3 have a norm between the module and the residual stream; TransformerLens reads after it.
    "hook_mlp_out": (".post_feedforward_layernorm", ".mlp"),
    "hook_attn_out": (".self_attn", ".attn", ".attention"),
    "mlp.hook_post": (".mlp.down_proj:in", ".mlp.c_proj:in", ".mlp.dense_4h_to_h:in"),
}


def load(spec: CoderSpec, loaded: Loaded) -> Sae:
    """Read a SAELens folder.

    Raises:
        CoderError: a file is missing, damaged or incomplete, the architecture is not one of those above, or the place where
            it reads is not recorded and not given.
        CoderMismatch: tensors that contradict the configuration.
    """
    from latentbench.subject.coders.coder_spec import coder_folder

    folder = coder_folder(spec.path or "")
    path = folder / CONFIG
    config = _modern(read_config(folder, ("d_in", "d_sae")))
    architecture = config["architecture"]
    if not isinstance(architecture, str) or architecture not in _ACTIVATIONS:
        raise CoderError(
            f"{path}: architecture {architecture!r} is not read. Known: {', '.join(sorted(_ACTIVATIONS))}."
        )
    activation = _ACTIVATIONS[architecture]
    transcodes = "transcoder" in architecture
    file = weights_file(folder, (WEIGHTS, "sae.safetensors", "model.safetensors"))
    required = ["W_enc", "b_enc", "W_dec", "b_dec"] + (["threshold"] if activation == "jumprelu" else [])
    weights = read_weights(file, required, ("threshold", "topk_threshold", "W_skip"))
    d_in, n = whole(config["d_in"], "d_in", path), whole(config["d_sae"], "d_sae", path)
    d_out = whole(config.get("d_out", d_in), "d_out", path)
    shapes = {"W_enc": (d_in, n), "b_enc": (n,), "W_dec": (n, d_out), "b_dec": (d_out,), "W_skip": (d_out, d_in)}
    check_shapes(file, weights, shapes | ({"threshold": (n,)} if activation == "jumprelu" else {}))
    threshold = weights.get("threshold", weights.get("topk_threshold"))
    if activation == "batchtopk":
        threshold = threshold if spec.threshold is None else torch.tensor([spec.threshold])
        if threshold is None:
            raise CoderError(f"{file} records no threshold for its BatchTopK; give the coder a `threshold`.")
        threshold = threshold.reshape(-1)
    k = None
    if activation == "topk":
        if "k" not in config:
            raise CoderError(f"{path} lacks k, which a topk coder needs.")
        k = whole(config["k"], "k", path)
    if config.get("rescale_acts_by_decoder_norm"):
        weights = _rescaled(weights)
    hookpoint = spec.hookpoint or _hookpoint(config, loaded, path)
    subtracts = bool(config["apply_b_dec_to_input"]) and not transcodes
    settings = {
        "format": "saelens",
        "architecture": architecture,
        "k": k,
        "threshold": spec.threshold if activation == "batchtopk" else None,
        "subtracts": subtracts,
        "normalise": config["normalize_activations"],
        "rescaled": bool(config.get("rescale_acts_by_decoder_norm")),
        "hookpoint": hookpoint,
    }
    kind: Kind = "transcoder" if transcodes else "sae"
    on = {name: value.to(loaded.device) for name, value in weights.items()}
    return Sae(
        name=spec.name,
        kind=kind,
        hookpoint=hookpoint,
        key=content_key(file, settings),
        activation=activation,
        w_enc=on["W_enc"].T.contiguous(),
        b_enc=on["b_enc"],
        w_dec=on["W_dec"],
        b_dec=on["b_dec"],
        k=k,
        threshold=None if threshold is None or activation == "topk" else threshold.to(loaded.device),
        b_pre=on["b_dec"] if subtracts else None,
        normalise=_normalise(config["normalize_activations"], path),
        w_skip=on.get("W_skip"),
        evals=read_evals(folder, config),
    )


def _modern(config: dict[str, Any]) -> dict[str, Any]:
    """Keys and defaults of version 6 for a configuration of any version."""
    old = "metadata" not in config
    renamed = {"hook_point": "hook_name", "activation_fn_str": "activation_fn"}
    out = {renamed.get(key, key): value for key, value in config.items()}
    out.setdefault("architecture", "standard")
    out.setdefault("apply_b_dec_to_input", True)
    if old and out.get("activation_fn") == "topk":
        out["architecture"] = "topk"
        given = out.get("activation_fn_kwargs")
        out.setdefault("k", given.get("k") if isinstance(given, dict) else None)
        if out["k"] is None:
            del out["k"]
    normalise = out.get("normalize_activations")
    # Scaling by the expected norm is a constant, folded into the weights when SAELens saves; at inference it does nothing.
    if normalise in (None, True, False, "expected_average_only_in"):
        normalise = "none"
    out["normalize_activations"] = normalise
    return out


def _normalise(value: Any, path: Path) -> Normalise:
    if value not in ("none", "layer_norm", "constant_norm_rescale"):
        raise CoderError(f"{path}: normalize_activations {value!r} is not read; fold it into the weights with SAELens.")
    return cast(Normalise, value)


def _rescaled(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fold decoder norms into the encoder, so that selection needs no extra product and decoder rows have unit norm."""
    norms = weights["W_dec"].norm(dim=-1)
    return weights | {
        "W_enc": weights["W_enc"] * norms,
        "b_enc": weights["b_enc"] * norms,
        "W_dec": weights["W_dec"] / norms[:, None],
    }


def _hookpoint(config: dict[str, Any], loaded: Loaded, path: Path) -> str:
    metadata = metadata_of(config)
    name = metadata.get("hook_name") or config.get("hook_name")
    if not isinstance(name, str) or not name:
        raise CoderError(f"{path} does not say where the coder reads; give it a `hookpoint`, such as layers.9.")
    matched = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    if matched is None:
        return name
    layer, place = matched.groups()
    for suffix in _PLACES.get(place, ()):
        candidate = f"layers.{layer}{suffix}"
        try:
            return site(loaded, candidate).name
        except CoderError:
            continue
    raise CoderError(
        f"{path} reads {name!r}, which has no counterpart in {loaded.files.reference}; give the coder a `hookpoint`."
    )


def save(folder: Path, weights: dict[str, Tensor], k: int, stored: str, metadata: dict[str, Any]) -> None:
    """Write a TopK coder (W_enc, b_enc, W_dec, b_dec; the input has b_dec subtracted) as SAELens would.

    Args:
        folder: created if missing; each file appears whole or not at all.
        weights: W_enc [d, n], b_enc [n], W_dec [n, d], b_dec [d].
        k: active latents per row.
        stored: dtype name of the matrices; biases are kept in float32, where half precision costs more than it saves.
        metadata: goes into the configuration's `metadata`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: value.to(getattr(torch, stored) if value.ndim == 2 else torch.float32).contiguous()
        for name, value in weights.items()
    }
    config = {
        "architecture": "topk",
        "d_in": weights["W_enc"].shape[0],
        "d_sae": weights["W_enc"].shape[1],
        "k": k,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "rescale_acts_by_decoder_norm": False,
        "metadata": metadata,
    }
    with replacing(folder / WEIGHTS) as part:
        save_file(tensors, part)
        part.chmod(0o644)  # safetensors makes its files private to the user
    write_json(folder / CONFIG, config, indent=1, sort_keys=True)
