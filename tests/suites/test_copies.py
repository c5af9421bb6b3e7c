"""No test window of a latent repeats what its explainer has read, however often a text stands in the corpus."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from latentbench.subject.coders.saelens import save
from latentbench.suites.build.build import build_suite
from latentbench.suites.build.copies import Copies
from latentbench.suites.build.negatives import appended
from latentbench.suites.build.sampling import EXPLAIN, TEST, Tiles, WindowPlan, WindowSample, sample, tile
from latentbench.suites.build.suite_recipe import anchored_recipe, load_recipe
from latentbench.suites.planted.planted_suite import build_planted
from latentbench.suites.repeats import repeats
from latentbench.suites.shingles import plain_runs, shingle_hashes
from latentbench.suites.store import Suite, load_suite, save_suite
from latentbench.suites.verify import verify

from tests.conftest import SENTENCES

RUN = 8


@dataclass(frozen=True)
class Corpus:
    """Tokens, context bounds, and where a latent fires that fires on some tokens of the vocabulary."""

    tokens: np.ndarray
    offsets: np.ndarray
    positions: np.ndarray
    values: np.ndarray


def laid_out(documents: list[list[int]], firing: set[int]) -> Corpus:
    """Each document is one context; how strongly a latent fires is a function of a token and the one before it."""
    tokens = np.array([t for d in documents for t in d], np.int32)
    before = np.concatenate([[0], *(np.array([0, *d[:-1]]) for d in documents)])[1:].astype(np.int64)
    where = np.flatnonzero(np.isin(tokens, list(firing)))
    values = ((tokens[where] * 31 + before[where] * 17) % 97 + 1).astype(np.float16)
    return Corpus(tokens, np.concatenate([[0], np.cumsum([len(d) for d in documents])]), where, values)


def edited(document: list[int], rate: float, vocabulary: int, rng: random.Random) -> list[int]:
    """A near copy: tokens changed, left out and put in."""
    out: list[int] = []
    for token in document:
        what = rng.random()
        if what < rate / 3:
            out.append(rng.randrange(vocabulary))
        elif what < 2 * rate / 3:
            out += [token, rng.randrange(vocabulary)]
        elif what >= rate:
            out.append(token)
    return out


def drawn(corpus: Corpus, window: int, plan: WindowPlan, seed: int) -> tuple[WindowSample, Tiles, Copies]:
    copies = Copies(corpus.tokens, window)
    tiles = copies.without_copies(tile(corpus.offsets, window))
    return sample(corpus.positions, corpus.values, tiles, plan, seed, seed + 1, copies), tiles, copies


def runs(tokens: list[int]) -> set[tuple[int, ...]]:
    """Runs of eight tokens of which more than two differ."""
    found = {tuple(tokens[i : i + RUN]) for i in range(len(tokens) - RUN + 1)}
    return {run for run in found if len(set(run)) > 2}


def assert_apart(got: WindowSample, tokens: np.ndarray, window: int) -> None:
    """By direct loops: nothing of what an explainer sees is asked about, and nothing is asked twice."""
    texts = [tuple(tokens[s : s + window].tolist()) for s in got.start.tolist()]
    explain = [t for t, role in zip(texts, got.role, strict=True) if role == EXPLAIN]
    test = [t for t, role in zip(texts, got.role, strict=True) if role == TEST]
    read = {run for text in explain for run in runs(list(text))}
    for text in test:
        assert text not in explain, "a test window is an explain window word for word"
        assert not read & runs(list(text)), "a test window shares eight tokens with an explain window"
    assert len(set(test)) == len(test), "a test window stands twice"


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    times=st.sampled_from([1, 2, 5, 10]),
    rate=st.sampled_from([0.0, 0.02, 0.1]),
    vocabulary=st.sampled_from([3, 12, 200]),
    window=st.sampled_from([4, 8, 9, 16, 32]),
    sampling=st.sampled_from(["top", "random", "quantile", "mix"]),
    centred=st.booleans(),
    shuffled=st.booleans(),
)
def test_test_windows_never_repeat_explain_windows(
    seed: int, times: int, rate: float, vocabulary: int, window: int, sampling: str, centred: bool, shuffled: bool
) -> None:
    rng = random.Random(seed)
    texts = [[rng.randrange(vocabulary) for _ in range(rng.randrange(20, 150))] for _ in range(12)]
    # A ruler and a loop, which repeat themselves.
    texts += [[1] * 90, [0, 2] * 40, [0, 1, 2] * 30]
    documents = [edited(t, rate, vocabulary, rng) if i else t for i in range(times) for t in texts]
    if shuffled:
        rng.shuffle(documents)
    corpus = laid_out(documents, set(rng.sample(range(vocabulary), max(1, vocabulary // 12))))
    plan = WindowPlan(8, sampling, 2, 15, centred, contrast=5)  # type: ignore[arg-type]
    got, tiles, copies = drawn(corpus, window, plan, seed)
    assert_apart(got, corpus.tokens, window)
    active = np.unique(tiles.of[corpus.positions])
    everywhere = np.arange(len(tiles.start))
    hard = [("neighbour", 6, everywhere), ("similar", 6, everywhere), ("nearest", 6, everywhere[::-1])]
    assert_apart(appended(got, active[active >= 0], tiles, hard, seed, copies), corpus.tokens, window)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    times=st.sampled_from([2, 5, 10]),
    window=st.sampled_from([8, 16, 32]),
    centred=st.booleans(),
)
def test_copies_of_documents_change_no_window(seed: int, times: int, window: int, centred: bool) -> None:
    rng = random.Random(seed)
    texts = [[rng.randrange(50) for _ in range(rng.randrange(20, 150))] for _ in range(20)]
    plan = WindowPlan(8, "quantile", 2, 15, centred, contrast=5)
    firing = {1, 2, 3}
    once, _, _ = drawn(laid_out(texts, firing), window, plan, seed)
    often, _, _ = drawn(laid_out(texts * times, firing), window, plan, seed)
    assert often.start.tolist() == once.start.tolist()
    assert often.candidates == once.candidates, "ten copies of a window are one candidate"


def test_a_corpus_without_copies_is_drawn_as_before() -> None:
    rng = random.Random(0)
    texts = [[rng.randrange(5000) for _ in range(120)] for _ in range(60)]
    corpus = laid_out(texts, set(range(100)))
    tiles = tile(corpus.offsets, 32)
    for centred in (False, True):
        plan = WindowPlan(10, "quantile", 2, 20, centred)
        got, kept, _ = drawn(corpus, 32, plan, 3)
        before = sample(corpus.positions, corpus.values, tiles, plan, 3, 4)
        assert got.start.tolist() == before.start.tolist()
        assert len(kept.start) == len(tiles.start)


@pytest.mark.parametrize("centred", [False, True])
def test_the_test_windows_do_not_depend_on_how_explain_windows_are_chosen(centred: bool) -> None:
    rng = random.Random(4)
    phrases = [[rng.randrange(300) for _ in range(10)] for _ in range(2)]
    texts = [
        [*(rng.randrange(300) for _ in range(30)), *rng.choice(phrases), *(rng.randrange(300) for _ in range(60))]
        for _ in range(80)
    ]
    corpus = laid_out(texts, set(range(40)))
    found = {
        s: drawn(corpus, 16, WindowPlan(15, s, 2, 20, centred), 1)[0]  # type: ignore[arg-type]
        for s in ("top", "random", "quantile", "mix")
    }
    assert any(got.blocked for got in found.values()), "the phrases must meet, or nothing is tested"
    tests = [got.start[got.role == TEST].tolist() for got in found.values()]
    assert all(other == tests[0] for other in tests)
    assert all(got.count(EXPLAIN, True) == 15 for got in found.values()), "blocked windows are replaced by others"


def test_copies_worked_by_hand() -> None:
    a, b, c = ([100 * i + j for j in range(12)] for i in (1, 2, 3))
    tokens = np.array([*a, *b, *a, *a[:6], *c[:6], *b[1:], 7], np.int32)
    copies = Copies(tokens, 12)
    starts = np.arange(0, 60, 12)
    # The third window is the first one; the fourth shares no eight tokens; of the fifth four of five runs stand in the second.
    assert copies.copied(starts).tolist() == [False, False, True, False, True]
    tiles = copies.without_copies(tile(np.array([0, 60]), 12))
    assert tiles.start.tolist() == [0, 12, 36]
    assert tiles.of[[0, 11, 12, 24, 36, 47, 48]].tolist() == [0, 0, 1, -1, 2, 2, -1]
    assert copies.shares(starts, np.array([12])).tolist() == [False, True, False, False, True]
    assert copies.shares(starts, np.array([], np.int64)).tolist() == [False] * 5


def test_a_text_that_repeats_itself_within_a_window_is_no_copy_of_itself() -> None:
    loop = [1, 2, 3] * 12
    assert Copies(np.array(loop, np.int32), 36).copied(np.array([0])).tolist() == [False]
    assert Copies(np.array(loop * 2, np.int32), 36).copied(np.array([0, 36])).tolist() == [False, True]


def test_plain_runs_are_shared_by_windows_of_nothing_else_only() -> None:
    indent = [5] * 10
    one, two, blank = [*indent, *range(10, 16)], [*indent, *range(20, 26)], [5] * 16
    copies = Copies(np.array([*one, *two, *blank], np.int32), 16)
    starts = np.array([0, 16, 32])
    assert copies.shares(starts, np.array([0])).tolist() == [False, False, False]
    assert copies.shares(starts, np.array([32])).tolist() == [False, False, True]
    two_blank = Copies(np.array([*blank, *one, *blank], np.int32), 16)
    assert two_blank.shares(starts, np.array([0])).tolist() == [True, False, True]


def test_runs_hash_alike_only_when_they_are_alike() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 2, 4000)
    hashes = shingle_hashes(tokens, 8)
    texts = [tuple(tokens[i : i + 8].tolist()) for i in range(len(hashes))]
    assert len(set(hashes.tolist())) == len(set(texts)) == 256
    assert plain_runs(tokens, np.arange(len(texts)), 8).all()
    some = rng.integers(0, 4, 500)
    expected = [len(set(some[i : i + 8].tolist())) <= 2 for i in range(493)]
    assert plain_runs(some, np.arange(493), 8).tolist() == expected
    assert len(shingle_hashes(tokens[:7], 8)) == 0


# ---- suites


@pytest.fixture(scope="module")
def place(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recipes over 30 documents and over three copies of each, every other copy with a few words changed."""
    folder = tmp_path_factory.mktemp("copies")
    rng = random.Random(0)
    words = " ".join(SENTENCES).split()
    texts = [[rng.choice(words) for _ in range(60)] for _ in range(60)]
    copied = [[w if i != 1 or rng.random() > 0.03 else "other" for w in t] for i in range(3) for t in texts]
    g = torch.Generator().manual_seed(0)
    weights = {
        "W_enc": torch.randn(32, 64, generator=g),
        "b_enc": torch.randn(64, generator=g) * 0.1,
        "W_dec": torch.randn(64, 32, generator=g),
        "b_dec": torch.randn(32, generator=g) * 0.1,
    }
    save(folder / "sae", weights, 4, "float32", {"hook_name": "layers.1"})
    for name, found in (("once", texts), ("thrice", copied)):
        lines = [json.dumps({"text": " ".join(t)}) + "\n" for t in found]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        recipe = {
            "name": name,
            "version": "1-0",
            "subject": {"model": str(tiny_folder), "dtype": "float32"},
            "corpus": {"kind": "jsonl", "path": f"{name}.jsonl"},
            "context": 64,
            "window": 16,
            "min_windows": 20,
            "strata": 2,
            "explain": {"n": 10, "negatives": 5},
            "test": {"positives_per_decile": 2, "negatives": 20, "hard": {"neighbour": 5, "similar": 5}},
            "coders": [{"coder": {"name": "sae", "format": "saelens", "path": "sae"}, "latents": 10}],
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return folder


def built(place: Path, name: str, rule: str) -> Suite:
    recipe = anchored_recipe(load_recipe(place / f"{name}.yaml"), place).model_copy(update={"copies": rule})
    return build_suite(recipe, place / f"{name}-{rule}", place / "work")


def test_verify_measures_repeats_and_holds_a_suite_to_its_recipe(place: Path) -> None:
    kept = verify(built(place, "thrice", "kept"))
    assert kept.ok, "what was never promised is no broken promise"
    said = kept.lines[-1]
    assert said.startswith("warn of ")
    assert " 0 (0.0%) are one word for word" not in said

    suite = built(place, "thrice", "apart")
    report = verify(suite)
    assert report.ok, report.problems
    assert report.lines[-1].startswith("ok   of ")
    assert "0 (0.0%) share 8 tokens in a row" in report.lines[-1]
    assert suite.manifest["corpus"]["copies"] > suite.manifest["corpus"]["windows"]
    assert suite.manifest["recipe"]["copies"] == "apart"

    # The windows of the one with the promise of the other.
    manifest = dict(built(place, "thrice", "kept").manifest) | {"recipe": suite.manifest["recipe"]}
    manifest.pop("digest")
    doctored = place / "doctored"
    kept_suite = load_suite(place / "thrice-kept")
    save_suite(doctored, manifest, kept_suite.latent_table, kept_suite.window_table)
    report = verify(load_suite(doctored))
    assert any("is an explain window word for word" in p for p in report.problems)
    assert any("is an earlier test window word for word" in p for p in report.problems)


def test_a_suite_over_copies_has_the_windows_of_the_text_without_them(place: Path) -> None:
    once, thrice = built(place, "once", "apart"), built(place, "thrice", "apart")
    both = [{c["name"]: c["qualifying"] for c in s.manifest["coders"]} for s in (once, thrice)]
    assert both[1]["sae"] <= both[0]["sae"] + 3, "three copies of a window qualify a latent as one does"


def test_latents_that_are_short_because_of_copies_are_counted(place: Path, tmp_path: Path) -> None:
    """Every document holds one long phrase, so the windows that remain share it."""
    rng = random.Random(1)
    words = " ".join(SENTENCES).split()
    phrase = " ".join(rng.choice(words) for _ in range(6))
    texts = [" ".join([*rng.choices(words, k=rng.randrange(4)), phrase, *rng.choices(words, k=9)]) for _ in range(120)]
    (place / "phrase.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts), encoding="utf-8")
    recipe = yaml.safe_load((place / "once.yaml").read_text(encoding="utf-8"))
    recipe["corpus"]["path"] = "phrase.jsonl"
    (place / "phrase.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    suite = built(place, "phrase", "apart")
    assert verify(suite).ok
    (coder,) = suite.manifest["coders"]
    got = suite.latent_table.column("got_explain").to_pylist()
    assert 0 < coder["short_by_copies"] <= coder["short"]["explain"] == sum(g < 10 for g in got)


def test_planted_suites_keep_copies_apart_too(tmp_path: Path) -> None:
    from tests.suites.test_planted import KEPT, SHIPPED

    rules = yaml.safe_load((SHIPPED / "rules.yaml").read_text(encoding="utf-8"))
    rules["latents"] = [latent for latent in rules["latents"] if latent["name"] in KEPT[1:6]]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules, allow_unicode=True), encoding="utf-8")
    with gzip.open(SHIPPED.parent.parent / "corpora" / "smollm2-sampled-1.jsonl.gz", "rt", encoding="utf-8") as f:
        lines = [line for line in f if line.strip()][:40]
    (tmp_path / "corpus.jsonl").write_text("".join(lines * 3), encoding="utf-8")
    recipe = yaml.safe_load((SHIPPED / "recipe.yaml").read_text(encoding="utf-8")) | {"corpus": "corpus.jsonl"}
    found = {}
    for rule in ("kept", "apart"):
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"copies": rule}), encoding="utf-8")
        found[rule] = verify(build_planted(tmp_path / "recipe.yaml", tmp_path / rule))
    assert found["kept"].lines[-1].startswith("warn")
    assert found["apart"].ok, found["apart"].problems


def test_windows_of_differing_lengths_are_compared(tmp_path: Path) -> None:
    """Imported suites have them: some are shorter than a run."""
    ids = [[1, 2, 3], [1, 2, 3], list(range(10, 22)), [0, *range(11, 19)], [1, 2], [], list(range(10, 22))]
    table = pa.table({"ids": pa.array(ids, pa.list_(pa.int32()))})
    explain = np.array([True, False, True, False, False, False, False])
    found = repeats(table, np.zeros(7, np.int64), explain)
    assert (found.tests, found.whole.tolist(), found.shared.tolist()) == (5, [1, 6], [1, 3, 6])
    assert found.again.tolist() == []
    assert found.problems(["a/0"]) == [
        "a/0: test window 1 is an explain window word for word",
        "a/0: test window 6 is an explain window word for word",
        "a/0: test window 3 shares 8 tokens in a row with an explain window",
    ]
    twice = repeats(table, np.array([0, 0, 0, 0, -1, 0, 1]), np.zeros(7, np.bool_))
    assert (twice.tests, twice.again.tolist(), twice.shared.tolist()) == (6, [1], [])
