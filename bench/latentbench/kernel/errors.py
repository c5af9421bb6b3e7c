"""Every failure that a user can cause or must act on, as one tree.

    BenchError                      exit code 2: the message says what was wrong, where, and what to do
    ├── SpecError                   a YAML file or a command-line value does not fit its schema
    │   └── UnknownName             a name that no registry knows; carries the near misses
    ├── DataError                   a file that should hold data does not
    │   ├── EmptyCorpus             no text, or no context long enough for one window
    │   ├── CorruptTable            a Parquet or JSONL file that cannot be read, or misses columns
    │   └── DigestMismatch          content that no longer hashes to the digest it was frozen under
    ├── ModelError                  weights or tokenizer cannot be had or loaded
    │   └── FetchError              a package, hub or checksum problem while fetching
    ├── CoderError                  a coder's folder cannot be used
    │   └── CoderMismatch           shapes or d_model do not fit the configuration or the subject
    ├── CapabilityError             a judge cannot answer the kind of question that a scorer asks
    ├── JudgeError                  a judge's endpoint answers no call at all
    └── RunError                    a run folder cannot be created, resumed or read

A failed *call* to a judge or explainer is deliberately not in this tree. It is an outcome (`kernel.requests.Outcome`), kept
as a row beside the successful ones, because one refusal must never lose the ten thousand answers around it.
What code of other packages raises becomes such an outcome, too (`kernel.boundary`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from latentbench.kernel.veil import veiled

LONGEST, LISTED = 80, 60
"""Characters of a wrong name, and right names, that a message shows."""
BREAK = re.compile(r"\s*[\r\n]\s*")


class BenchError(Exception):
    """Base of all errors shown to the user as one message, without a traceback and without a password or token in it."""

    exit_code = 2

    def __str__(self) -> str:
        """The message."""
        return veiled(super().__str__())


class SpecError(BenchError):
    """A specification (YAML, command line) that does not fit its schema."""


class UnknownName(SpecError):
    """A name that is not registered.

    Args:
        kind: what was looked up, as the user calls it ("scorer", "suite").
        name: what the user wrote.
        known: every name that would have worked.
        where: what stands before the message, such as the file that has the name.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], where: str = "") -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        near = difflib.get_close_matches(name[:LONGEST], self.known, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
        more = f" and {len(self.known) - LISTED} more" if len(self.known) > LISTED else ""
        listing = ", ".join(self.known[:LISTED]) or "none"
        # Half of a secret looks like none, so it is veiled before it is cut.
        safe = veiled(name)
        shown = repr(safe) if len(safe) <= LONGEST else f"{safe[:LONGEST]!r}... ({len(name):,} characters)"
        super().__init__(f"{where}unknown {kind} {shown}.{hint} Known: {listing}{more}.")


class DataError(BenchError):
    """A file that should hold data does not. Its message is one line, whatever a library said over several."""

    def __str__(self) -> str:
        """The message."""
        return BREAK.sub(" ", super().__str__())


class EmptyCorpus(DataError):
    """The corpus yields no context long enough for a single window."""


class CorruptTable(DataError):
    """A table on disk that cannot be read or misses declared columns."""


class DigestMismatch(DataError):
    """Frozen content whose digest is not the recorded one."""


class ModelError(BenchError):
    """Weights or tokenizer that cannot be loaded."""


class FetchError(ModelError):
    """Weights that cannot be fetched, or that do not have the pinned checksum."""


class CoderError(BenchError):
    """A coder's folder that cannot be used."""


class CoderMismatch(CoderError):
    """Shapes that contradict the coder's configuration or the subject's d_model."""


class CapabilityError(BenchError):
    """A judge that cannot answer the kind of question that a scorer asks."""


class JudgeError(BenchError):
    """An endpoint that answers no call: it is down, or the address, the key, the model's name or an option is wrong."""


class RunError(BenchError):
    """A run folder that cannot be created, resumed or read."""
