"""A sample of a run's latents, judged once more by a judge of one's own, beside the values that were handed in.

Scores that follow from their judgements show that nobody changed a number, and not that a judge ever gave these answers. Asking
shows that. Latents are drawn with a seed that whoever checks chooses, after the folder was written: a seed that is known before
tells a forger which latents to be honest about. Replies do not come from a cache, which on the machine that ran the run would
agree with anything.

The explanations are those that were handed in. Whether their explainer would write them again is another question, and not asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

import numpy as np
from pydantic import Field
from rich.console import Console

from latentbench.judges.cache.cached_judge import CachedJudge, ReplyCache
from latentbench.judges.judge import Judge, closed, guarded
from latentbench.judges.reference import load_judge
from latentbench.kernel import stopping
from latentbench.kernel.boundary import Fault
from latentbench.kernel.config import Frozen
from latentbench.kernel.errors import CapabilityError, JudgeError
from latentbench.kernel.trial import Trial
from latentbench.kernel.veil import veiled
from latentbench.leaderboards.rescored import TOLERANCE
from latentbench.leaderboards.row import Number
from latentbench.leaderboards.submission.judged_windows import texts_of
from latentbench.panels.panel_judge import load_panel
from latentbench.panels.panel_scorer import seated
from latentbench.panels.panel_spec import is_panel
from latentbench.runs.finished import Run
from latentbench.runs.judging import BATCH, judgements_of, trial_exchange, trials_of
from latentbench.runs.record import CellRecord
from latentbench.runs.rounds import Exchange, converse
from latentbench.runs.run_tables import latent_scores
from latentbench.scorers.scorer import Scorer
from latentbench.stats.bootstrap import FEWEST, Array, bootstrap_mean
from latentbench.suites.store import Suite
from latentbench.views.progress import Stage

SAMPLE = FEWEST
"""Latents that are asked about by default: fewer claim nothing anywhere in this package."""
MARGIN = 0.02
"""By how much the mean of a row may differ and still be the same."""
Verdict = Literal["equal", "agrees", "differs", "open"]
Line = tuple[str, str, str]
"""Labels of explainer, scorer and judge."""


class Compared(Frozen):
    """One row: what it says of the sampled latents, and what came of asking again."""

    explainer: str
    scorer: str
    judge: str
    n: int = Field(ge=0)
    """Latents that have a value in both."""
    lost: int = Field(default=0, ge=0)
    """Latents that have a value in one of them alone, because calls failed."""
    stated: Number = None
    """Mean over the n latents, as handed in."""
    again: Number = None
    difference: Number = None
    """Mean of again - stated."""
    low: Number = None
    """Its 95 % interval over latents."""
    high: Number = None
    largest: Number = None
    """Largest difference of one latent."""
    verdict: Verdict
    """Equal: every latent has its value. Agrees: the interval lies within the margin. Differs: it lies outside. Open: neither."""


class AskedAgain(Frozen):
    """Everything that was asked again."""

    judge: str
    """Reference of the judge that was asked."""
    key: str
    same: bool
    """Whether it is a judge of the run: its key is equal."""
    latents: tuple[str, ...]
    seed: int
    margin: float
    rows: tuple[Compared, ...]
    left: int = Field(default=0, ge=0)
    """Rows of the run that were not asked about: those of its other judges, and of scorers that the judge cannot answer."""

    @property
    def reproduced(self) -> bool:
        """Whether the same judge gives the same values again in every row of the run, on enough latents for that to say
        something."""
        every = self.same and bool(self.rows) and not self.left
        return every and all(row.verdict in ("equal", "agrees") for row in self.rows)

    @property
    def summary(self) -> str:
        """One sentence: how many latents, and how far apart."""
        apart = max((abs(row.difference) for row in self.rows if row.difference is not None), default=0.0)
        who = "the same judge" if self.same else f"another judge ({self.judge})"
        counts = {verdict: sum(row.verdict == verdict for row in self.rows) for verdict in get_args(Verdict)}
        told = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n)
        left = f"; {self.left} other rows of the run were not asked about" if self.left else ""
        return (
            f"{len(self.latents)} latents (seed {self.seed}) were asked about again of {who}: of {len(self.rows)} rows {told}; "
            f"means differ by at most {apart:.3g} (margin {self.margin:g}){left}"
        )


def ask_again(
    run: Run,
    suite: Suite,
    scorers: Mapping[str, Scorer],
    reference: str,
    *,
    sample: int = SAMPLE,
    seed: int = 0,
    margin: float = MARGIN,
    console: Console,
) -> AskedAgain:
    """Ask a judge about a sample of a run's latents and compare.

    A judge of the run is compared with its own rows; any other one with the rows of every judge.

    Args:
        suite: that of the run.
        scorers: by label, those of the run.
        reference: of the judge.
        sample: how many latents; all if there are fewer.
        margin: by how much a mean may differ.
        console: for a progress bar.

    Raises:
        UnknownName, SpecError, ModelError: the reference.
        CapabilityError: the judge can answer none of the scorers.
        JudgeError: it answered nothing.
    """
    ids = sorted(set(run.record.latents))
    chosen = sorted(np.random.default_rng(seed).choice(ids, size=min(sample, len(ids)), replace=False).tolist())
    loaded = load_panel(reference, {}, load_judge, Path()) if is_panel(reference) else load_judge(reference)
    labels = [label for label, judge in run.record.judges.items() if judge.key == loaded.identity.key]
    same = bool(labels)
    cells = [c for c in run.record.cells if (not same or c.judge.label in labels) and c.scorer.label in scorers]
    asking = {label: seated(scorer, loaded) for label, scorer in scorers.items()}
    cells = [cell for cell in cells if asking[cell.scorer.label].fits(loaded.can)]
    if not cells:
        raise CapabilityError(f"judge {veiled(reference)} can answer none of the scorers {', '.join(sorted(scorers))}.")
    found: dict[Line, dict[str, list[float]]] = {}
    with TemporaryDirectory() as place:
        # A cache of its own that is empty: what several explainers share is asked once, and nothing comes from before.
        judge = loaded if is_panel(reference) else CachedJudge(loaded, ReplyCache(Path(place) / "replies.sqlite"))
        with Stage("judge again", len(cells) * len(chosen), "latents", console) as stage:
            work = _answers(run, suite, asking, cells, chosen, judge, stage)
            for cell, latent, value in stopping.run(work):
                if value is not None:
                    found.setdefault(cell.labels, {}).setdefault(latent, []).append(value)
    if not found:
        raise JudgeError(
            f"judge {veiled(reference)} answered no question about {len(chosen)} latents, so nothing is compared."
        )
    lines = dict.fromkeys(cell.labels for cell in cells)
    enough = min(FEWEST, len(ids))
    return AskedAgain(
        judge=veiled(reference),
        key=loaded.identity.key,
        same=same,
        latents=tuple(chosen),
        seed=seed,
        margin=margin,
        rows=tuple(_compared(run, line, found.get(line, {}), chosen, margin, enough) for line in lines),
        left=len(run.record.grid) - len(lines),
    )


async def _answers(
    run: Run,
    suite: Suite,
    asking: Mapping[str, Scorer],
    cells: list[CellRecord],
    latents: list[str],
    judge: Judge,
    stage: Stage,
) -> list[tuple[CellRecord, str, float | None]]:
    """Headline of every latent in every cell, None where there is no answer or no explanation."""
    texts = texts_of(run)
    views = {latent: suite.latent(latent) for latent in latents}
    answers: list[tuple[CellRecord, str, float | None]] = []
    waiting: list[tuple[CellRecord, str, list[tuple[Trial, Exchange]]]] = []

    async def ask() -> None:
        await converse([exchange for _, _, own in waiting for _, exchange in own], partial(guarded, judge))
        for cell, latent, own in waiting:
            scorer = asking[cell.scorer.label]
            judged = [j for trial, exchange in own for j in judgements_of(scorer, trial, exchange)]
            answers.append((cell, latent, latent_scores(scorer, judged)[1][scorer.headline][0]))
            stage.advance()
        waiting.clear()

    try:
        for cell, latent in ((cell, latent) for cell in cells for latent in latents):
            scorer, text = asking[cell.scorer.label], texts.get((cell.explainer.label, cell.repeat, latent))
            trials = [] if text is None else trials_of(run.record.spec, cell.repeat, scorer, views[latent], text)
            made = [] if isinstance(trials, Fault) else trials
            waiting.append((cell, latent, [(trial, trial_exchange(scorer, trial, judge.can)) for trial in made]))
            if sum(len(exchange.asking) for _, _, own in waiting for _, exchange in own) >= BATCH:
                await ask()
        await ask()
    finally:
        await closed(judge)
    return answers


def _compared(
    run: Run, line: Line, again: Mapping[str, list[float]], latents: list[str], margin: float, enough: int
) -> Compared:
    explainer, scorer, judge = line
    headline = run.record.scorers[scorer].headline
    means = run.means
    own = means[
        (means["explainer"] == explainer)
        & (means["scorer"] == scorer)
        & (means["judge"] == judge)
        & (means["metric"] == headline)
    ]
    said = {latent: value for latent, value in zip(own["latent"], own["value"].tolist(), strict=True) if value == value}
    pairs = [(said[latent], float(np.mean(again[latent]))) for latent in latents if latent in said and latent in again]
    lost = sum((latent in said) != (latent in again) for latent in latents)
    names = {"explainer": explainer, "scorer": scorer, "judge": judge}
    if not pairs:
        return Compared(**names, n=0, lost=lost, verdict="open" if lost else "equal")
    stated, now = np.array(pairs, dtype=np.float64).T
    apart = now - stated
    interval = bootstrap_mean(apart, seed=0)
    largest = float(np.abs(apart).max())
    few = len(latents) < enough
    return Compared(
        **names,
        n=len(pairs),
        lost=lost,
        stated=float(stated.mean()),
        again=float(now.mean()),
        difference=float(apart.mean()),
        low=interval.low,
        high=interval.high,
        largest=largest,
        verdict="open" if few and largest <= margin else _verdict(apart, interval.low, interval.high, lost, margin),
    )


def _verdict(apart: Array, low: float, high: float, lost: int, margin: float) -> Verdict:
    if float(np.abs(apart).max()) <= TOLERANCE * 10 and not lost:
        return "equal"
    if not (np.isfinite(low) and np.isfinite(high)):
        return "open"
    if -margin <= low and high <= margin:
        return "agrees"
    return "differs" if low > margin or high < -margin else "open"
