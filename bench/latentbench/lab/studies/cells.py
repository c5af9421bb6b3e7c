"""Levels -> runs of the harness -> one long table of scores.

Levels that share a suite and scorers share a run: their explainers stand in one grid, are judged in the same batches on the same
windows, and an explainer that several levels use alike is run once. Levels that differ in coders only are one run, read apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from latentbench.kernel.config import validate
from latentbench.kernel.errors import SpecError
from latentbench.kernel.identity import canonical
from latentbench.lab.studies.session import CONTROL, Session
from latentbench.lab.studies.study_spec import ProfileExplainer, ProfileScorer
from latentbench.runs.finished import Run
from latentbench.suites.store import Suite

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("level", "explainer", "real", "scorer", "judge", "latent", "coder", "value", "judged", "attempted")


@dataclass(frozen=True)
class GroupMember:
    """One explainer of one level in a run.

    Attributes:
        level: label of the level.
        explainer: name in the study.
        label: in the run.
        coders: of the level; None for all.
    """

    level: str
    explainer: str
    label: str
    coders: tuple[str, ...] | None


@dataclass
class CellGroup:
    """Levels that share a run.

    Attributes:
        suite, scorers: what they share.
        explainers: label in the run -> entry.
        members: who uses which label.
    """

    suite: Suite
    scorers: Mapping[str, ProfileScorer]
    explainers: dict[str, ProfileExplainer] = field(default_factory=dict)
    members: list[GroupMember] = field(default_factory=list)

    def label(self, name: str, entry: ProfileExplainer) -> str:
        """Label of an entry in the run: the name, with a number where one name means several things."""
        for label, known in self.explainers.items():
            if known == entry and label.partition("#")[0] == name:
                return label
        taken = sum(label.partition("#")[0] == name for label in self.explainers)
        label = f"{name}#{taken + 1}" if taken else name
        self.explainers[label] = entry
        return label

    @property
    def coders(self) -> list[str] | None:
        """Coders of all members, in the suite's order; None for all."""
        if any(m.coders is None for m in self.members):
            return None
        wanted = {c for m in self.members for c in m.coders or ()}
        missing = sorted(wanted - set(self.suite.coders))
        if missing:
            raise SpecError(
                f"suite {self.suite.name} has no coder {missing[0]!r}; it has {', '.join(self.suite.coders)}."
            )
        return [c for c in self.suite.coders if c in wanted]


def groups(session: Session) -> list[CellGroup]:
    """The runs that a study's levels need; builds their suites."""
    study, profile = session.study, session.profile
    found: dict[str, CellGroup] = {}
    indices = _indices(session) if study.same_latents else None
    for level in session.levels:
        suite = session.suite(level, indices)
        scorers = {s: patched(profile.scorers[s], level.scorers.get(s, {})) for s in session.scorers}
        key = canonical([str(suite.path), suite.digest, {s: e.model_dump() for s, e in scorers.items()}])
        group = found.setdefault(key, CellGroup(suite, scorers))
        for name in session.explainers:
            entry = patched(profile.explainers[name], level.explainers.get(name, {}))
            group.members.append(GroupMember(level.label, name, group.label(name, entry), level.coders or study.coders))
    return list(found.values())


def _indices(session: Session) -> dict[str, list[int]]:
    """The reference level's latents by coder, as many as the study asks for."""
    level = next(level for level in session.levels if level.label == session.reference)
    suite = session.suite(level)
    coders = list(level.coders or session.study.coders or suite.coders)
    found: dict[str, list[int]] = {}
    for latent in suite.latents("test", coders, session.latents * len(coders)):
        found.setdefault(latent.coder, []).append(latent.index)
    return found


def patched(entry: Any, change: Mapping[str, Any]) -> Any:
    """An entry with keys that differ. Another `use` starts from nothing but judge, metric and limit; else params are merged."""
    if not change:
        return entry
    data = entry.model_dump()
    if "use" in change and change["use"] != data["use"]:
        data |= {"preset": None, "params": {}} | ({"model": None} if "model" in data else {})
    params = {**data["params"], **change.get("params", {})}
    return validate(type(entry), {**data, **change, "params": params}, "level of a study")


def gather(
    session: Session, made: list[CellGroup] | None = None
) -> tuple[pd.DataFrame, list[tuple[CellGroup, list[Run]]]]:
    """Run everything and read the scores.

    Returns:
        The table, columns `COLUMNS`, one row per level x explainer x scorer x latent and whether the explanation is the
        latent's own (`real`) or another one's; and the runs of each group.
    """
    import pandas as pd

    parts: list[pd.DataFrame] = []
    runs: list[tuple[CellGroup, list[Run]]] = []
    for group in groups(session) if made is None else made:
        done = session.run(group.suite, group.explainers, group.scorers, group.coders, session.latents)
        runs.append((group, done))
        for run in done:
            scores = run.per_latent({name: s.metric for name, s in group.scorers.items()})
            for m in group.members:
                inside = scores if m.coders is None else scores[scores["coder"].isin(m.coders)]
                for label, real in ((m.label, True), (f"{CONTROL}{m.label}", False)):
                    mine = inside[inside["explainer"] == label]
                    parts.append(mine.assign(level=m.level, explainer=m.explainer, real=real)[list(COLUMNS)])
    return pd.concat(parts, ignore_index=True), runs
