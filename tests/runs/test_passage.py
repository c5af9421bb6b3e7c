"""One explanation from spec to leaderboard: how many files are handed it, as which types, and where it is a bare dictionary."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from pathlib import Path
from types import MappingProxyType

import pandas as pd
import pytest
from latentbench.explainers.explainer import Explanation
from latentbench.leaderboards.board import Ranking, tables
from latentbench.leaderboards.board_page import board_page
from latentbench.leaderboards.row import Estimate, Row, read_rows
from latentbench.runs.finished import Run
from latentbench.runs.run import start
from latentbench.scorers.scorer import Judgement
from latentbench.stats.ranks import Rank
from rich.console import Console

from tests.builders.passage import PACKAGE, Passage

SPEC = """
name: one
keep: none
suite: planted-1
limit: 1
explainers: [{use: llm, model: "mock:lexical"}]
scorers: [detection]
judges: [{use: "mock:lexical", label: lexical}]
"""
WORDED = """
name: one
keep: none
suite: planted-1
limit: 1
explainers: [{use: llm, model: "mock:lexical"}]
scorers:
  - {use: detection, params: {simulate: never, positives: 2, negatives: 2}}
  - {use: embedding, params: {positives: 2, negatives: 2}}
  - {use: surprisal, params: {positives: 2, negatives: 2}}
judges: [{use: "mock:lexical", label: lexical}]
"""
# What a run keeps of its calls is no explanation any more, and goes nowhere from there.
MADE = (Judgement, Run, Row, Ranking, Estimate, Rank, pd.DataFrame, pd.Series)
"""What is made of an explanation once it was judged: with a single one in the run, each of these is its own."""


TOLD = "Tokens such as"
LOST = Explanation("a", f"{TOLD} plum")


@pytest.fixture(scope="module")
def passage(tmp_path_factory: pytest.TempPathFactory) -> Passage:
    return followed(tmp_path_factory.mktemp("one"), SPEC)


@pytest.fixture(scope="module")
def worded(tmp_path_factory: pytest.TempPathFactory) -> Passage:
    """The same where it is put into words, too: as a message, as a query, before a text."""
    return followed(tmp_path_factory.mktemp("worded"), WORDED)


def followed(folder: Path, spec: str) -> Passage:
    (folder / "one.yaml").write_text(spec, encoding="utf-8")
    passage = Passage(TOLD, MADE)
    with passage.followed():
        run, _ = start(folder / "one.yaml", folder / "run", folder / "cache.sqlite", Console(quiet=True))
        assert "llm" in board_page(tables(read_rows([run]))).markdown()
    return passage


def test_it_is_handed_through_few_files(passage: Passage) -> None:
    assert len(passage.files) <= 38, sorted(passage.files)


def test_it_has_few_forms(passage: Passage) -> None:
    assert len(passage.types) <= 13, sorted(passage.types)


JSON = {
    "judges/cache/reply_row.py: encode",
    "kernel/identity.py: canonical",
    "kernel/identity.py: digest",
    "kernel/requests.py: _told",
    "kernel/requests.py: content",
    "kernel/requests.py: stored",
    "runs/run_journals.py: _explained_line",
    "runs/run_journals.py: _explained_unit",
    "runs/run_journals.py: _json",
    "runs/run_journals.py: _usage",
    "runs/settled.py: _timed",
    "runs/settled.py: _usage",
    "runs/settled.py: settled_explanations",
    "runs/settling.py: _told",
}
"""Where JSON and digests are made, or read back."""
FIELDS = {"prompts/template.py: Template.render", "prompts/template.py: fill"}
"""Whose keyword arguments are the fields of a prompt, checked by name when a task is loaded: a dictionary by nature."""


def test_it_crosses_no_room_as_a_bare_dictionary(passage: Passage, worded: Passage) -> None:
    """It is one where JSON and digests are made, and as fields of a prompt, and nowhere else."""
    found = {
        place.removesuffix(".<locals>.<dictcomp>").removesuffix(".<locals>.convert")
        for followed in (passage, worded)
        for place, ways in followed.dictionaries.items()
        if ways & {"text", "key"}
    }
    assert found <= JSON | FIELDS, sorted(found - JSON - FIELDS)
    assert found >= FIELDS, "the worded run fills no prompt, and so shows nothing of them"


CANONICAL = "kernel/identity.py: "
"""Where a value is written as JSON to be hashed."""


def test_no_file_hands_another_one_a_dictionary(passage: Passage, worded: Passage) -> None:
    """What is hashed goes to where JSON of it is made, and named arguments fill a prompt; both end there."""
    for followed in (passage, worded):
        ways = {way: taken for way, taken in followed.handed.items() if taken & {"text", "key"}}
        takers = {way.partition(" -> ")[2] for way in ways}
        assert {t for t in takers if not t.startswith(CANONICAL)} <= FIELDS, sorted(ways)
        assert any(t.startswith(CANONICAL) for t in takers), "a request is hashed, and nothing was seen of it"
        assert not [way for way in ways if way.startswith(CANONICAL)], "nothing comes back from there but text"


@pytest.mark.parametrize(
    ("call", "ways"),
    [
        ("taken({'a': TEXT})", {"giver.py: give -> taker.py: taken"}),
        ("taken([0, {'a': [TEXT]}])", {"giver.py: give -> taker.py: taken"}),
        ("taken(a=TEXT)", set()),
        ("list(map(taken, [{'a': TEXT}]))", {"giver.py: give -> taker.py: taken"}),
        ("made(TEXT)", {"taker.py: made -> giver.py: give"}),
        ("own({'a': TEXT})", set()),
    ],
)
def test_a_dictionary_from_file_to_file_is_seen(call: str, ways: set[str]) -> None:
    texts = {
        "taker.py": "def taken(a): return None\ndef made(text): return {'a': text}",
        "giver.py": f"def own(held): return None\ndef give(): {call}",
    }
    names: dict[str, object] = {"TEXT": LOST.text}
    for name, text in texts.items():
        exec(compile(text, str(PACKAGE / name), "exec"), names)
    passage = Passage(TOLD, MADE)
    with passage.followed():
        names["give"]()  # type: ignore[operator]
    assert set(passage.handed) == ways


def test_a_mapping_that_it_is_found_in_holds_a_type_of_the_package(passage: Passage, worded: Passage) -> None:
    for followed in (passage, worded):
        for place, ways in followed.dictionaries.items():
            assert ways <= followed.types | {"text", "key", "DataFrame"}, place


@pytest.mark.parametrize(
    ("value", "ways"),
    [
        ({"a": LOST.text}, {"text"}),
        (OrderedDict(a=LOST.text), {"text"}),
        (defaultdict(str, a=LOST.text), {"text"}),
        (MappingProxyType({"a": LOST.text}), {"text"}),
        ([{"a": 1}, {"a": LOST.text}], {"text"}),
        (({"a": LOST.text},), {"text"}),
        ([0] * 60 + [{"a": LOST.text}], {"text"}),
        ({"a": {"b": LOST.text}}, {"text"}),
        ({"a": [LOST.text]}, {"text"}),
        ({"a": [{"b": (LOST.text,)}]}, {"text"}),
        ({LOST.text: 1}, {"key"}),
        ({"a": LOST}, {"Explanation"}),
        ({"a": [LOST, LOST.text]}, {"Explanation", "text"}),
        ({"a": {"b": pd.DataFrame()}}, {"DataFrame"}),
        ([LOST.text], set()),
        (LOST, set()),
        ({"a": "another text"}, set()),
    ],
)
def test_a_mapping_is_seen_whatever_its_kind_and_place(value: object, ways: set[str]) -> None:
    passage = Passage(TOLD, MADE)
    assert passage.ways(value) == ways
    assert passage.holds(value) == (value != {"a": "another text"})


@pytest.mark.parametrize("call", ["f(a=TEXT)", "f({'a': TEXT})", "f(**{'a': TEXT})", "f(0, [{'a': TEXT}])"])
def test_arguments_with_a_star_are_seen(call: str) -> None:
    code = compile(f"def f(*args, **kwargs): pass\n{call}", str(PACKAGE / "made_up.py"), "exec")
    passage = Passage(TOLD, MADE)
    with passage.followed():
        exec(code, {"TEXT": LOST.text})
    assert passage.dictionaries == {"made_up.py: f": {"text"}}
