"""Where each public name of the package is defined; it is imported when it is first used.

`latentbench/__init__.py` imports nothing but this room, so this is the one place that knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentbench.subject.coders.live_coder import LiveCoder as LiveCoder


def named(name: str) -> object:
    """The object behind a public name."""
    if name == "LiveCoder":
        from latentbench.subject.coders import live_coder

        return live_coder.LiveCoder
    if name == "Result":
        from latentbench.api import result

        return result.Result
    if name in ("build_suite", "export", "import_suite"):
        from latentbench.api import suite_actions

        return getattr(suite_actions, name)
    from latentbench.api import actions

    return getattr(actions, name)
