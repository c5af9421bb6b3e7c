"""Text from outside (labels, explanations, tokens, errors) made harmless for the face that shows it.

Every face of a table or page calls these functions itself. Leaving it to whoever fills a cell is the tempting way, and the one
cell that was forgotten is the one that a hostile explanation will fill. What could not be seen is shown as its code, not dropped:
a text that turns a line around is worth knowing of.
"""

from __future__ import annotations

import html as _html
import re

UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")
"""Control characters, ESC among them, and marks that turn the direction of text; not tab and line feed."""
"""Control characters but tab and what ends a line."""
SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a character, which no file can hold."""
FORMULA = tuple("=+-@\t\r")
MENTION = re.compile(r"(?<![\w.])@(?=\w)")
ENTITY = re.compile(r"&(?=#?\w+;)")
TAG = re.compile(r"<(?=[A-Za-z/!?])")
"""What opens a tag, a comment or an address; `<0.001` does not."""
CODE = re.compile(r"`([^`]+)`")


class Html(str):
    """Text that is HTML already: made by this package, with every text from outside in it escaped."""

    __slots__ = ()


def seen(text: str) -> str:
    """Characters that cannot be seen, as their codes."""
    text = text.replace("\r\n", "\n")
    return SURROGATE.sub("\ufffd", UNSEEN.sub(_code, text))


def _code(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def line(text: str) -> str:
    """Text on one line that moves no cursor, for a terminal; rich must get it as `Text`, which reads no markup."""
    return seen(text).replace("\n", " ").replace("\t", " ")


def markdown(text: str) -> str:
    """Text on one line that opens no tag, link, code or column of Markdown, and addresses nobody."""
    text = re.sub(r"([\\`|])", r"\\\1", line(text))
    text = TAG.sub("&lt;", ENTITY.sub("&amp;", text)).replace("](", "]\\(")
    return MENTION.sub("&#64;", text)


def markdown_code(text: str) -> str:
    """Text between backticks where it can neither end them nor, inside a table, the cell; else as other text."""
    return markdown(text) if "`" in text or "\\|" in text else "`" + line(text).replace("|", "\\|") + "`"


def markdown_listing(text: str, language: str) -> str:
    """Text between fences that are longer than any in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{seen(text).rstrip()}\n{fence}"


def markdown_prose(text: str) -> str:
    """A sentence of this package with names from outside in it; what stands between backticks stays code."""
    parts = CODE.split(text)
    return "".join(markdown_code(part) if i % 2 else markdown(part) for i, part in enumerate(parts))


def html(text: str) -> str:
    """Text that opens no tag and ends no attribute."""
    return str(text) if isinstance(text, Html) else _html.escape(seen(text))


def html_prose(text: str) -> str:
    """A sentence with what stands between backticks as code."""
    return CODE.sub(r"<code>\1</code>", html(text))


def csv(text: str) -> str:
    """Text that no spreadsheet takes for a formula; a lone sign is none."""
    text = seen(text)
    return "'" + text if len(text) > 1 and text.startswith(FORMULA) else text
