"""Explanations that other tools wrote are read as they are, translated to the suite's latents, and counted on both sides."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from latentbench.explainers.explainer import load_explainer
from latentbench.explainers.file import FileExplainer
from latentbench.explainers.matched import Matched
from latentbench.kernel.errors import BenchError, CorruptTable, DataError, SpecError, UnknownName
from latentbench.kernel.foreign_ids import KnownCoder

from tests.builders.toy_latents import latent

CODERS = (KnownCoder("res9", "layers.9", "sae"), KnownCoder("mlp9", "layers.9.mlp", "sae"))
NEURONS = (KnownCoder("neurons3", "layers.3.mlp.down_proj:in", "neurons"),)
LATENTS = [f"{coder.name}/{i}" for coder in CODERS for i in range(3)]
HOSTILE = 'He said "no",\r\n=1+1\u2028🌊\\u0000 \u202e'


def reader(path: Path, **params: Any) -> FileExplainer:
    found = load_explainer({"use": "file", "params": {"path": str(path), **params}})
    assert isinstance(found, FileExplainer)
    return found


def met(path: Path, asked: list[str] = LATENTS, **params: Any) -> tuple[dict[str, str | None], Matched]:
    """What the explainer says of each latent, and what met what."""
    file = reader(path, **params)
    found = file.meet(CODERS, LATENTS, asked)
    return {name: file.parse(latent(name=name), [], 0, {}).text for name in asked}, found


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def pedia(index: int | str, text: str, **more: Any) -> dict[str, Any]:
    return {"modelId": "m", "layer": "9-res-jb", "index": str(index), "description": text, **more}


# --- Neuronpedia


def test_an_export_of_neuronpedia_in_batches(tmp_path: Path) -> None:
    full = {
        "id": "x",
        "authorId": "a",
        "embedding": [0.5] * 4,
        "umap_x": 1.0,
        "umap_cluster": 2,
        "unheard": {"of": [1]},
    }
    lines(tmp_path / "explanations" / "batch-0.jsonl.gz", [pedia(0, HOSTILE, **full), pedia(1, "one", **full)])
    lines(tmp_path / "explanations" / "batch-1.jsonl.gz", [pedia(7, "seven", **full)])
    lines(tmp_path / "features" / "batch-0.jsonl.gz", [{"modelId": "m", "layer": "9-res-jb", "index": "0"}])
    texts, found = met(tmp_path)
    assert (texts["res9/0"], texts["res9/1"], texts["res9/2"]) == (HOSTILE, "one", None)
    assert (found.layout, found.texts, found.strange, found.strange_like) == ("neuronpedia", 3, 1, ("m/9-res-jb/7",))
    assert (found.asked, found.without, found.without_like[0]) == (6, 4, "res9/2")
    assert [(p.place, p.coder, p.rule, p.texts) for p in found.places] == [("m/9-res-jb", "res9", "module", 2)]


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz"])
def test_rows_of_neuronpedia_with_every_optional_field_missing(tmp_path: Path, name: str) -> None:
    path = lines(tmp_path / name, [{"index": 2, "description": "two"}])
    with pytest.raises(DataError, match=r"may be of the coders res9, mlp9. Say which"):
        met(path)
    assert met(path, coders={"*": "mlp9"})[0]["mlp9/2"] == "two"


def test_of_several_methods_the_one_with_most_latents_is_taken(tmp_path: Path) -> None:
    a, b = ({"typeName": name, "explanationModelName": "gpt"} for name in ("oai_token-act-pair", "np_max-act"))
    rows = [
        pedia(0, "a0", **a),
        pedia(0, "b0 old", **b, createdAt="2024-01-01T00:00:00Z"),
        pedia(0, "b0", **b, createdAt="2025-01-01T00:00:00Z"),
        pedia(1, "b1", **b),
        pedia(0, "none of them"),
    ]
    path = lines(tmp_path / "x.jsonl", rows)
    texts, found = met(path)
    assert (texts["res9/0"], texts["res9/1"]) == ("b0", "b1")
    assert (found.method, found.aside) == ({"typeName": "np_max-act", "explanationModelName": "gpt"}, 3)
    assert any("typeName np_max-act" in line and "3 others" in line for line in found.sentences("mine"))
    texts, found = met(path, where={"typeName": "oai_token-act-pair"})
    assert (texts["res9/0"], texts["res9/1"], found.aside) == ("a0", None, 0)
    with pytest.raises(DataError, match="no explanation that was asked for"):
        met(path, where={"typeName": "unheard"})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2025-01-02T00:30:00+02:00", "2025-01-01T23:00:00Z"),  # as texts they sort the other way
        ("2025-03-01 00:00:00", "2025-03-01T00:00:00.001Z"),
        (1735689600, 1735689600001),
        ("", "2020-01-01"),
        (None, "2020-01-01"),
    ],
)
def test_the_newest_text_is_the_newest_however_its_time_is_written(tmp_path: Path, old: object, new: object) -> None:
    rows = [pedia(0, "new", createdAt=new), pedia(0, "old", createdAt=old)]
    assert met(lines(tmp_path / "x.jsonl", rows))[0]["res9/0"] == "new"


@pytest.mark.parametrize("made", ["yesterday", True, [1], 1e300])
def test_a_time_that_is_none_is_named(tmp_path: Path, made: object) -> None:
    with pytest.raises(CorruptTable, match=r"x.jsonl line 1: createdAt is .*, expected a time"):
        met(lines(tmp_path / "x.jsonl", [pedia(0, "a", createdAt=made)]))


# --- delphi


def test_a_result_folder_of_delphi(tmp_path: Path) -> None:
    place = tmp_path / "explanations"
    place.mkdir()
    for name, text in {"layers.9_latent0": HOSTILE, "layers.9.mlp_latent1": "", "layers.4_latent2": "x"}.items():
        (place / f"{name}.txt").write_bytes(json.dumps(text).encode())
    (tmp_path / "scores" / "fuzz").mkdir(parents=True)
    (tmp_path / "scores" / "fuzz" / "layers.9_latent0.txt").write_text("[]", encoding="utf-8")
    for folder in (tmp_path, place):
        texts, found = met(folder)
        assert (texts["res9/0"], texts["mlp9/1"]) == (HOSTILE, "")
        assert (found.layout, found.strange_like) == ("delphi", ("layers.4_latent2",))
    assert met(place / "layers.9_latent0.txt")[0]["res9/0"] == HOSTILE


def test_a_result_of_delphi_is_found_below_and_of_several_none_is_taken(tmp_path: Path) -> None:
    """As `bench export --to delphi` writes them: EXPLAINER/JUDGE/explanations, with scores of the same names beside."""

    def result(judge: str, text: str) -> Path:
        place = tmp_path / "mine" / judge
        for part, held in (("explanations", text), ("scores/detection", [{"text": "x"}])):
            (place / part / "deep").mkdir(parents=True)
            for name in ("layers.9_latent0", "deep/layers.4_latent2"):
                (place / part / f"{name}.txt").write_bytes(json.dumps(held).encode())
        return place

    one = result("one", HOSTILE)
    for folder in (tmp_path, tmp_path / "mine", one):
        texts, found = met(folder)
        assert (texts["res9/0"], found.layout, found.strange) == (HOSTILE, "delphi", 1)
    result("two", "other")
    with pytest.raises(
        DataError, match=r"has 2 results of delphi, mine/one, mine/two\. Name the folder of one of them"
    ):
        met(tmp_path)
    assert met(one)[0]["res9/0"] == HOSTILE


def test_the_key_of_a_folder_follows_what_is_read_of_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "explanations").mkdir(parents=True)
        (tmp_path / name / "explanations" / "layers.9_latent0.txt").write_text('"x"', encoding="utf-8")
    one, two = (reader(tmp_path / name).key({}) for name in ("a", "b"))
    assert one == two
    (tmp_path / "b" / "run_config.json").write_text("{}", encoding="utf-8")
    assert reader(tmp_path / "b").key({}) == one
    (tmp_path / "b" / "explanations" / "layers.9_latent0.txt").write_text('"y"', encoding="utf-8")
    assert reader(tmp_path / "b").key({}) != one


# --- SAEBench


def test_results_of_saebench(tmp_path: Path) -> None:
    rows = {
        "0": {"latent": 0, "explanation": HOSTILE, "predictions": [1], "correct seqs": [1], "score": 1.0, "logs": ""}
    }
    rows |= {"9": {"explanation": "nine"}, "1": {"explanation": None, "unheard": 1}}
    result = {"eval_type_id": "autointerp", "sae_lens_id": "blocks.9.hook_resid_post", "eval_result_unstructured": rows}
    path = tmp_path / "some_eval_results.json"
    for value in (result, {"release": result}):
        path.write_text(json.dumps(value), encoding="utf-8")
        texts, found = met(path)
        assert (texts["res9/0"], texts["res9/1"], found.layout, found.strange) == (HOSTILE, None, "saebench", 1)
    assert met(tmp_path)[0]["res9/0"] == HOSTILE
    bare = {"eval_result_unstructured": {"2": {"explanation": "two"}}}
    path.write_text(json.dumps(bare), encoding="utf-8")
    assert met(path, coders={"*": "mlp9"})[0]["mlp9/2"] == "two"


# --- OpenAI


def neuron(layer: int, index: int, *texts: str) -> dict[str, Any]:
    scored = [{"explanation": text, "scored_simulation": {"ev_correlation_score": float("nan")}} for text in texts]
    return {"neuron_id": {"layer_index": layer, "neuron_index": index}, "scored_explanations": scored}


def test_neurons_of_openai(tmp_path: Path) -> None:
    place = tmp_path / "explanations" / "3"
    lines(place / "0.jsonl", [neuron(3, 0, HOSTILE, "the second") | {"dataclass_name": "NeuronSimulationResults"}])
    lines(place / "1.jsonl", [neuron(3, 1)])
    file = reader(tmp_path)
    found = file.meet(NEURONS, ["neurons3/0", "neurons3/1"], ["neurons3/0", "neurons3/1"])
    assert file.parse(latent(name="neurons3/0"), [], 0, {}).text == HOSTILE
    assert (found.layout, found.aside, found.without_like) == ("openai", 1, ("neurons3/1",))
    assert reader(place / "0.jsonl").layout == "openai"


# --- any columns


@pytest.mark.parametrize(
    ("rows", "params"),
    [
        ([{"feature_id": "res9/0", "explanation": "x"}], {}),
        ([{"Latent": "layers.9_latent0", "Description": "x", "text": "an excerpt"}], {}),
        ([{"hookpoint": "layers.9", "index": 0, "interpretation": "x"}], {}),
        ([{"layer": 9, "feature": 0, "label": "x"}], {"coders": {"9": "res9"}}),
        ([{"which": 0, "says": "x"}], {"id_column": "which", "text_column": "says", "coders": {"*": "res9"}}),
        ([{"latent": "L9/0", "text": "x"}], {"coders": {"L9": "res9"}}),
        ([{"id": "u1", "latent": "res9/0", "text_json": '"x"', "text": "'x"}], {}),
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".csv", ".tsv", ".parquet", ".json"])
def test_tables_with_any_columns(
    tmp_path: Path, suffix: str, rows: list[dict[str, Any]], params: Mapping[str, Any]
) -> None:
    path = tmp_path / f"x{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix in (".csv", ".tsv"):
        import pandas as pd

        pd.DataFrame(rows).to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    elif suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        lines(path, rows)
    texts, found = met(path, **params)
    assert (texts["res9/0"], found.without) == ("x", 5)


def test_whole_numbers_of_a_column_with_an_empty_cell(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("sae,feature,explanation\nres9,1.0,a\nmlp9,2.00,b\n", encoding="utf-8")
    texts, found = met(tmp_path / "x.csv")
    assert (texts["res9/1"], texts["mlp9/2"], found.strange) == ("a", "b", 0)


def test_a_number_that_is_not_read_may_be_none(tmp_path: Path) -> None:
    file = lines(tmp_path / "x.jsonl", [pedia(1, "a", umap_x=float("nan"), umap_y=float("inf"))])
    assert met(file)[0]["res9/1"] == "a"


def test_files_that_an_archiver_left_are_no_explanations(tmp_path: Path) -> None:
    folder = tmp_path / "explanations"
    folder.mkdir()
    (folder / "layers.9_latent1.txt").write_text('"a"', encoding="utf-8")
    (folder / "._layers.9_latent1.txt").write_bytes(b"\0\5\x16\7")
    assert met(tmp_path)[0]["res9/1"] == "a"


def test_a_json_object_of_texts(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"res9/0": HOSTILE, "res9/1": None}), encoding="utf-8")
    assert met(tmp_path / "x.json")[0] == dict.fromkeys(LATENTS) | {"res9/0": HOSTILE}


# --- what is wrong, and where


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "x.jsonl",
            '{"index": "1", "description": "a"}\n{"index": null, "description": "b"}\n',
            "line 2: index is None",
        ),
        (
            "x.jsonl",
            '{"index": "1", "description": "a"}\n{"index": "2", "description": 5}\n',
            "line 2: description is 5",
        ),
        ("x.jsonl", '{"index": "1", "description": "a"}\n[]\n', "line 2 is not an object"),
        ("x.jsonl", '{"index": "1", "description": "a"}\n{"ind', "near line 2"),
        ("x.jsonl", '{"scored_explanations": [], "neuron_id": 3}\n', "line 1 has no neuron_id"),
        ("x.jsonl", '{"scored_explanations": 1, "neuron_id": {}}\n', "line 1: scored_explanations is no list"),
        ("x.json", '{"eval_result_unstructured": [1]}', "expected an object by latent"),
        ("x.json", '{"eval_result_unstructured": {"1": 2}}', "'1' is a int"),
        ("x.json", "3", "neither a list of objects"),
        ("x.json", "{", "cannot be read"),
        ("layers.9_latent1.txt", "[1]", "holds a list, as a score is"),
        ("layers.9_latent1.txt", "words", "delphi writes one JSON string"),
        ("x.csv", "feature,explanation\n1,a,b\n", "line 2 has more cells"),
        ("x.csv", "latent,text\nres9/1,a,b\n", "line 2 has more cells"),
        ("x.csv", "latent,text,text\nres9/1,a,b\n", "two columns 'text'"),
        ("x.csv", "feature,label,label\n1,a,b\n", "two columns 'label'"),
        ("x.csv", 'latent,text\nres9/1,"a\nres9/2,b\n', "unexpected end of data"),
        ("x.csv", 'latent,text\nres9/1,"a" word\n', "expected after"),
        ("x.tsv", 'feature\texplanation\n1\t"a\n2\tb\n', "unexpected end of data"),
        ("x.csv", "latent,text_json\n1,words\n", "line 2: text_json is no JSON"),
        ("x.csv", "a,b\n1,words\n", "no column 'latent'"),
        ("x.tsv", "a\tb\n1\twords\n", "Name them"),
        ("x.xlsx", "x", "suffix must be one of"),
        ("x.txt", "x", "suffix must be one of"),
    ],
)
def test_a_bad_file_is_one_message_with_its_place(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(BenchError, match=said) as caught:
        met(tmp_path / name)
    assert name in str(caught.value)


def test_wrong_options_are_one_message(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", [pedia(0, "a")])
    with pytest.raises(DataError, match="'layers.8' is no place of the file, whose places are 'm/9-res-jb'"):
        met(path, coders={"layers.8": "res9"})
    with pytest.raises(UnknownName, match="res9"):
        met(path, coders={"*": "res8"})
    with pytest.raises(SpecError, match="no column 'words'"):
        met(path, text_column="words", id_column="index")
    with pytest.raises(CorruptTable, match="no neuron_id"):
        met(path, layout="openai")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="a folder without explanations"):
        met(tmp_path / "folder")
    with pytest.raises(DataError, match="holds no files of the layout delphi"):
        met(tmp_path / "folder", layout="delphi")
    (tmp_path / "folder" / "layers.9_latent1.txt").write_text('"a"', encoding="utf-8")
    with pytest.raises(SpecError, match="leave `where` out"):
        met(tmp_path / "folder", where={"a": "b"})


def test_two_ids_of_one_latent_must_agree(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", [{"latent": "res9/0", "text": "a"}, {"latent": "layers.9_latent0", "text": "b"}])
    with pytest.raises(DataError, match="are both latent res9/0"):
        met(path)


def test_latents_of_the_file_and_of_the_run_are_counted_apart(tmp_path: Path) -> None:
    rows = [{"latent": "res9/0", "text": "a"}, {"latent": "res9/1", "text": None}, {"latent": "res9/99", "text": "b"}]
    texts, found = met(lines(tmp_path / "x.jsonl", rows), asked=["res9/0", "res9/1"], extra=True)
    assert texts == {"res9/0": "a", "res9/1": None}
    assert (found.texts, found.strange, found.strange_like) == (3, 1, ("res9/99",))
    assert (found.asked, found.without, found.without_like) == (2, 1, ("res9/1",))
    assert found.sentences("mine") == [
        "mine (rows): 1 of the 2 latents of this run have a text, 1 have none (res9/1); of 3 latents of the file, 1 are not "
        "in the suite (res9/99)"
    ]


def test_a_file_about_other_latents_of_the_suite_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    rows = [{"latent": "res9/0", "text": "a"}, {"latent": "res9/1", "text": None}]
    path = lines(tmp_path / "x.jsonl", rows)
    with pytest.raises(
        DataError, match=r"no text for any of the 2 latents of this run, such as 'res9/1'. It has one for 1 oth"
    ):
        met(path, asked=["res9/1", "res9/2"])


def test_a_cell_of_a_table_may_be_long(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(f"latent,explanation\nres9/0,{'long ' * 50_000}\n", encoding="utf-8")
    assert met(tmp_path / "x.csv")[0]["res9/0"] == "long " * 50_000


UNICODE = st.text(st.characters(exclude_categories=("Cs",)))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.integers(0, 2), UNICODE, min_size=1))
def test_every_layout_carries_any_text(tmp_path_factory: pytest.TempPathFactory, texts: dict[int, str]) -> None:
    base = tmp_path_factory.mktemp("texts")
    for i, text in texts.items():
        (base / "delphi").mkdir(exist_ok=True)
        (base / "delphi" / f"layers.9_latent{i}.txt").write_bytes(json.dumps(text, ensure_ascii=False).encode())
    lines(base / "pedia.jsonl.gz", [pedia(i, text) for i, text in texts.items()])
    rows = {str(i): {"latent": i, "explanation": text} for i, text in texts.items()}
    result = {"sae_lens_id": "res9", "eval_result_unstructured": rows}
    (base / "s_eval_results.json").write_text(json.dumps(result), encoding="utf-8")
    pq.write_table(
        pa.table({"hookpoint": ["layers.9"] * len(texts), "index": [*texts], "label": [*texts.values()]}),
        base / "t.parquet",
    )
    for name in ("delphi", "pedia.jsonl.gz", "s_eval_results.json", "t.parquet"):
        found, _ = met(base / name)
        assert {i: found[f"res9/{i}"] for i in texts} == texts, name
