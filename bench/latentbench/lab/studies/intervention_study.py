"""Intervention scores by layer and strength: SAE latents against random directions, explanations against shuffled ones.

A positive score alone says little: steering along any direction makes text odder, and lists of odd tokens likelier. So what is
compared with 0 is real minus shuffled, and coders are compared on both. The scatter against fuzzing joins the two scores of the
same latent of the same coder under the same explanation.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, field_validator

from latentbench.kernel.config import Frozen, validate
from latentbench.kernel.errors import SpecError
from latentbench.lab.studies.contrast import ALPHA, LevelContrast, agrees, difference, supported
from latentbench.lab.studies.control import VERDICTS, controls
from latentbench.lab.studies.reach import Reach, reaches
from latentbench.lab.studies.session import CONTROL, Session
from latentbench.lab.studies.study_result import StudyResult, StudyTable
from latentbench.lab.studies.study_spec import FactorLevel, ProfileScorer
from latentbench.scorers.intervention import KLS
from latentbench.stats.bootstrap import bootstrap_mean, holm
from latentbench.stats.correlation import correlation
from latentbench.views.escape import drawn
from latentbench.views.figure import SERIES, legend_above, panels, points, styled
from latentbench.views.number import estimate, interval, number, p_is, signed
from latentbench.views.terminal import tell

if TYPE_CHECKING:
    import pandas as pd

    from latentbench.suites.store import Suite

COLUMNS = (
    *("layer", "coder", "kind", "explainer", "kl", "n", "nats", "nats_low", "nats_high", "sem"),
    *("shuffled", "real_minus_shuffled", "real_minus_shuffled_low", "real_minus_shuffled_high", "p", "p_holm", "reads"),
    *("detectable", "paper"),
)
AGAINST = (
    *("layer", "explainer", "kl", "quantity", "difference", "difference_low", "difference_high", "p", "p_holm", "n"),
    *("detectable", "needed", "paper", "sign"),
)
DEPTH = (
    *(
        "kind",
        "layer",
        "reference",
        "explainer",
        "kl",
        "n",
        "difference",
        "difference_low",
        "difference_high",
        "p",
        "p_holm",
    ),
    *("detectable", "needed", "paper", "sign"),
)
SCATTER = (*("layer", "explainer", "kl", "kind", "n", "slope", "r", "r_low", "r_high", "p", "paper_r", "sign"),)


POWERED = (
    "Welch's test over latents. `detectable`: the true difference that is found in 4 of 5 studies of this size, at 5 % over the "
    "number of comparisons. `needed`: latents a side with which the paper's difference (column `paper`; else 0.02 nats) is."
)


class LayerEntry(Frozen):
    """Coders of one layer."""

    layer: str
    suite: str
    """Suite of the profile. Where it has no intervention table yet, one is built for the coders of all places that name it."""
    coder: str
    kind: str = "SAE"
    """What the latents of `coder` are. Places of one kind are compared with each other by depth; fuzzing is asked for SAEs."""
    random: str | None = None
    paper: dict[str, float] = Field(default_factory=dict)
    """KL -> the paper's mean for SAE latents of the layer nearest in depth."""

    @property
    def trained(self) -> bool:
        """Whether its latents are of the kind that the paper's numbers are of."""
        return self.kind == "SAE"


class InterventionOptions(Frozen):
    """Options of the kind `intervention`."""

    places: list[LayerEntry] = Field(min_length=1)
    kls: list[float] = Field(default=[1.0, 3.0], min_length=1)
    """Strengths, of those that the scorer has a metric for."""
    prompts: int = Field(default=5, ge=1)
    """Scoring prompts per latent and strength."""
    judge: str
    """Judge of the profile that gives log-probabilities."""
    fuzzing: str
    """Scorer of the profile for the scatter."""
    split: str = "test"
    paper_r: float | None = None
    paper_random: float | None = None
    """The paper's largest mean of random directions, in nats; what SAE latents have above it is the paper's difference."""

    @field_validator("kls")
    @classmethod
    def _known(cls, kls: list[float]) -> list[float]:
        unknown = [kl for kl in kls if kl not in KLS]
        if unknown:
            raise ValueError(f"no metric for KL {unknown[0]:g}; the strengths are {', '.join(f'{kl:g}' for kl in KLS)}")
        return kls


def run(session: Session) -> StudyResult:
    """Carry out a study of the kind `intervention`."""
    options = validate(InterventionOptions, session.study.options, f"options of study {session.name}")
    rows: list[dict[str, Any]] = []
    against: list[dict[str, Any]] = []
    gaps: list[LevelContrast | None] = []
    tests: list[LevelContrast] = []
    scatter: list[dict[str, Any]] = []
    clouds: list[tuple[str, Any, Any]] = []
    cells: list[tuple[LayerEntry, str, float, pd.DataFrame]] = []
    for place in options.places:
        scores = place_scores(session, options, place)
        for explainer, kl in itertools.product(session.explainers, options.kls):
            cell = scores[(scores["quantity"] == f"nats@kl:{kl:g}")]
            cells.append((place, explainer, kl, cell))
            for kind, coder in _coders(place):
                line, gap = coder_row(cell, place, kind, coder, explainer, kl, session.profile.seed)
                rows.append(line)
                gaps.append(gap)
            lines, contrasts = against_rows(cell, place, explainer, kl, session.profile.seed, options.paper_random)
            against += lines
            tests += contrasts
            fuzz = scores[scores["quantity"] == options.fuzzing]
            for kind, coder in _coders(place) if place.trained else []:
                line, cloud = scatter_row(cell, fuzz, place, kind, coder, explainer, kl, options.paper_r)
                scatter.append(line)
                if kind == "SAE":
                    clouds.append((f"{place.layer}, {explainer}, KL {kl:g}", *cloud))
    for line, control in zip(rows, controls(dict(enumerate(gaps))).values(), strict=True):
        line |= {"p_holm": control.p_holm, "reads": control.reads, "detectable": control.detectable}
    could = reaches(tests, [line["paper"] for line in against])
    for line, p, own in zip(against, holm([c.p for c in tests]), could, strict=True):
        line |= {"p_holm": float(p), **own.columns}
    depth, deeper = depth_rows(cells, session.profile.seed)
    note = (
        "Nats, mean over latents with 95 % interval; `shuffled`: the explanation of another latent of the same coder."
    )
    result = StudyResult(
        tables=[
            StudyTable("table", session.study.title, COLUMNS, rows, note),
            StudyTable("against-random", "SAE latents minus random directions", AGAINST, against, POWERED),
            StudyTable(
                "scatter", "Against fuzzing, latent by latent", SCATTER, scatter, "Pearson's r, least-squares slope."
            ),
        ],
        figures={"figure": _figure(rows), "scatter": _clouds(clouds, options.fuzzing)},
    )
    if depth:
        result.tables.append(StudyTable("depth", "By depth, real minus shuffled", DEPTH, depth, POWERED))
    result.findings = findings(rows, against, scatter, could) + depth_findings(depth, deeper)
    return result


def place_scores(session: Session, options: InterventionOptions, place: LayerEntry) -> pd.DataFrame:
    """Scores of a layer: columns latent, coder, explainer, quantity (`nats@kl:X` or the fuzzing scorer), value."""
    import pandas as pd

    profile = session.profile
    coders = [coder for _, coder in _coders(place)]
    suite = steered(session, options, place)
    explainers = {name: profile.explainers[name] for name in session.explainers}
    first, *rest = options.kls
    params = {"kl": first, "also": rest, "prompts": options.prompts}
    scorers = {"intervention": ProfileScorer(use="intervention", params=params, judge=options.judge, metric="nats")}
    if place.trained:
        scorers[options.fuzzing] = profile.scorers[options.fuzzing]
    parts = []
    for run in session.run(suite, explainers, scorers, coders, session.latents, options.split):
        for kl in options.kls:
            metric = f"nats@kl:{kl:g}"
            parts.append(run.per_latent({"intervention": metric}).assign(quantity=metric))
        if place.trained:
            metrics = {options.fuzzing: profile.scorers[options.fuzzing].metric}
            parts.append(run.per_latent(metrics).assign(quantity=options.fuzzing))
    return pd.concat([p for p in parts if len(p)], ignore_index=True)


def steered(session: Session, options: InterventionOptions, place: LayerEntry) -> Suite:
    """The suite of a layer with its intervention table, which is built if there is none.

    Raises:
        SpecError: the table that is there is of other coders or strengths. A suite has one, so it is not built over.
    """
    from latentbench.suites.steer.intervene import SteerSettings, intervene

    coders = [coder for _, coder in _coders(place)]
    suite = session.suite(FactorLevel(label=place.layer, suite=place.suite))
    if suite.interventions is None:
        settings = SteerSettings(kls=tuple(options.kls), prompts=options.prompts, explain=0)
        every = [coder for other in options.places if other.suite == place.suite for _, coder in _coders(other)]
        tell(session.console, f"steering along latents of {', '.join(every)}")
        intervene(suite, settings, every, session.latents * len(every), options.split, say=lambda _: None)
        session.forget(suite)
        suite = session.suite(FactorLevel(label=place.layer, suite=place.suite))
    table = suite.interventions
    views = [v.id for v in suite.latents(options.split, coders)]
    held = {s.target for view in views if table for s in table.of(view) if s.mode == "add" and s.target is not None}
    missing = [kl for kl in options.kls if all(abs(target - kl) > 1e-9 for target in held)]
    if missing:
        raise SpecError(
            f"{suite.path}: its intervention table has no texts of {', '.join(coders)} at KL {missing[0]:g}. Build one for all "
            f"coders and strengths of the study: bench suite intervene {suite.path}"
        )
    return suite


def coder_row(
    cell: pd.DataFrame, place: LayerEntry, kind: str, coder: str, explainer: str, kl: float, seed: int
) -> tuple[dict[str, Any], LevelContrast]:
    """One coder, explainer and strength, and its real minus shuffled."""
    real, other = _values(cell, coder, explainer), _values(cell, coder, f"{CONTROL}{explainer}")
    mean, shuffled = bootstrap_mean(real.to_numpy(), seed=seed), bootstrap_mean(other.to_numpy(), seed=seed)
    gap = difference(real, other, seed)
    row = {
        "layer": place.layer, "coder": coder, "kind": kind, "explainer": explainer, "kl": kl, "n": mean.n,
        "nats": mean.estimate, "nats_low": mean.low, "nats_high": mean.high,
        "sem": float(np.std(real, ddof=1) / np.sqrt(len(real))) if len(real) > 1 else None,
        "shuffled": shuffled.estimate, "real_minus_shuffled": gap.estimate, "real_minus_shuffled_low": gap.low,
        "real_minus_shuffled_high": gap.high, "p": gap.p,
        "paper": place.paper.get(f"{kl:g}") if kind == place.kind and place.trained else None,
    }  # fmt: skip
    return row, gap


def against_rows(
    cell: pd.DataFrame, place: LayerEntry, explainer: str, kl: float, seed: int, paper_random: float | None = None
) -> tuple[list[dict[str, Any]], list[LevelContrast]]:
    """SAE latents minus random directions: of the score, and of real minus shuffled; and the comparisons behind them."""
    if place.random is None:
        return [], []
    theirs = place.paper.get(f"{kl:g}")
    paper = None if theirs is None or paper_random is None else theirs - paper_random
    real = {c: _values(cell, c, explainer) for c in (place.coder, place.random)}
    gaps = {c: real[c] - _values(cell, c, f"{CONTROL}{explainer}") for c in real}
    rows, tests = [], []
    for quantity, values in (("nats", real), ("real minus shuffled", gaps)):
        c = difference(values[place.coder], values[place.random], seed)
        rows.append({
            "layer": place.layer, "explainer": explainer, "kl": kl, "quantity": quantity, "difference": c.estimate,
            "difference_low": c.low, "difference_high": c.high, "p": c.p, "n": c.n, "paper": paper,
            "sign": {1: "same", 0: "unclear", -1: "opposite"}[c.sign],
        })  # fmt: skip
        tests.append(c)
    return rows, tests


def depth_rows(
    cells: Sequence[tuple[LayerEntry, str, float, pd.DataFrame]], seed: int
) -> tuple[list[dict[str, Any]], list[Reach]]:
    """Real minus shuffled of each later place minus that of the first one of its kind, and what each could have found.

    Args:
        cells: (place, explainer, KL, scores of that KL).
    """
    rows: list[dict[str, Any]] = []
    tests: list[LevelContrast] = []
    first: dict[tuple[str, str, float], tuple[LayerEntry, Any]] = {}
    for place, explainer, kl, cell in cells:
        real, other = _values(cell, place.coder, explainer), _values(cell, place.coder, f"{CONTROL}{explainer}")
        gap = real - other
        base, reference = first.setdefault((place.kind, explainer, kl), (place, gap))
        if base is place:
            continue
        c = difference(gap, reference, seed)
        here, there = place.paper.get(f"{kl:g}"), base.paper.get(f"{kl:g}")
        paper = None if here is None or there is None else here - there
        rows.append({
            "kind": place.kind, "layer": place.layer, "reference": base.layer, "explainer": explainer, "kl": kl, "n": c.n,
            "difference": c.estimate, "difference_low": c.low, "difference_high": c.high, "p": c.p, "paper": paper,
            "sign": agrees(c, paper),
        })  # fmt: skip
        tests.append(c)
    could = reaches(tests, [row["paper"] for row in rows])
    for row, p, own in zip(rows, holm([c.p for c in tests]), could, strict=True):
        row |= {"p_holm": float(p), **own.columns}
    return rows, could


def depth_findings(rows: Sequence[Mapping[str, Any]], could: Sequence[Reach]) -> list[str]:
    """Whether later layers are above the first, one sentence for each comparison."""
    said = []
    for r, own in zip(rows, could, strict=True):
        word = own.unshown if not r["p_holm"] < ALPHA else "yes" if r["difference"] > 0 else "no, below"
        numbers = estimate(r["difference"], r["difference_low"], r["difference_high"], 2, signed)
        said.append(
            f"{r['kind']}, {r['layer']} above {r['reference']}, {r['explainer']}, KL {r['kl']:g}, real minus shuffled: {word} "
            f"({numbers}, {p_is(r['p_holm'])} after Holm, at least {r['n']} latents a side)."
        )
    return said


def scatter_row(
    cell: pd.DataFrame,
    fuzz: pd.DataFrame,
    place: LayerEntry,
    kind: str,
    coder: str,
    explainer: str,
    kl: float,
    paper_r: float | None,
) -> tuple[dict[str, Any], tuple[Any, Any]]:
    """Correlation of the two scores of the same latent of the same coder, and the points."""
    from scipy.stats import linregress

    both = (
        _values(cell, coder, explainer).to_frame("nats").join(_values(fuzz, coder, explainer).rename("fuzz")).dropna()
    )
    x, y = both["fuzz"].to_numpy(np.float64), both["nats"].to_numpy(np.float64)
    found = correlation(x, y, "pearson")
    slope = float(linregress(x, y).slope) if len(x) > 2 and np.ptp(x) > 0 else float("nan")
    clear = int(found.low > 0) - int(found.high < 0)
    sign = "" if paper_r is None else "unclear" if clear == 0 else "same" if clear * paper_r > 0 else "opposite"
    row = {
        "layer": place.layer, "explainer": explainer, "kl": kl, "kind": kind, "n": found.n, "slope": slope,
        "r": found.estimate, "r_low": found.low, "r_high": found.high, "p": found.p,
        "paper_r": paper_r if kind == "SAE" else None, "sign": sign if kind == "SAE" else "",
    }  # fmt: skip
    return row, (x, y)


def findings(
    rows: list[dict[str, Any]], against: list[dict[str, Any]], scatter: list[dict[str, Any]], could: Sequence[Reach]
) -> list[str]:
    """Sentences from the three tables."""
    said = []
    for r in rows:
        bounds = interval(r["real_minus_shuffled_low"], r["real_minus_shuffled_high"], 2)
        said.append(
            f"{r['layer']}, {r['coder']}, {r['explainer']}, KL {r['kl']:g}: {r['nats']:+.2f} nats; {VERDICTS[r['reads']]}: "
            f"real minus shuffled {r['real_minus_shuffled']:+.2f} {bounds}, {r['n']} latents, "
            f"{p_is(r['p_holm'])} after Holm{_missed(r)}."
        )
    for r, own in zip(against, could, strict=True):
        word = {"same": "yes", "opposite": "no, below"}.get(supported(r["sign"], r["p_holm"]), own.unshown)
        said.append(
            f"{r['layer']}, {r['explainer']}, KL {r['kl']:g}, {r['quantity']}: SAE latents above random directions: {word} "
            f"({estimate(r['difference'], r['difference_low'], r['difference_high'], 2, signed)}, "
            f"{p_is(r['p_holm'])} after Holm, at least {r['n']} latents a side)."
        )
    said += [
        f"{r['layer']}, {r['explainer']}, KL {r['kl']:g}: r with fuzzing {estimate(r['r'], r['r_low'], r['r_high'], 2)}, "
        f"{p_is(r['p'])}, {r['n']} SAE latents (the paper: {r['paper_r']})."
        for r in scatter
        if r["kind"] == "SAE"
    ]
    return said


def _missed(row: Mapping[str, Any]) -> str:
    """What a gap that is not shown would have had to be."""
    missed = row["reads"] == "not shown" and row["detectable"] is not None
    return f"; a gap of {number(row['detectable'], 2)} is found in 4 of 5 studies" if missed else ""


def _coders(place: LayerEntry) -> list[tuple[str, str]]:
    return [(place.kind, place.coder)] + ([("random", place.random)] if place.random else [])


def _values(cell: pd.DataFrame, coder: str, explainer: str) -> pd.Series[float]:
    own = cell[(cell["coder"] == coder) & (cell["explainer"] == explainer)]
    return own.set_index("latent")["value"].astype(np.float64).dropna()


def _figure(rows: list[dict[str, Any]]) -> Any:
    keys = list(dict.fromkeys((r["layer"], r["explainer"]) for r in rows))
    with styled():
        figure, axes = panels(len(keys))
        for axis, (layer, explainer) in zip(axes, keys, strict=True):
            mine = [r for r in rows if (r["layer"], r["explainer"]) == (layer, explainer)]
            kls = list(dict.fromkeys(r["kl"] for r in mine))
            for k, kind in enumerate(dict.fromkeys(r["kind"] for r in mine)):
                own: list[Mapping[str, Any]] = [r for r in mine if r["kind"] == kind]
                x = [kls.index(r["kl"]) + 0.18 * k for r in own]
                triple = ([r[f"nats{end}"] for r in own] for end in ("", "_low", "_high"))
                points(axis, x, *triple, colour=SERIES[k], label=kind)
                axis.scatter(x, [r["shuffled"] for r in own], marker="x", color=SERIES[k], label=f"{kind}, shuffled")
            paper = [(kls.index(r["kl"]), r["paper"]) for r in mine if r["paper"] is not None]
            if paper:
                axis.scatter(
                    *zip(*paper, strict=True), marker="D", facecolors="none", edgecolors="#8a4b00", label="paper"
                )
            axis.axhline(0, color="#8a4b00", linestyle=":", linewidth=0.9)
            axis.set_xticks(range(len(kls)), [f"{kl:g}" for kl in kls])
            axis.set_xlim(-0.5, len(kls) - 0.2)
            axis.set_xlabel("KL (nats)")
            axis.set_ylabel("nats")
            axis.set_title(drawn(f"{layer}, {explainer}"))
        legend_above(figure, axes)
    return figure


def _clouds(clouds: list[tuple[str, Any, Any]], fuzzing: str) -> Any:
    with styled():
        figure, axes = panels(len(clouds))
        for axis, (title, x, y) in zip(axes, clouds, strict=True):
            axis.scatter(x, y, s=12, color=SERIES[0], alpha=0.7)
            axis.set_title(drawn(title))
            axis.set_xlabel(drawn(fuzzing))
            axis.set_ylabel("intervention, nats")
    return figure
