"""What a result shows in a notebook: a leaderboard with what must stand beside a score, and a latent with its verdicts."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import latentbench as lb
import pandas as pd
import pytest
from latentbench.kernel.errors import UnknownName

HOSTILE = '<script>alert("x")</script>\u202e $\\href{x}{y}$'
LATENT = "planted/weekdays"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> lb.Result:
    place = tmp_path_factory.mktemp("looks")
    spec = {
        "name": "t",
        "suite": "planted-1",
        "limit": 12,
        "explainers": ["planted", {"use": "shuffled", "params": {"of": "planted"}}],
        "scorers": [{"use": "detection", "params": {"positives": 4, "negatives": 4}}, "simulation"],
        "judges": [{"use": "mock:oracle?fail=0.2", "label": "oracle <b>"}],
        "max_failures": 1.0,
        "split": "all",
    }
    return lb.run(spec, place / "run", cache=place / "c.sqlite", track=False, progress=False)


class _Text(HTMLParser):
    """Tags that are opened and closed, and what is read between them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in ("br", "wbr", "line", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def sound(html: str) -> set[str]:
    """The tags of a fragment, after a look at whether each is closed and the fragment keeps to itself."""
    parser = _Text()
    parser.feed(html)
    assert not parser.open
    assert html.startswith('<div class="latentbench tex2jax_ignore mathjax_ignore">'), "no formula is made of a text"
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    rules = [line for line in style[1].splitlines() if "{" in line]
    assert all(part.strip().startswith(".latentbench") for rule in rules for part in rule.partition("{")[0].split(","))
    return parser.tags


def test_a_leaderboard_shows_n_interval_coverage_and_floor(result: lb.Result) -> None:
    board = result.leaderboard()
    html = board._repr_html_()
    assert "script" not in sound(html)
    place = int(board["low"].notna().to_numpy().argmax())
    row = board.iloc[place]
    heads = re.findall(r"<th[^>]*>(.*?)</th>", html)
    assert {"estimate", "95 % interval", "floor", "n", "coverage", "bounds"} <= set(heads)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", html)[place * len(heads) :][: len(heads)]
    shown = dict(zip(heads, cells, strict=True))
    assert shown["n"] == str(row["n"])
    assert shown["coverage"] == f"{row['coverage']:.0%}"
    assert shown["95 % interval"] == f"[{row['low']:.3f}, {row['high']:.3f}]"
    assert "oracle &lt;b&gt;" in html
    assert html.count('class="floor"') == int(board["is_floor"].sum()) > 0
    part = board[["explainer", "estimate"]]
    assert type(part) is pd.DataFrame, "what is taken of it is shown by pandas"
    assert type(board.head(2)) is pd.DataFrame


def test_a_latent_shows_its_windows_explanations_scores_and_verdicts(result: lb.Result) -> None:
    latent = result.latent(LATENT if LATENT in result.record.latents else result.record.latents[0])
    assert latent.view is not None
    html = latent._repr_html_()
    sound(html)
    assert latent.id in html
    strongest = latent.view.explain[0]
    peak = max(zip(strongest.activations, strongest.tokens, strict=True))[1].strip()
    assert re.search(rf"<mark [^>]*>[^<]*{re.escape(peak)}", html)
    for text in latent.explanations["text"]:
        assert text in html
    asked = latent.judgements[latent.judgements["scorer"] == "detection"]
    decided = asked[asked["answer"].notna()]
    right = int((decided["answer"] == decided["truth"]).sum())
    assert f"{right} of {len(decided)} answers right" in html
    assert 0 < right < len(decided), "the shuffled explanation is wrong somewhere"
    grid = html[html.index("to detection") :]
    assert len(re.findall(r"<td>right", grid)) == right
    assert len(re.findall(r"<td>wrong", grid)) == len(decided) - right
    assert len(re.findall(r"<td>api</td>", html)) == int((latent.judgements["outcome"] == "api").sum())
    assert set(latent.scores["latent"]) == {latent.id}
    assert {"detection", "simulation"} == set(latent.scores["scorer"])
    with pytest.raises(UnknownName, match=f"Did you mean '{latent.id}'"):
        result.latent(latent.id[:-1])


def test_texts_of_others_are_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    texts = dict.fromkeys(lb.suite("planted-1").ids, HOSTILE)
    mine = lb.score(
        texts, "planted-1", "mock:label", {"use": "detection", "params": {"positives": 2, "negatives": 2}},
        label="<img src=x>", limit=3, cache="c.sqlite", track=False, progress=False,
    )  # fmt: skip
    for html in (
        mine._repr_html_(),
        mine.leaderboard()._repr_html_(),
        mine.latent(mine.record.latents[0])._repr_html_(),
    ):
        assert not {"script", "img"} & sound(html)
        assert "\u202e" not in html
    shown = next(iter(mine.explanations.loc[mine.explanations["text"] == HOSTILE, "latent"]))
    assert "&lt;script&gt;" in mine.latent(shown)._repr_html_()
    assert "<script" not in mine.explanations._repr_html_()


def test_without_its_suite_a_latent_is_shown_without_windows(
    result: lb.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentbench.api.result.suite_of", lambda run: None)
    latent = lb.load(result.folder).latent(result.record.latents[0])
    assert latent.view is None
    html = latent._repr_html_()
    sound(html)
    assert "<mark" not in html
    assert "answers right" in html
