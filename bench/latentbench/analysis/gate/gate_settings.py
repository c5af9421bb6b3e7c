"""What the gate tolerates. Defaults are those of the documentation's table of operating characteristics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from latentbench.analysis.gate.evidence import RESAMPLES


@dataclass(frozen=True)
class Settings:
    """Limits of a gate."""

    delta: float = 0.02
    """How much worse a mean score may be."""
    delta_agreement: float = 0.05
    """How much lower a Spearman correlation between two measures may be."""
    deltas: Mapping[str, float] = field(default_factory=dict)
    """Metric name -> its own delta, for metrics on another scale."""
    coverage: float = 0.02
    """How much lower the share of answered judgements may be."""
    margin: float = 0.25
    """A planted latent is a canary where a real explanation beats a floor by this much in the baseline."""
    canaries: float = 0.95
    """Share of the canaries that must still rank in that order."""
    drift: float = 0.02
    """Mean distance that a judge's answers to the same requests may move, beside twice its own noise."""
    tokens: float = 1.25
    """Tokens per latent may grow by this factor, explaining and judging apart."""
    dollars: float = 1.25
    """The same for cost."""
    latency: float = 2.0
    """The same for seconds, on the same hardware."""
    seed: int = 0
    """Of the bootstrap."""
    resamples: int = RESAMPLES
