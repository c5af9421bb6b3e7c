"""Run folders -> rows -> tables -> text, and the committed results."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from latentbench.analysis.gate.baseline import snapshot
from latentbench.kernel.errors import CorruptTable, DataError, DigestMismatch, RunError, SpecError
from latentbench.kernel.identity import digest
from latentbench.kernel.tables import EXPLANATIONS, JUDGEMENTS, write_table
from latentbench.leaderboards.board import tables
from latentbench.leaderboards.board_page import board_page, other_metrics
from latentbench.leaderboards.export import to_csv, to_json
from latentbench.leaderboards.results import add_results, moved, page, read_results, render
from latentbench.leaderboards.row import Row, read_rows, rows
from latentbench.leaderboards.run_page import report
from latentbench.runs.finished import load_run
from latentbench.views.number import dollars, percent, rounded, short
from rich.console import Console

from tests.builders.run_builder import Grid, build_run, latents_of
from tests.builders.signed_runs import copied, signed

COLUMNS = (
    "suite",
    "suite_digest",
    "split",
    "coders",
    "kind",
    "scorer",
    "scorer_key",
    "judge",
    "judge_key",
    "qualification",
    "rank_low",
    "rank_high",
    "tie",
    "explainer",
    "explainer_id",
    "explainer_key",
    "model",
    "is_floor",
    "metric",
    "estimate",
    "low",
    "high",
    "floor",
    "n",
    "worst",
    "best",
    "coverage",
    "n_judged",
    "n_attempted",
    "n_latents",
    "repeats",
    "explain_tokens_in",
    "explain_tokens_out",
    "explain_dollars",
    "explain_seconds",
    "judge_tokens_in",
    "judge_tokens_out",
    "judge_dollars",
    "judge_seconds",
    "run",
    "date",
    "command",
)
"""What the CSV file of a leaderboard names, in its order."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "first"
    return signed(build_run(folder, Grid(fail=0.2, dead=(1,), repeats=2, scorers=("detection", "fuzzing"))))


def _pick(found: list[Row], explainer: str, scorer: str = "detection", coders: str = "all") -> Row:
    return next(r for r in found if (r.explainer.label, r.scorer.label, r.coders) == (explainer, scorer, coders))


def _render(found: list[Row], width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(board_page(tables(found)).terminal(width))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_score_is_the_mean_over_latents_of_their_repeats_mean(run: Path) -> None:
    row = _pick(read_rows([run]), "llm")
    scores = pd.read_parquet(run / "scores.parquet")
    by_latent: dict[str, list[float]] = {}
    for s in scores.itertuples():
        if (s.explainer, s.scorer, s.metric) == ("llm", "detection", "accuracy") and not math.isnan(s.value):
            by_latent.setdefault(s.latent, []).append(s.value)
    means = [np.mean(v) for v in by_latent.values()]
    assert row.score.estimate == pytest.approx(np.mean(means))
    assert row.score.n == len(means) == 29  # one of 30 latents had no answer at all
    assert row.n_latents == 30
    # The plain standard error is the right size; pooling judgements would give less than a third of it.
    error = np.std(means, ddof=1) / math.sqrt(len(means))
    assert row.score.high - row.score.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_coverage_counts_failed_judgements_and_bounds_hold_the_score(run: Path) -> None:
    row = _pick(read_rows([run]), "llm")
    judged = pd.read_parquet(run / "judgements.parquet")
    mine = judged[(judged.explainer == "llm") & (judged.scorer == "detection")]
    assert (row.n_judged, row.n_attempted) == ((mine.outcome == "ok").sum(), len(mine))
    assert row.coverage == pytest.approx((mine.outcome == "ok").mean())
    assert row.worst is not None
    assert row.worst < row.score.estimate < row.best  # type: ignore[operator]
    # Accuracy is a mean over judgements, so the bounds are those of filling in every failure with wrong or right.
    right = ((mine.answer == mine.truth) & (mine.outcome == "ok")).mean()
    assert row.worst == pytest.approx(right)
    assert row.best == pytest.approx(right + (mine.outcome != "ok").mean())


def test_failures_lower_coverage_and_not_the_score(tmp_path: Path) -> None:
    grid = {"coders": {"res9": 60}, "windows": 40}
    whole = _pick(read_rows([build_run(tmp_path / "a", Grid(**grid))]), "llm")
    holes = _pick(read_rows([build_run(tmp_path / "b", Grid(fail=0.2, **grid))]), "llm")
    assert whole.coverage == 1
    assert (whole.worst, whole.best) == (None, None)
    assert holes.coverage == pytest.approx(0.8, abs=0.03)
    assert whole.score.low < holes.score.estimate < whole.score.high  # type: ignore[operator]


def test_prices_are_per_latent_and_repeat(run: Path) -> None:
    row = _pick(read_rows([run]), "llm")
    assert row.explaining.model_dump() == pytest.approx(
        {"tokens_in": 1000, "tokens_out": 50, "dollars": 0.01, "seconds": 2}
    )
    assert row.judging.model_dump() == pytest.approx(
        {"tokens_in": 1000, "tokens_out": 20, "dollars": 0.01, "seconds": 5}
    )
    assert _pick(read_rows([run]), "tokens").explaining.tokens_in == 0


def test_a_cost_that_is_not_known_for_one_call_is_not_known_and_never_free(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "r", Grid(explainers={"llm": 0.8, "tokens": 0.7, "empty": 0.5}))
    judged = pd.read_parquet(folder / "judgements.parquet")
    judged.loc[judged.index[judged.explainer == "tokens"][3], "cost"] = None
    write_table(pa.Table.from_pandas(judged, JUDGEMENTS, preserve_index=False), folder / "judgements.parquet")
    explained = pd.read_parquet(folder / "explanations.parquet")
    explained.loc[explained.explainer == "empty", "cost"] = None
    write_table(pa.Table.from_pandas(explained, EXPLANATIONS, preserve_index=False), folder / "explanations.parquet")
    found = read_rows([folder])
    costs = {r.explainer.label: (r.explaining.dollars, r.judging.dollars) for r in found}
    assert costs["llm"] == pytest.approx((0.01, 0.01))
    assert costs["tokens"] == (0, None)
    assert costs["empty"] == (None, pytest.approx(0.01))
    # Tokens and seconds are known all the same.
    assert _pick(found, "tokens").judging.tokens_in == pytest.approx(1000)
    text = _render(found, 80)
    assert re.search(r"llm .* ~0\.02 ", text)
    assert re.search(r"tokens .* – ", text)
    page = board_page(tables(found)).markdown()
    assert "| ~0.01 | ~0.01 |" in page
    assert "| 0 | – |" in page
    assert "| – | ~0.01 |" in page
    for printed in (" ".join(text.split()), page, report(load_run(folder), None)):
        assert "dollars are estimates" in printed
    table = pd.read_csv(io.StringIO(to_csv(tables(found))))
    assert table[table.explainer == "tokens"].judge_dollars.isna().all()
    # A run that cost nothing has nothing to estimate.
    free = build_run(tmp_path / "free", Grid(explainers={"tokens": 0.7}))
    judged = pd.read_parquet(free / "judgements.parquet").assign(cost=0.0)
    write_table(pa.Table.from_pandas(judged, JUDGEMENTS, preserve_index=False), free / "judgements.parquet")
    assert "estimates" not in board_page(tables(read_rows([free]))).markdown()


def test_rows_by_coder_use_only_the_latents_of_the_coder(run: Path) -> None:
    found = read_rows([run], by_coder=True)
    row = _pick(found, "tokens", "fuzzing", "mlp9")
    scores = pd.read_parquet(run / "scores.parquet").query(
        "explainer == 'tokens' and scorer == 'fuzzing' and coder == 'mlp9' and metric == 'accuracy'"
    )
    assert row.n_latents == 10
    assert row.score.estimate == pytest.approx(scores.groupby("latent").value.mean().mean())
    assert row.judging.tokens_in == pytest.approx(1000)
    assert row.latents != _pick(found, "tokens", "fuzzing").latents
    assert len(tables(found)) == 6  # 2 scorers x (all, mlp9, res9)


def test_kinds_of_coders_have_tables_of_their_own(tmp_path: Path) -> None:
    coders = {"res9": 3, "mlp9": 4, "neurons9": 5}
    kinds = {"res9": "sae", "mlp9": "sae", "neurons9": "neurons"}
    run = build_run(tmp_path / "mixed", Grid(explainers={"tokens": 0.7}, coders=coders, kinds=kinds))
    found = [row for row in read_rows([run], by_kind=True, by_coder=True) if row.scorer.label == "detection"]
    assert [(r.kind, r.coders, r.n_latents) for r in found] == [
        (None, "all", 12), ("sae", "all", 7), ("neurons", "all", 5), ("sae", "res9", 3), ("sae", "mlp9", 4),
        ("neurons", "neurons9", 5),
    ]  # fmt: skip
    assert len({r.name for r in found}) == len({r.table for r in found}) == 6
    both = [found[1].values, found[2].values]
    assert found[0].values == both[0] | both[1]
    assert "all coders of kind sae" in board_page(tables(read_rows([run], by_kind=True))).markdown()
    only = build_run(tmp_path / "only", Grid(explainers={"tokens": 0.7}, coders={"res9": 3}, kinds={"res9": "sae"}))
    assert [r.kind for r in read_rows([only], by_kind=True) if r.scorer.label == "detection"] == ["sae"]
    assert len(snapshot(load_run(run)).scores) == len(read_rows([run])) == 1  # a gate has one row for each cell


def test_floors_are_flagged_and_ranked_with_the_rest(run: Path) -> None:
    table = next(t for t in tables(read_rows([run])) if t.rows[0].scorer.label == "detection")
    assert [(r.explainer.label, r.is_floor) for r in table.rows] == [
        ("llm", False),
        ("tokens", False),
        ("shuffled", True),
    ]
    assert [str(k) for k in table.ranks] == ["1", "2", "3"]


def test_paired_ranks_separate_more(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "r", Grid(explainers={"a": 0.80, "b": 0.76}, coders={"x": 80}, windows=40))
    scores = pd.read_parquet(folder / "scores.parquet")
    # Give both explainers a large common effect of the latent: unpaired intervals overlap, differences do not.
    common = {latent: -0.4 * (i % 2) for i, latent in enumerate(dict.fromkeys(scores.latent))}
    scores["value"] += scores.latent.map(common)
    scores.to_parquet(folder / "scores.parquet")
    found = read_rows([signed(folder)])
    assert [str(k) for k in tables(found)[0].ranks] == ["1-2", "1-2"]
    assert [str(k) for k in tables(found, rank_by="pairs")[0].ranks] == ["1", "2"]


def test_different_suites_scorer_versions_judges_or_latents_are_never_in_one_table(tmp_path: Path) -> None:
    same = build_run(tmp_path / "same", Grid())
    again = build_run(tmp_path / "again", Grid(seed=1))
    other = [
        build_run(tmp_path / "suite", Grid(suite="another")),
        build_run(tmp_path / "scorer", Grid(scorer_version="2-0")),
        build_run(tmp_path / "judge", Grid(judges=("oracle",))),
        build_run(tmp_path / "latents", Grid(coders={"res9": 20, "mlp9": 9})),
    ]
    found = tables(read_rows([same, again, *other]))
    assert sorted({row.run for row in t.rows} for t in found if len(t.rows) == 6) == [{"same", "again"}]
    assert [len({row.run for row in t.rows}) for t in found].count(1) == 4
    assert len(found) == 5


def test_scores_over_other_intervention_tables_are_never_in_one_table(tmp_path: Path) -> None:
    folders = [build_run(tmp_path / "plain")]
    for seed, (name, steered) in enumerate({"first": "t", "again": "t", "other": "u"}.items()):
        folders.append(build_run(tmp_path / name, Grid(seed=seed)))
        record = json.loads((folders[-1] / "run.json").read_text(encoding="utf-8"))
        for cell in record["cells"]:
            cell["scorer"]["steered"] = steered
        (folders[-1] / "run.json").write_text(json.dumps(record), encoding="utf-8")
    found = read_rows(folders)
    together = sorted(sorted({row.run for row in table.rows}) for table in tables(found))
    assert together == [["again", "first"], ["other"], ["plain"]]
    # Rows that are published already, of scorers that read no such table, keep their place.
    ids = sorted(latent for latent, _ in latents_of(Grid()))
    assert {row.latents for row in found if row.run == "plain"} == {digest(ids)}


def test_the_conditions_say_how_the_judge_is_qualified_by_now(tmp_path: Path) -> None:
    folders = []
    for day, name, right in (("02", "before", 0.95), ("03", "after", 0.6)):
        folders.append(build_run(tmp_path / name, Grid(explainers={"llm": right})))
        record = json.loads((folders[-1] / "run.json").read_text(encoding="utf-8")) | {
            "started": f"2026-01-{day}T00:00:00+00:00"
        }
        for cell in record["cells"]:
            cell["judge"]["qualification"] = f"qualified {name}"
        (folders[-1] / "run.json").write_text(json.dumps(record), encoding="utf-8")
    for given in (folders, folders[::-1]):
        (table,) = tables(read_rows(given))
        assert [row.run for row in table.rows] == ["before", "after"]
        assert "judge qualified after;" in table.conditions


def test_a_run_named_twice_counts_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    named = [run, run, Path(run.name), run / ".." / run.name]
    assert len(read_rows(named)) == len(read_rows([run]))


def test_two_runs_of_one_name_are_refused(tmp_path: Path) -> None:
    one, two = build_run(tmp_path / "a" / "run"), build_run(tmp_path / "b" / "run", Grid(seed=9))
    with pytest.raises(RunError, match="are both run 'run'"):
        read_rows([one, two])


def test_a_run_on_tuning_latents_is_refused_or_marked(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "tuned", Grid(split="tune"))
    with pytest.raises(SpecError, match="'tune' latents"):
        read_rows([folder])
    found = read_rows([folder, build_run(tmp_path / "held", Grid())], any_split=True)
    first, second = tables(found)
    assert first.for_leaderboard
    assert not second.for_leaderboard
    assert "NOT FOR THE LEADERBOARD" in second.conditions
    assert "NOT FOR THE LEADERBOARD" in board_page([second]).markdown()


def test_bad_run_folders_have_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run\.json"):
        load_run(tmp_path)
    with pytest.raises(RunError, match="bench resume"):
        load_run(build_run(tmp_path / "going", Grid(status="running")))
    broken = build_run(tmp_path / "broken")
    (broken / "scores.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(CorruptTable, match=r"scores\.parquet"):
        load_run(broken)
    (broken / "run.json").write_text('{"id": ', encoding="utf-8")
    with pytest.raises(RunError, match="not JSON"):
        load_run(broken)
    (broken / "run.json").write_text('{"id": "x"}', encoding="utf-8")
    with pytest.raises(RunError, match=r"run\.json: name is missing"):
        load_run(broken)


def test_a_mean_over_fewer_latents_than_its_row_says_how_many(run: Path) -> None:
    whole = read_rows([run])
    assert "(n=" not in board_page(tables(whole)).markdown()
    few = whole[0].metrics["recall"].model_copy(update={"n": 1})
    found = tables([whole[0].model_copy(update={"metrics": {"recall": few}}), *whole[1:]])
    assert board_page(found).markdown().count(f"| {few.estimate:.3f} (n=1) |") == 1


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_table_fits_and_loses_nothing(run: Path, width: int) -> None:
    text = _render(read_rows([run]), width)
    assert max(map(len, text.splitlines())) <= width
    for row in read_rows([run]):
        assert f"{row.score.estimate:.3f}" in text
        assert f"[{row.score.low:.3f}, {row.score.high:.3f}]" in text
        assert f"{row.metrics['recall'].estimate:.3f}" in text
        assert f"{row.worst:.3f} to {row.best:.3f}" in re.sub(r"\s+", " ", text)
    assert "shuffled (floor)" in text


def test_long_names_fold_and_metrics_that_do_not_fit_move_below(tmp_path: Path) -> None:
    name = "an-explainer-with-a-very-long-label-indeed"
    text = _render(read_rows([build_run(tmp_path / "r", Grid(explainers={name: 0.8, "tokens": 0.7}))]), 66)
    assert max(map(len, text.splitlines())) <= 66
    assert name in re.sub(r"\s+", "", text)
    assert "recall: tokens" in text or f"recall: {name}" in text


def test_markdown_csv_and_json_hold_the_same_numbers(run: Path) -> None:
    found = read_rows([run])
    ranked = tables(found)
    lines = list(csv.DictReader(io.StringIO(to_csv(ranked))))
    data = json.loads(to_json(ranked))
    assert tuple(lines[0]) == (*COLUMNS, "again_in")
    headlines = [line for line in lines if line["rank_low"]]
    flat = [row for table in data["tables"] for row in table["rows"]]
    assert len(headlines) == len(flat) == len(found)
    for line, row in zip(headlines, flat, strict=True):
        assert float(line["estimate"]) == row["score"]["estimate"]
        assert [int(line["rank_low"]), int(line["rank_high"])] == row["rank"]
        assert (
            f"| {row['score']['estimate']:.3f} | [{row['score']['low']:.3f}, {row['score']['high']:.3f}] |"
            in board_page(ranked).markdown()
        )
    assert "`bench run examples/synthetic.yaml`" in board_page(ranked).markdown()
    for exported, row in zip(flat, (row for t in ranked for row in t.rows), strict=True):
        assert exported["values"] == pytest.approx(row.values, abs=1e-6)


def test_same_runs_same_bytes_in_any_order(tmp_path: Path) -> None:
    a, b = build_run(tmp_path / "a"), build_run(tmp_path / "b", Grid(seed=3))
    forward, backward = tables(read_rows([a, b])), tables(read_rows([b, a]))
    for write in (to_json, to_csv, lambda ranked: board_page(ranked).markdown()):
        assert write(forward) == write(backward)


def test_numbers_are_written_sensibly() -> None:
    assert [short(x) for x in (0, 0.5, 9.96, 12.4, 999.4, 1500, 999_960)] == [
        "0",
        "0.5",
        "10",
        "12",
        "999",
        "1.5k",
        "1.0M",
    ]
    assert [dollars(x) for x in (0, 0.00012345, 1.234, 123.4, None)] == ["0", "~0.00012", "~1.2", "~123", "–"]
    assert [percent(x) for x in (1.0, 0.9996, 0.8, None)] == ["100%", "99.9%", "80%", "–"]
    assert rounded({"a": [1.23456789, 2], "b": (math.pi,)}) == {"a": [1.23457, 2], "b": [3.14159]}


def test_an_explainer_without_any_answer_has_a_row_without_score(tmp_path: Path) -> None:
    folder = signed(build_run(tmp_path / "r", Grid(coders={"x": 3}, dead=(0, 1, 2))))
    found = read_rows([folder])
    row = _pick(found, "llm")
    assert (row.score.estimate, row.score.n, row.coverage) == (None, 0, 0)
    assert (row.worst, row.best) == (0, 1)
    assert [str(k) for k in tables(found)[0].ranks] == ["1-3"] * 3
    assert "–" in _render(found, 80)


def test_results_are_written_read_rendered_and_checked(run: Path, tmp_path: Path) -> None:
    found = read_rows([signed(copied(run, tmp_path / "first"))])
    (path,) = add_results(found, tmp_path)
    assert path == tmp_path / "results" / "first.json"
    assert add_results(found, tmp_path) == []
    stored = read_results(tmp_path)
    assert [r.score.estimate for r in sorted(stored, key=lambda r: r.name)] == [
        float(f"{r.score.estimate:.6g}") for r in sorted(found, key=lambda r: r.name)
    ]
    with pytest.raises(DataError, match="Render it again"):
        render(tmp_path, check=True)
    render(tmp_path)
    render(tmp_path, check=True)
    (tmp_path / "README.md").write_text(
        (tmp_path / "README.md").read_text(encoding="utf-8").replace("0.8", "0.9", 1), encoding="utf-8"
    )
    with pytest.raises(DataError, match="Render it again"):
        render(tmp_path, check=True)
    assert page([]).endswith("No results yet.\n")


def test_published_scores_do_not_move(tmp_path: Path) -> None:
    folder = signed(build_run(tmp_path / "a" / "run"))
    add_results(read_rows([folder]), tmp_path)
    changed = read_rows([signed(build_run(tmp_path / "b" / "run", Grid(seed=9)))])
    with pytest.raises(DataError, match="do not move"):
        add_results(changed, tmp_path)
    more = read_rows([folder], by_coder=True)
    assert len(add_results(more, tmp_path)) == 1
    assert len(read_results(tmp_path)) == 9
    assert moved(more, more[1:])[0].endswith("is gone")


def test_edited_misplaced_or_foreign_result_files_are_refused(tmp_path: Path) -> None:
    (path,) = add_results(read_rows([signed(build_run(tmp_path / "run"))]), tmp_path)
    text = path.read_text(encoding="utf-8")
    data = json.loads(text)
    data["rows"][0]["score"]["estimate"] = 0.999
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(DigestMismatch):
        read_results(tmp_path)
    path.write_text(text.replace('"is_floor"', '"is_flor"'), encoding="utf-8")
    with pytest.raises(SpecError, match=r"Did you mean 'rows\[0\]\..*is_floor'"):
        read_results(tmp_path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="not JSON"):
        read_results(tmp_path)
    path.unlink()
    (path.parent / "other.json").write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match="named after its run"):
        read_results(tmp_path)
    tuned = rows([load_run(build_run(tmp_path / "tuned", Grid(split="tune")))], any_split=True)
    with pytest.raises(SpecError, match="'test' latents only"):
        add_results(tuned, tmp_path)


def test_tables_show_the_first_metrics_and_the_exports_all(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "r", Grid())
    scores = pd.read_parquet(folder / "scores.parquet")
    recall = scores[scores.metric == "recall"]
    names = ["auroc@random", "n", "ap", "f1", "precision"]
    pd.concat([scores, *(recall.assign(metric=name) for name in names)]).to_parquet(folder / "scores.parquet")
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    for cell in record["cells"]:
        cell["scorer"]["metrics"] += [{"name": name, "floor": None, "higher_is_better": True} for name in names]
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (table,) = tables(read_rows([folder]))
    assert other_metrics(table) == ["recall", "ap", "f1"]
    assert {line["metric"] for line in csv.DictReader(io.StringIO(to_csv([table])))} == {"accuracy", "recall", *names}


@pytest.mark.parametrize("name", ["../../evil", "/evil", "a\\b", ".."])
def test_a_run_that_calls_itself_a_path_is_not_published(tmp_path: Path, name: str) -> None:
    rows = read_rows([signed(build_run(tmp_path / "run"))])
    with pytest.raises(SpecError, match="no name of a folder"):
        add_results([row.model_copy(update={"run": name}) for row in rows], tmp_path / "board")
    assert not list(tmp_path.rglob("evil*"))
