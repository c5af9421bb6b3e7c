"""`bench submit`: a run as a folder to hand in, and `bench submit check`: what somebody handed in."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from latentbench.cli.finite import finite
from latentbench.views.terminal import plain_console, say

if TYPE_CHECKING:
    from latentbench.leaderboards.submission.statement import TunedOn

MOST = (1 << 63) - 1
"""Greatest seed: a file of a check with a longer number could not be read again."""


class _RunOrCheck(TyperGroup):
    """A group whose first word is a run folder, unless it is the name of a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the hidden name of the command that writes a folder before its words."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["folder", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_RunOrCheck,
    no_args_is_help=True,
    help="""Hand in a run for a leaderboard, or check one.

    The words `bench submit RUN --out DIR` write the folder to hand in. The first time they write a form, statement.yaml in the
    run folder, and say what to fill in.""",
)


@app.command("folder", hidden=True)
def folder(
    run: Annotated[Path, typer.Argument(help="Folder of the finished run.")],
    out: Annotated[Path, typer.Option(help="Folder to write, which must not exist.")],
    statement: Annotated[
        Path | None,
        typer.Option(help="Filled-in statement; statement.yaml in the run folder by default, written if missing."),
    ] = None,
    tuned: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of a search (`bench tune`) to name in a statement that is written. May be repeated."),
    ] = None,
) -> None:
    """Write a run as a folder to hand in."""
    from latentbench.leaderboards.submission.submitting import submit

    done = submit(run, out, statement, [_search(place) for place in tuned or ()])
    say(f"written: {done.folder} ({done.rows} rows, digest {done.digest})")
    say(f"look at it as others will: bench submit check {done.folder}", err=True)


@app.command("check")
def check(
    place: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that was handed in.")],
    judge: Annotated[
        str | None, typer.Option(help="Reference of a judge that is asked again about a sample of the latents.")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="How many latents it is asked about.")] = 24,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=MOST, help="Seed of the sample; drawn anew by default, so that nobody knows it before."
        ),
    ] = None,
    margin: Annotated[
        float,
        typer.Option(min=0, help="By how much the mean of a row may differ when it is asked again.", callback=finite),
    ] = 0.02,
    board: Annotated[
        Path | None,
        typer.Option(
            help="Published results in which the same rows are looked for; leaderboards by default, if it is there."
        ),
    ] = None,
    publish: Annotated[
        Path | None,
        typer.Option(help="Folder of published results that accepted rows are added to, with their status."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File for the result; DIR.check.json beside the folder by default.")
    ] = None,
) -> None:
    """Check a folder that was handed in.

    Everything that is wrong is said at once. The status (rescored, reproduced) goes into a file beside the folder, and with
    --publish onto the leaderboard. Exit code 2: it is refused.
    """
    from latentbench.kernel.digested import write_digested
    from latentbench.kernel.errors import DataError, SpecError
    from latentbench.leaderboards.submission.submission_check import check as look
    from latentbench.leaderboards.submission.submission_check import publish as put

    usual = Path("leaderboards")
    if board is not None and not (board / "results").is_dir():
        raise DataError(
            f"{board} has no folder `results`, so there are no published rows to look in. Give another --board."
        )
    whole = place.resolve()
    if out is None and not whole.name:
        raise DataError(f"{place} is no folder that was handed in, and nothing is written beside it.")
    known = [folder for folder in (board, publish) if folder is not None]
    if not known and (usual / "results").is_dir():
        known = [usual]
    drawn = secrets.randbelow(1 << 31) if seed is None else seed
    record, rows = look(
        place, boards=known, judge=judge, sample=sample, seed=drawn, margin=margin, console=plain_console(err=True)
    )
    beside = out or whole.with_name(f"{whole.name}.check.json")
    record = write_digested(record, beside)
    for remark in record.remarks:
        say(remark, err=True)
    say(f"written: {beside}", err=True)
    if record.reasons:
        told = " ".join(f"({i}) {why.rstrip('.')}." for i, why in enumerate(record.reasons, 1))
        raise SpecError(f"{place} is refused: {told}")
    if record.asked is not None:
        say(f"{record.asked.summary}.")
    say(f"{record.run}: {record.status}")
    if publish is not None:
        for path in put(publish, record, rows):
            say(f"written: {path}", err=True)


def _search(place: Path) -> TunedOn:
    """What a search says of itself, for the statement."""
    from latentbench.kernel.errors import RunError
    from latentbench.leaderboards.submission.statement import TunedOn
    from latentbench.tuning.tune_track import read_search

    found = read_search(place)
    spec = found.get("spec")
    run = spec.get("run") if isinstance(spec, dict) else None
    suite = run.get("suite") if isinstance(run, dict) else None
    if not isinstance(suite, str):
        raise RunError(f"{place} does not say on which suite it searched; name the search in the statement by hand.")
    return TunedOn(
        what=f"settings of {found['name']}", study=f"{found['name']}-{found['spec_key']}", suite=suite, split="tune"
    )
