"""Every declared parameter of everything that is registered either changes the key, or stands in a list here that says why not.

A parameter that is added to a scorer, an explainer or a judge and that nobody has thought about fails here: it must be found in
the key, or be put into `NOT_IN_THE_KEY` with the reason that it changes no output.
"""

from __future__ import annotations

import copy
import importlib.util
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pydantic
import pytest
import yaml
from latentbench.explainers.explainer import Explainer, load_explainer
from latentbench.judges import vllm
from latentbench.judges.reference import load_judge
from latentbench.judges.simulator import simulator_judge
from latentbench.kernel.errors import SpecError
from latentbench.kernel.forms import Levels, Which, YesNo
from latentbench.kernel.identity import text_digest as as_digest
from latentbench.kernel.kinds import DRAWN, RANDOM
from latentbench.kernel.registry import BUILTIN, lookup
from latentbench.kernel.requests import Chat, JudgeIdentity, Message, request_key
from latentbench.kernel.tasks import find
from latentbench.kernel.trial import Seen, Trial
from latentbench.panels.panel_spec import INLINE
from latentbench.runs.plan import explainer_keys
from latentbench.scorers.scorer import Scorer, load_scorer

from tests.builders.bindings import bound

TASKS = Path(__file__).parents[2] / "tasks"
NAMES = {kind: sorted(p.stem for p in (TASKS / kind).glob("*.yaml")) for kind in ("explainers", "scorers")}

ENDPOINT = {
    "base_url": "where the model is reached; the same model at another address is the same judge",
    "key_env": "who pays",
    "concurrency": "how many calls are under way",
    "timeout": "when an attempt is given up",
    "max_reply_mb": "when a response is not read any further",
    "attempts": "how often a call that failed is made again",
    "backoff": "how long it waits before",
    "max_wait": "how long it waits at most",
    "patience": "how long a call is refused before it has failed",
    "rpm": "pace",
    "tpm": "pace",
    "give_up": "when a run is stopped",
    "quota": "with whom the pace is shared",
}
COMPUTING = {
    "device": "where it is computed; answers agree within the tolerance that backends are compared with",
    "batch": "what is computed together",
    "share": "whether shared prefixes are computed once",
    "memory": "how much is kept",
    "batch_tokens": "what is computed together",
}
NOT_IN_THE_KEY: dict[str, dict[str, str]] = {
    "openai": {
        **ENDPOINT,
        "logprobs": "what the judge can do; each request is another kind of call",
        "completions": "what the judge can do; each request is another kind of call",
        "headers": "where a call goes",
        "token_field": "the endpoint's name for a number that the request holds",
    },
    "embed": {**ENDPOINT, **{name: COMPUTING[name] for name in ("device", "batch")}},
    "transformers": {**COMPUTING, "remember": "whether a shared prefix is kept for the next call"},
    "vllm": {
        "memory": COMPUTING["memory"],
        "gpu_memory_utilization": COMPUTING["memory"],
        "enforce_eager": "whether it compiles",
    },
    "simulator": {name: COMPUTING[name] for name in ("device", "batch", "share", "memory")},
    "mock": {"seconds": "how long a call takes", "can": "what the judge can do; each request is another kind of call"},
    "subject": {name: COMPUTING[name] for name in ("device", "batch")},
    "panel": {},
}
"""Provider -> parameter -> why it changes no answer. Scorers and explainers have none: what they declare is in their key."""

WORDS: dict[str, list[Any]] = {
    "negative_kinds": [(RANDOM, kind) for kind in DRAWN],
    "path": ["other.jsonl"],
    "where": [{"explainer": "x"}],
    "coders": [{"layers.9": "res9"}],
    "of": ["x", ("x", "y"), ("y", "x")],
    "can": ["chat"],
    "members": [("mock:label", "mock:constant")],
    "weights": [{"mock:label": 2.0}],
    "quorum": [1],
    "kls": [(1.0, 3.0)],
    "max_calls": [500],
    "max_passes": [500],
    "also": [(0.1,), (0.33,)],
    "chat_template_kwargs": [{"enable_thinking": False}],
    "extra_body": [{"x": 1}],
    "headers": [{"X-Team": "a"}],
    "base_url": ["http://127.0.0.1:2/v1"],
    "key_env": ["OTHER_KEY"],
}
"""Values that an annotation alone does not give."""

FITTED = """
command: none
windows: 1
scorers: {detection: {bias: 0.0, members: {"mock:label": {scale: 1.0, bias: 0.0, weight: 1.0}}}}
"""


def others(model: type[pydantic.BaseModel], given: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """The settings with other valid values of one field."""
    field = model.model_fields[name]
    # Not what is dumped: that leaves fields out at their default that came later.
    now = getattr(model.model_validate(given), name)
    for value in [*WORDS.get(name, ()), *by_type(field.annotation, now)]:
        try:
            found = model.model_validate(given | {name: value})
        except pydantic.ValidationError:
            continue
        if getattr(found, name) != now:
            yield given | {name: value}


def by_type(annotation: Any, now: Any) -> list[Any]:
    """Values of a type, near the one that it has."""
    if isinstance(annotation, typing.TypeAliasType if hasattr(typing, "TypeAliasType") else ()):
        return by_type(annotation.__value__, now)
    origin = get_origin(annotation)
    if origin is Literal:
        return list(get_args(annotation))
    if origin in (Union, UnionType):
        return [v for a in get_args(annotation) for v in by_type(a, now)]
    if origin is typing.Annotated:
        return by_type(get_args(annotation)[0], now)
    if annotation is NoneType:
        return [None]
    if annotation is bool:
        return [not now]
    if annotation in (int, float):
        start = now if isinstance(now, int | float) else 1
        return [
            annotation(start + 1),
            annotation(1),
            annotation(0.5),
            annotation(start + 5),
            annotation(2),
            annotation(0),
        ]
    if annotation is str:
        return [f"{now or ''}x"]
    if origin is tuple:
        return [tuple(now)[:1], tuple(now)[::-1], (*now, *now[:1]), (*now, 2.5)] if now else []
    return []


def made(thing: Explainer | Scorer, params: pydantic.BaseModel, prompts: Any = None) -> Any:
    """The same thing with other parameters or prompts."""
    prompts = thing.prompts if prompts is None else prompts
    if isinstance(thing, Scorer):
        return type(thing)(thing.name, thing.version, thing.headline, params, prompts)
    return type(thing)(thing.name, thing.version, params, prompts)


def key(thing: Any) -> str:
    """Its key; the parts of an explainer are what their labels say, so that another label is another part."""
    return str(
        thing.key if isinstance(thing, Scorer) else thing.key({label: as_digest(label) for label in thing.after})
    )


def loaded(kind: str, spec: Any) -> Any:
    return load_scorer(spec) if kind == "scorers" else load_explainer(spec)


CASES = [(kind, name) for kind, names in NAMES.items() for name in names]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_every_parameter_of_scorers_and_explainers_changes_the_key(kind: str, name: str) -> None:
    thing = loaded(kind, name)
    given, model = thing.params.model_dump(), thing.params_model
    for field in model.model_fields:
        settings = next(others(model, given, field), None)
        assert settings is not None, f"{name}.{field}: say in WORDS which other value it can have"
        try:
            other = made(thing, model.model_validate(settings))
        except SpecError:  # the task has no prompt for this setting, and another one of the class has
            assert name in ("llm-small", "llm-words"), f"{name}.{field}"
            continue
        assert key(other) != key(thing), f"{name}.{field} is not in the key"


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_every_prompt_and_preset_changes_the_key_and_the_order_of_keys_does_not(
    kind: str, name: str, tmp_path: Path
) -> None:
    thing = loaded(kind, name)
    for place, prompts in changed_texts(dict(thing.prompts)):
        try:
            other = made(thing, thing.params, prompts)
        except SpecError:  # a prompt that is refused changes nothing
            continue
        assert key(other) != key(thing), f"{name}: the prompt {place} is not in the key"
    source = yaml.safe_load(find(kind, name).read_text(encoding="utf-8"))
    keys = {preset: key(loaded(kind, {"use": name, "preset": preset})) for preset in (None, *source.get("presets", {}))}
    for preset, own in keys.items():
        params = loaded(kind, {"use": name, "preset": preset}).params
        assert (own == keys[None]) == (params == thing.params), f"{name}: preset {preset}"
    path = tmp_path / f"{name}.yaml"
    text = yaml.safe_dump(backwards(source) | {"summary": "In other words."}, sort_keys=False, allow_unicode=True)
    path.write_text("# A comment.\n" + text, encoding="utf-8")
    assert key(loaded(kind, str(path))) == key(thing)


def changed_texts(prompts: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Copies of a tree with one of its texts changed."""
    items = prompts.items() if isinstance(prompts, dict) else enumerate(prompts)
    for name, value in items:
        here = f"{place}.{name}"
        if isinstance(value, str):
            changes: list[tuple[str, Any]] = [(here, f"{value} Other.")]
        elif isinstance(value, dict | list):
            changes = list(changed_texts(value, here))
        else:
            continue
        for where, new in changes:
            whole = copy.copy(prompts)
            whole[name] = new
            yield where, whole


def backwards(tree: Any) -> Any:
    """The tree with the keys of every mapping in the reverse order."""
    if isinstance(tree, dict):
        return {k: backwards(tree[k]) for k in reversed(tree)}
    return [backwards(x) for x in tree] if isinstance(tree, list) else tree


@pytest.mark.parametrize("name", NAMES["explainers"])
def test_a_part_counts_by_what_it_is_and_not_by_its_label(name: str) -> None:
    explainer = load_explainer(name)
    parts = {label: as_digest(label) for label in explainer.after}
    for label in parts:
        assert explainer.key(parts | {label: "another"}) != explainer.key(parts)
        named = {p: rename(explainer.params.model_dump()[p], label, "new") for p in explainer.params.labels}
        other = made(explainer, explainer.params.model_copy(update=named))
        assert other.key({**parts, "new": parts[label]}) == explainer.key(parts)
    if not parts:
        assert explainer.key({"any": "thing"}) == explainer.key({})


def rename(held: Any, old: str, new: str) -> Any:
    return new if held == old else tuple(new if x == old else x for x in held) if isinstance(held, tuple) else held


def test_a_file_counts_by_its_content_and_not_by_its_place(tmp_path: Path) -> None:
    keys = []
    for place, text in (("a.jsonl", "1"), ("b.jsonl", "1"), ("a.jsonl", "2")):
        (tmp_path / place).write_text(text, encoding="utf-8")
        keys.append(load_explainer({"use": "file", "params": {"path": place}}, tmp_path).key({}))
    assert keys[0] == keys[1] != keys[2]


class Silent(Explainer):
    """Cannot say what it is."""

    def parse(self, *_: Any) -> Any:
        raise NotImplementedError

    def key(self, parts: Any) -> str:
        raise KeyError("no such part")


def test_an_explainer_that_cannot_say_its_key_is_one_line_with_its_owner_and_place() -> None:
    tokens = load_explainer("tokens")
    with pytest.raises(
        Exception, match=r"^explainer 'mine': KeyError in .*test_every_parameter\.py:\d+: 'no such part'$"
    ):
        explainer_keys({"mine": Silent("mine", "1-0", tokens.params, {})})


# --- judges


@pytest.fixture(params=sorted(BUILTIN["judge"]))
def judge_of(
    request: pytest.FixtureRequest, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[str, dict[str, Any], Callable[[dict[str, Any]], JudgeIdentity]]:
    """Provider, parameters that it cannot do without, and parameters -> its identity; no weights but a tiny model's."""
    provider = request.param
    bound({"127.0.0.1": {"key_env": ["ONE_KEY", "OTHER_KEY"]}}, tmp_path, monkeypatch)
    at: dict[str, Any] = {"base_url": "http://127.0.0.1:1/v1"}
    model, given = {
        "transformers": (str(tiny_folder), {"device": "cpu", "dtype": "bfloat16"}),
        "vllm": (str(tiny_folder), {}),
        "openai": ("m", at | {"completions": True}),
        "embed": ("m", at),
        "simulator": ("m", {}),
        "mock": ("label", {}),
        "subject": ("toy", {"writer": "mock:label"}),
        "panel": (INLINE, {"members": ["mock:label", "mock:lexical"]}),
    }[provider]
    if provider == "vllm":
        spec = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: spec("json" if n == "vllm" else n, *a))
        monkeypatch.setattr(vllm, "VllmEngine", lambda *_: SimpleNamespace(context=64))
    if provider == "transformers":
        from latentbench.judges import transformers

        real, cpu = transformers.load, "cpu"
        monkeypatch.setattr(transformers, "load", lambda model, dtype, _: real(model, dtype, cpu))
    if provider == "simulator":
        config = SimpleNamespace(format=1, adapter_sha256="a" * 64, heads_sha256="h" * 64, calibration=(1.0,))
        monkeypatch.setattr(simulator_judge, "find", lambda *_: tmp_path)
        monkeypatch.setattr(simulator_judge, "load", lambda _: SimpleNamespace(config=config, identity="i"))
        base = SimpleNamespace(identity="base")
        monkeypatch.setattr(
            simulator_judge, "load_base", lambda a, dtype, device: SimpleNamespace(files=base, dtype=dtype)
        )
        monkeypatch.setattr(simulator_judge.SimulatorJudge, "_reader", lambda *_: None)
    cls = lookup("judge", provider)
    return provider, given, lambda params: cls(model, cls.params_model.model_validate(params)).identity


def test_every_parameter_of_a_judge_is_in_its_identity_or_in_the_list(
    judge_of: tuple[str, dict[str, Any], Callable[[dict[str, Any]], JudgeIdentity]], tmp_path: Path, tiny_folder: Path
) -> None:
    provider, given, identity = judge_of
    model = lookup("judge", provider).params_model
    left_out = NOT_IN_THE_KEY[provider]
    assert set(left_out) <= set(model.model_fields), f"{provider}: {set(left_out) - set(model.model_fields)} are gone"
    if provider == "subject":
        # It needs a suite that was built from a subject; tests/judges/test_judge_subject.py tries each of these.
        assert set(model.model_fields) - set(left_out) == {"writer", "coders", "dtype"}
        return
    rules = tmp_path / "rules.yaml"
    text = (find("suites", "planted-1") / "rules.yaml").read_text(encoding="utf-8")
    rules.write_text(text.replace("saturday, sunday]", "saturday]"), encoding="utf-8")
    fitted = tmp_path / "fit.yaml"
    fitted.write_text(FITTED, encoding="utf-8")
    special = {"rules": str(rules), "tokenizer": str(tiny_folder), "fit": str(fitted)}
    # A parameter that is refused alone, and with what it is read.
    together = {"plain": {"tokenizer": str(tiny_folder)}} if provider == "openai" else {}
    plain = given
    for field in model.model_fields:
        given = plain | together.get(field, {})
        settings = next(others(model, given, field), None) if field not in special else given | {field: special[field]}
        assert settings is not None, f"{provider}.{field}: say in WORDS which other value it can have"
        same = identity(settings).key == identity(given).key
        assert same == (field in left_out), (
            f"{provider}.{field} is {'not ' if same else ''}in the identity; if that is right, say why in NOT_IN_THE_KEY"
        )


def test_the_order_of_a_references_parameters_makes_no_other_judge() -> None:
    one, two = ("max_tokens=9&system=merge", "system=merge&max_tokens=9")
    here = "openai:m?base_url=http://127.0.0.1:1/v1&"
    assert load_judge(here + one).identity == load_judge(here + two).identity


@pytest.mark.parametrize("name", ["label", "lexical", "constant", "oracle"])
def test_a_mock_s_call_is_addressed_by_the_form_that_it_reads(name: str) -> None:
    """Two questions in the same words: a mock reads the form and answers otherwise, so one stored reply must not serve both."""
    judge = load_judge(f"mock:{name}")
    window = Seen((" a", " river"), (3, 4), (False, True), 12, "quantile:3")
    forms = [YesNo("No", "Yes"), YesNo("Yes", "No"), Which(2), Levels(("0", "1", "2"), "window")]
    trials = [Trial("0", "t", form, "rivers", (window, window), (1, 1)) for form in forms]
    keys = {request_key(judge.identity, Chat((Message("user", "?"),), trial=t), judge.reads_truth) for t in trials}
    assert len(keys) == len(forms)
    text = JudgeIdentity("openai", "m", "r", "remote")
    assert len({request_key(text, Chat((Message("user", "?"),), trial=t), False) for t in trials}) == 1
