"""A key says what a scorer or explainer does: neither how its code is written, nor what a run calls it."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import latentbench
import pytest
from latentbench.explainers.ensemble import EnsembleExplainer
from latentbench.explainers.explainer import Explainer, load_explainer
from latentbench.kernel.implementation import implementation
from latentbench.kernel.tasks import find
from latentbench.runs.plan import explainer_keys
from latentbench.runs.run import prepare
from latentbench.runs.run_spec import load_run_spec
from latentbench.runs.run_tables import describe
from latentbench.scorers.scorer import Scorer, load_scorer

PACKAGE = Path(latentbench.__file__).parent
ROOT = PACKAGE.parents[1]

ALL_KEYS = """
import json, sys, yaml
from pathlib import Path
import latentbench
from latentbench.explainers.explainer import load_explainer
from latentbench.scorers.scorer import load_scorer
found = {"place": latentbench.__file__}
for kind in ("scorers", "explainers"):
    for path in sorted((Path(sys.argv[1]) / kind).glob("*.yaml")):
        for preset in [None, *yaml.safe_load(path.read_text(encoding="utf-8")).get("presets", {})]:
            entry = {"use": path.stem, "preset": preset}
            if kind == "scorers":
                key = load_scorer(entry).key
            else:
                explainer = load_explainer(entry)
                key = explainer.key({label: label for label in explainer.after})
            found[f"{kind} {path.stem} {preset}"] = key
print(json.dumps(found))
"""


def every_key(folder: Path) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", ALL_KEYS, str(ROOT / "tasks")],
        cwd=ROOT,
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    assert found.pop("place").startswith(str(folder))
    return found


def test_comments_docstrings_and_file_names_change_no_key(tmp_path: Path) -> None:
    copy = tmp_path / "latentbench"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors", "_tasks"))
    for name in ("scorers/detection.py", "scorers/binary_task.py", "explainers/llm.py"):
        text = (copy / name).read_text(encoding="utf-8")
        place = text.index('    """', text.index("\nclass ")) + len('    """')
        changed = text[:place] + "Other words. " + text[place:] + "\n# Another comment.\n"
        (copy / name).write_text(changed, encoding="utf-8")
    (copy / "scorers" / "fuzzing.py").rename(copy / "scorers" / "marked.py")
    for file in copy.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if "scorers.fuzzing" in text:
            file.write_text(text.replace("scorers.fuzzing", "scorers.marked"), encoding="utf-8")
    before, after = every_key(PACKAGE.parent), every_key(tmp_path)
    assert len(before) > 40
    assert after == before


def entries(tokens: str = "tokens", vocab: str = "vocab", **params: Any) -> dict[str, Any]:
    return {
        "label-ensemble": {"use": "ensemble", "params": {"of": [tokens, vocab]}},
        "label-shuffled": {"use": "shuffled", "params": {"of": tokens}},
        "label-twice": {"use": "shuffled", "params": {"of": "label-ensemble"}},
        tokens: {"use": "tokens", "params": params},
        vocab: "vocab",
    }


def keys(spec: dict[str, Any]) -> dict[str, str]:
    return explainer_keys({label: load_explainer(entry) for label, entry in spec.items()})


READERS = ("label-ensemble", "label-shuffled", "label-twice")


def test_a_label_is_no_part_of_a_key() -> None:
    one, two = keys(entries()), keys(entries("a", "b"))
    assert [one[name] for name in (*READERS, "tokens", "vocab")] == [two[name] for name in (*READERS, "a", "b")]
    # Only what a label stands for counts, so exchanged labels are exchanged parts.
    assert keys(entries("vocab", "tokens")) == {**one, "tokens": one["vocab"], "vocab": one["tokens"]}


def test_whoever_reads_an_explainer_changes_with_it() -> None:
    one, two = keys(entries()), keys(entries(n_tokens=3))
    assert one["tokens"] != two["tokens"]
    assert one["vocab"] == two["vocab"]
    for reader in READERS:
        assert one[reader] != two[reader]


def test_the_order_of_parts_counts() -> None:
    spec = entries()
    spec["label-ensemble"] = {"use": "ensemble", "params": {"of": ["vocab", "tokens"]}}
    assert keys(spec)["label-ensemble"] != keys(entries())["label-ensemble"]


def test_a_run_writes_the_keys_that_its_plan_resolved(tmp_path: Path) -> None:
    spec = load_run_spec(ROOT / "tasks" / "runs" / "gate.yaml")
    plan = prepare(spec, ROOT / "tasks" / "runs", None)
    assert plan.identities().explainers == plan.explainer_keys == explainer_keys(plan.explainers)
    assert {c.explainer.label: c.explainer.key for c in describe(plan)} == plan.explainer_keys


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 2-0", "version: 3-0"),
        ("You check descriptions", "You verify descriptions"),
        ("implementation: detection", "implementation: fuzzing"),
    ],
)
def test_version_prompts_and_implementation_change_a_key(tmp_path: Path, old: str, new: str) -> None:
    text = find("scorers", "detection").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    before = load_scorer(str(path)).key
    path.write_text(text.replace(old, new), encoding="utf-8")
    assert load_scorer(str(path)).key != before


def test_parameters_change_a_key() -> None:
    assert load_scorer("detection").key != load_scorer({"use": "detection", "params": {"positives": 3}}).key
    assert load_explainer("tokens").key({}) != load_explainer({"use": "tokens", "params": {"n_tokens": 3}}).key({})


def test_tasks_with_the_same_content_and_another_implementation_differ(tmp_path: Path) -> None:
    found = set()
    for name in ("empty", "planted"):
        path = tmp_path / "mine.yaml"
        path.write_text(f"version: 1-0\nimplementation: {name}\nsummary: One.\n", encoding="utf-8")
        found.add(load_explainer(str(path)).key({}))
    assert len(found) == 2


FOREIGN = '''
from latentbench.explainers.ensemble import EnsembleExplainer
from latentbench.scorers.detection import Detection

class Base:
    """Helper of both."""
    step = 1

class Mine(Base, Detection):
    pass

class Joined(Base, EnsembleExplainer):
    pass
'''


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("foreign_methods", None)


def foreign(place: Path, source: str, version: str | None) -> tuple[str, str]:
    """Keys of a scorer and an explainer of another package with this source, of this version or of no distribution."""
    import linecache

    (place / "foreign_methods.py").write_text(source, encoding="utf-8")
    for old in place.glob("*.dist-info"):
        shutil.rmtree(old)
    if version is not None:
        info = place / f"foreign_methods-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: foreign-methods\nVersion: {version}\n", encoding="utf-8"
        )
        (info / "top_level.txt").write_text("foreign_methods\n", encoding="utf-8")
    shutil.rmtree(place / "__pycache__", ignore_errors=True)
    sys.modules.pop("foreign_methods", None)
    importlib.invalidate_caches()
    linecache.checkcache()
    module = importlib.import_module("foreign_methods")
    detection, ensemble = load_scorer("detection"), load_explainer("ensemble")
    scorer: Scorer = module.Mine("mine", "1-0", "auroc", detection.params, detection.prompts)
    joined: Explainer = module.Joined("joined", "1-0", ensemble.params, ensemble.prompts)
    return scorer.key, joined.key(dict.fromkeys(ensemble.after, "part"))


def test_a_foreign_class_is_its_source_and_version(place: Path) -> None:
    plain = foreign(place, FOREIGN, None)
    assert foreign(place, FOREIGN, None) == plain
    installed = foreign(place, FOREIGN, "1.0")
    assert implementation(sys.modules["foreign_methods"].Mine).distributions == ("foreign-methods==1.0",)
    assert foreign(place, FOREIGN, "1.0") == installed
    others = [
        plain,
        installed,
        foreign(place, FOREIGN, "1.1"),
        foreign(place, FOREIGN.replace("step = 1", "step = 2"), "1.0"),
    ]
    for one in zip(*others, strict=True):
        assert len(set(one)) == len(others)


class Overriding(EnsembleExplainer):
    """Names what it reads by itself."""

    @property
    def after(self) -> tuple[str, ...]:
        return ("third", *super().after)


def test_parts_that_no_parameter_names_count() -> None:
    ensemble = load_explainer("ensemble")
    mine = Overriding("mine", "1-0", ensemble.params, ensemble.prompts)
    parts = dict.fromkeys(mine.after, "part")
    assert mine.key(parts) == mine.key(parts | {"other": "x"})
    assert mine.key(parts) != mine.key(parts | {"third": "another"})
