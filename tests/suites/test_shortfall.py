"""What a suite was asked for and did not get is said at its build and when it is shown, and is an error on request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from latentbench.cli import app
from latentbench.kernel.errors import DataError
from latentbench.kernel.tasks import find
from latentbench.suites.build.build import build_suite
from latentbench.suites.build.suite_recipe import anchored_recipe, load_recipe
from latentbench.suites.shortfall import shortfall
from latentbench.suites.store import load_suite
from typer.testing import CliRunner

from tests.builders.toy_recipe import directions, toy_recipe

KEPT = ("weekdays", "food", "music", "negation", "years", "question-marks", "python-keywords")
"""Rules of planted-1 that have three others each which are unrelated."""


@pytest.fixture(scope="module")
def place(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("short")
    toy_recipe(folder, tiny_folder, [directions("r", "layers.1", 4)], texts=60, explain=4, positives=1)
    return folder


def _written(place: Path, name: str, **changes: Any) -> Path:
    data = yaml.safe_load((place / "recipe.yaml").read_text("utf-8"))
    data |= {"name": name, **changes}
    (place / name).mkdir(exist_ok=True)
    data["corpus"]["path"] = str(place / "corpus.jsonl")
    (place / name / "recipe.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    return place / name / "recipe.yaml"


def _run(place: Path, *given: str) -> Any:
    return CliRunner().invoke(app, ["suite", *given])


def test_a_suite_that_has_all_says_so_and_is_built_strictly(place: Path) -> None:
    done = _run(place, "build", str(_written(place, "whole")), "--work", str(place / "work"), "--strict")
    assert done.exit_code == 0, done.output
    assert "r: 4 latents asked for, " in done.output
    assert "4 in the suite" in done.output
    suite = load_suite(place / "whole")
    assert shortfall(suite.manifest, suite.latent_table).problems == ()


def test_too_few_latents_and_windows_are_told_at_the_end_and_shown_and_refused(place: Path) -> None:
    many = [{**directions("r", "layers.1", 400)}]
    recipe = _written(place, "short", coders=many, test={"positives_per_decile": 1, "negatives": 100000})
    refused = _run(place, "build", str(recipe), "--work", str(place / "work"), "--strict")
    assert isinstance(refused.exception, DataError), "exit code 2"
    assert not (place / "short" / "manifest.json").exists(), "nothing is written"
    built = _run(place, "build", str(recipe), "--work", str(place / "work"))
    assert built.exit_code == 0
    suite = load_suite(place / "short")
    entry = suite.manifest["coders"][0]
    n = entry["got"]
    assert n < 400
    shown = _run(place, "show", str(place / "short"))
    for output in (built.output, shown.output):
        said = " ".join(output.split())
        assert f"r: 400 latents asked for, {entry['qualifying']} qualify, {n} in the suite" in said
        assert f"r has {n} latents of 400" in said
        assert f"{n} latents of r have fewer negative windows than asked for" in said
    assert f"r has {n} latents of 400" in str(refused.exception)


def test_named_latents_that_do_not_qualify_are_named(place: Path) -> None:
    coder = directions("r", "layers.1", 24)
    coder["indices"] = list(range(24))
    recipe = anchored_recipe(load_recipe(_written(place, "chosen", coders=[coder], min_windows=120)), place)
    suite = build_suite(recipe, place / "chosen" / "out", place / "work")
    left = suite.manifest["coders"][0]["left_out"]
    assert left
    assert set(map(int, left)) == set(range(24)) - {v.index for v in suite.latents()}
    problems = shortfall(suite.manifest, suite.latent_table).problems
    index, windows = next(iter(left.items()))
    assert any(f"{index} (fires in {windows} of 120 windows)" in p for p in problems)
    with pytest.raises(DataError, match="leaves out"):
        build_suite(recipe, place / "chosen" / "strict", place / "work", strict=True)


def test_latents_that_cannot_be_scored_are_named_with_the_reason(place: Path) -> None:
    """Windows that fill the corpus: the most active latents have none on which they are silent."""
    coder = directions("r", "layers.1", 24) | {"min_windows": 1}
    coder["coder"] |= {"k": 20}
    recipe = anchored_recipe(load_recipe(_written(place, "busy", coders=[coder], window=40, context=40)), place)
    suite = build_suite(recipe, place / "busy" / "out", place / "work")
    lacking = [v.id for v in suite.latents() if v.row["got_negative"] == 0]
    assert lacking
    problems = shortfall(suite.manifest, suite.latent_table).problems
    said = next(p for p in problems if "cannot be scored (no test windows on which it is silent)" in p)
    assert lacking[0] in said


@pytest.mark.parametrize("name", ["planted-1", "planted-2"])
def test_suites_without_a_subject_can_be_short_too(name: str, tmp_path: Path) -> None:
    """More windows of a decile are asked for than there are."""
    shipped = find("suites", name)
    recipe = yaml.safe_load((shipped / "recipe.yaml").read_text("utf-8")) | {
        "name": "short",
        "explain": 5000,
        "negatives": 3000,
    }
    if "rules" in recipe:
        rules = yaml.safe_load((shipped / "rules.yaml").read_text("utf-8"))
        few = [latent for latent in rules["latents"] if latent["name"] in KEPT]
        (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules | {"latents": few}), encoding="utf-8")
        recipe["corpus"] = str(shipped / recipe["corpus"])
    else:
        recipe["labels"] = str(shipped / recipe.get("labels", "labels.jsonl"))
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    refused = _run(tmp_path, "build", str(path), "--out", str(tmp_path / "strict"), "--strict")
    assert isinstance(refused.exception, DataError)
    assert "fewer explain windows than asked for" in str(refused.exception)
    assert not (tmp_path / "strict").exists(), "nothing is written"
    built = _run(tmp_path, "build", str(path), "--out", str(tmp_path / "lax"))
    assert built.exit_code == 0, built.output
    shown = " ".join(_run(tmp_path, "show", str(tmp_path / "lax")).output.split())
    assert "fewer explain windows than asked for" in shown
