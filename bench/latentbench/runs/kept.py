"""What a run asked and what came back, word for word: `calls.parquet` and `texts.parquet` of its folder.

A score says that a judge was wrong and not what it had read. The reply cache has the words, under addresses that nobody can look
up without the judge, the suite and the prompts of that day. So a run keeps them itself: a call names its messages by their
digests, and each text stands once, so that a system prompt shared by ten thousand calls is one row. A column of whole prompts is
the tempting way, and is the same window ten times over.

Not everything that is asked is a chat. What stands in `messages` of the others is what a person can read of them: a judge that
simulates reads an explanation and windows, one that embeds a text, one that is asked at places of a text (`slots`) that text with
a mark at each place. Vectors are not kept, nor probabilities of single tokens, which stand in `judgements.parquet`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from latentbench.kernel.errors import CorruptTable, DigestMismatch
from latentbench.kernel.identity import text_digest
from latentbench.kernel.parquet import parquet_columns, parquet_values
from latentbench.kernel.requests import Message, Outcome
from latentbench.kernel.tables import read_table

if TYPE_CHECKING:
    import pandas as pd

    from latentbench.runs.finished import Run

CALLS_FILE, TEXTS_FILE = "calls.parquet", "texts.parquet"
EXPLAIN, JUDGE = "explain", "judge"
"""Stages of a run."""
SLOT = "▢"
"""Stands where a judge that is asked at places of a text says the probabilities of the answers."""

_STR = pa.string()
CALLS = pa.schema(
    [
        # What these hold is said once, in `KeptCall`; messages, reply and reasoning are digests of texts here.
        ("stage", _STR),
        ("owner", _STR),
        ("latent", _STR),
        ("repeat", pa.int32()),
        ("trial", _STR),
        ("part", _STR),
        ("items", pa.list_(pa.int64())),
        ("round", pa.int32()),
        ("form", _STR),
        ("member", _STR),
        ("roles", pa.list_(_STR)),
        ("messages", pa.list_(_STR)),
        ("reply", _STR),
        ("reasoning", _STR),
        ("answers", pa.list_(_STR)),
        ("probabilities", pa.list_(pa.float32())),
        ("value", pa.float64()),
        ("outcome", _STR),
        ("cause", _STR),
        ("finish", _STR),
    ]
)
TEXTS = pa.schema([("hash", _STR), ("text", _STR)])


@dataclass(frozen=True, slots=True)
class KeptCall:
    """One call of a run.

    Attributes:
        stage: `EXPLAIN` or `JUDGE`.
        owner: the explainer's label, or the id of the cell.
        latent: id of the latent.
        repeat: number of the repeat.
        trial, part: of the scorer's work, as in the judgements; "" of an explainer.
        items: the windows that were judged, rows of the suite's windows table; none of an explainer.
        round: 0 for what was asked first, 1 for what was asked when that had been answered, and so on.
        form: kind of the request: chat, choice, continuation, embed, simulate or activate.
        member: whom of a panel it was put to, by label; "" without a panel.
        messages: as they were sent, and of what is no chat what a person can read of it; each role then says what the text is.
        reply: the text that came back; "" where none did, and of everything but a chat.
        reasoning: what the model thought before it answered.
        outcome: what became of the call; of one that was answered and could not be read, what its reader made of it.
        cause: why there is no answer.
        finish: why the reply ends, in the words of the backend.
        answers: what was allowed, of a choice.
        probabilities: of each answer, one place of the text after the other; of a simulation one for each window.
        value: of a continuation its log-likelihood in nats, of an activation the largest; None of others.
    """

    stage: str
    owner: str
    latent: str
    repeat: int
    trial: str
    part: str
    items: tuple[int, ...]
    round: int
    form: str
    member: str
    messages: tuple[Message, ...]
    reply: str
    reasoning: str
    outcome: Outcome
    cause: str
    finish: str = ""
    answers: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    value: float | None = None

    @property
    def ok(self) -> bool:
        """Whether there is an answer."""
        return self.outcome is Outcome.OK


def has_calls(run: Run) -> bool:
    """Whether a run kept any calls; runs of earlier versions have not, nor those with `keep: none`."""
    return "calls" in run.record.tables


def kept_calls(run: Run, latent: str | None = None) -> Iterator[KeptCall]:
    """The calls that a run kept, latent by latent in the order of its record; nothing where it kept none.

    Texts are read as the calls come to them and forgotten after the last call that has them, so that a run of any size can be
    gone through.

    Args:
        latent: only those about this one.

    Raises:
        CorruptTable: a table is missing or cannot be read, or a text is.
        DigestMismatch: it is not what the run wrote.
    """
    if has_calls(run):
        yield from read_calls(run.folder, run.record.tables["calls"], latent)


def read_calls(folder: Path, frozen: str | None = None, latent: str | None = None) -> Iterator[KeptCall]:
    """`kept_calls` of a folder.

    Args:
        frozen: digest that is on record of the calls. The texts need none: each has its own.
    """
    table = read_table(folder / CALLS_FILE, CALLS, frozen)
    rows = [i for i, name in enumerate(table.column("latent").to_pylist()) if latent in (None, name)]
    left: Counter[str] = Counter()
    for row in _rows(table, rows, ["messages", "reply", "reasoning"]):
        left.update(named(row))
    texts = _TextStream(folder / TEXTS_FILE, left)
    for row in _rows(table, rows, table.schema.names):
        held = {h: texts.take(h) for h in dict.fromkeys(named(row))}
        try:
            call = _call(row, held)
        except (KeyError, TypeError, ValueError) as e:
            raise CorruptTable(f"{folder / CALLS_FILE} holds what is no call: {e}. Restore it.") from e
        yield call
        texts.done(named(row))


def calls_frame(run: Run) -> pd.DataFrame:
    """The calls that a run kept as a table: columns as the attributes of `KeptCall`, messages as a list of `role` and `content`.

    Raises:
        CorruptTable, DigestMismatch: as `kept_calls`.
    """
    import pandas as pd

    names = list(KeptCall.__dataclass_fields__)
    rows = [[_plain(getattr(call, name)) for name in names] for call in kept_calls(run)]
    return pd.DataFrame(rows, columns=names)


def _plain(value: Any) -> Any:
    if isinstance(value, Outcome):
        return value.value
    if isinstance(value, tuple):
        return [{"role": v.role, "content": v.content} if isinstance(v, Message) else v for v in value]
    return value


class _TextStream:
    """The texts of a run, read in their order; one that was passed is held as long as somebody still needs it.

    Args:
        left: digest -> how often it is still needed.
    """

    def __init__(self, path: Path, left: Counter[str]) -> None:
        self._path, self._left = path, left
        self._held: dict[str, str] = {}
        self._coming = self._stored() if left else iter(())

    def take(self, hash: str) -> str:
        """The text with a digest."""
        while hash not in self._held:
            found = next(self._coming, None)
            if found is None:
                raise CorruptTable(f"{self._path} lacks a text that {CALLS_FILE} names ({hash}). Restore it.")
            name, text = found
            if name not in self._left:
                continue
            if text_digest(text) != name:
                raise DigestMismatch(
                    f"{self._path} is not what was written: the text {name} is another one. Restore it."
                )
            self._held[name] = text
        return self._held[hash]

    def done(self, hashes: Sequence[str]) -> None:
        """Say that a call is through with its texts."""
        for hash in hashes:
            self._left[hash] -= 1
            if not self._left[hash]:
                del self._left[hash], self._held[hash]

    def _stored(self) -> Iterator[tuple[str, str]]:
        path = self._path
        try:
            if missing := {"hash", "text"} - set(parquet_columns(path)):
                raise CorruptTable(f"{path} has no column {', '.join(sorted(missing))}. Restore it.")
            for names, texts in zip(parquet_values(path, "hash"), parquet_values(path, "text"), strict=True):
                for name, text in zip(names.to_pylist(), texts.to_pylist(), strict=True):
                    if not isinstance(name, str) or not isinstance(text, str):
                        raise CorruptTable(f"{path} holds what is no text. Restore it.")
                    yield name, text
        except FileNotFoundError as e:
            raise CorruptTable(f"{path} is missing. Restore it.") from e
        except (OSError, ValueError) as e:
            raise CorruptTable(f"{path} is not a readable Parquet file: {e}. Restore it.") from e


_STEP = 4096
"""Rows that are Python objects at a time."""

T = TypeVar("T")


def chunked(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Consecutive items as lists; the last may be shorter."""
    left = iter(items)
    while some := list(islice(left, size)):
        yield some


def _rows(table: pa.Table, rows: Sequence[int], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    own = table.select(columns)
    for some in chunked(rows, _STEP):
        yield from own.take(pa.array(some, pa.int64())).to_pylist()


def named(row: Mapping[str, Any]) -> list[str]:
    """Digests of the texts that a row of the calls names."""
    return [h for h in (*(row["messages"] or ()), row["reply"], row["reasoning"]) if h is not None]


def _call(row: dict[str, Any], texts: dict[str, str]) -> KeptCall:
    messages = zip(row["roles"] or (), row["messages"] or (), strict=True)
    return KeptCall(
        stage=row["stage"],
        owner=row["owner"],
        latent=row["latent"],
        repeat=row["repeat"],
        trial=row["trial"],
        part=row["part"],
        items=tuple(row["items"] or ()),
        round=row["round"],
        form=row["form"],
        member=row["member"],
        messages=tuple(Message(role, texts[h]) for role, h in messages),
        reply=texts.get(row["reply"], ""),
        reasoning=texts.get(row["reasoning"], ""),
        outcome=Outcome(row["outcome"]),
        cause=row["cause"] or "",
        finish=row["finish"] or "",
        answers=tuple(row["answers"] or ()),
        probabilities=tuple(row["probabilities"] or ()),
        value=row["value"],
    )
