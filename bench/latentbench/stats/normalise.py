"""Floor normalisation: 0 is what an answer that knows nothing gets, 1 is perfect.

Raw scores of tasks with different floors (0.5, 0.714, 1/k) must not stand side by side: 0.75 is half of the way on one of
them and an eighth on another. Values below the floor stay negative; cutting them at 0 would hide a judge that is worse than
chance and bias every mean upwards.
"""

from __future__ import annotations

from typing import overload

import numpy as np
from numpy.typing import NDArray


@overload
def normalise(score: float, floor: float) -> float: ...
@overload
def normalise(score: NDArray[np.float64], floor: float | NDArray[np.float64]) -> NDArray[np.float64]: ...
def normalise(score: float | NDArray[np.float64], floor: float | NDArray[np.float64]) -> float | NDArray[np.float64]:
    """(s - f) / (1 - f).

    Args:
        score: s, at most 1.
        floor: f < 1.

    Raises:
        ValueError: f >= 1 leaves no room above the floor.
    """
    if np.any(np.asarray(floor) >= 1):
        raise ValueError(f"a floor of {floor} leaves nothing to normalise by; it must be below 1.")
    return (score - floor) / (1 - floor)
