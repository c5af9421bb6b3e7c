from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from latentbench.kernel.config import validate
from latentbench.kernel.errors import CoderError, CoderMismatch, SpecError, UnknownName
from latentbench.models.language_model import Loaded
from latentbench.subject.coders import saelens
from latentbench.subject.coders.coder_check import CoderWarning, check
from latentbench.subject.coders.coder_spec import CoderSpec, load_coder
from latentbench.subject.coders.quality import Quality, fvu
from latentbench.subject.coders.sae import Activation, Sae
from latentbench.subject.coders.sparse import CHUNK_ENTRIES, SparseLatents
from latentbench.subject.hooks import capture
from safetensors.torch import save_file
from torch import Tensor

D, N, K = 32, 48, 5
TEXT = ["The river rises in the mountains and flows past the old town. In 1897, a young engineer built a bridge."]


def weights(seed: int = 0, d: int = D, n: int = N) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {
        "W_enc": torch.randn(d, n, generator=g) / d**0.5,
        "b_enc": 0.1 * torch.randn(n, generator=g),
        "W_dec": torch.nn.functional.normalize(torch.randn(n, d, generator=g), dim=-1),
        "b_dec": 0.3 * torch.randn(d, generator=g),
    }


def acts(rows: int = 40, d: int = D, seed: int = 1) -> Tensor:
    return torch.randn(rows, d, generator=torch.Generator().manual_seed(seed))


def dense(found: SparseLatents, n: int = N) -> np.ndarray:
    out = np.zeros((found.n_rows or 0, n))
    for row, latent, value in zip(found.rows.tolist(), found.latents.tolist(), found.values.tolist(), strict=True):
        assert out[row, latent] == 0, "an entry is given twice"
        assert value > 0
        out[row, latent] = value
    return out


def reference(
    x: Tensor, w: dict[str, Tensor], activation: str, subtract: bool, k: int = K, threshold: Any = None
) -> np.ndarray:
    """A direct loop over rows in numpy."""
    x64, w64 = x.double().numpy(), {name: value.double().numpy() for name, value in w.items()}
    out = np.zeros((len(x64), w64["W_enc"].shape[1]))
    for i, row in enumerate(x64):
        pre = (row - w64["b_dec"] if subtract else row) @ w64["W_enc"] + w64["b_enc"]
        if activation == "topk":
            keep = np.argsort(-pre)[:k]
        elif activation == "groupmax":
            size = len(pre) // k
            keep = np.array([j * size + np.argmax(pre[j * size : (j + 1) * size]) for j in range(k)])
        elif activation == "relu":
            keep = np.arange(len(pre))
        else:
            keep = np.flatnonzero(pre > np.broadcast_to(np.asarray(threshold, dtype=float), pre.shape))
        for j in keep:
            out[i, j] = max(pre[j], 0.0)
    return out


def make(activation: Activation, subtract: bool = True, **more: Any) -> Sae:
    w = weights()
    return Sae(
        "c", "sae", "layers.1", "key", activation, w["W_enc"].T.contiguous(), w["b_enc"], w["W_dec"], w["b_dec"],
        b_pre=w["b_dec"] if subtract else None, **more,
    )  # fmt: skip


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize("activation", ["topk", "groupmax", "batchtopk", "relu", "jumprelu"])
def test_every_activation_equals_a_direct_loop(activation: Activation, subtract: bool) -> None:
    more: dict[str, Any] = {}
    k, threshold = K, None
    if activation in ("topk", "groupmax"):
        k = 6 if activation == "groupmax" else K
        more["k"] = k
    if activation == "jumprelu":
        # Some thresholds are negative: ReLU comes first, so nothing negative may pass.
        threshold = torch.linspace(-0.5, 1.0, N)
    if activation == "batchtopk":
        threshold = torch.tensor([0.7])
    more["threshold"] = threshold
    found = make(activation, subtract, **more).encode(acts())
    expected = reference(acts(), weights(), activation, subtract, k, None if threshold is None else threshold.numpy())
    assert (expected > 0).sum() > 40
    np.testing.assert_allclose(dense(found), expected, atol=1e-5)
    assert found.rows.tolist() == sorted(found.rows.tolist())


def test_topk_never_reports_a_negative_latent() -> None:
    coder = make("topk", k=N)
    found = coder.encode(acts())
    assert (found.values > 0).all()
    assert len(found.values) < 40 * N
    np.testing.assert_allclose(dense(found), reference(acts(), weights(), "relu", True), atol=1e-5)


def test_chunks_give_what_one_piece_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make("topk", k=K).encode(acts(100))
    monkeypatch.setattr("latentbench.subject.coders.sparse.CHUNK_ENTRIES", 7 * N)
    parts = make("topk", k=K).encode(acts(100))
    np.testing.assert_allclose(dense(parts), dense(whole), atol=1e-6)
    assert CHUNK_ENTRIES >= 1 << 20


def test_no_rows_give_no_latents() -> None:
    found = make("relu").encode(acts(0))
    assert (len(found.values), found.n_rows) == (0, 0)
    assert make("relu").decode(found).shape == (0, D)


def test_decode_is_the_weighted_sum_of_directions() -> None:
    coder = make("jumprelu", threshold=torch.full((N,), 2.5))  # many rows have no active latent at all
    found = coder.encode(acts())
    assert len(set(found.rows.tolist())) < 40
    expected = dense(found) @ weights()["W_dec"].numpy() + weights()["b_dec"].numpy()
    np.testing.assert_allclose(coder.decode(found).numpy(), expected, atol=1e-5)
    picked = torch.tensor([3, 0, 47])
    assert torch.equal(coder.direction(picked), weights()["W_dec"][picked])


@pytest.mark.parametrize("normalise", ["layer_norm", "constant_norm_rescale"])
def test_per_token_scaling_is_undone_after_decoding(normalise: Any) -> None:
    # An orthonormal coder without selection reconstructs exactly, so the scaling must cancel.
    eye = torch.eye(D)
    both = torch.cat([eye, -eye])
    coder = Sae(
        "c", "sae", "layers.1", "key", "relu", both, torch.zeros(2 * D), both, torch.zeros(D), normalise=normalise
    )
    x = 7 * acts() + 2
    np.testing.assert_allclose(coder.decode(coder.encode(x), x).numpy(), x.numpy(), atol=1e-3)
    scaled = coder.encode(x)
    doubled = coder.encode(2 * x)
    np.testing.assert_allclose(dense(scaled, 2 * D), dense(doubled, 2 * D), atol=1e-4)
    with pytest.raises(ValueError, match="needs the activations"):
        coder.decode(scaled)


def saelens_folder(folder: Path, w: dict[str, Tensor], dtype: torch.dtype = torch.float32, **config: Any) -> Path:
    folder.mkdir()
    save_file({name: value.to(dtype).contiguous() for name, value in w.items()}, folder / "sae_weights.safetensors")
    base = {"d_in": w["W_enc"].shape[0], "d_sae": w["W_enc"].shape[1], "architecture": "standard", "dtype": "float32"}
    base |= {
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "metadata": {"hook_name": "blocks.1.hook_resid_post"},
    }
    (folder / "cfg.json").write_text(json.dumps(base | config), encoding="utf-8")
    return folder


def spec(folder: Path, kind: str = "saelens", **more: Any) -> CoderSpec:
    return CoderSpec(name="c", format=kind, path=str(folder), **more)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_saelens_topk_round_trip(tiny: Loaded, tmp_path: Path, dtype: torch.dtype) -> None:
    folder = saelens_folder(tmp_path / "c", weights(), dtype, architecture="topk", k=K)
    coder = load_coder(spec(folder), tiny)
    stored = {name: value.to(dtype).float() for name, value in weights().items()}
    np.testing.assert_allclose(dense(coder.encode(acts())), reference(acts(), stored, "topk", True), atol=1e-5)
    assert (coder.hookpoint, coder.n_latents, coder.d_in, coder.d_model, coder.kind) == ("layers.1", N, D, D, "sae")


def test_what_is_saved_loads_as_the_same_coder(tiny: Loaded, tmp_path: Path) -> None:
    saelens.save(tmp_path / "c", weights(), K, "float16", {"hook_name": "layers.2.mlp", "l0": 5.0, "fvu": 0.5})
    coder = load_coder(spec(tmp_path / "c"), tiny, verify=False)
    half = {name: value.half().float() if value.ndim == 2 else value for name, value in weights().items()}
    np.testing.assert_allclose(dense(coder.encode(acts())), reference(acts(), half, "topk", True), atol=1e-5)
    assert coder.hookpoint == "layers.2.mlp"
    assert dict(coder.evals) == {"l0": 5.0, "fvu": 0.5}


def test_saelens_jumprelu_and_batchtopk_use_the_recorded_threshold(tiny: Loaded, tmp_path: Path) -> None:
    threshold = torch.linspace(0.1, 1.0, N)
    jump = saelens_folder(tmp_path / "j", weights() | {"threshold": threshold}, architecture="jumprelu")
    expected = reference(acts(), weights(), "jumprelu", True, threshold=threshold.numpy())
    np.testing.assert_allclose(dense(load_coder(spec(jump), tiny).encode(acts())), expected, atol=1e-5)
    batch = weights() | {"topk_threshold": torch.tensor(0.8, dtype=torch.float64)}
    folder = saelens_folder(tmp_path / "b", batch, torch.float64, architecture="batchtopk", k=5)
    expected = reference(acts(), weights(), "batchtopk", True, threshold=0.8)
    np.testing.assert_allclose(dense(load_coder(spec(folder), tiny).encode(acts())), expected, atol=1e-5)


def test_batchtopk_without_a_threshold_asks_for_one(tiny: Loaded, tmp_path: Path) -> None:
    folder = saelens_folder(tmp_path / "b", weights(), architecture="batchtopk", k=5)
    with pytest.raises(CoderError, match="threshold"):
        load_coder(spec(folder), tiny)
    found = load_coder(spec(folder, threshold=0.8), tiny).encode(acts())
    np.testing.assert_allclose(dense(found), reference(acts(), weights(), "batchtopk", True, threshold=0.8), atol=1e-5)


def test_saelens_norm_rescaling_selects_by_scaled_activations(tiny: Loaded, tmp_path: Path) -> None:
    w = weights()
    norms = torch.linspace(0.2, 3.0, N)
    w["W_dec"] = w["W_dec"] * norms[:, None]
    folder = saelens_folder(tmp_path / "c", w, architecture="topk", k=K, rescale_acts_by_decoder_norm=True)
    coder = load_coder(spec(folder), tiny)
    scaled = weights() | {"W_enc": w["W_enc"] * norms, "b_enc": w["b_enc"] * norms}
    np.testing.assert_allclose(dense(coder.encode(acts())), reference(acts(), scaled, "topk", True), atol=1e-5)
    # The contribution of a latent to the reconstruction, value x row, must be what SAELens computes: (pre n / n) (n w).
    np.testing.assert_allclose(coder.direction(torch.arange(N)).norm(dim=-1).numpy(), np.ones(N), atol=1e-5)


@pytest.mark.parametrize("said", [{"activation_fn_str": "topk"}, {"architecture": "topk"}])
def test_old_saelens_configurations_are_read(tiny: Loaded, tmp_path: Path, said: dict[str, str]) -> None:
    folder = saelens_folder(tmp_path / "c", weights())
    old = {"d_in": D, "d_sae": N, **said, "activation_fn_kwargs": {"k": K}}
    old |= {"hook_point": "blocks.2.hook_mlp_out", "normalize_activations": False}
    (folder / "cfg.json").write_text(json.dumps(old), encoding="utf-8")
    coder = load_coder(spec(folder), tiny)
    assert coder.hookpoint == "layers.2.mlp"
    np.testing.assert_allclose(dense(coder.encode(acts())), reference(acts(), weights(), "topk", True), atol=1e-5)


def test_an_activation_function_that_is_not_the_architectures_is_refused(tiny: Loaded, tmp_path: Path) -> None:
    folder = saelens_folder(tmp_path / "c", weights())
    old = {"d_in": D, "d_sae": N, "hook_point": "blocks.2.hook_mlp_out", "activation_fn_str": "tanh-relu"}
    (folder / "cfg.json").write_text(json.dumps(old), encoding="utf-8")
    with pytest.raises(CoderError, match="activation_fn 'tanh-relu' is not read"):
        load_coder(spec(folder), tiny)


@pytest.mark.parametrize(
    ("hook", "place"),
    [
        ("blocks.1.hook_resid_post", "layers.1"),
        ("blocks.1.hook_resid_pre", "layers.1:in"),
        ("blocks.1.hook_mlp_out", "layers.1.mlp"),
        ("blocks.1.hook_attn_out", "layers.1.self_attn"),
        ("layers.3", "layers.3"),
    ],
)
def test_transformer_lens_names_are_translated(tiny: Loaded, tmp_path: Path, hook: str, place: str) -> None:
    folder = saelens_folder(tmp_path / "c", weights(), metadata={"hook_name": hook})
    assert load_coder(spec(folder), tiny).hookpoint == place


def test_untranslatable_and_missing_places_ask_for_a_hookpoint(tiny: Loaded, tmp_path: Path) -> None:
    folder = saelens_folder(tmp_path / "c", weights(), metadata={"hook_name": "blocks.1.attn.hook_pattern"})
    with pytest.raises(CoderError, match="hookpoint"):
        load_coder(spec(folder), tiny)
    assert load_coder(spec(folder, hookpoint="layers.1"), tiny).hookpoint == "layers.1"
    folder = saelens_folder(tmp_path / "d", weights(), metadata={})
    with pytest.raises(CoderError, match="hookpoint"):
        load_coder(spec(folder), tiny)


def test_saelens_transcoder_does_not_subtract_the_output_bias(tiny: Loaded, tmp_path: Path) -> None:
    w = weights()
    w |= {"W_dec": torch.randn(N, 20), "b_dec": torch.randn(20)}
    folder = saelens_folder(tmp_path / "c", w, architecture="transcoder", d_out=20, apply_b_dec_to_input=False)
    coder = load_coder(spec(folder), tiny)
    assert (coder.kind, coder.d_in, coder.d_model) == ("transcoder", D, 20)
    np.testing.assert_allclose(dense(coder.encode(acts())), reference(acts(), weights(), "relu", False), atol=1e-5)


def sparsify_folder(folder: Path, w: dict[str, Tensor], **config: Any) -> Path:
    folder.mkdir(parents=True)
    names = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "W_dec": w["W_dec"], "b_dec": w["b_dec"]}
    save_file({name: value.contiguous() for name, value in names.items()}, folder / "sae.safetensors")
    (folder / "cfg.json").write_text(
        json.dumps({"d_in": D, "num_latents": N, "k": K, "normalize_decoder": True} | config), encoding="utf-8"
    )
    return folder


def test_sparsify_round_trip(tiny: Loaded, tmp_path: Path) -> None:
    coder = load_coder(spec(sparsify_folder(tmp_path / "layers.2.mlp", weights()), "sparsify"), tiny)
    assert coder.hookpoint == "layers.2.mlp"
    np.testing.assert_allclose(dense(coder.encode(acts())), reference(acts(), weights(), "topk", True), atol=1e-5)


def test_sparsify_width_from_expansion_factor_and_groupmax(tiny: Loaded, tmp_path: Path) -> None:
    w = weights(n=64)
    folder = sparsify_folder(tmp_path / "layers.1", w, num_latents=0, expansion_factor=2, k=8, activation="groupmax")
    coder = load_coder(spec(folder, "sparsify"), tiny)
    np.testing.assert_allclose(dense(coder.encode(acts()), 64), reference(acts(), w, "groupmax", True, 8), atol=1e-5)


def test_sparsify_transcoder_reads_the_modules_input(tiny: Loaded, tmp_path: Path) -> None:
    coder = load_coder(spec(sparsify_folder(tmp_path / "layers.2.mlp", weights(), transcode=True), "sparsify"), tiny)
    assert (coder.kind, coder.hookpoint) == ("transcoder", "layers.2.mlp:in")
    np.testing.assert_allclose(dense(coder.encode(acts())), reference(acts(), weights(), "topk", False), atol=1e-5)


def test_a_coder_of_another_width_names_both_numbers_and_the_place(tiny: Loaded, tmp_path: Path) -> None:
    folder = saelens_folder(tmp_path / "c", weights(d=24), architecture="topk", k=K)
    with pytest.raises(CoderMismatch, match=r"width 24, but layers\.1 of .* has width 32"):
        load_coder(spec(folder), tiny)


def truncate(folder: Path) -> None:
    file = next(folder.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-500])


def drop_k(folder: Path) -> None:
    config = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
    del config["k"]
    (folder / "cfg.json").write_text(json.dumps(config), encoding="utf-8")


def break_json(folder: Path) -> None:
    (folder / "cfg.json").write_text('{"d_in": 32,', encoding="utf-8")


def wrong_shape(folder: Path) -> None:
    config = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
    key = "d_sae" if "d_sae" in config else "num_latents"
    (folder / "cfg.json").write_text(json.dumps(config | {key: N + 1}), encoding="utf-8")


def no_weights(folder: Path) -> None:
    next(folder.glob("*.safetensors")).unlink()


@pytest.mark.parametrize("kind", ["saelens", "sparsify"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "damaged or incomplete"),
        (drop_k, "lacks k"),
        (break_json, "cannot be read as JSON"),
        (wrong_shape, "should be"),
        (no_weights, "holds no sae"),
    ],
)
def test_damaged_folders_are_refused_with_one_message(
    tiny: Loaded, tmp_path: Path, kind: str, damage: Callable[[Path], None], message: str
) -> None:
    if kind == "saelens":
        folder = saelens_folder(tmp_path / "layers.1", weights(), architecture="topk", k=K)
    else:
        folder = sparsify_folder(tmp_path / "layers.1", weights())
    load_coder(spec(folder, kind), tiny)
    damage(folder)
    with pytest.raises(CoderError, match=message):
        load_coder(spec(folder, kind), tiny)


def test_missing_folders_formats_and_fields_are_named(tiny: Loaded, tmp_path: Path) -> None:
    with pytest.raises(CoderError, match="no coder folder"):
        load_coder(spec(tmp_path / "none"), tiny)
    with pytest.raises(CoderError, match="no coder folder"):
        load_coder(CoderSpec(name="c", format="saelens", path="coders/none"), tiny)
    with pytest.raises(UnknownName, match="saelens"):
        load_coder(spec(tmp_path, "sealens"), tiny)
    with pytest.raises(SpecError, match="needs k"):
        validate(CoderSpec, {"name": "n", "format": "neurons", "hookpoint": "layers.1"}, "here")


def test_the_key_changes_with_what_is_computed_and_with_nothing_else(tiny: Loaded, tmp_path: Path) -> None:
    def key(name: str, w: dict[str, Tensor], **config: Any) -> str:
        return load_coder(spec(saelens_folder(tmp_path / name, w, architecture="topk", **config)), tiny).key

    first = key("a", weights(), k=K)
    assert key("b", weights(), k=K, device="cuda", metadata={"hook_name": "layers.1", "note": "x"}) == first
    others = [
        key("c", weights(), k=K + 1),
        key("d", weights(seed=9), k=K),
        key("e", weights(), k=K, apply_b_dec_to_input=False),
    ]
    others.append(key("f", weights(), k=K, metadata={"hook_name": "layers.2"}))
    assert len({first, *others}) == 5


def test_neurons_are_the_largest_absolute_activations(tiny: Loaded) -> None:
    place = "layers.2.mlp.down_proj:in"
    coder = load_coder(CoderSpec(name="n", format="neurons", hookpoint=place, k=7), tiny)
    x = capture(tiny, torch.arange(3, 30)[None], None, [place])[place][0]
    assert (x < 0).any()
    expected = np.zeros(x.shape)
    for i, row in enumerate(x.abs().numpy()):
        keep = np.argsort(-row)[:7]
        expected[i, keep] = row[keep]
    np.testing.assert_allclose(dense(coder.encode(x), 64), expected, atol=1e-6)
    assert (coder.kind, coder.n_latents, coder.d_model) == ("neurons", 64, 32)
    down = tiny.model.model.layers[2].mlp.down_proj
    one = torch.zeros(64)
    one[5] = 1
    np.testing.assert_allclose(coder.direction(torch.tensor([5]))[0].numpy(), down(one).numpy(), atol=1e-6)
    with pytest.raises(CoderError, match="sign"):
        coder.decode(coder.encode(x))


def test_neurons_need_the_input_of_a_linear_map(tiny: Loaded) -> None:
    for place in ("layers.2.mlp", "layers.2", "layers.2:in"):
        with pytest.raises(CoderError, match="linear map"):
            load_coder(CoderSpec(name="n", format="neurons", hookpoint=place, k=7), tiny)


def test_random_directions_have_norm_one_and_follow_their_seed(tiny: Loaded, tmp_path: Path) -> None:
    def coder(seed: int, centre: str | None = None) -> Any:
        given = CoderSpec(name="r", format="random", hookpoint="layers.1", k=6, n_latents=50, seed=seed, centre=centre)
        return load_coder(given, tiny)

    a, again, b = coder(3), coder(3), coder(4)
    every = a.direction(torch.arange(50))
    np.testing.assert_allclose(every.norm(dim=-1).numpy(), np.ones(50), atol=1e-6)
    assert torch.equal(every, again.direction(torch.arange(50)))
    assert a.key == again.key != b.key
    projections = acts() @ every.T
    found = dense(a.encode(acts()), 50)
    for row, line in zip(projections.numpy(), found, strict=True):
        keep = np.argsort(-row)[:6]
        np.testing.assert_allclose(line[keep], np.maximum(row[keep], 0), atol=1e-5)
        assert (np.delete(line, keep) == 0).all()
    saelens.save(tmp_path / "c", weights(), K, "float32", {"hook_name": "layers.1"})
    centred = coder(3, str(tmp_path / "c"))
    shifted = dense(a.encode(acts() - weights()["b_dec"]), 50)
    np.testing.assert_allclose(dense(centred.encode(acts()), 50), shifted, atol=1e-5)
    assert centred.key != a.key


def test_quality_over_batches_equals_one_piece() -> None:
    coder = make("topk", k=K)
    x = acts(90) + 4
    running = Quality(D, N)
    for part in x.split([10, 50, 30]):
        found = coder.encode(part)
        running.add(part, found, coder.decode(found))
    latents = dense(coder.encode(x))
    assert running.fvu == pytest.approx(fvu(x, coder.decode(coder.encode(x))), rel=1e-5)
    assert running.l0 == pytest.approx((latents > 0).sum() / 90)
    assert running.dead == pytest.approx(((latents > 0).sum(0) == 0).mean())
    np.testing.assert_allclose(running.mean.numpy(), x.double().mean(0).numpy(), atol=1e-6)
    assert fvu(x, x) == 0
    assert fvu(x, x.mean(0).expand_as(x)) == pytest.approx(1)


def test_recorded_quality_is_measured_again_and_a_deviation_reported(tiny: Loaded, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    saelens.save(folder, weights(), K, "float32", {"hook_name": "layers.1"})
    report = check(load_coder(spec(folder), tiny), tiny)
    assert report.ok
    assert not report.expected
    assert report.fvu is not None
    assert report.tokens > 400
    (folder / "eval.json").write_text(
        json.dumps({"check_l0": report.l0, "check_fvu": report.fvu, "l0": 900, "fvu": 9}), encoding="utf-8"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_coder(spec(folder), tiny)
    (folder / "eval.json").write_text(
        json.dumps({"check_l0": report.l0, "check_fvu": report.fvu / 2}), encoding="utf-8"
    )
    with pytest.warns(CoderWarning, match=r"FVU is .* recorded is .* hookpoint"):
        load_coder(spec(folder), tiny)
    (folder / "eval.json").write_text(json.dumps({"l0": 50}), encoding="utf-8")
    with pytest.warns(CoderWarning, match="L0"):
        load_coder(spec(folder), tiny)


def test_a_check_on_other_texts_ignores_numbers_of_the_standard_ones(tiny: Loaded, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    saelens.save(folder, weights(), K, "float32", {"hook_name": "layers.1"})
    (folder / "eval.json").write_text(json.dumps({"check_l0": 1.0, "check_fvu": 0.01}), encoding="utf-8")
    coder = load_coder(spec(folder), tiny, verify=False)
    assert len(check(coder, tiny).problems) == 2
    assert check(coder, tiny, TEXT).ok
