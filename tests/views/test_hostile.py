"""Hostile text in every field of runs and suites, through every command and face: nothing of it comes through."""

from __future__ import annotations

import csv
import io
import json
import posixpath
import re
import sys
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from latentbench.analysis.gate.gate_formats import MARKER, tags
from latentbench.analysis.gate.gate_report import Check, GateReport
from latentbench.analysis.gate.policy import Verdict
from latentbench.cli import app, main
from latentbench.leaderboards.row import rows
from latentbench.runs.finished import load_run
from latentbench.tracking.entries import KEY_CHARS, NAME_CHARS, PARAM_CHARS, TAG_CHARS, child, parent
from latentbench.tracking.prompt_registry import prompts_of
from latentbench.views import escape
from latentbench.views.figure import levels_figure, svg
from latentbench.views.progress import Stage
from latentbench.views.terminal import say, tell
from markdown_it import MarkdownIt
from rich.console import Console
from typer.testing import CliRunner

from tests.builders import run_builder
from tests.builders.run_builder import Grid, build_run, build_suite, set_suite_digest

UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e0fff]"
)
NASTY = (
    "\x1b[31m\x9b1m\x07\u202e\u2066\u200b\u200d\ufeff\u00ad\U000e0041 a|b `tick` "
    "<script>alert(1)</script> <img src=x onerror=alert(1)> "
    "![i](javascript:alert(1)) [l](http://e.vil) [r][d] [^1] http://e.vil www.e.vil *s* _u_ ~~d~~ &lt; ]]> \" ' -->"
    " [red]r[/red] ::error::pwned ##[add-mask]pwned %0A::set-output name=x::y @somebody #12 $x_{1 $\\frac{"
    "\n# heading\n::error title=x::pwned\r\n\n- item\n\n[d]: http://e.vil\n\n    code\n</script></title></summary>\n```\n"
)


def nasty(where: str) -> str:
    """A text for one field; every field has another, and each begins like a formula."""
    return f"={where}{NASTY}"


LABELS = {"llm": nasty("llm"), "tokens": nasty("tokens"), "shuffled": nasty("shuffled")}
GRID = Grid(
    explainers={LABELS["llm"]: 0.85, LABELS["tokens"]: 0.7, "shuffled": 0.5},
    scorers=(nasty("s1").replace("\n", "\u2028"), nasty("s2")),
    judges=(nasty("judge"),),
    coders={nasty("c").replace("/", "\u2044"): 24},
    fail=0.1,
)


def _planted(record: dict[str, Any]) -> dict[str, Any]:
    """A `run.json` with hostile text where a string may be anything."""
    record |= {
        "name": nasty("name"),
        "command": nasty("command"),
        "unasked": [{"scorer": nasty("us"), "judge": nasty("uj"), "reason": nasty("why")}],
    }
    record["versions"] = {nasty("package"): nasty("version")}
    record["git"] = {"revision": nasty("revision"), "dirty": True}
    record["hardware"]["machine"] = nasty("machine")
    record["totals"]["causes"] = {nasty("cause"): 3}
    for cell in record["cells"]:
        cell["scorer"]["prompts"] = {nasty("part"): nasty("prompt")}
        cell["judge"]["identity"] |= {
            "model": nasty("model"),
            "revision": nasty("weights"),
            "params": [[nasty("p"), nasty("v")]],
        }
        if cell["explainer"]["label"] == LABELS["llm"]:
            cell["explainer"]["model"] = nasty("by")
    return record


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_builder, "_text", lambda explainer, latent: nasty(f"text {latent[:3]}"))
        patch.setattr(run_builder, "WORDS", (nasty("token"), " river", " $", "\ud7ff"))
        build_suite(folder / "suite", GRID)
        for name in ("a", "b"):
            build_run(folder / name, GRID)
    found = json.loads((folder / "suite" / "manifest.json").read_text(encoding="utf-8"))["digest"]
    for name in ("a", "b"):
        set_suite_digest(folder / name, found)
        file = folder / name / "run.json"
        record = _planted(json.loads(file.read_text(encoding="utf-8")))
        record["spec"]["suite"] = str(folder / "suite")
        file.write_text(json.dumps(record), encoding="utf-8")
    return folder


def _terminal(text: str) -> None:
    assert not UNSEEN.search(text), UNSEEN.search(text)
    for line in text.splitlines():
        assert not line.strip().startswith("::"), line
        assert "##[" not in line


def _markdown(text: str) -> None:
    assert not UNSEEN.search(text), UNSEEN.search(text)
    parser = MarkdownIt("commonmark").enable("table").enable("strikethrough")
    for token in parser.parse(text):
        if token.type == "heading_open":
            assert token.level == 0
        assert token.type not in ("code_block", "blockquote_open", "ordered_list_open"), token
        if token.type == "html_block":
            assert re.fullmatch(rf"{MARKER}|</?(details|summary)>.*", token.content.strip(), re.DOTALL), token.content
            assert not re.search("<(script|img)", token.content)
        for inner in token.children or []:
            assert inner.type not in ("html_inline", "link_open", "s_open"), (inner, token.content)
            assert inner.type != "image" or inner.attrs["src"] == "agreement.png", token.content
            assert inner.type != "text" or "\n" not in inner.content
    outside = re.sub(r"(?<!\\)(`+)[^`]+\1", "", text)
    assert not re.search(r"(?<!\\)\[\^|(?<!\w)@somebody|#12|https?://e\.vil|www\.e\.vil|^\[d\]:", outside, re.MULTILINE)


class _Elements(HTMLParser):
    allowed = frozenset(
        [
            "html",
            "head",
            "meta",
            "title",
            "style",
            "body",
            "h1",
            "h2",
            "h3",
            "h4",
            "p",
            "dl",
            "dt",
            "dd",
            "ul",
            "li",
            "div",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "code",
            "pre",
            "svg",
            "g",
            "circle",
            "line",
            "text",
            "path",
            "rect",
            "span",
            "br",
            "mark",
            "wbr",
            "details",
            "summary",
            "defs",
            "use",
            "clippath",
        ]
    )

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.allowed, tag
        for name, value in attrs:
            assert not name.startswith("on")
            assert "javascript:" not in (value or "") or name in ("title", "aria-label")


def _html(text: str) -> None:
    assert not UNSEEN.search(text), UNSEEN.search(text)
    _Elements().feed(text)
    assert text.count("</title>") <= 1
    assert text.count("</style>") <= 1


def _csv(text: str) -> None:
    assert not UNSEEN.search(text), UNSEEN.search(text)
    lines = list(csv.reader(io.StringIO(text)))
    assert len({len(line) for line in lines}) == 1
    for cell in (cell for line in lines for cell in line):
        try:
            float(cell)
        except ValueError:
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) or len(cell) == 1, cell


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "@x",
        "-ing",
        "'-ing",
        "''=a",
        "'quoted'",
        "it's",
        "-0.5",
        "+1e-3",
        "-",
        "＝x",
        "'",
        "a=b",
        "-.5",
        "-1-1",
        "--",
    ],
)
def test_a_csv_cell_gives_its_text_back(text: str) -> None:
    """The rule of docs/files.md; numbers are as they were for everybody."""
    cell = escape.csv(text)
    _csv(f'"{cell}"')
    said = (Path(__file__).parents[2] / "docs" / "files.md").read_text(encoding="utf-8")
    (pattern,) = re.findall(r'`re\.sub\(r"(.+?)", r"\\1", cell\)`', said)
    assert re.sub(pattern, r"\1", cell) == text
    if re.fullmatch(r"[+-]?[\d.]+(e-?\d+)?", text):
        assert cell == text


def _xml(text: str) -> None:
    assert not UNSEEN.search(text), UNSEEN.search(text)
    ElementTree.fromstring(text.encode())


CHECKS = {".md": _markdown, ".csv": _csv, ".html": _html, ".xml": _xml, ".svg": _xml}


def _files(folder: Path) -> list[str]:
    """Check each file of a folder by its suffix; their names."""
    names = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix in CHECKS:
            CHECKS[path.suffix](path.read_text(encoding="utf-8"))
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        names.append(path.name)
    return names


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (["leaderboard", "A", "--out", "OUT"], {"leaderboard.md", "leaderboard.csv", "leaderboard.json"}),
        (["compare", "A", "B", "--out", "OUT"], {"compare.md", "compare.csv"}),
        (["agreement", "A", "--out", "OUT"], {"agreement.md", "agreement.csv", "agreement.svg", "agreement.png"}),
    ],
    ids=lambda x: x[0] if isinstance(x, list) else "",
)
def test_commands_over_runs(place: Path, tmp_path: Path, words: list[str], files: set[str]) -> None:
    names = {"A": str(place / "a"), "B": str(place / "b"), "OUT": str(tmp_path / "out")}
    done = CliRunner().invoke(app, [names.get(word, word) for word in words])
    assert done.exit_code == 0, done.output
    _terminal(done.output)
    assert "[red]" in re.sub(r"\s", "", done.output)
    assert set(_files(tmp_path / "out")) == files


def test_the_page_of_a_run(place: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(place / "a")])
    assert done.exit_code == 0, done.output
    page = (place / "a" / "report.html").read_text(encoding="utf-8")
    _html(page)
    assert "&lt;script&gt;" in page
    assert "=token" in page


def test_a_suite_is_shown(place: Path) -> None:
    done = CliRunner().invoke(app, ["suite", "show", str(place / "suite")])
    assert done.exit_code == 0, done.output
    _terminal(done.output)
    assert "[red]" in re.sub(r"\s", "", done.output)
    assert "=token" in done.output


def test_the_gate(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli, out = CliRunner(), tmp_path / "out"
    baseline = str(tmp_path / "baseline.json")
    assert cli.invoke(app, ["baseline", "freeze", str(place / "a"), "-o", baseline, "--offline"]).exit_code == 0
    worse = build_run(tmp_path / "w", Grid(**{**vars(GRID), "explainers": {LABELS["llm"]: 0.4, "shuffled": 0.5}}))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    written = [
        f"--{kind}={out / name}" for kind, name in (("json", "g.json"), ("junit", "g.xml"), ("markdown", "g.md"))
    ]
    done = cli.invoke(app, ["gate", str(worse), "--baseline", baseline, "--offline", "--github", *written])
    assert done.exit_code in (1, 4), done.output
    shown, annotated = [], []
    for line in done.output.splitlines():
        (annotated if re.match(r"::(error|warning) title=[^:,]*::", line) else shown).append(line)
    assert annotated
    _terminal("\n".join(shown))
    for line in annotated:
        assert not UNSEEN.search(line)
        assert "%0A" in line or "pwned" not in line
    assert set(_files(out)) == {"g.json", "g.xml", "g.md"}
    _markdown((tmp_path / "step.md").read_text(encoding="utf-8"))


def test_what_mlflow_is_told(place: Path) -> None:
    run = load_run(place / "a")
    identities = {label: judge.identity for label, judge in run.record.judges.items()}
    every = rows([run], by_kind=True, by_coder=True)
    entries = [
        parent(run, [row for row in every if row.coders == "all"]),
        *(child(row, identities[row.judge.label]) for row in every if row.kind is None or row.coders != "all"),
    ]
    assert len({entry.name for entry in entries}) == len(entries)
    for entry in entries:
        for keys, most in ((entry.params, KEY_CHARS + 40), (entry.metrics, 250), (entry.tags, KEY_CHARS)):
            assert all(re.fullmatch(r"[\w.][\w./-]*", key) and len(key) <= most for key in keys), list(keys)
            assert all(posixpath.normpath(key) == key for key in keys), list(keys)
        assert all(len(v) <= PARAM_CHARS and not UNSEEN.search(v) for v in entry.params.values())
        assert all(len(v) <= TAG_CHARS and not UNSEEN.search(v) for v in entry.tags.values())
        assert len(entry.name) <= NAME_CHARS
    for name in prompts_of(run.record):
        assert re.fullmatch(r"[\w.-]{1,256}", name)
    failed = [Check("metric", nasty(str(i)), Verdict.FAIL, nasty("m")) for i in range(30)]
    assert tags(GateReport(nasty("title"), failed))["latentbench.gate.failed"]


def test_sentences_progress_and_errors(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(nasty("said"))
    say(nasty("said"), err=True)
    for terminal in (True, False):
        console = Console(file=sys.stdout, force_terminal=terminal, color_system=None, width=200)
        tell(console, nasty("told"))
        with Stage(nasty("stage"), 3, "latents", Console(file=sys.stdout, width=200)) as stage:
            stage.causes.add(run_builder_outcome(), nasty("cause"))
            stage.advance()
    (tmp_path / "s.yaml").write_text(json.dumps({nasty("key"): 1}), encoding="utf-8")
    for words in (["run", str(tmp_path / "s.yaml")], ["suite", "show", nasty("suite")], ["list", nasty("kind")]):
        monkeypatch.setattr(sys, "argv", ["bench", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
    out = capsys.readouterr()
    _terminal(out.out)
    _terminal(out.err)
    assert "Traceback" not in out.err


def test_a_bar_is_drawn_without_what_its_stage_says() -> None:
    """On a terminal rich itself moves the cursor, so what is looked for is what the texts hold."""
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=2000)
    with Stage(nasty("stage"), 3, "latents", console) as stage:
        stage.causes.add(run_builder_outcome(), nasty("cause"))
        stage.advance()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "=stage" in text
    assert "=cause" in text
    for wrong in ("\x1b[31m", "\x9b", "\x07", "\u202e", "\u200b", "##["):
        assert wrong not in text


def run_builder_outcome() -> Any:
    from latentbench.kernel.requests import Outcome

    return Outcome.API


def test_figures_read_no_formula_and_hold_no_tag() -> None:
    bounds = {f"{c}{end}": 0.5 for c in ("score", "shuffled") for end in ("", "_low", "_high")}
    level = {"explainer": nasty("e"), "level": nasty("l"), "paper": 0.4, **bounds}
    figure = levels_figure({nasty("title"): [level]}, [nasty("l")], nasty("axis"), {nasty("title"): 0.5})
    text = str(svg(figure))
    _xml(text)
    assert "<script" not in text


@pytest.mark.parametrize(
    "text", ["a::b::c", "x.py::test_a", "::error::x", "y ::warning file=a::b", "##[group]x", "##vso[x]"]
)
def test_no_line_of_a_log_is_a_command(text: str) -> None:
    told = escape.line(text)
    assert not told.startswith("::")
    assert not re.search(r"::[\w-]+[^:]*::|##\[|##vso\[", told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x;=1+1", "x;'=1+1"),
        ("good ;-)", "good ;-)"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("\n=1", "'\n=1"),
        ("a, b", "a, b"),
        ("-", "-"),
    ],
)
def test_csv_of_other_countries(text: str, told: str) -> None:
    assert escape.csv(text) == told


@pytest.mark.parametrize(
    "text",
    [
        "# a",
        "> a",
        "- a",
        "* a",
        "+ a",
        "1. a",
        "12) a",
        "---",
        "===",
        "~~~ x",
        "    code",
        "| a | b |",
        "$$",
        "[x]: http://y",
        "- [ ] a",
    ],
)
def test_prose_begins_no_block(text: str) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(escape.markdown_prose(text))
    assert [t.type for t in tokens] == ["paragraph_open", "inline", "paragraph_close"]


@pytest.mark.parametrize(
    "text", ["", " ", "a\\", "\\", "a`b", "``", "`", "a|b", "a\\|b", " a ", "a\nb", "<b>", "&lt;", "[^1]"]
)
def test_code_says_its_text(text: str) -> None:
    """In a cell of a table, where a bar would end it."""
    html = (
        MarkdownIt("commonmark")
        .enable("table")
        .render(f"| a | b |\n|---|---|\n| {escape.markdown_code(text)} | end |\n")
    )
    cells = re.findall(r"<td>(.*?)</td>", html)
    assert len(cells) == 2
    shown = re.sub(r"</?code>", "", cells[0])
    for entity, sign in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        shown = shown.replace(entity, sign)
    assert shown.strip() == text.replace("\n", " ").strip()


@pytest.mark.parametrize(
    "place", ["javascript:alert(1)", "//e.vil/x", "http://e.vil", "a b)c", "../x.svg", "figures/a.svg"]
)
def test_an_address_is_a_path_beside_the_page(place: str) -> None:
    told = escape.address(place)
    assert re.fullmatch(r"[\w./~%-]+", told)
    assert not told.startswith("/")
    assert escape.address("figures/a.svg") == "figures/a.svg"


def test_a_run_whose_labels_are_hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the spec to the pages; half a character, which no file can hold, is refused with its place."""

    def label(where: str) -> str:
        return "".join(c for c in nasty(where) if unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp"))

    spec = {
        "name": "hostile",
        "suite": "planted-1",
        "limit": 4,
        "explainers": [{"use": "empty", "label": label("e")}, {"use": "constant", "label": "[red]x[/red]" + "y" * 300}],
        "scorers": [{"use": "detection", "label": label("s"), "preset": "single"}],
        "judges": [{"use": "mock:label?fail=0.5", "label": label("j")}],
        "max_failures": 0,
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    words = ["--out", str(tmp_path / "run"), "--cache", str(tmp_path / "c.sqlite"), "--no-track"]
    done = CliRunner().invoke(app, ["run", str(tmp_path / "s.yaml"), *words])
    assert done.exit_code == 1, done.output
    _terminal(done.output)
    assert "allowed are 0.0% (max_failures)" in done.output
    _html((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    for bad in ("\ud800", "a\udfff"):
        half = {**spec, "judges": [{"use": "mock:label", "label": bad}]}
        (tmp_path / "half.yaml").write_text(json.dumps(half), encoding="utf-8")
        monkeypatch.setattr(sys, "argv", ["bench", "run", str(tmp_path / "half.yaml"), *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
