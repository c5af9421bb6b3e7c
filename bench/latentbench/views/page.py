"""A page with three faces, made of blocks: headings, sentences, lists, tables, pictures, listings.

A renderer says what is on its page once. A function for each format is the tempting way, and then the terminal warns of what the
Markdown forgot. What only one face can show says so (`face`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from latentbench.views import escape
from latentbench.views.escape import Html
from latentbench.views.table import STYLES, Face, Table, Tone

if TYPE_CHECKING:
    from rich.console import RenderableType

CSS = """
:root { --ink: #1b1f24; --soft: #5b6570; --line: #d9dee3; --wash: #f6f7f8; --mark: #1f5f99; --floor: #8a939c; --warn: #8a4b00; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; color: var(--ink);
  background: #fff; margin: 0 auto; max-width: 1240px; padding: 32px 24px 64px; font-variant-numeric: tabular-nums; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; font-weight: 650; }
h2 { font-size: 19px; margin: 40px 0 8px; padding-top: 12px; border-top: 1px solid var(--line); font-weight: 650; }
h3 { font-size: 16px; margin: 28px 0 2px; font-weight: 650; }
p { margin: 4px 0 10px; max-width: 78ch; }
.soft, caption { color: var(--soft); }
.soft { font-size: 13px; max-width: none; }
code, pre { font: 12.5px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
code { background: var(--wash); padding: 1px 4px; border-radius: 3px; overflow-wrap: anywhere; }
pre { background: var(--wash); border: 1px solid var(--line); border-radius: 4px; padding: 12px; overflow-x: auto;
  margin: 8px 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 8px 0 6px; width: 100%; font-size: 13.5px; }
th { text-align: left; font-weight: 600; color: var(--soft); border-bottom: 1px solid var(--ink); padding: 4px 10px 4px 0;
  vertical-align: bottom; }
td { border-bottom: 1px solid var(--line); padding: 5px 10px 5px 0; vertical-align: middle; }
th.n, td.n { text-align: right; }
td.n { white-space: nowrap; }
td.w { white-space: nowrap; }
tr.floor td { color: var(--floor); }
.tag { font-size: 11px; border: 1px solid var(--line); border-radius: 3px; padding: 0 4px; margin-left: 6px; color: var(--soft); }
.limits li { margin: 3px 0; max-width: 84ch; }
.warn { color: var(--warn); }
.window { font: 13px/1.7 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre-wrap;
  border-left: 2px solid var(--line); padding: 0 0 0 10px; margin: 5px 0; overflow-wrap: anywhere; }
.window .kind { color: var(--soft); display: inline-block; min-width: 11ch; font-size: 11.5px; }
mark { color: inherit; border-radius: 2px; padding: 1px 0; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; font-size: 13.5px; margin: 10px 0; }
dl.facts dt { color: var(--soft); } dl.facts dd { margin: 0; overflow-wrap: anywhere; }
svg { display: block; }
.scroll svg { max-width: 100%; height: auto; }
p.verdict { font-size: 18px; font-weight: 600; }
tr.bad td { color: #b00020; } tr.open td { color: var(--warn); }
@media print { body { max-width: none; padding: 0; } h2 { break-after: avoid; } }
"""
"""The look of HTML pages: system fonts, dark on light, tabular numbers, one colour for real explainers and grey for floors."""

FRAGMENT_CSS = """
.latentbench .scroll { overflow-x: auto; }
.latentbench td, .latentbench th { text-align: left; vertical-align: top; }
.latentbench td.n, .latentbench th.n { text-align: right; white-space: nowrap; }
.latentbench tr.floor td { opacity: 0.6; }
.latentbench .soft { font-size: 90%; opacity: 0.7; }
.latentbench .window { font-family: monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
.latentbench div.window { border-left: 2px solid #d9dee3; padding-left: 10px; margin: 5px 0; }
.latentbench .window .kind { display: inline-block; min-width: 11ch; opacity: 0.7; }
.latentbench mark { color: inherit; border-radius: 2px; }
.latentbench dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; }
.latentbench dl.facts dd { margin: 0; }
"""
"""What a notebook needs; colours of text are the notebook's, whose theme may be dark."""


@dataclass(frozen=True)
class Heading:
    """A heading below the page's title."""

    text: str
    level: int = 2
    face: Face = "all"


@dataclass(frozen=True)
class Prose:
    """A paragraph; what stands between backticks is code."""

    text: str
    soft: bool = False
    tone: Tone = ""
    face: Face = "all"
    strong: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    lines: Sequence[str]
    soft: bool = False
    tone: Tone = ""
    face: Face = "all"


@dataclass(frozen=True)
class Facts:
    """Names and what they are; values are shown as code in Markdown."""

    facts: Mapping[str, str]
    face: Face = "all"


@dataclass(frozen=True)
class Picture:
    """A drawing: inside an HTML page, beside a Markdown one; a terminal has none."""

    name: str
    place: str
    drawing: Html | None = None
    face: Face = "page"


@dataclass(frozen=True)
class Listing:
    """Text in a language of machines."""

    text: str
    language: str = ""
    face: Face = "page"

    @classmethod
    def of_json(cls, value: Any, face: Face = "page") -> Listing:
        """Data as indented JSON."""
        return cls(json.dumps(value, indent=2, ensure_ascii=False), "json", face)


@dataclass(frozen=True)
class Folded:
    """Blocks that Markdown and HTML fold away behind a line."""

    summary: str
    blocks: Sequence[Block]
    face: Face = "all"


Block = Heading | Prose | Bullets | Facts | Picture | Listing | Folded | Table | Html


@dataclass(frozen=True)
class Page:
    """A page."""

    title: str
    blocks: Sequence[Block]

    def terminal(self, width: int = 80) -> RenderableType:
        """Rich renderable that reads at `width` columns."""
        from rich.console import Group
        from rich.text import Text

        parts = [part for block in self.blocks for part in _terminal(block, width)]
        return Group(*([Text(escape.line(self.title), style="bold")] if self.title else []), *parts)

    def markdown(self, level: int = 1) -> str:
        """Markdown that ends with a line break.

        Args:
            level: heading level of the title; tables stand one below.
        """
        parts = [f"{'#' * level} {escape.markdown(self.title)}"] if self.title else []
        parts += [text for block in self.blocks if (text := _markdown(block, level + 1))]
        return "\n\n".join(parts) + "\n"

    def html(self) -> str:
        """A whole page that needs no script and no network."""
        return _document(self.title, [f"<h1>{escape.html(self.title)}</h1>", *self._body()])

    def fragment(self) -> str:
        """What a notebook shows: the page's body with the little of its look that it needs, which touches nothing else there.

        Dollar signs stay what they are: a notebook would typeset what stands between two of them.
        """
        title = [f"<h3>{escape.html(self.title)}</h3>"] if self.title else []
        body = "\n".join([*title, *self._body()])
        return f'<div class="latentbench tex2jax_ignore mathjax_ignore"><style>{FRAGMENT_CSS}</style>\n{body}\n</div>'

    def _body(self) -> list[str]:
        return [text for block in self.blocks if (text := _html(block))]


def _terminal(block: Block, width: int) -> list[RenderableType]:
    from rich.text import Text

    if isinstance(block, Html) or block.face in ("page", "html"):
        return []
    match block:
        case Table():
            return [block.terminal(width), Text()] if block.rows else []
        case Heading():
            return [Text(escape.line(block.text), style="bold")]
        case Prose():
            style = STYLES[block.tone] or ("bold" if block.strong else "dim" if block.soft else "")
            return [Text(escape.line(block.text), style=style)]
        case Bullets():
            style = STYLES[block.tone] or ("dim" if block.soft else "")
            return [Text(escape.line(text), style=style) for text in block.lines]
        case Facts():
            return [Text(f"{escape.line(k)}  {escape.line(v)}") for k, v in block.facts.items()]
        case Folded():
            return [part for inner in block.blocks for part in _terminal(inner, width)]
        case Picture() | Listing():
            return []


def _markdown(block: Block, level: int) -> str:
    if isinstance(block, Html) or block.face in ("terminal", "html"):
        return ""
    match block:
        case Table():
            return block.markdown(level).rstrip("\n") if block.rows else ""
        case Heading():
            return f"{'#' * block.level} {escape.markdown(block.text)}"
        case Prose():
            return f"**{escape.markdown_prose(block.text)}**" if block.strong else escape.markdown_prose(block.text)
        case Bullets():
            return "\n".join(f"- {escape.markdown_prose(text)}" for text in block.lines)
        case Facts():
            return "\n".join(f"- {escape.markdown(k)}: {escape.markdown_code(v)}" for k, v in block.facts.items())
        case Picture():
            return f"![{escape.markdown(block.name)}]({escape.address(block.place)})"
        case Listing():
            return escape.markdown_listing(block.text, block.language)
        case Folded():
            inner = "\n\n".join(text for b in block.blocks if (text := _markdown(b, level)))
            return (
                f"<details><summary>{escape.html(' '.join(block.summary.split()))}</summary>\n\n{inner}\n\n</details>"
            )


def _html(block: Block) -> str:
    if isinstance(block, Html):
        return block
    if block.face == "terminal":
        return ""
    match block:
        case Table():
            return block.html(3) if block.rows else ""
        case Heading():
            return f"<h{block.level}>{escape.html(block.text)}</h{block.level}>"
        case Prose():
            kind = ' class="verdict"' if block.strong else ' class="soft"' if block.soft else ""
            return f"<p{kind}>{escape.html_prose(block.text)}</p>"
        case Bullets():
            lines = "".join(f"<li>{escape.html_prose(text)}</li>" for text in block.lines)
            return f'<ul class="limits">{lines}</ul>' if block.lines else ""
        case Facts():
            facts = "".join(f"<dt>{escape.html(k)}</dt><dd>{escape.html(v)}</dd>" for k, v in block.facts.items())
            return f'<dl class="facts">{facts}</dl>'
        case Picture():
            return f'<div class="scroll">{block.drawing}</div>' if block.drawing else ""
        case Listing():
            return f"<pre>{escape.html(block.text)}</pre>"
        case Folded():
            inner = "".join(map(_html, block.blocks))
            return f"<details><summary>{escape.html(block.summary)}</summary>{inner}</details>"


def _document(title: str, body: Sequence[str]) -> str:
    """A whole page from the parts of its body, which are HTML already."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape.html(title)}</title><style>{CSS}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )
