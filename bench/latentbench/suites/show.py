"""A suite as a person reads it: what it holds, where it fell short, and one latent with its windows.

Returns a renderable and prints nothing, so the same picture goes to a terminal, a report or a test. Window text is inserted as
plain text: corpus text with square brackets in it would otherwise be taken for rich's markup.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from latentbench.kernel.latent import LatentView, Window
from latentbench.suites.imported.suite_notes import notes
from latentbench.suites.shortfall import remarks, shortfall
from latentbench.suites.store import Suite
from latentbench.views import escape
from latentbench.views.number import NONE, number
from latentbench.views.table import Cell, Column, Table

MARK_SHARE = 0.3
WINDOWS_SHOWN = 5
ASKED_GOT = ("explain", "positive", "negative")


def show_suite(suite: Suite, latent: str | None = None) -> RenderableType:
    """Summary per coder, shortfalls, and one latent.

    Args:
        suite: what to show.
        latent: id of the latent to show; the first by default.

    Raises:
        UnknownName: no such latent.
    """
    views = suite.latents()
    chosen = suite.latent(latent) if latent else views[0] if views else None
    n_windows = sum(len(v.explain) + len(v.contrast) + len(v.test) for v in views)
    short = shortfall(suite.manifest, suite.latent_table)
    parts: list[RenderableType] = [
        _said(f"{suite.id}  digest {suite.digest}  {len(views)} latents  {n_windows} windows"),
        _said(_origin(suite), "dim"),
        *(_said(line, "dim") for line in notes(suite)),
        _coders(suite.coders, views).terminal(),
        _said(shortfalls(views)),
        *map(_said, (*short.lines, *short.problems)),
        *map(_said, remarks(suite.manifest)),
    ]
    if chosen is not None:
        parts += [Text(), *_latent(chosen)]
    return Group(*parts)


def _said(text: str, style: str = "") -> Text:
    """Text of a suite, harmless for the terminal that shows it."""
    return Text(escape.line(text), style=style)


def marked(window: Window, share: float = MARK_SHARE) -> str:
    """The window on one line, with `<<...>>` around runs of tokens at or above `share` of its largest activation."""
    threshold = share * window.max
    out, open_run = [], False
    for token, value in zip(window.tokens, window.activations, strict=True):
        on = value > 0 and value >= threshold
        if on != open_run:
            out.append("<<" if on else ">>")
            open_run = on
        out.append(token)
    if open_run:
        out.append(">>")
    return "".join(out).replace("\n", "\u23ce").replace("\t", " ")


def _visible(token: str) -> str:
    return token.replace(" ", "\u00b7").replace("\n", "\u23ce").replace("\t", "\u21e5")


def shortfalls(views: Sequence[LatentView]) -> str:
    """How many latents got fewer windows than asked for, by role."""
    said = []
    for role in ASKED_GOT:
        short = [v for v in views if (v.row[f"got_{role}"] or 0) < (v.row[f"asked_{role}"] or 0)]
        if short:
            missing = sum(v.row[f"asked_{role}"] - v.row[f"got_{role}"] for v in short)
            said.append(f"{len(short)} latents lack {missing} {role} windows")
    return "shortfalls: " + ("; ".join(said) if said else "none")


def _origin(suite: Suite) -> str:
    subject, corpus = suite.manifest.get("subject"), suite.manifest.get("corpus")
    said = []
    if subject:
        said.append(f"subject {subject['model']} ({subject['dtype']}, weights {subject['weights']})")
    if corpus and "tokens" in corpus and "contexts" in corpus:
        said.append(f"corpus {corpus['identity']}, {corpus['tokens']:,} tokens in {corpus['contexts']:,} contexts")
    return "; ".join(said) or str(suite.path)


def _coders(names: Sequence[str], views: Sequence[LatentView]) -> Table:
    columns = [Column(name, "text") for name in ("coder", "kind", "hookpoint")]
    columns += [
        Column("tune", "count"),
        Column("test", "count"),
        Column("fires per 10k", "number"),
        Column("windows", "count"),
    ]
    rows: list[list[Cell]] = []
    for name in names:
        mine = [v for v in views if v.coder == name]
        rates = [1e4 * v.row["rate_token"] for v in mine if v.row["rate_token"] is not None]
        spread = " / ".join(number(x, 1) for x in (min(rates), statistics.median(rates), max(rates))) if rates else NONE
        splits = [sum(v.split == split for v in mine) for split in ("tune", "test")]
        windows = sum(len(v.explain) + len(v.contrast) + len(v.test) for v in mine)
        said = (mine[0].row["coder_kind"] or NONE, mine[0].row["hookpoint"] or NONE)
        rows.append([name, *said, *splits, spread, windows])
    return Table("", columns, rows)


def _latent(view: LatentView) -> list[RenderableType]:
    row = view.row
    head = f"{view.id}  {view.split}"
    if row["stratum"] is not None:
        head += f", stratum {row['stratum']}"
    if row["rate_token"] is not None:
        head += f", fires on {row['rate_token']:.3%} of tokens, largest {row['max_activation']:.3g}"
    parts: list[RenderableType] = [_said(head, "bold")]
    parts += [_said(f"{n}: " + "  ".join(map(_visible, row[n]))) for n in ("promoted", "suppressed") if row[n]]
    positives = [w for w in view.test if w.active]
    silent: dict[str, list[Window]] = {}
    for w in view.test:
        if not w.active:
            silent.setdefault(w.kind, []).append(w)
    groups: list[tuple[str, Sequence[Window]]] = [
        (f"explain, strongest of {len(view.explain)}", view.explain),
        *([(f"explain, silent, first of {len(view.contrast)}", view.contrast)] if view.contrast else []),
        (f"test, activating, first of {len(positives)}", positives),
        *((f"test, silent ({kind}), first of {len(windows)}", windows) for kind, windows in silent.items()),
    ]
    for title, windows in groups:
        parts.append(_said(title, "bold"))
        parts += [_window(w) for w in windows[:WINDOWS_SHOWN]]
    return parts


def _window(window: Window) -> Grid:
    line = Grid.grid(padding=(0, 1))
    line.add_column(width=10)
    line.add_column(width=6, justify="right")
    line.add_column(overflow="fold")
    line.add_row(_said(window.kind), _said(number(window.max, 2)), _said(marked(window)))
    return line
