"""Names of other libraries for places in a model -> hookpoints of the subject at hand.

SAELens and OpenMOSS name places as TransformerLens does (`blocks.9.hook_resid_post`), Gemma Scope 2 as Hugging Face with the side
at the end (`model.layers.9.output`). The same name is another module in another architecture: what an attention layer adds to the
residual stream is its output in Llama and that of the norm behind it in Gemma. So a name is looked up by what the block has, and
where the block has no such tensor (a residual stream between attention and MLP that run side by side) it has no counterpart. One
table of suffixes would be shorter, and reads the wrong tensor of the right width.

`hook_normalized` stands inside a norm, before its gain. No module of the subject has that tensor as its input or output, so the
hookpoint is behind the norm and the gain is taken back in the coder's own weights (`before_gain`). A `hookpoint` in a spec means
the tensor there as it stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from latentbench.kernel.errors import CoderError
from latentbench.kernel.identity import digest
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.sae import Glu, Sae
from latentbench.subject.hooks import INPUT, site

_ATTENTION = ("self_attn", "attn", "attention", "self_attention")
_PROJECTION = (
    "self_attn.o_proj",
    "attn.c_proj",
    "attention.dense",
    "self_attn.dense",
    "self_attn.out_proj",
    "attn.out_proj",
    "self_attention.dense",
    "attn.attention.out_proj",
)
"""The map behind the heads; its input is what all heads give, side by side."""
_DOWN = ("mlp.down_proj", "mlp.c_proj", "mlp.dense_4h_to_h", "mlp.fc_out", "mlp.fc2")
_FIRST_NORM = ("input_layernorm", "ln_1")
_SECOND_NORM = ("pre_feedforward_layernorm", "post_attention_layernorm", "ln_2")
_LAST_NORM = ("norm", "ln_f", "final_layer_norm", "final_layernorm")


@dataclass(frozen=True, eq=False)
class Place:
    """Where a coder reads.

    Attributes:
        hookpoint: canonical.
        norm: the norm whose output stands there, where the coder reads what is inside it, before the gain; None elsewhere.
    """

    hookpoint: str
    norm: nn.Module | None = None


@dataclass(frozen=True)
class _Block:
    """Names of the modules inside one block."""

    names: frozenset[str]
    parallel: bool

    def first(self, names: tuple[str, ...], suffix: str = "") -> str | None:
        return next((name + suffix for name in names if name in self.names), None)

    @property
    def norms_outputs(self) -> bool:
        """There is a norm between a module and the residual stream, as in Gemma 2 and 3 and OLMo 2."""
        return "post_feedforward_layernorm" in self.names


def found_place(name: str, loaded: Loaded) -> Place | None:
    """The subject's place of another library's name; None if it has none.

    Raises:
        CoderError: it names a block that the subject does not have.
    """
    matched = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    if matched is not None:
        return _in_block(int(matched[1]), matched[2], loaded)
    if name == "hook_embed":
        # Where positions are added to the stream, the embedding by itself is a module's output.
        modules = dict(loaded.model.base_model.named_modules())
        positions = next((m for m in ("wte", "embed_in", "embed_tokens") if m in modules), None)
        learned = any(m.rpartition(".")[2] in ("wpe", "embed_positions") for m in modules)
        return Place(site(loaded, positions if learned and positions else "layers.0:in").name)
    if name in ("ln_final.hook_normalized", "hook_ln_final"):
        modules = dict(loaded.model.base_model.named_modules())
        norm = next((m for m in _LAST_NORM if m in modules), None)
        return None if norm is None else Place(norm, modules[norm])
    plain, side = re.sub(r"\.(output|input)$", "", name), name.endswith(".input")
    try:
        return Place(site(loaded, plain + (INPUT if side else "")).name)
    except CoderError:
        if re.match(r"(model\.|language_model\.)*(layers|h)\.\d+", name):
            raise
        return None


def named_place(name: object, loaded: Loaded, source: object, hookpoint: str | None) -> Place:
    """Where a coder reads: at the spec's hookpoint if it gives one, else where its files say.

    Args:
        name: what the files say.
        loaded: the subject.
        source: the file that says so, for messages.
        hookpoint: the spec's.

    Raises:
        CoderError: neither says it, or the subject has no such place; or a coder of attention heads is to read another place.
    """
    heads = isinstance(name, str) and name.endswith("hook_z")
    if hookpoint is not None:
        where = site(loaded, hookpoint).name
        if heads and not any(where.endswith(f".{m}{INPUT}") for m in _PROJECTION):
            raise CoderError(
                f"{source} reads {name!r}, the outputs of the attention heads. {where} is another place; leave `hookpoint` out, "
                "or give the input of the map behind the heads, such as layers.9.self_attn.o_proj:in."
            )
        return Place(where)
    if not isinstance(name, str) or not name:
        raise CoderError(f"{source} does not say where the coder reads; give it a `hookpoint`, such as layers.9.")
    place = found_place(name, loaded)
    if place is None:
        raise CoderError(
            f"{source} reads {name!r}, which has no counterpart in {loaded.files.reference}; give the coder a `hookpoint`."
        )
    return place


def _in_block(layer: int, name: str, loaded: Loaded) -> Place | None:
    block = site(loaded, f"layers.{layer}").module
    config = loaded.model.config.get_text_config()
    parallel = bool(getattr(config, "use_parallel_residual", False) or getattr(config, "parallel_attn", False))
    parts = _Block(frozenset(n for n, _ in block.named_modules() if n), parallel)
    if name in ("ln1.hook_normalized", "ln2.hook_normalized"):
        return _inside_norm(layer, name, parts, dict(block.named_modules()))
    suffix = _suffix(name, parts)
    if suffix is None:
        return None
    return Place(site(loaded, f"layers.{layer}{suffix}").name)


def _suffix(name: str, block: _Block) -> str | None:
    """Hookpoint of a place inside a block, after `layers.N`; None if the block has none."""
    found: str | None
    match name:
        case "hook_resid_post" | "hook_out":
            return ""
        case "hook_resid_pre" | "hook_in":
            return INPUT
        case "hook_resid_mid":
            found = None if block.parallel else _before_mlp(block)
        case "hook_mlp_out" if block.norms_outputs:
            found = "post_feedforward_layernorm"
        case "hook_mlp_out" | "mlp.hook_out":
            found = block.first(("mlp",))
        case "hook_attn_out" if block.norms_outputs:
            found = block.first(("post_attention_layernorm",))
        case "hook_attn_out" | "attn.hook_out":
            found = block.first(_ATTENTION)
        case "attn.hook_z":
            found = block.first(_PROJECTION, INPUT)
        case "mlp.hook_post":
            found = block.first(_DOWN, INPUT)
        case "hook_mlp_in" | "mlp.hook_in":
            found = block.first(("mlp",), INPUT)
        case _:
            return None
    return None if found is None else f".{found}"


def _before_mlp(block: _Block) -> str | None:
    """Where the residual stream between attention and MLP is read."""
    if block.norms_outputs and "pre_feedforward_layernorm" not in block.names:
        return block.first(("mlp",), INPUT)  # OLMo 2: the MLP reads the stream itself
    return block.first(_SECOND_NORM, INPUT)


def _inside_norm(layer: int, name: str, block: _Block, modules: dict[str, nn.Module]) -> Place | None:
    if name.startswith("ln1"):
        norm = block.first(_FIRST_NORM)
        return None if norm is None else Place(f"layers.{layer}.{norm}", modules[norm])
    if block.norms_outputs and "pre_feedforward_layernorm" not in block.names:
        return None
    norm = block.first(_SECOND_NORM)
    if norm is None or "mlp" not in modules:
        return None
    # The MLP's input, and not the norm's output, which is the same tensor: a transcoder is a map of that module.
    return Place(f"layers.{layer}.mlp{INPUT}", modules[norm])


def gain_of(norm: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Gain and bias of a norm, float32 [d]; None if they change nothing.

    Raises:
        CoderError: a gain of zero, behind which the norm cannot be seen.
    """
    weight = getattr(norm, "weight", None)
    if not isinstance(weight, Tensor):
        return None
    gain = weight.detach().float()
    # Gemma's norms keep the gain's distance from 1.
    ones = norm(torch.ones_like(weight)).detach().float()
    if not isinstance(norm, nn.LayerNorm) and (ones - gain).abs().sum() > (ones - gain - 1).abs().sum():
        gain = gain + 1
    given = getattr(norm, "bias", None)
    bias = given.detach().float() if isinstance(given, Tensor) else torch.zeros_like(gain)
    if bool((gain == 1).all()) and not bool(bias.any()):
        return None
    if bool((gain == 0).any()):
        raise CoderError("the subject's norm has gains of zero, so what is before its gain cannot be read behind it.")
    return gain, bias


def settings_of(place: Place) -> dict[str, str]:
    """What of a place changes a coder's output, for its key."""
    found = None if place.norm is None else gain_of(place.norm)
    return {} if found is None else {"gain": digest([found[0].tolist(), found[1].tolist()])}


def before_gain(coder: Sae, place: Place) -> Sae:
    """The coder that gives behind a norm's gain what the given one gives before it.

    With x = gain n + bias, W n becomes W / gain (x - bias); a coder that rebuilds its own input writes gain n + bias.

    Raises:
        CoderError: a gain of zero, or a coder that scales each token, which cannot be folded.
    """
    found = None if place.norm is None else gain_of(place.norm)
    if found is None:
        return coder
    if coder.normalise != "none":
        raise CoderError(
            f"coder {coder.name!r} scales each token and reads before a norm's gain, which cannot be brought together; give it a "
            "`hookpoint`."
        )
    gain, bias = (value.to(coder.w_enc.device) for value in found)
    out, b_dec, w_dec = None, coder.b_dec, coder.w_dec
    if coder.w_skip is not None:
        out = coder.w_skip / gain
        b_dec = b_dec - out @ bias
    if coder.kind == "sae":
        w_dec, b_dec = w_dec * gain, b_dec * gain + bias
    return replace(
        coder,
        w_enc=coder.w_enc / gain,
        b_pre=bias if coder.b_pre is None else bias + gain * coder.b_pre,
        w_dec=w_dec,
        b_dec=b_dec,
        w_skip=out,
        glu=None if coder.glu is None else Glu(coder.glu.weight / gain, coder.glu.bias),
    )
