"""Baselines, comparability, invariants and every output of the gate, on synthetic runs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from latentbench.analysis.gate.baseline import Baseline, array, read_baseline, snapshot, write_baseline
from latentbench.analysis.gate.decide import Verdict
from latentbench.analysis.gate.gate import freeze, gate
from latentbench.analysis.gate.gate_formats import MARKER, github, junit, markdown, tags, terminal
from latentbench.analysis.gate.gate_report import Check, GateReport, GateSettings
from latentbench.analysis.gate.policy import Inconclusive, State, exit_code, state
from latentbench.analysis.gate.verdicts import compare, planned
from latentbench.cli import app
from latentbench.kernel.errors import DataError, DigestMismatch, SpecError, UnknownName
from latentbench.kernel.identity import digest
from latentbench.runs.finished import load_run
from rich.console import Console
from scipy import stats
from typer.testing import CliRunner

from tests.builders.gate_runs import QUIET, by_name
from tests.builders.run_builder import Grid, build_run

GRID = Grid(explainers={"llm": 0.85, "tokens": 0.75, "shuffled": 0.5}, scorers=("detection", "fuzzing"), repeats=2)
FAST = GateSettings(resamples=2000)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_run(tmp_path_factory.mktemp("gate") / "base", GRID)


@pytest.fixture(scope="module")
def base(run: Path) -> Baseline:
    return freeze(run, offline=True)


def changed(base: Baseline, change: Callable[[dict[str, Any]], object]) -> Baseline:
    data = base.model_dump()
    change(data)
    return Baseline.model_validate(data)


def each(base: Baseline, **fields: Any) -> Baseline:
    """With other fields on every row."""
    return changed(base, lambda data: [row.update(fields) for row in data["scores"]])


def shifted(base: Baseline, by: float, explainer: str = "llm") -> Baseline:
    def shift(data: dict[str, Any]) -> None:
        for row in data["scores"]:
            if row["explainer"]["label"] == explainer:
                row["values"] = [None if v is None else v + by for v in row["values"]]

    return changed(base, shift)


# --- baselines


def test_a_baseline_holds_means_over_repeats_and_the_agreement_of_measures(run: Path, base: Baseline) -> None:
    scores = load_run(run).scores
    own = scores[(scores.explainer == "llm") & (scores.scorer == "fuzzing") & (scores.metric == "accuracy")]
    (kept,) = [s for s in base.scores if s.cell == ("llm", "fuzzing", "mock")]
    means = own.groupby("latent").value.mean()
    assert kept.values == pytest.approx([means[latent] for latent in base.latents], rel=1e-5)
    assert kept.repeats == 2
    real = [
        np.concatenate([array(s) for s in base.headlines() if s.scorer.label == scorer])
        for scorer in ("detection", "fuzzing")
    ]
    assert base.agreement.spearman[0][1] == pytest.approx(stats.spearmanr(*real).statistic, abs=1e-5)
    assert {s.explainer.label for s in base.headlines()} == {"llm", "tokens"}


def test_a_baseline_survives_its_file_and_an_edited_number_does_not(base: Baseline, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    write_baseline(base, path)
    assert read_baseline(path) == base
    text = path.read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) < 3000
    value = base.scores[0].values[0]
    path.write_text(text.replace(f'"values": [{value}', '"values": [0.123', 1), encoding="utf-8")
    with pytest.raises(DigestMismatch, match="freeze it again"):
        read_baseline(path)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not a baseline"), ("[]", "layout None"), ('{"layout": 9}', "layout 9")]
)
def test_what_is_no_baseline_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "b.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_baseline(tmp_path / "b.json")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda d: d["scores"][0]["values"].__setitem__(0, 7.5), "has the value 7.5, outside its range"),
        (lambda d: d["scores"][0]["values"].append(0.5), "values for 30 latents"),
        (lambda d: d["scores"][0].update(n_judged=d["scores"][0]["n_attempted"] + 1), "were judged"),
        (lambda d: d["scores"][0].update(n_judged=1), "latents from 1 judgements"),
        (lambda d: d["scores"][0].update(higher_is_better=False), "what others under"),
        (lambda d: d["scores"][0].update(high=9.0), "what others under"),
        (lambda d: d["scores"][0].update(headline=False), "what others under"),
        (lambda d: d["scores"].append(d["scores"][0]), "is there twice"),
        (lambda d: d["latents"].__setitem__(0, d["latents"][1]), "a latent twice"),
        (lambda d: d["scores"][0]["values"].__setitem__(0, 0.0), "the agreement of"),
        (lambda d: d["agreement"]["spearman"][0].__setitem__(1, 0.99), "and it says 0.99"),
        (lambda d: d["agreement"].update(spearman=[]), "is no table of 2 by 2"),
    ],
)
def test_a_baseline_that_cannot_be_is_refused_whatever_its_digest(tmp_path, edit, said):
    path = tmp_path / "b.json"
    write_baseline(snapshot(load_run(build_run(tmp_path / "r", Grid(scorers=("detection", "fuzzing"))))), path)
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DigestMismatch, match="hashes to"):
        read_baseline(path)
    del content["digest"]
    path.write_text(json.dumps({**content, "digest": digest(Baseline.model_validate(content).model_dump())}), "utf-8")
    with pytest.raises(DigestMismatch, match=re.escape(said)):
        read_baseline(path)


def test_more_metrics_by_name(run: Path) -> None:
    found = snapshot(load_run(run), ["recall"])
    assert [s.metric for s in found.scores if s.cell == ("llm", "detection", "mock")] == ["accuracy", "recall"]
    with pytest.raises(UnknownName, match="Did you mean 'recall'"):
        snapshot(load_run(run), ["recal"])


# --- verdicts


def test_nothing_changed(base: Baseline) -> None:
    report = compare(base, base, FAST)
    assert report.verdict is Verdict.PASS
    assert [c.name for c in report.checks if c.kind == "metric"] == [
        f"{e}/{s}/mock: accuracy" for s in ("detection", "fuzzing") for e in ("llm", "tokens")
    ]
    assert [c.name for c in report.checks if c.kind == "agreement"] == ["detection/mock ~ fuzzing/mock"]
    assert planned(base) == [(c.kind, c.name) for c in report.checks]


def test_a_drop_of_one_explainer_fails_its_metrics_alone(base: Baseline) -> None:
    report = compare(base, shifted(base, -0.1), FAST)
    failed = [c for c in report.checks if c.verdict is Verdict.FAIL]
    assert [c.name for c in failed] == ["llm/detection/mock: accuracy", "llm/fuzzing/mock: accuracy"]
    assert all(c.estimate == pytest.approx(-0.1) for c in failed)
    assert report.exit_code() == 1


def test_agreement_can_fall_while_every_mean_stays(base: Baseline) -> None:
    rng = np.random.default_rng(0)

    def tie(data: dict[str, Any]) -> None:
        rows = {(r["explainer"]["label"], r["scorer"]["label"]): r for r in data["scores"]}
        for e in ("llm", "tokens"):
            rows[e, "fuzzing"]["values"] = list(rows[e, "detection"]["values"])

    def shuffle(data: dict[str, Any]) -> None:
        for row in data["scores"]:
            if row["scorer"]["label"] == "fuzzing":
                row["values"] = rng.permutation(row["values"]).tolist()

    agreed = changed(base, tie)
    report = compare(agreed, changed(agreed, shuffle), FAST)
    checks = by_name(report)
    assert checks["detection/mock ~ fuzzing/mock"].verdict is Verdict.FAIL
    assert all(abs(c.estimate) < 1e-9 for c in report.checks if c.kind == "metric")


def test_a_floor_is_not_gated(base: Baseline) -> None:
    assert compare(base, shifted(base, -0.3, "shuffled"), FAST).verdict is Verdict.PASS


def test_other_orders_of_latents_change_nothing(base: Baseline) -> None:
    order = np.random.default_rng(0).permutation(len(base.latents))

    def permute(data: dict[str, Any]) -> None:
        data["latents"] = [data["latents"][i] for i in order]
        for row in data["scores"]:
            row["values"] = [row["values"][i] for i in order]

    head = shifted(base, -0.013)
    assert compare(base, changed(head, permute), FAST).checks == compare(base, head, FAST).checks


def test_an_undecided_difference_names_a_number_and_exits_3(base: Baseline) -> None:
    rng = np.random.default_rng(0)

    def noise(data: dict[str, Any]) -> None:
        for row in data["scores"]:
            row["values"] = [v + rng.normal(0, 0.15) for v in row["values"]]

    report = compare(base, changed(base, noise), FAST)
    undecided = [c for c in report.checks if c.verdict is Verdict.INCONCLUSIVE]
    assert undecided
    assert all(c.needed is None or c.needed > c.n for c in undecided)
    assert re.search(r"30 latents do not decide it, about \d+ would", undecided[0].message)
    assert (report.exit_code(), report.exit_code(Inconclusive.SKIP)) == (3, 0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d["suite"].update(version="2-0"), "the suite is synthetic@2-0"),
        (lambda d: d["suite"].update(name="other"), "the suite is other@1-0"),
        (lambda d: d.update(split="tune"), "the run is on tune latents"),
        (lambda d: [r["scorer"].update(id="s@2-0") for r in d["scores"]], "the scorer is s@2-0"),
        (lambda d: [r["judge"].update(revision="1") for r in d["scores"]], r"the judge is mock:mock \(1\)"),
        (lambda d: [r["judge"].update(model="gpt") for r in d["scores"]], "the judge is mock:gpt"),
    ],
)
def test_another_major_version_is_not_comparable_and_never_passes(base: Baseline, change: Any, reason: str) -> None:
    report = compare(base, changed(base, change), FAST)
    tested = [c for c in report.checks if c.statistical]
    assert {c.verdict for c in tested} == {Verdict.NOT_COMPARABLE}
    assert all(re.search(reason, c.message) for c in tested)
    assert report.exit_code() == report.exit_code(Inconclusive.SKIP) == 4
    assert [(c.kind, c.name) for c in report.checks] == planned(base)


def test_another_minor_version_or_prompt_is_compared_and_noted(base: Baseline) -> None:
    head = changed(base, lambda d: [r["scorer"].update(id=f"{r['scorer']['label']}@1-7", key="k") for r in d["scores"]])
    report = compare(base, head, FAST)
    assert report.verdict is Verdict.PASS
    assert "scorer detection: detection@1-0 became detection@1-7" in report.notes[0]


def test_scores_over_another_intervention_table_are_not_comparable(base: Baseline, tmp_path: Path) -> None:
    folder = build_run(tmp_path / "base", GRID)
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    for cell in record["cells"]:
        if cell["scorer"]["label"] == "fuzzing":
            cell["scorer"]["steered"] = "t"
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    head = snapshot(load_run(folder))
    assert compare(head, head, FAST).verdict is Verdict.PASS
    checks = {c.name: c for c in compare(base, head, FAST).checks if c.statistical}
    assert checks["llm/detection/mock: accuracy"].verdict is Verdict.PASS
    apart = {name for name, c in checks.items() if c.verdict is Verdict.NOT_COMPARABLE}
    assert apart == {name for name in checks if "fuzzing" in name}
    assert {checks[name].message for name in apart} == {"the intervention table is t, the baseline's None"}


def test_a_row_without_any_value_in_the_baseline_has_none_to_lose(base: Baseline) -> None:
    def clear(data: dict[str, Any]) -> None:
        for row in data["scores"]:
            if (row["explainer"]["label"], row["scorer"]["label"]) == ("llm", "detection"):
                row["values"] = [None for _ in row["values"]]

    empty, name = changed(base, clear), "llm/detection/mock: accuracy"
    for head in (empty, base):
        report = compare(empty, head, FAST)
        found = by_name(report)[name]
        assert found.verdict is Verdict.PASS
        assert "no value" in found.message
        assert [(c.kind, c.name) for c in report.checks] == planned(empty)
    assert compare(empty, empty, FAST).verdict is Verdict.PASS
    assert ("metric", name) in planned(empty)


def test_a_gate_that_compares_nothing_does_not_pass() -> None:
    assert GateReport("nothing", []).exit_code() == 4


# --- invariants


@pytest.mark.parametrize(
    ("change", "name", "infrastructure"),
    [
        (lambda d: d["suite"].update(digest="f" * 16), "suite digest", False),
        (lambda d: d["scores"].pop(), "rows", True),
        (
            lambda d: [r.update(n_judged=r["n_judged"] * 0 + 500) for r in d["scores"][:1]],
            "coverage detection/mock",
            True,
        ),
        (lambda d: [r.update(n_judged=480, n_attempted=480) for r in d["scores"][:1]], "windows detection/mock", False),
        (lambda d: [r["judging"].update(tokens_in=9e3) for r in d["scores"][:1]], "cost detection/mock", False),
        (lambda d: [r["judging"].update(dollars=9.0) for r in d["scores"][:1]], "cost detection/mock", False),
        (lambda d: [r["explaining"].update(tokens_out=9e3) for r in d["scores"]], "cost explaining", False),
        (lambda d: [r["judging"].update(seconds=60.0) for r in d["scores"][:1]], "latency detection/mock", True),
    ],
)
def test_invariants(base: Baseline, change: Any, name: str, infrastructure: bool) -> None:
    assert by_name(compare(base, base, FAST))[name].verdict is Verdict.PASS
    found = by_name(compare(base, changed(base, change), FAST))[name]
    assert (found.verdict, found.infrastructure) == (Verdict.FAIL, infrastructure), found.message


def test_a_missing_latent_is_not_passed_over(base: Baseline) -> None:
    def drop(data: dict[str, Any]) -> None:
        data["latents"] = data["latents"][1:]
        for row in data["scores"]:
            row["values"] = row["values"][1:]

    report = compare(base, changed(base, drop), FAST)
    assert by_name(report)["latents"].verdict is Verdict.FAIL
    assert {c.n for c in report.checks if c.kind == "metric"} == {29}


def test_a_run_on_other_latents_is_not_comparable_and_keeps_every_name(base: Baseline) -> None:
    other = changed(base, lambda d: d.update(latents=[f"x/{latent}" for latent in d["latents"]]))
    report = compare(base, other, FAST)
    assert {c.verdict for c in report.checks if c.statistical} == {Verdict.NOT_COMPARABLE}
    assert by_name(report)["latents"].verdict is Verdict.FAIL
    assert [(c.kind, c.name) for c in report.checks] == planned(base)


def test_latency_is_compared_on_the_same_hardware_only(base: Baseline) -> None:
    slow = changed(base, lambda d: [r["judging"].update(seconds=60.0) for r in d["scores"]])
    other = slow.model_copy(update={"hardware": {"machine": "other"}})
    found = by_name(compare(base, other, FAST))["latency detection/mock"]
    assert found.verdict is Verdict.PASS
    assert "other hardware" in found.message


def test_planted_canaries_must_still_rank(base: Baseline) -> None:
    planted = base.model_copy(update={"planted": base.latents})
    name = "canaries detection/mock"
    assert by_name(compare(planted, planted, FAST))[name].verdict is Verdict.PASS

    def swap(data: dict[str, Any]) -> None:
        rows = {(r["explainer"]["label"], r["scorer"]["label"]): r for r in data["scores"]}
        llm, null = rows["llm", "detection"], rows["shuffled", "detection"]
        llm["values"], null["values"] = null["values"], llm["values"]

    found = by_name(compare(planted, changed(planted, swap), FAST))[name]
    assert found.verdict is Verdict.FAIL
    assert "lost first: res9/" in found.message


def test_drift_beyond_the_judges_own_noise(base: Baseline) -> None:
    noisy = base.model_copy(update={"noise": {"mock": 0.1}})
    for distance, verdict in ((0.21, Verdict.PASS), (0.23, Verdict.FAIL)):
        assert by_name(compare(noisy, base, FAST, {"mock": distance}))["judge mock"].verdict is verdict
    assert "not checked" in by_name(compare(noisy, base, FAST, None))["judge mock"].message
    assert by_name(compare(noisy, base, FAST, {}))["judge mock"].verdict is Verdict.FAIL


# --- outputs


@pytest.fixture(scope="module")
def mixed(base: Baseline) -> GateReport:
    """Failures, errors, skips, and text that every format must escape."""
    rng = np.random.default_rng(0)

    def change(data: dict[str, Any]) -> None:
        for row in data["scores"]:
            drop = 0.3 if row["explainer"]["label"] == "llm" else 0.0
            row["values"] = [v - drop + rng.normal(0, 0.1) for v in row["values"]]
            row["n_judged"] = 400
        data["suite"]["digest"] = "f" * 16

    report = compare(base, changed(base, change), FAST)
    odd = Check("invariant", "a|b <c> & \x00 @d", Verdict.NOT_COMPARABLE, "100 % of: this,\nand that", True)
    return GateReport(report.title, [*report.checks, odd], ["a note"], report.identities, 1.5)


JUNIT: dict[str, tuple[set[str], set[str], list[str]]] = {
    # element: required attributes, optional ones, children; as in the schema that Jenkins' xunit plugin publishes.
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors"}, ["testsuite"]),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {"skipped", "time", "timestamp", "hostname", "id", "package", "file", "group", "log", "url"},
        ["properties", "testcase", "testsuite", "system-out", "system-err"],
    ),
    "testcase": ({"name"}, {"classname", "time", "group"}, ["skipped", "error", "failure", "system-out", "system-err"]),
    "failure": (set(), {"type", "message"}, []),
    "error": (set(), {"type", "message"}, []),
    "skipped": (set(), {"type", "message"}, []),
    "system-out": (set(), set(), []),
}


def test_junit_keeps_the_rules_of_the_usual_schema(mixed: GateReport) -> None:
    root = ET.fromstring(junit(mixed, Inconclusive.SKIP).encode())
    for element in root.iter():
        required, optional, children = JUNIT[element.tag]
        assert required <= set(element.attrib) <= required | optional, element.tag
        assert {child.tag for child in element} <= set(children), element.tag
        for name in {"tests", "failures", "errors", "skipped"} & set(element.attrib):
            assert element.attrib[name].isdigit()
        if "time" in element.attrib:
            assert re.fullmatch(r"\d{1,3}(,?\d{3})*(\.\d*)?", element.attrib["time"])
    (suite,) = root
    cases = suite.findall("testcase")
    assert len(cases) == len(mixed.checks) == int(suite.attrib["tests"])
    for tag, count in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert len(suite.findall(f"testcase/{tag}")) == int(suite.attrib[count]) > 0
    told = {case.attrib["name"]: [child.tag for child in case] for case in cases}
    assert told["llm/detection/mock: accuracy"] == ["failure"]
    assert told["coverage detection/mock"] == ["error"]
    assert told["suite digest"] == ["failure"]
    assert told["a|b <c> & � @d"] == ["error"]


def test_a_report_without_a_check_is_no_file_of_no_failures() -> None:
    suite = ET.fromstring(junit(GateReport("t", [])).encode())[0]
    assert (suite.attrib["tests"], suite.attrib["errors"]) == ("1", "1")


@pytest.mark.parametrize("policy", list(Inconclusive))
@pytest.mark.parametrize("verdict", list(Verdict))
def test_exit_code_and_junit_stop_for_the_same_verdicts(verdict: Verdict, policy: Inconclusive) -> None:
    report = GateReport("t", [Check("metric", "a", verdict, "m"), Check("metric", "b", Verdict.PASS, "m")])
    suite = ET.fromstring(junit(report, policy).encode())[0]
    stops = suite.attrib["failures"] != "0" or suite.attrib["errors"] != "0"
    assert stops == (report.exit_code(policy) != 0) == state(verdict, inconclusive=policy).stops
    assert report.as_dict(policy)["exit_code"] == exit_code(verdict, policy)
    assert stops == (verdict in (Verdict.FAIL, Verdict.NOT_COMPARABLE) or (verdict, policy) == ("inconclusive", "fail"))
    skipped = (verdict, policy) == ("inconclusive", "skip")
    assert (suite.attrib["skipped"] == "1") == skipped == (state(verdict, inconclusive=policy) is State.SKIPPED)


@pytest.mark.parametrize(
    "limit", ["delta", "delta_agreement", "coverage", "margin", "canaries", "drift", "tokens", "dollars", "latency"]
)
@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1])
def test_no_limit_of_a_gate_is_nan_infinite_or_below_0(limit: str, value: float) -> None:
    with pytest.raises(SpecError, match=f"{limit} must be a finite number"):
        GateSettings(**{limit: value})
    with pytest.raises(SpecError, match="delta of m must be"):
        GateSettings(deltas={"m": value})


def test_the_summary_reads_at_80_columns(mixed: GateReport, base: Baseline) -> None:
    long = changed(
        base,
        lambda d: [
            r["explainer"].update(label=f"{r['explainer']['label']}-with-a-long-name-and-a-preset") for r in d["scores"]
        ],
    )
    for report in (mixed, compare(long, shifted(long, -0.1, "llm-with-a-long-name-and-a-preset"), FAST)):
        console = Console(width=80, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        console.print(terminal(report))
        lines = console.export_text().splitlines()
        assert max(map(len, lines)) <= 80
        assert lines[0] == report.summary()
        text = " ".join(" ".join(lines).split())
        for c in report.checks:
            if c.verdict is Verdict.FAIL and c.statistical:
                assert f"{c.base:.3f} {c.head:.3f} {c.estimate:+.3f} {c.low:+.3f}" in text
            elif c.verdict is Verdict.FAIL:
                assert c.name in text
    # The worst stands on top.
    marks = [line[0] for line in lines if re.match(r"[x?.!] +\S+/", line)]
    assert marks == sorted(marks, key="x!?.".index)


def test_github_lines_are_escaped_and_counted(mixed: GateReport) -> None:
    lines = github(mixed).splitlines()
    assert all(re.fullmatch(r"::(error|warning) title=[^:,\n]*::[^\n]*", line) for line in lines)
    assert "::error title=not comparable%3A a|b <c> & \\u0000 @d::100 %25 of: this,%0Aand that" in lines
    many = GateReport("t", [Check("metric", str(i), Verdict.FAIL, "m") for i in range(25)])
    lines = github(many).splitlines()
    assert len(lines) == 10
    assert lines[-1] == "::error title=gate::and 16 more, see the summary"
    assert github(GateReport("t", [Check("metric", "a", Verdict.PASS, "m")])) == ""


def test_markdown_neither_breaks_its_table_nor_calls_anybody(mixed: GateReport) -> None:
    text = markdown(mixed)
    assert text.startswith(MARKER)
    assert mixed.summary() in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + sum(c.statistical for c in mixed.checks)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {9}
    assert "@d" not in text
    assert "<c>" not in text


def test_json_has_everything_and_no_nan(mixed: GateReport) -> None:
    data = json.loads(json.dumps(mixed.as_dict(), allow_nan=False))
    assert (data["verdict"], data["exit_code"]) == ("fail", 1)
    assert len(data["checks"]) == len(mixed.checks)
    first = next(c for c in data["checks"] if c["name"] == "llm/detection/mock: accuracy")
    assert first["p"] < 0.01
    assert data["identities"]["head"]["judges"]["mock"][0] == "mock:mock (0)"


def test_tags_name_the_failures(mixed: GateReport) -> None:
    found = tags(mixed)
    assert found["latentbench.gate.verdict"] == "fail"
    assert "llm/detection/mock: accuracy" in found["latentbench.gate.failed"]
    assert tags(GateReport("t", [Check("metric", "a", Verdict.PASS, "m")]))["latentbench.gate.failed"] == ""
    assert max(map(len, found.values())) < 5000


# --- command line


def test_the_command_line_from_freeze_to_exit_code(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli, file = CliRunner(), tmp_path / "b.json"
    done = cli.invoke(app, ["baseline", "freeze", str(run), "-o", str(file), "--offline"])
    assert done.exit_code == 0, done.output
    worse = build_run(
        tmp_path / "worse", Grid(explainers={**GRID.explainers, "llm": 0.5}, scorers=GRID.scorers, repeats=2)
    )
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    (tmp_path / "step.md").write_text("before\n", encoding="utf-8")
    outputs = [f"--{kind}={tmp_path / f'out.{kind}'}" for kind in ("json", "junit", "markdown")]
    for folder, code, extra in (
        (run, 0, []),
        (worse, 1, [*outputs, "--github"]),
        (worse, 1, ["--allow-inconclusive"]),
        (worse, 1, ["--inconclusive", "pass"]),
        (worse, 2, ["--inconclusive", "pass", "--allow-inconclusive"]),
        (worse, 2, ["--max-latency", "nan"]),
        (worse, 2, ["--metric-delta", "accuracy=nan"]),
        (worse, 2, ["--metric-delta", "accuracy=inf"]),
        (worse, 2, ["--delta", "0"]),
        (worse, 2, ["--metric-delta", "accuracy"]),
        (run, 0, ["--metric-delta", "accuracy=0.01"]),
    ):
        done = cli.invoke(app, ["gate", str(folder), "--baseline", str(file), *extra])
        assert done.exit_code == code, done.output
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["verdict"] == "fail"
    ET.parse(tmp_path / "out.junit")
    assert (tmp_path / "step.md").read_text(encoding="utf-8") == "before\n" + (tmp_path / "out.markdown").read_text(
        encoding="utf-8"
    )


def test_a_report_is_the_same_every_time(run: Path, base: Baseline, tmp_path: Path) -> None:
    write_baseline(base, tmp_path / "b.json")
    worse = build_run(tmp_path / "worse", Grid(explainers=GRID.explainers, scorers=GRID.scorers, seed=1))
    first, second = ({**gate(worse, tmp_path / "b.json", FAST, QUIET)[0].as_dict(), "seconds": 0} for _ in range(2))
    assert first == second
    assert not any(isinstance(c["p"], float) and math.isnan(c["p"]) for c in first["checks"])


def test_checks_of_labels_that_hold_separators_have_names_of_their_own(tmp_path: Path) -> None:
    """`a/b` with `c`, and `a` with `b/c`, were one check: the plugin gave both the first one's verdict."""
    grid = Grid(
        explainers={"a/b": 0.9, "a": 0.6},
        scorers=("c", "b/c", "c ~ b"),
        judges=("j", "c/j", "b ~ c/j"),
        coders={"res9": 8},
    )
    found = freeze(build_run(tmp_path / "slashed", grid), offline=True)
    checks = planned(found)
    assert len(set(checks)) == len(checks)
    cases = ET.fromstring(junit(compare(found, found, GateSettings(resamples=20)))).iter("testcase")
    names = [(case.attrib["classname"], case.attrib["name"]) for case in cases]
    assert len(set(names)) == len(names) == len(checks)
