"""Which suites rows may be handed in of: those that everybody can have.

A row on windows that nobody else can look at cannot be checked, and its evidence would give the windows away piece by piece. The
suites of this package are public by their digests, wherever they lie. Any other one is private until whoever made it says where
others get it: `"public": "ADDRESS"` in its `manifest.json`, which changes no digest. To take every suite that is found here for
public is the tempting way, and publishes somebody's private windows for being on their own disk.
"""

from __future__ import annotations

from collections.abc import Mapping

from latentbench.kernel.errors import BenchError, SpecError
from latentbench.kernel.tasks import available
from latentbench.runs.record import SuiteRecord
from latentbench.suites.store import Suite, load_suite

SHIPPED: Mapping[str, str] = {
    "concepts-1@1-0": "16c963a432f09da3",
    "planted-1@2-0": "53ae5aad7e30f284",
    "planted-2@1-0": "efb119bc594f0420",
    "smollm2-135m-hard@1-0": "4789c74bf8f6f0ff",
    "smollm2-135m-mini@1-0": "69a3afe05e223977",
}
"""Suites of this package and their digests."""
PUBLIC = "public"
"""Field of a manifest that says where others get the suite."""


def named_suite(name: str) -> Suite | None:
    """The suite of a name, if there is one here; a path is no name.

    Raises:
        BenchError: it is here and cannot be read.
    """
    return load_suite(available("suites")[name]) if name in available("suites") else None


def public_suite(record: SuiteRecord) -> Suite:
    """The suite of a run, if it is here as it was then and is public.

    Raises:
        SpecError: it is private, unknown here, or another one here; the message says which.
        BenchError: it cannot be read.
    """
    suite = named_suite(record.name)
    shipped = SHIPPED.get(record.id) == record.digest
    if suite is None:
        raise SpecError(
            f"suite {record.id} ({record.digest}) is not known here by its name, so nobody can compare its rows with "
            f"its windows. Public here: {', '.join(sorted(SHIPPED))}."
        )
    if (suite.version, suite.digest) != (record.version, record.digest):
        raise SpecError(
            f"suite {record.id} ({record.digest}) is unknown here: {suite.name} is version {suite.version} ({suite.digest}) here."
        )
    said = suite.manifest.get(PUBLIC)
    if not shipped and not (isinstance(said, str) and said.strip()):
        raise SpecError(
            f"suite {record.id} is private: it is not one of this package, and its manifest.json does not say where "
            "others get it. Rows of it cannot be checked by anybody else, and their evidence would tell of its windows. "
            "Run on a public suite "
            f'({", ".join(sorted(SHIPPED))}), or publish this one and write "{PUBLIC}": "ADDRESS" into its manifest.json.'
        )
    return suite


def is_private(record: SuiteRecord) -> str:
    """Why rows of the suite cannot be handed in, "" if they can."""
    try:
        public_suite(record)
    except BenchError as e:
        return str(e)
    return ""
