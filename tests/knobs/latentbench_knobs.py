"""A judge of another package whose accuracy depends on settings, with a known optimum: a landscape to tune on.

Registered by the entry point `knobs = latentbench_knobs:Knobs` of the group `latentbench.judges`, as anybody's judge would be.
"""

import os
import signal
from pathlib import Path

import pydantic
from latentbench.judges.mock.mock_judge import MockJudge
from latentbench.judges.mock.variants import MockParams
from latentbench.kernel.identity import digest
from latentbench.kernel.requests import Capability, JudgeIdentity

BEST = {"shots": 6, "style": "terse", "temperature": 0.25}
LEAST = 0.02
"""Share of wrong answers at the optimum."""


class Settings(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    shots: int = 1
    style: str = "plain"
    temperature: float = 1.0
    effect: float = 1.0
    """0: every setting is as good as every other, and they differ by luck alone."""
    luck: int = 0
    fail: float = 0.0
    seconds: float = 0.0
    kill: str = ""
    """Kill the process at the first call if this file is there, and remove the file: a machine that goes away, once."""


def error(shots, style, temperature):
    """Share of wrong answers."""
    away = (
        0.04 * abs(shots - BEST["shots"])
        + 0.12 * (style != BEST["style"])
        + 0.25 * abs(temperature - BEST["temperature"])
    )
    return min(0.5, LEAST + away)


class Knobs(MockJudge):
    """Knows the labels and gets the share `error` of them wrong, independently in every setting."""

    params_model = Settings
    default_model = "planted"

    def __init__(self, model, params):
        wrong = error(params.shots, params.style, params.temperature)
        if params.effect == 0:
            wrong = 0.25
        said = params.model_dump(exclude={"seconds", "kill"})
        seed = int(digest(said), 16) % 2**31
        super().__init__("label", MockParams(error=wrong, seed=seed, fail=params.fail, seconds=params.seconds))
        self.kill = params.kill
        self.can = frozenset({Capability.CHOICE})
        self.identity = JudgeIdentity("knobs", model, "1", "exact", tuple((k, str(v)) for k, v in said.items()))

    async def answer(self, requests):
        if self.kill and Path(self.kill).exists():
            Path(self.kill).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().answer(requests)
