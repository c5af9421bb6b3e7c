"""Freezing and gating with files and judges: the one part of the gate that is not pure.

A spec is run with a reply cache of its own. The user's cache is the tempting default, and it would answer for code that no longer
gives those answers: a gate that asks nobody passes everything. Who pays for calls can name a cache.

Baselines, specs and run folders are often those of others, in a job that nobody watches. So an endpoint that one of them names,
be it on this machine, is asked only if the user's own list has it, or if the caller says so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from latentbench.analysis.gate.baseline import Baseline, read_baseline, snapshot
from latentbench.analysis.gate.gate_report import GateReport, GateSettings
from latentbench.analysis.gate.verdicts import compare
from latentbench.judges.judge import closed
from latentbench.judges.remote.binding import only_listed
from latentbench.kernel.errors import RunError
from latentbench.leaderboards.rescored import rescored
from latentbench.runs.finished import Run, load_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import Console

    from latentbench.judges.judge import Judge


def freeze(
    folder: Path, metrics: Sequence[str] = (), *, offline: bool = False, allow_endpoints: bool = False
) -> Baseline:
    """A finished run as a baseline.

    Args:
        metrics: to keep beside the headlines.
        offline: leave the judges alone; the baseline then cannot show that a judge has changed.
        allow_endpoints: ask endpoints that the run folder names and the user's list has not, as far as any run may.

    Raises:
        RunError: no finished run there.
        CorruptTable: its scores are not those of its judgements, as far as its scorers are here to say so.
        BenchError: the judges of the run cannot be loaded.
    """
    run = load_run(folder)
    rescored(run)
    frozen = snapshot(run, metrics)
    if offline:
        return frozen
    from latentbench.analysis.gate.drift import ask_probes, probes
    from latentbench.runs.run import prepare
    from latentbench.runs.run_spec import load_run_spec

    with only_listed(allow_endpoints, str(folder / "spec.yaml")):
        plan = prepare(load_run_spec(folder / "spec.yaml"), Path(run.record.base), None)
    with only_listed(allow_endpoints), _closing(plan.judges):
        asked, noise = ask_probes(probes(run, plan), plan.judges)
    return Baseline.model_validate({**frozen.model_dump(), "probes": [p.model_dump() for p in asked], "noise": noise})


def gate(
    target: Path | None,
    baseline: Path,
    settings: GateSettings,
    console: Console,
    *,
    out: Path | None = None,
    cache: Path | None = None,
    offline: bool = False,
    allow_endpoints: bool = False,
) -> tuple[GateReport, Path]:
    """Compare a run with a baseline; a spec is run first.

    Args:
        target: a run folder, or a run spec; None runs the spec that the baseline holds, relative to the working directory.
        out: folder of the run; `runs/gate-NAME-time` by default.
        cache: reply cache of the run; one of its own by default.
        offline: do not ask the judges again whether they are the same.
        allow_endpoints: ask endpoints that the baseline, the spec or the run folder names and the user's list has not, as far
            as any run may.

    Returns:
        The report, and the run folder.

    Raises:
        BenchError: whatever is wrong with the baseline, the spec or the run.
    """
    began = time.monotonic()
    base = read_baseline(baseline)
    with only_listed(allow_endpoints, str(target or baseline)):
        folder = target if target is not None and target.is_dir() else _run(target, base, out, cache, console)
        run = load_run(folder)
        drift = None if offline or not base.probes else _asked(run, base)
    metrics = list(dict.fromkeys(s.metric for s in base.scores if not s.headline))
    known = {m.name for scorer in run.record.scorers.values() for m in scorer.metrics}
    report = compare(base, snapshot(run, [m for m in metrics if m in known]), settings, drift)
    return replace(report, seconds=time.monotonic() - began), folder


def _run(target: Path | None, base: Baseline, out: Path | None, cache: Path | None, console: Console) -> Path:
    from latentbench.kernel.config import validate
    from latentbench.runs.ownership import dated_folder
    from latentbench.runs.run import REPLIES, begin
    from latentbench.runs.run_spec import RunSpec, load_run_spec

    if target is not None:
        spec, place, command = load_run_spec(target), target.parent, f"bench run {target}"
    elif base.spec:
        spec, place, command = validate(RunSpec, base.spec, "the baseline's spec"), Path(), base.command
    else:
        raise RunError("the baseline holds no run spec: name a run folder or a spec.")
    folder = out or dated_folder(f"gate-{spec.name}")
    with TemporaryDirectory(prefix="latentbench-gate-") as own:
        begin(spec, place, folder, command, cache or Path(own) / REPLIES, console)
    return folder


def _asked(run: Run, base: Baseline) -> Mapping[str, float]:
    """Distance of the answers of the run's judges to those in the baseline."""
    from latentbench.analysis.gate.drift import distances
    from latentbench.judges.reference import load_judge

    wanted = {label for p in base.probes for label in p.answers}
    judges = {j.label: load_judge(j.use) for j in run.record.spec.judges if j.label in wanted}
    with _closing(judges):
        return distances(base.probes, judges)


@contextmanager
def _closing(judges: Mapping[str, Judge]) -> Iterator[None]:
    import asyncio

    try:
        yield
    finally:
        for judge in judges.values():
            asyncio.run(closed(judge))
