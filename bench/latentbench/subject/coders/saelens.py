"""SAELens folders: `cfg.json` and `sae_weights.safetensors`.

Read is every architecture whose latents are a function of one token and never negative, as saved for inference or in training, in
the layout of version 6 and in the flat one before it. A transcoder with a skip path keeps it for decoding; its latents do not see
it. What is not read, and why, is in `REFUSED`; whitened inputs are not, either.

SAELens names places as TransformerLens does (`blocks.9.hook_resid_post`); `latentbench.subject.coders.places` translates them.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor

from latentbench.kernel.errors import CoderError, CoderMismatch
from latentbench.kernel.files import replacing, write_json
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.coder_check import CoderWarning
from latentbench.subject.coders.coder_files import coder_files
from latentbench.subject.coders.folder import (
    CONFIG,
    check_shapes,
    content_key,
    metadata_of,
    read_config,
    read_evals,
    weights_file,
    whole,
)
from latentbench.subject.coders.places import before_gain, named_place, settings_of
from latentbench.subject.coders.sae import Activation, Gate, Normalise, Sae
from latentbench.subject.coders.sparse import Kind
from latentbench.subject.coders.weights import read_weights
from latentbench.views.escape import line

if TYPE_CHECKING:
    from latentbench.subject.coders.coder_spec import CoderSpec

WEIGHTS = "sae_weights.safetensors"

_ACTIVATIONS: dict[str, Activation] = {
    "standard": "relu",
    "topk": "topk",
    "batchtopk": "batchtopk",
    "matryoshka_batchtopk": "batchtopk",
    "jumprelu": "jumprelu",
    "gated": "gated",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}

REFUSED = {
    "abstopk": "its latents may be negative, and what is behind a coder (examples, quantiles, scores) knows values above 0 only",
    "temporal": "a token's latents depend on the tokens before it, so no window could be checked by itself",
    "matching_pursuit": "it has no encoder: a token's latents come out of a search over the decoder",
}
"""Architectures that are not read, and why."""
_OLD = ("scaling_factor",)
"""Tensors that configurations before version 6 may have; they have to be ones, or nothing is scaled as the file says."""


def load(spec: CoderSpec, loaded: Loaded) -> Sae:
    """Read a SAELens folder.

    Raises:
        CoderError: a file is missing, damaged or incomplete, the architecture is not one of those above, or the place where
            it reads is not recorded and not given.
        CoderMismatch: tensors that contradict the configuration.
    """
    folder, _ = coder_files(spec)
    path = folder / CONFIG
    config = _modern(read_config(folder, ("d_in", "d_sae")))
    architecture = _architecture(config["architecture"], path)
    if config.get("activation_fn") not in (None, "relu", "topk"):
        raise CoderError(f"{path}: activation_fn {config['activation_fn']!r} is not read. Known: relu, topk.")
    activation = _ACTIVATIONS[architecture]
    transcodes = "transcoder" in architecture
    file = weights_file(folder, (WEIGHTS, "sae.safetensors", "model.safetensors"))
    biases = ("b_gate", "b_mag", "r_mag") if activation == "gated" else ("b_enc",)
    required = ["W_enc", *biases, "W_dec", "b_dec"] + (["threshold"] if activation == "jumprelu" else [])
    skips = ("W_skip",) if "skip" in architecture else ()
    optional = (*skips, *_OLD, *(("threshold", "topk_threshold") if activation == "batchtopk" else ()))
    weights = read_weights(file, [*required, *skips], optional, strict=True)
    d_in, n = whole(config["d_in"], "d_in", path), whole(config["d_sae"], "d_sae", path)
    d_out = whole(config.get("d_out", d_in), "d_out", path)
    shapes = {"W_enc": (d_in, n), "W_dec": (n, d_out), "b_dec": (d_out,), "W_skip": (d_out, d_in)}
    shapes |= dict.fromkeys(biases, (n,))
    check_shapes(file, weights, shapes | ({"threshold": (n,)} if activation == "jumprelu" else {}))
    _unscaled(file, weights)
    threshold = weights.get("threshold", weights.get("topk_threshold"))
    if activation == "batchtopk":
        threshold = threshold if spec.threshold is None else torch.tensor([spec.threshold])
        if threshold is None:
            raise CoderError(f"{file} records no threshold for its BatchTopK; give the coder a `threshold`.")
        threshold = threshold.reshape(-1)
        if len(threshold) not in (1, n):
            raise CoderMismatch(f"{file}: the threshold has {len(threshold)} values, expected 1 or {n}.")
        if not bool(threshold.any()):
            warnings.warn(
                line(
                    f"{file}: the threshold of its BatchTopK is 0, as before training: every positive latent is active. Give the "
                    "coder a `threshold`, or the file that was saved for inference."
                ),
                CoderWarning,
                stacklevel=2,
            )
    k = None
    if activation == "topk":
        if "k" not in config:
            raise CoderError(f"{path} lacks k, which a topk coder needs.")
        k = whole(config["k"], "k", path)
    if config.get("rescale_acts_by_decoder_norm"):
        weights = _rescaled(weights)
    place = named_place(_hook_name(config), loaded, path, spec.hookpoint)
    hookpoint = place.hookpoint
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
        **settings_of(place),
    }
    kind: Kind = "transcoder" if transcodes else "sae"
    on = {name: value.to(loaded.device) for name, value in weights.items()}
    coder = Sae(
        name=spec.name,
        kind=kind,
        hookpoint=hookpoint,
        key=content_key(file, settings),
        activation=activation,
        w_enc=on["W_enc"].T.contiguous(),
        b_enc=on["b_mag" if activation == "gated" else "b_enc"],
        w_dec=on["W_dec"],
        b_dec=on["b_dec"],
        k=k,
        threshold=None if threshold is None or activation == "topk" else threshold.to(loaded.device),
        b_pre=on["b_dec"] if subtracts else None,
        normalise=_normalise(config["normalize_activations"], path),
        w_skip=on.get("W_skip"),
        gate=Gate(on["b_gate"], on["r_mag"].exp()) if activation == "gated" else None,
        evals=read_evals(folder, config),
    )
    return before_gain(coder, place)


def _architecture(found: object, path: Path) -> str:
    if isinstance(found, str) and found in _ACTIVATIONS:
        return found
    why = REFUSED.get(found) if isinstance(found, str) else None
    raise CoderError(
        f"{path}: architecture {found!r} is not read{': ' + why if why else ''}. Known: {', '.join(sorted(_ACTIVATIONS))}."
    )


def _unscaled(file: Path, weights: dict[str, Tensor]) -> None:
    for name in _OLD:
        if name in weights and not torch.allclose(weights[name], torch.ones(())):
            raise CoderError(f"{file}: {name} is not 1 everywhere; fold it into the weights with SAELens.")


def _modern(config: dict[str, Any]) -> dict[str, Any]:
    """Keys and defaults of version 6 for a configuration of any version."""
    old = "metadata" not in config
    renamed = {"hook_point": "hook_name", "activation_fn_str": "activation_fn"}
    out = {renamed.get(key, key): value for key, value in config.items()}
    out.setdefault("architecture", "standard")
    out.setdefault("apply_b_dec_to_input", True)
    if old and (out.get("activation_fn") == "topk" or out["architecture"] == "topk"):
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


def _hook_name(config: dict[str, Any]) -> object:
    """What the configuration says of the place; heads are marked where only `reshape_activations` says so."""
    name = metadata_of(config).get("hook_name") or config.get("hook_name")
    heads = config.get("reshape_activations") == "hook_z" or metadata_of(config).get("reshape_activations") == "hook_z"
    return "hook_z" if heads and not (isinstance(name, str) and name.endswith("hook_z")) else name


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
