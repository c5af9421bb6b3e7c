"""Runs under everything at once: killed, stopped, doubled, damaged, without disk, at an endpoint that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.disturbed import EVENTS, Disturber, MoodyEndpoint

EQUAL = 0.7
"""Share of five hundred runs that must come back to the tables of the undisturbed one; the rest is refused with a reason."""


@pytest.mark.parametrize("runs", [4, pytest.param(500, marks=pytest.mark.slow)])
def test_runs_come_back_to_the_same_tables_or_are_refused_with_a_reason(runs: int, tmp_path: Path) -> None:
    endpoint = MoodyEndpoint(seed=runs)
    try:
        disturber = Disturber(tmp_path, endpoint, seed=runs)
        disturber.undisturbed()
        for _ in range(runs):
            disturber.one()
    finally:
        endpoint.close()
    counts = disturber.counts
    print(f"\n{runs} runs: {counts['equal']} equal, {counts['refused']} refused; {dict(counts)}")
    print("\n".join(disturber.spent()))
    for reason, n in disturber.reasons.most_common():
        print(f"{n:>5} {reason}")
    assert counts["equal"] + counts["refused"] == runs == disturber.runs.total()
    if runs > 100:
        assert counts["equal"] >= EQUAL * runs
        assert all(counts[event] > 20 for event in EVENTS)
