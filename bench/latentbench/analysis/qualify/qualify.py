"""Qualification: planted explanations x one scorer x one judge through the ordinary harness, then `measure`.

A path of its own from question to answer would be shorter and would qualify that path, not the one that is used. The runs lie in
`runs/` like all others and are gone on with if they were stopped. The second asking has its own reply cache: a reply that is
read from the cache would agree with itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from latentbench.analysis.qualify import qualify_measures as measure
from latentbench.explainers.planted_truth import EVERY
from latentbench.judges.qualification import RULES, Qualification
from latentbench.judges.simulator.artifact import lessons
from latentbench.kernel.config import validate
from latentbench.kernel.errors import DataError, SpecError
from latentbench.kernel.file_name import file_name
from latentbench.kernel.identity import digest
from latentbench.kernel.inputs import understood
from latentbench.kernel.kinds import NEAR_MISS, RANDOM
from latentbench.leaderboards.rescored import rescored
from latentbench.runs.finished import load_run
from latentbench.runs.run import REPLIES, begin, resume
from latentbench.runs.run_spec import RunSpec
from latentbench.scorers.explained import asks_about_explanation
from latentbench.scorers.scorer import Scorer, load_scorer, question_key
from latentbench.suites.planted.planted_suite import NEAR
from latentbench.suites.store import Suite, load_suite


@dataclass(frozen=True)
class QualifyRequest:
    """What is qualified and how large.

    Attributes:
        judge: reference, as in a run spec.
        scorer: name or path; `preset` of it.
        suite: a planted suite; its `split`, at most `limit` latents.
        repeats: how often everything is asked.
        positives, negatives: windows of each kind and latent; all by default.
    """

    judge: str
    scorer: str
    preset: str | None = None
    suite: str = "planted-1"
    split: str = "test"
    limit: int | None = None
    repeats: int = 2
    positives: int | None = None
    negatives: int | None = None

    @property
    def label(self) -> str:
        """Name of the scorer, with its preset."""
        return Path(self.scorer).stem + (f"-{self.preset}" if self.preset else "")

    @property
    def command(self) -> str:
        """The command line that does this."""
        given, options = asdict(self), fields(self)[2:]
        words = [f"--{option.name} {given[option.name]}" for option in options if given[option.name] != option.default]
        return " ".join([f"bench judge qualify {self.judge!r} --scorer {self.scorer}", *words])


def qualify(asked: QualifyRequest, runs: Path, cache: Path | None, console: Console) -> Qualification:
    """Carry out (or go on with) the runs and measure the judge.

    Args:
        runs: folder of run folders.
        cache: reply cache of the first asking; the user cache by default.

    Raises:
        SpecError: a scorer that does not read the explanation.
        DataError: a suite without planted truths.
        BenchError: as `latentbench.runs.run.begin`.
    """
    suite = load_suite(asked.suite)
    scorer = load_scorer({"use": asked.scorer, "preset": asked.preset, "params": _sampling(asked)})
    families = _families(suite)
    _reads_explanation(scorer, suite)
    folders = []
    for number in range(asked.repeats):
        spec = _spec(asked, number)
        folder = runs / f"qualify-{file_name(asked.label)}-{digest([spec, scorer.key, suite.digest])}"
        own = cache if number == 0 else folder / REPLIES
        if (folder / "run.json").exists():
            resume(folder, own, console)
        else:
            begin(spec, Path.cwd(), folder, asked.command, own, console)
        folders.append(folder)
    return row(asked, scorer, suite, families, folders)


def row(
    asked: QualifyRequest, scorer: Scorer, suite: Suite, families: Mapping[str, str], folders: list[Path]
) -> Qualification:
    """The result of finished runs, one folder per asking."""
    runs = [load_run(folder, per_token=True) for folder in folders]
    for run in runs:
        rescored(run)
    judge = runs[0].record.cells[0].judge
    judgements = pd.concat([run.judgements.assign(asked=n) for n, run in enumerate(runs)], ignore_index=True)
    # A near miss that a latent does not have was asked of nobody, so it is no gap in what the judge answered.
    lacking = {
        (which, latent) for latent, truth in _truths(suite).items() for which in NEAR if which not in truth["near"]
    }
    pairs = zip(judgements["explainer"], judgements["latent"], strict=True)
    judgements = judgements[[pair not in lacking for pair in pairs]].reset_index(drop=True)
    scores = pd.concat([run.per_latent() for run in runs], ignore_index=True)
    headline = scores.pivot_table(index="latent", columns="explainer", values="value")
    missing = [name for name in ("truth", measure.PARAPHRASE) if name not in headline]
    if missing:
        raise DataError(f"{folders[0]}: no {scorer.headline} of {missing[0]}; the judge answered nothing that counts.")
    ok = measure.scored(judgements)
    ranked = measure.aurocs(ok)
    truth = ranked[(ranked["explainer"] == "truth") & (ranked["kind"] == RANDOM)].set_index("latent")["value"]
    unpriced = bool(judgements["cost"].isna().any())
    return Qualification(
        judge=judge.label,
        judge_key=judge.key,
        judge_identity=asdict(judge.identity),
        scorer=scorer.id,
        scorer_label=asked.label,
        question_key=question_key(scorer),
        headline=scorer.headline,
        suite=f"{suite.name}@{suite.version}",
        suite_digest=suite.digest,
        distribution=suite.manifest.get("distribution", RULES),
        trained_on=lessons(judge.identity.model) if judge.identity.provider == "simulator" else (),
        split=asked.split,
        latents=len(runs[0].record.latents),
        repeats=asked.repeats,
        judgements=len(judgements),
        coverage=len(ok) / len(judgements),
        **measure.comparisons(headline, families),
        auroc=measure.auroc_table(ranked),
        auroc_by_family=measure.by_family(truth, families),
        retest=measure.retest(ok),
        position=measure.position(ok, seed=0),
        yes_bias=measure.yes_bias(ok),
        tokens=float((judgements["tokens_in"] + judgements["tokens_out"]).sum() / len(judgements)),
        dollars=None if unpriced else float(judgements["cost"].sum() / len(judgements)),
        seconds=float(judgements["seconds"].sum() / len(judgements)),
        headlines=_headlines(headline),
        families={str(latent): families[latent] for latent in headline.index},
        tables=tuple(run.record.tables for run in runs if run.record.verified),
        date=datetime.now(UTC).date().isoformat(),
        command=asked.command,
    )


def _headlines(headline: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Explanation -> latent -> headline; what has none is left out."""
    return {
        str(name): {str(latent): float(value) for latent, value in values.dropna().items()}
        for name, values in headline.items()
    }


def _sampling(asked: QualifyRequest) -> dict[str, Any]:
    """Parameters that only say which windows are judged; near misses wherever the scorer can take them."""
    known = type(load_scorer({"use": asked.scorer, "preset": asked.preset}).params).model_fields
    params: dict[str, Any] = {"negative_kinds": [RANDOM, NEAR_MISS]} if "negative_kinds" in known else {}
    sizes = {"positives": asked.positives, "negatives": asked.negatives}
    return params | {name: size for name, size in sizes.items() if size is not None}


def _spec(asked: QualifyRequest, number: int) -> RunSpec:
    return validate(
        RunSpec,
        {
            "name": "qualify",
            "suite": asked.suite,
            "split": asked.split,
            "limit": asked.limit,
            "explainers": [
                *({"use": "planted", "label": which, "params": {"which": which}} for which in EVERY),
                {"use": "tokens", "label": measure.TOKENS, "params": {"n_tokens": 8, "n_contexts": 0}},
            ],
            "scorers": [
                {"use": asked.scorer, "label": asked.label, "preset": asked.preset, "params": _sampling(asked)}
            ],
            "judges": [asked.judge],
            "seed": number,
            "max_failures": 1.0,
        },
        asked.command,
    )


def _families(suite: Suite) -> dict[str, str]:
    return {latent: str(truth["family"]) for latent, truth in _truths(suite).items()}


def _truths(suite: Suite) -> dict[str, dict[str, Any]]:
    found = {latent.id: latent.row.get("truth") for latent in suite.latents()}
    if not all(found.values()):
        raise DataError(
            f"suite {suite.name} has latents without a planted truth; judges are qualified on planted suites."
        )
    with understood(suite.path, DataError, "Build the suite again."):
        truths = {latent: json.loads(str(truth)) for latent, truth in found.items()}
        if not all(isinstance(truth, dict) for truth in truths.values()):
            raise ValueError("a latent's truth has no keys")
    return truths


def _reads_explanation(scorer: Scorer, suite: Suite) -> None:
    """Refuse a scorer under which no explanation can outrank another, before the judge is asked anything."""
    known = (
        "Judges are qualified with scorers that read one on such a suite, for example detection, fuzzing or embedding."
    )
    if scorer.uses_interventions and suite.interventions is None:
        raise SpecError(
            f"scorer {scorer.name!r} reads interventions and suite {suite.name} has none: there is no subject to steer "
            f"along a planted rule, so no explanation can outrank another. {known}"
        )
    if not asks_about_explanation(scorer, suite.latents(limit=1)[0]):
        raise SpecError(
            f"scorer {scorer.name!r} asks about no explanation, so no explanation can outrank another. {known}"
        )
