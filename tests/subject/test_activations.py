"""The activation runner and its store, against direct loops over the subject and a coder."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from latentbench.corpora.contexts import Context, ContextSettings, contexts
from latentbench.corpora.corpus import corpus_identity, documents
from latentbench.corpora.corpus_spec import JsonlCorpus
from latentbench.kernel.errors import (
    BenchError,
    CoderError,
    CorruptTable,
    EmptyCorpus,
    ModelError,
    RunError,
    SpecError,
    UnknownName,
)
from latentbench.models.language_model import Loaded
from latentbench.subject.activations import merge
from latentbench.subject.activations.activation_store import ActivationStore
from latentbench.subject.activations.activations import Progress, collect
from latentbench.subject.activations.encode import encode_contexts
from latentbench.subject.activations.shard_work import joined_table
from latentbench.subject.activations.shards import pack, write_shard
from latentbench.subject.coders.sparse import SparseLatents, above, top
from latentbench.subject.hooks import capture, edit

from tests.conftest import SENTENCES

N_LATENTS, K = 48, 5
LENGTHS = ContextSettings(context=24, min_context=6)


@dataclass(frozen=True)
class TopK:
    """A random TopK coder; `scale` multiplies its activations."""

    name: str
    hookpoint: str
    n_latents: int = N_LATENTS
    k: int = K
    seed: int = 0
    scale: float = 1.0
    d_in: int = 32
    d_model: int = 32
    kind: str = "sae"
    evals: Mapping[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.hookpoint}-{self.n_latents}-{self.k}-{self.seed}-{self.scale}"

    @property
    def weights(self) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return self.scale * torch.randn(self.n_latents, self.d_in, generator=generator)

    def encode(self, acts: torch.Tensor) -> SparseLatents:
        return SparseLatents(*top(acts.float() @ self.weights.T, self.k), len(acts))


CODERS = [
    TopK("early", "layers.1"),
    TopK("late", "layers.2", n_latents=20, k=3, seed=1),
    TopK("late-mlp", "layers.2.mlp", seed=2),
]


def write_corpus(folder: Path, n: int = 60) -> JsonlCorpus:
    """Documents of 1 to 5 sentences, so that contexts have many lengths and some rests are too short."""
    rng = np.random.default_rng(3)
    path = folder / "corpus.jsonl"
    with path.open("w", encoding="utf-8") as f:
        for i in range(n):
            text = " ".join(SENTENCES[j] for j in rng.integers(0, len(SENTENCES), 1 + i % 5)) if i % 9 else "word"
            f.write(json.dumps({"text": text}) + "\n")
    return JsonlCorpus(path=(str(path),))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> JsonlCorpus:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def store(tiny: Loaded, corpus: JsonlCorpus, tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    return collect(tiny, CODERS, corpus, tmp_path_factory.mktemp("s") / "store", LENGTHS, batch=4, shard=7)


def dense(store: ActivationStore, coder: str) -> np.ndarray:
    """The store as a dense [n_tokens, n_latents] array."""
    table = store.coder(coder)
    out = np.zeros((store.n_tokens, table.n_latents), dtype=np.float32)
    for latent in range(table.n_latents):
        positions, values = store.latent(coder, latent)
        assert (np.diff(positions.astype(np.int64)) > 0).all(), "positions ascend within a latent"
        out[positions, latent] = values
    return out


def directly(loaded: Loaded, coder: TopK, documents: list[str], bos: bool = True) -> np.ndarray:
    """Every context by itself, without hooks' batching, padding or sparse storage."""
    rows = []
    for context in contexts(documents, loaded.tokenizer, LENGTHS):
        head = [loaded.bos] if bos else []
        ids = torch.tensor([head + context.ids.tolist()])
        acts = capture(loaded, ids, None, [coder.hookpoint])[coder.hookpoint][0, len(head) :]
        pre = acts @ coder.weights.T
        threshold = pre.topk(coder.k, dim=-1).values[:, -1:]
        rows.append(torch.where((pre >= threshold) & (pre > 0), pre, 0.0))
    return torch.cat(rows).numpy()


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_tables_equal_a_direct_dense_loop(tiny: Loaded, corpus: JsonlCorpus, store: ActivationStore) -> None:
    for coder in CODERS:
        expected = directly(tiny, coder, list(documents(corpus)))
        found = dense(store, coder.name)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
        assert np.array_equal(found > 0, expected > 0)


def test_tokens_are_stored_once_without_bos(tiny: Loaded, corpus: JsonlCorpus, store: ActivationStore) -> None:
    cut = list(contexts(documents(corpus), tiny.tokenizer, LENGTHS))
    np.testing.assert_array_equal(store.tokens, np.concatenate([c.ids for c in cut]))
    np.testing.assert_array_equal(np.diff(store.contexts), [len(c.ids) for c in cut])
    np.testing.assert_array_equal(store.documents, [c.document for c in cut])
    assert tiny.bos not in store.tokens
    assert store.bos == tiny.bos
    counts = store.meta["counts"]
    assert counts["contexts"] == len(cut) == store.n_contexts
    assert counts["documents"] == 60
    assert counts["dropped_chunks"] > 0, "the corpus has rests that are too short"


def test_bos_stays_in_the_forward_pass(tiny: Loaded, corpus: JsonlCorpus, store: ActivationStore) -> None:
    texts = list(documents(corpus))
    found = dense(store, "early")
    with_bos, without = directly(tiny, CODERS[0], texts), directly(tiny, CODERS[0], texts, bos=False)
    assert np.abs(found - with_bos).max() < 1e-2 * np.abs(with_bos).max()
    assert np.abs(found - without).max() > 0.1 * np.abs(with_bos).max()


def test_a_subject_without_bos_gets_none(tiny: Loaded, corpus: JsonlCorpus, tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer.__class__(tokenizer_object=tiny.tokenizer._tokenizer, pad_token="<|endoftext|>")
    bare = Loaded(tiny.files, tiny.model, tokenizer, tiny.dtype, tiny.device)
    assert bare.bos is None
    made = collect(bare, CODERS[:1], corpus, tmp_path / "s", LENGTHS)
    np.testing.assert_allclose(
        dense(made, "early"), directly(tiny, CODERS[0], list(documents(corpus)), bos=False), rtol=1e-3, atol=1e-3
    )
    assert made.bos is None


def test_several_coders_in_one_pass_equal_one_pass_each(
    tiny: Loaded, corpus: JsonlCorpus, store: ActivationStore, tmp_path: Path
) -> None:
    for coder in CODERS:
        alone = collect(tiny, [coder], corpus, tmp_path / coder.name, LENGTHS, batch=4, shard=7)
        for name in ("indptr", "position", "value"):
            assert np.array_equal(getattr(alone.coder(coder.name), name), getattr(store.coder(coder.name), name))


@pytest.mark.parametrize(("batch", "shard"), [(1, 7), (16, 7), (5, 1), (64, 1000)])
def test_batch_and_shard_size_do_not_change_the_result(
    tiny: Loaded, corpus: JsonlCorpus, store: ActivationStore, tmp_path: Path, batch: int, shard: int
) -> None:
    other = collect(tiny, CODERS, corpus, tmp_path / "s", LENGTHS, batch=batch, shard=shard)
    np.testing.assert_array_equal(other.tokens, store.tokens)
    for coder in CODERS:
        # float16 steps are 1e-3 of a value; the float32 differences themselves are about 1e-6.
        np.testing.assert_allclose(dense(other, coder.name), dense(store, coder.name), rtol=1e-3, atol=1e-5)


def test_merging_in_small_blocks_gives_the_same_table(
    tiny: Loaded, corpus: JsonlCorpus, store: ActivationStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "BLOCK_ENTRIES", 100)
    collect(tiny, CODERS, corpus, tmp_path / "s", LENGTHS, batch=4, shard=7)
    assert files(tmp_path / "s") == files(store.path)


KILLED = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.subject.test_activations import CODERS, LENGTHS, collect, JsonlCorpus
from latentbench.models.language_model import load
def slowly(progress):
    print(progress.tokens, flush=True)
    time.sleep(0.2)
collect(load({subject!r}, "float32", "cpu"), CODERS, JsonlCorpus(path=({corpus!r},)), Path({out!r}), LENGTHS, batch=4, shard=7,
        progress=slowly)
"""


def test_a_killed_pass_is_resumed_to_the_same_bytes(
    tiny: Loaded, tiny_folder: Path, corpus: JsonlCorpus, store: ActivationStore, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    code = KILLED.format(
        root=str(Path(__file__).parents[2]), subject=str(tiny_folder), corpus=corpus.path[0], out=str(out)
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, encoding="utf-8")
    assert process.stdout is not None
    for _ in range(3):
        assert process.stdout.readline(), "the pass must be running when it is killed"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    with pytest.raises(RunError, match="not finished"):
        ActivationStore.open(out)
    left = sorted((out / "shards").glob("*.safetensors"))
    assert 3 <= len(left) < store.n_contexts / 7
    # What a kill in the middle of a write, or a full disk, may leave.
    (out / "shards" / "000090.safetensors.part").write_bytes(b"torn")
    left[1].write_bytes(left[1].read_bytes()[:-50])

    seen: list[Progress] = []
    collect(tiny, CODERS, corpus, out, LENGTHS, batch=4, shard=7, progress=seen.append)
    assert files(out) == files(store.path)
    assert 0 < seen[-1].reused < seen[-1].tokens == store.n_tokens
    assert seen[0].reused == seen[0].tokens, "the first shard was not computed again"
    assert seen[1].reused == seen[0].reused, "the torn shard was"
    assert seen[-1].tokens_per_s > 0


def test_a_pass_stopped_while_merging_is_finished(
    tiny: Loaded, corpus: JsonlCorpus, store: ActivationStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as m:
        m.setattr("latentbench.subject.activations.merge.merged", killed)
        with pytest.raises(Killed):
            collect(tiny, CODERS, corpus, tmp_path / "s", LENGTHS, batch=4, shard=7)
    seen: list[Progress] = []
    collect(tiny, CODERS[::-1], corpus, tmp_path / "s", LENGTHS, batch=4, shard=7, progress=seen.append)
    assert seen[-1].reused == store.n_tokens
    assert {k: v for k, v in files(tmp_path / "s").items() if k.endswith("npy")} == {
        k: v for k, v in files(store.path).items() if k.endswith("npy")
    }


def test_a_finished_store_is_opened_at_once(
    tiny: Loaded, corpus: JsonlCorpus, store: ActivationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "latentbench.subject.activations.activations.contexts", None
    )  # a second pass would fail on this
    assert collect(tiny, CODERS, corpus, store.path, LENGTHS, batch=16, shard=7).n_tokens == store.n_tokens


def test_a_folder_of_another_identity_is_refused_with_the_difference(
    tiny: Loaded, corpus: JsonlCorpus, store: ActivationStore, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"context: 24 there, 16 asked"):
        collect(tiny, CODERS, corpus, store.path, ContextSettings(16, 6), shard=7)
    with pytest.raises(RunError, match=r"coders: .*layers\.1"):
        collect(tiny, CODERS[:1], corpus, store.path, LENGTHS, shard=7)
    with pytest.raises(RunError, match=f"corpus: '{corpus_identity(corpus)}' there"):
        collect(tiny, CODERS, write_corpus(tmp_path, 5), store.path, LENGTHS, shard=7)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(RunError, match="is no activation store"):
        collect(tiny, CODERS, corpus, tmp_path / "mine", LENGTHS)
    assert files(tmp_path / "mine") == {"thesis.txt": b"years of work"}


def test_an_empty_corpus_is_an_error_and_does_not_bar_the_folder(
    tiny: Loaded, corpus: JsonlCorpus, tmp_path: Path
) -> None:
    path = tmp_path / "short.jsonl"
    path.write_text('{"text": "a"}\n', encoding="utf-8")
    with pytest.raises(EmptyCorpus):
        collect(tiny, CODERS, JsonlCorpus(path=(str(path),)), tmp_path / "s", LENGTHS)
    assert collect(tiny, CODERS[:1], corpus, tmp_path / "s", LENGTHS).n_tokens > 0


def test_names_lengths_and_hookpoints_that_cannot_work_are_refused(
    tiny: Loaded, corpus: JsonlCorpus, tmp_path: Path
) -> None:
    for coders in ([], [CODERS[0], CODERS[0]], [TopK("a/b", "layers.1")]):
        with pytest.raises(SpecError, match="name"):
            collect(tiny, coders, corpus, tmp_path / "s", LENGTHS)
    with pytest.raises(SpecError, match="needs 2049 positions; the subject has 2048"):
        collect(tiny, CODERS, corpus, tmp_path / "s", ContextSettings(2048))
    with pytest.raises(CoderError, match=r"layers\.9"):
        collect(tiny, [TopK("x", "layers.9")], corpus, tmp_path / "s", LENGTHS)


def test_max_tokens_limits_the_store(tiny: Loaded, corpus: JsonlCorpus, store: ActivationStore, tmp_path: Path) -> None:
    small = collect(tiny, CODERS[:1], corpus.model_copy(update={"max_tokens": 100}), tmp_path / "s", LENGTHS)
    assert 100 - LENGTHS.min_context < small.n_tokens <= 100
    np.testing.assert_array_equal(small.tokens, store.tokens[: small.n_tokens])


# ---- packing


def sparse(rows: list[int], latents: list[int], values: list[float]) -> SparseLatents:
    return SparseLatents(torch.tensor(rows), torch.tensor(latents), torch.tensor(values))


def test_packing_sorts_by_latent_then_position_and_keeps_every_bit() -> None:
    rng = np.random.default_rng(0)
    cells = rng.choice(500 * 3000, 4000, replace=False)
    rows, latents = cells % 500, cells // 500
    values = rng.normal(size=4000).astype(np.float16)  # negative values too: a neuron's may be
    found = SparseLatents(torch.from_numpy(rows), torch.from_numpy(latents), torch.from_numpy(values))
    table = joined_table([pack(found, "c")], 3000)
    order = np.lexsort([rows, latents])
    np.testing.assert_array_equal(table["position"], rows[order])
    np.testing.assert_array_equal(table["value"], values[order])
    np.testing.assert_array_equal(np.diff(table["indptr"]), np.bincount(latents, minlength=3000))


def test_the_limits_of_packing_are_kept() -> None:
    from latentbench.subject.activations.shards import MAX_LATENTS, MAX_SHARD_TOKENS

    table = joined_table([pack(sparse([MAX_SHARD_TOKENS - 1], [MAX_LATENTS - 1], [-65504.0]), "c")], MAX_LATENTS)
    assert table["position"][0] == MAX_SHARD_TOKENS - 1
    assert table["indptr"][MAX_LATENTS - 1] == 0
    assert table["indptr"][MAX_LATENTS] == 1
    assert table["value"][0] == -65504


def test_a_tiny_activation_stays_active_and_a_zero_does_not() -> None:
    table = joined_table([pack(sparse([0, 1, 2, 3], [1, 1, 1, 1], [1e-12, -1e-12, 0.0, 2.0]), "c")], 2)
    np.testing.assert_array_equal(table["position"], [0, 1, 3])
    np.testing.assert_array_equal(table["value"], np.array([2.0**-24, -(2.0**-24), 2.0], dtype=np.float16))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_no_order_has_a_place_for_is_an_error(value: float) -> None:
    with pytest.raises(CoderError, match="'big' gives 2 activations that are NaN or infinite, those of latent 3"):
        pack(sparse([0, 1, 2], [0, 3, 3], [1.0, value, value]), "big")


def _merged(folder: Path, shards: list[list[tuple[int, int, float]]], n_latents: int) -> ActivationStore:
    """A store of shards, each a list of (latent, row, value) over eight tokens."""
    paths = []
    for i, entries in enumerate(shards):
        latents, rows, values = (list(column) for column in zip(*entries, strict=True))
        paths.append(folder / f"{i}.safetensors")
        packed = [
            pack(sparse(rows[a : a + 2], latents[a : a + 2], values[a : a + 2]), "c") for a in range(0, len(rows), 2)
        ]
        write_shard(paths[-1], [Context(i, np.arange(8, dtype=np.int32))], {"c": joined_table(packed, n_latents)})
    coder = TopK("c", "layers.1", n_latents=n_latents)
    entries = merge.merge(folder / "s", paths, [coder])
    identity = {
        "format": 1,
        "bos": None,
        "coders": {"c": {"key": "k", "hookpoint": "layers.1", "n_latents": n_latents}},
    }
    counts = {"tokens": 8 * len(shards), "contexts": len(shards)}
    scaled = {"scaled": {"c": 1}} if (folder / "s" / "coders" / "c" / "exponent.npy").exists() else {}
    meta = {"identity": identity, "counts": counts, "entries": entries} | scaled
    (folder / "s" / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    return ActivationStore.open(folder / "s")


def _exact(store: ActivationStore, latent: int) -> list[float]:
    values = store.latent("c", latent)[1].astype(np.float64)
    return np.ldexp(values, store.coder("c").power(latent)).tolist()


def test_activations_beyond_float16_keep_their_order_and_their_size(tmp_path: Path) -> None:
    """Latent 0 is ordinary, 1 is huge in one shard only, 2 lies below float16, 3 is tiny here and ordinary there."""
    tiny_values = [1.0e-9, 1.1e-9, 3.0e-12, 2.0e-9]
    store = _merged(
        tmp_path,
        [
            [(0, 0, 2.0), (0, 1, 1e-9), (1, 0, 3.0), (1, 1, 1.5), (3, 4, 1e-9), (3, 5, 2e-9)],
            [(1, 0, 4e9), (1, 3, 70000.0), *((2, i, v) for i, v in enumerate(tiny_values)), (3, 0, 1.0)],
        ],
        4,
    )
    table = store.coder("c")
    assert table.power(0) == table.power(3) == 0
    assert store.latent("c", 0)[1].tolist() == [2.0, 2.0**-24], "an ordinary latent is stored as ever"
    assert store.latent("c", 3)[1].tolist() == [2.0**-24, 2.0**-24, 1.0]
    np.testing.assert_allclose(_exact(store, 1), [3.0, 1.5, 4e9, 70000.0], rtol=5e-4)
    np.testing.assert_allclose(_exact(store, 2), tiny_values, rtol=5e-4)
    assert np.argsort(store.latent("c", 2)[1]).tolist() == np.argsort(tiny_values).tolist()
    assert all(2.0**14 <= float(store.latent("c", i)[1].max()) < 2.0**15 for i in (1, 2))


def test_a_store_without_such_latents_is_what_it_was(store: ActivationStore) -> None:
    """No file and no entry more: stores of before are read, and new ones have their bytes."""
    assert "scaled" not in store.meta
    assert not list(store.path.rglob("exponent.npy"))
    assert all(table.exponent is None for table in store.coders.values())


@pytest.mark.parametrize("scale", [1e9, 1e-10])
def test_a_coder_far_from_one_gives_the_ranks_of_an_ordinary_one(
    tiny: Loaded, corpus: JsonlCorpus, store: ActivationStore, tmp_path: Path, scale: float
) -> None:
    far = collect(tiny, [TopK("early", "layers.1", scale=scale)], corpus, tmp_path / "s", LENGTHS, batch=4, shard=7)
    assert far.meta["scaled"]["early"] == sum(bool(len(far.latent("early", i)[0])) for i in range(N_LATENTS))
    for latent in range(N_LATENTS):
        there, values = store.latent("early", latent)
        here, scaled = far.latent("early", latent)
        np.testing.assert_array_equal(here, there)
        got = np.ldexp(scaled.astype(np.float64), far.coder("early").power(latent)) / scale
        np.testing.assert_allclose(got, values.astype(np.float64), rtol=2e-3)


def test_a_truncated_exponent_is_refused(tiny: Loaded, corpus: JsonlCorpus, tmp_path: Path) -> None:
    collect(tiny, [TopK("big", "layers.1", scale=1e9)], corpus, tmp_path / "s", LENGTHS)
    np.save(tmp_path / "s" / "coders" / "big" / "exponent.npy", np.zeros(3, np.int16))
    with pytest.raises(CorruptTable, match="exponent"):
        ActivationStore.open(tmp_path / "s")


@pytest.mark.parametrize("kind", ["topk", "threshold"])
def test_a_latent_that_is_not_a_number_is_named(tiny: Loaded, corpus: JsonlCorpus, tmp_path: Path, kind: str) -> None:
    """A NaN in one row of the encoder: it would win every top k and then be left out of it."""

    class Spoilt(TopK):
        def encode(self, acts: torch.Tensor) -> SparseLatents:
            weights = self.weights
            weights[7, 3] = float("nan")
            pre = acts.float() @ weights.T
            return SparseLatents(*(top(pre, self.k) if kind == "topk" else above(pre, 0.5)), len(acts))

    with pytest.raises(CoderError, match=r"coder 'spoilt': \d+ activations on \d+ of \d+ tokens are NaN.*latent 7\."):
        collect(tiny, [Spoilt("spoilt", "layers.1")], corpus, tmp_path / "s", LENGTHS)


def test_a_subject_that_overflows_is_said_with_the_number_of_tokens(
    tiny: Loaded, corpus: JsonlCorpus, tmp_path: Path
) -> None:
    with (
        edit(tiny, "layers.1", lambda h: h.masked_fill(torch.arange(h.shape[1])[None, :, None] == 2, float("inf"))),
        pytest.raises(ModelError, match=r"NaN or infinite activations at layers\.1 on 4 of \d+ tokens"),
    ):
        collect(tiny, [TopK("c", "layers.1")], corpus, tmp_path / "s", LENGTHS, batch=4)


def test_merging_holds_a_block_and_not_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    n_tokens, n_latents, k, n_shards = 2048, 512, 32, 12
    coder = TopK("c", "layers.1", n_latents=n_latents)
    shards = []
    for i in range(n_shards):
        rows = np.repeat(np.arange(n_tokens), k)
        latents = rng.permuted(np.tile(np.arange(n_latents), (n_tokens, 1)), axis=1)[:, :k].ravel()
        found = SparseLatents(*(torch.from_numpy(a) for a in (rows, latents, rng.random(len(rows)) + 0.5)))
        shards.append(tmp_path / f"{i}.safetensors")
        ids = rng.integers(0, 99, n_tokens).astype(np.int32)
        write_shard(shards[-1], [Context(i, ids)], {"c": joined_table([pack(found, "c")], n_latents)})
    monkeypatch.setattr(merge, "BLOCK_ENTRIES", 1 << 15)
    tracemalloc.start()
    entries = merge.merge(tmp_path / "s", shards, [coder])["c"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert entries == n_tokens * k * n_shards
    assert peak < 6 * entries / 4, "less than a quarter of the table that is written"
    assert np.load(tmp_path / "s" / "coders" / "c" / "position.npy").max() == n_tokens * n_shards - 1


# ---- encoding a few contexts


def test_encode_contexts_keeps_the_order_of_the_contexts(
    tiny: Loaded, corpus: JsonlCorpus, store: ActivationStore
) -> None:
    chosen = [5, 0, 11, 3]
    bounds = store.contexts
    found = encode_contexts(tiny, CODERS, [store.tokens[bounds[i] : bounds[i + 1]] for i in chosen], batch=3)
    for coder in CODERS:
        expected = np.concatenate([dense(store, coder.name)[bounds[i] : bounds[i + 1]] for i in chosen])
        sparse_latents = found[coder.name]
        made = np.zeros_like(expected)
        made[sparse_latents.rows, sparse_latents.latents] = sparse_latents.values
        np.testing.assert_allclose(made, expected, rtol=1e-3, atol=1e-5)
        flat = (sparse_latents.rows * coder.n_latents + sparse_latents.latents).numpy()
        assert (np.diff(flat) > 0).all()
        assert sparse_latents.n_rows == len(expected)


def test_no_contexts_give_no_latents(tiny: Loaded) -> None:
    found = encode_contexts(tiny, CODERS[:1], [])["early"]
    assert len(found.rows) == len(found.latents) == len(found.values) == 0


# ---- reading


def test_a_coder_that_never_fires_is_stored(tiny: Loaded, corpus: JsonlCorpus, tmp_path: Path) -> None:
    silent = TopK("silent", "layers.1", scale=0.0)
    made = collect(tiny, [silent], corpus, tmp_path / "s", LENGTHS)
    assert len(made.latent("silent", 3)[0]) == 0
    assert not dense(made, "silent").any()


def test_an_unknown_latent_or_coder_is_named(store: ActivationStore) -> None:
    with pytest.raises(IndexError, match="latent 48"):
        store.latent("early", N_LATENTS)
    with pytest.raises(UnknownName, match="'early'"):
        store.latent("earli", 0)


@pytest.mark.parametrize(
    ("file", "damage", "error"),
    [
        ("meta.json", lambda b: b[:-40], CorruptTable),
        ("meta.json", lambda b: b"[]", CorruptTable),
        ("meta.json", lambda b: b.replace(b'"counts"', b'"count"'), CorruptTable),
        ("meta.json", lambda b: b.replace(b'"format": 1', b'"format": 0'), RunError),
        ("meta.json", None, RunError),
        ("tokens.npy", lambda b: b[:-40], CorruptTable),
        ("tokens.npy", lambda b: b"", CorruptTable),
        ("contexts.npy", lambda b: b[:-8] + b"\0" * 8, CorruptTable),
        ("documents.npy", None, CorruptTable),
        ("coders/early/indptr.npy", lambda b: b[:-16] + b[-8:] + b[-16:-8], CorruptTable),
        ("coders/late/position.npy", lambda b: b[:200], CorruptTable),
        ("coders/late/value.npy", None, CorruptTable),
    ],
)
def test_damaged_stores_are_refused_and_the_file_is_named(
    store: ActivationStore, tmp_path: Path, file: str, damage: Any, error: type[BenchError]
) -> None:
    shutil.copytree(store.path, tmp_path / "s")
    path = tmp_path / "s" / file
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(error, match=Path(file).name if error is CorruptTable else "s "):
        ActivationStore.open(tmp_path / "s")


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        ActivationStore.open(tmp_path / "nothing")
