"""Delphi's side of `beside_delphi`, run by the Python that has delphi; nothing of this package is imported.

    python delphi_side.py collect|draw|score WORK [--width N] [--batch N] [--layers N] [--plain]

Delphi's own code does the work. What stands in for a library that is not installed: `vllm.LLM`, which generates here with
transformers on a CPU and keeps the prompts' shared beginning as vLLM's prefix caching does (`--plain`: it does not), and empty
modules for faiss, blobfile and sentence_transformers, which none of these stages calls. `--layers` cuts the subject behind the
place where the coder reads: delphi runs all layers, but a person who knows may hand it a shorter model.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import sys
import types
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from spent import peak_mb, tell, timed

PLACE, WINDOW, SHOWN = "layers.9", 32, 5
TOKENS = {2304: 32_768, 32_768: 8_192}
JUDGED, EACH = 8, 20
AT_ONCE = 16
"""Prompts in a forward pass."""


class Engine:
    """What delphi asks of `vllm.LLM`: texts for lists of token ids, the most likely token each time.

    Attributes:
        asked, written: prompts and texts so far.
    """

    plain: ClassVar[bool] = False
    asked: ClassVar[list[list[int]]] = []
    written: ClassVar[list[str]] = []

    def __init__(self, model: str, **_: object) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.held: tuple[list[int], Any] = ([], None)

    @torch.inference_mode()
    def generate(self, prompts: list[dict[str, list[int]]], sampling_params: Sampling, use_tqdm: bool) -> list[Any]:
        """Answers in the order of the prompts."""
        ids = [p["prompt_token_ids"] for p in prompts]
        found: dict[int, list[int]] = {}
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for start in range(0, len(order), AT_ONCE):
            batch = order[start : start + AT_ONCE]
            found.update(zip(batch, self._batch([ids[i] for i in batch], sampling_params.max_tokens), strict=True))
        texts = [self.tokenizer.decode(found[i], skip_special_tokens=True) for i in range(len(ids))]
        Engine.asked += ids
        Engine.written += texts
        return [
            types.SimpleNamespace(
                outputs=[types.SimpleNamespace(text=text, token_ids=found[i], logprobs=None)], prompt_logprobs=None
            )
            for i, text in enumerate(texts)
        ]

    def _batch(self, ids: list[list[int]], most: int) -> list[list[int]]:
        head, kept = ([], None) if self.plain else self._prefix(ids)
        rest = [i[len(head) :] for i in ids]
        width = max(map(len, rest))
        pad = self.tokenizer.pad_token_id or 0
        rows = torch.tensor([head + [pad] * (width - len(r)) + r for r in rest])
        mask = torch.tensor([[1] * len(head) + [0] * (width - len(r)) + [1] * len(r) for r in rest])
        more = {}
        if kept is not None:
            more["past_key_values"] = copy.deepcopy(kept)
            more["past_key_values"].batch_repeat_interleave(len(ids))
        out = self.model.generate(
            rows, attention_mask=mask, max_new_tokens=most, do_sample=False, pad_token_id=pad, **more
        )
        return [row.tolist() for row in out[:, rows.shape[1] :]]

    def _prefix(self, ids: list[list[int]]) -> tuple[list[int], Any]:
        """The shared beginning and its keys and values; that of the last batch where it still begins these prompts."""
        head, kept = self.held
        if head and all(i[: len(head)] == head and len(i) > len(head) for i in ids):
            return head, kept
        least = min(map(len, ids)) - 1
        alike = next((n for n in range(least) if len({i[n] for i in ids}) > 1), least)
        common = ids[0][:alike]
        if len(ids) < 2 or len(common) < 16:
            return [], None
        self.held = (common, self.model(torch.tensor([common]), use_cache=True).past_key_values)
        return self.held


@dataclass
class Sampling:
    """`vllm.SamplingParams`, as far as delphi fills it."""

    max_tokens: int = 500
    temperature: float = 0.0
    logprobs: int | None = None
    prompt_logprobs: int | None = None


def stubbed() -> None:
    """Put the stand-ins where delphi imports them from."""
    nothing = {"destroy_distributed_environment": None, "destroy_model_parallel": None}
    held: dict[str, dict[str, Any]] = {
        "vllm": {"LLM": Engine, "SamplingParams": Sampling},
        "vllm.distributed": {},
        "vllm.distributed.parallel_state": nothing,
        "vllm.inputs": {"TokensPrompt": dict},
        "faiss": {},
        "blobfile": {},
        "sentence_transformers": {"SentenceTransformer": object},
    }
    for name, names in held.items():
        module = types.ModuleType(name)
        # transformers asks whether it could be found.
        module.__spec__ = ModuleSpec(name, None)
        vars(module).update(names)
        sys.modules.setdefault(name, module)


def collecting(said: argparse.Namespace) -> None:
    """`LatentCache`, from rows to its files."""
    from delphi.config import CacheConfig  # type: ignore[import-not-found]
    from delphi.latents.cache import LatentCache  # type: ignore[import-not-found]
    from delphi.sparse_coders.load_sparsify import load_sparsify_hooks  # type: ignore[import-not-found]
    from transformers import AutoModel

    model = AutoModel.from_pretrained(said.work / "subject", dtype=torch.bfloat16).eval()
    if said.layers:
        model.layers = model.layers[: said.layers]
    hooks, transcode = load_sparsify_hooks(model, str(said.work / f"coders-{said.width}"), [PLACE], compile=True)
    tokens = torch.from_numpy(np.load(said.work / "tokens.npy"))[: TOKENS[said.width] // 256]
    before = peak_mb("VmRSS")
    out = said.work / f"delphi-{said.width}" / "latents"
    with timed() as spent:
        cache = LatentCache(model, hooks, batch_size=said.batch, transcode=transcode)
        cache.run(tokens.numel(), tokens)
        cache.save_splits(n_splits=5, save_dir=out)
        settings = CacheConfig(batch_size=said.batch, cache_ctx_len=256, n_tokens=tokens.numel(), n_splits=5)
        cache.save_config(out, settings, str(said.work / "subject"))
    tell(tokens=tokens.numel(), wall=spent.wall, cpu=spent.cpu, peak=peak_mb(), before=before)


def records(said: argparse.Namespace, index: list[int], train: int, test: int, silent: int) -> Any:
    """The dataset of some latents, and its records."""
    from delphi.config import ConstructorConfig, SamplerConfig  # type: ignore[import-not-found]
    from delphi.latents import LatentDataset  # type: ignore[import-not-found]
    from transformers import AutoTokenizer

    dataset = LatentDataset(
        raw_dir=said.work / f"delphi-{said.width}" / "latents",
        sampler_cfg=SamplerConfig(n_examples_train=train, n_examples_test=test, n_quantiles=10),
        constructor_cfg=ConstructorConfig(example_ctx_len=WINDOW, min_examples=100, n_non_activating=silent),
        tokenizer=AutoTokenizer.from_pretrained(said.work / "subject"),
        modules=[PLACE],
        latents={PLACE: torch.tensor(index)},
    )
    return list(dataset)


def drawing(said: argparse.Namespace) -> None:
    """`LatentDataset`: records with examples and their token strings, in memory as delphi keeps them."""
    import delphi.latents  # type: ignore[import-not-found]  # noqa: F401

    index = json.loads((said.work / "latents.json").read_text(encoding="utf-8"))
    with timed() as spent:
        found = records(said, index, 40, 100, 100)
    own = json.loads((said.work / "own-counts.json").read_text(encoding="utf-8"))
    counts = {str(r.latent.latent_index): len(r.examples) for r in found}
    same = sum(counts.get(i) == n for i, n in own.items())
    off = max(abs(counts.get(i, 0) - n) / n for i, n in own.items())
    windows = sum(len(r.train) + len(r.test) + len(r.not_active) for r in found)
    tell(
        latents=len(found),
        windows=windows,
        wall=spent.wall,
        cpu=spent.cpu,
        peak=peak_mb(),
        same_counts=same,
        most_off=off,
    )


def scoring(said: argparse.Namespace) -> None:
    """`DetectionScorer` on `Offline`, all latents under way at once."""
    from delphi.clients import Offline  # type: ignore[import-not-found]
    from delphi.scorers import DetectionScorer  # type: ignore[import-not-found]

    texts = json.loads((said.work / "explanations.json").read_text(encoding="utf-8"))
    index = sorted(map(int, texts))[:JUDGED]
    found = records(said, index, 40, EACH, EACH)
    for record in found:
        record.explanation = texts[str(record.latent.latent_index)]
    Engine.plain = said.plain

    async def judged() -> list[Any]:
        # The number of tokens is the client's, 500 by default; a list of five needs no more than this.
        client = Offline(str(said.work / "subject"), number_tokens_to_generate=36)
        scorer = DetectionScorer(client, verbose=False, n_examples_shown=SHOWN)
        return list(await asyncio.gather(*(scorer(r) for r in found)))

    with timed() as loading:
        Engine(str(said.work / "subject"))
    with timed() as spent:
        results = asyncio.run(judged())
    outputs = [o for r in results for o in r.score]
    if not said.plain:
        kept = json.dumps({"prompts": Engine.asked, "texts": Engine.written})
        (said.work / "delphi-prompts.json").write_text(kept, encoding="utf-8")
    tell(
        calls=len(Engine.asked),
        windows=len(outputs),
        read=sum(o.prediction is not None for o in outputs),
        tokens=sum(map(len, Engine.asked)),
        wall=spent.wall - loading.wall,
        cpu=spent.cpu - loading.cpu,
        peak=peak_mb(),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    stages = {"collect": collecting, "draw": drawing, "score": scoring}
    parser.add_argument("stage", choices=stages)
    parser.add_argument("work", type=lambda p: Path(p).resolve())
    parser.add_argument("--width", type=int, default=min(TOKENS))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--layers", type=int, default=0)
    parser.add_argument("--plain", action="store_true")
    said = parser.parse_args()
    stubbed()
    stages[said.stage](said)
