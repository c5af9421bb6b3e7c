"""Ratings in MLflow: there only where people have rated, as metrics with their intervals and as a file that can be imported.

All raters here are generated: nobody rated anything.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from latentbench.analysis.people.people_agreement import people_agreement
from latentbench.analysis.people.people_track import track
from latentbench.analysis.people.rating_import import imported_ratings
from latentbench.analysis.people.rating_store import rating_session, read_ratings
from latentbench.runs.finished import load_run
from latentbench.tracking import mlflow
from mlflow.tracking import MlflowClient

from tests.builders.generated_raters import generated_choices, generated_ratings
from tests.builders.run_builder import Grid
from tests.builders.site_runs import shown_run

GRID = Grid(scorers=("detection", "fuzzing"), coders={"res9": 30}, windows=20)


def held(client: MlflowClient, run_id: str | None) -> tuple[dict[str, float], set[str]]:
    """Metrics and files of a run in MLflow."""
    assert run_id is not None
    return client.get_run(run_id).data.metrics, {a.path for a in client.list_artifacts(run_id)}


def test_ratings_are_logged_where_there_are_some_and_change_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, uri = shown_run(tmp_path, GRID), f"sqlite:///{tmp_path}/mlflow.db"
    run, client = load_run(folder), MlflowClient(uri)
    asked: list[object] = []
    monkeypatch.setattr(
        "latentbench.analysis.people.people_track.log",
        lambda *a, **more: (asked.append(more["people"]), mlflow.track(*a, **more))[1],
    )
    bare = track(folder, uri=uri)
    assert bare.ok, bare.message
    assert asked == [None]
    metrics, files = held(client, bare.parent)
    assert not [name for name in metrics if name.startswith("people")]
    assert "ratings.csv" not in files
    with rating_session(folder) as session:
        for rating in (*generated_ratings(run, 2, 0.5), *generated_choices(run, 0.9)):
            session.add(rating)
    rated = track(folder, uri=uri)
    assert rated.ok, rated.message
    assert rated.parent == bare.parent, "logged again, not once more"
    after, more = held(client, rated.parent)
    assert {name: after[name] for name in metrics} == metrics
    assert more - files == {"ratings.csv"}
    expected = people_agreement(run, read_ratings(folder))
    for name, c in expected.scorers.items():
        assert after[f"people/{name}/rho"] == c.estimate
        ends = [after[f"people/{name}/details/rho{end}"] for end in ("_low", "_high", "_n")]
        assert ends == [c.low, c.high, c.n]
    assert after["people/alpha_ordinal"] == expected.ordinal.estimate
    assert after["people/ceiling"] == expected.ceiling[0]
    text = Path(client.download_artifacts(rated.parent, "ratings.csv")).read_text(encoding="utf-8")
    assert "generated-0" not in text, "names of raters are not sent"
    # The file is one that `bench rate import` takes, and says the same.
    (tmp_path / "back.csv").write_text(text, encoding="utf-8")
    numbers = {"generated-0": "rater 1", "generated-1": "rater 2"}
    told = {(numbers[r.rater], *r.key[1:], r.value) for r in read_ratings(folder)}
    assert {(*r.key, r.value) for r in imported_ratings(tmp_path / "back.csv", run)} == told
