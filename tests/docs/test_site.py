"""The pages as a site: all are in its menu, each question is one click away, and nothing comes from another host."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
QUESTIONS = ("How many latents", "Which judge", "ranks mean", "delphi numbers", "publish")


def _hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hooks", DOCS / "assets" / "site_hooks.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hooks = _hooks()


def menu() -> list[str]:
    """Pages in the menu, in order."""
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    pages: list[str] = []

    def walk(entry: object) -> None:
        if isinstance(entry, str):
            pages.append(entry)
        for inner in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
            walk(inner)

    walk(nav)
    return pages


def links(page: Path) -> set[str]:
    """Pages that a page links to, from `docs`."""
    found = set()
    for _, to, _ in hooks.LINK.findall(page.read_text(encoding="utf-8")):
        found.add(hooks.target(page.relative_to(DOCS).as_posix(), to))
    return found


def test_every_page_is_in_the_menu_or_below_one_that_is() -> None:
    named = menu()
    assert len(named) == len(set(named))
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).as_posix()
        assert name in named or name.startswith("studies/"), f"{name} is in no group of mkdocs.yml"


def test_the_menu_has_few_groups_and_no_page_that_is_not_there() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    assert len(nav) <= 6
    assert [name for name in menu() if not (DOCS / name).is_file()] == []


def test_each_of_the_five_questions_is_one_click_from_the_index() -> None:
    rows = [line for line in (DOCS / "index.md").read_text(encoding="utf-8").splitlines() if "?" in line]
    for question in QUESTIONS:
        (row,) = [line for line in rows if question in line]
        ((_, to, _),) = hooks.LINK.findall(row)
        assert (DOCS / to).is_file()


def test_the_index_leads_to_every_tutorial() -> None:
    tutorials = {p.relative_to(DOCS).as_posix() for p in (DOCS / "tutorials").glob("*.md")}
    assert tutorials
    assert tutorials <= links(DOCS / "index.md")


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("docs/judges.md", "../leaderboards/judges/README.md", "repository/leaderboards/judges/readme.md"),
        ("docs/scorers/detection.md", "../../tasks/scorers/detection.yaml", "../repository/tasks/scorers/detection.yaml.md"),
        ("README.md", "docs/judges.md", "../judges.md"),
        ("README.md", "tasks/suites", "tasks/suites.md"),
        ("docs/judges.md", "gate.md", "gate.md"),
    ],
)  # fmt: skip
def test_a_link_to_a_file_beside_the_pages_becomes_one_to_its_page(page: str, link: str, expected: str) -> None:
    assert hooks.relinked(f"See [this]({link}).", page) == f"See [this]({expected})."
    fenced = f"```text\n[this]({link})\n```\n"
    assert hooks.relinked(fenced, page) == fenced


def test_a_link_to_nothing_is_an_error() -> None:
    with pytest.raises(FileNotFoundError, match=r"docs/a\.md links to \.\./nowhere\.md"):
        hooks.outside({"docs/a.md": "[x](../nowhere.md)"})


@pytest.mark.parametrize(
    "head",
    [
        '<script src="https://unpkg.com/x"></script>',
        "<script async src='//cdn.example/x.js'></script>",
        '<link rel="stylesheet" href="https://fonts.example/css">',
        '<img alt="a" src="http://example/x.png">',
        "<iframe src=https://example/></iframe>",
    ],
)
def test_what_another_host_would_send_is_found(head: str, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(head + '<a href="https://arxiv.org/abs/1">a link is none</a>', encoding="utf-8")
    (found,) = hooks.foreign(tmp_path)
    assert found.startswith("a.html: ")


def test_a_style_that_another_host_would_send_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text(
        "@font-face{src:url(https://fonts.example/a.woff2)} b{background:url(x.png)}", encoding="utf-8"
    )
    assert hooks.foreign(tmp_path) == ["a.css: https://fonts.example/a.woff2"]


needs_mkdocs = pytest.mark.skipif(
    importlib.util.find_spec("material") is None or importlib.util.find_spec("mkdocs") is None,
    reason="mkdocs-material is not installed (the extra `docs`); `make docs` builds the site in an environment of its own",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    import os
    import subprocess

    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(place)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return place


@needs_mkdocs
def test_the_site_asks_no_other_host_and_searches_from_disk(site: Path) -> None:
    assert hooks.foreign(site) == []
    assert "var __index" in (site / "search" / "search_index.js").read_text(encoding="utf-8")[:20]
    page = (site / "scorers" / "detection.html").read_text(encoding="utf-8")
    assert 'src="../assets/iframe-worker.js"' in page
    assert not re.findall(r'href="/', page)


@needs_mkdocs
def test_a_script_of_another_host_stops_the_build(tmp_path: Path) -> None:
    import subprocess

    for name in ("mkdocs.yml", "docs/assets"):
        old, new = ROOT / name, tmp_path / name
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(old, new) if old.is_dir() else shutil.copy(old, new)
    (tmp_path / "docs" / "index.md").write_text("# Start\n", encoding="utf-8")
    config = (tmp_path / "mkdocs.yml").read_text(encoding="utf-8")
    config = config[: config.index("nav:\n  - Start")] + "nav: [index.md]\n"
    (tmp_path / "mkdocs.yml").write_text(config + "extra_javascript: ['https://cdn.example/x.js']\n", encoding="utf-8")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode != 0
    assert "cdn.example" in done.stdout + done.stderr
