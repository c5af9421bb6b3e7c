"""`bench coder check`: every number equals a direct computation, and what is off is said with both numbers and exit code 2."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from latentbench.cli import app
from latentbench.kernel.errors import CoderError, CoderMismatch
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.coder_report import CoderReport, coder_report
from latentbench.subject.coders.coder_spec import CoderSpec, load_coder
from latentbench.subject.hooks import capture, edit
from safetensors.torch import save_file
from typer.testing import CliRunner

from tests.conftest import SENTENCES

D, N, K = 32, 64, 12
TEXTS = [f"{a} {b}" for i, a in enumerate(SENTENCES) for b in SENTENCES[i + 1 :]][:20]


@pytest.fixture(scope="module")
def taught(tiny: Loaded) -> Loaded:
    """The tiny subject after some steps on these texts, so that it has something to lose."""
    model = copy.deepcopy(tiny.model).requires_grad_(True)
    rows = [tiny.tokenizer(t, add_special_tokens=False)["input_ids"][:40] for t in TEXTS]
    width = min(map(len, rows))
    ids = torch.tensor([[tiny.tokenizer.bos_token_id, *row[:width]] for row in rows])
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(40):
        optimiser.zero_grad()
        logits = model(ids).logits[:, :-1]
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimiser.step()
    return replace(tiny, model=model.eval().requires_grad_(False))


def folder(path: Path, *, noise: float = 0.05, k: int = K, hook: str = "blocks.1.hook_resid_post", **more: Any) -> Path:
    """A TopK coder of directions and their opposites that reconstructs roughly, with what it records."""
    path.mkdir(parents=True)
    g = torch.Generator().manual_seed(1)
    both = torch.cat([torch.eye(D), -torch.eye(D)]) + noise * torch.randn(N, D, generator=g)
    tensors = {"W_enc": both.T, "b_enc": torch.zeros(N), "W_dec": both, "b_dec": torch.zeros(D)}
    save_file({name: t.contiguous().clone() for name, t in tensors.items()}, path / "sae_weights.safetensors")
    config = {"architecture": "topk", "k": k, "d_in": D, "d_sae": N, "normalize_activations": "none"}
    config |= {"metadata": {"hook_name": hook, **more.pop("metadata", {})}} | more
    (path / "cfg.json").write_text(json.dumps(config), encoding="utf-8")
    return path


def measured(path: Path, loaded: Loaded, **more: Any) -> CoderReport:
    spec = CoderSpec(name="c", format="saelens", path=str(path))
    return coder_report(spec, loaded, TEXTS, tokens=1500, context=40, **more)


def row(report: CoderReport, name: str) -> Any:
    return next(m for m in report.numbers if m.name == name)


@pytest.mark.parametrize("bos", [True, False])
def test_every_number_equals_a_direct_computation(taught: Loaded, tmp_path: Path, bos: bool) -> None:
    tiny = taught
    report = measured(folder(tmp_path / "c"), tiny, bos=bos)
    coder = load_coder(CoderSpec(name="c", format="saelens", path=str(tmp_path / "c")), tiny, verify=False)
    assert report.bos is bos
    head = [tiny.tokenizer.bos_token_id] if bos else []
    acts, rebuilt, active, fired, used = [], [], 0, torch.zeros(N), 0
    losses = dict.fromkeys(("clean", "spliced", "zero"), 0.0)
    predicted, read = 0, 0
    for text in TEXTS:
        ids = tiny.tokenizer(text, add_special_tokens=False)["input_ids"]
        for start in range(0, len(ids), 40):
            part = ids[start : start + min(40, 1500 - read)]
            if len(part) < 8:
                continue
            read += len(part)
            row_ids = torch.tensor([[*head, *part]])
            x = capture(tiny, row_ids, None, ["layers.1"])["layers.1"][0, len(head) :]
            found = coder.encode(x)
            acts.append(x)
            rebuilt.append(coder.decode(found, x))
            active += len(found.values)
            fired[found.latents] = 1
            used += len(part)

            def spliced(h: torch.Tensor) -> torch.Tensor:
                out = h.clone()
                out[0, len(head) :] = coder.decode(coder.encode(h[0, len(head) :]), h[0, len(head) :])
                return out

            def zero(h: torch.Tensor) -> torch.Tensor:
                out = h.clone()
                out[0, len(head) :] = 0
                return out

            for name, change in (("clean", lambda h: h), ("spliced", spliced), ("zero", zero)):
                with torch.no_grad(), edit(tiny, "layers.1", change):
                    logits = tiny.model(row_ids).logits[0, :-1]
                losses[name] += float(torch.nn.functional.cross_entropy(logits, row_ids[0, 1:], reduction="sum"))
            predicted += row_ids.shape[1] - 1
    x, y = torch.cat(acts).double(), torch.cat(rebuilt).double()
    assert row(report, "L0").tokens == used
    assert row(report, "L0").value == pytest.approx(active / used)
    assert row(report, "FVU").value == pytest.approx(float((x - y).square().sum() / (x - x.mean(0)).square().sum()))
    assert row(report, "dead").value == pytest.approx(float((fired == 0).float().mean()))
    share = (losses["zero"] - losses["spliced"]) / (losses["zero"] - losses["clean"])
    recovered = row(report, "loss recovered")
    assert recovered.value == pytest.approx(share, rel=1e-3)
    assert recovered.tokens == predicted
    assert recovered.low < recovered.value < recovered.high
    assert report.documents >= 12


def test_what_is_recorded_stands_beside_it_and_what_is_off_is_a_problem(taught: Loaded, tmp_path: Path) -> None:
    tiny = taught
    path = folder(tmp_path / "c")
    plain = measured(path, tiny)
    assert plain.ok
    l0, fvu = row(plain, "L0").value, row(plain, "FVU").value
    (path / "eval.json").write_text(json.dumps({"l0": l0, "fvu": fvu, "recovered_zero": 0.5}), encoding="utf-8")
    same = measured(path, tiny)
    assert [m.verdict for m in same.numbers] == [
        "ok",
        "ok",
        "",
        "ok" if row(same, "loss recovered").value > 0.3 else "off",
    ]
    (path / "eval.json").write_text(json.dumps({"l0": 5 * l0, "fvu": 1e-4, "recovered_zero": 1.9}), encoding="utf-8")
    off = measured(path, tiny)
    assert [m.verdict for m in off.numbers] == ["off", "off", "", "off"]
    assert f"recorded is {5 * l0:.3g}" in off.problems[0]
    assert len(off.problems) == 3


def test_a_coder_that_reconstructs_nothing_is_off_without_any_record(tiny: Loaded, tmp_path: Path) -> None:
    path = folder(tmp_path / "c", noise=30.0)
    report = measured(path, tiny, loss=False)
    assert row(report, "FVU").verdict == "off"
    assert "worse than the mean activation" in report.problems[0]
    assert [m.name for m in report.numbers] == ["L0", "FVU", "dead"]


def test_a_transcoder_is_measured_where_it_writes(taught: Loaded, tmp_path: Path) -> None:
    tiny = taught
    path = folder(tmp_path / "c", hook="layers.1.mlp:in", architecture="transcoder", d_out=D)
    tensors = {"W_enc": torch.eye(D).repeat(1, 2), "b_enc": torch.zeros(N), "b_dec": torch.zeros(D)}
    tensors |= {"W_dec": torch.zeros(N, D)}
    save_file({n: t.contiguous().clone() for n, t in tensors.items()}, path / "sae_weights.safetensors")
    report = measured(path, tiny)
    assert (report.reads, report.writes) == ("layers.1.mlp:in", "layers.1.mlp")
    # It writes zeros: as good as the ablation, and as far off as the output is large.
    assert row(report, "loss recovered").value == pytest.approx(0, abs=1e-6)
    assert row(report, "FVU").value >= 1
    narrow = tensors | {"W_dec": torch.zeros(N, 20), "b_dec": torch.zeros(20)}
    save_file({n: t.contiguous().clone() for n, t in narrow.items()}, path / "sae_weights.safetensors")
    config = json.loads((path / "cfg.json").read_text(encoding="utf-8"))
    (path / "cfg.json").write_text(json.dumps(config | {"d_out": 20}), encoding="utf-8")
    with pytest.raises(CoderMismatch, match="writes somewhere else"):
        measured(path, tiny)


def test_where_zeros_cost_nothing_it_is_said(tiny: Loaded, tmp_path: Path) -> None:
    report = measured(folder(tmp_path / "c"), tiny)  # a subject that learned nothing
    assert [m.name for m in report.numbers] == ["L0", "FVU", "dead"]
    assert "no loss to recover" in report.remarks[0]


def test_neurons_have_an_l0_and_no_reconstruction(tiny: Loaded) -> None:
    spec = CoderSpec(name="n", format="neurons", hookpoint="layers.2.mlp.down_proj:in", k=7)
    report = coder_report(spec, tiny, TEXTS[:3], tokens=200, context=40)
    assert [m.name for m in report.numbers] == ["L0", "dead"]
    assert row(report, "L0").value == pytest.approx(7)
    assert row(report, "L0").low is None, "three documents have no interval"
    assert "no interval" in report.table().note


def test_the_command_prints_a_table_of_80_columns_json_and_an_exit_code(taught: Loaded, tmp_path: Path) -> None:
    tiny_folder = tmp_path / "subject"
    taught.model.save_pretrained(tiny_folder)
    taught.tokenizer.save_pretrained(tiny_folder)
    path = folder(tmp_path / "c", metadata={"model_name": "gpt2-small", "context_size": 16})
    corpus = tmp_path / "text.jsonl"
    corpus.write_text("".join(json.dumps({"text": t}) + "\n" for t in TEXTS), encoding="utf-8")
    words = ["coder", "check", str(path), "--subject", str(tiny_folder), "--corpus", str(corpus), "--tokens", "600"]
    words += ["--context", "40", "--format", "saelens"]
    done = CliRunner().invoke(app, words, env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    assert max(len(line) for line in done.output.splitlines() if not line.startswith("warning")) <= 80
    assert "another model" in done.output
    assert "contexts of 16 tokens" in done.output
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert found["ok"]
    assert found["shapes"] == {"d_in": D, "n_latents": N, "d_model": D}
    assert [n["name"] for n in found["numbers"]] == ["L0", "FVU", "dead", "loss recovered"]
    assert all(np.isfinite(n["value"]) for n in found["numbers"])
    (path / "eval.json").write_text(json.dumps({"l0": 900.0}), encoding="utf-8")
    done = CliRunner().invoke(app, [*words, "--json"])
    assert isinstance(done.exception, CoderError)
    assert done.exception.exit_code == 2
    assert not json.loads(done.stdout)["ok"]
    for wrong in (["--bos", "maybe"], ["--dtype", "float31"]):
        assert "unknown" in str(CliRunner().invoke(app, [*words, *wrong]).exception)


def test_without_a_subject_the_one_that_the_coder_names_is_read(tiny_folder: Path, tmp_path: Path) -> None:
    path = folder(tmp_path / "c")
    words = ["coder", "check", str(path), "--format", "saelens", "--tokens", "200"]
    assert "--subject" in str(CliRunner().invoke(app, words).exception)
    named = folder(tmp_path / "d", metadata={"model_name": str(tiny_folder)})
    done = CliRunner().invoke(app, ["coder", "check", str(named), *words[3:], "--json"])
    report = json.loads(done.stdout)
    assert report["subject"] == str(tiny_folder)
    assert report["numbers"][0]["tokens"] == 200
