"""`bench agreement`: a published table is recovered from scores that have it, and a run is read as it is."""

from __future__ import annotations

import csv
import dataclasses
import io
import math

import numpy as np
import pytest
import scipy.stats
from latentbench.analysis.agreement import agreement, scores_of
from latentbench.analysis.agreement_view import agreement_csv, agreement_page
from latentbench.kernel.errors import SpecError, UnknownName
from latentbench.runs.finished import load_run
from latentbench.views.figure import write
from latentbench.views.heatmap import heatmap
from rich.console import Console

from tests.builders.run_builder import Grid, build_run

SCORERS = ("fuzzing", "detection", "simulation", "embedding", "surprisal")
# Paulo, Mallen, Juang and Belrose (arXiv 2410.13928), appendix: Spearman between scoring methods over 800 explanations.
PUBLISHED = {
    ("fuzzing", "detection"): 0.73,
    ("fuzzing", "simulation"): 0.75,
    ("detection", "simulation"): 0.44,
    ("fuzzing", "embedding"): 0.41,
    ("detection", "embedding"): 0.71,
    ("simulation", "embedding"): 0.28,
    ("fuzzing", "surprisal"): 0.30,
    ("detection", "surprisal"): 0.62,
    ("simulation", "surprisal"): 0.15,
    ("embedding", "surprisal"): 0.79,
}
EXPLANATIONS = 800


def _target() -> np.ndarray:
    matrix = np.eye(len(SCORERS))
    for (a, b), r in PUBLISHED.items():
        i, j = SCORERS.index(a), SCORERS.index(b)
        matrix[i, j] = matrix[j, i] = r
    return matrix


def _white(n: int, k: int) -> np.ndarray:
    """[n, k] with means 0 and exactly the unit covariance."""
    z = np.random.default_rng(0).normal(size=(n, k))
    z -= z.mean(axis=0)
    return z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / n)).T


def vectors(target: np.ndarray, kind: str) -> np.ndarray:
    """Scores [800, k] with this correlation matrix: a Cholesky factor for Pearson; for Spearman, moved until ranks have it."""
    white, wanted = _white(EXPLANATIONS, len(target)), target
    for _ in range(20):
        x = white @ np.linalg.cholesky(wanted).T
        found = np.corrcoef(x.T) if kind == "pearson" else scipy.stats.spearmanr(x)[0]
        if np.abs(target - found).max() < 1e-3:
            return x
        wanted = wanted + target - found
    raise AssertionError("no vectors with this matrix were found")


@pytest.fixture(scope="module")
def empty_run(tmp_path_factory):
    grid = Grid(explainers={"llm": 0.8}, scorers=SCORERS, coders={"res": EXPLANATIONS}, windows=2)
    return build_run(tmp_path_factory.mktemp("published") / "run", grid)


def _with_scores(run, scores: np.ndarray):
    """The run with these headline scores [latents, scorers]."""
    loaded = load_run(run)
    place = {latent: i for i, latent in enumerate(loaded.record.latents)}
    rows = loaded.scores["metric"] == "accuracy"
    own = loaded.scores[rows]
    values = scores[own["latent"].map(place), own["scorer"].map(SCORERS.index)]
    loaded.scores.loc[rows, "value"] = values
    return loaded


@pytest.mark.parametrize("kind", ["spearman", "pearson"])
def test_the_published_table_is_recovered_from_scores_that_have_it(empty_run, kind):
    target = _target()
    found = agreement(_with_scores(empty_run, vectors(target, kind))).matrices[kind]
    assert found.names == SCORERS
    np.testing.assert_array_equal(np.round(found.estimate, 2), target)
    off = ~np.eye(len(SCORERS), dtype=bool)
    assert (found.low[off] < target[off]).all()
    assert (found.high[off] > target[off]).all()
    assert (found.n == EXPLANATIONS).all()
    assert (found.p_holm[off] < 0.001).all()
    # An independent reading of one cell: Fisher's z for normal scores.
    i, j = SCORERS.index("fuzzing"), SCORERS.index("detection")
    reach = 1.96 * math.sqrt((1 + 0.73**2 / 2 if kind == "spearman" else 1) / (EXPLANATIONS - 3))
    assert found.low[i, j] == pytest.approx(math.tanh(math.atanh(0.73) - reach), abs=0.01)


def test_floors_are_left_out_unless_asked_for(tmp_path):
    run = load_run(build_run(tmp_path / "r", Grid(scorers=("detection", "fuzzing"))))
    assert scores_of(run).explainers == ("llm", "tokens")
    assert scores_of(run).values.shape == (60, 2)
    assert scores_of(run, ["shuffled"]).explainers == ("shuffled",)
    with pytest.raises(UnknownName, match="'tokens'"):
        scores_of(run, ["token"])
    only = load_run(build_run(tmp_path / "f", Grid(explainers={"empty": 0.5}, scorers=("detection", "fuzzing"))))
    assert scores_of(only).explainers == ("empty",)


def test_values_are_the_means_over_repeats_of_the_score_table(tmp_path):
    run = load_run(build_run(tmp_path / "r", Grid(scorers=("detection", "fuzzing"), repeats=3)))
    found = scores_of(run)
    table = run.scores[run.scores.metric == "accuracy"].groupby(["explainer", "latent", "scorer"])["value"].mean()
    at = found.latents.index("mlp9/4") + 30  # second explainer
    assert found.values[at].tolist() == pytest.approx(
        [table["tokens", "mlp9/4", "detection"], table["tokens", "mlp9/4", "fuzzing"]]
    )


def test_explanations_of_one_latent_are_one_cluster(tmp_path):
    run = load_run(build_run(tmp_path / "r", Grid(scorers=("detection", "fuzzing"))))
    matrix = agreement(run).matrices["pearson"]
    scores = scores_of(run)
    from latentbench.stats.correlation import correlation

    direct = correlation(*scores.values.T, "pearson", clusters=scores.latents)
    assert direct.clusters == 30
    assert matrix.low[0, 1] == direct.low


def test_several_judges_are_columns_and_agree_or_not(tmp_path):
    run = load_run(build_run(tmp_path / "r", Grid(judges=("one", "two"))))
    found = agreement(run)
    assert found.scores.names == ("detection · one", "detection · two")
    assert set(found.judges) == {"detection"}
    assert found.judges["detection"].n == 60


def test_one_scorer_has_nothing_to_agree_with(tmp_path):
    with pytest.raises(SpecError, match="agreement needs two"):
        agreement(load_run(build_run(tmp_path / "r", Grid())))


def test_it_reads_at_80_columns_and_the_files_say_the_same(empty_run):
    found = agreement(_with_scores(empty_run, vectors(_target(), "spearman")))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(agreement_page(found).terminal(80))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    (line, _) = (line for line in text.splitlines() if line.startswith("fuzzing – detection"))
    assert line.split()[3:5] == ["0.73", "[0.69,"]
    assert "| fuzzing – detection | 0.73 |" in agreement_page(found, "agreement.png").markdown()
    rows = list(csv.DictReader(io.StringIO(agreement_csv(found))))
    assert len(rows) == 20
    assert float(rows[0]["estimate"]) == pytest.approx(0.73, abs=1e-3)
    assert rows[0]["n"] == "800"


def test_the_heatmap_is_drawn_with_every_number_and_the_same_bytes(empty_run, tmp_path):
    matrix = agreement(_with_scores(empty_run, vectors(_target(), "spearman"))).matrices["spearman"]
    written = [path.read_bytes() for path in write(heatmap([matrix]), tmp_path / "a")]
    assert [path.read_bytes() for path in write(heatmap([matrix]), tmp_path / "a")] == written
    assert written[0].startswith(b"\x89PNG")
    svg = written[1].decode()
    for value in ("0.73", "0.15", "surprisal", "Spearman"):
        assert value in svg


def test_a_cell_without_a_value_is_a_dash(tmp_path):
    run = load_run(build_run(tmp_path / "r", Grid(scorers=("detection", "fuzzing"), windows=2)))
    run.scores.loc[run.scores.scorer == "fuzzing", "value"] = 0.5
    found = agreement(run)
    assert math.isnan(found.matrices["spearman"].estimate[0, 1])
    assert "–" in agreement_page(found).markdown()
    assert "–" in write(heatmap([found.matrices["spearman"]]), tmp_path / "x")[1].read_text(encoding="utf-8")


def test_a_record_with_a_cell_less_is_one_message(tmp_path):
    run = load_run(build_run(tmp_path / "r", Grid(scorers=("detection", "fuzzing"))))
    cells = [c for c in run.record.cells if c.labels != ("tokens", "fuzzing", "mock")]
    less = dataclasses.replace(run, record=run.record.model_copy(update={"cells": tuple(cells)}))
    with pytest.raises(SpecError, match="no cell of explainer 'tokens', scorer 'fuzzing' and judge 'mock'"):
        agreement(less)
