"""The frozen toy latents of the golden files: literal data, so that no sampler, suite or tokenizer can move them.

`latents.json` holds plain sentences, which a person reads at once. `crooked.json` has latents of the same names with all that a
text may hold: brackets like marks, fields of templates, carriage returns, tokens without a character; activations stand at halves
of a level and at thresholds, two windows of a kind at one place, and natural shares give no whole number of windows.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentbench.kernel.latent import LatentView, Steered, Window

FOLDER = Path(__file__).parents[1] / "golden"
RULES = FOLDER / "rules.yaml"
"""Rules of these latents, for judges that know rules."""
SEED = 11
DIRECTIONS = {
    "planted/fruit": {"direction": (0.5, -0.25, 2.0), "hookpoint": "layers.3.mlp"},
    "planted/tools": {"direction": (0.0, 1.0, 0.0), "hookpoint": "layers.11"},
}
"""What the latents table says of directions, which no rule has; of the others it says nothing."""
FRUIT, TOOLS, CLOCK, BARE = "planted/fruit", "planted/tools", "planted/clock", "planted/bare"
"""The last one has nothing: no window, no intervention, no column."""


def window(row: Mapping[str, Any]) -> Window:
    """A window of a file: tokens are parted by `|`, activations stand by place, an id of a token is a hash of it."""
    tokens = tuple(row["text"].split("|"))
    activations = tuple(float(row["active"].get(str(t), 0.0)) for t in range(len(tokens)))
    ids = tuple(zlib.crc32(token.encode()) % 50_000 for token in tokens)
    return Window(row["id"], row["role"], row["kind"], ids, tokens, activations, row.get("position", 64 * row["id"]))


def steered(row: Mapping[str, Any]) -> Steered:
    """A row of the intervention table."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
    return Steered(**fields)


def golden_latents(file: str = "latents.json") -> dict[str, LatentView]:
    """Latents by id, in the file's order, and one that has nothing."""
    rows = json.loads((FOLDER / file).read_text(encoding="utf-8"))["latents"]
    peers = {row["id"]: tuple(steered(s) for s in row["interventions"]) for row in rows}
    found: dict[str, LatentView] = {}
    for index, row in enumerate(rows):
        windows = [window(w) for w in row["windows"]]
        parts = {role: tuple(w for w in windows if w.role == role) for role in ("explain", "test", "contrast")}
        found[row["id"]] = LatentView(
            row["id"],
            "planted",
            index,
            "test",
            {name: json.dumps(value) if isinstance(value, dict) else value for name, value in row["row"].items()}
            | DIRECTIONS.get(row["id"], {}),
            parts["explain"],
            parts["test"],
            parts["contrast"],
            peers[row["id"]],
            peers,
            cohort=tuple(peers),
        )
    found[BARE] = LatentView(BARE, "planted", len(rows), "test", {}, (), ())
    return found
