"""Does a metric notice wrong labels? The two sanity checks of NeuronEval (arXiv 2506.05774, section 4) on planted latents.

The answers are a perfect judge's and stay fixed; the labels are changed under them:

    halved    half of the true labels are dropped: of n activating windows (tokens), n // 2 drawn ones become silent
    doubled   as many false labels are added: n drawn silent windows (tokens) become activating

A metric is admissible if its mean over latents falls by at least 0.001 in both. Window level (detection, fuzzing, embedding,
surprisal): the truth of a judgement is changed, its score and answer are not. Token level (simulation): the true
activation of a token is set to 0, or to that of a drawn firing token; the predictions are not changed.

A latent is rare, a test set is half positives. Where half of the windows activate every metric falls, so a test there proves
nothing: metrics that forgive a broad or narrow explanation do so because silent windows outnumber the others. So silent windows
are repeated, with the perfect judge's answer for them, until the positives have the share `prevalence`; that is exact, since
every further silent window would get that answer. Both are reported, the test set as the scorer draws it and the rare latent;
the latter decides.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from latentbench.judges.judge import Judge
from latentbench.judges.reference import load_judge
from latentbench.kernel.boundary import Fault
from latentbench.kernel.errors import DataError, SpecError
from latentbench.kernel.identity import seed_for
from latentbench.kernel.kinds import RANDOM
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Outcome
from latentbench.runs.judging import judgements_of, trial_exchange
from latentbench.runs.rounds import converse
from latentbench.scorers.explained import asks_about_explanation
from latentbench.scorers.scorer import Judgement, Scorer, made
from latentbench.suites.store import Suite
from latentbench.views.page import Block, Page, Prose
from latentbench.views.table import Cell, Column, Table

LEAST = 0.001
"""Smallest fall of a metric that counts (NeuronEval)."""
PREVALENCE = 0.001
YES, NO = 0.98, 0.02
ORACLE = "mock:oracle"
TEXT = f"""# Which metrics may be a headline

A metric is admissible if it falls by at least {LEAST} both when half of the true labels are dropped and when the labels are
doubled with false ones (NeuronEval, arXiv 2506.05774). The answers are a perfect judge's on planted latents and stay fixed; the
labels are changed under them. Window level: the label of a judgement changes, its score and answer do not. Token level
(simulation): the true activation of a token changes (to 0, or to that of a drawn firing token), the prediction does not.

"As drawn" is the scorer's test set, in which about half of the windows activate. There nearly every metric falls, which says
little; with doubled labels it may have no silent window left, and some metrics are undefined (–). In the second block silent
windows are repeated until positives have the share named there, as for a rare latent: metrics that forgive what is rare do not
fall. That block decides.
"""
Change = Callable[[Sequence[Judgement], random.Random], list[Judgement]]


@dataclass(frozen=True)
class AuditLine:
    """One metric at one prevalence, in means over latents.

    Attributes:
        prevalence: share of positives, or None for the test set as drawn.
        halved, doubled: value under wrong labels; NaN where it is undefined on a latent (a balanced test set with doubled
            labels has no silent window left).
    """

    metric: str
    prevalence: float | None
    value: float
    halved: float
    doubled: float
    higher_is_better: bool = True

    @property
    def falls(self) -> bool:
        """Whether it gets worse by at least `LEAST` both times; False where that is undefined."""
        sign = 1 if self.higher_is_better else -1
        return all(sign * (self.value - x) >= LEAST for x in (self.halved, self.doubled))


def audit(scorer: Scorer, suite: Suite, limit: int | None = None, prevalence: float = PREVALENCE) -> list[AuditLine]:
    """Lines for every metric of a scorer: as drawn, then at `prevalence`.

    Args:
        suite: a planted one; all its latents, or at most `limit`.

    Raises:
        SpecError: a scorer without activating and silent windows, one that asks about no explanation, or a prevalence outside
            (0, 1).
    """
    if not 0 < prevalence < 1:
        raise SpecError(f"prevalence must be between 0 and 1, not {prevalence}.")
    judge = load_judge(ORACLE)
    perfect = [(latent.id, answers(scorer, latent, judge)) for latent in suite.latents(limit=limit)]
    if not any(_positives(own) and len(_positives(own)) < len(own) for _, own in perfect):
        raise SpecError(
            f"scorer {scorer.name!r} does not tell activating from silent windows; there are no labels to change."
        )
    if not asks_about_explanation(scorer, suite.latents(limit=1)[0]):
        raise SpecError(
            f"scorer {scorer.name!r} asks about no explanation, so no explanation can be wrong about its labels. Audit a scorer "
            "that reads one, for example detection, fuzzing or embedding."
        )
    found = []
    for share in (None, prevalence):
        tables: list[tuple[dict[str, float], ...]] = []
        for latent, judged in perfect:
            own = judged if share is None else diluted(judged, share)
            rng = random.Random(seed_for("audit", latent))
            tables.append(tuple(scorer.metrics(js) for js in (own, halved(own, rng), doubled(own, rng))))
        for metric in scorer.metric_table():
            if "@" in metric.name or metric.name == "n":
                continue
            defined = [three for three in tables if metric.name in three[0]]
            if defined:
                # A mean over the few latents on which a column is defined would not compare with the others.
                value, half, double = (fmean(t[i].get(metric.name, math.nan) for t in defined) for i in range(3))
                found.append(AuditLine(metric.name, share, value, half, double, metric.higher_is_better))
    return found


def answers(scorer: Scorer, latent: LatentView, judge: Judge) -> list[Judgement]:
    """A perfect judge's judgements of activating and random windows, through the scorer's own trials and reading.

    `judge` gives them their shape (which fields this scorer fills); then every answer is made right, because even the oracle is
    blind at the edges of windows.
    """
    trials = made(scorer, latent, "", seed_for("audit", latent.id))
    if isinstance(trials, Fault):
        raise DataError(f"scorer {scorer.name!r} makes no trials of {latent.id}: {trials.line}")
    exchanges = [trial_exchange(scorer, t, judge.can) for t in trials]
    asyncio.run(converse(exchanges, judge.answer))
    read = [j for t, exchange in zip(trials, exchanges, strict=True) for j in judgements_of(scorer, t, exchange)]
    failed = [j for j in read if j.outcome is not Outcome.OK]
    if failed:
        raise DataError(f"scorer {scorer.name!r} cannot read the oracle on {latent.id}: {failed[0].error}")
    return [_right(j) for j in read if j.truth == 1 or j.kind == RANDOM]


def diluted(judgements: Sequence[Judgement], prevalence: float) -> list[Judgement]:
    """The judgements with silent ones repeated until positives (tokens, where there are predictions for tokens) have at most
    the share `prevalence`; never fewer silent ones than there are."""
    positives = _positives(judgements)
    silent = [j for j in judgements if j.truth == 0]
    if not positives or not silent:
        return list(judgements)
    if positives[0].token_truth is not None:
        firing = sum(a > 0 for j in positives for a in j.token_truth or ())
        still = firing / prevalence - sum(len(j.token_truth or ()) for j in positives)
        wanted = still / fmean(len(j.token_truth or ()) for j in silent)
    else:
        wanted = len(positives) * (1 - prevalence) / prevalence
    n = max(len(silent), round(wanted))
    return [*positives, *(silent[i % len(silent)] for i in range(n))]


def halved(judgements: Sequence[Judgement], rng: random.Random) -> list[Judgement]:
    """Half of the true labels dropped; see the module docstring."""
    out = list(judgements)
    if _by_token(out):
        firing = _tokens(out, True)
        for i, t in rng.sample(firing, len(firing) // 2):
            out[i] = _with_truth(out[i], t, 0.0)
        return out
    on = [i for i, j in enumerate(out) if j.truth == 1]
    for i in rng.sample(on, len(on) // 2):
        out[i] = replace(out[i], truth=0, kind=RANDOM)
    return out


def doubled(judgements: Sequence[Judgement], rng: random.Random) -> list[Judgement]:
    """Add as many false labels as there are true ones, or as many as there is room for (the module docstring says why)."""
    out = list(judgements)
    if _by_token(out):
        firing = _tokens(out, True)
        values = [(out[i].token_truth or ())[t] for i, t in firing]
        silent = _tokens(out, False)
        for i, t in rng.sample(silent, min(len(firing), len(silent))):
            out[i] = _with_truth(out[i], t, rng.choice(values))
        return out
    off = [i for i, j in enumerate(out) if j.truth == 0]
    for i in rng.sample(off, min(len(_positives(out)), len(off))):
        out[i] = replace(out[i], truth=1)
    return out


def _right(judgement: Judgement) -> Judgement:
    """The judgement with the right answer in every field that it has."""
    value = YES if judgement.truth else NO
    return replace(
        judgement,
        score=None if judgement.score is None else value,
        answer=None if judgement.answer is None else judgement.truth,
        token_scores=judgement.token_truth,
    )


def _positives(judgements: Sequence[Judgement]) -> list[Judgement]:
    return [j for j in judgements if j.truth == 1]


def _by_token(judgements: Sequence[Judgement]) -> bool:
    return any(j.token_truth is not None for j in judgements)


def _tokens(judgements: Sequence[Judgement], firing: bool) -> list[tuple[int, int]]:
    return [(i, t) for i, j in enumerate(judgements) for t, a in enumerate(j.token_truth or ()) if (a > 0) == firing]


def _with_truth(judgement: Judgement, token: int, value: float) -> Judgement:
    truth = judgement.token_truth or ()
    return replace(judgement, token_truth=(*truth[:token], value, *truth[token + 1 :]))


def markdown(audits: Mapping[str, Sequence[AuditLine]], command: str, date: str) -> str:
    """The page.

    Args:
        audits: scorer id -> its lines.
    """
    blocks: list[Block] = [Prose(f"`{command}`, {date}. Means over latents.")]
    return f"{TEXT}\n{Page('', [*blocks, *(audit_table(name, lines) for name, lines in audits.items())]).markdown()}"


def audit_table(name: str, lines: Sequence[AuditLine]) -> Table:
    """The lines of one scorer."""
    columns = [Column("metric", "text"), Column("positives", "number")]
    columns += [Column(head, "number", 4) for head in ("value", "halved", "doubled")]
    return Table(name, [*columns, Column("admissible", "text")], [_cells(line) for line in lines])


def admissible(metric: str, lines: Sequence[AuditLine]) -> bool:
    """Whether a metric falls on the rare latent; False for one that was not tested."""
    rare = [line for line in lines if line.metric == metric and line.prevalence is not None]
    return bool(rare) and all(line.falls for line in rare)


def _cells(line: AuditLine) -> list[Cell]:
    share = "as drawn" if line.prevalence is None else f"{line.prevalence:g}"
    verdict = "" if line.prevalence is None else "yes" if line.falls else "no"
    return [line.metric, share, line.value, line.halved, line.doubled, verdict]
