"""The shell of every HTML page, and tables, facts and JSON inside it; everything inserted is escaped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from latentbench.views.style import CSS

if TYPE_CHECKING:
    pass


def document(title: str, body: Sequence[str]) -> str:
    """A whole page from the parts of its body, which are HTML already."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def facts_html(facts: Mapping[str, str]) -> str:
    """Names and values as a list."""
    return (
        '<dl class="facts">' + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()) + "</dl>"
    )


def table_html(
    heads: Sequence[str], kinds: Sequence[str], lines: Sequence[Sequence[str]], floors: Sequence[bool] = ()
) -> str:
    """A table; `kinds` are CSS classes of the columns, cells are HTML already."""
    head = "".join(f'<th class="{k}">{h}</th>' for k, h in zip(kinds, heads, strict=True))
    body = []
    for i, line in enumerate(lines):
        cells = "".join(f'<td class="{k}">{c}</td>' for k, c in zip(kinds, line, strict=True))
        kind = "floor" if floors and floors[i] else "row"
        body.append(f'<tr class="{kind}">{cells}</tr>')
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def json_html(value: Any) -> str:
    """Data as indented JSON."""
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"
