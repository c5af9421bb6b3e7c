"""One trial: a setting becomes an ordinary run on tuning latents, carried out in steps of latents.

The run folder of a trial is one of `bench run`: the same harness, cache, outcomes and tables, so a trial can be read and reported
like any run. A step adds latents to it and is paid only if the trial is still worth it.

What can go wrong with a setting makes a failed trial with its outcome, which no sampler reads as a score. What is wrong with the
search itself (the default setting cannot run, the suite changed) stops it.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from latentbench.judges.cache.replies import ReplyCache
from latentbench.kernel.config import validate
from latentbench.kernel.errors import BenchError, RunError, SpecError
from latentbench.kernel.identity import digest
from latentbench.kernel.requests import Outcome
from latentbench.runs.finished import load_run
from latentbench.runs.journal import ExplainedUnit, JudgedUnit
from latentbench.runs.ownership import is_passing, owned
from latentbench.runs.plan import Plan
from latentbench.runs.record import Identities
from latentbench.runs.run import Pool, carry_out, open_run, prepare
from latentbench.runs.run_journals import explanation_journal, judgement_journal
from latentbench.runs.run_spec import RunSpec
from latentbench.tuning import storage
from latentbench.tuning.budget import FACTS, spent, spent_by
from latentbench.tuning.prune import compare, order, steps
from latentbench.tuning.space import run_spec, suggest
from latentbench.tuning.tune_measures import SettingMeasures, infeasible, measure, tuned_explainer
from latentbench.tuning.tune_spec import Objective, Settings, TuneSpec
from latentbench.views.number import finite

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

DEFAULT = "default"
"""Name of the setting that tuning must beat."""
BROKEN, PRUNED, SAME_AS = "infeasible", "pruned", "same_as"
"""User attributes of a trial."""


class TrialFailed(Exception):
    """A setting has no result; the reason is in the trial's attributes. Caught by the search."""


@dataclass
class TrialRunner:
    """Carries out trials for one worker.

    Attributes:
        base: folder that relative paths of the spec are relative to.
        folder: of the search; trials go to `trials/NUMBER`.
        runner: event loop of all trials; the pool's judges live in it.
        suite: of the search, once a trial has shown it.
    """

    spec: TuneSpec
    base: Path
    folder: Path
    command: str
    cache: ReplyCache
    runner: asyncio.Runner
    pool: Pool = field(default_factory=Pool)
    _quiet: Console = field(default_factory=lambda: Console(quiet=True))

    def __call__(self, trial: Trial) -> float | tuple[float, ...]:
        """The objectives of a setting.

        Raises:
            TrialPruned: clearly worse than the incumbent.
            TrialFailed: no result, or the budget ended it.
            BenchError: the search itself cannot go on.
        """
        trial.set_user_attr(storage.WORKER, storage.me())
        settings = suggest(trial, self.spec.space)
        earlier = _earlier(trial)
        if earlier is not None:
            return self._repeat(trial, earlier)
        try:
            with owned(self._place(trial)):
                return self._run(trial, settings)
        except KeyboardInterrupt:
            storage.queue_again(trial.study, _frozen(trial), "interrupted")
            raise

    def _repeat(self, trial: Trial, earlier: FrozenTrial) -> float | tuple[float, ...]:
        """The result of the trial that had this setting: the sampler is told, nothing is run and nothing counted twice."""
        import optuna

        trial.set_user_attr(SAME_AS, earlier.number)
        if earlier.state == optuna.trial.TrialState.PRUNED:
            raise optuna.TrialPruned
        trial.set_user_attr(BROKEN, earlier.user_attrs.get(BROKEN, []))
        for name, value in earlier.constraints.items():
            trial.set_constraint(name, value)
        return tuple(earlier.values) if len(earlier.values) > 1 else float(earlier.values[0])

    def _place(self, trial: Trial) -> Path:
        return self.folder / "trials" / f"{trial.number:04d}"

    def _run(self, trial: Trial, settings: Settings) -> float | tuple[float, ...]:
        folder = self._place(trial)
        try:
            plan = self.plan(settings)
            ordered = order(plan.latents, self.spec.seed)
            self._same_suite(trial.study, plan, [v.id for v in ordered])
            if any(not is_passing(p.name) for p in folder.iterdir()):
                raise RunError(f"{folder} holds a trial of another search; give another --out.")
            record = open_run(plan, self.base, folder, f"{self.command} # trial {trial.number}")
        except BenchError as e:
            if trial.user_attrs.get(storage.NAME) == DEFAULT or isinstance(e, RunError):
                raise
            raise self._failed(trial, Outcome.SKIPPED.value, str(e)) from e
        counts = steps(len(ordered), self.spec.prune if len(self.spec.objectives) == 1 else None)
        for n in counts:
            part = replace(plan, latents=tuple(ordered[:n]))
            ids = tuple(v.id for v in part.latents)
            record = record.model_copy(update={"status": "running", "latents": ids, "identities": part.identities()})
            record = carry_out(part, folder, record, self._quiet, self.runner)
            measured = measure(load_run(folder), self._measured, self.spec.explainer)
            self._note(trial, part, folder, record.seconds, measured)
            if n < len(ordered):
                self._worth_going_on(trial, measured, len(counts))
                self._affordable(trial, n, len(ordered))
        broken = self._constrain(trial, measured)
        trial.set_user_attr(BROKEN, broken)
        found = tuple(measured.mean(o) for o in self.spec.objectives)
        return found if len(found) > 1 else found[0]

    def plan(self, settings: Mapping[str, Any]) -> Plan:
        """The run of a setting, looked up.

        Raises:
            BenchError: as `prepare`; SpecError: a floor that needs all latents at once.
        """
        data = run_spec(self.spec, settings)
        plan = prepare(validate(RunSpec, data, "run"), self.base, self.cache, self.pool)
        for label, explainer in plan.explainers.items():
            if explainer.is_floor and explainer.after:
                raise SpecError(
                    f"explainer {label!r} exchanges explanations between latents, and trials take latents in steps; leave it out."
                )
        return plan

    @property
    def _measured(self) -> list[Objective]:
        """Objectives, and what constraints are on."""
        known = {o.name for o in self.spec.objectives}
        extra = [Objective(use=name) for name in self.spec.constraints.at_most if name not in known]
        return [*self.spec.objectives, *extra]

    def _same_suite(self, study: Study, plan: Plan, latents: Sequence[str]) -> None:
        seen = {"suite": plan.suite.digest, "latents": digest(list(latents))}
        known = study.user_attrs.get("measured_on")
        if known is None:
            study.set_user_attr("measured_on", seen)
        elif known != seen:
            raise RunError(
                f"a setting runs on suite {plan.suite.id} ({plan.suite.digest}) and other latents than the search's first trial "
                f"({known['suite']}); trials must share their latents. Take suite, coders and limit out of the space, or give "
                "the search another name."
            )

    def same_code(self, study: Study) -> None:
        """Refuse to go on with a search whose default would be measured otherwise now: what was tried would not compare.

        Raises:
            RunError: a scorer, explainer, judge or the suite has changed.
            BenchError: as `plan`.
        """
        now = self.plan(self.spec.default).identities()
        known = study.user_attrs.get("default_identities")
        if known is None:
            study.set_user_attr("default_identities", now.model_dump(mode="json"))
        elif changed := validate(Identities, known, "the search").changes(now):
            raise RunError(
                f"{'; '.join(changed)} of the default setting changed since the search began; its trials would not compare. "
                "Give the search another name."
            )

    def _note(self, trial: Trial, plan: Plan, folder: Path, seconds: float, measured: SettingMeasures) -> None:
        units: list[ExplainedUnit | JudgedUnit] = [
            *explanation_journal(folder).units(),
            *judgement_journal(folder).units(),
        ]
        # One attribute, not one for each fact: every one is a transaction of its own.
        facts = {
            "folder": folder.relative_to(self.folder).as_posix(),
            "latents": len(measured.latents),
            "coverage": measured.coverage,
            "outcomes": dict(measured.outcomes),
            "spent": asdict(spent_by(plan, units, seconds)),
            "values": {o.name: finite(measured.values[o.name].tolist()) for o in self.spec.objectives},
            "means": {name: float(np.nanmean(v)) for name, v in measured.values.items() if not np.isnan(v).all()},
        }
        trial.set_user_attr(FACTS, facts)
        if any(math.isnan(measured.mean(o)) for o in self.spec.objectives):
            bad = Counter({k: v for k, v in measured.outcomes.items() if k not in ("ok", "skipped")})
            outcome = bad.most_common(1)[0][0] if bad else Outcome.SKIPPED.value
            error = self._first_error(folder, tuned_explainer(load_run(folder).record, self.spec.explainer))
            raise self._failed(trial, outcome, f"no latent of {len(measured.latents)} has a score: {error}")

    def _first_error(self, folder: Path, label: str) -> str:
        run = load_run(folder)
        for table in (run.explanations, run.judgements):
            errors = table[(table["explainer"] == label) & table["error"].notna()]["error"]
            if len(errors):
                return str(errors.iloc[0])
        return "its metric is undefined on them"

    def _worth_going_on(self, trial: Trial, measured: SettingMeasures, looks: int) -> None:
        import optuna

        if len(self.spec.objectives) > 1 or self.spec.prune is None:
            return
        (objective,) = self.spec.objectives
        trial.report(measured.mean(objective), len(measured.latents))
        best = incumbent(trial.study, self.spec)
        # The settings that somebody named are wanted whole: the default is what everything is compared with.
        if best is None or storage.NAME in trial.user_attrs:
            return
        theirs = array(best.user_attrs[FACTS]["values"][objective.name])
        # Bonferroni over the looks: a trial as good as the incumbent must survive all of them.
        verdict = compare(
            measured.values[objective.name],
            theirs,
            objective.larger_is_better,
            self.spec.prune.alpha / max(1, looks - 1),
        )
        if verdict.worse:
            against = {"incumbent": best.number, "difference": verdict.difference, "p": verdict.p, "n": verdict.n}
            trial.set_user_attr(PRUNED, against)
            raise optuna.TrialPruned

    def _affordable(self, trial: Trial, n: int, of: int) -> None:
        reason = spent(trial.study.get_trials(deepcopy=False)).over(self.spec.budget)
        if reason is not None:
            storage.queue_again(trial.study, _frozen(trial), f"stopped after {n} of {of} latents: {reason}")
            trial.study.stop()
            raise TrialFailed(reason)

    def _constrain(self, trial: Trial, measured: SettingMeasures) -> list[str]:
        amounts: dict[str, float] = {o.use: measured.mean(o) for o in self._measured if o.use != "score"}
        found = infeasible(measured, self.spec.constraints, amounts)
        for name, value in found.items():
            trial.set_constraint(name, value)
        return [name for name, value in found.items() if value > 0]

    def _failed(self, trial: Trial, outcome: str, error: str) -> TrialFailed:
        trial.set_user_attr(storage.OUTCOME, outcome)
        trial.set_user_attr(storage.ERROR, error)
        return TrialFailed(error)


def feasible(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Finished trials on all latents that keep the constraints, each setting once."""
    from optuna.trial import TrialState

    return [
        t
        for t in trials
        if t.state == TrialState.COMPLETE and not t.user_attrs.get(BROKEN) and SAME_AS not in t.user_attrs
    ]


def incumbent(study: Study, spec: TuneSpec) -> FrozenTrial | None:
    """The best finished trial so far, the earliest of equals; one objective only."""
    found = feasible(study.get_trials(deepcopy=False))
    sign = 1 if spec.objectives[0].larger_is_better else -1
    return max(found, key=lambda t: (sign * t.values[0], -t.number), default=None)


def array(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Values that JSON held: null becomes NaN."""
    return np.array([math.nan if v is None else v for v in values], np.float64)


def _earlier(trial: Trial) -> FrozenTrial | None:
    """The finished trial of the same setting, if there is one."""
    from optuna.trial import TrialState

    wanted = (TrialState.COMPLETE, TrialState.PRUNED)
    for t in trial.study.get_trials(deepcopy=False, states=wanted):
        if t.params == trial.params and SAME_AS not in t.user_attrs:
            return t
    return None


def _frozen(trial: Trial) -> FrozenTrial:
    return next(t for t in trial.study.get_trials(deepcopy=False) if t.number == trial.number)
