"""The latents of a run as data: one list of all with their scores, and each in full with its windows and every verdict.

The list is columns, because ten thousand latents as objects are several times as large and are never looked at one by one. What a
latent is in full stands in files of ten: one file for all is too large to open, and one for each is ten thousand files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from latentbench.kernel.latent import LatentView, Steered, Window, coder_of
from latentbench.kernel.requests import Outcome
from latentbench.runs.finished import Run

if TYPE_CHECKING:
    from latentbench.suites.store import Suite

PAGE_SIZE = 10
"""Latents of one file."""
NEAREST = 5
"""Neighbours that are shown."""
BLOCK = 1024
"""Latents whose neighbours are sought at once."""
TOLD = 240
"""Characters of an explanation in the list; the latent's own page has all of it."""
OUTCOMES = tuple(outcome.value for outcome in Outcome)


@dataclass(frozen=True, slots=True)
class Grading:
    """A scorer and judge of a run, and the explainers that they graded."""

    scorer: str
    judge: str
    headline: str
    floor: float | None
    higher_is_better: bool


@dataclass(frozen=True, slots=True)
class NamedExplainer:
    """An explainer of a run."""

    label: str
    id: str
    is_floor: bool
    model: str | None


@dataclass(frozen=True, slots=True)
class LatentList:
    """All latents of a run, a column each."""

    run: str
    suite: str
    split: str
    page_size: int
    outcomes: tuple[str, ...]
    has_windows: bool
    has_calls: bool
    explainers: tuple[NamedExplainer, ...]
    gradings: tuple[Grading, ...]
    ids: tuple[str, ...]
    coders: tuple[str, ...]
    """Names of the coders."""
    coder: tuple[int, ...]
    """Place in `coders` of each latent."""
    rate: tuple[float | None, ...]
    """Share of the tokens on which it fires."""
    largest: tuple[float | None, ...]
    scores: tuple[tuple[tuple[float | None, ...], ...], ...]
    """Explainer, grading and latent -> headline, averaged over repeats."""
    coverage: tuple[float | None, ...]
    """Judged of attempted, over everything that was asked about the latent."""


@dataclass(frozen=True, slots=True)
class TextList:
    """The explanations of the first repeat, cut short, for the list and its search."""

    explainers: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    """Explainer and latent -> text."""


@dataclass(frozen=True, slots=True)
class ShownWindow:
    """A window; its activations are the places where there is one, and their values."""

    id: int
    role: str
    kind: str
    tokens: tuple[str, ...]
    at: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ShownText:
    """An explanation."""

    explainer: str
    repeat: int
    text: str | None
    outcome: str
    error: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """The metrics of a latent under one scorer and judge, averaged over repeats; a place for each explainer of `LatentList`."""

    scorer: str
    judge: str
    judged: tuple[int, ...]
    attempted: tuple[int, ...]
    metrics: tuple[tuple[str, tuple[float | None, ...]], ...]
    """Name and values, the headline first."""


Said = tuple[int | float | str | None, ...]
"""Place of the outcome in `LatentList.outcomes`, score, answer, and why there is none; what is missing at the end is left out."""


@dataclass(frozen=True, slots=True)
class VerdictLine:
    """What was said of one window: for each explainer its outcome, score and answer, or nothing where it was not asked."""

    trial: str
    part: str
    item: int | None
    kind: str
    truth: int
    said: tuple[Said | None, ...]


@dataclass(frozen=True, slots=True)
class VerdictTable:
    """What one judge answered to one scorer about a latent."""

    scorer: str
    judge: str
    repeat: int
    explainers: tuple[str, ...]
    cells: tuple[str, ...]
    """Owner of the calls about each explainer."""
    lines: tuple[VerdictLine, ...]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another latent of the coder, by the cosine of the decoder directions."""

    id: str
    cosine: float
    in_run: bool


@dataclass(frozen=True, slots=True)
class Rates:
    """How often a latent fires and how strongly."""

    token: float | None
    context: float | None
    largest: float | None
    edges: tuple[float, ...]
    """Decile edges of the largest activation of windows in which it fires."""


@dataclass(frozen=True, slots=True)
class ShownLatent:
    """One latent in full."""

    id: str
    coder: str
    kind: str | None
    hookpoint: str | None
    split: str
    scale: float
    """Activation at full shade."""
    rates: Rates | None
    promoted: tuple[str, ...]
    suppressed: tuple[str, ...]
    truth: str | None
    windows: tuple[ShownWindow, ...]
    texts: tuple[ShownText, ...]
    scores: tuple[ScoreTable, ...]
    verdicts: tuple[VerdictTable, ...]
    steered: tuple[Steered, ...]
    neighbours: tuple[Neighbour, ...]


def latent_list(run: Run, suite: Suite | None, has_calls: bool) -> LatentList:
    """All latents of a run."""
    record, ids = run.record, run.record.latents
    held = run.per_latent()
    gradings = list(dict.fromkeys((scorer, judge) for _, scorer, judge in record.grid))
    labels = list(record.explainers)
    places = {latent: i for i, latent in enumerate(ids)}
    values = np.full((len(labels), len(gradings), len(ids)), np.nan)
    at = [
        held["explainer"].map({e: i for i, e in enumerate(labels)}).to_numpy(),
        np.array([gradings.index(pair) for pair in zip(held["scorer"], held["judge"], strict=True)], dtype=np.int64),
        held["latent"].map(places).to_numpy(),
    ]
    values[at[0], at[1], at[2]] = held["value"].to_numpy(dtype=np.float64)
    counts = held.groupby("latent")[["judged", "attempted"]].sum().reindex(list(ids), fill_value=0)
    coders = list(dict.fromkeys(coder_of(latent) for latent in ids))
    rates, largest = _columns(suite, ids)
    return LatentList(
        run=run.id,
        suite=record.suite.id,
        split=record.split,
        page_size=PAGE_SIZE,
        outcomes=OUTCOMES,
        has_windows=suite is not None,
        has_calls=has_calls,
        explainers=tuple(NamedExplainer(e.label, e.id, e.is_floor, e.model) for e in record.explainers.values()),
        gradings=tuple(_grading(run, scorer, judge) for scorer, judge in gradings),
        ids=tuple(ids),
        coders=tuple(coders),
        coder=tuple(coders.index(coder_of(latent)) for latent in ids),
        rate=rates,
        largest=largest,
        scores=tuple(tuple(tuple(line) for line in lines) for lines in values.tolist()),
        coverage=tuple(n / of if of else None for n, of in counts.itertuples(index=False, name=None)),
    )


def _grading(run: Run, scorer: str, judge: str) -> Grading:
    held = run.record.scorers[scorer]
    return Grading(scorer, judge, held.headline, held.ranking.floor, held.ranking.higher_is_better)


def _columns(suite: Suite | None, ids: Sequence[str]) -> tuple[tuple[float | None, ...], tuple[float | None, ...]]:
    if suite is None:
        return (None,) * len(ids), (None,) * len(ids)
    table = suite.latent_table.select(["latent", "rate_token", "max_activation"]).to_pydict()
    rows = {latent: i for i, latent in enumerate(table["latent"])}
    found = [[table[name][rows[latent]] for latent in ids] for name in ("rate_token", "max_activation")]
    return tuple(found[0]), tuple(found[1])


def text_list(run: Run) -> TextList:
    """The explanations of the first repeat by explainers that are no floors; of all where there are only floors."""
    explainers = list(run.record.explainers.values())
    labels = [e.label for e in explainers if not e.is_floor] or [e.label for e in explainers]
    first = run.explanations[run.explanations["repeat"] == run.explanations["repeat"].min()]
    told = dict(zip(zip(first["explainer"], first["latent"], strict=True), first["text"], strict=True))

    def short(text: object) -> str:
        whole = text if isinstance(text, str) else ""
        return whole if len(whole) <= TOLD else whole[:TOLD] + "\u2026"

    return TextList(tuple(labels), tuple(tuple(short(told.get((e, z))) for z in run.record.latents) for e in labels))


def shown_latents(run: Run, suite: Suite | None) -> Iterator[ShownLatent]:
    """The latents of a run in full, in its order."""
    texts, verdicts = (dict(iter(t.groupby("latent", sort=False))) for t in (run.explanations, run.judgements))
    scores = dict(iter(_means(run).groupby("latent", sort=False)))
    nearest = _neighbours(suite, run.record.latents)
    for latent in run.record.latents:
        view = None if suite is None else suite.latent(latent)
        yield ShownLatent(
            id=latent,
            coder=coder_of(latent),
            kind=None if view is None else view.row.get("coder_kind"),
            hookpoint=None if view is None else view.row.get("hookpoint"),
            split=run.record.split if view is None else view.split,
            scale=0.0 if view is None else max((w.max for w in (*view.explain, *view.test)), default=0.0),
            rates=None if view is None else _rates(view),
            promoted=() if view is None else tuple(view.row.get("promoted") or ()),
            suppressed=() if view is None else tuple(view.row.get("suppressed") or ()),
            truth=None if view is None else view.row.get("truth"),
            windows=() if view is None else tuple(map(shown_window, (*view.explain, *view.contrast, *view.test))),
            texts=tuple(_texts(texts[latent])),
            scores=tuple(_scores(run, scores[latent])),
            verdicts=tuple(_verdicts(run, verdicts[latent], view)) if latent in verdicts else (),
            steered=() if view is None else view.interventions,
            neighbours=tuple(nearest.get(latent, ())),
        )


def _rates(view: LatentView) -> Rates:
    row = view.row
    edges = tuple(float(edge) for edge in row.get("edges") or ())
    return Rates(row.get("rate_token"), row.get("rate_context"), row.get("max_activation"), edges)


def shown_window(window: Window) -> ShownWindow:
    """A window as pages show it."""
    at = tuple(i for i, value in enumerate(window.activations) if value > 0)
    values = tuple(float(f"{window.activations[i]:.3g}") for i in at)
    return ShownWindow(window.id, window.role, window.kind, window.tokens, at, values)


def _texts(told: pd.DataFrame) -> Iterator[ShownText]:
    columns = ["explainer", "repeat", "text", "outcome", "error", "note"]
    for explainer, repeat, text, outcome, error, note in told[columns].itertuples(index=False, name=None):
        yield ShownText(explainer, int(repeat), _or_none(text), outcome, _or_none(error), _or_none(note))


def _means(run: Run) -> pd.DataFrame:
    keys = ["explainer", "scorer", "judge", "latent", "metric"]
    grouped = run.scores.groupby(keys, sort=False)
    counts = grouped[["n_judged", "n_attempted"]].sum()
    return counts.join(grouped["value"].mean()).reset_index()


def _scores(run: Run, own: pd.DataFrame) -> Iterator[ScoreTable]:
    labels = list(run.record.explainers)
    for names, graded in own.groupby(["scorer", "judge"], sort=False):
        scorer, judge = map(str, names)
        headline = run.record.scorers[scorer].headline
        values = graded.pivot(index="metric", columns="explainer", values="value").reindex(columns=labels)
        lines = dict(zip(map(str, values.index), values.to_numpy(dtype=np.float64).tolist(), strict=True))
        counts = graded[graded["metric"] == headline].set_index("explainer")[["n_judged", "n_attempted"]]
        counts = counts.reindex(labels, fill_value=0)
        metrics = sorted(dict.fromkeys(graded["metric"].astype(str)), key=lambda name: name != headline)
        yield ScoreTable(
            scorer=scorer,
            judge=judge,
            judged=tuple(map(int, counts["n_judged"])),
            attempted=tuple(map(int, counts["n_attempted"])),
            metrics=tuple((name, tuple(lines[name])) for name in metrics),
        )


def _verdicts(run: Run, own: pd.DataFrame, view: LatentView | None) -> Iterator[VerdictTable]:
    strength = {} if view is None else {window.id: window.max for window in view.test}
    cells = {(*cell.labels, cell.repeat): cell.cell for cell in run.record.cells}
    columns = ["trial", "part", "item", "kind", "truth", "explainer", "outcome", "score", "answer", "error"]
    for names, asked in own.groupby(["scorer", "judge", "repeat"], sort=False):
        scorer, judge, repeat = str(names[0]), str(names[1]), int(str(names[2]))
        explainers = tuple(dict.fromkeys(asked["explainer"]))
        place = {label: i for i, label in enumerate(explainers)}
        lines: dict[_Place, list[Said | None]] = {}
        met: dict[tuple[object, ...], int] = {}
        for trial, part, item, kind, truth, explainer, outcome, score, answer, error in asked[columns].itertuples(
            index=False, name=None
        ):
            what = (trial or "", part or "", None if pd.isna(item) else int(item), kind, int(truth))
            # A text that a judge wrote is no window, and a trial may have several of one kind: each is a line.
            number = met[(what, explainer)] = met.get((what, explainer), -1) + 1
            line = lines.setdefault((*what, number), [None] * len(explainers))
            line[place[explainer]] = _said(outcome, score, answer, error)
        found = [
            VerdictLine(trial, part, item, kind, truth, tuple(said))
            for (trial, part, item, kind, truth, _), said in lines.items()
        ]
        found.sort(key=lambda line: (-line.truth, -strength.get(-1 if line.item is None else line.item, 0.0)))
        owners = tuple(cells[(e, scorer, judge, repeat)] for e in explainers)
        yield VerdictTable(scorer, judge, repeat, explainers, owners, tuple(found))


_Place = tuple[str, str, int | None, str, int, int]
"""Trial, part, item, kind and truth of a judgement, and which of several in one trial."""


def _said(outcome: str, score: float | None, answer: int | None, error: str | None) -> Said:
    shown = None if score is None or pd.isna(score) else float(f"{score:.4g}")
    said = [OUTCOMES.index(outcome), shown, None if answer is None or pd.isna(answer) else int(answer), _or_none(error)]
    while said[-1] is None:
        said.pop()
    return tuple(said)


def _or_none(text: object) -> str | None:
    return text if isinstance(text, str) and text else None


def _neighbours(suite: Suite | None, latents: Sequence[str]) -> Mapping[str, list[Neighbour]]:
    """The nearest of each latent among all of the suite that have a direction and the same coder."""
    if suite is None:
        return {}
    rows = suite.latent_table.select(["latent", "coder", "direction"]).to_pydict()
    wanted = set(latents)
    by_coder: dict[str, list[int]] = {}
    for i, (coder, direction) in enumerate(zip(rows["coder"], rows["direction"], strict=True)):
        if direction:
            by_coder.setdefault(coder, []).append(i)
    found: dict[str, list[Neighbour]] = {}
    for places in by_coder.values():
        if len({len(rows["direction"][i]) for i in places}) > 1:
            continue
        names = [rows["latent"][i] for i in places]
        units = np.array([rows["direction"][i] for i in places], dtype=np.float64)
        lengths = np.linalg.norm(units, axis=1, keepdims=True)
        units = units / np.where(lengths > 0, lengths, 1)
        mine = [i for i, name in enumerate(names) if name in wanted]
        for start in range(0, len(mine), BLOCK):
            part = mine[start : start + BLOCK]
            cosines = units[part] @ units.T
            cosines[np.arange(len(part)), part] = -np.inf
            for i, line in zip(part, cosines, strict=True):
                # Rounded before they are ordered, so that another order of summation makes no other page.
                shown = np.round(line, 4)
                most = np.argpartition(-shown, min(NEAREST, len(shown) - 1))[: NEAREST + 1].tolist()
                order = sorted(most, key=lambda j: (-float(shown[j]), names[j]))
                nearest = [j for j in order[:NEAREST] if np.isfinite(shown[j])]
                found[names[i]] = [Neighbour(names[j], float(shown[j]), names[j] in wanted) for j in nearest]
    return found
