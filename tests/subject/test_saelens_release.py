"""The door through sae-lens: its own object, fetched by release and id, gives the latents that the library gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from latentbench.kernel.config import validate
from latentbench.kernel.errors import CoderError, FetchError, SpecError
from latentbench.models.language_model import Loaded
from latentbench.subject.coders import saelens_release
from latentbench.subject.coders.coder_spec import CoderSpec, load_coder

D, N = 32, 48
HOOK = "blocks.1.hook_resid_post"
LINEAR = {
    "standard": {"normalize_activations": "layer_norm"},
    "gated": {},
    "topk": {"k": 5, "rescale_acts_by_decoder_norm": True},
    "jumprelu": {"normalize_activations": "constant_norm_rescale"},
    "transcoder": {"d_out": 20, "apply_b_dec_to_input": False},
    "skip_transcoder": {"d_out": D, "apply_b_dec_to_input": False},
    "jumprelu_transcoder": {"d_out": 20, "apply_b_dec_to_input": False},
    "jumprelu_skip_transcoder": {"d_out": D, "apply_b_dec_to_input": False},
}


def test_without_sae_lens_the_message_says_how_to_get_it(tiny: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saelens_release.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CoderError, match="pip install sae-lens"):
        load_coder(CoderSpec(name="c", format="saelens-release", release="a", sae_id="b"), tiny)
    with pytest.raises(SpecError, match="needs release, sae_id"):
        validate(CoderSpec, {"name": "c", "format": "saelens-release"}, "here")


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Saves a coder as the library does, and lets its download find it under `org/coders` and the architecture."""
    sae_lens = pytest.importorskip("sae_lens")
    from huggingface_hub.errors import LocalEntryNotFoundError
    from sae_lens.loading import pretrained_sae_loaders as loaders

    def download(repo_id: str, filename: str, **more: Any) -> str:
        assert repo_id == "org/coders"
        path = tmp_path / filename
        if not path.exists():
            raise LocalEntryNotFoundError("not there")
        return str(path)

    monkeypatch.setattr(loaders, "hf_hub_download", download)

    def save(architecture: str, hook: str = HOOK, seed: int = 0, **settings: Any) -> Any:
        from sae_lens.registry import get_sae_class

        cls, config = get_sae_class(architecture)
        theirs = cls(config(d_in=D, d_sae=N, **settings))
        generator = torch.Generator().manual_seed(seed)
        for name, tensor in theirs.state_dict().items():
            drawn = torch.randn(tensor.shape, generator=generator) * 0.4
            tensor.copy_(drawn.abs() if "threshold" in name else drawn)
        theirs.cfg.metadata.hook_name = hook
        theirs.cfg.metadata.model_name = "gpt2"
        theirs.save_model(tmp_path / architecture)
        return theirs

    save.library = sae_lens  # type: ignore[attr-defined]
    return save


def opened(architecture: str, tiny: Loaded, **more: Any) -> Any:
    given = CoderSpec(name="c", format="saelens-release", release="org/coders", sae_id=architecture, **more)
    return load_coder(given, tiny, verify=False)


@pytest.mark.parametrize("architecture", LINEAR)
def test_every_architecture_of_one_token_gives_what_the_library_gives(
    saved: Any, tiny: Loaded, monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    theirs = saved(architecture, **LINEAR[architecture])
    monkeypatch.setattr("latentbench.subject.coders.sparse.CHUNK_ENTRIES", 7 * N)
    ours = opened(architecture, tiny)
    x = 3 * torch.randn(40, D, generator=torch.Generator().manual_seed(1)) + 1
    with torch.no_grad():
        expected, rebuilt = theirs.encode(x), theirs(x)
    found = ours.encode(x)
    dense = torch.zeros(40, N)
    dense[found.rows, found.latents] = found.values
    assert (expected > 0).sum() > 40
    torch.testing.assert_close(dense, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.decode(found, x), rebuilt, atol=1e-3, rtol=1e-3)
    assert ours.hookpoint == "layers.1"
    assert ours.kind == ("transcoder" if "transcoder" in architecture else "sae")
    with torch.no_grad():
        one = torch.zeros(2, N).index_put((torch.tensor([0, 1]), torch.tensor([3, 0])), torch.tensor(1.0))
        theirs.run_time_activation_norm_fn_out = lambda out: out  # a direction is on the scale that the coder sees
        direction = theirs.decode(one) - theirs.decode(0 * one)
    torch.testing.assert_close(ours.direction(torch.tensor([3, 0])), direction, atol=1e-5, rtol=1e-4)
    assert ours.provenance.model == "gpt2"


def test_the_key_is_release_id_version_and_weights(saved: Any, tiny: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    saved("standard")
    first = opened("standard", tiny).key
    assert opened("standard", tiny).key == first
    elsewhere = opened("standard", tiny, hookpoint="layers.2").key
    monkeypatch.setattr(saelens_release, "version", lambda name: "99.0")
    later = opened("standard", tiny).key
    monkeypatch.undo()
    assert len({first, elsewhere, later}) == 3


def test_other_weights_are_another_key(saved: Any, tiny: Loaded) -> None:
    saved("standard")
    first = opened("standard", tiny).key
    saved("standard", seed=1)
    assert opened("standard", tiny).key != first


@pytest.mark.parametrize("architecture", ["abstopk", "matching_pursuit"])
def test_what_is_no_function_of_one_token_above_zero_is_refused(saved: Any, tiny: Loaded, architecture: str) -> None:
    saved(architecture, **({"k": 5} if architecture == "abstopk" else {}))
    with pytest.raises(
        CoderError, match=rf"{architecture}.* is not read: {saelens_release.REFUSED[architecture][:20]}"
    ):
        opened(architecture, tiny)


def test_a_release_an_id_and_a_download_that_are_not_there_are_messages(saved: Any, tiny: Loaded) -> None:
    with pytest.raises(CoderError, match="not found in pretrained SAEs directory"):
        load_coder(CoderSpec(name="c", format="saelens-release", release="no-such", sae_id="x"), tiny)
    with pytest.raises(CoderError, match="Valid IDs"):
        load_coder(CoderSpec(name="c", format="saelens-release", release="gpt2-small-res-jb", sae_id="x"), tiny)
    with pytest.raises(FetchError, match="cannot fetch org/coders/nothing"):
        opened("nothing", tiny)


def test_what_the_directory_expects_is_what_is_recorded(saved: Any) -> None:
    found = saelens_release.recorded("gemma-scope-2-4b-pt-transcoders-all", "layer_0_width_16k_l0_big")
    assert found == {"l0": 60.0}
    assert saelens_release.model_of("gemma-scope-2-4b-pt-transcoders-all") == "google/gemma-3-4b-pt"
    assert saelens_release.recorded("no-such", "x") == {}


def test_processing_in_the_configuration_is_honoured(saved: Any, tiny: Loaded, tmp_path: Path) -> None:
    saved("standard")
    path = tmp_path / "standard/cfg.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["metadata"]["model_from_pretrained_kwargs"] = {"a_word_of_tomorrow": True}
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CoderError, match="a_word_of_tomorrow"):
        opened("standard", tiny)
    assert opened("standard", tiny, as_is=True).n_latents == N
