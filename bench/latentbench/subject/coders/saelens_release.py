"""A coder through sae-lens itself, by release and id: `{format: saelens-release, release: gemma-scope-2b-pt-res, sae_id: ...}`.

The folders that this project reads itself need no library. But sae-lens knows hundreds of releases in formats of their
makers, and turns them into its own classes; where it is installed, its object does the work, wrapped so that dense latents
exist for one chunk of rows. Translating its weights into this project's classes would be faster and would be wrong wherever
a class has a step that was overlooked.

Refused is what no frozen window could be checked with, and the message says why: `REFUSED`.
"""

from __future__ import annotations

import importlib.util
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from latentbench.kernel.errors import CoderError, FetchError
from latentbench.kernel.identity import digest
from latentbench.models.language_model import Loaded
from latentbench.models.module_identity import tensors_digest
from latentbench.subject.coders.live_coder import LiveCoder
from latentbench.subject.coders.places import gain_of, named_place, settings_of
from latentbench.subject.coders.provenance import stated

if TYPE_CHECKING:
    from latentbench.subject.coders.coder_spec import CoderSpec

REFUSED = {
    "temporal": "a token's latents depend on the tokens before it, so no window could be checked by itself",
    "matching_pursuit": "latents are chosen one after the other from what is left, so they are no function of one product",
    "abstopk": "its latents may be negative, and a latent here is active above 0 or silent",
}
"""Architectures of sae-lens that are not wrapped."""


def load(spec: CoderSpec, loaded: Loaded) -> LiveCoder:
    """Fetch a coder through sae-lens and wrap it.

    Raises:
        CoderError: sae-lens is not installed, knows no such release or id, or the architecture is one of `REFUSED`.
        FetchError: the hub cannot give it.
    """
    where = f"{spec.release}/{spec.sae_id}"
    sae = _fetched(spec.release or "", spec.sae_id or "", str(loaded.device))
    architecture = str(sae.cfg.architecture())
    if architecture in REFUSED:
        raise CoderError(f"{where}: architecture {architecture!r} is not read: {REFUSED[architecture]}.")
    config = sae.cfg.to_dict()
    said = stated(config, where)
    place = named_place(said.hook, loaded, where, spec.hookpoint)
    wrapped = _Wrapped(sae, None if place.norm is None else gain_of(place.norm))
    identity = ["sae-lens", version("sae-lens"), spec.release, spec.sae_id, tensors_digest(sae), settings_of(place)]
    settings = {k: v for k, v in config.items() if k not in ("metadata", "device", "dtype")}
    return LiveCoder(
        spec.name,
        place.hookpoint,
        wrapped.encode,
        wrapped.decode,
        d_in=int(sae.cfg.d_in),
        kind="transcoder" if "transcoder" in architecture else "sae",
        directions=wrapped.directions(),
        version=digest([*identity, {k: str(v) for k, v in settings.items()}]),
        evals=recorded(spec.release or "", spec.sae_id or ""),
        provenance=said,
        decode_takes_input=True,
    )


class _Wrapped:
    """The library's object behind a norm's gain, where it was trained on what stands before it."""

    def __init__(self, sae: Any, gain: tuple[Tensor, Tensor] | None) -> None:
        self.sae, self.gain = sae, gain
        self.rebuilds = "transcoder" not in str(sae.cfg.architecture())
        # The places here are flat: the heads of an attention lie side by side.
        sae.turn_off_forward_pass_hook_z_reshaping()
        sae.eval()

    def _inside(self, acts: Tensor) -> Tensor:
        acts = acts.to(self.sae.W_enc.device)
        if self.gain is None:
            return acts
        gain, bias = (value.to(acts.device) for value in self.gain)
        return (acts - bias) / gain

    def encode(self, acts: Tensor) -> Tensor:
        """Dense latents [n, n_latents] of rows [n, d_in]."""
        found: Tensor = self.sae.encode(self._inside(acts))
        return found

    def decode(self, dense: Tensor, acts: Tensor) -> Tensor:
        """Reconstruction [n, d_model] of dense latents, with the input that they came from."""
        x = self._inside(acts)
        # Encoding leaves the norm of each row in the object, from which its `decode` takes it.
        self.sae.encode(x)
        out: Tensor = self.sae.decode(dense.to(x.device))
        skip = getattr(self.sae, "W_skip", None)
        if skip is not None:
            out = out + x @ skip.T
        if self.gain is None or not self.rebuilds:
            return out
        gain, bias = (value.to(out.device) for value in self.gain)
        return out * gain + bias

    def directions(self) -> Tensor:
        """Decoder rows [n_latents, d_model]."""
        rows: Tensor = self.sae.W_dec.detach().float()
        if getattr(self.sae.cfg, "rescale_acts_by_decoder_norm", False):
            rows = rows / rows.norm(dim=-1, keepdim=True)  # its `decode` does that with the latents
        if self.gain is None or not self.rebuilds:
            return rows
        return rows * self.gain[0].to(rows.device)


def model_of(release: str) -> str | None:
    """The model that sae-lens' directory names for a release; None where it names none.

    Raises:
        CoderError: sae-lens is not installed.
    """
    found = _directory().get(release)
    return str(found.model) if found is not None and found.model else None


def recorded(release: str, sae_id: str) -> dict[str, float]:
    """L0 and FVU that sae-lens' directory expects of a coder; empty where it says nothing."""
    found = _directory().get(release)
    if found is None:
        return {}
    out = {}
    l0, explained = found.expected_l0.get(sae_id), found.expected_var_explained.get(sae_id)
    if l0:
        out["l0"] = float(l0)
    # 1 is what the directory says where nobody measured.
    if explained is not None and 0 < explained < 1:
        out["fvu"] = 1 - float(explained)
    return out


def _library() -> Any:
    if importlib.util.find_spec("sae_lens") is None:
        raise CoderError(
            "a coder of format saelens-release needs the package sae-lens, which is not installed here: `pip install sae-lens`, "
            "or fetch its folder and name it with format saelens."
        )
    import sae_lens

    return sae_lens


def _directory() -> Any:
    _library()
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    return get_pretrained_saes_directory()


def _fetched(release: str, sae_id: str, device: str) -> Any:
    """The library's object, in float32 on a device."""
    library = _library()
    try:
        with warnings.catch_warnings():
            # What it warns of (how the model's weights were processed) is read from its configuration and honoured.
            warnings.filterwarnings("ignore", message=r"\s*This SAE has non-empty model_from_pretrained_kwargs")
            sae = library.SAE.from_pretrained(release, sae_id, device=device, dtype="float32")
    except ValueError as e:
        raise CoderError(
            f"sae-lens {version('sae-lens')} has no coder {release}/{sae_id}: {' '.join(str(e).split())}"
        ) from e
    except Exception as e:  # the hub client raises some twenty unrelated types; each means "not fetched"
        raise FetchError(
            f"sae-lens cannot fetch {release}/{sae_id}: {type(e).__name__}: {' '.join(str(e).split())}"
        ) from e
    return sae.to(torch.float32)
