"""The question of fine-tuned explainers, with marks and thresholds worked by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from latentbench.explainers.excerpts import bracketed, common_level
from latentbench.explainers.explainer import Explainer, Explanation, load_explainer
from latentbench.kernel.errors import SpecError
from latentbench.kernel.latent import LatentView, Window
from latentbench.kernel.requests import Chat, Outcome, Reply
from latentbench.kernel.tasks import find

from tests.builders.toy_latents import latent, window


def cut(tokens: Sequence[str], activations: Sequence[float], number: int = 1) -> Window:
    return replace(window(number, "quantile:9", list(activations), "explain"), tokens=tuple(tokens))


def view(*windows: Window) -> LatentView:
    return replace(latent(explain=0), explain=windows)


def excerpts(**params: Any) -> Explainer:
    return load_explainer({"use": "excerpts", "params": params})


def asked(explainer: Explainer, latent: LatentView, seed: int = 0) -> list[str]:
    (request,) = explainer.requests(latent, seed)
    assert isinstance(request, Chat)
    return [m.content for m in request.messages]


def read(text: str, finish: str | None = None) -> Explanation:
    return excerpts().parse(latent(), [Reply(text=text, finish=finish)], 0, {})


def test_spaces_stay_outside_the_marks_and_everything_else_is_as_it_is() -> None:
    found = bracketed(cut([" a", " red", " fox", "\n", "{{x}}"], [0, 5, 6, 0, 0]), 5, "{{", "}}")
    assert found == " a {{red fox}}\n{{x}}"
    assert bracketed(cut(["a", "  ", "b"], [0, 5, 0]), 5, "{{", "}}") == "a{{  }}b"
    assert bracketed(cut(["a ", "b"], [5, 0]), 5, "{{", "}}") == "{{a}} b"
    assert bracketed(cut(["a", "b"], [0, 0]), 0.0, "{{", "}}") == "ab"


def test_one_threshold_holds_for_all_excerpts_and_is_lowered_until_enough_texts_are_marked() -> None:
    """Half of 10 marks one text, four tenths two, two tenths three; all that fires is the end of it."""
    windows = [cut(["p", "q"], [10, 0]), cut(["r", "-", "s"], [2, 0, 4])]
    levels = [common_level(windows, 0.5, least) for least in (1, 2, 3, 4)]
    assert levels == pytest.approx([5.0, 4.0, 2.0, 0.0])
    # Equal texts count once.
    assert common_level([cut(["p", "-"], [9, 0]), cut(["p", "-"], [10, 0])], 0.5, 2) == 0.0
    (_, shown) = asked(excerpts(shuffle=False, least_marked=1), view(*windows))
    assert shown == "Excerpt 1:{{p}}q\nExcerpt 2:r-s\n"


def test_the_system_text_shows_the_marks_and_the_name_of_the_answer() -> None:
    (system, _) = asked(excerpts(), view(cut(["p"], [1])))
    assert "{{like this}}" in system
    assert "[DESCRIPTION]:" in system


def test_the_order_is_drawn_by_the_seed_and_can_be_kept() -> None:
    windows = [cut([f"w{i}"], [20 - i], i) for i in range(9)]
    kept = [asked(excerpts(shuffle=False), view(*windows), seed)[1] for seed in range(4)]
    assert len(set(kept)) == 1
    assert [line.partition(":")[2] for line in kept[0].splitlines()] == [f"{{{{w{i}}}}}" for i in range(9)]
    drawn = [asked(excerpts(), view(*windows), seed)[1] for seed in range(4)]
    assert len(set(drawn)) == 4
    assert {"".join(sorted(text)) for text in drawn} == {"".join(sorted(kept[0]))}


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("[DESCRIPTION]: names of fruit", "names of fruit"),
        ("Step 1. [DESCRIPTION]: no\n[DESCRIPTION]: yes\n", "yes"),
        ("[DESCRIPTION] : \n words before a comma", "words before a comma"),
    ],
)
def test_the_answer_stands_behind_the_last_marker(reply: str, text: str) -> None:
    assert read(reply).text == text


def test_a_reply_without_the_marker_is_no_explanation_and_neither_is_half_a_sentence() -> None:
    assert read("Names of fruit.").outcome is Outcome.PARSE
    assert "[DESCRIPTION]" in (read("Names of fruit.").error or "")
    assert read("[DESCRIPTION]: names of fru", "length").outcome is Outcome.PARSE
    assert read("[DESCRIPTION]: ").outcome is Outcome.PARSE


def test_a_latent_without_windows_is_skipped_and_one_with_a_single_window_is_asked_about() -> None:
    assert excerpts().requests(view(), 0) == []
    assert excerpts().parse(view(), [], 0, {}).outcome is Outcome.SKIPPED
    assert asked(excerpts(), view(cut(["p", "q"], [0, 1])))[1] == "Excerpt 1:p{{q}}\n"


def test_a_published_system_text_is_one_line_of_a_copy_of_the_file(tmp_path: Path) -> None:
    task = yaml.safe_load(find("explainers", "excerpts").read_text(encoding="utf-8"))
    task["prompts"]["ask"][0] = {"system": "Tokens stand between {{open}}this{{close}}. None is {{open}}{{close}}."}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(task), encoding="utf-8")
    explainer = load_explainer(str(path))
    assert asked(explainer, view(cut(["p"], [1])))[0] == "Tokens stand between {{this}}. None is {{}}."
    assert explainer.key({}) != excerpts().key({})
    task["prompts"]["ask"][0] = {"system": "Tokens stand between {{this}}."}
    path.write_text(yaml.safe_dump(task), encoding="utf-8")
    with pytest.raises(SpecError, match="unknown field 'this'"):
        load_explainer(str(path))
