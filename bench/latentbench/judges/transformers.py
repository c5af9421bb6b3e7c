"""A language model in this process as a judge.

Trials of one latent share system message, examples and explanation; computing that prefix once is worth more than any serving
engine here (200 prompts of 423 tokens of which 400 are shared: a seventeenth of the tokens). The judge only words requests
and reads replies; the sharing is in `shared`, the reading in `readout`, the generation in `decode`.

The computation runs in one thread of its own, so that the event loop lives and calls queue in order.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import pydantic

from latentbench.judges.judge import DispatchJudge, Worker
from latentbench.kernel.config import Frozen
from latentbench.kernel.requests import Capability, Chat, Choice, Continuation, JudgeIdentity, Outcome, Reply, Usage
from latentbench.models.engine.choices import choice_row, endings
from latentbench.models.engine.decode import Draw, generate
from latentbench.models.engine.engine import Engine
from latentbench.models.engine.readout import Row, read
from latentbench.models.engine.shared import SharedPrefixes
from latentbench.models.engine.wording import Wording
from latentbench.models.language_model import Loaded, load

STOPS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>")
"""Ends of an assistant's turn in common chat templates, besides the model's own end tokens."""


class TransformersParams(Frozen):
    """Parameters of `transformers:MODEL?...`."""

    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    device: str = "auto"
    batch: int = pydantic.Field(default=64, ge=1)
    """Texts generated together."""
    batch_tokens: int = pydantic.Field(default=4096, ge=1)
    """New tokens per forward pass, padding included."""
    share: bool = True
    """Compute shared prefixes once; off only to measure what it is worth."""
    memory: float = pydantic.Field(default=1.0, gt=0)
    """GiB for keys and values."""


class TransformersJudge(DispatchJudge):
    """A causal language model in this process.

    Numbers do not depend on the batch beyond floating-point rounding: in float32 log-probabilities agree with the plain
    forward pass of each request alone within 1e-4.

    Args:
        model: any reference of `latentbench.models.source`.
        params: see `TransformersParams`.
        loaded: the model if it is in memory already.

    Raises:
        ModelError: the model cannot be loaded, or has an architecture that the engine does not cover.
    """

    params_model: ClassVar[type[pydantic.BaseModel]] = TransformersParams
    chunk = 512

    def __init__(self, model: str, params: TransformersParams | None = None, loaded: Loaded | None = None) -> None:
        super().__init__()
        self.params = params or TransformersParams()
        self.loaded = loaded or load(model, self.params.dtype, self.params.device)
        self.wording = Wording(self.loaded.tokenizer)
        self.engine = Engine(self.loaded)
        least = 16 if self.params.share else 1 << 30
        self.shared = SharedPrefixes(self.engine, self.params.batch_tokens, least)
        self.identity = JudgeIdentity(
            "transformers", model, self.loaded.files.identity, self.loaded.dtype, (("wording", self.wording.identity),)
        )
        self._ends = self._end_tokens()
        self._bytes = int(self.params.memory * (1 << 30))
        self._worker = Worker("judge")
        self.serve(Chat, self._texts)
        self.serve(Choice, self._choices, Capability.SLOTS)
        self.serve(Continuation, self._continuations)

    async def _texts(self, requests: Sequence[Chat]) -> list[Reply]:
        """Assistant messages. Greedy at temperature 0, else sampled from the request's own generator."""
        return await self._worker.run(lambda stop: self._generate(requests, stop))

    async def _choices(self, requests: Sequence[Choice]) -> list[Reply]:
        """Log-probabilities of the allowed answers.

        An answer's tokens are those that it adds behind its place; `end` is scored with it.
        """
        return await self._worker.run(lambda stop: self._choose(requests, stop))

    async def _continuations(self, requests: Sequence[Continuation]) -> list[Reply]:
        """Log-probabilities of given texts.

        Context and text are tokenised separately, so the sum runs over the same tokens in every context; the first token of
        the text is scored. Without context and start token there is nothing to condition on, and the call is skipped.
        """
        return await self._worker.run(lambda stop: self._loglik(requests, stop))

    async def close(self) -> None:
        """Let the thread end."""
        self._worker.close()

    def _generate(self, requests: Sequence[Chat], stop: threading.Event) -> list[Reply]:
        started = time.perf_counter()
        prompts = self.wording.prompts([self.wording.render(r.messages) for r in requests])
        fits = [i for i, r in enumerate(requests) if 0 < len(prompts[i]) <= self.engine.context - r.max_tokens]
        draws = [Draw(prompts[i], requests[i].max_tokens, requests[i].temperature, requests[i].seed) for i in fits]
        drawn = generate(self.shared, draws, self._ends, self.params.batch, self._bytes, stop)
        texts = [self.wording.decode(d.tokens) for d in drawn]
        seconds = _shares(started, [len(d.tokens) - r.saved + len(r.tokens) for d, r in zip(draws, drawn, strict=True)])
        replies = [self._too_long(len(p), r.max_tokens) for p, r in zip(prompts, requests, strict=True)]
        for i, text, d, s in zip(fits, texts, drawn, seconds, strict=True):
            replies[i] = Reply(text=text, usage=Usage(len(prompts[i]), len(d.tokens), d.saved, s))
        return replies

    def _choose(self, requests: Sequence[Choice], stop: threading.Event) -> list[Reply]:
        started = time.perf_counter()
        texts = [self.wording.render(r.messages) for r in requests]
        prompts = self.wording.prompts(texts)
        self.wording.learn(pair for r, t in zip(requests, texts, strict=True) for pair in endings(r, t))
        rows = [choice_row(self.wording, r, t, p) for r, t, p in zip(requests, texts, prompts, strict=True)]
        replies = [Reply(Outcome.SKIPPED, error="an answer or the prompt is empty: there is nothing to read")] * len(
            rows
        )
        fits = []
        for i, row in enumerate(rows):
            if row is None:
                continue
            deepest = max(n for slot in row.sizes for n in slot)
            if len(row.row.tokens) + deepest - 1 > self.engine.context:
                replies[i] = self._too_long(len(row.row.tokens), deepest)
            else:
                fits.append((i, row))
        found = read(self.shared, [row.row for _, row in fits], self._bytes, stop)
        spent = [len(row.row.tokens) + len(row.row.branches) for _, row in fits]
        seconds = _shares(started, [n - s for n, s in zip(spent, found.saved, strict=True)])
        for (i, row), logp, n, saved, s in zip(fits, found.logp, spent, found.saved, seconds, strict=True):
            replies[i] = Reply(logprobs=row.answers(logp), usage=Usage(n, 0, saved, s))
        return replies

    def _loglik(self, requests: Sequence[Continuation], stop: threading.Event) -> list[Reply]:
        started = time.perf_counter()
        contexts = self.wording.raw([r.context for r in requests], start=True)
        texts = self.wording.raw([r.text for r in requests], start=False)
        nothing = Reply(
            Outcome.SKIPPED, error="the text or all that stands before it is empty: there is nothing to score"
        )
        replies, rows, fits = [nothing] * len(requests), [], []
        for i, (context, text) in enumerate(zip(contexts, texts, strict=True)):
            whole = context + text
            if len(whole) - 1 > self.engine.context:
                replies[i] = self._too_long(len(whole) - 1, 0)
            elif context and text:
                first = len(context) - 1
                at = np.arange(first, len(whole) - 1, dtype=np.int64)
                rows.append(Row(whole[:-1], first, at, np.array(text, np.int64)))
                fits.append(i)
        found = read(self.shared, rows, self._bytes, stop)
        seconds = _shares(started, [len(r.tokens) - s for r, s in zip(rows, found.saved, strict=True)])
        for i, row, logp, saved, s in zip(fits, rows, found.logp, found.saved, seconds, strict=True):
            total = float(logp.astype(np.float64).sum())
            replies[i] = Reply(loglik=total, n_tokens=len(logp), usage=Usage(len(row.tokens), 0, saved, s))
        return replies

    def _too_long(self, tokens: int, more: int) -> Reply:
        if not tokens:
            return Reply(Outcome.SKIPPED, error="the prompt is empty")
        return Reply(
            Outcome.SKIPPED,
            error=f"{tokens} tokens and {more} more for the answer do not fit the context of {self.engine.context}; "
            "nothing was cut",
        )

    def _end_tokens(self) -> frozenset[int]:
        tokenizer = self.loaded.tokenizer
        configured = getattr(self.loaded.model.generation_config, "eos_token_id", None)
        ids = set(configured) if isinstance(configured, list) else {configured}
        ids.add(tokenizer.eos_token_id)
        known = tokenizer.get_vocab()
        ids.update(known[s] for s in STOPS if s in known)
        return frozenset(int(i) for i in ids if i is not None)


def _shares(started: float, tokens: Sequence[int]) -> list[float]:
    """The time since `started`, shared by computed tokens."""
    spent, total = time.perf_counter() - started, sum(tokens)
    return [spent * n / total if total else 0.0 for n in tokens]
