"""The page on judges says how each scorer asks each kind of judge, or what it lacks; the table is made from the code.

WRITE_WAYS=1 python -m pytest tests/docs/test_ways.py      writes it into the page
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from latentbench.judges import vllm
from latentbench.judges.reference import load_judge
from latentbench.judges.transformers import TransformersJudge
from latentbench.kernel.registry import BUILTIN
from latentbench.kernel.requests import Capability
from latentbench.kernel.tasks import available
from latentbench.scorers.scorer import Scorer, load_scorer

PAGE = Path(__file__).parents[2] / "docs" / "judges.md"
BEGIN, END = "<!-- ways -->\n", "<!-- end of ways -->"

Can = frozenset[Capability]

WORDS = {
    Capability.CHAT: "written",
    Capability.CHOICE: "probabilities",
    Capability.SLOTS: "at every token",
    Capability.TEXT: "likelihood",
    Capability.EMBED: "vectors",
    Capability.SIMULATE: "simulated",
    Capability.ACTIVATE: "measured",
    Capability.PROJECT: "projected",
}


def way(scorer: Scorer, can: Can) -> str:
    """How a scorer asks a judge, or what the judge lacks of each of its ways."""
    for need in scorer.needs:
        if need <= can:
            return " + ".join(word for c, word in WORDS.items() if c in need)
    lacks = list(dict.fromkeys(need - can for need in scorer.needs))
    least = [lack for lack in lacks if not any(other < lack for other in lacks)]
    return "– " + " or ".join("+".join(sorted(lack)) for lack in least)


def scorers() -> dict[str, Scorer]:
    """Every scorer, and every preset that asks in another way."""
    found: dict[str, Scorer] = {}
    for name, path in sorted(available("scorers").items()):
        plain = found[name] = load_scorer(name)
        for preset in yaml.safe_load(path.read_text(encoding="utf-8")).get("presets") or {}:
            other = load_scorer({"use": name, "preset": preset})
            if other.needs != plain.needs:
                found[f"{name}, {preset}"] = other
    return found


@pytest.fixture
def judges(tiny: Any, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Can]:
    """What the judges of each kind can; the vLLM judge without its engine, which has no say in that."""
    monkeypatch.setattr(vllm, "VllmEngine", lambda *_: SimpleNamespace(context=1024))
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: found("json" if name == "vllm" else name, *a))
    here = TransformersJudge("tiny", loaded=tiny).can
    there = "openai:m?base_url=http://127.0.0.1:1/v1"
    return {
        "`transformers:`": here,
        "`vllm:`": load_judge(f"vllm:{tiny_folder}").can,
        "`openai:`": load_judge(there).can,
        "`openai:` `logprobs`": load_judge(f"{there}&logprobs=true").can,
        "`openai:` `completions`": load_judge(f"{there}&completions=true").can,
        "`openai:` `completions` `tokenizer`": load_judge(f"{there}&completions=true&tokenizer={tiny_folder}").can,
        "`embed:`": load_judge("embed:m?base_url=http://127.0.0.1:1/v1").can,
        "`simulator:`": load_judge("simulator:smollm2-135m?device=cpu").can,
        # As SubjectJudge does with any writer.
        "`subject:` of `transformers:`": here | {Capability.ACTIVATE, Capability.PROJECT},
        "`mock:`": load_judge("mock:label").can,
    }


def table(judges: dict[str, Can]) -> str:
    """Scorers in rows, kinds of judges in columns; kinds that are asked alike share one."""
    rows = scorers()
    columns: dict[tuple[str, ...], list[str]] = {}
    for name, can in judges.items():
        columns.setdefault(tuple(way(scorer, can) for scorer in rows.values()), []).append(name)
    lines = ["| scorer | " + " | ".join(", ".join(names) for names in columns.values()) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, *cells in zip(rows, *columns, strict=True)]
    return "\n".join(lines) + "\n"


def test_the_page_has_the_ways_of_the_code(judges: dict[str, Can]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    head, _, rest = page.partition(BEGIN)
    shown, _, tail = rest.partition(END)
    expected = table(judges)
    if os.environ.get("WRITE_WAYS"):
        PAGE.write_text(head + BEGIN + expected + END + tail, encoding="utf-8")
        return
    assert shown == expected, "WRITE_WAYS=1 python -m pytest tests/docs/test_ways.py writes it"


def test_every_kind_of_judge_has_a_column(judges: dict[str, Can]) -> None:
    # A panel can what its members can.
    assert {name.strip("`").partition(":")[0] for name in judges} == set(BUILTIN["judge"]) - {"panel"}


def test_a_scorer_that_cannot_ask_says_what_the_judge_lacks() -> None:
    simulation = load_scorer("simulation")
    assert way(simulation, frozenset({Capability.CHAT, Capability.CHOICE})) == "– simulate or slots"
    assert way(simulation, frozenset({Capability.CHOICE, Capability.SLOTS})) == "probabilities + at every token"
