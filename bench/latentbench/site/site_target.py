"""What a folder is that somebody wants to look at: a run, published results, or a study, which is a folder with runs in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from latentbench.kernel.errors import RunError
from latentbench.leaderboards.results import RESULTS
from latentbench.runs.record import RECORD, read_record


@dataclass(frozen=True)
class SiteTarget:
    """What a site is made of.

    Attributes:
        title: name of what is shown.
        runs: folders of runs, sorted.
        published: folder with committed results; None without.
    """

    title: str
    runs: tuple[Path, ...] = ()
    published: Path | None = None

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
        return SiteTarget(read_record(folder).id, (folder,))
    if (folder / RESULTS).is_dir():
        return SiteTarget("Leaderboards", published=folder)
    runs = sorted(path.parent for path in folder.rglob(RECORD)) if folder.is_dir() else []
    if not runs:
        raise RunError(
            f"{folder} is no run (it has no {RECORD}), has no runs in it, and no published rows ({RESULTS}/). Name the folder of "
            "a run, of a study, or leaderboards."
        )
    return SiteTarget(folder.resolve().name, tuple(_distinct(runs)))


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
