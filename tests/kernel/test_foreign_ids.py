"""Ids of other tools are read as what they say, and stand for one coder or for none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from latentbench.kernel.errors import DataError, UnknownName
from latentbench.kernel.foreign_ids import (
    ATTENTION,
    HEADS,
    MLP,
    MLP_IN,
    NEURONS,
    RESIDUAL,
    REST,
    ForeignId,
    KnownCoder,
    ModelSite,
    coder_at,
    parse_id,
    site_of,
)

CODERS = (
    KnownCoder("res9", "layers.9", "sae"),
    KnownCoder("mlp9", "layers.9.mlp", "sae"),
    KnownCoder("neurons9", "layers.9.mlp.down_proj:in", "neurons"),
    KnownCoder("random9", "layers.9", "random"),
    KnownCoder("tc4", "layers.4.mlp:in", "transcoder"),
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("res9/12", ForeignId("res9", 12)),
        ("layers.9_latent12", ForeignId("layers.9", 12)),
        ("layers.9.mlp_latent12", ForeignId("layers.9.mlp", 12)),
        (".model.layers.9_feature12", ForeignId(".model.layers.9", 12)),
        ("L9/12", ForeignId("L9", 12)),
        ("gpt2-small/9-res-jb/12", ForeignId("gpt2-small/9-res-jb", 12)),
        ("m/9-latent2-x/12", ForeignId("m/9-latent2-x", 12)),
        (" 12\n", ForeignId("", 12)),
        ("a/b/0", ForeignId("a/b", 0)),
        ("res9", None),
        ("", None),
        ("x/12345678901", None),
    ],
)
def test_ids_of_other_tools(text: str, found: ForeignId | None) -> None:
    assert parse_id(text) == found


@pytest.mark.parametrize(
    ("place", "site"),
    [
        ("layers.9", ModelSite(9, RESIDUAL)),
        ("model.layers.9", ModelSite(9, RESIDUAL)),
        (".model.layers.9", ModelSite(9, RESIDUAL)),
        ("transformer.h.9", ModelSite(9, RESIDUAL)),
        ("blocks.9.hook_resid_post", ModelSite(9, RESIDUAL)),
        ("blocks.9.hook_resid_pre", ModelSite(8, RESIDUAL)),
        ("blocks.0.hook_resid_pre", None),
        ("blocks.9.attn.hook_z", ModelSite(9, HEADS)),
        ("layers.9.self_attn.o_proj:in", ModelSite(9, HEADS)),
        ("model.layers.9.output", ModelSite(9, RESIDUAL)),
        ("model.layers.9.self_attn.o_proj.input", ModelSite(9, HEADS)),
        ("model.layers.9.post_feedforward_layernorm.output", ModelSite(9, "post_feedforward_layernorm")),
        ("layers.9.mlp", ModelSite(9, MLP)),
        ("blocks.9.ln2.hook_normalized", ModelSite(9, MLP_IN)),
        ("layers.9.mlp.down_proj:in", ModelSite(9, NEURONS)),
        ("9-res-jb", ModelSite(9, RESIDUAL)),
        ("gpt2-small/9-res-jb", ModelSite(9, RESIDUAL)),
        ("20-gemmascope-att-16k", ModelSite(20, ATTENTION)),
        ("3-gemmascope-transcoder-16k", ModelSite(3, MLP_IN)),
        ("L9", ModelSite(9, "")),
        ("layer_9", ModelSite(9, "")),
        ("9", ModelSite(9, "")),
        ("res9", None),
        ("words", None),
    ],
)
def test_places_of_other_tools(place: str, site: ModelSite | None) -> None:
    assert site_of(place) == site


@pytest.mark.parametrize(
    ("place", "coder", "rule"),
    [
        ("res9", "res9", "name"),
        ("random9", "random9", "name"),
        ("model/res9", "res9", "name"),
        ("layers.9", "res9", "module"),
        ("9-res-jb", "res9", "module"),
        ("blocks.9.hook_mlp_out", "mlp9", "module"),
        ("blocks.9.mlp.hook_post", "neurons9", "module"),
        ("layers.4.mlp", "tc4", "module"),
        ("L4", "tc4", "layer"),
    ],
)
def test_a_place_stands_for_one_coder(place: str, coder: str, rule: str) -> None:
    assert coder_at(place, CODERS) == (coder, rule)


@pytest.mark.parametrize("place", ["layers.3", "9-att-x", "blocks.9.attn.hook_z", "unheard"])
def test_a_place_without_a_coder(place: str) -> None:
    assert coder_at(place, CODERS) is None


@pytest.mark.parametrize("place", ["L9", "9", ""])
def test_two_coders_are_no_guess(place: str) -> None:
    with pytest.raises(DataError, match="res9, mlp9"):
        coder_at(place, CODERS)
    assert coder_at(place, CODERS, {place: "mlp9"}) == ("mlp9", "mapping")
    assert coder_at(place, CODERS, {REST: "mlp9"}) == ("mlp9", "mapping")


def test_a_mapping_names_a_coder_of_the_suite() -> None:
    with pytest.raises(UnknownName, match="res9"):
        coder_at("x", CODERS, {"x": "res8"})


def test_an_index_alone_is_of_the_only_coder() -> None:
    assert coder_at("", [KnownCoder("planted", "", "planted")]) == ("planted", "only coder")
    assert coder_at("", [CODERS[0], CODERS[3]]) == ("res9", "only coder")


@given(st.text(min_size=1).filter(lambda t: t.strip() == t and t), st.integers(0, 10**9))
def test_what_this_project_writes_is_read_back(name: str, index: int) -> None:
    assert parse_id(f"{name}/{index}") == ForeignId(name, index)


@given(st.text())
def test_any_text_is_read_or_is_none(text: str) -> None:
    found = parse_id(text)
    assert found is None or found.index >= 0
    site_of(text)
