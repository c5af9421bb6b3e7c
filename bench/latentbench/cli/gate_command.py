"""`bench baseline`, `gate` and `speed`: did scores, their agreement or speed get worse? Exit codes 0, 1, 2, 3, 4."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from latentbench.analysis.gate.policy import Inconclusive
from latentbench.cli.finite import finite
from latentbench.kernel.files import write_text
from latentbench.views.terminal import command, plain_console, say, tell

if TYPE_CHECKING:
    from latentbench.analysis.gate.gate_report import GateReport

Undecided = Annotated[
    Inconclusive | None,
    typer.Option(
        "--inconclusive", help="What an undecided check is, for the exit code (3 or 0) and JUnit; fail by default."
    ),
]
Allow = Annotated[bool, typer.Option("--allow-inconclusive", help="Short for --inconclusive skip.")]
Endpoints = Annotated[
    bool,
    typer.Option(
        "--allow-endpoints",
        help="Ask endpoints that the baseline, spec or run folder names, also those that are not in `bench endpoint list`.",
    ),
]
Json = Annotated[Path | None, typer.Option("--json", help="Write the report as JSON.")]
Junit = Annotated[Path | None, typer.Option("--junit", help="Write the report as JUnit XML.")]
Markdown = Annotated[
    Path | None,
    typer.Option("--markdown", help="Write the report as Markdown, at most as long as a comment on GitHub may be."),
]
ALL = "The whole report is on the terminal, and in the file of --json."
"""Where a report that was cut can be read."""
Github = Annotated[
    bool | None,
    typer.Option(
        "--github/--no-github",
        help="Write GitHub annotations and a step summary; on by default where GITHUB_ACTIONS is true.",
    ),
]


def gate(
    run: Annotated[
        Path, typer.Argument(metavar="RUN_OR_SPEC", help="Folder of a finished run, or a run spec to run first.")
    ],
    baseline: Annotated[Path, typer.Option(help="Baseline file that `bench baseline freeze` wrote.")],
    delta: Annotated[
        float, typer.Option(min=0, callback=finite, help="Largest loss of a mean score that still passes.")
    ] = 0.02,
    delta_agreement: Annotated[
        float,
        typer.Option(min=0, callback=finite, help="Largest loss of a correlation between scorers that still passes."),
    ] = 0.05,
    metric_delta: Annotated[
        list[str] | None, typer.Option(help="Another delta for one metric, written NAME=X. May be repeated.")
    ] = None,
    max_coverage_drop: Annotated[
        float, typer.Option(min=0, callback=finite, help="Largest loss of coverage that still passes.")
    ] = 0.02,
    max_tokens: Annotated[
        float, typer.Option(min=0, callback=finite, help="Tokens per latent may grow by this factor.")
    ] = 1.25,
    max_dollars: Annotated[
        float, typer.Option(min=0, callback=finite, help="Cost per latent may grow by this factor.")
    ] = 1.25,
    max_latency: Annotated[
        float,
        typer.Option(min=0, callback=finite, help="Seconds per latent may grow by this factor, on the same hardware."),
    ] = 2.0,
    max_drift: Annotated[
        float,
        typer.Option(
            min=0, callback=finite, help="Largest distance that a judge's answers to the same requests may move."
        ),
    ] = 0.02,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap draws.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for the run, if a spec is run.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Reply cache of the run that is made; an empty one by default.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask the judges whether they have changed.")
    ] = False,
    inconclusive: Undecided = None,
    allow_endpoints: Endpoints = False,
    allow_inconclusive: Allow = False,
    json: Json = None,
    junit: Junit = None,
    markdown: Markdown = None,
    github: Github = None,
    track: Annotated[bool, typer.Option("--track", help="Log the run to MLflow and tag it with the verdict.")] = False,
) -> None:
    """Compare a run with a baseline and give a verdict.

    Exit codes: 0 pass, 1 fail, 3 inconclusive, 4 not comparable.
    """

    from latentbench.analysis.gate.gate import gate as compare
    from latentbench.analysis.gate.gate_report import GateSettings
    from latentbench.kernel.errors import SpecError

    policy = _policy(inconclusive, allow_inconclusive)
    try:
        settings = GateSettings(
            delta=delta, delta_agreement=delta_agreement, deltas=_deltas(metric_delta or []), coverage=max_coverage_drop,
            tokens=max_tokens, dollars=max_dollars, latency=max_latency, drift=max_drift, seed=seed,
        )  # fmt: skip
    except SpecError as e:
        raise typer.BadParameter(str(e)) from e
    console = plain_console(err=True)
    report, folder = compare(
        run, baseline, settings, console, out=out, cache=cache, offline=offline, allow_endpoints=allow_endpoints
    )
    if track:
        from latentbench.analysis.gate.gate_formats import tag_run

        result = tag_run(folder, report)
        tell(console, f"MLflow: {result.shown if result.ok else result.message}")
    _write(report, policy, json, junit, markdown, github)
    raise typer.Exit(report.exit_code(policy))


def speed(
    base: Annotated[
        list[Path],
        typer.Option(
            help="File of pytest --benchmark-json, measured on the base. Repeat it, measured in turns with the head."
        ),
    ],
    head: Annotated[
        list[Path],
        typer.Option(
            help="File of pytest --benchmark-json, measured on the head; the i-th base and the i-th head are a pair."
        ),
    ],
    ratio: Annotated[
        float,
        typer.Option(min=1, callback=finite, help="Largest ratio of the head's time to the base's that still passes."),
    ] = 1.1,
    inconclusive: Undecided = None,
    allow_inconclusive: Allow = False,
    json: Json = None,
    junit: Junit = None,
    markdown: Markdown = None,
    github: Github = None,
) -> None:
    """Compare timings of pytest-benchmark by their ratio.

    The files of base and head are measured in turns. Exit codes are those of `bench gate`.
    """
    from latentbench.analysis.gate.speed import compare_speed

    policy = _policy(inconclusive, allow_inconclusive)
    report = compare_speed(base, head, ratio)
    _write(report, policy, json, junit, markdown, github)
    raise typer.Exit(report.exit_code(policy))


def _deltas(given: list[str]) -> dict[str, float]:
    found = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError as e:
            raise typer.BadParameter(f"{text!r} is not NAME=NUMBER", param_hint="--metric-delta") from e
    return found


def _policy(said: Inconclusive | None, allowed: bool) -> Inconclusive:
    """The one policy of exit code and JUnit."""
    if said is not None and allowed and said != Inconclusive.SKIP:
        raise typer.BadParameter(f"--allow-inconclusive is --inconclusive skip, not {said.value}; give one of them")
    return said or (Inconclusive.SKIP if allowed else Inconclusive.FAIL)


def _write(
    report: GateReport,
    policy: Inconclusive,
    json: Path | None,
    junit: Path | None,
    markdown: Path | None,
    github: bool | None,
) -> None:
    from rich.console import Console

    from latentbench.analysis.gate.gate_formats import github as annotations
    from latentbench.analysis.gate.gate_formats import junit as as_junit
    from latentbench.analysis.gate.gate_formats import markdown as as_markdown
    from latentbench.analysis.gate.gate_formats import terminal
    from latentbench.kernel.files import write_json
    from latentbench.views.room import COMMENT, SUMMARY, within

    console = Console(highlight=False, markup=False, emoji=False)
    console.print(terminal(report, console.width))
    if json is not None:
        write_json(json, report.as_dict(policy))
    if junit is not None:
        write_text(junit, as_junit(report, policy))
    if markdown is not None:
        write_text(markdown, within(as_markdown(report), COMMENT, ALL))
    if os.environ.get("GITHUB_ACTIONS") == "true" if github is None else github:
        command(annotations(report, policy))
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if summary:
            # Other commands of the step write to the same file, and the limit is on all of it.
            with Path(summary).open("a", encoding="utf-8") as f:
                f.write(within(as_markdown(report), SUMMARY - f.tell(), ALL))


app = typer.Typer(help="Freeze runs as the baselines of `bench gate`.", no_args_is_help=True)


@app.command()
def freeze(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="JSON file that the baseline is written to.")],
    metric: Annotated[
        list[str] | None, typer.Option(help="Metric to keep beside the headlines. May be repeated.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask the judges; the gate then cannot see that one has changed.")
    ] = False,
    allow_endpoints: Endpoints = False,
) -> None:
    """Freeze a run to a small file.

    The file has per-latent scores, agreement, identities, coverage, cost and answers of the judges.
    """
    from latentbench.analysis.gate.baseline import write_baseline
    from latentbench.analysis.gate.gate import freeze as make

    baseline = make(run, metric or (), offline=offline, allow_endpoints=allow_endpoints)
    write_baseline(baseline, out)
    say(
        f"{out}: {len(baseline.scores)} rows, {len(baseline.latents)} latents, {len(baseline.probes)} probes, "
        f"{out.stat().st_size / 1e3:.0f} kB"
    )


@app.callback()
def _group() -> None:
    """Keeps `freeze` a word of its own: with a single command Typer would drop it."""
