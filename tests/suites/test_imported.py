"""Suites of activations that other tools have published: what is read, what is drawn, and what a suite says it cannot know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from latentbench.kernel.errors import BenchError, DataError, ModelError, SpecError
from latentbench.kernel.latent import LatentView
from latentbench.runs.run import begin
from latentbench.runs.run_spec import RunSpec
from latentbench.suites.imported.foreign_formats import read_source
from latentbench.suites.imported.import_options import ImportOptions, coder_name
from latentbench.suites.imported.import_suite import ImportSettings, import_suite
from latentbench.suites.imported.shared_runs import families, runs, shares
from latentbench.suites.show import show_suite
from latentbench.suites.store import Suite, load_suite
from latentbench.suites.verify import verify

from tests.builders.foreign_activations import (
    Row,
    columns,
    delphi_cache,
    firing,
    neuron_records,
    neuronpedia,
    packed,
    silent,
    word_tokenizer,
)

RUN = 8


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tokenizer of whole words."""
    return word_tokenizer(tmp_path_factory.mktemp("words"))


def made(source: Path, format: str, out: Path, read: dict[str, Any] | None = None, **draw: Any) -> Suite:
    """A suite of a source."""
    settings = ImportSettings(name="imported", **draw)
    return import_suite(read_source(source, format, ImportOptions(**(read or {}))), settings, out)


def tokens_of(view: LatentView) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Tokens of the explain and of the test windows."""
    return [w.tokens for w in (*view.explain, *view.contrast)], [w.tokens for w in view.test]


def shared(view: LatentView) -> int:
    """Test windows that share eight tokens in a row with an explain window, looked at one by one."""
    explain, test = tokens_of(view)
    seen = {t[i : i + RUN] for t in explain for i in range(len(t) - RUN + 1)} | set(explain)
    return sum(bool(seen & {*(t[i : i + RUN] for i in range(len(t) - RUN + 1)), t}) for t in test)


def scored(suite: Suite, out: Path, scorers: tuple[str, ...] = ("detection",)) -> dict[str, float]:
    """Mean AUROC by explainer: token list and floors, under a judge that counts shared words."""
    spec = RunSpec.model_validate(
        {
            "name": "imported",
            "suite": str(suite.path),
            "split": "all",
            "explainers": [
                {"use": "tokens", "params": {"n_contexts": 0}},
                "empty",
                {"use": "shuffled", "params": {"of": "tokens"}},
            ],
            "scorers": [
                {"use": s, "params": {"positives": 8, "negatives": 8} if s == "detection" else {}} for s in scorers
            ],
            "judges": [{"use": "mock:lexical", "label": "words"}],
        }
    )
    from latentbench.runs.finished import load_run
    from latentbench.views.terminal import plain_console

    begin(spec, out.parent, out, "", out.parent / "cache.sqlite", plain_console(err=True))
    table = load_run(out).scores
    rows = table[table["metric"] == "auroc"]
    return {str(k): float(v) for k, v in rows.groupby("explainer")["value"].mean().items()}


def holds(suite: Suite) -> list[str]:
    """Lines of a verification without a broken promise."""
    report = verify(suite)
    assert report.ok, report.problems
    return [line for line in report.lines if line.startswith("n/a")]


# --- Neuronpedia


def test_an_export_with_every_field_becomes_a_suite_that_is_verified_and_scored(tmp_path: Path) -> None:
    suite = made(neuronpedia(tmp_path, latents=6), "neuronpedia", tmp_path / "suite")
    assert suite.ids == [f"20-gemmascope-res-16k/{11 * i}" for i in range(6)]
    view = suite.latent("20-gemmascope-res-16k/11")
    assert view.row["promoted"] == (" copper", " so")
    assert view.row["suppressed"] == (" not",)
    assert view.row["rate_token"] == pytest.approx(0.002)
    assert view.row["rate_context"] is None
    assert view.row["max_activation"] == pytest.approx(12.5)
    assert view.row["hookpoint"] == "blocks.20.hook_resid_post"
    assert {v.row["stratum"] for v in suite.latents()} != {0}
    assert {v.split for v in suite.latents()} == {"tune", "test"}
    assert len(view.explain) == 20
    assert sum(w.active for w in view.test) == 20
    assert all(" copper" in w.tokens for w in view.explain)
    source = suite.manifest["source"]
    assert source["model"] == "gemma-2-2b"
    assert source["dataset"] == "monology/pile-uncopyrighted"
    assert [f["name"] for f in source["files"]] == [
        "activations/batch-0.jsonl.gz",
        "activations/batch-1.jsonl.gz",
        "features/batch-0.jsonl.gz",
        "source.jsonl",
    ]
    assert suite.manifest["coders"][0]["n_latents"] == 16384
    said = holds(suite)
    assert any("negatives: silent test windows are windows of other latents" in line for line in said)
    assert all(shared(v) == 0 for v in suite.latents())
    means = scored(suite, tmp_path / "run")
    assert means["tokens"] > 0.95
    assert means["empty"] == 0.5
    assert means["shuffled"] < 0.6


def test_an_export_without_any_optional_field_is_read_and_says_what_it_does_not_know(tmp_path: Path) -> None:
    root = neuronpedia(tmp_path, full=False)
    suite = made(root, "neuronpedia", tmp_path / "suite", min_windows=4)
    assert set(suite.manifest["unknown"]) == {"subject", "deciles", "rates", "promoted", "negatives"}
    assert suite.coders == ["neuronpedia"]
    assert all(v.row["rate_token"] is None and v.row["stratum"] is None for v in suite.latents())
    assert "subject" not in suite.manifest
    holds(suite)
    assert scored(suite, tmp_path / "run")["tokens"] > 0.9


def test_a_full_and_a_bare_export_of_the_same_windows_hold_the_same_texts(tmp_path: Path) -> None:
    whole = made(neuronpedia(tmp_path / "a"), "neuronpedia", tmp_path / "x")
    one = made(neuronpedia(tmp_path / "a"), "neuronpedia", tmp_path / "y")
    assert whole.digest == one.digest
    # The order of rows and the number of files decide nothing.
    dealt = made(neuronpedia(tmp_path / "b", batches=5), "neuronpedia", tmp_path / "z", silent_from="none")
    kept = made(neuronpedia(tmp_path / "a"), "neuronpedia", tmp_path / "w", silent_from="none")
    for id in kept.ids:
        assert sorted(tokens_of(kept.latent(id))[1]) == sorted(tokens_of(dealt.latent(id))[1])


def test_test_windows_are_spread_over_the_bins_of_the_export(tmp_path: Path) -> None:
    """A fourth of the windows are the strongest group, and one of six bins: the bins decide."""
    root = neuronpedia(tmp_path, latents=2, n=80)
    suite = made(root, "neuronpedia", tmp_path / "suite", per_decile=1)
    for view in suite.latents():
        weakest_of_top = sorted((max(r.values) for r in firing(view.index // 11, 80)), reverse=True)[19]
        strong = sum(w.max >= weakest_of_top - 1e-2 for w in view.test if w.active)
        assert strong <= 3
        assert sum(w.active for w in view.test) == 10


def test_own_silent_windows_of_an_export_are_used_and_said_to_be_of_unknown_choice(tmp_path: Path) -> None:
    root = neuronpedia(tmp_path, own_silent=9)
    suite = made(root, "neuronpedia", tmp_path / "suite", silent_from="own")
    assert [v.row["got_negative"] for v in suite.latents()] == [9] * 4
    assert "how the source chose" in suite.manifest["unknown"]["negatives"]
    mixed = made(root, "neuronpedia", tmp_path / "mixed")
    assert [v.row["got_negative"] for v in mixed.latents()] == [20] * 4
    assert "the source's own" in mixed.manifest["unknown"]["negatives"]


def test_without_silent_windows_a_scorer_that_needs_them_is_refused(tmp_path: Path) -> None:
    suite = made(neuronpedia(tmp_path), "neuronpedia", tmp_path / "suite", silent_from="none")
    assert "no silent test windows" in suite.manifest["unknown"]["negatives"]
    with pytest.raises(SpecError, match="asks for 'random' windows and suite imported has none"):
        scored(suite, tmp_path / "run")


def test_a_borrowed_window_has_no_run_of_a_window_in_which_the_latent_fires(tmp_path: Path) -> None:
    """Two latents that fire on the same texts lend each other nothing."""
    rows = firing(0, 30)
    root = tmp_path / "m" / "s"
    twins = [{"index": i, "tokens": r.tokens, "values": r.values} for i in (0, 1) for r in rows]
    others = [{"index": 2, "tokens": r.tokens, "values": r.values} for r in firing(2, 30)]
    packed(root / "activations" / "batch-0.jsonl.gz", [*twins, *others])
    suite = made(root, "neuronpedia", tmp_path / "suite")
    own = {tuple(r.tokens) for r in rows}
    for id in ("neuronpedia/0", "neuronpedia/1"):
        borrowed = [w.tokens for w in suite.latent(id).test if not w.active]
        assert borrowed
        assert not own & set(borrowed)


def test_an_imported_suite_names_no_subject_and_so_nothing_runs_one(tmp_path: Path) -> None:
    from latentbench.judges.reference import load_judge
    from latentbench.suites.steer.intervene import SteerSettings, intervene

    suite = made(neuronpedia(tmp_path), "neuronpedia", tmp_path / "suite")
    with pytest.raises(SpecError, match="not built from a subject"):
        load_judge(f"subject:{suite.path}?writer=mock:lexical")
    with pytest.raises(DataError, match="nothing to steer"):
        intervene(suite, SteerSettings())
    with pytest.raises(DataError, match="nothing to run again"):
        verify(suite, activations=True)
    with pytest.raises(SpecError, match="names no subject that could be steered"):
        scored(suite, tmp_path / "run", ("intervention",))


def test_show_and_run_say_what_the_suite_cannot_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    suite = made(neuronpedia(tmp_path), "neuronpedia", tmp_path / "suite")
    console = Console(width=300, record=True, file=(tmp_path / "out").open("w", encoding="utf-8"))
    console.print(show_suite(suite))
    page = console.export_text()
    assert "imported from neuronpedia" in page
    assert "stratum None" not in page
    scored(suite, tmp_path / "run")
    said = capsys.readouterr().err
    assert "imported from neuronpedia" in said
    assert "negatives: silent test windows are windows of other latents" in said


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"index": "x", "tokens": ["a"], "values": [1]}, "no index of a latent"),
        ({"index": -1, "tokens": ["a"], "values": [1]}, "no index of a latent"),
        ({"index": 1 << 40, "tokens": ["a"], "values": [1]}, "no index of a latent"),
        ({"index": True, "tokens": ["a"], "values": [1]}, "no index of a latent"),
        ({"tokens": ["a"], "values": [1]}, "no index of a latent"),
        ({"index": 1, "values": [1]}, "not a list of texts"),
        ({"index": 1, "tokens": ["a", 2], "values": [1, 2]}, "not a list of texts"),
        ({"index": 1, "tokens": ["a"], "values": ["1"]}, "not a list of numbers"),
        ({"index": 1, "tokens": ["a"], "values": [None]}, "not a list of numbers"),
        ({"index": 1, "tokens": ["a", "b"], "values": [1]}, "2 tokens have 1 activations"),
        ({"index": 1, "tokens": ["a"], "values": [1], "binMin": "low"}, "binMin is str"),
        ({"index": 1, "tokens": ["a"], "values": [1], "layer": "another"}, "import one source at a time"),
        ({"index": 1, "tokens": ["a"] * 70_000, "values": [1] * 70_000}, "a window of tokens"),
    ],
)
def test_a_row_that_is_none_is_named_by_file_and_line(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    good = {"index": 1, "tokens": ["a", "b"], "values": [0.0, 1.0], "layer": "9-res"}
    packed(tmp_path / "activations" / "batch-0.jsonl.gz", [good, row])
    with pytest.raises(DataError, match=says) as caught:
        made(tmp_path, "neuronpedia", tmp_path / "suite")
    assert "batch-0.jsonl.gz, line 2" in str(caught.value)


def test_windows_that_cannot_be_used_are_left_out_counted_and_named(tmp_path: Path) -> None:
    rows = [{"index": 0, "tokens": r.tokens, "values": r.values} for r in firing(0, 20)]
    bad = [
        {"index": 0, "tokens": ["a", "b"], "values": [float("nan"), 1.0]},
        {"index": 0, "tokens": ["a", "b"], "values": [float("inf"), 1.0]},
        {"index": 0, "tokens": [" ", ""], "values": [1.0, 1.0]},
        {"index": 0, "tokens": rows[0]["tokens"], "values": rows[0]["values"]},
        {"index": 0, "tokens": ["x", "y", "z"], "values": [-2.0, 1.0, 0.0]},
    ]
    packed(tmp_path / "activations" / "batch-0.jsonl.gz", [*rows, *bad])
    suite = made(tmp_path, "neuronpedia", tmp_path / "suite")
    omitted = suite.manifest["omitted"]
    assert any(o.startswith("2 windows with an activation that is not finite") and "line 21" in o for o in omitted)
    assert any(o.startswith("1 windows without text") and "line 23" in o for o in omitted)
    assert any(o.startswith("1 windows were left out that stand there twice") for o in omitted)
    assert any(o.startswith("1 negative activations count as silence") for o in omitted)
    holds(suite)


def test_a_source_of_copies_puts_no_test_window_into_the_explain_windows(tmp_path: Path) -> None:
    """Ten copies of a few texts, each cut a few tokens further on: whole windows differ and the runs in them do not."""
    rng = np.random.default_rng(0)
    rows = []
    for text in range(12):
        words = [f" w{i}" for i in rng.integers(0, 5000, 60)]
        for shift in range(10):
            values = [0.0] * 24
            values[12] = float(text + 1 + shift / 100)
            rows.append({"index": 3, "tokens": words[shift : shift + 24], "values": values})
    packed(tmp_path / "activations" / "batch-0.jsonl.gz", rows)
    suite = made(tmp_path, "neuronpedia", tmp_path / "suite")
    (view,) = suite.latents()
    assert len(view.explain) == 20
    assert sum(w.active for w in view.test) == 20
    assert shared(view) == 0
    # All windows are of one family: there is nothing that could be tested.
    packed(tmp_path / "one" / "activations" / "batch-0.jsonl.gz", rows[:10])
    with pytest.raises(DataError, match="copies of each other"):
        made(tmp_path / "one", "neuronpedia", tmp_path / "none")


def test_activations_beyond_float16_are_scaled_and_keep_their_order(tmp_path: Path) -> None:
    huge = [{"index": 0, "tokens": r.tokens, "values": [1e5 * v for v in r.values]} for r in firing(0, 40)]
    tiny = [{"index": 1, "tokens": r.tokens, "values": [1e-9 * v for v in r.values]} for r in firing(1, 40)]
    plain = [{"index": 2, "tokens": r.tokens, "values": r.values} for r in firing(2, 40)]
    packed(tmp_path / "activations" / "batch-0.jsonl.gz", [*huge, *tiny, *plain])
    suite = made(tmp_path, "neuronpedia", tmp_path / "suite")
    assert set(suite.manifest["scaled"]) == {"neuronpedia/0", "neuronpedia/1"}
    holds(suite)
    for view, factor in zip(suite.latents(), (1e5, 1e-9, 1.0), strict=True):
        scale = suite.manifest["scaled"].get(view.id, 1.0)
        truth = {tuple(r.tokens): r.values for r in firing(view.index, 40)}
        for w in view.explain:
            assert np.allclose(w.activations, [scale * factor * v for v in truth[w.tokens]], rtol=1e-3)
        assert len({w.max for w in view.explain}) > 15


# --- OpenAI


def test_neuron_records_keep_their_own_sides(tmp_path: Path) -> None:
    suite = made(neuron_records(tmp_path), "openai", tmp_path / "suite")
    assert suite.ids == ["mlp5/0", "mlp5/1", "mlp5/2"]
    for view in suite.latents():
        train = {tuple(r.tokens) for r in firing(view.index, 40)[::4]}
        explain, test = tokens_of(view)
        assert set(explain) == train
        assert not train & set(test)
        assert view.row["got_negative"] == 12
    assert suite.kinds == {"mlp5": "neurons"}
    assert "negatives" not in suite.manifest["unknown"]
    holds(suite)
    means = scored(suite, tmp_path / "run")
    assert means["tokens"] > 0.9
    assert means["empty"] == 0.5


def test_bare_neuron_records_are_read(tmp_path: Path) -> None:
    base = neuron_records(tmp_path, silent_rows=0, full=False)
    suite = made(base, "openai", tmp_path / "suite")
    assert suite.ids == ["mlp5/0", "mlp5/1", "mlp5/2"]
    assert "no silent test windows" in suite.manifest["unknown"]["negatives"]
    holds(suite)
    borrowed = made(base / "5", "openai", tmp_path / "borrowed", silent_from="others")
    assert scored(borrowed, tmp_path / "run")["tokens"] > 0.8


def test_a_share_of_the_largest_activation_can_count_as_silence(tmp_path: Path) -> None:
    """A smooth activation function leaves a little everywhere."""
    path = neuron_records(tmp_path, neurons=1) / "5" / "0.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    for row in (*record["random_sample"], *record["most_positive_activation_records"]):
        row["activations"] = [v or 0.01 for v in row["activations"]]
    path.write_text(json.dumps(record), encoding="utf-8")
    loud = made(path, "openai", tmp_path / "loud")
    assert [v.row["got_negative"] for v in loud.latents()] == [0]
    quiet = made(path, "openai", tmp_path / "quiet", {"silent_below": 0.05})
    assert [v.row["got_negative"] for v in quiet.latents()] == [12]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not a NeuronRecord"),
        ("[]", "holds list"),
        ('{"neuron_id": 3}', "neuron_id is int"),
        ('{"most_positive_activation_records": 3}', "strongest: is int"),
        ('{"random_sample": [3]}', r"random_sample\[0\]: is int"),
        ('{"random_sample_by_quantile": {}}', "random_sample_by_quantile is dict"),
        ('{"random_sample": [{"tokens": ["a"]}]}', r"random_sample\[0\]: the activations are not"),
    ],
)
def test_a_record_that_is_none_is_named_by_file_and_place(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "7.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=says) as caught:
        made(tmp_path, "openai", tmp_path / "suite")
    assert "7.json" in str(caught.value)


# --- your own Parquet


def test_windows_in_columns_become_a_suite(tmp_path: Path) -> None:
    path = columns(
        tmp_path / "w.parquet",
        split=lambda latent, i, fires: ("explain" if i % 2 else "test") if fires else None,
        kind=lambda latent, i, fires: None if fires else "random",
        bin=lambda latent, i, fires: i % 3,
        weather=lambda latent, i, fires: "fine",
    )
    suite = made(path, "parquet", tmp_path / "suite")
    assert suite.ids == [f"mine/{i}" for i in range(4)]
    for view in suite.latents():
        rows = firing(view.index, 40)
        explain, test = tokens_of(view)
        assert set(explain) <= {tuple(r.tokens) for r in rows[1::2]}
        assert {t for t in test if t in {tuple(r.tokens) for r in rows}} <= {tuple(r.tokens) for r in rows[::2]}
        assert view.row["got_negative"] == 8
    assert "negatives" not in suite.manifest["unknown"]
    holds(suite)
    assert scored(suite, tmp_path / "run")["tokens"] > 0.95


def test_windows_of_one_document_stand_on_one_side(tmp_path: Path) -> None:
    path = columns(tmp_path / "w.parquet", latents=2, n=60, document=lambda latent, i, fires: i // 4)
    suite = made(path, "parquet", tmp_path / "suite")
    for view in suite.latents():
        document = {tuple(r.tokens): i // 4 for i, r in enumerate([*firing(view.index, 60), *silent(8, view.index)])}
        explain, test = tokens_of(view)
        fires = {t for t in test if t in document and view.id}
        assert explain
        assert fires
        assert not {document[t] for t in explain} & {document[t] for t in fires if document[t] < 15}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"split": lambda latent, i, fires: "train"}, "split is 'train'"),
        ({"split": lambda latent, i, fires: "test" if i else None}, "give all one, or none"),
        ({"kind": lambda latent, i, fires: "randm"}, "Did you mean 'random'"),
        ({"kind": lambda latent, i, fires: "random"}, "a window of kind 'random' fires"),
        ({"bin": lambda latent, i, fires: float("inf")}, "bin is inf"),
    ],
)
def test_a_row_of_columns_that_does_not_fit_is_named(tmp_path: Path, more: dict[str, Any], says: str) -> None:
    path = columns(tmp_path / "w.parquet", latents=1, n=10, **more)
    with pytest.raises(BenchError, match=says) as caught:
        made(path, "parquet", tmp_path / "suite")
    assert "w.parquet, row" in str(caught.value)


# --- delphi


def test_a_cache_becomes_a_suite_with_random_negatives_and_known_rates(tmp_path: Path, words: str) -> None:
    results = delphi_cache(tmp_path, words, vocabulary=390, rows=120)
    suite = made(results, "delphi", tmp_path / "suite", {"window": 16})
    assert suite.coders == ["layers.2"]
    assert suite.manifest["coders"][0]["n_latents"] == 6
    assert [v.index for v in suite.latents()] == [1, 2, 3, 4, 5]
    assert set(suite.manifest["unknown"]) == {"subject", "promoted"}
    rng = np.random.default_rng(0)
    tokens = rng.integers(60, 390, (120, 64))
    for view in suite.latents():
        fires = tokens % 50 == view.index
        assert view.row["rate_token"] == pytest.approx(fires.mean())
        assert view.row["rate_context"] == pytest.approx(fires.any(axis=1).mean())
        for w in (*view.explain, *view.test):
            row, place = divmod(w.position, 64)
            assert w.ids == tuple(tokens[row, place : place + 16])
            assert [a > 0 for a in w.activations] == list(fires[row, place : place + 16])
        assert len([w for w in view.test if w.kind == "random"]) == 20
        assert shared(view) == 0
    holds(suite)
    means = scored(suite, tmp_path / "run")
    assert means["empty"] == 0.5
    assert means["tokens"] > 0.8


def test_copies_in_a_cache_are_on_one_side(tmp_path: Path, words: str) -> None:
    results = delphi_cache(tmp_path, words, vocabulary=390, rows=120, copies=60)
    suite = made(results, "delphi", tmp_path / "suite", {"window": 16})
    assert all(shared(v) == 0 for v in suite.latents())
    assert "share 8 or more tokens" in " ".join(suite.manifest["omitted"])


def test_a_cache_without_its_tokenizer_is_refused_with_what_helps(tmp_path: Path, words: str) -> None:
    results = delphi_cache(tmp_path, None, vocabulary=390)
    with pytest.raises(DataError, match="--tokenizer"):
        made(results, "delphi", tmp_path / "suite")
    with pytest.raises(ModelError, match="--tokenizer FOLDER"):
        made(results, "delphi", tmp_path / "suite", {"tokenizer": str(tmp_path)})
    assert made(results, "delphi", tmp_path / "suite", {"tokenizer": words, "window": 16}).ids
    other = delphi_cache(tmp_path / "other", None, vocabulary=5000)
    with pytest.raises(DataError, match="it is another model's"):
        made(other, "delphi", tmp_path / "no", {"tokenizer": words})


def test_a_cache_with_faults_is_named_by_file(tmp_path: Path, words: str) -> None:
    from safetensors.numpy import load_file, save_file

    results = delphi_cache(tmp_path, words, vocabulary=390, rows=40, splits=1)
    path = results / "latents" / "layers.2" / "0_5.safetensors"
    whole = load_file(path)

    def fails(says: str, **arrays: Any) -> None:
        save_file({k: v for k, v in (whole | arrays).items() if v is not None}, path)
        with pytest.raises(DataError, match=says) as caught:
            made(results, "delphi", tmp_path / "suite", {"window": 16})
        assert "0_5.safetensors" in str(caught.value)

    where, values = whole["locations"], whole["activations"]
    fails("save_tokens", tokens=None)
    fails("has no locations", locations=None)
    fails(r"expected whole numbers \[entries, 3\]", locations=where[:, :2].copy())
    fails("activations are", activations=values[:-1].copy())
    fails("a latent is 9", locations=np.vstack([where[:-1], [[0, 0, 9]]]).astype(np.uint16))
    fails("a row is 900", locations=np.vstack([where[:-1], [[900, 0, 1]]]).astype(np.uint16))
    fails("two activations at one place", locations=np.vstack([where[:-1], where[:1]]).astype(np.uint16))
    fails("expected whole numbers", tokens=whole["tokens"].astype(np.float32))
    broken = values.copy()
    broken[0] = np.inf
    save_file(whole | {"activations": broken}, path)
    suite = made(results, "delphi", tmp_path / "finite", {"window": 16})
    assert [v.index for v in suite.latents()] == [2, 3, 4, 5]
    assert "beyond float16 (the first: latent 1)" in suite.manifest["omitted"][0]


def test_of_several_hookpoints_one_is_chosen(tmp_path: Path, words: str) -> None:
    results = delphi_cache(tmp_path, words, vocabulary=390)
    home = results / "latents"
    (home / "layers.3").mkdir()
    for path in (home / "layers.2").iterdir():
        (home / "layers.3" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(DataError, match=r"--hookpoint: layers.2, layers.3"):
        made(results, "delphi", tmp_path / "suite")
    suite = made(results, "delphi", tmp_path / "suite", {"hookpoint": "layers.3", "window": 16})
    assert suite.coders == ["layers.3"]


# --- what all have in common


def test_chosen_latents_and_a_draw_of_some(tmp_path: Path) -> None:
    root = neuronpedia(tmp_path, latents=6)
    some = made(root, "neuronpedia", tmp_path / "some", {"indices": (11, 33)}, indices=(11, 33))
    assert [v.index for v in some.latents()] == [11, 33]
    with pytest.raises(SpecError, match="has no latent 12"):
        made(root, "neuronpedia", tmp_path / "none", indices=(12,))
    few = made(root, "neuronpedia", tmp_path / "few", latents=3)
    assert len(few.latents()) == 3
    assert few.manifest["coders"][0]["qualifying"] == 6
    with pytest.raises(DataError, match="the most that one has is 40"):
        made(root, "neuronpedia", tmp_path / "no", min_windows=41)


def test_windows_are_cut_around_their_peak(tmp_path: Path) -> None:
    suite = made(neuronpedia(tmp_path), "neuronpedia", tmp_path / "suite", {"window": 9})
    for view in suite.latents():
        for w in (*view.explain, *view.test):
            assert len(w.tokens) == len(w.activations) == len(w.ids) == 9
            assert w.active == (w.kind != "random")
    holds(suite)


def test_a_suite_that_was_built_here_says_nothing_new() -> None:
    suite = load_suite("planted-1")
    assert not [line for line in verify(suite).lines if line.startswith("n/a")]


def test_the_command_makes_the_suite_that_the_functions_make(tmp_path: Path) -> None:
    from latentbench.cli import app
    from typer.testing import CliRunner

    root = neuronpedia(tmp_path)
    out = tmp_path / "cli-suite"
    said = CliRunner().invoke(app, ["suite", "import", str(root), "--from", "neuronpedia", "--out", str(out)])
    assert said.exit_code == 0, said.output
    assert "imported from neuronpedia" in said.output
    assert "shortfalls: none" in said.output
    assert load_suite(out).name == "cli-suite"
    assert load_suite(out).digest == made(root, "neuronpedia", tmp_path / "same").digest
    again = CliRunner().invoke(app, ["suite", "import", str(root), "--from", "neuronpdia", "--out", str(out)])
    assert isinstance(again.exception, SpecError)
    assert "Did you mean 'neuronpedia'" in str(again.exception)


def test_runs_of_tokens_and_families() -> None:
    a = np.arange(20, dtype=np.int32)
    b = np.concatenate([np.arange(100, 110), np.arange(5, 13)]).astype(np.int32)
    c = np.concatenate([np.arange(200, 210), np.arange(5, 12)]).astype(np.int32)
    assert shares(b, np.unique(runs(a)))
    assert not shares(c, np.unique(runs(a)))
    assert families([a, b, c], [None] * 3).tolist() == [0, 0, 1]
    assert families([a, b, c], ["x", "y", "x"]).tolist() == [0, 0, 0]
    short = np.array([1, 2, 3], np.int32)
    assert families([short, short, short[:2]], [None] * 3).tolist() == [0, 0, 1]


def test_a_source_name_becomes_a_name_of_a_coder() -> None:
    assert coder_name("20-gemmascope-res-16k", "x") == "20-gemmascope-res-16k"
    assert coder_name("model.layers.9/MLP out", "x") == "model.layers.9-mlp-out"
    assert coder_name("../..", "x") == "x"
    assert coder_name("con", "x") == "x"
    assert coder_name(None, "x") == "x"


def test_a_row_is_a_row() -> None:
    """The builder's language: every latent fires on its own word and nowhere else."""
    assert all(isinstance(r, Row) and " copper" in r.tokens for r in firing(1, 3))
