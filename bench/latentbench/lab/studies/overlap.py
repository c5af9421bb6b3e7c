"""Overlap of coders: are latents of one coder latents of another, and what do wider coders on fewer layers save?

Three similarities of two latents: cosine of their decoder rows, correlation of their activations over the corpus, and inner
product of the embeddings of their explanations (centred: what all explanations share says nothing). For each, the best
one-to-one matching, against random assignments and against the same sets with their relation broken (`stats.alignment`).
The suite holds every latent that fires often enough, because partners of a sample are mostly not in the other sample.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from latentbench.kernel.config import Frozen, validate
from latentbench.lab.studies.contrast import ALPHA, supported, two_samples
from latentbench.lab.studies.reach import Reach, reaches
from latentbench.lab.studies.session import Session
from latentbench.lab.studies.study_result import StudyResult, StudyTable
from latentbench.lab.studies.study_spec import ProfileScorer
from latentbench.stats import alignment
from latentbench.stats.bootstrap import bootstrap_mean, holm, paired_difference
from latentbench.views.escape import drawn
from latentbench.views.figure import heatmap, panels, styled
from latentbench.views.number import estimate, p_is, signed
from latentbench.views.terminal import tell

if TYPE_CHECKING:
    from latentbench.kernel.latent import LatentView
    from latentbench.suites.store import Suite

MEASURES = ("decoder", "activation", "explanation")
COLUMNS = (
    *("measure", "a", "b", "kind", "latents_a", "latents_b", "matched", "matched_low", "matched_high"),
    *("random", "broken", "above_broken", "above_broken_low", "above_broken_high", "p", "p_holm", "found", "saved"),
)
CLAIMS = (
    *("measure", "claim", "n", "difference", "difference_low", "difference_high", "p", "p_holm", "detectable"),
    *("paper", "sign"),
)

CLAIMED = (
    "Welch's test over latents of a. `detectable`: the true difference that is found in 4 of 5 studies of this size, at 5 % over "
    "the number of claims. The paper has no number for it, so none is said to be needed."
)

CHANCE = 0.1
"""Share of latents found in random directions (nominally 0.05) above which a measure cannot tell what is redundant."""


class Pair(Frozen):
    """Two coders that are compared."""

    a: str
    b: str
    kind: str = ""
    """`residual` and `mlp` name the adjacent layers whose overlap is compared."""


class OverlapOptions(Frozen):
    """Options of the kind `overlap`."""

    pairs: list[Pair] = Field(min_length=1)
    judge: str = "embed"
    """Judge of the profile that embeds explanations."""
    carrier: ProfileScorer
    """A scorer that costs nothing; the run is made for its explanations."""
    draws: int = Field(default=3, ge=1)
    """Broken matchings per pair."""


def run(session: Session) -> StudyResult:
    """Carry out a study of the kind `overlap`."""
    options = validate(OverlapOptions, session.study.options, f"options of study {session.name}")
    names = list(dict.fromkeys(c for pair in options.pairs for c in (pair.a, pair.b)))
    suite = session.suite()
    latents = {name: suite.latents("test", [name]) for name in names}
    features = {
        "decoder": {name: _directions(views) for name, views in latents.items()},
        "activation": _activations(session, latents),
        "explanation": _explanations(session, suite, options, latents),
    }
    rows, per_row = [], {}
    for measure, pair in itertools.product(MEASURES, options.pairs):
        found, scores = pair_row(measure, pair, features[measure], options.draws, session.profile.seed)
        rows.append(found)
        per_row[(measure, pair.a, pair.b)] = scores
        tell(session.console, f"{measure} {pair.a} {pair.b}: {found['matched']:.3f}")
    for line, p in zip(rows, holm([r["p"] for r in rows]), strict=True):
        line["p_holm"] = float(p)
    claims, could = claim_rows(options, per_row)
    note = (
        "`matched`: mean similarity of the best one-to-one matching. `random`: of random assignments. `broken`: of the best "
        "matching after the relation of the two coders was broken. `found`: share of latents of a whose partner is nearer than "
        "95 % of broken partners. `saved`: compute saved by one coder for the distinct latents of both, found / 2."
    )
    result = StudyResult(
        tables=[
            StudyTable("table", session.study.title, COLUMNS, rows, note),
            StudyTable("claims", "The paper's claims", CLAIMS, claims, CLAIMED),
        ],
        figures={"figure": _figure(rows, names)},
    )
    result.findings = findings(rows, claims, could)
    result.limits.append("; ".join(f"{name}: {len(views)} latents" for name, views in latents.items()) + ".")
    return result


def similarity(measure: str, features: Mapping[str, Any], a: str, b: str) -> alignment.Similarity:
    """The similarity of two coders under a measure."""
    if measure == "activation":
        return alignment.ActivationCorrelation(features[a], features[b])
    return alignment.DirectionCosine(features[a], features[b], centre=measure == "explanation")


def pair_row(
    measure: str, pair: Pair, features: Mapping[str, Any], draws: int, seed: int
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """A row of the table, and the similarity of every latent of `a` to its partner."""
    sim = similarity(measure, features, pair.a, pair.b)
    best = alignment.match(sim)
    null = alignment.broken_null(sim, seed, draws)
    per_row, chance = best.per_row, null.mean(axis=0)
    mean = bootstrap_mean(per_row, seed=seed)
    gap = paired_difference(per_row, chance, range(len(per_row)), seed=seed)
    found = alignment.redundant(per_row, null)
    row = {
        "measure": measure, "a": pair.a, "b": pair.b, "kind": pair.kind, "latents_a": best.shape[0],
        "latents_b": best.shape[1], "matched": mean.estimate, "matched_low": mean.low, "matched_high": mean.high,
        "random": float(alignment.assignment_null(sim, seed, 50).mean()), "broken": float(chance.mean()),
        "above_broken": gap.interval.estimate, "above_broken_low": gap.interval.low,
        "above_broken_high": gap.interval.high, "p": gap.p, "found": found,
        "saved": alignment.compute_saved(found, 2),
    }  # fmt: skip
    return row, per_row


def claim_rows(
    options: OverlapOptions, per_row: Mapping[tuple[str, str, str], NDArray[np.float64]]
) -> tuple[list[dict[str, Any]], list[Reach]]:
    """Adjacent residual coders above adjacent MLP coders, by measure, and what each comparison could have found."""
    kinds = {pair.kind: (pair.a, pair.b) for pair in options.pairs if pair.kind in ("residual", "mlp")}
    if len(kinds) < 2:
        return [], []
    tests = [two_samples(per_row[(m, *kinds["residual"])], per_row[(m, *kinds["mlp"])]) for m in MEASURES]
    could = reaches(tests, [None] * len(tests))
    rows = []
    for measure, c, p, own in zip(MEASURES, tests, holm([c.p for c in tests]), could, strict=True):
        sign = {1: "same", 0: "unclear", -1: "opposite"}[c.sign]
        rows.append({
            "measure": measure, "claim": "adjacent residual above adjacent MLP", "n": c.n, "difference": c.estimate,
            "difference_low": c.low, "difference_high": c.high, "p": c.p, "p_holm": float(p),
            "detectable": own.detectable, "paper": "above", "sign": supported(sign, float(p)),
        })  # fmt: skip
    return rows, could


def findings(rows: list[dict[str, Any]], claims: list[dict[str, Any]], could: Sequence[Reach]) -> list[str]:
    """Sentences about the claims, then about each pair under its strongest measure."""
    said = []
    for c, own in zip(claims, could, strict=True):
        word = {"same": "as in the paper", "opposite": "the opposite of the paper"}.get(c["sign"], own.unshown)
        said.append(
            f"{c['measure']}: {c['claim']}: {word} ("
            f"{estimate(c['difference'], c['difference_low'], c['difference_high'], write=signed)}, "
            f"{p_is(c['p_holm'])} after Holm, at least {c['n']} latents a side)."
        )
    chance = {r["measure"]: r["found"] for r in rows if r["kind"] == "chance"}
    for r in rows:
        above = "above" if r["above_broken_low"] > 0 and r["p_holm"] < ALPHA else "not above"
        line = (
            f"{r['measure']}, {r['a']} and {r['b']}: matched {r['matched']:.3f}, {above} the null of {r['broken']:.3f} "
            f"({p_is(r['p_holm'])} after Holm); {r['found']:.0%} of the latents of {r['a']} are found in {r['b']}"
        )
        lucky = chance.get(r["measure"], 0.0)
        if r["kind"] == "chance":
            said.append(f"{line}, which is what this measure finds without any overlap.")
        elif lucky > CHANCE:
            said.append(
                f"{line}; but {lucky:.0%} are in the coder of random directions, so this says nothing of redundancy."
            )
        else:
            said.append(f"{line}, so one coder for both would save {r['saved']:.0%} of the compute.")
    return said


def _directions(views: list[LatentView]) -> NDArray[np.float64]:
    return np.stack([np.asarray(v.row["direction"], dtype=np.float64) for v in views])


def _activations(session: Session, latents: Mapping[str, list[LatentView]]) -> dict[str, Any]:
    """coder -> sparse [latents, tokens]."""
    from scipy.sparse import csr_array

    store = session.store(session.recipe())
    found = {}
    for name, views in latents.items():
        table = store.coder(name)
        whole = csr_array(
            (
                np.asarray(table.value, np.float32),
                np.asarray(table.position).astype(np.int32),
                np.asarray(table.indptr),
            ),
            shape=(table.n_latents, store.n_tokens),
        )
        found[name] = whole[np.array([v.index for v in views])]
    return found


def _explanations(
    session: Session, suite: Suite, options: OverlapOptions, latents: Mapping[str, list[LatentView]]
) -> dict[str, NDArray[np.float64]]:
    """coder -> embeddings of its latents' explanations; a latent without one has the zero vector."""
    from latentbench.judges.embed import embedder

    name = session.explainers[0]
    explainers = {name: session.profile.explainers[name]}
    run = session.run(suite, explainers, {"carrier": options.carrier}, list(latents), control=False)[0]
    texts = dict(zip(run.explanations["latent"], run.explanations["text"], strict=True))
    ordered = [texts.get(v.id) or "" for views in latents.values() for v in views]
    distinct = sorted(set(ordered) - {""})
    vectors = embedder(session.profile.judges[options.judge])(distinct)
    of = {text: vectors[i] for i, text in enumerate(distinct)} | {"": np.zeros_like(vectors[0])}
    stacked = np.stack([of[text] for text in ordered]).astype(np.float64)
    ends = np.cumsum([len(views) for views in latents.values()])
    return dict(zip(latents, np.split(stacked, ends[:-1]), strict=True))


def _figure(rows: list[dict[str, Any]], names: list[str]) -> Any:
    with styled():
        figure, axes = panels(len(MEASURES), width=3.5, height=3.2)
        for axis, measure in zip(axes, MEASURES, strict=True):
            table = np.full((len(names), len(names)), np.nan)
            notes = [["" for _ in names] for _ in names]
            for r in rows:
                if r["measure"] == measure:
                    i, j = sorted((names.index(r["a"]), names.index(r["b"])))
                    table[i, j] = r["matched"]
                    notes[i][j] = f"null {r['broken']:.2f}"
            top = float(np.nanmax(table)) if np.isfinite(table).any() else 1.0
            heatmap(axis, table, names, names, notes, max(top, 1e-6))
            axis.set_title(drawn(measure))
    return figure
