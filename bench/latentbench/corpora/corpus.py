"""Where text comes from: a small declaration -> documents, and the identity of what they say.

A corpus is named in a YAML file by its place, but identified by its content: file bytes, or a dataset's commit. A path or a
dataset's name as the identity is tempting and wrong, because both stay the same while the text behind them changes. Text
sampled from the subject is identified by what was drawn and not by its seed, since floats of another machine draw other words.

Documents are streamed; nothing here holds more than one of them, but for what `deduplicate` remembers. Rows that are no documents
are left out and counted (`latentbench.corpora.left_out`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from latentbench.corpora.chats import chats
from latentbench.corpora.corpus_files import content_sha256, csv_rows, files, jsonl_rows, parquet_rows, text_row
from latentbench.corpora.corpus_spec import (
    LOCAL_BUILDERS,
    ChatCorpus,
    CorpusSpec,
    CsvCorpus,
    HfCorpus,
    JsonlCorpus,
    OnTokens,
    ParquetCorpus,
    SampledCorpus,
    TextCorpus,
)
from latentbench.corpora.deduplicate import distinct
from latentbench.corpora.left_out import LeftOut, said
from latentbench.corpora.rows import Document, Placed, placed
from latentbench.kernel.errors import EmptyCorpus
from latentbench.kernel.identity import digest

_FileCorpus = JsonlCorpus | ParquetCorpus | CsvCorpus | TextCorpus

ENDINGS = {
    "jsonl": (".jsonl", ".jsonl.gz", ".jsonl.zst"),
    "parquet": (".parquet",),
    "csv": (".csv", ".csv.gz", ".csv.zst"),
    "text": (".txt",),
}
"""Files that a folder stands for, by kind of corpus."""


def anchored(spec: CorpusSpec, folder: Path) -> CorpusSpec:
    """Return the corpus with relative paths made absolute against `folder`, where its spec file lies."""
    match spec:
        case JsonlCorpus() | ParquetCorpus() | CsvCorpus() | TextCorpus() | ChatCorpus():
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


def documents(
    spec: CorpusSpec, on_tokens: OnTokens | None = None, left_out: LeftOut | None = None
) -> Iterator[Document]:
    """The corpus' documents in a fixed order: texts; token ids where the corpus names a column of them; chats.

    Args:
        spec: paths in it are absolute or relative to the working directory; see `anchored`.
        on_tokens: progress of drawing, for `sampled` corpora that are not in the cache yet.
        left_out: counts the rows that are no documents.

    Raises:
        DataError: a file or dataset is missing or unreadable, or its column holds no text; the message names file and line.
        EmptyCorpus: after the last row, when none was a document.
    """
    left_out = left_out if left_out is not None else LeftOut()
    kept = distinct(_placed(spec, on_tokens, left_out), spec.deduplicate, left_out)
    found = False
    for _, document in islice(kept, spec.limit_documents):
        found = True
        yield document
    if not found and left_out.rows:
        raise EmptyCorpus(f"no row of the corpus is a document; {said(left_out.as_dict())}.")


def _placed(spec: CorpusSpec, on_tokens: OnTokens | None, left_out: LeftOut) -> Iterator[Placed]:
    match spec:
        case ChatCorpus():
            yield from chats(spec)
        case HfCorpus():
            from latentbench.corpora.hub import stream

            yield from placed(stream(spec), spec.text_field, spec.ids_field, f"dataset {spec.dataset!r}", left_out)
        case SampledCorpus():
            from latentbench.corpora.sampled import drawn_file

            path = drawn_file(spec, on_tokens)
            yield from placed(jsonl_rows(path, left_out), "text", None, str(path), left_out)
        case _:
            ids = spec.ids_field if isinstance(spec, JsonlCorpus | ParquetCorpus) else None
            for path in corpus_files(spec):
                yield from placed(_rows(spec, path, left_out), _text_field(spec), ids, str(path), left_out)


def _rows(spec: _FileCorpus, path: Path, left_out: LeftOut) -> Iterator[tuple[str, Mapping[str, Any]]]:
    match spec:
        case JsonlCorpus():
            return jsonl_rows(path, left_out)
        case ParquetCorpus():
            return parquet_rows(path, spec.ids_field or spec.text_field)
        case CsvCorpus():
            return csv_rows(path)
        case TextCorpus():
            return text_row(path, left_out)


def _text_field(spec: _FileCorpus) -> str:
    return "text" if isinstance(spec, TextCorpus) else spec.text_field


def corpus_files(spec: _FileCorpus) -> list[Path]:
    """The files of a corpus of files, in the order in which they are read.

    Raises:
        DataError: there is none where the corpus says.
    """
    return files(spec.path, ENDINGS[spec.kind])


def corpus_identity(spec: CorpusSpec, on_tokens: OnTokens | None = None) -> str:
    """Content hash, 16 hex digits: what the documents are read from, the field that is read, and the limits.

    Files count by their uncompressed bytes, in order, so that moving or recompressing them changes nothing.

    Raises:
        DataError: as in `documents`, and for a hub dataset whose commit cannot be found out.
    """
    parts: dict[str, Any] = {"limit_documents": spec.limit_documents, "max_tokens": spec.max_tokens}
    # What a corpus does not ask for is not part of what it is, so that corpora of before these settings are what they were.
    if spec.deduplicate != "none":
        parts["deduplicate"] = spec.deduplicate
    if isinstance(spec, JsonlCorpus | ParquetCorpus | HfCorpus) and spec.ids_field is not None:
        parts["ids"] = spec.ids_field
    match spec:
        case TextCorpus():
            parts |= {"text": [content_sha256(p) for p in corpus_files(spec)]}
        case JsonlCorpus() | ParquetCorpus() | CsvCorpus():
            parts |= {spec.kind: [content_sha256(p) for p in corpus_files(spec)], "field": spec.text_field}
        case ChatCorpus():
            parts |= {"chat": [content_sha256(p) for p in files(spec.path)], "field": spec.messages_field}
        case HfCorpus():
            from latentbench.corpora.hub import revision

            parts |= {
                "hf": revision(spec),
                "config": spec.config,
                "split": spec.split,
                "field": spec.text_field,
                "data_files": None if spec.dataset in LOCAL_BUILDERS else spec.data_files,
            }
        case SampledCorpus():
            from latentbench.corpora.sampled import drawn_file

            # The same bytes written to a file of one's own are the same corpus.
            parts |= {"jsonl": [content_sha256(drawn_file(spec, on_tokens))], "field": "text"}
    return digest(parts)
