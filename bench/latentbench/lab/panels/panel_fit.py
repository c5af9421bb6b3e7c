"""Fits what a panel's numbers mean: log-odds of each member's evidence, and how much each member counts.

Fitted are lessons of the simulator's `calibrate` concepts: the simulator has not learnt them, and concepts like the latents of a
planted suite are none of them. Fitting on such a suite is the tempting way, and the panel would then be examined on what it was
made from. Each lesson becomes a latent whose windows the scorer shows as it shows any other's, so a number here is the one that a
run reads.

    log-odds of a member   scale x + bias, logistic regression of active on its number x alone (Platt 1999)
    weights, bias          learnt: logistic regression of active on the members' log-odds together, weights at least `LEAST`
                           equal: every member counts alike, one standard deviation of its log-odds for one of any other;
                           the bias and one factor of all weights by logistic regression

Learnt weights are right where the text to judge is like lessons. A simulator was trained on such, so there it needs nobody's help
and the others get nothing; equal shares of standardised evidence do not depend on that (Dawes 1979, improper linear models).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import yaml
from numpy.typing import NDArray

from latentbench.judges.cache.cached_judge import CachedJudge
from latentbench.judges.cache.reply_database import open_replies
from latentbench.judges.judge import Judge, guarded
from latentbench.judges.reference import load_judge
from latentbench.kernel.config import read_yaml, validate
from latentbench.kernel.errors import DataError, SpecError, UnknownName
from latentbench.kernel.files import write_text
from latentbench.kernel.kinds import RANDOM
from latentbench.kernel.latent import LatentView, Window
from latentbench.lab.simulator.lessons import Example, Examples
from latentbench.lab.simulator.simulator_evaluation import auroc, platt
from latentbench.lab.simulator.simulator_training import data, read_recipe
from latentbench.panels.panel_judge import PanelJudge
from latentbench.panels.panel_scorer import PanelScorer
from latentbench.panels.panel_spec import Fit, FittedMember, FittedScorer, PanelParams
from latentbench.scorers.scorer import load_scorer
from latentbench.views import terminal

LEAST = 1e-3
"""Least weight of a member: one that says nothing beside the others stays in the panel, and is not turned round."""
SEED = 3
"""Seed of the lessons; those that a simulator is calibrated and measured on have another."""

Floats = NDArray[np.float64]
Weighting = Literal["learnt", "equal"]


@dataclass(frozen=True, slots=True, eq=False)
class PanelEvidence:
    """What the members said of windows; those that one of them did not answer are left out.

    Attributes:
        numbers: float64 [windows, members].
        active: float64 [windows].
        asked: number of windows.
    """

    numbers: Floats
    active: Floats
    asked: int


def fit_panel(
    path: Path,
    scorers: Sequence[str],
    recipe_path: Path,
    corpus: Path,
    wordnet: Path | None,
    lessons: int,
    cache: Path,
    command: str,
    weighting: Weighting = "equal",
    say: Callable[[str], None] = terminal.say,
) -> Fit:
    """Fit a panel and write the file that it names as its `fit`.

    Args:
        path: the panel's YAML file.
        scorers: names of scorers that ask about windows.
        recipe_path, corpus, wordnet: as a simulator is trained; they say which concepts it has not learnt.
        lessons: number of descriptions to fit on; as many others are measured.
        cache: reply cache; what was asked before a kill is not asked again.
        command: what was typed, for the file.
        weighting: how much each member counts; see the module docstring.

    Raises:
        SpecError: the panel names no file for what is fitted.
        DataError: the members answered nothing that could be fitted.
    """
    replies = open_replies(cache)

    def load(reference: str) -> Judge:
        return CachedJudge(load_judge(reference), replies)

    named = validate(PanelParams, read_yaml(path), str(path)).fit
    if not named:
        raise SpecError(f"{path} names no file for what is fitted; add `fit: {path.stem}.fit.yaml`.")
    if Path(named).name != named:
        raise SpecError(f"{path}: fit is the name of a file beside it, not {named!r}.")
    panel = PanelJudge(str(path), PanelParams(fit=""), load)
    streams = data(read_recipe(recipe_path), recipe_path.parent, corpus, wordnet)
    found: dict[str, FittedScorer] = {}
    measured: dict[str, dict[str, float]] = {}
    labels = [m.label for m in panel.members]
    windows = 0
    with asyncio.Runner() as runner:
        for name in scorers:
            scorer = PanelScorer(load_scorer(name), panel)
            learnt = runner.run(evidence(scorer, streams["calibrate"], lessons, say))
            found[name], joint = fitted(labels, learnt, weighting)
            windows += len(learnt.active)
            held = runner.run(evidence(scorer, streams["held-out"], lessons, say))
            columns = dict(zip(labels, held.numbers.T, strict=True)) | {"panel": joint(held.numbers)}
            figures = {label: auroc(x, held.active) for label, x in columns.items()}
            measured[name] = {label: round(value, 4) for label, value in figures.items() if value is not None}
            say(f"{name}: held out {measured[name]}")
        runner.run(panel.close())
    result = Fit(command=command, windows=windows, scorers=found, auroc=measured)
    text = yaml.safe_dump(result.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text(path.parent / named, text)
    return result


async def evidence(scorer: PanelScorer, stream: Examples, lessons: int, say: Callable[[str], None]) -> PanelEvidence:
    """What the members say of the windows of lessons."""
    rows: list[list[float]] = []
    active: list[int] = []
    asked = 0
    for start in range(0, lessons, 32):
        shown = [stream.at(SEED, n) for n in range(start, min(start + 32, lessons))]
        trials = [
            trial for n, x in enumerate(shown, start) for trial in scorer.trials(latent_of(x, n), x.description, n)
        ]
        requests = [scorer.requests(trial, scorer.panel.can) for trial in trials]
        replies = iter(await guarded(scorer.panel, [r for own in requests for r in own]))
        for trial, own in zip(trials, requests, strict=True):
            opinions = scorer.opinions(trial, [next(replies) for _ in own])
            for i, truth in enumerate(trial.truth):
                numbers = [member[i].number for member in opinions]
                asked += 1
                if all(x is not None and np.isfinite(x) for x in numbers):
                    rows.append([x for x in numbers if x is not None])
                    active.append(truth)
        say(f"{scorer.name}: {start + len(shown)} of {lessons} lessons")
    if len(set(active)) < 2:
        raise DataError(f"{scorer.name}: of {asked} windows {len(rows)} have a number of every member; nothing to fit.")
    return PanelEvidence(np.asarray(rows, np.float64), np.asarray(active, np.float64), asked)


def one_of(weighting: str) -> Weighting:
    """The weighting of a name.

    Raises:
        UnknownName: no such weighting.
    """
    known: dict[str, Weighting] = {"equal": "equal", "learnt": "learnt"}
    if weighting not in known:
        raise UnknownName("weighting", weighting, known)
    return known[weighting]


def latent_of(lesson: Example, number: int) -> LatentView:
    """A lesson as a latent of a suite: what fires in its windows is what its description says."""
    windows = [
        Window(i, "test", "quantile:9" if w.active else RANDOM, (), w.tokens, tuple(w.labels.astype(float).tolist()), i)
        for i, w in enumerate(lesson.windows)
    ]
    return LatentView(f"lesson/{number}", "lesson", number, "tune", {}, (), tuple(windows))


def fitted(
    labels: Sequence[str], found: PanelEvidence, weighting: Weighting
) -> tuple[FittedScorer, Callable[[Floats], Floats]]:
    """What fits the evidence, and the panel's log-odds of other numbers [windows, members]."""
    from scipy.optimize import minimize

    scales = [platt(x, found.active) for x in found.numbers.T]
    slope, offset = np.array([s.scale for s in scales]), np.array([s.bias for s in scales])
    log_odds = found.numbers * slope + offset

    def loss(v: Floats) -> float:
        z = v[0] + log_odds @ v[1:]
        return float(np.mean(np.logaddexp(0, z) - found.active * z))

    if weighting == "learnt":
        start = np.array([0.0, *[1 / len(labels)] * len(labels)])
        bounds = [(None, None), *[(LEAST, None)] * len(labels)]
        best: Floats = minimize(loss, start, method="L-BFGS-B", bounds=bounds).x
    else:
        shares = 1 / np.maximum(log_odds.std(0), LEAST)
        whole = platt(log_odds @ shares, found.active)
        best = np.array([whole.bias, *(np.maximum(whole.scale, LEAST) * shares)])
    rounded: Floats = np.round(best, 4)
    members = {
        label: FittedMember(scale=round(s.scale, 4), bias=round(s.bias, 4), weight=float(w))
        for label, s, w in zip(labels, scales, rounded[1:], strict=True)
    }

    def joint(numbers: Floats) -> Floats:
        own = np.array([[m.scale, m.bias, m.weight] for m in members.values()])
        total: Floats = rounded[0] + (numbers * own[:, 0] + own[:, 1]) @ own[:, 2]
        return total

    return FittedScorer(bias=float(rounded[0]), members=members), joint
