"""The model card of a trained simulator, rendered from what was measured; a pure function but for the measuring itself."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from latentbench.judges.simulator.artifact import HEADS, HeadsConfig, load, load_base, load_heads
from latentbench.kernel.errors import DataError, ModelError
from latentbench.kernel.files import write_json, write_text
from latentbench.kernel.inputs import read_json
from latentbench.lab.simulator.batch import encode
from latentbench.lab.simulator.drills import DRILL
from latentbench.lab.simulator.model import Simulator
from latentbench.lab.simulator.simulator_evaluation import answers, report
from latentbench.lab.simulator.simulator_recipe import SimulatorRecipe
from latentbench.lab.simulator.simulator_training import RESULT, data, read_recipe
from latentbench.views import terminal
from latentbench.views.escape import markdown_code
from latentbench.views.table import Cell, Column, Table

CARD = "README.md"
ELSEWHERE = (
    "What it is worth on other truths is not known; `bench judge qualify` measures it on `planted-2` and `exam-gold`."
)
"""Last words of a card whose `result.json` does not say, under `elsewhere`, what was measured outside of the lessons."""


def evaluate_folder(
    folder: Path,
    recipe_path: Path,
    corpus: Path,
    wordnet: Path | None,
    examples: int,
    device: str = "auto",
    say: Callable[[str], None] = terminal.say,
) -> dict[str, Any]:
    """Measure a simulator on held-out concepts with the weights that a judge uses, and write its card.

    Args:
        folder: a trained simulator with its `result.json`.
        recipe_path, corpus, wordnet: as it was trained with; they say which concepts were held out.
        examples: held-out descriptions.

    Returns:
        The figures, which also replace `held_out` in `result.json`.

    Raises:
        ModelError: not a trained simulator, or its base cannot be loaded or is another one.
        DataError: no `result.json`.
    """
    artifact = load(folder)
    if not isinstance(artifact.config, HeadsConfig):
        raise ModelError(f"{folder} is a simulator of another kind; only those trained here can be evaluated so.")
    if not (folder / RESULT).is_file():
        raise DataError(f"{folder} has no {RESULT}; it is written at the end of `bench simulator train`.")
    config, recipe = artifact.config, read_recipe(recipe_path)
    loaded = load_base(artifact, "bfloat16", device)
    simulator = Simulator(loaded, load_heads(artifact, config, int(loaded.model.config.hidden_size)))
    streams = data(recipe, recipe_path.parent, corpus, wordnet)
    rows = [encode(loaded.tokenizer, streams["held-out"].at(2, n)) for n in range(examples)]
    started = time.perf_counter()
    found = answers(simulator, rows)
    seconds = time.perf_counter() - started
    figures = report(found, config.calibration)
    figures["windows_per_second"] = round(len(found.window) / seconds, 1)
    figures["date"] = datetime.date.today().isoformat()
    try:
        result = read_json(folder / RESULT)
    except (OSError, ValueError) as e:
        raise ModelError(f"{folder / RESULT} cannot be read: {e}. Train the simulator again.") from e
    if not isinstance(result, dict):
        raise ModelError(f"{folder / RESULT} holds no result. Train the simulator again.")
    result["held_out"] = figures
    write_json(folder / RESULT, result)
    size = sum(p.stat().st_size for p in (folder / HEADS, folder / "adapter.safetensors"))
    write_text(folder / CARD, card(recipe.name, config, result, size))
    say(json.dumps({k: v for k, v in figures.items() if not isinstance(v, dict)}))
    return figures


def card(name: str, config: HeadsConfig, result: Mapping[str, Any], size: int) -> str:
    """Markdown of a simulator's `README.md`.

    Args:
        name: of the simulator.
        config: its `simulator.yaml`.
        result: its `result.json`.
        size: bytes of its weights.
    """
    held, recipe = result["held_out"], SimulatorRecipe.model_validate(result["recipe"])
    curve = _grid(
        ("windows seen", "loss per window", "loss per token", "AUROC per window", "AUROC per token", "ECE"),
        [
            [r["examples"], r["loss_window"], r["loss_token"], r["window_auroc"], r["token_auroc"], r["window_ece"]]
            for r in result["curve"]
        ],
    )
    families = _grid(
        ("kind of concept", "windows", "per window", "per token"),
        [
            [family, v["windows"], v["window_auroc"], v["token_auroc"]]
            for family, v in sorted(held["by_family"].items(), key=lambda x: -x[1]["windows"])
        ],
    )
    kinds = _grid(("active windows against", "AUROC"), list(held["window_auroc_by_silent_kind"].items()))
    measures = _grid(
        ("measure", "per window", "per token"),
        [
            ["AUROC", held["window_auroc"], held["token_auroc"]],
            ["expected calibration error", held["window_ece"], held["token_ece"]],
        ],
    )
    concepts, base = result["concepts"], markdown_code(config.base)
    steps = " + ".join(f"{n:,}" for n in (c.steps for c in recipe.cycles.values()))
    mean = "; every cycle after the first ends with the mean of its first and last weights" if recipe.average else ""
    drills = (
        " and, in training only, rules over spelling, casing, signs, lists of words and\n"
        "places that are drawn by the thousand (`bench/latentbench/lab/simulator/drills.py`)"
        if DRILL in recipe.families
        else ""
    )
    return f"""# {name}

A judge that predicts, for every token of a window and for the window as a whole, whether a latent with a given explanation is
active there. It is a cheap first screen that needs no key, no GPU and no network, not a substitute for a strong language model.

- Base: {base}, its first {config.layers} layers, with a LoRA adapter of rank {config.rank} on all linear layers, a
  bidirectional block and two linear heads: {size / 1e6:.1f} MB of new weights.
- Use: `judges: ["simulator:{name}"]` for `detection`, `fuzzing`, `simulation` and `output_choice`.
- Reads `Description: EXPLANATION`, `Text: WINDOW`, `Match:`.

## Held-out concepts

{held["windows"]:,} windows and {held["tokens"]:,} tokens of concepts that were never trained on: whole WordNet subtrees, affixes,
words and rules are held out, not sentences. Measured on {held["date"]} with the adapter merged in bfloat16, as the judge does
with `dtype=bfloat16`:
`bench simulator evaluate FOLDER --recipe tasks/simulators/{name}.yaml --corpus CORPUS --wordnet /usr/share/wordnet`.

{measures}

Calibrated (scale and bias per head) on a third set of concepts, where half of the windows are active. In a suite with another
share of active windows the probabilities are not calibrated; ranks are not affected.
{held["windows_per_second"]} windows per second, descriptions included, in that run.

{kinds}

`neighbour`: a sibling, the parent or half of a composition fires there; `passage`: another part of the same text; `random`: any
text.

{families}

## Learning curve

The learning rate decays in every cycle of steps; {recipe.evaluate_examples} held-out descriptions, uncalibrated,
before averaging.

{curve}

## Training

{steps} steps of {recipe.batch} descriptions with {recipe.windows} windows each, recipe
`tasks/simulators/{name}.yaml`, seed {recipe.seed}{mean}. {concepts["train"]:,} concepts
({concepts["calibrate"]:,} to calibrate, {concepts["held-out"]:,} held out) that are rules over text, so every label is
exact and nothing was labelled by a model or a person. Concepts: WordNet 3.0 synsets and words (most frequent sense), affixes,
casing, numbers, punctuation, function words, neighbouring tokens, vocabularies of registers, compositions of
them{drills}. Concepts that share most of their tokens with a latent of the planted suite are left out
(`bench/latentbench/lab/simulator/exam.py`).

Text (not part of this repository): Wikipedia, LitBank, MDN, OpenStax, PEPs, Rust RFCs, Digital.gov, 18F, PLOS, OneStopEnglish,
English Web Treebank, Self-dialogue, Schema-Guided Dialogue, TheAlgorithms, under their own licences (CC BY, CC BY-SA, CC0, public
domain, MIT, BSD). WordNet: Princeton's licence. The weights are released under Apache-2.0, as their base is.

## What it cannot do

Arithmetic, facts about the world, who a pronoun refers to, sentiment or anything else that no rule over words stands for;
languages other than English; contexts longer than a window. It was trained on concepts that fire on words that are named or
described; an explanation of what a latent *does to the output* means nothing to it. It is weakest where near misses are the
question (the table by kind), so a difference between two good explanations should be confirmed by a stronger judge.

The figures above are of concepts made as the lessons were. {result.get("elsewhere", ELSEWHERE)}
"""


def _grid(heads: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    return Table("", [Column(head) for head in heads], rows).markdown().rstrip()
