"""What a coder's folder says of the subject and the text that it was trained on: model, start token, processing, lengths.

It is read apart from the weights, by the keys that the trainers write, whatever the format: a loader reads what the coder
computes, and these lines say what it has to be fed. Leaving them aside is the tempting way, because everything loads
without them, and then a coder of another model, of text without a start token or of centred weights gives latents that its
authors never saw.

Known are the keys of SAELens (flat, or in `metadata`), of dictionary_learning (`trainer`, `buffer`) and of Gemma Scope 2,
and the L0 in the name of a Gemma Scope folder. An unknown key is no error: folders hold much that is about training only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from latentbench.kernel.errors import CoderError
from latentbench.subject.coders.coder_files import FORMATS, coder_files, config_places
from latentbench.subject.coders.folder import read_object
from latentbench.subject.coders.prepared_input import PreparedInput

if TYPE_CHECKING:
    from latentbench.subject.coders.coder_spec import CoderSpec
    from latentbench.subject.coders.sparse import SparseCoder

FILES = ("cfg.json", "config.json", "hyperparams.json")
"""Where a folder says it; the first that has a key decides."""
UNFOLDED = "expected_average_only_in"
"""SAELens' name for scaling by one number that is folded into the weights when training ends."""
_L0 = re.compile(r"average_l0_(\d+)")
_KEYS = {
    "model": ("model_name", "lm_name"),
    "hook": ("hook_name", "hook_point", "submodule_name"),
    "prepend_bos": ("prepend_bos",),
    "processing": ("model_from_pretrained_kwargs",),
    "context": ("context_size", "ctx_len"),
    "dataset": ("dataset_path", "dataset"),
    "normalise": ("normalize_activations",),
    "positions": ("seqpos_slice",),
}


@dataclass(frozen=True)
class Provenance:
    """What is known of a coder's training; None, and empty, where nothing is said.

    Attributes:
        source: the file, or whatever else said it, for messages.
        model: name of the language model, in the trainer's words.
        hook: where the coder reads, in the trainer's words.
        prepend_bos: whether a start token stood in front of each context.
        processing: how the model's weights were processed when it was loaded (TransformerLens' arguments).
        context: tokens per context.
        dataset: name of the text.
        unfolded: it names `expected_average_only_in`, so a factor may still be missing in its weights.
        recorded: quality that is said elsewhere than beside the weights (`l0` in the folder's name).
        positions: start, stop and step of the positions of a context that it was trained on; empty where all were.
    """

    source: str = ""
    model: str | None = None
    hook: str | None = None
    prepend_bos: bool | None = None
    processing: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    context: int | None = None
    dataset: str | None = None
    unfolded: bool = False
    recorded: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    positions: tuple[int | None, ...] = ()

    def as_record(self) -> dict[str, str | bool | int]:
        """What is said, as a manifest keeps it; nothing of what is not."""
        said: dict[str, str | bool | int | None] = {
            "model": self.model,
            "prepend_bos": self.prepend_bos,
            "context": self.context,
            "dataset": self.dataset,
        }
        return {key: value for key, value in said.items() if value is not None}


NOTHING = Provenance()


@runtime_checkable
class HasProvenance(Protocol):
    """A coder that says itself what it was trained on; any other has a folder that does, or nothing."""

    @property
    def provenance(self) -> Provenance:
        """What is known of its training."""


def provenance(spec: CoderSpec, coder: SparseCoder) -> Provenance:
    """What a coder that was loaded, or its folder, says.

    Raises:
        CoderError: a value that cannot be what it should be.
    """
    inner = coder.inner if isinstance(coder, PreparedInput) else coder
    if isinstance(inner, HasProvenance):
        return inner.provenance
    if spec.path is None or spec.format not in ("auto", *FORMATS):
        return NOTHING
    return folder_provenance(coder_files(spec)[0])


def folder_provenance(folder: Path) -> Provenance:
    """What the configuration and the name of a folder say.

    Raises:
        CoderError: a configuration that is no JSON object, or a value that cannot be what it should be.
    """
    said: Provenance | None = None
    for path in (place / name for place in config_places(folder) for name in FILES):
        config = read_object(path)
        if config is not None:
            said = stated(config, str(path))
            break
    named = _L0.search(folder.name)
    recorded = {"l0": float(named[1])} if named else {}
    if said is None:
        return Provenance(str(folder), recorded=recorded)
    return replace(said, recorded=recorded)


def stated(config: Mapping[str, Any], source: str) -> Provenance:
    """What a configuration says.

    Args:
        config: as the trainer wrote it.
        source: where it stands, for messages.

    Raises:
        CoderError: a value that cannot be what it should be.
    """
    parts = [part for key in ("metadata", "trainer", "buffer") if isinstance(part := config.get(key), Mapping)]

    def value(what: str) -> object:
        for place in (*parts, config):
            for key in _KEYS[what]:
                if place.get(key) is not None:
                    return place[key]
        return None

    bos, processing, context = value("prepend_bos"), value("processing"), value("context")
    if bos is not None and not isinstance(bos, bool):
        raise CoderError(f"{source}: prepend_bos is {bos!r}, expected true or false.")
    if processing is not None and not isinstance(processing, Mapping):
        raise CoderError(f"{source}: model_from_pretrained_kwargs is {processing!r}, expected an object.")
    if context is not None and (isinstance(context, bool) or not isinstance(context, int) or context < 1):
        raise CoderError(f"{source}: the context size is {context!r}, expected a positive whole number.")

    def text(what: str) -> str | None:
        found = value(what)
        return found if isinstance(found, str) and found.strip() else None

    return Provenance(
        source,
        model=text("model"),
        hook=text("hook"),
        prepend_bos=bos,
        processing=dict(processing or {}),
        context=context,
        dataset=text("dataset"),
        unfolded=value("normalise") in (UNFOLDED, True),
        positions=_positions(value("positions"), source),
    )


def _positions(said: object, source: str) -> tuple[int | None, ...]:
    """The arguments of a slice; none where it leaves nothing out."""
    if said is None:
        return ()
    if (
        not isinstance(said, list | tuple)
        or len(said) > 3
        or not all(s is None or (isinstance(s, int) and not isinstance(s, bool)) for s in said)
    ):
        raise CoderError(
            f"{source}: seqpos_slice is {said!r}, expected a list of at most three whole numbers or nulls."
        )
    # (None,), (0, None) and (None, None, 1) leave nothing out; a stop of 0 does.
    whole = slice(*said) in (slice(None), slice(0, None), slice(None, None, 1), slice(0, None, 1)) if said else True
    return () if whole else tuple(said)
