"""Explainers without a model, from files, in contrast, and from several candidates."""

from __future__ import annotations

import asyncio
import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from latentbench.explainers.explainer import Explainer, Explanation, load_explainer
from latentbench.explainers.vocab import distinct
from latentbench.judges.mock import mock_judge as mock
from latentbench.kernel.errors import BenchError, CapabilityError, CorruptTable, DataError, SpecError, UnknownName
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Capability, Chat, Continuation, Message, Outcome, Reply, Usage
from latentbench.runs.run import resume, start
from latentbench.runs.run_spec import RunSpec
from rich.console import Console

from tests.builders.toy_latents import latent, window

QUIET = Console(quiet=True)


def explain(explainer: Explainer, view: LatentView, replies: Any = (), others: Any = None) -> Explanation:
    return explainer.parse(view, replies, 0, others or {})


# --- vocab


def test_vocab_names_promoted_and_suppressed_tokens() -> None:
    view = replace(latent(), row={"promoted": (" cat", "Cat", "\n", " dog", " cow"), "suppressed": (" the", " a")})
    vocab = load_explainer({"use": "vocab", "params": {"n_promoted": 3, "n_suppressed": 1}})
    assert (
        explain(vocab, view).text
        == 'Makes tokens such as "cat", "⏎", "dog" more likely to come next. Makes "the" less likely.'
    )
    alone = load_explainer({"use": "vocab", "params": {"n_suppressed": 0}})
    assert "less likely" not in (explain(alone, view).text or "")
    assert distinct([" a", "A ", "b"], 5) == ["a", "b"]


@pytest.mark.parametrize("row", [{}, {"promoted": (), "suppressed": ()}, {"promoted": None}])
def test_vocab_skips_a_latent_without_direction(row: dict[str, Any]) -> None:
    found = explain(load_explainer("vocab"), replace(latent(), row=row))
    assert (found.text, found.outcome) == (None, Outcome.SKIPPED)
    assert "direction" in (found.error or "")


# --- ensemble


def test_ensemble_joins_two_explanations_by_its_template() -> None:
    ensemble = load_explainer("ensemble")
    assert ensemble.after == ("tokens", "vocab")
    others = {
        "tokens": {"sae/7": Explanation("sae/7", "In.")},
        "vocab": {"sae/7": Explanation("sae/7", "Out {{input}}.")},
    }
    assert explain(ensemble, latent(), others=others).text == "In. Out {{input}}."
    with pytest.raises(SpecError, match="of"):
        load_explainer({"use": "ensemble", "params": {"of": ["tokens"]}})


def test_half_an_ensemble_is_no_explanation() -> None:
    others = {
        "tokens": {"sae/7": Explanation("sae/7", "In.")},
        "vocab": {"sae/7": Explanation("sae/7", None, Outcome.SKIPPED, error="no direction")},
    }
    found = explain(load_explainer("ensemble"), latent(), others=others)
    assert (found.text, found.outcome) == (None, Outcome.SKIPPED)
    assert found.error == "vocab has no text: no direction"


# --- file

ROWS = [{"latent": "sae/7", "text": 'Cats, "dogs"\nand cows'}, {"latent": "sae/8", "text": None}]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def from_file(path: Path | str, base: Path | None = None, **params: Any) -> Explainer:
    return load_explainer({"use": "file", "params": {"path": str(path), **params}}, base)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_texts_come_from_a_file(tmp_path: Path, suffix: str) -> None:
    file = from_file(write(tmp_path / f"mine{suffix}", ROWS))
    file.check(["sae/7", "sae/8", "sae/9"])
    assert explain(file, latent()).text == ROWS[0]["text"]
    for name in ("sae/8", "sae/9"):
        found = explain(file, latent(name=name))
        assert (found.text, found.outcome) == (None, Outcome.SKIPPED)
        assert name in (found.error or "")


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.csv", "latent,text\nsae/7,Words.\n"), ("x.jsonl", '{"latent": "sae/7", "text": "Words."}\n')],
)
def test_a_file_that_begins_with_a_byte_order_mark_is_read(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8-sig")
    assert (tmp_path / name).read_bytes().startswith(b"\xef\xbb\xbf")
    assert explain(from_file(tmp_path / name), latent()).text == "Words."


def test_a_number_in_the_place_of_a_text_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", [*ROWS, {"latent": "sae/9", "text": 7}])
    with pytest.raises(CorruptTable, match="row 3: the text of sae/9 is 7, which is no text"):
        from_file(path).check(["sae/7", "sae/8", "sae/9"])


def test_the_key_follows_the_files_content_and_not_its_place(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, two = write(tmp_path / "a" / "x.jsonl", ROWS), write(tmp_path / "b" / "y.jsonl", ROWS)
    assert from_file(one).key({}) == from_file(two).key({}) == from_file("x.jsonl", tmp_path / "a").key({})
    before = from_file(two).key({})
    write(two, [*ROWS, {"latent": "sae/9", "text": "more"}])
    assert from_file(two).key({}) != before


def test_a_file_of_other_latents_is_refused_before_anything_is_paid(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", [*ROWS, {"latent": "sae-7", "text": "x"}])
    with pytest.raises(DataError, match=r"1 latents that the suite does not have, such as 'sae-7'"):
        from_file(path).check(["sae/7", "sae/8"])
    from_file(path, extra=True).check(["sae/7", "sae/8"])
    with pytest.raises(DataError, match="no explanation of a latent of this suite"):
        from_file(path, extra=True).check(["other/1"])


def test_a_runs_table_is_read_by_choosing_rows(tmp_path: Path) -> None:
    rows = [
        {"latent": "sae/7", "text": f"{e} {r}", "explainer": e, "repeat": r} for e in ("llm", "tokens") for r in (0, 1)
    ]
    for name in ("x.parquet", "x.csv"):
        path = write(tmp_path / name, rows)
        assert explain(from_file(path, where={"explainer": "llm", "repeat": 1}), latent()).text == "llm 1"
        with pytest.raises(DataError, match="a second text for sae/7"):
            from_file(path).check(["sae/7"])
        with pytest.raises(DataError, match="no rows with"):
            from_file(path, where={"explainer": "lm"}).check(["sae/7"])
        with pytest.raises(CorruptTable, match="no column 'explaner'"):
            from_file(path, where={"explaner": "llm"}).check(["sae/7"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.jsonl", None, "does not exist"),
        ("x.txt", "x", "suffix must be one of"),
        ("x.jsonl", '{"latent": "sae/7"}\n', "no column 'text'"),
        ("x.jsonl", '{"latent": "sae/7", "text": "a"}\n{"la', "cannot be read"),
        ("x.jsonl", "[1]\n", "is not an object"),
        ("x.jsonl", "", "has no rows"),
        ("x.parquet", "no parquet", "cannot be read"),
    ],
)
def test_a_bad_file_is_one_clear_message(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(BenchError, match=message):
        from_file(tmp_path / name).check(["sae/7"])
    with pytest.raises(SpecError, match="needs a file"):
        load_explainer("file").check(["sae/7"])


# --- contrastive


def test_contrastive_shows_both_sorts_of_windows_and_no_test_window() -> None:
    silent = tuple(window(3000 + i, "random", [0.0] * 8, "explain") for i in range(12))
    view = replace(latent(), contrast=silent)
    contrastive = load_explainer({"use": "contrastive", "params": {"n_contrast": 5}})
    (request,) = contrastive.requests(view, 3)
    assert isinstance(request, Chat)
    text = request.messages[-1].content
    shown = [w for w in silent if w.text.strip() in text]
    assert len(shown) == 5
    assert text.count("Silent ") == 5
    assert "Silent 5: " in text
    assert text.count("<<") >= 10
    assert "<<" not in text[text.index("Silent 1") :]
    assert not any(w.text.strip() in text for w in view.test)
    assert contrastive.requests(replace(view, test=()), 3) == [request]
    draws = {contrastive.requests(view, s)[0].messages[-1].content.partition("Silent 1")[2] for s in range(9)}  # type: ignore[union-attr]
    assert len(draws) > 5
    assert explain(contrastive, view, [Reply(text="[EXPLANATION]: Words.")]).text == "Words."


def test_contrastive_without_silent_windows_names_the_recipe_key() -> None:
    contrastive = load_explainer("contrastive")
    assert contrastive.requests(latent(), 0) == []
    found = explain(contrastive, latent())
    assert found.outcome is Outcome.SKIPPED
    assert "explain: {negatives: 10}" in (found.error or "")


# --- best of k


def best(**params: Any) -> Explainer:
    return load_explainer({"use": "best-of-k", "params": params})


def written(*texts: str) -> list[Reply]:
    return [Reply(text=t, usage=Usage(5, 2)) for t in texts]


def test_candidates_are_one_prompt_with_seeds_of_their_own() -> None:
    chats = best(k=5).requests(latent(), 7)
    assert len(chats) == 5
    assert all(isinstance(c, Chat) for c in chats)
    assert len({c.seed for c in chats}) == 5  # type: ignore[union-attr]
    assert len({c.messages for c in chats}) == 1  # type: ignore[union-attr]
    assert {c.temperature for c in chats} == {0.8}  # type: ignore[union-attr]
    with pytest.raises(SpecError, match="temperature"):
        best(temperature=0)


def test_candidates_are_compared_on_explain_windows_only() -> None:
    view = latent(explain=20)
    explainer = best(k=3, n_examples=12, n_choose=10)
    replies = written("One.", "Two.", "One.")
    asked = explainer.follow_up(view, replies, 7)
    assert asked == explainer.follow_up(replace(view, test=()), replies, 7)
    texts = [r.text for r in asked if isinstance(r, Continuation)]
    assert len(asked) == len(texts) == 3 * 10  # the generic text and two distinct candidates
    explained = {w.text for w in view.explain}
    assert set(texts) <= explained
    shown = explainer.requests(view, 7)[0].messages[-1].content  # type: ignore[union-attr]
    hidden = [w.text for w in view.explain if f"{w.tokens[0].strip()}" not in shown]
    assert len(hidden) == 8
    assert set(hidden) < set(texts[:10])
    assert explainer.follow_up(view, [*replies, *[Reply(loglik=0.0)] * 30], 7) == []


def test_the_best_candidate_is_taken_and_all_are_noted() -> None:
    view = latent()
    explainer = best(k=4, n_choose=2)
    replies = [*written("Bad.", "Good.", "Bad."), Reply(Outcome.API, error="503")]
    compared = [Reply(loglik=v, n_tokens=8, usage=Usage(9)) for v in (-10.0, -20.0, -11.0, -20.0, -7.0, -18.0)]
    found = explain(explainer, view, [*replies, *compared])
    assert (found.text, found.outcome) == ("Good.", Outcome.OK)
    assert found.usage.tokens_in == 3 * 5 + 6 * 9
    note = json.loads(json.dumps(found.note))
    assert [c.get("score") for c in note["candidates"]] == [-0.5, 2.5, -0.5, None]
    assert note["candidates"][3] == {"text": None, "outcome": "api", "error": "503", "score": None}
    # Worked by hand: item scores (-1, 3) and (0, 2); means -0.5 and 2.5; gain 2.5 - 1 = 1.5. The four equally likely
    # permutations have best means 2.5, 1.5, 1.5, 2.5, so the null gain is 1.
    assert note["gain"] == pytest.approx(1.5)
    assert note["null_gain"] == pytest.approx(1.0, abs=0.05)
    assert note["p"] == pytest.approx(0.5, abs=0.05)


def test_failures_of_either_round() -> None:
    view, explainer = latent(), best(k=2, n_choose=1)
    failed = explain(explainer, view, [Reply(Outcome.TIMEOUT, error="late"), Reply(text="")])
    assert (failed.text, failed.outcome) == (None, Outcome.TIMEOUT)
    assert explainer.follow_up(view, [Reply(Outcome.TIMEOUT), Reply(text="")], 0) == []
    single = explain(explainer, view, [Reply(text="One."), Reply(Outcome.API, error="x")])
    assert (single.text, single.outcome) == ("One.", Outcome.OK)
    half = [*written("One.", "Two."), Reply(loglik=-1.0), Reply(Outcome.API, error="503"), Reply(loglik=-1.0)]
    found = explain(explainer, view, half)
    assert (found.text, found.outcome) == (None, Outcome.API)
    assert "503" in (found.error or "")
    assert explain(explainer, latent(explain=0)).outcome is Outcome.SKIPPED


# --- in the harness


def said(text: str) -> Chat:
    return Chat((Message("user", text),))


class Rounds(Explainer):
    """Asks a second question about the answer to the first, for some latents."""

    needs = frozenset({Capability.CHAT})

    def requests(self, view: LatentView, seed: int) -> list[Any]:
        return [] if view.id.endswith("/0") else [said(view.id)]

    def follow_up(self, view: LatentView, replies: Any, seed: int) -> list[Any]:
        return [said(f"{replies[-1].text}+")] if len(replies) < int(view.id[-1]) else []

    def parse(self, view: LatentView, replies: Any, seed: int, others: Any) -> Explanation:
        return Explanation(view.id, "|".join(r.text for r in replies))


def test_rounds_are_batched_over_latents_and_each_gets_its_own_replies() -> None:
    from latentbench.explainers.explainer import Params
    from latentbench.runs import explaining as stage

    batches: list[list[str]] = []

    class Echo:
        can = frozenset({Capability.CHAT})

        async def answer(self, requests: list[Chat]) -> list[Reply]:
            batches.append([r.messages[0].content for r in requests])
            return [Reply(text=text) for text in batches[-1]]

    views = [latent(name=f"sae/{i}") for i in range(4)]
    rounds = Rounds("rounds", "1-0", Params(), {})
    entries = {"explainers": ["empty"], "scorers": ["detection"], "judges": ["mock:oracle"]}
    spec = RunSpec.model_validate({"name": "t", "suite": "planted-1", **entries})
    plan: Any = SimpleNamespace(
        explainers={"rounds": rounds}, models={"rounds": "echo"}, judges={"echo": Echo()}, spec=spec
    )
    counted: list[tuple[str, int, int]] = []
    tally: Any = SimpleNamespace(
        asking=lambda judge: nullcontext(),
        begun=lambda work, units, calls: counted.append(("begun", units, calls)),
        ended=lambda work, units, calls: counted.append(("ended", units, calls)),
    )
    found = asyncio.run(stage._explain(plan, "rounds", views, 0, {}, tally))
    assert [e.text for e, _ in found] == ["", "sae/1", "sae/2|sae/2+", "sae/3|sae/3+|sae/3++"]
    assert [len(exchange.replies) for _, exchange in found] == [0, 1, 2, 3]
    assert counted == [("begun", 4, 3), ("ended", 4, 6)]
    assert batches == [["sae/1", "sae/2", "sae/3"], ["sae/2+", "sae/3+"], ["sae/3++"]]


def carry_out(folder: Path, name: str, explainers: list[Any], judge: str = "mock:lexical") -> Any:
    spec = {
        "name": "t",
        "suite": "planted-1",
        "limit": 4,
        "explainers": explainers,
        "scorers": ["embedding"],
        "judges": [{"use": judge, "label": "lex"}],
    }
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    record = start(path, folder / name, folder / "cache.sqlite", QUIET)[1]
    rows = pq.read_table(folder / name / "explanations.parquet").to_pylist()
    return record, {(r["explainer"], r["latent"]): r for r in rows}


def test_explainers_run_in_the_grid(tmp_path: Path) -> None:
    from latentbench.suites.store import load_suite

    ids = [v.id for v in load_suite("planted-1").latents(split="test", limit=4)]
    write(tmp_path / "mine.jsonl", [{"latent": i, "text": f"Text of {i}."} for i in ids[:3]])
    grid = [
        "tokens",
        "vocab",
        {"use": "ensemble", "params": {"of": ["tokens", "file"]}},
        {"use": "file", "params": {"path": "mine.jsonl"}},
        {"use": "best-of-k", "params": {"k": 3}, "model": "lex"},
    ]
    record, rows = carry_out(tmp_path, "a", grid)
    assert {rows["vocab", i]["outcome"] for i in ids} == {"skipped"}
    assert [rows["file", i]["outcome"] for i in ids] == ["ok", "ok", "ok", "skipped"]
    assert rows["ensemble", ids[0]]["text"] == f"{rows['tokens', ids[0]]['text']} Text of {ids[0]}."
    assert rows["ensemble", ids[3]]["outcome"] == "skipped"
    assert {rows["best-of-k", i]["outcome"] for i in ids} == {"ok"}
    assert len(json.loads(rows["best-of-k", ids[0]]["note"])["candidates"]) == 3
    assert record.status == "complete"
    # A file that was edited since is another explainer: the run is not resumed on it.
    with (tmp_path / "mine.jsonl").open("a", encoding="utf-8") as f:
        f.write(json.dumps({"latent": ids[3], "text": "New."}) + "\n")
    with pytest.raises(BenchError, match="explainers: file"):
        resume(tmp_path / "a", tmp_path / "cache.sqlite", QUIET)


def test_a_model_that_lacks_an_ability_is_refused_before_anything_is_paid(tmp_path: Path) -> None:
    grid = [{"use": "best-of-k", "model": "mock:lexical?can=chat"}]
    with pytest.raises(CapabilityError, match="needs chat and text_logprobs"):
        carry_out(tmp_path, "a", grid)
    with pytest.raises(UnknownName, match="vocab"):
        carry_out(tmp_path, "b", ["tokens", "ensemble"])


def test_both_rounds_run_and_come_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The mock writes the same for every seed; candidates that differ make it two rounds.
    plain = mock._explanation
    monkeypatch.setattr(mock, "_explanation", lambda r: "Nothing." if r.seed % 2 else plain(r))
    grid = [{"use": "best-of-k", "params": {"k": 8, "n_choose": 4}, "model": "lex"}]
    first, rows = carry_out(tmp_path, "a", grid)
    notes = [json.loads(r["note"]) for r in rows.values()]
    assert all({c["text"] == "Nothing." for c in note["candidates"]} == {True, False} for note in notes)
    # To the mock, words are likelier after a text that names them.
    assert all(r["text"].startswith("Tokens such as") for r in rows.values())
    assert all(note["gain"] >= 0 for note in notes)
    assert any(note["gain"] > 0 for note in notes)
    second, again = carry_out(tmp_path, "b", grid)
    assert first.totals.paid.calls >= 4 * (8 + 3 * 4)
    assert second.totals.paid.calls == 0
    assert {k: (r["text"], r["note"]) for k, r in again.items()} == {k: (r["text"], r["note"]) for k, r in rows.items()}
