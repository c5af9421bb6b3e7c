"""This package beside delphi on one subject, one coder, the same tokens and the same windows: `make beside-delphi`.

    python benchmarks/beside_delphi.py --delphi .venv-delphi/bin/python [--rounds N] [--out FILE]

Every stage runs in a process of its own, so that its memory is its own, and the two sides take turns, so that what slows the
machine slows both. A stage is timed inside of the process, behind the imports and the loading of models. What one side does and
the other one does not stands on the page beside the table: a number without it would compare two different jobs.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
OUT = HERE / "results" / "beside-delphi.json"

STAGES: Mapping[str, tuple[str, list[str]]] = {
    "own collect": ("own_side.py", ["collect"]),
    "delphi collect": ("delphi_side.py", ["collect", "--batch", "8"]),
    "delphi collect, cut": ("delphi_side.py", ["collect", "--batch", "8", "--layers", "10"]),
    "own collect, wide": ("own_side.py", ["collect", "--width", "32768"]),
    "delphi collect, wide": ("delphi_side.py", ["collect", "--width", "32768", "--batch", "8"]),
    "delphi collect, wide and cut": (
        "delphi_side.py",
        ["collect", "--width", "32768", "--batch", "8", "--layers", "10"],
    ),
    "own draw": ("own_side.py", ["draw"]),
    "delphi draw": ("delphi_side.py", ["draw"]),
    "own score": ("own_side.py", ["score"]),
    "own score, lists": ("own_side.py", ["score", "--answer", "list"]),
    "delphi score": ("delphi_side.py", ["score"]),
    "own score, delphi's prompts": ("own_side.py", ["replay"]),
}
"""What runs in a round, in this order: drawing needs what was collected, scoring what was drawn."""


def ran(python: str, side: str, words: list[str], work: Path) -> dict[str, Any]:
    """The numbers that one stage prints.

    Raises:
        SystemExit: the stage failed; its last lines are shown.
    """
    stage, *more = words
    done = subprocess.run(
        [python, str(HERE / side), stage, str(work), *more],
        cwd=work,
        env=os.environ | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{side} {' '.join(words)} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1]) if stage != "prepare" else {}
    return found


def versions(python: str, names: list[str]) -> dict[str, str]:
    """Versions of distributions in an interpreter's environment."""
    code = f"import json, importlib.metadata as m; print(json.dumps({{n: m.version(n) for n in {names!r}}}))"
    said: dict[str, str] = json.loads(subprocess.run([python, "-c", code], capture_output=True, check=True).stdout)
    return said


def main() -> None:
    """Measure, write the numbers, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delphi", default=".venv-delphi/bin/python", help="a Python that has delphi")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    said = parser.parse_args()
    python = {"own_side.py": sys.executable, "delphi_side.py": str(Path(said.delphi).absolute())}
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in STAGES}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        ran(sys.executable, "own_side.py", ["prepare"], work)
        for number in range(said.rounds):
            for name, (side, words) in STAGES.items():
                rounds[name].append(ran(python[side], side, words, work))
                print(f"round {number + 1}: {name}: {rounds[name][-1]}", flush=True)
    record = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
        "versions": {
            "own": versions(sys.executable, ["latentbench", "torch", "transformers"]),
            "delphi": versions(python["delphi_side.py"], ["eai-delphi", "eai-sparsify", "torch", "transformers"]),
        },
        "rounds": rounds,
    }
    said.out.parent.mkdir(exist_ok=True)
    said.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(table(record))


ROWS = (
    ("collection at 2,304 latents, tokens/s", "tokens", "own collect", "delphi collect"),
    ("the same, delphi's subject cut behind the layer that is read", "tokens", "own collect", "delphi collect, cut"),
    ("collection at 32,768 latents, tokens/s", "tokens", "own collect, wide", "delphi collect, wide"),
    ("the same, cut", "tokens", "own collect, wide", "delphi collect, wide and cut"),
    ("drawing, latents/s: windows, their token strings, loading of the activations", "latents", "own draw", "delphi draw"),
    ("detection, windows/s: log-probabilities of single windows beside delphi's lists", "windows", "own score", "delphi score"),
    ("the same, lists of five on both sides, each with its own prompt", "windows", "own score, lists", "delphi score"),
    ("the same prompts, token for token: calls/s", "calls", "own score, delphi's prompts", "delphi score"),
)  # fmt: skip
"""What is compared: text, what is counted, and the two stages."""


def table(record: Mapping[str, Any]) -> str:
    """The numbers as a Markdown table: rates a second are medians of the rounds, and every round's ratio stands beside them."""
    lines = [
        "| what | here | delphi | here / delphi | each round | by processor seconds | peak memory, MB: here, delphi |",
        "|---|---:|---:|---:|---|---:|---:|",
    ]
    for text, unit, own, other in ROWS:
        mine, theirs = record["rounds"][own], record["rounds"][other]
        rates = [[r[unit] / r["wall"] for r in side] for side in (mine, theirs)]
        per_cpu = [[r[unit] / r["cpu"] for r in side] for side in (mine, theirs)]
        ratios, cpu = ([a / b for a, b in zip(*both, strict=True)] for both in (rates, per_cpu))
        peaks = [max(r["peak"] for r in side) for side in (mine, theirs)]
        each = ", ".join(f"{r:.2f}" for r in ratios)
        cells = [text, *(f"{median(r):,.1f}" for r in rates), f"{median(ratios):.2f}", each, f"{median(cpu):.2f}"]
        lines.append(f"| {' | '.join(cells)} | {peaks[0]:,.0f}, {peaks[1]:,.0f} |")
    drawn, listed = record["rounds"]["delphi draw"][-1], record["rounds"]["own score, lists"][-1]
    judged, replayed = record["rounds"]["delphi score"][-1], record["rounds"]["own score, delphi's prompts"][-1]
    single = record["rounds"]["own score"][-1]
    read = [f"{r['read']} of {r['windows']}" for r in (judged, listed, single)]
    per = [f"{r['tokens'] / r['windows']:.0f}" for r in (judged, listed, single)]
    lines += [
        "",
        f"Of {drawn['latents']} latents {drawn['same_counts']} have exactly as many activating windows on both sides; "
        f"the largest difference is {100 * drawn['most_off']:.1f} %. Windows with a readable answer: {read[0]} by delphi's "
        f"list, {read[1]} by the list here, {read[2]} by the log-probabilities here; prompt tokens per window {per[0]}, "
        f"{per[1]} and {per[2]}. Of delphi's {replayed['calls']} prompts {replayed['same']} had the same reply here.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
