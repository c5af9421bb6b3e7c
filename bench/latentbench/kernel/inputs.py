"""What a file from outside may cost, and what a value in it may be, before anything believes it.

A file is read up to a limit of its kind, and its content is a tree of texts, finite numbers, lists and keys that stand once. Both
are settled here, where the file is opened. Leaving it to the place that uses a value is the tempting way: a NaN in a width, a
list inside a list ten thousand times, or half of a surrogate pair then ends a run as a traceback three rooms later, and a file of
a few bytes that unpacks to gigabytes ends the machine.

The limits are far above what this package writes. A factor in the environment raises all of them, because a limit per kind of
file would be a dozen settings that nobody needs twice.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from latentbench.kernel.errors import BenchError, SpecError

FACTOR = "LATENTBENCH_READ_LIMIT"
"""Environment variable with the factor on every limit; 1 by default."""

MIB = 1 << 20
YAML_BYTES = 2 * MIB
JSON_BYTES = 64 * MIB
LINE_BYTES = 64 * MIB
"""One line of a file of JSON lines, and one document of a corpus."""
TEXT_BYTES = 1024 * MIB
"""A file that is read whole and is neither YAML nor JSON."""
LINE_COST = 64
"""What a line counts beside its bytes: a file of nothing but line ends takes time and no room."""
FREE_BYTES = 64 * MIB
"""What may be unpacked whatever the size of the file was."""
RATIO = 200
"""Unpacked bytes per byte of a packed file beyond that. Text has some 3 to 20, and a file of one repeated byte has 1,000."""
DEPTH = 64
NODES = 5_000_000
"""Values of one document, those behind an alias counted at every place where it stands."""
BITS = 64
SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a character, which no file can hold."""
CHUNK = 1 << 20

_Link = tuple[Any, str] | None


class Unusable(ValueError):
    """Content that is not read; says why, without the file's name."""


class HalfCharacter(Unusable):
    """Text with half of a surrogate pair, in a document that is otherwise as it should be."""


def factor() -> float:
    """What `LATENTBENCH_READ_LIMIT` says.

    Raises:
        SpecError: it is no number above 0.
    """
    said = os.environ.get(FACTOR)
    if not said:
        return 1.0
    try:
        found = float(said)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise SpecError(f"{FACTOR} is {said!r}, expected a number above 0: the factor on all limits of files.")
    return found


def most(limit: int) -> int:
    """A limit with the user's factor."""
    return int(limit * factor())


def too_large(what: str, found: float, limit: float) -> Unusable:
    """The error for a file beyond a limit, with what raises it."""
    return Unusable(
        f"{what} is {_size(found)}, more than {_size(limit)}. If that is right, raise the limits: {FACTOR}="
        f"{max(2, math.ceil(factor() * found / max(1.0, limit)))}"
    )


def _size(n: float) -> str:
    return f"{n / MIB:,.0f} MiB" if n >= MIB else f"{n:,.0f} bytes"


def read_bytes(path: Path, limit: int = TEXT_BYTES) -> bytes:
    """All bytes of a file.

    Raises:
        Unusable: it is longer than the limit. OSError: it cannot be read.
    """
    end = most(limit)
    with path.open("rb") as f:
        # Not the size that the file system says: a pipe and a device have none.
        data = f.read(end + 1)
        if len(data) > end:
            raise too_large("it", max(len(data), os.fstat(f.fileno()).st_size), end)
    return data


def read_text(path: Path, limit: int = TEXT_BYTES) -> str:
    """A file's text, which is UTF-8; a byte order mark at its start is left out.

    Raises:
        Unusable: it is not UTF-8, or too long. OSError: it cannot be read.
    """
    return decoded(read_bytes(path, limit))


def decoded(data: bytes) -> str:
    """Bytes as text.

    Raises:
        Unusable: they are not UTF-8. HalfCharacter: they are but for halves of surrogate pairs.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        with suppress(UnicodeDecodeError):
            data.decode("utf-8", "surrogatepass")
            raise HalfCharacter(f"it holds half of a surrogate pair (byte {e.start:,}), which no text has") from e
        raise Unusable(f"it is not UTF-8 text (byte {e.start:,}: {e.reason})") from e


def read_json(path: Path, *, finite: bool = True) -> Any:
    """The value of a JSON file.

    Args:
        finite: NaN and infinities are refused.

    Raises:
        Unusable: see `parse_json`. OSError: it cannot be read.
    """
    return parse_json(read_bytes(path, JSON_BYTES), finite=finite)


def parse_json(text: str | bytes, *, finite: bool = True) -> Any:
    """The value of a JSON text.

    Raises:
        Unusable: it is no JSON, nests too deeply, has a key twice, a number that is not finite or has more than 64 bits, or half
            of a surrogate pair.
    """
    text = decoded(text) if isinstance(text, bytes) else text
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except RecursionError as e:
        raise Unusable(_deep()) from e
    except Unusable:
        raise
    except ValueError as e:
        raise Unusable(_clipped(e)) from e
    settle(value, finite=finite)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise Unusable(f"the key {twice!r} stands twice in one object; remove one of them")
    return found


def _clipped(error: ValueError) -> str:
    said = str(error)
    return "it holds a number of thousands of digits" if "integer string conversion" in said else said[:200]


def _deep() -> str:
    return f"it nests more than {DEPTH} levels deep, or stands inside itself"


def settle(value: Any, *, finite: bool = True, names_files: bool = False) -> None:
    """Check that a parsed document is a tree that everything behind this can walk, print and write.

    Args:
        finite: NaN and infinities are refused.
        names_files: its texts may name files, so the character NUL is refused.

    Raises:
        Unusable: it is too deep or too large, or a value is none of text, number, truth, null, list and keys; says where.
    """
    stack: list[tuple[Any, int, _Link]] = [(value, 0, None)]
    left = most(NODES)
    while stack:
        found, depth, link = stack.pop()
        left -= 1
        if isinstance(found, str):
            _settle_text(found, link, names_files)
        elif isinstance(found, bool) or found is None:
            pass
        elif isinstance(found, int):
            if found.bit_length() > BITS:
                raise Unusable(f"the number{_at(link)} has more than {BITS} bits")
        elif isinstance(found, float):
            if finite and not math.isfinite(found):
                raise Unusable(f"the number{_at(link)} is {found}, expected a finite one")
        elif isinstance(found, dict | list):
            if depth == DEPTH:
                raise Unusable(_deep())
            left -= len(found)
            if left < 0:
                raise Unusable(f"it has more than {most(NODES):,} values; {FACTOR}=2 allows twice as many")
            if isinstance(found, list):
                stack += [(v, depth + 1, (link, f"[{i}]")) for i, v in enumerate(found)]
                continue
            for name, inner in found.items():
                if not isinstance(name, str):
                    raise Unusable(f"the key {name!r}{_at(link)} is no text; put it in quotes")
                _settle_text(name, link, names_files)
                stack.append((inner, depth + 1, (link, name)))
        else:
            raise Unusable(f"the value{_at(link)} is of type {type(found).__name__}, which is not read here")


def _settle_text(text: str, link: _Link, names_files: bool) -> None:
    if names_files and "\x00" in text:
        raise Unusable(f"the text{_at(link)} holds the character NUL, which no name of a file can have")
    if not text.isascii() and SURROGATE.search(text):
        raise HalfCharacter(f"the text{_at(link)} holds half of a surrogate pair, which no file can hold")


def _at(link: _Link) -> str:
    names = []
    while link is not None:
        link, name = link
        names.append(name[:40])
    place = ascii(".".join(reversed(names)).replace(".[", "["))[1:-1]
    return f" at {place[:120]}" if place else ""


@contextmanager
def understood(path: Path, error: type[BenchError], advice: str) -> Iterator[None]:
    """Turn what is raised where a file's content is taken apart into one error of ours.

    For content in a form of its own, whose reader asks for a field as if it were there. A check of every field beforehand is the
    tempting way, and is right for the fields of the day that it was written on.

    Raises:
        BenchError: of the given class; an error of this package passes as it is.
    """
    try:
        yield
    except OSError as e:
        raise error(f"{path} cannot be read: {e.strerror or e}. {advice}") from e
    except (ArithmeticError, AttributeError, EOFError, LookupError, RuntimeError, TypeError, ValueError) as e:
        said = " ".join(str(e).split())[:200]
        raise error(f"{path} cannot be read ({type(e).__name__}: {said}). {advice}") from e


@contextmanager
def unpacked(path: Path) -> Iterator[tuple[IO[bytes], int | None]]:
    """A file to read from, unpacked if its name ends in `.gz` or `.zst`, and how many bytes of it are believed.

    Raises:
        Unusable: inside the block, where a packed file is broken.
    """
    with path.open("rb") as raw:
        if path.suffix not in (".gz", ".zst"):
            yield raw, None
            return
        believed = most(max(FREE_BYTES, RATIO * os.fstat(raw.fileno()).st_size))
        if path.suffix == ".zst":
            # pyarrow is here anyway, and importing it takes longer than most commands.
            import pyarrow as pa

            with io.BufferedReader(pa.CompressedInputStream(raw, "zstd"), CHUNK) as unpacking:
                yield unpacking, believed
            return
        try:
            with gzip.GzipFile(fileobj=raw, mode="rb") as stream:
                yield stream, believed  # type: ignore[misc]  # a GzipFile reads as a file does
        except (EOFError, zlib.error, gzip.BadGzipFile) as e:
            raise Unusable(str(e)) from e


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, unpacked if its name ends in `.gz` or `.zst`.

    Raises:
        Unusable: a line is too long, or the file is broken or unpacks to too much. OSError: it cannot be read.
    """
    longest, done = most(LINE_BYTES), 0
    with unpacked(path) as (stream, believed):
        while line := stream.readline(longest + 1):
            done += len(line) + LINE_COST
            _believe(done, believed)
            if len(line) > longest:
                raise too_large("a line", len(line), longest)
            yield line


def content_hash(path: Path) -> str:
    """sha256 of a file's bytes, unpacked if its name ends in `.gz` or `.zst`.

    Raises:
        Unusable: the file is broken or unpacks to too much. OSError: it cannot be read.
    """
    h, done = hashlib.sha256(), 0
    with unpacked(path) as (stream, believed):
        while chunk := stream.read(CHUNK):
            done += len(chunk)
            _believe(done, believed)
            h.update(chunk)
    return h.hexdigest()


def _believe(done: int, believed: int | None) -> None:
    if believed is not None and done > believed:
        raise Unusable(
            f"it unpacks to more than {RATIO} times its size, as no text does. If that is right, raise the limits: {FACTOR}=10"
        )
