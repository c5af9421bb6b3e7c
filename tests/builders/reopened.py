"""The journals of a run that has ended, as they were before it did, for tests that cut or change them."""

from __future__ import annotations

from pathlib import Path

from latentbench.runs.run_journals import explanation_journal, judgement_journal
from latentbench.runs.settling import restore


def reopened(run: Path) -> Path:
    """The folder, with its journals written again."""
    restore([explanation_journal(run), judgement_journal(run)])
    return run
