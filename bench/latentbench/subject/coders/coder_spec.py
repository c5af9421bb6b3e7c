"""A coder as a YAML file names it -> a coder in memory that is known to fit the subject.

The check against the subject is not optional: a coder for another layer width fails here, with both numbers, instead of in a
matrix product an hour later; one for another layer of the same width cannot fail anywhere, which is why its recorded L0 and
FVU are measured again (`latentbench.subject.coders.coder_check`).
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, ClassVar, Protocol, cast

from pydantic import Field, model_validator

from latentbench.kernel.errors import CoderMismatch
from latentbench.kernel.file_name import MOST
from latentbench.kernel.later import Grown
from latentbench.kernel.registry import lookup
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.coder_check import CoderWarning, coder_problems
from latentbench.subject.coders.coder_files import FORMATS, located
from latentbench.subject.coders.processing import as_trained
from latentbench.subject.coders.provenance import provenance
from latentbench.subject.coders.several_places import refuse_several
from latentbench.subject.coders.sparse import SparseCoder
from latentbench.subject.hooks import d_in
from latentbench.views.escape import line


class CoderSpec(Grown):
    """A coder, as recipes and run files name it."""

    later: ClassVar[tuple[str, ...]] = ("as_is", "release", "sae_id")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=MOST)]
    """Stands in the ids of its latents."""
    format: str
    """`auto` (looks at the files), a format of `docs/coders.md` such as `saelens`, `neurons`, `random`, `saelens-release`
    (through the package sae-lens), `live` (an object of this process), or a name that another package registers."""
    path: str | None = None
    """Folder of a trained coder: absolute, relative to the working directory or to a `tasks` folder
    (`coders/smollm2-135m-res9-2304`), or on the Hugging Face hub (`org/name[@revision][:subfolder]`). It may end in the name of
    one file (`.safetensors`, `.npz`, `.pt`) where a folder holds several coders."""
    hookpoint: str | None = None
    """Where the coder reads; by default the place that its folder names."""
    k: int | None = Field(None, ge=1)
    """Active latents per token, for `neurons`, `random`, and a `qwen_scope` whose name does not say it."""
    n_latents: int | None = Field(None, ge=1)
    """Width, for `random`."""
    seed: int = 0
    """Seed from which `random` draws its directions."""
    centre: str | None = None
    """Folder of a SAELens coder whose decoder bias is subtracted first, for `random`; see there."""
    threshold: float | None = None
    """Activation that a latent of a BatchTopK coder must exceed, in the place of what its file records."""
    release: str | None = None
    """Release of sae-lens' directory, or a repository of the hub, for `saelens-release`."""
    sae_id: str | None = None
    """Id within the release, for `saelens-release`."""
    as_is: bool = False
    """Feed activations as they are, whatever its folder says of how the model's weights were processed for training."""

    @model_validator(mode="after")
    def _complete(self) -> CoderSpec:
        need: dict[str, tuple[str, ...]] = dict.fromkeys(("auto", *FORMATS), ("path",))
        need |= {"neurons": ("hookpoint", "k"), "random": ("hookpoint", "k", "n_latents")}
        need["saelens-release"] = ("release", "sae_id")
        missing = [key for key in need.get(self.format, ()) if getattr(self, key) is None]
        if missing:
            raise ValueError(f"coder {self.name!r} of format {self.format!r} needs {', '.join(missing)}")
        return self


class Loader(Protocol):
    """What the registry holds under a coder format."""

    def __call__(self, spec: CoderSpec, loaded: Loaded) -> SparseCoder:
        """Read the coder onto the subject's device."""


def load_coder(spec: CoderSpec, loaded: Loaded, verify: bool = True) -> SparseCoder:
    """Read a coder and check that it fits the subject.

    Args:
        spec: which coder.
        loaded: the subject.
        verify: compare what its folder says of the subject, measure L0 and FVU on a few short texts
            (`subject.coders.coder_check`), and issue a `CoderWarning` for each that is off. Takes part of a second on a
            small subject.

    Raises:
        UnknownName: an unregistered format.
        CoderError: a folder that cannot be used, an unknown hookpoint, or activations of training that cannot be made here.
        CoderMismatch: the hookpoint's width is not the coder's.
        FetchError: it cannot be had from the hub.
    """
    if spec.path is not None and spec.format in ("auto", *FORMATS):
        refuse_several(*located(spec.path, spec.format))
    coder = cast(Loader, lookup("coder", spec.format))(spec, loaded)
    width = d_in(loaded, coder.hookpoint)
    if coder.d_in != width:
        raise CoderMismatch(
            f"coder {spec.name!r} takes activations of width {coder.d_in}, but {coder.hookpoint} of "
            f"{loaded.files.reference} has width {width}. It belongs to another subject or hookpoint."
        )
    said = provenance(spec, coder)
    coder = as_trained(spec, coder, said, loaded)
    if verify:
        for problem in coder_problems(spec, coder, said, loaded):
            warnings.warn(line(problem), CoderWarning, stacklevel=2)
    return coder


def coder_folder(path: str) -> Path:
    """Local folder of a coder's path, fetched from the hub if it names one.

    Raises:
        CoderError: it names nothing.
        FetchError: the hub cannot give it.
    """
    return located(path, "")[0]
