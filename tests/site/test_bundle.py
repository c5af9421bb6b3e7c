"""What is shipped of the page is what its sources say: a digest of them stands at the head of the bundle."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import latentbench
import pytest

SITE = Path(latentbench.__file__).parent / "site"
FRONT, BUILT = SITE / "front", SITE / "built"
NAMES = ["build.mjs", "index.html", "rate.html", "package-lock.json", "package.json", "tsconfig.json"]
MOST = 200_000
"""Bytes of script and style together."""


def digest_of_sources() -> str:
    names = sorted([*NAMES, *(f"src/{p.name}" for p in (FRONT / "src").iterdir())])
    found = hashlib.sha256()
    for name in names:
        found.update(f"{name}\n".encode() + (FRONT / name).read_bytes() + b"\n")
    return found.hexdigest()


@pytest.mark.parametrize("name", ["app.js", "app.css", "rate.js", "rate.css"])
def test_the_bundle_is_made_of_these_sources(name: str) -> None:
    head = (BUILT / name).read_text(encoding="utf-8").partition("\n")[0]
    said = re.search(r"sources sha256:([0-9a-f]{64})", head)
    assert said is not None
    assert said[1] == digest_of_sources(), "front/ was changed: bundle it again with `make site`"


@pytest.mark.parametrize("name", ["index.html", "rate.html"])
def test_the_page_is_the_one_beside_the_sources(name: str) -> None:
    assert (BUILT / name).read_bytes() == (FRONT / name).read_bytes()


def test_the_bundle_is_small_and_asks_nothing_of_the_network() -> None:
    text = "".join((BUILT / name).read_text(encoding="utf-8") for name in ("app.js", "app.css"))
    assert len(text) < MOST
    addresses = set(re.findall(r"https?://[\w./-]+", text))
    assert addresses <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xhtml",
        "http://www.w3.org/1998/Math/MathML",
    }
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|eval|dangerouslySetInnerHTML=)\(", text)


def test_the_sources_set_no_html() -> None:
    for path in (FRONT / "src").iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"dangerouslySetInnerHTML|innerHTML|document\.write|insertAdjacentHTML", text), path.name


def test_the_lock_names_no_place_to_download_from() -> None:
    packages = json.loads((FRONT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert len(packages) > 3
    assert not [name for name, entry in packages.items() if "resolved" in entry]
    assert all("integrity" in entry for name, entry in packages.items() if name)
