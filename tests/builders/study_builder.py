"""Studies, profiles and a tiny suite recipe in a temporary folder, for tests of `latentbench.lab.studies`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from latentbench.lab.studies.series import run_studies
from rich.console import Console

QUIET = Console(quiet=True)

PROFILE: dict[str, Any] = {
    "summary": "mock judges.",
    "judges": {"good": "mock:oracle", "deaf": "mock:constant", "words": "mock:lexical"},
    "explainers": {"main": {"use": "planted", "params": {"which": "truth"}}, "tokens": {"use": "tokens"}},
    "scorers": {
        "detection": {"use": "detection", "preset": "single", "judge": "good", "metric": "auroc"},
        "embedding": {"use": "embedding", "judge": "words", "metric": "auroc"},
    },
    "suites": {"main": {"use": "planted-1"}},
    "latents": 24,
}
STUDY: dict[str, Any] = {
    "title": "True explanations and others",
    "question": "Is the truth above?",
    "axis": "explanation",
    "scorers": ["detection"],
    "claims": [["truth", "unrelated"]],
    "levels": [
        {"label": "truth", "paper": {"detection": 0.8}},
        {
            "label": "unrelated",
            "explainers": {"main": {"params": {"which": "unrelated:0"}}},
            "paper": {"detection": 0.5},
        },
    ],
    "paper": {"where": "nowhere"},
}


def write_yaml(path: Path, data: dict[str, Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return str(path)


def carry_out(folder: Path, name: str = "demo", profile: dict[str, Any] | None = None, **changes: Any) -> Path:
    """Run one study; returns its folder."""
    base = {k: v for k, v in STUDY.items() if k != "claims"} if "levels" in changes else STUDY
    study = write_yaml(folder / "specs" / f"{name}.yaml", {**base, **changes})
    size = write_yaml(folder / "small.yaml", profile or PROFILE)
    run_studies(
        [study], size, folder / "out", folder / "work", QUIET, cache=folder / "c.sqlite", activations=folder / "acts"
    )
    return folder / "out" / name


def recipe_folder(folder: Path, subject: Path, texts: list[str]) -> Path:
    """A suite folder with a recipe over a tiny subject: one coder of random directions and one of neurons."""
    import json

    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": t, "source": "even" if i % 2 == 0 else "odd"}) for i, t in enumerate(texts)]
    (folder / "text.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    recipe = {
        "name": "tiny",
        "version": "1-0",
        "subject": {"model": str(subject), "dtype": "float32"},
        "corpus": {"kind": "jsonl", "path": "text.jsonl"},
        "context": 64,
        "window": 8,
        "min_windows": 8,
        "strata": 2,
        "copies": "kept",
        "tune_share": 0.0,
        "explain": {"n": 4},
        "test": {"positives_per_decile": 1, "negatives": 4},
        "coders": [
            {
                "latents": 6,
                "coder": {"name": "dirs", "format": "random", "hookpoint": "layers.1", "k": 3, "n_latents": 24},
            },
            {
                "latents": 6,
                "coder": {
                    "name": "other",
                    "format": "random",
                    "hookpoint": "layers.2",
                    "k": 3,
                    "n_latents": 24,
                    "seed": 1,
                },
            },
        ],
    }
    write_yaml(folder / "recipe.yaml", recipe)
    return folder
