"""Corpora: what is read, what is refused, how documents become contexts."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from latentbench.corpora.contexts import ContextSettings, Tally, contexts
from latentbench.corpora.corpus import anchored, corpus_identity, documents
from latentbench.corpora.corpus_spec import CorpusSpec, HfCorpus, JsonlCorpus, SampledCorpus, TextCorpus
from latentbench.kernel.config import validate
from latentbench.kernel.errors import DataError, EmptyCorpus, SpecError, UnknownName
from latentbench.models.language_model import Loaded
from pydantic import BaseModel

from tests.conftest import SENTENCES


class Holder(BaseModel):
    corpus: CorpusSpec


def spec(**fields: Any) -> CorpusSpec:
    return validate(Holder, {"corpus": fields}, "recipe.yaml").corpus


def jsonl(path: Path, texts: list[str], field: str = "text") -> Path:
    path.write_text("".join(json.dumps({field: t, "source": "x"}) + "\n" for t in texts), encoding="utf-8")
    return path


def test_jsonl_reads_plain_and_gzipped_files_in_the_given_order(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", ["one", "two"])
    with gzip.open(tmp_path / "b.jsonl.gz", "wt", encoding="utf-8") as f:
        f.write('{"text": "three"}\n\n{"text": "four"}\n')
    corpus = anchored(spec(kind="jsonl", path=["b.jsonl.gz", "a.jsonl"]), tmp_path)
    assert list(documents(corpus)) == ["three", "four", "one", "two"]
    assert list(documents(corpus.model_copy(update={"limit_documents": 3}))) == ["three", "four", "one"]


def test_text_takes_one_document_per_file_sorted_within_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "books" / "deep").mkdir(parents=True)
    (tmp_path / "books" / "b.txt").write_text("second\nline", encoding="utf-8")
    (tmp_path / "books" / "a.txt").write_text("first", encoding="utf-8")
    (tmp_path / "books" / "deep" / "c.txt").write_text("third", encoding="utf-8")
    assert list(documents(anchored(spec(kind="text", path="books/*.txt"), tmp_path))) == ["first", "second\nline"]
    assert len(list(documents(anchored(spec(kind="text", path="books/**/*.txt"), tmp_path)))) == 3


@pytest.mark.parametrize(
    ("line", "said"), [('{"text": "x"', "not JSON"), ('["x"]', "expected a JSON object, found list")]
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path: Path, line: str, said: str) -> None:
    path = jsonl(tmp_path / "bad.jsonl", ["fine"])
    path.write_text(path.read_text(encoding="utf-8") + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.jsonl, line 3: .*" + said.replace("[", r"\[")):
        list(documents(JsonlCorpus(path=(str(path),))))


def test_a_truncated_archive_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as f:
        f.writelines(f'{{"text": "{np.random.default_rng(i).bytes(40).hex()}"}}\n' for i in range(200))
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match=r"cut\.jsonl\.gz breaks off after line \d+"):
        list(documents(JsonlCorpus(path=(str(path),))))
    with pytest.raises(DataError, match=r"cut\.jsonl\.gz cannot be read"):
        corpus_identity(JsonlCorpus(path=(str(path),)))


def test_missing_files_and_wrong_encodings_are_data_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no corpus file at .*none\.jsonl"):
        list(documents(anchored(spec(kind="jsonl", path="none.jsonl"), tmp_path)))
    with pytest.raises(DataError, match=r"no corpus file at .*\*\.txt"):
        list(documents(anchored(spec(kind="text", path="*.txt"), tmp_path)))
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.txt is not UTF-8"):
        list(documents(anchored(spec(kind="text", path="*.txt"), tmp_path)))


def test_identity_follows_content_and_not_place_or_compression(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    a = jsonl(tmp_path / "a.jsonl", ["one", "two"])
    moved = tmp_path / "elsewhere" / "b.jsonl.gz"
    moved.write_bytes(gzip.compress(a.read_bytes()))
    changed = jsonl(tmp_path / "c.jsonl", ["one", "twO"])
    identity = [corpus_identity(JsonlCorpus(path=(str(p),))) for p in (a, moved, changed)]
    assert identity[0] == identity[1] != identity[2]
    assert corpus_identity(JsonlCorpus(path=(str(a),), limit_documents=1)) != identity[0]
    assert corpus_identity(JsonlCorpus(path=(str(a),), max_tokens=9)) != identity[0]
    assert corpus_identity(JsonlCorpus(path=(str(a),), text_field="source")) != identity[0]
    assert corpus_identity(TextCorpus(path=(str(a),))) != identity[0]


def test_unknown_kinds_and_keys_are_spec_errors() -> None:
    with pytest.raises(SpecError, match="jsonl"):
        spec(kind="json", path="x")
    with pytest.raises(SpecError, match="limit_docs"):
        spec(kind="jsonl", path="x", limit_docs=3)
    with pytest.raises(SpecError, match="path"):
        spec(kind="text", path=[])


def test_hf_streams_local_files_through_datasets(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", ["one", "two", "three"], field="body")
    corpus = anchored(
        spec(kind="hf", dataset="json", data_files="rows.jsonl", text_field="body", limit_documents=2), tmp_path
    )
    assert list(documents(corpus)) == ["one", "two"]
    before = corpus_identity(corpus)
    jsonl(tmp_path / "rows.jsonl", ["one", "two", "four"], field="body")
    assert corpus_identity(corpus) != before
    with pytest.raises(DataError, match="column 'text' holds no text; columns: body, source"):
        list(documents(corpus.model_copy(update={"text_field": "text"})))
    with pytest.raises(DataError, match=r"split 'nope'\) cannot be opened"):
        list(documents(corpus.model_copy(update={"split": "nope"})))


def test_hf_identity_is_the_pinned_commit() -> None:
    pinned = HfCorpus(dataset="org/name", revision="0" * 40)
    assert corpus_identity(pinned) == corpus_identity(HfCorpus(dataset="org/name", revision="0" * 40))
    assert corpus_identity(pinned) != corpus_identity(HfCorpus(dataset="org/name", revision="1" * 40))
    assert corpus_identity(pinned) != corpus_identity(pinned.model_copy(update={"config": "en"}))


def test_without_the_datasets_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(DataError, match=r"latentbench\[hub\]"):
        list(documents(HfCorpus(dataset="org/name")))


def recipe(folder: Path) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(
        "version: 1-0\ntemperature: 1.0\ntop_p: 1.0\nrepetition_penalty: 1.0\nmax_tokens: 600\n"
        "registers: [a recipe]\ntopics: [onions]\nopenings: ['The price of']\n",
        encoding="utf-8",
    )
    return path


def written(_: Loaded, __: object, seed: int, n_tokens: int, out: Path, batch: int) -> Iterator[int]:
    """Stands in for drawing, which takes seconds even from the tiny subject: one document per seed, in two steps."""
    yield n_tokens // 2
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(gzip.compress(json.dumps({"text": f"text of seed {seed}", "source": "x"}).encode(), mtime=0))
    yield n_tokens


def test_a_model_that_writes_nothing_usable_is_given_up(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("latentbench.corpora.sampled.write", lambda *_: iter([0] * 1000))
    with pytest.raises(DataError, match="wrote no usable document in 20 batches"):
        list(documents(SampledCorpus(model=str(tiny_folder), recipe=str(recipe(tmp_path)), n_tokens=5)))


def test_sampled_text_is_drawn_once_and_identified_by_what_was_drawn(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    recipe(tmp_path)
    monkeypatch.setattr("latentbench.corpora.sampled.write", written)
    corpus = anchored(
        spec(
            kind="sampled",
            model=str(tiny_folder),
            recipe="recipe.yaml",
            seed=1,
            n_tokens=200,
            batch=16,
            dtype="float32",
        ),
        tmp_path,
    )
    seen: list[int] = []
    first = list(documents(corpus, seen.append))
    assert first == ["text of seed 1"]
    assert seen == [100, 200]
    assert list(documents(corpus, seen.append)) == first
    assert seen == [100, 200], "the second reading must come from the cache"
    (file,) = (tmp_path / "cache" / "corpora").glob("*.jsonl.gz")
    assert corpus_identity(corpus) == corpus_identity(JsonlCorpus(path=(str(file),)))
    other = corpus.model_copy(update={"seed": 2})
    assert corpus_identity(other) != corpus_identity(corpus)


def test_an_unknown_sampling_recipe_is_answered_with_names(tiny_folder: Path) -> None:
    with pytest.raises(UnknownName):
        list(documents(SampledCorpus(model=str(tiny_folder), recipe="sampled-0", n_tokens=5)))


# ---- contexts


class Letters:
    """A tokenizer that makes one token of every character."""

    def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[ord(c) for c in t] for t in texts]}


def cut(
    texts: list[str], context: int, least: int, max_tokens: int | None = None
) -> tuple[list[tuple[int, str]], Tally]:
    tally = Tally()
    found = contexts(texts, Letters(), ContextSettings(context, least), max_tokens, tally)
    return [(c.document, "".join(map(chr, c.ids))) for c in found], tally


def test_documents_are_cut_and_short_rests_are_dropped_and_counted() -> None:
    found, tally = cut(["abcdefghij", "", "kl", "mnopqr"], 4, 3)
    # abcd efgh (ij dropped), nothing, (kl dropped), mnop (qr dropped)
    assert found == [(0, "abcd"), (0, "efgh"), (3, "mnop")]
    assert tally.as_dict() == {"documents": 4, "contexts": 3, "tokens": 12, "dropped_chunks": 3, "dropped_tokens": 6}
    found, tally = cut(["abcdefghij"], 4, 2)
    assert found[-1] == (0, "ij")
    assert tally.dropped_tokens == 0


def test_max_tokens_cuts_the_last_context_or_leaves_it_out() -> None:
    assert cut(["abcdefgh", "ijklmnop"], 4, 2, 11)[0] == [(0, "abcd"), (0, "efgh"), (1, "ijk")]
    found, tally = cut(["abcdefgh", "ijklmnop"], 4, 2, 9)
    assert found == [(0, "abcd"), (0, "efgh")]
    assert tally.documents == 1, "reading stops when nothing more can be kept"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text("abcdefghijklmnop", max_size=40), max_size=80),
    context=st.integers(1, 9),
    least=st.integers(1, 9),
    limit=st.none() | st.integers(1, 60),
)
def test_contexts_never_straddle_documents(texts: list[str], context: int, least: int, limit: int | None) -> None:
    least = min(least, context)
    try:
        found, tally = cut(texts, context, least, limit)
    except EmptyCorpus:
        assert all(len(t) < least for t in texts) or (limit is not None and limit < least)
        return
    kept = sum(len(text) for _, text in found)
    assert tally.tokens == kept <= (limit or kept)
    assert tally.contexts == len(found)
    for number, text in enumerate(texts):
        mine = [t for n, t in found if n == number]
        assert text.startswith("".join(mine)), "contexts of a document are its consecutive tokens"
        assert all(least <= len(t) <= context for t in mine)
    if limit is None:
        assert kept + tally.dropped_tokens == sum(map(len, texts))


def test_an_empty_corpus_is_an_error_with_the_reason() -> None:
    with pytest.raises(EmptyCorpus, match="no text of 3 tokens or more"):
        cut(["ab", ""], 4, 3)
    with pytest.raises(EmptyCorpus, match=r"0 documents"):
        cut([], 4, 3)
    with pytest.raises(EmptyCorpus, match="max_tokens 2"):
        cut(["abcdef"], 4, 3, 2)
    with pytest.raises(SpecError, match="min_context"):
        ContextSettings(16, 32)


def test_real_tokenizers_add_no_special_tokens(tiny: Loaded) -> None:
    found = list(contexts(SENTENCES * 30, tiny.tokenizer, ContextSettings(8, 2)))
    assert {c.ids.dtype for c in found} == {np.dtype("int32")}
    assert not {tiny.bos, tiny.tokenizer.eos_token_id} & {int(i) for c in found for i in c.ids}
    first = [c.ids for c in found if c.document == 0]
    assert tiny.tokenizer.decode(np.concatenate(first)) in SENTENCES[0]
