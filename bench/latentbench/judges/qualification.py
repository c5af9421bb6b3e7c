"""What is known of a judge from latents whose truth is known: one committed file per judge and way of asking.

Runs read these files and carry the verdict beside every score, so this module stands low and knows no harness. A run whose judge
has no file here says `unqualified`; leaving the field out would look like a pass.

    leaderboards/judges/JUDGEKEY-SCORER.json          written by `bench judge qualify --submit`, with a digest over its content
    leaderboards/judges/JUDGEKEY-SCORER-SUITE.json    the same on another suite than `planted-1`

An exam of the kind of truth that a judge was trained on is in distribution, and flatters it. So where there is another exam, that
one gives the verdict.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from latentbench.kernel.config import Frozen, validate
from latentbench.kernel.errors import DataError, DigestMismatch
from latentbench.kernel.file_name import file_name
from latentbench.kernel.files import write_json
from latentbench.kernel.identity import digest
from latentbench.kernel.inputs import read_json
from latentbench.views.number import rounded

FOLDER = Path("leaderboards") / "judges"
UNQUALIFIED = "unqualified"
FIRST = "planted-1"
RULES = "rules"
"""Distribution of suites whose truths are rules over words; that of every suite that names none."""
STRENGTH = (RULES, "written", "people")
"""Distributions of truths, the one whose exam says most of a judge last: labels by people on text by people."""


class Mean(Frozen):
    """Mean over latents with its 95 % bootstrap interval; bounds are None with too few latents."""

    estimate: float
    low: float | None
    high: float | None
    n: int


class Retest(Frozen):
    """Agreement of a judge with itself: windows asked again with order, company in a list and marks of negatives drawn anew."""

    n: int
    """Judgements that were asked twice."""
    r: float | None
    """Pearson correlation of the probabilities; None where the judge gives none or they do not vary."""
    same: float | None
    """Share of equal yes/no answers; None where there are none."""


class Position(Frozen):
    """Accuracy by place in a list prompt."""

    accuracy: tuple[float, ...]
    spread: float
    """Largest minus smallest accuracy."""
    p: float
    """Share of permutations of the answers' correctness within prompts with at least this spread."""


class Qualification(Frozen):
    """One judge, asked by one scorer in one way."""

    judge: str
    """Label of the judge."""
    judge_key: str
    judge_identity: dict[str, Any]
    scorer: str
    """Scorer as `name@version`."""
    scorer_label: str
    """Name of the scorer, with the preset if there is one."""
    question_key: str
    """Key of the way of asking (`latentbench.scorers.scorer.question_key`)."""
    headline: str
    suite: str
    suite_digest: str
    distribution: str = RULES
    """Where the suite's truths come from."""
    trained_on: tuple[str, ...] | None = None
    """Distributions that the judge was trained on; None in rows from before there was more than one exam."""
    split: str
    latents: int = Field(ge=0)
    repeats: int = Field(ge=1)
    judgements: int = Field(ge=0)
    coverage: float
    truth_over: dict[str, Mean]
    """Share of latents on which the truth has the higher headline, a tie counting half: over `near` and `unrelated` as a
    whole, over each near miss, and over the list of the latent's strongest `tokens`. Chance is 0.5."""
    paraphrase_over: dict[str, Mean] = Field(default={})
    """Share of latents on which the truth in other words has the higher headline, over `near` and `unrelated`."""
    truth_over_by_family: dict[str, Mean]
    """Share of latents on which the truth beats its near misses, by family of concepts."""
    unrelated_by_family: dict[str, Mean] = Field(default={})
    """Share of latents on which the truth beats unrelated explanations, by family of concepts."""
    paraphrase_gap: Mean | None
    """Headline of the truth minus that of its paraphrase."""
    auroc: dict[str, dict[str, Mean]]
    """Explanation -> kind of negative window -> AUROC."""
    auroc_by_family: dict[str, Mean]
    """AUROC of the truth against random windows, by family of concepts."""
    retest: Retest | None
    position: Position | None
    yes_bias: Mean | None
    """Share answered yes minus share of activating windows, given the true explanation."""
    tokens: float
    """Tokens in and out per judgement."""
    dollars: float | None
    """Dollars per judgement; None where the price is unknown."""
    seconds: float
    """Seconds per judgement."""
    date: str
    command: str
    headlines: dict[str, dict[str, float]] = Field(default={}, repr=False)
    """Explanation -> latent -> headline, with all digits, which shares of latents are computed from; empty in rows of before."""
    families: dict[str, str] = Field(default={}, repr=False)
    """Latent -> its family of concepts."""
    tables: tuple[dict[str, str], ...] = ()
    """Digests of the tables of each run that the row is made of; empty in rows of before."""

    @property
    def name(self) -> str:
        """File name without suffix."""
        suite = self.suite.partition("@")[0]
        return file_name(f"{self.judge_key}-{self.scorer_label}" + (f"-{suite}" if suite != FIRST else ""))

    @property
    def in_distribution(self) -> bool:
        """Whether the judge was trained on truths of this suite's kind."""
        if self.trained_on is None:  # all such rows are of rules, which is what every simulator learned until then
            return self.judge_identity.get("provider") == "simulator"
        return self.distribution in self.trained_on

    @property
    def verdict(self) -> str:
        """What a run says of its judge."""
        parts = [f"truth>{over} {self.truth_over[over].estimate:.0%}" for over in ("near", "unrelated")]
        where = f"{self.suite.partition('@')[0]}, n={self.latents}" + (
            ", in distribution" if self.in_distribution else ""
        )
        return f"{', '.join(parts)} ({where})"

    @property
    def weight(self) -> tuple[bool, int]:
        """What orders exams of one judge: outside of its lessons first, then by `STRENGTH`."""
        return (not self.in_distribution, STRENGTH.index(self.distribution) if self.distribution in STRENGTH else 0)


def faults(row: Qualification) -> list[str]:
    """What a row cannot say, whatever it was computed from; one sentence each."""
    groups = {
        "truth_over": row.truth_over,
        "paraphrase_over": row.paraphrase_over,
        "truth_over_by_family": row.truth_over_by_family,
        "unrelated_by_family": row.unrelated_by_family,
        "auroc_by_family": row.auroc_by_family,
        **{f"auroc.{explanation}": kinds for explanation, kinds in row.auroc.items()},
    }
    shares = {f"{group}.{name}": mean for group, means in groups.items() for name, mean in means.items()}
    free = {"paraphrase_gap": row.paraphrase_gap, "yes_bias": row.yes_bias}
    found = [f"it has no truth_over.{over}" for over in ("near", "unrelated") if over not in row.truth_over]
    for name, mean in {**shares, **{k: m for k, m in free.items() if m is not None}}.items():
        ends = [end for end in (mean.low, mean.estimate, mean.high) if end is not None]
        if not all(map(math.isfinite, ends)) or ends != sorted(ends):
            found.append(f"{name} is {mean.estimate}, outside its interval [{mean.low}, {mean.high}]")
        if name in shares and not (ends[0] >= 0 and ends[-1] <= 1):
            found.append(f"{name} is {mean.estimate} [{mean.low}, {mean.high}], and a share lies within 0 and 1")
        if not 0 < mean.n <= row.latents:
            found.append(f"{name} is a mean over {mean.n} of {row.latents} latents")
    if not 0 <= row.coverage <= 1:
        found.append(f"its coverage is {row.coverage}")
    return found


class _File(Frozen):
    layout: Literal[1]
    digest: str = Field(min_length=1)
    row: Qualification


def write(row: Qualification, folder: Path) -> Path:
    """Write a row into its file; an earlier one of the same judge and way of asking is replaced.

    Floats are cut to six digits first, but for those that others are computed from.
    """
    exact = row.headlines
    row = Qualification.model_validate(rounded(row.model_dump(mode="json")))
    row = row.model_copy(update={"headlines": exact})
    path = folder / f"{row.name}.json"
    content = {"layout": 1, "digest": digest(row), "row": row.model_dump(mode="json")}
    write_json(path, content, indent=1)
    return path


def read(folder: Path) -> list[Qualification]:
    """Rows of a folder, in the order of their files; none if it does not exist.

    Raises:
        DataError: not JSON. SpecError: does not fit the schema. DigestMismatch: edited by hand, or it says what cannot be.
    """
    rows = []
    for path in sorted(folder.glob("*.json")):
        try:
            data = read_json(path)
        except (ValueError, OSError) as e:
            raise DataError(f"{path} is not JSON: {e}.") from e
        content = validate(_File, data, str(path))
        # The row as it was written: fields that came later are not in its digest.
        found = digest(data["row"])
        if found != content.digest:
            raise DigestMismatch(f"{path}: the row hashes to {found}, not to {content.digest}; restore it.")
        if wrong := faults(content.row):
            raise DigestMismatch(f"{path}: {wrong[0]}, which cannot be; restore it.")
        rows.append(content.row)
    return rows


def folders() -> list[Path]:
    """Folders in which rows are looked for: below the working directory, the package's repository, the installed package."""
    package = Path(__file__).resolve().parent.parent
    places = (Path.cwd() / FOLDER, package.parents[1] / FOLDER, package / "_judges")
    return list(dict.fromkeys(p.resolve() for p in places if p.is_dir()))


def qualification(judge_key: str, question_key: str, places: Iterable[Path] | None = None) -> str:
    """The verdict on a judge that is asked in this way, by the exam that says most of it, or `unqualified`.

    Args:
        judge_key: `JudgeIdentity.key`.
        question_key: `latentbench.scorers.scorer.question_key` of the scorer.
        places: folders, nearest first; `folders()` by default.
    """
    for place in folders() if places is None else places:
        rows = [row for row in read(place) if (row.judge_key, row.question_key) == (judge_key, question_key)]
        if rows:
            return max(rows, key=lambda row: row.weight).verdict
    return UNQUALIFIED
