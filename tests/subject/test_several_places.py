"""Crosscoders and CLTs are recognised by their files and refused with what they read, write and would need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from latentbench.kernel.errors import CoderError
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.coder_spec import CoderSpec, load_coder
from latentbench.subject.coders.several_places import refuse_several, several_places
from safetensors.torch import save_file

HOOKS = [f"blocks.{i}.hook_resid_post" for i in range(3)]


def write(folder: Path, files: dict[str, Any]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        if name.endswith(".safetensors"):
            save_file({k: torch.zeros(*shape) for k, shape in content.items()}, folder / name)
        else:
            text = yaml.safe_dump(content) if name.endswith(".yaml") else json.dumps(content)
            (folder / name).write_text(text, encoding="utf-8")
    return folder


SEVERAL: dict[str, tuple[dict[str, Any], str]] = {
    "OpenMOSS crosscoder": (
        {"config.json": {"sae_type": "crosscoder", "hook_points": HOOKS, "d_model": 8}},
        r"crosscoder: it reads 3 places and writes 3 places \(blocks.0.hook_resid_post.*all its places together",
    ),
    "OpenMOSS clt": (
        {"config.json": {"sae_type": "clt", "hook_points_in": HOOKS, "hook_points_out": HOOKS, "d_model": 8}},
        r"CLT\): it reads 3 places and writes 3 places",
    ),
    "OpenMOSS lorsa": (
        {"config.json": {"sae_type": "lorsa", "hook_point_in": HOOKS[0], "hook_point_out": HOOKS[1]}},
        "depend on the tokens before it.*whole contexts",
    ),
    "dictionary_learning": (
        {"config.json": {"trainer": {"dict_class": "CrossCoder", "num_layers": 2, "activation_dim": 8}}},
        "crosscoder: it reads 2 places and writes 2 places",
    ),
    "dictionary_learning BatchTopK, layers not said": (
        {"config.json": {"trainer": {"dict_class": "BatchTopKCrossCoder", "activation_dim": 8}}},
        "crosscoder: it reads several places",
    ),
    "a clt whose reader sums nothing": (
        {"x.safetensors": {"W_enc": (8, 16), "W_dec": (16, 5, 8), "b_enc": (16,), "b_dec": (5, 8)}},
        r"CLT\): it reads 1 place and writes 5 places.*a direction for each place.*saved as a transcoder",
    ),
    "Gemma Scope 2 crosscoder, no configuration": (
        {"params.safetensors": {"w_enc": (4, 8, 16), "w_dec": (16, 4, 8), "b_enc": (16,), "b_dec": (4, 8)}},
        "crosscoder: it reads 4 places and writes 4 places",
    ),
    "circuit-tracer": (
        {"config.yaml": {"model_kind": "cross_layer_transcoder", "model_name": "google/gemma-2-2b"}},
        r"CLT\): it reads several places",
    ),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_a_coder_of_several_places_is_refused_by_kind_and_number(tiny: Loaded, tmp_path: Path, name: str) -> None:
    files, message = SEVERAL[name]
    folder = write(tmp_path / "c", files)
    with pytest.raises(CoderError, match=message):
        load_coder(CoderSpec(name="c", format="saelens", path=str(folder)), tiny)


@pytest.mark.parametrize(
    "files",
    [
        {"config.json": {"sae_type": "sae", "hook_point_in": HOOKS[0], "hook_point_out": HOOKS[0]}},
        {"config.json": {"trainer": {"dict_class": "GatedAutoEncoder", "num_layers": 2}}},
        {"params.safetensors": {"w_enc": (8, 16), "w_dec": (16, 8)}},
        {"config.json": [], "config.yaml": "a: [", "x.safetensors": {}},
        {},
    ],
)
def test_any_other_folder_passes(tmp_path: Path, files: dict[str, Any]) -> None:
    assert several_places(write(tmp_path / "c", files)) is None
    (tmp_path / "c" / "y.safetensors").write_bytes(b"nothing")
    assert several_places(tmp_path / "c") is None


def test_one_layer_of_a_gemma_scope_2_clt_is_let_through_and_its_neighbour_does_not_matter(tmp_path: Path) -> None:
    layer = {"w_enc": (8, 16), "w_dec": (16, 5, 8), "b_enc": (16,), "b_dec": (8,), "threshold": (16,)}
    crossed = layer | {"w_enc": (5, 8, 16), "b_dec": (5, 8)}
    folder = write(tmp_path / "c", {"layer_1.safetensors": layer, "layer_0.safetensors": crossed})
    refuse_several(folder, "layer_1.safetensors")
    with pytest.raises(CoderError, match="crosscoder: it reads 5 places"):
        refuse_several(folder, "layer_0.safetensors")
    with pytest.raises(CoderError, match="crosscoder: it reads 5 places"):
        refuse_several(folder)
