"""What can be asked of a judge, and what comes back: the one currency between scorers, explainers, cache and backends.

A request carries both the rendered text (for judges that read text) and the structured `Trial` behind it (for judges that
answer the trial itself: a mock, an oracle, an embedding model, a simulator). So one scorer runs on all of them and no judge
parses a prompt. A reply always comes back, one per request, in order: a failed call is a reply whose outcome says so, never
an exception and never an answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from latentbench.kernel.forms import words
from latentbench.kernel.identity import canonical, digest
from latentbench.kernel.latent import LatentRef
from latentbench.kernel.outcome import Outcome as Outcome
from latentbench.kernel.trial import Trial, bare, look


class Capability(StrEnum):
    """What a judge can do; the request type that asks for it is in brackets."""

    CHAT = "chat"
    """Generates text (`Chat`)."""
    CHOICE = "choice_logprobs"
    """Log-probability of each allowed answer (`Choice`)."""
    SLOTS = "slots"
    """Log-probabilities at several places of one text, which chat endpoints do not offer (`Choice` with several `slots`)."""
    TEXT = "text_logprobs"
    """Log-probability of a given text (`Continuation`)."""
    EMBED = "embed"
    """A vector for a text (`Embed`)."""
    SIMULATE = "simulate"
    """Probability of being active for every token and window of a trial (`Simulate`)."""
    ACTIVATE = "activate"
    """What a latent does on a text (`Activate`): measured by running subject and coder, not judged."""
    PATCH = "patch"
    """Generates text with a vector in place of a token's hidden state (`Patched`)."""
    PROJECT = "project"
    """How far a text lies along the directions of latents (`Projected`): measured in the subject, not judged."""
    PANEL = "panel"
    """Puts requests to its members (`Passed`)."""


MOST = float(1 << 53)
"""Tokens and seconds that nobody uses; beyond this a float no longer counts in ones."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and seconds of one call. `cached` tokens are part of `tokens_in` that the provider did not recompute."""

    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        for n in (self.tokens_in, self.tokens_out, self.tokens_cached, self.seconds):
            if not 0 <= n < MOST:
                raise ValueError(f"usage is a number of tokens and seconds from 0 to 2**53, not {n}")

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.tokens_cached + other.tokens_cached,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Chat:
    """Generate an assistant message.

    Attributes:
        listed: whether the message asks for a list with an entry for each window, for judges that can be held to it.
    """

    messages: tuple[Message, ...]
    max_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    trial: Trial | None = None
    listed: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """Log-probability of each allowed answer at one or more places of the assistant's message.

    Attributes:
        messages: the prompt. A trailing assistant message is a prefix that the answer continues.
        answers: allowed answers. They may share first tokens ("1" and "10").
        slots: text between consecutive answer places: slot k is read after slots[0..k] (no answer text in between).
            The default reads one answer directly after the prompt.
        end: text that must follow an answer, so that "1" is not credited with the mass of "10"; "" for none.
    """

    messages: tuple[Message, ...]
    answers: tuple[str, ...]
    slots: tuple[str, ...] = ("",)
    end: str = ""
    trial: Trial | None = None


@dataclass(frozen=True, slots=True)
class Continuation:
    """Sum of log p of `text` directly after `context` (raw text, no chat template; the start token is added if the model
    has one)."""

    context: str
    text: str
    trial: Trial | None = None


@dataclass(frozen=True, slots=True)
class Embed:
    """A vector for a text; `query` texts get the model's query instruction, documents none."""

    text: str
    query: bool = False


@dataclass(frozen=True, slots=True)
class Simulate:
    """Probability of being active per token and per window, given the trial's explanation.

    Marks, form and the task's name are not read (but by mocks that know the truth): they are the scorer's, which reads the
    marked tokens out of the reply. See `latentbench.kernel.trial.bare`.
    """

    trial: Trial


@dataclass(frozen=True, slots=True)
class Activate:
    """The activation of a latent on every token of a text that stands alone (behind the start token, if there is one)."""

    text: str
    latent: LatentRef


@dataclass(frozen=True, slots=True)
class Patched:
    """Generate an assistant message while another vector stands where the model reads a placeholder.

    Attributes:
        chat: the prompt; one of its messages holds `placeholder`, once.
        direction: what is put there, in the basis of the model's residual stream; its length does not matter.
        layer: block after which it stands there, counted from 0.
        scale: its length, in median lengths of the prompt's own hidden states there.
        add: to the hidden state, instead of in its place.
    """

    chat: Chat
    placeholder: str
    direction: tuple[float, ...]
    layer: int
    scale: float = 1.0
    add: bool = False


@dataclass(frozen=True, slots=True)
class Projected:
    """The mean hidden state of a text along the unit direction of each of these latents, which are of one coder."""

    text: str
    latents: tuple[LatentRef, ...]


Direct = Chat | Choice | Continuation | Embed | Simulate | Activate | Patched | Projected


@dataclass(frozen=True, slots=True)
class Passed:
    """A request to one member of a panel: what that judge would be asked alone.

    Attributes:
        member: its label in the panel.
    """

    member: str
    request: Direct


Request = Direct | Passed

NEEDS: dict[type, Capability] = {
    Chat: Capability.CHAT,
    Choice: Capability.CHOICE,
    Continuation: Capability.TEXT,
    Embed: Capability.EMBED,
    Simulate: Capability.SIMULATE,
    Activate: Capability.ACTIVATE,
    Patched: Capability.PATCH,
    Projected: Capability.PROJECT,
    Passed: Capability.PANEL,
}


def addressed(request: Request) -> tuple[str, type]:
    """The member of a panel that a request is put to, "" for none, and the kind of request."""
    return (request.member, type(request.request)) if isinstance(request, Passed) else ("", type(request))


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """What came back for one request.

    Attributes:
        outcome: `OK`, or why there is no answer.
        text: of a `Chat` or `Patched`.
        logprobs: of a `Choice`: [slot][answer], natural log, *not* renormalised over the allowed answers.
        loglik: of a `Continuation`: sum of log p in nats.
        n_tokens: of a `Continuation`: how many tokens the sum runs over.
        vector: of an `Embed`: float32 [d], unit norm.
        tokens: of a `Simulate`: p(active) [window][token]; of an `Activate`: one row, the activation on each token, >= 0.
        windows: of a `Simulate`: p(active) per window; of an `Activate`: the largest activation; of a `Projected`: by latent.
        error: one line for the failed outcomes.
        reasoning: of a `Chat`: what the model thought before it answered; no part of `text`.
        finish: of a `Chat`: why the text ends, in the words of the backend: "stop", "length" where the allowance was used up.
        cached: answered from the cache, so nothing was paid.
        by: the judge that answered, where another one was asked: a member of a panel, whose price counts.
    """

    outcome: Outcome = Outcome.OK
    text: str | None = None
    logprobs: tuple[tuple[float, ...], ...] | None = None
    loglik: float | None = None
    n_tokens: int | None = None
    vector: np.ndarray[Any, np.dtype[np.float32]] | None = None
    tokens: tuple[tuple[float, ...], ...] | None = None
    windows: tuple[float, ...] | None = None
    usage: Usage = field(default_factory=Usage)
    error: str | None = None
    reasoning: str | None = None
    finish: str | None = None
    cached: bool = False
    by: JudgeIdentity | None = None

    @property
    def ok(self) -> bool:
        """Whether there is an answer."""
        return self.outcome is Outcome.OK


@dataclass(frozen=True, slots=True)
class JudgeIdentity:
    """Everything about a judge that can change an answer.

    Attributes:
        provider: backend name in the registry ("transformers", "openai", ...).
        model: as the user names it.
        revision: weights hash, or what the endpoint reports; "unknown" where nobody can know.
        dtype: of the weights, or "remote".
        params: sampling and wording parameters that are not part of a request.
    """

    provider: str
    model: str
    revision: str
    dtype: str
    params: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """Digest of the identity: what the cache and the leaderboard compare."""
        return digest(self)

    @property
    def label(self) -> str:
        """Short name for tables."""
        return f"{self.provider}:{self.model}"


MOCKS = "mock"
"""Provider of the judges that read a request's trial beside its text: windows, marks and the form of the answer."""


def stored(request: Request, reads_truth: bool, provider: str = "") -> dict[str, Any]:
    """The request as far as the judge reads it, in the form that its stored reply is addressed by.

    The trial is read only by mocks and in a `Simulate`, and there, but by those that know the truth, only as far as `bare`:
    detection, fuzzing and simulation of the same window are then the same call, paid once. The names of the fields are those of
    replies that users have paid for; see `content`.
    """
    match request:
        case Chat():
            fields: dict[str, Any] = {
                "messages": request.messages,
                "max_tokens": request.max_tokens,
                "temperature": request.temperature,
                "seed": request.seed,
            }
        case Choice():
            fields = {
                "messages": request.messages,
                "answers": request.answers,
                "slots": request.slots,
                "end": request.end,
            }
        case Continuation():
            fields = {"context": request.context, "text": request.text}
        case Embed():
            return {"text": request.text, "query": request.query}
        case Activate():
            return {"text": request.text, "latent": request.latent}
        case Patched():
            asked = {"direction": digest(request.direction), "placeholder": request.placeholder, "layer": request.layer}
            return stored(request.chat, reads_truth, provider) | asked | {"scale": request.scale, "add": request.add}
        case Projected():
            return {"text": request.text, "latents": request.latents}
        case Simulate():
            return {"question": _told(request.trial) if reads_truth else content(bare(request.trial))}
        case Passed():
            return stored(request.request, reads_truth, provider)
    read = reads_truth or provider == MOCKS
    return fields | {"question": _told(request.trial) if read and request.trial is not None else None}


def _told(trial: Trial) -> dict[str, Any]:
    """What a judge that answers the trial itself reads of it; mocks draw their faults by all of it."""
    return content(trial) | {"form": trial.form}


def content(trial: Trial) -> dict[str, Any]:
    """What a trial asks and what is true of it, without its place among others: what two equal trials share.

    Stored replies are addressed by digests of this, and mock judges draw their errors by them: a field that is added, renamed or
    left out asks every judge again and moves every mock's number.
    """
    return {
        "task": trial.task,
        "explanation": trial.explanation,
        "windows": [look(w) for w in trial.windows],
        "answers": words(trial.form, len(trial.windows)),
        "truth": trial.window_truth,
        "actual": trial.token_truth,
    }


def whole(request: Direct, named: bool = False) -> str:
    """Canonical JSON of all that a request asks, truth included. Mocks draw failures and nonsense by it, so its fields stay as
    they are.

    Args:
        named: with the kind of the request before it.
    """
    fields = stored(request, False)
    if not isinstance(request, Embed | Activate | Patched | Projected):
        fields["question"] = None if request.trial is None else content(request.trial)
    return canonical([type(request).__name__, fields] if named else fields)


def request_key(identity: JudgeIdentity, request: Request, reads_truth: bool) -> str:
    """Content address of one call: judge identity + exact request, as far as the judge reads it.

    Two explanations that render to the same text are the same call for a judge that reads text.
    """
    return digest([identity.key, type(request).__name__, stored(request, reads_truth, identity.provider)])


def describe(request: Request, reads_truth: bool, provider: str = "") -> tuple[str, str, str]:
    """Digest of the whole request, digest of its text, and JSON of its settings: what `explain_miss` compares.

    Args:
        reads_truth, provider: of the judge, whose calls differ in what it reads.
    """
    kind, asked = type(request).__name__, stored(request, reads_truth, provider)
    settings: dict[str, Any]
    match request:
        case Chat():
            text: Any = request.messages
            settings = {"max_tokens": request.max_tokens, "temperature": request.temperature, "seed": request.seed}
        case Choice():
            text = request.messages
            settings = {"answers": request.answers, "slots": digest(request.slots), "end": request.end}
        case Continuation():
            text, settings = [request.context, request.text], {}
        case Embed():
            text, settings = request.text, {"query": request.query}
        case Patched():
            text, settings = (
                request.chat.messages,
                {k: v for k, v in asked.items() if k not in ("messages", "question")},
            )
        case Simulate():
            text, settings = asked["question"], {}
        case Activate():
            text, settings = request.text, {"latent": request.latent.id, "origin": request.latent.origin}
        case Projected():
            text, settings = request.text, {"latents": digest(request.latents)}
    if not isinstance(request, Simulate) and asked.get("question") is not None:
        settings["question"] = digest(asked["question"])
    return digest([kind, asked]), digest(text), canonical({"kind": kind, **settings})
