"""The notebook is run as it stands, in a kernel, from a folder with nothing in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and a kernel that imports the package from where this test does."""
    # Both come with the extra `dev`. A test that skips without them would one day run nowhere.
    import ipykernel  # noqa: F401
    import nbclient  # noqa: F401

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "bench"), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    place = tmp_path / "work"
    place.mkdir()
    return place


def outputs(notebook: Any, kind: str) -> list[str]:
    found = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    return [o["data"][kind] for o in found if kind in o.get("data", {})]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_a_notebook_of_the_docs_runs(path: Path, kernel: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs"), "outputs are stripped: they are somebody's machine and go stale"
        assert cell.get("execution_count") is None
    NotebookClient(
        notebook, timeout=180, kernel_name="python3", resources={"metadata": {"path": str(kernel)}}
    ).execute()
    errors = [o for cell in notebook.cells for o in cell.get("outputs", []) if o["output_type"] in ("error", "stream")]
    assert [o for o in errors if o.get("name") != "stdout"] == [], "no warning either"
    shown = "".join(outputs(notebook, "text/html"))
    for words in ("planted", "shuffled", "coverage", "95 % interval", "<mark ", "answers right", "difference"):
        assert words in shown, words
    assert sorted(p.name for p in kernel.iterdir()) == ["runs"]


def test_a_run_in_a_notebook_is_stopped_and_gone_on_with(kernel: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    start = """
import latentbench as lb, os, signal, threading, time
from pathlib import Path
from latentbench.runs.ledger import total
spec = {
    "name": "t", "suite": "planted-1", "limit": 4, "explainers": ["planted"], "judges": ["mock:oracle?seconds=0.05"],
    "scorers": [{"use": "detection", "params": {"positives": 4, "negatives": 4}}],
}
def stop():  # what the stop button sends, once something was paid
    while not total(Path("slow")):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=stop, daemon=True).start()
try:
    lb.run(spec, "slow", cache="c.sqlite", track=False, progress=False)
except KeyboardInterrupt:
    print("stopped")
"""
    go_on = """
run = lb.resume("slow", cache="c.sqlite", track=False, progress=False)
print(run.record.status, len(run.judgements))
run
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in (start, go_on)])
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(kernel)}}
    ).execute()
    said = [o.get("text", "").strip() for cell in notebook.cells for o in cell.outputs if o["output_type"] == "stream"]
    assert said == ["stopped", "complete 32"]
    assert "<table" in outputs(notebook, "text/html")[0]
