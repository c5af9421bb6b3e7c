"""The tables of a suite and of a run, declared once; every writer and reader goes through `read_table` / `write_table`.

A schema in code, not in the first file that happens to be written, is what lets a corrupt or foreign file be refused with
one message instead of a KeyError three stages later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from latentbench.kernel.errors import CorruptTable, DigestMismatch
from latentbench.kernel.files import replacing
from latentbench.kernel.identity import table_digest
from latentbench.kernel.parquet import read_parquet

_STR, _F32, _F16 = pa.string(), pa.float32(), pa.float16()

LATENTS = pa.schema(
    [
        ("latent", _STR),  # coder/index
        ("coder", _STR),
        ("index", pa.int32()),
        ("coder_kind", _STR),  # sae, transcoder, neurons, random, planted
        ("hookpoint", _STR),
        ("split", _STR),  # tune, test
        ("stratum", pa.int32()),  # of firing rate, 0 = rarest
        ("rate_token", pa.float64()),  # share of tokens on which it fires
        ("rate_context", pa.float64()),  # share of contexts in which it fires
        ("max_activation", _F32),
        ("edges", pa.list_(_F32)),  # decile edges of window maxima, 11 values
        ("asked_explain", pa.int32()),
        ("got_explain", pa.int32()),
        ("asked_positive", pa.int32()),
        ("got_positive", pa.int32()),
        ("asked_negative", pa.int32()),
        ("got_negative", pa.int32()),
        ("direction", pa.list_(_F16)),  # decoder row, [d_model]; empty for planted latents
        ("promoted", pa.list_(_STR)),  # top tokens of direction through the unembedding
        ("suppressed", pa.list_(_STR)),
        ("truth", _STR),  # JSON of a planted rule, else null
    ]
)

WINDOWS = pa.schema(
    [
        ("latent", _STR),
        ("role", _STR),  # explain, test
        ("kind", _STR),  # quantile:k, random, neighbour, similar, ...
        ("ids", pa.list_(pa.int32())),
        ("tokens", pa.list_(_STR)),
        ("activations", pa.list_(_F16)),
        ("position", pa.int64()),  # corpus position of the first token
        ("context", pa.int64()),  # number of the context in the corpus
    ]
)

INTERVENTIONS = pa.schema(
    [
        ("latent", _STR),
        ("hookpoint", _STR),  # of the latent's coder, compared with the latents table when it is joined
        ("mode", _STR),  # add, ablate
        ("target", pa.float64()),  # KL asked for, null for ablation, which has no strength
        ("role", _STR),  # explain, test: that of the window
        ("window", pa.int64()),  # row number in the windows table
        ("kind", _STR),  # of the window
        ("prompt", _STR),
        ("clean", _STR),  # what follows without the intervention; "" for explain prompts
        ("steered", _STR),
        ("delta", pa.float64()),  # null for ablation
        ("kl", pa.float64()),  # mean over the latent's test prompts
        ("prompt_kl", pa.float64()),  # of this prompt
        ("steps", pa.int32()),  # rounds of the strength search
        ("reached", pa.bool_()),  # whether kl is within the tolerance of the target
        ("promoted", pa.list_(_STR)),  # tokens by increase of next-token probability, largest first
        ("suppressed", pa.list_(_STR)),
    ]
)

EXPLANATIONS = pa.schema(
    [
        ("latent", _STR),
        ("explainer", _STR),  # label in the run spec
        ("explainer_id", _STR),  # name@version
        ("explainer_key", _STR),
        ("repeat", pa.int32()),
        ("text", _STR),
        ("hash", _STR),
        ("outcome", _STR),
        ("error", _STR),
        ("note", _STR),  # JSON
        ("tokens_in", pa.int64()),
        ("tokens_out", pa.int64()),
        ("tokens_cached", pa.int64()),
        ("cost", pa.float64()),  # dollars
    ]
)

JUDGEMENTS = pa.schema(
    [
        ("cell", _STR),  # explainer x scorer x judge x repeat, as in run.json
        ("latent", _STR),
        ("explainer", _STR),
        ("explanation", _STR),  # hash
        ("scorer", _STR),  # label in the run spec
        ("judge", _STR),  # label
        ("repeat", pa.int32()),
        # What these hold is said once, in `latentbench.scorers.scorer.Judgement`.
        ("trial", _STR),
        ("part", _STR),
        ("item", pa.int64()),
        ("kind", _STR),
        ("truth", pa.int32()),
        ("outcome", _STR),
        ("score", pa.float64()),
        ("answer", pa.int32()),
        ("token_scores", pa.list_(_F32)),
        ("token_truth", pa.list_(_F32)),
        ("error", _STR),
        # Usage is of the whole call and stands on the first judgement of its trial, so sums are right.
        ("tokens_in", pa.int64()),
        ("tokens_out", pa.int64()),
        ("tokens_cached", pa.int64()),
        ("cost", pa.float64()),
    ]
)

SECONDS = pa.schema([("table", _STR), ("row", pa.int64()), ("seconds", pa.float64())])
"""What rows of explanations and judgements took; rows that took no time are left out. Times are never the same twice, so they
stand apart from tables that are."""

RENAMED = {
    "window": "item",
    "label": "truth",
    "probability": "score",
    "prediction": "answer",
    "predicted": "token_scores",
    "actual": "token_truth",
}
"""Columns of the judgements in the first layout of that table -> those of today, the second."""

SCORES = pa.schema(
    [
        ("cell", _STR),
        ("latent", _STR),
        ("coder", _STR),
        ("explainer", _STR),
        ("scorer", _STR),
        ("judge", _STR),
        ("repeat", pa.int32()),
        ("metric", _STR),
        ("value", pa.float64()),
        ("n_judged", pa.int32()),
        ("n_attempted", pa.int32()),
        # Where judgements are missing: the least and greatest value that there could have been, null where it is not known.
        ("lowest", pa.float64()),
        ("highest", pa.float64()),
    ]
)
LATER = ("lowest", "highest")
"""Columns of the scores that older runs do not have."""


def table_of(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table of a declared schema; keys that the schema does not have are left out."""
    return pa.table({f.name: pa.array([row[f.name] for row in rows], type=f.type) for f in schema}, schema=schema)


def write_table(table: pa.Table, path: Path) -> str:
    """Write atomically (temporary file, then rename) with zstd and a checksum of each page; the schema must be a declared one.

    Returns:
        Digest of the content, for whoever keeps it and gives it to `read_table`.
    """
    with replacing(path) as part:
        pq.write_table(
            table, part, compression="zstd", compression_level=9, use_dictionary=True, write_page_checksum=True
        )
    return table_digest({path.stem: table})


def read_table(path: Path, schema: pa.Schema, frozen: str | None = None) -> pa.Table:
    """Read a table and check it against its declared schema. Judgements in their first layout come in that of today, and a table
    that has its own column of seconds, as older runs have, keeps it.

    Args:
        frozen: what `write_table` gave. The table is compared as it lies in the file, before it is brought into today's layout.

    Raises:
        CorruptTable: missing, unreadable, or without a declared column of the declared type.
        DigestMismatch: it has other content than was written.
    """
    try:
        table = read_parquet(path, None if frozen is not None else [*schema.names, *RENAMED, *LATER, "seconds"])
        # Names and texts are decoded only when somebody looks at them.
        names = set(table.schema.names)
        found = table_digest({path.stem: table}) if frozen is not None else None
    except FileNotFoundError as e:
        raise CorruptTable(f"{path} is missing. Rebuild or restore it.") from e
    except (OSError, ValueError) as e:
        raise CorruptTable(f"{path} is not a readable Parquet file: {e}. Rebuild or restore it.") from e
    if found != frozen:
        raise DigestMismatch(
            f"{path} is not what was written: it hashes to {found}, and {frozen} is on record. Restore it or write it anew."
        )
    if schema is JUDGEMENTS and not set(RENAMED) - names:
        table = _second_layout(table)
    for name in LATER if schema is SCORES else ():
        if name not in table.schema.names:
            table = table.append_column(name, pa.nulls(len(table), pa.float64()))
    if schema in (EXPLANATIONS, JUDGEMENTS) and "seconds" in table.schema.names:
        schema = schema.append(SECONDS.field("seconds"))
    missing = [f.name for f in schema if f.name not in table.schema.names]
    if missing:
        raise CorruptTable(f"{path} has no column {', '.join(missing)}; it was written by another version or program.")
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowException, ValueError) as e:
        raise CorruptTable(f"{path} has columns of another type than declared: {e}") from e


def _second_layout(table: pa.Table) -> pa.Table:
    """Judgements of the first layout, which had -1 where no window was judged and no parts."""
    table = table.rename_columns([RENAMED.get(name, name) for name in table.schema.names])
    item = table.column("item")
    none = pc.if_else(pc.less(item, 0), pa.scalar(None, item.type), item)
    table = table.set_column(table.schema.get_field_index("item"), "item", none)
    return table.append_column("part", pa.array([""] * table.num_rows, _STR))
