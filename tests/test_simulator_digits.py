"""A causal LM that writes activations, read in one pass: against one plain forward pass per level and place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml

from bench.errors import ModelError, SpecError
from bench.judges.base import Capability, Outcome, Question, Shown, Simulate
from bench.judges.load import load_judge
from bench.judges.simulated import Asked

TEMPLATE = "Neuron\nExplanation: {explanation}\nActivations:"
WINDOWS = (
    ("The", " river", " rises"),
    (" In", "", " 1897", "\n", " a"),
    (" caf", "é"),
)
EXPLANATIONS = ("names of rivers and of the lakes into which they flow", "{window} of numbers")


def write(folder, **changes):  # type: ignore[no-untyped-def]
    folder.mkdir(exist_ok=True)
    (folder / "simulator.yaml").write_text(yaml.safe_dump({"format": "digits", "template": TEMPLATE, **changes}))
    return folder


def ask_for(folder, batch: int = 64):  # type: ignore[no-untyped-def]
    return load_judge(f"simulator:{folder}?dtype=float32&device=cpu&batch={batch}")


@pytest.fixture(scope="module")
def judge(tiny_folder, tmp_path_factory):  # type: ignore[no-untyped-def]
    return ask_for(write(tmp_path_factory.mktemp("digits") / "d", base=str(tiny_folder)))


def question(z: str, *windows: tuple[str, ...]) -> Simulate:
    return Simulate(Question("simulation", z, tuple(map(Shown, windows))))


def naive(tiny, prompt: str, tokens: tuple[str, ...], levels: tuple[str, ...]) -> list[float]:  # type: ignore[no-untyped-def]
    """E[level] / highest, with every level's log-probability from a pass of its own."""

    def ids(text: str) -> list[int]:
        found: list[int] = tiny.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    start = [tiny.tokenizer.bos_token_id]
    out = []
    text = prompt + "\n"
    for token in tokens:
        if not token:
            out.append(0.0)
            continue
        text += token.replace("\n", "⏎") + "\t"
        before = ids(text)
        p = []
        for level in levels:
            whole = ids(text + level + "\n")
            assert whole[: len(before)] == before
            logits = tiny.model(input_ids=torch.tensor([start + whole])).logits[0].log_softmax(-1)
            n = len(before)
            p.append(float(np.exp(sum(float(logits[n + k, t]) for k, t in enumerate(whole[n:])))))
        out.append(sum(v * x for v, x in enumerate(p)) / sum(p) / (len(levels) - 1))
        text += "unknown\n"
    return out


async def test_one_pass_gives_what_a_pass_per_level_and_place_gives(judge, tiny):
    requests = [question(z, *WINDOWS) for z in EXPLANATIONS]
    replies = await judge.simulate(requests)
    assert judge.can == {Capability.SIMULATE}
    for z, reply in zip(EXPLANATIONS, replies, strict=True):
        for tokens, found, whole in zip(WINDOWS, reply.tokens, reply.windows, strict=True):
            prompt = f"Neuron\nExplanation: {z}\nActivations:"
            expected = naive(tiny, prompt, tokens, tuple(str(v) for v in range(11)))
            assert found == pytest.approx(expected, abs=1e-4)
            assert whole == max(found)
    assert replies[0].tokens != replies[1].tokens
    assert sum(r.usage.tokens_cached for r in replies) > 0


async def test_batch_and_order_change_nothing(judge, tiny_folder, tmp_path):
    requests = [question(z, w) for z in EXPLANATIONS for w in WINDOWS]
    there = await judge.simulate(requests)
    small = ask_for(write(tmp_path / "d", base=str(tiny_folder)), batch=1)
    for a, b in zip(there, (await small.simulate(requests[::-1]))[::-1], strict=True):
        assert a.tokens[0] == pytest.approx(b.tokens[0], abs=1e-5)


async def test_layout_and_levels_are_the_files(tiny, tiny_folder, tmp_path):
    template = [{"system": "You simulate."}, {"user": "{explanation} | {window}"}, {"assistant": "Activations:"}]
    judge = ask_for(write(tmp_path / "d", base=str(tiny_folder), template=template, levels=["0", "1"]))
    text = judge.reader.text(Asked("rivers {window}", (" The", " river")))
    assert text == (
        "<|im_start|>system\nYou simulate.<|im_end|>\n<|im_start|>user\nrivers {window} |  The river<|im_end|>\n"
        "<|im_start|>assistant\nActivations:"
    )
    assert judge.reader.choice(("a", "\t", "", "b")).slots == ("\na\t", "unknown\n⇥\t", "unknown\nb\t")
    reply = (await judge.simulate([question("rivers", WINDOWS[0])]))[0]
    assert all(0 < p < 1 for p in reply.tokens[0])
    other = ask_for(write(tmp_path / "e", base=str(tiny_folder), template=template))
    assert dict(judge.identity.params)["layout"] != dict(other.identity.params)["layout"]
    assert judge.identity.revision != other.identity.revision


async def test_what_does_not_fit_is_skipped_with_its_counts(judge):
    long, wide, fine = await judge.simulate(
        [question("river " * 2100, WINDOWS[0]), question("river", (" river",) * 500), question("river", WINDOWS[0])]
    )
    for reply in (long, wide):
        assert reply.outcome is Outcome.SKIPPED
        assert "do not fit the context of 2048; nothing was cut" in reply.error
    assert fine.ok


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"template": "no place"}, "the template has no {explanation}"),
        ({"template": [{"user": "{explanation}", "system": "x"}]}, "one `role: text`"),
        ({"levels": ["0"]}, "at least two different levels"),
        ({"seperator": " "}, "Did you mean 'separator'"),
    ],
)
def test_a_layout_that_cannot_be_read_is_named(tiny_folder, tmp_path, changes, message):
    with pytest.raises(SpecError, match=message):
        ask_for(write(tmp_path / "d", base=str(tiny_folder), **changes))


def test_a_pinned_base_is_checked(tiny, tiny_folder, tmp_path):
    assert ask_for(write(tmp_path / "d", base=str(tiny_folder), base_identity=tiny.files.identity)).identity
    with pytest.raises(ModelError, match="belongs to a base with the content hash abc"):
        ask_for(write(tmp_path / "e", base=str(tiny_folder), base_identity="abc"))
