"""The page on judges: its tables of mocks are those of the code, and its run of mocks runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

from latentbench.judges.mock.variants import VARIANTS, MockParams
from latentbench.leaderboards.row import read_rows
from latentbench.runs.run import start
from rich.console import Console

PAGE = (Path(__file__).parents[2] / "docs" / "judges.md").read_text(encoding="utf-8")
HEADING = "## Mock judges"
SECTION = PAGE[PAGE.index(HEADING) : PAGE.index("\n## ", PAGE.index(HEADING) + 1)]


def test_every_mock_judge_is_on_the_page() -> None:
    assert set(re.findall(r"^\| `mock:(\w+)` \|", SECTION, re.MULTILINE)) == set(VARIANTS)


def test_every_parameter_of_the_mocks_is_on_the_page_with_its_default() -> None:
    listed = dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) ?\|", SECTION, re.MULTILINE))
    assert listed == {name: str(field.default) for name, field in MockParams.model_fields.items()}


def test_the_run_of_mocks_on_the_page_runs_as_it_stands_there(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
    spec = tmp_path / "offline.yaml"
    spec.write_text(block, encoding="utf-8")
    _, record = start(spec, tmp_path / "run", tmp_path / "cache.sqlite", Console(quiet=True))
    assert record.failure_rate == 0
    scores = {
        (r.explainer.label, r.scorer.label, r.judge.label): r.score.estimate for r in read_rows([tmp_path / "run"])
    }
    assert len(scores) == 5 * (2 * 2 + 1)
    for scorer in ("detection", "fuzzing"):
        assert scores["truth", scorer, "oracle"] > 0.5 > scores["shuffled", scorer, "oracle"]
