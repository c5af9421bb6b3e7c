"""dictionary_learning: `ae.pt` and `config.json`, all seven classes, and checkpoints of training.

The class decides the formula, and two of them are not what the tensors suggest. A `BatchTopKSAE` uses its threshold, as the
library's own `encode` does, and an `AutoEncoderTopK`, which has the same tensors, does not. An `AutoEncoder` is rescaled to
decoder rows of norm 1, as its `from_pretrained` does.

Backups of unfinished training keep activations divided by `norm_factor`; the factor goes into the biases, as it does in the
library when a coder is saved.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from latentbench.kernel.errors import CoderError, CoderMismatch
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.coder_check import CoderWarning
from latentbench.subject.coders.coder_files import FORMATS, coder_files, read_config_json
from latentbench.subject.coders.folder import content_key, whole
from latentbench.subject.coders.places import Place, before_gain, named_place, settings_of
from latentbench.subject.coders.sae import Activation, Gate, Sae
from latentbench.subject.coders.weights import read_weights, sized, top_number, turned
from latentbench.views.escape import line

if TYPE_CHECKING:
    from latentbench.subject.coders.coder_spec import CoderSpec

_, WEIGHTS = FORMATS["dictionary_learning"].files

_LINEAR = ("encoder.weight", "encoder.bias", "decoder.weight")
_MATRICES = ("W_enc", "b_enc", "W_dec", "b_dec")
_CLASSES: dict[str, tuple[Activation, tuple[str, ...]]] = {
    "AutoEncoder": ("relu", (*_LINEAR, "bias")),
    "AutoEncoderNew": ("relu", (*_LINEAR, "decoder.bias")),
    "GatedAutoEncoder": (
        "gated",
        ("encoder.weight", "decoder.weight", "decoder_bias", "r_mag", "gate_bias", "mag_bias"),
    ),
    "JumpReluAutoEncoder": ("jumprelu", (*_MATRICES, "threshold")),
    "AutoEncoderTopK": ("topk", (*_LINEAR, "b_dec")),
    "BatchTopKSAE": ("batchtopk", (*_LINEAR, "b_dec", "threshold")),
    "MatryoshkaBatchTopKSAE": ("batchtopk", (*_MATRICES, "threshold")),
}
"""Class -> activation and tensors."""
_EXTRA = ("k", "threshold", "group_sizes")
"""Tensors that some versions have and others do not; a TopK coder's threshold is not used."""
_SUBMODULES = {
    r"resid_post|resid|residual": "hook_resid_post",
    r"resid_pre": "hook_resid_pre",
    r"resid_mid": "hook_resid_mid",
    r"mlp_out|mlp": "hook_mlp_out",
    r"attn_out|attention_out|attn|attention": "hook_attn_out",
}
"""`submodule_name` without its layer -> place in the words of SAELens."""


def load(spec: CoderSpec, loaded: Loaded) -> Sae:
    """Read a folder of dictionary_learning, or one of its checkpoints.

    Raises:
        CoderError: a file is missing, damaged or incomplete, another class, or a place that is not said.
        CoderMismatch: tensors that contradict the configuration.
    """
    folder, chosen = coder_files(spec)
    path, config = read_config_json(folder)
    trainer, buffer = config.get("trainer"), config.get("buffer")
    if not isinstance(trainer, dict):
        raise CoderError(f"{path} has no `trainer`, which names the class; it has {', '.join(sorted(config))}.")
    buffer = buffer if isinstance(buffer, dict) else {}
    name = trainer.get("dict_class")
    if not isinstance(name, str) or name not in _CLASSES:
        raise CoderError(f"{path}: trainer.dict_class {name!r} is not read. Known: {', '.join(sorted(_CLASSES))}.")
    file = folder / (chosen or WEIGHTS)
    if not file.is_file():
        raise CoderError(f"{folder} holds no {chosen or WEIGHTS}.")
    activation, required = _CLASSES[name]
    weights = read_weights(file, required, _EXTRA, strict=True)
    transposed = "W_enc" not in weights
    w_enc, w_dec = (
        (weights["encoder.weight"], weights["decoder.weight"]) if transposed else (weights["W_enc"], weights["W_dec"])
    )
    n, d = _widths(file, name, weights, w_enc)
    for key, found in (("dict_size", n), ("activation_dim", d)):
        if key in trainer and whole(trainer[key], f"trainer.{key}", path) != found:
            raise CoderMismatch(f"{file} has {found}, but {path} says trainer.{key} {trainer[key]}.")
    # A linear map of torch is [out, in]; the other classes multiply from the left.
    w_enc = turned(file, "encoder.weight", w_enc, n, d) if transposed else turned(file, "W_enc", w_enc, d, n).T
    w_dec = turned(file, "decoder.weight", w_dec, d, n).T if transposed else turned(file, "W_dec", w_dec, n, d)
    before, b_enc, b_dec = _biases(file, name, weights, n, d)
    threshold = sized(file, weights, "threshold", (n,), (1,), ()).reshape(-1) if "threshold" in weights else None
    scale = top_number(file, "norm_factor") or 1.0
    k = _k(file, path, trainer, weights) if activation == "topk" else None
    if activation == "batchtopk":
        assert threshold is not None
        threshold = _threshold(spec, file, threshold)
    gate = None
    if activation == "gated":
        gate = Gate(sized(file, weights, "gate_bias", (n,)) * scale, sized(file, weights, "r_mag", (n,)).exp())
    if name == "AutoEncoder":
        norms = w_dec.norm(dim=-1)
        if bool((norms == 0).any()):
            raise CoderError(f"{file}: a decoder row is 0, and the library divides by its norm.")
        if not torch.allclose(norms, torch.ones_like(norms)):
            w_enc, b_enc, w_dec = w_enc * norms[:, None], b_enc * norms, w_dec / norms[:, None]
    place, transcodes = _place(trainer, buffer, path, loaded, spec.hookpoint)
    settings: dict[str, Any] = {
        "format": "dictionary_learning",
        "class": name,
        "k": k,
        "threshold": spec.threshold if activation == "batchtopk" else None,
        "kind": "transcoder" if transcodes else "sae",
        "hookpoint": place.hookpoint,
        "scale": scale,
    }
    on = loaded.device
    coder = Sae(
        name=spec.name,
        kind="transcoder" if transcodes else "sae",
        hookpoint=place.hookpoint,
        key=content_key(file, settings | settings_of(place)),
        activation=activation,
        w_enc=w_enc.contiguous().to(on),
        b_enc=(b_enc * scale).to(on),
        w_dec=w_dec.contiguous().to(on),
        b_dec=(b_dec * scale).to(on),
        k=k,
        threshold=None if threshold is None or activation == "topk" else (threshold * scale).to(on),
        b_pre=(b_dec * scale).to(on) if before else None,
        gate=None if gate is None else Gate(gate.bias.to(on), gate.scale.to(on)),
    )
    return before_gain(coder, place)


def _widths(file: Path, name: str, weights: dict[str, Tensor], w_enc: Tensor) -> tuple[int, int]:
    """Latents and width of the input, from the vector that has one number per latent."""
    per_latent = weights[
        {"GatedAutoEncoder": "mag_bias"}.get(name, "encoder.bias" if "encoder.bias" in weights else "b_enc")
    ]
    n = per_latent.numel()
    if w_enc.ndim != 2 or n not in w_enc.shape:
        raise CoderMismatch(f"{file}: the encoder has shape {tuple(w_enc.shape)}, and there are {n} biases of latents.")
    return n, int(w_enc.shape[0] if w_enc.shape[1] == n else w_enc.shape[1])


def _biases(file: Path, name: str, weights: dict[str, Tensor], n: int, d: int) -> tuple[bool, Tensor, Tensor]:
    """Whether the output's bias is subtracted from the input, the encoder's bias, the decoder's."""
    out = {"AutoEncoder": "bias", "AutoEncoderNew": "decoder.bias", "GatedAutoEncoder": "decoder_bias"}.get(
        name, "b_dec"
    )
    enc = {"GatedAutoEncoder": "mag_bias"}.get(name, "encoder.bias" if "encoder.bias" in weights else "b_enc")
    before = name not in ("AutoEncoderNew", "JumpReluAutoEncoder")
    return before, sized(file, weights, enc, (n,)), sized(file, weights, out, (d,))


def _k(file: Path, path: Path, trainer: dict[str, Any], weights: dict[str, Tensor]) -> int:
    said, stored = trainer.get("k"), weights.get("k")
    if said is None and stored is None:
        raise CoderError(f"{path} lacks trainer.k, and {file} the tensor k.")
    if stored is not None and stored.numel() != 1:
        raise CoderMismatch(f"{file}: k has shape {tuple(stored.shape)}, expected one number.")
    found = whole(said, "trainer.k", path) if said is not None else whole(float(stored.reshape(-1)[0]), "k", file)  # type: ignore[union-attr]
    if stored is not None and float(stored.reshape(-1)[0]) != found:
        raise CoderMismatch(f"{file} has k {int(stored.reshape(-1)[0])}, but {path} says trainer.k {found}.")
    return found


def _threshold(spec: CoderSpec, file: Path, stored: Tensor) -> Tensor:
    if spec.threshold is not None:
        return torch.tensor([float(spec.threshold)])
    if bool((stored <= 0).all()):
        warnings.warn(
            line(
                f"{file}: the threshold was never set (it is {float(stored.reshape(-1)[0]):g}), so every positive latent is "
                "active, as in the library. Give the coder a `threshold`, or a later checkpoint."
            ),
            CoderWarning,
            stacklevel=2,
        )
    return stored


def _place(
    trainer: dict[str, Any], buffer: dict[str, Any], path: Path, loaded: Loaded, hookpoint: str | None
) -> tuple[Place, bool]:
    """Where it reads, and whether it writes elsewhere."""
    layer, submodule, side = trainer.get("layer"), trainer.get("submodule_name"), str(buffer.get("io", "out"))
    transcodes = side in ("in_and_out", "in_to_out")
    if hookpoint is not None:
        return named_place(None, loaded, path, hookpoint), transcodes
    if isinstance(layer, bool) or not isinstance(layer, int):
        raise CoderError(
            f"{path}: trainer.layer is {layer!r}, so the place is not known; give the coder a `hookpoint`."
        )
    hook: str | None = f"blocks.{layer}.hook_resid_post"
    if isinstance(submodule, str) and submodule:
        plain = re.sub(r"[_.]*(layer)?[_.]*\d+$", "", submodule)
        matched = next((to for pattern, to in _SUBMODULES.items() if re.fullmatch(pattern, plain)), None)
        hook = f"blocks.{layer}.{matched}" if matched else submodule
        if matched and re.search(r"\d+$", submodule) and not submodule.endswith(str(layer)):
            raise CoderError(
                f"{path}: trainer.submodule_name {submodule!r} is not of layer {layer}; give a `hookpoint`."
            )
    place = named_place(hook, loaded, path, None)
    if side.startswith("in") and not place.hookpoint.endswith(":in"):
        place = named_place(None, loaded, path, f"{place.hookpoint}:in")
    return place, transcodes
