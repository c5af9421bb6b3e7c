"""A scorer, an explainer and a judge that return what a test tells them to, in place of what they should.

`TWISTED` maps the name of a function to what is made of its right result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from latentbench.explainers.top_tokens import TokensExplainer
from latentbench.judges.mock.mock_judge import MockJudge
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Capability, Reply, Request
from latentbench.kernel.trial import Trial
from latentbench.scorers.detection import Detection
from latentbench.scorers.scorer import Judgement, Metric

SEEN: list[Any] = []
"""Replies that the scorer was given."""
TWISTED: dict[str, Callable[[Any], Any]] = {}


def twisted(name: str, right: Any) -> Any:
    return TWISTED[name](right) if name in TWISTED else right


class TwistedScorer(Detection):
    def metric_table(self) -> tuple[Metric, ...]:
        found: tuple[Metric, ...] = twisted("metric_table", super().metric_table())
        return found

    @property
    def needs(self) -> tuple[frozenset[Capability], ...]:
        found: tuple[frozenset[Capability], ...] = twisted("needs", super().needs)
        return found

    @property
    def negative_kinds(self) -> tuple[str, ...]:
        found: tuple[str, ...] = twisted("negative_kinds", super().negative_kinds)
        return found

    def fits(self, can: frozenset[Capability]) -> bool:
        found: bool = twisted("fits", super().fits(can))
        return found

    def trials(self, latent: LatentView, explanation: str, seed: int) -> list[Trial]:
        found: list[Trial] = twisted("trials", super().trials(latent, explanation, seed))
        return found

    def requests(self, trial: Trial, can: frozenset[Capability]) -> list[Request]:
        found: list[Request] = twisted("requests", super().requests(trial, can))
        return found

    def follow_up(self, trial: Trial, can: frozenset[Capability], replies: Sequence[Reply]) -> list[Request]:
        found: list[Request] = twisted("follow_up", [])
        return found

    def parse(self, trial: Trial, replies: Sequence[Reply]) -> list[Judgement]:
        SEEN.append(replies)
        found: list[Judgement] = twisted("parse", super().parse(trial, replies))
        return found

    def metrics(self, judgements: Sequence[Judgement]) -> dict[str, float]:
        found: dict[str, float] = twisted("metrics", super().metrics(judgements))
        return found


class TwistedExplainer(TokensExplainer):
    def parse(self, latent: LatentView, replies: Any, seed: int, others: Any) -> Any:
        return twisted("explain", super().parse(latent, replies, seed, others))

    def check(self, latents: Any) -> None:
        twisted("check", None)


class TwistedJudge(MockJudge):
    chunk = 4

    def __init__(self, model: str, params: Any = None) -> None:
        twisted("init", None)
        super().__init__(model, params)
        self.can = twisted("can", self.can)

    async def answer(self, requests: Sequence[Request]) -> list[Reply]:
        replies = await super().answer(requests)
        if "reply" in TWISTED:
            replies = [twisted("reply", replies[0]), *replies[1:]]
        found: list[Reply] = twisted("answer", replies)
        return found

    async def close(self) -> None:
        twisted("close", None)
