"""A frozen suite on disk: two tables and a manifest that says what they hash to.

    latents.parquet, windows.parquet     the content
    manifest.json                        name, version, digest, provenance; written last, so a folder without it is not a suite
    recipe.yaml                          what it was built from
    interventions.parquet, .json         optional, with a digest of their own (see `latentbench.suites.intervention_table`)

The digest is checked at every load. It costs less than reading the tables, and a suite that was edited, half copied or built
by other code is found before a judge is paid. A window becomes an object when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from latentbench.kernel.errors import BenchError, CorruptTable, DigestMismatch, SpecError, UnknownName
from latentbench.kernel.files import write_json
from latentbench.kernel.foreign_ids import KnownCoder
from latentbench.kernel.inputs import read_json
from latentbench.kernel.latent import LatentView, Steered, origin
from latentbench.kernel.row_groups import RowGroups, streamed_digest
from latentbench.kernel.tables import LATENTS, read_table, write_table
from latentbench.kernel.tasks import available, find
from latentbench.stats.quota import spread
from latentbench.suites.intervention_table import META as INTERVENTIONS_META
from latentbench.suites.intervention_table import TABLE as INTERVENTIONS_TABLE
from latentbench.suites.intervention_table import Interventions, load_interventions
from latentbench.suites.stored_columns import DirectionColumn, ListColumn, StoredWindows
from latentbench.suites.suite_files import load_tables
from latentbench.suites.window_groups import WindowGroups, whole

MANIFEST = "manifest.json"
SPLITS = ("tune", "test")
OWN_FIELDS = ("latent", "coder", "index", "split")


@dataclass(frozen=True)
class Suite:
    """A suite in memory, read-only.

    Attributes:
        path: its folder.
        name: as in its manifest.
        version: `N-X`.
        digest: over the two tables.
        manifest: everything else that is recorded about it.
        latent_table: schema LATENTS.
        stored: the windows in memory, or their file; schema WINDOWS, and the row number is the window's id.
    """

    path: Path
    name: str
    version: str
    digest: str
    manifest: Mapping[str, Any]
    latent_table: pa.Table = field(repr=False, compare=False)
    stored: pa.Table | RowGroups = field(repr=False, compare=False)

    @property
    def id(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    @property
    def ids(self) -> list[str]:
        """Ids of all latents, in the suite's order."""
        return list(self._rows["latent"])

    @property
    def coders(self) -> list[str]:
        """Names of the coders, in the suite's order."""
        return list(dict.fromkeys(self._rows["coder"]))

    @property
    def test_kinds(self) -> frozenset[str]:
        """Kinds of the test windows, over all latents."""
        table = whole(self.stored, ("role", "kind"))
        return frozenset(table.filter(pc.equal(table.column("role"), "test")).column("kind").unique().to_pylist())

    @property
    def window_table(self) -> pa.Table:
        """All windows in memory, whatever that takes."""
        return whole(self.stored)

    def latents(
        self, split: str | None = None, coders: Sequence[str] | None = None, limit: int | None = None
    ) -> list[LatentView]:
        """Latents with their windows, in the order of the table.

        Args:
            split: `tune` or `test`; both by default.
            coders: names; all by default.
            limit: at most this many, the same number of each coder as far as they last, evenly over firing rates.

        Raises:
            UnknownName: a coder or a split that the suite does not have.
            SpecError: a limit below 1.
        """
        return [self.latent(latent) for latent in self.chosen(split, coders, limit)]

    def chosen(
        self, split: str | None = None, coders: Sequence[str] | None = None, limit: int | None = None
    ) -> list[str]:
        """Ids of the latents that `latents` gives, without their windows.

        Raises:
            UnknownName, SpecError: as there.
        """
        if split is not None and split not in SPLITS:
            raise UnknownName("split", split, SPLITS)
        for name in coders or ():
            if name not in self.coders:
                raise UnknownName(f"coder of suite {self.name}", name, self.coders)
        if limit is not None and limit < 1:
            raise SpecError(f"limit must be at least 1, not {limit}.")
        rows = [
            i
            for i, (s, c) in enumerate(zip(self._rows["split"], self._rows["coder"], strict=True))
            if (split is None or s == split) and (coders is None or c in coders)
        ]
        return [self._rows["latent"][i] for i in (rows if limit is None else self._even(rows, limit))]

    def latent(self, latent: str) -> LatentView:
        """One latent by id.

        Raises:
            UnknownName: no such latent.
        """
        if latent not in self._places:
            raise UnknownName(f"latent of suite {self.name}", latent, self.ids)
        return self._view(self._places[latent])

    def _even(self, rows: list[int], limit: int) -> list[int]:
        """Equally many of each coder; within one, equally spaced in the order of firing rate."""
        groups = [
            sorted(
                (i for i in rows if self._rows["coder"][i] == coder),
                key=lambda i: (self._rows["stratum"][i] or 0, self._rows["rate_token"][i] or 0.0, i),
            )
            for coder in self.coders
        ]
        # `spread` favours the last bins; the first coder is the one to favour here.
        quota = spread(limit, [len(g) for g in reversed(groups)])[::-1]
        return sorted(
            group[int((i + 0.5) * len(group) / take)]
            for group, take in zip(groups, quota, strict=True)
            for i in range(take)
        )

    @cached_property
    def _rows(self) -> dict[str, Any]:
        columns: dict[str, Any] = {}
        for known in self.latent_table.schema:
            column = self.latent_table.column(known.name)
            if known.name == "direction":
                columns[known.name] = DirectionColumn(column)
            else:
                columns[known.name] = ListColumn(column) if pa.types.is_list(known.type) else column.to_pylist()
        return columns

    @cached_property
    def _places(self) -> dict[str, int]:
        return {latent: i for i, latent in enumerate(self._rows["latent"])}

    @cached_property
    def interventions(self) -> Interventions | None:
        """The suite's intervention table, if there is one.

        Raises:
            CorruptTable, DigestMismatch: it is unreadable, or of another suite.
        """
        hookpoints = dict(zip(self._rows["latent"], self._rows["hookpoint"], strict=True))
        return load_interventions(self.path, self.digest, hookpoints)

    @cached_property
    def _peers(self) -> dict[str, Mapping[str, tuple[Steered, ...]]]:
        """Coder -> latent -> rows of the intervention table."""
        found: dict[str, dict[str, tuple[Steered, ...]]] = {}
        for latent, coder in zip(self._rows["latent"], self._rows["coder"], strict=True):
            if self.interventions and self.interventions.of(latent):
                found.setdefault(coder, {})[latent] = self.interventions.of(latent)
        return {coder: MappingProxyType(rows) for coder, rows in found.items()}

    @property
    def kinds(self) -> dict[str, str]:
        """Coder -> its kind (`sae`, `neurons`, ...), for those of which the manifest says it."""
        entries = self.manifest.get("coders", ())
        return {entry["name"]: entry["kind"] for entry in entries if {"name", "kind"} <= set(entry)}

    @property
    def known_coders(self) -> list[KnownCoder]:
        """The coders with the places that they read, by which ids of other tools are translated."""
        rows = zip(*(self._rows[name] for name in ("coder", "hookpoint", "coder_kind")), strict=True)
        return [KnownCoder(name, at or "", kind or "") for name, at, kind in dict.fromkeys(rows)]

    @cached_property
    def origins(self) -> dict[str, str]:
        """Coder -> origin of its latents, of what the manifest says."""
        if "rules" in self.manifest:
            return {name: origin("", self.manifest["rules"]) for name in self.coders}
        weights = self.manifest.get("subject", {}).get("weights", "")
        return {entry["name"]: origin(weights, entry.get("key", "")) for entry in self.manifest.get("coders", ())}

    @cached_property
    def _cohorts(self) -> dict[tuple[str, str], tuple[str, ...]]:
        found: dict[tuple[str, str], list[str]] = {}
        for key in zip(*(self._rows[name] for name in ("coder", "split", "latent")), strict=True):
            found.setdefault(key[:2], []).append(key[2])
        return {key: tuple(latents) for key, latents in found.items()}

    @cached_property
    def _windows(self) -> StoredWindows | WindowGroups:
        return StoredWindows(self.stored) if isinstance(self.stored, pa.Table) else WindowGroups(self.stored)

    def _view(self, i: int) -> LatentView:
        rows = self._rows
        windows = [self._windows.window(w) for w in self._windows.of(rows["latent"][i])]
        return LatentView(
            id=rows["latent"][i],
            coder=rows["coder"][i],
            index=rows["index"][i],
            split=rows["split"][i],
            row=MappingProxyType({name: values[i] for name, values in rows.items() if name not in OWN_FIELDS}),
            explain=tuple(
                sorted(
                    (w for w in windows if w.role == "explain" and w.decile is not None),
                    key=lambda w: (-w.max, w.position),
                )
            ),
            contrast=tuple(w for w in windows if w.role == "explain" and w.decile is None),
            test=tuple(w for w in windows if w.role == "test"),
            interventions=self.interventions.of(rows["latent"][i]) if self.interventions else (),
            peers=self._peers.get(rows["coder"][i], {}),
            origin=self.origins.get(rows["coder"][i], ""),
            cohort=self._cohorts[rows["coder"][i], rows["split"][i]],
        )


def load_suite(name_or_path: str | Path) -> Suite:
    """Load a suite by folder or by name (`smollm2-135m-mini`, or `smollm2-135m-mini@1-0` to insist on a version).

    Raises:
        UnknownName: neither a folder nor a known suite.
        CorruptTable: a file is missing or unreadable.
        DigestMismatch: the tables are not those that the manifest was written for.
        SpecError: the suite has another version than the one asked for.
    """
    name, _, version = (
        str(name_or_path).partition("@") if not Path(name_or_path).exists() else (str(name_or_path), "", "")
    )
    path = find("suites", name)
    path = path.parent if path.is_file() else path
    manifest = _manifest(path)
    latents, windows, found = load_tables(path, manifest["digest"])
    if found != manifest["digest"]:
        raise DigestMismatch(
            f"the tables in {path} hash to {found}, but were frozen as {manifest['digest']} "
            f"({manifest['name']}@{manifest['version']}). Restore them, or rebuild with a new version."
        )
    if version and version != manifest["version"]:
        raise SpecError(f"{path} holds {manifest['name']}@{manifest['version']}, not version {version}.")
    return Suite(path, manifest["name"], manifest["version"], found, MappingProxyType(manifest), latents, windows)


@lru_cache
def splits_of(name: str, digest: str) -> Mapping[str, str] | None:
    """Latent -> its split, of the suite with this digest; None where it is not on this machine, or is another one here.

    The windows, which are nearly all of a suite, are not read, so the digest is that which the manifest says.
    """
    try:
        path = available("suites").get(name)  # a name that a row says, and never a path
        if path is None or _manifest(path)["digest"] != digest:
            return None
        latents = read_table(path / "latents.parquet", LATENTS)
    except BenchError:
        return None
    return dict(zip(latents.column("latent").to_pylist(), latents.column("split").to_pylist(), strict=True))


def _manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        manifest: dict[str, Any] = read_json(file)
    except FileNotFoundError as e:
        recipe = path / "recipe.yaml"
        advice = f"build it: bench suite build {recipe}" if recipe.exists() else "it is not a suite folder."
        raise CorruptTable(f"{path} has no {MANIFEST}; {advice}") from e
    except (ValueError, OSError) as e:
        raise CorruptTable(f"{file} is not readable JSON: {e}. Rebuild or restore it.") from e
    missing = [
        k
        for k in ("name", "version", "digest")
        if not isinstance(manifest, dict) or not isinstance(manifest.get(k), str)
    ]
    if missing:
        raise CorruptTable(f"{file} says no {', '.join(missing)}; rebuild or restore it.")
    return manifest


def save_suite(path: Path, manifest: Mapping[str, Any], latents: pa.Table, windows: pa.Table | RowGroups) -> str:
    """Write a suite; the manifest comes last. Returns the digest, which is added to the manifest.

    Args:
        path: folder, created if missing.
        manifest: at least `name` and `version`.
        latents, windows: of the declared schemas, in their final row order; a file of windows is moved into the folder.

    Raises:
        DigestMismatch: the folder already holds this name and version with other content. A frozen suite is never replaced.
    """
    digest = streamed_digest({"latents": latents, "windows": windows})
    if (path / MANIFEST).exists():
        old = _manifest(path)
        same = all(old[k] == manifest[k] for k in ("name", "version"))
        if same and old["digest"] != digest:
            raise DigestMismatch(
                f"{path} is frozen as {old['name']}@{old['version']} with digest {old['digest']}; the new tables are {digest}."
                " Raise the version in the recipe, or build into another folder (--out)."
            )
        if not same:
            (path / MANIFEST).unlink()
        if old["digest"] != digest:
            # Texts that were steered from the old windows; the new suite would refuse to load with them.
            for name in (INTERVENTIONS_META, INTERVENTIONS_TABLE):
                (path / name).unlink(missing_ok=True)
    write_table(latents, path / "latents.parquet")
    if isinstance(windows, RowGroups):
        windows.path.replace(path / "windows.parquet")
    else:
        write_table(windows, path / "windows.parquet")
    write_json(path / MANIFEST, {**manifest, "digest": digest})
    return digest
