"""What people said of a run, as MLflow gets it: a metric for each scorer, `people/SCORER/rho`, and the ratings as a file.

They stand with the whole run, above its rows, because a correlation is over the explanations of all explainers.
"""

from __future__ import annotations

from dataclasses import dataclass

from latentbench.tracking.entries import DETAILS, known, part

PEOPLE = "people"
"""First word of the metrics that set a run against people."""
RATINGS_CSV = "ratings.csv"


@dataclass(frozen=True, slots=True)
class PeopleFigure:
    """One figure with its interval.

    Attributes:
        scorer: whose it is; empty for a figure of the raters.
        name: what it is, as `rho`.
        estimate, low, high: NaN where it is not known.
        n: explanations or latents that it rests on.
    """

    scorer: str
    name: str
    estimate: float
    low: float
    high: float
    n: int

    @property
    def metrics(self) -> dict[str, float]:
        """Names and values in MLflow; nothing where there is no estimate."""
        place = f"{PEOPLE}/{part(self.scorer)}" if self.scorer else PEOPLE
        ends = {"_low": self.low, "_high": self.high, "_n": float(self.n)}
        found = known({f"{place}/{self.name}": self.estimate})
        return found and found | known({f"{place}/{DETAILS}/{self.name}{end}": value for end, value in ends.items()})


@dataclass(frozen=True, slots=True)
class TrackedPeople:
    """What is logged of the ratings of a run.

    Attributes:
        figures: as metrics of the run.
        ratings: text of the artifact `ratings.csv`.
    """

    figures: tuple[PeopleFigure, ...]
    ratings: str

    @property
    def metrics(self) -> dict[str, float]:
        """All metrics."""
        return {name: value for figure in self.figures for name, value in figure.metrics.items()}
