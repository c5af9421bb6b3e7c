"""A latent as scorers and explainers see it: its windows and its row, read-only.

Windows are immutable and shared; an earlier tool handed one mutable record through the pipe and every stage changed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from latentbench.kernel.identity import digest


def origin(subject: str, coder: str) -> str:
    """Digest of what computes a latent's activations, so that they are never measured with another subject or coder.

    Args:
        subject: identity of its weights; "" for planted latents.
        coder: its key; the digest of the rules for planted latents.
    """
    return digest([subject, coder])


def coder_of(latent: str) -> str:
    """Name of the coder in a latent's id, which is `coder/index`; here and nowhere else is an id taken apart."""
    return latent.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class LatentRef:
    """A latent as a request names it.

    Attributes:
        id: `coder/index`.
        origin: digest of what computes its activations (see `origin`); "" where the suite does not say.
    """

    id: str
    origin: str = ""

    @property
    def coder(self) -> str:
        """Name of the coder."""
        return coder_of(self.id)

    @property
    def index(self) -> int:
        """Coordinate in the coder."""
        return int(self.id.removeprefix(f"{self.coder}/"))


@dataclass(frozen=True, slots=True)
class Window:
    """A short run of tokens with the latent's true activation on every token.

    Attributes:
        id: row number in the suite's windows table; unique in the suite.
        role: `explain` or `test`.
        kind: `quantile:k` (k = decile, 0 lowest) for activating windows; `random`, `neighbour`, `similar`, ... otherwise.
        ids: token ids.
        tokens: token strings; joined they are the text.
        activations: one per token, >= 0.
        position: corpus position of the first token.
    """

    id: int
    role: str
    kind: str
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    position: int

    @property
    def text(self) -> str:
        """The window's text."""
        return "".join(self.tokens)

    @property
    def max(self) -> float:
        """Largest activation in the window."""
        return max(self.activations, default=0.0)

    @property
    def active(self) -> bool:
        """Whether the latent fires anywhere in the window."""
        return self.max > 0

    @property
    def decile(self) -> int | None:
        """Activation decile of an activating window (0 = weakest), None for the others."""
        kind, _, k = self.kind.partition(":")
        return int(k) if kind == "quantile" else None


@dataclass(frozen=True, slots=True)
class Steered:
    """What an intervention on the latent did to the subject after one prompt.

    Attributes:
        window: id of the window that the prompt was cut from.
        role: `explain` or `test`, that of the window.
        kind: of the window.
        mode: `add` or `ablate`.
        target: KL asked for in nats; None for ablation.
        kl: mean KL over the latent's test prompts at the strength that was found.
        reached: whether that is the target, within the tolerance of the search.
        delta: multiplier of the decoder direction; None for ablation.
        prompt: text up to the first activating token of the window.
        clean, steered: what the subject wrote after it, with the same random numbers; "" for explain prompts.
        promoted, suppressed: next tokens by increase and decrease of probability, largest first.
    """

    window: int
    role: str
    kind: str
    mode: str
    target: float | None
    kl: float
    reached: bool
    delta: float | None
    prompt: str
    clean: str
    steered: str
    promoted: tuple[str, ...]
    suppressed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LatentView:
    """One latent with its windows.

    Attributes:
        id: unique in the suite, `coder/index`.
        coder: name of the coder.
        index: coordinate in the coder.
        split: `tune` or `test`.
        row: every other column of the latents table (firing rates, promoted tokens, planted truth, ...).
        explain: activating windows that an explainer may see, strongest first.
        test: windows that only scorers see.
        contrast: silent windows that an explainer may see; most suites have none.
        interventions: of the suite's intervention table; empty where the suite has none or the latent is not in it.
        peers: the same for every latent of its coder that is in the table, this one included: what its own is compared with.
        origin: see `origin`; "" where the suite does not say.
        cohort: ids of all latents of its coder and split, this one included.
    """

    id: str
    coder: str
    index: int
    split: str
    row: Mapping[str, Any] = field(hash=False, compare=False)
    explain: tuple[Window, ...] = field(hash=False, compare=False)
    test: tuple[Window, ...] = field(hash=False, compare=False)
    contrast: tuple[Window, ...] = field(default=(), hash=False, compare=False)
    interventions: tuple[Steered, ...] = field(default=(), hash=False, compare=False)
    peers: Mapping[str, tuple[Steered, ...]] = field(default_factory=dict, hash=False, compare=False)
    origin: str = ""
    cohort: tuple[str, ...] = field(default=(), hash=False, compare=False)

    @property
    def max(self) -> float:
        """Largest activation over the explain windows: the scale that prompts show activations on."""
        return max((w.max for w in self.explain), default=0.0)
