"""The page on Python: it names every public function, and what it shows runs in the order in which it stands."""

from __future__ import annotations

import inspect
import random
import re
from pathlib import Path
from typing import Any

import latentbench as lb
import pytest
import torch
from latentbench.models import live_subject
from latentbench.models.language_model import Loaded
from latentbench.subject.coders import live_coder
from torch import Tensor, nn

from tests.conftest import SENTENCES

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")


def test_every_public_function_is_in_the_table_and_says_what_it_takes() -> None:
    rows = set(re.findall(r"^\| `lb\.(\w+)\(", PAGE, re.MULTILINE))
    functions = {name for name in lb.__all__ if inspect.isfunction(getattr(lb, name))}
    assert rows == functions
    for name in functions:
        function = getattr(lb, name)
        said = inspect.getdoc(function) or ""
        arguments = said.partition("Args:\n")[2]
        for parameter in inspect.signature(function).parameters:
            assert re.search(rf"\b{parameter}\b", arguments), f"lb.{name} does not say what {parameter!r} is"
    for name in set(lb.__all__) - functions:
        assert f"`{name}`" in PAGE or f"lb.{name}(" in PAGE, name


class Sae(nn.Module):
    """Any sparse coder of somebody's own."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.into, self.back = nn.Linear(32, 64), nn.Linear(64, 32)

    def encode(self, x: Tensor) -> Tensor:
        return torch.relu(self.into(x) - 1.0)

    def decode(self, latents: Tensor) -> Tensor:
        return self.back(latents)


@pytest.mark.filterwarnings("ignore::latentbench.subject.coders.coder_check.CoderWarning")
def test_the_snippets_run(tiny: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(live_coder, "_OFFERED", {})
    monkeypatch.setattr(live_subject, "_OFFERED", {})
    rng, words = random.Random(0), " ".join(SENTENCES).split()
    texts = [" ".join(rng.choice(words) for _ in range(80)) for _ in range(200)]
    space: dict[str, Any] = {"sae": Sae(), "model": tiny.model, "tokenizer": tiny.tokenizer, "texts": texts}
    snippets = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(snippets) == 3
    for snippet in snippets:
        # The page names the place and width of a subject that the tests do not have.
        exec(snippet.replace("layers.9", "layers.1").replace("d_in=576", "d_in=32"), space)
    named = re.search(r"run\.latent\((.*?)\)", PAGE)
    assert named is not None
    assert "answers right" in space["run"].latent(named[1].strip('"'))._repr_html_()
    mine = space["mine"]
    assert mine.record.matched["given"].without == len(mine.record.latents) - 3 == 9, (
        "the texts are of latents of the run"
    )
    assert space["suite"].latents()
