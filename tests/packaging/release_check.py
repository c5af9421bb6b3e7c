"""What a release has to be, for `make release`: its files by size and content, and that it works where nothing else is.

    python tests/packaging/release_check.py dist

Standard library only, because it runs before anything is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

MOST = {
    "latentbench-*.whl": 5_000_000,
    "latentbench-*.tar.gz": 5_000_000,
    "latentbench_data-*.whl": 60_000_000,
    "latentbench_data-*.tar.gz": 60_000_000,
}
"""Pattern of each file of a release -> bytes that it may have."""
WHEEL = ("latentbench/__init__.py", "latentbench/py.typed", "latentbench/_tasks/runs/demo.yaml")
WHEEL += ("latentbench/_tasks/suites/planted-1/manifest.json", "latentbench/_tasks/weights.sha256")
WHEEL += ("latentbench/_judges/README.md",)
DATA = ("latentbench_data/tasks/judges/smollm2-135m/simulator.yaml",)
DATA += ("latentbench_data/tasks/coders/smollm2-135m-res9-2304/cfg.json",)
NEVER = ("tests/", "__pycache__", ".pyc", ".git/", ".venv", "runs/demo-", "mlruns/", "exam-gold/windows.parquet")
SPEC = """\
name: release
suite: planted-1
limit: 2
explainers: [{use: planted, label: truth}]
scorers: [{use: detection, preset: single}]
judges: [{use: "mock:oracle", label: oracle}]
"""
PROGRAM = """\
import latentbench as lb
found = lb.run("spec.yaml", out="from-python", cache="cache.sqlite", track=False, progress=False)
print(found.scores.to_string(max_rows=4))
"""


def contents(file: Path) -> Mapping[str, int]:
    """Name -> bytes of what a wheel or a source archive holds; the folder that an archive has around all is left out."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            return {entry.filename: entry.file_size for entry in wheel.infolist()}
    with tarfile.open(file) as archive:
        return {entry.name.partition("/")[2]: entry.size for entry in archive if entry.isfile()}


def faults(dist: Path) -> Iterator[str]:
    """What is wrong with the files of a release, one sentence each."""
    for pattern, most in MOST.items():
        files = sorted(dist.glob(pattern))
        if len(files) != 1:
            yield f"{dist} has {len(files)} files {pattern}, and not one"
            continue
        size = files[0].stat().st_size
        if size > most:
            yield f"{files[0].name} has {size:,} bytes; {most:,} are allowed"
        yield from (f"{files[0].name} {said}" for said in unwanted(contents(files[0])))
        wanted = () if files[0].suffix != ".whl" else DATA if "_data" in pattern else WHEEL
        found = contents(files[0])
        yield from (f"{files[0].name} lacks {name}" for name in wanted if name not in found)
        if "_data" not in pattern:
            yield from (f"{files[0].name} holds weights: {name}" for name in found if name.endswith(".safetensors"))


def unwanted(found: Mapping[str, int]) -> Iterator[str]:
    """What no file of a release may hold."""
    yield from (f"holds {name}" for name in found for part in NEVER if part in name)


def installed(dist: Path, wheels: Sequence[Path], folder: Path) -> None:
    """Install into a new environment and do there what a new user does.

    Raises:
        SystemExit: something failed; says which command.
    """
    venv.create(folder / "env", with_pip=True)
    bin_ = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    work = folder / "empty"
    work.mkdir()
    (folder / "spec.yaml").write_text(SPEC, encoding="utf-8")

    def step(*words: str | Path) -> None:
        began = time.monotonic()
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        environment |= {"XDG_CACHE_HOME": str(folder / "cache"), "PYTHONIOENCODING": "utf-8"}
        done = subprocess.run(list(map(str, words)), cwd=work, env=environment, capture_output=True, encoding="utf-8")
        shown = " ".join(str(word).replace(str(bin_) + os.sep, "") for word in words if "\n" not in str(word))
        print(f"$ {shown}   ({time.monotonic() - began:.1f} s)")
        print("\n".join(f"    {line}" for line in (done.stdout + done.stderr).strip().splitlines()[-12:]), flush=True)
        if done.returncode:
            raise SystemExit(f"{shown}: exit code {done.returncode}")

    step(bin_ / "pip", "install", "-q", "--find-links", dist, *wheels)
    bench = bin_ / "latentbench"
    step(bench, "--version")
    step(bench, "list", "suites")
    step(bench, "describe", "scorer", "detection")
    (folder / "spec.yaml").rename(work / "spec.yaml")
    step(bench, "run", "spec.yaml", "--out", "r", "--cache", "cache.sqlite")
    step(bench, "leaderboard", "r")
    step(bin_ / "python", "-c", PROGRAM)


def main(dist: Path) -> None:
    """Check a folder of built files."""
    for file in sorted(dist.iterdir()):
        print(f"{file.stat().st_size:>11,} bytes  {len(contents(file)):>4} files  {file.name}")
    found = list(faults(dist))
    if found:
        raise SystemExit("\n".join(found))
    own = sorted(dist.glob("latentbench-*.whl"))
    with tempfile.TemporaryDirectory(prefix="latentbench-release-") as folder:
        installed(dist, own, Path(folder))
    print("the release works in an empty folder")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
