"""The study on one page: HTML with its figures inside, and Markdown with them beside it. Both are pure functions of `study.json`.

The verdict on held-out latents stands first and the winner's score on tuning latents nowhere near it: that score is the largest
of many noisy ones, and it is what people would quote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import yaml

from latentbench.kernel.files import write_text
from latentbench.tuning.plots import figures
from latentbench.tuning.summary import bounds, chance, counts, limits, matters, p, price, shrinkage, signed, verdict
from latentbench.views.number import number, percent
from latentbench.views.style import CSS

REPORT, MARKDOWN, FIGURES = "report.html", "report.md", "figures"
Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Heads and lines, as text."""


def write_reports(result: Mapping[str, Any], folder: Path) -> Path:
    """Write `report.html`, `report.md` and `figures/*.svg`; returns the page."""
    drawn = figures(result)
    (folder / FIGURES).mkdir(exist_ok=True)
    for name, svg in drawn.items():
        write_text(folder / FIGURES / f"{name}.svg", svg + "\n")
    write_text(folder / MARKDOWN, markdown(result, {n: f"{FIGURES}/{n}.svg" for n in drawn}))
    path = folder / REPORT
    write_text(path, page(result, drawn))
    return path


def page(result: Mapping[str, Any], drawn: Mapping[str, str]) -> str:
    """The self-contained page: no script, no network."""
    body = [f"<h1>{escape(result['name'])}: tuning study</h1>"]
    for kind, title, content in _sections(result, drawn):
        if title:
            body.append(f"<h2>{escape(title)}</h2>")
        body += _html(kind, content, drawn)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(result['name'])}: tuning study</title><style>{CSS}\n.scroll svg {{ max-width: 100%; height: auto; }}\n"
        "p.verdict { font-size: 18px; font-weight: 600; }</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def markdown(result: Mapping[str, Any], places: Mapping[str, str]) -> str:
    """The same as Markdown.

    Args:
        places: figure -> path relative to the page.
    """
    out = [f"# {result['name']}: tuning study", ""]
    for kind, title, content in _sections(result, places):
        if title:
            out += [f"## {title}", ""]
        if kind == "verdict":
            out += [f"**{content}**", ""]
        elif kind == "text":
            out += [*content, ""]
        elif kind == "list":
            out += [*(f"- {line}" for line in content), ""]
        elif kind == "table":
            out += [*_pipes(content), ""]
        elif kind == "figure":
            out += [f"![{name}]({places[name]})\n" for name in content]
        else:
            out += [f"```{kind}", content.rstrip(), "```", ""]
    return "\n".join(out).rstrip() + "\n"


def _sections(result: Mapping[str, Any], drawn: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """(kind, title, content) in the page's order."""
    found: list[tuple[str, str, Any]] = [("verdict", "", verdict(result))]
    sentences = [s for s in (chance(result), shrinkage(result)) if s]
    found.append(("list", "", [*sentences, *matters(result)]))
    found.append(("table", "", _facts(result)))
    if result["holdout"] is not None:
        held = result["holdout"]
        found.append(("table", "On held-out latents", _held_out(result)))
        found.append(
            (
                "text",
                "",
                [
                    f"{held['latents']} latents that no trial saw, {held['repeats']} repeats averaged first; differences are "
                    "paired by latent, with 95 % bootstrap intervals over latents and p-values after Holm over all tests of this "
                    "table. `score` is floor-normalised: 0 knows nothing, 1 is perfect; the rows below it are the headlines "
                    "of the single scorers, not tested."
                ],
            )
        )
    if result["winners"]:
        found.append(("table", "Settings", _settings(result)))
    found.append(("figure", "History", [n for n in drawn if n.startswith(("history", "pareto"))]))
    found.append(("figure", "Slices", [n for n in drawn if n.startswith("slices")]))
    found.append(("figure", "Importances", [n for n in drawn if n.startswith("importances")]))
    for name, rows in result["importances"].items():
        if rows:
            found.append(("table", "", _importances(name, rows)))
    found.append(
        (
            "text",
            "",
            [
                "Importance: share of the variance between trials that only this parameter accounts for, in an additive model. "
                "Range: bootstrap over trials and latents; resampling adds noise, so a large importance can lie above its own "
                "range. Chance: the 95 % quantile if the parameter did nothing."
            ],
        )
    )
    found.append(("table", "Trials", _trials(result)))
    found.append(("list", "Limits", limits(result)))
    spec = yaml.safe_dump(result["spec"], sort_keys=False, allow_unicode=True)
    found += [("text", "Specification", [f"Go on or reproduce: `{result['command']}`"]), ("yaml", "", spec)]
    versions = {k: result[k] for k in ("versions", "git", "hardware") if k in result}
    found.append(("json", "", json.dumps(versions, indent=2)))
    return [s for s in found if s[0] != "figure" or s[2]]


def _facts(result: Mapping[str, Any]) -> Table:
    measured = result["measured_on"] or {"suite": "–"}
    lines = [
        ["trials", counts(result)],
        ["ended", result["stopped"]],
        ["sampler", result["sampler"]],
        ["tuning latents", f"{result['latents']} of suite {result['spec']['run'].get('suite')} ({measured['suite']})"],
        ["paid", price(result)],
        ["storage", result["storage"]],
        ["spec key", result["spec_key"]],
    ]
    return ["", ""], lines


def _held_out(result: Mapping[str, Any]) -> Table:
    held = result["holdout"]
    lines = []
    for w in held["winners"]:
        label = f"trial {w['trial']}" + (" (the default)" if w["same"] else "")
        names = [*(o["name"] for o in result["objectives"]), *w["cells"]]
        for name in names:
            a, b = held["default"]["means"][name], w["means"][name]
            d = w["differences"].get(name) or w["cells"].get(name) or {}
            what = f"{name}, {d['headline']}" if "headline" in d else name
            difference = f"{signed(d['estimate'])} {bounds(d)}" if d else "–"
            tested = p(d.get("p_holm")) if "p_holm" in d else "–"
            mean = f"{number(b['estimate'])} [{number(b['low'])}, {number(b['high'])}]"
            lines.append(
                [
                    label,
                    what,
                    number(a["estimate"]),
                    mean,
                    difference,
                    tested,
                    d.get("verdict", "–"),
                    percent(w["coverage"]),
                ]
            )
    return ["setting", "measure", "default", "tuned", "difference", "p", "verdict", "coverage"], lines


def _settings(result: Mapping[str, Any]) -> Table:
    shown = [t for t in result["trials"] if t["number"] in result["winners"][:8]]
    shown.sort(key=lambda t: result["winners"].index(t["number"]))
    default = result["spec"]["default"]
    heads = ["parameter", "default", *(f"trial {t['number']}" for t in shown)]
    return heads, [
        [name, _value(default.get(name)), *(_value(t["settings"].get(name)) for t in shown)]
        for name in result["spec"]["space"]
    ]


def _importances(name: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    lines = [
        [
            r["parameter"],
            number(r["importance"]),
            f"[{number(r['low'])}, {number(r['high'])}]",
            number(r["chance"]),
            str(r["trials"]),
        ]
        for r in rows
    ]
    return [f"parameter ({name})", "importance", "range", "chance", "trials"], lines


def _trials(result: Mapping[str, Any]) -> Table:
    objectives = [o["name"] for o in result["objectives"]]
    parameters = list(result["spec"]["space"])
    lines = []
    for t in result["trials"]:
        if t["state"] == "repeat":
            continue
        note = t["error"] or ""
        if t["outcome"]:
            note = f"{t['outcome']}: {note}"
        if t["breaks"]:
            note = f"breaks {', '.join(t['breaks'])}"
        if t["stopped_by"]:
            s = t["stopped_by"]
            note = f"{s['difference']:+.3f} to trial {s['incumbent']}, p = {p(s['p'])}"
        if t["again"] is not None:
            note = f"again, for trial {t['again']}. {note}".strip()
        who = f"{t['number']}" + (f" ({t['name']})" if t["name"] else "")
        scores = [number(t["means"].get(o)) for o in objectives]
        lines.append(
            [
                who,
                t["state"],
                *scores,
                str(t["latents"]),
                percent(t["coverage"]),
                *(_value(t["settings"].get(n)) for n in parameters),
                note,
            ]
        )
    return ["trial", "state", *objectives, "latents", "coverage", *parameters, "note"], lines


def _value(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _pipes(table: Table) -> list[str]:
    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"

    heads, lines = table
    return [row(heads), row(["---"] * len(heads)), *map(row, lines)]


def _html(kind: str, content: Any, drawn: Mapping[str, str]) -> list[str]:
    if kind == "verdict":
        return [f'<p class="verdict">{escape(content)}</p>']
    if kind == "text":
        return [f'<p class="soft">{_code(line)}</p>' for line in content]
    if kind == "list":
        return ['<ul class="limits">' + "".join(f"<li>{_code(line)}</li>" for line in content) + "</ul>"]
    if kind == "figure":
        return [f'<div class="scroll">{drawn[name]}</div>' for name in content]
    if kind == "table":
        heads, lines = content
        head = "".join(f"<th>{escape(h)}</th>" for h in heads)
        body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in line) + "</tr>" for line in lines)
        return [f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>']
    return [f"<pre>{escape(content)}</pre>"]


def _code(text: str) -> str:
    """Text with `code` marked up."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
