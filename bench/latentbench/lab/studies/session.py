"""What one study has at hand while it runs: suites, runs, activation stores, all found again under their digests.

Runs are those of the ordinary harness, in folders of their own that `bench resume`, `bench leaderboard` and `bench report` read
like any other; a folder is named by the identities of its plan, so a study that is started again finds what is done, goes on with
what is not, and never mixes two versions of a prompt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from latentbench.judges.cache.cached_judge import ReplyCache
from latentbench.kernel.config import validate
from latentbench.kernel.errors import SpecError
from latentbench.kernel.identity import digest
from latentbench.lab.studies import study_suites as suites
from latentbench.lab.studies.study_spec import (
    FactorLevel,
    Profile,
    ProfileExplainer,
    ProfileScorer,
    ProfileSuite,
    StudySpec,
)
from latentbench.models.source import cache_dir
from latentbench.runs.explaining import RETRIED
from latentbench.runs.finished import Run, load_run
from latentbench.runs.ownership import owned
from latentbench.runs.record import RunRecord, read_record
from latentbench.runs.run import Pool, carry_out, open_run, prepare
from latentbench.runs.run_spec import RunSpec
from latentbench.stats.bootstrap import Interval, bootstrap_mean
from latentbench.suites.build.suite_recipe import SuiteRecipe
from latentbench.suites.store import Suite, load_suite

if TYPE_CHECKING:
    from latentbench.subject.activations.activation_store import ActivationStore

CONTROL = "shuffled "
"""Before the label of an explainer: the same explanations, each given to another latent."""


@dataclass
class Session:
    """The carrying out of one study: its suites, its runs and what they share.

    Attributes:
        name, study, profile, size: what runs, and how large.
        work: folder for suites and runs.
        command: command that reproduces the study.
        pool, runner: shared by the studies of one process.
        activations: folder for activations, the `work_dir` of `build_suite`.
        ratings: file of ratings by people, for a study that sets scorers against them; those of its runs without one.
        runs: the runs made so far.
    """

    name: str
    study: StudySpec
    profile: Profile
    size: str
    work: Path
    command: str
    console: Console
    cache: ReplyCache | None = None
    pool: Pool = field(default_factory=Pool)
    runner: asyncio.Runner | None = None
    activations: Path | None = None
    ratings: Path | None = None
    runs: list[Run] = field(default_factory=list)

    @property
    def latents(self) -> int:
        """Latents per coder."""
        return self.study.latents.get(self.size, self.profile.latents)

    @property
    def explainers(self) -> list[str]:
        """Explainers of the study at this size."""
        return [name for name in self.study.explainers if self._used(name)]

    @property
    def scorers(self) -> list[str]:
        """Scorers of the study at this size."""
        return [name for name in self.study.scorers if self._used(name)]

    def _used(self, name: str) -> bool:
        return self.size in self.study.sizes.get(name, (self.size,))

    @property
    def levels(self) -> list[FactorLevel]:
        """Levels at this size.

        Raises:
            SpecError: the reference is not among them, or nothing is left to compare with.
        """
        found = [level for level in self.study.levels if level.sizes is None or self.size in level.sizes]
        labels = [level.label for level in found]
        if self.study.levels and (len(found) < 2 or (self.study.reference or labels[0]) not in labels):
            raise SpecError(f"study {self.name} has the levels {labels} at size {self.size!r}: nothing to compare.")
        return found

    @property
    def reference(self) -> str:
        """Label of the reference level."""
        return self.study.reference or self.levels[0].label

    def mean(self, values: Any, scorer: str) -> Interval:
        """Mean of scores by a scorer of the profile over latents, with an interval inside the range of its metric."""
        from latentbench.scorers.scorer import load_scorer

        entry = self.profile.scorers[scorer]
        loaded = load_scorer({"use": entry.use, "preset": entry.preset, "params": entry.params})
        metric = next((m for m in loaded.metric_table() if m.name == entry.metric), None)
        low, high = (None, None) if metric is None else (metric.low, metric.high)
        return bootstrap_mean(values, seed=self.profile.seed, low=low, high=high)

    def entry(self, level: FactorLevel | None = None) -> ProfileSuite:
        """The profile's suite of a level."""
        return self.profile.suites[(level.suite if level else None) or self.study.suite]

    def recipe(
        self, level: FactorLevel | None = None, indices: Mapping[str, Sequence[int]] | None = None
    ) -> SuiteRecipe:
        """The recipe of a level's suite."""
        level = level or FactorLevel(label="-")
        return suites.recipe_of(
            self.entry(level), level.change, self.work, level.keep, level.random_subject, level.random_coders, indices
        )

    def suite(self, level: FactorLevel | None = None, indices: Mapping[str, Sequence[int]] | None = None) -> Suite:
        """The suite of a level, built if it must be."""
        entry = self.entry(level)
        plain = level is None or not (level.change or level.keep or level.random_subject or level.random_coders)
        if plain and not entry.change and indices is None:
            return self.loaded(entry.use)
        recipe = self.recipe(level, indices)
        return self.loaded(str(suites.build(recipe, self.work / "suites", self.activations, self.console).resolve()))

    def loaded(self, name: str) -> Suite:
        """A suite by name or folder, read once."""
        if name not in self.pool.suites:
            self.pool.suites[name] = load_suite(name)
        return self.pool.suites[name]

    def forget(self, suite: Suite) -> None:
        """Read a suite's folder again when it is asked for next."""
        for name in [name for name, held in self.pool.suites.items() if held.path == suite.path]:
            del self.pool.suites[name]

    def store(self, recipe: SuiteRecipe) -> ActivationStore:
        """The activations behind a recipe's suite, collected if they must be."""
        from latentbench.suites.build.build import activations, subject_and_coders

        loaded, coders, _ = subject_and_coders(recipe)
        place = self.activations or cache_dir() / "activations"
        return activations(recipe, loaded, coders, place, lambda _: None)

    def run(
        self,
        suite: Suite,
        explainers: Mapping[str, ProfileExplainer],
        scorers: Mapping[str, ProfileScorer],
        coders: Sequence[str] | None = None,
        limit: int | None = None,
        split: str = "test",
        control: bool = True,
    ) -> list[Run]:
        """Carry out (or find) the runs of a grid: one run per limit on latents that its scorers have.

        Args:
            explainers: label -> entry; each also gets its shuffled control, unless it knows nothing anyway.
            scorers: label -> entry, with its judge.
            coders: of the suite; all by default.
            limit: latents per coder; all by default.
            control: whether explainers get their control.
        """
        chosen = list(coders) if coders is not None else suite.coders
        by_limit: dict[int | None, dict[str, ProfileScorer]] = {}
        for label, scorer in scorers.items():
            own = [n for n in (limit, scorer.limit) if n is not None]
            by_limit.setdefault(min(own) if own else None, {})[label] = scorer
        return [
            self._run(suite, explainers, part, chosen, None if n is None else n * len(chosen), split, control)
            for n, part in by_limit.items()
        ]

    def _run(
        self,
        suite: Suite,
        explainers: Mapping[str, ProfileExplainer],
        scorers: Mapping[str, ProfileScorer],
        coders: list[str],
        limit: int | None,
        split: str,
        control: bool,
    ) -> Run:
        judges = dict.fromkeys(s.judge for s in scorers.values())
        spec = {
            "name": self.name,
            "suite": str(suite.path.resolve()),
            "split": split,
            "coders": coders,
            "limit": limit,
            "explainers": self._explainers(explainers, control),
            "scorers": [
                {"use": s.use, "label": label, "preset": s.preset, "params": s.params, "judges": [s.judge]}
                for label, s in scorers.items()
            ],
            "judges": [{"use": self.profile.judges[name], "label": name} for name in judges],
            "seed": self.profile.seed,
            "max_failures": 1.0,
        }
        return self.carried_out(validate(RunSpec, spec, f"study {self.name}"))

    def _explainers(self, explainers: Mapping[str, ProfileExplainer], control: bool) -> list[dict[str, Any]]:
        from latentbench.explainers.explainer import load_explainer

        found: list[dict[str, Any]] = []
        for label, e in explainers.items():
            model = None if e.model is None else self.profile.judges[e.model]
            found.append({"use": e.use, "label": label, "preset": e.preset, "params": e.params, "model": model})
            null = load_explainer({"use": e.use, "preset": e.preset, "params": e.params}).is_floor
            if control and not null:
                found.append({"use": "shuffled", "label": f"{CONTROL}{label}", "params": {"of": label}})
        return found

    def carried_out(self, spec: RunSpec) -> Run:
        """A run of this spec, finished; found again if it was finished before. What failed by API or time-out is asked again."""
        plan = prepare(spec, Path.cwd(), self.cache, self.pool)
        folder = self.work / "runs" / f"{self.name}-{digest(plan.identities())}"
        there = (folder / "run.json").exists()
        if not there or not (record := read_record(folder)).ended or owed(record):
            with owned(folder):
                there = (folder / "run.json").exists()
                record = read_record(folder) if there else open_run(plan, Path.cwd(), folder, self.command)
                carry_out(plan, folder, record, self.console, self.runner)
        run = load_run(folder)
        self.runs.append(run)
        return run


def owed(record: RunRecord) -> int:
    """Calls of a finished run that failed in a way that is asked again: a study must not keep an afternoon's outage."""
    return record.totals.count([outcome.value for outcome in RETRIED]) if record.totals is not None else 0
