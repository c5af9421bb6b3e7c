"""Raters that a generator makes, of a reliability that is known: no person rated anything here."""

from __future__ import annotations

import numpy as np
from latentbench.analysis.people.given_rating import SCALE, GivenRating, pair_rating
from latentbench.runs.finished import Run


def generated_ratings(run: Run, raters: int, noise: float, seed: int = 0) -> list[GivenRating]:
    """Ratings of every text of the run: its mean score on detection, plus noise of the rater's own, cut into five equal parts.

    Args:
        noise: standard deviation in units of that of the scores; two raters correlate at 1 / (1 + noise^2) before they are cut.
    """
    rng = np.random.default_rng(seed)
    scores = run.per_latent().groupby(["latent", "explainer"])["value"].mean()
    told = run.explanations[run.explanations["repeat"] == 0]
    truth = scores.loc[list(zip(told["latent"], told["explainer"], strict=True))].to_numpy()
    # Scores of a few windows have ties, which would themselves bound the correlation.
    truth = (truth - truth.mean()) / truth.std()
    found = []
    for i in range(raters):
        felt = truth + noise * rng.standard_normal(len(truth))
        values = 1 + np.searchsorted(np.quantile(felt, [0.2, 0.4, 0.6, 0.8]), felt)
        found += [
            GivenRating(f"generated-{i}", SCALE, latent, text, "", int(value), 1.0, "generated")
            for latent, text, value in zip(told["latent"], told["hash"], values, strict=True)
        ]
    return found


def generated_choices(run: Run, right: float, seed: int = 0) -> list[GivenRating]:
    """Choices between the texts of two explainers; one rater, who prefers the better score in a known share of the latents."""
    rng = np.random.default_rng(seed)
    scores = run.per_latent().groupby(["explainer", "latent"])["value"].mean()
    told = run.explanations.set_index(["explainer", "latent"])["hash"]
    a, b = [e.label for e in run.record.explainers.values() if not e.is_floor][:2]
    found = []
    for latent in run.record.latents:
        gap = np.sign(scores[a, latent] - scores[b, latent])
        if gap:
            better = int(gap) if rng.random() < right else -int(gap)
            found.append(
                pair_rating("generated-0", latent, (told[a, latent], told[b, latent]), better, 1.0, "generated")
            )
    return found
