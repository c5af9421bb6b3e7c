"""Addresses of stored replies are literal: users have paid for what lies under them, and mocks draw their errors by them.

The digests were taken before trials had forms. One that changes asks every judge again, or moves every number of a noisy mock.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from latentbench.judges.mock.variants import asked as asked_of_window
from latentbench.kernel.forms import AnyOf, Levels, Which, Write, YesNo
from latentbench.kernel.identity import digest, text_digest
from latentbench.kernel.latent import LatentRef
from latentbench.kernel.requests import (
    Activate,
    Chat,
    Choice,
    Continuation,
    Embed,
    JudgeIdentity,
    Message,
    Patched,
    Projected,
    Request,
    Simulate,
    content,
    request_key,
    whole,
)
from latentbench.kernel.trial import Seen, Trial

IDENTITY = JudgeIdentity("transformers", "m", "r", "float32", (("wording", "w1"),))
WINDOW = Seen((" a", " river"), (3, 4), (False, True), 12, "quantile:3")
TRIAL = Trial("0", "fuzzing", YesNo("No", "Yes"), "rivers", (WINDOW,), (1,), ((0.0, 2.5),), seed=5)
MESSAGES = (Message("system", "Answer."), Message("user", "Is it?"))
REQUESTS: dict[str, Request] = {
    "chat": Chat(MESSAGES, 9, 0.5, 7, TRIAL),
    "choice": Choice(MESSAGES, ("No", "Yes"), trial=TRIAL),
    "slots": Choice(MESSAGES, ("1", "10"), ("a\t", "b\t"), "\n", TRIAL),
    "continuation": Continuation("rivers: ", " a river", TRIAL),
    "embed": Embed("a river", True),
    "simulate": Simulate(TRIAL),
    "activate": Activate("a river", LatentRef("sae/7", "here")),
    "patched": Patched(Chat(MESSAGES, 9), "it", (0.5, -1.0), 3, 2.0, True),
    "projected": Projected("a river", (LatentRef("sae/7", "here"), LatentRef("sae/8", "here"))),
}
KEYS = {
    "chat": "6c4f3b7f2ed668ab",
    "choice": "8ae6970baf0360b3",
    "slots": "2e414ec47fb38a36",
    "continuation": "1cdeb0d752fe8291",
    "embed": "c52064a4879e6265",
    "simulate": "3808268b296c03ab",
    "activate": "54b6e9178bd67433",
    "patched": "cbca775b063e9f39",
    "projected": "0a727a0cdb23d34e",
}
DRAWN_BY = {
    "chat": "77ea50e274fc78a2",
    "choice": "1cee9c09d789ce1f",
    "slots": "143b17b23a24cf05",
    "continuation": "edbe8129753132fb",
    "embed": "0221d36fb3807abc",
    "simulate": "f4b02aaf2a025b51",
    "activate": "92459f86d155bd14",
    "patched": "0670110ebf680b89",
    "projected": "edef514f0ade5b4e",
}
CONTENT = {
    "yes or no": (TRIAL, "3126db004c4a59b6"),
    "any of": (Trial("0", "saebench", AnyOf("none"), "z", (WINDOW, WINDOW), (1, 0)), "0f6a9f80af60d596"),
    "which": (Trial("0", "intruder", Which(3), "", (WINDOW,) * 3, (2,), kind="quantile:1"), "6cbe6210a09047b8"),
    "groups": (Trial("0", "output_choice", Which(3), "z", (WINDOW,) * 6, (2,), kind="kl:1"), "fba76025a4a0a58f"),
    "write": (Trial("0", "sensitivity", Write(), "z", (), (1,), kind="written"), "1572b6ad5abe042c"),
    "levels": (
        Trial("0", "simulation", Levels(tuple(map(str, range(11))), "token"), "z", (WINDOW,), (1,), ((0.0, 2.0),)),
        "31280cb04c321b85",
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_reply_lies_where_it_lay(name: str) -> None:
    assert request_key(IDENTITY, REQUESTS[name], False) == KEYS[name]


@pytest.mark.parametrize("name", REQUESTS)
def test_failures_of_mocks_are_drawn_by_what_they_were(name: str) -> None:
    request = REQUESTS[name]
    assert text_digest(whole(request, named=True)) == DRAWN_BY[name]


@pytest.mark.parametrize("name", CONTENT)
def test_every_form_has_the_content_it_had(name: str) -> None:
    trial, expected = CONTENT[name]
    assert digest(content(trial)) == expected


def test_flips_are_drawn_by_one_window() -> None:
    assert text_digest(asked_of_window(TRIAL, WINDOW)) == "f59c63fdc8e52f13"


def test_a_judge_that_knows_the_truth_keeps_forms_apart_and_places_together() -> None:
    def key(trial: Trial) -> str:
        return request_key(IDENTITY, Choice(MESSAGES, ("1", "2"), trial=trial), True)

    said = replace(TRIAL, form=YesNo("1", "2"), windows=(WINDOW, WINDOW), truth=(1, 0))
    assert key(replace(said, form=Which(2), truth=(1,))) != key(said)
    assert key(replace(said, truth=(0, 1))) != key(said)
    moved = tuple(replace(w, item=99, kind="random") for w in said.windows)
    assert key(replace(said, id="7", part="rate", seed=9, windows=moved)) == key(said)
