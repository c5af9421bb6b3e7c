"""The winner against the default on latents that tuning has not seen, by ordinary runs with repeats.

The winner's score on tuning latents is the largest of many noisy ones, so it is too good by construction and no test on those
latents can say otherwise. Here both settings are run afresh: one paired test decides, and `chance` (the best-of-k null on the
tuning latents) says how much of the lead choice alone would have given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from latentbench.kernel.config import validate
from latentbench.kernel.identity import digest
from latentbench.runs.finished import load_run
from latentbench.runs.run import begin, resume
from latentbench.runs.run_spec import RunSpec
from latentbench.stats.bootstrap import Interval, bootstrap_mean, holm, paired_difference
from latentbench.tuning.space import run_spec
from latentbench.tuning.tune_measures import Array, SettingMeasures, measure
from latentbench.tuning.tune_spec import Settings, TuneSpec
from latentbench.views.number import finite

ALPHA = 0.05
BETTER, WORSE, OPEN, SAME = "better", "worse", "not shown", "same"


def hold_out(
    spec: TuneSpec, result: Mapping[str, Any], base: Path, folder: Path, cache: Path | None, console: Console
) -> dict[str, Any]:
    """Run the default and the winners on held-out latents, and compare them.

    Runs that are there are resumed, finished ones too: that refuses one of another scorer, judge or prompt.

    Args:
        result: of `collect`.
        base: folder of the tuning spec.
        folder: of the search.

    Returns:
        `default` and `winners` (trial, means per objective and per scorer), and for each winner its comparison with the default.
    """
    settings = {t["number"]: t["settings"] for t in result["trials"]}

    def run(setting: Settings) -> tuple[Path, SettingMeasures]:
        data = run_spec(spec, setting, held_out=True)
        place = folder / "holdout" / digest(data)
        if (place / "run.json").exists():
            resume(place, cache, console)
        else:
            begin(validate(RunSpec, data, "run"), base, place, f"{result['command']} # held out", cache, console)
        return place, measure(load_run(place), spec.objectives, spec.explainer)

    where, default = run(spec.default)
    winners = []
    for number in result["winners"][: spec.holdout.at_most]:
        place, measured = run(settings[number])
        same = place == where
        winners.append(
            {
                "trial": number,
                "same": same,
                "folder": place.relative_to(folder).as_posix(),
                "coverage": measured.coverage,
                "means": _means(measured, spec.seed),
                "differences": {} if same else _differences(measured, default, spec),
                "cells": {} if same else _cells(measured, default, spec.seed),
            }
        )
    _correct(winners, {o.name: o.larger_is_better for o in spec.objectives})
    return {
        "latents": len(default.latents),
        "repeats": spec.holdout.repeats,
        "default": {
            "folder": where.relative_to(folder).as_posix(),
            "coverage": default.coverage,
            "means": _means(default, spec.seed),
        },
        "winners": winners,
    }


def _means(measured: SettingMeasures, seed: int) -> dict[str, Any]:
    values = {**measured.values, **measured.cells}
    found = {}
    for name, own in values.items():
        low, high = measured.ranges[name]
        found[name] = _interval(bootstrap_mean(own, seed=seed, low=low, high=high))
    return found


def _interval(i: Interval) -> dict[str, Any]:
    return {"estimate": finite(i.estimate), "low": finite(i.low), "high": finite(i.high), "n": i.n}


def _differences(winner: SettingMeasures, default: SettingMeasures, spec: TuneSpec) -> dict[str, Any]:
    return {
        o.name: _difference(winner.values[o.name], default.values[o.name], winner, o.name, spec.seed)
        for o in spec.objectives
    }


def _cells(winner: SettingMeasures, default: SettingMeasures, seed: int) -> dict[str, Any]:
    """Headlines of the scorers that both runs have, as the scorers define them."""
    shared = [
        pair for pair in winner.cells if pair in default.cells and winner.headlines[pair] == default.headlines[pair]
    ]
    return {
        pair: {
            "headline": winner.headlines[pair],
            **_difference(winner.cells[pair], default.cells[pair], winner, pair, seed),
        }
        for pair in shared
    }


def _difference(a: Array, b: Array, of: SettingMeasures, name: str, seed: int) -> dict[str, Any]:
    low, high = of.ranges[name]
    span = None if low is None or high is None else high - low
    d = paired_difference(a, b, of.latents, seed=seed, span=span)
    return {**_interval(d.interval), "p": finite(d.p)}


def _correct(winners: Sequence[dict[str, Any]], larger: Mapping[str, bool]) -> None:
    """Holm over all winners and objectives, and the verdict on each difference."""
    tests = [(d, larger[name]) for w in winners for name, d in w["differences"].items()]
    raw = [np.nan if d["p"] is None else d["p"] for d, _ in tests]
    for (d, up), p in zip(tests, holm(raw), strict=True):
        d["p_holm"] = finite(float(p))
        clear = d["p_holm"] is not None and p < ALPHA and d["estimate"] != 0
        d["verdict"] = OPEN if not clear else BETTER if (d["estimate"] > 0) == up else WORSE
    for w in winners:
        shown = {d["verdict"] for d in w["differences"].values()} - {OPEN}
        w["verdict"] = SAME if w["same"] else shown.pop() if len(shown) == 1 else OPEN
