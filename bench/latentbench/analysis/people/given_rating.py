"""What one person said of one explanation, or of two: the row of the ratings table, and the line of its journal.

A rating is of a text and not of an explainer: two explainers that wrote the same words get the same rating, and whoever rates
cannot know whose they are. Storing the explainer is the tempting way, and then the same words are asked twice and differ.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass

import pyarrow as pa

from latentbench.kernel.conform import conform

SCALE, PAIR = "scale", "pair"
TASKS = (SCALE, PAIR)
LEVELS = (1, 2, 3, 4, 5)
CHOICES = (-1, 0, 1)
NAME = re.compile(r"[\w.-][\w .-]{0,39}")
"""What a rater may be called: no sign that a terminal, a page or a spreadsheet reads as a command."""
LONGEST = 86_400.0

RATINGS = pa.schema(
    [
        ("rater", pa.string()),
        ("task", pa.string()),  # scale, pair
        ("latent", pa.string()),
        ("first", pa.string()),  # hash of the text
        ("second", pa.string()),  # hash of the other text; "" on a scale
        ("value", pa.int32()),  # scale: 1 to 5; pair: 1 the first is better, -1 the second, 0 neither
        ("seconds", pa.float64()),  # from the sight of the item to the answer; null where it is not known
        ("source", pa.string()),  # page, or the name of the file that it came from
    ]
)

RatingKey = tuple[str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class GivenRating:
    """One rating; the fields are the columns of RATINGS.

    Raises:
        ValueError: it cannot be, as a 6 on a scale of 5; says what.
    """

    rater: str
    task: str
    latent: str
    first: str
    second: str
    value: int
    seconds: float | None
    source: str

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task is {self.task!r}, expected {SCALE} or {PAIR}")
        if not isinstance(self.rater, str) or not NAME.fullmatch(self.rater):
            raise ValueError(
                f"rater is {str(self.rater)[:60]!r}, expected at most 40 letters, digits, spaces, dots and hyphens"
            )
        allowed = LEVELS if self.task == SCALE else CHOICES
        if isinstance(self.value, bool) or self.value not in allowed:
            raise ValueError(f"value is {self.value!r}, expected one of {', '.join(map(str, allowed))}")
        if not self.first or (self.task == PAIR) != bool(self.second):
            raise ValueError("a scale is of one text, a pair of two")
        if self.task == PAIR and not self.first < self.second:
            raise ValueError("the texts of a pair stand in the order of their hashes")
        if self.seconds is not None and not 0 <= self.seconds <= LONGEST:
            raise ValueError(f"seconds is {self.seconds!r}, expected 0 to {LONGEST:.0f}")

    @property
    def key(self) -> RatingKey:
        """What a later rating replaces."""
        return (self.rater, self.task, self.latent, self.first, self.second)


def pair_rating(
    rater: str, latent: str, texts: tuple[str, str], better: int, seconds: float | None, source: str
) -> GivenRating:
    """A rating of two texts in any order.

    Args:
        better: 1 the first of `texts`, -1 the second, 0 neither.
    """
    first, second = sorted(texts)
    return GivenRating(rater, PAIR, latent, first, second, better if texts[0] == first else -better, seconds, source)


def rating_line(rating: GivenRating) -> str:
    """The line of a rating in the journal, as JSON."""
    return json.dumps(asdict(rating), ensure_ascii=False)


def rating_unit(line: bytes) -> GivenRating:
    """The rating of a line.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    held = json.loads(line)
    seconds = held["seconds"]
    if seconds is not None and not math.isfinite(seconds):
        raise ValueError("seconds is not finite")
    return conform(GivenRating(**{field.name: held[field.name] for field in RATINGS}), GivenRating)
