"""A scorer of somebody else's package: found by entry point, run, cached, resumed, logged and ranked by the same code."""

from __future__ import annotations

import configparser
import importlib
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from latentbench.cli import app
from latentbench.kernel.errors import SpecError, UnknownName
from latentbench.kernel.registry import BUILTIN, lookup, names
from latentbench.leaderboards.row import read_rows
from latentbench.runs.run import resume, start
from latentbench.scorers.scorer import load_scorer
from rich.console import Console
from typer.testing import CliRunner

from tests.builders.reopened import reopened

PACKAGE = Path(__file__).parents[1] / "third_party"
QUIET = Console(quiet=True)


def install(place: Path, points: dict[str, str] | None = None) -> None:
    """What pip does with the package: its module, and its metadata made from pyproject.toml."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shutil.copytree(PACKAGE / "latentbench_nearness", place / "latentbench_nearness")
    info = place / f"latentbench_nearness-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8"
    )
    config = configparser.ConfigParser()
    config.read_dict({"latentbench.scorers": points} if points is not None else project["entry-points"])
    with (info / "entry_points.txt").open("w", encoding="utf-8") as f:
        config.write(f)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / "site-packages"
    place.mkdir()
    install(place)
    monkeypatch.syspath_prepend(str(place))
    importlib.invalidate_caches()
    yield place
    sys.modules.pop("latentbench_nearness", None)


def spec(folder: Path, limit: int = 6) -> Path:
    shutil.copy(PACKAGE / "nearness.yaml", folder / "nearness.yaml")
    path = folder / "spec.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "name": "third",
                "suite": "planted-1",
                "limit": limit,
                "explainers": ["tokens", "empty"],
                "scorers": ["nearness.yaml", {"use": "detection", "params": {"positives": 4, "negatives": 4}}],
                "judges": [{"use": "mock:lexical", "label": "lex"}],
            }
        ),
        encoding="utf-8",
    )
    return path


def test_a_third_party_scorer_is_found_by_its_entry_point(installed: Path) -> None:
    assert "nearness" not in BUILTIN["scorer"]
    assert names("scorer")["nearness"] == "latentbench_nearness:Nearness"
    assert lookup("scorer", "nearness").__module__ == "latentbench_nearness"
    with pytest.raises(UnknownName, match="Did you mean 'nearness'"):
        lookup("scorer", "nearnes")


def test_a_registered_scorer_without_a_task_file_is_listed_with_how_to_name_it(installed: Path) -> None:
    said = CliRunner().invoke(app, ["list", "scorers"]).output
    assert re.search(
        r"^nearness +latentbench_nearness:Nearness, no task file: .*`implementation: nearness`", said, re.M
    )
    assert said.count("no task file") == 1
    with pytest.raises(
        SpecError, match=r"'nearness' is the name of a registered scorer that has no task file\. Write one"
    ):
        load_scorer("nearness")
    with pytest.raises(UnknownName, match="unknown scorer 'nearnes'"):
        load_scorer("nearnes")


def test_without_the_package_the_name_is_unknown() -> None:
    with pytest.raises(UnknownName):
        lookup("scorer", "nearness")


def test_an_entry_point_cannot_take_a_builtin_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, {"detection": "latentbench_nearness:Nearness"})
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SpecError, match="takes the built-in scorer name 'detection'"):
        names("scorer")


def test_a_third_party_scorer_is_run_cached_resumed_and_ranked(installed: Path, tmp_path: Path) -> None:
    path, cache = spec(tmp_path, limit=24), tmp_path / "cache.sqlite"
    _, first = start(path, tmp_path / "a", cache, QUIET)
    assert first.status == "complete"
    assert first.failure_rate == 0
    assert first.totals.paid.calls > 0
    # Cached: another run pays nothing.
    _, second = start(path, tmp_path / "b", cache, QUIET)
    assert second.totals.paid.calls == 0
    # Resumed: what a kill took is done again, and the tables are those of a whole run.
    whole = (tmp_path / "b" / "scores.parquet").read_bytes()
    journal = reopened(tmp_path / "b") / "judgements.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    mine = [i for i, line in enumerate(lines) if json.loads(line)["cell"].startswith("tokens/nearness")]
    assert len(mine) == 24
    journal.write_bytes(b"".join(lines[: mine[2]]) + lines[mine[2]][:40])
    assert resume(tmp_path / "b", cache, QUIET).status == "complete"
    assert (tmp_path / "b" / "scores.parquet").read_bytes() == whole
    # Ranked: a row beside those of the built-in scorers, with interval and floor.
    rows = {(r.explainer.label, r.scorer.label): r for r in read_rows([tmp_path / "a"])}
    assert set(rows) == {(e, s) for e in ("tokens", "empty") for s in ("nearness", "detection")}
    best, none = rows["tokens", "nearness"], rows["empty", "nearness"]
    assert best.scorer.id == "nearness@1-0"
    assert best.headline == "auroc"
    assert best.score.estimate > 0.6 > none.score.estimate
    assert best.score.low < best.score.estimate < best.score.high
    assert best.coverage == 1.0
    assert none.score.estimate == pytest.approx(0.5, abs=0.1)


def test_a_change_of_its_source_is_another_scorer(installed: Path, tmp_path: Path) -> None:
    before = load_scorer(str(PACKAGE / "nearness.yaml")).key
    source = installed / "latentbench_nearness" / "__init__.py"
    source.write_text(
        source.read_text(encoding="utf-8").replace("float(replies[0]", "-float(replies[0]"), encoding="utf-8"
    )
    sys.modules.pop("latentbench_nearness")
    importlib.invalidate_caches()
    import linecache

    linecache.checkcache()
    assert load_scorer(str(PACKAGE / "nearness.yaml")).key != before


def test_a_third_party_scorer_is_logged(installed: Path, tmp_path: Path) -> None:
    from latentbench.tracking.mlflow import track
    from mlflow.tracking import MlflowClient

    start(spec(tmp_path), tmp_path / "run", tmp_path / "cache.sqlite", QUIET)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    result: Any = track(tmp_path / "run", uri=uri)
    assert result.ok, result.message
    name = next(n for n in result.children if n.startswith("tokens / nearness / lex"))
    data = MlflowClient(tracking_uri=uri).get_run(result.children[name]).data
    (row,) = [r for r in read_rows([tmp_path / "run"]) if (r.explainer.label, r.scorer.label) == ("tokens", "nearness")]
    assert data.metrics["score/nearness/auroc"] == row.score.estimate
    assert data.params["scorer_key"] == row.scorer.key


def test_the_page_on_extending_shows_the_package_as_it_is() -> None:
    page = (PACKAGE.parent.parent / "docs" / "extending.md").read_text(encoding="utf-8")
    for name in ("latentbench_nearness/__init__.py", "pyproject.toml", "nearness.yaml"):
        assert f"\n{(PACKAGE / name).read_text(encoding='utf-8')}```" in page, name
