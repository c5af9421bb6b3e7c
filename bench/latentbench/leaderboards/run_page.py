"""A run as one self-contained HTML page: no script, no network, so it can be mailed, archived and opened in ten years.

The page puts beside the scores what is needed to doubt them: floors, coverage, identities, and explanations with the windows they
are about. A page with the table alone would look better and be believed more than it deserves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from latentbench.judges.price import as_text
from latentbench.kernel.files import write_text
from latentbench.leaderboards.bars import axis, bar, ruler
from latentbench.leaderboards.board import Table, tables
from latentbench.leaderboards.format import BOUNDS_NOTE, KIND_NOTE, by_kind, interval, other_metrics
from latentbench.leaderboards.limits import limits
from latentbench.leaderboards.rows import rows
from latentbench.runs.record import Run, load_run, suite_of
from latentbench.views.html import document, facts_html, json_html, table_html
from latentbench.views.number import number, percent, short

if TYPE_CHECKING:
    from latentbench.kernel.latent import Window
    from latentbench.suites.store import Suite

REPORT = "report.html"
SAMPLES = 4
"""Latents whose explanations are shown."""
WINDOWS = 4
"""Windows shown of each, the strongest first."""


def write_report(folder: Path, suite_folder: Path | None = None) -> Path:
    """Write `report.html` into a run folder.

    Args:
        suite_folder: where the suite is; else it is looked for as the run's spec names it. Without it the page says that
            windows cannot be shown.

    Raises:
        RunError: no finished run there.
        CorruptTable: a table that cannot be read.
    """
    run = load_run(folder)
    path = folder / REPORT
    write_text(path, report(run, suite_of(run, suite_folder)))
    return path


def report(run: Run, suite: Suite | None) -> str:
    """The page of a run; pure."""
    record = run.record
    ranked = tables(rows([run], by_coder=True, any_split=True))
    pooled = [t for t in ranked if t.rows[0].coders == "all"]
    by_coder = [t for t in ranked if t.rows[0].coders != "all"]
    body = [
        f"<h1>{escape(record['name'])}</h1>",
        f'<p class="soft">run {escape(run.id)}, started {escape(record["started"])}, {record["seconds"]:.0f} s</p>',
        facts_html(_summary(run)),
        "<h2>Scores</h2>",
        "<p>Dot: mean over latents. Bar: 95 % interval (bootstrap over latents). Thin line: bounds under missing judgements. "
        "Dashed: declared floor. Grey rows: measured floors, explainers that know nothing of the latent. A rank is the range of "
        "places that the intervals allow.</p>",
        *(_table(t) for t in pooled),
        f'<p class="soft">{escape(BOUNDS_NOTE)} Tokens, $ and s are per latent: explaining + judging.</p>',
        "<h2>Limits</h2>",
        '<ul class="limits">' + "".join(f"<li>{escape(line)}</li>" for line in limits(run, pooled)) + "</ul>",
    ]
    if by_coder:
        body += ["<h2>By coder</h2>", *(_table(t) for t in by_coder)]
    body += ["<h2>Sample explanations</h2>", *_samples(run, suite)]
    body += ["<h2>Outcomes</h2>", _outcomes(run), "<h2>Identities</h2>", _identities(run)]
    body += ["<h2>Specification</h2>", f"<p>Reproduce: <code>{escape(record['command'])}</code></p>"]
    body.append(json_html({name: record[name] for name in ("spec", "versions", "git", "hardware") if name in record}))
    return document(f"{record['name']}: {run.id}", body)


def _summary(run: Run) -> dict[str, str]:
    record = run.record
    suite = record["suite"]
    git = record.get("git")
    facts = {
        "suite": f"{suite['name']}@{suite['version']}, digest {suite['digest']}",
        "latents": f"{len(record['latents'])} of split {record['split']}",
        "judges": ", ".join(dict.fromkeys(cell["judge"]["label"] for cell in record["cells"])),
        "code": "installed package"
        if not git
        else git["revision"][:12] + (" with local changes" if git["dirty"] else ""),
    }
    return facts | {"failed calls": f"{record['failure_rate']:.1%}"} if "failure_rate" in record else facts


def _table(table: Table) -> str:
    scale = axis(table.rows)
    others = other_metrics(table)
    heads = ["rank", "explainer", _breakable(table.headline), "95 % interval", ruler(scale), *map(_breakable, others)]
    heads += ["coverage", "latents", "tokens", "$", "s"]
    kinds = ["n", "", "n", "n", "w", *["n"] * (len(heads) - 5)]
    lines = []
    for row, rank in zip(table.rows, table.ranks, strict=True):
        a, b = row.explaining, row.judging
        name = escape(row.explainer.label) + ('<span class="tag">floor</span>' if row.is_floor else "")
        if row.model:
            name += f'<br><span class="soft">by {escape(row.model)}</span>'
        covered = escape(percent(row.coverage))
        if row.worst is not None:
            bounds = f"{number(row.worst)} to {number(row.best)}"
            covered = f'<span class="warn">{covered}</span><br><span class="soft">{bounds}</span>'
        texts = [str(rank), name, number(row.score.estimate), interval(row.score), bar(row, scale)]
        texts += [number(row.metrics[m].estimate) if m in row.metrics else "–" for m in others]
        texts += [
            covered,
            str(row.score.n),
            f"{short(a.tokens_in + a.tokens_out)} + {short(b.tokens_in + b.tokens_out)}",
        ]
        texts += [f"{as_text(a.dollars)} + {as_text(b.dollars)}", f"{short(a.seconds)} + {short(b.seconds)}"]
        lines.append(texts)
    title = f'<h3>{escape(table.title)}</h3><p class="soft">{escape(table.conditions)}</p>'
    return title + table_html(heads, kinds, lines, [row.is_floor for row in table.rows]) + _kinds(table)


def _kinds(table: Table) -> str:
    """The grid by kind of silent windows, if there are several."""
    found = by_kind(table)
    if found is None:
        return ""
    lines = [
        [
            escape(row.explainer.label),
            _breakable(metric),
            *("–" if e is None else f'{number(e.estimate)} <span class="soft">{interval(e)}</span>' for e in estimates),
        ]
        for row, metric, estimates in found.lines
    ]
    heads = ["explainer", "metric", *map(escape, found.kinds)]
    grid = table_html(heads, ["", "", *["n"] * len(found.kinds)], lines, [row.is_floor for row, _, _ in found.lines])
    return f'<p class="soft">By kind of silent windows. {escape(KIND_NOTE)}</p>{grid}'


def _breakable(name: str) -> str:
    """A metric's name that may break at its underscores."""
    return escape(name).replace("_", "_<wbr>")


def _samples(run: Run, suite: Suite | None) -> Iterable[str]:
    """Latents at equal steps through the run's list: a fixed rule, so that nobody picks the pretty ones."""
    latents: Sequence[str] = run.record["latents"]
    count = min(SAMPLES, len(latents))
    chosen = [latents[int((i + 0.5) * len(latents) / count)] for i in range(count)]
    yield f'<p class="soft">{count} of {len(latents)} latents, at equal steps through the list; first repeat.</p>'
    if suite is None:
        yield '<p class="warn">The suite was not found here under its digest, so the windows cannot be shown.</p>'
    first = run.explanations[run.explanations["repeat"] == 0]
    headline = {cell["scorer"]["label"]: cell["scorer"]["headline"] for cell in run.record["cells"]}
    scores = run.scores[run.scores["metric"] == run.scores["scorer"].map(headline)]
    for latent in chosen:
        yield f"<h3>{escape(latent)}</h3>"
        if suite is not None:
            view = suite.latent(latent)
            yield "".join(_window(w, view.max) for w in view.explain[:WINDOWS])
        mine = scores[(scores["latent"] == latent) & (scores["repeat"] == 0)]
        columns = list(dict.fromkeys(zip(mine["scorer"], mine["judge"], strict=True)))
        keys = zip(mine["explainer"], mine["scorer"], mine["judge"], strict=True)
        values = dict(zip(keys, mine["value"].tolist(), strict=True))
        heads = ["explainer", "explanation"]
        heads += [f'{escape(s)}<br><span class="soft">{escape(j)}</span>' for s, j in columns]
        lines = []
        own = first[first["latent"] == latent]
        for label, text, outcome, error in own[["explainer", "text", "outcome", "error"]].itertuples(index=False):
            cells = [_score(values.get((label, *column))) for column in columns]
            lines.append([escape(str(label)), _text(text, outcome, error), *cells])
        yield table_html(heads, ["w", "", *["n"] * len(columns)], lines)


def _text(text: object, outcome: object, error: object) -> str:
    """An explanation, or what stands in place of one without text."""
    if isinstance(text, str) and text:
        return escape(text)
    why = "empty" if outcome == "ok" else f"{outcome}: {error}"
    return f'<span class="soft">({escape(why)})</span>'


def _score(value: float | None) -> str:
    return number(None if value is None or value != value else value)


def _window(window: Window, scale: float) -> str:
    tokens = "".join(
        f'<mark style="background:rgba(31,95,153,{0.1 + 0.45 * min(1.0, a / scale):.2f})" title="{a:.2f}">{escape(t)}</mark>'
        if a > 0 and scale > 0
        else escape(t)
        for t, a in zip(window.tokens, window.activations, strict=True)
    )
    return f'<div class="window"><span class="kind">{escape(window.kind)}</span>{tokens}</div>'


def _outcomes(run: Run) -> str:
    parts = ["scorer", "judge", "explainer"]
    counts = run.judgements.groupby([*parts, "outcome"], sort=False).size().unstack(fill_value=0)
    kinds = sorted(map(str, counts.columns), key=lambda o: (o != "ok", o))
    lines = [
        [*(escape(str(part)) for part in key), *(str(n) for n in row)]
        for key, row in zip(counts.index.tolist(), counts[kinds].to_numpy().tolist(), strict=True)
    ]
    table = table_html([*parts, *map(escape, kinds)], [*[""] * len(parts), *["n"] * len(kinds)], lines)
    return f"<p>Judgements by outcome; only ok is scored.</p>{table}"


def _identities(run: Run) -> str:
    lines: dict[tuple[str, str], list[str]] = {}
    for cell in run.record["cells"]:
        for kind in ("explainer", "scorer", "judge"):
            part = cell[kind]
            what = part["id"] if kind != "judge" else json.dumps(part["identity"], ensure_ascii=False)
            key = f"<code>{escape(part['key'])}</code>"
            lines[(kind, part["label"])] = [kind, escape(part["label"]), escape(what), key]
    return table_html(["kind", "label", "identity", "key"], [""] * 4, [lines[place] for place in sorted(lines)])
