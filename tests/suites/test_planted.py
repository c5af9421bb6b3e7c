from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from latentbench.kernel.errors import SpecError
from latentbench.kernel.kinds import NEAR_MISS
from latentbench.kernel.tasks import tasks_dirs
from latentbench.suites.planted.planted_suite import NEAR, activation, build_planted, load_rules
from latentbench.suites.planted.rules import matches, tokenise
from latentbench.suites.store import load_suite
from latentbench.suites.verify import verify

SHIPPED = tasks_dirs()[0] / "suites" / "planted-1"
KEPT = ("weekdays", "food", "music", "negation", "years", "question-marks", "python-keywords")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with a few latents over the shipped corpus."""
    folder = tmp_path_factory.mktemp("planted")
    rules = yaml.safe_load((SHIPPED / "rules.yaml").read_text(encoding="utf-8"))
    rules["latents"] = [latent for latent in rules["latents"] if latent["name"] in KEPT]
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules, allow_unicode=True), encoding="utf-8")
    recipe = yaml.safe_load((SHIPPED / "recipe.yaml").read_text(encoding="utf-8"))
    recipe["corpus"] = str(SHIPPED.parent.parent / "corpora" / "smollm2-sampled-1.jsonl.gz")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return folder


def test_the_shipped_suite_has_enough_latents_of_every_family_and_keeps_its_promises():
    suite = load_suite(SHIPPED)
    latents = suite.latents()
    families = {json.loads(latent.row["truth"])["family"] for latent in latents}
    assert len(latents) >= 40
    assert {
        "topic",
        "word-class",
        "surface",
        "position",
        "code",
        "two-concept",
        "rare",
        "dense",
        "language",
    } <= families
    assert verify(suite).ok


def test_what_cannot_be_shown_without_the_truth_is_not_unrelated(small, tmp_path):
    def change(*related: str) -> Path:
        rules = yaml.safe_load((small / "rules.yaml").read_text(encoding="utf-8"))
        next(x for x in rules["latents"] if x["name"] == "weekdays")["related"] = list(related)
        (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules, allow_unicode=True), encoding="utf-8")
        shutil.copy(small / "recipe.yaml", tmp_path)
        return tmp_path / "recipe.yaml"

    plain = {x.id: json.loads(x.row["truth"])["unrelated"] for x in build_planted(change(), tmp_path / "a").latents()}
    texts = {x.truth.text: x.name for x in load_rules(small / "rules.yaml").latents}
    name = texts[plain["planted/weekdays"][0]]
    built = {
        x.id: json.loads(x.row["truth"])["unrelated"] for x in build_planted(change(name), tmp_path / "b").latents()
    }
    assert name not in {texts[text] for text in built["planted/weekdays"]}
    assert {k: v for k, v in built.items() if k != "planted/weekdays"} == {
        k: v for k, v in plain.items() if k != "planted/weekdays"
    }
    with pytest.raises(SpecError, match="no such latent"):
        build_planted(change("nothing"), tmp_path / "c")


def test_building_twice_gives_the_same_digest(small, tmp_path):
    first = build_planted(small / "recipe.yaml", tmp_path / "a")
    second = build_planted(small / "recipe.yaml", tmp_path / "b")
    assert first.digest == second.digest
    assert [latent.id for latent in first.latents()] == [
        f"planted/{latent.name}" for latent in load_rules(small / "rules.yaml").latents
    ]


def test_windows_agree_with_their_rules(small, tmp_path):
    suite = build_planted(small / "recipe.yaml", tmp_path / "s")
    rules = load_rules(small / "rules.yaml")
    by_name = {f"planted/{latent.name}": latent for latent in rules.latents}
    for name in ("planted/weekdays", "planted/years", "planted/food"):  # rules that need no context beyond the window
        for window in (*suite.latent(name).explain, *suite.latent(name).test):
            document = tokenise(window.text)
            expected = matches(by_name[name].truth.rule, document, rules.lists)
            assert (np.array(window.activations) > 0).tolist() == expected.tolist()
    for latent in suite.latents():
        near = [w for w in latent.test if w.kind == NEAR_MISS]
        assert near
        assert not any(w.active for w in near)
        positions = [w.position for w in (*latent.explain, *latent.test)]
        assert len(set(positions)) == len(positions)


def test_near_misses_and_unrelated_texts_differ_from_the_truth():
    for latent in load_suite(SHIPPED).latents():
        truth = json.loads(latent.row["truth"])
        texts = [truth["truth"], truth["paraphrase"], *truth["near"].values(), *truth["unrelated"]]
        assert len(truth["unrelated"]) == 3
        assert set(truth["near"]) == set(NEAR)
        assert len(set(texts)) == len(texts), latent.id


def test_activations_are_a_function_of_the_text_and_stay_above_the_marking_threshold():
    document = tokenise("Monday came before Tuesday, and Monday came again.")
    mask = matches({"words": ["monday", "tuesday"]}, document, {})
    values = activation(document, mask)
    assert (values[mask] >= 4).all()
    assert (values[mask] <= 10).all()
    assert not values[~mask].any()
    assert (activation(document, mask) == values).all()


def test_bad_rules_are_named(small, tmp_path):
    shutil.copytree(small, tmp_path / "r")
    path = tmp_path / "r" / "rules.yaml"
    rules = yaml.safe_load(path.read_text(encoding="utf-8"))
    rules["latents"][1]["truth"]["rule"] = {"word": ["x"]}
    path.write_text(yaml.safe_dump(rules), encoding="utf-8")
    with pytest.raises(SpecError, match=f"latent '{rules['latents'][1]['name']}': unknown rule 'word'"):
        load_rules(path)
    rules["latents"][1]["truth"]["rule"] = {"words": ["no", True]}
    path.write_text(yaml.safe_dump(rules), encoding="utf-8")
    with pytest.raises(SpecError, match="put the word in quotes"):
        load_rules(path)


def test_a_latent_that_the_corpus_never_shows_is_named(small, tmp_path):
    shutil.copytree(small, tmp_path / "r")
    path = tmp_path / "r" / "rules.yaml"
    rules = yaml.safe_load(path.read_text(encoding="utf-8"))
    rules["latents"][0]["truth"]["rule"] = {"words": ["xyzzyplugh"]}
    path.write_text(yaml.safe_dump(rules), encoding="utf-8")
    with pytest.raises(SpecError, match="never shows latent"):
        build_planted(tmp_path / "r" / "recipe.yaml", tmp_path / "out")
