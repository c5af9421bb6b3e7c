"""Model files -> a model ready for inference.

One loader for subjects and for in-process judges, so that a subject that judges itself is loaded in the same way in both
roles. Weights are loaded in the asked dtype and frozen; nothing here trains.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from latentbench.kernel.errors import ModelError
from latentbench.kernel.extras import need
from latentbench.kernel.identity import digest
from latentbench.models.loading import PLAIN, Loading, check_code, keywords
from latentbench.models.source import ModelFiles, resolve

if TYPE_CHECKING:
    import torch

DType = Literal["float32", "bfloat16", "float16"]
LIVE = "live:"
"""How the reference of a model begins that is an object of this process (`models.live_subject`)."""


@dataclass(frozen=True)
class Loaded:
    """A causal language model in memory.

    Attributes:
        files: where it came from, with its content identity.
        model: a transformers causal LM, in eval mode, without gradients.
        tokenizer: the tokenizer in the model's folder.
        dtype: type of the weights.
        device: where the weights lie; of a model over several devices, where its token ids go.
        starts: whether the token that starts a sequence is put in front of what the model reads as a subject.
        loading: how it was loaded.
    """

    files: ModelFiles
    model: Any
    tokenizer: Any
    dtype: DType
    device: torch.device
    starts: bool = True
    loading: Loading = PLAIN

    @property
    def identity(self) -> dict[str, str]:
        """What can change an output: weights and dtype, and what of its loading is to be recorded."""
        return {
            "model": self.files.reference,
            "weights": self.files.identity,
            "dtype": self.dtype,
        } | self.loading.record

    @property
    def bos(self) -> int | None:
        """The token id that starts a sequence, or None for a subject that has none or is read without it."""
        found: int | None = self.tokenizer.bos_token_id
        return found if self.starts else None

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self.model.config.get_text_config().hidden_size)

    @property
    def context(self) -> int | None:
        """Positions that the model was made for, or None where its configuration names no limit."""
        config = self.model.config.get_text_config()
        # MPT has a name of its own for it.
        found = getattr(config, "max_position_embeddings", None) or getattr(config, "max_seq_len", None)
        return int(found) if found else None


def pick_device(name: str = "auto") -> torch.device:
    """`auto` -> CUDA if there is one, else CPU.

    Raises:
        ModelError: no such device.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as e:
        raise ModelError(f"no device {name!r}; give auto, cpu, cuda or cuda:N.") from e
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"device {name!r} is asked for, but torch {torch.__version__} sees no GPU here.")
    return device


def pick_dtype(name: Literal["auto", "float32", "bfloat16", "float16"], device: str) -> DType:
    """`auto` -> float32 on a CPU, bfloat16 on a GPU.

    In bfloat16 a log-likelihood depends on what is computed beside it, far beyond its last digits (docs/numbers.md says how
    far), and models that run on a CPU are small enough for float32. On a GPU one of billions of weights may not fit in it.

    Raises:
        ModelError: no such device.
    """
    if name != "auto":
        return name
    return "float32" if pick_device(device).type == "cpu" else "bfloat16"


def hide_library_bars() -> None:
    """Switch off transformers' own progress bars: they are drawn into logs, and every stage has a line of its own."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def load_tokenizer(reference: str) -> Any:
    """The tokenizer of a model, without its weights where they are not here already.

    Args:
        reference: any of `latentbench.models.source`, or a folder that holds a tokenizer and no weights.

    Raises:
        ModelError: no tokenizer there; FetchError as in `resolve`.
    """
    need("transformers", what="a tokenizer")
    from transformers import AutoTokenizer

    folder, revision = Path(reference).expanduser(), None
    if reference.startswith("pkg:") or folder.is_file():
        found = str(resolve(reference).folder)
    elif folder.is_dir():
        found = str(folder)
    else:
        found, _, at = reference.partition("@")
        revision = at or None
    try:
        return AutoTokenizer.from_pretrained(found, revision=revision or "main", trust_remote_code=False)
    except Exception as e:  # as in `load`
        raise ModelError(f"no tokenizer at {reference!r}: {type(e).__name__}: {' '.join(str(e).split())[:300]}") from e


def load(reference: str, dtype: DType = "bfloat16", device: str = "auto", loading: Loading = PLAIN) -> Loaded:
    """Fetch if needed, then load a causal LM and its tokenizer.

    Args:
        reference: see `latentbench.models.source`; or `live:NAME` for an object of this process, which stays on its device.
        dtype: of the weights; of a quantised model, of what is not quantised.
        device: for a model on one device.
        loading: fewer bits, several devices, code of the model's own.

    Raises:
        ModelError: the folder cannot be loaded, a library is missing, or the model's code is not allowed here; FetchError as in
            `resolve`.
    """
    if reference.startswith(LIVE):
        from latentbench.models.live_subject import offered

        return offered(reference, dtype)
    need("torch", "transformers", what=f"the model {reference!r}")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    hide_library_bars()
    if loading.remote_code:
        check_code(reference)
    files = resolve(reference, loading.remote_code)
    if loading.load_in is not None:
        # Other bits are other weights.
        files = replace(files, identity=digest([files.identity, loading.quantiser, loading.load_in]))
    where = pick_device(device)
    arguments = keywords(loading, reference, getattr(torch, dtype), str(where))
    try:
        # Not left out: where nothing is said and a folder names code of its own, the library asks at the keyboard.
        tokenizer = AutoTokenizer.from_pretrained(files.folder, trust_remote_code=loading.remote_code)
        model = AutoModelForCausalLM.from_pretrained(files.folder, **arguments)
    except Exception as e:  # safetensors, tokenizers and transformers each raise their own; all mean "unusable folder"
        raise ModelError(f"cannot load {reference!r} from {files.folder}: {type(e).__name__}: {e}") from e
    model.requires_grad_(False)
    model = model.eval()
    if not loading.placed:
        return Loaded(files, model.to(where), tokenizer, dtype, where, loading=loading)
    first = model.get_input_embeddings().weight
    return Loaded(files, model, tokenizer, dtype, where if first.is_meta else first.device, loading=loading)
