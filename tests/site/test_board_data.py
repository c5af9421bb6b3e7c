"""The boards of a site: the ranks of the leaderboard, paired differences, spreads, and coders beside each other."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from latentbench.leaderboards.ranked_runs import rank
from latentbench.leaderboards.row import Row
from latentbench.runs.finished import load_run
from latentbench.site.board_data import BINS, MOST_DUELS, BoardTable, board_table, coder_boards
from latentbench.stats.bootstrap import holm, paired_difference

from tests.builders.run_builder import Grid
from tests.builders.site_runs import shown_run

GRID = Grid(coders={"res9": 40, "mlp9": 30}, kinds={"res9": "sae", "mlp9": "sae"})


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[Row, ...], BoardTable]:
    run = load_run(shown_run(tmp_path_factory.mktemp("board"), GRID))
    found = rank([run], by_coder=True, recompute=False)
    return found.rows, board_table(found.tables[0], {"run": "rescored"})


def test_a_row_says_its_n_interval_coverage_floor_and_status(ranked: tuple[tuple[Row, ...], BoardTable]) -> None:
    _, board = ranked
    assert board.ranked
    assert [row.explainer for row in board.rows] == ["llm", "tokens", "shuffled"]
    first = board.rows[0]
    assert (first.score.n, first.coverage, board.floor, first.status) == (70, 1.0, 0.5, "rescored")
    assert first.score.low is not None
    assert first.score.low < (first.score.estimate or 0) < (first.score.high or 0)
    assert [row.is_floor for row in board.rows] == [False, False, True]
    assert (first.rank_low, first.tie) == (1, 1)
    assert board.rows[-1].rank_low == 3


def test_duels_are_the_paired_differences_with_holm(ranked: tuple[tuple[Row, ...], BoardTable]) -> None:
    rows, board = ranked
    values = {row.explainer.label: row.values for row in rows if row.coders == "all"}
    names = [row.explainer for row in board.rows]
    ids = sorted(values["llm"])
    alone = []
    for duel in board.duels:
        a, b = (np.array([values[names[i]][z] for z in ids]) for i in (duel.first, duel.second))
        own = paired_difference(a, b, ids, seed=0)
        alone.append(own.p)
        assert duel.n == 70
        assert duel.difference == pytest.approx(float((a - b).mean()))
        assert (duel.low, duel.high) == pytest.approx((own.interval.low, own.interval.high))
        assert duel.ahead == pytest.approx(float(((a > b) + (a == b) / 2).mean()))
    assert [duel.p for duel in board.duels] == pytest.approx(holm(alone).tolist())


def test_a_spread_counts_every_latent_once(ranked: tuple[tuple[Row, ...], BoardTable]) -> None:
    rows, board = ranked
    for row in board.rows:
        assert row.spread is not None
        assert len(row.spread.counts) == BINS
        assert sum(row.spread.counts) == row.spread.n == 70
        own = next(r for r in rows if r.explainer.label == row.explainer and r.coders == "all")
        assert row.spread.quartiles == pytest.approx(np.quantile(list(own.values.values()), (0.25, 0.5, 0.75)).tolist())


def test_too_few_latents_have_differences_and_no_p(tmp_path: Path) -> None:
    run = load_run(shown_run(tmp_path, Grid(coders={"res9": 8})))
    board = board_table(rank([run], recompute=False).tables[0], {})
    assert all(duel.p is None or math.isnan(duel.p) for duel in board.duels)
    assert all(row.rank_low == 1 and row.rank_high == 3 for row in board.rows)


def test_a_long_table_says_how_many_rows_it_puts_head_to_head(tmp_path: Path) -> None:
    explainers = {f"e{i:02d}": 0.6 for i in range(MOST_DUELS + 3)}
    run = load_run(shown_run(tmp_path, Grid(explainers=explainers, coders={"res9": 24}, windows=2)))
    board = board_table(rank([run], recompute=False).tables[0], {})
    assert len(board.rows) == MOST_DUELS + 3
    assert board.duelled == MOST_DUELS
    assert len(board.duels) == MOST_DUELS * (MOST_DUELS - 1) // 2


def test_coders_stand_beside_each_other_under_one_explainer(ranked: tuple[tuple[Row, ...], BoardTable]) -> None:
    rows, _ = ranked
    found = coder_boards(rows)
    assert {table.explainer for table in found} == {"llm", "tokens", "shuffled"}
    for table in found:
        assert {row.coder for row in table.rows} == {"res9", "mlp9"}
        assert sum(row.score.n for row in table.rows) == 70
        estimates = [row.score.estimate or 0 for row in table.rows]
        assert estimates == sorted(estimates, reverse=True)
