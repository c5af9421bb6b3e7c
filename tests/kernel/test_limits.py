"""What a few bytes may cost: files that unpack to gigabytes, and plans that nobody could finish, are refused at once."""

from __future__ import annotations

import gzip
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from latentbench.analysis.reliability import load_reliability_spec
from latentbench.kernel.config import Frozen, read_yaml, validate
from latentbench.kernel.errors import SpecError
from latentbench.kernel.inputs import FACTOR, Unusable, factor, parse_json, read_json
from latentbench.kernel.parquet import read_parquet
from latentbench.kernel.tasks import tasks_dirs
from latentbench.runs.plan import CELLS
from latentbench.runs.run_spec import load_run_spec
from pydantic import Field

RUNS = tasks_dirs()[0] / "runs"
MEGABYTES = 700
"""What a process with torch loaded and a bomb refused takes at most; the least of these bombs is a few gigabytes."""

READ = """
import sys, time
from pathlib import Path
from latentbench.corpora.corpus_files import content_sha256, read_objects
from latentbench.explainers.file import read_texts
from latentbench.kernel.config import read_yaml
from latentbench.kernel.errors import BenchError
from latentbench.kernel.inputs import read_json
from latentbench.kernel.tables import EXPLANATIONS, LATENTS, SCORES, WINDOWS, read_table
from latentbench.models.gguf_header import check_gguf

def rows(path):
    for _ in read_objects(path):
        pass

for name, read in {
    "nulls.parquet": lambda p: read_table(p, SCORES),
    "text.parquet": lambda p: read_table(p, EXPLANATIONS),
    "lists.parquet": lambda p: read_table(p, WINDOWS),
    "texts.parquet": lambda p: read_texts(p, {}),
    "zeros.jsonl.gz": rows,
    "lines.jsonl.gz": rows,
    "hash.jsonl.gz": content_sha256,
    "line.jsonl": rows,
    "sparse.yaml": read_yaml,
    "sparse.json": read_json,
    "laughs.yaml": read_yaml,
    "keys.yaml": read_yaml,
    "lengths.gguf": check_gguf,
    "nested.gguf": check_gguf,
}.items():
    began = time.process_time()
    try:
        read(Path(sys.argv[1]) / name)
        said = "no error"
    except (BenchError, ValueError) as e:
        said = " ".join(str(e).split())
    took = time.process_time() - began
    # Not `ru_maxrss`, which a process has from the one that started it.
    (peak,) = (int(l.split()[1]) // 1024 for l in Path("/proc/self/status").open() if l.startswith("VmHWM"))
    print(name, f"{took:.1f}", peak, said, sep="\\t", flush=True)
"""


def _repeated(text: str, n: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), pa.array([text]))


def _bombs(folder: Path) -> None:
    from latentbench.kernel.tables import EXPLANATIONS, SCORES, WINDOWS

    def table(name: str, schema: pa.Schema, n: int, **columns: Any) -> None:
        held = {f.name: columns.get(f.name, pa.nulls(n, f.type)) for f in schema}
        pq.write_table(pa.table(held), folder / name, compression="zstd", row_group_size=1 << 30)

    nulls = pa.table({f.name: pa.nulls(1_500_000, f.type) for f in SCORES})
    with pq.ParquetWriter(folder / "nulls.parquet", nulls.schema, compression="zstd") as writer:
        for _ in range(6):
            writer.write_table(nulls, row_group_size=1 << 30)
    table("text.parquet", EXPLANATIONS, 20_000, text=_repeated("x" * 1_000_000, 20_000))
    tokens = pa.ListArray.from_arrays(pa.array(range(0, 20_001, 4), pa.int32()), _repeated("y" * 500_000, 20_000))
    table("lists.parquet", WINDOWS, 5000, tokens=tokens)
    pq.write_table(
        pa.table({"latent": _repeated("z" * 1_000_000, 9000), "text": _repeated("w", 9000)}), folder / "texts.parquet"
    )
    chunk = b"\x00" * (1 << 20)
    packed = gzip.compress(chunk, 1)
    for name, n in {"zeros": 200, "hash": 200}.items():
        (folder / f"{name}.jsonl.gz").write_bytes(packed * n)
    lines = gzip.compress(b'{"text": "a", "more": "' + b"b" * 10_000 + b'"}\n' * 1, 9)
    (folder / "lines.jsonl.gz").write_bytes(gzip.compress((b"\n" * 1000) * 1000, 1) * 100 + lines)
    for name in ("line.jsonl", "sparse.yaml", "sparse.json"):
        with (folder / name).open("wb") as f:
            f.truncate(3 << 30)
    laughs = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    laughs += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    (folder / "laughs.yaml").write_text("\n".join(laughs), encoding="utf-8")
    merges = ["a0: &a0 {k0: 1}"]
    merges += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}], k{i}: 1}}" for i in range(1, 30)]
    (folder / "keys.yaml").write_text("\n".join([*merges, "x: .nan"]), encoding="utf-8")
    head = b"GGUF" + (3).to_bytes(4, "little") + (0).to_bytes(8, "little")
    key = (1).to_bytes(8, "little") + (1).to_bytes(8, "little") + b"k" + (9).to_bytes(4, "little")
    many = (1 << 60).to_bytes(8, "little")
    (folder / "lengths.gguf").write_bytes(head + key + (0).to_bytes(4, "little") + many + b"\0" * 64)
    (folder / "nested.gguf").write_bytes(head + key + (9).to_bytes(4, "little") + many + b"\0" * 64)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of a process from Linux")
def test_bombs_cost_neither_memory_nor_time(tmp_path: Path) -> None:
    _bombs(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) == 14
    for name, took, peak, said in rows:
        assert said != "no error", name
        assert float(took) < 30, name
        assert int(peak) < MEGABYTES, f"{name}: {peak} MiB"


def test_the_limits_can_be_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": pa.nulls(9_000_000, pa.int64())}), path, row_group_size=1 << 30)
    monkeypatch.setenv(FACTOR, "0.1")
    with pytest.raises(Unusable, match=rf"{FACTOR}=10"):
        read_parquet(path)
    monkeypatch.setenv(FACTOR, "10")
    assert read_parquet(path).num_rows == 9_000_000
    for wrong in ("x", "0", "-1", "nan", "inf"):
        monkeypatch.setenv(FACTOR, wrong)
        with pytest.raises(SpecError, match=FACTOR):
            factor()


def test_a_repeated_text_that_is_right_is_read_as_it_is(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array(["x" * 2000, None, "y"] * 5000),
            "list": pa.array([["z" * 3000, None], None, []] * 5000),
            "number": pa.array(range(15_000)),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    found = read_parquet(tmp_path / "t.parquet")
    assert found.schema == table.schema
    assert found.equals(table)


def test_a_text_that_is_not_utf8_is_found_when_the_table_is_read(tmp_path: Path) -> None:
    raw = pa.array([b"ab\xff"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 1, raw.buffers())
    pq.write_table(pa.table({"a": text}), tmp_path / "t.parquet")
    with pytest.raises(Unusable, match="UTF8"):
        read_parquet(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "b": {"a": 1, "a": 2}}', "the key 'a' stands twice"),
        ('{"a": [NaN]}', r"at a\[0\] is nan"),
        ('{"a": {"b": -Infinity}}', "at a.b is -inf"),
        ('{"a": 1e999}', "at a is inf"),
        ('{"a": ' + "9" * 10_000 + "}", "thousands of digits"),
        ('{"a": 99999999999999999999}', "more than 64 bits"),
        ("[" * 100_000, "deep"),
        ("[" * 80 + "]" * 80, "deep"),
        ('{"a": "\\ud83d"}', "half of a surrogate pair"),
        ('{"\\ud83d": 1}', "half of a surrogate pair"),
        ("{", "Expecting"),
        ("", "Expecting"),
    ],
)
def test_json_is_a_tree_of_plain_values(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=said):
        parse_json(text)
    (tmp_path / "f.json").write_text(text, encoding="utf-8")
    with pytest.raises(Unusable, match=said):
        read_json(tmp_path / "f.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: .*'a' stands twice, first in line 1"),
        ("x:\n  - {a: 1, a: 2}\n", "line 2, column 12: .*'a' stands twice"),
        ("no: 1\n", "line 1.*'no' is read as bool.*in quotes"),
        ("1: 2\n", "'1' is read as int"),
        ("? [a]\n: 1\n", "a key must be a text"),
        ("? {a: 1}\n: 1\n", "a key must be a text"),
        ("a: !foo 1\n", "line 1, column 4: .*'!foo' is not read"),
        ("a: !!python/object/apply:os.system [x]\n", "python/object.* is not read"),
        ("a: !!binary aGk=\n", "'!!binary' is not read"),
        ("a: !!timestamp 2020-13-45\n", "'!!timestamp' is not read"),
        ("a: !!int x\n", "no value of type int"),
        ("a: .nan\n", "at a is nan"),
        ("a: -.inf\n", "at a is -inf"),
        ("a: " + "9" * 10_000 + "\n", "line 1.*thousands of digits"),
        ("a: 0x" + "f" * 10_000 + "\n", "more than 64 bits"),
        ("[" * 10_000, "deep"),
        ("a:\n" + "".join(f"{' ' * i}- \n" for i in range(100)), "deep"),
        ("&a [*a]\n", "stands inside itself"),
        ('a: "\\ud800"\n', "half of a surrogate pair"),
        ('a: "x\\0"\n', "NUL"),
        ("a: x\0\n", "special characters"),
        ("a: 1\n---\nb: 1\n", "another document"),
    ],
)
def test_yaml_is_a_tree_of_plain_values(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(SpecError, match=said) as e:
        read_yaml(path)
    assert str(e.value).startswith(str(path))


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in itertools.pairwise("abcdefg")
)


def test_a_few_aliases_that_stand_for_a_million_values_are_refused_before_these_are_made(tmp_path: Path) -> None:
    """Such a text is parsed in no time; what takes seconds is to walk what it stands for, so it is counted first."""
    path = tmp_path / "f.yaml"
    assert len(LAUGHS) < 400
    path.write_text(LAUGHS, encoding="utf-8")
    began = time.process_time()
    with pytest.raises(SpecError, match="aliases stand for too many values"):
        read_yaml(path)
    assert time.process_time() - began < 0.5
    # A list that is used in many places is what aliases are for.
    path.write_text("a: &a [1, 2, 3]\nb:\n" + "  - *a\n" * 2000, encoding="utf-8")
    assert read_yaml(path)["b"] == [[1, 2, 3]] * 2000


def test_a_column_of_one_value_is_read_however_small_its_file_is(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": pa.repeat(1.5, 9_000_000)}), path, row_group_size=1 << 30)
    assert path.stat().st_size * 1000 < 9_000_000 * 8
    assert read_parquet(path).num_rows == 9_000_000


def test_yaml_that_people_write_is_read_as_before(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(
        "\ufeffa: &a {x: 1}\nb: {<<: *a, x: 2}\nc: 2020-13-45\nd: [yes, 1.5, ~, '=', =]\n", encoding="utf-8"
    )
    found = read_yaml(path)
    assert found == {"a": {"x": 1}, "b": {"x": 2}, "c": "2020-13-45", "d": [True, 1.5, None, "=", "="]}
    found["a"]["x"] = 9
    assert read_yaml(path)["a"] == {"x": 1}


def spec_with(folder: Path, **changes: Any) -> Path:
    held = yaml.safe_load((RUNS / "gate.yaml").read_text(encoding="utf-8"))
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump({**held, **changes}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"repeats": 10**12},
        {"repeats": 10_001},
        {"limit": 10**12},
        {"order": 10**9},
        {"seed": 1 << 63},
        {"explain_seed": -(1 << 63) - 1},
    ],
)
def test_a_run_asks_for_no_more_than_anybody_means(tmp_path: Path, changes: dict[str, int]) -> None:
    (name,) = changes
    with pytest.raises(SpecError, match=rf"{name} must be at most|at {name} has more than"):
        load_run_spec(spec_with(tmp_path, **changes))


def test_units_are_counted_before_they_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from latentbench.runs import plan

    spec = load_run_spec(spec_with(tmp_path, repeats=10_000))
    cells = len(spec.explainers) * len(spec.scorers) * len(spec.judges) * spec.repeats
    plan._not_too_many(spec.model_copy(update={"repeats": 1}), 100)
    monkeypatch.setattr(plan, "CELLS", cells - 1)
    with pytest.raises(SpecError, match=r"10,000 repeats are .* cells, more than"):
        plan._not_too_many(spec, 1)
    monkeypatch.setattr(plan, "CELLS", CELLS * 100)
    monkeypatch.setattr(plan, "UNITS", cells * 50 - 1)
    with pytest.raises(SpecError, match=r"50 latents are .* units.*set a `limit`"):
        plan._not_too_many(spec, 50)


def test_a_reliability_spec_asks_for_runs_that_end(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="draws must be at most 1000"):
        load_reliability_spec(spec_with(tmp_path, draws=10**6))
    with pytest.raises(SpecError, match="100,000,000 runs, more than 10,000"):
        load_reliability_spec(spec_with(tmp_path, draws=1000, orders=100, explainer_seeds=1000))


def _models() -> list[type[Frozen]]:
    import importlib
    import pkgutil

    import latentbench

    for module in pkgutil.walk_packages(latentbench.__path__, "latentbench."):
        if not module.name.endswith("__main__") and not module.name.startswith("latentbench.judges.vllm"):
            importlib.import_module(module.name)

    def below(model: type[Frozen]) -> list[type[Frozen]]:
        return [found for child in model.__subclasses__() for found in (child, *below(child))]

    return sorted({m for m in below(Frozen) if m.__module__.startswith("latentbench.")}, key=lambda m: m.__qualname__)


def test_every_number_of_every_file_has_a_largest_value() -> None:
    """Of each whole number that any model has, one that is too large is refused, whatever the field is called."""
    from latentbench.kernel.config import _ends

    checked = 0
    for model in _models():
        bounded = {name for name, _ in _ends(model)}
        for name, field in model.model_fields.items():
            if field.annotation not in (int, int | None):
                continue
            checked += 1
            declared = any(hasattr(m, "le") or hasattr(m, "lt") for m in field.metadata)
            assert declared or name in bounded, f"{model.__qualname__}.{name}"
    assert checked > 150


def test_a_count_and_a_number_of_a_model_are_bounded_by_default() -> None:
    class Model(Frozen):
        n: int = Field(default=1, ge=1)
        seed: int | None = None
        x: float = 0.0
        tokens: int = Field(default=1, ge=1, le=10**12)

    assert validate(Model, {"n": 10_000_000, "seed": 2**63 - 1, "tokens": 10**12}, "here").n == 10_000_000
    for wrong in (
        {"n": 10_000_001},
        {"seed": 2**63},
        {"seed": -(2**63)},
        {"x": float("nan")},
        {"x": "inf"},
        {"tokens": 10**13},
    ):
        with pytest.raises(SpecError, match=next(iter(wrong))):
            validate(Model, wrong, "here")


def test_duplicate_keys_in_results_that_people_edit_are_refused(tmp_path: Path) -> None:
    from latentbench.analysis.gate.baseline import read_baseline
    from latentbench.kernel.errors import DataError

    path = tmp_path / "b.json"
    path.write_text(json.dumps({"layout": 1})[:-1] + ', "layout": 2}', encoding="utf-8")
    with pytest.raises(DataError, match="'layout' stands twice"):
        read_baseline(path)


def test_yaml_joins_the_halves_of_one_sign_as_json_does(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(json.dumps({"a": "\U0001f600 and \U0001f680", "\U0001f600": 1}), encoding="utf-8")
    assert read_yaml(path) == {"a": "\U0001f600 and \U0001f680", "\U0001f600": 1}


def test_the_key_that_stands_twice_is_found_in_one_pass() -> None:
    keys = ",".join(f'"k{i}":1' for i in range(60_000))
    started = time.perf_counter()
    with pytest.raises(Unusable, match="the key 'k59999' stands twice"):
        parse_json("{" + keys + ',"k59999":2}')
    assert time.perf_counter() - started < 20
