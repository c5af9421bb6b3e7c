"""The report of a run: self-contained, escaped, and with everything that a reader needs to doubt it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from latentbench.leaderboards.board import tables
from latentbench.leaderboards.board_page import HEIGHT, PAD, WIDTH, axis, bar, ruler
from latentbench.leaderboards.row import read_rows, rows
from latentbench.leaderboards.run_page import SAMPLES, limits, write_report
from latentbench.runs.finished import load_run

from tests.builders.run_builder import Grid, build_run, build_suite, set_suite_digest
from tests.builders.signed_runs import signed

GRID = Grid(coders={"res9": 12, "mlp9": 12}, fail=0.1)
VOID = {"meta", "br", "wbr", "circle", "line"}


class _Balanced(HTMLParser):
    """Checks that every element is closed in order and collects attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert tag in VOID or self.open.pop() == tag


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("report")
    suite, found = build_suite(root / "suite", GRID)
    run = build_run(root / "run", GRID)
    set_suite_digest(run, found)
    return run, suite


@pytest.fixture(scope="module")
def html(folders: tuple[Path, Path]) -> str:
    return write_report(*folders).read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_needs_no_network(html: str) -> None:
    parser = _Balanced()
    parser.feed(html)
    assert parser.open == []
    assert parser.addresses == []
    assert "<script" not in html
    assert "url(" not in html
    assert "@import" not in html


def test_scores_intervals_bounds_and_floors_are_on_the_page(html: str, folders: tuple[Path, Path]) -> None:
    for row in read_rows([folders[0]], by_coder=True):
        assert f"{row.score.estimate:.3f}" in html
        assert f"[{row.score.low:.3f}, {row.score.high:.3f}]" in html
        assert f"{row.worst:.3f} to {row.best:.3f}" in html
    assert (
        html.count('<tr class="floor">') == 3 + SAMPLES
    )  # shuffled: all coders, res9, mlp9; each latent that is shown
    assert html.count("<svg") == 3 * (3 + 1)


def test_identities_specification_and_command_are_on_the_page(html: str, folders: tuple[Path, Path]) -> None:
    record = json.loads((folders[0] / "run.json").read_text(encoding="utf-8"))
    for cell in record["cells"]:
        for kind in ("explainer", "scorer", "judge"):
            assert cell[kind]["key"] in html
    assert record["suite"]["digest"] in html
    assert "<code>bench run examples/synthetic.yaml</code>" in html
    assert "&quot;max_failures&quot;: 0.05" in html


def test_explanations_and_tokens_are_escaped(html: str) -> None:
    assert "words &lt;like&gt; rivers &amp; dates" in html
    assert "<like>" not in html
    assert "<b>" not in html
    assert "&lt;b&gt;" in html


def test_windows_highlight_exactly_the_active_tokens(html: str) -> None:
    windows = re.findall(r'<div class="window">(.*?)</div>', html)
    assert len(windows) == 4 * 3
    for window in windows:
        (token,) = re.findall(r'<mark style="background:rgba\(31,95,153,0\.55\)" title="4\.00">(.*?)</mark>', window)
        assert token
    text = re.sub(r"<.*?>", "", re.sub(r'<span class="kind">.*?</span>', "", windows[0]))
    assert text == "the river rises in &lt;b&gt; 1897 and falls"


def test_without_the_suite_the_page_says_so(tmp_path: Path) -> None:
    html = write_report(build_run(tmp_path / "alone", GRID)).read_text(encoding="utf-8")
    assert "the windows cannot be shown" in html
    assert "llm explanation of" in html


def test_a_suite_with_another_digest_is_not_shown(tmp_path: Path) -> None:
    suite, _ = build_suite(tmp_path / "suite", GRID)
    html = write_report(build_run(tmp_path / "run", GRID), suite).read_text(encoding="utf-8")
    assert "the windows cannot be shown" in html


def test_same_run_same_bytes(folders: tuple[Path, Path], html: str) -> None:
    assert write_report(*folders).read_text(encoding="utf-8") == html


def test_outcomes_count_every_judgement(html: str, folders: tuple[Path, Path]) -> None:
    judged = load_run(folders[0]).judgements
    section = html[html.index("Judgements by outcome") : html.index("<h2>Identities")]
    numbers = [int(n) for n in re.findall(r'<td class="n">(\d+)</td>', section)]
    assert sum(numbers) == len(judged)


def _limits(folder: Path) -> list[str]:
    run = load_run(signed(folder))
    return limits(run, tables(rows([run], any_split=True)))


def test_limits_name_what_the_run_does_not_show(tmp_path: Path) -> None:
    weak = _limits(build_run(tmp_path / "weak", replace(GRID, explainers={"llm": 0.5, "tokens": 0.9, "shuffled": 0.5})))
    assert any("llm cannot be told from a floor" in line for line in weak)
    assert not any("tokens cannot" in line or "tokens, llm cannot" in line for line in weak)
    assert any("judgements are missing" in line for line in weak)
    assert not any("too few" in line for line in weak)
    assert any("unqualified" in line for line in weak)
    assert any("One repeat" in line for line in weak)
    strong = _limits(build_run(tmp_path / "strong", Grid(coders={"x": 40}, repeats=2)))
    assert not any("floor" in line or "missing" in line or "too few" in line or "One repeat" in line for line in strong)
    few = _limits(build_run(tmp_path / "few", Grid(coders={"x": 23}, repeats=2)))
    assert any("23 latents are too few for any claim; it takes 24" in line for line in few)
    assert any("cannot be told from a floor; there are too few latents" in line for line in few)
    bare = _limits(build_run(tmp_path / "bare", Grid(explainers={"llm": 0.8}, split="tune")))
    assert any("no floor was measured" in line for line in bare)
    assert "not for the leaderboard" in bare[0]


def test_the_axis_holds_everything_and_ends_at_round_numbers(folders: tuple[Path, Path]) -> None:
    found = read_rows([folders[0]])
    scale = axis(found)
    for row in found:
        for value in (row.score.low, row.score.high, row.score.floor, row.worst, row.best):
            assert PAD - 0.01 <= scale.x(value) <= WIDTH - PAD + 0.01  # type: ignore[arg-type]
    assert all(round(tick / scale.step) == pytest.approx(tick / scale.step) for tick in scale.ticks)
    assert scale.ticks[-1] == pytest.approx(scale.high)
    assert ruler(scale).count("<text") == len(scale.ticks)


def test_a_bar_is_drawn_at_the_numbers_of_its_row(folders: tuple[Path, Path]) -> None:
    row = read_rows([folders[0]])[0]
    scale = axis([row])
    svg = bar(row, scale)
    assert f'cx="{scale.x(row.score.estimate):.1f}" cy="{HEIGHT / 2}"' in svg  # type: ignore[arg-type]
    assert f'x1="{scale.x(row.score.low):.1f}" x2="{scale.x(row.score.high):.1f}"' in svg  # type: ignore[arg-type]
    empty = row.model_copy(update={"score": row.score.model_copy(update={"estimate": None, "low": None, "high": None})})
    assert "no score" in bar(empty, scale)
    assert "<circle" not in bar(empty, scale)
