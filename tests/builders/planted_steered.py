"""An intervention table for a planted suite, without a model: what a steered latent "writes" is quoted from its windows.

Rows are a function of the windows' content, so a suite with its rows in another order has the same prompts and texts.
"""

from __future__ import annotations

from pathlib import Path

from latentbench.kernel.latent import LatentView, Window
from latentbench.kernel.tables import INTERVENTIONS, table_of
from latentbench.suites.intervention_table import save_interventions
from latentbench.suites.store import load_suite

PROMPTS = 6
KLS = (0.1, 1.0)
"""At the weak one half of the prompts show the concept, at the strong one all."""


def _ordered(windows: tuple[Window, ...], active: bool) -> list[Window]:
    return sorted((w for w in windows if w.active == active), key=lambda w: (w.kind, w.position, w.tokens))


def rows(latent: LatentView, hookpoint: str, kls: tuple[float, ...] = KLS) -> list[dict[str, object]]:
    """Completions: clean ones quote silent windows, steered ones activating explain windows."""
    prompts = _ordered(latent.test, True)[:PROMPTS]
    silent = _ordered(latent.test, False)
    shown = _ordered(latent.explain, True)
    found = []
    for kl in kls:
        for i, w in enumerate(prompts):
            clean = silent[i % len(silent)].text
            found.append(
                {
                    "latent": latent.id,
                    "hookpoint": hookpoint,
                    "mode": "add",
                    "target": kl,
                    "role": "test",
                    "window": w.id,
                    "kind": w.kind,
                    "prompt": w.text,
                    "clean": clean,
                    "steered": shown[i % len(shown)].text if kl >= 1 or i % 2 else clean,
                    "delta": 1.0,
                    "kl": kl,
                    "prompt_kl": kl,
                    "steps": 1,
                    "reached": True,
                    "promoted": [],
                    "suppressed": [],
                }
            )
    return found


def add_interventions(folder: Path) -> None:
    """Put the table of every latent beside a planted suite."""
    suite = load_suite(folder)
    every = [row for latent in suite.latents() for row in rows(latent, str(latent.row["hookpoint"]))]
    save_interventions(folder, table_of(every, INTERVENTIONS), {"suite": suite.digest})
