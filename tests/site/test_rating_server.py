"""The server of the rating page: this machine, its own page, its own items, and nothing else."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from latentbench.analysis.people.rated_item import rated_items
from latentbench.analysis.people.rating_store import rating_session, read_ratings
from latentbench.runs.finished import load_run, suite_of
from latentbench.site.loopback import LOOPBACK
from latentbench.site.rating_server import RatingDesk, RatingServer

from tests.builders.site_runs import hostile_run


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RatingServer]:
    run = load_run(hostile_run(tmp_path))
    suite = suite_of(run)
    assert suite is not None
    with rating_session(run.folder) as session, RatingServer(RatingDesk(rated_items(run, suite), session)) as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join()
    found_ratings = read_ratings(run.folder)
    assert [r.value for r in found_ratings] in ([], [4])


def ask(
    server: RatingServer,
    path: str,
    body: object = None,
    headers: dict[str, str] | None = None,
    token: str | None = None,
) -> tuple[int, str]:
    link = http.client.HTTPConnection(LOOPBACK, server.server_port, timeout=30)
    host = f"{LOOPBACK}:{server.server_port}"
    own = {"Host": host, "Origin": f"http://{host}", "Content-Type": "application/json", **(headers or {})}
    place = f"/{server.token if token is None else token}/{path}"
    link.request("GET" if body is None else "POST", place, None if body is None else json.dumps(body), own)
    answer = link.getresponse()
    return answer.status, answer.read().decode("utf-8")


def test_a_session_says_nothing_of_explainer_latent_or_score(server: RatingServer) -> None:
    status, text = ask(server, "session/ann")
    assert status == 200
    found = json.loads(text)
    assert set(found) == {"rater", "task", "items"}
    assert set(found["items"][0]) == {"id", "texts", "windows", "scale", "answer"}
    assert "\x1b" not in text


def test_only_its_own_page_writes(server: RatingServer) -> None:
    item = json.loads(ask(server, "session/ann")[1])["items"][0]["id"]
    rating = {"rater": "ann", "item": item, "value": 4, "seconds": 1.5}
    assert ask(server, "rating", rating, {"Origin": "http://evil.example"})[0] == 403
    assert ask(server, "rating", rating, {"Origin": "null"})[0] == 403
    assert ask(server, "rating", rating, {"Host": "evil.example"})[0] == 403
    assert ask(server, "rating", rating, {"Content-Type": "text/plain"})[0] == 415
    assert ask(server, "rating", rating, token="guess")[0] == 404
    assert ask(server, "rating", {**rating, "rater": "x" * 9000})[0] == 413
    for fault in (
        {"value": 6},
        {"value": True},
        {"value": "4"},
        {"seconds": -1},
        {"item": "x"},
        {"item": ["x"]},
        {"rater": "../x"},
        {"rater": 3},
        {"more": 1},
    ):
        assert ask(server, "rating", {**rating, **fault})[0] == 400, fault
    assert json.loads(ask(server, "session/ann")[1])["items"][0]["answer"] is None
    assert ask(server, "rating", rating)[0] == 200
    assert [i["answer"] for i in json.loads(ask(server, "session/ann")[1])["items"] if i["id"] == item] == [4]
    assert [i["answer"] for i in json.loads(ask(server, "session/bob")[1])["items"] if i["id"] == item] == [None]


@pytest.mark.parametrize("name", ["José", "Ann B.", "ا"])
def test_letters_of_any_script_and_spaces_are_a_name(server: RatingServer, name: str) -> None:
    status, text = ask(server, f"session/{quote(name)}")
    assert (status, json.loads(text)["rater"]) == (200, name)


@pytest.mark.parametrize(
    "path", ["../run.json", "run.json", "session/..%2f..", "session/", "/etc/passwd", "index.html"]
)
def test_nothing_but_the_page_is_sent(server: RatingServer, path: str) -> None:
    assert ask(server, path)[0] in (400, 404)
    assert ask(server, "")[0] == 200
    assert server.server_address[0] == LOOPBACK
