"""`bench describe`: every key of a spec, a recipe, a scorer, an explainer or a judge's reference, with type, default, meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from latentbench.views.terminal import plain_console

if TYPE_CHECKING:
    from pydantic import BaseModel

    from latentbench.views.page import Page

KINDS = ("spec", "scorer", "explainer", "judge")
ALL = "all"
"""Kind that stands for the whole reference."""


HEAD = """# Reference

Every key of every file and reference, from the source (`bench describe all > docs/reference.md`; a test holds the page to it).
One of them: `bench describe scorer detection`. Where a task file has other defaults, the task file holds (`tasks/scorers`,
`tasks/explainers`).
"""


def describe(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}; `{ALL}` prints the whole reference.")],
    name: Annotated[str | None, typer.Argument(help="Which one; without it, the names that there are.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, as docs/reference.md has it.")] = False,
) -> None:
    """Print the keys of a spec, scorer, explainer or judge.

    Each has its type, default and meaning.
    """
    from latentbench.kernel.errors import UnknownName
    from latentbench.views.terminal import say

    if kind == ALL:
        say(reference().rstrip())
        return
    if kind not in KINDS:
        raise UnknownName("kind", kind, KINDS)
    if name is None:
        for known in sorted(described(kind)):
            say(known)
        return
    page = page_of(kind, name)
    if markdown:
        say(page.markdown(2).rstrip())
        return
    console = plain_console()
    console.print(page.terminal(console.width))


def reference() -> str:
    """All that can be described, of this package alone, as one page of Markdown."""
    from latentbench.kernel.registry import BUILTIN

    parts = [HEAD]
    for kind in KINDS:
        parts.append(f"## {kind.capitalize()}s\n")
        known = _files() if kind == "spec" else BUILTIN[kind]
        parts += [page_of(kind, name).markdown(3) for name in known]
    return "\n".join(parts)


def described(kind: str) -> list[str]:
    """Names of what `page_of` describes."""
    from latentbench.kernel.registry import names

    return list(_files()) if kind == "spec" else list(names(kind))


def page_of(kind: str, name: str) -> Page:
    """What one thing is and every key of it.

    Raises:
        UnknownName: nothing of that name.
    """
    import inspect

    from latentbench.kernel.described import keys_of
    from latentbench.kernel.errors import UnknownName
    from latentbench.views.page import Page, Prose
    from latentbench.views.table import Column, Table

    if name not in described(kind):
        raise UnknownName(kind, name, described(kind))
    model, title, said = _model(kind, name)
    rows = [
        [key.name, key.type, "required" if key.default is None else key.default, key.meaning] for key in keys_of(model)
    ]
    columns = [
        Column("key", "code"),
        Column("type", "text"),
        Column("default", "code"),
        Column("meaning", "prose", spare=True),
    ]
    what = Prose(" ".join(inspect.cleandoc(said).split("\n\n")[0].split()))
    return Page(title, [what, Table("", columns, rows) if rows else Prose("No keys.")])


def _model(kind: str, name: str) -> tuple[type[BaseModel], str, str]:
    """The model of the keys, a title and what is said of it."""
    from latentbench.kernel.registry import lookup

    if kind == "spec":
        found, what = _files()[name]
        return found, f"{name}: {what}", found.__doc__ or ""
    cls = lookup(kind, name)
    return cls.params_model, f"{kind} {name}", cls.__doc__ or ""


def _files() -> dict[str, tuple[type[BaseModel], str]]:
    """Kind of YAML file -> its model, and what is done with it."""
    from latentbench.analysis.reliability import ReliabilitySpec
    from latentbench.lab.coders.coder_recipe import TrainRecipe
    from latentbench.lab.studies.study_spec import StudySpec
    from latentbench.runs.run_spec import RunSpec
    from latentbench.subject.coders.coder_spec import CoderSpec
    from latentbench.suites.build.suite_recipe import SuiteRecipe
    from latentbench.suites.planted.gold import GoldRecipe
    from latentbench.suites.planted.planted_suite import PlantedRecipe
    from latentbench.tuning.tune_spec import TuneSpec

    return {
        "run": (RunSpec, "a run (bench run FILE)"),
        "tune": (TuneSpec, "a search for settings (bench tune FILE)"),
        "reliability": (ReliabilitySpec, "a reliability study (bench reliability FILE)"),
        "study": (StudySpec, "a study (bench study FILE)"),
        "suite": (SuiteRecipe, "a suite from a subject (bench suite build FILE)"),
        "planted": (PlantedRecipe, "a suite of planted latents (bench suite build FILE)"),
        "gold": (GoldRecipe, "a suite from labels by people (bench suite build FILE)"),
        "coder": (CoderSpec, "a coder, in the recipe of a suite"),
        "train": (TrainRecipe, "a training of coders (bench coder train FILE)"),
    }
