"""Explanations x test windows -> judgements, batched over latents and explainers.

Questions of all cells that share a scorer and a judge may be put into the same batches, so that a prefix or a window that several
explainers share is computed once; `latentbench.runs.flow` says which. The unit on disk is one latent of one cell.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

from latentbench.explainers.explainer import Explanation, total_usage
from latentbench.judges.judge import Judge, guarded
from latentbench.judges.price import cost
from latentbench.kernel.boundary import Fault, attempt, one_line
from latentbench.kernel.errors import RunError
from latentbench.kernel.identity import seed_for
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Capability, Outcome, Reply
from latentbench.kernel.trial import Trial
from latentbench.prompts.selection import shuffled
from latentbench.runs.explaining import RETRIED, Explanations, paid
from latentbench.runs.journal import Asked, Call, Journal, JudgedUnit
from latentbench.runs.keeping import Keeper
from latentbench.runs.plan import Cell, Plan
from latentbench.runs.rounds import Exchange, converse
from latentbench.runs.run_spec import RunSpec
from latentbench.runs.settled import as_tabled
from latentbench.runs.stock import UnitStock
from latentbench.runs.tally import RunTally
from latentbench.scorers.scorer import Judgement, Scorer, answered, failed, made
from latentbench.views.progress import Stage

BATCH = 512
"""Requests of the first round per batch: a few seconds of an in-process judge, and what a kill can lose."""


@dataclass(frozen=True)
class Unit:
    """One latent of one cell; `trials` are a fault where the scorer could not make them."""

    cell: Cell
    latent: LatentView
    explanation: Explanation
    trials: list[Trial] | Fault
    exchanges: list[Exchange]

    @property
    def asking(self) -> int:
        """How many requests its first round has."""
        return sum(len(exchange.asking) for exchange in self.exchanges)


def stored(
    plan: Plan, explanations: Explanations, journal: Journal[JudgedUnit], again: Collection[Outcome] = RETRIED
) -> UnitStock:
    """Units on disk that are not owed again: no call of theirs failed (`again`), and what was judged is the explanation of now.

    The second matters where the call that should have explained failed: the windows were skipped then, and the explanation
    has come since.

    Raises:
        RunError, CorruptTable: the journal cannot be read.
    """
    found = UnitStock(plan, explanations)
    for place, judgements in journal.units():
        failed = any(judgement.outcome in again for judgement in judgements)
        found.note((place.cell, place.latent), None if failed else place.explanation if judgements else "")
    return found


def unit(plan: Plan, cell: Cell, latent: LatentView, explanations: Explanations) -> Unit:
    """What is to be asked about a latent in a cell; its explanation is there."""
    scorer, judge = plan.asking[cell.scorer, cell.judge], plan.judges[cell.judge]
    explanation = explanations[(cell.explainer, cell.repeat)][latent.id]
    # A failed explanation still makes its trials: their windows are recorded as skipped.
    trials = trials_of(plan.spec, cell.repeat, scorer, latent, explanation.text or "")
    owners = [] if explanation.text is None or isinstance(trials, Fault) else trials
    return Unit(cell, latent, explanation, trials, [trial_exchange(scorer, trial, judge.can) for trial in owners])


async def judge(
    plan: Plan, units: Sequence[Unit], journal: Journal[JudgedUnit], keeper: Keeper, stage: Stage, tally: RunTally
) -> None:
    """Ask about units of one scorer and judge, all together, and append what came to `journal`."""
    cell = units[0].cell
    work = cell.scorer, cell.judge
    scorer, judge = plan.asking[work], plan.judges[cell.judge]
    exchanges = [exchange for unit in units for exchange in unit.exchanges]
    with tally.asking(cell.judge):
        tally.begun(work, len(units), sum(len(exchange.asking) for exchange in exchanges))
        await converse(exchanges, partial(guarded, judge))
        tally.ended(work, len(units), sum(exchange.asked for exchange in exchanges))
    for unit in units:
        judgements, calls = _judged(unit, scorer, judge)
        spent = paid([r for exchange in unit.exchanges for r in exchange.replies])
        place = Asked(unit.cell.id, unit.latent.id, unit.explanation.hash, tuple(calls), spent)
        keeper.judged(unit.cell, unit.latent.id, unit.trials, unit.exchanges, judgements)
        journal.append((place, tuple(map(as_tabled, judgements))))
        for judgement in judgements:
            stage.causes.add(judgement.outcome, judgement.error)
        stage.advance()


def _judged(unit: Unit, scorer: Scorer, judge: Judge) -> tuple[list[Judgement], list[Call]]:
    """The judgements of a unit, and what the calls behind each used."""
    if isinstance(unit.trials, Fault):
        found = without_trials(scorer, unit.latent, unit.trials)
    elif unit.explanation.text is None:
        none = Reply(Outcome.SKIPPED, error=f"no explanation ({unit.explanation.outcome.value})")
        found = [j for trial in unit.trials for j in failed(trial, none)]
    else:
        asked = zip(unit.trials, unit.exchanges, strict=True)
        read = [(judgements_of(scorer, trial, exchange), exchange.replies) for trial, exchange in asked]
        calls = [_call(replies if place == 0 else [], judge) for own, replies in read for place in range(len(own))]
        return [judgement for own, _ in read for judgement in own], calls
    return found, [_call([], judge)] * len(found)


def _call(replies: Sequence[Reply], judge: Judge) -> Call:
    costs = [cost(r.usage, r.by or judge.identity) for r in replies]
    price = None if any(c is None for c in costs) else sum(c for c in costs if c is not None)
    return Call(total_usage(replies), price)


def judge_seed(spec_seed: int, repeat: int, latent: LatentView) -> int:
    """Seed of one latent's trials; without explainer and scorer, so that all explainers are judged on the same windows by all
    scorers. What a scorer alone draws has its name in the seed (`Scorer.own`)."""
    return seed_for("judge", spec_seed, repeat, latent.id)


def trials_of(spec: RunSpec, repeat: int, scorer: Scorer, latent: LatentView, explanation: str) -> list[Trial] | Fault:
    """What a run asks about one explanation of a latent, or why the scorer cannot say it."""
    seed = judge_seed(spec.seed, repeat, latent)
    found = made(scorer, latent, explanation, seed)
    return found if isinstance(found, Fault) else reordered(found, spec.order, seed)


def reordered(trials: Sequence[Trial], order: int, seed: int = 0) -> list[Trial]:
    """The windows of all trials dealt anew to prompts of the same sizes.

    Args:
        trials: of one latent.
        order: number of the order; 0 leaves the trials as they are.
        seed: of the latent, so that what moves where differs between latents.

    Returns:
        As many trials, with the ids they had. Trials that show one window each, or whose windows are not judged one by one
        (an intruder among others), have no such order and come back unchanged.
    """
    if order == 0 or any(t.kind for t in trials) or all(len(t.windows) < 2 for t in trials):
        return list(trials)
    places = [(t, i) for t in trials for i in range(len(t.windows))]
    dealt = iter(shuffled(places, seed_for("order", order, seed, trials[0].task)))
    found = []
    for trial in trials:
        own = [next(dealt) for _ in trial.windows]
        found.append(
            replace(
                trial,
                windows=tuple(t.windows[i] for t, i in own),
                truth=tuple(t.truth[i] for t, i in own),
                token_truth=tuple(t.token_truth[i] for t, i in own) if trial.token_truth else (),
            )
        )
    return found


def trial_exchange(scorer: Scorer, trial: Trial, can: frozenset[Capability]) -> Exchange:
    """What a scorer asks a judge with the capabilities `can` about a trial."""
    return Exchange.begin(
        scorer, lambda: scorer.requests(trial, can), lambda replies: scorer.follow_up(trial, can, replies), can
    )


def judgements_of(scorer: Scorer, trial: Trial, exchange: Exchange) -> list[Judgement]:
    """What a scorer reads from the replies about a trial; its windows are recorded as failed where its code fails."""
    if exchange.fault is not None:
        return failed(trial, Reply(exchange.fault_outcome, error=exchange.fault.line))
    found = attempt(
        scorer, "parse", lambda: scorer.parse(trial, list(exchange.replies)), list[Judgement], answered(trial)
    )
    if isinstance(found, Fault):
        return failed(trial, Reply(Outcome.PARSE, error=found.line))
    return [j if j.error is None else replace(j, error=one_line(j.error)) for j in found]


def without_trials(scorer: Scorer, latent: LatentView, fault: Fault) -> list[Judgement]:
    """A latent whose trials the scorer could not make: each of its test windows is recorded as never asked.

    Which of them the scorer would have chosen nobody knows. Leaving the latent out would raise the scorer's coverage by its own
    fault, and ending the run would lose the other latents.

    Raises:
        RunError: the latent has no test windows, so there is nothing that could carry the fault.
    """
    if not latent.test:
        raise RunError(f"scorer {scorer.name!r} cannot make trials of {latent.id}: {fault.line}")
    return [Judgement("", "", w.id, w.kind, int(w.active), Outcome.SKIPPED, error=fault.line) for w in latent.test]
