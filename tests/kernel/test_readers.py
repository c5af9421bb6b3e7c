"""Any bytes in the place of any file give a value or one message of ours, that names the file, in bounded time and memory."""

from __future__ import annotations

import json
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from latentbench.kernel.errors import BenchError

from tests.builders.file_readers import EXCUSED, READERS, Reader, Subject, opening_functions

LONGEST = 20.0
"""Seconds of computing for one file of a few kilobytes."""

NASTY: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    7,
    2**31,
    2**62,
    0.5,
    -1e300,
    1e-300,
    "",
    "x",
    "\u202e",
    "\ud800",
    "\x00",
    "../../x",
    "a" * 300,
    "[/bold]",
    "nan",
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"a": {"b": []}},
    ["x", 1, None],
]
TOKENS = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"9" * 5000,
    b'"\\ud800"',
    b"[" * 3000,
    b'{"a":' * 3000,
    b"",
    b"{}",
    b"null",
]
YAML_TOKENS = [
    b".nan",
    b".inf",
    b"2020-13-45",
    b"!!python/object:os.system x",
    b"!foo x",
    b"&a [*a]",
    b"{a: 1, a: 2}",
    b"{1: 2}",
    b"{[a]: 1}",
    b"9" * 5000,
    b"0x" + b"f" * 5000,
    b"[" * 3000,
    b'"\\ud800"',
    b'"\\0"',
    b"<<",
    b"*nobody",
    b"1:60:99",
    b"=",
]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> Any:
    """Folder of each reader, with what it reads and nothing wrong."""
    Subject.loaded = tiny
    made: dict[str, Path] = {}

    def place(reader: Reader) -> Path:
        if reader.name not in made:
            folder = tmp_path_factory.mktemp("reader")
            reader.make(folder)
            made[reader.name] = folder
        return made[reader.name]

    return place


def message(reader: Reader, folder: Path) -> str | None:
    """What a reader says of what it cannot read; anything but an error of ours ends the test."""
    try:
        reader.read(folder)
    except BenchError as e:
        return str(e)
    return None


def tried(reader: Reader, folder: Path, data: bytes) -> None:
    """Read with other bytes in the file: a value, or an error of ours that says where."""
    path = folder / reader.file
    whole = path.read_bytes()
    beside = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    try:
        path.write_bytes(data)
        began = time.process_time()
        said = message(reader, folder)
        took = time.process_time() - began
        assert said is None or str(folder) in said or path.name in said
        assert len(said or "") < 20_000
        assert took < LONGEST, f"{took:.0f} s for {len(data)} bytes"
    finally:
        path.write_bytes(whole)
        for p in folder.rglob("*"):
            if p.is_file() and p not in beside:
                p.unlink()
        for p, held in beside.items():
            if not p.is_file() or p.read_bytes() != held:
                p.write_bytes(held)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes with a few of the faults that disks, editors and people make."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(out))
        what = rng.randrange(8)
        if what == 0 and out:
            out[min(at, len(out) - 1)] ^= 1 << rng.randrange(8)
        elif what == 1:
            del out[at:]
        elif what == 2:
            del out[at : at + rng.randint(1, 64)]
        elif what == 3:
            out[at:at] = rng.randbytes(rng.randint(1, 16))
        elif what == 4:
            out[at:at] = out[: rng.randint(1, 200)]
        elif what == 5:
            other = rng.randint(0, len(out))
            out[at : at + 8], out[other : other + 8] = out[other : other + 8], out[at : at + 8]
        elif what == 6:
            out[at : at + 8] = rng.choice([b"\x00" * 8, b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\xff" * 7 + b"\x7f"])
        else:
            out[:0] = rng.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"\x1f\x8b", b"PAR1", b"\n"])
    return bytes(out)


def _nodes(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for name, child in inner for place in _nodes(child, (*at, name)))]


def changed(value: Any, rng: random.Random) -> Any:
    """A tree with another value in one place, or a key less, or one more."""
    *front, last = rng.choice([place for place in _nodes(value) if place] or [(None,)])
    if last is None:
        return rng.choice(NASTY)
    holder = value
    for name in front:
        holder = holder[name]
    what = rng.randrange(6)
    if what == 0:
        del holder[last]
    elif what == 1 and isinstance(holder, dict):
        holder[rng.choice(["", "x", "name", "kind"])] = holder.pop(last)
    elif what == 2 and isinstance(holder, list):
        holder.append(holder[last])
    else:
        holder[last] = rng.choice(NASTY)
    return value


def _json_of(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


def mutated(reader: Reader, data: bytes, rng: random.Random) -> bytes:
    """The bytes of a file with faults that its format can hold."""
    way = rng.randrange(4)
    suffix = Path(reader.file).suffix
    if way == 0:
        return damaged(data, rng)
    if way == 1 and suffix in (".json", ".jsonl", ".yaml", ".part"):
        places = [i for i, c in enumerate(data) if c in b":[,"] or [0]
        at = rng.choice(places) + 1
        return (
            data[:at] + b" " + rng.choice(YAML_TOKENS if suffix == ".yaml" else TOKENS) + data[at + rng.randint(0, 8) :]
        )
    if suffix == ".json":
        return _json_of(changed(json.loads(data), rng))
    if suffix in (".jsonl", ".part"):
        rows = [json.loads(line) for line in data.splitlines()]
        rows[0] = changed(rows[0], rng)
        return b"\n".join(map(_json_of, rows)) + b"\n"
    if suffix == ".yaml":
        value = changed(yaml.safe_load(data), rng)
        return yaml.safe_dump(value).encode("utf-8", "surrogatepass")
    if suffix == ".parquet":
        return other_table(data, rng)
    return damaged(data, rng)


def other_table(data: bytes, rng: random.Random) -> bytes:
    """A table with a column less, or one of nulls, of another type, or of values that nobody writes."""
    table = pq.read_table(pa.BufferReader(data))
    name = rng.choice(table.column_names)
    at, n = table.column_names.index(name), table.num_rows
    what = rng.randrange(6)
    columns = {
        1: pa.nulls(n, table.schema.field(name).type),
        2: pa.array(["\x00é../x"] * n),
        3: pa.array([float("nan")] * n),
        4: pa.array([2**62] * n),
        5: pa.array([[None]] * n, pa.list_(pa.string())),
    }
    table = table.drop_columns([name]) if what == 0 else table.set_column(at, name, columns[what])
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def _fuzzed(reader: Reader, folder: Path, examples: int, again: bool) -> None:
    """Try many bytes.

    Args:
        again: the same ones each time, so that what fails for one change has not passed by chance for the one before.
    """
    data = (folder / reader.file).read_bytes()

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=again, suppress_health_check=list(HealthCheck)
    )
    @given(st.one_of(st.binary(max_size=200), st.integers(0, 2**32)))
    def check(drawn: bytes | int) -> None:
        tried(reader, folder, drawn if isinstance(drawn, bytes) else mutated(reader, data, random.Random(drawn)))

    check()


@pytest.mark.parametrize("reader", READERS, ids=lambda r: r.name)
def test_any_bytes_are_a_message_or_a_value(reader: Reader, places: Any, tmp_path: Path) -> None:
    folder = places(reader)
    # Of a copy: a reader may put away what it has read.
    reader.read(Path(shutil.copytree(folder, tmp_path / folder.name)))
    _fuzzed(reader, folder, 6 if reader.heavy else 16, again=True)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS, ids=lambda r: r.name)
def test_very_many_bytes_are_a_message_or_a_value(reader: Reader, places: Any) -> None:
    _fuzzed(reader, places(reader), 300 if reader.heavy else 1500, again=False)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("scorer", b"implementation: detection", b"implementation: nan"),
        ("explainer", b"implementation: llm", b"implementation: '[/bold]'"),
        ("rules", b"regex: (", b"regex: "),
        ("meta of activations", b'"bos"', b'"boss"'),
        ("meta of activations", b'"bos": 0', b'"bos": "x"'),
    ],
)
def test_what_was_once_no_message(name: str, old: bytes, new: bytes, places: Any, tmp_path: Path) -> None:
    """Faults that random bytes found now and then, each time."""
    reader = next(r for r in READERS if r.name == name)
    folder = Path(shutil.copytree(places(reader), tmp_path / "copy"))
    data = (folder / reader.file).read_bytes()
    assert old in data
    tried(reader, folder, data.replace(old, new, 1))
    (folder / reader.file).write_bytes(data.replace(old, new, 1))
    assert message(reader, folder) is not None


@pytest.mark.parametrize("reader", READERS, ids=lambda r: r.name)
def test_a_folder_in_the_place_of_a_file_is_a_message(reader: Reader, places: Any, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(places(reader), folder)
    path = folder / reader.file
    path.unlink()
    path.mkdir()
    said = message(reader, folder)
    assert said is None or path.name in said or str(folder) in said


def test_every_function_that_opens_a_file_has_a_reader_here() -> None:
    covered = {place for reader in READERS for place in reader.covers}
    found = opening_functions()
    assert sorted(found - covered - set(EXCUSED)) == [], "new readers of files: add them to `READERS`"
    assert sorted((covered | set(EXCUSED)) - found) == [], "these open no file any more"
    assert all(EXCUSED.values())
