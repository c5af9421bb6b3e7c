"""Reading a coder's folder: its configuration, the file of its weights, and clear words when either is not what it should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from latentbench.kernel.errors import CoderError, CoderMismatch
from latentbench.kernel.identity import digest, file_sha256
from latentbench.kernel.inputs import read_json

CONFIG = "cfg.json"
EVALS = "eval.json"


def read_config(folder: Path, required: Sequence[str] = ()) -> dict[str, Any]:
    """The folder's `cfg.json`.

    Raises:
        CoderError: missing, not a JSON object, or without a required key.
    """
    path = folder / CONFIG
    config = read_object(path)
    if config is None:
        raise CoderError(f"{folder} holds no {CONFIG}; a coder's folder has {CONFIG} and a safetensors file.")
    missing = [key for key in required if key not in config]
    if missing:
        raise CoderError(
            f"{path} lacks {', '.join(missing)}; is it another format? It has {', '.join(sorted(config))}."
        )
    return config


def read_evals(folder: Path, config: Mapping[str, Any]) -> dict[str, float]:
    """Recorded quality: `eval.json` if there is one, else `l0` and `fvu` of the configuration's metadata."""
    found = read_object(folder / EVALS)
    if found is None:
        metadata = metadata_of(config)
        found = {key: metadata[key] for key in ("l0", "fvu") if key in metadata}
    return {k: float(v) for k, v in found.items() if isinstance(v, int | float) and not isinstance(v, bool)}


def metadata_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A configuration's `metadata`; nothing where it has none that holds keys."""
    found = config.get("metadata")
    return found if isinstance(found, Mapping) else {}


def read_object(path: Path) -> dict[str, Any] | None:
    """The object of a JSON file; None if there is no such file.

    Raises:
        CoderError: it is no JSON, or no object.
    """
    try:
        value = read_json(path)
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as e:
        raise CoderError(f"{path} cannot be read as JSON: {e}. Fetch or make the coder again.") from e
    if not isinstance(value, dict):
        raise CoderError(f"{path} holds {type(value).__name__}, expected a JSON object.")
    return value


def weights_file(folder: Path, names: Sequence[str]) -> Path:
    """The first of `names` that exists.

    Raises:
        CoderError: none of them does.
    """
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise CoderError(f"{folder} holds no {' or '.join(names)}.")


def check_shapes(path: Path, weights: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Compare tensors with the shapes that the configuration implies.

    Raises:
        CoderMismatch: one differs; the message has both shapes.
    """
    for name, shape in shapes.items():
        if name in weights and tuple(weights[name].shape) != shape:
            raise CoderMismatch(
                f"{path}: {name} has shape {tuple(weights[name].shape)}, but {CONFIG} says it should be {shape}."
            )


def content_key(path: Path, settings: Mapping[str, Any]) -> str:
    """Content hash of a coder: its weights file and the settings that decide what it computes."""
    return digest([file_sha256(path), dict(settings)])


def whole(value: Any, key: str, path: Path) -> int:
    """A positive whole number from a configuration.

    Raises:
        CoderError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 1:
        raise CoderError(f"{path}: {key} is {value!r}, expected a positive whole number.")
    return int(value)
