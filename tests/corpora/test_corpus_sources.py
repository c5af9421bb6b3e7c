"""Sources of text: which files in which order, which column, and what becomes of rows that hold nothing there."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from latentbench.corpora.contexts import ContextSettings, Tally, contexts
from latentbench.corpora.corpus import anchored, corpus_identity, documents
from latentbench.corpora.corpus_spec import HfCorpus, JsonlCorpus, ParquetCorpus
from latentbench.corpora.hub import _asked
from latentbench.corpora.left_out import LeftOut, said
from latentbench.kernel.errors import DataError, EmptyCorpus
from latentbench.models.language_model import Loaded
from latentbench.subject.activations.activations import collect
from latentbench.subject.coders.coder_spec import CoderSpec, load_coder

from tests.conftest import SENTENCES
from tests.corpora.test_corpora import spec


def read(folder: Path, **fields: Any) -> tuple[list[Any], dict[str, Any]]:
    """Documents of a corpus, and what was left out."""
    left_out = LeftOut()
    found = [
        d if isinstance(d, str) else d.tolist() for d in documents(anchored(spec(**fields), folder), None, left_out)
    ]
    return found, left_out.as_dict()


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def zst(text: str) -> bytes:
    return bytes(pa.Codec("zstd").compress(text.encode(), asbytes=True))


# ---- files and their order


def test_zstd_is_read_frame_after_frame_and_is_the_same_corpus(tmp_path: Path) -> None:
    text = lines({"text": "one"}, {"text": "two"})
    (tmp_path / "a.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "a.jsonl.zst").write_bytes(zst(lines({"text": "one"})) + zst(lines({"text": "two"})))
    assert read(tmp_path, kind="jsonl", path="a.jsonl.zst")[0] == ["one", "two"]
    names = ("a.jsonl", "a.jsonl.zst")
    assert len({corpus_identity(anchored(spec(kind="jsonl", path=n), tmp_path)) for n in names}) == 1
    whole = zst("".join(f'{{"text": "{np.random.default_rng(i).bytes(40).hex()}"}}\n' for i in range(200)))
    (tmp_path / "cut.jsonl.zst").write_bytes(whole[:-60])
    with pytest.raises(DataError, match=r"cut\.jsonl\.zst breaks off after line \d+"):
        read(tmp_path, kind="jsonl", path="cut.jsonl.zst")
    (tmp_path / "bomb.jsonl.zst").write_bytes(zst(" " * (200 << 20)))
    with pytest.raises(DataError, match="LATENTBENCH_READ_LIMIT"):
        corpus_identity(anchored(spec(kind="jsonl", path="bomb.jsonl.zst"), tmp_path))


def test_a_folder_stands_for_its_files_sorted_and_no_file_is_read_twice(tmp_path: Path) -> None:
    for name in ("b/2.jsonl", "b/10.jsonl", "a.jsonl", "b/.hidden.jsonl", ".cache/c.jsonl", "b/notes.txt"):
        path = tmp_path / "c" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(lines({"text": name}), encoding="utf-8")
    assert read(tmp_path, kind="jsonl", path="c")[0] == ["a.jsonl", "b/10.jsonl", "b/2.jsonl"]
    assert read(tmp_path, kind="jsonl", path=["c/b/2.jsonl", "c"])[0] == ["b/2.jsonl", "a.jsonl", "b/10.jsonl"]
    assert read(tmp_path, kind="text", path="c")[0] == [lines({"text": "b/notes.txt"})]
    with pytest.raises(DataError, match=r"no corpus file at .*c with files that end in \.parquet"):
        read(tmp_path, kind="parquet", path="c")


def test_parquet_is_read_in_order_over_row_groups_and_files(tmp_path: Path) -> None:
    texts = [f"text {i % 7}" for i in range(5000)]
    pq.write_table(pa.table({"text": texts, "n": range(5000)}), tmp_path / "a.parquet", row_group_size=700)
    pq.write_table(pa.table({"text": pa.array(["last"], pa.large_string())}), tmp_path / "b.parquet")
    assert read(tmp_path, kind="parquet", path="*.parquet") == ([*texts, "last"], {})
    assert read(tmp_path, kind="parquet", path="a.parquet", limit_documents=3)[0] == texts[:3]


def test_one_long_text_in_every_row_of_a_parquet_file_is_refused(tmp_path: Path) -> None:
    table = pa.table({"text": pa.array(["x" * 1_000_000] * 600).dictionary_encode()})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", write_statistics=False)
    with pytest.raises(DataError, match=r"a\.parquet cannot be read after row \d+: .*LATENTBENCH_READ_LIMIT"):
        for _ in documents(ParquetCorpus(path=(str(tmp_path / "a.parquet"),))):
            pass


def test_csv_has_names_in_its_first_line_and_texts_over_several(tmp_path: Path) -> None:
    long = "word " * 60_000
    rows = ["id,body", "1,plain", '2,"a, ""b""', 'second line"', "3,", "4", f"5,{long}"]
    with gzip.open(tmp_path / "a.csv.gz", "wt", encoding="utf-8") as f:
        f.write("\n".join(rows) + "\n")
    found, left_out = read(tmp_path, kind="csv", path="a.csv.gz", text_field="body")
    assert found == ["plain", 'a, "b"\nsecond line', long]
    assert left_out == {
        "empty": {"rows": 1, "first": ["a.csv.gz, line 5"]},
        "missing": {"rows": 1, "first": ["a.csv.gz, line 6"]},
    }
    (tmp_path / "bad.csv").write_text('text\n"never closed', encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.csv is no CSV"):
        read(tmp_path, kind="csv", path="bad.csv")


# ---- rows


ROWS = [
    {"text": "fine"},
    {"text": None},
    {"body": "x"},
    {"text": ""},
    {"text": " \n\t"},
    {"text": 3},
    {"text": ["x"]},
    {"text": "half \ud800 of one"},
    {"text": "fine", "note": "\udc00"},
    {"text": "whole \U0001f389"},
]
LEFT = {"empty": [4, 5], "half a character": [8, 9], "missing": [2, 3], "no text": [6, 7]}


def test_rows_without_text_are_counted_and_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines(*ROWS), encoding="utf-8")
    found, left_out = read(tmp_path, kind="jsonl", path="a.jsonl")
    assert found == ["fine", "whole 🎉"]
    assert left_out == {
        reason: {"rows": len(at), "first": [f"a.jsonl, line {n}" for n in at]} for reason, at in LEFT.items()
    }
    # Half of a character as bytes, which other tools write without escaping.
    (tmp_path / "raw.jsonl").write_bytes(
        json.dumps({"text": "x\ud800"}, ensure_ascii=False).encode("utf-8", "surrogatepass")
    )
    (tmp_path / "raw.txt").write_bytes("x\ud800".encode("utf-8", "surrogatepass"))
    (tmp_path / "ok.txt").write_text("fine", encoding="utf-8")
    both = read(tmp_path, kind="jsonl", path=["a.jsonl", "raw.jsonl"])[1]["half a character"]
    assert both["rows"] == 3
    assert both["first"][-1] == "raw.jsonl, line 1"
    assert read(tmp_path, kind="text", path="*.txt") == (
        ["fine"],
        {"half a character": {"rows": 1, "first": ["raw.txt"]}},
    )


def test_rows_of_parquet_without_text_are_counted_and_named(tmp_path: Path) -> None:
    column = pa.array([b"fine", None, b"", b"\xed\xa0\x80", "é".encode(), b"\xff"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 6, column.buffers())
    pq.write_table(pa.table({"text": text}), tmp_path / "a.parquet")
    found, left_out = read(tmp_path, kind="parquet", path="a.parquet")
    assert found == ["fine", "é"]
    assert {k: (v["rows"], v["first"][0]) for k, v in left_out.items()} == {
        "missing": (1, "a.parquet, row 2"),
        "empty": (1, "a.parquet, row 3"),
        "half a character": (2, "a.parquet, row 4"),
    }
    pq.write_table(pa.table({"text": column.slice(0, 3)}), tmp_path / "old.parquet")
    assert read(tmp_path, kind="parquet", path="old.parquet")[0] == ["fine"], (
        "writers of old left the type of a text out"
    )


def test_many_rows_name_the_first_places_only() -> None:
    left_out = LeftOut()
    for i in range(2500):
        left_out.add("empty", f"a, line {i}")
    assert said(left_out.as_dict()) == (
        "rows of the corpus that are no documents: 2,500 empty (a, line 0; a, line 1; a, line 2; ...)"
    )


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
def test_a_wrong_column_is_an_error_with_the_columns(tmp_path: Path, kind: str) -> None:
    table = {"body": ["x"] * 3, "id": [1, 2, 3]}
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table(table), path)
    elif kind == "csv":
        path.write_text("body,id\nx,1\nx,2\n", encoding="utf-8")
    else:
        path.write_text(lines(*({"body": "x", "id": i} for i in range(3))), encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.\w+: column 'text' holds no text; columns: body, id\. Set `text_field`"):
        read(tmp_path, kind=kind, path=path.name)
    assert read(tmp_path, kind=kind, path=path.name, text_field="body")[0][0] == "x"


def test_a_column_of_something_else_is_given_up_early(tmp_path: Path) -> None:
    with (tmp_path / "a.jsonl").open("w", encoding="utf-8") as f:
        f.writelines(lines({"text": i}) for i in range(150))
        f.write("no JSON")
    with pytest.raises(DataError, match="column 'text' holds no text; columns: text"):
        read(tmp_path, kind="jsonl", path="a.jsonl")
    rows = [*({"text": None} for _ in range(150)), {"text": "late"}]
    (tmp_path / "b.jsonl").write_text(lines(*rows), encoding="utf-8")
    assert read(tmp_path, kind="jsonl", path="b.jsonl")[0] == ["late"]
    (tmp_path / "c.jsonl").write_text(lines({"text": None}, {"text": ""}), encoding="utf-8")
    with pytest.raises(EmptyCorpus, match=r"1 empty \(c\.jsonl, line 2\), 1 missing \(c\.jsonl, line 1\)"):
        read(tmp_path, kind="jsonl", path="c.jsonl")


def test_what_was_left_out_stands_in_the_store(tmp_path: Path, tiny: Loaded) -> None:
    rows = [{"text": " ".join(SENTENCES)}, {"text": None}, {"text": "\ud800"}]
    (tmp_path / "a.jsonl").write_text(lines(*rows), encoding="utf-8")
    coder = load_coder(CoderSpec(name="n", format="neurons", hookpoint="layers.2.mlp.down_proj:in", k=4), tiny)
    store = collect(
        tiny, [coder], JsonlCorpus(path=(str(tmp_path / "a.jsonl"),)), tmp_path / "store", ContextSettings(32, 8)
    )
    assert store.meta["left_out"] == {
        "half a character": {"rows": 1, "first": ["a.jsonl, line 3"]},
        "missing": {"rows": 1, "first": ["a.jsonl, line 2"]},
    }


# ---- token ids


def ids_of(tiny: Loaded) -> list[list[int]]:
    found: list[list[int]] = tiny.tokenizer(SENTENCES, add_special_tokens=False)["input_ids"]
    return found


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "hf"])
def test_token_ids_give_the_contexts_of_the_text(tmp_path: Path, tiny: Loaded, kind: str) -> None:
    ids = [[tiny.bos, *row] if i == 1 else row for i, row in enumerate(ids_of(tiny))]
    if kind == "parquet":
        pq.write_table(pa.table({"input_ids": ids}), tmp_path / "a.parquet")
        corpus = anchored(spec(kind="parquet", path="a.parquet", ids_field="input_ids"), tmp_path)
    else:
        (tmp_path / "a.jsonl").write_text(lines(*({"input_ids": row} for row in ids)), encoding="utf-8")
        where = {"dataset": "json", "data_files": "a.jsonl"} if kind == "hf" else {"path": "a.jsonl"}
        corpus = anchored(spec(kind=kind, ids_field="input_ids", **where), tmp_path)
    settings, tally = ContextSettings(16, 4), Tally()
    got = [c.ids.tolist() for c in contexts(documents(corpus), tiny.tokenizer, settings, None, tally)]
    assert got == [c.ids.tolist() for c in contexts(SENTENCES, tiny.tokenizer, settings)]
    assert (tally.vocabulary, tally.start_tokens) == (len(tiny.tokenizer), 1)
    assert tally.largest_id == max(map(max, ids))


def test_ids_of_another_vocabulary_and_rows_without_ids(tmp_path: Path, tiny: Loaded) -> None:
    size = len(tiny.tokenizer)
    rows = [[1, 2, 3, 4], None, [], [1, -1], [1.5], [True], "12", [1, 2**40], [5, 6, 7, size - 1]]
    (tmp_path / "a.jsonl").write_text(lines(*({"input_ids": r} for r in rows)), encoding="utf-8")
    found, left_out = read(tmp_path, kind="jsonl", path="a.jsonl", ids_field="input_ids")
    assert found == [[1, 2, 3, 4], [5, 6, 7, size - 1]]
    assert {k: v["rows"] for k, v in left_out.items()} == {"missing": 1, "empty": 1, "no text": 5}
    (tmp_path / "b.jsonl").write_text(lines({"input_ids": [1, 2, 3]}, {"input_ids": [1, 2, size]}), encoding="utf-8")
    corpus = anchored(spec(kind="jsonl", path="b.jsonl", ids_field="input_ids"), tmp_path)
    with pytest.raises(DataError, match=rf"document 2 .* token id {size}; the subject's tokenizer has {size} tokens"):
        list(contexts(documents(corpus), tiny.tokenizer, ContextSettings(3, 1)))
    with pytest.raises(DataError, match="column 'ids' holds no token ids; columns: input_ids. Set `ids_field`"):
        read(tmp_path, kind="jsonl", path="b.jsonl", ids_field="ids")


def test_new_settings_leave_the_identity_of_older_corpora_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines({"text": "one"}), encoding="utf-8")
    plain = JsonlCorpus(path=(str(tmp_path / "a.jsonl"),))
    # As it was before there were such settings.
    identity = "b6a07edc37628b5c"
    assert corpus_identity(plain) == identity
    for change in ({"ids_field": "input_ids"}, {"deduplicate": "exact"}, {"deduplicate": "near"}):
        assert corpus_identity(plain.model_copy(update=change)) != identity


# ---- copies


def test_copies_of_documents_are_left_out_on_request(tmp_path: Path) -> None:
    words = [f"word{i}" for i in range(200)]
    text, other = " ".join(words), " ".join(reversed(words))
    near = " ".join([*words[:100], "changed", *words[101:]])
    half = " ".join([*words[:100], *reversed(words[:100])])
    texts = [text, other, text, near, half, "short", "short"]
    (tmp_path / "a.jsonl").write_text(lines(*({"text": t} for t in texts)), encoding="utf-8")
    assert read(tmp_path, kind="jsonl", path="a.jsonl")[0] == texts
    found, left_out = read(tmp_path, kind="jsonl", path="a.jsonl", deduplicate="exact")
    assert found == [text, other, near, half, "short"]
    assert left_out == {"copy": {"rows": 2, "first": ["a.jsonl, line 3", "a.jsonl, line 7"]}}
    pytest.importorskip("datasketch")
    found, left_out = read(tmp_path, kind="jsonl", path="a.jsonl", deduplicate="near")
    assert found == [text, other, half, "short"]
    assert left_out["near copy"] == {"rows": 1, "first": ["a.jsonl, line 4"]}
    ids = [[*range(300)], [*range(300)], [*range(30), 999, *range(31, 300)]]
    (tmp_path / "b.jsonl").write_text(lines(*({"input_ids": i} for i in ids)), encoding="utf-8")
    found, left_out = read(tmp_path, kind="jsonl", path="b.jsonl", ids_field="input_ids", deduplicate="near")
    assert [len(d) for d in found] == [300]
    assert {k: v["rows"] for k, v in left_out.items()} == {"copy": 1, "near copy": 1}


def test_near_copies_without_the_library_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasketch", None)
    (tmp_path / "a.jsonl").write_text(lines({"text": "one"}), encoding="utf-8")
    with pytest.raises(DataError, match=r"latentbench\[near\]"):
        read(tmp_path, kind="jsonl", path="a.jsonl", deduplicate="near")


# ---- the hub


class FakeHub:
    """A hub of one dataset, whose branch moves on after the first question; what it is asked is kept."""

    def __init__(self) -> None:
        self.commits = iter("12345678")
        self.opened: list[dict[str, Any]] = []

    def dataset_info(self, name: str, revision: str | None = None) -> Any:
        assert name == "org/name"
        return type("Info", (), {"sha": next(self.commits) * 40})()

    def load_dataset(self, name: str, config: str | None, **asked: Any) -> Any:
        from datasets import IterableDataset

        self.opened.append({"name": name, "config": config, **asked})

        def rows() -> Iterator[dict[str, Any]]:
            yield from ({"text": f"text {i}" if i != 1 else None, "url": "https://x"} for i in range(10**9))

        return IterableDataset.from_generator(rows)


def test_a_dataset_of_the_hub_is_streamed_at_the_commit_that_it_is_identified_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import datasets
    import huggingface_hub

    hub = FakeHub()
    _asked.cache_clear()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    monkeypatch.setattr(datasets, "load_dataset", hub.load_dataset)
    corpus = HfCorpus(dataset="org/name", config="en", limit_documents=3)
    assert corpus_identity(corpus) == corpus_identity(corpus.model_copy(update={"revision": "1" * 40}))
    left_out = LeftOut()
    assert list(documents(corpus, None, left_out)) == ["text 0", "text 2", "text 3"]
    assert left_out.as_dict() == {"missing": {"rows": 1, "first": ["org/name, row 2"]}}
    (asked,) = hub.opened
    assert asked["streaming"] is True
    assert asked["revision"] == "1" * 40, "the branch has moved; the text must be that of the identity"
    assert (asked["name"], asked["config"], asked["split"]) == ("org/name", "en", "train")


def test_a_folder_in_the_layout_of_the_hub_is_read_through_datasets(tmp_path: Path) -> None:
    data = tmp_path / "set" / "data"
    data.mkdir(parents=True)
    pq.write_table(pa.table({"text": ["one", None, "two"]}), data / "train-00000-of-00002.parquet")
    pq.write_table(pa.table({"text": ["three"]}), data / "train-00001-of-00002.parquet")
    pq.write_table(pa.table({"text": ["held out"]}), data / "test-00000-of-00001.parquet")
    found, left_out = read(tmp_path, kind="hf", dataset="./set")
    assert found == ["one", "two", "three"]
    assert [v["rows"] for v in left_out.values()] == [1]
    assert read(tmp_path, kind="hf", dataset="./set", split="test")[0] == ["held out"]
