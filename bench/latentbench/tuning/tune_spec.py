"""The tuning spec: a run spec with holes, what may stand in the holes, and what "better" means.

A hole is `$name` anywhere in the run spec. A list of paths ("explainers.0.params.n_examples") is the tempting alternative; with
holes the file reads like the run that it becomes, one parameter can stand in several places or inside a judge reference, and a
hole whose parameter is not active removes its key, which is all that conditional parameters need.

    run:
      explainers: [{use: $explainer, params: {n_examples: $n_examples, reach: $reach}}]
    space:
      explainer: [llm, tokens]
      n_examples: {low: 5, high: 40, step: 5, when: {explainer: llm}}
      reach: {low: 2, high: 15, when: {explainer: tokens}}
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from latentbench.kernel.config import Frozen
from latentbench.kernel.file_name import Name
from latentbench.kernel.identity import digest

Scalar = bool | int | float | str | None
Settings = dict[str, Scalar]
"""Parameter -> value; of a choice the name of the chosen value. Inactive parameters are absent."""

SPLIT = "tune"
HELD_OUT = "test"


class Parameter(Frozen):
    """One dimension of the search space: `values`, or `low` to `high`.

    Whole bounds make whole numbers. The short form of `values` is the bare list.
    """

    values: list[Scalar] | dict[str, Any] | None = None
    """Choices of the parameter: scalars, or any pieces of a run spec by name."""
    low: int | float | None = None
    """Smallest value, where `values` are not listed."""
    high: int | float | None = None
    """Largest value."""
    step: int | float | None = None
    """Distance between allowed numbers: low, low + step, ... Whole numbers step by 1 by default."""
    log: bool = False
    """Whether equal ratios are equally likely, instead of equal differences."""
    when: dict[str, list[Scalar]] = Field(default_factory=dict)
    """Condition: the parameter is active only while each of these parameters has one of the values."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"values": value} if isinstance(value, list) else value

    @field_validator("when", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        return {k: v if isinstance(v, list) else [v] for k, v in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _whole(self) -> Parameter:
        bounds = (self.low, self.high)
        if (self.values is None) == (bounds == (None, None)):
            raise ValueError("give `values`, or `low` and `high`")
        if self.values is not None:
            names = [repr(name) for name in self.names]
            if not names or len(set(names)) < len(names):
                raise ValueError("`values` must be different and at least one")
            if self.step is not None or self.log:
                raise ValueError("`step` and `log` belong to `low` and `high`")
        elif self.low is None or self.high is None or self.low > self.high:
            raise ValueError("`low` must be at most `high`")
        elif self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("`log` needs `low` above 0 and no `step`")
        elif self.step is not None and self.step <= 0:
            raise ValueError("`step` must be above 0")
        return self

    @property
    def names(self) -> list[Scalar]:
        """Names of the choices, one of which a setting gives; empty for a range."""
        return list(self.values or ())

    @property
    def whole(self) -> bool:
        """Whether the numbers are whole."""
        return all(isinstance(v, int) for v in (self.low, self.high) if v is not None) and not isinstance(
            self.step, float
        )


Measure = Literal["score", "cost", "tokens", "length", "seconds"]


class Objective(Frozen):
    """What is optimised: a name, or a name with what to read it from.

    `score` is the mean over scorers and judges of the floor-normalised headline, largest best. The others are per latent and
    smallest best: `cost` in dollars and `tokens` of explaining and judging, as if nothing had come from the cache; `length` of
    the explanation in words; `seconds` of model time.
    """

    use: Measure
    """What is measured."""
    scorer: str | None = None
    """Label of the only scorer that `score` reads; all scorers by default."""
    metric: str | None = None
    """Metric that `score` reads instead of each scorer's headline."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"use": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _of_score(self) -> Objective:
        if self.use != "score" and (self.scorer or self.metric):
            raise ValueError("`scorer` and `metric` belong to `score`")
        return self

    @property
    def name(self) -> str:
        """Name that is unique in a spec and heads the column of tables."""
        return ".".join(x for x in (self.use, self.scorer, self.metric) if x)

    @property
    def larger_is_better(self) -> bool:
        """Whether larger values are better."""
        return self.use == "score"


class Constraints(Frozen):
    """What a setting must keep to be the winner. A setting that does not is recorded as such; its score stays what it is."""

    coverage: float = Field(default=0.9, ge=0, le=1)
    """Smallest share of judgements with an answer."""
    at_most: dict[Literal["cost", "tokens", "length", "seconds"], float] = Field(default_factory=dict)
    """Largest mean per latent, by measure."""


class Budget(Frozen):
    """The amounts at which the search stops, over all workers and sessions.

    They are checked between steps of latents, so a step may go over them.
    """

    dollars: float | None = Field(default=None, gt=0)
    """Dollars paid; calls from the cache are free."""
    tokens: int | None = Field(default=None, gt=0, le=10**15)
    """Tokens paid for, in and out."""
    minutes: float | None = Field(default=None, gt=0)
    """Time in trials, added over workers."""


class Sampler(Frozen):
    """An Optuna sampler: its class name without "Sampler", in any spelling, and its arguments."""

    name: str = "auto"
    """`auto`: TPE for one objective, NSGA-II for two or three, NSGA-III for more."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Arguments of its class."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class Prune(Frozen):
    """How a trial that is clearly worse than the incumbent is stopped (one objective only)."""

    first: int = Field(default=8, ge=2)
    """Number of latents before the first comparison."""
    factor: float = Field(default=2.0, gt=1)
    """Factor by which each step has more latents than the one before."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Chance of stopping, at any of the steps, a trial that is as good as the incumbent."""


class Holdout(Frozen):
    """The comparison on latents that tuning has not seen."""

    repeats: int = Field(default=3, ge=1, le=10_000)
    """How often each setting is run on the held-out latents."""
    limit: int | None = Field(default=None, ge=1)
    """Largest number of held-out latents; all by default."""
    at_most: int = Field(default=5, ge=1)
    """Largest number of settings of a Pareto set that are compared, the best scores first."""


class TuneSpec(Frozen):
    """A search: settings of a run that are tried on tuning latents, and the best re-run on held-out ones."""

    name: Name
    """Name of the search; its folder is `runs/tune-NAME`."""
    run: dict[str, Any]
    """A run spec (`bench run`) with holes; `name`, `split` and `repeats` are the search's."""
    space: dict[str, Parameter] = Field(min_length=1)
    """Parameters that are varied: `$NAME` in `run` is replaced by the value."""
    default: Settings
    """The setting that tuning must beat: trial 0."""
    enqueue: dict[str, Settings] = Field(default_factory=dict)
    """Other settings known to be good, by name; tried directly after the default."""
    explainer: str | None = None
    """Label of the explainer that is tuned, where the run has several."""
    objectives: list[Objective] = Field(default_factory=lambda: [Objective(use="score")], min_length=1)
    """What is optimised; several give a Pareto set."""
    constraints: Constraints = Constraints()
    """What a winner must keep."""
    trials: int = Field(default=50, ge=1, le=1_000_000)
    """Number of finished trials of the search, over all workers and sessions."""
    budget: Budget = Budget()
    """Amounts at which the search stops."""
    sampler: Sampler = Sampler()
    """How Optuna chooses the next setting."""
    prune: Prune | None = Prune()
    """How clearly worse trials are stopped; `null` runs every trial on all latents."""
    max_failed: int = Field(default=10, ge=1)
    """Number of failed trials in a row that stops the search."""
    holdout: Holdout = Holdout()
    """The comparison with the default on held-out latents."""
    seed: int = 0
    """Behind everything that is drawn."""

    @field_validator("objectives")
    @classmethod
    def _differ(cls, objectives: list[Objective]) -> list[Objective]:
        names = [o.name for o in objectives]
        if len(set(names)) < len(names):
            raise ValueError("two objectives are the same")
        return objectives

    @field_validator("run")
    @classmethod
    def _own(cls, run: dict[str, Any]) -> dict[str, Any]:
        for key in ("name", "split", "repeats"):
            if key in run:
                raise ValueError(f"`{key}` is not part of a tuned run: tuning takes the {SPLIT!r} latents, once")
        return run

    @property
    def directions(self) -> list[Literal["maximize", "minimize"]]:
        """Directions of the objectives, in Optuna's words."""
        return ["maximize" if o.larger_is_better else "minimize" for o in self.objectives]

    @property
    def key(self) -> str:
        """Digest of everything that makes trials of one search comparable; how many there are is not part of it."""
        loose = {"trials", "budget", "holdout", "max_failed"}
        return digest(self.model_dump(mode="json", exclude=loose))
