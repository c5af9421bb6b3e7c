"""What a folder is that somebody wants to look at: a run, published results, or a study, which is a folder with runs or a
walkthrough in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentbench.analysis.walkthrough.sentence_walk import FILE as WALK
from latentbench.kernel.errors import RunError
from latentbench.leaderboards.results import RESULTS
from latentbench.runs.record import RECORD, read_record

COPIES = "mlruns"
"""MLflow's local store, with the files of every run that was tracked."""


@dataclass(frozen=True)
class SiteTarget:
    """What a site is made of.

    Attributes:
        title: name of what is shown.
        runs: folders of runs, sorted.
        published: folder with committed results; None without.
        walks: folders with a walkthrough of a sentence, sorted.
    """

    title: str
    runs: tuple[Path, ...] = ()
    published: Path | None = None
    walks: tuple[Path, ...] = ()

    @property
    def going_on(self) -> tuple[Path, ...]:
        """Runs that have not ended."""
        return tuple(folder for folder in self.runs if not read_record(folder).ended)


def site_target(folder: Path) -> SiteTarget:
    """What a folder is.

    Raises:
        RunError: nothing that could be shown.
    """
    if (folder / RECORD).is_file():
        return SiteTarget(read_record(folder).id, (folder,), walks=_walks(folder))
    if (folder / RESULTS).is_dir():
        return SiteTarget("Leaderboards", published=folder)
    runs = sorted(path.parent for path in _found(folder, RECORD))
    walks = _walks(folder)
    if not runs and not walks:
        raise RunError(
            f"{folder} is no run (it has no {RECORD}), has no runs in it, no {WALK}, and no published rows ({RESULTS}/). "
            "Name the folder of a run, of a study, or leaderboards."
        )
    return SiteTarget(folder.resolve().name, tuple(_distinct(runs)), walks=walks)


def _walks(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(path.parent for path in _found(folder, WALK)))


def _found(folder: Path, name: str) -> Iterator[Path]:
    """Files of a name in a folder, but for the copies that MLflow keeps."""
    places = folder.rglob(name) if folder.is_dir() else ()
    return (path for path in places if COPIES not in path.relative_to(folder).parts)


def _distinct(runs: Sequence[Path]) -> Sequence[Path]:
    """Folders whose runs have different ids.

    Raises:
        RunError: two have one.
    """
    found: dict[str, Path] = {}
    for folder in runs:
        other = found.setdefault(read_record(folder).id, folder)
        if other != folder:
            raise RunError(f"{other} and {folder} are both run {folder.name!r}; leave one out.")
    return runs
