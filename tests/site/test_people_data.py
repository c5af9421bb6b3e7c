"""What people said on the pages: there only where they have rated, with the numbers of the ratings, and without their names.

All raters here are generated: nobody rated anything.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from latentbench.analysis.people.people_agreement import people_agreement
from latentbench.analysis.people.rating_store import rating_session, read_ratings
from latentbench.runs.finished import load_run
from latentbench.site.data_file import CALL
from latentbench.site.site_files import site_files
from latentbench.site.site_target import site_target

from tests.builders.generated_raters import generated_choices, generated_ratings
from tests.builders.run_builder import Grid
from tests.builders.site_runs import shown_run

GRID = Grid(scorers=("detection", "fuzzing"), coders={"res9": 30}, windows=20)


def rate(folder: Path, pairs: bool = True) -> None:
    """Have generated raters rate a run."""
    run = load_run(folder)
    with rating_session(folder) as session:
        for rating in (*generated_ratings(run, 2, 0.5), *(generated_choices(run, 0.9) if pairs else ())):
            session.add(rating)


def value(files: dict[str, str], name: str) -> Any:
    """What a data file holds."""
    return json.loads(files[f"data/{name}.js"].removeprefix(f"{CALL}(...").rstrip()[:-1])[1]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], dict[str, str]]:
    """A rated run, and the files of its site before and since."""
    folder = shown_run(tmp_path_factory.mktemp("people"), GRID)
    before = dict(site_files(site_target(folder)))
    rate(folder)
    return folder, before, dict(site_files(site_target(folder)))


def test_ratings_add_one_file_and_a_word_in_the_list_of_runs(both: tuple[Path, dict[str, str], dict[str, str]]) -> None:
    _, before, since = both
    assert set(since) - set(before) == {"data/r0/people.js"}
    assert {name for name in before if before[name] != since[name]} == {"data/site.js"}
    assert "raters" not in before["data/site.js"]
    assert value(since, "site")["runs"][0]["raters"] == 2


def test_the_numbers_are_those_of_the_command(both: tuple[Path, dict[str, str], dict[str, str]]) -> None:
    folder, _, files = both
    run, found = load_run(folder), value(files, "r0/people")
    expected = people_agreement(run, read_ratings(folder))
    assert [m["name"] for m in found["scorers"]] == list(expected.scorers)
    for shown in found["scorers"]:
        c = expected.scorers[shown["name"]]
        assert (shown["estimate"], shown["low"], shown["high"]) == pytest.approx((c.estimate, c.low, c.high), abs=1e-5)
        assert shown["n"] == c.n
    assert found["ceiling"]["estimate"] == pytest.approx(expected.ceiling[0], abs=1e-5)
    assert {m["name"] for m in found["between"]} >= {"alpha, ordinal", "alpha, interval", "Spearman of two raters"}
    assert found["choices"][0]["estimate"] == pytest.approx(expected.choices["detection"].estimate, abs=1e-5)
    # The mean rating of one text, by hand.
    at, latent = list(run.record.explainers).index("llm"), run.record.latents[7]
    told = run.explanations.set_index(["explainer", "latent"])["hash"]
    own = [
        r.value for r in read_ratings(folder) if (r.latent, r.first, r.task) == (latent, told["llm", latent], "scale")
    ]
    assert found["mean"][at][7] == pytest.approx(sum(own) / 2)
    assert found["ratings"][at][7] == len(own) == 2


def test_raters_are_numbered_and_where_ratings_come_from_is_said(
    both: tuple[Path, dict[str, str], dict[str, str]],
) -> None:
    _, _, files = both
    found = value(files, "r0/people")
    assert "generated-0" not in files["data/r0/people.js"]
    assert [r["rater"] for r in found["raters"]] == ["rater 1", "rater 2"]
    assert [r["ratings"] for r in found["raters"]] == [90, 90]
    assert found["sources"] == ["generated"]


def test_a_run_of_which_only_floors_were_rated_has_its_raters_and_no_correlation(tmp_path: Path) -> None:
    folder = shown_run(tmp_path, GRID)
    run = load_run(folder)
    floors = run.explanations[run.explanations["explainer"] == "shuffled"]
    real = set(run.explanations.loc[run.explanations["explainer"] != "shuffled", "hash"])
    wanted = {(z, h) for z, h in zip(floors["latent"], floors["hash"], strict=True) if h not in real}
    with rating_session(folder) as session:
        for rating in generated_ratings(run, 1, 0.5):
            if (rating.latent, rating.first) in wanted:
                session.add(rating)
    found = value(dict(site_files(site_target(folder))), "r0/people")
    assert found["scorers"] == []
    assert found["raters"][0]["ratings"] == len(wanted) > 0
