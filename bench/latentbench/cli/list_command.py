"""`bench list`: what can be named in a run spec."""

from __future__ import annotations

from typing import Annotated

import typer

from latentbench.views.terminal import say

KINDS = ("scorers", "explainers", "judges", "coders", "suites", "runs", "studies", "tuning", "profiles")


def listing(kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}.")]) -> None:
    """List what can be named in a spec.

    These are registered names, shipped suites, run specs, studies and profiles;
    judges with the parameters of their references.
    A registered scorer or explainer without a task file is named by a file of
    your own that says which implementation it uses.
    """
    from latentbench.kernel.errors import UnknownName
    from latentbench.kernel.registry import names
    from latentbench.kernel.tasks import available

    if kind not in KINDS:
        raise UnknownName("kind", kind, KINDS)
    if kind in ("judges", "coders"):
        for name, target in sorted(names(kind.removesuffix("s")).items()):
            say(f"{name:<16} {target}")
            if kind == "judges":
                say(_options(name))
        return
    for name, path in sorted(available(kind).items()):
        say(f"{name:<24} {path}")
    if kind in ("scorers", "explainers"):
        from latentbench.prompts.task import without_task

        for name, target in sorted(without_task(kind).items()):
            say(f"{name:<24} {target}, no task file: name a YAML file with `implementation: {name}`")


def _options(provider: str) -> str:
    """The parameters of a judge's reference, `name=default`; required ones without a default."""
    from textwrap import fill

    from latentbench.kernel.errors import SpecError
    from latentbench.kernel.extras import MissingExtra
    from latentbench.kernel.registry import lookup

    try:
        fields = lookup("judge", provider).params_model.model_fields
    except (SpecError, MissingExtra) as e:  # one that cannot be loaded hides none of the others
        return f"    {e}"
    said = [
        name if field.is_required() else f"{name}={_shown(field.get_default(call_default_factory=True))}"
        for name, field in fields.items()
    ]
    return fill(
        "  ".join(said) or "no parameters", 100, initial_indent="    ", subsequent_indent="    ", break_long_words=False
    )


def _shown(value: object) -> str:
    """A default as a reference would say it; nothing where there is none."""
    return "" if value in (None, "", {}) else str(value).lower() if isinstance(value, bool) else str(value)
