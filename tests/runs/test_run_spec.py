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
        (GOOD.replace("params:", "parms:"), "Did you mean 'explainers[1].params'"),
        (GOOD.replace("label: tokens-2", "label: tokens"), "label 'tokens' is used twice"),
        ("name: [t\n", "line 2, column 1: not valid YAML"),
        ("[" * 5000, "not valid YAML"),
        ("", "is empty"),
        ("- a\n- b\n", "document must be keys with values, and is ['a', 'b']"),
        (GOOD.replace("suite: s\n", ""), "spec.yaml: suite is missing"),
        (GOOD.replace("[detection]", "[]"), "spec.yaml: scorers is empty; list at least 1"),
        (GOOD.replace("[detection]", ""), "scorers must be a list, and is empty"),
        (GOOD.replace("[detection]", "detection"), "scorers must be a list, and is 'detection'"),
        (GOOD.replace("[detection]", "[3]"), "scorers[0] must be keys with values, and is 3"),
        (GOOD.replace("{n: 3}", "[3]"), "explainers[1].params must be keys with values, and is [3]"),
        (GOOD + "split: train\n", "split must be 'test', 'tune' or 'all', and is 'train'"),
        (GOOD + "repeats: 0\n", "repeats must be at least 1, and is 0"),
        (GOOD + "limit: many\n", "limit must be a whole number, and is 'many'"),
        (GOOD + "max_failures: 2\n", "max_failures must be at most 1.0, and is 2"),
        (GOOD.replace("name: t", "name: 3"), "name must be a text (in quotes, if it looks like a number), and is 3"),
        (
            GOOD + "judge: x\n",
            "unknown key 'judge'. Did you mean 'judges'? Known: coders, explain_seed, explainers, judges",
        ),
        (
            GOOD.replace("params:", "with:"),
            "unknown key 'explainers[1].with'. Known: label, model, params, preset, use.",
        ),
        (GOOD + "".join(f"x{i}: 1\n" for i in range(9)), "; and 4 more"),
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
