"""A trial: one structured question about a latent, before any wording, with what is true of it.

Requests carry the trial behind their text, for judges that answer it themselves. What a judge may read is the form, the
explanation and the windows as they are shown; the truth is read by mocks that know it, and by the scorer afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from latentbench.kernel.forms import Form, Ordering, Which
from latentbench.kernel.latent import LatentRef, Window


@dataclass(frozen=True, slots=True)
class Seen:
    """One window as a trial shows it; what is true of it stands in the trial.

    Attributes:
        tokens: token strings; joined they are the text.
        ids: the subject's token ids.
        marks: which tokens are highlighted, or None where the task highlights none.
        item: row of the suite's windows table; None where the text is none of the suite's.
        kind: of that window. No judge reads it.
    """

    tokens: tuple[str, ...]
    ids: tuple[int, ...] = ()
    marks: tuple[bool, ...] | None = None
    item: int | None = None
    kind: str = ""

    @property
    def text(self) -> str:
        """The window's text."""
        return "".join(self.tokens)


def seen(window: Window, marks: tuple[bool, ...] | None = None) -> Seen:
    """A window of the suite as a trial shows it."""
    return Seen(window.tokens, window.ids, marks, window.id, window.kind)


@dataclass(frozen=True, slots=True)
class Judged:
    """One thing that a trial has judged.

    Attributes:
        item: row of the suite's windows table, or None where it is no window of the suite.
        kind: scores are reported per kind, never mixed silently.
        truth: the right answer.
    """

    item: int | None
    kind: str
    truth: int


@dataclass(frozen=True, slots=True)
class Trial:
    """One structured question. Every window is judged, unless `kind` says that the answer is about the trial as a whole.

    Attributes:
        id: unique within latent and scorer, stable under reordering of latents.
        task: name of the scorer.
        form: what is to be answered.
        explanation: z.
        windows: what is shown, in this order.
        truth: the right answers, as many as are judged: 0 or 1, or the number of a `Which`.
        token_truth: true activations per window and token, or what else the answers are measured by.
        part: of the scorer's work, for scorers that ask several things.
        kind: under which a single answer about the whole trial is reported (a strength, a group of deciles); "" where each
            window is judged and reported under its own kind.
        item: window of the suite that such an answer is about, if there is one.
        latent: whose activations are measured on a text that a judge writes, or whose direction is looked for among `others`.
        others: latents that it is compared with.
        seed: of requests that sample.
    """

    id: str
    task: str
    form: Form
    explanation: str
    windows: tuple[Seen, ...] = ()
    truth: tuple[int, ...] = ()
    token_truth: tuple[tuple[float, ...], ...] = ()
    part: str = ""
    kind: str = ""
    item: int | None = None
    latent: LatentRef | None = None
    seed: int = 0
    others: tuple[LatentRef, ...] = ()

    @property
    def judged(self) -> tuple[Judged, ...]:
        """What is judged, in order."""
        return tuple(map(self.judged_at, range(len(self.truth))))

    def judged_at(self, place: int) -> Judged:
        """What is judged at a place of `truth`."""
        if self.kind:
            return Judged(self.item, self.kind, self.truth[place])
        return Judged(self.windows[place].item, self.windows[place].kind, self.truth[place])

    @property
    def window_truth(self) -> tuple[int, ...]:
        """0 or 1 for every window, 1 for each of the right group; empty where the answer says nothing about single windows."""
        if isinstance(self.form, Which):
            size = len(self.windows) // self.form.n
            return tuple(int(i // size + 1 in self.truth) for i in range(len(self.windows)))
        return self.truth if len(self.truth) == len(self.windows) else ()


def misshapen(trial: Trial) -> str:
    """Says what of a trial does not fit together; "" where all does."""
    for i, window in enumerate(trial.windows):
        for name, held in (("ids", window.ids or window.tokens), ("marks", window.marks)):
            if held is not None and len(held) != len(window.tokens):
                return f".windows[{i}].{name} has {len(held)} values for {len(window.tokens)} tokens"
    if isinstance(trial.form, Which) and len(trial.windows) % trial.form.n:
        return f" has {len(trial.windows)} windows, which are no {trial.form.n} groups of one size"
    return ""


def alone(trial: Trial, place: int) -> Trial:
    """The trial about one of its windows, with what is true of it."""
    at = slice(place, place + 1)
    return replace(trial, windows=trial.windows[at], truth=trial.truth[at], token_truth=trial.token_truth[at])


def bare(trial: Trial) -> Trial:
    """What a simulator reads of a trial: the explanation and the windows without marks."""
    return Trial("", "", Ordering(), trial.explanation, tuple(Seen(w.tokens, w.ids) for w in trial.windows))


def untold(trial: Trial) -> Trial:
    """The trial without what is true of it and of its windows."""
    return Trial(
        trial.id,
        trial.task,
        trial.form,
        trial.explanation,
        tuple(Seen(w.tokens, w.ids, w.marks) for w in trial.windows),
        part=trial.part,
        seed=trial.seed,
    )


def look(window: Seen) -> dict[str, Sequence[Any] | None]:
    """What a window looks like, with the same promise as `content`."""
    return {"tokens": window.tokens, "ids": window.ids, "marks": window.marks}
