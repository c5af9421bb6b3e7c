"""A run as flat tables in CSV: `explanations.csv` and `scores.csv`, with every explainer and repeat.

A program for spreadsheets takes a cell that begins with `=` for a formula, so texts are escaped as in every CSV of this project,
which changes some of them. The column `text_json` holds each text once more as a JSON string in which everything but letters,
digits, spaces, full stops and commas is a code: nothing in it is a formula, and what is read back is the text, byte for byte.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from latentbench.exchange.exported_run import ExportedRun
from latentbench.kernel.files import write_text
from latentbench.views.table import Cell, Table

PLAIN = re.compile(r"[^A-Za-z0-9 .,]")
TOLD = ("explainer", "explainer_id", "explainer_key", "repeat", "outcome", "hash", "error")
SCORES = (
    "cell",
    "latent",
    "coder",
    "explainer",
    "scorer",
    "judge",
    "repeat",
    "metric",
    "value",
    "n_judged",
    "n_attempted",
)


def as_json(text: str) -> str:
    """A text as a JSON string without any character that means something to a spreadsheet."""
    return '"' + PLAIN.sub(_code, text) + '"'


def _code(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))


def write_flat(exported: ExportedRun, folder: Path) -> None:
    """Write both tables."""
    exported.note("csv: the column `text` is escaped for spreadsheets; `text_json` holds the text exactly.")
    rows: list[dict[str, Cell]] = []
    for row in exported.run.explanations.to_dict("records"):
        if row["explainer"] not in exported.chosen:
            continue
        text = row["text"] if isinstance(row["text"], str) else None
        said = {name: _cell(row[name]) for name in TOLD}
        rows.append(
            {"latent": row["latent"], "text": text, "text_json": None if text is None else as_json(text), **said}
        )
    write_text(folder / "explanations.csv", Table.of_records(rows).csv())
    scores = exported.run.scores
    own = scores[scores["explainer"].isin(exported.chosen)]
    values: list[dict[str, Cell]] = [{name: _cell(row[name]) for name in SCORES} for row in own.to_dict("records")]
    write_text(folder / "scores.csv", Table.of_records(values).csv())


def _cell(value: object) -> Cell:
    if value is None or isinstance(value, str | float | bool):
        return value
    found: Cell = json.loads(str(value))  # a whole number stays one: repeat 0 is chosen as 0, and not as 0.0
    return found
