"""Text from outside (labels, explanations, tokens, errors) made harmless for the face that shows it.

Every face of a table or page calls these functions itself. Leaving it to whoever fills a cell is the tempting way, and the one
cell that was forgotten is the one that a hostile explanation will fill. What could not be seen is shown as its code, not dropped:
a text that turns a line around is worth knowing of.
"""

from __future__ import annotations

import html as _html
import re
from urllib.parse import quote

from latentbench.kernel.inputs import SURROGATE
from latentbench.kernel.veil import veiled_address

UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Control characters, ESC among them, marks that turn the direction of text, and what has no width; not tab and line feed."""
COMMAND = re.compile(r"(?<!\w)::(?=[A-Za-z])|::(?=[\w-][^\n]*?::)|##(?=\[|vso\[)")
"""What opens a command to a CI service that reads the log (`::error::`, `##[add-mask]`); anywhere, as a line may be wrapped."""
ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
SPLIT_FORMULA = re.compile(r"(?:(?<=;)|(?<=\S\t))(?=[=+\-@][\w(])")
"""A formula where a spreadsheet of another country, whose separator is a semicolon, would begin a cell."""
MENTION = re.compile(r"(?<![\w.])@(?=\w)")
ISSUE = re.compile(r"#(?=\d)")
"""A number by which a forge links to one of its issues, and says so there."""
ENTITY = re.compile(r"&(?=#?\w+;)")
TAG = re.compile(r"<(?=[A-Za-z/!?])")
"""What opens a tag, a comment or an address; `<0.001` does not."""
ADDRESS = re.compile(r"\b(https?|ftp):(?=//)|\b(www)\.", re.IGNORECASE)
"""What Markdown makes a link of by itself."""
BRACKET = re.compile(r"\](?=[(\[:])|\[(?=\^)|(?<=!)\[|^\[(?=[ xX]\])")
"""Brackets of a link, a definition, a footnote, an image and a box to tick; `[0.4, 0.6]` is an interval."""
STRESS = re.compile(r"\*(?=\S)|(?<!\w)_(?=\w)|~(?=~)")
BLOCK = re.compile(r"^(#{1,6}(?:\s|$)|>|[-+*](?:\s|$)|={2,}$|-{2,}$|:{3,}|~{3,}|\$\$)")
"""What makes a line a heading, a quotation, an item or a fence."""
NUMBERED = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")
CODE = re.compile(r"`([^`]+)`")


class Html(str):
    """Text that is HTML already: made by this package, with every text from outside in it escaped."""

    __slots__ = ()


def seen(text: str) -> str:
    """Characters that cannot be seen, as their codes; and no password or token of an address, which an old label may hold."""
    text = veiled_address(text.replace("\r\n", "\n"))
    return SURROGATE.sub("\ufffd", UNSEEN.sub(_code, text))


def _code(found: re.Match[str]) -> str:
    n = ord(found[0][0])
    return (f"\\u{n:04x}" if n < 0x10000 else f"\\U{n:08x}") + found[0][1:]


def lines(text: str) -> str:
    """Text for a terminal that moves no cursor and commands no reader of the log; rich must get it as `Text`, without markup."""
    return COMMAND.sub(_code, seen(text).expandtabs(4))


def line(text: str) -> str:
    """Text for one line of a terminal, otherwise like `lines`."""
    return lines(text.replace("\t", " ")).replace("\n", " ")


def markdown(text: str) -> str:
    """Text on one line that opens no tag, link, code or column of Markdown, and addresses nobody."""
    text = re.sub(r"([\\`|])", r"\\\1", _flat(text))
    text = TAG.sub("&lt;", ENTITY.sub("&amp;", text))
    text = BRACKET.sub(lambda m: "]\\" if m[0] == "]" else "\\[", text)
    text = MENTION.sub("&#64;", ISSUE.sub("&#35;", STRESS.sub(r"\\\g<0>", text)))
    return ADDRESS.sub(lambda m: f"{m[1]}&#58;" if m[1] else f"{m[2]}&#46;", text)


def markdown_block(text: str) -> str:
    """Markdown that begins a line, made to stay a sentence: no heading, item, quotation, fence or code."""
    return NUMBERED.sub(r"\1\\\2", BLOCK.sub(r"\\\1", text.lstrip()))


def markdown_code(text: str) -> str:
    """Text between backticks where it can neither end them nor, inside a table, the cell; else as other text."""
    text = _flat(text)
    plain = "`" in text or "\\|" in text or text.endswith("\\") or not text.strip()
    return markdown(text) if plain else "`" + text.replace("|", "\\|") + "`"


def markdown_listing(text: str, language: str) -> str:
    """Text between fences that are longer than any in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{seen(text).rstrip()}\n{fence}"


def markdown_prose(text: str) -> str:
    """A sentence of this package with names from outside in it; what stands between backticks stays code."""
    parts = CODE.split(text)
    return markdown_block("".join(markdown_code(part) if i % 2 else markdown(part) for i, part in enumerate(parts)))


def _flat(text: str) -> str:
    return seen(text).replace("\n", " ").replace("\t", " ")


def html(text: str) -> str:
    """Text that opens no tag and ends no attribute."""
    return str(text) if isinstance(text, Html) else _html.escape(seen(text))


def html_prose(text: str) -> str:
    """A sentence with what stands between backticks as code."""
    return CODE.sub(r"<code>\1</code>", html(text))


def address(place: str) -> str:
    """A path beside a page as a link to it, which is never one to another host nor a script."""
    told = quote(seen(place), safe="/-._~")
    return f"./{told}" if told.startswith("/") else told


def csv(text: str) -> str:
    """Text that no spreadsheet takes for a formula; a lone sign and a number are none.

    The mark is the apostrophe that spreadsheets know. A text that has it already, before a sign, gets one more, so whoever reads
    the cell as a program takes one apostrophe away before a sign and has the text again.
    """
    formula = len(text) > 1 and text.lstrip("'").startswith(FORMULA) and not NUMBER.fullmatch(text)
    text = SPLIT_FORMULA.sub("'", seen(text))
    return "'" + text if formula else text


def xml(text: str) -> str:
    """Text without what XML 1.0 cannot hold, not even escaped; whoever writes the XML escapes the rest."""
    return seen(ILLEGAL.sub("\ufffd", text))


def annotation(text: str) -> str:
    """The message of a command to GitHub Actions, which ends with its line."""
    return seen(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def annotation_property(text: str) -> str:
    """A property of a command to GitHub Actions, such as its title."""
    return annotation(text).replace(":", "%3A").replace(",", "%2C")


def drawn(text: str, most: int = 40) -> str:
    """Text in a figure: one line, not wider than the figure, and no formula; a wrong one would end the command."""
    text = _flat(text)
    return (text if len(text) <= most else text[: most - 1] + "\u2026").replace("$", "\\$")
