"""One latent of a run, to look at: its windows, what was said of it, what that scored, and every verdict on every window.

A score is a mean over verdicts, and a person believes or doubts it by reading them. So right and wrong ones stand beside each
other, floors beside explainers; a page with the best windows alone would show that the method works whatever it does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from latentbench.kernel.latent import LatentView, Window
from latentbench.runs.finished import Run
from latentbench.views.escape import Html, html
from latentbench.views.number import number, percent
from latentbench.views.page import Block, Facts, Folded, Heading, Page, Prose
from latentbench.views.table import Cell, Column, Table

if TYPE_CHECKING:
    from latentbench.suites.store import Suite

WINDOWS = 8
"""Explain windows shown, the strongest first."""
TOLD = ("promoted", "suppressed")
"""Columns of a latent's row that are lists of tokens."""


def latent_page(run: Run, latent: str, suite: Suite | None) -> Page:
    """What a run knows of a latent; of several repeats the first, but for the scores of all.

    Args:
        run: a finished run.
        latent: one of its latents.
        suite: the one that it ran on, for the windows; None where it is not here.
    """
    view = None if suite is None else suite.latent(latent)
    body: list[Block] = [*([] if view is None else _about(view)), *explained(run, latent)]
    if run.record.spec.repeats > 1:
        body.append(Prose(f"The first of {run.record.spec.repeats} repeats.", soft=True))
    return Page(latent, [*body, *_verdicts(run, latent, view)])


def _about(view: LatentView) -> Iterator[Block]:
    row = view.row
    facts = {"split": view.split, "coder": view.coder}
    if row.get("rate_token") is not None:
        facts["fires on"] = f"{percent(row['rate_token'], 3)} of tokens"
    if row.get("max_activation") is not None:
        facts["largest activation"] = number(row["max_activation"])
    facts |= {name: "  ".join(row[name]) for name in TOLD if row.get(name)}
    yield Facts(facts)
    yield Heading(f"Windows that explainers saw, {min(WINDOWS, len(view.explain))} of {len(view.explain)}", level=4)
    yield from (drawn_window(window, view.max) for window in view.explain[:WINDOWS])


def drawn_window(window: Window, scale: float) -> Html:
    """A window, its tokens shaded by activation.

    Args:
        scale: activation of the deepest shade.
    """
    tokens = _tokens(window, scale)
    return Html(f'<div class="window"><span class="kind">{html(window.kind)}</span>{tokens}</div>')


def _tokens(window: Window, scale: float) -> Html:
    def shaded(token: str, activation: float) -> str:
        if not (activation > 0 and scale > 0):
            return html(token)
        depth = 0.1 + 0.45 * min(1.0, activation / scale)
        return (
            f'<mark style="background:rgba(31,95,153,{depth:.2f})" title="{number(activation, 2)}">{html(token)}</mark>'
        )

    return Html("".join(map(shaded, window.tokens, window.activations)))


def explained(run: Run, latent: str) -> Iterator[Block]:
    """The explanations of a latent with their headline scores, of the first repeat."""
    told = run.table("explanations").of_latent(latent)
    headline = {label: scorer.headline for label, scorer in run.record.scorers.items()}
    scores = run.table("scores").of_latent(latent)
    mine = scores[(scores["metric"] == scores["scorer"].map(headline)) & (scores["repeat"] == 0)]
    asked = list(dict.fromkeys(zip(mine["scorer"], mine["judge"], strict=True)))
    keys = zip(mine["explainer"], mine["scorer"], mine["judge"], strict=True)
    values = dict(zip(keys, mine["value"].tolist(), strict=True))
    heads = (Html(f'{html(s)}<br><span class="soft">{html(j)}</span>') for s, j in asked)
    columns = [Column("explainer", "text"), Column("explanation", "text")]
    columns += [Column(s, "number", head=head) for (s, _), head in zip(asked, heads, strict=True)]
    own = told[told["repeat"] == 0][["explainer", "text", "outcome", "error"]]
    yield Table(
        "",
        columns,
        [
            [str(label), _text(text, outcome, error), *(values.get((label, *pair)) for pair in asked)]
            for label, text, outcome, error in own.itertuples(index=False)
        ],
        tones=["floor" if run.record.explainers[label].is_floor else "" for label in own["explainer"]],
    )


def _text(text: object, outcome: object, error: object) -> str:
    """An explanation, or what stands in place of one without text."""
    if isinstance(text, str) and text:
        return text
    return "(empty)" if outcome == "ok" else f"({outcome}: {error})"


PLACE = ["trial", "part", "item", "kind", "truth"]
"""Columns of the judgements that say what was asked; the same for all explainers, who meet the same windows."""


def _verdicts(run: Run, latent: str, view: LatentView | None) -> Iterator[Block]:
    """A folded table for each scorer and judge: a line for each window, a column for each explainer."""
    windows = {} if view is None else {window.id: window for window in view.test}
    judged = run.table("judgements").of_latent(latent)
    mine = judged[judged["repeat"] == 0]
    for (scorer, judge), asked in mine.groupby(["scorer", "judge"], sort=False):
        told = asked[asked["answer"].notna() | asked["score"].notna() | (asked["outcome"] != "ok")]
        if not len(told):
            continue
        decided = told[told["answer"].notna()]
        right = int((decided["answer"] == decided["truth"]).sum())
        said = f"{right:,} of {len(decided):,} answers right" if len(decided) else f"{len(told):,} scores"
        summary = f"What {judge} answered to {scorer}: {said}, over all explainers"
        yield Folded(summary, [_grid(told, windows, 0.0 if view is None else view.max)])


def _grid(told: pd.DataFrame, windows: Mapping[int, Window], scale: float) -> Table:
    explainers = list(dict.fromkeys(told["explainer"].tolist()))
    lines: dict[tuple[object, ...], dict[str, str]] = {}
    places: dict[tuple[object, ...], tuple[int | None, str, str, int]] = {}
    columns = [*PLACE, "explainer", "outcome", "score", "answer"]
    key: tuple[object, ...]
    for trial, part, item, kind, truth, explainer, outcome, score, answer in told[columns].itertuples(index=False):
        place = None if pd.isna(item) else int(item)
        key = (trial, part, place, kind, truth)
        places[key] = (place, str(part or ""), str(kind), int(truth))
        lines.setdefault(key, {})[explainer] = _verdict(str(outcome), score, answer, int(truth))

    def strongest(key: tuple[object, ...]) -> tuple[int, float]:
        place, _, _, truth = places[key]
        window = None if place is None else windows.get(place)
        return -truth, -(window.max if window is not None else 0.0)

    rows: list[list[Cell]] = []
    for key in sorted(lines, key=strongest):
        item, part, kind, truth = places[key]
        window = windows.get(item) if item is not None else None
        tokens = _tokens(window, scale) if window is not None else Html("")
        shown = Html(f'<span class="window">{tokens}</span>') if window is not None else tokens
        what = " ".join(word for word in (part, kind) if word)
        rows.append([shown, what, truth, *(lines[key].get(e, "") for e in explainers)])
    heads = [Column("window", "drawing"), Column("kind", "text"), Column("truth", "count")]
    return Table("", [*heads, *(Column(e, "text") for e in explainers)], rows)


def _verdict(outcome: str, score: float | None, answer: int | None, truth: int) -> str:
    """One judgement in a few words: whether the answer was right, and the score; or why there is none."""
    if outcome != "ok":
        return outcome
    said = [] if pd.isna(answer) else ["right" if answer == truth else "wrong"]
    return " ".join([*said, *([] if pd.isna(score) else [number(score, 2)])])
