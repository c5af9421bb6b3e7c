"""Several texts for a latent that fires on several things (after PRISM, arXiv 2506.15538): one for each cluster of its windows.

    before asking   explain windows are clustered by the tokens that fire and what stands around the strongest one
    one round       the prompt of `llm` for each cluster, with that cluster's windows alone
    afterwards      clusters with the same text are one; each text has the share of the windows that it was written from

PRISM clusters by an embedding of the windows. That would need a model that both chats and embeds, which hardly any does, and an
embedding of a whole window says what the text is about and not what fires in it. Tokens need no model and draw nothing, so a
resumed run finds the same clusters. What they cannot see is that Monday and Friday are of one kind: they split too finely rather
than too coarsely, and the writer mends it where it says the same of two clusters. Splitting only where a test finds clusters is
tempting; by tokens it cannot tell two concepts from one (docs/explainers.md), so the test is a figure in the note and decides
nothing.

Scorers read one text. It is all texts joined, or one of them alone; the questions are the same, so a run that has them all pays
once. The best is that of the largest share: choosing by a score on test windows would report the score that was chosen.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, Literal, get_args

import numpy as np
from pydantic import Field

from latentbench.explainers.explainer import Explanation, Others, Params, total_usage
from latentbench.explainers.llm import LlmExplainer, LlmParams
from latentbench.kernel.identity import seed_for
from latentbench.kernel.latent import LatentView, Window
from latentbench.kernel.requests import Outcome, Reply, Request
from latentbench.prompts.template import fill
from latentbench.stats.clusters import Points, split, ward_groups

Use = Literal["union", "best", "second", "third"]
ALONE: tuple[Use, ...] = get_args(Use)[1:]
FIRES, SHAPE, BESIDE, ELSEWHERE = 1.0, 0.5, 0.3, 0.1
"""What a firing token counts for, the shape of the strongest one, a token beside it, and a word elsewhere in the window."""
WORD = re.compile(r"[^\W\d_]{4,}")


class MultiParams(LlmParams):
    """Parameters of the explainer of several texts: those of `llm` for each cluster, and how windows are clustered."""

    clusters: int = Field(default=4, ge=1)
    """Most clusters, and so the number of questions; 1 is `llm`."""
    smallest: int = Field(default=3, ge=1)
    """Windows that a cluster needs to be described. Where none has as many, all windows are one cluster."""
    reach: int = Field(default=2, ge=0)
    """Tokens on each side of the strongest one that count as beside it."""
    by: Literal["tokens", "chance"] = "tokens"
    """`chance` is the control: clusters of the same sizes, of shuffled windows. What it finds comes of asking about a few windows
    several times, and not of the clusters."""
    use: Use = "union"
    """What the scorers read: all texts joined, or that of the largest, second or third share alone. A latent with fewer texts is
    skipped."""


class MultiExplainer(LlmExplainer):
    """Asks one chat request per cluster; replies are read as those of `llm`."""

    more = ("joined",)
    params_model = MultiParams

    def __init__(self, name: str, version: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, params, prompts)
        self._joined = self._section.text("joined", ("before", "text"))

    def requests(self, latent: LatentView, seed: int) -> list[Request]:
        """The prompt of `llm` for each cluster, largest first."""
        return [
            request
            for i, windows in enumerate(self.clustered(latent, seed))
            for request in super(MultiExplainer, self).requests(replace(latent, explain=windows), _seed(seed, i))
        ]

    def clustered(self, latent: LatentView, seed: int) -> list[tuple[Window, ...]]:
        """The clusters that are described, largest first; windows of each strongest first."""
        windows = latent.explain
        if not windows:
            return []
        labels = ward_groups(token_points(windows, self.params.reach), self.params.clusters).tolist()
        if self.params.by == "chance":
            labels = np.random.default_rng(seed_for(seed, "chance")).permutation(labels).tolist()
        sizes = Counter(labels)
        kept = sorted((c for c in sizes if sizes[c] >= self.params.smallest), key=lambda c: (-sizes[c], c))
        found = [tuple(w for w, c in zip(windows, labels, strict=True) if c == kind) for kind in kept]
        return found or [windows]

    def parse(self, latent: LatentView, replies: Sequence[Reply], seed: int, others: Others) -> Explanation:
        """The texts by share, joined or one of them alone. Without the text of one cluster there is no explanation: what is left
        would be compared with whole ones."""
        clusters = self.clustered(latent, seed)
        if not replies or len(replies) != len(clusters):
            return super().parse(latent, (), seed, others)
        usage = total_usage(replies)
        written = [
            super(MultiExplainer, self).parse(latent, [reply], _seed(seed, i), others)
            for i, reply in enumerate(replies)
        ]
        sizes = [len(windows) for windows in clusters]
        wrong = next((w for w in written if w.text is None), None)
        note: dict[str, Any] = {
            "clusters": [
                {"windows": [w.id for w in windows], "text": found.text, "outcome": found.outcome.value}
                for windows, found in zip(clusters, written, strict=True)
            ]
        }
        if wrong is not None:
            return Explanation(latent.id, None, wrong.outcome, usage, f"a cluster has no text: {wrong.error}", note)
        held: Counter[str] = Counter()
        for found, size in zip(written, sizes, strict=True):
            held[found.text or ""] += size
        texts = sorted(held, key=lambda text: -held[text])
        figure = split(token_points(latent.explain, self.params.reach), 2, seed_for(seed, "split"))
        note |= {
            "used": self.params.use,
            "texts": texts,
            "shares": [round(held[text] / len(latent.explain), 4) for text in texts],
            "split": {"gain": _rounded(figure.gain), "null_gain": _rounded(figure.null), "p": _rounded(figure.p)},
        }
        if self.params.use == "union":
            return Explanation(latent.id, self.union(texts), Outcome.OK, usage, note=note)
        place = ALONE.index(self.params.use)
        if place >= len(texts):
            error = f"it has {len(texts)} text{'s' * (len(texts) > 1)} and no {self.params.use} one"
            return Explanation(latent.id, None, Outcome.SKIPPED, usage, error, note)
        return Explanation(latent.id, texts[place], Outcome.OK, usage, note=note)

    def union(self, texts: Sequence[str]) -> str:
        """All texts as one."""
        return reduce(lambda before, text: fill(self._joined, before=before, text=text), texts)


def token_points(windows: Sequence[Window], reach: int) -> Points:
    """One unit vector per window: which tokens fire, what shape the strongest has, what stands beside it, and other words.

    What only one window has says nothing of which windows belong together and is left out, unless nothing else is there.
    """
    found = [_counted(window, reach) for window in windows]
    times = Counter(name for counts in found for name in counts)
    names = [n for n in sorted(times) if times[n] > 1] or sorted(times)
    points = np.array([[counts.get(name, 0.0) for name in names] for counts in found], np.float64)
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    unit: Points = points / np.where(lengths > 0, lengths, 1)
    return unit


def _counted(window: Window, reach: int) -> dict[str, float]:
    """What a window is made of, each with what it counts for."""
    peak = max(range(len(window.tokens)), key=window.activations.__getitem__)
    bare = [token.strip() for token in window.tokens]
    found = {f"shape {_shape(bare[peak])}": SHAPE}
    for i, (token, value) in enumerate(zip(bare, window.activations, strict=True)):
        if value > 0:
            fires = f"fires {token.lower()}"
            found[fires] = found.get(fires, 0.0) + FIRES * value / window.max
        elif WORD.fullmatch(token):
            found[f"elsewhere {token.lower()}"] = ELSEWHERE
        if i != peak and abs(i - peak) <= reach:
            found[f"beside {i - peak} {token.lower()}"] = BESIDE
    return found


def _shape(token: str) -> str:
    first = token[:1]
    return "capital" if first.isupper() else "letter" if first.isalpha() else "digit" if first.isdigit() else first


def _seed(seed: int, cluster: int) -> int:
    """The first cluster's is that of the latent, so that one cluster alone asks what `llm` asks."""
    return seed_for(seed, "cluster", cluster) if cluster else seed


def _rounded(value: float) -> float | None:
    """Four decimals: the last bits of a sum are no part of what was found. None where there is no spread."""
    return None if math.isnan(value) else round(value, 4)
