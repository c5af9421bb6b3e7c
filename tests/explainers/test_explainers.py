"""Explainers: what they may see, and how replies are read."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from latentbench.explainers.explainer import Explainer, Explanation, load_explainer
from latentbench.explainers.llm import LlmExplainer, scaled
from latentbench.explainers.top_tokens import strongest
from latentbench.kernel.errors import SpecError
from latentbench.kernel.identity import seed_for
from latentbench.kernel.latent import LatentView, Window, coder_of
from latentbench.kernel.requests import Chat, Outcome, Reply, Usage

from tests.builders.toy_latents import latent, window


def explain(
    explainer: Explainer, view: LatentView, replies: Any = (), others: Any = None, seed: int = 0
) -> Explanation:
    return explainer.parse(view, replies, seed, others or {})


def llm(preset: str | None = None, **params: Any) -> LlmExplainer:
    found = load_explainer({"use": "llm", "preset": preset, "params": params})
    assert isinstance(found, LlmExplainer)
    return found


def prompt(explainer: Explainer, view: LatentView, seed: int = 0) -> str:
    (request,) = explainer.requests(view, seed)
    assert isinstance(request, Chat)
    return request.messages[-1].content


def test_windows_shown_to_explainer() -> None:
    """No test window reaches a prompt or an explanation, and nothing changes when the test windows do."""
    view = latent()
    bare = replace(view, test=())
    for explainer in (llm(), llm("paper"), llm("cot")):
        assert explainer.requests(view, 1) == explainer.requests(bare, 1)
    tokens = load_explainer("tokens")
    assert explain(tokens, view) == explain(tokens, bare)
    words = set(re.findall(r"\w+", prompt(llm(n_examples=100), view)))
    assert words.isdisjoint(token.strip() for w in view.test for token in w.tokens)
    assert words.issuperset(token.strip() for w in view.explain for token in w.tokens)


def test_examples_carry_marks_and_activations() -> None:
    view = replace(latent(explain=0), explain=(window(1, "quantile:9", [0, 4, 1, 8], "explain"),))
    a, b, c, d = (t.strip() for t in view.explain[0].tokens)
    text = prompt(llm(), view)
    assert f"Example 1: {a} <<{b}>> {c} <<{d}>>" in text
    assert f'Activations: ("{b}", 5), ("{c}", 1), ("{d}", 10)' in text
    bare = llm("bare")
    (request,) = bare.requests(view, 0)
    assert isinstance(request, Chat)
    assert not any("Activations" in m.content for m in request.messages)


def test_what_fires_is_never_shown_as_zero() -> None:
    assert [scaled(v, 10.0) for v in (0.0, 0.01, 1.4, 1.6, 10.0)] == [0, 1, 1, 2, 10]


def test_sampling_of_explain_windows() -> None:
    view = latent(explain=40)
    top = llm(sampling="top", n_examples=4).chosen(view.explain, 0)
    assert [w.id for w in top] == [2000, 2001, 2002, 2003]
    for seed in range(20):
        parts = [(w.id - 2000) // 10 for w in llm(n_examples=4).chosen(view.explain, seed)]
        assert parts == [0, 1, 2, 3]
        drawn = [w.id for w in llm(sampling="random", n_examples=4).chosen(view.explain, seed)]
        assert len(set(drawn)) == 4
        assert drawn == sorted(drawn)
    assert len({tuple(w.id for w in llm(n_examples=4).chosen(view.explain, s)) for s in range(20)}) > 10
    assert len(llm(n_examples=99).chosen(view.explain, 0)) == 40


def test_replies_are_read_after_the_marker() -> None:
    usage = Usage(10, 3, 0, 0.5)
    found = explain(llm(), latent(), [Reply(text="[EXPLANATION]: Words for\ncolours.\n\nExample 4", usage=usage)])
    assert found.text == "Words for colours."
    assert found.usage == usage
    assert explain(llm(), latent(), [Reply(text=" Words for colours. ")]).text == "Words for colours."
    cot = explain(llm("cot"), latent(), [Reply(text="red, blue [EXPLANATION]: no [EXPLANATION]: Colours.")])
    assert cot.text == "Colours."


@pytest.mark.parametrize("before", ["", "The words name what one sees.\n\n"])
def test_a_direct_answer_ends_where_the_model_goes_on_with_its_own_examples(before: str) -> None:
    reply = "[EXPLANATION]: Words for colours.\n\nExample 4: a <<loud>> noise\n[EXPLANATION]: Other."
    assert explain(llm(), latent(), [Reply(text=before + reply)]).text == "Words for colours."
    assert explain(llm("cot"), latent(), [Reply(text=before + reply)]).text == "Other."


def test_the_beginning_of_the_reply_stands_before_answers_without_a_marker_only() -> None:
    small = load_explainer("llm-small")
    assert explain(small, latent(), [Reply(text=" colours.")]).text == "The marked words are all colours."
    assert explain(small, latent(), [Reply(text="red. [EXPLANATION]: Colours.")]).text == "Colours."


def test_a_beginning_of_the_reply_with_a_field_is_refused(tmp_path: Path) -> None:
    def load(beginning: str) -> Explainer:
        bare = [{"user": "{{examples}}"}, {"assistant": beginning}]
        prompts = {"marker": "[EXPLANATION]:", "bare": bare}
        task = {"version": "1-0", "implementation": "llm", "summary": "x", "prompts": prompts}
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(task | {"params": {"show_activations": False}}), encoding="utf-8")
        return load_explainer(str(path))

    assert explain(load("The words are"), latent(), [Reply(text="red.")]).text == "The words are red."
    with pytest.raises(SpecError, match=r"mine\.yaml.*prompts\.bare: the beginning of the reply.*must be plain text"):
        load("{{marker}} The words are")


@pytest.mark.parametrize(
    ("preset", "reply", "outcome"),
    [
        ("cot", Reply(text="They are all colours."), Outcome.PARSE),
        (None, Reply(text="[EXPLANATION]:  \n"), Outcome.PARSE),
        (None, Reply(text=""), Outcome.PARSE),
        (None, Reply(text="I'm sorry, I can't help with that."), Outcome.REFUSAL),
        (None, Reply(Outcome.API, error="503"), Outcome.API),
    ],
)
def test_failed_replies_give_no_explanation(preset: str | None, reply: Reply, outcome: Outcome) -> None:
    found = explain(llm(preset), latent(), [reply])
    assert found.outcome is outcome
    assert found.text is None
    assert found.error


def test_without_explain_windows_nothing_is_asked() -> None:
    view = latent(explain=0)
    assert llm().requests(view, 0) == []
    for explainer in (llm(), load_explainer("tokens")):
        assert explain(explainer, view).outcome is Outcome.SKIPPED


def test_tokens_are_weighted_by_activation() -> None:
    one = replace(window(1, "quantile:9", [5, 1, 0]), tokens=(" Red", " the", " x"))
    two = replace(window(2, "quantile:8", [3, 6, 0]), tokens=("red", " blue", " y"))
    assert strongest([one, two], 5) == ["Red", "blue", "the"]
    view = replace(latent(), explain=(one, two))
    assert explain(load_explainer("tokens"), view).text == ("Red, blue, the. Red the x ... red blue y")


def test_null_explainers_are_floors_and_know_nothing() -> None:
    for name in ("empty", "constant", "shuffled"):
        assert load_explainer(name).is_floor
    assert explain(load_explainer("empty"), latent()).text == ""
    assert explain(load_explainer("empty"), latent()).outcome is Outcome.OK
    constant = load_explainer("constant")
    assert explain(constant, latent()) == replace(explain(constant, latent(name="b/2")), latent="sae/7")


def shuffled_of(others: dict[str, dict[str, Explanation]], seed: int) -> dict[str, Explanation]:
    """What `shuffled` gives each latent that `tokens` has explained; seeds as a run has them, one for each latent."""
    shuffled = load_explainer("shuffled")
    return {
        i: explain(shuffled, latent(name=i), others=others, seed=seed_for("explain", seed, i)) for i in others["tokens"]
    }


def test_shuffled_gives_everybody_another_latents_text_of_the_same_coder_and_another_one_each_repeat() -> None:
    ids = [f"sae/{i}" for i in range(30)] + [f"layers/9/{i}" for i in range(20)] + [f"other/{i}" for i in range(2)]
    others = {"tokens": {i: Explanation(i, f"text of {i}") for i in ids}}
    assert load_explainer("shuffled").after == ("tokens",)
    repeats = [shuffled_of(others, seed) for seed in range(40)]
    for found in repeats:
        for i, given in found.items():
            assert given.note is not None
            other = str(given.note["from"])
            assert given.text == f"text of {other}"
            assert other != i
            assert coder_of(other) == coder_of(i)
    # Of the 29 others each is drawn about as often.
    for i in ids[:30]:
        drawn = {found[i].text for found in repeats}
        assert len(drawn) > 15
    # In one repeat the latents draw independently: 1 - 1/e of the texts are used, each about once.
    used = [len({found[i].text for i in ids[:30]}) for found in repeats]
    assert 0.55 < sum(used) / len(used) / 30 < 0.72
    again = {"tokens": dict(reversed(others["tokens"].items()))}
    assert shuffled_of(again, 3) == repeats[3]


def test_a_missing_text_moves_only_the_latents_that_had_drawn_it() -> None:
    ids = [f"sae/{i}" for i in range(12)]
    whole = {"tokens": {i: Explanation(i, f"text of {i}") for i in ids}}
    less = {"tokens": {**whole["tokens"], "sae/4": Explanation("sae/4", None, Outcome.PARSE, error="x")}}
    before, after = shuffled_of(whole, 1), shuffled_of(less, 1)
    moved = [i for i in ids if before[i] != after[i]]
    assert moved == [i for i in ids if before[i].text == "text of sae/4"]
    # Whoever failed is judged under another's text like everybody: a floor's coverage does not hang on the explainer's.
    assert all(given.outcome is Outcome.OK for given in after.values())


def test_shuffled_of_a_lonely_latent_says_so_and_takes_from_no_other_coder() -> None:
    failed = Explanation("sae/8", None, Outcome.REFUSAL, error="no")
    for more in (
        {},
        {"b/1": Explanation("b/1", "theirs"), "sae/x/9": Explanation("sae/x/9", "theirs"), "sae/8": failed},
    ):
        found = explain(
            load_explainer("shuffled"), latent(), others={"tokens": {"sae/7": Explanation("sae/7", "mine"), **more}}
        )
        assert found.text is None
        assert found.outcome is Outcome.SKIPPED
        assert found.error == "tokens has no text of another latent of sae to take"


def test_unknown_parameters_are_refused() -> None:
    with pytest.raises(SpecError, match=r"llm\.yaml: unknown key 'params\.n_exampels'.*'params\.n_examples'"):
        llm(n_exampels=3)


@pytest.mark.parametrize(
    ("text", "copied", "rest"),
    [
        ("Apples and pears.", "apples", "and pears."),
        ("Words about fruit.", "", "Words about fruit."),
        ("apples, APPLES; apples", "apples", ", ;"),
        ("Pineapples", "", "Pineapples"),
    ],
)
def test_copied_words_are_those_with_a_firing_token_inside(text: str, copied: str, rest: str) -> None:
    shown = Window(0, "explain", "quantile:9", (1, 2, 3, 4), (" red", " app", "les", " fall"), (0.0, 0.0, 2.0, 0.0), 0)
    seen = replace(latent(), explain=(shown,))
    others = {"llm": {seen.id: Explanation(seen.id, text)}}
    for keep, expected in (("copied", copied), ("rest", rest)):
        explainer = load_explainer({"use": "copied-words", "params": {"keep": keep}})
        assert explainer.after == ("llm",)
        assert explain(explainer, seen, others=others).text == expected


def test_copied_words_of_no_text_are_none() -> None:
    others = {"llm": {latent().id: Explanation(latent().id, None, Outcome.REFUSAL)}}
    found = explain(load_explainer("copied-words"), latent(), others=others)
    assert (found.text, found.outcome) == (None, Outcome.REFUSAL)
