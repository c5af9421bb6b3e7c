"""A run in another tool's layout is that tool's files, and every layout that carries explanations gives them back unchanged."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from latentbench.exchange.exported_run import ExportedRun
from latentbench.exchange.exporting import WRITERS, export
from latentbench.exchange.flat_files import as_json
from latentbench.exchange.hub_files import TABLES
from latentbench.explainers.explainer import load_explainer
from latentbench.explainers.file import FileExplainer
from latentbench.kernel.errors import DataError, RunError, SpecError, UnknownName
from latentbench.kernel.foreign_ids import KnownCoder
from latentbench.kernel.identity import text_digest
from latentbench.kernel.tables import EXPLANATIONS, JUDGEMENTS, read_table, write_table
from latentbench.runs.finished import load_run

from tests.builders.run_builder import Grid, build_run, build_suite, set_suite_digest

CODERS = [KnownCoder("res9", "layers.1", "sae")]
GRID = Grid(
    coders={"res9": 4},
    explainers={"llm": 0.8, "tokens": 0.7, "shuffled": 0.5},
    scorers=("detection", "fuzzing"),
    windows=6,
    fail=0.1,
)
HOSTILE = ['=1+1;=HYPERLINK("x")', "line\r\nbreak\ttab", '"quoted", \\ and \u0000 \u2028', "🌊 é \u202e", ""]
PLACES = {
    "neuronpedia": "*/res9",
    "delphi": "llm/mock",
    "saebench": "llm/detection-mock",
    "hf": "",
    "csv": "explanations.csv",
}
"""Where under a folder the `file` explainer finds the explanations of `llm`."""


def with_texts(folder: Path, texts: Mapping[str, str | None], explainer: str = "llm") -> None:
    """Give an explainer of a synthetic run other texts; what was judged is told alike."""
    hashes = {latent: text_digest(text or "") for latent, text in texts.items()}
    path = folder / "explanations.parquet"
    rows = read_table(path, EXPLANATIONS).to_pylist()
    for row in rows:
        if row["explainer"] == explainer:
            text = texts[row["latent"]]
            row |= {"text": text, "hash": hashes[row["latent"]], "outcome": "ok" if text is not None else "parse"}
    write_table(pa.Table.from_pylist(rows, schema=EXPLANATIONS), path)
    path = folder / "judgements.parquet"
    rows = read_table(path, JUDGEMENTS).to_pylist()
    for row in rows:
        if row["explainer"] == explainer:
            row["explanation"] = hashes[row["latent"]]
    write_table(pa.Table.from_pylist(rows, schema=JUDGEMENTS), path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose suite is on this machine, with hostile texts and one that is missing."""
    base = tmp_path_factory.mktemp("run")
    suite, digest = build_suite(base / "suite", GRID)
    folder = build_run(base / "r1", GRID)
    set_suite_digest(folder, digest)
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    record["spec"]["suite"] = str(suite)
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    with_texts(folder, dict(zip([f"res9/{i}" for i in range(4)], [*HOSTILE[:3], None], strict=True)))
    return folder


def read_back(place: Path, **params: Any) -> dict[str, str | None]:
    """Texts per latent, as the `file` explainer reads them."""
    from tests.builders.toy_latents import latent

    file = load_explainer({"use": "file", "params": {"path": str(place), "extra": True, **params}})
    assert isinstance(file, FileExplainer)
    latents = [f"res9/{i}" for i in range(4)]
    file.meet(CODERS, latents, latents)
    return {name: file.parse(latent(name=name), [], 0, {}).text for name in latents}


def places(out: Path, to: str) -> tuple[Path, dict[str, Any]]:
    """Where the explanations of `llm` are, and how they are chosen."""
    place = next(iter(out.glob(PLACES[to]))) if PLACES[to] else out
    where = {"neuronpedia": {"typeName": "llm"}, "hf": {"explainer": "llm"}, "csv": {"explainer": "llm"}}
    return place, {"where": where[to]} if to in where else {}


@pytest.mark.parametrize("to", sorted(PLACES))
def test_what_is_exported_is_read_back_unchanged(run: Path, tmp_path: Path, to: str) -> None:
    written = export(run, to, tmp_path / to)
    assert written.files == sum(1 for p in (tmp_path / to).rglob("*") if p.is_file()) - 1 > 0
    place, params = places(tmp_path / to, to)
    assert read_back(place, **params) == dict(zip([f"res9/{i}" for i in range(4)], [*HOSTILE[:3], None], strict=True))


def test_an_export_for_neuronpedia_is_found_from_the_folder_that_was_named(run: Path, tmp_path: Path) -> None:
    export(run, "neuronpedia", tmp_path / "n")
    place, params = places(tmp_path / "n", "neuronpedia")
    found = read_back(place, **params)
    assert any(found.values())
    assert read_back(tmp_path / "n", **params) == read_back(place.parent, **params) == found


@pytest.mark.parametrize(
    ("said", "shown"), [("/home/somebody/models/llama-2l", "llama-2l"), ("org/llama", "org/llama")]
)
def test_the_path_of_a_local_subject_stays_on_its_machine(run: Path, said: str, shown: str) -> None:
    held = ExportedRun(load_run(run), 0, ())
    assert held.suite is not None
    held.__dict__["suite"] = replace(held.suite, manifest={**held.suite.manifest, "subject": {"model": said}})
    assert held.subject == shown


TEXTS = st.lists(
    st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=("Cs",)))), min_size=4, max_size=4
)


@settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(TEXTS)
def test_any_text_is_read_back_unchanged(run: Path, tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    import shutil

    base = tmp_path_factory.mktemp("any")
    folder = Path(shutil.copytree(run, base / "r1"))
    named = dict(zip([f"res9/{i}" for i in range(4)], texts, strict=True))
    with_texts(folder, named)
    # Parquet holds texts as they are, and the card of `hf` takes long.
    for to in set(PLACES) - {"hf"}:
        export(folder, to, base / to, explainers=("llm",))
        place, params = places(base / to, to)
        assert read_back(place, **params) == named, to


def test_a_repeat_is_chosen_by_its_number(run: Path, tmp_path: Path) -> None:
    export(run, "csv", tmp_path / "c")
    where = {"explainer": "llm", "repeat": 0}
    assert read_back(tmp_path / "c" / "explanations.csv", where=where)["res9/0"] == HOSTILE[0]
    rows = csv.DictReader(io.StringIO((tmp_path / "c" / "scores.csv").read_text(encoding="utf-8")))
    assert all(row[name].isdecimal() for row in rows for name in ("repeat", "n_judged", "n_attempted"))


def test_every_layout_holds_the_explainers_that_are_named_and_no_other(run: Path, tmp_path: Path) -> None:
    export(run, "hf", tmp_path / "hf", explainers=("llm",))
    for name, schema in TABLES.items():
        assert set(read_table(tmp_path / "hf" / f"{name}.parquet", schema)["explainer"].to_pylist()) == {"llm"}
    assert "shuffled" not in (tmp_path / "hf" / "README.md").read_text(encoding="utf-8")


def test_scores_that_share_a_type_and_embeddings_that_failed(tmp_path: Path) -> None:
    grid = Grid(coders={"res9": 4}, explainers={"llm": 0.8}, scorers=("embedding",), windows=6, fail=0.3)
    folder = build_run(tmp_path / "r1", grid)
    export(folder, "delphi", tmp_path / "d")
    files = list((tmp_path / "d" / "llm" / "mock" / "scores" / "embedding").iterdir())
    rows = [row for file in files for row in json.loads(file.read_text(encoding="utf-8"))]
    assert 0 < len(rows) < 24
    assert all(isinstance(row["similarity"], float) for row in rows)


def test_delphis_files(run: Path, tmp_path: Path) -> None:
    export(run, "delphi", tmp_path / "d")
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == ["export.json", "llm", "tokens"]
    place = tmp_path / "d" / "llm" / "mock"
    raw = (place / "explanations" / "layers.1_latent0.txt").read_bytes()
    assert json.loads(raw) == HOSTILE[0]
    assert not raw.endswith(b"\n")
    assert sorted(p.name for p in (place / "scores").iterdir()) == ["detection", "fuzz"]
    rows = json.loads((place / "scores" / "fuzz" / "layers.1_latent0.txt").read_text(encoding="utf-8"))
    fields = ["str_tokens", "activations", "distance", "activating", "prediction", "probability", "correct"]
    assert len(rows) == 6
    assert all(list(row) == fields for row in rows)
    for row in rows:
        assert row["correct"] is (None if row["prediction"] is None else row["prediction"] == row["activating"])
        assert (row["distance"] > 0) == row["activating"] or row["distance"] == -1
    config = json.loads((place / "run_config.json").read_text(encoding="utf-8"))
    assert (config["hookpoints"], config["scorers"], config["cache_cfg"]) == (["layers.1"], ["detection", "fuzz"], None)


def test_neuronpedias_files(run: Path, tmp_path: Path) -> None:
    written = export(run, "neuronpedia", tmp_path / "n")
    (place,) = (tmp_path / "n").glob("*/res9")
    rows, scores = (
        [json.loads(line) for line in gzip.decompress((place / name / "batch-0.jsonl.gz").read_bytes()).splitlines()]
        for name in ("explanations", "scores")
    )
    assert {row["typeName"] for row in rows} == {"llm", "tokens"}
    assert len({tuple(row) for row in rows}) == 1, "the importer takes the first line's keys for all"
    assert all(isinstance(row["index"], str) and row["layer"] == "res9" for row in rows)
    assert {s["explanationId"] for s in scores} <= {row["id"] for row in rows}
    assert {s["explanationScoreTypeName"] for s in scores} == {"eleuther_recall", "eleuther_fuzz"}
    detail = json.loads(scores[0]["jsonDetails"])[0]
    assert {"str_tokens", "activations", "ground_truth", "prediction", "correct"} <= set(detail)
    assert any("authorId" in note for note in written.notes)
    export(run, "neuronpedia", tmp_path / "again")
    assert (place / "scores" / "batch-0.jsonl.gz").read_bytes() == next(
        (tmp_path / "again").glob("*/res9/scores/*")
    ).read_bytes()


def test_saebenchs_files(run: Path, tmp_path: Path) -> None:
    written = export(run, "saebench", tmp_path / "s", explainers=("tokens",))
    (path,) = (tmp_path / "s" / "tokens" / "fuzzing-mock").iterdir()
    found = json.loads(path.read_text(encoding="utf-8"))
    assert path.name == "res9_eval_results.json"
    rows = found["eval_result_unstructured"]
    values = [row["score"] for row in rows.values()]
    assert found["eval_result_metrics"]["autointerp"]["autointerp_score"] == pytest.approx(sum(values) / len(values))
    assert rows["2"]["latent"] == 2
    assert rows["2"]["predictions"] is None
    assert any("null" in note for note in written.notes)


def test_a_card_states_no_licence_and_holds_no_markup_from_outside(run: Path, tmp_path: Path) -> None:
    written = export(run, "hf", tmp_path / "h")
    text = (tmp_path / "h" / "README.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    said = yaml.safe_load(front)
    assert "license" not in said
    assert [c["data_files"] for c in said["configs"]] == [
        "explanations.parquet",
        "judgements.parquet",
        "scores.parquet",
    ]
    assert "shuffled (floor)" in body
    assert any("licence" in note for note in written.notes)


def test_no_cell_of_the_tables_is_a_formula(run: Path, tmp_path: Path) -> None:
    export(run, "csv", tmp_path / "c")
    for name in ("explanations.csv", "scores.csv"):
        rows = list(csv.reader(io.StringIO((tmp_path / "c" / name).read_text(encoding="utf-8"), newline="")))
        assert len(rows) > 4
        assert not [cell for row in rows for cell in row if len(cell) > 1 and cell[0] in "=+@\t"]


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_a_text_in_json_means_nothing_to_a_spreadsheet(text: str) -> None:
    from latentbench.views import escape

    written = as_json(text)
    assert json.loads(written) == text
    assert escape.csv(written) == written


def test_logs_for_inspect(run: Path, tmp_path: Path) -> None:
    export(run, "inspect", tmp_path / "i")
    logs = {
        p.name.split("_", 1)[1]: json.loads(p.read_text(encoding="utf-8")) for p in (tmp_path / "i").glob("*_mock.json")
    }
    assert len(logs) == 6
    log = logs["llm_fuzzing_mock.json"]
    assert [(s["id"], s["input"]) for s in log["samples"]][:3] == [(f"res9/{i}", HOSTILE[i]) for i in range(3)]
    assert log["results"]["total_samples"] == 4


@pytest.mark.parametrize("to", sorted(WRITERS))
def test_a_run_whose_suite_is_not_here_is_exported_without_tokens(tmp_path: Path, to: str) -> None:
    folder = build_run(tmp_path / "r1", GRID)
    written = export(folder, to, tmp_path / "out")
    assert written.files
    if to in ("delphi", "neuronpedia"):
        assert any("windows have no tokens" in note for note in written.notes)


def test_a_folder_is_not_written_over(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("work", encoding="utf-8")
    for force in (False, True):
        with pytest.raises(DataError, match="no export has made it"):
            export(run, "csv", out, force=force)
    assert (out / "mine.txt").read_text(encoding="utf-8") == "work"
    export(run, "csv", tmp_path / "e")
    with pytest.raises(DataError, match="--force replaces it"):
        export(run, "csv", tmp_path / "e")
    export(run, "hf", tmp_path / "e", force=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e", "out"]
    assert not (tmp_path / "e" / "scores.csv").exists()


def test_a_writer_that_fails_leaves_the_old_folder(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(run, "csv", tmp_path / "e")

    def half(exported: object, folder: Path) -> None:
        (folder / "x").write_text("half", encoding="utf-8")
        raise RunError("no more")

    monkeypatch.setattr("latentbench.exchange.exporting.WRITERS", {"csv": half})
    for out in (tmp_path / "e", tmp_path / "new"):
        with pytest.raises(RunError, match="no more"):
            export(run, "csv", out, force=True)
    assert (tmp_path / "e" / "scores.csv").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e"]


def test_wrong_options_are_one_message(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="neuronpedia"):
        export(run, "neuronpedi", tmp_path / "x")
    with pytest.raises(UnknownName, match="tokens"):
        export(run, "csv", tmp_path / "x", explainers=("token",))
    with pytest.raises(SpecError, match="no repeat 1"):
        export(run, "csv", tmp_path / "x", repeat=1)
    assert not (tmp_path / "x").exists()


# --- the tools' own readers, each in an environment of its own: LATENTBENCH_INSPECT_PYTHON=.../bin/python and so on


def by(variable: str, code: str, *arguments: Path) -> str:
    """What a program prints in the environment that a variable names."""
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"{variable} names no Python that has the library")
    ran = subprocess.run(
        [python, "-c", code, *map(str, arguments)], capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout


INSPECT = """
import sys
from pathlib import Path
from inspect_ai.log import list_eval_logs, read_eval_log
names = [p for p in Path(sys.argv[1]).glob("*_mock.json")]
for path in sorted(names):
    log = read_eval_log(str(path))
    scored = [s for s in log.samples if s.scores]
    print(path.name.split("_", 1)[1], log.status, len(log.samples), log.results.scores[0].scored_samples == len(scored))
print("listed", len(list_eval_logs(sys.argv[1])))
"""


def test_inspect_reads_its_logs(run: Path, tmp_path: Path) -> None:
    export(run, "inspect", tmp_path / "i")
    said = by("LATENTBENCH_INSPECT_PYTHON", INSPECT, tmp_path / "i").splitlines()
    assert "llm_fuzzing_mock.json success 4 True" in said
    assert len([line for line in said if " success 4 True" in line]) == 6
    assert f"listed {len(list((tmp_path / 'i').glob('*T*_mock.json')))}" in said


NEURONPEDIA = """
import gzip, json, sys
from neuronpedia.np_explanation import Explanation
for line in gzip.open(sys.argv[1], "rt", encoding="utf-8", newline="\\n"):
    row = json.loads(line)
    # The client calls a source what rows of the database and of the exports call a layer.
    found = Explanation.from_np_db_json(row | {"source": row["layer"]})
    print(json.dumps([found.source, found.index, found.text, found.method]))
"""


def test_neuronpedias_client_reads_its_rows(run: Path, tmp_path: Path) -> None:
    export(run, "neuronpedia", tmp_path / "n")
    (path,) = (tmp_path / "n").glob("*/res9/explanations/*")
    rows = [json.loads(line) for line in by("LATENTBENCH_NEURONPEDIA_PYTHON", NEURONPEDIA, path).splitlines()]
    assert ["res9", 0, HOSTILE[0], "llm"] in rows
    assert len(rows) == 7


DELPHI = """
import sys
from pathlib import Path
from delphi.log.result_analysis import get_agg_metrics, load_data
found = load_data(Path(sys.argv[1]) / "scores", ["layers.1"])
table = found[0] if isinstance(found, tuple) else found
print("rows", len(table), sorted(set(table["score_type"])), sorted(set(table["latent_idx"])))
counts = found[1] if isinstance(found, tuple) else None
print(get_agg_metrics(table, counts).to_dict("list")["score_type"])
"""


def test_delphi_reads_its_scores(run: Path, tmp_path: Path) -> None:
    export(run, "delphi", tmp_path / "d")
    said = by("LATENTBENCH_DELPHI_PYTHON", DELPHI, tmp_path / "d" / "tokens" / "mock")
    assert "rows 48 ['detection', 'fuzz'] [0, 1, 2, 3]" in said
