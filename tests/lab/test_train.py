from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from latentbench.corpora.corpus_files import content_sha256
from latentbench.kernel.errors import CoderError, EmptyCorpus, SpecError
from latentbench.kernel.identity import digest
from latentbench.lab.coders import coder_training as train
from latentbench.lab.coders import feed
from latentbench.lab.coders.coder_card import card
from latentbench.lab.coders.coder_evaluation import cross_entropy, evaluate_folders, loss_recovered, reconstruction
from latentbench.lab.coders.coder_recipe import read_recipe
from latentbench.models.language_model import Loaded
from latentbench.subject.coders import saelens
from latentbench.subject.coders.coder_spec import CoderSpec, load_coder
from latentbench.subject.hooks import capture
from torch import Tensor

RECIPE = {
    "dtype": "float32",
    "context": 16,
    "contexts_per_batch": 4,
    "held_out": 0.2,
    "tokens": 3000,
    "buffer": 512,
    "batch": 128,
    "k": 4,
    "learning_rate": 0.02,
    "warm_up": 2,
    "dead_after": 5,
    "checkpoint_every": 1000,
    "coders": [
        {"name": "a", "hookpoint": "layers.1", "n_latents": 64},
        {"name": "b", "hookpoint": "layers.2.mlp", "n_latents": 64},
        {"name": "wide", "hookpoint": "layers.1", "n_latents": 96},
    ],
    "sources": [{"name": "Made up", "licence": "CC0"}],
}


@pytest.fixture
def texts() -> list[str]:
    g = np.random.default_rng(0)
    words = ["river", "bridge", "old", "town", "the", "captain", "wheat", "oven", "in", "1897", "map", "price"]
    return [" ".join(g.choice(words, 60)) + "." for _ in range(40)]


@pytest.fixture
def corpus(tmp_path: Path, texts: list[str]) -> Path:
    path = tmp_path / "corpus.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as f:
        f.writelines(json.dumps({"text": t, "source": "x"}) + "\n" for t in texts)
    return path


@pytest.fixture
def recipe(tmp_path: Path, tiny_folder: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"subject": str(tiny_folder), **RECIPE}), encoding="utf-8")
    return path


def test_the_held_out_part_is_the_end_and_is_never_empty(texts: list[str]) -> None:
    seen, kept = feed.split(texts, 0.1)
    assert (list(seen), list(kept)) == (texts[:36], texts[36:])
    assert len(feed.split(texts, 0.0001)[1]) == 1
    with pytest.raises(EmptyCorpus):
        feed.split(texts[:1], 0.5)


def test_token_rows_are_full_contexts_of_one_document_behind_bos(tiny: Loaded, texts: list[str]) -> None:
    rows = list(feed.token_rows(tiny, texts, 16))
    expected = []
    for text in texts:
        ids = tiny.tokenizer(text, add_special_tokens=False)["input_ids"]
        expected += [[tiny.bos, *ids[i : i + 16]] for i in range(0, len(ids), 16) if i + 16 <= len(ids)]
    assert [r.tolist() for r in rows] == expected


def test_activations_leave_out_bos_and_keep_token_order(tiny: Loaded, texts: list[str]) -> None:
    rows = list(feed.token_rows(tiny, texts[:4], 16))
    stream = feed.activations(tiny, feed.batched(rows, 3), ["layers.1", "layers.2.mlp"])
    parts = list(stream)
    joined = torch.cat([p["layers.1"] for p in parts])
    expected = torch.cat([capture(tiny, r[None], None, ["layers.1"])["layers.1"][0, 1:] for r in rows])
    assert torch.allclose(joined, expected, atol=1e-5)
    assert all(len(p["layers.1"]) == len(p["layers.2.mlp"]) for p in parts)


def numbered(parts: list[int]) -> Iterator[dict[str, Tensor]]:
    start = 0
    for n in parts:
        rows = torch.arange(start, start + n, dtype=torch.float32)
        start += n
        yield {"x": rows[:, None], "y": -rows[:, None]}


def test_mixing_yields_every_row_once_in_another_order() -> None:
    batches = list(feed.mixed(numbered([30] * 40), 200, 16, torch.Generator().manual_seed(0)))
    flat = torch.cat([b["x"] for b in batches]).flatten().tolist()
    assert all(len(b["x"]) == 16 for b in batches)
    assert len(flat) == len(set(flat)) == 1200
    assert all(torch.equal(b["x"], -b["y"]) for b in batches)
    # Each batch draws on a stretch of the stream much longer than itself.
    assert np.mean([float(b["x"].max() - b["x"].min()) for b in batches]) > 100
    again = list(feed.mixed(numbered([30] * 40), 200, 16, torch.Generator().manual_seed(0)))
    assert all(torch.equal(a["x"], b["x"]) for a, b in zip(batches, again, strict=True))
    other = list(feed.mixed(numbered([30] * 40), 200, 16, torch.Generator().manual_seed(1)))
    assert not torch.equal(batches[0]["x"], other[0]["x"])


def test_mixing_ends_with_what_is_left_of_a_short_stream() -> None:
    batches = list(feed.mixed(numbered([30, 7]), 200, 16, torch.Generator().manual_seed(0)))
    assert [len(b["x"]) for b in batches] == [16, 16]
    assert list(feed.mixed(numbered([]), 200, 16, torch.Generator().manual_seed(0))) == []


def test_folded_weights_select_and_reconstruct_as_the_trained_ones(tiny: Loaded, tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(0)
    d, n, k = 32, 40, 4
    w_enc, b_enc = torch.randn(d, n, generator=g), torch.randn(n, generator=g)
    w_dec, b_dec = torch.randn(n, d, generator=g) * torch.rand(n, 1, generator=g), torch.randn(d, generator=g)
    x = 5 * torch.randn(200, d, generator=g) + 20 * torch.randn(d, generator=g)
    scale = train.Scale.of(x)
    u = scale.apply(x)
    assert float(u.square().mean()) == pytest.approx(1, rel=1e-4)
    norms = w_dec.norm(dim=-1)
    z = (u @ w_enc + b_enc) * norms
    values, index = z.topk(k, dim=-1)
    kept = torch.zeros_like(z).scatter_(-1, index, values.relu())
    trained = ((kept / norms) @ w_dec + b_dec) * scale.scale + scale.mean

    saelens.save(tmp_path / "c", train.fold(w_enc, b_enc, w_dec, b_dec, scale), k, "float32", {"hook_name": "layers.1"})
    coder = load_coder(CoderSpec(name="c", format="saelens", path=str(tmp_path / "c")), tiny)
    found = coder.encode(x)
    assert torch.allclose(coder.decode(found), trained, atol=1e-2)
    dense = torch.zeros(200, n).index_put_((found.rows, found.latents), found.values)
    assert torch.allclose(dense, kept * scale.scale, atol=1e-2)
    assert torch.allclose(coder.direction(torch.arange(n)).norm(dim=-1), torch.ones(n), atol=1e-5)


def test_the_rate_rises_stays_and_falls_to_zero() -> None:
    assert train.rate(0.0, 0, 10, 0.2) == pytest.approx(0.1)
    assert train.rate(0.1, 9, 10, 0.2) == 1
    assert train.rate(0.8, 500, 10, 0.2) == pytest.approx(1)
    assert train.rate(0.9, 500, 10, 0.2) == pytest.approx(0.5)
    assert train.rate(1.0, 500, 10, 0.2) == 0
    assert train.rate(0.5, 0, 0, 0.0) == 1


def test_progress_is_the_further_of_tokens_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.time, "monotonic", lambda: 130.0)
    assert train.TrainingProgress(1000, None, seen=250, started=100).done == 0.25
    assert train.TrainingProgress(1000, 1.0, seen=250, started=100).done == 0.5
    assert train.TrainingProgress(1000, 0.25, seen=250, started=100).done == 1


def test_recipe_errors_name_the_key(recipe: Path) -> None:
    data = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    recipe.write_text(yaml.safe_dump(data | {"learning_rte": 1}), encoding="utf-8")
    with pytest.raises(SpecError, match="learning_rate"):
        read_recipe(recipe)
    recipe.write_text(yaml.safe_dump(data | {"buffer": 10}), encoding="utf-8")
    with pytest.raises(SpecError, match="two batches"):
        read_recipe(recipe)
    recipe.write_text(yaml.safe_dump(data | {"coders": [data["coders"][0]] * 2}), encoding="utf-8")
    with pytest.raises(SpecError, match="same name"):
        read_recipe(recipe)


def test_sources_do_not_change_the_recipes_identity(recipe: Path) -> None:
    full = read_recipe(recipe)
    assert digest(full.settings) == digest(full.model_copy(update={"sources": ()}).settings)
    assert digest(full.settings) != digest(full.model_copy(update={"seed": 1}).settings)


def test_the_shipped_recipe_is_valid_and_names_no_file() -> None:
    path = Path(__file__).parents[2] / "tasks" / "coders" / "smollm2-135m.yaml"
    shipped = read_recipe(path)
    assert shipped.hookpoints == ("layers.9", "layers.10", "layers.9.mlp", "layers.10.mlp")
    assert len(shipped.coders) == 5
    assert not any(line.lstrip().startswith("/") for line in path.read_text(encoding="utf-8").splitlines())


def identity_coder(tiny: Loaded, folder: Path, k: int) -> CoderSpec:
    """f = ReLU(+-x), decoded to x again: exact with k = d, worse with less."""
    eye = torch.eye(32)
    both = torch.cat([eye, -eye])
    saelens.save(
        folder,
        {"W_enc": both.T, "b_enc": torch.zeros(64), "W_dec": both, "b_dec": torch.zeros(32)},
        k,
        "float32",
        {"hook_name": "layers.1"},
    )
    return CoderSpec(name=folder.name, format="saelens", path=str(folder))


def test_a_perfect_coder_recovers_all_of_the_loss_and_a_poor_one_less(
    tiny: Loaded, texts: list[str], tmp_path: Path
) -> None:
    rows = torch.stack(list(feed.token_rows(tiny, texts[:6], 16)))
    coders = [load_coder(identity_coder(tiny, tmp_path / name, k), tiny) for name, k in (("exact", 64), ("poor", 2))]
    quality = reconstruction(tiny, coders, list(feed.batched(rows, 4)), say=lambda s: None)
    assert quality["exact"].fvu == pytest.approx(0, abs=1e-9)
    assert quality["exact"].l0 == pytest.approx(32)
    assert quality["exact"].rows == rows.shape[0] * 16
    assert 0.1 < quality["poor"].fvu < 1.5
    means = {"layers.1": quality["exact"].mean}
    found = loss_recovered(tiny, coders, rows, means, 4, say=lambda s: None)
    assert found["exact"]["ce_spliced"] == pytest.approx(found["exact"]["ce_clean"], abs=1e-5)
    assert found["exact"]["recovered_zero"] == pytest.approx(1, abs=1e-3)
    poor = found["poor"]
    assert poor["ce_spliced"] != pytest.approx(poor["ce_clean"], abs=1e-4)
    by_hand = (poor["ce_mean"] - poor["ce_spliced"]) / (poor["ce_mean"] - poor["ce_clean"])
    assert poor["recovered_mean"] == pytest.approx(by_hand)


def test_cross_entropy_is_the_models_own_loss(tiny: Loaded, texts: list[str]) -> None:
    rows = torch.stack(list(feed.token_rows(tiny, texts[:3], 16)))
    expected = float(tiny.model(rows, labels=rows).loss)
    assert cross_entropy(tiny, rows, 2) == pytest.approx(expected, abs=1e-5)


def test_training_saves_loadable_coders_that_beat_their_start(
    tiny: Loaded, tmp_path: Path, recipe: Path, corpus: Path
) -> None:
    pytest.importorskip("sae_lens")
    lines: list[str] = []
    folders = train.train(
        recipe, corpus, tmp_path / "out", tokens=6000, checkpoints=tmp_path / "steps", say=lines.append
    )
    assert [f.name for f in folders] == ["a", "b", "wide"]
    assert (tmp_path / "steps" / "wide" / "sae_weights.safetensors").exists()
    results = evaluate_folders(folders, corpus, 512, 256, say=lines.append)
    assert results["a"]["fvu"] < 0.9
    assert results["a"]["l0"] <= 4
    assert "Made up (CC0)" in (tmp_path / "out" / "a" / "README.md").read_text(encoding="utf-8")
    load_coder(CoderSpec(name="a", format="saelens", path=str(tmp_path / "out" / "a")), tiny)


def trained(parent: Path, name: str, subject: Path, corpus: Path, seed: int, **more: object) -> Path:
    """A folder as training leaves it, with random weights."""
    meta: dict[str, object] = {
        "model_name": str(subject),
        "subject_dtype": "float32",
        "context_size": 16,
        "held_out": 0.2,
    }
    meta |= {"training_finished": False, "training_tokens": 1000, "training_steps": 8, "training_minutes": 0.1}
    meta |= {"batch": 128, "hardware": "cpu", "sae_lens_training_version": "6", "torch_version": "2", "seed": 0}
    meta |= {"learning_rate": 1e-3, "date": "2026-01-01", "recipe": "r.yaml", "recipe_digest": "0", "stored": "float32"}
    meta |= {
        "sources": [{"name": "Made up", "licence": "CC0"}],
        "trained_together": 2,
        "planned_tokens": 2000,
        "time_limit_minutes": None,
        "hook_name": "layers.1",
    }
    g = torch.Generator().manual_seed(seed)
    w = {"W_enc": torch.randn(32, 64, generator=g), "b_enc": torch.zeros(64)}
    w |= {"W_dec": torch.randn(64, 32, generator=g), "b_dec": torch.zeros(32)}
    saelens.save(parent / name, w, 4, "float32", meta | {"corpus_sha256": content_sha256(corpus)} | more)
    return parent / name


def test_evaluation_writes_numbers_and_card(tmp_path: Path, tiny_folder: Path, corpus: Path) -> None:
    folders = [trained(tmp_path / "out", name, tiny_folder, corpus, i) for i, name in enumerate(("a", "b"))]
    results = evaluate_folders(folders, corpus, 512, 256, command="bench x", say=lambda s: None)
    stored = json.loads((folders[1] / "eval.json").read_text(encoding="utf-8"))
    assert stored == json.loads(json.dumps(results["b"]))
    assert stored["tokens"] == 512
    assert stored["held_out_documents"] == 8
    assert results["a"]["fvu"] != results["b"]["fvu"]
    text = (folders[1] / "README.md").read_text(encoding="utf-8")
    assert text == card("b", json.loads((folders[1] / "cfg.json").read_text(encoding="utf-8")), stored)
    assert f"{stored['fvu']:.4f}" in text
    assert "stopped before" in text
    assert "Made up (CC0)" in text


def test_the_card_says_what_ended_the_run(tmp_path: Path, tiny_folder: Path, corpus: Path) -> None:
    folder = trained(tmp_path, "a", tiny_folder, corpus, 0, training_finished=True, time_limit_minutes=5.0)
    evaluate_folders([folder], corpus, 64, 64, say=lambda s: None)
    assert "time limit of 5 minutes" in (folder / "README.md").read_text(encoding="utf-8")
    config, evals = (json.loads((folder / name).read_text(encoding="utf-8")) for name in ("cfg.json", "eval.json"))
    config["metadata"]["training_tokens"] = 2048
    text = card("a", config, evals)
    assert "time limit" not in text
    assert "stopped" not in text


def test_evaluation_refuses_other_text_and_other_runs(tmp_path: Path, tiny_folder: Path, corpus: Path) -> None:
    a = trained(tmp_path, "a", tiny_folder, corpus, 0)
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"text": "something else"}) + "\n", encoding="utf-8")
    with pytest.raises(CoderError, match="not the text of the training run"):
        evaluate_folders([a], other)
    with pytest.raises(CoderError, match="one training run"):
        evaluate_folders([a, trained(tmp_path, "b", tiny_folder, corpus, 0, context_size=32)], corpus)
    saelens.save(
        tmp_path / "c",
        {"W_enc": torch.eye(4), "b_enc": torch.zeros(4), "W_dec": torch.eye(4), "b_dec": torch.zeros(4)},
        1,
        "float32",
        {},
    )
    with pytest.raises(CoderError, match="does not record"):
        evaluate_folders([tmp_path / "c"], corpus)
