"""Code of another package that raises fails what it was asked, with its class and line; the rest of the run goes on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from latentbench.kernel.errors import RunError
from latentbench.kernel.registry import BUILTIN
from latentbench.kernel.requests import Outcome
from latentbench.kernel.tasks import find
from latentbench.runs.run import resume, start
from latentbench.suites.store import load_suite
from rich.console import Console

QUIET = Console(quiet=True)
LATENTS = 4
ODD = [latent.id for latent in load_suite("planted-1").latents(split="test", limit=LATENTS)][1]
"""The one latent on which the package below fails."""

PACKAGE = """
from latentbench.explainers.top_tokens import TokensExplainer
from latentbench.judges.mock.mock_judge import MockJudge
from latentbench.judges.mock.variants import MockParams
from latentbench.kernel.errors import DataError
from latentbench.scorers.binary_task import BinaryParams
from latentbench.scorers.detection import Detection


class OddParams(BinaryParams):
    where: str = ""


class OddScorer(Detection):
    params_model = OddParams
    seen = []
    judged = []

    def fail(self, where, trial=None):
        if self.params.where == where and any(t is trial for t in self.seen):
            raise ValueError("odd: " + where)

    def trials(self, latent, explanation, seed):
        if latent.id == "ODD" and self.params.where == "trials":
            raise ValueError("odd: trials")
        found = super().trials(latent, explanation, seed)
        if latent.id == "ODD":
            self.seen.extend(found)
        return found

    def requests(self, trial, can):
        self.fail("requests", trial)
        return super().requests(trial, can)

    def follow_up(self, trial, can, replies):
        self.fail("follow_up", trial)
        return []

    def parse(self, trial, replies):
        self.fail("parse", trial)
        found = super().parse(trial, replies)
        if any(t is trial for t in self.seen):
            self.judged.extend(found)
        return found

    def metrics(self, judgements):
        if self.params.where == "metrics" and any(j in self.judged for j in judgements):
            return {"accuracy": float("odd")}
        return super().metrics(judgements)


class OddExplainer(TokensExplainer):
    def parse(self, latent, replies, seed, others):
        if latent.id == "ODD":
            raise KeyError("odd: parse")
        return super().parse(latent, replies, seed, others)


class OddJudge(MockJudge):
    chunk = 1
    calls = []
    broken = True

    async def answer(self, requests):
        self.calls.extend(requests)
        if self.broken and len(self.calls) == 3:
            raise IndexError("odd: call")
        return await super().answer(requests)


class Unfit(MockJudge):
    async def answer(self, requests):
        raise DataError("what its owner has to change")
""".replace("ODD", ODD)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package, importable and registered, and task files that name it."""
    place = tmp_path / "lib" / "oddities"
    place.mkdir(parents=True)
    (place / "__init__.py").write_text("", encoding="utf-8")
    (place / "things.py").write_text(PACKAGE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(place.parent))
    for name in ("oddities", "oddities.things"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for kind, cls in (("scorer", "OddScorer"), ("explainer", "OddExplainer"), ("judge", "OddJudge")):
        monkeypatch.setitem(BUILTIN[kind], "odd", f"oddities.things:{cls}")
    monkeypatch.setitem(BUILTIN["judge"], "unfit", "oddities.things:Unfit")
    for kind, task in (("scorers", "detection"), ("explainers", "tokens")):
        said = yaml.safe_load(Path(find(kind, task)).read_text(encoding="utf-8")) | {"implementation": "odd"}
        (tmp_path / f"odd-{task}.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")
    return tmp_path


def carry_out(folder: Path, **changes: Any) -> Path:
    spec = {
        "name": "t",
        "suite": "planted-1",
        "limit": LATENTS,
        "explainers": ["tokens"],
        "scorers": ["detection"],
        "judges": [{"use": "mock:lexical", "label": "lex"}],
        "max_failures": 1.0,
        **changes,
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    return start(folder / "spec.yaml", folder / "run", folder / "c.sqlite", QUIET)[0]


def table(run: Path, name: str) -> Any:
    return pq.read_table(run / f"{name}.parquet").to_pandas()


def line_of(text: str) -> int:
    return next(n for n, line in enumerate(PACKAGE.splitlines(), 1) if text in line)


def odd_scorer(where: str) -> dict[str, Any]:
    return {"use": "odd-detection.yaml", "label": "odd", "params": {"where": where}}


@pytest.mark.parametrize(
    ("where", "outcome"), [("parse", Outcome.PARSE), ("follow_up", Outcome.PARSE), ("requests", Outcome.SKIPPED)]
)
def test_a_scorer_that_raises_fails_the_windows_of_its_latent(package: Path, where: str, outcome: Outcome) -> None:
    run = carry_out(package, scorers=[odd_scorer(where)])
    judged = table(run, "judgements")
    lost = judged[judged.latent == ODD]
    place = f"oddities/things.py:{line_of('odd: ')}"
    assert set(lost.outcome) == {outcome.value}
    assert set(lost.error) == {f"ValueError in {place}: odd: {where}"}
    assert set(judged[judged.latent != ODD].outcome) == {"ok"}
    scores = table(run, "scores")
    own = scores[scores.latent == ODD]
    assert own.value.isna().all()
    assert set(own.n_judged) == {0}
    assert scores[scores.metric == "ap_normalised"].value.notna().sum() == LATENTS - 1
    plain = table(carry_out(folder(package), scorers=[odd_scorer("nowhere")]), "scores")
    both = plain.merge(scores, on=["latent", "metric"], suffixes=("", "_odd"))
    kept = both[both.latent != ODD]
    assert len(kept)
    assert kept.value.tolist() == pytest.approx(kept.value_odd.tolist(), nan_ok=True)
    # A failed reading is not owed again, and the run is not broken by it.
    assert resume(run, package / "c.sqlite", QUIET).status == "complete"
    assert table(run, "judgements").equals(judged)


def folder(package: Path) -> Path:
    """Another folder with the same task files."""
    found = package / "plain"
    found.mkdir()
    for file in package.glob("odd-*.yaml"):
        (found / file.name).write_bytes(file.read_bytes())
    return found


def test_a_scorer_without_trials_fails_every_test_window(package: Path) -> None:
    judged = table(carry_out(package, scorers=[odd_scorer("trials")]), "judgements")
    lost = judged[judged.latent == ODD]
    (view,) = [v for v in load_suite("planted-1").latents(split="test", limit=LATENTS) if v.id == ODD]
    assert len(lost) == len(view.test)
    assert set(lost.outcome) == {"skipped"}
    assert set(lost.error) == {f"ValueError in oddities/things.py:{line_of('odd: trials')}: odd: trials"}
    assert set(judged[judged.latent != ODD].outcome) == {"ok"}


def test_where_nothing_can_carry_the_fault_the_run_ends_and_names_the_scorer(package: Path) -> None:
    from dataclasses import replace

    from latentbench.kernel.boundary import Fault
    from latentbench.runs.judging import without_trials
    from latentbench.scorers.scorer import load_scorer

    (view,) = load_suite("planted-1").latents(split="test", limit=1)
    with pytest.raises(RunError, match="scorer 'detection' cannot make trials of .*: ValueError in x.py:3"):
        without_trials(load_scorer("detection"), replace(view, test=()), Fault("ValueError in x.py:3"))


def test_metrics_that_raise_leave_a_latent_without_a_score(package: Path) -> None:
    run = carry_out(package, scorers=[odd_scorer("metrics")])
    judged, scores = table(run, "judgements"), table(run, "scores")
    lost = judged[judged.latent == ODD]
    assert set(lost.outcome) == {"parse"}
    assert set(lost.error) == {
        f"ValueError in oddities/things.py:{line_of('float(')}: could not convert string to float: 'odd'"
    }
    own = scores[scores.latent == ODD]
    assert own.metric.tolist() == ["ap_normalised"]
    assert own.value.isna().all()
    assert set(judged[judged.latent != ODD].outcome) == {"ok"}
    # Nothing was lost: metrics that work find the answers again.
    sys.modules["oddities.things"].OddScorer.judged.clear()
    resume(run, package / "c.sqlite", QUIET)
    assert set(table(run, "judgements").outcome) == {"ok"}


def test_an_explainer_that_raises_loses_one_explanation(package: Path) -> None:
    run = carry_out(package, explainers=[{"use": "odd-tokens.yaml", "label": "odd"}, "tokens"])
    found = table(run, "explanations").set_index(["explainer", "latent"])
    lost = found.loc[("odd", ODD)]
    assert lost.outcome == "parse"
    assert lost.error == f"KeyError in oddities/things.py:{line_of('KeyError')}: 'odd: parse'"
    assert (found.outcome == "ok").sum() == 2 * LATENTS - 1
    judged = table(run, "judgements")
    missing = judged[(judged.latent == ODD) & (judged.explainer == "odd")]
    assert set(missing.outcome) == {"skipped"}
    assert (judged.outcome != "ok").sum() == len(missing) > 0


def test_a_judge_that_raises_fails_one_chunk_and_is_asked_again_on_resume(package: Path) -> None:
    run = carry_out(package, judges=[{"use": "odd:lexical", "label": "odd"}])
    judged = table(run, "judgements")
    lost = judged[judged.outcome != "ok"]
    assert set(lost.outcome) == {"api"}
    assert set(lost.error) == {f"IndexError in oddities/things.py:{line_of('IndexError')}: odd: call"}
    assert len(lost) == 1
    resume(run, package / "c.sqlite", QUIET)
    assert set(table(run, "judgements").outcome) == {"ok"}


def test_errors_of_the_package_still_end_the_run(package: Path) -> None:
    from latentbench.kernel.errors import DataError

    with pytest.raises(DataError, match="what its owner has to change"):
        carry_out(package, judges=[{"use": "unfit:lexical", "label": "unfit"}])
