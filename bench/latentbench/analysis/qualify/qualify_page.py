"""Qualifications -> the leaderboard of judges. Pure but for `render`.

Rows are grouped by how the judge was asked, on which latents, and by whether it was trained on truths of that kind: only those
compare. A judge on its own lessons beside one that never saw any looks better than it is. The oracle and the constant judge are
rows like all others. The oracle is the ceiling (a window-level task cannot tell the right token from its neighbour), the constant
judge the floor, and a figure between them means little without both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from latentbench.analysis.qualify.qualify_measures import TOKENS, unfounded
from latentbench.judges.price import ESTIMATE_NOTE, estimated
from latentbench.judges.qualification import Mean, Qualification, read
from latentbench.kernel import files
from latentbench.kernel.errors import DigestMismatch
from latentbench.kernel.kinds import NEAR_MISS
from latentbench.suites.planted.planted_suite import NEAR
from latentbench.views.number import NONE, count, dollars, number, p_is, percent, signed
from latentbench.views.page import Block, Bullets, Page, Prose
from latentbench.views.table import Cell, Column, Table

PAGE = "README.md"
HEAD = """# Judges

Rendered from the JSON files beside this page by `bench judge leaderboard`; do not edit. A judge is asked about planted latents,
whose truth is known, with the true explanation, a paraphrase, four near misses and three unrelated ones.

- **in distribution**: judges whose training held lessons of the same kind of truth as the suite. They stand apart, and a run says
  what they did on another exam where there is one. `planted-1` is rules over words, `planted-2` meanings in written sentences,
  `exam-gold` labels by people. Mock judges stand in both tables, as bounds.
- **truth > near**, **truth > unrelated**, **truth > token list**: share of latents on which the truth has the higher headline
  metric; a tie counts half, so chance is 50 %. The token list names the eight tokens on which the latent fires most. In brackets:
  95 % bootstrap interval over latents.
- **paraphrase > near**: the same for the truth in other words.
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
        blocks += [
            _main(title, same),
            Prose("Truth > each near miss, and > near by family:", face="page"),
            _detail(same),
        ]
        if any(r.unrelated_by_family for r in same):
            blocks += [Prose("Truth > unrelated, by family:", face="page"), _families(same)]
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
        DigestMismatch: as `published`.
    """
    path = folder / PAGE
    fault = f"{path} is not what its folder renders to. Run `bench judge leaderboard` and commit both."
    return files.render(path, markdown(published(folder)), check, fault)


def published(folder: Path) -> list[Qualification]:
    """Rows of a folder, whose shares of latents are computed again from the headlines that they hold.

    Reading a row for a run does not do that: a run only says what was published of its judge.

    Raises:
        DataError, SpecError: as `latentbench.judges.qualification.read`.
        DigestMismatch: a row is not what its headlines give.
    """
    rows = read(folder)
    for row in rows:
        if wrong := unfounded(row):
            raise DigestMismatch(f"{folder / row.name}.json: {wrong[0]}. Restore the file.")
    return rows


def _groups(rows: Iterable[Qualification]) -> list[tuple[str, list[Qualification]]]:
    def key(r: Qualification) -> tuple[str, ...]:
        return (r.scorer_label, r.scorer, r.question_key, r.suite, r.suite_digest, r.split)

    ordered = sorted(rows, key=lambda r: (*key(r), -r.truth_over["near"].estimate, r.judge))
    found = []
    for k, group in groupby(ordered, key):
        same = list(group)
        title = f"{k[0]} ({k[1]}), {k[3]}, split {k[5]}"
        outside = [r for r in same if not r.in_distribution]
        if outside:
            found.append((title, outside))
        if len(outside) < len(same):
            bounds = [r for r in same if r.in_distribution or r.judge_identity.get("provider") == "mock"]
            found.append((f"{title}, in distribution", bounds))
    return found


def _main(title: str, rows: Sequence[Qualification]) -> Table:
    shares = (("truth > near", ">near"), ("truth > unrelated", ">unrel."), ("truth > token list", ">tokens"))
    areas = (("AUROC random", "AUROC"), ("AUROC near-miss", "near-miss"), ("AUROC unrelated", "unrel."))
    columns = [Column("judge", "code")]
    for name, brief in shares:
        columns += [Column(brief, "percent", face="terminal"), Column(name, "percent", face="page")]
    columns.append(Column("paraphrase > near", "percent", face="page"))
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
        line: list[Cell] = [r.judge]
        for over in ("near", "unrelated", TOKENS):
            line += _both(r.truth_over.get(over))
        line.append(_both(r.paraphrase_over.get("near"))[1])
        for mean in (_auroc(r, "truth", "random"), _auroc(r, "truth", NEAR_MISS), _auroc(r, "unrelated", "random")):
            line += _both(mean)
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


def _families(rows: Sequence[Qualification]) -> Table:
    families = sorted({name for r in rows for name in r.unrelated_by_family})
    columns = [Column("judge", "code"), *(Column(name, "percent") for name in families)]
    means = [(r.judge, [r.unrelated_by_family.get(name) for name in families]) for r in rows]
    return Table("", columns, [[judge, *(m.estimate if m else None for m in own)] for judge, own in means], face="page")


def _both(mean: Mean | None) -> list[Cell]:
    """A mean for the terminal, and with its interval for the page."""
    return [None, None] if mean is None else [mean.estimate, (mean.estimate, mean.low, mean.high)]


def _lines(r: Qualification) -> list[str]:
    paraphrase = r.paraphrase_over.get("near")
    near = ", ".join(f"{which} {percent(m.estimate if (m := r.truth_over.get(which)) else None)}" for which in NEAR)
    bias = signed(r.yes_bias.estimate if r.yes_bias else None, 2)
    return [
        f"{r.judge}: truth > {near}; paraphrase > near {percent(paraphrase.estimate if paraphrase else None)}",
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
