"""`bench score` and `lb.score`: explanations that somebody brings become a run with floors.

Both ask here, so that a notebook and a command have the same spec, folder and numbers. Texts that are in memory are written
into the run folder first and scored as any other file: a run must go on from its folder alone, and a spec that holds the texts
themselves would have no file whose content is its explainer's identity.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from rich.console import Console

from latentbench.explainers.foreign.layouts import Layout
from latentbench.kernel.config import Frozen
from latentbench.kernel.files import write_text
from latentbench.runs.ownership import owned
from latentbench.runs.record import RECORD, RunRecord
from latentbench.runs.run import GIVEN, begin, occupied
from latentbench.runs.run_spec import RunSpec
from latentbench.runs.score_spec import score_spec
from latentbench.views.terminal import tell


class ScoreRequest(Frozen):
    """What is scored, on what, by whom."""

    file: str
    """File or folder of the explanations."""
    suite: str
    """Name of a suite, or its folder."""
    judges: tuple[str, ...] = Field(min_length=1)
    """References of judges."""
    scorers: tuple[str | dict[str, Any], ...] = ()
    """Names of scorers, YAML files, or entries of a run spec; by default those that suit the judges."""
    coders: tuple[str, ...] = ()
    """Only latents of these coders of the suite; all by default."""
    limit: int | None = Field(default=None, ge=1)
    """At most this many latents."""
    layout: Literal["auto"] | Layout = "auto"
    """Tool that the file is of: found by looking, or said."""
    id_column: str | None = None
    """Column with the ids of the latents."""
    text_column: str | None = None
    """Column with the explanations."""
    place_column: str | None = None
    """Column with the coder or the module, for ids that are numbers."""
    places: dict[str, str] = Field(default_factory=dict)
    """Place in the file's ids -> coder of the suite; `*` is every other place."""
    where: dict[str, str | int] = Field(default_factory=dict)
    """Rows that are taken: columns and the values that they must have."""
    label: str | None = None
    """How tables name the explanations; the file's name by default."""
    seed: int = 0
    """Seed of the run."""

    def spec(self) -> RunSpec:
        """The run that scores it, floors included.

        Raises:
            SpecError, UnknownName: a judge, or a field that is not valid.
        """
        params = {
            "layout": None if self.layout == "auto" else self.layout,
            "id_column": self.id_column,
            "text_column": self.text_column,
            "place_column": self.place_column,
            "coders": self.places,
            "where": self.where,
        }
        return score_spec(
            Path(self.file),
            params,
            self.suite,
            self.judges,
            self.scorers,
            self.label,
            coders=list(self.coders) or None,
            limit=self.limit,
            seed=self.seed,
        )

    def command(self) -> str | None:
        """The command that scores the same; None where a scorer has parameters, which the command cannot say."""
        if not all(isinstance(scorer, str) for scorer in self.scorers):
            return None
        told: dict[str, Sequence[object]] = {
            "--suite": [self.suite],
            "--judge": self.judges,
            "--scorer": self.scorers,
            "--coder": self.coders,
            "--limit": [self.limit],
            "--map": [f"{place}={coder}" for place, coder in self.places.items()],
            "--where": [f"{column}={value}" for column, value in self.where.items()],
            "--layout": [None if self.layout == "auto" else self.layout],
            "--id-column": [self.id_column],
            "--text-column": [self.text_column],
            "--place-column": [self.place_column],
            "--label": [self.label],
            "--seed": [self.seed or None],
        }
        words = [
            str(w) for name, values in told.items() for value in values if value is not None for w in (name, value)
        ]
        return shlex.join(["bench", "score", self.file, *words])


def score(
    request: ScoreRequest,
    folder: Path,
    cache: Path | None,
    console: Console,
    created: Callable[[Path], None] = lambda _: None,
    texts: Mapping[str, str | None] | None = None,
    command: str = "",
) -> RunRecord:
    """Score explanations beside their floors.

    Args:
        request: what to score; paths in it are relative to the working directory.
        folder: the run folder; missing or empty.
        cache: reply cache; the user's by default.
        console: for progress.
        created: told the folder as soon as the run can be resumed.
        texts: id of a latent -> explanation, in the place of a file. They are kept in the run folder.
        command: as it was given, if it was one; else one that scores the same, where a command can say it.

    Raises:
        BenchError: as `runs.run.begin`; and whatever is wrong with the explanations, before anything is paid.
    """
    with owned(folder, lambda line: tell(console, line)):
        if texts is not None:
            request = request.model_copy(update={"file": str(folder / GIVEN), "layout": "rows"})
            request = request if request.label else request.model_copy(update={"label": "given"})
            if not occupied(folder):
                rows = ({"latent": latent, "text": text} for latent, text in texts.items())
                write_text(folder / GIVEN, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        command = command or request.command() or f"bench run {folder / 'spec.yaml'}"
        try:
            return begin(request.spec(), Path(), folder, command, cache, console, created)
        finally:
            # Without a run there is nothing that the texts belong to.
            if texts is not None and not (folder / RECORD).exists():
                (folder / GIVEN).unlink(missing_ok=True)
