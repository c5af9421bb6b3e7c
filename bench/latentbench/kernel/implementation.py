"""Which code a task runs: a registered name for classes of this package, their source for those of anybody else.

Code of this package has versions (`name@N-X`) and tests that hold every question and score still, so its identity is the name and
a docstring may change. Hashing its source too is tempting and wrong in both directions: a corrected comment would orphan every
published row, and a change in a helper that moves numbers would not be seen. Code of another package has no such tests here,
so its distribution's version and its source stand in the identity.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points, packages_distributions, version

from latentbench.kernel.class_source import class_source
from latentbench.kernel.errors import SpecError
from latentbench.kernel.identity import digest
from latentbench.kernel.registry import BUILTIN

OWN = __name__.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Implementation:
    """Identity of a class.

    Attributes:
        name: under which this package registers it, or `module:class`.
        distributions: `name==version` of what the module of a foreign class was installed from; empty for a plain module.
        source: digest over the source of every foreign class among it and its bases; "" if there is none.
    """

    name: str
    distributions: tuple[str, ...] = ()
    source: str = ""


@cache
def implementation(cls: type) -> Implementation:
    """The identity of a scorer's or explainer's class.

    It is kept per class, so an edit of a module that is already imported counts where it takes effect: in the next process.

    Raises:
        SpecError: a foreign class has no source and belongs to no installed distribution, so nothing identifies it.
    """
    place = f"{cls.__module__}:{cls.__qualname__}"
    if _package(cls) == OWN:
        registered = [name for names in BUILTIN.values() for name, target in names.items() if target == place]
        return Implementation(registered[0] if registered else cls.__qualname__)
    foreign = [c for c in cls.__mro__ if _package(c) != OWN and _package(c) not in sys.stdlib_module_names]
    distributions = sorted({d for c in foreign for d in _distributions(_package(c))})
    sources = [class_source(c) for c in foreign]
    if None in sources and not distributions:
        raise SpecError(
            f"{place} has no source file and no installed distribution, so its results cannot be told from those of another "
            "version. Put it into a module."
        )
    return Implementation(place, tuple(distributions), digest(sources))


def _package(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _distributions(package: str) -> list[str]:
    """`name==version` of what a top-level package was installed from.

    Entry points are asked first: an editable install has them, and often lists no files to find the package by.
    """
    named = {
        point.dist.name
        for kind in BUILTIN
        for point in entry_points(group=f"{OWN}.{kind}s")
        if point.module.partition(".")[0] == package and point.dist is not None
    }
    return [f"{name}=={version(name)}" for name in sorted(named or set(packages_distributions().get(package, ())))]
