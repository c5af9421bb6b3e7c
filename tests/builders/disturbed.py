"""Runs that are killed, stopped, doubled, damaged and starved of disk while their endpoint misbehaves, and what became of each.

A run is a process of its own that a preloaded server forks, so that five hundred take minutes and not hours. The endpoint answers
by what it is asked, so every run that ends has the tables of the run that nothing disturbed; it counts each answer that it gave,
which is what a user pays for.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

AT_ONCE = 4
"""Calls of one process in flight."""
PRELOADED = [
    "latentbench.cli",
    "latentbench.runs.run",
    "latentbench.leaderboards.run_page",
    "latentbench.judges.remote.openai",
    "latentbench.judges.embed",
    "latentbench.scorers.detection",
    "latentbench.scorers.fuzzing",
    "latentbench.explainers.llm",
    "latentbench.explainers.top_tokens",
    "openai.resources.chat.completions",
    "torch",
    "pyarrow.parquet",
    "pandas",
    "scipy.special",
]
TABLES = ("explanations", "judgements", "scores")
EVENTS = ("kill", "term", "interrupt", "two", "damage", "full")


class MoodyEndpoint:
    """Chat completions that follow from the prompt, behind a server that fails one time in six.

    Attributes:
        paid: digest of a request -> how often an answer to it was sent.
        url: its address.
    """

    def __init__(self, seed: int) -> None:
        self.paid: Counter[str] = Counter()
        self.moody = True
        random_, lock, moody = random.Random(seed), threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    mood, wait = random_.random(), random_.choice((0.0, 0.0, 0.005, 0.03))
                time.sleep(wait)
                try:
                    if moody.moody and mood < 0.04:
                        self.close_connection = True
                        self.connection.close()
                    elif moody.moody and mood < 0.17:
                        status = (429, 500, 502, 503, 529)[int(mood * 1000) % 5]
                        self._say(status, {"error": {"message": "not now"}}, {"Retry-After": "0"})
                    else:
                        with lock:
                            moody.paid[hashlib.sha256(body).hexdigest()] += 1
                        self._say(200, _completion(json.loads(body)), {})
                except OSError:
                    pass  # the client is gone

            def _say(self, status: int, body: Any, headers: dict[str, str]) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

            def handle_error(self, *args: Any) -> None: ...  # clients are killed here

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def _completion(body: dict[str, Any]) -> dict[str, Any]:
    asked = json.dumps(body["messages"], sort_keys=True).encode()
    number = int(hashlib.sha256(asked).hexdigest(), 16)
    # A short limit on new tokens asks for a word, a long one for an explanation.
    most = body.get("max_completion_tokens") or body.get("max_tokens") or 0
    text = ("Yes", "No")[number % 2] if most < 16 else f"[EXPLANATION]: Words of kind {number % 97}."
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def spec(url: str) -> str:
    """Two explainers, one of which the endpoint serves, and two scorers on three planted latents."""
    judge = f"openai:m?base_url={url}&concurrency={AT_ONCE}&attempts=8&timeout=20"
    content = {
        "name": "soak",
        "suite": "planted-1",
        "limit": 3,
        "max_failures": 1.0,
        "explainers": ["tokens", {"use": "llm", "label": "llm", "model": judge, "params": {"max_tokens": 64}}],
        "scorers": [
            {"use": name, "preset": "single", "params": {"positives": 3, "negatives": 3}}
            for name in ("detection", "fuzzing")
        ],
        "judges": [{"use": judge, "label": "big"}],
    }
    return yaml.safe_dump(content)


def _work(arguments: list[str], printed: str, limit: int | None) -> None:
    """In the child: the command line, with all that it prints in a file."""
    out = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(out, stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if limit is not None:
        # What is printed goes through another process, which may write.
        through = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=out)
        assert through.stdin is not None
        for stream in (1, 2):
            os.dup2(through.stdin.fileno(), stream)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.argv = ["bench", *arguments]
    from latentbench.cli import main

    main()


class Disturber:
    """Makes runs and disturbs them.

    Attributes:
        counts: event -> how often it happened; `equal` and `refused` -> how runs ended.
        reasons: messages of refusals.
        runs, paid, twice, allowed: `whole` (nothing was damaged) or `damaged` -> runs, answers paid for, those of them that
            had been paid for before, and how many those may be: the calls in flight when processes died, and in a damaged run
            the answers that its cache held when that was the file.
    """

    def __init__(self, place: Path, endpoint: MoodyEndpoint, seed: int) -> None:
        self.place, self.endpoint, self.random = place, endpoint, random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.runs: Counter[str] = Counter()
        self.paid: Counter[str] = Counter()
        self.twice: Counter[str] = Counter()
        self.allowed: Counter[str] = Counter()
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOADED)
        (place / "soak.yaml").write_text(spec(endpoint.url), encoding="utf-8")
        self.number = 0

    def undisturbed(self) -> None:
        """The run that all others are compared with; how long it takes says when to strike."""
        self.endpoint.moody = False
        self.start(self.place / "first", self.place / "first.sqlite").join()  # pays for what a first process loads
        began = time.monotonic()
        process = self.start(self.place / "clean", self.place / "clean.sqlite")
        process.join()
        assert process.exitcode == 0, self.printed(self.place / "clean")
        self.takes = time.monotonic() - began
        self.expected = _tables(self.place / "clean")
        self.endpoint.moody = True

    def start(self, folder: Path, cache: Path, limit: int | None = None) -> Any:
        """A process that begins a run, or goes on with it if its folder says that it has begun."""
        begun = (folder / "run.json").exists()
        command = ["resume", str(folder)] if begun else ["run", str(self.place / "soak.yaml"), "--out", str(folder)]
        arguments = [*command, "--cache", str(cache), "--no-track"]
        process = self.context.Process(target=_work, args=(arguments, str(_log(folder)), limit))
        process.start()
        return process

    def printed(self, folder: Path) -> str:
        return _log(folder).read_text(encoding="utf-8", errors="replace") if _log(folder).exists() else ""

    def one(self) -> None:
        """One run: up to four disturbances, then left alone until it has ended or has been refused for good."""
        self.number += 1
        folder, cache = self.place / f"run-{self.number}", self.place / f"cache-{self.number}.sqlite"
        before, self.endpoint.paid = self.endpoint.paid, Counter()
        damaged = False
        # Each event comes first in its turn, whatever the seed.
        first = EVENTS[self.number % len(EVENTS)]
        for event in (first, *self.random.choices(EVENTS, k=self.random.randint(0, 3))):
            self.counts[event] += 1
            damaged |= getattr(self, f"_{event}")(folder, cache)
        for _ in range(8):
            process = self.start(folder, cache)
            process.join(120)
            assert process.exitcode is not None, f"{folder} hangs:\n{self.printed(folder)[-2000:]}"
            if process.exitcode == 0 and self._answered(folder):
                break
        said = self.printed(folder)
        assert "Traceback" not in said, f"{folder}:\n{said[-4000:]}"
        if process.exitcode == 0:
            found = _tables(folder)
            for name, table in self.expected.items():
                pd.testing.assert_frame_equal(found[name], table, obj=f"{name} of {folder}")
            self.counts["equal"] += 1
        else:
            last = said.strip().splitlines()[-1]
            assert process.exitcode == 2, f"{folder} ended with {process.exitcode}:\n{said[-3000:]}"
            assert damaged, f"{folder} is refused, and nothing was damaged:\n{said[-3000:]}"
            self.reasons[last.replace(str(folder), "RUN").replace(str(cache), "CACHE")[:160]] += 1
            self.counts["refused"] += 1
        kind = "damaged" if damaged else "whole"
        twice = sum(n - 1 for n in self.endpoint.paid.values())
        allowed = self._in_flight + self._destroyed
        assert twice <= allowed, f"{folder} ({kind}), {allowed} allowed: {self.endpoint.paid.most_common(9)}"
        self.runs[kind] += 1
        self.paid[kind] += self.endpoint.paid.total()
        self.twice[kind] += twice
        self.allowed[kind] += allowed
        self.endpoint.paid = before + self.endpoint.paid
        self._in_flight = self._destroyed = 0

    _in_flight = 0
    """Calls that were in flight when processes of this run died, at most."""
    _destroyed = 0
    """Answers that damage to this run's files took away, at most."""

    def spent(self) -> list[str]:
        """One line for the runs in which nothing was damaged, and one for the others."""
        return [
            f"{self.runs[kind]} {kind} runs: {self.paid[kind]} calls paid, {self.twice[kind]} of them twice, "
            f"at most {self.allowed[kind]} {lost}"
            for kind, lost in (
                ("whole", "in flight at deaths"),
                ("damaged", "in flight at deaths or in damaged caches"),
            )
        ]

    def _answered(self, folder: Path) -> bool:
        totals = json.loads((folder / "run.json").read_text(encoding="utf-8"))["totals"]
        return not any(totals[table].get(o) for table in ("explanations", "judgements") for o in ("api", "timeout"))

    def _strike(self, folder: Path, cache: Path, blow: Callable[[Any], None]) -> bool:
        process = self.start(folder, cache)
        process.join(self.random.uniform(0, self.takes * 1.2))
        if process.exitcode is None:
            self._in_flight += AT_ONCE
            blow(process)
        process.join(60)
        assert process.exitcode is not None, f"{folder}: a signal did not end it"
        return False

    def _kill(self, folder: Path, cache: Path) -> bool:
        return self._strike(folder, cache, lambda p: p.kill())

    def _term(self, folder: Path, cache: Path) -> bool:
        return self._strike(folder, cache, lambda p: p.terminate())

    def _interrupt(self, folder: Path, cache: Path) -> bool:
        def twice(process: Any) -> None:
            for _ in range(2):
                os.kill(process.pid, signal.SIGINT)
                process.join(self.random.uniform(0, 0.05))
                if process.exitcode is not None:
                    return

        return self._strike(folder, cache, twice)

    def _two(self, folder: Path, cache: Path) -> bool:
        processes = [self.start(folder, cache) for _ in range(2)]
        for process in processes:
            process.join(120)
        assert {p.exitcode for p in processes} <= {0, 2}, self.printed(folder)[-2000:]
        return False

    def _damage(self, folder: Path, cache: Path) -> bool:
        """Flip a byte, cut or empty a file; whether there was one.

        What stands in the run's tables stands in the cache, too, so that only damage to the cache takes answers away: all that
        were given so far, for of a broken database nobody knows which rows are left.
        """
        files = [p for p in [*folder.glob("*"), cache] if p.is_file() and p.name != "spec.yaml" and p.stat().st_size]
        if not files:
            return False
        file = self.random.choice(files)
        content = bytearray(file.read_bytes())
        at = self.random.randrange(len(content))
        how = self.random.choice(("flip", "flip", "cut"))
        if how == "flip":
            content[at] ^= 1 << self.random.randrange(8)
        else:
            del content[at:]
        file.write_bytes(content)
        if file == cache:
            self._destroyed += len(self.endpoint.paid)
        return True

    def _full(self, folder: Path, cache: Path) -> bool:
        """A limit on the size of a file: writes beyond it fail, as on a full disk."""
        process = self.start(folder, cache, self.random.choice((0, 500, 3_000, 20_000, 60_000)))
        process.join(120)
        assert process.exitcode is not None, f"{folder} hangs on a full disk"
        self._in_flight += AT_ONCE  # the first reply that can be kept nowhere stops the run
        return False


def _log(folder: Path) -> Path:
    return folder.with_name(folder.name + ".log")


def _tables(folder: Path) -> dict[str, pd.DataFrame]:
    """The tables of a run, without what differs between equal runs."""
    return {
        name: pd.read_parquet(folder / f"{name}.parquet").drop(columns=["seconds"], errors="ignore") for name in TABLES
    }
