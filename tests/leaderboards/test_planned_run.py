"""A run that was handed in is all of what its spec asks, on the latents of its suite, with the floors that everybody has."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from latentbench.kernel.errors import SpecError
from latentbench.kernel.identity import text_digest
from latentbench.leaderboards.checks import CheckRecord, read_check
from latentbench.leaderboards.submission.statement import STATEMENT
from latentbench.leaderboards.submission.submission_check import check, publish
from latentbench.leaderboards.submission.submitting import submit
from rich.console import Console

from tests.builders.handed_in import SAID, handed_in, rejudged, rerun
from tests.builders.published_board import bench, carried_out
from tests.builders.signed_runs import copied, signed

JUDGE, OTHER = "mock:label?error=0.2", "mock:label?error=0.3"
SPEC = f"""
name: two
suite: planted-1
limit: 24
explainers: [{{use: planted, label: truth}}, tokens, empty, {{use: shuffled, params: {{of: truth}}}}]
scorers: [{{use: detection, params: {{positives: 3, negatives: 3, simulate: never}}}}]
judges: [{{use: "{JUDGE}", label: one}}, {{use: "{OTHER}", label: two}}]
"""


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return carried_out(SPEC, tmp_path_factory.mktemp("honest"))


@pytest.fixture(scope="module")
def given(honest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handed_in(honest, tmp_path_factory.mktemp("given"))


@pytest.fixture
def folder(given: Path, tmp_path: Path) -> Path:
    return copied(given, tmp_path / "handed-in")


def looked_at(folder: Path, **options: Any) -> CheckRecord:
    return check(folder, console=Console(quiet=True), **options)[0]


def reasons(folder: Path) -> str:
    record = looked_at(folder)
    assert record.status == "refused"
    return "; ".join(record.reasons)


def _record(folder: Path) -> dict[str, Any]:
    held: dict[str, Any] = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))
    return held


def _table(folder: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    path = folder / "run" / f"{name}.parquet"
    table = pq.read_table(path)
    changed = change(table.to_pandas())
    pq.write_table(pa.Table.from_pandas(changed, schema=table.schema, preserve_index=False), path)
    return changed


def with_latents(folder: Path, latents: Collection[str]) -> Path:
    """Everything of a run that is about these latents, as if it had been on no others."""
    record = _record(folder)
    totals = record["totals"]
    for name in ("explanations", "judgements", "scores"):
        left = _table(folder, name, lambda table: table[table["latent"].isin(latents)])
        if name in totals:
            totals[name] = {str(k): int(n) for k, n in left["outcome"].value_counts().items()}
    times = pq.read_table(folder / "run" / "seconds.parquet")
    pq.write_table(times.slice(0, 0), folder / "run" / "seconds.parquet")
    own = [latent for latent in record["latents"] if latent in latents]
    return rerun(folder, latents=own, totals=totals, failure_rate=None)


def with_text(folder: Path, label: str, text: str | None) -> Path:
    """Another text of an explainer, with every digest of it."""
    told = text_digest(text or "")
    _table(
        folder,
        "explanations",
        lambda t: t.assign(
            text=t["text"].where(t["explainer"] != label, text), hash=t["hash"].where(t["explainer"] != label, told)
        ),
    )
    _table(folder, "judgements", lambda t: t.assign(explanation=t["explanation"].where(t["explainer"] != label, told)))
    return rerun(folder)


def test_an_honest_run_is_what_its_spec_asks(folder: Path) -> None:
    assert looked_at(folder).reasons == ()


def test_latents_that_somebody_picked(folder: Path) -> None:
    """Judgements, scores, rows and digests fit: only the spec and the suite say that there were more latents."""
    table = pq.read_table(folder / "run" / "judgements.parquet").to_pandas()
    own = table[table["explainer"] == "tokens"]
    right = (own["answer"] == own["truth"]).groupby(own["latent"]).mean().sort_values()
    said = reasons(with_latents(folder, set(right.index[-12:])))
    assert "the run is on 12 latents, and its spec gives 24 of planted-1@2-0" in said


def _spec(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda record: {"spec": record["spec"] | changes}


def _judges(record: dict[str, Any]) -> dict[str, Any]:
    judges = [*record["spec"]["judges"], {"use": "mock:label", "label": "three"}]
    return {"spec": record["spec"] | {"judges": judges}}


def _unlike(record: dict[str, Any]) -> dict[str, Any]:
    judges = [
        entry | {"label": {"one": "uno"}.get(entry["label"], entry["label"])} for entry in record["spec"]["judges"]
    ]
    return {"spec": record["spec"] | {"judges": judges}}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (_spec(split="tune"), "the spec asks for 'tune' latents, and the run says that it is on 'test' ones"),
        (_spec(limit=5), "the run is on 24 latents, and its spec gives 5"),
        (_spec(coders=["nobody"]), "nobody"),
        (_spec(repeats=2), "the spec asks for 16 cells, and the run has 8"),
        (_spec(repeats=10_000), "the spec asks for 80,000 cells"),
        (_judges, "the spec asks for 12 cells, and the run has 8"),
        (_unlike, "/ detection / one, repeat 0, and its spec does not ask for it"),
        (
            lambda _: {"kinds": {"planted": "transcoder"}},
            "coder 'planted' is 'transcoder' in the run and None in suite",
        ),
        (lambda r: {"versions": r["versions"] | {"latentbench": "\u0660.\u0661"}}, "does not say with which version"),
    ],
)
def test_a_record_that_says_otherwise_than_its_spec(
    folder: Path, changes: Callable[[dict[str, Any]], dict[str, Any]], why: str
) -> None:
    assert why in reasons(rerun(folder, **changes(_record(folder))))


def test_latents_under_another_coder(folder: Path) -> None:
    for name in ("scores", "judgements"):
        _table(folder, name, lambda t: t.assign(coder="better") if "coder" in t else t)
    assert "under coder 'better', and suite planted-1@2-0 under 'planted'" in reasons(rerun(folder))


@pytest.mark.parametrize("label", ["empty", "shuffled"])
def test_a_floor_whose_texts_somebody_chose(folder: Path, label: str) -> None:
    said = reasons(with_text(folder, label, "never active"))
    assert f"the floor {label!r} says of 'planted/" in said


def test_a_floor_of_ones_own_under_a_name_that_everybody_knows(folder: Path) -> None:
    spec = _record(folder)["spec"]
    for entry in spec["explainers"]:
        if entry["label"] == "empty":
            entry["use"] = "mine/empty.yaml"
    assert "the floor 'empty' is 'mine/empty.yaml', a file of its own" in reasons(rerun(folder, spec=spec))


def test_answers_about_an_explanation_that_is_none(folder: Path) -> None:
    said = reasons(with_text(folder, "tokens", None))
    assert "are not about what this run asks: there is no explanation" in said


def test_what_cannot_be_handed_in_is_said_to_the_submitter(folder: Path, tmp_path: Path) -> None:
    run = with_text(folder, "empty", "never active") / "run"
    (tmp_path / STATEMENT).write_text(SAID, encoding="utf-8")
    with pytest.raises(SpecError, match="the floor 'empty' says of"):
        submit(run, tmp_path / "out", tmp_path / STATEMENT)
    assert not (tmp_path / "out").exists()


# --- how far a status reaches


def test_rows_of_another_judge_are_not_reproduced_by_asking_one(folder: Path) -> None:
    """The forged rows are those of the judge that nobody asks."""

    def right(table: pd.DataFrame) -> pd.DataFrame:
        told = (table["explainer"] == "tokens") & (table["judge"] == "two") & table["answer"].notna()
        return table.assign(
            answer=table["truth"].where(told, table["answer"]),
            score=table["truth"].astype(float).where(told & table["score"].notna(), table["score"]),
        )

    record = looked_at(rejudged(folder, right), judge=JUDGE, seed=3)
    assert record.asked is not None
    assert {row.verdict for row in record.asked.rows} == {"equal"}
    assert record.asked.left == 4
    assert "4 other rows of the run were not asked about" in record.asked.summary
    assert record.status == "rescored"


def test_a_later_check_takes_no_status_back(tmp_path: Path) -> None:
    one = SPEC.replace(f', {{use: "{OTHER}", label: two}}', "")
    folder, board = handed_in(carried_out(one, tmp_path), tmp_path), tmp_path / "leaderboards"
    for judge, known in ((JUDGE, "reproduced"), (OTHER, "reproduced"), (None, "reproduced")):
        record, accepted = check(folder, judge=judge, console=Console(quiet=True))
        assert record.status == ("reproduced" if judge == JUDGE else "rescored")
        publish(board, record, accepted)
        assert read_check(board / "checks" / "run.json").status == known


# --- places on the command line


def test_places_that_are_none(given: Path, tmp_path: Path) -> None:
    code, said = bench("submit", "check", "/")
    assert code == 2
    assert "is no folder that was handed in" in said
    code, said = bench("submit", "check", given, "--board", tmp_path / "nowhere", "--out", tmp_path / "check.json")
    assert code == 2
    assert "there are no published rows to look in" in said
    code, said = bench("submit", "check", given, "--seed", 1 << 64, "--out", tmp_path / "check.json")
    assert code == 2
    assert not (tmp_path / "check.json").exists()


def test_duplicates_are_looked_for_where_rows_are_published(honest: Path, given: Path, tmp_path: Path) -> None:
    full, bare = tmp_path / "full", tmp_path / "bare"
    (bare / "results").mkdir(parents=True)
    other = handed_in(signed(copied(honest, tmp_path / "twin"), id="twin"), tmp_path)
    assert bench("submit", "check", given, "--out", tmp_path / "a.json", "--publish", full)[0] == 0
    code, said = bench("submit", "check", other, "--out", tmp_path / "b.json", "--board", bare, "--publish", full)
    assert code == 2
    assert "is a duplicate of a published one" in said
