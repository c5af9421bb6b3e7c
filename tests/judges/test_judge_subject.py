"""A writer with the subject and coders of a suite: activations against the suite's own, batches, refusals, and a whole run."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from latentbench.judges.cache.cached_judge import CachedJudge, ReplyCache
from latentbench.judges.price import cost
from latentbench.judges.reference import load_judge
from latentbench.judges.subject_judge import SubjectJudge
from latentbench.kernel.errors import BenchError, DigestMismatch, SpecError, UnknownName
from latentbench.kernel.latent import LatentRef
from latentbench.kernel.requests import Activate, Capability, Embed, Outcome
from latentbench.runs.run import start
from latentbench.subject.hooks import capture
from latentbench.suites.build.build import build_suite
from latentbench.suites.build.suite_recipe import anchored_recipe, load_recipe
from latentbench.suites.store import load_suite
from rich.console import Console

from tests.builders.toy_recipe import directions, neurons, toy_recipe

QUIET = Console(quiet=True)
TEXTS = ["The river rises.", "Add the onions and 12 percent of the wheat.", "No.", "def count(words):"]


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite of two coders on the tiny subject."""
    home = tmp_path_factory.mktemp("subject")
    toy_recipe(home, tiny_folder, [directions("a", "layers.1", 3), neurons(2)], texts=80, explain=10, positives=1)
    build_suite(anchored_recipe(load_recipe(home / "recipe.yaml"), home), home, home / "acts")
    return home


def subject(folder: Path, more: str = "") -> SubjectJudge:
    judge = load_judge(f"subject:{folder}?writer=mock:lexical%3Fseed=3{more}")
    assert isinstance(judge, SubjectJudge)
    return judge


def refs(folder: Path) -> list[LatentRef]:
    return [LatentRef(v.id, v.origin) for v in load_suite(folder).latents()]


async def test_activations_are_those_of_a_direct_forward_pass(folder: Path) -> None:
    judge = subject(folder)
    asked = [Activate(t, r) for r in refs(folder) for t in TEXTS]
    replies = await judge.answer(asked)
    assert all(r.ok for r in replies)
    fired = 0
    for request, reply in zip(asked, replies, strict=True):
        name, _, index = request.latent.id.partition("/")
        coder = judge._coders[name]
        ids = judge.loaded.tokenizer(request.text, add_special_tokens=False)["input_ids"]
        whole = torch.tensor([[judge.loaded.bos, *ids]])
        acts = capture(judge.loaded, whole, None, [coder.hookpoint])[coder.hookpoint][0, 1:]
        found = coder.encode(acts)
        dense = torch.zeros(len(ids))
        mine = found.latents == int(index)
        dense[found.rows[mine]] = found.values[mine].float()
        assert reply.tokens is not None
        assert reply.tokens[0] == pytest.approx(dense.clamp(min=0).tolist(), abs=1e-5)
        assert reply.windows == (max(reply.tokens[0]),)
        assert (reply.usage.tokens_in, reply.usage.tokens_out) == (0, 0)
        fired += reply.windows[0] > 0
    assert 5 < fired < len(asked)


async def test_a_window_at_a_context_s_beginning_has_the_activations_of_the_suite(folder: Path) -> None:
    """What stands alone is what stands first: nothing is to its left in either case."""
    suite = load_suite(folder)
    judge = subject(folder)
    context = suite.window_table.column("context").to_numpy()
    position = suite.window_table.column("position").to_numpy()
    first = {c: position[context == c].min() for c in set(context.tolist())}
    starts = {int(p) for p in np.cumsum([0, *_lengths(suite.path, judge)])[:-1]}
    compared = 0
    for view in suite.latents(coders=["a"]):
        for w in view.test:
            text = judge.loaded.tokenizer.decode(w.ids)
            again = judge.loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
            if w.position in starts and tuple(again) == w.ids:
                (reply,) = await judge.answer([Activate(text, LatentRef(view.id, view.origin))])
                assert reply.tokens is not None
                assert reply.tokens[0] == pytest.approx(w.activations, abs=2e-3 * max(1.0, w.max))
                compared += 1
    assert first
    assert compared >= 3


def _lengths(folder: Path, judge: SubjectJudge) -> list[int]:
    """Lengths of the corpus' contexts of 40 tokens; what is left of a document is a context if it has a window's 8."""
    found = []
    for line in (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines():
        n = len(judge.loaded.tokenizer(json.loads(line)["text"], add_special_tokens=False)["input_ids"])
        parts = [40] * (n // 40) + ([n % 40] if n % 40 else [])
        found += [p for p in parts if p >= 8]
    return found


async def test_batches_change_nothing_and_a_text_runs_once_for_all_its_latents(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from latentbench.judges import subject_judge as module

    asked = [Activate(t, r) for t in TEXTS for r in refs(folder)]
    together = await subject(folder).answer(asked)
    one = subject(folder, "&batch=1")
    alone = [(await one.answer([r]))[0] for r in asked]
    for a, b in zip(together, alone, strict=True):
        assert a.tokens[0] == pytest.approx(b.tokens[0], abs=1e-5)
    ran: list[int] = []
    real = module.encode_contexts

    def counting(loaded: Any, coders: Any, contexts: Any, batch: int) -> Any:
        ran.append(len(contexts))
        return real(loaded, coders, contexts, batch)

    monkeypatch.setattr(module, "encode_contexts", counting)
    await subject(folder).answer(asked)
    assert ran == [len(TEXTS)] * 2


async def test_what_is_not_this_subject_s_is_skipped_and_not_measured(folder: Path) -> None:
    judge = subject(folder, "&coders=a")
    view = load_suite(folder).latents()[0]
    ref = LatentRef(view.id, view.origin)
    other = next(r for r in refs(folder) if r.id.startswith("n/"))
    long = "river " * 3000
    asked = [
        Activate("x", replace(ref, origin="another")),
        Activate("x", replace(ref, origin="")),
        Activate("x", other),
        Activate("", ref),
        Activate(long, ref),
        Activate(TEXTS[0], ref),
    ]
    replies = await judge.answer(asked)
    assert [r.outcome for r in replies] == [Outcome.SKIPPED] * 5 + [Outcome.OK]
    assert "subject and coders (a)" in (replies[0].error or "")
    assert "nothing was cut" in (replies[4].error or "")


async def test_the_rest_is_the_writer_s_with_its_name_and_price(folder: Path) -> None:
    judge, writer = subject(folder), load_judge("mock:lexical?seed=3")
    assert judge.can == writer.can | {Capability.ACTIVATE}
    assert judge.identity.label == "mock:lexical"
    assert judge.identity.key != writer.identity.key
    assert cost((await judge.answer([Activate("x", refs(folder)[0])]))[0].usage, judge.identity) == 0
    (mine,), (theirs,) = await judge.answer([Embed("rivers")]), await writer.answer([Embed("rivers")])
    assert np.array_equal(mine.vector, theirs.vector)
    assert load_judge(f"subject:{folder}?writer=mock:label").reads_truth
    assert not judge.reads_truth
    keys = {subject(folder, m).identity.key for m in ("", "&coders=a", "&dtype=bfloat16", "&batch=2")}
    assert len(keys) == 3
    # A remote writer is asked one request at a time; the subject still reads whole batches.
    judge.chunk = 1
    sizes: list[int] = []
    real = judge.answer

    async def counting(requests: Any) -> Any:
        sizes.append(len(requests))
        return await real(requests)

    judge.answer = counting  # type: ignore[method-assign]
    cache = ReplyCache(folder / "replies.sqlite")
    cached = CachedJudge(judge, cache)
    asked = [Activate(t, r) for t in TEXTS for r in refs(folder)]
    first = await cached.answer(asked)
    assert sizes == [len(asked)]
    again = await cached.answer(asked)
    assert sizes == [len(asked)]
    assert [r.tokens for r in first] == [r.tokens for r in again]
    assert all(r.cached for r in again)
    elsewhere = Activate(TEXTS[0], LatentRef(asked[0].latent.id, "another"))
    assert "same prompt, origin differs" in cache.explain_miss(judge.identity, elsewhere)
    cache.close()


def test_wrong_references_are_refused(folder: Path, tmp_path: Path) -> None:
    wrong: list[tuple[str, type[BenchError], str]] = [
        ("subject:planted-2?writer=mock:label", SpecError, "not built from a subject"),
        (f"subject:{folder}", SpecError, "writer"),
        (f"subject:{folder}?writer=mok:label", UnknownName, "'mock'"),
        (f"subject:{folder}?writer=mock:label&coders=b", UnknownName, "coder of suite toy"),
        ("subject:planted-9?writer=mock:label", UnknownName, "planted-1"),
    ]
    for reference, error, message in wrong:
        with pytest.raises(error, match=message):
            load_judge(reference)
    copy = tmp_path / "suite"
    shutil.copytree(folder, copy)
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    manifest["coders"][0]["key"] = "0" * 16
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(DigestMismatch, match="coder a"):
        load_judge(f"subject:{copy}?writer=mock:label")


async def test_the_latents_of_a_planted_suite_are_measured_by_their_rules(tmp_path: Path) -> None:
    judge = load_judge("subject:planted-1?writer=mock:lexical%3Fcan=chat")
    assert judge.can == {Capability.CHAT, Capability.ACTIVATE}
    suite = load_suite("planted-1")
    views = {v.id: v for v in suite.latents()}
    view = views["planted/colours"]
    replies = await judge.answer(
        [Activate("a red door", LatentRef(view.id, view.origin)), Activate("a door", LatentRef(view.id, view.origin))]
    )
    assert [[value > 0 for value in (r.tokens or ((),))[0]] for r in replies] == [[False, True, False], [False, False]]
    (other,) = await judge.answer([Activate("a red door", LatentRef(view.id, "another"))])
    assert other.outcome is Outcome.SKIPPED
    assert judge.identity.key != load_judge("mock:lexical?can=chat").identity.key
    copy = tmp_path / "planted"
    shutil.copytree(suite.path, copy)
    rules = (copy / "rules.yaml").read_text(encoding="utf-8")
    (copy / "rules.yaml").write_text(rules.replace("Names of colours.", "Colours."), encoding="utf-8")
    with pytest.raises(DigestMismatch, match="not what planted-1@"):
        load_judge(f"subject:{copy}?writer=mock:label")
    await judge.close()


def test_a_run_measures_the_subject_without_any_special_path(folder: Path, tmp_path: Path) -> None:
    spec = {
        "name": "s",
        "suite": str(folder),
        "explainers": ["tokens", "empty"],
        "scorers": [{"use": "sensitivity", "preset": "input", "params": {"texts": 3}}, "detection"],
        "judges": [{"use": f"subject:{folder}?writer=mock:lexical", "label": "both"}],
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    run, record = start(tmp_path / "spec.yaml", tmp_path / "run", tmp_path / "c.sqlite", QUIET)
    assert record.failure_rate == 0
    judged = pq.read_table(run / "judgements.parquet").to_pandas()
    texts = judged[judged.kind.isin(["written", "neutral"])]
    assert len(texts) == 2 * 5 * 6
    assert (texts.outcome == "ok").all()
    assert texts.token_truth.map(max).max() > 0
    scores = pq.read_table(run / "scores.parquet").to_pandas()
    found = scores[(scores.metric == "clarity_signed") & (scores.explainer == "tokens")]
    assert len(found) == 5
    assert found.value.between(-1, 1).all()
