"""The page of ratings in a browser, of a run that generated raters have rated: nobody rated anything. `make test-browser`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from latentbench.analysis.people.people_agreement import people_agreement
from latentbench.analysis.people.rating_store import read_ratings
from latentbench.runs.finished import load_run
from latentbench.site.site_folder import WrittenSite
from latentbench.views.number import number

from tests.builders.site_runs import shown_run
from tests.site.test_pages_in_chromium import AXE, READY, Opened, first_latent, site_of
from tests.site.test_people_data import GRID, rate
from tests.site.test_rating_page_in_chromium import browser  # noqa: F401 (a fixture)

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not READY, reason="needs chromium and front/node_modules")]


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, WrittenSite]:
    folder = shown_run(tmp_path_factory.mktemp("rated"), GRID)
    rate(folder)
    return folder, site_of(folder, folder / "site")


@pytest.fixture
def opened(browser: Browser, rated: tuple[Path, WrittenSite]) -> Iterator[Any]:  # noqa: F811
    found = Opened(browser, rated[1].folder, viewport={"width": 320, "height": 800})
    yield found
    found.page.close()
    assert found.faults == []


def test_a_rated_run_has_a_page_of_people_with_the_numbers_of_the_command(
    opened: Opened, rated: tuple[Path, WrittenSite]
) -> None:
    folder, site = rated
    page = opened.go("#/explainers")
    page.get_by_role("link", name="People").click()
    page.wait_for_selector("h1:has-text('People')")
    page.wait_for_selector(".wait", state="detached")
    expected = people_agreement(load_run(folder), read_ratings(folder))
    table = page.locator("table").nth(0).inner_text()
    for name, c in expected.scorers.items():
        assert name in table
        assert number(c.estimate, 2) in table
    assert "ceiling" in table
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert page.evaluate("axe.run({preload: false}).then(r => r.violations.map(v => v.id))") == []
    page = opened.go(f"#/latent/r0/{quote(first_latent(site), safe='')}", "h2")
    page.wait_for_selector('td[data-label="People, 1 to 5"]')
    run = load_run(folder)
    told = run.explanations.set_index(["explainer", "latent"])["hash"]
    latent = first_latent(site)
    own = [
        r.value for r in read_ratings(folder) if (r.latent, r.first, r.task) == (latent, told["llm", latent], "scale")
    ]
    cells = page.locator('td[data-label="People, 1 to 5"]').all_inner_texts()
    assert f"{number(sum(own) / len(own), 1)} of {len(own)}" in [text.strip() for text in cells]
    page = opened.go("#/latents/r0")
    page.wait_for_selector('td[data-label="People, 1 to 5"]')
