from __future__ import annotations

import pytest
from latentbench.kernel.errors import SpecError
from latentbench.runs.run_spec import load_run_spec

GOOD = """
name: t
suite: s
explainers: [tokens, {use: tokens, label: tokens-2, params: {n: 3}}]
scorers: [detection]
judges: [{use: 'mock:label?error=0.1', label: mock}]
"""


def _load(tmp_path, text):
    path = tmp_path / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    return load_run_spec(path)


def test_short_and_long_forms(tmp_path):
    spec = _load(tmp_path, GOOD)
    assert [e.label for e in spec.explainers] == ["tokens", "tokens-2"]
    assert spec.judges[0].use == "mock:label?error=0.1"
    assert (spec.split, spec.repeats, spec.max_failures) == ("test", 1, 0.05)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("suite:", "siute:"), "unknown key 'siute'. Did you mean 'suite'"),
        (GOOD.replace("params:", "parms:"), "Did you mean 'params'"),
        (GOOD.replace("label: tokens-2", "label: tokens"), "label 'tokens' is used twice"),
        (GOOD + "split: train\n", "split"),
        (GOOD + "repeats: 0\n", "repeats"),
        ("name: [t\n", "line 2, column 1: not valid YAML"),
        ("", "is empty"),
        ("- a\n- b\n", "document"),
    ],
)
def test_bad_specs_say_what_and_where(tmp_path, text, message):
    with pytest.raises(SpecError) as caught:
        _load(tmp_path, text)
    assert message in str(caught.value)
    assert "spec.yaml" in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(SpecError, match="does not exist"):
        load_run_spec(tmp_path / "nope.yaml")
