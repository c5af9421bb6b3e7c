"""Recompute a finished run from its judgements, by other formulas than the package's, and say where the two disagree.

    python tests/independent/recompute.py RUN       # a run folder; its leaderboard.json too, if `bench leaderboard RUN` wrote one

What a run declares is taken as it is: `run.json` (cells, latents, names, floors and ranges of metrics), the outcomes and answers
in `judgements.parquet`, what calls used. Every other number is computed again. Nothing is imported from the package. A golden
file holds numbers as they are; this says whether they are right.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.independent.interval_formulas import DRAWS, Bounded, bounded, holm, paired_places, places
from tests.independent.metric_formulas import Ends, ends_of_answers, ends_of_scores, of_answers, of_ranking, of_tokens

TOLERANCE = 1e-6
WRITTEN = 6
"""Significant digits of CSV and JSON."""
YES_NO, RANKED, TOKENS, CHOICE = ("detection", "fuzzing"), ("embedding", "surprisal"), ("simulation",), ("intruder",)
"""Scorers by what their metrics are made of. Those of others are not recomputed."""
KNOWN = (*YES_NO, *RANKED, *TOKENS, *CHOICE)

ANSWERED = ["kind", "truth", "outcome", "score", "answer", "token_scores", "token_truth"]
"""Columns that a metric is made of."""

Labels = tuple[str, str, str]
Floats = NDArray[np.float64]


@dataclass
class Report:
    """How often what was compared, and what differs."""

    checked: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def same(self, what: str, where: object, ours: Any, theirs: Any, digits: int | None = None) -> None:
        """Compare two values; numbers up to `TOLERANCE` (relative above 1) and half a unit of the last of so many digits."""
        self.checked[what] += 1
        if not _equal(ours, theirs, digits):
            self.wrong.append(f"{what}, {where}: {theirs!r} is written, recomputed {ours!r}")


def _none(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _equal(ours: Any, theirs: Any, digits: int | None) -> bool:
    if _none(ours) or _none(theirs):
        return _none(ours) and _none(theirs)
    if not isinstance(ours, int | float) or isinstance(ours, bool):
        return bool(ours == theirs)
    allowed = TOLERANCE * max(1.0, abs(ours))
    if digits is not None and abs(ours) >= 1:
        allowed += 0.5 * 10.0 ** (math.floor(math.log10(abs(ours))) + 1 - digits)
    return bool(abs(ours - theirs) <= allowed)


class Finished:
    """A run folder, and what is recomputed of it.

    Attributes:
        values: explainer, scorer, judge -> latent -> metric -> one value for each repeat that has one.
        ends: cell, latent -> least and greatest headline where judgements are missing, None where there is none; a latent that
            lost nothing is not there.
        counts: explainer, scorer, judge -> judged and attempted judgements.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        self.scores = pd.read_parquet(folder / "scores.parquet")
        times = pd.read_parquet(folder / "seconds.parquet")
        self.explanations, self.judgements = (_timed(folder, name, times) for name in ("explanations", "judgements"))
        self.latents: list[str] = self.record["latents"]
        self.entries: dict[Labels, list[dict[str, Any]]] = {}
        for cell in self.record["cells"]:
            labels = (cell["explainer"]["label"], cell["scorer"]["label"], cell["judge"]["label"])
            self.entries.setdefault(labels, []).append(cell)
        self.values: dict[Labels, dict[str, dict[str, list[float]]]] = {labels: {} for labels in self.entries}
        self.ends: dict[tuple[str, str], Ends | None] = {}
        self.counts = {labels: [0, 0] for labels in self.entries}

    @classmethod
    def as_written(cls, folder: Path) -> Finished:
        """A run whose values are those in its `scores.parquet`, for what is made of them."""
        run = cls(folder)
        for row in run.scores.dropna(subset=["value"]).to_dict("records"):
            kept = run.values[row["explainer"], row["scorer"], row["judge"]].setdefault(row["latent"], {})
            kept.setdefault(row["metric"], []).append(row["value"])
        return run

    def means(self, labels: Labels, metric: str) -> dict[str, float]:
        """Latent -> mean over the repeats that have the metric, in the order of the run."""
        own = self.values[labels]
        return {latent: float(np.mean(found[metric])) for latent, found in own.items() if metric in found}


def _timed(folder: Path, name: str, times: pd.DataFrame) -> pd.DataFrame:
    table = pd.read_parquet(folder / f"{name}.parquet")
    own = times[times["table"] == name].set_index("row")["seconds"]
    return table.assign(seconds=own.reindex(range(len(table)), fill_value=0.0).to_numpy())


def recompute(folder: Path) -> tuple[Finished, Report]:
    """Scores and totals of a run."""
    run, report = Finished(folder), Report()
    check_scores(run, report)
    check_totals(run, report)
    return run, report


def _family(cell: dict[str, Any]) -> str:
    return str(cell["scorer"]["id"]).partition("@")[0]


# --- scores of latents


def check_scores(run: Finished, report: Report) -> None:
    """`scores.parquet`: which rows there are, their values, counts and bounds."""
    judged = {key: _columns(rows) for key, rows in run.judgements.groupby(["cell", "latent"], sort=False)}
    theirs: dict[Any, dict[str, dict[str, Any]]] = {}
    for row in run.scores.to_dict("records"):
        theirs.setdefault((row["cell"], row["latent"]), {})[str(row["metric"])] = row
    report.same("latents with scores", run.folder.name, sorted(judged), sorted(theirs))
    for labels, cells in run.entries.items():
        for cell in cells:
            for latent in run.latents:
                place = (cell["cell"], latent)
                _check_latent(run, report, labels, cell, place, judged[place], theirs.get(place, {}))


def _columns(rows: pd.DataFrame) -> dict[str, Any]:
    return {name: rows[name].to_numpy() for name in ANSWERED}


def _check_latent(
    run: Finished,
    report: Report,
    labels: Labels,
    cell: dict[str, Any],
    place: tuple[str, str],
    rows: dict[str, Any],
    theirs: dict[str, dict[str, Any]],
) -> None:
    headline, ok = cell["scorer"]["headline"], rows["outcome"] == "ok"
    found = measured(cell, rows, ok)
    if found is None:
        report.checked["latents of scorers that are not recomputed"] += 1
        return
    values, ends = found
    report.same("metrics of a latent", place, sorted({headline, *values}), sorted(theirs))
    for metric, row in theirs.items():
        where = (*place, metric)
        report.same(f"value of {metric.partition('@')[0]}", where, values.get(metric), row["value"])
        report.same("counts", where, (int(ok.sum()), len(ok)), (row["n_judged"], row["n_attempted"]))
        written = (row["lowest"], row["highest"])
        told = ends.get(metric, (math.nan, math.nan))
        if told is None:
            report.checked["bounds that have too many completions"] += 1
            report.same("order of bounds", where, True, bool(written[1] - written[0] >= 0))
        else:
            what = f"bounds of {metric}" if metric in ends else "absence of bounds"
            for ours, their in zip(told, written, strict=True):
                report.same(what, where, ours, their)
        if metric == headline and not ok.all():
            run.ends[place] = None if metric not in ends else written if told is None else told
    kept = run.values[labels].setdefault(place[1], {})
    for metric, value in values.items():
        kept.setdefault(metric, []).append(value)
    run.counts[labels][0] += int(ok.sum())
    run.counts[labels][1] += len(ok)


def measured(
    cell: dict[str, Any], rows: dict[str, Any], ok: NDArray[np.bool_]
) -> tuple[dict[str, float], dict[str, Ends | None]] | None:
    """Metrics of one latent in one cell, and the bounds of those that have some, if judgements are missing; None stands for
    bounds that have too many completions, and for a scorer that is not known here."""
    family = _family(cell)
    if family in TOKENS:
        return _of_simulation(rows, ok), {}
    if family in CHOICE:
        floor = next(m["floor"] for m in cell["scorer"]["metrics"] if m["name"] == "accuracy")
        return _of_choice(rows, ok, floor)
    if family not in KNOWN:
        return None
    truth, answers, scores = (rows[name].astype(np.float64) for name in ("truth", "answer", "score"))

    def against(kind: str) -> tuple[dict[str, float], dict[str, Ends | None]]:
        """The activating windows and the silent ones of a kind."""
        own = (truth == 1) | (rows["kind"] == kind)
        found, ends = _of_windows(truth[own], answers[own], scores[own], ok[own], lost=not ok.all())
        on, off = own & ok & (truth == 1), own & ok & (truth == 0)
        if family == "surprisal" and on.any() and off.any():
            found["mean_gap"] = float(scores[on].mean() - scores[off].mean())
        return found, ends

    names = {m["name"] for m in cell["scorer"]["metrics"]}
    values, ends = against("random")
    for kind in set(rows["kind"][ok & (truth == 0)]) - {"random"}:
        values |= {f"{m}@{kind}": v for m, v in against(kind)[0].items() if f"{m}@{kind}" in names}
    return values, {name: e for name, e in ends.items() if name in names}


def _of_windows(
    truth: Floats, answers: Floats, scores: Floats, ok: NDArray[np.bool_], lost: bool
) -> tuple[dict[str, float], dict[str, Ends | None]]:
    """Windows rank by their scores where all that were judged have one, else by their answers. Where nothing was judged nobody
    knows which a method would have given, and any order is possible. There are bounds where the latent `lost` a judgement."""
    answered, scored = (not np.isnan(column[ok]).any() for column in (answers, scores))
    values: dict[str, float] = {}
    if ok.any():
        values["n"] = float(ok.sum())
        if answered:
            values |= {k: float(v[0]) for k, v in of_answers(truth[ok], answers[None, ok]).items()}
        if answered or scored:
            values |= {
                k: float(v[0]) for k, v in of_ranking(truth[ok], (scores if scored else answers)[None, ok]).items()
            }
        values = {k: v for k, v in values.items() if not math.isnan(v)}
    ends: dict[str, Ends | None] = {}
    if not lost or set(truth.tolist()) != {0.0, 1.0}:
        return values, ends
    missing = np.where(ok, 0.0, np.nan)
    if answered:
        told = ends_of_answers(truth, answers + missing)
        names = (*RANK_NAMES, *ANSWER_NAMES)
        ends |= dict.fromkeys(names) if told is None else {name: told[name] for name in names}
    if scored:
        told = ends_of_scores(truth, scores + missing)
        ends |= dict.fromkeys(RANK_NAMES) if told is None else told
    return values, ends


RANK_NAMES = ("auroc", "ap", "ap_normalised")
ANSWER_NAMES = ("balanced_accuracy", "accuracy", "recall", "f1")
"""Metrics that have bounds, says docs/numbers.md; precision is undefined under some answers."""


def _of_simulation(rows: dict[str, Any], ok: NDArray[np.bool_]) -> dict[str, float]:
    """All tokens of all windows in one row, and those of each kind of activating windows."""

    def over(chosen: NDArray[np.bool_]) -> dict[str, float]:
        if not chosen.any():
            return {}
        truth, said = (
            np.concatenate([np.asarray(v, np.float64) for v in rows[name][chosen]])
            for name in ("token_truth", "token_scores")
        )
        return of_tokens(truth, said)

    if not ok.any():
        return {}
    values = {"n": float(ok.sum())} | over(ok)
    active = ok & (rows["truth"] == 1)
    for kind in set(rows["kind"][active]):
        own = over(active & (rows["kind"] == kind))
        values |= {f"pearson@{kind}": own["pearson"]} if own else {}
    return values


def _of_choice(
    rows: dict[str, Any], ok: NDArray[np.bool_], floor: float
) -> tuple[dict[str, float], dict[str, Ends | None]]:
    """Shares of right answers; a missing one may have been wrong or right."""
    right, lost = ok & (rows["answer"] == rows["truth"]), int((~ok).sum())
    values: dict[str, float] = {}
    if ok.any():
        share = float(right.sum() / ok.sum())
        values = {"n": float(ok.sum()), "accuracy": share, "accuracy_normalised": 1 - (1 - share) / (1 - floor)}
        for kind in set(rows["kind"][ok]):
            own = ok & (rows["kind"] == kind)
            values[f"accuracy@{kind}"] = float(right[own].sum() / own.sum())
    if not lost:
        return values, {}
    every = [(right.sum() + more) / len(ok) for more in range(lost + 1)]
    ends = (float(min(every)), float(max(every)))
    low, high = (1 - (1 - e) / (1 - floor) for e in ends)
    return values, {"accuracy": ends, "accuracy_normalised": (low, high)}


# --- the rest of run.json


def check_totals(run: Finished, report: Report) -> None:
    """Counts of outcomes and the share of calls without an answer."""
    totals, asked = (
        run.record["totals"],
        {c["explainer"]["label"] for c in run.record["cells"] if c["explainer"]["model"]},
    )
    for name in ("explanations", "judgements"):
        counts = Counter(getattr(run, name)["outcome"])
        for outcome, their in totals[name].items():
            report.same("outcomes", (name, outcome), counts[outcome], their)
    silent = set(
        run.explanations[run.explanations["text"].isna()][["explainer", "repeat", "latent"]].itertuples(
            index=False, name=None
        )
    )
    about = run.judgements[["explainer", "repeat", "latent"]].itertuples(index=False, name=None)
    skipped = run.explanations[(run.explanations["outcome"] == "skipped") & ~run.explanations["explainer"].isin(asked)]
    uncalled = sum(one in silent for one in about) + len(skipped)
    outcomes = [*run.explanations["outcome"], *run.judgements["outcome"]]
    rate = 1 - outcomes.count("ok") / (len(outcomes) - uncalled)
    report.same("rows that were no call", "run.json", uncalled, totals["uncalled"])
    report.same("failure rate", "run.json", rate, run.record["failure_rate"])


# --- leaderboard


def check_leaderboard(run: Finished, report: Report, path: Path, paired: bool = False) -> None:
    """`leaderboard.json` of this run alone: rows, intervals, bounds, prices, order and ranks of tables over all its latents."""
    every = json.loads(path.read_text(encoding="utf-8"))["tables"]
    tables = [table for table in every if table["rows"][0]["n_latents"] == len(run.latents)]
    labels = [_row_labels(row) for table in tables for row in table["rows"]]
    report.same("rows of the leaderboard", path.name, sorted(run.entries), sorted(labels))
    for table in tables:
        if _family(run.entries[_row_labels(table["rows"][0])][0]) not in KNOWN:
            report.checked["tables of scorers that are not recomputed"] += 1
            continue
        headlines = [_check_row(run, report, row) for row in table["rows"]]
        higher = table["rows"][0]["score"]["higher_is_better"]
        names = [_row_labels(row) for row in table["rows"]]
        order = [-h.mean if higher else h.mean for h in headlines]
        report.same("order of rows", table["title"], sorted(order), order)
        if paired:
            metric = table["rows"][0]["headline"]
            each = [run.means(name, metric) for name in names]
            some = sorted(set().union(*each))
            ranks = paired_places(np.array([[own.get(latent, np.nan) for latent in some] for own in each]), higher)
        else:
            ranks = places(headlines, higher)
        for name, row, ours in zip(names, table["rows"], ranks, strict=True):
            if row["rank"] is None:
                report.checked["rows without a rank, for want of evidence"] += 1
                continue
            report.same("rank", name, ours, (*row["rank"], row["tie"]))


def _row_labels(row: dict[str, Any]) -> Labels:
    return row["explainer"]["label"], row["scorer"]["label"], row["judge"]["label"]


def _check_row(run: Finished, report: Report, row: dict[str, Any]) -> Bounded:
    labels = _row_labels(row)
    cells, latents = run.entries[labels], sorted(run.latents)
    headline = cells[0]["scorer"]["headline"]
    declared = {m["name"]: m for m in cells[0]["scorer"]["metrics"]}

    def mean_of(metric: str, written: dict[str, Any]) -> Bounded:
        own = run.means(labels, metric)
        found = bounded([own[x] for x in latents if x in own], declared[metric]["low"], declared[metric]["high"])
        where = (*labels, metric)
        report.same("mean over latents", where, found.mean, written["estimate"], WRITTEN)
        report.same("low of an interval", where, found.low, written["low"], WRITTEN)
        report.same("high of an interval", where, found.high, written["high"], WRITTEN)
        report.same("latents with a value", where, found.n, written["n"])
        report.same("floor of a metric", where, declared[metric]["floor"], written["floor"], WRITTEN)
        return found

    wanted = {name for name in declared if name != headline and run.means(labels, name)}
    report.same("metrics of a row", labels, sorted(wanted), sorted(row["metrics"]))
    for metric in row["metrics"]:
        mean_of(metric, row["metrics"][metric])
    means = run.means(labels, headline)
    report.same("latents of a row", labels, sorted(means), sorted(row["values"]))
    for latent, value in row["values"].items():
        report.same("value of a latent", (*labels, latent), means.get(latent), value, WRITTEN)
    judged, attempted = run.counts[labels]
    report.same("judged and attempted", labels, (judged, attempted), (row["n_judged"], row["n_attempted"]))
    report.same("coverage", labels, judged / attempted, row["coverage"], WRITTEN)
    report.same("latents and repeats", labels, (len(latents), len(cells)), (row["n_latents"], row["repeats"]))
    for ours, their in zip(_worst_best(run, cells, headline), (row["worst"], row["best"]), strict=True):
        report.same("worst or best mean", labels, ours, their, WRITTEN)
    units = len(latents) * len(cells)
    written = run.explanations[run.explanations["explainer"] == labels[0]]
    spent = run.judgements[run.judgements["cell"].isin([cell["cell"] for cell in cells])]
    for what, table in (("explaining", written), ("judging", spent)):
        for part, column in (("tokens_in",) * 2, ("tokens_out",) * 2, ("dollars", "cost"), ("seconds",) * 2):
            price = math.fsum(table[column]) / units
            report.same(f"{part} of {what} a latent", labels, price, row[what][part], WRITTEN)
    return mean_of(headline, row["score"])


def _worst_best(run: Finished, cells: Sequence[dict[str, Any]], headline: str) -> tuple[float | None, float | None]:
    """The mean over latents, had all that is missing come out for the worst or the best; none where nothing is missing or where
    one latent has no bounds."""
    places = [[(cell["cell"], latent) for cell in cells] for latent in run.latents]
    lost = [place for own in places for place in own if place in run.ends]
    if not lost or any(run.ends[place] is None for place in lost):
        return None, None
    values = {
        (row["cell"], row["latent"]): row["value"]
        for row in run.scores[run.scores["metric"] == headline][["cell", "latent", "value"]].to_dict("records")
    }
    whole = {place: (values[place], values[place]) for own in places for place in own}
    told = whole | {place: run.ends[place] for place in lost}
    each = np.array([np.mean([told[place] for place in own], axis=0) for own in places])
    return float(each[:, 0].mean()), float(each[:, 1].mean())


# --- comparison


def check_comparison(a: Finished, b: Finished, report: Report, path: Path) -> None:
    """`compare.csv` of two runs of one spec: means, difference, interval and p, paired by latent, and Holm's p over the table."""
    rows = pd.read_csv(path, na_values=["too few"]).to_dict("records")
    n = max(DRAWS, math.ceil(4 * len(a.entries) / 0.05))
    report.same("rows of the comparison", path.name, len(a.entries), len(rows))
    found = []
    for row in rows:
        labels = (row["explainer_a"], row["scorer_a"], row["judge_a"])
        metric = next(m for m in a.entries[labels][0]["scorer"]["metrics"] if m["name"] == row["metric"])
        left, right = (run.means(labels, metric["name"]) for run in (a, b))
        both = [latent for latent in a.latents if latent in left and latent in right]
        gaps = np.array([right[latent] - left[latent] for latent in both])
        gaps[np.abs(gaps) < 1e-12] = 0.0
        span = None if _none(metric["low"]) or _none(metric["high"]) else metric["high"] - metric["low"]
        ours = bounded(gaps, None if span is None else -span, span, n=n, differences=True)
        found.append(ours)
        for what, value, their in (
            ("mean_a", float(np.mean([left[x] for x in both])), row["mean_a"]),
            ("mean_b", float(np.mean([right[x] for x in both])), row["mean_b"]),
            ("difference", ours.mean, row["difference"]),
            ("low of a difference", ours.low, row["low"]),
            ("high of a difference", ours.high, row["high"]),
            ("p", ours.p, row["p"]),
            ("pairs", ours.n, row["n"]),
        ):
            report.same(what, labels, value, their, WRITTEN)
    for row, p, ours in zip(rows, holm([f.p for f in found]), found, strict=True):
        report.same("Holm's p", (row["explainer_a"], row["scorer_a"], row["judge_a"]), p, row["p_holm"], WRITTEN)
        sign = "~" if not p < 0.05 or not ours.mean else "+" if ours.mean > 0 else "-"
        report.same("verdict", (row["explainer_a"], row["scorer_a"], row["judge_a"]), sign, row["mark"])


# --- the suite


def check_windows(run: Finished, report: Report, suite: Path) -> None:
    """Kind and truth of what was judged, and true activations in tenths of the largest in an explain window, from the suite."""
    windows = pd.read_parquet(suite / "windows.parquet")
    activations = [np.asarray(a, np.float64) for a in windows["activations"]]
    active = [int(a.max() > 0) for a in activations]
    latents, kinds, roles = (windows[name].tolist() for name in ("latent", "kind", "role"))
    scale: dict[str, float] = {}
    for latent, role, own in zip(latents, roles, activations, strict=True):
        if role == "explain":
            scale[latent] = max(scale.get(latent, 0.0), float(own.max()))
    shows = {label: _family(cell) in (*YES_NO, *RANKED, *TOKENS) for (_, label, _), (cell, *_) in run.entries.items()}
    for row in run.judgements[["scorer", "latent", "item", "kind", "truth", "token_truth"]].itertuples(index=False):
        if not shows[row.scorer]:
            continue
        i = int(row.item)
        ours = (latents[i], kinds[i], active[i], roles[i])
        report.same("window of a judgement", i, ours, (row.latent, row.kind, row.truth, "test"))
        if row.token_truth is not None:
            tenths = 10 * activations[i] / scale[row.latent]
            gap = float(np.abs(tenths - np.asarray(row.token_truth, np.float64)).max())
            report.same("true activations", i, 0.0, gap)


if __name__ == "__main__":
    finished, said = recompute(Path(sys.argv[1]))
    if (finished.folder / "leaderboard.json").exists():
        check_leaderboard(finished, said, finished.folder / "leaderboard.json")
    for name, times in sorted(said.checked.items()):
        print(f"{times:7,} {name}")
    print("\n".join(said.wrong) or "all agree")
    sys.exit(bool(said.wrong))
