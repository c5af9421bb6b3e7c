"""A served site: only on this machine, only its own files, and of a run under way how far it is."""

from __future__ import annotations

import http.client
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from latentbench.kernel.errors import DataError
from latentbench.kernel.requests import Outcome
from latentbench.runs.finished import load_run
from latentbench.runs.record import Paid
from latentbench.runs.run_journals import Written, explanation_journal
from latentbench.site.loopback import LOOPBACK
from latentbench.site.site_files import site_files
from latentbench.site.site_server import FollowedSite, SiteServer
from latentbench.site.site_target import site_target

from tests.builders.run_builder import Grid
from tests.builders.signed_runs import signed
from tests.builders.site_runs import HOSTILE, shown_run, walked


@contextmanager
def serving(run: Path, out: Path) -> Iterator[SiteServer]:
    with SiteServer(FollowedSite(site_target(run), out)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def get(server: SiteServer, path: str, host: str | None = None) -> tuple[int, str]:
    link = http.client.HTTPConnection(LOOPBACK, server.server_port, timeout=30)
    link.putrequest("GET", path, skip_host=True)
    link.putheader("Host", host or f"{LOOPBACK}:{server.server_port}")
    link.endheaders()
    answer = link.getresponse()
    return answer.status, answer.read().decode("utf-8")


def value(text: str) -> Any:
    return json.loads(text[len("latentbench(...") : -2])[1]


def under_way(folder: Path) -> Path:
    run = signed(shown_run(folder, Grid(coders={"res9": 4})), status="running")
    for path in run.glob("*.parquet"):
        path.unlink()
    return run


def explain(run: Path, latent: str, text: str | None) -> None:
    from latentbench.explainers.explainer import Explanation
    from latentbench.kernel.requests import Usage

    outcome = Outcome.OK if text is not None else Outcome.API
    journal = explanation_journal(run)
    written = Written("llm", "llm@1-0", "k", 0, None, Paid())
    journal.append(
        (written, Explanation(latent, text, outcome, Usage(0, 0, 0, 0.0), None if text else "503 busy", None))
    )
    journal.close()


def test_a_run_under_way_is_followed_and_shows_no_scores(tmp_path: Path) -> None:
    run = under_way(tmp_path)
    with serving(run, tmp_path / "site") as server:
        assert value(get(server, "/data/site.js")[1])["live"] is True
        before = value(get(server, "/data/live.js?1")[1])[0]
        explain(run, "res9/0", f"first {HOSTILE}")
        explain(run, "res9/1", None)
        after = value(get(server, "/data/live.js?2")[1])[0]
        assert get(server, "/data/boards.js")[0] == 404
    stage = {s["label"]: s for s in after["stages"] if s["stage"] == "explain"}["llm"]
    assert before["stages"][0]["done"] == 0
    assert (stage["done"], stage["of"], stage["outcomes"]) == (2, 4, {"ok": 1, "api": 1})
    assert after["causes"] == [["api: 503 busy", 1]]
    assert after["texts"][0]["latent"] == "res9/0"
    assert "\x1b" not in json.dumps(after["texts"], ensure_ascii=False)
    assert "accuracy" not in json.dumps(after)
    assert not (tmp_path / "site").exists()


def test_a_run_that_ends_meanwhile_is_shown_whole(tmp_path: Path) -> None:
    done = shown_run(tmp_path, Grid(coders={"res9": 4}))
    run = Path(shutil.copytree(done, tmp_path / "going" / "run"))
    signed(run, status="running")
    with serving(run, tmp_path / "site") as server:
        assert value(get(server, "/data/site.js")[1])["live"] is True
        signed(run, status="complete")
        site = value(get(server, "/data/site.js")[1])
        assert site["live"] is False
        assert value(get(server, f"/data/{site['runs'][0]['key']}/latents.js")[1])["ids"] == list(
            load_run(run).record.latents
        )
        assert get(server, "/leaderboard.csv")[0] == 200


def test_every_file_of_a_site_is_sent(kept_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(kept_run, tmp_path / "run"))
    walked(run / "walk")
    with serving(run, tmp_path / "site") as server:
        for name, text in site_files(site_target(run)):
            assert get(server, f"/{name}") == (200, text), name


PATHS = (
    "/../run/run.json",
    "/data/../../run/run.json",
    "//etc/passwd",
    "/data/r0/..%2flatents.js",
    "/run.json",
    "/data/x.js",
)


@pytest.mark.parametrize("path", PATHS)
def test_nothing_but_the_site_is_sent(kept_run: Path, tmp_path: Path, path: str) -> None:
    with serving(kept_run, tmp_path / "site") as server:
        assert get(server, "/")[0] == 200
        assert get(server, path)[0] == 404


def test_a_page_of_another_site_gets_nothing(kept_run: Path, tmp_path: Path) -> None:
    with serving(kept_run, tmp_path / "site") as server:
        assert get(server, "/data/site.js", host="evil.example")[0] == 403
        assert get(server, "/data/site.js", host=f"localhost:{server.server_port}")[0] == 200
        assert server.server_address[0] == LOOPBACK
        with pytest.raises(DataError, match="cannot be listened on"):
            SiteServer(server.site, server.server_port)


def test_a_damaged_run_is_an_answer_and_not_an_end(kept_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(kept_run, tmp_path / "run"))
    (run / "scores.parquet").write_bytes(b"no table")
    with serving(run, tmp_path / "site") as server:
        status, text = get(server, "/data/site.js")
        assert status == 500
        assert "scores.parquet" in text
        assert get(server, "/app.js")[0] == 200
