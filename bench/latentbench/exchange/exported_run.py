"""A finished run as the writers of other tools' layouts see it: texts, judgements with their windows, and headline scores.

The layouts of others hold one explanation of a latent, so a writer takes one explainer and one repeat at a time. What a layout
has no place for is noted and said, never squeezed into a field that means something else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from latentbench.kernel.errors import BenchError, UnknownName
from latentbench.kernel.latent import Window, coder_of
from latentbench.kernel.requests import Outcome
from latentbench.runs.finished import Run
from latentbench.runs.record import CellRecord
from latentbench.runs.run_spec import local
from latentbench.suites.store import Suite, load_suite


@dataclass(frozen=True, slots=True)
class JudgedWindow:
    """One judgement of one window.

    Attributes:
        tokens, activations: of the window; None where the suite is not on this machine.
        decile: activation decile from 0, of activating windows.
        truth: whether the latent fires in it.
        answer: what was answered; None where the call failed, or the scorer only ranks.
        score: p(active), or a cosine; None where there is none.
    """

    tokens: tuple[str, ...] | None
    activations: tuple[float, ...] | None
    decile: int | None
    truth: bool
    answer: bool | None
    score: float | None

    @property
    def correct(self) -> bool | None:
        """Whether the answer is right; None without one."""
        return None if self.answer is None else self.answer == self.truth


@dataclass(frozen=True)
class ExportedRun:
    """A run, what of it is exported, and what was noted on the way.

    Attributes:
        run: with all tables.
        repeat: number of the repeat that layouts with one text per latent get.
        chosen: labels of the explainers that are exported.
        notes: sentences on what was left out or is not known; each once.
    """

    run: Run
    repeat: int
    chosen: tuple[str, ...]
    notes: list[str] = field(default_factory=list)

    def note(self, sentence: str) -> None:
        """Say something once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    @cached_property
    def suite(self) -> Suite | None:
        """The suite of the run, if it is on this machine as it was then."""
        record = self.run.record
        try:
            found = load_suite(local(record.spec.suite, Path(record.base)))
        except BenchError as e:
            self.note(f"Suite {record.suite.id} cannot be read here, so windows have no tokens: {e}")
            return None
        if found.digest != record.suite.digest:
            self.note(f"Suite {record.suite.id} is another one here, so windows have no tokens.")
            return None
        return found

    @cached_property
    def hookpoints(self) -> Mapping[str, str]:
        """Coder -> the module that it reads, as far as the suite says."""
        known = self.suite.known_coders if self.suite is not None else ()
        return {coder.name: coder.hookpoint for coder in known if coder.hookpoint}

    @cached_property
    def subject(self) -> str | None:
        """Reference of the model whose latents these are, as far as the suite says; of a local folder its name, since the path
        says more of a machine than of a model."""
        said: Any = self.suite.manifest.get("subject") if self.suite is not None else None
        name = said.get("reference", said.get("model")) if isinstance(said, Mapping) else None
        if not isinstance(name, str):
            return None
        return Path(name).name if Path(name).is_absolute() else name

    @cached_property
    def places(self) -> Mapping[str, tuple[str, int]]:
        """Latent -> its coder and index, for those whose id ends in a number."""
        found = {}
        for latent in self.run.record.latents:
            coder = coder_of(latent)
            index = latent.removeprefix(f"{coder}/")
            if index.isascii() and index.isdecimal():
                found[latent] = (coder, int(index))
        left = len(self.run.record.latents) - len(found)
        if left:
            self.note(f"{left} latents have names and no numbers, which this layout cannot hold; they are left out.")
        return found

    @property
    def coders(self) -> list[str]:
        """Coders of the latents that can be exported, in the run's order."""
        return list(dict.fromkeys(coder for coder, _ in self.places.values()))

    def texts(self, explainer: str) -> dict[str, str]:
        """Latent -> explanation, without latents that have none."""
        table = self.run.explanations
        own = table[(table["explainer"] == explainer) & (table["repeat"] == self.repeat)]
        texts = {latent: text for latent, text in zip(own["latent"], own["text"], strict=True) if isinstance(text, str)}
        if len(texts) < len(own):
            self.note(f"{len(own) - len(texts)} latents have no explanation by {explainer}; they are left out.")
        return texts

    def cells(self, explainer: str) -> list[CellRecord]:
        """The cells of an explainer in the repeat."""
        return [c for c in self.run.record.cells if c.explainer.label == explainer and c.repeat == self.repeat]

    def values(self, cell: CellRecord) -> dict[str, float]:
        """Latent -> headline of a cell, without latents that have none."""
        table = self.run.scores
        own = table[(table["cell"] == cell.cell) & (table["metric"] == cell.scorer.headline)]
        return {
            latent: float(value)
            for latent, value in zip(own["latent"], own["value"], strict=True)
            if value is not None and math.isfinite(value)
        }

    def judged(self, cell: CellRecord) -> Iterator[tuple[str, list[JudgedWindow]]]:
        """Latent and its judgements of windows, in the table's order."""
        table = self.run.judgements
        own = table[(table["cell"] == cell.cell) & table["item"].notna()]
        for latent, rows in own.groupby("latent", sort=False):
            windows = self._windows.get(str(latent), {})
            columns = ("item", "kind", "truth", "outcome", "answer", "score")
            yield str(latent), [_judged(windows, *row) for row in zip(*(rows[c] for c in columns), strict=True)]

    @cached_property
    def _windows(self) -> Mapping[str, Mapping[int, Window]]:
        if self.suite is None:
            return {}
        wanted = set(self.run.record.latents)
        return {view.id: {w.id: w for w in view.test} for view in self.suite.latents() if view.id in wanted}


def _judged(
    windows: Mapping[int, Window],
    item: float,
    kind: str,
    truth: int,
    outcome: str,
    answer: float | None,
    score: float | None,
) -> JudgedWindow:
    # Of the judgement's kind: an active window that was marked wrongly is asked about as a silent one.
    window = replace(windows.get(int(item)) or Window(int(item), "test", kind, (), (), (), 0), kind=kind)
    held = bool(window.ids)
    ok = outcome == Outcome.OK.value
    given = ok and answer is not None and math.isfinite(answer)
    scored = ok and score is not None and math.isfinite(score)
    return JudgedWindow(
        tokens=window.tokens if held else None,
        activations=window.activations if held else None,
        decile=window.decile,
        truth=bool(truth),
        answer=bool(answer) if given else None,
        score=float(score) if scored and score is not None else None,
    )


def chosen(run: Run, wanted: tuple[str, ...], floors: bool) -> tuple[str, ...]:
    """Labels of the explainers to export: those that are named, or all that are no floors.

    Args:
        floors: floors, too, where none is named.

    Raises:
        UnknownName: a label that the run does not have.
    """
    known = run.record.explainers
    for label in wanted:
        if label not in known:
            raise UnknownName(f"explainer of run {run.id}", label, list(known))
    real = tuple(label for label, explainer in known.items() if floors or not explainer.is_floor)
    return wanted or real or tuple(known)
