"""Hard negatives against dense loops, and in a suite built on the tiny subject."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from latentbench.kernel.errors import SpecError
from latentbench.kernel.kinds import SILENT
from latentbench.scorers.scorer import load_scorer
from latentbench.suites.any_recipe import build_recipe
from latentbench.suites.build import negatives
from latentbench.suites.build.build import build_suite
from latentbench.suites.build.negatives import EmbeddedWindows, Firing, aligned, appended, cooccurring, counted
from latentbench.suites.build.sampling import EXPLAIN, TEST, WindowPlan, sample, tile
from latentbench.suites.build.suite_recipe import (
    ExplainEntry,
    HardEntry,
    SuiteRecipe,
    TestEntry,
    anchored_recipe,
    load_recipe,
)
from latentbench.suites.store import Suite
from latentbench.suites.verify import verify

from tests.conftest import SENTENCES

LATENTS, TOKENS = 30, 1200
TILES = tile(np.arange(0, TOKENS + 1, 60), 8)


def activations(seed: int = 0) -> tuple[np.ndarray, Firing]:
    """A dense [latents, tokens] matrix, in which every third latent copies part of the one before, and its CSR form."""
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random((LATENTS, TOKENS)) < 0.02, rng.random((LATENTS, TOKENS)), 0)
    dense[2::3] = np.where(rng.random((LATENTS // 3, TOKENS)) < 0.7, dense[1::3], dense[2::3])
    dense[5] = 0
    # Some stored entries are zero: they are silence.
    stored = [np.flatnonzero((row > 0) | (rng.random(TOKENS) < 0.01)) for row in dense]
    indptr = np.concatenate([[0], np.cumsum([len(s) for s in stored])])
    value = np.concatenate([row[s] for row, s in zip(dense, stored, strict=True)]).astype(np.float16)
    return dense.astype(np.float16), Firing(indptr, np.concatenate(stored).astype(np.uint32), value, TILES)


def fired(dense: np.ndarray) -> np.ndarray:
    """[latents, tiles], by slicing."""
    return np.array([[(row[s : s + 8] > 0).any() for s in TILES.start] for row in dense])


@pytest.mark.parametrize(("block", "side"), [(1 << 22, 1 << 11), (60, 1 << 11), (1 << 22, 3)])
def test_cooccurring_latents_equal_a_dense_loop(monkeypatch: pytest.MonkeyPatch, block: int, side: int) -> None:
    monkeypatch.setattr(negatives, "BLOCK", block)
    monkeypatch.setattr(negatives, "SIDE", side)
    dense, firing = activations()
    windows = fired(dense)
    latents = [1, 2, 5, 17]
    expected = []
    for a in latents:
        jaccard = {
            b: (windows[a] & windows[b]).sum() / max(1, (windows[a] | windows[b]).sum())
            for b in range(LATENTS)
            if b != a
        }
        expected.append([b for b, j in sorted(jaccard.items(), key=lambda pair: (-pair[1], pair[0])) if j > 0][:4])
    assert cooccurring(firing, latents, 4) == expected
    assert expected[0][0] == 2
    assert expected[2] == []
    assert sorted(b for block in firing.blocks(range(LATENTS)) for b in block) == list(range(LATENTS))


def test_aligned_latents_equal_a_dense_product() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    rows[7] = 3 * rows[4]
    rows[9] = 0
    candidates = np.array([i for i in range(50) if i != 11])
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    for block in (2, 7, 4096):
        found = aligned(lambda index: rows[index], [4, 9, 11], candidates, 5, block)
        for latent, own in zip([4, 9, 11], found, strict=True):
            cosine = unit @ unit[latent]
            expected = sorted((i for i in candidates if i != latent and cosine[i] > 1e-7), key=lambda i: -cosine[i])[:5]
            assert own == expected
    assert found[0][0] == 7
    assert found[1] == []


@pytest.mark.parametrize("centred", [False, True])
def test_hard_windows_are_silent_disjoint_and_drawn_once(centred: bool) -> None:
    dense, firing = activations()
    latent = 1
    where = np.flatnonzero(dense[latent])
    plain = sample(where, dense[latent][where], TILES, WindowPlan(5, "quantile", 1, 20, centred), 0, 1)
    other = np.union1d(firing.of(0), firing.of(3))
    asked = [
        ("neighbour", 6, np.concatenate([other, other])),
        ("similar", 500, other),
        ("nearest", 3, np.arange(len(TILES.start))[::-1]),
    ]
    found = appended(plain, firing.of(latent), TILES, asked, seed=4)
    # Nothing that was there has changed.
    assert np.array_equal(found.start[: len(plain.start)], plain.start)
    assert np.array_equal(found.activations[: len(plain.start)], plain.activations)
    taken: set[int] = set()
    for start in found.start.tolist():
        own = set(range(start, start + 8))
        assert not own & taken
        taken |= own
    hard = found.start[len(plain.start) :]
    assert (found.role[len(plain.start) :] == TEST).all()
    assert all((dense[latent][s : s + 8] == 0).all() for s in hard)
    assert counted(found, "neighbour") == 6
    assert 0 < counted(found, "similar") < 500
    by_kind = {k: found.start[found.decile == -1 - i] for i, k in enumerate(SILENT)}
    for kind in ("neighbour", "similar"):
        assert all((dense[[0, 3], s : s + 8] > 0).any() for s in by_kind[kind])
    # Every usable candidate is used before any is short.
    usable = set(TILES.start[other].tolist()) - {s for p in plain.start.tolist() for s in range(p - 7, p + 8)}
    usable -= set(TILES.start[firing.of(latent)].tolist())
    assert set(by_kind["neighbour"]) | set(by_kind["similar"]) == usable
    # Of `nearest` the first ones that are free.
    before = {t for s in found.start.tolist() if s not in by_kind["nearest"] for t in TILES.of[[s, s + 7]].tolist()}
    free = [t for t in reversed(range(len(TILES.start))) if t not in before and t not in firing.of(latent)]
    assert sorted(TILES.start[free[:3]].tolist()) == by_kind["nearest"].tolist()
    assert np.array_equal(appended(plain, firing.of(latent), TILES, asked, seed=4).start, found.start)
    assert not np.array_equal(appended(plain, firing.of(latent), TILES, asked, seed=5).start, found.start)


def test_the_pool_is_ordered_by_cosine_to_the_mean_of_the_explain_windows() -> None:
    vectors = np.random.default_rng(0).normal(size=(len(TILES.start), 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    embedded: list[int] = []

    def embed(texts: Any) -> np.ndarray:
        embedded.append(len(texts))
        return vectors[[int(t) for t in texts]]

    pool = EmbeddedWindows(TILES, lambda start: [str(TILES.of[s]) for s in start], embed, 40, seed=0)
    assert embedded == [40]
    explain = TILES.start[[3, 70, 71]]
    centre = vectors[[3, 70, 71]].mean(axis=0)
    expected = sorted(pool.tile.tolist(), key=lambda t: -float(vectors[t] @ centre))
    assert pool.ordered(explain).tolist() == expected
    assert len(pool.ordered(explain[:0])) == 0


def test_silent_explain_windows_change_no_other_window() -> None:
    dense, _ = activations()
    where = np.flatnonzero(dense[1])
    plan = WindowPlan(5, "quantile", 1, 20)
    plain = sample(where, dense[1][where], TILES, plan, 0, 1)
    more = sample(where, dense[1][where], TILES, replace(plan, contrast=7), 0, 1)
    new = (more.role == EXPLAIN) & (more.decile < 0)
    assert new.sum() == more.count(EXPLAIN, False) == 7
    assert np.array_equal(more.start[~new], plain.start)
    assert np.array_equal(more.decile[~new], plain.decile)
    assert not set(more.start[new]) & set(plain.start)
    assert (more.activations[new] == 0).all()


# --- in a suite


@pytest.fixture(scope="module")
def recipe(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hard")
    rng = random.Random(1)
    words = " ".join(SENTENCES).split()
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as f:
        for _ in range(120):
            f.write(json.dumps({"text": " ".join(rng.choice(words) for _ in range(rng.randrange(5, 90)))}) + "\n")
    data = {
        "name": "hard",
        "version": "1-0",
        "subject": {"model": str(tiny_folder), "dtype": "float32"},
        "corpus": {"kind": "jsonl", "path": "corpus.jsonl"},
        "context": 48,
        "window": 8,
        "min_windows": 30,
        "strata": 2,
        "promoted": 4,
        "explain": {"n": 10},
        "test": {"positives_per_decile": 2, "negatives": 20},
        "coders": [
            {
                "coder": {"name": "random", "format": "random", "hookpoint": "layers.1", "k": 4, "n_latents": 48},
                "latents": 5,
            },
            {
                "coder": {"name": "neurons", "format": "neurons", "hookpoint": "layers.2.mlp.down_proj:in", "k": 4},
                "latents": 3,
            },
        ],
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    return folder / "recipe.yaml"


def letters(texts: Any) -> np.ndarray:
    """An embedding: counts of letters."""
    counts = np.array([[t.count(c) + 0.01 for c in "abcdefghijklmnopqrstuvwxyz"] for t in texts], np.float32)
    found: np.ndarray = counts / np.linalg.norm(counts, axis=1, keepdims=True)
    return found


def built(recipe: Path, name: str, embed: Any = letters, **changes: Any) -> Suite:
    anchored = anchored_recipe(load_recipe(recipe), recipe.parent).model_copy(update=changes)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return build_suite(anchored, recipe.parent / name, recipe.parent / "work", embed=embed)
    finally:
        torch.set_num_threads(before)


def hard(**counts: Any) -> TestEntry:
    return TestEntry(positives_per_decile=2, negatives=20, hard=HardEntry(embed="embed:letters", **counts))


@pytest.fixture(scope="module")
def plain(recipe: Path) -> Suite:
    return built(recipe, "plain")


@pytest.fixture(scope="module")
def suite(recipe: Path, plain: Suite) -> Suite:
    return built(
        recipe, "hard", test=hard(neighbour=4, similar=3, nearest=5, latents=3), explain=ExplainEntry(n=10, negatives=6)
    )


def test_a_suite_without_hard_negatives_is_as_before(plain: Suite, suite: Suite) -> None:
    kinds = set(plain.window_table.column("kind").to_pylist())
    assert kinds == {"random", *(f"quantile:{d}" for d in range(10))}
    assert all(v.contrast == () for v in plain.latents())
    assert plain.latent_table.equals(suite.latent_table)
    for a, b in zip(plain.latents(), suite.latents(), strict=True):
        key = [(w.position, w.kind, w.activations) for w in a.explain + a.test]
        assert key == [
            (w.position, w.kind, w.activations)
            for w in b.explain + tuple(w for w in b.test if w.decile is not None or w.kind == "random")
        ]


def test_every_rule_of_a_suite_holds_with_hard_negatives(suite: Suite) -> None:
    report = verify(suite, activations=True)
    assert report.ok, report.problems
    for view in suite.latents():
        kinds = [w.kind for w in view.test]
        assert [kinds.count(k) for k in ("neighbour", "nearest")] == [4, 5]
        assert kinds.count("similar") <= 3
        assert all(w.max == 0 for w in view.test if w.decile is None)
        assert len(view.contrast) == 6
        assert {(w.role, w.kind, w.max) for w in view.contrast} == {("explain", "random", 0.0)}
    for coder in suite.manifest["coders"]:
        mine = suite.latents(coders=[coder["name"]])
        for kind, n in (("neighbour", 4), ("similar", 3), ("nearest", 5)):
            assert coder["short"][kind] == sum(sum(w.kind == kind for w in v.test) < n for v in mine)
        assert coder["short"]["contrast"] == 0
    assert suite.manifest["recipe"]["test"]["hard"]["embed"] == "embed:letters"


def test_too_few_hard_windows_are_recorded_and_not_repeated(recipe: Path) -> None:
    short = built(recipe, "short", test=hard(neighbour=10_000), explain=ExplainEntry(n=10, negatives=10_000))
    assert verify(short).ok
    for coder in short.manifest["coders"]:
        n = len(short.latents(coders=[coder["name"]]))
        assert coder["short"]["neighbour"] == coder["short"]["contrast"] == n
        assert set(coder["short"]) == {"explain", "positive", "negative", "contrast", "neighbour"}


def test_hard_negatives_are_scored_apart_from_random_ones(suite: Suite) -> None:
    view = suite.latents()[0]
    kinds = ["random", "neighbour", "nearest"]
    for name in ("detection", "surprisal", "embedding"):
        scorer = load_scorer({"use": name, "params": {"negative_kinds": kinds}})
        shown = [w.kind for t in scorer.trials(view, "z", 0) for w in t.windows if not w.kind.startswith("quantile:")]
        assert {k: shown.count(k) for k in kinds} == {"random": 20, "neighbour": 4, "nearest": 5}
        names = {m.name for m in scorer.metric_table()}
        assert {f"auroc@{k}" for k in ("neighbour", "similar", "nearest", "near-miss")} <= names


def test_nearest_needs_a_model(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="embedding model"):
        built(recipe, "none", embed=None, test=hard(nearest=3))
    data = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    for entry, message in (({"nearest": 3}, "add embed"), ({"neighbor": 3}, "Did you mean 'test.hard.neighbour'")):
        bad = tmp_path / "recipe.yaml"
        bad.write_text(yaml.safe_dump({**data, "test": {"hard": entry}}), encoding="utf-8")
        with pytest.raises(SpecError, match=message):
            load_recipe(bad)
    assert SuiteRecipe.model_validate(data).test.hard == HardEntry()


def test_the_command_embeds_with_the_recipes_model(recipe: Path, tmp_path: Path) -> None:
    from latentbench.judges.embed import embedder
    from rich.console import Console

    asked = []

    def counting(reference: str) -> Any:
        asked.append(reference)
        return embedder(reference)

    data = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    data["corpus"]["path"] = str(recipe.parent / "corpus.jsonl")
    data["test"]["hard"] = {"nearest": 2, "embed": "mock:lexical", "pool": 50}
    mine = tmp_path / "recipe.yaml"
    mine.write_text(yaml.safe_dump(data), encoding="utf-8")
    found = build_recipe(mine, tmp_path / "suite", Console(quiet=True), work=recipe.parent / "work", embedder=counting)
    assert asked == ["mock:lexical"]
    assert all(sum(w.kind == "nearest" for w in v.test) == 2 for v in found.latents())
    with pytest.raises(Exception, match="cannot embed"):
        embedder("mock:lexical?can=chat")
