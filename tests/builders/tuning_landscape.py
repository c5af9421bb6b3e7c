"""What the tests of tuning share: the judge with a known optimum, installed as a package would be, and a spec to tune on it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml
from latentbench.tuning.tune import TuneRequest, tune
from rich.console import Console

KNOBS = Path(__file__).parents[1] / "knobs" / "latentbench_knobs.py"
QUIET = Console(quiet=True)


def install(place: Path) -> Path:
    """What pip does with the package: its module, and metadata with the entry point."""
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(KNOBS, place)
    info = place / "latentbench_knobs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: latentbench-knobs\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[latentbench.judges]\nknobs = latentbench_knobs:Knobs\n", encoding="utf-8")
    return place


def landscape(effect: int = 1, extra: str = "", latents: int = 12, windows: int = 6, **changes: Any) -> dict[str, Any]:
    """8 x 4 x 5 = 160 settings of the judge with a known best one (`latentbench_knobs.BEST`).

    Args:
        effect: 0 for a landscape that is flat: settings differ by luck alone.
        extra: more parameters of the judge.
    """
    reference = f"knobs:?shots=$shots&style=$style&temperature=$temperature&effect={effect}{extra}"
    return {
        "name": "knobs",
        "run": {
            "suite": "planted-1",
            "limit": latents,
            "explainers": ["planted"],
            "scorers": [{"use": "detection", "params": {"positives": windows, "negatives": windows}}],
            "judges": [{"use": reference, "label": "knobs"}],
        },
        "space": {
            "shots": {"low": 1, "high": 8},
            "style": ["plain", "terse", "long", "polite"],
            "temperature": {"low": 0.0, "high": 1.0, "step": 0.25},
        },
        "default": {"shots": 1, "style": "plain", "temperature": 1.0},
        **changes,
    }


def write(folder: Path, content: dict[str, Any], name: str = "tune.yaml") -> Path:
    """A spec file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def study(folder: Path, content: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Run a study in `folder`; its result."""
    asked = TuneRequest(write(folder, content), folder / "study", cache=folder / "cache.sqlite", **options)
    result = tune(asked, QUIET)
    assert result is not None
    return result
