"""One sentence, its active latents layer by layer, each with an explanation and scores: the paper's first figure.

The latents are those of the sentence and of nothing else, so they are put into a suite of their own, with windows from the corpus
like any other, explained without sight of the sentence, and scored by the ordinary harness. A latent that fires too rarely in
the corpus to be tested is passed over, and the limits say how many were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from latentbench.kernel.config import Frozen, validate
from latentbench.kernel.errors import SpecError
from latentbench.lab.studies.session import CONTROL, Session
from latentbench.lab.studies.study_result import StudyResult, StudyTable
from latentbench.suites.build.draw import count
from latentbench.suites.build.sampling import tile
from latentbench.suites.build.token_strings import TokenStrings
from latentbench.views.escape import drawn
from latentbench.views.figure import panels, styled

if TYPE_CHECKING:
    import pandas as pd

    from latentbench.models.language_model import Loaded
    from latentbench.suites.build.suite_recipe import SuiteRecipe


class WalkthroughOptions(Frozen):
    """Options of the kind `walkthrough`."""

    sentence: str
    coders: list[str] = Field(min_length=1)
    """Labels of the coders in the order of the figure, lowest layer first."""
    per_coder: int = Field(default=3, ge=1)
    """Number of latents shown of each coder, on different tokens as far as there are."""


@dataclass(frozen=True)
class ActiveLatent:
    """A latent that fires in the sentence.

    Attributes:
        coder, index: the latent.
        place: token on which it is strongest.
        value: its activation there.
        share: that activation as a share of the latent's maximum over the corpus.
    """

    coder: str
    index: int
    place: int
    value: float
    share: float

    @property
    def id(self) -> str:
        """Id that the latent has in a suite."""
        return f"{self.coder}/{self.index}"


def run(session: Session) -> StudyResult:
    """Carry out a study of the kind `walkthrough`."""
    from latentbench.models.language_model import load

    study, profile = session.study, session.profile
    options = validate(WalkthroughOptions, study.options, f"options of study {session.name}")
    recipe = session.recipe()
    loaded = load(recipe.subject.model, recipe.subject.dtype, "auto", recipe.subject.loading)
    tokens, found, passed_over = active_latents(session, recipe, loaded, options)
    indices = {c: [a.index for a in found if a.coder == c] for c in options.coders}
    suite = session.suite(indices={c: i for c, i in indices.items() if i})
    explainers = {name: profile.explainers[name] for name in session.explainers}
    shown = [c for c in options.coders if indices[c]]
    runs = session.run(suite, explainers, {name: profile.scorers[name] for name in session.scorers}, shown)
    scores = {s: pd for run in runs for s, pd in _scores(run, session).items()}
    texts = {(e, i): t for e, i, t in runs[0].explanations[["explainer", "latent", "text"]].itertuples(index=False)}
    columns = ("coder", "hookpoint", "latent", "token", "activation", "share_of_max", "explanation", *session.scorers)
    columns += tuple(f"{s}_shuffled" for s in session.scorers)
    hookpoints = {v.id: v.row["hookpoint"] for v in suite.latents()}
    main = session.explainers[0]
    rows: list[dict[str, Any]] = []
    for a in found:
        row: dict[str, Any] = {
            "coder": a.coder, "hookpoint": hookpoints.get(a.id), "latent": a.id, "token": tokens[a.place].strip(),
            "activation": a.value, "share_of_max": a.share, "explanation": texts.get((main, a.id)),
        }  # fmt: skip
        for scorer, values in scores.items():
            row |= {scorer: values.get((main, a.id)), f"{scorer}_shuffled": values.get((f"{CONTROL}{main}", a.id))}
        rows.append(row)
    note = "`share of max`: activation over the latent's largest in the corpus. `shuffled`: score of another latent's text."
    result = StudyResult([StudyTable("table", options.sentence, columns, rows, note)])
    result.figures["figure"] = _figure(tokens, rows, found, options, tuple(session.scorers))
    result.findings = [
        f"{c}: "
        + "; ".join(f"{tokens[a.place].strip()!r} {a.id} ({a.share:.0%} of its maximum)" for a in found if a.coder == c)
        for c in options.coders
        if indices[c]
    ]
    result.limits.append(f"An example, chosen before its latents were known; {len(found)} latents prove nothing.")
    result.limits.append(
        f"{passed_over} stronger latents of the sentence fire in too few windows of the corpus and are left out."
    )
    return result


def active_latents(
    session: Session, recipe: SuiteRecipe, loaded: Loaded, options: WalkthroughOptions
) -> tuple[list[str], list[ActiveLatent], int]:
    """Token strings of the sentence, the latents to show, and how many stronger ones the corpus has too few windows for.

    Latents are taken by their activation as a share of their maximum, so that always-strong ones do not fill every sentence.
    """
    from latentbench.subject.activations.encode import encode_contexts
    from latentbench.subject.coders.coder_spec import load_coder
    from latentbench.subject.coders.start_token import started

    ids = np.asarray(loaded.tokenizer(options.sentence, add_special_tokens=False)["input_ids"], dtype=np.int32)
    entries = [e for e in recipe.coders if e.coder.name in options.coders]
    if len(entries) != len(options.coders):
        raise SpecError(
            f"the suite has the coders {[e.coder.name for e in recipe.coders]}, not all of {options.coders}."
        )
    store = session.store(recipe)
    tiles = tile(store.contexts, recipe.window)
    coders = [load_coder(e.coder, loaded, verify=False) for e in entries]
    fired = encode_contexts(started(loaded, store.bos is not None, {}), coders, [ids])
    found: list[ActiveLatent] = []
    passed_over = 0
    for entry, coder in zip(entries, coders, strict=True):
        table = store.coder(coder.name)
        windows = count(table.indptr, table.position, table.value, tiles).windows
        here = fired[coder.name]
        candidates = []
        for place, index, value in zip(here.rows.tolist(), here.latents.tolist(), here.values.tolist(), strict=True):
            top = float(np.asarray(store.latent(coder.name, index)[1]).max(initial=0.0))
            candidates.append(ActiveLatent(coder.name, index, place, value, value / top if top else float("inf")))
        candidates.sort(key=lambda a: (-a.share, a.index))
        needed = entry.min_windows or recipe.min_windows
        chosen, skipped = choose(
            candidates, {i for i in range(len(windows)) if windows[i] >= needed}, options.per_coder
        )
        found += chosen
        passed_over += skipped
    return list(TokenStrings(loaded.tokenizer).of([ids.tolist()])[0]), found, passed_over


def choose(candidates: list[ActiveLatent], enough: set[int], n: int) -> tuple[list[ActiveLatent], int]:
    """The first n with enough windows, no latent twice, each on another token as far as that goes; and how many were skipped."""
    chosen: list[ActiveLatent] = []
    spare: list[ActiveLatent] = []
    skipped: set[int] = set()
    for a in candidates:
        if len(chosen) == n:
            break
        if a.index not in enough:
            skipped.add(a.index)
        elif a.index not in {c.index for c in (*chosen, *spare)}:
            (spare if a.place in {c.place for c in chosen} else chosen).append(a)
    chosen += spare[: n - len(chosen)]
    return sorted(chosen, key=lambda a: a.place), len(skipped)


def _scores(run: Any, session: Session) -> dict[str, dict[tuple[str, str], float]]:
    own: pd.DataFrame = run.per_latent({name: session.profile.scorers[name].metric for name in session.scorers})
    return {
        str(scorer): {
            (str(e), str(i)): float(v) for e, i, v in part[["explainer", "latent", "value"]].itertuples(index=False)
        }
        for scorer, part in own.groupby("scorer")
    }


def _figure(
    tokens: list[str],
    rows: list[dict[str, Any]],
    found: list[ActiveLatent],
    options: WalkthroughOptions,
    scorers: tuple[str, ...],
) -> Any:
    import textwrap

    with styled():
        figure, (axis,) = panels(1, width=10.5, height=0.62 * len(rows) + 1.3)
        names = [c for c in options.coders if any(a.coder == c for a in found)]
        ordered = sorted(zip(found, rows, strict=True), key=lambda pair: (-names.index(pair[0].coder), -pair[0].place))
        for y, (a, row) in enumerate(ordered):
            axis.scatter([a.place], [y], s=30 + 170 * min(1.0, a.share), color="#1f5f99", zorder=3)
            scored = ", ".join(f"{s} {row[s]:.2f}" for s in scorers if row.get(s) is not None and row[s] == row[s])
            text = textwrap.shorten(str(row["explanation"] or "(none)"), 88, placeholder="…")
            axis.text(len(tokens) + 0.3, y, f"{drawn(text, 90)}\n{scored}", va="center", fontsize=6.8)
            axis.plot([a.place, len(tokens)], [y, y], color="#d9dee3", linewidth=0.8, zorder=1)
        axis.set_yticks(range(len(ordered)), [drawn(a.id) for a, _ in ordered])
        axis.set_xticks(range(len(tokens)), [drawn(t.strip()) or "␣" for t in tokens], rotation=60, ha="right")
        axis.set_xlim(-0.6, len(tokens) + 0.9 * len(tokens) + 6)
        axis.set_ylim(-0.7, len(ordered) - 0.3)
    return figure
