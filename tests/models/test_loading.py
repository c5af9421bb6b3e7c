"""Loading of large models: fewer bits, several devices, and code of a repository, which is off."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from latentbench.kernel.config import validate
from latentbench.kernel.errors import ModelError, SpecError
from latentbench.models import loading
from latentbench.models.language_model import load
from latentbench.models.loading import TRUSTED, Loading, keywords
from latentbench.subject.hooks import capture, edit
from latentbench.subject.unembedding import unembedding
from latentbench.suites.build.suite_recipe import SubjectEntry


def test_a_subject_says_nothing_new_unless_it_is_asked() -> None:
    """Recipes, manifests and studies hash what a subject dumps."""
    assert SubjectEntry(model="m").model_dump(mode="json") == {"model": "m", "dtype": "bfloat16"}
    told = SubjectEntry(model="m", load_in="4bit", device_map="auto", trust_remote_code=True)
    assert told.model_dump(mode="json") == {
        "model": "m",
        "dtype": "bfloat16",
        "load_in": "4bit",
        "device_map": "auto",
        "trust_remote_code": True,
    }
    assert told.loading == Loading("4bit", "bitsandbytes", "auto", True)
    with pytest.raises(SpecError, match="8bit"):
        validate(SubjectEntry, {"model": "m", "load_in": "5bit"}, "recipe")


@pytest.mark.parametrize("library", ["bitsandbytes", "torchao"])
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_fewer_bits_without_the_library_are_one_sentence(tiny_folder: Path, library: str, bits: str) -> None:
    if find_spec(library):
        pytest.skip("the library is here")
    with pytest.raises(ModelError, match=f"{bits}, which needs {library}: pip install {library}"):
        load(str(tiny_folder), "float32", "cpu", Loading(bits, library))  # type: ignore[arg-type]


def test_fewer_bits_are_the_librarys_own_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """bitsandbytes itself needs a GPU for most of this; what it is told is seen here."""
    import transformers

    told: list[dict[str, object]] = []
    monkeypatch.setattr(loading, "find_spec", lambda name: name)
    monkeypatch.setattr(transformers, "BitsAndBytesConfig", lambda **given: told.append(given) or given)
    eight = keywords(Loading("8bit"), "m", torch.bfloat16, "cuda:1")
    four = keywords(Loading("4bit", device_map="auto"), "m", torch.bfloat16, "cuda:1")
    assert told[0] == {"load_in_8bit": True}
    assert told[1]["load_in_4bit"]
    assert told[1]["bnb_4bit_compute_dtype"] is torch.bfloat16
    assert eight["device_map"] == {"": "cuda:1"}
    assert four["device_map"] == "auto"
    assert keywords(Loading(), "m", torch.float32, "cpu").keys() == {"dtype", "trust_remote_code", "local_files_only"}


def test_a_model_laid_out_by_a_device_map_is_the_same_subject(tiny_folder: Path) -> None:
    pytest.importorskip("accelerate")
    plain = load(str(tiny_folder), "float32", "cpu")
    mapped = load(str(tiny_folder), "float32", "cpu", Loading(device_map="auto"))
    assert mapped.files.identity == plain.files.identity, "where a layer lies changes no number that counts"
    assert mapped.device == plain.device
    ids = torch.arange(3, 9)[None]
    places = ["layers.1", "layers.2.mlp.down_proj:in"]
    for name, value in capture(mapped, ids, None, places).items():
        assert torch.allclose(value, capture(plain, ids, None, places)[name])
    with edit(mapped, "layers.1", torch.zeros_like):
        assert not capture(mapped, ids, None, ["layers.1"])["layers.1"].any()
    assert unembedding(mapped).weight.shape == unembedding(plain).weight.shape


def test_a_model_partly_on_disk_is_read_and_has_no_lens(tiny_folder: Path, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """As a large one is whose last layers do not fit: its weights are not there between two passes."""
    pytest.importorskip("accelerate")
    from accelerate import cpu_offload

    plain = load(str(tiny_folder), "float32", "cpu")
    there = load(str(tiny_folder), "float32", "cpu", Loading(device_map="auto"))
    cpu_offload(there.model, torch.device("cpu"))
    ids = torch.arange(3, 9)[None]
    assert torch.allclose(
        capture(there, ids, None, ["layers.1"])["layers.1"], capture(plain, ids, None, ["layers.1"])["layers.1"]
    )
    with pytest.raises(ModelError, match="not in memory"):
        unembedding(there)


CODE = """
from transformers import LlamaConfig, LlamaForCausalLM
open({mark!r}, "a").write("run\\n")
class OwnConfig(LlamaConfig):
    model_type = "own-llama"
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def with_code(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A model folder that brings code, and the file that the code writes when it is run."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.delenv(TRUSTED, raising=False)
    folder, mark = tmp_path / "own", tmp_path / "mark"
    shutil.copytree(tiny_folder, folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config |= {
        "model_type": "own-llama",
        "architectures": ["OwnModel"],
        "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"},
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "own.py").write_text(CODE.format(mark=str(mark)), encoding="utf-8")
    return folder, mark


def test_code_of_a_repository_is_not_run(with_code: tuple[Path, Path]) -> None:
    folder, mark = with_code
    with pytest.raises(ModelError, match="cannot load"):
        load(str(folder), "float32", "cpu")
    assert not mark.exists()


def test_a_recipe_alone_cannot_have_code_run(with_code: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, mark = with_code
    asked = SubjectEntry(model=str(folder), trust_remote_code=True).loading
    for allowed in ("", "another/model", "1", "*"):
        monkeypatch.setenv(TRUSTED, allowed)
        with pytest.raises(ModelError, match=f"Read that code; to allow it on this machine, set {TRUSTED}="):
            load(str(folder), "float32", "cpu", asked)
    assert not mark.exists()


def test_code_that_is_asked_for_and_allowed_runs_and_is_recorded(
    with_code: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, mark = with_code
    monkeypatch.setenv(TRUSTED, f"another/model, {folder}")
    loaded = load(str(folder), "float32", "cpu", Loading(remote_code=True))
    assert mark.exists()
    assert type(loaded.model).__name__ == "OwnModel"
    assert loaded.identity["remote_code"] == "run"
    before = loaded.files.identity
    (folder / "own.py").write_text((folder / "own.py").read_text("utf-8") + "# changed\n", encoding="utf-8")
    assert load(str(folder), "float32", "cpu", Loading(remote_code=True)).files.identity != before
