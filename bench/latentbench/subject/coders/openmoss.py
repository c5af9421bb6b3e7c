"""OpenMOSS (Language-Model-SAEs, llamascopium): `config.json` and `sae_weights.safetensors`.

Read is `sae_type: sae` (transcoders are of this type, too) with an activation function that looks at one token: relu, jumprelu,
topk. `batchtopk` chooses among the latents of a batch and its file records no threshold; it is read with the spec's. What
reads or writes several places, or several positions, is refused: crosscoders, cross-layer transcoders, sparse attention.

`norm_activation`: `inference` does nothing; `dataset-wise` multiplies by constants that the weights file holds, which are folded
into the weights, so that values are those of the scaled input; `token-wise` scales each token to norm sqrt(d), which cannot be
undone for a transcoder, whose output has a norm of its own; `batch-wise` depends on the batch and is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from latentbench.kernel.errors import CoderError
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.coder_files import FORMATS, coder_files, read_config_json
from latentbench.subject.coders.folder import content_key, read_evals, weights_file, whole
from latentbench.subject.coders.places import before_gain, named_place, settings_of
from latentbench.subject.coders.sae import Activation, Glu, Sae
from latentbench.subject.coders.weights import positive, read_weights, sized, tensor_names, turned

if TYPE_CHECKING:
    from latentbench.subject.coders.coder_spec import CoderSpec

_, *WEIGHTS = FORMATS["openmoss"].files
NORM = "dataset_average_activation_norm."
_ACTIVATIONS: dict[str, Activation] = {"relu": "relu", "jumprelu": "jumprelu", "topk": "topk", "batchtopk": "batchtopk"}
_SPELLINGS = {
    "W_E": ("W_E", "encoder.weight"),
    "b_E": ("b_E", "encoder.bias"),
    "W_D": ("W_D", "decoder.weight"),
    "b_D": ("b_D", "decoder.bias"),
    "W_E_glu": ("W_E_glu", "encoder_glu.weight"),
    "b_E_glu": ("b_E_glu", "encoder_glu.bias"),
    "log_threshold": ("activation_function.log_jumprelu_threshold", "log_jumprelu_threshold"),
}


def load(spec: CoderSpec, loaded: Loaded) -> Sae:
    """Read a folder of OpenMOSS.

    Raises:
        CoderError: a file is missing, damaged or incomplete, or a coder that is not read (see above).
        CoderMismatch: tensors that contradict the configuration.
    """
    folder, chosen = coder_files(spec)
    path, config = read_config_json(folder)
    kind = config.get("sae_type", "sae")
    if kind != "sae":
        raise CoderError(
            f"{path}: sae_type {kind!r} is not read. Its latents belong to several layers or positions, and a coder here "
            "reads one place and one token."
        )
    missing = [key for key in ("d_model", "expansion_factor") if key not in config]
    if missing:
        raise CoderError(f"{path} lacks {', '.join(missing)}; it has {', '.join(sorted(config))}.")
    d = whole(config["d_model"], "d_model", path)
    wide = d * positive(config["expansion_factor"], "expansion_factor", path)
    if not 1 <= wide < 2**40:
        raise CoderError(f"{path}: {d} x {config['expansion_factor']} is no number of latents.")
    n = int(wide)
    act_fn = str(config.get("act_fn", "relu")).lower()
    if act_fn not in _ACTIVATIONS:
        raise CoderError(f"{path}: act_fn {act_fn!r} is not read. Known: {', '.join(sorted(_ACTIVATIONS))}.")
    activation = _ACTIVATIONS[act_fn]
    if activation == "batchtopk" and spec.threshold is None:
        raise CoderError(
            f"{path}: act_fn 'batchtopk' chooses within a batch, and no threshold is recorded; give a `threshold`."
        )
    file = folder / chosen if chosen is not None else weights_file(folder, WEIGHTS)
    weights, norms = _tensors(file, config, activation)
    w_enc = turned(file, "W_E", weights["W_E"], d, n)
    w_dec = turned(file, "W_D", weights["W_D"], n, d)
    b_enc = sized(file, weights, "b_E", (n,))
    b_dec = sized(file, weights, "b_D", (d,)) if "b_D" in weights else torch.zeros(d)
    where_in, where_out = config.get("hook_point_in"), config.get("hook_point_out", config.get("hook_point_in"))
    transcodes = where_out != where_in
    scale_in, scale_out, tokenwise = _scales(config, norms, d, path, file, transcodes)
    gain = w_dec.norm(dim=-1) if config.get("sparsity_include_decoder_norm", True) and activation != "relu" else None
    threshold = None
    if activation == "jumprelu":
        threshold = sized(file, weights, "log_threshold", (n,), (1,), ()).exp().reshape(-1)
    if activation == "batchtopk":
        threshold = torch.tensor([float(spec.threshold or 0.0)])
    k = whole(config.get("top_k", 50), "top_k", path) if activation == "topk" else None
    glu = None
    if "W_E_glu" in weights:
        second = turned(file, "W_E_glu", weights["W_E_glu"], d, n)
        glu = Glu(
            (second * scale_in).T.contiguous().to(loaded.device),
            sized(file, weights, "b_E_glu", (n,)).to(loaded.device),
        )
    place = named_place(where_in, loaded, path, spec.hookpoint)
    settings: dict[str, Any] = {
        "format": "openmoss",
        "act_fn": act_fn,
        "k": k,
        "threshold": spec.threshold if activation == "batchtopk" else None,
        "kind": "transcoder" if transcodes else "sae",
        "hookpoint": place.hookpoint,
        "gain": gain is not None,
        "scales": [scale_in, scale_out, tokenwise],
    }
    on = loaded.device
    coder = Sae(
        name=spec.name,
        kind="transcoder" if transcodes else "sae",
        hookpoint=place.hookpoint,
        key=content_key(file, settings | settings_of(place)),
        activation=activation,
        w_enc=(w_enc * scale_in).T.contiguous().to(on),
        b_enc=b_enc.to(on),
        w_dec=(w_dec / scale_out).contiguous().to(on),
        b_dec=(b_dec / scale_out).to(on),
        k=k,
        threshold=None if threshold is None else threshold.to(on),
        normalise="constant_norm_rescale" if tokenwise else "none",
        glu=glu,
        gain=None if gain is None else gain.to(on),
        evals=read_evals(folder, config),
    )
    return before_gain(coder, place)


def _tensors(
    file: Path, config: Mapping[str, Any], activation: Activation
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Tensors under their names of today, and the average norms by place."""
    names = tensor_names(file)
    norms = [name for name in names if name.startswith(NORM)]
    wanted = ["W_E", "b_E", "W_D"]
    wanted += ["b_D"] if config.get("use_decoder_bias", True) else []
    wanted += ["W_E_glu", "b_E_glu"] if config.get("use_glu_encoder", False) else []
    wanted += ["log_threshold"] if activation == "jumprelu" else []
    spelled = {key: next((s for s in _SPELLINGS[key] if s in names), _SPELLINGS[key][0]) for key in wanted}
    # A file that was trained on has the norms of the places even where nothing is scaled, and then they hold anything.
    scaled = config.get("norm_activation") in (None, "dataset-wise")
    found = read_weights(file, list(spelled.values()), norms if scaled else (), strict=scaled)
    if not scaled:
        read_weights(file, list(spelled.values()), (), strict=not norms)
    # A linear map of torch is [out, in].
    named = {key: found[name].T if name.endswith(".weight") else found[name] for key, name in spelled.items()}
    return named, {name.removeprefix(NORM): float(found[name]) for name in norms if name in found}


def _scales(
    config: Mapping[str, Any], norms: dict[str, float], d: int, path: Path, file: Path, transcodes: bool
) -> tuple[float, float, bool]:
    """Factor of the input, factor of the output, and whether each token is scaled by itself."""
    how = config.get("norm_activation")
    if how == "inference" or (how is None and not norms):
        return 1.0, 1.0, False
    if how == "token-wise" and not transcodes:
        return 1.0, 1.0, True
    if how not in (None, "dataset-wise"):
        raise CoderError(
            f"{path}: norm_activation {how!r} "
            + (
                "scales the output by its own norm, which a transcoder does not see."
                if how == "token-wise"
                else "depends on the batch; set it to 'dataset-wise' and save the coder again."
            )
        )
    given = config.get(NORM.rstrip("."))
    norms = norms or (given if isinstance(given, dict) else {})
    scales = []
    for side in ("in", "out"):
        hook = config.get(f"hook_point_{side}", config.get("hook_point_in"))
        value = norms.get(str(hook), norms.get(side))
        if value is None:
            raise CoderError(
                f"{file} has no {NORM}{hook}, by which norm_activation 'dataset-wise' scales. Save the coder with "
                "`fold_activation_scale`, which makes it 'inference'."
            )
        scales.append(math.sqrt(d) / positive(value, f"{NORM}{hook}", file))
    return scales[0], scales[1], False
