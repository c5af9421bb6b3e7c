"""The intervention table of a suite: a sidecar, not a third table of it.

Steering depends on settings (strengths, prompts, seed) that people vary on one frozen suite, and most suites never need it. In
the suite's own digest it would make every such change another suite. So it has a digest of its own and names the suite that it
was made from; a sidecar of another suite is refused, because window ids would point at other windows.

    interventions.parquet      schema INTERVENTIONS, sorted by the suite's order of latents
    interventions.json         its digest, the suite's, the settings, and what became of every latent
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from latentbench.kernel.errors import CorruptTable, DigestMismatch
from latentbench.kernel.files import write_json
from latentbench.kernel.identity import table_digest
from latentbench.kernel.inputs import read_json
from latentbench.kernel.latent import Steered
from latentbench.kernel.tables import INTERVENTIONS, read_table, write_table

TABLE, META = "interventions.parquet", "interventions.json"


@dataclass(frozen=True)
class Interventions:
    """A loaded sidecar.

    Attributes:
        digest: over the table.
        meta: what `interventions.json` says.
        by_latent: latent id -> its rows.
    """

    digest: str
    meta: Mapping[str, Any]
    by_latent: Mapping[str, tuple[Steered, ...]]

    def of(self, latent: str) -> tuple[Steered, ...]:
        """Rows of one latent; empty if it is not in the table."""
        return self.by_latent.get(latent, ())


def load_interventions(folder: Path, suite: str, hookpoints: Mapping[str, str]) -> Interventions | None:
    """Load the sidecar of a suite folder.

    Args:
        folder: of the suite.
        suite: its digest.
        hookpoints: latent id -> hookpoint in the latents table.

    Returns:
        None where there is no sidecar.

    Raises:
        CorruptTable: unreadable, half written, or with a latent that the suite does not have at that hookpoint.
        DigestMismatch: of another suite, or not the table that its meta file was written for.
    """
    if not (folder / META).exists():
        return None
    try:
        meta: dict[str, Any] = read_json(folder / META)
        digest, made_for = meta["digest"], meta["suite"]
    except (ValueError, KeyError, TypeError, OSError) as e:
        raise CorruptTable(
            f"{folder / META} is not readable: {e}. Delete it, or run `bench suite intervene` again."
        ) from e
    if made_for != suite:
        raise DigestMismatch(
            f"{folder / TABLE} was made from a suite with digest {made_for}, this one is {suite}: its windows are others. "
            f"Run `bench suite intervene {folder}` again, or delete {META} and {TABLE}."
        )
    table = read_table(folder / TABLE, INTERVENTIONS)
    found = table_digest({"interventions": table})
    if found != digest:
        raise DigestMismatch(
            f"{folder / TABLE} hashes to {found}, but {META} was written for {digest}. Restore it, or run "
            f"`bench suite intervene {folder}` again."
        )
    by_latent: dict[str, list[Steered]] = {}
    for row in table.to_pylist():
        if hookpoints.get(row["latent"]) != row["hookpoint"]:
            raise CorruptTable(
                f"{folder / TABLE}: {row['latent']} at {row['hookpoint']} is not a latent of the suite, which has it at "
                f"{hookpoints.get(row['latent'], 'no hookpoint')}."
            )
        by_latent.setdefault(row["latent"], []).append(_steered(row))
    return Interventions(found, meta, {name: tuple(rows) for name, rows in by_latent.items()})


def _steered(row: Mapping[str, Any]) -> Steered:
    return Steered(
        window=row["window"],
        role=row["role"],
        kind=row["kind"],
        mode=row["mode"],
        target=row["target"],
        kl=row["kl"],
        reached=row["reached"],
        delta=row["delta"],
        prompt=row["prompt"],
        clean=row["clean"],
        steered=row["steered"],
        promoted=tuple(row["promoted"]),
        suppressed=tuple(row["suppressed"]),
    )


def save_interventions(folder: Path, table: pa.Table, meta: Mapping[str, Any]) -> str:
    """Write a sidecar, the meta file last; returns the digest, which is added to it.

    Args:
        folder: of the suite.
        table: schema INTERVENTIONS.
        meta: with `suite`, the suite's digest.
    """
    digest = table_digest({"interventions": table})
    # A reader must never find the new table under the old digest.
    (folder / META).unlink(missing_ok=True)
    write_table(table, folder / TABLE)
    write_json(folder / META, {**meta, "digest": digest})
    return digest
