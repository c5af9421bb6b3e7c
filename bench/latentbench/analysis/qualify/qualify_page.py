"""Qualifications -> the leaderboard of judges. Pure but for `render`.

Rows are grouped by how the judge was asked, on which latents: only those compare. The oracle and the constant judge are rows like
all others. The oracle is the ceiling (a window-level task cannot tell the right token from its neighbour), the constant judge the
floor, and a figure between them means little without both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from latentbench.judges.price import ESTIMATE_NOTE, estimated
from latentbench.judges.qualification import Mean, Qualification, read
from latentbench.kernel import files
from latentbench.kernel.kinds import NEAR_MISS
from latentbench.suites.planted.planted_suite import NEAR
from latentbench.views.number import NONE, count, dollars, number, p_is, percent, signed
from latentbench.views.page import Block, Bullets, Page, Prose
from latentbench.views.table import Cell, Column, Table

PAGE = "README.md"
HEAD = """# Judges

Rendered from the JSON files beside this page by `bench judge leaderboard`; do not edit. A judge is asked about planted latents,
whose truth is known, with the true explanation, a paraphrase, four near misses and three unrelated ones.

- **truth > near**, **truth > unrelated**: share of latents on which the truth has the higher headline metric; a tie counts half,
  so chance is 50 %. In brackets: 95 % bootstrap interval over latents.
- **AUROC**: of the truth, activating windows against random silent ones and against silent ones in which a near miss fires; of
  unrelated explanations against random windows, which should be 0.5.
- **retest**: the same windows asked again: correlation of the probabilities / share of equal answers.
- **position**: largest minus smallest accuracy over the places of a list prompt, with a permutation p.
- **yes bias**: share answered yes minus share of activating windows, given the truth.
- `mock:oracle` evaluates the rules themselves: the ceiling of the task. `mock:constant` answers always the same: the floor.
"""


NOTE = "windows: judged in all. tokens, $ and s: of the calls behind a judged window, cached ones counted as if made."


def qualify_page(rows: Sequence[Qualification]) -> Page:
    """A short table per way of asking, then what does not fit: as lines on the terminal, as columns elsewhere."""
    blocks: list[Block] = []
    for title, same in _groups(rows):
        blocks += [_main(title, same), Prose("Truth > each near miss, and families:", face="page"), _detail(same)]
        blocks.append(Bullets([line for r in same for line in _lines(r)], soft=True, face="terminal"))
        blocks.append(Bullets([f"`{r.judge}`, {r.date}: `{r.command}`" for r in same], face="page"))
    if any(estimated(r.dollars) for r in rows):
        blocks.append(Prose(ESTIMATE_NOTE, soft=True))
    return Page("", blocks if rows else [Prose("No judge is qualified yet.")])


def markdown(rows: Sequence[Qualification]) -> str:
    """The published page."""
    return f"{HEAD}\n{qualify_page(rows).markdown()}"


def render(folder: Path, check: bool = False) -> Path:
    """Write the page of a folder of rows, or with `check` only compare it.

    Raises:
        DataError: with `check`, the page is not what the rows render to.
    """
    path = folder / PAGE
    fault = f"{path} is not what its folder renders to. Run `bench judge leaderboard` and commit both."
    return files.render(path, markdown(read(folder)), check, fault)


def _groups(rows: Iterable[Qualification]) -> list[tuple[str, list[Qualification]]]:
    def key(r: Qualification) -> tuple[str, ...]:
        return (r.scorer_label, r.scorer, r.question_key, r.suite, r.suite_digest, r.split)

    ordered = sorted(rows, key=lambda r: (*key(r), -r.truth_over["near"].estimate, r.judge))
    return [(f"{k[0]} ({k[1]}), {k[3]}, split {k[5]}", list(same)) for k, same in groupby(ordered, key)]


def _main(title: str, rows: Sequence[Qualification]) -> Table:
    shares = (("truth > near", ">near"), ("truth > unrelated", ">unrel."))
    areas = (("AUROC random", "AUROC"), ("AUROC near-miss", "near-miss"), ("AUROC unrelated", "unrel."))
    columns = [Column("judge", "code")]
    for name, brief in shares:
        columns += [Column(brief, "percent", face="terminal"), Column(name, "percent", face="page")]
    for name, brief in areas:
        columns += [Column(brief, "number", 2, face="terminal"), Column(name, "number", 2, face="page")]
    columns += [Column(name, "number", face="page") for name in ("retest", "position")]
    columns += [
        Column("yes bias", "signed", 2, face="page"),
        Column("coverage", "percent", brief="cover"),
        Column("latents", "count", brief="n"),
        Column("windows", "count", face="page"),
        Column("tokens", "count", face="page"),
        Column("$", "dollars", face="page"),
        Column("s", "number", face="page"),
    ]
    cells: list[list[Cell]] = []
    for r in rows:
        means = [r.truth_over.get("near"), r.truth_over.get("unrelated")]
        means += [_auroc(r, "truth", "random"), _auroc(r, "truth", NEAR_MISS), _auroc(r, "unrelated", "random")]
        line: list[Cell] = [r.judge]
        for mean in means:
            line += [None, None] if mean is None else [mean.estimate, (mean.estimate, mean.low, mean.high)]
        line += [_retest(r), _position(r), r.yes_bias.estimate if r.yes_bias else None, r.coverage, r.latents]
        cells.append([*line, r.judgements, r.tokens, r.dollars, r.seconds])
    return Table(title, columns, cells, note=NOTE)


def _detail(rows: Sequence[Qualification]) -> Table:
    families = sorted({name for r in rows for name in r.truth_over_by_family})
    columns = [Column("judge", "code"), *(Column(f"> {which}", "percent") for which in NEAR)]
    columns += [*(Column(name, "percent") for name in families), Column("truth - paraphrase", "number", 2)]
    cells: list[list[Cell]] = []
    for r in rows:
        means = [*(r.truth_over.get(which) for which in NEAR), *(r.truth_over_by_family.get(name) for name in families)]
        gap = r.paraphrase_gap
        line: list[Cell] = [r.judge, *(m.estimate if m else None for m in means)]
        cells.append([*line, (gap.estimate, gap.low, gap.high) if gap else None])
    return Table("", columns, cells, face="page")


def _lines(r: Qualification) -> list[str]:
    near = ", ".join(f"{which} {percent(m.estimate if (m := r.truth_over.get(which)) else None)}" for which in NEAR)
    bias = signed(r.yes_bias.estimate if r.yes_bias else None, 2)
    return [
        f"{r.judge}: truth > {near}",
        f"  retest {_retest(r)}, position {_position(r)}, yes bias {bias}",
        f"  {r.judgements} judgements; per judgement {count(r.tokens)} tokens, ${dollars(r.dollars)}, {number(r.seconds)} s",
    ]


def _auroc(r: Qualification, explanation: str, kind: str) -> Mean | None:
    return r.auroc.get(explanation, {}).get(kind)


def _retest(r: Qualification) -> str:
    if r.retest is None:
        return NONE
    return f"{number(r.retest.r)} / {number(r.retest.same)} (n={r.retest.n})"


def _position(r: Qualification) -> str:
    return NONE if r.position is None else f"{number(r.position.spread, 2)} ({p_is(r.position.p)})"
