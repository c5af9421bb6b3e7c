"""A judge of another package that writes down every answer it gives, and can be killed in the middle.

It is installed as a distribution of its own, because workers of a cluster are other processes: what a test patches in this one
they never see.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

CODE = '''
import os
import time

import pydantic
from latentbench.judges.mock.mock_judge import MockJudge
from latentbench.judges.mock.variants import MockParams
from latentbench.kernel.identity import digest
from latentbench.kernel.requests import whole


class CountedParams(MockParams):
    log: str
    pause: float = 0.0


class Counted(MockJudge):
    """`mock:label` that appends a line to a file for every answer, when it has been given."""

    params_model = CountedParams
    chunk = 8

    def __init__(self, model, params):
        super().__init__("label", MockParams(error=params.error))
        self.log, self.pause = params.log, params.pause

    async def answer(self, requests):
        time.sleep(self.pause)
        found = await super().answer(requests)
        lines = "".join(f"{os.getpid()} {digest(whole(r))}\\n" for r in requests)
        with open(self.log, "ab", buffering=0) as f:
            f.write(lines.encode())
        return found
'''


def install(folder: Path) -> None:
    """Write the distribution into a folder that is, or will be, on the path of this process and of the workers."""
    folder.mkdir(exist_ok=True)
    (folder / "latentbench_counted.py").write_text(CODE, encoding="utf-8")
    info = folder / "latentbench_counted-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: latentbench-counted\nVersion: 1.0\n", encoding="utf-8")
    points = "[latentbench.judges]\ncounted = latentbench_counted:Counted\n"
    (info / "entry_points.txt").write_text(points, encoding="utf-8")


def answers(log: Path) -> Counter[str]:
    """How often each question was answered."""
    return Counter(line.split()[1] for line in log.read_text(encoding="utf-8").splitlines())


def processes(log: Path) -> list[int]:
    """The processes that answered, each once, in the order of their first answers."""
    if not log.exists():
        return []
    return list(dict.fromkeys(int(line.split()[0]) for line in log.read_text(encoding="utf-8").splitlines()))
