"""Runs of many latents by a deterministic judge: seconds, peak memory and bytes of the folder, all told and for each unit.

    python benchmarks/run_scale.py 1000 4000 16000 --folder FOLDER
    python benchmarks/run_scale.py 16000 --folder FOLDER --kill 0.5        # SIGKILL at half of its units, then `bench resume`
    python benchmarks/run_scale.py 4000 --folder FOLDER --explainers 5 --scorers 4

The suite is made of random words, with few and short windows, because what grows with the latents is looked at here and no
judge: three windows to explain from and six to be judged on, of 16 tokens. The run is the command itself in a process of its own;
judging in the process that made the suite is the tempting way, and would count what was held for making it. A cache of its own is
made beside the run, so that no reply is known from before. Each size prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from latentbench.kernel.files import write_json
from latentbench.kernel.row_groups import RowGroups, streamed_digest
from latentbench.kernel.tables import LATENTS, WINDOWS, write_table

WINDOW, EXPLAIN, POSITIVE, NEGATIVE, WORDS, AT_ONCE = 16, 3, 3, 3, 5_000, 100_000
EACH = EXPLAIN + POSITIVE + NEGATIVE
EXPLAINERS = ["tokens", "empty", {"use": "constant", "params": {"text": "a word"}}]
EXPLAINERS += [{"use": "constant", "label": f"constant-{i}", "params": {"text": f"w{i}"}} for i in range(2)]
OPTIONS = {"positives": POSITIVE, "negatives": NEGATIVE, "simulate": "never"}
SCORERS = [
    {"use": "detection", "preset": "paper", "params": OPTIONS},
    {"use": "fuzzing", "preset": "paper", "params": OPTIONS},
    {"use": "detection", "label": "detection-single", "preset": "single", "params": OPTIONS},
    {"use": "fuzzing", "label": "fuzzing-single", "preset": "single", "params": OPTIONS},
]


def write_suite(folder: Path, latents: int) -> None:
    """A suite of random words, by row groups; what is there already stays."""
    if (folder / "manifest.json").exists():
        return
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    words = pa.array([f" w{i}" for i in range(WORDS)])
    names = [f"sae/{i}" for i in range(latents)]
    given = {
        "latent": pa.array(names),
        "coder": pa.array(["sae"] * latents),
        "index": pa.array(np.arange(latents, dtype=np.int32)),
        "split": pa.array(["test"] * latents),
    }
    table = pa.table({f.name: given.get(f.name, pa.nulls(latents, f.type)) for f in LATENTS}, schema=LATENTS)
    write_table(table, folder / "latents.parquet")
    roles = ["explain"] * EXPLAIN + ["test"] * (POSITIVE + NEGATIVE)
    kinds = [f"quantile:{i}" for i in range(EXPLAIN)] + ["quantile:1"] * POSITIVE + ["random"] * NEGATIVE
    active = np.array([kind != "random" for kind in kinds])
    with pq.ParquetWriter(folder / "windows.parquet", WINDOWS, compression="zstd", write_page_checksum=True) as out:
        for first in range(0, latents, AT_ONCE):
            own = names[first : first + AT_ONCE]
            rows = len(own) * EACH
            ids = rng.integers(0, WORDS, rows * WINDOW).astype(np.int32)
            acts = np.zeros((rows, WINDOW), np.float16)
            fires = np.tile(active, len(own))
            acts[fires, rng.integers(0, WINDOW, int(fires.sum()))] = rng.uniform(1, 9, int(fires.sum())).astype(
                np.float16
            )
            cuts = pa.array(np.arange(0, len(ids) + 1, WINDOW, dtype=np.int32))
            columns = {
                "latent": np.repeat(np.array(own, object), EACH),
                "role": roles * len(own),
                "kind": kinds * len(own),
                "ids": pa.ListArray.from_arrays(cuts, pa.array(ids)),
                "tokens": pa.ListArray.from_arrays(cuts, words.take(pa.array(ids))),
                "activations": pa.ListArray.from_arrays(cuts, pa.array(acts.reshape(-1))),
                "position": np.arange(first * EACH, first * EACH + rows),
                "context": np.arange(first * EACH, first * EACH + rows),
            }
            out.write_table(pa.table(columns, schema=WINDOWS), row_group_size=rows)
    digest = streamed_digest({"latents": table, "windows": RowGroups(folder / "windows.parquet", WINDOWS)})
    write_json(folder / "manifest.json", {"name": folder.name, "version": "1-0", "digest": digest})


def write_spec(path: Path, suite: Path, explainers: int, scorers: int) -> None:
    """A run of that suite by the judge that knows the answers."""
    spec = {
        "name": path.stem,
        "suite": str(suite),
        "split": "all",
        "explainers": EXPLAINERS[:explainers],
        "scorers": SCORERS[:scorers],
        "judges": [{"use": "mock:label"}],
    }
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")


def carry_out(command: Sequence[str], run: Path, kill_at: int | None = None) -> tuple[float, float, int]:
    """Seconds, peak MB and exit code of a command of this package, killed when so many units are in its journal."""
    start = time.monotonic()
    with (run.parent / f"{run.name}.log").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "latentbench", *command], stdout=log, stderr=log, cwd=run.parent
        )
        journal, units, read = run / "judgements.jsonl", 0, 0
        while kill_at is not None and process.poll() is None and units < kill_at:
            time.sleep(0.5)
            if journal.exists():
                with journal.open("rb") as f:
                    f.seek(read)
                    new = f.read()
                units, read = units + new.count(b"\n"), read + len(new)
        if kill_at is not None:
            process.send_signal(signal.SIGKILL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return time.monotonic() - start, usage.ru_maxrss / 1e3, process.returncode


def measure(folder: Path, latents: int, explainers: int, scorers: int, kill: float | None) -> dict[str, float]:
    """One size."""
    name = f"run-{latents}-{explainers}x{scorers}"
    suite, run, spec, cache = (
        folder / f"suite-{latents}",
        folder / name,
        folder / f"{name}.yaml",
        folder / f"{name}.sqlite",
    )
    shutil.rmtree(run, ignore_errors=True)
    for old in folder.glob(f"{cache.name}*"):
        old.unlink()
    write_suite(suite, latents)
    write_spec(spec, suite, explainers, scorers)
    units = latents * explainers * scorers
    command = ["run", str(spec), "--out", str(run), "--cache", str(cache)]
    found: dict[str, float] = {"latents": latents, "units": units}
    if kill is not None:
        seconds, peak, code = carry_out(command, run, int(units * kill))
        assert code == -signal.SIGKILL, "it had ended before it was to be killed"
        found |= {"seconds before the kill": seconds, "peak MB before the kill": peak}
        command = ["resume", str(run), "--cache", str(cache)]
    seconds, peak, code = carry_out(command, run)
    if code:
        raise SystemExit(f"exit code {code}; see {run.parent / f'{run.name}.log'}")
    size = sum(p.stat().st_size for p in run.rglob("*") if p.is_file())
    found |= {
        "seconds": seconds,
        "peak MB": peak,
        "MB of the folder": size / 1e6,
        "MB of the cache": cache.stat().st_size / 1e6,
    }
    return found | {"ms a unit": seconds / units * 1e3, "bytes of the folder a unit": size / units}


def main() -> None:
    """Each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("latents", type=int, nargs="+")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--explainers", type=int, default=1)
    parser.add_argument("--scorers", type=int, default=1)
    parser.add_argument("--kill", type=float, help="share of the units at which the process is killed")
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for latents in given.latents:
        found = measure(folder, latents, given.explainers, given.scorers, given.kill)
        print(json.dumps({name: round(value, 2) for name, value in found.items()}), flush=True)


if __name__ == "__main__":
    main()
