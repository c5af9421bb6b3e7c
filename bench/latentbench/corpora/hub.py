"""Corpora that the `datasets` library reads: hub datasets, streamed, and local files through its builders.

A hub dataset is identified by its commit, asked from the hub once. Branch names move, so a spec that must be reproducible
pins `revision` to a full commit hash, which also needs no connection when the data are already in the local cache.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from latentbench.corpora.corpus_files import content_sha256, files
from latentbench.corpora.corpus_spec import LOCAL_BUILDERS, HfCorpus
from latentbench.kernel.errors import DataError
from latentbench.kernel.extras import need
from latentbench.kernel.identity import digest
from latentbench.kernel.inputs import Unusable, read_text
from latentbench.kernel.veil import veiled
from latentbench.kernel.yaml_tree import parse_yaml

_COMMIT = re.compile(r"[0-9a-f]{40}")


def stream(spec: HfCorpus) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Place and columns of every row, in the dataset's order.

    Raises:
        DataError: `datasets` is not installed, or the dataset cannot be opened or read.
    """
    number = 0
    try:
        for number, row in enumerate(_open(spec), 1):
            yield f"{spec.dataset}, row {number}", row
    except DataError:
        raise
    except Exception as e:  # network, parquet and hub errors of five libraries; each means "cannot read on"
        raise DataError(f"dataset {spec.dataset!r} cannot be read after row {number}: {type(e).__name__}: {e}") from e


def _open(spec: HfCorpus) -> Any:
    try:
        from datasets import load_dataset
    except ImportError as e:
        raise DataError("a corpus of kind `hf` needs the datasets library: pip install 'latentbench[hub]'.") from e
    local = spec.dataset in LOCAL_BUILDERS or Path(spec.dataset).is_dir()
    named = spec.data_files
    if Path(spec.dataset).is_dir():
        _check_folder(Path(spec.dataset))
    try:
        rows = load_dataset(
            spec.dataset,
            spec.config,
            split=spec.split,
            streaming=True,
            # The commit that the corpus is identified by, and not what a branch is by now.
            revision=None if local else commit(spec),
            data_files=[str(p) for p in (files(named) if local else named)] if named else None,
        )
        # A picture or sound in a row may be an address, which the library would call to decode it.
        return rows if rows.features is None else rows.decode(False)
    except DataError:
        raise
    except Exception as e:  # the library raises some twenty unrelated types; each means "no such data"
        where = f"config {spec.config!r}, split {spec.split!r}"
        raise DataError(f"dataset {spec.dataset!r} ({where}) cannot be opened: {type(e).__name__}: {e}") from e


def _check_folder(folder: Path) -> None:
    """Refuse a folder whose metadata sends the library to a host: it calls whatever stands there.

    Raises:
        DataError: the settings of the dataset, at the top of README.md or in .huggingface.yaml, hold an address.
    """
    for name in ("README.md", ".huggingface.yaml"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            text = read_text(path)
        except (Unusable, OSError) as e:
            raise DataError(f"{path} cannot be read: {e}.") from e
        head = re.match(r"\s*---\s*\n(.*?)\n---\s*(\n|$)", text.replace("\r", "\n"), re.DOTALL)
        head_text = text if name != "README.md" else head[1] if head else ""
        if not head_text:
            continue
        try:
            found = parse_yaml(head_text)
        except (yaml.YAMLError, Unusable) as e:
            raise DataError(f"the settings at the top of {path} cannot be read: {e}. Remove them.") from e
        stack = [found.get("configs")] if isinstance(found, dict) else []
        while stack:
            value = stack.pop()
            if isinstance(value, str) and ("://" in value or "::" in value):
                raise DataError(
                    f"{path} names an address, {veiled(value)[:80]!r}, which is not called; fetch the file into the "
                    "folder and name it by its path."
                )
            stack += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def revision(spec: HfCorpus) -> str:
    """What identifies the dataset's content: its commit on the hub, or a hash of local files.

    Raises:
        DataError: the hub cannot say which commit the revision is; local files are missing.
    """
    if spec.dataset in LOCAL_BUILDERS:
        if not spec.data_files:
            raise DataError(f"dataset {spec.dataset!r} reads local files: name them in `data_files`.")
        return digest([spec.dataset, [content_sha256(p) for p in files(spec.data_files)]])
    folder = Path(spec.dataset)
    if folder.is_dir():
        inside = sorted(p for p in folder.rglob("*") if p.is_file())
        return digest([[p.relative_to(folder).as_posix(), content_sha256(p)] for p in inside])
    return f"{spec.dataset}@{commit(spec)}"


def commit(spec: HfCorpus) -> str:
    """The commit of a hub dataset: that which the corpus names, or the one that the hub says its revision is now.

    Raises:
        DataError: the hub cannot say it.
    """
    return _asked(spec.dataset, spec.revision)


@lru_cache
def _asked(dataset: str, revision: str | None) -> str:
    """Asked once a process: a branch that moves between two questions would give the text of another identity."""
    if revision and _COMMIT.fullmatch(revision):
        return revision
    need("huggingface_hub", what=f"the dataset {dataset!r} of the Hugging Face hub")
    try:
        from huggingface_hub import HfApi

        return str(HfApi().dataset_info(dataset, revision=revision).sha)
    except Exception as e:  # as above: the client's errors share no base
        raise DataError(
            f"the hub does not say which commit of dataset {dataset!r} is {revision or 'current'}: "
            f"{type(e).__name__}: {e}. Set `revision` to a full commit hash to work without asking."
        ) from e
