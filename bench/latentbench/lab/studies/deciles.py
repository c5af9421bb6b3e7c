"""Scores by activation decile: how well weak and strong activations are told from silence.

An overall score hides what a sampling strategy trades: explanations from the strongest windows alone may be exact about those
and wrong about the rest. Per latent and decile, the AUROC of that decile's positives against all silent windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from latentbench.kernel.kinds import RANDOM
from latentbench.kernel.latent import coder_of
from latentbench.lab.studies.session import Session
from latentbench.lab.studies.study_result import StudyTable
from latentbench.stats.bootstrap import bootstrap_mean
from latentbench.stats.ranking import auroc
from latentbench.views.escape import drawn
from latentbench.views.figure import SERIES, legend_above, panels, points, styled

if TYPE_CHECKING:
    import pandas as pd

    from latentbench.lab.studies.cells import CellGroup
    from latentbench.runs.finished import Run

COLUMNS = ("explainer", "scorer", "level", "decile", "n", "auroc", "auroc_low", "auroc_high")


def by_decile(judgements: pd.DataFrame) -> pd.DataFrame:
    """AUROC per latent and decile of positives against random silent windows; columns latent, decile, value.

    Args:
        judgements: of one cell; a window is ranked by its score, else its answer. Repeats are pooled by latent
            and averaged.
    """
    import pandas as pd

    rows: list[tuple[str, int, float]] = []
    ok = judgements[judgements["outcome"] == "ok"]
    ok = ok.assign(score=ok["score"].where(ok["score"].notna(), ok["answer"])).dropna(subset=["score"])
    for (latent, _), mine in ok.groupby(["latent", "repeat"], sort=False):
        silent = mine[mine["kind"] == RANDOM]["score"].to_numpy(np.float64)
        for kind, active in mine[mine["kind"].str.startswith("quantile:")].groupby("kind"):
            if len(silent):
                both = [*active["score"], *silent]
                rows.append((str(latent), int(str(kind)[9:]), auroc([1] * len(active) + [0] * len(silent), both)))
    found = pd.DataFrame(rows, columns=["latent", "decile", "value"])
    return found.groupby(["latent", "decile"])["value"].mean().reset_index()


def decile_table(session: Session, runs: Sequence[tuple[CellGroup, list[Run]]]) -> tuple[StudyTable, Any]:
    """The table and figure of a study by decile, real explanations only."""
    rows: list[dict[str, Any]] = []
    for group, done in runs:
        for run in done:
            for member in group.members:
                for scorer in dict.fromkeys(run.judgements["scorer"]):
                    own = run.judgements
                    own = own[(own["explainer"] == member.label) & (own["scorer"] == scorer)]
                    if member.coders is not None:
                        own = own[own["latent"].map(coder_of).isin(member.coders)]
                    for decile, part in by_decile(own).groupby("decile"):
                        mean = bootstrap_mean(part["value"].to_numpy(), seed=session.profile.seed, low=0.0, high=1.0)
                        rows.append({
                            "explainer": member.explainer, "scorer": scorer, "level": member.level,
                            "decile": int(str(decile)), "n": mean.n, "auroc": mean.estimate, "auroc_low": mean.low,
                            "auroc_high": mean.high,
                        })  # fmt: skip
    figure = _figure(rows, [level.label for level in session.levels])
    order = {level.label: i for i, level in enumerate(session.levels)}
    rows.sort(key=lambda r: (session.explainers.index(r["explainer"]), r["scorer"], order[r["level"]], r["decile"]))
    note = "AUROC of the positives of one decile against random silent windows, mean over latents."
    return StudyTable("deciles", "By activation decile", COLUMNS, rows, note), figure


def _figure(rows: Sequence[dict[str, Any]], levels: Sequence[str]) -> Any:
    scorers = list(dict.fromkeys((r["explainer"], r["scorer"]) for r in rows))
    with styled():
        figure, axes = panels(max(1, len(scorers)))
        for axis, (explainer, scorer) in zip(axes, scorers, strict=False):
            for k, level in enumerate(levels):
                mine = [r for r in rows if (r["explainer"], r["scorer"], r["level"]) == (explainer, scorer, level)]
                x = [r["decile"] + (k - (len(levels) - 1) / 2) * 0.15 for r in mine]
                triple = ([r[f"auroc{end}"] for r in mine] for end in ("", "_low", "_high"))
                points(axis, x, *triple, colour=SERIES[k % len(SERIES)], label=drawn(level), line=True)
            axis.set_title(drawn(f"{scorer}, {explainer}"))
            axis.set_xlabel("activation decile (0 weakest)")
            axis.set_ylabel("AUROC")
        if scorers:
            legend_above(figure, axes)
    return figure
