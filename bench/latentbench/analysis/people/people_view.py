"""Scorers against people as blocks of a page, and as rows for programs."""

from __future__ import annotations

from latentbench.analysis.people.people_agreement import PeopleAgreement
from latentbench.views.page import Block, Bullets, Heading, Prose
from latentbench.views.table import Cell, Column, Table

NOTE = (
    "Spearman with the mean rating, 95 % over latents (jackknife on Fisher's scale). The ceiling is sqrt(k r / (1 + (k - 1) r)), "
    "r the mean Spearman of two raters and k the ratings per explanation: what the raters' noise allows. Agreed choices: share "
    "of the raters' choices between two explanations that the scorer makes, too (bootstrap over latents); its floor is 0.5."
)


def people_blocks(found: PeopleAgreement) -> list[Block]:
    """The section of a page."""
    raters = [f"{name}: {scaled} ratings, {chosen} choices" for name, (scaled, chosen) in found.raters.items()]
    blocks: list[Block] = [Heading("Scorers against people"), Bullets(raters, soft=True)]
    columns = [Column("", "text"), Column("value", "number", 2), Column("95 % CI", "number", 2), Column("n", "count")]
    if found.explanations:
        rows: list[list[Cell]] = [[name, c.estimate, (c.low, c.high), c.n] for name, c in found.scorers.items()]
        rows.append(["ceiling", found.ceiling[0], found.ceiling[1:], found.rater.n])
        blocks.append(Table("Spearman with the mean rating", columns, rows))
        between: list[list[Cell]] = [
            [name, c.estimate, (c.low, c.high), c.n]
            for name, c in (
                ("alpha, ordinal", found.ordinal),
                ("alpha, interval", found.interval),
                ("Spearman of two raters", found.rater),
            )
        ]
        blocks.append(Table("Between raters", columns, between))
    if any(chosen for _, chosen in found.raters.values()):
        rows = [[name, c.estimate, (c.low, c.high), c.n] for name, c in found.choices.items()]
        two, nominal = found.rater_choices, found.nominal
        rows.append(["two raters", two.estimate, (two.low, two.high), two.n])
        rows.append(["alpha, nominal", nominal.estimate, (nominal.low, nominal.high), nominal.n])
        blocks.append(Table("Agreed choices between two explanations (n: latents; of alpha, pairs)", columns, rows))
    return [*blocks, Prose(NOTE, soft=True)]


def people_csv(found: PeopleAgreement) -> str:
    """Render every figure as CSV: `figure`, `name`, `estimate`, `low`, `high`, `n`."""
    lines = [("spearman", name, c.estimate, c.low, c.high, c.n) for name, c in found.scorers.items()]
    lines += [("choices", name, c.estimate, c.low, c.high, c.n) for name, c in found.choices.items()]
    lines.append(("ceiling", "mean rating", *found.ceiling, found.rater.n))
    for figure, c in (
        ("alpha_ordinal", found.ordinal),
        ("alpha_interval", found.interval),
        ("alpha_nominal", found.nominal),
        ("rater_spearman", found.rater),
        ("rater_choices", found.rater_choices),
    ):
        lines.append((figure, "raters", c.estimate, c.low, c.high, c.n))
    names = ("figure", "name", "estimate", "low", "high", "n")
    return Table.of_records(dict(zip(names, line, strict=True)) for line in lines).csv()
