"""Eight faults that no key of a scorer or explainer would show; each must fail a golden file.

A fault is put where the name is looked up. A move of the code is a change of the paths in `FAULTS` and of nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from tests.builders.golden_contents import text_of
from tests.builders.golden_file import difference

P = "latentbench."


def upside_down(binary_metrics: Any) -> Any:
    """Accuracy is the share of wrong answers."""

    def found(*given: Any) -> dict[str, float]:
        out: dict[str, float] = binary_metrics(*given)
        return out | ({"accuracy": 1 - out["accuracy"]} if "accuracy" in out else {})

    return found


def unshuffled(shuffled: Any) -> Any:
    """Windows are asked in the order they were drawn in: all positives first."""
    return lambda items, seed: list(items)


def other_scale(scaled: Any) -> Any:
    """Activations are shown on 0 to 5."""
    return lambda value, scale: math.ceil(scaled(value, scale) / 2)


def from_nothing(active_marks: Any) -> Any:
    """Every token that fires is marked, however weakly."""
    return lambda activations, threshold: active_marks(activations, 1e-9)


def by_strength(weighted: Any) -> Any:
    """Windows are not drawn by p ~ a^2 but are the strongest ones."""
    return lambda windows, count, seed: sorted(windows, key=lambda w: -w.max)[:count]


def any_length(read_list: Any) -> Any:
    """A list that is too short is filled up with zeros."""

    def found(text: str, n: int) -> tuple[int, ...] | None:
        lists = [read_list(text, size) for size in range(1, n + 1)]
        known = next((values for values in lists if values is not None), None)
        return None if known is None else (*known, *[0] * (n - len(known)))

    return found


def squared(activation_metrics: Any) -> Any:
    """Pearson is squared."""

    def found(*given: Any) -> dict[str, float]:
        out: dict[str, float] = activation_metrics(*given)
        return out | ({"pearson": out["pearson"] ** 2} if "pearson" in out else {})

    return found


FAULTS: dict[str, tuple[list[str], Callable[[Any], Any], str]] = {
    "accuracy upside down": ([P + "scorers.binary_task.binary_metrics"], upside_down, "scorers/detection@1-0.json"),
    "nothing is shuffled": ([P + "prompts.selection.shuffled"], unshuffled, "scorers/detection@1-0.json"),
    "other marks, opening": ([P + "prompts.template.OPEN"], lambda _: "[[", "scorers/fuzzing@1-0.json"),
    "other marks, closing": ([P + "prompts.template.CLOSE"], lambda _: "]]", "explainers/llm@1-0.json"),
    "activations on another scale": ([P + "explainers.llm.scaled"], other_scale, "explainers/llm@1-0.json"),
    "no threshold of marks": ([P + "scorers.fuzzing.active_marks"], from_nothing, "scorers/fuzzing@1-0.json"),
    "the strongest instead of weighted ones": (
        [P + "prompts.selection.weighted"],
        by_strength,
        "scorers/saebench@1-0.json",
    ),
    "lists of any length": ([P + "scorers.binary_task.read_list"], any_length, "scorers/detection@1-0.json"),
    "pearson squared": ([P + "scorers.simulation.activation_metrics"], squared, "scorers/simulation@1-0.json"),
    "a simulator's tokens by their maximum": (
        [P + "scorers.binary_task.pooled", P + "scorers.fuzzing.pooled"],
        lambda _: lambda values, how: max(values, default=0.0),
        "scorers/fuzzing@1-0.json",
    ),
    "pieces of a token by their minimum": (
        [P + "judges.simulator.reader.per_token"],
        lambda _: lambda values, ranges: np.array([min(values[a:b], default=0.0) for a, b in ranges]),
        "judges/simulator.json",
    ),
}
"""What goes wrong -> where the name is looked up, what stands there instead, and a file that must show it."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_change_of_behaviour_fails_a_golden_file(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    places, wrong, name = FAULTS[fault]
    for place in places:
        module, _, attribute = place.rpartition(".")
        known = getattr(import_module(module), attribute)
        monkeypatch.setattr(place, wrong(known))
    said = difference(name, text_of(name)) or ""
    assert "is not what it was" in said
