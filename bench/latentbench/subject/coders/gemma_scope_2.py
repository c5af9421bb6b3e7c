"""Gemma Scope 2: `params.safetensors` and, in most folders, `config.json`.

The configuration names the place in words of Hugging Face; without it everything follows from the folder's name
(`resid_post/layer_12_width_16k_l0_medium`). A cross-layer transcoder comes as one file per layer whose decoder has an axis more,
one row for each layer that it writes to. Its latents are read like any transcoder's; the decoder rows are summed, which is what a
latent writes altogether, so its reconstruction is none of any one place and is warned about.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentbench.kernel.errors import CoderError, CoderMismatch
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.coder_check import CoderWarning
from latentbench.subject.coders.coder_files import FORMATS, coder_files
from latentbench.subject.coders.folder import content_key, read_object
from latentbench.subject.coders.gemma_scope import canonical, jumping
from latentbench.subject.coders.places import before_gain, named_place, settings_of
from latentbench.subject.coders.sae import Sae
from latentbench.subject.coders.sparse import Kind
from latentbench.subject.coders.weights import flat, sized, turned
from latentbench.views.escape import line

if TYPE_CHECKING:
    from latentbench.subject.coders.coder_spec import CoderSpec

CONFIG, WEIGHTS = FORMATS["gemma_scope_2"].files

_SPELLINGS = {
    "W_enc": ("w_enc",),
    "W_dec": ("w_dec",),
    "b_enc": ("b_enc",),
    "b_dec": ("b_dec",),
    "threshold": ("threshold",),
    "W_skip": ("affine_skip_connection",),
}
_PLACES = {
    "resid_post": "model.layers.{}.output",
    "attn_out": "model.layers.{}.self_attn.o_proj.input",
    "mlp_out": "model.layers.{}.post_feedforward_layernorm.output",
    "transcoder": "model.layers.{}.pre_feedforward_layernorm.output",
    "clt": "model.layers.{}.pre_feedforward_layernorm.output",
}


def load(spec: CoderSpec, loaded: Loaded) -> Sae:
    """Read a folder, or one file of a cross-layer transcoder.

    Raises:
        CoderError: a file is missing or damaged, or a place that nothing names.
        CoderMismatch: tensors that do not fit together, or a skip path that the configuration does not have.
    """
    folder, chosen = coder_files(spec)
    file = folder / (chosen or WEIGHTS)
    if not file.is_file():
        raise CoderError(f"{folder} holds no {file.name}.")
    path = folder / CONFIG
    config = read_object(path) or {}
    if config.get("architecture", "jump_relu") != "jump_relu":
        raise CoderError(f"{path}: architecture {config['architecture']!r} is not read, only 'jump_relu'.")
    weights = canonical(file, _SPELLINGS, ("W_skip",))
    n, w_dec, layers = flat(file, weights, "b_enc"), weights["W_dec"], 1
    if w_dec.ndim == 3:
        layers, d_out = w_dec.shape[1:]
        sized(file, weights, "W_dec", (n, layers, d_out))
        w_dec = w_dec.sum(1)
        if weights["b_dec"].ndim == 2:
            weights["b_dec"] = sized(file, weights, "b_dec", (layers, d_out)).sum(0)
        warnings.warn(
            line(
                f"{file} is one layer of a cross-layer transcoder: what its latents write to {layers} layers is summed. "
                "Activations are those of the coder, its reconstruction is that of no place."
            ),
            CoderWarning,
            stacklevel=2,
        )
    d_out = flat(file, weights, "b_dec")
    w_dec = turned(file, "W_dec", w_dec, n, d_out)
    d_in = _other(file, tuple(weights["W_enc"].shape), n)
    w_enc = turned(file, "W_enc", weights["W_enc"], d_in, n)
    sized(file, weights, "threshold", (n,), (1,), ())
    affine = config.get("affine_connection")
    if affine is not None and bool(affine) != ("W_skip" in weights):
        raise CoderMismatch(
            f"{path} says affine_connection {str(bool(affine)).lower()}, and {file.name} has "
            f"{'an' if 'W_skip' in weights else 'no'} affine_skip_connection."
        )
    if "W_skip" in weights:
        weights["W_skip"] = sized(file, weights, "W_skip", (d_in, d_out)).T
    part = _part(f"{spec.path}/{folder}/{chosen or ''}")
    elsewhere = config.get("hf_hook_point_out") not in (None, config.get("hf_hook_point_in"))
    transcodes = part in ("transcoder", "clt") or layers > 1 or "W_skip" in weights or elsewhere
    kind: Kind = "transcoder" if transcodes else "sae"
    if not transcodes and d_in != d_out:
        raise CoderMismatch(
            f"{file}: W_enc reads width {d_in}, and b_dec has {d_out}; an autoencoder writes what it reads."
        )
    name = config.get("hf_hook_point_in") or _place(part, f"{spec.path}/{folder}/{chosen or ''}")
    place = named_place(name, loaded, path if config.get("hf_hook_point_in") else f"the path of {file}", spec.hookpoint)
    settings: dict[str, Any] = {"format": "gemma_scope_2", "kind": kind, "hookpoint": place.hookpoint}
    coder = jumping(spec, loaded, place, kind, w_enc, weights["b_enc"], w_dec, weights["b_dec"], weights)
    return replace(before_gain(coder, place), key=content_key(file, settings | settings_of(place)))


def _other(file: Path, shape: tuple[int, ...], n: int) -> int:
    """The width of the input: the number in the encoder's shape that is not the number of latents."""
    if len(shape) == 2 and n in shape:
        return shape[0] if shape[1] == n else shape[1]
    raise CoderMismatch(f"{file}: W_enc has shape {shape}, and b_enc {n} latents.")


def _part(path: str) -> str | None:
    found = re.findall(r"(resid_post|attn_out|mlp_out|transcoder|clt)(?=[/_]|$)", path)
    return found[-1] if found else None


def _place(part: str | None, path: str) -> str | None:
    layers = re.findall(r"layer_(\d+)", path)
    return _PLACES[part].format(layers[-1]) if part is not None and layers else None
