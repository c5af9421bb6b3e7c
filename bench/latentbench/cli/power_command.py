"""`bench power`: how many latents a question needs, before a run is paid for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.cli.finite import finite
from latentbench.views.terminal import plain_console


def power(
    run: Annotated[
        Path | None,
        typer.Argument(help="Folder of a finished run that serves as a pilot; or state a spread with --sd."),
    ] = None,
    effect: Annotated[
        float | None,
        typer.Option(callback=finite, help="Smallest true difference that matters, in units of the scorer's headline."),
    ] = None,
    sd: Annotated[
        float | None,
        typer.Option(
            callback=finite, help="Standard deviation over latents of one explainer's scores, without a pilot."
        ),
    ] = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="The --sd is that of paired differences of two explainers.")
    ] = False,
    correlation: Annotated[
        float | None,
        typer.Option(
            callback=finite, help="Correlation of two explainers' scores over latents, beside --sd; 0 by default."
        ),
    ] = None,
    scorer: Annotated[str | None, typer.Option(help="Label of a scorer of the pilot; all by default.")] = None,
    judge: Annotated[str | None, typer.Option(help="Label of a judge of the pilot; all by default.")] = None,
    explainer: Annotated[
        list[str] | None,
        typer.Option(help="Label of an explainer of the pilot; all that are no floor by default. May be repeated."),
    ] = None,
    comparisons: Annotated[
        int | None,
        typer.Option(
            min=1, max=1_000_000, help="Tests that share the 5 %; by default the pairs of the pilot's explainers, or 1."
        ),
    ] = None,
    wanted: Annotated[
        float, typer.Option("--power", callback=finite, help="Share of experiments that are to show the effect.")
    ] = 0.8,
    latents: Annotated[
        list[int] | None,
        typer.Option(
            min=2, max=10_000_000, help="Number of latents to show instead of the usual ones. May be repeated."
        ),
    ] = None,
) -> None:
    """Say how many latents a question needs.

    For each number of latents: the half-width of the interval of one score and of a difference of two explainers, the
    probability of finding the effect, and the least difference that would mostly be found.
    """
    from latentbench.analysis.sample_size import SIZES, SampleSize, from_pilot, stated
    from latentbench.analysis.sample_size_view import sample_size_page
    from latentbench.runs.finished import load_run
    from latentbench.stats.power import ALPHA

    if (run is None) == (sd is None):
        raise typer.BadParameter("give a pilot's folder or a spread: RUN, or --sd 0.2", param_hint="RUN")
    if effect is not None and effect == 0:
        raise typer.BadParameter("the effect to be found is not 0", param_hint="--effect")
    effect = abs(effect) if effect is not None else None
    if not ALPHA < wanted < 1:
        raise typer.BadParameter(f"must be above {ALPHA} and below 1", param_hint="--power")
    sizes = tuple(sorted(set(latents or SIZES)))
    if run is not None:
        if pairs or correlation is not None:
            raise typer.BadParameter("--pairs and --correlation go with --sd; a pilot has its own", param_hint="RUN")
        plans = from_pilot(load_run(run), scorer, judge, explainer or (), effect, comparisons, wanted, sizes)
    else:
        assert sd is not None
        if scorer or judge or explainer:
            raise typer.BadParameter("--scorer, --judge and --explainer choose from a pilot", param_hint="--sd")
        if pairs and correlation is not None:
            raise typer.BadParameter("goes with the --sd of one score, not of pairs", param_hint="--correlation")
        one, both = stated(sd, pairs, correlation or 0.0)
        about = "stated spread"
        known = None if pairs else correlation or 0.0
        plans = [
            SampleSize(
                about,
                both,
                one,
                effect=effect,
                comparisons=comparisons or 1,
                wanted=wanted,
                sizes=sizes,
                correlation=known,
            )
        ]
    console = plain_console()
    console.print(sample_size_page(plans).terminal(console.width))
