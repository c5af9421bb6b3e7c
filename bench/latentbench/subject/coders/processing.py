"""How the model's weights were processed for a coder's training, honoured where that is exact and refused where it is not.

TransformerLens rewrites weights when it loads a model (`model_from_pretrained_kwargs` in a SAELens folder). Each rewriting
leaves the model's output alone and changes the activations of some places:

    center_writing_weights            with LayerNorm: the residual stream and what is added to it lose their mean; done here,
                                      exactly. With RMSNorm TransformerLens leaves it aside; so does this project, and says so.
    fold_ln                           outputs of a norm, and so inputs of attention and MLP, lose their gain: refused there
    fold_value_biases,                inside attention (`self_attn.o_proj:in`): refused there, the first only where the subject
    refactor_factored_attn_matrices   has value biases
    center_unembed                    logits only

At every other place they change nothing. An argument that is not known may change anything, so it is refused. `as_is: true`
in the coder's entry feeds the activations as they are.

`expected_average_only_in`, a factor that SAELens folds into the weights when training ends, is the same kind of thing: a
checkpoint whose `activation_scaler.json` still holds the factor gets it here, and `coder_check` finds the one whose factor
is lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torch import nn

from latentbench.kernel.errors import CoderError
from latentbench.kernel.inputs import read_json
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.prepared_input import PreparedInput
from latentbench.subject.coders.provenance import Provenance
from latentbench.subject.coders.sparse import SparseCoder
from latentbench.subject.hooks import INPUT, STACK, site

if TYPE_CHECKING:
    from latentbench.subject.coders.coder_spec import CoderSpec

SCALER = "activation_scaler.json"
"""SAELens writes it beside the weights of a checkpoint; null once the factor is folded."""
PROCESSING = (
    "center_writing_weights", "fold_ln", "fold_value_biases", "refactor_factored_attn_matrices", "center_unembed",
)  # fmt: skip
HARMLESS = frozenset(
    (
        "dtype", "torch_dtype", "device", "device_map", "n_devices", "move_to_device", "low_cpu_mem_usage", "max_memory",
        "attn_implementation", "cache_dir", "token", "local_files_only", "trust_remote_code", "use_safetensors",
        "default_prepend_bos", "default_padding_side", "first_n_layers", "n_ctx", "offload_folder", "tokenizer",
    )
)  # fmt: skip
"""Arguments that change no activation of a place, but for rounding."""
CHECKPOINT = ("revision", "checkpoint_index", "checkpoint_value", "checkpoint_label")
"""Arguments that name other weights of the same model."""
_WRITES = frozenset(
    ("o_proj", "c_proj", "out_proj", "dense", "down_proj", "dense_4h_to_h", "fc2", "fc_out", "wo", "w2")
)
"""Last maps of attention and MLP, whose outputs are added to the residual stream."""
OVERRIDE = "To feed the activations as they are, give the coder `as_is: true`."


def as_trained(spec: CoderSpec, coder: SparseCoder, said: Provenance, loaded: Loaded) -> SparseCoder:
    """The coder with its input prepared as in training; the coder itself where nothing is to be done, or `as_is` says so.

    Raises:
        CoderError: training saw activations that cannot be made here; the message has the argument, the place and the override.
    """
    if spec.as_is:
        return coder
    for name, value in said.processing.items():
        if name not in (*PROCESSING, *CHECKPOINT) and name not in HARMLESS and value not in (None, False):
            raise CoderError(
                f"{said.source}: coder {spec.name!r} was trained on a model loaded with {name}={value!r}, which is not "
                f"known here and may change its activations. {OVERRIDE}"
            )
        if name in PROCESSING and not isinstance(value, bool | None):
            raise CoderError(f"{said.source}: {name} is {value!r}, expected true or false. {OVERRIDE}")
    wanted = [name for name in PROCESSING if said.processing.get(name)]
    for name in wanted:
        if name == "fold_ln" and spec.hookpoint is None and (said.hook or "").endswith("hook_normalized"):
            continue  # stands before the gain that folding moves, which `places` takes back
        if _changes(name, coder.hookpoint, loaded):
            raise CoderError(
                f"{said.source}: coder {spec.name!r} was trained on a model loaded with {name}=true, which changes the "
                f"activations at {coder.hookpoint}; here they are those of the model as it is. {OVERRIDE}"
            )
    centred = "center_writing_weights" in wanted and _centred(coder.hookpoint, loaded)
    factor = unfolded_factor(Path(said.source).parent) if said.unfolded else 1.0
    return PreparedInput(coder, centred, factor) if centred or factor != 1 else coder


def processing_remarks(spec: CoderSpec, said: Provenance, loaded: Loaded) -> list[str]:
    """What a user must know of a coder that is fed something else than in training, one sentence each."""
    found = []
    checkpoint = {name: said.processing[name] for name in CHECKPOINT if said.processing.get(name) is not None}
    if checkpoint:
        named = ", ".join(f"{name}={value!r}" for name, value in checkpoint.items())
        found.append(
            f"coder {spec.name!r} was trained on the weights {named} of {said.model or 'its model'} ({said.source}); "
            f"whether {loaded.files.reference} has these weights is not known."
        )
    if said.processing.get("center_writing_weights") and not spec.as_is and norm_kind(loaded) == "rms":
        found.append(
            f"coder {spec.name!r} asks for centred weights ({said.source}), but {loaded.files.reference} has RMSNorm, for "
            "which TransformerLens leaves this aside: its activations are fed as they are. Is it the model of training?"
        )
    return found


def norm_kind(loaded: Loaded) -> Literal["layer", "rms"] | None:
    """What the norms of the subject subtract and divide by: `layer` the mean and the deviation, `rms` the root mean square
    alone.

    None where their classes do not say it, or not all are of one kind.
    """
    names = {type(m).__name__.lower() for m in loaded.model.base_model.modules() if "norm" in type(m).__name__.lower()}
    rms = {name for name in names if "rms" in name}
    layer = {name for name in names if "layernorm" in name and "rms" not in name}
    if rms and rms == names:
        return "rms"
    return "layer" if layer and layer == names else None


def _in_block(loaded: Loaded, hookpoint: str) -> list[str] | None:
    """Path of the hooked module below its block, [] for the block itself; None for a place outside of the blocks."""
    parts = site(loaded, hookpoint).name.removesuffix(INPUT).split(".")
    return parts[2:] if parts[0] == STACK and len(parts) > 1 and parts[1].isdigit() else None


def _block(loaded: Loaded, hookpoint: str) -> Mapping[str, nn.Module]:
    """Children of the block in which a hookpoint lies."""
    name = site(loaded, hookpoint).name.removesuffix(INPUT)
    below = _in_block(loaded, hookpoint)
    depth = len(below or ())
    block = ".".join(name.split(".")[: len(name.split(".")) - depth])
    return dict(site(loaded, block).module.named_children())


def _is_norm(name: str, module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower() or "norm" in name.lower() or name.startswith("ln_")


def _writes_to_stream(loaded: Loaded, hookpoint: str) -> bool | None:
    """Whether a place is the residual stream or what is added to it; None where that cannot be told from its name."""
    below, reads = _in_block(loaded, hookpoint), hookpoint.endswith(INPUT)
    if below is None:
        return None
    if not below:
        return True
    children = _block(loaded, hookpoint)
    norm = _is_norm(below[0], children[below[0]])
    if len(below) == 1:
        return norm if reads else not norm
    if norm:
        return None
    return below[-1] in _WRITES and not reads


def _centred(hookpoint: str, loaded: Loaded) -> bool:
    return norm_kind(loaded) == "layer" and bool(_writes_to_stream(loaded, hookpoint))


def _changes(name: str, hookpoint: str, loaded: Loaded) -> bool:
    """Whether a rewriting changes the activations of a place in a way that is not made up for here."""
    below, reads = _in_block(loaded, hookpoint), hookpoint.endswith(INPUT)
    if name == "center_unembed":
        return False
    if name == "center_writing_weights":
        kind = norm_kind(loaded)
        return kind is None or (kind == "layer" and _writes_to_stream(loaded, hookpoint) is None)
    if below is None:
        return True
    if not below:
        return False
    children = _block(loaded, hookpoint)
    if name == "fold_ln":
        if len(below) > 1:
            # The inputs of the first maps are the norm's output; what comes after them is computed as before.
            return reads and below[-1] not in _WRITES
        post = "pre_feedforward_layernorm" in children and below[0].startswith("post_")
        return not post and _is_norm(below[0], children[below[0]]) != reads
    inside_attention = len(below) > 1 and "att" in below[0].lower() and not (below[-1] in _WRITES and not reads)
    if name == "fold_value_biases":
        return inside_attention and _has_value_bias(children[below[0]])
    return inside_attention


def _has_value_bias(attention: nn.Module) -> bool:
    named = {name.rpartition(".")[2]: m for name, m in attention.named_modules()}
    maps = [
        m for name, m in named.items() if name in ("v_proj", "c_attn", "query_key_value", "qkv_proj", "Wqkv", "value")
    ]
    return not maps or any(getattr(m, "bias", None) is not None for m in maps)


def unfolded_factor(folder: Path) -> float:
    """The factor that a checkpoint has not folded yet; 1 where none is recorded.

    Raises:
        CoderError: the file cannot be read, says that inputs are whitened, or holds no number above 0.
    """
    path = folder / SCALER
    if not path.is_file():
        return 1.0
    try:
        found = read_json(path)
    except (ValueError, OSError) as e:
        raise CoderError(f"{path} cannot be read as JSON: {e}. Fetch or make the coder again.") from e
    if not isinstance(found, dict):
        raise CoderError(f"{path} holds {type(found).__name__}, expected a JSON object.")
    if found.get("has_whitening"):
        raise CoderError(
            f"{path} says that inputs are whitened, which is not read; fold it into the weights with SAELens."
        )
    factor = found.get("scaling_factor")
    if factor is None:
        return 1.0
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < math.inf:
        raise CoderError(f"{path}: scaling_factor is {factor!r}, expected a number above 0.")
    return float(factor)
