"""The user's own list of endpoints, as a test wants it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml


def bound(hosts: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the list into a folder and have it read; returns the file."""
    path = folder / "endpoints.yaml"
    path.write_text(yaml.safe_dump({"hosts": hosts}), encoding="utf-8")
    monkeypatch.setenv("LATENTBENCH_ENDPOINTS", str(path))
    return path
