"""How often latents fire, and how many have too few windows to be explained and scored, as text and contexts grow.

Read from the activation store, so no judge is asked. A latent that is too rare for the corpus is not in any other table of this
project: this one says how many those are. How much text would bring them in is not extrapolated: that rests on the rates of
latents that fired a handful of times, and grows with the corpus that it is read from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from latentbench.kernel.config import Frozen, validate
from latentbench.lab.studies.session import Session
from latentbench.lab.studies.study_result import StudyResult, StudyTable
from latentbench.lab.studies.study_spec import FactorLevel
from latentbench.suites.build.draw import Counts, count
from latentbench.suites.build.sampling import tile
from latentbench.views.escape import drawn
from latentbench.views.figure import SERIES, panels, styled

if TYPE_CHECKING:
    from latentbench.subject.activations.activation_store import ActivationStore

COLUMNS = (
    *("coder", "context", "tokens", "windows", "latents", "never", "rate_q05", "rate_median", "rate_q95"),
    *("too_few_50", "too_few_100", "too_few_200"),
)
NEEDED = (50, 100, 200)


class CoverageOptions(Frozen):
    """Options of the kind `coverage`."""

    shares: list[float] = Field(default=[0.125, 0.25, 0.5, 1.0], min_length=1)
    """Shares of the corpus, from its start, on which coverage is measured."""
    contexts: list[int] = Field(default_factory=list)
    """Other context lengths, each another pass of the subject."""
    context_tokens: int | None = Field(default=None, ge=1)
    """Corpus tokens of those passes."""


def run(session: Session) -> StudyResult:
    """Carry out a study of the kind `coverage`."""
    options = validate(CoverageOptions, session.study.options, f"options of study {session.name}")
    rows: list[dict[str, Any]] = []
    base = session.recipe()
    store = session.store(base)
    coders = list(session.study.coders or store.coders)
    for share in options.shares:
        rows += [row(store, coder, base.context, base.window, round(share * store.n_contexts)) for coder in coders]
    for context in options.contexts:
        change: dict[str, Any] = {"context": context}
        if options.context_tokens:
            change["corpus"] = {"max_tokens": options.context_tokens}
        recipe = session.recipe(FactorLevel(label="-", change=change))
        other = session.store(recipe)
        rows += [row(other, coder, context, recipe.window, other.n_contexts) for coder in coders]
    note = (
        "Rates are shares of tokens on which a latent fires (quantiles over latents that fire at all). `too few N`: share of "
        f"all latents with fewer than N activating windows of {base.window} tokens."
    )
    result = StudyResult([StudyTable("table", session.study.title, COLUMNS, rows, note)])
    result.figures["figure"] = _figure(rows, coders, base.context)
    result.findings = findings(rows, coders, base.context)
    return result


def row(store: ActivationStore, coder: str, context: int, window: int, n_contexts: int) -> dict[str, Any]:
    """Coverage of one coder over the first contexts of a store."""
    offsets = np.asarray(store.contexts[: n_contexts + 1], dtype=np.int64)
    tokens = int(offsets[-1])
    tiles = tile(offsets, window)
    counts = _counts(store, coder, tokens, tiles)
    fires = counts.tokens > 0
    rates = counts.tokens[fires] / tokens
    low, middle, high = np.quantile(rates, [0.05, 0.5, 0.95]) if fires.any() else [np.nan] * 3
    found: dict[str, Any] = {
        "coder": coder, "context": context, "tokens": tokens, "windows": len(tiles.start), "latents": len(counts.tokens),
        "never": float((~fires).mean()), "rate_q05": low, "rate_median": middle, "rate_q95": high,
    }  # fmt: skip
    return found | {f"too_few_{n}": float((counts.windows < n).mean()) for n in NEEDED}


def _counts(store: ActivationStore, coder: str, tokens: int, tiles: Any) -> Counts:
    """Counts over positions below `tokens` only."""
    table = store.coder(coder)
    if tokens == store.n_tokens:
        return count(table.indptr, table.position, table.value, tiles)
    inside = np.asarray(table.position) < tokens
    kept = np.concatenate([[0], np.cumsum(inside)])
    return count(kept[table.indptr], np.asarray(table.position)[inside], np.asarray(table.value)[inside], tiles)


def findings(rows: list[dict[str, Any]], coders: list[str], context: int) -> list[str]:
    """One sentence per coder: what more text brings."""
    said = []
    for coder in coders:
        mine = [r for r in rows if r["coder"] == coder and r["context"] == context]
        first, last = mine[0], mine[-1]
        said.append(
            f"{coder}: {last['never']:.1%} of {last['latents']:,} latents never fire in {last['tokens']:,} tokens; "
            f"{last['too_few_100']:.1%} have fewer than 100 windows (in the first {first['tokens']:,} tokens: "
            f"{first['too_few_100']:.1%})."
        )
    other = sorted({r["context"] for r in rows} - {context})
    if other:
        for coder in coders:
            parts = [
                f"{r['context']} tokens: median rate {r['rate_median']:.2%}, {r['too_few_50']:.1%} below 50 windows"
                for r in rows
                if r["coder"] == coder and r["context"] in other
            ]
            said.append(f"{coder}, by context at equal text: " + "; ".join(parts) + ".")
    return said


def _figure(rows: list[dict[str, Any]], coders: list[str], context: int) -> Any:
    from matplotlib.ticker import NullFormatter

    with styled():
        figure, (left, right) = panels(2, width=4.2)
        for k, coder in enumerate(coders):
            mine = [r for r in rows if r["coder"] == coder and r["context"] == context]
            x, colour = [r["tokens"] for r in mine], SERIES[k % len(SERIES)]
            style: dict[str, Any] = {
                "color": colour,
                "marker": "o",
                "markersize": 4,
                "linestyle": "-" if k < len(SERIES) else "--",
            }
            left.plot(x, [r["too_few_100"] for r in mine], label=drawn(coder), **style)
            ends = [r for r in mine if r is mine[-1]]
            right.plot([k, k], [ends[0]["rate_q05"], ends[0]["rate_q95"]], color=colour, linewidth=3, alpha=0.4)
            right.plot([k], [ends[0]["rate_median"]], color=colour, marker="o")
        left.set_xscale("log")
        left.set_xlabel("tokens of text")
        left.xaxis.set_minor_formatter(NullFormatter())
        left.set_ylabel("share of latents below 100 windows")
        left.legend(fontsize=7)
        right.set_yscale("log")
        right.set_xticks(range(len(coders)), [*map(drawn, coders)], rotation=30, ha="right")
        right.set_xlim(-0.6, len(coders) - 0.4)
        right.set_ylabel("firing rate per token (median, 5 to 95 %)")
    return figure
