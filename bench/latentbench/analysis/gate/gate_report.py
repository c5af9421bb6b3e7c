"""What a gate tolerates, and its result: checks with verdicts, and what they add up to.

Every output is made from the report and nothing else. Defaults are those of docs/gate.md's table of operating characteristics.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from latentbench.analysis.gate.decide import Decision
from latentbench.analysis.gate.evidence import RESAMPLES, Evidence
from latentbench.analysis.gate.policy import Inconclusive, State, Verdict, exit_code, state
from latentbench.kernel.errors import SpecError
from latentbench.views.number import finite, rounded

Kind = Literal["comparability", "invariant", "metric", "agreement", "speed"]
WORST_FIRST = (Verdict.FAIL, Verdict.NOT_COMPARABLE, Verdict.INCONCLUSIVE, Verdict.PASS)


@dataclass(frozen=True)
class GateSettings:
    """Limits of a gate."""

    delta: float = 0.02
    """Largest loss of a mean score that passes."""
    delta_agreement: float = 0.05
    """Largest loss of a Spearman correlation between two measures that passes."""
    deltas: Mapping[str, float] = field(default_factory=dict)
    """Deltas of metrics on another scale, by the name of the metric."""
    coverage: float = 0.02
    """Largest loss of the share of answered judgements that passes."""
    margin: float = 0.25
    """A planted latent is a canary where a real explanation beats a floor by this much in the baseline."""
    canaries: float = 0.95
    """Share of the canaries that must still rank in that order."""
    drift: float = 0.02
    """Mean distance that a judge's answers to the same requests may move, beside twice its own noise."""
    tokens: float = 1.25
    """Tokens per latent may grow by this factor, explaining and judging apart."""
    dollars: float = 1.25
    """Dollars per latent may grow by this factor."""
    latency: float = 2.0
    """Seconds per latent may grow by this factor, on the same hardware."""
    seed: int = 0
    """Seed of the bootstrap draws."""
    resamples: int = RESAMPLES

    def __post_init__(self) -> None:
        limits: dict[str, float] = {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("deltas", "seed")
        }
        limits |= {f"delta of {name}": value for name, value in self.deltas.items()}
        for name, value in limits.items():
            if not math.isfinite(value) or value < 0:
                raise SpecError(f"{name} must be a finite number of at least 0, not {value}.")
            if name.startswith("delta") and value == 0:
                raise SpecError(f"{name} must be above 0: no data show that nothing at all changed.")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked.

    Attributes:
        kind: what sort of check.
        name: the same for the same check of every run against one baseline.
        verdict: see `latentbench.analysis.gate.decide`.
        message: one sentence with the numbers.
        infrastructure: a failure says that the run was not carried out properly, not that anything scores worse.
        base, head, estimate, low, high, p, n, delta, needed: of a statistical check, see `Evidence` and `Decision`; p is
            corrected for the family. For speed base and head are seconds and the rest logarithms of ratios.
    """

    kind: Kind
    name: str
    verdict: Verdict
    message: str
    infrastructure: bool = False
    base: float = math.nan
    head: float = math.nan
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    n: int = 0
    delta: float = math.nan
    needed: int | None = None

    @classmethod
    def tested(cls, kind: Kind, name: str, message: str, e: Evidence, d: Decision, delta: float) -> Check:
        """A difference with its verdict."""
        found = (e.base, e.head, e.estimate, e.low, e.high, d.p_holm)
        return cls(kind, name, d.verdict, message, False, *found, e.n, delta, d.needed)

    def state(self, inconclusive: Inconclusive = Inconclusive.FAIL) -> State:
        """What it means for whoever asked: passed, skipped, a failure or an error."""
        return state(self.verdict, self.infrastructure, inconclusive)

    @property
    def statistical(self) -> bool:
        """Whether it rests on a difference with bounds."""
        return self.kind in ("metric", "agreement", "speed")


@dataclass(frozen=True)
class GateReport:
    """All checks of one gate.

    Attributes:
        title: what was compared.
        checks: in order of the baseline.
        notes: what changed without a verdict of its own.
        identities: what baseline and head are, for outputs that store the report.
        seconds: how long the gate took, the run included.
    """

    title: str
    checks: Sequence[Check]
    notes: Sequence[str] = ()
    identities: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all checks. A gate without a check has compared nothing."""
        found = {c.verdict for c in self.checks}
        return next((v for v in WORST_FIRST if v in found), Verdict.NOT_COMPARABLE)

    @property
    def counts(self) -> dict[Verdict, int]:
        """Number of checks by verdict."""
        counted = Counter(c.verdict for c in self.checks)
        return {v: counted[v] for v in WORST_FIRST}

    def exit_code(self, inconclusive: Inconclusive = Inconclusive.FAIL) -> int:
        """Exit code of the gate: 0 pass, 1 fail, 3 inconclusive, 4 not comparable; the policy says whether the third stops."""
        return exit_code(self.verdict, inconclusive)

    def summary(self) -> str:
        """`FAIL: 2 of 31 checks failed, 1 inconclusive`."""
        words = {Verdict.FAIL: "failed", Verdict.NOT_COMPARABLE: "not comparable", Verdict.INCONCLUSIVE: "inconclusive"}
        bad = [f"{self.counts[v]} {word}" for v, word in words.items() if self.counts[v]]
        return f"{self.verdict.value.upper()}: {len(self.checks)} checks, {', '.join(bad) or 'all passed'}"

    def as_dict(self, inconclusive: Inconclusive = Inconclusive.FAIL) -> dict[str, Any]:
        """JSON-able; NaN is null."""
        return {
            "layout": 1,
            "title": self.title,
            "verdict": self.verdict.value,
            "exit_code": self.exit_code(inconclusive),
            "counts": {v.value: n for v, n in self.counts.items()},
            "seconds": round(self.seconds, 2),
            "identities": dict(self.identities),
            "notes": list(self.notes),
            "checks": rounded(finite([asdict(c) for c in self.checks])),
        }
