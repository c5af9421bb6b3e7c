"""Keeping what a run asks and hears: out of the exchanges, into two files of lines, and from these into tables when it ends.

`calls.jsonl` has a line for each unit of work, `texts.jsonl` one for each text that was not there before. Both are written before
the unit itself, so that a unit that is done has its calls; one that is done again has a later line, which replaces the earlier.
Keeping the calls in memory until the end would be one file less, and ten thousand latents ask some gigabytes of text.

A reply out of the cache is kept like one that was paid: whoever reads a run wants to see what was said, whenever that was.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from latentbench.explainers.explainer import Explanation
from latentbench.kernel.boundary import Fault
from latentbench.kernel.errors import CorruptTable, DigestMismatch
from latentbench.kernel.files import replacing, writing
from latentbench.kernel.identity import table_digest, text_digest
from latentbench.kernel.inputs import lines
from latentbench.kernel.requests import (
    Activate,
    Chat,
    Choice,
    Continuation,
    Direct,
    Embed,
    Message,
    Outcome,
    Passed,
    Patched,
    Projected,
    Reply,
    Simulate,
)
from latentbench.kernel.seal import Seal, check
from latentbench.kernel.tables import table_of, write_table
from latentbench.kernel.trial import Trial
from latentbench.kernel.veil import veiled
from latentbench.runs.journal import Journal
from latentbench.runs.kept import (
    CALLS,
    CALLS_FILE,
    EXPLAIN,
    JUDGE,
    SLOT,
    TEXTS,
    TEXTS_FILE,
    KeptCall,
    chunked,
    named,
    read_calls,
)
from latentbench.runs.plan import Cell, Plan
from latentbench.runs.record import RunRecord
from latentbench.runs.rounds import Exchange
from latentbench.runs.run_spec import Keep
from latentbench.scorers.scorer import Judgement

KNOWN = 2_000_000
"""Digests that are held so that no text is written twice; beyond this they are forgotten, and the table leaves the second out."""
LONGEST = 10_000_000
"""Characters of a text at most: a line of a file of lines is read up to 64 MiB, and a character may take six bytes of it."""
_ROWS, _BYTES = 2048, 8 << 20
"""Calls and bytes of text that are Python objects at a time."""

Unit = tuple[str, str, str, int]
"""Stage, owner, latent and repeat."""


def explained_calls(label: str, repeat: int, explanation: Explanation, exchange: Exchange) -> list[KeptCall]:
    """What an explainer asked about a latent; which is nothing of one that asks nobody."""
    read = (explanation.outcome, explanation.error or "")
    return _calls((EXPLAIN, label, explanation.latent, repeat), None, exchange, read)


def judged_calls(
    unit: Unit, trials: list[Trial] | Fault, exchanges: Sequence[Exchange], judgements: Sequence[Judgement]
) -> list[KeptCall]:
    """What a scorer asked about a latent, trial by trial; nothing where it asked nothing."""
    if isinstance(trials, Fault) or not exchanges:
        return []
    by_trial: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        by_trial[judgement.trial].append(judgement)
    found: list[KeptCall] = []
    for trial, exchange in zip(trials, exchanges, strict=True):
        worst = next((j for j in by_trial[trial.id] if j.outcome is not Outcome.OK), None)
        read = (worst.outcome, worst.error or "") if worst else (Outcome.OK, "")
        found += _calls(unit, trial, exchange, read)
    return found


def _calls(unit: Unit, trial: Trial | None, exchange: Exchange, read: tuple[Outcome, str]) -> list[KeptCall]:
    """The calls of an exchange.

    Args:
        read: what was made of the replies. It is what became of those of the last round, where none of all failed by itself.
    """
    items = tuple(j.item for j in trial.judged if j.item is not None) if trial else ()
    last = max((round for round, _ in exchange.heard), default=0)
    if all(reply.ok for reply in exchange.replies):
        outcome, cause = read
    else:
        outcome, cause = Outcome.OK, ""
    found = []
    for (round, request), reply in zip(exchange.heard, exchange.replies, strict=True):
        member, direct = (request.member, request.request) if isinstance(request, Passed) else ("", request)
        own = (outcome, cause) if reply.ok and round == last else (reply.outcome, reply.error or "")
        call = KeptCall(
            *unit,
            trial=trial.id if trial else "",
            part=trial.part if trial else "",
            items=items,
            round=round,
            form=type(direct).__name__.lower(),
            member=member,
            messages=_messages(direct),
            reply=reply.text or "",
            reasoning=reply.reasoning or "",
            outcome=own[0],
            cause="" if own[0] is Outcome.OK else own[1],
            finish=reply.finish or "",
        )
        found.append(_with_numbers(call, direct, reply))
    return found


def _messages(request: Direct) -> tuple[Message, ...]:
    """What a person can read of a request."""
    match request:
        case Chat():
            return request.messages
        case Choice():
            if request.slots == ("",):
                return request.messages
            return (*request.messages, Message("slots", SLOT.join([*request.slots, ""])))
        case Continuation():
            return Message("context", request.context), Message("text", request.text)
        case Embed():
            return (Message("query" if request.query else "document", request.text),)
        case Simulate():
            windows = (Message("window", window.text) for window in request.trial.windows)
            return (Message("explanation", request.trial.explanation), *windows)
        case Patched():
            return _messages(request.chat)
        case Activate() | Projected():
            return (Message("text", request.text),)


def _with_numbers(call: KeptCall, request: Direct, reply: Reply) -> KeptCall:
    if isinstance(request, Choice):
        places = reply.logprobs or ()
        with np.errstate(over="ignore"):
            p = tuple(np.exp(np.asarray(list(chain(*places)), np.float64)).tolist())
        return replace(call, answers=request.answers, probabilities=p)
    if isinstance(request, Simulate):
        return replace(call, probabilities=reply.windows or ())
    if isinstance(request, Projected):
        return replace(call, value=reply.windows[0] if reply.windows else None)
    if isinstance(request, Activate):
        return replace(call, value=max(reply.windows, default=None) if reply.windows else None)
    return replace(call, value=reply.loglik) if isinstance(request, Continuation) else call


class Keeper:
    """The calls of a run that goes on. One process at a time writes (`latentbench.runs.ownership`).

    Args:
        folder: of the run.
        keep: which calls are kept.
    """

    def __init__(self, folder: Path, keep: Keep) -> None:
        self.folder, self.keep = folder, keep
        self._calls, self._texts = _Lines(folder / "calls.jsonl"), _Lines(folder / "texts.jsonl")
        self._known: set[int] | None = None

    def explained(self, label: str, repeat: int, explanation: Explanation, exchange: Exchange) -> None:
        """Keep what an explainer asked about a latent; its explanation is about to be written.

        Raises:
            DataError: it cannot be written.
        """
        if self.keep != "none":
            calls = explained_calls(label, repeat, explanation, exchange)
            self.add((EXPLAIN, label, explanation.latent, repeat), calls)

    def judged(
        self,
        cell: Cell,
        latent: str,
        trials: list[Trial] | Fault,
        exchanges: Sequence[Exchange],
        judgements: Sequence[Judgement],
    ) -> None:
        """Keep what a scorer asked about a latent in a cell; its judgements are about to be written.

        Raises:
            DataError: it cannot be written.
        """
        unit = (JUDGE, cell.id, latent, cell.repeat)
        if self.keep != "none":
            self.add(unit, judged_calls(unit, trials, exchanges, judgements))

    def add(self, unit: Unit, calls: Sequence[KeptCall]) -> None:
        """Keep the calls of a unit of work; they replace those that were kept of it before.

        Raises:
            DataError: they cannot be written.
        """
        failed = {call.trial for call in calls if not call.ok}
        rows = [_row(call, self._text) for call in calls if self.keep == "all" or call.trial in failed]
        self._calls.append({"unit": unit, "calls": rows})

    def close(self) -> None:
        """Flush to disk and close.

        Raises:
            DataError: the disk does not take it.
        """
        for held in (self._texts, self._calls):
            held.close()

    def write_tables(self, plan: Plan) -> dict[str, str]:
        """Write `calls.parquet` and `texts.parquet`, or remove them where nothing is kept; name -> digest.

        What is held meanwhile is a few numbers for each unit and each text, and the columns of calls; no texts.

        Raises:
            DataError: they cannot be written.
        """
        places = self.folder / CALLS_FILE, self.folder / TEXTS_FILE
        if self.keep == "none":
            for path in places:
                with writing(path):
                    path.unlink(missing_ok=True)
            return {}
        stored = {int(line["hash"], 16): place for place, line in self._texts.stored()}
        chunks, order = [CALLS.empty_table()], dict[int, None]()
        for rows in chunked(self._rows(plan), _ROWS):
            # A text whose line was damaged is lost, and with it the calls that have it: nobody can say what they asked.
            whole = [row for row in rows if all(int(h, 16) in stored for h in named(row))]
            order |= {int(h, 16): None for row in whole for h in named(row)}
            chunks.append(table_of(whole, CALLS))
        texts = (line["text"] for line in self._texts.at(stored[n] for n in order))
        found = {"texts": _write_texts(places[1], texts, [f"{n:016x}" for n in order])}
        return found | {"calls": write_table(pa.concat_tables(chunks), places[0])}

    def _rows(self, plan: Plan) -> Iterator[dict[str, Any]]:
        """Calls in the order of the plan, latent by latent: what several ask about one window stands together."""
        latest: dict[Unit, int] = {}
        for place, line in self._calls.stored():
            stage, owner, latent, repeat = line["unit"]
            latest[stage, owner, latent, repeat] = place
        wanted: list[Unit] = []
        for latent in plan.ids:
            repeats = range(plan.spec.repeats)
            wanted += [(EXPLAIN, label, latent, repeat) for label in plan.explainers for repeat in repeats]
            wanted += [(JUDGE, cell.id, latent, cell.repeat) for cell in plan.cells]
        for line in self._calls.at(latest[unit] for unit in wanted if unit in latest):
            own = dict(zip(("stage", "owner", "latent", "repeat"), line["unit"], strict=True))
            yield from (own | row for row in line["calls"])

    def restore(self, record: RunRecord) -> str | None:
        """Write the lines of a run that has ended, where they are not there; returns what is wrong with its tables, if anything.

        What cannot be read of them is left out: no number depends on it. The tables are then set aside, because new ones are
        written in their place, and of two that do not fit each other one may be whole.

        Raises:
            DataError: the lines cannot be written, or the tables not be set aside.
        """
        if "calls" not in record.tables or self._calls.path.exists() or self.keep == "none":
            return None
        with writing(self._texts.path):
            self._texts.path.unlink(missing_ok=True)
        wrong = None
        with replacing(self._calls.path) as part:
            other = Keeper(self.folder, "all")
            other._calls = _Lines(part)
            try:
                calls = read_calls(self.folder, record.tables["calls"])
                for unit, own in groupby(calls, lambda c: (c.stage, c.owner, c.latent, c.repeat)):
                    other.add(unit, list(own))
            except (CorruptTable, DigestMismatch) as e:
                wrong = f"{e} {self._set_aside()}"
            other.close()
            part.touch()
        return wrong

    def _set_aside(self) -> str:
        """Rename both tables, and say to what."""
        names = []
        for path in (self.folder / CALLS_FILE, self.folder / TEXTS_FILE):
            if path.exists():
                aside = path.with_suffix(f".damaged{path.suffix}")
                path.replace(aside)
                names.append(aside.name)
        return f"What is there of the two stays as {' and '.join(names)}." if names else ""

    def settle(self) -> None:
        """Remove the lines of a run whose tables are written and on record."""
        for held in (self._calls, self._texts):
            with suppress(OSError):
                held.path.unlink(missing_ok=True)

    def _text(self, text: str) -> str:
        """The digest of a text, which is kept if it was not."""
        # A window may hold half of a character, which no file can.
        told = veiled(text[:LONGEST].encode("utf-8", "backslashreplace").decode())
        if len(text) > LONGEST:
            told += f" (cut: {len(text) - LONGEST:,} more characters)"
        name = text_digest(told)
        if self._known is None:
            self._known = {int(line["hash"], 16) for _, line in self._texts.stored()}
        if int(name, 16) not in self._known:
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._texts.append({"hash": name, "text": told})
            self._known.add(int(name, 16))
        return name


class _Lines(Journal[dict[str, Any]]):
    """A file of lines that is too long to be read at once."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, lambda held: json.dumps(held, ensure_ascii=False, separators=(",", ":")), json.loads)

    def stored(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Each whole line with its place in the file; a damaged one is left out."""
        if not self.path.exists():
            return
        place = 0
        try:
            for line in lines(self.path):
                if check(line.rstrip(b"\n")) is Seal.WHOLE:
                    yield place, json.loads(line)
                place += len(line)
        except (OSError, ValueError) as e:
            raise CorruptTable(f"{self.path} cannot be read: {e}. Restore or remove it.") from e

    def at(self, places: Iterable[int]) -> Iterator[dict[str, Any]]:
        """The lines at places of the file, which need not be there where none is asked for."""
        places = iter(places)
        first = next(places, None)
        if first is None:
            return
        try:
            with self.path.open("rb") as f:
                for place in chain((first,), places):
                    f.seek(place)
                    yield json.loads(f.readline())
        except (OSError, ValueError) as e:
            raise CorruptTable(f"{self.path} cannot be read: {e}. Restore or remove it.") from e


def _write_texts(path: Path, texts: Iterator[str], hashes: Sequence[str]) -> str:
    """Write the texts with these digests, a few at a time; returns the digest of the list of digests."""
    pairs = zip(hashes, texts, strict=True)
    with (
        replacing(path) as part,
        pq.ParquetWriter(
            part,
            TEXTS,
            compression="zstd",
            compression_level=9,
            use_dictionary=False,
            data_page_size=_BYTES,
            write_page_checksum=True,
        ) as writer,
    ):
        rows: list[dict[str, str]] = []
        size = 0
        for name, text in pairs:
            rows.append({"hash": name, "text": text})
            size += len(text)
            if len(rows) == _ROWS or size > _BYTES:
                writer.write_table(table_of(rows, TEXTS))
                rows, size = [], 0
        writer.write_table(table_of(rows, TEXTS))
    return table_digest({"texts": pa.table({"hash": pa.array(hashes, pa.string())})})


def _row(call: KeptCall, text: Callable[[str], str]) -> dict[str, Any]:
    """A call as its line and its table have it, but for its unit.

    Args:
        text: a text -> its digest.
    """
    return {
        "trial": call.trial,
        "part": call.part,
        "items": list(call.items),
        "round": call.round,
        "form": call.form,
        "member": call.member,
        "roles": [m.role for m in call.messages],
        "messages": [text(m.content) for m in call.messages],
        "reply": text(call.reply) if call.reply else None,
        "reasoning": text(call.reasoning) if call.reasoning else None,
        "answers": list(call.answers),
        "probabilities": list(call.probabilities),
        "value": call.value,
        "outcome": call.outcome.value,
        "cause": veiled(call.cause) or None,
        "finish": call.finish or None,
    }
