"""A simulator on disk: a folder with `simulator.yaml`, `adapter.safetensors` and `heads.safetensors`.

They are an adapter and two heads on a fetched base (see `heads`, `lora`): probabilities in one forward pass.
The weights' hashes stand in the YAML file and the base's content hash too. Storing the merged model instead would save the
merging and ship a hundred times the bytes; naming the base without its hash would load an adapter onto weights that it
was never trained with, and nothing would fail: the numbers would only be worse.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import Field

from latentbench.judges.simulator.simulator_prompt import PROMPT_VERSION
from latentbench.kernel.config import Frozen, read_yaml, validate
from latentbench.kernel.errors import DigestMismatch, ModelError
from latentbench.kernel.files import replacing, write_text
from latentbench.kernel.identity import digest, file_sha256
from latentbench.kernel.tasks import find
from latentbench.models.language_model import DType, Loaded
from latentbench.models.language_model import load as load_model

if TYPE_CHECKING:
    from torch import Tensor

    from latentbench.judges.simulator.heads import Heads

CONFIG = "simulator.yaml"
ADAPTER = "adapter.safetensors"
HEADS = "heads.safetensors"


class Scaling(Frozen):
    """p = sigmoid(scale * logit + bias)."""

    scale: float = 1.0
    bias: float = 0.0


class Calibration(Frozen):
    """How logits become probabilities, fitted on held-out concepts."""

    window: Scaling = Scaling()
    token: Scaling = Scaling()


class HeadsShape(Frozen):
    """Arguments of `Heads` beside the base's width."""

    n_heads: int = Field(default=9, ge=1)
    ff: int = Field(default=1152, ge=1)
    reach: int = Field(default=16, ge=1)


class HeadsConfig(Frozen):
    """`simulator.yaml` of a trained simulator."""

    format: Literal["heads"]
    base: str
    """Reference of the base model, as in `latentbench.models.source`."""
    base_identity: str
    """Content hash of the base that it was trained on."""
    layers: int = Field(ge=1)
    """The base's first layers that are kept."""
    rank: int = Field(ge=1)
    alpha: float = Field(gt=0)
    prompt: int = PROMPT_VERSION
    """Version of `latentbench.judges.simulator.simulator_prompt`."""
    heads: HeadsShape = HeadsShape()
    adapter_sha256: str
    heads_sha256: str
    calibration: Calibration = Calibration()
    trained_on: tuple[str, ...] = ("rules",)
    """Distributions of planted truths (`distribution` of a suite) that its lessons are of; an exam of these says less."""


@dataclass(frozen=True)
class Artifact:
    """A simulator's folder, read and checked; no base is loaded yet.

    Attributes:
        folder: where it is.
        config: `simulator.yaml`.
        adapter: tensors for `lora.merge`.
        heads: tensors of `Heads`.
    """

    folder: Path
    config: HeadsConfig
    adapter: dict[str, Tensor]
    heads: dict[str, Tensor]

    @property
    def identity(self) -> str:
        """Digest of everything in the folder that can change a number; a base is told apart by its content, not its name."""
        return digest(self.config.model_dump(mode="json", exclude={"base", "trained_on"}))


def save(
    folder: Path,
    base: str,
    base_identity: str,
    layers: int,
    rank: int,
    alpha: float,
    adapter: dict[str, Tensor],
    heads: Heads,
    calibration: Calibration | None = None,
) -> HeadsConfig:
    """Write a trained simulator. `simulator.yaml` is written last, so a folder that has one is whole.

    Args:
        folder: made if missing; files of the same names are replaced.
        base, base_identity: reference and content hash (`Loaded.files.identity`) of the base.
        adapter: `lora.state` of the trained model; stored in bfloat16, which is what a merged base keeps of it anyway.
        heads: stored in float32.
        calibration: without one logits are taken as they are.

    Returns:
        What `simulator.yaml` holds.
    """
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).unlink(missing_ok=True)
    with replacing(folder / ADAPTER) as part:
        save_file({k: v.to(torch.bfloat16).contiguous() for k, v in adapter.items()}, part)
    with replacing(folder / HEADS) as part:
        save_file({k: v.detach().float().cpu().contiguous() for k, v in heads.state_dict().items()}, part)
    config = HeadsConfig(
        format="heads",
        base=base,
        base_identity=base_identity,
        layers=layers,
        rank=rank,
        alpha=alpha,
        heads=HeadsShape(n_heads=heads.n_heads, ff=heads.ff, reach=heads.reach),
        adapter_sha256=file_sha256(folder / ADAPTER),
        heads_sha256=file_sha256(folder / HEADS),
        calibration=calibration or Calibration(),
    )
    write_text(folder / CONFIG, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    return config


def load(folder: Path) -> Artifact:
    """Read a simulator's folder and check its files against their hashes.

    Raises:
        ModelError: not a simulator's folder, a missing or unreadable weights file, or another version of the prompt.
        DigestMismatch: a weights file that is truncated or is not the one that was saved.
        SpecError: `simulator.yaml` does not fit its schema.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise ModelError(f"{folder} holds no {CONFIG}, so it is not a simulator's folder.")
    config = validate(HeadsConfig, read_yaml(path), str(path))
    if config.prompt != PROMPT_VERSION:
        raise ModelError(
            f"{path}: trained on version {config.prompt} of the simulator's prompt; this package writes version "
            f"{PROMPT_VERSION}. Train it again, or use the package version that it was trained with."
        )
    adapter = _tensors(folder / ADAPTER, config.adapter_sha256)
    return Artifact(folder, config, adapter, _tensors(folder / HEADS, config.heads_sha256))


def lessons(model: str) -> tuple[str, ...]:
    """`trained_on` of a simulator, by name or folder; nothing of its weights is read.

    Raises:
        UnknownName: no such simulator. SpecError: `simulator.yaml` does not fit its schema.
    """
    path = find("judges", model) / CONFIG
    return validate(HeadsConfig, read_yaml(path), str(path)).trained_on


def load_base(artifact: Artifact, dtype: DType, device: str) -> Loaded:
    """The artifact's base, checked against the hash that it names; always a model of its own, because it is changed.

    It is cut to the simulator's layers and has the adapter merged: its output is the residual stream that the heads read.

    Raises:
        ModelError: the base cannot be loaded, is another one, or the adapter does not fit it.
    """
    from latentbench.judges.simulator import lora

    config = artifact.config
    loaded = load_model(config.base, dtype, device)
    found = loaded.files.identity
    if config.base_identity != found:
        raise ModelError(
            f"the simulator {artifact.folder} belongs to a base with the content hash {config.base_identity}; "
            f"{config.base!r} has {found}. Use the base that it was trained on, or train it on this one."
        )
    lora.truncate(loaded.model, config.layers)
    lora.merge(loaded.model, artifact.adapter, config.rank, config.alpha)
    return loaded


def load_heads(artifact: Artifact, config: HeadsConfig, d_model: int) -> Heads:
    """The heads, for a base of that width, frozen.

    Raises:
        ModelError: they have other tensors than the configuration and the width ask for.
    """
    from latentbench.judges.simulator.heads import Heads

    try:
        heads = Heads(d_model, **config.heads.model_dump())
        heads.load_state_dict(artifact.heads)
    except (RuntimeError, ValueError) as e:
        reason = " ".join(str(e).split())
        raise ModelError(f"{artifact.folder / HEADS} does not fit a base of width {d_model}: {reason}") from e
    return heads.requires_grad_(False).eval()


def _tensors(path: Path, sha256: str) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ModelError(f"{path} is missing. Fetch the simulator's whole folder again, or train it.")
    found = file_sha256(path)
    if found != sha256:
        raise DigestMismatch(
            f"{path} ({path.stat().st_size:,} bytes) has the hash {found[:16]}; {CONFIG} names {sha256[:16]}. It is truncated or "
            "was changed. Fetch the folder again, or train it."
        )
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as e:
        raise ModelError(f"{path} cannot be read as safetensors: {e}") from e
