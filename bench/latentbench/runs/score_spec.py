"""The run spec of `bench score`: explanations that somebody brings, their floors, and the judges that are named.

Scores without floors are what this project exists against, so they come along unasked: what a text of the same kind about
another latent gets (`shuffled`), no text (`empty`), the strongest tokens alone (`tokens`), and the words that the explanations
copied from the latent's own examples (`copied-words`). The spec is recorded as any other, so the run is resumed, ranked and
compared as any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentbench.judges.reference import split_reference
from latentbench.kernel.config import validate
from latentbench.panels.panel_spec import is_panel
from latentbench.runs.run_spec import RunSpec

SCORERS: Mapping[str, tuple[str, ...]] = {"embed": ("embedding",), "simulator": ("detection", "fuzzing", "simulation")}
"""Provider of a judge -> the scorers that are asked of it."""
OTHERS = ("detection", "fuzzing")
"""Those that any judge which reads a prompt can be asked."""
FLOORS = ("tokens", "empty", "shuffled", "copied-words")


def default_scorers(judges: Sequence[str]) -> dict[str, list[int]]:
    """Scorer -> numbers of the judges that it is asked of, by the provider of each.

    Raises:
        SpecError, UnknownName: what is no reference of a judge.
    """
    found: dict[str, list[int]] = {}
    for number, judge in enumerate(judges):
        provider = "panel" if is_panel(judge) else split_reference(judge)[0]
        for scorer in SCORERS.get(provider, OTHERS):
            found.setdefault(scorer, []).append(number)
    return found


def score_spec(
    path: Path,
    params: Mapping[str, Any],
    suite: str,
    judges: Sequence[str],
    scorers: Sequence[str | Mapping[str, Any]] = (),
    label: str | None = None,
    **settings: Any,
) -> RunSpec:
    """The spec that scores the explanations of a file.

    Args:
        path: of the file or folder.
        params: further parameters of the `file` explainer. Latents that the suite does not have are left out and counted.
        judges: references, one or more.
        scorers: names, YAML files or entries of a run spec; by default what `default_scorers` says.
        label: how tables name the explanations; the file's name by default.
        settings: other fields of the spec, such as `coders` and `limit`.

    Raises:
        SpecError: what is no reference of a judge, or a field that is not valid.
    """
    name = label or path.resolve().name.split(".")[0] or "file"
    name = f"file-{name}" if name in FLOORS else name
    brought: dict[str, Any] = {
        "use": "file",
        "label": name,
        "params": {"path": str(path), "extra": True, **{k: v for k, v in params.items() if v}},
    }
    floors: list[Any] = [
        "tokens",
        "empty",
        {"use": "shuffled", "params": {"of": name}},
        {"use": "copied-words", "params": {"of": name}},
    ]
    labels = [f"judge{i + 1}" for i in range(len(judges))] if len(judges) > 1 else ["judge"]
    asked: list[Any] = list(scorers)
    if not asked:
        asked = [
            {"use": scorer, "judges": [labels[i] for i in numbers]}
            for scorer, numbers in default_scorers(judges).items()
        ]
    spec = {
        "name": "score",
        "suite": suite,
        "explainers": [brought, *floors],
        "scorers": asked,
        "judges": [{"use": use, "label": name} for use, name in zip(judges, labels, strict=True)],
        **{k: v for k, v in settings.items() if v is not None},
    }
    return validate(RunSpec, spec, "bench score")
