"""Direction: the share against an independent computation, its floor, and planted directions that are found again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from latentbench.judges.projection import Projection
from latentbench.kernel.errors import SpecError
from latentbench.kernel.latent import LatentRef, LatentView
from latentbench.kernel.requests import Capability, Outcome, Projected, Reply
from latentbench.runs.run import start
from latentbench.scorers.scorer import Scorer, load_scorer
from latentbench.subject.hooks import capture
from latentbench.suites.build.build import build_suite
from latentbench.suites.build.suite_recipe import anchored_recipe, load_recipe
from rich.console import Console
from sklearn.metrics import roc_auc_score

from tests.builders.toy_latents import latent
from tests.builders.toy_recipe import directions, neurons, toy_recipe

QUIET = Console(quiet=True)
CAN = frozenset({Capability.PROJECT})
COHORT = tuple(f"sae/{i}" for i in range(9))


def scorer(**params: Any) -> Scorer:
    return load_scorer({"use": "direction", "params": params})


def view(i: int, cohort: Sequence[str] = COHORT) -> LatentView:
    return replace(latent(name=f"sae/{i}"), cohort=tuple(cohort), origin="here")


def score(one: Scorer, of: LatentView, along: Any, neutral: Any) -> float:
    """The score of a latent where texts lie so far along each direction of the cohort: `along` [n], `neutral` [texts, n]."""
    (trial,) = one.trials(of, "z", 0)
    asked = one.requests(trial, CAN)
    assert len(asked) == 1 + len(neutral)
    rows = [along, *neutral]
    replies = [
        Reply(windows=tuple(float(row[ref.index]) for ref in request.latents))
        for request, row in zip(asked, rows, strict=True)
        if isinstance(request, Projected)
    ]
    return one.metrics(one.parse(trial, replies))["auroc"]


def test_the_score_is_the_area_under_the_curve_of_one_right_direction() -> None:
    rng = np.random.default_rng(0)
    one = scorer(neutral=3)
    for i in range(9):
        along, neutral = rng.normal(size=9), rng.normal(size=(3, 9))
        expected = roc_auc_score([j == i for j in range(9)], along - neutral.mean(axis=0))
        assert score(one, view(i), along, neutral) == pytest.approx(expected)
    assert score(one, view(4), np.arange(9) == 4, np.zeros((3, 9))) == 1.0
    assert one.metrics(one.parse(*_given(one, [2.0, 1.0, 2.0])))["first"] == 0.0
    assert one.metrics(one.parse(*_given(one, [2.0, 1.0, 1.0])))["first"] == 1.0


def _given(one: Scorer, along: Sequence[float]) -> tuple[Any, list[Reply]]:
    (trial,) = one.trials(view(0, ["sae/0", "sae/1", "sae/2"]), "z", 0)
    return trial, [Reply(windows=tuple(along)), *[Reply(windows=(0.0, 0.0, 0.0))] * 3]


def test_a_text_that_is_the_same_for_every_latent_has_one_half_exactly_with_ties_and_without() -> None:
    rng = np.random.default_rng(1)
    one = scorer(neutral=2)
    for digits in (0, 3):
        along, neutral = rng.normal(size=9).round(digits), rng.normal(size=(2, 9)).round(digits)
        found = [score(one, view(i), along, neutral) for i in range(9)]
        assert np.mean(found) == pytest.approx(0.5, abs=1e-12)
        assert np.std(found) > 0.1


def test_the_others_are_those_of_coder_and_split_and_the_same_for_every_explanation() -> None:
    (whole,) = scorer().trials(view(3), "z", 0)
    assert whole.latent == LatentRef("sae/3", "here")
    assert [ref.id for ref in whole.others] == [name for name in COHORT if name != "sae/3"]
    (few,), (again,), (other,) = (
        scorer(others=4).trials(view(3), z, seed) for z, seed in (("a", 0), ("b", 0), ("a", 1))
    )
    assert few.others == again.others
    assert len(set(few.others)) == 4
    assert set(few.others) < set(whole.others)
    assert few.others != other.others
    texts = [request.text for request in scorer(neutral=2).requests(whole, CAN) if isinstance(request, Projected)]
    assert texts[0] == "The text is about z"
    assert len(set(texts)) == 3


def test_one_missing_reply_and_a_latent_without_others_are_no_answers() -> None:
    one = scorer(neutral=2)
    (trial,) = one.trials(view(0), "z", 0)
    fine = Reply(windows=(1.0,) * 9)
    (lost,) = one.parse(trial, [fine, fine, Reply(Outcome.SKIPPED, error="900 tokens")])
    assert (lost.outcome, lost.error, lost.score) == (Outcome.SKIPPED, "900 tokens", None)
    assert one.metrics([lost]) == {}
    assert one.extremes([lost]) == {"auroc": (0.0, 1.0)}
    (alone,) = one.trials(view(0, ["sae/0"]), "z", 0)
    assert one.requests(alone, CAN) == []
    (skipped,) = one.parse(alone, [])
    assert skipped.outcome is Outcome.SKIPPED
    assert "no other latent" in (skipped.error or "")
    with pytest.raises(SpecError, match="expected a text a line, and there is none"):
        type(one)("d", "1-0", "", one.params, {"document": "{{explanation}}", "neutral": " \n"})


# --- planted directions


@dataclass
class PlantedDirections:
    """As much of a coder as has directions: row i is what the texts of topic i have in common and other texts have not."""

    table: torch.Tensor
    name: str = "sae"
    kind: str = "sae"
    hookpoint: str = "layers.2"

    def direction(self, latents: torch.Tensor) -> torch.Tensor:
        return self.table[latents]


TOPICS = (
    "bread oven flour butter sugar dough cake pastry",
    "court judge lawyer jury verdict trial crime prison",
    "guitar piano melody song concert orchestra rhythm choir",
    "planet star galaxy orbit telescope comet moon rocket",
    "football goal referee stadium team league coach striker",
    "doctor hospital nurse patient surgery medicine fever clinic",
)


def texts(rng: np.random.Generator, words: str, n: int) -> list[str]:
    return [" ".join(rng.choice(words.split(), 6, replace=False)) for _ in range(n)]


def test_directions_between_sets_of_texts_are_found_again_from_a_text_of_the_set(smollm2: Any) -> None:
    """Mean differences of hidden states between sets of texts, found from other texts of the set and not from mixed ones."""
    rng = np.random.default_rng(2)
    known = [texts(rng, words, 4) for words in TOPICS]
    coder = PlantedDirections(torch.eye(smollm2.d_model), hookpoint="layers.9")
    subject = Projection(smollm2, {"sae": coder}, {"sae": "here"}, 16)  # type: ignore[dict-item]
    read = subject.states("sae", [f"The text is about {text}" for own in known for text in own])
    sets = torch.stack([state for state in read if isinstance(state, torch.Tensor)]).view(len(TOPICS), 4, -1).mean(1)
    coder.table = sets - sets.mean(0)
    one = scorer()
    cohort = COHORT[: len(TOPICS)]

    def auroc(explanations: Sequence[str]) -> float:
        """Mean over latents, each explained by the text of its place."""
        trials = [one.trials(view(i, cohort), text, 0)[0] for i, text in enumerate(explanations)]
        asked = [r for trial in trials for r in one.requests(trial, CAN) if isinstance(r, Projected)]
        replies = iter(subject.replies(asked))
        found = [one.metrics(one.parse(trial, [next(replies) for _ in range(17)])) for trial in trials]
        return float(np.mean([f["auroc"] for f in found]))

    new = [texts(rng, words, 1)[0] for words in TOPICS]
    assert auroc(new) > 0.8
    assert auroc(new[1:] + new[:1]) < 0.55
    assert 0.2 < auroc(texts(rng, " ".join(TOPICS), len(TOPICS))) < 0.8
    assert auroc(["old"] * len(TOPICS)) == pytest.approx(0.5)


def test_projections_are_dot_products_whatever_stands_in_the_batch_and_foreign_latents_are_refused(tiny: Any) -> None:
    table = torch.randn(9, tiny.d_model, generator=torch.Generator().manual_seed(0))
    ref, other = LatentRef("sae/3", "here"), LatentRef("sae/8", "here")
    asked = [
        Projected("The river rises.", (ref, other)),
        Projected("No.", (other,)),
        Projected("12 percent of the wheat", (ref,)),
    ]
    found = [
        Projection(tiny, {"sae": PlantedDirections(table)}, {"sae": "here"}, batch).replies(asked)  # type: ignore[dict-item]
        for batch in (1, 3)
    ]
    for replies in found:
        for request, reply in zip(asked, replies, strict=True):
            ids = [tiny.bos, *tiny.tokenizer(request.text, add_special_tokens=False)["input_ids"]]
            state = capture(tiny, torch.tensor([ids]), None, ["layers.2"])["layers.2"][0, 1:].mean(0)
            rows = [table[r.index] for r in request.latents]
            assert reply.windows == pytest.approx([float(row @ state / row.norm()) for row in rows], abs=1e-4)
    subject = Projection(tiny, {"sae": PlantedDirections(table)}, {"sae": "here"}, 3)  # type: ignore[dict-item]
    wrong = [
        Projected("x", (LatentRef("sae/3", "another"),)),
        Projected("x", (LatentRef("b/3", "here"),)),
        Projected("x", ()),
        Projected("", (ref,)),
        Projected("river " * 3000, (ref,)),
    ]
    replies = subject.replies(wrong)
    assert [r.outcome for r in replies] == [Outcome.SKIPPED] * 5
    assert "subject and coders (sae)" in (replies[0].error or "")
    assert "nothing was cut" in (replies[4].error or "")


def test_a_run_patches_and_projects_and_a_constant_text_has_one_half(tiny_folder: Path, tmp_path: Path) -> None:
    toy_recipe(tmp_path, tiny_folder, [directions("a", "layers.1", 5), neurons(3)], texts=80, explain=10, positives=1)
    build_suite(anchored_recipe(load_recipe(tmp_path / "recipe.yaml"), tmp_path), tmp_path, tmp_path / "acts")
    spec = {
        "name": "s",
        "suite": str(tmp_path),
        "explainers": [
            {"use": "patched", "preset": "list", "model": "both"},
            "constant",
            "empty",
            {"use": "shuffled", "params": {"of": "patched"}},
        ],
        "scorers": ["direction"],
        "judges": [{"use": f"subject:{tmp_path}?writer=transformers:{tiny_folder}%3Fdtype=float32", "label": "both"}],
        "max_failures": 1.0,
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    run, _ = start(tmp_path / "spec.yaml", tmp_path / "run", tmp_path / "c.sqlite", QUIET)
    written = pq.read_table(run / "explanations.parquet").to_pandas().query("explainer == 'patched'")
    assert set(written.outcome) <= {"ok", "parse"}  # a random model may write nothing
    scores = pq.read_table(run / "scores.parquet").to_pandas().query("metric == 'auroc'")
    for name in ("constant", "empty"):
        own = scores[scores.explainer == name]
        for coder, rows in own.groupby(own.latent.str.split("/").str[0]):
            assert rows.value.mean() == pytest.approx(0.5), (name, coder)


def test_a_suite_without_a_subject_is_refused_in_words(tmp_path: Path) -> None:
    spec = {
        "name": "s",
        "suite": "planted-1",
        "limit": 2,
        "explainers": [{"use": "patched", "model": "mock:lexical"}],
        "scorers": ["detection"],
        "judges": ["mock:label"],
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    with pytest.raises(SpecError, match="no latent of this suite has one: it has no subject and no coder"):
        start(tmp_path / "spec.yaml", tmp_path / "run", tmp_path / "c.sqlite", QUIET)
