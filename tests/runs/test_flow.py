"""Nothing of a run waits for a stage, and an explainer that reads others sees all of their texts."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import yaml
from latentbench.kernel.identity import digest
from latentbench.runs.finished import load_run
from latentbench.runs.run import resume, start
from rich.console import Console

from tests.builders.loopback import Said, completed, refused, serving

FEW = {"positives": 2, "negatives": 2}


def test_judging_begins_before_the_slowest_explanation_is_there(tmp_path: Path) -> None:
    """One explanation is held back until something was judged; it comes only if judging did not wait for it."""
    judged, seen = threading.Event(), list[bool]()

    def judge(body: dict[str, Any]) -> Said:
        judged.set()
        return completed()

    def write(body: dict[str, Any]) -> Said:
        # The first call tries the endpoint. One call at a time: the second explanation waits for the first one's judgement.
        if len(writer.sent) == 3:
            seen.append(judged.wait(20))
        return completed(f"said {len(writer.sent)}")

    with serving(judge) as served, serving(write) as writer:
        spec = {
            "name": "t",
            "suite": "planted-1",
            "limit": 4,
            "explainers": [
                {"use": "llm", "model": f"openai:w?base_url={writer.url}&concurrency=1"},
                {"use": "shuffled", "params": {"of": "llm"}},
            ],
            "scorers": [{"use": "detection", "preset": "single", "params": FEW}],
            "judges": [{"use": f"openai:m?base_url={served.url}", "label": "served"}],
        }
        (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
        start(tmp_path / "spec.yaml", tmp_path / "run", tmp_path / "c.sqlite", Console(quiet=True))
    assert seen == [True]
    told = load_run(tmp_path / "run").explanations
    own = set(told[told.explainer == "llm"].text)
    assert len(own) == 4
    assert set(told[told.explainer == "shuffled"].text) <= own


def test_what_was_read_from_failed_explanations_is_read_again_when_these_have_come(tmp_path: Path) -> None:
    down = [True]

    def write(body: dict[str, Any]) -> Said:
        # The first call tries the endpoint.
        return refused(400, "no") if down[0] and len(writer.sent) % 2 else completed(digest(body["messages"]))

    with serving(write) as writer:
        spec = {
            "name": "t",
            "suite": "planted-1",
            "limit": 6,
            "explainers": [
                {"use": "llm", "model": f"openai:w?base_url={writer.url}&concurrency=1"},
                {"use": "shuffled", "params": {"of": "llm"}},
            ],
            "scorers": [{"use": "detection", "preset": "single", "params": FEW}],
            "judges": ["mock:label"],
            "max_failures": 1.0,
        }
        (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
        writer.sent.append({})
        start(tmp_path / "spec.yaml", tmp_path / "run", tmp_path / "c.sqlite", Console(quiet=True))
        told = load_run(tmp_path / "run").explanations
        assert 0 < told[told.explainer == "llm"].text.isna().sum() < 6
        down[0] = False
        resume(tmp_path / "run", tmp_path / "c.sqlite", Console(quiet=True))
        start(tmp_path / "spec.yaml", tmp_path / "whole", tmp_path / "w.sqlite", Console(quiet=True))
    for name in ("explanations", "scores"):
        columns = ["latent", "explainer", "text"] if name == "explanations" else ["cell", "latent", "metric", "value"]
        resumed, whole = (getattr(load_run(tmp_path / own), name)[columns] for own in ("run", "whole"))
        assert resumed.equals(whole)
