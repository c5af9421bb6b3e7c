"""One sentence, its active latents layer by layer, each with an explanation and scores: the paper's first figure.

The latents are those of the sentence and of nothing else, so they are put into a suite of their own, with windows from the corpus
like any other, explained without sight of the sentence, and scored by the ordinary harness. A latent that fires too rarely in
the corpus to be tested is passed over, and the limits say how many were.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from latentbench.analysis.walkthrough.sentence_walk import Candidate, SentenceWalk, WalkedCoder, WalkText, choose
from latentbench.analysis.walkthrough.walk_figure import walk_figure
from latentbench.analysis.walkthrough.walk_of_run import candidates, line, texts_of, walked_latent
from latentbench.kernel.config import Frozen, validate
from latentbench.kernel.errors import SpecError
from latentbench.lab.studies.session import CONTROL, Session
from latentbench.lab.studies.study_result import StudyResult, StudyTable
from latentbench.runs.finished import Run
from latentbench.suites.build.draw import count
from latentbench.suites.build.sampling import tile
from latentbench.suites.build.token_strings import TokenStrings

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


def run(session: Session) -> StudyResult:
    """Carry out a study of the kind `walkthrough`."""
    from latentbench.models.language_model import load

    study, profile = session.study, session.profile
    options = validate(WalkthroughOptions, study.options, f"options of study {session.name}")
    recipe = session.recipe()
    loaded = load(recipe.subject.model, recipe.subject.dtype, "auto", recipe.subject.loading)
    tokens, found, coders, lines, passed_over = active_latents(session, recipe, loaded, options)
    indices = {c: [a.index for a in found if a.coder == c] for c in options.coders}
    suite = session.suite(indices={c: i for c, i in indices.items() if i})
    explainers = {name: profile.explainers[name] for name in session.explainers}
    shown = [c for c in options.coders if indices[c]]
    runs = session.run(suite, explainers, {name: profile.scorers[name] for name in session.scorers}, shown)
    walk = SentenceWalk(
        sentence=options.sentence, tokens=tuple(tokens), suite=suite.id, runs=tuple(r.id for r in runs), coders=tuple(coders),
        latents=tuple(
            walked_latent(a, next(c.hookpoint for c in coders if c.name == a.coder), lines[a.id], merged_texts(runs, a.id))
            for a in found
        ),
        limits=(f"An example, chosen before its latents were known; {len(found)} latents prove nothing.",),
    )  # fmt: skip
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
    result.figures["figure"] = walk_figure(walk, main)
    result.walk = walk
    result.findings = [
        f"{c}: "
        + "; ".join(f"{tokens[a.place].strip()!r} {a.id} ({a.share:.0%} of its maximum)" for a in found if a.coder == c)
        for c in options.coders
        if indices[c]
    ]
    result.limits += walk.limits
    result.limits.append(
        f"{passed_over} stronger latents of the sentence fire in too few windows of the corpus and are left out."
    )
    return result


def active_latents(
    session: Session, recipe: SuiteRecipe, loaded: Loaded, options: WalkthroughOptions
) -> tuple[list[str], list[Candidate], list[WalkedCoder], dict[str, tuple[float, ...]], int]:
    """Token strings of the sentence, the latents to show, how many fire, their activations by id, and how many stronger ones the
    corpus has too few windows for.
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
    found: list[Candidate] = []
    counted: dict[str, WalkedCoder] = {}
    lines: dict[str, tuple[float, ...]] = {}
    passed_over = 0
    for entry, coder in zip(entries, coders, strict=True):
        table = store.coder(coder.name)
        windows = count(table.indptr, table.position, table.value, tiles).windows
        here = fired[coder.name]
        rows, latents, values = (t.cpu().numpy() for t in (here.rows, here.latents, here.values.float()))
        active = {int(i) for i in latents}
        top = {i: float(np.asarray(store.latent(coder.name, i)[1]).max(initial=0.0)) for i in active}
        needed = entry.min_windows or recipe.min_windows
        enough = {i for i in active if windows[i] >= needed}
        chosen, skipped = choose(candidates(coder.name, rows, latents, values, top), enough, options.per_coder)
        found += chosen
        passed_over += skipped
        lines |= {c.id: line(rows, latents, values, c.index, len(ids)) for c in chosen}
        counted[coder.name] = WalkedCoder(
            name=coder.name, hookpoint=coder.hookpoint, fired=len(active), known=len(enough)
        )
    strings = list(TokenStrings(loaded.tokenizer).of([ids.tolist()])[0])
    found.sort(key=lambda c: (options.coders.index(c.coder), c.place))
    return strings, found, [counted[name] for name in options.coders], lines, passed_over


def merged_texts(runs: Sequence[Run], latent: str) -> tuple[WalkText, ...]:
    """What several runs of the same explanations know of a latent: each text once, with the scores of all of them."""
    merged: dict[str, WalkText] = {}
    for text in (t for run in runs for t in texts_of(run).get(latent, ())):
        old = merged.get(text.explainer)
        merged[text.explainer] = text if old is None else old.model_copy(update={"scores": (*old.scores, *text.scores)})
    return tuple(merged.values())


def _scores(run: Any, session: Session) -> dict[str, dict[tuple[str, str], float]]:
    own: pd.DataFrame = run.per_latent({name: session.profile.scorers[name].metric for name in session.scorers})
    return {
        str(scorer): {
            (str(e), str(i)): float(v) for e, i, v in part[["explainer", "latent", "value"]].itertuples(index=False)
        }
        for scorer, part in own.groupby("scorer")
    }
