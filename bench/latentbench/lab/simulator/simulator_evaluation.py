"""How well logits match truth: AUROC and calibration error, in all, by family of concept and by kind of silent window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from latentbench.judges.simulator.artifact import Calibration, Scaling
from latentbench.lab.simulator.batch import EncodedExample, collate
from latentbench.lab.simulator.lessons import ACTIVE
from latentbench.lab.simulator.model import Simulator
from latentbench.stats import ranking

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SimulatorAnswers:
    """Logits and truth of a set of examples.

    Attributes:
        window, active: float64 [W], the logit and whether the concept fires.
        kind, family: [W], of each window.
        token, fires: float64 [T] over window tokens (not pieces); the logit is the largest of a token's pieces.
        token_family: [T].
    """

    window: Floats
    active: Floats
    kind: NDArray[np.str_]
    family: NDArray[np.str_]
    token: Floats
    fires: Floats
    token_family: NDArray[np.str_]


@torch.inference_mode()
def answers(simulator: Simulator, rows: Sequence[EncodedExample], batch: int = 8) -> SimulatorAnswers:
    """Run held-out examples through the model."""
    window, active, kind, family = [], [], [], []
    token, fires, token_family = [], [], []
    order = sorted(range(len(rows)), key=lambda i: rows[i].length)
    for start in range(0, len(rows), batch):
        chosen = [rows[i] for i in order[start : start + batch]]
        found = collate(chosen)
        tokens, windows = simulator.logits(found)
        values, w = tokens.double().cpu().numpy(), 0
        window.extend(windows.double().cpu().tolist())
        for row in chosen:
            for shown, ranges in zip(row.example.windows, row.ranges, strict=True):
                active.append(float(shown.active))
                kind.append(shown.kind)
                family.append(row.example.family)
                for (a, b), label in zip(ranges, shown.labels, strict=True):
                    if b > a:
                        token.append(float(values[w, a:b].max()))
                        fires.append(float(label))
                        token_family.append(row.example.family)
                w += 1
    return SimulatorAnswers(
        np.array(window),
        np.array(active),
        np.array(kind),
        np.array(family),
        np.array(token),
        np.array(fires),
        np.array(token_family),
    )


def auroc(score: Floats, label: Floats) -> float | None:
    """Area under the ROC curve of 0/1 labels; None, which JSON can hold, where one class is missing."""
    value = ranking.auroc(label > 0.5, score)
    return None if np.isnan(value) else value


def calibration_error(probability: Floats, label: Floats, bins: int = 15) -> float:
    """Expected calibration error (Naeini et al. 2015): |mean probability - share of positives| over equal-width bins,
    weighted by their size."""
    place = np.minimum((probability * bins).astype(int), bins - 1)
    total = 0.0
    for b in range(bins):
        own = place == b
        if own.any():
            total += own.mean() * abs(float(probability[own].mean()) - float(label[own].mean()))
    return float(total)


def platt(logit: Floats, label: Floats) -> Scaling:
    """Scale and bias that minimise the log loss of sigmoid(scale x + bias) (Platt 1999)."""
    from scipy.optimize import minimize

    def loss(v: Floats) -> float:
        z = v[0] * logit + v[1]
        return float(np.mean(np.logaddexp(0, z) - label * z))

    found = minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead")
    return Scaling(scale=float(found.x[0]), bias=float(found.x[1]))


def calibrate(found: SimulatorAnswers) -> Calibration:
    """Both scalings, fitted on concepts that are neither trained on nor reported."""
    return Calibration(window=platt(found.window, found.active), token=platt(found.token, found.fires))


def sigmoid(logit: Floats, scaling: Scaling) -> Floats:
    """Probability of a logit."""
    out: Floats = 1 / (1 + np.exp(-(scaling.scale * logit + scaling.bias)))
    return out


def report(found: SimulatorAnswers, calibration: Calibration) -> dict[str, Any]:
    """Figures of a set of examples, rounded to four places."""
    window, token = sigmoid(found.window, calibration.window), sigmoid(found.token, calibration.token)
    by_kind = {}
    for kind in sorted(set(found.kind) - {ACTIVE}):
        own = (found.kind == ACTIVE) | (found.kind == kind)
        by_kind[str(kind)] = auroc(found.window[own], found.active[own])
    by_family = {
        str(f): {
            "windows": int((found.family == f).sum()),
            "window_auroc": auroc(found.window[found.family == f], found.active[found.family == f]),
            "token_auroc": auroc(found.token[found.token_family == f], found.fires[found.token_family == f]),
        }
        for f in sorted(set(found.family))
    }
    figures: dict[str, Any] = _rounded(
        {
            "windows": len(window),
            "tokens": len(token),
            "window_auroc": auroc(found.window, found.active),
            "token_auroc": auroc(found.token, found.fires),
            "window_ece": calibration_error(window, found.active),
            "token_ece": calibration_error(token, found.fires),
            "window_auroc_by_silent_kind": by_kind,
            "by_family": by_family,
        }
    )
    return figures


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return round(value, 4) if isinstance(value, float) else value
