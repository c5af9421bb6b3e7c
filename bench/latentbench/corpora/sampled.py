"""Text drawn from the subject itself: a corpus that anybody may ship, because nobody else wrote it.

Sampled from its start token at temperature 1 a small model writes word salad, and latents found on it are latents of salad.
So half of the documents answer short writing tasks (register x topic) through the chat template and half continue openings
of many registers, at the temperature and top-p of a YAML file. Every batch has its own seed, so a batch can be redone alone,
and documents that loop or repeat another one are rejected by a stated rule and counted.

It is drawn once per (model, recipe, seed, size) into a JSONL file like any other. The file's name is a hash of everything that
was asked for; what it *is* (`corpus_identity`) is a hash of what came out.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pydantic import Field

from latentbench.corpora.corpus_spec import OnTokens, SampledCorpus
from latentbench.kernel.config import Frozen, read_yaml, validate
from latentbench.kernel.errors import DataError
from latentbench.kernel.identity import digest, seed_for
from latentbench.kernel.inputs import parse_json, read_bytes, understood
from latentbench.kernel.tasks import find
from latentbench.models.language_model import Loaded, load
from latentbench.models.source import cache_dir, resolve

PATIENCE = 20
"""Batches in a row without one usable document after which the model is given up."""


class SampledRecipe(Frozen):
    """What the subject is asked to write (`tasks/corpora/*.yaml`)."""

    version: str
    temperature: float = Field(ge=0)
    top_p: float = Field(gt=0, le=1)
    repetition_penalty: float = Field(gt=0)
    max_tokens: int = Field(ge=1, le=100_000)
    registers: list[str] = Field(min_length=1)
    topics: list[str] = Field(min_length=1)
    openings: list[str] = Field(min_length=1)


@dataclass(frozen=True)
class DocumentPrompt:
    """One document to be drawn: what the model reads, and what of it belongs to the document."""

    source: str
    instruction: str | None
    opening: str


def prompts(recipe: SampledRecipe, seed: int) -> Iterator[DocumentPrompt]:
    """Endless prompts: chat and continuation in turn, registers x topics in a seeded order, no pair twice per cycle."""
    rng = random.Random(seed)
    pairs: list[tuple[str, str]] = []
    openings: list[str] = []
    while True:
        if not pairs:
            pairs = [(r, t) for r in recipe.registers for t in recipe.topics]
            rng.shuffle(pairs)
        register, topic = pairs.pop()
        yield DocumentPrompt(f"chat: {register}", f"Write {register} about {topic}.", "")
        if not openings:
            openings = list(recipe.openings)
            rng.shuffle(openings)
        yield DocumentPrompt("continuation", None, openings.pop())


def distinct_share(text: str, n: int = 4) -> float:
    """Distinct word n-grams over all word n-grams; 1 for a text of fewer than n words."""
    words = text.split()
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def first_words(text: str) -> str:
    """The first 12 words: what decides whether a document was seen."""
    return " ".join(text.split()[:12])


def rejected(text: str, seen: set[str]) -> str | None:
    """Why a document is not kept: `short`, `loop` or `duplicate`; None if it is kept.

    A text loops when fewer than 70 % of its word 4-grams are distinct; it is a duplicate when its first 12 words were seen.
    """
    if len(text.split()) < 40:
        return "short"
    if distinct_share(text) < 0.7:
        return "loop"
    if first_words(text) in seen:
        return "duplicate"
    return None


def draw(
    loaded: Loaded, recipe: SampledRecipe, seed: int, batch: int, number: int, seen: set[str]
) -> Iterator[list[dict[str, str]]]:
    """Endless batches of kept documents (`text`, `source`) from batch `number` on.

    Args:
        batch: documents asked for per batch; part of what the text is, like the seed.
        number: first batch to draw.
        seen: first words of the documents kept so far, extended here.
    """
    import torch

    from latentbench.models.engine.engine import Engine
    from latentbench.models.engine.sampler import SamplingParams, sample_prompts

    engine = Engine(loaded)
    tok = loaded.tokenizer
    params = SamplingParams(recipe.max_tokens, recipe.temperature, recipe.top_p, recipe.repetition_penalty)
    stop = frozenset(i for i in tok.all_special_ids if i is not None)
    stream = islice(prompts(recipe, seed), number * batch, None)
    while True:
        asked = list(islice(stream, batch))
        ids = [_encode(tok, p) for p in asked]
        generator = torch.Generator(loaded.device).manual_seed(seed_for("sampled", recipe.version, seed, number))
        new = sample_prompts(engine, ids, params, generator, stop)
        kept = []
        for p, tokens in zip(asked, new, strict=True):
            text = (p.opening + tok.decode(tokens, skip_special_tokens=True)).strip()
            if rejected(text, seen) is None:
                seen.add(first_words(text))
                kept.append({"text": text, "source": p.source})
        number += 1
        yield kept


def _encode(tokenizer: object, prompt: DocumentPrompt) -> list[int]:
    tok = tokenizer
    if prompt.instruction is None:
        start = [tok.bos_token_id] if tok.bos_token_id is not None else []  # type: ignore[attr-defined]
        return [*start, *tok(prompt.opening, add_special_tokens=False)["input_ids"]]  # type: ignore[operator]
    text = tok.apply_chat_template(  # type: ignore[attr-defined]
        [{"role": "user", "content": prompt.instruction}], tokenize=False, add_generation_prompt=True
    )
    ids: list[int] = tok(text, add_special_tokens=False)["input_ids"]  # type: ignore[operator]
    return ids


def write(
    loaded: Loaded, recipe: SampledRecipe, seed: int, n_tokens: int, out: Path, batch: int = 128
) -> Iterator[int]:
    """Draw until `n_tokens` tokens are kept, writing `out` (.jsonl.gz) at the end; yields the token count per batch.

    Each batch is one line of `out.part`, so after a kill the whole batches are kept and the torn one is drawn again.
    """
    part = out.with_name(out.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    batches: list[list[dict[str, str]]] = []
    seen: set[str] = set()
    if part.exists():
        with understood(part, DataError, "Delete it; its text is then drawn again."):
            data = read_bytes(part)
            whole = data[: data.rfind(b"\n") + 1]
            batches = [parse_json(line) for line in whole.splitlines()]
            seen = {first_words(d["text"]) for b in batches for d in b}
        part.write_bytes(whole)

    def tokens(documents: list[dict[str, str]]) -> int:
        ids = loaded.tokenizer([d["text"] for d in documents], add_special_tokens=False)["input_ids"]
        return sum(map(len, ids))

    total = sum(tokens(b) for b in batches if b)
    drawn = draw(loaded, recipe, seed, batch, len(batches), seen)
    with part.open("a", encoding="utf-8") as f:
        while total < n_tokens:
            documents = next(drawn)
            f.write(json.dumps(documents, ensure_ascii=False) + "\n")
            f.flush()
            batches.append(documents)
            total += tokens(documents) if documents else 0
            yield total
    # No time and no name in the header: the file's bytes are a function of its content.
    with out.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as z:
        for document in (d for b in batches for d in b):
            z.write((json.dumps(document, ensure_ascii=False) + "\n").encode())
    part.unlink()


def drawn_file(spec: SampledCorpus, on_tokens: OnTokens | None = None) -> Path:
    """The `.jsonl.gz` file of a sampled corpus, drawing it first if the cache has none.

    Args:
        spec: what to draw.
        on_tokens: called after every batch with the tokens kept so far.

    Raises:
        UnknownName, SpecError: no such recipe, or one that does not fit its schema.
        ModelError: the model cannot be loaded.
        DataError: the model writes nothing but loops, duplicates and fragments.
    """
    path = find("corpora", spec.recipe)
    recipe = validate(SampledRecipe, read_yaml(path), str(path))
    model = resolve(spec.model)
    key = digest([model.identity, spec.dtype, recipe, spec.seed, spec.n_tokens, spec.batch])
    out = cache_dir() / "corpora" / f"sampled-{key}.jsonl.gz"
    if out.exists():
        return out
    drawing = out.with_name(f"drawing-{out.name}")
    last, fruitless = 0, 0
    for total in write(load(spec.model, dtype=spec.dtype), recipe, spec.seed, spec.n_tokens, drawing, spec.batch):
        if on_tokens is not None:
            on_tokens(total)
        fruitless = 0 if total > last else fruitless + 1
        if fruitless == PATIENCE:
            raise DataError(
                f"{spec.model!r} wrote no usable document in {PATIENCE} batches (all too short, looping or repeated). "
                f"Check the recipe {path}: max_tokens, temperature, and enough registers, topics and openings."
            )
        last = total
    drawing.replace(out)
    return out
