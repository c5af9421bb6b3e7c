"""What is recorded about a suite that was built: what it was drawn from, what was asked for and what was got.

A count that only some suites have (tokens that a window cuts, latents beyond float16) is left out where it is nothing, so that
the manifest of a suite of before is what it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from latentbench.kernel.kinds import DRAWN
from latentbench.models.language_model import Loaded
from latentbench.subject.activations.activation_store import ActivationStore
from latentbench.subject.coders.provenance import Provenance
from latentbench.suites.build.negatives import counted
from latentbench.suites.build.sampling import EXPLAIN, TEST, Tiles
from latentbench.suites.build.suite_recipe import CoderEntry, SuiteRecipe
from latentbench.suites.build.suite_tables import CoderPart

COUNTED = ("vocabulary", "largest_id", "start_tokens", "spelled_control_tokens")
"""Counts of the corpus that only some corpora have."""


@dataclass(frozen=True)
class Built:
    """A suite that is about to be written.

    Attributes:
        recipe: what was asked for.
        subject: the model.
        store: its activations.
        everywhere: windows of the corpus; `tiles` without those that repeat earlier text.
        parts: what was drawn, one of each coder, in the recipe's order.
        said: what is known of each coder's training, by its name.
        unpromoted: why no promoted tokens are known; empty if they are.
    """

    recipe: SuiteRecipe
    subject: Loaded
    store: ActivationStore
    everywhere: Tiles
    tiles: Tiles
    parts: Sequence[CoderPart]
    said: Mapping[str, Provenance]
    unpromoted: str


def suite_manifest(built: Built) -> dict[str, Any]:
    """What is recorded about a suite beside its tables and their digest, JSON-able."""
    recipe, store, parts, counts = built.recipe, built.store, built.parts, built.store.meta["counts"]
    return {
        "name": recipe.name,
        "version": recipe.version,
        "recipe": _settings(recipe),
        "subject": built.subject.identity,
        "bos": built.subject.starts,
        "corpus": {
            "identity": store.meta["identity"]["corpus"],
            "documents": counts["documents"],
            "contexts": counts["contexts"],
            "tokens": counts["tokens"],
            "windows": len(built.tiles.start),
            # Windows that repeat earlier text and are drawn for no latent.
            "copies": len(built.everywhere.start) - len(built.tiles.start),
            "unused_tokens": built.everywhere.unused + counts["dropped_tokens"],
            **{name: counts[name] for name in COUNTED if name in counts},
            **({"left_out": store.meta["left_out"]} if store.meta.get("left_out") else {}),
        },
        "coders": [
            _coder_entry(recipe, entry, p, built.said[p.coder.name])
            for entry, p in zip(recipe.coders, parts, strict=True)
        ],
        "latents": sum(len(p.samples) for p in parts),
        "windows": sum(len(s.start) for p in parts for s in p.samples),
        "versions": {name: version(name) for name in ("latentbench", "torch", "transformers", "numpy", "pyarrow")},
        **_scales(store, parts),
        **({"promoted": {"note": built.unpromoted}} if built.unpromoted else {}),
    }


def _scales(store: ActivationStore, parts: Sequence[CoderPart]) -> dict[str, dict[str, int]]:
    """Latents beyond float16, whose activations, edges and maximum are multiples of 2 to this exponent; nothing if none is."""
    found = {
        latent: power
        for part in parts
        for latent, index in zip(part.ids(), part.drawn.index.tolist(), strict=True)
        if (power := store.coder(part.coder.name).power(index))
    }
    return {"scales": found} if found else {}


def _coder_entry(recipe: SuiteRecipe, entry: CoderEntry, part: CoderPart, said: Provenance) -> dict[str, Any]:
    coder, plan, least = part.coder, recipe.plan, entry.min_windows or recipe.min_windows
    wanted = {
        "explain": (plan.explain, EXPLAIN, True),
        "positive": (plan.positives, TEST, True),
        "negative": (plan.negatives, TEST, False),
    }
    if plan.contrast:
        wanted["contrast"] = (plan.contrast, EXPLAIN, False)
    hard = {kind: getattr(recipe.test.hard, kind) for kind in DRAWN}
    return {
        "name": coder.name,
        "kind": coder.kind,
        "hookpoint": coder.hookpoint,
        "n_latents": coder.n_latents,
        "key": coder.key,
        "evals": dict(coder.evals),
        "trained": said.as_record(),
        "as_is": entry.coder.as_is,
        "asked": entry.latents,
        "qualifying": part.drawn.qualifying,
        "got": len(part.samples),
        # Latents with fewer windows of a sort than asked for; how many each got stands in the latents table.
        "short": {
            name: sum(s.count(role, active) < n for s in part.samples) for name, (n, role, active) in wanted.items()
        }
        | {kind: sum(counted(s, kind) < n for s in part.samples) for kind, n in hard.items() if n},
        # Latents with too few explain windows because the others share eight tokens in a row with a test window.
        "short_by_copies": sum(s.blocked > 0 and s.count(EXPLAIN, True) < plan.explain for s in part.samples),
    } | ({"left_out": part.left_out, "min_windows": least} if part.left_out else {})


def _settings(recipe: SuiteRecipe) -> dict[str, Any]:
    """What a recipe says, without the places where things lie; their content has identities of its own."""
    return recipe.model_dump(mode="json", exclude={"subject", "corpus", "coders"})
