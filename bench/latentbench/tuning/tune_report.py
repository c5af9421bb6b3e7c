"""The search on one page: HTML with its figures inside, Markdown with them beside it; both are pure functions of `study.json`.

The verdict on held-out latents stands first and the winner's score on tuning latents nowhere near it: that score is the largest
of many noisy ones, and it is what people would quote.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from latentbench.kernel.files import write_text
from latentbench.tuning.plots import figures
from latentbench.tuning.summary import chance, counts, limits, matters, price, shrinkage, verdict
from latentbench.views.escape import Html
from latentbench.views.number import NONE, p_is, signed
from latentbench.views.page import Block, Bullets, Heading, Listing, Page, Picture, Prose
from latentbench.views.table import Cell, Column, Table

REPORT, MARKDOWN, FIGURES = "report.html", "report.md", "figures"


def write_reports(result: Mapping[str, Any], folder: Path) -> Path:
    """Write `report.html`, `report.md` and `figures/*.svg`; returns the page."""
    drawn = figures(result)
    page = tune_page(result, drawn)
    (folder / FIGURES).mkdir(exist_ok=True)
    for name, svg in drawn.items():
        write_text(folder / FIGURES / f"{name}.svg", svg + "\n")
    write_text(folder / MARKDOWN, page.markdown())
    path = folder / REPORT
    write_text(path, page.html())
    return path


def tune_page(result: Mapping[str, Any], drawn: Mapping[str, Html]) -> Page:
    """The page of a search.

    Args:
        drawn: figure -> drawing.
    """
    blocks: list[Block] = [Prose(verdict(result), strong=True)]
    blocks.append(Bullets([*(s for s in (chance(result), shrinkage(result)) if s), *matters(result)]))
    blocks.append(_facts(result))
    if result["holdout"] is not None:
        blocks.append(held_out_table(result))
    if result["winners"]:
        blocks.append(settings_table(result))
    for title, start in (("History", ("history", "pareto")), ("Slices", "slices"), ("Importances", "importances")):
        pictures = [Picture(n, f"{FIGURES}/{n}.svg", svg) for n, svg in drawn.items() if n.startswith(start)]
        blocks += [Heading(title), *pictures] if pictures else []
    blocks += [_importances(name, rows) for name, rows in result["importances"].items()]
    blocks += [Prose(IMPORTANCE, soft=True), trials_table(result), Heading("Limits"), Bullets(limits(result))]
    blocks += [Heading("Specification"), Prose(f"Go on or reproduce: `{result['command']}`", soft=True)]
    blocks.append(Listing(yaml.safe_dump(result["spec"], sort_keys=False, allow_unicode=True), "yaml"))
    blocks.append(Listing.of_json({k: result[k] for k in ("versions", "git", "hardware") if k in result}))
    return Page(f"{result['name']}: tuning search", blocks)


IMPORTANCE = (
    "Importance: share of the variance between trials that only this parameter accounts for, in an additive model. Range: "
    "bootstrap over trials and latents; resampling adds noise, so a large importance can lie above its own range. Chance: the "
    "95 % quantile if the parameter did nothing."
)
HELD_OUT = (
    "{latents} latents that no trial saw, {repeats} repeats averaged first; differences are paired by latent, with 95 % "
    "intervals over latents and p-values after Holm over all tests of this table. `score` is floor-normalised: "
    "0 knows nothing, 1 is perfect; the rows below it are the headlines of the single scorers, not tested."
)


def _facts(result: Mapping[str, Any]) -> Table:
    measured = result["measured_on"] or {"suite": NONE}
    lines: list[list[Cell]] = [
        ["trials", counts(result)],
        ["ended", result["stopped"]],
        ["sampler", result["sampler"]],
        ["tuning latents", f"{result['latents']} of suite {result['spec']['run'].get('suite')} ({measured['suite']})"],
        ["paid", price(result)],
        ["storage", result["storage"]],
        ["spec key", result["spec_key"]],
    ]
    return Table("", [Column("", "text"), Column("", "text")], lines)


def _p(difference: Mapping[str, Any]) -> float | None:
    """The corrected p; NaN where it was tested and has none, None where nothing was tested."""
    return math.nan if difference.get("p_holm", 0) is None else difference.get("p_holm")


def held_out_table(result: Mapping[str, Any]) -> Table:
    """The winners beside the default on latents that no trial saw."""
    held = result["holdout"]
    lines: list[list[Cell]] = []
    for w in held["winners"]:
        label = f"trial {w['trial']}" + (" (the default)" if w["same"] else "")
        for name in (*(o["name"] for o in result["objectives"]), *w["cells"]):
            a, b = held["default"]["means"][name], w["means"][name]
            d = w["differences"].get(name) or w["cells"].get(name) or {}
            what = f"{name}, {d['headline']}" if "headline" in d else name
            lines.append([label, what, a["estimate"], _triple(b), _triple(d) if d else None, _p(d)])
            lines[-1] += [d.get("verdict", NONE), w["coverage"]]
    columns = [
        Column("setting", "text"),
        Column("measure", "text"),
        Column("default", "number"),
        Column("tuned", "number"),
        Column("difference", "signed"),
        Column("p", "p"),
        Column("verdict", "text"),
        Column("coverage", "percent"),
    ]
    return Table("On held-out latents", columns, lines, note=HELD_OUT.format(**held))


def _triple(d: Mapping[str, Any]) -> Cell:
    return (d["estimate"], d["low"], d["high"])


def settings_table(result: Mapping[str, Any]) -> Table:
    """What the winners are, parameter by parameter."""
    shown = [t for t in result["trials"] if t["number"] in result["winners"][:8]]
    shown.sort(key=lambda t: result["winners"].index(t["number"]))
    default = result["spec"]["default"]
    columns = [
        Column("parameter", "text"),
        Column("default", "text"),
        *(Column(f"trial {t['number']}", "text") for t in shown),
    ]
    rows = [
        [name, setting_text(default.get(name)), *(setting_text(t["settings"].get(name)) for t in shown)]
        for name in result["spec"]["space"]
    ]
    return Table("Settings", columns, rows)


def _importances(name: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = [Column(f"parameter ({name})", "text"), Column("importance", "number"), Column("range", "number")]
    columns += [Column("chance", "number"), Column("trials", "count")]
    return Table(
        "", columns, [[r["parameter"], r["importance"], (r["low"], r["high"]), r["chance"], r["trials"]] for r in rows]
    )


def trials_table(result: Mapping[str, Any]) -> Table:
    """Every trial in the order of its beginning."""
    objectives = [o["name"] for o in result["objectives"]]
    parameters = list(result["spec"]["space"])
    lines: list[list[Cell]] = []
    for t in result["trials"]:
        if t["state"] == "repeat":
            continue
        who = f"{t['number']}" + (f" ({t['name']})" if t["name"] else "")
        scores = [t["means"].get(o) for o in objectives]
        settings = [setting_text(t["settings"].get(n)) for n in parameters]
        lines.append([who, t["state"], *scores, t["latents"], t["coverage"], *settings, _trial_note(t)])
    columns = [Column("trial", "text"), Column("state", "text"), *(Column(o, "number") for o in objectives)]
    columns += [Column("latents", "count"), Column("coverage", "percent"), *(Column(n, "text") for n in parameters)]
    return Table("Trials", [*columns, Column("note", "text")], lines)


def _trial_note(t: Mapping[str, Any]) -> str:
    note = t["error"] or ""
    if t["outcome"]:
        note = f"{t['outcome']}: {note}"
    if t["breaks"]:
        note = f"breaks {', '.join(t['breaks'])}"
    if t["stopped_by"]:
        s = t["stopped_by"]
        note = f"{signed(s['difference'])} to trial {s['incumbent']}, {p_is(s['p'])}"
    return note if t["again"] is None else f"again, for trial {t['again']}. {note}".strip()


def setting_text(value: Any) -> str:
    """A value of a parameter for a table."""
    if value is None:
        return NONE
    return f"{value:.4g}" if isinstance(value, float) else str(value)
