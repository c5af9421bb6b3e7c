"""A sentence, the latents that fire in it, and what a run knows of them: as data, before anybody draws it.

A page, a figure and a terminal show the same walkthrough. Drawing straight from runs is the tempting way; then each of the three
chooses its latents anew, and the figure shows others than the page that it illustrates.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, model_validator

from latentbench.kernel.config import Frozen, validate
from latentbench.kernel.errors import RunError
from latentbench.kernel.files import write_json
from latentbench.kernel.inputs import read_json, understood

FILE = "walkthrough.json"


class WalkScore(Frozen):
    """What one scorer and judge made of one explanation of one latent."""

    scorer: str
    """Label of the scorer."""
    judge: str
    """Label of the judge."""
    metric: str
    """The scorer's headline."""
    value: float | None
    """Mean over repeats; None where no judgement could be scored."""
    judged: int
    """Number of judgements that were scored."""
    attempted: int
    """Number of judgements that were asked for."""


class WalkText(Frozen):
    """An explanation of a latent with its scores."""

    explainer: str
    """Label of the explainer."""
    is_floor: bool
    """Whether the explainer knows nothing of the latent; its scores are the floor of the others."""
    text: str
    """The explanation; empty where none was written."""
    scores: tuple[WalkScore, ...] = ()
    """One per scorer and judge."""


class WalkedLatent(Frozen):
    """A latent that fires in the sentence."""

    id: str
    """Id in the suite, `coder/index`."""
    coder: str
    """Name of its coder."""
    hookpoint: str
    """Place in the subject where the coder reads."""
    place: int = Field(ge=0)
    """Number of the token on which it is strongest."""
    activations: tuple[float, ...]
    """One per token of the sentence."""
    share: float | None
    """Largest activation in the sentence over the largest in the corpus; None where that is not known."""
    texts: tuple[WalkText, ...]
    """What explainers said of it, those that know nothing last."""


class WalkedCoder(Frozen):
    """How much of what fires at one place is shown."""

    name: str
    """Name of the coder."""
    hookpoint: str
    """Place in the subject where it reads."""
    fired: int = Field(ge=0)
    """Number of its latents that fire in the sentence."""
    known: int = Field(ge=0)
    """Those among them that could be shown, because there are explanations or windows enough."""


class SentenceWalk(Frozen):
    """A sentence and its latents, layer by layer."""

    sentence: str
    """The text."""
    tokens: tuple[str, ...] = Field(min_length=1)
    """The subject's tokens; joined they are the text."""
    suite: str
    """Suite of the latents, `name@N-X`."""
    runs: tuple[str, ...]
    """Names of the runs that explained and scored them."""
    coders: tuple[WalkedCoder, ...]
    """Coders from the lowest layer to the highest."""
    latents: tuple[WalkedLatent, ...]
    """In the order of `coders`, then of the sentence."""
    limits: tuple[str, ...] = ()
    """What the walkthrough does not show."""

    @model_validator(mode="after")
    def _aligned(self) -> SentenceWalk:
        names = {coder.name for coder in self.coders}
        for latent in self.latents:
            if len(latent.activations) != len(self.tokens) or latent.place >= len(self.tokens):
                raise ValueError(
                    f"latent {latent.id} has {len(latent.activations)} activations for {len(self.tokens)} tokens"
                )
            if latent.coder not in names:
                raise ValueError(f"latent {latent.id} is of a coder that is not listed")
        return self


@dataclass(frozen=True)
class Candidate:
    """A latent at the token on which it might be shown.

    Attributes:
        coder, index: the latent.
        place: number of the token.
        value: activation there.
        share: that activation as a share of the latent's maximum over the corpus; infinite where it has none.
    """

    coder: str
    index: int
    place: int
    value: float
    share: float

    @property
    def id(self) -> str:
        """Id that the latent has in a suite."""
        return f"{self.coder}/{self.index}"


def choose(candidates: Sequence[Candidate], enough: Set[int], n: int) -> tuple[list[Candidate], int]:
    """The first n latents that can be shown, no latent twice, each on another token as far as that goes.

    Args:
        candidates: strongest first. Strength is best a share of the latent's own maximum, because latents that are always strong
            would otherwise fill every sentence.
        enough: coordinates of the latents that can be shown.
        n: how many to take.

    Returns:
        Those chosen, in the order of the sentence, and how many stronger ones could not be shown.
    """
    chosen: list[Candidate] = []
    spare: list[Candidate] = []
    skipped: set[int] = set()
    for c in candidates:
        if len(chosen) == n:
            break
        if c.index not in enough:
            skipped.add(c.index)
        elif c.index not in {o.index for o in (*chosen, *spare)}:
            (spare if c.place in {o.place for o in chosen} else chosen).append(c)
    chosen += spare[: n - len(chosen)]
    return sorted(chosen, key=lambda c: c.place), len(skipped)


def write_walk(folder: Path, walk: SentenceWalk) -> Path:
    """Write `walkthrough.json`."""
    path = folder / FILE
    write_json(path, walk.model_dump(mode="json"))
    return path


def check_sentence(folder: Path, sentence: str) -> None:
    """Refuse a folder that has the walkthrough of another sentence; the same one may be written again.

    Raises:
        RunError: it has, or what it has cannot be read.
    """
    if (folder / FILE).is_file() and (held := read_walk(folder)).sentence != sentence:
        raise RunError(
            f"{folder} has the walkthrough of another sentence, {held.sentence[:60]!r}. Name another folder with --out, or "
            "replace it with --force."
        )


def read_walk(folder: Path) -> SentenceWalk:
    """Read `walkthrough.json` of a folder.

    Raises:
        RunError: there is none, or it cannot be read.
        SpecError: it has other fields or values than a walkthrough.
    """
    path = folder / FILE
    if not path.is_file():
        raise RunError(f"{folder} has no {FILE}. Make one: bench walkthrough RUN 'A sentence.' --out {folder}")
    with understood(path, RunError, "Make it again with `bench walkthrough`."):
        found = read_json(path)
    return validate(SentenceWalk, found, str(path))
