"""Which latents of a finished run fire in a sentence: its subject and coders are run over it once.

Only latents that the run has explained are shown, so nothing is asked and nothing is paid. Explaining whatever fires is the
tempting alternative; it is the study `walkthrough`, takes minutes, and its latents are in nobody's table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from latentbench.analysis.walkthrough.sentence_walk import (
    Candidate,
    SentenceWalk,
    WalkedCoder,
    WalkedLatent,
    WalkScore,
    WalkText,
    choose,
)
from latentbench.kernel.errors import DigestMismatch, SpecError, UnknownName
from latentbench.kernel.latent import LatentRef
from latentbench.models.language_model import Loaded, load
from latentbench.runs.finished import Run
from latentbench.subject.activations.encode import encode_contexts
from latentbench.subject.coders.coder_spec import load_coder
from latentbench.subject.coders.sparse import SparseCoder
from latentbench.subject.hooks import INPUT, STACK, site
from latentbench.suites.build.suite_recipe import anchored_recipe, load_recipe
from latentbench.suites.build.token_strings import TokenStrings
from latentbench.suites.rerun import as_built, changed
from latentbench.suites.store import Suite


def walk_run(run: Run, suite: Suite, sentence: str, per_coder: int = 3, coders: Sequence[str] = ()) -> SentenceWalk:
    """Walk through a sentence with the latents of a run.

    Args:
        run: a finished run.
        suite: the one that it ran on, built from a subject.
        sentence: any text that the subject reads whole.
        per_coder: latents shown of each coder, on different tokens as far as there are.
        coders: names; all of the run by default.

    Raises:
        SpecError: the suite has no subject, or the sentence is none or too long for it.
        UnknownName: a coder that the run has no latent of.
        DigestMismatch: subject or a coder are others than in the suite's build.
        ModelError, CoderError: they cannot be loaded.
    """
    own = sorted(set(run.explanations["latent"]))
    there = [c for c in suite.coders if any(LatentRef(i).coder == c for i in own)]
    for name in coders:
        if name not in there:
            raise UnknownName(f"coder of run {run.id}", name, there)
    loaded, machines = _subject(suite, [c for c in there if not coders or c in coders])
    ids = _read(sentence, loaded)
    fired = encode_contexts(loaded, list(machines.values()), [ids])
    texts = texts_of(run)
    # Out of the table: a latent as an object brings all its windows.
    largest = dict(zip(suite.ids, suite.latent_table.column("max_activation").to_pylist(), strict=True))
    walked: list[WalkedLatent] = []
    counted: list[WalkedCoder] = []
    for name, coder in _by_layer(loaded, machines):
        sparse = fired[name]
        rows, latents, values = (t.cpu().numpy() for t in (sparse.rows, sparse.latents, sparse.values.float()))
        known = {LatentRef(i).index: i for i in own if LatentRef(i).coder == name}
        top = {index: largest[i] or 0.0 for index, i in known.items()}
        chosen, _ = choose(candidates(name, rows, latents, values, top), set(known), per_coder)
        n = len(ids)
        walked += [
            walked_latent(c, coder.hookpoint, line(rows, latents, values, c.index, n), texts[c.id]) for c in chosen
        ]
        here = set(latents.tolist())
        counted.append(WalkedCoder(name=name, hookpoint=coder.hookpoint, fired=len(here), known=len(here & set(known))))
    fires, knows = (sum(getattr(c, what) for c in counted) for what in ("fired", "known"))
    limits = [f"{fires:,} latents of these coders fire in the sentence; the run knows {knows:,} of them."]
    if not walked:
        limits.append("None of the run's latents fires here. Take another sentence, or `bench study walkthrough`.")
    limits.append("A score of one latent has no interval over latents: compare it with its floor, and read the counts.")
    return SentenceWalk(
        sentence=sentence,
        tokens=TokenStrings(loaded.tokenizer).of([ids.tolist()])[0],
        suite=suite.id,
        runs=(run.id,),
        coders=tuple(counted),
        latents=tuple(walked),
        limits=tuple(limits),
    )


def texts_of(run: Run) -> dict[str, tuple[WalkText, ...]]:
    """Every explanation of a run by latent, of the first repeat, with its headline scores; floors last."""
    headline = {s.label: s.headline for s in run.record.scorers.values()}
    scores: dict[tuple[str, str], list[WalkScore]] = {}
    columns = ["explainer", "latent", "scorer", "judge", "value", "judged", "attempted"]
    for e, i, scorer, judge, value, judged, attempted in run.per_latent()[columns].itertuples(index=False):
        score = WalkScore(
            scorer=scorer, judge=judge, metric=headline[scorer], value=None if value != value else float(value),
            judged=int(judged), attempted=int(attempted),
        )  # fmt: skip
        scores.setdefault((str(e), str(i)), []).append(score)
    first = run.explanations[run.explanations["repeat"] == 0]
    found: dict[str, list[WalkText]] = {}
    for e, i, text in first[["explainer", "latent", "text"]].itertuples(index=False):
        floor = run.record.explainers[e].is_floor
        said = text if isinstance(text, str) else ""
        told = WalkText(explainer=e, is_floor=floor, text=said, scores=tuple(scores.get((e, i), ())))
        found.setdefault(str(i), []).append(told)
    return {i: tuple(sorted(texts, key=lambda t: t.is_floor)) for i, texts in found.items()}


def candidates(
    coder: str,
    rows: NDArray[np.int64],
    latents: NDArray[np.int64],
    values: NDArray[np.float32],
    top: Mapping[int, float],
) -> list[Candidate]:
    """Every latent on every token where it fires, by its activation as a share of its maximum over the corpus.

    Args:
        rows, latents, values: active latents, one entry per token and latent.
        top: coordinate -> that maximum; a latent without one counts as the strongest there is.
    """
    found = []
    for place, index, value in zip(rows.tolist(), latents.tolist(), values.tolist(), strict=True):
        most = top.get(index, 0.0)
        found.append(Candidate(coder, index, place, value, value / most if most > 0 else float("inf")))
    return sorted(found, key=lambda c: (-c.share, c.index, c.place))


def line(
    rows: NDArray[np.int64], latents: NDArray[np.int64], values: NDArray[np.float32], index: int, n: int
) -> tuple[float, ...]:
    """Activations of one latent on n tokens."""
    dense = np.zeros(n, np.float32)
    mine = latents == index
    dense[rows[mine]] = np.maximum(values[mine], 0)
    return tuple(round(float(v), 4) for v in dense)


def walked_latent(
    c: Candidate, hookpoint: str, activations: tuple[float, ...], texts: Sequence[WalkText]
) -> WalkedLatent:
    """A chosen latent with what is known of it."""
    share = None if c.share == float("inf") else round(c.share, 4)
    return WalkedLatent(
        id=c.id,
        coder=c.coder,
        hookpoint=hookpoint,
        place=c.place,
        activations=activations,
        share=share,
        texts=tuple(texts),
    )


def _subject(suite: Suite, wanted: Sequence[str]) -> tuple[Loaded, dict[str, SparseCoder]]:
    if "subject" not in suite.manifest:
        raise SpecError(f"{suite.id} was not built from a subject; nothing can be run over a sentence.")
    recipe = anchored_recipe(load_recipe(suite.path / "recipe.yaml"), suite.path.resolve())
    loaded = as_built(load(recipe.subject.model, recipe.subject.dtype, "auto", recipe.subject.loading), suite)
    coders = {e.coder.name: load_coder(e.coder, loaded, verify=False) for e in recipe.coders if e.coder.name in wanted}
    if differing := changed(suite.manifest, loaded, coders):
        raise DigestMismatch(f"{suite.id} cannot be run over a sentence: {'; '.join(differing)}.")
    return loaded, coders


def _read(sentence: str, loaded: Loaded) -> NDArray[np.int32]:
    ids = np.asarray(loaded.tokenizer(sentence, add_special_tokens=False)["input_ids"], dtype=np.int32)
    limit = (loaded.context or 1 << 30) - (loaded.bos is not None)
    if not 0 < len(ids) <= limit:
        raise SpecError(f"the sentence has {len(ids):,} tokens; the subject reads 1 to {limit:,}, and nothing is cut.")
    return ids


def _by_layer(loaded: Loaded, coders: Mapping[str, SparseCoder]) -> list[tuple[str, SparseCoder]]:
    """Coders by the block that they read in, what is inside a block before its output; outside of all blocks comes first."""

    def place(coder: SparseCoder) -> tuple[int, bool]:
        parts = site(loaded, coder.hookpoint).name.split(".")
        inside = parts[0] == STACK and len(parts) > 1 and parts[1].removesuffix(INPUT).isdigit()
        return (int(parts[1].removesuffix(INPUT)), len(parts) == 2) if inside else (-1, False)

    return sorted(coders.items(), key=lambda pair: place(pair[1]))
