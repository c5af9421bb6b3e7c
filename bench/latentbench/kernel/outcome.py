"""What became of a call; apart from replies, which may hold vectors, so that `--help` loads no numerics."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """What became of one call. Only `OK` is scored; the others lower coverage, never the score."""

    OK = "ok"
    REFUSAL = "refusal"
    """The judge answered that it will not answer."""
    PARSE = "parse"
    """The judge answered, and the answer has no legal reading."""
    API = "api"
    """The call failed after its retries."""
    TIMEOUT = "timeout"
    SKIPPED = "skipped"
    """Never asked: the explanation it needed is missing, or the prompt does not fit the judge's context."""
