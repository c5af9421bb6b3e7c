"""How a large model gets into memory: fewer bits, several devices, code of its own.

All three are the library's, through its quantisation config and `device_map`; here is only what has to hold whatever it does. The
bits are part of the weights' identity, because other bits are other activations; where a layer lies is not. Code that a
repository brings is run when the recipe says so *and* the person at this machine has listed that model: a recipe may come with
somebody's suite, and a file of others never starts code here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

from latentbench.kernel.errors import ModelError

TRUSTED = "LATENTBENCH_TRUST_REMOTE_CODE"
"""Environment variable: model references, with commas between them, whose own code may run."""

Bits = Literal["8bit", "4bit"]
Quantiser = Literal["bitsandbytes", "torchao"]


@dataclass(frozen=True)
class Loading:
    """How a model is loaded.

    Attributes:
        load_in: bits of the weights of linear maps; None leaves them in the number type asked for.
        quantiser: library that computes with them.
        device_map: how layers are laid out over devices, as `transformers` has it (`auto`, `balanced`, `sequential`, or a
            device); None puts everything on one.
        remote_code: run the code that the model's repository brings.
    """

    load_in: Bits | None = None
    quantiser: Quantiser = "bitsandbytes"
    device_map: str | None = None
    remote_code: bool = False

    @property
    def placed(self) -> bool:
        """Whether the library has put the weights where they belong, so that they must not be moved."""
        return self.device_map is not None or self.load_in is not None

    @property
    def record(self) -> dict[str, str]:
        """What is worth recording beside the weights; empty for a model that is loaded as usual."""
        said = {"load_in": f"{self.load_in} ({self.quantiser})"} if self.load_in else {}
        return said | ({"remote_code": "run"} if self.remote_code else {})


PLAIN = Loading()
"""A whole model on one device."""


def check_code(reference: str) -> None:
    """Whether the person at this machine lets a model's own code run.

    Raises:
        ModelError: it is not listed.
    """
    listed = [name.strip() for name in os.environ.get(TRUSTED, "").split(",")]
    if reference not in listed:
        raise ModelError(
            f"trust_remote_code of {reference!r} asks to run code that the model's repository brings. Read that code; to allow "
            f"it on this machine, set {TRUSTED}={reference} (several references: commas between them)."
        )


def keywords(loading: Loading, reference: str, dtype: Any, device: str) -> dict[str, Any]:
    """Arguments of `from_pretrained` beside the folder.

    Args:
        loading: how.
        reference: of the model, for messages.
        dtype: torch type of what is not quantised, and that 4 bits are computed in.
        device: where a model goes that is quantised and has no device map.

    Raises:
        ModelError: a library is missing.
    """
    given: dict[str, Any] = {"dtype": dtype, "trust_remote_code": loading.remote_code, "local_files_only": True}
    if not loading.placed:
        return given
    if find_spec("accelerate") is None:
        raise ModelError(
            f"{reference!r} asks for device_map or fewer bits, which need accelerate: pip install accelerate."
        )
    given["device_map"] = loading.device_map or {"": device}
    if loading.load_in is not None:
        given["quantization_config"] = _quantisation(loading, reference, dtype)
    return given


def _quantisation(loading: Loading, reference: str, dtype: Any) -> Any:
    if find_spec(loading.quantiser) is None:
        other = "torchao" if loading.quantiser == "bitsandbytes" else "bitsandbytes"
        here = f" (or say quantiser: {other}, which is here)" if find_spec(other) else ""
        raise ModelError(
            f"{reference!r} is to be loaded in {loading.load_in}, which needs {loading.quantiser}: "
            f"pip install {loading.quantiser}{here}. Without it, leave load_in out."
        )
    import transformers

    if loading.quantiser == "bitsandbytes":
        if loading.load_in == "8bit":
            return transformers.BitsAndBytesConfig(load_in_8bit=True)
        return transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    quantization = import_module("torchao.quantization")
    name = "Int8WeightOnlyConfig" if loading.load_in == "8bit" else "Int4WeightOnlyConfig"
    return transformers.TorchAoConfig(getattr(quantization, name)())
