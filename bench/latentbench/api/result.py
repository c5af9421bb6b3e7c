"""A finished run as Python code and notebooks look at it: its tables and its leaderboard are DataFrames, and it shows itself.

It is the run folder and nothing beside it. A result object that is filled while the run goes is the tempting shape, and would
have numbers that no file has: what stands here was read back from disk and checked, as every command does.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from latentbench.kernel.errors import UnknownName
from latentbench.runs.finished import Run, load_run, suite_of
from latentbench.runs.run_table import TABLES

if TYPE_CHECKING:
    import pandas as pd

    from latentbench.api.run_latent import RunLatent
    from latentbench.suites.store import Suite
    from latentbench.views.page import Page


class Result(Run):
    """A finished run with its ranked tables.

    `explanations`, `judgements` and `scores` are DataFrames, `record` is `run.json`, `per_latent()` has one row for each latent
    under each explainer, scorer and judge. In a notebook it shows its leaderboard.
    """

    @classmethod
    def of(cls, folder: str | Path) -> Result:
        """Read a run folder.

        Raises:
            RunError: no finished run there.
            CorruptTable, DigestMismatch: a table that is not what the run wrote.
        """
        run = load_run(Path(folder))
        return cls(run.folder, run.record, *(run.table(name) for name in TABLES))

    @cached_property
    def suite(self) -> Suite | None:
        """The suite that it ran on, with the windows; None where that suite, in that state, is not here."""
        return suite_of(self)

    def leaderboard(self, *, paired: bool = False, by_coder: bool = False) -> pd.DataFrame:
        """The ranked tables as one frame: a row for each explainer under each scorer, judge and group of latents.

        Args:
            paired: rank by paired differences with Holm's correction instead of by intervals.
            by_coder: also one table per coder, where the run has several.

        Returns:
            Columns `scorer`, `judge`, `coders`, `kind`, `rank_low`, `rank_high`, `explainer`, `is_floor`, `metric`, `estimate`,
            `low`, `high` (95 % interval over latents), `floor`, `n` latents, `worst`, `best` (bounds under missing
            judgements), `coverage`, then everything else that `leaderboard.csv` has. Only the headline metric of each scorer.
        """
        from latentbench.api.actions import leaderboard

        return leaderboard([self], paired=paired, by_coder=by_coder)

    def latent(self, latent: str) -> RunLatent:
        """A latent of this run, to look at: its windows, explanations, scores and verdicts.

        Args:
            latent: its id, `coder/12`.

        Raises:
            UnknownName: the run has no such latent.
        """
        from latentbench.api.run_latent import RunLatent

        if latent not in self.record.latents:
            raise UnknownName(f"latent of run {self.id}", latent, self.record.latents)
        return RunLatent(latent, self)

    def report(self, out: str | Path | None = None) -> Path:
        """Write `report.html`, a page that needs no network, and return its path.

        Args:
            out: folder for it; the run's own by default.
        """
        from latentbench.leaderboards.run_page import write_report

        return write_report(self.folder, out=None if out is None else Path(out))

    @cached_property
    def _page(self) -> Page:
        # Kept: a notebook asks for it at every look, and every score is computed again for it.
        from latentbench.leaderboards.board_page import board_page
        from latentbench.leaderboards.ranked_runs import rank

        ranked = rank([self], any_split=True)
        return board_page(ranked.tables, ranked.remarks)

    def _repr_html_(self) -> str:
        return self._page.fragment()

    def __repr__(self) -> str:
        labels = [sorted({getattr(cell, part).label for cell in self.record.cells}) for part in PARTS]
        named = "; ".join(f"{part}s {', '.join(names)}" for part, names in zip(PARTS, labels, strict=True))
        return f"<Result {str(self.folder)!r}: {len(self.record.latents)} latents of {self.record.suite.name}; {named}>"


PARTS = ("explainer", "scorer", "judge")
"""What is crossed in a run."""
