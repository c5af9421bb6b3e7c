"""Figures of a run of the benchmarks -> the page, or a verdict against the committed ones.

    python benchmarks/report.py write FILE    of pytest --benchmark-json; writes results/speed.json and docs/performance.md
    python benchmarks/report.py gate FILE     compares with results/speed.json, writes nothing; exit codes of `bench gate`
    python benchmarks/report.py page          writes the page from the committed numbers again

The verdict is that of `bench speed`: each round's ratio own / bare stands where seconds stand there, round i of the committed
figures and round i of the new ones are a pair, and Student's t on the logarithms gives pass, fail or inconclusive. Seconds
themselves are not compared, since two runs on one machine an hour apart differ more than most changes do; a threshold on one
ratio fails an unchanged tree on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from latentbench.analysis.gate.gate_formats import terminal
from latentbench.analysis.gate.gate_report import GateReport
from latentbench.analysis.gate.speed import compare_speed
from rich.console import Console
from scipy.stats import t

HERE = Path(__file__).parent
SPEED, BESIDE = HERE / "results" / "speed.json", HERE / "results" / "beside-delphi.json"
PAGE = HERE.parent / "docs" / "performance.md"
LIMIT = 1.15
"""A ratio to the bare work may grow by this factor."""
LEVEL = 0.975


def figures(measured: Mapping[str, Any]) -> dict[str, Any]:
    """What is committed: date, machine, versions, and every figure with the seconds of its rounds.

    Args:
        measured: a file of pytest --benchmark-json.
    """
    from importlib.metadata import version

    import torch

    info = measured["machine_info"]
    return {
        "date": measured["datetime"][:10],
        "machine": f"{info.get('cpu', {}).get('brand_raw') or info['machine']}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "versions": {n: version(n) for n in ("latentbench", "torch", "transformers", "numpy", "pyarrow")}
        | {"python": info["python_version"]},
        "figures": {
            b["fullname"].removeprefix("benchmarks/"): b["extra_info"]["figure"]
            for b in measured["benchmarks"]
            if "figure" in b.get("extra_info", {})
        },
    }


def bounds(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % bounds of ratios, on logarithms by Student's t."""
    logs = [math.log(v) for v in values]
    if len(logs) < 2:
        return math.exp(logs[0]), math.nan, math.nan
    reach = float(t.ppf(LEVEL, len(logs) - 1)) * stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean(logs)), math.exp(mean(logs) - reach), math.exp(mean(logs) + reach)


def costs(figure: Mapping[str, Any]) -> list[float]:
    """Own seconds / bare seconds of every round."""
    return [a / b for a, b in zip(figure["own"], figure["bare"], strict=True)]


def row(figure: Mapping[str, Any]) -> str:
    """A figure as a row of the table."""
    ratios = costs(figure)
    middle, low, high = bounds([1 / r for r in ratios] if figure["shown"] == "speed" else ratios)
    rate = ""
    if figure["amount"]:
        own = figure["amount"] / median(figure["own"])
        bare = figure["amount"] / median(figure["bare"])
        rate = (
            f"{own:,.0f} of {bare:,.0f} {figure['unit']}/s"
            if own >= 10
            else f"{own:.2g} of {bare:.2g} {figure['unit']}/s"
        )
    elif figure["unit"]:
        rate = f"{median(figure['own']):.3g} {figure['unit']}"
    kind = "bare time / own time" if figure["shown"] == "speed" else "own time / bare time"
    clock = "" if figure["clock"] == "wall" else ", processor seconds"
    cells = [
        figure["what"],
        figure["target"] or "–",
        f"{middle:.3g} ({low:.3g} to {high:.3g})",
        kind + clock,
        rate or "–",
        f"`{figure['command']}`",
    ]
    return f"| {' | '.join(cells)} |"


def table(record: Mapping[str, Any]) -> str:
    """All figures, with what they were measured on."""
    versions = ", ".join(f"{name} {v}" for name, v in record["versions"].items())
    rounds = sorted({len(f["own"]) for f in record["figures"].values()})
    lines = [
        f"Measured on {record['date']} on {record['machine']}, {record['threads']} threads; {versions}. "
        f"Mean of {' or '.join(map(str, rounds))} rounds in turns, with 95 % bounds over rounds.",
        "",
        "| what | target | measured | as | rate | command |",
        "|---|---|---|---|---|---|",
        *(row(f) for f in record["figures"].values()),
    ]
    return "\n".join(lines)


def beside(record: Mapping[str, Any]) -> str:
    """The table of `beside_delphi`, with what it was measured on."""
    from beside_delphi import table as compared

    versions = "; ".join(
        f"{side}: {', '.join(f'{n} {v}' for n, v in found.items())}" for side, found in record["versions"].items()
    )
    return f"Measured on {record['date']} on {record['machine']}, {record['threads']} threads; {versions}.\n\n{compared(record)}"


def replaced(page: str, name: str, text: str) -> str:
    """The page with a generated part put in; what stands around it is written by hand.

    Raises:
        ValueError: the page has no such part.
    """
    start, end = f"<!-- generated: {name} -->", f"<!-- end of {name} -->"
    if page.count(start) != 1 or page.count(end) != 1:
        raise ValueError(f"the page needs one line {start!r} and one line {end!r}")
    before, _, rest = page.partition(start)
    return f"{before}{start}\n{text}\n{end}{rest.partition(end)[2]}"


def page(old: str) -> str:
    """The page with the committed numbers."""
    for name, file, made in (("figures", SPEED, table), ("beside delphi", BESIDE, beside)):
        if file.exists():
            old = replaced(old, name, made(json.loads(file.read_text(encoding="utf-8"))))
    return old


def gate(base: Mapping[str, Any], head: Mapping[str, Any], limit: float = LIMIT) -> GateReport:
    """Compare new figures with committed ones by `bench speed`.

    Args:
        base, head: of `figures`.
        limit: how much a ratio may grow.
    """
    sides: tuple[list[Path], list[Path]] = ([], [])
    shared = [len(f["own"]) for record in (base, head) for f in record["figures"].values()]
    with tempfile.TemporaryDirectory() as folder:
        for number in range(min(shared, default=0)):
            for side, record in enumerate((base, head)):
                rows = [
                    {"fullname": name, "stats": {"median": costs(f)[number]}} for name, f in record["figures"].items()
                ]
                machine = f"{record['machine']}, {record['threads']} threads"
                file = Path(folder) / f"{side}-{number}.json"
                said = {"machine_info": {"cpu": {"brand_raw": machine}}, "benchmarks": rows}
                file.write_text(json.dumps(said), encoding="utf-8")
                sides[side].append(file)
        return compare_speed(*sides, ratio=limit)


def main() -> int:
    """Carry out the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["write", "gate", "page"])
    parser.add_argument("file", type=Path, nargs="?", help="of pytest --benchmark-json")
    said = parser.parse_args()
    if said.what != "page":
        if said.file is None:
            parser.error(f"{said.what} needs a file of pytest --benchmark-json")
        record = figures(json.loads(said.file.read_text(encoding="utf-8")))
        if said.what == "gate":
            report = gate(json.loads(SPEED.read_text(encoding="utf-8")), record)
            console = Console(highlight=False, markup=False, emoji=False)
            console.print(terminal(report, console.width))
            return report.exit_code()
        SPEED.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{PAGE} is written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
