"""A run as one self-contained HTML page: no script, no network, so it can be mailed, archived and opened in ten years.

The page puts beside the scores what is needed to doubt them: floors, coverage, identities, and explanations with the windows they
are about. A page with the table alone would look better and be believed more than it deserves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from latentbench.judges.price import ESTIMATE_NOTE, estimated
from latentbench.kernel.files import write_text
from latentbench.leaderboards.board import Ranking
from latentbench.leaderboards.board_page import board_blocks, notes
from latentbench.leaderboards.latent_page import drawn_window, explained
from latentbench.leaderboards.ranked_runs import rank
from latentbench.leaderboards.row import POOLED
from latentbench.panels.panel_table import agreement, read_opinions
from latentbench.runs.finished import Run, load_run, suite_of
from latentbench.runs.record import RECORD, UNQUALIFIED
from latentbench.stats.bootstrap import FEWEST
from latentbench.views.escape import Html, html
from latentbench.views.number import number, percent
from latentbench.views.page import Block, Bullets, Facts, Heading, Listing, Page, Prose
from latentbench.views.table import Cell, Column, Table

if TYPE_CHECKING:
    from latentbench.suites.store import Suite

REPORT = "report.html"
SAMPLES = 4
"""Latents whose explanations are shown."""
WINDOWS = 4
"""Windows shown of each, the strongest first."""


def write_report(folder: Path, suite_folder: Path | None = None, out: Path | None = None) -> Path:
    """Write `report.html` of a run.

    Args:
        out: folder that it goes into; the run's own by default.
        suite_folder: where the suite is; else it is looked for as the run's spec names it. Without it the page says that
            windows cannot be shown.

    Raises:
        RunError: no finished run there.
        CorruptTable: a table that cannot be read.
        DataError: the page cannot be written.
    """
    run = load_run(folder)
    path = (out or folder) / REPORT
    write_text(path, report(run, suite_of(run, suite_folder)))
    return path


def report(run: Run, suite: Suite | None) -> str:
    """The page of a run; what the members of a panel said is read from its folder."""
    record = run.record
    ranked = rank([run], by_coder=True, any_split=True, recompute=False)
    pooled = [t for t in ranked.tables if t.rows[0].coders == POOLED]
    by_coder = [t for t in ranked.tables if t.rows[0].coders != POOLED]
    body: list[Block] = [
        Prose(f"{run.id}, started {record.started}, {number(record.seconds, 0)} s", soft=True),
        Facts(_summary(run)),
        Heading("Scores"),
        Prose(SCORES),
        *(block for t in pooled for block in board_blocks(t)),
        *(Prose(note, soft=True) for note in notes([row for t in pooled for row in t.rows])),
        *(Prose(line, soft=True) for line in agreement(read_opinions(run.folder))),
        Heading("Limits"),
        Bullets([*limits(run, pooled), *(r for r in ranked.remarks if r not in map(str, record.unasked))]),
    ]
    if by_coder:
        body += [Heading("By coder"), *(block for t in by_coder for block in board_blocks(t))]
    body += [Heading("Sample explanations"), *_samples(run, suite), Heading("Outcomes")]
    body += [
        Prose("Judgements by outcome; only ok is scored."),
        _outcomes(run),
        Heading("Identities"),
        _identities(run),
    ]
    body += [Heading("Specification"), Html(f"<p>Reproduce: <code>{html(record.command)}</code></p>")]
    body.append(Listing.of_json(record.model_dump(mode="json", include={"spec", "versions", "git", "hardware"})))
    return Page(record.name, body).html()


SCORES = (
    "Dot: mean over latents. Bar: 95 % interval (bootstrap over latents). Thin line: bounds under missing judgements. Dashed: "
    "declared floor. Grey rows: measured floors, explainers that know nothing of the latent. A rank is the range of places that "
    "the intervals allow."
)


def _summary(run: Run) -> dict[str, str]:
    record = run.record
    git = record.git
    facts = {
        "suite": f"{record.suite.id}, digest {record.suite.digest}",
        "latents": f"{len(record.latents)} of split {record.split}",
        "judges": ", ".join(record.judges),
        "code": "installed package"
        if git is None
        else git.revision[:12] + (" with local changes" if git.dirty else ""),
    }
    if record.failure_rate is None:
        return facts
    return facts | {"failed": f"{percent(record.failure_rate, 1)} of the explanations and judgements, taken together"}


def _samples(run: Run, suite: Suite | None) -> Iterator[Block]:
    """Latents at equal steps through the run's list: a fixed rule, so that nobody picks the pretty ones."""
    latents = run.record.latents
    n = min(SAMPLES, len(latents))
    chosen = [latents[int((i + 0.5) * len(latents) / n)] for i in range(n)]
    yield Prose(f"{n} of {len(latents)} latents, at equal steps through the list; first repeat.", soft=True)
    if suite is None:
        yield Html('<p class="warn">The suite was not found here under its digest, so the windows cannot be shown.</p>')
    for latent in chosen:
        yield Heading(latent, level=3)
        if suite is not None:
            view = suite.latent(latent)
            yield from (drawn_window(w, view.max) for w in view.explain[:WINDOWS])
        yield from explained(run, latent)


def _outcomes(run: Run) -> Table:
    import pandas as pd

    parts = ["scorer", "judge", "explainer"]
    every = run.table("judgements").each([*parts, "outcome"])
    sizes = pd.concat([rows.groupby([*parts, "outcome"], sort=False).size().reset_index(name="n") for rows in every])
    counts = sizes.groupby([*parts, "outcome"], sort=False)["n"].sum().unstack(fill_value=0)
    kinds = sorted(map(str, counts.columns), key=lambda o: (o != "ok", o))
    lines: list[list[Cell]] = [
        [*map(str, key), *map(int, row)]
        for key, row in zip(counts.index.tolist(), counts[kinds].to_numpy().tolist(), strict=True)
    ]
    return Table("", [*(Column(part, "text") for part in parts), *(Column(kind, "count") for kind in kinds)], lines)


def _identities(run: Run) -> Table:
    record = run.record
    parts = [("explainer", e.label, e.id, e.key) for e in record.explainers.values()]
    parts += [("scorer", s.label, s.id, s.key) for s in record.scorers.values()]
    parts += [
        ("judge", j.label, json.dumps(asdict(j.identity), ensure_ascii=False), j.key) for j in record.judges.values()
    ]
    columns = [Column("kind", "text"), Column("label", "text"), Column("identity", "text"), Column("key", "code")]
    return Table("", columns, [list(part) for part in sorted(parts)])


def limits(run: Run, tables: Sequence[Ranking]) -> list[str]:
    """One sentence per limit that applies to these tables; never empty.

    Args:
        tables: of this run, over all coders.
    """
    found = [line for table in tables for line in _limits_of(table)]
    if run.record.split != "test":
        found.insert(0, f"Measured on {run.record.split} latents: these scores are not for the leaderboard.")
    found += [f"No table: {pair}" for pair in run.record.unasked]
    git = run.record.git
    if git is not None and git.dirty:
        found.append("The code had local changes that the recorded revision does not contain.")
    if max((row.repeats for table in tables for row in table.rows), default=1) == 1:
        found.append(
            "One repeat: the spread of explainer and judge sampling is inside the interval over latents, not separated."
        )
    if any(estimated(row.price.dollars) for table in tables for row in table.rows):
        found.append(ESTIMATE_NOTE)
    found.append("Intervals are over latents of this suite; they say nothing about other subjects, coders or judges.")
    return list(dict.fromkeys(found))


def _limits_of(table: Ranking) -> list[str]:
    if table.is_shown_only:
        found = [f"{table.title}: {RECORD} has no digests, so nothing shows that this is what the run wrote."]
    else:
        found = _limits_of_ranks(table)
    holes = [row for row in table.rows if row.coverage is not None and row.coverage < 1]
    if holes:
        worst = min(holes, key=lambda row: row.coverage or 0.0)
        bounded = any(row.worst is not None for row in holes)
        found.append(
            f"{table.title}: judgements are missing (coverage down to {percent(worst.coverage)} for {worst.explainer.label}); "
            + ("compare the bounds before the scores." if bounded else f"no bounds are known for {table.headline}.")
        )
    few = min(row.score.n for row in table.rows)
    if few < FEWEST:
        found.append(f"{table.title}: {few} latents are too few for any claim; it takes {FEWEST}.")
    if any(row.qualification == UNQUALIFIED for row in table.rows):
        found.append(
            f"Judge {table.rows[0].judge.label} is unqualified: nobody has measured how well it does this task."
        )
    return found


def _limits_of_ranks(table: Ranking) -> list[str]:
    found = []
    ranked = [(row, rank) for row, rank in zip(table.rows, table.ranks, strict=True) if rank is not None]
    real = [(row, rank) for row, rank in ranked if not row.is_floor]
    floors = [(row, rank) for row, rank in ranked if row.is_floor]
    if not floors:
        found.append(f"{table.title}: no floor was measured; add a floor such as `shuffled` to the spec.")
    elif real:
        best_floor = min(rank.low for _, rank in floors)
        lost = [row.explainer.label for row, rank in real if rank.high >= best_floor]
        if lost:
            found.append(
                f"{table.title}: {', '.join(lost)} cannot be told from a floor; "
                + (
                    "there are too few latents."
                    if real[0][0].score.n < FEWEST
                    else "the judge or the method may be too weak."
                )
            )
    return found
