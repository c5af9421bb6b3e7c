"""What people are shown of a run: explanations beside the windows that its scorers judged, not who wrote or scored them.

Which items there are is drawn without the rater, so that several raters share them and their agreement can be measured; the order
and the sides of a pair are drawn with the rater, so that fatigue and a liking for the left are not shared. One order for all is
the tempting way, and then everybody is tired at the same explanations.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from latentbench.analysis.people.given_rating import PAIR, SCALE
from latentbench.kernel.errors import SpecError, UnknownName
from latentbench.kernel.identity import digest, seed_for, share
from latentbench.kernel.latent import LatentView, Window
from latentbench.runs.finished import Run
from latentbench.suites.store import Suite

WINDOWS = 10
"""Windows shown of a latent."""
SILENT = 0.3
"""Share of them in which the latent is silent, as far as there are such."""


@dataclass(frozen=True, slots=True)
class RatedItem:
    """One question to a person.

    Attributes:
        id: names it to the page; says nothing of explainer or score.
        latent: what is explained.
        task: `scale` (one text) or `pair` (two).
        hashes, texts: of the explanations, in the order of their hashes.
        windows: test windows, in an order of their own.
    """

    id: str
    latent: str
    task: str
    hashes: tuple[str, ...]
    texts: tuple[str, ...]
    windows: tuple[Window, ...]


def rated_items(
    run: Run,
    suite: Suite,
    task: str = SCALE,
    *,
    explainers: Sequence[str] | None = None,
    limit: int | None = None,
    windows: int = WINDOWS,
    seed: int = 0,
) -> list[RatedItem]:
    """The items of a session, latent by latent.

    Args:
        task: `scale` or `pair`.
        explainers: labels; all that are no floor by default, and all if there are only floors.
        limit: at most so many, drawn with the seed and spread over latents.

    Raises:
        UnknownName: an explainer that the run does not have.
        SpecError: nothing is left to rate.
    """
    known = run.record.explainers
    for label in explainers or ():
        if label not in known:
            raise UnknownName("explainer of the run", label, list(known))
    wanted = list(explainers or [e.label for e in known.values() if not e.is_floor] or known)
    told = run.explanations[run.explanations["explainer"].isin(wanted)]
    judged = run.judgements[run.judgements["item"].notna()].groupby("latent")["item"].agg(set).to_dict()
    found: list[list[RatedItem]] = []
    for latent in run.record.latents:
        own = told[told["latent"] == latent]
        texts = {h: t for h, t in zip(own["hash"], own["text"], strict=True) if isinstance(t, str) and t.strip()}
        groups = combinations(sorted(texts), 2) if task == PAIR else ((h,) for h in sorted(texts))
        shown = _windows(suite.latent(latent), judged.get(latent, set()), windows, seed)
        items = [
            RatedItem(digest([seed, task, latent, group]), latent, task, group, tuple(texts[h] for h in group), shown)
            for group in groups
        ]
        random.Random(seed_for("rated", seed, latent)).shuffle(items)
        found.append(items)
    random.Random(seed_for("latents", seed)).shuffle(found)
    # One of every latent before the second of any, so that a limit costs explanations and not latents.
    most = max(map(len, found), default=0)
    chosen = [items[place] for place in range(most) for items in found if place < len(items)][:limit]
    if not chosen:
        need = "two different explanations of one latent" if task == PAIR else "an explanation with text"
        raise SpecError(
            f"{run.folder} has nothing to rate: no latent has {need} by {', '.join(wanted)}. Name others with --explainer."
        )
    return chosen


def order_for(items: Sequence[RatedItem], rater: str, seed: int) -> list[RatedItem]:
    """The items in the order of one rater: the same whenever it is asked for."""
    return sorted(items, key=lambda item: share("order", seed, rater, item.id))


def is_turned(item: RatedItem, rater: str, seed: int) -> bool:
    """Whether a rater sees the texts of a pair in the other order."""
    return item.task == PAIR and share("side", seed, rater, item.id) < 0.5


def _windows(view: LatentView, judged: set[float], most: int, seed: int) -> tuple[Window, ...]:
    """Test windows that were judged (all, where none is on record), active and silent ones, mixed."""
    test = [w for w in view.test if w.id in judged] or list(view.test)
    rng = random.Random(seed_for("windows", seed, view.id))
    active, silent = ([w for w in test if w.active is fires] for fires in (True, False))
    quiet = min(len(silent), round(most * SILENT))
    chosen = _spread(active, most - quiet, rng)
    chosen += rng.sample(silent, min(len(silent), most - len(chosen)))
    rng.shuffle(chosen)
    return tuple(chosen)


def _spread(active: list[Window], most: int, rng: random.Random) -> list[Window]:
    """Windows at equal steps from the strongest to the weakest, so that the weak ones are seen, too."""
    ranked = sorted(active, key=lambda w: (-w.max, rng.random()))
    n = min(most, len(ranked))
    return [ranked[int((i + 0.5) * len(ranked) / n)] for i in range(n)]
