"""Rare latents through a whole run: who is skipped and why, whose score has an uncertainty, and what a leaderboard says of it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml
from latentbench.kernel.errors import DataError, SpecError
from latentbench.leaderboards.few_windows import BANDS, WindowedScore, windowed_scores, windows_blocks, windows_csv
from latentbench.runs.finished import Run, load_run
from latentbench.runs.run import start
from latentbench.suites.build.build import build_suite
from latentbench.suites.build.suite_recipe import SuiteRecipe, anchored_recipe, load_recipe
from latentbench.suites.shortfall import shortfall
from latentbench.suites.store import Suite
from latentbench.views.page import Page
from rich.console import Console

from tests.builders.toy_recipe import neurons, toy_recipe

QUIET = Console(quiet=True)
SCORERS = ["detection", "embedding", "intruder", "example_embedding", "simulation", "surprisal"]
MOST = 12


@pytest.fixture(scope="module")
def suite(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """Up to 40 latents that fire in 2 to 12 windows, and the recipe that asks for them."""
    folder = tmp_path_factory.mktemp("rare")
    rare = neurons(40) | {"min_windows": 2, "max_windows": MOST}
    toy_recipe(folder, tiny_folder, [rare], texts=4, explain=4, positives=1)
    return build_suite(anchored_recipe(load_recipe(folder / "recipe.yaml"), folder), folder / "suite", folder / "work")


@pytest.fixture(scope="module")
def run(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    spec = {
        "name": "rare",
        "suite": str(suite.path),
        "explainers": ["tokens", {"use": "shuffled", "params": {"of": "tokens"}}],
        "scorers": SCORERS,
        "judges": [{"use": "mock:lexical", "label": "lex"}],
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    start(folder / "spec.yaml", folder / "run", folder / "cache.sqlite", QUIET)
    return load_run(folder / "run")


def test_a_recipe_that_asks_for_rare_latents_gets_them_and_no_others(suite: Suite) -> None:
    windows = [len(v.explain) + sum(w.active for w in v.test) for v in suite.latents()]
    assert windows
    assert max(windows) <= MOST
    # Windows are shared out in the proportion asked for, 10 to 4, and none is in both.
    assert min(len(v.explain) for v in suite.latents()) >= 1
    assert min(sum(w.active for w in v.test) for v in suite.latents()) >= 1
    assert min(windows) < 5


def test_where_all_latents_fire_too_often_the_refusal_names_the_upper_end(tiny_folder: Path, tmp_path: Path) -> None:
    rare = neurons(40) | {"min_windows": 2, "max_windows": 2}
    toy_recipe(tmp_path, tiny_folder, [rare], texts=40, explain=4, positives=1)
    recipe = load_recipe(tmp_path / "recipe.yaml")
    with pytest.raises(DataError, match=r"fires in 2 to 2 windows; .* Lower min_windows or raise max_windows\."):
        build_suite(anchored_recipe(recipe, tmp_path), tmp_path / "suite", tmp_path / "work")


def test_a_named_latent_that_fires_too_often_is_left_out_for_that_reason(suite: Suite) -> None:
    entry = {"name": "n", "asked": 3, "qualifying": 1, "got": 1, "min_windows": 2, "left_out": {"7": 1, "8": 30}}
    said = shortfall({"coders": [entry]}, suite.latent_table).problems
    named = "7 (fires in 1 of 2 windows), 8 (fires in 30 windows, above max_windows)"
    assert f"n leaves out 2 latents that were asked for: {named}" in said


def test_the_new_key_is_in_no_recipe_that_does_not_say_it(suite: Suite) -> None:
    said = load_recipe(suite.path / "recipe.yaml")
    dumped = said.model_dump(mode="json")
    assert dumped["coders"][0]["max_windows"] == MOST
    plain = {**dumped, "coders": [{k: v for k, v in dumped["coders"][0].items() if k != "max_windows"}]}
    assert SuiteRecipe.model_validate(plain).model_dump(mode="json") == plain
    with pytest.raises(SpecError, match=r"max_windows \(12\) of a coder is below min_windows \(30\)"):
        _refused(plain | {"coders": [plain["coders"][0] | {"max_windows": 12, "min_windows": None}]})


def _refused(recipe: object) -> None:
    from latentbench.kernel.config import validate

    validate(SuiteRecipe, recipe, "recipe.yaml")


def test_a_latent_with_too_few_windows_for_a_scorer_is_skipped_with_its_number(suite: Suite, run: Run) -> None:
    active = {v.id: sum(w.active for w in v.test) for v in suite.latents()}
    judged = run.judgements
    for scorer, fewest in (("intruder", 4), ("example_embedding", 2)):
        few = {latent for latent, n in active.items() if n < fewest}
        assert few, "the suite has none, so nothing is tested"
        own = judged[judged["scorer"] == scorer]
        lost = own[own["outcome"] == "skipped"]
        assert set(lost["latent"]) == few
        for latent, error in zip(lost["latent"], lost["error"], strict=True):
            assert (
                f"{latent} has {active[latent]} activating test windows, and {fewest} or more are asked about" in error
            )
    asked_anyway = judged[~judged["scorer"].isin(["intruder", "example_embedding"])]
    assert set(asked_anyway["outcome"]) == {"ok"}


def test_every_latent_has_its_windows_and_one_window_has_no_error(suite: Suite, run: Run) -> None:
    active = {v.id: sum(w.active for w in v.test) for v in suite.latents()}
    rows = windowed_scores(run)
    assert len(rows) == len(active) * 2 * len(SCORERS)
    for r in rows:
        if r.scorer != "intruder" and r.judged == r.attempted:
            assert r.windows == active[r.latent]
            assert (r.error is None) == (r.windows == 1 or r.scorer == "example_embedding"), r
        if r.judged == 0:
            assert (r.windows, r.value, r.error) == (0, None, None)
    values = {(r.explainer, r.scorer, r.latent): r.value for r in rows}
    means = run.per_latent()
    for e, s, latent, value in zip(means["explainer"], means["scorer"], means["latent"], means["value"], strict=True):
        assert values[e, s, latent] == (None if value != value else pytest.approx(value))


def test_the_bands_hold_every_latent_once_and_small_bands_have_no_interval(run: Run) -> None:
    rows = windowed_scores(run)
    *tables, note = windows_blocks(rows)
    assert [t.title for t in tables] == [f"{s}, lex: by activating windows of a latent" for s in SCORERS]  # type: ignore[union-attr]
    latents = len({r.latent for r in rows})
    for table in tables:
        for explainer in ("tokens", "shuffled"):
            own = [row for row in table.rows if row[0] == explainer]  # type: ignore[union-attr]
            assert sum(row[2] for row in own) == latents
            for _, _, n, without, _, interval, _ in own:
                if n - without < 12:
                    assert interval == (None, None)
    shown = Page("", [*tables, note]).markdown()
    assert "2 to 4" in shown
    lines = list(csv.DictReader(windows_csv(rows).splitlines()))
    assert len(lines) == len(rows)
    assert lines[0].keys() >= {"latent", "windows", "score", "error", "n_judged"}


def test_the_bands_meet_without_a_gap() -> None:
    assert [low for low, _ in BANDS[1:]] == [high + 1 for _, high in BANDS[:-1] if high is not None]
    assert BANDS[-1][1] is None


def test_an_error_is_averaged_over_repeats_and_squared_over_latents() -> None:
    """By hand: errors .1 and .3 of two repeats are .2; with a latent of .4, the root of (.04 + .16) / 2."""

    def row(latent: str, repeat: int, error: float | None) -> WindowedScore:
        return WindowedScore("e", "s", "j", repeat, latent, 3, 9, 9, 0.5, error)

    (table, _) = windows_blocks([row("a", 0, 0.1), row("a", 1, 0.3), row("b", 0, 0.4), row("c", 0, None)])
    ((*_, error),) = table.rows  # type: ignore[union-attr]
    assert error == pytest.approx((0.1) ** 0.5)
