"""What an explainer is: what to ask, and how to read the replies.

Like a scorer it never calls a model: `requests` says what to generate and `parse` turns the replies into a text, so explaining
is batched over latents, cached and resumed by the same code as judging. An explainer that must see replies before it knows what
to ask next (write candidates, then compare them) asks in rounds, through `follow_up`; letting it call the model itself would be
shorter and would take the batches away.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from latentbench.explainers.matched import Matched
from latentbench.kernel.boundary import Fault, attempt, built, coded
from latentbench.kernel.conform import Mismatch, half_pair
from latentbench.kernel.entry_params import checked
from latentbench.kernel.errors import SpecError
from latentbench.kernel.foreign_ids import KnownCoder
from latentbench.kernel.identity import digest, file_sha256, text_digest
from latentbench.kernel.implementation import implementation
from latentbench.kernel.latent import LatentView
from latentbench.kernel.later import Grown
from latentbench.kernel.registry import lookup
from latentbench.kernel.requests import Capability, Chat, Message, Outcome, Reply, Request, Usage
from latentbench.prompts.answers import AROUND, FRAMES, refused, unwrapped
from latentbench.prompts.task import read_task


@dataclass(frozen=True, slots=True)
class Explanation:
    """One explanation of one latent.

    Attributes:
        latent: id.
        text: z; "" is a legal explanation (the `empty` null), a failed call has None.
        outcome: of the calls behind it.
        usage: summed over its calls.
        error: one line for failed outcomes.
        note: anything the explainer records about its choice (candidates of best-of-k, ...), JSON-able.
    """

    latent: str
    text: str | None
    outcome: Outcome = Outcome.OK
    usage: Usage = field(default_factory=Usage)
    error: str | None = None
    note: Mapping[str, Any] | None = None

    @property
    def hash(self) -> str:
        """Digest of the text."""
        return text_digest(self.text or "")


def stated(explainer: Explainer) -> Fault | None:
    """What is wrong with that which an explainer says of itself, if anything; to be asked before anything is paid."""
    for found in (
        attempt(explainer, "needs", lambda: explainer.needs, frozenset[Capability]),
        attempt(explainer, "is_floor", lambda: explainer.is_floor, bool),
        attempt(explainer, "uses_interventions", lambda: explainer.uses_interventions, bool),
        attempt(explainer, "after", lambda: explainer.after, tuple[str, ...]),
    ):
        if isinstance(found, Fault):
            return found
    return None


def explains(latent: LatentView) -> Callable[[Explanation], None]:
    """Rule for what an explainer returns about a latent: it is about that latent, has a text if and only if it is ok, and a note
    that JSON can hold."""

    def rule(found: Explanation) -> None:
        if found.latent != latent.id:
            raise Mismatch(f".latent is {found.latent!r}, and {latent.id!r} was to be explained")
        if (found.outcome is Outcome.OK) != (found.text is not None):
            raise Mismatch(
                f".outcome is {found.outcome.value} with the text {found.text!r}; ok has a text and nothing else has"
            )
        try:
            json.dumps(found.note, ensure_ascii=False, sort_keys=True).encode("utf-8")
        except (TypeError, ValueError, RecursionError) as e:
            raise Mismatch(f".note cannot be written as JSON: {e}") from e

    return rule


Others = Mapping[str, Mapping[str, Explanation]]
"""Label -> latent id -> finished explanation."""


class Params(Grown):
    """Base of every explainer's parameters: unknown keys are errors, values are frozen.

    Class attributes:
        files: names of parameters that are paths; relative ones start at the folder of the run spec. Only the content of a
            file identifies it.
        labels: names of parameters that are a label, or labels, of other explainers of the run. They are read first, and
            what they are identifies the reader, not how the run calls them.
    """

    files: ClassVar[tuple[str, ...]] = ()
    labels: ClassVar[tuple[str, ...]] = ()


class Explainer(ABC):
    """Base class of explainers.

    Class attributes:
        params_model: pydantic model of the parameters.
        needs: every capability that the generating model must have; empty for an explainer that asks no model.
        is_floor: True for explainers that know nothing of the latent; their rows are floors.
        uses_interventions: True for explainers that read `LatentView.interventions`; the table is then part of a run's identity.
    """

    params_model: ClassVar[type[Params]] = Params
    needs: ClassVar[frozenset[Capability]] = frozenset()
    is_floor: ClassVar[bool] = False
    uses_interventions: ClassVar[bool] = False

    def __init__(self, name: str, version: str, params: Params, prompts: Mapping[str, Any]) -> None:
        self.name, self.version = name, version
        self.params: Any = params
        self.prompts = prompts

    @property
    def after(self) -> tuple[str, ...]:
        """Labels of explainers whose explanations `parse` needs: what the parameters that are labels say, each once."""
        held = self.params.model_dump(include=set(self.params.labels))
        named = (label for name in self.params.labels for label in _labels(held[name]))
        return tuple(dict.fromkeys(named))

    def check(self, latents: Collection[str]) -> None:  # noqa: B027 - optional, and refusing nothing is right for most
        """Refuse a suite that this explainer cannot serve, before anything is paid.

        Args:
            latents: ids of every latent of the suite, those that the run leaves out included.

        Raises:
            SpecError, DataError: it cannot.
        """

    def meet(self, coders: Sequence[KnownCoder], latents: Collection[str], asked: Collection[str]) -> Matched | None:
        """`check`, with the suite's coders and the latents of the run; returns what of an explainer's own texts met them, if it
        brings any."""
        self.check(latents)
        return None

    def requests(self, latent: LatentView, seed: int) -> list[Request]:
        """What to ask the generating model about one latent; `seed` is already specific to the latent and repeat."""
        return []

    def follow_up(self, latent: LatentView, replies: Sequence[Reply], seed: int) -> list[Request]:
        """What to ask next, given the replies to everything asked so far, in order; nothing ends the asking.

        It must be a function of its arguments alone: a resumed run asks again from the start and finds its replies in the
        cache. `parse` gets the replies of all rounds.
        """
        return []

    @abstractmethod
    def parse(self, latent: LatentView, replies: Sequence[Reply], seed: int, others: Others) -> Explanation:
        """The explanation from the replies. `others[label][latent id]` are finished explanations of `after`."""

    @property
    def id(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    def key(self, parts: Mapping[str, str]) -> str:
        """Digest of id, implementation, parameters, prompts and parts.

        In the parameters a file stands as its content and a label as the key of what it names, so neither a move nor a new
        name makes another explainer.

        Args:
            parts: label -> key of at least those that `after` names (`latentbench.runs.plan.explainer_keys`).
        """
        params = self.params.model_dump(mode="json")
        params |= {name: self.content(params[name]) for name in self.params.files}
        params |= {name: [parts[label] for label in _labels(params[name])] for name in self.params.labels}
        read = [parts[label] for label in self.after]
        return digest([self.id, implementation(type(self)), params, dict(self.prompts), read])

    def content(self, path: str | None) -> str | None:
        """What identifies a file: the digest of its bytes, or its path as long as there is no such file."""
        return file_sha256(Path(path)) if path is not None and Path(path).is_file() else path


def _labels(value: str | Sequence[str] | None) -> Sequence[str]:
    """The labels in a parameter: none, one or several."""
    return () if value is None else (value,) if isinstance(value, str) else value


def total_usage(replies: Sequence[Reply]) -> Usage:
    """Sum of the usage of replies, those from the cache included: the price of an explanation is the same in every run.

    What a run paid is counted apart, per unit (`latentbench.runs.explaining.paid`).
    """
    return sum((r.usage for r in replies), Usage())


def chat(messages: tuple[Message, ...], max_tokens: int, temperature: float, seed: int) -> Chat:
    """The request of an explainer that asks once.

    Greedy decoding reads no seed: leaving it out lets repeats that ask the same words share a cached reply.
    """
    return Chat(messages, max_tokens, temperature, seed % 2**31 if temperature > 0 else 0)


BLANK = re.compile(r"\r?\n[ \t]*\r?\n")
"""A blank line, whoever wrote it."""
SENTENCES = re.compile(r".*[.!?…。！？][\"'”’)\]`]*(?=\s|$)", re.DOTALL)
"""A text up to the end of its last whole sentence."""


def first_paragraph(latent: LatentView, text: str, usage: Usage, lead: str = "", cut: bool = False) -> Explanation:
    """What a model wrote as an explanation: one paragraph, since what follows a blank line is the model talking on, without what
    it put around it (`latentbench.prompts.answers`).

    Args:
        lead: how the prompt opened the reply ("The marked words are"); the explanation gets the whole sentence back, unless the
            reply is a text of its own: quotation marks go on with a sentence, a label does not.
        cut: whether the reply was cut off at its limit. What is left of its last paragraph are the whole sentences, with a note
            that says so; half a sentence alone is no explanation.
    """
    lead = lead if unwrapped(text, cut, FRAMES) == text.strip() else ""
    whole, *further = BLANK.split(text.strip() if lead else unwrapped(text, cut, AROUND))
    while further and not unwrapped(whole):
        whole, *further = further
    text = coded(" ".join((whole if lead else unwrapped(whole, cut and not further)).split()))
    note = None
    if wrong := half_pair(text):
        return Explanation(latent.id, None, Outcome.PARSE, usage, f"the explanation is {wrong}")
    if cut and not further:
        sentences = SENTENCES.match(text)
        if sentences is None:
            error = f"cut off at the limit of its length ({usage.tokens_out} tokens) inside the first sentence: {text[-80:]!r}"
            return Explanation(latent.id, None, Outcome.PARSE, usage, error)
        text, note = sentences[0], {"cut": text[len(sentences[0]) :].strip()}
    if not text:
        return Explanation(latent.id, None, Outcome.PARSE, usage, "empty answer")
    if refused(text):
        return Explanation(latent.id, None, Outcome.REFUSAL, usage, text[:120])
    return Explanation(latent.id, f"{lead} {text}".strip(), Outcome.OK, usage, note=note)


def load_explainer(spec: str | Mapping[str, Any], base: Path | None = None) -> Explainer:
    """Load an explainer.

    Args:
        spec: a name in `tasks/explainers/`, a path of a YAML file, or `{use, preset, params, at}`.
        base: folder that relative paths among the parameters start at; the working directory by default.

    Raises:
        SpecError: unknown task, preset, parameter or field, each with the near names.
    """
    name, path, task, params = read_task("explainers", spec)
    cls = lookup("explainer", task.implementation, f"{path}: ")
    for file in cls.params_model.files:
        if isinstance(params.get(file), str):
            params[file] = str(((base or Path()) / params[file]).resolve())
    given = checked(cls.params_model, "explainers", spec, path, params)
    try:
        explainer: Explainer = built(cls, lambda: cls(name, task.version, given, task.prompts))
    except SpecError as e:
        raise SpecError(f"{path}: {e}") from e
    return explainer
