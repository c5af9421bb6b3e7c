"""Where a run happened: versions, code revision, hardware. Recorded, never part of an identity."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "latentbench",
    "torch",
    "transformers",
    "sentence-transformers",
    "numpy",
    "scipy",
    "pyarrow",
    "mlflow",
    "openai",
)


def environment() -> dict[str, Any]:
    """Versions, git revision with a dirty flag, and hardware, JSON-able."""
    return {"versions": _versions(), "git": _git(), "hardware": _hardware()}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _git() -> dict[str, Any] | None:
    """Revision of the checkout that holds this package; None for an installed wheel."""
    root = Path(__file__).parent

    def git(*words: str) -> str | None:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        # A wheel inside somebody's checkout, in .venv for one, is not part of it.
        revision = git("rev-parse", "HEAD") if git("ls-files", "--error-unmatch", Path(__file__).name) else None
    except FileNotFoundError:
        return None
    if revision is None:
        return None
    return {"revision": revision, "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}


def _hardware() -> dict[str, Any]:
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"machine": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "gpus": gpus}
