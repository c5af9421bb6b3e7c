"""A coder that is an object in Python: tried before it is used, identified by what is in it, and good for a suite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from latentbench.kernel.errors import CoderError
from latentbench.models.language_model import Loaded
from latentbench.subject.coders import live_coder
from latentbench.subject.coders.coder_spec import CoderSpec, load_coder
from latentbench.subject.coders.live_coder import LiveCoder, offer
from latentbench.subject.coders.provenance import Provenance
from latentbench.suites.build.build import build_suite
from latentbench.suites.build.suite_recipe import anchored_recipe, load_recipe
from latentbench.suites.rerun import compare
from latentbench.suites.verify import verify
from torch import Tensor, nn

from tests.builders.toy_recipe import toy_recipe

D, N = 32, 40


class Mine(nn.Module):
    """A coder of somebody's own: ReLU, with an attribute that decides what it computes."""

    def __init__(self, seed: int = 0, shift: float = 0.5) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.into, self.back = nn.Linear(D, N), nn.Linear(N, D)
        self.shift = shift

    def encode(self, x: Tensor) -> Tensor:
        return torch.relu(self.into(x) - self.shift)

    def decode(self, latents: Tensor) -> Tensor:
        return self.back(latents)


class Other(Mine):
    """The same parameters, another function."""

    def encode(self, x: Tensor) -> Tensor:
        return torch.relu(self.into(x) - self.shift) ** 2


@pytest.fixture(autouse=True)
def nothing_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_coder, "_OFFERED", {})


def live(module: Any, **more: Any) -> LiveCoder:
    return LiveCoder("mine", "layers.1", module.encode, module.decode, d_in=D, **more)


def test_it_encodes_and_decodes_as_the_object_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentbench.subject.coders.sparse.CHUNK_ENTRIES", 7 * N)  # several chunks
    module = Mine()
    coder = live(module)
    assert (coder.n_latents, coder.d_model, coder.kind) == (N, D, "sae")
    x = torch.randn(50, D, generator=torch.Generator().manual_seed(1))
    found = coder.encode(x.bfloat16())
    dense = torch.zeros(50, N)
    dense[found.rows, found.latents] = found.values
    with torch.no_grad():
        expected = module.encode(x.bfloat16().float())
        torch.testing.assert_close(dense, expected)
        torch.testing.assert_close(coder.decode(found), module.decode(expected), atol=1e-5, rtol=1e-5)
    chosen = torch.tensor([3, 0, 39])
    torch.testing.assert_close(coder.direction(chosen), module.back.weight.T[chosen].detach(), atol=1e-6, rtol=1e-5)
    assert found.rows.tolist() == sorted(found.rows.tolist())
    assert coder.decode(coder.encode(x[:0])).shape == (0, D)


def test_its_key_is_what_is_in_it() -> None:
    first = live(Mine()).key
    assert live(Mine()).key == first
    module = Mine()
    coder = live(module)
    with torch.no_grad():
        module.into.bias[3] += 1e-3
    others = [live(Mine(seed=1)).key, live(Mine(shift=0.6)).key, live(Other()).key, coder.key]
    others += [LiveCoder("mine", "layers.2", Mine().encode, Mine().decode, d_in=D, version="1").key]
    others += [live(Mine(), version="1").key, live(Mine(), version="2").key]
    assert len({first, *others}) == 8
    assert live(Mine(seed=5), version="1").key == live(Mine(), version="1").key, "a stated version is its maker's word"


def test_a_part_of_torch_counts_by_its_class_and_a_hook_is_refused() -> None:
    keys = []
    for part in (nn.Sigmoid(), nn.Tanh(), nn.ReLU(), nn.Hardswish()):
        module = Mine()
        module.act = part
        keys.append(live(module).key)
    assert len(set(keys)) == 4, "parts without parameters compute different things"
    module = Mine()
    module.into.register_forward_hook(lambda m, x, out: 2 * out)
    with pytest.raises(CoderError, match=r"into has a hook.*version"):
        live(module)
    assert live(module, version="1").n_latents == N


def test_what_nothing_identifies_asks_for_a_version() -> None:
    with pytest.raises(CoderError, match="state a `version`"):
        LiveCoder("f", "layers.1", torch.relu, lambda z: z, d_in=D)
    assert LiveCoder("f", "layers.1", torch.relu, lambda z: z, d_in=D, version="1").n_latents == D
    module = Mine()
    module.helper = lambda x: x
    with pytest.raises(CoderError, match=r"attribute helper is a function.*version"):
        live(module)


BAD: dict[str, tuple[Any, str]] = {
    "negative": (lambda x: x, "a latent here is active above 0"),
    "random": (lambda x: torch.relu(x + torch.rand_like(x)), "the second time"),
    "of the batch": (lambda x: torch.relu(x - x.mean(0)), "depend on the rows beside it"),
    "not finite": (lambda x: torch.relu(x) / 0, "infinite or not a number"),
    "one number a row": (lambda x: torch.relu(x).sum(-1), r"expected \(18, n_latents\)"),
    "no tensor": (lambda x: [x], "gives list"),
    "in place": (lambda x: x.abs_(), "in place"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_coder_is_refused_before_it_is_used(name: str) -> None:
    encode, message = BAD[name]
    with pytest.raises(CoderError, match=message):
        LiveCoder("f", "layers.1", encode, lambda z: z, d_in=D, version="1")


def test_a_decode_that_is_not_linear_needs_directions() -> None:
    with pytest.raises(CoderError, match="not linear"):
        LiveCoder("f", "layers.1", torch.relu, lambda z: z**2, d_in=D, version="1")
    rows = torch.eye(D)
    coder = LiveCoder("f", "layers.1", torch.relu, lambda z: z**2, d_in=D, version="1", directions=rows)
    assert torch.equal(coder.direction(torch.tensor([4])), rows[4:5])
    with pytest.raises(CoderError, match="give `decode` or `directions`"):
        LiveCoder("f", "layers.1", torch.relu, d_in=D, version="1")
    with pytest.raises(CoderError, match="directions have the shape"):
        LiveCoder("f", "layers.1", torch.relu, d_in=D, version="1", directions=torch.eye(D)[:5])
    only = LiveCoder("f", "layers.1", torch.relu, d_in=D, version="1", directions=rows)
    with pytest.raises(CoderError, match="cannot reconstruct"):
        only.decode(only.encode(torch.ones(2, D)))


def test_a_coder_that_was_not_offered_or_reads_elsewhere_is_a_message(tiny: Loaded) -> None:
    with pytest.raises(CoderError, match=r"none of this name was offered.*offer"):
        load_coder(CoderSpec(name="mine", format="live"), tiny)
    offer(live(Mine()))
    assert load_coder(CoderSpec(name="mine", format="live", hookpoint="model.layers.1"), tiny, verify=False).d_in == D
    with pytest.raises(CoderError, match="leave it out"):
        load_coder(CoderSpec(name="mine", format="live", hookpoint="layers.2"), tiny)


def test_a_suite_is_built_verified_and_run_again_with_it(tiny_folder: Path, tmp_path: Path) -> None:
    given = {"latents": 4, "coder": {"name": "mine", "format": "live"}}
    toy_recipe(tmp_path, tiny_folder, [given], texts=60, explain=4, positives=1)
    recipe = anchored_recipe(load_recipe(tmp_path / "recipe.yaml"), tmp_path)
    module = Mine(shift=1.0)
    offer(live(module, evals={"check_l0": 1e9}, provenance=Provenance("me", prepend_bos=False)))
    with pytest.warns(UserWarning, match="recorded is 1e"):
        suite = build_suite(recipe, tmp_path / "out", tmp_path / "work", device="cpu")
    assert suite.manifest["bos"] is False, "what it says of its training counts as a folder's would"
    assert len(suite.latents()) == 4
    assert verify(suite).ok
    problems, line = compare(suite, 4, tmp_path / "out")
    assert not problems, line
    rows = suite.latent_table.column("decoder").to_pylist() if "decoder" in suite.latent_table.column_names else []
    for view, row in zip(suite.latents(), rows, strict=False):
        np.testing.assert_allclose(row, module.back.weight[:, view.index].detach().numpy(), atol=1e-5)
    offer(live(Mine(seed=9)))
    assert "coder mine" in compare(suite, 4, tmp_path / "out")[0][0]
