"""A damaged byte in anything that a run or a suite keeps is a message, or the content is what it was.

Bytes are damaged all over each file, one at a time. Checking that a file can still be opened would be less: a flipped bit in a
column of numbers leaves a table that reads well. What is no content, such as the name of the program that wrote a Parquet file,
may be damaged unnoticed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from latentbench.analysis.gate.baseline import read_baseline, write_baseline
from latentbench.analysis.gate.gate import freeze
from latentbench.kernel.errors import BenchError
from latentbench.kernel.identity import canonical, table_digest, text_digest
from latentbench.kernel.tables import EXPLANATIONS, INTERVENTIONS, JUDGEMENTS, SCORES, SECONDS, read_table, table_of
from latentbench.kernel.tasks import find
from latentbench.leaderboards.results import add_results, read_file
from latentbench.leaderboards.row import read_rows
from latentbench.panels.panel_table import OPINIONS, read_opinions
from latentbench.runs.finished import load_run
from latentbench.runs.kept import CALLS, kept_calls
from latentbench.runs.record import read_record
from latentbench.runs.run import start
from latentbench.suites.intervention_table import load_interventions, save_interventions
from latentbench.suites.store import load_suite
from rich.console import Console

SPEC = """
name: bytes
suite: planted-1
split: test
limit: 3
explainers: [{use: planted, label: truth}, tokens]
scorers:
  - {use: detection, params: {positives: 2, negatives: 2, simulate: never}}
  - {use: simulation, params: {positives: 1, negatives: 1}, judges: [label]}
judges:
  - {use: "mock:label?fail=0.2&seconds=0.001", label: label}
  - {use: "panel:", label: both, params: {members: ["mock:label", "mock:lexical"], rule: mean}}
"""
PLACES = 24
"""Bytes that are damaged of each file, evenly over it."""
SCHEMAS = {
    "explanations": EXPLANATIONS,
    "judgements": JUDGEMENTS,
    "scores": SCORES,
    "seconds": SECONDS,
    "panel": OPINIONS,
    "calls": CALLS,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bytes")
    (place / "spec.yaml").write_text(SPEC, encoding="utf-8")
    return start(place / "spec.yaml", place / "run", place / "replies.sqlite", Console(quiet=True))[0]


def damaged(path: Path, places: int | None) -> Iterator[int]:
    """Each place in turn, with one bit of its byte turned; the file is whole again in the end."""
    good = path.read_bytes()
    n = min(places or len(good), len(good))
    for k in range(n):
        at = k * len(good) // n
        path.write_bytes(good[:at] + bytes([good[at] ^ (1 << k % 8)]) + good[at + 1 :])
        yield at
    path.write_bytes(good)


def caught(path: Path, read: Callable[[], object], places: int | None = PLACES) -> int:
    """How many of the damages are a message.

    Args:
        places: bytes that are damaged; None for all.

    Raises:
        AssertionError: one is not, and something else is read.
    """
    wanted, found = read(), 0
    for at in damaged(path, places):
        try:
            assert read() == wanted, f"byte {at} of {path.name} is damaged, and other content is read"
        except BenchError:
            found += 1
    return found


def content(run: Path) -> str:
    """Digest of everything that is read of a run."""
    loaded = load_run(run, per_token=True)
    frames = {"explanations": loaded.explanations, "judgements": loaded.judgements, "scores": loaded.scores}
    opinions = read_opinions(run, loaded.record.tables["panel"])
    assert opinions is not None
    # As Python's values: Arrow does not take back every column that pandas holds, such as one of texts with a NaN.
    tables = {name: values(frame) for name, frame in (*frames.items(), ("panel", opinions))}
    return text_digest(repr(tables)) + canonical(loaded.record) + text_digest(repr(list(kept_calls(loaded))))


def values(frame: pd.DataFrame) -> dict[str, list[object]]:
    """Columns as lists."""
    return {str(name): [v.tolist() if hasattr(v, "tolist") else v for v in frame[name]] for name in frame}


def test_values_takes_what_arrow_does_not() -> None:
    odd = pd.DataFrame({"text": ["a", float("nan"), 3], "many": [np.arange(2), None, [1.5]]})
    with pytest.raises((pa.ArrowTypeError, pa.ArrowInvalid)):
        pa.Table.from_pandas(odd)
    assert repr(values(odd)) == "{'text': ['a', nan, 3], 'many': [[0, 1], None, [1.5]]}"


@pytest.mark.parametrize("name", [*(f"{table}.parquet" for table in SCHEMAS), "texts.parquet", "run.json"])
def test_a_run(whole: Path, tmp_path: Path, name: str) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    assert caught(run / name, lambda: content(run)) > PLACES / 2


@pytest.mark.parametrize("name", ["latents.parquet", "windows.parquet"])
def test_a_suite(whole: Path, tmp_path: Path, name: str) -> None:
    source = find("suites", "planted-1")
    suite = Path(shutil.copytree(source if source.is_dir() else source.parent, tmp_path / "suite"))

    def read() -> str:
        found = load_suite(suite)
        return table_digest({"latents": found.latent_table, "windows": found.window_table})

    assert caught(suite / name, read) > PLACES / 2


def test_an_intervention_table(tmp_path: Path) -> None:
    texts = ("latent", "hookpoint", "mode", "role", "kind", "prompt", "clean", "steered")
    rows = [
        dict.fromkeys(texts, f"{i}")
        | {"latent": "planted/0", "target": 0.1, "window": i, "delta": i / 7, "kl": 0.1, "prompt_kl": 0.2, "steps": i}
        | {"reached": True, "promoted": ["a"], "suppressed": ["b", f"{i}"]}
        for i in range(40)
    ]
    hookpoints = {"planted/0": "layers.1"}
    table = table_of([row | {"hookpoint": "layers.1"} for row in rows], INTERVENTIONS)
    save_interventions(tmp_path, table, {"suite": "s"})
    found = load_interventions(tmp_path, "s", hookpoints)
    assert found is not None
    assert len(found.of("planted/0")) == 40

    def read() -> object:
        loaded = load_interventions(tmp_path, "s", hookpoints)
        assert loaded is not None
        return loaded.by_latent

    assert caught(tmp_path / "interventions.parquet", read) > PLACES / 2


def test_a_baseline(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    write_baseline(freeze(whole, offline=True), path)
    assert caught(path, lambda: canonical(read_baseline(path))) > PLACES * 0.9


def test_published_rows(whole: Path, tmp_path: Path) -> None:
    (path,) = add_results(read_rows([whole]), tmp_path)
    # Half of the file is the space before a number, and a damaged space is no JSON.
    assert caught(path, lambda: canonical(read_file(path))) > PLACES * 0.9


@pytest.mark.slow
@pytest.mark.parametrize(("name", "schema"), SCHEMAS.items())
def test_every_byte_of_a_table(whole: Path, tmp_path: Path, name: str, schema: pa.Schema) -> None:
    path = Path(shutil.copy(whole / f"{name}.parquet", tmp_path))
    frozen = read_record(whole).tables[name]
    found = caught(path, lambda: table_digest({name: read_table(path, schema, frozen)}), None)
    assert found > path.stat().st_size / 2


def test_pages_have_checksums(whole: Path, tmp_path: Path) -> None:
    """A damaged page is named as such before it is decompressed, in a table without a digest as in one with it."""
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (run / "run.json").write_text(
        json.dumps({k: v for k, v in record.items() if k not in ("digest", "tables")}), encoding="utf-8"
    )
    path = run / "judgements.parquet"
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    good = bytearray(path.read_bytes())
    at = (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 1
    good[at] ^= 1
    path.write_bytes(bytes(good))
    with pytest.raises(BenchError, match=r"judgements\.parquet is not a readable Parquet file.*CRC"):
        load_run(run)
