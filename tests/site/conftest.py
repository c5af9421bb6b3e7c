"""A finished run with kept calls, on a planted suite with judges that answer without a model."""

from __future__ import annotations

from pathlib import Path

import latentbench
import pytest

SPEC = {
    "name": "kept",
    "suite": "planted-1",
    "limit": 12,
    "explainers": [
        {"use": "planted", "label": "truth"},
        {"use": "llm", "model": "mock:oracle", "label": "llm"},
        {"use": "empty"},
    ],
    "scorers": [{"use": "detection", "preset": "single"}, {"use": "fuzzing"}],
    "judges": [{"use": "mock:oracle", "label": "oracle"}],
}


@pytest.fixture(scope="session")
def kept_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    latentbench.run(SPEC, out=folder / "run", cache=folder / "cache.sqlite", track=False, progress=False)
    return folder / "run"
