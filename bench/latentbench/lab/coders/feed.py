"""Text -> shuffled activations: what a trainer or an evaluation of coders eats.

Contexts are exactly `context` tokens of one document with BOS in front; the rest of a document, shorter than a context, is
left out. Padding the rests instead would keep a few more tokens of a corpus that is never used up, and switches the subject's
attention to its slower masked path. Batches mix documents through a buffer, half of which is refilled at a time: a trainer
fed context by context sees 256 correlated rows in each step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from latentbench.corpora.contexts import ContextSettings, contexts
from latentbench.corpora.corpus import documents
from latentbench.corpora.corpus_spec import JsonlCorpus
from latentbench.kernel.errors import EmptyCorpus
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.start_token import check_positions
from latentbench.subject.hooks import Capture


def read_documents(path: Path) -> list[str]:
    """All documents of a JSONL file, packed or not; lines without text are passed over.

    Raises:
        DataError: missing, broken, or no line has text.
    """
    return [text for text in documents(JsonlCorpus(path=(str(path),))) if isinstance(text, str)]


def split(texts: Sequence[str], held_out: float) -> tuple[Sequence[str], Sequence[str]]:
    """(training texts, held-out texts): the last `held_out` share, at least one, is held out.

    Raises:
        EmptyCorpus: fewer than two documents.
    """
    if len(texts) < 2:
        raise EmptyCorpus("the corpus has fewer than two documents; one part has to be held out for evaluation.")
    n = min(max(1, round(held_out * len(texts))), len(texts) - 1)
    return texts[:-n], texts[-n:]


def token_rows(loaded: Loaded, texts: Iterable[str], length: int) -> Iterator[Tensor]:
    """Token ids of every full context, in corpus order.

    Args:
        loaded: for the tokenizer and BOS.
        texts: documents.
        length: corpus tokens per context.

    Yields:
        int64 [length + 1], BOS first; [length] for a subject without BOS.

    Raises:
        SpecError: the subject has too few positions.
        EmptyCorpus: no document has that many tokens.
    """
    check_positions(loaded, length)
    head = [] if loaded.bos is None else [loaded.bos]
    for context in contexts(texts, loaded.tokenizer, ContextSettings(length, length)):
        yield torch.tensor([*head, *context.ids.tolist()], dtype=torch.long)


def batched(rows: Iterable[Tensor], n: int) -> Iterator[Tensor]:
    """Stack `n` rows at a time; the last batch may be smaller."""
    waiting: list[Tensor] = []
    for row in rows:
        waiting.append(row)
        if len(waiting) == n:
            yield torch.stack(waiting)
            waiting = []
    if waiting:
        yield torch.stack(waiting)


def activations(loaded: Loaded, batches: Iterable[Tensor], hookpoints: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Activations of every token but BOS.

    Args:
        loaded: the subject.
        batches: token ids [contexts, tokens], BOS first if the subject has one.
        hookpoints: where to read.

    Yields:
        hookpoint -> [contexts * corpus tokens, d], in token order, in the subject's dtype.
    """
    skip = 0 if loaded.bos is None else 1
    with Capture(loaded, hookpoints) as session:
        for ids in batches:
            found = session.run(ids)
            yield {name: acts[:, skip:].reshape(-1, acts.shape[-1]) for name, acts in found.items()}


def mixed(
    stream: Iterable[dict[str, Tensor]], size: int, batch: int, generator: torch.Generator
) -> Iterator[dict[str, Tensor]]:
    """Rows of the stream in shuffled batches; every row is yielded once, but for a last incomplete batch.

    The buffer is filled, shuffled, and half of it is given out before the next filling. All hookpoints of one token stay
    in the same row.

    Args:
        stream: hookpoint -> [n, d]; n may vary.
        size: rows in the buffer.
        batch: rows per batch.
        generator: the only source of randomness.

    Yields:
        hookpoint -> [batch, d], in the stream's dtype.
    """
    source = iter(stream)
    kept: list[dict[str, Tensor]] = []
    rows, open_ = 0, True
    while open_:
        while rows < size:
            part = next(source, None)
            if part is None:
                open_ = False
                break
            kept.append(part)
            rows += len(next(iter(part.values())))
        if not kept:
            return
        # Cloned outside of inference mode: a trainer may not save inference tensors for its backward pass.
        pool = {name: torch.cat([part[name] for part in kept]).clone() for name in kept[0]}
        order = torch.randperm(rows, generator=generator)
        given = (rows // 2 if open_ else rows) // batch * batch
        for start in range(0, given, batch):
            pick = order[start : start + batch]
            yield {name: values[pick] for name, values in pool.items()}
        rest = order[given:]
        kept = [{name: values[rest] for name, values in pool.items()}]
        rows = len(rest)
