"""Subjects of every family that is cheap to make: hookpoints, final norm and unembedding, before any corpus is run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from latentbench.corpora.contexts import ContextSettings
from latentbench.corpora.corpus_spec import JsonlCorpus
from latentbench.kernel.errors import CoderError, ModelError, SpecError
from latentbench.lab.coders.feed import token_rows
from latentbench.models.engine.engine import Engine
from latentbench.models.language_model import Loaded
from latentbench.subject.activations.activations import collect
from latentbench.subject.coders.coder_check import check
from latentbench.subject.coders.coder_report import coder_report
from latentbench.subject.coders.coder_spec import CoderSpec, load_coder
from latentbench.subject.coders.quality import fvu
from latentbench.subject.hooks import capture, d_in, edit, site, stack_name
from latentbench.subject.interventions import Addition, log_probs, prefill
from latentbench.subject.unembedding import unembedding
from latentbench.suites.build.promoted import promoted

from tests.builders.families import FAMILIES, WIDTH, subject
from tests.conftest import SENTENCES

BEYOND_THE_ENGINE = ("openai-gpt", "mpt", "bloom", "mamba", "mamba2", "falcon_mamba", "recurrent_gemma", "rwkv")
"""Families whose keys and values cannot be gone on from in this process: they keep a state, or count their own positions."""

IDS = torch.tensor([[3, 9, 11, 4, 30], [3, 9, 5, 6, 7], [40, 41, 42, 43, 44]])


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> Loaded:
    return subject(request.param)


def _mlp(loaded: Loaded) -> str | None:
    """The input of the map that the neurons of block 0 feed: the last matrix of the block that writes the residual stream."""
    block = loaded.model.base_model.get_submodule(stack_name(loaded))[0]
    found = None
    for name, module in block.named_modules():
        if type(module).__name__ not in ("Linear", "BitLinear", "Conv1D"):
            continue
        weight = module.weight
        if weight.shape[0] != weight.shape[1]:
            out = weight.shape[0] if isinstance(module, torch.nn.Linear) else weight.shape[1]
            found = name if out == WIDTH else found
    return f"layers.0.{found}:in" if found else None


def test_blocks_are_read_token_by_token_and_padding_on_the_right_changes_nothing(family: Loaded) -> None:
    found = capture(family, IDS, None, ["layers.0", "layers.1"])
    alone = capture(family, IDS[:1, :3], None, ["layers.0", "layers.1"])
    for name, value in found.items():
        assert value.shape == (3, 5, WIDTH)
        assert torch.allclose(alone[name][0], value[0, :3], atol=1e-4)
    assert d_in(family, "layers.0") == WIDTH
    assert not torch.allclose(found["layers.0"], found["layers.1"])


def test_the_lens_behind_the_last_block_is_the_subjects_own(family: Loaded) -> None:
    """Of a direction far longer than anything else in the stream, the logits are the lens on it."""
    object.__setattr__(family, "tokenizer", range(64))
    directions = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(1))
    lens = unembedding(family)
    effects = promoted(family, directions, 3, lens)
    last = f"layers.{len(family.model.base_model.get_submodule(stack_name(family))) - 1}"
    for row, direction in enumerate(directions):
        with edit(family, last, lambda h, d=direction: torch.zeros_like(h)), torch.no_grad():
            clean = family.model(input_ids=IDS, use_cache=False).logits[0, -1].float()
        with edit(family, last, lambda h, d=direction: 1e4 * d.expand_as(h)), torch.no_grad():
            steered = family.model(input_ids=IDS, use_cache=False).logits[0, -1].float()
        # A bounded head (Gemma's cap) is monotone, so that ranks are kept as long as nothing is bounded: compare unbounded.
        cap = getattr(family.model.config, "final_logit_softcapping", None) or (
            15.0 if "NanoChat" in type(family.model).__name__ else None
        )
        if cap:
            clean, steered = (cap * torch.atanh((t / cap).clamp(-0.999999, 0.999999)) for t in (clean, steered))
        scores = steered - clean if not isinstance(lens.norm, torch.nn.Identity) else steered
        assert set(effects.promoted[row]) == set(scores.topk(3).indices.tolist())


def test_a_coder_on_every_kind_of_hookpoint_goes_through_a_pass(family: Loaded, tmp_path: Path) -> None:
    places = ["layers.0", "layers.1", *filter(None, [_mlp(family)])]
    coders = [
        load_coder(CoderSpec(name=f"c{i}", format="random", hookpoint=place, k=2, n_latents=8), family)
        for i, place in enumerate(places)
    ]
    if len(places) > 2:
        coders.append(load_coder(CoderSpec(name="neurons", format="neurons", hookpoint=places[2], k=2), family))
    object.__setattr__(family, "tokenizer", _Letters())
    (tmp_path / "corpus.jsonl").write_text(
        '{"text": "a tale of two cities"}\n{"text": "all is well that ends"}\n', "utf-8"
    )
    corpus = JsonlCorpus(path=(str(tmp_path / "corpus.jsonl"),))
    store = collect(family, coders, corpus, tmp_path / "store", ContextSettings(context=12, min_context=4), batch=3)
    first = torch.tensor([[0, *store.tokens[:12].tolist()]])
    for coder in coders:
        expected = coder.encode(capture(family, first, None, [coder.hookpoint])[coder.hookpoint][0, 1:])
        dense = torch.zeros(12, coder.n_latents).index_put((expected.rows, expected.latents), expected.values.float())
        table = store.coder(coder.name)
        latent = np.repeat(np.arange(table.n_latents), np.diff(table.indptr))
        here = table.position < 12
        got = torch.zeros(12, coder.n_latents)
        power = np.array([table.power(i) for i in range(table.n_latents)])
        values = np.ldexp(table.value[here].astype(np.float32), power[latent[here]])
        got[table.position[here].astype(np.int64), latent[here]] = torch.from_numpy(values)
        assert torch.allclose(got, dense, rtol=2e-3, atol=1e-6)


def test_an_intervention_reaches_every_row(family: Loaded) -> None:
    for place in ("layers.0", *filter(None, [_mlp(family)])):
        width = d_in(family, place)
        shift = torch.randn(width, generator=torch.Generator().manual_seed(2))
        with edit(family, place, lambda h, s=shift: h + s):
            moved = capture(family, IDS, None, ["layers.0"])["layers.0"]
        clean = capture(family, IDS, None, [place, "layers.0"])
        assert ((moved - clean["layers.0"]).norm(dim=-1) > 1e-4).all()
        if place == "layers.0":
            assert torch.allclose(moved, clean["layers.0"] + shift, atol=1e-5)


def test_a_family_is_steered_in_this_process_or_refused_in_one_sentence(family: Loaded) -> None:
    if family.files.reference in BEYOND_THE_ENGINE:
        with pytest.raises(ModelError, match="cannot be run in this process"):
            Engine(family)
        return
    prompts = prefill(family, [[3, 9, 11, 4], [3, 9, 5]])
    change = Addition(
        "layers.0", torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(3)), torch.tensor([0.0, 2.0])
    )
    found = log_probs(prompts, torch.tensor([0, 1]), change)
    with torch.no_grad():
        whole = [
            torch.log_softmax(family.model(input_ids=IDS[i : i + 1, :n]).logits[0, -1].float(), -1)
            for i, n in ((0, 4), (1, 3))
        ]
    assert torch.allclose(found[0], whole[0], atol=1e-3)
    assert not torch.allclose(found[1], whole[1], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "place", "said"),
    [
        ("mixtral", "layers.0.mlp.experts.act_fn", "other activations for the same tokens|not one row of activations"),
        ("mamba", "layers.0.mixer.conv1d", "never reached|not one row of activations per token"),
        ("qwen3", "layers.0.self_attn.q_norm", "not one row of activations per token"),
    ],
)
def test_a_place_without_a_row_per_token_is_refused_before_the_pass(name: str, place: str, said: str) -> None:
    with pytest.raises(CoderError, match=said):
        load_coder(CoderSpec(name="c", format="random", hookpoint=place, k=2, n_latents=8), subject(name))


def test_a_module_that_is_not_run_is_refused_before_the_pass() -> None:
    loaded = subject("llama")
    loaded.model.model.layers[0].spare = torch.nn.Linear(4, 4)
    with pytest.raises(CoderError, match=r"never reached layers\.0\.spare"):
        d_in(loaded, "layers.0.spare")


def test_an_encoder_is_no_subject() -> None:
    from latentbench.models.source import ModelFiles
    from transformers import BertConfig, BertLMHeadModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    config = BertConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24)
    model = BertLMHeadModel(config).eval()
    for parameter in model.parameters():
        parameter.data *= 10
    bert = Loaded(ModelFiles("bert", Path(), "0"), model, None, "float32", torch.device("cpu"))
    with pytest.raises(CoderError, match="no decoder"):
        d_in(bert, "layers.1")


def test_rows_in_another_order_than_the_tokens_are_refused() -> None:
    """As experts get them: sorted by whom they were sent to, as many as there are tokens."""
    loaded = subject("llama")

    class Sorted(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    class Routed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.expert = Sorted()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            flat = x.reshape(-1, x.shape[-1])
            self.expert(flat[flat[:, 0].argsort()])
            return x

    loaded.model.model.layers[0].mlp = Routed()
    assert d_in(loaded, "layers.0.mlp") == WIDTH
    with pytest.raises(CoderError, match="another order"):
        d_in(loaded, "layers.0.mlp.expert")


def test_unknown_places_name_the_near_ones_of_the_family() -> None:
    with pytest.raises(CoderError, match=r"did you mean layers\.0\.fc2"):
        site(subject("opt"), "layers.0.fc3:in")
    with pytest.raises(CoderError, match=r"layers\.0\.mixer\.out_proj"):
        site(subject("mamba"), "layers.0.mixr.out_proj")


def test_a_projection_before_the_unembedding_is_said_and_not_guessed() -> None:
    """OPT-350m keeps embeddings of another width."""
    narrow = subject("opt", word_embed_proj_dim=8)
    with pytest.raises(ModelError, match="unembedding of width 8 and a residual stream of width 16"):
        unembedding(narrow)


class _Letters:
    """A tokenizer of letters, as far as contexts and a pass need one."""

    bos_token_id = 0

    def __call__(self, texts: list[str], **kwargs: object) -> dict[str, list[list[int]]]:
        return {"input_ids": [[3 + ord(c) % 60 for c in text] for text in texts]}


@pytest.mark.parametrize("name", ["gpt2", "opt", "gpt_bigcode", "llama"])
def test_no_coder_is_measured_at_positions_that_the_subject_does_not_have(name: str, tiny: Loaded) -> None:
    limit = "n_positions" if name.startswith("gpt") else "max_position_embeddings"
    short = subject(name, tiny.tokenizer, **{limit: 24, "vocab_size": len(tiny.tokenizer)})
    place = CoderSpec(name="c", format="random", hookpoint="layers.1", k=2, n_latents=8)
    coder = load_coder(place, short)
    text = " ".join(SENTENCES)
    ids = tiny.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) > 3 * 24
    x = torch.cat(
        [
            capture(short, torch.tensor([[short.bos, *ids[at : at + 23]]]), None, ["layers.1"])["layers.1"][0, 1:]
            for at in range(0, len(ids), 23)
        ]
    )
    report = check(coder, short, [text])
    assert report.tokens == len(ids)
    assert report.fvu == pytest.approx(fvu(x, coder.decode(coder.encode(x), x)), rel=1e-4)
    assert coder_report(place, short, [text], context=23).context == 23
    with pytest.raises(SpecError, match="a context of 24 tokens needs 25 positions; the subject has 24"):
        coder_report(place, short, [text], context=24)
    assert len(next(token_rows(short, [text], 23))) == 24
    with pytest.raises(SpecError, match="a context of 24 tokens needs 25 positions; the subject has 24"):
        next(token_rows(short, [text], 24))
