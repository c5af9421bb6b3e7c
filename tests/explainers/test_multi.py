"""Several texts for one latent: clusters, texts and shares, and what they are worth where the truth is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import yaml
from latentbench.explainers.explainer import Explanation, load_explainer
from latentbench.explainers.multi import MultiExplainer, token_points
from latentbench.kernel.latent import LatentView, Window
from latentbench.kernel.requests import Chat, Outcome, Reply
from latentbench.kernel.tasks import tasks_dirs
from latentbench.runs.finished import Run, load_run
from latentbench.runs.run import start
from latentbench.stats.bootstrap import paired_difference
from latentbench.suites.store import load_suite
from latentbench.suites.verify import verify
from rich.console import Console

from tests.builders.toy_latents import latent

SUITE = tasks_dirs()[0] / "suites" / "concepts-1"
FRUIT = ("the apple fell", "an apple pie", "one apple tree", "red apple skin", "apple juice")
CODE = ("x = lambda y", "f = lambda z", "g = lambda : 0")


def windows(texts: Sequence[str], fires: str, first: int = 0) -> list[Window]:
    found = []
    for i, text in enumerate(texts):
        tokens = tuple(f" {word}" for word in text.split())
        values = tuple(5.0 if word == fires else 0.0 for word in text.split())
        found.append(Window(first + i, "explain", "quantile:5", tuple(range(len(tokens))), tokens, values, 100 * i))
    return found


TWO = replace(latent(), explain=tuple(windows(FRUIT, "apple") + windows(CODE, "lambda", 10)))


def multi(**params: Any) -> MultiExplainer:
    found = load_explainer({"use": "multi", "params": params})
    assert isinstance(found, MultiExplainer)
    return found


def said(explainer: MultiExplainer, *texts: str, view: LatentView = TWO) -> Explanation:
    return explainer.parse(view, [Reply(text=text) for text in texts], 0, {})


def test_windows_are_clustered_by_what_fires_and_each_cluster_is_asked_about_alone() -> None:
    explainer = multi(clusters=2)
    found = explainer.clustered(TWO, 0)
    assert [[w.id for w in cluster] for cluster in found] == [[0, 1, 2, 3, 4], [10, 11, 12]]
    prompts = [r.messages[-1].content for r in explainer.requests(TWO, 0) if isinstance(r, Chat)]
    assert len(prompts) == 2
    assert "apple" in prompts[0]
    assert "lambda" not in prompts[0]
    assert "lambda" in prompts[1]
    assert "apple" not in prompts[1]


def test_clusters_do_not_depend_on_the_order_of_the_windows_and_draw_nothing() -> None:
    def ids(view: LatentView) -> set[frozenset[int]]:
        return {frozenset(w.id for w in cluster) for cluster in multi(clusters=2).clustered(view, 0)}

    assert ids(TWO) == ids(replace(TWO, explain=TWO.explain[::-1])) == ids(TWO)
    points = token_points(TWO.explain, 2)
    assert np.linalg.norm(points, axis=1) == pytest.approx(1)


def test_one_cluster_asks_what_llm_asks() -> None:
    assert multi(clusters=1).requests(TWO, 7) == load_explainer("llm").requests(TWO, 7)
    assert multi(clusters=1).requests(replace(TWO, explain=()), 7) == []


@pytest.mark.parametrize("most", [2, 5, 50])
def test_equal_windows_are_one_cluster_however_many_there_may_be(most: int) -> None:
    view = replace(TWO, explain=TWO.explain[:1] * 5)
    assert [len(cluster) for cluster in multi(clusters=most, smallest=1).clustered(view, 0)] == [5]


def test_small_clusters_are_not_described_unless_there_are_no_others() -> None:
    assert [len(c) for c in multi(clusters=2, smallest=4).clustered(TWO, 0)] == [5]
    assert [len(c) for c in multi(clusters=8, smallest=9).clustered(TWO, 0)] == [8]
    note = said(multi(clusters=2, smallest=4), "Fruit.").note
    assert note is not None
    assert note["shares"] == [0.625]


def test_chance_keeps_the_sizes_and_shuffles_the_windows() -> None:
    explainer = multi(clusters=2, by="chance")
    drawn = [explainer.clustered(TWO, seed) for seed in range(5)]
    assert {tuple(len(c) for c in clusters) for clusters in drawn} == {(5, 3)}
    assert len({tuple(w.id for w in clusters[0]) for clusters in drawn}) > 1
    assert explainer.clustered(TWO, 3) == drawn[3]


def test_texts_are_joined_by_share_or_stand_alone_and_the_note_says_which() -> None:
    found = said(multi(clusters=2), "Fruit.", "Python functions.")
    assert found.text == "Fruit. Or: Python functions."
    assert found.note is not None
    assert (found.note["used"], found.note["texts"]) == ("union", ["Fruit.", "Python functions."])
    assert found.note["shares"] == [0.625, 0.375]
    assert [c["windows"] for c in found.note["clusters"]] == [[0, 1, 2, 3, 4], [10, 11, 12]]
    assert said(multi(clusters=2, use="best"), "Fruit.", "Python functions.").text == "Fruit."
    assert said(multi(clusters=2, use="second"), "Fruit.", "Python functions.").text == "Python functions."
    third = said(multi(clusters=2, use="third"), "Fruit.", "Python functions.")
    assert (third.text, third.outcome, third.error) == (None, Outcome.SKIPPED, "it has 2 texts and no third one")


def test_how_a_text_is_used_changes_no_question() -> None:
    asked = [multi(clusters=2, use=use).requests(TWO, 3) for use in ("union", "best", "second", "third")]
    assert all(requests == asked[0] for requests in asked)


def test_clusters_with_the_same_text_are_one() -> None:
    found = said(multi(clusters=2), "Fruit.", "Fruit.")
    assert found.text == "Fruit."
    assert found.note is not None
    assert found.note["shares"] == [1.0]


def test_a_cluster_without_a_text_leaves_no_explanation() -> None:
    replies = [Reply(text="Fruit."), Reply(Outcome.API, error="gone")]
    found = multi(clusters=2).parse(TWO, replies, 0, {})
    assert (found.text, found.outcome, found.error) == (None, Outcome.API, "a cluster has no text: gone")
    assert found.note is not None
    assert [c["outcome"] for c in found.note["clusters"]] == ["ok", "api"]
    empty = multi().parse(replace(TWO, explain=()), [], 0, {})
    assert (empty.outcome, empty.error) == (Outcome.SKIPPED, "the latent has no explain windows")


def test_the_split_is_better_than_its_null_where_two_things_fire() -> None:
    found = said(multi(clusters=2), "Fruit.", "Python functions.").note
    assert found is not None
    assert found["split"]["gain"] > found["split"]["null_gain"]
    same = replace(TWO, explain=tuple(windows(["apple"] * 4, "apple")))
    flat = said(multi(clusters=1), "Fruit.", view=same).note
    assert flat is not None
    assert flat["split"] == {"gain": None, "null_gain": None, "p": None}


# --- where the truth is known


SINGLE = ("llm", "best-of-k", "tokens", "first", "others", "best")
"""Explainers of one text: what models and lists write, each concept of a planted latent alone, and the largest of several."""


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("concepts")
    spec = {
        "name": "concepts",
        "suite": str(SUITE),
        "split": "all",
        "explainers": [
            {"use": "llm", "model": "writer", "params": {"n_examples": 24}},
            {"use": "best-of-k", "model": "writer", "params": {"n_examples": 24}},
            "tokens",
            {"use": "planted", "label": "first", "params": {"which": "narrow"}},
            {"use": "planted", "label": "others", "params": {"which": "sibling"}},
            {"use": "multi", "model": "writer"},
            {"use": "multi", "label": "best", "preset": "best", "model": "writer"},
        ],
        "scorers": [{"use": "detection", "params": {"positives": 8, "negatives": 8}}],
        "judges": [{"use": f"mock:writer?rules={SUITE / 'rules.yaml'}", "label": "writer"}],
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    start(folder / "spec.yaml", folder / "run", folder / "cache.sqlite", Console(quiet=True))
    return load_run(folder / "run")


def by_family(run: Run) -> dict[str, dict[str, dict[str, float]]]:
    """Family -> explainer -> latent -> balanced accuracy."""
    families = {view.id: json.loads(view.row["truth"])["family"] for view in load_suite(SUITE).latents()}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in run.scores.to_dict("records"):
        if row["metric"] == "balanced_accuracy":
            found.setdefault(families[row["latent"]], {}).setdefault(row["explainer"], {})[row["latent"]] = row["value"]
    return found


def test_the_suite_keeps_its_promises() -> None:
    suite = load_suite(SUITE)
    families = [json.loads(view.row["truth"])["family"] for view in suite.latents()]
    assert {family: families.count(family) for family in families} == {
        "one-concept": 28,
        "two-concept": 26,
        "three-concept": 12,
    }
    assert verify(suite).ok


@pytest.mark.parametrize(
    ("family", "single"),
    # Of three concepts `others` says two.
    [
        (family, single)
        for family in ("two-concept", "three-concept")
        for single in SINGLE
        if (family, single) != ("three-concept", "others")
    ],
)
def test_every_single_text_loses_on_latents_of_several_concepts(scored: Run, family: str, single: str) -> None:
    found = by_family(scored)[family]
    ids = sorted(found["multi"])
    assert ids == sorted(found[single])
    ours, theirs = ([found[label][i] for i in ids] for label in ("multi", single))
    difference = paired_difference(ours, theirs, ids, seed=0, span=1.0)
    print(f"{family}: multi above {single} by {difference.interval}, n={len(ids)}")
    assert difference.interval.low > 0


@pytest.mark.parametrize("single", ["llm", "best-of-k", "best"])
def test_nothing_is_lost_on_latents_of_one_concept(scored: Run, single: str) -> None:
    found = by_family(scored)["one-concept"]
    assert len(found["multi"]) == 28
    assert all(value >= found[single][name] for name, value in found["multi"].items())
