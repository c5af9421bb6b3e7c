"""Every shipped task file loads, and none changes silently."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from latentbench.explainers.explainer import Explainer, load_explainer
from latentbench.kernel.errors import SpecError, UnknownName
from latentbench.kernel.identity import digest
from latentbench.kernel.registry import names
from latentbench.prompts.task import read_task
from latentbench.prompts.template import FIELD
from latentbench.scorers.scorer import Scorer, load_scorer

TASKS = Path(__file__).parents[2] / "tasks"
FILES = sorted([*(TASKS / "scorers").glob("*.yaml"), *(TASKS / "explainers").glob("*.yaml")])

DIGESTS = {
    "explainers/agent@1-0": "66815580e9e5b0a7",
    "explainers/best-of-k@2-0": "f7cac8369750ab0d",
    "explainers/best-of-k@3-0": "f7cac8369750ab0d",
    "explainers/constant@1-0": "c8f80855b86afb42",
    "explainers/contrastive@2-0": "8cd97a97b60acf19",
    "explainers/contrastive@3-0": "8cd97a97b60acf19",
    "explainers/copied-words@1-0": "9668db4f0067f93c",
    "explainers/empty@1-0": "8b49efe1683f46be",
    "explainers/ensemble@1-0": "b7227796ea121a8e",
    "explainers/excerpts@1-0": "fb9f3908dc69561c",
    "explainers/file@1-0": "e33110699a33136e",
    "explainers/llm-small@2-0": "648f3b04ce821e42",
    "explainers/llm-small@3-0": "648f3b04ce821e42",
    "explainers/llm-words@2-0": "f58e6235cfd0f176",
    "explainers/llm-words@3-0": "f58e6235cfd0f176",
    "explainers/llm@2-0": "b576e2c186fca898",
    "explainers/llm@3-0": "b576e2c186fca898",
    "explainers/multi@1-0": "6624e9f362dc8c61",
    "explainers/output@2-0": "1bfab3a3ed7e6376",
    "explainers/output@3-0": "1bfab3a3ed7e6376",
    "explainers/patched@1-0": "ad257f5a5144f152",
    "explainers/planted@1-0": "66435d1d87fa4bc2",
    "explainers/shuffled@1-0": "4a5d856d2d0272ba",
    "explainers/shuffled@2-0": "4a5d856d2d0272ba",
    "explainers/tokens@1-0": "2c40fd2c2183b41a",
    "explainers/vocab@1-0": "e6f4a0bf2af623db",
    "scorers/detection@1-0": "35ed76bbb92735e7",
    "scorers/detection@2-0": "35ed76bbb92735e7",
    "scorers/direction@1-0": "46750e82310ec49c",
    "scorers/embedding@1-0": "f5fef3a24eb71f18",
    "scorers/embedding@2-0": "f5fef3a24eb71f18",
    "scorers/example_embedding@1-0": "1ac65382bbe54e66",
    "scorers/fuzzing@1-0": "73c1f48ee83b6e69",
    "scorers/fuzzing@2-0": "73c1f48ee83b6e69",
    "scorers/intervention@1-0": "b81505667a32a8fc",
    "scorers/intruder@1-0": "2d054d8439ee28ae",
    "scorers/intruder@2-0": "2d054d8439ee28ae",
    "scorers/output_choice@1-0": "036cfa97dd03bc30",
    "scorers/output_choice@2-0": "036cfa97dd03bc30",
    "scorers/saebench@1-0": "4d21a6a80184eae8",
    "scorers/saebench@2-0": "4d21a6a80184eae8",
    "scorers/sensitivity@1-0": "7dd81e85bb696abf",
    "scorers/sensitivity@1-1": "3573e6d770679d38",
    "scorers/sensitivity@2-0": "3573e6d770679d38",
    "scorers/simulation@1-0": "6758f221ce7713b9",
    "scorers/simulation@2-0": "6758f221ce7713b9",
    "scorers/simulation_inline@1-0": "c34f307a823c9afa",
    "scorers/surprisal@1-0": "6a73a754d1e4c0e8",
    "scorers/surprisal@2-0": "6a73a754d1e4c0e8",
}


def content(path: Path) -> str:
    """Digest of what can change a score: everything but the summary."""
    _, _, task, _ = read_task(path.parent.name, str(path))
    # Fields that came later are left out where they are empty, so that the digests of older files stay.
    later = set() if task.headlines else {"headlines"}
    return digest(task.model_dump(exclude={"summary", "version"} | later))


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_published_task_does_not_change_silently(path: Path) -> None:
    version = yaml.safe_load(path.read_text(encoding="utf-8"))["version"]
    key = f"{path.parent.name}/{path.stem}@{version}"
    fault = moved(key, content(path), DIGESTS)
    assert not fault, fault


def moved(key: str, now: str, published: Mapping[str, str]) -> str:
    """What the author of a task file has to do; nothing where its digest is the published one."""
    line = f'    "{key}": "{now}",'
    if key not in published:
        return f"{key} is new. If that is what you want to publish, add its line to DIGESTS in {__file__}:\n{line}"
    if published[key] != now:
        return (
            f"{key} is not what it was ({now}). Scores of the old and the new wording do not compare: give the file another "
            "version (N-X, N if results change) and add its line to DIGESTS. Lines of published versions stay."
        )
    return ""


def test_a_new_file_and_a_changed_one_are_told_apart() -> None:
    published = {"scorers/mine@1-0": "aaaa"}
    assert moved("scorers/mine@1-0", "aaaa", published) == ""
    assert "is not what it was (bbbb)" in moved("scorers/mine@1-0", "bbbb", published)
    new = moved("scorers/mine@1-1", "bbbb", published)
    assert "is new" in new
    assert new.endswith('\n    "scorers/mine@1-1": "bbbb",')


def key(loaded: Scorer | Explainer) -> str:
    if isinstance(loaded, Scorer):
        return loaded.key
    return loaded.key({label: f"what {label} is" for label in loaded.after})


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_task_and_preset_loads(path: Path) -> None:
    load = load_scorer if path.parent.name == "scorers" else load_explainer
    task = yaml.safe_load(path.read_text(encoding="utf-8"))
    for preset in [None, *task.get("presets", {})]:
        loaded, again = (load({"use": path.stem, "preset": preset}) for _ in range(2))
        assert loaded.id == f"{path.stem}@{task['version']}"
        assert key(loaded) == key(again)


def test_every_builtin_implementation_has_a_task() -> None:
    for kind in ("scorer", "explainer"):
        used = {
            yaml.safe_load(p.read_text(encoding="utf-8"))["implementation"] for p in (TASKS / f"{kind}s").glob("*.yaml")
        }
        assert set(names(kind)) == used


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_prompts_share_their_beginning(path: Path) -> None:
    """The few-shot part has no field of a latent, and the explanation comes before the windows."""
    for name, prompt in yaml.safe_load(path.read_text(encoding="utf-8")).get("prompts", {}).items():
        if not isinstance(prompt, list):
            continue
        order = [FIELD.findall(text) for message in prompt for text in message.values()]
        # A prompt may end in an assistant message that the reply continues.
        places = [i for i, fields in enumerate(order) if set(fields) - {"marker", "open", "close"}]
        assert len(places) == 1, name
        assert places[0] >= len(order) - 2, name
        last = order[places[0]]
        if "explanation" in last:
            assert last.index("explanation") == 0
            # A window whose tokens are places of the text stands in no field.
            assert last[1:2] in ([], ["window"], ["windows"], ["register"], ["texts"], ["examples"])


def test_a_prompt_variant_is_one_file(tmp_path: Path) -> None:
    text = (TASKS / "scorers" / "detection.yaml").read_text(encoding="utf-8")
    mine = tmp_path / "terse.yaml"
    mine.write_text(text.replace("You check descriptions", "You verify descriptions"), encoding="utf-8")
    scorer = load_scorer({"use": str(mine), "preset": "single"})
    assert scorer.id == "terse@2-0"
    assert scorer.key != load_scorer({"use": "detection", "preset": "single"}).key


def test_parameters_and_presets_change_the_key() -> None:
    keys = {
        load_scorer(s).key
        for s in (
            "detection",
            {"use": "detection", "preset": "paper"},
            {"use": "detection", "params": {"positives": 10}},
            {"use": "detection", "params": {"positives": 11}},
        )
    }
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("version: 2-0", "version: one"), "version"),
        (("headline: ap_normalised", "headlin: ap_normalised"), "'headlin'.*'headline'"),
        (("headline: ap_normalised", "headline: apn"), r"terse\.yaml.*'apn' is not one of its metrics"),
        (("implementation: detection", "implementation: detecton"), "unknown scorer 'detecton'.*'detection'"),
        (("{{window}}", "{{windo}}"), r"terse\.yaml.*prompts\.single: unknown field 'windo'"),
        (("  list:", "  lists:"), r"terse\.yaml.*'lists'.*'list'"),
        (('active: "Yes"', "active: Yes"), r"terse\.yaml.*prompts\.answers"),
    ],
)
def test_a_wrong_file_is_one_clear_message(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    mine = tmp_path / "terse.yaml"
    text = (TASKS / "scorers" / "detection.yaml").read_text(encoding="utf-8")
    assert change[0] in text
    mine.write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(SpecError, match=message):
        load_scorer(str(mine))


def test_unknown_names_suggest_near_ones() -> None:
    with pytest.raises(UnknownName, match="'detection'"):
        load_scorer("detecton")
    with pytest.raises(UnknownName, match="'paper'"):
        load_scorer({"use": "fuzzing", "preset": "papr"})
    with pytest.raises(SpecError, match=r"'params.answr'.*'params.answer'"):
        load_scorer({"use": "detection", "params": {"answr": "list"}})
    with pytest.raises(UnknownName, match="'tokens'"):
        load_explainer("token")
