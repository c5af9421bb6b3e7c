"""What reading a finished run takes: seconds and peak memory of the report, MLflow and the leaderboard, for runs of many latents.

    python benchmarks/run_scale.py 1000 --folder FOLDER --explainers 5 --scorers 4
    python benchmarks/read_scale.py FOLDER/run-1000-5x4 4 16 100

Each number is how often the latents of that run are repeated under other names; the folder of such a run has the tables and the
record that a run of so many latents would have written, in row groups of the same size. Carrying out the run itself takes hours
at 100,000 latents, and what is read is the same, but for the four latents whose windows a report shows: no suite has them.
Each command is a process of its own, and prints one line of JSON: its seconds, the seconds of its processor time, and the most
that it had resident.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from latentbench.kernel.row_groups import RowGroups, streamed_digest
from latentbench.kernel.tables import EXPLANATIONS, JUDGEMENTS, SCORES, SECONDS
from latentbench.runs.record import RunRecord, Totals, read_record, write_record
from latentbench.runs.row_writer import GROUP

SCHEMAS = {"explanations": EXPLANATIONS, "judgements": JUDGEMENTS, "scores": SCORES, "seconds": SECONDS}
COMMANDS: dict[str, list[str]] = {"report": [], "track": [], "leaderboard": ["--tune"]}
"""Command -> its options; the run is on latents of any split."""


def multiplied(run: Path, folder: Path, times: int) -> None:
    """A finished run whose latents are those of another, so often; what is there already stays."""
    if (folder / "run.json").exists():
        return
    folder.mkdir(parents=True)
    record = read_record(run)
    names = [[f"sae/{i + k * len(record.latents)}" for i in range(len(record.latents))] for k in range(times)]
    digests = {}
    for name, schema in SCHEMAS.items():
        path = folder / f"{name}.parquet"
        # No answer of this judge takes time.
        parts = iter([SECONDS.empty_table()]) if name == "seconds" else _parts(run, name, record, names)
        with pq.ParquetWriter(path, schema, compression="zstd", compression_level=9, write_page_checksum=True) as out:
            held: list[pa.Table] = []
            for part in parts:
                held.append(part)
                while sum(map(len, held)) >= GROUP:
                    whole = pa.concat_tables(held)
                    out.write_table(whole.slice(0, GROUP), row_group_size=GROUP)
                    held = [whole.slice(GROUP)]
            out.write_table(pa.concat_tables(held), row_group_size=GROUP)
        digests[name] = streamed_digest({name: RowGroups(path, schema)})
    assert record.totals is not None
    counts = {
        name: {outcome: n * times for outcome, n in getattr(record.totals, name).items()}
        for name in ("explanations", "judgements")
    }
    totals = Totals.model_validate(record.totals.model_dump() | counts)
    latents = tuple(name for some in names for name in some)
    suite = record.suite.model_copy(update={"digest": "0" * len(record.suite.digest)})
    changed = {"id": folder.name, "latents": latents, "totals": totals, "tables": digests, "suite": suite}
    write_record(record.model_copy(update=changed), folder)


def _parts(run: Path, name: str, record: RunRecord, names: Sequence[Sequence[str]]) -> Iterator[pa.Table]:
    """The rows of each cell, or explainer, once for each list of names."""
    table = pq.read_table(run / f"{name}.parquet", schema=SCHEMAS[name])
    by = "explainer" if name == "explanations" else "cell"
    at = pc.index_in(table.column("latent"), pa.array(record.latents))
    place = table.schema.get_field_index("latent")
    for key in table.column(by).unique():
        mask = pc.equal(table.column(by), key)
        own, rows = table.filter(mask), at.filter(mask)
        for some in names:
            yield own.set_column(place, table.schema.field(place), pa.array(some).take(rows.combine_chunks()))


def measured(command: Sequence[str], folder: Path) -> dict[str, float]:
    """A command of this package in a process of its own."""
    start = time.monotonic()
    # MLflow's own store, so that no other run is in it.
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}-mlflow/mlflow.db"}
    with Path(f"{folder}.log").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "latentbench", *command], stdout=log, stderr=log, cwd=folder.parent, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}; see {folder}.log")
    cpu = usage.ru_utime + usage.ru_stime
    return {"seconds": time.monotonic() - start, "processor seconds": cpu, "peak MB": usage.ru_maxrss / 1e3}


def main() -> None:
    """Each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("times", type=int, nargs="+")
    parser.add_argument("--commands", nargs="+", default=list(COMMANDS))
    given = parser.parse_args()
    run = given.run.resolve()
    for times in given.times:
        folder = run.parent / f"{run.name}-times-{times}"
        multiplied(run, folder, times)
        record = read_record(folder)
        assert record.totals is not None
        size = {"latents": len(record.latents), "judgements": sum(record.totals.judgements.values())}
        for command in given.commands:
            found = measured([command, str(folder), *COMMANDS[command]], folder)
            print(json.dumps({"command": command, **size, **{k: round(v, 1) for k, v in found.items()}}), flush=True)


if __name__ == "__main__":
    main()
