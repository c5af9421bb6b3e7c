"""Llama Scope: `hyperparams.json` and `checkpoints/final.safetensors`.

Inputs are multiplied by sqrt(d_model) / (their average norm) before the encoder, outputs divided by the factor of their own
place. Both factors are constants and folded into the weights, so a latent's value is that of the scaled input, as SAELens reads
it, and its direction is in the subject's units.

The threshold is one number on the scale of the *outputs* as the model has them, so it is multiplied by the outputs' factor before
it is compared. Comparing it as it stands looks like what the file says, and is off by the factor (10 at layer 8): the published
thresholds are a constant share of the norms (0.2 at a norm of 6.3, 0.75 at 29), and SAELens multiplies, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from latentbench.kernel.errors import CoderError
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.coder_files import FORMATS, coder_files
from latentbench.subject.coders.folder import content_key, read_object, whole
from latentbench.subject.coders.places import before_gain, named_place, settings_of
from latentbench.subject.coders.sae import Sae
from latentbench.subject.coders.weights import positive, read_weights, sized, turned

if TYPE_CHECKING:
    from latentbench.subject.coders.coder_spec import CoderSpec

CONFIG, WEIGHTS = FORMATS["llama_scope"].files
_TENSORS = ("encoder.weight", "encoder.bias", "decoder.weight")


def load(spec: CoderSpec, loaded: Loaded) -> Sae:
    """Read a folder of Llama Scope.

    Raises:
        CoderError: a file is missing, damaged or incomplete, or the place has no counterpart.
        CoderMismatch: tensors that contradict `hyperparams.json`.
    """
    folder, chosen = coder_files(spec)
    if chosen is not None and folder.name == "checkpoints":
        folder, chosen = folder.parent, f"checkpoints/{chosen}"
    path, file = folder / CONFIG, folder / (chosen or WEIGHTS)
    config = read_object(path)
    if config is None:
        raise CoderError(f"{folder} holds no {CONFIG}.")
    missing = [
        k for k in ("d_model", "d_sae", "jump_relu_threshold", "dataset_average_activation_norm") if k not in config
    ]
    if missing:
        raise CoderError(f"{path} lacks {', '.join(missing)}; it has {', '.join(sorted(config))}.")
    if not file.is_file():
        raise CoderError(f"{folder} holds no {chosen or WEIGHTS}.")
    for key, expected in (("use_glu_encoder", False), ("apply_decoder_bias_to_pre_encoder", False)):
        if bool(config.get(key, expected)) != expected:
            raise CoderError(f"{path}: {key} is {config[key]!r}, which is not read.")
    if config.get("act_fn", "jumprelu") not in ("jumprelu", "topk"):
        raise CoderError(
            f"{path}: act_fn {config['act_fn']!r} is not read, only jumprelu (and topk, which has become one)."
        )
    if config.get("norm_activation") not in (None, "dataset-wise"):
        raise CoderError(
            f"{path}: norm_activation {config['norm_activation']!r} is not read, only 'dataset-wise', by the norms in this file."
        )
    d, n = whole(config["d_model"], "d_model", path), whole(config["d_sae"], "d_sae", path)
    norms: Any = config["dataset_average_activation_norm"]
    if not isinstance(norms, dict) or "in" not in norms:
        raise CoderError(f"{path}: dataset_average_activation_norm has no `in`.")
    scale_in = d**0.5 / positive(norms["in"], "dataset_average_activation_norm.in", path)
    scale_out = d**0.5 / positive(norms.get("out", norms["in"]), "dataset_average_activation_norm.out", path)
    threshold = config["jump_relu_threshold"]
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        raise CoderError(f"{path}: jump_relu_threshold is {threshold!r}, expected a number.")
    if config.get("act_fn") == "topk" and not threshold > 0:
        raise CoderError(
            f"{path}: act_fn is 'topk' and jump_relu_threshold {threshold}, so it has not become a JumpReLU yet."
        )
    biased = bool(config.get("use_decoder_bias", True))
    weights = read_weights(file, (*_TENSORS, *(("decoder.bias",) if biased else ())), (), strict=True)
    w_enc = turned(file, "encoder.weight", weights["encoder.weight"], n, d)
    w_dec = turned(file, "decoder.weight", weights["decoder.weight"], d, n).T
    b_enc = sized(file, weights, "encoder.bias", (n,))
    b_dec = sized(file, weights, "decoder.bias", (d,)) if biased else torch.zeros(d)
    where_in, where_out = config.get("hook_point_in"), config.get("hook_point_out")
    transcodes = where_out is not None and where_out != where_in
    place = named_place(where_in, loaded, path, spec.hookpoint)
    settings = {
        "format": "llama_scope",
        "kind": "transcoder" if transcodes else "sae",
        "hookpoint": place.hookpoint,
        "scales": [scale_in, scale_out],
        "threshold": threshold,
        "gain": bool(config.get("sparsity_include_decoder_norm", False)),
    }
    on = loaded.device
    coder = Sae(
        name=spec.name,
        kind="transcoder" if transcodes else "sae",
        hookpoint=place.hookpoint,
        key=content_key(file, settings | settings_of(place)),
        activation="jumprelu",
        w_enc=(w_enc * scale_in).contiguous().to(on),
        b_enc=b_enc.to(on),
        w_dec=(w_dec / scale_out).contiguous().to(on),
        b_dec=(b_dec / scale_out).to(on),
        threshold=torch.tensor([threshold * scale_out]).to(on),
        gain=w_dec.norm(dim=-1).to(on) if settings["gain"] else None,
    )
    return before_gain(coder, place)
