"""The training loop: seeded, resumable, with a held-out curve.

Examples are addressed by number, so a killed run goes on with the example that it was at and needs no state of a generator.
The schedule is in steps, not minutes: two machines of different speed train the same model.
"""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from latentbench.judges.simulator.artifact import Calibration, save
from latentbench.judges.simulator.lora import load_state, state
from latentbench.kernel.config import read_yaml, validate
from latentbench.kernel.errors import ModelError, SpecError
from latentbench.kernel.files import replacing, write_json, write_text
from latentbench.kernel.identity import digest, file_sha256, seed_for
from latentbench.kernel.inputs import lines, parse_json, understood
from latentbench.lab.simulator.batch import EncodedExample, collate, encode
from latentbench.lab.simulator.concept import Split
from latentbench.lab.simulator.concepts import all_concepts
from latentbench.lab.simulator.drills import DRILL, drills_of
from latentbench.lab.simulator.exam import forbidden
from latentbench.lab.simulator.lessons import Examples
from latentbench.lab.simulator.model import Trainee
from latentbench.lab.simulator.pool import read_pool
from latentbench.lab.simulator.simulator_evaluation import answers, calibrate, report
from latentbench.lab.simulator.simulator_recipe import SimulatorRecipe
from latentbench.lab.simulator.wordnet import WordNet
from latentbench.models.language_model import load as load_model
from latentbench.views import terminal

CHECKPOINT = "checkpoint.pt"
CURVE = "curve.jsonl"
RESULT = "result.json"
END = "cycle-{}.pt"
"""Weights that a cycle ends with, by its last step; where the recipe averages, the mean."""
Say = Callable[[str], None]


def read_recipe(path: Path) -> SimulatorRecipe:
    """Read and validate a recipe.

    Raises:
        SpecError: it does not fit, or one of its two data files is missing.
    """
    recipe = validate(SimulatorRecipe, read_yaml(path), str(path))
    for name in (recipe.surface, recipe.wordings):
        if not (path.parent / name).is_file():
            raise SpecError(f"{path}: there is no {name} beside it.")
    return recipe


def data(recipe: SimulatorRecipe, folder: Path, corpus: Path, wordnet: Path | None) -> dict[str, Examples]:
    """One stream of examples per split, over one pool.

    Args:
        folder: of the recipe.
        wordnet: folder of the database, or None to train on rules over the surface and vocabularies alone.
    """
    pool = read_pool(corpus, recipe.pool_tokens, recipe.seed, recipe.passage_share)
    surface, wordings = read_yaml(folder / recipe.surface), read_yaml(folder / recipe.wordings)
    concepts = all_concepts(pool, WordNet(wordnet) if wordnet else None, surface, wordings)
    exams = [folder / e for e in recipe.exams]
    out = forbidden(concepts, pool, exams)
    concepts = [c for c in concepts if c.name not in out]
    splits: tuple[Split, ...] = ("train", "calibrate", "held-out")
    drills = {"train": drills_of(pool, concepts, surface, wordings, exams)} if DRILL in recipe.families else {}
    return {s: Examples(pool, concepts, s, surface, wordings, recipe.windows, drills=drills.get(s)) for s in splits}


def train(
    recipe_path: Path,
    corpus: Path,
    wordnet: Path | None,
    out: Path,
    device: str = "auto",
    dtype: Any = "bfloat16",
    say: Say = terminal.say,
) -> dict[str, Any]:
    """Train a simulator and write it, with its curve and its held-out figures.

    Args:
        recipe_path: a `SimulatorRecipe`.
        corpus: JSONL of text; see `latentbench.lab.simulator.pool.read_pool`.
        wordnet: folder of WordNet's files, or None.
        out: folder of the simulator; a run that was killed goes on from its checkpoint there.

    Returns:
        What `result.json` holds.

    Raises:
        SpecError, DataError, ModelError: the recipe, the texts, the base; `ModelError` also for a checkpoint of another recipe.
    """
    recipe = read_recipe(recipe_path)
    streams = data(recipe, recipe_path.parent, corpus, wordnet)
    cycles = _cycles(recipe, streams["train"])
    loaded = load_model(recipe.base, dtype, device)
    identity = loaded.files.identity
    trainee = Trainee(loaded, recipe.layers, recipe.rank, recipe.alpha, recipe.seed)
    heads = list(trainee.heads.parameters())
    groups = [{"params": trainee.adapter, "lr": recipe.lr}, {"params": heads, "lr": recipe.heads_lr}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share(step, recipe))
    out.mkdir(parents=True, exist_ok=True)
    texts = _content(recipe, recipe_path.parent, corpus, wordnet)
    key = digest([recipe, texts, identity, str(trainee.loaded.model.dtype)])
    step = _resume(out / CHECKPOINT, key, trainee, optimizer, schedule)
    tokenizer = loaded.tokenizer
    curve_rows = [encode(tokenizer, streams["held-out"].at(1, n)) for n in range(recipe.evaluate_examples)]
    say(f"{sum(len(s.concepts) for s in streams.values())} concepts; from step {step} of {recipe.all_steps}")
    started, first = time.monotonic(), step
    sums = [0.0, 0.0, 0]
    for batch in _batches(recipe, cycles, tokenizer, step):
        loss, window, token = trainee.loss(collate(batch), recipe.token_weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([*trainee.adapter, *heads], 1.0)
        optimizer.step()
        schedule.step()
        step += 1
        sums = [sums[0] + window, sums[1] + token, sums[2] + 1]
        if step % recipe.checkpoint_every == 0 or step in recipe.ends:
            rate = (step - first) / (time.monotonic() - started)
            say(f"step {step}: loss window {sums[0] / sums[2]:.4f} token {sums[1] / sums[2]:.4f}, {rate:.2f} steps/s")
            means, sums = (sums[0] / sums[2], sums[1] / sums[2]), [0.0, 0.0, 0]
            if step % recipe.evaluate_every == 0 or step == recipe.all_steps:
                figures = report(answers(trainee, curve_rows), Calibration())
                row = {"step": step, "examples": step * recipe.batch * recipe.windows, "loss_window": means[0]}
                row["loss_token"] = means[1]
                row |= {k: figures[k] for k in ("window_auroc", "token_auroc", "window_ece", "token_ece")}
                add_point(out / CURVE, row)
                say(f"  held out: window {figures['window_auroc']}, token {figures['token_auroc']}")
            if recipe.average and step in recipe.ends:
                before = [out / END.format(end) for end in recipe.ends if end < step]
                if before:
                    _average(before[-1], key, trainee)
                with replacing(out / END.format(step)) as part:
                    torch.save({"key": key} | _weights(trainee), part)
            # After the curve: a run that is killed in between measures this step again instead of leaving it out.
            _checkpoint(out / CHECKPOINT, key, step, trainee, optimizer, schedule)
    return finish(recipe, trainee, streams, identity, out, say)


def finish(
    recipe: SimulatorRecipe, trainee: Trainee, streams: dict[str, Examples], identity: str, out: Path, say: Say
) -> dict[str, Any]:
    """Calibrate, evaluate on held-out concepts, write the simulator."""
    tokenizer = trainee.loaded.tokenizer
    asked = {
        s: [encode(tokenizer, streams[s].at(2, n)) for n in range(recipe.final_examples)]
        for s in ("calibrate", "held-out")
    }
    calibration = calibrate(answers(trainee, asked["calibrate"]))
    figures = report(answers(trainee, asked["held-out"]), calibration)
    save(
        out,
        recipe.base,
        identity,
        recipe.layers,
        recipe.rank,
        recipe.alpha,
        state(trainee.model),
        trainee.heads,
        calibration,
    )
    curve = read_curve(out / CURVE)
    result = {
        "recipe": recipe.model_dump(),
        "concepts": {s: len(x.concepts) for s, x in streams.items()},
        "held_out": figures,
        "curve": curve,
    }
    write_json(out / RESULT, result)
    say(json.dumps({k: v for k, v in figures.items() if not isinstance(v, dict)}))
    return result


def _content(recipe: SimulatorRecipe, folder: Path, corpus: Path, wordnet: Path | None) -> list[Any]:
    """Hashes of all that examples are made from."""
    beside = [folder / name for name in (recipe.surface, recipe.wordings, *recipe.exams)]
    words = sorted(p for p in wordnet.iterdir() if p.is_file()) if wordnet else []
    return [file_sha256(corpus), [file_sha256(p) for p in beside], [[p.name, file_sha256(p)] for p in words]]


def _share(step: int, recipe: SimulatorRecipe) -> float:
    """Learning rate as a share of the recipe's: in every cycle a linear warm-up, then a linear decay to a twentieth."""
    first = recipe.start(step)
    cycle = recipe.cycles[first]
    step -= first
    if step < recipe.warmup:
        return cycle.peak * (step + 1) / recipe.warmup
    return cycle.peak * max(0.05, 1 - (step - recipe.warmup) / max(1, cycle.steps - recipe.warmup))


def _cycles(recipe: SimulatorRecipe, plain: Examples) -> dict[int, Examples]:
    """First step of each cycle -> its training examples."""
    return {first: plain.weighted(cycle.families) for first, cycle in recipe.cycles.items()}


def _batches(
    recipe: SimulatorRecipe, streams: Mapping[int, Examples], tokenizer: Any, step: int
) -> Iterator[list[EncodedExample]]:
    """Batches of like length from `step` on; eight of them are sorted together, so that little is
    padding, and all are of the cycle of the first."""
    block = 8
    seed = seed_for(recipe.seed, "train")
    for start in range(step - step % block, recipe.all_steps, block):
        stream = streams[recipe.start(start)]
        numbers = range(start * recipe.batch, (start + block) * recipe.batch)
        rows = sorted((encode(tokenizer, stream.at(seed, n)) for n in numbers), key=lambda r: r.length)
        groups = [rows[i : i + recipe.batch] for i in range(0, len(rows), recipe.batch)]
        order = torch.randperm(block, generator=torch.Generator().manual_seed(seed_for(seed, "order", start) % 2**63))
        for n in range(max(0, step - start), min(block, recipe.all_steps - start)):
            yield groups[int(order[n])]


def _checkpoint(path: Path, key: str, step: int, trainee: Trainee, optimizer: Any, schedule: Any) -> None:
    held = {"key": key, "step": step} | _weights(trainee)
    with replacing(path) as part:
        torch.save(held | {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}, part)


def _weights(trainee: Trainee) -> dict[str, Any]:
    return {"adapter": state(trainee.model), "heads": trainee.heads.state_dict()}


def add_point(path: Path, row: Mapping[str, Any]) -> None:
    """Add a point to a curve; one of the same step is replaced.

    The whole file is written, because a kill in the middle of a line that is appended leaves half of it, and the next point would
    stand behind that half: the training would end with a message about its own curve.
    """
    points = {int(point["step"]): point for point in (*read_curve(path), row)}
    write_text(path, "".join(f"{json.dumps(point)}\n" for point in points.values()))


def read_curve(path: Path) -> list[dict[str, Any]]:
    """The points of a curve, the last of each step; none where there is no file.

    Raises:
        ModelError: it cannot be read.
    """
    if not path.exists():
        return []
    with understood(path, ModelError, "Delete it; the curve then begins where the training goes on."):
        return list({int(row["step"]): row for row in map(parse_json, lines(path))}.values())


def _average(path: Path, key: str, trainee: Trainee) -> None:
    """Set the weights to the mean of the present ones and those in the file."""
    held, own = _read(path, key, trainee), _weights(trainee)
    _set(trainee, {part: {name: (own[part][name] + held[part][name]) / 2 for name in own[part]} for part in own})


def _set(trainee: Trainee, weights: Mapping[str, Any]) -> None:
    """Put weights that `_weights` returned back into the model."""
    load_state(trainee.model, weights["adapter"])
    trainee.heads.load_state_dict(weights["heads"])


def _read(path: Path, key: str, trainee: Trainee) -> dict[str, Any]:
    with understood(path, ModelError, "Delete it; the training then begins anew."):
        try:
            held: dict[str, Any] = torch.load(path, map_location=trainee.device, weights_only=True)
        except pickle.UnpicklingError as e:
            raise ValueError(str(e)) from e
        same = held["key"] == key
    if not same:
        raise ModelError(
            f"{path} belongs to another recipe, data, base or dtype. Delete the folder, or choose another --out."
        )
    return held


def _resume(path: Path, key: str, trainee: Trainee, optimizer: Any, schedule: Any) -> int:
    if not path.exists():
        return 0
    held = _read(path, key, trainee)
    _set(trainee, held)
    optimizer.load_state_dict(held["optimizer"])
    schedule.load_state_dict(held["schedule"])
    return int(held["step"])
