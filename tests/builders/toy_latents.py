"""Small latents for tests: every word is a token with its leading space."""

from __future__ import annotations

from collections.abc import Sequence

from latentbench.kernel.latent import LatentView, Window

WORDS = ["river", "old", "town", "bridge", "iron", "stone", "map", "wheat", "price", "onion", "oven", "letter"]


def window(number: int, kind: str, activations: Sequence[float], role: str = "test", mark: str = "") -> Window:
    tokens = tuple(f" {mark}{WORDS[(number * 5 + 7 * t) % len(WORDS)]}{number}" for t in range(len(activations)))
    ids = tuple(1000 * number + t for t in range(len(activations)))
    return Window(number, role, kind, ids, tokens, tuple(map(float, activations)), 64 * number)


def latent(
    positives: int = 20, negatives: int = 20, name: str = "sae/7", length: int = 8, explain: int = 10, hard: int = 0
) -> LatentView:
    """Positives 0.. in deciles by turn, each firing on 1 to 3 tokens; negatives 1000..; explain windows 2000..."""
    test = []
    for i in range(positives):
        acts = [0.0] * length
        for j in range(1 + i % 3):
            acts[(i + 3 * j) % length] = 4.0 - j
        test.append(window(i, f"quantile:{i % 10}", acts))
    test += [window(1000 + i, "random", [0.0] * length) for i in range(negatives)]
    test += [window(1500 + i, "similar", [0.0] * length) for i in range(hard)]
    shown = [
        window(2000 + i, f"quantile:{9 - i % 10}", [0.0] * 3 + [10.0 - i / 2] + [1.0] + [0.0] * (length - 5), "explain")
        for i in range(explain)
    ]
    coder, _, index = name.rpartition("/")
    return LatentView(name, coder, int(index), "test", {}, tuple(shown), tuple(test))
