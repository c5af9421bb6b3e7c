"""A recipe file of any kind -> its suite: read from a subject, planted, labelled by people, or gold.

What a file is of stands in it (`kind`), so neither a command nor a caller chooses among builders.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from latentbench.kernel.config import read_yaml
from latentbench.suites.store import Suite

if TYPE_CHECKING:
    from rich.console import Console

    from latentbench.suites.build.negatives import Embed


def build_recipe(
    recipe: Path,
    out: Path | None,
    console: Console,
    *,
    work: Path | None = None,
    labels: Path | None = None,
    embedder: Callable[[str], Embed] | None = None,
    strict: bool = False,
    device: str = "auto",
) -> Suite:
    """Build the suite of a recipe file.

    Args:
        recipe: YAML file; relative paths in it start at its folder.
        out: the suite's folder; the recipe's own by default.
        console: for progress.
        work: folder for activations; the user cache by default.
        labels: folder of the labels of a recipe of kind gold.
        embedder: judge reference -> its embeddings, for hard negatives of the kind `nearest`.
        strict: refuse a suite that is short of what its recipe asks for.
        device: for the subject.

    Raises:
        SpecError: the recipe does not fit its schema; otherwise as the builder of its kind.
    """
    data = read_yaml(recipe)
    kind = data.get("kind") if isinstance(data, dict) else None
    if kind == "planted":
        from latentbench.suites.planted.planted_suite import build_planted

        return build_planted(recipe, out, strict=strict)
    if kind == "labelled":
        from latentbench.suites.planted.labelled import build_labelled

        return build_labelled(recipe, out, strict=strict)
    if kind == "gold":
        from latentbench.suites.planted.gold import build_gold

        return build_gold(recipe, labels, out, strict=strict)
    from latentbench.suites.build.build import build_told
    from latentbench.suites.build.suite_recipe import anchored_recipe, load_recipe

    here = recipe.resolve().parent
    return build_told(anchored_recipe(load_recipe(recipe), here), out or here, work, console, embedder, strict, device)
