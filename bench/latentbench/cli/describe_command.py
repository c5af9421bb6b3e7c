"""`bench describe`: every key of a spec, a recipe, a scorer, an explainer or a judge's reference, with type, default, meaning."""

from __future__ import annotations

from collections.abc import Mapping
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
        known = FILES if kind == "spec" else BUILTIN[kind]
        parts += [page_of(kind, name).markdown(3) for name in known]
    return "\n".join(parts)


def described(kind: str) -> list[str]:
    """Names of what `page_of` describes."""
    from latentbench.kernel.registry import names

    return list(FILES) if kind == "spec" else list(names(kind))


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
        found = _file_model(name)
        return found, f"{name}: {FILES[name]}", found.__doc__ or ""
    cls = lookup(kind, name)
    return cls.params_model, f"{kind} {name}", cls.__doc__ or ""


FILES: Mapping[str, str] = {
    "run": "a run (bench run FILE)",
    "tune": "a search for settings (bench tune FILE)",
    "reliability": "a reliability study (bench reliability FILE)",
    "study": "a study (bench study FILE)",
    "suite": "a suite from a subject (bench suite build FILE)",
    "planted": "a suite of planted latents (bench suite build FILE)",
    "gold": "a suite from labels by people (bench suite build FILE)",
    "coder": "a coder, in the recipe of a suite",
    "train": "a training of coders (bench coder train FILE)",
}
"""Kind of YAML file -> what is done with it."""


def _file_model(name: str) -> type[BaseModel]:
    """The model of one kind of YAML file; only its own room is imported, because some need torch and a run spec needs none."""
    match name:
        case "run":
            from latentbench.runs.run_spec import RunSpec

            return RunSpec
        case "tune":
            from latentbench.tuning.tune_spec import TuneSpec

            return TuneSpec
        case "reliability":
            from latentbench.analysis.reliability import ReliabilitySpec

            return ReliabilitySpec
        case "study":
            from latentbench.lab.studies.study_spec import StudySpec

            return StudySpec
        case "suite":
            from latentbench.suites.build.suite_recipe import SuiteRecipe

            return SuiteRecipe
        case "planted":
            from latentbench.suites.planted.planted_suite import PlantedRecipe

            return PlantedRecipe
        case "gold":
            from latentbench.suites.planted.gold import GoldRecipe

            return GoldRecipe
        case "coder":
            from latentbench.subject.coders.coder_spec import CoderSpec

            return CoderSpec
        case _:
            from latentbench.lab.coders.coder_recipe import TrainRecipe

            return TrainRecipe
