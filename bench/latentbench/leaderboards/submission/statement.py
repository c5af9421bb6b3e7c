"""What only whoever hands in can say: who, what was tuned on which latents, and what has seen the windows that rank.

No file shows any of it, so it is asked for in a small YAML file, and nothing is taken for granted: a question without an answer
is named, and nothing is handed in before all have one. To ask at the terminal is the tempting way, and leaves nothing that a
second person can read, or that a script can give again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field

from latentbench.kernel.config import Frozen, read_yaml, validate
from latentbench.kernel.files import write_text

STATEMENT = "statement.yaml"
LONGEST = 2000
"""Characters of an answer."""


class TunedOn(Frozen):
    """One search, or one afternoon by hand, that chose prompts, examples or settings by their scores."""

    what: str | None = Field(default=None, max_length=LONGEST)
    """What was chosen, such as `the prompt of llm`."""
    study: str | None = Field(default=None, max_length=LONGEST)
    """Where the search can be looked at, or its name; `by hand` for one without a record."""
    suite: str | None = Field(default=None, max_length=LONGEST, pattern=r"^[a-z0-9][a-z0-9._-]*(@\d+-\d+)?$")
    """Suite whose latents it looked at, as `name@version`."""
    split: Literal["tune", "test", "all", "listed"] | None = None
    """Which of them; `listed` are those under `latents`."""
    latents: tuple[str, ...] = ()
    """Ids, where they are listed."""


class Contamination(Frozen):
    """What has seen more than it should have."""

    explainer_saw_test_windows: bool | None = None
    """Whether whatever wrote or chose the explanations has seen test windows of these latents."""
    judge_trained_on_suite: bool | None = None
    """Whether the judge was trained or tuned on windows or explanations of this suite."""
    notes: str | None = Field(default=None, max_length=LONGEST)
    """In words; needed where one of the others is true."""


class Statement(Frozen):
    """`statement.yaml`: every field may be missing when it is read, so that all that are can be named at once."""

    submitter: str | None = Field(default=None, max_length=LONGEST)
    """Who hands in, and how to reach them."""
    about: str | None = Field(default=None, max_length=LONGEST)
    """What the explainers are, and where their code or paper is."""
    tuned: tuple[TunedOn, ...] | None = None
    """Every search behind what is handed in; an empty list says that there was none."""
    contamination: Contamination = Contamination()

    def missing(self) -> list[str]:
        """Fields without an answer, each with what it is to hold."""
        found = [f"{name} ({what})" for name, what in QUESTIONS.items() if not _said(getattr(self, name, None))]
        if self.tuned is None:
            found.append("tuned ([] if nothing was tuned)")
        for number, entry in enumerate(self.tuned or ()):
            found += [
                f"tuned.{number}.{name}" for name in ("what", "study", "suite", "split") if not getattr(entry, name)
            ]
            if entry.split == "listed" and not entry.latents:
                found.append(f"tuned.{number}.latents (the ids that were looked at)")
        held = self.contamination
        for name in ("explainer_saw_test_windows", "judge_trained_on_suite"):
            if getattr(held, name) is None:
                found.append(f"contamination.{name} (true or false)")
        if (held.explainer_saw_test_windows or held.judge_trained_on_suite) and not _said(held.notes):
            found.append("contamination.notes (what was seen, and by what)")
        return found


QUESTIONS: Mapping[str, str] = {
    "submitter": "who hands in, and how to reach you",
    "about": "what the explainers are, and where their code or paper is",
}

_HEAD = """\
# Who hands in, and what the numbers rest on. Nobody can find these answers in the files, so every line is needed.
submitter:      # who you are, and how to reach you
about:          # what the explainers are, and where their code or paper is
# Every search that chose prompts, examples or settings by scores. Write [] if there was none.
# A search: {what: the prompt of llm, study: NAME or address, suite: NAME@VERSION, split: tune, latents: []}
# split is tune, test, all, or listed; listed are the ids under latents.
"""
_TAIL = """\
contamination:
  explainer_saw_test_windows:   # true or false: has what wrote or chose the explanations seen test windows of these latents?
  judge_trained_on_suite:       # true or false: was the judge trained or tuned on this suite?
  notes:                        # in words, where one of them is true
"""


def _said(answer: str | None) -> bool:
    return bool(answer and answer.strip())


def read_statement(path: Path) -> Statement:
    """The statement in a file, complete or not.

    Raises:
        SpecError: it cannot be read, or holds something else than a statement does.
    """
    return validate(Statement, read_yaml(path), str(path))


def write_form(path: Path, tuned: Sequence[TunedOn] = ()) -> None:
    """Write the statement with its questions and no answers.

    Args:
        tuned: searches that are known already.
    """
    known = [entry.model_dump(mode="json") for entry in tuned]
    said = yaml.safe_dump({"tuned": known}, sort_keys=False, allow_unicode=True) if known else "tuned:\n"
    write_text(path, _HEAD + said + _TAIL)
