"""What a run must have to be handed in: floors to compare with, and versions that somebody else knows.

The same rules hold where the folder is written and where it is checked. The second place alone would be enough to keep a board
clean; the tempting saving costs every submitter a round of letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from latentbench.kernel.registry import BUILTIN
from latentbench.kernel.tasks import available
from latentbench.prompts.task import read_task
from latentbench.runs.environment import versions
from latentbench.runs.record import RECORD, RunRecord

FLOORS = ("empty", "shuffled")
"""Explainers that every run on a leaderboard has: no text, and the text of another latent."""
PACKAGE = "latentbench"
_NUMBERS = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_VERSION = re.compile(r"([0-9]+)-([0-9]+)")


def unfloored(record: RunRecord) -> Iterator[str]:
    """Pairs of scorer and judge without the floors that a score is compared with, one sentence each."""
    for scorer, judge in dict.fromkeys((cell.scorer.label, cell.judge.label) for cell in record.cells):
        held = {
            cell.explainer.id.partition("@")[0]
            for cell in record.cells
            if (cell.scorer.label, cell.judge.label) == (scorer, judge) and cell.explainer.is_floor
        }
        missing = [name for name in FLOORS if name not in held]
        if missing:
            yield (
                f"the floor {' and '.join(missing)} is missing under {scorer}, judged by {judge}: without what an explainer "
                "gets that knows nothing, nobody can say what a score is worth. Add it to the spec and "
                "run again; what was answered is kept"
            )


def untold(record: RunRecord) -> Iterator[str]:
    """Versions in a record that are not known here, one sentence each.

    A scorer is known if scores can be computed again with it, which `latentbench.leaderboards.rescored` finds out. An explainer
    of another package need not be here: its texts are.
    """
    said, own = record.versions.get(PACKAGE), versions().get(PACKAGE, "0")
    if said is None or not _NUMBERS.match(said):
        yield f"{RECORD} does not say with which version of {PACKAGE} it was made ({said!r})"
    elif _release(said) > _release(own):
        yield f"it was made with {PACKAGE} {said}, an unknown version here, where {own} is installed"
    for entry in record.spec.scorers:
        # A path would be one of whoever checks, and name any file there.
        if entry.use not in available("scorers"):
            yield f"scorer {entry.label!r} is {entry.use!r}, which is no scorer that is known here by its name"
    for explainer in record.explainers.values():
        name, _, version = explainer.id.partition("@")
        known = _built_in(name)
        found = _VERSION.fullmatch(version)
        if found is None:
            yield f"explainer {explainer.label!r} is {explainer.id!r}, which names no version"
        elif known is not None and tuple(map(int, found.groups())) > known:
            yield f"explainer {explainer.id} is an unknown version: here it is {name}@{known[0]}-{known[1]}"


def _release(version: str) -> tuple[int, ...]:
    found = _NUMBERS.match(version)
    return tuple(int(part[:9]) for part in found[0].split(".")) if found else ()


def _built_in(name: str) -> tuple[int, int] | None:
    """Version of an explainer that this package has, None of others."""
    if name not in available("explainers"):
        return None
    task = read_task("explainers", name)[2]
    found = _VERSION.fullmatch(task.version)
    return (int(found[1]), int(found[2])) if found and task.implementation in BUILTIN["explainer"] else None
