"""A simulator on disk: a folder with `simulator.yaml`, and for a trained one `adapter.safetensors` and `heads.safetensors`.

    format: heads     an adapter and two heads on a fetched base (see `heads`, `lora`): probabilities in one forward pass
    format: digits    a causal LM, fine-tuned elsewhere, that writes an activation behind every token (see `bench.judges.digits`)

The weights' hashes stand in the YAML file and the base's content hash too. Storing the merged model instead would save the
merging and ship a hundred times the bytes; naming the base without its hash would load an adapter onto weights that it
was never trained with, and nothing would fail: the numbers would only be worse.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bench.errors import DigestMismatch, ModelError, SpecError
from bench.identity import digest, file_sha256
from bench.models.load import DType, Loaded
from bench.models.load import load as load_model
from bench.simulators.prompt import PROMPT_VERSION
from bench.spec import read_yaml, validate

if TYPE_CHECKING:
    from torch import Tensor

    from bench.simulators.heads import Heads

CONFIG = "simulator.yaml"
ADAPTER = "adapter.safetensors"
HEADS = "heads.safetensors"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Scaling(_Strict):
    """p = sigmoid(scale * logit + bias)."""

    scale: float = 1.0
    bias: float = 0.0


class Calibration(_Strict):
    """How logits become probabilities, fitted on held-out concepts."""

    window: Scaling = Scaling()
    token: Scaling = Scaling()


class HeadsShape(_Strict):
    """Arguments of `Heads` beside the base's width."""

    n_heads: int = Field(default=9, ge=1)
    ff: int = Field(default=1152, ge=1)
    reach: int = Field(default=16, ge=1)


class HeadsConfig(_Strict):
    """`simulator.yaml` of a trained simulator."""

    format: Literal["heads"] = "heads"
    base: str
    """Reference of the base model, as in `bench.models.source`."""
    base_identity: str
    """Content hash of the base that it was trained on."""
    layers: int = Field(ge=1)
    """The base's first layers that are kept."""
    rank: int = Field(ge=1)
    alpha: float = Field(gt=0)
    prompt: int = PROMPT_VERSION
    """Version of `bench.simulators.prompt`."""
    heads: HeadsShape = HeadsShape()
    adapter_sha256: str
    heads_sha256: str
    calibration: Calibration = Calibration()


class DigitsConfig(_Strict):
    """`simulator.yaml` of a causal LM that writes activations; the defaults are the layout of Bills et al. (2023)."""

    format: Literal["digits"] = "digits"
    base: str
    """Reference of the model: a folder, a hub id."""
    base_identity: str | None = None
    """Content hash of the model; anything is accepted without it."""
    template: str | tuple[dict[Literal["system", "user", "assistant"], str], ...]
    """What stands before the listed tokens: a raw text, or chat messages of which a last one by the assistant stays open.
    `{explanation}` and, where the model wants it, `{window}` are filled in."""
    before: str = "\n"
    """Between the template and the first token."""
    separator: str = "\t"
    """Between a token and its activation."""
    filler: str = "unknown"
    """Stands for the activation of each earlier token; see `bench.judges.digits`."""
    end: str = Field(default="\n", min_length=1)
    """Ends an activation, so that 1 is not credited with the mass of 10."""
    levels: tuple[str, ...] = tuple(str(v) for v in range(11))
    """From nothing to the strongest activation."""
    escapes: dict[str, str] = {"\r": "", "\n": "⏎", "\t": "⇥"}
    """How characters of a token that would break the layout are written."""

    @model_validator(mode="after")
    def _asks(self) -> DigitsConfig:
        texts = [self.template] if isinstance(self.template, str) else [t for m in self.template for t in m.values()]
        if not any("{explanation}" in t for t in texts):
            raise ValueError("the template has no {explanation}")
        if not isinstance(self.template, str) and any(len(m) != 1 for m in self.template):
            raise ValueError("each message of the template is one `role: text`")
        return self

    @field_validator("levels")
    @classmethod
    def _distinct(cls, levels: tuple[str, ...]) -> tuple[str, ...]:
        if len(levels) < 2 or len(set(levels)) < len(levels) or not all(levels):
            raise ValueError("at least two different levels are needed, none of them empty")
        return levels


Config = HeadsConfig | DigitsConfig


@dataclass(frozen=True)
class Artifact:
    """A simulator's folder, read and checked; no base is loaded yet.

    Attributes:
        folder: where it is.
        config: `simulator.yaml`.
        adapter: tensors for `lora.merge`; empty for `digits`.
        heads: tensors of `Heads`; empty for `digits`.
    """

    folder: Path
    config: Config
    adapter: dict[str, Tensor]
    heads: dict[str, Tensor]

    @property
    def identity(self) -> str:
        """Digest of everything in the folder that can change a number; a base is told apart by its content, not its name."""
        return digest(self.config.model_dump(mode="json", exclude={"base"}))


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
    save_file({k: v.to(torch.bfloat16).contiguous() for k, v in adapter.items()}, folder / ADAPTER)
    save_file({k: v.detach().float().cpu().contiguous() for k, v in heads.state_dict().items()}, folder / HEADS)
    config = HeadsConfig(
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
    part = folder / (CONFIG + ".part")
    part.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    part.replace(folder / CONFIG)
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
    data = read_yaml(path)
    kinds: dict[str, type[HeadsConfig] | type[DigitsConfig]] = {"heads": HeadsConfig, "digits": DigitsConfig}
    kind = data.get("format") if isinstance(data, dict) else None
    if kind not in kinds:
        raise SpecError(f"{path}: format is {kind!r}; write one of {', '.join(kinds)}.")
    config: Config = validate(kinds[kind], data, str(path))
    if isinstance(config, DigitsConfig):
        return Artifact(folder, config, {}, {})
    if config.prompt != PROMPT_VERSION:
        raise ModelError(
            f"{path}: trained on version {config.prompt} of the simulator's prompt; this package writes version "
            f"{PROMPT_VERSION}. Train it again, or use the package version that it was trained with."
        )
    adapter = _tensors(folder / ADAPTER, config.adapter_sha256)
    return Artifact(folder, config, adapter, _tensors(folder / HEADS, config.heads_sha256))


def load_base(artifact: Artifact, dtype: DType, device: str) -> Loaded:
    """The artifact's base, checked against the hash that it names; always a model of its own, because it is changed.

    A trained simulator's base is cut to its layers and has the adapter merged: its output is the residual stream that the
    heads read.

    Raises:
        ModelError: the base cannot be loaded, is another one, or the adapter does not fit it.
    """
    from bench.simulators import lora

    config = artifact.config
    loaded = load_model(config.base, dtype, device)
    found = loaded.files.identity
    if config.base_identity is not None and config.base_identity != found:
        raise ModelError(
            f"the simulator {artifact.folder} belongs to a base with the content hash {config.base_identity}; "
            f"{config.base!r} has {found}. Use the base that it was trained on, or train it on this one."
        )
    if isinstance(config, HeadsConfig):
        lora.truncate(loaded.model, config.layers)
        lora.merge(loaded.model, artifact.adapter, config.rank, config.alpha)
    return loaded


def load_heads(artifact: Artifact, config: HeadsConfig, d_model: int) -> Heads:
    """The heads, for a base of that width, frozen.

    Raises:
        ModelError: they have other tensors than the configuration and the width ask for.
    """
    from bench.simulators.heads import Heads

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
