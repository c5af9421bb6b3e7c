"""Training data of simulators: labels against direct loops, splits, and the exam that is kept out of it."""

from __future__ import annotations

import random
import re
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from latentbench.kernel.config import read_yaml
from latentbench.kernel.errors import DataError, SpecError
from latentbench.lab.simulator.compose import composed
from latentbench.lab.simulator.concept import Concept, again, hits_of
from latentbench.lab.simulator.concepts import all_concepts
from latentbench.lab.simulator.drills import Drills, drills_of
from latentbench.lab.simulator.exam import ReservedConcepts, forbidden
from latentbench.lab.simulator.lessons import ACTIVE, Examples
from latentbench.lab.simulator.parts import RuleParts
from latentbench.lab.simulator.pool import TokenPool, read_pool
from latentbench.lab.simulator.wordnet import WordNet, ing, past, plural

TASKS = Path(__file__).parents[2] / "tasks"
CORPUS = TASKS / "corpora/smollm2-sampled-1.jsonl.gz"
EXAM = TASKS / "suites/planted-1/rules.yaml"
SURFACE = read_yaml(TASKS / "simulators/surface.yaml")
WORDINGS = read_yaml(TASKS / "simulators/wordings.yaml")
DEBIAN = Path("/usr/share/wordnet")


@pytest.fixture(scope="module")
def pool() -> TokenPool:
    return read_pool(CORPUS, 120_000, seed=0)


@pytest.fixture(scope="module")
def concepts(pool: TokenPool) -> list[Concept]:
    return all_concepts(pool, None, SURFACE, WORDINGS)


@pytest.fixture(scope="module")
def drills(pool: TokenPool, concepts: list[Concept]) -> Drills:
    return drills_of(pool, concepts, SURFACE, WORDINGS, [EXAM])


def test_hits_are_what_a_loop_over_the_tokens_finds() -> None:
    pool = TokenPool([("The cat sat. A dog, the Cat and THE dog.", "a"), ("Cat the", "b")])
    bare = [t.strip() for t in pool.tokens]
    assert hits_of({"words": ["cat"]}, pool).tolist() == [i for i, w in enumerate(bare) if w.lower() == "cat"]
    assert hits_of({"regex": "[A-Z][a-z]+"}, pool).tolist() == [
        i for i, w in enumerate(bare) if w[:1].isupper() and w[1:].islower() and len(w) > 1
    ]
    after = hits_of({"after": {"words": ["the"]}}, pool).tolist()
    end = int(pool.starts[1])
    assert after == [i + 1 for i, w in enumerate(bare) if w.lower() == "the" and i + 1 != end and i + 1 < len(bare)]
    both = hits_of({"words": ["cat", "dog"], "not": {"words": ["dog"]}}, pool)
    assert both.tolist() == hits_of({"words": ["cat"]}, pool).tolist()


def test_near_counts_neighbours_and_not_the_token_itself() -> None:
    pool = TokenPool([("x a b c x d e f g x", "s")])
    x = pool.of_words(["x"])
    assert x.tolist() == [0, 4, 9]
    assert pool.near(x, x, 4, 0).tolist() == [4]
    assert pool.near(x, x, 0, 4).tolist() == [0]
    assert pool.near(x, pool.of_words(["g"]), 1, 0).tolist() == [9]


def test_again_is_the_second_mention_within_the_reach() -> None:
    pool = TokenPool([("one two One three four five six one", "s")])
    assert again(pool, pool.of_words(["one"]), 3).tolist() == [2]
    assert again(pool, pool.of_words(["one"]), 5).tolist() == [2, 7]


def test_a_rule_outside_the_language_is_refused() -> None:
    pool = TokenPool([("a", "s")])
    with pytest.raises(SpecError, match="word"):
        hits_of({"word": ["a"]}, pool)
    with pytest.raises(SpecError, match="what it fires on"):
        hits_of({"not": {"words": ["a"]}}, pool)
    with pytest.raises(DataError, match="empty"):
        TokenPool([])


def test_every_label_is_the_concepts_own_and_kinds_are_honest(pool: TokenPool, concepts: list[Concept]) -> None:
    stream = Examples(pool, concepts, "train", SURFACE, WORDINGS)
    known = {c.name: c for c in stream.concepts}
    checked = 0
    for example in islice(stream.draw(3), 200):
        assert len(example.windows) == 4
        assert example.description.strip()
        for window in example.windows:
            assert window.active == (window.kind == ACTIVE)
            if example.concept in known:
                words = {pool.words[i] for i in pool.ids[known[example.concept].hits]}
                fired = {t.strip() for t, y in zip(window.tokens, window.labels, strict=True) if y}
                assert fired <= words
                checked += len(fired)
    assert checked > 100


def test_the_nth_example_depends_on_seed_and_number_alone(pool: TokenPool, concepts: list[Concept]) -> None:
    stream = Examples(pool, concepts, "train", SURFACE, WORDINGS)
    first = list(islice(stream.draw(5), 6))
    again_ = stream.at(5, 4)
    assert again_.description == first[4].description
    assert [w.tokens for w in again_.windows] == [w.tokens for w in first[4].windows]
    assert stream.at(6, 4).description != first[4].description or stream.at(6, 4).windows != first[4].windows


def test_no_key_is_in_two_splits_and_compositions_stay_in_theirs(pool: TokenPool, concepts: list[Concept]) -> None:
    keys: dict[str, set[str]] = {}
    for c in concepts:
        keys.setdefault(c.split, set()).add(c.key)
    assert not keys["train"] & keys["held-out"]
    own = [c for c in concepts if c.split == "train"]
    rng = random.Random(0)
    made = [composed(rng, own, pool, WORDINGS["compose"], SURFACE["sources"]) for _ in range(60)]
    assert {c.split for c in made if c} == {"train"}


def test_the_exam_is_not_in_the_lessons(pool: TokenPool, concepts: list[Concept]) -> None:
    """A concept that is a planted truth is found, whatever it is called, and none is left after the filter."""
    weekdays = pool.of_words(["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"])
    quotes = pool.of_pattern('["“”]')
    harmless = pool.of_words(["of"])
    made = [
        Concept("parts of a week", "noun", "k", weekdays, lambda _: "x"),
        Concept("speech signs", "punctuation", "k", quotes, lambda _: "x"),
        Concept("of", "word", "k", harmless, lambda _: "x"),
    ]
    found = forbidden(made, pool, [EXAM])
    assert found == {"parts of a week": "weekdays", "speech signs": "quotation-marks"}
    named = forbidden(concepts, pool, [EXAM])
    left = [c for c in concepts if c.name not in named]
    assert len(left) > 50
    assert not forbidden(left, pool, [EXAM])


def test_the_written_rules_hold_nothing_of_the_exam(pool: TokenPool) -> None:
    """`surface.yaml` is written by hand; what the filter would drop from it should not stand there."""
    from latentbench.lab.simulator.concepts import surface_concepts

    assert not forbidden(surface_concepts(pool, SURFACE), pool, [EXAM])


def _drawn(drills: Drills, wanted: int) -> list[Concept]:
    rng, found = random.Random(0), list[Concept]()
    while len(found) < wanted:
        found += [c for c in [drills.draw(rng)] if c]
    return found


def test_drills_are_what_their_words_say(pool: TokenPool, drills: Drills) -> None:
    """Affixes, lists and neighbours, read back from the phrase and found again by a loop over the tokens."""
    bare = [t.strip() for t in pool.tokens]
    inside = set(range(len(bare))) - set(pool.starts.tolist())
    seen = set()
    for c in _drawn(drills, 300):
        phrase = c.name.partition(":")[2]
        if match := re.fullmatch(r"words that end in -([a-z]+)", phrase):
            size = len(match[1]) + 2
            fires = [w.isascii() and w.isalpha() and len(w) >= size and w.lower().endswith(match[1]) for w in bare]
        elif match := re.fullmatch(r"words that begin with ([a-z]+)-", phrase):
            size = len(match[1]) + 2
            fires = [w.isascii() and w.isalpha() and len(w) >= size and w.lower().startswith(match[1]) for w in bare]
        elif match := re.fullmatch(r'the word right after (?:the word |the token |")([a-z]+)"?', phrase):
            own = [w.lower() == match[1] for w in bare]
            fires = [i in inside and own[i - 1] and not own[i] for i in range(len(bare))]
        elif match := re.fullmatch(r"the words? ((?:[a-z]+(?:, | and |$))+)", phrase):
            words = re.split(r", | and ", match[1])
            fires = [w.lower() in words for w in bare]
        else:
            continue
        seen.add(phrase.split()[2])
        assert c.hits.tolist() == [i for i, y in enumerate(fires) if y], phrase
    assert seen >= {"end", "begin", "right"}


def test_numbers_of_drills_are_read_with_separators_and_points() -> None:
    shown = "7 12 450 1,200 3.5 2020 12,5 1.2.3 x9 600,000"
    parts = RuleParts(TokenPool([(shown, "s")] * 40), SURFACE["drills"])
    value = dict(zip(parts.words, parts.value.tolist(), strict=True))
    assert (value["7"], value["1,200"], value["3.5"], value["600,000"]) == (7, 1200, 3.5, 600_000)
    assert {w for w, y in zip(parts.words, parts.number, strict=True) if not y} >= {"12,5", "1.2.3", "x"}
    digits = dict(zip(parts.words, parts.digits.tolist(), strict=True))
    assert (digits["1,200"], digits["450"], digits["3.5"]) == (4, 3, 0)


def test_drills_have_contrasts_that_are_silent_and_differ_from_number_to_number(drills: Drills) -> None:
    found = _drawn(drills, 60)
    assert {c.family for c in found} == {"drill"}
    assert len({c.name for c in found}) > 50
    assert sum(bool(c.contrasts) for c in found) > 50
    for c in found:
        assert np.all(np.diff(c.hits) > 0)
        assert all(not np.isin(n, c.hits).any() for n in c.contrasts)


def test_drills_leave_the_exam_and_the_held_out_concepts_alone(
    pool: TokenPool, concepts: list[Concept], drills: Drills
) -> None:
    found = _drawn(drills, 150)
    assert not forbidden(found, pool, [EXAM])
    rules = [c for c in concepts if c.split != "train" and c.family != "word"]
    assert rules
    for held in rules:
        for c in found:
            both = len(np.intersect1d(c.hits[c.hits < 120_000], held.hits))
            assert both <= 0.45 * len(np.union1d(c.hits, held.hits)), (c.name, held.name)
    lists = [pool.of_words(own["words"]) for own in SURFACE["drills"]["lists"]]
    signs = [pool.at(i for i, w in enumerate(pool.words) if w in own) for _, _, own in SURFACE["drills"]["signs"]]
    asked = ReservedConcepts((), pool, [EXAM])
    assert [n for n, hits in enumerate([*lists, *signs]) if len(hits) > 50 and asked.holds(hits)] == []


def test_drills_change_nothing_but_where_a_recipe_gives_them_a_weight(
    pool: TokenPool, concepts: list[Concept], drills: Drills
) -> None:
    plain = Examples(pool, concepts, "train", SURFACE, WORDINGS)
    armed = Examples(pool, concepts, "train", SURFACE, WORDINGS, drills=drills)
    assert [e.description for e in islice(plain.draw(4), 20)] == [e.description for e in islice(armed.draw(4), 20)]
    only = armed.weighted(dict.fromkeys(plain.weights, 0) | {"drill": 1})
    drawn = list(islice(only.draw(4), 20))
    assert {e.family for e in drawn} == {"drill"}
    assert all(w.active == (w.kind == ACTIVE) for e in drawn for w in e.windows)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs WordNet's files (Debian: wordnet-base)")
def test_synsets_hold_their_words_and_no_planted_truth(pool: TokenPool) -> None:
    wordnet = WordNet(DEBIAN)
    assert wordnet.first_sense["sparrow"].startswith("n")
    assert "n02084071" in wordnet.path(wordnet.first_sense["poodle"])
    found = all_concepts(pool, wordnet, SURFACE, WORDINGS)
    named = forbidden(found, pool, [EXAM])
    left = [c for c in found if c.name not in named]
    assert len([c for c in left if c.family == "noun"]) > 100
    assert not {"word:monday", "word:rain", "word:teacher"} & {c.name for c in left}
    assert {c.split for c in left if c.family == "rare"} == {"train"}
    held = {c.key for c in left if c.split == "held-out"}
    assert held
    assert not held & {c.key for c in left if c.split == "train"}


def test_a_small_wordnet_is_read_by_hand(tmp_path: Path) -> None:
    """Three nouns, one verb: hypernyms, glosses, the first-sense rule and the forms."""
    noun = (
        '00000001 03 n 01 animal 0 001 ~ 00000002 n 0000 | a living thing that moves; "an animal ran"  \n'
        "00000002 03 n 02 dog 0 hound 0 001 @ 00000001 n 0000 | a tame canine  \n"
        "00000003 03 n 01 run 0 000 | a score in baseball  \n"
    )
    (tmp_path / "data.noun").write_text("  1 licence\n" + noun, encoding="utf-8")
    (tmp_path / "index.noun").write_text(
        "animal n 1 1 ~ 1 1 00000001\ndog n 1 1 @ 1 1 00000002\nhound n 1 1 @ 1 0 00000002\nrun n 1 0 1 1 00000003\n",
        encoding="utf-8",
    )
    (tmp_path / "data.verb").write_text("00000009 29 v 01 run 0 000 | move fast  \n", encoding="utf-8")
    (tmp_path / "index.verb").write_text("run v 1 0 1 1 00000009\n", encoding="utf-8")
    for part in ("adj",):
        (tmp_path / f"data.{part}").write_text("", encoding="utf-8")
        (tmp_path / f"index.{part}").write_text("", encoding="utf-8")
    (tmp_path / "cntlist.rev").write_text("run%2:38:00:: 1 9\nrun%1:04:00:: 1 1\ndog%1:05:00:: 1 5\n", encoding="utf-8")
    found = WordNet(tmp_path)
    assert found.first_sense == {"animal": "n00000001", "dog": "n00000002", "hound": "n00000002", "run": "v00000009"}
    assert found.synsets["n00000002"].gloss == "a tame canine"
    assert found.path("n00000002") == ["n00000001", "n00000002"]
    assert found.forms("dog", "n") == ["dog", "dogs"]
    (tmp_path / "cntlist.rev").unlink()
    with pytest.raises(DataError, match="cntlist.rev"):
        WordNet(tmp_path)


def test_inflections() -> None:
    assert [plural(w) for w in ("dog", "box", "city", "day")] == ["dogs", "boxes", "cities", "days"]
    assert [past(w) for w in ("stop", "bake", "try", "play")] == ["stopped", "baked", "tried", "played"]
    assert [ing(w) for w in ("stop", "bake", "lie", "see")] == ["stopping", "baking", "lying", "seeing"]


def test_the_pool_does_not_reach_across_passages(pool: TokenPool, concepts: list[Concept]) -> None:
    stream = Examples(pool, concepts, "train", SURFACE, WORDINGS)
    text = ["".join(pool.tokens[a:b]) for a, b in zip(pool.starts[:-1], pool.starts[1:], strict=True)]
    for example in islice(stream.draw(9), 10):
        for window in example.windows:
            assert any("".join(window.tokens) in t for t in text)
    assert np.all(np.diff(pool.starts) > 0)
