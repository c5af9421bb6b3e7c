"""Where each public name of the package is defined; it is imported when it is first used.

`latentbench/__init__.py` imports nothing but this room, so this is the one place that knows.
"""

from __future__ import annotations

from importlib import import_module

PLACES = {
    "LiveCoder": "latentbench.subject.coders.live_coder",
    "Result": "latentbench.api.result",
    "build_suite": "latentbench.api.suite_actions",
    "export": "latentbench.api.suite_actions",
    "import_suite": "latentbench.api.suite_actions",
}
"""Name -> module; the others are in `latentbench.api.actions`."""


def named(name: str) -> object:
    """The object behind a public name."""
    return getattr(import_module(PLACES.get(name, "latentbench.api.actions")), name)
