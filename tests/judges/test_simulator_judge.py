"""The simulator judge with a random adapter and random heads on the tiny model: the numbers are those of a plain forward pass."""

from __future__ import annotations

import asyncio
import shutil
import threading
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from latentbench.judges.cache.cached_judge import CachedJudge, ReplyCache
from latentbench.judges.reference import load_judge
from latentbench.judges.simulator import artifact, lora
from latentbench.judges.simulator.artifact import Calibration, Scaling
from latentbench.judges.simulator.heads import Heads
from latentbench.judges.simulator.simulator_judge import SimulatorJudge, SimulatorParams
from latentbench.kernel.errors import DigestMismatch, ModelError, SpecError, UnknownName
from latentbench.kernel.forms import Levels, YesNo
from latentbench.kernel.requests import Capability, Outcome, Simulate
from latentbench.kernel.trial import Seen, Trial
from latentbench.lab.simulator.batch import collate, encode
from latentbench.lab.simulator.lessons import Example, TextWindow
from latentbench.lab.simulator.model import Trainee
from latentbench.models.language_model import load
from latentbench.runs.record import read_record
from latentbench.runs.run import start
from latentbench.suites.store import load_suite
from rich.console import Console

LAYERS, RANK, ALPHA = 2, 4, 8.0
CALIBRATION = Calibration(window=Scaling(scale=0.5, bias=-0.25), token=Scaling(scale=0.25, bias=0.5))
SHAPE = {"n_heads": 4, "ff": 16, "reach": 3}

LONG = "Names of rivers, lakes and other bodies of water, and of the places that lie on them"
EXPLANATIONS = (LONG, "Numbers that say how much of something there is, but not years", "x", "")
WINDOWS = (
    ("The", " river", " rises", " in", " the", " mountains", "."),
    ("In", " 18", "97", ",", " a young", " engineer"),
    ("x",),
    (" caf", "é", "", " ☃", "\n", "日本"),
    ("", " and", " the", " price", " of", " wheat", " rose", " by", " twelve", " percent", " in", " three", " months"),
)


def shown(tokens: tuple[str, ...]) -> Seen:
    return Seen(tokens)


def question(z: str, *windows: tuple[str, ...]) -> Simulate:
    return Simulate(Trial("0", "detection", YesNo(), z, tuple(map(shown, windows)), (1,) * len(windows)))


def random_adapter(model, generator) -> dict[str, torch.Tensor]:  # type: ignore[no-untyped-def]
    lora.attach(model, RANK, ALPHA, generator, LAYERS)
    return {
        k: (torch.randn(v.shape, generator=generator) * 0.1).bfloat16().float() for k, v in lora.state(model).items()
    }


def random_heads() -> Heads:
    generator = torch.Generator().manual_seed(7)
    heads = Heads(32, **SHAPE)
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.normal_(0, 0.4, generator=generator)
    return heads


@pytest.fixture(scope="module")
def folder(tiny_folder, tmp_path_factory):  # type: ignore[no-untyped-def]
    found = tmp_path_factory.mktemp("simulator")
    loaded = load(str(tiny_folder), dtype="float32", device="cpu")
    adapter = random_adapter(loaded.model, torch.Generator().manual_seed(0))
    identity = loaded.files.identity
    artifact.save(found, str(tiny_folder), identity, LAYERS, RANK, ALPHA, adapter, random_heads(), CALIBRATION)
    return found


@pytest.fixture(scope="module")
def judge(folder):  # type: ignore[no-untyped-def]
    return load_judge(f"simulator:{folder}?dtype=float32&device=cpu&batch=3")


@pytest.fixture
def copied(folder, tmp_path):  # type: ignore[no-untyped-def]
    return shutil.copytree(folder, tmp_path / "copied")


def naive(tiny, folder, z: str, tokens: tuple[str, ...]) -> tuple[list[float], float]:  # type: ignore[no-untyped-def]
    """One window in a pass of its own: weights added by hand, all layers run, the hidden state of layer 2 read."""
    from safetensors.torch import load_file

    tensors = load_file(folder / "adapter.safetensors")
    model = load(tiny.files.reference, dtype="float32", device="cpu").model
    for name in {k.rpartition(".")[0] for k in tensors}:
        layer = model.get_submodule(f"model.{name}")
        layer.weight += ALPHA / RANK * tensors[f"{name}.B"].float() @ tensors[f"{name}.A"].float()
    text = "".join(tokens)
    text = text if text[0].isspace() else " " + text
    ids, spans = [], []
    for n, part in enumerate((f"Description: {z}\nText:", text, "\nMatch:")):
        found = tiny.tokenizer(part, add_special_tokens=False, return_offsets_mapping=True)
        ids += found["input_ids"]
        if n == 0:
            first = len(ids)
        if n == 1:
            spans = found["offset_mapping"]
    hidden = model.model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[LAYERS][:, first:]
    heads = random_heads()
    with torch.no_grad():
        n = hidden.shape[1]
        token, window = heads(hidden, torch.ones(1, n, dtype=torch.bool), torch.tensor([n - 1]))
    p = 1 / (1 + np.exp(-(0.25 * token[0].numpy().astype(float) + 0.5)))
    out, start_at = [], len(text) - len("".join(tokens))
    for t in tokens:
        own = [p[i] for i, (a, b) in enumerate(spans) if a < start_at + len(t) and b > start_at and t]
        out.append(max(own, default=0.0))
        start_at += len(t)
    return out, float(1 / (1 + np.exp(-(0.5 * float(window[0]) - 0.25))))


async def test_shared_and_batched_is_what_each_window_alone_gives(judge, tiny, folder):
    requests = [question(z, *WINDOWS) for z in EXPLANATIONS] + [question(LONG, WINDOWS[1])]
    replies = await judge.answer(requests)
    assert judge.can == {Capability.SIMULATE}
    seen = set()
    for request, reply in zip(requests, replies, strict=True):
        assert reply.ok
        for w, tokens, window in zip(request.trial.windows, reply.tokens, reply.windows, strict=True):
            expected, whole = naive(tiny, folder, request.trial.explanation, w.tokens)
            assert tokens == pytest.approx(expected, abs=1e-4)
            assert window == pytest.approx(whole, abs=1e-4)
            seen.add(round(whole, 3))
    assert len(seen) > 12  # the random simulator does tell windows and explanations apart
    assert sum(r.usage.tokens_cached for r in replies) > 100


@pytest.mark.parametrize("params", [{"batch": 1}, {"batch": 64}, {"share": False}, {"memory": 1e-6}])
async def test_batch_sharing_and_memory_change_nothing(judge, folder, params):
    other = SimulatorJudge(str(folder), SimulatorParams(dtype="float32", device="cpu", **params))
    requests = [question(z, *WINDOWS) for z in EXPLANATIONS]
    for a, b in zip(await judge.answer(requests), await other.answer(requests), strict=True):
        assert a.windows == pytest.approx(b.windows, abs=1e-5)
        for x, y in zip(a.tokens, b.tokens, strict=True):
            assert x == pytest.approx(y, abs=1e-5)
    assert judge.identity == other.identity


async def test_order_and_company_change_nothing_and_asking_again_gives_the_same_bytes(judge):
    requests = [question(z, w) for z in EXPLANATIONS for w in WINDOWS]
    there = await judge.answer(requests)
    again = await judge.answer(requests)
    back = (await judge.answer(requests[::-1]))[::-1]
    alone = (await judge.answer(requests[:1]))[0]
    assert [r.tokens for r in there] == [r.tokens for r in again]
    for a, b in zip(there, back, strict=True):
        assert a.windows == pytest.approx(b.windows, abs=1e-5)
    assert alone.windows == pytest.approx(there[0].windows, abs=1e-5)
    assert alone.usage.tokens_cached == 0


async def test_what_is_asked_twice_is_computed_once(judge, monkeypatch):
    rows = []
    forward = judge.reader.engine.forward

    def counted(pieces, keep="nothing"):  # type: ignore[no-untyped-def]
        if keep == "nothing":
            rows.extend(pieces)
        return forward(pieces, keep)

    monkeypatch.setattr(judge.reader.engine, "forward", counted)
    marked = Seen(WINDOWS[0], (), (True, *(False,) * 6))
    fuzzing = Simulate(Trial("0", "fuzzing", YesNo(), LONG, (marked,), (0,)))
    a, b, c = await judge.answer([question(LONG, WINDOWS[0]), fuzzing, question(LONG, WINDOWS[0], WINDOWS[1])])
    assert len(rows) == 2
    assert a.tokens == b.tokens == c.tokens[:1]
    assert b.usage.tokens_cached == b.usage.tokens_in == a.usage.tokens_in
    assert a.usage.seconds > 0
    assert b.usage.seconds == 0


async def test_no_prefix_outlives_its_call_and_the_model_is_not_changed(judge):
    before = {k: v.clone() for k, v in judge.reader.engine.model.state_dict().items()}
    first = await judge.answer([question(LONG, w) for w in WINDOWS])
    await judge.answer([question(z, WINDOWS[0]) for z in EXPLANATIONS])
    assert [r.windows for r in await judge.answer([question(LONG, w) for w in WINDOWS])] == [r.windows for r in first]
    assert not judge.reader.shared._kept
    assert all(torch.equal(v, before[k]) for k, v in judge.reader.engine.model.state_dict().items())


async def test_an_explanation_that_does_not_fit_is_skipped_with_its_counts(judge):
    long, fine = await judge.answer([question("river " * 2100, WINDOWS[0]), question("river", WINDOWS[0])])
    assert long.outcome is Outcome.SKIPPED
    assert long.tokens is None
    assert "tokens and a window of" in long.error
    assert "context of 2048; nothing was cut" in long.error
    assert int(long.error.split("explanation of ")[1].split(" ")[0]) > 2100
    assert fine.ok


async def test_a_window_without_text_is_one_clear_outcome(judge):
    empty, none, fine = await judge.answer(
        [
            question("river", WINDOWS[0], ("", "")),
            Simulate(Trial("0", "t", YesNo(), "river")),
            question("river", WINDOWS[0]),
        ]
    )
    assert (empty.outcome, none.outcome) == (Outcome.SKIPPED, Outcome.SKIPPED)
    assert empty.error == "window 2 of 2 has no text: nothing can be simulated"
    assert none.error == "the question shows no window"
    assert fine.ok


async def test_a_call_that_is_given_up_stops_between_two_batches(judge, monkeypatch):
    started, passes = threading.Event(), []
    forward = judge.reader.engine.forward

    def slow(pieces, keep="nothing"):  # type: ignore[no-untyped-def]
        started.set()
        passes.append(len(pieces))
        threading.Event().wait(0.05)
        return forward(pieces, keep)

    monkeypatch.setattr(judge.reader.engine, "forward", slow)
    call = asyncio.create_task(judge.answer([question(f"{z} {n}", *WINDOWS) for z in EXPLANATIONS for n in range(9)]))
    await asyncio.to_thread(started.wait)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    monkeypatch.undo()
    assert (await judge.answer([question("river", WINDOWS[0])]))[0].ok
    assert len(passes) < 10  # of some seventy


async def test_detection_fuzzing_and_simulation_of_a_window_are_one_paid_call(judge, tmp_path):
    cache = ReplyCache(tmp_path / "replies.sqlite")
    cached = CachedJudge(judge, cache)
    w, marks = WINDOWS[0], (True, False, True, False, False, False, False)
    detection = Trial("0", "detection", YesNo(), LONG, (Seen(w),), (1,))
    fuzzing = Trial("0", "fuzzing", YesNo(), LONG, (Seen(w, (), marks),), (0,))
    simulation = Trial("0", "simulation", Levels(tuple("0123"), "token"), LONG, (Seen(w),), (1,), ((0.0,) * 7,))
    replies = [(await cached.answer([Simulate(q)]))[0] for q in (detection, fuzzing, simulation)]
    assert [r.cached for r in replies] == [False, True, True]
    assert replies[0].tokens == replies[1].tokens == replies[2].tokens
    other = await cached.answer([Simulate(replace(detection, explanation="another"))])
    assert not other[0].cached
    assert cache.stats().replies == 2
    cache.close()


async def test_the_judge_says_what_the_model_said_in_training(tiny, tiny_folder, tmp_path):
    """Training packs the windows of an explanation into one row behind adapters that are not merged."""
    trainee = Trainee(load(str(tiny_folder), dtype="float32", device="cpu"), LAYERS, RANK, ALPHA, seed=3)
    generator = torch.Generator().manual_seed(4)
    drawn = {k: torch.randn(v.shape, generator=generator) * 0.1 for k, v in lora.state(trainee.model).items()}
    lora.load_state(trainee.model, {k: v.bfloat16().float() for k, v in drawn.items()})
    with torch.no_grad():
        for parameter in trainee.heads.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    windows = tuple(TextWindow(w, np.zeros(len(w), bool), "active") for w in WINDOWS)
    row = encode(tiny.tokenizer, Example("family", "concept", LONG, windows))
    with torch.no_grad():
        token, window = trainee.logits(collate([row]))
    artifact.save(
        tmp_path, str(tiny_folder), tiny.files.identity, LAYERS, RANK, ALPHA, lora.state(trainee.model), trainee.heads
    )
    judge = load_judge(f"simulator:{tmp_path}?dtype=float32&device=cpu")
    reply = (await judge.answer([question(LONG, *WINDOWS)]))[0]
    assert reply.windows == pytest.approx(torch.sigmoid(window).tolist(), abs=1e-4)
    for found, logits, ranges in zip(reply.tokens, token, row.ranges, strict=True):
        p = torch.sigmoid(logits)
        assert found == pytest.approx([float(p[a:b].max()) if b > a else 0.0 for a, b in ranges], abs=1e-4)


# --- the folder


def test_a_folder_round_trips(folder):
    found = artifact.load(folder)
    heads = artifact.load_heads(found, found.config, 32)
    assert found.config.calibration == CALIBRATION
    assert found.config.heads.model_dump() == SHAPE
    for name, value in random_heads().state_dict().items():
        assert torch.equal(heads.state_dict()[name], value)
    assert {v.dtype for v in found.adapter.values()} == {torch.bfloat16}


def test_the_identity_holds_base_adapter_heads_calibration_and_dtype(judge, copied, tiny):
    identity = judge.identity
    assert dict(identity.params)["base"] == tiny.files.identity
    assert identity.dtype == "float32"
    same = SimulatorJudge(str(copied), SimulatorParams(dtype="float32", device="cpu")).identity
    assert (same.revision, same.params) == (identity.revision, identity.params)
    config = yaml.safe_load((copied / "simulator.yaml").read_text(encoding="utf-8"))
    config["calibration"]["token"]["bias"] = 0.6
    (copied / "simulator.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert SimulatorParams().dtype == "float32"  # in bfloat16 an answer depends on its company
    other = SimulatorJudge(str(copied), SimulatorParams(dtype="bfloat16", device="cpu")).identity
    assert other.revision != identity.revision
    assert other.dtype == "bfloat16"


@pytest.mark.parametrize("name", ["adapter.safetensors", "heads.safetensors"])
def test_missing_and_truncated_weights_are_one_message(copied, name):
    whole = (copied / name).read_bytes()
    (copied / name).write_bytes(whole[:-100])
    with pytest.raises(DigestMismatch, match=rf"{name} .*truncated or was changed"):
        SimulatorJudge(str(copied))
    (copied / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        SimulatorJudge(str(copied))


def edited(copied, **changes):  # type: ignore[no-untyped-def]
    config = yaml.safe_load((copied / "simulator.yaml").read_text(encoding="utf-8")) | changes
    (copied / "simulator.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return str(copied)


def test_another_base_is_refused(copied):
    with pytest.raises(ModelError, match="belongs to a base with the content hash 0123"):
        SimulatorJudge(edited(copied, base_identity="0123"), SimulatorParams(device="cpu"))


def test_settings_that_do_not_fit_the_weights_are_refused(copied):
    with pytest.raises(ModelError, match="5 layers are asked for; the base has 4"):
        SimulatorJudge(edited(copied, layers=5), SimulatorParams(device="cpu"))
    with pytest.raises(ModelError, match="rank 3 on a layer"):
        SimulatorJudge(edited(copied, layers=2, rank=3), SimulatorParams(device="cpu"))
    with pytest.raises(ModelError, match=r"heads\.safetensors does not fit a base of width 32"):
        SimulatorJudge(edited(copied, rank=RANK, heads={**SHAPE, "ff": 17}), SimulatorParams(device="cpu"))
    with pytest.raises(ModelError, match="version 99 of the simulator's prompt"):
        SimulatorJudge(edited(copied, prompt=99), SimulatorParams(device="cpu"))


def test_an_unknown_name_key_or_format_is_named(copied, tmp_path):
    with pytest.raises(UnknownName, match="unknown judge 'no-such-simulator'"):
        load_judge("simulator:no-such-simulator")
    with pytest.raises(SpecError, match=r"unknown key 'ranks'.*Did you mean 'rank'"):
        load_judge(f"simulator:{edited(copied, ranks=3)}")
    with pytest.raises(SpecError, match="format must be 'heads'"):
        load_judge(f"simulator:{edited(copied, format='words')}")
    with pytest.raises(ModelError, match=r"holds no simulator\.yaml"):
        load_judge(f"simulator:{tmp_path}")


# --- through the harness


def test_detection_fuzzing_and_simulation_run_end_to_end(folder, tmp_path):
    spec = {
        "name": "sim",
        "suite": "planted-1",
        "limit": 3,
        "explainers": [{"use": "planted", "params": {"which": "truth"}}, "empty"],
        "scorers": [{"use": "detection"}, {"use": "fuzzing"}, {"use": "simulation"}],
        "judges": [{"use": f"simulator:{folder}?dtype=float32&device=cpu", "label": "small"}],
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    run, _ = start(tmp_path / "spec.yaml", tmp_path / "run", tmp_path / "cache.sqlite", Console(quiet=True))
    record = read_record(run)
    assert record.status == "complete"
    judged = pq.read_table(run / "judgements.parquet").to_pandas()
    assert len(judged) == 720
    assert set(judged.outcome) == {"ok"}
    for scorer, part in judged.groupby("scorer"):
        if scorer.startswith("simulation"):
            assert all(len(p) == len(a) for p, a in zip(part.token_scores, part.token_truth, strict=True))
        else:
            assert part.score.between(0, 1).all()
            assert part.score.nunique() > 20
    scores = pq.read_table(run / "scores.parquet").to_pandas()
    assert set(scores.metric) >= {"ap_normalised", "pearson"}
    # Three scorers ask about the same windows, and under the empty explanation latents share some: each is paid once.
    tokens = {w.id: w.tokens for latent in load_suite("planted-1").latents() for w in latent.test}
    distinct = {(row.explanation, tokens[row.item]) for row in judged.itertuples()}
    assert record.totals.paid.calls == len(distinct) < 720 / 3
