"""What a simulator is asked and what it answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SimulatorWindow:
    """One window under one explanation.

    Attributes:
        explanation: z.
        tokens: the window's token strings; joined they are its text, which is not empty.
    """

    explanation: str
    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SimulatedWindow:
    """What a simulator says about one window.

    Attributes:
        tokens: p(active) per token.
        window: p(active) of the window.
        n: tokens of the base that the question has.
        saved: how many of them were not computed for it.
    """

    tokens: tuple[float, ...]
    window: float
    n: int
    saved: int
