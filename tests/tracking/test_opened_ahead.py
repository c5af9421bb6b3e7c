"""MLflow opened while judges work: the store is whole or not there, nobody's is replaced, and what fails is said by logging."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from latentbench.kernel.errors import DataError
from latentbench.tracking.mlflow import connect, tracked
from latentbench.tracking.opened_ahead import OpenedAhead, put
from latentbench.tracking.side_by_side import side_by_side

SERVER = "http://127.0.0.1:1"


def tables(path: Path) -> int:
    with sqlite3.connect(path) as db:
        return int(db.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0])


def test_a_new_store_is_made_elsewhere_and_put_whole_into_its_place(tmp_path: Path) -> None:
    place = tmp_path / "mlruns" / "mlflow.db"
    uri, before = f"sqlite:///{place}", dict(os.environ)
    made = OpenedAhead(uri).wait()
    assert made is not None
    assert dict(os.environ) == before
    assert list(tmp_path.iterdir()) == []
    whole = tables(made)
    assert whole > 40
    client, experiment = connect(uri, made)
    assert tables(place) == whole
    assert client.get_experiment(experiment).artifact_location == (place.parent / "artifacts").as_uri()
    assert [p.name for p in place.parent.iterdir()] == ["mlflow.db"]
    # The store that is there is opened, and none is made beside it.
    assert OpenedAhead(uri).wait() is None
    assert connect(uri, made)[1] == experiment


def test_a_store_of_somebody_else_stays(tmp_path: Path) -> None:
    made, place = tmp_path / "made", tmp_path / "place"
    made.write_bytes(b"new")
    place.write_bytes(b"theirs")
    put(made, place)
    assert place.read_bytes() == b"theirs"
    put(made, tmp_path / "nowhere" / "place")
    assert {p.name for p in tmp_path.iterdir()} == {"made", "place"}


def test_a_server_is_not_asked_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow.tracking

    def asked(*_: object, **__: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(mlflow.tracking, "MlflowClient", asked)
    assert OpenedAhead(SERVER).wait() is None


def test_what_fails_ahead_is_said_by_logging(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    uri = f"sqlite:///{tmp_path}/file/mlflow.db"
    OpenedAhead(uri).wait()
    said = tracked(uri, lambda *_: pytest.fail("logged"), "It is complete.")
    assert not said.ok
    assert "does not answer" in said.message


def test_a_command_that_ends_early_ends_as_it_would(tmp_path: Path) -> None:
    code = "from latentbench.tracking.opened_ahead import open_ahead; open_ahead(); raise SystemExit(3)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=_without_server(),
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
    assert list(tmp_path.iterdir()) == []


def _without_server() -> dict[str, str]:
    own = {name: text for name, text in os.environ.items() if not name.startswith("MLFLOW")}
    return {**own, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@pytest.mark.parametrize("uri", [SERVER, "sqlite:///x"])
def test_answers_are_in_order_and_the_first_fault_is_raised(uri: str) -> None:
    assert side_by_side(uri, lambda i: i * i, range(50)) == [i * i for i in range(50)]
    assert side_by_side(uri, str, []) == []
    begun: list[int] = []

    def work(i: int) -> int:
        begun.append(i)
        raise DataError(f"no {i}")

    with pytest.raises(DataError, match="no "):
        side_by_side(uri, work, range(1000))
    assert len(begun) < 20
