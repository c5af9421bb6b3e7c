"""Workers on a Ray cluster that do pieces of work for this process, and do again what a lost worker had begun.

    local                         workers on this machine
    auto, HOST:6379               those of a cluster that is there
    local?workers=4&cpus=1&gpus=0 how many, and what each has

A run or a build stays where it is, with its journals, tables and caches; only the pieces that compute (questions to a judge, a
shard of contexts) go to workers, each of which loads a model once. So what is on disk, its order and how it is gone on with are
those of a run without workers. Sending whole runs to workers and merging their folders is the tempting way, and needs a second
kind of everything that makes a run safe.

Ray places the workers, watches them and starts lost ones again. Its own retries of calls (`max_task_retries`) are not used: a
call stays bound to its worker, and one whose machine is gone without a substitute waits for ever while others are idle. Here a
thread for each worker takes the next piece from one queue, and a piece whose worker was lost goes back to the front of it.
One piece is under way at each worker, so that the object store of the cluster holds no more than that, and a loss costs no more.

The crew is found by context (`hired`) and not handed through as an argument, because judges are loaded and activations collected
in many places. Whoever can reach a Ray cluster can run code there; docs/ray.md says what that means.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from platform import node
from queue import PriorityQueue
from typing import Any
from urllib.parse import parse_qsl

import pydantic

from latentbench.kernel import errors
from latentbench.kernel.boundary import one_line
from latentbench.kernel.cluster_address import nobody_there
from latentbench.kernel.config import Frozen, validate
from latentbench.kernel.errors import BenchError, RunError, SpecError
from latentbench.kernel.extras import need

LOSSES = 5
"""Workers that a piece may lose: one that kills whoever computes it would otherwise go through the cluster for ever."""
PATIENCE = 600.0
"""Seconds without any worker after which the work is given up; machines that are bought anew take minutes."""
LOOK = 5.0
"""Seconds between looks at whether a lost worker is back."""
START = "Start one with `ray start --head`, or write local."
STORE = 128 << 20
"""Bytes of the object store of a cluster that is started here; pieces are small, and Ray's default is a third of the memory."""


class CrewParams(Frozen):
    """What may stand behind the `?` of a crew's address."""

    workers: int | None = pydantic.Field(default=None, ge=1, le=10_000)
    """Number of workers; by default as many as there is room for."""
    cpus: float = pydantic.Field(default=1.0, gt=0)
    """Processors of each; a model computes with as many threads, unless OMP_NUM_THREADS says another number."""
    gpus: float | None = pydantic.Field(default=None, ge=0)
    """GPUs of each; by default 1 where the cluster has any."""


@dataclass(frozen=True)
class CrewAddress:
    """Where workers are, and what each has."""

    address: str
    params: CrewParams

    @classmethod
    def read(cls, text: str) -> CrewAddress:
        """The parts of an address as it is written.

        Raises:
            SpecError: an empty address, or a parameter that is none.
        """
        address, _, tail = text.partition("?")
        if not address:
            raise SpecError(f"{text!r} names no Ray cluster; write local, auto or HOST:PORT.")
        try:
            pairs = parse_qsl(tail, keep_blank_values=True, strict_parsing=True) if tail else []
        except ValueError as e:
            raise SpecError(f"Ray cluster {text!r}: {e}; write parameters as `name=value`, joined by `&`.") from e
        return cls(address, validate(CrewParams, dict(pairs), f"Ray cluster {text!r}"))


@dataclass(frozen=True)
class Raised:
    """An error of this package on its way from a worker: the names of its classes, nearest first, and what it says.

    Errors themselves do not travel: pickle builds them anew from their messages, which those with arguments of their own refuse.
    """

    classes: tuple[str, ...]
    text: str

    @classmethod
    def of(cls, error: BenchError, place: str) -> Raised:
        """The error of a worker, with the place where it happened."""
        return cls(tuple(c.__name__ for c in type(error).__mro__), f"{str(error).rstrip('.')} (on worker {place}).")

    def error(self) -> BenchError:
        """An error of the nearest class that is one of `latentbench.kernel.errors`."""
        kind = next(k for name in self.classes if (k := getattr(errors, name, None)) is not None)
        found: BenchError = kind.__new__(kind)
        found.args = (self.text,)
        return found


class Hand:
    """What a worker is: a process that calls functions. What they keep between calls they keep in their own modules."""

    def __init__(self, folder: str) -> None:
        # Relative paths in a reference start where the command was given, if that folder is there.
        if Path(folder).is_dir():
            os.chdir(folder)
        self.place = f"{node()}, process {os.getpid()}"

    def ready(self) -> str:
        """The version of this package that is installed there."""
        return version("latentbench")

    def do(self, work: Callable[..., Any], *args: Any) -> Any:
        """What `work` returns, or the error of this package that it raised."""
        try:
            return work(*args)
        except BenchError as e:
            return Raised.of(e, self.place)


@dataclass(order=True)
class _Piece:
    number: int
    work: Callable[..., Any] | None = field(compare=False)
    args: tuple[Any, ...] = field(default=(), compare=False)
    future: Future[Any] = field(default_factory=Future, compare=False)
    lost: int = field(default=0, compare=False)

    def tell(self, value: object) -> None:
        """Hand on a result or an error; a caller that went away hears neither."""
        with suppress(InvalidStateError):
            if isinstance(value, Raised):
                self.future.set_exception(value.error())
            elif isinstance(value, BaseException):
                self.future.set_exception(value)
            else:
                self.future.set_result(value)


class Crew:
    """Workers and the queue that they take from. Use `crew`.

    Args:
        make: starts a worker of Ray.
        size: how many.

    Attributes:
        size: number of workers, whether or not all are there.
    """

    def __init__(self, make: Callable[[], Any], size: int) -> None:
        self.size = size
        self._make = make
        self._queue: PriorityQueue[_Piece] = PriorityQueue()
        self._lock = threading.Lock()
        self._next = 0
        self._there: set[int] = set()
        self._since = time.monotonic()
        self._ended: BenchError | None = None
        self._actors: dict[int, Any] = {}
        self._threads = [threading.Thread(target=self._serve, args=(i,), daemon=True) for i in range(size)]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Callable[..., Any], *args: Any) -> Future[Any]:
        """Have a function of a module called by the next worker that is free; first come, first served.

        Whatever a worker that was lost had done of it is done again, so it must not matter whether it is done twice.

        Returns:
            Its result. `RunError` where no worker is left, or where it lost one worker after the other.
        """
        with self._lock:
            piece = _Piece(self._next, work, args)
            self._next += 1
            ended = self._ended
            if ended is None:
                self._queue.put(piece)
        if ended is not None:
            piece.tell(ended)
        return piece.future

    def close(self) -> None:
        """End the workers; what is not done is dropped."""
        import ray

        self._give_up(RunError("the workers were dismissed."))
        for actor in list(self._actors.values()):
            with suppress(Exception):
                ray.kill(actor)
        for thread in self._threads:
            thread.join(LOOK)

    def _give_up(self, error: BenchError) -> None:
        with self._lock:
            if self._ended is None:
                self._ended = error
            while not self._queue.empty():
                self._queue.get().tell(error)
            for _ in self._threads:
                self._queue.put(_Piece(-1, None))

    def _serve(self, me: int) -> None:
        try:
            while self._ended is None and self._arrived(me):
                self._work(me)
                with self._lock:
                    self._there.discard(me)
                    self._since = time.monotonic()
        except Exception as e:  # the cluster itself is gone, in whatever words of Ray's
            if self._ended is None:
                self._give_up(RunError(f"the Ray cluster cannot be used: {one_line(f'{type(e).__name__}: {e}')}."))

    def _work(self, me: int) -> None:
        """Do pieces until the worker is lost, or there is nothing more to do."""
        import ray

        while (piece := self._queue.get()).work is not None:
            if piece.future.cancelled():
                continue
            try:
                piece.tell(ray.get(self._actors[me].do.remote(piece.work, *piece.args)))
            except _lost() as e:
                self._again(piece, e)
                return
            except ray.exceptions.RayTaskError as e:
                piece.tell(e.cause if isinstance(e.cause, Exception) else e)
            except Exception as e:
                piece.tell(
                    RunError(f"a piece of work did not reach its worker: {one_line(f'{type(e).__name__}: {e}')}.")
                )
                raise

    def _again(self, piece: _Piece, error: Exception) -> None:
        if self._ended is not None:
            piece.tell(self._ended)
            return
        piece.lost += 1
        why = one_line(str(error))
        if piece.lost >= LOSSES:
            said = f"a piece of work was lost with {piece.lost} workers one after the other, the last time so: {why}"
            piece.tell(RunError(f"{said}. Give each worker more memory, or look into its log."))
            return
        warnings.warn(f"a worker was lost, and what it had begun is done again: {why}", LostWorkerWarning, stacklevel=2)
        with self._lock:
            ended = self._ended
            if ended is None:
                self._queue.put(piece)
        if ended is not None:
            piece.tell(ended)

    def _arrived(self, me: int) -> bool:
        """Wait until a worker is there, hiring another one where it will not come back; False where all is over."""
        import ray

        asked = None
        while self._ended is None:
            if me not in self._actors:
                self._actors[me] = self._make()
            asked = asked or self._actors[me].ready.remote()
            try:
                found = ray.get(asked, timeout=LOOK)
                if found != version("latentbench"):
                    mine = version("latentbench")
                    self._give_up(RunError(f"workers have latentbench {found}, this process {mine}; install the same."))
                    return False
                with self._lock:
                    self._there.add(me)
                return True
            except ray.exceptions.GetTimeoutError:
                pass
            except ray.exceptions.ActorUnavailableError:
                asked = None
                time.sleep(0.1)
            except ray.exceptions.RayActorError:
                asked = None
                del self._actors[me]
                time.sleep(1)
            with self._lock:
                alone = not self._there and time.monotonic() - self._since > PATIENCE
            if alone:
                self._give_up(
                    RunError(
                        f"none of {self.size} workers has been there for {PATIENCE:.0f} seconds. Look at the cluster (ray "
                        "status): are there machines with so many free CPUs and GPUs?"
                    )
                )
        return False


class LostWorkerWarning(UserWarning):
    """A worker that was lost; nothing else is, because its piece of work is done again."""


def _lost() -> tuple[type[Exception], ...]:
    """What Ray raises where a worker, its machine or the place of its result is gone."""
    from ray import exceptions as e

    return (e.RayActorError, e.WorkerCrashedError, e.NodeDiedError, e.ObjectLostError, e.OutOfMemoryError)


_hired: ContextVar[Crew | None] = ContextVar("workers that pieces of work go to", default=None)


def hired() -> Crew | None:
    """The crew of this context, if there is one."""
    return _hired.get()


@contextmanager
def crew(address: str | None) -> Iterator[Crew | None]:
    """While the block lasts, pieces of work go to workers of a Ray cluster; nothing happens without an address.

    A process that is connected to a cluster already stays so, whatever address is given. Ray's reports of use are off, unless
    RAY_USAGE_STATS_ENABLED is set.

    Raises:
        MissingExtra: Ray is not installed.
        SpecError: the address is none.
        RunError: there is no such cluster.
    """
    if address is None:
        yield None
        return
    place = CrewAddress.read(address)
    need("ray", what="--ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    mine = not ray.is_initialized()
    if mine:
        _connect(place)
    try:
        size, options = _shape(place)
        actor = ray.remote(Hand).options(**options)
        here = str(Path.cwd())
        found = Crew(lambda: actor.remote(here), size)
        token = _hired.set(found)
        try:
            yield found
        finally:
            _hired.reset(token)
            found.close()
    finally:
        if mine:
            ray.shutdown()


def _connect(place: CrewAddress) -> None:
    import ray

    if place.address != "local" and (why := nobody_there(place.address)) is not None:
        raise RunError(f"no Ray cluster at {place.address!r}: {why}. {START}")
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "critical"}
    try:
        if place.address == "local":
            wanted = math.ceil((place.params.workers or 1) * place.params.cpus)
            cores = max(
                wanted, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            )
            # Named, because RAY_ADDRESS would make a cluster elsewhere of it.
            ray.init("local", num_cpus=cores, object_store_memory=STORE, **quiet)
        else:
            ray.init(place.address, log_to_driver=False, logging_level="critical")
    except Exception as e:  # connection errors, value errors, and what Ray makes of a version that differs
        said = one_line(str(e)).rstrip(". ")
        if "version mismatch" in said.casefold():
            raise RunError(
                f"the Ray cluster at {place.address!r} has other versions than this process: {said}. Install the same Python and "
                "Ray here and there."
            ) from e
        raise RunError(f"no Ray cluster at {place.address!r}: {type(e).__name__}: {said}. {START}") from e
    finally:
        # Ray ends a process at SIGTERM where it stands; ours close their files and say how to go on.
        if threading.current_thread() is threading.main_thread():
            for signum, handler in handlers.items():
                if handler is not None:
                    signal.signal(signum, handler)


def _shape(place: CrewAddress) -> tuple[int, dict[str, Any]]:
    """How many workers there are, and what each asks Ray for."""
    import ray

    p, there = place.params, ray.cluster_resources()
    gpus = p.gpus if p.gpus is not None else float(there.get("GPU", 0) >= 1)
    room = [there.get("CPU", 0) / p.cpus, *([there.get("GPU", 0) / gpus] if gpus else [])]
    size = p.workers or max(1, int(min(room) + 1e-9))
    options: dict[str, Any] = {
        "num_cpus": p.cpus,
        "num_gpus": gpus,
        "max_restarts": -1,
        "max_task_retries": 0,
        "scheduling_strategy": "SPREAD",
    }
    if threads := os.environ.get("OMP_NUM_THREADS"):
        options["runtime_env"] = {"env_vars": {"OMP_NUM_THREADS": threads}}
    return size, options
