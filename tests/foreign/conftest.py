"""Everything here needs the libraries of other people: `make test-foreign` installs them into an environment of their own."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

LIBRARIES = ("sae_lens", "sparsify", "dictionary_learning")
MISSING = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
collect_ignore_glob = ["test_*.py"] if MISSING else []


class Agreement:
    """The table of docs/coders.md: what each class of each library and this project make of the same file.

    A row is made by `compare`, which also asserts.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def compare(
        self, library: str, kind: str, ours: tuple[Any, Any], theirs: tuple[Any, Any], atol: float = 2e-5
    ) -> None:
        """Assert that latents and reconstruction agree, and keep the largest errors.

        Args:
            ours, theirs: latents, dense, and reconstruction, as NumPy arrays.
            atol: of the latents; the reconstruction may be off by ten times as much.
        """
        import numpy as np

        (f, r), (g, s) = ours, theirs
        assert (g > 0).any(), "no latent is active"
        row = {
            "library": library,
            "class": kind,
            "encode": float(np.abs(f - g).max()),
            "decode": float(np.abs(r - s).max()),
            "differ": int(((f > 0) != (g > 0)).sum()),
            "entries": int(g.size),
        }
        self.rows.append(row)
        assert row["differ"] == 0, row
        assert row["encode"] < atol, row
        assert row["decode"] < 10 * atol, row

    def table(self) -> list[str]:
        """The table in Markdown."""
        lines = ["| library | class | max error encode | max error decode | support equal |", "|---|---|---:|---:|---|"]
        for row in self.rows:
            encode, decode = (f"{row[side]:.0e}" if row[side] else "0" for side in ("encode", "decode"))
            same = f"{row['differ']} of {row['entries']} differ" if row["differ"] else "yes"
            lines.append(f"| {row['library']} | {row['class']} | {encode} | {decode} | {same} |")
        return lines


@pytest.fixture(scope="session")
def agreement() -> Iterator[Agreement]:
    """Collects the table and prints it at the end."""
    found = Agreement()
    yield found
    print("\n" + "\n".join(found.table()))


@pytest.fixture
def local_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that SAELens' readers take for the hub: files below it are found by repository and name, nothing is fetched."""
    import sae_lens.loading.pretrained_sae_loaders as loaders
    from huggingface_hub.utils import EntryNotFoundError
    from safetensors import safe_open

    root = tmp_path / "hub"

    def download(repo_id: str, filename: str, subfolder: str | None = None, **more: Any) -> str:
        place = root / repo_id / (subfolder or "") / filename
        if not place.is_file():
            raise EntryNotFoundError(f"{place} is not there")
        return str(place)

    def shapes(repo_id: str, filename: str) -> dict[str, list[int]]:
        with safe_open(root / repo_id / filename, framework="pt") as f:
            return {name: f.get_slice(name).get_shape() for name in f.keys()}  # noqa: SIM118

    monkeypatch.setattr(loaders, "hf_hub_download", download)
    monkeypatch.setattr(loaders, "get_safetensors_tensor_shapes", shapes)
    return root
