"""What must hold whatever the statistics say: no averages over chance, a number against a limit.

A score can stay where it is while the measurement breaks: a fifth of the windows is never asked, the judge is another one behind
its name, the suite was rebuilt. Such faults are cheap to see directly and expensive to see in a mean, and no number of latents
makes them acceptable, so they are limits and not tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from latentbench.analysis.gate.baseline import Baseline, BaselineScores, array
from latentbench.analysis.gate.evidence import Array
from latentbench.analysis.gate.gate_report import Check, GateSettings
from latentbench.analysis.gate.policy import Verdict
from latentbench.kernel.identity import joined
from latentbench.leaderboards.row import Price


def invariants(
    base: Baseline, head: Baseline, settings: GateSettings, drift: Mapping[str, float] | None
) -> list[Check]:
    """All invariants, the same ones for every head.

    Args:
        drift: judge label -> distance of its answers; None if the judges were not asked.
    """
    found = [_digest(base, head), _latents(base, head), _rows(base, head), _explaining(base, head, settings)]
    for measure in base.measures:
        both = _both(base, head, measure)
        found += [_coverage(measure, both, settings), _attempts(measure, both)]
        found.append(_judging(measure, both, settings))
        found.append(_latency(measure, both, settings, base.hardware == head.hardware))
    found += _canaries(base, head, settings)
    found += [_drift(label, base, drift, settings) for label in base.noise]
    return found


def _check(name: str, good: bool, message: str, infrastructure: bool = False) -> Check:
    return Check("invariant", name, Verdict.PASS if good else Verdict.FAIL, message, infrastructure)


def _digest(base: Baseline, head: Baseline) -> Check:
    same = base.suite.digest == head.suite.digest
    message = f"{base.suite.id} {base.suite.digest}"
    if not same:
        message += f" was frozen; the run used {head.suite.id} {head.suite.digest}. Other windows need another version."
    return _check("suite digest", same, message)


def _latents(base: Baseline, head: Baseline) -> Check:
    missing, more = set(base.latents) - set(head.latents), set(head.latents) - set(base.latents)
    message = f"{len(base.latents) - len(missing)} of {len(base.latents)} latents of the baseline were scored"
    message += f"; {len(more)} more are not compared" if more else ""
    return _check("latents", not missing, message, infrastructure=True)


def _rows(base: Baseline, head: Baseline) -> Check:
    there = {s.id for s in head.scores}
    missing = [joined(s.id, " / ") for s in base.scores if s.id not in there]
    message = f"{len(base.scores) - len(missing)} of {len(base.scores)} rows of the baseline were measured"
    message += f"; the first that is missing: {missing[0]}" if missing else ""
    return _check("rows", not missing, message, infrastructure=True)


Both = Sequence[tuple[BaselineScores, BaselineScores]]


def _both(base: Baseline, head: Baseline, measure: tuple[str, str]) -> Both:
    """Headline rows of a measure that both sides have."""
    other = {s.id: s for s in head.scores}
    return [(s, other[s.id]) for s in base.scores if s.measure == measure and s.headline and s.id in other]


def _coverage(measure: tuple[str, str], both: Both, settings: GateSettings) -> Check:
    """The worst explainer counts: a mean over all would hide one that always fails among five."""
    name = f"coverage {joined(measure)}"
    if not both:
        return _check(name, False, "the run has no such rows", infrastructure=True)
    was, now, which = max(
        ((_share(b), _share(h), b.explainer.label) for b, h in both), key=lambda shares: shares[0] - shares[1]
    )
    return _check(name, now >= was - settings.coverage, f"{now:.1%}, was {was:.1%} ({which})", infrastructure=True)


def _share(s: BaselineScores) -> float:
    return s.n_judged / s.n_attempted if s.n_attempted else 0.0


def _attempts(measure: tuple[str, str], both: Both) -> Check:
    """Fewer windows asked than before is not seen in coverage, which is relative to what was asked."""
    name = f"windows {joined(measure)}"
    if not both:
        return _check(name, False, "the run has no such rows", infrastructure=True)
    was, now, which = min(
        ((_asked(b), _asked(h), b.explainer.label) for b, h in both), key=lambda n: n[1] / n[0] if n[0] else 1.0
    )
    return _check(name, now >= was * (1 - 1e-9), f"{now:.1f} judgements a latent, were {was:.1f} ({which})")


def _asked(s: BaselineScores) -> float:
    return s.n_attempted / s.repeats / max(1, len(s.values))


def _cost(name: str, was: Sequence[Price], now: Sequence[Price], settings: GateSettings) -> Check:
    """Tokens and dollars a latent, each summed over explainers, against their ceilings."""
    if not now:
        return _check(name, False, "the run has no such rows", infrastructure=True)
    tokens_was, tokens_now = (sum(p.tokens_in + p.tokens_out for p in side) for side in (was, now))
    good, message = _ceiling("tokens", tokens_was, tokens_now, settings.tokens)
    if any(p.dollars is None for p in (*was, *now)):
        return _check(name, good, f"{message}; no known price")
    dollars_was, dollars_now = (sum(p.dollars or 0.0 for p in side) for side in (was, now))
    cheap, more = _ceiling("dollars", dollars_was, dollars_now, settings.dollars)
    return _check(name, good and cheap, f"{message}; {more}")


def _ceiling(what: str, was: float, now: float, limit: float) -> tuple[bool, str]:
    good = now <= was * limit + 1e-9
    return good, f"{now:.4g} {what} a latent, were {was:.4g}" + ("" if good else f", allowed are {was * limit:.4g}")


def _explaining(base: Baseline, head: Baseline, settings: GateSettings) -> Check:
    """What the explanations cost; an explainer stands in many rows and is counted once."""
    was, now = ({s.explainer.label: s.explaining for s in side.scores} for side in (base, head))
    both = [label for label in was if label in now]
    return _cost("cost explaining", [was[x] for x in both], [now[x] for x in both], settings)


def _judging(measure: tuple[str, str], both: Both, settings: GateSettings) -> Check:
    return _cost(f"cost {joined(measure)}", [b.judging for b, _ in both], [h.judging for _, h in both], settings)


def _latency(measure: tuple[str, str], both: Both, settings: GateSettings, same_machine: bool) -> Check:
    name = f"latency {joined(measure)}"
    was, now = (sum(pair[side].judging.seconds for pair in both) for side in (0, 1))
    if not same_machine:
        return _check(name, True, "not checked: the baseline was frozen on other hardware")
    if was == 0:
        return _check(name, True, "not checked: the judge reports no time")
    return _check(
        name,
        now <= was * settings.latency,
        f"{now / was:.2f} times the seconds a latent; allowed are {settings.latency:g}",
        infrastructure=True,
    )


def _canaries(base: Baseline, head: Baseline, settings: GateSettings) -> list[Check]:
    """Planted latents on which a real explanation beat a floor clearly must still rank in that order."""
    found = []
    truths = set(base.planted)
    planted = [i for i, latent in enumerate(base.latents) if latent in truths]
    place = {latent: i for i, latent in enumerate(head.latents)}
    there = {s.id: s for s in head.scores}
    for measure in base.measures:
        nulls = [s for s in base.scores if s.measure == measure and s.null and s.headline]
        canaries = ranked = 0
        lost: list[str] = []
        for real in (s for s in base.headlines() if s.measure == measure):
            for null in nulls:
                before = _oriented(real) - _oriented(null)
                for i in (i for i in planted if before[i] >= settings.margin):
                    canaries += 1
                    now = _now(real, there, place, base.latents[i]) - _now(null, there, place, base.latents[i])
                    ranked += bool(now > 0)
                    if not now > 0:
                        lost.append(f"{base.latents[i]} ({real.explainer.label} above {null.explainer.label})")
        if canaries:
            message = f"{ranked} of {canaries} planted canaries still rank"
            message += f"; lost first: {lost[0]}" if lost else ""
            found.append(_check(f"canaries {joined(measure)}", ranked >= settings.canaries * canaries, message))
    return found


def _oriented(s: BaselineScores) -> Array:
    return array(s) if s.higher_is_better else -array(s)


def _now(
    s: BaselineScores, there: Mapping[tuple[str, str, str, str], BaselineScores], place: Mapping[str, int], latent: str
) -> float:
    """A latent's value on the head side, NaN where it has none."""
    if s.id not in there or latent not in place:
        return float("nan")
    return float(_oriented(there[s.id])[place[latent]])


def _drift(label: str, base: Baseline, drift: Mapping[str, float] | None, settings: GateSettings) -> Check:
    name, noise = f"judge {label}", base.noise[label]
    if drift is None:
        return _check(name, True, "not checked: the judges were not asked (--offline)")
    limit = settings.drift + 2 * noise
    n = sum(label in p.answers for p in base.probes)
    if label not in drift:
        return _check(name, False, "the run has no such judge, so it was not asked", infrastructure=True)
    message = f"answers to the {n} frozen requests moved by {drift[label]:.3f}; allowed are {limit:.3f}"
    return _check(name, drift[label] <= limit, message)
