"""sparsify folders: `cfg.json` and `sae.safetensors`.

The place where a coder reads is the folder's name there (`layers.9.mlp`), so that is the hookpoint unless the spec gives one.
A transcoder is trained from a module's input to its output: `layers.9.mlp` then means reading `layers.9.mlp:in`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from latentbench.kernel.errors import CoderError
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.coder_files import coder_files
from latentbench.subject.coders.folder import (
    CONFIG,
    check_shapes,
    content_key,
    read_config,
    read_evals,
    weights_file,
    whole,
)
from latentbench.subject.coders.sae import Activation, Sae
from latentbench.subject.coders.weights import read_weights
from latentbench.subject.hooks import INPUT, site

if TYPE_CHECKING:
    from latentbench.subject.coders.coder_spec import CoderSpec

WEIGHTS = "sae.safetensors"


def load(spec: CoderSpec, loaded: Loaded) -> Sae:
    """Read a sparsify folder.

    Raises:
        CoderError: a file is missing, damaged or incomplete, an unknown activation, or a folder whose name is no hookpoint.
        CoderMismatch: tensors that contradict the configuration.
    """
    folder, _ = coder_files(spec)
    path = folder / CONFIG
    config = read_config(folder, ("d_in", "k"))
    if not config.get("num_latents") and not config.get("expansion_factor"):
        raise CoderError(f"{path} lacks num_latents and expansion_factor; one of them gives the width.")
    d, k = whole(config["d_in"], "d_in", path), whole(config["k"], "k", path)
    n = (
        whole(config["num_latents"], "num_latents", path)
        if config.get("num_latents")
        else d * whole(config["expansion_factor"], "expansion_factor", path)
    )
    activation = config.get("activation", "topk")
    if activation not in ("topk", "groupmax"):
        raise CoderError(f"{path}: activation {activation!r} is not read. Known: groupmax, topk.")
    if activation == "groupmax" and n % k:
        raise CoderError(f"{path}: {n} latents are not {k} equal groups.")
    transcodes = bool(config.get("transcode"))
    file = weights_file(folder, (WEIGHTS,))
    weights = read_weights(file, ("encoder.weight", "encoder.bias", "W_dec", "b_dec"), ("W_skip",), strict=True)
    d_out = weights["b_dec"].numel() if transcodes else d
    shapes = {"encoder.weight": (n, d), "encoder.bias": (n,), "W_dec": (n, d_out), "b_dec": (d_out,)}
    check_shapes(file, weights, shapes | {"W_skip": (d_out, d)})
    hookpoint = spec.hookpoint or _hookpoint(folder.name, transcodes, loaded)
    settings = {"format": "sparsify", "activation": activation, "k": k, "transcode": transcodes, "hookpoint": hookpoint}
    on = {name: value.to(loaded.device) for name, value in weights.items()}
    return Sae(
        name=spec.name,
        kind="transcoder" if transcodes else "sae",
        hookpoint=hookpoint,
        key=content_key(file, settings),
        activation=cast(Activation, activation),
        w_enc=on["encoder.weight"],
        b_enc=on["encoder.bias"],
        w_dec=on["W_dec"],
        b_dec=on["b_dec"],
        k=k,
        b_pre=None if transcodes else on["b_dec"],
        w_skip=on.get("W_skip"),
        evals=read_evals(folder, config),
    )


def _hookpoint(folder_name: str, transcodes: bool, loaded: Loaded) -> str:
    try:
        found = site(loaded, folder_name).name
    except CoderError as e:
        raise CoderError(
            f"the folder's name {folder_name!r} is not a hookpoint of {loaded.files.reference}; give the coder a `hookpoint`."
        ) from e
    return found + INPUT if transcodes and not found.endswith(INPUT) else found
