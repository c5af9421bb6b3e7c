"""A walkthrough as a page: a line for each latent, and what is left out."""

from __future__ import annotations

from latentbench.analysis.walkthrough.sentence_walk import SentenceWalk
from latentbench.analysis.walkthrough.walk_figure import floor_of, text_shown
from latentbench.views.page import Block, Bullets, Heading, Page, Picture, Prose
from latentbench.views.table import Cell, Column, Table

COLUMNS = (
    Column("", "count"),
    Column("token", "text"),
    Column("latent", "text"),
    Column("of its max", "percent"),
    Column("scorer", "text"),
    Column("score", "number"),
    Column("floor", "number"),
    Column("judged", "text"),
)
NOTE = (
    "`of its max`: activation over the latent's largest in the corpus. `floor`: the best score of a text that knows nothing of "
    "the latent. `judged`: judgements that were scored, of those asked for."
)


def walk_page(walk: SentenceWalk, explainer: str = "", picture: str = "") -> Page:
    """The page of a walkthrough.

    Args:
        explainer: label of the one whose texts are shown; the first that is no floor by default.
        picture: file of the figure beside a Markdown page; none by default.
    """
    blocks: list[Block] = [Prose(walk.sentence, strong=True)]
    if picture:
        blocks.append(Picture("walkthrough", picture))
    number = {latent.id: i + 1 for i, latent in enumerate(walk.latents)}
    for coder in walk.coders:
        mine = [latent for latent in walk.latents if latent.coder == coder.name]
        blocks.append(
            Heading(f"{coder.hookpoint} ({coder.name}): {coder.fired:,} latents fire, {coder.known:,} could be shown")
        )
        rows: list[list[Cell]] = []
        said: list[str] = []
        for latent in mine:
            shown = text_shown(latent, explainer)
            token = walk.tokens[latent.place].strip() or repr(walk.tokens[latent.place])
            head: list[Cell] = [number[latent.id], token, latent.id, latent.share]
            for s in shown.scores if shown else ():
                floor = floor_of(latent, s.scorer, s.judge)
                rows.append([*head, f"{s.scorer} ({s.judge})", s.value, floor, f"{s.judged}/{s.attempted}"])
                head = [None, "", "", None]
            if not (shown and shown.scores):
                rows.append([*head, "", None, None, ""])
            said.append(
                f"{number[latent.id]} {shown.explainer}: {shown.text}"
                if shown and shown.text
                else f"{number[latent.id]} (no explanation)"
            )
        blocks += [Table("", COLUMNS, rows), Bullets(said)]
    return Page("", [*blocks, Prose(NOTE, soft=True), Bullets(walk.limits, soft=True)])
