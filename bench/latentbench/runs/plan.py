"""Spec -> plan: every object of the grid, every cell, and the key of everything that can change a number.

All lookups, parameter checks and capability checks happen here, before the first call is paid for: a misspelt scorer must
not be found out after an hour of explaining. The plan is also what `resume` compares with the run folder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from unicodedata import category

from latentbench.explainers.explainer import Explainer, stated
from latentbench.explainers.matched import Matched
from latentbench.judges.judge import Judge
from latentbench.kernel.boundary import Fault, attempt
from latentbench.kernel.errors import CapabilityError, SpecError, UnknownName
from latentbench.kernel.identity import digest, joined, seed_for
from latentbench.kernel.kinds import require_kinds
from latentbench.kernel.latent import LatentView
from latentbench.panels.panel_judge import members_of
from latentbench.panels.panel_scorer import lack, seated
from latentbench.runs.record import Identities, SuiteRecord, Unasked
from latentbench.runs.run_spec import RunSpec
from latentbench.scorers.scorer import Scorer, declared
from latentbench.suites.latent_views import LatentViews
from latentbench.suites.store import Suite

CELLS = 200_000
UNITS = 100_000_000
"""Cells of a run, and latents in cells, at most: some hundred times what has been asked of one run."""


@dataclass(frozen=True)
class Cell:
    """One explainer x scorer x judge x repeat.

    Attributes:
        id: `explainer/scorer/judge/repeat` by label; no two cells of a plan share one.
        explainer, scorer, judge: labels.
        repeat: number of the repeat.
    """

    id: str
    explainer: str
    scorer: str
    judge: str
    repeat: int


@dataclass(frozen=True)
class Plan:
    """A run spec with everything looked up.

    Attributes:
        explainers: label -> explainer, in an order in which each follows those it reads from.
        models: explainer label -> label in `judges` of the model that generates for it.
        judges: label -> judge, those of the grid and those that only generate.
        asking: labels of a scorer and a judge -> the scorer as it asks that judge: itself, or each member of a panel.
        cells: the grid.
        unasked: scorers and judges of the spec that do not meet in it, because the judge cannot answer the scorer.
        matched: explainer label -> what of its own texts met the suite, for those that bring any.
    """

    spec: RunSpec
    suite: Suite
    latents: Sequence[LatentView]
    explainers: Mapping[str, Explainer]
    models: Mapping[str, str]
    scorers: Mapping[str, Scorer]
    judges: Mapping[str, Judge]
    asking: Mapping[tuple[str, str], Scorer]
    cells: tuple[Cell, ...]
    unasked: tuple[Unasked, ...] = ()
    matched: Mapping[str, Matched] = field(default_factory=dict)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Ids of the latents; those of views that were not made yet do not make them."""
        return self.latents.ids if isinstance(self.latents, LatentViews) else tuple(v.id for v in self.latents)

    @cached_property
    def explainer_keys(self) -> Mapping[str, str]:
        """Explainer label -> key, taken once: a file that is edited while the run goes on does not split its rows."""
        return explainer_keys(self.explainers)

    def called(self, label: str) -> str:
        """A judge in a message; a model that only writes is no judge, and has no label of its own."""
        writes = [explainer for explainer, model in self.models.items() if model == label]
        judges = label in {j.label for j in self.spec.judges} or not writes
        return f"judge {label}" if judges else f"model of explainer {' and '.join(writes)}"

    @property
    def suite_record(self) -> SuiteRecord:
        """The suite as a record names it."""
        return SuiteRecord(name=self.suite.name, version=self.suite.version, digest=self.suite.digest)

    def identities(self) -> Identities:
        """Keys of everything that can change a number; equal identities mean that a run may be resumed."""
        used = [e.uses_interventions for e in self.explainers.values()]
        used += [s.uses_interventions for s in self.scorers.values()]
        steered = self.suite.interventions if any(used) else None
        return Identities(
            suite=self.suite.digest,
            interventions=steered.digest if steered else None,
            latents=digest(list(self.ids)),
            seed=self.spec.seed,
            explain_seed=self.spec.explain_seed,
            order=self.spec.order,
            explainers=dict(self.explainer_keys),
            models=dict(self.models),
            scorers={label: scorer.key for label, scorer in self.scorers.items()},
            judges={label: judge.identity.key for label, judge in self.judges.items()},
            cells=tuple(cell.id for cell in self.cells),
        )


def make_plan(
    spec: RunSpec,
    suite: Suite,
    explainers: Mapping[str, Explainer],
    scorers: Mapping[str, Scorer],
    judges: Mapping[str, Judge],
    models: Mapping[str, str],
) -> Plan:
    """Combine looked-up objects into cells.

    Args:
        explainers, scorers: by label, as the spec names them.
        judges: by label: the judges of the spec and the models of explainers.
        models: explainer label -> label in `judges`.

    Raises:
        SpecError: a label with a control character, a judge that no scorer uses, an explainer without its model, an explainer
            that reads from one that is not in the grid or from itself, or a scorer that asks for steered texts or for a kind
            of negative windows that the suite lacks.
        CapabilityError: a scorer that no judge of the grid can serve, or an explainer's model that cannot chat.
    """
    chosen = suite.chosen(split=None if spec.split == "all" else spec.split, coders=spec.coders, limit=spec.limit)
    latents = LatentViews(suite, chosen)
    if not latents:
        raise SpecError(f"suite {suite.name} has no latents with split {spec.split!r} and coders {spec.coders}.")
    for label in (*explainers, *scorers, *judges):
        if any(category(c) in ("Cc", "Cs", "Zl", "Zp") for c in label):
            raise SpecError(
                f"label {label!r} holds a control character or a line break; give the entry another `label`."
            )
    for label, explainer in explainers.items():
        _passes(f"explainer {label!r}", stated(explainer))
    for label, scorer in scorers.items():
        _passes(f"scorer {label!r}", declared(scorer))
    ordered = _ordered(explainers)
    met: dict[str, Matched] = {}
    for label, explainer in ordered.items():
        found = _met(explainer, suite, chosen)
        _passes(f"explainer {label!r}", found if isinstance(found, Fault) else None)
        met |= {label: found} if isinstance(found, Matched) else {}
        if not explainer.needs:
            continue
        if label not in models:
            raise SpecError(f"explainer {label!r} asks a model: give it one with `model: PROVIDER:NAME`.")
        model = judges[models[label]]
        if not explainer.needs <= model.can:
            how = " Take `subject:SUITE?writer=JUDGE`." if "activate" in explainer.needs - model.can else ""
            needs, can = " and ".join(sorted(explainer.needs)), ", ".join(sorted(model.can))
            raise CapabilityError(f"explainer {label!r} needs {needs}, but {model.identity.label} can {can}.{how}")
    _not_too_many(spec, len(latents))
    grid: list[tuple[str, str, str, int]] = []
    used: set[str] = set()
    asking: dict[tuple[str, str], Scorer] = {}
    unasked: list[Unasked] = []
    held = suite.test_kinds
    for entry in spec.scorers:
        scorer = scorers[entry.label]
        if scorer.uses_interventions and suite.interventions is None:
            how = (
                f"yet: make them with `bench suite intervene {suite.name}`"
                if "subject" in suite.manifest
                else ("and names no subject that could be steered")
            )
            raise SpecError(f"scorer {entry.label!r} reads steered texts, and suite {suite.name} has none {how}.")
        require_kinds(scorer.negative_kinds, held, entry.label, suite.name)
        offered = [j.label for j in spec.judges]
        asking |= {(entry.label, label): seated(scorer, judges[label]) for label in offered}
        for name in entry.judges or []:
            if name not in offered:
                raise UnknownName(f"judge label of scorer {entry.label!r}", name, offered)
        fit = [label for label in offered if asking[entry.label, label].fits(judges[label].can)]
        wanted = entry.judges or fit
        for label in wanted:
            if label not in fit:
                raise CapabilityError(_unfit(scorer, [label], judges))
        if not wanted:
            raise CapabilityError(_unfit(scorer, offered, judges))
        used.update(wanted)
        left_out = [label for label in offered if label not in wanted] if entry.judges is None else []
        unasked += [
            Unasked(scorer=entry.label, judge=label, reason=_lack(asking[entry.label, label], judges[label]))
            for label in left_out
        ]
        grid += [(e, entry.label, judge, repeat) for e in ordered for judge in wanted for repeat in range(spec.repeats)]
    seats = [member for label in used for member in members_of(judges[label])]
    idle = [j.label for j in spec.judges if j.label not in used and judges[j.label] not in seats]
    if idle:
        raise SpecError(
            f"judge {idle[0]!r} serves none of the scorers {sorted(scorers)}; remove it or add a scorer for it. A model that "
            "only writes is no judge: give its reference to the explainer itself, `model: PROVIDER:NAME`."
        )
    plan = Plan(spec, suite, latents, ordered, models, scorers, judges, asking, cells_of(grid), tuple(unasked), met)
    # Taken now: an explainer that cannot say its key is found out before anything is paid.
    assert len(plan.explainer_keys) == len(ordered)
    return plan


def _not_too_many(spec: RunSpec, latents: int) -> None:
    """Count what a spec asks for, before any of it is made.

    Raises:
        SpecError: it is more than anybody means.
    """
    parts = {
        "explainers": len(spec.explainers),
        "scorers": len(spec.scorers),
        "judges": len(spec.judges),
        "repeats": spec.repeats,
    }
    told = " x ".join(f"{n:,} {name}" for name, n in parts.items())
    cells = math.prod(parts.values())
    if cells > CELLS:
        raise SpecError(f"{told} are {cells:,} cells, more than {CELLS:,}; ask for fewer, or in several runs.")
    if cells * latents > UNITS:
        raise SpecError(
            f"{told} x {latents:,} latents are {cells * latents:,} units, more than {UNITS:,}; set a `limit`, or ask in several "
            "runs."
        )


def cells_of(grid: Sequence[tuple[str, str, str, int]]) -> tuple[Cell, ...]:
    """Cells of labels and repeats. A `/` in a label is written as `%2F` only where two ids would be one, so that stored runs keep
    theirs."""
    plain = ["/".join(map(str, place)) for place in grid]
    ids = plain if len(set(plain)) == len(plain) else [joined([*map(str, place)]) for place in grid]
    return tuple(Cell(name, *place) for name, place in zip(ids, grid, strict=True))


def _passes(who: str, fault: Fault | None) -> None:
    """Refuse what says of itself something that nobody can use.

    Raises:
        SpecError: with the fault's line.
    """
    if fault is not None:
        raise SpecError(f"{who}: {fault.line}")


def _met(explainer: Explainer, suite: Suite, asked: Sequence[str]) -> object:
    return attempt(explainer, "check", lambda: explainer.meet(suite.known_coders, suite.ids, asked), object)


def explainer_keys(explainers: Mapping[str, Explainer]) -> dict[str, str]:
    """Label -> key of a run's explainers, each after those it reads from, whose keys are part of its own.

    An explainer alone cannot say what a label of another one stands for, so nobody asks it for its key but this function.

    Raises:
        SpecError: an explainer reads from one that is not there, or from itself, or cannot say its key.
    """
    keys: dict[str, str] = {}
    for label, explainer in _ordered(explainers).items():
        found = _key(explainer, keys)
        if isinstance(found, Fault):
            raise SpecError(f"explainer {label!r}: {found.line}")
        keys[label] = found
    return keys


def _key(explainer: Explainer, parts: Mapping[str, str]) -> str | Fault:
    return attempt(explainer, "key", lambda: explainer.key(parts), str)


def explain_seed(spec: RunSpec, repeat: int, explainer: Explainer, latent: LatentView) -> int:
    """Seed of one explanation. Here and nowhere else: whoever looks for a stored call must ask exactly what the run asked."""
    own = spec.seed if spec.explain_seed is None else spec.explain_seed
    return seed_for("explain", own, repeat, explainer.name, latent.id)


def _ordered(explainers: Mapping[str, Explainer]) -> dict[str, Explainer]:
    done: dict[str, Explainer] = {}
    waiting = dict(explainers)
    while waiting:
        ready = [label for label, e in waiting.items() if all(a in done for a in e.after)]
        if not ready:
            label, explainer = next(iter(waiting.items()))
            missing = [a for a in explainer.after if a not in explainers]
            if missing:
                others = [other for other in explainers if other != label]
                raise UnknownName(f"explainer that {label!r} reads from", missing[0], others)
            raise SpecError(f"explainers {sorted(waiting)} read from each other in a circle.")
        for label in ready:
            done[label] = waiting.pop(label)
    return done


def _lack(scorer: Scorer, judge: Judge) -> str:
    return lack(scorer) or f"it needs {_needs(scorer)}, and the judge can {_abilities(judge)}"


def _needs(scorer: Scorer) -> str:
    return " or ".join("+".join(sorted(c.value for c in alternative)) for alternative in scorer.needs)


def _abilities(judge: Judge) -> str:
    return ", ".join(sorted(c.value for c in judge.can)) or "nothing"


def _unfit(scorer: Scorer, labels: list[str], judges: Mapping[str, Judge]) -> str:
    missing = {label: lack(seated(scorer, judges[label])) for label in labels}
    have = "; ".join(
        f"{label}: {why}" if why else f"{label} can {_abilities(judges[label])}" for label, why in missing.items()
    )
    return f"scorer {scorer.name!r} needs a judge with {_needs(scorer)}. {have}."
