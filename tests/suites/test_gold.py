"""Exams from labels by people, on made-up records; LATENTBENCH_GOLD names the folder of the real ones, where they are."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from latentbench.cli import app
from latentbench.kernel.errors import DataError, SpecError
from latentbench.kernel.kinds import NEAR_MISS
from latentbench.kernel.tasks import tasks_dirs
from latentbench.suites.planted.gold import GoldRecipe, build_gold
from latentbench.suites.planted.gold_records import check, picks, sentence
from latentbench.suites.verify import verify
from typer.testing import CliRunner

RECIPE = tasks_dirs()[0] / "suites" / "exam-gold" / "recipe.yaml"
NOUNS = ["dog", "cat", "horse", "goat", "duck", "mouse", "crow", "fox"]


def clause(noun: str, verb: str, passive: bool, place: str) -> dict[str, object]:
    """`The NOUN was VERB near the PLACE .`, or active and in the present."""
    middle = [("was", "be", "AUX", "VBD", "aux:pass", 4)] if passive else [("often", "often", "ADV", "RB", "advmod", 4)]
    cells = [
        ("The", "the", "DET", "DT", "det", 2),
        (noun, noun, "NOUN", "NN", "nsubj:pass" if passive else "nsubj", 4),
        *middle,
        (verb, verb, "VERB", "VBN" if passive else "VBZ", "root", 0),
        ("near", "near", "ADP", "IN", "case", 7),
        ("the", "the", "DET", "DT", "det", 7),
        (place, place, "NOUN", "NN", "obl", 4),
        ("today", "today", "NOUN", "NN", "obl:unmarked", 4),
        (".", ".", "PUNCT", ".", "punct", 4),
    ]
    token, lemma, upos, xpos, deprel, head = (list(column) for column in zip(*cells, strict=True))
    feats = ["Number=Sing|VerbForm=Fin" if x == "VERB" else "_" for x in upos]
    record = {
        "tokens": token,
        "lemma": lemma,
        "upos": upos,
        "xpos": xpos,
        "deprel": deprel,
        "head": head,
        "feats": feats,
    }
    return record | {"space": [True] * 7 + [False, False]}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with the three files, made up."""
    folder = tmp_path / "data"
    folder.mkdir()
    places = ("barn", "pond", "gate", "road")
    ewt = [clause(n, "chased", True, p) for n in NOUNS for p in places]
    ewt += [clause(n, "sleeps", False, p) for n in NOUNS for p in places]
    novel = [
        {"tokens": ["The", n, "saw", "a", *what, "on", "the", "long", "way", f"to{i}", "."], "entities": tags}
        for i, n in enumerate(NOUNS)
        for what, tags in (
            (["ship"], [[], ["B-PER"], [], ["B-VEH"], ["I-VEH"], [], [], [], [], [], []]),
            (["hill"], [[], ["B-PER"], [], ["B-LOC"], ["I-LOC"], [], [], [], [], [], []]),
            (["star"], [[], ["B-PER"], [], [], [], [], [], [], [], [], []]),
        )
    ]
    concepts = []
    for c, topic in enumerate(("terms related to baking bread", "references to rainy weather")):
        rows = [("positive", topic, f"{topic} stand in this made text number {i} for sure") for i in range(8)]
        rows += [("negative", topic, f"nothing of the kind is in plain text number {i} of {c}") for i in range(6)]
        rows += [
            ("hard negative", f"roll//a list of names {c}", f"the roll of members was read aloud {i} {c} times")
            for i in range(2)
        ]
        concepts += [
            {"set": "s", "concept_id": c, "concept": name, "category": category, "text": text}
            for category, name, text in rows
        ]
    concepts.append({"set": "s", "concept_id": -1, "concept": "pool", "category": "negative", "text": "x" * 40})
    for name, rows in (("ewt", ewt), ("litbank", novel), ("concepts", concepts)):
        lines = "".join(json.dumps(r) + "\n" for r in rows)
        (folder / f"gold-{name}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return folder


def recipe(folder: Path, **changes: object) -> Path:
    """A small recipe of the same form as the shipped one."""

    def latent(name: str, family: str, fires: dict[str, object], sibling: dict[str, object]) -> dict[str, object]:
        near = {"sibling": {"text": f"Not {name}.", "fires": sibling}, "wrong": {"text": f"Before {name}."}}
        row = {"name": name, "family": family, "truth": f"{name} it is.", "paraphrase": f"Same as {name}."}
        return row | {"fires": fires, "near": near}

    syntax = [
        latent("passive-subjects", "syntax", {"deprel": "nsubj:pass"}, {"deprel": "nsubj"}),
        latent("passive-verbs", "verb", {"upos": "VERB", "xpos": "VBN"}, {"upos": "VERB"}),
        latent("present-verbs", "verb", {"upos": "VERB", "xpos": "VBZ"}, {"upos": "VERB"}),
    ]
    entities = [
        latent("vehicles", "entity", {"entity": "VEH"}, {"entity": "LOC"}),
        latent("hills", "entity", {"entity": ["LOC", "FAC"]}, {"entity": "VEH"}),
    ]
    content = {
        "name": "tiny",
        "version": "1-0",
        "kind": "gold",
        "distribution": "people",
        "explain": 3,
        "positives": 4,
        "negatives": 4,
        "layers": [
            {"file": "gold-ewt.jsonl.gz", "latents": syntax},
            {"file": "gold-litbank.jsonl.gz", "latents": entities},
        ],
        "concepts": {"file": "gold-concepts.jsonl.gz"},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content | changes), encoding="utf-8")
    return folder / "recipe.yaml"


def picked(selector: dict[str, object], record: dict[str, object]) -> list[str]:
    s = sentence(record)
    return [s.text[a:b] for a, b in s.spans(picks(selector, s))]


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ({"deprel": "nsubj:pass"}, ["dog"]),
        ({"upos": "NOUN"}, ["dog", "barn", "today"]),
        ({"upos": ["VERB", "AUX"], "not": {"lemma": "be"}}, ["chased"]),
        ({"feats": {"VerbForm": "Fin"}}, ["chased"]),
        ({"head": {"upos": "VERB"}, "upos": "NOUN"}, ["dog", "barn", "today"]),
        ({"child": {"deprel": "case"}}, ["barn"]),
        ({"previous": {"deprel": "nsubj:pass"}}, ["was"]),
        ({"next": {"lemma": "be"}}, ["dog"]),
        ({"first_of": {"deprel": "obl"}}, ["near"]),
        ({"any": [{"lemma": "near"}, {"xpos": "VBN"}]}, ["chased", "near"]),
        ({"entity": "PER"}, []),
    ],
)
def test_selectors_pick_tokens_by_their_labels(selector, words):
    check(selector, "here")
    assert picked(selector, clause("dog", "chased", True, "barn")) == words


def test_a_text_is_joined_as_it_was_written():
    assert sentence(clause("dog", "sleeps", False, "barn")).text == "The dog often sleeps near the barn today."
    bare = sentence({"tokens": ["“", "I", "did", "n't", ",", "sir", "!", "”"], "entities": [[]] * 8})
    assert bare.text == "“I didn't, sir!”"
    # A cut that a treebank made and that no writer did.
    given = sentence({"tokens": ["I", "'m", "in"], "upos": ["PRON", "AUX", "ADP"], "space": [True, True, False]})
    assert given.text == "I'm in"
    with pytest.raises(DataError, match="different lengths"):
        sentence({"tokens": ["a", "b"], "upos": ["DET"]})


@pytest.mark.parametrize("bad", [{}, {"pos": "NOUN"}, {"head": {"tag": "x"}}, {"any": [{"word": "x"}]}, "NOUN"])
def test_what_is_no_selector_is_refused_before_any_data_are_read(bad, tmp_path):
    with pytest.raises(SpecError, match="is no selector"):
        check(bad, "here")


def test_a_suite_is_built_from_all_three_files(tmp_path, data):
    suite = build_gold(recipe(tmp_path), data, tmp_path / "out")
    assert verify(suite).ok
    assert (suite.manifest["distribution"], suite.manifest["kind"]) == ("people", "gold")
    truths = {latent.id: json.loads(latent.row["truth"]) for latent in suite.latents()}
    assert len(truths) == 7
    concepts = [t for t in truths.values() if t["family"] == "concept"]
    assert {t["truth"] for t in concepts} == {"Terms related to baking bread.", "References to rainy weather."}
    assert {t["paraphrase"] for t in concepts} == {"Passages about baking bread.", "Passages about rainy weather."}
    for latent in suite.latents():
        family = truths[latent.id]["family"]
        for w in latent.test:
            fired = [t.strip() for t, a in zip(w.tokens, w.activations, strict=True) if a > 0]
            if latent.id == "planted/passive-subjects":
                assert bool(fired) == ("chased" in w.text)
                assert set(fired) <= set(NOUNS)
            if family == "concept":
                assert all(len(word) >= 4 for word in fired)
        assert any(w.kind == NEAR_MISS for w in latent.test), latent.id
    # Verbs and subjects of the same treebank are apart: they never fire on one token.
    assert suite.digest == build_gold(recipe(tmp_path), data, tmp_path / "again").digest


def test_silent_windows_are_about_as_long_as_those_that_fire(tmp_path, data):
    long = [clause("dog", f"chased{i}", True, "barn") for i in range(20)]
    for r in long:
        r["tokens"][6] = "barn" + "yard" * 12  # type: ignore[index]
    short = [clause("cat", f"sleeps{i}", False, "pond") for i in range(200)]
    like = [clause("cat", f"dozes{i}", False, "barn" + "yard" * 12) for i in range(20)]
    lines = "".join(json.dumps(r) + "\n" for r in [*long, *short, *like])
    (data / "gold-ewt.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    latent = build_gold(recipe(tmp_path), data, tmp_path / "out").latent("planted/passive-verbs")
    lengths = {kind: [len(w.text) for w in latent.test if w.kind == kind] for kind in ("random", NEAR_MISS)}
    fires = np.mean([len(w.text) for w in latent.test if w.active])
    assert all(abs(np.mean(own) - fires) < 5 for own in lengths.values())


def test_faults_name_what_is_wrong(tmp_path, data):
    with pytest.raises(SpecError, match="--data"):
        build_gold(recipe(tmp_path), None, tmp_path / "out")
    with pytest.raises(DataError, match=r"gold-ewt\.jsonl\.gz .*--data"):
        build_gold(recipe(tmp_path), tmp_path, tmp_path / "out")
    one = yaml.safe_load(recipe(tmp_path).read_text(encoding="utf-8"))["layers"]
    one[0]["latents"][0]["fires"] = {"deprel": "vocative"}
    with pytest.raises(SpecError, match="passive-subjects.*only 0 sentences"):
        build_gold(recipe(tmp_path, layers=one), data, tmp_path / "out")
    said = CliRunner().invoke(app, ["suite", "build", str(RECIPE)])
    assert said.exit_code != 0


def test_the_shipped_recipe_has_about_sixty_latents_and_selectors_that_are_some():
    content = GoldRecipe.model_validate(yaml.safe_load(RECIPE.read_text(encoding="utf-8")))
    latents = [latent for layer in content.layers for latent in layer.latents]
    assert 45 <= len(latents) <= 60  # and one for each concept of the data
    said = [latent.truth for latent in latents]
    assert len(set(said)) == len(said)
    for latent in latents:
        texts = [latent.truth, latent.paraphrase, *(near.text for near in latent.near.values())]
        assert len(set(texts)) == len(texts), latent.name
        check(latent.fires, latent.name)
        for near in latent.near.values():
            if near.fires:
                check(near.fires, latent.name)
        assert any(near.fires for near in latent.near.values()), latent.name
    # Built where its name finds it, the suite quotes the data: git must not see it.
    ignored = (RECIPE.parents[3] / ".gitignore").read_text(encoding="utf-8")
    assert "/tasks/suites/exam-gold/*.parquet" in ignored
    assert "/tasks/suites/exam-gold/manifest.json" in ignored


@pytest.mark.skipif(
    "LATENTBENCH_GOLD" not in os.environ, reason="the labels are not here: LATENTBENCH_GOLD names their folder"
)
def test_the_shipped_recipe_fits_the_real_labels(tmp_path):
    suite = build_gold(RECIPE, Path(os.environ["LATENTBENCH_GOLD"]), tmp_path / "out")
    assert verify(suite).ok
    assert len(suite.latents()) >= 60
    sides: dict[str, set[str]] = {}
    for latent in suite.latents():
        assert len(latent.explain) == 5
        assert sum(w.active for w in latent.test) == 8
        for w in (*latent.explain, *latent.test):
            sides.setdefault(w.text, set()).add(w.role)
    assert {len(roles) for roles in sides.values()} == {1}
