"""`my-explanations.md` shows explanations of the latents that its command draws, and the true ones score above the wrong one."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import latentbench as lb

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "my-explanations.md"


def test_every_latent_that_the_page_draws_has_a_text_and_the_true_ones_lead(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    block = re.search(r'^```csv title="mine.csv"\n(.*?)^```$', page, re.MULTILINE | re.DOTALL)
    command = re.search(
        r"^bench score mine.csv --suite (\S+) --judge (\S+) --scorer (\S+) --limit (\d+) ", page, re.MULTILINE
    )
    assert block is not None
    assert command is not None
    suite, judge, scorer, limit = command.groups()
    said = {row["latent"]: row["text"] for row in csv.DictReader(block[1].splitlines())}
    run = lb.score(
        said,
        suite,
        judge,
        scorer,
        limit=int(limit),
        out=tmp_path / "r",
        cache=tmp_path / "c.sqlite",
        track=False,
        progress=False,
    )
    values = run.per_latent()
    mine = values[values["explainer"] == values["explainer"].iloc[0]].set_index("latent")["value"]
    assert set(mine.index) == set(said), "a text of another latent would be no coverage"
    assert mine.notna().all()
    wrong = list(said)[-1]
    assert mine.drop(wrong).min() > 0.9, "the page says that these are true"
    assert mine[wrong] < 0.1, "and that the last is not"
