"""A language model in this process as a judge.

Trials of one latent share system message, examples and explanation; computing that prefix once is worth more than any serving
engine here (200 prompts of 423 tokens of which 400 are shared: a seventeenth of the tokens). The judge only words requests
and reads replies; the sharing is in `shared`, the reading in `readout`, the generation in `decode`.

The computation runs in one thread of its own, so that the event loop lives and calls queue in order.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import pydantic

from latentbench.judges.patching import Patching
from latentbench.judges.sequences import chat_prompts, choice_rows, continuation_rows, finished, shares, total
from latentbench.judges.worded import WordedJudge, WordedParams, wording_of
from latentbench.judges.worker import Worker
from latentbench.kernel.requests import Capability, Chat, Choice, Continuation, JudgeIdentity, Patched, Reply, Usage
from latentbench.models.engine.choices import ChoiceRow
from latentbench.models.engine.decode import Draw, generate
from latentbench.models.engine.engine import Engine
from latentbench.models.engine.readout import Floats, read
from latentbench.models.engine.shared import SharedPrefixes
from latentbench.models.engine.wording import end_tokens
from latentbench.models.language_model import Loaded, load, pick_dtype


class TransformersParams(WordedParams):
    """Parameters of `transformers:MODEL?...`."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: float32 on a CPU, bfloat16 on a GPU."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1` and so on; `auto` takes a GPU where there is one."""
    batch: int = pydantic.Field(default=64, ge=1)
    """Texts generated together."""
    batch_tokens: int = pydantic.Field(default=4096, ge=1)
    """New tokens per forward pass, padding included."""
    share: bool = True
    """Compute shared prefixes once; off only to measure what it is worth."""
    remember: bool = True
    """Keep the longest shared prefix of a call for the next one. Off, an answer's rounding and its count of tokens that were not
    computed again do not depend on what was asked before; workers of a cluster have it off."""
    memory: float = pydantic.Field(default=1.0, gt=0)
    """GiB for keys and values."""


class TransformersJudge(WordedJudge):
    """A causal language model in this process.

    Numbers do not depend on the batch beyond floating-point rounding: in float32 log-probabilities agree with the plain
    forward pass of each request alone within 1e-4. In bfloat16 rounding is felt: docs/numbers.md says how much.

    Args:
        model: any reference of `latentbench.models.source`.
        params: see `TransformersParams`.
        loaded: the model if it is in memory already.

    Raises:
        ModelError: the model cannot be loaded, or has an architecture that the engine does not cover.
    """

    params: TransformersParams
    params_model: ClassVar[type[pydantic.BaseModel]] = TransformersParams
    chunk = 512

    def __init__(self, model: str, params: TransformersParams | None = None, loaded: Loaded | None = None) -> None:
        super().__init__()
        self.params = params or TransformersParams()
        dtype = pick_dtype(self.params.dtype, self.params.device)
        self.loaded = loaded or load(model, dtype, self.params.device)
        self.wording = wording_of(self.loaded.tokenizer, self.params)
        self.engine = Engine(self.loaded)
        least = 16 if self.params.share else 1 << 30
        self.shared = SharedPrefixes(self.engine, self.params.batch_tokens, least)
        if not self.params.remember:
            self.shared.keep_tokens = 0
        self.identity = JudgeIdentity(
            "transformers",
            model,
            self.loaded.files.identity,
            self.loaded.dtype,
            (("wording", self.wording.identity), *self.params.chosen),
        )
        self._ends = end_tokens(self.loaded.tokenizer, self.loaded.model.generation_config)
        self._bytes = int(self.params.memory * (1 << 30))
        self._worker = Worker("judge")
        self.serve(Chat, self._texts)
        self.serve(Choice, self._choices, Capability.SLOTS)
        self.serve(Continuation, self._continuations)
        self.serve(Patched, self._patched)

    async def _texts(self, requests: Sequence[Chat]) -> list[Reply]:
        """Assistant messages. Greedy at temperature 0, else sampled from the request's own generator."""
        return await self._worker.run(lambda stop: self._generate(requests, stop))

    async def _choices(self, requests: Sequence[Choice]) -> list[Reply]:
        """Log-probabilities of the allowed answers; `end` is scored with its answer."""
        return await self._worker.run(lambda stop: self._choose(requests, stop))

    async def _continuations(self, requests: Sequence[Continuation]) -> list[Reply]:
        """Log-probabilities of given texts, the first token of the text included."""
        return await self._worker.run(lambda stop: self._loglik(requests, stop))

    async def _patched(self, requests: Sequence[Patched]) -> list[Reply]:
        """Assistant messages while a vector stands at the placeholder; see `patching`."""
        room = self._bytes // self.engine.bytes_per_token
        work = Patching(self.engine, self.wording, self._ends, self.params.batch, room)
        return await self._worker.run(lambda stop: work.replies(requests, stop))

    async def close(self) -> None:
        """Let the thread end."""
        self._worker.close()

    def _generate(self, requests: Sequence[Chat], stop: threading.Event) -> list[Reply]:
        started = time.perf_counter()
        prompts = chat_prompts(self.wording, requests, self.engine.context)
        draws = [
            Draw(p, r.max_tokens, r.temperature, r.seed)
            for p, r in zip(prompts, requests, strict=True)
            if not isinstance(p, Reply)
        ]
        drawn = generate(self.shared, draws, self._ends, self.params.batch, self._bytes, stop)
        texts = [self.wording.decode(d.tokens) for d in drawn]
        seconds = shares(started, [len(d.tokens) - r.saved + len(r.tokens) for d, r in zip(draws, drawn, strict=True)])
        written = iter(
            Reply(
                text=text,
                usage=Usage(len(draw.tokens), len(d.tokens), d.saved, s),
                finish=finished(len(d.tokens), draw.max_tokens),
            )
            for text, draw, d, s in zip(texts, draws, drawn, seconds, strict=True)
        )
        return [p if isinstance(p, Reply) else next(written) for p in prompts]

    def _choose(self, requests: Sequence[Choice], stop: threading.Event) -> list[Reply]:
        started = time.perf_counter()
        found = choice_rows(self.wording, requests, self.engine.context)
        return self._read(started, found, lambda row, logp: Reply(logprobs=row.answers(logp)), stop)

    def _loglik(self, requests: Sequence[Continuation], stop: threading.Event) -> list[Reply]:
        started = time.perf_counter()
        found = continuation_rows(self.wording, requests, self.engine.context)
        return self._read(started, found, lambda row, logp: Reply(loglik=total(row, logp), n_tokens=len(logp)), stop)

    def _read(
        self,
        started: float,
        found: list[ChoiceRow | Reply],
        reply: Callable[[ChoiceRow, Floats], Reply],
        stop: threading.Event,
    ) -> list[Reply]:
        rows = [row for row in found if not isinstance(row, Reply)]
        readings = read(self.shared, [row.row for row in rows], self._bytes, stop)
        spent = [len(row.row.tokens) + len(row.row.branches) for row in rows]
        seconds = shares(started, [n - s for n, s in zip(spent, readings.saved, strict=True)])
        read_ = iter(
            replace(reply(row, logp), usage=Usage(n, 0, saved, s))
            for row, logp, n, saved, s in zip(rows, readings.logp, spent, readings.saved, seconds, strict=True)
        )
        return [row if isinstance(row, Reply) else next(read_) for row in found]
