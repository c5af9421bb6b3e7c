"""`bench suite`: build, import, show, verify and steer frozen suites."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.cli.finite import finite
from latentbench.cli.run_command import Ray
from latentbench.views.terminal import plain_console, say

app = typer.Typer(help="Build, import, show, verify and steer suites of latents.", no_args_is_help=True)


@app.command()
def build(
    recipe: Annotated[Path, typer.Argument(help="Recipe of the suite (YAML).")],
    out: Annotated[Path | None, typer.Option(help="Folder for the suite; the recipe's own folder by default.")] = None,
    work: Annotated[Path | None, typer.Option(help="Folder for activations; the user cache by default.")] = None,
    labels: Annotated[
        Path | None, typer.Option("--data", help="Folder of the labels of a recipe of kind gold.")
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Refuse a suite that has fewer latents or windows than its recipe asks for."),
    ] = False,
    ray: Ray = None,
) -> None:
    """Build a suite: draw latents and windows and freeze them.

    The subject is run over the corpus for that.
    """

    from latentbench.judges.embed import embedder
    from latentbench.kernel.crew import crew
    from latentbench.suites.any_recipe import build_recipe

    console = plain_console(err=True)
    with crew(ray):
        built = build_recipe(recipe, out, console, work=work, labels=labels, embedder=embedder, strict=strict)
    say(f"{built.name}@{built.version}  digest {built.digest}  {built.path}")


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="File or folder with another tool's activations.")],
    format: Annotated[str, typer.Option("--from", help="Format: neuronpedia, delphi, openai or parquet.")],
    out: Annotated[Path, typer.Option(help="Folder for the suite.")],
    name: Annotated[str | None, typer.Option(help="Name of the suite; that of the folder by default.")] = None,
    version: Annotated[str, typer.Option(help="Version of the suite, N-X.")] = "1-0",
    coder: Annotated[str | None, typer.Option(help="Name of the coder in ids; the source's own by default.")] = None,
    kind: Annotated[str | None, typer.Option(help="Kind of coder: sae, transcoder or neurons.")] = None,
    hookpoint: Annotated[
        str | None, typer.Option(help="Place where the coder reads; the one to import where there are several.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Tokenizer of the subject, by folder or model, for sources of token ids.")
    ] = None,
    latents: Annotated[int | None, typer.Option(help="Number of latents to draw; all by default.")] = None,
    index: Annotated[list[int] | None, typer.Option(help="Latent to import. May be repeated.")] = None,
    min_windows: Annotated[int, typer.Option(help="Least number of firing windows that qualifies a latent.")] = 8,
    window: Annotated[
        int | None, typer.Option(help="Tokens of a window; by default as they are, and 32 from a cache.")
    ] = None,
    silent_below: Annotated[
        float, typer.Option(help="Share of a latent's largest activation up to which it is silent.", callback=finite)
    ] = 0.0,
    explain: Annotated[int, typer.Option(help="Number of explain windows per latent.")] = 20,
    sampling: Annotated[
        str, typer.Option(help="Choice of explain windows: quantile, top, random or mix.")
    ] = "quantile",
    per_decile: Annotated[int, typer.Option(help="Number of firing test windows per decile.")] = 2,
    negatives: Annotated[int, typer.Option(help="Number of silent test windows per latent.")] = 20,
    silent_from: Annotated[
        str, typer.Option(help="Where silent test windows come from: auto, own, others or none.")
    ] = "auto",
    tune_share: Annotated[float, typer.Option(help="Share of the latents that tuning may see.", callback=finite)] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every draw.")] = 0,
) -> None:
    """Make a suite of activations that another tool has published.

    No subject is run. The suite says what it cannot know.
    """
    from latentbench.suites.imported.imported_files import import_files
    from latentbench.suites.imported.suite_notes import notes
    from latentbench.suites.show import shortfalls

    made = import_files(
        source,
        format,
        out,
        name=name,
        version=version,
        coder=coder,
        kind=kind,
        hookpoint=hookpoint,
        tokenizer=tokenizer,
        latents=latents,
        indices=tuple(index or ()),
        min_windows=min_windows,
        window=window,
        silent_below=silent_below,
        explain=explain,
        sampling=sampling,
        per_decile=per_decile,
        negatives=negatives,
        silent_from=silent_from,
        tune_share=tune_share,
        seed=seed,
    )
    for line in (*notes(made), *made.manifest["omitted"], shortfalls(made.latents())):
        say(line)
    say(f"{made.name}@{made.version}  digest {made.digest}  {made.path}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Suite, by name or folder.")],
    latent: Annotated[str | None, typer.Option(help="Latent to show with its windows; the first by default.")] = None,
) -> None:
    """Show what a suite holds and one latent with its windows."""

    from latentbench.suites.show import show_suite
    from latentbench.suites.store import load_suite

    plain_console().print(show_suite(load_suite(name), latent))


@app.command()
def verify(
    name: Annotated[str, typer.Argument(help="Suite, by name or folder.")],
    activations: Annotated[bool, typer.Option("--activations", help="Also run the subject again on a sample.")] = False,
) -> None:
    """Check the digest of a suite and every rule it promises.

    The exit code is 2 if a promise is broken.
    """
    from latentbench.kernel.errors import DataError
    from latentbench.suites.store import load_suite
    from latentbench.suites.verify import verify as check

    report = check(load_suite(name), activations=activations)
    for line in report.lines:
        say(line)
    if not report.ok:
        raise DataError(f"{name}: {len(report.problems)} promises are broken; the first: {report.problems[0]}")


@app.command()
def intervene(
    name: Annotated[str, typer.Argument(help="Suite, by name or folder.")],
    coders: Annotated[
        list[str] | None, typer.Option(help="Coder whose latents are steered. May be repeated; all coders by default.")
    ] = None,
    latents: Annotated[
        int | None, typer.Option(help="Largest number of latents, chosen as a run's `limit` does.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split whose latents are steered: test, tune or all.")] = "test",
    kl: Annotated[
        list[float] | None,
        typer.Option(min=0, callback=finite, help="Target KL in nats. May be repeated; 0.1, 0.33, 1 and 3 by default."),
    ] = None,
    mode: Annotated[
        list[str] | None, typer.Option(help="Mode of steering: add or ablate. May be repeated; add by default.")
    ] = None,
    prompts: Annotated[int, typer.Option(help="Number of scoring prompts per latent.")] = 30,
    explain: Annotated[int, typer.Option(help="Number of prompts per latent for output-side explainers.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw of prompts and of the noise.")] = 0,
    group: Annotated[int, typer.Option(help="Number of latents that are computed together.")] = 4,
    dtype: Annotated[
        str | None, typer.Option(help="Number type of the subject; the one of the suite's build by default.")
    ] = None,
    device: Annotated[str, typer.Option(help="Device to compute on: auto, cpu or cuda.")] = "auto",
    work: Annotated[Path | None, typer.Option(help="Folder for finished latents; the user cache by default.")] = None,
) -> None:
    """Steer the subject along latents at given strengths.

    A call goes on where an earlier one stopped.
    """
    from typing import cast, get_args

    from latentbench.kernel.errors import UnknownName
    from latentbench.models.language_model import DType
    from latentbench.suites.steer.intervene import SteerSettings
    from latentbench.suites.steer.intervene import intervene as run
    from latentbench.suites.store import load_suite

    if dtype is not None and dtype not in get_args(DType):
        raise UnknownName("dtype", dtype, get_args(DType))
    defaults = SteerSettings()
    settings = SteerSettings(
        modes=tuple(mode or defaults.modes),
        kls=tuple(kl or defaults.kls),
        prompts=prompts,
        explain=explain,
        seed=seed,
        group=group,
        dtype=cast(DType | None, dtype),
    )
    digest = run(
        load_suite(name),
        settings,
        coders,
        latents,
        None if split == "all" else split,
        work,
        device,
        say=lambda line: say(line, err=True),
    )
    say(f"interventions {digest}")
