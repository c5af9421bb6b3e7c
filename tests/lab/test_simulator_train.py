"""Training a simulator: rows that share a description, resume to the same weights, and the small recipe end to end."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from latentbench.judges.simulator.artifact import load
from latentbench.judges.simulator.simulator_prompt import prefix_ids
from latentbench.kernel.errors import DataError, ModelError, SpecError
from latentbench.lab.simulator import simulator_training as training
from latentbench.lab.simulator.batch import collate, encode
from latentbench.lab.simulator.lessons import Example, TextWindow
from latentbench.lab.simulator.model import Trainee
from latentbench.lab.simulator.simulator_card import evaluate_folder
from latentbench.lab.simulator.simulator_evaluation import auroc, calibration_error, platt
from latentbench.lab.simulator.simulator_recipe import SimulatorRecipe
from latentbench.models.language_model import Loaded
from latentbench.models.language_model import load as load_model
from sklearn.metrics import roc_auc_score

TASKS = Path(__file__).parents[2] / "tasks"
CORPUS = TASKS / "corpora/smollm2-sampled-1.jsonl.gz"


def _window(text: str, fires: int | None) -> TextWindow:
    tokens = tuple(f" {w}" for w in text.split())
    labels = np.zeros(len(tokens), np.bool_)
    if fires is not None:
        labels[fires] = True
    return TextWindow(tokens, labels, "active" if fires is not None else "random")


EXAMPLES = [
    Example(
        "f", "c", "Names of birds.", (_window("the sparrow sat on a wall", 1), _window("no such thing here", None))
    ),
    Example(
        "f",
        "d",
        "Words for very large buildings of stone.",
        (_window("a castle", 1), _window("it rained all day long", None)),
    ),
]


def _fresh(folder: Path) -> Loaded:
    return load_model(str(folder), dtype="float32", device="cpu")


@pytest.mark.filterwarnings("ignore")
def test_windows_of_a_row_see_the_description_and_not_each_other(tiny_folder: Path) -> None:
    """The logits of a batch of rows are those of every (description, window) run alone through the plain model."""
    trainee = Trainee(_fresh(tiny_folder), layers=3, rank=2, alpha=4, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in (*trainee.adapter, *trainee.heads.parameters()):
            p.add_(torch.randn(p.shape, generator=generator) * 0.1)
    rows = [encode(trainee.loaded.tokenizer, e) for e in EXAMPLES]
    batch = collate(rows)
    with torch.no_grad():
        tokens, windows = trainee.logits(batch)
        w = 0
        for row, example in zip(rows, EXAMPLES, strict=True):
            for ids, pieces in zip(row.windows, row.pieces, strict=True):
                prefix = prefix_ids(trainee.loaded.tokenizer, example.description)
                hidden = trainee.model.model(torch.tensor([prefix + ids])).last_hidden_state[:, len(prefix) :]
                alone, whole = trainee.heads(
                    hidden, torch.ones(1, len(ids), dtype=torch.bool), torch.tensor([len(ids) - 1])
                )
                assert torch.allclose(tokens[w, :pieces], alone[0, :pieces], atol=1e-4)
                assert torch.allclose(windows[w], whole[0], atol=1e-4)
                w += 1
    assert batch.active.tolist() == [1, 0, 1, 0]
    first = rows[0].ranges[0][1]
    assert batch.labels[0].nonzero()[:, 0].tolist() == list(range(*first))


def _recipe(folder: Path, base: Path, **changed: Any) -> Path:
    for name in ("surface.yaml", "wordings.yaml"):
        (folder / name).write_text((TASKS / "simulators" / name).read_text(encoding="utf-8"), encoding="utf-8")
    exam = str(TASKS / "suites/planted-1/rules.yaml")
    held = {
        "name": "t",
        "base": str(base),
        "layers": 2,
        "rank": 2,
        "alpha": 4.0,
        "pool_tokens": 60000,
        "batch": 2,
        "windows": 2,
        "steps": 6,
        "warmup": 2,
        "evaluate_every": 3,
        "evaluate_examples": 6,
        "final_examples": 12,
        "checkpoint_every": 3,
        "exams": [exam],
    }
    path = folder / "t.yaml"
    path.write_text(yaml.safe_dump(held | changed), encoding="utf-8")
    return path


def test_a_killed_run_goes_on_to_the_same_weights(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = _recipe(tmp_path, tiny_folder, then=[{"steps": 4, "families": {"casing": 9, "drill": 20}}], average=True)
    quiet: list[str] = []
    whole = training.train(recipe, CORPUS, None, tmp_path / "whole", "cpu", "float32", quiet.append)

    real, calls = training._checkpoint, []

    def killed(*args: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(*args)
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_checkpoint", killed)
    # Once behind a checkpoint, and once between the curve and its checkpoint.
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            training.train(recipe, CORPUS, None, tmp_path / "cut", "cpu", "float32", quiet.append)
    written = [
        json.loads(line)["step"] for line in (tmp_path / "cut/curve.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert written == [3, 6]
    resumed = training.train(recipe, CORPUS, None, tmp_path / "cut", "cpu", "float32", quiet.append)
    one, two = load(tmp_path / "whole"), load(tmp_path / "cut")
    assert one.config == two.config  # hashes of adapter and heads, calibration
    ends = [torch.load(tmp_path / f"whole/cycle-{step}.pt", weights_only=True)["adapter"] for step in (6, 10)]
    last = _recipe(tmp_path, tiny_folder, then=[{"steps": 4, "families": {"casing": 9, "drill": 20}}])
    training.train(last, CORPUS, None, tmp_path / "last", "cpu", "float32", quiet.append)
    reached = torch.load(tmp_path / "last/checkpoint.pt", weights_only=True)["adapter"]
    for name, stored in one.adapter.items():
        assert torch.equal(stored, ends[1][name].to(stored.dtype))
        assert torch.equal(ends[1][name], (ends[0][name] + reached[name]) / 2)
        assert not name.endswith(".B") or not torch.equal(ends[0][name], ends[1][name])
    assert whole["held_out"] == resumed["held_out"]
    assert [row["step"] for row in whole["curve"]] == [3, 6, 9, 10]
    assert [row["step"] for row in resumed["curve"]] == [3, 6, 9, 10]
    assert json.loads((tmp_path / "cut/result.json").read_text(encoding="utf-8"))["recipe"]["steps"] == 6

    shorter = tmp_path / "shorter.jsonl.gz"
    with gzip.open(CORPUS) as texts, gzip.open(shorter, "wb") as fewer:
        fewer.writelines(list(texts)[:-1])
    with pytest.raises(ModelError, match="another recipe, data, base"):
        training.train(recipe, shorter, None, tmp_path / "cut", "cpu", "float32", quiet.append)

    other = _recipe(tmp_path, tiny_folder, lr=1e-3)
    with pytest.raises(ModelError, match="another recipe"):
        training.train(other, CORPUS, None, tmp_path / "cut", "cpu", "float32", quiet.append)


def test_every_cycle_warms_up_and_decays_by_hand() -> None:
    recipe = SimulatorRecipe(name="t", steps=10, warmup=2, then=({"steps": 6, "peak": 0.5},))  # type: ignore[arg-type]
    shares = [training._share(step, recipe) for step in range(17)]
    assert shares[:4] == [0.5, 1.0, 1.0, pytest.approx(1 - 1 / 8)]
    assert shares[9] == pytest.approx(1 - 7 / 8)
    assert shares[10:14] == [0.25, 0.5, 0.5, pytest.approx(0.5 * 0.75)]
    assert shares[16] == 0.5 * 0.05
    assert (recipe.all_steps, recipe.start(9), recipe.start(10)) == (16, 0, 10)


def test_a_family_that_does_not_exist_is_refused(tmp_path: Path, tiny_folder: Path) -> None:
    recipe = _recipe(tmp_path, tiny_folder, then=[{"steps": 1, "families": {"afix": 9}}])
    with pytest.raises(SpecError, match="afix"):
        training.train(recipe, CORPUS, None, tmp_path / "out", "cpu", "float32", lambda _: None)


def test_a_recipe_without_its_files_is_refused(tmp_path: Path, tiny_folder: Path) -> None:
    recipe = _recipe(tmp_path, tiny_folder)
    (tmp_path / "wordings.yaml").unlink()
    with pytest.raises(SpecError, match=r"wordings\.yaml"):
        training.read_recipe(recipe)


def test_the_small_recipe_ends_above_chance(tmp_path: Path) -> None:
    """The path that made the shipped weights, at a size for CI: a held-out AUROC per token of .65 at least, chance being .5.

    Windows are not asked about: 80 steps teach where a named word is (.74 when this was written), and not yet to sum up a window.
    """
    recipe = TASKS / "simulators/smollm2-135m-small.yaml"
    result = training.train(recipe, CORPUS, None, tmp_path / "out", "cpu", "bfloat16", lambda _: None)
    assert result["held_out"]["token_auroc"] > 0.65
    assert result["held_out"]["tokens"] > 5000
    # The card measures the merged weights, which are what a judge runs; merging rounds them to bfloat16.
    merged = evaluate_folder(
        tmp_path / "out",
        recipe,
        CORPUS,
        None,
        SimulatorRecipe.model_validate(result["recipe"]).final_examples,
        "cpu",
        lambda _: None,
    )
    assert merged["token_auroc"] == pytest.approx(result["held_out"]["token_auroc"], abs=0.02)
    assert merged["tokens"] == result["held_out"]["tokens"]
    assert f"| AUROC | {merged['window_auroc']:.3f} | {merged['token_auroc']:.3f} |" in (
        tmp_path / "out/README.md"
    ).read_text(encoding="utf-8")
    assert json.loads((tmp_path / "out/result.json").read_text(encoding="utf-8"))["held_out"] == merged


def test_only_a_trained_simulator_on_its_own_base_is_evaluated(tmp_path: Path, tiny_folder: Path) -> None:
    recipe = _recipe(tmp_path, tiny_folder, steps=2, evaluate_every=2, checkpoint_every=2)
    training.train(recipe, CORPUS, None, tmp_path / "out", "cpu", "float32", lambda _: None)

    def evaluated() -> None:
        evaluate_folder(tmp_path / "out", recipe, CORPUS, None, 2, "cpu", lambda _: None)

    config = tmp_path / "out/simulator.yaml"
    held = yaml.safe_load(config.read_text(encoding="utf-8"))
    config.write_text(yaml.safe_dump(held | {"base_identity": "0" * 16}), encoding="utf-8")
    with pytest.raises(ModelError, match="belongs to a base"):
        evaluated()
    config.write_text(yaml.safe_dump(held), encoding="utf-8")
    (tmp_path / "out/result.json").unlink()
    with pytest.raises(DataError, match=r"no result\.json"):
        evaluated()


def test_figures_against_scikit_learn_and_by_hand() -> None:
    rng = np.random.default_rng(0)
    score, label = rng.integers(0, 6, 200).astype(float), rng.integers(0, 2, 200).astype(float)
    assert auroc(score, label) == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert auroc(score, np.ones(200)) is None
    # Two bins: |.2 - .5| over half of the points, |.9 - 1| over the other half.
    p, y = np.array([0.2, 0.2, 0.9, 0.9]), np.array([1.0, 0.0, 1.0, 1.0])
    assert calibration_error(p, y, bins=2) == pytest.approx(0.5 * 0.3 + 0.5 * 0.1)


def test_platt_scaling_recovers_what_made_the_labels() -> None:
    rng = np.random.default_rng(1)
    logit = rng.normal(0, 2, 20000)
    label = (rng.random(20000) < 1 / (1 + np.exp(-(0.5 * logit - 1)))).astype(float)
    found = platt(logit, label)
    assert found.scale == pytest.approx(0.5, abs=0.04)
    assert found.bias == pytest.approx(-1, abs=0.06)
