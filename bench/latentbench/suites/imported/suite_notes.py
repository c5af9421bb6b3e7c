"""What an imported suite cannot know, as the lines that are said wherever the suite is shown, verified or run.

The lines come from the manifest and from nowhere else, so a suite says the same on a machine that never had its source.
"""

from __future__ import annotations

from latentbench.suites.store import Suite

KIND = "imported"
"""What the manifest of an imported suite says under `kind`."""


def notes(suite: Suite) -> list[str]:
    """Where an imported suite comes from and what it cannot know, one line each; nothing for a suite that was built here."""
    if suite.manifest.get("kind") != KIND:
        return []
    source, unknown = suite.manifest.get("source"), suite.manifest.get("unknown")
    said = []
    if isinstance(source, dict):
        named = [f"{name} {value}" for name, value in source.items() if isinstance(value, str) and name != "format"]
        said.append(f"imported from {source.get('format')}" + (f" ({', '.join(named)})" if named else ""))
    if isinstance(unknown, dict):
        said += [f"{what}: {why}" for what, why in unknown.items()]
    return said
