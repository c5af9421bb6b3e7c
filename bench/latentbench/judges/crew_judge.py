"""A judge that computes on workers of a Ray cluster: this process asks, caches and writes; they load the model and answer.

It is put where the judge itself would be, behind the reply cache, and gets the same chunks of requests in the same order. So
what a worker computes together is what this process would have computed together, each chunk's replies are stored when they
come, a chunk that is asked again is one of which nothing was stored, and a database as reply cache is reached from here alone:
no worker knows its password.

Judges at endpoints stay in this process. They compute elsewhere already; a second process that asks would be a second pace and a
second count of failures at the same endpoint, needs the key, and a call under way when its worker is lost is paid twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from urllib.parse import quote

from latentbench.judges.judge import BaseJudge, Judge, guarded
from latentbench.judges.reference import load_judge, split_reference
from latentbench.kernel.crew import Crew
from latentbench.kernel.errors import JudgeError, RunError
from latentbench.kernel.requests import Capability, JudgeIdentity, Reply, Request

HERE = frozenset({"openai", "panel"})
"""Providers of which nothing is computed where they are: an endpoint, and what puts questions to other judges."""


@dataclass(frozen=True)
class Declared:
    """What a judge says of itself, without the judge."""

    identity: JudgeIdentity
    can: frozenset[Capability]
    reads_truth: bool
    in_flight: int
    chunk: int


class CrewJudge(BaseJudge):
    """A judge on the workers of a crew; see the module docstring.

    Args:
        reference: as it is loaded there.
        declared: by one of the workers.
        crew: who answers.
    """

    def __init__(self, reference: str, declared: Declared, crew: Crew) -> None:
        self.reference, self.crew = reference, crew
        self.identity, self.can, self.reads_truth = declared.identity, declared.can, declared.reads_truth
        self.chunk = declared.chunk
        # One call that is computed and one that is being made or read, for each worker.
        self.in_flight = max(declared.in_flight, 2 * crew.size)

    async def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request, in order, from one worker.

        Raises:
            JudgeError: no worker is left, or the judge is another one there.
        """
        try:
            found: list[Reply] = await asyncio.wrap_future(
                self.crew.submit(answered, self.reference, self.identity.key, list(requests))
            )
        except RunError as e:
            raise JudgeError(str(e)) from e
        # A vector that is not copied holds its place in the object store for as long as it lives.
        return [r if r.vector is None else replace(r, vector=r.vector.copy()) for r in found]


def crew_judge(reference: str, crew: Crew) -> CrewJudge | None:
    """The judge of a reference on workers; None where it is to be loaded in this process, because an endpoint computes.

    Raises:
        BenchError: whatever a worker raises when it loads the judge.
    """
    if stays(reference):
        return None
    alone = forgetful(reference)
    said: Declared = crew.submit(declared, alone).result()
    return None if said.identity.dtype == "remote" else CrewJudge(alone, said, crew)


def stays(reference: str) -> bool:
    """Whether the judge of a reference belongs into this process: it, or the writer inside it, is reached over a network."""
    provider, _, params = split_reference(reference)
    return provider in HERE or "base_url" in params or ("writer" in params and stays(params["writer"]))


def forgetful(reference: str) -> str:
    """The reference of a judge whose answers do not depend on what its process was asked before.

    Which worker gets which chunk is chance, and so would be what each remembers of earlier ones.
    """
    provider, model, params = split_reference(reference)
    if provider == "transformers":
        params.setdefault("remember", "false")
    if "writer" in params:
        params["writer"] = forgetful(params["writer"])
    tail = "&".join(f"{name}={quote(value, safe='')}" for name, value in params.items())
    return f"{provider}:{model}{'?' if tail else ''}{tail}"


@cache
def _loaded(reference: str) -> Judge:
    """A judge of this worker, loaded once."""
    return load_judge(reference)


@cache
def _runner() -> asyncio.Runner:
    """The event loop of this worker, which judges may keep things in."""
    return asyncio.Runner()


def declared(reference: str) -> Declared:
    """Load a judge in this worker, and hand on what it says of itself."""
    judge = _loaded(reference)
    return Declared(judge.identity, judge.can, judge.reads_truth, judge.in_flight, judge.chunk)


def answered(reference: str, key: str, requests: Sequence[Request]) -> list[Reply]:
    """The replies of this worker's judge.

    Args:
        key: of the judge that is meant.

    Raises:
        JudgeError: the reference names another judge here.
    """
    judge = _loaded(reference)
    if judge.identity.key != key:
        raise JudgeError(
            f"judge {reference} is {judge.identity} on a worker, which is another judge than on the first one that loaded it. "
            "Give every machine the same weights and number type (`dtype=`)"
        )
    return _runner().run(guarded(judge, requests))
