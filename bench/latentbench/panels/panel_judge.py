"""Several judges as one: each request goes to the member that it names, and is answered as if that judge were alone.

A panel has no replies of its own. Each member stands behind its own place in the reply cache, so a member that is added is all
that is paid for, and what a judge answered alone it has answered in the panel. What is asked of whom, and how the answers become
one, says `latentbench.panels.panel_scorer`: a judge that put a question to its members itself would need the scorer's words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pydantic

from latentbench.judges.cache.cache_counts import FromCache
from latentbench.judges.cache.cached_judge import CachedJudge
from latentbench.judges.judge import Judge, guarded
from latentbench.judges.reference import load_judge, split_reference
from latentbench.kernel.config import validate
from latentbench.kernel.errors import CapabilityError, SpecError, UnknownName
from latentbench.kernel.identity import canonical, digest
from latentbench.kernel.requests import Capability, JudgeIdentity, Passed, Reply, Request
from latentbench.panels.panel_spec import INLINE, PROVIDER, FittedMember, PanelParams, read_panel
from latentbench.scorers.scorer import Scorer, load_scorer, question_key

Load = Callable[[str], Judge]

ASKED = {Capability.EMBED: "embedding", Capability.TEXT: "surprisal"}
"""By which scorer a judge is asked that neither reads questions nor simulates."""
READS = {Capability.CHAT, Capability.CHOICE, Capability.SIMULATE}


@dataclass(frozen=True, slots=True)
class Member:
    """A judge in a panel.

    Attributes:
        by: the scorer that asks it about single windows; None where it is asked as it would be alone.
        weight: as the panel's file says; None where it says nothing.
    """

    label: str
    judge: Judge
    by: Scorer | None
    weight: float | None

    @property
    def content(self) -> list[Any]:
        """What the member is, whatever the panel calls it."""
        return [self.judge.identity.key, question_key(self.by) if self.by else "", self.weight]


class PanelJudge(CachedJudge):
    """A panel of judges; see the module docstring and `latentbench.panels.panel_spec`.

    It is a `CachedJudge` because it looks up, and forgets, what its members have stored.

    Args:
        model: name or file of the panel, or `INLINE`.
        params: what goes before the panel's file.
        load: reference of a member -> the judge.
        base: folder that relative paths start at.

    Raises:
        SpecError: fewer than two members, two of one label, a panel among them, or a weight of nobody.
    """

    params_model: ClassVar[type[pydantic.BaseModel]] = PanelParams
    default_model = INLINE

    def __init__(
        self, model: str, params: PanelParams | None = None, load: Load = load_judge, base: Path | None = None
    ) -> None:
        given = params.model_dump(exclude_unset=True) if params else {}
        self.params, self.fit = read_panel(model, given, base or Path())
        self.members = _members(model, self.params, load)
        judges = [m.judge for m in self.members]
        self.can = frozenset({Capability.PANEL})
        self.reads_truth = any(j.reads_truth for j in judges)
        self.in_flight = max(j.in_flight for j in judges)
        self.quorum = self.params.quorum or len(judges)
        if self.quorum > len(judges):
            raise SpecError(f"{PROVIDER}:{model} has {len(judges)} members, and its quorum is {self.quorum}.")
        self.seen = FromCache()
        remote = any(j.identity.dtype == "remote" for j in judges)
        settings = {
            "rule": self.params.rule,
            "quorum": str(self.quorum),
            "members": canonical(sorted((m.content for m in self.members), key=canonical)),
            "fit": digest(self._fitted_content()),
        }
        names = "+".join(sorted(m.judge.identity.model for m in self.members)) if model == INLINE else model
        self.identity = JudgeIdentity(
            PROVIDER, names, digest(settings), "remote" if remote else "local", tuple(settings.items())
        )

    def fitted(self, scorer: str, label: str) -> FittedMember | None:
        """What was fitted for a member and a scorer, by name."""
        own = self.fit.scorers.get(scorer) if self.fit else None
        return own.members.get(label) if own else None

    async def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request, in order, each of the member that it names.

        Raises:
            CapabilityError: a request that names no member.
        """
        found: list[Reply | None] = [None] * len(requests)

        async def ask(member: Member, places: Sequence[int], own: Sequence[Request]) -> None:
            for i, reply in zip(places, await guarded(member.judge, own), strict=True):
                found[i] = replace(reply, by=member.judge.identity)

        try:
            async with asyncio.TaskGroup() as group:
                for member, places, own in self._dealt(requests):
                    group.create_task(ask(member, places, own))
        except BaseExceptionGroup as e:
            raise e.exceptions[0] from e
        self.seen = sum((m.judge.seen for m in self.members if isinstance(m.judge, CachedJudge)), FromCache())
        return [reply for reply in found if reply is not None]

    def look_up(self, requests: Sequence[Request]) -> list[Reply | None]:
        """The stored reply of the member that each request names, None where there is none."""
        found: list[Reply | None] = [None] * len(requests)
        for member, places, own in self._dealt(requests):
            if isinstance(member.judge, CachedJudge):
                for i, reply in zip(places, member.judge.look_up(own), strict=True):
                    found[i] = replace(reply, by=member.judge.identity) if reply else None
        return found

    def forget(self, requests: Sequence[Request], dry_run: bool = False) -> int:
        """Delete the members' stored replies to these requests, or count them; how many."""
        return sum(
            member.judge.forget(own, dry_run)
            for member, _, own in self._dealt(requests)
            if isinstance(member.judge, CachedJudge)
        )

    async def probe(self, request: Request) -> str | None:
        """What the member says that the request names."""
        for member, _, (own,) in self._dealt([request]):
            why = await member.judge.probe(own)
            return why and f"its member {member.label}: {why}"
        return None

    async def close(self) -> None:
        """Close every member."""
        for member in self.members:
            await member.judge.close()

    def _dealt(self, requests: Sequence[Request]) -> list[tuple[Member, list[int], list[Request]]]:
        """Each member that is asked something, with the places of its requests and these."""
        places: dict[str, list[int]] = {m.label: [] for m in self.members}
        own: dict[str, list[Request]] = {m.label: [] for m in self.members}
        for i, request in enumerate(requests):
            if not isinstance(request, Passed):
                raise CapabilityError(f"panel {self.identity.label} is asked through its members, not directly.")
            places[request.member].append(i)
            own[request.member].append(request.request)
        return [(m, places[m.label], own[m.label]) for m in self.members if own[m.label]]

    def _fitted_content(self) -> list[Any]:
        """What was fitted, by what the members are."""
        keys = {m.label: m.content for m in self.members}
        return [
            [
                name,
                own.bias,
                sorted(([keys[label], m] for label, m in own.members.items() if label in keys), key=canonical),
            ]
            for name, own in sorted(self.fit.scorers.items() if self.fit else ())
        ]


def _members(model: str, params: PanelParams, load: Load) -> tuple[Member, ...]:
    labels = [m.label for m in params.members]
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise SpecError(
            f"{PROVIDER}:{model} has the members {labels}; a panel has two or more, each with a `label` of its own "
            "(a panel's file is `panel:FILE.yaml`; a run spec may list them as `params: {members: [...]}`)."
        )
    for name, weight in params.weights.items():
        if name not in labels:
            raise UnknownName("member of the panel", name, labels)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            raise SpecError(f"{PROVIDER}:{model}: the weight of {name!r} is {weight!r}, not a number above 0.")
    found = []
    for spec in params.members:
        judge = load(spec.use)
        if Capability.PANEL in judge.can:
            raise SpecError(f"{PROVIDER}:{model}: the member {spec.label!r} is a panel; name its members instead.")
        kind = spec.by or ("" if judge.can & READS else next((ASKED[c] for c in ASKED if c in judge.can), ""))
        by = load_scorer({"use": kind}) if kind else None
        if by is not None and (kind not in ASKED.values() or not by.fits(judge.can)):
            raise SpecError(
                f"{PROVIDER}:{model}: the member {spec.label!r} can {', '.join(sorted(judge.can))} and cannot be asked "
                f"by {kind!r}; `by` is embedding or surprisal, or is left out."
            )
        found.append(Member(spec.label, judge, by, params.weights.get(spec.label)))
    return tuple(found)


def load_panel(reference: str, more: Mapping[str, Any], load: Load, base: Path) -> PanelJudge:
    """The panel of a reference, with what an entry of a run spec says of it beside.

    Raises:
        SpecError, UnknownName: as `PanelJudge`.
    """
    _, model, given = split_reference(reference)
    params = validate(PanelParams, {**given, **more}, f"judge {reference!r}")
    return PanelJudge(model or INLINE, params, load, base)


def members_of(judge: Judge) -> tuple[Judge, ...]:
    """The members of a panel; none of another judge."""
    return tuple(m.judge for m in judge.members) if isinstance(judge, PanelJudge) else ()


def asked(judges: Iterable[Judge]) -> list[Judge]:
    """Whom questions to these judges go to: members in the place of panels."""
    return [part for judge in judges for part in (members_of(judge) or (judge,))]
