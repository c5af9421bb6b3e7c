"""Studies that build suites of their own, on a tiny random subject; and the kinds with a module of their own."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from latentbench.analysis.walkthrough.sentence_walk import read_walk
from latentbench.lab.studies.overlap import findings
from latentbench.runs.finished import load_run
from scipy.stats import spearmanr
from typer.testing import CliRunner

from tests.builders.study_builder import PROFILE, carry_out, recipe_folder
from tests.conftest import SENTENCES

TEXTS = [" ".join(SENTENCES[(i + k) % len(SENTENCES)] for k in range(4)) for i in range(36)]
FACTOR = {"explainers": ["tokens"], "scorers": ["embedding"]}


@pytest.fixture(scope="module")
def profile(tiny_folder, tmp_path_factory):  # type: ignore[no-untyped-def]
    found = copy.deepcopy(PROFILE)
    suite = recipe_folder(tmp_path_factory.mktemp("suites") / "tiny", tiny_folder, TEXTS)
    found["suites"]["built"] = {"use": str(suite), "change": {"explain": {"n": 5}}}
    found["explainers"]["main"] = {"use": "tokens"}
    found["latents"] = 6
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory):  # type: ignore[no-untyped-def]
    """One working folder for all studies here, so that they share activations, suites and replies."""
    return tmp_path_factory.mktemp("kinds")


def record(folder):  # type: ignore[no-untyped-def]
    return json.loads((folder / "study.json").read_text(encoding="utf-8"))


def suites_of(place, folder):  # type: ignore[no-untyped-def]
    """Level's run -> folder of its suite."""
    return [load_run(place / "work" / "runs" / r["id"]).record.spec.suite for r in record(folder)["runs"]]


def test_levels_build_suites_of_their_own_with_the_same_latents(place, profile):
    levels = [
        {"label": "all", "change": {"window": 8}},
        {"label": "short", "change": {"window": 4}},
        {"label": "half", "keep": {"source": "^even$"}, "change": {"min_windows": 4}},
    ]
    folder = carry_out(
        place, "texts", profile, **FACTOR, suite="built", levels=levels, same_latents=True, coders=["dirs"]
    )
    suites = suites_of(place, folder)
    ids = [{i for i in pd.read_parquet(f"{s}/latents.parquet").latent if i.startswith("dirs/")} for s in suites]
    assert len(ids[0]) == 6
    assert ids[1] <= ids[0]
    assert ids[2] <= ids[0]
    recipes = [yaml.safe_load(Path(s, "recipe.yaml").read_text(encoding="utf-8")) for s in suites]
    assert [r["window"] for r in recipes] == [8, 4, 8]
    assert [r["explain"]["n"] for r in recipes] == [5, 5, 5]
    kept = [
        json.loads(line)["source"]
        for line in Path(recipes[2]["corpus"]["path"][0]).read_text(encoding="utf-8").splitlines()
    ]
    assert set(kept) == {"even"}
    assert len(kept) == len(TEXTS) // 2
    rows = pd.read_csv(folder / "table.csv").set_index("level")
    assert rows.design["short"] == "paired"


def test_a_subject_with_random_weights_is_another_subject(place, profile, tiny_folder):
    levels = [{"label": "trained"}, {"label": "untrained", "random_subject": True}]
    folder = carry_out(place, "weights", profile, **FACTOR, suite="built", levels=levels, coders=["other"])
    manifests = [json.loads(Path(s, "manifest.json").read_text(encoding="utf-8")) for s in suites_of(place, folder)]
    weights = [m["subject"]["weights"] for m in manifests]
    assert weights[0] != weights[1]
    assert manifests[0]["corpus"]["tokens"] == manifests[1]["corpus"]["tokens"]
    from transformers import AutoConfig

    theirs = AutoConfig.from_pretrained(manifests[1]["subject"]["model"])
    assert theirs.hidden_size == AutoConfig.from_pretrained(tiny_folder).hidden_size


def test_overlap_of_a_coder_with_itself_is_whole_and_with_another_is_chance(place, profile):
    mine = copy.deepcopy(profile)
    directions = {"format": "random", "hookpoint": "layers.1", "k": 3, "n_latents": 24}
    coders = [
        {"latents": 24, "coder": {"name": "dirs", **directions}},
        {"latents": 24, "coder": {"name": "copy", **directions}},
        {"latents": 24, "coder": {"name": "far", **directions, "hookpoint": "layers.2", "seed": 5}},
    ]
    mine["suites"]["every"] = {"use": mine["suites"]["built"]["use"], "change": {"min_windows": 1, "coders": coders}}
    pairs = [{"a": "dirs", "b": "copy", "kind": "residual"}, {"a": "dirs", "b": "far", "kind": "mlp"}]
    carrier = {
        "use": "detection",
        "preset": "single",
        "params": {"positives": 1, "negatives": 1},
        "judge": "deaf",
        "metric": "n",
    }
    folder = carry_out(
        place, "overlap", mine, kind="overlap", suite="every", levels=[], explainers=["tokens"], scorers=[],
        options={"pairs": pairs, "judge": "words", "carrier": carrier},
    )  # fmt: skip
    rows = pd.read_csv(folder / "table.csv").set_index(["measure", "b"])
    for measure in ("decoder", "activation"):
        assert rows.matched[(measure, "copy")] == pytest.approx(1, abs=1e-3)
        assert rows.found[(measure, "copy")] == 1
        assert rows.saved[(measure, "copy")] == 0.5
        assert rows.p_holm[(measure, "copy")] < 0.05
    assert rows.matched[("decoder", "far")] == pytest.approx(rows.broken[("decoder", "far")], abs=0.08)
    claims = pd.read_csv(folder / "claims.csv").set_index("measure")
    assert claims.sign["decoder"] == "same"


def test_coverage_counts_what_a_loop_counts(place, profile):
    folder = carry_out(
        place, "coverage", profile, kind="coverage", suite="built", levels=[], scorers=[], explainers=["tokens"],
        options={"shares": [0.5, 1.0], "contexts": [32]},
    )  # fmt: skip
    rows = pd.read_csv(folder / "table.csv")
    assert set(rows.context) == {64, 32}
    from latentbench.subject.activations.activation_store import ActivationStore

    store = next(
        s for p in (place / "acts").iterdir()
        if (s := ActivationStore.open(p)).meta["identity"]["context"] == 64 and set(s.coders) == {"dirs", "other"}
        and s.meta["counts"]["documents"] == len(TEXTS) and s.meta["identity"]["min_context"] == 8
    )  # fmt: skip
    half = rows[(rows.coder == "dirs") & (rows.context == 64)].iloc[0]
    end = int(store.contexts[round(0.5 * store.n_contexts)])
    assert half.tokens == end
    windows = []
    for latent in range(24):
        hit = set()
        for p in store.latent("dirs", latent)[0].tolist():
            c = int(np.searchsorted(store.contexts, p, side="right")) - 1
            inside = (p - int(store.contexts[c])) // 8
            whole = (int(store.contexts[c + 1]) - int(store.contexts[c])) // 8
            if p < end and inside < whole:
                hit.add((c, inside))
        windows.append(len(hit))
    assert half.too_few_50 == pytest.approx(np.mean(np.array(windows) < 50), abs=1e-6)
    assert half.latents == 24


def test_the_walkthrough_shows_latents_that_fire_in_the_sentence(place, profile, tiny):
    sentence = SENTENCES[1]
    folder = carry_out(
        place, "walk", profile, kind="walkthrough", suite="built", levels=[], scorers=["embedding"], explainers=["tokens"],
        options={"sentence": sentence, "coders": ["dirs", "other"], "per_coder": 2},
    )  # fmt: skip
    rows = pd.read_csv(folder / "table.csv")
    assert rows.groupby("coder").size().tolist() == [2, 2]
    assert rows.explanation.notna().all()
    (suite,) = suites_of(place, folder)
    assert set(pd.read_parquet(f"{suite}/latents.parquet").latent) == set(rows.latent)
    assert rows.embedding.notna().any()
    from latentbench.subject.activations.encode import encode_contexts
    from latentbench.subject.coders.coder_spec import CoderSpec, load_coder

    coder = load_coder(CoderSpec(name="dirs", format="random", hookpoint="layers.1", k=3, n_latents=24), tiny)
    ids = np.asarray(tiny.tokenizer(sentence, add_special_tokens=False)["input_ids"])
    fired = encode_contexts(tiny, [coder], [ids])["dirs"]
    active = {(int(i), round(float(v), 4)) for i, v in zip(fired.latents, fired.values, strict=True)}
    shown = rows[rows.coder == "dirs"]
    assert {(int(i.split("/")[1]), round(v, 4)) for i, v in zip(shown.latent, shown.activation, strict=True)} <= active
    walk = read_walk(folder)
    assert [a.id for a in walk.latents] == rows.sort_values("coder", kind="stable").latent.tolist()
    assert "".join(walk.tokens) == sentence
    for a, value in zip(walk.latents, rows.set_index("latent").embedding[[a.id for a in walk.latents]], strict=True):
        assert {t.explainer: t.is_floor for t in a.texts} == {"tokens": False, "shuffled tokens": True}
        assert a.texts[0].scores[0].value == pytest.approx(value, nan_ok=True)


def test_intervention_steers_where_no_table_is_and_joins_the_same_latents(place, profile):
    places = [{"layer": "one", "suite": "built", "coder": "dirs", "random": "other", "paper": {"0.33": 0.1}}]
    folder = carry_out(
        place, "steer", profile, kind="intervention", levels=[], scorers=[], explainers=["tokens"],
        options={"places": places, "kls": [0.33], "prompts": 2, "judge": "words", "fuzzing": "detection", "paper_r": -0.4},
    )  # fmt: skip
    rows = pd.read_csv(folder / "table.csv").set_index("kind")
    runs = [load_run(place / "work" / "runs" / r["id"]) for r in record(folder)["runs"]]
    scores = pd.concat([r.scores for r in runs])
    scores = scores[(scores.explainer == "tokens") & (scores.coder == "dirs")].dropna(subset="value")
    own = scores[scores.metric == "nats@kl:0.33"]
    assert rows.n["SAE"] == len(own) > 0
    assert rows.nats["SAE"] == pytest.approx(own.value.mean(), abs=1e-5)
    assert len(pd.read_csv(folder / "against-random.csv")) == 2
    scatter = pd.read_csv(folder / "scatter.csv").set_index("kind")
    fuzz = scores[scores.metric == "auroc"]
    assert scatter.n["SAE"] == len(set(own.latent) & set(fuzz.latent)) > 0
    # Six latents of a coder are too few for a p, an interval or a verdict.
    assert set(rows.reads) == {"too few latents"}
    assert rows[["nats_low", "nats_high"]].isna().all(axis=None)
    assert set(rows.p) == set(rows.p_holm) == {"too few"}
    assert any("too few latents to say whether this judge reads" in line for line in record(folder)["findings"])


def test_agreement_is_the_correlation_of_the_runs_scores(place, profile):
    folder = carry_out(
        place, "agree", PROFILE, kind="agreement", levels=[], scorers=["detection", "embedding"],
        options={"paper": [["detection", "embedding", 0.7]]}, latents={"small": 30},
    )  # fmt: skip
    (run,) = [load_run(place / "work" / "runs" / r["id"]) for r in record(folder)["runs"]]
    own = run.scores[(run.scores.metric == "auroc") & (run.scores.explainer == "main")]
    wide = own.pivot(index="latent", columns="scorer", values="value").dropna()
    row = pd.read_csv(folder / "table.csv").iloc[0]
    assert row.n == len(wide) == 30
    assert row.spearman == pytest.approx(spearmanr(wide.detection, wide.embedding).statistic, abs=1e-5)
    assert row.paper == 0.7
    reads = pd.read_csv(folder / "scorers.csv").set_index("scorer")
    assert reads.reads["detection"] == "yes"


def test_costs_are_scaled_to_the_papers_windows(place):
    mine = {**PROFILE, "price": {"input": 1.0, "output": 2.0}, "price_note": "a test"}
    methods = [
        {"label": "ask", "use": "detection", "preset": "single", "params": {"positives": 2}, "judge": "good", "paper": [10, 1]},
        {"label": "list", "use": "detection", "preset": "paper", "params": {"simulate": "never"}, "judge": "words"},
    ]  # fmt: skip
    folder = carry_out(
        place, "cost", mine, kind="cost", levels=[], scorers=[], options={"methods": methods}, latents={"small": 3}
    )
    rows = pd.read_csv(folder / "table.csv").set_index("method")
    (run,) = [load_run(place / "work" / "runs" / r["id"]) for r in record(folder)["runs"]]
    own = run.judgements[run.judgements.scorer == "list"]
    windows = len(own) / 3
    assert rows.windows["list"] == windows
    assert rows.tokens_in_at_200["list"] == pytest.approx(own.tokens_in.sum() / 3 * 200 / windows, rel=1e-5)
    dollars = (rows.tokens_in_at_200["list"] * 1.0 + rows.tokens_out_at_200["list"] * 2.0) / 1e6
    assert rows.dollars_at_200["list"] == pytest.approx(dollars, rel=1e-4)
    assert rows.paper_in["ask"] == 10


def test_lengths_are_words_of_the_explanations(place):
    levels = [
        {"label": str(n), "x": n, "explainers": {"tokens": {"params": {"n_tokens": n, "n_contexts": 0}}}}
        for n in (1, 4, 8)
    ]
    folder = carry_out(
        place,
        "length",
        PROFILE,
        kind="length",
        explainers=["tokens"],
        scorers=["embedding"],
        levels=levels,
        scale="log2",
    )
    lengths = pd.read_csv(folder / "lengths.csv")
    assert lengths.words.is_monotonic_increasing
    assert lengths.words[0] == pytest.approx(1, abs=0.3)
    assert {"slopes.csv", "trend.csv", "length.svg"} <= {p.name for p in folder.iterdir()}


def test_the_index_and_the_report_come_from_the_folders_alone(place, tmp_path, monkeypatch):
    from latentbench.cli import app

    carry_out(place, "length2", PROFILE, explainers=["tokens"], scorers=["embedding"],
              levels=[{"label": "a"}, {"label": "b", "explainers": {"tokens": {"params": {"n_tokens": 1}}}}])  # fmt: skip
    page = (place / "out" / "README.md").read_text(encoding="utf-8")
    assert "## What was not run" in page
    assert "`sampling`" in page
    cli = CliRunner()
    done = cli.invoke(app, ["report", str(place / "out" / "length2")])
    assert done.exit_code == 0, done.output
    html = (place / "out" / "length2" / "report.html").read_text(encoding="utf-8")
    assert html.count("data:image/svg+xml;base64,") == 1
    assert "http://" not in html.replace("http://www.w3.org", "")
    for part in ("What it found", "Tables", "The paper", "Limits", "Identities", "Specification"):
        assert f"<h2>{part}</h2>" in html
    listed = cli.invoke(app, ["study"])
    assert "sae-vs-neurons-vs-random" in listed.output
    assert max(map(len, listed.output.splitlines())) <= 80


def test_a_failing_study_does_not_stop_the_others(place, profile, tmp_path):
    from latentbench.lab.studies.series import run_studies

    from tests.builders.study_builder import QUIET, STUDY, write_yaml

    bad = write_yaml(tmp_path / "bad.yaml", {**STUDY, "coders": ["nobody"]})
    good = write_yaml(tmp_path / "good.yaml", STUDY)
    size = write_yaml(tmp_path / "small.yaml", PROFILE)
    failed = run_studies([bad, good], size, tmp_path / "out", tmp_path / "work", QUIET, cache=place / "c.sqlite")
    assert list(failed) == ["bad"]
    assert "nobody" in failed["bad"]
    assert (tmp_path / "out" / "good" / "study.json").exists()
    assert not (tmp_path / "out" / "bad" / "study.json").exists()


def test_a_measure_that_finds_partners_in_random_directions_says_nothing_of_redundancy():
    base = {
        "measure": "decoder",
        "a": "x",
        "kind": "",
        "matched": 0.5,
        "broken": 0.1,
        "above_broken_low": 0.3,
        "p_holm": 0.01,
    }
    pair = {**base, "b": "y", "found": 0.9, "saved": 0.45}
    nothing, all_ = ({**base, "b": "random", "kind": "chance", "found": f, "saved": f / 2} for f in (0.04, 0.97))
    assert findings([pair, nothing], [], [])[0].endswith("so one coder for both would save 45% of the compute.")
    assert findings([pair, all_], [], [])[0].endswith("so this says nothing of redundancy.")
    assert "save" not in findings([nothing], [], [])[0]
