"""A model that moved to another port is the same judge: its replies are there, its runs compare, and one table holds both."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from latentbench.analysis.compare import compare
from latentbench.leaderboards.board import tables
from latentbench.leaderboards.row import read_rows
from latentbench.runs.finished import load_run
from latentbench.runs.record import read_record
from latentbench.runs.run import start
from rich.console import Console

from tests.judges.test_reply_matrix import Server

QUIET = Console(quiet=True)


def carried_out(folder: Path, url: str, cache: Path) -> Path:
    spec = {
        "name": folder.name,
        "suite": "planted-1",
        "limit": 3,
        "explainers": ["tokens", "empty"],
        "scorers": [{"use": "detection", "params": {"positives": 2, "negatives": 2}}],
        "judges": [{"use": f"openai:plain?base_url={url}&backoff=0", "label": "served"}],
    }
    folder.mkdir()
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    return start(folder / "spec.yaml", folder / f"run-{folder.name}", cache, QUIET)[0]


def test_a_model_that_moved_is_the_same_judge(tmp_path: Path) -> None:
    servers = [Server(), Server()]
    for server in servers:
        server.right = "Yes"
    try:
        first, second = (
            carried_out(tmp_path / name, server.url, tmp_path / "c.sqlite")
            for name, server in zip(("one", "other"), servers, strict=True)
        )
    finally:
        for server in servers:
            server.http.shutdown()
            server.http.server_close()
    records = [read_record(run) for run in (first, second)]
    assert [r.totals.paid.calls > 0 for r in records if r.totals] == [True, False]
    assert len({r.cells[0].judge.key for r in records}) == 1
    (table,) = tables(read_rows([first, second]))
    assert len(table.rows) == 4
    assert json.dumps(records[1].spec.model_dump(mode="json")).count(servers[1].url) == 1
    assert [c.mark for c in compare(load_run(first), load_run(second))] == ["~", "~"]
