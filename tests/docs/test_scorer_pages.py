"""One page a scorer; its example and its costs are what the scorer asks today.

WRITE_EXAMPLES=1 python -m pytest tests/docs/test_scorer_pages.py      writes them into the pages
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml
from latentbench.kernel.tasks import available

from tests.builders import scorer_examples

FOLDER = Path(__file__).parents[2] / "docs" / "scorers"
NAMES = sorted(available("scorers"))
HEADS = ["Formula", "Presets and parameters", "What goes wrong", "An example", "What it costs"]


def between(page: str, word: str) -> tuple[str, str, str]:
    """What stands before, between and behind the two marks of a generated part."""
    head, begin, rest = page.partition(f"<!-- {word} -->\n")
    shown, end, tail = rest.partition(f"<!-- end of {word} -->")
    assert begin
    assert end, word
    return head + begin, shown, end + tail


def test_every_scorer_has_a_page_and_every_page_a_scorer() -> None:
    assert sorted(p.stem for p in FOLDER.glob("*.md") if p.stem != "README") == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_page_says_all_that_a_page_of_a_scorer_says(name: str) -> None:
    page = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    # A prompt inside an example may have lines like headings.
    assert re.findall(r"^## (.*)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), re.MULTILINE) == HEADS
    task = yaml.safe_load(available("scorers")[name].read_text(encoding="utf-8"))
    told = re.findall(r"^- `([\w-]+)`: ", page, re.MULTILINE)
    assert sorted(told) == sorted(task.get("presets") or {})
    assert f"`{scorer_examples.scorer(name).headline}` ranks" in page


@pytest.mark.parametrize("name", NAMES)
def test_the_example_and_the_costs_are_those_of_the_scorer(name: str) -> None:
    path = FOLDER / f"{name}.md"
    page = path.read_text(encoding="utf-8")
    for word, expected in (("example", scorer_examples.example(name)), ("cost", scorer_examples.cost(name))):
        head, shown, tail = between(page, word)
        if os.environ.get("WRITE_EXAMPLES"):
            page = head + expected + tail
            path.write_text(page, encoding="utf-8")
        else:
            assert shown == expected, "WRITE_EXAMPLES=1 python -m pytest tests/docs/test_scorer_pages.py writes it"
