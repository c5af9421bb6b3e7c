"""Suites of labelled texts: the shipped one holds what it says, and the builder refuses what it cannot show."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from latentbench.kernel.errors import DataError, SpecError
from latentbench.kernel.kinds import NEAR_MISS, RANDOM
from latentbench.kernel.tasks import tasks_dirs
from latentbench.suites.planted.labelled import MARK, LabelledText, build_labelled, load_labels, shown
from latentbench.suites.planted.planted_suite import load_rules
from latentbench.suites.store import load_suite
from latentbench.suites.verify import verify

SHIPPED = tasks_dirs()[0] / "suites" / "planted-2"
LABELS = load_labels(SHIPPED / "labels.jsonl")


def texts(latent):  # type: ignore[no-untyped-def]
    """The texts written for a latent, without marks."""
    own = [*latent.positive, *(t for given in latent.tempting.values() for t in given)]
    return [MARK.sub(r"\1", t) for t in own if not t.startswith("@")]


@pytest.mark.parametrize("latent", LABELS, ids=lambda x: x.name)
def test_every_latent_of_the_shipped_file_has_its_texts(latent):
    assert len(latent.positive) >= 12
    assert set(latent.near) == {"narrow", "broad", "wrong", "sibling"}
    said = [latent.truth, latent.paraphrase, *latent.near.values()]
    assert len(set(said)) == len(said)
    for text in latent.positive:
        assert shown(text, 64, latent.name).mask.any()
        assert not shown(text, 64, latent.name).mask.all()
    own = texts(latent)
    assert all(12 <= len(t.split()) <= 35 for t in own), [t for t in own if not 12 <= len(t.split()) <= 35]
    # Sentences and not fillings of one form: none shares its first three words with more than a few others.
    starts = [" ".join(t.split()[:3]) for t in own]
    assert max(starts.count(s) for s in starts) <= 3


def test_no_text_of_the_shipped_file_stands_there_twice_or_is_a_lesson():
    written = [t for latent in LABELS for t in texts(latent)]
    assert len(set(written)) == len(written)
    assert 36 <= len(LABELS) <= 48
    assert {"speech-act", "knowledge", "composition", "discourse", "sense"} == {latent.family for latent in LABELS}
    old = load_rules(SHIPPED.parent / "planted-1" / "rules.yaml")
    wordings = (tasks_dirs()[0] / "simulators" / "wordings.yaml").read_text(encoding="utf-8").lower()
    for latent in LABELS:
        assert latent.truth not in {other.truth.text for other in old.latents}
        assert latent.truth.rstrip(".").lower() not in wordings


def test_the_shipped_suite_is_what_its_labels_say_and_keeps_its_promises(tmp_path):
    suite = load_suite(SHIPPED)
    assert build_labelled(SHIPPED / "recipe.yaml", tmp_path / "again").digest == suite.digest
    assert verify(suite).ok
    assert sum(p.stat().st_size for p in SHIPPED.iterdir()) < 400_000
    assert suite.manifest["distribution"] == "written"
    sides: dict[str, set[str]] = {}
    for latent in suite.latents():
        assert (len(latent.explain), sum(w.active for w in latent.test)) == (5, 8)
        assert sum(w.kind == NEAR_MISS for w in latent.test) >= 8
        assert sum(w.kind == RANDOM for w in latent.test) == 12
        truth = json.loads(latent.row["truth"])
        assert len({*truth["unrelated"], truth["truth"]}) == 4
        for w in (*latent.explain, *latent.test):
            sides.setdefault(w.text, set()).add(w.role)
    assert {len(roles) for roles in sides.values()} == {1}


def test_silent_windows_are_of_other_families_and_hold_nothing_to_avoid():
    by_name = {latent.name: latent for latent in LABELS}
    home = {t: latent for latent in LABELS for t in texts(latent)}
    for latent in load_suite(SHIPPED).latents():
        own = by_name[latent.id.partition("/")[2]]
        for w in latent.test:
            if w.kind == RANDOM:
                other = home[w.text]
                assert other.family != own.family
                assert other.name not in own.related
                assert own.name not in other.related
                assert not (own.avoid and re.search(own.avoid, w.text))


def small(folder: Path, **changes: object) -> Path:
    """A recipe with six latents, the first of them changed."""
    rows = []
    for n in range(6):
        row: dict[str, object] = {
            "name": f"l{n}",
            "family": f"f{n}",
            "truth": f"Truth {n}.",
            "paraphrase": f"Same {n}.",
        }
        row |= {"near": {"broad": f"Broad {n}."}, "positive": [f"Here is [word{n}] in text {i}." for i in range(8)]}
        rows.append(row | {"tempting": {"broad": [f"Nothing but near{n} in text {i}." for i in range(3)]}})
    rows[0] |= changes
    (folder / "labels.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    recipe = {"name": "small", "version": "1-0", "kind": "labelled", "distribution": "written", "explain": 3}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return folder / "recipe.yaml"


def test_marks_and_spans_say_which_tokens_fire():
    marked = shown("The [old bank] of the river.", 64, "x")
    assert marked.text == "The old bank of the river."
    assert marked.mask.tolist() == [False, True, True, False, False, False, False]
    spans = shown(LabelledText(text="The [old] bank.", spans=((10, 14),)), 64, "x")
    assert [t for t, m in zip(spans.document.bare, spans.mask, strict=True) if m] == ["bank"]
    with pytest.raises(SpecError, match="mark no token"):
        shown(LabelledText(text="Short.", spans=((40, 44),)), 64, "x")
    with pytest.raises(SpecError, match="more than 4"):
        shown("One two three four five.", 4, "x")


def test_a_latent_may_lack_near_misses_and_borrow_the_windows_of_another(tmp_path):
    suite = build_labelled(small(tmp_path, tempting={"broad": ["@l1"]}), tmp_path / "s")
    first, second = suite.latent("planted/l0"), suite.latent("planted/l1")
    borrowed = {w.text for w in first.test if w.kind == NEAR_MISS}
    assert borrowed == {w.text for w in second.test if w.active}
    assert set(json.loads(first.row["truth"])["near"]) == {"broad"}
    # A window is near or random, never both.
    assert not borrowed & {w.text for w in first.test if w.kind == RANDOM}


def test_a_text_in_which_another_latent_fires_is_no_silent_window_of_that_one(tmp_path):
    also = [{"text": f"Both in text {i}.", "spans": [[0, 4]], "also": ["l1"]} for i in range(8)]
    suite = build_labelled(small(tmp_path, positive=also), tmp_path / "s")
    assert not any("Both" in w.text for w in suite.latent("planted/l1").test)
    assert any("Both" in w.text for w in suite.latent("planted/l2").test)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"positive": ["No mark here.", "None [here]."]}, "nothing is marked"),
        ({"positive": ["The [same].", "The [same]."]}, "stands there twice"),
        ({"related": ["nobody"]}, "no such latent"),
        ({"related": ["f1", "f2", "f3"]}, "only 2 unrelated"),
        ({"tempting": {"broad": ["Here is word0 in text 1."]}}, "both positive and tempting"),
        ({"avoid": "word"}, "no silent windows"),
        ({"near": {}}, "near"),
    ],
)
def test_what_cannot_be_an_exam_is_refused(tmp_path, changes, said):
    with pytest.raises(SpecError, match=said):
        build_labelled(small(tmp_path, **changes), tmp_path / "s")


def test_a_file_that_is_no_labels_is_named(tmp_path):
    recipe = small(tmp_path)
    (tmp_path / "labels.jsonl").write_text("{not json\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"labels\.jsonl"):
        build_labelled(recipe, tmp_path / "s")
