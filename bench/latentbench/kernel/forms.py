"""What a trial wants to be told: the form of its answer, apart from any wording.

A judge that reads text finds the form in the prompt. One that answers the trial itself (a mock, an oracle) reads it here, so
it serves a scorer that nobody here has heard of. Guessing the form from the allowed answers is the tempting alternative, and a
scorer with words of its own would be answered with noise.

Whether an answer is written in one go or is read as log-probabilities at places of a text is the request's business (`Chat` or
`Choice`); each form says how it is written and what stands at each place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class YesNo:
    """Does each window activate? Written: a list with a 0 or 1 for every window. At places: one of two words, one place a window.

    Attributes:
        no, yes: the words.
    """

    no: str = "No"
    yes: str = "Yes"
    name: Literal["yes_no"] = "yes_no"

    def __post_init__(self) -> None:
        _differ((self.no, self.yes))


@dataclass(frozen=True, slots=True)
class Levels:
    """How strongly, in equal steps from not at all to fully?

    Written: for windows the word of each, for tokens a list of numbers from 0 to the last level. At places: one of the words, one
    place for every window or token.

    Attributes:
        answers: words of the levels, the lowest first.
        per: what has a level.
    """

    answers: tuple[str, ...]
    per: Literal["window", "token"] = "window"
    name: Literal["levels"] = "levels"

    def __post_init__(self) -> None:
        _differ(self.answers)


@dataclass(frozen=True, slots=True)
class Which:
    """Which of n groups of windows is the one that activates, or the only one that does not?

    The windows stand group by group, equally many in each; the truth is the group's number, from 1. Written and at a place: that
    number.

    Attributes:
        n: number of groups.
    """

    n: int
    name: Literal["which"] = "which"

    def __post_init__(self) -> None:
        if self.n < 2:
            raise ValueError(f"which of {self.n} groups is no question; it takes two or more")


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Which windows activate, any number of them? Written: their numbers from 1 with commas between them, or a word for none.

    Attributes:
        none: the word.
    """

    none: str = "none"
    name: Literal["any_of"] = "any_of"

    def __post_init__(self) -> None:
        if not self.none.strip() or self.none.strip().isdigit():
            raise ValueError(
                f"the answer 'none of them' is a word, and {self.none!r} could be taken for something else"
            )


@dataclass(frozen=True, slots=True)
class Ordering:
    """Nothing is answered in words: likelihoods or vectors of the texts put the windows in an order."""

    name: Literal["ordering"] = "ordering"


@dataclass(frozen=True, slots=True)
class Write:
    """A text that shows what the explanation describes; any text where there is no explanation.

    Attributes:
        register: kind of text.
    """

    register: str = "a text"
    name: Literal["write"] = "write"


Form = YesNo | Levels | Which | AnyOf | Ordering | Write


def _differ(answers: Sequence[str]) -> None:
    """Refuse words that a reader could not tell apart: a judge would be given the first of them whatever it answers."""
    said = [a.strip().lower() for a in answers]
    if len(said) < 2 or len(set(said)) < len(said) or "" in said:
        raise ValueError(f"an answer is one of two or more different words, not of {tuple(answers)}")


def words(form: Form, windows: int) -> tuple[str, ...]:
    """The answers that a form allows about so many windows; none where anything may be said."""
    match form:
        case YesNo():
            return form.no, form.yes
        case Levels():
            return form.answers
        case Which():
            return tuple(str(i + 1) for i in range(form.n))
        case AnyOf():
            return form.none, *(str(i + 1) for i in range(windows))
    return ()
