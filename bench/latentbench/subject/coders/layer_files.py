"""Repositories with one bare file per layer and no configuration beside it: mwhanna's transcoders and Qwen Scope.

`layer_N.safetensors` of mwhanna reads the MLP's input (relu, nothing subtracted) and writes its output. `layerN.sae.pt` of Qwen
Scope is a TopK autoencoder of the residual stream after block N; its k stands in the repository's name alone
(`...-W32K-L0_50`) or is the spec's `k`. Both keep W_enc as [n, d]; the shapes decide.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from latentbench.kernel.errors import CoderError
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.coder_files import coder_files
from latentbench.subject.coders.folder import content_key
from latentbench.subject.coders.places import named_place
from latentbench.subject.coders.sae import Sae
from latentbench.subject.coders.weights import flat, read_weights, turned

if TYPE_CHECKING:
    from latentbench.subject.coders.coder_spec import CoderSpec

_TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")


def load_mwhanna(spec: CoderSpec, loaded: Loaded) -> Sae:
    """Read a transcoder of mwhanna.

    Raises:
        CoderError: the path names no file, it is damaged or holds other tensors, or the layer is not known.
        CoderMismatch: tensors that do not fit together.
    """
    return _load(spec, loaded, "mwhanna")


def load_qwen_scope(spec: CoderSpec, loaded: Loaded) -> Sae:
    """Read an autoencoder of Qwen Scope.

    Raises:
        CoderError: as above, or k is not known.
        CoderMismatch: tensors that do not fit together.
    """
    return _load(spec, loaded, "qwen_scope")


def _load(spec: CoderSpec, loaded: Loaded, name: str) -> Sae:
    folder, chosen = coder_files(spec)
    if chosen is None:
        raise CoderError(
            f"{folder} is a folder; the path of a coder of format {name} ends in the name of one layer's file."
        )
    transcodes = name == "mwhanna"
    k = None if transcodes else _k(spec, str(folder))
    file = folder / chosen
    weights = read_weights(file, _TENSORS, strict=True)
    n, d = flat(file, weights, "b_enc"), flat(file, weights, "b_dec")
    w_enc = turned(file, "W_enc", weights["W_enc"], n, d)
    w_dec = turned(file, "W_dec", weights["W_dec"], n, d)
    layer = re.search(r"layer_?(\d+)", chosen)
    hook = "mlp.hook_in" if transcodes else "hook_resid_post"
    place = named_place(f"blocks.{layer[1]}.{hook}" if layer else None, loaded, file, spec.hookpoint)
    on = loaded.device
    return Sae(
        name=spec.name,
        kind="transcoder" if transcodes else "sae",
        hookpoint=place.hookpoint,
        key=content_key(file, {"format": name, "k": k, "hookpoint": place.hookpoint}),
        activation="relu" if k is None else "topk",
        w_enc=w_enc.contiguous().to(on),
        b_enc=weights["b_enc"].to(on),
        w_dec=w_dec.contiguous().to(on),
        b_dec=weights["b_dec"].to(on),
        k=k,
    )


def _k(spec: CoderSpec, folder: str) -> int:
    if spec.k is not None:
        return spec.k
    said = re.findall(r"L0_(\d+)", f"{folder}/{spec.path}")
    if not said:
        raise CoderError(f"{spec.path} does not say how many latents are active (L0_50); give the coder a `k`.")
    return int(said[-1])
