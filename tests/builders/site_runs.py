"""Runs for pages: with kept calls, with hostile texts everywhere, with many rows and many latents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from latentbench.analysis.walkthrough.sentence_walk import (
    SentenceWalk,
    WalkedCoder,
    WalkedLatent,
    WalkScore,
    WalkText,
    write_walk,
)
from latentbench.kernel.identity import digest, text_digest
from latentbench.kernel.requests import JudgeIdentity
from latentbench.kernel.tables import table_of, write_table
from latentbench.runs.kept import CALLS, TEXTS

from tests.builders import run_builder
from tests.builders.run_builder import Grid, build_run, build_suite
from tests.builders.signed_runs import signed

LONG = 1_000_000
HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> \x1b[31mred\x1b[0m "
    '\u202eturned\u202c \u2028 \x00 =HYPERLINK("http://127.0.0.1") '
    "[bold]rich[/bold] **md** [a](javascript:alert(1)) `x` &amp; {{ 7*7 }}"
)
"""Says what no page may do, and what none may swallow."""


def shown_run(folder: Path, grid: Grid, name: str = "run") -> Path:
    """A signed run whose suite lies beside it; returns its folder."""
    suite, found = build_suite(folder / grid.suite, grid)
    run = build_run(folder / name, grid)
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    for cell in record["cells"]:
        # As a run writes them: the key of a judge is that of its identity, and a name of this package is of this package.
        cell["judge"]["key"] = JudgeIdentity(**cell["judge"]["identity"]).key
        cell["explainer"]["id"] = f"mine-{record['spec']['explainers'].index(cell['explainer']['label'])}@1-0"
        cell["scorer"]["id"] = f"mine-{record['spec']['scorers'].index(cell['scorer']['label'])}@1-0"
    spec = record["spec"]
    for part in ("explainers", "scorers"):
        spec[part] = [{"use": f"mine-{i}", "label": label} for i, label in enumerate(spec[part])]
    totals = record["totals"]
    totals["explanations"] = {"ok": len(grid.explainers) * grid.repeats * sum(grid.coders.values())}
    lost = sum(n for outcome, n in totals["judgements"].items() if outcome != "ok")
    return signed(
        run,
        base=str(folder),
        suite={"name": suite.name, "version": "1-0", "digest": found},
        cells=record["cells"],
        spec=spec,
        totals=totals,
        failure_rate=lost
        / sum(n for counts in (totals["explanations"], totals["judgements"]) for n in counts.values()),
    )


def with_calls(run: Path, rows: list[dict[str, object]], texts: dict[str, str]) -> Path:
    """Put kept calls into a run and sign it again.

    Args:
        rows: as `CALLS`, with texts by name in `messages`, `reply` and `reasoning`.
        texts: name -> text.
    """
    hashes = {name: text_digest(text) for name, text in texts.items()}
    stored = [
        {
            **row,
            "messages": [hashes[str(name)] for name in row["messages"]],  # type: ignore[attr-defined]
            "reply": hashes.get(str(row["reply"])),
            "reasoning": hashes.get(str(row["reasoning"])),
        }
        for row in rows
    ]
    calls = write_table(table_of(stored, CALLS), run / "calls.parquet")
    write_table(table_of([{"hash": hashes[n], "text": t} for n, t in texts.items()], TEXTS), run / "texts.parquet")
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    record.pop("digest", None)
    record["tables"]["calls"] = calls
    record["digest"] = digest(record)
    (run / "run.json").write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
    return run


def hostile_run(folder: Path) -> Path:
    """A run in which labels, explanations, tokens, errors, prompts and replies are hostile, some of a million characters."""
    label = f"llm {HOSTILE}"
    grid = Grid(
        explainers={label: 0.8, "shuffled": 0.5},
        coders={"res9": 3},
        windows=6,
        fail=0.3,
        scorers=("detection", "fuzzing"),
        judges=(f"judge {HOSTILE}",),
    )
    words = tuple(f" {HOSTILE}" if i % 2 else "\nword" for i in range(8))

    def text(explainer: str, latent: str) -> str:
        return f"{HOSTILE} {latent} " + "x" * (LONG if explainer == label and latent.endswith("/0") else 0)

    with patch.object(run_builder, "WORDS", words), patch.object(run_builder, "_text", text):
        run = shown_run(folder, grid)
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    rows: list[dict[str, object]] = [
        dict.fromkeys(CALLS.names)
        | {
            "stage": "judge",
            "owner": cell["cell"],
            "latent": latent,
            "repeat": 0,
            "trial": f"{latent}:{w}",
            "part": "",
            "items": [w],
            "round": 0,
            "form": "chat",
            "member": "",
            "roles": ["system", "user"],
            "messages": ["prompt", "long"],
            "reply": "reply",
            "reasoning": "thought",
            "answers": [],
            "probabilities": [],
            "outcome": "api",
            "cause": HOSTILE,
            "finish": HOSTILE,
        }
        for latent in record["latents"]
        for cell in record["cells"]
        for w in range(6)
    ]
    texts = {
        "prompt": f"prompt {HOSTILE}",
        "long": f"long {HOSTILE}" + "y" * LONG,
        "reply": f"reply {HOSTILE}",
        "thought": HOSTILE,
    }
    return with_calls(run, rows, texts)


def many_rows(folder: Path, rows: int = 200) -> Path:
    """A run whose board has as many rows."""
    explainers = {f"explainer-{i:03d}": 0.5 + 0.45 * i / rows for i in range(rows - 1)} | {"shuffled": 0.5}
    return shown_run(folder, Grid(explainers=explainers, coders={"res9": 24}, windows=4), "rows")


def many_latents(folder: Path, latents: int = 10_000) -> Path:
    """A run of as many latents."""
    grid = Grid(
        explainers={"llm": 0.85, "tokens": 0.75, "shuffled": 0.5},
        scorers=("detection", "fuzzing"),
        coders={"res9": latents // 2, "mlp9": latents - latents // 2},
        windows=6,
        suite="large",
    )
    return shown_run(folder, grid, "latents")


def walked(folder: Path, text: str = "rivers </script> \u202e", latents: Sequence[str] = ("c/1",)) -> SentenceWalk:
    """Write the walkthrough of `The river` by run `run`, whose latents all fire on the second token and less on the first."""

    def said(explainer: str, is_floor: bool, value: float) -> WalkText:
        score = WalkScore(scorer="detection", judge="oracle", metric="auroc", value=value, judged=3, attempted=4)
        return WalkText(explainer=explainer, is_floor=is_floor, text=text, scores=(score,))

    walk = SentenceWalk(
        sentence="The river",
        tokens=("The", " river"),
        suite="s@1-0",
        runs=("run",),
        coders=(WalkedCoder(name="c", hookpoint="layers.0", fired=7, known=len(latents)),),
        latents=tuple(
            WalkedLatent(
                id=latent,
                coder="c",
                hookpoint="layers.0",
                place=1,
                activations=(0.5, 1.5),
                share=0.5,
                texts=(said("llm", False, 0.75), said("empty", True, 0.5)),
            )
            for latent in latents
        ),
    )
    write_walk(folder, walk)
    return walk
