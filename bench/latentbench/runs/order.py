"""The same windows in another order.

A judge that answers a list of windows may answer by place. How much that moves a score is measured by showing what was drawn in
another order, with nothing drawn anew; another seed would also draw other windows and marks, and the two could not be told
apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from latentbench.kernel.identity import seed_for
from latentbench.kernel.trial import Trial
from latentbench.prompts.selection import shuffled


def reordered(trials: Sequence[Trial], order: int, seed: int = 0) -> list[Trial]:
    """The windows of all trials dealt anew to prompts of the same sizes.

    Args:
        trials: of one latent.
        order: number of the order; 0 leaves the trials as they are.
        seed: of the latent, so that what moves where differs between latents.

    Returns:
        As many trials, with the ids they had. Trials that show one window each, or whose windows are not judged one by one
        (an intruder among others), have no such order and come back unchanged.
    """
    if order == 0 or any(t.kind for t in trials) or all(len(t.windows) < 2 for t in trials):
        return list(trials)
    places = [(t, i) for t in trials for i in range(len(t.windows))]
    dealt = iter(shuffled(places, seed_for("order", order, seed, trials[0].task)))
    found = []
    for trial in trials:
        own = [next(dealt) for _ in trial.windows]
        found.append(
            replace(
                trial,
                windows=tuple(t.windows[i] for t, i in own),
                truth=tuple(t.truth[i] for t, i in own),
                token_truth=tuple(t.token_truth[i] for t, i in own) if trial.token_truth else (),
            )
        )
    return found
