"""What a run is and what became of it, as a type: `RunRecord` is `run.json`.

Every reader of a run gets it and nothing else, so what a run holds is decided in one place. Handing the dictionary of `run.json`
around is shorter for the first reader; the seventh then guesses which keys an older version did not write. Older layouts are
read here too, by one function that turns them into today's.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from latentbench.explainers.matched import Matched
from latentbench.kernel.config import WHOLE, Frozen, validate
from latentbench.kernel.errors import BenchError, DigestMismatch, RunError
from latentbench.kernel.files import plain, write_json
from latentbench.kernel.identity import digest
from latentbench.kernel.inputs import read_json
from latentbench.kernel.requests import JudgeIdentity, Usage
from latentbench.runs.environment import GitRecord, HardwareRecord
from latentbench.runs.moment import Moment
from latentbench.runs.run_spec import RunSpec
from latentbench.scorers.scorer import range_of

LAYOUT: Literal[2] = 2
RECORD = "run.json"
RESTORE = "Restore the file, or carry the run out again in another folder."
UNQUALIFIED = "unqualified"

Count = Annotated[int, Field(ge=0)]
Status = Literal["running", "complete"]
Labels = tuple[str, str, str]
"""Labels of explainer, scorer and judge."""


class SuiteRecord(Frozen):
    """The frozen suite that a run used."""

    name: str
    version: str
    digest: str

    @property
    def id(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"


class MetricRecord(Frozen):
    """What a metric of a scorer means: its floor, direction and range; null where it has none."""

    name: str
    floor: float | None
    higher_is_better: bool = True
    low: float | None = None
    high: float | None = None


class Named(Frozen):
    """Something with a label for people, an id with a version and a content key."""

    label: str
    id: str
    key: str


class ExplainerRecord(Named):
    """An explainer as it took part."""

    is_floor: bool
    """The explainer knows nothing of the latent."""
    model: str | None = None
    """Label of the judge that generated for it."""
    prompts: dict[str, Any] = Field(default_factory=dict)


class ScorerRecord(Named):
    """A scorer as it took part."""

    headline: str
    """Name of the metric that ranks."""
    metrics: tuple[MetricRecord, ...]
    prompts: dict[str, Any] = Field(default_factory=dict)
    steered: str | None = None
    """Digest of the suite's intervention table, for scorers that read it: their windows are its rows."""

    def metric(self, name: str) -> MetricRecord | None:
        """What a metric means; None if the scorer does not have it."""
        return next((m for m in self.metrics if m.name == name), None)

    def range(self, name: str) -> tuple[float | None, float | None]:
        """Least and greatest value of a metric; one of a kind (`auroc@neighbour`) has the range of what stands before the `@`,
        unless it declares its own. None where there is none or it is not on record."""
        return range_of(name, {m.name: (m.low, m.high) for m in self.metrics})

    @property
    def ranking(self) -> MetricRecord:
        """What the headline means.

        Raises:
            RunError: the record does not declare it.
        """
        found = self.metric(self.headline)
        if found is None:
            raise RunError(f"scorer {self.label!r}: the headline {self.headline!r} is not among its metrics.")
        return found


class JudgeRecord(Frozen):
    """A judge as it took part."""

    label: str
    key: str
    identity: JudgeIdentity
    qualification: str = UNQUALIFIED
    """What is known of its ability for the scorer."""


class CellRecord(Frozen):
    """One explainer x scorer x judge x repeat."""

    cell: str
    repeat: int
    explainer: ExplainerRecord
    scorer: ScorerRecord
    judge: JudgeRecord

    @property
    def labels(self) -> Labels:
        """Labels of explainer, scorer and judge."""
        return self.explainer.label, self.scorer.label, self.judge.label


class Identities(Frozen):
    """Keys of everything that can change a number; equal ones mean that a run may be resumed."""

    suite: str
    seed: int
    latents: str = ""
    interventions: str | None = None
    explain_seed: int | None = None
    order: int = 0
    explainers: dict[str, str] = Field(default_factory=dict)
    models: dict[str, str] = Field(default_factory=dict)
    scorers: dict[str, str] = Field(default_factory=dict)
    judges: dict[str, str] = Field(default_factory=dict)
    cells: tuple[str, ...] = ()

    def changes(self, other: Identities) -> list[str]:
        """Names of what differs, such as `scorers: detection`."""
        return _changes(self.model_dump(), other.model_dump())


class Paid(Frozen):
    """What all sessions of a run paid, units that were done again included."""

    counts_to = WHOLE

    calls: Count = 0
    tokens_in: Count = 0
    tokens_out: Count = 0
    tokens_cached: Count = 0

    @classmethod
    def of(cls, calls: Sequence[Usage]) -> Paid:
        """What calls come to that were all paid."""
        return cls(
            calls=len(calls),
            tokens_in=sum(u.tokens_in for u in calls),
            tokens_out=sum(u.tokens_out for u in calls),
            tokens_cached=sum(u.tokens_cached for u in calls),
        )

    def __add__(self, other: Paid) -> Paid:
        return Paid(
            calls=self.calls + other.calls,
            tokens_in=self.tokens_in + other.tokens_in,
            tokens_out=self.tokens_out + other.tokens_out,
            tokens_cached=self.tokens_cached + other.tokens_cached,
        )


class Unasked(Frozen):
    """A scorer and a judge of the spec that were not brought together, because the judge cannot answer what the scorer asks."""

    scorer: str
    judge: str
    reason: str
    """What the scorer needs and what the judge can."""

    def __str__(self) -> str:
        """One sentence."""
        return f"scorer {self.scorer} is not asked of judge {self.judge}: {self.reason}."


class Totals(Frozen):
    """Counts of outcomes, and what was paid."""

    counts_to = WHOLE

    explanations: dict[str, Count]
    judgements: dict[str, Count]
    paid: Paid = Paid()
    uncalled: Count = 0
    """Explanations and judgements that were no call: an explainer that asks nobody had no text, or there was none to judge."""
    causes: dict[str, Count] = Field(default_factory=dict)
    """Why there is no answer -> how often, the most frequent first."""

    def count(self, outcomes: Collection[str]) -> int:
        """Explanations and judgements with one of these outcomes."""
        return sum(table.get(o, 0) for table in (self.explanations, self.judgements) for o in outcomes)

    @property
    def failure_rate(self) -> float:
        """Share of calls without an answer. What is skipped because a prompt does not fit is one."""
        attempted = sum(self.explanations.values()) + sum(self.judgements.values()) - self.uncalled
        return 1 - self.count(["ok"]) / attempted if attempted else 0.0


class RunRecord(Frozen):
    """`run.json`: what a run is when it starts, and what became of it."""

    layout: Literal[2] = LAYOUT
    id: str
    """Name of the run folder."""
    name: str
    status: Status
    command: str
    """Reproduces the run."""
    base: str
    """Folder that relative paths of the spec start at."""
    started: Moment
    """Start in UTC, ISO 8601."""
    seconds: float = Field(ge=0)
    """Over all sessions."""
    spec: RunSpec
    identities: Identities
    suite: SuiteRecord
    split: str
    latents: tuple[str, ...]
    cells: tuple[CellRecord, ...] = Field(min_length=1)
    unasked: tuple[Unasked, ...] = ()
    """Pairs of the spec that are no cells."""
    matched: dict[str, Matched] = Field(default_factory=dict)
    """Explainer -> what of the texts that it brought met the suite."""
    kinds: dict[str, str] = Field(default_factory=dict)
    """Coder -> its kind (`sae`, `neurons`, ...), as the suite says; without those of which it says nothing."""
    versions: dict[str, str] = Field(default_factory=dict)
    git: GitRecord | None = None
    hardware: HardwareRecord | None = None
    totals: Totals | None = None
    """Once the run has ended."""
    failure_rate: float | None = Field(default=None, ge=0, le=1)
    tables: dict[str, str] = Field(default_factory=dict)
    """Table -> digest of its content as the run wrote it; empty while it goes on, and in records of before there were any."""
    digest: str = ""
    """Digest of everything else in the record, so that an edit or a damaged byte is noticed; empty in records of before."""

    @property
    def verified(self) -> bool:
        """Whether what is read of the run is compared with what it wrote."""
        return bool(self.digest and self.tables)

    @property
    def ended(self) -> bool:
        """Whether the tables are there."""
        return self.status == "complete"

    @property
    def grid(self) -> dict[Labels, tuple[CellRecord, ...]]:
        """Labels of explainer, scorer and judge -> the cells of its repeats, in the run's order."""
        found: dict[Labels, list[CellRecord]] = {}
        for cell in self.cells:
            found.setdefault(cell.labels, []).append(cell)
        return {labels: tuple(cells) for labels, cells in found.items()}

    @property
    def explainers(self) -> dict[str, ExplainerRecord]:
        """Explainers by label, in the run's order."""
        return {cell.explainer.label: cell.explainer for cell in self.cells}

    @property
    def scorers(self) -> dict[str, ScorerRecord]:
        """Scorers by label, in the run's order."""
        return {c.scorer.label: c.scorer for c in self.cells}

    @property
    def judges(self) -> dict[str, JudgeRecord]:
        """Judges of the grid by label, in the run's order."""
        return {c.judge.label: c.judge for c in self.cells}


def read_record(folder: Path) -> RunRecord:
    """`run.json` of a run folder, ended or not; of an older layout as today's.

    Raises:
        RunError: missing, not JSON, of a newer layout, or without what every run has; the message names the file and the field.
    """
    path = folder / RECORD
    try:
        data = read_json(path)
    except (FileNotFoundError, NotADirectoryError) as e:
        raise RunError(f"{folder} is not a run folder: it has no {RECORD}. `ls runs` lists yours.") from e
    except OSError as e:
        raise RunError(f"{path} cannot be read: {e}. {RESTORE}") from e
    except ValueError as e:
        raise RunError(f"{path} is not JSON: {e}. {RESTORE}") from e
    if not isinstance(data, dict):
        raise RunError(f"{path} is not the record of a run: it holds a {type(data).__name__}. {RESTORE}")
    _as_written(data, path)
    layout = data.get("layout", 1)
    if isinstance(layout, bool) or layout not in (1, LAYOUT):
        raise RunError(
            f"{path} has layout {layout!r}, and this version reads 1 and {LAYOUT}. Read it with the version that wrote it."
        )
    try:
        record = validate(RunRecord, upgraded(data) if layout == 1 else data, str(path))
    except BenchError as e:
        raise RunError(f"{str(e).rstrip('.')}. {RESTORE}") from e
    if record.ended and bool(record.digest) != bool(record.tables):
        what = "digests of its tables" if record.digest else "digest of itself"
        raise DigestMismatch(f"{path} has no {what}, which a run writes together with the other. {RESTORE}")
    twice, times = Counter(cell.cell for cell in record.cells).most_common(1)[0]
    if times > 1:
        raise RunError(
            f"{path} has {times} cells with the id {twice!r}, so their rows cannot be told apart. Carry the run out again."
        )
    return record


def _as_written(data: Mapping[str, Any], path: Path) -> None:
    """Compare a record with its digest, if it has one.

    It is over what the file says and not over the record that is made of it: fields that come later are not in it.

    Raises:
        DigestMismatch: the record was edited, or a byte of it is damaged.
    """
    written = data.get("digest", "")
    try:
        found = digest({name: value for name, value in data.items() if name != "digest"})
    except UnicodeEncodeError as e:
        raise RunError(f"{path} holds text that is no Unicode: {e}. {RESTORE}") from e
    if written not in ("", found):
        raise DigestMismatch(
            f"{path} is not what the run wrote: it hashes to {found}, not to {str(written)!r}. {RESTORE}"
        )


def write_record(record: RunRecord, folder: Path) -> RunRecord:
    """Write `run.json`, whole or not at all; returns the record with its digest."""
    # As it is read back: a key of a parameter may be a number here and is a text there.
    content = json.loads(json.dumps(record.model_dump(mode="json", exclude={"digest"}), default=plain))
    written = digest(content)
    write_json(folder / RECORD, {**content, "digest": written})
    return record.model_copy(update={"digest": written})


def upgraded(old: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a `run.json` of layout 1 in today's layout; what is missing or broken stays so, for `validate`.

    The first version recorded no ranges of metrics. Nobody can know them, so such a metric has none and a leaderboard gives
    no bounds under missing judgements for it.
    """
    cells = old.get("cells")
    if not isinstance(cells, list):
        return {**old, "layout": LAYOUT}
    return {**old, "layout": LAYOUT, "cells": [_upgraded_cell(c) if isinstance(c, dict) else c for c in cells]}


def _upgraded_cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    new = dict(cell)
    if isinstance(explainer := cell.get("explainer"), dict):
        rest = {name: value for name, value in explainer.items() if name != "null"}
        new["explainer"] = {**rest, "is_floor": bool(explainer.get("null", False))}
    if isinstance(judge := cell.get("judge"), dict):
        new["judge"] = {**judge, "qualification": judge.get("qualification") or UNQUALIFIED}
    return new


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], place: str = "") -> list[str]:
    changed = []
    for name in sorted({*old, *new}):
        a, b = old.get(name), new.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            changed += _changes(a, b, f"{place}{name}: ")
        elif a != b:
            changed.append(f"{place}{name}")
    return changed
