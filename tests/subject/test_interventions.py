"""Interventions against implementations without a cache, by brute force and by hand, on the tiny subject."""

from __future__ import annotations

import shutil
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from latentbench.kernel.errors import (
    CoderError,
    CorruptTable,
    DataError,
    DigestMismatch,
    RunError,
    SpecError,
    UnknownName,
)
from latentbench.kernel.identity import seed_for
from latentbench.kernel.tables import INTERVENTIONS, read_table
from latentbench.models.engine.sampler import gumbel
from latentbench.models.language_model import load
from latentbench.runs.run import resume, start
from latentbench.subject import interventions as iv
from latentbench.subject.coders.coder_spec import load_coder
from latentbench.subject.coders.sae import Sae
from latentbench.subject.hooks import capture, edit
from latentbench.subject.strength import FARTHEST, search
from latentbench.suites.build.build import build_suite
from latentbench.suites.build.suite_recipe import anchored_recipe, load_recipe
from latentbench.suites.intervention_table import save_interventions
from latentbench.suites.steer.intervene import SteerSettings, _places, intervene
from latentbench.suites.steer.steer import middle
from latentbench.suites.steer.steer_prompts import prompts
from latentbench.suites.store import load_suite
from rich.console import Console
from scipy.stats import entropy

from tests.builders.toy_recipe import directions, neurons, toy_recipe

HOOK = "layers.1"
PROMPTS = [[1, 40, 77, 12, 300], [1, 9, 250], [1, 33, 34, 35, 36, 37, 38, 39], [1, 200]]
NEW = 5


@pytest.fixture(scope="module")
def coder():
    g = torch.Generator().manual_seed(3)
    w = torch.randn(24, 32, generator=g)
    w_dec = torch.randn(24, 32, generator=g)
    return Sae("toy", "sae", HOOK, "k", "topk", w, torch.zeros(24), w_dec, torch.zeros(32), k=6)


@pytest.fixture(scope="module")
def ready(tiny):
    return iv.prefill(tiny, PROMPTS)


@pytest.fixture(scope="module")
def noise(tiny):
    return gumbel(range(len(PROMPTS)), NEW, tiny.model.config.vocab_size)


def add(coder, latents, deltas):
    chosen = torch.tensor(latents)
    return iv.Addition(iv.writes_at(coder), coder.direction(chosen), torch.tensor(deltas))


def whole(loaded, ids, shift, first, last_only=False):
    """Logits after `ids` by one full pass without a cache; `shift` is added from position `first` on, or only there."""

    def change(h):
        out = h.clone()
        out[:, first : first + 1 if last_only else None] += shift
        return out

    with torch.inference_mode(), edit(loaded, HOOK, change):
        return loaded.model(torch.tensor([ids]), use_cache=False).logits[0, -1].float()


def reference_text(loaded, prompt, shift, noise, last_only=False):
    ids = list(prompt)
    for step in range(NEW):
        logits = whole(loaded, ids, shift, len(prompt) - 1, last_only)
        ids.append(int((torch.log_softmax(logits, -1) + noise[step]).argmax()))
    return ids[len(prompt) :]


ROWS = [0, 1, 2, 3, 0, 2]
LATENTS = [3, 3, 7, 8, 11, 2]
DELTAS = [4.0, 2.0, 1.0, 6.0, 3.0, 5.0]


def test_the_next_token_distribution_equals_a_pass_without_a_cache(tiny, coder, ready):
    found = iv.log_probs(ready, torch.tensor(ROWS), add(coder, LATENTS, DELTAS))
    for row, (prompt, latent, delta) in enumerate(zip(ROWS, LATENTS, DELTAS, strict=True)):
        logits = whole(tiny, PROMPTS[prompt], delta * coder.w_dec[latent], len(PROMPTS[prompt]) - 1)
        assert torch.allclose(found[row], torch.log_softmax(logits, -1), atol=1e-4)
    clean = iv.log_probs(ready, torch.arange(4), None)
    for row, prompt in enumerate(PROMPTS):
        plain = tiny.model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
        assert torch.allclose(clean[row], plain, atol=1e-4)


def test_intervention_applied_only_at_the_last_prompt_token(tiny, coder, ready, noise):
    """The fault: with a cache, generation goes on without the edit after the first token."""
    found = iv.continue_texts(ready, torch.tensor(ROWS), add(coder, LATENTS, DELTAS), noise).tolist()
    every, once = [], []
    for prompt, latent, delta in zip(ROWS, LATENTS, DELTAS, strict=True):
        shift = delta * coder.w_dec[latent]
        every.append(reference_text(tiny, PROMPTS[prompt], shift, noise[prompt]))
        once.append(reference_text(tiny, PROMPTS[prompt], shift, noise[prompt], last_only=True))
    assert found == every
    assert [f[0] for f in found] == [o[0] for o in once]
    assert sum(f != o for f, o in zip(found, once, strict=True)) >= 4


def test_every_generated_position_is_edited(tiny, coder, ready, noise):
    """With the sampled tokens held fixed, the logits after each of them differ from those of a one-time edit."""
    shift = 4.0 * coder.w_dec[3]
    text = iv.continue_texts(ready, torch.tensor([0]), add(coder, [3], [4.0]), noise)[0].tolist()
    first = len(PROMPTS[0]) - 1
    for n in range(1, NEW):
        ids = PROMPTS[0] + text[:n]
        assert not torch.allclose(whole(tiny, ids, shift, first), whole(tiny, ids, shift, first, True), atol=1e-2)


def test_a_delta_of_zero_gives_the_clean_text_and_others_do_not(tiny, coder, ready, noise):
    """Common random numbers: the same noise for clean and steered."""
    every = torch.arange(4)
    clean = iv.continue_texts(ready, every, None, noise)
    assert torch.equal(iv.continue_texts(ready, every, add(coder, [3] * 4, [0.0] * 4), noise), clean)
    assert not torch.equal(iv.continue_texts(ready, every, add(coder, [3] * 4, [4.0] * 4), noise), clean)
    assert not torch.equal(iv.continue_texts(ready, every, None, noise.flip(0)), clean)


def test_noise_is_gumbel_and_belongs_to_its_seed():
    two = gumbel([5, 6], 3, 2000)
    assert torch.equal(two[1], gumbel([6], 3, 2000)[0])
    assert float(two.mean()) == pytest.approx(0.5772, abs=0.05)  # mean and variance of the Gumbel distribution
    assert float(two.var()) == pytest.approx(np.pi**2 / 6, rel=0.06)
    logits = torch.tensor([2.0, 0.0, 1.0])
    drawn = (logits.log_softmax(-1) + gumbel(range(3000), 1, 3)[:, 0]).argmax(-1)
    share = torch.bincount(drawn, minlength=3) / 3000
    assert torch.allclose(share, logits.softmax(-1), atol=0.03)


def test_prompts_are_never_written(tiny, coder, noise):
    """The fault: a cache that one batch changes and the next one reads."""
    ready = iv.prefill(tiny, PROMPTS)
    before = [(k.clone(), v.clone()) for k, v in ready.kv]
    change = add(coder, LATENTS, DELTAS)
    first = iv.log_probs(ready, torch.tensor(ROWS), change)
    iv.continue_texts(ready, torch.tensor(ROWS), change, noise)
    assert all(torch.equal(a, k) and torch.equal(b, v) for (a, b), (k, v) in zip(before, ready.kv, strict=True))
    assert torch.equal(iv.log_probs(ready, torch.tensor(ROWS), change), first)


def test_rows_do_not_depend_on_their_batch(tiny, coder, ready, noise):
    change = add(coder, LATENTS, DELTAS)
    together = iv.log_probs(ready, torch.tensor(ROWS), change)
    texts = iv.continue_texts(ready, torch.tensor(ROWS), change, noise)
    for row, prompt in enumerate(ROWS):
        own = iv.prefill(tiny, [PROMPTS[prompt]])
        one = change.rows(torch.tensor([row]))
        assert torch.allclose(iv.log_probs(own, torch.tensor([0]), one)[0], together[row], atol=1e-4)
        assert torch.equal(iv.continue_texts(own, torch.tensor([0]), one, noise[prompt : prompt + 1])[0], texts[row])


def test_zero_ablation_is_encode_edit_decode_plus_error(tiny, coder, ready):
    acts = [capture(tiny, torch.tensor([p]), None, [HOOK])[HOOK][0] for p in PROMPTS]
    last = torch.stack([a[-1] for a in acts])
    found = coder.encode(last)
    active = found.latents[torch.searchsorted(found.rows, torch.arange(4))].tolist()  # one active latent of each prompt
    silent = next(f for f in range(24) if f not in found.latents.tolist())
    rows, latents = [0, 1, 2, 3, 0], [*active, silent]
    got = iv.log_probs(ready, torch.tensor(rows), iv.Ablation(coder, torch.tensor(latents)))
    for row, (prompt, latent) in enumerate(zip(rows, latents, strict=True)):
        h = last[prompt : prompt + 1]
        codes = coder.encode(h)
        error = h - coder.decode(codes)
        values = torch.where(codes.latents == latent, torch.zeros(()), codes.values)
        edited = coder.decode(type(codes)(codes.rows, codes.latents, values, codes.n_rows)) + error
        logits = whole(tiny, PROMPTS[prompt], (edited - h)[0], len(PROMPTS[prompt]) - 1)
        assert torch.allclose(got[row], logits.log_softmax(-1), atol=1e-4)
    clean = iv.log_probs(ready, torch.arange(4), None)
    assert torch.allclose(got[4], clean[0], atol=1e-5)
    assert all(not torch.allclose(got[i], clean[i], atol=1e-3) for i in range(4))


def test_ablation_during_generation_reads_the_steered_state_at_every_token(tiny, coder, ready, noise):
    latent = int(coder.encode(capture(tiny, torch.tensor([PROMPTS[0]]), None, [HOOK])[HOOK][0, -1:]).latents[0])
    got = iv.continue_texts(ready, torch.tensor([0]), iv.Ablation(coder, torch.tensor([latent])), noise)[0]
    ids, start = list(PROMPTS[0]), len(PROMPTS[0]) - 1

    def change(h):
        out = h.clone()
        codes = coder.encode(h[0, start:])
        for r, f, v in zip(codes.rows.tolist(), codes.latents.tolist(), codes.values.tolist(), strict=True):
            if f == latent:
                out[0, start + r] -= v * coder.w_dec[latent]
        return out

    for step in range(NEW):
        with torch.inference_mode(), edit(tiny, HOOK, change):
            logits = tiny.model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        ids.append(int((logits.log_softmax(-1) + noise[0, step]).argmax()))
    assert got.tolist() == ids[len(PROMPTS[0]) :]


def test_neurons_are_steered_where_they_write(tiny, ready):
    from latentbench.subject.coders.coder_spec import CoderSpec
    from latentbench.subject.coders.neurons import load

    neurons = load(CoderSpec(name="n", format="neurons", hookpoint="layers.2.mlp.down_proj:in", k=4), tiny)
    assert iv.writes_at(neurons) == "layers.2.mlp.down_proj"
    got = iv.log_probs(ready, torch.tensor([0]), add(neurons, [5], [3.0]))
    bump = torch.zeros(64)
    bump[5] = 3.0

    def change(h):
        out = h.clone()
        out[:, -1] += bump
        return out

    with torch.inference_mode(), edit(tiny, "layers.2.mlp.down_proj:in", change):
        logits = tiny.model(torch.tensor([PROMPTS[0]]), use_cache=False).logits[0, -1]
    assert torch.allclose(got[0], logits.log_softmax(-1), atol=1e-4)
    with pytest.raises(CoderError, match="absolute"):
        iv.Ablation(neurons, torch.tensor([5]))


def test_the_hidden_state_moves_by_delta_times_the_direction(tiny, coder, ready):
    """Direction norm: nothing is normalised on the way."""
    norms = {}
    for delta in (0.0, 2.0):
        seen = []
        with edit(tiny, "layers.2:in", lambda h, seen=seen: seen.append(h.clone()) or h):
            iv.log_probs(ready, torch.tensor([0]), add(coder, [3], [delta]))
        norms[delta] = seen[0]
    assert norms[2.0].shape[1] == 1
    assert torch.allclose((norms[2.0] - norms[0.0])[0, 0], 2 * coder.w_dec[3], atol=1e-5)


def test_gpt2_is_steered_by_the_same_hookpoint_name():
    from pathlib import Path

    from latentbench.models.language_model import Loaded
    from latentbench.models.source import ModelFiles
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=3, n_head=2, n_positions=32)).eval()
    loaded = Loaded(ModelFiles("gpt2", Path(), "0"), model.requires_grad_(False), None, "float32", torch.device("cpu"))
    prompts = [[1, 7, 9, 4], [1, 5]]
    direction = torch.linspace(-1, 1, 16)
    ready = iv.prefill(loaded, prompts)
    got = iv.log_probs(
        ready, torch.tensor([0, 1]), iv.Addition("layers.1", direction.repeat(2, 1), torch.tensor([3.0, 1.0]))
    )
    for row, delta in enumerate((3.0, 1.0)):
        logits = whole(loaded, prompts[row], delta * direction, len(prompts[row]) - 1)
        assert torch.allclose(got[row], logits.log_softmax(-1), atol=1e-4)


def test_kl_equals_scipy():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(9), 4), rng.dirichlet(np.ones(9), 4)
    found = iv.kl(torch.tensor(p).log(), torch.tensor(q).log())
    assert np.allclose(found.numpy(), entropy(p, q, axis=1))


def test_the_search_finds_the_strength_that_brute_force_finds(tiny, coder, ready):
    clean = iv.log_probs(ready, torch.arange(4), None)
    latents, calls = [3, 7, 15], []

    def mean_kl(latent, delta):
        return float(iv.kl(clean, iv.log_probs(ready, torch.arange(4), add(coder, [latent] * 4, [delta] * 4))).mean())

    def evaluate(asked):
        calls.append(len(asked))
        return [mean_kl(latents[i], d) for i, d in asked]

    targets = (0.1, 0.33, 1.0, 3.0)
    found = search(evaluate, targets, [5.0] * 3)
    assert len(calls) <= 10
    grid = np.geomspace(0.05, 20, 80)
    for latent, row in zip(latents, found, strict=True):
        for target, end in zip(targets, row, strict=True):
            if not end.reached:
                continue
            assert abs(end.kl / target - 1) <= 0.1
            assert mean_kl(latent, end.delta) == pytest.approx(end.kl, rel=1e-3)
    assert sum(end.reached for row in found for end in row) >= 9
    # The smallest strength at which a fine grid first reaches the target is where the search ended.
    curve = np.array([mean_kl(3, d) for d in grid])
    for target, end in zip(targets[:3], found[0][:3], strict=True):
        assert end.delta == pytest.approx(grid[np.argmax(curve >= target)], rel=0.15)


def test_a_strength_that_no_delta_reaches_is_recorded():
    def evaluate(asked):
        return [min(d * d, 0.5) if i == 0 else d * d for i, d in asked]

    low, high = search(evaluate, [0.1, 1.0], [1.0, 1.0])
    assert low[0].reached
    assert not low[1].reached
    assert low[1].kl == 0.5
    assert low[1].delta <= FARTHEST
    assert all(end.reached for end in high)
    assert high[1].delta == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("power", [1.0, 2.0, 4.0])
def test_the_search_needs_few_steps_for_any_scale_and_steepness(scale, power):
    found = search(lambda asked: [1.3 * d**power for _, d in asked], [0.1, 0.33, 1.0, 3.0], [scale])[0]
    for end in found:
        if end.reached:
            assert abs(end.kl / end.target - 1) <= 0.1
            assert end.steps <= 10
    if scale == 1.0:
        assert all(end.reached and end.steps <= 5 for end in found)


# --- the table of a suite -------------------------------------------------------------------------------------------

SETTINGS = {"modes": ("add", "ablate"), "kls": (0.1, 1.0), "prompts": 6, "explain": 3, "length": 16, "new_tokens": 3}


@pytest.fixture(scope="module")
def steered(tiny_folder, tmp_path_factory):
    """A suite with an intervention table of two coders at two layers, and the folder of finished latents."""
    folder = tmp_path_factory.mktemp("steered")
    coders = [directions("a", "layers.1", 4), directions("b", "layers.2", 4), neurons(4)]
    toy_recipe(folder, tiny_folder, coders, texts=120, explain=20, positives=2)
    recipe = anchored_recipe(load_recipe(folder / "recipe.yaml"), folder)
    suite = build_suite(recipe, folder, folder / "acts")
    intervene(suite, SteerSettings(**SETTINGS), ["a", "b"], work=folder / "work", device="cpu", say=_quiet)
    return load_suite(folder), folder / "work"


def _quiet(line):
    pass


def test_a_table_has_every_latent_strength_and_prompt(steered):
    suite, _ = steered
    for view in suite.latents("test", ["a", "b"]):
        rows = view.interventions
        assert {(s.mode, s.target) for s in rows} == {("add", 0.1), ("add", 1.0), ("ablate", None)}
        for target in (0.1, 1.0, None):
            test = [s for s in rows if s.role == "test" and s.target == target]
            assert len(test) == 6
            assert len({s.window for s in test}) == 6
            assert {s.window for s in test} <= {w.id for w in view.test if w.active}
            shown = [s for s in rows if s.role == "explain" and s.target == target]
            assert {s.window for s in shown} <= {w.id for w in view.explain}
            assert all(len(s.promoted) == len(s.suppressed) == 5 for s in rows)
            assert all(s.clean == s.steered == "" for s in shown)
            assert all(s.prompt for s in rows)
        strong = {s.kl for s in rows if s.target == 1.0}
        assert len(strong) == 1
        if next(s.reached for s in rows if s.target == 1.0):
            assert strong.pop() == pytest.approx(1.0, rel=0.1)
    assert suite.latents("test", ["n"])[0].interventions == ()
    summary = suite.interventions.meta["latents"]
    assert set(summary) == {v.id for v in suite.latents("test", ["a", "b"])}
    assert sum(x["reached"] for v in summary.values() for x in v["strengths"]) >= 0.9 * 3 * len(summary)


def test_prompts_end_at_the_first_activating_token_and_roles_share_no_text(steered):
    suite, _ = steered
    recipe = anchored_recipe(load_recipe(suite.path / "recipe.yaml"), suite.path)
    loaded = load(recipe.subject.model, "float32", "cpu")
    latents = suite.latents("test", ["a"])
    places = _places(suite, recipe, loaded, latents)
    for view in latents:
        found = prompts(view, places, 6, 3, 16, loaded.bos, 0)
        test, shown = ([p for p in found if p.role == role] for role in ("test", "explain"))
        assert len(test) == 6
        assert not any(p.start < t.end and t.start < p.end for p in shown for t in test)
        for p in found:
            first = next(t for t, a in enumerate(p.window.activations) if a > 0)
            assert p.ids[0] == loaded.bos
            assert len(p.ids) <= 17
            assert p.end == p.window.position + first + 1
            assert p.ids[-first - 1 :] == p.window.ids[: first + 1]
            place = places[p.window.id]
            assert list(p.ids[1:]) == place.ids[p.start - place.start : p.end - place.start].tolist()
        quintiles = [p.window.decile // 2 for p in test]
        assert min(quintiles.count(q) for q in range(5)) >= 1


def test_the_recorded_kl_and_text_are_those_of_an_own_computation(steered):
    suite, _ = steered
    recipe = anchored_recipe(load_recipe(suite.path / "recipe.yaml"), suite.path)
    loaded = load(recipe.subject.model, "float32", "cpu")
    view = suite.latents("test", ["b"])[1]
    places = _places(suite, recipe, loaded, [view])
    own = {p.window.id: p for p in prompts(view, places, 6, 3, 16, loaded.bos, 0)}
    direction = load_coder(recipe.coders[1].coder, loaded).direction(torch.tensor([view.index]))[0]
    assert float(direction.norm()) == pytest.approx(1.0, abs=1e-5)
    rows = [s for s in view.interventions if s.role == "test" and s.target == 1.0]
    kls = []
    for s in rows:
        ids = list(own[s.window].ids)
        last = len(ids) - 1

        def change(h, start=last, s=s):
            out = h.clone()
            out[:, start:] += s.delta * direction
            return out

        noise = gumbel([seed_for("steer-noise", 0, view.id, s.window)], 3, loaded.model.config.vocab_size)[0]
        texts = []
        for steer in (False, True):
            now = list(ids)
            for step in range(3):
                with torch.inference_mode(), edit(loaded, "layers.2", change if steer else (lambda h: h)):
                    logp = loaded.model(torch.tensor([now]), use_cache=False).logits[0, -1].log_softmax(-1)
                if step == 0:
                    kls.append(logp)
                now.append(int((logp + noise[step]).argmax()))
            texts.append(loaded.tokenizer.decode(now, skip_special_tokens=True))
        assert texts == [s.prompt + s.clean, s.prompt + s.steered]
    mean = np.mean([float(iv.kl(a, b)) for a, b in zip(kls[::2], kls[1::2], strict=True)])
    assert mean == pytest.approx(rows[0].kl, rel=1e-3)


def test_a_build_goes_on_with_the_latents_that_are_missing(steered, monkeypatch):
    suite, work = steered
    digest = suite.interventions.digest
    files = sorted(work.rglob("*.parquet"))
    assert len(files) == 8
    files[3].unlink()
    said = []
    again = intervene(suite, SteerSettings(**SETTINGS), ["a", "b"], work=work, device="cpu", say=said.append)
    assert again == digest
    assert said[0] == "8 latents, 7 of them done before"
    assert len(said) == 1 + 4  # the group of the missing one is computed whole, so that no last digit differs
    # Nothing is owed now: the subject does not run at all.
    monkeypatch.setattr("latentbench.suites.steer.intervene.SteerGroup", None)
    assert intervene(suite, SteerSettings(**SETTINGS), ["a", "b"], work=work, device="cpu", say=_quiet) == digest


def test_figures_joining_one_layers_scores_to_every_layers_latents(steered):
    """The fault: rows joined by latent number alone, so one layer's scores meet every layer's latents."""
    suite, _ = steered
    a, b = (suite.latents("test", [c]) for c in ("a", "b"))
    table = read_table(suite.path / "interventions.parquet", INTERVENTIONS).to_pylist()
    for view in (*a, *b):
        mine = [r for r in table if r["latent"] == view.id]
        assert {r["hookpoint"] for r in mine} == {view.row["hookpoint"]}
        assert [s.steered for s in view.interventions] == [r["steered"] for r in mine]
    assert {v.row["hookpoint"] for v in a} != {v.row["hookpoint"] for v in b}


def test_a_table_of_another_suite_or_layer_is_refused(steered, tmp_path):
    suite, _ = steered
    for name in ("latents.parquet", "windows.parquet", "manifest.json", "interventions.parquet", "interventions.json"):
        (tmp_path / name).write_bytes((suite.path / name).read_bytes())
    assert load_suite(tmp_path).interventions.digest == suite.interventions.digest
    meta = tmp_path / "interventions.json"
    good = meta.read_text(encoding="utf-8")
    meta.write_text(good.replace(suite.digest, "0" * 16), encoding="utf-8")
    with pytest.raises(DigestMismatch, match="made from a suite"):
        load_suite(tmp_path).latents()
    meta.write_text(good.replace(suite.interventions.digest, "1" * 16), encoding="utf-8")
    with pytest.raises(DigestMismatch, match="hashes to"):
        load_suite(tmp_path).latents()
    table = read_table(tmp_path / "interventions.parquet", INTERVENTIONS)
    moved = table.set_column(
        table.schema.get_field_index("hookpoint"), "hookpoint", pa.array(["layers.3"] * len(table), pa.string())
    )
    save_interventions(tmp_path, moved, {"suite": suite.digest})
    with pytest.raises(CorruptTable, match=r"layers\.3"):
        load_suite(tmp_path).latents()
    meta.unlink()
    assert load_suite(tmp_path).latents()[0].interventions == ()


def test_neurons_can_be_steered_and_not_ablated(steered, tmp_path):
    suite, _ = steered
    copy = tmp_path / "copy"
    shutil.copytree(suite.path, copy)
    (copy / "interventions.json").unlink()
    own = load_suite(copy)
    settings = SteerSettings(**{**SETTINGS, "modes": ("add",), "prompts": 3})
    intervene(own, settings, ["n"], 2, work=tmp_path / "work", device="cpu", say=_quiet)
    assert sum(bool(v.interventions) for v in load_suite(copy).latents("test", ["n"])) == 2
    with pytest.raises(CoderError, match="absolute"):
        intervene(own, SteerSettings(**SETTINGS), ["n"], 1, work=tmp_path / "work", device="cpu", say=_quiet)


def test_settings_and_suites_that_cannot_be_steered_are_refused():
    with pytest.raises(UnknownName, match="'ablate'"):
        SteerSettings(modes=("ablation",))
    with pytest.raises(SpecError, match="above 0"):
        SteerSettings(kls=(0.0,))
    with pytest.raises(DataError, match="nothing to steer"):
        intervene(load_suite("planted-1"), SteerSettings(), say=_quiet)


def test_a_run_scores_the_table_and_is_not_resumed_on_another_one(steered, tmp_path):
    suite, _ = steered
    copy = tmp_path / "suite"
    shutil.copytree(suite.path, copy)
    spec = {
        "name": "t",
        "suite": str(copy),
        "coders": ["a", "b"],
        "explainers": [
            "tokens",
            "empty",
            {"use": "output", "model": "lex"},
            {"use": "shuffled", "params": {"of": "tokens"}},
        ],
        "scorers": [{"use": "intervention", "params": {"also": [0.1]}}],
        "judges": [{"use": "mock:lexical", "label": "lex"}],
        "max_failures": 1.0,
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    quiet = Console(quiet=True)
    run, record = start(tmp_path / "spec.yaml", tmp_path / "run", tmp_path / "c.sqlite", quiet)
    assert record.identities.interventions == suite.interventions.digest
    assert {cell.scorer.steered for cell in record.cells} == {suite.interventions.digest}
    scores = pq.read_table(run / "scores.parquet").to_pandas()
    headline = scores[scores.metric == "nats"]
    assert len(headline) == 4 * 8
    assert (headline[headline.explainer == "empty"].value.dropna() == 0).all()
    told = headline[headline.explainer == "tokens"].set_index("latent").value
    assert told.abs().max() > 0
    judged = pq.read_table(run / "judgements.parquet").to_pandas()
    mine = judged[(judged.explainer == "tokens") & (judged.kind == "kl:1") & (judged.outcome == "ok")]
    assert mine.groupby("latent").score.mean().to_dict() == pytest.approx(told.dropna().to_dict())
    windows = {v.id: {s.window for s in v.interventions if s.role == "test"} for v in load_suite(copy).latents()}
    assert all(set(rows.item.dropna()) <= windows[latent] for latent, rows in judged.groupby("latent"))
    table = read_table(copy / "interventions.parquet", INTERVENTIONS)
    save_interventions(copy, table.slice(0, len(table) - 1), {"suite": suite.digest})
    with pytest.raises(RunError, match="interventions"):
        resume(run, tmp_path / "c.sqlite", quiet)


def test_a_median_of_an_even_number_is_the_mean_of_the_two_middle_values():
    for values in ([3.0], [1.0, 2.0], [9.0, 1.0, 4.0], [4.0, 1.0, 2.0, 100.0]):
        assert middle(torch.tensor(values)) == pytest.approx(median(values))
