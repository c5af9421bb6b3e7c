"""Every sampler of Optuna, by name.

The names are read from Optuna itself: a list of our own would lack the samplers of its next version.
"""

from __future__ import annotations

import inspect
import re
import warnings
from typing import TYPE_CHECKING, Any

from latentbench.kernel.errors import SpecError, UnknownName
from latentbench.kernel.identity import seed_for
from latentbench.tuning.space import grid
from latentbench.tuning.tune_spec import TuneSpec

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

FEW = 3
"""Objectives up to which NSGA-II is taken by default, and NSGA-III above."""


def sampler_names() -> dict[str, type[BaseSampler]]:
    """Name -> class of every sampler that can be made, such as `tpe`, `nsgaii`, `cmaes`."""
    from optuna import samplers

    found = {}
    for name, value in vars(samplers).items():
        usable = inspect.isclass(value) and issubclass(value, samplers.BaseSampler) and not inspect.isabstract(value)
        if usable and name.endswith("Sampler"):
            found[_plain(name)] = value
    return found


def sampler_name(spec: TuneSpec) -> str:
    """The plain name of the spec's sampler, `auto` resolved."""
    name = _plain(spec.sampler.name)
    if name != "auto":
        return name
    n = len(spec.objectives)
    return "tpe" if n == 1 else "nsgaii" if n <= FEW else "nsgaiii"


def make_sampler(spec: TuneSpec, worker: int = 0, who: str = "") -> BaseSampler:
    """The sampler of a worker.

    Args:
        worker: trials that were there when the worker began: two workers with one seed would try the same settings, and a
            resumed one those that are done.
        who: of a worker that joined: several can join at one number of trials.

    Raises:
        UnknownName: no such sampler.
        SpecError: arguments that it does not take.
    """
    return _make(spec, sampler_name(spec), dict(spec.sampler.params), (worker, who) if who else (worker,))


def _make(spec: TuneSpec, name: str, params: dict[str, Any], worker: tuple[int | str, ...]) -> BaseSampler:
    from optuna.exceptions import ExperimentalWarning

    known = sampler_names()
    if name not in known:
        raise UnknownName("sampler", name, [*known, "auto"])
    cls = known[name]
    takes = inspect.signature(cls).parameters
    for given in params:
        if given not in takes:
            raise UnknownName(f"argument of sampler {name!r}", given, takes)
    if "base_sampler" in takes:
        params["base_sampler"] = _make(spec, _plain(str(params.get("base_sampler", "tpe"))), {}, worker)
    if "search_space" in takes:
        params.setdefault("search_space", grid(spec.space))
    if "seed" in takes:
        params.setdefault("seed", seed_for("sampler", spec.seed, *worker) % 2**32)
    try:
        with warnings.catch_warnings():
            # "Experimental" says that arguments may change with Optuna's version.
            warnings.simplefilter("ignore", ExperimentalWarning)
            return cls(**params)
    except (TypeError, ValueError, ImportError) as e:
        raise SpecError(f"sampler {name!r}: {e}") from e


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()).removesuffix("sampler")
