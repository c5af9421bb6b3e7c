"""Building suites on the tiny subject: reproducible, killable, and equal to a direct run of subject and coders."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
import yaml
from latentbench.corpora.corpus_spec import JsonlCorpus
from latentbench.kernel.errors import DataError, DigestMismatch, SpecError
from latentbench.subject.coders.saelens import save
from latentbench.suites.any_recipe import build_recipe
from latentbench.suites.build.build import build_suite
from latentbench.suites.build.promoted import promoted
from latentbench.suites.build.suite_recipe import TestEntry, anchored_recipe, load_recipe
from latentbench.suites.build.token_strings import TokenStrings
from latentbench.suites.store import load_suite
from latentbench.suites.verify import verify

from tests.conftest import SENTENCES

CONTEXT, WINDOW = 48, 8
EXTRAS = ["Ünïcödé 漢字かな交じり文 🎉👩‍👩‍👧 \u200d🇩🇪", "naïve café — “quoted” … ﷽"]


@pytest.fixture(scope="module")
def place(tiny_folder, tmp_path_factory):
    """A folder with a corpus, a coder and a recipe that name each other by relative paths."""
    folder = tmp_path_factory.mktemp("recipe")
    rng = random.Random(0)
    words = " ".join(SENTENCES).split() + " ".join(EXTRAS).split()
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as f:
        for _ in range(150):
            text = " ".join(rng.choice(words) for _ in range(rng.randrange(5, 90)))
            f.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    g = torch.Generator().manual_seed(0)
    weights = {
        "W_enc": torch.randn(32, 64, generator=g),
        "b_enc": torch.randn(64, generator=g) * 0.1,
        "W_dec": torch.randn(64, 32, generator=g),
        "b_dec": torch.randn(32, generator=g) * 0.1,
    }
    save(folder / "sae", weights, 4, "float32", {"hook_name": "layers.1"})
    recipe = {
        "name": "toy",
        "version": "1-0",
        "subject": {"model": str(tiny_folder), "dtype": "float32"},
        "corpus": {"kind": "jsonl", "path": "corpus.jsonl"},
        "context": CONTEXT,
        "window": WINDOW,
        "min_windows": 30,
        "strata": 3,
        "promoted": 4,
        "explain": {"n": 10, "sampling": "quantile"},
        "test": {"positives_per_decile": 2, "negatives": 20},
        "coders": [
            {"coder": {"name": "sae", "format": "saelens", "path": "sae"}, "latents": 8},
            {
                "coder": {"name": "neurons", "format": "neurons", "hookpoint": "layers.2.mlp.down_proj:in", "k": 4},
                "latents": 6,
            },
            {
                "coder": {"name": "random", "format": "random", "hookpoint": "layers.1", "k": 4, "n_latents": 48},
                "latents": 6,
            },
        ],
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return folder


def _recipe(place, **changes):
    return anchored_recipe(load_recipe(place / "recipe.yaml"), place).model_copy(update=changes)


@pytest.fixture(scope="module")
def suite(place, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    return build_suite(_recipe(place), folder / "suite", folder / "work")


def test_a_recipe_made_in_python_is_kept_so_that_it_can_be_read(place, tmp_path):
    corpus = JsonlCorpus(path=_recipe(place).corpus.path)
    assert "kind" not in corpus.model_fields_set
    recipe = _recipe(place, corpus=corpus)
    build_suite(recipe, tmp_path / "suite", tmp_path / "work")
    assert load_recipe(tmp_path / "suite" / "recipe.yaml") == recipe


def _bytes(folder):
    return {name: (folder / name).read_bytes() for name in ("latents.parquet", "windows.parquet", "manifest.json")}


def test_a_suite_has_what_its_recipe_asked_for(suite):
    views = suite.latents()
    assert [sum(v.coder == c for v in views) for c in ("sae", "neurons", "random")] == [8, 6, 6]
    assert {v.row["coder_kind"] for v in views} == {"sae", "neurons", "random"}
    for v in views:
        assert len(v.explain) == v.row["got_explain"] == 10
        assert [sum(w.decile == d for w in v.test) for d in range(10)] == [2] * 10
        assert sum(w.kind == "random" for w in v.test) == v.row["got_negative"] == 20
        assert len(v.row["promoted"]) == len(v.row["suppressed"]) == 4
    assert sum(v.split == "tune" for v in views if v.coder == "sae") == 4
    assert suite.manifest["corpus"]["documents"] == 150
    assert [c["got"] for c in suite.manifest["coders"]] == [8, 6, 6]
    assert all(not any(c["short"].values()) for c in suite.manifest["coders"])


def test_shortfalls_are_recorded_and_nothing_is_padded(place, suite, tmp_path):
    recipe = _recipe(place, test=TestEntry(positives_per_decile=50, negatives=100000))
    short = build_suite(recipe, tmp_path / "suite", suite.path.parent / "work")
    assert verify(short).ok
    for coder in short.manifest["coders"]:
        views = short.latents(coders=[coder["name"]])
        assert coder["short"]["negative"] == len(views)
        assert coder["short"]["positive"] == sum(v.row["got_positive"] < 500 for v in views)
    assert sum(coder["short"]["positive"] for coder in short.manifest["coders"]) > 0


def test_building_twice_gives_the_same_bytes(place, suite, tmp_path):
    again = build_suite(_recipe(place), tmp_path / "suite", tmp_path / "work")
    assert again.digest == suite.digest
    assert _bytes(again.path) == _bytes(suite.path)


def test_another_seed_draws_other_windows(place, suite, tmp_path):
    other = build_suite(_recipe(place, seed=1), tmp_path / "suite", suite.path.parent / "work")
    assert other.digest != suite.digest


def test_a_latents_windows_stay_when_other_coders_leave(place, suite, tmp_path):
    recipe = _recipe(place)
    small = build_suite(recipe.model_copy(update={"coders": recipe.coders[1:2]}), tmp_path / "suite", tmp_path / "work")
    for view in small.latents():
        assert [w.position for w in view.test] == [w.position for w in suite.latent(view.id).test]


KILLED = """
    import os, signal, sys
    from pathlib import Path
    import latentbench.suites.build.build as build
    from latentbench.suites import streamed_windows
    from latentbench.suites.build.suite_recipe import anchored_recipe, load_recipe

    place, out, where = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

    def say(line):
        if "from disk" in line:
            print(f"{where}: resumed", flush=True)
        if where == "activations" and line.startswith("activations"):
            os.kill(os.getpid(), signal.SIGKILL)

    def written(*_):
        os.kill(os.getpid(), signal.SIGKILL)
    streamed_windows.RowGroups = written
    build.build_suite(anchored_recipe(load_recipe(place / "recipe.yaml"), place), out / "suite", out / "work", say)
"""


def test_a_build_killed_twice_is_finished_to_the_same_bytes(place, suite, tmp_path):
    for where in ("activations", "tables"):
        command = [sys.executable, "-c", textwrap.dedent(KILLED), str(place), str(tmp_path), where]
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, encoding="utf-8"
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not (tmp_path / "suite" / "manifest.json").exists()
        assert (f"{where}: resumed" in done.stdout) == (where == "tables")
    said: list[str] = []
    again = build_suite(_recipe(place), tmp_path / "suite", tmp_path / "work", said.append)
    assert _bytes(again.path) == _bytes(suite.path)
    assert not any(line.startswith("activations") for line in said), said


def _contexts(place, tokenizer):
    """Contexts as DESIGN says, cut by a direct loop."""
    out = []
    for line in (place / "corpus.jsonl").read_text(encoding="utf-8").splitlines():
        ids = tokenizer(json.loads(line)["text"], add_special_tokens=False)["input_ids"]
        out += [ids[i : i + CONTEXT] for i in range(0, len(ids), CONTEXT) if len(ids[i : i + CONTEXT]) >= WINDOW]
    return out


@pytest.fixture(scope="module")
def direct(tiny, place):
    """coder -> activations on every corpus token, from plain forward passes of single contexts; and the tokens."""
    from safetensors.torch import load_file

    contexts = _contexts(place, tiny.tokenizer)
    sae = load_file(place / "sae" / "sae_weights.safetensors")
    rows: dict[str, list[torch.Tensor]] = {"sae": [], "neurons": []}
    neurons: list[torch.Tensor] = []
    hook = tiny.model.model.layers[2].mlp.down_proj.register_forward_pre_hook(lambda m, a: neurons.append(a[0][0, 1:]))
    with torch.no_grad():
        for ids in contexts:
            out = tiny.model(torch.tensor([[tiny.bos, *ids]]), output_hidden_states=True)
            rows["sae"].append(torch.relu((out.hidden_states[2][0, 1:] - sae["b_dec"]) @ sae["W_enc"] + sae["b_enc"]))
    hook.remove()
    rows["neurons"] = [n.abs() for n in neurons]
    dense = {"tokens": np.concatenate(contexts)}
    for name, parts in rows.items():
        values = torch.cat(parts)
        top = values.topk(4, dim=-1)
        dense[name] = torch.zeros_like(values).scatter(-1, top.indices, top.values).numpy()
    return dense


@pytest.mark.parametrize("centred", [False, True])
def test_every_windows_activations_equal_a_direct_run_on_its_context(place, suite, tiny, direct, tmp_path, centred):
    if centred:
        suite = build_suite(_recipe(place, centred=True), tmp_path / "suite", suite.path.parent / "work")
    views = suite.latents(coders=["sae", "neurons"])
    at_the_middle, active = 0, 0
    for view in views:
        truth = direct[view.coder][:, view.index]
        for w in (*view.explain, *view.test):
            here = slice(w.position, w.position + WINDOW)
            assert list(w.ids) == direct["tokens"][here].tolist()
            assert w.text == tiny.tokenizer.decode(list(w.ids), clean_up_tokenization_spaces=False)
            np.testing.assert_allclose(w.activations, truth[here], rtol=1e-3, atol=1e-5)
            active += w.active
            at_the_middle += w.active and int(np.argmax(w.activations)) == WINDOW // 2
        assert view.row["rate_token"] == pytest.approx((truth > 0).mean())
        assert view.row["max_activation"] == pytest.approx(truth.max(), rel=1e-3)
    assert (at_the_middle / active > 0.4) == centred


def test_directions_and_promoted_tokens_equal_a_direct_product(place, suite, tiny):
    from safetensors.torch import load_file

    decoder = load_file(place / "sae" / "sae_weights.safetensors")["W_dec"]
    head, gamma = tiny.model.lm_head.weight, tiny.model.model.norm.weight
    for view in suite.latents(coders=["sae"]):
        np.testing.assert_allclose(view.row["direction"], decoder[view.index].numpy(), rtol=1e-3)
        effect = head @ (gamma * decoder[view.index])
        order = effect.argsort(descending=True).tolist()
        strings = [tiny.tokenizer.decode([t], clean_up_tokenization_spaces=False) for t in order]
        assert view.row["promoted"] == tuple(strings[:4])
        assert view.row["suppressed"] == tuple(strings[:-5:-1])


def test_a_norms_weight_and_bias_are_handled_as_the_formula_says(tiny):
    class Shifted(torch.nn.LayerNorm):
        """A final norm with a large bias, which is no effect of any direction."""

    norm = Shifted(32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias, std=100)
    old, tiny.model.model.norm = tiny.model.model.norm, norm
    try:
        direction = torch.randn(1, 32, generator=torch.Generator().manual_seed(1))
        got = promoted(tiny, direction, 5)
    finally:
        tiny.model.model.norm = old
    effect = tiny.model.lm_head.weight @ (norm.weight * (direction[0] - direction[0].mean()))
    assert got.promoted[0] == effect.topk(5).indices.tolist()
    assert got.suppressed[0] == (-effect).topk(5).indices.tolist()
    assert promoted(tiny, torch.zeros(2, 7), 5).promoted == [[], []]


def test_verify_reruns_the_subject_and_sees_a_changed_activation(place, suite, tmp_path):
    report = verify(suite, activations=True, contexts=30)
    assert report.ok, report.problems
    assert "0 of" in report.lines[-1]
    built = build_suite(_recipe(place, version="2-0"), tmp_path / "suite", suite.path.parent / "work")
    (place / "corpus.jsonl").write_text(
        (place / "corpus.jsonl").read_text(encoding="utf-8") + '{"text": "one more"}\n', encoding="utf-8"
    )
    try:
        report = verify(built, activations=True, contexts=5)
    finally:
        lines = (place / "corpus.jsonl").read_text(encoding="utf-8").splitlines()[:-1]
        (place / "corpus.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert any("corpus" in p for p in report.problems)


def test_verify_finds_activations_that_are_not_the_subjects(suite, tmp_path):
    import pyarrow as pa
    from latentbench.suites.store import save_suite

    windows = suite.window_table
    values = [[2 * x for x in row] for row in windows.column("activations").to_pylist()]
    at = windows.schema.get_field_index("activations")
    doubled = windows.set_column(at, windows.schema.field(at), pa.array(values, windows.schema.field(at).type))
    manifest = {k: v for k, v in suite.manifest.items() if k != "digest"}
    save_suite(tmp_path / "doubled", manifest, suite.latent_table, doubled)
    (tmp_path / "doubled" / "recipe.yaml").write_text(
        (suite.path / "recipe.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    report = verify(load_suite(tmp_path / "doubled"), activations=True, contexts=10)
    assert any("another activation" in p for p in report.problems)


def test_the_command_builds_beside_the_recipe_and_never_replaces_a_version(place, tmp_path):
    from rich.console import Console

    folder = tmp_path / "beside"
    folder.mkdir()
    text = (
        (place / "recipe.yaml").read_text(encoding="utf-8").replace("path: corpus.jsonl", f"path: {place}/corpus.jsonl")
    )
    (folder / "recipe.yaml").write_text(text.replace("path: sae\n", f"path: {place}/sae\n"), encoding="utf-8")
    console = Console(stderr=True, quiet=True)
    built = build_recipe(folder / "recipe.yaml", None, console, work=tmp_path / "work")
    assert built.path == folder
    assert verify(built, activations=True, contexts=5).ok
    frozen = _bytes(folder)
    (folder / "recipe.yaml").write_text(
        (folder / "recipe.yaml").read_text(encoding="utf-8").replace("min_windows: 30", "min_windows: 31"),
        encoding="utf-8",
    )
    (folder / "recipe.yaml").write_text(
        (folder / "recipe.yaml").read_text(encoding="utf-8") + "seed: 5\n", encoding="utf-8"
    )
    with pytest.raises(DigestMismatch, match="Raise the version"):
        build_recipe(folder / "recipe.yaml", None, console, work=tmp_path / "work")
    assert _bytes(folder) == frozen


def test_a_latent_that_never_fires_enough_is_a_clear_error(place, suite, tmp_path):
    with pytest.raises(DataError, match="no latent of sae fires in 100000 windows"):
        build_suite(_recipe(place, min_windows=100000), tmp_path / "s", suite.path.parent / "work")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("min_windows", "min_window", "unknown key 'min_window'. Did you mean 'min_windows'"),
        ("negatives", "negative", ".negatives'? Known: "),
        ("sampling: quantile", "sampling: quantiles", "explain.sampling"),
        ("version: 1-0", "version: one", "version"),
        ("window: 8", "window: 80", "longer than context"),
    ],
)
def test_a_misspelt_recipe_names_the_file_the_key_and_the_near_name(place, tmp_path, old, new, said):
    text = (place / "recipe.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "typo.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_recipe(tmp_path / "typo.yaml")
    assert said in str(caught.value)
    assert "typo.yaml" in str(caught.value)


def test_token_strings_join_to_the_tokenizers_own_decoding(tiny):
    tokenizer = tiny.tokenizer
    ids = tokenizer(" ".join(EXTRAS * 3 + SENTENCES), add_special_tokens=False)["input_ids"]
    # Every offset, so that windows begin and end inside characters, and the special tokens.
    windows = [ids[i : i + 9] for i in range(len(ids) - 9)] + [tokenizer.all_special_ids + ids[:3], [], [ids[0]]]
    got = TokenStrings(tokenizer).of(windows)
    for window, strings in zip(windows, got, strict=True):
        assert len(strings) == len(window)
        assert "".join(strings) == tokenizer.decode(window, clean_up_tokenization_spaces=False)
    whole = TokenStrings(tokenizer).of([ids])[0]
    assert "🎉" in whole, "a character split over tokens stands whole on one of them"
    assert "\ufffd" not in "".join(whole)
