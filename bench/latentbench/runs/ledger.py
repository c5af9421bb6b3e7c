"""What a run has paid, written down answer by answer.

A unit of a journal says what its calls cost, too, but is written when its whole batch has come back. A session that was killed in
a batch finds the answers in the reply cache when it goes on, where nothing says that this run has paid for them. So every chunk
of answers is a line here, appended when it has been stored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from latentbench.judges.cache.cached_judge import CachedJudge
from latentbench.judges.judge import Judge
from latentbench.kernel.files import unwritable, write_text, writing
from latentbench.kernel.requests import Reply
from latentbench.kernel.seal import Seal, check, sealed
from latentbench.panels.panel_judge import asked
from latentbench.runs.record import Paid

LEDGER = "paid.jsonl"


@contextmanager
def counted(folder: Path, judges: Sequence[Judge], before: Callable[[], Paid]) -> Iterator[None]:
    """Write down what is paid to these judges while the block runs.

    Nothing is written where one of them has no cache in front: only that one sees each answer as it comes, so the units are all
    that can be added up.

    Args:
        before: what was paid before there was a ledger.

    Raises:
        DataError: the ledger cannot be written.
    """
    parts = asked(judges)
    cached = list(dict.fromkeys(judge for judge in parts if isinstance(judge, CachedJudge)))
    if not cached or not all(isinstance(judge, CachedJudge) for judge in parts):
        yield
        return
    path = folder / LEDGER
    if not path.exists():
        _settle(path, before())
    elif not path.read_bytes().endswith(b"\n"):  # the next line must not go on in a torn one
        _settle(path, total(folder) or Paid())
    with writing(path):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)

    def add(replies: Sequence[Reply]) -> None:
        calls = [reply.usage for reply in replies if not reply.cached]
        if not calls:
            return
        line = _line(Paid.of(calls))
        try:
            # A line that is cut short is none, so the next one must not go on in it.
            if os.write(file, line) < len(line):
                os.write(file, b"\n")
        except OSError as e:
            raise unwritable(path, e) from e

    for judge in cached:
        judge.heard.append(add)
    try:
        yield
    finally:
        for judge in cached:
            judge.heard.remove(add)
        os.close(file)
    if path.read_bytes().count(b"\n") > 1:
        _settle(path, total(folder) or Paid())


def total(folder: Path) -> Paid | None:
    """What a run has paid so far; None where it has no ledger."""
    try:
        with (folder / LEDGER).open("rb") as f:
            held = (json.loads(line) for line in (line.rstrip(b"\n") for line in f) if check(line) is Seal.WHOLE)
            return sum((Paid.model_validate({name: n for name, n in h.items() if name != "sum"}) for h in held), Paid())
    except OSError:
        return None


def _settle(path: Path, so_far: Paid) -> None:
    """Everything so far as one line."""
    write_text(path, _line(so_far).decode())


def _line(spent: Paid) -> bytes:
    return sealed(json.dumps(spent.model_dump(), separators=(",", ":")).encode()) + b"\n"
