"""One latent of a run in a terminal: its windows, what was said of it, every score, every verdict, and the words behind them.

The page of a latent (`latent_page`) has colours and columns for all explainers; a terminal has 80 characters. So here things
stand below each other, and a reader narrows down by explainer and scorer. What is left out is counted, each time, with the option
that shows it: a list that ends without a word looks whole.

Prompts and replies stand behind a bar, line by line as they were. Whatever a judge wrote is then seen to be the judge's: without
the bar a reply can look like the next heading.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd
from rich.console import Group, RenderableType

from latentbench.kernel.errors import UnknownName
from latentbench.kernel.latent import LatentView, Window
from latentbench.leaderboards.inquiry_shown import inquiry_lines
from latentbench.runs.finished import Run
from latentbench.runs.kept import EXPLAIN, KeptCall, has_calls, kept_calls
from latentbench.suites.show import marked
from latentbench.views.number import count, interval, number, percent
from latentbench.views.terminal import indented, quoted

if TYPE_CHECKING:
    from latentbench.suites.store import Suite

WINDOWS, VERDICTS, CALLS, CHARACTERS = 5, 6, 3, 2000
"""How many explain windows, judged windows of a scorer, calls of an explainer or cell, and characters of a text are shown, unless
all are asked for."""
ALL = "--all"
DECILES = "quantile:9 is the tenth of windows with the largest activations, quantile:0 that with the smallest."
T = TypeVar("T")


@dataclass(frozen=True)
class ShownParts:
    """What of a latent is shown.

    Attributes:
        explainers, scorers: labels; all by default.
        whole: leave nothing out.
        words: also prompts and replies.
    """

    explainers: tuple[str, ...] = ()
    scorers: tuple[str, ...] = ()
    whole: bool = False
    words: bool = False


def latent_shown(run: Run, latent: str, suite: Suite | None, choice: ShownParts) -> RenderableType:
    """What a run knows of a latent.

    Args:
        latent: its id.
        suite: the one that the run used, for the windows; None where it is not here.

    Raises:
        UnknownName: the run has no such latent, explainer or scorer.
        CorruptTable, DigestMismatch: the calls that it kept cannot be read.
    """
    for what, given, known in (
        ("latent", (latent,), run.record.latents),
        ("explainer", choice.explainers, tuple(run.record.explainers)),
        ("scorer", choice.scorers, tuple(run.record.scorers)),
    ):
        for name in given:
            if name not in known:
                raise UnknownName(f"{what} of run {run.id}", name, known)
    view = None if suite is None else suite.latent(latent)
    parts = [*_about(run, latent, view, choice), *_explanations(run, latent, choice)]
    parts += _verdicts(run, latent, view, choice)
    parts += _words(run, latent, choice) if choice.words else _hint(run)
    return Group(*parts)


def _head(text: str) -> list[RenderableType]:
    return [indented(""), indented(text, style="bold")]


def _left(shown: int, of: int, what: str) -> str:
    """What stands behind a heading: how many there are, and how the rest is had."""
    what += "" if of == 1 else "s"
    return f"{count(of)} {what}" if shown == of else f"{count(shown)} of {count(of)} {what} ({ALL} shows the rest)"


def _some(items: Sequence[T], most: int, choice: ShownParts) -> Sequence[T]:
    return items if choice.whole else items[:most]


def _about(run: Run, latent: str, view: LatentView | None, choice: ShownParts) -> Iterator[RenderableType]:
    yield indented(f"{latent} of {run.id}, suite {run.record.suite.id}, split {run.record.split}", style="bold")
    if view is None:
        yield indented("The suite that the run used is not here, so its windows are shown by their numbers.")
        return
    if view.row.get("rate_token") is not None:
        yield indented(
            f"fires on {percent(view.row['rate_token'], 3)} of tokens, largest activation "
            f"{number(view.row['max_activation'], 2)}"
        )
    for name in ("promoted", "suppressed"):
        if view.row.get(name):
            yield indented(f"{name}: {'  '.join(view.row[name])}")
    shown = _some(view.explain, WINDOWS, choice)
    yield from _head(f"Windows that explainers saw: {_left(len(shown), len(view.explain), 'window')}")
    if any(window.active for window in shown):
        yield indented(DECILES, 2, "dim")
    for window in shown:
        yield from _window(window)


def _window(window: Window) -> Iterator[RenderableType]:
    peak = f", activation up to {number(window.max, 2)}" if window.active else ", silent"
    yield indented(f"window {window.id}, {window.kind}{peak}", 2, "dim")
    yield indented(marked(window), 4)


def _own(table: str, run: Run, latent: str, choice: ShownParts) -> pd.DataFrame:
    """Rows of a table about a latent that are chosen."""
    own = run.table(table).of_latent(latent)
    own = own[own["explainer"].isin(choice.explainers or tuple(run.record.explainers))]
    if "scorer" in own:
        own = own[own["scorer"].isin(choice.scorers or tuple(run.record.scorers))]
    return own if choice.whole else own[own["repeat"] == 0]


def _called(run: Run, label: str, repeat: int) -> str:
    floor = " (floor)" if run.record.explainers[label].is_floor else ""
    return f"{label}{floor}" + (f", repeat {repeat}" if run.record.spec.repeats > 1 else "")


def _explanations(run: Run, latent: str, choice: ShownParts) -> Iterator[RenderableType]:
    told = _own("explanations", run, latent, choice)
    scores = _own("scores", run, latent, choice)
    repeats = run.record.spec.repeats
    note = f"; the first of {count(repeats)} repeats ({ALL} shows the rest)" if repeats > 1 and not choice.whole else ""
    yield from _head(f"Explanations, each with its scores on this latent alone{note}")
    columns = ["explainer", "repeat", "text", "outcome", "error", "note"]
    for label, repeat, text, outcome, error, how in told[columns].itertuples(index=False):
        yield indented(_called(run, label, repeat), 2, "bold")
        yield indented(_cut(_said(text, outcome, error), choice), 4)
        for line in inquiry_lines(how, choice.whole):
            yield indented(_cut(line, choice), 6, "dim")
        mine = scores[(scores["explainer"] == label) & (scores["repeat"] == repeat)]
        for (scorer, judge), rows in mine.groupby(["scorer", "judge"], sort=False):
            yield indented(f"{scorer}, judge {judge}: {_values(run, str(scorer), rows, choice)}", 6)


def _said(text: object, outcome: object, error: object) -> str:
    if isinstance(text, str):
        return text or "(empty)"
    return f"(no explanation: {outcome}: {error})"


def _values(run: Run, scorer: str, rows: pd.DataFrame, choice: ShownParts) -> str:
    """Every metric with its floor, the headline first, and how many judgements are behind them; those of a kind of windows where
    all is shown."""
    said = []
    rows = rows[rows["metric"] != "n"]
    if not choice.whole:
        rows = rows[~rows["metric"].str.contains("@")]
    for metric, value, low, high in rows[["metric", "value", "lowest", "highest"]].itertuples(index=False):
        meant = run.record.scorers[scorer].metric(metric)
        floor = f" (floor {number(meant.floor)})" if meant is not None and meant.floor is not None else ""
        ends = "" if pd.isna(low) or pd.isna(high) else f", with what is missing {interval(low, high)}"
        said.append(f"{metric} {number(None if pd.isna(value) else value)}{floor}{ends}")
    judged, attempted = int(rows["n_judged"].max()), int(rows["n_attempted"].max())
    headline = run.record.scorers[scorer].headline
    said.sort(key=lambda text: not text.startswith(f"{headline} "))
    return f"{'; '.join(said)}; {count(judged)} of {count(attempted)} judged"


def _verdicts(run: Run, latent: str, view: LatentView | None, choice: ShownParts) -> Iterator[RenderableType]:
    windows = {} if view is None else {window.id: window for window in view.test}
    mine = _own("judgements", run, latent, choice)
    over = " and ".join(choice.explainers) or "all explainers"
    for (scorer, judge), asked in mine.groupby(["scorer", "judge"], sort=False):
        told = asked if "token_scores" in asked else asked.assign(token_scores=None)
        places = _places(told, windows)
        shown = list(places) if choice.whole else _mixed(list(places))
        decided = told[told["answer"].notna()]
        right = int((decided["answer"] == decided["truth"]).sum())
        sums = f"; {count(right)} of {count(len(decided))} answers right over {over}" if len(decided) else ""
        missing = len(told) - int((told["outcome"] == "ok").sum())
        sums += f"; {count(missing)} unscored" if missing else ""
        yield from _head(f"{scorer}, judge {judge}: {_left(len(shown), len(places), 'question')}{sums}")
        for place in shown:
            item, part, kind, truth = place
            window = windows.get(item) if item is not None else None
            what = ", ".join(word for word in (part, kind, f"truth {truth}") if word)
            named = "" if item is None else f"window {item}, "
            peak = f", activation up to {number(window.max, 2)}" if window is not None and window.active else ""
            yield indented(f"{named}{what}{peak}", 2, "dim")
            if window is not None:
                yield indented(marked(window), 4)
            for row in places[place]:
                yield indented(_verdict(run, row, window), 6)


Place = tuple[int | None, str, str, int]
"""Window, part, kind and truth of what was judged."""
Verdict = tuple[str, int, str, float, float, object, object]
"""Explainer, repeat, outcome, score, answer, error and what was simulated for each token."""


def _places(told: pd.DataFrame, windows: Mapping[int, Window]) -> dict[Place, list[tuple[Place, Verdict]]]:
    """What was judged, right ones first and among these the strongest window first, with what was said of each."""
    found: dict[Place, list[tuple[Place, Verdict]]] = {}
    columns = ["item", "part", "kind", "truth", "explainer", "repeat", "outcome", "score", "answer", "error"]
    columns.append("token_scores")
    for item, part, kind, truth, *verdict in told[columns].itertuples(index=False):
        place = (None if pd.isna(item) else int(item), str(part or ""), str(kind), int(truth))
        explainer, repeat, outcome, score, answer, error, simulated = verdict
        found.setdefault(place, []).append((place, (explainer, repeat, outcome, score, answer, error, simulated)))

    def strongest(place: Place) -> tuple[int, float]:
        window = windows.get(place[0]) if place[0] is not None else None
        return -place[3], -(window.max if window is not None else 0.0)

    return {place: found[place] for place in sorted(found, key=strongest)}


def _mixed(places: Sequence[Place]) -> list[Place]:
    """Some of each truth, so that wrong alarms are seen beside misses."""
    truths = list(dict.fromkeys(place[3] for place in places))
    share = max(1, VERDICTS // max(1, len(truths)))
    return [place for truth in truths for place in [p for p in places if p[3] == truth][:share]]


def _verdict(run: Run, row: tuple[Place, Verdict], window: Window | None) -> str:
    place, (explainer, repeat, outcome, score, answer, error, simulated) = row
    who = _called(run, explainer, repeat)
    if outcome != "ok":
        return f"{who}: unscored, {outcome}: {error if isinstance(error, str) else 'no reason given'}"
    said = [] if pd.isna(answer) else ["right" if answer == place[3] else "wrong"]
    if not pd.isna(score):
        # What an answer is taken from is a probability; without one it is what the scorer ranks by.
        said.append(f"{'score' if pd.isna(answer) else 'p'} {number(score, 2)}")
    if window is not None and isinstance(simulated, Sequence | np.ndarray) and len(simulated) == len(window.tokens):
        as_simulated = replace(window, activations=tuple(map(float, simulated)))
        said.append(f"simulated up to {number(as_simulated.max, 2)} of 10: {marked(as_simulated)}")
    return f"{who}: {', '.join(said) or 'no verdict on a single window'}"


def _hint(run: Run) -> Iterator[RenderableType]:
    yield indented("")
    if has_calls(run):
        yield indented("--words shows the prompts and replies behind these.", style="dim")
    else:
        yield indented("The run kept no prompts and replies (`keep` in its spec).", style="dim")


def _words(run: Run, latent: str, choice: ShownParts) -> Iterator[RenderableType]:
    if not has_calls(run):
        yield from _head("Prompts and replies: the run kept none (`keep` in its spec)")
        return
    cells = {cell.cell: cell for cell in run.record.cells}
    owners: dict[tuple[str, str], list[KeptCall]] = {}
    for call in kept_calls(run, latent):
        cell = cells.get(call.owner) if call.stage != EXPLAIN else None
        explainer = call.owner if cell is None else cell.explainer.label
        if choice.explainers and explainer not in choice.explainers:
            continue
        if choice.scorers and (cell is None or cell.scorer.label not in choice.scorers):
            continue
        if choice.whole or call.repeat == 0:
            owners.setdefault((call.stage, call.owner), []).append(call)
    if not owners:
        yield from _head("Prompts and replies: none of what was chosen")
    for (stage, owner), calls in owners.items():
        shown = _some(calls, CALLS, choice)
        yield from _head(f"Words, {stage} {owner}: {_left(len(shown), len(calls), 'call')}")
        for call in shown:
            yield from _call(call, choice)


def _call(call: KeptCall, choice: ShownParts) -> Iterator[RenderableType]:
    about = [call.form]
    about += [f"trial {call.trial}"] if call.trial else []
    about += [f"part {call.part}"] if call.part else []
    about += (
        [f"windows {', '.join(map(str, call.items[:8]))}{' ...' if len(call.items) > 8 else ''}"] if call.items else []
    )
    about += [f"asked of {call.member}"] if call.member else []
    about += [f"round {call.round + 1}"] if call.round else []
    about.append(call.outcome.value + (f": {call.cause}" if call.cause else ""))
    yield indented(", ".join(about), 2, "dim")
    for message in call.messages:
        yield from _text(message.role, message.content, choice)
    if call.reasoning:
        yield from _text("reasoning", call.reasoning, choice)
    if call.reply:
        yield from _text("reply" + (f" (ended: {call.finish})" if call.finish else ""), call.reply, choice)
    if call.probabilities:
        yield indented(f"p: {_probabilities(call)}", 4)
    if call.value is not None:
        yield indented(f"value: {number(call.value)}", 4)


def _probabilities(call: KeptCall) -> str:
    """Each probability with the answer or the window that it is of; of an answer at several places, place by place."""
    names: Sequence[object] = call.answers or call.items
    if not names or len(call.probabilities) % len(names):
        return ", ".join(number(p) for p in call.probabilities)
    return ", ".join(f"{names[i % len(names)]} {number(p)}" for i, p in enumerate(call.probabilities))


def _text(role: str, text: str, choice: ShownParts) -> Iterator[RenderableType]:
    yield indented(f"{role}:", 4)
    yield from quoted(_cut(text, choice), 6)


def _cut(text: str, choice: ShownParts) -> str:
    if choice.whole or len(text) <= CHARACTERS:
        return text
    return f"{text[:CHARACTERS]} ({count(len(text) - CHARACTERS)} more characters; {ALL} shows them)"
