"""What a scorer asks, apart from how often: the part of its identity that decides whether a judge is qualified for it.

`Scorer.key` also changes with the number of windows, which no single answer depends on; with it a judge would have to be
qualified again for every sample size. The source is left out as well: a change of it that changes questions changes the version.
"""

from __future__ import annotations

from latentbench.kernel.identity import digest
from latentbench.scorers.scorer import Scorer

SAMPLING = frozenset({"positives", "negatives", "negative_kinds", "trials", "top", "weighted"})
"""Parameters that say which windows are judged and how many."""


def question_key(scorer: Scorer) -> str:
    """Digest of name, version, prompts and every parameter that is not sampling."""
    params = {name: value for name, value in scorer.params.model_dump(mode="json").items() if name not in SAMPLING}
    return digest([scorer.id, params, dict(scorer.prompts)])
