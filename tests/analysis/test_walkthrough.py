"""A sentence and the latents of a run that fire in it: against a forward pass of the test's own, drawn, written, refused."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from latentbench.analysis.walkthrough import walk_of_run
from latentbench.analysis.walkthrough.sentence_walk import (
    Candidate,
    SentenceWalk,
    WalkedCoder,
    WalkedLatent,
    WalkScore,
    WalkText,
    choose,
    read_walk,
    write_walk,
)
from latentbench.analysis.walkthrough.walk_figure import floor_of, text_shown, walk_figure
from latentbench.analysis.walkthrough.walk_of_run import walk_run
from latentbench.analysis.walkthrough.walk_page import walk_page
from latentbench.cli import app
from latentbench.kernel.errors import RunError, SpecError, UnknownName
from latentbench.runs.finished import Run, load_run
from latentbench.runs.run import start
from latentbench.subject.coders.coder_spec import load_coder
from latentbench.subject.hooks import capture
from latentbench.suites.build.build import build_suite
from latentbench.suites.build.suite_recipe import anchored_recipe, load_recipe
from latentbench.suites.store import Suite, load_suite
from latentbench.views.figure import svg
from rich.console import Console
from typer.testing import CliRunner

from tests.builders.toy_recipe import directions, neurons, toy_recipe

SENTENCE = "The river rises, and 12 percent of the wheat is gone."
SPEC = """
name: walked
suite: {suite}
split: all
explainers: [tokens, {{use: shuffled, label: shuffled, params: {{of: tokens}}}}]
scorers: [{{use: embedding, judges: [words]}}]
judges: [{{use: "mock:lexical?seed=3", label: words}}]
"""


@pytest.fixture(scope="module")
def ran(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Suite]:
    """A run over a suite of two coders on the tiny subject, the one of the higher layer named first."""
    home = tmp_path_factory.mktemp("walked")
    coders = [directions("late", "layers.2", 3), directions("early", "layers.1", 3), neurons(1)]
    toy_recipe(home, tiny_folder, coders, texts=80, explain=10, positives=1)
    build_suite(anchored_recipe(load_recipe(home / "recipe.yaml"), home), home, home / "acts")
    (home / "spec.yaml").write_text(SPEC.format(suite=home), encoding="utf-8")
    start(home / "spec.yaml", home / "run", home / "cache.sqlite", Console(quiet=True))
    return load_run(home / "run"), load_suite(home)


def test_what_is_shown_fires_in_a_forward_pass_of_its_own(ran, tiny) -> None:  # type: ignore[no-untyped-def]
    run, suite = ran
    walk = walk_run(run, suite, SENTENCE, per_coder=2)
    assert "".join(walk.tokens) == SENTENCE
    assert walk.latents
    recipe = anchored_recipe(load_recipe(suite.path / "recipe.yaml"), suite.path)
    ids = tiny.tokenizer(SENTENCE, add_special_tokens=False)["input_ids"]
    for entry in recipe.coders:
        coder = load_coder(entry.coder, tiny, verify=False)
        acts = capture(tiny, torch.tensor([[tiny.bos, *ids]]), None, [coder.hookpoint])[coder.hookpoint][0, 1:]
        found = coder.encode(acts)
        told = next(c for c in walk.coders if c.name == entry.coder.name)
        fired = set(found.latents[found.values > 0].tolist())
        known = {v.index for v in suite.latents(coders=[entry.coder.name])}
        assert (told.fired, told.known) == (len(fired), len(fired & known))
        mine = [a for a in walk.latents if a.coder == entry.coder.name]
        assert len(mine) == min(2, len(fired & known))
        for a in mine:
            dense = np.zeros(len(ids))
            own = found.latents == int(a.id.split("/")[1])
            dense[found.rows[own]] = found.values[own].float()
            assert a.activations == pytest.approx(np.maximum(dense, 0), abs=1e-3)
            top = suite.latent(a.id).row["max_activation"]
            assert a.share == pytest.approx(dense[a.place] / top, abs=1e-3)


def test_layers_come_in_the_order_in_which_the_subject_computes_them(ran) -> None:  # type: ignore[no-untyped-def]
    walk = walk_run(*ran, SENTENCE)
    assert [c.hookpoint for c in walk.coders] == ["layers.1", "layers.2.mlp.down_proj:in", "layers.2"]
    order = [c.name for c in walk.coders]
    places = [(order.index(a.coder), a.place) for a in walk.latents]
    assert places == sorted(places)


def test_texts_and_scores_are_those_of_the_run_with_floors_told_apart(ran) -> None:  # type: ignore[no-untyped-def]
    run, suite = ran
    scores = run.per_latent().set_index(["explainer", "latent"])
    for a in walk_run(run, suite, SENTENCE).latents:
        assert [(t.explainer, t.is_floor) for t in a.texts] == [("tokens", False), ("shuffled", True)]
        for t in a.texts:
            row = scores.loc[(t.explainer, a.id)]
            (score,) = t.scores
            assert score.value == pytest.approx(row.value, nan_ok=True)
            assert (score.judged, score.attempted) == (row.judged, row.attempted)
        assert floor_of(a, "embedding", "words") == a.texts[1].scores[0].value


def test_what_cannot_be_walked_through_is_refused_with_the_reason(ran) -> None:  # type: ignore[no-untyped-def]
    run, suite = ran
    with pytest.raises(SpecError, match="0 tokens"):
        walk_run(run, suite, "")
    with pytest.raises(SpecError, match="nothing is cut"):
        walk_run(run, suite, "one two three " * 400)
    with pytest.raises(UnknownName, match="late"):
        walk_run(run, suite, SENTENCE, coders=["lat"])
    with pytest.raises(SpecError, match="not built from a subject"):
        walk_run(run, load_suite("planted-1"), SENTENCE)


HOSTILE = "<script>alert(1)</script> $x$ \x1b[31m \u202e [red]=cmd|' /C calc'!A0 " + "long " * 400


def hostile() -> SentenceWalk:
    score = WalkScore(scorer="[b]s[/b]", judge="j<i>", metric="m", value=0.5, judged=3, attempted=4)
    texts = tuple(
        WalkText(explainer=e, is_floor=f, text=HOSTILE, scores=(score.model_copy(update={"value": v}),))
        for e, f, v in (("llm", False, 0.9), ("empty", True, 0.4), ("constant", True, 0.6))
    )
    tokens = ("<b>", "\n", "漢字", " $y$", *(f" word{i}" for i in range(60)))
    latents = tuple(
        WalkedLatent(
            id=f"c/{i}", coder="c", hookpoint="layers.0", place=i, activations=tuple(float(j == i) for j in range(64)),
            share=0.5, texts=texts,
        )
        for i in range(4)
    )  # fmt: skip
    coder = WalkedCoder(name="c", hookpoint="layers.0", fired=9, known=4)
    return SentenceWalk(
        sentence="".join(tokens), tokens=tokens, suite="s@1-0", runs=("r",), coders=(coder,), latents=latents
    )


def test_text_from_outside_stays_text_in_the_figure_and_on_the_page() -> None:
    walk = hostile()
    drawing = svg(walk_figure(walk))
    assert "<script" not in drawing
    assert "&lt;script&gt;" in drawing
    page = walk_page(walk)
    assert "<script" not in page.html()
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(page.terminal(80))
    told = console.export_text()
    assert "\x1b[31m" not in told
    assert max(map(len, told.splitlines())) <= 80
    assert "3/4" in told
    assert "0.600" in told, "the best floor stands beside the score"


def test_a_figure_of_the_same_walk_has_the_same_bytes() -> None:
    assert svg(walk_figure(hostile())) == svg(walk_figure(hostile()))


def test_a_walk_survives_its_file_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    walk = hostile()
    write_walk(tmp_path, walk)
    assert read_walk(tmp_path) == walk
    short = walk.model_dump(mode="json")
    short["latents"][0]["activations"] = [1.0]
    (tmp_path / "walkthrough.json").write_text(json.dumps(short), encoding="utf-8")
    with pytest.raises(SpecError, match="c/0 has 1 activations for 64 tokens"):
        read_walk(tmp_path)
    with pytest.raises(RunError, match="bench walkthrough"):
        read_walk(tmp_path / "nothing")


def test_the_text_shown_is_the_one_asked_for_and_never_a_floor_before_a_real_one() -> None:
    (latent, *_) = hostile().latents
    swapped = latent.model_copy(update={"texts": latent.texts[::-1]})
    assert (text_shown(swapped) or latent.texts[1]).explainer == "llm"
    assert (text_shown(latent, "constant") or latent.texts[0]).explainer == "constant"


def test_the_latents_of_a_sentence_stand_on_different_tokens() -> None:
    def at(index: int, place: int, share: float) -> Candidate:
        return Candidate("c", index, place, share, share)

    ranked = [at(1, 0, 0.9), at(2, 0, 0.8), at(1, 3, 0.7), at(9, 1, 0.65), at(3, 2, 0.6), at(4, 2, 0.5)]
    chosen, skipped = choose(ranked, {1, 2, 3, 4}, 3)
    assert [a.index for a in chosen] == [1, 2, 3]
    assert skipped == 1
    assert [a.index for a in choose(ranked, {1, 2, 3, 4}, 2)[0]] == [1, 3]


def test_a_place_that_takes_no_file_is_refused_before_the_subject_runs(ran, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(walk_of_run, "walk_run", lambda *_: pytest.fail("the subject ran"))
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = CliRunner().invoke(app, ["walkthrough", str(ran[0].folder), SENTENCE, "--out", str(tmp_path / "file")])
    assert "cannot be written" in str(result.output) + str(result.exception)


def test_the_command_writes_all_four_faces_beside_each_other(ran, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run, _ = ran
    result = CliRunner().invoke(
        app, ["walkthrough", str(run.folder), SENTENCE, "--out", str(tmp_path), "--per-coder", "1"]
    )
    assert result.exit_code == 0, result.output
    assert {p.name for p in tmp_path.iterdir()} == {f"walkthrough.{s}" for s in ("json", "md", "png", "svg")}
    walk = read_walk(tmp_path)
    assert all(sum(a.coder == c.name for a in walk.latents) <= 1 for c in walk.coders)
    assert "walkthrough.png" in (tmp_path / "walkthrough.md").read_text(encoding="utf-8")
    # A walkthrough of another sentence is not overwritten in silence; the same one may be written again.
    told = (tmp_path / "walkthrough.json").read_bytes()
    other = ["walkthrough", str(run.folder), f"{SENTENCE} So.", "--out", str(tmp_path), "--per-coder", "1"]
    refused = CliRunner().invoke(app, other)
    assert refused.exit_code != 0
    assert "--force" in str(refused.output) + str(refused.exception)
    assert (tmp_path / "walkthrough.json").read_bytes() == told
    same = ["walkthrough", str(run.folder), SENTENCE, "--out", str(tmp_path), "--per-coder", "1"]
    assert CliRunner().invoke(app, same).exit_code == 0
    assert CliRunner().invoke(app, [*other, "--force"]).exit_code == 0
    assert read_walk(tmp_path).sentence == f"{SENTENCE} So."
    wrong = CliRunner().invoke(app, ["walkthrough", str(run.folder), SENTENCE, "--explainer", "token"])
    assert wrong.exit_code != 0
    assert "tokens" in str(wrong.output) + str(wrong.exception)
