"""What is fitted for a panel: logistic regressions as another package has them, on numbers that a run would read."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from latentbench.judges.reference import load_judge
from latentbench.kernel.errors import DataError, SpecError, UnknownName
from latentbench.lab.panels import panel_fit
from latentbench.lab.panels.panel_fit import LEAST, PanelEvidence, evidence, fit_panel, fitted, latent_of, one_of
from latentbench.lab.simulator.lessons import Example, TextWindow
from latentbench.panels.panel_judge import PanelJudge, load_panel
from latentbench.panels.panel_scorer import PanelScorer
from latentbench.scorers.scorer import load_scorer
from sklearn.linear_model import LogisticRegression

WORDS = ("river", "stone", "bread", "candle", "harbour")
MEMBERS = [
    {"use": "mock:lexical?can=choice_logprobs", "label": "words"},
    {"use": "mock:lexical?can=embed", "label": "cosine"},
]


class Lessons:
    """A stream whose n-th lesson names a word that stands in one of its windows."""

    def at(self, seed: int, n: int) -> Example:
        word = WORDS[n % len(WORDS)]

        def window(text: str, active: bool) -> TextWindow:
            tokens = tuple(f" {w}" for w in text.split())
            return TextWindow(
                tokens, np.array([active and t == f" {word}" for t in tokens]), "active" if active else "r"
            )

        other = WORDS[(n + 1 + n % 3) % len(WORDS)]
        return Example(
            "word", word, f"The word {word}.", (window(f"a {word} of old", True), window(f"the {other} fell", False))
        )


def test_a_fit_is_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    active = rng.integers(0, 2, 400).astype(float)
    numbers = np.stack([active * 2 + rng.normal(size=400), active * 0.3 + 0.1 * rng.normal(size=400)], 1)
    found, joint = fitted(["a", "b"], PanelEvidence(numbers, active, 400), "learnt")
    for k, label in enumerate("ab"):
        alone = LogisticRegression(C=1e9).fit(numbers[:, [k]], active)
        member = found.members[label]
        assert (member.scale, member.bias) == pytest.approx(
            (alone.coef_[0, 0], alone.intercept_[0]), abs=2e-2, rel=1e-2
        )
    both = LogisticRegression(C=1e9).fit(numbers, active)
    assert np.abs(joint(numbers) - both.decision_function(numbers)).max() < 0.1


def test_a_member_that_misleads_is_not_turned_round() -> None:
    rng = np.random.default_rng(1)
    active = rng.integers(0, 2, 200).astype(float)
    first = active * 2 + rng.normal(size=200)
    found, _ = fitted(
        ["a", "b"], PanelEvidence(np.stack([first, first + 0.1 * rng.normal(size=200)], 1), active, 200), "learnt"
    )
    assert all(m.weight >= LEAST for m in found.members.values())


def test_equal_shares_are_of_standard_deviations() -> None:
    rng = np.random.default_rng(2)
    active = rng.integers(0, 2, 300).astype(float)
    numbers = np.stack([active * 9 + rng.normal(size=300), active * 0.1 + 0.1 * rng.normal(size=300)], 1)
    found, joint = fitted(["a", "b"], PanelEvidence(numbers, active, 300), one_of("equal"))
    spread = [m.weight * (m.scale * x).std() for m, x in zip(found.members.values(), numbers.T, strict=True)]
    assert spread[0] == pytest.approx(spread[1], rel=0.02)
    z = ((numbers - numbers.mean(0)) / numbers.std(0)).sum(1)
    assert np.corrcoef(joint(numbers), z)[0, 1] > 0.9999
    with pytest.raises(UnknownName):
        one_of("lernt")


def panel() -> PanelJudge:
    return load_panel("panel:", {"members": MEMBERS, "rule": "logodds"}, load_judge, Path())


@pytest.mark.parametrize("name", ["detection", "fuzzing"])
def test_numbers_are_those_of_a_run(name: str) -> None:
    scorer = PanelScorer(load_scorer(name), panel())
    found = asyncio.run(evidence(scorer, Lessons(), 10, lambda _: None))  # type: ignore[arg-type]
    assert found.numbers.shape == (20, 2)
    assert (found.asked, found.active.sum()) == (20, 10)
    assert found.numbers[found.active == 1, 1].mean() > found.numbers[found.active == 0, 1].mean()


def test_a_lesson_is_a_latent() -> None:
    latent = latent_of(Lessons().at(0, 3), 3)
    assert [(w.active, w.kind) for w in latent.test] == [(True, "quantile:9"), (False, "random")]
    assert latent.test[0].activations == (0.0, 1.0, 0.0, 0.0)


def test_the_file_that_a_panel_names_is_written_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lessons(*_: Any) -> dict[str, Lessons]:
        return {"calibrate": Lessons(), "held-out": Lessons()}

    monkeypatch.setattr(panel_fit, "data", lessons)
    monkeypatch.setattr(panel_fit, "read_recipe", lambda path: None)
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump({"members": MEMBERS, "rule": "logodds"}), encoding="utf-8")
    given = (["detection"], tmp_path, tmp_path, None, 10, tmp_path / "c.sqlite", "what was typed")
    with pytest.raises(SpecError, match=r"add `fit: p\.fit\.yaml`"):
        fit_panel(path, *given, say=lambda _: None)
    path.write_text(yaml.safe_dump({"members": MEMBERS, "rule": "logodds", "fit": "p.fit.yaml"}), encoding="utf-8")
    result = fit_panel(path, *given, say=lambda _: None)
    assert result.windows == 20
    assert set(result.auroc["detection"]) == {"words", "cosine", "panel"}
    made = load_judge(f"panel:{path}")
    assert isinstance(made, PanelJudge)
    assert made.fit == result
    assert PanelScorer(load_scorer("detection"), made).fits(made.can)


def test_nothing_to_fit_is_said() -> None:
    members = [{**MEMBERS[0], "use": "mock:lexical?can=choice_logprobs&fail=1.0"}, MEMBERS[1]]
    scorer = PanelScorer(load_scorer("detection"), load_panel("panel:", {"members": members}, load_judge, Path()))
    with pytest.raises(DataError, match="0 have a number of every member"):
        asyncio.run(evidence(scorer, Lessons(), 4, lambda _: None))  # type: ignore[arg-type]
