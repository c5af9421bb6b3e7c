"""Content hashes: the one place that decides what "the same" means.

A number is comparable with another only if everything that could have changed it is the same. So suites, prompts, judges and
runs are named by a hash over *content*: canonical JSON for settings, column values for tables. Hashing file bytes instead is
tempting and wrong: Parquet writes its library's version into the footer, so an upgrade of pyarrow would "change" a frozen suite.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

DIGEST_CHARS = 16


def canonical(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, UTF-8, floats by shortest repr; dataclasses and paths are converted.

    Raises:
        TypeError: a value that has no canonical JSON form, such as a set of objects or a function.
    """

    def convert(v: Any) -> Any:
        if is_dataclass(v) and not isinstance(v, type):
            return {f.name: getattr(v, f.name) for f in fields(v)}  # what is inside comes here again
        if isinstance(v, Path):
            return v.as_posix()
        if isinstance(v, frozenset | set):
            return sorted(v)
        if hasattr(v, "model_dump"):
            return v.model_dump(mode="json")
        raise TypeError(f"no canonical form for {type(v).__name__}: {v!r}")

    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=convert, allow_nan=True)


def digest(value: Any) -> str:
    """First 16 hex digits of the sha256 of `canonical(value)`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:DIGEST_CHARS]


def text_digest(text: str) -> str:
    """First 16 hex digits of the sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARS]


def file_sha256(path: Path) -> str:
    """Full sha256 of a file's bytes, for weights and wheels."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def seed_for(*parts: str | int) -> int:
    """A 63-bit seed from the names of what it is for, so that no two latents share one.

    Deriving by hash and not by `seed + index` keeps a latent's draw the same when other latents join or leave the suite.
    """
    h = hashlib.sha256("\x1f".join(str(p) for p in parts).encode()).digest()
    return int.from_bytes(h[:8], "big") >> 1


def least_seed(seed: int, names: Sequence[str]) -> str:
    """The name whose `seed_for(seed, name)` is the least, and of equal ones the first by name.

    There is a hash for each seed and name, so this is all pairs whoever asks; what is saved is everything beside the hash.
    """
    head, sha = f"{seed}\x1f".encode(), hashlib.sha256
    found = [sha(head + name.encode()).digest() for name in names]
    # A seed is the first 63 bits: what is the least by 56 of them is looked at again.
    near = min(found)[:7]
    return min((seed_for(seed, n), n) for n, h in zip(names, found, strict=True) if h.startswith(near))[1]


def share(*parts: object) -> float:
    """A number in [0, 1) from the hash of the parts."""
    return int(digest(parts), 16) / 16**16


def joined(parts: Sequence[str], by: str = "/") -> str:
    """Parts as one name that no other parts of the same number have; ordinary parts stay as they are.

    A sign that could be taken for the separator is written as `%2F` and the like, and what looks so already as `%252F`: in every
    part but the last where the separator is a bare sign, and where it touches a space or an end of its part otherwise.
    """
    sign = by.strip()
    code = f"{ord(sign):02X}"
    alike = rf"(?:{re.escape(sign)}|%(?:25)*{code})"
    if sign != by:
        alike = rf"(?:^|(?<= )){alike}|{alike}(?=$| )"
    told = [re.sub(alike, lambda m: f"%{code}" if m[0] == sign else f"%25{m[0][1:]}", part) for part in parts]
    return by.join(told if sign != by else [*told[:-1], *parts[-1:]])


def table_digest(tables: Mapping[str, pa.Table]) -> str:
    """Digest over tables by column name, type and values, in the given row order; chunking and file format do not matter.

    Args:
        tables: name -> table. Schema metadata is ignored.
    """
    from latentbench.kernel.column_hash import hash_tables

    return hash_tables(tables, lambda table, name: table.column(name).chunks.__iter__)


def type_name(kind: pa.DataType) -> str:
    """Name of a type without the name of its list items, which Parquet changes from `item` to `element`."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return type_name(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list<{type_name(kind.value_type)}>"
    return str(kind)
