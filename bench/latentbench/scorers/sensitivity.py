"""Sensitivity: does the latent do what the explanation says, on texts that the explanation itself makes (FADE, arXiv 2502.16994)?

Every other method asks whether an explanation fits windows that were drawn by the latent's activation, and so cannot see an
explanation that is too broad: texts that it describes and that leave the latent cold are not among them. Here

    write     a judge writes texts from the explanation and neutral ones; the subject runs on them        clarity, input success
    rate      a judge rates test windows, whose activations the suite holds              responsiveness, purity
    steer     a judge rates what the subject writes, clean and steered, of the suite's intervention table         faithfulness

Written texts are compared with what the subject meets: silent and activating windows in the shares that the latent's firing rate
gives. Rated are the windows of the test set, as by every other scorer, so `purity` depends on its share of activating ones;
`purity_normalised` less so. An empty explanation gets the neutral prompt with the same seeds, so it has the neutral texts, and
its row is what a writer that knows nothing scores. A strength that was not reached is `skipped`, as in `intervention`.

The judge must write *and* run the subject: `subject:SUITE?writer=JUDGE`, see `latentbench.judges.subject_judge`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from latentbench.kernel.forms import Levels, Ordering, Write
from latentbench.kernel.kinds import RANDOM
from latentbench.kernel.latent import LatentRef, LatentView, Steered
from latentbench.kernel.requests import Activate, Capability, Chat, Outcome, Reply, Request
from latentbench.kernel.trial import Seen, Trial, seen
from latentbench.prompts import selection
from latentbench.prompts.answers import text_alone, unread
from latentbench.prompts.template import Prompts
from latentbench.scorers.intervention import kind
from latentbench.scorers.rating import CLEARLY, LEVELS, NEEDS, PARTLY, Rating, rating_request, read_rating
from latentbench.scorers.scorer import Judgement, Metric, Params, Scorer, failed, judged
from latentbench.stats.fade import CLEAN, HALVES, faithfulness, gini, input_success, purity
from latentbench.stats.ranking import normalise
from latentbench.suites.planted.rules import TOKEN

WRITTEN, NEUTRAL, NATURAL, RATE, STEER = "written", "neutral", "natural", "rate", "steer"
STEERED = {half: f"{STEER}-{half}" for half in HALVES}
"""Half of the prompts -> part of the trials that are about its completions."""
Part = Literal["write", "rate", "steer"]


class SensitivityParams(Params):
    """Parameters of sensitivity."""

    parts: tuple[Part, ...] = ("write", "rate", "steer")
    """What is done; see the module docstring."""
    texts: int = Field(default=10, ge=1)
    """Texts written from the explanation, and as many neutral ones."""
    registers: tuple[str, ...] = Field(default=("a text",), min_length=1)
    """Kinds of text, in turn; neutral texts have the same ones."""
    max_tokens: int = Field(default=40, ge=1)
    """Length of a text: about that of a window, because longer texts have higher maxima."""
    temperature: float = Field(default=0.8, ge=0)
    """Temperature of the writing; at 0 texts of one register are all the same."""
    positives: int | None = Field(default=None, ge=1)
    """Activating windows rated, evenly over the deciles; all by default."""
    negatives: int | None = Field(default=None, ge=1)
    """Silent windows rated; all by default."""
    kls: tuple[float, ...] | None = None
    """Strengths rated; every one of the table by default."""
    prompts: int | None = Field(default=None, ge=2)
    """Prompts whose completions are rated; all by default."""


class Sensitivity(Scorer):
    """Has texts written from the explanation and measures what the latent does on them.

    Judgements by part: `written` and `neutral` texts (`token_truth`: activation per token of the text), one `natural` row
    (`token_truth`: largest activation per natural window), rated windows (`rate`; `score`: expected level over 2; `answer`: 1
    clearly, 0 not, none for in part; `token_truth`: the window's largest activation), and rated completions (a part for each half
    of the prompts; kind `clean` or `kl:X`; `answer`: 1 clearly).
    """

    params_model: ClassVar[type[Params]] = SensitivityParams

    def __init__(self, name: str, version: str, headline: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, headline, params, prompts)
        section = Prompts(prompts, ("write", "neutral", "rate", "answers"), f"scorer {name!r}")
        self._write = section.messages("write", ("explanation", "register"))
        self._neutral = section.messages("neutral", ("register",))
        self._rate = section.messages("rate", ("explanation", "window"))
        self._answers = section.named("answers", LEVELS)
        self._levels = Levels(self._answers)

    def metric_table(self) -> tuple[Metric, ...]:
        """The numbers of `latentbench.stats.fade`."""
        return (
            Metric("clarity_signed", 0.0, low=-1.0, high=1.0),
            Metric("clarity", 0.0, low=0.0, high=1.0),
            Metric("responsiveness", 0.0, low=0.0, high=1.0),
            Metric("purity", None, low=0.0, high=1.0),
            Metric("purity_normalised", 0.0, low=-1.0, high=1.0),
            Metric("faithfulness", 0.0, low=0.0, high=1.0),
            Metric("input_success", None, low=0.0, high=1.0),
            Metric("n", None),
        )

    @property
    def uses_interventions(self) -> bool:
        """Where it rates steered texts."""
        return "steer" in self.params.parts

    @property
    def needs(self) -> tuple[frozenset[Capability], ...]:
        """To write: chat and activate. To rate: log-probabilities, else chat, else a simulator."""
        parts = self.params.parts
        writes = frozenset({Capability.CHAT, Capability.ACTIVATE}) if "write" in parts else frozenset()
        rates = NEEDS if {"rate", "steer"} & set(parts) else ()
        return tuple(dict.fromkeys(writes | {c} for c in rates)) or (writes,)

    def trials(self, latent: LatentView, explanation: str, seed: int) -> list[Trial]:
        """One per text, window and completion; the natural windows are one that asks nothing."""
        found: list[Trial] = []
        if "write" in self.params.parts:
            found += self._texts(latent, explanation, seed)
        if "rate" in self.params.parts:
            found += self._windows(latent, explanation, seed)
        if "steer" in self.params.parts:
            found += self._completions(latent, explanation, seed)
        return found

    def _texts(self, latent: LatentView, explanation: str, seed: int) -> Iterator[Trial]:
        ref, registers = LatentRef(latent.id, latent.origin), self.params.registers
        for part, told, label in ((WRITTEN, explanation.strip(), 1), (NEUTRAL, "", 0)):
            for number in range(self.params.texts):
                yield Trial(
                    f"{part}/{number}",
                    self.name,
                    Write(registers[number % len(registers)]),
                    told,
                    truth=(label,),
                    part=part,
                    kind=part,
                    latent=ref,
                    seed=self.own(seed, "write", number) % 2**31,
                )
        maxima = tuple(w.max for w in selection.natural(latent, self.own(seed, NATURAL)))
        yield Trial(NATURAL, self.name, Ordering(), "", (), (0,), (maxima,), part=NATURAL, kind=NATURAL)

    def _windows(self, latent: LatentView, explanation: str, seed: int) -> Iterator[Trial]:
        p = self.params
        chosen = [(w, 1) for w in selection.positives(latent, p.positives, seed)]
        chosen += [(w, 0) for w in selection.negatives(latent, RANDOM, p.negatives, seed)]
        for number, (w, label) in enumerate(chosen):
            name = f"{RATE}/{number}"
            yield Trial(name, self.name, self._levels, explanation, (seen(w),), (label,), (w.activations,), RATE)

    def _completions(self, latent: LatentView, explanation: str, seed: int) -> Iterator[Trial]:
        rows = [s for s in latent.interventions if s.role == "test" and s.mode == "add"]
        known = [kind(t) for t in sorted({s.target for s in rows if s.target is not None})]
        wanted = known if self.params.kls is None else [kind(t) for t in self.params.kls]
        reached = {kind(s.target) for s in rows if s.reached}
        for name in [k for k in wanted if k not in reached] or ([] if wanted else [STEER]):
            yield self._completion(f"{STEER}/-/{name}", explanation, None, name, STEER)
        halves = _halves(rows, self.params.prompts, self.own(seed, "halves"))
        asked: set[int] = set()
        for s in sorted(rows, key=lambda s: (s.target or 0.0, s.prompt, s.clean)):
            name = kind(s.target)
            if s.window not in halves or name not in wanted or not s.reached:
                continue
            half, number = halves[s.window]
            if s.window not in asked:
                asked.add(s.window)
                yield self._completion(f"{STEER}/{half}/{CLEAN}/{number}", explanation, s, CLEAN, STEERED[half])
            yield self._completion(f"{STEER}/{half}/{name}/{number}", explanation, s, name, STEERED[half])

    def _completion(self, name: str, explanation: str, s: Steered | None, which: str, part: str) -> Trial:
        text = "" if s is None else s.clean if which == CLEAN else s.steered
        return Trial(
            name,
            self.name,
            self._levels,
            explanation,
            () if s is None else (Seen(tuple(TOKEN.findall(text))),),
            (int(which != CLEAN),),
            part=part,
            kind=which,
            item=None if s is None else s.window,
        )

    def requests(self, trial: Trial, can: frozenset[Capability]) -> list[Request]:
        """A text to write, or a text to rate; nothing for what is known without asking: an empty text contains nothing."""
        if isinstance(trial.form, Write):
            told, register = trial.explanation, trial.form.register
            messages = (
                self._write.render(explanation=told, register=register)
                if told
                else self._neutral.render(register=register)
            )
            return [Chat(messages, self.params.max_tokens, self.params.temperature, trial.seed, trial)]
        if not trial.windows or not trial.windows[0].text.strip():
            return []
        return [rating_request(trial, self._answers, self._rate, can)]

    def follow_up(self, trial: Trial, can: frozenset[Capability], replies: Sequence[Reply]) -> list[Request]:
        """What the latent does on a text that was written."""
        if trial.latent is None or len(replies) > 1 or text_alone(replies[0]) is None:
            return []
        return [Activate(text_alone(replies[0]) or "", trial.latent)]

    def parse(self, trial: Trial, replies: Sequence[Reply]) -> list[Judgement]:
        """One judgement; see the class."""
        if trial.part == NATURAL:
            (maxima,) = trial.token_truth
            if not maxima:
                return failed(trial, Reply(Outcome.SKIPPED, error="the suite has no natural windows of this latent"))
            return [judged(trial, token_truth=maxima)]
        if isinstance(trial.form, Write):
            return self._parse_text(trial, replies)
        if not trial.windows:
            error = "no such strength in the suite's intervention table, or it was not reached"
            return failed(trial, Reply(Outcome.SKIPPED, error=error))
        found = read_rating(replies[0], self._answers) if replies else Rating(0, 0.0)
        if isinstance(found, Reply):
            return failed(trial, found)
        doubtful = trial.part == RATE and found.level == PARTLY
        said = None if doubtful else int(found.level == CLEARLY)
        largest = (max(trial.token_truth[0], default=0.0),) if trial.part == RATE else None
        return [judged(trial, score=found.share, answer=said, token_truth=largest)]

    def _parse_text(self, trial: Trial, replies: Sequence[Reply]) -> list[Judgement]:
        bad = next((r for r in replies if not r.ok), None)
        if bad is not None:
            return failed(trial, bad)
        if text_alone(replies[0]) is None:
            return failed(trial, unread(replies[0].text or ""))
        measured = replies[1].tokens
        if measured is None:
            return failed(trial, Reply(Outcome.PARSE, error="no activations came back"))
        return [judged(trial, token_truth=measured[0])]

    def metrics(self, judgements: Sequence[Judgement]) -> dict[str, float]:
        """The numbers of `latentbench.stats.fade`, as far as they are defined; `n` is the number of judgements."""
        parts: dict[str, list[Judgement]] = {}
        for j in judgements:
            if j.outcome is Outcome.OK:
                parts.setdefault(j.part, []).append(j)
        written, neutral = ([max(j.token_truth or (0.0,)) for j in parts.get(name, [])] for name in (WRITTEN, NEUTRAL))
        known = [a for j in parts.get(NATURAL, []) for a in j.token_truth or ()]
        clear, none = (
            [max(j.token_truth or (0.0,)) for j in parts.get(RATE, []) if j.answer == said] for said in (1, 0)
        )
        signed, answer = gini(written, known), gini(clear, none)
        pure = purity(clear, none) if clear and none else float("nan")
        found = {
            "clarity_signed": signed,
            "clarity": abs(signed),
            "input_success": input_success(written, neutral),
            "responsiveness": abs(answer),
            "purity": pure,
            "purity_normalised": normalise(pure, len(clear) / (len(clear) + len(none))) if none else float("nan"),
            "faithfulness": _faithfulness({half: parts.get(part, []) for half, part in STEERED.items()}),
            "n": float(sum(map(len, parts.values()))),
        }
        return {name: value for name, value in found.items() if value == value}


def _halves(rows: Sequence[Steered], n: int | None, seed: int) -> dict[int, tuple[str, int]]:
    """Window id -> (half, number) of at most `n` prompts, drawn and cut in two by seed; no row number decides."""
    first: dict[int, tuple[str, str]] = {}
    for s in rows:
        first.setdefault(s.window, (s.prompt, s.clean))
    ordered = sorted(first, key=lambda window: first[window])
    chosen = selection.shuffled(ordered, seed)[:n]
    cut = (len(chosen) + 1) // 2
    return {window: (HALVES[place >= cut], place) for place, window in enumerate(chosen)}


def _faithfulness(halves: Mapping[str, Sequence[Judgement]]) -> float:
    contained: dict[str, dict[str, list[int]]] = {}
    for half, judgements in halves.items():
        for j in judgements:
            if j.answer is not None:
                contained.setdefault(half, {}).setdefault(j.kind, []).append(j.answer)
    kinds = {j.kind for judgements in halves.values() for j in judgements} - {CLEAN}
    return faithfulness(contained, sorted(kinds, key=lambda k: float(k.partition(":")[2])))
