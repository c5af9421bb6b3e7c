"""A coder's weights file -> tensors in float32, from safetensors, NumPy archives and torch's checkpoints.

None of the three may run code or cost more than the file's size says. A NumPy archive is read member by member here, because
`numpy.load` believes a header that asks for a terabyte before it looks how much is there; a checkpoint is read with
`weights_only`, and what it unpacks to is counted before. Checkpoints of the form before torch 1.6 are refused: they say
themselves how much memory is to be taken.

A tensor that no formula here uses is an error and not ignored: it means that the coder computes something else than what would be
computed with it left out.
"""

from __future__ import annotations

import pickle
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from latentbench.kernel.errors import CoderError, CoderMismatch
from latentbench.kernel.inputs import FREE_BYTES, RATIO, Unusable, most, too_large, understood

DAMAGED = "It is damaged or incomplete; fetch or make the coder again."
STATE = ("ae", "sae", "state_dict", "model_state_dict")
"""Keys under which checkpoints keep the coder's tensors beside an optimiser's."""


def read_weights(
    path: Path, required: Sequence[str], optional: Sequence[str] = (), *, strict: bool = False
) -> dict[str, Tensor]:
    """Tensors of a weights file, in float32 on the CPU.

    Args:
        path: `.safetensors`, `.npz`, or a checkpoint of torch (`.pt`, `.pth`).
        required: names that have to be there.
        optional: names that may be there.
        strict: any other name is an error.

    Raises:
        CoderError: truncated or another kind of file, a required tensor is missing, there is one that is not known, or one holds
            NaN.
    """
    with _opened(path) as (names, tensor):
        missing = [name for name in required if name not in names]
        if missing:
            raise CoderError(f"{path} lacks the tensors {', '.join(missing)}; it has {_listed(names)}.")
        wanted = [*required, *(name for name in optional if name in names)]
        unknown = [name for name in names if name not in wanted]
        if strict and unknown:
            raise CoderError(
                f"{path} has the tensors {_listed(unknown)}, which are not read here: the coder computes something else than "
                f"its format says. Read are {', '.join(dict.fromkeys([*required, *optional]))}."
            )
        found = {name: tensor(name) for name in wanted}
    for name, value in found.items():
        if bool(value.isnan().any()):
            raise CoderError(f"{path}: {name} holds NaN ({int(value.isnan().sum())} of {value.numel()} values).")
        if name not in ("threshold", "topk_threshold") and bool(value.isinf().any()):
            raise CoderError(f"{path}: {name} holds infinity.")
    return found


def tensor_names(path: Path) -> list[str]:
    """Names of the tensors of a weights file.

    Raises:
        CoderError: truncated or another kind of file.
    """
    with _opened(path) as (names, _):
        return sorted(names)


def top_number(path: Path, name: str) -> float | None:
    """A number that a checkpoint of torch keeps beside its tensors; None if it has none of that name.

    Raises:
        CoderError: damaged, or it is no number above 0.
    """
    with _readable(path):
        found = _checkpoint(path, whole=True).get(name)
    if isinstance(found, Tensor) and found.numel() == 1 and found.layout == torch.strided:
        found = float(found)
    return None if found is None else positive(found, name, path)


def turned(path: Path, name: str, value: Tensor, rows: int, columns: int) -> Tensor:
    """A matrix [rows, columns], whichever way round the file has it; as it is where both numbers are the same.

    Raises:
        CoderMismatch: neither way round has these numbers.
    """
    if tuple(value.shape) == (rows, columns):
        return value
    if tuple(value.shape) == (columns, rows):
        return value.T
    raise CoderMismatch(
        f"{path}: {name} has shape {tuple(value.shape)}, expected {(rows, columns)} or the other way round."
    )


def positive(value: object, key: str, path: Path) -> float:
    """A number above 0 from a configuration.

    Raises:
        CoderError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise CoderError(f"{path}: {key} is {value!r}, expected a number above 0.")
    return float(value)


def flat(path: Path, weights: Mapping[str, Tensor], name: str) -> int:
    """Length of a vector.

    Raises:
        CoderMismatch: it is no vector, or an empty one.
    """
    value = weights[name]
    if value.ndim != 1 or not len(value):
        raise CoderMismatch(f"{path}: {name} has shape {tuple(value.shape)}, expected a vector.")
    return len(value)


def sized(path: Path, weights: Mapping[str, Tensor], name: str, *shapes: tuple[int, ...]) -> Tensor:
    """A tensor of one of some shapes.

    Raises:
        CoderMismatch: it has another one.
    """
    if tuple(weights[name].shape) not in shapes:
        expected = " or ".join(str(shape) for shape in shapes)
        raise CoderMismatch(f"{path}: {name} has shape {tuple(weights[name].shape)}, expected {expected}.")
    return weights[name]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)[:30]) + (" ..." if len(names) > 30 else "")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[list[str], Any]]:
    """Names of a file's tensors, and a function that gives one in float32."""
    with _readable(path):
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                members = _members(path, archive)
                yield list(members), lambda name: _array(path, archive, members[name])
        elif path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as f:
                yield list(f.keys()), lambda name: _tensor(path, name, f.get_tensor(name))
        else:
            state = _checkpoint(path)
            yield list(state), lambda name: _tensor(path, name, state[name])


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        with understood(path, CoderError, DAMAGED):
            yield
    except (SafetensorError, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError, MemoryError) as e:
        said = " ".join(str(e).split())[:200]
        raise CoderError(f"{path} cannot be read ({type(e).__name__}: {said}). {DAMAGED}") from e


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    _believe(path, archive)
    found = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    if len(found) != len(archive.infolist()):
        raise CoderError(f"{path} has an array twice.")
    return found


def _believe(path: Path, archive: zipfile.ZipFile) -> None:
    total, believed = (
        sum(info.file_size for info in archive.infolist()),
        most(max(FREE_BYTES, RATIO * path.stat().st_size)),
    )
    if total > believed:
        raise Unusable(str(too_large("what it unpacks to", total, believed)))


def _array(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Tensor:
    with archive.open(info) as f:
        version = np.lib.format.read_magic(f)
        if version not in ((1, 0), (2, 0)):
            raise CoderError(f"{path}: {info.filename} is an array of version {version}, which is not read.")
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(f)
        if dtype.hasobject or dtype.kind not in "fiu":
            raise CoderError(f"{path}: {info.filename} holds {dtype}, expected numbers.")
        size = int(np.prod([int(n) for n in shape], dtype=object)) * dtype.itemsize
        if size > info.file_size or any(n < 0 for n in shape):
            raise CoderError(
                f"{path}: {info.filename} says that it has shape {shape} of {dtype}, and is shorter. {DAMAGED}"
            )
        values = np.frombuffer(f.read(size), dtype)
        while f.read(1 << 20):
            pass  # the checksum is compared at the end of the member
    array = values.reshape(shape, order="F" if fortran else "C")
    return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))


def _checkpoint(path: Path, whole: bool = False) -> Mapping[str, Any]:
    if not zipfile.is_zipfile(path):
        raise CoderError(
            f"{path} is no checkpoint of torch 1.6 or later (a zip archive). Load it with torch where you trust it, and save its "
            "state dict again."
        )
    with zipfile.ZipFile(path) as archive:
        _believe(path, archive)
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
        raise CoderError(
            f"{path} holds more than tensors and plain values, and reading that may run code. Save its state dict alone: "
            "`torch.save(coder.state_dict(), ...)`."
        ) from e
    if isinstance(value, Mapping) and not whole:
        inner = [value[key] for key in STATE if isinstance(value.get(key), Mapping)]
        value = inner[0] if inner else value
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise CoderError(f"{path} holds {type(value).__name__}, expected named tensors.")
    return value


def _tensor(path: Path, name: str, value: Any) -> Tensor:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return torch.tensor(float(value))
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized or value.is_complex():
        raise CoderError(f"{path}: {name} is {type(value).__name__}, expected a dense tensor of numbers.")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise CoderError(f"{path}: {name} says that it has shape {tuple(value.shape)}, and has fewer values. {DAMAGED}")
    return value.detach().to(torch.float32)
