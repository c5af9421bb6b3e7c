"""A latent of a finished run as a notebook looks at it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from latentbench.api.result import Result
    from latentbench.kernel.latent import LatentView


@dataclass(frozen=True)
class RunLatent:
    """A latent and what a run says of it. In a notebook it shows its windows, explanations, scores and verdicts.

    Attributes:
        id: `coder/12`.
        run: the run that it is of.
    """

    id: str
    run: Result = field(repr=False)

    @cached_property
    def view(self) -> LatentView | None:
        """The latent with its windows; None where the suite of the run is not here."""
        return None if self.run.suite is None else self.run.suite.latent(self.id)

    @property
    def explanations(self) -> pd.DataFrame:
        """Its rows of the run's explanations."""
        return self._own(self.run.explanations)

    @property
    def scores(self) -> pd.DataFrame:
        """Its rows of the run's scores: every metric under every explainer, scorer and judge."""
        return self._own(self.run.scores)

    @property
    def judgements(self) -> pd.DataFrame:
        """Its rows of the run's judgements: what was answered to each question."""
        return self._own(self.run.judgements)

    def _own(self, table: pd.DataFrame) -> pd.DataFrame:
        return table[table["latent"] == self.id].reset_index(drop=True)

    def _repr_html_(self) -> str:
        from latentbench.leaderboards.latent_page import latent_page

        return latent_page(self.run, self.id, self.run.suite).fragment()
