"""The study of scorers against people. All raters here are generated, of a reliability that is known: nobody rated anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from latentbench.analysis.people.rating_store import rating_session
from latentbench.cli import app
from latentbench.kernel.errors import DataError, UnknownName
from latentbench.lab.studies.series import run_studies
from latentbench.runs.finished import Run, load_run
from latentbench.stats.alpha import krippendorff_alpha
from latentbench.stats.power import detectable_correlation
from latentbench.stats.raters import ceiling, rater_correlation
from scipy.stats import spearmanr
from typer.testing import CliRunner

from tests.builders.generated_raters import generated_ratings
from tests.builders.study_builder import PROFILE, QUIET, carry_out

JUDGED: dict[str, Any] = {
    **PROFILE,
    "judges": {**PROFILE["judges"], "rough": "mock:lexical?noise=0.3"},
    "explainers": {"main": {"use": "tokens"}},
    "scorers": {
        "detection": {"use": "detection", "preset": "single", "judge": "words", "metric": "auroc"},
        "embedding": {"use": "embedding", "judge": "words", "metric": "auroc"},
        "fuzzing": {"use": "fuzzing", "preset": "single", "judge": "words", "metric": "auroc", "limit": 26},
    },
}
STUDY: dict[str, Any] = {
    "kind": "human",
    "levels": [],
    "scorers": ["detection", "embedding", "fuzzing"],
    "latents": {"small": 30},
    "options": {"paper": {"detection": 0.59, "embedding": 0.32, "fuzzing": 0.69}},
}


def runs_of(folder: Path) -> list[Run]:
    """Runs that a study has made, the widest first."""
    found = [load_run(path.parent) for path in sorted((folder / "work" / "runs").glob("*/run.json"))]
    return sorted(found, key=lambda run: -len(run.record.latents))


def ratings_file(run: Run, path: Path, raters: int, noise: float) -> Path:
    """Generated ratings of the explanations by `main`, as a file that people would hand in."""
    ours = run.explanations[run.explanations["explainer"] == "main"]
    known = set(zip(ours["latent"], ours["hash"], strict=True))
    rows = [
        {"rater": r.rater, "latent": r.latent, "explainer": "main", "value": r.value}
        for r in generated_ratings(run, raters, noise)
        if (r.latent, r.first) in known
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a study whose run is there, and that nobody has rated."""
    folder = tmp_path_factory.mktemp("human")
    with pytest.raises(DataError, match="nobody has rated") as error:
        carry_out(folder, "human", JUDGED, **STUDY)
    said = str(error.value)
    assert f"bench rate {runs_of(folder)[0].folder}" in said
    assert "--ratings FILE" in said
    assert error.value.exit_code == 2
    assert not (folder / "out" / "human").exists(), "a study that nobody rated leaves no page"
    return folder


def carried_out(made: Path, ratings: Path | None) -> dict[str, Any]:
    """The study's record with these ratings."""
    run_studies(
        [str(made / "specs" / "human.yaml")], str(made / "small.yaml"), made / "out", made / "work", QUIET,
        cache=made / "c.sqlite", activations=made / "acts", ratings=ratings,
    )  # fmt: skip
    return json.loads((made / "out" / "human" / "study.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_every_number_is_that_of_the_ratings(made: Path, tmp_path: Path) -> None:
    wide, narrow = runs_of(made)
    file = ratings_file(wide, tmp_path / "generated.jsonl", 3, 1.0)
    record = carried_out(made, file)
    rows = pd.read_csv(made / "out" / "human" / "table.csv").set_index("scorer")
    given = pd.read_json(file, lines=True).pivot_table(index="latent", columns="rater", values="value")
    means = given.mean(axis=1)
    for name, run in (("detection", wide), ("embedding", wide), ("fuzzing", narrow)):
        own = run.scores[
            (run.scores.scorer == name) & (run.scores.explainer == "main") & (run.scores.metric == "auroc")
        ]
        values = own.groupby("latent")["value"].mean()
        x, y = values.align(means, join="inner")
        row = rows.loc[name]
        assert row.spearman == pytest.approx(spearmanr(x, y).statistic, abs=1e-5)
        assert row.spearman_low < row.spearman < row.spearman_high
        assert (row.n, row.latents) == (len(x), len(x))
        assert row.detectable == pytest.approx(detectable_correlation(len(x), 0.05 / 3), abs=1e-5)
        assert row.coverage == pytest.approx(len(x) / 30, abs=1e-5)
    assert rows.coverage["fuzzing"] < 1
    raters = pd.read_csv(made / "out" / "human" / "raters.csv").set_index("figure").value
    assert raters["alpha, ordinal"] == pytest.approx(krippendorff_alpha(given, "ordinal").estimate, abs=1e-5)
    between = rater_correlation(given).estimate
    assert raters["ceiling"] == pytest.approx(ceiling(between, 3), abs=1e-5)
    assert raters["Spearman of two raters"] == pytest.approx(between, abs=1e-5)
    assert "--ratings generated.jsonl" in record["command"]
    assert any("generated.jsonl" in limit and "nothing here can know" in limit for limit in record["limits"])
    page = (made / "out" / "human" / "README.md").read_text(encoding="utf-8")
    assert "generated-0" not in page, "names of raters are not on a page"
    assert "Kendall's tau" in page


def test_noise_of_raters_lowers_agreement_and_ceiling_and_another_file_is_another_table(
    made: Path, tmp_path: Path
) -> None:
    run = runs_of(made)[0]
    found = []
    for noise in (0.2, 2.0):
        carried_out(made, ratings_file(run, tmp_path / f"noise-{noise}.jsonl", 3, noise))
        table = pd.read_csv(made / "out" / "human" / "table.csv").set_index("scorer")
        raters = pd.read_csv(made / "out" / "human" / "raters.csv").set_index("figure").value
        found.append((raters["alpha, ordinal"], raters["ceiling"], table.spearman["detection"]))
    assert all(clear > noisy for clear, noisy in zip(*found, strict=True))


def test_ratings_on_the_studys_own_run_are_taken_and_those_of_floors_are_not(made: Path) -> None:
    run = runs_of(made)[0]
    ratings = generated_ratings(run, 2, 0.5)
    with rating_session(run.folder) as session:
        for rating in ratings:
            session.add(rating)
    record = carried_out(made, None)
    assert "--ratings" not in record["command"]
    assert any("from generated, raters: 2" in limit for limit in record["limits"])
    assert list(pd.read_csv(made / "out" / "human" / "ratings.csv").ratings) == [30, 30]
    assert len({(r.latent, r.first) for r in ratings}) > 30
    table = pd.read_csv(made / "out" / "human" / "table.csv").set_index("scorer")
    assert table.n["detection"] == 30


def test_a_file_that_does_not_fit_is_refused_by_its_row(made: Path, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("rater,latent,explainer,value\nann,nowhere/1,main,3\n", encoding="utf-8")
    with pytest.raises(DataError, match="row 2"):
        carried_out(made, tmp_path / "r.csv")
    with pytest.raises(DataError, match="is no file"):
        carried_out(made, tmp_path / "nothing.csv")


def test_the_paper_names_scorers_of_the_study(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="detektion"):
        carry_out(tmp_path, "human", JUDGED, **STUDY | {"options": {"paper": {"detektion": 0.5}}})


def test_the_command_says_what_is_missing_and_all_leaves_it_out(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(
        "latentbench.lab.studies.series.run_studies", lambda names, *_, **__: asked.append(list(names)) or {}
    )
    done = CliRunner().invoke(app, ["study", "--all", "--out", str(made / "out")])
    assert done.exit_code == 0, done.output
    assert "human" not in asked[0]
    assert "sampling" in asked[0]
    assert "left out: human" in done.output
    assert CliRunner().invoke(app, ["study", "human", "--out", str(made / "out")]).exit_code == 0
    assert asked[1] == ["human"]


def test_few_latents_are_said_to_be_few(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        carry_out(tmp_path, "human", JUDGED, **STUDY | {"latents": {"small": 12}})
    run = runs_of(tmp_path)[0]
    file = ratings_file(run, tmp_path / "r.jsonl", 2, 0.5)
    record = carried_out(tmp_path, file)
    table = pd.read_csv(tmp_path / "out" / "human" / "table.csv")
    assert list(table.p_holm) == ["too few"] * 3
    assert table.spearman_low.isna().all()
    assert sum("too few latents (12 of at least 24)" in said for said in record["findings"]) == 3


def test_the_shipped_study_names_what_profiles_have() -> None:
    from latentbench.lab.studies.study_spec import check_names, load_profile, load_study

    name, study = load_study("human")
    for size in ("embedded", "large"):
        check_names(study, load_profile(size), name)
    assert set(study.options["paper"]) == set(study.scorers)


def test_a_single_rater_has_no_agreement(made: Path, tmp_path: Path) -> None:
    record = carried_out(made, ratings_file(runs_of(made)[0], tmp_path / "one.jsonl", 1, 0.5))
    assert record["findings"][0].startswith("1 rater, 30 explanations")
    assert "not known" in record["findings"][0]
    assert "raters" not in {t["name"] for t in record["tables"]}
