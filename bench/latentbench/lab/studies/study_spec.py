"""A study as a YAML file: which cells of the ordinary harness it needs, and what the paper found in their place.

A study names scorers, explainers and suites by the names of a *profile* (`tasks/profiles/`), which says what they are at one
size: which judge, how many windows, which models. So one file describes a study on a laptop and on a GPU box, and a better judge
is put in at one place. Writing models into every study is the obvious way, and then seventeen files are edited to try one judge.

Most studies are of the kind `factor`: something has levels, every level is a cell, and every level is compared with the
reference one latent by latent. The other kinds have a module of their own and their own `options`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from latentbench.kernel.config import WHOLE, Frozen, read_yaml, validate
from latentbench.kernel.errors import UnknownName
from latentbench.kernel.tasks import available, find

PROFILES = "profiles"
STUDIES = "studies"


class ProfileExplainer(Frozen):
    """An explainer of a profile."""

    use: str
    preset: str | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    model: str | None = None
    """Name of the judge of the profile that writes the explanations."""


class ProfileScorer(Frozen):
    """A scorer of a profile."""

    use: str
    preset: str | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    judge: str
    """Name of the judge of the profile that is asked."""
    metric: str
    """The per-latent metric that studies compare. The paper's tables rest on balanced accuracy and AUROC."""
    limit: int | None = Field(default=None, ge=1)
    """Largest number of latents per coder, for a slow judge."""


class ProfileSuite(Frozen):
    """A suite of a profile: a frozen one, or one built from its recipe with changes."""

    use: str
    """Name or folder of the suite."""
    change: dict[str, Any] = Field(default_factory=dict)
    """Keys of the recipe that differ; mappings are merged, everything else is replaced."""


class Profile(Frozen):
    """What the names in studies mean at one size."""

    summary: str
    judges: dict[str, str]
    """Name -> judge reference."""
    explainers: dict[str, ProfileExplainer]
    scorers: dict[str, ProfileScorer]
    suites: dict[str, ProfileSuite]
    latents: int = Field(ge=2)
    """Number of latents per coder, where a study names none."""
    seed: int = Field(default=0, ge=0, le=WHOLE)
    price: dict[str, float] = Field(default_factory=dict)
    """`input` and `output`, dollars per million tokens, at which the study `cost` prices judges that cost nothing."""
    price_note: str = ""

    @model_validator(mode="after")
    def _names(self) -> Profile:
        for kind, entries, field in (("scorer", self.scorers, "judge"), ("explainer", self.explainers, "model")):
            for label, entry in entries.items():
                name = getattr(entry, field)
                if name is not None and name not in self.judges:
                    raise ValueError(
                        f"{kind} {label!r} names the judge {name!r}; known: {', '.join(sorted(self.judges))}"
                    )
        return self


class FactorLevel(Frozen):
    """One level of a factor: what differs from the study."""

    label: str = Field(pattern=r"^[^/]+$")
    """Name of the level in tables."""
    x: float | None = None
    """Value of the level on the factor's axis, where levels have an order; then a trend is tested."""
    sizes: tuple[str, ...] | None = None
    """Sizes at which the level exists; all by default."""
    suite: str | None = None
    """Suite of the profile at this level; the study's by default."""
    change: dict[str, Any] = Field(default_factory=dict)
    """Keys of the suite's recipe that differ at this level."""
    keep: dict[str, str] = Field(default_factory=dict)
    """Field of the corpus' JSONL documents -> regular expression that its value must match."""
    random_subject: bool = False
    """Whether the subject is its architecture with random weights."""
    random_coders: bool = False
    """Whether the trained coders of the suite have random weights: the entries of each matrix in another order."""
    coders: tuple[str, ...] | None = None
    """Coders at this level; the study's by default."""
    explainers: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Explainer of the study -> keys that differ."""
    scorers: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Scorer of the study -> keys that differ."""
    paper: dict[str, float] = Field(default_factory=dict)
    """Scorer -> the paper's number."""


class PaperPlace(Frozen):
    """Place in the paper where the compared numbers stand."""

    where: str
    """Table, figure or section."""
    note: str = ""
    """What has to be known when it is compared."""


class StudySpec(Frozen):
    """One table or figure."""

    title: str
    """Heading of its page."""
    question: str
    """What is asked, as one sentence."""
    kind: Literal[
        "factor",
        "agreement",
        "explanation-free",
        "human",
        "length",
        "intervention",
        "overlap",
        "cost",
        "coverage",
        "walkthrough",
    ] = "factor"
    """What is computed from the runs."""
    paper: PaperPlace
    """Where the paper has the number that is compared."""
    suite: str = "main"
    """Name of a suite of the profile."""
    coders: tuple[str, ...] | None = None
    """Names of coders; those of the suite by default."""
    explainers: tuple[str, ...] = ("main",)
    """Names of explainers of the profile."""
    scorers: tuple[str, ...] = ()
    """Names of scorers of the profile."""
    sizes: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Explainer or scorer of the study -> sizes at which it is used; all by default. What one size cannot pay for at a number of
    latents that shows anything is left to the others."""
    latents: dict[str, int] = Field(default_factory=dict)
    """Size -> latents per coder."""
    levels: tuple[FactorLevel, ...] = ()
    """Levels of the factor; two at least."""
    reference: str | None = None
    """Label of the level that the others are compared with; the first by default."""
    axis: str = ""
    """Name of the factor, for the figure."""
    scale: Literal["linear", "log2"] = "linear"
    """Scale of the factor's axis (`x` of the levels) in the figure."""
    same_latents: bool = False
    """Whether every level's suite holds the latents of the reference level's, so that the comparison is paired."""
    claims: tuple[tuple[str, str], ...] = ()
    """Pairs of levels of which the first should be above the second; each is tested and answered in a sentence."""
    by_decile: bool = False
    """Whether there is also a table of AUROC by activation decile."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the kind of study; the kind `factor` has none."""
    limits: tuple[str, ...] = ()
    """Sentences that say what the study cannot show, whatever its numbers."""

    @model_validator(mode="after")
    def _complete(self) -> StudySpec:
        labels = [level.label for level in self.levels]
        if len(set(labels)) != len(labels):
            raise ValueError("two levels have the same label")
        if self.kind == "factor" and len(labels) < 2:
            raise ValueError("a factor needs at least two levels")
        unknown = sorted({name for claim in self.claims for name in claim} - set(labels))
        if unknown:
            raise ValueError(f"a claim names {unknown[0]!r}, which is not one of the levels {labels}")
        strange = sorted(set(self.sizes) - {*self.explainers, *self.scorers})
        if strange:
            raise ValueError(f"`sizes` names {strange[0]!r}, which is no explainer or scorer of the study")
        if self.reference is not None and self.reference not in labels:
            raise ValueError(f"the reference {self.reference!r} is not one of the levels {labels}")
        return self


def load_study(name: str) -> tuple[str, StudySpec]:
    """A study by name, or by the path of its YAML file: its name and content.

    Raises:
        UnknownName, SpecError: no such study, or it does not fit.
    """
    path = find(STUDIES, name)
    return path.stem, validate(StudySpec, read_yaml(path), str(path))


def load_profile(size: str) -> Profile:
    """A profile by name or path.

    Raises:
        UnknownName, SpecError: no such profile, or it does not fit.
    """
    path = find(PROFILES, size)
    return validate(Profile, read_yaml(path), str(path))


def studies() -> dict[str, Path]:
    """Every study that can be named, and its file."""
    return {name: path for name, path in sorted(available(STUDIES).items()) if path.suffix == ".yaml"}


def check_names(study: StudySpec, profile: Profile, name: str) -> None:
    """Refuse a study that names something the profile does not have, before anything is built.

    Raises:
        UnknownName: the message suggests near names.
    """
    suites = [study.suite, *(level.suite for level in study.levels if level.suite)]
    wanted: list[tuple[str, Any, Any]] = [
        ("suite", suites, profile.suites),
        ("explainer", study.explainers, profile.explainers),
        ("scorer", study.scorers, profile.scorers),
    ]
    for level in study.levels:
        wanted += [("explainer", level.explainers, study.explainers), ("scorer", level.scorers, study.scorers)]
        wanted += [("scorer", level.paper, study.scorers)]
    for kind, names, known in wanted:
        for each in names:
            if each not in known:
                raise UnknownName(f"{kind} of study {name}", each, known)
