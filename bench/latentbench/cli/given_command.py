"""The command as it was given, for the record of a run.

A command that is put together again from what its options mean leaves out those that were forgotten when it was written, and a
reader who types it gets another run.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

WORDS = "latentbench.words"


class Remembering(TyperGroup):
    """The program's group of commands, which keeps the words that it was called with."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of a call, with the words of it."""
        words = tuple(args)
        context = super().make_context(info_name, args, parent, **extra)
        context.meta[WORDS] = words
        return context


def given(context: typer.Context) -> str:
    """The command line of this call, as it can be typed again, without what is secret in it."""
    from latentbench.kernel.veil import veiled

    words: Sequence[str] = context.meta.get(WORDS, ())
    return veiled(shlex.join(["bench", *words]))
