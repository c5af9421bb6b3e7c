"""Results that were edited, in a run folder or among the published ones, are refused with a message."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from latentbench.kernel.identity import digest, text_digest
from latentbench.kernel.tables import EXPLANATIONS, JUDGEMENTS, SCORES
from latentbench.leaderboards.forgery import TOLERANCE
from latentbench.leaderboards.rescored import judged_latents, rescored
from latentbench.leaderboards.results import read_results, render
from latentbench.leaderboards.row import Row, RowEvidence, restated
from latentbench.runs.finished import load_run
from latentbench.runs.record import RunRecord
from latentbench.runs.run import start
from latentbench.runs.run_tables import Value, latent_scores
from latentbench.scorers.scorer import load_scorer
from rich.console import Console

from tests.builders.published_board import bench, carried_out, published
from tests.builders.signed_runs import copied, signed, unsigned

SPEC = """
name: honest
suite: planted-1
split: test
limit: 24
explainers: [{use: planted, label: truth}, tokens, empty]
scorers:
  - {use: detection, params: {positives: 3, negatives: 3, simulate: never}}
  - {use: simulation, params: {positives: 2, negatives: 2}}
judges:
  - {use: "mock:label?error=0.2&fail=0.1", label: label}
"""
Frame = pd.DataFrame


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return carried_out(SPEC, tmp_path_factory.mktemp("honest"))


@pytest.fixture
def run(honest: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be changed."""
    return copied(honest, tmp_path / "run")


@pytest.fixture(scope="module")
def board(honest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(honest, tmp_path_factory.mktemp("board"))


def changed(run: Path, name: str, schema: pa.Schema, change: Callable[[Frame], Frame]) -> None:
    path = run / f"{name}.parquet"
    table = pa.Table.from_pandas(change(pq.read_table(path).to_pandas()), schema=schema, preserve_index=False)
    pq.write_table(table, path)


def where(scores: Frame, metric: str = "accuracy", explainer: str = "tokens") -> Any:
    return (scores["metric"] == metric) & (scores["explainer"] == explainer)


# --- the run folder


def test_an_honest_run_is_ranked_published_and_checked(honest: Path, board: Path, tmp_path: Path) -> None:
    code, said = bench("leaderboard", honest, "--out", tmp_path)
    assert code == 0
    assert "scores computed again from their judgements" in said
    assert "not computed again" not in (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert bench("leaderboard", "--check", board)[0] == 0
    assert bench("leaderboard", honest, "--out", tmp_path, "--submit", board)[0] == 0
    rows = read_results(board)
    assert len(rows) == 6
    assert all(row.evidence is not None and row.evidence.recomputed for row in rows)
    assert "Not recomputable" not in (board / "README.md").read_text(encoding="utf-8")


def test_equal_runs_have_equal_digests(honest: Path, tmp_path: Path) -> None:
    again, _ = start(honest.parent / "spec.yaml", tmp_path / "run", tmp_path / "replies.sqlite", Console(quiet=True))
    one, two = (load_run(folder).record.tables for folder in (honest, again))
    assert {name: one[name] for name in one if name != "seconds"} == {n: two[n] for n in two if n != "seconds"}


def test_a_score_beyond_its_metric(run: Path) -> None:
    changed(run, "scores", SCORES, lambda t: t.assign(value=t["value"].mask(where(t, "auroc"), 7.5)))
    code, said = bench("leaderboard", run)
    assert code == 2
    assert "scores.parquet is not what was written" in said
    for again in (signed, unsigned):
        code, said = bench("leaderboard", again(run))
        assert code == 2
        assert "value of auroc is 7.5 in cell 'tokens/detection/label/0'" in said
        assert "it lies within 0 to 1" in said


def test_plausible_scores(run: Path) -> None:
    """Whoever writes the digests again, too, is found by the judgements."""
    better = lambda t: t.assign(value=(t["value"] + 0.05).clip(upper=1).where(where(t), t["value"]))  # noqa: E731
    changed(run, "scores", SCORES, better)
    assert bench("leaderboard", run)[0] == 2
    for again in (signed, unsigned):
        code, said = bench("leaderboard", again(run))
        assert code == 2
        assert "value of accuracy in cell 'tokens/detection/label/0', latent 'planted/" in said
        assert "its judgements give 0." in said
    # Only who says so is shown scores that were taken as they are, and then the page says it.
    assert bench("leaderboard", run, "--no-recompute")[0] == 0
    assert "were not computed again from its judgements" in (run / "leaderboard.md").read_text(encoding="utf-8")


def test_judgements_with_scores_to_match(run: Path) -> None:
    """All answers of one explainer are made right, and the scores are what they give: the digest is all that is left."""
    forge_consistently(run)
    code, said = bench("leaderboard", run)
    assert code == 2
    assert "judgements.parquet is not what was written" in said


def test_what_cannot_be_found(run: Path, tmp_path: Path) -> None:
    """Somebody who edits judgements, scores and digests alike has made another run. Only the judge could say that it is not one;
    docs/leaderboards.md tells."""
    forge_consistently(run)
    code, said = bench("leaderboard", signed(run), "--out", tmp_path)
    assert code == 0, said
    assert rescored(load_run(run)).values > 1000


def forge_consistently(run: Path) -> None:
    changed(
        run,
        "judgements",
        JUDGEMENTS,
        lambda t: t.assign(
            answer=t["truth"].where((t["explainer"] == "tokens") & t["answer"].notna(), t["answer"]),
            score=t["truth"].where((t["explainer"] == "tokens") & t["score"].notna(), t["score"]).astype(float),
        ),
    )
    loaded = load_run(unsigned(copied(run, run.parent / "unsigned")))
    scorer = load_scorer({"use": "detection", "params": {"positives": 3, "negatives": 3, "simulate": "never"}})
    match(
        run,
        {
            place: latent_scores(scorer, found)[1]
            for place, found in judged_latents(loaded, ["tokens/detection/label/0"])
        },
    )
    shutil.rmtree(run.parent / "unsigned")


def match(run: Path, values: Mapping[tuple[str, str], Mapping[str, Value]]) -> None:
    """Make these the scores of cells and latents."""

    def rows(scores: Frame) -> Frame:
        keys = pd.MultiIndex.from_frame(scores[["cell", "latent"]])
        old = scores[[key in values for key in keys]].drop_duplicates(["cell", "latent"]).to_dict("records")
        new = [
            row | {"metric": name} | dict(zip(("value", "lowest", "highest"), value, strict=True))
            for row in old
            for name, value in values[row["cell"], row["latent"]].items()
        ]
        return pd.concat([scores[[key not in values for key in keys]], pd.DataFrame(new)])

    changed(run, "scores", SCORES, rows)


def test_scores_that_the_last_digit_of_a_column_decides_are_no_forgery(run: Path) -> None:
    """Scores of tokens are kept with seven digits: where all are equal but for the ninth, nobody can say what correlated."""
    cell = "tokens/simulation/label/0"
    scorer = load_scorer({"use": "simulation", "params": {"positives": 2, "negatives": 2}})
    rng = np.random.default_rng(0)
    kept, values = {}, {}
    for place, found in judged_latents(load_run(run), [cell]):
        tokens = [None if j.token_scores is None else tuple(1 + 1e-9 * rng.random(len(j.token_scores))) for j in found]
        kept[place[1]] = iter(tokens)
        values[place] = latent_scores(scorer, [replace(j, token_scores=t) for j, t in zip(found, tokens, strict=True)])[
            1
        ]
    changed(
        run,
        "judgements",
        JUDGEMENTS,
        lambda t: t.assign(
            token_scores=[
                next(kept[latent]) if of == cell else held
                for of, latent, held in zip(t["cell"], t["latent"], t["token_scores"], strict=True)
            ]
        ),
    )
    match(run, values)
    assert bench("leaderboard", signed(run))[0] == 0
    place = next(p for p, found in values.items() if found["r2"][0] is not None)
    values[place]["r2"] = (values[place]["r2"][0] + 0.01, None, None)  # type: ignore[operator]
    match(run, values)
    code, said = bench("leaderboard", signed(run))
    assert code == 2
    assert "value of r2 in cell 'tokens/simulation/label/0'" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.assign(n_judged=t["n_attempted"]), "were judged, and judgements.parquet has"),
        (lambda t: t.assign(n_attempted=t["n_attempted"] * 10), "were judged, and judgements.parquet has"),
        (lambda t: t[~(where(t) & (t["value"] < 0.6))], "accuracy in cell 'tokens/detection/label/0'"),
        (lambda t: t[~(where(t, "ap_normalised") & (t["value"] < 0.2))], "has the headline of"),
        (lambda t: t.assign(highest=t["highest"].mask(t["highest"].notna(), 1.0)), "highest of "),
        (lambda t: pd.concat([t, t[where(t)].assign(latent="planted/999")]), "planted/999"),
        (lambda t: t.assign(scorer="fuzzing"), "are not of one run"),
        (lambda t: pd.concat([t, t[where(t)]]), "rows twice"),
    ],
)
def test_scores_that_do_not_fit(run: Path, change: Callable[[Frame], Frame], said: str) -> None:
    changed(run, "scores", SCORES, change)
    for again in (signed, unsigned):
        code, message = bench("leaderboard", again(run))
        assert code == 2
        assert said in message


@pytest.mark.parametrize(
    ("name", "schema", "change", "said"),
    [
        ("explanations", EXPLANATIONS, lambda t: t.assign(text="a better one"), "is not the one that was judged"),
        (
            "explanations",
            EXPLANATIONS,
            lambda t: t.assign(text="a better one", hash=text_digest("a better one")),
            "is not the one that was judged",
        ),
        ("judgements", JUDGEMENTS, lambda t: t.assign(cost=-1.0), "cost = -1, which cannot be"),
        ("judgements", JUDGEMENTS, lambda t: pd.concat([t, t]), "rows twice"),
        ("scores", SCORES, lambda t: t.assign(coder=[str(i) for i in range(len(t))]), "coders. Restore it"),
    ],
)
def test_tables_that_do_not_fit(run: Path, name: str, schema: pa.Schema, change: Any, said: str) -> None:
    changed(run, name, schema, change)
    code, message = bench("leaderboard", signed(run))
    assert code == 2
    assert said in message


@pytest.mark.parametrize("field", ["headline", "floor", "higher_is_better", "high"])
def test_what_a_run_says_of_its_scorer(run: Path, field: str) -> None:
    """A metric in the wrong direction ranks the floor first; so the scorer is asked what it means."""
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    for cell in record["cells"]:
        if field == "headline":
            cell["scorer"]["headline"] = "n"
        else:
            cell["scorer"]["metrics"][0][field] = {"floor": -1.0, "higher_is_better": False, "high": 9.0}[field]
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    code, message = bench("leaderboard", run)
    assert code == 2
    assert "run.json is not what the run wrote" in message
    code, message = bench("leaderboard", signed(run))
    assert code == 2
    assert "and the scorer says" in message or "has the headline of" in message


def test_a_scorer_that_is_not_here(run: Path) -> None:
    record = RunRecord.model_validate_json((run / "run.json").read_text(encoding="utf-8"))
    cells = [
        c.model_copy(update={"scorer": c.scorer.model_copy(update={"key": f"{c.scorer.label} of old"})})
        for c in record.cells
    ]
    signed(run, cells=[c.model_dump(mode="json") for c in cells])
    code, _ = bench("leaderboard", run, "--submit", run / "board")
    assert code == 0
    said = (run / "leaderboard.md").read_text(encoding="utf-8")
    assert "Scores of detection in run were not computed again from its judgements: detection@" in said
    assert "were not computed again from the judgements: detection@" in (run / "board" / "README.md").read_text("utf-8")


def test_a_run_of_before_is_shown_as_not_verified_and_not_published(run: Path) -> None:
    unsigned(run)
    assert bench("leaderboard", run)[0] == 0
    assert "NOT VERIFIED, so not ranked: run.json of run has no digests" in (run / "leaderboard.md").read_text(
        encoding="utf-8"
    )
    code, said = bench("leaderboard", run, "--submit", run / "board")
    assert code == 2
    assert "are not published. Carry it out again: bench run" in said


# --- published rows


@dataclass
class Edit:
    """A change of published rows, whose author writes the digest of the file again.

    Attributes:
        rows: those of the file, to be changed in place.
        said: in the message.
    """

    name: str
    rows: Callable[[list[dict[str, Any]]], Any]
    said: str


def _best(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return next(row for row in rows if row["explainer"]["label"] == "tokens" and row["scorer"]["label"] == "detection")


EDITS = (
    Edit("score", lambda rows: _best(rows)["score"].update(estimate=0.99), "the mean of its latents is"),
    Edit("other metric", lambda rows: _best(rows)["metrics"]["auroc"].update(estimate=0.99, high=1.0), "metrics.auroc"),
    Edit("narrow", lambda rows: _best(rows)["score"].update(low=_best(rows)["score"]["estimate"] - 0.001), "score.low"),
    Edit("n", lambda rows: _best(rows)["score"].update(n=240), "240 latents"),
    Edit("latents", lambda rows: _best(rows).update(n_latents=240), "n_latents = 24, and it says 240"),
    Edit("coverage", lambda rows: _best(rows).update(n_judged=_best(rows)["n_attempted"]), "n_judged"),
    Edit("bounds", lambda rows: _best(rows).update(worst=_best(rows)["best"]), "worst"),
    Edit(
        "values",
        lambda rows: _best(rows).update(values=dict.fromkeys(_best(rows)["values"], 1.0)),
        "mean of its latents",
    ),
    Edit("beyond", lambda rows: _best(rows)["evidence"]["values"].update(auroc=[7.5] * 24), "is 7.5, outside 0 to 1"),
    Edit("direction", lambda rows: _best(rows)["score"].update(higher_is_better=False), "is best when large"),
    Edit("own range", lambda rows: consistent(_best(rows), 7.5), "is 7.5, and detection@2-0 gives -1 to 1"),
    Edit("floor", lambda rows: _best(rows)["score"].update(floor=-9.0), "floor, higher is better"),
    Edit("other suite", lambda rows: _best(rows)["suite"].update(digest="0" * 16), "2 suites"),
    Edit("other tables", lambda rows: _best(rows)["evidence"].update(tables={"scores": "0"}), "different tables"),
    Edit("twice", lambda rows: rows.append(_best(rows)), "is there twice"),
    Edit("no evidence", lambda rows: _best(rows).pop("evidence"), "has no evidence"),
    Edit("strangers", lambda rows: strange(rows), "is no test latent of suite planted-1"),
)


def consistent(row: dict[str, Any], value: float) -> None:
    """All latents have this value, in a range that the row brings itself, and everything else follows from that."""
    held = row["evidence"]
    held["values"][row["headline"]] = [value] * len(held["latents"])
    held["ranges"][row["headline"]] = [None, None]
    again = restated(Row.model_validate(row), RowEvidence.model_validate(held))
    row.update(again.model_dump(mode="json") | {"evidence": held})


def strange(rows: Sequence[dict[str, Any]]) -> None:
    """Rows that were measured on other latents are made rows on this suite, with everything that follows."""
    for row in rows:
        held = row["evidence"]
        held["latents"] = [f"coder/{latent}" for latent in held["latents"]]
        row["latents"] = digest(held["latents"])
        row["values"] = {f"coder/{latent}": value for latent, value in row["values"].items()}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_edited_rows(board: Path, tmp_path: Path, edit: Edit) -> None:
    root = Path(shutil.copytree(board, tmp_path / "leaderboards"))
    path = root / "results" / "run.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    edit.rows(content["rows"])
    path.write_text(json.dumps(content), encoding="utf-8")
    code, said = bench("leaderboard", "--render", root)
    assert code == 2
    assert "hash to" in said
    content["digest"] = digest(content["rows"])
    path.write_text(json.dumps(content), encoding="utf-8")
    for option in ("--render", "--check"):
        code, said = bench("leaderboard", option, root)
        assert code == 2
        assert edit.said in said


def test_a_run_under_another_name(board: Path, tmp_path: Path) -> None:
    """A copy of a run's rows would tie with them, and two names in a table look like two results."""
    root = Path(shutil.copytree(board, tmp_path / "leaderboards"))
    content = json.loads((root / "results" / "run.json").read_text(encoding="utf-8"))
    rows = [row | {"run": "better"} for row in content["rows"]]
    copy = {**content, "rows": rows, "digest": digest(rows)}
    (root / "results" / "better.json").write_text(json.dumps(copy), encoding="utf-8")
    code, said = bench("leaderboard", "--render", root)
    assert code == 2
    assert "runs better and run have one record" in said


def test_numbers_of_another_machine_pass(board: Path, tmp_path: Path) -> None:
    """The last digits of a sum depend on its order."""
    root = Path(shutil.copytree(board, tmp_path / "leaderboards"))
    path = root / "results" / "run.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for row in content["rows"]:
        row["score"]["low"] += TOLERANCE / 2
    content["digest"] = digest(content["rows"])
    path.write_text(json.dumps(content), encoding="utf-8")
    render(root)


def test_rows_of_before_are_read_and_marked(board: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(board, tmp_path / "leaderboards"))
    path = root / "results" / "run.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for row in content["rows"]:
        del row["evidence"]
    path.write_text(json.dumps({**content, "layout": 2, "digest": digest(content["rows"])}), encoding="utf-8")
    render(root)
    assert "Not recomputable, so not ranked: run." in (root / "README.md").read_text(encoding="utf-8")
    # What a scorer cannot give, they cannot have.
    beyond = json.loads(json.dumps(content))
    for row in beyond["rows"]:
        row["values"] = dict.fromkeys(row["values"], 7.5)
        row["score"].update(estimate=7.5, low=7.5, high=7.5)
    path.write_text(json.dumps({**beyond, "layout": 2, "digest": digest(beyond["rows"])}), encoding="utf-8")
    assert "is 7.5, and detection@2-0 gives" in bench("leaderboard", "--check", root)[1]
    # Their means still follow from the values of their latents.
    content["rows"][0]["score"].update(estimate=0.999, high=1.0)
    path.write_text(json.dumps({**content, "layout": 2, "digest": digest(content["rows"])}), encoding="utf-8")
    assert bench("leaderboard", "--check", root)[0] == 2


def test_a_metric_of_another_setting_is_not_held_against_a_row(board: Path, tmp_path: Path) -> None:
    """A setting of a scorer can have metrics that its default has not; the row says what it was measured with."""
    root = Path(shutil.copytree(board, tmp_path / "leaderboards"))
    path = root / "results" / "run.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for row in content["rows"]:
        held, other = row["evidence"], next(iter(row["metrics"]))
        row["metrics"]["of_one_setting"] = row["metrics"][other]
        for part in ("values", "ranges"):
            held[part]["of_one_setting"] = held[part][other]
    content["digest"] = digest(content["rows"])
    path.write_text(json.dumps(content), encoding="utf-8")
    assert bench("leaderboard", "--render", root)[0] == 0
