"""Deterministic judges without weights: `mock:label`, `mock:lexical`, `mock:constant`, `mock:oracle`, and those that write.

Every decision - whether to fail, to talk nonsense, to flip a label - is a hash of the seed and of what is asked, never of a
counter or a generator, so replies do not depend on order, batch size or on what was cached. A random generator would make each
resume a different experiment.

A variant says how likely windows and tokens are active and how it writes; this class turns that into every kind of reply, in
the form that the trial says. A new variant is a class in `judges.mock.variants` (texts are read by word overlap unless it says
otherwise) and a line in its `VARIANTS`.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

import pydantic

from latentbench.judges.judge import DispatchJudge
from latentbench.judges.mock.variants import VARIANTS, MockParams, Variant
from latentbench.kernel.errors import SpecError, UnknownName
from latentbench.kernel.forms import AnyOf, Levels, Which, Write, YesNo, words
from latentbench.kernel.identity import digest, share
from latentbench.kernel.requests import (
    Activate,
    Capability,
    Chat,
    Choice,
    Continuation,
    Direct,
    Embed,
    JudgeIdentity,
    Outcome,
    Patched,
    Projected,
    Reply,
    Simulate,
    Usage,
    whole,
)
from latentbench.kernel.tasks import find
from latentbench.kernel.trial import Trial, bare

if TYPE_CHECKING:
    from latentbench.judges.mock.planted_subject import PlantedSubject

R = TypeVar("R", Chat, Choice, Continuation, Embed, Simulate, Activate, Patched, Projected)

NONSENSE = "I would rather speak about the weather, which is pleasant."
SUITE = "planted-1"
MARKED = re.compile(r"<<(.+?)>>", re.DOTALL)
EXCERPT = re.compile(r"^Excerpt (\d+):(.*?)(?=^Excerpt \d+:|\Z)", re.DOTALL | re.MULTILINE)
TRAINED = "[DESCRIPTION]"
"""How the reply of a fine-tuned explainer begins; its prompt says so, with `Excerpt 1:` for examples and `{{this}}` for marks."""


class MockJudge(DispatchJudge):
    """A judge without weights: a variant's probabilities turned into every kind of reply.

    Args:
        model: name of a variant.
        params: see `MockParams`.

    Raises:
        UnknownName: no such variant.
    """

    params_model: ClassVar[type[pydantic.BaseModel]] = MockParams
    default_model: ClassVar[str] = "label"
    """`mock:?fail=0.2` is the judge that knows the answers, with failures."""
    chunk = 64

    def __init__(self, model: str, params: MockParams | None = None) -> None:
        super().__init__()
        self.params = params or MockParams()
        if model not in VARIANTS:
            raise UnknownName("mock judge", model, VARIANTS)
        self.variant = VARIANTS[model](self.params)
        self.reads_truth = self.variant.reads_truth
        for name in (named := [c for c in self.params.can.split("+") if c]):
            if name not in set(Capability):
                raise UnknownName("capability", name, list(Capability))
        self.serve(Chat, self._texts)
        self.serve(Choice, self._choices, Capability.SLOTS)
        self.serve(Continuation, self._continuations)
        self.serve(Embed, self._vectors)
        self.serve(Simulate, self._probabilities)
        self.serve(Activate, self._activations)
        self.serve(Patched, self._patched)
        self.serve(Projected, self._projections)
        self.can = frozenset(map(Capability, named)) or self.can
        settings = self.params.model_dump(exclude={"seconds", "can", "rules"})
        named_settings = [(k, str(v)) for k, v in settings.items()]
        if self.params.rules and model != "oracle":
            # Every mock measures activations by rules; the oracle's revision says which, and `planted-1`'s are the usual ones.
            own, usual = (_rules(path) for path in (self.params.rules, ""))
            named_settings += [("rules", own)] if own != usual else []
        self.identity = JudgeIdentity("mock", model, self.variant.revision, "exact", tuple(named_settings))
        self._free_at = 0.0

    async def _texts(self, requests: Sequence[Chat]) -> list[Reply]:
        """The variant's own text where one is to be written, else see `written`; without a trial its explanation, or a sentence
        about the `<<marked>>` tokens of the prompt."""
        return await self._all(requests, self._chat)

    async def _choices(self, requests: Sequence[Choice]) -> list[Reply]:
        """Log-probabilities of the allowed answers, by `choice_logprobs`."""
        return await self._all(requests, lambda r: Reply(logprobs=choice_logprobs(self.variant, r)))

    async def _continuations(self, requests: Sequence[Continuation]) -> list[Reply]:
        """The variant's."""
        return await self._all(requests, self._continuation)

    async def _vectors(self, requests: Sequence[Embed]) -> list[Reply]:
        """The variant's."""
        return await self._all(requests, lambda r: Reply(vector=self.variant.vector(r)))

    async def _probabilities(self, requests: Sequence[Simulate]) -> list[Reply]:
        """The variant's probabilities, from what a simulator reads unless it knows the truth."""

        def answer(request: Simulate) -> Reply:
            trial = request.trial if self.reads_truth else bare(request.trial)
            return Reply(tokens=self.variant.tokens(trial), windows=self.variant.windows(trial))

        return await self._all(requests, answer)

    async def _activations(self, requests: Sequence[Activate]) -> list[Reply]:
        """The rule of a planted latent, whatever the variant; see `PlantedSubject`."""
        return await self._all(requests, lambda r: self._subject.activate(r.text, r.latent))

    async def _patched(self, requests: Sequence[Patched]) -> list[Reply]:
        """What the variant writes to the prompt: without weights there is nothing that a vector could stand in."""
        return await self._all(requests, lambda r: self._chat(r.chat))

    async def _projections(self, requests: Sequence[Projected]) -> list[Reply]:
        """The mean activation of the rule of each planted latent; see `PlantedSubject`."""
        return await self._all(requests, lambda r: self._subject.project(r.text, r.latents))

    @cached_property
    def _subject(self) -> PlantedSubject:
        # Only when asked: most mocks never are, and the rules take a moment to check.
        from latentbench.judges.mock.planted_subject import PlantedSubject
        from latentbench.suites.planted.planted_suite import load_rules

        return PlantedSubject(load_rules(_place(self.params.rules)))

    async def _all(self, requests: Sequence[R], answer: Callable[[R], Reply]) -> list[Reply]:
        if self.params.seconds:
            now = time.monotonic()
            self._free_at = max(now, self._free_at) + self.params.seconds * len(requests)
            await asyncio.sleep(self._free_at - now)
        replies = []
        for request in requests:
            if share(self.params.seed, "fail", whole(request, named=True)) < self.params.fail:
                replies.append(Reply(Outcome.API, error="mock failure"))
                continue
            reply = answer(request)
            usage = Usage((len(_read(request)) + 3) // 4, (len(reply.text or "") + 3) // 4, 0, self.params.seconds)
            replies.append(replace(reply, usage=usage))
        return replies

    def _chat(self, request: Chat) -> Reply:
        if share(self.params.seed, "nonsense", whole(request)) < self.params.nonsense:
            return Reply(text=NONSENSE)
        trial = request.trial
        if trial is None:
            trained = _as_examples(request)
            told = trained or request
            text = self.variant.explain(told) or _explanation(told)
            return Reply(text=f"{TRAINED}: {text}" if trained else text)
        if isinstance(trial.form, Write):
            return Reply(text=self.variant.write(trial, request.seed))
        return Reply(text=written(self.variant, trial))

    def _continuation(self, request: Continuation) -> Reply:
        total, words = self.variant.loglik(request)
        return Reply(loglik=total, n_tokens=words)


def _place(rules: str) -> Path:
    return Path(rules) if rules else find("suites", SUITE) / "rules.yaml"


def _rules(rules: str) -> str:
    """What identifies a file of rules."""
    from latentbench.suites.planted.planted_suite import load_rules

    return digest(load_rules(_place(rules)))


def choice_logprobs(variant: Variant, choice: Choice) -> tuple[tuple[float, ...], ...]:
    """[slot][answer] in the form of the trial; equal masses where there is no trial, or as many places as it has no answers.

    Raises:
        SpecError: the allowed answers are not those of the form.
    """
    trial, n = choice.trial, len(choice.answers)
    even = ((-math.log(n),) * n,) * len(choice.slots)
    if trial is None or not trial.windows:
        return even
    form = trial.form
    said = words(form, len(trial.windows))
    if sorted(said) != sorted(choice.answers):
        raise SpecError(f"{trial.task}: a choice of {choice.answers} does not answer {form}, whose words are {said}.")
    rows: list[tuple[float, ...]] = []
    match form:
        case YesNo():
            said = _understood(form)
            rows = [(math.log1p(-p), math.log(p)) for p in variant.windows(trial)]
        case Levels(per="window"):
            rows = [_levels(p, n) for p in variant.windows(trial)]
        case Levels():
            rows = [_levels(p, n) for row in variant.tokens(trial) for p in row]
        case Which():
            rows = [_normal([math.log(p) for p in _means(variant.windows(trial), n)])] * len(choice.slots)
    if len(rows) != len(choice.slots):
        return even
    order = [said.index(answer) for answer in choice.answers]
    return tuple(tuple(row[i] for i in order) for row in rows)


def written(variant: Variant, trial: Trial) -> str:
    """The written answer to a trial about windows, as its form says."""
    windows = variant.windows(trial)
    match trial.form:
        case Which() as form:
            means = _means(windows, form.n)
            return str(means.index(max(means)) + 1)
        case AnyOf() as form:
            return ", ".join(str(i) for i, p in enumerate(windows, 1) if p > 0.5) or form.none
        case Levels() as form:
            top = len(form.answers) - 1
            if form.per == "token":
                return str([round(top * p, 2) for row in variant.tokens(trial) for p in row])
            return ", ".join(form.answers[round(top * p)] for p in windows)
    return str([int(p > 0.5) for p in windows])


def _understood(form: YesNo) -> tuple[str, str]:
    """The words for no and yes, as a judge that reads them understands them: a prompt that has them exchanged is noticed."""
    exchanged = (form.no.strip().lower(), form.yes.strip().lower()) == ("yes", "no")
    return (form.yes, form.no) if exchanged else (form.no, form.yes)


def _means(windows: Sequence[float], n: int) -> list[float]:
    size = len(windows) // n
    return [math.fsum(windows[i : i + size]) / size for i in range(0, len(windows), size)]


def _levels(p: float, n: int) -> tuple[float, ...]:
    return _normal([-40 * (v / (n - 1) - p) ** 2 for v in range(n)])


def _normal(logits: Sequence[float]) -> tuple[float, ...]:
    top = max(logits)
    norm = top + math.log(sum(math.exp(x - top) for x in logits))
    return tuple(x - norm for x in logits)


def _as_examples(request: Chat) -> Chat | None:
    """The question to a fine-tuned explainer with the examples and marks of the others; None for a question of another form."""
    if not any(TRAINED in m.content for m in request.messages):
        return None

    def line(found: re.Match[str]) -> str:
        return f"Example {found[1]}: {found[2].rstrip().replace(chr(10), '⏎')}\n"

    def told(text: str) -> str:
        return EXCERPT.sub(line, text).replace("{{", "<<").replace("}}", ">>")

    return replace(request, messages=tuple(replace(m, content=told(m.content)) for m in request.messages))


def _explanation(request: Chat) -> str:
    last = next((m.content for m in reversed(request.messages) if m.role == "user"), "")
    counted = Counter(t.strip() for t in MARKED.findall(last) if t.strip())
    if not counted:
        return "A feature without marked tokens."
    return "Tokens such as " + ", ".join(f'"{t}"' for t, _ in counted.most_common(5)) + "."


def _read(request: Direct) -> str:
    """The text that a judge would read."""
    match request:
        case Chat() | Choice():
            return "".join(m.content for m in request.messages)
        case Continuation():
            return request.context + request.text
        case Embed() | Activate() | Projected():
            return request.text
        case Patched():
            return _read(request.chat)
        case Simulate():
            return request.trial.explanation + "".join(w.text for w in request.trial.windows)
