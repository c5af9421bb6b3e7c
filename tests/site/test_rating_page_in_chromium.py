"""Two generated raters rate thirty items in a browser, by keyboard alone; one tab is closed in between. `make test-browser`."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from latentbench.analysis.people.people_agreement import people_agreement
from latentbench.analysis.people.rated_item import RatedItem, order_for, rated_items
from latentbench.analysis.people.rating_store import rating_session, read_ratings
from latentbench.runs.finished import Run, load_run, suite_of
from latentbench.site.rating_server import RatingDesk, RatingServer
from latentbench.stats.alpha import krippendorff_alpha

from tests.builders.run_builder import Grid
from tests.builders.site_runs import shown_run
from tests.site.test_pages_in_chromium import AXE, CHROMIUM, READY

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not READY, reason="needs chromium and front/node_modules")]
ITEMS = 30


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if os.environ.get("LATENTBENCH_BROWSER") != "1":
        pytest.importorskip("playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


class Room:
    """A run with a rating server that can be stopped and started."""

    def __init__(self, folder: Path, task: str = "scale") -> None:
        self.run: Run = load_run(shown_run(folder, Grid(coders={"res9": ITEMS})))
        suite = suite_of(self.run)
        assert suite is not None
        self.items: list[RatedItem] = rated_items(self.run, suite, task, limit=ITEMS)

    def serve(self, work: Any) -> None:
        """Serve while `work` is done with the address."""
        with rating_session(self.run.folder) as session, RatingServer(RatingDesk(self.items, session)) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                work(server.address)
            finally:
                server.shutdown()
                thread.join()


def opened(browser: Browser, address: str, faults: list[str], **options: Any) -> Page:
    page = browser.new_page(**options)
    page.on("console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: faults.append(str(e)))
    page.on("request", lambda r: None if r.url.startswith((address, "data:")) else faults.append(r.url))
    page.goto(address)
    page.wait_for_selector("input")
    return page


def heading(page: Page, text: str) -> None:
    """Wait for a heading that begins so; the page's policy lets no test wait with a script."""
    page.locator("h1").filter(has_text=re.compile(f"^{text}")).wait_for()


def enter(page: Page, rater: str) -> None:
    """The name field has the focus when the page opens."""
    page.keyboard.type(rater)
    page.keyboard.press("Enter")
    page.wait_for_selector(".answers, main > p")


def press(page: Page, keys: list[str], at: int) -> None:
    """Answer items from place `at` on, one key each."""
    for number, key in enumerate(keys, at):
        heading(page, f"Item {number} of {ITEMS}")
        page.keyboard.press(key)


def value_of(item: RatedItem, rater: str) -> int:
    """What a generated rater says: by the item's id, and the second rater is one off on some."""
    truth = int(item.id[:4], 16) % 5
    return 1 + (truth if rater == "ann" or int(item.id[4:6], 16) % 3 else (truth + 1) % 5)


def test_two_raters_rate_thirty_items_by_keyboard_and_one_comes_back(browser: Browser, tmp_path: Path) -> None:
    room, faults = Room(tmp_path), []  # type: tuple[Room, list[str]]
    assert len(room.items) == ITEMS
    keys = {r: [str(value_of(i, r)) for i in order_for(room.items, r, 0)] for r in ("ann", "bob")}

    def first(address: str) -> None:
        page = opened(browser, address, faults)
        enter(page, "ann")
        # A wrong key first, then back and the right one: the last word counts.
        wrong = "1" if keys["ann"][0] != "1" else "2"
        press(page, [wrong], 1)
        heading(page, "Item 2 ")
        page.keyboard.press("Backspace")
        press(page, keys["ann"][:13], 1)
        heading(page, "Item 14 ")
        page.close()
        page = opened(browser, address, faults)
        enter(page, "bob")
        press(page, keys["bob"], 1)
        heading(page, "All items are rated")
        page.close()

    def second(address: str) -> None:
        page = opened(browser, address, faults)
        enter(page, "ann")
        press(page, keys["ann"][13:], 14)
        heading(page, "All items are rated")
        page.close()

    room.serve(first)
    assert len(read_ratings(room.run.folder)) == 13 + ITEMS
    room.serve(second)
    ratings = read_ratings(room.run.folder)
    values = {(r.rater, r.latent, r.first): r.value for r in ratings}
    expected = {(r, i.latent, i.hashes[0]): value_of(i, r) for r in ("ann", "bob") for i in room.items}
    assert values == expected
    found = people_agreement(room.run, ratings)
    table = [[value_of(i, r) for r in ("ann", "bob")] for i in room.items]
    assert found.ordinal.estimate == pytest.approx(krippendorff_alpha(table, "ordinal").estimate)
    assert 0 < found.ordinal.estimate < 1
    assert found.raters == {"ann": (ITEMS, 0), "bob": (ITEMS, 0)}
    assert faults == []


def test_the_better_of_two_is_that_of_the_side_that_was_seen(browser: Browser, tmp_path: Path) -> None:
    room, faults = Room(tmp_path, "pair"), []  # type: tuple[Room, list[str]]
    preferred: dict[str, str] = {}

    def work(address: str) -> None:
        page = opened(browser, address, faults)
        enter(page, "ann")
        for number in range(1, 7):
            heading(page, f"Item {number} of")
            text = page.locator(".rate-text .said").first.inner_text()
            preferred[text] = text
            page.keyboard.press("1")
        heading(page, "Item 7 ")
        page.close()

    room.serve(work)
    texts = dict(zip(room.run.explanations["hash"], room.run.explanations["text"], strict=True))
    ratings = read_ratings(room.run.folder)
    assert {texts[r.first if r.value == 1 else r.second] for r in ratings} == set(preferred)
    assert len(ratings) == 6
    assert faults == []


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_rating_page(browser: Browser, tmp_path: Path, scheme: Any, width: int) -> None:
    room, faults = Room(tmp_path), []  # type: tuple[Room, list[str]]

    def work(address: str) -> None:
        page = opened(
            browser, address, faults, viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
        )
        for rater in ("", "ann"):
            if rater:
                enter(page, rater)
            page.evaluate(AXE.read_text(encoding="utf-8"))
            found = page.evaluate(
                "axe.run({preload: false}).then(r => r.violations.map(v => [v.id, v.nodes.map(n => n.html).slice(0, 2)]))"
            )
            assert found == [], f"{rater or 'name'}, {scheme}, {width}"
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        if shots := os.environ.get("LATENTBENCH_SHOTS"):
            page.screenshot(path=f"{shots}/rate-{scheme}-{width}.png")
        page.close()

    room.serve(work)
    assert faults == []
