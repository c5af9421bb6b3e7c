"""A study as one self-contained HTML page: figures inline, tables, spec, identities of its runs, and limits.

Made from the study's folder alone, so it can be made again years later without runs, suites or models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from latentbench.kernel.errors import CorruptTable, RunError
from latentbench.kernel.files import write_text
from latentbench.lab.studies.study_page import duration, read_study
from latentbench.lab.studies.study_result import Table, folded
from latentbench.leaderboards.run_page import REPORT
from latentbench.views.figure import embedded
from latentbench.views.html import document, facts_html, json_html, table_html


def write_report(folder: Path) -> Path:
    """Write `report.html` into a study folder.

    Raises:
        RunError: no study there.
        CorruptTable: a figure that the study names is missing.
    """
    record = read_study(folder)
    if record is None:
        raise RunError(
            f"{folder} holds no study that can be read; make it with `bench study NAME --out {folder.parent}`."
        )
    missing = [name for name in record["figures"] if not (folder / f"{name}.svg").exists()]
    if missing:
        raise CorruptTable(f"{folder} has no {missing[0]}.svg; make the study again: {record['command']} --again")
    path = folder / REPORT
    figures = {name: embedded(folder / f"{name}.svg") for name in record["figures"]}
    write_text(path, report(record, figures))
    return path


def report(record: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    """The page of a study; pure.

    Args:
        record: `study.json`.
        figures: name -> address of its drawing.
    """
    body = [
        f"<h1>{escape(record['title'])}</h1>",
        f"<p>{escape(record['question'])}</p>",
        facts_html(
            {
                "study": f"{record['name']}, size {record['size']}",
                "made": f"{record['date']}, {duration(record['seconds'])}",
                "reproduce": record["command"],
            }
        ),
        "<h2>What it found</h2>",
        _list(record["findings"]),
        *(_picture(name, source) for name, source in figures.items()),
        "<h2>Tables</h2>",
        *(_table(t) for t in record["tables"]),
        "<h2>The paper</h2>",
        f"<p>{escape(record['paper']['where'])}. {escape(record['paper']['note'])}</p>",
        "<h2>Limits</h2>",
        _list(record["limits"]),
    ]
    if record["runs"]:
        lines = [
            [
                escape(r["id"]),
                f"{escape(r['suite'])}<br><code>{escape(r['digest'])}</code>",
                str(r["latents"]),
                escape(", ".join(r["judges"])),
                f"{r['failure_rate']:.1%}",
                f"{r['seconds']:.0f}",
            ]
            for r in record["runs"]
        ]
        heads, kinds = ["run", "suite", "latents", "judges", "failed calls", "s"], ["", "", "n", "", "n", "n"]
        body += ["<h2>Judges and runs</h2>", facts_html(record["judges"]), table_html(heads, kinds, lines)]
        body += ["<h2>Identities</h2>", json_html({r["id"]: r["identities"] for r in record["runs"]})]
    body += ["<h2>Specification</h2>", json_html({"study": record["spec"], "profile": record["profile"]})]
    return document(record["title"], body)


def _list(lines: list[str]) -> str:
    return '<ul class="limits">' + "".join(f"<li>{_prose(line)}</li>" for line in lines) + "</ul>"


def _picture(name: str, source: str) -> str:
    return f'<p style="max-width:none"><img src="{source}" alt="{escape(name)}" style="max-width:100%"></p>'


def _table(record: Mapping[str, Any]) -> str:
    table = Table(
        record["name"],
        record["title"],
        tuple(record["columns"]),
        record["rows"],
        record["note"],
        tuple(record["shown"]),
    )
    heads, lines = folded(table)
    kinds = ["n" if all(_numeric(line[i]) for line in lines) else "" for i in range(len(heads))]
    floors = [row.get("carries") is False for row in record["rows"]]
    cells = [[escape(cell) for cell in line] for line in lines]
    grid = table_html([escape(h.replace("_", " ")) for h in heads], kinds, cells, floors)
    return f'<h3>{escape(table.title)}</h3>{grid}<p class="soft">{_prose(table.note)}</p>'


def _prose(text: str) -> str:
    """Text with names between backticks set as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _numeric(cell: str) -> bool:
    return not cell or cell[0] in "+-<–0123456789"
