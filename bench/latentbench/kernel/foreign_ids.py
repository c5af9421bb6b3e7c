"""Ids of latents as other tools write them: a place and an index, and which coder of a suite stands at that place.

    res9/12                          a coder's name (this project)
    layers.9_latent12                a module (delphi); `layers.9.mlp`, `.model.layers.9`, `transformer.h.9` are others
    blocks.9.hook_resid_post/12      a TransformerLens hook (SAELens)
    gpt2-small/9-res-jb/12           a source (Neuronpedia), with the model or without
    L9/12, layer_9/12                a layer
    12                               none

A place is taken for a coder in this order: the user's mapping, the coder's name, the module that the coder reads, the layer
alone. Each must leave exactly one coder; two are an error, because the first of them would be a guess that nobody sees. Nothing
is matched by likeness. What is matched by place says where a dictionary was trained and not which one it was, so whoever uses
this shows which rule was used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from latentbench.kernel.errors import DataError, UnknownName

REST = "*"
"""Place of a mapping that stands for all places which it does not name, and for ids without a place."""
RESIDUAL, MLP, MLP_IN, ATTENTION, HEADS, NEURONS, MIDDLE = (
    "residual", "mlp", "mlp:in", "attention", "attention heads", "neurons", "middle of the residual",
)  # fmt: skip
CONTROLS = frozenset({"random", "planted"})
"""Kinds of coders that nobody else has; they are met by name alone."""

Rule = Literal["mapping", "name", "module", "layer", "only coder"]

_MARKED = re.compile(r"(?P<place>.+?)[_.\- ]?(?:latent|feature|neuron)s?[_ ]?(?P<index>[0-9]{1,10})", re.DOTALL)
_SEPARATED = re.compile(r"(?P<place>.*)[/:#](?P<index>[0-9]{1,10})", re.DOTALL)
_BARE = re.compile(r"[0-9]{1,10}")
_MODULE = re.compile(r"(?:.*\.)?(?:layers|h|blocks|block)\.(?P<layer>[0-9]{1,4})(?:[.](?P<rest>.*))?")
_LAYER = re.compile(r"(?:L|layer[ _.-]?)(?P<layer>[0-9]{1,4})", re.IGNORECASE)
_SOURCE = re.compile(r"(?P<layer>[0-9]{1,4})(?:-(?P<rest>.*))?")
_HOOKS: Mapping[str, str] = {
    "hook_resid_post": RESIDUAL,
    "hook_out": RESIDUAL,
    "hook_mlp_out": MLP,
    "hook_mlp_in": MLP_IN,
    "ln2.hook_normalized": MLP_IN,
    "mlp.hook_in": MLP_IN,
    "hook_attn_out": ATTENTION,
    "attn.hook_z": HEADS,
    "hook_z": HEADS,
    "mlp.hook_post": NEURONS,
    "hook_resid_mid": MIDDLE,
}
_MODULES: Mapping[str, str] = {
    "": RESIDUAL,
    "mlp": MLP,
    "mlp:in": MLP_IN,
    "self_attn": ATTENTION,
    "attn": ATTENTION,
    "self_attn.o_proj:in": HEADS,
    "mlp.down_proj:in": NEURONS,
    "post_attention_layernorm:in": MIDDLE,
}
_WORDS: Mapping[str, str] = {
    "res": RESIDUAL,
    "resid": RESIDUAL,
    "mlp": MLP,
    "att": ATTENTION,
    "attn": ATTENTION,
    "transcoder": MLP_IN,
    "transcoders": MLP_IN,
    "neurons": NEURONS,
}


@dataclass(frozen=True, slots=True)
class ForeignId:
    """A latent as another tool names it.

    Attributes:
        place: what stands before the index, as it is written; "" for an index alone.
        index: coordinate.
    """

    place: str
    index: int


@dataclass(frozen=True, slots=True)
class ModelSite:
    """Where in a model.

    Attributes:
        layer: number of the block, from 0.
        part: one of the parts above, a module below the block, or "" where only the layer is said.
    """

    layer: int
    part: str


@dataclass(frozen=True, slots=True)
class KnownCoder:
    """A coder of a suite.

    Attributes:
        name: in the suite.
        hookpoint: module that it reads; "" where the suite does not say.
        kind: `sae`, `transcoder`, `neurons`, `random`, `planted`, or "".
    """

    name: str
    hookpoint: str = ""
    kind: str = ""


def parse_id(text: str) -> ForeignId | None:
    """A latent's id, of any of the forms above; None if it has no index."""
    text = text.strip()
    if _BARE.fullmatch(text):
        return ForeignId("", int(text))
    # The separator first: a source of Neuronpedia may have the word `latent` in its name.
    found = _SEPARATED.fullmatch(text) or _MARKED.fullmatch(text)
    return ForeignId(found["place"].strip(), int(found["index"])) if found else None


def site_of(place: str) -> ModelSite | None:
    """Where a place is, if it says at least a layer."""
    place = place.strip()
    for text in (place, place.rpartition("/")[2]):
        if found := _MODULE.fullmatch(text):
            return _module(int(found["layer"]), found["rest"] or "")
        if found := _LAYER.fullmatch(text):
            return ModelSite(int(found["layer"]), "")
        if found := _SOURCE.fullmatch(text):
            parts = {_WORDS[word] for word in re.split(r"[-_]", found["rest"] or "") if word in _WORDS}
            # `transcoder-mlp` says one thing twice.
            parts -= {MLP} if MLP_IN in parts else set()
            return ModelSite(int(found["layer"]), parts.pop() if len(parts) == 1 else "")
    return None


def _module(layer: int, rest: str) -> ModelSite | None:
    for end, said in ((".output", ""), (".input", ":in")):
        rest = f"{rest.removesuffix(end)}{said}" if f".{rest}".endswith(end) else rest
    rest = {"output": "", ":in": ":in"}.get(rest, rest)
    if rest == "hook_resid_pre":
        return ModelSite(layer - 1, RESIDUAL) if layer else None
    return ModelSite(layer, _HOOKS.get(rest) or _MODULES.get(rest, rest))


def coder_at(
    place: str, coders: Sequence[KnownCoder], mapping: Mapping[str, str] | None = None
) -> tuple[str, Rule] | None:
    """Name of the coder that a place stands for, and by which rule; None if there is none.

    Args:
        mapping: place -> name of a coder, what the user says; REST for all other places.

    Raises:
        UnknownName: the mapping names a coder that is not there.
        DataError: two coders are meant alike; the message says how to choose.
    """
    names = [coder.name for coder in coders]
    told = (mapping or {}).get(place, (mapping or {}).get(REST))
    if told is not None:
        if told not in names:
            raise UnknownName(f"coder for the place {place or REST!r}", told, names)
        return told, "mapping"
    for name in (place, place.rpartition("/")[2]):
        if name in names:
            return name, "name"
    others = [coder for coder in coders if coder.kind not in CONTROLS]
    if not place:
        return _only(place, [coder.name for coder in others or coders], "only coder")
    site = site_of(place)
    if site is None:
        return None
    sites = {coder.name: site_of(coder.hookpoint) for coder in others}
    if not site.part:
        return _only(place, [name for name, at in sites.items() if at is not None and at.layer == site.layer], "layer")
    same = [name for name, at in sites.items() if at == site]
    if not same and site.part == MLP:
        # A transcoder is called after the module that it stands for, whose input it reads.
        kinds = {coder.name: coder.kind for coder in others}
        into = ModelSite(site.layer, MLP_IN)
        same = [name for name, at in sites.items() if at == into and kinds[name] in ("transcoder", "")]
    return _only(place, same, "module")


def _only(place: str, found: Sequence[str], rule: Rule) -> tuple[str, Rule] | None:
    if len(found) > 1:
        said = f"the place {place!r}" if place else "an index without a place"
        raise DataError(
            f"{said} may be of the coders {', '.join(found)}. Say which: coders: {{{place or REST!r}: {found[0]}}} in a spec, "
            f"--map '{place or REST}={found[0]}' with bench score."
        )
    return (found[0], rule) if found else None
