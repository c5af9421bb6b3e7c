"""A benchmark harness for natural-language explanations of sparse latents.

What Python code needs stands here, as `import latentbench as lb` and then `lb.run`, `lb.score` and the other names of `__all__`
(docs/python.md has a table of them). The names are looked up when they are first used, so that `bench --help` never pays for
torch, transformers or mlflow; the tempting plain imports would make every command wait for them.

The import graph goes downwards only; `docs/design.md` section 5 draws it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from latentbench.api.actions import compare, judge, leaderboard, load, qualify, resume, run, score, suite, track
    from latentbench.api.public import LiveCoder
    from latentbench.api.result import Result
    from latentbench.api.suite_actions import build_suite, export, import_suite

__all__ = [
    "LiveCoder",
    "Result",
    "build_suite",
    "compare",
    "export",
    "import_suite",
    "judge",
    "leaderboard",
    "load",
    "qualify",
    "resume",
    "run",
    "score",
    "suite",
    "track",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'latentbench' has no attribute {name!r}; it has {', '.join(__all__)}")
    from latentbench.api import public

    return public.named(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
