"""Goodfire: one `.pt` file with `encoder_linear` and `decoder_linear`, relu, nothing subtracted.

The file says neither subject nor layer; the published ones have the layer at the end of their names (`...-SAE-l19`).
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

_TENSORS = ("encoder_linear.weight", "encoder_linear.bias", "decoder_linear.weight", "decoder_linear.bias")


def load(spec: CoderSpec, loaded: Loaded) -> Sae:
    """Read a file of Goodfire.

    Raises:
        CoderError: the path names no file, it is damaged or holds other tensors, or the layer is not known.
        CoderMismatch: tensors that do not fit together.
    """
    folder, chosen = coder_files(spec)
    if chosen is None:
        raise CoderError(f"{folder} is a folder; the path of a coder of Goodfire ends in the name of its .pt file.")
    file = folder / chosen
    weights = read_weights(file, _TENSORS, strict=True)
    n, d = flat(file, weights, "encoder_linear.bias"), flat(file, weights, "decoder_linear.bias")
    w_enc = turned(file, "encoder_linear.weight", weights["encoder_linear.weight"], n, d)
    w_dec = turned(file, "decoder_linear.weight", weights["decoder_linear.weight"], d, n).T
    layer = re.search(r"[-_]l(?:ayer_?)?(\d+)$", file.stem)
    place = named_place(f"blocks.{layer[1]}.hook_resid_post" if layer else None, loaded, file, spec.hookpoint)
    on = loaded.device
    return Sae(
        name=spec.name,
        kind="sae",
        hookpoint=place.hookpoint,
        key=content_key(file, {"format": "goodfire", "hookpoint": place.hookpoint}),
        activation="relu",
        w_enc=w_enc.contiguous().to(on),
        b_enc=weights["encoder_linear.bias"].to(on),
        w_dec=w_dec.contiguous().to(on),
        b_dec=weights["decoder_linear.bias"].to(on),
    )
