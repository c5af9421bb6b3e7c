from __future__ import annotations

import gzip
import json
from itertools import islice

from latentbench.corpora.sampled import SampledRecipe, distinct_share, prompts, rejected, write

RECIPE = SampledRecipe(
    version="1-0",
    temperature=1.0,
    top_p=1.0,
    repetition_penalty=1.0,
    max_tokens=90,
    registers=["a letter", "a poem"],
    topics=["rain", "bread", "maps"],
    openings=["In 1897, a", "She"],
)


def test_half_chat_half_openings_and_every_pair_once_per_cycle():
    drawn = list(islice(prompts(RECIPE, 0), 24))
    chats = [p.instruction for p in drawn if p.instruction]
    assert len(chats) == 12
    assert sorted(chats[:6]) == sorted(chats[6:])
    assert len(set(chats[:6])) == 6
    assert {p.opening for p in drawn if not p.instruction} == set(RECIPE.openings)


def test_what_is_rejected_and_why():
    good = " ".join(f"word{i}" for i in range(60))
    assert rejected(good, set()) is None
    assert rejected("too short", set()) == "short"
    assert rejected("and so on " * 30, set()) == "loop"
    assert rejected(good, {" ".join(good.split()[:12])}) == "duplicate"
    assert distinct_share("a b c d a b c d") == 4 / 5


def test_a_killed_draw_goes_on_to_the_same_bytes(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("latentbench.corpora.sampled.rejected", lambda text, seen: None)
    whole, resumed = tmp_path / "whole.jsonl.gz", tmp_path / "resumed.jsonl.gz"
    counts = list(write(tiny, RECIPE, 3, 1500, whole, batch=4))
    assert len(counts) >= 3
    stopped = write(tiny, RECIPE, 3, 1500, resumed, batch=4)
    next(stopped)
    stopped.close()
    part = resumed.with_name(resumed.name + ".part")
    part.write_bytes(part.read_bytes() + b'[{"text": "torn')
    list(write(tiny, RECIPE, 3, 1500, resumed, batch=4))
    assert whole.read_bytes() == resumed.read_bytes()
    with gzip.open(whole, "rt", encoding="utf-8") as f:
        documents = [json.loads(line) for line in f]
    assert {d["source"] for d in documents} <= {"continuation", "chat: a letter", "chat: a poem"}
