"""Suites of what a notebook has in memory: a model, its tokenizer, a coder and texts; and suites and runs of other tools."""

from __future__ import annotations

import copy
import inspect
import linecache
import random
from pathlib import Path
from typing import Any

import latentbench as lb
import pytest
import torch
from latentbench.kernel.class_source import class_source
from latentbench.kernel.errors import BenchError, DigestMismatch, ModelError, SpecError
from latentbench.models import live_subject
from latentbench.models.language_model import Loaded, load
from latentbench.models.live_subject import LiveSubject, offer, offered
from latentbench.subject.coders import live_coder
from latentbench.suites.store import Suite
from latentbench.suites.verify import verify
from torch import Tensor, nn

from tests.builders.foreign_activations import columns
from tests.builders.run_builder import build_run
from tests.conftest import SENTENCES

D, N = 32, 40
pytestmark = pytest.mark.filterwarnings("ignore::latentbench.subject.coders.coder_check.CoderWarning")


class Mine(nn.Module):
    """A coder of somebody's own."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.into, self.back = nn.Linear(D, N), nn.Linear(N, D)

    def encode(self, x: Tensor) -> Tensor:
        return torch.relu(self.into(x) - 1.0)

    def decode(self, latents: Tensor) -> Tensor:
        return self.back(latents)


@pytest.fixture(autouse=True)
def nothing_offered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(live_coder, "_OFFERED", {})
    monkeypatch.setattr(live_subject, "_OFFERED", {})
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model(tiny: Loaded) -> Any:
    return copy.deepcopy(tiny.model)


def texts(n: int = 60) -> list[str]:
    rng = random.Random(0)
    words = " ".join(SENTENCES).split()
    return [" ".join(rng.choice(words) for _ in range(rng.randrange(8, 60))) for _ in range(n)]


RECIPE: dict[str, Any] = {
    "name": "mine", "version": "1-0", "context": 40, "window": 8, "min_windows": 30, "strata": 2, "tune_share": 0.0,
    "explain": {"n": 4}, "test": {"positives_per_decile": 1, "negatives": 10},
}  # fmt: skip


def built(model: Any, tokenizer: Any, module: nn.Module | None = None, **more: Any) -> Suite:
    module = module or Mine()
    coder = lb.LiveCoder("own", "layers.1", module.encode, module.decode, d_in=D)
    given = {"coders": coder, "latents": 4, "texts": texts(), "work": "work", **more}
    return lb.build_suite(RECIPE, model=model, tokenizer=tokenizer, progress=False, **given)


async def test_objects_in_memory_become_a_suite_that_is_found_verified_and_scored(tiny: Loaded, model: Any) -> None:
    suite = built(model, tiny.tokenizer)
    assert suite.manifest["subject"]["model"] == f"live:{live_subject_name(suite)}"
    assert lb.suite("mine").digest == suite.digest, "the default folder is one where names are looked up"
    assert verify(suite, activations=True).ok
    result = lb.score(
        {v.index: f"words {v.index}" for v in suite.latents()},
        suite, "mock:label", {"use": "detection", "params": {"positives": 4, "negatives": 4}},
        track=False, progress=False,
    )  # fmt: skip
    assert set(result.leaderboard()["n"]) == {4}
    assert result.suite is not None
    # The same objects are the same suite; the windows are what a model from a folder gives.
    assert built(model, tiny.tokenizer).digest == suite.digest
    with pytest.raises(DigestMismatch):
        built(model, tiny.tokenizer, Mine(seed=3))


def live_subject_name(suite: Suite) -> str:
    return str(suite.manifest["subject"]["model"]).removeprefix("live:")


def test_the_identity_of_a_subject_is_what_is_in_it(tiny: Loaded, tiny_folder: Path, model: Any) -> None:
    def key(model: Any, tokenizer: Any = tiny.tokenizer) -> str:
        return LiveSubject("m", model, tokenizer).loaded().files.identity

    first = key(model)
    again = load(str(tiny_folder), dtype="float32", device="cpu")
    assert key(again.model, again.tokenizer) == first, "another object with the same content"
    again.tokenizer("a b", padding="max_length", max_length=8, truncation=True)
    assert key(model, again.tokenizer) == first, "what the last call asked for is not the tokenizer's"
    again.model(input_ids=torch.tensor([[1, 2, 3]]), output_hidden_states=True)
    assert any(m._forward_hooks for m in again.model.modules())
    assert key(again.model) == first, "the library's own hooks, which record what passes"
    others = {first}
    with torch.no_grad():
        model.model.layers[2].mlp.up_proj.weight[0, 0] += 1e-3
    others.add(key(model))
    model.config.rope_parameters = {**model.config.rope_parameters, "rope_theta": 5e5}
    others.add(key(model))
    model.model.layers[1].mlp.act_fn = nn.Tanh()
    others.add(key(model))
    again.tokenizer.add_tokens(["riverbank"])
    others.add(key(model, again.tokenizer))
    others.add(key(copy.deepcopy(model).bfloat16()))
    assert len(others) == 6


def test_what_changes_between_two_looks_is_refused(tiny: Loaded, model: Any) -> None:
    subject = LiveSubject("m", model, tiny.tokenizer)
    with pytest.raises(ModelError, match=r"none of this name was offered.*offered: none"):
        offered("live:m", "float32")
    offer(subject)
    with pytest.raises(ModelError, match="has weights in float32, and bfloat16"):
        load("live:m", dtype="bfloat16")
    model.train()
    with pytest.raises(ModelError, match=r"call `\.eval\(\)`"):
        load("live:m", dtype="float32")
    model.eval()
    assert load("live:m", dtype="float32").model is model
    handle = model.model.layers[0].register_forward_hook(lambda m, x, out: out)
    with pytest.raises(ModelError, match=r"model\.layers\.0 has a hook"):
        load("live:m", dtype="float32")
    handle.remove()
    model.model.layers[0].forward = lambda *a, **k: a
    with pytest.raises(ModelError, match="`forward` of its own"):
        load("live:m", dtype="float32")


def test_a_subject_that_was_trained_on_is_another_one(tiny: Loaded, model: Any) -> None:
    suite = built(model, tiny.tokenizer)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.mul_(1.1)
    report = verify(suite, activations=True)
    assert not report.ok
    assert "subject weights" in report.problems[0]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"recipe": {**RECIPE, "subject": "x/y"}}, "`subject`, and `model` is given"),
        ({"recipe": {**RECIPE, "corpus": {"kind": "jsonl", "path": "c.jsonl"}}}, "`corpus`, and `texts` is given"),
        ({"recipe": {**RECIPE, "kind": "planted"}}, "is built of a file"),
        ({"recipe": {**RECIPE, "name": "../up"}}, "name"),
        ({"recipe": "recipe.yaml"}, "a recipe that is a dictionary"),
        ({"tokenizer": None}, "give both"),
        ({"texts": "one text"}, "a list of texts"),
        ({"texts": ["a", 3]}, "number 1 is 3"),
        ({"recipe": {**RECIPE, "coders": [{"latents": 1, "coder": {"name": "o", "format": "live"}}]}}, "coder 'own'"),
        ({"coders": ()}, "coders"),
    ],
)
def test_an_object_beside_what_the_recipe_says_is_refused_and_writes_nothing(
    tiny: Loaded, more: dict[str, Any], said: str, tmp_path: Path
) -> None:
    module = Mine()
    coder = lb.LiveCoder("own", "layers.1", module.encode, module.decode, d_in=D)
    given = {
        "recipe": RECIPE,
        "model": tiny.model,
        "tokenizer": tiny.tokenizer,
        "coders": coder,
        "texts": texts(3),
        **more,
    }
    with pytest.raises(SpecError, match=said):
        lb.build_suite(given.pop("recipe"), "out", progress=False, **given)
    assert not list(tmp_path.iterdir())


def test_a_recipe_file_is_built_as_by_the_command(tiny_folder: Path, tmp_path: Path) -> None:
    from tests.builders.toy_recipe import neurons, toy_recipe

    toy_recipe(tmp_path, tiny_folder, [neurons(4)], texts=60, explain=4, positives=1)
    by_function = lb.build_suite("recipe.yaml", "a", work="work", device="cpu", progress=False)
    from latentbench.cli import app

    app(["suite", "build", "recipe.yaml", "--out", "b", "--work", "work"], standalone_mode=False)
    assert lb.suite("b").digest == by_function.digest


def test_import_and_export(tmp_path: Path) -> None:
    source = columns(tmp_path / "windows.parquet")
    suite = lb.import_suite(source, "parquet", "theirs", latents=3, min_windows=4)
    assert len(suite.latents()) == 3
    assert suite.name == "theirs"
    with pytest.raises(SpecError, match="min_window'"):
        lb.import_suite(source, "parquet", "other", min_window=4)
    build_run(tmp_path / "run")
    written = lb.export("run", "csv", "out")
    assert written.folder == Path("out")
    assert written.files > 1
    with pytest.raises(BenchError, match="exists already"):
        lb.export("run", "csv", "out")


def test_a_class_that_was_written_in_a_cell_is_known_by_its_functions() -> None:
    def cell(source: str, number: int) -> type:
        name = f"<cell {number}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        space: dict[str, Any] = {"__name__": "cells"}
        exec(compile(source, name, "exec"), space)
        found: type = space["Own"]
        return found

    one = "class Own:\n    scale = 1\n    def encode(self, x):\n        return x * self.scale\n"
    sources = [one, one.replace("= 1", "= 2"), one.replace("* s", "+ s")]
    said = [class_source(cell(source, i)) for i, source in enumerate(sources)]
    assert None not in said
    assert len(set(said)) == 3
    assert class_source(cell(one, 9)) == said[0], "the same cell in another process"
    space: dict[str, Any] = {"__name__": "cells"}
    exec(one, space)
    assert class_source(space["Own"]) is None
    assert class_source(Mine) == inspect.getsource(Mine)
