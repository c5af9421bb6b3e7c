"""Does a folder of an embedding model ask for Python that is not sentence-transformers' own?

`modules.json` names a class for every step, and a name may be one of a file in the folder. Whether such a file is run depends on
the version of the library: before 6.0 a folder on disk was trusted without a word. Leaving it to the library is therefore the
tempting way that holds on one machine only, so the names are read here, before anything is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from latentbench.kernel.errors import ModelError
from latentbench.kernel.inputs import read_json

MODULES = frozenset(
    (
        "CNN",
        "Dense",
        "Dropout",
        "LayerNorm",
        "LSTM",
        "Normalize",
        "Pooling",
        "StaticEmbedding",
        "Transformer",
        "WeightedLayerPooling",
    )
)
"""Classes of sentence-transformers that read weights and settings. Others (a router, a tokeniser by name) import what they
name."""
_OWN = re.compile(r"sentence_transformers(?:\.[a-z_]+)*\.([A-Z]\w*)")
_ACTIVATION = re.compile(r"torch\.nn(?:\.modules)?(?:\.[a-z_]+)*\.[A-Z]\w*")
_SETTINGS = ("sentence_*_config.json", "config_sentence_transformers.json", "*/sentence_*_config.json", "*/config.json")


def check_folder(folder: Path) -> None:
    """Refuse a folder whose files name code, or a place outside of it.

    Raises:
        ModelError: says which file and what it names.
    """
    path = folder / "modules.json"
    modules = _read(path)
    if not isinstance(modules, list) or not modules or not all(isinstance(m, dict) for m in modules):
        raise ModelError(f"{path} is no list of modules. Fetch the model again.")
    for module in modules:
        kind, place = module.get("type"), module.get("path")
        own = _OWN.fullmatch(kind) if isinstance(kind, str) else None
        if own is None or own[1] not in MODULES:
            raise ModelError(
                f"{path} names {kind!r}. Only {', '.join(sorted(MODULES))} of sentence_transformers are loaded: another class "
                "would be code of the folder, which is not run."
            )
        if not isinstance(place, str) or PurePosixPath(place).is_absolute() or ".." in re.split(r"[/\\]", place):
            raise ModelError(f"{path} names the place {place!r}, which is not inside the folder.")
        config = folder / place / "config.json"
        if own[1] == "Dense" and config.exists():
            _check_activation(config)
    for path in sorted(p for pattern in _SETTINGS for p in folder.glob(pattern)):
        for name, value in _fields(_read(path)):
            if name == "trust_remote_code" and value:
                raise ModelError(f"{path} asks for trust_remote_code; code of a folder is not run. Remove the line.")


def _check_activation(path: Path) -> None:
    for name, value in _fields(_read(path)):
        named = isinstance(value, str) and _ACTIVATION.fullmatch(value)
        if name == "activation_function" and value is not None and not named:
            raise ModelError(f"{path} names the activation {value!r}; only classes of torch.nn are loaded.")


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError) as e:
        raise ModelError(f"{path} cannot be read: {e}. Fetch the model again.") from e


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key of a document with its value, at any depth."""
    if isinstance(value, dict):
        yield from value.items()
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _fields(inner)
