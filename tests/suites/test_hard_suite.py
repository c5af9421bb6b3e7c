"""The shipped suite with hard negatives, its run spec, and what leaderboards show of kinds of windows."""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from latentbench.kernel.kinds import DRAWN, HARD_KINDS, RANDOM, SILENT, WRONG_MARKS
from latentbench.kernel.latent import LatentView, Window
from latentbench.leaderboards.board import Ranking, tables
from latentbench.leaderboards.board_page import board_page, by_kind, other_metrics
from latentbench.leaderboards.row import read_rows
from latentbench.leaderboards.run_page import report
from latentbench.runs.finished import load_run
from latentbench.runs.run import start
from latentbench.runs.run_spec import load_run_spec
from latentbench.suites.build.suite_recipe import HardEntry
from latentbench.suites.store import Suite, load_suite
from latentbench.suites.verify import verify
from rich.console import Console
from scipy.stats import mannwhitneyu

TASKS = Path(__file__).parents[2] / "tasks"


@pytest.fixture(scope="module")
def suite() -> Suite:
    return load_suite("smollm2-135m-hard")


def content(windows: tuple[Window, ...]) -> list[tuple[object, ...]]:
    return [(w.role, w.kind, w.position, w.ids, w.tokens, w.activations) for w in windows]


def test_the_shipped_hard_suite_keeps_its_promises(suite: Suite) -> None:
    report = verify(suite)
    assert report.ok, report.problems
    views = suite.latents()
    assert Counter(v.split for v in views) == {"tune": 24, "test": 24}
    for view in views:
        assert Counter(w.kind for w in view.test if w.decile is None) == {"random": 50, **dict.fromkeys(DRAWN, 20)}
        assert len(view.contrast) == 20
        assert {w.max for w in view.contrast} == {0.0}


def test_without_its_hard_windows_it_is_the_mini_suite(suite: Suite) -> None:
    """Same latents, same split, same windows: what is tuned on the one is not held out in the other."""

    def plain(view: LatentView) -> tuple[object, ...]:
        known = tuple(w for w in view.test if w.kind not in DRAWN)
        return view.id, view.split, content(view.explain), content(known)

    mini = load_suite("smollm2-135m-mini").latents(coders=["res9"])
    assert [plain(v) for v in suite.latents()] == [plain(v) for v in mini]


# --- kinds in a run and on its leaderboard


def run(folder: Path, name: str, kinds: dict[str, list[str]]) -> Path:
    spec: dict[str, Any] = {
        "name": "t",
        "suite": "smollm2-135m-hard",
        "limit": 4,
        "explainers": ["tokens", {"use": "contrastive", "model": "lex"}, "empty"],
        "scorers": [
            {"use": scorer, "params": {"negative_kinds": chosen, "positives": 20, "negatives": 12}}
            for scorer, chosen in kinds.items()
        ],
        "judges": [{"use": "mock:lexical", "label": "lex"}],
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return start(path, folder / name, folder / "cache.sqlite", Console(quiet=True))[0]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kinds")
    every = [RANDOM, *DRAWN]
    run(folder, "hard", {"detection": every, "fuzzing": [*every, WRONG_MARKS], "embedding": every})
    run(folder, "plain", {scorer: [RANDOM] for scorer in ("detection", "fuzzing", "embedding")})
    return folder


def ranked(folder: Path) -> dict[str, Ranking]:
    return {table.rows[0].scorer.label: table for table in tables(read_rows([folder]))}


def test_each_kind_is_scored_against_the_same_activating_windows(made: Path) -> None:
    judged = pd.read_parquet(made / "hard" / "judgements.parquet")
    for scorer, table in ranked(made / "hard").items():
        found = by_kind(table)
        assert found is not None
        assert found.kinds == (RANDOM, *DRAWN, *([WRONG_MARKS] if scorer == "fuzzing" else []))
        for row, metric, estimates in found.lines:
            if metric != "auroc":
                continue
            mine = judged[(judged.scorer == scorer) & (judged.explainer == row.explainer.label)]
            for kind, estimate in zip(found.kinds, estimates, strict=True):
                values = []
                for _, part in mine.groupby("latent"):
                    on = part[part.truth == 1].score
                    off = part[(part.truth == 0) & (part.kind == kind)].score
                    assert (len(on), len(off)) == (20, 12)
                    values.append(mannwhitneyu(on, off).statistic / (20 * 12))
                assert estimate is not None
                assert estimate.estimate == pytest.approx(sum(values) / 4)


def test_hard_kinds_do_not_move_the_score_that_ranks(made: Path) -> None:
    hard, plain = ranked(made / "hard"), ranked(made / "plain")
    for scorer, table in hard.items():
        scores = {row.explainer.label: row.score for row in plain[scorer].rows}
        assert {row.explainer.label: row.score for row in table.rows} == scores
        assert [str(k) for k in table.ranks] == [str(k) for k in plain[scorer].ranks]
        assert by_kind(plain[scorer]) is None
        assert other_metrics(table) == other_metrics(plain[scorer])


def test_scores_by_kind_stand_in_every_format(made: Path) -> None:
    found = list(ranked(made / "hard").values())
    console = Console(width=80, file=io.StringIO())
    with console.capture() as capture:
        console.print(board_page(found).terminal(80))
    printed = capture.get()
    assert max(map(len, printed.splitlines())) <= 80
    page, html = board_page(found).markdown(), report(load_run(made / "hard"), None)
    for table in found:
        by = by_kind(table)
        assert by is not None
        for row, metric, estimates in by.lines:
            numbers = [f"{e.estimate:.3f}" for e in estimates if e is not None]
            line = rf"{row.explainer.label}.*{metric}.*" + ".*".join(map(re.escape, numbers))
            assert re.search(line, printed), line
            assert re.search(line, page), line
            assert all(number in html for number in numbers)
    for text in (printed, page, html):
        assert "Only random ones enter" in " ".join(text.split())
    assert "By kind" not in board_page(list(ranked(made / "plain").values())).markdown()


def test_the_contrastive_explainer_sees_silent_windows_of_a_real_suite(made: Path) -> None:
    explained = pd.read_parquet(made / "hard" / "explanations.parquet")
    assert set(explained[explained.explainer == "contrastive"].outcome) == {"ok"}


# --- one place for the names


def test_recipes_windows_and_metrics_know_the_same_kinds() -> None:
    from latentbench.scorers.scorer import load_scorer

    assert set(DRAWN) <= set(HardEntry.model_fields)
    assert (RANDOM, *DRAWN) == SILENT
    for name in ("detection", "fuzzing", "saebench", "surprisal", "embedding"):
        metrics = {m.name for m in load_scorer(name).metric_table()}
        assert {f"auroc@{kind}" for kind in HARD_KINDS} <= metrics


def test_the_shipped_run_spec_asks_for_every_kind(suite: Suite) -> None:
    spec = load_run_spec(TASKS / "runs" / "hard.yaml")
    asked = {entry.use: set(entry.params["negative_kinds"]) for entry in spec.scorers}
    assert asked["detection"] == asked["embedding"] == {RANDOM, *DRAWN}
    assert asked["fuzzing"] == {RANDOM, *DRAWN, WRONG_MARKS}
    assert set(DRAWN) <= suite.test_kinds
