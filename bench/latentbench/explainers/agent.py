"""An explainer that tests what it says on the subject (after SAGE, arXiv 2511.20820).

    propose   the prompt of `llm`, k times, at a temperature above 0
    write     texts that each hypothesis says must fire
    measure   the subject runs on them (`activate`): some fire and some do not
    tell      each hypothesis is held against all texts written so far: which does it describe? and against explain windows whose
              firing words are marked: in which are these what it says?
    revise    the best is shown with what it got wrong, and is written anew; the new ones are tested as the first were

The best hypothesis is the explanation: it tells firing from silent texts (balanced accuracy), and its own texts fire. `best-of-k`
chooses by explain windows alone, all of which fire: that a description is too broad it sees only as far as the model finds texts
less likely under it. Here the silent texts are those that some hypothesis expected to fire, the hardest that there are. Letting
the model itself say when a hypothesis is refuted, as SAGE does, is tempting; then the number that decides is an opinion, and no
two models can be compared by it.

Test windows have no part in this: `LatentView.explain` is all that is read. What is asked is a function of the replies so far, so
the conversation is a generator that is played again from the start; a resumed run finds its replies in the cache. The note has
every round.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from latentbench.explainers.explainer import Explanation, Others, Params, total_usage
from latentbench.explainers.hypothesis import Hypothesis, MeasuredText, correct, evidence_note, ranked, rounded
from latentbench.explainers.llm import LlmExplainer, LlmParams
from latentbench.kernel.forms import AnyOf, Write
from latentbench.kernel.identity import seed_for
from latentbench.kernel.latent import LatentRef, LatentView, Window
from latentbench.kernel.requests import Activate, Capability, Chat, Outcome, Reply, Request
from latentbench.kernel.trial import Seen, Trial
from latentbench.prompts.answers import read_numbers, text_alone
from latentbench.prompts.selection import shuffled
from latentbench.prompts.template import active_marks, marked, one_line
from latentbench.stats.maximum import best_of_k
from latentbench.suites.planted.rules import TOKEN

ALL_RIGHT, ALL_ROUNDS, NOTHING_NEW = "agreement with every text", "the number of rounds", "no new hypothesis"
GONE = frozenset({Outcome.API, Outcome.TIMEOUT, Outcome.SKIPPED})
"""Outcomes of a test without which there is no comparison: choosing by what is left prefers whose calls fail."""


class AgentParams(LlmParams):
    """Parameters of the agent: those of `llm` for each hypothesis, how they are tested, and what that may cost."""

    k: int = Field(default=4, ge=1)
    """Hypotheses of the first round. Equal ones are tested once."""
    temperature: float = Field(default=0.8, gt=0)
    """Temperature of hypotheses and written texts; above 0, or all would be equal."""
    rounds: int = Field(default=3, ge=1)
    """Rounds of hypotheses and their tests; 1 revises nothing."""
    revised: int = Field(default=2, ge=1)
    """Hypotheses of each later round, all written from the best so far."""
    keep: int = Field(default=2, ge=1)
    """Hypotheses that survive a round: the best. The others are asked about no further text."""
    texts: int = Field(default=4, ge=1)
    """Texts written from each hypothesis, and so passes of the subject."""
    text_tokens: int = Field(default=40, ge=1)
    """Length of a written text: about that of a window, because longer texts have higher maxima."""
    registers: tuple[str, ...] = Field(default=("a text",), min_length=1)
    """Kinds of written text, in turn."""
    n_windows: int = Field(default=8, ge=0)
    """Explain windows among the texts that hypotheses are held against: those that the prompt left out first, strongest first."""
    fires: float = Field(default=0.2, gt=0, le=1)
    """Share of the latent's maximum over its explain windows from which a text counts as firing; weaker windows are left out."""
    listed: int = Field(default=12, ge=1)
    """Texts of one question about what a hypothesis describes; more texts are several questions."""
    max_calls: int | None = Field(default=None, ge=1)
    """Calls of the model for one latent at most: a round that could take more is not begun."""
    max_passes: int | None = Field(default=None, ge=1)
    """Texts that the subject runs on for one latent at most, in the same way."""
    max_tokens_spent: int | None = Field(default=None, ge=1)
    """Tokens read and written for one latent after which no round begins; the one under way is finished, and may go over."""
    evidence: Literal["measured", "shuffled"] = "measured"
    """`shuffled` is the control: what the subject did is dealt out anew among the texts of a round. What it finds comes of asking
    more often, and not of the subject."""

    @model_validator(mode="after")
    def _affordable(self) -> AgentParams:
        texts = self.k * self.texts
        calls = self.k + texts + self.k * (_questions(texts, self.listed) + _questions(self.n_windows, self.listed))
        for name, most, needed in (("max_calls", self.max_calls, calls), ("max_passes", self.max_passes, texts)):
            if most is not None and most < needed:
                raise ValueError(
                    f"{name} is {most}, and the first round may take {needed}; allow that, or lower k or texts"
                )
        return self


@dataclass
class Inquiry:
    """What was asked and found about one latent.

    Attributes:
        candidates: what the first round wrote, with what could not be read.
        hypotheses: different ones, in the order in which they came.
        alive: numbers of those that are still compared.
        evidence: all texts that hypotheses are held against.
        rounds: what the note says of each round.
        failed: the reply that ended it.
        ended: why it ended.
    """

    candidates: list[Explanation] = field(default_factory=list)
    hypotheses: list[Hypothesis] = field(default_factory=list)
    alive: list[int] = field(default_factory=list)
    evidence: list[MeasuredText] = field(default_factory=list)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    failed: Reply | None = None
    ended: str = ""
    calls: int = 0
    passes: int = 0
    tokens: int = 0

    def heard(self, requests: Sequence[Request], replies: Sequence[Reply]) -> None:
        """Count what replies cost: an activation is a pass of the subject, and no call."""
        passes = sum(isinstance(r, Activate) for r in requests)
        usage = total_usage([r for q, r in zip(requests, replies, strict=True) if not isinstance(q, Activate)])
        self.passes += passes
        self.calls += len(requests) - passes
        self.tokens += usage.tokens_in + usage.tokens_out


Talk = Generator[list[Request], list[Reply], None]


class AgentExplainer(LlmExplainer):
    """Asks in rounds of chats and activations; the replies to hypotheses are read as those of `llm`."""

    more = ("write", "tell", "tell_marked", "revise")
    params_model = AgentParams
    needs = frozenset({Capability.CHAT, Capability.ACTIVATE})

    def __init__(self, name: str, version: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, params, prompts)
        section = self._section
        self._write = section.messages("write", ("explanation", "register"))
        self._tell = section.messages("tell", ("explanation", "texts"))
        self._tell_marked = section.messages("tell_marked", ("explanation", "texts"))
        self._revise = section.messages("revise", ("explanation", "examples", "fired", "silent", "marker"))

    def requests(self, latent: LatentView, seed: int) -> list[Request]:
        """The prompt of `llm`, once for each hypothesis."""
        return self._played(latent, (), seed)[0]

    def follow_up(self, latent: LatentView, replies: Sequence[Reply], seed: int) -> list[Request]:
        """What comes next: texts, what the latent does on them, what hypotheses say of them, or a revision."""
        return self._played(latent, replies, seed)[0]

    def _played(self, latent: LatentView, replies: Sequence[Reply], seed: int) -> tuple[list[Request], Inquiry]:
        """What is to be asked after some replies, and what is known by then."""
        found, left = Inquiry(), list(replies)
        talk = self._talk(latent, seed, found)
        asking = next(talk, [])
        while asking and len(left) >= len(asking):
            now, left = left[: len(asking)], left[len(asking) :]
            found.heard(asking, now)
            try:
                asking = talk.send(now)
            except StopIteration:
                asking = []
        return asking, found

    def _talk(self, latent: LatentView, seed: int, found: Inquiry) -> Talk:
        """The conversation about one latent; what comes of it is written into `found`."""
        if latent.max <= 0:
            return
        p = self.params
        asked = [r for r in super().requests(latent, seed) if isinstance(r, Chat)]
        windows = self._windows(latent, seed)
        for turn in range(p.rounds):
            if turn:
                number = found.alive[0]
                asked = [self._revision(latent, found, number, seed)]
                found.ended = self._over(found, p.revised)
                if found.ended:
                    return
            after = found.hypotheses[found.alive[0]].text if turn else None
            times = p.revised if turn else p.k
            chats: list[Request] = [
                replace(c, seed=_drawn(seed, "hypothesis", turn, i)) for i in range(times) for c in asked
            ]
            replies = yield chats
            read = [super(AgentExplainer, self).parse(latent, [reply], seed, {}) for reply in replies]
            found.candidates += read
            known = {h.text for h in found.hypotheses}
            texts = dict.fromkeys(r.text for r in read if r.text and r.text not in known)
            new = list(range(len(found.hypotheses), len(found.hypotheses) + len(texts)))
            found.hypotheses += [Hypothesis(text, after) for text in texts]
            found.rounds.append(
                {
                    "after": after,
                    "proposed": [{"text": r.text, "outcome": r.outcome.value, "error": r.error} for r in read],
                }
            )
            if not new:
                found.ended = NOTHING_NEW if found.alive else ""
                found.failed = next((r for r in replies if r.outcome in GONE), None) if turn else None
                return
            if not turn:
                found.evidence = windows
            yield from self._tested(latent, seed, turn, found, new)
            if found.failed is not None:
                return
            found.alive = [*found.alive, *new]
            order = ranked(found.alive, found.hypotheses, found.evidence)
            found.rounds[-1]["compared"] = [
                {
                    "text": found.hypotheses[r.number].text,
                    "number": r.number,
                    "agrees": rounded(r.agrees),
                    "own": rounded(r.own),
                }
                for r in order
            ]
            if order[0].score == 1 or turn == p.rounds - 1:
                found.ended = ALL_RIGHT if order[0].score == 1 else ALL_ROUNDS
                return
            found.alive = [r.number for r in order[: p.keep]]

    def _over(self, found: Inquiry, new: int) -> str:
        """Which allowance another round could go over, if any."""
        p, texts = self.params, new * self.params.texts
        windows = sum(e.author is None for e in found.evidence)
        written = len(found.evidence) - windows + texts
        calls = new + texts + new * (_questions(written, p.listed) + _questions(windows, p.listed))
        calls += len(found.alive) * _questions(texts, p.listed)
        if p.max_calls is not None and found.calls + calls > p.max_calls:
            return "max_calls"
        if p.max_passes is not None and found.passes + texts > p.max_passes:
            return "max_passes"
        return "max_tokens_spent" if p.max_tokens_spent is not None and found.tokens >= p.max_tokens_spent else ""

    def _windows(self, latent: LatentView, seed: int) -> list[MeasuredText]:
        """The explain windows that hypotheses are held against."""
        strong = [w for w in latent.explain if w.max >= self.params.fires * latent.max]
        before = {w.id for w in self.chosen(latent.explain, seed)}
        kept = sorted(strong, key=lambda w: w.id in before)[: self.params.n_windows]
        return [
            MeasuredText(
                Seen(w.tokens, w.ids, active_marks(w.activations, self.params.threshold)), True, w.max / latent.max
            )
            for w in kept
        ]

    def _tested(self, latent: LatentView, seed: int, turn: int, found: Inquiry, new: Sequence[int]) -> Talk:
        """Have texts written from new hypotheses, run the subject on them, and ask what each hypothesis says of them."""
        p, ref = self.params, LatentRef(latent.id, latent.origin)
        authors = [n for n in new for _ in range(p.texts)]
        replies = yield [self._text(found.hypotheses[n].text, ref, i % p.texts, seed, n) for i, n in enumerate(authors)]
        written = [
            (n, text) for n, reply in zip(authors, replies, strict=True) if (text := text_alone(reply)) is not None
        ]
        if found_bad := _gone(replies):
            found.failed = found_bad
            return
        first = len(found.evidence)
        if written:
            measured = yield [Activate(text, ref) for _, text in written]
            # Without its activation a text is not silent: nobody knows what it is.
            if unknown := next((r for r in measured if not r.ok), None):
                found.failed = unknown
                return
            shares = [max(r.windows or (0.0,)) / latent.max for r in measured]
            dealt = shuffled(shares, seed_for(seed, "dealt", turn)) if p.evidence == "shuffled" else shares
            found.evidence = [
                *found.evidence,
                *(
                    MeasuredText(Seen(tuple(TOKEN.findall(text))), share >= p.fires, share, n)
                    for (n, text), share in zip(written, dealt, strict=True)
                ),
            ]
        found.rounds[-1]["windows"] = sum(e.author is None for e in found.evidence)
        found.rounds[-1]["texts"] = [evidence_note(e) for e in found.evidence[first:]]
        # Survivors are asked about what is new, new hypotheses about everything.
        asked = [
            (n, places)
            for n in (*found.alive, *new)
            for places in _lists(found.evidence, first if n in found.alive else 0, p.listed, seed)
        ]
        if not asked:
            return
        replies = yield [self._question(found, n, places, turn) for n, places in asked]
        found.failed = _gone(replies)
        for (n, places), reply in zip(asked, replies, strict=True):
            said = read_numbers(reply.text or "", len(places)) if reply.ok else None
            for i, place in enumerate(places, 1):
                right = None if said is None else float((i in said) == found.evidence[place].fires)
                found.hypotheses[n].told[place] = 0.5 if right is None else right

    def _text(self, text: str, ref: LatentRef, number: int, seed: int, author: int) -> Chat:
        register = self.params.registers[number % len(self.params.registers)]
        drawn = _drawn(seed, "text", author, number)
        trial = Trial(f"write/{author}/{number}", self.name, Write(register), text, truth=(1,), latent=ref, seed=drawn)
        messages = self._write.render(explanation=text, register=register)
        return Chat(messages, self.params.text_tokens, self.params.temperature, drawn, trial)

    def _question(self, found: Inquiry, number: int, places: Sequence[int], turn: int) -> Chat:
        text, shown = found.hypotheses[number].text, [found.evidence[i] for i in places]
        template = self._tell if shown[0].shown.marks is None else self._tell_marked
        lines = "\n".join(f"{i}. {one_line(_written(e)).strip()}" for i, e in enumerate(shown, 1))
        truth, windows = tuple(int(e.fires) for e in shown), tuple(e.shown for e in shown)
        trial = Trial(f"tell/{turn}/{number}", self.name, AnyOf(), text, windows, truth)
        return Chat(template.render(explanation=text, texts=lines), 6 * len(places), 0.0, 0, trial)

    def _revision(self, latent: LatentView, found: Inquiry, number: int, seed: int) -> Chat:
        """The best hypothesis with marked windows, first those that it missed, and with the texts that fired and did not."""
        held = found.hypotheses[number]
        missed = {e.shown.text for i, e in enumerate(found.evidence) if e.author is None and held.told.get(i, 1) < 1}
        drawn: Sequence[Window] = self.chosen(latent.explain, seed_for(seed, "revision", len(found.rounds)))
        windows = [*(w for w in latent.explain if w.text in missed), *(w for w in drawn if w.text not in missed)]
        shown = windows[: self.params.n_examples]
        lists = {
            name: "\n".join(
                f"- {one_line(e.shown.text).strip()}"
                for e in found.evidence
                if e.author is not None and e.fires == fires
            )
            or "- (none)"
            for name, fires in (("fired", True), ("silent", False))
        }
        examples = "\n".join(self._example(i, w, latent.max) for i, w in enumerate(shown, 1))
        messages = self._revise.render(explanation=held.text, examples=examples, marker=self._marker, **lists)
        return Chat(messages, self.params.max_tokens, self.params.temperature)

    def parse(self, latent: LatentView, replies: Sequence[Reply], seed: int, others: Others) -> Explanation:
        """The best hypothesis.

        A failed test fails the explanation; without any hypothesis the outcome is that of the first.
        """
        found = self._played(latent, replies, seed)[1]
        usage = total_usage(replies)
        if not found.candidates:
            return super().parse(latent, (), seed, others)
        note: dict[str, Any] = {
            "rounds": found.rounds,
            "spent": {"calls": found.calls, "passes": found.passes, "tokens": found.tokens},
        }
        bad = found.failed
        if bad is not None:
            error = f"hypotheses could not be tested: {bad.error or bad.outcome.value}"
            return Explanation(latent.id, None, bad.outcome, usage, error, note)
        if not found.hypotheses:
            first = found.candidates[0]
            return Explanation(latent.id, None, first.outcome, usage, first.error, note)
        best = ranked(found.alive, found.hypotheses, found.evidence)[0]
        note |= {"ended": found.ended, "agrees": rounded(best.agrees), "own": rounded(best.own)}
        if found.evidence:
            scores = np.array([correct(found.hypotheses[n], found.evidence) for n in found.alive])
            null = best_of_k(scores, seed_for(seed, "null"))
            note |= {"gain": rounded(null.gain), "null_gain": rounded(null.null), "p": rounded(null.p)}
        return Explanation(latent.id, found.hypotheses[best.number].text, Outcome.OK, usage, note=note)


def _gone(replies: Sequence[Reply]) -> Reply | None:
    return next((r for r in replies if r.outcome in GONE), None)


def _drawn(seed: int, *names: str | int) -> int:
    return seed_for(seed, *names) % 2**31


def _questions(texts: int, listed: int) -> int:
    return -(-texts // listed)


def _written(evidence: MeasuredText) -> str:
    """The text with its marks, if it has any. A written text has none: the subject's tokens are its own."""
    shown = evidence.shown
    return shown.text if shown.marks is None else marked(shown.tokens, shown.marks)


def _lists(evidence: Sequence[MeasuredText], first: int, listed: int, seed: int) -> list[list[int]]:
    """Places from `first` on, windows and texts apart, each in a drawn order and cut into lists of nearly equal length."""
    found = []
    for is_window in (True, False):
        places = [i for i in range(first, len(evidence)) if (evidence[i].author is None) == is_window]
        order = shuffled(places, seed_for(seed, "order", first, len(evidence)))
        n = _questions(len(order), listed)
        found += [order[i * len(order) // n : (i + 1) * len(order) // n] for i in range(n)]
    return found
