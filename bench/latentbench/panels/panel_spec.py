"""What a panel is, as somebody writes it down, and what was fitted for it.

    panel:NAME                 `panels/NAME.yaml` of the task data
    panel:path/to/FILE.yaml?rule=vote&quorum=2

In a run spec the members may stand in the entry itself, as references or as labels of other judges of the spec:

    judges:
      - {use: "openai:model-a?logprobs=true", label: a}
      - {use: "openai:model-b", label: b}
      - {use: "panel:", label: jury, params: {members: [a, b, "openai:model-c"], rule: vote}}

What was fitted stands in a file of its own, because it is written by a command and the panel by a person.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from latentbench.kernel.config import Frozen, JsonObject, read_yaml, validate
from latentbench.kernel.tasks import find
from latentbench.kernel.veil import veiled
from latentbench.panels.combination import Rule

PROVIDER = "panel"
INLINE = "members"
"""Stands for the name of a panel whose members are given with it."""


def is_panel(reference: str) -> bool:
    """Whether a judge reference names a panel."""
    return reference.partition(":")[0] == PROVIDER


class MemberSpec(Frozen):
    """A member of a panel; a plain string is its `use`."""

    use: str
    """Judge reference, or in a run spec the label of a judge."""
    label: str = ""
    """How tables name the member; `use` by default."""
    by: str = ""
    """Scorer by which the member is asked about each window: `embedding` or `surprisal`. By default it is asked as it would be
    alone, or by the one of these that it can answer."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        found = {"use": value} if isinstance(value, str) else value
        if not isinstance(found, dict):
            return found
        use = found.get("use")
        return {**found, "label": found.get("label") or (veiled(use) if isinstance(use, str) else use)}


class PanelParams(Frozen):
    """A panel: a YAML file, the parameters of a reference, or those of an entry in a run spec."""

    members: tuple[MemberSpec, ...] = ()
    """Judges that are asked, by reference or by label."""
    rule: Rule = "mean"
    """`vote`, `mean` of probabilities, or weighted sum of `logodds`."""
    weights: JsonObject = Field(default_factory=dict)
    """Label of a member -> weight; what was fitted by default, else equal weights."""
    quorum: int | None = Field(default=None, ge=1)
    """Least number of members that must have answered; all by default."""
    fit: str = ""
    """File of what was fitted, beside the panel's."""


class FittedMember(Frozen):
    """What was fitted for one member and one scorer."""

    scale: float
    bias: float
    """Log-odds of its number x: scale x + bias. x is log-odds where the member gives a probability."""
    weight: float = Field(gt=0)


class FittedScorer(Frozen):
    """What was fitted for one scorer."""

    bias: float
    members: dict[str, FittedMember]
    """By label."""


class Fit(Frozen):
    """A file that `bench judge fit-panel` wrote."""

    command: str
    windows: int
    scorers: dict[str, FittedScorer]
    """By name of the scorer."""
    auroc: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Scorer -> member or `panel` -> AUROC on concepts that were not fitted on."""


def read_panel(name: str, given: dict[str, Any], base: Path) -> tuple[PanelParams, Fit | None]:
    """A panel and what was fitted for it.

    Args:
        name: of a panel or its file; `INLINE` for one that `given` describes.
        given: what a reference or an entry says; it goes before what the file says.
        base: folder that a relative path starts at, if the file is there.

    Raises:
        UnknownName: no such panel. SpecError: a file that does not fit.
    """
    folder, held = base, {}
    if name != INLINE:
        path = base / name if name.endswith(".yaml") and (base / name).exists() else find("panels", name)
        folder, held = path.parent, validate(PanelParams, read_yaml(path), str(path)).model_dump(exclude_unset=True)
    params = validate(PanelParams, {**held, **given}, f"{PROVIDER}:{name}")
    if not params.fit:
        return params, None
    return params, validate(Fit, read_yaml(folder / params.fit), str(folder / params.fit))
