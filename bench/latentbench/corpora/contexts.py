"""Documents -> contexts: the runs of tokens that the subject reads in one go.

A context is at most `context` tokens of one document. Packing documents end to end, as pre-training does, wastes nothing but
lets the subject attend from one document into another, and a window across the seam is text that nobody wrote. So documents
are cut into chunks, and the rest of each is a shorter context, or is dropped and counted when no window fits into it.

BOS is not part of a context: the runner puts it in front for the forward pass and drops its activations. Corpus positions
index the kept tokens, laid end to end in this order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from latentbench.corpora.document_ids import Control, Reading
from latentbench.corpora.rows import Document, Tokens
from latentbench.kernel.errors import EmptyCorpus, SpecError


@dataclass(frozen=True, slots=True)
class ContextSettings:
    """How documents are cut.

    Attributes:
        context: corpus tokens per context, BOS not counted.
        min_context: shorter chunks are dropped; the window length, so that every context holds a window.
        control: what becomes of control tokens that a text spells out, see `latentbench.corpora.document_ids`.

    Raises:
        SpecError: lengths that leave no context.
    """

    context: int = 256
    min_context: int = 32
    control: Control = "keep"

    def __post_init__(self) -> None:
        if not 1 <= self.min_context <= self.context:
            raise SpecError(
                f"min_context is {self.min_context} and context is {self.context}; "
                "a context must be at least min_context tokens long, and that at least 1."
            )


@dataclass(frozen=True, slots=True)
class Context:
    """One context.

    Attributes:
        document: number of its document in the corpus.
        ids: token ids, int32 [n], `min_context` <= n <= `context`, without BOS.
    """

    document: int
    ids: Tokens


@dataclass(slots=True)
class Tally:
    """What became of the corpus, counted while it is read."""

    documents: int = 0
    contexts: int = 0
    tokens: int = 0
    dropped_chunks: int = 0
    """Rests of documents shorter than `min_context`."""
    dropped_tokens: int = 0
    """Tokens in them."""
    vocabulary: int | None = None
    """Size of the tokenizer that the ids of pre-tokenised documents were checked against; None for a corpus of text."""
    largest_id: int | None = None
    """Largest of those ids."""
    start_tokens: int | None = None
    """Pre-tokenised documents whose start token was taken off; the runner puts one in front of every context."""
    spelled_control_tokens: int | None = None
    """Control tokens that texts spell out; None where there is none."""

    def as_dict(self) -> dict[str, int]:
        """JSON-able counts; those of pre-tokenised documents and of control tokens where there are any."""
        return {name: n for name, n in asdict(self).items() if n is not None}


def contexts(
    documents: Iterable[Document],
    tokenizer: Any,
    settings: ContextSettings,
    max_tokens: int | None = None,
    tally: Tally | None = None,
) -> Iterator[Context]:
    """Cut documents into contexts, in corpus order.

    Args:
        documents: texts, token ids, or chats for a tokenizer with a chat template.
        tokenizer: a transformers tokenizer.
        settings: lengths.
        max_tokens: stop after this many kept tokens; the last context is cut short, or left out below `min_context`.
        tally: counts into it as the contexts are taken.

    Raises:
        EmptyCorpus: after the last document, when no chunk was long enough.
        DataError: a token id that the tokenizer does not have.
        ModelError: a chat that the tokenizer cannot lay out.
    """
    tally = tally if tally is not None else Tally()
    reading = Reading(tokenizer, settings.control)
    for document, ids in enumerate(reading.ids(iter(documents))):
        tally.documents += 1
        tally.spelled_control_tokens = reading.spelled or None
        tally.vocabulary, tally.largest_id, tally.start_tokens = (
            reading.vocabulary,
            reading.largest_id,
            reading.start_tokens,
        )
        for start in range(0, len(ids), settings.context):
            room = settings.context if max_tokens is None else min(settings.context, max_tokens - tally.tokens)
            if room < settings.min_context:
                break
            chunk = ids[start : start + room]
            if len(chunk) < settings.min_context:
                tally.dropped_chunks += 1
                tally.dropped_tokens += len(chunk)
                continue
            tally.contexts += 1
            tally.tokens += len(chunk)
            yield Context(document, chunk)
        if max_tokens is not None and max_tokens - tally.tokens < settings.min_context:
            break
    if not tally.contexts:
        limit = "" if max_tokens is None else f", with max_tokens {max_tokens}"
        raise EmptyCorpus(
            f"the corpus holds no text of {settings.min_context} tokens or more ({tally.documents} documents{limit}). "
            "Give it longer documents, or lower min_context and the window length."
        )
