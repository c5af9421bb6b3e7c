"""Crosscoders and cross-layer transcoders: recognised and refused, with what they read and write and what would be needed.

Their files look like those of a coder of one place with an axis more, and a loader that takes one slice of them gives latents of
nothing. Reading them as one coder per place is as wrong: a latent of a crosscoder is the sum over its places. What they need is a
coder that is handed the activations of several places at once and has a direction for each, which no table of a suite has room
for.

One layer of Gemma Scope 2's cross-layer transcoders is let through: its encoder reads one place, so its latents are what they
are, and its reader sums what they write and says so (`latentbench.subject.coders.gemma_scope_2`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from latentbench.kernel.config import read_yaml
from latentbench.kernel.errors import BenchError, CoderError
from latentbench.kernel.inputs import read_json

CONFIGS = ("config.json", "cfg.json", "hyperparams.json")
_KINDS = {
    "crosscoder": "crosscoder",
    "clt": "cross-layer transcoder (CLT)",
    "crosslayertranscoder": "cross-layer transcoder (CLT)",
    "lorsa": "Lorsa (sparse attention)",
    "lowranksparseattention": "Lorsa (sparse attention)",
}
_READS = ("hook_points_in", "hook_points", "hook_point_in", "feature_input_hook")
_WRITES = ("hook_points_out", "hook_points", "hook_point_out", "feature_output_hook")


@dataclass(frozen=True)
class SeveralPlaces:
    """A coder of more than one place.

    Attributes:
        source: the file that shows it.
        kind: what it is.
        reads, writes: places; None where the files do not say how many.
        named: their names, as far as the files give them.
        summed: it reads one place, and the reader of its format sums what it writes.
    """

    source: str
    kind: str
    reads: int | None
    writes: int | None
    named: tuple[str, ...] = ()
    summed: bool = False

    def message(self) -> str:
        """What it is, and what would be needed."""
        if self.kind.startswith("Lorsa"):
            return (
                f"{self.source} is a {self.kind}: a token's latents depend on the tokens before it, and a coder here sees one "
                "activation at a time. What would be needed: a coder that is handed whole contexts."
            )
        names = f" ({', '.join(self.named[:6])}{', ...' if len(self.named) > 6 else ''})" if self.named else ""
        needed = [] if self.reads == 1 else ["an encoder that is handed the activations of all its places together"]
        needed += [] if self.writes == 1 else ["a direction for each place that a latent writes"]
        one = (
            " Its encoder with the decoder of one layer, saved as a transcoder, is read as any other."
            if self.reads == 1
            else ""
        )
        return (
            f"{self.source} is a {self.kind}: it reads {_places(self.reads)} and writes {_places(self.writes)}{names}. A coder "
            f"here reads one place and writes one. What would be needed: {', and '.join(needed)}.{one}"
        )


def _places(n: int | None) -> str:
    return "several places" if n is None else "1 place" if n == 1 else f"{n} places"


def refuse_several(folder: Path, chosen: str | None = None) -> None:
    """Let a coder pass that reads one place and writes one, as far as its files show, or is read as if it did.

    Args:
        folder: the coder's.
        chosen: the file in it that is read, where a path names one.

    Raises:
        CoderError: it holds a coder of several places; see `SeveralPlaces.message`.
    """
    found = several_places(folder, chosen)
    if found is not None and not found.summed:
        raise CoderError(found.message())


def several_places(folder: Path, chosen: str | None = None) -> SeveralPlaces | None:
    """The coder of several places that a folder holds; None for any other, and for files that cannot be read.

    A damaged file is its loader's to say.
    """
    for name in CONFIGS:
        config = _json(folder / name)
        if config is not None and (found := _configured(config, str(folder / name))) is not None:
            return found
    config = _yaml(folder / "config.yaml")
    if config is not None and (found := _configured(config, str(folder / "config.yaml"))) is not None:
        return found
    files = sorted(folder.glob("*.safetensors"))[:4] if chosen is None else [folder / chosen]
    for path in files:
        if (found := _shaped(path)) is not None:
            return found
    return None


def _configured(config: Mapping[str, Any], source: str) -> SeveralPlaces | None:
    trainer = config.get("trainer")
    trainer = trainer if isinstance(trainer, Mapping) else {}
    said = [config.get("sae_type"), config.get("model_kind"), config.get("architecture"), trainer.get("dict_class")]
    kinds = [_KINDS.get(str(word).lower().replace("_", "").replace("-", "")) for word in said if word is not None]
    kind = next((k for k in kinds if k is not None), None)
    if kind is None and any("crosscoder" in str(word).lower() for word in said if word is not None):
        kind = "crosscoder"  # BatchTopKCrossCoder and other classes of its kind
    reads, writes = _named(config, _READS), _named(config, _WRITES)
    if kind is None and max(len(reads), len(writes)) > 1:
        kind = "coder of several places"
    if kind is None:
        return None
    layers = trainer.get("num_layers", config.get("n_layers", config.get("num_layers")))
    n = layers if isinstance(layers, int) and not isinstance(layers, bool) and layers > 0 else None
    return SeveralPlaces(source, kind, _count(reads) or n, _count(writes) or n, tuple(dict.fromkeys((*reads, *writes))))


def _named(config: Mapping[str, Any], keys: tuple[str, ...]) -> list[str]:
    for key in keys:
        found = config.get(key)
        if isinstance(found, list):
            return [str(name) for name in found]
    return []


def _count(names: list[str]) -> int | None:
    return len(names) or None


def _shaped(path: Path) -> SeveralPlaces | None:
    """By the axes of the encoder [places, d_in, n] and of the decoder [n, places, d_out]."""
    try:
        with safe_open(path, framework="pt") as f:
            spelled = {name: f.get_slice(name).get_shape() for name in f.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        return None
    shapes = {name.lower(): shape for name, shape in spelled.items()}
    encoder = next((s for name, s in shapes.items() if name in ("w_enc", "w_e", "encoder.weight", "w_encoder")), None)
    decoder = next((s for name, s in shapes.items() if name in ("w_dec", "w_d", "decoder.weight", "w_decoder")), None)
    reads = encoder[0] if encoder is not None and len(encoder) == 3 else 1
    writes = 1
    if decoder is not None and len(decoder) == 3:
        # The places stand first where the encoder has them, too (dictionary_learning), else in the middle (Gemma Scope 2).
        writes = decoder[0] if decoder[0] == reads > 1 else decoder[1]
    if reads == writes == 1:
        return None
    kind = "crosscoder" if reads > 1 else "cross-layer transcoder (CLT)"
    return SeveralPlaces(str(path), kind, reads, writes, summed=reads == 1 and {"w_enc", "w_dec"} <= set(spelled))


def _json(path: Path) -> Mapping[str, Any] | None:
    try:
        found = read_json(path)
    except (ValueError, OSError):
        return None
    return found if isinstance(found, dict) else None


def _yaml(path: Path) -> Mapping[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found = read_yaml(path)
    except BenchError:
        return None
    return found if isinstance(found, dict) else None
