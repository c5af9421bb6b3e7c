"""Deterministic judges without weights: `mock:label`, `mock:lexical`, `mock:constant`, `mock:oracle`.

Every decision - whether to fail, to talk nonsense, to flip a label - is a hash of the seed and of what is asked, never of a
counter or a generator, so replies do not depend on order, batch size or on what was cached. A random generator would make each
resume a different experiment.

A variant says how likely windows and tokens are active and how it writes; this class turns that into every kind of reply. A
new variant is a class in `judges.mock.variants` (texts are read by word overlap unless it says otherwise) and a line in its
`VARIANTS`.
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

from latentbench.judges.dispatch import DispatchJudge
from latentbench.judges.mock.variants import VARIANTS, MockParams, Variant, share
from latentbench.kernel.errors import UnknownName
from latentbench.kernel.identity import canonical
from latentbench.kernel.requests import (
    Activate,
    Capability,
    Chat,
    Choice,
    Continuation,
    Embed,
    JudgeIdentity,
    Outcome,
    Question,
    Reply,
    Request,
    Simulate,
    Usage,
    bare,
)
from latentbench.kernel.tasks import find

if TYPE_CHECKING:
    from latentbench.judges.mock.planted_subject import PlantedSubject

R = TypeVar("R", Chat, Choice, Continuation, Embed, Simulate, Activate)

NONSENSE = "I would rather speak about the weather, which is pleasant."
SUITE = "planted-1"
MARKED = re.compile(r"<<(.+?)>>", re.DOTALL)


class MockJudge(DispatchJudge):
    """See the module docstring.

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
        self.can = frozenset(map(Capability, named)) or self.can
        settings = self.params.model_dump(exclude={"seconds", "can", "rules"})
        named_settings = tuple((k, str(v)) for k, v in settings.items())
        self.identity = JudgeIdentity("mock", model, self.variant.revision, "exact", named_settings)
        self._free_at = 0.0

    async def _texts(self, requests: Sequence[Chat]) -> list[Reply]:
        """See `written` for a question with windows and the variant's own text for one without any; without a question, a
        sentence about the `<<marked>>` tokens of the prompt."""
        return await self._all(requests, self._chat)

    async def _choices(self, requests: Sequence[Choice]) -> list[Reply]:
        """See `choice_logprobs`."""
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
            question = request.question if self.reads_truth else bare(request.question)
            return Reply(tokens=self.variant.tokens(question), windows=self.variant.windows(question))

        return await self._all(requests, answer)

    async def _activations(self, requests: Sequence[Activate]) -> list[Reply]:
        """The rule of a planted latent, whatever the variant; see `PlantedSubject`."""
        return await self._all(requests, lambda r: self._subject.activate(r.text, r.latent))

    @cached_property
    def _subject(self) -> PlantedSubject:
        # Only when asked: most mocks never are, and the rules take a moment to check.
        from latentbench.judges.mock.planted_subject import PlantedSubject
        from latentbench.suites.planted.planted_suite import load_rules

        return PlantedSubject(load_rules(Path(self.params.rules or find("suites", SUITE) / "rules.yaml")))

    async def _all(self, requests: Sequence[R], answer: Callable[[R], Reply]) -> list[Reply]:
        if self.params.seconds:
            now = time.monotonic()
            self._free_at = max(now, self._free_at) + self.params.seconds * len(requests)
            await asyncio.sleep(self._free_at - now)
        replies = []
        for request in requests:
            asked = canonical([type(request).__name__, request])
            if share(self.params.seed, "fail", asked) < self.params.fail:
                replies.append(Reply(Outcome.API, error="mock failure"))
                continue
            reply = answer(request)
            usage = Usage((len(_read(request)) + 3) // 4, (len(reply.text or "") + 3) // 4, 0, self.params.seconds)
            replies.append(replace(reply, usage=usage))
        return replies

    def _chat(self, request: Chat) -> Reply:
        if share(self.params.seed, "nonsense", canonical(request)) < self.params.nonsense:
            return Reply(text=NONSENSE)
        question = request.question
        if question is None:
            return Reply(text=_explanation(request))
        if not question.windows:
            return Reply(text=self.variant.write(question, request.seed))
        return Reply(text=written(self.variant, question))

    def _continuation(self, request: Continuation) -> Reply:
        total, words = self.variant.loglik(request)
        return Reply(loglik=total, n_tokens=words)


def choice_logprobs(variant: Variant, choice: Choice) -> tuple[tuple[float, ...], ...]:
    """[slot][answer] of a question, in one of four readings.

    One slot per window and two answers: (no, yes), or (yes, no) where they say so. One slot per token: answers are levels from 0
    to the last, the likely ones around p(active). One slot for one window: the same levels, of the window. One slot for several
    windows: which of as many groups of them as there are answers, by mean p(active).
    """
    question = choice.question
    n = len(choice.answers)
    if question is None or not question.windows:
        return ((-math.log(n),) * n,) * len(choice.slots)
    tokens = [p for row in variant.tokens(question) for p in row]
    windows = variant.windows(question)
    if n == 2 and len(choice.slots) == len(windows):
        # By its words, as a judge that reads them: by place alone, a prompt with its answers exchanged would go unnoticed.
        turned = tuple(a.strip().lower() for a in choice.answers) == ("yes", "no")
        return tuple((math.log(p), math.log1p(-p)) if turned else (math.log1p(-p), math.log(p)) for p in windows)
    if len(choice.slots) == len(tokens):
        return tuple(_levels(p, n) for p in tokens)
    if n > 2 and len(windows) == len(choice.slots) == 1:
        return (_levels(windows[0], n),)
    if len(windows) % n == 0:
        return (_normal([math.log(p) for p in _means(windows, n)]),) * len(choice.slots)
    return ((-math.log(n),) * n,) * len(choice.slots)


def written(variant: Variant, question: Question) -> str:
    """The written answer to a question about windows, in one of five readings of its `answers`.

    The numbers of the windows, or of groups of as many windows: the likeliest one's. A word for none and the windows' numbers:
    those of all active windows. Levels 0..n of one window: a list with one for every token. Three or more words and one window:
    the word at the level of p(active). Anything else: a list of 0 and 1.
    """
    windows = variant.windows(question)
    numbers = tuple(str(i + 1) for i in range(len(windows)))
    groups = numbers[: len(question.answers)]
    if question.answers == groups and groups and len(windows) % len(groups) == 0:
        means = _means(windows, len(groups))
        return groups[means.index(max(means))]
    if question.answers[1:] == numbers and not question.answers[0].isdigit():
        return ", ".join(n for n, p in zip(numbers, windows, strict=True) if p > 0.5) or question.answers[0]
    top = len(question.answers) - 1
    if len(windows) == 1 and top > 1 and question.answers == tuple(map(str, range(top + 1))):
        return str([round(top * p, 2) for p in variant.tokens(question)[0]])
    if len(windows) == 1 and top > 1 and not any(a.isdigit() for a in question.answers):
        return question.answers[round(top * windows[0])]
    return str([int(p > 0.5) for p in windows])


def _means(windows: Sequence[float], n: int) -> list[float]:
    size = len(windows) // n
    return [math.fsum(windows[i : i + size]) / size for i in range(0, len(windows), size)]


def _levels(p: float, n: int) -> tuple[float, ...]:
    return _normal([-40 * (v / (n - 1) - p) ** 2 for v in range(n)])


def _normal(logits: Sequence[float]) -> tuple[float, ...]:
    top = max(logits)
    norm = top + math.log(sum(math.exp(x - top) for x in logits))
    return tuple(x - norm for x in logits)


def _explanation(request: Chat) -> str:
    last = next((m.content for m in reversed(request.messages) if m.role == "user"), "")
    counted = Counter(t.strip() for t in MARKED.findall(last) if t.strip())
    if not counted:
        return "A feature without marked tokens."
    return "Tokens such as " + ", ".join(f'"{t}"' for t, _ in counted.most_common(5)) + "."


def _read(request: Request) -> str:
    """The text that a judge would read."""
    match request:
        case Chat() | Choice():
            return "".join(m.content for m in request.messages)
        case Continuation():
            return request.context + request.text
        case Embed() | Activate():
            return request.text
        case Simulate():
            return request.question.explanation + "".join(w.text for w in request.question.windows)
