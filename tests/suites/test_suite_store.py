"""Suites on disk, their rules, and how they are named, shown and turned into latents; no subject needed."""

from __future__ import annotations

import json
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from latentbench.kernel.errors import CorruptTable, DigestMismatch, SpecError, UnknownName
from latentbench.kernel.latent import Window
from latentbench.kernel.tables import WINDOWS, write_table
from latentbench.kernel.tasks import available, find, tasks_dirs
from latentbench.suites.build import suite_tables
from latentbench.suites.build.draw import LatentDraw
from latentbench.suites.build.promoted import Effects
from latentbench.suites.build.sampling import WindowPlan, sample, tile
from latentbench.suites.build.suite_tables import CoderPart, WindowTables, latent_table
from latentbench.suites.build.token_strings import TokenStrings
from latentbench.suites.show import marked, show_suite
from latentbench.suites.store import load_suite, save_suite
from latentbench.suites.streamed_windows import streamed_windows
from latentbench.suites.verify import verify
from rich.console import Console

PLAN = WindowPlan(6, "quantile", 1, 8)


class Letters:
    """A tokenizer with one letter per id."""

    def batch_decode(self, windows, **_):
        return ["".join(chr(97 + t % 26) for t in ids) for ids in windows]


@pytest.fixture(scope="module")
def tables():
    rng = np.random.default_rng(0)
    offsets = np.arange(41) * 20
    tokens = rng.integers(0, 26, offsets[-1]).astype(np.int32)
    tiles = tile(offsets, 8)
    parts = []
    for name, n in (("sae-a", 8), ("sae-b", 4)):
        samples = []
        for i in range(n):
            positions = np.flatnonzero(rng.random(len(tokens)) < 0.02 + 0.01 * i)
            samples.append(sample(positions, rng.exponential(size=len(positions)), tiles, PLAN, i, i + 1))
        drawn = LatentDraw(np.arange(n) * 3, np.arange(n) * 4 // n, np.arange(n) % 2 == 1, n)
        effects = Effects([[0, 1]] * n, [[2, 3]] * n)
        coder = SimpleNamespace(name=name, kind="sae", hookpoint="layers.1")
        parts.append(
            CoderPart(coder, drawn, samples, torch.randn(n, 5, generator=torch.Generator().manual_seed(0)), effects)
        )
    strings = TokenStrings(Letters())
    windows = pa.concat_tables(WindowTables(parts, tokens, tiles, strings))
    return latent_table(parts, PLAN, strings), windows, parts


@pytest.fixture
def folder(tables, tmp_path):
    save_suite(tmp_path / "toy", {"name": "toy", "version": "1-0"}, tables[0], tables[1])
    return tmp_path / "toy"


def test_a_suite_that_is_streamed_is_the_same_suite(folder, tables, tmp_path):
    windows, target = tables[1], tmp_path / "streamed"
    pieces = [windows.slice(at, 7) for at in range(0, len(windows), 7)]
    with streamed_windows(target, pieces) as streamed:
        digest = save_suite(target, {"name": "toy", "version": "1-0"}, tables[0], streamed)
    found = load_suite(target)
    assert digest == found.digest == load_suite(folder).digest
    assert found.window_table.equals(windows.combine_chunks())
    assert pq.ParquetFile(target / "windows.parquet").num_row_groups == len(pieces)
    # Other windows under the same version are refused, and nothing of them is left.
    with (
        pytest.raises(DigestMismatch, match="Raise the version"),
        streamed_windows(target, reversed(pieces)) as streamed,
    ):
        save_suite(target, {"name": "toy", "version": "1-0"}, tables[0], streamed)
    assert sorted(p.name for p in target.iterdir()) == ["latents.parquet", "manifest.json", "windows.parquet"]
    assert load_suite(target).digest == digest


def test_windows_are_the_same_however_many_stand_in_a_table(tables, monkeypatch):
    parts, tokens, tiles = tables[2], np.arange(800, dtype=np.int32) % 26, tile(np.arange(41) * 20, 8)
    whole = pa.concat_tables(WindowTables(parts, tokens, tiles, TokenStrings(Letters()))).combine_chunks()
    monkeypatch.setattr(suite_tables, "GROUP", 30)
    small = list(WindowTables(parts, tokens, tiles, TokenStrings(Letters())))
    assert len(small) > 5
    assert pa.concat_tables(small).combine_chunks().equals(whole)
    latents = [set(table.column("latent").to_pylist()) for table in small]
    assert all(not a & b for a, b in pairwise(latents))


def test_latents_come_back_as_they_were_sampled(folder, tables):
    suite = load_suite(folder)
    assert suite.id == "toy@1-0"
    views = suite.latents()
    assert [v.id for v in views[:3]] == ["sae-a/0", "sae-a/3", "sae-a/6"]
    view, drawn = views[2], tables[2][0].samples[2]
    windows = {w.position: w for w in view.explain + view.test}
    assert sorted(windows) == sorted(drawn.start.tolist())
    for start, activations in zip(drawn.start.tolist(), drawn.activations, strict=True):
        assert windows[start].activations == tuple(activations.tolist())
        assert windows[start].text == Letters().batch_decode([windows[start].ids])[0]
    assert all(a.max >= b.max for a, b in pairwise(view.explain))
    assert {w.role for w in view.explain} == {"explain"}
    assert sum(w.active for w in view.test) == view.row["got_positive"] == 10
    assert view.row["direction"].shape == (5,)
    assert view.row["promoted"] == ("a", "b")
    ids = [w.id for v in views for w in v.explain + v.test]
    assert sorted(ids) == list(range(suite.window_table.num_rows))


def test_views_can_not_be_changed(folder):
    view = load_suite(folder).latents()[0]
    with pytest.raises(TypeError):
        view.row["stratum"] = 9
    with pytest.raises(ValueError, match="read-only"):
        view.row["direction"][0] = 1
    with pytest.raises(AttributeError):
        view.explain[0].role = "test"


def test_selection_by_split_coder_and_limit(folder):
    suite = load_suite(folder)
    assert {v.split for v in suite.latents(split="tune")} == {"tune"}
    assert {v.coder for v in suite.latents(coders=["sae-b"])} == {"sae-b"}
    limited = suite.latents(limit=4)
    assert [v.coder for v in limited] == ["sae-a", "sae-a", "sae-b", "sae-b"]
    assert [v.row["stratum"] for v in limited[:2]] == [1, 3]
    assert len(suite.latents(limit=11)) == 11
    assert [v.id for v in suite.latents(limit=99)] == [v.id for v in suite.latents()]
    with pytest.raises(UnknownName, match="Did you mean 'sae-a'"):
        suite.latents(coders=["sae_a"])
    with pytest.raises(UnknownName, match="tune"):
        suite.latents(split="tunes")
    with pytest.raises(SpecError, match="at least 1"):
        suite.latents(limit=0)
    with pytest.raises(UnknownName, match="sae-a/3"):
        suite.latent("sae-a/33")


def test_an_edited_table_is_a_digest_mismatch(folder, tables):
    windows = tables[1]
    edited = windows.set_column(1, "role", pa.array(["test"] * windows.num_rows))
    write_table(edited, folder / "windows.parquet")
    with pytest.raises(DigestMismatch, match="toy@1-0"):
        load_suite(folder)


@pytest.mark.parametrize("damage", ["truncate", "remove", "garbage", "column", "manifest"])
def test_a_broken_file_is_a_corrupt_table(folder, tables, damage):
    file = folder / "windows.parquet"
    if damage == "truncate":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "remove":
        file.unlink()
    elif damage == "garbage":
        file.write_bytes(b"PAR1 is not enough")
    elif damage == "column":
        write_table(tables[1].drop_columns(["activations"]), file)
    else:
        file = folder / "manifest.json"
        file.write_text('{"name": "toy", ', encoding="utf-8")
    with pytest.raises(CorruptTable, match=file.name):
        load_suite(folder)


def test_a_frozen_suite_is_never_replaced_under_its_version(folder, tables):
    latents, windows, _ = tables
    before = (folder / "manifest.json").read_bytes()
    assert save_suite(folder, {"name": "toy", "version": "1-0"}, latents, windows) == load_suite(folder).digest
    assert (folder / "manifest.json").read_bytes() == before
    with pytest.raises(DigestMismatch, match="Raise the version"):
        save_suite(folder, {"name": "toy", "version": "1-0"}, latents, windows.slice(1))
    assert load_suite(folder).window_table.num_rows == windows.num_rows
    save_suite(folder, {"name": "toy", "version": "2-0"}, latents, windows.slice(1))
    assert load_suite(folder).version == "2-0"


def test_steered_texts_go_with_the_windows_that_they_were_made_from(folder, tables):
    latents, windows, _ = tables
    sidecar = [folder / "interventions.json", folder / "interventions.parquet"]
    for file in sidecar:
        file.write_text("steered", encoding="utf-8")
    for version in ("1-0", "2-0"):
        save_suite(folder, {"name": "toy", "version": version}, latents, windows)
        assert all(file.exists() for file in sidecar)
    save_suite(folder, {"name": "toy", "version": "3-0"}, latents, windows.slice(1))
    assert not any(file.exists() for file in sidecar)
    assert load_suite(folder).latents()


def test_names_are_found_in_the_working_directory_with_a_hint(folder, monkeypatch):
    home = folder.parent
    (home / "tasks" / "suites").mkdir(parents=True)
    folder.rename(home / "tasks" / "suites" / "toy")
    monkeypatch.chdir(home)
    assert load_suite("toy").name == load_suite("toy@1-0").name == "toy"
    assert tasks_dirs()[0] == (home / "tasks").resolve()
    assert available("suites")["toy"] == find("suites", "toy")
    with pytest.raises(UnknownName, match=r"unknown suite 'tyo'.*Did you mean 'toy'"):
        load_suite("tyo")
    with pytest.raises(SpecError, match="not version 2-0"):
        load_suite("toy@2-0")
    (home / "tasks" / "suites" / "toy" / "manifest.json").unlink()
    (home / "tasks" / "suites" / "toy" / "recipe.yaml").write_text("name: toy\n", encoding="utf-8")
    with pytest.raises(CorruptTable, match="bench suite build"):
        load_suite("toy")


def _with(windows, name, change):
    values = windows.column(name).to_pylist()
    change(values)
    i = windows.schema.get_field_index(name)
    return windows.set_column(i, WINDOWS.field(name), pa.array(values, WINDOWS.field(name).type))


def _broken(windows, latents):
    """name of the rule -> windows table that breaks it."""
    kinds = windows.column("kind").to_pylist()
    negative, positive = kinds.index("random"), kinds.index("quantile:9")
    position = windows.column("position").to_pylist()
    latent = windows.column("latent").to_pylist()
    test = next(i for i, r in enumerate(windows.column("role").to_pylist()) if r == "test" and latent[i] == latent[0])
    return {
        "overlap": _with(windows, "position", lambda v: v.__setitem__(test, position[0] + 3)),
        "is a negative and fires": _with(windows, "activations", lambda v: v[negative].__setitem__(2, 1.0)),
        "never fires": _with(windows, "activations", lambda v: v.__setitem__(positive, [0.0] * 8)),
        "is stronger than": _with(windows, "kind", lambda v: v.__setitem__(positive, "quantile:0")),
        "different lengths": _with(windows, "tokens", lambda v: v[0].pop()),
        "belongs to no latent": _with(windows, "latent", lambda v: v.__setitem__(0, "nobody/1")),
        "recorded": windows.slice(1),
    }


def test_verify_accepts_a_good_suite_and_names_each_broken_rule(folder, tables):
    report = verify(load_suite(folder))
    assert report.ok, report.problems
    latents, windows, _ = tables
    for i, (rule, table) in enumerate(_broken(windows, latents).items()):
        path = folder.parent / f"broken-{i}"
        save_suite(path, {"name": "broken", "version": "1-0"}, latents, table)
        report = verify(load_suite(path))
        assert any(rule in p for p in report.problems), (rule, report.problems)


def test_show_fits_80_columns_and_marks_the_firing_tokens(folder):
    console = Console(width=80, record=True, force_terminal=False)
    with console.capture() as captured:
        console.print(show_suite(load_suite(folder), "sae-b/3"))
    text = captured.get()
    assert max(map(len, text.splitlines())) <= 80
    assert "sae-b/3" in text
    assert "<<" in text
    window = Window(0, "test", "quantile:3", (1, 2, 3, 4), (" a", " b", "[c]", "\n"), (0.0, 2.0, 1.0, 0.1), 0)
    assert marked(window) == " a<< b[c]>>\u23ce"


def test_the_manifest_says_the_digest(folder):
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["digest"] == load_suite(folder).digest
    assert not list(folder.glob("*.part"))
