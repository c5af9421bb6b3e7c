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
from latentbench.views.html import document
from latentbench.views.table import STYLES, Face, Table, Tone

if TYPE_CHECKING:
    from rich.console import RenderableType


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
        body = [f"<h1>{escape.html(self.title)}</h1>", *(text for block in self.blocks if (text := _html(block)))]
        return document(self.title, body)


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
            return f"![{escape.markdown(block.name)}]({block.place})"
        case Listing():
            return escape.markdown_listing(block.text, block.language)
        case Folded():
            inner = "\n\n".join(text for b in block.blocks if (text := _markdown(b, level)))
            return f"<details><summary>{escape.html(block.summary)}</summary>\n\n{inner}\n\n</details>"


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
