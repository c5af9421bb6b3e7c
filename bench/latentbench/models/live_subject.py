"""A subject that is an object in Python: a causal language model in memory with its tokenizer, without a folder.

A recipe names it `live:NAME`, so whatever runs a suite's subject (building, verifying, steering, `subject:` judges) finds it
where it would find any other. Its identity is computed anew each time from what is in it: tensors, configuration, classes and
tokenizer. The folder or name that it was once loaded from is the tempting identity, and stays the same when the model is trained
on.

What offers a subject is one process. A recipe that names it cannot be built or verified in another one, and the message says so.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from latentbench.kernel.errors import ModelError, SpecError
from latentbench.kernel.identity import digest
from latentbench.models.language_model import LIVE, DType, Loaded
from latentbench.models.module_identity import module_identity
from latentbench.models.source import ModelFiles

UNSAID = ("transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype")
"""Keys of a configuration that change no output, or are looked at on the weights."""


@dataclass(frozen=True)
class LiveSubject:
    """A language model in memory.

    Attributes:
        name: stands behind `live:` in recipes and manifests.
        model: a transformers causal LM, in eval mode.
        tokenizer: its tokenizer.
    """

    name: str
    model: Any
    tokenizer: Any

    @property
    def reference(self) -> str:
        """How recipes name it."""
        return f"{LIVE}{self.name}"

    @property
    def dtype(self) -> DType:
        """Type of its weights.

        Raises:
            ModelError: it has weights of a type in which no subject is read.
        """
        kind = str(self.model.dtype).removeprefix("torch.")
        for known in get_args(DType):
            if kind == known:
                found: DType = known
                return found
        raise ModelError(
            f"{self.reference}: its weights are {kind}; convert it to one of {', '.join(get_args(DType))}."
        )

    def loaded(self) -> Loaded:
        """It as every other model that was loaded.

        Raises:
            ModelError: it is in training mode, or nothing identifies it; says why.
        """
        if self.model.training:
            raise ModelError(
                f"{self.reference} is in training mode, where dropout draws anew each time; call `.eval()` on it."
            )
        device = self.model.get_input_embeddings().weight.device
        files = ModelFiles(self.reference, Path(), self._identity())
        return Loaded(files, self.model, self.tokenizer, self.dtype, device)

    def _identity(self) -> str:
        config = json.loads(self.model.config.to_json_string(use_diff=False))
        said = {key: value for key, value in config.items() if key not in UNSAID}
        try:
            return digest(["live subject", module_identity(self.model, ("transformers",)), said, self._tokenizer()])
        except SpecError as e:
            raise ModelError(f"{self.reference}: {e}") from e

    def _tokenizer(self) -> object:
        """What decides the ids of a text."""
        fast = getattr(self.tokenizer, "backend_tokenizer", None)
        if fast is None:
            return [type(self.tokenizer).__qualname__, self.tokenizer.get_vocab(), self.tokenizer.bos_token_id]
        # Truncation and padding are of the last call, not of the tokenizer.
        said = {key: value for key, value in json.loads(fast.to_str()).items() if key not in ("truncation", "padding")}
        return [said, self.tokenizer.bos_token_id]


_OFFERED: dict[str, LiveSubject] = {}


def offer(subject: LiveSubject) -> None:
    """Let recipes of this process name a subject `live:NAME`; one of the same name is replaced."""
    _OFFERED[subject.name] = subject


def offered(reference: str, dtype: DType) -> Loaded:
    """The model that was offered under a reference `live:NAME`.

    Args:
        dtype: type that the weights are asked in.

    Raises:
        ModelError: none was offered in this process, or its weights are of another type.
    """
    subject = _OFFERED.get(reference.removeprefix(LIVE))
    if subject is None:
        known = ", ".join(one.reference for one in _OFFERED.values()) or "none"
        raise ModelError(
            f"subject {reference!r} is an object in Python, and none of this name was offered in this process (offered: "
            f"{known}). Give it to `latentbench.build_suite` here, or save the model to a folder and name that."
        )
    if subject.dtype != dtype:
        raise ModelError(
            f"{reference} has weights in {subject.dtype}, and {dtype} was asked for; convert it, or ask for that."
        )
    return subject.loaded()
