"""Which files a coder's format consists of, where they are, and which format a folder has.

The files are named one by one. A pattern (`*.safetensors`) is shorter, and a star crosses folders on the hub: it fetches every
coder of a repository that has hundreds of them, and none of those that are kept as `.npz` or `.pt`.
"""

from __future__ import annotations

import glob
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentbench.kernel.errors import CoderError, FetchError
from latentbench.kernel.extras import need
from latentbench.kernel.tasks import shipped, tasks_dirs
from latentbench.subject.coders.folder import read_object
from latentbench.views.escape import line

if TYPE_CHECKING:
    from latentbench.models.language_model import Loaded
    from latentbench.subject.coders.coder_spec import CoderSpec
    from latentbench.subject.coders.sparse import SparseCoder

SUFFIXES = (".safetensors", ".npz", ".pt", ".pth")
"""A path that ends so names one file of a folder that holds several coders."""
FINAL = "checkpoints/final"
_ANY = ("*.json", "*.safetensors")
"""What is fetched for a format of another package, where it names no subfolder."""

_Found = tuple[Path, str | None, Mapping[str, Any]]
"""Folder, the file that the path names, and what its `config.json` says."""


@dataclass(frozen=True)
class FolderFormat:
    """A format of coders that are kept in files.

    Attributes:
        files: their names within the folder, `/` between parts; some may be missing.
        needs: what makes a folder one of this format, in words.
        fits: whether a folder is.
    """

    files: tuple[str, ...]
    needs: str
    fits: Callable[[_Found], bool]


def _has(*names: str) -> Callable[[_Found], bool]:
    return lambda found: all((found[0] / name).is_file() for name in names)


def _cfg(key: str) -> Callable[[_Found], bool]:
    return lambda found: key in (read_object(found[0] / "cfg.json") or {})


def _named(found: _Found, *suffixes: str) -> bool:
    return found[1] is not None and found[1].endswith(suffixes)


def _gemma_2(found: _Found) -> bool:
    folder, chosen, config = found
    if chosen is not None:
        return _holds(found, "w_enc", ".safetensors")
    return "hf_hook_point_in" in config or (folder / "params.safetensors").is_file()


def _holds(found: _Found, name: str, *suffixes: str) -> bool:
    """The path ends in a file that has a tensor of this name."""
    if not _named(found, *suffixes):
        return False
    from latentbench.subject.coders.weights import tensor_names

    return name in tensor_names(found[0] / str(found[1]))


FORMATS: dict[str, FolderFormat] = {
    "saelens": FolderFormat(
        ("cfg.json", "eval.json", "sae_weights.safetensors", "sae.safetensors", "model.safetensors"),
        "cfg.json with d_sae, and sae_weights.safetensors",
        _cfg("d_sae"),
    ),
    "sparsify": FolderFormat(
        ("cfg.json", "eval.json", "sae.safetensors"),
        "cfg.json with num_latents or expansion_factor, and sae.safetensors",
        lambda found: _cfg("num_latents")(found) or _cfg("expansion_factor")(found),
    ),
    "gemma_scope": FolderFormat(
        ("params.npz",), "params.npz", lambda found: _named(found, ".npz") if found[1] else _has("params.npz")(found)
    ),
    "gemma_scope_2": FolderFormat(("config.json", "params.safetensors"), "params.safetensors", _gemma_2),
    "llama_scope": FolderFormat(
        ("hyperparams.json", f"{FINAL}.safetensors"),
        f"hyperparams.json and {FINAL}.safetensors",
        _has("hyperparams.json"),
    ),
    "openmoss": FolderFormat(
        ("config.json", "sae_weights.safetensors", "sae_weights.pt", f"{FINAL}.safetensors", f"{FINAL}.pt"),
        "config.json with sae_type, and sae_weights.safetensors",
        lambda found: "sae_type" in found[2] or ("hook_point_in" in found[2] and "expansion_factor" in found[2]),
    ),
    "dictionary_learning": FolderFormat(
        ("config.json", "ae.pt"), "config.json with trainer.dict_class, and ae.pt", lambda found: "trainer" in found[2]
    ),
    "goodfire": FolderFormat(
        (),
        "a path that ends in a .pt file with encoder_linear.weight",
        lambda found: _holds(found, "encoder_linear.weight", ".pt", ".pth"),
    ),
    "mwhanna": FolderFormat(
        (),
        "a path that ends in a .safetensors file with W_enc and without a configuration, such as layer_3.safetensors",
        lambda found: _holds(found, "W_enc", ".safetensors"),
    ),
    "qwen_scope": FolderFormat(
        (),
        "a path that ends in a .pt file with W_enc, such as layer3.sae.pt",
        lambda found: _holds(found, "W_enc", ".pt"),
    ),
}
"""Formats in the order in which `auto` tries them."""


def coder_files(spec: CoderSpec) -> tuple[Path, str | None]:
    """A coder's folder, fetched from the hub if its path names one there, and the name of the file if the path ends in one.

    Raises:
        CoderError: the path names nothing. FetchError: the hub cannot give it.
    """
    return located(spec.path or "", spec.format)


def located(path: str, kind: str) -> tuple[Path, str | None]:
    """Folder of a path, and the name of the file that it ends in.

    Args:
        path: a folder, or one file of a folder with several coders; absolute, relative to the working directory or to a `tasks`
            folder, or on the hub (`org/name[@revision][:subfolder]`).
        kind: name of the format, for what is fetched.

    Raises:
        CoderError: it names nothing. FetchError: the hub cannot give it. MissingExtra: shipped weights that are not installed.
    """
    given = Path(path).expanduser()
    places = [given] if given.is_absolute() else [given, *(place / given for place in tasks_dirs())]
    for place in places:
        if place.is_dir():
            return place, None
        if place.suffix in SUFFIXES and place.is_file():
            return place.parent, place.name
    if given.parent.name == "coders" and (folder := shipped("coders", given.name)) is not None:
        return folder, None
    name, _, subfolder = path.partition(":")
    repository, _, revision = name.partition("@")
    if given.is_absolute() or repository.count("/") != 1 or repository.startswith((".", "coders/")):
        raise CoderError(f"no coder folder at {path!r}; looked at {', '.join(str(p) for p in places)}.")
    return _fetched(repository, revision or None, subfolder, kind)


def _fetched(repository: str, revision: str | None, subfolder: str, kind: str) -> tuple[Path, str | None]:
    need("huggingface_hub", what=f"the coder {repository!r} of the Hugging Face hub")
    from huggingface_hub import snapshot_download

    chosen: str | None = None
    if subfolder.endswith(SUFFIXES):
        subfolder, _, chosen = subfolder.rpartition("/")
    files = wanted(kind) if kind == "auto" or kind in FORMATS else (("*",) if subfolder else _ANY)
    if chosen is not None:
        # A checkpoint's configuration stands beside it, or above its folder.
        above = subfolder.rpartition("/")[0]
        files = tuple(file for file in files if file.endswith(".json"))
        patterns = [
            _within(subfolder, glob.escape(chosen)),
            *(_within(p, f) for p in {subfolder, above} for f in files),
        ]
    else:
        patterns = [_within(subfolder, file) for file in files]
    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=patterns)) / subfolder
    except Exception as e:  # the hub client raises some twenty unrelated types; each means "not fetched"
        raise FetchError(f"cannot fetch coder {repository!r} from the Hugging Face hub: {type(e).__name__}: {e}") from e
    if not folder.is_dir():
        raise CoderError(f"{repository} has no folder {subfolder!r} with {', '.join(files) or chosen}.")
    if chosen is not None and not (folder / chosen).is_file():
        raise CoderError(f"{repository} has no file {_within(subfolder, chosen)!r}.")
    return folder, chosen


def _within(folder: str, file: str) -> str:
    return f"{glob.escape(folder)}/{file}" if folder else file


def wanted(kind: str) -> tuple[str, ...]:
    """Names of the files that a format consists of; those of all formats for `auto`."""
    if kind == "auto":
        return tuple(dict.fromkeys(file for one in FORMATS.values() for file in one.files))
    return FORMATS[kind].files


def format_of(folder: Path, chosen: str | None) -> str:
    """Name of a folder's format.

    Raises:
        CoderError: it has none of those that are read; the message says what is there and what each would need.
    """
    config = _config_of(folder)[1] or {}
    fitting = [name for name, one in FORMATS.items() if one.fits((folder, chosen, config))]
    # A configuration may be left over from another format; the weights of one that is meant are there.
    complete = [name for name in fitting if chosen is None and _has_weights(folder, name)]
    if len(complete) > 1:
        from latentbench.subject.coders.coder_check import CoderWarning

        said = f"{folder} holds coders of the formats {', '.join(complete)}; {complete[0]} is read. Give the coder a `format`."
        warnings.warn(line(said), CoderWarning, stacklevel=2)
    if fitting:
        return (complete or fitting)[0]
    there = sorted(p.name + ("/" if p.is_dir() else "") for p in folder.iterdir())
    shown = ", ".join(there[:20]) + (f" and {len(there) - 20} more" if len(there) > 20 else "")
    needs = "; ".join(f"{name}: {one.needs}" for name, one in FORMATS.items())
    raise CoderError(
        f"{folder} holds no coder of a format that is known: it has {shown or 'nothing'}. What each needs: {needs}."
        + ("" if chosen is None else f" The path names {chosen}.")
    )


def _has_weights(folder: Path, name: str) -> bool:
    return any((folder / file).is_file() for file in FORMATS[name].files if not file.endswith(".json"))


def read_config_json(folder: Path) -> tuple[Path, dict[str, Any]]:
    """A coder's `config.json` and what it says; for a checkpoint of training it may stand above the folder.

    Raises:
        CoderError: there is none, or it is no JSON object.
    """
    path, config = _config_of(folder)
    if config is None:
        raise CoderError(f"{folder} holds no {path.name}.")
    return path, config


def _config_of(folder: Path) -> tuple[Path, dict[str, Any] | None]:
    found = [(place / "config.json", read_object(place / "config.json")) for place in config_places(folder)]
    return next((one for one in found if one[1] is not None), found[0])


def config_places(folder: Path) -> tuple[Path, ...]:
    """Folders in which a coder's configuration may stand, its own first."""
    return (folder, folder.parent) if folder.name == "checkpoints" else (folder,)


def load(spec: CoderSpec, loaded: Loaded) -> SparseCoder:
    """Read a coder of whatever format its folder has (`format: auto`).

    Raises:
        CoderError: as that format's loader, or the folder has none that is known.
    """
    from latentbench.kernel.registry import lookup

    folder, chosen = coder_files(spec)
    found = format_of(folder, chosen)
    coder: SparseCoder = lookup("coder", found)(spec.model_copy(update={"format": found}), loaded)
    return coder
