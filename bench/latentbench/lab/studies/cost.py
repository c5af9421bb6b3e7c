"""What a method costs: tokens, seconds and dollars per latent.

Counted from the calls of a small run of each method, a cached reply at what it cost when it was made. Methods are asked about
different numbers of windows in practice, so beside the run's own numbers stand those at the paper's 200 windows per latent:
explaining as it is, judging in proportion to the windows. A judge that runs on this machine has no price; its tokens are
priced as the profile says, so that methods can be compared, and the note names the price.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from latentbench.kernel.config import Frozen, validate
from latentbench.kernel.errors import UnknownName
from latentbench.lab.studies.session import Session
from latentbench.lab.studies.study_result import StudyResult, StudyTable
from latentbench.lab.studies.study_spec import ProfileScorer
from latentbench.views.escape import drawn
from latentbench.views.figure import REAL, panels, styled

if TYPE_CHECKING:
    from latentbench.runs.finished import Run

COLUMNS = (
    *("method", "judge", "latents", "windows", "tokens_in", "tokens_cached", "tokens_out", "seconds", "coverage"),
    *("tokens_in_at_200", "tokens_out_at_200", "dollars_at_200", "paper_in", "paper_out"),
)
SPENT = ("tokens_in", "tokens_cached", "tokens_out", "seconds")
PAPER_WINDOWS = 200


class Method(Frozen):
    """A way of scoring whose cost is measured."""

    label: str
    use: str
    preset: str | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    judge: str
    paper: tuple[float, float] | None = None
    """The paper's tokens in and out per latent."""


class CostOptions(Frozen):
    """Options of the kind `cost`."""

    methods: list[Method] = Field(min_length=1)


def run(session: Session) -> StudyResult:
    """Carry out a study of the kind `cost`."""
    study, profile = session.study, session.profile
    options = validate(CostOptions, study.options, f"options of study {session.name}")
    scorers = {}
    for m in options.methods:
        if m.judge not in profile.judges:
            raise UnknownName(f"judge of study {session.name}", m.judge, profile.judges)
        scorers[m.label] = ProfileScorer(use=m.use, preset=m.preset, params=m.params, judge=m.judge, metric="n")
    explainers = {name: profile.explainers[name] for name in session.explainers}
    runs = session.run(session.suite(), explainers, scorers, study.coders, session.latents, control=False)
    rows = [
        judging(run, m, session.explainers[0], profile.price)
        for run in runs
        for m in options.methods
        if (run.judgements["scorer"] == m.label).any()
    ]
    rows += [explaining(runs[0], name, profile.price) for name in session.explainers]
    result = StudyResult(
        tables=[
            StudyTable(
                "table",
                study.title,
                COLUMNS,
                rows,
                "Per latent. `at 200`: with 200 judged windows, as in the paper. `tokens_in` counts shared prefixes in full, "
                f"`tokens_cached` says how much of it was not computed again. Dollars: at {profile.price_note or 'no price'}.",
            )
        ],
        figures={"figure": _figure(rows)},
    )
    result.findings = findings(rows)
    return result


def judging(run: Run, method: Method, explainer: str, price: dict[str, float]) -> dict[str, Any]:
    """Cost per latent of judging one explainer's explanations by one method."""
    own = run.judgements
    own = own[(own["scorer"] == method.label) & (own["explainer"] == explainer)]
    latents = own["latent"].nunique()
    windows = len(own) / latents
    scale = PAPER_WINDOWS / windows
    per = own[list(SPENT)].sum() / latents
    sums = {"in": per["tokens_in"] * scale, "out": per["tokens_out"] * scale}
    return {
        "method": method.label, "judge": method.judge, "latents": latents, "windows": windows,
        **{name: float(per[name]) for name in SPENT},
        "coverage": float((own["outcome"] == "ok").mean()),
        "tokens_in_at_200": sums["in"], "tokens_out_at_200": sums["out"],
        "dollars_at_200": _dollars(sums["in"], sums["out"], price),
        "paper_in": method.paper[0] if method.paper else None, "paper_out": method.paper[1] if method.paper else None,
    }  # fmt: skip


def explaining(run: Run, explainer: str, price: dict[str, float]) -> dict[str, Any]:
    """Cost per latent of writing explanations."""
    own = run.explanations[run.explanations["explainer"] == explainer]
    latents = own["latent"].nunique()
    per = own[list(SPENT)].sum() / latents
    return {
        "method": f"explain: {explainer}", "latents": latents, **{name: float(per[name]) for name in SPENT},
        "coverage": float((own["outcome"] == "ok").mean()),
        "tokens_in_at_200": per["tokens_in"], "tokens_out_at_200": per["tokens_out"],
        "dollars_at_200": _dollars(per["tokens_in"], per["tokens_out"], price),
    }  # fmt: skip


def findings(rows: list[dict[str, Any]]) -> list[str]:
    """The order of the methods by input tokens, and whether it is the paper's where it has numbers."""
    judged = [r for r in rows if not str(r["method"]).startswith("explain")]
    ordered = sorted(judged, key=lambda r: r["tokens_in_at_200"])
    said = [
        "Input tokens per latent at 200 windows: "
        + ", ".join(f"{r['method']} {r['tokens_in_at_200']:,.0f}" for r in ordered)
        + "."
    ]
    both = [r for r in ordered if r.get("paper_in") is not None]
    if len(both) >= 2:
        theirs = [r["method"] for r in sorted(both, key=lambda r: r["paper_in"])]
        mine = [r["method"] for r in both]
        verdict = "the paper's" if mine == theirs else f"not the paper's, which is {', '.join(theirs)}"
        said.append(f"From the cheapest: {', '.join(mine)}; this order is {verdict}.")
    return said


def _dollars(tokens_in: float, tokens_out: float, price: dict[str, float]) -> float | None:
    if not price:
        return None
    return float((tokens_in * price["input"] + tokens_out * price["output"]) / 1e6)


def _figure(rows: list[dict[str, Any]]) -> Any:
    shown = [r for r in rows if r["tokens_in_at_200"] > 0]
    with styled():
        figure, (axis,) = panels(1, width=6.4, height=0.36 * len(shown) + 1.2)
        places = list(range(len(shown)))[::-1]
        axis.barh(places, [r["tokens_in_at_200"] for r in shown], color=REAL, height=0.55, label="here, at 200 windows")
        paper = [(p, r["paper_in"]) for p, r in zip(places, shown, strict=True) if r.get("paper_in")]
        if paper:
            axis.scatter([v for _, v in paper], [p for p, _ in paper], marker="D", facecolors="none", edgecolors="#8a4b00",
                         label="paper", zorder=3)  # fmt: skip
        axis.set_yticks(places, [drawn(str(r["method"])) for r in shown])
        axis.set_xscale("log")
        axis.set_xlabel("input tokens per latent")
        axis.legend(fontsize=7)
    return figure
