"""One explanation from spec to leaderboard: how many files are handed it, as which types, and where it is a bare dictionary."""

from __future__ import annotations

import pandas as pd
import pytest
from latentbench.leaderboards.board import Table, tables
from latentbench.leaderboards.board_page import board_page
from latentbench.leaderboards.row import Estimate, Row, read_rows
from latentbench.runs.finished import Run
from latentbench.runs.run import start
from latentbench.scorers.scorer import Judgement
from latentbench.stats.ranks import Rank
from rich.console import Console

from tests.builders.passage import Passage

SPEC = """
name: one
suite: planted-1
limit: 1
explainers: [{use: llm, model: "mock:lexical"}]
scorers: [detection]
judges: [{use: "mock:lexical", label: lexical}]
"""
MADE = (Judgement, Run, Row, Table, Estimate, Rank, pd.DataFrame, pd.Series)
"""What is made of an explanation once it was judged: with a single one in the run, each of these is its own."""


@pytest.fixture(scope="module")
def passage(tmp_path_factory: pytest.TempPathFactory) -> Passage:
    folder = tmp_path_factory.mktemp("one")
    (folder / "one.yaml").write_text(SPEC, encoding="utf-8")
    passage = Passage("Tokens such as", MADE)
    with passage.followed():
        run, _ = start(folder / "one.yaml", folder / "run", folder / "cache.sqlite", Console(quiet=True))
        assert "llm" in board_page(tables(read_rows([run]))).markdown()
    return passage


def test_it_is_handed_through_few_files(passage: Passage) -> None:
    assert len(passage.files) <= 30, sorted(passage.files)


def test_it_has_few_forms(passage: Passage) -> None:
    assert len(passage.types) <= 12, sorted(passage.types)


def test_it_crosses_no_room_as_a_bare_dictionary(passage: Passage) -> None:
    """It is one where JSON and digests are made, and nowhere else."""
    made = {"kernel/identity.py", "kernel/trial.py", "judges/cache/replies.py", "runs/journal.py"}
    assert {place.split(":")[0] for place in passage.dictionaries} <= made, sorted(passage.dictionaries)
