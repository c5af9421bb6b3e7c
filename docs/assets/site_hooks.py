"""Makes one site of a repository whose pages link to files beside `docs`: what a link names becomes a page of the site.

Links to a code host would be shorter to write. The site is read from disk and without a network, and there is no address that all
copies of the repository share. So a link from a page to a file of the repository leads to a page that shows this file as it is.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import File, Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed|object|link)\b[^>]*?"
    r"""\b(?:src|href|data)=["']?((?:https?:)?//[^"'\s>]+)"""
)
STYLED = re.compile(r"""(?:url\(\s*["']?|@import\s+["'])((?:https?:)?//[^"')\s]+)""")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")
FENCED = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".json": "json", ".toml": "toml", ".csv": "text"}
UNSEARCHED = "---\nsearch: {exclude: true}\n---\n\n"
"""Head of an added page: a search finds what explains a thing before what does it."""
PLACE = "repository"
"""Folder of the site for what lies outside of `docs`; no folder of `docs` has this name."""


def target(page: str, link: str) -> str:
    """Path of what a page's link names, from the repository's root.

    Args:
        page: the page's path from the root.
        link: as it stands in the page, without what is behind `#`.
    """
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def place(path: str) -> str:
    """Where a file of the repository stands among the pages of the site, as Markdown."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.endswith(".md"):
        return f"{PLACE}/{posixpath.dirname(path)}/{posixpath.basename(path).lower()}".replace("//", "/")
    return f"{PLACE}/{path}.md"


def relinked(text: str, page: str) -> str:
    """A page's text, its links to files outside of `docs` turned to their pages; what stands in fences is left.

    Args:
        text: Markdown.
        page: the page's path from the repository's root.
    """

    def link(found: re.Match[str]) -> str:
        words, to, part = found[1], found[2], found[3] or ""
        path = target(page, to)
        if path.startswith("docs/") == page.startswith("docs/") and path.startswith("docs/"):
            return found[0]
        if (ROOT / path).is_dir():
            part = ""
        return f"[{words}]({posixpath.relpath(place(path), posixpath.dirname(place(page)) or '.')}{part})"

    ends = [0]
    out = []
    for fence in FENCED.finditer(text):
        out += [LINK.sub(link, text[ends[-1] : fence.start()]), fence[0]]
        ends.append(fence.end())
    return "".join([*out, LINK.sub(link, text[ends[-1] :])])


def shown(path: str) -> str:
    """The page of a file or folder of the repository, as Markdown.

    Args:
        path: from the root.
    """
    file = ROOT / path
    if path.endswith(".md"):
        return UNSEARCHED + file.read_text(encoding="utf-8")
    if file.is_dir():
        names = sorted(p.name for p in file.iterdir() if not p.name.startswith((".", "_")))
        return f"{UNSEARCHED}# {path}\n\n" + "".join(f"- `{name}`\n" for name in names)
    text = file.read_text(encoding="utf-8")
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{UNSEARCHED}# {path}\n\n{fence}{LANGUAGES.get(file.suffix, 'text')}\n{text.rstrip()}\n{fence}\n"


def outside(pages: Mapping[str, str]) -> dict[str, str]:
    """Path -> Markdown of everything outside of `docs` that the pages name, and that these name in turn if they are pages.

    Args:
        pages: path from the root -> Markdown.

    Raises:
        FileNotFoundError: a page links to what is not there.
    """
    found: dict[str, str] = {}
    todo = dict(pages)
    while todo:
        page, text = todo.popitem()
        for _, to, _ in LINK.findall(FENCED.sub("", text)):
            path = target(page, to)
            if path.startswith("docs/") or path in found:
                continue
            if not (ROOT / path).exists():
                raise FileNotFoundError(f"{page} links to {to}, which is not there.")
            found[path] = shown(path)
            if path.endswith(".md"):
                todo[path] = found[path]
    return found


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of what lies outside of `docs`."""
    from mkdocs.structure.files import File

    pages = {f"docs/{file.src_uri}": file.content_string for file in files.documentation_pages()}
    for path, text in sorted(outside(pages).items()):
        added: File = File.generated(config, place(path), content=relinked(text, path))
        files.append(added)
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turns the links of a page of `docs`; those of added pages are turned already."""
    uri = page.file.src_uri
    return markdown if uri.startswith(f"{PLACE}/") else relinked(markdown, f"docs/{uri}")


def foreign(site: Path) -> list[str]:
    """What the pages and styles of a built site would load from another host: file and address, in order.

    Links that a reader may follow are no part of it.
    """
    found = []
    for file in sorted(site.rglob("*")):
        pattern = {".html": FOREIGN, ".css": STYLED}.get(file.suffix)
        if pattern and file.is_file():
            names = pattern.findall(file.read_text(encoding="utf-8"))
            found += [f"{file.relative_to(site).as_posix()}: {name}" for name in dict.fromkeys(names)]
    return found


def on_post_build(config: MkDocsConfig) -> None:
    """Refuses a site that would ask another host for anything."""
    from mkdocs.exceptions import PluginError

    if found := foreign(Path(config.site_dir)):
        raise PluginError("The site would load from other hosts:\n" + "\n".join(found[:20]))
