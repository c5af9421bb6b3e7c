"""Where text comes from, as a recipe names it; reading it is the business of `latentbench.corpora.corpus`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from latentbench.kernel.config import Frozen

LOCAL_BUILDERS = frozenset({"json", "text", "csv", "parquet"})
"""Dataset names of `datasets` that read `data_files` from this machine."""


TOKENS = 10**12
"""Documents or tokens of a corpus at most."""

Paths = Annotated[tuple[str, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str) else v), Field(min_length=1)]


class _Corpus(Frozen):
    limit_documents: int | None = Field(None, ge=1, le=TOKENS)
    """Read this many documents at most, from the start."""
    max_tokens: int | None = Field(None, ge=1, le=TOKENS)
    """Keep this many corpus tokens at most, from the start."""
    deduplicate: Literal["none", "exact", "near"] = "none"
    """Leave out documents that say what an earlier one said: word for word, or nearly (`latentbench.corpora.deduplicate`)."""


class _Rows(_Corpus):
    text_field: str = "text"
    """Column of the document's text."""
    ids_field: str | None = None
    """Column of token ids of the subject's tokenizer, such as `input_ids`, which is read instead of text."""


class JsonlCorpus(_Rows):
    """One JSON object a line, in `.jsonl`, `.jsonl.gz` or `.jsonl.zst` files."""

    kind: Literal["jsonl"] = "jsonl"
    """How its documents are kept."""
    path: Paths
    """A path or a list of paths, read in this order; wildcards and folders are expanded in sorted order."""


class ParquetCorpus(_Rows):
    """Parquet files, a few rows at a time."""

    kind: Literal["parquet"] = "parquet"
    """How its documents are kept."""
    path: Paths
    """A path or a list of paths, with wildcards and folders, read in the order of `jsonl`."""


class CsvCorpus(_Corpus):
    """CSV files (`.csv`, `.csv.gz`, `.csv.zst`) whose first line names the columns."""

    kind: Literal["csv"] = "csv"
    """How its documents are kept."""
    path: Paths
    """A path or a list of paths, with wildcards and folders, read in the order of `jsonl`."""
    text_field: str = "text"
    """Column of the document's text."""


class ChatCorpus(_Corpus):
    """One chat a line, in `.jsonl` or `.jsonl.gz` files."""

    kind: Literal["chat"] = "chat"
    """How its documents are kept."""
    path: Paths
    """A path or a list of paths, read in this order; wildcards are expanded in sorted order."""
    messages_field: str = "messages"
    """Key of the list of messages, each with `role` and `content`."""


class TextCorpus(_Corpus):
    """One document per UTF-8 text file."""

    kind: Literal["text"] = "text"
    """How its documents are kept."""
    path: Paths
    """A path, a folder of `.txt` files, a wildcard pattern (`books/**/*.txt`) or a list of them."""


class HfCorpus(_Rows):
    """A dataset of the Hugging Face hub, streamed; or local files through one of `datasets`' builders."""

    kind: Literal["hf"] = "hf"
    """How its documents are kept."""
    dataset: str
    """`org/name`, a local folder, or `json`, `text`, `csv`, `parquet` with `data_files`."""
    config: str | None = None
    """Configuration (subset) of the dataset."""
    split: str = "train"
    """Split of the dataset."""
    revision: str | None = None
    """Commit or branch; a full commit hash needs no question to the hub."""
    data_files: Paths | None = None
    """Files inside the dataset, or on this machine for a local builder."""

    @field_validator("dataset", "data_files")
    @classmethod
    def _no_address(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        # The library would call any host that stands there.
        for name in (value,) if isinstance(value, str) else value or ():
            if "://" in name or "::" in name:
                raise ValueError("is an address; fetch the file and name it by its path, or name a dataset of the hub")
        return value


class SampledCorpus(_Corpus):
    """Text drawn from a model itself (`latentbench.corpora.sampled`), once, into the user cache."""

    kind: Literal["sampled"] = "sampled"
    """How its documents are kept."""
    model: str
    """Model reference, as in `bench models fetch`."""
    recipe: str
    """A recipe of `tasks/corpora/`, by name, or the path of a YAML file."""
    seed: int = 0
    """Behind everything that is drawn."""
    n_tokens: int = Field(ge=1, le=TOKENS)
    """Tokens to keep; the last batch of documents is kept whole."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Number type of the weights that write the text."""
    batch: int = Field(128, ge=1)
    """Documents drawn at a time."""


CorpusSpec = Annotated[
    JsonlCorpus | ChatCorpus | ParquetCorpus | CsvCorpus | TextCorpus | HfCorpus | SampledCorpus,
    Field(discriminator="kind"),
]
"""A corpus as a YAML file declares it; `kind` says which."""


OnTokens = Callable[[int], None]
"""Called with the number of tokens drawn so far, by corpora that must be made first."""
