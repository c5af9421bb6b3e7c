"""Whole suites on families that could not be subjects before."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from latentbench.subject.unembedding import SubjectWarning
from latentbench.suites.build.build import build_suite
from latentbench.suites.build.suite_recipe import anchored_recipe, load_recipe
from latentbench.suites.show import show_suite
from latentbench.suites.store import Suite
from latentbench.suites.verify import verify
from rich.console import Console

from tests.builders.families import subject
from tests.builders.tokenizers_of_bytes import mixed, tokenizer


def build(folder: Path, family: str, hookpoints: list[str], promoted: int = 3, **changes: Any) -> Suite:
    """A suite of random directions at each hookpoint and, at inputs, neurons."""
    tok = tokenizer("gpt2")
    tok.save_pretrained(folder / "subject")
    subject(family, vocab_size=len(tok), **changes).model.save_pretrained(folder / "subject")
    texts = [json.dumps({"text": mixed(i, 30)}) for i in range(30)]
    (folder / "corpus.jsonl").write_text("\n".join(texts) + "\n", encoding="utf-8")
    coders = [
        {"latents": 3, "coder": {"name": f"r{i}", "format": "random", "hookpoint": place, "k": 2, "n_latents": 8}}
        for i, place in enumerate(hookpoints)
    ]
    coders += [
        {"latents": 3, "coder": {"name": f"n{i}", "format": "neurons", "hookpoint": place, "k": 4}}
        for i, place in enumerate(hookpoints)
        if place.endswith(":in")
    ]
    recipe = {
        "name": family,
        "version": "1-0",
        "subject": {"model": "subject", "dtype": "float32"},
        "corpus": {"kind": "jsonl", "path": "corpus.jsonl"},
        "context": 48,
        "window": 8,
        "min_windows": 5,
        "strata": 1,
        "promoted": promoted,
        "explain": {"n": 3},
        "test": {"positives_per_decile": 1, "negatives": 5},
        "coders": coders,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return build_suite(anchored_recipe(load_recipe(folder / "recipe.yaml"), folder), folder, folder / "work")


@pytest.mark.parametrize(
    ("family", "place"),
    [("opt", "layers.0.fc2:in"), ("mamba", "layers.0.mixer.out_proj:in"), ("mpt", "layers.1.ffn.down_proj:in")],
)
def test_a_family_of_another_build_gets_a_suite(tmp_path: Path, family: str, place: str) -> None:
    suite = build(tmp_path, family, ["layers.0", "layers.1", place])
    assert [len(suite.latents(coders=[c])) for c in ("r0", "r1", "r2", "n2")] == [3, 3, 3, 3]
    assert all(len(v.row["promoted"]) == 3 for v in suite.latents(coders=["r0", "n2"]))
    assert "promoted" not in suite.manifest
    report = verify(suite, activations=True, contexts=6)
    assert report.ok, report.problems


def test_a_subject_without_a_lens_gets_a_suite_and_a_word_before_the_pass(tmp_path: Path) -> None:
    with pytest.warns(SubjectWarning, match="no tokens are listed as promoted or suppressed: .* width 8"):
        suite = build(tmp_path, "opt", ["layers.1"], word_embed_proj_dim=8)
    assert all(v.row["promoted"] == v.row["suppressed"] == () for v in suite.latents())
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(show_suite(suite))
    assert suite.manifest["promoted"]["note"] in console.export_text()


def test_a_suite_that_lists_no_tokens_needs_no_lens(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", SubjectWarning)
        suite = build(tmp_path, "opt", ["layers.1"], promoted=0, word_embed_proj_dim=8)
    assert "promoted" not in suite.manifest


def test_a_coder_beyond_float16_gets_a_suite_that_verifies(tmp_path: Path) -> None:
    """Weights a billion times larger: the same windows in the same deciles, as multiples that the manifest names."""
    import torch
    from latentbench.subject.coders.saelens import save

    generator = torch.Generator().manual_seed(0)
    weights = {
        "W_enc": torch.randn(16, 12, generator=generator),
        "b_enc": torch.zeros(12),
        "W_dec": torch.randn(12, 16, generator=generator),
        "b_dec": torch.zeros(16),
    }
    suites = []
    for name, scale in (("plain", 1.0), ("far", 2.0**30)):
        folder = tmp_path / name
        folder.mkdir()
        save(folder / "sae", {**weights, "W_enc": scale * weights["W_enc"]}, 3, "float32", {"hook_name": "layers.1"})
        build(folder, "llama", ["layers.0"])
        recipe = yaml.safe_load((folder / "recipe.yaml").read_text("utf-8"))
        recipe |= {
            "version": "2-0",
            "coders": [{"latents": 5, "coder": {"name": "s", "format": "saelens", "path": "sae"}}],
        }
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
        suites.append(
            build_suite(anchored_recipe(load_recipe(folder / "recipe.yaml"), folder), folder, folder / "work")
        )
    plain, far = suites
    assert "scales" not in plain.manifest
    assert far.ids == plain.ids
    assert set(far.manifest["scales"]) == set(far.ids)
    for latent in plain.ids:
        there, here = plain.latent(latent), far.latent(latent)
        assert [w.position for w in here.test] == [w.position for w in there.test]
        unit = 2.0 ** far.manifest["scales"][latent] / 2.0**30
        assert here.row["max_activation"] * unit == pytest.approx(there.row["max_activation"], rel=2e-3)
    report = verify(far, activations=True, contexts=6)
    assert report.ok, report.problems
