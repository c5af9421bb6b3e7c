"""Where text comes from: a small declaration -> documents, and the identity of what they say.

A corpus is named in a YAML file by its place, but identified by its content: file bytes, or a dataset's commit. A path or a
dataset's name as the identity is tempting and wrong, because both stay the same while the text behind them changes. Text
sampled from the subject is identified by what was drawn and not by its seed, since floats of another machine draw other words.

Documents are streamed; nothing here holds more than one of them.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from bench.errors import DataError
from bench.identity import digest

LOCAL_BUILDERS = frozenset({"json", "text", "csv", "parquet"})
"""Dataset names of `datasets` that read `data_files` from this machine."""

Paths = Annotated[tuple[str, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str) else v), Field(min_length=1)]


class _Corpus(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    limit_documents: int | None = Field(None, ge=1)
    """Read this many documents at most, from the start."""
    max_tokens: int | None = Field(None, ge=1)
    """Keep this many corpus tokens at most, from the start."""


class JsonlCorpus(_Corpus):
    """One JSON object a line, in `.jsonl` or `.jsonl.gz` files."""

    kind: Literal["jsonl"] = "jsonl"
    path: Paths
    """A path or a list of paths, read in this order; wildcards are expanded in sorted order."""
    text_field: str = "text"
    """Key of the document's text."""


class TextCorpus(_Corpus):
    """One document per UTF-8 text file."""

    kind: Literal["text"] = "text"
    path: Paths
    """A path, a wildcard pattern (`books/**/*.txt`) or a list of them."""


class HfCorpus(_Corpus):
    """A dataset of the Hugging Face hub, streamed; or local files through one of `datasets`' builders."""

    kind: Literal["hf"] = "hf"
    dataset: str
    """`org/name`, a local folder, or `json`, `text`, `csv`, `parquet` with `data_files`."""
    config: str | None = None
    """Configuration (subset) of the dataset."""
    split: str = "train"
    text_field: str = "text"
    """Column of the document's text."""
    revision: str | None = None
    """Commit or branch; a full commit hash needs no question to the hub."""
    data_files: Paths | None = None
    """Files inside the dataset, or on this machine for a local builder."""


class SampledCorpus(_Corpus):
    """Text drawn from a model itself (`bench.corpora.sampled`), once, into the user cache."""

    kind: Literal["sampled"] = "sampled"
    model: str
    """Model reference, as in `bench models fetch`."""
    recipe: str
    """A recipe of `tasks/corpora/`, by name, or the path of a YAML file."""
    seed: int = 0
    n_tokens: int = Field(ge=1)
    """Tokens to keep; the last batch of documents is kept whole."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    batch: int = Field(128, ge=1)
    """Documents drawn at a time."""


CorpusSpec = Annotated[JsonlCorpus | TextCorpus | HfCorpus | SampledCorpus, Field(discriminator="kind")]
"""A corpus as a YAML file declares it; `kind` says which."""

OnTokens = Callable[[int], None]
"""Called with the number of tokens drawn so far, by corpora that must be made first."""


def anchored(spec: CorpusSpec, folder: Path) -> CorpusSpec:
    """The same corpus with relative paths made absolute against `folder`, where its spec file lies."""
    match spec:
        case JsonlCorpus() | TextCorpus():
            return spec.model_copy(update={"path": _anchor_all(spec.path, folder)})
        case HfCorpus(dataset=dataset, data_files=files) if dataset in LOCAL_BUILDERS and files:
            return spec.model_copy(update={"data_files": _anchor_all(files, folder)})
        case HfCorpus(dataset=dataset) if dataset.startswith("."):
            return spec.model_copy(update={"dataset": str(folder / dataset)})
        case SampledCorpus(recipe=recipe) if (folder / recipe).is_file():
            return spec.model_copy(update={"recipe": str(folder / recipe)})
    return spec


def _anchor_all(paths: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    return tuple(str(folder / Path(p).expanduser()) for p in paths)


def documents(spec: CorpusSpec, on_tokens: OnTokens | None = None) -> Iterator[str]:
    """The corpus' documents in a fixed order.

    Args:
        spec: paths in it are absolute or relative to the working directory; see `anchored`.
        on_tokens: progress of drawing, for `sampled` corpora that are not in the cache yet.

    Raises:
        DataError: a file or dataset is missing or unreadable; the message names the file and line.
    """
    return islice(_all_documents(spec, on_tokens), spec.limit_documents)


def _all_documents(spec: CorpusSpec, on_tokens: OnTokens | None) -> Iterator[str]:
    match spec:
        case JsonlCorpus():
            for path in files(spec.path):
                yield from read_jsonl(path, spec.text_field)
        case TextCorpus():
            for path in files(spec.path):
                yield _read_text(path)
        case HfCorpus():
            from bench.corpora.hub import stream

            yield from stream(spec)
        case SampledCorpus():
            from bench.corpora.drawn import drawn_file

            yield from read_jsonl(drawn_file(spec, on_tokens), "text")


def corpus_identity(spec: CorpusSpec, on_tokens: OnTokens | None = None) -> str:
    """Content hash, 16 hex digits: what the documents are read from, the field that is read, and the limits.

    Files count by their uncompressed bytes, in order, so that moving or recompressing them changes nothing.

    Raises:
        DataError: as in `documents`, and for a hub dataset whose commit cannot be found out.
    """
    parts: dict[str, Any] = {"limit_documents": spec.limit_documents, "max_tokens": spec.max_tokens}
    match spec:
        case JsonlCorpus():
            parts |= {"jsonl": [content_sha256(p) for p in files(spec.path)], "field": spec.text_field}
        case TextCorpus():
            parts |= {"text": [content_sha256(p) for p in files(spec.path)]}
        case HfCorpus():
            from bench.corpora.hub import revision

            parts |= {
                "hf": revision(spec),
                "config": spec.config,
                "split": spec.split,
                "field": spec.text_field,
                "data_files": None if spec.dataset in LOCAL_BUILDERS else spec.data_files,
            }
        case SampledCorpus():
            from bench.corpora.drawn import drawn_file

            # The same bytes written to a file of one's own are the same corpus.
            parts |= {"jsonl": [content_sha256(drawn_file(spec, on_tokens))], "field": "text"}
    return digest(parts)


def files(patterns: tuple[str, ...]) -> list[Path]:
    """The files that paths and wildcards name: patterns in the given order, the matches of one pattern sorted.

    Raises:
        DataError: a path that does not exist, or a pattern that matches no file.
    """
    found: list[Path] = []
    for pattern in patterns:
        path = Path(pattern)
        matches = [path] if path.is_file() else [p for p in _expanded(path) if p.is_file()]
        if not matches:
            raise DataError(
                f"no corpus file at {pattern}. Relative paths start at the folder of the file that names them."
            )
        found += matches
    return found


def _expanded(pattern: Path) -> list[Path]:
    wild = next((i for i, part in enumerate(pattern.parts) if set(part) & set("*?[")), None)
    if wild is None:
        return []
    return sorted(Path(*pattern.parts[:wild]).glob("/".join(pattern.parts[wild:])))


def content_sha256(path: Path) -> str:
    """sha256 of a file's bytes, after decompression for `.gz`.

    Raises:
        DataError: a broken archive.
    """
    with _opened(path) as f:
        try:
            return hashlib.file_digest(f, "sha256").hexdigest()  # type: ignore[arg-type]
        except (EOFError, zlib.error, OSError) as e:
            raise DataError(f"{path} cannot be read: {e}. Restore it.") from e


def read_jsonl(path: Path, field: str) -> Iterator[str]:
    """The `field` of every line of a JSONL file; see `read_rows`."""
    return (row[field] for row in read_rows(path, field))


def read_rows(path: Path, field: str) -> Iterator[dict[str, Any]]:
    """Every line of a JSONL file (gzipped if its name ends so), with a text under `field`; blank lines are passed over.

    Raises:
        DataError: the file is broken, or a line is not a JSON object with a text under `field`.
    """
    number = 0
    with _opened(path) as f:
        try:
            for number, line in enumerate(f, 1):
                if line.strip():
                    yield _row_of(line, field, path, number)
        except (EOFError, zlib.error, OSError) as e:
            raise DataError(f"{path} breaks off after line {number}: {e}. Restore it.") from e


def _row_of(line: bytes, field: str, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as e:
        raise DataError(f"{path}, line {number}: not JSON ({e}). Repair or remove the line.") from e
    if not isinstance(row, dict):
        raise DataError(f"{path}, line {number}: expected a JSON object, found {type(row).__name__}.")
    text = row.get(field)
    if not isinstance(text, str):
        state = (
            f"is {type(text).__name__}, not text" if field in row else f"is missing; it has {', '.join(row) or 'none'}"
        )
        raise DataError(f"{path}, line {number}: field {field!r} {state}. Set `text_field` to the right name.")
    return row


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as e:
        raise DataError(f"{path} is not UTF-8 text: {e}. Convert it, or leave it out of the pattern.") from e


def _opened(path: Path) -> BinaryIO | gzip.GzipFile:
    try:
        return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")
    except OSError as e:
        raise DataError(f"cannot open {path}: {e.strerror or e}.") from e
