"""The design page's list of what to read first: its files exist, and it is a two-hour read."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "bench" / "latentbench"
MOST = 11_000
"""Lines that a stranger reads in about two hours."""


def core() -> list[Path]:
    """Files of the core, in the order of the page."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    listed = text[text.index("<!-- core -->") : text.index("<!-- end of core -->")]
    found: list[Path] = []
    for name in re.findall(r"`([\w/]+(?:/|\.py))`", listed):
        place = PACKAGE / name
        assert place.exists(), name
        found += sorted(place.rglob("*.py")) if place.is_dir() else [place]
    return found


def test_the_core_is_a_two_hour_read() -> None:
    files = core()
    assert len(files) > 50
    assert len(set(files)) == len(files)
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    assert lines <= MOST, f"the core has {lines} lines"
