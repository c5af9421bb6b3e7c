"""Gemma Scope (1): `params.npz`, for autoencoders, their embedding variants and transcoders.

The archive holds five arrays and not one word on what they are: place, layer and kind follow from the names of repository and
folder (`google/gemma-scope-2b-pt-res`, `layer_20/width_16k/average_l0_71`). A copy under another name can be any of them, and two
of them have the same shapes, so it needs a `hookpoint`; one that is the input of an MLP makes it a transcoder.

f = relu(x W_enc + b_enc) where that is above the threshold; b_dec is not subtracted. Embedding coders were trained on embeddings
that are not yet multiplied by sqrt(d); the subject's stream has them multiplied, so that factor goes into their weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from latentbench.kernel.errors import CoderError
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.coder_files import FORMATS, coder_files
from latentbench.subject.coders.folder import content_key
from latentbench.subject.coders.places import Place, before_gain, named_place, settings_of
from latentbench.subject.coders.sae import Sae
from latentbench.subject.coders.sparse import Kind
from latentbench.subject.coders.weights import flat, read_weights, sized, tensor_names, turned

if TYPE_CHECKING:
    from latentbench.subject.coders.coder_spec import CoderSpec

(WEIGHTS,) = FORMATS["gemma_scope"].files

_SPELLINGS = {
    "W_enc": ("w_enc", "wenc", "w_e"),
    "W_dec": ("w_dec", "wdec", "w_d"),
    "b_enc": ("b_enc", "benc", "b_e"),
    "b_dec": ("b_dec", "bdec", "b_d"),
    "threshold": ("threshold",),
    "scaling_factor": ("scaling_factor",),
}
"""Names that the arrays have, in small letters."""
_HOOKS = {"res": "hook_resid_post", "mlp": "hook_mlp_out", "att": "attn.hook_z", "transcoder": "ln2.hook_normalized"}


def load(spec: CoderSpec, loaded: Loaded) -> Sae:
    """Read a folder of Gemma Scope.

    Raises:
        CoderError: no archive, one that is damaged or holds other arrays, or a place that neither folder nor spec names.
        CoderMismatch: arrays that do not fit together.
    """
    folder, chosen = coder_files(spec)
    file = folder / (chosen or WEIGHTS)
    if not file.is_file():
        raise CoderError(f"{folder} holds no {file.name}, which every coder of Gemma Scope is.")
    weights = canonical(file, _SPELLINGS, ("scaling_factor",))
    n, d_out = flat(file, weights, "b_enc"), flat(file, weights, "b_dec")
    w_dec = turned(file, "W_dec", weights["W_dec"], n, d_out)
    # Autoencoders and these transcoders read as wide as they write.
    w_enc = turned(file, "W_enc", weights["W_enc"], d_out, n)
    sized(file, weights, "threshold", (n,), (1,), ())
    if "scaling_factor" in weights and not bool(((weights["scaling_factor"] - 1).abs() < 1e-5).all()):
        raise CoderError(f"{file}: scaling_factor is not 1 everywhere, and what it scales is not recorded.")
    kind, where, embedding = _what(f"{spec.path}/{folder}", spec.hookpoint)
    place = named_place(where, loaded, f"the path of {file}", spec.hookpoint)
    settings = {"format": "gemma_scope", "kind": kind, "embedding": embedding, "hookpoint": place.hookpoint}
    scale = d_out**0.5 if embedding else 1.0
    coder = jumping(
        spec, loaded, place, kind, w_enc / scale, weights["b_enc"], w_dec * scale, weights["b_dec"], weights
    )
    return replace(before_gain(coder, place), key=content_key(file, settings | settings_of(place)))


def jumping(
    spec: CoderSpec,
    loaded: Loaded,
    place: Place,
    kind: Kind,
    w_enc: Tensor,
    b_enc: Tensor,
    w_dec: Tensor,
    b_dec: Tensor,
    weights: dict[str, Tensor],
) -> Sae:
    """A JumpReLU coder that subtracts nothing, without a key yet, on the subject's device.

    Args:
        w_enc: [d_in, n].
        b_enc: [n].
        w_dec: [n, d_out].
        b_dec: [d_out].
        weights: `threshold`, and `W_skip` [d_out, d_in] if there is one.
    """
    skip, on = weights.get("W_skip"), loaded.device
    return Sae(
        name=spec.name,
        kind=kind,
        hookpoint=place.hookpoint,
        key="",
        activation="jumprelu",
        w_enc=w_enc.T.contiguous().to(on),
        b_enc=b_enc.to(on),
        w_dec=w_dec.contiguous().to(on),
        b_dec=b_dec.to(on),
        threshold=weights["threshold"].reshape(-1).to(on),
        w_skip=None if skip is None else skip.contiguous().to(on),
    )


def canonical(file: Path, spellings: Mapping[str, tuple[str, ...]], optional: tuple[str, ...]) -> dict[str, Tensor]:
    """Tensors under one name each, whatever case and spelling the file has.

    Raises:
        CoderError: one is missing, or there is one that is not known.
    """
    names = {name.lower(): name for name in tensor_names(file)}
    known = {
        key: next((names[s] for s in spelled if s in names), spelled[0] if key in optional else key)
        for key, spelled in spellings.items()
    }
    found = read_weights(
        file,
        [name for key, name in known.items() if key not in optional],
        [known[key] for key in optional],
        strict=True,
    )
    return {key: found[name] for key, name in known.items() if name in found}


def _what(path: str, hookpoint: str | None) -> tuple[Kind, str | None, bool]:
    """Kind, place in the words of SAELens, and whether it is one of embeddings."""
    names = re.findall(r"gemma-scope-[\w.]+-(?:pt|it)-(res|mlp|att|transcoder)s?", path)
    kind = names[-1] if names else None
    layers = re.findall(r"layer_(\d+)", path)
    transcodes = kind == "transcoder" or (kind is None and hookpoint is not None and ".mlp:in" in hookpoint)
    if kind in (None, "res") and re.search(r"(^|/)embedding(/|$)", path):
        return "sae", "hook_embed", True
    if kind is None or not layers:
        if hookpoint is None:
            raise CoderError(
                f"{path}: nothing in this path says which part of Gemma Scope it is (gemma-scope-2b-pt-res, -mlp, -att or "
                "-transcoders, and layer_N). Keep these names, or give the coder a `hookpoint`."
            )
        return "transcoder" if transcodes else "sae", None, False
    return "transcoder" if transcodes else "sae", f"blocks.{layers[-1]}.{_HOOKS[kind]}", False
