"""Trials -> replies, in rounds, for whoever puts a scorer's trials to a judge.

Nearly every scorer asks once. One that needs to see a reply before it knows what to ask next (let a text be written, then run
the subject on it) asks again through `Scorer.more`. All trials of a call go through each round together, so a second round is
batched like the first; a scorer that called the judge itself would be shorter and would take the batches away.
"""

from __future__ import annotations

from collections.abc import Sequence

from latentbench.judges.judge import Judge, ask
from latentbench.kernel.requests import Reply, Request
from latentbench.scorers.scorer import Scorer, Trial


async def replies_to(
    scorer: Scorer, judge: Judge, trials: Sequence[Trial], first: Sequence[list[Request]]
) -> list[list[Reply]]:
    """The replies to each trial, those of all rounds in the order asked.

    Args:
        first: requests of the first round by trial; a trial without any is not asked at all.
    """
    replies: list[list[Reply]] = [[] for _ in trials]
    requests = list(first)
    while any(requests):
        new = iter(await ask(judge, [request for of_trial in requests for request in of_trial]))
        for own, asked in zip(replies, requests, strict=True):
            own += [next(new) for _ in asked]
        requests = [
            scorer.more(trial, judge.can, own) if asked else []
            for trial, own, asked in zip(trials, replies, requests, strict=True)
        ]
    return replies
