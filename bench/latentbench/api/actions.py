"""What the command line does, as functions: they take values, return values, print progress only, and raise what went wrong.

Each is the function behind the command of the same name, so that both have the same numbers, folders and messages; a second way
to run a grid, made for notebooks, is tempting and would be the one that nobody tests. Paths of a spec that is given as a
dictionary are relative to the working directory. All of them work where an event loop is running already.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentbench.api.arguments import console_of, folder_of, path_of, suite_of_argument
from latentbench.api.blocking import blocking
from latentbench.api.result import Result
from latentbench.kernel.config import validate
from latentbench.kernel.errors import BenchError, SpecError
from latentbench.kernel.outcome import Outcome
from latentbench.runs.run_spec import RunSpec, load_run_spec

if TYPE_CHECKING:
    import pandas as pd

    from latentbench.judges.judge import Judge
    from latentbench.judges.qualification import Qualification
    from latentbench.runs.record import RunRecord
    from latentbench.suites.store import Suite


class RunWarning(UserWarning):
    """A run that ended, and of which something has to be known."""


Spec = RunSpec | Mapping[str, Any] | str | Path


def run(
    spec: Spec,
    out: str | Path | None = None,
    *,
    cache: str | Path | None = None,
    track: bool = True,
    progress: bool = True,
) -> Result:
    """Carry out a grid of explainers x scorers x judges on a suite, and read it back.

    Args:
        spec: a dictionary with the keys of a run spec, a `RunSpec`, the path of a YAML file, or the name of a spec that the
            package ships (`demo`).
        out: the run folder, which must not exist; `runs/NAME-TIME` by default.
        cache: reply cache, a file or `postgresql://USER@HOST/DATABASE`; the user's by default. What is in it is not asked,
            nor paid, again.
        track: log the finished run to MLflow. A server that does not answer is a warning.
        progress: show progress on standard error.

    Returns:
        The finished run. A run in which more calls failed than its spec allows is returned with a `RunWarning`.

    Raises:
        SpecError, UnknownName: the spec; the message names the key.
        JudgeError: a judge cannot be asked, or stops answering; what was answered is kept for `resume`.
        RunError: the folder exists already, or another process has it.
        KeyboardInterrupt: it was stopped; go on with `resume`.
    """
    from latentbench.runs.ownership import dated_folder
    from latentbench.runs.run import begin

    parsed, base, command = _spec(spec)
    at = Path(out) if out is not None else dated_folder(parsed.name)
    console = console_of(progress)
    record = blocking(lambda: begin(parsed, base, at, command or f"bench run {at}/spec.yaml", path_of(cache), console))
    return _finished(at, record, track)


def resume(
    folder: str | Path | Result,
    *,
    retry: Iterable[str] = (),
    cache: str | Path | None = None,
    track: bool = True,
    progress: bool = True,
) -> Result:
    """Go on with a run that was stopped, or ask again what failed; what is on disk is kept.

    Args:
        folder: of the run.
        retry: outcomes that are asked again beside the failed calls, such as `parse`; their stored replies are forgotten.
        cache, track, progress: as in `run`.

    Raises:
        RunError: no run there, another process has it, or something that can change a number has changed since it was started.
        JudgeError: a judge cannot be asked, or stops answering.
    """
    from latentbench.runs.run import resume as go_on

    at, console = folder_of(folder), console_of(progress)
    again = [Outcome(outcome) for outcome in retry]
    return _finished(at, blocking(lambda: go_on(at, path_of(cache), console, again)), track)


def score(
    explanations: Mapping[str | int, str | None] | pd.DataFrame | str | Path,
    suite: str | Path | Suite,
    judge: str | Sequence[str],
    scorers: str | Sequence[str | Mapping[str, Any]] = (),
    out: str | Path | None = None,
    *,
    label: str | None = None,
    coders: Sequence[str] = (),
    limit: int | None = None,
    id_column: str | None = None,
    text_column: str | None = None,
    place_column: str | None = None,
    places: Mapping[str, str] | None = None,
    where: Mapping[str, str | int] | None = None,
    layout: str = "auto",
    seed: int = 0,
    cache: str | Path | None = None,
    track: bool = True,
    progress: bool = True,
) -> Result:
    """Score explanations that somebody brings, beside floors: shuffled, empty, the strongest tokens, and copied words.

    Args:
        explanations: texts by id of the latent (`"res9/12"`) or by index (12, where the suite has one coder); a DataFrame with a
            column of ids or indices and one of texts; or the path of a file, of this project or of another tool. None and NaN
            are latents without an explanation.
        suite: its name or folder, or what `lb.suite` and `lb.build_suite` returned.
        judge: one reference of a judge, or several.
        scorers: a name or an entry of a run spec, or several; by default those that suit the judge.
        out: the run folder; `runs/score-TIME` by default. Texts from memory are kept in it.
        label: how tables name the explanations; the file's name by default, or `given`.
        coders: only latents of these coders of the suite.
        limit: at most this many latents.
        id_column, text_column, place_column: columns with the ids, the texts and the coders; found by name by default.
        places: coder that a place in the ids stands for, such as `{"layers.9": "res9"}`; `*` is every other place.
        where: of a file, the rows that are taken: columns and their values.
        layout: of a file, the tool that it is of, if looking does not find it.
        seed: seed of the run.
        cache, track, progress: as in `run`.

    Returns:
        The finished run, like any other: `compare`, `resume` and `leaderboard` take it.

    Raises:
        SpecError, DataError: explanations that are none, or of no latent of the suite; the message says which.
        UnknownName: no such suite, scorer or judge.
        JudgeError, RunError, KeyboardInterrupt: as in `run`.
    """
    from latentbench.api.given_texts import given_texts
    from latentbench.explainers.foreign.column_texts import Columns
    from latentbench.runs.ownership import dated_folder
    from latentbench.runs.scoring import ScoreRequest
    from latentbench.runs.scoring import score as scored

    texts = None
    if not isinstance(explanations, str | Path):
        if where or layout != "auto":
            raise SpecError("`where` and `layout` are for files; choose the rows of a DataFrame before it is given.")
        texts = given_texts(explanations, Columns(id_column, text_column, place_column))
        id_column = text_column = place_column = None
    asked = {
        "file": str(explanations) if texts is None else "",
        "suite": suite_of_argument(suite),
        "judges": (judge,) if isinstance(judge, str) else tuple(judge),
        "scorers": (scorers,) if isinstance(scorers, str | Mapping) else tuple(scorers),
        "coders": tuple(coders),
        "limit": limit,
        "layout": layout,
        "id_column": id_column,
        "text_column": text_column,
        "place_column": place_column,
        "places": dict(places or {}),
        "where": dict(where or {}),
        "label": label,
        "seed": seed,
    }
    request = validate(ScoreRequest, asked, "lb.score")
    at = Path(out) if out is not None else dated_folder(request.spec().name)
    console = console_of(progress)
    return _finished(at, blocking(lambda: scored(request, at, path_of(cache), console, texts=texts)), track)


def load(folder: str | Path) -> Result:
    """Read a finished run.

    Args:
        folder: of the run.

    Raises:
        RunError: no run there, or it has not ended.
        CorruptTable, DigestMismatch: a table that is not what the run wrote.
    """
    return Result.of(folder)


def leaderboard(
    runs: Sequence[str | Path | Result], *, paired: bool = False, by_coder: bool = False, any_split: bool = True
) -> pd.DataFrame:
    """Rank the explainers of finished runs. Only rows that were measured in the same way on the same latents share ranks.

    Args:
        runs: run folders, or what `run` and `load` returned.
        paired: rank by paired differences with Holm's correction instead of by intervals.
        by_coder: also one table per coder.
        any_split: rank runs on other latents than the held-out ones, too; `split` says which.

    Returns:
        A row for each explainer under each scorer, judge and group of latents; columns as in `Result.leaderboard`.

    Raises:
        CorruptTable: a run whose scores are not those of its judgements.
    """
    import pandas as pd

    from latentbench.api.board_frame import BoardFrame
    from latentbench.leaderboards.export import flat
    from latentbench.leaderboards.ranked_runs import rank
    from latentbench.runs.finished import load_runs

    ranked = rank(load_runs(folder_of(r) for r in runs), paired=paired, by_coder=by_coder, any_split=any_split)
    lines = [line for table in ranked.tables for line in flat(table, ranked.reruns) if line["metric"] == table.headline]
    frame = pd.DataFrame(lines).astype({"rank_low": "Int64", "rank_high": "Int64", **dict.fromkeys(NUMBERS, float)})
    ordered = [*FIRST, *(column for column in frame.columns if column not in FIRST)]
    return BoardFrame(frame[ordered].reset_index(drop=True))


FIRST = (
    "scorer", "judge", "coders", "kind", "rank_low", "rank_high", "explainer", "is_floor", "metric", "estimate", "low",
    "high", "floor", "n", "worst", "best", "coverage",
)  # fmt: skip
"""Columns of a leaderboard that are read first: a number never stands without its n, interval, coverage and floor."""


NUMBERS = ("estimate", "low", "high", "floor", "worst", "best", "coverage")
"""Columns that may be empty: without a type they would hold None."""


def compare(
    a: str | Path | Result,
    b: str | Path | Result,
    *,
    across: Collection[str] = (),
    smallest: float = 0.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare two runs entry by entry, paired by latent.

    Args:
        a, b: the runs; differences are b - a.
        across: parts in which the runs may differ, because that is what is compared: `judge`, `scorer`, `suite`.
        smallest: difference that matters, in units of the headline.
        seed: of the bootstrap draws.

    Returns:
        A row for each pair of entries: `difference` with `low`, `high`, `p`, `p_holm`, and `mark`: `+`, `-`, `~` (not shown to
        differ) or `x` (not comparable; `why` says why).
    """
    import pandas as pd

    from latentbench.analysis.compare import compare as paired
    from latentbench.analysis.compare_view import compare_row

    first, second = (r if isinstance(r, Result) else load(r) for r in (a, b))
    return pd.DataFrame(map(compare_row, paired(first, second, across=across, smallest=smallest, seed=seed)))


def qualify(
    judge: str,
    scorer: str,
    *,
    suite: str = "planted-1",
    preset: str | None = None,
    limit: int | None = None,
    repeats: int = 2,
    runs: str | Path = "runs",
    cache: str | Path | None = None,
    progress: bool = True,
) -> Qualification:
    """Measure what a judge is worth under a scorer: how often it ranks a true explanation above decoys.

    Args:
        judge: its reference, as in a run spec.
        scorer: name or path of a scorer that reads the explanation.
        suite: a suite with planted truths.
        preset: of the scorer.
        limit: at most this many latents.
        repeats: how often everything is asked.
        runs: folder of run folders; what is there already is gone on with.
        cache, progress: as in `run`.

    Raises:
        SpecError: a scorer that does not read the explanation.
        DataError: a suite without planted truths.
    """
    from latentbench.analysis.qualify.qualify import QualifyRequest
    from latentbench.analysis.qualify.qualify import qualify as measure

    asked = QualifyRequest(judge=judge, scorer=scorer, preset=preset, suite=suite, limit=limit, repeats=repeats)
    console = console_of(progress)
    return blocking(lambda: measure(asked, Path(runs), path_of(cache), console))


def suite(name: str | Path) -> Suite:
    """Read a frozen suite: its latents with their windows (`.latents()`), its manifest and digest.

    Args:
        name: of a suite that the package ships or a `tasks/suites` folder holds, or its folder.

    Raises:
        UnknownName: no such suite; with near names.
        CorruptTable, DigestMismatch: it is not what its manifest says.
    """
    from latentbench.suites.store import load_suite

    return load_suite(name)


def judge(reference: str) -> Judge:
    """Build the judge that a reference names, such as `mock:oracle` or `openai:gpt-4.1-mini`; weights are loaded now.

    Its `answer(requests)` is a coroutine. Runs take the reference, not the object: a run must be resumable from its folder.

    Args:
        reference: provider, model and parameters, as in a run spec.

    Raises:
        UnknownName, SpecError: the reference; with a suggestion for a misspelt provider or parameter.
        ModelError: the model cannot be loaded.
    """
    from latentbench.judges.reference import load_judge

    return load_judge(reference)


def track(folder: str | Path | Result, uri: str | None = None, *, per_coder: bool = False) -> str:
    """Log a finished run to MLflow, or update what was logged of it before; returns where it was logged.

    Args:
        folder: of the run, or what `run` and `load` returned.
        uri: of the MLflow store; by default MLFLOW_TRACKING_URI, else SQLite under `mlruns/`.
        per_coder: also log a run of MLflow for every coder, where there are several.

    Raises:
        BenchError: it could not be logged; the message says why.
    """
    from latentbench.analysis.people.people_track import track as log

    result = log(folder_of(folder), uri=uri, per_coder=per_coder)
    if not result.ok:
        raise BenchError(f"not logged: {result.message}")
    return result.shown


def _spec(spec: Spec) -> tuple[RunSpec, Path, str]:
    """The spec, the folder that its paths are relative to, and the command that does the same (none for a dictionary)."""
    if isinstance(spec, RunSpec):
        return spec, Path.cwd(), ""
    if isinstance(spec, Mapping):
        return validate(RunSpec, dict(spec), "run spec"), Path.cwd(), ""
    from latentbench.kernel.tasks import spec_file

    path = spec_file("runs", str(spec))
    return load_run_spec(path), path.parent, f"bench run {path}"


def _finished(folder: Path, record: RunRecord, tracked: bool) -> Result:
    rate, allowed = record.failure_rate or 0.0, record.spec.max_failures
    if rate > allowed:
        said = f"{rate:.1%} of the explanations and judgements of {folder} failed; allowed are {allowed:.1%} (max_failures)."
        warnings.warn(said, RunWarning, stacklevel=3)
    if tracked:
        try:
            track(folder)
        except BenchError as e:
            warnings.warn(str(e), RunWarning, stacklevel=3)
    return load(folder)
