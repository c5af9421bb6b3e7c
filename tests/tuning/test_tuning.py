"""Studies from end to end: what is found, what is not, what fails, what stops, and what is left behind."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import yaml
from latentbench.kernel.errors import RunError, SpecError, UnknownName
from latentbench.runs.finished import load_run
from latentbench.runs.run import start
from latentbench.tuning.holdout import hold_out
from latentbench.tuning.space import load_tune_spec
from latentbench.tuning.summary import chance, verdict
from latentbench.tuning.tune import TuneRequest, tune

from tests.builders.tuning_landscape import QUIET, install, landscape, study, write

BEST = {"shots": 6, "style": "terse", "temperature": 0.25}
STEP = 0.0626
"""What one step of one setting away from the best costs at most: a dozen latents do not always tell the two apart."""


@pytest.fixture(scope="module", autouse=True)
def knobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = install(tmp_path_factory.mktemp("site-packages"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        importlib.invalidate_caches()
        yield place
    sys.modules.pop("latentbench_knobs", None)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A study on the landscape with an optimum, compared on held-out latents."""
    content = landscape(trials=30, seed=0, enqueue={"paper": {"shots": 4, "style": "terse", "temperature": 0.5}})
    content["holdout"] = {"repeats": 2, "limit": 24}
    return study(tmp_path_factory.mktemp("tuned"), content)


def calls_of_a_grid(result: dict) -> int:
    """Every setting on every tuning latent: 160 settings, and each costs what the default cost."""
    default = result["trials"][result["default"]]
    return 160 * default["spent"]["calls"]


def test_the_planted_optimum_is_found_with_a_third_of_the_calls_of_a_grid(tuned: dict) -> None:
    (winner,) = tuned["winners"]
    found = tuned["trials"][winner]["settings"]
    from latentbench_knobs import error

    assert error(**found) <= error(**BEST) + STEP
    assert tuned["spent"]["calls"] * 3 <= calls_of_a_grid(tuned)
    assert sum(t["state"] == "stopped" for t in tuned["trials"]) >= 5
    assert tuned["storage"] == "study.db"
    assert tuned["chance"]["p"] < 0.05


def test_the_held_out_comparison_is_on_other_latents_and_says_better(tuned: dict) -> None:
    held = tuned["holdout"]
    (w,) = held["winners"]
    folder = Path(tuned["folder"])
    seen = set(load_run(folder / tuned["trials"][0]["folder"]).record.latents)
    test = load_run(folder / w["folder"]).record
    assert test.split == "test"
    assert not seen & set(test.latents)
    d = w["differences"]["score"]
    assert w["verdict"] == "better"
    assert d["p_holm"] < 0.05
    # By hand: paired means of the two runs' tables.
    runs = [load_run(folder / place).scores for place in (w["folder"], held["default"]["folder"])]
    means = [t[t.metric == "ap_normalised"].groupby("latent").value.mean() for t in runs]
    assert d["estimate"] == pytest.approx(float((means[0] - means[1]).mean()))
    assert verdict(tuned).startswith("The tuned setting is better than the default: score +")
    assert "is more than chance" in str(chance(tuned))


def test_trials_see_tuning_latents_only_and_the_named_settings_come_first(tuned: dict) -> None:
    first, second = tuned["trials"][:2]
    assert (first["name"], first["settings"]) == ("default", {"shots": 1, "style": "plain", "temperature": 1.0})
    assert (second["name"], second["settings"]["temperature"]) == ("paper", 0.5)
    for t in tuned["trials"]:
        if t["folder"]:
            assert load_run(Path(tuned["folder"]) / t["folder"]).record.split == "tune"
    # A stopped trial saw fewer latents, the first ones of the common order.
    whole = load_run(Path(tuned["folder"]) / first["folder"]).record.latents
    short = next(t for t in tuned["trials"] if t["state"] == "stopped")
    assert load_run(Path(tuned["folder"]) / short["folder"]).record.latents == whole[: short["latents"]]
    assert short["latents"] == 8 < len(whole) == 12


def test_the_best_spec_is_a_run(tuned: dict, tmp_path: Path) -> None:
    best = Path(tuned["folder"]) / "best.yaml"
    spec = yaml.safe_load(best.read_text(encoding="utf-8")) | {"limit": 2, "repeats": 1}
    assert spec["split"] == "test"
    (tmp_path / "best.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    _, record = start(tmp_path / "best.yaml", tmp_path / "run", tmp_path / "cache.sqlite", QUIET)
    assert record.status == "complete"
    settings = tuned["trials"][tuned["winners"][0]]["settings"]
    assert f"shots={settings['shots']}&style={settings['style']}" in record.spec.judges[0].use


def test_the_report_is_one_page_without_a_network(tuned: dict) -> None:
    folder = Path(tuned["folder"])
    page, text = (
        (folder / "report.html").read_text(encoding="utf-8"),
        (folder / "report.md").read_text(encoding="utf-8"),
    )
    for wanted in (verdict(tuned), "On held-out latents", "Importances", "chance", "Limits"):
        assert wanted in text
        assert wanted in unescape(page)
    assert "<script" not in page
    assert 'src="http' not in page
    for name in ("history", "slices", "importances"):
        assert (folder / "figures" / f"{name}.svg").read_text(encoding="utf-8").startswith("<svg")
        assert f"figures/{name}.svg" in text
    assert page.count("<svg") == 3
    from latentbench.tuning.tune_report import write_reports

    write_reports(json.loads((folder / "study.json").read_text(encoding="utf-8")), folder)
    assert (folder / "report.html").read_text(encoding="utf-8") == page


def test_going_on_with_a_finished_study_runs_nothing_more(tuned: dict) -> None:
    folder = Path(tuned["folder"])
    asked = TuneRequest(folder.parent / "tune.yaml", folder, cache=folder.parent / "other.sqlite")
    again = tune(asked, QUIET)
    assert again is not None
    assert again["trials"] == tuned["trials"]
    assert again["holdout"] == tuned["holdout"]


def test_another_spec_cannot_go_on_with_the_study(tuned: dict) -> None:
    folder = Path(tuned["folder"])
    changed = yaml.safe_load((folder / "spec.yaml").read_text(encoding="utf-8"))
    changed["space"]["shots"]["high"] = 9
    with pytest.raises(SpecError, match="begun with another spec"):
        tune(
            TuneRequest(write(folder.parent / "changed", changed), folder, cache=folder.parent / "cache.sqlite"), QUIET
        )


def test_it_is_logged_as_a_parent_with_children_and_a_champion(tuned: dict, tmp_path: Path) -> None:
    from latentbench.tuning.tune_track import track
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    logged = track(Path(tuned["folder"]), uri=uri)
    assert logged.ok, logged.message
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    top = client.get_run(logged.parent)
    (w,) = tuned["holdout"]["winners"]
    assert top.data.metrics["score/score/held_out/difference"] == pytest.approx(w["differences"]["score"]["estimate"])
    assert top.data.params["best_style"] == tuned["trials"][tuned["winners"][0]]["settings"]["style"]
    series = [m.value for m in client.get_metric_history(logged.parent, "score/score/tuning/best_so_far")]
    assert series == sorted(series)
    assert len(logged.children) == sum(t["state"] != "repeat" for t in tuned["trials"])
    stopped = next(t for t in tuned["trials"] if t["state"] == "stopped")
    child = client.get_run(logged.children[f"trial {stopped['number']}"])
    assert child.info.status == "KILLED"
    assert child.data.tags["mlflow.parentRunId"] == logged.parent
    assert child.data.params["shots"] == str(stopped["settings"]["shots"])
    names = {a.path for a in client.list_artifacts(logged.parent)}
    assert {"best.yaml", "report.html", "study.json", "figures"} <= names
    champion = client.get_prompt_version_by_alias("scorer.detection.single", "champion")
    assert "{{explanation}}" in json.dumps(champion.template)
    again = track(Path(tuned["folder"]), uri=uri)
    assert (again.parent, again.children) == (logged.parent, logged.children)


@pytest.mark.slow
def test_the_planted_optimum_is_found_over_many_seeds(tmp_path: Path) -> None:
    from latentbench_knobs import error

    exact, near, ratios = 0, 0, []
    for seed in range(20):
        content = landscape(latents=20, windows=10, trials=44, seed=seed)
        result = study(tmp_path / str(seed), content, holdout=False)
        found = result["trials"][result["winners"][0]]["settings"]
        exact += found == BEST
        near += error(**found) <= error(**BEST) + STEP
        ratios.append(calls_of_a_grid(result) / result["spent"]["calls"])
    print(f"optimum {exact}/20, at most one step away {near}/20, calls of a grid over calls: {np.round(ratios, 1)}")
    assert min(ratios) >= 3
    assert near >= 18
    assert exact >= 12


def flat(folder: Path, seeds: range, trials: int, latents: int) -> tuple[int, int, int]:
    """(said better, said more than chance, studies) on landscapes where no setting is better than another."""
    better = above = 0
    for seed in seeds:
        content = landscape(effect=0, extra=f"&luck={seed}", latents=latents, windows=4, trials=trials, seed=seed)
        content["holdout"] = {"repeats": 1, "limit": 24}
        content["prune"] = {"first": 4}
        result = study(folder / str(seed), content)
        better += result["holdout"]["winners"][0]["verdict"] == "better"
        above += bool(result["chance"] and result["chance"]["p"] < 0.05)
    return better, above, len(seeds)


def test_a_space_without_effect_shows_no_improvement(tmp_path: Path) -> None:
    better, above, _ = flat(tmp_path, range(2), trials=6, latents=8)
    assert better == 0
    assert above <= 1


@pytest.mark.slow
def test_a_space_without_effect_shows_no_improvement_over_many_seeds(tmp_path: Path) -> None:
    better, above, n = flat(tmp_path, range(40), trials=12, latents=16)
    print(f"{better} of {n} said better, {above} of {n} said more than chance")
    # Nominal: 2.5 % and 5 %; P(more) < 1 % by the binomial distribution.
    assert better <= 4
    assert above <= 6


# --- what goes wrong


def test_failed_trials_are_recorded_with_their_outcome_and_are_no_scores(tmp_path: Path) -> None:
    content = landscape(latents=4, windows=2, trials=6, seed=1)
    # Half of the space is a judge whose every call fails; another value names a scorer preset that does not exist.
    content["space"]["fail"] = [0.0, 1.0]
    content["space"]["preset"] = {"values": ["single", "papr"]}
    content["run"]["judges"][0]["use"] += "&fail=$fail"
    content["run"]["scorers"][0]["preset"] = "$preset"
    rest = {"shots": 6, "style": "terse", "temperature": 0.25}
    content["default"] |= {"fail": 0.0, "preset": "single"}
    content["enqueue"] = {
        "dead": {**rest, "fail": 1.0, "preset": "single"},
        "misspelt": {**rest, "fail": 0.0, "preset": "papr"},
    }
    content["sampler"] = "random"
    result = study(tmp_path, content, holdout=False)
    by_name = {t["name"]: t for t in result["trials"]}
    dead, misspelt = by_name["dead"], by_name["misspelt"]
    assert (dead["state"], dead["outcome"]) == ("failed", "api")
    assert "mock failure" in dead["error"]
    assert dead["means"] == {}
    assert dead["outcomes"]["api"] > 0
    assert (misspelt["state"], misspelt["outcome"]) == ("failed", "skipped")
    assert "Did you mean 'paper'" in misspelt["error"]
    assert all(t["settings"]["fail"] == 0.0 for t in result["trials"] if t["state"] == "complete")
    assert dead["number"] not in result["winners"]
    assert "api: no latent of 4 has a score" in (Path(result["folder"]) / "report.md").read_text(encoding="utf-8")


def test_low_coverage_breaks_the_constraint_and_cannot_win(tmp_path: Path) -> None:
    content = landscape(latents=24, windows=4, trials=2)
    content["run"]["judges"][0]["use"] = "knobs:?shots=6&style=$style&temperature=0.25&fail=$fail"
    content["space"] = {"style": ["plain", "terse"], "fail": [0.0, 0.4]}
    content["default"] = {"style": "plain", "fail": 0.0}
    content["enqueue"] = {"gappy": {"style": "terse", "fail": 0.4}}
    content["prune"] = None
    result = study(tmp_path, content, holdout=False)
    default, gappy = result["trials"]
    assert gappy["breaks"] == ["coverage"]
    assert gappy["means"]["score"] > default["means"]["score"]
    assert result["winners"] == [0]


def test_a_budget_stops_the_study_between_steps_and_leaves_a_report(tmp_path: Path) -> None:
    content = landscape(latents=12, windows=4, trials=30)
    full = 12 * 8
    content["prune"] = {"first": 4}
    content["budget"] = {"tokens": 1}
    first = study(tmp_path / "one", content, holdout=False)
    # The first step of the default was paid, then nothing more was begun.
    assert first["trials"][0]["state"] == "lost"
    assert first["trials"][0]["spent"]["calls"] == 4 * 8
    assert "the budget of 1 tokens is used up" in first["stopped"]
    assert "stopped after 4 of 12 latents" in first["trials"][0]["error"]
    assert first["winners"] == []
    assert "No setting finished" in (tmp_path / "one" / "study" / "report.md").read_text(encoding="utf-8")
    # More budget: the same command goes on, with the setting that was cut short, and pays only what is new.
    content["budget"] = {"tokens": 10**9}
    content["trials"] = 1
    more = study(tmp_path / "one", content, holdout=False)
    (again,) = [t for t in more["trials"] if t["state"] == "complete"]
    assert again["settings"] == content["default"]
    assert again["name"] == "default"
    assert more["spent"]["calls"] == full


def test_dollars_cannot_be_kept_when_a_price_is_unknown(tmp_path: Path) -> None:
    result = study(tmp_path, landscape(latents=4, windows=2, trials=3, budget={"dollars": 5}), holdout=False)
    assert "no known price" in result["stopped"]


def test_a_default_that_cannot_run_stops_the_study(tmp_path: Path) -> None:
    content = landscape(latents=4, windows=2, trials=2)
    content["run"]["scorers"] = ["detecton"]
    with pytest.raises(UnknownName, match="'detection'"):
        study(tmp_path, content)


def test_trials_must_share_their_latents(tmp_path: Path) -> None:
    content = landscape(latents=4, windows=2, trials=2)
    content["run"]["limit"] = "$limit"
    content["space"] = {**content["space"], "limit": [4, 5]}
    content["enqueue"] = {"more": {**content["default"], "limit": 5}}
    content["default"]["limit"] = 4
    with pytest.raises(RunError, match="trials must share their latents"):
        study(tmp_path, content)


def test_a_trial_does_not_go_into_a_folder_that_holds_something(tmp_path: Path) -> None:
    enqueued = {"paper": {"shots": 4, "style": "terse", "temperature": 0.5}}
    content = landscape(latents=4, windows=2, trials=1, enqueue=enqueued)
    first = study(tmp_path, content, holdout=False)
    (waiting,) = [t["number"] for t in first["trials"] if t["state"] == "waiting"]
    folder = tmp_path / "study" / "trials" / f"{waiting:04d}"
    folder.mkdir()
    (folder / "judgements.jsonl").write_text("of another study\n", encoding="utf-8")
    content["trials"] = 2
    with pytest.raises(RunError, match="holds a trial of another search"):
        study(tmp_path, content, holdout=False)
    assert [p.name for p in folder.iterdir()] == ["judgements.jsonl"]


def test_a_study_does_not_go_on_with_a_scorer_that_was_edited(tmp_path: Path) -> None:
    content = landscape(latents=4, windows=2, trials=2)
    content["run"]["scorers"][0]["use"] = "mine.yaml"
    content["holdout"] = {"repeats": 1, "limit": 4}
    scorer = tmp_path / "mine.yaml"
    scorer.write_text(
        (Path(__file__).parents[2] / "tasks" / "scorers" / "detection.yaml").read_text(encoding="utf-8"),
        encoding="utf-8",
    )
    result = study(tmp_path, content)
    again = study(tmp_path, content)
    assert (again["trials"], again["holdout"]) == (result["trials"], result["holdout"])
    scorer.write_text(
        scorer.read_text(encoding="utf-8").replace("You check descriptions", "You test descriptions"), encoding="utf-8"
    )
    with pytest.raises(RunError, match="scorers: mine of the default setting changed since the search began"):
        study(tmp_path, content)
    # Nor are its held-out runs taken for those of the scorer of now.
    spec = load_tune_spec(tmp_path / "tune.yaml")
    with pytest.raises(RunError, match="scorers: mine changed since it was started"):
        hold_out(spec, result, tmp_path, tmp_path / "study", tmp_path / "cache.sqlite", QUIET)


def test_several_objectives_give_a_pareto_set(tmp_path: Path) -> None:
    content = landscape(latents=4, windows=3, trials=7)
    content["run"]["explainers"] = [{"use": "constant", "params": {"text": "$text"}}]
    content["run"]["judges"] = [{"use": "knobs:?style=$style&temperature=0.25&shots=6", "label": "knobs"}]
    content["space"] = {
        "text": {"values": {"short": "a", "long": "a longer text of six words"}},
        "style": ["plain", "terse"],
    }
    content["default"] = {"text": "long", "style": "plain"}
    content["objectives"] = ["score", "length"]
    content["holdout"] = {"repeats": 1, "limit": 4}
    content["enqueue"] = {f"{t}-{s}": {"text": t, "style": s} for t in ("short", "long") for s in ("terse", "plain")}
    del content["enqueue"]["long-plain"]
    result = study(tmp_path, content)
    assert result["sampler"] == "nsgaii"
    points = {
        t["number"]: (t["means"]["score"], -t["means"]["length"]) for t in result["trials"] if t["state"] == "complete"
    }
    beaten = {a for a, x in points.items() for y in points.values() if y != x and y[0] >= x[0] and y[1] >= x[1]}
    assert set(result["winners"]) <= set(points) - beaten
    assert {points[n] for n in result["winners"]} == {points[n] for n in set(points) - beaten}
    tested = [d for w in result["holdout"]["winners"] for d in w["differences"].values()]
    assert {d["verdict"] for d in tested} <= {"better", "worse", "not shown"}
    assert (Path(result["folder"]) / "figures" / "pareto.svg").exists()
