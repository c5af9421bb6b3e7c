"""`bench compare`, `agreement`, `reliability`: two runs, the scorers of one, and what a score depends on besides the latent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.cli.finite import finite
from latentbench.kernel.files import write_text
from latentbench.views.terminal import plain_console, say


def compare(
    run_a: Annotated[Path, typer.Argument(help="Folder of the first run.")],
    run_b: Annotated[Path, typer.Argument(help="Folder of the run that is compared with the first.")],
    across: Annotated[
        list[str] | None,
        typer.Option(
            help="Part in which the runs may differ, because it is what is compared: judge, scorer or suite. May be repeated."
        ),
    ] = None,
    smallest: Annotated[
        float, typer.Option(min=0, callback=finite, help="Smallest difference that matters, in units of the headline.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap draws.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for compare.md and compare.csv.")] = None,
) -> None:
    """Print the differences of two runs, paired by latent.

    Each difference has an interval, a p-value and a verdict: + - ~ x.
    """

    from latentbench.analysis.compare import compare as paired
    from latentbench.analysis.compare_view import compare_csv, compare_page
    from latentbench.runs.finished import load_run

    a, b = load_run(run_a), load_run(run_b)
    found = paired(a, b, across=across or (), smallest=smallest, seed=seed)
    page, console = compare_page(found, a.id, b.id), plain_console()
    console.print(page.terminal(console.width))
    if out is not None:
        write_text(out / "compare.md", page.markdown())
        write_text(out / "compare.csv", compare_csv(found))
        say(f"written: {out}/compare.md, .csv", err=True)


def agreement(
    run: Annotated[Path, typer.Argument(help="Folder of the run whose scorers are compared.")],
    explainer: Annotated[
        list[str] | None,
        typer.Option(
            help="Only explanations of this explainer count; by default all that are no floor. May be repeated."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for agreement.md, .csv, .png and .svg; the run's folder by default.")
    ] = None,
) -> None:
    """Correlate the scorers and judges of a run.

    They are correlated over the explanations that they scored, and with what people said of them (`bench rate`).
    """

    from latentbench.analysis.agreement import SHOWN
    from latentbench.analysis.agreement import agreement as correlate
    from latentbench.analysis.agreement_view import agreement_csv, agreement_page
    from latentbench.analysis.people.people_agreement import people_agreement
    from latentbench.analysis.people.people_view import people_blocks, people_csv
    from latentbench.analysis.people.rating_store import read_ratings
    from latentbench.kernel.extras import command as install
    from latentbench.kernel.extras import installed
    from latentbench.runs.finished import load_run
    from latentbench.views.figure import write
    from latentbench.views.heatmap import heatmap
    from latentbench.views.page import Page

    loaded, console, folder = load_run(run), plain_console(), out or run
    ratings = read_ratings(run)
    if ratings:
        people = people_agreement(loaded, ratings, explainer)
        page = Page(f"Scorers of {loaded.id} against people", people_blocks(people))
        console.print(page.terminal(console.width))
        write_text(folder / "people.md", page.markdown())
        write_text(folder / "people.csv", people_csv(people))
        say(f"written: {folder}/people.md, .csv", err=True)
        if len({(cell.scorer.label, cell.judge.label) for cell in loaded.record.cells}) < 2:
            return
    found = correlate(loaded, explainer)
    console.print(agreement_page(found).terminal(console.width))
    folder.mkdir(parents=True, exist_ok=True)
    drawn = installed("matplotlib")
    written = write(heatmap([found.matrices[kind] for kind in SHOWN]), folder / "agreement") if drawn else []
    write_text(folder / "agreement.md", agreement_page(found, written[0].name if drawn else "").markdown())
    write_text(folder / "agreement.csv", agreement_csv(found))
    say(f"written: {folder}/agreement.md, .csv{', .png, .svg' if drawn else ''}", err=True)
    if not drawn:
        say(f"the heatmap was not drawn, because matplotlib is not installed: {install('matplotlib')}", err=True)


def reliability(
    spec: Annotated[
        Path, typer.Argument(help="Reliability spec (YAML): a run spec with explainer_seeds, draws, orders.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the runs; runs/NAME by default. Runs that are there already are continued."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Reply cache: a file or postgresql://USER@HOST/DATABASE; the user's by default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamples behind the intervals.")] = 0,
) -> None:
    """Repeat a run and say what its scores depend on.

    It is repeated over draws, explainer seeds, orders and judges. The report has variance components, test-retest
    correlations and the stability of the top k.
    """

    from latentbench.analysis.reliability import as_json, load_reliability_spec
    from latentbench.analysis.reliability import reliability as carry_out
    from latentbench.analysis.reliability_view import reliability_csv, reliability_page
    from latentbench.kernel.files import write_json

    folder = out or Path("runs") / load_reliability_spec(spec).name
    found = carry_out(spec, folder, cache, plain_console(err=True), seed=seed)
    page, console = reliability_page(found), plain_console()
    console.print(page.terminal(console.width))
    write_text(folder / "reliability.md", page.markdown())
    write_text(folder / "reliability.csv", reliability_csv(found))
    write_json(folder / "reliability.json", as_json(found))
    say(f"written: {folder}/reliability.md, .csv, .json", err=True)
