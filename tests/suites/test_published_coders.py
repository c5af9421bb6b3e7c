"""A suite over coders that others publish, on a subject like Gemma 2: built, verified with its activations, and scored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from latentbench.leaderboards.row import read_rows
from latentbench.runs.run import start
from latentbench.suites.build.build import build_suite
from latentbench.suites.build.suite_recipe import anchored_recipe, load_recipe
from latentbench.suites.store import Suite
from latentbench.suites.verify import verify
from rich.console import Console

from tests.builders.published import gemma_scope, write_tensors
from tests.builders.tiny_models import tiny_model_folder
from tests.builders.toy_recipe import toy_recipe

LATENTS = 5


@pytest.fixture(scope="module")
def suite(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Suite:
    folder = tmp_path_factory.mktemp("published")
    # Norms with gains: the transcoder reads before one.
    subject = tiny_model_folder(folder / "gemma2", "gemma2", tiny_folder)
    coders = []
    for case in gemma_scope():
        if case.name.endswith(("res", "transcoders")):
            # High thresholds, so that few latents are active on a token, as in a trained coder.
            tensors = case.tensors | {"threshold": torch.full_like(case.tensors["threshold"], 1.0)}
            write_tensors(folder / case.file, tensors)
            name = case.name.rpartition(" ")[2]
            coders.append({"latents": LATENTS, "coder": {"name": name, "format": "auto", "path": case.path}})
    toy_recipe(folder, subject, coders, texts=120, explain=8, positives=1)
    return build_suite(anchored_recipe(load_recipe(folder / "recipe.yaml"), folder), folder / "suite", folder / "work")


def test_it_is_whole_and_its_activations_are_those_of_the_coders(suite: Suite) -> None:
    report = verify(suite, activations=True)
    assert report.ok, report.problems
    views = suite.latents()
    assert {v.row["coder_kind"] for v in views} == {"sae", "transcoder"}
    assert [sum(v.coder == c for v in views) for c in ("res", "transcoders")] == [LATENTS, LATENTS]
    places = {c["name"]: c["hookpoint"] for c in suite.manifest["coders"]}
    assert places == {"res": "layers.1", "transcoders": "layers.1.mlp:in"}
    assert len(views[0].row["promoted"]) > 0


def test_it_is_scored_by_tokens_and_floors(suite: Suite, tmp_path: Path) -> None:
    spec = {
        "name": "gemma-toy",
        "suite": str(suite.path),
        "explainers": ["tokens", "empty", "constant", {"use": "shuffled", "params": {"of": "tokens"}}],
        "scorers": [{"use": "detection", "params": {"positives": 4, "negatives": 4}}],
        "judges": ["mock:lexical"],
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    run, _ = start(tmp_path / "spec.yaml", tmp_path / "run", tmp_path / "c.sqlite", Console(quiet=True))
    rows = {row.explainer.label: row for row in read_rows([run])}
    assert set(rows) == {"tokens", "empty", "constant", "shuffled"}
    assert rows["tokens"].score.n == 2 * LATENTS
    assert rows["tokens"].score.estimate > max(rows[name].score.estimate for name in ("empty", "constant"))
