"""Two judges on the same planted latents: paired differences of how often the truth wins."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from latentbench.analysis.qualify import qualify_measures
from latentbench.analysis.qualify.paired import headline, paired, table
from latentbench.analysis.qualify.qualify import QualifyRequest, qualify
from latentbench.explainers.planted_truth import EVERY
from latentbench.kernel.errors import RunError
from rich.console import Console


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("paired")
    found = {}
    for judge in ("mock:oracle", "mock:constant"):
        runs = base / judge.partition(":")[2]
        asked = QualifyRequest(judge, "detection", limit=6, repeats=1, positives=4, negatives=4)
        qualify(asked, runs, base / "replies.sqlite", Console(file=io.StringIO()))
        found[judge] = next(runs.iterdir())
    return found


def test_the_difference_is_that_of_a_loop_over_latents(folders: dict[str, Path]) -> None:
    near, unrelated = paired(folders["mock:oracle"], folders["mock:constant"])
    scores, _ = headline(folders["mock:oracle"])
    names = [n for n in EVERY if n.startswith("unrelated")]
    wins = [np.mean([float(row["truth"] > row[n]) for n in names]) for _, row in scores.iterrows()]
    assert unrelated.first == pytest.approx(np.mean(wins))
    assert unrelated.second == 0.5  # a constant answer ties everywhere
    assert unrelated.difference.interval.estimate == pytest.approx(np.mean(wins) - 0.5)
    assert unrelated.latents == near.latents == 6
    assert math.isnan(unrelated.difference.p)  # six latents


def test_a_judge_does_not_differ_from_itself(folders: dict[str, Path]) -> None:
    for found in paired(folders["mock:oracle"], folders["mock:oracle"]):
        assert found.difference.interval.estimate == 0
        assert math.isnan(found.difference.p)
    shown = table(folders["mock:oracle"], folders["mock:constant"], paired(*folders.values()))
    out = io.StringIO()
    Console(file=out, width=80).print(shown)
    assert "detection by mock:oracle" in out.getvalue()
    assert shown.csv().count("too few") == shown.markdown().count("too few") == 2
    assert max(len(line) for line in out.getvalue().splitlines()) <= 80


def test_other_folders_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        paired(folders["mock:oracle"], tmp_path)


def test_intervals_of_shares_stay_shares_and_those_of_gaps_do_not() -> None:
    nearly = [1.0] * 20 + [0.5] * 4
    inside, open_ended = qualify_measures.mean(nearly), qualify_measures.mean(nearly, None, None)
    below = qualify_measures.mean([-x for x in nearly], -1.0, 1.0)
    assert (inside.high or 2) < 1 < (open_ended.high or 0)
    assert (below.low, below.high) == pytest.approx((-(inside.high or 0), -(inside.low or 0)))
