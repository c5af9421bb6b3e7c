"""Where text comes from: a small declaration -> documents, and the identity of what they say.

A corpus is named in a YAML file by its place, but identified by its content: file bytes, or a dataset's commit. A path or a
dataset's name as the identity is tempting and wrong, because both stay the same while the text behind them changes. Text
sampled from the subject is identified by what was drawn and not by its seed, since floats of another machine draw other words.

Documents are streamed; nothing here holds more than one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from latentbench.corpora.corpus_files import _read_text, content_sha256, files, read_jsonl
from latentbench.corpora.corpus_spec import (
    LOCAL_BUILDERS,
    CorpusSpec,
    HfCorpus,
    JsonlCorpus,
    OnTokens,
    SampledCorpus,
    TextCorpus,
)
from latentbench.kernel.identity import digest


def anchored(spec: CorpusSpec, folder: Path) -> CorpusSpec:
    """Return the corpus with relative paths made absolute against `folder`, where its spec file lies."""
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
            from latentbench.corpora.hub import stream

            yield from stream(spec)
        case SampledCorpus():
            from latentbench.corpora.sampled import drawn_file

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
