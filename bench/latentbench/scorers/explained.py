"""Whether a scorer asks about an explanation at all.

It is looked up in what the scorer asks and not declared by it: a declaration can be wrong, and a trial without the explanation
is what makes every explainer's question the same one, asked and paid once.
"""

from __future__ import annotations

from latentbench.kernel.latent import LatentView
from latentbench.scorers.scorer import Scorer

TOLD = "Names of days of the week."


def asks_about_explanation(scorer: Scorer, latent: LatentView) -> bool:
    """Whether any trial about a latent holds the explanation that it is made of."""
    return TOLD in [trial.explanation for trial in scorer.trials(latent, TOLD, 0)]
