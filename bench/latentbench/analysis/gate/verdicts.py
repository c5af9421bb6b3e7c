"""Baseline and head -> report. Pure: the same two inputs and settings give the same report to the last digit.

What is not comparable is decided first, row by row. Such rows leave the family of tests and keep their place in the report with
their own verdict: dropped rows are how a gate comes to pass because there was nothing left to compare.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latentbench.analysis.gate.baseline import Baseline, BaselineAgreement, BaselineScores, array, table
from latentbench.analysis.gate.decide import Decision, decide
from latentbench.analysis.gate.evidence import (
    Evidence,
    agreement_differences,
    evidence,
    mean_evidence,
    pairs_of,
    resampled,
)
from latentbench.analysis.gate.gate_report import Check, GateReport, GateSettings, Kind
from latentbench.analysis.gate.invariants import invariants
from latentbench.analysis.gate.policy import Verdict
from latentbench.kernel.identity import joined
from latentbench.stats.bootstrap import FEWEST


@dataclass(frozen=True)
class _Test:
    """One statistical test before its verdict."""

    kind: Kind
    name: str
    delta: float
    evidence: Evidence


@dataclass(frozen=True)
class _Sides:
    """Both runs over the same latents.

    Attributes:
        base, head: rows whose values stand in the same order.
        latents: how many values.
        whole: why nothing can be compared; "" if something can.
        reasons: measure -> why its rows cannot be compared.
    """

    base: Sequence[BaselineScores]
    head: Sequence[BaselineScores]
    latents: int
    whole: str
    reasons: Mapping[tuple[str, str], str]

    def why_not(self, *measures: tuple[str, str]) -> str:
        """Why rows of these measures cannot be compared; "" if they can."""
        return self.whole or next((self.reasons[m] for m in measures if m in self.reasons), "")


def compare(
    base: Baseline, head: Baseline, settings: GateSettings | None = None, drift: Mapping[str, float] | None = None
) -> GateReport:
    """Compare a run with a baseline.

    Args:
        drift: judge label -> distance of its answers to the baseline's probes; None if the judges were not asked.
    """
    settings = settings or GateSettings()
    whole = _whole(base, head)
    scored = set(head.latents)
    latents = [latent for latent in base.latents if latent in scored]
    whole_or_none = whole or ("" if latents else "no latent of the baseline was scored")
    sides = _Sides(_aligned(base, latents), _aligned(head, latents), len(latents), whole_or_none, _reasons(base, head))
    tests, rest = _metrics(sides, settings)
    pairs, more = _pairs(base.agreement, sides, settings)
    family = [*tests, *pairs]
    decisions = decide([t.evidence for t in family], [t.delta for t in family])
    judged = [_statistical(t, d) for t, d in zip(family, decisions, strict=True)]
    fits = Verdict.NOT_COMPARABLE if whole else Verdict.PASS
    checks = [
        Check("comparability", "suite and split", fits, whole or f"{base.suite.id}, {base.split} latents"),
        *invariants(base, head, settings, drift),
        *sorted([*judged, *rest, *more], key=lambda c: c.kind != "metric"),
    ]
    return GateReport(f"{head.run} against {base.run}", checks, _notes(base, head), _identities(base, head))


def planned(base: Baseline) -> list[tuple[Kind, str]]:
    """Kind and name of every check that a comparison with this baseline makes, whatever the head."""
    with_itself = compare(base, base, GateSettings(resamples=20), dict.fromkeys(base.noise, 0.0))
    return [(c.kind, c.name) for c in with_itself.checks]


def major(version_or_id: str) -> tuple[str, str]:
    """(name, N) of `name@N-X`."""
    name, _, version = version_or_id.partition("@")
    return name, version.partition("-")[0]


def _whole(base: Baseline, head: Baseline) -> str:
    """Why nothing can be compared; "" if something can."""
    if major(base.suite.id) != major(head.suite.id):
        return f"the suite is {head.suite.id}, the baseline's {base.suite.id}"
    if base.split != head.split:
        return f"the run is on {head.split} latents, the baseline on {base.split} latents"
    return ""


def _reasons(base: Baseline, head: Baseline) -> dict[tuple[str, str], str]:
    """Measure -> why its rows cannot be compared."""
    there = {s.measure: s for s in head.scores}
    found = {}
    for s in base.scores:
        other = there.get(s.measure)
        if other is None or s.measure in found:
            continue
        if major(s.scorer.id) != major(other.scorer.id):
            found[s.measure] = f"the scorer is {other.scorer.id}, the baseline's {s.scorer.id}"
        elif s.steered != other.steered:
            found[s.measure] = f"the intervention table is {other.steered}, the baseline's {s.steered}"
        elif s.judge.name != other.judge.name:
            found[s.measure] = f"the judge is {other.judge.name}, the baseline's {s.judge.name}"
    return found


def _aligned(side: Baseline, latents: Sequence[str]) -> list[BaselineScores]:
    """Rows with their values in the order of `latents`."""
    place = {latent: i for i, latent in enumerate(side.latents)}
    order = [place[latent] for latent in latents]
    return [s.model_copy(update={"values": [s.values[i] for i in order]}) for s in side.scores]


def _metrics(sides: _Sides, settings: GateSettings) -> tuple[list[_Test], list[Check]]:
    there = {s.id: s for s in sides.head}
    rest: list[Check] = []
    usable: list[tuple[BaselineScores, BaselineScores]] = []
    for s in (s for s in sides.base if not s.null):
        reason = sides.why_not(s.measure)
        if reason or s.id not in there:
            rest.append(_apart("metric", _metric_name(s), reason or "the run has no such row"))
        elif all(v is None for v in s.values):
            rest.append(
                Check("metric", _metric_name(s), Verdict.PASS, "the baseline has no value, so there is none to lose")
            )
        else:
            usable.append((s, there[s.id]))
    if not usable:
        return [], rest
    was, now = (np.column_stack([array(pair[i]) for pair in usable]) for i in (0, 1))
    sign = [1.0 if s.higher_is_better else -1.0 for s, _ in usable]
    found = mean_evidence(was, now, sign, settings.seed, settings.resamples)
    tests = [
        _Test("metric", _metric_name(s), settings.deltas.get(s.metric, settings.delta), e)
        for (s, _), e in zip(usable, found, strict=True)
    ]
    return tests, rest


def _pairs(agreement: BaselineAgreement, sides: _Sides, settings: GateSettings) -> tuple[list[_Test], list[Check]]:
    measures, m = agreement.measures, sides.latents
    present = {s.measure for s in sides.head if s.headline}
    rest: list[Check] = []
    used: list[tuple[int, int]] = []
    for i, j in pairs_of(measures):
        # A pair without a correlation in the baseline - a judge that says the same of everything - has none to lose.
        if agreement.spearman[i][j] is None:
            continue
        why = sides.why_not(measures[i], measures[j])
        why = why or ("" if {measures[i], measures[j]} <= present else "the run has no such row")
        if why:
            rest.append(_apart("agreement", _pair_name(measures, i, j), why))
        else:
            used.append((i, j))
    if not used:
        return [], rest
    explainers = list(dict.fromkeys(s.explainer.label for s in sides.base if s.headline and not s.null))
    a, b = (table(side, measures, explainers, m) for side in (sides.base, sides.head))
    of_base, of_head = agreement_differences(a, b, used)
    draws = resampled(lambda w: of_head(w) - of_base(w), m, settings.seed, settings.resamples)
    one = np.ones((1, m))
    was, now = of_base(one)[0], of_head(one)[0]
    known = ~(np.isnan(a) | np.isnan(b))
    tests = []
    for k, (i, j) in enumerate(used):
        n = int((known[:, :, i] & known[:, :, j]).any(axis=1).sum())
        found = evidence(draws[:, k], n, float(was[k]), float(now[k]))
        tests.append(_Test("agreement", _pair_name(measures, i, j), settings.delta_agreement, found))
    return tests, rest


def _pair_name(measures: Sequence[tuple[str, str]], i: int, j: int) -> str:
    return joined((joined(measures[i]), joined(measures[j])), " ~ ")


def _apart(kind: Kind, name: str, reason: str) -> Check:
    return Check(kind, name, Verdict.NOT_COMPARABLE, reason, infrastructure=True)


def _metric_name(s: BaselineScores) -> str:
    return joined((joined(s.cell), s.metric), ": ")


def _statistical(test: _Test, decision: Decision) -> Check:
    message = sentence(test.evidence, decision, test.delta)
    return Check.tested(test.kind, test.name, message, test.evidence, decision, test.delta)


def sentence(e: Evidence, decision: Decision, delta: float) -> str:
    """The evidence in one line."""
    if math.isnan(e.head):
        return f"was {e.base:.3f}, now undefined: nothing was scored, or every score is the same"
    text = f"{e.base:.3f} to {e.head:.3f}, difference {e.estimate:+.3f} ("
    if e.n >= FEWEST and not math.isnan(e.low):
        text += f"95 % bound {e.low:+.3f}, "
    text += f"allowed -{delta:g})"
    if decision.verdict is Verdict.INCONCLUSIVE:
        text += f"; {wanted(e.n, decision.needed, 'latents')}"
    return text


def wanted(n: int, needed: int | None, what: str, fewest: int = FEWEST) -> str:
    """What would decide an inconclusive test."""
    if n < fewest:
        return f"too few {what}: {n}, and nothing but equal values is decided below {fewest}"
    if needed is None:
        return f"{n} {what} do not decide it, and no number in reach would: the difference lies on the limit"
    return f"{n} {what} do not decide it, about {needed} would"


def _notes(base: Baseline, head: Baseline) -> list[str]:
    """Everything that changed without being a fault: this is what a gate is there to judge."""
    notes: dict[str, None] = {}
    there = {s.id: s for s in head.scores}
    for s in base.scores:
        other = there.get(s.id)
        if other is None:
            continue
        for kind, a, b in (("explainer", s.explainer, other.explainer), ("scorer", s.scorer, other.scorer)):
            if a.key != b.key:
                what = f"{a.id} became {b.id}" if a.id != b.id else f"{a.id} has other prompts, parameters or source"
                notes[f"{kind} {a.label}: {what} ({a.key} to {b.key})"] = None
        if s.judge.key != other.judge.key and s.judge.name == other.judge.name:
            notes[f"judge {s.judge.label}: other settings ({s.judge.key} to {other.judge.key})"] = None
    new = {s.cell for s in head.scores} - {s.cell for s in base.scores}
    if new:
        notes[f"{len(new)} rows of the run are not in the baseline and were not gated, such as {joined(min(new))}"] = (
            None
        )
    return list(notes)


def _identities(base: Baseline, head: Baseline) -> dict[str, object]:
    return {
        side: {
            "run": b.run,
            "date": b.date,
            "suite": b.suite.id,
            "suite_digest": b.suite.digest,
            "latents": len(b.latents),
            "scorers": {s.scorer.label: [s.scorer.id, s.scorer.key] for s in b.scores},
            "judges": {s.judge.label: [s.judge.name, s.judge.key] for s in b.scores},
            "explainers": {s.explainer.label: [s.explainer.id, s.explainer.key] for s in b.scores},
        }
        for side, b in (("baseline", base), ("head", head))
    }
