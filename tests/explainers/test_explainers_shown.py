"""Which explain windows an explainer reads, and how much of each."""

from __future__ import annotations

from typing import Any

import numpy as np
from latentbench.explainers.explainer import load_explainer
from latentbench.kernel.latent import Window
from latentbench.prompts.examples import Sampling, chosen, cropped
from latentbench.suites.store import load_suite


def _windows(n: int) -> list[Window]:
    return [
        Window(
            i,
            "explain",
            "quantile:1",
            tuple(range(8)),
            tuple("abcdefgh"),
            (0.0, 1.0, 0.0, 0.0, 0.0, 0.0, n - i, 0.0),
            100 * i,
        )
        for i in range(n)
    ]


def test_a_cropped_window_keeps_its_length_and_its_peak() -> None:
    (w,) = _windows(1)
    w = Window(0, "explain", "quantile:1", w.ids, w.tokens, (0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 3.0, 0.0), 100)
    for length in range(1, 9):
        piece = cropped(w, length)
        assert len(piece.tokens) == len(piece.ids) == len(piece.activations) == length
        assert piece.max == 3.0
        assert "".join(piece.tokens) in "abcdefgh"
        assert piece.position == 100 + "abcdefgh".index(piece.tokens[0])
    assert cropped(w, None) is w
    assert cropped(w, 20) is w
    assert "".join(cropped(w, 4).tokens) == "efgh"


def test_sampling_takes_what_it_says_strongest_first() -> None:
    windows = _windows(20)
    assert chosen(windows, 5, "top", 10, 0) == windows[:5]
    names: tuple[Sampling, ...] = ("quantile", "random", "importance")
    for name in names:
        drawn = chosen(windows, 5, name, 2, 7)
        assert len({w.id for w in drawn}) == 5
        assert [w.id for w in drawn] == sorted(w.id for w in drawn)
        assert drawn == chosen(windows, 5, name, 2, 7)
    for part, w in enumerate(chosen(windows, 5, "quantile", 0, 3)):
        assert 4 * part <= w.id < 4 * part + 4
    assert {0, 1} <= {w.id for w in chosen(windows, 5, "importance", 2, 1)}
    assert chosen(windows, 50, "random", 0, 0) == windows


def test_the_tokens_explainer_reads_only_the_chosen_part() -> None:
    latent = load_suite("planted-1").latents(split="tune", limit=1)[0]

    def text(**params: Any) -> str:
        explainer = load_explainer({"use": "tokens", "params": params})
        return str(explainer.parse(latent, [], 0, {}).text)

    assert text() == text(n_examples=len(latent.explain), sampling="top", window=32)
    first = latent.explain[0]
    assert (
        text(n_examples=1, n_contexts=0, window=1).lower()
        == first.tokens[np.argmax(first.activations)].strip().lower() + "."
    )
