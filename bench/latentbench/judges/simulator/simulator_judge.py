"""A simulator as a judge: p(active) for every token of a window and for the window, given an explanation.

It answers the question itself, so detection, fuzzing and simulation work with it and no prompt is involved. What is asked twice
in a call - one window under one explanation, in whatever requests - is computed once. `judges.simulator.artifact` says what the
folder holds, `latentbench.judges.simulator.reader` how it is read.

    simulator:small                    the folder `judges/small` of the packaged task data
    simulator:path/to/folder?dtype=float32&device=cpu
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import ClassVar, Literal

import pydantic

from latentbench.judges.judge import DispatchJudge
from latentbench.judges.simulator.artifact import Artifact, load, load_base, load_heads
from latentbench.judges.simulator.reader import HeadsReader, SimulatedWindow, SimulatorWindow
from latentbench.judges.worker import Worker
from latentbench.kernel.config import Frozen
from latentbench.kernel.identity import digest
from latentbench.kernel.requests import JudgeIdentity, Outcome, Reply, Simulate, Usage
from latentbench.kernel.tasks import find
from latentbench.kernel.trial import Trial
from latentbench.models.language_model import Loaded


class SimulatorParams(Frozen):
    """Parameters of `simulator:NAME_OR_PATH?...`."""

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number type of the base; the heads always compute in float32. In bfloat16 a window's answer depends on what is asked with
    it (docs/numbers.md)."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1` and so on; `auto` takes a GPU where there is one."""
    batch: int = pydantic.Field(default=64, ge=1)
    """Windows per forward pass."""
    share: bool = True
    """Whether the prefix of an explanation is computed once; off only to measure what that is worth."""
    memory: float = pydantic.Field(default=1.0, gt=0)
    """Memory for the keys and values of prefixes, in GiB."""


class SimulatorJudge(DispatchJudge):
    """A judge that predicts the activation of every token with a model trained for it.

    Args:
        model: name of a folder in `judges/` of the task data, or a path.
        params: how the model computes.

    Raises:
        UnknownName: no such simulator.
        ModelError, DigestMismatch, SpecError: the folder is not what it should be, see `latentbench.judges.simulator.artifact`.
    """

    params_model: ClassVar[type[pydantic.BaseModel]] = SimulatorParams
    chunk = 512

    def __init__(self, model: str, params: SimulatorParams | None = None) -> None:
        super().__init__()
        self.params = params or SimulatorParams()
        artifact = load(find("judges", model))
        loaded = load_base(artifact, self.params.dtype, self.params.device)
        self.reader = self._reader(artifact, loaded)
        self.identity = _identity(model, artifact, loaded)
        self._worker = Worker("simulator")
        self.serve(Simulate, self._probabilities)

    async def _probabilities(self, requests: Sequence[Simulate]) -> list[Reply]:
        """Probabilities of being active.

        A window without text or a question that does not fit the context skips its request; nothing is cut.
        """
        asked = list(requests)
        return await self._worker.run(lambda stop: self._simulate(asked, stop))

    async def close(self) -> None:
        """Let the thread end."""
        self._worker.close()

    def _reader(self, artifact: Artifact, loaded: Loaded) -> HeadsReader:
        p, config = self.params, artifact.config
        memory = int(p.memory * (1 << 30))
        heads = load_heads(artifact, config, loaded.d_model)
        return HeadsReader(loaded, heads, config.calibration, p.batch, p.share, memory)

    def _simulate(self, requests: Sequence[Simulate], stop: threading.Event) -> list[Reply]:
        started = time.perf_counter()
        asked = dict.fromkeys(
            SimulatorWindow(r.trial.explanation, w.tokens) for r in requests for w in r.trial.windows if w.text
        )
        answers = dict(zip(asked, self.reader.read(list(asked), stop), strict=True))
        computed = sum(a.n - a.saved for a in answers.values() if isinstance(a, SimulatedWindow))
        per_token = (time.perf_counter() - started) / max(1, computed)
        paid: set[SimulatorWindow] = set()
        return [_reply(r.trial, answers, per_token, paid) for r in requests]


def _reply(
    trial: Trial, answers: dict[SimulatorWindow, SimulatedWindow | Reply], per_token: float, paid: set[SimulatorWindow]
) -> Reply:
    """The reply to one request. Who asks first pays; `paid` is what others have paid for, and grows."""
    if not trial.windows:
        return Reply(Outcome.SKIPPED, error="the question shows no window")
    found: list[SimulatedWindow] = []
    failed: Reply | None = None
    tokens = cached = 0
    for number, window in enumerate(trial.windows, 1):
        if not window.text:
            failed = failed or Reply(
                Outcome.SKIPPED, error=f"window {number} of {len(trial.windows)} has no text: nothing can be simulated"
            )
            continue
        asked = SimulatorWindow(trial.explanation, window.tokens)
        answer = answers[asked]
        if isinstance(answer, Reply):
            failed = failed or answer
            continue
        found.append(answer)
        tokens += answer.n
        cached += answer.n if asked in paid else answer.saved
        paid.add(asked)
    usage = Usage(tokens, 0, cached, per_token * (tokens - cached))
    if failed is not None:
        return Reply(failed.outcome, error=failed.error, usage=usage)
    return Reply(tokens=tuple(a.tokens for a in found), windows=tuple(a.window for a in found), usage=usage)


def _identity(model: str, artifact: Artifact, loaded: Loaded) -> JudgeIdentity:
    """Base, adapter, heads and calibration, each by content."""
    config, base = artifact.config, loaded.files.identity
    parts = {
        "format": config.format,
        "base": base,
        "adapter": config.adapter_sha256[:16],
        "heads": config.heads_sha256[:16],
        "calibration": digest(config.calibration),
    }
    return JudgeIdentity("simulator", model, digest([artifact.identity, base]), loaded.dtype, tuple(parts.items()))
