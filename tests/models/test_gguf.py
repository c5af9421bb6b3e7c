"""GGUF files become folders once, whoever is faster."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from latentbench.kernel.errors import ModelError
from latentbench.models.source import dequantise


def _read_as(model_folder: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Any) -> None:
    """Let transformers read any GGUF as the model of a folder, and something else happen in the meantime."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

    monkeypatch.setattr("latentbench.models.source.check_gguf", lambda path: None)

    def read(*_: object, **__: object) -> Any:
        meanwhile()
        return LlamaForCausalLM.from_pretrained(model_folder, dtype=torch.float32)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", read)
    monkeypatch.setattr(
        AutoTokenizer, "from_pretrained", lambda *_, **__: PreTrainedTokenizerFast.from_pretrained(model_folder)
    )


def test_a_folder_that_another_process_made_in_the_meantime_is_used(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models" / "float32"
    _read_as(tiny_folder, monkeypatch, lambda: shutil.copytree(tiny_folder, folder))
    assert dequantise(tmp_path / "weights.gguf", folder) == folder
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {p.name: p.read_bytes() for p in tiny_folder.iterdir()}
    assert list((tmp_path / "models").iterdir()) == [folder]


def test_a_folder_with_something_else_in_it_is_no_model(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models" / "float32"

    def other() -> None:
        folder.mkdir()
        (folder / "notes.txt").write_text("mine", encoding="utf-8")

    _read_as(tiny_folder, monkeypatch, other)
    with pytest.raises(ModelError, match="cannot convert"):
        dequantise(tmp_path / "weights.gguf", folder)
    assert [p.name for p in folder.iterdir()] == ["notes.txt"]
    assert list((tmp_path / "models").iterdir()) == [folder]
