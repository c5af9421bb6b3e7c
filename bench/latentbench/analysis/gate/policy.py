"""What a verdict means for whoever asked: exit code of the command, element of JUnit XML, outcome of a test of pytest.

All three are read off one table, so a pipeline stops or goes on whichever of them it looks at. An element and an outcome chosen
where they are written is the tempting way, and is how a gate that ended with exit code 3 was green in JUnit and in pytest.
"""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """What became of a check, from good to bad."""

    PASS = "pass"
    INCONCLUSIVE = "inconclusive"
    NOT_COMPARABLE = "not comparable"
    FAIL = "fail"


class Inconclusive(StrEnum):
    """What to do where nothing failed and not all is decided."""

    FAIL = "fail"
    SKIP = "skip"
    PASS = "pass"


class State(StrEnum):
    """What became of one check, in the words of JUnit XML; pytest's are the same."""

    PASSED = "passed"
    SKIPPED = "skipped"
    FAILURE = "failure"
    ERROR = "error"

    @property
    def stops(self) -> bool:
        """Whether a pipeline that meets it stops."""
        return self in (State.FAILURE, State.ERROR)


EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 3, Verdict.NOT_COMPARABLE: 4}
"""Exit code of each verdict that stops; 2 is usage and bad input, as everywhere."""
UNDECIDED = {Inconclusive.FAIL: State.FAILURE, Inconclusive.SKIP: State.SKIPPED, Inconclusive.PASS: State.PASSED}


def state(verdict: Verdict, infrastructure: bool = False, inconclusive: Inconclusive = Inconclusive.FAIL) -> State:
    """State of a check.

    Args:
        infrastructure: a failure of it says that the run was not carried out properly: an error, as what cannot be compared.
    """
    match verdict:
        case Verdict.PASS:
            return State.PASSED
        case Verdict.INCONCLUSIVE:
            return UNDECIDED[inconclusive]
        case Verdict.NOT_COMPARABLE:
            return State.ERROR
        case Verdict.FAIL:
            return State.ERROR if infrastructure else State.FAILURE


def exit_code(verdict: Verdict, inconclusive: Inconclusive = Inconclusive.FAIL) -> int:
    """Exit code of a gate with this verdict: 0 exactly if its `state` does not stop."""
    return EXIT_CODES[verdict] if state(verdict, inconclusive=inconclusive).stops else 0
